//! The ways to a state that a store really had. Each attempt begins anew, and what it found counts only if nothing came between.

use std::collections::HashMap;
use std::time::{Duration, Instant, SystemTime};

use tokio_util::sync::CancellationToken;

use super::super::end::{Base, Exported, PageSink};
use super::super::mark::{Mark, Way, folder_device};
use super::super::snapshot::{Passed, Snapshot};
use super::{Busy, Reading, Source, start_after};
use crate::error::{Error, ErrorKind, Result, Side};
use crate::platform::{FileStat, RawFile, share_blocks};
use crate::store::sqlite::format::header::{Header, Layout};
use crate::store::sqlite::format::journal;
use crate::store::sqlite::format::locks::{self, Holder};
use crate::store::sqlite::format::log::{self, LogHeader, LogIndex, LogMark};

/// How long after a write to a file another one may leave the same time behind.
const TICK: Duration = Duration::from_millis(25);
/// How long a moment between two commits is waited for, and how often it is looked for.
const LOCK_PATIENCE: Duration = Duration::from_secs(1);
const LOCK_PAUSE: Duration = Duration::from_micros(200);

/// How an attempt ended.
pub(super) enum Attempt {
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

impl Source {
    /// Reads a state, or says why what was read is none.
    ///
    /// # Errors
    /// As for [`Source::export`].
    pub(super) fn attempt(&self, base: &Base, to: &dyn PageSink, reading: &Reading<'_>) -> Result<Attempt> {
        let database = self.open()?;
        or_again!(locks::is_still_at(&database, &self.path), Busy::Changed);
        let header_of = || Header::of(&database).map_err(self.failed());
        if header_of()?.is_none() {
            // It may be being written; a second look decides.
            std::thread::sleep(TICK);
            return header_of()?.map(|_| Attempt::Again(Busy::Changed)).ok_or_else(|| self.no_database());
        }
        // Whatever the header says: SQLite reads a log that is there.
        let log = self.open_beside(&self.log_path(), false)?;
        let log_header = log.as_ref().map(LogHeader::read).transpose().map_err(self.failed())?.flatten();
        if let (Some(log), Some(log_header)) = (&log, &log_header) {
            return self.beside_log(&database, log, log_header, base, to, reading);
        }
        self.without_log(&database, base, to, reading)
    }

    pub(super) fn no_database(&self) -> Error {
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
        base: &Base,
        to: &dyn PageSink,
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
            return self.unlocked(database, Some((log, header, None)), base, to, reading);
        };
        let Some(index) = LogIndex::read(&shm).map_err(self.failed())? else {
            return Ok(Attempt::Again(Busy::Index));
        };
        let goes_on =
            base.mark.as_ref().filter(|mark| mark.is_same_file(&look_of(database))).zip(base.layout);
        if let Some((mark, layout)) = goes_on
            && let Some(from) = start_after(mark, header, &index)
            && layout.page_size == header.page_size
        {
            let done = self.tail(database, log, header, &index, from, base, to, reading)?;
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
            return self.unlocked(database, Some((log, header, Some(index))), base, to, reading);
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
        let mark_of = |first: &[u8]| self.mark(look_of(database), Some(index.end()), false, first);
        self.read_all(&snapshot, base, to, reading, Way::LogReader, mark_of)
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
        base: &Base,
        to: &dyn PageSink,
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
        let (Some(layout), Some(known)) = (base.layout, base.mark.as_ref()) else { return Ok(None) };
        let snapshot = if has_first {
            self.snapshot(database, instead, header.page_size, index.pages)?
        } else {
            let is_same = index.pages as usize == base.hashes.len();
            is_same.then(|| Snapshot { path: &self.path, database, instead, layout, pages: index.pages })
        };
        let Some(snapshot) = snapshot.filter(|snapshot| snapshot.layout == layout) else { return Ok(None) };
        let mut hashes = base.hashes.to_vec();
        let suspects = snapshot.some(changed, &mut hashes, base.seed, to, reading.cancel)?;
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
            Some(first) => self.mark(look_of(database), end, false, first),
            None => Mark { database: look_of(database), end, settled: false, ..known.clone() },
        };
        Ok(Some(done(Way::Log, &snapshot, Passed { hashes, suspects }, first_page, mark)))
    }

    // ---- without a log, or without a lock --------------------------------------------------------------------------------

