//! The documents of a deployment, from the Central Management store or from the local replica.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use super::admin::Roles;
use super::text;
use crate::bound::touching;
use crate::config::{BackupServiceConfiguration, DeploymentConfig, Helper, There, Whereabouts};
use crate::error::{Error, ErrorKind, Result};
use crate::platform::Rights;
use crate::pool::{PoolState, PoolStateDetails, PoolStateRecord};
use crate::store::documents::replica::Replica;
use crate::store::documents::{self, Document, DocumentKind, Documents, DocumentsRole, Draft, Published};
use crate::store::places::{Conflict, Places};
use crate::store::remote::{Grant, RemotePlace};
use crate::store::{Reach, factory};
use crate::stored::{Stored, StoredDocument};
use crate::topology::{Pool, PoolFqdn, StoreUrl, Topology, TopologyDocument};
use crate::wire::Route;
use jiff::Timestamp;

/// The name of documents of which there is one.
const GLOBAL: &str = "global";

/// A deployment: where its documents are.
pub(super) struct Deployment {
    pub(super) config: DeploymentConfig,
    /// Places at other machines, each with the session to it, which is kept.
    remote: Mutex<BTreeMap<There, Arc<RemotePlace>>>,
}

/// The folder in that of the jobs in which a helper that this machine starts remembers things.
const HELPER_STATE: &str = "csb-serve";

/// How often settings are read and changed again because somebody else published others meanwhile.
const ATTEMPTS: usize = 20;

/// What publishing a topology did.
pub(super) struct PublishedTopology {
    pub(super) topology: Topology,
    pub(super) version: i64,
    pub(super) unchanged: bool,
    pub(super) warnings: Vec<String>,
}

/// Documents as they are now, from one of the two places.
pub(super) enum Source {
    Store(Box<dyn Documents>),
    Replica(Replica),
}

impl Deployment {
    pub(super) fn open(file: &Path) -> Result<Self> {
        touching(file)?;
        Ok(Deployment { config: DeploymentConfig::read(file)?, remote: Mutex::default() })
    }

    /// How the stores of a pool are reached from this machine.
    ///
    /// # Errors
    /// `InvalidValue` where what `[reach]` says of it does not fit its place.
    pub(super) fn reach(&self, pool: &Pool) -> Result<Reach> {
        Ok(self.reach_at(&self.config.whereabouts(pool)?))
    }

    /// How the Central Management store is reached.
    pub(super) fn management_reach(&self) -> Reach {
        self.reach_at(&self.config.management_place)
    }

    fn reach_at(&self, at: &Whereabouts) -> Reach {
        let Whereabouts::There(there) = at else { return Reach::Here };
        let mut known = self.remote.lock().unwrap_or_else(PoisonError::into_inner);
        let place = known.entry(there.clone()).or_insert_with(|| self.remote_place(there));
        Reach::There(Arc::clone(place))
    }

    /// A place at another machine, to which nothing is started yet.
    fn remote_place(&self, there: &There) -> Arc<RemotePlace> {
        let route = match &there.helper {
            Helper::Ssh(place) => Route::Ssh {
                user: place.user().map(str::to_owned),
                host: place.host().to_owned(),
                port: place.port(),
            },
            Helper::Pipe(program) => {
                // Whoever only reads documents need not be a partner of the pool.
                let partner = there.partner.as_ref().unwrap_or(&there.pool);
                let state = self.helper_state();
                // It is this account's own, and may what this account may.
                let grants = Grant::ALL.into_iter().filter(|grant| grant.is_given());
                let grants: Vec<String> = grants.map(|grant| grant.to_string()).collect();
                let arguments = [
                    text(program),
                    "--root".to_owned(),
                    text(&there.root),
                    "--pool".to_owned(),
                    there.pool.to_string(),
                    "--partner".to_owned(),
                    partner.to_string(),
                    "--grant".to_owned(),
                    grants.join(","),
                    "--state".to_owned(),
                    text(&state),
                ];
                Route::Command(arguments.into())
            }
        };
        RemotePlace::new(there.pool.clone(), route, there.root.clone(), there.to_string())
    }

