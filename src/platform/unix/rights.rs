//! Who may read and write what is made: never more than who may read what it holds.

use std::fs::{DirBuilder, File, Permissions};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

use rustix::fs::{Gid, Mode, OFlags, Uid};
use serde::{Deserialize, Serialize};
use tempfile::TempDir;

/// Read and write, whose it is.
const OWNERS: u32 = 0o600;
/// Read and write, for anybody: what a file of data may have at most.
const ALL: u32 = 0o666;
/// The attribute that holds a file's access list.
const ACCESS_LIST: &str = "system.posix_acl_access";

/// Who may do what with a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rights {
    mode: u32,
    /// Whose it is: user and group. None: whoever makes it.
    owner: Option<(u32, u32)>,
}

impl Rights {
    /// Only the account that makes it reads and writes it.
    pub const PRIVATE: Rights = Rights { mode: OWNERS, owner: None };

    /// Nobody but the account and the group whose it is.
    pub const NO_OTHERS: Rights = Rights { mode: 0o660, owner: None };

    /// Those of the file that a path leads to, for what holds a copy of it.
    ///
    /// # Errors
    /// Where there is none, or the way to it is closed.
    pub fn of(path: &Path) -> io::Result<Self> {
        let file = std::fs::metadata(path)?;
        let mode = file.mode() & ALL | OWNERS;
        // With an access list, what looks like the group's rights is the most that anybody in the list has.
        let has_list = rustix::fs::getxattr(path, ACCESS_LIST, &mut [0; 0]).is_ok_and(|size| size > 0);
        let mode = if has_list { without_group(mode) } else { mode };
        Ok(Rights { mode, owner: Some((file.uid(), file.gid())) })
    }

    /// What a file gets in a folder of which only the folder is known: its owner and group, who may read and write it as far as they may
    /// write the folder.
    ///
    /// # Errors
    /// Where there is none, or the way to it is closed.
    pub fn as_in(folder: &Path) -> io::Result<Self> {
        let folder = std::fs::metadata(folder)?;
        let of_group = if folder.mode() & 0o020 == 0 { 0 } else { 0o060 };
        Ok(Rights { mode: OWNERS | of_group, owner: Some((folder.uid(), folder.gid())) })
    }

    /// Whether both are the same account's.
    pub fn is_same_owner(self, other: Rights) -> bool {
        self.owner.map(|(user, _)| user) == other.owner.map(|(user, _)| user)
    }

    /// What a new file is created with, before anything more is known of it.
    pub(in super::super) fn least(self) -> u32 {
        self.mode & OWNERS
    }

    /// Gives a new file these rights, or fewer: a group that it cannot be given to would be another one's.
    ///
    /// # Errors
    /// Failures of the file system.
    pub(in super::super) fn give(self, file: impl AsFd) -> io::Result<()> {
        let file = file.as_fd();
        let mut mode = self.mode;
        if let Some((user, group)) = self.owner {
            let group_id = Some(Gid::from_raw(group));
            // Only root gives a file to another user; a group may be one's own too.
            let _ = rustix::fs::fchown(file, Some(Uid::from_raw(user)), group_id)
                .or_else(|_| rustix::fs::fchown(file, None, group_id));
            if rustix::fs::fstat(file)?.st_gid != group {
                mode = without_group(mode);
            }
        }
        if mode != OWNERS {
            // Its folder may have handed one down, which the group's rights would bring to life.
            let _ = rustix::fs::fremovexattr(file, ACCESS_LIST);
        }
        // Whatever the process's umask took away, and not before the owner is set, which takes rights away too.
        Ok(rustix::fs::fchmod(file, Mode::from_raw_mode(mode))?)
    }
}

/// What may be given where the group is another one: its members are among all others then, and others are its group's
/// members, so both get what both had.
fn without_group(mode: u32) -> u32 {
    let both = mode >> 3 & mode & 0o7;
    mode & !0o77 | both << 3 | both
}

