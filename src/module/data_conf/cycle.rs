//! One cycle: walk, copy in batches, delete.

use std::collections::BTreeSet;

use super::ahead::expecting;
use super::batch::{BATCH_ITEMS, Batch};
use super::meter::Meter;
use super::plan::{CyclePlan, Deletion, ObjectStep};
use super::tally::{Few, Linked, Tally, counted, record};
use super::walk::{self, Finder, Lacking, ObjectDifference, Places, Respelling, quarantined};
use super::{DataConf, cursor};
use crate::error::{Error, ErrorKind, Result};
use crate::module::{Context, CycleFailure, CycleOutcome, CycleResult, Observation};
use crate::report::{Change, ChangeKind, Moved};
use crate::store::content::hints::Want;
use crate::store::content::index::{ContentIndex, Day, ObjectLoss};
use crate::store::content::spool::Spool;
use crate::store::content::{
    COARSEST_TICK_NS, ContentPath, ContentStore, ObjectError, ObjectKind, ObjectMeta, Refusal,
};

mod commit;
mod conflict;
mod history;
mod interrupted;
mod prepare;
mod room;
mod safety;
mod spelling;
mod verify;

use history::Keeping;
pub(super) use history::{chain, current};
use prepare::{Action, Prepared, Ready};
use room::Waiting;
pub(super) use room::{has_no_room, no_room};
use safety::Withheld;
pub(super) use safety::{exceeds, identity};

/// How many files are copied at a time.
const THREADS: usize = 4;

/// Runs a cycle.
pub(super) fn run(module: &DataConf, context: &Context) -> CycleResult {
    run_cycle(module, context).map_err(|mut failure| {
        // What the standby holds, it holds whatever failed.
        let known = module.existing_index().ok().flatten();
        failure.done.cursor = known.and_then(|(_, pair)| cursor(&pair));
        failure
    })
}

fn run_cycle(module: &DataConf, context: &Context) -> CycleResult {
    let mut index = module.index.open(&module.pool)?;
    module.source.begin(Some(&index), &context.cancel)?;
    let paired = index.pair()?.map(|pair| pair.standby_id);
    let mut warnings = match module.establish_when_full(&mut index, context) {
        Err(lost) if paired.is_some() && lost.side == Some(module.source.side) => {
            return Err(Withheld::by_lost_source(module, &index, context, lost));
        }
        established => established?,
    };
    let pair = index.pair()?;
    let is_known = paired.is_some() && paired == pair.as_ref().map(|pair| pair.standby_id);
    let adopted_ns = pair.and_then(|pair| pair.adopted_ns);
    let swept = module.standby.sweep()? + module.source.sweep()?;
    module.keep_room_for_index();
    module.take_stock(&mut index, context)?;
    let scan_ns = module.scan_time(context);
    let is_first = index.is_empty()?;

    let foreign = module.name_foreign()?;
    let compared = compare(module, context, index, scan_ns, is_first, adopted_ns)?;
    let Compared { mut index, places, mut walked, plan, before, unchanged, renamed, dropped } = compared;
    walked.quarantined.extend(foreign);
    if let Err(emptied) = module.refuse_emptied_source(&walked, &index, context.accept_deletions) {
        return Err(Withheld::by_plan(module, &plan, context, emptied));
    }
    remember_unchanged(&mut index, context, &unchanged)?;

    let meter = Meter::begin(context, "Copying files", Some(plan.totals()));
    let mut cycle = Cycle::new(module, context, index, scan_ns, &meter, places, adopted_ns)?;
    (cycle.renamed, cycle.dropped) = (renamed.moved.items_written, dropped);
    warnings.extend(renamed.warnings);
    let batches = u64::from(renamed.moved.items_written > 0);
    cycle.outcome = CycleOutcome {
        quarantined: walked.quarantined,
        warnings,
        changes: renamed.changes,
        moved: Moved { batches, ..renamed.moved },
        ..CycleOutcome::default()
    };
    let done = cycle.all(&plan);
    meter.end();
    cycle.sum_up(done, before, is_known || !is_first, walked.listed, swept)
}

