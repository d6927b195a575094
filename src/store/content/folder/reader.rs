//! An open file that knows whether it changes.

use std::fs::File;
use std::io::Read;

use rustix::fs::Advice;
use rustix::io::Errno;

use super::{
    ContentPath, ContentReader, FolderStore, ObjectError, ObjectMeta, ObjectResult, listing, reading,
};

pub(super) struct FileReader<'a> {
    store: &'a FolderStore,
    path: ContentPath,
    file: File,
    opened: ObjectMeta,
}

impl<'a> FileReader<'a> {
    pub(super) fn new(store: &'a FolderStore, path: ContentPath, file: File) -> ObjectResult<Self> {
        let stat = rustix::fs::fstat(&file).map_err(|cause| reading(store, &path, cause))?;
        // It may have been exchanged since it was looked at.
        let opened = listing::known(&stat).map_err(ObjectError::Refused)?;
        let _ = rustix::fs::fadvise(&file, 0, None, Advice::Sequential);
        Ok(FileReader { store, path, file, opened })
    }
}

impl ContentReader for FileReader<'_> {
    fn meta(&self) -> ObjectMeta {
        self.opened
    }

    fn read(&mut self, buffer: &mut [u8]) -> ObjectResult<usize> {
        loop {
            match self.file.read(buffer) {
                Err(cause) if cause.kind() == std::io::ErrorKind::Interrupted => {}
                Err(cause) => {
                    let cause = Errno::from_io_error(&cause).unwrap_or(Errno::IO);
                    return Err(reading(self.store, &self.path, cause));
                }
                Ok(count) => return Ok(count),
            }
        }
    }

    fn is_unchanged(&self) -> ObjectResult<bool> {
        let stat = rustix::fs::fstat(&self.file).map_err(|cause| reading(self.store, &self.path, cause))?;
        Ok(listing::known(&stat).is_ok_and(|now| now.is_same_version(&self.opened)))
    }
}
