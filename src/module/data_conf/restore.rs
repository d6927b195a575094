//! Makes an earlier state of the standby again, in a folder of its own.

use std::path::Path;

use super::batch::Batch;
use super::copier::{Copier, Given};
use super::cycle::{chain, current};
use super::meter::Meter;
use super::tally::{Few, counted};
use super::{Context, DataConf};
use crate::error::Result;
use crate::module::{Restored, StoreState, WantedState};
use crate::store::content::history::{KeptParts, KeptRevision, Revision};
use crate::store::content::index::{
    ContentIndex, EarlierContent, EarlierObject, EarlierTree, IndexedPair, TIMES_UNKNOWN,
};
use crate::store::content::spool::Spool;
use crate::store::content::{
    Attributes, ContentPath, ContentReader, ContentStore, Extended, ObjectError, ObjectKind, ObjectResult,
    Ownership, StagedObject,
};
use crate::store::wildcard;
use crate::store::{factory, files};

impl DataConf {
    /// The states that can be restored, the newest first.
    pub(super) fn restorable(&self) -> Result<Vec<StoreState>> {
        let Some((_, pair)) = self.existing_index()? else { return Ok(Vec::new()) };
        let Some((now, kept)) = self.kept(&pair)? else { return Ok(Vec::new()) };
        self.states_of(&now, &kept)
    }

    fn states_of(&self, now: &Revision, kept: &[KeptRevision]) -> Result<Vec<StoreState>> {
        let mut states = Vec::with_capacity(kept.len() + 1);
        if kept.first().is_none_or(|newest| newest.next.is_some()) {
            states.push(state(now, 0));
        }
        for kept in kept {
            // What lies before one that cannot be read is lost.
            let Some(revision) = self.standby.history().describe(kept.revision.number)? else { break };
            states.push(state(&revision, kept.kept_bytes));
        }
        Ok(states)
    }

    /// The state of now, and those that lead back from it.
    fn kept(&self, pair: &IndexedPair) -> Result<Option<(Revision, Vec<KeptRevision>)>> {
        self.check_standby(pair)??;
        let revisions = self.standby.history().revisions()?;
        let Some(now) = current(pair, &revisions) else { return Ok(None) };
        let (kept, _) = chain(revisions, now.number);
        Ok(Some((now, kept)))
    }

    /// The state that is asked for, where it could be restored to this path.
    pub(super) fn find_restorable(&self, wanted: WantedState, to: &Path) -> Result<StoreState> {
        files::require_free(to)?;
        wanted.among(self.restorable()?)
    }

    /// Writes what these patterns name of a state, or all of it, to a folder at a path where nothing is.
    pub(super) fn restore_to(
        &self,
        wanted: WantedState,
        include: &[String],
        to: &Path,
        context: &Context,
    ) -> Result<Restored> {
        files::require_free(to)?;
        let Some((index, pair)) = self.existing_index()? else { return Err(wanted.not_kept()) };
        let Some((now, kept)) = self.kept(&pair)? else { return Err(wanted.not_kept()) };
        let found = wanted.among(self.states_of(&now, &kept)?)?;
        let tree = self.undo(&index, &kept, found.revision, context)?;
        let folder = factory::restored_folder(to)?;
        let done = self.fill(folder.store(), &tree, include, context)?;
        folder.complete()?;
        let (details, warnings) = (vec![done.line(include)], done.warnings(include));
        Ok(Restored { state: found, details, warnings })
    }

    fn fill(
        &self,
        target: &dyn ContentStore,
        tree: &EarlierTree<'_>,
        include: &[String],
        context: &Context,
    ) -> Result<Done> {
        let mut restoring = Restoring {
            include,
            context,
            standby: &self.standby,
            target,
            copier: Copier::new(&self.standby, target, context),
            meter: Meter::begin(context, "Restoring files", None),
            batch: Batch::new(self.batch_bytes),
            folders: Spool::new(self.index.folder()),
            done: Done::default(),
        };
        tree.try_for_each(|object| restoring.take(object))?;
        restoring.publish()?;
        restoring.set_folders()?;
        restoring.meter.end();
        Ok(restoring.done)
    }

