//! One folder's entries, looked at but not opened.

use std::os::fd::OwnedFd;

use rustix::fs::{AtFlags, Dir, FileType, Stat};
use rustix::io::Errno;
use tokio_util::sync::CancellationToken;

use super::protected::{self, ProtectedDatabases};
use super::{ContentPath, Listing, OWN_FOLDER, ObjectKind, ObjectMeta, Ownership, Refusal, link};
use crate::error::{Error, Result};
use crate::store::content::FolderNames;
use crate::store::sqlite::is_companion;

/// How many entries are looked at between two questions whether to go on.
const ENTRIES_PER_CHECK: usize = 256;

/// The entries of a folder, sorted. The outer result is the cancellation, the inner one the folder's own failure.
pub(super) fn list(
    folder: &OwnedFd,
    path: &ContentPath,
    protected: &ProtectedDatabases,
    cancel: &CancellationToken,
) -> Result<Result<Listing, Errno>> {
    let names = match names(folder, path.is_root(), usize::MAX) {
        Ok(names) => names,
        Err(cause) => return Ok(Err(cause)),
    };
    let here = protected.in_folder(folder);
    let mut databases: Vec<Box<[u8]>> = Vec::new();
    let mut looked_at: usize = 0;
    let mut listing = Listing::look_at(names, |name| {
        if looked_at.is_multiple_of(ENTRIES_PER_CHECK) && cancel.is_cancelled() {
            return Err(Error::cancelled());
        }
        looked_at += 1;
        Ok(match rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) if here.is_database(name, &stat) => {
                databases.push(name.into());
                Some(Err(protected::refusal()))
            }
            Ok(stat) => match known(&stat) {
                Ok(meta) if meta.kind == ObjectKind::Link => match link::target(folder, path, name) {
                    Ok(target) => Some(target.map(|_| meta)),
                    Err(Errno::NOENT | Errno::INVAL) => None,
                    Err(cause) => Some(Err(unseen(cause))),
                },
                known => Some(known),
            },
            // Gone since the names were read.
            Err(Errno::NOENT) => None,
            Err(cause) => Some(Err(unseen(cause))),
        })
    })?;
    if !databases.is_empty() {
        // A database that is known by its inode only has its log and journal beside it.
        let is_beside_one = |name: &[u8]| databases.iter().any(|database| is_companion(database, name));
        listing.refuse(is_beside_one, &protected::refusal());
    }
    Ok(Ok(listing))
}

fn unseen(cause: Errno) -> Refusal {
    Refusal::new(
        format!("It cannot be looked at: {}.", std::io::Error::from(cause)),
        "Give the account that runs the backup service access to its folder.",
    )
}

/// Whether a root holds no content.
pub(super) fn is_empty(root: &OwnedFd) -> Result<bool, Errno> {
    Ok(names(root, true, 1)?.count() == 0)
}

fn names(folder: &OwnedFd, is_root: bool, limit: usize) -> Result<FolderNames, Errno> {
    let mut names = FolderNames::default();
    for entry in Dir::read_from(folder)? {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if name == b"." || name == b".." || (is_root && is_own_folder(folder, name)) {
            continue;
        }
        if !names.push(name) {
            return Err(Errno::OVERFLOW);
        }
        if names.count() >= limit {
            break;
        }
    }
    Ok(names)
}

/// Whether a name at the root is that of the own folder, which some file systems find under other spellings as well.
fn is_own_folder(root: &OwnedFd, name: &[u8]) -> bool {
    let identity = |name: &[u8]| {
        rustix::fs::statat(root, name, AtFlags::SYMLINK_NOFOLLOW).ok().map(|stat| (stat.st_dev, stat.st_ino))
    };
    name == OWN_FOLDER
        || name.eq_ignore_ascii_case(OWN_FOLDER)
            && identity(name).is_some_and(|found| identity(OWN_FOLDER) == Some(found))
}

/// What a file system says about a file, folder or link; a refusal for everything else.
pub(super) fn known(stat: &Stat) -> Result<ObjectMeta, Refusal> {
    let what = match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => return Ok(meta(stat, ObjectKind::File)),
        FileType::Directory => return Ok(meta(stat, ObjectKind::Folder)),
        FileType::Symlink => return Ok(meta(stat, ObjectKind::Link)),
        FileType::Fifo => "a pipe",
        FileType::Socket => "a socket",
        FileType::CharacterDevice | FileType::BlockDevice => "a device",
        FileType::Unknown => "neither a file nor a folder nor a link",
    };
    Err(Refusal::new(
        format!("It is {what}: only files, folders and links are copied."),
        "Replace it by a file, or move it out of the content store.",
    ))
}

/// The fields of `stat` that this product compares.
pub(super) fn meta(stat: &Stat, kind: ObjectKind) -> ObjectMeta {
    // The types of these fields differ between platforms.
    #[allow(clippy::unnecessary_cast)]
    let nanoseconds = |seconds: i64, rest: i64| {
        seconds.saturating_mul(1_000_000_000).saturating_add(rest).max(ObjectMeta::EARLIEST_NS)
    };
    #[allow(clippy::unnecessary_cast)]
    ObjectMeta {
        kind,
        size: if kind == ObjectKind::File { stat.st_size as u64 } else { 0 },
        mtime_ns: nanoseconds(stat.st_mtime as i64, stat.st_mtime_nsec as i64),
        ctime_ns: nanoseconds(stat.st_ctime as i64, stat.st_ctime_nsec as i64),
        inode: stat.st_ino as u64,
        device: stat.st_dev as u64,
        mode: stat.st_mode as u32
            & match kind {
                ObjectKind::File => 0o6777,
                ObjectKind::Folder => 0o3777,
                ObjectKind::Link => 0,
            },
        owner: Ownership { user: stat.st_uid, group: stat.st_gid },
    }
}
