//! What file systems are asked about places.

use std::cell::OnceCell;
use std::path::Path;

use crate::platform::{self, FileId, Mounts, PathStat};

/// What is asked of file systems; tests have others than the machine they run on.
pub(super) trait FileSystem {
    /// What lies there, without following a link; none where nothing can be seen.
    fn look(&self, path: &Path) -> Option<PathStat>;

    /// Whether names in this folder are the same in capital and in small letters.
    fn folds_case(&self, folder: &Path) -> bool;

    /// See [`Mounts::also_seen_at`].
    fn also_seen_at(&self, path: &Path) -> Vec<Vec<FileId>>;
}

/// This machine.
#[derive(Default)]
pub(super) struct System {
    mounts: OnceCell<Mounts>,
}

impl FileSystem for System {
    fn look(&self, path: &Path) -> Option<PathStat> {
        PathStat::at(path)
    }

    fn folds_case(&self, folder: &Path) -> bool {
        platform::folds_case(folder)
    }

    fn also_seen_at(&self, path: &Path) -> Vec<Vec<FileId>> {
        self.mounts.get_or_init(Mounts::now).also_seen_at(path)
    }
}
