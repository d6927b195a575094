//! The helper's end: it opens content stores below its root, reads them, and says what it finds.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use super::messages::{About, Mark, Open, Patch, Read, Stands, Walk, message};
use super::stream::{ItemWriter, Tag};
use crate::error::{Error, ErrorKind, Result};
use crate::store::content::abilities::Abilities;
use crate::store::content::folder::FolderStore;
use crate::store::content::{COARSEST_TICK_NS, ContentPath, ContentStore, Marker, MarkerRole, Presence};
use crate::store::remote::{Grant, ServedPlace};
use crate::topology::Engine;
use crate::wire::{Served, decode, encode};

mod fetch;
mod file;
mod walk;

/// How many stores are open at a time: each operation of a caller opens one.
const MOST_OPEN: usize = 32;

/// Answers what is asked about the content stores of a place.
pub struct ServedContent {
    place: ServedPlace,
    /// By the numbers that callers gave them, the newest last.
    open: Mutex<VecDeque<(u64, Arc<FolderStore>)>>,
}

impl ServedContent {
    /// For the content stores of this place.
    pub fn new(place: ServedPlace) -> Self {
        ServedContent { place, open: Mutex::default() }
    }

    /// Answers one call; none for a message that is about something else.
    ///
    /// # Errors
    /// What the caller is told.
    pub fn serve(&self, message: u8, request: &[u8], call: &Served) -> Option<Result<Vec<u8>>> {
        Some(match message {
            message::OPEN => decode(request).and_then(|open| encode(&self.open(open, call)?)),
            message::WALK => decode(request)
                .and_then(|Walk { number, known }| encode(&walk::walk(&*self.store(number)?, known, call)?)),
            message::LISTINGS => self.numbered(request).and_then(|store| encode(&walk::list(&store, call)?)),
            message::FETCH => self.numbered(request).and_then(|store| encode(&fetch::fetch(&store, call)?)),
            message::READ => decode(request).and_then(|Read { number, path, part }| {
                encode(&file::read(&*self.store(number)?, &path, part, call)?)
            }),
            message::PATCH => decode(request).and_then(|Patch { number, path, key }| {
                encode(&file::patch(&*self.store(number)?, &path, key, call)?)
            }),
            message::MARK => decode(request).and_then(|mark| encode(&self.mark(&mark)?)),
            message::TRACES => self.numbered(request).and_then(|store| {
                let traces = store.unmark(true)?;
                let traces: Vec<_> = traces.into_iter().map(|trace| (trace.kind, trace.name)).collect();
                encode(&traces)
            }),
            _ => return None,
        })
    }

    fn numbered(&self, request: &[u8]) -> Result<Arc<FolderStore>> {
        self.store(decode(request)?)
    }

    /// What was opened under this number: it stays what it was, whatever is mounted there meanwhile.
    fn store(&self, number: u64) -> Result<Arc<FolderStore>> {
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let found = open.iter().find(|(known, _)| *known == number);
        found.map(|(_, store)| Arc::clone(store)).ok_or_else(|| {
            Error::new(
                ErrorKind::StoreUnavailable,
                "The connection was cut, and the store is not open any more.",
                "Run the command again; it goes on where it stopped.",
            )
        })
    }

    /// Keeps it open until its caller gives the call up, or has gone.
    fn open(&self, open: Open, call: &Served) -> Result<()> {
        let Open { store, number, databases, known } = open;
        let path = self.place.open(Engine::Folder, &store, Grant::Read)?.path;
        // One that is not there, or elsewhere, cannot be opened as a file, either.
        let found = databases.iter().filter_map(|path| self.place.locate(path).ok());
        let store = Arc::new(FolderStore::new(path, found.collect()));
        let about = about(&store)?;
        {
            let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
            open.retain(|(known, _)| *known != number);
            open.push_back((number, Arc::clone(&store)));
            let superfluous = open.len().saturating_sub(MOST_OPEN);
            open.drain(..superfluous);
        }
        let is_marked = matches!(about.stands, Stands::Marked(_));
        let mut writer = ItemWriter::new(|part: &[u8]| call.put(part));
        writer.value(Tag::About, &about)?;
        writer.flush()?;
        let said = known.filter(|_| is_marked).map_or(Ok(()), |known| walk::walk(&store, Some(known), call));
        let kept = said.and_then(|()| {
            while call.next_part()?.is_some() {}
            Ok(())
        });
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.retain(|(_, other)| !Arc::ptr_eq(other, &store));
        kept
    }

    fn mark(&self, mark: &Mark) -> Result<()> {
        self.place.grants().require(Grant::Read)?;
        let marker: Marker = serde_json::from_str(&mark.marker)
            .map_err(|cause| refused("The marker is not understood.").caused_by(&cause))?;
        let store = self.store(mark.number)?;
        if marker.role != MarkerRole::Source || marker.pool != *self.place.pool() || marker.left_ns.is_some()
        {
            return Err(refused("Only the pool's own content store is marked from here."));
        }
        match store.reopen().identify()? {
            Presence::Unmarked { .. } => store.mark(&marker),
            Presence::Missing | Presence::Marked(_) => {
                Err(refused("Only a content store that is there and has no marker is marked from here."))
            }
        }
    }
}

fn refused(what: &str) -> Error {
    Error::new(ErrorKind::PeerRefused, what, "Run the command at the machine that the store is at.")
}

/// What is said about a store when it is opened.
fn about(store: &FolderStore) -> Result<About> {
    let presence = store.identify()?;
    let is_unmarked = matches!(presence, Presence::Unmarked { .. });
    let foreign = if presence == Presence::Missing { Vec::new() } else { store.foreign()? };
    // Who writes nothing to an unmarked store asks the clock that is coarser and behind.
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let now_ns = i64::try_from(now.as_nanos()).unwrap_or(i64::MAX).saturating_sub(COARSEST_TICK_NS);
    let written_ns = matches!(presence, Presence::Marked(_)).then(|| store.now_ns()).flatten();
    let abilities = store.foreseen_abilities();
    let is_usual = *abilities == Abilities::default();
    let unwritable =
        |cause: serde_json::Error| refused("What the store is cannot be said.").caused_by(&cause);
    let stands = match presence {
        Presence::Missing => Stands::Missing,
        Presence::Unmarked { empty } => Stands::Unmarked { is_empty: empty },
        Presence::Marked(marker) => Stands::Marked(serde_json::to_string(&marker).map_err(unwritable)?),
    };
    let unmarkable = if is_unmarked { store.check_writable().err() } else { None };
    let unmarkable = unmarkable.map(|error| serde_json::to_string(&error)).transpose().map_err(unwritable)?;
    Ok(About {
        stands,
        unmarkable,
        tick_ns: store.tick_ns(),
        now_ns: written_ns.unwrap_or(now_ns),
        root: store.stat(&ContentPath::root()).ok(),
        abilities: (!is_usual).then(|| serde_json::to_string(&*abilities)).transpose().map_err(unwritable)?,
        foreign,
    })
}
