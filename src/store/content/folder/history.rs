//! Earlier states of the copy, in `.csb/history`.
//!
//! Each revision that is kept has a folder there, whose name tells which one it is, when it was, and how much it takes;
//! `open` is the one of a cycle that has not ended. In it are the files that were replaced or removed since, under
//! numbers, and `log`, which says what every object was. A file that is replaced has a second name here before it loses the
//! first one; one that is removed is renamed. So nothing is copied, and nothing is missing for a moment.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags};
use rustix::io::Errno;
use uuid::Uuid;

use super::{ContentPath, FolderStore, OWN_FOLDER, ObjectError, ObjectResult, attributes, handles, writing};
use crate::error::{Error, ErrorKind, Result};
use crate::store::content::history::{Before, ContentHistory, KeptParts, KeptRevision, Revision};

mod changed;
mod log;
mod restored;

pub(super) use changed::Changed;
use changed::Parts;
use log::{Log, Reading};
pub use restored::RestoredFolder;

/// The folder within [`OWN_FOLDER`] for revisions.
pub(super) const HISTORY_FOLDER: &[u8] = b"history";

/// The revision of a cycle that has not ended.
const OPEN: &[u8] = b"open";

/// What was noted of a revision.
const LOG: &[u8] = b"log";

/// How the name of a folder begins that is being removed.
const GONE: &[u8] = b"gone-";

/// The revision that is being kept.
struct Open {
    folder: Arc<OwnedFd>,
    log: Log,
}

/// The folder of a revision and its name.
type Named = (Box<[u8]>, Arc<OwnedFd>);

/// Earlier states of the copy in this folder.
#[derive(Default)]
pub(super) struct FolderHistory {
    open: Mutex<Option<Open>>,
    expects_changes: AtomicBool,
    /// The revision that was looked into last: notes are undone one after the other.
    looked_into: Mutex<Option<(u32, Named)>>,
}

/// A revision that was ended, as the name of its folder tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Ended {
    number: u32,
    next: u32,
    since_ms: i64,
    until_ms: i64,
    kept_bytes: u64,
}

impl Ended {
    fn name(&self) -> String {
        let Ended { number, next, since_ms, until_ms, kept_bytes } = self;
        format!("{number:010}-{next:010}-{since_ms:013}-{until_ms:013}-{kept_bytes}")
    }

    /// None of another name: it is not one of ours.
    fn parse(name: &[u8]) -> Option<Self> {
        let mut parts = std::str::from_utf8(name).ok()?.split('-');
        let mut part = || parts.next();
        let ended = Ended {
            number: part()?.parse().ok()?,
            next: part()?.parse().ok()?,
            since_ms: part()?.parse().ok()?,
            until_ms: part()?.parse().ok()?,
            kept_bytes: part()?.parse().ok()?,
        };
        (part().is_none() && ended.name().as_bytes() == name).then_some(ended)
    }
}

impl Ended {
    fn kept(&self) -> KeptRevision {
        let at = |ms| Timestamp::from_millisecond(ms).unwrap_or_default();
        KeptRevision {
            revision: Revision { number: self.number, since: at(self.since_ms), job: None, bytes: 0 },
            next: Some(self.next),
            until: Some(at(self.until_ms)),
            kept_bytes: self.kept_bytes,
        }
    }
}

/// What the folder for revisions holds.
#[derive(Default)]
struct Entries {
    ended: Vec<Ended>,
    is_open: bool,
    gone: Vec<Box<[u8]>>,
}

impl FolderStore {
    fn history_error(&self, doing: &str, cause: Errno) -> Error {
        Error::io(doing, &self.root.join(".csb/history"), &cause.into())
    }

    fn history_folder(&self) -> Result<Arc<OwnedFd>, Errno> {
        handles::below(&*handles::below(&*self.handles.root()?, OWN_FOLDER)?, HISTORY_FOLDER)
    }

    fn history_folder_made(&self) -> Result<Arc<OwnedFd>, Errno> {
        match self.history_folder() {
            Err(Errno::NOENT) => {}
            found => return found,
        }
        let root = self.handles.root()?;
        make_folder(&root, OWN_FOLDER)?;
        let own = handles::below(&root, OWN_FOLDER)?;
        make_folder(&own, HISTORY_FOLDER)?;
        rustix::fs::fsync(&*own)?;
        rustix::fs::fsync(&*root)?;
        self.history_folder()
    }

    fn history_entries(&self) -> Result<Entries, Errno> {
        let folder = match self.history_folder() {
            Err(Errno::NOENT) => return Ok(Entries::default()),
            folder => folder?,
        };
        let mut entries = Entries::default();
        for entry in Dir::read_from(&*folder)? {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            if let Some(ended) = Ended::parse(name) {
                entries.ended.push(ended);
            } else if name == OPEN {
                entries.is_open = true;
            } else if name.starts_with(GONE) {
                entries.gone.push(name.into());
            }
        }
        entries.ended.sort_unstable_by_key(|ended| std::cmp::Reverse((ended.number, ended.next)));
        Ok(entries)
    }

