//! What every step of a job's list can do, and what it is given for that.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};

use super::environment::Environment;
use super::events::EventKind;
use super::handle::Job;
use super::lease::{HeldLease, LeasePlace};
use super::names::NameList;
use super::progress::{Activity, LineCounts, StepObserver};
use super::request::Options;
use super::row::Row;
use super::threads::StoreWork;
use crate::error::{Error, ErrorKind, Side};
use crate::module::{BackupModule, Context, Look, ModuleId};
use crate::report::{Outcome, PlannedStep, StepReport, Trace};
use crate::store::leases::journal::NotedStep;
use crate::store::{Generation, JobName, MadeBy};
use crate::topology::PoolFqdn;

/// What a step is waited for with.
pub(super) type Pending<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// What a step will do, as far as that can be seen beforehand.
#[derive(Default)]
pub(super) struct Planned {
    /// How many items it will move or remove.
    pub(super) items: Option<u64>,
    /// Whether that was estimated, not counted.
    pub(super) is_estimate: bool,
    /// How many bytes it will move.
    pub(super) bytes: Option<u64>,
    /// What it will remove, by name.
    pub(super) removes: Vec<Trace>,
    /// What it will write to, where that is less than it may write to.
    pub(super) touches: Option<Vec<String>>,
    /// What it would refuse with.
    pub(super) refused: Option<Error>,
    /// What a person should know of it beforehand.
    pub(super) note: Option<String>,
    /// Why it has nothing to do, where that is seen already: then it does not run, and needs no lease.
    pub(super) nothing_to_do: Option<String>,
}

/// How a step ended.
pub(super) struct Done {
    pub(super) outcome: Outcome,
    /// Lines for the report.
    pub(super) details: Vec<String>,
    /// The items and bytes that it found to move, where it looked itself.
    pub(super) found: Option<(u64, u64)>,
}

impl Done {
    pub(super) fn of(outcome: Outcome, details: Vec<String>) -> Self {
        Done { outcome, details, found: None }
    }
}

/// What a step is about that fills a row of the report: one module, in one direction.
pub(super) struct RowSubject {
    pub(super) row: usize,
    pub(super) module: Arc<dyn BackupModule>,
    /// The pool that gets the data.
    pub(super) to: PoolFqdn,
    pub(super) lease: LeasePlace,
}

/// One step of a job's list. Steps that belong to a module's row of the report tell that row what failed; the others the
/// job, see [`JobWork::failed`].
pub(super) trait Step: Send + Sync {
    /// Unique within the list; the same in every list that does the same.
    fn id(&self) -> String;

    /// One line that a person understands.
    fn title(&self) -> String;

    /// What it is about, where it fills a row of the report.
    fn subject(&self) -> Option<&RowSubject> {
        None
    }

    /// The module, where the step belongs to one.
    fn module(&self) -> Option<ModuleId> {
        self.subject().map(|subject| subject.module.id())
    }

    /// Its row of the report, where it has one.
    fn row(&self) -> Option<usize> {
        self.subject().map(|subject| subject.row)
    }

    /// The stores that it writes to.
    fn touches(&self) -> Vec<String> {
        Vec::new()
    }

    /// The lease that it needs. Steps that follow each other and need the same one share it.
    fn lease(&self) -> Option<&LeasePlace> {
        self.subject().map(|subject| &subject.lease)
    }

    /// Whether it is left out, with a warning, where another job holds its lease: that one has precedence. Else the job
    /// fails.
    fn gives_way(&self) -> bool {
        false
    }

    /// Whether nothing after it runs where it does not succeed.
    fn is_gate(&self) -> bool {
        false
    }

    /// Whether it is not done again where an earlier job of the same command did it and was killed later.
    fn resumes(&self) -> bool {
        false
    }

    /// Whether its run looks at the stores anyway and tells what it saw: then a look beforehand would only do the same
    /// work twice.
    fn looks_itself(&self) -> bool {
        false
    }

    /// Looks at all that [`Step::run`] would look at, without writing, and takes up what was seen.
    ///
    /// # Errors
    /// What the run would fail with.
    fn plan<'a>(&'a self, work: &'a mut JobWork) -> Pending<'a, Result<Planned, Error>>;

    /// Does it.
    fn run<'a>(&'a self, work: &'a mut JobWork) -> Pending<'a, Done>;
}

