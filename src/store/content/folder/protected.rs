//! Database files that must not be opened.
//!
//! POSIX drops all locks of a process on a file as soon as the process closes any handle of it. Merely reading a live
//! database would therefore take SQLite's locks away, and commits would be lost. A copy of one would be torn anyway.

use std::collections::BTreeSet;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use rustix::fs::{AtFlags, Stat};

use super::{Refusal, handles};
use crate::platform::FileId;
use crate::store::sqlite::{COMPANIONS, HEADER, is_companion};

/// Those that live as long as the database is open.
const LOCKED_COMPANIONS: [&[u8]; 2] = [b"-wal", b"-shm"];

/// The files, by what they are and by where they are: a log comes and goes, and a database may be replaced by another
/// file of its name. Journals are known by place only: nobody locks them, and a server makes and removes one with every
/// commit, so that its inode soon belongs to a file of the content.
#[derive(Default)]
pub(super) struct ProtectedDatabases {
    files: BTreeSet<FileId>,
    places: Vec<(FileId, Box<[u8]>)>,
}

impl ProtectedDatabases {
    /// Looks for these files and those beside them, opening none.
    pub(super) fn find(databases: &[PathBuf]) -> Self {
        let mut found = ProtectedDatabases::default();
        for path in databases {
            let Some(name) = path.file_name().map(OsStrExt::as_bytes) else { continue };
            if let Some(folder) = path.parent().and_then(|folder| FileId::of(folder).ok()) {
                found.places.push((folder, name.into()));
            }
            found.files.extend(FileId::of(path));
            for companion in LOCKED_COMPANIONS {
                let name = [name, companion].concat();
                found.files.extend(FileId::of(&path.with_file_name(std::ffi::OsStr::from_bytes(&name))));
            }
        }
        found
    }

    /// What is protected in one folder.
    pub(super) fn in_folder(&self, folder: &OwnedFd) -> InFolder<'_> {
        let folder = if self.places.is_empty() { None } else { rustix::fs::fstat(folder).ok() };
        let here = folder.map(|stat| of(&stat));
        let names = self.places.iter().filter(|(place, _)| Some(*place) == here).map(|(_, name)| &**name);
        InFolder { files: &self.files, names: names.collect() }
    }

    /// Whether a file is a protected one.
    pub(super) fn is_database(&self, folder: &OwnedFd, name: &[u8], stat: &Stat) -> bool {
        self.in_folder(folder).is_database(name, stat)
    }
}

/// What is protected in one folder.
pub(super) struct InFolder<'a> {
    files: &'a BTreeSet<FileId>,
    names: Vec<&'a [u8]>,
}

impl InFolder<'_> {
    /// Whether a file is a protected one.
    pub(super) fn is_database(&self, name: &[u8], stat: &Stat) -> bool {
        let named = |database: &&[u8]| *database == name || is_companion(database, name);
        self.names.iter().any(named) || self.files.contains(&of(stat))
    }
}

/// Whether an open file belongs to a database, of nobody that the topology names, that somebody may be writing to: one
/// with a log or journal beside it, or these themselves.
pub(super) fn is_live(folder: &OwnedFd, name: &[u8], file: &File) -> bool {
    let exists = |suffix: &str| {
        let companion = [name, suffix.as_bytes()].concat();
        rustix::fs::statat(folder, &*companion, AtFlags::SYMLINK_NOFOLLOW).is_ok()
    };
    let is_beside_database = |suffix: &str| {
        let database = name.strip_suffix(suffix.as_bytes()).filter(|database| !database.is_empty());
        database
            .and_then(|database| handles::open_beneath(folder, database, handles::READING).ok())
            .is_some_and(|database| is_database_file(&File::from(database)))
    };
    if is_database_file(file) {
        COMPANIONS.into_iter().any(exists)
    } else {
        COMPANIONS.into_iter().any(is_beside_database)
    }
}

fn is_database_file(file: &File) -> bool {
    let mut start = [0; HEADER.len()];
    file.read_exact_at(&mut start, 0).is_ok() && start == *HEADER
}

/// Why a file of a database that somebody may be writing to is not copied.
pub(super) fn live_refusal() -> Refusal {
    Refusal::new(
        "It belongs to a SQLite database that seems to be in use: a log or journal is beside it, so a copy would be torn.",
        "It is copied once the database is closed. A database that is always in use does not belong into a content store.",
    )
}

/// Why such a file is not copied.
pub(super) fn refusal() -> Refusal {
    Refusal::new(
        "It belongs to a live database, which must not be read as a file: its locks would be lost, and the copy torn.",
        "Move the database out of the content store. If it is a user store, UserServices.PresenceFocus copies it.",
    )
}

#[allow(clippy::unnecessary_cast)]
fn of(stat: &Stat) -> FileId {
    FileId { device: stat.st_dev as u64, inode: stat.st_ino as u64 }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn is_database(protected: &ProtectedDatabases, path: &Path) -> bool {
        let folder = OwnedFd::from(std::fs::File::open(path.parent().unwrap()).unwrap());
        let name = path.file_name().unwrap().as_bytes();
        protected.is_database(&folder, name, &rustix::fs::stat(path).unwrap())
    }

    #[test]
    fn a_file_that_got_the_inode_of_a_journal_is_content() {
        let folder = tempfile::tempdir().unwrap();
        let [database, journal, upload] =
            ["a.db", "a.db-journal", "upload"].map(|name| folder.path().join(name));
        std::fs::write(&database, "").unwrap();
        std::fs::write(&journal, "").unwrap();
        let protected = ProtectedDatabases::find(std::slice::from_ref(&database));
        std::fs::rename(&journal, &upload).unwrap();
        assert!(is_database(&protected, &database));
        assert!(!is_database(&protected, &upload));
    }

    #[test]
    fn what_takes_the_place_of_a_database_or_its_log_is_protected_and_its_name_elsewhere_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        std::fs::create_dir(at("elsewhere")).unwrap();
        let protected = ProtectedDatabases::find(&[at("a.db")]);
        for name in ["a.db", "a.db-wal", "a.db-journal", "elsewhere/a.db", "elsewhere/a.db-journal"] {
            std::fs::write(at(name), "made since").unwrap();
            assert_eq!(is_database(&protected, &at(name)), !name.starts_with("elsewhere"), "{name}");
        }
    }
}
