//! Where the URL of a store becomes the store: the only place that knows which engine keeps what.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::access::{self, AccessCheck, StoreRole};
use super::content::ContentStore;
use super::content::folder::{FolderStore, RestoredFolder};
use super::content::index::{self, IndexPlace};
use super::content::remote::RemoteContent;
use super::documents::remote::RemoteDocuments;
use super::documents::sqlite::SqliteDocuments;
use super::documents::{self, Documents};
use super::leases::Leases;
use super::leases::remote::RemoteLeases;
use super::leases::sqlite::SqliteLeases;
use super::remote::Reach;
use super::sqlite;
use super::user::UserStorePair;
use super::user::pages::PagePair;
use crate::bound::touching;
use crate::clock::Clock;
use crate::error::{Error, ErrorKind, Result};
use crate::topology::{Engine, StoreUrl, UserStoreConfig};

/// Refuses to run on engines that may lose what was committed.
///
/// # Errors
/// `UnsafeSqlite`.
pub fn require_safe_engines() -> Result<()> {
    sqlite::assert_safe_version()
}

/// The pair of a pool's user store and its standby copy, each where it is reached. `patience` bounds how long a run looks for a state of a store that somebody
/// writes to all the time.
///
/// # Errors
/// `UnsupportedStore`.
pub fn user_stores(
    (config, at): (&UserStoreConfig, &Reach),
    (standby, standby_at): (&StoreUrl, &Reach),
    patience: Duration,
) -> Result<Box<dyn UserStorePair>> {
    path_of(&config.url, Engine::Sqlite)?;
    path_of(standby, Engine::Sqlite)?;
    Ok(Box::new(PagePair::between((config, at), (standby, standby_at), patience)?))
}

/// A content store in which these databases, wherever in it they are, are never opened as files.
///
/// # Errors
/// `UnsupportedStore`.
pub fn content_store(url: &StoreUrl, at: &Reach, databases: &[StoreUrl]) -> Result<Box<dyn ContentStore>> {
    let path = path_of(url, Engine::Folder)?;
    Ok(match at {
        Reach::Here => {
            let files = databases.iter().flat_map(StoreUrl::local_path).map(Path::to_owned).collect();
            Box::new(FolderStore::new(path.to_owned(), files))
        }
        Reach::There(place) => {
            // What does not lie below the root is out of reach there.
            let files = databases.iter().flat_map(|url| place.relative(url)).collect();
            Box::new(RemoteContent::new(Arc::clone(place), place.relative(url)?, files))
        }
    })
}

/// A new folder at a path where nothing is, which has its name once it is complete.
///
/// # Errors
/// `DiskFull`, `AccessDenied`, `Io`; `InvalidArgument` where an earlier attempt left something beside it.
pub fn restored_folder(to: &Path) -> Result<RestoredFolder> {
    RestoredFolder::create(to)
}

/// The leases at a place, watched by this clock. Nothing is opened yet.
///
/// # Errors
/// `UnsupportedStore`.
pub fn leases(url: &StoreUrl, at: &Reach, clock: Arc<dyn Clock>) -> Result<Arc<dyn Leases>> {
    let path = path_of(url, Engine::Sqlite)?;
    Ok(match at {
        Reach::Here => Arc::new(SqliteLeases::new(path.to_owned(), clock)),
        Reach::There(place) => Arc::new(RemoteLeases::new(place, url)?),
    })
}

/// The index of a content copy. Nothing is opened yet.
///
/// # Errors
/// `UnsupportedStore`.
pub fn content_index(url: &StoreUrl, at: &Reach) -> Result<IndexPlace> {
    let path = path_of(url, Engine::Sqlite)?;
    Ok(match at {
        Reach::Here => IndexPlace::new(path.to_owned(), url.to_string()),
        Reach::There(place) => IndexPlace::there(place, place.relative(url)?, url.to_string()),
    })
}

