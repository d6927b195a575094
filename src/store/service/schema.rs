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

/// Makes the tables what this build expects. Leases are kept: their generations must never be given out twice.
///
/// # Errors
/// `UnsupportedStore` for a database of a newer build; when it cannot be read or written.
pub(super) fn prepare(connection: &mut Connection, path: &Path) -> Result<()> {
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
            .and_then(|()| transaction.pragma_update(None, "user_version", VERSION))
            .map_err(failed)?;
    }
    transaction.commit().map_err(failed)
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
    use crate::store::service::{Owner, ServiceStore};
    use crate::topology::PoolFqdn;

    #[test]
    fn a_database_of_an_early_build_keeps_its_generation() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("service.sqlite");
        let pool = PoolFqdn::parse("atl.example.com").unwrap();
        let owner = Owner::current("here");
        let early = Connection::open(&path).unwrap();
        early.execute_batch(LEASES).unwrap();
        let lease = "INSERT INTO csb_lease VALUES ('atl.example.com', 41, '{}', '', 0, 0)";
        early.execute(lease, []).unwrap();
        drop(early);
        let mut store = ServiceStore::open(&path).unwrap();
        let lease = store.acquire(&pool, &owner, Uuid::nil(), Timestamp::UNIX_EPOCH).unwrap();
        assert_eq!(lease.generation.0, 42);
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
