//! What this account may do with the files of a store, seen without opening or changing any that a server has.

use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::documents::Documents;
use super::documents::sqlite::SqliteDocuments;
use super::files::with_suffix;
use super::sqlite::COMPANIONS;
use crate::error::Error;
use crate::platform::{Right, may};
use crate::topology::{Engine, StoreUrl};

/// The marker of a content store, in its folder.
const MARKER: &str = ".csb/store.json";

/// What a store is to whoever reads or writes it from another machine. The order is that of their numbers on the line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum StoreRole {
    /// The user store: it is read.
    UserStore,
    /// The content store: it is listed and read.
    ContentStore,
    /// The Central Management store: it is read.
    ManagementStore,
    /// The copy of the partner's user store: it is read where something is given back.
    UserCopy,
    /// The copy of the partner's content store.
    ContentCopy,
    /// The database of leases: it is written.
    ServiceStore,
}

impl StoreRole {
    /// What keeps such a store.
    pub const fn engine(self) -> Engine {
        match self {
            StoreRole::ContentStore | StoreRole::ContentCopy => Engine::Folder,
            _ => Engine::Sqlite,
        }
    }

    /// Whether it may be missing as long as nothing was copied, with the folder that it is in.
    pub(super) const fn is_made_later(self) -> bool {
        matches!(self, StoreRole::UserCopy | StoreRole::ContentCopy | StoreRole::ServiceStore)
    }
}

/// One thing that this account has to be able to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AccessCheck {
    /// What the store is.
    pub store: StoreRole,
    /// The file or folder.
    pub path: String,
    /// What is done with it: `read`, `list`, `write` or `open`.
    pub right: String,
    /// Whether the account may do that.
    pub is_ok: bool,
    /// Why not; or that it is not there, where it need not be.
    pub why: Option<String>,
    /// What to do.
    pub advice: Option<String>,
}

impl AccessCheck {
    /// Of what is made with the first copy.
    pub(super) fn later(store: StoreRole, path: &Path) -> Self {
        let why = Some("Nothing was copied yet.".to_owned());
        AccessCheck { why, ..AccessCheck::of(store, path, "read", Ok(())) }
    }

    /// What came of looking.
    pub fn of(store: StoreRole, path: &Path, right: &str, seen: Result<(), Error>) -> Self {
        let (why, advice) = seen.err().map(|error| (error.whole(), error.advice)).unzip();
        let (path, right) = (path.display().to_string(), right.to_owned());
        AccessCheck { store, path, right, is_ok: why.is_none(), why, advice }
    }
}

/// What this account may do with a store at this path.
pub fn look(store: StoreRole, path: &Path) -> Vec<AccessCheck> {
    let asked = |path: &Path, right: Right| may(path, right);
    let check = |path: &Path, word: &str, right: Right| {
        let seen = asked(path, right).map_err(|cause| Error::io(word, path, &cause));
        AccessCheck::of(store, path, word, seen)
    };
    // Leases can be kept as soon as their folder is there.
    let is_to_be_made = store == StoreRole::ServiceStore && !path.parent().is_some_and(is_missing);
    if store.is_made_later() && is_missing(path) && !is_to_be_made {
        return vec![AccessCheck::later(store, path)];
    }
    let mut found = Vec::new();
    match store {
        StoreRole::UserStore | StoreRole::UserCopy => {
            found.push(check(path, "read", Right::Read));
            found.extend(beside(path).map(|file| check(&file, "read", Right::Read)));
        }
        StoreRole::ContentStore | StoreRole::ContentCopy => {
            found.push(check(path, "list", Right::List));
            let marker = path.join(MARKER);
            if !is_missing(&marker) {
                found.push(check(&marker, "read", Right::Read));
            } else if store == StoreRole::ContentStore && !is_missing(path) {
                // The first job marks it.
                found.push(check(path, "write", Right::ChangeEntries));
            }
        }
        StoreRole::ManagementStore => {
            found.push(check(path, "read", Right::Read));
            found.push(AccessCheck::of(store, path, "open", opened(path)));
        }
        StoreRole::ServiceStore => {
            let folder = path.parent().unwrap_or(path);
            found.push(check(folder, "write", Right::ChangeEntries));
            if !is_missing(path) {
                found.push(check(path, "write", Right::Change));
                found.extend(beside(path).map(|file| check(&file, "write", Right::Change)));
            }
        }
    }
    found
}

/// The files that SQLite keeps beside a database, as far as they are there.
fn beside(path: &Path) -> impl Iterator<Item = PathBuf> {
    COMPANIONS.iter().map(|suffix| with_suffix(path, suffix)).filter(|file| !is_missing(file))
}

fn is_missing(path: &Path) -> bool {
    path.symlink_metadata().is_err_and(|cause| cause.kind() == io::ErrorKind::NotFound)
}

/// A database of documents is opened as it always is: SQLite needs more than to read the file.
fn opened(path: &Path) -> Result<(), Error> {
    let url = StoreUrl::at(Engine::Sqlite, path.display())?;
    SqliteDocuments::open(&url)?.position().map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failures(checks: &[AccessCheck]) -> Vec<(&str, &str)> {
        checks
            .iter()
            .filter(|check| !check.is_ok)
            .map(|check| (check.path.as_str(), check.right.as_str()))
            .collect()
    }

    #[test]
    fn what_is_there_may_be_read_and_what_is_missing_is_named_with_what_to_do() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        std::fs::write(at("users"), "x").unwrap();
        std::fs::write(at("users-wal"), "x").unwrap();
        std::fs::create_dir_all(at("share/.csb")).unwrap();
        std::fs::write(at("share/.csb/store.json"), "{}").unwrap();
        let users = look(StoreRole::UserStore, &at("users"));
        assert_eq!((users.len(), failures(&users)), (2, Vec::new()));
        assert_eq!(failures(&look(StoreRole::ContentStore, &at("share"))), []);
        std::fs::create_dir(at("new share")).unwrap();
        let unmarked = look(StoreRole::ContentStore, &at("new share"));
        assert_eq!(unmarked.iter().map(|check| check.right.as_str()).collect::<Vec<_>>(), ["list", "write"]);
        assert_eq!(failures(&look(StoreRole::ServiceStore, &at("leases"))), []);
        for role in [StoreRole::UserCopy, StoreRole::ContentCopy, StoreRole::ServiceStore] {
            let copy = look(role, &at("none/none"));
            assert!(copy.iter().all(|check| check.is_ok && check.why.is_some()), "{copy:?}");
        }
        for role in [StoreRole::UserStore, StoreRole::ContentStore, StoreRole::ManagementStore] {
            let checks = look(role, &at("none"));
            assert!(!failures(&checks).is_empty());
            for check in checks.iter().filter(|check| !check.is_ok) {
                assert!(check.why.is_some() && check.advice.is_some(), "{check:?}");
            }
        }
        let broken = look(StoreRole::ManagementStore, &at("users"));
        assert_eq!(failures(&broken).iter().map(|(_, right)| *right).collect::<Vec<_>>(), ["open"]);
    }
}
