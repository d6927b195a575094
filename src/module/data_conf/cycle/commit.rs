//! Publishes a batch of prepared objects at the standby.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;

use super::super::DataConf;
use super::super::batch::BATCH_ITEMS;
use super::super::copier::Copier;
use super::super::walk::ObjectDifference;
use super::{Action, Cycle, Ready, has_no_room};
use crate::error::Result;
use crate::report::{Change, ChangeKind, Moved};
use crate::store::content::groups::Groups;
use crate::store::content::hints::Want;
use crate::store::content::index::{ContentIndex, HeldGroups, IndexedObject, TIMES_UNKNOWN};
use crate::store::content::{
    Attributes, ContentPath, ContentStore, ObjectError, ObjectKind, ObjectMeta, ObjectResult, Version,
};
use crate::store::threads::join;

impl DataConf {
    /// The name under which the standby holds a new file of the source, as far as can be told without reading it: of
    /// a file that was this inode, and is not there any more.
    pub(super) fn earlier_name(
        &self,
        index: &ContentIndex,
        path: &ContentPath,
        found: &ObjectDifference,
    ) -> Option<(ContentPath, IndexedObject)> {
        let ObjectDifference::Write { meta, .. } = found else { return None };
        earlier_names(index, path, found).into_iter().find(|(earlier, _)| {
            // A second name of the same file is a file of its own.
            !self.source.stat(earlier).is_ok_and(|now| (now.inode, now.device) == (meta.inode, meta.device))
        })
    }
}

/// The names under which the standby holds what may be a new file of the source.
pub(super) fn earlier_names(
    index: &ContentIndex,
    path: &ContentPath,
    found: &ObjectDifference,
) -> Vec<(ContentPath, IndexedObject)> {
    let ObjectDifference::Write { meta, .. } = found else { return Vec::new() };
    if meta.kind != ObjectKind::File {
        return Vec::new();
    }
    // An index that cannot be read any more stops the cycle elsewhere.
    let mut names = index.files_of_inode(meta).unwrap_or_default();
    names.retain(|(earlier, known)| {
        earlier != path && (known.meta.size, known.meta.mtime_ns) == (meta.size, meta.mtime_ns)
    });
    names
}

