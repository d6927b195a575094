//! What a job does with one module in one direction: look, run, look again, remember.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBuilder};

use super::{AWAIT_STEP, Run};
use crate::error::{Error, ErrorKind};
use crate::job::events::EventKind;
use crate::job::lease::{Leases, pause};
use crate::job::progress::{Activity, StepObserver};
use crate::module::{Context, CycleFailure, CycleResult, Look, Observation};
use crate::report::{Outcome, Purpose};
use crate::store::Generation;
use crate::store::leases::StoredState;

impl Run {
    pub(super) async fn look(&mut self, index: usize) {
        let Some(row) = self.rows.get(index) else { return };
        let (module, purpose, look) = (Arc::clone(&row.module), row.purpose, self.what_to_look_at());
        if purpose == Purpose::Copy && !self.operation.what_if && module.cycle_observes() {
            return;
        }
        let looking = self.stores.run(&self.job, move || {
            crate::failpoint::fail_point!("job.look");
            let seen = module.observe(&look);
            match purpose {
                Purpose::Copy => seen.map(|seen| (seen.planned().items, seen.planned().bytes, Some(seen))),
                // A store that is lost cannot be observed, but what would be given back can be counted.
                Purpose::CarryBack | Purpose::Unknown => {
                    module.observe_carry_back(&look).map(|lost| (lost.items, lost.bytes, seen.ok()))
                }
            }
        });
        let seen = looking.await;
        match seen {
            Ok((items, bytes, seen)) => {
                self.seen(index, items, bytes, seen.as_ref());
                if let Some(row) = self.rows.get_mut(index) {
                    row.nothing_lost = purpose == Purpose::CarryBack && items == 0 && seen.is_some();
                }
            }
            Err(error) if !self.operation.what_if => self.look_failed(index, error),
            Err(error) => {
                if let Some(row) = self.rows.get_mut(index) {
                    row.failed(error);
                }
            }
        }
    }

    fn what_to_look_at(&self) -> Look {
        Look { cancel: self.job.cancel.clone(), force: self.operation.force, verify: self.operation.verify }
    }

    /// A state that cannot be seen now may be seen when the step runs: only then it is an error of the module. A look
    /// that panicked is a defect, which is told whatever the step does.
    fn look_failed(&mut self, index: usize, error: Error) {
        let Some(row) = self.rows.get(index).filter(|_| error.kind == ErrorKind::Panic) else { return };
        self.errors.push(error.at("module", row.name()).at("pool", &self.job.pool));
    }

    fn seen_by_cycle(&mut self, index: usize, seen: Option<&Observation>) {
        if let Some(seen) = seen {
            self.seen(index, seen.planned().items, seen.planned().bytes, Some(seen));
        }
    }

    /// Takes up what is pending before a step.
    fn seen(&mut self, index: usize, items: u64, bytes: u64, seen: Option<&Observation>) {
        let Some(row) = self.rows.get_mut(index) else { return };
        if let Some(seen) = seen {
            row.observed(seen, self.environment.clock.now());
        }
        let step_id = row.step_id();
        if let Some(step) = self.plan.steps.iter_mut().find(|step| step.id == step_id) {
            step.items = Some(items);
            step.bytes = (bytes > 0).then_some(bytes);
        }
    }

    pub(super) async fn run_step(&mut self, index: usize, leases: &Leases) {
        let Some(row) = self.rows.get(index) else { return };
        let (id, title, module, purpose) = (row.step_id(), row.step_title(), row.name(), row.purpose);
        let (step, started) = self.step_started(&id, &title, Some(module));
        let details = if let Some(reason) = row.not_applicable.clone() {
            vec![reason]
        } else if row.nothing_lost {
            vec!["Nothing was lost.".to_owned()]
        } else if purpose == Purpose::CarryBack && !self.take_partner_lease(index, leases).await {
            Vec::new()
        } else {
            self.cycle(index, &id).await
        };
        let outcome = self.rows.get(index).map_or(Outcome::Skipped, |row| row.outcome(false));
        self.step_finished(step, started, outcome, details);
    }

    /// What is given back is the partner's data, so its lease is needed. Where its own job is running, that one has
    /// precedence, and this step is left out with a warning.
    async fn take_partner_lease(&mut self, index: usize, leases: &Leases) -> bool {
        if self.partner_lease.is_some() {
            return true;
        }
        let taken = leases
            .take(
                &self.targets.partner_leases,
                &self.targets.partner,
                &self.job,
                &self.environment,
                self.operation.wait_for_lease,
            )
            .await;
        match taken {
            Ok(lease) => {
                self.mend_predecessor(&lease.lease);
                self.partner_lease = Some(lease);
                true
            }
            Err(error) => {
                if let Some(row) = self.rows.get_mut(index) {
                    if error.kind == ErrorKind::Conflict {
                        row.skip(format!("Nothing was given back: {error}"));
                    } else {
                        row.failed(error);
                    }
                }
                false
            }
        }
    }

