//! A store that fails on purpose, between the module and a real folder.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU32, Ordering};

use super::*;
use crate::error::Result;
use crate::store::content::abilities::Abilities;
use crate::store::content::history::{Before, ContentHistory, KeptParts, KeptRevision, Revision};
use crate::store::content::room::Room;
use crate::store::content::{
    Attributes, COARSEST_TICK_NS, ContentPath, ContentReader, ContentStore, ContentTrace, Extended, Instance,
    Listing, Marker, ObjectError, ObjectKind, ObjectMeta, ObjectResult, Presence, Refusal, StagedObject,
    Version,
};

/// What goes wrong.
#[derive(Default)]
pub(super) struct Faults {
    /// Paths that cannot be listed or read.
    pub(super) unreadable: BTreeSet<&'static str>,
    /// Paths that are listed and gone when they are read.
    pub(super) vanished: BTreeSet<&'static str>,
    /// Folders that are away in the moment in which they are about to be made.
    pub(super) away: BTreeSet<&'static str>,
    /// Files that change the first so many times that they are opened.
    pub(super) changing: Vec<(PathBuf, AtomicU32)>,
    /// How often sealing fails, and how.
    pub(super) seals: AtomicU32,
    pub(super) seal_error: Option<ErrorKind>,
    pub(super) flush_error: bool,
    /// Files that end at once when they are read.
    pub(super) short: BTreeSet<&'static str>,
    /// How far the store's clock is ahead.
    pub(super) ahead_ns: i64,
    /// How many operations the process lives for; none for ever.
    pub(super) lives: Option<AtomicU32>,
    pub(super) seals_tried: AtomicU32,
    /// Links that lead elsewhere after each of the first so many times that they were looked at.
    pub(super) relinked: Vec<(PathBuf, AtomicU32)>,
    /// Every file that was opened to be read.
    pub(super) opened: Mutex<Vec<String>>,
    /// What happens as soon as the store has got its marker.
    pub(super) marked: Option<Box<dyn Fn() + Send + Sync>>,
    /// What happens before names are made durable.
    pub(super) flushing: Option<Box<dyn Fn() + Send + Sync>>,
}

pub(super) struct Faulty {
    pub(super) inner: Box<dyn ContentStore>,
    pub(super) faults: Arc<Faults>,
}

impl Faults {
    /// An operation of a process that may have died before.
    fn operate(&self) -> Result<()> {
        match &self.lives {
            Some(lives) if !count_down(lives) => Err(Error::new(ErrorKind::Io, "The process died.", "None.")),
            _ => Ok(()),
        }
    }

    fn is_dead(&self) -> bool {
        self.lives.as_ref().is_some_and(|lives| lives.load(Ordering::Relaxed) == 0)
    }
}

impl Faulty {
    fn fails(&self, path: &ContentPath) -> ObjectResult<()> {
        let path = path.to_string();
        if self.faults.unreadable.contains(path.as_str()) {
            return Err(ObjectError::Refused(Refusal::new("It may not be read.", "Allow it.")));
        }
        if self.faults.vanished.contains(path.as_str()) { Err(ObjectError::Gone) } else { Ok(()) }
    }
}

pub(super) fn count_down(counter: &AtomicU32) -> bool {
    counter.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok()
}

struct FaultyStaged<'a>(Option<Box<dyn StagedObject + 'a>>, &'a Faults);

impl<'a> FaultyStaged<'a> {
    fn inner(&mut self) -> ObjectResult<&mut Box<dyn StagedObject + 'a>> {
        self.1.operate()?;
        Ok(self.0.as_mut().unwrap())
    }
}

