//! Calls that answer in time although what they touch may not: a system call on a mount whose server has gone waits for ever, and
//! nobody can take it back.
//!
//! Such a call works on a thread of its own, which notes every place before it touches it. Where its caller waits no longer, the thread
//! is left behind, and whoever comes to the same place meanwhile is refused at once, so that threads do not pile up.

use std::any::Any;
use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::error::{Error, ErrorKind, Result};
use crate::platform::mount_of;

/// How many threads of a process may be left behind, wherever they are stuck.
const MOST_LEFT_BEHIND: usize = 16;

/// What the caller of a watched thread knows of it.
struct Watch {
    state: Mutex<WatchState>,
}

struct WatchState {
    /// What it touched last.
    place: Option<PathBuf>,
    /// When it last said that it comes on.
    alive: Instant,
    ended: bool,
}

thread_local! {
    /// What this thread tells its caller; none where nobody waits for it.
    static WATCH: RefCell<Option<Arc<Watch>>> = const { RefCell::new(None) };
}

/// The threads that were left behind and have not ended.
static LEFT_BEHIND: Mutex<Vec<Arc<Watch>>> = Mutex::new(Vec::new());

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Notes what this thread is about to touch. Does nothing where nobody waits for the thread with a limit, as in jobs, which are
/// cancelled instead.
///
/// # Errors
/// `StoreUnavailable` where an earlier call is still stuck there.
pub(crate) fn touching(place: &Path) -> Result<()> {
    let Some(watch) = WATCH.with_borrow(Clone::clone) else { return Ok(()) };
    let is_stuck = |other: &Arc<Watch>| {
        let is_here = |stuck: &PathBuf| is_same_place(stuck, place);
        !Arc::ptr_eq(other, &watch) && lock(&other.state).place.as_ref().is_some_and(is_here)
    };
    if lock(&LEFT_BEHIND).iter().any(is_stuck) {
        return Err(silent(place, "An earlier call is still waiting for it."));
    }
    lock(&watch.state).place = Some(place.to_owned());
    Ok(())
}

/// Whether both lie on one mounted file system, which then does not answer; on the root's own only where they are the same.
pub(crate) fn is_same_place(one: &Path, other: &Path) -> bool {
    one == other || mount_of(one).is_some_and(|mount| mount_of(other) == Some(mount))
}

/// Says that this thread comes on: its caller waits anew.
pub(crate) fn alive() {
    if let Some(watch) = WATCH.with_borrow(Clone::clone) {
        lock(&watch.state).alive = Instant::now();
    }
}

/// Works on a thread of its own, and waits until that has ended, or has not come on for the limit. A panic of the work is one of the
/// caller.
///
/// # Errors
/// The work's; `StoreUnavailable`, naming the place that does not answer. What was asked for may then still be done, once it does.
pub(crate) fn within<R: Send + 'static>(
    limit: Duration,
    work: impl FnOnce() -> Result<R> + Send + 'static,
) -> Result<R> {
    if let Some(stuck) = too_many() {
        return Err(stuck);
    }
    let watch = Arc::new(Watch {
        state: Mutex::new(WatchState { place: None, alive: Instant::now(), ended: false }),
    });
    let done = Arc::new(Outbox { result: Mutex::new(None), is_there: Condvar::new() });
    let (told, to_tell) = (Arc::clone(&watch), Arc::clone(&done));
    let body = move || {
        WATCH.set(Some(Arc::clone(&told)));
        let result = catch_unwind(AssertUnwindSafe(work));
        WATCH.set(None);
        // Its caller may be gone.
        *lock(&to_tell.result) = Some(result);
        to_tell.is_there.notify_one();
        let mut left_behind = lock(&LEFT_BEHIND);
        lock(&told.state).ended = true;
        left_behind.retain(|other| !Arc::ptr_eq(other, &told));
    };
    std::thread::Builder::new()
        .name("cs-backup-call".to_owned())
        .spawn(body)
        .map_err(|cause| no_thread(&cause))?;
    loop {
        let idle = lock(&watch.state).alive.elapsed();
        if let Some(result) = done.wait(limit.saturating_sub(idle)) {
            return unwrap(result);
        }
        if lock(&watch.state).alive.elapsed() < limit {
            continue;
        }
        let mut left_behind = lock(&LEFT_BEHIND);
        let (place, ended) = {
            let state = lock(&watch.state);
            (state.place.clone(), state.ended)
        };
        if ended {
            drop(left_behind);
            if let Some(result) = done.wait(Duration::ZERO) {
                return unwrap(result);
            }
        } else {
            left_behind.push(watch);
        }
        let waited = format!(
            "It was waited for {} s; what was asked for may still be done once it answers.",
            limit.as_secs_f32()
        );
        return Err(silent(&place.unwrap_or_default(), &waited));
    }
}