/// What comparing the stores came to.
struct Compared {
    index: ContentIndex,
    places: Places,
    walked: walk::Walked,
    plan: CyclePlan,
    /// What is pending.
    before: Tally,
    /// Listings in which nothing differs.
    unchanged: Spool<(ContentPath, [u8; 32])>,
    /// What was renamed on the way, because only its spelling had changed.
    renamed: CycleOutcome,
    /// How many earlier states were dropped for that.
    dropped: u64,
}

/// Compares the source with what the standby is known to hold. What changed in its spelling only is renamed first: what is in a
/// folder is compared once the folder has its name.
fn compare(
    module: &DataConf,
    context: &Context,
    mut index: ContentIndex,
    scan_ns: i64,
    is_first: bool,
    adopted_ns: Option<i64>,
) -> Result<Compared> {
    let mut places = Places::new(module.standby.abilities()?);
    let meter = Meter::begin(context, "Comparing files", None);
    let (mut renamed, mut dropped) = (CycleOutcome::default(), 0);
    loop {
        let mut planner = Planner {
            module,
            index: (!is_first).then_some(&index),
            meter: &meter,
            plan: CyclePlan::new(module.index.folder()),
            before: Tally::default(),
            unchanged: Spool::new(module.index.folder()),
            respelled: Vec::new(),
        };
        let (source, lacking) = (&module.source, Lacking::FoldersLast);
        let (known, cancel) = (Some(&index), &context.cancel);
        let walked = walk::walk(source, known, Some(&places), lacking, scan_ns, cancel, &mut planner)?;
        let Planner { plan, mut before, unchanged, respelled, .. } = planner;
        if respelled.is_empty() {
            meter.end();
            before.renamed(renamed.moved.items_written);
            return Ok(Compared { index, places, walked, plan, before, unchanged, renamed, dropped });
        }
        let mut cycle = Cycle::new(module, context, index, scan_ns, &meter, places, adopted_ns)?;
        cycle.outcome = renamed;
        let done = cycle.respell(respelled);
        (index, places, renamed, dropped) =
            (cycle.index, cycle.places, cycle.outcome, dropped + cycle.dropped);
        done?;
    }
}

fn unkept(objects: u64) -> String {
    format!(
        "{} extended attributes that the standby's file system cannot hold; {} copied without them.",
        counted(objects, "object has", "objects have"),
        if objects == 1 { "it was" } else { "they were" }
    )
}

fn details(listed: u64, swept: u64, renamed: u64, outcome: &CycleOutcome) -> Vec<String> {
    let moved = &outcome.moved;
    let mut lines = vec![format!(
        "Compared {}: {} written, {} deleted, {} not copied.",
        counted(listed, "object", "objects"),
        moved.items_written,
        moved.items_deleted,
        outcome.quarantined.len()
    )];
    if renamed > 0 {
        let (files, them) = (counted(renamed, "file", "files"), if renamed == 1 { "it" } else { "them" });
        lines.push(format!("Renamed {files} at the standby instead of copying {them} again."));
    }
    if swept > 0 {
        let files = counted(swept, "temporary file", "temporary files");
        lines.push(format!("Removed {files} that an interrupted job had left."));
    }
    lines
}

impl DataConf {
    /// The time before a walk begins, by the clock that the source's times come from. The host's may be ahead of it.
    pub(super) fn scan_time(&self, context: &Context) -> i64 {
        let host = || i64::try_from(context.clock.now().as_nanosecond()).unwrap_or_default();
        self.source.now_ns().unwrap_or_else(|| host().saturating_sub(COARSEST_TICK_NS))
    }
}

struct Cycle<'a, 'm> {
    module: &'a DataConf,
    context: &'a Context,
    index: ContentIndex,
    scan_ns: i64,
    meter: &'m Meter<'m>,
    batch: Batch<Ready<'a>>,
    /// What there was no room for.
    waiting: Waiting,
    /// What was lost within the day.
    day: Day,
    /// How many objects the standby held, where that matters.
    held_before: u64,
    /// What replaces a content, where that may be too much.
    replacing: Option<Spool<ObjectStep>>,
    /// What the standby loses with the batch that is published.
    losses: Vec<ObjectLoss>,
    /// What could not be copied or deleted.
    left: Tally,
    /// What of it was named.
    named: BTreeSet<ContentPath>,
    /// Whether all that was pending was moved or left by now.
    is_all_counted: bool,
    /// How many files only got another name.
    renamed: u64,
    /// How many objects have extended attributes that the standby cannot hold.
    incomplete: u64,
    /// Objects of times that no copy can keep.
    untimed: Few,
    /// See [`crate::store::content::index::IndexedPair::adopted_ns`].
    adopted_ns: Option<i64>,
    keeping: Keeping,
    /// How many earlier states were dropped to make room.
    dropped: u64,
    /// Files that were copied once more under another of their names.
    linked: Linked,
    /// What the standby can hold.
    places: Places,
    outcome: CycleOutcome,
}

