//! An open file that knows whether it changes.

use std::fs::File;

use rustix::fs::{Advice, SeekFrom, Stat};
use rustix::io::Errno;

use super::{
    ContentPath, ContentReader, Extended, FolderStore, ObjectError, ObjectKind, ObjectMeta, ObjectResult,
    Refusal, attributes, listing, reading,
};
use crate::platform::watch_mapped_writes;

pub(super) struct FileReader<'a> {
    store: &'a FolderStore,
    path: ContentPath,
    file: File,
    opened: ObjectMeta,
    names: u64,
    /// How far it was read.
    position: u64,
    /// Up to where no hole begins; the whole file where there is none.
    solid: u64,
}

impl<'a> FileReader<'a> {
    pub(super) fn new(store: &'a FolderStore, path: ContentPath, file: File) -> ObjectResult<Self> {
        // Before its times are looked at: who writes through a mapping from here on changes them.
        watch_mapped_writes(&file).map_err(|_| ObjectError::Refused(lost_write()))?;
        let stat = rustix::fs::fstat(&file).map_err(|cause| reading(store, &path, cause))?;
        // It may have been exchanged since it was looked at.
        let opened = listing::known(&stat).map_err(ObjectError::Refused)?;
        let _ = rustix::fs::fadvise(&file, 0, None, Advice::Sequential);
        let solid = if is_sparse(&stat) { 0 } else { u64::MAX };
        // Its type is another one on each architecture.
        #[allow(clippy::useless_conversion)]
        let names = u64::from(stat.st_nlink);
        Ok(FileReader { store, path, file, opened, names, position: 0, solid })
    }
}

impl ContentReader for FileReader<'_> {
    fn meta(&self) -> ObjectMeta {
        self.opened
    }

    fn names(&self) -> u64 {
        self.names
    }

    fn read(&mut self, buffer: &mut [u8]) -> ObjectResult<usize> {
        // Not into the next hole, which would be read as zeros.
        let solid = usize::try_from(self.solid.saturating_sub(self.position)).unwrap_or(usize::MAX);
        let length = if solid == 0 { buffer.len() } else { solid.min(buffer.len()) };
        let buffer = buffer.get_mut(..length).unwrap_or_default();
        let count = rustix::io::retry_on_intr(|| rustix::io::read(&self.file, &mut *buffer))
            .map_err(|cause| reading(self.store, &self.path, cause))?;
        self.position = self.position.saturating_add(count as u64);
        Ok(count)
    }

    fn skip_hole(&mut self) -> ObjectResult<u64> {
        if self.position < self.solid {
            return Ok(0);
        }
        let start = self.position;
        let seek = |to| rustix::fs::seek(&self.file, to);
        let data = match seek(SeekFrom::Data(start)) {
            // Nothing but a hole up to the end.
            Err(Errno::NXIO) => self.opened.size.max(start),
            Ok(data) => data,
            // The file system does not know; then everything is read.
            Err(_) => start,
        };
        self.solid = seek(SeekFrom::Hole(data)).unwrap_or(u64::MAX);
        seek(SeekFrom::Start(data)).map_err(|cause| reading(self.store, &self.path, cause))?;
        self.position = data;
        Ok(data.saturating_sub(start))
    }

    fn is_solid(&self) -> bool {
        self.solid == u64::MAX
    }

    fn read_at(&self, buffer: &mut [u8], at: u64) -> ObjectResult<usize> {
        let mut count = 0;
        while let Some(rest) = buffer.get_mut(count..).filter(|rest| !rest.is_empty()) {
            let place = at.saturating_add(count as u64);
            let read = rustix::io::retry_on_intr(|| rustix::io::pread(&self.file, &mut *rest, place))
                .map_err(|cause| reading(self.store, &self.path, cause))?;
            if read == 0 {
                break;
            }
            count += read;
        }
        Ok(count)
    }

    fn extended(&self) -> ObjectResult<Extended> {
        attributes::extended(&self.file).map_err(|cause| reading(self.store, &self.path, cause))
    }

    fn is_unchanged(&self) -> ObjectResult<bool> {
        let stat = rustix::fs::fstat(&self.file).map_err(|cause| reading(self.store, &self.path, cause))?;
        Ok(listing::known(&stat).is_ok_and(|now| now.is_same_version(&self.opened)))
    }
}

/// Whoever wrote it, and did not wait for the disk, was told nothing.
fn lost_write() -> Refusal {
    Refusal::new(
        "The device failed to keep what was written to it.",
        "Check the device and how much room it has, and what the file holds. The next cycle copies it as it is then.",
    )
}

/// Whether a file takes less room than it is long.
#[allow(clippy::unnecessary_cast)]
fn is_sparse(stat: &Stat) -> bool {
    (stat.st_blocks as u64).saturating_mul(512) < listing::meta(stat, ObjectKind::File).size
}
