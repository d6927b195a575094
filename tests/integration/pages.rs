//! User stores by pages: the rules that copying pages rests on, each with a test that fails without it.

mod between;
mod fence;
mod footprint;
mod rules;
mod shrinking;
mod states;
mod status;
mod writers;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use cs_backup::error::Result;
use cs_backup::store::Generation;
use cs_backup::store::user::pages::PagePair;
use cs_backup::store::user::{PairOutcome, UserStorePair, Work};
use cs_backup::topology::{StoreUrl, UserStoreConfig};
use jiff::Timestamp;
use rusqlite::Connection;
use tokio_util::sync::CancellationToken;

pub use crate::user_store::{blank, pages_of_source, work};

/// A store and the place of its copy, in folders of their own.
pub struct Stores {
    folder: tempfile::TempDir,
    pub pair: PagePair,
}

impl Stores {
    pub fn new() -> Self {
        Self::configured(|_| {})
    }

    pub fn configured(configure: impl FnOnce(&mut UserStoreConfig)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("atl")).unwrap();
        std::fs::create_dir(folder.path().join("chi")).unwrap();
        let pair = pair_in(folder.path(), configure);
        Stores { folder, pair }
    }

    pub fn root(&self) -> &Path {
        self.folder.path()
    }

    pub fn source(&self) -> PathBuf {
        self.folder.path().join("atl/users.sqlite")
    }

    pub fn standby(&self) -> PathBuf {
        self.folder.path().join("chi/atl.sqlite")
    }

    /// The server's connection, as SQLite opens it by default: it does not wait for locks.
    pub fn server(&self) -> Connection {
        let server = Connection::open(self.source()).unwrap();
        server.busy_timeout(Duration::ZERO).unwrap();
        server
    }

    pub fn sync(&self) -> Result<PairOutcome> {
        self.sync_with(|_| {})
    }

    pub fn sync_with(&self, change: impl FnOnce(&mut Work<'_>)) -> Result<PairOutcome> {
        let cancel = CancellationToken::new();
        let mut work = work(&cancel, 1);
        change(&mut work);
        self.pair.synchronize(&work)
    }

    /// What a dry run says.
    pub fn plan(&self) -> Result<PairOutcome> {
        self.pair.plan(&work(&CancellationToken::new(), 1))
    }

    /// Synchronizes, and compares every byte.
    #[track_caller]
    pub fn sync_and_compare(&self) -> PairOutcome {
        let outcome = self.sync().unwrap();
        self.assert_equal();
        outcome
    }

    /// Compares every byte but those that a copy has of its own.
    #[track_caller]
    pub fn assert_equal(&self) {
        let source = pages_of_source(&self.source());
        let mut standby = std::fs::read(self.standby()).unwrap();
        blank(&mut standby);
        assert_eq!(source.len(), standby.len());
        let differs = source.iter().zip(&standby).position(|(one, other)| one != other);
        assert_eq!(differs, None, "the first byte that differs");
    }
}

pub fn pair_in(folder: &Path, configure: impl FnOnce(&mut UserStoreConfig)) -> PagePair {
    let url = StoreUrl::try_from(format!("sqlite:{}", folder.join("atl/users.sqlite").display())).unwrap();
    let mut config = UserStoreConfig::new(url);
    configure(&mut config);
    crate::support::page_pair(&config, &folder.join("chi/atl.sqlite"), Duration::from_secs(5))
}

/// Ends a writer, also where the test fails before it would.
pub struct End<'a>(pub &'a AtomicBool);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Tables whose rows must always add up, so that a torn state shows.
pub const LEDGER: &str = "
    CREATE TABLE account (id INTEGER PRIMARY KEY, amount INTEGER NOT NULL, note BLOB);
    CREATE TABLE turn (n INTEGER NOT NULL);
    INSERT INTO turn VALUES (0);
    WITH RECURSIVE n (x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n WHERE x < 400)
    INSERT INTO account SELECT x, 100, zeroblob(300) FROM n;";

/// The turn that a copy of the ledger stands at.
///
/// # Panics
/// Where it is no state that the ledger had.
#[track_caller]
pub fn turn(path: &Path) -> i64 {
    let flags = rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY;
    let reader = Connection::open_with_flags(path, flags).unwrap();
    let sum: i64 = reader.query_row("SELECT sum(amount) FROM account", [], |row| row.get(0)).unwrap();
    assert_eq!(sum, 40_000, "a torn state");
    let sound: String = reader.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
    assert_eq!(sound, "ok");
    reader.query_row("SELECT n FROM turn", [], |row| row.get(0)).unwrap()
}

/// One transaction: moves an amount between several accounts.
pub fn play(server: &Connection) -> rusqlite::Result<()> {
    let (from, to) = (fastrand::i64(1..=400), fastrand::i64(1..=400));
    let steps = format!(
        "BEGIN IMMEDIATE;
         UPDATE account SET amount = amount - 7, note = randomblob(300) WHERE id = {from};
         UPDATE account SET amount = amount + 7, note = randomblob(200) WHERE id = {to};
         UPDATE turn SET n = n + 1; COMMIT"
    );
    server.execute_batch(&steps).inspect_err(|_| {
        let _ = server.execute_batch("ROLLBACK");
    })
}