    fn name_of_revision(&self, number: u32) -> Result<Option<Box<[u8]>>, Errno> {
        let entries = self.history_entries()?;
        if let Some(ended) = entries.ended.iter().find(|ended| ended.number == number) {
            return Ok(Some(ended.name().into_bytes().into()));
        }
        let is_open = entries.is_open && self.head(OPEN)?.is_some_and(|head| head.number == number);
        Ok(is_open.then(|| OPEN.into()))
    }

    /// The folder of a revision, and its name.
    fn look_into(&self, number: u32) -> Result<Option<Named>, Errno> {
        let mut last = self.history.looked_into.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, named)) = last.as_ref().filter(|(known, _)| *known == number) {
            return Ok(Some(named.clone()));
        }
        let Some(name) = self.name_of_revision(number)? else { return Ok(None) };
        let folder = handles::below(&*self.history_folder()?, &name)?;
        let named = (name, folder);
        *last = Some((number, named.clone()));
        Ok(Some(named))
    }

    fn read_log(&self, name: &[u8]) -> Result<Reading, Errno> {
        let folder = handles::below(&*self.history_folder()?, name)?;
        Ok(Reading::of(File::from(handles::open_beneath(&folder, LOG, handles::READING)?)))
    }

    /// With what a log begins.
    fn head(&self, name: &[u8]) -> Result<Option<Revision>, Errno> {
        match self.read_log(name) {
            Ok(mut log) => Ok(log.head()),
            Err(Errno::NOENT) => Ok(None),
            Err(cause) => Err(cause),
        }
    }

    /// Removes the folder of a revision with everything in it. It loses its name first, so that nobody takes what is left of it for a
    /// revision; where there is no room even for that, the log goes first.
    fn remove_folder(&self, name: &[u8]) -> Result<(), Errno> {
        let history = self.history_folder()?;
        let gone = [GONE, Uuid::new_v4().to_string().as_bytes()].concat();
        match rustix::fs::renameat(&*history, name, &*history, &*gone) {
            Ok(()) => remove_all(&history, &gone),
            Err(Errno::NOSPC | Errno::DQUOT) => {
                rustix::fs::unlinkat(&*handles::below(&history, name)?, LOG, AtFlags::empty())?;
                remove_all(&history, name)
            }
            Err(cause) => Err(cause),
        }
    }

    /// Whether what files are before they change may be asked for.
    pub(super) fn is_keeping_history(&self) -> bool {
        self.history.expects_changes.load(Ordering::Relaxed)
    }

    /// Keeps a file that lies in another folder of ours under a number.
    pub(super) fn keep_beside(&self, folder: &OwnedFd, name: &[u8], number: u32) -> Result<(), Errno> {
        let kept = number.to_string();
        self.with_open(|open| rustix::fs::renameat(folder, name, &*open.folder, kept.as_bytes()))
    }

    fn with_open<T>(&self, work: impl FnOnce(&mut Open) -> Result<T, Errno>) -> Result<T, Errno> {
        let mut open = self.history.open.lock().unwrap_or_else(PoisonError::into_inner);
        work(open.as_mut().ok_or(Errno::BADF)?)
    }

    /// Everything of the history, for whoever lists or removes what is of ours: how many revisions there are.
    pub(super) fn remove_history(&self, dry_run: bool) -> Result<u64> {
        let failed = |cause| self.history_error("remove", cause);
        let entries = self.history_entries().map_err(failed)?;
        let count = entries.ended.len() as u64 + u64::from(entries.is_open);
        if dry_run {
            return Ok(count);
        }
        *self.history.open.lock().unwrap_or_else(PoisonError::into_inner) = None;
        let names = entries.ended.iter().map(|ended| ended.name().into_bytes());
        let open = entries.is_open.then(|| OPEN.to_vec());
        for name in names.chain(open) {
            self.remove_folder(&name).map_err(failed)?;
        }
        let remove = || {
            let history = self.history_folder()?;
            entries.gone.iter().try_for_each(|name| remove_all(&history, name))?;
            let own = handles::below(&*self.handles.root()?, OWN_FOLDER)?;
            rustix::fs::unlinkat(&*own, HISTORY_FOLDER, AtFlags::REMOVEDIR)
        };
        match remove() {
            // What others have put there stays.
            Ok(()) | Err(Errno::NOENT | Errno::NOTEMPTY) => Ok(count),
            Err(cause) => Err(failed(cause)),
        }
    }
}

