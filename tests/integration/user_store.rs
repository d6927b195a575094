//! The contract of a user store pair, on SQLite.

mod any_schema;
mod cycles;
mod first_copy;
mod interrupted;
mod model;
mod replace;
mod schema;
mod standby;
mod traps;
mod verify;
mod virtual_tables;

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::support::database_url;
use cs_backup::error::Result;
use cs_backup::store::Generation;
use cs_backup::store::user::pages::PagePair;
use cs_backup::store::user::{PairOutcome, UserStorePair, Work};
use cs_backup::topology::UserStoreConfig;
use jiff::Timestamp;
use rusqlite::Connection;
use rusqlite::backup::Backup;
use rusqlite::types::ValueRef;
use tokio_util::sync::CancellationToken;

/// How long a run looks for a state of the source.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// A pair in a folder of its own; the server's connection has SQLite's own defaults.
pub struct Pair {
    folder: tempfile::TempDir,
    pub server: Connection,
    pub pair: PagePair,
}

impl Pair {
    pub fn new(schema: &str) -> Self {
        Self::configured(schema, |_| {})
    }

    pub fn configured(schema: &str, configure: impl FnOnce(&mut UserStoreConfig)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let source = folder.path().join("users.sqlite");
        let server = Connection::open(&source).unwrap();
        server.busy_timeout(Duration::from_secs(5)).unwrap();
        server.execute_batch(schema).unwrap();
        let mut config = UserStoreConfig::new(database_url(&source));
        configure(&mut config);
        let pair = crate::support::page_pair(&config, &folder.path().join("standby.sqlite"), PATIENCE);
        Pair { folder, server, pair }
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
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

    /// The same pair, which looks for a state of the source for so long.
    pub fn with_patience(&self, patience: Duration) -> PagePair {
        let config = UserStoreConfig::new(database_url(&self.source()));
        crate::support::page_pair(&config, &self.standby(), patience)
    }

    /// What lies beside the standby.
    pub fn beside(&self, name: &str) -> PathBuf {
        self.folder.path().join("standby.sqlite.csb").join(name)
    }

    /// A run that compares everything.
    pub fn verify(&self) -> Result<PairOutcome> {
        let cancel = CancellationToken::new();
        self.pair.synchronize(&Work { verify: true, ..work(&cancel, 1) })
    }

    /// The tables and indexes that these pages of the copy belong to.
    pub fn owners(&self, pages: &[u32]) -> Vec<String> {
        let reader = crate::support::reading(&self.standby());
        let name = |page: &u32| {
            reader.query_row("SELECT name FROM dbstat WHERE pageno = ?1", [page], |row| row.get(0)).unwrap()
        };
        pages.iter().map(name).collect()
    }

    /// A run that copies a store however little is left of it.
    pub fn accept_deletions(&self) -> Result<PairOutcome> {
        let cancel = CancellationToken::new();
        self.pair.synchronize(&Work { accept_deletions: true, ..work(&cancel, 1) })
    }

    /// Synchronizes and compares every page, the schema and every row of every table.
    #[track_caller]
    pub fn synchronize_and_compare(&self) -> PairOutcome {
        let outcome = self.synchronize().unwrap();
        assert_equal_pages(&self.source(), &self.standby());
        assert_eq!(schema(&self.source()), schema(&self.standby()));
        assert_eq!(dump(&self.source()), dump(&self.standby()));
        outcome
    }
}

pub fn work(cancel: &CancellationToken, generation: i64) -> Work<'_> {
    Work {
        generation: Generation(generation),
        verify: false,
        accept_deletions: false,
        cancel,
        progress: &|_| {},
        now: Timestamp::now(),
        job: None,
    }
}

/// The pages of a store as its readers see them, its log included.
pub fn pages_of_source(source: &Path) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let to = folder.path().join("pages");
    let from = Connection::open(source).unwrap();
    from.busy_timeout(Duration::from_secs(10)).unwrap();
    let mut copy = Connection::open(&to).unwrap();
    // One step: all pages are of one moment.
    Backup::new(&from, &mut copy)
        .unwrap()
        .run_to_completion(i32::MAX, Duration::from_millis(1), None)
        .unwrap();
    drop(copy);
    let mut pages = std::fs::read(to).unwrap();
    blank(&mut pages);
    pages
}

/// The pages of a standby, up to the count that its header says.
pub fn pages_of_standby(standby: &Path) -> Vec<u8> {
    let mut pages = std::fs::read(standby).unwrap();
    let count = u32::from_be_bytes(pages[28..32].try_into().unwrap()) as usize;
    pages.truncate(count * page_size(&pages));
    blank(&mut pages);
    pages
}

fn page_size(database: &[u8]) -> usize {
    match u16::from_be_bytes([database[16], database[17]]) {
        1 => 65_536,
        size => size.into(),
    }
}

/// What a copy has of its own: versions for writing and reading, change counter, schema cookie, and who wrote it last.
pub fn blank(database: &mut [u8]) {
    for own in [18..20, 24..28, 40..44, 92..100] {
        database[own].fill(0);
    }
}

/// The copy is the source, byte for byte, and nobody can write to it.
#[track_caller]
pub fn assert_equal_pages(source: &Path, standby: &Path) {
    let (theirs, ours) = (pages_of_source(source), pages_of_standby(standby));
    let size = page_size(&theirs);
    let differing: Vec<usize> = (1..)
        .zip(theirs.chunks(size).zip(ours.chunks(size)))
        .filter_map(|(page, (theirs, ours))| (theirs != ours).then_some(page))
        .collect();
    assert_eq!(theirs.len() / size, ours.len() / page_size(&ours), "another number of pages");
    assert!(theirs == ours, "these pages differ: {differing:?}");
    assert_fenced(standby);
}

/// Every SQLite refuses to write to it, and reads it without a log.
#[track_caller]
pub fn assert_fenced(standby: &Path) {
    let header = std::fs::read(standby).unwrap();
    assert_eq!(header[18..20], [3, 1], "the fence is missing");
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

/// Lets everybody write to a standby, as somebody does who knows how.
pub fn lift_fence(standby: &Path) {
    let file = std::fs::File::options().write(true).open(standby).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, &[1, 1], 18).unwrap();
}

/// Writes to a standby past its fence.
pub fn tamper(standby: &Path, sql: &str) {
    lift_fence(standby);
    Connection::open(standby).unwrap().execute_batch(sql).unwrap();
}

/// Another bit in a file.
pub fn flip(path: &Path, at: u64) {
    use std::os::unix::fs::FileExt;
    let file = std::fs::File::options().read(true).write(true).open(path).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[byte[0] ^ 1], at).unwrap();
}
