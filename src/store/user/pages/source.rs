//! Reading an active store so that its server does not notice: nothing is opened through SQLite, created, or written, and no lock is taken
//! that can hold up a write.
//!
//! There are several ways to a state that the store really had ([`Way`]). Each attempt chooses anew, because a server may come, go, or
//! change its journal mode at any time; what it found counts only if nothing came between.

use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use super::end::{Base, Exported, PageSink, Seen};
use crate::error::{Error, ErrorKind, Result, Side};
use crate::platform::{FileStat, RawFile, Rights};
use crate::store::Until;
use crate::store::files::with_suffix;
use crate::store::sqlite::format::header::Header;
use crate::store::sqlite::format::log::{self, LogHeader, LogIndex, LogMark};

mod fence;
mod lost;
mod ways;

use ways::Attempt;

/// Pauses between two attempts.
const SHORTEST_PAUSE: Duration = Duration::from_millis(2);
const LONGEST_PAUSE: Duration = Duration::from_millis(250);

/// How a state was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// What was appended to the write-ahead log, without a lock.
    Log,
    /// Everything, beside the write-ahead log, as one of its readers.
    LogReader,
    /// Everything, without a lock: nothing had changed from before to after.
    Unlocked,
    /// A clone of the file that was made in a moment without a change.
    Clone,
    /// Everything, twice, the second time under a lock for readers.
    Locked,
}

impl Way {
    /// For reports.
    pub(super) const fn describe(self) -> &'static str {
        match self {
            Way::Log => "Read what was appended to the write-ahead log, without a lock.",
            Way::LogReader => "Read everything as one more reader of the write-ahead log.",
            Way::Unlocked => "Read everything without a lock; nothing had changed meanwhile.",
            Way::Clone => "Read a clone that the file system made at once, without a lock.",
            Way::Locked => "Read everything twice, the second time under a lock for readers.",
        }
    }
}

/// What a source looked like when it was read: whatever is written to it later shows in one of these.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Mark {
    database: FileStat,
    /// The file system that its folder was on.
    folder_device: u64,
    /// The end of the log, where there was one.
    end: Option<LogMark>,
    /// Whether a later write gives the file another time: it was written to long enough before.
    settled: bool,
    pub(super) change_counter: u32,
    pub(super) schema_cookie: u32,
    /// Versions for writing and reading.
    pub(super) versions: (u8, u8),
}

impl Mark {
    /// The mark of a source that was just made anew: it is looked at once more.
    fn of_new(path: &Path, database: FileStat, header: &Header) -> Mark {
        Mark {
            database,
            folder_device: folder_device(path).unwrap_or_default(),
            end: None,
            settled: false,
            change_counter: header.change_counter,
            schema_cookie: header.schema_cookie,
            versions: (header.write_version, header.read_version),
        }
    }

    /// Whether the folder of a source is on another file system than it was: then what is missing there is not lost.
    fn is_elsewhere(&self, source: &Path) -> bool {
        folder_device(source).is_some_and(|device| device != self.folder_device)
    }

    /// Whether the source is still the same file.
    fn is_same_file(&self, other: &FileStat) -> bool {
        (self.database.device, self.database.inode) == (other.device, other.inode)
    }

    /// Whether two marks are of the same file.
    pub(super) fn is_of_same_file(&self, other: &Mark) -> bool {
        self.is_same_file(&other.database)
    }

    /// Whether nothing was written between two marks.
    pub(super) fn is_same_state(&self, other: &Mark) -> bool {
        match (&self.end, &other.end) {
            (None, None) => self.settled && self.database == other.database,
            (one, another) => one == another && self.is_of_same_file(other),
        }
    }
}

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

    /// How the source looks, without reading it.
    ///
    /// # Errors
    /// `StoreUnavailable` where there is none; failures of the file system.
    pub(super) fn look(&self, known: Option<&Mark>) -> Result<Seen> {
        crate::bound::touching(&self.path)?;
        let Some(database) = FileStat::of(&self.path) else { return Err(self.missing()) };
        let has_frames = FileStat::of(&self.log_path()).is_some_and(|log| log.size > log::LOG_HEADER_BYTES);
        let end = if has_frames { self.index()?.map(|index| index.end()) } else { None };
        let look = Look { database, end, has_frames };
        let rights = Rights::of(&self.path).map_err(|cause| match cause.kind() {
            io::ErrorKind::NotFound => self.missing(),
            _ => self.failed()(cause),
        })?;
        Ok(Seen { is_unchanged: known.is_some_and(|known| look.is_as(known)), rights })
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
            "Mount its file system or start its server once. If it is lost, run Invoke-CsBackupServiceSync for the backup pool, which gives it back.",
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

/// The file system that a source's folder is on.
fn folder_device(source: &Path) -> Option<u64> {
    FileStat::of(source.parent()?).map(|folder| folder.device)
}

/// Where to go on in a log; none where it is another log than the one that was read, or does not go that far.
fn start_after(mark: &Mark, header: &LogHeader, index: &LogIndex) -> Option<LogMark> {
    let end = mark.end.as_ref()?;
    let is_same = header.has(end) && index.belongs_to(end) && end.frames <= index.frames;
    is_same.then(|| if end.frames == 0 { header.start() } else { *end })
}