impl<'a, 'm> Cycle<'a, 'm> {
    fn new(
        module: &'a DataConf,
        context: &'a Context,
        index: ContentIndex,
        scan_ns: i64,
        meter: &'m Meter<'m>,
        places: Places,
        adopted_ns: Option<i64>,
    ) -> Result<Self> {
        let day = index.day(context.clock.now())?;
        Ok(Cycle {
            module,
            context,
            index,
            scan_ns,
            meter,
            batch: Batch::new(module.batch_bytes),
            waiting: Waiting::new(module),
            day,
            held_before: 0,
            replacing: None,
            losses: Vec::new(),
            left: Tally::default(),
            named: BTreeSet::new(),
            is_all_counted: false,
            renamed: 0,
            incomplete: 0,
            untimed: Few::default(),
            adopted_ns,
            keeping: Keeping::default(),
            dropped: 0,
            linked: Linked::default(),
            places,
            outcome: CycleOutcome::default(),
        })
    }
}

impl Cycle<'_, '_> {
    /// What the cycle came to, however it ended; `before` was pending, in stores that were paired before or not.
    fn sum_up(
        mut self,
        done: Result<()>,
        before: Tally,
        is_initialized: bool,
        listed: u64,
        swept: u64,
    ) -> CycleResult {
        self.sum_up_room();
        let Cycle { module, index, mut outcome, left, is_all_counted, renamed, incomplete, untimed, .. } =
            self;
        // What only seemed to differ is no longer counted once it was read; until then nobody knows better.
        let before = if is_all_counted { before.counted(&outcome.moved, &left) } else { before };
        outcome.before = Some(before.observation(is_initialized, module.batch_bytes));
        if is_all_counted {
            let after = left.observation(true, module.batch_bytes);
            outcome.after =
                Some(Observation { cursor: index.pair()?.and_then(|pair| cursor(&pair)), ..after });
        }
        outcome.details.splice(..0, details(listed, swept, renamed, &outcome));
        outcome.details.extend(self.keeping.details());
        if incomplete > 0 {
            outcome.warnings.push(unkept(incomplete));
        }
        outcome.warnings.extend(self.linked.warning());
        if !untimed.is_empty() {
            let year = |time_ns: i64| {
                let time = jiff::Timestamp::from_nanosecond(i128::from(time_ns)).unwrap_or_default();
                time.strftime("%Y").to_string()
            };
            let abilities = &self.places.abilities;
            outcome.warnings.push(format!(
                "Times before {} and after {} are none that copies can keep; they have the nearest that can be kept: {untimed}.",
                year(abilities.earliest_ns),
                year(abilities.latest_ns)
            ));
        }
        match done {
            Ok(()) => Ok(outcome),
            Err(error) => Err(CycleFailure { error, done: Box::new(outcome) }),
        }
    }
}

