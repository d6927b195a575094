//! What a helper opens, and for whom.

use std::io;
use std::path::{Path, PathBuf};

use jiff::{SignedDuration, Timestamp};

use super::grants::{Grant, Grants};
use crate::error::{Error, ErrorKind, Result};
use crate::topology::{Engine, HistoryLimits, PoolFqdn, StoreUrl};
use crate::wire::{Hello, SILENCE, Welcome};

/// The place of one pool, and what one partner may do there.
#[derive(Clone, Debug)]
pub struct ServedPlace {
    root: PathBuf,
    pool: PoolFqdn,
    partner: PoolFqdn,
    grants: Grants,
    state: PathBuf,
    /// For how long earlier states of what the partner writes are kept at least.
    keep: SignedDuration,
    /// The only stores that are opened; none where everything below the root is.
    only: Option<Vec<PathBuf>>,
}

/// A store of the place that may be opened.
#[derive(Clone, Debug)]
pub struct Opened {
    /// Where it is.
    pub path: PathBuf,
    /// The same as a URL.
    pub url: StoreUrl,
}

impl ServedPlace {
    /// The place of a pool below this folder, for a partner. What the helper remembers goes to `state`.
    ///
    /// # Errors
    /// `InvalidArgument` where one of them is no folder.
    pub fn new(
        root: &Path,
        pool: PoolFqdn,
        partner: PoolFqdn,
        grants: Grants,
        state: PathBuf,
    ) -> Result<Self> {
        let is_folder = root.is_dir();
        let root = root.canonicalize().ok().filter(|_| is_folder).ok_or_else(|| {
            Error::new(
                ErrorKind::InvalidArgument,
                format!("--root {} is no folder.", root.display()),
                "Name the folder that the pool's stores lie below.",
            )
        })?;
        let keep = HistoryLimits::default().keep;
        Ok(ServedPlace { root, pool, partner, grants, state, keep, only: None })
    }

    /// The same place, where earlier states of what the partner writes are kept for so long at least.
    pub fn keeping(self, keep: SignedDuration) -> Self {
        ServedPlace { keep, ..self }
    }

    /// These stores of this machine and nothing else, to be read by the partner's: its paths are below `/`. What is remembered of them lies
    /// in a folder of the pool's in `state`.
    ///
    /// # Errors
    /// As for [`ServedPlace::new`] and [`ServedPlace::locate`].
    pub fn only(pool: PoolFqdn, partner: PoolFqdn, stores: &[&StoreUrl], state: &Path) -> Result<Self> {
        let state = state.join(pool.as_str());
        let whole = ServedPlace::new(Path::new("/"), pool, partner, Grants(vec![Grant::Read]), state)?;
        let located = |url: &&StoreUrl| whole.locate(url.below(Path::new("/")).unwrap_or_default());
        let only = stores.iter().map(located).collect::<Result<_>>()?;
        Ok(ServedPlace { only: Some(only), ..whole })
    }

    /// For how long earlier states of what the partner writes are kept at least.
    pub fn keep(&self) -> SignedDuration {
        self.keep
    }

    /// The pool whose stores are opened.
    pub fn pool(&self) -> &PoolFqdn {
        &self.pool
    }

    /// The pool whose machine calls.
    pub fn partner(&self) -> &PoolFqdn {
        &self.partner
    }

    /// What the partner may do.
    pub fn grants(&self) -> &Grants {
        &self.grants
    }

    /// The folder that the stores lie below.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// A folder of the helper's own, for what it remembers of one store. It need not be there, and losing it loses nothing.
    pub fn state(&self) -> &Path {
        &self.state
    }

    /// Refuses callers who mean another pool, and says who this is.
    ///
    /// # Errors
    /// `PeerRefused`.
    pub fn welcome(&self, hello: &Hello) -> Result<Welcome> {
        if !hello.pool.eq_ignore_ascii_case(self.pool.as_str()) {
            return Err(Error::new(
                ErrorKind::PeerRefused,
                format!(
                    "The helper there opens the stores of {}, and those of {} were asked for.",
                    self.pool, hello.pool
                ),
                "Correct place in the topology or [reach] in deployment.toml, or the forced command of the key.",
            ));
        }
        Ok(Welcome {
            pool: self.pool.to_string(),
            partner: Some(self.partner.to_string()),
            grants: self.grants.0.iter().map(Grant::to_string).collect(),
            system: std::env::consts::OS.to_owned(),
            now_ms: Timestamp::now().as_millisecond(),
            silence_seconds: u16::try_from(SILENCE.as_secs()).unwrap_or(u16::MAX),
        })
    }

    /// The store at a path below the root, for a caller who may do this. Links are followed, but not out of the root.
    ///
    /// # Errors
    /// `PeerRefused` without the grant, and for a path that leads elsewhere; `AccessDenied` where this account may not enter its folder.
    pub fn open(&self, engine: Engine, relative: &str, grant: Grant) -> Result<Opened> {
        self.grants.require(grant)?;
        let path = self.locate(relative)?;
        if self.only.as_ref().is_some_and(|only| !only.contains(&path)) {
            return Err(Error::new(
                ErrorKind::PeerRefused,
                format!("{} is none of the stores that this job reads.", path.display()),
                "Install the same release of CsBackup on both machines.",
            ));
        }
        let url = StoreUrl::at(engine, path.display())?;
        Ok(Opened { path, url })
    }

    /// As [`ServedPlace::open`], for a URL whose path is below the root though it begins with `/`. The URL of where it really is.
    ///
    /// # Errors
    /// As there.
    pub fn open_url(&self, url: &StoreUrl, grant: Grant) -> Result<StoreUrl> {
        let relative = url.below(Path::new("/")).unwrap_or_default();
        self.open(url.engine(), relative, grant).map(|opened| opened.url)
    }

