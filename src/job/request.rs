//! What a job is asked to do, as it crosses the C ABI.

use std::path::PathBuf;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::error::{Error, ErrorKind, Result};
use crate::module::{ModuleId, WantedState, no_history};
use crate::store::JobName;
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
    /// Whether the host hides what is not fatal and asks nothing; it changes nothing here.
    #[serde(default)]
    pub force: bool,
    /// Whether deletions beyond the safety share, and a user store that shrank or was replaced, are copied.
    #[serde(default)]
    pub accept_deletions: bool,
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
    /// Whether the host hides what is not fatal and asks nothing; it changes nothing here.
    #[serde(default)]
    pub force: bool,
    /// Whether deletions beyond the safety share, and a user store that shrank or was replaced, are copied.
    #[serde(default)]
    pub accept_deletions: bool,
    /// Whether everything is compared, however little has changed, and what differs is repaired.
    #[serde(default)]
    pub verify: bool,
    /// Whether the backup pool gets back what it lacks of what this pool holds for it. None: only a store that is lost as a
    /// whole, where one module is named alone.
    #[serde(default)]
    pub give_back: Option<bool>,
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

/// The document of a job that takes the product out of a pool.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DisableRequest {
    /// The pool whose stores, and their copies, everything of ours is removed from.
    pub pool_fqdn: PoolFqdn,
    /// Whether the topology comes from the local replica.
    #[serde(default)]
    pub local_store: bool,
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

/// The document of a job that writes an earlier state of a pool's user store to a file of its own, or of its content store to a folder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RestoreRequest {
    /// The pool whose store it is.
    pub pool_fqdn: PoolFqdn,
    /// The last state at or before this time.
    #[serde(default)]
    pub at: Option<Timestamp>,
    /// The state with this number, as `getPoolBackupHistory` lists it. One of both is given.
    #[serde(default)]
    pub revision: Option<u32>,
    /// Of which kind of data: the user store where nothing is said.
    #[serde(default)]
    pub module: Option<ModuleId>,
    /// Of a content store: patterns of the names that are restored, in which `*` stands for any characters and `?` for one. A folder that
    /// one of them names is restored with everything in it. None means all.
    #[serde(default)]
    pub include: Vec<String>,
    /// Where it is written to: an absolute path at which nothing is.
    pub path: PathBuf,
    /// Whether the topology comes from the local replica.
    #[serde(default)]
    pub local_store: bool,
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

/// The document that `csb_job_start` takes: the kind of job, and the fields of that kind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "job", rename_all = "camelCase", deny_unknown_fields)]
pub enum JobRequest {
    /// Backs a pool up.
    Backup(BackupRequest),
    /// Synchronizes a pool with its backup pool.
    Sync(SyncRequest),
    /// Takes everything of ours out of a pool's stores and their copies.
    Disable(DisableRequest),
    /// Writes an earlier state of a pool's user store to a file, or of its content store to a folder.
    Restore(RestoreRequest),
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

/// What a sync gives back to the partner. What is missing there may have been deleted by its users, so that nothing comes back
/// unasked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Returns {
    /// Nothing; what the partner lacks is said.
    Nothing,
    /// A store that is lost as a whole, and single objects of none.
    LostStore,
    /// Everything that the partner lacks.
    Everything,
}

/// What kind of job it is, with what only that kind is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JobKind {
    /// The pool's modules are copied to its backup pool.
    Backup {
        /// What is waited for before.
        awaited: Option<Awaited>,
        /// Whether the pool must be failed over.
        failed_over_pool_only: bool,
    },
    /// The same, and the partner gets back what it lost, where that is asked for.
    Sync {
        /// What it gets back.
        returns: Returns,
    },
    /// Everything of ours is taken out of the pool's stores and their copies.
    Disable,
    /// An earlier state is written to a file or folder.
    Restore {
        /// Which one.
        wanted: WantedState,
        /// What of it; all where no pattern is given.
        include: Vec<String>,
        /// Where to.
        path: PathBuf,
    },
}

