//! A database that is written page by page before it has its name.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use super::end::{PageSink, Sent};
use super::exclude;
use crate::error::{Error, ErrorKind, Result};
use crate::platform::{RawFile, Rights, create_file, read_whole, write_all_at};
use crate::store::files::remove;
use crate::store::sqlite::format::header::{HEADER_BYTES, Header, Own};

/// What a device writes whole or not at all.
const SECTOR_BYTES: usize = 512;

/// The file; dropped without a name, it goes, unless whoever comes next goes on with it.
pub(super) struct NewFile {
    pub(super) file: RawFile,
    pub(super) path: PathBuf,
    has_name: bool,
    /// Whether somebody goes on with it.
    stays: AtomicBool,
}

impl NewFile {
    /// Makes it at a place where nothing is.
    ///
    /// # Errors
    /// `DiskFull`, `AccessDenied`, `Io`.
    pub(super) fn create(path: PathBuf, rights: Rights) -> Result<Self> {
        let file = RawFile::make(|| create_file(&path, rights));
        let file = file.map_err(|cause| Error::io("write", &path, &cause))?;
        Ok(NewFile { file, path, has_name: false, stays: AtomicBool::new(false) })
    }

    /// One that was begun before, and is gone on with.
    pub(super) fn begun(path: PathBuf, file: RawFile) -> Self {
        NewFile { file, path, has_name: false, stays: AtomicBool::new(true) }
    }

    /// What is in it stays where this one does not come to its end. Not where that would keep a disk full.
    pub(super) fn staying(self) -> Self {
        self.stays.store(true, Ordering::Relaxed);
        self
    }

    /// It is not what it should be, and goes.
    pub(super) fn give_up(&self) {
        self.stays.store(false, Ordering::Relaxed);
    }

    fn failed(&self) -> impl Fn(io::Error) -> Error + Copy {
        move |cause| Error::io("write", &self.path, &cause)
    }

    /// Gives it its name in this way.
    ///
    /// # Errors
    /// What the way says; the file goes then.
    pub(super) fn name<E>(
        mut self,
        way: impl FnOnce(&Path) -> std::result::Result<(), E>,
    ) -> std::result::Result<(), E> {
        way(&self.path)?;
        self.has_name = true;
        Ok(())
    }

    /// Puts what it holds into a file that is no database and has the name already. That one is no database until the end, either: its header
    /// comes last, and lies in one sector, which a device writes whole or not at all.
    ///
    /// # Errors
    /// Failures of the device.
    pub(super) fn put_into(self, named: &RawFile) -> io::Result<()> {
        let size = self.file.metadata()?.len();
        let mut first = [0; SECTOR_BYTES];
        write_all_at(named, &first, 0)?;
        named.sync_data()?;
        named.set_len(size)?;
        let (mut piece, mut at) = (vec![0; 1 << 20], SECTOR_BYTES as u64);
        while at < size {
            let read = read_whole(&self.file, &mut piece, at)?;
            write_all_at(named, &piece[..read], at)?;
            at += read as u64;
        }
        named.sync_data()?;
        read_whole(&self.file, &mut first, 0)?;
        write_all_at(named, &first, 0)?;
        named.sync_data()?;
        self.give_up();
        Ok(())
    }

    /// Makes a plain database of the pages that came, which servers can write to, durably. It is shown to `look` before what is excluded is
    /// emptied, when nothing lies beside it. The tables that were emptied.
    ///
    /// # Errors
    /// `Corrupt` where what came is no database; `DiskFull`, `Io`.
    pub(super) fn complete(
        &self,
        sent: &Sent,
        exclude: &[String],
        look: impl FnOnce(&Path),
    ) -> Result<Vec<String>> {
        self.file.set_len(u64::from(sent.pages) * u64::from(sent.page_size)).map_err(self.failed())?;
        self.lift((1, 1))?;
        look(&self.path);
        let emptied = exclude::empty(&self.path, exclude)?;
        self.lift(sent.versions)?;
        self.file.sync_all().map_err(self.failed())?;
        Ok(emptied)
    }

    /// Lets servers write to it, with these versions for writing and reading.
    fn lift(&self, versions: (u8, u8)) -> Result<()> {
        let mut first = [0; HEADER_BYTES];
        read_whole(&self.file, &mut first, 0).map_err(self.failed())?;
        let header = Header::read(&first).ok_or_else(|| no_database(&self.path))?;
        let own = Own {
            change_counter: header.change_counter,
            schema_cookie: header.schema_cookie,
            versions: Some(versions),
        };
        own.put(&mut first, header.page_count(self.file.metadata().map_err(self.failed())?.len()));
        write_all_at(&self.file, &first, 0).map_err(self.failed())
    }
}

impl PageSink for NewFile {
    fn put(&self, first: u32, content: &[u8], page_size: usize) -> Result<()> {
        let written = write_all_at(&self.file, content, u64::from(first - 1) * page_size as u64);
        written.map_err(|cause| {
            self.give_up();
            self.failed()(cause)
        })
    }

    fn reset(&self) -> Result<()> {
        self.file.set_len(0).map_err(self.failed())
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        if !self.has_name && !self.stays.load(Ordering::Relaxed) {
            // One that is left is removed by whoever begins the next one.
            let _ = remove(&self.path);
        }
    }
}

fn no_database(path: &Path) -> Error {
    Error::new(
        ErrorKind::Corrupt,
        format!("What was restored to {} is no database.", path.display()),
        "An earlier state may be sound: Get-CsPoolBackupHistory, Restore-CsPoolBackup.",
    )
    .at("path", path.display())
}
