//! One cycle: walk, copy in batches, delete.

use std::collections::BTreeSet;

use super::DataConf;
use super::copier::Copier;
use super::meter::Meter;
use super::plan::{Deletion, Plan, Step, Work};
use super::walk::{is_young, quarantined};
use crate::error::{Error, ErrorKind, Result};
use crate::module::{Context, CycleFailure, CycleOutcome, CycleResult};
use crate::report::Moved;
use crate::store::content::index::{ContentIndex, IndexedObject};
use crate::store::content::{
    Attributes, ContentPath, ContentStore, ObjectError, ObjectKind, ObjectMeta, ObjectResult, StagedObject,
};

mod conflict;
mod safety;

/// How many objects one batch carries.
pub(super) const BATCH_ITEMS: usize = 256;

/// Runs a cycle.
pub(super) fn run(module: &DataConf, context: &Context) -> CycleResult {
    let mut index = ContentIndex::open(&module.service_store, &module.pool)?;
    let warnings = module.establish(&mut index, context)?;
    let swept = module.standby.sweep()? + module.source.sweep()?;
    let scan_ns = module.scan_time(context);
    let indexed = index.count()?;

    let mut plan = Plan::default();
    let mut meter = Meter::begin(context, "Comparing files", None);
    let walked = module.walk_source(
        &index,
        context,
        &mut |listed| meter.items(listed),
        &mut |folder, name, found| {
            plan.add(folder, name, found);
        },
    )?;
    meter.end();
    module.refuse_emptied_source(&walked, &index, context.force)?;
    plan.finish();

    let mut cycle = Cycle {
        module,
        context,
        index,
        scan_ns,
        copier: Copier::new(module.source.as_ref(), module.standby.as_ref(), context),
        meter: Meter::begin(context, "Copying files", Some(plan.totals())),
        batch: Vec::new(),
        batch_bytes: 0,
        outcome: CycleOutcome { quarantined: walked.quarantined, warnings, ..CycleOutcome::default() },
    };
    let done = cycle.all(&plan, indexed);
    let Cycle { meter, mut outcome, .. } = cycle;
    meter.end();
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

struct Cycle<'a> {
    module: &'a DataConf,
    context: &'a Context,
    index: ContentIndex,
    scan_ns: i64,
    copier: Copier<'a>,
    meter: Meter<'a>,
    batch: Vec<Ready<'a>>,
    batch_bytes: u64,
    outcome: CycleOutcome,
}

/// An object that waits for its batch to be committed.
struct Ready<'a> {
    path: ContentPath,
    object: IndexedObject,
    action: Action<'a>,
}

enum Action<'a> {
    /// Publish the staged file.
    Publish(Box<dyn StagedObject + 'a>),
    /// Make the folder.
    Folder { in_place_of_file: bool },
    /// The content is equal, the attributes are not.
    Attributes(Attributes),
    /// Nothing but the index changes.
    Remember,
}

impl<'a> Cycle<'a> {
    fn all(&mut self, plan: &Plan, indexed: u64) -> Result<()> {
        self.copy(&plan.steps)?;
        self.check_share(plan, indexed)?;
        self.delete(&plan.deletions)?;
        self.copy(&plan.after_deletions)?;
        self.index.finish_scan(self.context.generation, self.context.clock.now())
    }

    fn copy(&mut self, steps: &[Step]) -> Result<()> {
        for step in steps {
            self.context.check()?;
            let path = step.path();
            match self.prepare(&path, step) {
                Ok(Some(ready)) => {
                    self.batch_bytes = self.batch_bytes.saturating_add(ready.object.meta.size);
                    self.batch.push(ready);
                }
                // Equal after all, or gone since the walk: the next one will see it.
                Ok(None) | Err(ObjectError::Gone) => {}
                Err(ObjectError::Refused(refusal)) => {
                    self.outcome.quarantined.push(quarantined(&path, refusal))
                }
                Err(ObjectError::Store(error)) => return Err(error),
            }
            self.meter.item();
            if self.batch.len() >= BATCH_ITEMS || self.batch_bytes >= self.module.batch_bytes {
                self.commit()?;
            }
        }
        self.commit()
    }

    /// Does everything for one object that nobody sees yet.
    fn prepare(&mut self, path: &ContentPath, step: &Step) -> ObjectResult<Option<Ready<'a>>> {
        let (meta, hash, action) = match &step.work {
            Work::Folder => (self.folder(path)?, None, Action::Folder { in_place_of_file: false }),
            Work::FolderForFile => (self.folder(path)?, None, Action::Folder { in_place_of_file: true }),
            Work::Compare(known) => match self.compare(path, known)? {
                Comparison::Equal(None) => return Ok(None),
                Comparison::Equal(Some((meta, action))) => (meta, known.hash, action),
                Comparison::Different => self.stage(path)?,
            },
            Work::Copy => self.stage(path)?,
        };
        let object = IndexedObject { meta, hash, indexed_ns: self.scan_ns, settled: true };
        Ok(Some(Ready { path: path.clone(), object, action }))
    }

    fn stage(&mut self, path: &ContentPath) -> ObjectResult<(ObjectMeta, Option<[u8; 32]>, Action<'a>)> {
        let copied = self.copier.copy(path, None, &mut self.meter)?;
        Ok((copied.meta, Some(copied.hash), Action::Publish(copied.staged)))
    }

    fn folder(&self, path: &ContentPath) -> ObjectResult<ObjectMeta> {
        let meta = self.module.source.stat(path)?;
        // Replaced by a file since the walk.
        if meta.kind == ObjectKind::Folder { Ok(meta) } else { Err(ObjectError::Gone) }
    }

    fn compare(&mut self, path: &ContentPath, known: &IndexedObject) -> ObjectResult<Comparison<'a>> {
        let (meta, hash) = self.copier.hash(path, &mut self.meter)?;
        if known.hash != Some(hash) {
            self.meter.take_back(meta.size);
            return Ok(Comparison::Different);
        }
        if meta.attributes() != known.meta.attributes() {
            return Ok(Comparison::Equal(Some((meta, Action::Attributes(meta.attributes())))));
        }
        // As long as it is young it is compared in every cycle, whatever the index says.
        let nothing_new = meta.is_same_version(&known.meta) && is_young(&meta, self.scan_ns);
        Ok(Comparison::Equal((!nothing_new).then_some((meta, Action::Remember))))
    }

    /// Publishes a batch. What the index says beforehand lets the next cycle find every name that this one leaves
    /// behind if the process dies, and refuses an older generation before anything is changed.
    fn commit(&mut self) -> Result<()> {
        self.batch_bytes = 0;
        let batch = std::mem::take(&mut self.batch);
        if batch.is_empty() {
            return Ok(());
        }
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

enum Comparison<'a> {
    /// The standby holds this content; what is left to do.
    Equal(Option<(ObjectMeta, Action<'a>)>),
    /// It holds another one.
    Different,
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
