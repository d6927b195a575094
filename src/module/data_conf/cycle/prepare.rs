//! What is done for one object before anybody sees it; on several threads, because most of it is waiting.

use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Mutex, PoisonError};

use super::super::DataConf;
use super::super::copier::{Changed, Copied, Copier, HeldContent, ReadVersion};
use super::super::meter::Meter;
use super::super::plan::{ObjectStep, ObjectWork};
use super::super::walk::is_young;
use crate::error::Result;
use crate::module::Context;
use crate::store::content::groups::{Groups, groups_of};
use crate::store::content::index::{ContentIndex, HeldGroups, IndexedObject, TIMES_UNKNOWN};
use crate::store::content::{
    Attributes, ContentPath, ContentStore, Extended, ObjectError, ObjectKind, ObjectMeta, ObjectResult,
    StagedObject, mode_of_copy,
};
use crate::store::threads::join_all;

/// How many prepared objects may wait to be taken. They hold no memory to speak of, but space at the standby.
const PREPARED_AHEAD: usize = 64;

/// An object that waits for its batch to be committed.
pub(super) struct Ready<'a> {
    pub(super) path: ContentPath,
    pub(super) object: IndexedObject,
    pub(super) action: Action<'a>,
    /// The groups of a big file that is to be published.
    pub(super) groups: Option<Groups>,
    /// Whether the standby can hold its extended attributes.
    pub(super) is_whole: bool,
    /// The number under which what it replaces is kept.
    pub(super) kept: Option<u32>,
    /// What asked for it, once it is in a batch.
    pub(super) step: Option<ObjectStep>,
    /// What the standby was known to hold under this name.
    pub(super) over: Option<IndexedObject>,
    /// Whether the source's file has several names.
    pub(super) is_linked: bool,
    /// The name that the standby's file had.
    pub(super) renamed_from: Option<ContentPath>,
}

impl<'a> Ready<'a> {
    fn new(path: ContentPath, object: IndexedObject, action: Action<'a>) -> Self {
        Ready {
            path,
            object,
            action,
            groups: None,
            is_whole: true,
            kept: None,
            over: None,
            renamed_from: None,
            step: None,
            is_linked: false,
        }
    }
}

pub(super) enum Action<'a> {
    /// Publish the staged file or link; so many bytes were sent for it.
    Publish(Box<dyn StagedObject + 'a>, u64),
    /// The content is what the standby holds under this name.
    Rename(ContentPath),
    /// Make the folder, and set its extended attributes where they are others.
    Folder { in_place_of_file: bool, extended: Option<Extended>, is_real: bool },
    /// The content is equal; set the rest, and the extended attributes where they are others.
    Attributes { attributes: Attributes, extended: Option<Extended>, is_real: bool },
    /// Nothing but the index changes.
    Remember,
}

/// What became of a step: none if nothing is to be done after all.
pub(super) type Prepared<'a> = ObjectResult<Option<Ready<'a>>>;

/// Prepares every step on so many threads, of which a single one keeps the order; `take` gets what becomes of each.
/// When it fails, the rest is left.
pub(super) fn prepare_all<'a>(
    module: &'a DataConf,
    context: &Context,
    scan_ns: i64,
    meter: &Meter<'_>,
    steps: impl Iterator<Item = Result<ObjectStep>> + Send,
    threads: usize,
    take: impl FnMut(ObjectStep, Prepared<'a>) -> Result<()>,
) -> Result<()> {
    let cancel = context.cancel.child_token();
    let own = Context { cancel: cancel.clone(), ..context.clone() };
    let steps = Mutex::new(steps);
    let (sender, prepared) = sync_channel(PREPARED_AHEAD);
    std::thread::scope(|scope| {
        let spawn = |_| {
            let (own, steps, sender) = (&own, &steps, sender.clone());
            scope.spawn(move || Preparer::new(module, own, scan_ns, meter).serve(steps, &sender))
        };
        let threads = (0..threads).map(spawn).collect();
        drop(sender);
        let done = take_all(prepared, take);
        // Whoever is in the middle of a big file need not finish it.
        cancel.cancel();
        join_all(threads);
        done
    })
}

