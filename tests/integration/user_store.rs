//! The contract of a user store pair, on SQLite.

mod any_schema;
mod cycles;
mod first_copy;
mod interrupted;
mod keys;
mod model;
mod replace;
mod schema;
mod server;
mod standby;
mod traps;
mod verify;
mod virtual_tables;

use std::path::{Path, PathBuf};

use crate::support::database_url;
use cs_backup::error::Result;
use cs_backup::store::Generation;
use cs_backup::store::user::sqlite::SqlitePair;
use cs_backup::store::user::{PairOutcome, UserStorePair, Work};
use cs_backup::topology::UserStoreConfig;
use jiff::Timestamp;
use rusqlite::Connection;
use rusqlite::types::ValueRef;
use tokio_util::sync::CancellationToken;

/// A pair in a folder of its own; the server's connection has SQLite's own defaults.
pub struct Pair {
    folder: tempfile::TempDir,
    pub server: Connection,
    pub pair: SqlitePair,
}

impl Pair {
    pub fn new(schema: &str) -> Self {
        Self::configured(schema, |_| {})
    }

    pub fn configured(schema: &str, configure: impl FnOnce(&mut UserStoreConfig)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let source = folder.path().join("users.sqlite");
        let server = Connection::open(&source).unwrap();
        server.busy_timeout(std::time::Duration::from_secs(5)).unwrap();
        server.execute_batch(schema).unwrap();
        let mut config =
            UserStoreConfig { url: database_url(&source), keys: Default::default(), exclude: vec![] };
        configure(&mut config);
        let pair = SqlitePair::new(config, &folder.path().join("standby.sqlite"), 500).unwrap();
        Pair { folder, server, pair }
    }

    pub fn source(&self) -> PathBuf {
        self.folder.path().join("users.sqlite")
    }

    pub fn standby(&self) -> PathBuf {
        self.folder.path().join("standby.sqlite")
    }

    pub fn synchronize(&self) -> Result<PairOutcome> {
        self.synchronize_as(1)
    }

    pub fn synchronize_as(&self, generation: i64) -> Result<PairOutcome> {
        let cancel = CancellationToken::new();
        self.pair.synchronize(&work(&cancel, generation))
    }

    /// Does something to the user store's file while its server is down.
    pub fn with_server_stopped(&mut self, change: impl FnOnce(&Path)) {
        self.server = Connection::open_in_memory().unwrap();
        change(&self.source());
        self.server = Connection::open(self.source()).unwrap();
    }

    /// Synchronizes and compares the schema and every row of every table.
    #[track_caller]
    pub fn synchronize_and_compare(&self) -> PairOutcome {
        let outcome = self.synchronize().unwrap();
        assert_eq!(schema(&self.source()), schema(&self.standby()));
        assert_eq!(dump(&self.source()), dump(&self.standby()));
        outcome
    }
}

pub fn work(cancel: &CancellationToken, generation: i64) -> Work<'_> {
    Work {
        generation: Generation(generation),
        verify: false,
        cancel,
        progress: &|_| {},
        now: Timestamp::now(),
    }
}

pub const THEIRS: &str = "name NOT LIKE 'csb\\_%' ESCAPE '\\' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\'";

/// What a query finds, sorted, as text with storage classes and every byte and bit.
fn rows(connection: &Connection, query: &str) -> Vec<String> {
    let mut statement = connection.prepare(query).unwrap();
    let width = statement.column_count();
    let mut found: Vec<String> = statement
        .query_map([], |row| {
            let value = |i| {
                Ok(match row.get_ref(i)? {
                    ValueRef::Null => "NULL".to_owned(),
                    ValueRef::Integer(value) => value.to_string(),
                    ValueRef::Real(value) => format!("{value:?} {:x}", value.to_bits()),
                    ValueRef::Text(bytes) => format!("'{}'", bytes.escape_ascii()),
                    ValueRef::Blob(bytes) => format!("x'{}'", bytes.escape_ascii()),
                })
            };
            Ok((0..width).map(value).collect::<rusqlite::Result<Vec<_>>>()?.join(", "))
        })
        .unwrap()
        .collect::<rusqlite::Result<_>>()
        .unwrap();
    found.sort();
    found
}

/// Every row of every table that is not ours; a virtual table's rows are in tables of their own.
pub fn dump(path: &Path) -> Vec<String> {
    let connection = Connection::open(path).unwrap();
    let tables: Vec<String> = connection
        .prepare(&format!(
            "SELECT name FROM sqlite_schema WHERE type = 'table' AND rootpage > 0 AND {THEIRS} ORDER BY name"
        ))
        .unwrap()
        .query_map([], |row| row.get(0))
        .unwrap()
        .collect::<rusqlite::Result<_>>()
        .unwrap();
    let of_table = |table: &String| {
        let query = format!("SELECT * FROM \"{}\"", table.replace('"', "\"\""));
        rows(&connection, &query).into_iter().map(|row| format!("{table}: {row}")).collect::<Vec<_>>()
    };
    tables.iter().flat_map(of_table).collect()
}

/// Every object of the schema that is not ours, and what AUTOINCREMENT gave out.
fn schema(path: &Path) -> Vec<String> {
    let connection = Connection::open(path).unwrap();
    let mut found = rows(
        &connection,
        &format!("SELECT type, name, tbl_name, sql FROM sqlite_schema WHERE sql IS NOT NULL AND {THEIRS}"),
    );
    if connection.table_exists(None::<&str>, "sqlite_sequence").unwrap() {
        found.extend(rows(&connection, &format!("SELECT * FROM sqlite_sequence WHERE {THEIRS}")));
    }
    found
}

const USERS: &str = "
CREATE TABLE users (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, card BLOB);
CREATE TABLE contacts (owner TEXT NOT NULL, contact TEXT NOT NULL, note, PRIMARY KEY (owner, contact)) WITHOUT ROWID;
INSERT INTO users (name) VALUES ('anna'), ('bert');
INSERT INTO contacts VALUES ('anna', 'bert', 1.5), ('bert', 'anna', NULL);
";
