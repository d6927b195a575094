//! A folder as a content store.
//!
//! Every access goes from the root's handle downwards, one name at a time, follows no link and enters no other mount:
//! whatever somebody puts into the tree while it is walked, nothing outside is read or written. `.csb` at the root
//! holds the marker, the files that are being written, earlier states and what was set aside; it is no content.

use std::collections::BTreeSet;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::fs::{Access, AtFlags, Gid, Mode, Uid};
use rustix::io::Errno;
use tokio_util::sync::CancellationToken;

use super::abilities::Abilities;
use super::{
    Attributes, COARSEST_TICK_NS, ContentPath, ContentReader, ContentStore, ContentTrace, Extended, Instance,
    Listing, Marker, ObjectError, ObjectKind, ObjectMeta, ObjectResult, Ownership, Presence, Refusal, Room,
    StagedObject, Version,
};
use crate::error::{Error, Result};
use crate::platform::{create_folder, sync_folder};
use crate::store::content::history::ContentHistory;

mod aside;
mod attributes;
mod durability;
mod failure;
mod freeing;
mod handles;
mod history;
mod link;
mod listing;
mod protected;
mod reader;
mod room;
mod staged;
mod traces;

#[cfg(test)]
#[path = "../../../tests/support/isolation.rs"]
pub(crate) mod isolation;

use durability::Durability;
use failure::{reading, writing};
use freeing::Freeing;
use handles::FolderHandles;
use history::FolderHistory;
pub use history::RestoredFolder;
pub(super) use link::refusal_of as refusal_of_link;
use protected::ProtectedDatabases;
use room::Reserve;

/// The folder at the root that holds what is not content.
const OWN_FOLDER: &[u8] = b".csb";

/// The times of local file systems come from the kernel's clock of at least 100 ticks a second; far more, to be safe.
const LOCAL_TICK_NS: i64 = 100_000_000;

/// Where names changed in more folders, the file system is synced as a whole.
const FOLDERS_SYNCED_ONE_BY_ONE: usize = 4;

/// A folder as a content store.
pub struct FolderStore {
    root: PathBuf,
    database_files: Vec<PathBuf>,
    protected: Mutex<Arc<ProtectedDatabases>>,
    handles: FolderHandles,
    /// Folders in which names changed since the last flush.
    touched: Mutex<BTreeSet<ContentPath>>,
    durability: Durability,
    freeing: Freeing,
    history: FolderHistory,
    reserve: Reserve,
    /// Whether attributes were changed since the last flush that only a sync of the file system makes durable.
    attributes_changed: AtomicBool,
    /// What the file system can hold, once it is known.
    abilities: Mutex<Option<traces::Known>>,
}

impl FolderStore {
    /// The store at this folder, which need not exist yet. The database files, and the files that SQLite keeps beside
    /// them, are never opened: closing one would drop the locks that this process holds on it.
    pub fn new(root: PathBuf, database_files: Vec<PathBuf>) -> Self {
        FolderStore {
            handles: FolderHandles::new(root.clone()),
            root,
            database_files,
            protected: Mutex::default(),
            touched: Mutex::default(),
            durability: Durability::default(),
            freeing: Freeing::default(),
            history: FolderHistory::default(),
            reserve: Reserve::default(),
            attributes_changed: AtomicBool::new(false),
            abilities: Mutex::default(),
        }
    }

    /// For errors and handles that need the whole path.
    fn absolute(&self, path: &ContentPath) -> PathBuf {
        use std::os::unix::ffi::OsStrExt;
        self.root.join(std::ffi::OsStr::from_bytes(path.as_bytes()))
    }

