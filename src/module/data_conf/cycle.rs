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
use crate::store::content::{ContentPath, ObjectError, ObjectKind, ObjectMeta, Refusal};

mod commit;
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
        let earlier = (indexed > 0).then(|| module.earlier_name(&index, folder, name, &found)).flatten();
        plan.add(folder, name, found, earlier);
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
        touched: BTreeSet::new(),
        renamed: 0,
        incomplete: 0,
        outcome: CycleOutcome { quarantined: walked.quarantined, warnings, ..CycleOutcome::default() },
    };
    let done = cycle.all(&plan, indexed);
    let Cycle { index, mut outcome, left, renamed, incomplete, .. } = cycle;
    meter.end();
    outcome.before = Some(before.observation(indexed > 0, module.batch_bytes));
    let after = left.observation(true, module.batch_bytes);
    outcome.after = Some(Observation { cursor: index.pair()?.and_then(|pair| cursor(&pair)), ..after });
    outcome.details = details(walked.listed, swept, renamed, &outcome);
    if incomplete > 0 {
        outcome.warnings.push(unkept(incomplete));
    }
    match done {
        Ok(()) => Ok(outcome),
        Err(error) => Err(CycleFailure { error, done: Box::new(outcome) }),
    }
}

fn unkept(objects: u64) -> String {
    format!(
        "{objects} objects have extended attributes that the standby's file system cannot hold; they were copied \
         without them."
    )
}

fn details(listed: u64, swept: u64, renamed: u64, outcome: &CycleOutcome) -> Vec<String> {
    let moved = &outcome.moved;
    let mut lines = vec![format!(
        "Compared {listed} objects: {} written, {} deleted, {} not copied.",
        moved.items_written,
        moved.items_deleted,
        outcome.quarantined.len()
    )];
    if renamed > 0 {
        lines.push(format!("Renamed {renamed} files at the standby instead of copying them again."));
    }
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
    /// Folders in which names changed at the standby.
    touched: BTreeSet<ContentPath>,
    /// How many files only got another name.
    renamed: u64,
    /// How many objects have extended attributes that the standby cannot hold.
    incomplete: u64,
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
        self.set_folder_times()?;
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
                self.touched.extend(path.split().map(|(folder, _)| folder));
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
