//! Copying a database page by page, while its server goes on writing.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rusqlite::backup::{Backup, StepResult};
use rusqlite::{Connection, ErrorCode, ffi};

use super::source::LOCK_PATIENCE;
use super::write_behind::WriteBehind;
use crate::error::{Error, Result, Side};
use crate::store::sqlite::sqlite_error;
use crate::store::user::Work;

/// How long one step should take: on a rollback journal it keeps the server from committing.
const STEP_TIME: Duration = Duration::from_millis(20);
/// How many pages the first step takes, before it is known how fast they are copied.
const FIRST_STEP: i32 = 64;
/// How many pages one step takes at most.
const LONGEST_STEP: i32 = 8_192;

/// How often a copy begins again because another process wrote to a database with a rollback journal. A server that
/// writes more often than a copy takes is copied by key ranges instead.
const RESTARTS: u32 = 3;

/// How a copy ended.
pub(super) enum Copied {
    /// The destination is the source, page by page.
    Complete,
    /// The source was written to again and again, or nobody wanted the copy any more.
    GivenUp,
    /// Pages of the source cannot be read.
    Unreadable(Error),
}

/// How far a copy has come.
#[derive(Clone, Copy, Debug)]
pub(super) struct PagesDone {
    pub(super) done: u64,
    pub(super) of: u64,
}

/// The database that is read, by a connection that nobody else uses meanwhile.
pub(super) struct From<'a> {
    pub(super) connection: &'a Connection,
    pub(super) path: &'a Path,
}

/// Copies all pages into an empty database, as long as `wanted` says so.
///
/// A transaction that the source's connection has begun is the state that is copied, whatever is written meanwhile.
/// Without one, every step has a short one of its own, and the copy begins again when another process has written.
///
/// # Errors
/// Failures to write to the destination, `StoreBusy`, `Cancelled`.
pub(super) fn copy_pages(
    from: &From<'_>,
    to: &mut Connection,
    file: &mut WriteBehind,
    work: &Work<'_>,
    wanted: &mut dyn FnMut(PagesDone) -> bool,
) -> Result<Copied> {
    let fresh = to.path().map(PathBuf::from).unwrap_or_default();
    let failed = |cause| sqlite_error("write", &fresh, &cause);
    let backup = Backup::new(from.connection, to).map_err(failed)?;
    let (mut step, mut before, mut restarts) = (FIRST_STEP, 0, 0);
    let mut locked_since = None;
    loop {
        work.check()?;
        let started = Instant::now();
        let result = match backup.step(step) {
            Err(cause) if is_about_source(&cause) => {
                return Ok(Copied::Unreadable(sqlite_error("read", from.path, &cause).on(Side::Export)));
            }
            result => result.map_err(failed)?,
        };
        if matches!(result, StepResult::Busy | StepResult::Locked) {
            if locked_since.get_or_insert(started).elapsed() >= LOCK_PATIENCE {
                return Err(locked(from.path).on(Side::Export));
            }
            // SQLite waits for most locks by itself, but not for all.
            std::thread::sleep(Duration::from_millis(1));
            continue;
        }
        locked_since = None;
        let progress = backup.progress();
        let done = progress.pagecount - progress.remaining;
        let of = u64::try_from(progress.pagecount).unwrap_or(0);
        if !wanted(PagesDone { done: u64::try_from(done).unwrap_or(0), of }) {
            return Ok(Copied::GivenUp);
        }
        if result == StepResult::Done {
            return Ok(Copied::Complete);
        }
        restarts += u32::from(done != before + step);
        if restarts > RESTARTS {
            return Ok(Copied::GivenUp);
        }
        before = done;
        step = next_step(step, started.elapsed());
        file.advance()?;
    }
}

/// As many pages as fit into [`STEP_TIME`], if they take as long as those before.
fn next_step(pages: i32, took: Duration) -> i32 {
    let factor = STEP_TIME.as_secs_f64() / took.as_secs_f64().max(1e-6);
    // A single quick or slow step says little.
    let wanted = f64::from(pages) * factor.clamp(0.25, 2.0);
    #[expect(clippy::cast_possible_truncation, reason = "clamped to a small range")]
    let wanted = wanted as i32;
    wanted.clamp(1, LONGEST_STEP)
}

