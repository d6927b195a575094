//! What a file is and looks like, and what the kernel does with it.

use std::fs::{File, Metadata};
use std::io;
use std::num::NonZeroU64;
use std::ops::Range;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{Access, Advice, AtFlags, CWD, Timespec, Timestamps, UTIME_OMIT};
use serde::{Deserialize, Serialize};

/// Which file something is, whatever its names: two paths lead to one file where these are equal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileId {
    /// The file system.
    pub device: u64,
    /// The file's number there.
    pub inode: u64,
}

impl FileId {
    /// That of the file or folder that a path leads to, through links.
    ///
    /// # Errors
    /// Where there is none, or the way to it is closed.
    pub fn of(path: &Path) -> io::Result<Self> {
        std::fs::metadata(path).map(|metadata| FileId::from(&metadata))
    }
}

impl From<&Metadata> for FileId {
    fn from(metadata: &Metadata) -> Self {
        FileId { device: metadata.dev(), inode: metadata.ino() }
    }
}

/// The outside of a file: whatever is written to it shows here.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileStat {
    /// In bytes.
    pub size: u64,
    /// When it was last written to, in seconds and nanoseconds.
    pub modified: (i64, i64),
    /// When it, or what is known of it, last changed.
    pub changed: (i64, i64),
    /// The file's number on its file system.
    pub inode: u64,
    /// The file system.
    pub device: u64,
}

impl FileStat {
    /// How the file looks that a path leads to; none where there is none. The file is not opened.
    pub fn of(path: &Path) -> Option<Self> {
        std::fs::metadata(path).ok().map(|metadata| FileStat::from(&metadata))
    }
}

impl From<&Metadata> for FileStat {
    fn from(metadata: &Metadata) -> Self {
        FileStat {
            size: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
            inode: metadata.ino(),
            device: metadata.dev(),
        }
    }
}

/// How many names a file has.
pub fn names_of(metadata: &Metadata) -> u64 {
    metadata.nlink()
}

/// Sets when a file was last written to, in seconds and nanoseconds, without opening it.
///
/// # Errors
/// Where there is none, or it is another account's.
pub fn set_modified(path: &Path, (seconds, nanoseconds): (i64, i64)) -> io::Result<()> {
    let as_it_is = Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT };
    let modified = Timespec { tv_sec: seconds, tv_nsec: nanoseconds };
    let times = Timestamps { last_access: as_it_is, last_modification: modified };
    Ok(rustix::fs::utimensat(CWD, path, &times, AtFlags::empty())?)
}

/// Reads from a place in a file, whoever else reads or writes it; fewer bytes at its end.
///
/// # Errors
/// Failures of the device.
pub fn read_at(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    file.read_at(buffer, offset)
}

/// Reads from a place in a file until the buffer is full; how many bytes there were, fewer than asked for at its end.
///
/// # Errors
/// Failures of the device.
pub fn read_whole(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut done = 0;
    while let Some(rest) = buffer.get_mut(done..).filter(|rest| !rest.is_empty()) {
        match read_at(file, rest, offset + done as u64) {
            Ok(0) => break,
            Ok(read) => done += read,
            Err(cause) if cause.kind() == io::ErrorKind::Interrupted => {}
            Err(cause) => return Err(cause),
        }
    }
    Ok(done)
}

/// Writes all of it at a place in a file, whoever else reads or writes the file.
///
/// # Errors
/// Failures of the device.
pub fn write_all_at(file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
    file.write_all_at(bytes, offset)
}

/// A file without a name in a folder that shares the blocks of another one: whatever is written to that later, it stays as it is.
///
/// # Errors
/// Where the file system has no such clones, or both are not on one.
pub fn share_blocks(file: &File, folder: &Path) -> io::Result<File> {
    let clone = tempfile::tempfile_in(folder)?;
    rustix::fs::ioctl_ficlone(&clone, file)?;
    Ok(clone)
}

/// Asks the system to forget what it has in memory of a part of a file; what is not written yet it begins to write. Only
/// advice: nothing tells whether it was taken.
pub fn drop_from_cache(file: &File, part: &Range<u64>) {
    if let Some(length) = NonZeroU64::new(part.end.saturating_sub(part.start)) {
        let _ = rustix::fs::fadvise(file, part.start, Some(length), Advice::DontNeed);
    }
}

/// Opens a file for reading that must be an ordinary one: opening a pipe would wait for whoever writes to it. A link is
/// followed.
///
/// # Errors
/// `InvalidInput` for anything but a file; whatever opening says.
pub fn open_regular(path: &Path) -> io::Result<File> {
    let no_waiting = i32::try_from(rustix::fs::OFlags::NONBLOCK.bits()).unwrap_or_default();
    let file = File::options().read(true).custom_flags(no_waiting).open(path)?;
    match file.metadata()?.file_type() {
        kind if kind.is_file() => Ok(file),
        kind if kind.is_dir() => Err(io::Error::from(io::ErrorKind::IsADirectory)),
        _ => Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no ordinary file")),
    }
}

