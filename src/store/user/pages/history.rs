//! Earlier states of a copy: the pages that each commit overwrote, as they were before it.
//!
//! An entry undoes one commit, or several that were merged: put back over the state after it, its pages make the state before it. Entries
//! form a chain by the copy's change counter; an earlier state is made by undoing from the newest entry back.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::format::header::number;
use crate::error::{Error, ErrorKind, Result};
use crate::platform::{Rights, create_file, create_folder, read_whole, sync_folder, write_all_at};
use crate::store::files::{remove, with_suffix};

const MAGIC: &[u8; 8] = b"CSBHIST1";
/// Where the pages begin; before them lies what they are.
const PAGES_AT: u64 = 4_096;
/// Fast, and half of what a slower one leaves.
const LEVEL: i32 = 1;

/// One entry: what the copy was before a commit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Entry {
    /// The copy's change counter before: the number of the state that this entry restores.
    pub(super) revision: u32,
    /// The change counter after the commit.
    pub(super) next: u32,
    /// When the source was in that state.
    pub(super) at: Timestamp,
    /// How many pages the copy had.
    pub(super) pages: u32,
    pub(super) page_size: u32,
    /// Whether the entry holds every page, because the commit laid them out anew.
    pub(super) whole: bool,
    /// How many pages it holds.
    pub(super) records: u32,
    /// Why the copy was changed, where that was no ordinary sync.
    pub(super) reason: Option<String>,
}

/// The folder of a copy's history.
#[derive(Clone, Debug)]
pub(super) struct History {
    folder: PathBuf,
}

/// An entry that is being written; dropped, it is none.
pub(super) struct Writing {
    temporary: Temporary,
    to: PathBuf,
    entry: Entry,
    pages: zstd::Encoder<'static, BufWriter<File>>,
}

/// A file that goes with whoever writes it, unless it has another name by then.
struct Temporary(PathBuf);

impl Drop for Temporary {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

impl History {
    pub(super) fn at(folder: PathBuf) -> Self {
        History { folder }
    }

    fn place(&self, revision: u32) -> PathBuf {
        self.folder.join(format!("{revision:010}"))
    }

    /// All entries that lead back from the state with this change counter, the newest first. One that does not fit, because a commit
    /// after it was undone, leads nowhere and is left out. Of two that lead to one state the longer way is taken: a merge that was killed
    /// left the shorter one, and what the longer one goes on to is reached by it alone.
    ///
    /// # Errors
    /// Failures of the file system.
    pub(super) fn list(&self, current: u32) -> Result<Vec<Entry>> {
        let found = self.read_all()?;
        let mut chain: Vec<Entry> = Vec::new();
        let mut wanted = current;
        let leads_to = |wanted: u32| {
            let fits = |entry: &&Entry| entry.next == wanted && entry.revision < wanted;
            found.iter().filter(fits).min_by_key(|entry| entry.revision)
        };
        while let Some(entry) = leads_to(wanted) {
            wanted = entry.revision;
            chain.push(entry.clone());
        }
        Ok(chain)
    }

    /// Removes what a killed process left: what is half written, and entries whose commits are part of a longer one of this chain.
    ///
    /// # Errors
    /// Failures of the file system.
    pub(super) fn sweep(&self, chain: &[Entry]) -> Result<()> {
        self.remove_half_written();
        let is_part = |entry: &Entry| {
            chain.iter().any(|longer| longer.revision < entry.revision && entry.next <= longer.next)
        };
        self.read_all()?.iter().filter(|entry| is_part(entry)).try_for_each(|entry| self.remove(entry))
    }

    fn read_all(&self) -> Result<Vec<Entry>> {
        let failed = |cause: io::Error| Error::io("list", &self.folder, &cause);
        let listed = match std::fs::read_dir(&self.folder) {
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            listed => listed.map_err(failed)?,
        };
        let mut found = Vec::new();
        for file in listed {
            let path = file.map_err(failed)?.path();
            if path.extension().is_none() {
                found.extend(head(&path));
            }
        }
        Ok(found)
    }

    /// Begins an entry.
    ///
    /// # Errors
    /// `DiskFull`, `AccessDenied`, `Io`.
    pub(super) fn begin(&self, entry: Entry) -> Result<Writing> {
        let failed = |cause: io::Error| Error::io("create", &self.folder, &cause);
        if !self.folder.exists() {
            create_folder(&self.folder).map_err(failed)?;
            // What is in a folder lasts no longer than the folder's own name.
            sync_folder(self.folder.parent().unwrap_or(Path::new("."))).map_err(failed)?;
        }
        let to = self.place(entry.revision);
        let temporary = with_suffix(&to, ".tmp");
        let failed = |cause: io::Error| Error::io("write", &temporary, &cause);
        self.remove_half_written();
        let mut file = create_file(&temporary, Rights::PRIVATE).map_err(failed)?;
        file.seek(SeekFrom::Start(PAGES_AT)).map_err(failed)?;
        let pages = zstd::Encoder::new(BufWriter::new(file), LEVEL).map_err(failed)?;
        Ok(Writing { temporary: Temporary(temporary), to, entry, pages })
    }

    /// What a process left that was killed: there is one importer, which is about to write.
    fn remove_half_written(&self) {
        let listed = std::fs::read_dir(&self.folder).into_iter().flatten().flatten();
        for path in listed.map(|file| file.path()).filter(|path| path.extension().is_some()) {
            let _ = std::fs::remove_file(path);
        }
    }

