//! The change log at the active copy: who the store is, and triggers that write down which keys changed.
//!
//! The log is append-only and holds keys, not rows: what is exported is the row as it is then. Positions are never
//! used again, because the newest row always stays: AUTOINCREMENT would promise the same, but costs the server another
//! page for each of its transactions. No STRICT, no recent function: the server's own SQLite, which may be old, parses
//! this schema and runs these triggers.

use std::collections::BTreeMap;
use std::path::Path;

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, Transaction, params};
use uuid::Uuid;

use super::schema::{Schema, Table, schema_version};
use super::triggers::{Installed, triggers};
use crate::error::Result;
use crate::store::sqlite::{begin_write, sqlite_error};
use crate::store::user::Cursor;
use crate::topology::UserStoreConfig;

const TABLES: &str = "
CREATE TABLE IF NOT EXISTS csb_store (id INTEGER PRIMARY KEY CHECK (id = 1), store_id TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS csb_table (number INTEGER PRIMARY KEY, name TEXT NOT NULL, key TEXT NOT NULL,
    UNIQUE (name, key));
CREATE TABLE IF NOT EXISTS csb_change (position INTEGER PRIMARY KEY, table_number INTEGER NOT NULL,
    whole INTEGER NOT NULL DEFAULT 0, at_ms INTEGER NOT NULL, k0);
CREATE TABLE IF NOT EXISTS csb_barrier (id INTEGER PRIMARY KEY, token TEXT NOT NULL UNIQUE,
    position INTEGER NOT NULL);
";

/// The installed change log of an active copy.
#[derive(Clone, Debug)]
pub(super) struct Capture {
    pub(super) store_id: Uuid,
    /// The tables that the log's numbers stand for; a number that is missing here is of a table or key of the past.
    pub(super) tables: BTreeMap<i64, String>,
    /// Names of tables that the numbers of the past stand for.
    pub(super) former: BTreeMap<i64, String>,
    /// How many key columns the log has.
    pub(super) key_width: usize,
    pub(super) schema: Schema,
    /// What was installed or mended, a line each.
    pub(super) details: Vec<String>,
}

/// Makes sure that every table of the server is captured. Nothing is written where everything is as it should be;
/// a table whose triggers were missing or stale is marked to be copied whole, because writes to it went unseen.
///
/// # Errors
/// What [`Schema::read`] reports, and failures of the database.
pub(super) fn install(
    connection: &mut Connection,
    path: &Path,
    config: &UserStoreConfig,
    now: Timestamp,
) -> Result<Capture> {
    let failed = |cause| sqlite_error("install the change log in", path, &cause);
    let schema = Schema::read(connection, path, config)?;
    if is_installed(connection, &schema).map_err(failed)? {
        return describe(connection, schema, Vec::new()).map_err(failed);
    }
    let transaction = begin_write(connection).map_err(failed)?;
    let mut schema = Schema::read(&transaction, path, config)?;
    let details = write(&transaction, &schema, now).map_err(failed)?;
    schema.version = schema_version(&transaction).map_err(failed)?;
    let capture = describe(&transaction, schema, details).map_err(failed)?;
    transaction.commit().map_err(failed)?;
    Ok(capture)
}

/// The capture as it is, without writing; none where there is none.
pub(super) fn store_id(connection: &Connection) -> rusqlite::Result<Option<Uuid>> {
    if !has_table(connection, "csb_store")? {
        return Ok(None);
    }
    let id: Option<String> =
        connection.query_row("SELECT store_id FROM csb_store", [], |row| row.get(0)).optional()?;
    Ok(id.and_then(|id| Uuid::parse_str(&id).ok()))
}

/// The last position ever given out: that of the newest row, or one that a token was written for where somebody emptied
/// the log.
pub(super) fn last_position(connection: &Connection) -> rusqlite::Result<i64> {
    connection.query_row(
        "SELECT max(coalesce((SELECT max(position) FROM csb_change), 0),
                    coalesce((SELECT max(position) FROM csb_barrier), 0))",
        [],
        |row| row.get(0),
    )
}

/// Whether the newest row is there, so that the next one gets a new position.
fn has_newest(connection: &Connection) -> rusqlite::Result<bool> {
    connection.query_row(
        "SELECT coalesce((SELECT max(position) FROM csb_change), 0)
                >= coalesce((SELECT max(position) FROM csb_barrier), 0)",
        [],
        |row| row.get(0),
    )
}

/// Puts a row that says nothing at a position, so that the log goes on after it.
fn go_on_after(connection: &Connection, position: i64) -> rusqlite::Result<()> {
    connection.execute(
        "INSERT OR IGNORE INTO csb_change (position, table_number, at_ms) VALUES (?1, 0, 0)",
        [position],
    )?;
    Ok(())
}

/// Has the log go on after the last position that was ever given out.
pub(super) fn keep_positions(connection: &Connection) -> rusqlite::Result<()> {
    go_on_after(connection, last_position(connection)?)
}

