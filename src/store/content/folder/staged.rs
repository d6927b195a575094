//! A file that is being written under a temporary name.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use rustix::fs::{Advice, AtFlags, FallocateFlags, Gid, Mode, OFlags, Uid};
use rustix::io::Errno;
use uuid::Uuid;

use super::failure::errno;
use super::history::Changed;
use super::{
    Attributes, ContentPath, Extended, FolderStore, Instance, OWN_FOLDER, ObjectError, ObjectKind,
    ObjectResult, StagedObject, attributes, freeing, handles, listing, writing,
};
use crate::store::content::folder::durability::{self, Sealed, Verdict};
use crate::store::content::folder::handles::rename_new;

/// The folder within [`OWN_FOLDER`] for files that are being written.
pub(super) const STAGING_FOLDER: &[u8] = b"tmp";

/// The writing of a big file's pages to the disk is begun in pieces of this size, while the next piece is copied: the
/// last `fsync` is then short, a cancelled job answers soon, and the page cache is not filled with what nobody reads
/// again.
const WINDOW: u64 = 8 << 20;

pub(super) struct StagedFile<'a> {
    store: &'a FolderStore,
    folder: Arc<OwnedFd>,
    name: String,
    /// None once it is sealed: hundreds of staged files must not hold hundreds of handles.
    file: Option<File>,
    written: u64,
    earlier: Option<Earlier>,
    /// How many bytes before the end are as in the earlier version and have not been taken from it yet: many at once are
    /// taken faster.
    kept: u64,
    scratch: Vec<u8>,
    /// How many bytes were patched since the writing to the disk was begun.
    patched: u64,
    /// Up to where the writing to the disk was begun.
    begun: u64,
    sealed: Option<Sealed>,
    published: bool,
    /// Where it differs from the earlier version, while somebody may want to know.
    changed: Option<Changed>,
    /// The name of the file with what was there, beside this one.
    parts: Option<String>,
    /// How many bytes are counted as being written.
    expected: u64,
}

/// The version that is being replaced.
enum Earlier {
    /// What is kept of it has to be copied.
    Beside(File),
    /// The file system has begun the new version as a clone of it: what is kept is there already. It is compared with the
    /// clone, which nobody else can change. None where it was being written to.
    Cloned(Option<Instance>),
}

fn instance_of(file: &File) -> Option<Instance> {
    rustix::fs::fstat(file).ok().map(|stat| listing::meta(&stat, ObjectKind::File).instance())
}

impl FolderStore {
    /// A new file in the folder for files that are being written, which is made where it is missing.
    pub(super) fn create_staged(&self) -> Result<(Arc<OwnedFd>, String, File), Errno> {
        let created = self.handles.staging(|| self.staging_folder_made()).and_then(create_in);
        if !matches!(created, Err(Errno::NOENT)) {
            return created;
        }
        // Somebody has removed the folder.
        self.handles.forget_staging();
        self.handles.staging(|| self.staging_folder_made()).and_then(create_in)
    }

    pub(super) fn staging_folder_made(&self) -> Result<Arc<OwnedFd>, Errno> {
        match self.staging_folder() {
            Err(Errno::NOENT) => {
                self.make_staging_folder()?;
                self.staging_folder()
            }
            found => found,
        }
    }

    /// The folder for files that are being written.
    pub(super) fn staging_folder(&self) -> Result<Arc<OwnedFd>, Errno> {
        handles::below(&*handles::below(&*self.handles.root()?, OWN_FOLDER)?, STAGING_FOLDER)
    }

    fn make_staging_folder(&self) -> Result<(), Errno> {
        let root = self.handles.root()?;
        let made = |result| if matches!(result, Err(Errno::EXIST)) { Ok(()) } else { result };
        made(rustix::fs::mkdirat(&*root, OWN_FOLDER, Mode::from_raw_mode(0o700)))?;
        let own = handles::below(&root, OWN_FOLDER)?;
        attributes::disinherit(&*own)?;
        made(rustix::fs::mkdirat(&*own, STAGING_FOLDER, Mode::from_raw_mode(0o700)))?;
        self.hand_nothing_down()
    }