impl<'a> Cycle<'a, '_> {
    /// Publishes a batch. What the index says beforehand lets the next cycle find every name that this one leaves
    /// behind if the process dies, and refuses an older generation before anything is changed.
    pub(super) fn commit(&mut self) -> Result<()> {
        let mut batch = self.batch.take();
        if batch.is_empty() {
            return Ok(());
        }
        self.context.check()?;
        self.note_batch(&mut batch)?;
        let (module, is_keeping) = (self.module, self.is_keeping());
        let standby = &module.standby;
        let grouped: Vec<_> =
            batch.iter_mut().filter_map(|ready| Some((ready.path.clone(), ready.groups.take()?))).collect();
        let is_published = batch.iter().any(|ready| matches!(ready.action, Action::Publish(..)));
        let harden = || {
            if is_published {
                standby.harden()?;
            }
            // What the other one has made durable costs nothing here.
            if is_keeping { standby.history().sync() } else { Ok(()) }
        };
        let (hardened, begun) = std::thread::scope(|scope| {
            // Which waits for the disk, and the batch is begun meanwhile.
            let hardening = (is_published || is_keeping).then(|| scope.spawn(harden));
            let begun = self.begin(batch);
            (hardening.map_or(Ok(()), join), begun)
        });
        hardened?;
        let (batch, foreign) = begun?;
        let generation = self.context.generation;
        let mut held = Vec::with_capacity(batch.len());
        let mut moved = Moved::default();
        // What was done before it failed or was cancelled is made durable and remembered all the same.
        let done = batch.into_iter().try_for_each(|ready| {
            self.context.check()?;
            let is_foreign = foreign.contains(&ready.path);
            held.extend(self.publish_one(ready, is_foreign, &mut moved)?);
            Ok(())
        });
        moved.batches = u64::from(!moved.is_nothing());
        self.outcome.moved.add(&moved);
        self.module.standby.flush()?;
        self.linked.batch_ended();
        let losses = std::mem::take(&mut self.losses);
        self.index.settle_losing(generation, &held, &[], &losses, &self.day)?;
        self.remember_groups(grouped)?;
        done
    }

    /// Remembers the groups of big files that were published, and which files of the standby have them now.
    fn remember_groups(&mut self, grouped: Vec<(ContentPath, Groups)>) -> Result<()> {
        let mut found = Vec::with_capacity(grouped.len());
        for (path, groups) in grouped {
            let held = self.index.held(&path)?;
            match self.module.standby.stat(&path) {
                Ok(copy)
                    if held.is_some_and(|held| self.module.standby.looks_copied(&copy, &held.object)) =>
                {
                    found.push((path, HeldGroups { groups, instance: copy.instance() }));
                }
                Ok(_) | Err(ObjectError::Gone | ObjectError::Refused(_)) => {}
                Err(ObjectError::Store(error)) => return Err(error),
            }
        }
        self.index.remember_groups(self.context.generation, &found)
    }

    /// Says in the index what is about to change, and finds what others have changed there.
    fn begin(&mut self, batch: Vec<Ready<'a>>) -> Result<(Vec<Ready<'a>>, BTreeSet<ContentPath>)> {
        let batch = self.name_renamed(batch)?;
        let changing = || batch.iter().filter(|ready| !matches!(ready.action, Action::Remember));
        let mut foreign = BTreeSet::new();
        for ready in changing() {
            self.find_foreign(&ready.path, ready.object.hash, &mut foreign)?;
        }
        let paths = changing().map(|ready| (&ready.path, ready.object.meta.kind, ready.object.hash));
        if let Err(error) = self.index.begin(self.context.generation, paths) {
            self.put_off_batch(batch, error)?;
            return Ok((Vec::new(), BTreeSet::new()));
        }
        Ok((batch, foreign))
    }

    /// What the standby holds then; none if it could not be published.
    fn publish_one(
        &mut self,
        ready: Ready<'a>,
        is_foreign: bool,
        moved: &mut Moved,
    ) -> Result<Option<(ContentPath, IndexedObject)>> {
        let loss = Self::loss(&ready);
        let Ready {
            path, mut object, mut action, is_whole, kept, over, is_linked, renamed_from, step, ..
        } = ready;
        let kind = kind_of(&action, over.as_ref(), renamed_from.as_ref());
        let (bytes, is_real) = match &action {
            Action::Publish(_, bytes) => (*bytes, true),
            Action::Folder { is_real, .. } | Action::Attributes { is_real, .. } => (0, *is_real),
            Action::Rename(_) | Action::Remember => (0, false),
        };
        let changes_standby = is_real || matches!(action, Action::Attributes { .. });
        let free = match &action {
            _ if is_foreign => self.make_way(&path, &action),
            Action::Folder { .. } if kept.is_some() => self.take_removed(&path, ObjectKind::File, kept),
            Action::Publish(staged, _) if staged.has_parts() => self.keep_parts(&mut action, kept),
            _ => self.keep_replaced(&path, kept),
        };
        let standby = &self.module.standby;
        match free.and_then(|()| publish(standby, &path, &object, action)) {
            Ok(holds_all) => {
                if let Some(earlier) = &renamed_from {
                    self.renamed_from(earlier);
                }
                self.incomplete += u64::from(!(holds_all && is_whole));
                moved.items_written += u64::from(is_real);
                self.losses.extend(loss);
                if is_linked && matches!(kind, ChangeKind::Copied | ChangeKind::Replaced) {
                    self.linked.add(&self.index, &path, &object.meta)?;
                }
                if is_real {
                    self.notice_time(&path, &object);
                    let change = Change::of(&path).sized(object.meta.size).named_before(renamed_from);
                    self.record(kind, change);
                }
                moved.bytes = moved.bytes.saturating_add(bytes);
                // What was only rehearsed is not what the standby holds.
                object.settled = !(self.module.rehearses && changes_standby);
                Ok(Some((path, object)))
            }
            Err(ObjectError::Gone) => Ok(None),
            Err(ObjectError::Refused(refusal)) => {
                self.left.object(&object.meta);
                self.module.is_refused.store(true, Ordering::Relaxed);
                self.quarantine(&path, refusal);
                Ok(None)
            }
            Err(failure) => self.put_off_if_full(step, failure).map(|()| None),
        }
    }

    /// Gives what was renamed its new name, where nobody sees it yet. What the standby holds under the earlier name
    /// has not changed since: batches are published one after the other. Where that is not possible it is copied.
    fn name_renamed(&mut self, batch: Vec<Ready<'a>>) -> Result<Vec<Ready<'a>>> {
        let mut named = Vec::with_capacity(batch.len());
        for ready in batch {
            let Action::Rename(earlier) = &ready.action else {
                named.push(ready);
                continue;
            };
            let renamed = self.renamed;
            match self.name_one(&ready, earlier) {
                Ok(action) => {
                    let renamed_from = (self.renamed > renamed).then(|| earlier.clone());
                    named.push(Ready { action, renamed_from, ..ready });
                }
                Err(failure) if has_no_room(&failure, &self.module.standby) => {
                    self.put_off_if_full(ready.step, failure)?;
                }
                // Gone since it was compared.
                Err(ObjectError::Gone) => {}
                Err(ObjectError::Refused(refusal)) => {
                    self.left.object(&ready.object.meta);
                    self.quarantine(&ready.path, refusal);
                }
                Err(ObjectError::Store(error)) => return Err(error),
            }
        }
        Ok(named)
    }

    fn name_one(&mut self, ready: &Ready<'a>, earlier: &ContentPath) -> ObjectResult<Action<'a>> {
        let standby = &self.module.standby;
        let (meta, hash) = (&ready.object.meta, ready.object.hash);
        let held = self.index.held(earlier)?;
        if held.is_some_and(|held| held.object.settled && held.object.hash == hash) {
            let version = Version { size: meta.size, attributes: meta.attributes().of_copy(meta.kind) };
            if let Some(staged) = standby.stage_same(earlier, version)? {
                self.renamed += 1;
                return Ok(Action::Publish(staged, 0));
            }
        }
        let mut copier = Copier::new(&self.module.source, standby, self.context);
        let copied = copier.copy(&ready.path, ObjectKind::File, None, self.meter)?;
        // It was compared a moment ago; if it changed since, the next cycle copies it.
        if Some(copied.seen.hash) == hash {
            Ok(Action::Publish(copied.staged, copied.sent))
        } else {
            Err(ObjectError::Gone)
        }
    }

    /// Gives the folders in which names changed the times of the source's, last: every new name changes them.
    pub(super) fn set_folder_times(&mut self) -> Result<()> {
        let mut last = None;
        loop {
            let folders = self.index.folders_of_unknown_times(last.as_ref(), BATCH_ITEMS)?;
            let Some((folder, _)) = folders.last() else { return Ok(()) };
            last = Some(folder.clone());
            self.context.check()?;
            if self.module.source.is_elsewhere() {
                let looked_at = folders.iter().filter(|(_, known)| known.settled);
                self.module
                    .source
                    .expect(looked_at.map(|(folder, _)| Want::head(folder.clone())).collect())?;
            }
            let mut held = Vec::with_capacity(folders.len());
            for (folder, mut known) in folders.into_iter().filter(|(_, known)| known.settled) {
                let set = self.set_times_of(&folder, &mut known);
                match self.of_object(set) {
                    Ok(()) => {
                        self.notice_time(&folder, &known);
                        held.push((folder, known));
                    }
                    Err(ObjectError::Gone) => {}
                    // Of a folder in which nothing can be written that was said already.
                    Err(ObjectError::Refused(_)) if self.is_named_within(&folder) => {}
                    Err(ObjectError::Refused(refusal)) => self.quarantine(&folder, refusal),
                    Err(ObjectError::Store(error)) => return Err(error),
                }
            }
            self.module.standby.flush()?;
            self.index.settle(self.context.generation, &held, &[])?;
        }
    }

    /// Notes an object whose time is not its own any more. A folder's is set once everything is in it.
    fn notice_time(&mut self, path: &ContentPath, object: &IndexedObject) {
        let mtime_ns = object.meta.mtime_ns;
        let is_bound = [ObjectMeta::EARLIEST_NS, ObjectMeta::LATEST_NS].contains(&mtime_ns);
        if is_bound || mtime_ns != TIMES_UNKNOWN && !self.places.abilities.keeps_time(mtime_ns) {
            self.untimed.add(path);
        }
    }

    /// Gives the standby's root the owner and permissions of the source's, as everything in it has them.
    pub(super) fn set_attributes_of_root(&mut self) -> Result<()> {
        let (source, standby, root) = (&self.module.source, &self.module.standby, ContentPath::root());
        let looked = source.stat(&root).and_then(|theirs| Ok((theirs, standby.stat(&root)?)));
        let set = match looked {
            Ok((theirs, ours)) => {
                let theirs_here = theirs.attributes().of_copy(ObjectKind::Folder);
                if ours.mode == theirs_here.mode && (ours.owner == theirs.owner || !standby.keeps_owners()) {
                    return Ok(());
                }
                standby.set_attributes(&root, Attributes { mtime_ns: ours.mtime_ns, ..theirs_here })
            }
            Err(ObjectError::Gone | ObjectError::Refused(_)) => return Ok(()),
            Err(failure) => Err(failure),
        };
        match self.of_object(set) {
            Ok(()) | Err(ObjectError::Gone) => Ok(()),
            Err(ObjectError::Refused(refusal)) => {
                self.quarantine(&root, refusal);
                Ok(())
            }
            Err(ObjectError::Store(error)) => Err(error),
        }
    }

    fn set_times_of(&self, folder: &ContentPath, known: &mut IndexedObject) -> ObjectResult<()> {
        known.meta.mtime_ns = match self.module.source.stat(folder) {
            Ok(meta) => meta.mtime_ns,
            // What cannot be looked at any more is named by the next walk.
            Err(ObjectError::Refused(_)) => return Err(ObjectError::Gone),
            Err(failure) => return Err(failure),
        };
        self.module.standby.set_attributes(folder, known.meta.attributes().of_copy(known.meta.kind))
    }
}

/// What an object that is published is called in the report.
fn kind_of(action: &Action<'_>, over: Option<&IndexedObject>, from: Option<&ContentPath>) -> ChangeKind {
    match (action, over) {
        (Action::Publish(..), _) if from.is_some() => ChangeKind::Renamed,
        (Action::Attributes { .. }, _) => ChangeKind::Attributes,
        (Action::Folder { .. }, Some(over)) if over.meta.kind == ObjectKind::Folder => ChangeKind::Attributes,
        (_, Some(_)) => ChangeKind::Replaced,
        (_, None) => ChangeKind::Copied,
    }
}

/// Does what was prepared; says whether the standby can hold the extended attributes.
fn publish(
    standby: &dyn ContentStore,
    path: &ContentPath,
    object: &IndexedObject,
    action: Action<'_>,
) -> ObjectResult<bool> {
    let extended = match action {
        Action::Remember | Action::Rename(_) => None,
        Action::Publish(staged, _) => {
            staged.publish(path, true)?;
            None
        }
        Action::Attributes { attributes, extended, .. } => {
            standby.set_attributes(path, attributes)?;
            extended
        }
        Action::Folder { in_place_of_file, extended, .. } => {
            match standby.make_folder(path, object.meta.mode) {
                Err(ObjectError::Refused(_)) if in_place_of_file && !is_folder(standby, path) => {
                    standby.remove(path, ObjectKind::File)?;
                    standby.make_folder(path, object.meta.mode)?;
                }
                made => made?,
            }
            extended
        }
    };
    extended.map_or(Ok(true), |extended| standby.set_extended(path, &extended))
}

fn is_folder(standby: &dyn ContentStore, path: &ContentPath) -> bool {
    standby.stat(path).is_ok_and(|meta| meta.kind == ObjectKind::Folder)
}