    /// Where helpers of this machine, and whatever reads for one elsewhere, remember things.
    pub(super) fn helper_state(&self) -> PathBuf {
        self.config.jobs.join(HELPER_STATE)
    }

    /// Every database that the machine has which opens the stores of this pool.
    ///
    /// # Errors
    /// As for [`Deployment::reach`].
    pub(super) fn databases_beside(&self, topology: &Topology, pool: &Pool) -> Result<Vec<StoreUrl>> {
        let machine = |at: &Whereabouts| at.there().map(There::machine);
        let beside = machine(&self.config.whereabouts(pool)?);
        let mut found = Vec::new();
        for other in &topology.pools {
            if machine(&self.config.whereabouts(other)?) == beside {
                found.extend(other.databases());
            }
        }
        if machine(&self.config.management_place) == beside {
            found.push(self.config.central_management_store.clone());
        }
        Ok(found)
    }

    /// The documents, from the local replica where that is asked for.
    pub(super) fn documents(&self, local_store: bool) -> Result<Source> {
        if local_store {
            return Replica::read(&self.config.local_replica).map(Source::Replica);
        }
        let (url, at) = (&self.config.central_management_store, self.management_reach());
        if let Reach::There(_) = at {
            return self.fetch(&at).map(Source::Replica);
        }
        if !factory::exists(url, &at)? && !self.config.local_replica.exists() {
            return Err(nothing_there(url));
        }
        factory::management_store(url, &at).map(Source::Store)
    }

    /// The current documents of a store at another machine. The local replica is brought up to them.
    fn fetch(&self, at: &Reach) -> Result<Replica> {
        let read = || factory::management_store(&self.config.central_management_store, at)?.all_current();
        let documents = read().map_err(|mut error| {
            if error.retryable {
                error.advice = format!("{} With -LocalStore the local replica is used.", error.advice);
            }
            error
        })?;
        let file = &self.config.local_replica;
        match Replica::read(file) {
            Ok(replica) if replica.documents == documents => Ok(replica),
            _ => {
                Replica::write(file, documents, self.replica_rights(), Timestamp::now())?;
                Replica::read(file)
            }
        }
    }

    /// Where something is published: at the master, be it at another machine, where that grants it.
    ///
    /// # Errors
    /// `NotMaster`, naming the machine; `StoreUnavailable` where that cannot be asked.
    fn master(&self) -> Result<Reach> {
        let at = self.management_reach();
        let Whereabouts::There(there) = &self.config.management_place else { return Ok(at) };
        if at.place().is_some_and(|place| place.grants(Grant::Cms).unwrap_or(false)) {
            return Ok(at);
        }
        let machine = there.machine();
        Err(Error::new(
            ErrorKind::NotMaster,
            format!(
                "The Central Management store is at {machine}: nothing can be published at {}.",
                self.config.machine
            ),
            format!("Run the command at {machine}, or let its administrator add --grant cms to the forced command of this machine's key."),
        )
        .at("store", &self.config.central_management_store)
        .at("machine", machine)
        .at("place", there))
    }

