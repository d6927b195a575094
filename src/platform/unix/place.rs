//! A place that a person named, looked at and written to by handles: what lies at a path can be another file a moment later.

use std::ffi::{OsStr, OsString};
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{
    Access, AtFlags, FileType, Mode, OFlags, RenameFlags, Stat, accessat, fchmod, fstat, mkdirat, openat,
    renameat_with, statat, unlinkat,
};
use uuid::Uuid;

use super::accounts::account_number;
use super::files::{FileId, is_open_in_process};

/// The rights of a report where nothing else is known.
const PRIVATE: u32 = 0o600;

/// What kind of thing has a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EntryKind {
    /// An ordinary file.
    File,
    /// A link, wherever it leads.
    Link,
    /// A folder.
    Folder,
    /// `/dev/null`, which keeps nothing.
    Null,
    /// A device, a pipe or a socket.
    Special,
}

/// What has a name in a folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Which file it is.
    pub identity: FileId,
    /// What kind of thing.
    pub kind: EntryKind,
    /// Whether it is this account's.
    pub is_own: bool,
    /// When it was last written to, in seconds and nanoseconds.
    pub modified: (i64, i64),
    mode: u32,
}

/// The first bytes of a file.
pub enum Head {
    /// They are these.
    Read(Vec<u8>),
    /// This process has it open, so that it was left alone.
    OpenHere,
    /// Another file has the name by now.
    Changed,
}

/// A folder that is held open: nobody can put another one in its place.
pub struct Folder {
    /// Where it lay when it was opened.
    pub path: PathBuf,
    handle: OwnedFd,
}

impl Folder {
    /// Opens a folder, links followed.
    ///
    /// # Errors
    /// What the system says.
    pub fn open(path: &Path) -> io::Result<Self> {
        let handle =
            rustix::fs::open(path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        Ok(Folder { path: path.to_owned(), handle })
    }

    /// Makes a folder that only this account may enter, or opens the one of this name; none where that is somebody else's, or no
    /// folder.
    ///
    /// # Errors
    /// What the system says.
    pub fn own(&self, name: &str) -> io::Result<Option<Self>> {
        match mkdirat(&self.handle, name, Mode::RWXU) {
            Ok(()) | Err(rustix::io::Errno::EXIST) => {}
            Err(cause) => return Err(cause.into()),
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let Ok(handle) = openat(&self.handle, name, flags, Mode::empty()) else { return Ok(None) };
        let stat = fstat(&handle)?;
        if !is_own(&stat) {
            return Ok(None);
        }
        if stat.st_mode & 0o777 != Mode::RWXU.bits() {
            fchmod(&handle, Mode::RWXU)?;
        }
        Ok(Some(Folder { path: self.path.join(name), handle }))
    }

    /// This folder and those that it lies in, itself first.
    ///
    /// # Errors
    /// What the system says.
    pub fn ancestors(&self) -> io::Result<Vec<FileId>> {
        let mut found = vec![id(&fstat(&self.handle)?)];
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let mut above = openat(&self.handle, c"..", flags, Mode::empty())?;
        loop {
            let identity = id(&fstat(&above)?);
            if found.last() == Some(&identity) {
                return Ok(found);
            }
            found.push(identity);
            above = openat(&above, c"..", flags, Mode::empty())?;
        }
    }

    /// Whether files can be made here.
    ///
    /// # Errors
    /// What the system says.
    pub fn require_writable(&self) -> io::Result<()> {
        Ok(accessat(&self.handle, c".", Access::WRITE_OK | Access::EXEC_OK, AtFlags::EACCESS)?)
    }

    /// What has a name here, a link not followed.
    ///
    /// # Errors
    /// What the system says.
    pub fn look(&self, name: &OsStr) -> io::Result<Option<Entry>> {
        let stat = match statat(&self.handle, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            Err(rustix::io::Errno::NOENT) => return Ok(None),
            Err(cause) => return Err(cause.into()),
        };
        let kind = match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => EntryKind::File,
            FileType::Symlink => EntryKind::Link,
            FileType::Directory => EntryKind::Folder,
            FileType::CharacterDevice if is_null(&stat) => EntryKind::Null,
            _ => EntryKind::Special,
        };
        let modified = (stat.st_mtime, i64::try_from(stat.st_mtime_nsec).unwrap_or_default());
        let mode = stat.st_mode & 0o777;
        Ok(Some(Entry { identity: id(&stat), kind, is_own: is_own(&stat), modified, mode }))
    }

    /// The first bytes of the file that was seen here.
    ///
    /// # Errors
    /// What the system says.
    pub fn head(&self, name: &OsStr, seen: FileId, length: u64) -> io::Result<Head> {
        if is_open_in_process(seen) {
            return Ok(Head::OpenHere);
        }
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = std::fs::File::from(openat(&self.handle, name, flags, Mode::empty())?);
        if id(&fstat(&file)?) != seen {
            return Ok(Head::Changed);
        }
        let mut bytes = Vec::new();
        file.take(length).read_to_end(&mut bytes)?;
        Ok(Head::Read(bytes))
    }

    /// The names here.
    ///
    /// # Errors
    /// What the system says.
    pub fn names(&self) -> io::Result<Vec<OsString>> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let listing = rustix::fs::Dir::new(openat(&self.handle, c".", flags, Mode::empty())?)?;
        listing.map(|entry| Ok(OsStr::from_bytes(entry?.file_name().to_bytes()).to_owned())).collect()
    }