/// Creates a file that must not be there, not even as a link, with these rights from its first moment on.
///
/// # Errors
/// `AlreadyExists`; failures of the file system.
pub fn create_file(path: &Path, rights: Rights) -> io::Result<File> {
    let no_link = i32::try_from(OFlags::NOFOLLOW.bits()).unwrap_or_default();
    let file = File::options()
        .read(true)
        .write(true)
        .create_new(true)
        .mode(rights.least())
        .custom_flags(no_link)
        .open(path)?;
    if let Err(cause) = rights.give(&file) {
        // Nobody has it yet, and what cannot be removed either is the account's alone.
        let _ = std::fs::remove_file(path);
        return Err(cause);
    }
    Ok(file)
}

/// Creates a folder where there is none, and those above it, for the account alone.
///
/// # Errors
/// Failures of the file system.
pub fn create_folder(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// Creates a folder with a name of its own in another one, for the account alone whatever the process's umask says. It goes when the
/// value does.
///
/// # Errors
/// Failures of the file system.
pub fn temporary_folder(prefix: &str, within: &Path) -> io::Result<TempDir> {
    tempfile::Builder::new().prefix(prefix).permissions(Permissions::from_mode(0o700)).tempdir_in(within)
}

/// Takes away from a file what goes beyond these rights, without opening it; what there is not, or is no file, is left
/// alone.
///
/// # Errors
/// Where it is another account's.
pub fn tighten(path: &Path, rights: Rights) -> io::Result<()> {
    let mode = match std::fs::metadata(path) {
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Ok(()),
        // What lies in a file's place is not ours: a folder without its x could not be entered any more.
        Ok(metadata) if !metadata.is_file() => return Ok(()),
        metadata => metadata?.mode() & 0o7777,
    };
    let allowed = mode & rights.mode;
    if allowed == mode { Ok(()) } else { std::fs::set_permissions(path, Permissions::from_mode(allowed)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        std::fs::metadata(path).unwrap().mode() & 0o7777
    }

    #[test]
    fn a_new_file_has_the_rights_of_its_source_and_never_more() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let (source, copy) = (at("source"), at("copy"));
        std::fs::write(&source, "").unwrap();
        for (given, expected) in [(0o640, 0o640), (0o4755, 0o644), (0o444, 0o644), (0o600, 0o600)] {
            std::fs::set_permissions(&source, Permissions::from_mode(given)).unwrap();
            create_file(&copy, Rights::of(&source).unwrap()).unwrap();
            assert_eq!(mode(&copy), expected, "{given:o}");
            std::fs::remove_file(&copy).unwrap();
        }
        create_file(&copy, Rights::PRIVATE).unwrap();
        assert_eq!(mode(&copy), 0o600);
        assert_eq!(create_file(&copy, Rights::PRIVATE).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
    }

    #[test]
    fn where_the_group_cannot_be_kept_neither_it_nor_others_get_what_one_of_them_had_not() {
        for (given, expected) in [(0o640, 0o600), (0o664, 0o644), (0o604, 0o600), (0o666, 0o666)] {
            assert_eq!(without_group(given), expected, "{given:o}");
        }
    }

    #[test]
    fn a_folder_is_the_accounts_own_and_so_are_those_above_it() {
        let folder = tempfile::tempdir().unwrap();
        create_folder(&folder.path().join("a/b")).unwrap();
        create_folder(&folder.path().join("a/b")).unwrap();
        assert_eq!(mode(&folder.path().join("a")), 0o700);
        assert_eq!(mode(&folder.path().join("a/b")), 0o700);
    }

    #[test]
    fn what_is_too_open_is_tightened_and_what_is_closed_stays_so() {
        let file = tempfile::NamedTempFile::new().unwrap();
        for (before, after) in [(0o666, 0o600), (0o644, 0o600), (0o600, 0o600), (0o400, 0o400)] {
            std::fs::set_permissions(file.path(), Permissions::from_mode(before)).unwrap();
            tighten(file.path(), Rights::PRIVATE).unwrap();
            assert_eq!(mode(file.path()), after, "{before:o}");
        }
        tighten(Path::new("/nowhere"), Rights::PRIVATE).unwrap();
    }

    #[test]
    fn a_folder_in_the_place_of_a_file_keeps_its_rights() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).unwrap();
        tighten(folder.path(), Rights::PRIVATE).unwrap();
        assert_eq!(mode(folder.path()), 0o755);
    }
}
