//! Pages of a new file go to the device while the rest of it is still being written.

use std::fs::File;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;

use crate::error::{Error, Result};
use crate::platform::{Ours, Rights, create_file, create_folder, drop_from_cache};

/// How much is handed to the device at a time. The last sync of a big file is then as short as that of a small one, and
/// the page cache is not filled with what nobody reads again.
const WINDOW: u64 = 1 << 20;

/// What the writer may still hold back in a cache of its own, behind the end of the file: SQLite's holds 2,000 KiB.
const HELD_BACK: u64 = 2 << 20;

/// A new file that SQLite writes, roughly from its beginning to its end.
///
/// It outlives the SQLite connection that writes the file: closing any handle of a database's file takes away the
/// locks that this process has on it.
pub(super) struct WriteBehind {
    path: PathBuf,
    /// Dropped before the file is closed.
    _ours: Ours,
    file: Arc<File>,
    /// Up to where the device was asked to write.
    asked: u64,
    /// Asks the device, which takes its time; none where the system has no thread for it.
    asker: Option<Asker>,
}

/// A thread that hands windows of a file to the device.
struct Asker {
    windows: Sender<Range<u64>>,
    thread: JoinHandle<()>,
}

impl WriteBehind {
    /// Creates the file with these rights; none of its name may be there.
    ///
    /// # Errors
    /// Failures of the file system.
    pub(super) fn create(path: &Path, rights: Rights) -> Result<Self> {
        if let Some(folder) = path.parent() {
            create_folder(folder).map_err(|cause| Error::io("create", folder, &cause))?;
        }
        let file = create_file(path, rights).map_err(|cause| Error::io("create", path, &cause))?;
        let (ours, file) = (Ours::note(&file), Arc::new(file));
        let (windows, asked) = channel();
        let asking = Arc::clone(&file);
        let thread = std::thread::Builder::new()
            .name("cs-backup-write".to_owned())
            .spawn(move || ask_for(&asking, &asked));
        let asker = thread.ok().map(|thread| Asker { windows, thread });
        Ok(WriteBehind { path: path.to_owned(), _ours: ours, file, asked: 0, asker })
    }

    /// Hands the next window to the device, if it is full.
    ///
    /// # Errors
    /// Failures of the file system.
    pub(super) fn advance(&mut self) -> Result<()> {
        let length = self.file.metadata().map_err(|cause| Error::io("write", &self.path, &cause))?.len();
        let end = length.saturating_sub(HELD_BACK);
        if end >= self.asked.saturating_add(WINDOW)
            && let Some(asker) = &self.asker
        {
            // The thread ends after this handle only.
            let _ = asker.windows.send(self.asked..end);
            self.asked = end;
        }
        Ok(())
    }

    /// Makes the whole file durable.
    ///
    /// # Errors
    /// Also what writing an earlier window said: this handle has been open since before.
    pub(super) fn finish(mut self) -> Result<()> {
        self.stop_asking();
        self.file.sync_all().map_err(|cause| Error::io("sync", &self.path, &cause))
    }

    fn stop_asking(&mut self) {
        if let Some(Asker { windows, thread }) = self.asker.take() {
            drop(windows);
            // It only gives advice, and what it could say comes with the sync.
            let _ = thread.join();
        }
    }
}

impl Drop for WriteBehind {
    fn drop(&mut self) {
        self.stop_asking();
    }
}

/// Hands windows to the device until there are no more.
fn ask_for(file: &File, windows: &Receiver<Range<u64>>) {
    let mut before = 0..0;
    for window in windows {
        // What nobody needs is dropped where it is clean, and where it is not, writing it begins: the window is given
        // away when it is full, and dropped when the next one is.
        drop_from_cache(file, &window);
        drop_from_cache(file, &before);
        before = window;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn full_windows_are_handed_over_but_not_what_the_writer_may_hold_back() {
        let folder = tempfile::tempdir().unwrap();
        let mut behind =
            WriteBehind::create(&folder.path().join("new/users.sqlite"), Rights::PRIVATE).unwrap();
        let mut asked = |length| {
            behind.file.set_len(length).unwrap();
            behind.advance().unwrap();
            behind.asked
        };
        assert_eq!(asked(HELD_BACK + WINDOW - 1), 0);
        assert_eq!(asked(HELD_BACK + WINDOW), WINDOW);
        assert_eq!(asked(HELD_BACK + 2 * WINDOW - 1), WINDOW);
        assert_eq!(asked(HELD_BACK + 3 * WINDOW), 3 * WINDOW);
        behind.finish().unwrap();
    }

    #[test]
    fn the_thread_has_closed_its_handle_when_the_file_is_finished_or_given_up() {
        let folder = tempfile::tempdir().unwrap();
        for is_finished in [true, false] {
            let mut behind =
                WriteBehind::create(&folder.path().join(format!("{is_finished}")), Rights::PRIVATE).unwrap();
            let file = Arc::clone(&behind.file);
            for windows in 1..=200 {
                behind.file.set_len(HELD_BACK + windows * WINDOW).unwrap();
                behind.advance().unwrap();
            }
            if is_finished {
                behind.finish().unwrap();
            } else {
                drop(behind);
            }
            assert_eq!(Arc::strong_count(&file), 1);
        }
    }
}
