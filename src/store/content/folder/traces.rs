//! What a folder store keeps beside its content: the marker, and what a killed process left.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;

use rustix::fs::{AtFlags, Dir, FileType};
use rustix::io::Errno;
use uuid::Uuid;

use super::aside::{self, ASIDE_FOLDER};
use super::failure::errno;
use super::history::HISTORY_FOLDER;
use super::staged::STAGING_FOLDER;
use super::{ContentPath, ContentTrace, FolderStore, Marker, OWN_FOLDER, handles};
use crate::error::{Error, ErrorKind, Result};
use crate::stored::Stored;

mod probe;
mod spelling;

pub(super) use probe::Known;

const MARKER: &[u8] = b"store.json";
const MARKER_NAME: &str = ".csb/store.json";

/// How many names of others are told.
const MOST_FOREIGN: usize = 100;

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
            // What has the name of the own folder, and is none, is others'.
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Ok(None),
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
        // Before it is a store: whoever copies to it, or looks at it, then knows what it can hold.
        self.find_abilities()?;
        self.write_own(MARKER, &text)
            .and_then(|()| rustix::fs::fsync(&*self.handles.root()?))
            .map_err(|cause| self.own_error("write", cause))
    }

    /// Writes what lies in the own folder, by way of a temporary file and durably.
    pub(super) fn write_own(&self, name: &[u8], text: &str) -> Result<(), Errno> {
        let (folder, temporary, mut file) = self.create_staged()?;
        let mut write = || {
            let own = handles::below(&*self.handles.root()?, OWN_FOLDER)?;
            file.write_all(text.as_bytes()).map_err(errno)?;
            rustix::fs::fsync(&file)?;
            rustix::fs::renameat(&*folder, temporary.as_bytes(), &*own, name)?;
            rustix::fs::fsync(&*own)
        };
        write().inspect_err(|_| {
            let _ = rustix::fs::unlinkat(&*folder, temporary.as_bytes(), AtFlags::empty());
        })
    }

    /// What lies in the own folder and is not this product's; the first names of it.
    pub(super) fn foreign_names(&self) -> Result<Vec<ContentPath>> {
        let is_marked = self.stored_marker()?.is_some();
        let failed = |cause| self.own_error("list", cause);
        let own_path = ContentPath::root().join(OWN_FOLDER).unwrap_or_default();
        let own = match self.handles.root().and_then(|root| handles::below(&root, OWN_FOLDER)) {
            Err(Errno::NOENT) => return Ok(Vec::new()),
            Err(Errno::NOTDIR | Errno::LOOP) => return Ok(vec![own_path]),
            own => own.map_err(failed)?,
        };
        let mut found = foreign(&own, &own_path, |name, is_folder| match name {
            MARKER | probe::NOTE | spelling::NOTE => !is_folder,
            STAGING_FOLDER | ASIDE_FOLDER => is_folder,
            HISTORY_FOLDER => is_folder && is_marked,
            _ => false,
        })
        .map_err(failed)?;
        let mut look_into = |name: &[u8], is_ours: fn(&[u8], bool) -> bool| {
            let Ok(folder) = handles::below(&own, name) else { return Ok(()) };
            let path = own_path.join(name).unwrap_or_default();
            found.extend(foreign(&folder, &path, is_ours).map_err(failed)?);
            Ok(())
        };
        look_into(STAGING_FOLDER, is_staged)?;
        if !is_marked {
            // What lies there in a marked store was set aside by whoever marked it.
            look_into(ASIDE_FOLDER, |name, is_folder| {
                is_folder && aside::is_occasion(name) || is_staged(name, false)
            })?;
        }
        found.sort_unstable();
        found.truncate(MOST_FOREIGN);
        Ok(found)
    }

    /// Removes staged files that nobody will publish any more.
    pub(super) fn remove_staged(&self) -> Result<u64> {
        // An earlier build may have let it inherit. Where it cannot be written, nothing is written in it either.
        let _ = self.hand_nothing_down();
        self.finish_respelling()?;
        let names = self.staged_names().map_err(|cause| self.own_error("sweep", cause))?;
        for name in &names {
            self.remove_staged_name(name)?;
        }
        Ok(names.len() as u64)
    }

    fn remove_staged_name(&self, name: &[u8]) -> Result<()> {
        if !probe::is_probe(name) {
            return self.remove_own(Some(STAGING_FOLDER), name, AtFlags::empty());
        }
        let empty = || {
            let folder = handles::below(&*self.staging_folder()?, name)?;
            for entry in Dir::read_from(&*folder)? {
                let entry = entry?;
                let tried = entry.file_name();
                // What was tried there has no content.
                if is_file(&folder, tried.to_bytes())? {
                    rustix::fs::unlinkat(&*folder, tried, AtFlags::empty())?;
                }
            }
            Ok(())
        };
        match empty() {
            Ok(()) | Err(Errno::NOENT) => self.remove_own(Some(STAGING_FOLDER), name, AtFlags::REMOVEDIR),
            Err(cause) => Err(self.own_error("sweep", cause)),
        }
    }

    /// Removes everything that is not content.
    pub(super) fn remove_traces(&self, dry_run: bool) -> Result<Vec<ContentTrace>> {
        let mut traces = Vec::new();
        let foreign = self.foreign_names()?;
        if !foreign.is_empty() && self.stored_marker()?.is_none() {
            // All of it is others'.
            return Ok(traces);
        }
        if !dry_run {
            self.finish_respelling()?;
        }
        for name in self.staged_names().map_err(|cause| self.own_error("list", cause))? {
            if !dry_run {
                self.remove_staged_name(&name)?;
            }
            let name = format!(".csb/tmp/{}", String::from_utf8_lossy(&name));
            traces.push(ContentTrace { kind: "temporaryFile", name });
        }
        let own = match self.handles.root().and_then(|root| handles::below(&root, OWN_FOLDER)) {
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Ok(traces),
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
        let aside = rustix::fs::statat(&*own, ASIDE_FOLDER, AtFlags::SYMLINK_NOFOLLOW);
        let keeps = aside.is_ok() || !foreign.is_empty();
        if !keeps {
            traces.push(ContentTrace { kind: "marker", name: ".csb".to_owned() });
        }
        if !dry_run {
            self.remove_history(false)?;
            self.remove_own(None, MARKER, AtFlags::empty())?;
            self.remove_own(None, probe::NOTE, AtFlags::empty())?;
            self.remove_own(None, STAGING_FOLDER, AtFlags::REMOVEDIR)?;
            let root = self.handles.root().map_err(|cause| self.own_error("open", cause))?;
            let removed = if keeps {
                rustix::fs::fsync(&*own)
            } else {
                rustix::fs::unlinkat(&*root, OWN_FOLDER, AtFlags::REMOVEDIR)
            };
            removed
                // Others have put something there meanwhile.
                .or_else(|cause| if cause == Errno::NOTEMPTY { Ok(()) } else { Err(cause) })
                .and_then(|()| rustix::fs::fsync(&*root))
                .map_err(|cause| self.own_error("remove", cause))?;
        }
        Ok(traces)
    }

    fn staged_names(&self) -> Result<Vec<Box<[u8]>>, Errno> {
        let folder = match self.staging_folder() {
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Ok(Vec::new()),
            folder => folder?,
        };
        let mut names = Vec::new();
        for entry in Dir::read_from(&*folder)? {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            // Asked for only where it may be ours.
            if (is_staged(name, false) || probe::is_probe(name)) && is_staged(name, !is_file(&folder, name)?)
            {
                names.push(name.into());
            }
        }
        Ok(names)
    }

    pub(super) fn remove_own(&self, folder: Option<&[u8]>, name: &[u8], flags: AtFlags) -> Result<()> {
        let remove = || {
            let own = handles::below(&*self.handles.root()?, OWN_FOLDER)?;
            let folder = folder.map_or(Ok(own.clone()), |folder| handles::below(&own, folder))?;
            rustix::fs::unlinkat(&*folder, name, flags)
        };
        match remove() {
            // A folder in which others keep something stays.
            Ok(()) | Err(Errno::NOENT | Errno::NOTEMPTY) => Ok(()),
            Err(cause) => Err(self.own_error("remove", cause)),
        }
    }

    pub(super) fn own_error(&self, doing: &str, cause: Errno) -> Error {
        Error::io(doing, &self.root.join(".csb"), &cause.into())
    }
}

/// Whether something in the folder for files that are being written has a name that this product gives there.
fn is_staged(name: &[u8], is_folder: bool) -> bool {
    let is_id = name.len() == 36 && str::from_utf8(name).is_ok_and(|name| Uuid::try_parse(name).is_ok());
    if is_folder { probe::is_probe(name) } else { is_id }
}

/// What lies in a folder and is not ours.
fn foreign(
    folder: &OwnedFd,
    path: &ContentPath,
    is_ours: impl Fn(&[u8], bool) -> bool,
) -> Result<Vec<ContentPath>, Errno> {
    let mut found = Vec::new();
    for entry in Dir::read_from(folder)? {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if name == b"." || name == b".." || is_ours(name, !is_file(folder, name)?) {
            continue;
        }
        found.extend(path.join(name));
    }
    Ok(found)
}

/// Whether a name is that of a file or link. Asked of itself: not every file system says in a listing what has a name.
fn is_file(folder: &OwnedFd, name: &[u8]) -> Result<bool, Errno> {
    match rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(FileType::from_raw_mode(stat.st_mode) != FileType::Directory),
        Err(Errno::NOENT) => Ok(false),
        Err(cause) => Err(cause),
    }
}
