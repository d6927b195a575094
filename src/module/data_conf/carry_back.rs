//! Gives a source back what it has lost and its standby still holds.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::DataConf;
use super::ahead::expecting;
use super::batch::{BATCH_ITEMS, Batch};
use super::copier::{Copier, Given};
use super::cycle::{has_no_room, no_room};
use super::establish::{missing_source, refuse_foreign};
use super::meter::Meter;
use super::tally::{Few, counted, record};
use super::walk::{self, Finder, Lacking, ObjectDifference, Walked, quarantined};
use crate::error::{Error, ErrorKind, Result};
use crate::module::{Context, CycleFailure, CycleOutcome, CycleResult};
use crate::report::{Change, ChangeKind, Moved};
use crate::store::content::abilities::Abilities;
use crate::store::content::hints::{Want, What};
use crate::store::content::index::{ContentIndex, IndexedObject, IndexedPair, TIMES_UNKNOWN};
use crate::store::content::spool::Spool;
use crate::store::content::{
    Attributes, ContentPath, ContentStore, Extended, MarkerRole, ObjectError, ObjectKind, ObjectMeta,
    ObjectResult, Presence, Refusal, StagedObject,
};

mod loss;

pub(super) use loss::look as loss;

/// What the owner of a folder needs to look into it and to change names in it …
const OWNERS: u32 = 0o700;

/// … and of that what changing names takes.
const CHANGES_NAMES: u32 = 0o300;

/// What the source has lost, folders before what is in them.
struct Lost<'a> {
    module: &'a DataConf,
    /// What the source can hold.
    abilities: &'a Abilities,
    objects: Spool<(ContentPath, IndexedObject)>,
    bytes: u64,
}

impl Finder for Lost<'_> {
    fn difference(&mut self, path: ContentPath, difference: ObjectDifference) -> Result<()> {
        let ObjectDifference::Delete { known, is_displaced: false } = difference else { return Ok(()) };
        if is_there_otherwise(self.module, self.abilities, &path)? {
            return Ok(());
        }
        self.bytes = self.bytes.saturating_add(known.meta.size);
        self.objects.push(&(path, known))
    }
}

/// Gives it back.
pub(super) fn run(module: &DataConf, context: &Context) -> CycleResult {
    let Some((index, pair)) = module.existing_index()? else { return Ok(CycleOutcome::default()) };
    drop(index);
    let mut index = module.index.open(&module.pool)?;
    index.check(context.generation)?;
    module.standby.begin(None, &context.cancel)?;
    let is_marked = check_stores(module, &pair)?;
    module.source.sweep()?;
    module.take_stock(&mut index, context)?;
    let abilities = module.source.abilities()?;
    let (lost, walked) = find(module, &abilities, &index, context)?;
    let mut restore = Restore {
        module,
        context,
        index,
        copier: Copier::new(&module.standby, &module.source, context),
        meter: Meter::begin(context, "Giving files back", Some((lost.objects.len(), lost.bytes))),
        batch: Batch::new(module.batch_bytes),
        place: None,
        altered: Few::default(),
        abilities: abilities.clone(),
        taken: BTreeMap::new(),
        outcome: CycleOutcome { quarantined: walked.quarantined, ..CycleOutcome::default() },
    };
    // The marker comes last: were the job stopped halfway, a cycle would take what is still missing for deleted.
    let done = restore.all(&lost.objects).and_then(|()| restore.mark(is_marked, &pair));
    let Restore { meter, mut outcome, altered, .. } = restore;
    meter.end();
    if !altered.is_empty() {
        outcome.warnings.push(format!(
            "This account may not set everything that these had; their owner, mode or extended attributes are others \
             now: {altered}."
        ));
    }
    let objects = counted(outcome.moved.items_written, "object", "objects");
    outcome.details.push(format!("Gave back {objects}."));
    match done {
        Ok(()) => Ok(outcome),
        Err(error) => Err(CycleFailure { error, done: Box::new(outcome) }),
    }
}