    /// What is written in the folder for files that are being written gets no access list from it.
    pub(super) fn hand_nothing_down(&self) -> Result<(), Errno> {
        attributes::disinherit(&*self.staging_folder()?)
    }
}

impl<'a> StagedFile<'a> {
    pub(super) fn create(store: &'a FolderStore) -> ObjectResult<Self> {
        let (folder, name, file) = store
            .create_staged()
            .map_err(|cause| ObjectError::Store(store.error("write to", &ContentPath::root(), cause)))?;
        let mut staged = StagedFile::sealed(store, folder, name);
        (staged.file, staged.sealed) = (Some(file), None);
        Ok(staged)
    }

    /// A new version of what is in an open file.
    pub(super) fn over(store: &'a FolderStore, earlier: File) -> ObjectResult<Self> {
        let mut staged = StagedFile::create(store)?;
        let instance = || instance_of(&earlier);
        let before = instance();
        let is_cloned = staged.file.as_ref().is_some_and(|file| begin_as_clone(file, &earlier));
        let cloned = before.filter(|_| instance() == before);
        staged.changed = (!is_cloned && store.is_keeping_history()).then(Changed::default);
        staged.earlier = Some(if is_cloned { Earlier::Cloned(cloned) } else { Earlier::Beside(earlier) });
        Ok(staged)
    }

    /// A link that nobody sees yet.
    pub(super) fn link(store: &'a FolderStore, target: &[u8], given: Attributes) -> Result<Self, Errno> {
        let folder = store.staging_folder_made()?;
        let name = Uuid::new_v4().to_string();
        rustix::fs::symlinkat(target, &*folder, name.as_bytes())?;
        if let Some(owner) = given.owner {
            let (user, group) = (Uid::from_raw(owner.user), Gid::from_raw(owner.group));
            let only_it = AtFlags::SYMLINK_NOFOLLOW;
            match rustix::fs::chownat(&*folder, name.as_bytes(), Some(user), Some(group), only_it) {
                // Only root may give links away.
                Ok(()) | Err(Errno::PERM) => {}
                Err(cause) => return Err(cause),
            }
        }
        let times = attributes::times(given.mtime_ns);
        rustix::fs::utimensat(&*folder, name.as_bytes(), &times, AtFlags::SYMLINK_NOFOLLOW)?;
        // A link cannot be synced by itself: it becomes durable with the folder that it is in.
        Ok(StagedFile::sealed(store, folder, name))
    }

    /// Another name, which nobody sees yet, of a file that is durable.
    pub(super) fn same(store: &'a FolderStore, of: &OwnedFd, name_there: &[u8]) -> Result<Self, Errno> {
        let folder = store.staging_folder_made()?;
        let name = Uuid::new_v4().to_string();
        rustix::fs::linkat(of, name_there, &*folder, name.as_bytes(), AtFlags::empty())?;
        Ok(StagedFile::sealed(store, folder, name))
    }

    fn sealed(store: &'a FolderStore, folder: Arc<OwnedFd>, name: String) -> Self {
        let sealed = Some(Sealed::Durable);
        StagedFile {
            store,
            folder,
            name,
            file: None,
            written: 0,
            earlier: None,
            kept: 0,
            scratch: Vec::new(),
            patched: 0,
            begun: 0,
            sealed,
            published: false,
            changed: None,
            parts: None,
            expected: 0,
        }
    }

    /// Takes over what is in an open file.
    pub(super) fn take_all(&mut self, from: &mut File) -> Result<(), Errno> {
        let Some(file) = &mut self.file else { return Err(Errno::BADF) };
        let copied = std::io::copy(from, file);
        copied.map(|_| ()).map_err(errno)
    }

    fn failed(&self, cause: Errno) -> ObjectError {
        writing(self.store, &ContentPath::root(), cause)
    }

