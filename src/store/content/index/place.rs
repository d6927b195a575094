//! Where the index of a content copy lies.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::ContentIndex;
use super::fetched::Fetched;
use crate::error::{Error, Result};
use crate::platform::FileId;
use crate::store::remote::RemotePlace;
use crate::topology::PoolFqdn;

/// Where the index of a content copy lies, for whoever opens it and need not know how it is kept.
#[derive(Clone, Debug)]
pub struct IndexPlace {
    at: At,
    url: String,
}

#[derive(Clone, Debug)]
enum At {
    Here(PathBuf),
    There(Arc<Fetched>),
}

impl IndexPlace {
    /// The index in this database, which documents name by a URL. Nothing is opened yet.
    pub(in crate::store) fn new(path: PathBuf, url: String) -> Self {
        IndexPlace { at: At::Here(path), url }
    }

    /// The index at another machine, in a database below the root of that place.
    pub(in crate::store) fn there(place: &Arc<RemotePlace>, store: String, url: String) -> Self {
        IndexPlace { at: At::There(Arc::new(Fetched::new(place, store))), url }
    }

    /// Where the database is, or the copy of it here.
    pub(super) fn path(&self) -> Result<PathBuf> {
        match &self.at {
            At::Here(path) => Ok(path.clone()),
            At::There(fetched) => fetched.path(),
        }
    }

    /// Opens the index of a pool's content for writing, creating it where it is missing.
    ///
    /// # Errors
    /// When it cannot be opened or written; `UnsupportedStore` for one of a newer build.
    pub fn open(&self, pool: &PoolFqdn) -> Result<ContentIndex> {
        ContentIndex::open(&self.path()?, pool)
    }

    /// Opens the index for reading; none where there is none, or one of another build.
    ///
    /// # Errors
    /// When it exists and cannot be read.
    pub fn open_existing(&self, pool: &PoolFqdn) -> Result<Option<ContentIndex>> {
        if self.exists()? { ContentIndex::open_to_read(&self.path()?, pool) } else { Ok(None) }
    }

    /// Whether there is an index, of whichever build and pool.
    ///
    /// # Errors
    /// When that cannot be seen.
    pub fn exists(&self) -> Result<bool> {
        match &self.at {
            At::Here(path) => {
                crate::bound::touching(path)?;
                path.try_exists().map_err(|cause| Error::io("look for", path, &cause))
            }
            At::There(fetched) => fetched.exists(),
        }
    }

    /// The folder that it lies in, where there is room for long lists as well.
    pub fn folder(&self) -> &Path {
        match &self.at {
            At::Here(path) => {
                path.parent().filter(|folder| *folder != Path::new("")).unwrap_or(Path::new("."))
            }
            At::There(fetched) => fetched.folder(),
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
