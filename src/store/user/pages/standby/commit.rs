//! A commit: one transaction in SQLite's own terms, with its locks and its journal.

use std::time::Duration;

use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

use super::super::end::Exported;
use super::history::{Entry, Link, Writing};
use super::importer::Importer;
use super::staged::Ready;
use super::{Existing, READERS_PATIENCE, Standby};
use crate::error::{Error, ErrorKind, Result};
use crate::platform::{RawFile, Rights, read_whole, write_all_at};
use crate::store::MadeBy;
use crate::store::sqlite::format::header::{Header, Own, lock_page};
use crate::store::sqlite::format::journal::Journal;
use crate::store::sqlite::format::locks;
use crate::store::sqlite::require_alone;

impl Standby {
    /// Brings the copy to a state of its source in one transaction. `check` looks at the copy when everything is written and nothing is
    /// committed; what it refuses is undone.
    ///
    /// # Errors
    /// `StoreBusy`, `StoreReplaced`, `DiskFull`, `Io`, `Cancelled`, what `check` says: the copy is as it was.
    pub(super) fn commit(
        &self,
        commit: &Commit<'_>,
        check: &dyn Fn() -> Result<()>,
    ) -> Result<Option<Error>> {
        let copy = commit.copy;
        require_alone(&self.path)?;
        let file = RawFile::open(&self.path, true).map_err(self.failed("open"))?;
        let reserved = self.reserve(&file, commit.cancel)?;
        commit.importer.require()?;
        let header = Header::of(&file).map_err(self.failed("read"))?;
        if header != Some(copy.header) || !locks::is_still_at(&file, &self.path) {
            return Err(self.replaced());
        }
        self.history().remove_undone(copy.header.change_counter)?;
        self.require_room_in_history(copy.header.change_counter)?;
        let old_size = copy.header.layout.page_size;
        let mut journal = Journal::begin(&self.path, old_size, copy.pages, commit.rights)?;
        let (mut history, mut lost) = match self.begin_history(commit) {
            Ok(history) => (Some(history), None),
            Err(error) => (None, Some(error)),
        };
        let kept = self.keep_before(commit, &file, &mut journal, &mut history, &mut lost);
        let published = kept.and_then(|()| {
            // The state before must be restorable before it goes; where it is not, that is said, and the copy goes on.
            if let Some(Err(error)) = history.take().map(Writing::publish) {
                lost.get_or_insert(error);
            }
            match lost.take_if(|_| commit.is_whole() || commit.is_other || self.limits.is_strict) {
                Some(error) => Err(self.history_full(&error)),
                None => journal.seal(),
            }
        });
        let written = published.and_then(|()| {
            let shut =
                reserved.shut(&self.path, READERS_PATIENCE, commit.cancel)?.ok_or_else(|| self.busy())?;
            let written = self.write(commit, &file).and_then(|()| check());
            Ok((shut, written))
        });
        match written {
            Ok((_shut, Ok(()))) => {
                journal.finish()?;
                Ok(lost)
            }
            Ok((_shut, Err(error))) => {
                journal.undo(&file, &self.path)?;
                Err(error)
            }
            Err(error) => {
                journal.finish()?;
                Err(error)
            }
        }
    }

    fn begin_history(&self, commit: &Commit<'_>) -> Result<Writing> {
        let (history, link) = (self.history(), commit.link());
        history.remove_stray(link.revision)?;
        history.begin(link, commit.entry())
    }

    fn history_full(&self, cause: &Error) -> Error {
        Error::new(
            ErrorKind::HistoryFull,
            format!(
                "{} would be replaced as a whole, or is written from another machine, and what it holds now cannot be kept: {}",
                self.path.display(),
                cause.message
            ),
            "Nothing was replaced. Free space where the copy lies, or see to it that its folder can be written, then run the command again.",
        )
        .at("path", self.path.display())
    }