    /// Takes what is to be kept from the earlier version, within the file system where it can do that.
    fn take_kept(&mut self) -> Result<(), Errno> {
        let (Some(file), Some(Earlier::Beside(earlier))) = (&self.file, &self.earlier) else { return Ok(()) };
        let end = self.written;
        while self.kept > 0 {
            let at = end.saturating_sub(self.kept);
            let (mut from, mut to) = (at, at);
            let length = usize::try_from(self.kept.min(WINDOW)).unwrap_or(usize::MAX);
            let copied = rustix::fs::copy_file_range(earlier, Some(&mut from), file, Some(&mut to), length);
            let taken = match copied {
                Ok(taken) => taken,
                Err(Errno::XDEV | Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => {
                    self.scratch.resize(length.min(1 << 20), 0);
                    let taken = earlier.read_at(&mut self.scratch, at).map_err(errno)?;
                    file.write_all_at(self.scratch.get(..taken).unwrap_or_default(), at).map_err(errno)?;
                    taken
                }
                Err(cause) => return Err(cause),
            };
            if taken == 0 {
                // It became shorter since it was compared.
                return Err(Errno::IO);
            }
            self.kept = self.kept.saturating_sub(taken as u64);
            // Begins to write what is dirty, which stays in the page cache: the next version is compared with it.
            let start = self.begun;
            self.begun = end.saturating_sub(self.kept);
            let length = std::num::NonZeroU64::new(self.begun.saturating_sub(start));
            let _ = rustix::fs::fadvise(file, start, length, Advice::DontNeed);
            // What was taken is not read again: to forget it bit by bit keeps the rename short.
            let _ = rustix::fs::fadvise(earlier, start, length, Advice::DontNeed);
        }
        Ok(())
    }

    fn write_at(&self, bytes: &[u8], at: u64) -> ObjectResult<()> {
        let Some(file) = &self.file else { return Err(self.failed(Errno::BADF)) };
        let result = file.write_all_at(bytes, at);
        result.map_err(|cause| self.failed(errno(cause)))
    }

    /// Appends what the earlier version has in the same place.
    fn keep_next(&mut self, count: u64) -> ObjectResult<bool> {
        self.written = self.written.saturating_add(count);
        if self.is_cloned() {
            self.begin_full_window();
            return Ok(true);
        }
        self.kept = self.kept.saturating_add(count);
        if self.kept >= WINDOW {
            // While the next pieces are read.
            self.take_kept().map_err(|cause| self.failed(cause))?;
        }
        Ok(true)
    }

    fn note_changed(&mut self, length: u64) {
        if let Some(changed) = &mut self.changed {
            changed.add(self.written, length);
        }
    }

    /// Writes what it changes of the earlier version to a file of its own, where that is worth it and can be done: else the
    /// earlier version is kept whole.
    fn keep_parts(&mut self) {
        let (Some(changed), Some(Earlier::Beside(earlier))) = (self.changed.take(), &self.earlier) else {
            return;
        };
        let name = Uuid::new_v4().to_string();
        let create = || {
            let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            rustix::fs::openat(&*self.folder, name.as_bytes(), flags, Mode::from_raw_mode(0o600))
                .map(File::from)
        };
        match changed.write(earlier, self.written, create) {
            Ok(true) => self.parts = Some(name),
            Ok(false) => {}
            Err(_) => drop(rustix::fs::unlinkat(&*self.folder, name.as_bytes(), AtFlags::empty())),
        }
    }

    fn is_cloned(&self) -> bool {
        matches!(self.earlier, Some(Earlier::Cloned(_)))
    }

    /// Begins to write what is complete to the disk without waiting for it, and lets go of the pages that are there.
    fn begin_full_window(&mut self) {
        let Some(file) = &self.file else { return };
        if self.written.saturating_sub(self.begun) < WINDOW {
            return;
        }
        let start = self.begun.saturating_sub(WINDOW);
        let length = std::num::NonZeroU64::new(self.written.saturating_sub(start));
        // Only advice: what is not written by then is written by the last sync.
        let _ = rustix::fs::fadvise(file, start, length, Advice::DontNeed);
        self.begun = self.written;
    }

    /// For a file that was not hardened together with others.
    fn make_durable(&self) -> Result<(), Errno> {
        match self.sealed.map(|sealed| self.store.durability.verdict(sealed)) {
            Some(Verdict::Durable) => Ok(()),
            Some(Verdict::Ruined) => Err(Errno::IO),
            Some(Verdict::Pending) => {
                let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let file = rustix::fs::openat(&*self.folder, self.name.as_bytes(), flags, Mode::empty())?;
                rustix::fs::fsync(&file)
            }
            None => Err(Errno::BADF),
        }
    }

    fn rename(&self, folder: &OwnedFd, name: &[u8], replace: bool) -> Result<bool, Errno> {
        let from = self.name.as_bytes();
        if replace {
            return rustix::fs::renameat(&*self.folder, from, folder, name).map(|()| true);
        }
        match rename_new(&self.folder, from, folder, name) {
            Ok(()) => Ok(true),
            Err(Errno::EXIST) => Ok(false),
            Err(cause) => Err(cause),
        }
    }
}

fn create_in(folder: Arc<OwnedFd>) -> Result<(Arc<OwnedFd>, String, File), Errno> {
    let name = Uuid::new_v4().to_string();
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = rustix::fs::openat(&*folder, name.as_bytes(), flags, Mode::from_raw_mode(0o600))?;
    Ok((folder, name, File::from(file)))
}

/// Makes an empty file a clone of another one, if the file system can do that.
fn begin_as_clone(file: &File, of: &File) -> bool {
    // Whatever keeps it from cloning, copying tells whether it matters.
    let cloned = rustix::fs::ioctl_ficlone(file, of).is_ok();
    if cloned {
        let _ = rustix::fs::fadvise(file, 0, None, Advice::Sequential);
    }
    cloned
}

/// Whether a file has these bytes at this place, as far as it can be read.
fn has(file: &File, bytes: &[u8], at: u64, scratch: &mut Vec<u8>) -> bool {
    scratch.resize(bytes.len(), 0);
    file.read_exact_at(scratch, at).is_ok() && scratch == bytes
}

/// Makes a hole in a clone. Where that cannot be done the rest of the clone is given up: what follows is then written.
fn clear(clone: &File, start: u64, count: u64) -> Result<(), Errno> {
    let punch = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    rustix::fs::fallocate(clone, punch, start, count).or_else(|_| rustix::fs::ftruncate(clone, start))
}

impl StagedObject for StagedFile<'_> {
    fn expect(&mut self, bytes: u64) -> ObjectResult<()> {
        if self.is_cloned() {
            return Ok(());
        }
        self.store.reserve.take(bytes, &*self.folder).map_err(|cause| self.failed(cause))?;
        self.expected = self.expected.saturating_add(bytes);
        Ok(())
    }

