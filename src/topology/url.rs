//! Where a store lies.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::error::{Error, ErrorKind, Result};

/// The place of a store, with an absolute path.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum StoreUrl {
    /// A SQLite database file.
    Sqlite(PathBuf),
    /// A folder.
    Folder(PathBuf),
}

impl StoreUrl {
    /// Reads `sqlite:PATH` or `file:PATH`; a relative path is relative to `base`.
    ///
    /// # Errors
    /// `UnsupportedStore` for another engine, `InvalidValue` for what is no URL.
    pub fn parse(url: &str, base: &Path) -> Result<Self> {
        let (scheme, path) = url.split_once(':').unwrap_or(("", url));
        let place = || normalize(&base.join(path.strip_prefix("//").unwrap_or(path)));
        match scheme {
            "sqlite" | "file" if path.is_empty() => Err(Error::new(
                ErrorKind::InvalidValue,
                format!("\"{url}\" names no path."),
                "Write the path after the colon, for instance sqlite:atl/users.sqlite.",
            )),
            "sqlite" => Ok(StoreUrl::Sqlite(place())),
            "file" => Ok(StoreUrl::Folder(place())),
            "postgres" | "postgresql" | "s3" | "az" => Err(Error::new(
                ErrorKind::UnsupportedStore,
                format!("This version cannot open {scheme}: stores."),
                "Use sqlite: for databases and file: for content stores.",
            )),
            _ => Err(Error::new(
                ErrorKind::InvalidValue,
                format!("\"{url}\" is not the URL of a store."),
                "Write sqlite:PATH for a database or file:PATH for a folder.",
            )),
        }
    }

    /// The path of the database file or folder.
    pub fn path(&self) -> &Path {
        match self {
            StoreUrl::Sqlite(path) | StoreUrl::Folder(path) => path,
        }
    }
}

/// Takes `.` and `..` out by their names alone: the path need not exist yet.
fn normalize(path: &Path) -> PathBuf {
    use std::path::Component;
    let mut out = PathBuf::new();
    for component in path.components() {
        match component {
            Component::CurDir => {}
            Component::ParentDir => {
                out.pop();
            }
            other => out.push(other),
        }
    }
    out
}

impl fmt::Display for StoreUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StoreUrl::Sqlite(path) => write!(f, "sqlite:{}", path.display()),
            StoreUrl::Folder(path) => write!(f, "file:{}", path.display()),
        }
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
mod tests {
    use super::*;

    #[test]
    fn relative_paths_are_relative_to_the_base() {
        let url = StoreUrl::parse("sqlite:../b/./users.sqlite", Path::new("/srv/a")).unwrap();
        assert_eq!(url, StoreUrl::Sqlite("/srv/b/users.sqlite".into()));
        assert_eq!(StoreUrl::try_from(url.to_string()).unwrap(), url);
        assert_eq!(StoreUrl::parse("file:///x", Path::new("/srv")).unwrap(), StoreUrl::Folder("/x".into()));
    }

    #[test]
    fn other_engines_and_nonsense_are_refused() {
        let kind = |url| StoreUrl::parse(url, Path::new("/")).unwrap_err().kind;
        assert_eq!(kind("s3://bucket/prefix"), ErrorKind::UnsupportedStore);
        assert_eq!(kind("users.sqlite"), ErrorKind::InvalidValue);
        assert_eq!(kind("sqlite:"), ErrorKind::InvalidValue);
    }
}
