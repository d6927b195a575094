//! Which modules a job gets, from what the topology says.

use std::sync::Arc;
use std::time::Duration;

use super::deployment::Deployment;
use super::reports;
use crate::clock::Clock;
use crate::config::BackupServiceConfiguration;
use crate::error::Result;
use crate::job::request::{JobKind, Operation};
use crate::job::{LeasePlace, Targets};
use crate::module::cms_master::CmsMaster;
use crate::module::data_conf::DataConf;
use crate::module::presence_focus::PresenceFocus;
use crate::module::{BackupModule, ModuleId};
use crate::store::factory;
use crate::store::places::Places;
use crate::store::remote::Reach;
use crate::topology::{PoolFqdn, Standby, Topology};

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
    require_places(deployment, &topology, &pool.fqdn)?;
    if let JobKind::Restore { path, .. } = &operation.kind {
        reports::require_free(path, &Places::of(&deployment.config).with_topology(&topology).protected())?;
    }
    let build = |fqdn: &PoolFqdn, ids: &[ModuleId]| {
        ids.iter()
            .map(|id| module(deployment, &topology, &configuration, fqdn, *id))
            .collect::<Result<Vec<_>>>()
    };
    let lease = |fqdn: &PoolFqdn, standby: &Standby| {
        Ok(LeasePlace {
            pool: fqdn.clone(),
            leases: factory::leases(&standby.service_store, Arc::clone(clock))?,
            url: standby.service_store.to_string(),
        })
    };
    Ok(Targets {
        outward: build(&pool.fqdn, &operation.modules)?,
        inward: build(&backup.fqdn, &operation.modules)?,
        lease: lease(&pool.fqdn, standby)?,
        partner_lease: lease(&backup.fqdn, partner_standby)?,
        partner: backup.fqdn.clone(),
        pool_state: documents.pool_state(&pool.fqdn)?.state,
        partner_state: documents.pool_state(&backup.fqdn)?.state,
    })
}

/// Refuses to open the stores of a pool and its backup pool where they, or what belongs to the deployment, are not places of
/// their own: links may have been made since the topology was published.
///
/// # Errors
/// `UnknownPool`, `NotPaired`; `SharedStore`, `StandbyInsideSource`, `PlaceInsideStore`; `UnsupportedStore` for a pool on
/// another machine.
pub(super) fn require_places(deployment: &Deployment, topology: &Topology, fqdn: &PoolFqdn) -> Result<()> {
    let (pool, backup, _) = topology.pair(fqdn)?;
    for place in pool.place.iter().chain(&backup.place) {
        place.folder()?;
    }
    Places::of(&deployment.config).with_topology(topology).check_for(&[&pool.fqdn, &backup.fqdn])
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
    let (pool, _, standby) = topology.pair(fqdn)?;
    Ok(match id {
        ModuleId::PresenceFocus => {
            let pair = factory::user_stores(
                &pool.user_store,
                &Reach::Here,
                (&standby.user_store, &Reach::Here),
                Duration::from_millis(configuration.sync_interval_ms),
            )?;
            Arc::new(PresenceFocus::new(
                pair,
                pool.user_store.url.to_string(),
                standby.user_store.to_string(),
            ))
        }
        ModuleId::DataConf => {
            let mut databases = topology.databases();
            databases.push(deployment.config.central_management_store.clone());
            Arc::new(DataConf::new(
                pool.fqdn.clone(),
                factory::content_store(&pool.content_store.url, &databases)?,
                factory::content_store(&standby.content_store, &databases)?,
                factory::content_index(&standby.content_index())?,
                configuration.max_data_conf_package_size_kb.saturating_mul(1024),
                pool.content_store.history.clone(),
            ))
        }
        ModuleId::CmsMaster => Arc::new(match &standby.management_store {
            _ if topology.central_management_pool != pool.fqdn => CmsMaster::elsewhere(),
            Some(copy) => CmsMaster::master(
                deployment.config.central_management_store.clone(),
                copy.clone(),
                configuration.max_batches_per_cms_sync,
            ),
            None => CmsMaster::without_standby(),
        }),
    })
}
