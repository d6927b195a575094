//! A store on which work is rehearsed: it is read, and what would be written to it is only checked.
//!
//! Whoever plans runs the same code as whoever copies, on a store that answers as the real one would, as far as that can
//! be known without writing: whether it, and the folder of an object, may be written, what stands in the way of a name, and what
//! certainly finds no room. What only writing finds out (a device that fails, a name that the file system cannot hold) shows in
//! the run.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use tokio_util::sync::CancellationToken;

use super::abilities::Abilities;
use super::hints::{FoundFolder, KnownListings, Want};
use super::history::{Before, ContentHistory, KeptParts, KeptRevision, Revision};
use super::room::Room;
use super::{
    Attributes, ContentPath, ContentReader, ContentStore, ContentTrace, Extended, HashedFile, Listing,
    Marker, ObjectError, ObjectKind, ObjectMeta, ObjectResult, Ownership, Presence, Refusal, StagedObject,
    Version,
};
use crate::error::{Error, ErrorKind, Result};

mod staged;
use staged::Rehearsed;

/// What would be kept, and what would be dropped to make room.
#[derive(Default)]
struct RehearsedHistory {
    begun: Option<Revision>,
    /// Files that are kept once they are replaced or removed.
    held: BTreeSet<ContentPath>,
    /// What those take that were.
    kept_bytes: i64,
    dropped: BTreeSet<u32>,
}

/// A folder, and a name in it.
type NamePlace = (ContentPath, Box<[u8]>);

/// A store that is read, and never written to.
pub struct Rehearsal {
    inner: Box<dyn ContentStore>,
    /// Whether it may be written to, once that was asked.
    may_write: OnceLock<Result<()>>,
    /// What would not be there any more, with everything below it.
    gone: Mutex<BTreeSet<ContentPath>>,
    /// Folders that would be there, and their modes. No listing shows them.
    made: Mutex<BTreeMap<ContentPath, u32>>,
    /// Which names would be spelled otherwise: folder, name that is listed, and the new one.
    respelled: Mutex<BTreeMap<NamePlace, Box<[u8]>>>,
    /// The last folder in which names may change: objects come folder by folder.
    open: Mutex<Option<ContentPath>>,
    /// The room before anything was written, once that was asked.
    room: OnceLock<Option<Room>>,
    /// How many bytes of it would be taken.
    taken: AtomicI64,
    kept_free: AtomicU64,
    history: Mutex<RehearsedHistory>,
}

impl Rehearsal {
    /// A rehearsal on this store.
    pub fn new(inner: Box<dyn ContentStore>) -> Self {
        Rehearsal {
            inner,
            may_write: OnceLock::new(),
            gone: Mutex::default(),
            made: Mutex::default(),
            respelled: Mutex::default(),
            open: Mutex::default(),
            room: OnceLock::new(),
            taken: AtomicI64::new(0),
            kept_free: AtomicU64::new(0),
            history: Mutex::default(),
        }
    }

    fn write(&self) -> Result<()> {
        self.may_write.get_or_init(|| self.inner.check_writable()).clone()
    }

    fn is_gone(&self, path: &ContentPath) -> bool {
        let gone = self.gone.lock().unwrap_or_else(PoisonError::into_inner);
        let mut next = Some(path.clone());
        while let Some(path) = next.filter(|_| !gone.is_empty()) {
            if gone.contains(&path) {
                return true;
            }
            next = path.split().map(|(folder, _)| folder);
        }
        false
    }

    fn lose(&self, path: &ContentPath) {
        let mut gone = self.gone.lock().unwrap_or_else(PoisonError::into_inner);
        // What is below it is not asked for any more.
        let below = |inner: &ContentPath| {
            inner.as_bytes().strip_prefix(path.as_bytes()).is_some_and(|rest| rest.starts_with(b"/"))
        };
        let near = gone.range(path..).take_while(|inner| inner.as_bytes().starts_with(path.as_bytes()));
        let covered: Vec<_> = near.filter(|inner| below(inner)).cloned().collect();
        for inner in covered {
            gone.remove(&inner);
        }
        gone.insert(path.clone());
    }

    fn made(&self) -> MutexGuard<'_, BTreeMap<ContentPath, u32>> {
        self.made.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Publishing makes the folders above that are missing.
    fn make_above(&self, path: &ContentPath) -> ObjectResult<()> {
        let mut next = path.split().map(|(folder, _)| folder);
        while let Some(folder) = next.filter(|folder| !folder.is_root()) {
            match self.holder(&folder)? {
                Some(ObjectKind::Folder) => return Ok(()),
                Some(ObjectKind::File | ObjectKind::Link) => return Err(in_the_way()),
                None => drop(self.made().insert(folder.clone(), 0o755)),
            }
            next = folder.split().map(|(folder, _)| folder);
        }
        Ok(())
    }

