//! `deployment.toml`, and the settings that the Central Management store holds.

use std::collections::BTreeMap;
use std::fmt;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};

use serde::de::value::MapAccessDeserializer;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use toml::Spanned;

use crate::error::{Error, ErrorKind, Result};
use crate::platform::host_name;
use crate::topology::{
    Pool, PoolFqdn, PoolPlace, StoreUrl, absolute, line_of, located, read_text, toml_error,
};

mod reach;
mod settings;

pub use reach::{Helper, ReachTable, ReachWay, There, Whereabouts};
pub use settings::{BackupServiceConfiguration, ConfigurationChange};

/// What a deployment file is called in its folder.
pub const DEPLOYMENT_FILE: &str = "deployment.toml";

/// Where a deployment's Central Management store lies, and what belongs to this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeploymentConfig {
    /// The deployment file.
    pub file: PathBuf,
    /// The Central Management store.
    pub central_management_store: StoreUrl,
    /// Which machine has it.
    pub management_place: Whereabouts,
    /// How this machine reaches the stores of pools, where that is said.
    pub reach: ReachTable,
    /// This machine's read-only copy of its documents.
    pub local_replica: PathBuf,
    /// Where job records and reports are kept.
    pub jobs: PathBuf,
    /// This machine's name.
    pub machine: String,
    /// How much of what jobs leave is kept.
    pub kept: Kept,
}

/// How much of what jobs leave is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Kept {
    /// How many reports, of those that were given no file.
    pub reports: NonZeroU32,
    /// How many job records.
    pub jobs: NonZeroU32,
    /// For how many days a job record.
    pub days: NonZeroU32,
}

impl Default for Kept {
    fn default() -> Self {
        let number = |number| NonZeroU32::new(number).unwrap_or(NonZeroU32::MIN);
        Kept { reports: number(200), jobs: number(200), days: number(30) }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DeploymentToml {
    central_management_store: Spanned<ManagementStoreToml>,
    local_replica: PathBuf,
    #[serde(default)]
    reach: BTreeMap<String, Spanned<String>>,
    #[serde(default = "default_jobs")]
    jobs: PathBuf,
    machine: Option<String>,
    #[serde(default)]
    kept: Kept,
}

/// A URL, or a URL at a place of another machine.
enum ManagementStoreToml {
    Url(String),
    Placed(PlacedStoreToml),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PlacedStoreToml {
    place: String,
    url: String,
    pool: String,
}

impl<'de> Deserialize<'de> for ManagementStoreToml {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Either;

        impl<'de> Visitor<'de> for Either {
            type Value = ManagementStoreToml;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a URL, or a table with place, url and pool")
            }

            fn visit_str<E>(self, url: &str) -> Result<Self::Value, E> {
                Ok(ManagementStoreToml::Url(url.to_owned()))
            }

            fn visit_map<A: MapAccess<'de>>(self, fields: A) -> Result<Self::Value, A::Error> {
                PlacedStoreToml::deserialize(MapAccessDeserializer::new(fields))
                    .map(ManagementStoreToml::Placed)
            }
        }

        from.deserialize_any(Either)
    }
}

fn default_jobs() -> PathBuf {
    PathBuf::from("jobs")
}

impl DeploymentConfig {
    /// Reads `deployment.toml`, also where only its folder is named. Paths in it are relative to the folder it lies in.
    ///
    /// # Errors
    /// `FileMissing`, `SyntaxError`, `UnknownField`, `InvalidValue`, `UnsupportedStore`, naming file and line.
    pub fn read(file: &Path) -> Result<Self> {
        let mut file = absolute("deploymentFile", file)?;
        if file.is_dir() {
            file.push(DEPLOYMENT_FILE);
        }
        let text = read_text(&file, "deployment file")?;
        let toml: DeploymentToml = toml::from_str(&text).map_err(|cause| toml_error(&cause, &text, &file))?;
        let base = file.parent().unwrap_or(Path::new("/"));
        let line = |value: std::ops::Range<usize>| line_of(&text, value.start);
        let mut reach = ReachTable::default();
        for (name, spelled) in &toml.reach {
            let at_line = |error| located(error, &file, line(spelled.span()));
            let pool = PoolFqdn::parse(name).map_err(at_line)?;
            if reach.0.insert(pool, ReachWay::parse(spelled.get_ref()).map_err(at_line)?).is_some() {
                return Err(at_line(Error::new(
                    ErrorKind::DuplicatePool,
                    "[reach] names a pool twice; names are compared without case.",
                    "Remove one of the two lines.",
                )));
            }
        }
        let (central_management_store, management_place) =
            management_store(toml.central_management_store.get_ref(), base, &reach)
                .map_err(|error| located(error, &file, line(toml.central_management_store.span())))?;
        let (local_replica, jobs) = (base.join(toml.local_replica), base.join(toml.jobs));
        let machine = toml.machine.unwrap_or_else(host_name);
        let kept = toml.kept;
        Ok(DeploymentConfig {
            file,
            central_management_store,
            management_place,
            reach,
            local_replica,
            jobs,
            machine,
            kept,
        })
    }

