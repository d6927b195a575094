//! Which places a deployment has, and that none is another one under a second name, or lies where it would be copied or
//! overwritten.
//!
//! Places are compared by what they are, not by how they are written: a link, a second mount or another case of a name
//! leads to the same place. As links can be made at any time, they are compared when a topology is published and again
//! when a job opens its stores.

use std::path::{Path, PathBuf};

use crate::config::{DeploymentConfig, There, Whereabouts};
use crate::error::{Error, ErrorKind, Result};
use crate::topology::{Pool, PoolFqdn, StoreUrl, Topology};

mod identity;
mod patience;
mod protected;
mod role;
mod system;

use patience::{Answer, Asked, identify};
pub use protected::ProtectedFiles;
use role::PlaceRole;

/// All places of a deployment.
#[derive(Default)]
pub struct Places {
    places: Vec<Place>,
}

/// One place: what it is for, and where it is.
struct Place {
    role: PlaceRole,
    /// The pool whose it is; none for what belongs to the deployment.
    pool: Option<PoolFqdn>,
    path: PathBuf,
    /// The machine that opens it, where that is another one.
    machine: Option<String>,
}

/// Two places that cannot be what they are meant to be.
#[derive(Debug)]
pub struct Conflict {
    /// The pool that it is about, if one of the places is a pool's.
    pub pool: Option<PoolFqdn>,
    /// What is wrong: `SharedStore`, `StandbyInsideSource` or `PlaceInsideStore`.
    pub error: Error,
}

impl Place {
    fn name(&self) -> String {
        match &self.pool {
            Some(pool) => format!("{} of {pool}", self.role.name()),
            None => self.role.name().to_owned(),
        }
    }

    /// Name and path, for people.
    fn described(&self) -> String {
        match &self.machine {
            None => format!("{} ({})", self.name(), self.path.display()),
            Some(machine) => format!("{} ({} at {machine})", self.name(), self.path.display()),
        }
    }

    /// Whether it is one of this machine.
    fn is_here(&self) -> bool {
        self.machine.is_none()
    }

    fn is_of(&self, pools: &[&PoolFqdn]) -> bool {
        self.pool.as_ref().is_none_or(|pool| pools.contains(&pool))
    }
}

impl Places {
    /// The places of a deployment, without those that its topology names. Stores that are no files or folders have none.
    pub fn of(config: &DeploymentConfig) -> Self {
        let mut places = Places::default();
        places.add(PlaceRole::DeploymentFile, None, &config.file);
        places.add(PlaceRole::LocalReplica, None, &config.local_replica);
        places.add(PlaceRole::Jobs, None, &config.jobs);
        let at = config.management_place.there();
        places.add_store(PlaceRole::ManagementStore, None, &config.central_management_store, at);
        places
    }

    /// The same places, and those of the pools of a topology.
    #[must_use]
    pub fn with_topology(mut self, topology: &Topology, config: &DeploymentConfig) -> Self {
        for pool in &topology.pools {
            // Whoever opens the stores of a pool that cannot be reached is told why.
            let at = config.whereabouts(pool).unwrap_or(Whereabouts::Here);
            self.add_pool(pool, at.there());
        }
        self
    }

    /// The same places, and the file that the topology is read from.
    #[must_use]
    pub fn with_topology_file(mut self, file: &Path) -> Self {
        self.add(PlaceRole::TopologyFile, None, file);
        self
    }

    fn add(&mut self, role: PlaceRole, pool: Option<&PoolFqdn>, path: &Path) {
        self.places.push(Place { role, pool: pool.cloned(), path: path.to_owned(), machine: None });
    }

    fn add_store(&mut self, role: PlaceRole, pool: Option<&PoolFqdn>, url: &StoreUrl, at: Option<&There>) {
        if let Ok(path) = url.local_path() {
            let machine = at.map(There::machine);
            self.places.push(Place { role, pool: pool.cloned(), path: path.to_owned(), machine });
        }
    }

    fn add_pool(&mut self, pool: &Pool, at: Option<&There>) {
        let name = Some(&pool.fqdn);
        self.add_store(PlaceRole::UserStore, name, &pool.user_store.url, at);
        self.add_store(PlaceRole::ContentStore, name, &pool.content_store.url, at);
        let Some(standby) = &pool.standby else { return };
        self.add_store(PlaceRole::StandbyUserStore, name, &standby.user_store, at);
        self.add_store(PlaceRole::StandbyContentStore, name, &standby.content_store, at);
        self.add_store(PlaceRole::ServiceStore, name, &standby.service_store, at);
        self.add_store(PlaceRole::ContentIndex, name, &standby.content_index(), at);
        if let Some(url) = &standby.management_store {
            self.add_store(PlaceRole::StandbyManagementStore, name, url, at);
        }
    }

