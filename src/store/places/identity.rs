//! What a path leads to.

use std::ffi::{OsStr, OsString};
use std::path::{Component, Path, PathBuf};

use super::system::FileSystem;
use crate::platform::FileId;

/// How many links a path may lead through, as many as Linux allows.
const MOST_LINKS: u32 = 40;

/// What a path leads to: the nearest thing there that exists, and the names below it that do not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Identity {
    /// Device and inode of what exists.
    base: Option<FileId>,
    /// What does not exist yet, folded where the file system folds case.
    missing: Vec<OsString>,
}

/// A path, resolved: where it leads, and the folders in which that lies.
#[derive(Clone, Debug)]
pub(super) struct Resolved {
    pub(super) identity: Identity,
    /// The folders above [`Identity::base`], also those above a folder that is mounted here a second time.
    folders: Vec<FileId>,
    /// The same path without links.
    pub(super) path: PathBuf,
}

impl Resolved {
    /// Follows a path as the system would, through what does not exist as well.
    pub(super) fn of(path: &Path, system: &dyn FileSystem) -> Self {
        let mut walk = PathWalk::default();
        let mut links = 0;
        walk.ahead(path);
        while let Some(name) = walk.ahead.pop() {
            if name == ".." {
                walk.up();
                continue;
            }
            let next = walk.here().join(&name);
            let found = if walk.missing.is_empty() { system.look(&next) } else { None };
            match found.map(|found| (found.id, found.leads_to)) {
                Some((_, Some(target))) if links < MOST_LINKS => {
                    links += 1;
                    if target.is_absolute() {
                        walk.existing.clear();
                    }
                    walk.ahead(&target);
                }
                Some((id, _)) => walk.existing.push((name, id)),
                None => walk.missing.push(name),
            }
        }
        walk.end(system)
    }

    /// Whether this lies in a folder, however deep.
    pub(super) fn is_inside(&self, other: &Self) -> bool {
        let (own, others) = (&self.identity, &other.identity);
        if own.base == others.base {
            return own.missing.len() > others.missing.len() && own.missing.starts_with(&others.missing);
        }
        others.missing.is_empty() && others.base.is_some_and(|base| self.folders.contains(&base))
    }
}

#[derive(Default)]
struct PathWalk {
    /// Names to come, the next one last.
    ahead: Vec<OsString>,
    /// Names that exist, from the root on.
    existing: Vec<(OsString, FileId)>,
    missing: Vec<OsString>,
}

impl PathWalk {
    fn ahead(&mut self, path: &Path) {
        let names = path.components().rev().filter_map(|component| match component {
            Component::Normal(name) => Some(name),
            Component::ParentDir => Some(OsStr::new("..")),
            Component::Prefix(_) | Component::RootDir | Component::CurDir => None,
        });
        self.ahead.extend(names.map(OsStr::to_owned));
    }

    fn up(&mut self) {
        if self.missing.pop().is_none() {
            self.existing.pop();
        }
    }

    fn here(&self) -> PathBuf {
        Path::new("/").join(self.existing.iter().map(|(name, _)| name).collect::<PathBuf>())
    }

    fn end(self, system: &dyn FileSystem) -> Resolved {
        let here = self.here();
        let root = system.look(Path::new("/")).map(|found| found.id);
        let mut folders: Vec<FileId> =
            root.into_iter().chain(self.existing.iter().map(|(_, id)| *id)).collect();
        let base = folders.pop();
        for elsewhere in system.also_seen_at(&here) {
            folders.extend(elsewhere);
        }
        let path = here
            .components()
            .map(|part| part.as_os_str())
            .chain(self.missing.iter().map(OsString::as_os_str))
            .collect();
        let folds = !self.missing.is_empty() && system.folds_case(&here);
        let missing =
            if folds { self.missing.iter().map(|name| folded(name)).collect() } else { self.missing };
        Resolved { identity: Identity { base, missing }, folders, path }
    }
}

/// A name as a file system compares it that takes capital letters for small ones.
fn folded(name: &OsStr) -> OsString {
    match name.to_str() {
        Some(name) => {
            name.chars().flat_map(char::to_uppercase).flat_map(char::to_lowercase).collect::<String>().into()
        }
        None => name.to_owned(),
    }
}

#[cfg(test)]
mod tests;
