//! `Get-CsBackupServiceStatus`: what each module's state is, as cheaply as it can be known.

use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Connected, Service, modules};
use crate::error::{Error, ErrorKind, Result};
use crate::job::request::{Category, module_list};
use crate::module::state::{failed_state, module_state};
use crate::module::{BackupModule, Look, ModuleId, Observation, StoreState};
use crate::pool::{PoolState, PoolStateDetails};
use crate::report::{ExportState, ImportState, ModuleState};
use crate::store::leases::{PATIENCE, StoredState};
use crate::store::{Until, factory};
use crate::topology::PoolFqdn;

/// A pool's status.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    /// The pool.
    pub pool_fqdn: PoolFqdn,
    /// Its backup pool.
    pub backup_pool_fqdn: PoolFqdn,
    /// The machine that holds the pool's lease, or held it last.
    pub active_machine_fqdn: Option<String>,
    /// What the pool is doing.
    pub pool_state: PoolState,
    /// What belongs to that.
    pub pool_state_details: PoolStateDetails,
    /// The worst of the modules, those that do not apply to this pool left out.
    pub overall_export_status: ExportState,
    /// The worst of the modules.
    pub overall_import_status: ImportState,
    /// A row for each module.
    pub backup_modules: Vec<ModuleStatus>,
}

/// One module's status.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ModuleStatus {
    /// The module's full name.
    pub identity: String,
    /// The exporting half.
    pub export_status: ExportState,
    /// The importing half.
    pub import_status: ImportState,
    /// Age of the oldest pending change.
    pub lag_ms: Option<u64>,
    /// Since when there may have been changes that the copy does not hold: when both were last seen to be equal.
    pub changed_since: Option<Timestamp>,
    /// Pending changes.
    pub pending_items: u64,
    /// Whether nothing tells how many there are: at least so many.
    #[serde(default)]
    pub pending_estimated: bool,
    /// Their size, where it is known.
    pub pending_bytes: u64,
    /// When a job last succeeded for this module.
    pub last_success: Option<Timestamp>,
    /// When what is said here was seen.
    pub observed_at: Option<Timestamp>,
    /// Why the state is not healthy, or is unusual.
    pub reason: Option<String>,
}

/// The states of a pool's stores that can be restored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct History {
    /// The pool whose stores they are.
    pub pool_fqdn: PoolFqdn,
    /// The pool that holds them.
    pub backup_pool_fqdn: PoolFqdn,
    /// By kind of data.
    pub modules: Vec<ModuleHistory>,
}

/// The states of one store that can be restored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ModuleHistory {
    /// The kind of data.
    pub module: ModuleId,
    /// The newest first.
    pub states: Vec<StoreState>,
    /// Why there are none, where this kind of data keeps no history.
    pub reason: Option<String>,
}

/// The request for a status.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct StatusRequest {
    /// The pool.
    pub pool_fqdn: PoolFqdn,
    /// Which modules, by category.
    #[serde(default)]
    pub category: Option<Category>,
    /// Which modules, by name.
    #[serde(default)]
    pub modules: Vec<String>,
    /// Whether the topology comes from the local replica.
    #[serde(default)]
    pub local_store: bool,
}

impl Service {
    /// A pool's status. User store and Central Management store are asked at once. Of the content store, which would
    /// have to be walked, it is what the last job saw, as long as both folders are there and are the ones that are meant.
    pub(super) fn status(&self, request: &StatusRequest) -> Result<Status> {
        let connected = self.connected()?;
        let documents = connected.deployment.documents(request.local_store)?;
        let topology = documents.topology()?;
        let configuration = documents.configuration()?;
        let (pool, backup, standby) = topology.pair(&request.pool_fqdn)?;
        let pool_state = documents.pool_state(&pool.fqdn)?;
        let at = connected.deployment.reach(backup)?;
        let leases = factory::leases(&standby.service_store, &at, Arc::clone(&self.clock))?;
        let soon = || Until::within(PATIENCE);
        let mut wanted = module_list(&request.modules)?;
        if let Some(category) = request.category {
            wanted.retain(|module| category.modules().contains(module));
        }
        if wanted.is_empty() {
            return Err(Error::new(
                ErrorKind::OptionConflict,
                "None of these modules is of this category.",
                "Ask for modules or for a category, not for both.",
            )
            .at("pool", &pool.fqdn));
        }
        modules::require_places(&connected.deployment, &topology, &pool.fqdn)?;
        let mut rows = Vec::new();
        let (mut export, mut import) = (ExportState::FinalState, ImportState::NormalState);
        for id in wanted {
            let module = modules::module(&connected.deployment, &topology, &configuration, &pool.fqdn, id)?;
            let stored = leases.state(&pool.fqdn, id.name(), &soon())?;
            let (row, applies) = self.module_status(module.as_ref(), stored, pool_state.state);
            if applies {
                export = export.max(row.export_status);
                import = import.max(row.import_status);
            }
            rows.push(row);
        }
        if rows.iter().all(|row| row.export_status == ExportState::NotInitialized) {
            export = ExportState::NotInitialized;
        }
        let holder = leases.holder(&pool.fqdn, &soon())?;
        Ok(Status {
            pool_fqdn: pool.fqdn.clone(),
            backup_pool_fqdn: backup.fqdn.clone(),
            active_machine_fqdn: holder.and_then(|holder| holder.owner).map(|owner| owner.machine),
            pool_state: pool_state.state,
            pool_state_details: pool_state.details,
            overall_export_status: export,
            overall_import_status: import,
            backup_modules: rows,
        })
    }

