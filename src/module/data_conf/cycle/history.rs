//! Keeps what a cycle replaces and removes at the standby, so that the state before it can be restored.

use std::collections::{BTreeSet, HashSet};

use jiff::SignedDuration;

use super::{Action, BATCH_ITEMS, ContentPath, ContentStore, Cycle, ObjectError, ObjectKind, Ready, Result};
use crate::error::{Error, ErrorKind};
use crate::store::content::history::{Before, KeptRevision, Revision, Was, WasContent};
use crate::store::content::index::{FolderParts, HeldObject, IndexedPair, TIMES_UNKNOWN};
use crate::store::content::{Extended, ObjectResult};
use crate::store::history_full;
use crate::topology::HistoryLimits;

/// What a cycle keeps of what it changes.
#[derive(Default)]
pub(super) struct Keeping {
    /// The state before the cycle; none where nothing is kept.
    revision: Option<Revision>,
    is_begun: bool,
    /// The first number that no file is kept under.
    next: u32,
    /// Files that have another name by now: digests of the earlier ones.
    renamed: HashSet<[u8; 16]>,
    /// How many objects were replaced or removed.
    objects: u64,
    /// How long the files are that this cycle keeps.
    bytes: u64,
}

impl Keeping {
    /// How many bytes would be free at most if nothing of this cycle were kept.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Numbers the next file that is kept.
    fn number(&mut self) -> u32 {
        let number = self.next;
        self.next = number.saturating_add(1);
        number
    }

    /// What the report says of it.
    pub(super) fn details(&self) -> Option<String> {
        let of = self.revision.filter(|_| self.is_begun && self.objects > 0)?;
        Some(format!(
            "What was replaced or deleted ({}) is kept: the state before can be restored as revision {}.",
            self.objects, of.number
        ))
    }
}

/// The state that the standby is in, or was before a cycle that has not ended. The index may not know yet that one has.
pub(in super::super) fn current(pair: &IndexedPair, kept: &[KeptRevision]) -> Option<Revision> {
    let ended = kept.iter().find_map(|kept| Some((kept.next?, kept.until?)));
    let known = pair.revision?;
    match ended {
        Some((next, until)) if next > known.number => {
            Some(Revision { number: next, since: until, job: None, bytes: known.bytes })
        }
        _ => Some(known),
    }
}

/// The revisions that lead back from this one, the newest first: those that a gap separates from it cannot be made again.
pub(in super::super) fn chain(
    kept: Vec<KeptRevision>,
    current: u32,
) -> (Vec<KeptRevision>, Vec<KeptRevision>) {
    let mut wanted = current;
    kept.into_iter().partition(|kept| {
        let leads_here = match kept.next {
            Some(next) => next == wanted,
            None => kept.revision.number == wanted,
        };
        if leads_here {
            wanted = kept.revision.number;
        }
        leads_here
    })
}

fn digest(path: &ContentPath) -> [u8; 16] {
    let mut digest = [0; 16];
    digest.copy_from_slice(&blake3::hash(path.as_bytes()).as_bytes()[..16]);
    digest
}

fn absent(path: &ContentPath) -> Before {
    Before { path: path.clone(), was: None }
}

impl Cycle<'_, '_> {
    /// Finds the state before the cycle, from which on everything that changes is kept. Of a first copy nothing is: there was
    /// no state before.
    pub(super) fn begin_keeping(&mut self) -> Result<()> {
        let limits = &self.module.history;
        let is_wanted = limits.is_strict || limits.keep > SignedDuration::ZERO && limits.max.bytes(0) > 0;
        let Some(pair) = self.index.pair()?.filter(|_| is_wanted) else { return Ok(()) };
        let kept = match self.module.standby.history().revisions() {
            Ok(kept) => kept,
            Err(error) if limits.is_strict => return Err(self.cannot_keep(&error.message)),
            Err(error) => {
                self.index.skip_revision(self.context.generation)?;
                self.warn_of_history(&error.message);
                return Ok(());
            }
        };
        self.keeping.revision = current(&pair, &kept);
        let (bytes, most) =
            (kept_bytes(&kept), limits.max.bytes(pair.revision.map_or(0, |known| known.bytes)));
        if limits.is_strict && bytes > most {
            return Err(history_full(&self.module.standby.url(), bytes, most));
        }
        self.module.standby.history().expect_changes();
        // A cycle that did not end has begun already.
        if kept.first().is_some_and(|newest| newest.next.is_none()) {
            self.keep_all(&[])?;
        }
        Ok(())
    }

