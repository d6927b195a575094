//! The content store of a source at another machine, as far as it is read: every question would cost a wait, so most answers are
//! fetched many at a time, before they are asked for, and everything that can be found out where the bytes are is found there.
//!
//! What an operation opened stays what it is to its end: a helper that was begun anew does not know it, and the operation fails.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio_util::sync::CancellationToken;

use super::abilities::Abilities;
use super::hints::{FoundFolder, KnownListings, Want, What};
use super::history::ContentHistory;
use super::room::Room;
use super::{
    Attributes, COARSEST_TICK_NS, ContentPath, ContentReader, ContentStore, ContentTrace, Extended,
    HashedFile, Listing, Marker, MarkerRole, ObjectError, ObjectKind, ObjectMeta, ObjectResult, Presence,
    StagedObject, Version,
};
use crate::error::Result;
use crate::store::remote::RemotePlace;
use crate::wire::{Call, Session};

mod expected;
mod history;
mod listing;
mod messages;
mod reader;
pub mod serve;
mod stream;
#[cfg(test)]
pub(crate) mod tests;
mod walk;

use expected::{Batch, Entry};
use messages::{About, FoundObject, Key, MOST_PATH_BYTES, MOST_WANTED, Mark, Open, Root, Stands, message};
use stream::{ItemReader, Tag, not_understood};

/// So many batches of what was expected are kept: one that is asked for, one that comes, and one of which the last are still asked for.
const BATCHES: usize = 3;

/// A content store at another machine.
pub struct RemoteContent {
    place: Arc<RemotePlace>,
    /// Below the root of the place.
    store: String,
    /// Databases below that root that are never opened as files.
    databases: Vec<String>,
    cancel: Mutex<CancellationToken>,
    /// What a walk is going to know.
    known: Mutex<Option<Root>>,
    opened: Mutex<Option<Opened>>,
    expected: Mutex<VecDeque<Arc<Batch>>>,
}

/// Where a store was opened.
#[derive(Clone)]
struct Reached {
    /// Another session knows nothing of it.
    session: Arc<Session>,
    /// What the helper knows it by.
    number: u64,
}

/// A store that was opened.
struct Opened {
    at: Reached,
    about: Arc<About>,
    /// The call that keeps it open.
    items: Option<ItemReader<Call>>,
    /// What a walk compares with that goes on already.
    walk: Option<Root>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl RemoteContent {
    /// The store at this path below the root of a place, and the databases below that root that are never opened as files.
    pub fn new(place: Arc<RemotePlace>, store: String, databases: Vec<String>) -> Self {
        RemoteContent {
            place,
            store,
            databases,
            cancel: Mutex::default(),
            known: Mutex::default(),
            opened: Mutex::default(),
            expected: Mutex::default(),
        }
    }

    fn cancel(&self) -> CancellationToken {
        lock(&self.cancel).clone()
    }

    /// Opens the store anew.
    fn open(&self) -> Result<(Reached, Arc<About>)> {
        lock(&self.expected).clear();
        // The helper closes what it had opened.
        *lock(&self.opened) = None;
        let at = Reached { session: self.place.session()?, number: fastrand::u64(..) };
        let (store, databases, known) =
            (self.store.clone(), self.databases.clone(), lock(&self.known).take());
        let request = Open { store, number: at.number, databases, known };
        let mut items = ItemReader::new(at.session.call(message::OPEN, &request, &self.cancel())?);
        let about: Arc<About> = Arc::new(items.expect(Tag::About)?.value()?);
        let walk = known.filter(|_| matches!(about.stands, Stands::Marked(_)));
        let (items, about_it) = (Some(items), Arc::clone(&about));
        *lock(&self.opened) = Some(Opened { at: at.clone(), about: about_it, items, walk });
        Ok((at, about))
    }

    /// What is open, or is opened now.
    fn opened(&self) -> Result<(Reached, Arc<About>)> {
        let opened = lock(&self.opened).as_ref().map(|opened| (opened.at.clone(), Arc::clone(&opened.about)));
        opened.map_or_else(|| self.open(), Ok)
    }

    fn reached(&self) -> Result<Reached> {
        self.opened().map(|(at, _)| at)
    }

    fn refused(&self, what: &str) -> ObjectError {
        ObjectError::Store(self.place.refuses(what))
    }

    /// What was fetched of an object, if it was expected; `take` lets it be asked for anew after this.
    fn arrived(&self, path: &ContentPath, take: bool) -> Result<Option<Entry>> {
        let batches: Vec<_> = lock(&self.expected).iter().rev().cloned().collect();
        let mut batches = batches.iter();
        let found = batches.find_map(|batch| batch.entry(path, take).transpose()).transpose()?;
        if take {
            batches.for_each(|older| older.forget(path));
        }
        Ok(found)
    }

    /// What there is of an object, fetched now if it was not expected.
    fn entry(&self, path: &ContentPath, what: What, take: bool) -> Result<Entry> {
        if let Some(entry) = self.arrived(path, take)? {
            return Ok(entry);
        }
        self.fetch(path, what)
    }

    fn fetch(&self, path: &ContentPath, what: What) -> Result<Entry> {
        let wanted = vec![Want { path: path.clone(), what, held: None }];
        let batch = Batch::ask(&self.reached()?, wanted, &self.cancel())?;
        batch.entry(path, true)?.ok_or_else(not_understood)
    }
}

impl ContentStore for RemoteContent {
    fn url(&self) -> String {
        format!("{}/{}", self.place.to_string().trim_end_matches('/'), self.store)
    }

