//! A standby that is full: what fits is copied all the same, and the rest is named.
//!
//! What finds no room waits until everything else was done: batches that replace files and deletions make some. So do large files
//! from the beginning, where it is certain that not all fit. Then they are tried, one object after the other, the small ones first. What still finds none may make some itself ([`Cycle::make_room`]), or take the
//! place of its own earlier version.

use std::collections::BTreeSet;

use super::super::DataConf;
use super::super::ahead::expecting;
use super::super::end::End;
use super::super::plan::{CyclePlan, ObjectStep, ObjectWork};
use super::prepare::Preparer;
use super::{Cycle, Ready};
use crate::error::{Error, ErrorKind, Result};
use crate::module::Context;
use crate::report::html::format;
use crate::store::content::index::ContentIndex;
use crate::store::content::room::Room;
use crate::store::content::spool::Spool;
use crate::store::content::{ContentStore, ObjectError, ObjectKind, ObjectResult, Refusal};

/// Objects up to these sizes are tried before larger ones.
const SIZES: [u64; 5] = [64 << 10, 1 << 20, 16 << 20, 256 << 20, u64::MAX];

/// So much of a standby's file system is left to the index and the leases, where they lie on it: a sixteenth, and this at most.
const KEPT_FOR_INDEX: u64 = 64 << 20;

/// What there was no room for.
pub(super) struct Waiting {
    /// And how large it was.
    steps: Spool<(ObjectStep, u64)>,
    /// How many objects took the place of their earlier version.
    in_place: u64,
    /// Objects and bytes that there was no room for.
    unplaced: (u64, u64),
}

impl Waiting {
    /// Nothing yet.
    pub(super) fn new(module: &DataConf) -> Self {
        Waiting { steps: Spool::new(module.index.folder()), in_place: 0, unplaced: (0, 0) }
    }

    /// What waits; nothing does then.
    pub(super) fn take(&mut self, module: &DataConf) -> Spool<(ObjectStep, u64)> {
        std::mem::replace(&mut self.steps, Spool::new(module.index.folder()))
    }

    /// Lets an object of so many bytes wait.
    pub(super) fn put(&mut self, step: &ObjectStep, size: u64) -> Result<()> {
        self.steps.push(&(step.clone(), size))
    }
}

/// Whether an object failed because there is no room at this end.
pub(in super::super) fn has_no_room(failure: &ObjectError, end: &End) -> bool {
    matches!(failure, ObjectError::Store(error) if error.kind == ErrorKind::DiskFull && error.side == Some(end.side))
}

/// Why an object of so many bytes was not copied to this end, where so many are not to be taken.
pub(in super::super) fn no_room(end: &End, needed: u64, kept_free: u64) -> Refusal {
    let needs = format!("DiskFull: it needs {} at the destination", in_units(needed));
    let reason = match end.room() {
        None => format!("{needs}, which has no room for it."),
        Some(Room { free_bytes, .. }) => {
            let free = format!("{} are free", in_units(free_bytes));
            if free_bytes > needed.saturating_add(kept_free) {
                format!(
                    "{needs}, which has no room for it, though {free}: a quota, or the number of files, is used up."
                )
            } else if kept_free > 0 {
                let kept = in_units(kept_free);
                format!("{needs}, where {free}, of which {kept} are left to the service's own databases.")
            } else {
                format!("{needs}, where {free}.")
            }
        }
    };
    Refusal::new(
        reason,
        "Free space or raise the quota there. The next cycle tries again; what fits is copied meanwhile.",
    )
}

/// A size for people: `1.5 MiB`.
fn in_units(bytes: u64) -> String {
    format::bytes(bytes).replace('\u{a0}', " ")
}

/// Whether a new version of so many bytes fits once the earlier one has gone, which frees so many. It does where it takes no
/// more, whatever the limit is; else only where the file system itself is what is full.
fn fits_in_place(room: &Room, bytes: u64, freed: u64, kept_free: u64) -> bool {
    let is_free_then = room.free_bytes.saturating_add(freed) >= bytes.saturating_add(kept_free);
    is_free_then
        && (bytes <= freed || room.lacks(bytes, kept_free) && room.would_hold(bytes, freed, kept_free))
}

