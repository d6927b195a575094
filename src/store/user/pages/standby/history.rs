//! Earlier states of a copy: the pages that each commit overwrote, as they were before it.
//!
//! An entry undoes one commit, or several that were merged: put back over the state after it, its pages make the state before it. Entries
//! form a chain by the copy's change counter; an earlier state is made by undoing from the newest entry back.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::super::end::PageSink;
use crate::error::{Error, ErrorKind, Result};
use crate::platform::{Rights, create_file, create_folder, read_whole, sync_folder, write_all_at};
use crate::store::MadeBy;
use crate::store::files::{remove, with_suffix};
use crate::store::sqlite::format::header::number;

const MAGIC: &[u8; 8] = b"CSBHIST2";
/// Where the pages begin; before them lies what they are.
const PAGES_AT: u64 = 4_096;
/// How the name of an entry ends that is being written.
const UNFINISHED: &str = ".tmp";
/// Fast, and half of what a slower one leaves.
const LEVEL: i32 = 1;

/// What the name of an entry's file tells, so that thousands of them are listed without being opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Link {
    /// The copy's change counter before: the number of the state that this entry restores.
    pub(super) revision: u32,
    /// The change counter after the commit.
    pub(super) next: u32,
    /// When the source was in that state, to the millisecond.
    pub(super) at: Timestamp,
    /// Whether the entry holds every page, and so restores its state by itself.
    pub(super) whole: bool,
}

impl Link {
    fn name(&self) -> String {
        let whole = if self.whole { "-whole" } else { "" };
        format!("{:010}-{:010}-{:013}{whole}", self.revision, self.next, self.at.as_millisecond())
    }

    fn parse(name: &str) -> Option<Self> {
        let mut parts = name.split('-');
        let mut part = || parts.next();
        let (revision, next) = (part()?.parse().ok()?, part()?.parse().ok()?);
        let at = Timestamp::from_millisecond(part()?.parse().ok()?).ok()?;
        let whole = match part() {
            None => false,
            Some("whole") if part().is_none() => true,
            Some(_) => return None,
        };
        Some(Link { revision, next, at, whole })
    }
}