    fn reopen(&self) -> Box<dyn ContentStore> {
        let (place, store, databases) = (Arc::clone(&self.place), self.store.clone(), self.databases.clone());
        Box::new(RemoteContent::new(place, store, databases))
    }

    fn is_elsewhere(&self) -> bool {
        true
    }

    fn begin(&self, known: Option<&dyn KnownListings>, cancel: &CancellationToken) -> Result<()> {
        *lock(&self.cancel) = cancel.clone();
        let root = known.map(|known| walk::root(known, Key::new())).transpose()?;
        *lock(&self.known) = root.filter(|root| root.folders > 0);
        Ok(())
    }

    fn walk(
        &self,
        known: Option<&dyn KnownListings>,
        cancel: &CancellationToken,
        take: &mut dyn FnMut(FoundFolder) -> Result<()>,
    ) -> Result<bool> {
        *lock(&self.cancel) = cancel.clone();
        let at = self.reached()?;
        let begun = lock(&self.opened).as_mut().map(|opened| (opened.walk.take(), opened.items.take()));
        let (root, mut items) = begun.unwrap_or_default();
        let walked = walk::walk(&at, root.zip(items.as_mut()), known, cancel, take);
        if let Some(opened) = lock(&self.opened).as_mut() {
            opened.items = items;
        }
        walked.map(|()| true)
    }

    fn expect(&self, mut wanted: Vec<Want>) -> Result<()> {
        // What is left out is asked for by itself.
        let mut bytes = 0;
        let fits = wanted.iter().take(MOST_WANTED).take_while(|want| {
            bytes += want.path.as_bytes().len();
            bytes <= MOST_PATH_BYTES
        });
        let fitting = fits.count();
        wanted.truncate(fitting);
        if wanted.is_empty() {
            return Ok(());
        }
        let batch = Batch::ask(&self.reached()?, wanted, &self.cancel())?;
        let mut expected = lock(&self.expected);
        expected.push_back(Arc::new(batch));
        let superfluous = expected.len().saturating_sub(BATCHES);
        // They are dropped once they are not locked any more: that tells the helper.
        let dropped: Vec<_> = expected.drain(..superfluous).collect();
        drop(expected);
        drop(dropped);
        Ok(())
    }

    fn hashed(&self, path: &ContentPath, held: Option<&[u8; 32]>) -> ObjectResult<Option<HashedFile>> {
        let entry = match (self.arrived(path, false)?, held) {
            (Some(entry), _) if entry.is_hashed() => entry,
            (_, Some(_)) => return Ok(None),
            (_, None) => self.fetch(path, What::Hash)?,
        };
        let hashed = entry.hashed()?;
        Ok(hashed.filter(|hashed| held.is_none_or(|held| *held == hashed.hashed.digest)))
    }

    fn identify(&self) -> Result<Presence> {
        let (_, about) = self.open()?;
        Ok(match &about.stands {
            Stands::Missing => Presence::Missing,
            Stands::Unmarked { is_empty } => Presence::Unmarked { empty: *is_empty },
            Stands::Marked(marker) => Presence::Marked(
                serde_json::from_str(marker).map_err(|cause| not_understood().caused_by(&cause))?,
            ),
        })
    }

    fn check_writable(&self) -> Result<()> {
        Err(self.place.refuses("Writing to a content store"))
    }

    fn check_markable(&self) -> Result<()> {
        let (_, about) = self.opened()?;
        about
            .unmarkable
            .as_deref()
            .map_or(Ok(()), |error| Err(serde_json::from_str(error).unwrap_or_else(|_| not_understood())))
    }

    fn check_place(&self, _: &ContentPath) -> ObjectResult<()> {
        Err(self.refused("Writing to a content store"))
    }

    fn create(&self) -> Result<()> {
        Err(self.place.refuses("Making a content store"))
    }

    /// Allowed for the pool's own store, where it has none: nobody could copy it otherwise.
    fn mark(&self, marker: &Marker) -> Result<()> {
        if marker.role != MarkerRole::Source {
            return Err(self.place.refuses("Marking a standby copy"));
        }
        let marker = serde_json::to_string(marker).map_err(|cause| not_understood().caused_by(&cause))?;
        let Reached { session, number } = self.reached()?;
        session.call(message::MARK, &Mark { number, marker }, &self.cancel())?.answer()
    }

