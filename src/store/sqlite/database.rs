//! An open database, and that nobody else in this process has it open.
//!
//! Two SQLite libraries in one process take each other's locks on a file away (see `platform::databases`). So a database is
//! refused that somebody else in this process has open. Somebody who comes later is noticed before what was read is used,
//! and when the database would be closed: closing it would take his locks away, and remove the write-ahead log that he
//! writes to. Such a connection is put by, without a transaction, until he has gone.

use std::ops::{Deref, DerefMut};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use rusqlite::Connection;
use rusqlite::config::DbConfig;

use crate::error::{Error, ErrorKind, Result};
use crate::platform::{FileId, is_open_elsewhere};

/// Connections that must not be closed yet, and to which file.
static PUT_BY: Mutex<Vec<(FileId, Connection)>> = Mutex::new(Vec::new());

/// A connection to a database that nobody else in this process had open when it was made.
#[derive(Debug)]
pub struct Database {
    connection: Connection,
    path: PathBuf,
    file: Option<FileId>,
}

impl Database {
    pub(super) fn new(connection: Connection, path: &Path) -> Self {
        Database { connection, path: path.to_owned(), file: FileId::of(path).ok() }
    }

    /// Whether still nobody else in this process has it open: what was read is good then.
    ///
    /// # Errors
    /// `StoreOpenInProcess`.
    pub fn check_alone(&self) -> Result<()> {
        self.file.map_or(Ok(()), |file| require_alone(&self.path, file))
    }
}

impl Deref for Database {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        &self.connection
    }
}

impl DerefMut for Database {
    fn deref_mut(&mut self) -> &mut Connection {
        &mut self.connection
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        let Some(file) = self.file.filter(|file| is_open_elsewhere(*file)) else { return };
        // Should it be closed after all, at least the log stays.
        let _ = self.connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true);
        let Ok(nothing) = Connection::open_in_memory() else { return };
        let connection = std::mem::replace(&mut self.connection, nothing);
        PUT_BY.lock().unwrap_or_else(PoisonError::into_inner).push((file, connection));
    }
}

/// Closes what was put by and nobody else has open any more.
pub(super) fn close_what_was_put_by() {
    let mut put_by = PUT_BY.lock().unwrap_or_else(PoisonError::into_inner);
    put_by.retain(|(file, _)| is_open_elsewhere(*file));
}

/// Refuses a database that somebody else in this process has open.
///
/// # Errors
/// `StoreOpenInProcess`.
pub(super) fn require_alone(path: &Path, file: FileId) -> Result<()> {
    if !is_open_elsewhere(file) {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::StoreOpenInProcess,
        format!(
            "The database {} is open in this process by other means than this library. Locks belong to the process: \
             reading it beside that could lose what others commit to it.",
            path.display()
        ),
        "Close it in this program before a job runs, or run the backup service in a process of its own.",
    )
    .at("path", path.display()))
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::super::{Access, open};
    use super::*;
    use crate::store::files::with_suffix;

    #[test]
    fn somebody_who_comes_later_is_noticed_and_keeps_his_log_until_he_has_gone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("users.sqlite");
        let log = with_suffix(&path, "-wal");
        Connection::open(&path)
            .unwrap()
            .execute_batch("PRAGMA journal_mode = WAL; CREATE TABLE t (x)")
            .unwrap();
        let database = open(&path, Access::Write).unwrap();
        database.execute_batch("INSERT INTO t VALUES (1)").unwrap();
        database.check_alone().unwrap();
        let other = File::open(&path).unwrap();
        assert_eq!(database.check_alone().unwrap_err().kind, ErrorKind::StoreOpenInProcess);
        assert_eq!(open(&path, Access::Read).unwrap_err().kind, ErrorKind::StoreOpenInProcess);
        drop(database);
        assert!(log.exists(), "the other one writes to it");
        drop(other);
        drop(open(&path, Access::Read).unwrap());
        drop(open(&path, Access::Write).unwrap());
        assert!(!log.exists(), "nobody needs it any more");
    }
}