    /// Notes what is about to change. A full disk drops earlier states first, the oldest before the others.
    fn keep_all(&mut self, notes: &[Before]) -> Result<()> {
        if self.keeping.revision.is_some() {
            // What is noted is another owner's where a newer one is at work.
            self.index.check(self.context.generation)?;
        }
        while let Some(revision) = self.keeping.revision {
            let history = self.module.standby.history();
            let noted = if self.keeping.is_begun { Ok(None) } else { history.begin(&revision).map(Some) };
            let noted = noted.and_then(|next| history.note(notes).map(|()| next));
            match noted {
                Ok(next) => {
                    self.keeping.next = next.unwrap_or(self.keeping.next);
                    self.keeping.is_begun = true;
                    return Ok(());
                }
                Err(error) => self.give_up_some(error)?,
            }
        }
        Ok(())
    }

    /// What was noted becomes durable.
    fn sync_notes(&self) -> Result<()> {
        if self.is_keeping() { self.module.standby.history().sync() } else { Ok(()) }
    }

    pub(super) fn is_keeping(&self) -> bool {
        self.keeping.revision.is_some() && self.keeping.is_begun
    }

    /// Drops the oldest state where the disk is full. Where nothing is left to drop, or nothing may be written, nothing is kept
    /// any more and the administrator is told: the copy goes on.
    fn give_up_some(&mut self, error: Error) -> Result<()> {
        match error.kind {
            ErrorKind::DiskFull if self.drop_oldest().unwrap_or(false) => return Ok(()),
            ErrorKind::DiskFull | ErrorKind::AccessDenied => {}
            _ => return Err(error),
        }
        // A disk on which nothing was kept has lost nothing.
        if !self.stop_keeping(&error.message)? && error.kind != ErrorKind::DiskFull {
            self.warn_of_history(&error.message);
        }
        Ok(())
    }

    /// Gives up even the state before this cycle; says whether anything was kept of it.
    pub(super) fn stop_keeping_for_room(&mut self) -> Result<bool> {
        Ok(self.is_keeping() && self.stop_keeping("The disk of the standby copy is full.")?)
    }

    /// Keeps nothing any more; says whether anything was kept. Refused where nothing that is kept may go before its time.
    pub(super) fn stop_keeping(&mut self, why: &str) -> Result<bool> {
        if self.module.history.is_strict && self.keeping.revision.is_some() {
            return Err(self.cannot_keep(why));
        }
        if self.keeping.revision.take().is_none() {
            return Ok(false);
        }
        // What a gap separates from the state of now is of no use. What cannot be removed must not be taken for what leads
        // there, should this cycle not end.
        self.index.skip_revision(self.context.generation)?;
        let history = self.module.standby.history();
        let kept = history.revisions().unwrap_or_default();
        for kept in &kept {
            let _ = history.remove_revision(kept.revision.number);
        }
        if !kept.is_empty() {
            self.warn_of_history(why);
        }
        Ok(!kept.is_empty())
    }

    fn cannot_keep(&self, why: &str) -> Error {
        let place = self.module.standby.url();
        Error::new(
            ErrorKind::HistoryFull,
            format!("{place} is written from another machine, and what it holds now cannot be kept: {why}"),
            "Free space where the copy lies, or see to it that its folder can be written, then run the command again; or run it at the machine of the copy.",
        )
        .at("path", place)
    }