    fn keep(&mut self, bytes: &[u8]) -> ObjectResult<bool> {
        let held = match &self.earlier {
            Some(Earlier::Beside(earlier)) => Some(earlier),
            Some(Earlier::Cloned(_)) => self.file.as_ref(),
            None => None,
        };
        let Some(held) = held else { return Ok(false) };
        // What cannot be read is not kept.
        if !has(held, bytes, self.written, &mut self.scratch) {
            return Ok(false);
        }
        self.keep_next(bytes.len() as u64)
    }

    fn keep_known(&mut self, instance: &Instance, count: u64) -> ObjectResult<bool> {
        let is_this = match &self.earlier {
            Some(Earlier::Beside(earlier)) => instance_of(earlier).as_ref() == Some(instance),
            Some(Earlier::Cloned(cloned)) => cloned.as_ref() == Some(instance),
            None => false,
        };
        if is_this { self.keep_next(count) } else { Ok(false) }
    }

    fn write(&mut self, bytes: &[u8]) -> ObjectResult<()> {
        self.take_kept().map_err(|cause| self.failed(cause))?;
        self.write_at(bytes, self.written)?;
        self.note_changed(bytes.len() as u64);
        self.written = self.written.saturating_add(bytes.len() as u64);
        self.begin_full_window();
        Ok(())
    }

    fn skip(&mut self, count: u64) -> ObjectResult<()> {
        self.take_kept().map_err(|cause| self.failed(cause))?;
        let Some(file) = &self.file else { return Err(self.failed(Errno::BADF)) };
        let (start, end) = (self.written, self.written.saturating_add(count));
        let result =
            if self.is_cloned() { clear(file, start, count) } else { rustix::fs::ftruncate(file, end) };
        result.map_err(|cause| self.failed(cause))?;
        self.note_changed(count);
        self.written = end;
        Ok(())
    }