    /// Where a path below the root leads, for a store that is not to be opened. Links are followed, but not out of the root.
    ///
    /// # Errors
    /// As for [`ServedPlace::open`].
    pub fn locate(&self, relative: &str) -> Result<PathBuf> {
        below(&self.root, Path::new(relative)).map_err(|cause| match cause.kind() {
            io::ErrorKind::PermissionDenied => {
                Error::io("enter the folder of", &self.root.join(relative), &cause)
            }
            _ => outside(relative, &self.root).caused_by(&cause),
        })
    }
}

/// Where a path below a root really leads: neither the object nor its folders need be there. Paths are compared by their parts: a sibling
/// whose name begins like the root's is outside.
fn below(root: &Path, relative: &Path) -> io::Result<PathBuf> {
    let mut there = root.join(relative);
    let mut missing = Vec::new();
    let found = loop {
        match there.canonicalize() {
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => {
                // A link that leads nowhere yet is none to follow, and above what is not there nothing is.
                let name = there.file_name().filter(|_| there.symlink_metadata().is_err());
                missing.push(name.ok_or(io::ErrorKind::InvalidInput)?.to_owned());
                if !there.pop() {
                    return Err(cause);
                }
            }
            found => break found?,
        }
    };
    let is_below = found.starts_with(root);
    let found = missing.into_iter().rev().fold(found, |found, name| found.join(name));
    if relative.is_relative() && is_below && found != root {
        Ok(found)
    } else {
        Err(io::ErrorKind::InvalidInput.into())
    }
}

fn outside(relative: &str, root: &Path) -> Error {
    Error::new(
        ErrorKind::PeerRefused,
        format!("{relative} leads out of {}.", root.display()),
        "Let the topology name stores below the root, without links that lead elsewhere.",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(root: &Path) -> ServedPlace {
        let pool = |name: &str| PoolFqdn::from(name.to_owned());
        let (pool, partner) = (pool("atl.example.com"), pool("chi.example.com"));
        ServedPlace::new(root, pool, partner, Grants(vec![Grant::Read]), root.join("state")).unwrap()
    }

    #[test]
    fn nothing_outside_the_root_is_opened_whatever_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("atl");
        std::fs::create_dir_all(root.join("data")).unwrap();
        std::fs::create_dir_all(folder.path().join("atl-old")).unwrap();
        std::fs::write(folder.path().join("atl-old/users"), "x").unwrap();
        std::fs::write(root.join("data/users"), "x").unwrap();
        std::os::unix::fs::symlink("../data/users", root.join("data/inside")).unwrap();
        std::os::unix::fs::symlink("../../atl-old/users", root.join("data/outside")).unwrap();
        std::os::unix::fs::symlink("/etc", root.join("data/absolute")).unwrap();
        let place = place(&root);
        let open = |relative: &str| place.open(Engine::Sqlite, relative, Grant::Read);
        let real = root.canonicalize().unwrap();
        assert_eq!(open("data/users").unwrap().path, real.join("data/users"));
        assert_eq!(open("data/inside").unwrap().path, real.join("data/users"));
        assert_eq!(open("data/../data/none").unwrap().path, real.join("data/none"), "it need not be there");
        for named in [
            "../atl-old/users",
            "data/outside",
            "data/absolute/passwd",
            "/etc/passwd",
            "data/../../atl-old/users",
            "",
            "..",
            ".",
            "data/x\0y",
        ] {
            let error = open(named).unwrap_err();
            assert!(
                matches!(error.kind, ErrorKind::PeerRefused | ErrorKind::StoreUnavailable),
                "{named}: {error:?}"
            );
        }
        assert_eq!(open("nowhere/at/all/users").unwrap().path, real.join("nowhere/at/all/users"));
        assert_eq!(open("nowhere/../users").unwrap_err().kind, ErrorKind::PeerRefused);
        assert_eq!(
            place.open(Engine::Sqlite, "data/users", Grant::Write).unwrap_err().kind,
            ErrorKind::PeerRefused
        );
    }

    #[test]
    fn of_the_stores_of_a_job_nothing_else_is_opened() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap();
        for name in ["users", "other"] {
            std::fs::write(root.join(name), "x").unwrap();
        }
        std::os::unix::fs::symlink("users", root.join("link")).unwrap();
        let url = |name: &str| StoreUrl::parse(&format!("sqlite:{name}"), &root).unwrap();
        let pool = |name: &str| PoolFqdn::from(name.to_owned());
        let stores = [&url("link"), &url("none")];
        let only =
            ServedPlace::only(pool("atl.example.com"), pool("chi.example.com"), &stores, &root).unwrap();
        let open = |name: &str, grant| only.open_url(&url(name), grant);
        assert_eq!(open("link", Grant::Read).unwrap(), url("users"));
        assert_eq!(open("users", Grant::Read).unwrap(), url("users"));
        assert_eq!(open("none", Grant::Read).unwrap(), url("none"));
        for (name, grant) in [("other", Grant::Read), ("users", Grant::Write), ("../users", Grant::Read)] {
            assert_eq!(open(name, grant).unwrap_err().kind, ErrorKind::PeerRefused, "{name}");
        }
        assert!(only.locate("etc/passwd").is_ok());
    }

    #[test]
    fn a_caller_who_means_another_pool_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let place = place(folder.path());
        let hello = |pool: &str| Hello { pool: pool.to_owned(), silence_seconds: 20 };
        assert_eq!(place.welcome(&hello("ATL.example.com")).unwrap().grants, ["read"]);
        assert_eq!(place.welcome(&hello("nyc.example.com")).unwrap_err().kind, ErrorKind::PeerRefused);
    }
}
