//! `Disable-CsPoolBackup`: taking everything of ours out of a pool's stores and their copies.

use std::sync::Arc;

use uuid::Uuid;

use super::{Service, modules};
use crate::error::Result;
use crate::module::ModuleId;
use crate::store::leases::{self, Claim, PATIENCE};
use crate::store::{Generation, Trace, Until};
use crate::topology::PoolFqdn;

impl Service {
    /// Lists what there is of ours in the stores of a pool and in the copies of them, and removes it unless this is a
    /// dry run. The data itself stays, in the pool and in the copies.
    pub(super) fn disable(&self, fqdn: &PoolFqdn, dry_run: bool) -> Result<Vec<Trace>> {
        let connected = self.connected()?;
        let documents = connected.deployment.documents(false)?;
        let topology = documents.topology()?;
        let configuration = documents.configuration()?;
        let (_, _, standby) = topology.pair(fqdn)?;
        let remove = |generation: Generation| {
            let mut removed = Vec::new();
            for id in ModuleId::ALL {
                let module = modules::module(&connected.deployment, &topology, &configuration, fqdn, id)?;
                removed.extend(module.disable(generation, dry_run)?);
            }
            Ok(removed)
        };
        let states = Trace {
            store: standby.service_store.to_string(),
            kind: "row".to_owned(),
            name: format!("states of {fqdn}"),
        };
        let leases = leases::open(&standby.service_store, Arc::clone(&self.clock))?;
        let soon = || Until::within(PATIENCE);
        if dry_run {
            let mut removed: Vec<Trace> = remove(Generation(0))?;
            if leases.has_states(fqdn, &soon())? {
                removed.push(states);
            }
            return Ok(removed);
        }
        let owner = connected.environment.owner.clone();
        let claim = Claim { pool: fqdn.clone(), owner, job_id: Uuid::now_v7() };
        let lease = leases.acquire(&claim, &soon())?.held()?;
        let removed = remove(lease.generation);
        let forgotten = leases.forget_states(&lease, &soon());
        leases.release(&lease, &soon())?;
        let mut removed = removed?;
        if forgotten? > 0 {
            removed.push(states);
        }
        Ok(removed)
    }
}
