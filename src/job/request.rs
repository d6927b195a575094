//! What a job is asked to do, as it crosses the C ABI.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::error::{Error, ErrorKind, Result};
use crate::module::ModuleId;
use crate::topology::PoolFqdn;

const DEFAULT_RETRY_COUNT: u32 = 5;
const DEFAULT_WAIT_TIME_MS: u64 = 15_000;

/// A category of modules.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Category {
    /// User store and content store.
    UserData,
    /// The Central Management store.
    #[serde(rename = "CMS")]
    Cms,
}

impl Category {
    /// The modules of this category.
    pub fn modules(self) -> Vec<ModuleId> {
        match self {
            Category::UserData => vec![ModuleId::PresenceFocus, ModuleId::DataConf],
            Category::Cms => vec![ModuleId::CmsMaster],
        }
    }
}

/// The document that `csb_backup_start` takes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BackupRequest {
    /// The pool to be backed up.
    pub pool_fqdn: PoolFqdn,
    /// Which modules; all where there is none.
    #[serde(default)]
    pub category: Option<Category>,
    /// Whether to begin only when nothing is left to export.
    #[serde(default)]
    pub full_backup: bool,
    /// Whether to begin only when every pending change fits into one batch.
    #[serde(default)]
    pub steady_state: bool,
    /// Whether to back up only a pool that is failed over.
    #[serde(default)]
    pub failed_over_pool_only: bool,
    /// How often a failed call or an unmet state is tried again.
    #[serde(default = "default_retry_count")]
    pub retry_count: u32,
    /// The pause between two looks at an awaited state.
    #[serde(default = "default_wait_time_ms")]
    pub wait_time_ms: u64,
    /// Whether the topology comes from the local replica.
    #[serde(default)]
    pub local_store: bool,
    /// Whether deletions beyond the safety share are allowed.
    #[serde(default)]
    pub force: bool,
    /// Whether everything is compared, however little has changed, and what differs is repaired.
    #[serde(default)]
    pub verify: bool,
    /// Whether to plan only.
    #[serde(default)]
    pub what_if: bool,
    /// How long to wait for another job of the same pool and direction.
    #[serde(default)]
    pub wait_for_lease_ms: u64,
}

/// The document that `csb_sync_start` takes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SyncRequest {
    /// The pool to be synchronized with its backup pool.
    pub pool_fqdn: PoolFqdn,
    /// Full or short names; none, or `All`, for all modules.
    #[serde(default)]
    pub modules: Vec<String>,
    /// Whether the topology comes from the local replica.
    #[serde(default)]
    pub local_store: bool,
    /// Whether deletions beyond the safety share are allowed.
    #[serde(default)]
    pub force: bool,
    /// Whether everything is compared, however little has changed, and what differs is repaired.
    #[serde(default)]
    pub verify: bool,
    /// Whether to plan only.
    #[serde(default)]
    pub what_if: bool,
    /// How often a failed call is tried again.
    #[serde(default = "default_retry_count")]
    pub retry_count: u32,
    /// How long to wait for another job of the same pool and direction.
    #[serde(default)]
    pub wait_for_lease_ms: u64,
}

fn default_retry_count() -> u32 {
    DEFAULT_RETRY_COUNT
}

fn default_wait_time_ms() -> u64 {
    DEFAULT_WAIT_TIME_MS
}

/// A state that a backup waits for before it begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Awaited {
    /// Every pending change fits into one batch.
    Steady,
    /// Nothing is left to export, and the backup pool has imported everything.
    Final,
}

impl Awaited {
    /// What the step that waits is called.
    pub const fn title(self) -> &'static str {
        match self {
            Awaited::Steady => "Wait for the steady state",
            Awaited::Final => "Wait for the final state",
        }
    }
}

/// An understood request.
#[derive(Clone, Debug)]
pub struct Operation {
    /// The command, as administrators know it.
    pub command: &'static str,
    /// The request with its defaults, for the report.
    pub request: serde_json::Value,
    /// The pool.
    pub pool: PoolFqdn,
    /// The modules, in the order in which they run.
    pub modules: Vec<ModuleId>,
    /// Whether the partner gets back what it lost.
    pub carries_back: bool,
    /// What to wait for.
    pub awaited: Option<Awaited>,
    /// Whether the pool must be failed over.
    pub failed_over_pool_only: bool,
    /// How often to try again.
    pub retry_count: u32,
    /// The pause between two looks at an awaited state.
    pub wait_time: Duration,
    /// Whether the topology comes from the local replica.
    pub local_store: bool,
    /// Whether deletions beyond the safety share are allowed.
    pub force: bool,
    /// Whether everything is compared and what differs is repaired.
    pub verify: bool,
    /// Whether to plan only.
    pub what_if: bool,
    /// How long to wait for a lease.
    pub wait_for_lease: Duration,
}

