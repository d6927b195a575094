//! The fence around a store that servers write to: from a moment on every SQLite refuses to write to it, and nothing that was confirmed
//! before is lost.

use std::io;
use std::time::{Duration, Instant};

use super::Source;
use crate::error::{Error, ErrorKind, Result};
use crate::platform::{RawFile, read_whole, write_all_at};
use crate::store::Until;
use crate::store::sqlite::format::header::{FENCED, HEADER_BYTES, Header, Own};
use crate::store::sqlite::format::locks::{self, Holder};
use crate::store::sqlite::format::log::append;
use crate::store::sqlite::{Access, open, require_alone, sqlite_error};

const PAUSE: Duration = Duration::from_millis(1);

impl Source {
    /// Raises the fence, or takes it away. A transaction that is under way is waited for; servers notice with their next one. A connection
    /// that read while the fence was there stays read-only until it is opened anew.
    ///
    /// # Errors
    /// As for [`super::super::end::UserEnd::fence`].
    pub(in super::super) fn fence(&self, is_raised: bool, until: &Until) -> Result<()> {
        loop {
            if self.try_to_fence(is_raised, until)? {
                return Ok(());
            }
            if until.cancel.is_cancelled() {
                return Err(Error::cancelled());
            }
            if until.is_over() {
                return Err(self.held());
            }
            std::thread::sleep(PAUSE);
        }
    }

    fn failed_to(&self, doing: &'static str) -> impl Fn(io::Error) -> Error + Copy {
        move |cause| Error::io(doing, &self.path, &cause)
    }

    fn held(&self) -> Error {
        Error::new(
            ErrorKind::StoreBusy,
            format!("{} is read or written by somebody else all the time.", self.path.display()),
            "Stop its servers, then run the command again.",
        )
        .at("path", self.path.display())
    }

    fn try_to_fence(&self, is_raised: bool, until: &Until) -> Result<bool> {
        require_alone(&self.path)?;
        let database = RawFile::open(&self.path, true).map_err(self.failed_to("open"))?;
        let header = Header::of(&database).map_err(self.failed())?.ok_or_else(|| self.no_database())?;
        let log = self.open_beside(&self.log_path(), true)?;
        let index = self.open_beside(&self.index_path(), true)?;
        if let (Some(log), Some(index)) = (&log, &index)
            && locks::is_connected(index).map_err(self.failed())?
        {
            let change = |first: &mut [u8]| mark(first, 0, is_raised);
            return Ok(locks::is_still_at(log, &self.log_path())
                && locks::is_still_at(index, &self.index_path())
                && append::commit(&database, (log, &self.log_path()), index, 1, change)?);
        }
        drop((log, index));
        if self.has_log()? || self.unfinished()?.is_some() {
            // A journal of somebody who is writing is no hot one.
            let is_in_use = locks::holder(&database).map_err(self.failed())? != Holder::Readers;
            drop(database);
            // Nobody has it open. SQLite brings what was committed into the database, and undoes what was not.
            match if is_in_use { Ok(()) } else { self.carry() } {
                Err(error) if error.kind != ErrorKind::StoreBusy => return Err(error),
                _ => return Ok(false),
            }
        }
        Ok(header.is_fenced() == is_raised || self.fence_file(&database, is_raised, until)?)
    }

    fn has_log(&self) -> Result<bool> {
        let Some(log) = self.open_beside(&self.log_path(), false)? else { return Ok(false) };
        Ok(log.metadata().map_err(self.failed())?.len() > 0)
    }

    fn carry(&self) -> Result<()> {
        let failed = |cause| sqlite_error("write to", &self.path, &cause);
        let connection = open(&self.path, Access::Write)?;
        connection.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(())).map_err(failed)?;
        connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).map_err(failed)
    }

    /// Writes into the database itself, while nobody else reads or writes it.
    fn fence_file(&self, database: &RawFile, is_raised: bool, until: &Until) -> Result<bool> {
        let Some(reserved) = locks::reserve(database).map_err(self.failed_to("lock"))? else {
            return Ok(false);
        };
        let left = until.deadline.saturating_duration_since(Instant::now());
        let Some(_shut) = reserved.shut(&self.path, left, &until.cancel)? else { return Ok(false) };
        let is_alone = locks::is_still_at(database, &self.path) && !self.has_log()?;
        if !is_alone || self.unfinished()?.is_some() {
            return Ok(false);
        }
        let mut first = [0; HEADER_BYTES];
        read_whole(database, &mut first, 0).map_err(self.failed())?;
        if mark(&mut first, database.metadata().map_err(self.failed())?.len(), is_raised) {
            // The header lies in one sector, which a device writes whole or not at all.
            write_all_at(database, &first, 0).map_err(self.failed_to("write"))?;
            database.sync_data().map_err(self.failed_to("write"))?;
        }
        Ok(true)
    }
}

/// Raises the fence in the first page of a database of this size, or takes it away; false where it is so already. Which journal the
/// database uses stays as it is.
fn mark(first: &mut [u8], size: u64, is_raised: bool) -> bool {
    let Some(header) = Header::read(first).filter(|header| header.is_fenced() != is_raised) else {
        return false;
    };
    let own = Own {
        change_counter: header.change_counter.wrapping_add(1),
        schema_cookie: header.schema_cookie,
        versions: Some((if is_raised { FENCED } else { header.read_version }, header.read_version)),
    };
    own.put(first, header.page_count(size));
    true
}