    /// One cycle of one module, again after a pause where that may help.
    pub(super) async fn cycle(&mut self, index: usize, step: &str) -> Vec<String> {
        let Some(row) = self.rows.get(index) else { return Vec::new() };
        let (module, purpose, name) = (Arc::clone(&row.module), row.purpose, row.name());
        if row.not_applicable.is_some() {
            return Vec::new();
        }
        let context = self.context(step, name, purpose);
        let began = self.environment.clock.monotonic();
        let mut pauses = backoff(self.operation.retry_count);
        let mut attempt = 1;
        let done: CycleResult = loop {
            let (module, context) = (Arc::clone(&module), context.clone());
            let cycling = self.stores.run(&self.job, move || {
                context.check()?;
                match purpose {
                    Purpose::Copy => module.run_cycle(&context),
                    Purpose::CarryBack | Purpose::Unknown => module.carry_back(&context),
                }
            });
            let failure = match cycling.await {
                Err(failure) if failure.error.retryable => failure,
                done => break done,
            };
            let Some(delay) = pauses.next() else { break Err(failure) };
            let CycleFailure { error, done } = failure;
            if let Some(row) = self.rows.get_mut(index) {
                row.cycle_done(&done);
            }
            attempt += 1;
            self.retries += 1;
            self.tell(EventKind::Retrying {
                module: Some(name.to_owned()),
                attempt,
                delay_ms: u64::try_from(delay.as_millis()).unwrap_or(u64::MAX),
                error,
            });
            if let Err(cancelled) = pause(&self.job, &self.environment, delay).await {
                break Err(cancelled.into());
            }
        };
        let spent = self.environment.clock.monotonic().saturating_sub(began);
        let pool = self.job.pool.clone();
        let Some(row) = self.rows.get_mut(index) else { return Vec::new() };
        row.spent += spent;
        match done {
            Ok(cycle) => {
                row.errors.clear();
                row.cycle_done(&cycle);
                row.left = cycle.after;
                self.seen_by_cycle(index, cycle.before.as_ref());
                cycle.details
            }
            Err(CycleFailure { error, done }) => {
                row.errors.clear();
                row.cycle_done(&done);
                self.seen_by_cycle(index, done.before.as_ref());
                if let Some(row) = self.rows.get_mut(index) {
                    row.failed(error.at("module", name).at("pool", pool));
                }
                done.details
            }
        }
    }

    fn context(&self, step: &str, module: &'static str, purpose: Purpose) -> Context {
        let lease = match purpose {
            Purpose::Copy => &self.lease,
            Purpose::CarryBack | Purpose::Unknown => &self.partner_lease,
        };
        Context {
            generation: lease.as_ref().map_or(Generation(0), |held| held.lease.generation),
            cancel: self.job.cancel.clone(),
            observer: Arc::new(StepObserver {
                job: Arc::clone(&self.job),
                clock: Arc::clone(&self.environment.clock),
                step: step.to_owned(),
                module,
                activity: Mutex::new(Activity::default()),
            }),
            clock: Arc::clone(&self.environment.clock),
            force: self.operation.force,
            // The cycles that a backup waits with only keep the pair moving; what counts is the one after them.
            verify: self.operation.verify && purpose == Purpose::Copy && step != AWAIT_STEP,
        }
    }

    /// Looks at a module after it ran, tells what changed, and remembers it for status queries.
    pub(super) async fn look_again(&mut self, index: usize) {
        let Some(row) = self.rows.get(index).filter(|row| !row.nothing_lost) else { return };
        let before = row.state().clone();
        if row.errors.is_empty() {
            // After a cancellation the stores are not walked again: the host is waiting for the end.
            if self.job.cancel.is_cancelled() {
                return;
            }
            let (module, look) = (Arc::clone(&row.module), self.what_to_look_at());
            let seen = match self.rows.get_mut(index).and_then(|row| row.left.take()) {
                Some(left) => Ok(left),
                None => {
                    let looking = self.stores.run(&self.job, move || {
                        crate::failpoint::fail_point!("job.look_again");
                        module.observe(&look)
                    });
                    looking.await
                }
            };
            let now = self.environment.clock.now();
            match (self.rows.get_mut(index), seen) {
                (Some(row), Ok(seen)) => row.observed(&seen, now),
                (_, Err(error)) => self.look_failed(index, error),
                (None, Ok(_)) => {}
            }
        }
        let Some(row) = self.rows.get(index) else { return };
        let after = row.state().clone();
        let module = row.name().to_owned();
        let halves = [
            ("export", before.export.name(), after.export.name()),
            ("import", before.import.name(), after.import.name()),
        ];
        for (half, from, to) in halves.into_iter().filter(|(_, from, to)| from != to) {
            self.tell(EventKind::StateChanged {
                module: module.clone(),
                half: half.to_owned(),
                from: from.to_owned(),
                to: to.to_owned(),
            });
        }
        self.remember(index).await;
    }

    async fn remember(&self, index: usize) {
        let Some(row) = self.rows.get(index) else { return };
        let held = match row.purpose {
            Purpose::Copy => &self.lease,
            Purpose::CarryBack | Purpose::Unknown => &self.partner_lease,
        };
        let Some(held) = held else { return };
        let now = self.environment.clock.now();
        let succeeded = row.errors.is_empty() && row.not_applicable.is_none() && row.purpose == Purpose::Copy;
        let stored = StoredState {
            state: row.state().clone(),
            cursor: row.cursor().map(str::to_owned),
            reason: row
                .errors
                .first()
                .map(|error| error.message.clone())
                .or_else(|| row.not_applicable.clone()),
            observed_at: now,
            last_success: succeeded.then_some(now),
        };
        let module = row.name();
        let kept = held
            .with_store(Some(&self.job.cancel), move |store, lease, until| {
                store.set_state(lease, module, &stored, until)
            })
            .await;
        if let Err(error) = kept {
            let message = format!("The state could not be kept for status queries. {error}");
            self.tell(EventKind::Warning { module: Some(module.to_owned()), message });
        }
    }
}

/// Pauses between attempts: a fifth of a second at first, doubling, with jitter, at most ten seconds.
fn backoff(attempts: u32) -> impl Iterator<Item = Duration> {
    ExponentialBuilder::default()
        .with_min_delay(Duration::from_millis(200))
        .with_max_delay(Duration::from_secs(10))
        .with_max_times(attempts as usize)
        .with_jitter()
        .build()
}
