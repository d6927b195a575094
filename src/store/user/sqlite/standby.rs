//! The standby copy: what it was copied from and how far, and the fence that keeps everybody else from writing.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::path::Path;

use rusqlite::{Connection, ErrorCode, OptionalExtension, params, params_from_iter};
use uuid::Uuid;

use super::capture::has_table;
use super::datum::{Datum, Row};
use super::schema::{SchemaObject, Table, objects};
use crate::error::{Error, ErrorKind, Result};
use crate::store::Generation;
use crate::store::sqlite::{Access, open, quote, sqlite_error};
use crate::store::user::Cursor;

const TABLES: &str = "
CREATE TABLE IF NOT EXISTS csb_standby (id INTEGER PRIMARY KEY CHECK (id = 1), source_id TEXT NOT NULL,
    position INTEGER NOT NULL, token TEXT NOT NULL, generation INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS csb_quarantine (table_name TEXT NOT NULL, k0, k1, k2, k3, k4, k5, k6, k7, reason TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS csb_damaged (table_name TEXT PRIMARY KEY NOT NULL);
";

/// The table that a former copy keeps.
pub(super) const FORMER: &str = "csb_former";

/// What lies at the standby's place.
pub(super) enum Found {
    /// Nothing.
    Missing,
    /// A copy of ours.
    Copy(Cursor),
    /// A copy of ours that does not say any more how far it goes.
    WithoutCursor,
    /// A former copy of ours, or a database without a table: it is set aside when a new copy is made.
    Former,
    /// A database that is so damaged that it cannot be said what it is: it is set aside when a new copy is made.
    Damaged,
    /// Something that is not a copy of ours: it is left alone.
    Foreign,
}

/// Looks at the standby's place.
///
/// # Errors
/// When something is there and cannot be read.
pub(super) fn examine(path: &Path) -> Result<Found> {
    if !path.exists() {
        return Ok(Found::Missing);
    }
    let connection = open(path, Access::Read)?;
    let look = || -> rusqlite::Result<Found> {
        Ok(match cursor(&connection)? {
            Some(cursor) => Found::Copy(cursor),
            None if is_ours(&connection)? => Found::WithoutCursor,
            None if has_table(&connection, FORMER)? || objects(&connection)?.is_empty() => Found::Former,
            None => Found::Foreign,
        })
    };
    match look() {
        Err(cause) if cause.sqlite_error_code() == Some(ErrorCode::DatabaseCorrupt) => Ok(Found::Damaged),
        Err(cause) if cause.sqlite_error_code() == Some(ErrorCode::NotADatabase) => Ok(Found::Foreign),
        found => found.map_err(|cause| sqlite_error("read", path, &cause)),
    }
}

/// Whether a database without a cursor has something that only a copy of ours has.
fn is_ours(connection: &Connection) -> rusqlite::Result<bool> {
    connection.query_row(
        "SELECT EXISTS (SELECT 1 FROM sqlite_schema WHERE name IN ('csb_standby', 'csb_quarantine')
                        OR type = 'trigger' AND substr(name, 1, 10) = 'csb_fence_')",
        [],
        |row| row.get(0),
    )
}

/// Leaves a note that this was a copy of ours, after every other trace was removed: a later backup of the pool may
/// then put a new copy in its place.
pub(super) fn mark_as_former(connection: &Connection) -> rusqlite::Result<()> {
    connection.execute_batch(&format!("CREATE TABLE IF NOT EXISTS {FORMER} (note TEXT)"))
}

/// Where the copy stands.
pub(super) fn cursor(connection: &Connection) -> rusqlite::Result<Option<Cursor>> {
    if !has_table(connection, "csb_standby")? {
        return Ok(None);
    }
    let row: Option<(String, i64, String)> = connection
        .query_row("SELECT source_id, position, token FROM csb_standby", [], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?))
        })
        .optional()?;
    Ok(row.and_then(|(source, position, token)| {
        Some(Cursor {
            store_id: Uuid::parse_str(&source).ok()?,
            position,
            token: Uuid::parse_str(&token).ok()?,
        })
    }))
}

/// Creates the tables of a new copy.
pub(super) fn create(connection: &Connection) -> rusqlite::Result<()> {
    connection.execute_batch(TABLES)
}

/// Begins an import: refuses a generation older than one that has written here before.
///
/// # Errors
/// `Fenced`.
pub(super) fn check_generation(connection: &Connection, path: &Path, generation: Generation) -> Result<()> {
    if !has_table(connection, "csb_standby").map_err(|cause| sqlite_error("read", path, &cause))? {
        return Ok(());
    }
    let seen: Option<i64> = connection
        .query_row("SELECT generation FROM csb_standby", [], |row| row.get(0))
        .optional()
        .map_err(|cause| sqlite_error("read", path, &cause))?;
    if seen.is_none_or(|seen| seen <= generation.0) {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::Fenced,
        format!("A newer owner has written to the standby copy {}.", path.display()),
        "Nothing is lost: that owner goes on. Look at it with Get-CsBackupJob.",
    ))
}

