//! The first copy of a user store: made beside the standby's place, published when it is complete.

use std::path::Path;

use rusqlite::types::Value;
use rusqlite::{Transaction, TransactionBehavior};

use super::fresh::{begin_fresh, publish};
use super::pair::Run;
use super::source::patiently;
use super::standby;
use crate::error::Result;
use crate::store::sqlite::{Access, open, quote, sqlite_error};
use crate::store::user::Cursor;

impl Run<'_> {
    /// Makes a new copy beside the standby's place, consistent and complete, and puts it there in one step.
    pub(super) fn copy_anew(&mut self, standby: &Path, reason: Option<String>) -> Result<Cursor> {
        let fresh = begin_fresh(standby, self.work.generation)?;
        let failed = |cause| sqlite_error("write the new standby copy", &fresh, &cause);
        let cursor = {
            let connection = open(&fresh, Access::Create)?;
            let settings = patiently(self.source.path, "read", self.work, || self.settings())?;
            connection.execute_batch(&settings).map_err(failed)?;
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
    fn settings(&self) -> rusqlite::Result<String> {
        let mut settings = "PRAGMA journal_mode = MEMORY; PRAGMA synchronous = OFF;".to_owned();
        for name in ["encoding", "page_size", "auto_vacuum", "user_version", "application_id"] {
            let value = match self.source.connection.pragma_query_value(None, name, |row| row.get(0))? {
                Value::Integer(number) => number.to_string(),
                Value::Text(text) => quote(&text),
                _ => continue,
            };
            settings.push_str(&format!(" PRAGMA {name} = {value};"));
        }
        Ok(settings)
    }
}