    fn history(&self) -> MutexGuard<'_, RehearsedHistory> {
        self.history.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is replaced or removed is free then, unless it is kept.
    fn free(&self, path: &ContentPath) {
        let freed = i64::try_from(self.inner.taken_by(path).unwrap_or_default()).unwrap_or_default();
        let mut history = self.history();
        if history.held.remove(path) {
            history.kept_bytes += freed;
        } else {
            self.taken.fetch_sub(freed, Ordering::Relaxed);
        }
    }

    /// Counts so many bytes as taken, if there is room for them.
    fn take(&self, bytes: u64) -> ObjectResult<i64> {
        let kept_free = self.kept_free.load(Ordering::Relaxed);
        if self.room().is_some_and(|room| room.lacks(bytes, kept_free)) {
            return Err(ObjectError::Store(Error::new(
                ErrorKind::DiskFull,
                format!("There is no room for {bytes} bytes in {}.", self.url()),
                "Free space or raise the quota there, then run the command again.",
            )));
        }
        // In whole blocks, as files are kept.
        let taken = i64::try_from(bytes.next_multiple_of(4096)).unwrap_or_default();
        self.taken.fetch_add(taken, Ordering::Relaxed);
        Ok(taken)
    }

    /// What has a name now; none where it is free.
    fn holder(&self, path: &ContentPath) -> ObjectResult<Option<ObjectKind>> {
        match self.stat(path) {
            Ok(meta) => Ok(Some(meta.kind)),
            Err(ObjectError::Gone) => Ok(None),
            Err(ObjectError::Refused(_)) => Err(in_the_way()),
            Err(failure) => Err(failure),
        }
    }
}

fn in_the_way() -> ObjectError {
    ObjectError::Refused(Refusal::new(
        "Something else has its name at the destination, which this product did not put there.",
        "Move that away from the destination; the next cycle then copies the object.",
    ))
}

fn not_empty() -> ObjectError {
    ObjectError::Refused(Refusal::new(
        "The folder still holds something at the destination that this product did not put there.",
        "Move that away from the destination; the next cycle then removes the folder.",
    ))
}

impl ContentStore for Rehearsal {
    fn url(&self) -> String {
        self.inner.url()
    }

    fn reopen(&self) -> Box<dyn ContentStore> {
        Box::new(Rehearsal::new(self.inner.reopen()))
    }

    fn is_elsewhere(&self) -> bool {
        self.inner.is_elsewhere()
    }

    fn begin(&self, known: Option<&dyn KnownListings>, cancel: &CancellationToken) -> Result<()> {
        self.inner.begin(known, cancel)
    }

    fn walk(
        &self,
        known: Option<&dyn KnownListings>,
        cancel: &CancellationToken,
        take: &mut dyn FnMut(FoundFolder) -> Result<()>,
    ) -> Result<bool> {
        self.inner.walk(known, cancel, take)
    }

    fn expect(&self, wanted: Vec<Want>) -> Result<()> {
        self.inner.expect(wanted)
    }

    fn hashed(&self, path: &ContentPath, held: Option<&[u8; 32]>) -> ObjectResult<Option<HashedFile>> {
        if self.is_gone(path) { Err(ObjectError::Gone) } else { self.inner.hashed(path, held) }
    }

    fn identify(&self) -> Result<Presence> {
        self.inner.identify()
    }

    fn check_writable(&self) -> Result<()> {
        self.write()
    }

    fn check_place(&self, path: &ContentPath) -> ObjectResult<()> {
        let folder = path.split().map(|(folder, _)| folder);
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if *open != folder {
            self.inner.check_place(path)?;
            *open = folder;
        }
        Ok(())
    }

    fn create(&self) -> Result<()> {
        self.write()
    }

    fn mark(&self, _: &Marker) -> Result<()> {
        self.inner.check_markable()
    }

    fn check_markable(&self) -> Result<()> {
        self.inner.check_markable()
    }

    fn unmark(&self, _: bool) -> Result<Vec<ContentTrace>> {
        self.inner.unmark(true)
    }

    fn foreign(&self) -> Result<Vec<ContentPath>> {
        self.inner.foreign()
    }

    fn abilities(&self) -> Result<Arc<Abilities>> {
        Ok(self.inner.foreseen_abilities())
    }

    fn foreseen_abilities(&self) -> Arc<Abilities> {
        self.inner.foreseen_abilities()
    }