    fn warn_of_history(&mut self, why: &str) {
        self.warn(format!(
            "The history of the content store could not be kept: {why} States before this cycle cannot be restored."
        ));
    }

    pub(super) fn warn(&mut self, message: String) {
        self.context.observer.warning(message.clone());
        self.outcome.warnings.push(message);
    }

    /// Removes the oldest state that is kept, to make room; says whether there was one, other than that of this cycle.
    pub(super) fn drop_oldest(&mut self) -> Result<bool> {
        let history = self.module.standby.history();
        let kept = history.revisions()?;
        let may_go = |oldest: &&KeptRevision| oldest.next.is_some() && !self.module.history.is_strict;
        let Some(oldest) = kept.last().filter(may_go) else { return Ok(false) };
        history.remove_revision(oldest.revision.number)?;
        self.dropped += 1;
        Ok(true)
    }

    /// Notes what the objects of a batch are before they change, and numbers the files that are to be kept.
    pub(super) fn note_batch(&mut self, batch: &mut [Ready<'_>]) -> Result<()> {
        if self.keeping.revision.is_none() {
            return Ok(());
        }
        let changes = |ready: &Ready<'_>| !matches!(ready.action, Action::Remember);
        if !batch.iter().any(changes) {
            return Ok(());
        }
        // The numbers go on from what a cycle that did not end has kept.
        self.keep_all(&[])?;
        let (mut notes, mut renamed, mut folders) = (Vec::new(), Vec::new(), BTreeSet::new());
        for ready in batch.iter_mut().filter(|ready| changes(ready)) {
            folders.extend(ready.path.split().map(|(folder, _)| folder));
            let held = self.index.held(&ready.path)?;
            let before = self.before(&ready.path, held, &ready.action, ready.object.hash)?;
            ready.kept = kept_number(&before);
            notes.push(before);
            if let Action::Rename(earlier) = &ready.action {
                renamed.push((earlier.clone(), ready.path.clone()));
            }
        }
        self.note_folders(&folders, &mut notes)?;
        // Undone first, before what has the new names gives way. An earlier name that gets something else in this batch has a
        // note of its own.
        let changing: BTreeSet<_> =
            batch.iter().filter(|ready| changes(ready)).map(|ready| &ready.path).collect();
        for (earlier, path) in renamed.into_iter().filter(|(earlier, _)| !changing.contains(earlier)) {
            if let Some(held) = self.index.held(&earlier)? {
                let was = self.was(&held, WasContent::At(path), None);
                notes.push(Before { path: earlier, was: Some(was) });
            }
        }
        self.keep_all(&notes)
    }

    /// Notes that what has a name, and all that is in it, is about to have another one; none where its content is not held
    /// any more.
    pub(super) fn note_respelling(&mut self, from: &ContentPath, to: Option<&ContentPath>) -> Result<()> {
        self.keep_all(&[])?;
        if !self.is_keeping() {
            return Ok(());
        }
        let mut notes = Vec::new();
        self.note_folders(&from.split().map(|(folder, _)| folder).into_iter().collect(), &mut notes)?;
        let mut next = vec![(from.clone(), to.cloned())];
        while let Some((path, new)) = next.pop() {
            self.context.check()?;
            let Some(held) = self.index.held(&path)? else { continue };
            let content = match (held.object.meta.kind, &new) {
                (ObjectKind::Folder, _) => WasContent::Unchanged,
                (_, None) => WasContent::Lost,
                (ObjectKind::File, Some(new)) => WasContent::At(new.clone()),
                (ObjectKind::Link, Some(_)) => match self.module.standby.read_link(&path) {
                    Ok(target) => WasContent::Target(target),
                    Err(ObjectError::Store(error)) => return Err(error),
                    Err(ObjectError::Gone | ObjectError::Refused(_)) => WasContent::Lost,
                },
            };
            // Undone in the opposite order: what was renamed is found before its name goes.
            notes.extend(new.as_ref().map(absent));
            notes.push(Before { path: path.clone(), was: Some(self.was(&held, content, None)) });
            if held.object.meta.kind == ObjectKind::Folder {
                let mut parts = FolderParts::of(path.clone());
                while let Some(part) = parts.next(&self.index)? {
                    let below = |name: &[u8]| {
                        let new = new.as_ref().and_then(|new| new.join(name));
                        Some((path.join(name)?, new))
                    };
                    next.extend(part.iter().filter_map(|(name, _)| below(name)));
                }
            }
            if notes.len() >= BATCH_ITEMS {
                self.keep_all(&std::mem::take(&mut notes))?;
            }
        }
        self.keep_all(&notes)?;
        self.sync_notes()
    }

    /// Notes what is about to be deleted; the numbers of the files are in the order of the paths, none where nothing is kept.
    pub(super) fn note_deletions<'p>(
        &mut self,
        paths: impl Iterator<Item = &'p ContentPath>,
    ) -> Result<Vec<Option<u32>>> {
        let (mut notes, mut numbers, mut folders) = (Vec::new(), Vec::new(), BTreeSet::new());
        self.keep_all(&[])?;
        if !self.is_keeping() {
            return Ok(paths.map(|_| None).collect());
        }
        for path in paths {
            folders.extend(path.split().map(|(folder, _)| folder));
            if self.is_renamed(path) {
                numbers.push(None);
                continue;
            }
            let held = self.index.held(path)?;
            let before = match held {
                Some(held) if held.object.meta.kind == ObjectKind::Folder => {
                    let extended = self.extended_of_folder(path, &held);
                    let was = self.was(&held, WasContent::Unchanged, Some(extended));
                    Before { path: path.clone(), was: Some(was) }
                }
                held => self.replaced(path, held)?,
            };
            numbers.push(kept_number(&before));
            notes.push(before);
        }
        self.note_folders(&folders, &mut notes)?;
        self.keep_all(&notes)?;
        self.sync_notes()?;
        Ok(if self.is_keeping() { numbers } else { vec![None; numbers.len()] })
    }

