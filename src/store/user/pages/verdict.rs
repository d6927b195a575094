//! Whether a new state of a copy may stand: whether it is a sound database, and whether it lacks more than anybody would delete.

use std::collections::BTreeMap;
use std::path::Path;

use rusqlite::{Connection, OpenFlags};

use super::end::Exported;
use super::exclude::is_excluded;
use super::format::check::is_empty_leaf;
use super::format::header::Header;
use super::snapshot::Suspect;
use super::staged::Ready;
use super::standby::{Existing, Standby};
use crate::error::{Error, ErrorKind, Result, Side};
use crate::store::sqlite::{Access, open, quote, sqlite_error};

/// Findings of a check that are shown.
const MOST_FINDINGS: usize = 20;
/// A table with fewer rows, or a smaller part of all rows, may go unasked.
const FEW_ROWS: u64 = 1_000;
const SMALL_SHARE: f64 = 0.1;
/// A store with fewer pages may shrink as it likes.
const FEW_PAGES: u32 = 64;

/// Opens a copy that nobody else can read or write meanwhile, past the locks and the journal of the commit under way.
fn open_alone(path: &Path) -> Result<Connection> {
    let failed = |cause| sqlite_error("open", path, &cause);
    let mut url = url::Url::from_file_path(path)
        .map_err(|()| Error::io("open", path, &std::io::Error::from(std::io::ErrorKind::InvalidInput)))?;
    url.set_query(Some("immutable=1"));
    let flags =
        OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    Connection::open_with_flags(url.as_str(), flags).map_err(failed)
}

/// Looks through a copy for damage of its structure, which nobody reads or writes meanwhile. What violates a constraint, or an index that
/// does not fit its table, is the server's business; what cannot be checked without functions of the server's is not checked; and what is
/// known already does not count. A thorough check looks into every index, too.
///
/// # Errors
/// `Corrupt`, naming the page, what it belongs to, and what to do.
pub(super) fn check(
    path: &Path,
    suspect: Option<&Suspect>,
    source: &Path,
    known: &[u64],
    thorough: bool,
) -> Result<()> {
    let connection = open_alone(path)?;
    let mut findings = structure(&connection, thorough);
    findings.retain(|finding| !known.contains(&mark(finding)));
    if findings.is_empty() {
        return Ok(());
    }
    let place = suspect.map(|suspect| {
        let owner =
            owner(&connection, suspect.page).unwrap_or_else(|| "an object that cannot be named".to_owned());
        format!(" Page {} ({owner}): {}.", suspect.page, suspect.fault)
    });
    Err(Error::new(
        ErrorKind::Corrupt,
        format!("{} is damaged.{}", source.display(), place.unwrap_or_default()),
        "The copy keeps the last good state. Restore the store from it (Restore-CsPoolBackup), or mend the store with its server stopped (the recover command of the sqlite3 shell), then run the command again.",
    )
    .at("path", source.display())
    .at("findings", findings.into_iter().take(MOST_FINDINGS).collect::<Vec<_>>().join("; "))
    .on(Side::Export))
}

/// What is wrong with the structure of a database that nobody else has open.
///
/// # Errors
/// Where it cannot be opened.
pub(super) fn findings(path: &Path) -> Result<Vec<String>> {
    Ok(structure(&open_alone(path)?, false))
}

/// What the report says of damage that a first copy has from its source.
pub(super) fn damage(source: &Path, findings: &[String], suspect: Option<&Suspect>) -> Option<String> {
    let first = findings.first()?;
    let page = suspect.map_or(String::new(), |suspect| format!(" Page {}: {}.", suspect.page, suspect.fault));
    Some(format!(
        "{} is damaged, and so is its copy: {first}.{page} Mend the store with its server stopped (the recover command of the sqlite3 shell).",
        source.display()
    ))
}

/// By which findings are known again.
pub(super) fn marks(findings: &[String]) -> Vec<u64> {
    findings.iter().map(|finding| mark(finding)).collect()
}

fn mark(finding: &str) -> u64 {
    xxhash_rust::xxh3::xxh3_64(finding.as_bytes())
}

