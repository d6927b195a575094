//! The URL of a store: which engine keeps it, and where.
//!
//! A URL never holds a password: it is shown in plans and reports and stored in the Central Management store. Secrets are
//! named instead, by a file (`?password-file=`) or an environment variable (`?password-env=`).

use std::fmt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use url::Url;

use crate::error::{Error, ErrorKind, Result};

mod remote;
pub(super) mod secret;

/// What keeps a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Engine {
    /// A SQLite database file.
    Sqlite,
    /// A folder.
    Folder,
    /// A database of a PostgreSQL server.
    Postgres,
    /// A prefix in an S3 bucket.
    S3,
    /// A prefix in an Azure container.
    Azure,
}

impl Engine {
    /// Every engine that URLs may name.
    pub const ALL: [Engine; 5] =
        [Engine::Sqlite, Engine::Folder, Engine::Postgres, Engine::S3, Engine::Azure];

    /// What URLs of this engine begin with.
    pub const fn scheme(self) -> &'static str {
        match self {
            Engine::Sqlite => "sqlite",
            Engine::Folder => "file",
            Engine::Postgres => "postgres",
            Engine::S3 => "s3",
            Engine::Azure => "az",
        }
    }

    /// Whether it keeps rows, as user stores need it; the others keep files.
    pub const fn is_database(self) -> bool {
        matches!(self, Engine::Sqlite | Engine::Postgres)
    }

    /// Whether this version opens stores of it; it refuses others by name.
    pub const fn is_supported(self) -> bool {
        matches!(self, Engine::Sqlite | Engine::Folder)
    }

    fn of(scheme: &str) -> Option<Self> {
        let scheme = if scheme == "postgresql" { Engine::Postgres.scheme() } else { scheme };
        Engine::ALL.into_iter().find(|engine| engine.scheme() == scheme)
    }
}

/// The place of a store and the engine that keeps it, in one spelling: paths are absolute, names of hosts in lower case.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct StoreUrl {
    engine: Engine,
    address: Address,
}

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Address {
    /// Absolute, and UTF-8.
    Path(PathBuf),
    Remote(Url),
}

impl StoreUrl {
    /// Reads `sqlite:PATH`, `file:PATH`, `postgres://[USER@]HOST[:PORT]/DATABASE`, `s3://BUCKET[/PREFIX]` or
    /// `az://CONTAINER[/PREFIX]`; relative paths are relative to `base`. That a URL can be read does not mean that this
    /// version can open such a store.
    ///
    /// # Errors
    /// `InvalidValue`, which never repeats a secret: for what is no URL of a store, and for one with a password in it.
    pub fn parse(url: &str, base: &Path) -> Result<Self> {
        let (scheme, rest) = url.split_once(':').unwrap_or(("", url));
        secret::refuse(rest)?;
        let Some(engine) = Engine::of(scheme) else { return Err(unknown(scheme)) };
        let address = match engine {
            Engine::Sqlite | Engine::Folder => Address::Path(file(engine, rest, base)?),
            Engine::Postgres | Engine::S3 | Engine::Azure => {
                Address::Remote(remote::parse(engine, rest, base)?)
            }
        };
        Ok(StoreUrl { engine, address })
    }

    /// The store of this engine at an absolute path.
    ///
    /// # Errors
    /// As for [`StoreUrl::parse`].
    pub(crate) fn at(engine: Engine, path: impl fmt::Display) -> Result<Self> {
        StoreUrl::parse(&format!("{}:{path}", engine.scheme()), Path::new("/"))
    }

    /// What keeps the store.
    pub fn engine(&self) -> Engine {
        self.engine
    }

    /// Refuses a store of files where rows are to be kept, or the other way round, and what this version cannot open.
    ///
    /// # Errors
    /// `InvalidValue`; `UnsupportedStore`, naming the engine.
    pub fn require(&self, is_database: bool) -> Result<()> {
        if self.engine.is_database() == is_database {
            return self.local_path().map(|_| ());
        }
        let wanted = if is_database { Engine::Sqlite } else { Engine::Folder };
        Err(Error::new(
            ErrorKind::InvalidValue,
            format!("{self} is the wrong kind of store for this field."),
            format!("Write a {}: URL here.", wanted.scheme()),
        ))
    }