impl<'a> Cycle<'a, '_> {
    fn all(&mut self, plan: &CyclePlan) -> Result<()> {
        self.begin_day(plan)?;
        self.begin_keeping()?;
        // Files are prepared in any order, folders after those that they are in; all are published as they are taken.
        self.copy(&plan.folders, 1)?;
        match self.small_ones(plan)? {
            None => self.copy(&plan.files, THREADS)?,
            Some(small) => self.copy(&small, THREADS)?,
        }
        self.commit()?;
        let confirmed = match self.check_shares(plan) {
            Ok(replacing) => {
                if let Some(replacing) = replacing {
                    self.copy(&replacing, THREADS)?;
                    self.commit()?;
                }
                self.delete(&plan.deletions)?;
                self.copy(&plan.after_deletions, THREADS)?;
                self.commit()?;
                Ok(())
            }
            Err(refused) => Err(refused),
        };
        // Once deletions have made what room they make, and renames have found what they were called before.
        self.copy_what_waits()?;
        confirmed?;
        self.set_folder_times()?;
        if self.context.verify {
            self.verify()?;
            self.copy_what_waits()?;
            self.set_folder_times()?;
        }
        self.set_attributes_of_root()?;
        if self.context.accept_deletions && self.day.is_begun() {
            self.index.forget_losses(self.context.generation)?;
        }
        let revision = self.end_keeping()?;
        self.index.finish_scan(self.context.generation, self.context.clock.now(), revision.as_ref())?;
        self.thin_history();
        self.is_all_counted = true;
        Ok(())
    }

    /// What does not fill a batch is left for the next commit.
    fn copy(&mut self, steps: &Spool<ObjectStep>, threads: usize) -> Result<()> {
        let (module, context, scan_ns, meter) = (self.module, self.context, self.scan_ns, self.meter);
        let threads = threads.min(usize::try_from(steps.len()).unwrap_or(threads));
        let steps = expecting(&module.source, steps.iter(), |step| Some(step.want(module.rehearses)));
        prepare::prepare_all(module, context, scan_ns, meter, steps, threads, |step, prepared| {
            self.context.check()?;
            self.take(step, prepared)
        })
    }

    fn take(&mut self, step: ObjectStep, prepared: Prepared<'a>) -> Result<()> {
        match prepared {
            Ok(Some(ready)) => {
                let ready = Ready { over: step.over().copied(), ..ready };
                if !self.leaves_for_later(&step, &ready)? {
                    let bytes = ready.object.meta.size;
                    self.batch.push(Ready { step: Some(step), ..ready }, bytes);
                }
            }
            // Equal after all, or gone since the walk: the next one will see it.
            Ok(None) | Err(ObjectError::Gone) => {}
            Err(ObjectError::Refused(refusal)) => self.refused(&step, refusal),
            // It counts once it was tried again.
            Err(failure) if has_no_room(&failure, &self.module.standby) => return self.put_off(step),
            Err(ObjectError::Store(error)) => return Err(error),
        }
        self.meter.item();
        if self.batch.is_full() { self.commit() } else { Ok(()) }
    }

    fn refused(&mut self, step: &ObjectStep, refusal: Refusal) {
        if let Ok(meta) = self.module.source.stat(&step.path)
            && step.is_real(&meta)
        {
            self.left.object(&meta);
        }
        self.quarantine(&step.path, refusal);
    }

    /// Names what could not be handled, once.
    fn quarantine(&mut self, path: &ContentPath, refusal: Refusal) {
        if self.named.insert(path.clone()) {
            self.outcome.quarantined.push(quarantined(path, refusal));
        }
    }

    /// Says by name what was changed.
    fn record(&mut self, kind: ChangeKind, change: Change) {
        record(self.context, &mut self.outcome.changes, kind, change);
    }

    /// Whether something in a folder was named.
    fn is_named_within(&self, folder: &ContentPath) -> bool {
        let within = |path: &ContentPath| {
            path.as_bytes().strip_prefix(folder.as_bytes()).is_some_and(|rest| rest.starts_with(b"/"))
        };
        let near = self.named.range(folder..);
        near.take_while(|path| path.as_bytes().starts_with(folder.as_bytes())).any(within)
    }

    fn delete(&mut self, deletions: &Spool<Deletion>) -> Result<()> {
        let mut deletions = deletions.iter();
        loop {
            let batch: Vec<Deletion> = deletions.by_ref().take(BATCH_ITEMS).collect::<Result<_>>()?;
            if batch.is_empty() {
                return Ok(());
            }
            self.delete_batch(&batch)?;
        }
    }

    fn delete_batch(&mut self, batch: &[Deletion]) -> Result<()> {
        let generation = self.context.generation;
        let mut foreign = BTreeSet::new();
        for Deletion { path, .. } in batch {
            self.find_foreign(path, None, &mut foreign)?;
        }
        let kept = self.note_deletions(batch.iter().map(|deletion| &deletion.path))?;
        let paths = batch.iter().map(|deletion| (&deletion.path, deletion.meta.kind, None));
        self.index.begin(generation, paths)?;
        let (mut removed, mut losses) = (Vec::with_capacity(batch.len()), Vec::with_capacity(batch.len()));
        let mut moved = Moved { batches: 1, ..Moved::default() };
        // What was done before it failed or was cancelled is made durable and remembered all the same.
        let done = batch.iter().zip(kept).try_for_each(|(deletion, kept)| {
            self.context.check()?;
            if self.delete_one(deletion, kept, foreign.contains(&deletion.path), &mut moved)? {
                removed.push(deletion.path.clone());
                losses.push(ObjectLoss {
                    path: deletion.path.clone(),
                    version: deletion.meta,
                    is_deletion: true,
                });
            }
            Ok(())
        });
        self.outcome.moved.add(&moved);
        self.module.standby.flush()?;
        self.index.settle_losing(generation, &[], &removed, &losses, &self.day)?;
        done
    }

    /// Says whether the standby does not have it any more.
    fn delete_one(
        &mut self,
        deletion: &Deletion,
        kept: Option<u32>,
        is_foreign: bool,
        moved: &mut Moved,
    ) -> Result<bool> {
        let Deletion { path, meta } = deletion;
        let gone = if is_foreign { self.set_aside(path) } else { self.take_removed(path, meta.kind, kept) };
        match self.of_object(gone) {
            Ok(()) => {
                moved.items_deleted += 1;
                if !self.is_renamed(path) {
                    self.record(ChangeKind::Deleted, Change::of(path).sized(meta.size));
                }
            }
            Err(ObjectError::Gone) => {}
            Err(ObjectError::Refused(refusal)) => {
                self.left.deletions(1);
                let is_held = meta.kind == ObjectKind::Folder && self.is_named_within(path);
                self.quarantine(path, if is_held { still_held() } else { refusal });
                return Ok(false);
            }
            Err(ObjectError::Store(error)) => return Err(error),
        }
        Ok(true)
    }
}