    fn respell(&self, from: &ContentPath, to: &ContentPath) -> ObjectResult<()> {
        self.write()?;
        self.stat(from)?;
        self.check_place(from)?;
        let (Some((folder, name)), Some((_, new))) = (from.split(), to.split()) else { return Ok(()) };
        let mut respelled = self.respelled.lock().unwrap_or_else(PoisonError::into_inner);
        respelled.insert((folder, name.into()), new.into());
        Ok(())
    }

    /// Nothing was staged here; what others left is no content.
    fn sweep(&self) -> Result<u64> {
        Ok(0)
    }

    /// Only writing would tell; one at another machine says it in any case.
    fn now_ns(&self) -> Option<i64> {
        if self.inner.is_elsewhere() { self.inner.now_ns() } else { None }
    }

    fn tick_ns(&self) -> i64 {
        self.inner.tick_ns()
    }

    /// Only writing would tell. A copy whose owner differs is then not one that differs.
    fn keeps_owners(&self) -> bool {
        false
    }

    fn room(&self) -> Option<Room> {
        let room = (*self.room.get_or_init(|| self.inner.room()))?;
        let free_bytes = room.free_bytes.saturating_add_signed(-self.taken.load(Ordering::Relaxed));
        Some(Room { free_bytes, ..room })
    }

    fn keep_free(&self, bytes: u64) {
        self.kept_free.store(bytes, Ordering::Relaxed);
    }

    fn taken_by(&self, path: &ContentPath) -> ObjectResult<u64> {
        if self.is_gone(path) { Err(ObjectError::Gone) } else { self.inner.taken_by(path) }
    }

    fn list(&self, folder: &ContentPath, cancel: &CancellationToken) -> ObjectResult<Listing> {
        if self.is_gone(folder) {
            return Err(ObjectError::Gone);
        }
        let listing = self.inner.list(folder, cancel)?;
        let respelled = self.respelled.lock().unwrap_or_else(PoisonError::into_inner);
        if respelled.is_empty() {
            return Ok(listing);
        }
        Ok(listing.respelled(|name| respelled.get(&(folder.clone(), name.into())).cloned()))
    }

    fn stat(&self, path: &ContentPath) -> ObjectResult<ObjectMeta> {
        if let Some(mode) = self.made().get(path).copied() {
            return Ok(ObjectMeta {
                kind: ObjectKind::Folder,
                size: 0,
                mtime_ns: 0,
                ctime_ns: 0,
                inode: 0,
                device: 0,
                mode,
                owner: Ownership::default(),
            });
        }
        if self.is_gone(path) { Err(ObjectError::Gone) } else { self.inner.stat(path) }
    }

    fn read(&self, path: &ContentPath) -> ObjectResult<Box<dyn ContentReader + '_>> {
        if self.is_gone(path) { Err(ObjectError::Gone) } else { self.inner.read(path) }
    }

    fn read_link(&self, path: &ContentPath) -> ObjectResult<Box<[u8]>> {
        if self.is_gone(path) { Err(ObjectError::Gone) } else { self.inner.read_link(path) }
    }

    fn folder_extended(&self, path: &ContentPath) -> ObjectResult<Extended> {
        if self.made().contains_key(path) {
            return Ok(Extended::default());
        }
        if self.is_gone(path) { Err(ObjectError::Gone) } else { self.inner.folder_extended(path) }
    }

    fn stage(&self) -> ObjectResult<Box<dyn StagedObject + '_>> {
        self.write()?;
        Ok(Box::new(Rehearsed { store: self, earlier: None, position: 0, scratch: Vec::new(), taken: 0 }))
    }

    fn stage_over(&self, path: &ContentPath) -> ObjectResult<Box<dyn StagedObject + '_>> {
        self.write()?;
        let earlier = self.read(path).ok();
        Ok(Box::new(Rehearsed { store: self, earlier, position: 0, scratch: Vec::new(), taken: 0 }))
    }

    fn stage_link(&self, _: &[u8], _: Attributes) -> ObjectResult<Box<dyn StagedObject + '_>> {
        self.stage()
    }

    fn stage_same(
        &self,
        path: &ContentPath,
        version: Version,
    ) -> ObjectResult<Option<Box<dyn StagedObject + '_>>> {
        self.write()?;
        let abilities = self.foreseen_abilities();
        let is_wanted = |meta: &ObjectMeta| {
            meta.size == version.size
                && abilities.is_same_time(meta.mtime_ns, version.attributes.mtime_ns)
                && (!abilities.modes || meta.mode == version.attributes.mode)
        };
        match self.stat(path) {
            Ok(meta) if abilities.hard_links && is_wanted(&meta) => self.stage().map(Some),
            Ok(_) | Err(ObjectError::Gone | ObjectError::Refused(_)) => Ok(None),
            Err(failure) => Err(failure),
        }
    }

    fn harden(&self) -> Result<()> {
        Ok(())
    }

    fn set_attributes(&self, path: &ContentPath, _: Attributes) -> ObjectResult<()> {
        self.write()?;
        self.stat(path).map(|_| ())
    }

    fn set_extended(&self, _: &ContentPath, _: &Extended) -> ObjectResult<bool> {
        self.write()?;
        Ok(true)
    }

    fn make_folder(&self, path: &ContentPath, mode: u32) -> ObjectResult<()> {
        self.write()?;
        match self.holder(path)? {
            None => {
                self.check_place(path)?;
                self.make_above(path)?;
                self.made().insert(path.clone(), mode | 0o700);
                Ok(())
            }
            Some(ObjectKind::Folder) => Ok(()),
            Some(ObjectKind::File | ObjectKind::Link) => Err(in_the_way()),
        }
    }

    fn remove(&self, path: &ContentPath, kind: ObjectKind) -> ObjectResult<()> {
        self.write()?;
        let is_folder = kind == ObjectKind::Folder;
        match self.holder(path)? {
            None => return Err(ObjectError::Gone),
            Some(found) if (found == ObjectKind::Folder) != is_folder => return Err(in_the_way()),
            Some(_) => self.check_place(path)?,
        }
        if self.made().remove(path).is_some() {
            return Ok(());
        }
        if is_folder {
            let listing = self.list(path, &CancellationToken::new())?;
            let stays = |name| path.join(name).is_some_and(|inner| !self.is_gone(&inner));
            if listing.iter().any(|entry| stays(entry.name)) {
                return Err(not_empty());
            }
        } else {
            self.free(path);
        }
        self.lose(path);
        Ok(())
    }

    fn set_aside(&self, path: &ContentPath, _: &str) -> ObjectResult<ContentPath> {
        self.write()?;
        self.stat(path)?;
        self.check_place(path)?;
        self.lose(path);
        Ok(path.clone())
    }

    fn history(&self) -> &dyn ContentHistory {
        self
    }

    fn flush(&self) -> Result<()> {
        Ok(())
    }
}

