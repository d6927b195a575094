//! A file that is being written under a temporary name.

use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use rustix::fs::{Advice, AtFlags, Mode, OFlags, RenameFlags, Timespec, Timestamps};
use rustix::io::Errno;
use uuid::Uuid;

use super::{
    Attributes, ContentPath, FolderStore, OWN_FOLDER, ObjectError, ObjectResult, StagedObject, handles,
    writing,
};
use crate::store::content::folder::durability::{self, Sealed, Verdict};

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
    /// Up to where the writing to the disk was begun.
    begun: u64,
    sealed: Option<Sealed>,
    published: bool,
}

impl FolderStore {
    /// A new file in the folder for files that are being written, which is made where it is missing.
    pub(super) fn create_staged(&self) -> Result<(Arc<OwnedFd>, String, File), Errno> {
        let folder = match self.staging_folder() {
            Err(Errno::NOENT) => {
                self.make_staging_folder()?;
                self.staging_folder()?
            }
            found => found?,
        };
        let name = Uuid::new_v4().to_string();
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&*folder, name.as_bytes(), flags, Mode::from_raw_mode(0o600))?;
        Ok((folder, name, File::from(file)))
    }

    /// The folder for files that are being written. Not cached with the content's folders, which come in turn.
    pub(super) fn staging_folder(&self) -> Result<Arc<OwnedFd>, Errno> {
        handles::below(&*handles::below(&*self.handles.root()?, OWN_FOLDER)?, STAGING_FOLDER)
    }

    fn make_staging_folder(&self) -> Result<(), Errno> {
        let root = self.handles.root()?;
        let made = |result| if matches!(result, Err(Errno::EXIST)) { Ok(()) } else { result };
        made(rustix::fs::mkdirat(&*root, OWN_FOLDER, Mode::from_raw_mode(0o700)))?;
        let own = handles::below(&root, OWN_FOLDER)?;
        made(rustix::fs::mkdirat(&*own, STAGING_FOLDER, Mode::from_raw_mode(0o700)))
    }
}

impl<'a> StagedFile<'a> {
    pub(super) fn create(store: &'a FolderStore) -> ObjectResult<Self> {
        let (folder, name, file) = store
            .create_staged()
            .map_err(|cause| ObjectError::Store(store.error("write to", &ContentPath::root(), cause)))?;
        Ok(StagedFile {
            store,
            folder,
            name,
            file: Some(file),
            written: 0,
            begun: 0,
            sealed: None,
            published: false,
        })
    }

    fn failed(&self, cause: Errno) -> ObjectError {
        writing(self.store, &ContentPath::root(), cause)
    }

    /// Begins to write what is complete to the disk without waiting for it, and lets go of the pages that are there.
    fn begin_writeback(&mut self) {
        let Some(file) = &self.file else { return };
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
        match rustix::fs::renameat_with(&*self.folder, from, folder, name, RenameFlags::NOREPLACE) {
            Ok(()) => Ok(true),
            Err(Errno::EXIST) => Ok(false),
            // Not every file system can refuse to replace; then the question and the rename are two steps.
            Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => {
                match rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW) {
                    Err(Errno::NOENT) => {
                        rustix::fs::renameat(&*self.folder, from, folder, name).map(|()| true)
                    }
                    Ok(_) => Ok(false),
                    Err(cause) => Err(cause),
                }
            }
            Err(cause) => Err(cause),
        }
    }
}

impl StagedObject for StagedFile<'_> {
    fn write(&mut self, bytes: &[u8]) -> ObjectResult<()> {
        let Some(file) = &mut self.file else { return Err(self.failed(Errno::BADF)) };
        let result = file.write_all(bytes).map_err(|cause| Errno::from_io_error(&cause).unwrap_or(Errno::IO));
        result.map_err(|cause| self.failed(cause))?;
        self.written = self.written.saturating_add(bytes.len() as u64);
        if self.written.saturating_sub(self.begun) >= WINDOW {
            self.begin_writeback();
        }
        Ok(())
    }

    fn seal(&mut self, attributes: Attributes) -> ObjectResult<()> {
        let Some(file) = self.file.take() else { return Err(self.failed(Errno::BADF)) };
        // Whoever gives the file back later has to read it, whatever the original allows its owner.
        let attributes = Attributes { mode: attributes.mode | 0o400, ..attributes };
        set_attributes(&file, attributes).map_err(|cause| self.failed(cause))?;
        self.sealed = if self.begun == 0 && durability::is_synced_as_a_whole(&file) {
            Some(self.store.durability.sealed())
        } else {
            rustix::fs::fsync(&file).map_err(|cause| self.failed(cause))?;
            Some(Sealed::Durable)
        };
        Ok(())
    }

    fn publish(mut self: Box<Self>, path: &ContentPath, replace: bool) -> ObjectResult<bool> {
        let failed = |cause| writing(self.store, path, cause);
        self.make_durable().map_err(failed)?;
        let (folder, folder_path, name) = self.store.place_made(path).map_err(failed)?;
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
        if published {
            self.store.touch(folder_path);
        }
        Ok(published)
    }
}

impl Drop for StagedFile<'_> {
    fn drop(&mut self) {
        if !self.published {
            // What cannot be removed now is swept by the next cycle.
            let _ = rustix::fs::unlinkat(&*self.folder, self.name.as_bytes(), AtFlags::empty());
        }
    }
}

/// Sets the modification time and the permission bits of an open file.
pub(super) fn set_attributes(file: impl AsFd, attributes: Attributes) -> Result<(), Errno> {
    let mtime = Timespec {
        tv_sec: attributes.mtime_ns.div_euclid(1_000_000_000),
        tv_nsec: attributes.mtime_ns.rem_euclid(1_000_000_000),
    };
    rustix::fs::fchmod(&file, Mode::from_raw_mode(attributes.mode))?;
    let last_access = Timespec { tv_sec: 0, tv_nsec: rustix::fs::UTIME_OMIT };
    rustix::fs::futimens(&file, &Timestamps { last_access, last_modification: mtime })
}
