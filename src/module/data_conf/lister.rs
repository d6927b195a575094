//! Lists the folders of a store on several threads: listing waits for the disk, or for the network.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Condvar, Mutex, PoisonError};

use tokio_util::sync::CancellationToken;

use super::threads::join_all;
use crate::error::{Error, Result};
use crate::store::content::{ContentPath, ContentStore, Entry, ObjectResult};

/// How many folders are listed at a time.
const THREADS: usize = 3;

/// How many listings may wait to be taken.
const LISTED_AHEAD: usize = 8;

/// One folder's listing.
pub(super) type Listing = (ContentPath, ObjectResult<Vec<Entry>>);

/// Lists the root, and then every folder that `take` names; each after the one that named it, those of different
/// branches in any order.
pub(super) fn list(
    store: &dyn ContentStore,
    cancel: &CancellationToken,
    take: &mut dyn FnMut(Listing) -> Result<Vec<ContentPath>>,
) -> Result<()> {
    let queue = Queue::default();
    queue.push(vec![ContentPath::root()]);
    let (sender, listings) = sync_channel(LISTED_AHEAD);
    std::thread::scope(|scope| {
        let spawn = |_| {
            let (queue, sender) = (&queue, sender.clone());
            scope.spawn(move || serve(store, cancel, queue, &sender))
        };
        let threads = (0..THREADS).map(spawn).collect();
        drop(sender);
        let done = take_all(cancel, &queue, &listings, take);
        queue.close();
        // A thread that waits to hand over a listing is let go.
        drop(listings);
        join_all(threads);
        done
    })
}

fn serve(store: &dyn ContentStore, cancel: &CancellationToken, queue: &Queue, sender: &SyncSender<Listing>) {
    let _closes = ClosesOnDefect(queue);
    while let Some(folder) = queue.pop() {
        let listing = store.list(&folder, cancel);
        if sender.send((folder, listing)).is_err() {
            return;
        }
    }
}

fn take_all(
    cancel: &CancellationToken,
    queue: &Queue,
    listings: &Receiver<Listing>,
    take: &mut dyn FnMut(Listing) -> Result<Vec<ContentPath>>,
) -> Result<()> {
    let mut missing = 1;
    while missing > 0 {
        if cancel.is_cancelled() {
            return Err(Error::cancelled());
        }
        // The threads end only when the queue is closed, or by a defect, which is passed on.
        let Ok(listing) = listings.recv() else { return Ok(()) };
        let next = take(listing)?;
        missing = missing - 1 + next.len();
        queue.push(next);
    }
    Ok(())
}

/// Lets the other threads end where one has a defect: nobody will answer for the folder that it had.
struct ClosesOnDefect<'a>(&'a Queue);

impl Drop for ClosesOnDefect<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.close();
        }
    }
}

/// Folders that are still to be listed, the next one last.
#[derive(Default)]
struct Queue {
    folders: Mutex<(Vec<ContentPath>, bool)>,
    changed: Condvar,
}

impl Queue {
    /// The first of these will be the next to be listed.
    fn push(&self, folders: Vec<ContentPath>) {
        let mut queue = self.folders.lock().unwrap_or_else(PoisonError::into_inner);
        queue.0.extend(folders.into_iter().rev());
        self.changed.notify_all();
    }

    fn close(&self) {
        self.folders.lock().unwrap_or_else(PoisonError::into_inner).1 = true;
        self.changed.notify_all();
    }

    /// Waits for a folder; none when the queue was closed.
    fn pop(&self) -> Option<ContentPath> {
        let mut queue = self.folders.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if queue.1 {
                return None;
            }
            if let Some(folder) = queue.0.pop() {
                return Some(folder);
            }
            queue = self.changed.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
    }
}
