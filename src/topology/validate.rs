//! What makes a topology wrong although every field of it is right.

use std::path::Path;

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

#[cfg(test)]
mod tests {
    use super::super::TopologyDocument;
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
        assert_eq!(pool.user_store.url.to_string(), "sqlite:/srv/atl/users.sqlite");
        assert_eq!(backup.fqdn.as_str(), "chi.example.com");
        assert_eq!(standby.service_store.to_string(), "sqlite:/srv/chi/standby/atl.service.sqlite");
        assert_eq!(standby.content_index().to_string(), "sqlite:/srv/chi/standby/atl.service-content.sqlite");
        let databases = topology.databases();
        assert!([&standby.service_store, &standby.content_index()].iter().all(|url| databases.contains(url)));
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
            ("engine", "file:chi/share", "s3://bucket", ErrorKind::UnsupportedStore, "14"),
            (
                "database engine",
                "sqlite:chi/users.sqlite",
                "postgres://chi@db/users",
                ErrorKind::UnsupportedStore,
                "13",
            ),
            (
                "place",
                "fqdn = \"chi.example.com\"\n",
                "fqdn = \"chi.example.com\"\nplace = \"ssh://-oProxyCommand=x/srv\"\n",
                ErrorKind::InvalidValue,
                "12",
            ),
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
    fn urls_of_a_pool_with_a_place_are_relative_to_it() {
        let placed =
            |place: &str| GOOD.replace("fqdn = \"atl", &format!("place = \"{place}\"\nfqdn = \"atl"));
        for (place, root) in [("east", "/srv/east"), ("/data", "/data"), (".", "/srv")] {
            let topology = Topology::from_toml(&placed(place), Path::new("/srv/topology.toml")).unwrap();
            let pool = topology.pool(&topology.central_management_pool).unwrap();
            let standby = pool.standby.as_ref().unwrap();
            assert_eq!(pool.user_store.url.to_string(), format!("sqlite:{root}/atl/users.sqlite"));
            assert_eq!(
                standby.service_store.to_string(),
                format!("sqlite:{root}/atl/standby/chi.service.sqlite")
            );
            assert_eq!(topology.pools[1].content_store.url.to_string(), "file:/srv/chi/share");
        }
    }

    #[test]
    fn stores_at_another_machine_lie_below_its_root() {
        let placed = GOOD.replace(
            "fqdn = \"chi.example.com\"\n",
            "fqdn = \"chi.example.com\"\nplace = \"ssh://csb@chi/srv/pools/chi\"\n",
        );
        let topology = Topology::from_toml(&placed, Path::new("/srv/topology.toml")).unwrap();
        let chi = &topology.pools[1];
        assert_eq!(chi.user_store.url.to_string(), "sqlite:/srv/pools/chi/chi/users.sqlite");
        assert_eq!(topology.pools[0].user_store.url.to_string(), "sqlite:/srv/atl/users.sqlite");
        let again = Topology::from_toml(&topology.to_toml(), Path::new("/elsewhere/topology.toml")).unwrap();
        assert_eq!(again, topology);
        let inside = placed.replace("file:chi/share", "file:/srv/pools/chi/elsewhere");
        Topology::from_toml(&inside, Path::new("/srv/topology.toml")).unwrap();
        for (from, to, line) in [
            ("sqlite:chi/users.sqlite", "sqlite:/srv/pools/chi-old/users.sqlite", "14"),
            ("file:chi/share", "file:../atl/share", "15"),
            ("file:chi/share", "file:.", "15"),
            ("sqlite:chi/standby/atl.sqlite", "sqlite:/srv/pools/atl.sqlite", "16"),
        ] {
            let error =
                Topology::from_toml(&placed.replace(from, to), Path::new("/srv/topology.toml")).unwrap_err();
            assert_eq!(
                (error.kind, error.context["line"].as_str()),
                (ErrorKind::InvalidValue, line),
                "{to}: {error}"
            );
            assert!(error.message.contains("/srv/pools/chi"), "{error}");
        }
    }

    #[test]
    fn no_error_repeats_a_password() {
        let wrong = [
            ("\"sqlite:chi/users.sqlite\"", "\"postgres://chi:pl4nted@db/users\""),
            ("{ url = \"sqlite:chi/users.sqlite\" }", "\"postgres://chi:pl4nted@db/users\""),
            ("{ url = \"sqlite:chi/users.sqlite\" }", "[\"postgres://chi:pl4nted@db/users\", \"x\"]"),
            ("backup_pool = \"CHI", "place = \"ssh://chi:pl4nted@host/root\"\nbackup_pool = \"CHI"),
            ("\"file:chi/share\"", "\"s3://bucket/x?secret=pl4nted"),
        ];
        for (from, to) in wrong {
            let error = refused(from, to);
            assert!(!format!("{error:?}").contains("pl4nted"), "{error:?}");
        }
    }

    #[test]
    fn a_missing_file_is_named() {
        let error = TopologyDocument::read(Path::new("/nowhere/topology.toml")).unwrap_err();
        assert_eq!(error.kind, ErrorKind::FileMissing);
        assert!(error.message.contains("/nowhere/topology.toml"));
    }
}
