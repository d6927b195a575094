//! Where a pool's stores are: what their URLs are relative to.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use url::Url;

use super::url::{absolute, secret};
use crate::error::{Error, ErrorKind, Result};

/// Where a pool's stores are: a folder of this machine, or of another one that is reached through ssh.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum PoolPlace {
    /// A folder of this machine, absolute.
    Local(PathBuf),
    /// `ssh://user@host[:port]/root`.
    Ssh(Url),
}

impl PoolPlace {
    /// Reads a folder, relative to `base`, or `ssh://user@host[:port]/root`.
    ///
    /// # Errors
    /// `InvalidValue`, which never repeats a secret.
    pub fn parse(place: &str, base: &Path) -> Result<Self> {
        let Some((scheme, rest)) = place.split_once("://") else {
            if place.is_empty() {
                return Err(wrong("names no folder"));
            }
            return absolute(place, base).map(PoolPlace::Local);
        };
        secret::refuse(&format!("//{rest}"))?;
        if scheme != "ssh" {
            return Err(wrong("is neither a folder nor an ssh:// URL"));
        }
        let mut url = Url::parse(&format!("ssh://{rest}"))
            .map_err(|cause| wrong(&format!("cannot be read: {cause}")))?;
        let host = url.host_str().unwrap_or_default().to_ascii_lowercase();
        if host.is_empty() || url.path().is_empty() || url.query().is_some() || url.fragment().is_some() {
            return Err(wrong("is no ssh://USER@HOST/ROOT"));
        }
        url.set_host(Some(&host)).map_err(|_| wrong("cannot be read"))?;
        Ok(PoolPlace::Ssh(url))
    }

    /// The folder that URLs are relative to.
    ///
    /// # Errors
    /// `UnsupportedStore` for another machine.
    pub fn folder(&self) -> Result<&Path> {
        match self {
            PoolPlace::Local(folder) => Ok(folder),
            PoolPlace::Ssh(_) => Err(Error::new(
                ErrorKind::UnsupportedStore,
                "This version cannot reach ssh: places.",
                "Name a folder that this machine reaches as place, or leave it out.",
            )
            .at("place", self)),
        }
    }
}

fn wrong(what: &str) -> Error {
    Error::new(
        ErrorKind::InvalidValue,
        format!("The place {what}."),
        "Write the path of a folder, or ssh://USER@HOST/ROOT for another machine.",
    )
}

impl fmt::Display for PoolPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PoolPlace::Local(folder) => folder.display().fmt(f),
            PoolPlace::Ssh(url) => url.fmt(f),
        }
    }
}

impl fmt::Debug for PoolPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PoolPlace({self})")
    }
}

impl TryFrom<String> for PoolPlace {
    type Error = Error;

    fn try_from(place: String) -> Result<Self> {
        PoolPlace::parse(&place, Path::new("/"))
    }
}

impl From<PoolPlace> for String {
    fn from(place: PoolPlace) -> String {
        place.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(place: &str) -> Result<PoolPlace> {
        PoolPlace::parse(place, Path::new("/srv/a"))
    }

    #[test]
    fn a_place_is_a_folder_or_another_machine_and_read_back_as_it_is_shown() {
        for (place, shown) in [
            ("../b/.", "/srv/b"),
            ("/data", "/data"),
            ("ssh://Backup@CHI.example.com/srv/b", "ssh://Backup@chi.example.com/srv/b"),
            ("ssh://chi:2222/srv", "ssh://chi:2222/srv"),
        ] {
            let parsed = parse(place).unwrap();
            assert_eq!(parsed.to_string(), shown);
            assert_eq!(PoolPlace::try_from(shown.to_owned()).unwrap(), parsed);
            let refused = parsed.folder().err().map(|error| error.kind);
            assert_eq!(refused, shown.starts_with("ssh").then_some(ErrorKind::UnsupportedStore));
        }
    }

    #[test]
    fn what_is_no_place_is_refused_without_repeating_a_password() {
        for place in [
            "",
            "ssh://",
            "ssh://chi",
            "http://chi/x",
            "ssh://a:pl4nted@chi/x",
            "ssh://a@chi/x?password=pl4nted",
        ] {
            let error = parse(place).unwrap_err();
            assert_eq!(error.kind, ErrorKind::InvalidValue, "{place}");
            assert!(!format!("{error:?}").contains("pl4nted"), "{error:?}");
        }
    }
}