    /// Names change in these folders, and with them their times.
    fn note_folders(&self, folders: &BTreeSet<ContentPath>, notes: &mut Vec<Before>) -> Result<()> {
        for folder in folders {
            if let Some(held) = self.index.held(folder)?
                && held.object.meta.kind == ObjectKind::Folder
                && held.object.meta.mtime_ns != TIMES_UNKNOWN
            {
                let was = self.was(&held, WasContent::Unchanged, None);
                notes.push(Before { path: folder.clone(), was: Some(was) });
            }
        }
        Ok(())
    }

    fn before(
        &mut self,
        path: &ContentPath,
        held: Option<HeldObject>,
        action: &Action<'_>,
        next: Option<[u8; 32]>,
    ) -> Result<Before> {
        let Some(held) = held else { return Ok(absent(path)) };
        let is_folder = held.object.meta.kind == ObjectKind::Folder;
        let extended = match action {
            Action::Folder { extended, .. } if is_folder => {
                extended.as_ref().map(|_| self.extended_of_folder(path, &held))
            }
            Action::Attributes { extended: Some(_), .. } => Some(self.extended_of_file(path, &held)),
            Action::Attributes { .. } => None,
            Action::Publish(staged, _) if staged.has_parts() && held.object.settled => {
                let content = WasContent::Parts { number: self.keeping.number(), next };
                let extended = self.extended_of_file(path, &held);
                self.keeping.objects += 1;
                return Ok(Before {
                    path: path.clone(),
                    was: Some(self.was(&held, content, Some(extended))),
                });
            }
            _ => return self.replaced(path, Some(held)),
        };
        Ok(Before { path: path.clone(), was: Some(self.was(&held, WasContent::Unchanged, extended)) })
    }