    /// The states of a pool's stores that can be restored.
    pub(super) fn history(&self, pool_fqdn: &PoolFqdn, local_store: bool) -> Result<History> {
        let connected = self.connected()?;
        let documents = connected.deployment.documents(local_store)?;
        let topology = documents.topology()?;
        let configuration = documents.configuration()?;
        let (pool, backup, _) = topology.pair(pool_fqdn)?;
        modules::require_places(&connected.deployment, &topology, &pool.fqdn)?;
        let of_module = |id: ModuleId| {
            let module = modules::module(&connected.deployment, &topology, &configuration, &pool.fqdn, id)?;
            let states = match module.states() {
                // What is read at another machine alone takes nothing from what is read here.
                Err(refused) if refused.kind == ErrorKind::PeerRefused => {
                    let reason = Some(format!("{} {}", refused.whole(), refused.advice));
                    return Ok(ModuleHistory { module: id, states: Vec::new(), reason });
                }
                states => states?,
            };
            let reason = states.is_none().then(|| format!("No history of the {} is kept.", id.store_name()));
            Ok(ModuleHistory { module: id, states: states.unwrap_or_default(), reason })
        };
        let of_users = [ModuleId::PresenceFocus, ModuleId::DataConf];
        Ok(History {
            pool_fqdn: pool.fqdn.clone(),
            backup_pool_fqdn: backup.fqdn.clone(),
            modules: of_users.into_iter().map(of_module).collect::<Result<_>>()?,
        })
    }

    /// One row, and whether the module applies to the pool. The state after a failed job stays `ErrorState`, whatever
    /// the stores look like now, until a job works again.
    fn module_status(
        &self,
        module: &dyn BackupModule,
        stored: Option<StoredState>,
        pool: PoolState,
    ) -> (ModuleStatus, bool) {
        let now = self.clock.now();
        let failed = stored.as_ref().is_some_and(|stored| has_failed(&stored.state));
        let look = Look::default();
        let seen = if failed { Ok(None) } else { look_at(module, &look) };
        let (changed_since, pending_estimated) = match &seen {
            Ok(Some(seen)) => (seen.oldest_pending, seen.is_estimate && seen.pending_items > 0),
            _ => (None, false),
        };
        let last = stored.as_ref().map(|stored| stored.state.clone()).unwrap_or_default();
        let (state, observed_at, reason, applies) = match (seen, &stored) {
            (Ok(Some(seen)), _) => {
                let applies = seen.not_applicable.is_none();
                let refused = seen.refused.as_ref().map(Error::whole);
                let reason = seen.not_applicable.clone().or(refused).or_else(|| seen.to_compare.clone());
                (module_state(&seen, pool, now), Some(now), reason, applies)
            }
            // It is there, and nobody could look at it now.
            (Err(error), Some(stored)) if error.kind == ErrorKind::StoreBusy => {
                (last, Some(stored.observed_at), Some(error.whole()), true)
            }
            (Err(error), _) => (failed_state(last, &error), Some(now), Some(error.whole()), true),
            (Ok(None), Some(stored)) => (last, Some(stored.observed_at), stored.reason.clone(), true),
            (Ok(None), None) => (last, None, None, true),
        };
        let row = ModuleStatus {
            identity: module.id().name().to_owned(),
            export_status: state.export,
            import_status: state.import,
            lag_ms: state.lag_ms,
            changed_since,
            pending_items: state.pending_items,
            pending_estimated,
            pending_bytes: state.pending_bytes,
            last_success: stored.and_then(|stored| stored.last_success),
            observed_at,
            reason,
        };
        (row, applies)
    }
}

/// Whether the last job failed on either half.
fn has_failed(state: &ModuleState) -> bool {
    state.export == ExportState::ErrorState || state.import == ImportState::ErrorState
}

/// What can be seen of a module at once; none where that is only that nothing is wrong with its stores.
fn look_at(module: &dyn BackupModule, look: &Look) -> Result<Option<Observation>> {
    if module.cycle_observes() { module.check(look).map(|()| None) } else { module.observe(look).map(Some) }
}

impl Connected {
    /// Whether the pool is one of the topology, for requests that only filter by it.
    pub(super) fn require_pool(&self, fqdn: &PoolFqdn) -> Result<()> {
        self.deployment.documents(false)?.topology()?.pool(fqdn).map(|_| ())
    }
}
