//! One cycle: walk, copy in batches, delete.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::meter::Meter;
use super::plan::{Deletion, Plan, Step};
use super::tally::Tally;
use super::walk::{Difference, quarantined};
use super::{DataConf, cursor};
use crate::error::{Error, ErrorKind, Result};
use crate::module::{Context, CycleFailure, CycleOutcome, CycleResult, Observation};
use crate::report::Moved;
use crate::store::content::index::ContentIndex;
use crate::store::content::{
    ContentPath, ContentStore, ObjectError, ObjectKind, ObjectMeta, ObjectResult, Refusal,
};

mod conflict;
mod prepare;
mod safety;
mod verify;

use prepare::{Action, Prepared, Ready, Steps};

/// How many objects one batch carries.
pub(super) const BATCH_ITEMS: usize = 1024;

/// How many files are copied at a time.
const THREADS: usize = 4;

/// Runs a cycle.
pub(super) fn run(module: &DataConf, context: &Context) -> CycleResult {
    let mut index = ContentIndex::open(&module.service_store, &module.pool)?;
    let warnings = module.establish(&mut index, context)?;
    let swept = module.standby.sweep()? + module.source.sweep()?;
    let scan_ns = module.scan_time(context);
    let indexed = index.count()?;

    let (mut plan, mut before) = (Plan::default(), Tally::default());
    let meter = Meter::begin(context, "Comparing files", None);
    let mut visit = |folder: &Arc<ContentPath>, name: &[u8], found: Difference| {
        before.difference(&found);
        plan.add(folder, name, found);
    };
    let walked = module.walk_source(&index, context, &mut |listed| meter.items(listed), &mut visit)?;
    meter.end();
    module.refuse_emptied_source(&walked, &index, context.force)?;
    plan.finish();

    let meter = Meter::begin(context, "Copying files", Some(plan.totals()));
    let mut cycle = Cycle {
        module,
        context,
        index,
        scan_ns,
        meter: &meter,
        batch: Vec::new(),
        batch_bytes: 0,
        left: Tally::default(),
        outcome: CycleOutcome { quarantined: walked.quarantined, warnings, ..CycleOutcome::default() },
    };
    let done = cycle.all(&plan, indexed);
    let Cycle { index, mut outcome, left, .. } = cycle;
    meter.end();
    outcome.before = Some(before.observation(indexed > 0, module.batch_bytes));
    let after = left.observation(true, module.batch_bytes);
    outcome.after = Some(Observation { cursor: index.pair()?.and_then(|pair| cursor(&pair)), ..after });
    outcome.details = details(walked.listed, swept, &outcome);
    match done {
        Ok(()) => Ok(outcome),
        Err(error) => Err(CycleFailure { error, done: Box::new(outcome) }),
    }
}

fn details(listed: u64, swept: u64, outcome: &CycleOutcome) -> Vec<String> {
    let moved = &outcome.moved;
    let mut lines = vec![format!(
        "Compared {listed} objects: {} written, {} deleted, {} not copied.",
        moved.items_written,
        moved.items_deleted,
        outcome.quarantined.len()
    )];
    if swept > 0 {
        lines.push(format!("Removed {swept} temporary files that an interrupted job had left."));
    }
    lines
}

impl DataConf {
    /// The time before a walk begins, by the clock that the source's times come from: the host's may differ.
    pub(super) fn scan_time(&self, context: &Context) -> i64 {
        let host = || i64::try_from(context.clock.now().as_nanosecond()).unwrap_or_default();
        self.source.now_ns().unwrap_or_else(host)
    }
}

struct Cycle<'a, 'm> {
    module: &'a DataConf,
    context: &'a Context,
    index: ContentIndex,
    scan_ns: i64,
    meter: &'m Meter<'m>,
    batch: Vec<Ready<'a>>,
    batch_bytes: u64,
    /// What could not be copied or deleted.
    left: Tally,
    outcome: CycleOutcome,
}