/// Whether the source carries its marker; it may have been lost with the content.
fn check_stores(module: &DataConf, pair: &IndexedPair) -> Result<bool> {
    module.check_standby(pair)??;
    match module.source.identify()? {
        Presence::Missing => Err(missing_source(&module.source)),
        Presence::Unmarked { .. } => refuse_foreign(&module.source).map(|()| false),
        Presence::Marked(marker) if marker.store_id == pair.source_id => Ok(true),
        Presence::Marked(_) => Err(Error::new(
            ErrorKind::ContentStoreUnmounted,
            format!("The content store {} has the marker of another one.", module.source.url()),
            "Mount the right one, or correct content_store in the topology.",
        )
        .at("store", module.source.url())
        .on(module.source.side)),
    }
}

/// Whether the source lists what it seems to have lost under another spelling, which it takes for the same name.
pub(super) fn is_there_otherwise(
    module: &DataConf,
    abilities: &Abilities,
    path: &ContentPath,
) -> Result<bool> {
    if abilities.tells_all_apart() {
        return Ok(false);
    }
    match module.source.stat(path) {
        Err(ObjectError::Gone) => Ok(false),
        Ok(_) | Err(ObjectError::Refused(_)) => Ok(true),
        Err(ObjectError::Store(error)) => Err(error),
    }
}

fn find<'a>(
    module: &'a DataConf,
    abilities: &'a Abilities,
    index: &ContentIndex,
    context: &Context,
) -> Result<(Lost<'a>, Walked)> {
    let objects = Spool::new(module.index.folder());
    let mut lost = Lost { module, abilities, objects, bytes: 0 };
    // What only differs is not asked for, whenever it was changed.
    let lacking = Lacking::FoldersFirst;
    let walked =
        walk::walk(&module.source, Some(index), None, lacking, i64::MAX, &context.cancel, &mut lost)?;
    Ok((lost, walked))
}

struct Restore<'a> {
    module: &'a DataConf,
    context: &'a Context,
    index: ContentIndex,
    copier: Copier<'a, 'a>,
    meter: Meter<'a>,
    batch: Batch<ReadyToReturn<'a>>,
    /// The folder in which names are given back, and how it was where it had to be opened for that.
    place: Option<(ContentPath, Option<ObjectMeta>)>,
    /// What came back otherwise than it was.
    altered: Few,
    /// What the source can hold.
    abilities: Arc<Abilities>,
    /// Which names come back, by the keys of their paths, where the source takes some for one.
    taken: BTreeMap<Vec<u8>, ContentPath>,
    outcome: CycleOutcome,
}

/// An object that waits for its batch; folders have nothing staged.
struct ReadyToReturn<'a> {
    path: ContentPath,
    object: IndexedObject,
    staged: Option<Box<dyn StagedObject + 'a>>,
    /// Whether it is known what it had.
    is_known: bool,
    /// Whether the source can hold its extended attributes.
    is_whole: bool,
}

impl<'a> Restore<'a> {
    fn all(&mut self, lost: &Spool<(ContentPath, IndexedObject)>) -> Result<()> {
        // Nothing of it is read where only a look is taken.
        let what = if self.module.rehearses { What::Head } else { What::Content };
        let want = move |(path, _): &(ContentPath, IndexedObject)| {
            Some(Want { path: path.clone(), what, held: None })
        };
        for lost in expecting(&self.module.standby, lost.iter(), want) {
            let (path, known) = lost?;
            self.context.check()?;
            match self.prepare(&path, &known) {
                Ok(ready) => {
                    let bytes = ready.object.meta.size;
                    self.batch.push(ready, bytes);
                }
                // A batch was interrupted before the standby had it, or after it was deleted there.
                Err(ObjectError::Gone) if !known.settled => {}
                Err(ObjectError::Gone) => self.quarantine(&path, missing_copy()),
                Err(ObjectError::Refused(refusal)) => self.quarantine(&path, refusal),
                Err(failure) => self.refused_if_full(&path, known.meta.size, failure)?,
            }
            self.meter.item();
            if self.batch.is_full() {
                self.commit()?;
            }
        }
        self.commit()?;
        self.set_folder_times(lost)
    }

