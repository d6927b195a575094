//! Visits the folders of a store on several threads: listing waits for the disk, or for the network.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Condvar, Mutex, PoisonError};

use tokio_util::sync::CancellationToken;

use super::threads::join_all;
use crate::error::{Error, Result};
use crate::store::content::ContentPath;

/// How much of what was found may wait to be taken.
const FOUND_AHEAD: usize = 8;

/// What a thread does with folders.
pub(super) trait Visitor<F>: Send {
    /// Hands over what it finds in a folder, and returns the folders to visit next.
    fn visit(
        &mut self,
        folder: &ContentPath,
        found: &mut dyn FnMut(F) -> Result<()>,
    ) -> Result<Vec<ContentPath>>;
}

/// Visits the root, and then every folder that a visit names, each visitor on a thread of its own. What was found in a folder is taken before what is found
/// in those that it named; that of different branches in any order.
pub(super) fn visit_all<F: Send>(
    visitors: Vec<impl Visitor<F>>,
    cancel: &CancellationToken,
    take: &mut dyn FnMut(F) -> Result<()>,
) -> Result<()> {
    let queue = Queue::default();
    queue.push(vec![ContentPath::root()]);
    let (sender, found) = sync_channel(FOUND_AHEAD);
    std::thread::scope(|scope| {
        let spawn = |visitor| {
            let (queue, sender) = (&queue, sender.clone());
            scope.spawn(move || serve(visitor, queue, &sender))
        };
        let threads = visitors.into_iter().map(spawn).collect();
        drop(sender);
        let done = take_all(cancel, &found, take);
        queue.close();
        // A thread that waits to hand something over is let go.
        drop(found);
        join_all(threads);
        done
    })
}

fn serve<F>(mut visitor: impl Visitor<F>, queue: &Queue, sender: &SyncSender<Result<F>>) {
    let _closes = ClosesOnDefect(queue);
    while let Some(folder) = queue.pop() {
        let mut hand_over = |found| sender.send(Ok(found)).map_err(|_| Error::cancelled());
        match visitor.visit(&folder, &mut hand_over) {
            Ok(next) => queue.push(next),
            Err(error) => {
                // Whoever takes has ended, or ends with this error.
                let _ = sender.send(Err(error));
                queue.close();
            }
        }
        queue.visited();
    }
}

fn take_all<F>(
    cancel: &CancellationToken,
    found: &Receiver<Result<F>>,
    take: &mut dyn FnMut(F) -> Result<()>,
) -> Result<()> {
    // The threads end when every folder was visited, or by a defect, which is passed on.
    for found in found {
        if cancel.is_cancelled() {
            return Err(Error::cancelled());
        }
        take(found?)?;
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

/// Folders that are still to be visited.
#[derive(Default)]
struct Queue {
    state: Mutex<Pending>,
    changed: Condvar,
}

#[derive(Default)]
struct Pending {
    /// The next one last.
    folders: Vec<ContentPath>,
    /// Those as well that are being visited.
    unvisited: usize,
    is_closed: bool,
}

impl Queue {
    /// The first of these will be the next to be visited.
    fn push(&self, folders: Vec<ContentPath>) {
        let mut pending = self.lock();
        pending.unvisited += folders.len();
        pending.folders.extend(folders.into_iter().rev());
        self.changed.notify_all();
    }

    /// Says that a folder was visited, and that those that it named were pushed.
    fn visited(&self) {
        let mut pending = self.lock();
        pending.unvisited -= 1;
        if pending.unvisited == 0 {
            self.changed.notify_all();
        }
    }

    fn close(&self) {
        self.lock().is_closed = true;
        self.changed.notify_all();
    }

    /// Waits for a folder; none when all were visited, or the queue was closed.
    fn pop(&self) -> Option<ContentPath> {
        let mut pending = self.lock();
        loop {
            if pending.is_closed || pending.unvisited == 0 {
                return None;
            }
            if let Some(folder) = pending.folders.pop() {
                return Some(folder);
            }
            pending = self.changed.wait(pending).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Pending> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
