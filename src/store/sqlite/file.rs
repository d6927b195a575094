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
pub(super) fn lock_holders(path: &Path) -> Vec<String> {
    // In WAL mode the locks are on the log's index.
    let index = with_suffix(path, "-shm");
    let files: Vec<FileId> = [path, &index].into_iter().filter_map(|path| FileId::of(path).ok()).collect();
    platform::lock_holders(&files).into_iter().map(describe).collect()
}

fn describe(process: u32) -> String {
    if process == std::process::id() {
        return "this process".to_owned();
    }
    match platform::process_name(process) {
        Some(name) => format!("{name} (process {process})"),
        None => format!("process {process}"),
    }
}