    fn protected(&self) -> Arc<ProtectedDatabases> {
        self.protected.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn touch(&self, folder: ContentPath) {
        self.touched.lock().unwrap_or_else(PoisonError::into_inner).insert(folder);
    }

    fn error(&self, doing: &str, path: &ContentPath, cause: Errno) -> Error {
        Error::io(doing, &self.absolute(path), &cause.into())
    }

    /// Whether names may change in the root.
    fn may_write_root(&self) -> Result<(), Errno> {
        may_change_names(&*self.handles.root()?)
    }

    /// Syncs the file system, if that makes everything on it durable; says whether it does.
    fn sync_as_a_whole(&self) -> Result<bool, Errno> {
        let root = self.handles.root()?;
        let whole = durability::is_synced_as_a_whole(&*root);
        if whole {
            rustix::fs::syncfs(&*root)?;
        }
        Ok(whole)
    }

    /// Makes a change of attributes durable with the next flush, or at once.
    fn durable_with_flush(&self, file: &OwnedFd) -> Result<(), Errno> {
        if durability::is_synced_as_a_whole(file) {
            self.attributes_changed.store(true, Ordering::SeqCst);
            return Ok(());
        }
        rustix::fs::fsync(file)
    }

    /// Gives a name that shares its file with another one a file of its own, with these attributes.
    fn separate(&self, path: &ContentPath, mut shared: File, attributes: Attributes) -> ObjectResult<()> {
        let failed = |cause| writing(self, path, cause);
        let extended = attributes::extended(&shared).map_err(failed)?;
        let mut staged = Box::new(staged::StagedFile::create(self)?);
        staged.take_all(&mut shared).map_err(failed)?;
        staged.set_extended(&extended)?;
        staged.seal(attributes)?;
        staged.publish(path, true).map(|_| ())
    }

    /// Makes every name durable that changed since the last flush.
    fn flush_names(&self) -> Result<()> {
        let touched = std::mem::take(&mut *self.touched.lock().unwrap_or_else(PoisonError::into_inner));
        let attributes_changed = self.attributes_changed.swap(false, Ordering::SeqCst);
        if attributes_changed || touched.len() > FOLDERS_SYNCED_ONE_BY_ONE {
            match self.sync_as_a_whole() {
                Ok(true) => return Ok(()),
                Ok(false) => {}
                Err(cause) => return Err(self.error("make durable", &ContentPath::root(), cause)),
            }
        }
        for folder in touched {
            match self.handles.folder(&folder).and_then(|handle| rustix::fs::fsync(&*handle)) {
                // Gone again, with everything in it.
                Ok(()) | Err(Errno::NOENT | Errno::NOTDIR) => {}
                // Moved away by somebody else: wherever it is now, it is durable with all the rest.
                Err(Errno::LOOP | Errno::XDEV) if self.sync_as_a_whole().is_ok() => {}
                Err(cause) => return Err(self.error("make durable", &folder, cause)),
            }
        }
        Ok(())
    }

    /// The handle of the folder that an object is in, and the object's name there.
    fn place<'p>(&self, path: &'p ContentPath) -> Result<(Arc<OwnedFd>, ContentPath, &'p [u8]), Errno> {
        let (folder, name) = path.split().ok_or(Errno::ISDIR)?;
        Ok((self.handles.folder(&folder)?, folder, name))
    }

    /// The same, after making the folders that are missing.
    fn place_made<'p>(&self, path: &'p ContentPath) -> Result<(Arc<OwnedFd>, ContentPath, &'p [u8]), Errno> {
        match self.place(path) {
            Err(Errno::NOENT) => {}
            found => return found,
        }
        self.handles.forget();
        let mut folder = ContentPath::root();
        let (parent, _) = path.split().ok_or(Errno::ISDIR)?;
        for name in parent.names() {
            let handle = self.handles.folder(&folder)?;
            let is_new = match rustix::fs::mkdirat(&*handle, name, Mode::from_raw_mode(0o700)) {
                Ok(()) => true,
                Err(Errno::EXIST) => false,
                Err(cause) => return Err(cause),
            };
            let above = folder.clone();
            folder = folder.join(name).ok_or(Errno::INVAL)?;
            if is_new {
                self.touch(above);
                attributes::disinherit(&*self.handles.folder(&folder)?)?;
            }
        }
        self.place(path)
    }
}

impl ContentStore for FolderStore {
    fn url(&self) -> String {
        format!("file:{}", self.root.display())
    }

    fn reopen(&self) -> Box<dyn ContentStore> {
        Box::new(FolderStore::new(self.root.clone(), self.database_files.clone()))
    }

