//! Running a job: look, plan, take the lease, do each step of the plan, look again, report.

use std::sync::Arc;
use std::time::Duration;

use super::Job;
use super::events::EventKind;
use super::lease::{Held, Leases, pause};
use super::patience::StoreWork;
use super::record::{JobRecord, Records, interrupted};
use super::request::{Awaited, Operation};
use super::target::{Target, Targets};
use crate::clock::Clock;
use crate::error::{Error, ErrorKind, Result};
use crate::pool::PoolState;
use crate::report::{HostInfo, Outcome, Plan, PlannedStep, Purpose, Report, SCHEMA_VERSION, StepReport};
use crate::store::leases::{Lease, Owner};

mod row;

/// The step that waits for a state.
const AWAIT_STEP: &str = "await:state";

/// What every job of a service needs.
pub struct Environment {
    /// Where times come from.
    pub clock: Arc<dyn Clock>,
    /// This process.
    pub owner: Owner,
    /// Where jobs are kept on disk.
    pub records: Records,
}

/// Runs a job to its end. It ends in exactly one report and one terminal event, whatever happens.
pub async fn run(job: Arc<Job>, operation: Operation, targets: Targets, environment: Arc<Environment>) {
    let run = Run::new(Arc::clone(&job), operation, targets, Arc::clone(&environment));
    let unfinished = run.report_of_a_dead_process();
    if let Err(defect) = tokio::spawn(run.run()).await {
        let finished_at = environment.clock.now();
        let report = Report { finished_at, errors: vec![defective(&defect)], ..unfinished };
        let record = JobRecord { owner: environment.owner.clone(), ended: true, report: report.clone() };
        // The job is over in any case; where its record cannot be written the report is kept in memory.
        let _ = environment.records.write(&record);
        job.finish(report);
        job.events.push(finished_at, EventKind::Finished { outcome: Outcome::Failed, duration_ms: 0 });
    }
}

/// Runs blocking work on a thread where that is allowed; a panic in it becomes an error.
pub(super) async fn blocking<R: Send + 'static>(
    work: impl FnOnce() -> Result<R> + Send + 'static,
) -> Result<R> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(defect) => Err(defective(&defect)),
    }
}

pub(super) fn defective(defect: &tokio::task::JoinError) -> Error {
    Error::new(
        ErrorKind::Panic,
        "This library has a defect: a part of it stopped unexpectedly.",
        "Report it to its maintainers with this message. What was committed before is safe.",
    )
    .caused_by(defect)
}

struct Run {
    job: Arc<Job>,
    operation: Operation,
    environment: Arc<Environment>,
    targets: Targets,
    rows: Vec<Target>,
    plan: Plan,
    steps: Vec<StepReport>,
    errors: Vec<Error>,
    retries: u32,
    began: Duration,
    stores: StoreWork,
    lease: Option<Held>,
    partner_lease: Option<Held>,
}

impl Run {
    fn new(job: Arc<Job>, operation: Operation, targets: Targets, environment: Arc<Environment>) -> Self {
        let outward = targets.outward.iter().map(|module| {
            Target::new(Arc::clone(module), Purpose::Copy, &job.pool, &targets.partner, targets.pool_state)
        });
        let inward = targets.inward.iter().map(|module| {
            Target::new(
                Arc::clone(module),
                Purpose::CarryBack,
                &job.pool,
                &targets.partner,
                targets.partner_state,
            )
        });
        let rows: Vec<Target> = outward.chain(inward).collect();
        let plan = Plan { steps: planned(&operation, &rows) };
        let began = environment.clock.monotonic();
        Run {
            job,
            operation,
            environment,
            targets,
            rows,
            plan,
            steps: Vec::new(),
            errors: Vec::new(),
            retries: 0,
            began,
            stores: StoreWork::default(),
            lease: None,
            partner_lease: None,
        }
    }