impl StagedObject for FaultyStaged<'_> {
    fn expect(&mut self, bytes: u64) -> ObjectResult<()> {
        self.inner()?.expect(bytes)
    }

    fn write(&mut self, bytes: &[u8]) -> ObjectResult<()> {
        self.inner()?.write(bytes)
    }

    fn keep(&mut self, bytes: &[u8]) -> ObjectResult<bool> {
        self.inner()?.keep(bytes)
    }

    fn skip(&mut self, count: u64) -> ObjectResult<()> {
        self.inner()?.skip(count)
    }

    fn take_over(&mut self, instance: &Instance, size: u64) -> bool {
        self.inner().is_ok_and(|inner| inner.take_over(instance, size))
    }

    fn patch(&mut self, bytes: &[u8], at: u64) -> ObjectResult<bool> {
        self.inner()?.patch(bytes, at)
    }

    fn set_extended(&mut self, extended: &Extended) -> ObjectResult<bool> {
        self.inner()?.set_extended(extended)
    }

    fn seal(&mut self, attributes: Attributes) -> ObjectResult<()> {
        self.1.seals_tried.fetch_add(1, Ordering::Relaxed);
        match self.1.seal_error {
            Some(kind) if count_down(&self.1.seals) => Err(Error::new(kind, "Failed.", "Mend it.").into()),
            _ => self.inner()?.seal(attributes),
        }
    }

    fn has_parts(&self) -> bool {
        self.0.as_ref().is_some_and(|staged| staged.has_parts())
    }

    fn keep_parts_as(&mut self, number: u32) -> ObjectResult<()> {
        self.inner()?.keep_parts_as(number)
    }

    fn publish(mut self: Box<Self>, path: &ContentPath, replace: bool) -> ObjectResult<bool> {
        self.inner()?;
        self.0.take().unwrap().publish(path, replace)
    }
}

impl Drop for FaultyStaged<'_> {
    /// A dead process removes nothing.
    fn drop(&mut self) {
        if self.1.is_dead() {
            std::mem::forget(self.0.take());
        }
    }
}

/// Changes the file behind the module's back as soon as it was read.
struct FaultyReader<'a>(Box<dyn ContentReader + 'a>, Option<&'a (PathBuf, AtomicU32)>, bool);

fn change(changing: Option<&(PathBuf, AtomicU32)>) {
    if let Some((path, _)) = changing.filter(|(_, times)| count_down(times)) {
        let content = fs::read(path).unwrap();
        fs::write(path, [content, b"+".to_vec()].concat()).unwrap();
    }
}

impl ContentReader for FaultyReader<'_> {
    fn meta(&self) -> ObjectMeta {
        self.0.meta()
    }

    fn read(&mut self, buffer: &mut [u8]) -> ObjectResult<usize> {
        let count = if self.2 { 0 } else { self.0.read(buffer)? };
        change(self.1.take());
        Ok(count)
    }

    fn skip_hole(&mut self) -> ObjectResult<u64> {
        self.0.skip_hole()
    }

    fn is_solid(&self) -> bool {
        self.0.is_solid()
    }

    fn read_at(&self, buffer: &mut [u8], at: u64) -> ObjectResult<usize> {
        let count = self.0.read_at(buffer, at)?;
        if at == 0 {
            change(self.1);
        }
        Ok(count)
    }

    fn extended(&self) -> ObjectResult<Extended> {
        self.0.extended()
    }

    fn is_unchanged(&self) -> ObjectResult<bool> {
        self.0.is_unchanged()
    }
}

