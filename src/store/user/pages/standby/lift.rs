//! What makes of a copy a database of its own: the fence is lifted, and everything of ours beside it goes but a note by which a later
//! backup knows it again, as long as nobody wrote to it.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use super::super::end::PageSink;
use super::super::exclude;
use super::history::{Entry, Link, Writing};
use super::importer::{Importer, Owner};
use super::{Existing, Found, READERS_PATIENCE, Standby};
use crate::error::{Error, Result};
use crate::platform::{FileStat, RawFile, read_whole, write_all_at};
use crate::store::files::remove;
use crate::store::sqlite::format::header::{HEADER_BYTES, Header, Own};
use crate::store::{Generation, Trace};

/// What is noted of a copy whose backup was disabled: how its file was left.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct FormerCopy {
    file: FileStat,
    change_counter: u32,
}

/// The name of that note, in the folder beside the copy.
const FORMER: &str = "former";

/// Pages on their way into the history.
struct Keeping<'a>(&'a Mutex<Writing>);

impl PageSink for Keeping<'_> {
    fn put(&self, first: u32, content: &[u8], page_size: usize) -> Result<()> {
        let mut writing = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        (first..)
            .zip(content.chunks_exact(page_size))
            .try_for_each(|(page, content)| writing.add(page, content))
    }
}

impl Standby {
    /// Lists what there is of ours, and removes it unless this is a dry run. The copy stays, as a plain database.
    ///
    /// # Errors
    /// As for [`super::super::end::UserEnd::lift`].
    pub(in super::super) fn lift(&self, dry_run: bool, cancel: &CancellationToken) -> Result<Vec<Trace>> {
        let folder = self.folder();
        let mut traces = Vec::new();
        let trace = |kind: &str, path: &Path| Trace {
            store: format!("sqlite:{}", self.path.display()),
            kind: kind.to_owned(),
            name: path.file_name().unwrap_or_default().to_string_lossy().into_owned(),
        };
        if self.keeps_more_than_a_note()? {
            traces.push(trace("folder", &folder));
        }
        let glance = self.glance()?;
        if !self.is_foreign(&glance)? && glance.header.is_some_and(|header| header.is_fenced()) {
            traces.push(trace("fence", &self.path));
        }
        if dry_run || traces.is_empty() {
            return Ok(traces);
        }
        let importer =
            Importer::enter(&self.path, Owner { generation: Generation(i64::MAX), job: None }, cancel)?;
        // Whoever was killed here after the fence was lifted left a plain database, which nothing of ours says any more was a copy.
        if !self.is_foreign(&self.glance()?)?
            && let Found::Existing(existing) = self.settle(&importer, false, cancel)?
        {
            self.set_fence(Some(existing.versions()), cancel)?;
            self.note_former()?;
        }
        self.remove_all_but_the_note()?;
        Ok(traces)
    }

    pub(super) fn former_note(&self) -> PathBuf {
        self.folder().join(FORMER)
    }

    fn left_as_it_is(&self) -> Result<Option<FormerCopy>> {
        let (Some(file), Some(header)) = (FileStat::of(&self.path), self.header()?) else { return Ok(None) };
        Ok(Some(FormerCopy { file, change_counter: header.change_counter }))
    }

    fn note_former(&self) -> Result<()> {
        let Some(former) = self.left_as_it_is()? else { return Ok(()) };
        let text = serde_json::to_vec(&former).unwrap_or_default();
        crate::store::files::replace(&self.former_note(), &text)
    }

    /// Whether a backup was disabled of which this is the copy.
    pub(super) fn was_disabled(&self) -> bool {
        self.former_note().exists()
    }

    /// Whether it is the copy of a backup that was disabled, and nobody wrote to it since.
    ///
    /// # Errors
    /// Failures of the file system.
    pub(super) fn is_former(&self) -> Result<bool> {
        let Ok(text) = std::fs::read(self.former_note()) else { return Ok(false) };
        let noted: Option<FormerCopy> = serde_json::from_slice(&text).ok();
        Ok(noted.is_some() && noted == self.left_as_it_is()? && !self.has_companions())
    }

    /// Makes a copy again of what was one until its backup was disabled. SQLite may be asked to read it only then: of a database in WAL mode
    /// that is none it would make a log.
    pub(super) fn take_over(&self, cancel: &CancellationToken) -> Result<()> {
        if self.is_former()? {
            self.set_fence(None, cancel)?;
            remove(&self.former_note())?;
        }
        Ok(())
    }