    /// The objects of a revision: those of now, and what changed since undone.
    fn undo<'i>(
        &self,
        index: &'i ContentIndex,
        kept: &[KeptRevision],
        wanted: u32,
        context: &Context,
    ) -> Result<EarlierTree<'i>> {
        let mut tree = index.earlier()?;
        let history = self.standby.history();
        for KeptRevision { revision, .. } in kept.iter().take_while(|kept| kept.revision.number >= wanted) {
            context.check()?;
            // Noted in the order of the changes, undone in the opposite one.
            let mut notes = Vec::new();
            history.read_notes(revision.number, &mut |note| {
                notes.push(note);
                Ok(())
            })?;
            for note in notes.into_iter().rev() {
                context.check()?;
                let found = |number| match history.kept(revision.number, number) {
                    Ok(found) => Ok(found),
                    Err(ObjectError::Store(error)) => Err(error),
                    Err(ObjectError::Gone | ObjectError::Refused(_)) => Ok(None),
                };
                tree.undo(&note, found)?;
            }
        }
        Ok(tree)
    }
}

fn state(revision: &Revision, kept_bytes: u64) -> StoreState {
    StoreState {
        revision: revision.number,
        at: revision.since,
        job_id: revision.job.map(|made_by| made_by.job),
        job_kind: revision.job.and_then(|made_by| made_by.kind),
        bytes: revision.bytes,
        kept_bytes,
        reason: None,
    }
}

/// What a restore came to.
#[derive(Default)]
struct Done {
    files: u64,
    folders: u64,
    links: u64,
    bytes: u64,
    /// What cannot be made again as it was.
    lost: Few,
    /// What came back as others had made it at the copy.
    differing: Few,
    /// What came back with other attributes.
    altered: Few,
}

impl Done {
    fn line(&self, include: &[String]) -> String {
        let of =
            if include.is_empty() { String::new() } else { format!(" that {} names", include.join(", ")) };
        let files = counted(self.files, "file", "files");
        let (folders, links) =
            (counted(self.folders, "folder", "folders"), counted(self.links, "link", "links"));
        format!("Wrote {files}, {folders} and {links}{of}, {}.", counted(self.bytes, "byte", "bytes"))
    }

    fn warnings(&self, include: &[String]) -> Vec<String> {
        let named = [
            (
                &self.lost,
                "Not restored, because others had changed or removed them at the copy, or they cannot be read:",
            ),
            (&self.differing, "Restored as others had changed them at the copy:"),
            (
                &self.altered,
                "Restored without all of their attributes, which the account or the folder's file system cannot set:",
            ),
        ];
        let named =
            named.iter().filter(|(few, _)| !few.is_empty()).map(|(few, what)| format!("{what} {few}."));
        let is_nothing =
            !include.is_empty() && self.lost.is_empty() && self.files + self.folders + self.links == 0;
        let nothing = format!("Nothing in that state has a name that {} names.", include.join(", "));
        named.chain(is_nothing.then_some(nothing)).collect()
    }
}

/// A file or link that waits to be published.
struct Waiting<'a> {
    path: ContentPath,
    staged: Box<dyn StagedObject + 'a>,
    attributes: Attributes,
    /// Extended attributes that are not with the content.
    extended: Option<Extended>,
}

struct Restoring<'a> {
    include: &'a [String],
    context: &'a Context,
    standby: &'a dyn ContentStore,
    target: &'a dyn ContentStore,
    copier: Copier<'a, 'a>,
    meter: Meter<'a>,
    batch: Batch<Waiting<'a>>,
    /// Folders whose attributes are set when everything is in them.
    folders: Spool<(ContentPath, u32, i64, Ownership)>,
    done: Done,
}