impl ContentStore for Faulty {
    fn url(&self) -> String {
        self.inner.url()
    }
    fn reopen(&self) -> Box<dyn ContentStore> {
        Box::new(Faulty { inner: self.inner.reopen(), faults: self.faults.clone() })
    }
    fn identify(&self) -> Result<Presence> {
        self.faults.operate()?;
        self.inner.identify()
    }
    fn check_writable(&self) -> Result<()> {
        self.inner.check_writable()
    }
    fn check_place(&self, path: &ContentPath) -> ObjectResult<()> {
        self.inner.check_place(path)
    }
    fn create(&self) -> Result<()> {
        self.faults.operate()?;
        self.inner.create()
    }
    fn mark(&self, marker: &Marker) -> Result<()> {
        self.faults.operate()?;
        self.inner.mark(marker)?;
        self.faults.marked.iter().for_each(|happens| happens());
        Ok(())
    }
    fn unmark(&self, dry_run: bool) -> Result<Vec<ContentTrace>> {
        self.faults.operate()?;
        self.inner.unmark(dry_run)
    }
    fn sweep(&self) -> Result<u64> {
        self.faults.operate()?;
        self.inner.sweep()
    }
    fn keeps_owners(&self) -> bool {
        self.inner.keeps_owners()
    }
    fn foreign(&self) -> Result<Vec<ContentPath>> {
        self.inner.foreign()
    }
    fn abilities(&self) -> Result<Arc<Abilities>> {
        self.inner.abilities()
    }
    fn foreseen_abilities(&self) -> Arc<Abilities> {
        self.inner.foreseen_abilities()
    }
    fn respell(&self, from: &ContentPath, to: &ContentPath) -> ObjectResult<()> {
        self.faults.operate()?;
        self.inner.respell(from, to)
    }

    fn room(&self) -> Option<Room> {
        self.inner.room()
    }
    fn keep_free(&self, bytes: u64) {
        self.inner.keep_free(bytes);
    }
    fn taken_by(&self, path: &ContentPath) -> ObjectResult<u64> {
        self.inner.taken_by(path)
    }
    fn tick_ns(&self) -> i64 {
        COARSEST_TICK_NS
    }
    fn now_ns(&self) -> Option<i64> {
        self.inner.now_ns().map(|now| now + self.faults.ahead_ns)
    }
    fn list(&self, folder: &ContentPath, cancel: &CancellationToken) -> ObjectResult<Listing> {
        self.faults.operate()?;
        self.fails(folder)?;
        self.inner.list(folder, cancel)
    }
    fn stat(&self, path: &ContentPath) -> ObjectResult<ObjectMeta> {
        self.faults.operate()?;
        self.inner.stat(path)
    }
    fn read(&self, path: &ContentPath) -> ObjectResult<Box<dyn ContentReader + '_>> {
        self.faults.operate()?;
        self.fails(path)?;
        self.faults.opened.lock().unwrap().push(path.to_string());
        let changing = self.faults.changing.iter().find(|(changing, _)| changing.ends_with(path.to_string()));
        let is_short = self.faults.short.contains(path.to_string().as_str());
        Ok(Box::new(FaultyReader(self.inner.read(path)?, changing, is_short)))
    }
    fn stage_over(&self, path: &ContentPath) -> ObjectResult<Box<dyn StagedObject + '_>> {
        self.faults.operate()?;
        Ok(Box::new(FaultyStaged(Some(self.inner.stage_over(path)?), &self.faults)))
    }
    fn read_link(&self, path: &ContentPath) -> ObjectResult<Box<[u8]>> {
        self.faults.operate()?;
        let relinked = self.faults.relinked.iter().find(|(link, _)| link.ends_with(path.to_string()));
        if let Some((link, times)) = relinked
            && count_down(times)
        {
            let target = format!("target{}", times.load(Ordering::Relaxed));
            fs::remove_file(link).unwrap();
            std::os::unix::fs::symlink(target, link).unwrap();
        }
        self.inner.read_link(path)
    }
    fn folder_extended(&self, path: &ContentPath) -> ObjectResult<Extended> {
        self.faults.operate()?;
        if self.faults.away.contains(path.to_string().as_str()) {
            return Err(ObjectError::Gone);
        }
        self.inner.folder_extended(path)
    }
    fn stage_link(&self, target: &[u8], attributes: Attributes) -> ObjectResult<Box<dyn StagedObject + '_>> {
        self.faults.operate()?;
        Ok(Box::new(FaultyStaged(Some(self.inner.stage_link(target, attributes)?), &self.faults)))
    }
    fn stage_same(
        &self,
        path: &ContentPath,
        version: Version,
    ) -> ObjectResult<Option<Box<dyn StagedObject + '_>>> {
        self.faults.operate()?;
        let staged = self.inner.stage_same(path, version)?;
        Ok(staged.map(|staged| Box::new(FaultyStaged(Some(staged), &self.faults)) as Box<dyn StagedObject>))
    }
    fn set_extended(&self, path: &ContentPath, extended: &Extended) -> ObjectResult<bool> {
        self.faults.operate()?;
        self.inner.set_extended(path, extended)
    }
    fn stage(&self) -> ObjectResult<Box<dyn StagedObject + '_>> {
        self.faults.operate()?;
        Ok(Box::new(FaultyStaged(Some(self.inner.stage()?), &self.faults)))
    }
    fn harden(&self) -> Result<()> {
        self.faults.operate()?;
        self.inner.harden()
    }
    fn set_attributes(&self, path: &ContentPath, attributes: Attributes) -> ObjectResult<()> {
        self.faults.operate()?;
        self.inner.set_attributes(path, attributes)
    }
    fn make_folder(&self, path: &ContentPath, mode: u32) -> ObjectResult<()> {
        self.faults.operate()?;
        self.inner.make_folder(path, mode)
    }
    fn remove(&self, path: &ContentPath, kind: ObjectKind) -> ObjectResult<()> {
        self.faults.operate()?;
        self.inner.remove(path, kind)
    }
    fn set_aside(&self, path: &ContentPath, occasion: &str) -> ObjectResult<ContentPath> {
        self.faults.operate()?;
        self.inner.set_aside(path, occasion)
    }
    fn history(&self) -> &dyn ContentHistory {
        self
    }

    fn flush(&self) -> Result<()> {
        self.faults.operate()?;
        if self.faults.flush_error {
            return Err(Error::new(ErrorKind::Io, "Failed.", "Mend it."));
        }
        self.faults.flushing.iter().for_each(|happens| happens());
        self.inner.flush()
    }
}

