//! Running a job: its pool is looked up, its list of steps made, planned, noted, run and reported.

use std::future::Future;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use super::environment::Environment;
use super::events::EventKind;
use super::handle::Job;
use super::lease::LeaseKeeper;
use super::lists::{List, Targets};
use super::names::NameList;
use super::progress::LineCounts;
use super::request::Operation;
use super::step::{Done, JobWork, Planned, Step, not_run, noted, unplanned};
use super::threads::{StoreWork, defect_of_ours};
use crate::clock::milliseconds;
use crate::error::{Error, ErrorKind, Result};
use crate::report::{Outcome, Plan, StepReport};
use crate::store::Until;
use crate::store::files::Lines;
use crate::store::leases::{self, Lease};
use crate::topology::PoolFqdn;

mod notes;
mod report;

/// Runs a job to its end; `find` looks up what it works on. It ends in exactly one report and one terminal event,
/// whatever happens.
pub async fn run(
    job: Arc<Job>,
    operation: Operation,
    find: impl FnOnce() -> Result<Targets> + Send + 'static,
    environment: Arc<Environment>,
) {
    let threads = StoreWork::default();
    let targets = threads.run(&job.cancel, find).await;
    let mut run = Run::new(job, operation, threads, environment);
    match targets {
        Ok(targets) => run.knows(&targets),
        Err(error) => run.work.errors.push(error),
    }
    run.work.tell(EventKind::Started {
        command: run.work.job.command.to_owned(),
        pool_fqdn: run.work.job.pool.to_string(),
        plan: run.plan.clone(),
    });
    if run.partner.is_some()
        && let Err(Stop::Because(error)) = run.execute().await
    {
        run.ended_by(error);
    }
    run.finish().await;
}

/// Why the rest of a list does not run.
enum Stop {
    /// A step says so, and has said why.
    Told,
    Because(Error),
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Stop::Because(error)
    }
}

type Going<T = ()> = Result<T, Stop>;

struct Run {
    operation: Operation,
    /// None as long as the pool is not known.
    partner: Option<PoolFqdn>,
    list: Vec<Arc<dyn Step>>,
    plan: Plan,
    /// What became of each step of the plan.
    steps: Vec<StepReport>,
    /// The step that runs, and since when.
    running: Option<(usize, Duration)>,
    began: Duration,
    work: JobWork,
}

impl Run {
    fn new(job: Arc<Job>, operation: Operation, threads: StoreWork, environment: Arc<Environment>) -> Self {
        let began = environment.clock.monotonic();
        let lines = match operation.options.what_if {
            true => Lines::nameless(),
            false => environment.records.names(job.id),
        };
        let work = JobWork {
            names: NameList::new(lines),
            job,
            kind: operation.kind.name(),
            environment,
            options: operation.options.clone(),
            threads,
            rows: Vec::new(),
            removed: Vec::new(),
            warnings: Vec::new(),
            errors: Vec::new(),
            retries: 0,
            held: None,
            place: None,
            lines: Arc::default(),
        };
        let (list, plan, steps) = (Vec::new(), Plan::default(), Vec::new());
        Run { operation, partner: None, list, plan, steps, running: None, began, work }
    }

    fn knows(&mut self, targets: &Targets) {
        let list = List::of(&self.operation, targets);
        self.partner = Some(targets.partner.clone());
        self.work.place.clone_from(&targets.place);
        self.work.lines = Arc::new(LineCounts::of(targets.lines.clone()));
        self.plan = Plan { steps: list.steps.iter().map(|step| unplanned(step.as_ref())).collect() };
        self.steps = list.steps.iter().map(|step| not_run(step.as_ref())).collect();
        self.list = list.steps;
        self.work.rows = list.rows;
    }

    async fn execute(&mut self) -> Going {
        if self.work.options.what_if {
            return caught(self.plan_all()).await;
        }
        self.write_record(false, self.report_of_a_dead_process()).await?;
        let leases = LeaseKeeper::keep(&self.work.job, &self.work.environment);
        let done = caught(self.run_all(&leases)).await;
        if let (Err(Stop::Because(defect)), Some((index, _))) = (&done, self.running) {
            self.broke_off(index, defect.clone());
        }
        self.end_list().await;
        leases.release_after(&self.work.threads).await;
        done
    }