/// Moves the cursor, in the transaction that wrote the rows.
pub(super) fn set_cursor(
    connection: &Connection,
    cursor: &Cursor,
    generation: Generation,
) -> rusqlite::Result<()> {
    connection.execute(
        "INSERT INTO csb_standby (id, source_id, position, token, generation) VALUES (1, ?1, ?2, ?3, ?4)
         ON CONFLICT (id) DO UPDATE SET source_id = excluded.source_id, position = excluded.position,
             token = excluded.token, generation = excluded.generation",
        params![cursor.store_id.to_string(), cursor.position, cursor.token.to_string(), generation.0],
    )?;
    Ok(())
}

/// Fences every table that can have triggers, so neither virtual ones nor their shadow tables: writes by anybody whose triggers are on fail with "pool is read-only". The importer's
/// connection has its triggers off.
pub(super) fn raise_fence(connection: &Connection, objects: &[SchemaObject]) -> rusqlite::Result<()> {
    drop_fence(connection)?;
    for trigger in fence(objects).values() {
        connection.execute_batch(&trigger.sql)?;
    }
    Ok(())
}

/// The tables whose fence is not as it was raised.
pub(super) fn breached(
    connection: &Connection,
    objects: &[SchemaObject],
) -> rusqlite::Result<BTreeSet<String>> {
    let standing: BTreeMap<String, String> = connection
        .prepare("SELECT name, sql FROM sqlite_schema WHERE type = 'trigger' AND substr(name, 1, 10) = 'csb_fence_'")?
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect::<rusqlite::Result<_>>()?;
    let wanted = fence(objects).into_iter();
    Ok(wanted
        .filter(|(name, trigger)| standing.get(name) != Some(&trigger.sql))
        .map(|(_, trigger)| trigger.table)
        .collect())
}

/// One trigger of the fence.
struct Trigger {
    table: String,
    sql: String,
}

/// The triggers that fence these objects, by name.
fn fence(objects: &[SchemaObject]) -> BTreeMap<String, Trigger> {
    let is_plain =
        |object: &&SchemaObject| object.kind == "table" && !object.is_virtual() && object.shadow_of.is_none();
    let mut triggers = BTreeMap::new();
    for (number, table) in objects.iter().filter(is_plain).enumerate() {
        for event in ["INSERT", "UPDATE", "DELETE"] {
            let name = format!("csb_fence_{number}_{}", event.to_ascii_lowercase());
            let sql = format!(
                "CREATE TRIGGER {name} BEFORE {event} ON {} BEGIN SELECT RAISE(ABORT, 'pool is read-only'); END",
                quote(&table.name)
            );
            triggers.insert(name, Trigger { table: table.name.clone(), sql });
        }
    }
    triggers
}

/// Takes the fence away.
pub(super) fn drop_fence(connection: &Connection) -> rusqlite::Result<()> {
    let names: Vec<String> = connection
        .prepare(
            "SELECT name FROM sqlite_schema WHERE type = 'trigger' AND substr(name, 1, 10) = 'csb_fence_'",
        )?
        .query_map([], |row| row.get(0))?
        .collect::<rusqlite::Result<_>>()?;
    for name in names {
        connection.execute_batch(&format!("DROP TRIGGER {}", quote(&name)))?;
    }
    Ok(())
}

/// The keys of a table that are in quarantine.
pub(super) fn quarantined(connection: &Connection, table: &Table) -> rusqlite::Result<HashSet<Row>> {
    widen_quarantine(connection, table)?;
    let sql = format!("SELECT {} FROM csb_quarantine WHERE table_name = ?1", quarantine_columns(table));
    connection
        .prepare(&sql)?
        .query_map([&table.name], |row| (0..table.key.len()).map(|i| row.get(i)).collect())?
        .collect()
}

/// The quarantine has as many key columns as the widest key that was put there.
fn widen_quarantine(connection: &Connection, table: &Table) -> rusqlite::Result<()> {
    let present: usize = connection.query_row(
        "SELECT count(*) FROM pragma_table_info('csb_quarantine') WHERE name GLOB 'k[0-9]*'",
        [],
        |row| row.get::<_, u32>(0).map(|width| width as usize),
    )?;
    for column in present..table.key.len() {
        connection.execute_batch(&format!("ALTER TABLE csb_quarantine ADD COLUMN k{column}"))?;
    }
    Ok(())
}

