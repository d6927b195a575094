//! One module in one direction, and what a job has found about it so far.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use crate::clock::milliseconds;
use crate::error::{Error, ErrorKind, Side};
use crate::module::{BackupModule, CycleOutcome, Observation, state};
use crate::pool::PoolState;
use crate::report::{
    Changes, Direction, ExportState, ImportState, ModuleReport, ModuleState, Moved, Outcome, QuarantinedItem,
    Verification,
};
use crate::topology::PoolFqdn;

/// One module in one direction.
pub(super) struct Row {
    pub(super) module: Arc<dyn BackupModule>,
    /// What the report says that the module did.
    purpose: &'static str,
    direction: Direction,
    pool_state: PoolState,
    before: Option<ModuleState>,
    found: Option<(u64, u64)>,
    after: ModuleState,
    pub(super) not_applicable: Option<String>,
    cursor: Option<String>,
    moved: Moved,
    changes: Changes,
    verification: Option<Verification>,
    quarantined: Vec<QuarantinedItem>,
    warnings: Vec<String>,
    pub(super) errors: Vec<Error>,
    /// Whether its step ran to its end. What did not run is skipped, whatever was seen of it.
    pub(super) done: bool,
    pub(super) spent: Duration,
    /// What the last cycle says is left; then the stores need not be compared again.
    pub(super) left: Option<Observation>,
}

impl Row {
    /// A row of which nothing is known; `pool_state` is what the pool does whose data it is about.
    pub(super) fn new(
        module: &Arc<dyn BackupModule>,
        purpose: &'static str,
        from: &PoolFqdn,
        to: &PoolFqdn,
        pool_state: PoolState,
    ) -> Self {
        Row {
            module: Arc::clone(module),
            purpose,
            direction: Direction { from: from.to_string(), to: to.to_string() },
            pool_state,
            before: None,
            found: None,
            after: ModuleState::default(),
            not_applicable: None,
            cursor: None,
            moved: Moved::default(),
            changes: Changes::default(),
            verification: None,
            quarantined: Vec::new(),
            warnings: Vec::new(),
            errors: Vec::new(),
            done: false,
            spent: Duration::ZERO,
            left: None,
        }
    }

    pub(super) fn name(&self) -> &'static str {
        self.module.id().name()
    }

    /// Takes up what was seen in the stores; the first time, it is the state before the job.
    pub(super) fn observed(&mut self, seen: &Observation, now: Timestamp) {
        self.not_applicable.clone_from(&seen.not_applicable);
        self.cursor.clone_from(&seen.cursor);
        self.after = state::module_state(seen, self.pool_state, now);
        if self.before.is_none() {
            self.before = Some(self.after.clone());
        }
        self.found.get_or_insert(seen.to_move());
    }

    /// Takes up what would be changed, where the job only plans.
    pub(super) fn planned(&mut self, changes: Changes) {
        self.changes = changes;
    }

    pub(super) fn purpose(&self) -> &'static str {
        self.purpose
    }

    /// Takes up that the stores could not be compared or copied.
    pub(super) fn failed(&mut self, error: Error) {
        if error.kind != ErrorKind::Cancelled {
            self.after.export = ExportState::ErrorState;
            if error.side == Some(Side::Import) {
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
        self.changes.add(&cycle.changes);
        if cycle.cursor.is_some() {
            self.cursor.clone_from(&cycle.cursor);
        }
        // What was in quarantine in an earlier cycle and no longer is has been copied since.
        self.quarantined.clone_from(&cycle.quarantined);
        self.warnings.extend(cycle.warnings.iter().cloned());
        if let Some(found) = &cycle.verification {
            self.verification.get_or_insert_default().add(found);
        }
    }

    pub(super) fn warn(&mut self, warning: String) {
        self.warnings.push(warning);
    }

    pub(super) fn has_warnings(&self) -> bool {
        !self.quarantined.is_empty() || !self.warnings.is_empty()
    }

    /// The items and bytes that were to be copied when it was first looked at.
    pub(super) fn found(&self) -> Option<(u64, u64)> {
        self.found
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

    pub(super) fn outcome(&self) -> Outcome {
        if self.errors.iter().any(|error| error.kind != ErrorKind::Cancelled) {
            Outcome::Failed
        } else if !self.errors.is_empty() {
            Outcome::Cancelled
        } else if !self.done {
            Outcome::Skipped
        } else if self.has_warnings() {
            Outcome::SucceededWithWarnings
        } else if self.not_applicable.is_some() {
            Outcome::Skipped
        } else {
            Outcome::Succeeded
        }
    }

    pub(super) fn report(&self) -> ModuleReport {
        ModuleReport {
            module: self.name().to_owned(),
            purpose: self.purpose.to_owned(),
            direction: self.direction.clone(),
            outcome: self.outcome(),
            before: self.before.clone().unwrap_or_default(),
            after: self.after.clone(),
            moved: self.moved.clone(),
            changes: self.changes.clone(),
            verification: self.verification.clone(),
            cursor: self.cursor.clone(),
            duration_ms: milliseconds(self.spent),
            quarantined: self.quarantined.clone(),
            warnings: self.warnings.clone(),
            errors: self.errors.clone(),
        }
    }
}
