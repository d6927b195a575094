//! Which version the tables of a database of this product have, and how those of another build become those of this one.

use std::path::Path;

use rusqlite::{Connection, Transaction, TransactionBehavior};

use super::sqlite_error;
use crate::error::{Error, ErrorKind, Result};

/// The tables of one kind of database.
pub struct Schema {
    /// What such a database is, at the beginning of a sentence: `The content index`.
    pub what: &'static str,
    /// Grows with every change to the tables so that statements of another build would be wrong on them. Kept as the
    /// database's `user_version`, which is 0 where nobody has set it.
    pub version: i64,
}

impl Schema {
    /// Makes the tables what this build expects, with the statements of `convert`; what those return, and none where there is
    /// nothing to do. Both happen in one transaction, so that only one of several processes does it.
    ///
    /// # Errors
    /// `UnsupportedStore` for a database of a newer build; when it cannot be read or written.
    pub fn prepare<T>(
        &self,
        connection: &mut Connection,
        path: &Path,
        convert: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T>,
    ) -> Result<Option<T>> {
        if self.is_current(connection, path)? {
            return Ok(None);
        }
        let failed = |cause| sqlite_error("prepare", path, &cause);
        let transaction =
            connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(failed)?;
        // Another process may have been faster.
        if !self.is_former(&transaction, path)? {
            return Ok(None);
        }
        let converted = convert(&transaction).map_err(failed)?;
        self.set(&transaction).map_err(failed)?;
        transaction.commit().map_err(failed)?;
        Ok(Some(converted))
    }

    /// Whether the tables are those of this build, whatever else they are.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn is_current(&self, connection: &Connection, path: &Path) -> Result<bool> {
        Ok(version(connection, path)? == self.version)
    }

    /// Whether the tables are those of a former build.
    ///
    /// # Errors
    /// `UnsupportedStore` for those of a newer one; when the database cannot be read.
    pub fn is_former(&self, connection: &Connection, path: &Path) -> Result<bool> {
        let found = version(connection, path)?;
        if found > self.version {
            return Err(self.newer(path, found));
        }
        Ok(found < self.version)
    }

    /// Notes that the tables are those of this build.
    ///
    /// # Errors
    /// SQLite's.
    pub fn set(&self, connection: &Connection) -> rusqlite::Result<()> {
        connection.pragma_update(None, "user_version", self.version)
    }

    fn newer(&self, path: &Path, found: i64) -> Error {
        Error::new(
            ErrorKind::UnsupportedStore,
            format!("{} {} is of a newer build: its tables have version {found}.", self.what, path.display()),
            "Use that build, or a newer one, wherever this database is used.",
        )
        .at("path", path.display())
    }
}

fn version(connection: &Connection, path: &Path) -> Result<i64> {
    connection
        .query_row("PRAGMA user_version", [], |row| row.get(0))
        .map_err(|cause| sqlite_error("read", path, &cause))
}
