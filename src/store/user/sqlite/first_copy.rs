//! The first copy of a user store: made beside the standby's place, published when it is complete.

use std::path::Path;

use rusqlite::{Connection, Transaction, TransactionBehavior};

use super::fresh::{begin_fresh, publish};
use super::pair::Run;
use super::source::patiently;
use super::standby;
use crate::error::Result;
use crate::store::sqlite::{Access, open, sqlite_error};
use crate::store::user::Cursor;

impl Run<'_> {
    /// Makes a new copy beside the standby's place, consistent and complete, and puts it there in one step.
    pub(super) fn copy_anew(&mut self, standby: &Path, reason: Option<String>) -> Result<Cursor> {
        let fresh = begin_fresh(standby, self.work.generation)?;
        let failed = |cause| sqlite_error("write the new standby copy", &fresh, &cause);
        let cursor = {
            let connection = open(&fresh, Access::Create)?;
            patiently(self.source.path, "read", self.work, || self.prepare_fresh(&connection))?;
            let transaction =
                Transaction::new_unchecked(&connection, TransactionBehavior::Immediate).map_err(failed)?;
            standby::create(&transaction).map_err(failed)?;
            let start = self.source.last_position(self.work)?;
            let cursor = self.import(&transaction, &fresh, start, None)?;
            transaction.commit().map_err(failed)?;
            cursor
        };
        self.outcome.details.push("Made the first copy of the user store.".to_owned());
        if let Some(aside) = publish(&fresh, standby, self.work)? {
            let kept = format!("It was kept as {}; remove it when nobody needs it.", aside.display());
            match reason {
                Some(reason) => {
                    self.outcome.warnings.push(format!("What lay at {} {reason}. {kept}", standby.display()));
                }
                None => {
                    self.outcome.details.push(format!("A former copy lay at {}. {kept}", standby.display()))
                }
            }
        }
        Ok(cursor)
    }

    /// Settings that a database takes over from its source and that must be made before its first table. Durability
    /// comes at the end, when the whole file is synced before it is published.
    fn prepare_fresh(&self, connection: &Connection) -> rusqlite::Result<()> {
        let copy = |name: &str| -> rusqlite::Result<i64> {
            self.source.connection.pragma_query_value(None, name, |row| row.get(0))
        };
        let encoding: String =
            self.source.connection.pragma_query_value(None, "encoding", |row| row.get(0))?;
        connection.pragma_update(None, "encoding", encoding)?;
        for name in ["page_size", "auto_vacuum", "user_version", "application_id"] {
            connection.pragma_update(None, name, copy(name)?)?;
        }
        connection.pragma_update(None, "journal_mode", "MEMORY")?;
        connection.pragma_update(None, "synchronous", "OFF")
    }
}