    /// Makes an earlier state of a copy in a file that holds the current one, by undoing entry after entry down to a revision.
    ///
    /// # Errors
    /// `Corrupt` where an entry cannot be read.
    pub(super) fn undo(&self, chain: &[Entry], file: &File, path: &Path) -> Result<()> {
        let failed = |cause: io::Error| Error::io("write", path, &cause);
        for entry in chain {
            if entry.whole {
                file.set_len(0).map_err(failed)?;
            }
            self.each(entry, |page, content| {
                write_all_at(file, content, u64::from(page - 1) * u64::from(entry.page_size)).map_err(failed)
            })?;
            file.set_len(u64::from(entry.pages) * u64::from(entry.page_size)).map_err(failed)?;
        }
        Ok(())
    }

    /// Shows every page of an entry.
    fn each(&self, entry: &Entry, mut show: impl FnMut(u32, &[u8]) -> Result<()>) -> Result<()> {
        let path = self.place(entry.revision);
        let failed = |_: io::Error| damaged(&path);
        let mut file = File::open(&path).map_err(failed)?;
        file.seek(SeekFrom::Start(PAGES_AT)).map_err(failed)?;
        let mut pages = zstd::Decoder::new(BufReader::new(file)).map_err(failed)?;
        let mut record = vec![0; entry.page_size as usize + 4];
        for _ in 0..entry.records {
            pages.read_exact(&mut record).map_err(failed)?;
            let page = number(&record, 0);
            if page == 0 {
                return Err(damaged(&path));
            }
            show(page, &record[4..])?;
        }
        Ok(())
    }

    /// Merges an entry into the next older one: the state between them cannot be restored any more. The oldest image of a page wins.
    /// What they are together.
    ///
    /// # Errors
    /// `Corrupt`, `DiskFull`, `Io`; both entries are then as they were.
    pub(super) fn merge(&self, older: &Entry, newer: &Entry) -> Result<Entry> {
        let mut writing = self.begin(Entry { next: newer.next, records: 0, ..older.clone() })?;
        let mut known = std::collections::HashSet::new();
        self.each(older, |page, content| {
            known.insert(page);
            writing.add(page, content)
        })?;
        if !older.whole {
            self.each(newer, |page, content| {
                if page <= older.pages && known.insert(page) { writing.add(page, content) } else { Ok(()) }
            })?;
        }
        let merged = writing.publish()?;
        self.remove(newer)?;
        Ok(merged)
    }

    /// Removes an entry.
    ///
    /// # Errors
    /// Failures of the file system.
    pub(super) fn remove(&self, entry: &Entry) -> Result<()> {
        remove(&self.place(entry.revision))
    }

    /// Removes all of them, of a copy that is gone; whether there was anything.
    ///
    /// # Errors
    /// Failures of the file system.
    pub(super) fn remove_all(&self) -> Result<bool> {
        match std::fs::remove_dir_all(&self.folder) {
            Err(cause) if matches!(cause.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                Ok(false)
            }
            removed => removed.map(|()| true).map_err(|cause| Error::io("remove", &self.folder, &cause)),
        }
    }

    /// Removes an entry that a commit left which was undone. The next commit may not be able to keep its own, and this one would be taken
    /// for it.
    ///
    /// # Errors
    /// Failures of the file system.
    pub(super) fn remove_undone(&self, revision: u32) -> Result<()> {
        let path = self.place(revision);
        if !path.is_file() {
            return Ok(());
        }
        remove(&path)?;
        sync_folder(&self.folder).map_err(|cause| Error::io("write", &self.folder, &cause))
    }

    /// How many bytes an entry takes on the device.
    pub(super) fn size(&self, entry: &Entry) -> u64 {
        std::fs::metadata(self.place(entry.revision)).map_or(0, |metadata| metadata.len())
    }
}

impl Writing {
    /// Adds a page as it was.
    ///
    /// # Errors
    /// `DiskFull`, `Io`.
    pub(super) fn add(&mut self, page: u32, content: &[u8]) -> Result<()> {
        self.entry.records += 1;
        let written = self.pages.write_all(&page.to_be_bytes()).and_then(|()| self.pages.write_all(content));
        written.map_err(|cause| Error::io("write", &self.temporary.0, &cause))
    }

    /// Gives the entry its name. Its head is written last: a torn one has none.
    ///
    /// # Errors
    /// `DiskFull`, `Io`.
    pub(super) fn publish(self) -> Result<Entry> {
        let Writing { temporary, to, entry, pages } = self;
        let failed = |cause: io::Error| Error::io("write", &temporary.0, &cause);
        let file =
            pages.finish().map_err(failed)?.into_inner().map_err(|cause| failed(cause.into_error()))?;
        let text = serde_json::to_vec(&entry).map_err(|cause| failed(cause.into()))?;
        let mut head = MAGIC.to_vec();
        head.extend(u32::try_from(text.len()).unwrap_or(u32::MAX).to_le_bytes());
        head.extend(text);
        write_all_at(&file, &head, 0).map_err(failed)?;
        file.sync_data().map_err(failed)?;
        std::fs::rename(&temporary.0, &to).map_err(failed)?;
        sync_folder(to.parent().unwrap_or(Path::new("."))).map_err(failed)?;
        Ok(entry)
    }
}

/// What an entry says of itself; none where it is none.
fn head(path: &Path) -> Option<Entry> {
    let file = File::open(path).ok()?;
    let mut bytes = vec![0; 4_096];
    let read = read_whole(&file, &mut bytes, 0).ok()?;
    let length = usize::try_from(u32::from_le_bytes(bytes.get(8..12)?.try_into().ok()?)).ok()?;
    let text = bytes[..read].get(12..12 + length)?;
    if bytes.starts_with(MAGIC) { serde_json::from_slice(text).ok() } else { None }
}

fn damaged(path: &Path) -> Error {
    Error::new(
        ErrorKind::Corrupt,
        format!("{} of the history cannot be read.", path.display()),
        "States before it are lost. Choose a later one with Get-CsPoolBackupHistory.",
    )
    .at("path", path.display())
}