impl BackupRequest {
    /// The operation this asks for.
    ///
    /// # Errors
    /// `OptionConflict` for options that exclude or need each other.
    pub fn operation(self) -> Result<Operation> {
        let conflict =
            |message: &str, advice: &str| Err(Error::new(ErrorKind::OptionConflict, message, advice));
        if self.full_backup && self.steady_state {
            return conflict(
                "FullBackup and SteadyState exclude each other.",
                "Use FullBackup to wait until nothing is left, or SteadyState to wait until the pair keeps up.",
            );
        }
        if self.failed_over_pool_only && !self.full_backup {
            return conflict(
                "FailedOverPoolOnly needs FullBackup.",
                "Add FullBackup, or leave FailedOverPoolOnly out.",
            );
        }
        Ok(Operation {
            command: "Backup-CsPool",
            request: document(&self),
            modules: self.category.map_or(ModuleId::ALL.to_vec(), Category::modules),
            pool: self.pool_fqdn,
            carries_back: false,
            awaited: match (self.full_backup, self.steady_state) {
                (true, _) => Some(Awaited::Final),
                (_, true) => Some(Awaited::Steady),
                _ => None,
            },
            failed_over_pool_only: self.failed_over_pool_only,
            retry_count: self.retry_count,
            wait_time: Duration::from_millis(self.wait_time_ms),
            local_store: self.local_store,
            force: self.force,
            verify: self.verify,
            what_if: self.what_if,
            wait_for_lease: Duration::from_millis(self.wait_for_lease_ms),
        })
    }
}

impl SyncRequest {
    /// The operation this asks for.
    ///
    /// # Errors
    /// `InvalidArgument` for an unknown module.
    pub fn operation(self) -> Result<Operation> {
        Ok(Operation {
            command: "Invoke-CsBackupServiceSync",
            request: document(&self),
            modules: module_list(&self.modules)?,
            pool: self.pool_fqdn,
            carries_back: true,
            awaited: None,
            failed_over_pool_only: false,
            retry_count: self.retry_count,
            wait_time: Duration::ZERO,
            local_store: self.local_store,
            force: self.force,
            verify: self.verify,
            what_if: self.what_if,
            wait_for_lease: Duration::from_millis(self.wait_for_lease_ms),
        })
    }
}

/// The modules of these names, each once and in the order in which jobs run them.
///
/// # Errors
/// `InvalidArgument` for an unknown name.
pub fn module_list(names: &[String]) -> Result<Vec<ModuleId>> {
    if names.is_empty() || names.iter().any(|name| name.eq_ignore_ascii_case("All")) {
        return Ok(ModuleId::ALL.to_vec());
    }
    let named = names.iter().map(|name| ModuleId::parse(name)).collect::<Result<Vec<_>>>()?;
    Ok(ModuleId::ALL.into_iter().filter(|module| named.contains(module)).collect())
}

fn document(request: &impl Serialize) -> serde_json::Value {
    serde_json::to_value(request).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn backup(json: &str) -> Result<Operation> {
        serde_json::from_str::<BackupRequest>(json).unwrap().operation()
    }

    #[test]
    fn defaults_are_filled_in() {
        let operation = backup(r#"{"poolFqdn":"ATL.example.com"}"#).unwrap();
        assert_eq!(operation.pool.as_str(), "atl.example.com");
        assert_eq!(operation.modules, ModuleId::ALL);
        assert_eq!(operation.request["retryCount"], DEFAULT_RETRY_COUNT);
    }

    #[test]
    fn options_that_exclude_or_need_each_other_are_refused() {
        for options in [r#""fullBackup":true,"steadyState":true"#, r#""failedOverPoolOnly":true"#] {
            let error = backup(&format!(r#"{{"poolFqdn":"a.b",{options}}}"#)).unwrap_err();
            assert_eq!(error.kind, ErrorKind::OptionConflict);
        }
    }

    #[test]
    fn modules_run_in_their_order_whatever_was_written() {
        let names = ["CMSMaster", "UserServices.PresenceFocus"].map(str::to_owned);
        assert_eq!(module_list(&names).unwrap(), [ModuleId::PresenceFocus, ModuleId::CmsMaster]);
        assert_eq!(module_list(&["all".to_owned()]).unwrap(), ModuleId::ALL);
    }
}