    /// Gives the folders their attributes back, last: every name that comes back changes their times. Those that their
    /// owner cannot go through then come after those within them.
    fn set_folder_times(&mut self, lost: &Spool<(ContentPath, IndexedObject)>) -> Result<()> {
        let (mut held, mut closed) = (Vec::new(), Vec::new());
        for lost in lost.iter() {
            let (path, known) = lost?;
            if known.meta.kind != ObjectKind::Folder || !known.settled {
                continue;
            }
            if known.meta.mode & OWNERS == OWNERS {
                self.set_attributes_of(path, known, &mut held)?;
            } else {
                closed.push((path, known));
            }
        }
        for (path, known) in closed.into_iter().rev() {
            self.set_attributes_of(path, known, &mut held)?;
        }
        self.settle(&mut held)
    }

    fn set_attributes_of(
        &mut self,
        path: ContentPath,
        known: IndexedObject,
        held: &mut Vec<(ContentPath, IndexedObject)>,
    ) -> Result<()> {
        self.context.check()?;
        let source = &self.module.source;
        let has_time = known.meta.mtime_ns != TIMES_UNKNOWN;
        let set = source.stat(&path).and_then(|now| {
            let mtime_ns = if has_time { known.meta.mtime_ns } else { now.mtime_ns };
            source.set_attributes(&path, Attributes { mtime_ns, ..known.meta.attributes() })?;
            source.stat(&path)
        });
        match set {
            Ok(meta) => {
                self.notice(&path, &known.meta, &meta, true);
                // The standby's has another one, until the next cycle sets both alike.
                let mtime_ns = if has_time { meta.mtime_ns } else { TIMES_UNKNOWN };
                held.push((path, IndexedObject { meta: ObjectMeta { mtime_ns, ..meta }, ..known }));
            }
            Err(ObjectError::Gone) => {}
            Err(ObjectError::Refused(refusal)) => self.quarantine(&path, refusal),
            Err(ObjectError::Store(error)) => return Err(error),
        }
        if held.len() >= BATCH_ITEMS { self.settle(held) } else { Ok(()) }
    }

    /// Notes what came back otherwise than it was.
    fn notice(&mut self, path: &ContentPath, was: &ObjectMeta, is: &ObjectMeta, is_whole: bool) {
        let is_same = (was.mode, was.owner) == (is.mode, is.owner) && is_whole;
        if !is_same && !self.module.rehearses {
            self.altered.add(path);
        }
    }

    /// Lets names be given in the folder of an object, where its owner took that right from himself.
    fn open_place_of(&mut self, path: &ContentPath) -> Result<()> {
        let Some((folder, _)) = path.split() else { return Ok(()) };
        if self.place.as_ref().is_some_and(|(place, _)| *place == folder) {
            return Ok(());
        }
        self.close_place()?;
        let source = &self.module.source;
        let opened = source.stat(&folder).and_then(|meta| {
            if meta.mode & CHANGES_NAMES == CHANGES_NAMES {
                return Ok(None);
            }
            let attributes = Attributes { owner: None, mode: meta.mode | OWNERS, ..meta.attributes() };
            source.set_attributes(&folder, attributes).map(|()| Some(meta))
        });
        self.place = match opened {
            Ok(opened) => Some((folder, opened)),
            // Giving the name says why.
            Err(ObjectError::Gone | ObjectError::Refused(_)) => Some((folder, None)),
            Err(ObjectError::Store(error)) => return Err(error),
        };
        Ok(())
    }

    fn close_place(&mut self) -> Result<()> {
        let Some((folder, Some(was))) = self.place.take() else { return Ok(()) };
        let source = &self.module.source;
        let closed = source.stat(&folder).and_then(|now| {
            let attributes = Attributes { owner: None, mode: was.mode, ..now.attributes() };
            source.set_attributes(&folder, attributes)
        });
        match closed {
            Ok(()) | Err(ObjectError::Gone) => Ok(()),
            Err(ObjectError::Refused(refusal)) => {
                self.quarantine(&folder, refusal);
                Ok(())
            }
            Err(ObjectError::Store(error)) => Err(error),
        }
    }

    fn settle(&mut self, held: &mut Vec<(ContentPath, IndexedObject)>) -> Result<()> {
        self.module.source.flush()?;
        self.index.settle(self.context.generation, held, &[])?;
        held.clear();
        Ok(())
    }

