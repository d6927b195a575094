//! A store that takes names for one, between the module and a real folder: as a file system does that folds them.

use std::collections::BTreeSet;

use super::*;
use crate::error::Result;
use crate::store::content::abilities::Abilities;
use crate::store::content::history::{Before, ContentHistory, KeptParts, KeptRevision, Revision};
use crate::store::content::room::Room;
use crate::store::content::{
    Attributes, ContentReader, ContentStore, ContentTrace, Extended, Instance, Listing, Marker, ObjectError,
    ObjectKind, ObjectMeta, ObjectResult, Presence, Refusal, StagedObject, Version,
};

pub(super) struct Folding {
    pub(super) inner: FolderStore,
    pub(super) abilities: Arc<Abilities>,
    /// Paths that nothing can be renamed to.
    pub(super) stubborn: BTreeSet<&'static str>,
}

impl Folding {
    /// The path by which the folder has it: a name that is there stands for all that are the same.
    fn real(&self, path: &ContentPath) -> ContentPath {
        path.names().fold(ContentPath::root(), |folder, name| {
            let key = self.abilities.key(name);
            let is_there = self.inner.stat(&folder.join(name).unwrap()).is_ok();
            let listing = self.inner.list(&folder, &CancellationToken::new()).unwrap_or_default();
            let mut same = listing.iter().filter(|entry| !is_there && self.abilities.key(entry.name) == key);
            let found = same.next().map_or(name, |entry| entry.name);
            folder.join(found).unwrap()
        })
    }

    fn rounded(&self, given: Attributes) -> Attributes {
        Attributes {
            mtime_ns: given.mtime_ns - given.mtime_ns.rem_euclid(self.abilities.time_step_ns),
            ..given
        }
    }

    fn staged<'a>(&'a self, staged: Box<dyn StagedObject + 'a>) -> Box<dyn StagedObject + 'a> {
        Box::new(FoldingStaged { inner: staged, store: self })
    }
}

struct FoldingStaged<'a> {
    inner: Box<dyn StagedObject + 'a>,
    store: &'a Folding,
}

impl StagedObject for FoldingStaged<'_> {
    fn expect(&mut self, bytes: u64) -> ObjectResult<()> {
        self.inner.expect(bytes)
    }

    fn write(&mut self, bytes: &[u8]) -> ObjectResult<()> {
        self.inner.write(bytes)
    }
    fn keep(&mut self, bytes: &[u8]) -> ObjectResult<bool> {
        self.inner.keep(bytes)
    }
    fn skip(&mut self, count: u64) -> ObjectResult<()> {
        self.inner.skip(count)
    }
    fn take_over(&mut self, instance: &Instance, size: u64) -> bool {
        self.inner.take_over(instance, size)
    }
    fn patch(&mut self, bytes: &[u8], at: u64) -> ObjectResult<bool> {
        self.inner.patch(bytes, at)
    }
    fn set_extended(&mut self, extended: &Extended) -> ObjectResult<bool> {
        self.inner.set_extended(extended)
    }
    fn seal(&mut self, attributes: Attributes) -> ObjectResult<()> {
        self.inner.seal(self.store.rounded(attributes))
    }
    fn publish(self: Box<Self>, path: &ContentPath, replace: bool) -> ObjectResult<bool> {
        // As exFAT by FUSE says it of a name that it cannot hold.
        if path.names().any(|name| self.store.abilities.refusal(name, ObjectKind::File).is_some()) {
            return Err(ObjectError::Gone);
        }
        self.inner.publish(&self.store.real(path), replace)
    }
}

impl ContentStore for Folding {
    fn room(&self) -> Option<Room> {
        self.inner.room()
    }

    fn keep_free(&self, bytes: u64) {
        self.inner.keep_free(bytes);
    }

    fn taken_by(&self, path: &ContentPath) -> ObjectResult<u64> {
        self.inner.taken_by(&self.real(path))
    }