/// Whether this process has a file open, by whatever descriptor: opening it once more, and closing it, would drop the locks that
/// it holds on it, those of our own SQLite as well. `is_open_elsewhere` leaves the descriptors of our SQLite out: to open a
/// database through the same SQLite is safe.
pub fn is_open_in_process(file: FileId) -> bool {
    let Ok(handles) = std::fs::read_dir("/proc/self/fd") else { return false };
    let is_it = |handle: &std::fs::DirEntry| {
        // The kernel's own list is asked first: looking at a handle itself may wait for ever where its mount does not answer.
        let info = std::fs::read_to_string(Path::new("/proc/self/fdinfo").join(handle.file_name()))
            .unwrap_or_default();
        let inode = info.lines().find_map(|line| line.strip_prefix("ino:")?.trim().parse::<u64>().ok());
        inode.is_none_or(|inode| inode == file.inode)
            && FileId::of(&handle.path()).is_ok_and(|open| open == file)
    };
    handles.flatten().any(|handle| is_it(&handle))
}

/// Where the file system is mounted that a path lies on, as far as its names tell; none for the root's, and where the system
/// does not say. Touches neither.
pub fn mount_of(path: &Path) -> Option<PathBuf> {
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").ok()?;
    let point = |line: &str| Some(PathBuf::from(line.split(' ').nth(4)?.replace("\\040", " ")));
    let points = mounts.lines().filter_map(point).filter(|point| path.starts_with(point));
    points.max_by_key(|point| point.as_os_str().len()).filter(|point| point != Path::new("/"))
}

/// Gives a file another name where nothing has that name yet.
///
/// # Errors
/// `AlreadyExists`; failures of the file system.
pub fn rename_to_free_name(from: &Path, to: &Path) -> io::Result<()> {
    match rustix::fs::renameat_with(CWD, from, CWD, to, rustix::fs::RenameFlags::NOREPLACE) {
        // A file system that cannot promise it: whoever comes in the moment between is replaced.
        Err(rustix::io::Errno::INVAL) if std::fs::symlink_metadata(to).is_err() => std::fs::rename(from, to),
        Err(rustix::io::Errno::INVAL) => Err(io::Error::from(io::ErrorKind::AlreadyExists)),
        renamed => Ok(renamed?),
    }
}

/// Makes the names in a folder durable.
///
/// # Errors
/// Failures of the device.
pub fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// What one may want to do with a file or folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Right {
    /// Read a file.
    Read,
    /// See what is in a folder, and reach it.
    List,
    /// Read and write a file.
    Change,
    /// Make, rename and remove what is in a folder.
    ChangeEntries,
}

/// Whether this process may do that, without doing it.
///
/// # Errors
/// Why not.
pub fn may(path: &Path, right: Right) -> io::Result<()> {
    let asked = match right {
        Right::Read => Access::READ_OK,
        Right::List => Access::READ_OK | Access::EXEC_OK,
        Right::Change => Access::READ_OK | Access::WRITE_OK,
        Right::ChangeEntries => Access::WRITE_OK | Access::EXEC_OK,
    };
    Ok(rustix::fs::access(path, asked)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_names_of_one_file_are_one_file() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        std::fs::write(at("file"), "text").unwrap();
        std::fs::write(at("other"), "text").unwrap();
        std::fs::hard_link(at("file"), at("second")).unwrap();
        std::os::unix::fs::symlink("file", at("link")).unwrap();
        let of = |name| FileId::of(&at(name)).unwrap();
        assert_eq!(of("file"), of("second"));
        assert_eq!(of("file"), of("link"));
        assert_ne!(of("file"), of("other"));
        assert!(FileId::of(&at("none")).is_err());
    }

    #[test]
    fn a_pipe_is_refused_and_not_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        rustix::fs::mkfifoat(CWD, at("pipe"), 0o644.into()).unwrap();
        std::fs::write(at("file"), "text").unwrap();
        std::os::unix::fs::symlink("file", at("link")).unwrap();
        assert_eq!(open_regular(&at("pipe")).unwrap_err().kind(), io::ErrorKind::InvalidInput);
        assert_eq!(open_regular(folder.path()).unwrap_err().kind(), io::ErrorKind::IsADirectory);
        let mut text = [0; 9];
        let file = open_regular(&at("link")).unwrap();
        assert_eq!(read_at(&file, &mut text, 1).unwrap(), 3);
        assert_eq!(&text[..3], b"ext");
    }

    #[test]
    fn a_time_that_is_set_shows_and_nothing_else_does() {
        let file = tempfile::NamedTempFile::new().unwrap();
        set_modified(file.path(), (100, 7)).unwrap();
        let look = FileStat::of(file.path()).unwrap();
        assert_eq!((look.modified, look.size), ((100, 7), 0));
        assert_eq!(FileStat::of(Path::new("/nowhere")), None);
    }
}