impl ContentHistory for FolderStore {
    fn revisions(&self) -> Result<Vec<KeptRevision>> {
        let list = || -> Result<_, Errno> {
            let entries = self.history_entries()?;
            let open = if entries.is_open { self.head(OPEN)? } else { None };
            let open = open.map(|revision| KeptRevision { revision, next: None, until: None, kept_bytes: 0 });
            Ok(open.into_iter().chain(entries.ended.iter().map(Ended::kept)).collect())
        };
        list().map_err(|cause| self.history_error("list", cause))
    }

    fn describe(&self, number: u32) -> Result<Option<Revision>> {
        let head = || self.name_of_revision(number)?.map_or(Ok(None), |name| self.head(&name));
        head().map_err(|cause| self.history_error("read", cause))
    }

    fn expect_changes(&self) {
        self.history.expects_changes.store(true, Ordering::Relaxed);
    }

    fn parts(&self, path: &ContentPath) -> ObjectResult<Option<KeptParts>> {
        let failed = |cause| ObjectError::Store(self.history_error("read", cause));
        let open = || {
            let (folder, _, name) = self.place(path)?;
            Parts::of(&File::from(handles::open_beneath(&folder, name, handles::READING)?))
        };
        let parts = open().map_err(failed)?;
        Ok(parts.map(|Parts { size, places }| KeptParts { size, places }))
    }

    fn begin(&self, revision: &Revision) -> Result<u32> {
        let begin = || {
            let history = self.history_folder_made()?;
            for gone in self.history_entries()?.gone {
                remove_all(&history, &gone)?;
            }
            if self.history_entries()?.is_open
                && self.head(OPEN)?.is_none_or(|head| head.number != revision.number)
            {
                self.remove_folder(OPEN)?;
            }
            make_folder(&history, OPEN)?;
            let folder = handles::below(&history, OPEN)?;
            let flags = OFlags::RDWR | OFlags::CREATE | OFlags::APPEND | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let file = File::from(rustix::fs::openat(&*folder, LOG, flags, Mode::from_raw_mode(0o600))?);
            let (log, next) = Log::open(file, revision)?;
            rustix::fs::fsync(&*history)?;
            Ok((Open { folder, log }, next))
        };
        let (open, next) = begin().map_err(|cause| self.history_error("write to", cause))?;
        *self.history.open.lock().unwrap_or_else(PoisonError::into_inner) = Some(open);
        Ok(next)
    }

    fn note(&self, objects: &[Before]) -> Result<()> {
        let noted = self.with_open(|open| open.log.append(objects));
        noted.map_err(|cause| self.history_error("write to", cause))
    }

    fn sync(&self) -> Result<()> {
        let synced = self.with_open(|open| open.log.sync(&open.folder));
        synced.map_err(|cause| self.history_error("make durable", cause))
    }

    fn keep(&self, path: &ContentPath, number: u32) -> ObjectResult<()> {
        let failed = |cause| writing(self, path, cause);
        let (folder, _, name) = self.place(path).map_err(failed)?;
        let kept = number.to_string();
        let linked = self.with_open(|open| {
            let to = &*open.folder;
            match rustix::fs::linkat(&*folder, name, to, kept.as_bytes(), AtFlags::empty()) {
                // No second names here, or not of what is another account's: then it has none for a moment.
                Err(Errno::PERM | Errno::ACCESS | Errno::NOTSUP | Errno::MLINK | Errno::NOSYS) => {
                    rustix::fs::renameat(&*folder, name, to, kept.as_bytes())
                }
                linked => linked,
            }
        });
        linked.map_err(failed)
    }

    fn take(&self, path: &ContentPath, number: u32) -> ObjectResult<()> {
        let failed = |cause| writing(self, path, cause);
        let (folder, folder_path, name) = self.place(path).map_err(failed)?;
        let kept = number.to_string();
        let taken =
            self.with_open(|open| rustix::fs::renameat(&*folder, name, &*open.folder, kept.as_bytes()));
        taken.map_err(failed)?;
        self.touch(folder_path);
        Ok(())
    }

    fn end(&self, next: &Revision) -> Result<()> {
        let Some(open) = self.history.open.lock().unwrap_or_else(PoisonError::into_inner).take() else {
            return Ok(());
        };
        let end = || {
            let history = self.history_folder()?;
            rustix::fs::fsync(&*open.folder)?;
            let Some(was) = Reading::of(open.log.reader()?).head() else { return Err(Errno::IO) };
            let ended = Ended {
                number: was.number,
                next: next.number,
                since_ms: was.since.as_millisecond(),
                until_ms: next.since.as_millisecond(),
                kept_bytes: kept_bytes(&open.folder)?,
            };
            rustix::fs::renameat(&*history, OPEN, &*history, ended.name().as_bytes())?;
            rustix::fs::fsync(&*history)
        };
        end().map_err(|cause| self.history_error("write to", cause))
    }

