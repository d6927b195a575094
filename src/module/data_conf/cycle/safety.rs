//! How much may be deleted or replaced at the standby without anybody being asked: by one cycle, and within a day.

use std::collections::{BTreeMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};

use super::super::ahead::expecting;
use super::prepare::{Action, Ready};
use super::{
    Change, ChangeKind, ContentPath, ContentStore, Cycle, CyclePlan, DataConf, Error, ErrorKind, Finder,
    Lacking, ObjectDifference, ObjectKind, ObjectMeta, ObjectStep, Result, record, walk,
};
use crate::module::{Context, CycleFailure, CycleOutcome};
use crate::report::Changes;
use crate::store::content::index::{ContentIndex, ObjectLoss};
use crate::store::content::spool::Spool;

/// At most this share of what the standby holds is deleted, in percent …
const SHARE_PERCENT: u64 = 25;

/// … and at most this share is deleted or gets another content …
const CHANGED_SHARE_PERCENT: u64 = 50;

/// … but always this many objects.
const ALWAYS: u64 = 20;

/// How many names an error has.
const NAMED: usize = 100;

/// How many of them its sentence has.
const NAMED_IN_SENTENCE: usize = 10;

/// What a cycle may not do.
struct Refused {
    sentence: String,
    deletions: u64,
    replacements: u64,
    objects: u64,
}

impl Cycle<'_, '_> {
    /// Looks how much was lost within the day, and whether what is planned might be too much with it: then what replaces
    /// a content is left for the end.
    pub(super) fn begin_day(&mut self, plan: &CyclePlan) -> Result<()> {
        let (deletions, replacements) = (plan.deletions.len(), plan.replacements);
        if deletions + replacements == 0 {
            return Ok(());
        }
        self.index.note_held(self.context.generation, &mut self.day)?;
        if deletions > ALWAYS {
            self.held_before = self.index.count()?;
        }
        let may_be_lost = self.day.deleted + self.day.replaced + deletions + replacements;
        if !self.context.accept_deletions && exceeds_share(may_be_lost, self.day.held, CHANGED_SHARE_PERCENT)
        {
            self.replacing = Some(Spool::new(self.module.index.folder()));
        }
        Ok(())
    }

    /// What the standby loses when an object is published: the content that it had under this name.
    pub(super) fn loss(ready: &Ready<'_>) -> Option<ObjectLoss> {
        let over = ready.over.as_ref().filter(|over| over.settled && over.meta.kind != ObjectKind::Folder)?;
        let replaces = match &ready.action {
            Action::Publish(..) | Action::Rename(_) => over.hash != ready.object.hash,
            Action::Folder { in_place_of_file, .. } => *in_place_of_file,
            Action::Attributes { .. } | Action::Remember => false,
        };
        replaces.then(|| ObjectLoss { path: ready.path.clone(), version: over.meta, is_deletion: false })
    }

    /// Leaves what replaces a content for the end, where that may be too much.
    pub(super) fn leaves_for_later(&mut self, step: &ObjectStep, ready: &Ready<'_>) -> Result<bool> {
        let Some(replacing) = &mut self.replacing else { return Ok(false) };
        // A folder has to be there before what is in it.
        let Some(loss) = Self::loss(ready).filter(|_| ready.object.meta.kind != ObjectKind::Folder) else {
            return Ok(false);
        };
        if !self.day.had(&loss.version) || self.index.changes_often(&loss.path, false, &self.day)? {
            return Ok(false);
        }
        replacing.push(step)?;
        Ok(true)
    }

