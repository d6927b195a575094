//! Reading an active store so that its server does not notice: nothing is opened through SQLite, created, or written, and no lock is taken
//! that can hold up a write.
//!
//! There are several ways to a state that the store really had ([`Way`]). Each attempt chooses anew, because a server may come, go, or
//! change its journal mode at any time; what it found counts only if nothing came between.

use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use super::end::{Base, Exported, PageSink, Seen};
use super::mark::Mark;
use crate::error::{Error, ErrorKind, Result, Side};
use crate::platform::{FileStat, RawFile, Rights};
use crate::store::Until;
use crate::store::files::with_suffix;
use crate::store::sqlite::format::header::Header;
use crate::store::sqlite::format::log::{self, LogHeader, LogIndex, LogMark};

mod fence;
mod lost;
#[cfg(test)]
mod tests;
mod ways;

use ways::Attempt;

/// Pauses between two attempts.
const SHORTEST_PAUSE: Duration = Duration::from_millis(2);
const LONGEST_PAUSE: Duration = Duration::from_millis(250);

/// One pass over a source.
struct Reading<'a> {
    cancel: &'a CancellationToken,
    progress: &'a (dyn Fn(u64, u64) + Sync),
}

/// Why an attempt does not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Busy {
    Changed,
    Writer,
    Exclusive,
    Index,
    TooLong,
}

impl Busy {
    const fn reason(self) -> &'static str {
        match self {
            Busy::Changed => "it changed each time before it was read through",
            Busy::Writer => "somebody was writing to it each time",
            Busy::Exclusive => "its server keeps it locked for itself (locking_mode=EXCLUSIVE)",
            Busy::Index => "the index of its write-ahead log could not be read",
            Busy::TooLong => "reading it takes longer than a lock may last (max_lock_ms)",
        }
    }
}

/// An active store.
#[derive(Clone, Debug)]
pub(super) struct Source {
    path: PathBuf,
    /// For how long a lock for readers may be held; none where the server does not wait.
    max_lock: Option<Duration>,
}

/// What a look from outside tells.
struct Look {
    database: FileStat,
    end: Option<LogMark>,
    has_frames: bool,
}

impl Look {
    /// Whether the source is as it was when it was read.
    fn is_as(&self, mark: &Mark) -> bool {
        match (&mark.end, &self.end) {
            (Some(known), Some(now)) => known == now && mark.is_same_file(&self.database),
            (None, None) => !self.has_frames && mark.settled && mark.database == self.database,
            _ => false,
        }
    }
}