    /// Compares every two places of which one belongs to these pools or to the deployment itself. Returns the names of those
    /// that could not be compared because they did not answer within two seconds.
    ///
    /// # Errors
    /// The first conflict there is.
    pub fn check(&self, pools: &[&PoolFqdn]) -> std::result::Result<Vec<String>, Box<Conflict>> {
        let asked = |place: &Place| Asked { path: place.path.clone(), is_database: place.role.is_database() };
        let here = || self.places.iter().filter(|place| place.is_here());
        let identified = identify(&here().map(asked).collect::<Vec<_>>());
        let (mut known, mut unanswered) = (Vec::new(), Vec::new());
        for (place, found) in here().zip(identified) {
            match found {
                Some(found) => known.push((place, found)),
                None => unanswered.push(place.name()),
            }
        }
        let pairs = || {
            let later = known.iter().enumerate();
            let pairs = later
                .flat_map(|(index, later)| known.iter().take(index).map(move |earlier| (later, earlier)));
            pairs.filter(|((a, _), (b, _))| a.is_of(pools) || b.is_of(pools))
        };
        for ((one, one_is), (other, other_is)) in pairs() {
            let is_same = is_same(one_is, other_is) || is_same(other_is, one_is);
            if is_same && !is_connected_to_copy(one, other) {
                return Err(conflict(one, other, shared(one, other)));
            }
        }
        for ((one, one_is), (other, other_is)) in pairs() {
            for ((inner, inner_is), (outer, outer_is)) in
                [((one, one_is), (other, other_is)), ((other, other_is), (one, one_is))]
            {
                if !inner.role.may_lie_in(outer.role) && inner_is.is.is_inside(&outer_is.is) {
                    return Err(conflict(inner, outer, nested(inner, outer)));
                }
            }
        }
        self.check_names(pools)?;
        Ok(unanswered)
    }

    /// The same for places at other machines, which nobody looks at: those of one machine are compared by their paths.
    fn check_names(&self, pools: &[&PoolFqdn]) -> std::result::Result<(), Box<Conflict>> {
        for (index, one) in self.places.iter().enumerate().filter(|(_, place)| !place.is_here()) {
            let earlier = self.places.iter().take(index);
            for other in earlier.filter(|other| other.machine == one.machine) {
                if !one.is_of(pools) && !other.is_of(pools) || is_connected_to_copy(one, other) {
                    continue;
                }
                if one.path == other.path {
                    return Err(conflict(one, other, shared(one, other)));
                }
                for (inner, outer) in [(one, other), (other, one)] {
                    if !inner.role.may_lie_in(outer.role) && inner.path.starts_with(&outer.path) {
                        return Err(conflict(inner, outer, nested(inner, outer)));
                    }
                }
            }
        }
        Ok(())
    }

    /// That a copy of the Central Management store is taken for the store itself by its very path. [`Places::check`] leaves
    /// that out: somebody who connects to a copy is told by the copy what it is, and can work with everything else.
    ///
    /// # Errors
    /// `SharedStore`.
    pub fn check_documents(&self) -> std::result::Result<(), Box<Conflict>> {
        let store = self.places.iter().find(|place| place.role == PlaceRole::ManagementStore);
        let copy = store.and_then(|store| self.places.iter().find(|copy| is_connected_to_copy(copy, store)));
        match (copy, store) {
            (Some(copy), Some(store)) => Err(conflict(copy, store, shared(copy, store))),
            _ => Ok(()),
        }
    }

    /// As [`Places::check`] for what a job on these pools opens, or a look at them.
    ///
    /// # Errors
    /// `SharedStore`, `StandbyInsideSource`, `PlaceInsideStore`.
    pub fn check_for(&self, pools: &[&PoolFqdn]) -> Result<()> {
        self.check(pools).map(|_| ()).map_err(|conflict| conflict.error)
    }
}

/// Whether another place is this one, or one of the files that belong to it.
fn is_same(this: &Answer, other: &Answer) -> bool {
    std::iter::once(&this.is).chain(&this.beside).any(|this| this.identity == other.is.identity)
}

/// Whether the deployment file names a standby copy as its Central Management store.
fn is_connected_to_copy(copy: &Place, store: &Place) -> bool {
    copy.role == PlaceRole::StandbyManagementStore
        && store.role == PlaceRole::ManagementStore
        && (&copy.machine, &copy.path) == (&store.machine, &store.path)
}

fn conflict(one: &Place, other: &Place, error: Error) -> Box<Conflict> {
    let pool = one.pool.clone().or_else(|| other.pool.clone());
    let error = match &pool {
        Some(pool) => error.at("pool", pool),
        None => error,
    };
    Box::new(Conflict { pool, error: error.at("path", one.path.display()) })
}

fn shared(one: &Place, other: &Place) -> Error {
    Error::new(
        ErrorKind::SharedStore,
        format!("{} and {} are the same place.", one.described(), other.described()),
        "Give each store and each file a place of its own; look for links and mounts where the paths differ.",
    )
}

fn nested(inner: &Place, outer: &Place) -> Error {
    let message = format!("{} lies in {}.", inner.described(), outer.described());
    if role::is_copy_in_source(inner.role, outer.role) {
        return Error::new(
            ErrorKind::StandbyInsideSource,
            message,
            "Put the standby copy beside the content store, not into it; look for links and mounts where the paths differ.",
        );
    }
    Error::new(
        ErrorKind::PlaceInsideStore,
        message,
        format!(
            "Move {} out of there: {}. Look for links and mounts where the paths differ.",
            inner.name(),
            outer.role.why_nothing_may_lie_in()
        ),
    )
}