    fn unmark(&self, dry_run: bool) -> Result<Vec<ContentTrace>> {
        if !dry_run {
            return Err(self.place.refuses("Removing the marker of a content store"));
        }
        let Reached { session, number } = self.reached()?;
        let traces: Vec<(String, String)> =
            session.call(message::TRACES, &number, &self.cancel())?.answer()?;
        let kind =
            |kind: &str| ["marker", "temporaryFile", "history"].into_iter().find(|known| *known == kind);
        let trace = |(told, name): (String, String)| kind(&told).map(|kind| ContentTrace { kind, name });
        traces.into_iter().map(|told| trace(told).ok_or_else(not_understood)).collect()
    }

    fn foreign(&self) -> Result<Vec<ContentPath>> {
        self.opened().map(|(_, about)| about.foreign.clone())
    }

    fn abilities(&self) -> Result<Arc<Abilities>> {
        Ok(self.foreseen_abilities())
    }

    fn foreseen_abilities(&self) -> Arc<Abilities> {
        let about = self.opened().ok().map(|(_, about)| about);
        let told = about.and_then(|about| serde_json::from_str(about.abilities.as_deref()?).ok());
        Arc::new(told.unwrap_or_default())
    }

    fn respell(&self, _: &ContentPath, _: &ContentPath) -> ObjectResult<()> {
        Err(self.refused("Renaming what a content store holds"))
    }

    /// Whoever writes there sweeps there.
    fn sweep(&self) -> Result<u64> {
        Ok(0)
    }

    fn now_ns(&self) -> Option<i64> {
        self.opened().ok().map(|(_, about)| about.now_ns)
    }

    fn tick_ns(&self) -> i64 {
        self.opened().map_or(COARSEST_TICK_NS, |(_, about)| about.tick_ns)
    }

    fn keeps_owners(&self) -> bool {
        false
    }

    fn room(&self) -> Option<Room> {
        None
    }

    fn keep_free(&self, _: u64) {}

    fn taken_by(&self, _: &ContentPath) -> ObjectResult<u64> {
        Err(self.refused("Replacing what a content store holds"))
    }

    fn list(&self, folder: &ContentPath, cancel: &CancellationToken) -> ObjectResult<Listing> {
        walk::list(&self.reached()?, folder, cancel)?
    }

    fn stat(&self, path: &ContentPath) -> ObjectResult<ObjectMeta> {
        if path.is_root()
            && let (_, about) = self.opened()?
            && let Some(meta) = about.root
        {
            return Ok(meta);
        }
        self.entry(path, What::Head, false)?.meta()
    }

    fn read(&self, path: &ContentPath) -> ObjectResult<Box<dyn ContentReader + '_>> {
        let entry = self.entry(path, What::Content, true)?;
        Ok(Box::new(reader::RemoteReader::new(self, path.clone(), entry)?))
    }

    fn read_link(&self, path: &ContentPath) -> ObjectResult<Box<[u8]>> {
        match self.entry(path, What::Head, false)?.found() {
            FoundObject::Link { target, .. } => {
                let folder = path.split().map(|(folder, _)| folder).unwrap_or_default();
                let refusal = super::folder::refusal_of_link(&folder, target);
                refusal
                    .map_or_else(|| Ok(target.clone().into()), |refusal| Err(ObjectError::Refused(refusal)))
            }
            other => Err(expected::not_this(other)),
        }
    }

    fn folder_extended(&self, path: &ContentPath) -> ObjectResult<Extended> {
        match self.entry(path, What::Head, false)?.found() {
            FoundObject::Folder { extended, .. } => extended.clone().map_err(|why| why.error()),
            other => Err(expected::not_this(other)),
        }
    }

    fn stage(&self) -> ObjectResult<Box<dyn StagedObject + '_>> {
        Err(self.refused("Writing to a content store"))
    }

    fn stage_over(&self, _: &ContentPath) -> ObjectResult<Box<dyn StagedObject + '_>> {
        self.stage()
    }

    fn stage_link(&self, _: &[u8], _: Attributes) -> ObjectResult<Box<dyn StagedObject + '_>> {
        self.stage()
    }

    fn stage_same(&self, _: &ContentPath, _: Version) -> ObjectResult<Option<Box<dyn StagedObject + '_>>> {
        self.stage().map(Some)
    }

    fn harden(&self) -> Result<()> {
        Err(self.place.refuses("Writing to a content store"))
    }

    fn set_attributes(&self, _: &ContentPath, _: Attributes) -> ObjectResult<()> {
        Err(self.refused("Writing to a content store"))
    }

    fn set_extended(&self, _: &ContentPath, _: &Extended) -> ObjectResult<bool> {
        Err(self.refused("Writing to a content store"))
    }

    fn make_folder(&self, _: &ContentPath, _: u32) -> ObjectResult<()> {
        Err(self.refused("Writing to a content store"))
    }

    fn remove(&self, _: &ContentPath, _: ObjectKind) -> ObjectResult<()> {
        Err(self.refused("Writing to a content store"))
    }

    fn set_aside(&self, _: &ContentPath, _: &str) -> ObjectResult<ContentPath> {
        Err(self.refused("Writing to a content store"))
    }

    fn history(&self) -> &dyn ContentHistory {
        self
    }

    fn flush(&self) -> Result<()> {
        Err(self.place.refuses("Writing to a content store"))
    }
}