/// Whether a failure of a copy can only be the source's: pages are written unread, so what is damaged or cannot be read
/// is not the copy.
pub(super) fn is_about_source(cause: &rusqlite::Error) -> bool {
    let unreadable = [ffi::SQLITE_IOERR_READ, ffi::SQLITE_IOERR_SHORT_READ, ffi::SQLITE_IOERR_CORRUPTFS];
    matches!(cause.sqlite_error_code(), Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase))
        || cause.sqlite_error().is_some_and(|error| unreadable.contains(&error.extended_code))
}

fn locked(path: &Path) -> Error {
    let busy = ffi::Error::new(ffi::SQLITE_BUSY);
    sqlite_error("read", path, &rusqlite::Error::SqliteFailure(busy, None))
}

#[cfg(test)]
mod tests {
    use super::super::testing::with_work;
    use super::*;
    use crate::platform::Rights;
    use crate::store::sqlite::{Access, open};

    #[test]
    fn steps_follow_the_time_they_take() {
        assert_eq!(next_step(1_000, STEP_TIME), 1_000);
        assert_eq!(next_step(1_000, STEP_TIME * 2), 500);
        assert_eq!(next_step(1_000, Duration::ZERO), 2_000);
        assert_eq!(next_step(LONGEST_STEP, Duration::ZERO), LONGEST_STEP);
        assert_eq!(next_step(1_000, STEP_TIME * 100), 250);
        assert_eq!(next_step(1, Duration::from_secs(10)), 1);
    }

    /// Copies a database of a hundred pages that something is done to before, to a new one that is opened like this.
    fn copied(prepare: impl FnOnce(&Path), access: Access) -> Result<Copied> {
        let folder = tempfile::tempdir().unwrap();
        let [path, fresh] = ["users.sqlite", "fresh.sqlite"].map(|name| folder.path().join(name));
        Connection::open(&path)
            .unwrap()
            .execute_batch("CREATE TABLE t (v); INSERT INTO t VALUES (zeroblob(400000))")
            .unwrap();
        prepare(&path);
        let mut result = None;
        with_work(|work| {
            let mut file = WriteBehind::create(&fresh, Rights::PRIVATE).unwrap();
            let (connection, mut to) = (open(&path, Access::Read).unwrap(), open(&fresh, access).unwrap());
            let from = From { connection: &connection, path: &path };
            result = Some(copy_pages(&from, &mut to, &mut file, work, &mut |_| true));
        });
        result.unwrap()
    }

    #[test]
    fn a_lock_is_waited_for_longer_than_sqlite_does() {
        let mut holder = None;
        let held = |path: &Path| {
            let server = Connection::open(path).unwrap();
            server.execute_batch("BEGIN EXCLUSIVE").unwrap();
            holder = Some(std::thread::spawn(move || {
                std::thread::sleep(Duration::from_millis(400));
                server.execute_batch("COMMIT").unwrap();
            }));
        };
        assert!(matches!(copied(held, Access::Write), Ok(Copied::Complete)));
        holder.unwrap().join().unwrap();
    }

    #[test]
    fn a_source_that_cannot_be_read_is_told_apart_from_a_copy_that_cannot_be_written() {
        let spoil = |path: &Path| std::fs::write(path, "no database".repeat(1_000)).unwrap();
        assert!(matches!(copied(spoil, Access::Write), Ok(Copied::Unreadable(_))));
        assert!(copied(|_| {}, Access::Read).is_err());
        for (code, is_sources) in [
            (ffi::SQLITE_CORRUPT, true),
            (ffi::SQLITE_IOERR_READ, true),
            (ffi::SQLITE_IOERR_WRITE, false),
            (ffi::SQLITE_FULL, false),
        ] {
            let cause = rusqlite::Error::SqliteFailure(ffi::Error::new(code), None);
            assert_eq!(is_about_source(&cause), is_sources, "{code}");
        }
    }
}