    /// Validates a topology document and publishes it as a new version, with everything else that a new store needs;
    /// then refreshes the local replica. A dry run only validates.
    pub(super) fn publish(&self, file: &Path, what_if: bool, now: Timestamp) -> Result<PublishedTopology> {
        let at = self.master()?;
        touching(file)?;
        let document = TopologyDocument::read(file)?;
        let topology = document.topology.clone();
        let places = Places::of(&self.config)
            .with_topology(&topology, &self.config)
            .with_topology_file(&document.file);
        let located = |conflict: Box<Conflict>| match &conflict.pool {
            Some(pool) => document.at_pool(pool, conflict.error),
            None => conflict.error,
        };
        let pools: Vec<&PoolFqdn> = topology.pools.iter().map(|pool| &pool.fqdn).collect();
        let unanswered = places.check(&pools).map_err(located)?;
        Replica::check(&self.config.local_replica)?;
        let current = match factory::existing_management_store(&self.config.central_management_store, &at)? {
            Some(store) => {
                require_master(store.as_ref())?;
                store.current(DocumentKind::Topology, GLOBAL)?
            }
            None if self.config.local_replica.exists() => return Err(self.lost()),
            None if !self.config.file.exists() => return Err(self.moved()),
            None => None,
        };
        places.check_documents().map_err(located)?;
        let body = changed(current.clone(), topology.clone())?;
        let unchanged = current.as_ref().is_some_and(|document| document.body == body);
        let version = current.as_ref().map_or(0, |document| document.version) + i64::from(!unchanged);
        if !what_if {
            self.write(&topology, body, &at, now)?;
        }
        let mut warnings = warnings(&topology);
        warnings.extend(unanswered.into_iter().map(|place| {
            format!("{place} does not answer: whether another place is the same one could not be seen.")
        }));
        Ok(PublishedTopology { topology, version, unchanged, warnings })
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

    fn write(&self, topology: &Topology, body: String, at: &Reach, now: Timestamp) -> Result<()> {
        let store = factory::new_management_store(&self.config.central_management_store, at)?;
        self.lead(store.as_ref())?;
        let mut drafts = vec![draft(DocumentKind::Topology, GLOBAL, body)];
        if store.current(DocumentKind::Configuration, GLOBAL)?.is_none() {
            let settings = changed(None, BackupServiceConfiguration::default())?;
            drafts.push(draft(DocumentKind::Configuration, GLOBAL, settings));
        }
        let roles = store.current(DocumentKind::Roles, GLOBAL)?;
        let refreshed = roles.clone().map(parse::<Roles>).transpose()?.unwrap_or_default().refreshed();
        drafts.push(draft(DocumentKind::Roles, GLOBAL, changed(roles, refreshed)?));
        for pool in &topology.pools {
            if store.current(DocumentKind::PoolState, pool.fqdn.as_str())?.is_none() {
                let details = PoolStateDetails { since: Some(now), ..PoolStateDetails::default() };
                let state = PoolStateRecord { state: PoolState::default(), details };
                drafts.push(draft(DocumentKind::PoolState, pool.fqdn.as_str(), changed(None, state)?));
            }
        }
        store.publish(drafts, now)?;
        self.refresh(store.as_ref(), at, now)
    }

    /// Brings the local replica up to the store.
    fn refresh(&self, store: &dyn Documents, at: &Reach, now: Timestamp) -> Result<()> {
        let rights = match at {
            Reach::Here => store.rights()?,
            Reach::There(_) => self.replica_rights(),
        };
        Replica::write(&self.config.local_replica, store.all_current()?, rights, now)
    }

    /// The rights of a replica of what is at another machine: whose the store is there says nothing of the accounts of this one.
    fn replica_rights(&self) -> Rights {
        Rights::of(&self.config.local_replica).unwrap_or(Rights::PRIVATE)
    }

    /// A copy that was put in its master's place becomes the master: at that place there is no other one any more.
    fn lead(&self, store: &dyn Documents) -> Result<()> {
        let position = store.position()?;
        if position.role == DocumentsRole::Standby && position.leads(&store.url()) {
            store.promote(position.reign.epoch)?;
        }
        Ok(())
    }

    /// Publishes other settings of the backup service, and refreshes the local replica. A dry run changes nothing.
    pub(super) fn configure(
        &self,
        change: impl Fn(BackupServiceConfiguration) -> Result<BackupServiceConfiguration>,
        what_if: bool,
        now: Timestamp,
    ) -> Result<BackupServiceConfiguration> {
        let at = self.master()?;
        let source = match &at {
            Reach::There(_) => {
                Source::Store(factory::management_store(&self.config.central_management_store, &at)?)
            }
            Reach::Here => self.documents(false)?,
        };
        Replica::check(&self.config.local_replica)?;
        if let Source::Store(store) = &source {
            require_master(store.as_ref())?;
        }
        if what_if {
            return change(source.configuration()?);
        }
        let Source::Store(store) = source else { return Err(self.lost()) };
        self.lead(store.as_ref())?;
        for _ in 0..ATTEMPTS {
            let current = store.current(DocumentKind::Configuration, GLOBAL)?;
            let version = current.as_ref().map_or(0, |document| document.version);
            let settings = change(current.clone().map(parse).transpose()?.unwrap_or_default())?;
            let body = changed(current, settings.clone())?;
            let draft = Draft { replaces: Some(version), ..draft(DocumentKind::Configuration, GLOBAL, body) };
            if store.publish(vec![draft], now)? != Published::Overtaken {
                self.refresh(store.as_ref(), &at, now)?;
                return Ok(settings);
            }
        }
        Err(Error::new(
            ErrorKind::StoreBusy,
            "The settings of the backup service were changed by others again and again.",
            "Run the command again when nobody else changes them.",
        ))
    }
}

/// Refuses to plan a publication that the store would refuse.
fn require_master(store: &dyn Documents) -> Result<()> {
    let position = store.position()?;
    if position.leads(&store.url()) { Ok(()) } else { Err(documents::not_master(&store.url(), &position)) }
}

fn draft(kind: DocumentKind, name: &str, body: String) -> Draft {
    Draft { kind, name: name.to_owned(), body, replaces: None }
}

impl Source {
    /// The topology.
    pub(super) fn topology(&self) -> Result<Topology> {
        self.read(DocumentKind::Topology, GLOBAL)?.ok_or_else(not_published)
    }

