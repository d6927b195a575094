//! What can be known of a database's file without opening it. Opening and closing it would drop the locks that this
//! process holds on it.

use std::path::{Path, PathBuf};

use super::database::require_alone;
use crate::error::{Error, ErrorKind, Result};
use crate::platform::{self, FileId};
use crate::store::files::with_suffix;

/// Which file lay at a path when it was opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenedFile {
    path: PathBuf,
    id: Option<FileId>,
}

impl OpenedFile {
    /// The file that lies at a path now; asked before the database is opened.
    pub fn at(path: &Path) -> Self {
        OpenedFile { path: path.to_owned(), id: FileId::of(path).ok() }
    }

    /// Whether the same file still lies there: what is written to one that was replaced, nobody finds again. And whether
    /// nobody else in this process has it open: what was read beside him may be torn.
    ///
    /// # Errors
    /// `StoreReplaced`, `StoreOpenInProcess`.
    pub fn check(&self) -> Result<()> {
        match self.id {
            Some(id) if FileId::of(&self.path).ok() == self.id => require_alone(&self.path, id),
            _ => Err(replaced(&self.path)),
        }
    }
}

pub(super) fn replaced(path: &Path) -> Error {
    Error::new(
        ErrorKind::StoreReplaced,
        format!("The database {} was replaced or removed while it was open.", path.display()),
        "Nothing was committed to the standby copy. Stop the server before its file is restored or moved; then run the command again, which compares both copies anew.",
    )
    .at("path", path.display())
}

/// The processes that hold a lock on a database, each once, as far as the system tells: `prosody (process 4711)`.
pub fn lock_holders(path: &Path) -> Vec<String> {
    // In WAL mode the locks are on the log's index.
    let index = with_suffix(path, "-shm");
    let files: Vec<FileId> = [path, &index].into_iter().filter_map(|path| FileId::of(path).ok()).collect();
    describe(&platform::lock_holders(&files), std::process::id())
}

/// The holders that somebody can do something about. That this process has a lock too is no news where others do, and where it
/// alone has one, another connection of it is meant.
fn describe(processes: &[u32], own: u32) -> Vec<String> {
    let others: Vec<u32> = processes.iter().copied().filter(|process| *process != own).collect();
    if others.is_empty() && !processes.is_empty() {
        return vec!["another connection of this process".to_owned()];
    }
    others.into_iter().map(describe_process).collect()
}

/// What a process is called in messages: `prosody (process 4711)`.
pub fn describe_process(process: u32) -> String {
    match platform::process_name(process) {
        Some(name) => format!("{name} (process {process})"),
        None => format!("process {process}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_is_named_only_where_nobody_else_holds_a_lock() {
        let other = 4_194_305;
        assert_eq!(describe(&[7, other], 7), [format!("process {other}")]);
        assert_eq!(describe(&[7], 7), ["another connection of this process"]);
        assert!(describe(&[], 7).is_empty());
    }
}