    fn mark(&mut self, is_marked: bool, pair: &IndexedPair) -> Result<()> {
        if is_marked {
            return Ok(());
        }
        self.index.check(self.context.generation)?;
        self.module.mark(MarkerRole::Source, pair.source_id)?;
        self.outcome.details.push("Gave the content store its marker back.".to_owned());
        Ok(())
    }

    /// Refuses what the source cannot hold, or takes for what comes back before it.
    fn refuse_name(&mut self, path: &ContentPath, kind: ObjectKind) -> ObjectResult<()> {
        if self.abilities.holds_every_name() {
            return Ok(());
        }
        let unfit = path.names().find_map(|name| self.abilities.refusal(name, ObjectKind::Folder));
        let last = path.split().and_then(|(_, name)| self.abilities.refusal(name, kind));
        if let Some(refusal) = unfit.or(last) {
            return Err(ObjectError::Refused(refusal));
        }
        if self.abilities.tells_all_apart() {
            return Ok(());
        }
        // A folder that gives way takes what is in it along: every folder above counts.
        let (mut key, mut above) = (Vec::new(), ContentPath::root());
        for name in path.names() {
            key.push(b'/');
            key.extend_from_slice(&self.abilities.key(name));
            above = above.join(name).unwrap_or_default();
            let taken = self.taken.entry(key.clone()).or_insert_with(|| above.clone());
            if *taken != above {
                return Err(ObjectError::Refused(taken_for(taken)));
            }
        }
        Ok(())
    }

