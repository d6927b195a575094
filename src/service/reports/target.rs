//! A file that a report may be written to.

use std::ffi::OsString;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use crate::bound::touching;
use crate::error::{Error, ErrorKind, Result};
use crate::platform::{Entry, EntryKind, Folder};
use crate::store::places::ProtectedFiles;

/// A file that a report may be written to.
pub(super) struct ReportTarget {
    folder: Folder,
    name: OsString,
    there: Option<Entry>,
}

impl ReportTarget {
    /// Looks at everything that speaks against a file, and changes nothing.
    ///
    /// # Errors
    /// `ReportRefused`, `FileMissing` where there is no such folder, `AccessDenied`.
    pub(super) fn checked(file: &Path, protected: &ProtectedFiles) -> Result<Self> {
        let (Some(above), Some(name)) = (file.parent(), file.file_name()) else {
            return Err(refused(file, "it is a folder"));
        };
        touching(above)?;
        let folder = Folder::open(above).map_err(|cause| match cause.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => no_folder(above),
            _ => Error::io("open", above, &cause),
        })?;
        let failed = |cause| Error::io("look at", file, &cause);
        let target = Self::seen(folder, name.to_owned()).map_err(failed)?;
        let objection = protected.objection(&target.folder, &target.name, target.there.as_ref());
        if let Some(objection) = objection.map_err(failed)? {
            return Err(refused(file, &objection));
        }
        if !target.keeps_nothing() {
            target.folder.require_writable().map_err(|cause| Error::io("write to", above, &cause))?;
        }
        Ok(target)
    }

    /// A name in a folder, with what has it now.
    pub(super) fn seen(folder: Folder, name: OsString) -> io::Result<Self> {
        let there = folder.look(&name)?;
        Ok(ReportTarget { folder, name, there })
    }

    /// Whether what is written there is gone.
    pub(super) fn keeps_nothing(&self) -> bool {
        self.there.is_some_and(|entry| entry.kind == EntryKind::Null)
    }

    /// Writes a report, only where the same is there that was looked at; the file.
    ///
    /// # Errors
    /// `ReportRefused`, `DiskFull`, `AccessDenied`, `Io`.
    pub(super) fn write(&self, content: &mut dyn Read) -> Result<PathBuf> {
        let path = self.folder.path.join(&self.name);
        if !self.keeps_nothing() {
            let placed = self.folder.put(&self.name, self.there.as_ref(), content);
            if !placed.map_err(|cause| Error::io("write", &path, &cause))? {
                return Err(refused(&path, "another program has just put something else there"));
            }
        }
        Ok(path)
    }
}

fn refused(file: &Path, objection: &str) -> Error {
    Error::new(
        ErrorKind::ReportRefused,
        format!("Nothing is written to {}: {objection}.", file.display()),
        "Name another file. Ordinary files are overwritten, but none of the deployment.",
    )
    .at("path", file.display())
}

fn no_folder(folder: &Path) -> Error {
    Error::new(
        ErrorKind::FileMissing,
        format!("There is no folder {}.", folder.display()),
        "Create the folder, or name a file in one that exists.",
    )
    .at("path", folder.display())
}