    /// A file or link that is about to be replaced or removed.
    fn replaced(&mut self, path: &ContentPath, held: Option<HeldObject>) -> Result<Before> {
        let Some(held) = held else { return Ok(absent(path)) };
        let content = match self.module.standby.stat(path) {
            Ok(meta) if meta.kind == ObjectKind::Link => match self.module.standby.read_link(path) {
                Ok(target) => WasContent::Target(target),
                Err(ObjectError::Store(error)) => return Err(error),
                Err(ObjectError::Gone | ObjectError::Refused(_)) => WasContent::Lost,
            },
            Ok(meta) if meta.kind == ObjectKind::File => {
                self.keeping.bytes = self.keeping.bytes.saturating_add(meta.size);
                WasContent::Kept(self.keeping.number())
            }
            // A folder is where the index knows a file.
            Ok(_) | Err(ObjectError::Refused(_)) => WasContent::Lost,
            // A row of which an interrupted batch only said that it would come.
            Err(ObjectError::Gone) if !held.object.settled => return Ok(absent(path)),
            Err(ObjectError::Gone) => WasContent::Lost,
            Err(ObjectError::Store(error)) => return Err(error),
        };
        self.keeping.objects += 1;
        Ok(Before { path: path.clone(), was: Some(self.was(&held, content, None)) })
    }

    fn was(&self, held: &HeldObject, content: WasContent, extended: Option<Extended>) -> Was {
        Was { meta: held.object.meta, hash: held.object.hash, extended, content }
    }

    /// What a folder of the standby has; none where it cannot be read, as if there were none.
    fn extended_of_folder(&self, path: &ContentPath, held: &HeldObject) -> Extended {
        if held.object.extended.is_none() {
            return Extended::default();
        }
        self.module.standby.folder_extended(path).unwrap_or_default()
    }

    fn extended_of_file(&self, path: &ContentPath, held: &HeldObject) -> Extended {
        if held.object.extended.is_none() {
            return Extended::default();
        }
        self.module.standby.read(path).and_then(|file| file.extended()).unwrap_or_default()
    }

    /// Gives a file that is about to be replaced the name under which it is kept.
    pub(super) fn keep_replaced(&mut self, path: &ContentPath, number: Option<u32>) -> ObjectResult<()> {
        self.keep_one(path, number, false).map(|_| ())
    }

    /// Keeps what a new version changes of the one that it replaces.
    pub(super) fn keep_parts(&mut self, action: &mut Action<'_>, number: Option<u32>) -> ObjectResult<()> {
        match (action, number.filter(|_| self.is_keeping())) {
            (Action::Publish(staged, _), Some(number)) => staged.keep_parts_as(number),
            _ => Ok(()),
        }
    }

    /// Removes a file or link from the content. What is kept of it was noted.
    pub(super) fn take_removed(
        &mut self,
        path: &ContentPath,
        kind: ObjectKind,
        number: Option<u32>,
    ) -> ObjectResult<()> {
        if self.keep_one(path, number, true)? { Ok(()) } else { self.module.standby.remove(path, kind) }
    }

    /// Says whether it is kept.
    fn keep_one(&mut self, path: &ContentPath, number: Option<u32>, removes: bool) -> ObjectResult<bool> {
        let Some(number) = number else { return Ok(false) };
        while self.is_keeping() {
            let history = self.module.standby.history();
            let kept = if removes { history.take(path, number) } else { history.keep(path, number) };
            match kept {
                Ok(()) => return Ok(true),
                Err(ObjectError::Gone) => {
                    self.note_lost(path)?;
                    return if removes { Err(ObjectError::Gone) } else { Ok(false) };
                }
                Err(ObjectError::Store(error)) if error.kind == ErrorKind::DiskFull => {
                    self.give_up_some(error)?
                }
                Err(failure) => return Err(failure),
            }
        }
        Ok(false)
    }

