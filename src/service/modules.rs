//! Which modules a job gets, from what the topology says.

use std::sync::Arc;

use super::deployment::Deployment;
use super::reports;
use crate::clock::Clock;
use crate::config::{BackupServiceConfiguration, There, Whereabouts};
use crate::error::{Error, ErrorKind, Result};
use crate::job::request::{JobKind, Operation};
use crate::job::{LeasePlace, Targets};
use crate::module::remote::{At, Remote};
use crate::module::stores::Stores;
use crate::module::{BackupModule, ModuleId};
use crate::store::factory;
use crate::store::places::Places;
use crate::store::remote::Grant;
use crate::topology::{Pool, PoolFqdn, Standby, Topology};

/// What a job works on.
///
/// # Errors
/// `UnknownPool`, `NotPaired`, what [`require_places`] finds, and failures to read the documents.
pub(super) fn targets(
    deployment: &Deployment,
    operation: &Operation,
    clock: &Arc<dyn Clock>,
) -> Result<Targets> {
    let documents = deployment.documents(operation.local_store)?;
    let topology = documents.topology()?;
    let configuration = documents.configuration()?;
    let (pool, backup, standby) = topology.pair(&operation.pool)?;
    let (_, _, partner_standby) = topology.pair(&backup.fqdn)?;
    require_may_write(deployment, backup, &operation.kind)?;
    require_places(deployment, &topology, &pool.fqdn)?;
    if let JobKind::Restore { path, .. } = &operation.kind {
        reports::require_free(path, &places(deployment, &topology).protected())?;
    }
    let build = |fqdn: &PoolFqdn, ids: &[ModuleId]| {
        ids.iter()
            .map(|id| writing_module(deployment, &topology, &configuration, fqdn, *id))
            .collect::<Result<Vec<_>>>()
    };
    // The lease of a direction is kept at the pool that receives.
    let lease = |fqdn: &PoolFqdn, receives: &Pool, standby: &Standby| {
        Ok(LeasePlace {
            pool: fqdn.clone(),
            leases: factory::leases(&standby.service_store, &deployment.reach(receives)?, Arc::clone(clock))?,
            url: standby.service_store.to_string(),
        })
    };
    Ok(Targets {
        outward: build(&pool.fqdn, &operation.modules)?,
        inward: build(&backup.fqdn, &operation.modules)?,
        lease: lease(&pool.fqdn, backup, standby)?,
        partner_lease: lease(&backup.fqdn, pool, partner_standby)?,
        partner: backup.fqdn.clone(),
        place: deployment.config.whereabouts(pool)?.there().map(There::to_string),
        lines: [deployment.reach(pool)?, deployment.reach(backup)?]
            .iter()
            .filter_map(|reach| reach.place().cloned())
            .collect(),
        pool_state: documents.pool_state(&pool.fqdn)?.state,
        partner_state: documents.pool_state(&backup.fqdn)?.state,
    })
}

/// Refuses to open the stores of a pool and its backup pool where they, or what belongs to the deployment, are not places of
/// their own: links may have been made since the topology was published.
///
/// # Errors
/// `UnknownPool`, `NotPaired`; `SharedStore`, `StandbyInsideSource`, `PlaceInsideStore`.
pub(super) fn require_places(deployment: &Deployment, topology: &Topology, fqdn: &PoolFqdn) -> Result<()> {
    let (pool, backup, _) = topology.pair(fqdn)?;
    places(deployment, topology).check_for(&[&pool.fqdn, &backup.fqdn])
}

fn places(deployment: &Deployment, topology: &Topology) -> Places {
    Places::of(&deployment.config).with_topology(topology, &deployment.config)
}

/// Refuses a job that would write to stores which another machine opens, where that does not grant it: there it is to be run. What
/// disabling removes nobody may remove from elsewhere: it is all that the copy remembers.
///
/// # Errors
/// `PeerRefused`, naming the machine; `StoreUnavailable` where that cannot be asked.
fn require_may_write(deployment: &Deployment, backup: &Pool, kind: &JobKind) -> Result<()> {
    let Whereabouts::There(there) = deployment.config.whereabouts(backup)? else { return Ok(()) };
    let may_write = match kind {
        JobKind::Restore { .. } => return Ok(()),
        JobKind::Disable => false,
        JobKind::Backup { .. } | JobKind::Sync { .. } => match deployment.reach(backup)?.place() {
            Some(place) => place.grants(Grant::Write)?,
            None => true,
        },
    };
    if may_write { Ok(()) } else { Err(written_elsewhere(backup, &there)) }
}