    fn without_log(
        &self,
        database: &RawFile,
        base: &Base,
        to: &dyn PageSink,
        reading: &Reading<'_>,
    ) -> Result<Attempt> {
        match self.max_lock {
            Some(max_lock) => self.locked(database, max_lock, base, to, reading),
            None => self.unlocked(database, None, base, to, reading),
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
        base: &Base,
        to: &dyn PageSink,
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
        if log.is_none() && before.log.is_some() {
            // One that begins with something else is none, for SQLite too.
            let begun = self.open_beside(&self.log_path(), false)?;
            let header = begun.as_ref().map(LogHeader::read).transpose().map_err(self.failed())?.flatten();
            or_again!(header.is_none(), Busy::Changed);
        }
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
                let header = Header::of(database).map_err(self.failed())?;
                let Some(header) = header else { return Ok(Attempt::Again(Busy::Changed)) };
                let in_file = header.page_count(before.database.as_ref().map_or(0, |database| database.size));
                (size.unwrap_or(header.layout.page_size), pages.unwrap_or(in_file))
            }
        };
        let same = |quiet: &Quiet| {
            Ok::<_, Error>(self.quiet(database)? == *quiet && locks::is_still_at(database, &self.path))
        };
        let mark_of = |first: &[u8]| {
            let database = before.database.clone().unwrap_or_else(|| look_of(database));
            self.mark(database, end.filter(|end| end.frames > 0), true, first)
        };
        let clone = if instead.is_none() { share_blocks(database, &base.scratch).ok() } else { None };
        if let Some(clone) = clone {
            let clone = RawFile::make(|| Ok(clone)).map_err(self.failed())?;
            or_again!(same(&before)?, Busy::Changed);
            let Some(snapshot) = self.snapshot(&clone, None, size, pages)? else {
                return Ok(Attempt::Again(Busy::Changed));
            };
            return self.read_all(&snapshot, base, to, reading, Way::Clone, mark_of);
        }
        let Some(snapshot) = self.snapshot(database, instead, size, pages)? else {
            return Ok(Attempt::Again(Busy::Changed));
        };
        // A pass that does not count any more ends at once: the next one may find a moment without a write.
        let spoiled = CancellationToken::new();
        let progress = |done: u64, total: u64| {
            if reading.cancel.is_cancelled() || FileStat::of(&self.path) != before.database {
                spoiled.cancel();
            }
            (reading.progress)(done, total);
        };
        let watching = Reading { cancel: &spoiled, progress: &progress };
        let done = self.read_all(&snapshot, base, to, &watching, Way::Unlocked, mark_of);
        or_again!(!spoiled.is_cancelled() || reading.cancel.is_cancelled(), Busy::Changed);
        let mut done = done?;
        if let Attempt::Done(exported) = &mut done {
            exported.undone = log.is_none() && unfinished.is_some();
        }
        let after = self.quiet(database)?;
        or_again!(after.holder != Holder::Writer, Busy::Writer);
        or_again!(after == before && locks::is_still_at(database, &self.path), Busy::Changed);
        Ok(done)
    }

    /// The journal of a server that did not finish a transaction; it is the server's to play back, and only read here.
    pub(super) fn unfinished(&self) -> Result<Option<(RawFile, journal::Before)>> {
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
        base: &Base,
        to: &dyn PageSink,
        reading: &Reading<'_>,
    ) -> Result<Attempt> {
        let Some(snapshot) = self.whole_file(database, &look_of(database))? else {
            return Ok(Attempt::Again(Busy::Changed));
        };
        let known = if base.layout == Some(snapshot.layout) { &*base.hashes } else { &[] };
        let warmed = snapshot.pass(known, base.seed, to, reading.cancel, reading.progress)?;
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
        let look = look_of(database);
        let Some(snapshot) = self.whole_file(database, &look)? else {
            return Ok(Attempt::Again(Busy::Changed));
        };
        let late = CancellationToken::new();
        let stop = |_: u64, _: u64| {
            if started.elapsed() >= max_lock || reading.cancel.is_cancelled() {
                late.cancel();
            }
        };
        let passed = snapshot.pass(&warmed.hashes, base.seed, to, &late, &stop);
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
        let mark = self.mark(look, None, settled, &first_page);
        let passed = Passed { hashes: passed.hashes, suspects };
        Ok(done(Way::Locked, &snapshot, passed, Some(first_page), mark))
    }

    /// The pages of a database without a log, as its file has them; none where it is no database.
    fn whole_file<'a>(&'a self, database: &'a RawFile, look: &FileStat) -> Result<Option<Snapshot<'a>>> {
        let Some(header) = Header::of(database).map_err(self.failed())? else { return Ok(None) };
        self.snapshot(database, None, header.layout.page_size, header.page_count(look.size))
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

    fn mark(&self, database: FileStat, end: Option<LogMark>, settled: bool, first_page: &[u8]) -> Mark {
        let header = Header::read(first_page);
        Mark {
            folder_device: folder_device(&self.path).unwrap_or_default(),
            database,
            end,
            settled,
            change_counter: header.map_or(0, |header| header.change_counter),
            schema_cookie: header.map_or(0, |header| header.schema_cookie),
            versions: header.map_or((1, 1), |header| (header.write_version, header.read_version)),
        }
    }

    fn read_all(
        &self,
        snapshot: &Snapshot<'_>,
        base: &Base,
        to: &dyn PageSink,
        reading: &Reading<'_>,
        way: Way,
        mark_of: impl FnOnce(&[u8]) -> Mark,
    ) -> Result<Attempt> {
        let known = if base.layout == Some(snapshot.layout) { &*base.hashes } else { &[] };
        let passed = snapshot.pass(known, base.seed, to, reading.cancel, reading.progress)?;
        let first_page = snapshot.page(1)?;
        let mark = mark_of(&first_page);
        Ok(done(way, snapshot, passed, Some(first_page), mark))
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

/// The end of an attempt that counts.
fn done(
    way: Way,
    snapshot: &Snapshot<'_>,
    passed: Passed,
    first_page: Option<Vec<u8>>,
    mark: Mark,
) -> Attempt {
    let Passed { hashes, suspects } = passed;
    let (layout, pages) = (snapshot.layout, snapshot.pages);
    let exported =
        Exported { way, attempts: 1, layout, pages, first_page, hashes, suspects, mark, undone: false };
    Attempt::Done(Box::new(exported))
}

fn look_of(file: &RawFile) -> FileStat {
    file.metadata().map(|metadata| FileStat::from(&metadata)).unwrap_or_default()
}

fn places(of_page: &HashMap<u32, u32>, page_size: u32) -> HashMap<u32, u64> {
    of_page.iter().map(|(page, frame)| (*page, log::content_at(*frame, page_size))).collect()
}