fn quarantine_columns(table: &Table) -> String {
    (0..table.key.len()).map(|i| format!("k{i}")).collect::<Vec<_>>().join(", ")
}

/// Takes the keys of a table that could not be copied before out of the quarantine, to be tried again.
pub(super) fn take_quarantined(connection: &Connection, table: &Table) -> rusqlite::Result<Vec<Row>> {
    let keys = quarantined(connection, table)?.into_iter().collect();
    connection.execute("DELETE FROM csb_quarantine WHERE table_name = ?1", [&table.name])?;
    Ok(keys)
}

/// Whether anything is in quarantine.
pub(super) fn has_quarantined(connection: &Connection) -> rusqlite::Result<bool> {
    connection.query_row(
        "SELECT EXISTS (SELECT 1 FROM csb_quarantine) OR EXISTS (SELECT 1 FROM csb_damaged)",
        [],
        |row| row.get(0),
    )
}

/// Remembers that a table could not be read whole at the source.
pub(super) fn mark_damaged(connection: &Connection, table: &Table) -> rusqlite::Result<()> {
    connection.execute("INSERT OR IGNORE INTO csb_damaged (table_name) VALUES (?1)", [&table.name])?;
    Ok(())
}

/// Takes the tables out of the list that could not be read whole when they were copied last, to be tried again.
pub(super) fn take_damaged(connection: &Connection) -> rusqlite::Result<BTreeSet<String>> {
    let mut statement = connection.prepare("SELECT table_name FROM csb_damaged")?;
    let names = statement.query_map([], |row| row.get(0))?.collect::<rusqlite::Result<_>>()?;
    connection.execute("DELETE FROM csb_damaged", [])?;
    Ok(names)
}

/// Forgets what could not be copied of a table, which is copied whole now.
pub(super) fn forget_quarantined(connection: &Connection, table: &Table) -> rusqlite::Result<()> {
    connection.execute("DELETE FROM csb_quarantine WHERE table_name = ?1", [&table.name])?;
    connection.execute("DELETE FROM csb_damaged WHERE table_name = ?1", [&table.name])?;
    Ok(())
}

/// Remembers a key that could not be copied.
pub(super) fn quarantine(
    connection: &Connection,
    table: &Table,
    key: &[Datum],
    reason: &str,
) -> rusqlite::Result<()> {
    widen_quarantine(connection, table)?;
    let marks = (0..key.len()).map(|i| format!("?{}", i + 3)).collect::<Vec<_>>().join(", ");
    let columns = quarantine_columns(table);
    let sql = format!("INSERT INTO csb_quarantine (table_name, reason, {columns}) VALUES (?1, ?2, {marks})");
    let (name, reason) = (Datum::Text(table.name.clone().into()), Datum::Text(reason.into()));
    connection.execute(&sql, params_from_iter([&name, &reason].into_iter().chain(key)))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::testing::{empty_standby, with_source};
    use super::*;

    #[test]
    fn what_is_no_database_is_left_alone_and_a_locked_one_is_busy() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("standby.sqlite");
        std::fs::write(&path, "a letter to somebody, and not at all a database".repeat(100)).unwrap();
        assert!(matches!(examine(&path), Ok(Found::Foreign)));
        std::fs::remove_file(&path).unwrap();
        let owner = Connection::open(&path).unwrap();
        owner.execute_batch("CREATE TABLE t (v); BEGIN EXCLUSIVE").unwrap();
        assert_eq!(examine(&path).err().unwrap().kind, ErrorKind::StoreBusy);
        drop(owner);
        assert!(matches!(examine(&path), Ok(Found::Foreign)));
    }

    #[test]
    fn what_could_not_be_copied_is_remembered_until_it_is_tried_again() {
        with_source("CREATE TABLE t (id INTEGER PRIMARY KEY)", |source, _| {
            let standby = empty_standby(source);
            let table = source.capture.schema.table("t").unwrap();
            assert!(!has_quarantined(&standby).unwrap());
            mark_damaged(&standby, table).unwrap();
            assert!(has_quarantined(&standby).unwrap());
            assert_eq!(take_damaged(&standby).unwrap(), BTreeSet::from(["t".to_owned()]));
            assert_eq!(take_damaged(&standby).unwrap(), BTreeSet::new());
            quarantine(&standby, table, &[Datum::Integer(7)], "refused").unwrap();
            mark_damaged(&standby, table).unwrap();
            forget_quarantined(&standby, table).unwrap();
            assert!(!has_quarantined(&standby).unwrap());
            quarantine(&standby, table, &[Datum::Integer(7)], "refused").unwrap();
            assert_eq!(take_quarantined(&standby, table).unwrap(), [[Datum::Integer(7)]]);
            assert!(!has_quarantined(&standby).unwrap());
        });
    }
}
