//! A copy: what it holds, how it is mended after a kill, and how a commit brings it to a state of its source.
//!
//! A commit is a transaction in SQLite's own terms, with SQLite's locks and journal: readers see the state before it or after it, and
//! whatever kills it is undone by whoever opens the copy next, this library or any SQLite. Servers cannot write to it: the first page says
//! a write version that no SQLite knows.

use std::fs::Metadata;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

use self::history::History;
use self::importer::{Importer, folder_of};
use self::staged::Ready;
use self::state::{Committed, State, StateFile};
use super::end::{Exported, Order, PageSink, Standing};
use super::hashes::Seed;
use super::snapshot::Snapshot;
use crate::error::{Error, ErrorKind, Result};
use crate::platform::{RawFile, Rights, names_of, read_whole, sync_folder};
use crate::report::Moved;
use crate::store::MadeBy;
use crate::store::files::{remove, with_suffix};
use crate::store::sqlite::format::header::{HEADER_BYTES, Header, Layout};
use crate::store::sqlite::format::journal;
use crate::store::sqlite::{Access, COMPANIONS, open, require_alone, sqlite_error};
use crate::topology::{HistoryLimits, UserStoreConfig};

mod commit;
mod first;
mod history;
mod import;
mod importer;
mod lift;
mod loss;
mod rehearsal;
mod retention;
mod staged;
mod state;
mod states;

use commit::Commit;

/// How long readers of a copy are waited for.
const READERS_PATIENCE: Duration = Duration::from_secs(30);

/// The copy of a user store, and what is remembered of it.
#[derive(Clone, Debug)]
pub(super) struct Standby {
    path: PathBuf,
    /// Tables that are not worth keeping.
    pub(super) exclude: Vec<String>,
    /// How long earlier states are kept.
    limits: HistoryLimits,
}

/// What lies at a copy's place.
enum Found {
    Missing,
    /// Something of ours that cannot be read: it is made anew.
    Unreadable,
    Existing(Box<Existing>),
}

/// A copy that can be continued.
struct Existing {
    header: Header,
    pages: u32,
    seed: Seed,
    hashes: Arc<[u128]>,
    /// What is remembered; none where the hashes were read from the copy.
    state: Option<State>,
    /// What was remembered before, of a file that was changed since.
    former: Option<State>,
    /// When the source was first seen in the state that the copy has, as [`Stand::at`].
    at: Timestamp,
    job: Option<MadeBy>,
    /// Whether somebody else has changed it.
    is_touched: bool,
    /// The pages that were not as they were left; looked at where everything is compared.
    spoiled: Vec<u32>,
    /// Whether the hashes are those that are remembered.
    is_remembered: bool,
}

impl Existing {
    /// What is or was remembered of the copy.
    fn known(&self) -> Option<&State> {
        self.state.as_ref().or(self.former.as_ref())
    }

    /// Whether it is in the state that was read already, where it holds pages of these hashes.
    fn is_in(&self, exported: &Exported, hashes: &[u128]) -> bool {
        exported.hashes == *hashes && exported.layout == self.header.layout && self.header.is_fenced()
    }

    /// Whether what it becomes has to be looked through as a whole.
    fn has_to_check(&self, order: &Order, exported: &Exported, is_same: bool) -> bool {
        order.verify
            || self.state.as_ref().is_none_or(|state| import::is_due(state, order.now))
            || self.known().is_some_and(|known| !is_same && !known.checked.findings.is_empty())
            || !is_same && !exported.suspects.is_empty()
    }

    /// What bringing it to the state that was read moves: the first page goes in any case.
    fn moves(&self, exported: &Exported, ready: &Ready) -> Moved {
        let pages = ready.numbers().filter(|page| (2..=exported.pages).contains(page)).count() as u64 + 1;
        Moved {
            items_written: pages,
            items_deleted: self.pages.saturating_sub(exported.pages).into(),
            bytes: pages * u64::from(exported.layout.page_size),
            batches: 1,
        }
    }

    /// The source's versions for writing and reading, as far as they are known.
    fn versions(&self) -> (u8, u8) {
        self.known().map_or((1, 1), |known| known.source.versions)
    }
}