fn structure(connection: &Connection, thorough: bool) -> Vec<String> {
    let check = if thorough { "PRAGMA integrity_check(100)" } else { "PRAGMA quick_check(100)" };
    let found = connection.prepare(check).and_then(|mut statement| {
        statement.query_map([], |row| row.get::<_, String>(0))?.collect::<rusqlite::Result<Vec<_>>>()
    });
    match found {
        Ok(found) => found.into_iter().flat_map(|text| structural(&text)).collect(),
        Err(cause) if is_damage(&cause) => vec![cause.to_string()],
        Err(_) => Vec::new(),
    }
}

fn is_damage(cause: &rusqlite::Error) -> bool {
    matches!(
        cause.sqlite_error_code(),
        Some(rusqlite::ErrorCode::DatabaseCorrupt | rusqlite::ErrorCode::NotADatabase)
    )
}

/// The lines of a finding that are about pages and trees.
fn structural(text: &str) -> Vec<String> {
    let is_structural = |line: &&str| {
        [
            "Tree ",
            "Page ",
            "Freelist",
            "On tree page",
            "Main freelist",
            "Fragmentation",
            "Multiple uses",
            "Rowid ",
        ]
        .iter()
        .any(|start| line.starts_with(start))
    };
    text.lines().filter(is_structural).map(str::to_owned).collect()
}

/// The table or index that a page belongs to.
fn owner(connection: &Connection, page: u32) -> Option<String> {
    connection
        .query_row("SELECT name FROM dbstat WHERE pageno = ?1", [page], |row| row.get::<_, String>(0))
        .ok()
}

/// The tables of a copy and how many rows each has. What cannot be counted without functions of the server's is left out.
fn count(connection: &Connection, exclude: &[String]) -> rusqlite::Result<BTreeMap<String, u64>> {
    let tables: Vec<String> = connection
        .prepare(
            "SELECT name FROM sqlite_schema WHERE type = 'table' AND rootpage > 0 AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\'",
        )?
        .query_map([], |row| row.get(0))?
        .collect::<rusqlite::Result<_>>()?;
    let mut counted = BTreeMap::new();
    for table in tables.into_iter().filter(|table| !is_excluded(table, exclude)) {
        let sql = format!("SELECT count(*) FROM {}", quote(&table));
        if let Ok(rows) = connection.query_row(&sql, [], |row| row.get::<_, i64>(0)) {
            counted.insert(table, rows.unsigned_abs());
        }
    }
    Ok(counted)
}

/// Whether one of these pages, which hold nothing any more, is all that a table of many rows has left.
fn has_lost_a_table(connection: &Connection, emptied: &[u32], exclude: &[String]) -> rusqlite::Result<bool> {
    let mut tables = connection
        .prepare("SELECT name, rootpage FROM sqlite_schema WHERE type = 'table' AND rootpage > 0")?;
    let tables: Vec<(String, u32)> =
        tables.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?.collect::<rusqlite::Result<_>>()?;
    let is_lost = |(table, root): &(String, u32)| emptied.contains(root) && !is_excluded(table, exclude);
    for (table, _) in tables.iter().filter(|table| is_lost(table)) {
        let sql = format!("SELECT count(*) FROM (SELECT 1 FROM {} LIMIT {})", quote(table), FEW_ROWS + 1);
        let rows: i64 = connection.query_row(&sql, [], |row| row.get(0))?;
        if rows.unsigned_abs() > FEW_ROWS {
            return Ok(true);
        }
    }
    Ok(false)
}

/// What the copy held before a commit that may take away more than anybody would delete.
#[derive(Debug, Default)]
pub(super) struct Before {
    /// Rows by table; none where nothing looks like a loss, or it was accepted.
    rows: Option<BTreeMap<String, u64>>,
    exclude: Vec<String>,
    /// Used pages before and after.
    used: (u32, u32),
    /// Whether the source is another file than before.
    is_other: bool,
    is_older: bool,
}