    /// Looks at everything that the run would look at.
    async fn plan_all(&mut self) -> Going {
        crate::platform::failpoint::fail_point!("job.execute");
        for index in 0..self.list.len() {
            let Some(step) = self.list.get(index).cloned() else { break };
            let refused = match self.plan_step(index, step.as_ref()).await {
                Ok(planned) => {
                    self.work.removed.extend(planned.removes);
                    planned.refused
                }
                Err(error) => Some(error),
            };
            self.work.check()?;
            let Some(error) = refused else { continue };
            if let Some(planned) = self.plan.steps.get_mut(index) {
                planned.refused = Some(error.message.clone());
            }
            self.work.failed(step.as_ref(), error);
            if step.is_gate() {
                return Err(Stop::Told);
            }
        }
        Ok(())
    }

    async fn plan_step(&mut self, index: usize, step: &dyn Step) -> Result<Planned> {
        let planned = step.plan(&mut self.work).await?;
        if let Some(told) = self.plan.steps.get_mut(index) {
            (told.items, told.bytes) = (planned.items, planned.bytes);
            told.items_estimated = planned.is_estimate;
            told.note.clone_from(&planned.note);
            if let Some(touches) = &planned.touches {
                told.touches.clone_from(touches);
            }
        }
        Ok(planned)
    }

    async fn run_all(&mut self, leases: &LeaseKeeper) -> Going {
        crate::platform::failpoint::fail_point!("job.execute");
        let mut from = 0;
        while let Some(first) = self.list.get(from) {
            let same = |step: &&Arc<dyn Step>| step.lease() == first.lease();
            let to = from + self.list.iter().skip(from).take_while(same).count();
            self.run_group(from..to, leases).await?;
            from = to;
        }
        Ok(())
    }

    /// Runs the steps of one lease.
    async fn run_group(&mut self, group: Range<usize>, leases: &LeaseKeeper) -> Going {
        self.work.check()?;
        let steps: Vec<(usize, Arc<dyn Step>)> =
            group.filter_map(|index| Some((index, Arc::clone(self.list.get(index)?)))).collect();
        let Some((_, first)) = steps.first() else { return Ok(()) };
        let (place, gives_way) = (first.lease().cloned(), first.gives_way());
        // Whoever gives way looks first, because it may need no lease at all. Everybody else looks at what the lease keeps
        // as it is.
        let mut idle = if gives_way { self.look(&steps).await? } else { Vec::new() };
        let needs_lease = steps.iter().any(|(index, _)| !idle.iter().any(|(done, _)| done == index));
        let mut done_before = Vec::new();
        if let Some(place) = place.filter(|_| needs_lease) {
            match leases.take(&place, self.work.options.wait_for_lease).await {
                Ok(held) => {
                    self.mend_predecessor(&held.lease);
                    done_before = self.begin_list(&held, &steps).await?;
                    self.work.held = Some(held);
                }
                Err(conflict) if gives_way && conflict.kind == ErrorKind::Conflict => {
                    for (index, step) in &steps {
                        match idle.iter().find(|(done, _)| done == index) {
                            Some((_, why)) => self.has_nothing_to_do(*index, step.as_ref(), why),
                            None => self.leave_out(*index, step.as_ref(), &conflict),
                        }
                    }
                    return Ok(());
                }
                Err(error) => return Err(error.into()),
            }
        }
        if !gives_way {
            idle = self.look(&steps).await?;
        }
        for (index, step) in &steps {
            self.work.check()?;
            if done_before.contains(&step.id()) {
                continue;
            }
            match idle.iter().find(|(done, _)| done == index) {
                Some((_, why)) => self.has_nothing_to_do(*index, step.as_ref(), why),
                None => self.run_step(*index, step.as_ref()).await?,
            }
        }
        self.end_list().await;
        leases.give_back().await;
        Ok(())
    }

    /// What each step will do, for the plan; those that turn out to have nothing to do, and why.
    async fn look(&mut self, steps: &[(usize, Arc<dyn Step>)]) -> Result<Vec<(usize, String)>> {
        let mut idle = Vec::new();
        for (index, step) in steps.iter().filter(|(_, step)| !step.looks_itself()) {
            match self.plan_step(*index, step.as_ref()).await {
                Ok(planned) => idle.extend(planned.nothing_to_do.map(|why| (*index, why))),
                // What cannot be seen now may be seen when the step runs: only then it is an error of the step. A look
                // that panicked is a defect, which is told whatever the step does.
                Err(defect) if defect.kind == ErrorKind::Panic => {
                    let module = step.module().map_or("", |module| module.name());
                    self.work.errors.push(defect.at("module", module).at("pool", &self.work.job.pool));
                }
                Err(_) => {}
            }
            self.work.check()?;
        }
        Ok(idle)
    }

