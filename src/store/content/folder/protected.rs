//! Database files that must not be opened.
//!
//! POSIX drops all locks of a process on a file as soon as the process closes any handle of it. Merely reading a live
//! database would therefore take SQLite's locks away, and commits would be lost. A copy of one would be torn anyway.

use std::collections::BTreeSet;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Stat};

use super::{Refusal, handles};

/// What SQLite appends to a database's name for the files beside it; the last one is followed by a number.
const COMPANIONS: [&[u8]; 4] = [b"-wal", b"-shm", b"-journal", b"-mj"];

/// What every SQLite database begins with.
const HEADER: &[u8; 16] = b"SQLite format 3\0";

/// Those that live as long as the database is open.
const LOCKED_COMPANIONS: [&[u8]; 2] = [b"-wal", b"-shm"];

/// (device, inode)
type Identity = (u64, u64);

/// The files, by what they are and by where they are: a log comes and goes, and a database may be replaced by another
/// file of its name. Journals are known by place only: nobody locks them, and a server makes and removes one with every
/// commit, so that its inode soon belongs to a file of the content.
#[derive(Default)]
pub(super) struct ProtectedDatabases {
    files: BTreeSet<Identity>,
    places: Vec<(Identity, Box<[u8]>)>,
}

impl ProtectedDatabases {
    /// Looks for these files and those beside them, opening none.
    pub(super) fn find(databases: &[PathBuf]) -> Self {
        let mut found = ProtectedDatabases::default();
        for path in databases {
            let Some(name) = path.file_name().map(OsStrExt::as_bytes) else { continue };
            if let Some(folder) = path.parent().and_then(identity) {
                found.places.push((folder, name.into()));
            }
            found.files.extend(identity(path));
            for companion in LOCKED_COMPANIONS {
                let name = [name, companion].concat();
                found.files.extend(identity(&path.with_file_name(std::ffi::OsStr::from_bytes(&name))));
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
    files: &'a BTreeSet<Identity>,
    names: Vec<&'a [u8]>,
}

impl InFolder<'_> {
    /// Whether a file is a protected one.
    pub(super) fn is_database(&self, name: &[u8], stat: &Stat) -> bool {
        let named = |database: &&[u8]| *database == name || is_companion(database, name);
        self.names.iter().any(named) || self.files.contains(&of(stat))
    }
}

/// Whether a name is that of a log or journal of a database.
pub(super) fn is_companion(database: &[u8], name: &[u8]) -> bool {
    name.strip_prefix(database).is_some_and(|rest| match rest.strip_prefix(b"-mj") {
        Some(number) => number.iter().all(u8::is_ascii_hexdigit),
        None => COMPANIONS.contains(&rest),
    })
}

/// Whether an open file belongs to a database, of nobody that the topology names, that somebody may be writing to: one
/// with a log or journal beside it, or these themselves.
pub(super) fn is_live(folder: &OwnedFd, name: &[u8], file: &File) -> bool {
    let exists = |suffix: &&[u8]| {
        let companion = [name, suffix].concat();
        rustix::fs::statat(folder, &*companion, AtFlags::SYMLINK_NOFOLLOW).is_ok()
    };
    let is_beside_database = |suffix: &&[u8]| {
        let database = name.strip_suffix(*suffix).filter(|database| !database.is_empty());
        database
            .and_then(|database| handles::open_beneath(folder, database, handles::READING).ok())
            .is_some_and(|database| is_database_file(&File::from(database)))
    };
    let companions = COMPANIONS.iter().take(3);
    if is_database_file(file) {
        return companions.clone().any(exists);
    }
    companions.clone().any(is_beside_database)
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
fn of(stat: &Stat) -> Identity {
    (stat.st_dev as u64, stat.st_ino as u64)
}

fn identity(path: &Path) -> Option<Identity> {
    std::fs::metadata(path).ok().map(|found| (found.dev(), found.ino()))
}

#[cfg(test)]
mod tests {
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

    #[test]
    fn companions_are_known_by_their_names() {
        for name in ["a.db-wal", "a.db-shm", "a.db-journal", "a.db-mj0123ABCD"] {
            assert!(is_companion(b"a.db", name.as_bytes()), "{name}");
        }
        for name in ["a.db", "a.db-wale", "b.db-wal", "a.db-mjx", "a.db-notes.txt"] {
            assert!(!is_companion(b"a.db", name.as_bytes()), "{name}");
        }
    }
}