/// One entry: what the copy was before a commit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Entry {
    /// How many pages the copy had.
    pub(super) pages: u32,
    pub(super) page_size: u32,
    /// How many pages it holds.
    pub(super) records: u32,
    /// The job that made the state.
    pub(super) job: Option<MadeBy>,
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
    link: Link,
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

    fn place(&self, link: &Link) -> PathBuf {
        self.folder.join(link.name())
    }

    /// All entries that lead back from the state with this change counter, the newest first. What does not fit leads nowhere and is left
    /// out: an entry of a commit that was undone, or one of two that were merged. A copy that servers wrote to since it was promoted has a
    /// counter of theirs; an entry with every page leads back from there, too.
    ///
    /// # Errors
    /// Failures of the file system.
    pub(super) fn list(&self, current: u32) -> Result<Vec<Link>> {
        Ok(chain(&self.names()?, current))
    }

    fn names(&self) -> Result<Vec<String>> {
        let failed = |cause: io::Error| Error::io("list", &self.folder, &cause);
        let listed = match std::fs::read_dir(&self.folder) {
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            listed => listed.map_err(failed)?,
        };
        let name = |file: io::Result<std::fs::DirEntry>| {
            file.map(|file| file.file_name().to_string_lossy().into_owned()).map_err(failed)
        };
        listed.map(name).collect()
    }

    /// What an entry says of itself; none where it cannot be read: states before it are lost.
    pub(super) fn entry(&self, link: &Link) -> Option<Entry> {
        head(&self.place(link))
    }

    /// Begins an entry.
    ///
    /// # Errors
    /// `DiskFull`, `AccessDenied`, `Io`.
    pub(super) fn begin(&self, link: Link, entry: Entry) -> Result<Writing> {
        let failed = |cause: io::Error| Error::io("create", &self.folder, &cause);
        if !self.folder.exists() {
            create_folder(&self.folder).map_err(failed)?;
            // What is in a folder lasts no longer than the folder's own name.
            sync_folder(self.folder.parent().unwrap_or(Path::new("."))).map_err(failed)?;
        }
        let to = self.place(&link);
        let temporary = with_suffix(&to, UNFINISHED);
        let failed = |cause: io::Error| Error::io("write", &temporary, &cause);
        let mut file = create_file(&temporary, Rights::PRIVATE).map_err(failed)?;
        file.seek(SeekFrom::Start(PAGES_AT)).map_err(failed)?;
        let pages = zstd::Encoder::new(BufWriter::new(file), LEVEL).map_err(failed)?;
        Ok(Writing { temporary: Temporary(temporary), to, link, entry, pages })
    }

    /// Whether nothing is kept.
    pub(super) fn is_empty(&self) -> bool {
        self.names().is_ok_and(|names| names.is_empty())
    }

    /// Removes everything, because the copy that it was of is made anew; whether there was anything.
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

    /// Removes entries of commits that were undone. The next commit may not be able to keep its own, and one of these would be taken for it.
    ///
    /// # Errors
    /// Failures of the file system.
    pub(super) fn remove_undone(&self, current: u32) -> Result<()> {
        // Of a folder that cannot be listed no entry is found later, either.
        let names = self.names().unwrap_or_default();
        let is_undone = |name: &&String| Link::parse(name).is_some_and(|link| link.revision >= current);
        let undone: Vec<&String> = names.iter().filter(is_undone).collect();
        if undone.is_empty() {
            return Ok(());
        }
        undone.into_iter().try_for_each(|name| remove(&self.folder.join(name)))?;
        sync_folder(&self.folder).map_err(|cause| Error::io("write", &self.folder, &cause))
    }

    /// Removes what else leads nowhere from the state with this change counter: what a process left that was killed while it wrote or
    /// merged. There is one importer, which is about to write. A name that another build may have given is left alone.
    /// What leads back.
    ///
    /// # Errors
    /// Failures of the file system.
    pub(super) fn remove_stray(&self, current: u32) -> Result<Vec<Link>> {
        let names = self.names()?;
        let chain = chain(&names, current);
        let leads_nowhere = |name: &&String| match Link::parse(name) {
            Some(link) => !chain.contains(&link),
            None => name.ends_with(UNFINISHED),
        };
        names.iter().filter(leads_nowhere).try_for_each(|name| remove(&self.folder.join(name)))?;
        Ok(chain)
    }

    /// Hands on the pages that make an earlier state of the current one, by undoing entry after entry.
    ///
    /// # Errors
    /// `Corrupt` where an entry cannot be read; those of the sink.
    pub(super) fn undo(&self, chain: &[Link], to: &dyn PageSink) -> Result<()> {
        for link in chain {
            let entry = self.entry(link).ok_or_else(|| damaged(&self.place(link)))?;
            if link.whole {
                to.reset()?;
            }
            self.each(link, &entry, |page, content| to.put(page, content, content.len()))?;
        }
        Ok(())
    }

    /// Shows every page of an entry.
    fn each(&self, link: &Link, entry: &Entry, mut show: impl FnMut(u32, &[u8]) -> Result<()>) -> Result<()> {
        let path = self.place(link);
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
    pub(super) fn merge(&self, older: &Link, newer: &Link) -> Result<Link> {
        let read = |link: &Link| self.entry(link).ok_or_else(|| damaged(&self.place(link)));
        let (entry, later) = (read(older)?, read(newer)?);
        let merged = Link { next: newer.next, ..*older };
        let mut writing = self.begin(merged, Entry { records: 0, ..entry.clone() })?;
        let mut known = std::collections::HashSet::new();
        self.each(older, &entry, |page, content| {
            known.insert(page);
            writing.add(page, content)
        })?;
        if !older.whole {
            self.each(newer, &later, |page, content| {
                if page <= entry.pages && known.insert(page) { writing.add(page, content) } else { Ok(()) }
            })?;
        }
        writing.publish()?;
        self.remove(newer)?;
        self.remove(older)?;
        Ok(merged)
    }

    /// Removes an entry.
    ///
    /// # Errors
    /// Failures of the file system.
    pub(super) fn remove(&self, link: &Link) -> Result<()> {
        remove(&self.place(link))
    }

    /// How many bytes an entry takes on the device.
    pub(super) fn size(&self, link: &Link) -> u64 {
        std::fs::metadata(self.place(link)).map_or(0, |metadata| metadata.len())
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
    pub(super) fn publish(self) -> Result<Link> {
        let Writing { temporary, to, link, entry, pages } = self;
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
        Ok(link)
    }
}

/// The entries among these names that lead back from a state; see [`History::list`].
fn chain(names: &[String], current: u32) -> Vec<Link> {
    // Of two that lead to one state the longer way is taken: a merge that was killed left the shorter one.
    let mut longest: HashMap<u32, Link> = HashMap::new();
    let mut whole: BTreeMap<u32, Link> = BTreeMap::new();
    let found = names.iter().filter_map(|name| Link::parse(name));
    for link in found.filter(|link| link.revision < link.next) {
        let known = longest.entry(link.next).or_insert(link);
        if link.revision < known.revision {
            *known = link;
        }
        whole.extend(link.whole.then_some((link.revision, link)));
    }
    let mut chain: Vec<Link> = Vec::new();
    let mut wanted = current;
    while let Some(link) =
        longest.get(&wanted).or_else(|| whole.range(..wanted).next_back().map(|(_, link)| link))
    {
        wanted = link.revision;
        chain.push(*link);
    }
    chain
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