    async fn run_step(&mut self, index: usize, step: &dyn Step) -> Going {
        let noted = noted(index, step);
        let (now, command) = (self.work.environment.clock.now(), self.work.job.command);
        if let Some(held) = &self.work.held {
            let begin = {
                let noted = noted.clone();
                move |leases: &dyn leases::Leases, lease: &Lease, until: &Until| {
                    leases.begin_step(lease, command, &noted, now, until)
                }
            };
            held.with_store(Some(&self.work.job.cancel), begin).await?;
        }
        self.step_started(index, step);
        let done = step.run(&mut self.work).await;
        crate::platform::failpoint::fail_point!("job.step.note");
        let outcome = done.outcome;
        if let (Some(found), Some(told)) = (done.found, self.plan.steps.get_mut(index)) {
            (told.items, told.bytes) = (Some(found.0), (found.1 > 0).then_some(found.1));
        }
        self.step_finished(index, done);
        let now = self.work.environment.clock.now();
        self.note(move |leases, lease, until| leases.end_step(lease, noted.number, outcome, now, until))
            .await;
        if step.is_gate() && outcome > Outcome::SucceededWithWarnings {
            return Err(Stop::Told);
        }
        Ok(())
    }

    fn has_nothing_to_do(&mut self, index: usize, step: &dyn Step, why: &str) {
        self.step_started(index, step);
        if let Some(row) = step.row().and_then(|row| self.work.rows.get_mut(row)) {
            row.done = true;
        }
        self.step_finished(index, Done::of(Outcome::Succeeded, vec![why.to_owned()]));
    }

    fn leave_out(&mut self, index: usize, step: &dyn Step, conflict: &Error) {
        let why = format!("{} was left out. {conflict}", step.title());
        if let Some(row) = step.row().and_then(|row| self.work.rows.get_mut(row)) {
            row.warn(why.clone());
        }
        if let Some(skipped) = self.steps.get_mut(index) {
            skipped.details.push(why);
        }
    }

    fn step_started(&mut self, index: usize, step: &dyn Step) {
        let clock = &self.work.environment.clock;
        self.running = Some((index, clock.monotonic()));
        if let Some(started) = self.steps.get_mut(index) {
            started.started_at = Some(clock.now());
        }
        self.work.tell(EventKind::StepStarted {
            step: step.id(),
            title: step.title(),
            module: step.module().map(|module| module.name().to_owned()),
        });
    }

    fn step_finished(&mut self, index: usize, done: Done) {
        let Some((_, since)) = self.running.take() else { return };
        let spent = self.work.environment.clock.monotonic().saturating_sub(since);
        let Some(step) = self.steps.get_mut(index) else { return };
        step.duration_ms = milliseconds(spent);
        step.outcome = done.outcome;
        step.details.extend(done.details);
        let (step, module, outcome) = (step.id.clone(), step.module.clone(), step.outcome);
        self.work.tell(EventKind::StepFinished { step, module, outcome });
    }

    /// A defect ended the step that was running.
    fn broke_off(&mut self, index: usize, defect: Error) {
        if let Some(row) = self.list.get(index).and_then(|step| self.work.rows.get_mut(step.row()?)) {
            row.failed(defect);
        }
        self.step_finished(index, Done::of(Outcome::Failed, Vec::new()));
    }

    /// A cancellation is told once, by the step that noticed it, or else by the job.
    fn ended_by(&mut self, error: Error) {
        let of_rows = self.work.rows.iter().flat_map(|row| &row.errors);
        let is_told = of_rows.chain(&self.work.errors).any(|told| told.kind == ErrorKind::Cancelled);
        if error.kind != ErrorKind::Cancelled || !is_told {
            self.work.errors.push(error);
        }
    }
}

/// Makes an error of a panic, so that what the job has done until then is still reported.
async fn caught(work: impl Future<Output = Going>) -> Going {
    let mut work = std::pin::pin!(work);
    let poll = std::future::poll_fn(|context| {
        let polled = catch_unwind(AssertUnwindSafe(|| work.as_mut().poll(context)));
        polled.unwrap_or_else(|panic| Poll::Ready(Err(panicked(panic.as_ref()).into())))
    });
    poll.await
}

fn panicked(payload: &(dyn std::any::Any + Send)) -> Error {
    let text = payload.downcast_ref::<&str>().map(|text| (*text).to_owned());
    let text = text.or_else(|| payload.downcast_ref::<String>().cloned()).unwrap_or_default();
    let mut error = defect_of_ours();
    error.causes.push(text);
    error
}