    pub(super) fn reserve<'a>(
        &self,
        file: &'a RawFile,
        cancel: &CancellationToken,
    ) -> Result<locks::Reserved<'a>> {
        let started = std::time::Instant::now();
        loop {
            if let Some(reserved) = locks::reserve(file).map_err(self.failed("lock"))? {
                return Ok(reserved);
            }
            if cancel.is_cancelled() {
                return Err(Error::cancelled());
            }
            if started.elapsed() >= READERS_PATIENCE {
                return Err(self.busy());
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    pub(super) fn replaced(&self) -> Error {
        Error::new(
            ErrorKind::StoreReplaced,
            format!("{} was replaced or written to while it was synchronized.", self.path.display()),
            "Nothing was written to it. Run the command again, which reads it anew.",
        )
        .at("path", self.path.display())
    }

    /// Which pages of the copy go or are overwritten, as they are now: into the journal, and into the history as long as that can be
    /// written.
    fn keep_before(
        &self,
        commit: &Commit<'_>,
        file: &RawFile,
        journal: &mut Journal,
        history: &mut Option<Writing>,
        lost: &mut Option<Error>,
    ) -> Result<()> {
        let copy = commit.copy;
        let size = copy.header.layout.page_size;
        let never = lock_page(size);
        let mut content = vec![0; size as usize];
        let mut keep = |page: u32| -> Result<()> {
            if page == never {
                return Ok(());
            }
            commit.go_on()?;
            let read = read_whole(file, &mut content, u64::from(page - 1) * u64::from(size));
            if read.map_err(self.failed("read"))? < content.len() {
                content.fill(0);
            }
            journal.add(page, &content)?;
            if let Some(Err(error)) = history.as_mut().map(|history| history.add(page, &content)) {
                lost.get_or_insert(error);
                *history = None;
            }
            Ok(())
        };
        if commit.is_whole() {
            return (1..=copy.pages).try_for_each(keep);
        }
        keep(1)?;
        commit.ready.numbers().filter(|page| *page > 1 && *page <= copy.pages).try_for_each(&mut keep)?;
        (commit.exported.pages.saturating_add(1)..=copy.pages).filter(|page| *page > 1).try_for_each(keep)
    }

    fn write(&self, commit: &Commit<'_>, file: &RawFile) -> Result<()> {
        let failed = self.failed("write");
        let exported = commit.exported;
        let size = exported.layout.page_size as usize;
        if commit.is_whole() {
            // Nothing of the former layout shows through where a page is never written. The first page stays: beside an empty file SQLite
            // takes a journal for one that an earlier database left, and removes it.
            file.set_len(u64::from(commit.copy.header.layout.page_size)).map_err(failed)?;
        }
        commit.ready.each(|page, content| {
            if page == 1 || page > exported.pages {
                return Ok(());
            }
            write_all_at(file, content, u64::from(page - 1) * size as u64).map_err(failed)
        })?;
        let mut first = match &exported.first_page {
            Some(first) => first.clone(),
            None => {
                let mut first = vec![0; size];
                read_whole(file, &mut first, 0).map_err(failed)?;
                first
            }
        };
        commit.own.put(&mut first, exported.pages);
        write_all_at(file, &first, 0).map_err(failed)?;
        file.set_len(u64::from(exported.pages) * size as u64).map_err(failed)?;
        file.sync_data().map_err(failed)
    }
}

/// Everything that a commit needs.
pub(super) struct Commit<'a> {
    pub(super) importer: &'a Importer,
    pub(super) copy: &'a Existing,
    pub(super) exported: &'a Exported,
    pub(super) ready: &'a Ready,
    pub(super) own: Own,
    pub(super) rights: Rights,
    pub(super) cancel: &'a CancellationToken,
    /// When the source was in the state that the copy has now, as far as that is known.
    pub(super) before_at: Timestamp,
    /// The job that made it.
    pub(super) before_by: Option<MadeBy>,
    /// Why the copy is changed, where that is no ordinary sync.
    pub(super) reason: Option<String>,
    /// Whether the source is another file than before.
    pub(super) is_other: bool,
}

impl Commit<'_> {
    /// Whether every page is laid out anew.
    fn is_whole(&self) -> bool {
        self.copy.header.layout.page_size != self.exported.layout.page_size
    }

    fn go_on(&self) -> Result<()> {
        if self.cancel.is_cancelled() { Err(Error::cancelled()) } else { Ok(()) }
    }

    fn link(&self) -> Link {
        Link {
            revision: self.copy.header.change_counter,
            next: self.own.change_counter,
            at: self.before_at,
            whole: self.is_whole(),
        }
    }

    fn entry(&self) -> Entry {
        Entry {
            pages: self.copy.pages,
            page_size: self.copy.header.layout.page_size,
            records: 0,
            job: self.before_by,
            reason: self.reason.clone(),
        }
    }
}