/// What a thread has to say at its end, or how it panicked.
type Ended<R> = std::result::Result<Result<R>, Box<dyn Any + Send>>;

/// Where it says it. A channel would do the same, but leave something behind in the thread of a host that waits.
struct Outbox<R> {
    result: Mutex<Option<Ended<R>>>,
    is_there: Condvar,
}

impl<R> Outbox<R> {
    fn wait(&self, limit: Duration) -> Option<Ended<R>> {
        let waited = self.is_there.wait_timeout_while(lock(&self.result), limit, |result| result.is_none());
        waited.unwrap_or_else(PoisonError::into_inner).0.take()
    }
}

fn unwrap<R>(ended: Ended<R>) -> Result<R> {
    ended.unwrap_or_else(|payload| resume_unwind(payload))
}

fn too_many() -> Option<Error> {
    let left_behind = lock(&LEFT_BEHIND);
    let place = lock(&left_behind.get(MOST_LEFT_BEHIND - 1)?.state).place.clone().unwrap_or_default();
    Some(silent(
        &place,
        &format!("{} earlier calls are still waiting for it or for others.", left_behind.len()),
    ))
}

fn silent(place: &Path, detail: &str) -> Error {
    Error::new(
        ErrorKind::StoreUnavailable,
        format!("{} does not answer. {detail}", place.display()),
        "Bring its server or its device back, or unmount its file system (umount -f) and mount it again; then ask again.",
    )
    .at("path", place.display())
}

fn no_thread(cause: &std::io::Error) -> Error {
    Error::new(ErrorKind::Io, "No threads can be started.", "Raise the process's limit of threads.")
        .caused_by(cause)
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Sender, channel};

    use super::*;

    const SHORT: Duration = Duration::from_millis(50);
    const LONG: Duration = Duration::from_secs(60);

    /// Work that hangs at a place until the sender is dropped.
    fn hang(place: &'static str) -> (Error, Sender<()>) {
        let (free, is_free) = channel::<()>();
        let work = move || {
            touching(Path::new(place))?;
            let _ = is_free.recv();
            Ok(())
        };
        (within(SHORT, work).unwrap_err(), free)
    }

    fn touch(place: &'static str) -> Result<()> {
        within(LONG, move || touching(Path::new(place)))
    }

    #[test]
    fn a_place_that_does_not_answer_is_named_and_the_next_call_is_refused_at_once_until_it_answers() {
        let (error, free) = hang("/hung/one");
        assert_eq!((error.kind, error.context["path"].as_str()), (ErrorKind::StoreUnavailable, "/hung/one"));
        let refused = touch("/hung/one").unwrap_err();
        assert_eq!(refused.kind, ErrorKind::StoreUnavailable);
        assert!(refused.message.contains("An earlier call"), "{refused}");
        touch("/another/store").unwrap();
        // A job is not refused: it is cancelled instead.
        touching(Path::new("/hung/one")).unwrap();
        drop(free);
        let deadline = Instant::now() + LONG;
        while touch("/hung/one").is_err() {
            assert!(Instant::now() < deadline, "it stays refused");
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    #[test]
    fn work_that_comes_on_is_waited_for_and_its_panic_is_the_callers() {
        let steps = || {
            for _ in 0..10 {
                std::thread::sleep(SHORT / 5);
                alive();
            }
            Ok(7)
        };
        assert_eq!(within(SHORT * 4, steps).unwrap(), 7);
        let panic = catch_unwind(|| within(LONG, || -> Result<()> { panic!("a defect") })).unwrap_err();
        assert_eq!(panic.downcast_ref::<&str>(), Some(&"a defect"));
    }
}