    fn identify(&self) -> Result<Presence> {
        self.handles.close();
        *self.abilities.lock().unwrap_or_else(PoisonError::into_inner) = None;
        crate::bound::touching(&self.root)?;
        *self.protected.lock().unwrap_or_else(PoisonError::into_inner) =
            Arc::new(ProtectedDatabases::find(&self.database_files));
        let root = match self.handles.root() {
            Ok(root) => root,
            Err(Errno::NOENT) => return Ok(Presence::Missing),
            Err(cause) => return Err(self.error("open the content store", &ContentPath::root(), cause)),
        };
        match self.read_marker()? {
            Some(marker) => Ok(Presence::Marked(marker)),
            None => {
                let empty = listing::is_empty(&root)
                    .map_err(|cause| self.error("list", &ContentPath::root(), cause))?;
                Ok(Presence::Unmarked { empty })
            }
        }
    }

    fn check_writable(&self) -> Result<()> {
        let there = self.root.ancestors().find(|folder| folder.exists()).unwrap_or(&self.root);
        let staging = self.root.join(".csb/tmp");
        // Files are written to this folder first; until it is there it is made.
        [there, staging.as_path()].into_iter().filter(|folder| folder.exists()).try_for_each(|folder| {
            rustix::fs::access(folder, Access::WRITE_OK | Access::EXEC_OK)
                .map_err(|cause| Error::io("write to", folder, &cause.into()))
        })
    }

    fn check_place(&self, path: &ContentPath) -> ObjectResult<()> {
        let above = |path: &ContentPath| path.split().map(|(folder, _)| folder);
        let mut next = above(path);
        while let Some(folder) = next {
            let cause = match self.handles.folder(&folder) {
                Ok(handle) => match may_change_names(&handle) {
                    // Its owner can let himself.
                    Err(Errno::ACCESS) if is_own(&handle) => return Ok(()),
                    asked => asked.err(),
                },
                Err(Errno::NOENT | Errno::NOTDIR) => {
                    next = above(&folder);
                    continue;
                }
                Err(cause) => Some(cause),
            };
            return match cause {
                Some(cause @ (Errno::ACCESS | Errno::PERM | Errno::ROFS)) => Err(writing(self, path, cause)),
                // Whatever else is the matter shows when it is written.
                _ => Ok(()),
            };
        }
        Ok(())
    }

    fn create(&self) -> Result<()> {
        create_folder(&self.root).map_err(|cause| Error::io("create", &self.root, &cause))?;
        self.handles.close();
        // The new folder's own name has to survive a power cut as well.
        let parent = self.root.parent().unwrap_or(Path::new("/"));
        sync_folder(parent).map_err(|cause| Error::io("make durable", parent, &cause))
    }

    fn mark(&self, marker: &Marker) -> Result<()> {
        self.write_marker(marker)
    }

    fn unmark(&self, dry_run: bool) -> Result<Vec<ContentTrace>> {
        self.remove_traces(dry_run)
    }

    fn foreign(&self) -> Result<Vec<ContentPath>> {
        self.foreign_names()
    }

    fn abilities(&self) -> Result<Arc<Abilities>> {
        self.find_abilities()
    }

    fn foreseen_abilities(&self) -> Arc<Abilities> {
        self.foresee_abilities()
    }

    fn respell(&self, from: &ContentPath, to: &ContentPath) -> ObjectResult<()> {
        self.change_spelling(from, to)
    }

    fn sweep(&self) -> Result<u64> {
        self.remove_staged()
    }

    fn now_ns(&self) -> Option<i64> {
        let (folder, name, _file) = self.create_staged().ok()?;
        let stat = rustix::fs::statat(&*folder, name.as_bytes(), AtFlags::SYMLINK_NOFOLLOW);
        let _ = rustix::fs::unlinkat(&*folder, name.as_bytes(), AtFlags::empty());
        Some(listing::meta(&stat.ok()?, ObjectKind::File).ctime_ns)
    }

