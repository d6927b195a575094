//! What a folder store keeps beside its content: the marker, and what a killed process left.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;

use rustix::fs::{AtFlags, Dir, FileType};
use rustix::io::Errno;

use super::aside::ASIDE_FOLDER;
use super::staged::STAGING_FOLDER;
use super::{ContentTrace, FolderStore, Marker, OWN_FOLDER, handles};
use crate::error::{Error, ErrorKind, Result};
use crate::stored::Stored;

const MARKER: &[u8] = b"store.json";
const MARKER_NAME: &str = ".csb/store.json";

/// A marker is far smaller; whatever is larger is none.
const LONGEST_MARKER: u64 = 64 << 10;

impl FolderStore {
    /// The marker, if there is one.
    pub(super) fn read_marker(&self) -> Result<Option<Marker>> {
        Ok(self.stored_marker()?.map(Stored::into_known))
    }

    fn stored_marker(&self) -> Result<Option<Stored<Marker>>> {
        let open = || {
            let own = handles::below(&*self.handles.root()?, OWN_FOLDER)?;
            handles::open_beneath(&own, MARKER, handles::READING).map(File::from)
        };
        let file = match open() {
            Err(Errno::NOENT) => return Ok(None),
            found => found.map_err(|cause| self.own_error("read", cause))?,
        };
        let path = self.root.join(MARKER_NAME);
        let mut text = String::new();
        file.take(LONGEST_MARKER)
            .read_to_string(&mut text)
            .map_err(|cause| Error::io("read", &path, &cause))?;
        Stored::read(&text).map(Some).map_err(|cause| match cause.kind {
            ErrorKind::Corrupt => Error::new(
                ErrorKind::Corrupt,
                format!("The marker {} cannot be read.", path.display()),
                "Restore it from a backup of the content store; without it nobody knows which store this is.",
            )
            .at("path", path.display())
            .caused_by(&cause),
            _ => cause.at("path", path.display()),
        })
    }

    /// Writes the marker by way of a temporary file. What a newer build wrote into the marker of this store stays in it.
    pub(super) fn write_marker(&self, marker: &Marker) -> Result<()> {
        let stored = match self.stored_marker() {
            Ok(Some(present)) if present.known().store_id == marker.store_id => {
                present.replace(marker.clone())?
            }
            Err(error) if error.kind == ErrorKind::UnsupportedStore => return Err(error),
            _ => Stored::new(marker.clone()),
        };
        let text = stored.to_json()?;
        let write = || -> Result<(), Errno> {
            let (folder, name, mut file) = self.create_staged()?;
            let own = handles::below(&*self.handles.root()?, OWN_FOLDER)?;
            file.write_all(text.as_bytes())
                .map_err(|cause| Errno::from_io_error(&cause).unwrap_or(Errno::IO))?;
            rustix::fs::fsync(&file)?;
            rustix::fs::renameat(&*folder, name.as_bytes(), &*own, MARKER)?;
            rustix::fs::fsync(&*own)?;
            rustix::fs::fsync(&*self.handles.root()?)
        };
        write().map_err(|cause| self.own_error("write", cause))
    }

    /// Removes staged files that nobody will publish any more.
    pub(super) fn remove_staged(&self) -> Result<u64> {
        // An earlier build may have let it inherit. Where it cannot be written, nothing is written in it either.
        let _ = self.hand_nothing_down();
        let names = self.staged_names().map_err(|cause| self.own_error("sweep", cause))?;
        for name in &names {
            self.remove_own(Some(STAGING_FOLDER), name, AtFlags::empty())?;
        }
        Ok(names.len() as u64)
    }

    /// Removes everything that is not content.
    pub(super) fn remove_traces(&self, dry_run: bool) -> Result<Vec<ContentTrace>> {
        let mut traces = Vec::new();
        for name in self.staged_names().map_err(|cause| self.own_error("list", cause))? {
            if !dry_run {
                self.remove_own(Some(STAGING_FOLDER), &name, AtFlags::empty())?;
            }
            let name = format!(".csb/tmp/{}", String::from_utf8_lossy(&name));
            traces.push(ContentTrace { kind: "temporaryFile", name });
        }
        let own = match self.handles.root().and_then(|root| handles::below(&root, OWN_FOLDER)) {
            Err(Errno::NOENT) => return Ok(traces),
            own => own.map_err(|cause| self.own_error("open", cause))?,
        };
        if rustix::fs::statat(&*own, MARKER, AtFlags::SYMLINK_NOFOLLOW).is_ok() {
            traces.push(ContentTrace { kind: "marker", name: MARKER_NAME.to_owned() });
        }
        let revisions = self.remove_history(true)?;
        if revisions > 0 {
            let name = format!(".csb/history ({revisions} earlier states)");
            traces.push(ContentTrace { kind: "history", name });
        }
        let keeps = rustix::fs::statat(&*own, ASIDE_FOLDER, AtFlags::SYMLINK_NOFOLLOW).is_ok();
        if !keeps {
            traces.push(ContentTrace { kind: "marker", name: ".csb".to_owned() });
        }
        if !dry_run {
            self.remove_history(false)?;
            self.remove_own(None, MARKER, AtFlags::empty())?;
            self.remove_own(None, STAGING_FOLDER, AtFlags::REMOVEDIR)?;
            let root = self.handles.root().map_err(|cause| self.own_error("open", cause))?;
            let removed = if keeps {
                rustix::fs::fsync(&*own)
            } else {
                rustix::fs::unlinkat(&*root, OWN_FOLDER, AtFlags::REMOVEDIR)
            };
            removed
                .and_then(|()| rustix::fs::fsync(&*root))
                .map_err(|cause| self.own_error("remove", cause))?;
        }
        Ok(traces)
    }

    fn staged_names(&self) -> Result<Vec<Box<[u8]>>, Errno> {
        let folder = match self.staging_folder() {
            Err(Errno::NOENT) => return Ok(Vec::new()),
            folder => folder?,
        };
        let mut names = Vec::new();
        for entry in Dir::read_from(&*folder)? {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            if name != b"." && name != b".." && is_file(&folder, name)? {
                names.push(name.into());
            }
        }
        Ok(names)
    }

    fn remove_own(&self, folder: Option<&[u8]>, name: &[u8], flags: AtFlags) -> Result<()> {
        let remove = || {
            let own = handles::below(&*self.handles.root()?, OWN_FOLDER)?;
            let folder = folder.map_or(Ok(own.clone()), |folder| handles::below(&own, folder))?;
            rustix::fs::unlinkat(&*folder, name, flags)
        };
        match remove() {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(cause) => Err(self.own_error("remove", cause)),
        }
    }

    fn own_error(&self, doing: &str, cause: Errno) -> Error {
        Error::io(doing, &self.root.join(".csb"), &cause.into())
    }
}

/// Whether a name is that of a file or link. Asked of itself: not every file system says in a listing what has a name.
fn is_file(folder: &OwnedFd, name: &[u8]) -> Result<bool, Errno> {
    match rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(FileType::from_raw_mode(stat.st_mode) != FileType::Directory),
        Err(Errno::NOENT) => Ok(false),
        Err(cause) => Err(cause),
    }
}
