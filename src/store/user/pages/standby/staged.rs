//! Pages that wait for a commit: in memory as long as they are few, then in a file without a name.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use super::super::compare::require_small;
use super::super::end::{Exported, PageSink};
use super::{Existing, Standby};
use crate::error::{Error, Result};
use crate::platform::{read_whole, write_all_at};
use crate::store::files::remove;

/// How much waits in memory.
const MOST_IN_MEMORY: usize = 16 << 20;

/// What the copy is to become, in the folder beside it.
const COMPARED: &str = "compared";

/// Where a staged page lies: in memory, or in the file.
#[derive(Clone, Copy, Debug)]
enum Place {
    Memory(usize),
    File(u64),
}

#[derive(Default)]
struct Inner {
    page_size: usize,
    pages: Vec<(u32, Place)>,
    memory: Vec<u8>,
    spilled: Option<File>,
    spilled_bytes: u64,
}

/// Pages by their number, all of one size.
pub(super) struct Staged {
    folder: PathBuf,
    inner: Mutex<Inner>,
}

impl Staged {
    /// Nothing yet; what does not fit into memory goes to a file in this folder.
    pub(super) fn new(folder: &Path) -> Self {
        Staged { folder: folder.to_owned(), inner: Mutex::default() }
    }

    /// Everything that waits, ordered by number, each page once and as it came last.
    pub(super) fn finish(self) -> Ready {
        let Inner { page_size, mut pages, memory, spilled, .. } =
            self.inner.into_inner().unwrap_or_else(PoisonError::into_inner);
        pages.reverse();
        pages.sort_by_key(|(page, _)| *page);
        pages.dedup_by_key(|(page, _)| *page);
        Ready { folder: self.folder, page_size, pages, memory, spilled }
    }
}

impl PageSink for Staged {
    fn put(&self, first: u32, content: &[u8], page_size: usize) -> Result<()> {
        let failed = |cause| Error::io("write", &self.folder, &cause);
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner.page_size = page_size;
        let in_memory = inner.memory.len() + content.len() <= MOST_IN_MEMORY;
        let start = inner.spilled_bytes;
        if in_memory {
            let at = inner.memory.len();
            inner.memory.extend_from_slice(content);
            let places = (0..content.len()).step_by(page_size).map(|offset| Place::Memory(at + offset));
            inner.pages.extend((first..).zip(places));
            return Ok(());
        }
        if inner.spilled.is_none() {
            inner.spilled = Some(tempfile::tempfile_in(&self.folder).map_err(failed)?);
        }
        if let Some(file) = &inner.spilled {
            write_all_at(file, content, start).map_err(failed)?;
        }
        inner.spilled_bytes += content.len() as u64;
        let places = (0..content.len()).step_by(page_size).map(|offset| Place::File(start + offset as u64));
        inner.pages.extend((first..).zip(places));
        Ok(())
    }

    fn reset(&self) -> Result<()> {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner.pages.clear();
        inner.memory.clear();
        inner.spilled_bytes = 0;
        Ok(())
    }
}

/// Staged pages, ready to be written.
pub(super) struct Ready {
    folder: PathBuf,
    page_size: usize,
    pages: Vec<(u32, Place)>,
    memory: Vec<u8>,
    spilled: Option<File>,
}

impl Ready {
    /// The numbers, ascending.
    pub(super) fn numbers(&self) -> impl Iterator<Item = u32> {
        self.pages.iter().map(|(page, _)| *page)
    }

    /// Shows every page, ascending.
    ///
    /// # Errors
    /// Failures of the device; what `show` says.
    pub(super) fn each(&self, mut show: impl FnMut(u32, &[u8]) -> Result<()>) -> Result<()> {
        let mut buffer = vec![0; self.page_size];
        for (page, place) in &self.pages {
            match *place {
                Place::Memory(at) => show(*page, &self.memory[at..at + self.page_size])?,
                Place::File(at) => {
                    let file = self.spilled.as_ref();
                    let read = file.map_or(Ok(0), |file| read_whole(file, &mut buffer, at));
                    let read = read.map_err(|cause| Error::io("read", &self.folder, &cause))?;
                    if read < self.page_size {
                        let cause = std::io::Error::from(std::io::ErrorKind::UnexpectedEof);
                        return Err(Error::io("read", &self.folder, &cause));
                    }
                    show(*page, &buffer)?;
                }
            }
        }
        Ok(())
    }
}

impl Standby {
    /// As [`Standby::with`], beside the copy and for comparing rows.
    ///
    /// # Errors
    /// `InvalidArgument` where it is too large for that; failures of the file system.
    pub(super) fn to_compare(
        &self,
        existing: &Existing,
        ready: &Ready,
        exported: &Exported,
    ) -> Result<tempfile::NamedTempFile> {
        require_small(self.path(), u64::from(exported.pages) * u64::from(exported.layout.page_size))?;
        // There is one importer: what lies there was left by one that was killed.
        remove(&self.folder().join(COMPARED))?;
        let file = tempfile::Builder::new().prefix(COMPARED).rand_bytes(0).tempfile_in(self.folder());
        self.with(existing, ready, exported, file.map_err(self.failed("write"))?)
    }

    /// The copy as it becomes with these pages, in this file.
    ///
    /// # Errors
    /// Failures of the file system.
    pub(super) fn with(
        &self,
        existing: &Existing,
        ready: &Ready,
        exported: &Exported,
        mut file: tempfile::NamedTempFile,
    ) -> Result<tempfile::NamedTempFile> {
        let path = file.path().to_owned();
        let failed = |cause| Error::io("write", &path, &cause);
        let size = u64::from(exported.layout.page_size);
        if existing.header.layout.page_size == exported.layout.page_size {
            let mut copy = File::open(self.path()).map_err(self.failed("read"))?;
            std::io::copy(&mut copy, file.as_file_mut()).map_err(failed)?;
        }
        ready.each(|page, content| {
            write_all_at(file.as_file(), content, u64::from(page - 1) * size).map_err(failed)
        })?;
        file.as_file().set_len(u64::from(exported.pages) * size).map_err(failed)?;
        Ok(file)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_staged_by_a_reading_that_does_not_count_is_forgotten() {
        let folder = tempfile::tempdir().unwrap();
        // A few pages, and more than stays in memory.
        for many in [1, MOST_IN_MEMORY / 4_096 + 100] {
            let staged = Staged::new(folder.path());
            let last = u32::try_from(many).unwrap() + 9;
            (10..=last).for_each(|page| staged.put(page, &[1; 4_096], 4_096).unwrap());
            staged.put(2, &[1; 4_096], 4_096).unwrap();
            staged.reset().unwrap();
            staged.put(last, &[2; 4_096], 4_096).unwrap();
            staged.put(3, &[2; 4_096], 4_096).unwrap();
            let (mut shown, ready) = (Vec::new(), staged.finish());
            ready
                .each(|page, content| {
                    shown.push((page, content.iter().all(|byte| *byte == 2)));
                    Ok(())
                })
                .unwrap();
            assert_eq!(shown, [(3, true), (last, true)]);
        }
    }
}
