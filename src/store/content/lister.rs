//! Visits the folders of a store on several threads: listing waits for the disk, or for the network.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Condvar, Mutex, PoisonError};

use tokio_util::sync::CancellationToken;

use crate::error::{Error, Result};
use crate::store::content::ContentPath;
use crate::store::threads::join_all;

/// How much of what was found may wait to be taken.
const FOUND_AHEAD: usize = 8;

/// What a thread does with folders.
pub(crate) trait Visitor<F>: Send {
    /// Hands over what it finds in a folder, and returns the folders to visit next.
    fn visit(
        &mut self,
        folder: &ContentPath,
        found: &mut dyn FnMut(F) -> Result<()>,
    ) -> Result<Vec<ContentPath>>;
}

/// Visits the root, and then every folder that a visit names, each visitor on a thread of its own. What was found in a folder is taken before what is found
/// in those that it named; that of different branches in any order.
pub(crate) fn visit_all<F: Send>(
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
    state: Mutex<QueueState>,
    changed: Condvar,
}

#[derive(Default)]
struct QueueState {
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

    fn lock(&self) -> std::sync::MutexGuard<'_, QueueState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;
    use std::time::Duration;

    use super::*;

    type Injected = (&'static str, fn() -> Error);

    /// Finds the names of folders in a tree in which every folder above the last level has so many others.
    struct Tree {
        depth: usize,
        width: u8,
        /// What goes wrong in which folder.
        failure: Option<Injected>,
    }

    impl Visitor<ContentPath> for Tree {
        fn visit(
            &mut self,
            folder: &ContentPath,
            found: &mut dyn FnMut(ContentPath) -> Result<()>,
        ) -> Result<Vec<ContentPath>> {
            if let Some((place, error)) = self.failure
                && folder.as_bytes() == place.as_bytes()
            {
                return Err(error());
            }
            found(folder.clone())?;
            let width = if folder.names().count() < self.depth { self.width } else { 0 };
            Ok((b'a'..b'a' + width).filter_map(|name| folder.join(&[name])).collect())
        }
    }

    fn trees(count: usize, failure: Option<Injected>) -> Vec<Tree> {
        std::iter::repeat_with(|| Tree { depth: 3, width: 3, failure }).take(count).collect()
    }

    /// What came of a visit; one that does not end is a failure, too.
    fn ends<R: Send + 'static>(visit: impl FnOnce() -> R + Send + 'static) -> std::thread::Result<R> {
        let (sender, ended) = channel();
        std::thread::spawn(move || {
            let _ = sender.send(std::panic::catch_unwind(std::panic::AssertUnwindSafe(visit)));
        });
        ended.recv_timeout(Duration::from_secs(20)).expect("it does not end")
    }

    fn visited(visitors: Vec<Tree>, cancel: CancellationToken) -> (Result<()>, Vec<ContentPath>) {
        let visit = move || {
            let mut taken = Vec::new();
            let done = visit_all(visitors, &cancel, &mut |folder| {
                taken.push(folder);
                Ok(())
            });
            (done, taken)
        };
        ends(visit).unwrap()
    }

    #[test]
    fn every_folder_is_visited_once_and_after_the_one_that_it_is_in() {
        for threads in 1..=4 {
            let (done, taken) = visited(trees(threads, None), CancellationToken::new());
            done.unwrap();
            assert_eq!(taken.len(), 1 + 3 + 9 + 27);
            for (position, folder) in taken.iter().enumerate() {
                assert!(!taken[..position].contains(folder), "{folder} twice");
                let above = folder.split().map(|(above, _)| above);
                assert!(above.is_none_or(|above| taken[..position].contains(&above)), "{folder} too early");
            }
        }
    }

    #[test]
    fn one_thread_goes_through_the_branches_in_their_order() {
        let (_, taken) = visited(trees(1, None), CancellationToken::new());
        assert!(taken.is_sorted());
    }

    #[test]
    fn the_first_failure_ends_the_visit() {
        let (done, taken) = visited(trees(4, Some(("b/b", Error::cancelled))), CancellationToken::new());
        assert!(done.is_err());
        assert!(!taken.iter().any(|folder| folder.as_bytes().starts_with(b"b/b")));
        let refuse = || {
            visit_all(trees(4, None), &CancellationToken::new(), &mut |folder: ContentPath| {
                if folder.is_root() { Ok(()) } else { Err(Error::cancelled()) }
            })
        };
        assert!(ends(refuse).unwrap().is_err(), "threads that wait to hand something over are let go");
    }

    #[test]
    fn a_cancelled_visit_takes_nothing_more() {
        let cancel = CancellationToken::new();
        cancel.cancel();
        let (done, taken) = visited(trees(2, None), cancel);
        assert_eq!(done.unwrap_err().kind, crate::error::ErrorKind::Cancelled);
        assert!(taken.is_empty());
    }

    #[test]
    fn a_defect_of_one_thread_is_passed_on_and_the_others_end() {
        let visit = || {
            let trees = trees(4, Some(("", || panic!("a defect"))));
            visit_all(trees, &CancellationToken::new(), &mut |_: ContentPath| Ok(()))
        };
        let defect = ends(visit).unwrap_err();
        assert_eq!(defect.downcast_ref::<&str>(), Some(&"a defect"));
    }
}