/// What one look at a copy's place found.
struct Glance {
    /// None where nothing is there.
    file: Option<Metadata>,
    header: Option<Header>,
    /// What is remembered, whether that holds or not.
    known: Option<State>,
}

/// The state that a copy is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stand {
    revision: u32,
    /// When the source was first seen in it, or when the copy was written where nobody could note that any more.
    at: Timestamp,
    /// The job that made it, where that was noted.
    job: Option<MadeBy>,
    bytes: u64,
}

/// What writing a whole database moves.
fn whole(pages: u32, page_size: u32) -> Moved {
    let (pages, page_size) = (u64::from(pages), u64::from(page_size));
    Moved { items_written: pages, bytes: pages * page_size, batches: 1, ..Moved::default() }
}

impl Standby {
    pub(super) fn new(path: &Path, config: &UserStoreConfig) -> Self {
        Standby { path: path.to_owned(), exclude: config.exclude.clone(), limits: config.history.clone() }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    fn folder(&self) -> PathBuf {
        folder_of(&self.path)
    }

    fn state_file(&self) -> StateFile {
        StateFile::at(self.folder().join("state"))
    }

    fn history(&self) -> History {
        History::at(self.folder().join("history"))
    }

    fn failed(&self, doing: &'static str) -> impl Fn(io::Error) -> Error + Copy {
        move |cause| Error::io(doing, &self.path, &cause)
    }

    fn companion(&self, suffix: &str) -> PathBuf {
        with_suffix(&self.path, suffix)
    }

    /// What lies at the copy's place, and what is remembered of it; looked at without a lock.
    fn glance(&self) -> Result<Glance> {
        let file = match std::fs::symlink_metadata(&self.path) {
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => None,
            metadata => Some(metadata.map_err(self.failed("read"))?),
        };
        let is_file = file.as_ref().is_some_and(Metadata::is_file);
        let header = if is_file { self.header()? } else { None };
        Ok(Glance { file, header, known: self.state_file().load() })
    }

    /// What is remembered of the copy, where it holds.
    fn remembered(&self) -> Result<Option<State>> {
        let glance = self.glance()?;
        Ok(if self.is_as_left(&glance) { glance.known } else { None })
    }

    /// Whether what is remembered of the copy holds: the file is as it was left, and nothing lies beside it. After a power cut the times of
    /// a file may be older than its pages, so its first page has to say the same.
    fn is_as_left(&self, glance: &Glance) -> bool {
        let (Some(file), Some(header), Some(state)) = (&glance.file, &glance.header, &glance.known) else {
            return false;
        };
        state.is_of(file) && state.change_counter == header.change_counter && !self.has_companions()
    }

    /// Which state the copy is in, by the copy itself: what is remembered may be of a state before, or be lost. What undoes a commit that was
    /// killed counts as done. None where there is no copy of ours that can be read. Looked at without a lock.
    ///
    /// # Errors
    /// Failures of the file system.
    fn stand(&self, glance: &Glance) -> Result<Option<Stand>> {
        let Some(file) = glance.file.as_ref().filter(|file| file.is_file()) else { return Ok(None) };
        let (header, pages) = match (self.before_unfinished()?, glance.header) {
            (Some(before), _) => before,
            (None, Some(header)) => (header, header.page_count(file.len())),
            (None, None) => return Ok(None),
        };
        let known = glance.known.as_ref();
        let is_left = || known.is_some_and(|state| state.is_same_file(file));
        // Of one that was promoted there may be no notes: what was to write them was killed.
        if !header.is_fenced() && !is_left() && !importer::noted(&self.path).promoted {
            return Ok(None);
        }
        let (at, job) = first_seen(known, &header, file);
        let bytes = u64::from(pages) * u64::from(header.layout.page_size);
        Ok(Some(Stand { revision: header.change_counter, at, job, bytes }))
    }

    /// The header and the number of pages before a commit that was not finished, where one was begun that can be undone.
    fn before_unfinished(&self) -> Result<Option<(Header, u32)>> {
        let path = journal::place(&self.path);
        let failed = |cause: io::Error| Error::io("read", &path, &cause);
        let file = match RawFile::open(&path, false) {
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Ok(None),
            opened => opened.map_err(failed)?,
        };
        if !journal::is_unfinished(&file).map_err(failed)? {
            return Ok(None);
        }
        let Some(before) = journal::read(&file, &path)? else { return Ok(None) };
        let Some(at) = before.of_page.get(&1) else { return Ok(None) };
        let mut first = [0; HEADER_BYTES];
        read_whole(&file, &mut first, *at).map_err(failed)?;
        Ok(Header::read(&first).map(|header| (header, before.pages)))
    }

    fn has_companions(&self) -> bool {
        COMPANIONS.iter().any(|suffix| self.companion(suffix).exists())
    }

    fn header(&self) -> Result<Option<Header>> {
        let file = RawFile::open(&self.path, false).map_err(self.failed("open"))?;
        Header::of(&file).map_err(self.failed("read"))
    }

    /// Whether there is a copy, and its first page says that nobody may write to it.
    pub(super) fn is_fenced(&self) -> bool {
        self.glance().is_ok_and(|glance| glance.header.is_some_and(|header| header.is_fenced()))
    }

    /// Whether something lies at the copy's place that is not ours. A fenced database is; one without the fence is where it is the file
    /// that was left, of which somebody lifted the fence, unless it was promoted, or that was left when its backup was disabled. What is
    /// no database is ours where a copy was begun: it is one that was damaged.
    ///
    /// # Errors
    /// Failures of the file system.
    fn is_foreign(&self, glance: &Glance) -> Result<bool> {
        let Some(file) = &glance.file else { return Ok(false) };
        if !file.is_file() || names_of(file) > 1 {
            return Ok(true);
        }
        Ok(match glance.header {
            Some(header) if header.is_fenced() => false,
            Some(_) if importer::noted(&self.path).promoted => true,
            Some(_) => {
                let is_left = glance.known.as_ref().is_some_and(|state| state.is_same_file(file));
                !is_left && !self.is_former()?
            }
            None => file.len() > 0 && !importer::noted(&self.path).began,
        })
    }

    /// Refuses to touch what is not ours.
    fn require_ours(&self) -> Result<()> {
        if self.is_foreign(&self.glance()?)? { Err(self.foreign()) } else { Ok(()) }
    }

    /// The refusal of what is not ours.
    fn foreign(&self) -> Error {
        let path = self.path.display();
        let is_linked = |metadata: &Metadata| metadata.is_file() && names_of(metadata) > 1;
        let away = "Move it away, or publish a topology with another place for the standby copy.";
        let (why, advice) = if std::fs::symlink_metadata(&self.path).is_ok_and(|it| is_linked(&it)) {
            (
                "has further names (hard links), under which it would change too",
                "Make copies of its further names, or remove them.",
            )
        } else if self.was_disabled() {
            ("was changed or replaced since the backup was disabled that it was the copy of", away)
        } else {
            ("was not made by this product", away)
        };
        Error::new(ErrorKind::ForeignContent, format!("{path} {why}."), advice)
            .at("path", self.path.display())
    }

    /// Where it stands, looked at without a lock.
    ///
    /// # Errors
    /// Failures of the file system.
    pub(super) fn standing(&self) -> Result<Standing> {
        let glance = self.glance()?;
        let refused = self.is_foreign(&glance)?.then(|| self.foreign());
        let stand = self.stand(&glance)?;
        let is_touched = !self.is_as_left(&glance);
        let state = glance.known;
        Ok(Standing {
            revision: stand.map(|stand| stand.revision),
            confirmed: state.as_ref().map(|state| state.confirmed),
            rights: state.as_ref().and_then(|state| state.rights).or_else(|| Rights::of(&self.path).ok()),
            mark: state.map(|state| state.source),
            is_touched,
            refused,
        })
    }

    /// Mends what a kill left behind, and says what there is then.
    ///
    /// # Errors
    /// `ForeignContent`, `StoreBusy`, `StoreOpenInProcess`; failures of the file system.
    fn settle(&self, _alone: &Importer, verify: bool, cancel: &CancellationToken) -> Result<Found> {
        crate::bound::touching(&self.path)?;
        self.require_ours()?;
        if !self.path.exists() {
            // What an earlier file of this name left would be played into the new one.
            remove_companions(&self.path)?;
            return Ok(Found::Missing);
        }
        require_alone(&self.path)?;
        self.undo_unfinished(cancel)?;
        self.take_over(cancel)?;
        let file = RawFile::open(&self.path, true).map_err(self.failed("open"))?;
        let Some(header) = Header::of(&file).map_err(self.failed("read"))? else {
            return Ok(Found::Unreadable);
        };
        if self.companion("-wal").exists() {
            if header.has_log() {
                self.carry_log()?;
            }
            for suffix in ["-wal", "-shm"] {
                remove(&self.companion(suffix))?;
            }
        }
        drop(file);
        self.existing(verify, cancel)
    }

    /// What a copy is that nothing has to be mended at.
    ///
    /// # Errors
    /// Failures of the file system; cancelled.
    fn existing(&self, verify: bool, cancel: &CancellationToken) -> Result<Found> {
        let file = RawFile::open(&self.path, false).map_err(self.failed("open"))?;
        let Some(header) = Header::of(&file).map_err(self.failed("read"))? else {
            return Ok(Found::Unreadable);
        };
        let metadata = file.metadata().map_err(self.failed("read"))?;
        let size = metadata.len();
        let pages = header.page_count(size);
        let is_whole = u64::from(pages) * u64::from(header.layout.page_size) <= size && pages > 0;
        if !is_whole {
            return Ok(Found::Unreadable);
        }
        let known = self.state_file().load();
        let (at, job) = first_seen(known.as_ref(), &header, &metadata);
        let state = known.clone().filter(|state| {
            state.is_of(&metadata)
                && header.is_fenced()
                && (state.change_counter, state.pages, state.layout)
                    == (header.change_counter, pages, header.layout)
        });
        if let Some(state) = state
            && let Some(hashes) = self.state_file().hashes(&state)
        {
            let seed = state.seed;
            let mut found = Existing {
                header,
                pages,
                seed,
                hashes,
                state: Some(state),
                former: None,
                at,
                job,
                is_touched: false,
                spoiled: Vec::new(),
                is_remembered: true,
            };
            if verify {
                let read = self.read_hashes(&file, header.layout, pages, seed, cancel)?;
                let differs =
                    (1..).zip(read.iter().zip(&*found.hashes)).filter(|(_, (read, left))| read != left);
                found.spoiled = differs.map(|(page, _)| page).collect();
                found.is_remembered = found.spoiled.is_empty();
                found.hashes = read.into();
            }
            return Ok(Found::Existing(Box::new(found)));
        }
        let seed = known.as_ref().map_or_else(Seed::new, |known| known.seed);
        let hashes: Arc<[u128]> = self.read_hashes(&file, header.layout, pages, seed, cancel)?.into();
        // A sync that was killed leaves the state before it, or the one after it that nobody could note any more. Notes are not waited for: a
        // power cut may take those of several syncs.
        let is_ours = known.as_ref().is_none_or(|known| {
            let is_later = header.change_counter > known.change_counter;
            let is_same = header.change_counter == known.change_counter && known.had(&hashes);
            header.is_fenced() && (is_later || is_same)
        });
        Ok(Found::Existing(Box::new(Existing {
            header,
            pages,
            seed,
            hashes,
            state: None,
            former: known,
            at,
            job,
            is_touched: !is_ours,
            spoiled: Vec::new(),
            is_remembered: false,
        })))
    }

    /// The hashes of an existing copy by which everything is compared.
    ///
    /// # Errors
    /// Failures of the device; cancelled.
    fn strong_hashes(&self, existing: &Existing, cancel: &CancellationToken) -> Result<Vec<u128>> {
        self.hashes_of(existing.header.layout, existing.pages, Seed::Strong, cancel)
    }

    /// The hashes of a copy of this layout, read from its pages.
    ///
    /// # Errors
    /// As for [`Standby::strong_hashes`].
    fn hashes_of(
        &self,
        layout: Layout,
        pages: u32,
        seed: Seed,
        cancel: &CancellationToken,
    ) -> Result<Vec<u128>> {
        let file = RawFile::open(&self.path, false).map_err(self.failed("open"))?;
        self.read_hashes(&file, layout, pages, seed, cancel)
    }

    /// Reads every page of the copy.
    fn read_hashes(
        &self,
        file: &RawFile,
        layout: Layout,
        pages: u32,
        seed: Seed,
        cancel: &CancellationToken,
    ) -> Result<Vec<u128>> {
        struct Nowhere;
        impl PageSink for Nowhere {
            fn put(&self, _: u32, _: &[u8], _: usize) -> Result<()> {
                Ok(())
            }
        }
        let snapshot = Snapshot { path: &self.path, database: file, instead: None, layout, pages };
        Ok(snapshot.pass(&[], seed, &Nowhere, cancel, &|_, _| {})?.hashes)
    }

    /// Undoes a commit that was killed. Nobody reads the copy meanwhile.
    fn undo_unfinished(&self, cancel: &CancellationToken) -> Result<()> {
        let path = journal::place(&self.path);
        let failed = |cause: io::Error| Error::io("read", &path, &cause);
        let found = match RawFile::open(&path, false) {
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Ok(()),
            opened => opened.map_err(failed)?,
        };
        let file = RawFile::open(&self.path, true).map_err(self.failed("open"))?;
        let reserved = self.reserve(&file, cancel)?;
        let _shut = reserved.shut(&self.path, READERS_PATIENCE, cancel)?.ok_or_else(|| self.busy())?;
        if journal::is_unfinished(&found).map_err(failed)?
            && let Some(before) = journal::read(&found, &path)?
        {
            journal::put_back(&before, &found, &path, &file, &self.path)?;
        }
        drop(found);
        remove(&path)
    }

    /// Brings what somebody wrote to the log of a copy into the copy, by SQLite.
    fn carry_log(&self) -> Result<()> {
        let failed = |cause| sqlite_error("write the standby copy to", &self.path, &cause);
        let connection = open(&self.path, Access::Write)?;
        connection.pragma_update(None, "journal_mode", "DELETE").map_err(failed)?;
        Ok(())
    }

    fn busy(&self) -> Error {
        Error::new(
            ErrorKind::StoreBusy,
            format!("{} is read or written by somebody else all the time.", self.path.display()),
            "Find out who holds it: nobody should keep a transaction open at a standby copy. Then run the command again.",
        )
        .at("path", self.path.display())
    }

    /// Remembers where the copy stands after a commit.
    ///
    /// # Errors
    /// Failures of the file system; the next job reads the copy then.
    fn remember(&self, committed: Committed, hashes: &[u128], before: Option<&[u128]>) -> Result<State> {
        self.state_file().store(committed, &self.path, hashes, before)
    }
}

/// When the source was first seen in the state that a copy has, and by which job, where that was noted; else when the copy was written to.
fn first_seen(known: Option<&State>, header: &Header, copy: &Metadata) -> (Timestamp, Option<MadeBy>) {
    match known.filter(|state| state.change_counter == header.change_counter) {
        Some(state) => (state.at, state.job),
        None => {
            let written = copy.modified().ok().and_then(|time| Timestamp::try_from(time).ok());
            let written = written.and_then(|time| Timestamp::from_millisecond(time.as_millisecond()).ok());
            (written.unwrap_or_default(), None)
        }
    }
}

/// Removes what lies beside a database and belongs to it. It is gone from the device too, before another file gets the database's name.
pub(super) fn remove_companions(database: &Path) -> Result<()> {
    let companions = COMPANIONS.map(|suffix| with_suffix(database, suffix));
    let folder = database.parent().unwrap_or(Path::new("."));
    if folder.is_dir() {
        journal::remove_super_journals(database)?;
    }
    if !companions.iter().any(|companion| companion.exists()) {
        return Ok(());
    }
    companions.iter().try_for_each(|companion| remove(companion))?;
    journal::remove_super_journals(database)?;
    sync_folder(folder).map_err(|cause| Error::io("write", folder, &cause))
}