    /// Where the stores of a pool are for this machine.
    ///
    /// # Errors
    /// `InvalidValue` where what `[reach]` says of it does not fit its place.
    pub fn whereabouts(&self, pool: &Pool) -> Result<Whereabouts> {
        self.reach.of(pool, &self.machine)
    }
}

/// The URL of the Central Management store, and where it is.
fn management_store(
    toml: &ManagementStoreToml,
    base: &Path,
    reach: &ReachTable,
) -> Result<(StoreUrl, Whereabouts)> {
    let database =
        |url: &str, base: &Path| StoreUrl::parse(url, base).and_then(|url| url.require(true).map(|()| url));
    let placed = match toml {
        ManagementStoreToml::Url(url) => return Ok((database(url, base)?, Whereabouts::Here)),
        ManagementStoreToml::Placed(placed) => placed,
    };
    let PoolPlace::Ssh(place) = PoolPlace::parse(&placed.place, base)? else {
        return Err(Error::new(
            ErrorKind::InvalidValue,
            "The place of a Central Management store is no ssh://USER@HOST/ROOT.",
            "Name the machine of the master as place, or only the URL of a store of this machine.",
        ));
    };
    let url = database(&placed.url, place.root())?;
    if url.below(place.root()).is_none() {
        return Err(Error::new(
            ErrorKind::InvalidValue,
            format!("{url} does not lie below the root of its place, {}.", place.root().display()),
            "Write a path relative to the root of the place.",
        ));
    }
    Ok((url, reach.of_place(PoolFqdn::parse(&placed.pool)?, &place)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<DeploymentConfig> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join(DEPLOYMENT_FILE);
        std::fs::write(&file, text).unwrap();
        DeploymentConfig::read(&file)
    }

    const PLACED: &str = r#"local_replica = "replica.json"
central_management_store = { place = "ssh://csb@atl-1/srv/atl", url = "sqlite:cms.sqlite", pool = "atl.example.com" }

[reach]
"chi.example.com" = "local"
"#;

    #[test]
    fn the_master_may_be_at_another_machine_and_reach_says_how_to_get_there() {
        let config = read(PLACED).unwrap();
        assert_eq!(config.central_management_store.to_string(), "sqlite:/srv/atl/cms.sqlite");
        assert_eq!(config.management_place.there().unwrap().to_string(), "ssh://csb@atl-1/srv/atl");
        let way =
            |way: &str| read(&format!("{PLACED}\"ATL.example.com\" = \"{way}\"\n")).unwrap().management_place;
        assert_eq!(way("local"), Whereabouts::Here);
        let piped = way("pipe:/usr/bin/csb-serve");
        let there = piped.there().unwrap();
        assert_eq!(
            (there.to_string().as_str(), there.root.to_str()),
            ("pipe:/usr/bin/csb-serve", Some("/srv/atl"))
        );
        let here = read("central_management_store = \"sqlite:cms.sqlite\"\nlocal_replica = \"r\"").unwrap();
        assert_eq!(here.management_place, Whereabouts::Here);
    }

    #[test]
    fn what_is_wrong_with_it_is_told_with_its_line() {
        for (from, to, kind, line) in [
            ("\"local\"", "\"somewhere\"", ErrorKind::InvalidValue, "5"),
            ("\"local\"", "7", ErrorKind::InvalidValue, "5"),
            ("\"chi.example.com\"", "\"chi\"", ErrorKind::InvalidValue, "5"),
            ("\"local\"\n", "\"local\"\n\"CHI.example.com\" = \"local\"\n", ErrorKind::DuplicatePool, "5"),
            ("ssh://csb@atl-1/srv/atl", "/srv/atl", ErrorKind::InvalidValue, "2"),
            ("ssh://csb@atl-1/srv/atl", "ssh://-x/srv/atl", ErrorKind::InvalidValue, "2"),
            ("sqlite:cms.sqlite", "sqlite:/srv/atl-old/cms.sqlite", ErrorKind::InvalidValue, "2"),
            ("sqlite:cms.sqlite", "file:cms", ErrorKind::InvalidValue, "2"),
            ("place = \"ssh://csb@atl-1/srv/atl\", ", "", ErrorKind::InvalidValue, "2"),
            ("pool = ", "pol = ", ErrorKind::UnknownField, "2"),
            (", pool = \"atl.example.com\"", "", ErrorKind::InvalidValue, "2"),
            ("pool = \"atl.example.com\"", "pool = \"atl\"", ErrorKind::InvalidValue, "2"),
        ] {
            let text = PLACED.replacen(from, to, 1);
            assert_ne!(text, PLACED);
            let error = read(&text).unwrap_err();
            assert_eq!((error.kind, error.context["line"].as_str()), (kind, line), "{to}: {error}");
        }
        let error = read("central_management_store = 7\nlocal_replica = \"r\"").unwrap_err();
        assert_eq!(error.kind, ErrorKind::InvalidValue, "{error}");
    }
}