/// Whether the source wrote this token down once: if not, it is not the source, or was restored to an earlier state.
pub(super) fn knows_token(connection: &Connection, token: Uuid) -> rusqlite::Result<bool> {
    connection
        .query_row("SELECT 1 FROM csb_barrier WHERE token = ?1", [token.to_string()], |_| Ok(()))
        .optional()
        .map(|found| found.is_some())
}

/// Writes a new token down, synchronously: when this returns, everything that was committed before is durable at the
/// source, so that the standby never holds what a power cut could take from the source.
pub(super) fn write_barrier(connection: &Connection, position: i64) -> rusqlite::Result<Uuid> {
    let token = Uuid::new_v4();
    connection.execute(
        "INSERT INTO csb_barrier (token, position) VALUES (?1, ?2)",
        params![token.to_string(), position],
    )?;
    Ok(token)
}

/// The position of the oldest token that the source still has: the last one that was confirmed.
pub(super) fn oldest_barrier(connection: &Connection) -> rusqlite::Result<Option<i64>> {
    connection
        .query_row("SELECT position FROM csb_barrier ORDER BY id LIMIT 1", [], |row| row.get(0))
        .optional()
}

/// Gives the store a new identity. What was copied from a later state of it, which it was set back from, is then the
/// copy of another store for ever, also when the two states come to look alike.
pub(super) fn begin_timeline(connection: &Connection) -> rusqlite::Result<Uuid> {
    let id = Uuid::new_v4();
    let transaction = begin_write(connection)?;
    transaction.execute("UPDATE csb_store SET store_id = ?1", [id.to_string()])?;
    transaction.commit()?;
    Ok(id)
}

/// The first position that the log still has.
pub(super) fn first_position(connection: &Connection) -> rusqlite::Result<Option<i64>> {
    connection.query_row("SELECT min(position) FROM csb_change", [], |row| row.get(0))
}

/// Removes some of what the standby holds from the log, but not the newest of it, and the tokens before the one it holds.
pub(super) fn forget_confirmed(
    connection: &Connection,
    confirmed: &Cursor,
    most: i64,
) -> rusqlite::Result<()> {
    let first = first_position(connection)?.unwrap_or(0);
    let before = confirmed.position.min(first.saturating_add(most));
    connection.execute("DELETE FROM csb_change WHERE position < ?1", [before])?;
    connection.execute(
        "DELETE FROM csb_barrier WHERE id < (SELECT id FROM csb_barrier WHERE token = ?1)",
        [confirmed.token.to_string()],
    )?;
    Ok(())
}

/// Creates an empty log that goes on after a cursor, for a store made from a standby copy.
pub(super) fn create_after(
    connection: &Connection,
    store_id: Uuid,
    position: i64,
    token: Uuid,
) -> rusqlite::Result<()> {
    connection.execute_batch(TABLES)?;
    connection.execute("INSERT INTO csb_store (id, store_id) VALUES (1, ?1)", [store_id.to_string()])?;
    go_on_after(connection, position)?;
    connection.execute(
        "INSERT INTO csb_barrier (token, position) VALUES (?1, ?2)",
        params![token.to_string(), position],
    )?;
    Ok(())
}

/// Takes back the marks that installing left in a log nobody has read yet: the standby holds these rows already.
pub(super) fn forget_changes(connection: &Connection, position: i64) -> rusqlite::Result<()> {
    connection.execute("DELETE FROM csb_change WHERE position > ?1", [position])?;
    Ok(())
}

pub(super) fn has_table(connection: &Connection, name: &str) -> rusqlite::Result<bool> {
    connection
        .query_row("SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = ?1", [name], |_| Ok(()))
        .optional()
        .map(|found| found.is_some())
}

fn is_installed(connection: &Connection, schema: &Schema) -> rusqlite::Result<bool> {
    if store_id(connection)?.is_none() || !has_newest(connection)? {
        return Ok(false);
    }
    let numbers = numbers(connection)?;
    let installed = Installed::read(connection)?;
    let mut wanted = 0;
    for table in &schema.tables {
        let Some(number) = numbers.get(&(table.name.clone(), key_json(table))) else { return Ok(false) };
        let triggers = triggers(table, *number);
        if !installed.has(&triggers) {
            return Ok(false);
        }
        wanted += triggers.len();
    }
    Ok(wanted == installed.count())
}