/// What the steps of one job work with, and what they have found so far.
pub(super) struct JobWork {
    pub(super) job: Arc<Job>,
    /// What kind of job it is.
    pub(super) kind: JobName,
    pub(super) environment: Arc<Environment>,
    pub(super) options: Options,
    pub(super) threads: StoreWork,
    pub(super) rows: Vec<Row>,
    /// What was removed, or would be.
    pub(super) removed: Vec<Trace>,
    /// What an administrator should know that belongs to no row.
    pub(super) warnings: Vec<String>,
    /// Errors that belong to no row.
    pub(super) errors: Vec<Error>,
    pub(super) retries: u32,
    /// What was changed, or would be, by name.
    pub(super) names: Arc<NameList>,
    /// The lease of the steps that run.
    pub(super) held: Option<HeldLease>,
    /// Through what is read what another machine opens.
    pub(super) place: Option<String>,
    /// The lines to other machines.
    pub(super) lines: Arc<LineCounts>,
}

impl JobWork {
    pub(super) fn tell(&self, event: EventKind) {
        self.job.events.push(self.environment.clock.now(), event);
    }

    pub(super) fn look(&self) -> Look {
        Look {
            cancel: self.job.cancel.clone(),
            accept_deletions: self.options.accept_deletions,
            verify: self.options.verify,
            thorough: self.options.what_if,
            names: None,
        }
    }

    /// Tells what an administrator should know that belongs to no row, now and in the report.
    pub(super) fn warn(&mut self, module: &str, message: String) {
        self.tell(EventKind::Warning { module: Some(module.to_owned()), message: message.clone() });
        self.warnings.push(message);
    }

    /// Whether to go on.
    pub(super) fn check(&self) -> Result<(), Error> {
        if self.job.cancel.is_cancelled() { Err(Error::cancelled()) } else { Ok(()) }
    }

    /// How a row stands.
    pub(super) fn outcome_of_row(&self, index: usize) -> Outcome {
        self.rows.get(index).map_or(Outcome::Skipped, Row::outcome)
    }

    /// The same error, saying of which module and pool it is, and at which place it was, where another machine was read from.
    pub(super) fn of_module(&self, module: &str, error: Error) -> Error {
        let error = error.at("module", module).at("pool", &self.job.pool);
        match (&self.place, error.side) {
            (Some(place), Some(Side::Export)) => error.at_place(place),
            _ => error,
        }
    }

    /// Takes up a failure of a step, in its row where it has one.
    pub(super) fn failed(&mut self, step: &dyn Step, error: Error) {
        let error = match step.module() {
            Some(module) => self.of_module(module.name(), error),
            None => error,
        };
        match step.row().and_then(|row| self.rows.get_mut(row)) {
            Some(row) => row.failed(error),
            None => self.errors.push(error),
        }
    }

    /// How a step ended that failed with this.
    pub(super) fn failure(&mut self, step: &dyn Step, error: Error) -> Done {
        let outcome = outcome_of(&error);
        self.failed(step, error);
        Done::of(outcome, Vec::new())
    }

    /// What a module is given for one run, under the lease that is held.
    pub(super) fn context(
        &self,
        step: &str,
        module: &'static str,
        purpose: &'static str,
        verify: bool,
    ) -> Context {
        Context {
            generation: self.held.as_ref().map_or(Generation(0), |held| held.lease.generation),
            cancel: self.job.cancel.clone(),
            observer: Arc::new(StepObserver {
                job: Arc::clone(&self.job),
                clock: Arc::clone(&self.environment.clock),
                step: step.to_owned(),
                module,
                purpose,
                names: Arc::clone(&self.names),
                lines: Arc::clone(&self.lines),
                activity: Mutex::new(Activity::default()),
            }),
            clock: Arc::clone(&self.environment.clock),
            accept_deletions: self.options.accept_deletions,
            job: Some(MadeBy { job: self.job.id, kind: Some(self.kind) }),
            verify,
        }
    }
}

/// How a job or a step ends that an error ended.
pub(super) fn outcome_of(error: &Error) -> Outcome {
    match error.kind {
        ErrorKind::Cancelled => Outcome::Cancelled,
        _ => Outcome::Failed,
    }
}

/// A step of which is known only what it is.
pub(super) fn unplanned(step: &dyn Step) -> PlannedStep {
    PlannedStep {
        id: step.id(),
        title: step.title(),
        module: step.module().map(|module| module.name().to_owned()),
        touches: step.touches(),
        items: None,
        items_estimated: false,
        bytes: None,
        note: None,
        refused: None,
    }
}

/// What is said of a step until it runs.
pub(super) fn not_run(step: &dyn Step) -> StepReport {
    StepReport {
        id: step.id(),
        title: step.title(),
        module: step.module().map(|module| module.name().to_owned()),
        started_at: None,
        duration_ms: 0,
        outcome: Outcome::Skipped,
        details: Vec::new(),
    }
}

/// A step as the journal names it, by its index in the list.
pub(super) fn noted(index: usize, step: &dyn Step) -> NotedStep {
    NotedStep { number: u32::try_from(index + 1).unwrap_or(u32::MAX), id: step.id() }
}