    fn tick_ns(&self) -> i64 {
        let is_local = self.handles.root().is_ok_and(|root| durability::is_synced_as_a_whole(&*root));
        if is_local { LOCAL_TICK_NS } else { COARSEST_TICK_NS }
    }

    fn keeps_owners(&self) -> bool {
        let Ok((folder, name, file)) = self.create_staged() else { return false };
        // To somebody who is neither root nor, most likely, this account.
        let (user, group) = (Uid::from_raw(65_533), Gid::from_raw(65_533));
        let given = rustix::fs::fchown(&file, Some(user), Some(group));
        // Some file systems only say that they have done it.
        let is_kept = rustix::fs::fstat(&file).is_ok_and(|stat| stat.st_uid == user.as_raw());
        let _ = rustix::fs::unlinkat(&*folder, name.as_bytes(), AtFlags::empty());
        given.is_ok() && is_kept
    }

    fn room(&self) -> Option<Room> {
        if let Ok(root) = self.handles.root() {
            return room::room(&*root);
        }
        // Where it is going to be made.
        let there = self.root.ancestors().find(|folder| folder.exists())?;
        room::room(File::open(there).ok()?)
    }

    fn keep_free(&self, bytes: u64) {
        self.reserve.keep_free(bytes);
    }

    fn taken_by(&self, path: &ContentPath) -> ObjectResult<u64> {
        self.taken_by_file(path).map_err(|cause| reading(self, path, cause))
    }

    fn list(&self, folder: &ContentPath, cancel: &CancellationToken) -> ObjectResult<Listing> {
        let handle = self.handles.folder(folder).map_err(|cause| reading(self, folder, cause))?;
        listing::list(&handle, folder, &self.protected(), cancel)?
            .map_err(|cause| reading(self, folder, cause))
    }

    fn stat(&self, path: &ContentPath) -> ObjectResult<ObjectMeta> {
        let failed = |cause| reading(self, path, cause);
        if path.is_root() {
            let root = self.handles.root().map_err(failed)?;
            return listing::known(&rustix::fs::fstat(&*root).map_err(failed)?).map_err(ObjectError::Refused);
        }
        let (folder, _, name) = self.place(path).map_err(failed)?;
        let stat = rustix::fs::statat(&*folder, name, AtFlags::SYMLINK_NOFOLLOW).map_err(failed)?;
        listing::known(&stat).map_err(ObjectError::Refused)
    }

