//! The documents of a deployment, from the Central Management store or from the local replica.

use std::path::Path;

use jiff::Timestamp;
use serde::de::DeserializeOwned;

use super::admin::{Role, standard_roles};
use crate::config::{BackupServiceConfiguration, DeploymentConfig};
use crate::error::{Error, ErrorKind, Result};
use crate::module::state::PoolState;
use crate::store::factory;
use crate::store::management::replica::Replica;
use crate::store::management::{Document, DocumentKind, ManagementStore};
use crate::store::places::Places;
use crate::topology::{PoolFqdn, StoreUrl, Topology, TopologyDocument};

/// The name of documents of which there is one.
const GLOBAL: &str = "global";

/// A deployment: where its documents are.
pub(super) struct Deployment {
    pub(super) config: DeploymentConfig,
}

/// What publishing a topology did.
pub(super) struct Published {
    pub(super) topology: Topology,
    pub(super) version: i64,
    pub(super) unchanged: bool,
    pub(super) warnings: Vec<String>,
}

/// Documents as they are now, from one of the two places.
pub(super) enum Documents {
    Store(ManagementStore),
    Replica(Replica),
}

impl Deployment {
    pub(super) fn open(file: &Path) -> Result<Self> {
        Ok(Deployment { config: DeploymentConfig::read(file)? })
    }

    /// The documents, from the local replica where that is asked for.
    pub(super) fn documents(&self, local_store: bool) -> Result<Documents> {
        if local_store {
            return Replica::read(&self.config.local_replica).map(Documents::Replica);
        }
        let url = &self.config.central_management_store;
        if !factory::exists(url)? && !self.config.local_replica.exists() {
            return Err(nothing_there(url));
        }
        factory::management_store(url).map(Documents::Store)
    }

    /// Validates a topology document and publishes it as a new version, with everything else that a new store needs;
    /// then refreshes the local replica. A dry run only validates.
    pub(super) fn publish(&self, file: &Path, what_if: bool, now: Timestamp) -> Result<Published> {
        let document = TopologyDocument::read(file)?;
        let unanswered = self.compare_places(&document)?;
        let topology = document.topology;
        let body = to_json(&topology)?;
        let current = match factory::existing_management_store(&self.config.central_management_store)? {
            Some(store) => store.current(DocumentKind::Topology, GLOBAL)?,
            None if self.config.local_replica.exists() => return Err(self.lost()),
            None if !self.config.file.exists() => return Err(self.moved()),
            None => None,
        };
        let unchanged = current.as_ref().is_some_and(|document| document.body == body);
        let version = current.as_ref().map_or(0, |document| document.version) + i64::from(!unchanged);
        if !what_if {
            self.write(&topology, body, now)?;
        }
        let mut warnings = warnings(&topology);
        warnings.extend(unanswered.into_iter().map(|place| {
            format!("{place} does not answer: whether another place is the same one could not be seen.")
        }));
        Ok(Published { topology, version, unchanged, warnings })
    }

    /// Refuses a topology whose places are not what they are meant to be; returns the names of those that do not answer.
    fn compare_places(&self, document: &TopologyDocument) -> Result<Vec<String>> {
        let topology = &document.topology;
        let all: Vec<&PoolFqdn> = topology.pools.iter().map(|pool| &pool.fqdn).collect();
        let places = Places::of(&self.config, topology).with_topology_file(&document.file);
        places.check(&all).map_err(|conflict| match &conflict.pool {
            Some(pool) => document.at_pool(pool, conflict.error),
            None => conflict.error,
        })
    }

    /// There was a store once: a new one in its place would forget every version and the states of all pools.
    fn lost(&self) -> Error {
        let url = &self.config.central_management_store;
        Error::new(
            ErrorKind::StoreUnavailable,
            format!("The Central Management store {url} is gone, but there is a local replica of it."),
            format!(
                "Mount its file system, or put its standby copy from the backup pool in its place. To begin anew without \
                 its documents, move the replica {} away.",
                self.config.local_replica.display()
            ),
        )
        .at("store", url)
    }

    /// It was moved away while a service was connected: a store in its former place would be another deployment.
    fn moved(&self) -> Error {
        let file = &self.config.file;
        Error::new(
            ErrorKind::FileMissing,
            format!("The deployment file {} is gone.", file.display()),
            "Connect to where the deployment is now, or mount its file system.",
        )
        .at("path", file.display())
    }

    fn write(&self, topology: &Topology, body: String, now: Timestamp) -> Result<()> {
        let mut store = factory::new_management_store(&self.config.central_management_store)?;
        let mut documents = vec![(DocumentKind::Topology, GLOBAL, body)];
        if store.current(DocumentKind::Configuration, GLOBAL)?.is_none() {
            documents.push((
                DocumentKind::Configuration,
                GLOBAL,
                to_json(&BackupServiceConfiguration::default())?,
            ));
        }
        documents.push((DocumentKind::Roles, GLOBAL, to_json(&roles(&store)?)?));
        for pool in &topology.pools {
            if store.current(DocumentKind::PoolState, pool.fqdn.as_str())?.is_none() {
                documents.push((
                    DocumentKind::PoolState,
                    pool.fqdn.as_str(),
                    to_json(&PoolState::default())?,
                ));
            }
        }
        store.publish(&documents, now)?;
        Replica::write(&self.config.local_replica, store.all_current()?, now)
    }

