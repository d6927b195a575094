//! Which modules a job gets, from what the topology says.

use std::sync::Arc;
use std::time::Duration;

use super::deployment::Deployment;
use super::reports;
use crate::clock::Clock;
use crate::config::{BackupServiceConfiguration, There, Whereabouts};
use crate::error::{Error, ErrorKind, Result};
use crate::job::request::{JobKind, Operation};
use crate::job::{LeasePlace, Targets};
use crate::module::cms_master::{CmsMaster, End};
use crate::module::data_conf::DataConf;
use crate::module::presence_focus::PresenceFocus;
use crate::module::{BackupModule, ModuleId};
use crate::store::factory;
use crate::store::places::Places;
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
    require_written_here(deployment, backup, &operation.kind)?;
    require_places(deployment, &topology, &pool.fqdn)?;
    if let JobKind::Restore { path, .. } = &operation.kind {
        reports::require_free(path, &places(deployment, &topology).protected())?;
    }
    let build = |fqdn: &PoolFqdn, ids: &[ModuleId]| {
        ids.iter()
            .map(|id| module(deployment, &topology, &configuration, fqdn, *id))
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

/// Refuses a job that would write to stores which another machine opens: there it is to be run.
///
/// # Errors
/// `PeerRefused`, naming the machine.
fn require_written_here(deployment: &Deployment, backup: &Pool, kind: &JobKind) -> Result<()> {
    match kind {
        JobKind::Restore { .. } => Ok(()),
        // What disabling would remove at a pool of another machine is left there, and said.
        JobKind::Backup { .. } | JobKind::Sync { .. } | JobKind::Disable => {
            match deployment.config.whereabouts(backup)? {
                Whereabouts::There(there) => Err(written_elsewhere(backup, &there)),
                Whereabouts::Here => Ok(()),
            }
        }
    }
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
            "Run the command at {machine}. If this machine has the stores itself, name it among the pool's computers, or write \
             \"{}\" = \"local\" below [reach] in deployment.toml.",
            pool.fqdn
        ),
    )
    .at("pool", &pool.fqdn)
    .at("machine", machine)
    .at("place", there)
}

/// One module of one pool, towards its backup pool. The caller has asked for [`require_places`].
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
    let (pool, backup, standby) = topology.pair(fqdn)?;
    let (at, standby_at) = (deployment.reach(pool)?, deployment.reach(backup)?);
    Ok(match id {
        ModuleId::PresenceFocus => {
            let pair = factory::user_stores(
                (&pool.user_store, &at),
                (&standby.user_store, &standby_at),
                Duration::from_millis(configuration.sync_interval_ms),
            )?;
            Arc::new(PresenceFocus::new(
                pair,
                pool.user_store.url.to_string(),
                standby.user_store.to_string(),
            ))
        }
        ModuleId::DataConf => {
            let databases = |of: &Pool| deployment.databases_beside(topology, of);
            Arc::new(DataConf::new(
                pool.fqdn.clone(),
                factory::content_store(&pool.content_store.url, &at, &databases(pool)?)?,
                factory::content_store(&standby.content_store, &standby_at, &databases(backup)?)?,
                factory::content_index(&standby.content_index(), &standby_at)?,
                configuration.max_data_conf_package_size_kb.saturating_mul(1024),
                pool.content_store.history.clone(),
            ))
        }
        ModuleId::CmsMaster => Arc::new(match &standby.management_store {
            _ if topology.central_management_pool != pool.fqdn => CmsMaster::elsewhere(),
            Some(copy) => CmsMaster::master(
                End {
                    url: deployment.config.central_management_store.clone(),
                    at: deployment.management_reach(),
                },
                End { url: copy.clone(), at: standby_at },
                configuration.max_batches_per_cms_sync,
            ),
            None => CmsMaster::without_standby(),
        }),
    })
}