fn take_all<'a>(
    prepared: Receiver<Result<(ObjectStep, Prepared<'a>)>>,
    mut take: impl FnMut(ObjectStep, Prepared<'a>) -> Result<()>,
) -> Result<()> {
    prepared.into_iter().try_for_each(|prepared| prepared.and_then(|(step, prepared)| take(step, prepared)))
}

pub(super) struct Preparer<'a, 'c> {
    module: &'a DataConf,
    context: &'c Context,
    scan_ns: i64,
    meter: &'c Meter<'c>,
    pub(super) copier: Copier<'a, 'c>,
    /// Whether what only may have changed is read before it is copied, because there is little room.
    pub(super) reads_first: bool,
    /// The index, once something was asked of it.
    index: Option<ContentIndex>,
}

impl<'a, 'c> Preparer<'a, 'c> {
    pub(super) fn new(
        module: &'a DataConf,
        context: &'c Context,
        scan_ns: i64,
        meter: &'c Meter<'_>,
    ) -> Self {
        let copier = Copier::new(&module.source, &module.standby, context);
        Preparer { module, context, scan_ns, meter, copier, reads_first: false, index: None }
    }

    fn serve(
        mut self,
        steps: &Mutex<impl Iterator<Item = Result<ObjectStep>>>,
        sender: &SyncSender<Result<(ObjectStep, Prepared<'a>)>>,
    ) {
        let next = || steps.lock().unwrap_or_else(PoisonError::into_inner).next();
        while let Some(step) = next() {
            let done = step.map(|step| {
                let prepared = self.context.check().map_err(ObjectError::Store);
                let prepared = prepared.and_then(|()| self.prepare(&step));
                (step, prepared)
            });
            if sender.send(done).is_err() {
                return;
            }
        }
    }

    pub(super) fn prepare(&mut self, step: &ObjectStep) -> Prepared<'a> {
        let path = step.path.clone();
        match &step.work {
            ObjectWork::Folder(known) => self.folder(path, known.as_deref(), false).map(Some),
            ObjectWork::FolderForFile => self.folder(path, None, true).map(Some),
            ObjectWork::Compare(known) => self.compare(path, known),
            ObjectWork::Copy => self.stage(path, ObjectKind::File, step.over()).map(Some),
            ObjectWork::Rename(earlier) => self.rename(path, earlier, step.over()).map(Some),
            ObjectWork::Link => self.stage(path, ObjectKind::Link, step.over()).map(Some),
        }
    }

    fn ready(&self, path: ContentPath, seen: &ReadVersion, action: Action<'a>) -> Ready<'a> {
        let (hash, extended) = (Some(seen.hash), seen.extended.digest());
        let object =
            IndexedObject { meta: seen.meta, hash, extended, indexed_ns: self.scan_ns, settled: true };
        Ready::new(path, object, action)
    }

    fn stage(
        &mut self,
        path: ContentPath,
        kind: ObjectKind,
        over: Option<&IndexedObject>,
    ) -> ObjectResult<Ready<'a>> {
        if self.module.is_refused.load(Ordering::Relaxed) {
            self.module.standby.check_place(&path)?;
        }
        let may_foresee = self.module.rehearses && !self.may_be_of_others(&path, over)?;
        let foreseen = if may_foresee { self.copier.foresee(&path, kind)? } else { None };
        let held = if foreseen.is_none() { self.held_elsewhere(&path, over)? } else { None };
        let copied = match (foreseen, held) {
            (Some(foreseen), _) => foreseen,
            (None, Some(held)) => match self.copier.copy_changed(&path, &held, self.meter)? {
                Changed::Yes(copied) => copied,
                // It became what it was; the next cycle sees that.
                Changed::No(_) => return Err(ObjectError::Gone),
            },
            (None, None) => self.copier.copy(&path, kind, None, self.meter)?,
        };
        Ok(self.staged(path, copied))
    }

    /// What the standby holds of a big file that has another size now, where each byte of it would have to come from another
    /// machine.
    fn held_elsewhere(
        &mut self,
        path: &ContentPath,
        over: Option<&IndexedObject>,
    ) -> ObjectResult<Option<HeldContent>> {
        let Some((over, hash)) = over.and_then(|over| Some((over, over.hash?))) else { return Ok(None) };
        if !self.module.source.is_elsewhere() || over.meta.kind != ObjectKind::File {
            return Ok(None);
        }
        let groups = self.held_groups(path, over.meta.size, hash)?;
        Ok(groups.map(|groups| HeldContent { hash, groups: Some(groups) }))
    }

    /// Whether the standby has something under this name of which only its content tells whether this product put it there.
    fn may_be_of_others(&self, path: &ContentPath, over: Option<&IndexedObject>) -> ObjectResult<bool> {
        match self.module.standby.stat(path) {
            Ok(found) => Ok(!over.is_some_and(|over| self.module.standby.looks_copied(&found, over))),
            Err(ObjectError::Gone | ObjectError::Refused(_)) => Ok(false),
            Err(failure) => Err(failure),
        }
    }

    fn staged(&self, path: ContentPath, copied: Copied<'a>) -> Ready<'a> {
        let Copied { staged, seen, sent, is_whole } = copied;
        let ready = self.ready(path, &seen, Action::Publish(staged, sent));
        Ready { groups: seen.groups, is_whole, is_linked: seen.names > 1, ..ready }
    }

    fn rename(
        &mut self,
        path: ContentPath,
        (earlier_path, earlier): &(ContentPath, IndexedObject),
        over: Option<&IndexedObject>,
    ) -> ObjectResult<Ready<'a>> {
        let seen = self.copier.hash(&path, ObjectKind::File, self.meter)?;
        let is_same = earlier.hash == Some(seen.hash)
            && earlier.extended == seen.extended.digest()
            && earlier.meta.attributes() == seen.meta.attributes();
        if is_same {
            return Ok(self.ready(path, &seen, Action::Rename(earlier_path.clone())));
        }
        self.meter.take_back(seen.meta.size);
        self.stage(path, ObjectKind::File, over)
    }

    fn folder(
        &self,
        path: ContentPath,
        known: Option<&IndexedObject>,
        in_place_of_file: bool,
    ) -> ObjectResult<Ready<'a>> {
        let meta = self.module.source.stat(&path)?;
        if meta.kind != ObjectKind::Folder {
            // Replaced by a file since the walk.
            return Err(ObjectError::Gone);
        }
        let found = match self.module.source.folder_extended(&path) {
            Ok(found) => Some(found),
            // The walk has named it.
            Err(ObjectError::Refused(_)) => None,
            Err(failure) => return Err(failure),
        };
        let digest = match &found {
            Some(found) => found.digest(),
            None => known.and_then(|known| known.extended),
        };
        let differs = |known: &IndexedObject| {
            (known.meta.mode, known.meta.owner, known.extended) != (meta.mode, meta.owner, digest)
        };
        let is_real = known.is_none_or(differs);
        // Even if there are none: a new folder may have inherited some from the one that it is in.
        let extended = found.filter(|_| known.is_none_or(|known| !known.settled || known.extended != digest));
        let action = Action::Folder { in_place_of_file, extended, is_real };
        // The standby's folder gets the time of the source's when everything is in it.
        let meta = ObjectMeta { mtime_ns: TIMES_UNKNOWN, ..meta };
        let object =
            IndexedObject { meta, hash: None, extended: digest, indexed_ns: self.scan_ns, settled: true };
        Ok(Ready::new(path, object, action))
    }

    fn compare(&mut self, path: ContentPath, known: &IndexedObject) -> Prepared<'a> {
        let kind = known.meta.kind;
        let seen = match self.held_of_written(&path, known)? {
            Some(held) => match self.copier.copy_changed(&path, &held, self.meter)? {
                Changed::Yes(copied) => return Ok(Some(self.staged(path, copied))),
                Changed::No(seen) => seen,
            },
            None => self.copier.hash(&path, kind, self.meter)?,
        };
        let held = if known.settled { known.hash } else { self.held(&path, kind)? };
        if held != Some(seen.hash) {
            self.meter.take_back(seen.meta.size);
            return self.stage(path, kind, Some(known)).map(Some);
        }
        let (meta, digest) = (seen.meta, seen.extended.digest());
        let is_extended = known.settled && known.extended == digest;
        if !is_extended || !known.settled || meta.attributes() != known.meta.attributes() {
            if kind == ObjectKind::Link {
                return self.stage(path, kind, Some(known)).map(Some);
            }
            let extended = (!is_extended).then(|| seen.extended.clone());
            // The standby's own mode, where the index was lost: the copy is kept readable.
            let is_real = known.settled || known.meta.mode != mode_of_copy(kind, meta.mode);
            let attributes = meta.attributes().of_copy(kind);
            let action = Action::Attributes { attributes, extended, is_real };
            return Ok(Some(self.ready(path, &seen, action)));
        }
        // As long as it is young it is compared in every cycle, whatever the index says.
        let nothing_new = meta.is_same_version(&known.meta)
            && is_young(&meta, self.scan_ns, self.module.source.tick_ns(), self.scan_ns);
        Ok((!nothing_new).then(|| self.ready(path, &seen, Action::Remember)))
    }

    /// What the standby holds of a file that was written to, as its time says: then it is copied while it is compared,
    /// instead of being read twice. None for other files, of which most turn out to be equal.
    fn held_of_written(
        &mut self,
        path: &ContentPath,
        known: &IndexedObject,
    ) -> ObjectResult<Option<HeldContent>> {
        if self.reads_first || !known.settled || known.meta.kind != ObjectKind::File {
            return Ok(None);
        }
        let was_written = self.module.source.stat(path)?.mtime_ns != known.meta.mtime_ns;
        let Some(hash) = known.hash.filter(|_| was_written) else { return Ok(None) };
        Ok(Some(HeldContent { hash, groups: self.held_groups(path, known.meta.size, hash)? }))
    }

    /// The groups of what the standby holds of a big file, if they are known. A verification believes nobody.
    fn held_groups(
        &mut self,
        path: &ContentPath,
        size: u64,
        hash: [u8; 32],
    ) -> ObjectResult<Option<HeldGroups>> {
        if groups_of(size).is_none() || self.context.verify {
            return Ok(None);
        }
        if self.index.is_none() {
            self.index = self.module.index.open_existing(&self.module.pool)?;
        }
        Ok(self.index.as_ref().map(|index| index.groups(path, hash)).transpose()?.flatten())
    }

    /// The content that the standby holds under a name of which the index knows nothing; none if it cannot be read.
    fn held(&mut self, path: &ContentPath, kind: ObjectKind) -> ObjectResult<Option<[u8; 32]>> {
        match self.copier.hash_of_copy(path, kind) {
            Ok(held) => Ok(Some(held.hash)),
            Err(ObjectError::Gone | ObjectError::Refused(_)) => Ok(None),
            Err(failure) => Err(failure),
        }
    }
}
