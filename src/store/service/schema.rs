//! The tables of a service database, and how one of another build becomes one of this build.

use std::path::Path;

use rusqlite::{Connection, TransactionBehavior};

use crate::error::{Error, ErrorKind, Result};
use crate::store::sqlite::sqlite_error;

/// Grows with every change to the tables. Kept as the database's `user_version`; 0 in those of builds that kept none.
const VERSION: i64 = 3;

const LEASES: &str = "
CREATE TABLE IF NOT EXISTS csb_lease (
    pool TEXT PRIMARY KEY NOT NULL,
    generation INTEGER NOT NULL,
    owner TEXT NOT NULL,
    job_id TEXT NOT NULL,
    acquired_ms INTEGER NOT NULL,
    expires_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS csb_module_state (
    pool TEXT NOT NULL,
    module TEXT NOT NULL,
    state TEXT NOT NULL,
    cursor TEXT,
    reason TEXT,
    observed_ms INTEGER NOT NULL,
    last_success_ms INTEGER,
    PRIMARY KEY (pool, module)
) STRICT, WITHOUT ROWID;
";

/// Older ones are not converted: the next cycle makes the index anew from the files, which are read for that and not
/// copied.
const CONTENT: &str = "
DROP TABLE IF EXISTS csb_content_store;
DROP TABLE IF EXISTS csb_content_object;
DROP TABLE IF EXISTS csb_content_folder;
CREATE TABLE csb_content_store (
    pool TEXT PRIMARY KEY NOT NULL,
    source_id TEXT NOT NULL,
    standby_id TEXT NOT NULL,
    scan INTEGER NOT NULL,
    scanned_ms INTEGER
) STRICT, WITHOUT ROWID;
CREATE TABLE csb_content_object (
    pool TEXT NOT NULL,
    folder BLOB NOT NULL,
    name BLOB NOT NULL,
    kind TEXT NOT NULL CHECK (kind IN ('file', 'folder', 'link')),
    size INTEGER NOT NULL,
    mtime_ns INTEGER NOT NULL,
    ctime_ns INTEGER NOT NULL,
    inode INTEGER NOT NULL,
    device INTEGER NOT NULL,
    mode INTEGER NOT NULL,
    user INTEGER NOT NULL,
    user_group INTEGER NOT NULL,
    blake3 BLOB CHECK (length(blake3) = 32),
    extended BLOB CHECK (length(extended) = 32),
    indexed_ns INTEGER NOT NULL,
    settled INTEGER NOT NULL CHECK (settled IN (0, 1)),
    published BLOB CHECK (length(published) % 32 = 0),
    made_folder INTEGER NOT NULL DEFAULT 0 CHECK (made_folder IN (0, 1)),
    copy_mtime_ns INTEGER,
    copy_ctime_ns INTEGER,
    copy_inode INTEGER,
    copy_device INTEGER,
    groups BLOB CHECK (length(groups) % 32 = 0),
    PRIMARY KEY (pool, folder, name)
) STRICT, WITHOUT ROWID;
CREATE INDEX csb_content_inode ON csb_content_object (pool, inode) WHERE kind = 'file';
CREATE INDEX csb_content_unsettled ON csb_content_object (pool) WHERE settled = 0;
CREATE INDEX csb_content_times ON csb_content_object (pool) WHERE kind = 'folder' AND mtime_ns = -9223372036854775808;
CREATE TABLE csb_content_folder (
    pool TEXT NOT NULL,
    folder BLOB NOT NULL,
    listing BLOB NOT NULL CHECK (length(listing) = 32),
    PRIMARY KEY (pool, folder)
) STRICT, WITHOUT ROWID;
";

/// Makes the tables what this build expects. Leases are kept: their generations must never be given out twice.
///
/// # Errors
/// `UnsupportedStore` for a database of a newer build; when it cannot be read or written.
pub(crate) fn prepare(connection: &mut Connection, path: &Path) -> Result<()> {
    let failed = |cause| sqlite_error("prepare", path, &cause);
    if version(connection, path)? == VERSION {
        return Ok(());
    }
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(failed)?;
    // Another process may have been faster.
    let found = version(&transaction, path)?;
    if found > VERSION {
        return Err(newer(path, found));
    }
    if found < VERSION {
        transaction
            .execute_batch(LEASES)
            .and_then(|()| transaction.execute_batch(CONTENT))
            .and_then(|()| transaction.pragma_update(None, "user_version", VERSION))
            .map_err(failed)?;
    }
    transaction.commit().map_err(failed)
}

/// Whether the tables are those of this build, without changing anything.
///
/// # Errors
/// When the database cannot be read.
pub(crate) fn is_current(connection: &Connection, path: &Path) -> Result<bool> {
    Ok(version(connection, path)? == VERSION)
}

fn version(connection: &Connection, path: &Path) -> Result<i64> {
    connection
        .query_row("PRAGMA user_version", [], |row| row.get(0))
        .map_err(|cause| sqlite_error("read", path, &cause))
}

fn newer(path: &Path, found: i64) -> Error {
    Error::new(
        ErrorKind::UnsupportedStore,
        format!(
            "The service database {} is of a newer build: its tables have version {found}.",
            path.display()
        ),
        "Use that build, or a newer one, wherever this database is used.",
    )
    .at("path", path.display())
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use uuid::Uuid;

    use super::*;
    use crate::store::content::index::ContentIndex;
    use crate::store::service::{Owner, ServiceStore};
    use crate::topology::PoolFqdn;

    /// Tables as an early build had them, which kept no version.
    const EARLY: &str = "
        CREATE TABLE csb_content_store (pool TEXT PRIMARY KEY NOT NULL, source_id TEXT NOT NULL,
            standby_id TEXT NOT NULL, scan INTEGER NOT NULL, scanned_ms INTEGER) STRICT, WITHOUT ROWID;
        INSERT INTO csb_content_store VALUES ('atl.example.com', 'a', 'b', 7, NULL);
        CREATE TABLE csb_content_object (pool TEXT NOT NULL, folder BLOB NOT NULL, name BLOB NOT NULL,
            kind TEXT NOT NULL, size INTEGER NOT NULL, settled INTEGER NOT NULL,
            PRIMARY KEY (pool, folder, name)) STRICT, WITHOUT ROWID;
        CREATE INDEX csb_content_inode ON csb_content_object (pool, size) WHERE kind = 'file';
    ";

    #[test]
    fn a_database_of_an_early_build_keeps_its_generation_and_loses_its_index() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("service.sqlite");
        let pool = PoolFqdn::parse("atl.example.com").unwrap();
        let owner = Owner::current("here");
        let early = Connection::open(&path).unwrap();
        early.execute_batch(LEASES).unwrap();
        early.execute_batch(EARLY).unwrap();
        let lease = "INSERT INTO csb_lease VALUES ('atl.example.com', 41, '{}', '', 0, 0)";
        early.execute(lease, []).unwrap();
        drop(early);
        assert!(ContentIndex::open_existing(&path, &pool).unwrap().is_none(), "it cannot be read");
        let mut store = ServiceStore::open(&path).unwrap();
        let lease = store.acquire(&pool, &owner, Uuid::nil(), Timestamp::UNIX_EPOCH).unwrap();
        assert_eq!(lease.generation.0, 42);
        let mut index = ContentIndex::open(&path, &pool).unwrap();
        assert_eq!(index.pair().unwrap(), None);
        index.establish(lease.generation, Uuid::nil(), Uuid::nil(), std::iter::empty()).unwrap();
        assert!(
            ContentIndex::open(&path, &pool).unwrap().pair().unwrap().is_some(),
            "it is not made anew again"
        );
    }

    #[test]
    fn a_database_of_a_newer_build_is_refused_and_left_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("service.sqlite");
        drop(ServiceStore::open(&path).unwrap());
        let newer = Connection::open(&path).unwrap();
        newer.pragma_update(None, "user_version", VERSION + 1).unwrap();
        let error = ServiceStore::open(&path).err().unwrap();
        assert_eq!(error.kind, ErrorKind::UnsupportedStore);
        assert!(error.message.contains("newer build"), "{error}");
        assert_eq!(version(&newer, &path).unwrap(), VERSION + 1);
    }
}