fn written_elsewhere(pool: &Pool, there: &There) -> Error {
    let machine = match pool.computers.as_slice() {
        [] => there.machine(),
        computers => computers.join(", "),
    };
    Error::new(
        ErrorKind::PeerRefused,
        format!(
            "This job writes to stores of {}, which only {machine} may do: they are reached through {there} here.",
            pool.fqdn
        ),
        format!(
            "Run the command at {machine}. For all but Disable-CsPoolBackup its administrator may instead add --grant write to the forced command of \
             this machine's key. If this machine has the stores itself, name it among the pool's computers, or write \
             \"{}\" = \"local\" below [reach] in deployment.toml.",
            pool.fqdn
        ),
    )
    .at("pool", &pool.fqdn)
    .at("machine", machine)
    .at("place", there)
}

/// One module of one pool, towards its backup pool, for whoever reads. The caller has asked for [`require_places`].
///
/// # Errors
/// `UnknownPool`, `NotPaired`, `UnsupportedStore`.
pub(super) fn module(
    deployment: &Deployment,
    topology: &Topology,
    configuration: &BackupServiceConfiguration,
    fqdn: &PoolFqdn,
    id: ModuleId,
) -> Result<Arc<dyn BackupModule>> {
    let (pool, backup, _) = topology.pair(fqdn)?;
    let stores = stores(deployment, topology, configuration, fqdn, id)?;
    stores.open(&pool.fqdn, &deployment.reach(pool)?, &deployment.reach(backup)?)
}

/// The same for whoever writes: what is written at another machine is written by the helper there.
///
/// # Errors
/// As for [`module`].
fn writing_module(
    deployment: &Deployment,
    topology: &Topology,
    configuration: &BackupServiceConfiguration,
    fqdn: &PoolFqdn,
    id: ModuleId,
) -> Result<Arc<dyn BackupModule>> {
    let (pool, backup, standby) = topology.pair(fqdn)?;
    let at = |pool: &Pool| Ok(At { pool: pool.fqdn.clone(), reach: deployment.reach(pool)? });
    let (source, copy): (At, At) = (at(pool)?, at(backup)?);
    let stores = stores(deployment, topology, configuration, fqdn, id)?;
    if source.reach.place().is_none() && copy.reach.place().is_none() {
        return stores.open(&source.pool, &source.reach, &copy.reach);
    }
    let machine = deployment.config.machine.clone();
    let (leases, state) = (standby.service_store.clone(), deployment.helper_state());
    Ok(Arc::new(Remote::new(stores, source, copy, leases, machine, state)?))
}

/// The stores of one module of one pool.
fn stores(
    deployment: &Deployment,
    topology: &Topology,
    configuration: &BackupServiceConfiguration,
    fqdn: &PoolFqdn,
    id: ModuleId,
) -> Result<Stores> {
    let (pool, backup, standby) = topology.pair(fqdn)?;
    Ok(match id {
        ModuleId::PresenceFocus => Stores::PresenceFocus {
            source: pool.user_store.clone(),
            copy: standby.user_store.clone(),
            patience_ms: configuration.sync_interval_ms,
        },
        ModuleId::DataConf => Stores::DataConf {
            source: pool.content_store.url.clone(),
            source_databases: deployment.databases_beside(topology, pool)?,
            copy: standby.content_store.clone(),
            copy_databases: deployment.databases_beside(topology, backup)?,
            index: standby.content_index(),
            batch_bytes: configuration.max_data_conf_package_size_kb.saturating_mul(1024),
            history: pool.content_store.history.clone(),
        },
        ModuleId::CmsMaster => match &standby.management_store {
            _ if topology.central_management_pool != pool.fqdn => Stores::MasterElsewhere,
            Some(copy) => Stores::CmsMaster {
                master: deployment.config.central_management_store.clone(),
                copy: copy.clone(),
                max_batches: configuration.max_batches_per_cms_sync,
            },
            None => Stores::NoMasterCopy,
        },
    })
}
