//! Pages of a new file go to the device while the rest of it is still being written.

use std::fs::File;
use std::num::NonZeroU64;
use std::path::{Path, PathBuf};

use rustix::fs::Advice;

use crate::error::{Error, Result};

/// How much is handed to the device at a time. The last sync of a big file is then as short as that of a small one, and
/// the page cache is not filled with what nobody reads again.
const WINDOW: u64 = 16 << 20;

/// What the writer may still hold back in a cache of its own, behind the end of the file.
const HELD_BACK: u64 = 8 << 20;

/// A new file that SQLite writes, roughly from its beginning to its end.
///
/// It outlives the SQLite connection that writes the file: closing any handle of a database's file takes away the
/// locks that this process has on it.
pub(super) struct WriteBehind {
    path: PathBuf,
    file: File,
    /// Up to where the device was asked to write.
    asked: u64,
    /// Up to where pages were taken out of the page cache.
    dropped: u64,
}

impl WriteBehind {
    /// Creates the file, or takes the one that is there.
    ///
    /// # Errors
    /// Failures of the file system.
    pub(super) fn create(path: &Path) -> Result<Self> {
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).map_err(|cause| Error::io("create", folder, &cause))?;
        }
        let file = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)
            .map_err(|cause| Error::io("create", path, &cause))?;
        Ok(WriteBehind { path: path.to_owned(), file, asked: 0, dropped: 0 })
    }

    /// Hands the next window to the device, if it is full.
    ///
    /// # Errors
    /// Failures of the file system.
    pub(super) fn advance(&mut self) -> Result<()> {
        let length = self.file.metadata().map_err(|cause| Error::io("write", &self.path, &cause))?.len();
        let end = length.saturating_sub(HELD_BACK);
        if end >= self.asked.saturating_add(WINDOW) {
            // What nobody needs is dropped where it is clean, and where it is not, writing it begins: the window is
            // given away when it is full, and dropped when the next one is.
            self.give_away(self.asked, end);
            self.give_away(self.dropped, self.asked);
            (self.dropped, self.asked) = (self.asked, end);
        }
        Ok(())
    }

    /// Makes the whole file durable.
    ///
    /// # Errors
    /// Also what writing an earlier window said: this handle has been open since before.
    pub(super) fn finish(&self) -> Result<()> {
        self.file.sync_all().map_err(|cause| Error::io("sync", &self.path, &cause))
    }

    fn give_away(&self, from: u64, to: u64) {
        // An empty range would mean the rest of the file.
        if let Some(length) = NonZeroU64::new(to - from) {
            // Only advice: a file system that does not take it keeps the pages until the file is synced.
            let _ = rustix::fs::fadvise(&self.file, from, Some(length), Advice::DontNeed);
        }
    }
}