    /// Refuses to delete and to replace more than the safety shares. What was copied stays. Returns what was left for later.
    pub(super) fn check_shares(&mut self, plan: &CyclePlan) -> Result<Option<Spool<ObjectStep>>> {
        let mut replacing = self.replacing.take();
        if self.context.accept_deletions {
            return Ok(replacing);
        }
        if let Some(replacing) = &mut replacing {
            self.let_replacements_wait_for(replacing)?;
        }
        let Some(refused) = self.refused_share(plan, replacing.as_ref())? else { return Ok(replacing) };
        // What found no room and comes back later replaces nothing, either.
        self.replacing = Some(Spool::new(self.module.index.folder()));
        self.left.deletions(plan.deletions.len());
        let left = plan.after_deletions.iter().chain(replacing.iter().flat_map(Spool::iter));
        for step in expecting(&self.module.source, left, ObjectStep::head) {
            if let Ok(meta) = self.module.source.stat(&step?.path) {
                self.left.object(&meta);
            }
        }
        self.is_all_counted = true;
        let Refused { sentence, deletions, replacements, objects } = refused;
        let source = self.module.source.url();
        let error = Error::new(
            ErrorKind::SafetyShareExceeded,
            sentence,
            "If it was meant, run the command again with -AcceptDeletions. If objects were lost, run Invoke-CsBackupServiceSync with \
             -BackupModule DataConf for the backup pool, which gives them back. If their content was spoilt, take it from the \
             standby copy, which still has it.",
        )
        .at("store", source)
        .at("deletions", deletions)
        .at("replacements", replacements)
        .at("objects", objects)
        .on(self.module.source.side);
        let present = self.present(plan)?;
        let deleted = plan.deletions.iter().filter_map(|deletion| match deletion {
            Ok(deletion) => (!present.contains(&identity(&deletion.meta)))
                .then_some(Ok((deletion.path, deletion.meta.size))),
            Err(error) => Some(Err(error)),
        });
        let replaced = replacing.iter().flat_map(Spool::iter).map(|step| {
            step.map(|step| {
                let size = step.over().map_or(0, |over| over.meta.size);
                (step.path, size)
            })
        });
        let mut withheld = Withheld::new(self.module);
        deleted.chain(replaced).try_for_each(|object| {
            let (path, size) = object?;
            withheld.add(path, size)
        })?;
        Err(withheld.named_in(error, self.context, &mut self.outcome.changes)?)
    }

    /// What waits for room and replaces a content waits for the answer first, and counts.
    fn let_replacements_wait_for(&mut self, replacing: &mut Spool<ObjectStep>) -> Result<()> {
        for step in self.waiting.take(self.module).iter() {
            let (step, size) = step?;
            let replaces = step.over().is_some_and(|over| over.settled && self.day.had(&over.meta));
            if replaces && !self.index.changes_often(&step.path, false, &self.day)? {
                replacing.push(&step)?;
            } else {
                self.waiting.put(&step, size)?;
            }
        }
        Ok(())
    }

    fn refused_share(
        &self,
        plan: &CyclePlan,
        replacing: Option<&Spool<ObjectStep>>,
    ) -> Result<Option<Refused>> {
        let (all, day, source) = (plan.deletions.len(), &self.day, self.module.source.url());
        let replacements = replacing.map_or(0, Spool::len);
        let is_much = exceeds(all, self.held_before)
            || exceeds(day.deleted + all, day.held)
            || exceeds_share(
                day.deleted + day.replaced + all + replacements,
                day.held,
                CHANGED_SHARE_PERCENT,
            );
        if all + replacements == 0 || !is_much {
            return Ok(None);
        }
        let present = self.present(plan)?;
        let (mut deletions, mut of_day) = (0, 0);
        for deletion in plan.deletions.iter() {
            let deletion = deletion?;
            if present.contains(&identity(&deletion.meta)) {
                continue;
            }
            deletions += 1;
            let counts = day.had(&deletion.meta) && !self.index.changes_often(&deletion.path, true, day)?;
            of_day += u64::from(counts);
        }
        let refused = |sentence, objects| Some(Refused { sentence, deletions, replacements, objects });
        if exceeds(deletions, self.held_before) {
            let objects = self.held_before;
            let sentence = format!(
                "{deletions} of the {objects} objects that the standby copy holds are missing in {source}, more than \
                 the safety share of {SHARE_PERCENT} %. What is new or changed was copied, nothing was deleted."
            );
            return Ok(refused(sentence, objects));
        }
        let (gone, objects) = (day.deleted + of_day, day.held);
        if exceeds(gone, objects) {
            let sentence = format!(
                "Within 24 hours {gone} of the {objects} objects that the standby copy held are missing in {source}, \
                 {deletions} of them now, more than the safety share of {SHARE_PERCENT} %. What is new or changed was copied, \
                 nothing more was deleted."
            );
            return Ok(refused(sentence, objects));
        }
        let changed = gone + day.replaced + replacements;
        if exceeds_share(changed, objects, CHANGED_SHARE_PERCENT) {
            let sentence = format!(
                "Within 24 hours {changed} of the {objects} objects that the standby copy held were deleted or got another \
                 content in {source}, {} of them now, more than the safety share of {CHANGED_SHARE_PERCENT} %. What is new \
                 was copied, nothing more was replaced or deleted.",
                deletions + replacements
            );
            return Ok(refused(sentence, objects));
        }
        Ok(None)
    }

    /// What the source has under names that the standby does not know: a deletion of one of these is none, it has another
    /// name now.
    fn present(&self, plan: &CyclePlan) -> Result<HashSet<u64>> {
        let mut present = HashSet::new();
        let all = plan.folders.iter().chain(plan.files.iter()).chain(plan.after_deletions.iter());
        for step in expecting(&self.module.source, all, ObjectStep::head) {
            self.context.check()?;
            if let Ok(meta) = self.module.source.stat(&step?.path) {
                present.insert(identity(&meta));
            }
        }
        Ok(present)
    }
}

