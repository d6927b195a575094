//! What a file or folder has besides its content and name: times, permissions, owner, extended attributes.

use std::os::fd::AsFd;

use rustix::fs::{FileType, Gid, Mode, Timespec, Timestamps, Uid, XattrFlags};
use rustix::io::Errno;

use crate::store::content::{Attributes, Extended};

/// The extended attributes of users travel …
const USER: &[u8] = b"user.";

/// … and the access lists. Whatever else the system keeps there (labels, capabilities) belongs to one host.
const ACCESS_LIST: &[u8] = b"system.posix_acl_access";
const DEFAULT_ACCESS_LIST: &[u8] = b"system.posix_acl_default";

/// Sets modification time, permission bits and owner of an open file or folder.
pub(super) fn set(file: impl AsFd, attributes: Attributes) -> Result<(), Errno> {
    let stat = rustix::fs::fstat(&file)?;
    let is_given = match attributes.owner {
        None => false,
        Some(owner) if (stat.st_uid, stat.st_gid) == (owner.user, owner.group) => true,
        Some(owner) => {
            let (user, group) = (Uid::from_raw(owner.user), Gid::from_raw(owner.group));
            match rustix::fs::fchown(&file, Some(user), Some(group)) {
                Ok(()) => true,
                // Only root may give files away.
                Err(Errno::PERM) => false,
                Err(cause) => return Err(cause),
            }
        }
    };
    // What ran as its owner or group must not run as another one.
    let is_file = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
    let mode = if is_file && !is_given { attributes.mode & !0o6000 } else { attributes.mode };
    // After the owner, because a change of owner may take bits away.
    rustix::fs::fchmod(&file, Mode::from_raw_mode(mode))?;
    rustix::fs::futimens(&file, &times(attributes.mtime_ns))
}

/// The modification time, for `utimensat`, and now as the time of the last access: told to leave that one alone, file systems by
/// an older libfuse say that they did and set neither.
pub(super) fn times(mtime_ns: i64) -> Timestamps {
    let mtime =
        Timespec { tv_sec: mtime_ns.div_euclid(1_000_000_000), tv_nsec: mtime_ns.rem_euclid(1_000_000_000) };
    let last_access = Timespec { tv_sec: 0, tv_nsec: rustix::fs::UTIME_NOW };
    Timestamps { last_access, last_modification: mtime }
}

/// The extended attributes of an open file or folder.
pub(super) fn extended(file: impl AsFd) -> Result<Extended, Errno> {
    let mut found = Extended::default();
    for name in names(&file)? {
        match value(&file, &name) {
            Ok(mut value) => {
                if *name == *ACCESS_LIST {
                    leave_owner_to_mode(&mut value);
                }
                found.0.insert(name, value);
            }
            // Removed since the names were read.
            Err(Errno::NODATA) => {}
            Err(cause) => return Err(cause),
        }
    }
    Ok(found)
}

/// Makes the extended attributes of an open file or folder these; false where its file system cannot hold all of them.
/// The permission bits stay.
pub(super) fn set_extended(file: impl AsFd, extended: &Extended) -> Result<bool, Errno> {
    let mode = rustix::fs::fstat(&file)?.st_mode & 0o7777;
    let superfluous: Vec<_> =
        names(&file)?.into_iter().filter(|name| !extended.0.contains_key(name)).collect();
    for name in &superfluous {
        rustix::fs::fremovexattr(&file, &**name)?;
    }
    let mut holds_all = true;
    for (name, value) in &extended.0 {
        match rustix::fs::fsetxattr(&file, &**name, value, XattrFlags::empty()) {
            Ok(()) => {}
            Err(Errno::NOTSUP) => holds_all = false,
            // A list may name users that this host cannot know.
            Err(Errno::INVAL | Errno::PERM) if !name.starts_with(USER) => holds_all = false,
            Err(cause) => return Err(cause),
        }
    }
    if superfluous.iter().chain(extended.0.keys()).any(|name| **name == *ACCESS_LIST) {
        // Both are views of the same rights, and the bits are what a store may keep more of than the original has.
        rustix::fs::fchmod(&file, Mode::from_raw_mode(mode))?;
    }
    Ok(holds_all)
}

