//! Which modules a job gets, from what the topology says.

use std::sync::Arc;

use super::deployment::Deployment;
use crate::clock::Clock;
use crate::config::BackupServiceConfiguration;
use crate::error::Result;
use crate::job::request::Operation;
use crate::job::{LeasePlace, Targets};
use crate::module::cms_master::CmsMaster;
use crate::module::data_conf::{DataConf, DataConfConfig};
use crate::module::presence_focus::PresenceFocus;
use crate::module::{BackupModule, ModuleId};
use crate::store::content::index::IndexPlace;
use crate::store::leases;
use crate::store::user::sqlite::SqlitePair;
use crate::topology::{PoolFqdn, Standby, Topology};

/// What a job works on.
///
/// # Errors
/// `UnknownPool`, `NotPaired`, and failures to read the documents.
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
    let build = |fqdn: &PoolFqdn, ids: &[ModuleId]| {
        ids.iter()
            .map(|id| module(deployment, &topology, &configuration, fqdn, *id))
            .collect::<Result<Vec<_>>>()
    };
    let lease = |fqdn: &PoolFqdn, standby: &Standby| {
        Ok(LeasePlace {
            pool: fqdn.clone(),
            leases: leases::open(&standby.service_store, Arc::clone(clock))?,
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

/// One module of one pool, towards its backup pool.
///
/// # Errors
/// `UnknownPool`, `NotPaired`.
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
            let pair = SqlitePair::new(
                pool.user_store.clone(),
                standby.user_store.path(),
                configuration.max_batches_per_user_store_sync,
            );
            Arc::new(PresenceFocus::new(
                Box::new(pair),
                pool.user_store.url.to_string(),
                standby.user_store.to_string(),
                SqlitePair::batch_changes(),
            ))
        }
        ModuleId::DataConf => {
            let mut database_files = topology.database_files();
            database_files.push(deployment.config.central_management_store.clone());
            Arc::new(DataConf::new(DataConfConfig {
                pool: pool.fqdn.clone(),
                source: pool.content_store.url.path().to_owned(),
                standby: standby.content_store.path().to_owned(),
                index: IndexPlace::new(&standby.content_index())?,
                database_files,
                batch_bytes: configuration.max_data_conf_package_size_kb.saturating_mul(1024),
            }))
        }
        ModuleId::CmsMaster => Arc::new(match &standby.management_store {
            _ if topology.central_management_pool != pool.fqdn => CmsMaster::elsewhere(),
            Some(copy) => CmsMaster::master(
                deployment.store_url(),
                copy.clone(),
                configuration.max_batches_per_cms_sync,
            ),
            None => CmsMaster::without_standby(),
        }),
    })
}