impl Withheld {
    /// The refusal of a source that is not believed, with the names of all that the standby holds and the source lacks.
    pub(super) fn by_lost_source(
        module: &DataConf,
        index: &ContentIndex,
        context: &Context,
        refusal: Error,
    ) -> CycleFailure {
        let mut withheld = Withheld::new(module);
        let (source, lacking) = (&module.source, Lacking::FoldersLast);
        let walked = walk::walk(source, Some(index), None, lacking, i64::MAX, &context.cancel, &mut withheld);
        match walked {
            Ok(_) => withheld.failure(refusal, context),
            Err(error) if error.kind == ErrorKind::Cancelled => error.into(),
            // What cannot be listed has no names.
            Err(_) => refusal.into(),
        }
    }

    /// The refusal of a plan, with the names of all that it would delete.
    pub(super) fn by_plan(
        module: &DataConf,
        plan: &CyclePlan,
        context: &Context,
        refusal: Error,
    ) -> CycleFailure {
        let mut withheld = Withheld::new(module);
        let added = plan.deletions.iter().try_for_each(|deletion| {
            let deletion = deletion?;
            withheld.add(deletion.path, deletion.meta.size)
        });
        added.map_or_else(CycleFailure::from, |()| withheld.failure(refusal, context))
    }

    fn failure(&self, refusal: Error, context: &Context) -> CycleFailure {
        let mut done = CycleOutcome::default();
        let error = self.named_in(refusal, context, &mut done.changes).unwrap_or_else(|error| error);
        CycleFailure { error, done: Box::new(done) }
    }
}

impl Finder for Withheld {
    fn difference(&mut self, path: ContentPath, difference: ObjectDifference) -> Result<()> {
        let ObjectDifference::Delete { known, .. } = difference else { return Ok(()) };
        self.add(path, known.meta.size)
    }
}

/// What would have gone, had that not been refused.
pub(super) struct Withheld {
    objects: Spool<(ContentPath, u64)>,
    /// The first of them, sorted, with their sizes.
    first: BTreeMap<ContentPath, u64>,
}

impl Withheld {
    fn new(module: &DataConf) -> Self {
        Withheld { objects: Spool::new(module.index.folder()), first: BTreeMap::new() }
    }

    fn add(&mut self, path: ContentPath, size: u64) -> Result<()> {
        self.objects.push(&(path.clone(), size))?;
        self.first.insert(path, size);
        if self.first.len() > NAMED {
            self.first.pop_last();
        }
        Ok(())
    }

    /// Names all of it in the report, and the first of it in the error.
    fn named_in(&self, error: Error, context: &Context, changes: &mut Changes) -> Result<Error> {
        if self.first.is_empty() {
            return Ok(error);
        }
        let mut tell = |path: &ContentPath, size: u64| {
            record(context, changes, ChangeKind::Withheld, Change::of(path).sized(size));
        };
        self.first.iter().for_each(|(path, size)| tell(path, *size));
        for object in self.objects.iter() {
            let (path, size) = object?;
            if !self.first.contains_key(&path) {
                tell(&path, size);
            }
        }
        let names: Vec<String> = self.first.keys().map(ContentPath::to_string).collect();
        let shown: Vec<&str> = names.iter().take(NAMED_IN_SENTENCE).map(String::as_str).collect();
        let more = self.objects.len().saturating_sub(shown.len() as u64);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        let message = format!("{} It concerns {}{more}.", error.message, shown.join(", "));
        Ok(Error { message, ..error }.at("names", names.join("\n")))
    }
}

/// Whether so many deletions are more than the safety share of what is indexed.
pub(in super::super) fn exceeds(deletions: u64, indexed: u64) -> bool {
    exceeds_share(deletions, indexed, SHARE_PERCENT)
}

fn exceeds_share(lost: u64, held: u64, percent: u64) -> bool {
    lost > ALWAYS && lost.saturating_mul(100) > held.saturating_mul(percent)
}

/// Inodes are used again, so that of a file counts only together with its size and time. Hashed, because there may be
/// millions.
pub(in super::super) fn identity(meta: &ObjectMeta) -> u64 {
    let mtime_ns = if meta.kind == ObjectKind::File { meta.mtime_ns } else { 0 };
    let mut hasher = DefaultHasher::new();
    (meta.device, meta.inode, meta.size, mtime_ns).hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::exceeds;

    #[test]
    fn the_share_and_the_floor_both_have_to_be_exceeded() {
        assert!(!exceeds(20, 20));
        assert!(exceeds(21, 21));
        assert!(!exceeds(25, 100));
        assert!(exceeds(26, 100));
        assert!(!exceeds(0, 0));
    }
}
