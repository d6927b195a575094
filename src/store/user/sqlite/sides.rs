//! Reading a table at the source and at the standby at the same time, slice by slice.

use std::collections::HashMap;
use std::path::Path;
use std::thread;

use rusqlite::Connection;

use super::datum::Row;
use super::digest::{Buckets, Digester, RowDigest};
use super::import::Import;
use super::source::{LOCK_PATIENCE, Source, while_busy};
use crate::error::{ErrorKind, Result};
use crate::store::Progress;
use crate::store::sqlite::{Access, open, sqlite_error};
use crate::store::user::Work;

/// The digests of the rows of keys.
pub(super) type Keys = HashMap<Row, Vec<u128>>;

/// Whom to tell how many rows were compared.
pub(super) struct Told<'a> {
    pub(super) work: &'a Work<'a>,
    pub(super) before: u64,
    pub(super) total: Option<u64>,
}

/// One of the two databases.
pub(super) enum Side<'a> {
    Source { source: &'a Source<'a>, work: &'a Work<'a> },
    Standby { connection: &'a Connection, path: &'a Path, told: &'a Told<'a> },
}

impl Side<'_> {
    pub(super) fn buckets(&self, digester: &Digester) -> Result<Buckets> {
        let mut buckets = Buckets::new();
        self.read(
            digester,
            |row, buffer| digester.digest(row, buffer).map(Some),
            |digests: Vec<RowDigest>| {
                digests.into_iter().for_each(|digest| buckets.add(digest));
                buckets.rows
            },
        )?;
        Ok(buckets)
    }

    /// The keys of the buckets that are wanted.
    pub(super) fn keys(&self, digester: &Digester, wanted: &[bool]) -> Result<Keys> {
        let mut keys = Keys::new();
        self.read(
            digester,
            |row, buffer| {
                let digest = digester.digest(row, buffer)?;
                let is_wanted = wanted.get(usize::from(digest.bucket)).is_some_and(|wanted| *wanted);
                is_wanted.then(|| Ok((digester.key(row)?, digest.sum))).transpose()
            },
            |found: Vec<(Row, u128)>| {
                for (key, sum) in found {
                    keys.entry(key).or_default().push(sum);
                }
                0
            },
        )?;
        Ok(keys)
    }

    /// Reads the whole table slice by slice. What a slice yields is taken up when the slice is done: one that was
    /// begun in vain counts for nothing.
    fn read<T>(
        &self,
        digester: &Digester,
        take: impl Fn(&rusqlite::Row<'_>, &mut Vec<u8>) -> rusqlite::Result<Option<T>>,
        mut merge: impl FnMut(Vec<T>) -> u64,
    ) -> Result<()> {
        let mut after = None;
        loop {
            let slice = |connection: &Connection| {
                let (mut taken, mut buffer) = (Vec::new(), Vec::new());
                let next = digester.walk.slice(connection, &after, |row| {
                    taken.extend(take(row, &mut buffer)?);
                    Ok(())
                })?;
                Ok((taken, next))
            };
            let (taken, next) = match self {
                Side::Source { source, work } => {
                    work.check()?;
                    source.snapshot(work, |transaction| slice(transaction))?
                }
                Side::Standby { connection, path, told } => {
                    told.work.check()?;
                    slice(connection).map_err(|cause| sqlite_error("read", path, &cause))?
                }
            };
            let rows = merge(taken);
            if let (Side::Standby { told, .. }, 1..) = (self, rows) {
                (told.work.progress)(Progress {
                    activity: "Comparing rows",
                    items_done: told.before + rows,
                    items_total: told.total,
                    ..Progress::default()
                });
            }
            if next.is_none() {
                return Ok(());
            }
            after = next;
        }
    }
}

/// Reads both sides at the same time: the source on a thread and a connection of its own, for the standby's rows
/// are seen only by the connection that is changing them.
pub(super) fn at_both<R: Send>(
    source: &Source<'_>,
    import: &Import<'_>,
    told: &Told<'_>,
    read: impl Fn(&Side<'_>) -> Result<R> + Sync,
) -> Result<(R, R)> {
    let stop = told.work.cancel.child_token();
    let (path, file, capture) = (source.path, source.file, source.capture);
    let (generation, now) = (told.work.generation, told.work.now);
    let (theirs, ours) = thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let work = Work { generation, verify: false, cancel: &stop, progress: &|_| {}, now };
            let done = while_busy(&stop, LOCK_PATIENCE, || open(path, Access::Read)).and_then(|connection| {
                let source = Source { connection: &connection, path, file, capture };
                read(&Side::Source { source: &source, work: &work })
            });
            if done.is_err() {
                stop.cancel();
            }
            done
        });
        let work = Work { cancel: &stop, ..*told.work };
        let ours = read(&Side::Standby {
            connection: import.connection,
            path: import.path,
            told: &Told { work: &work, ..*told },
        });
        if ours.is_err() {
            stop.cancel();
        }
        (reader.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)), ours)
    });
    match (theirs, ours) {
        (Ok(theirs), Ok(ours)) => Ok((theirs, ours)),
        // One side's failure cancels the other one.
        (Err(error), Err(other)) if error.kind == ErrorKind::Cancelled => Err(other),
        (Err(error), _) | (_, Err(error)) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::collections::BTreeSet;
    use std::time::{Duration, Instant};

    use super::super::testing::with_source;
    use super::*;
    use crate::error::Error;
    use crate::report::Moved;

    #[test]
    fn the_side_that_fails_ends_the_other_one_and_its_failure_is_what_is_said() {
        with_source("CREATE TABLE users (id INTEGER PRIMARY KEY)", |source, work| {
            let connection = Connection::open_in_memory().unwrap();
            let import = Import {
                connection: &connection,
                path: Path::new("standby.sqlite"),
                moved: Moved::default(),
                quarantined: Vec::new(),
                schema_differs: false,
                damaged: BTreeSet::new(),
            };
            let told = Told { work, before: 0, total: None };
            for source_fails in [true, false] {
                let read = |side: &Side<'_>| -> Result<()> {
                    let (is_source, work) = match side {
                        Side::Source { work, .. } => (true, *work),
                        Side::Standby { told, .. } => (false, told.work),
                    };
                    if is_source == source_fails {
                        return Err(Error::new(ErrorKind::Corrupt, "A page is damaged.", "Repair it."));
                    }
                    let began = Instant::now();
                    while began.elapsed() < Duration::from_secs(10) {
                        work.check()?;
                        thread::sleep(Duration::from_millis(1));
                    }
                    panic!("the other side's failure did not end this one");
                };
                let error = at_both(source, &import, &told, read).unwrap_err();
                assert_eq!(error.kind, ErrorKind::Corrupt, "the source fails: {source_fails}");
            }
            assert!(!work.cancel.is_cancelled(), "the whole job was cancelled");
        });
    }

    #[test]
    fn how_far_a_comparison_is_counts_the_tables_before() {
        let schema = "CREATE TABLE users (id INTEGER PRIMARY KEY); INSERT INTO users VALUES (1), (2), (3)";
        with_source(schema, |source, work| {
            let seen = RefCell::new(Vec::new());
            let progress = |now: Progress| seen.borrow_mut().push((now.items_done, now.items_total));
            let work = Work { progress: &progress, ..*work };
            let told = Told { work: &work, before: 5, total: Some(9) };
            let side = Side::Standby { connection: source.connection, path: source.path, told: &told };
            let digester = Digester::new(source.capture.schema.table("users").unwrap());
            side.buckets(&digester).unwrap();
            assert_eq!(*seen.borrow(), [(8, Some(9))]);
        });
    }
}
