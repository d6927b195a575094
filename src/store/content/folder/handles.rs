//! Handles of folders, reached from the root without following a link or crossing into another mount.

use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::fs::{AtFlags, CWD, Mode, OFlags, RenameFlags, ResolveFlags};
use rustix::io::Errno;

use super::ContentPath;

const FOLDER: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

/// For what is to be read, or given attributes: opening it never blocks, not even if it has become a pipe.
pub(super) const READING: OFlags = OFlags::RDONLY.union(OFlags::NONBLOCK);

/// The root's handle, the last folder's, because objects are visited folder by folder, and that of the folder in which files are
/// written.
pub(super) struct FolderHandles {
    root_path: PathBuf,
    root: Mutex<Option<Arc<OwnedFd>>>,
    last: Mutex<Option<(ContentPath, Arc<OwnedFd>)>>,
    staging: Mutex<Option<Arc<OwnedFd>>>,
}

impl FolderHandles {
    pub(super) fn new(root_path: PathBuf) -> Self {
        FolderHandles { root_path, root: Mutex::default(), last: Mutex::default(), staging: Mutex::default() }
    }

    /// Lets go of everything, so that the next access finds what is mounted then.
    pub(super) fn close(&self) {
        self.forget();
        self.forget_staging();
        *self.root.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// The folder in which files are written, which is opened once.
    pub(super) fn staging(
        &self,
        open: impl FnOnce() -> Result<Arc<OwnedFd>, Errno>,
    ) -> Result<Arc<OwnedFd>, Errno> {
        let mut staging = self.staging.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(handle) = &*staging {
            return Ok(handle.clone());
        }
        let handle = open()?;
        *staging = Some(handle.clone());
        Ok(handle)
    }

    /// Lets go of the folder in which files are written: somebody may have removed it.
    pub(super) fn forget_staging(&self) {
        *self.staging.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Lets go of the last folder, which may have been removed or replaced.
    pub(super) fn forget(&self) {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// The root. It alone may be reached through links: the administrator named it.
    pub(super) fn root(&self) -> Result<Arc<OwnedFd>, Errno> {
        let mut root = self.root.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(handle) = &*root {
            return Ok(handle.clone());
        }
        let handle = Arc::new(rustix::fs::openat(CWD, &self.root_path, FOLDER, Mode::empty())?);
        *root = Some(handle.clone());
        Ok(handle)
    }

    /// A folder. One name is opened at a time, so that a path may be of any length.
    pub(super) fn folder(&self, path: &ContentPath) -> Result<Arc<OwnedFd>, Errno> {
        if path.is_root() {
            return self.root();
        }
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let handle = match (last, path.split()) {
            (Some((known, handle)), _) if known == *path => return Ok(handle),
            (Some((known, handle)), Some((parent, name))) if known == parent => below(&handle, name)?,
            _ => {
                let mut handle = self.root()?;
                for name in path.names() {
                    handle = below(&handle, name)?;
                }
                handle
            }
        };
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some((path.clone(), handle.clone()));
        Ok(handle)
    }
}

/// A folder in a folder.
pub(super) fn below(folder: &OwnedFd, name: &[u8]) -> Result<Arc<OwnedFd>, Errno> {
    open_beneath(folder, name, FOLDER).map(Arc::new)
}

/// Nothing but what lies in the folder itself: no link is followed, whatever is swapped in meanwhile, and no other mount
/// is entered. A mount within a store could lead round in a circle, and would look emptied once it is unmounted.
const BENEATH: ResolveFlags = ResolveFlags::BENEATH
    .union(ResolveFlags::NO_SYMLINKS)
    .union(ResolveFlags::NO_MAGICLINKS)
    .union(ResolveFlags::NO_XDEV);

/// Whether this kernel is older than `openat2`.
static IS_OLD_KERNEL: AtomicBool = AtomicBool::new(false);

/// However something is opened, no link is followed, and no other program inherits it.
const ALWAYS: OFlags = OFlags::NOFOLLOW.union(OFlags::CLOEXEC);

/// Opens what exists in a folder under a single name.
pub(super) fn open_beneath(folder: &OwnedFd, name: &[u8], flags: OFlags) -> Result<OwnedFd, Errno> {
    let flags = flags | ALWAYS;
    if !IS_OLD_KERNEL.load(Ordering::Relaxed) {
        match rustix::fs::openat2(folder, name, flags, Mode::empty(), BENEATH) {
            Err(Errno::NOSYS) => IS_OLD_KERNEL.store(true, Ordering::Relaxed),
            // Older sandboxes forbid what they do not know.
            Err(Errno::PERM) => {}
            opened => return opened,
        }
    }
    open_on_one_device(folder, name, flags)
}

/// The same on an older kernel, which does not tell mounts of one device apart.
fn open_on_one_device(folder: &OwnedFd, name: &[u8], flags: OFlags) -> Result<OwnedFd, Errno> {
    let opened = rustix::fs::openat(folder, name, flags, Mode::empty())?;
    let is_same = rustix::fs::fstat(&opened)?.st_dev == rustix::fs::fstat(folder)?.st_dev;
    if is_same { Ok(opened) } else { Err(Errno::XDEV) }
}

/// Gives something another name that nothing has.
pub(super) fn rename_new(from: &OwnedFd, name: &[u8], to: &OwnedFd, new_name: &[u8]) -> Result<(), Errno> {
    match rustix::fs::renameat_with(from, name, to, new_name, RenameFlags::NOREPLACE) {
        // Not every file system can refuse to replace; then the question and the rename are two steps.
        Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => {
            match rustix::fs::statat(to, new_name, AtFlags::SYMLINK_NOFOLLOW) {
                Err(Errno::NOENT) => rustix::fs::renameat(from, name, to, new_name),
                Ok(_) => Err(Errno::EXIST),
                Err(cause) => Err(cause),
            }
        }
        done => done,
    }
}

#[cfg(test)]
mod tests {
    use rustix::io::FdFlags;

    use super::*;

    #[test]
    fn both_ways_of_opening_refuse_links_and_other_devices() {
        let root = OwnedFd::from(std::fs::File::open("/").unwrap());
        let folder = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink("/etc", folder.path().join("link")).unwrap();
        std::fs::create_dir(folder.path().join("inner")).unwrap();
        std::fs::write(folder.path().join("file"), "").unwrap();
        let handle = OwnedFd::from(std::fs::File::open(folder.path()).unwrap());
        for open in [open_beneath, open_on_one_device] {
            let flags = FOLDER | OFlags::NOFOLLOW;
            let inner = open(&handle, b"inner", flags).unwrap();
            assert!(rustix::io::fcntl_getfd(&inner).unwrap().contains(FdFlags::CLOEXEC));
            assert!(matches!(open(&handle, b"file", flags), Err(Errno::NOTDIR)));
            assert!(matches!(open(&handle, b"link", flags), Err(Errno::LOOP | Errno::NOTDIR)));
            assert!(matches!(open(&handle, b"absent", flags), Err(Errno::NOENT)));
            assert!(matches!(open(&root, b"proc", flags), Err(Errno::XDEV)));
        }
        assert!(matches!(open_beneath(&handle, b"..", FOLDER), Err(Errno::XDEV)));
    }

    #[test]
    fn handles_are_kept_until_they_are_forgotten_or_closed() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("root");
        let inner = ContentPath::root().join(b"inner").unwrap();
        let handles = FolderHandles::new(root.clone());
        let inode = |handle: Arc<OwnedFd>| rustix::fs::fstat(&*handle).unwrap().st_ino;
        let inodes = || (inode(handles.root().unwrap()), inode(handles.folder(&inner).unwrap()));
        std::fs::create_dir_all(root.join("inner")).unwrap();
        let first = inodes();
        std::fs::rename(root.join("inner"), root.join("other")).unwrap();
        std::fs::create_dir(root.join("inner")).unwrap();
        assert_eq!(inodes(), first);
        handles.forget();
        let second = inodes();
        assert_eq!((second.0 == first.0, second.1 == first.1), (true, false));
        std::fs::rename(&root, folder.path().join("other")).unwrap();
        std::fs::create_dir_all(root.join("inner")).unwrap();
        handles.forget();
        assert_eq!(inodes(), second);
        handles.close();
        let third = inodes();
        assert_eq!((third.0 == second.0, third.1 == second.1), (false, false));
    }
}
