//! A copy of the index that anything may be written to.

use std::path::Path;
use std::time::Duration;

use rusqlite::backup::{Backup, StepResult};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use super::{IndexPlace, patient, schema};
use crate::error::{Error, ErrorKind, Result};
use crate::platform::{Rights, temporary_folder};
use crate::store::sqlite::{Access, open, sqlite_error};

/// How many pages are copied between two questions whether to go on.
const PAGES_PER_CHECK: i32 = 4096;

/// A copy of an index. It goes when this goes.
pub struct IndexCopy {
    place: IndexPlace,
    _folder: TempDir,
}

impl IndexCopy {
    /// Where the copy lies.
    pub fn place(&self) -> &IndexPlace {
        &self.place
    }
}

impl IndexPlace {
    /// Copies the index, as it is at one moment, to a folder of its own beside it, or to where temporary files go if that disk is
    /// full; an empty one where there is none. Whoever has the index open goes on meanwhile.
    ///
    /// # Errors
    /// When it exists and cannot be read; when the copy cannot be written; cancelled.
    pub fn copy(&self, cancel: &CancellationToken) -> Result<IndexCopy> {
        let beside = Some(self.folder()).filter(|folder| folder.is_dir());
        let temporary = std::env::temp_dir();
        match beside.map(|beside| self.copy_into(beside, cancel)) {
            Some(Err(error)) if error.kind == ErrorKind::DiskFull => {}
            Some(done) => return done,
            None => {}
        }
        self.copy_into(&temporary, cancel)
    }

    fn copy_into(&self, beside: &Path, cancel: &CancellationToken) -> Result<IndexCopy> {
        let folder = temporary_folder(".csb-look-", beside)
            .map_err(|cause| Error::io("make a temporary folder in", beside, &cause))?;
        let place = IndexPlace::new(folder.path().join("index.sqlite"), self.url());
        if self.exists()? {
            self.copy_pages(&place.path()?, cancel)?;
        }
        Ok(IndexCopy { place, _folder: folder })
    }

    fn copy_pages(&self, to: &Path, cancel: &CancellationToken) -> Result<()> {
        let path = self.path()?;
        let failed = |cause| sqlite_error("copy", &path, &cause);
        let from = open(&path, Access::Read)?;
        patient(&from, &path)?;
        let snapshot = from.unchecked_transaction().map_err(failed)?;
        // The transaction begins with the first read; and what is no index is an error of this one, not of the copy.
        schema::SCHEMA.is_current(&snapshot, &path)?;
        let mut to = open(to, Access::Create(Rights::PRIVATE))?;
        let backup = Backup::new(&snapshot, &mut to).map_err(failed)?;
        loop {
            if cancel.is_cancelled() {
                return Err(Error::cancelled());
            }
            match backup.step(PAGES_PER_CHECK).map_err(failed)? {
                StepResult::Done => return Ok(()),
                StepResult::Busy | StepResult::Locked => std::thread::sleep(Duration::from_millis(1)),
                _ => {}
            }
        }
    }
}