    fn read(&self, path: &ContentPath) -> ObjectResult<Box<dyn ContentReader + '_>> {
        let failed = |cause| reading(self, path, cause);
        let (folder, _, name) = self.place(path).map_err(failed)?;
        // Looked at before it is opened: opening a pipe may block, and a database must not be opened at all.
        let stat = rustix::fs::statat(&*folder, name, AtFlags::SYMLINK_NOFOLLOW).map_err(failed)?;
        let meta = listing::known(&stat).map_err(ObjectError::Refused)?;
        match meta.kind {
            ObjectKind::File => {}
            ObjectKind::Folder => return Err(failed(Errno::ISDIR)),
            ObjectKind::Link => return Err(failed(Errno::LOOP)),
        }
        if self.protected().is_database(&folder, name, &stat) {
            return Err(ObjectError::Refused(protected::refusal()));
        }
        let file = handles::open_beneath(&folder, name, handles::READING).map_err(failed)?;
        let file = File::from(file);
        if protected::is_live(&folder, name, &file) {
            return Err(ObjectError::Refused(protected::live_refusal()));
        }
        Ok(Box::new(reader::FileReader::new(self, path.clone(), file)?))
    }

    fn read_link(&self, path: &ContentPath) -> ObjectResult<Box<[u8]>> {
        let failed = |cause| reading(self, path, cause);
        let (folder, folder_path, name) = self.place(path).map_err(failed)?;
        link::target(&folder, &folder_path, name).map_err(failed)?.map_err(ObjectError::Refused)
    }

    fn folder_extended(&self, path: &ContentPath) -> ObjectResult<Extended> {
        let handle = self.handles.folder(path).map_err(|cause| reading(self, path, cause))?;
        attributes::extended(&*handle).map_err(|cause| reading(self, path, cause))
    }

    fn stage(&self) -> ObjectResult<Box<dyn StagedObject + '_>> {
        crate::platform::failpoint::fail_point!("store.content.stage");
        Ok(Box::new(staged::StagedFile::create(self)?))
    }

    fn stage_over(&self, path: &ContentPath) -> ObjectResult<Box<dyn StagedObject + '_>> {
        let earlier = self.place(path).and_then(|(folder, _, name)| {
            let file = handles::open_beneath(&folder, name, handles::READING)?;
            let stat = rustix::fs::fstat(&file)?;
            Ok((file, listing::known(&stat).is_ok_and(|meta| meta.kind == ObjectKind::File)))
        });
        match earlier {
            Ok((file, true)) => Ok(Box::new(staged::StagedFile::over(self, File::from(file))?)),
            Ok((_, false)) | Err(_) => self.stage(),
        }
    }

    fn stage_link(&self, target: &[u8], given: Attributes) -> ObjectResult<Box<dyn StagedObject + '_>> {
        let staged = staged::StagedFile::link(self, target, given);
        Ok(Box::new(staged.map_err(|cause| writing(self, &ContentPath::root(), cause))?))
    }

    fn stage_same(
        &self,
        path: &ContentPath,
        version: Version,
    ) -> ObjectResult<Option<Box<dyn StagedObject + '_>>> {
        let failed = |cause| writing(self, path, cause);
        let found = self.place(path).and_then(|(folder, _, name)| {
            let stat = rustix::fs::statat(&*folder, name, AtFlags::SYMLINK_NOFOLLOW)?;
            Ok((folder, name, stat))
        });
        let (folder, name, stat) = match found {
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::ACCESS | Errno::PERM) => return Ok(None),
            found => found.map_err(failed)?,
        };
        let meta = listing::meta(&stat, ObjectKind::File);
        let abilities = self.foresee_abilities();
        let is_version = meta.kind == ObjectKind::File
            && meta.size == version.size
            && abilities.is_same_time(meta.mtime_ns, version.attributes.mtime_ns)
            && (!abilities.modes || meta.mode == version.attributes.mode);
        if !is_version {
            return Ok(None);
        }
        match staged::StagedFile::same(self, &folder, name) {
            Ok(staged) => Ok(Some(Box::new(staged))),
            // Closed, full, or the file system knows no second names: then it has to be copied.
            Err(Errno::ACCESS | Errno::PERM | Errno::NOTSUP | Errno::MLINK | Errno::NOSYS | Errno::NOENT) => {
                Ok(None)
            }
            Err(cause) => Err(failed(cause)),
        }
    }

    fn harden(&self) -> Result<()> {
        self.durability
            .sync(|| self.sync_as_a_whole().map(|_| ()))
            .map_err(|cause| self.error("make durable", &ContentPath::root(), cause))
    }

    fn set_attributes(&self, path: &ContentPath, attributes: Attributes) -> ObjectResult<()> {
        let failed = |cause| writing(self, path, cause);
        if path.is_root() {
            let root = self.handles.root().map_err(failed)?;
            attributes::set(&*root, attributes).map_err(failed)?;
            return self.durable_with_flush(&root).map_err(failed);
        }
        let (folder, _, name) = self.place(path).map_err(failed)?;
        let file = handles::open_beneath(&folder, name, handles::READING).map_err(failed)?;
        let stat = rustix::fs::fstat(&file).map_err(failed)?;
        let meta = listing::known(&stat).map_err(ObjectError::Refused)?;
        if meta.kind == ObjectKind::File && stat.st_nlink > 1 {
            // A renamed file and its earlier name share everything until the latter is removed.
            return self.separate(path, File::from(file), attributes);
        }
        attributes::set(&file, attributes).map_err(failed)?;
        self.durable_with_flush(&file).map_err(failed)
    }

    fn set_extended(&self, path: &ContentPath, extended: &Extended) -> ObjectResult<bool> {
        let failed = |cause| writing(self, path, cause);
        let (folder, _, name) = self.place(path).map_err(failed)?;
        let file = handles::open_beneath(&folder, name, handles::READING).map_err(failed)?;
        let held = match attributes::set_extended(&file, extended) {
            // Owners may be denied writing by the mode, which is theirs to change.
            Err(Errno::ACCESS) => {
                let mode = rustix::fs::fstat(&file).map_err(failed)?.st_mode & 0o7777;
                rustix::fs::fchmod(&file, Mode::from_raw_mode(mode | 0o200)).map_err(failed)?;
                let held = attributes::set_extended(&file, extended);
                rustix::fs::fchmod(&file, Mode::from_raw_mode(mode)).map_err(failed)?;
                held
            }
            held => held,
        };
        let held = held.map_err(failed)?;
        self.durable_with_flush(&file).map_err(failed)?;
        Ok(held)
    }

    fn make_folder(&self, path: &ContentPath, mode: u32) -> ObjectResult<()> {
        let failed = |cause| writing(self, path, cause);
        let (folder, folder_path, name) = self.place_made(path).map_err(failed)?;
        let is_new = match rustix::fs::mkdirat(&*folder, name, Mode::from_raw_mode(0o700)) {
            Ok(()) => true,
            Err(Errno::EXIST) => false,
            Err(cause) => return Err(failed(cause)),
        };
        if is_new {
            self.touch(folder_path);
        }
        let made = self.handles.folder(path).map_err(failed)?;
        if is_new {
            attributes::disinherit(&*made).map_err(failed)?;
        }
        let mode = mode | 0o700;
        // One that has the right mode already may be another account's, which alone may set it.
        if is_new || rustix::fs::fstat(&*made).map_err(failed)?.st_mode & 0o7777 != mode {
            rustix::fs::fchmod(&*made, Mode::from_raw_mode(mode)).map_err(failed)?;
        }
        self.touch(path.clone());
        Ok(())
    }

    fn remove(&self, path: &ContentPath, kind: ObjectKind) -> ObjectResult<()> {
        let failed = |cause| writing(self, path, cause);
        let (folder, folder_path, name) = self.place(path).map_err(failed)?;
        let flags = match kind {
            ObjectKind::File | ObjectKind::Link => AtFlags::empty(),
            ObjectKind::Folder => AtFlags::REMOVEDIR,
        };
        rustix::fs::unlinkat(&*folder, name, flags).map_err(failed)?;
        if kind == ObjectKind::Folder {
            self.handles.forget();
        }
        self.touch(folder_path);
        Ok(())
    }

    fn set_aside(&self, path: &ContentPath, occasion: &str) -> ObjectResult<ContentPath> {
        self.move_aside(path, occasion)
    }

    fn history(&self) -> &dyn ContentHistory {
        self
    }

    fn flush(&self) -> Result<()> {
        let done = self.flush_names();
        self.freeing.finish();
        done
    }
}