    /// Publishes other settings of the backup service, and refreshes the local replica. A dry run changes nothing.
    pub(super) fn configure(
        &self,
        change: impl FnOnce(BackupServiceConfiguration) -> Result<BackupServiceConfiguration>,
        what_if: bool,
        now: Timestamp,
    ) -> Result<BackupServiceConfiguration> {
        let documents = self.documents(false)?;
        if what_if {
            return change(documents.configuration()?);
        }
        let Documents::Store(mut store) = documents else { return Err(self.lost()) };
        let mut changed = BackupServiceConfiguration::default();
        store.revise(DocumentKind::Configuration, GLOBAL, now, |current| {
            changed = change(current.map(parse).transpose()?.unwrap_or_default())?;
            to_json(&changed)
        })?;
        Replica::write(&self.config.local_replica, store.all_current()?, now)?;
        Ok(changed)
    }
}

/// The roles of this version of the product, and those that administrators have added.
fn roles(store: &ManagementStore) -> Result<Vec<Role>> {
    let published: Vec<Role> =
        store.current(DocumentKind::Roles, GLOBAL)?.map(parse).transpose()?.unwrap_or_default();
    let own = published.into_iter().filter(|role| !role.is_standard_role);
    Ok(standard_roles().into_iter().chain(own).collect())
}

impl Documents {
    /// The topology.
    pub(super) fn topology(&self) -> Result<Topology> {
        self.read(DocumentKind::Topology, GLOBAL)?.ok_or_else(not_published)
    }

    /// The settings of the backup service.
    pub(super) fn configuration(&self) -> Result<BackupServiceConfiguration> {
        Ok(self.read(DocumentKind::Configuration, GLOBAL)?.unwrap_or_default())
    }

    /// The roles.
    pub(super) fn roles(&self) -> Result<serde_json::Value> {
        Ok(self.read(DocumentKind::Roles, GLOBAL)?.unwrap_or_default())
    }

    /// What a pool is doing.
    pub(super) fn pool_state(&self, pool: &PoolFqdn) -> Result<PoolState> {
        Ok(self.read(DocumentKind::PoolState, pool.as_str())?.unwrap_or_default())
    }

    fn read<T: DeserializeOwned>(&self, kind: DocumentKind, name: &str) -> Result<Option<T>> {
        let document: Option<Document> = match self {
            Documents::Store(store) => store.current(kind, name)?,
            Documents::Replica(replica) => replica.current(kind, name).cloned(),
        };
        document.map(parse).transpose()
    }
}

fn parse<T: DeserializeOwned>(document: Document) -> Result<T> {
    serde_json::from_str(&document.body).map_err(|cause| {
        Error::new(
            ErrorKind::Corrupt,
            format!(
                "The document {} {} of the Central Management store cannot be read.",
                document.kind, document.name
            ),
            "Publish it again with this version of the product.",
        )
        .caused_by(&cause)
    })
}

fn not_published() -> Error {
    Error::new(
        ErrorKind::NotPublished,
        "No topology has been published yet.",
        "Publish one with Publish-CsTopology -FileName topology.toml.",
    )
}

/// What a deployment looks like of which nothing was published, and one that was moved away while a service was connected.
fn nothing_there(store: &StoreUrl) -> Error {
    Error::new(
        ErrorKind::NotPublished,
        format!("There is no Central Management store at {store}, and no local replica."),
        "Publish a topology with Publish-CsTopology -FileName topology.toml, if none was published yet; else connect to \
         where the deployment is now, or mount its file system.",
    )
    .at("store", store)
}

fn to_json(document: &impl serde::Serialize) -> Result<String> {
    serde_json::to_string(document).map_err(|cause| {
        Error::new(ErrorKind::Io, "A document cannot be written.", "Report it to the maintainers.")
            .caused_by(&cause)
    })
}

/// What is allowed in a topology, but hardly meant.
fn warnings(topology: &Topology) -> Vec<String> {
    let mut warnings = Vec::new();
    for pool in topology.pools.iter().filter(|pool| pool.backup_pool.is_none()) {
        warnings.push(format!("{} has no backup pool: nothing of it is copied.", pool.fqdn));
    }
    if let Ok((_, backup, standby)) = topology.pair(&topology.central_management_pool)
        && standby.management_store.is_none()
    {
        warnings.push(format!(
            "{} has no standby.management_store: the Central Management store is not copied.",
            backup.fqdn
        ));
    }
    warnings
}
