//! Which failures concern one object, and which the whole store.

use rustix::io::Errno;

use super::FolderStore;
use crate::error::{Error, ErrorKind};
use crate::store::content::{ContentPath, ObjectError, Refusal};

/// The number of a failure that the standard library tells; `EIO` where it has none.
pub(super) fn errno(cause: std::io::Error) -> Errno {
    Errno::from_io_error(&cause).unwrap_or(Errno::IO)
}

/// A failed read. Most failures concern one object: the rest of the store is still worth reading.
pub(super) fn reading(store: &FolderStore, path: &ContentPath, cause: Errno) -> ObjectError {
    let (reason, advice) = match cause {
        Errno::NOENT => return ObjectError::Gone,
        Errno::STALE | Errno::NOTCONN | Errno::NODEV | Errno::HOSTDOWN | Errno::TIMEDOUT => {
            return ObjectError::Store(
                Error::new(
                    ErrorKind::StoreUnavailable,
                    format!("The content store {} does not answer any more.", store.root.display()),
                    "Check that its file system is still mounted and its server reachable.",
                )
                .at("path", store.root.display())
                .caused_by(&cause),
            );
        }
        Errno::MFILE | Errno::NFILE | Errno::NOMEM => {
            return ObjectError::Store(store.error("read", path, cause));
        }
        Errno::ACCESS | Errno::PERM => (
            "It may not be read.".to_owned(),
            "Give the account that runs the backup service the right to read it.",
        ),
        // The last one of what is read as a link, and is none.
        Errno::LOOP | Errno::NOTDIR | Errno::ISDIR | Errno::INVAL => (
            "It was replaced by something else while it was read.".to_owned(),
            "Nothing to do, unless this is reported in every cycle: then see what replaces it.",
        ),
        Errno::XDEV => (
            "Another file system, or another part of this one, is mounted on it.".to_owned(),
            "Unmount it, or move it out: a content store must lie on one file system. Nothing that the standby copy \
             holds below it is deleted.",
        ),
        Errno::IO => (
            "The device failed while it was read.".to_owned(),
            "Check the device; restore the file from the standby copy if it is lost.",
        ),
        other => (
            format!("It cannot be read: {}.", std::io::Error::from(other)),
            "Check the file and its file system.",
        ),
    };
    ObjectError::Refused(Refusal::new(reason, advice))
}

/// A failed write. What is wrong with the object, its name or its place concerns it alone; what is wrong with the root
/// or the device concerns all.
pub(super) fn writing(store: &FolderStore, path: &ContentPath, cause: Errno) -> ObjectError {
    let (reason, advice) = match cause {
        Errno::NOENT => return ObjectError::Gone,
        Errno::NAMETOOLONG | Errno::ILSEQ | Errno::INVAL => (
            "The destination's file system cannot hold such a name.",
            "Rename it, or put the destination on a file system like the source's.",
        ),
        Errno::ISDIR | Errno::NOTDIR | Errno::EXIST | Errno::LOOP => (
            "Something else has its name at the destination, which this product did not put there.",
            "Move that away from the destination; the next cycle then copies the object.",
        ),
        Errno::NOTEMPTY => (
            "The folder still holds something at the destination that this product did not put there.",
            "Move that away from the destination; the next cycle then removes the folder.",
        ),
        Errno::BUSY => (
            "Something is mounted on it at the destination.",
            "Unmount it: a content store must lie on one file system.",
        ),
        Errno::ACCESS | Errno::PERM | Errno::ROFS => return denied(store, path, cause),
        Errno::MLINK => (
            "Its folder holds as many folders as the destination's file system can.",
            "Put the destination on a file system without that limit.",
        ),
        Errno::FBIG => (
            "It is larger than the destination's file system can hold.",
            "Put the destination on a file system without that limit.",
        ),
        Errno::NOSYS | Errno::NOTSUP => (
            "The destination's file system has no such objects.",
            "Put the destination on a file system like the source's.",
        ),
        Errno::XDEV => (
            "Another file system is mounted at its folder in the destination.",
            "Unmount it: a content store must lie on one file system.",
        ),
        other => return ObjectError::Store(store.error("write", path, other)),
    };
    ObjectError::Refused(Refusal::new(reason, advice))
}

/// A write that is not allowed. Where names may change in the root, only this object, or its folder, is closed.
fn denied(store: &FolderStore, path: &ContentPath, cause: Errno) -> ObjectError {
    if let Err(cause) = store.may_write_root() {
        return ObjectError::Store(store.error("write to", &ContentPath::root(), cause));
    }
    let place = store.absolute(path);
    let reason = match cause {
        Errno::ACCESS => format!(
            "The account that runs the backup service may not write {} at the destination, or not its folder.",
            place.display()
        ),
        Errno::ROFS => format!("{} is read-only at the destination.", place.display()),
        _ => format!(
            "{}, or its folder, is another account's at the destination, or protected from changes.",
            place.display()
        ),
    };
    ObjectError::Refused(Refusal::new(
        reason,
        "Give it and its folder to that account (chown, chmod), or take the protection away (chattr -i). The next \
         cycle tries again.",
    ))
}
