//! Handles of folders, reached from the root without following a link.

use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;

use super::ContentPath;

const FOLDER: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

/// The root's handle, and the last folder's: objects are visited folder by folder.
pub(super) struct Handles {
    root_path: PathBuf,
    root: Mutex<Option<Arc<OwnedFd>>>,
    last: Mutex<Option<(ContentPath, Arc<OwnedFd>)>>,
}

impl Handles {
    pub(super) fn new(root_path: PathBuf) -> Self {
        Handles { root_path, root: Mutex::default(), last: Mutex::default() }
    }

    /// Lets go of everything, so that the next access finds what is mounted then.
    pub(super) fn close(&self) {
        self.forget();
        *self.root.lock().unwrap_or_else(PoisonError::into_inner) = None;
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

    /// A folder. One name is opened at a time, which refuses links at every level, works for paths of any length and
    /// needs no newer kernel.
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
    rustix::fs::openat(folder, name, FOLDER | OFlags::NOFOLLOW, Mode::empty()).map(Arc::new)
}