/// Takes away the lists that a new folder was handed down by the one that it is in: what an object gets is what its original
/// has.
pub(super) fn disinherit(folder: impl AsFd) -> Result<(), Errno> {
    for name in [DEFAULT_ACCESS_LIST, ACCESS_LIST] {
        // What cannot be asked for is not there.
        if rustix::fs::fgetxattr_query(&folder, name).is_ok() {
            rustix::fs::fremovexattr(&folder, name)?;
        }
    }
    Ok(())
}

/// What an access list says of the owner is a copy of permission bits, of which a store may keep more than the original
/// has: here it always says the same, so that lists can be compared.
fn leave_owner_to_mode(list: &mut [u8]) {
    // After a version come entries of tag, rights and id; the owner's has tag 1.
    for entry in list.get_mut(4..).unwrap_or_default().chunks_exact_mut(8) {
        if let [1, 0, rights, ..] = entry {
            *rights = 7;
        }
    }
}

fn names(file: impl AsFd) -> Result<Vec<Box<[u8]>>, Errno> {
    loop {
        let size = match rustix::fs::flistxattr_query(&file) {
            Ok(0) | Err(Errno::NOTSUP) => return Ok(Vec::new()),
            size => size?,
        };
        let mut list = vec![0; size];
        match rustix::fs::flistxattr(&file, &mut *list) {
            Ok(size) => {
                let names = list.get(..size).unwrap_or_default().split(|byte| *byte == 0);
                return Ok(names.filter(|name| travels(name)).map(Into::into).collect());
            }
            // There are more since they were counted.
            Err(Errno::RANGE) => {}
            Err(cause) => return Err(cause),
        }
    }
}

fn travels(name: &[u8]) -> bool {
    name.starts_with(USER) || name == ACCESS_LIST || name == DEFAULT_ACCESS_LIST
}

fn value(file: impl AsFd, name: &[u8]) -> Result<Box<[u8]>, Errno> {
    loop {
        let size = rustix::fs::fgetxattr_query(&file, name)?;
        // One byte more: a buffer of none would only ask again how long the value is.
        let mut value = vec![0; size + 1];
        match rustix::fs::fgetxattr(&file, name, &mut *value) {
            Ok(size) => {
                value.truncate(size);
                return Ok(value.into());
            }
            Err(Errno::RANGE) => {}
            Err(cause) => return Err(cause),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_belongs_to_one_host_does_not_travel() {
        for name in [&b"user.a"[..], b"user.", ACCESS_LIST, DEFAULT_ACCESS_LIST] {
            assert!(travels(name), "{name:?}");
        }
        for name in [&b"trusted.a"[..], b"security.capability", b"system.posix_acl", b""] {
            assert!(!travels(name), "{name:?}");
        }
    }

    #[test]
    fn a_list_that_does_not_fit_is_told_and_another_attribute_that_does_not_is_an_error() {
        let file = tempfile::tempfile().unwrap();
        let of = |name: &[u8], value: &[u8]| Extended([(name.into(), value.into())].into());
        assert_eq!(set_extended(&file, &of(ACCESS_LIST, b"no list")), Ok(false));
        // Owner, one more user, group, mask and others; nobody can have the number of the user.
        let mut list = vec![2, 0, 0, 0];
        for [tag, rights] in [[1, 6], [2, 6], [4, 4], [16, 6], [32, 0]] {
            list.extend([tag, 0, rights, 0, 0xff, 0xff, 0xff, 0xff]);
        }
        assert_eq!(set_extended(&file, &of(ACCESS_LIST, &list)), Ok(false));
        assert_eq!(set_extended(&file, &of(b"user.", b"no name")), Err(Errno::INVAL));
    }
}
