//! Reading an active store so that its server does not notice: nothing is opened through SQLite, created, or written, and no lock is taken
//! that can hold up a write.
//!
//! There are several ways to a state that the store really had ([`Way`]). Each attempt chooses anew, because a server may come, go, or
//! change its journal mode at any time; what it found counts only if nothing came between.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use super::hashes::Seed;
use super::header::{HEADER_BYTES, Header, Layout};
use super::journal;
use super::locks::{self, Holder};
use super::log::{self, LogHeader, LogIndex, LogMark, read_whole};
use super::snapshot::{Sink, Snapshot, Suspect};
use crate::error::{Error, ErrorKind, Result, Side};
use crate::platform::{FileStat, RawFile, share_blocks};
use crate::store::files::with_suffix;

/// How long after a write to a file another one may leave the same time behind.
const TICK: Duration = Duration::from_millis(25);
/// Pauses between two attempts.
const SHORTEST_PAUSE: Duration = Duration::from_millis(2);
const LONGEST_PAUSE: Duration = Duration::from_millis(250);
/// How long a moment between two commits is waited for, and how often it is looked for.
const LOCK_PATIENCE: Duration = Duration::from_secs(1);
const LOCK_PAUSE: Duration = Duration::from_micros(200);

/// How a state was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
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
    /// The mark of a source that was made anew from the copy: it holds what was read there, and is looked at once more.
    pub(super) fn of_given_back(&self, database: FileStat, header: &Header) -> Mark {
        Mark {
            database,
            end: None,
            settled: false,
            change_counter: header.change_counter,
            schema_cookie: header.schema_cookie,
            versions: self.versions,
        }
    }

    /// Whether the source is still the same file.
    pub(super) fn is_same_file(&self, other: &FileStat) -> bool {
        (self.database.device, self.database.inode) == (other.device, other.inode)
    }
}

/// What is known of the pages at the other end.
pub(super) struct Base<'a> {
    pub(super) seed: Seed,
    pub(super) hashes: &'a [u128],
    /// None where there is nothing yet.
    pub(super) layout: Option<Layout>,
    /// None where the source has to be read whole.
    pub(super) mark: Option<&'a Mark>,
}

/// Where a pass leaves what differs, until it counts.
pub(super) trait Staging: Sink {
    /// Forgets everything.
    ///
    /// # Errors
    /// Failures of the file system.
    fn reset(&self) -> Result<()>;
}

/// A state that the source had.
pub(super) struct Exported {
    pub(super) way: Way,
    pub(super) attempts: u32,
    pub(super) layout: Layout,
    pub(super) pages: u32,
    /// The first page as it is at the source; none where it is as it was when the base was read.
    pub(super) first_page: Option<Vec<u8>>,
    pub(super) hashes: Vec<u128>,
    /// How many pages are staged.
    pub(super) changed: u32,
    pub(super) suspects: Vec<Suspect>,
    pub(super) mark: Mark,
    /// Whether pages of a transaction that a server did not finish were read from its journal.
    pub(super) undone: bool,
}

/// How to read, and for how long to try.
pub(super) struct Reading<'a> {
    pub(super) cancel: &'a CancellationToken,
    pub(super) patience: Duration,
    pub(super) progress: &'a (dyn Fn(u64, u64) + Sync),
    /// Where a clone of the source may be made; none where that was tried in vain.
    pub(super) clone_in: Option<&'a Path>,
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

enum Attempt {
    Done(Box<Exported>),
    Again(Busy),
}

/// Goes on where nothing stands against it; else the attempt is over.
macro_rules! or_again {
    ($holds:expr, $busy:expr) => {
        if !$holds {
            return Ok(Attempt::Again($busy));
        }
    };
}

/// An active store.
#[derive(Clone, Debug)]
pub(super) struct Source {
    path: PathBuf,
    /// For how long a lock for readers may be held; none where the server does not wait.
    max_lock: Option<Duration>,
}

/// What a look from outside tells.
pub(super) struct Seen {
    pub(super) database: FileStat,
    end: Option<LogMark>,
    has_frames: bool,
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
    pub(super) fn look(&self) -> Result<Seen> {
        crate::bound::touching(&self.path)?;
        let Some(database) = FileStat::of(&self.path) else { return Err(self.missing()) };
        let has_frames = FileStat::of(&self.log_path()).is_some_and(|log| log.size > log::LOG_HEADER_BYTES);
        let end = if has_frames { self.index()?.map(|index| index.end()) } else { None };
        Ok(Seen { database, end, has_frames })
    }