    fn prepare(&mut self, path: &ContentPath, known: &IndexedObject) -> ObjectResult<ReadyToReturn<'a>> {
        self.refuse_name(path, known.meta.kind)?;
        let mut object = IndexedObject { settled: true, ..*known };
        let ready = |staged, object, is_whole| ReadyToReturn {
            path: path.clone(),
            object,
            staged,
            is_known: known.settled,
            is_whole,
        };
        if known.meta.kind == ObjectKind::Folder {
            // An unsettled folder's mode is not known; the standby's is what it had when it was made.
            if !known.settled {
                object.meta.mode = self.module.standby.stat(path)?.mode;
            }
            return Ok(ready(None, object, true));
        }
        if let Some(staged) = self.foresee(path, known)? {
            return Ok(ready(Some(staged), object, true));
        }
        // Whatever the copy was handed down by its folder, the original did not have it.
        let given = || Given { attributes: known.meta.attributes(), is_bare: known.extended.is_none() };
        let given = known.settled.then(given);
        let copied = self.copier.copy(path, known.meta.kind, given, &self.meter)?;
        if known.settled && known.hash.is_some_and(|hash| hash != copied.seen.hash) {
            return Err(ObjectError::Refused(damaged_copy()));
        }
        object.hash = Some(copied.seen.hash);
        object.meta.size = copied.seen.meta.size;
        Ok(ready(Some(copied.staged), object, copied.is_whole))
    }

    /// In a rehearsal: a copy that has the size and time that it was given is not read.
    fn foresee(
        &self,
        path: &ContentPath,
        known: &IndexedObject,
    ) -> ObjectResult<Option<Box<dyn StagedObject + 'a>>> {
        let is_trusted = self.module.rehearses
            && known.settled
            && self.module.standby.looks_copied(&self.module.standby.stat(path)?, known);
        let foreseen = if is_trusted { self.copier.foresee(path, known.meta.kind)? } else { None };
        Ok(foreseen.map(|foreseen| foreseen.staged))
    }

    /// Publishes a batch at the source. Afterwards the index knows the source's new objects, so that the next cycle
    /// does not send them again.
    fn commit(&mut self) -> Result<()> {
        let batch = self.batch.take();
        if batch.is_empty() {
            return Ok(());
        }
        self.index.check(self.context.generation)?;
        self.module.source.harden()?;
        let mut held = Vec::with_capacity(batch.len());
        let mut moved = Moved::default();
        // What was done before it failed or was cancelled is made durable and remembered all the same.
        let done = batch.into_iter().try_for_each(|ready| {
            self.context.check()?;
            held.extend(self.publish_one(ready, &mut moved)?);
            Ok(())
        });
        let closed = self.close_place();
        moved.batches = u64::from(!moved.is_nothing());
        self.outcome.moved.add(&moved);
        self.module.source.flush()?;
        self.index.settle(self.context.generation, &held, &[])?;
        done.and(closed)
    }

    /// What the source has again; none if it could not be published.
    fn publish_one(
        &mut self,
        ready: ReadyToReturn<'a>,
        moved: &mut Moved,
    ) -> Result<Option<(ContentPath, IndexedObject)>> {
        let ReadyToReturn { path, mut object, staged, is_known, is_whole } = ready;
        let (bytes, was) = (object.meta.size, object.meta);
        self.open_place_of(&path)?;
        match self.publish(&path, &mut object, staged, is_known) {
            Ok(Some(holds_all)) => {
                // Folders get theirs when everything is in them.
                if is_known && (was.kind != ObjectKind::Folder || !holds_all) {
                    self.notice(&path, &was, &object.meta, holds_all && is_whole);
                }
                moved.items_written += 1;
                moved.bytes = moved.bytes.saturating_add(bytes);
                let change = Change::of(&path).sized(bytes);
                record(self.context, &mut self.outcome.changes, ChangeKind::GivenBack, change);
                Ok(Some((path, object)))
            }
            // The pool made it anew meanwhile; that is the version that counts.
            Ok(None) | Err(ObjectError::Gone) => Ok(None),
            Err(ObjectError::Refused(refusal)) => {
                self.quarantine(&path, refusal);
                Ok(None)
            }
            Err(failure) => self.refused_if_full(&path, bytes, failure).map(|()| None),
        }
    }

    /// Names an object that there is no room for; others may fit.
    fn refused_if_full(&mut self, path: &ContentPath, bytes: u64, failure: ObjectError) -> Result<()> {
        match failure {
            failure if has_no_room(&failure, &self.module.source) => {
                self.quarantine(path, no_room(&self.module.source, bytes, 0));
                Ok(())
            }
            ObjectError::Store(error) => Err(error),
            ObjectError::Gone | ObjectError::Refused(_) => Ok(()),
        }
    }

    /// Says whether the source can hold the extended attributes; none where something else has the name by now.
    fn publish(
        &self,
        path: &ContentPath,
        object: &mut IndexedObject,
        staged: Option<Box<dyn StagedObject + 'a>>,
        is_known: bool,
    ) -> ObjectResult<Option<bool>> {
        let source = &self.module.source;
        let holds_all = match staged {
            Some(staged) => {
                if !staged.publish(path, false)? {
                    return Ok(None);
                }
                true
            }
            None => {
                source.make_folder(path, object.meta.mode)?;
                let is_bare = is_known && object.extended.is_none();
                let extended =
                    if is_bare { Extended::default() } else { self.module.standby.folder_extended(path)? };
                source.set_extended(path, &extended)?
            }
        };
        if !self.module.rehearses {
            object.meta = source.stat(path)?;
            if object.meta.kind == ObjectKind::Folder {
                // The standby's has another one, until this one gets its time back, or the next cycle sets both alike.
                object.meta.mtime_ns = TIMES_UNKNOWN;
            }
        }
        Ok(Some(holds_all))
    }

    fn quarantine(&mut self, path: &ContentPath, refusal: Refusal) {
        self.outcome.quarantined.push(quarantined(path, refusal));
    }
}

fn taken_for(other: &ContentPath) -> Refusal {
    Refusal::new(
        format!("The destination's file system takes its name for that of {other}, which is given back."),
        "Copy it back by hand under another name, or put the content store on a file system that tells such names apart.",
    )
}

fn missing_copy() -> Refusal {
    Refusal::new(
        "The source has lost it, and the standby copy does not have it either.",
        "Look for it in another backup. Somebody has removed it from the standby copy.",
    )
}

fn damaged_copy() -> Refusal {
    Refusal::new(
        "The source has lost it, and the standby's copy is not what was copied: somebody changed it, or the device did.",
        "Look at the standby's copy; copy it back by hand if it is good enough, or take it from another backup.",
    )
}