/// Every write counts as an operation, as those to the content do.
impl ContentHistory for Faulty {
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
        self.faults.operate()?;
        self.inner.history().begin(revision)
    }

    fn note(&self, objects: &[Before]) -> Result<()> {
        self.faults.operate()?;
        self.inner.history().note(objects)
    }

    fn sync(&self) -> Result<()> {
        self.faults.operate()?;
        self.inner.history().sync()
    }

    fn keep(&self, path: &ContentPath, number: u32) -> ObjectResult<()> {
        self.fails(path)?;
        self.inner.history().keep(path, number)
    }

    fn take(&self, path: &ContentPath, number: u32) -> ObjectResult<()> {
        self.fails(path)?;
        self.inner.history().take(path, number)
    }

    fn end(&self, next: &Revision) -> Result<()> {
        self.faults.operate()?;
        self.inner.history().end(next)
    }

    fn read_notes(&self, number: u32, take: &mut dyn FnMut(Before) -> Result<()>) -> Result<()> {
        self.inner.history().read_notes(number, take)
    }

    fn kept(&self, revision: u32, number: u32) -> ObjectResult<Option<ContentPath>> {
        self.inner.history().kept(revision, number)
    }

    fn remove_revision(&self, number: u32) -> Result<()> {
        self.faults.operate()?;
        self.inner.history().remove_revision(number)
    }
}

/// The module between two stores that fail like this.
pub(super) fn module(pair: &Pair, source: Faults, standby: Faults) -> (DataConf, Arc<Faults>) {
    let standby = Arc::new(standby);
    let source = Faulty { inner: pair.source_end(), faults: Arc::new(source) };
    let faulty = Faulty { inner: Box::new(pair.standby_store()), faults: standby.clone() };
    let module = DataConf::new(
        pool(),
        Box::new(source),
        Box::new(faulty),
        place(&pair.index_file()),
        pair.batch_bytes,
        pair.history.clone(),
    );
    (module, standby)
}