    fn index(&self) -> Result<Option<LogIndex>> {
        let Some(index) = self.open_beside(&self.index_path(), false)? else { return Ok(None) };
        LogIndex::read(&index).map_err(self.failed())
    }

    /// Whether the source is as it was when it was read.
    pub(super) fn is_unchanged(&self, mark: &Mark, seen: &Seen) -> bool {
        match (&mark.end, &seen.end) {
            (Some(known), Some(now)) => known == now && mark.is_same_file(&seen.database),
            (None, None) => !seen.has_frames && mark.settled && mark.database == seen.database,
            _ => false,
        }
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

    fn missing(&self) -> Error {
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
        let mut first = [0; HEADER_BYTES];
        read_whole(&database, &mut first, 0).map_err(self.failed())?;
        if Header::read(&first).is_some() { Ok(()) } else { Err(self.no_database()) }
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
    pub(super) fn export(
        &self,
        base: &Base<'_>,
        staging: &dyn Staging,
        reading: &Reading<'_>,
    ) -> Result<Exported> {
        let started = Instant::now();
        let mut pause = SHORTEST_PAUSE;
        let mut attempts = 0;
        loop {
            attempts += 1;
            let begun = Instant::now();
            let busy = match self.attempt(base, staging, reading) {
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
            staging.reset()?;
            if started.elapsed() >= reading.patience {
                return Err(self.too_busy(busy, attempts));
            }
            let pause_now = pause.max(begun.elapsed() / 4).min(LONGEST_PAUSE);
            let until = Instant::now() + pause_now;
            while Instant::now() < until {
                if reading.cancel.is_cancelled() {
                    return Err(Error::cancelled());
                }
                std::thread::sleep(SHORTEST_PAUSE.min(until.saturating_duration_since(Instant::now())));
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

    /// Whether anybody's SQLite in this process other than this library's has the store open.
    fn open(&self) -> Result<RawFile> {
        crate::bound::touching(&self.path)?;
        crate::store::sqlite::require_alone(&self.path)?;
        match RawFile::open(&self.path, false) {
            Ok(file) => Ok(file),
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => Err(self.missing()),
            Err(cause) => Err(Error::io("open", &self.path, &cause).on(Side::Export)),
        }
    }

    fn attempt(&self, base: &Base<'_>, staging: &dyn Staging, reading: &Reading<'_>) -> Result<Attempt> {
        let database = self.open()?;
        or_again!(locks::is_still_at(&database, &self.path), Busy::Changed);
        let mut first = [0; HEADER_BYTES];
        read_whole(&database, &mut first, 0).map_err(self.failed())?;
        let Some(header) = Header::read(&first) else {
            // It may be being written; a second look decides.
            std::thread::sleep(TICK);
            read_whole(&database, &mut first, 0).map_err(self.failed())?;
            return if Header::read(&first).is_some() {
                Ok(Attempt::Again(Busy::Changed))
            } else {
                Err(self.no_database())
            };
        };
        let log = if header.has_log() { self.open_beside(&self.log_path(), false)? } else { None };
        let log_header = log.as_ref().map(LogHeader::read).transpose().map_err(self.failed())?.flatten();
        if let (Some(log), Some(log_header)) = (&log, &log_header) {
            return self.beside_log(&database, log, log_header, base, staging, reading);
        }
        self.without_log(&database, base, staging, reading)
    }

    fn no_database(&self) -> Error {
        Error::new(
            ErrorKind::Corrupt,
            format!("{} is no SQLite database.", self.path.display()),
            "The last good state stays at the backup pool. Restore the file, or remove it and let the backup pool give its copy back.",
        )
        .at("path", self.path.display())
        .on(Side::Export)
    }

    // ---- with a log ----------------------------------------------------------------------------------------------------

    fn beside_log(
        &self,
        database: &RawFile,
        log: &RawFile,
        header: &LogHeader,
        base: &Base<'_>,
        staging: &dyn Staging,
        reading: &Reading<'_>,
    ) -> Result<Attempt> {
        let shm_path = self.index_path();
        let shm = match self.open_beside(&shm_path, true) {
            Err(error) if error.kind == ErrorKind::AccessDenied => {
                self.open_beside(&shm_path, false)?.map(|shm| (shm, false))
            }
            opened => opened?.map(|shm| (shm, true)),
        };
        let connected = match &shm {
            Some((shm, _)) => locks::is_connected(shm).map_err(self.failed())?,
            None => false,
        };
        let Some((shm, may_write)) = shm.filter(|_| connected) else {
            // Nobody has it open, or one server keeps everything to itself: the log itself says where it ends.
            return self.unlocked(database, Some((log, header, None)), base, staging, reading);
        };
        let Some(index) = LogIndex::read(&shm).map_err(self.failed())? else {
            return Ok(Attempt::Again(Busy::Index));
        };
        let goes_on = base.mark.filter(|mark| mark.is_same_file(&look_of(database))).zip(base.layout);
        if let Some((mark, layout)) = goes_on
            && let Some(from) = start_after(mark, header, &index)
            && layout.page_size == header.page_size
        {
            let done = self.tail(database, log, header, &index, from, base, staging, reading)?;
            if let Some(done) = done {
                return Ok(done);
            }
        }
        let Some(shared) = locks::share(database).map_err(self.failed())? else {
            return Ok(Attempt::Again(Busy::Writer));
        };
        or_again!(locks::is_still_at(database, &self.path), Busy::Changed);
        or_again!(
            locks::is_still_at(log, &self.log_path()) && locks::is_still_at(&shm, &shm_path),
            Busy::Changed
        );
        let Some(slot) = locks::take_slot(&shm, may_write).map_err(self.failed())? else {
            drop(shared);
            return self.unlocked(database, Some((log, header, Some(index))), base, staging, reading);
        };
        let index = slot.index;
        let instead = if slot.is_carried {
            None
        } else {
            let Some(header) = LogHeader::read(log).map_err(self.failed())? else {
                return Ok(Attempt::Again(Busy::Changed));
            };
            or_again!(header.has(&index.end()), Busy::Changed);
            let (found, end) =
                log::follow(log, &self.log_path(), &header, header.start(), Some(index.frames))?;
            or_again!(end == index.end(), Busy::Changed);
            Some((log, places(&found.of_page, header.page_size)))
        };
        let snapshot = self.snapshot(database, instead, index.page_size, index.pages)?;
        let Some(snapshot) = snapshot else { return Ok(Attempt::Again(Busy::Changed)) };
        let mark_of = |first: &[u8]| mark(look_of(database), Some(index.end()), false, first);
        self.read_all(&snapshot, base, staging, reading, Way::LogReader, mark_of)
    }

    /// What the log got since the base was read; none where its chain does not go on from there.
    #[expect(clippy::too_many_arguments, reason = "the inside of one function")]
    fn tail(
        &self,
        database: &RawFile,
        log: &RawFile,
        header: &LogHeader,
        index: &LogIndex,
        from: LogMark,
        base: &Base<'_>,
        staging: &dyn Staging,
        reading: &Reading<'_>,
    ) -> Result<Option<Attempt>> {
        let (found, end) = log::follow(log, &self.log_path(), header, from, Some(index.frames))?;
        if end.frames != index.frames {
            return Ok(None);
        }
        let places = places(&found.of_page, header.page_size);
        let changed: Vec<u32> = places.keys().copied().collect();
        // Where the first page is not in this part of the log it is as it was, and the one in the database may be older.
        let has_first = places.contains_key(&1);
        let instead = Some((log, places));
        let (Some(layout), Some(known)) = (base.layout, base.mark) else { return Ok(None) };
        let snapshot = if has_first {
            self.snapshot(database, instead, header.page_size, index.pages)?
        } else {
            let is_same = index.pages as usize == base.hashes.len();
            is_same.then(|| Snapshot { path: &self.path, database, instead, layout, pages: index.pages })
        };
        let Some(snapshot) = snapshot.filter(|snapshot| snapshot.layout == layout) else { return Ok(None) };
        let mut hashes = base.hashes.to_vec();
        let (changed, suspects) = snapshot.some(changed, &mut hashes, base.seed, staging, reading.cancel)?;
        let first_page = if has_first { Some(snapshot.page(1)?) } else { None };
        // Had the log been begun anew meanwhile, it would begin otherwise.
        if LogHeader::read(log).map_err(self.failed())?.as_ref() != Some(header)
            || !locks::is_still_at(database, &self.path)
            || !locks::is_still_at(log, &self.log_path())
        {
            return Ok(Some(Attempt::Again(Busy::Changed)));
        }
        let end = Some(index.end());
        let mark = match &first_page {
            Some(first) => mark(look_of(database), end, false, first),
            None => Mark { database: look_of(database), end, settled: false, ..known.clone() },
        };
        Ok(Some(Attempt::Done(Box::new(Exported {
            way: Way::Log,
            attempts: 1,
            layout: snapshot.layout,
            pages: snapshot.pages,
            mark,
            first_page,
            hashes,
            changed,
            suspects,
            undone: false,
        }))))
    }

    // ---- without a log, or without a lock --------------------------------------------------------------------------------

    fn without_log(
        &self,
        database: &RawFile,
        base: &Base<'_>,
        staging: &dyn Staging,
        reading: &Reading<'_>,
    ) -> Result<Attempt> {
        match self.max_lock {
            Some(max_lock) => self.locked(database, max_lock, base, staging, reading),
            None => self.unlocked(database, None, base, staging, reading),
        }
    }

    /// What must be the same before and after.
    fn quiet(&self, database: &RawFile) -> Result<Quiet> {
        Ok(Quiet {
            database: FileStat::of(&self.path),
            log: FileStat::of(&self.log_path()).filter(|log| log.size > 0),
            journal: FileStat::of(&journal::place(&self.path)),
            holder: locks::holder(database).map_err(self.failed())?,
        })
    }

    fn unlocked(
        &self,
        database: &RawFile,
        log: Option<(&RawFile, &LogHeader, Option<LogIndex>)>,
        base: &Base<'_>,
        staging: &dyn Staging,
        reading: &Reading<'_>,
    ) -> Result<Attempt> {
        let mut before = self.quiet(database)?;
        if !before.is_settled() {
            std::thread::sleep(TICK);
            let now = self.quiet(database)?;
            or_again!(now == before, Busy::Changed);
            before = now;
        }
        or_again!(locks::is_still_at(database, &self.path), Busy::Changed);
        or_again!(before.holder != Holder::Writer, Busy::Writer);
        if before.holder == Holder::Exclusive && log.is_none() {
            // A transaction that was written into the file already keeps everybody out, too, until it ends.
            let writes = self.unfinished()?.is_some();
            return Ok(Attempt::Again(if writes { Busy::Writer } else { Busy::Exclusive }));
        }
        or_again!(log.is_some() || before.log.is_none(), Busy::Changed);
        let unfinished = self.unfinished()?;
        let (instead, size, pages, end) = match (&log, &unfinished) {
            (Some((log, header, index)), _) => {
                let until = index.map(|index| index.frames);
                let (found, end) = log::follow(log, &self.log_path(), header, header.start(), until)?;
                or_again!(until.is_none_or(|until| end.frames == until), Busy::Changed);
                let pages = index.map(|index| index.pages).or(found.pages);
                (
                    Some((*log, places(&found.of_page, header.page_size))),
                    Some(header.page_size),
                    pages,
                    Some(end),
                )
            }
            (None, Some((file, before))) => {
                (Some((file, before.of_page.clone())), Some(before.page_size), Some(before.pages), None)
            }
            (None, None) => (None, None, None, None),
        };
        let (size, pages) = match (size, pages) {
            (Some(size), Some(pages)) => (size, pages),
            _ => {
                let mut first = [0; HEADER_BYTES];
                read_whole(database, &mut first, 0).map_err(self.failed())?;
                let Some(header) = Header::read(&first) else { return Ok(Attempt::Again(Busy::Changed)) };
                let in_file = header.page_count(before.database.as_ref().map_or(0, |database| database.size));
                (size.unwrap_or(header.layout.page_size), pages.unwrap_or(in_file))
            }
        };
        let same = |quiet: &Quiet| {
            Ok::<_, Error>(self.quiet(database)? == *quiet && locks::is_still_at(database, &self.path))
        };
        let mark_of = |first: &[u8]| {
            let database = before.database.clone().unwrap_or_else(|| look_of(database));
            mark(database, end.filter(|end| end.frames > 0), true, first)
        };
        let clone = match reading.clone_in {
            Some(folder) if instead.is_none() => share_blocks(database, folder).ok(),
            _ => None,
        };
        if let Some(clone) = clone {
            let clone = RawFile::of_new(clone).map_err(self.failed())?;
            or_again!(same(&before)?, Busy::Changed);
            let Some(snapshot) = self.snapshot(&clone, None, size, pages)? else {
                return Ok(Attempt::Again(Busy::Changed));
            };
            return self.read_all(&snapshot, base, staging, reading, Way::Clone, mark_of);
        }
        let Some(snapshot) = self.snapshot(database, instead, size, pages)? else {
            return Ok(Attempt::Again(Busy::Changed));
        };
        let mut done = self.read_all(&snapshot, base, staging, reading, Way::Unlocked, mark_of)?;
        if let Attempt::Done(exported) = &mut done {
            exported.undone = log.is_none() && unfinished.is_some();
        }
        let after = self.quiet(database)?;
        or_again!(after.holder != Holder::Writer, Busy::Writer);
        or_again!(after == before && locks::is_still_at(database, &self.path), Busy::Changed);
        Ok(done)
    }

    /// The journal of a server that did not finish a transaction; it is the server's to play back, and only read here.
    fn unfinished(&self) -> Result<Option<(RawFile, journal::Before)>> {
        let path = journal::place(&self.path);
        let Some(file) = self.open_beside(&path, false)? else { return Ok(None) };
        if !journal::is_unfinished(&file).map_err(self.failed())? {
            return Ok(None);
        }
        Ok(journal::read(&file, &path)?.map(|before| (file, before)))
    }

    /// A reader's lock between two commits of a server that writes all the time; none where it does not pause for long.
    fn share_soon<'a>(
        &self,
        database: &'a RawFile,
        cancel: &CancellationToken,
    ) -> Result<Option<locks::Held<'a>>> {
        let started = Instant::now();
        loop {
            let shared = locks::share(database).map_err(self.failed())?;
            if shared.is_some() || started.elapsed() >= LOCK_PATIENCE || cancel.is_cancelled() {
                return Ok(shared);
            }
            std::thread::sleep(LOCK_PAUSE);
        }
    }

    /// Twice: the first pass brings almost everything while anybody writes, the second one only what changed since.
    fn locked(
        &self,
        database: &RawFile,
        max_lock: Duration,
        base: &Base<'_>,
        staging: &dyn Staging,
        reading: &Reading<'_>,
    ) -> Result<Attempt> {
        let mut first = [0; HEADER_BYTES];
        read_whole(database, &mut first, 0).map_err(self.failed())?;
        let Some(header) = Header::read(&first) else { return Ok(Attempt::Again(Busy::Changed)) };
        let pages = header.page_count(look_of(database).size);
        let Some(snapshot) = self.snapshot(database, None, header.layout.page_size, pages)? else {
            return Ok(Attempt::Again(Busy::Changed));
        };
        let known = if base.layout == Some(snapshot.layout) { base.hashes } else { &[] };
        let warmed = snapshot.pass(known, base.seed, staging, reading.cancel, reading.progress)?;
        let Some(_shared) = self.share_soon(database, reading.cancel)? else {
            return Ok(Attempt::Again(Busy::Writer));
        };
        let started = Instant::now();
        or_again!(locks::is_still_at(database, &self.path), Busy::Changed);
        or_again!(FileStat::of(&self.log_path()).is_none_or(|log| log.size == 0), Busy::Changed);
        // Whoever was killed in a transaction left a journal; its server plays it back. One of somebody who is about to write says nothing
        // of the file yet.
        let is_about_to_write = locks::holder(database).map_err(self.failed())? == Holder::Writer;
        or_again!(is_about_to_write || self.unfinished()?.is_none(), Busy::Changed);
        read_whole(database, &mut first, 0).map_err(self.failed())?;
        let Some(header) = Header::read(&first) else { return Ok(Attempt::Again(Busy::Changed)) };
        let look = look_of(database);
        let pages = header.page_count(look.size);
        let Some(snapshot) = self.snapshot(database, None, header.layout.page_size, pages)? else {
            return Ok(Attempt::Again(Busy::Changed));
        };
        let late = CancellationToken::new();
        let stop = |_: u64, _: u64| {
            if started.elapsed() >= max_lock || reading.cancel.is_cancelled() {
                late.cancel();
            }
        };
        let passed = snapshot.pass(&warmed.hashes, base.seed, staging, &late, &stop);
        if late.is_cancelled() && !reading.cancel.is_cancelled() {
            return Ok(Attempt::Again(Busy::TooLong));
        }
        let passed = passed?;
        let first_page = snapshot.page(1)?;
        let settled = Quiet::settled(Some(&look));
        let mut suspects = warmed.suspects;
        suspects.retain(|suspect| {
            let at = suspect.page as usize - 1;
            passed.hashes.get(at) == warmed.hashes.get(at)
        });
        suspects.extend(passed.suspects);
        Ok(Attempt::Done(Box::new(Exported {
            way: Way::Locked,
            attempts: 1,
            layout: snapshot.layout,
            pages,
            mark: mark(look, None, settled, &first_page),
            first_page: Some(first_page),
            hashes: passed.hashes,
            changed: warmed.changed + passed.changed,
            suspects,
            undone: false,
        })))
    }

    /// The pages of one moment; none where the first one is not that of a database with pages of this size.
    fn snapshot<'a>(
        &'a self,
        database: &'a RawFile,
        instead: Option<(&'a RawFile, HashMap<u32, u64>)>,
        page_size: u32,
        pages: u32,
    ) -> Result<Option<Snapshot<'a>>> {
        let unknown =
            Layout { page_size, reserved: 0, encoding: 0, has_pointer_map: false, is_incremental: false };
        let mut snapshot = Snapshot { path: &self.path, database, instead, layout: unknown, pages };
        if pages == 0 {
            return Ok(None);
        }
        let header = Header::read(&snapshot.page(1)?).filter(|header| header.layout.page_size == page_size);
        Ok(header.map(|header| {
            snapshot.layout = header.layout;
            snapshot
        }))
    }

    fn read_all(
        &self,
        snapshot: &Snapshot<'_>,
        base: &Base<'_>,
        staging: &dyn Staging,
        reading: &Reading<'_>,
        way: Way,
        mark_of: impl FnOnce(&[u8]) -> Mark,
    ) -> Result<Attempt> {
        let known = if base.layout == Some(snapshot.layout) { base.hashes } else { &[] };
        let passed = snapshot.pass(known, base.seed, staging, reading.cancel, reading.progress)?;
        let first_page = snapshot.page(1)?;
        Ok(Attempt::Done(Box::new(Exported {
            way,
            attempts: 1,
            layout: snapshot.layout,
            pages: snapshot.pages,
            mark: mark_of(&first_page),
            first_page: Some(first_page),
            hashes: passed.hashes,
            changed: passed.changed,
            suspects: passed.suspects,
            undone: false,
        })))
    }
}

/// What must stay as it is while a store is read without a lock. Locks, size and change counter do not tell a transaction that was
/// written into the file and rolled back: times do.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Quiet {
    database: Option<FileStat>,
    log: Option<FileStat>,
    journal: Option<FileStat>,
    holder: Holder,
}

impl Quiet {
    /// Whether whatever is written from now on leaves other times behind.
    fn is_settled(&self) -> bool {
        [&self.database, &self.log, &self.journal].into_iter().all(|look| Quiet::settled(look.as_ref()))
    }

    fn settled(look: Option<&FileStat>) -> bool {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let time = |(seconds, nanoseconds): (i64, i64)| {
            Duration::new(u64::try_from(seconds).unwrap_or(0), u32::try_from(nanoseconds).unwrap_or(0))
        };
        look.is_none_or(|look| time(look.modified.max(look.changed)) + TICK < now)
    }
}

fn look_of(file: &RawFile) -> FileStat {
    file.metadata().map(|metadata| FileStat::from(&metadata)).unwrap_or_default()
}

fn places(of_page: &HashMap<u32, u32>, page_size: u32) -> HashMap<u32, u64> {
    of_page.iter().map(|(page, frame)| (*page, log::content_at(*frame, page_size))).collect()
}

/// Where to go on in a log; none where it is another log than the one that was read, or does not go that far.
fn start_after(mark: &Mark, header: &LogHeader, index: &LogIndex) -> Option<LogMark> {
    let end = mark.end.as_ref()?;
    let is_same = header.has(end) && index.belongs_to(end) && end.frames <= index.frames;
    is_same.then(|| if end.frames == 0 { header.start() } else { *end })
}

fn mark(database: FileStat, end: Option<LogMark>, settled: bool, first_page: &[u8]) -> Mark {
    let header = Header::read(first_page);
    Mark {
        database,
        end,
        settled,
        change_counter: header.map_or(0, |header| header.change_counter),
        schema_cookie: header.map_or(0, |header| header.schema_cookie),
        versions: header.map_or((1, 1), |header| (header.write_version, header.read_version)),
    }
}
