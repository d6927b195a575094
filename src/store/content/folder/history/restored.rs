//! A folder that is filled before it has its name.

use std::path::{Path, PathBuf};

use super::super::ContentStore;
use super::FolderStore;
use crate::error::{Error, Result};
use crate::platform::{create_folder, rename_to_free_name, sync_folder};
use crate::store::files::with_suffix;

/// The folder; dropped without its name, it goes with everything in it.
pub struct RestoredFolder {
    store: FolderStore,
    part: PathBuf,
    to: PathBuf,
    has_name: bool,
}

impl RestoredFolder {
    /// Makes it beside a path at which nothing is.
    ///
    /// # Errors
    /// `DiskFull`, `AccessDenied`, `Io`; where something is at its place that an earlier attempt left.
    pub(in crate::store) fn create(to: &Path) -> Result<Self> {
        let part = with_suffix(to, ".part");
        if part.exists() {
            return Err(Error::new(
                crate::error::ErrorKind::InvalidArgument,
                format!("{} exists: a restore that was interrupted left it.", part.display()),
                "Remove it, or name another folder.",
            )
            .at("path", part.display()));
        }
        create_folder(&part).map_err(|cause| Error::io("create", &part, &cause))?;
        let store = FolderStore::new(part.clone(), Vec::new());
        Ok(RestoredFolder { store, part, to: to.to_owned(), has_name: false })
    }

    /// What is filled.
    pub fn store(&self) -> &dyn ContentStore {
        &self.store
    }

    /// Gives the folder its name, durably. Nothing of ours is left in it.
    ///
    /// # Errors
    /// `InvalidArgument` where something has the name by now; failures of the file system.
    pub fn complete(mut self) -> Result<()> {
        self.store.unmark(false)?;
        self.store.handles.close();
        rename_to_free_name(&self.part, &self.to).map_err(|cause| Error::io("write", &self.to, &cause))?;
        self.has_name = true;
        let above = self.to.parent().unwrap_or(Path::new("/"));
        sync_folder(above).map_err(|cause| Error::io("make durable", above, &cause))
    }
}

impl Drop for RestoredFolder {
    fn drop(&mut self) {
        if !self.has_name {
            // What cannot be removed has a name that says what it is.
            let _ = std::fs::remove_dir_all(&self.part);
        }
    }
}
