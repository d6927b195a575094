//! Lists that may be longer than memory allows: a first copy has a step for every object.

use std::fs::File;
use std::io::{BufReader, Read, Write};
use std::marker::PhantomData;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::{Error, Result};
use crate::platform::read_at;

/// How much of a list is kept in memory; what is longer goes to a file that has no name and vanishes with its process.
const IN_MEMORY: usize = 4 << 20;

/// A list that is written once and then read from its beginning, any number of times.
pub(crate) struct Spool<T> {
    /// Where the file lies, if there is one.
    folder: PathBuf,
    file: Option<File>,
    /// Length of the file.
    written: u64,
    /// What follows it.
    end: Vec<u8>,
    count: u64,
    items: PhantomData<fn() -> T>,
}

impl<T: Serialize + DeserializeOwned> Spool<T> {
    /// An empty list, which may grow into this folder.
    pub(crate) fn new(folder: &Path) -> Self {
        Spool {
            folder: folder.to_owned(),
            file: None,
            written: 0,
            end: Vec::new(),
            count: 0,
            items: PhantomData,
        }
    }

    pub(crate) fn len(&self) -> u64 {
        self.count
    }

    pub(crate) fn push(&mut self, item: &T) -> Result<()> {
        let at = self.end.len();
        self.end.extend_from_slice(&[0; 4]);
        self.end =
            postcard::to_extend(item, std::mem::take(&mut self.end)).map_err(|cause| self.defect(&cause))?;
        let length = u32::try_from(self.end.len() - at - 4).unwrap_or(u32::MAX);
        if let Some(place) = self.end.get_mut(at..at + 4) {
            place.copy_from_slice(&length.to_le_bytes());
        }
        self.count += 1;
        if self.end.len() >= IN_MEMORY { self.spill() } else { Ok(()) }
    }

    fn spill(&mut self) -> Result<()> {
        let failed = |cause| Error::io("write a temporary file in", &self.folder, &cause);
        let mut file = match self.file.take() {
            Some(file) => file,
            None => tempfile::tempfile_in(&self.folder).map_err(failed)?,
        };
        file.write_all(&self.end).map_err(failed)?;
        self.file = Some(file);
        self.written += self.end.len() as u64;
        self.end.clear();
        Ok(())
    }

    /// All items, in the order in which they were added.
    pub(crate) fn iter(&self) -> impl Iterator<Item = Result<T>> + Send + '_ {
        let file = self.file.as_ref().map(|file| FileFromStart { file, position: 0 }.take(self.written));
        let (from_file, from_memory): (Box<dyn Read + Send>, _) = match file {
            Some(file) => (Box::new(BufReader::with_capacity(64 << 10, file)), self.end.as_slice()),
            None => (Box::new(std::io::empty()), self.end.as_slice()),
        };
        let mut bytes = from_file.chain(from_memory);
        let mut item = Vec::new();
        (0..self.count).map(move |_| {
            let failed = |cause| Error::io("read a temporary file in", &self.folder, &cause);
            let mut length = [0; 4];
            bytes.read_exact(&mut length).map_err(failed)?;
            item.resize(usize::try_from(u32::from_le_bytes(length)).unwrap_or_default(), 0);
            bytes.read_exact(&mut item).map_err(failed)?;
            postcard::from_bytes(&item).map_err(|cause| self.defect(&cause))
        })
    }

    fn defect(&self, cause: &postcard::Error) -> Error {
        let cause = std::io::Error::other(cause.to_string());
        Error::io("keep a list in", &self.folder, &cause)
    }
}

/// Reads a file from its beginning, whoever else reads or writes it.
struct FileFromStart<'a> {
    file: &'a File,
    position: u64,
}

impl Read for FileFromStart<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let count = read_at(self.file, buffer, self.position)?;
        self.position += count as u64;
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_list_goes_to_a_file_without_a_name_and_comes_back_in_its_order() {
        let folder = tempfile::tempdir().unwrap();
        let mut spool = Spool::new(folder.path());
        let item = |number: u64| (number, vec![b'x'; 100]);
        for number in 0..100_000 {
            spool.push(&item(number)).unwrap();
            assert!(spool.end.capacity() <= 4 * IN_MEMORY);
        }
        assert!(spool.written > 0, "most of it is in the file");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
        assert_eq!(spool.len(), 100_000);
        for _ in 0..2 {
            assert!(spool.iter().map(Result::unwrap).eq((0..100_000).map(item)));
        }
    }

    #[test]
    fn a_short_list_needs_no_file() {
        let mut spool = Spool::new(Path::new("/nowhere"));
        spool.push(&"one".to_owned()).unwrap();
        assert_eq!(spool.iter().map(Result::unwrap).collect::<Vec<_>>(), ["one"]);
    }

    #[test]
    fn a_folder_that_cannot_be_written_is_an_error() {
        let mut spool = Spool::new(Path::new("/proc"));
        let failure =
            std::iter::repeat_with(|| spool.push(&vec![0u8; 1 << 20])).take(8).find_map(Result::err);
        assert!(failure.unwrap().message.contains("/proc"));
    }
}