    async fn run(mut self) {
        self.tell(EventKind::Started {
            command: self.job.command.to_owned(),
            pool_fqdn: self.job.pool.to_string(),
            plan: self.plan.clone(),
        });
        if let Err(error) = self.execute().await {
            self.errors.push(error);
        }
        let report = self.report(self.outcome());
        if !self.operation.what_if
            && let Err(error) = self.write_record(true, report.clone())
        {
            self.tell(EventKind::Warning {
                module: None,
                message: format!("{error} The report is kept in memory only."),
            });
        }
        let finished = EventKind::Finished { outcome: report.outcome, duration_ms: report.duration_ms };
        self.job.finish(report);
        self.tell(finished);
    }

    async fn execute(&mut self) -> Result<()> {
        crate::failpoint::fail_point!("job.execute");
        self.check_pool_state()?;
        if self.operation.what_if {
            return self.look_at_all().await;
        }
        self.write_record(false, self.report_of_a_dead_process())?;
        let leases = Leases::keep(Arc::clone(&self.job), Arc::clone(&self.environment));
        let done = self.execute_leased(&leases).await;
        leases.release_after(&self.job, &self.stores).await;
        done
    }

    async fn execute_leased(&mut self, leases: &Leases) -> Result<()> {
        let lease = leases
            .take(
                &self.targets.leases,
                &self.job.pool,
                &self.job,
                &self.environment,
                self.operation.wait_for_lease,
            )
            .await?;
        self.mend_predecessor(&lease.lease);
        self.lease = Some(lease);
        self.look_at_all().await?;
        if let Some(awaited) = self.operation.awaited {
            self.await_state(awaited).await?;
        }
        for index in 0..self.rows.len() {
            self.run_step(index, leases).await;
            self.look_again(index).await;
        }
        Ok(())
    }

    /// A job whose process died never wrote its report: whoever takes its lease over does.
    fn mend_predecessor(&self, lease: &Lease) {
        if let Some(predecessor) = lease.taken_over_from {
            // Its record may be in another deployment's folder; then it is mended there.
            let _ = self.environment.records.read(predecessor, self.environment.clock.now());
        }
    }

    fn check_pool_state(&self) -> Result<()> {
        if !self.operation.failed_over_pool_only || self.targets.pool_state == PoolState::FailedOver {
            return Ok(());
        }
        Err(Error::new(
            ErrorKind::PoolStateMismatch,
            format!("{} is {}, not FailedOver.", self.job.pool, self.targets.pool_state.name()),
            "Leave FailedOverPoolOnly out to back up a pool that is not failed over.",
        )
        .at("pool", &self.job.pool))
    }

    /// Compares all stores: the state before, and what each step will move.
    async fn look_at_all(&mut self) -> Result<()> {
        for index in 0..self.rows.len() {
            self.look(index).await;
            if self.job.cancel.is_cancelled() {
                return Err(Error::cancelled());
            }
        }
        Ok(())
    }

    /// Runs cycles until the awaited state is reached, as the backup service would meanwhile.
    async fn await_state(&mut self, awaited: Awaited) -> Result<()> {
        let (step, started) = self.step_started(AWAIT_STEP, awaited.title(), None);
        for attempt in 0..=self.operation.retry_count {
            if attempt > 0 {
                self.retries += 1;
                let waited = pause(&self.job, &self.environment, self.operation.wait_time).await;
                if let Err(error) = waited {
                    self.step_finished(step, started, Outcome::Cancelled, Vec::new());
                    return Err(error);
                }
            }
            for index in 0..self.rows.len() {
                if self.rows.get(index).is_some_and(|row| row.purpose == Purpose::Copy) {
                    self.cycle(index, AWAIT_STEP).await;
                    self.look_again(index).await;
                }
            }
            if self.job.cancel.is_cancelled() {
                self.step_finished(step, started, Outcome::Cancelled, Vec::new());
                return Err(Error::cancelled());
            }
            let reached = |row: &Target| match awaited {
                Awaited::Steady => row.is_steady(),
                Awaited::Final => row.is_drained(),
            };
            if self.rows.iter().filter(|row| row.purpose == Purpose::Copy).all(reached) {
                let detail = format!("Reached at look {}.", attempt + 1);
                self.step_finished(step, started, Outcome::Succeeded, vec![detail]);
                return Ok(());
            }
        }
        self.step_finished(step, started, Outcome::Failed, Vec::new());
        Err(self.state_not_reached())
    }

