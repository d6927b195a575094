//! What makes a topology wrong although every field of it is right.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::{Pool, Topology, located};
use crate::error::{Error, ErrorKind, Result};

/// In which line of the document things stand.
#[derive(Debug, Default)]
pub(super) struct Lines {
    pub(super) central_management_pool: usize,
    pub(super) pools: Vec<usize>,
}

impl Topology {
    /// Refuses what could never work, naming the line of the pool it is about.
    pub(super) fn validate(&self, file: &Path, lines: &Lines) -> Result<()> {
        let numbered = || self.pools.iter().zip(&lines.pools);
        for (index, (pool, line)) in numbered().enumerate() {
            self.check_name(pool, index)
                .and_then(|()| self.check_pairing(pool))
                .map_err(|e| located(e, file, *line))?;
        }
        if self.pool(&self.central_management_pool).is_err() {
            let error = Error::new(
                ErrorKind::UnknownPool,
                format!(
                    "central_management_pool names {}, which is not one of the pools.",
                    self.central_management_pool
                ),
                "Name one of the pools of this document.",
            );
            return Err(located(error, file, lines.central_management_pool));
        }
        let mut seen: BTreeMap<PathBuf, String> = BTreeMap::new();
        for (pool, line) in numbered() {
            for (field, path) in stores(pool) {
                let owner = format!("{} of {}", field, pool.fqdn);
                if let Some(other) = seen.insert(path.clone(), owner.clone()) {
                    let error = Error::new(
                        ErrorKind::SharedStore,
                        format!("{owner} and {other} are the same place, {}.", path.display()),
                        "Give each store a place of its own.",
                    );
                    return Err(located(error, file, *line));
                }
            }
        }
        for (pool, line) in numbered() {
            check_nesting(pool, &self.pools).map_err(|e| located(e, file, *line))?;
        }
        Ok(())
    }

    fn check_name(&self, pool: &Pool, index: usize) -> Result<()> {
        if self.pools.iter().take(index).all(|other| other.fqdn != pool.fqdn) {
            return Ok(());
        }
        Err(Error::new(
            ErrorKind::DuplicatePool,
            format!("{} is defined twice; names are compared without case.", pool.fqdn),
            "Remove one of the two, or give it its own name.",
        ))
    }

    fn check_pairing(&self, pool: &Pool) -> Result<()> {
        let Some(backup) = &pool.backup_pool else { return Ok(()) };
        if *backup == pool.fqdn {
            return Err(Error::new(
                ErrorKind::SelfPaired,
                format!("{backup} is its own backup pool."),
                "Name another pool as backup_pool.",
            ));
        }
        let Some(partner) = self.pools.iter().find(|other| other.fqdn == *backup) else {
            return Err(Error::new(
                ErrorKind::UnknownBackupPool,
                format!("{} names the backup pool {backup}, which is not one of the pools.", pool.fqdn),
                "Add that pool, or correct the name.",
            ));
        };
        if partner.backup_pool.as_ref() != Some(&pool.fqdn) {
            return Err(Error::new(
                ErrorKind::OneSidedPairing,
                format!("{} names {backup} as its backup pool, but {backup} does not name {0}.", pool.fqdn),
                format!("Pairing is symmetric: write backup_pool = \"{}\" at {backup}.", pool.fqdn),
            ));
        }
        if pool.standby.is_none() {
            return Err(Error::new(
                ErrorKind::InvalidValue,
                format!("{} has a partner but no standby stores for it.", pool.fqdn),
                "Add standby = { user_store = …, content_store = … }.",
            ));
        }
        Ok(())
    }
}

/// The stores of a pool, as the fields that name them and their paths.
fn stores(pool: &Pool) -> Vec<(&'static str, PathBuf)> {
    let mut stores = vec![
        ("user_store", pool.user_store.url.path().to_owned()),
        ("content_store", pool.content_store.url.path().to_owned()),
    ];
    if let Some(standby) = &pool.standby {
        stores.push(("standby.user_store", standby.user_store.path().to_owned()));
        stores.push(("standby.content_store", standby.content_store.path().to_owned()));
        stores.push(("standby.service_store", standby.service_store.path().to_owned()));
        stores
            .push(("the content index of standby.service_store", standby.content_index().path().to_owned()));
        stores.extend(
            standby.management_store.iter().map(|url| ("standby.management_store", url.path().to_owned())),
        );
    }
    stores
}