    fn take_over(&mut self, instance: &Instance, size: u64) -> bool {
        let is_this = matches!(&self.earlier, Some(Earlier::Cloned(Some(cloned))) if cloned == instance);
        if is_this {
            self.written = size;
        }
        is_this
    }

    fn patch(&mut self, bytes: &[u8], at: u64) -> ObjectResult<bool> {
        let Some(file) = &self.file else { return Err(self.failed(Errno::BADF)) };
        if has(file, bytes, at, &mut self.scratch) {
            return Ok(false);
        }
        self.write_at(bytes, at)?;
        self.patched = self.patched.saturating_add(bytes.len() as u64);
        if self.patched >= WINDOW {
            // Wherever it is: nothing else of the clone is in the page cache.
            let _ = rustix::fs::fadvise(file, 0, None, Advice::DontNeed);
            (self.patched, self.begun) = (0, self.written);
        }
        Ok(true)
    }

    fn set_extended(&mut self, extended: &Extended) -> ObjectResult<bool> {
        let Some(file) = &self.file else { return Err(self.failed(Errno::BADF)) };
        attributes::set_extended(file, extended).map_err(|cause| self.failed(cause))
    }

    fn seal(&mut self, attributes: Attributes) -> ObjectResult<()> {
        self.take_kept().map_err(|cause| self.failed(cause))?;
        let Some(file) = self.file.take() else { return Err(self.failed(Errno::BADF)) };
        self.store.reserve.give_back(std::mem::take(&mut self.expected));
        if self.is_cloned() {
            // The earlier version may be longer, or end with a hole that is longer now.
            rustix::fs::ftruncate(&file, self.written).map_err(|cause| self.failed(cause))?;
        }
        self.keep_parts();
        self.earlier = None;
        attributes::set(&file, attributes).map_err(|cause| self.failed(cause))?;
        // One that its owner may not read could not be opened to be synced later.
        let is_readable = attributes.mode & 0o400 != 0;
        self.sealed = if self.begun == 0 && is_readable && durability::is_synced_as_a_whole(&file) {
            // Begins to write it, so that the sync of all finds little left to do.
            let _ = rustix::fs::fadvise(&file, 0, None, Advice::DontNeed);
            Some(self.store.durability.sealed())
        } else {
            rustix::fs::fsync(&file).map_err(|cause| self.failed(cause))?;
            Some(Sealed::Durable)
        };
        Ok(())
    }

    fn has_parts(&self) -> bool {
        self.parts.is_some()
    }

    fn keep_parts_as(&mut self, number: u32) -> ObjectResult<()> {
        let Some(parts) = &self.parts else { return Ok(()) };
        self.store
            .keep_beside(&self.folder, parts.as_bytes(), number)
            .map_err(|cause| writing(self.store, &ContentPath::root(), cause))?;
        self.parts = None;
        Ok(())
    }

    fn publish(mut self: Box<Self>, path: &ContentPath, replace: bool) -> ObjectResult<bool> {
        let failed = |cause| writing(self.store, path, cause);
        self.make_durable().map_err(failed)?;
        let (folder, folder_path, name) = self.store.place_made(path).map_err(failed)?;
        let replaced = if replace { freeing::hold(&folder, name) } else { None };
        let result = match self.rename(&folder, name, replace) {
            // The folder was removed while its handle was kept.
            Err(Errno::NOENT) => {
                self.store.handles.forget();
                let (folder, _, name) = self.store.place_made(path).map_err(failed)?;
                self.rename(&folder, name, replace)
            }
            result => result,
        };
        let published = result.map_err(failed)?;
        self.published = published;
        if let Some(replaced) = replaced {
            self.store.freeing.take(replaced);
        }
        if published {
            self.store.touch(folder_path);
        }
        Ok(published)
    }
}