impl JobKind {
    /// As the history tells it.
    pub const fn name(&self) -> JobName {
        match self {
            JobKind::Backup { .. } => JobName::Backup,
            JobKind::Sync { .. } => JobName::Sync,
            JobKind::Disable => JobName::Disable,
            JobKind::Restore { .. } => JobName::Restore,
        }
    }
}

/// What every step of a job is to keep to.
#[derive(Clone, Debug)]
pub struct Options {
    /// How often to try again.
    pub retry_count: u32,
    /// The pause between two looks at an awaited state.
    pub wait_time: Duration,
    /// How long to wait for a lease.
    pub wait_for_lease: Duration,
    /// Whether deletions beyond the safety share, and a user store that shrank or was replaced, are copied.
    pub accept_deletions: bool,
    /// Whether everything is compared and what differs is repaired.
    pub verify: bool,
    /// Whether to plan only.
    pub what_if: bool,
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
    /// Which list of steps.
    pub kind: JobKind,
    /// The modules, in the order in which they run.
    pub modules: Vec<ModuleId>,
    /// Whether the topology comes from the local replica.
    pub local_store: bool,
    /// What every step keeps to.
    pub options: Options,
}

impl JobRequest {
    /// The operation this asks for.
    ///
    /// # Errors
    /// `OptionConflict` for options that exclude or need each other; `InvalidArgument` for an unknown module.
    pub fn operation(self) -> Result<Operation> {
        match self {
            JobRequest::Backup(request) => request.operation(),
            JobRequest::Sync(request) => request.operation(),
            JobRequest::Disable(request) => Ok(request.operation()),
            JobRequest::Restore(request) => request.operation(),
        }
    }
}

impl BackupRequest {
    fn operation(self) -> Result<Operation> {
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
        let awaited = match (self.full_backup, self.steady_state) {
            (true, _) => Some(Awaited::Final),
            (_, true) => Some(Awaited::Steady),
            _ => None,
        };
        Ok(Operation {
            command: "Backup-CsPool",
            request: document(&self),
            kind: JobKind::Backup { awaited, failed_over_pool_only: self.failed_over_pool_only },
            modules: self.category.map_or(ModuleId::ALL.to_vec(), Category::modules),
            local_store: self.local_store,
            options: Options {
                retry_count: self.retry_count,
                wait_time: Duration::from_millis(self.wait_time_ms),
                wait_for_lease: Duration::from_millis(self.wait_for_lease_ms),
                accept_deletions: self.accept_deletions,
                verify: self.verify,
                what_if: self.what_if,
            },
            pool: self.pool_fqdn,
        })
    }
}

impl SyncRequest {
    fn operation(self) -> Result<Operation> {
        let modules = module_list(&self.modules)?;
        let returns = match self.give_back {
            Some(true) if modules == [ModuleId::CmsMaster] => return Err(nothing_of_cms()),
            Some(true) => Returns::Everything,
            None if modules.len() == 1 => Returns::LostStore,
            None | Some(false) => Returns::Nothing,
        };
        Ok(Operation {
            command: "Invoke-CsBackupServiceSync",
            request: document(&self),
            kind: JobKind::Sync { returns },
            modules,
            local_store: self.local_store,
            options: Options {
                retry_count: self.retry_count,
                wait_time: Duration::ZERO,
                wait_for_lease: Duration::from_millis(self.wait_for_lease_ms),
                accept_deletions: self.accept_deletions,
                verify: self.verify,
                what_if: self.what_if,
            },
            pool: self.pool_fqdn,
        })
    }
}

