//! What the schema of a copy tells: what earlier builds of this product left in the server's database (triggers, and tables whose names begin
//! with `csb_`), and patterns of `exclude` that fit nothing.

use std::path::Path;

use rusqlite::Connection;

use super::damage::read_what_can_be_read;
use super::exclude::is_excluded;
use crate::error::Result;
use crate::store::Trace;
use crate::store::sqlite::{Access, begin_write, open, quote, sqlite_error};

const TABLES: [&str; 11] = [
    "csb_store",
    "csb_table",
    "csb_change",
    "csb_barrier",
    "csb_standby",
    "csb_quarantine",
    "csb_damaged",
    "csb_former",
    "csb_copy",
    "csb_copy_after",
    "csb_shadow",
];

/// Kind and name of each. Triggers come first: a table takes its own ones with it, but not those on the server's tables.
fn objects(connection: &Connection) -> rusqlite::Result<Vec<(String, String)>> {
    let found: Vec<(String, String)> = connection
        .prepare(
            "SELECT type, name FROM sqlite_schema WHERE substr(name, 1, 4) = 'csb_' AND type IN ('trigger', 'table')
             ORDER BY type = 'table', name",
        )?
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect::<rusqlite::Result<_>>()?;
    let is_ours = |(kind, name): &(String, String)| match kind.as_str() {
        "table" => TABLES.contains(&name.as_str()) || name.starts_with("csb_damaged_"),
        _ => name.starts_with("csb_t") || name.starts_with("csb_fence_"),
    };
    Ok(found.into_iter().filter(is_ours).collect())
}

/// Patterns of `exclude` that fit no table of a copy: probably one is misspelt.
pub(super) fn idle_patterns(standby: &Path, exclude: &[String]) -> Vec<String> {
    if exclude.is_empty() {
        return Vec::new();
    }
    let tables = open(standby, Access::Read).ok().and_then(|connection| {
        // Virtual ones count: a pattern may well be meant for one.
        let mut tables = connection.prepare("SELECT name FROM sqlite_schema WHERE type = 'table'").ok()?;
        tables.query_map([], |row| row.get(0)).ok()?.collect::<rusqlite::Result<Vec<String>>>().ok()
    });
    // A schema that this SQLite cannot read says nothing about patterns.
    let Some(tables) = tables else { return Vec::new() };
    let fits =
        |pattern: &String| tables.iter().any(|table| is_excluded(table, std::slice::from_ref(pattern)));
    let idle = exclude.iter().filter(|pattern| !fits(pattern));
    idle.map(|pattern| format!("\"{pattern}\" in exclude fits no table of the user store.")).collect()
}

/// What a report says of tables that this SQLite does not understand: they are copied like all others.
pub(super) fn not_understood(standby: &Path) -> Option<String> {
    let connection = open(standby, Access::Read).ok()?;
    read_what_can_be_read(&connection).ok()?;
    let sql = "SELECT group_concat(name, ', ') FROM sqlite_schema
        WHERE type = 'table' AND rootpage > 0 AND name NOT IN (SELECT name FROM pragma_table_list WHERE schema = 'main')";
    let names: Option<String> = connection.query_row(sql, [], |row| row.get(0)).ok()?;
    names.map(|names| {
        format!(
            "Copied, and not checked, because this SQLite does not understand their declaration: {names}."
        )
    })
}

/// What there is of it in a copy, and so in its source.
pub(super) fn in_copy(standby: &Path) -> Vec<(String, String)> {
    // A schema that this SQLite cannot read has nothing of ours.
    open(standby, Access::Read).ok().and_then(|connection| objects(&connection).ok()).unwrap_or_default()
}

/// What a report says of it.
pub(super) fn warning(found: &[(String, String)]) -> Option<String> {
    let names: Vec<&str> = found.iter().map(|(_, name)| name.as_str()).collect();
    (!names.is_empty()).then(|| {
        format!(
            "An earlier build left this in the server's database: {}. Nothing needs it any more; Disable-CsPoolBackup removes it.",
            names.join(", ")
        )
    })
}

/// Removes it from the source.
///
/// # Errors
/// `StoreBusy`, `AccessDenied` and failures of the database: nothing is removed then.
pub(super) fn remove(source: &Path) -> Result<Vec<Trace>> {
    let failed = |cause| sqlite_error("clean", source, &cause);
    let connection = open(source, Access::Write)?;
    let transaction = begin_write(&connection).map_err(failed)?;
    let found = objects(&transaction).map_err(failed)?;
    for (kind, name) in &found {
        let sql = format!("DROP {} {}", kind.to_ascii_uppercase(), quote(name));
        transaction.execute_batch(&sql).map_err(failed)?;
    }
    transaction.commit().map_err(failed)?;
    Ok(traces(source, found))
}

/// As they are listed.
pub(super) fn traces(source: &Path, found: Vec<(String, String)>) -> Vec<Trace> {
    let store = format!("sqlite:{}", source.display());
    found.into_iter().map(|(kind, name)| Trace { store: store.clone(), kind, name }).collect()
}
