//! One module in one direction, and what a job has found about it so far.

use std::sync::Arc;
use std::time::Duration;

use crate::error::{Error, ErrorKind};
use crate::module::{BackupModule, CycleOutcome, Observation, state};
use crate::pool::PoolState;
use crate::report::{
    Direction, ExportState, ImportState, ModuleReport, ModuleState, Moved, Outcome, PlannedStep, Purpose,
    QuarantinedItem, Verification,
};
use crate::store::leases::Leases;
use crate::topology::PoolFqdn;
use jiff::Timestamp;

/// What a job works on: a pool's modules towards its backup pool, and those of the partner, to give back what it lost.
pub struct Targets {
    /// The pool's own modules.
    pub outward: Vec<Arc<dyn BackupModule>>,
    /// The partner's modules.
    pub inward: Vec<Arc<dyn BackupModule>>,
    /// The leases of the pool's own data, at the backup pool.
    pub leases: Arc<dyn Leases>,
    /// The leases of the partner's data, at the pool.
    pub partner_leases: Arc<dyn Leases>,
    /// The backup pool.
    pub partner: PoolFqdn,
    /// What the pool is doing.
    pub pool_state: PoolState,
    /// What the partner is doing.
    pub partner_state: PoolState,
}

/// One module in one direction.
pub(super) struct Target {
    pub(super) module: Arc<dyn BackupModule>,
    pub(super) purpose: Purpose,
    direction: Direction,
    pool_state: PoolState,
    before: Option<ModuleState>,
    after: ModuleState,
    pub(super) not_applicable: Option<String>,
    cursor: Option<String>,
    moved: Moved,
    verification: Option<Verification>,
    quarantined: Vec<QuarantinedItem>,
    warnings: Vec<String>,
    pub(super) errors: Vec<Error>,
    skipped: bool,
    /// Whether the look at a partner's stores found all there: then its lease, which its own job may hold, is not
    /// needed, and nothing is written.
    pub(super) nothing_lost: bool,
    pub(super) spent: Duration,
    /// What the last cycle says is left; then the stores need not be compared again.
    pub(super) left: Option<Observation>,
}

impl Target {
    pub(super) fn new(
        module: Arc<dyn BackupModule>,
        purpose: Purpose,
        from: &PoolFqdn,
        to: &PoolFqdn,
        pool_state: PoolState,
    ) -> Self {
        Target {
            module,
            purpose,
            direction: Direction { from: from.to_string(), to: to.to_string() },
            pool_state,
            before: None,
            after: ModuleState::default(),
            not_applicable: None,
            cursor: None,
            moved: Moved::default(),
            verification: None,
            quarantined: Vec::new(),
            warnings: Vec::new(),
            errors: Vec::new(),
            skipped: false,
            nothing_lost: false,
            spent: Duration::ZERO,
            left: None,
        }
    }

    pub(super) fn name(&self) -> &'static str {
        self.module.id().name()
    }

    pub(super) fn step_id(&self) -> String {
        match self.purpose {
            Purpose::Copy => format!("copy:{}", self.name()),
            Purpose::CarryBack | Purpose::Unknown => format!("carryBack:{}", self.name()),
        }
    }

    pub(super) fn step_title(&self) -> String {
        let store = self.module.id().store_name();
        match self.purpose {
            Purpose::Copy => format!("Copy the {store} to {}", self.direction.to),
            Purpose::CarryBack | Purpose::Unknown => {
                format!("Give {} back what its {store} lost", self.direction.to)
            }
        }
    }

    /// The stores that this way writes to.
    fn touches(&self) -> Vec<String> {
        match self.purpose {
            Purpose::Copy => self.module.touches(),
            Purpose::CarryBack | Purpose::Unknown => self.module.touches_back(),
        }
    }

    pub(super) fn planned(&self) -> PlannedStep {
        PlannedStep {
            id: self.step_id(),
            title: self.step_title(),
            module: Some(self.name().to_owned()),
            touches: self.touches(),
            items: None,
            bytes: None,
        }
    }

    /// Takes up what was seen in the stores; the first time, it is the state before the job.
    pub(super) fn observed(&mut self, seen: &Observation, now: Timestamp) {
        self.not_applicable.clone_from(&seen.not_applicable);
        self.cursor.clone_from(&seen.cursor);
        self.after = state::module_state(seen, self.pool_state, now);
        if self.before.is_none() {
            self.before = Some(self.after.clone());
        }
    }

    /// Takes up that the stores could not be compared or copied.
    pub(super) fn failed(&mut self, error: Error) {
        if error.kind != ErrorKind::Cancelled {
            self.after.export = ExportState::ErrorState;
            // A failed import is told from a failed export by where the failure lies.
            let written = self.touches();
            let written = written.iter().filter_map(|store| store.split_once(':'));
            let path = error.context.get("path").map_or("", String::as_str);
            if written.map(|(_, store)| store).any(|store| path.starts_with(store)) {
                self.after.import = ImportState::ErrorState;
            }
        }
        if self.before.is_none() {
            self.before = Some(self.after.clone());
        }
        self.errors.push(error);
    }

    pub(super) fn cycle_done(&mut self, cycle: &CycleOutcome) {
        self.moved.add(&cycle.moved);
        // What was in quarantine in an earlier cycle and no longer is has been copied since.
        self.quarantined.clone_from(&cycle.quarantined);
        self.warnings.extend(cycle.warnings.iter().cloned());
        if let Some(found) = &cycle.verification {
            self.verification.get_or_insert_default().add(found);
        }
    }

    pub(super) fn skip(&mut self, warning: String) {
        self.skipped = true;
        self.warnings.push(warning);
    }

    pub(super) fn state(&self) -> &ModuleState {
        &self.after
    }

    pub(super) fn cursor(&self) -> Option<&str> {
        self.cursor.as_deref()
    }

    /// Whether nothing was pending when it was last looked at.
    pub(super) fn is_drained(&self) -> bool {
        self.not_applicable.is_some()
            || (self.after.export != ExportState::ErrorState
                && self.after.pending_items == 0
                && self.after.export != ExportState::NotInitialized)
    }

    pub(super) fn is_steady(&self) -> bool {
        self.not_applicable.is_some()
            || matches!(self.after.export, ExportState::SteadyState | ExportState::FinalState)
    }

    pub(super) fn outcome(&self, what_if: bool) -> Outcome {
        if self.errors.iter().any(|error| error.kind != ErrorKind::Cancelled) {
            Outcome::Failed
        } else if !self.errors.is_empty() {
            Outcome::Cancelled
        } else if !self.quarantined.is_empty() || !self.warnings.is_empty() {
            Outcome::SucceededWithWarnings
        } else if what_if || self.skipped || self.not_applicable.is_some() {
            Outcome::Skipped
        } else {
            Outcome::Succeeded
        }
    }

    pub(super) fn report(&self, what_if: bool) -> ModuleReport {
        ModuleReport {
            module: self.name().to_owned(),
            purpose: self.purpose,
            direction: self.direction.clone(),
            outcome: self.outcome(what_if),
            before: self.before.clone().unwrap_or_default(),
            after: self.after.clone(),
            moved: self.moved.clone(),
            verification: self.verification.clone(),
            cursor: self.cursor.clone(),
            duration_ms: u64::try_from(self.spent.as_millis()).unwrap_or(u64::MAX),
            quarantined: self.quarantined.clone(),
            warnings: self.warnings.clone(),
            errors: self.errors.clone(),
        }
    }
}
