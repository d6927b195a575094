//! Names that only this product may use: whatever else has one is not ours to overwrite, nor to remove.

use rusqlite::Connection;

use super::PREFIX;
use crate::error::{Error, ErrorKind};

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

/// Whether an object with our prefix was made by this product.
pub(super) fn is_ours(kind: &str, name: &str) -> bool {
    match kind {
        "table" => TABLES.contains(&name) || name.starts_with("csb_damaged_"),
        "trigger" => name.starts_with("csb_t") || name.starts_with("csb_fence_"),
        _ => false,
    }
}

/// What this product has made in a database, kind and name. Triggers come first: a table takes its own triggers with it,
/// but not those of ours on the server's tables.
pub(super) fn own_objects(connection: &Connection) -> rusqlite::Result<Vec<(String, String)>> {
    let found: Vec<(String, String)> = connection
        .prepare(
            "SELECT type, name FROM sqlite_schema WHERE substr(name, 1, 4) = ?1 AND type IN ('trigger', 'table')
             ORDER BY type = 'table', name",
        )?
        .query_map([PREFIX], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect::<rusqlite::Result<_>>()?;
    Ok(found.into_iter().filter(|(kind, name)| is_ours(kind, name)).collect())
}

/// The error of a database whose server has objects of its own with our prefix; SQLite compares names without case.
pub(super) fn refusal(connection: &Connection) -> rusqlite::Result<Option<Error>> {
    let mut statement = connection.prepare(
        "SELECT type, name FROM sqlite_schema WHERE lower(substr(name, 1, 4)) = 'csb_' AND sql IS NOT NULL ORDER BY name",
    )?;
    let found: Vec<(String, String)> =
        statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?.collect::<rusqlite::Result<_>>()?;
    let names: Vec<String> =
        found.into_iter().filter(|(kind, name)| !is_ours(kind, name)).map(|(_, name)| name).collect();
    if names.is_empty() {
        return Ok(None);
    }
    let names = names.join(", ");
    let message =
        format!("The server's database has objects with names that only this product may use: {names}.");
    let advice = "Give them names that do not begin with csb_, then run the command again.";
    Ok(Some(Error::new(ErrorKind::ForeignContent, message, advice).at("tables", names)))
}