fn write(transaction: &Transaction<'_>, schema: &Schema, now: Timestamp) -> rusqlite::Result<Vec<String>> {
    let mut details = Vec::new();
    transaction.execute_batch(TABLES)?;
    if store_id(transaction)?.is_none() {
        transaction
            .execute("INSERT INTO csb_store (id, store_id) VALUES (1, ?1)", [Uuid::new_v4().to_string()])?;
    }
    widen_log(transaction, schema)?;
    // Somebody removed the newest rows, and nobody knows how many and of what.
    let is_cut = !has_newest(transaction)?;
    keep_positions(transaction)?;
    let mut installed = Installed::read(transaction)?;
    for table in &schema.tables {
        let number = number_of(transaction, table)?;
        let wanted = triggers(table, number);
        if !is_cut && installed.has(&wanted) {
            installed.keep(&wanted);
            continue;
        }
        installed.replace(transaction, &wanted)?;
        transaction.execute(
            "INSERT INTO csb_change (table_number, whole, at_ms) VALUES (?1, 1, ?2)",
            [number, now.as_millisecond()],
        )?;
        details.push(format!("Installed the change log's triggers on table {}.", table.name));
    }
    for stale in installed.finish(transaction)? {
        details.push(format!("Removed the stale trigger {stale}."));
    }
    Ok(details)
}

/// The log has as many key columns as the widest key; they have no type, so that values keep their storage class.
fn widen_log(connection: &Connection, schema: &Schema) -> rusqlite::Result<()> {
    let wanted = schema.tables.iter().map(|table| table.key.len()).max().unwrap_or(1);
    for column in key_width(connection)?..wanted {
        connection.execute_batch(&format!("ALTER TABLE csb_change ADD COLUMN k{column}"))?;
    }
    Ok(())
}

fn key_width(connection: &Connection) -> rusqlite::Result<usize> {
    connection.query_row(
        "SELECT count(*) FROM pragma_table_info('csb_change') WHERE name GLOB 'k[0-9]*'",
        [],
        |row| row.get::<_, u32>(0).map(|width| width as usize),
    )
}

fn describe(connection: &Connection, schema: Schema, details: Vec<String>) -> rusqlite::Result<Capture> {
    let mut tables = BTreeMap::new();
    let mut former = BTreeMap::new();
    for ((name, key), number) in numbers(connection)? {
        let current = schema.table(&name).is_some_and(|table| key_json(table) == key);
        if current {
            tables.insert(number, name)
        } else {
            former.insert(number, name)
        };
    }
    Ok(Capture {
        store_id: store_id(connection)?.unwrap_or_default(),
        tables,
        former,
        key_width: key_width(connection)?,
        schema,
        details,
    })
}

fn numbers(connection: &Connection) -> rusqlite::Result<BTreeMap<(String, String), i64>> {
    let mut statement = connection.prepare("SELECT name, key, number FROM csb_table")?;
    let rows = statement.query_map([], |row| Ok(((row.get(0)?, row.get(1)?), row.get(2)?)))?;
    rows.collect()
}

/// A table with another key is another table to the log: what was logged under the old key names no rows any more.
fn number_of(connection: &Connection, table: &Table) -> rusqlite::Result<i64> {
    connection.execute(
        "INSERT INTO csb_table (name, key) VALUES (?1, ?2) ON CONFLICT DO NOTHING",
        [&table.name, &key_json(table)],
    )?;
    connection.query_row(
        "SELECT number FROM csb_table WHERE name = ?1 AND key = ?2",
        [&table.name, &key_json(table)],
        |row| row.get(0),
    )
}

fn key_json(table: &Table) -> String {
    serde_json::Value::from(table.key.clone()).to_string()
}

#[cfg(test)]
mod tests {
    use super::super::testing::{numbers, with_source};
    use super::*;
    use crate::topology::StoreUrl;

    /// Installs the log again, with a key that the topology names.
    fn install_again(path: &Path, key: &str) -> Capture {
        let config = UserStoreConfig {
            url: StoreUrl::try_from(format!("sqlite:{}", path.display())).unwrap(),
            keys: [("t".to_owned(), vec![key.to_owned()])].into(),
            exclude: Vec::new(),
        };
        install(&mut Connection::open(path).unwrap(), path, &config, Timestamp::now()).unwrap()
    }

    #[test]
    fn no_position_is_given_out_again_after_somebody_emptied_the_log() {
        with_source("CREATE TABLE t (id INTEGER PRIMARY KEY)", |source, _| {
            let connection = source.connection;
            write_barrier(connection, 7).unwrap();
            assert_eq!(install_again(source.path, "id").details.len(), 1, "nobody knows what is missing");
            connection.execute_batch("INSERT INTO t VALUES (1)").unwrap();
            let newest =
                numbers(connection, "SELECT position FROM csb_change ORDER BY position DESC LIMIT 2");
            assert_eq!(newest, [9, 8]);
            assert_eq!(install_again(source.path, "id").details.len(), 0);
        });
    }

    #[test]
    fn a_table_with_another_key_is_another_one_to_the_log() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("users.sqlite");
        Connection::open(&path).unwrap().execute_batch("CREATE TABLE t (a, b)").unwrap();
        let (by_a, by_b) = (install_again(&path, "a"), install_again(&path, "b"));
        assert_eq!((by_a.tables.len(), by_a.former.len()), (1, 0));
        assert_eq!((by_b.tables.len(), &by_b.former), (1, &by_a.tables));
        assert_eq!(install_again(&path, "a").tables, by_a.tables);
    }
}