impl Before {
    /// Counts what the copy holds, where the staged pages look as if a table had gone or been emptied.
    ///
    /// # Errors
    /// Failures to read the copy.
    pub(super) fn of(
        standby: &Standby,
        existing: &Existing,
        exported: &Exported,
        ready: &Ready,
        accepted: bool,
    ) -> Result<Self> {
        let known = existing.known();
        let free = exported.first_page.as_deref().and_then(Header::read).map(|header| header.free_pages);
        let used_before = existing.pages.saturating_sub(existing.header.free_pages);
        let used = exported.pages.saturating_sub(free.unwrap_or(existing.header.free_pages));
        let is_other = known.is_some_and(|known| !known.source.is_of_same_file(&exported.mark));
        let mut before = Before {
            rows: None,
            exclude: standby.exclude.clone(),
            used: (used_before, used),
            is_other,
            is_older: known.is_some_and(|known| {
                exported.mark.change_counter.wrapping_sub(known.source.change_counter) > u32::MAX / 2
            }),
        };
        let has_new_schema =
            known.is_none_or(|known| known.source.schema_cookie != exported.mark.schema_cookie);
        let mut emptied = Vec::new();
        ready.each(|page, content| {
            emptied.extend(is_empty_leaf(page, content).then_some(page));
            Ok(())
        })?;
        let looks_like_loss = before.is_half_gone() || is_other || before.is_older || has_new_schema;
        if accepted || !looks_like_loss && emptied.is_empty() {
            return Ok(before);
        }
        let connection = open(standby.path(), Access::Read)?;
        // A schema that this SQLite cannot read counts nothing, and refuses nothing.
        if looks_like_loss || has_lost_a_table(&connection, &emptied, &before.exclude).unwrap_or(false) {
            before.rows = count(&connection, &before.exclude).ok();
        }
        Ok(before)
    }

    /// Whether the source is another file than before.
    pub(super) fn is_other(&self) -> bool {
        self.is_other
    }

    fn is_half_gone(&self) -> bool {
        self.used.0 > FEW_PAGES && self.used.1 < self.used.0 / 2
    }

    /// Why the copy is changed, for the history.
    pub(super) fn reason(&self) -> Option<String> {
        if self.is_older {
            return Some("The source was set back to an older state.".to_owned());
        }
        self.is_other.then(|| "The source is another file than before.".to_owned())
    }

    /// What the report says of it.
    pub(super) fn warnings(&self) -> Option<String> {
        let undo = "The copy follows; Restore-CsPoolBackup brings back what it was before.";
        self.reason().map(|reason| format!("{reason} {undo}"))
    }

    /// Refuses a state that lacks too much.
    ///
    /// # Errors
    /// `SafetyShareExceeded`, with tables and rows.
    pub(super) fn judge(&self, path: &Path) -> Result<()> {
        let Some(before) = &self.rows else { return Ok(()) };
        let connection = open_alone(path)?;
        let Ok(after) = count(&connection, &self.exclude) else { return Ok(()) };
        let (all, left): (u64, u64) = (before.values().sum(), after.values().sum());
        let left_of = |table: &str| after.get(table).copied().unwrap_or(0);
        let share = |rows: u64| rows as f64 / all.max(1) as f64;
        let mut missing: Vec<String> = Vec::new();
        for (table, rows) in before {
            let is_gone = left_of(table) == 0 && *rows > FEW_ROWS && share(*rows) >= SMALL_SHARE;
            if is_gone {
                let how = if after.contains_key(table) { "is empty" } else { "is gone" };
                missing.push(format!("{table} {how} ({rows} rows before)"));
            }
        }
        let is_made_anew = self.is_other && left * 2 < all;
        if (is_made_anew || self.is_half_gone()) && missing.is_empty() {
            let less = before.iter().filter(|(table, rows)| left_of(table) < **rows);
            missing
                .extend(less.map(|(table, rows)| format!("{table} has {} of {rows} rows", left_of(table))));
            if self.is_half_gone() && missing.is_empty() {
                // Free pages were given back, and no row is missing.
                return Ok(());
            }
        }
        if missing.is_empty() {
            return Ok(());
        }
        let made_anew = if self.is_other { " It is another file than before." } else { "" };
        Err(Error::new(
            ErrorKind::SafetyShareExceeded,
            format!("The user store lacks more than anybody deletes in a while: {}.{made_anew}", missing.join(", ")),
            "The copy keeps what it has. If the rows were lost, restore them from it (Restore-CsPoolBackup); if they were meant to go, run the command with -AcceptDeletions.",
        )
        .at("rowsBefore", all)
        .at("rowsAfter", left)
        .on(Side::Export))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_lines_about_structure_count() {
        let text = "Tree 2 page 2 cell 0: Offset 9 out of range 10..4090\nNULL value in t.x";
        assert_eq!(structural(text), ["Tree 2 page 2 cell 0: Offset 9 out of range 10..4090"]);
        assert!(structural("CHECK constraint failed in t\nrow 3 missing from index i").is_empty());
    }
}