impl<'a> Restoring<'a> {
    fn take(&mut self, object: EarlierObject) -> Result<()> {
        self.context.check()?;
        if !is_named(&object.path, self.include) {
            return Ok(());
        }
        let path = object.path.clone();
        let taken = match object.kind {
            ObjectKind::Folder => self.make(object),
            ObjectKind::File => self.copy(object),
            ObjectKind::Link => self.link(object),
        };
        match taken {
            Ok(()) => {}
            Err(ObjectError::Gone | ObjectError::Refused(_)) => self.done.lost.add(&path),
            Err(ObjectError::Store(error)) => return Err(error),
        }
        self.meter.item();
        if self.batch.is_full() { self.publish() } else { Ok(()) }
    }

    fn make(&mut self, object: EarlierObject) -> ObjectResult<()> {
        let EarlierObject { path, attributes, extended, .. } = object;
        self.target.make_folder(&path, attributes.mode)?;
        let extended = match extended {
            Some(extended) => extended,
            // Of one that was removed since it was noted.
            None => self.standby.folder_extended(&path).unwrap_or_default(),
        };
        if !extended.0.is_empty() && !self.target.set_extended(&path, &extended)? {
            self.done.altered.add(&path);
        }
        let owner = attributes.owner.unwrap_or_default();
        self.folders.push(&(path, attributes.mode, attributes.mtime_ns, owner))?;
        self.done.folders += 1;
        Ok(())
    }

    fn copy(&mut self, object: EarlierObject) -> ObjectResult<()> {
        let EarlierObject { path, attributes, extended, content, hash, parts, .. } = object;
        let EarlierContent::In(source) = content else { return Err(ObjectError::Gone) };
        let (staged, bytes, found) = if parts.is_empty() {
            let given = Given { attributes, is_bare: extended.is_some() };
            let copied = self.copier.copy(&source, ObjectKind::File, Some(given), &self.meter)?;
            if !copied.is_whole {
                self.done.altered.add(&path);
            }
            (copied.staged, copied.seen.meta.size, copied.seen.hash)
        } else {
            self.put_together(&source, &parts, attributes)?
        };
        if hash.is_some_and(|hash| hash != found) {
            self.done.differing.add(&path);
        }
        self.done.files += 1;
        self.done.bytes = self.done.bytes.saturating_add(bytes);
        self.batch.push(Waiting { path, staged, attributes, extended }, bytes);
        Ok(())
    }

    /// A later version, and over it the parts that were others before, one change after the other.
    fn put_together(
        &self,
        source: &ContentPath,
        parts: &[ContentPath],
        attributes: Attributes,
    ) -> ObjectResult<(Box<dyn StagedObject + 'a>, u64, [u8; 32])> {
        let mut layers = vec![Layer { file: self.standby.read(source)?, parts: None }];
        for path in parts {
            let parts = self.standby.history().parts(path)?.ok_or(ObjectError::Gone)?;
            layers.push(Layer { file: self.standby.read(path)?, parts: Some(parts) });
        }
        let size = layers.last().map_or(0, Layer::size);
        let mut staged = self.target.stage()?;
        let (mut hasher, mut piece, mut done) = (blake3::Hasher::new(), vec![0; PIECE], 0);
        while done < size {
            self.context.check()?;
            let length = usize::try_from(size - done).unwrap_or(usize::MAX).min(PIECE);
            let piece = piece.get_mut(..length).unwrap_or_default();
            piece.fill(0);
            layers.iter().try_for_each(|layer| layer.put(piece, done))?;
            hasher.update(piece);
            staged.write(piece)?;
            self.meter.bytes(length as u64);
            done += length as u64;
        }
        staged.seal(attributes)?;
        Ok((staged, size, *hasher.finalize().as_bytes()))
    }