    /// The names in the folder beside the copy, without that of the note.
    fn kept_beside(&self) -> Result<Vec<PathBuf>> {
        let folder = self.folder();
        let failed = |cause| Error::io("list", &folder, &cause);
        let listed = match std::fs::read_dir(&folder) {
            Err(cause) if cause.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            listed => listed.map_err(failed)?,
        };
        let names: std::io::Result<Vec<PathBuf>> = listed.map(|entry| Ok(entry?.path())).collect();
        let mut names = names.map_err(failed)?;
        names.retain(|path| *path != self.former_note());
        Ok(names)
    }

    fn keeps_more_than_a_note(&self) -> Result<bool> {
        Ok(self.folder().exists() && (!self.was_disabled() || !self.kept_beside()?.is_empty()))
    }

    fn remove_all_but_the_note(&self) -> Result<()> {
        if !self.was_disabled() {
            let folder = self.folder();
            return std::fs::remove_dir_all(&folder).map_err(|cause| Error::io("remove", &folder, &cause));
        }
        self.kept_beside()?.into_iter().try_for_each(|path| {
            let removed =
                if path.is_dir() { std::fs::remove_dir_all(&path) } else { std::fs::remove_file(&path) };
            removed.map_err(|cause| Error::io("remove", &path, &cause))
        })
    }

    /// Makes of it what servers write to. What a kill left half done is done by the next call.
    ///
    /// # Errors
    /// As for [`super::super::end::UserEnd::promote`].
    pub(in super::super) fn promote(
        &self,
        generation: Generation,
        cancel: &CancellationToken,
    ) -> Result<Vec<String>> {
        let mut importer = Importer::enter(&self.path, Owner { generation, job: None }, cancel)?;
        if importer.is_promoted() && self.glance()?.header.is_some_and(|header| !header.is_fenced()) {
            // Done before by somebody who was killed before he could say so.
            importer.promote()?;
            return Ok(Vec::new());
        }
        let Found::Existing(existing) = self.settle(&importer, false, cancel)? else {
            return Err(self.unreadable());
        };
        importer.begin()?;
        // What undoes later syncs does not undo what servers write: the state of now is kept whole, and leads back to the ones before it.
        self.keep_whole(&existing, cancel)?;
        self.set_fence(Some((1, 1)), cancel)?;
        let emptied = exclude::empty(&self.path, &self.exclude)?;
        self.set_fence(Some(existing.versions()), cancel)?;
        // Noted last: until then a kill leaves a copy whose fence the next import mends.
        importer.promote()?;
        Ok(emptied)
    }

    /// Keeps the current state in the history with all its pages.
    fn keep_whole(&self, existing: &Existing, cancel: &CancellationToken) -> Result<()> {
        let revision = existing.header.change_counter;
        let link = Link { revision, next: revision.wrapping_add(1), at: existing.at, whole: true };
        let entry = Entry {
            pages: existing.pages,
            page_size: existing.header.layout.page_size,
            records: 0,
            job: existing.job,
            reason: Some("The copy was promoted.".to_owned()),
        };
        self.history().remove_undone(revision)?;
        // Half an entry that a kill left would have the name of this one.
        self.history().remove_stray(revision)?;
        let writing = Mutex::new(self.history().begin(link, entry)?);
        self.send_current(existing, &Keeping(&writing), cancel)?;
        let writing = writing.into_inner().unwrap_or_else(PoisonError::into_inner);
        writing.publish().map(drop)
    }

    /// Lets servers write to it, with these versions for writing and reading, or lets them no more. The header lies in one sector, which a
    /// device writes whole or not at all.
    fn set_fence(&self, versions: Option<(u8, u8)>, cancel: &CancellationToken) -> Result<()> {
        let file = RawFile::open(&self.path, true).map_err(self.failed("open"))?;
        let reserved = self.reserve(&file, cancel)?;
        let _shut = reserved.shut(&self.path, READERS_PATIENCE, cancel)?.ok_or_else(|| self.busy())?;
        let mut first = [0; HEADER_BYTES];
        read_whole(&file, &mut first, 0).map_err(self.failed("read"))?;
        let header = Header::read(&first).ok_or_else(|| self.unreadable())?;
        let own = Own {
            change_counter: header.change_counter.wrapping_add(1),
            schema_cookie: header.schema_cookie,
            versions,
        };
        own.put(&mut first, header.page_count(file.metadata().map_err(self.failed("read"))?.len()));
        write_all_at(&file, &first, 0).map_err(self.failed("write"))?;
        file.sync_data().map_err(self.failed("write"))
    }
}