    fn state_not_reached(&self) -> Error {
        let states: Vec<String> = self
            .rows
            .iter()
            .filter(|row| row.purpose == Purpose::Copy && row.not_applicable.is_none())
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
            format!("{} did not reach the awaited state: {}.", self.job.pool, states.join(", ")),
            "Wait until the pool is quieter, raise RetryCount or WaitTime, or back up without FullBackup and SteadyState.",
        )
        .at("pool", &self.job.pool)
    }

    fn step_started(&self, id: &str, title: &str, module: Option<&str>) -> (StepReport, Duration) {
        let now = self.environment.clock.now();
        let module = module.map(str::to_owned);
        self.tell(EventKind::StepStarted {
            step: id.to_owned(),
            title: title.to_owned(),
            module: module.clone(),
        });
        let step = StepReport {
            id: id.to_owned(),
            title: title.to_owned(),
            module,
            started_at: now,
            duration_ms: 0,
            outcome: Outcome::Skipped,
            details: Vec::new(),
        };
        (step, self.environment.clock.monotonic())
    }

    fn step_finished(
        &mut self,
        mut step: StepReport,
        started: Duration,
        outcome: Outcome,
        details: Vec<String>,
    ) {
        let spent = self.environment.clock.monotonic().saturating_sub(started);
        step.duration_ms = u64::try_from(spent.as_millis()).unwrap_or(u64::MAX);
        step.outcome = outcome;
        step.details = details;
        self.tell(EventKind::StepFinished { step: step.id.clone(), module: step.module.clone(), outcome });
        self.steps.push(step);
    }

    /// Failures beat a cancellation, which beats warnings.
    fn outcome(&self) -> Outcome {
        let of_error = |error: &Error| match error.kind {
            ErrorKind::Cancelled => Outcome::Cancelled,
            _ => Outcome::Failed,
        };
        let rows = self.rows.iter().map(|row| row.outcome(self.operation.what_if));
        let worst = rows.chain(self.errors.iter().map(of_error)).max().unwrap_or(Outcome::Succeeded);
        worst.max(Outcome::Succeeded)
    }

    fn report(&self, outcome: Outcome) -> Report {
        let spent = self.environment.clock.monotonic().saturating_sub(self.began);
        Report {
            schema_version: SCHEMA_VERSION,
            job_id: self.job.id,
            command: self.job.command.to_owned(),
            request: self.operation.request.clone(),
            pool_fqdn: self.job.pool.to_string(),
            backup_pool_fqdn: self.targets.partner.to_string(),
            outcome,
            what_if: self.operation.what_if,
            started_at: self.job.started_at,
            finished_at: self.environment.clock.now(),
            duration_ms: u64::try_from(spent.as_millis()).unwrap_or(u64::MAX),
            retries: self.retries,
            host: HostInfo {
                machine: self.environment.owner.machine.clone(),
                process_id: self.environment.owner.process_id,
                library_version: env!("CARGO_PKG_VERSION").to_owned(),
            },
            plan: self.plan.clone(),
            steps: self.steps.clone(),
            modules: self.rows.iter().map(|row| row.report(self.operation.what_if)).collect(),
            warnings: Vec::new(),
            errors: self.errors.clone(),
        }
    }

    /// What is to be said of this job should its process die before it can say anything itself.
    fn report_of_a_dead_process(&self) -> Report {
        let owner = &self.environment.owner;
        Report { errors: vec![interrupted(&owner.machine, owner.process_id)], ..self.report(Outcome::Failed) }
    }

    fn write_record(&self, ended: bool, report: Report) -> Result<()> {
        self.environment.records.write(&JobRecord { owner: self.environment.owner.clone(), ended, report })
    }

    fn tell(&self, event: EventKind) {
        self.job.events.push(self.environment.clock.now(), event);
    }
}

fn planned(operation: &Operation, rows: &[Target]) -> Vec<PlannedStep> {
    let waiting = operation.awaited.map(|awaited| PlannedStep {
        id: AWAIT_STEP.to_owned(),
        title: awaited.title().to_owned(),
        module: None,
        touches: Vec::new(),
        items: None,
        bytes: None,
    });
    waiting.into_iter().chain(rows.iter().map(Target::planned)).collect()
}