impl Source {
    pub(super) fn new(path: &Path, max_lock: Option<Duration>) -> Self {
        Source { path: path.to_owned(), max_lock }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    fn failed(&self) -> impl Fn(io::Error) -> Error + Copy {
        move |cause| Error::io("read", &self.path, &cause).on(Side::Export)
    }

    fn log_path(&self) -> PathBuf {
        with_suffix(&self.path, "-wal")
    }

    fn index_path(&self) -> PathBuf {
        with_suffix(&self.path, "-shm")
    }

    /// Whether the source is as it was, as far as that can be seen without opening the database.
    ///
    /// # Errors
    /// `StoreUnavailable` where there is none; failures of the file system.
    pub(super) fn is_unchanged(&self, known: Option<&Mark>) -> Result<bool> {
        crate::bound::touching(&self.path)?;
        let database = match std::fs::metadata(&self.path) {
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Err(self.missing()),
            found => found.map_err(|cause| unreachable(&self.path, &cause).on(Side::Export))?,
        };
        let Some(known) = known else { return Ok(false) };
        let database = FileStat::from(&database);
        let has_frames = FileStat::of(&self.log_path()).is_some_and(|log| log.size > log::LOG_HEADER_BYTES);
        let end = if has_frames { self.index()?.map(|index| index.end()) } else { None };
        Ok(Look { database, end, has_frames }.is_as(known))
    }

    /// How the source looks, without reading it.
    ///
    /// # Errors
    /// As for [`Source::is_unchanged`].
    pub(super) fn look(&self, known: Option<&Mark>) -> Result<Seen> {
        let is_unchanged = self.is_unchanged(known)?;
        let rights = Rights::of(&self.path).map_err(|cause| match cause.kind() {
            io::ErrorKind::NotFound => self.missing(),
            _ => self.failed()(cause),
        })?;
        Ok(Seen { is_unchanged, rights })
    }

    fn index(&self) -> Result<Option<LogIndex>> {
        let Some(index) = self.open_beside(&self.index_path(), false)? else { return Ok(None) };
        LogIndex::read(&index).map_err(self.failed())
    }

    /// How many pages were written to the log since the source was read; none where the log does not tell.
    ///
    /// # Errors
    /// Failures of the file system.
    pub(super) fn pending(&self, mark: &Mark) -> Result<Option<u32>> {
        let (Some(log), Some(index)) = (self.open_beside(&self.log_path(), false)?, self.index()?) else {
            return Ok(None);
        };
        let Some(header) = LogHeader::read(&log).map_err(self.failed())? else { return Ok(None) };
        let Some(from) = start_after(mark, &header, &index) else { return Ok(None) };
        let (found, end) = log::follow(&log, &self.log_path(), &header, from, Some(index.frames))?;
        let pages = u32::try_from(found.of_page.len()).unwrap_or(u32::MAX);
        Ok((end.frames == index.frames).then_some(pages))
    }

    /// The error of a source that is not there.
    pub(super) fn missing(&self) -> Error {
        Error::new(
            ErrorKind::StoreUnavailable,
            format!("The user store {} does not exist.", self.path.display()),
            "Mount its file system or start its server once. If it is lost, run Invoke-CsBackupServiceSync with -BackupModule PresenceFocus for the backup pool, which gives it back.",
        )
        .at("path", self.path.display())
        .on(Side::Export)
    }

    /// Looks whether the source can be a database.
    ///
    /// # Errors
    /// `Corrupt`, `AccessDenied`, `StoreOpenInProcess`.
    pub(super) fn require_database(&self) -> Result<()> {
        let database = self.open()?;
        let header = Header::of(&database).map_err(self.failed())?;
        header.map(drop).ok_or_else(|| self.no_database())
    }

    /// A file beside the database; none where there is none.
    fn open_beside(&self, path: &Path, writable: bool) -> Result<Option<RawFile>> {
        match RawFile::open(path, writable) {
            Ok(file) => Ok(Some(file)),
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(cause) => Err(Error::io("open", path, &cause).on(Side::Export)),
        }
    }

    /// Reads a state that the source had, and stages the pages that differ from the base.
    ///
    /// # Errors
    /// `SourceTooBusy` where no attempt counted in time; `StoreUnavailable`, `AccessDenied`, `Corrupt`, `Cancelled`.
    pub(super) fn export(&self, base: &Base, to: &dyn PageSink, until: &Until) -> Result<Exported> {
        let progress = |done: u64, total: u64| to.tell(done, total);
        let reading = Reading { cancel: &until.cancel, progress: &progress };
        let mut pause = SHORTEST_PAUSE;
        let mut attempts = 0;
        loop {
            attempts += 1;
            let begun = Instant::now();
            let busy = match self.attempt(base, to, &reading) {
                Ok(Attempt::Done(mut exported)) => {
                    exported.attempts = attempts;
                    return Ok(*exported);
                }
                Ok(Attempt::Again(busy)) => busy,
                // A file that became shorter while it was read.
                Err(error) if error.kind == ErrorKind::Io && error.side.is_none() && attempts < 3 => {
                    Busy::Changed
                }
                Err(error) => return Err(Side::Export.failed()(error)),
            };
            to.reset()?;
            to.wait();
            if Instant::now() >= until.deadline {
                return Err(self.too_busy(busy, attempts));
            }
            let pause_now = pause.max(begun.elapsed() / 4).min(LONGEST_PAUSE);
            let next = Instant::now() + pause_now;
            while Instant::now() < next {
                if reading.cancel.is_cancelled() {
                    return Err(Error::cancelled());
                }
                std::thread::sleep(SHORTEST_PAUSE.min(next.saturating_duration_since(Instant::now())));
            }
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    fn too_busy(&self, busy: Busy, attempts: u32) -> Error {
        Error::new(
            ErrorKind::SourceTooBusy,
            format!("No state of {} could be read: {}.", self.path.display(), busy.reason()),
            "The copy stays as it is, and the next job tries again. Let the server write ahead (PRAGMA journal_mode=WAL, one statement, once), say server_waits = true for its pool where it waits for locks, or put it on a file system with clones (XFS, Btrfs).",
        )
        .at("path", self.path.display())
        .at("attempts", attempts)
        .on(Side::Export)
    }

    /// Opens the store, which nobody else in this process may have open.
    fn open(&self) -> Result<RawFile> {
        crate::bound::touching(&self.path)?;
        crate::store::sqlite::require_alone(&self.path)?;
        match RawFile::open(&self.path, false) {
            Ok(file) => Ok(file),
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => Err(self.missing()),
            Err(cause) => Err(Error::io("open", &self.path, &cause).on(Side::Export)),
        }
    }
}

/// The error where it cannot be seen whether a source is there: a folder on the way to it is closed to the account.
fn unreachable(source: &Path, cause: &io::Error) -> Error {
    let closed = source.ancestors().skip(1).find(|folder| folder.try_exists().is_ok());
    Error::io("enter", closed.unwrap_or(source), cause)
}

/// Where to go on in a log; none where it is another log than the one that was read, or does not go that far.
fn start_after(mark: &Mark, header: &LogHeader, index: &LogIndex) -> Option<LogMark> {
    let end = mark.end.as_ref()?;
    let is_same = header.has(end) && index.belongs_to(end) && end.frames <= index.frames;
    is_same.then(|| if end.frames == 0 { header.start() } else { *end })
}