    /// The settings of the backup service.
    pub(super) fn configuration(&self) -> Result<BackupServiceConfiguration> {
        Ok(self.read(DocumentKind::Configuration, GLOBAL)?.unwrap_or_default())
    }

    /// The roles.
    pub(super) fn roles(&self) -> Result<Roles> {
        Ok(self.read(DocumentKind::Roles, GLOBAL)?.unwrap_or_default())
    }

    /// What a pool is doing.
    pub(super) fn pool_state(&self, pool: &PoolFqdn) -> Result<PoolStateRecord> {
        Ok(self.read(DocumentKind::PoolState, pool.as_str())?.unwrap_or_default())
    }

    fn read<T: StoredDocument>(&self, kind: DocumentKind, name: &str) -> Result<Option<T>> {
        let document: Option<Document> = match self {
            Source::Store(store) => store.current(kind, name)?,
            Source::Replica(replica) => replica.current(kind, name).cloned(),
        };
        document.map(parse).transpose()
    }
}

fn parse<T: StoredDocument>(document: Document) -> Result<T> {
    stored(document).map(Stored::into_known)
}

fn stored<T: StoredDocument>(document: Document) -> Result<Stored<T>> {
    Stored::read(&document.body).map_err(|cause| match cause.kind {
        ErrorKind::Corrupt => Error::new(
            ErrorKind::Corrupt,
            format!(
                "The document {} {} of the Central Management store cannot be read.",
                document.kind, document.name
            ),
            "Publish it again with this version of the product.",
        )
        .caused_by(&cause),
        _ => cause,
    })
}

/// The text of a document with this content, and with everything in its current version that only a newer build knows.
fn changed<T: StoredDocument>(current: Option<Document>, known: T) -> Result<String> {
    match current {
        Some(document) => stored::<T>(document)?.replace(known)?.to_json(),
        None => Stored::new(known).to_json(),
    }
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