impl<'a> Cycle<'a, '_> {
    fn all(&mut self, plan: &Plan, indexed: u64) -> Result<()> {
        // Files are copied in any order, folders after those that they are in.
        self.copy(&plan.folders, 1)?;
        self.copy(&plan.files, THREADS)?;
        self.check_share(plan, indexed)?;
        self.delete(&plan.deletions)?;
        self.copy(&plan.after_deletions, THREADS)?;
        if self.context.verify {
            self.verify()?;
        }
        self.index.finish_scan(self.context.generation, self.context.clock.now())
    }

    fn copy(&mut self, steps: &[Step], threads: usize) -> Result<()> {
        let (module, context, scan_ns, meter) = (self.module, self.context, self.scan_ns, self.meter);
        let steps = Steps { steps, threads: threads.min(steps.len()) };
        prepare::prepare_all(module, context, scan_ns, meter, steps, |step, prepared| {
            self.context.check()?;
            self.take(step, prepared)
        })?;
        self.commit()
    }

    fn take(&mut self, step: &Step, prepared: Prepared<'a>) -> Result<()> {
        match prepared {
            Ok(Some(ready)) => {
                self.batch_bytes = self.batch_bytes.saturating_add(ready.object.meta.size);
                self.batch.push(ready);
            }
            // Equal after all, or gone since the walk: the next one will see it.
            Ok(None) | Err(ObjectError::Gone) => {}
            Err(ObjectError::Refused(refusal)) => self.refused(step, refusal),
            Err(ObjectError::Store(error)) => return Err(error),
        }
        self.meter.item();
        if self.batch.len() >= BATCH_ITEMS || self.batch_bytes >= self.module.batch_bytes {
            self.commit()?;
        }
        Ok(())
    }

    fn refused(&mut self, step: &Step, refusal: Refusal) {
        let path = step.path();
        if let Ok(meta) = self.module.source.stat(&path)
            && step.is_real(&meta)
        {
            self.left.object(&meta);
        }
        self.outcome.quarantined.push(quarantined(&path, refusal));
    }

    /// Publishes a batch. What the index says beforehand lets the next cycle find every name that this one leaves
    /// behind if the process dies, and refuses an older generation before anything is changed.
    fn commit(&mut self) -> Result<()> {
        self.batch_bytes = 0;
        let batch = std::mem::take(&mut self.batch);
        if batch.is_empty() {
            return Ok(());
        }
        self.context.check()?;
        self.module.standby.harden()?;
        let generation = self.context.generation;
        let is_changing = |ready: &&Ready<'_>| !matches!(ready.action, Action::Remember);
        let mut foreign = BTreeSet::new();
        for ready in batch.iter().filter(is_changing) {
            self.find_foreign(&ready.path, ready.object.hash, &mut foreign)?;
        }
        let changing = batch.iter().filter(is_changing);
        self.index.begin(
            generation,
            changing.map(|ready| (&ready.path, ready.object.meta.kind, ready.object.hash)),
        )?;
        let mut held = Vec::with_capacity(batch.len());
        let mut moved = Moved::default();
        let mut stopped = Ok(());
        for ready in batch {
            stopped = self.context.check();
            if stopped.is_err() {
                break;
            }
            let bytes = if matches!(ready.action, Action::Publish(_)) { ready.object.meta.size } else { 0 };
            let written = u64::from(!matches!(ready.action, Action::Remember));
            let kept = if foreign.contains(&ready.path) {
                self.make_way(&ready.path, &ready.action)
            } else {
                Ok(())
            };
            let standby = self.module.standby.as_ref();
            match kept.and_then(|()| publish(standby, &ready.path, &ready.object.meta, ready.action)) {
                Ok(()) => {
                    moved.items_written += written;
                    moved.bytes = moved.bytes.saturating_add(bytes);
                    held.push((ready.path, ready.object));
                }
                Err(ObjectError::Gone) => {}
                Err(ObjectError::Refused(refusal)) => {
                    self.left.object(&ready.object.meta);
                    self.outcome.quarantined.push(quarantined(&ready.path, refusal));
                }
                Err(ObjectError::Store(error)) => {
                    stopped = Err(error);
                    break;
                }
            }
        }
        self.module.standby.flush()?;
        self.index.settle(generation, &held, &[])?;
        moved.batches = u64::from(!moved.is_nothing());
        self.outcome.moved.add(&moved);
        stopped
    }

    fn delete(&mut self, deletions: &[Deletion]) -> Result<()> {
        let generation = self.context.generation;
        for batch in deletions.chunks(BATCH_ITEMS) {
            let mut foreign = BTreeSet::new();
            for Deletion { path, .. } in batch {
                self.find_foreign(path, None, &mut foreign)?;
            }
            let paths = batch.iter().map(|deletion| (&deletion.path, deletion.meta.kind, None));
            self.index.begin(generation, paths)?;
            let mut removed = Vec::with_capacity(batch.len());
            let mut moved = Moved { batches: 1, ..Moved::default() };
            let mut stopped = Ok(());
            for Deletion { path, meta } in batch {
                stopped = self.context.check();
                if stopped.is_err() {
                    break;
                }
                let gone = if foreign.contains(path) {
                    self.set_aside(path)
                } else {
                    self.module.standby.remove(path, meta.kind)
                };
                match gone {
                    Ok(()) => moved.items_deleted += 1,
                    Err(ObjectError::Gone) => {}
                    Err(ObjectError::Refused(refusal)) => {
                        self.left.deletion();
                        self.outcome.quarantined.push(quarantined(path, refusal));
                        continue;
                    }
                    Err(ObjectError::Store(error)) => {
                        stopped = Err(error);
                        break;
                    }
                }
                removed.push(path.clone());
            }
            self.module.standby.flush()?;
            self.index.settle(generation, &[], &removed)?;
            self.outcome.moved.add(&moved);
            stopped?;
        }
        Ok(())
    }
}

fn publish(
    standby: &dyn ContentStore,
    path: &ContentPath,
    meta: &ObjectMeta,
    action: Action<'_>,
) -> ObjectResult<()> {
    match action {
        Action::Remember => Ok(()),
        Action::Attributes(attributes) => standby.set_attributes(path, attributes),
        Action::Publish(staged) => staged.publish(path, true).map(|_| ()),
        Action::Folder { in_place_of_file } => match standby.make_folder(path, meta.mode) {
            Err(ObjectError::Refused(_)) if in_place_of_file => {
                standby.remove(path, ObjectKind::File)?;
                standby.make_folder(path, meta.mode)
            }
            made => made,
        },
    }
}