    /// The path of a store that is a file or a folder. For the layer of the stores alone: a test holds everybody else to
    /// the URL.
    ///
    /// # Errors
    /// `UnsupportedStore`, naming the engine, for a store that is neither.
    pub(crate) fn local_path(&self) -> Result<&Path> {
        match &self.address {
            Address::Path(path) => Ok(path),
            Address::Remote(_) => Err(Error::new(
                ErrorKind::UnsupportedStore,
                format!("This version cannot open {}: stores.", self.engine.scheme()),
                "Use sqlite: for databases and file: for content stores.",
            )
            .at("store", self)),
        }
    }

    /// The path of a store below a folder, relative to that; none where it is no file below it.
    pub fn below(&self, folder: &Path) -> Option<&str> {
        let relative = self.local_path().ok()?.strip_prefix(folder).ok()?.to_str()?;
        Some(relative).filter(|relative| !relative.is_empty())
    }

    /// A file of the same engine that lies elsewhere; none for what is no file.
    pub(super) fn beside(&self, place: impl FnOnce(&Path) -> PathBuf) -> Option<Self> {
        let path = place(self.local_path().ok()?);
        Some(StoreUrl { engine: self.engine, address: Address::Path(path) })
    }
}

/// The absolute path of a URL that is one.
fn file(engine: Engine, rest: &str, base: &Path) -> Result<PathBuf> {
    let path = rest.strip_prefix("//").unwrap_or(rest);
    if path.is_empty() {
        return Err(Error::new(
            ErrorKind::InvalidValue,
            format!("The URL {}: names no path.", engine.scheme()),
            "Write the path after the colon, for instance sqlite:atl/users.sqlite.",
        ));
    }
    absolute(path, base)
}

/// A path, relative to `base`, without `.` and `..`: these are taken out by their names alone, as the path need not exist
/// yet.
///
/// # Errors
/// `InvalidValue` where the base is not UTF-8: the path could not be written down.
pub(super) fn absolute(path: &str, base: &Path) -> Result<PathBuf> {
    use std::path::Component;
    let mut out = PathBuf::new();
    for component in base.join(path).components() {
        match component {
            Component::CurDir => {}
            Component::ParentDir => {
                out.pop();
            }
            other => out.push(other),
        }
    }
    if out.to_str().is_some() {
        return Ok(out);
    }
    Err(Error::new(
        ErrorKind::InvalidValue,
        format!("The path {} is not UTF-8.", out.display()),
        "Rename the folder, or write an absolute path without it.",
    ))
}

fn unknown(scheme: &str) -> Error {
    let is_scheme = |c: char| c.is_ascii_alphanumeric() || "+-.".contains(c);
    // Anything else may be part of a secret.
    let message = if !scheme.is_empty() && scheme.chars().all(is_scheme) {
        format!("There are no {scheme}: stores.")
    } else {
        "This is not the URL of a store: it does not begin with the name of an engine.".to_owned()
    };
    Error::new(
        ErrorKind::InvalidValue,
        message,
        "Write sqlite:PATH for a database or file:PATH for a folder.",
    )
}

impl fmt::Display for StoreUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.address {
            Address::Path(path) => write!(f, "{}:{}", self.engine.scheme(), path.display()),
            Address::Remote(url) => url.fmt(f),
        }
    }
}

impl fmt::Debug for StoreUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StoreUrl({self})")
    }
}

impl TryFrom<String> for StoreUrl {
    type Error = Error;

    fn try_from(url: String) -> Result<Self> {
        StoreUrl::parse(&url, Path::new("/"))
    }
}

impl From<StoreUrl> for String {
    fn from(url: StoreUrl) -> String {
        url.to_string()
    }
}

#[cfg(test)]
mod tests;