impl RestoreRequest {
    fn operation(self) -> Result<Operation> {
        let wanted = match (self.at, self.revision) {
            (Some(at), None) => WantedState::At(at),
            (None, Some(revision)) => WantedState::Revision(revision),
            _ => {
                return Err(Error::new(
                    ErrorKind::OptionConflict,
                    "A state is named by a time or by a revision.",
                    "Give one of At and Revision; Get-CsPoolBackupHistory lists both.",
                ));
            }
        };
        let module = self.module.unwrap_or(ModuleId::PresenceFocus);
        if module == ModuleId::CmsMaster {
            return Err(no_history(module));
        }
        if !self.include.is_empty() && module != ModuleId::DataConf {
            return Err(Error::new(
                ErrorKind::OptionConflict,
                "Patterns name files, and a user store has none.",
                "Leave Include out, or name the backup module ConfServices.DataConf.",
            ));
        }
        if !self.path.is_absolute() {
            return Err(Error::new(
                ErrorKind::InvalidArgument,
                format!("{} is no absolute path.", self.path.display()),
                "Name the file with its whole path.",
            )
            .at("path", self.path.display()));
        }
        Ok(Operation {
            command: "Restore-CsPoolBackup",
            request: document(&self),
            kind: JobKind::Restore { wanted, include: self.include, path: self.path },
            modules: vec![module],
            local_store: self.local_store,
            options: Options {
                retry_count: self.retry_count,
                wait_time: Duration::ZERO,
                wait_for_lease: Duration::from_millis(self.wait_for_lease_ms),
                accept_deletions: false,
                verify: false,
                what_if: self.what_if,
            },
            pool: self.pool_fqdn,
        })
    }
}

impl DisableRequest {
    fn operation(self) -> Operation {
        Operation {
            command: "Disable-CsPoolBackup",
            request: document(&self),
            kind: JobKind::Disable,
            modules: ModuleId::ALL.to_vec(),
            local_store: self.local_store,
            options: Options {
                retry_count: self.retry_count,
                wait_time: Duration::ZERO,
                wait_for_lease: Duration::from_millis(self.wait_for_lease_ms),
                accept_deletions: false,
                verify: false,
                what_if: self.what_if,
            },
            pool: self.pool_fqdn,
        }
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

fn nothing_of_cms() -> Error {
    Error::new(
        ErrorKind::OptionConflict,
        "Of the Central Management store nothing is given back.",
        "Leave GiveBack out, or name another module; see \"Two histories of the Central Management store\" in the run-book.",
    )
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
    fn only_a_sync_that_asks_gives_back_and_a_module_that_is_named_alone_asks_for_a_lost_store() {
        let returns = |options: &str| {
            let request = format!(r#"{{"poolFqdn":"a.b"{options}}}"#);
            match serde_json::from_str::<SyncRequest>(&request).unwrap().operation().map(|it| it.kind) {
                Ok(JobKind::Sync { returns }) => Ok(returns),
                Ok(other) => panic!("{other:?}"),
                Err(error) => Err(error.kind),
            }
        };
        let alone = [r#","modules":["DataConf"]"#, r#","modules":["PresenceFocus","presencefocus"]"#];
        let several = ["", r#","modules":["All"]"#, r#","modules":["DataConf","PresenceFocus"]"#];
        for modules in alone.iter().chain(&several) {
            let unasked = if alone.contains(modules) { Returns::LostStore } else { Returns::Nothing };
            for (asked, expected) in [
                ("", unasked),
                (r#","giveBack":null"#, unasked),
                (r#","giveBack":false"#, Returns::Nothing),
                (r#","giveBack":true"#, Returns::Everything),
            ] {
                assert_eq!(returns(&format!("{modules}{asked}")), Ok(expected), "{modules} {asked}");
            }
        }
        let cms = r#","modules":["CMSMaster"],"giveBack":true"#;
        assert_eq!(returns(cms), Err(ErrorKind::OptionConflict));
        assert!(serde_json::from_str::<SyncRequest>(r#"{"poolFqdn":"a.b","giveBack":1}"#).is_err());
        assert!(serde_json::from_str::<BackupRequest>(r#"{"poolFqdn":"a.b","giveBack":true}"#).is_err());
    }

    #[test]
    fn modules_run_in_their_order_whatever_was_written() {
        let names = ["CMSMaster", "UserServices.PresenceFocus"].map(str::to_owned);
        assert_eq!(module_list(&names).unwrap(), [ModuleId::PresenceFocus, ModuleId::CmsMaster]);
        assert_eq!(module_list(&["all".to_owned()]).unwrap(), ModuleId::ALL);
    }
}
