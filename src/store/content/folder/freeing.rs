//! Files that were replaced are freed beside the work.
//!
//! A rename that replaces a file returns when the file's room is free again, which takes far longer than the name. Unless
//! somebody holds the file: then that is done when it is let go of.

use std::os::fd::OwnedFd;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Mutex, PoisonError};
use std::thread::JoinHandle;

use rustix::fs::OFlags;

use super::{durability, handles};

/// How many files may wait to be freed, each with a handle.
const WAITING: usize = 64;

/// The thread that lets go of files, while there is something to do for it.
#[derive(Default)]
pub(super) struct Freeing(Mutex<Option<Worker>>);

struct Worker {
    files: SyncSender<OwnedFd>,
    thread: JoinHandle<()>,
}

impl Freeing {
    /// Lets go of a file: on the thread, or at once where there is none, or too much to do for it.
    pub(super) fn take(&self, file: OwnedFd) {
        let mut worker = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if worker.is_none() {
            *worker = Worker::begin();
        }
        if let Some(worker) = &*worker {
            let _ = worker.files.try_send(file);
        }
    }

    /// Waits until everything is freed.
    pub(super) fn finish(&self) {
        let worker = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(Worker { files, thread }) = worker {
            drop(files);
            let _ = thread.join();
        }
    }
}

impl Drop for Freeing {
    fn drop(&mut self) {
        self.finish();
    }
}

impl Worker {
    fn begin() -> Option<Self> {
        let (files, waiting) = sync_channel(WAITING);
        let free = move || waiting.into_iter().for_each(drop);
        let thread = std::thread::Builder::new().name("csb-freeing".to_owned()).spawn(free).ok()?;
        Some(Worker { files, thread })
    }
}

/// What has a name that is about to be given to something else. None where there is nothing, and on network shares,
/// which keep a file that is held under another name.
pub(super) fn hold(folder: &OwnedFd, name: &[u8]) -> Option<OwnedFd> {
    let is_local = durability::is_synced_as_a_whole(folder);
    is_local.then(|| handles::open_beneath(folder, name, OFlags::PATH).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};
    use std::path::Path;

    use super::*;

    /// How many handles this process has of files that were removed from a folder.
    fn held(folder: &Path) -> usize {
        let handles = fs::read_dir("/proc/self/fd").unwrap();
        let files = handles.filter_map(|handle| fs::read_link(handle.unwrap().path()).ok());
        files.filter(|file| file.starts_with(folder) && file.to_string_lossy().ends_with("(deleted)")).count()
    }

    #[test]
    fn what_was_replaced_is_held_until_all_is_freed_and_never_too_much_of_it() {
        let temporary = tempfile::tempdir().unwrap();
        let folder = OwnedFd::from(File::open(temporary.path()).unwrap());
        assert!(hold(&folder, b"absent").is_none());
        let freeing = Freeing::default();
        for number in 0..WAITING * 4 {
            let path = temporary.path().join(number.to_string());
            fs::write(&path, "content").unwrap();
            let file = hold(&folder, number.to_string().as_bytes()).unwrap();
            fs::remove_file(&path).unwrap();
            // Those that wait, one at hand, and this one.
            assert!((1..=WAITING + 2).contains(&held(temporary.path())));
            freeing.take(file);
        }
        freeing.finish();
        assert_eq!(held(temporary.path()), 0);
        freeing.finish();
    }
}