    fn link(&mut self, object: EarlierObject) -> ObjectResult<()> {
        let EarlierObject { path, attributes, content, .. } = object;
        let target = match content {
            EarlierContent::Target(target) => target,
            EarlierContent::In(source) => self.standby.read_link(&source)?,
            EarlierContent::Lost => return Err(ObjectError::Gone),
        };
        let staged = self.target.stage_link(&target, attributes)?;
        self.done.links += 1;
        self.batch.push(Waiting { path, staged, attributes, extended: None }, 0);
        Ok(())
    }

    fn publish(&mut self) -> Result<()> {
        let batch = self.batch.take();
        if batch.is_empty() {
            return Ok(());
        }
        self.target.harden()?;
        for Waiting { path, staged, attributes, extended } in batch {
            self.context.check()?;
            let published = staged.publish(&path, false).and_then(|_| match extended {
                None => Ok(true),
                Some(extended) => {
                    let is_whole = self.target.set_extended(&path, &extended)?;
                    self.target.set_attributes(&path, attributes)?;
                    Ok(is_whole)
                }
            });
            match published {
                Ok(true) => {}
                Ok(false) => self.done.altered.add(&path),
                Err(ObjectError::Gone | ObjectError::Refused(_)) => self.done.lost.add(&path),
                Err(ObjectError::Store(error)) => return Err(error),
            }
        }
        self.target.flush()
    }

    /// Those within others first: a folder may not let its owner through.
    fn set_folders(&mut self) -> Result<()> {
        let folders: Vec<_> = self.folders.iter().collect::<Result<_>>()?;
        for (path, mode, mtime_ns, owner) in folders.into_iter().rev() {
            self.context.check()?;
            let set = self.target.stat(&path).and_then(|now| {
                let mtime_ns = if mtime_ns == TIMES_UNKNOWN { now.mtime_ns } else { mtime_ns };
                self.target.set_attributes(&path, Attributes { mtime_ns, mode, owner: Some(owner) })
            });
            match set {
                Ok(()) => {}
                Err(ObjectError::Gone | ObjectError::Refused(_)) => self.done.altered.add(&path),
                Err(ObjectError::Store(error)) => return Err(error),
            }
        }
        self.target.flush()
    }
}

/// How much of a file is put together at once.
const PIECE: usize = 256 << 10;

/// A version of a file, or the parts of it that its next version changed.
struct Layer<'a> {
    file: Box<dyn ContentReader + 'a>,
    parts: Option<KeptParts>,
}

impl Layer<'_> {
    fn size(&self) -> u64 {
        self.parts.as_ref().map_or_else(|| self.file.meta().size, |parts| parts.size)
    }

    /// Puts what it has of a piece at this place over what is there.
    fn put(&self, piece: &mut [u8], at: u64) -> ObjectResult<()> {
        let whole = [(0, self.file.meta().size, 0)];
        let places = self.parts.as_ref().map_or(&whole[..], |parts| &parts.places);
        let end = at.saturating_add(piece.len() as u64);
        for (start, length, from) in places {
            let (first, last) = ((*start).max(at), start.saturating_add(*length).min(end));
            if first >= last {
                continue;
            }
            let within = |place: u64| usize::try_from(place - at).unwrap_or(usize::MAX);
            let part = piece.get_mut(within(first)..within(last)).unwrap_or_default();
            let mut done = 0;
            while done < part.len() {
                let rest = part.get_mut(done..).unwrap_or_default();
                match self.file.read_at(rest, from + (first - start) + done as u64)? {
                    // It became shorter: what it hashes to tells.
                    0 => break,
                    count => done += count,
                }
            }
        }
        Ok(())
    }
}

/// Whether one of the patterns names an object, or a folder above it; without patterns everything is named.
fn is_named(path: &ContentPath, include: &[String]) -> bool {
    let mut next = Some(path.clone()).filter(|_| !include.is_empty());
    while let Some(named) = next {
        let name = named.to_string();
        if include.iter().any(|pattern| wildcard::matches(pattern, &name)) {
            return true;
        }
        next = named.split().map(|(folder, _)| folder).filter(|folder| !folder.is_root());
    }
    include.is_empty()
}