/// A Central Management store that must exist.
///
/// # Errors
/// `StoreUnavailable`, with the advice to use the local replica; `UnsupportedStore`.
pub fn management_store(url: &StoreUrl, at: &Reach) -> Result<Box<dyn Documents>> {
    path_of(url, Engine::Sqlite)?;
    Ok(match at {
        Reach::Here => Box::new(SqliteDocuments::open(url)?),
        Reach::There(place) => Box::new(RemoteDocuments::new(place, url)?),
    })
}

/// As [`management_store`], if there is one.
///
/// # Errors
/// As for [`management_store`].
pub fn existing_management_store(url: &StoreUrl, at: &Reach) -> Result<Option<Box<dyn Documents>>> {
    path_of(url, Engine::Sqlite)?;
    if let Reach::There(place) = at {
        let store = RemoteDocuments::new(place, url)?;
        return Ok(if store.exists()? { Some(Box::new(store)) } else { None });
    }
    let store = SqliteDocuments::open_existing(url)?;
    Ok(store.map(|store| Box::new(store) as Box<dyn Documents>))
}

/// As [`management_store`], made where there is none at this machine. A new one has no role yet: it becomes what it is used as.
///
/// # Errors
/// When it cannot be opened or written; `UnsupportedStore`.
pub fn new_management_store(url: &StoreUrl, at: &Reach) -> Result<Box<dyn Documents>> {
    path_of(url, Engine::Sqlite)?;
    match at {
        Reach::Here => Ok(Box::new(SqliteDocuments::create(url)?)),
        Reach::There(_) => management_store(url, at),
    }
}

/// What this account may do with a store of this machine.
///
/// # Errors
/// `UnsupportedStore`.
pub fn access(role: StoreRole, url: &StoreUrl) -> Result<Vec<AccessCheck>> {
    let path = path_of(url, role.engine())?;
    touching(path)?;
    Ok(access::look(role, path))
}

/// Refuses a database that is there and is none that this product made for what it is to be used as: it is not opened, nor are its rights
/// changed. For whoever is told from afar what to open.
///
/// # Errors
/// `ForeignContent`; `UnsupportedStore`; when it cannot be read.
pub fn require_own(url: &StoreUrl, what: OwnDatabase) -> Result<()> {
    let path = path_of(url, Engine::Sqlite)?;
    let table = match what {
        OwnDatabase::ManagementStore => documents::remote::TABLE,
        OwnDatabase::ContentIndex => index::fetched::TABLE,
    };
    if path.symlink_metadata().is_err() || sqlite::is_own_database(path, table)? {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::ForeignContent,
        format!("{url} was not made by this product, or for something else."),
        "Move it away, or publish a topology with another place for it.",
    )
    .at("store", url))
}

/// What a database of this product's own is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OwnDatabase {
    /// A copy of the Central Management store.
    ManagementStore,
    /// The index of a content copy.
    ContentIndex,
}

/// Whether anything lies where a store should be.
///
/// # Errors
/// `UnsupportedStore`.
pub fn exists(url: &StoreUrl, at: &Reach) -> Result<bool> {
    here(at, url)?;
    let path = url.local_path()?;
    touching(path)?;
    Ok(path.exists())
}

/// Refuses a store at another machine.
fn here(at: &Reach, url: &StoreUrl) -> Result<()> {
    match at {
        Reach::Here => Ok(()),
        Reach::There(place) => Err(Error::new(
            ErrorKind::UnsupportedStore,
            format!("This version cannot open {url} at {place}."),
            "Run the command at the machine where the store is.",
        )
        .at("store", url)
        .at("place", place)),
    }
}

/// Where a store of this engine lies.
fn path_of(url: &StoreUrl, engine: Engine) -> Result<&Path> {
    let path = url.local_path()?;
    if url.engine() == engine {
        return Ok(path);
    }
    Err(Error::new(
        ErrorKind::InvalidValue,
        format!("{url} is the wrong kind of store for what it is used for."),
        format!("Publish a topology with a {}: URL there.", engine.scheme()),
    )
    .at("store", url))
}
