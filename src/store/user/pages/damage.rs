//! Whether a database is sound.

use std::collections::BTreeMap;
use std::path::Path;

use rusqlite::{Connection, OpenFlags};

use crate::error::{Error, ErrorKind, Result, Side};
use crate::store::sqlite::format::check::Suspect;
use crate::store::sqlite::sqlite_error;

/// Findings of a check that are shown.
const MOST_FINDINGS: usize = 20;

/// Opens a copy that nobody else can read or write meanwhile, past the locks and the journal of the commit under way.
pub(super) fn open_alone(path: &Path) -> Result<Connection> {
    let failed = |cause| sqlite_error("open", path, &cause);
    let flags =
        OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    Connection::open_with_flags(alone_url(path)?.as_str(), flags).map_err(failed)
}

/// What SQLite opens so.
pub(super) fn alone_url(path: &Path) -> Result<url::Url> {
    let mut url = url::Url::from_file_path(path)
        .map_err(|()| Error::io("open", path, &std::io::Error::from(std::io::ErrorKind::InvalidInput)))?;
    url.set_query(Some("immutable=1"));
    Ok(url)
}

/// A schema with something in it that this SQLite does not understand keeps it from that and from nothing else. Said before the schema is
/// first read.
pub(super) fn read_what_can_be_read(connection: &Connection) -> rusqlite::Result<()> {
    connection.pragma_update(None, "writable_schema", true)
}

/// Looks through a copy for damage of its structure, which nobody reads or writes meanwhile. What violates a constraint, or an index that
/// does not fit its table, is the server's business; what cannot be checked without functions of the server's is not checked; and what is
/// known already does not count. A thorough check looks into every index, too. The marks of what is known and still there.
///
/// # Errors
/// `Corrupt`, naming the page, what it belongs to, and what to do.
pub(super) fn check(
    path: &Path,
    suspect: Option<&Suspect>,
    source: &Path,
    known: &[u64],
    thorough: bool,
) -> Result<Vec<u64>> {
    let connection = open_alone(path)?;
    let (still, findings): (Vec<_>, Vec<_>) =
        structure(&connection, thorough).into_iter().partition(|finding| known.contains(&mark(finding)));
    if findings.is_empty() {
        return Ok(marks(&still));
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
    let look = || {
        connection.prepare(check).and_then(|mut statement| {
            statement.query_map([], |row| row.get::<_, String>(0))?.collect::<rusqlite::Result<Vec<_>>>()
        })
    };
    match look() {
        Ok(found) => found.iter().flat_map(|text| structural(text)).collect(),
        Err(cause) if is_not_understood(&cause) => {
            // The rest of it can be looked at, where nobody knows what the pages belong to that seem to belong to nothing.
            let found = read_what_can_be_read(connection).and_then(|()| look()).unwrap_or_default();
            let lines = found.iter().flat_map(|text| structural(text));
            lines.filter(|line| !line.ends_with("never used")).collect()
        }
        Err(cause) if is_damage(&cause) => vec![cause.to_string()],
        Err(_) => Vec::new(),
    }
}

/// Whether a schema declares something in words that this SQLite does not know: that is no damage.
fn is_not_understood(cause: &rusqlite::Error) -> bool {
    let text = cause.to_string();
    text.starts_with("malformed database schema") && !text.contains("rootpage") && !text.contains("orphan")
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

/// The tables and indexes that pages belong to which differed, for a report; none where nothing differed.
pub(super) fn owners(copy: &Path, pages: &[u32]) -> Option<String> {
    let connection = open_alone(copy).ok().filter(|_| !pages.is_empty())?;
    read_what_can_be_read(&connection).ok()?;
    let mut statement = connection.prepare("SELECT name, pageno FROM dbstat").ok()?;
    let rows = statement.query_map([], |row| Ok((row.get::<_, String>(0)?, row.get::<_, u32>(1)?))).ok()?;
    let mut owners: BTreeMap<String, u32> = BTreeMap::new();
    for (name, _) in rows.flatten().filter(|(_, page)| pages.binary_search(page).is_ok()) {
        *owners.entry(name).or_default() += 1;
    }
    let named: u32 = owners.values().sum();
    let free = pages.len() as u64 - u64::from(named);
    let mut named: Vec<String> =
        owners.into_iter().map(|(name, pages)| format!("{name} ({pages})")).collect();
    named.extend((free > 0).then(|| format!("no table ({free})")));
    Some(format!("Pages that differed, by table or index: {}.", named.join(", ")))
}

/// The table or index that a page belongs to.
fn owner(connection: &Connection, page: u32) -> Option<String> {
    read_what_can_be_read(connection).ok()?;
    connection
        .query_row("SELECT name FROM dbstat WHERE pageno = ?1", [page], |row| row.get::<_, String>(0))
        .ok()
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