    fn url(&self) -> String {
        self.inner.url()
    }
    fn reopen(&self) -> Box<dyn ContentStore> {
        Box::new(Folding {
            inner: FolderStore::new(PathBuf::from(self.url().trim_start_matches("file:")), Vec::new()),
            abilities: self.abilities.clone(),
            stubborn: self.stubborn.clone(),
        })
    }
    fn identify(&self) -> Result<Presence> {
        self.inner.identify()
    }
    fn check_writable(&self) -> Result<()> {
        self.inner.check_writable()
    }
    fn check_place(&self, path: &ContentPath) -> ObjectResult<()> {
        self.inner.check_place(&self.real(path))
    }
    fn create(&self) -> Result<()> {
        self.inner.create()
    }
    fn mark(&self, marker: &Marker) -> Result<()> {
        self.inner.mark(marker)
    }
    fn unmark(&self, dry_run: bool) -> Result<Vec<ContentTrace>> {
        self.inner.unmark(dry_run)
    }
    fn foreign(&self) -> Result<Vec<ContentPath>> {
        self.inner.foreign()
    }
    fn abilities(&self) -> Result<Arc<Abilities>> {
        Ok(self.abilities.clone())
    }
    fn foreseen_abilities(&self) -> Arc<Abilities> {
        self.abilities.clone()
    }
    fn respell(&self, from: &ContentPath, to: &ContentPath) -> ObjectResult<()> {
        if self.stubborn.contains(to.to_string().as_str()) {
            return Err(ObjectError::Refused(Refusal::new("It cannot be renamed.", "Let it.")));
        }
        let (folder, name) = to.split().unwrap();
        self.inner.respell(&self.real(from), &self.real(&folder).join(name).unwrap())
    }
    fn sweep(&self) -> Result<u64> {
        self.inner.sweep()
    }
    fn now_ns(&self) -> Option<i64> {
        self.inner.now_ns()
    }
    fn tick_ns(&self) -> i64 {
        self.inner.tick_ns()
    }
    fn keeps_owners(&self) -> bool {
        self.inner.keeps_owners()
    }
    fn list(&self, folder: &ContentPath, cancel: &CancellationToken) -> ObjectResult<Listing> {
        self.inner.list(&self.real(folder), cancel)
    }
    fn stat(&self, path: &ContentPath) -> ObjectResult<ObjectMeta> {
        self.inner.stat(&self.real(path))
    }
    fn read(&self, path: &ContentPath) -> ObjectResult<Box<dyn ContentReader + '_>> {
        self.inner.read(&self.real(path))
    }
    fn read_link(&self, path: &ContentPath) -> ObjectResult<Box<[u8]>> {
        self.inner.read_link(&self.real(path))
    }
    fn folder_extended(&self, path: &ContentPath) -> ObjectResult<Extended> {
        self.inner.folder_extended(&self.real(path))
    }
    fn stage(&self) -> ObjectResult<Box<dyn StagedObject + '_>> {
        Ok(self.staged(self.inner.stage()?))
    }
    fn stage_over(&self, path: &ContentPath) -> ObjectResult<Box<dyn StagedObject + '_>> {
        Ok(self.staged(self.inner.stage_over(&self.real(path))?))
    }
    fn stage_link(&self, target: &[u8], given: Attributes) -> ObjectResult<Box<dyn StagedObject + '_>> {
        Ok(self.staged(self.inner.stage_link(target, self.rounded(given))?))
    }
    fn stage_same(
        &self,
        path: &ContentPath,
        version: Version,
    ) -> ObjectResult<Option<Box<dyn StagedObject + '_>>> {
        let version = Version { attributes: self.rounded(version.attributes), ..version };
        Ok(self.inner.stage_same(&self.real(path), version)?.map(|staged| self.staged(staged)))
    }
    fn harden(&self) -> Result<()> {
        self.inner.harden()
    }
    fn set_attributes(&self, path: &ContentPath, attributes: Attributes) -> ObjectResult<()> {
        self.inner.set_attributes(&self.real(path), self.rounded(attributes))
    }
    fn set_extended(&self, path: &ContentPath, extended: &Extended) -> ObjectResult<bool> {
        self.inner.set_extended(&self.real(path), extended)
    }
    fn make_folder(&self, path: &ContentPath, mode: u32) -> ObjectResult<()> {
        self.inner.make_folder(&self.real(path), mode)
    }
    fn remove(&self, path: &ContentPath, kind: ObjectKind) -> ObjectResult<()> {
        ContentStore::remove(&self.inner, &self.real(path), kind)
    }
    fn set_aside(&self, path: &ContentPath, occasion: &str) -> ObjectResult<ContentPath> {
        self.inner.set_aside(&self.real(path), occasion)
    }
    fn history(&self) -> &dyn ContentHistory {
        self
    }
    fn flush(&self) -> Result<()> {
        self.inner.flush()
    }
}

impl ContentHistory for Folding {
    fn revisions(&self) -> Result<Vec<KeptRevision>> {
        self.inner.history().revisions()
    }
    fn describe(&self, number: u32) -> Result<Option<Revision>> {
        self.inner.history().describe(number)
    }
    fn expect_changes(&self) {
        self.inner.history().expect_changes();
    }

    fn parts(&self, path: &ContentPath) -> ObjectResult<Option<KeptParts>> {
        self.inner.history().parts(path)
    }

    fn begin(&self, revision: &Revision) -> Result<u32> {
        self.inner.history().begin(revision)
    }
    fn note(&self, objects: &[Before]) -> Result<()> {
        self.inner.history().note(objects)
    }
    fn sync(&self) -> Result<()> {
        self.inner.history().sync()
    }
    fn keep(&self, path: &ContentPath, number: u32) -> ObjectResult<()> {
        self.inner.history().keep(&self.real(path), number)
    }
    fn take(&self, path: &ContentPath, number: u32) -> ObjectResult<()> {
        self.inner.history().take(&self.real(path), number)
    }
    fn end(&self, next: &Revision) -> Result<()> {
        self.inner.history().end(next)
    }
    fn read_notes(&self, number: u32, take: &mut dyn FnMut(Before) -> Result<()>) -> Result<()> {
        self.inner.history().read_notes(number, take)
    }
    fn kept(&self, revision: u32, number: u32) -> ObjectResult<Option<ContentPath>> {
        self.inner.history().kept(revision, number)
    }
    fn remove_revision(&self, number: u32) -> Result<()> {
        self.inner.history().remove_revision(number)
    }
}
