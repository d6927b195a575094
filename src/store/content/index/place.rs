//! Where the index of a content copy lies.

use std::path::{Path, PathBuf};

use super::ContentIndex;
use crate::error::{Error, Result};
use crate::platform::FileId;
use crate::topology::PoolFqdn;

/// Where the index of a content copy lies, for whoever opens it and need not know how it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IndexPlace {
    pub(super) path: PathBuf,
    url: String,
}

impl IndexPlace {
    /// The index in this database, which documents name by a URL. Nothing is opened yet.
    pub(in crate::store) fn new(path: PathBuf, url: String) -> Self {
        IndexPlace { path, url }
    }

    /// Opens the index of a pool's content for writing, creating it where it is missing.
    ///
    /// # Errors
    /// When it cannot be opened or written; `UnsupportedStore` for one of a newer build.
    pub fn open(&self, pool: &PoolFqdn) -> Result<ContentIndex> {
        ContentIndex::open(&self.path, pool)
    }

    /// Opens the index for reading; none where there is none, or one of another build.
    ///
    /// # Errors
    /// When it exists and cannot be read.
    pub fn open_existing(&self, pool: &PoolFqdn) -> Result<Option<ContentIndex>> {
        if self.exists()? { ContentIndex::open_to_read(&self.path, pool) } else { Ok(None) }
    }

    /// Whether there is an index, of whichever build and pool.
    ///
    /// # Errors
    /// When that cannot be seen.
    pub fn exists(&self) -> Result<bool> {
        crate::bound::touching(&self.path)?;
        self.path.try_exists().map_err(|cause| Error::io("look for", &self.path, &cause))
    }

    /// The folder that it lies in, where there is room for long lists as well.
    pub fn folder(&self) -> &Path {
        match self.path.parent() {
            Some(folder) if folder != Path::new("") => folder,
            _ => Path::new("."),
        }
    }

    /// The number of the file system that it lies on; none where that cannot be seen.
    pub fn device(&self) -> Option<u64> {
        FileId::of(self.folder()).ok().map(|folder| folder.device)
    }

    /// The index as it is named in documents.
    pub fn url(&self) -> String {
        self.url.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_lists_lie_beside_the_index() {
        for (path, folder) in
            [("/srv/index.sqlite", "/srv"), ("state/index.sqlite", "state"), ("index.sqlite", ".")]
        {
            let place = IndexPlace::new(path.into(), String::new());
            assert_eq!(place.folder(), Path::new(folder));
        }
    }
}