/// What is kept can be read. Of what is rehearsed nothing is kept but the room that it would take.
impl ContentHistory for Rehearsal {
    fn revisions(&self) -> Result<Vec<KeptRevision>> {
        let mut kept = self.inner.history().revisions()?;
        let history = self.history();
        kept.retain(|kept| !history.dropped.contains(&kept.revision.number));
        if let Some(revision) =
            history.begun.filter(|_| kept.first().is_none_or(|newest| newest.next.is_some()))
        {
            kept.insert(0, KeptRevision { revision, next: None, until: None, kept_bytes: 0 });
        }
        Ok(kept)
    }

    fn describe(&self, number: u32) -> Result<Option<Revision>> {
        self.inner.history().describe(number)
    }

    fn expect_changes(&self) {}

    fn parts(&self, path: &ContentPath) -> ObjectResult<Option<KeptParts>> {
        self.inner.history().parts(path)
    }

    fn begin(&self, revision: &Revision) -> Result<u32> {
        self.write()?;
        self.history().begun = Some(*revision);
        Ok(0)
    }

    fn note(&self, _: &[Before]) -> Result<()> {
        Ok(())
    }

    fn sync(&self) -> Result<()> {
        Ok(())
    }

    /// It keeps its name until it is replaced, and that tells whether it can be.
    fn keep(&self, path: &ContentPath, _: u32) -> ObjectResult<()> {
        self.history().held.insert(path.clone());
        Ok(())
    }

    fn take(&self, path: &ContentPath, number: u32) -> ObjectResult<()> {
        self.keep(path, number)?;
        self.remove(path, ObjectKind::File)
    }

    fn end(&self, _: &Revision) -> Result<()> {
        Ok(())
    }

    fn read_notes(&self, number: u32, take: &mut dyn FnMut(Before) -> Result<()>) -> Result<()> {
        self.inner.history().read_notes(number, take)
    }

    fn kept(&self, revision: u32, number: u32) -> ObjectResult<Option<ContentPath>> {
        self.inner.history().kept(revision, number)
    }

    fn remove_revision(&self, number: u32) -> Result<()> {
        let found = self.revisions()?.into_iter().find(|kept| kept.revision.number == number);
        let mut history = self.history();
        let freed = match found {
            None => 0,
            Some(open) if open.next.is_none() => {
                history.begun = None;
                std::mem::take(&mut history.kept_bytes)
            }
            Some(kept) => i64::try_from(kept.kept_bytes).unwrap_or_default(),
        };
        history.dropped.insert(number);
        self.taken.fetch_sub(freed, Ordering::Relaxed);
        Ok(())
    }
}
