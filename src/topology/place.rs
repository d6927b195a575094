//! Where a pool's stores are: what their URLs are relative to.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::url::{StoreUrl, absolute, secret};
use crate::error::{Error, ErrorKind, Result};

mod ssh;

pub use ssh::SshPlace;

/// Where a pool's stores are: a folder of this machine, or of another one that is reached through ssh.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum PoolPlace {
    /// A folder, absolute, of whichever machine opens the stores.
    Local(PathBuf),
    /// `ssh://user@host[:port]/root`.
    Ssh(SshPlace),
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
        if scheme != SshPlace::SCHEME {
            return Err(wrong("is neither a folder nor an ssh:// URL"));
        }
        SshPlace::parse(rest).map(PoolPlace::Ssh)
    }

    /// The folder that holds all of these stores, as a place for a pool that has none; none where that would be everything, or one is
    /// no file or folder.
    pub fn around(stores: &[StoreUrl]) -> Option<Self> {
        let mut folders = stores.iter().map(|store| store.local_path().ok().and_then(Path::parent));
        let mut folder = folders.next()??.to_owned();
        for other in folders {
            let other = other?;
            while !other.starts_with(&folder) {
                folder.pop();
            }
        }
        folder.parent()?;
        Some(PoolPlace::Local(folder))
    }

    /// The folder that URLs are relative to, at the machine where the stores are.
    pub fn root(&self) -> &Path {
        match self {
            PoolPlace::Local(folder) => folder,
            PoolPlace::Ssh(place) => place.root(),
        }
    }

    /// Another machine and its root, where that is named.
    pub fn ssh(&self) -> Option<&SshPlace> {
        match self {
            PoolPlace::Local(_) => None,
            PoolPlace::Ssh(place) => Some(place),
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
            PoolPlace::Ssh(place) => place.fmt(f),
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
            ("ssh://chi:22/srv//a/./b/", "ssh://chi:22/srv/a/b"),
            ("ssh://csb@[2001:DB8::7]/srv", "ssh://csb@[2001:db8::7]/srv"),
            ("ssh://a.b-c_d@h_1/srv/with space/à", "ssh://a.b-c_d@h_1/srv/with space/à"),
        ] {
            let parsed = parse(place).unwrap();
            assert_eq!(parsed.to_string(), shown);
            assert_eq!(PoolPlace::try_from(shown.to_owned()).unwrap(), parsed);
            assert_eq!(parsed.ssh().is_some(), shown.starts_with("ssh"));
            assert!(shown.ends_with(parsed.root().to_str().unwrap()));
        }
    }

    #[test]
    fn the_folder_around_stores_is_the_deepest_that_holds_them_all() {
        let around = |urls: &[&str]| {
            let urls: Vec<StoreUrl> =
                urls.iter().map(|url| StoreUrl::try_from((*url).to_owned()).unwrap()).collect();
            PoolPlace::around(&urls).map(|place| place.to_string())
        };
        assert_eq!(
            around(&["sqlite:/srv/a/u", "file:/srv/a/share", "sqlite:/srv/a/standby/b"]).unwrap(),
            "/srv/a"
        );
        assert_eq!(around(&["sqlite:/srv/a/u", "file:/srv/ab/share"]).unwrap(), "/srv");
        assert_eq!(around(&["sqlite:/srv/a/u"]).unwrap(), "/srv/a");
        for none in [&["sqlite:/srv/u", "file:/data"][..], &["s3://bucket/x"], &["sqlite:/u"], &[]] {
            assert_eq!(around(none), None, "{none:?}");
        }
    }

    #[test]
    fn host_user_and_port_are_what_ssh_takes_as_such() {
        let parsed = parse("ssh://csb@[::1]:2222/srv/pools/atl").unwrap();
        let place = parsed.ssh().unwrap();
        assert_eq!((place.user(), place.host(), place.port()), (Some("csb"), "::1", Some(2222)));
        assert_eq!(place.root(), Path::new("/srv/pools/atl"));
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
            "ssh://a@chi/",
            "ssh://a@chi/..",
            "ssh://a@/x",
            "ssh://@chi/x",
            "ssh://-oProxyCommand=x/x",
            "ssh://-a@chi/x",
            "ssh://a b@chi/x",
            "ssh://chi;id/x",
            "ssh://$(id)/x",
            "ssh://chi:0/x",
            "ssh://chi:65536/x",
            "ssh://chi:/x",
            "ssh://[::1/x",
            "ssh://[::g]/x",
            "ssh://[fe80::1%25eth0]/x",
            "ssh://chi/a%20b",
            "ssh://chi/a?b",
            "ssh://chi/a#b",
            "ssh://chi/a\nb",
        ] {
            let error = parse(place).unwrap_err();
            assert_eq!(error.kind, ErrorKind::InvalidValue, "{place}");
            assert!(!format!("{error:?}").contains("pl4nted"), "{error:?}");
        }
    }
}