    fn read_notes(&self, number: u32, take: &mut dyn FnMut(Before) -> Result<()>) -> Result<()> {
        let failed = |cause| self.history_error("read", cause);
        let open = || self.read_log(&self.name_of_revision(number)?.ok_or(Errno::NOENT)?);
        let mut log = open().map_err(failed)?;
        if log.head().is_none_or(|head| head.number != number) {
            return Err(Error::new(
                ErrorKind::Corrupt,
                format!(
                    "What was kept of revision {number} in {}/.csb/history cannot be read.",
                    self.root.display()
                ),
                "That state and those before it are lost; later ones can be restored.",
            )
            .at("path", self.root.display()));
        }
        log.try_for_each(take)
    }

    fn kept(&self, revision: u32, number: u32) -> ObjectResult<Option<ContentPath>> {
        let find = || -> Result<Option<ContentPath>, Errno> {
            let Some((name, folder)) = self.look_into(revision)? else { return Ok(None) };
            let kept = number.to_string();
            match rustix::fs::statat(&*folder, kept.as_bytes(), AtFlags::SYMLINK_NOFOLLOW) {
                Err(Errno::NOENT) => return Ok(None),
                found => found?,
            };
            let names = [OWN_FOLDER, HISTORY_FOLDER, &name, kept.as_bytes()];
            Ok(names.into_iter().try_fold(ContentPath::root(), |folder, name| folder.join(name)))
        };
        find().map_err(|cause| ObjectError::Store(self.history_error("read", cause)))
    }

    fn remove_revision(&self, number: u32) -> Result<()> {
        let remove = || {
            let Some(name) = self.name_of_revision(number)? else { return Ok(()) };
            if *name == *OPEN {
                *self.history.open.lock().unwrap_or_else(PoisonError::into_inner) = None;
            }
            self.remove_folder(&name)
        };
        remove().map_err(|cause| self.history_error("remove", cause))
    }
}

/// Makes a folder that hands nothing down, for the account alone.
fn make_folder(above: &OwnedFd, name: &[u8]) -> Result<(), Errno> {
    match rustix::fs::mkdirat(above, name, Mode::from_raw_mode(0o700)) {
        Ok(()) => attributes::disinherit(&*handles::below(above, name)?),
        Err(Errno::EXIST) => Ok(()),
        Err(cause) => Err(cause),
    }
}

/// A name, and what is known of the file that has it.
type NameAndStat = (Box<[u8]>, rustix::fs::Stat);

/// The names in a folder of a revision, each with what is known of the file.
fn files(folder: &OwnedFd) -> Result<Vec<NameAndStat>, Errno> {
    let mut found = Vec::new();
    for entry in Dir::read_from(folder)? {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if name == b"." || name == b".." {
            continue;
        }
        found.push((name.into(), rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW)?));
    }
    Ok(found)
}

/// What the files take that nothing else needs.
fn kept_bytes(folder: &OwnedFd) -> Result<u64, Errno> {
    let of = |stat: &rustix::fs::Stat| match stat.st_nlink {
        0 | 1 => u64::try_from(stat.st_blocks).unwrap_or_default().saturating_mul(512),
        // It has a name in the content as well.
        _ => 0,
    };
    Ok(files(folder)?.iter().map(|(_, stat)| of(stat)).sum())
}

/// Removes a folder and the files in it.
fn remove_all(above: &OwnedFd, name: &[u8]) -> Result<(), Errno> {
    let folder = match handles::below(above, name) {
        Err(Errno::NOENT) => return Ok(()),
        folder => folder?,
    };
    for (file, stat) in files(&folder)? {
        let is_folder = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
        let flags = if is_folder { AtFlags::REMOVEDIR } else { AtFlags::empty() };
        match rustix::fs::unlinkat(&*folder, &*file, flags) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(cause) => return Err(cause),
        }
    }
    rustix::fs::unlinkat(above, name, AtFlags::REMOVEDIR)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_a_revision_tells_everything_and_other_names_are_none() {
        let ended = Ended {
            number: 7,
            next: 9,
            since_ms: 1_764_500_000_000,
            until_ms: 1_764_500_060_000,
            kept_bytes: 4096,
        };
        assert_eq!(Ended::parse(ended.name().as_bytes()), Some(ended));
        for name in [
            "open",
            "7-9-1-2-3",
            "0000000007-0000000009-1764500000000-1764500060000-4096-1",
            "gone-1",
            "\u{fc}",
        ] {
            assert_eq!(Ended::parse(name.as_bytes()), None, "{name}");
        }
    }
}
