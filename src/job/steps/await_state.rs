//! Waiting for a state of a pool's modules before its backup begins.

use std::sync::Arc;

use crate::error::{Error, ErrorKind, Result};
use crate::job::lease::{LeasePlace, pause};
use crate::job::request::Awaited;
use crate::job::row::Row;
use crate::job::step::{Done, JobWork, Pending, Planned, Step};
use crate::report::Outcome;

/// Runs cycles until all of some rows are in a state, as the backup service would meanwhile.
pub(in crate::job) struct AwaitState {
    awaited: Awaited,
    rows: Vec<usize>,
    touches: Vec<String>,
    lease: LeasePlace,
}

impl AwaitState {
    /// For these rows of the report, which keep the stores that they write to.
    pub(in crate::job) fn new(awaited: Awaited, rows: &[Row], lease: &LeasePlace) -> Self {
        AwaitState {
            awaited,
            rows: (0..rows.len()).collect(),
            touches: rows.iter().flat_map(|row| row.module.touches()).collect(),
            lease: lease.clone(),
        }
    }

    async fn wait(&self, work: &mut JobWork) -> Result<Vec<String>> {
        for attempt in 0..=work.options.retry_count {
            if attempt > 0 {
                work.retries += 1;
                pause(&Arc::clone(&work.job), &Arc::clone(&work.environment), work.options.wait_time).await?;
            }
            for index in self.rows.iter().copied() {
                let before = work.state_of(index);
                // These only keep the pair moving: what is compared on request is compared by the copying itself.
                work.cycle(index, &self.id(), false, |module, context| module.run_cycle(context)).await;
                work.look_again(index, before, true).await;
            }
            if work.job.cancel.is_cancelled() {
                return Err(Error::cancelled());
            }
            let reached = |row: &Row| match self.awaited {
                Awaited::Steady => row.is_steady(),
                Awaited::Final => row.is_drained(),
            };
            if self.of(work).all(reached) {
                return Ok(vec![format!("Reached at look {}.", attempt + 1)]);
            }
        }
        Err(self.not_reached(work))
    }

    fn of<'a>(&'a self, work: &'a JobWork) -> impl Iterator<Item = &'a Row> {
        self.rows.iter().filter_map(|index| work.rows.get(*index))
    }

    fn not_reached(&self, work: &JobWork) -> Error {
        let states: Vec<String> = self
            .of(work)
            .filter(|row| row.not_applicable.is_none())
            .map(|row| {
                format!(
                    "{} {} with {} pending",
                    row.name(),
                    row.state().export.name(),
                    row.state().pending_items
                )
            })
            .collect();
        Error::new(
            ErrorKind::StateNotReached,
            format!("{} did not reach the awaited state: {}.", work.job.pool, states.join(", ")),
            "Wait until the pool is quieter, raise RetryCount or WaitTime, or back up without FullBackup and SteadyState.",
        )
        .at("pool", &work.job.pool)
    }
}

impl Step for AwaitState {
    fn id(&self) -> String {
        "await:state".to_owned()
    }

    fn title(&self) -> String {
        self.awaited.title().to_owned()
    }

    fn touches(&self) -> Vec<String> {
        self.touches.clone()
    }

    fn lease(&self) -> Option<&LeasePlace> {
        Some(&self.lease)
    }

    fn is_gate(&self) -> bool {
        true
    }

    /// What its cycles will copy is what the steps after it say.
    fn plan<'a>(&'a self, _work: &'a mut JobWork) -> Pending<'a, Result<Planned>> {
        Box::pin(async { Ok(Planned::default()) })
    }

    fn run<'a>(&'a self, work: &'a mut JobWork) -> Pending<'a, Done> {
        Box::pin(async move {
            match self.wait(work).await {
                Ok(details) => Done::of(Outcome::Succeeded, details),
                Err(error) => work.failure(self, error),
            }
        })
    }
}
