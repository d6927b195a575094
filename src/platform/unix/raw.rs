//! Files of databases that are read, written and locked without SQLite.
//!
//! POSIX locks belong to the process: closing *any* descriptor of a file drops every lock that the process has on it. So a file that an
//! SQLite of this process, or somebody else in it, has open too is not closed: it is put by, and used again by whoever opens the same
//! file next. What was put by is closed once nobody else has the file open.

#![allow(unsafe_code, reason = "what is dropped may have to be kept")]

use std::fs::File;
use std::io;
use std::mem::ManuallyDrop;
use std::ops::Deref;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::databases::{Ours, close_if_alone, opening, wait_for_quiet, when_closed};
use super::files::{FileId, open_regular};

/// A database's file, or one beside it.
#[derive(Debug)]
pub struct RawFile {
    /// Taken when this is dropped, and never before.
    opened: ManuallyDrop<Opened>,
}

#[derive(Debug)]
struct Opened {
    /// Dropped before the file.
    ours: Ours,
    file: File,
    id: FileId,
    writable: bool,
}

static PUT_BY: Mutex<Vec<Opened>> = Mutex::new(Vec::new());

fn put_by() -> MutexGuard<'static, Vec<Opened>> {
    PUT_BY.lock().unwrap_or_else(PoisonError::into_inner)
}

impl RawFile {
    /// Opens a file that is there, for reading, and for writing where that is asked for.
    ///
    /// # Errors
    /// `InvalidInput` for anything but a file; whatever opening says.
    pub fn open(path: &Path, writable: bool) -> io::Result<Self> {
        let id = FileId::of(path)?;
        {
            let mut put_by = put_by();
            if let Some(at) = put_by.iter().position(|opened| opened.id == id && opened.writable == writable)
            {
                return Ok(RawFile { opened: ManuallyDrop::new(put_by.swap_remove(at)) });
            }
        }
        RawFile::keep(writable, || {
            if writable { File::options().read(true).write(true).open(path) } else { open_regular(path) }
        })
    }

    /// Makes a file that is open for writing.
    ///
    /// # Errors
    /// What making it says.
    pub fn make(make: impl FnOnce() -> io::Result<File>) -> io::Result<Self> {
        RawFile::keep(true, make)
    }

    fn keep(writable: bool, open: impl FnOnce() -> io::Result<File>) -> io::Result<Self> {
        when_closed(close_what_was_put_by);
        let (file, ours, id) = opening(|| {
            let file = open()?;
            let id = FileId::from(&file.metadata()?);
            Ok((file, id))
        })?;
        Ok(RawFile { opened: ManuallyDrop::new(Opened { ours, file, id, writable }) })
    }

    /// Which file it is.
    pub fn id(&self) -> FileId {
        self.opened.id
    }
}

impl Deref for RawFile {
    type Target = File;

    fn deref(&self) -> &File {
        &self.opened.file
    }
}

impl Drop for RawFile {
    fn drop(&mut self) {
        // SAFETY: it is taken once, here, and nobody has it afterwards.
        let opened = unsafe { ManuallyDrop::take(&mut self.opened) };
        put_by().push(opened);
        wait_for_quiet();
        close_what_was_put_by();
    }
}

/// Closes what nobody else in this process has open any more.
fn close_what_was_put_by() {
    let mut put_by = put_by();
    if !put_by.is_empty() {
        *put_by = std::mem::take(&mut *put_by).into_iter().filter_map(close).collect();
    }
}

/// Closes a file that nobody else in this process has open; else gives it back.
fn close(opened: Opened) -> Option<Opened> {
    let Opened { ours, file, id, writable } = opened;
    match close_if_alone(file, id) {
        Some(file) => Some(Opened { ours, file, id, writable }),
        None => {
            // It has taken the note away with the file: the number may be somebody else's by now.
            std::mem::forget(ours);
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use rusqlite::Connection;

    use super::*;

    #[test]
    fn closing_a_file_leaves_the_locks_of_an_sqlite_in_this_process_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("users.sqlite");
        let server = Connection::open(&path).unwrap();
        server.execute_batch("CREATE TABLE t (x); BEGIN IMMEDIATE").unwrap();
        let id = FileId::of(&path).unwrap();
        for _ in 0..3 {
            drop(RawFile::open(&path, false).unwrap());
        }
        assert_eq!(put_by().iter().filter(|opened| opened.id == id).count(), 1, "used again, and kept");
        assert_eq!(super::super::locks::lock_holders(&[id]), [std::process::id()]);
        server.execute_batch("COMMIT").unwrap();
        drop(server);
        assert_eq!(put_by().iter().filter(|opened| opened.id == id).count(), 0, "nobody needs it any more");
    }
}