fn still_held() -> Refusal {
    Refusal::new(
        "The folder still holds something at the destination that could not be deleted.",
        "See what is said of that; the next cycle then removes the folder.",
    )
}

/// Takes up what a walk finds.
struct Planner<'a> {
    module: &'a DataConf,
    /// None where the standby holds nothing.
    index: Option<&'a ContentIndex>,
    meter: &'a Meter<'a>,
    plan: CyclePlan,
    /// What is pending.
    before: Tally,
    /// Listings in which nothing differs.
    unchanged: Spool<(ContentPath, [u8; 32])>,
    /// What the standby holds under other spellings.
    respelled: Vec<Respelling>,
}

impl Finder for Planner<'_> {
    fn listed(&mut self, count: u64) {
        self.meter.items(count);
    }

    fn differences(&mut self, found: &[(ContentPath, ObjectDifference)]) -> Result<()> {
        let source = &self.module.source;
        let (true, Some(index)) = (source.is_elsewhere(), self.index) else { return Ok(()) };
        let names =
            found.iter().flat_map(|(path, difference)| commit::earlier_names(index, path, difference));
        source.expect(names.map(|(path, _)| Want::head(path)).collect())
    }

    fn difference(&mut self, path: ContentPath, difference: ObjectDifference) -> Result<()> {
        self.before.count(&difference);
        let earlier = self.index.and_then(|index| self.module.earlier_name(index, &path, &difference));
        self.plan.add(path, difference, earlier)
    }

    fn respelled(&mut self, respelling: Respelling) -> Result<()> {
        self.respelled.push(respelling);
        Ok(())
    }

    fn unchanged(&mut self, folder: ContentPath, listing: [u8; 32]) -> Result<()> {
        self.unchanged.push(&(folder, listing))
    }
}

/// Before anything is copied: what changes the rows of a folder from here on takes its listing away again.
fn remember_unchanged(
    index: &mut ContentIndex,
    context: &Context,
    unchanged: &Spool<(ContentPath, [u8; 32])>,
) -> Result<()> {
    let mut unchanged = unchanged.iter();
    loop {
        let batch: Vec<_> = unchanged.by_ref().take(BATCH_ITEMS).collect::<Result<_>>()?;
        if batch.is_empty() {
            return Ok(());
        }
        context.check()?;
        index.remember_listings(context.generation, &batch)?;
    }
}