    /// What was noted as kept is not: others had removed it.
    fn note_lost(&mut self, path: &ContentPath) -> Result<()> {
        self.note_instead(path, WasContent::Lost)
    }

    /// What was noted as kept is where it was set aside: others had changed it.
    pub(super) fn note_aside(&mut self, path: &ContentPath, aside: ContentPath) -> Result<()> {
        self.note_instead(path, WasContent::Aside(aside))
    }

    fn note_instead(&mut self, path: &ContentPath, content: WasContent) -> Result<()> {
        if !self.is_keeping() {
            return Ok(());
        }
        let Some(held) = self.index.held(path)? else { return Ok(()) };
        let was = self.was(&held, content, None);
        self.keep_all(&[Before { path: path.clone(), was: Some(was) }])
    }

    /// A file of the standby has another name now: what goes under the earlier one is neither lost nor kept.
    pub(super) fn renamed_from(&mut self, earlier: &ContentPath) {
        self.keeping.renamed.insert(digest(earlier));
    }

    pub(super) fn is_renamed(&self, earlier: &ContentPath) -> bool {
        self.keeping.renamed.contains(&digest(earlier))
    }

    /// Ends the cycle's state: the standby is in another one from now on, if anything changed.
    pub(super) fn end_keeping(&mut self) -> Result<Option<Revision>> {
        let Some(pair) = self.index.pair()? else { return Ok(None) };
        let is_changed = pair.scan == 0 || self.keeping.is_begun || !self.outcome.moved.is_nothing();
        if !is_changed {
            // What a cycle that died ended, and the index does not know.
            return Ok(self.keeping.revision.filter(|revision| pair.revision != Some(*revision)));
        }
        let before = self.keeping.revision.or(pair.revision).map_or(0, |revision| revision.number);
        let next = Revision {
            number: before.saturating_add(1),
            since: self.context.clock.now(),
            job: self.context.job,
            bytes: self.index.bytes()?,
        };
        if self.is_keeping() {
            self.module.standby.history().end(&next)?;
        }
        Ok(Some(next))
    }

    /// Removes states that are older, or take more room, than the limits say, the oldest first. That it cannot be done is a
    /// warning.
    pub(super) fn thin_history(&mut self) {
        if let Err(error) = self.thin() {
            self.warn(format!("The history of the content store could not be thinned: {}", error.message));
        }
        if self.dropped > 0 {
            self.warn(format!(
                "The disk of the standby copy is full: {} earlier states were removed from its history to make room.",
                self.dropped
            ));
        }
    }

    fn thin(&self) -> Result<()> {
        let history = self.module.standby.history();
        let Some(current) = self.index.pair()?.and_then(|pair| pair.revision) else { return Ok(()) };
        let (mut kept, stray) = chain(history.revisions()?, current.number);
        for of_no_use in stray {
            history.remove_revision(of_no_use.revision.number)?;
        }
        let HistoryLimits { keep, max, is_strict } = &self.module.history;
        let (now, most) = (self.context.clock.now(), max.bytes(current.bytes));
        let mut bytes = kept_bytes(&kept);
        while let Some(oldest) = kept.pop() {
            let is_old = oldest.until.is_some_and(|until| now.duration_since(until) > *keep);
            if !is_old && (bytes <= most || *is_strict) {
                break;
            }
            history.remove_revision(oldest.revision.number)?;
            bytes = bytes.saturating_sub(oldest.kept_bytes);
        }
        Ok(())
    }
}

fn kept_bytes(kept: &[KeptRevision]) -> u64 {
    kept.iter().map(|kept| kept.kept_bytes).sum()
}

fn kept_number(before: &Before) -> Option<u32> {
    match before.was.as_ref()?.content {
        WasContent::Kept(number) | WasContent::Parts { number, .. } => Some(number),
        _ => None,
    }
}