impl DataConf {
    /// Establishes the pair, also where what a killed job has staged leaves the index no room to be written: nobody but this owner
    /// of the lease writes to the standby, so that it may go first.
    pub(super) fn establish_when_full(
        &self,
        index: &mut ContentIndex,
        context: &Context,
    ) -> Result<Vec<String>> {
        let full = match self.establish(index, context) {
            Err(error) if error.kind == ErrorKind::DiskFull => error,
            done => return done,
        };
        match index.pair()? {
            // In a store that is not known to be this one, nothing is known to be ours.
            Some(pair) if self.check_standby(&pair)?.is_ok() && self.standby.sweep()? > 0 => {
                self.establish(index, context)
            }
            _ => Err(full),
        }
    }

    /// Copies must not take the room that the index needs to say what there is of them.
    pub(super) fn keep_room_for_index(&self) {
        self.standby.keep_free(self.kept_for_index());
    }

    fn kept_for_index(&self) -> u64 {
        let on_its_disk = |room: &Room| self.index.device() == Some(room.device);
        let room = self.standby.room().filter(on_its_disk);
        room.map_or(0, |room| (room.total_bytes / 16).min(KEPT_FOR_INDEX))
    }
}

impl<'a> Cycle<'a, '_> {
    /// Lets what found no room wait.
    pub(super) fn put_off(&mut self, step: ObjectStep) -> Result<()> {
        let size = self.module.source.stat(&step.path).map_or(0, |meta| meta.size);
        self.waiting.steps.push(&(step, size))
    }

    /// Where there is certainly no room for all files: those that are small. Larger ones wait, so that they take the room of none of
    /// these. None where all may fit.
    pub(super) fn small_ones(&mut self, plan: &CyclePlan) -> Result<Option<Spool<ObjectStep>>> {
        let kept_free = self.module.kept_for_index();
        if !self.module.standby.room().is_some_and(|room| room.lacks(plan.to_copy(), kept_free)) {
            return Ok(None);
        }
        let [smallest, ..] = SIZES;
        let mut small = Spool::new(self.module.index.folder());
        for step in expecting(&self.module.source, plan.files.iter(), ObjectStep::head) {
            let step = step?;
            self.context.check()?;
            let size = self.module.source.stat(&step.path).map_or(0, |meta| meta.size);
            if matches!(step.work, ObjectWork::Copy) && size > smallest {
                self.waiting.steps.push(&(step, size))?;
            } else {
                small.push(&step)?;
            }
        }
        Ok(Some(small))
    }

    /// Lets an object wait whose name found no room.
    pub(super) fn put_off_if_full(&mut self, step: Option<ObjectStep>, failure: ObjectError) -> Result<()> {
        match (step, failure) {
            (Some(step), failure) if has_no_room(&failure, &self.module.standby) => self.put_off(step),
            (_, ObjectError::Store(error)) => Err(error),
            (_, ObjectError::Gone | ObjectError::Refused(_)) => Ok(()),
        }
    }

    /// Lets a batch wait for which the index found no room: what it has staged goes, and its objects come back one by one.
    pub(super) fn put_off_batch(&mut self, batch: Vec<Ready<'a>>, error: Error) -> Result<()> {
        if error.kind != ErrorKind::DiskFull || batch.len() < 2 {
            return Err(error);
        }
        self.batch.carry_one();
        batch.into_iter().filter_map(|ready| ready.step).try_for_each(|step| self.put_off(step))
    }

    /// A full disk concerns the object where nothing is left to try.
    pub(super) fn of_object<T>(&self, done: ObjectResult<T>) -> ObjectResult<T> {
        match done {
            Err(failure) if has_no_room(&failure, &self.module.standby) => {
                Err(ObjectError::Refused(no_room(&self.module.standby, 0, 0)))
            }
            done => done,
        }
    }

    /// Copies what found no room before, as far as there is some now, and names the rest.
    pub(super) fn copy_what_waits(&mut self) -> Result<()> {
        while self.waiting.steps.len() > 0 {
            let steps = std::mem::replace(&mut self.waiting.steps, Spool::new(self.module.index.folder()));
            let before = self.outcome.moved.items_written;
            let mut unplaced = Spool::new(self.module.index.folder());
            self.try_again(&steps, &mut unplaced)?;
            for step in unplaced.iter() {
                let (step, size) = step?;
                self.name_without_room(&step, size);
            }
            // Those that wait again now were ready, and only their names found no room.
            let is_stuck = self.waiting.steps.len() > 0 && self.outcome.moved.items_written == before;
            if is_stuck && !self.make_room(0)? {
                let steps =
                    std::mem::replace(&mut self.waiting.steps, Spool::new(self.module.index.folder()));
                for step in steps.iter() {
                    let (step, size) = step?;
                    self.name_without_room(&step, size);
                }
            }
        }
        Ok(())
    }

    fn try_again(
        &mut self,
        steps: &Spool<(ObjectStep, u64)>,
        unplaced: &mut Spool<(ObjectStep, u64)>,
    ) -> Result<()> {
        let context = self.context;
        let mut preparer = Preparer::new(self.module, context, self.scan_ns, self.meter);
        preparer.reads_first = true;
        let mut smaller = None;
        for at_most in SIZES {
            for step in steps.iter() {
                let (step, size) = step?;
                if size <= at_most && smaller.is_none_or(|smaller| size > smaller) {
                    context.check()?;
                    if !self.place(&mut preparer, &step, size)? {
                        unplaced.push(&(step, size))?;
                    }
                }
            }
            smaller = Some(at_most);
        }
        self.commit()
    }

    /// Copies one object, after making room where there is none; says whether it came to an end.
    fn place(&mut self, preparer: &mut Preparer<'a, '_>, step: &ObjectStep, size: u64) -> Result<bool> {
        let mut has_given_up = false;
        loop {
            let prepared = preparer.prepare(step);
            if !matches!(&prepared, Err(failure) if has_no_room(failure, &self.module.standby)) {
                self.take(step.clone(), prepared)?;
                return Ok(true);
            }
            // It may take the place of its earlier version in the end.
            let earlier = self.module.standby.taken_by(&step.path).unwrap_or_default();
            if self.make_room(size.saturating_sub(earlier))? {
                continue;
            }
            // What the history must not lose does not give way, either.
            if has_given_up || self.replacing.is_some() || self.module.history.is_strict {
                return Ok(false);
            }
            match self.give_up_earlier(preparer, step) {
                Ok(true) => has_given_up = true,
                Ok(false) => return Ok(false),
                // It cannot be read whole: its earlier version stays.
                Err(ObjectError::Gone) => return Ok(true),
                Err(ObjectError::Refused(refusal)) => {
                    self.refused(step, refusal);
                    return Ok(true);
                }
                Err(ObjectError::Store(error)) => return Err(error),
            }
        }
    }

    /// Makes room for so many bytes at the standby, if anything can be done for it; says whether it is worth another try.
    /// Whatever else may go before copies are refused goes here.
    fn make_room(&mut self, bytes: u64) -> Result<bool> {
        if !self.batch.is_empty() {
            // What it replaces is free then, unless it is kept.
            self.commit()?;
            return Ok(true);
        }
        let may_go = !self.module.history.is_strict && self.may_fit_without_history(bytes)?;
        Ok(may_go && (self.drop_oldest()? || self.stop_keeping_for_room()?))
    }

    /// Whether so many bytes may fit once nothing is kept of earlier states any more: else none of them goes for it.
    fn may_fit_without_history(&self, bytes: u64) -> Result<bool> {
        let Some(room) = self.module.standby.room() else { return Ok(true) };
        let kept = self.module.standby.history().revisions()?;
        let ended: u64 = kept.iter().map(|kept| kept.kept_bytes).sum();
        let free = room.free_bytes.saturating_add(ended).saturating_add(self.keeping.bytes());
        Ok(bytes.saturating_add(self.module.kept_for_index()) <= free)
    }

    /// Removes the earlier version of this one object, where the disk is full otherwise and the new version fits then; says
    /// whether it did. The index knows first. The new version was read whole before, so that nothing goes for one that nobody can
    /// copy.
    fn give_up_earlier(&mut self, preparer: &mut Preparer<'a, '_>, step: &ObjectStep) -> ObjectResult<bool> {
        let (standby, path, generation) = (&self.module.standby, &step.path, self.context.generation);
        let is_copied =
            matches!(step.work, ObjectWork::Copy | ObjectWork::Compare(_) | ObjectWork::Rename(_));
        let freed = match standby.taken_by(path) {
            Ok(freed) if is_copied && standby.stat(path)?.kind == ObjectKind::File => freed,
            Ok(_) | Err(ObjectError::Gone | ObjectError::Refused(_)) => return Ok(false),
            Err(failure) => return Err(failure),
        };
        let mut foreign = BTreeSet::new();
        self.find_foreign(path, None, &mut foreign)?;
        if freed == 0 || !foreign.is_empty() {
            return Ok(false);
        }
        let seen = preparer.copier.hash(path, ObjectKind::File, self.meter)?;
        self.meter.take_back(seen.meta.size);
        let (size, kept_free) = (seen.meta.size, self.module.kept_for_index());
        if !standby.room().is_some_and(|room| fits_in_place(&room, size, freed, kept_free)) {
            return Ok(false);
        }
        // What goes now is not kept, and without it no state before can be made again.
        self.stop_keeping("A file had to take the place of its earlier version.")?;
        self.index.begin(generation, std::iter::once((path, ObjectKind::File, Some(seen.hash))))?;
        standby.remove(path, ObjectKind::File)?;
        standby.flush()?;
        self.index.settle(generation, &[], std::slice::from_ref(path))?;
        self.waiting.in_place += 1;
        Ok(true)
    }

    /// Names what found no room.
    fn name_without_room(&mut self, step: &ObjectStep, size: u64) {
        let (objects, bytes) = self.waiting.unplaced;
        self.waiting.unplaced = (objects + 1, bytes.saturating_add(size));
        let refusal = no_room(&self.module.standby, size, self.module.kept_for_index());
        self.refused(step, refusal);
        self.meter.item();
    }

    /// Says what there was no room for, if anything.
    pub(super) fn sum_up_room(&mut self) {
        let standby = &self.module.standby;
        let (objects, bytes) = self.waiting.unplaced;
        if objects > 0 {
            let free = standby.room().map(|room| format!(", where {} are free", in_units(room.free_bytes)));
            let line = format!(
                "There is no room for {objects} of the objects that are new or changed, {}, in {}{}. What fits is copied.",
                in_units(bytes),
                standby.url(),
                free.unwrap_or_default()
            );
            self.outcome.warnings.push(line.clone());
            self.outcome.no_room = Some(line);
        }
        if self.waiting.in_place > 0 {
            let line = format!(
                "Files that took the place of their earlier version, because there was no room for both: {}.",
                self.waiting.in_place
            );
            self.outcome.details.push(line);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::content::room::Keeping;

    #[test]
    fn an_earlier_version_goes_only_where_the_new_one_certainly_fits_then() {
        const MB: u64 = 1 << 20;
        let room =
            |free| Room { free_bytes: free * MB, total_bytes: 25 * MB, device: 1, keeping: Keeping::Apart };
        let fits = |free, bytes, freed, kept| fits_in_place(&room(free), bytes * MB, freed * MB, kept * MB);
        assert!(fits(10, 15, 15, 0));
        assert!(fits(0, 15, 15, 0));
        assert!(fits(10, 20, 15, 0) && !fits(10, 25, 15, 0) && !fits(10, 26, 15, 0));
        assert!(!fits(10, 24, 15, 2), "what is kept free stays free");
        assert!(!fits(0, 15, 15, 1));
        // There would be room for both, so that something else is full: only what takes no more fits for certain.
        assert!(!fits(20, 16, 15, 0) && fits(20, 15, 15, 0));
    }
}