impl Drop for StagedFile<'_> {
    fn drop(&mut self) {
        self.store.reserve.give_back(self.expected);
        if !self.published {
            // What cannot be removed now is swept by the next cycle.
            let _ = rustix::fs::unlinkat(&*self.folder, self.name.as_bytes(), AtFlags::empty());
        }
        if let Some(parts) = &self.parts {
            let _ = rustix::fs::unlinkat(&*self.folder, parts.as_bytes(), AtFlags::empty());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::os::unix::fs::MetadataExt;

    use rustix::fs::MemfdFlags;

    use super::super::isolation::{in_own_mounts, mount};
    use super::*;
    use crate::store::content::{COARSEST_TICK_NS, ContentStore};

    #[test]
    fn a_file_is_staged_though_somebody_removed_the_folder_for_it() {
        let folder = tempfile::tempdir().unwrap();
        let store = FolderStore::new(folder.path().join("store"), Vec::new());
        store.create().unwrap();
        for name in [b"first", b"other"] {
            let mut staged = Box::new(StagedFile::create(&store).unwrap());
            staged.write(b"content").unwrap();
            staged.seal(Attributes { mtime_ns: 1, mode: 0o600, owner: None }).unwrap();
            assert!(staged.publish(&ContentPath::root().join(name).unwrap(), true).unwrap());
            std::fs::remove_dir_all(folder.path().join("store/.csb")).unwrap();
        }
    }

    #[test]
    fn a_file_waits_for_the_sync_of_all_only_where_that_makes_it_durable() {
        in_own_mounts(|| {
            for (kind, sealed) in [("tmpfs", Sealed::InRound(0)), ("ramfs", Sealed::Durable)] {
                let folder = tempfile::tempdir().unwrap();
                mount(&["-t", kind, kind], folder.path());
                let store = FolderStore::new(folder.path().join("store"), Vec::new());
                store.create().unwrap();
                let mut staged = StagedFile::create(&store).unwrap();
                staged.seal(Attributes { mtime_ns: 1, mode: 0o600, owner: None }).unwrap();
                assert_eq!(staged.sealed, Some(sealed), "{kind}");
                let is_local = sealed != Sealed::Durable;
                assert_eq!(store.tick_ns() < COARSEST_TICK_NS, is_local, "the clock of {kind} is known");
            }
        });
    }

    /// A new version that begins as a clone of this content.
    fn cloned<'s>(store: &'s FolderStore, content: &[u8]) -> Box<StagedFile<'s>> {
        let mut staged = StagedFile::create(store).unwrap();
        staged.file.as_ref().unwrap().write_all_at(content, 0).unwrap();
        staged.earlier = Some(Earlier::Cloned(None));
        Box::new(staged)
    }

    #[test]
    fn where_no_hole_can_be_made_the_rest_of_a_clone_is_given_up() {
        in_own_mounts(|| {
            // The one makes holes, the other does not.
            for (kind, is_kept) in [("tmpfs", true), ("ramfs", false)] {
                let folder = tempfile::tempdir().unwrap();
                mount(&["-t", kind, kind], folder.path());
                let store = FolderStore::new(folder.path().join("store"), Vec::new());
                store.create().unwrap();
                let block = |number: u8| vec![number; 64 << 10];
                let mut staged = cloned(&store, &[block(1), block(2), block(3), block(4)].concat());
                assert!(staged.keep(&block(1)).unwrap());
                staged.skip(64 << 10).unwrap();
                assert_eq!(staged.keep(&block(3)).unwrap(), is_kept, "{kind}");
                if !is_kept {
                    staged.write(&block(3)).unwrap();
                }
                staged.skip(32 << 10).unwrap();
                staged.seal(Attributes { mtime_ns: 1, mode: 0o600, owner: None }).unwrap();
                assert!(staged.publish(&ContentPath::root().join(b"f").unwrap(), true).unwrap());
                let path = folder.path().join("store/f");
                // Before it is read, for which ramfs fills holes.
                let taken = std::fs::metadata(&path).unwrap().blocks() * 512;
                assert!(taken <= 2 * (64 << 10), "{kind}: holes are not kept, {taken} bytes are taken");
                let expected = [block(1), block(0), block(3), vec![0; 32 << 10]].concat();
                assert!(std::fs::read(&path).unwrap() == expected, "{kind}");
            }
        });
    }

    #[test]
    fn a_clone_is_taken_over_where_it_is_one_of_the_right_instance() {
        let folder = tempfile::tempdir().unwrap();
        let store = FolderStore::new(folder.path().join("store"), Vec::new());
        store.create().unwrap();
        let block = |number: u8| vec![number; 64 << 10];
        let right = Instance { mtime_ns: 1, ctime_ns: 2, inode: 3, device: 4 };
        let publish = |mut staged: Box<StagedFile<'_>>| {
            staged.seal(Attributes { mtime_ns: 1, mode: 0o600, owner: None }).unwrap();
            assert!(staged.publish(&ContentPath::root().join(b"f").unwrap(), true).unwrap());
            std::fs::read(folder.path().join("store/f")).unwrap()
        };
        let mut fresh = StagedFile::create(&store).unwrap();
        assert!(!fresh.take_over(&right, 1));
        for size in [64 << 10, (128 << 10) + 1, 256 << 10] {
            let mut staged = cloned(&store, &[block(1), block(2), block(3)].concat());
            assert!(!staged.take_over(&right, size), "it was being written to");
            staged.earlier = Some(Earlier::Cloned(Some(right)));
            let wrong = [
                Instance { mtime_ns: 0, ..right },
                Instance { ctime_ns: 0, ..right },
                Instance { inode: 0, ..right },
                Instance { device: 0, ..right },
            ];
            assert!(!wrong.iter().any(|wrong| staged.take_over(wrong, size)));
            assert!(staged.take_over(&right, size));
            assert!(!staged.patch(&block(1), 0).unwrap(), "it is the same");
            assert!(staged.patch(&[7, 8], 1).unwrap());
            let mut expected = [block(1), block(2), block(3)].concat();
            expected[1..3].copy_from_slice(&[7, 8]);
            expected.resize(usize::try_from(size).unwrap(), 0);
            assert!(publish(staged) == expected, "{size}");
        }
    }

    #[test]
    fn a_clone_of_which_much_is_new_is_written_while_it_is_patched() {
        let folder = tempfile::tempdir().unwrap();
        let store = FolderStore::new(folder.path().join("store"), Vec::new());
        store.create().unwrap();
        let right = Instance { mtime_ns: 1, ctime_ns: 2, inode: 3, device: 4 };
        let mut staged = cloned(&store, &[]);
        staged.earlier = Some(Earlier::Cloned(Some(right)));
        assert!(staged.take_over(&right, 2 * WINDOW));
        let half = vec![1; usize::try_from(WINDOW / 2).unwrap()];
        assert!(staged.patch(&half, 0).unwrap());
        assert_eq!(staged.begun, 0);
        assert!(staged.patch(&half, WINDOW / 2).unwrap());
        assert!(staged.begun > 0);
        staged.seal(Attributes { mtime_ns: 1, mode: 0o600, owner: None }).unwrap();
        assert_eq!(staged.sealed, Some(Sealed::Durable));
    }

    #[test]
    fn what_is_kept_is_read_and_written_where_the_kernel_does_not_copy_it() {
        let folder = tempfile::tempdir().unwrap();
        let store = FolderStore::new(folder.path().join("store"), Vec::new());
        store.create().unwrap();
        let content: Vec<u8> =
            (0..5 << 18).flat_map(|number: u32| number.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
        // On a file system of its own.
        let earlier = File::from(rustix::fs::memfd_create("earlier", MemfdFlags::CLOEXEC).unwrap());
        earlier.write_all_at(&content, 0).unwrap();
        let mut staged = Box::new(StagedFile::over(&store, earlier).unwrap());
        for block in content.chunks(1 << 20) {
            assert!(staged.keep(block).unwrap());
        }
        staged.seal(Attributes { mtime_ns: 1, mode: 0o600, owner: None }).unwrap();
        let path = ContentPath::root().join(b"f").unwrap();
        assert!(staged.publish(&path, true).unwrap());
        let mut copied = Vec::new();
        File::open(folder.path().join("store/f")).unwrap().read_to_end(&mut copied).unwrap();
        assert!(copied == content);
    }
}