fn may_change_names(folder: &OwnedFd) -> Result<(), Errno> {
    rustix::fs::accessat(folder, c".", Access::WRITE_OK | Access::EXEC_OK, AtFlags::EACCESS)
}

fn is_own(folder: &OwnedFd) -> bool {
    rustix::fs::fstat(folder).is_ok_and(|stat| stat.st_uid == rustix::process::geteuid().as_raw())
}

#[cfg(test)]
mod tests {
    use super::isolation::{in_own_mounts, mount};
    use super::*;

    #[test]
    fn names_in_a_folder_that_cannot_be_reached_any_more_are_made_durable_too() {
        in_own_mounts(|| {
            let folder = tempfile::tempdir().unwrap();
            let root = folder.path().join("store");
            let store = FolderStore::new(root.clone(), Vec::new());
            store.create().unwrap();
            // Only the handle of the last folder is kept.
            for at in [b"hidden/f", b"others/f"] {
                let mut staged = store.stage().unwrap();
                staged.seal(Attributes { mtime_ns: 1, mode: 0o600, owner: None }).unwrap();
                assert!(staged.publish(&ContentPath::from_bytes(at).unwrap(), true).unwrap());
            }
            mount(&["-t", "tmpfs", "tmpfs"], &root.join("hidden"));
            store.flush().unwrap();
        });
    }
}
