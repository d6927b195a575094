//! Pages of a new file go to the device while the rest of it is still being written.

use std::fs::File;
use std::num::NonZeroU64;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

use rustix::fs::Advice;

use crate::error::{Error, Result};

/// How much is made durable at a time. The last sync of a big file is then as short as that of a small one, and the
/// page cache is not filled with what nobody reads again.
const WINDOW: u64 = 16 << 20;

/// What the writer may still hold back in a cache of its own, behind the end of the file.
const HELD_BACK: u64 = 8 << 20;

/// How many windows may be waiting for the device before the writer waits too.
const AHEAD: usize = 2;

/// A new file that SQLite writes, roughly from its beginning to its end, and a thread that syncs what it has written.
///
/// It outlives the SQLite connection that writes the file: closing any handle of a database's file takes away the
/// locks that this process has on it.
pub(super) struct WriteBehind {
    path: PathBuf,
    file: File,
    given: u64,
    windows: Option<SyncSender<(u64, u64)>>,
    thread: Option<JoinHandle<std::io::Result<()>>>,
}

impl WriteBehind {
    /// Creates the file, or takes the one that is there.
    ///
    /// # Errors
    /// Failures of the file system.
    pub(super) fn create(path: &Path) -> Result<Self> {
        let failed = |cause| Error::io("create", path, &cause);
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).map_err(|cause| Error::io("create", folder, &cause))?;
        }
        let file =
            File::options().read(true).write(true).create(true).truncate(false).open(path).map_err(failed)?;
        let (windows, given) = sync_channel(AHEAD);
        let same = file.try_clone().map_err(failed)?;
        let thread = std::thread::Builder::new()
            .name("csb-write-behind".to_owned())
            .spawn(move || sync_windows(&same, &given))
            .map_err(failed)?;
        Ok(WriteBehind {
            path: path.to_owned(),
            file,
            given: 0,
            windows: Some(windows),
            thread: Some(thread),
        })
    }

    /// Hands the next window to the device, if it is full. Waits where the device is far behind, so it is called while
    /// no lock is held that somebody waits for.
    ///
    /// # Errors
    /// What syncing an earlier window said.
    pub(super) fn advance(&mut self) -> Result<()> {
        let length = self.file.metadata().map_err(|cause| Error::io("write", &self.path, &cause))?.len();
        let end = length.saturating_sub(HELD_BACK);
        if end < self.given.saturating_add(WINDOW) {
            return Ok(());
        }
        let Some(windows) = &self.windows else { return Ok(()) };
        match windows.send((self.given, end - self.given)) {
            Ok(()) => self.given = end,
            // The thread ends early only when it failed.
            Err(_) => return self.end(),
        }
        Ok(())
    }

    /// Makes the whole file durable.
    ///
    /// # Errors
    /// What syncing said, also that of an earlier window: what failed to be written once may be gone from memory.
    pub(super) fn finish(&mut self) -> Result<()> {
        self.end()?;
        self.file.sync_all().map_err(|cause| Error::io("sync", &self.path, &cause))
    }

    fn end(&mut self) -> Result<()> {
        self.windows = None;
        let Some(thread) = self.thread.take() else { return Ok(()) };
        thread
            .join()
            .unwrap_or_else(|_| Err(std::io::Error::other("the thread that syncs the file ended")))
            .map_err(|cause| Error::io("sync", &self.path, &cause))
    }
}

impl Drop for WriteBehind {
    fn drop(&mut self) {
        // Whoever gives the file up need not know how its last window fared.
        let _ = self.end();
    }
}

fn sync_windows(file: &File, windows: &Receiver<(u64, u64)>) -> std::io::Result<()> {
    for (offset, length) in windows {
        rustix::fs::fdatasync(file)?;
        // Only advice: a file system that does not take it keeps the pages.
        let _ = rustix::fs::fadvise(file, offset, NonZeroU64::new(length), Advice::DontNeed);
    }
    Ok(())
}