    /// Removes a file.
    ///
    /// # Errors
    /// What the system says.
    pub fn remove(&self, name: &OsStr) -> io::Result<()> {
        Ok(unlinkat(&self.handle, name, AtFlags::empty())?)
    }

    /// Puts a file with this content in the place of what was seen there. Whether it did: it does not, and leaves everything as it
    /// is, where something else has the name by now. An own file keeps its rights; a new one is for this account alone.
    ///
    /// # Errors
    /// What the system says.
    pub fn put(&self, name: &OsStr, seen: Option<&Entry>, content: &mut dyn Read) -> io::Result<bool> {
        let beside = format!(".csbackup-{}.tmp", Uuid::new_v4());
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut file =
            std::fs::File::from(openat(&self.handle, &beside, flags, Mode::from_raw_mode(PRIVATE))?);
        let placed = io::copy(content, &mut file).and_then(|_| {
            if let Some(entry) = seen.filter(|entry| entry.is_own) {
                fchmod(&file, Mode::from_raw_mode(entry.mode))?;
            }
            self.exchange(&beside, name, seen)
        });
        // What has this name now is the file that was replaced, or one that was not placed.
        if !matches!(placed, Ok(Placed::Moved)) {
            let removed = unlinkat(&self.handle, &beside, AtFlags::empty());
            if matches!(placed, Ok(Placed::Exchanged)) {
                removed?;
            }
        }
        Ok(!matches!(placed?, Placed::Changed))
    }

    fn exchange(&self, beside: &str, name: &OsStr, seen: Option<&Entry>) -> io::Result<Placed> {
        let rename = |flags| renameat_with(&self.handle, beside, &self.handle, name, flags);
        let Some(seen) = seen else {
            return match rename(RenameFlags::NOREPLACE) {
                Ok(()) => Ok(Placed::Moved),
                Err(rustix::io::Errno::EXIST) => Ok(Placed::Changed),
                Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS) => {
                    self.rename_over(beside, name, None)
                }
                Err(cause) => Err(cause.into()),
            };
        };
        match rename(RenameFlags::EXCHANGE) {
            Ok(()) => {}
            Err(rustix::io::Errno::NOENT) => return Ok(Placed::Changed),
            Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS) => {
                return self.rename_over(beside, name, Some(seen));
            }
            Err(cause) => return Err(cause.into()),
        }
        if self.look(OsStr::new(beside))?.map(|entry| entry.identity) == Some(seen.identity) {
            return Ok(Placed::Exchanged);
        }
        rename(RenameFlags::EXCHANGE)?;
        Ok(Placed::Changed)
    }

    /// Where the file system exchanges no names: looks once more, and renames.
    fn rename_over(&self, beside: &str, name: &OsStr, seen: Option<&Entry>) -> io::Result<Placed> {
        if self.look(name)?.map(|entry| entry.identity) != seen.map(|entry| entry.identity) {
            return Ok(Placed::Changed);
        }
        rustix::fs::renameat(&self.handle, beside, &self.handle, name)?;
        Ok(Placed::Moved)
    }
}

/// What became of a file that was to take another one's place.
enum Placed {
    /// It has the name, and nothing has its former one.
    Moved,
    /// It has the name, and what it replaced has its former one.
    Exchanged,
    /// Something else has the name than what was seen there.
    Changed,
}

fn id(stat: &Stat) -> FileId {
    FileId { device: stat.st_dev, inode: stat.st_ino }
}

fn is_own(stat: &Stat) -> bool {
    stat.st_uid == account_number()
}

fn is_null(stat: &Stat) -> bool {
    rustix::fs::stat(c"/dev/null").is_ok_and(|null| null.st_rdev == stat.st_rdev)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fixture() -> (tempfile::TempDir, Folder) {
        let folder = tempfile::tempdir().unwrap();
        let opened = Folder::open(folder.path()).unwrap();
        (folder, opened)
    }

    #[test]
    fn what_took_the_name_after_the_look_is_left_alone() {
        let (path, folder) = fixture();
        let name = OsStr::new("report.html");
        let file = path.path().join(name);
        // Nothing was there, and now something is.
        std::fs::write(&file, "a database").unwrap();
        assert!(!folder.put(name, None, &mut &b"report"[..]).unwrap());
        assert_eq!(std::fs::read(&file).unwrap(), b"a database");
        // Another file is there than the one that was seen.
        let seen = folder.look(name).unwrap().unwrap();
        std::fs::write(path.path().join("other"), "another database").unwrap();
        std::fs::rename(path.path().join("other"), &file).unwrap();
        assert!(!folder.put(name, Some(&seen), &mut &b"report"[..]).unwrap());
        assert_eq!(std::fs::read(&file).unwrap(), b"another database");
        // What was seen is gone.
        let seen = folder.look(name).unwrap().unwrap();
        std::fs::remove_file(&file).unwrap();
        assert!(!folder.put(name, Some(&seen), &mut &b"report"[..]).unwrap());
        assert_eq!(std::fs::read_dir(path.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_folder_that_was_replaced_after_it_was_opened_is_not_followed() {
        let (path, above) = fixture();
        let folder = above.own("own").unwrap().unwrap();
        std::fs::rename(path.path().join("own"), path.path().join("moved")).unwrap();
        std::fs::create_dir(path.path().join("own")).unwrap();
        assert!(folder.put(OsStr::new("report.html"), None, &mut &b"report"[..]).unwrap());
        assert!(
            path.path().join("moved/report.html").exists() && !path.path().join("own/report.html").exists()
        );
    }
}
