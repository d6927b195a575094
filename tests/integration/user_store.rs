//! The contract of a user store pair, on SQLite.

mod cycles;
mod schema;
mod standby;
mod traps;

use std::path::{Path, PathBuf};

use cs_backup::error::Result;
use cs_backup::store::Generation;
use cs_backup::store::user::sqlite::SqlitePair;
use cs_backup::store::user::{PairOutcome, UserStorePair, Work};
use cs_backup::topology::{StoreUrl, UserStoreConfig};
use jiff::Timestamp;
use rusqlite::Connection;
use rusqlite::types::Value;
use tokio_util::sync::CancellationToken;

/// A pair in a folder of its own; the server's connection has SQLite's own defaults.
pub struct Pair {
    folder: tempfile::TempDir,
    pub server: Connection,
    pub pair: SqlitePair,
}

impl Pair {
    fn new(schema: &str) -> Self {
        Self::configured(schema, |_| {})
    }

    fn configured(schema: &str, configure: impl FnOnce(&mut UserStoreConfig)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let source = folder.path().join("users.sqlite");
        let server = Connection::open(&source).unwrap();
        server.busy_timeout(std::time::Duration::from_secs(5)).unwrap();
        server.execute_batch(schema).unwrap();
        let mut config =
            UserStoreConfig { url: StoreUrl::Sqlite(source), keys: Default::default(), exclude: vec![] };
        configure(&mut config);
        let pair = SqlitePair::new(config, &folder.path().join("standby.sqlite"), 500);
        Pair { folder, server, pair }
    }

    fn source(&self) -> PathBuf {
        self.folder.path().join("users.sqlite")
    }

    fn standby(&self) -> PathBuf {
        self.folder.path().join("standby.sqlite")
    }

    fn synchronize(&self) -> Result<PairOutcome> {
        self.synchronize_as(1)
    }

    fn synchronize_as(&self, generation: i64) -> Result<PairOutcome> {
        let cancel = CancellationToken::new();
        self.pair.synchronize(&work(&cancel, generation))
    }

    /// Synchronizes and compares every row of every table.
    fn synchronize_and_compare(&self) -> PairOutcome {
        let outcome = self.synchronize().unwrap();
        assert_eq!(dump(&self.source()), dump(&self.standby()));
        outcome
    }
}

fn work(cancel: &CancellationToken, generation: i64) -> Work<'_> {
    Work {
        generation: Generation(generation),
        verify: false,
        cancel,
        progress: &|_| {},
        now: Timestamp::now(),
    }
}

/// Every row of every table that is not ours, as text with its storage class.
pub fn dump(path: &Path) -> Vec<String> {
    let connection = Connection::open(path).unwrap();
    let tables: Vec<String> = connection
        .prepare("SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'csb\\_%' ESCAPE '\\' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' ORDER BY name")
        .unwrap()
        .query_map([], |row| row.get(0))
        .unwrap()
        .collect::<rusqlite::Result<_>>()
        .unwrap();
    let mut rows = Vec::new();
    for table in tables {
        let mut statement =
            connection.prepare(&format!("SELECT * FROM \"{}\"", table.replace('"', "\"\""))).unwrap();
        let width = statement.column_count();
        let mut of_table: Vec<String> = statement
            .query_map([], |row| {
                let values: Vec<Value> = (0..width).map(|i| row.get(i)).collect::<rusqlite::Result<_>>()?;
                Ok(format!("{table}: {values:?}"))
            })
            .unwrap()
            .collect::<rusqlite::Result<_>>()
            .unwrap();
        of_table.sort();
        rows.extend(of_table);
    }
    rows
}

const USERS: &str = "
CREATE TABLE users (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, card BLOB);
CREATE TABLE contacts (owner TEXT NOT NULL, contact TEXT NOT NULL, note, PRIMARY KEY (owner, contact)) WITHOUT ROWID;
INSERT INTO users (name) VALUES ('anna'), ('bert');
INSERT INTO contacts VALUES ('anna', 'bert', 1.5), ('bert', 'anna', NULL);
";
