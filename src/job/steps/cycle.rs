//! What the steps of a module's row have in common: look, run a cycle, look again, remember.

use std::sync::Arc;

use super::attempts::Failure;
use crate::error::{Error, ErrorKind, Result};
use crate::job::events::EventKind;
use crate::job::step::JobWork;
use crate::module::{BackupModule, Context, CycleFailure, CycleResult, Look, Observation};
use crate::report::{ExportState, ImportState};
use crate::store::leases::StoredState;

impl Failure for CycleFailure {
    fn error(&self) -> &Error {
        &self.error
    }
}

/// What is run: [`BackupModule::run_cycle`] or one of its family.
pub(super) type CycleFunction = fn(&dyn BackupModule, &Context) -> CycleResult;

impl JobWork {
    /// Looks at both stores of a row and takes up what was seen.
    pub(super) async fn observe(&mut self, index: usize) -> Result<Observation> {
        let Some(row) = self.rows.get(index) else { return Ok(Observation::default()) };
        let names = self.options.what_if.then(|| self.names.of_look(row.name(), row.purpose()));
        let (module, look) = (Arc::clone(&row.module), Look { names, ..self.look() });
        let looking = self.threads.run(&self.job.cancel, move || {
            crate::platform::failpoint::fail_point!("job.look");
            module.observe(&look)
        });
        let seen: Observation = looking.await?;
        self.saw(index, &seen);
        Ok(seen)
    }

    pub(super) fn saw(&mut self, index: usize, seen: &Observation) {
        let now = self.environment.clock.now();
        // After a run it is not news what another one would be refused with.
        let is_news = self.options.what_if || seen.refused.is_none();
        if let Some(row) = self.rows.get_mut(index).filter(|_| is_news) {
            row.observed(seen, now);
        }
    }

    /// Runs the step of a row: cycles of its module, and a look at what became of the stores. `is_copy` says whether it makes
    /// the pool's own copy; only that one is verified. Lines for the report.
    pub(super) async fn run_row(
        &mut self,
        index: usize,
        step: &str,
        is_copy: bool,
        cycle: CycleFunction,
    ) -> Vec<String> {
        let before = self.state_of(index);
        let verify = is_copy && self.options.verify;
        let mut details = self.cycle(index, step, verify, cycle).await;
        if let Some(row) = self.rows.get_mut(index) {
            row.done = true;
            details.extend(row.not_applicable.clone());
        }
        self.look_again(index, before, is_copy).await;
        details
    }

    /// One cycle of a row's module, again after a pause where that may help; what failed is taken up in the row.
    pub(super) async fn cycle(
        &mut self,
        index: usize,
        step: &str,
        verify: bool,
        cycle: CycleFunction,
    ) -> Vec<String> {
        let Some(row) = self.rows.get(index) else { return Vec::new() };
        if row.not_applicable.is_some() {
            return Vec::new();
        }
        let (module, name) = (Arc::clone(&row.module), row.name());
        let context = self.context(step, name, row.purpose(), verify);
        let began = self.environment.clock.monotonic();
        let attempt = move || {
            context.check()?;
            cycle(module.as_ref(), &context)
        };
        let done = self
            .attempts(name, attempt, |work, failure: &CycleFailure| {
                work.names.attempt_ended();
                if let Some(row) = work.rows.get_mut(index) {
                    row.cycle_done(&failure.done);
                }
            })
            .await;
        let spent = self.environment.clock.monotonic().saturating_sub(began);
        let (done, error) = match done {
            Ok(done) => (done, None),
            Err(CycleFailure { error, done }) => (*done, Some(error)),
        };
        if let Some(seen) = &done.before {
            self.saw(index, seen);
        }
        let error = error.map(|error| self.of_module(name, error));
        let Some(row) = self.rows.get_mut(index) else { return Vec::new() };
        row.spent += spent;
        row.errors.clear();
        row.cycle_done(&done);
        match error {
            None => row.left = done.after,
            Some(error) => row.failed(error),
        }
        done.details
    }

    /// Looks at a row after it ran, tells what changed since it was last told, and remembers it for status queries.
    pub(super) async fn look_again(&mut self, index: usize, before: RowState, is_copy: bool) {
        let Some(row) = self.rows.get_mut(index) else { return };
        if row.errors.is_empty() {
            // After a cancellation the stores are not walked again: the host is waiting for the end.
            if self.job.cancel.is_cancelled() {
                return;
            }
            let seen = match row.left.take() {
                Some(left) => {
                    self.saw(index, &left);
                    Ok(left)
                }
                None => {
                    crate::platform::failpoint::fail_point!("job.look_again");
                    self.observe(index).await
                }
            };
            // A state that cannot be seen is not news, but a look that panicked is a defect.
            if let Err(defect) = seen
                && defect.kind == ErrorKind::Panic
                && let Some(row) = self.rows.get(index)
            {
                let defect = defect.at("module", row.name()).at("pool", &self.job.pool);
                self.errors.push(defect);
            }
        }
        let Some(row) = self.rows.get(index) else { return };
        let (module, after) = (row.name().to_owned(), row_state(row.state()));
        let halves =
            [("export", before.0.name(), after.0.name()), ("import", before.1.name(), after.1.name())];
        for (half, from, to) in halves.into_iter().filter(|(_, from, to)| from != to) {
            self.tell(EventKind::StateChanged {
                module: module.clone(),
                half: half.to_owned(),
                from: from.to_owned(),
                to: to.to_owned(),
            });
        }
        self.remember(index, is_copy).await;
    }

    async fn remember(&self, index: usize, is_copy: bool) {
        let (Some(row), Some(held)) = (self.rows.get(index), &self.held) else { return };
        let now = self.environment.clock.now();
        let succeeded = row.errors.is_empty() && row.not_applicable.is_none() && is_copy;
        let stored = StoredState {
            state: row.state().clone(),
            cursor: row.cursor().map(str::to_owned),
            reason: row.errors.first().map(Error::whole).or_else(|| row.not_applicable.clone()),
            observed_at: now,
            last_success: succeeded.then_some(now),
        };
        let module = row.name();
        let kept = held
            .with_store(Some(&self.job.cancel), move |leases, lease, until| {
                leases.set_state(lease, module, &stored, until)
            })
            .await;
        if let Err(error) = kept {
            let message = format!("The state could not be kept for status queries. {error}");
            self.tell(EventKind::Warning { module: Some(module.to_owned()), message });
        }
    }

    /// Both halves of a row's state, to be compared later.
    pub(super) fn state_of(&self, index: usize) -> RowState {
        self.rows.get(index).map_or_else(RowState::default, |row| row_state(row.state()))
    }
}

/// Both halves of a state.
pub(super) type RowState = (ExportState, ImportState);

fn row_state(state: &crate::report::ModuleState) -> RowState {
    (state.export, state.import)
}