/// A standby inside a content store would be copied into itself, and the other way round be deleted.
fn check_nesting(pool: &Pool, pools: &[Pool]) -> Result<()> {
    let Some(standby) = &pool.standby else { return Ok(()) };
    let standby = standby.content_store.path();
    for other in pools {
        let source = other.content_store.url.path();
        if standby.starts_with(source) || source.starts_with(standby) {
            return Err(Error::new(
                ErrorKind::StandbyInsideSource,
                format!(
                    "standby.content_store of {} ({}) and content_store of {} ({}) lie one inside the other.",
                    pool.fqdn,
                    standby.display(),
                    other.fqdn,
                    source.display()
                ),
                "Put the standby copy beside the content store, not into it.",
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"central_management_pool = "atl.example.com"

[[pools]]
fqdn = "atl.example.com"
backup_pool = "CHI.example.com"
user_store = { url = "sqlite:atl/users.sqlite" }
content_store = { url = "file:atl/share" }
standby = { user_store = "sqlite:atl/standby/chi.sqlite", content_store = "file:atl/standby/chi" }

[[pools]]
fqdn = "chi.example.com"
backup_pool = "atl.example.com"
user_store = { url = "sqlite:chi/users.sqlite" }
content_store = { url = "file:chi/share" }
standby = { user_store = "sqlite:chi/standby/atl.sqlite", content_store = "file:chi/standby/atl" }
"#;

    fn refused(from: &str, to: &str) -> Error {
        let text = GOOD.replacen(from, to, 1);
        assert_ne!(text, GOOD, "{from} is not in the document");
        let error = Topology::from_toml(&text, Path::new("/srv/topology.toml")).unwrap_err();
        assert_eq!(error.context["file"], "/srv/topology.toml");
        assert!(
            error.message.starts_with(&format!("/srv/topology.toml:{}: ", error.context["line"])),
            "{error}"
        );
        assert!(!error.advice.is_empty());
        error
    }

    #[test]
    fn a_good_document_resolves_its_paths() {
        let topology = Topology::from_toml(GOOD, Path::new("/srv/topology.toml")).unwrap();
        let (pool, backup, standby) = topology.pair(&topology.central_management_pool).unwrap();
        assert_eq!(pool.user_store.url.path(), Path::new("/srv/atl/users.sqlite"));
        assert_eq!(backup.fqdn.as_str(), "chi.example.com");
        let service = Path::new("/srv/chi/standby/atl.service.sqlite");
        let index = Path::new("/srv/chi/standby/atl.service-content.sqlite");
        assert_eq!((standby.service_store.path(), standby.content_index().path()), (service, index));
        let files = topology.database_files();
        assert!(
            [service, index].into_iter().all(|file| files.iter().any(|known| known == file)),
            "{files:?}"
        );
    }

    #[test]
    fn each_mistake_has_its_own_error_and_line() {
        let mistakes = [
            (
                "site",
                "fqdn = \"atl.example.com\"\n",
                "fqdn = \"atl.example.com\"\nsitte = \"A\"\n",
                ErrorKind::UnknownField,
                "5",
            ),
            (
                "twice",
                "fqdn = \"chi.example.com\"",
                "fqdn = \"ATL.example.com\"",
                ErrorKind::UnknownBackupPool,
                "4",
            ),
            (
                "self",
                "backup_pool = \"CHI.example.com\"",
                "backup_pool = \"atl.example.com\"",
                ErrorKind::SelfPaired,
                "4",
            ),
            ("one-sided", "backup_pool = \"atl.example.com\"\n", "", ErrorKind::OneSidedPairing, "4"),
            ("shared", "sqlite:chi/users.sqlite", "sqlite:./atl/users.sqlite", ErrorKind::SharedStore, "11"),
            (
                "index",
                "sqlite:chi/users.sqlite",
                "sqlite:chi/standby/atl.service-content.sqlite",
                ErrorKind::SharedStore,
                "11",
            ),
            ("nested", "file:chi/standby/atl", "file:atl/share/copy", ErrorKind::StandbyInsideSource, "11"),
            ("engine", "file:chi/share", "s3://bucket", ErrorKind::UnsupportedStore, "14"),
            ("kind", "file:chi/share", "sqlite:chi/share", ErrorKind::InvalidValue, "14"),
            ("name", "fqdn = \"chi.example.com\"", "fqdn = \"chi\"", ErrorKind::InvalidValue, "11"),
            ("syntax", "[[pools]]", "[[pools]", ErrorKind::SyntaxError, "3"),
            ("master", "pool = \"atl", "pool = \"nyc", ErrorKind::UnknownPool, "1"),
        ];
        for (name, from, to, kind, line) in mistakes {
            let error = refused(from, to);
            assert_eq!(error.kind, kind, "{name}: {error}");
            assert_eq!(error.context["line"], line, "{name}: {error}");
        }
    }

    #[test]
    fn a_pool_defined_twice_is_refused_where_it_stands_again() {
        let (_, pools) = GOOD.split_once("[[pools]]").unwrap();
        let text = format!("{GOOD}\n[[pools]]{pools}");
        let error = Topology::from_toml(&text, Path::new("/srv/t.toml")).unwrap_err();
        assert_eq!(error.kind, ErrorKind::DuplicatePool);
        assert_eq!(error.context["line"], "18");
    }

    #[test]
    fn a_missing_file_is_named() {
        let error = Topology::read(Path::new("/nowhere/topology.toml")).unwrap_err();
        assert_eq!(error.kind, ErrorKind::FileMissing);
        assert!(error.message.contains("/nowhere/topology.toml"));
    }
}
