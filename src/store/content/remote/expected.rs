//! What was fetched of objects before it was asked for.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use tokio_util::sync::CancellationToken;

use super::Reached;
use super::messages::{FoundFile, FoundObject, Inside, SMALL_BYTES, Wanted, WantedWhat, message};
use super::stream::{ItemReader, ItemWriter, Parts, Tag, not_understood};
use crate::error::Result;
use crate::store::content::groups::{GroupHasher, Groups, Hashed};
use crate::store::content::hints::{Want, What};
use crate::store::content::{ContentPath, HashedFile, ObjectError, ObjectMeta, ObjectResult, Refusal};
use crate::wire::Call;

/// The digests of this many bytes are what a file can have at most.
const MOST_GROUP_BYTES: u64 = 2 << 20;

/// So much content of a batch is kept that nobody has taken yet; what is older is read again if it is asked for after all.
const MOST_KEPT_BYTES: usize = 8 << 20;

/// What was found of one object, and the bytes that came with it.
#[derive(Clone)]
pub(super) struct Entry {
    found: FoundObject,
    bytes: std::sync::Arc<Vec<u8>>,
}

impl Entry {
    fn read(items: &mut ItemReader<impl Parts>) -> Result<Self> {
        let found: FoundObject = items.expect(Tag::FoundObject)?.value()?;
        let expected = match &found {
            FoundObject::File(FoundFile { inside: Inside::Hashed { group_bytes, .. }, .. })
                if *group_bytes <= MOST_GROUP_BYTES =>
            {
                *group_bytes
            }
            FoundObject::File(FoundFile { meta, inside: Inside::Content, .. })
                if meta.size <= SMALL_BYTES =>
            {
                meta.size
            }
            FoundObject::File(FoundFile { inside: Inside::Content | Inside::Hashed { .. }, .. }) => {
                return Err(not_understood());
            }
            _ => 0,
        };
        let mut bytes = Vec::new();
        while (bytes.len() as u64) < expected {
            let piece = items.expect(Tag::Bytes)?.bytes;
            if piece.is_empty() || (bytes.len() + piece.len()) as u64 > expected {
                return Err(not_understood());
            }
            bytes.extend_from_slice(piece);
        }
        Ok(Entry { found, bytes: std::sync::Arc::new(bytes) })
    }

    pub(super) fn found(&self) -> &FoundObject {
        &self.found
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub(super) fn meta(&self) -> ObjectResult<ObjectMeta> {
        match &self.found {
            FoundObject::Failed { meta: Some(meta), .. }
            | FoundObject::Link { meta, .. }
            | FoundObject::Folder { meta, .. } => Ok(*meta),
            FoundObject::File(file) => Ok(file.meta),
            FoundObject::Failed { meta: None, why } => Err(why.error()),
        }
    }

    /// Whether its content was read, as far as it can be.
    pub(super) fn is_hashed(&self) -> bool {
        match &self.found {
            FoundObject::File(file) => !matches!(file.inside, Inside::Unread),
            FoundObject::Failed { .. } => true,
            FoundObject::Link { .. } | FoundObject::Folder { .. } => false,
        }
    }

    /// What its content hashes to; none where it was not read.
    pub(super) fn hashed(&self) -> ObjectResult<Option<HashedFile>> {
        let FoundObject::File(FoundFile { meta, names, extended, inside, .. }) = &self.found else {
            return Err(not_this(&self.found));
        };
        let hashed = match inside {
            Inside::Unread => return Ok(None),
            Inside::Content => {
                let mut hasher = GroupHasher::new(meta.size);
                hasher.update(&self.bytes);
                hasher.finish()
            }
            Inside::Hashed { digest, .. } => {
                let groups =
                    Some(Groups::from_bytes(&self.bytes)).filter(|groups| groups.digest() == Some(*digest));
                Hashed { digest: *digest, groups }
            }
        };
        Ok(Some(HashedFile { meta: *meta, hashed, extended: extended.clone(), names: *names }))
    }
}

/// The failure of asking an object for what it does not have.
pub(super) fn not_this(found: &FoundObject) -> ObjectError {
    match found {
        FoundObject::Failed { why, .. } => why.error(),
        FoundObject::File(_) | FoundObject::Link { .. } | FoundObject::Folder { .. } => {
            ObjectError::Refused(Refusal::new(
                "It has become another kind of object while it was looked at.",
                "The next cycle takes it for what it is then.",
            ))
        }
    }
}

/// Objects that were asked for at once. Their answers are taken off the line when somebody wants one of them.
pub(super) struct Batch {
    /// When each of them comes.
    order: HashMap<ContentPath, usize>,
    arrivals: Mutex<Arrivals>,
}

struct Arrivals {
    /// None once it has ended.
    items: Option<ItemReader<Call>>,
    /// Those that came, by when they came; none where they were taken.
    entries: Vec<Option<Entry>>,
    /// How much content is kept, and of which no content older than this is.
    kept_bytes: usize,
    oldest: usize,
    count: usize,
}

impl Batch {
    /// Asks, and does not wait.
    pub(super) fn ask(at: &Reached, wanted: Vec<Want>, cancel: &CancellationToken) -> Result<Self> {
        let mut call = at.session.call(message::FETCH, &at.number, cancel)?;
        let mut writer = ItemWriter::new(|part: &[u8]| call.send(part));
        let mut order = HashMap::with_capacity(wanted.len());
        let count = wanted.len();
        for (at, Want { path, what, held }) in wanted.into_iter().enumerate() {
            let what = match what {
                What::Head => WantedWhat::Head,
                What::Hash => WantedWhat::Hash,
                What::Content => WantedWhat::Content,
            };
            order.insert(path.clone(), at);
            writer.value(Tag::Wanted, &Wanted { path, what, held })?;
        }
        writer.flush()?;
        drop(writer);
        call.end_parts()?;
        let items = Some(ItemReader::new(call));
        let arrivals = Arrivals { items, entries: Vec::new(), kept_bytes: 0, oldest: 0, count };
        Ok(Batch { order, arrivals: Mutex::new(arrivals) })
    }

    /// What was found of an object, waiting for it if it is still to come. None where it was not asked for, or was taken.
    pub(super) fn entry(&self, path: &ContentPath, take: bool) -> Result<Option<Entry>> {
        let Some(at) = self.order.get(path) else { return Ok(None) };
        let mut arrivals = self.arrivals.lock().unwrap_or_else(PoisonError::into_inner);
        while arrivals.entries.len() <= *at {
            if !arrivals.next()? {
                return Ok(None);
            }
        }
        let Some(place) = arrivals.entries.get_mut(*at) else { return Ok(None) };
        let entry = if take { place.take() } else { place.clone() };
        if let (true, Some(entry)) = (take, &entry) {
            arrivals.kept_bytes = arrivals.kept_bytes.saturating_sub(entry.bytes.len());
        }
        Ok(entry)
    }

    /// Lets an object be asked for anew, if it has come.
    pub(super) fn forget(&self, path: &ContentPath) {
        let Some(at) = self.order.get(path) else { return };
        let mut arrivals = self.arrivals.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(entry) = arrivals.entries.get_mut(*at).and_then(Option::take) {
            arrivals.kept_bytes = arrivals.kept_bytes.saturating_sub(entry.bytes.len());
        }
    }
}

impl Arrivals {
    /// Takes the next one off the line; false after the last one, and after a failure, which is told once.
    fn next(&mut self) -> Result<bool> {
        let Some(mut items) = self.items.take() else { return Ok(false) };
        let entry = Entry::read(&mut items)?;
        self.kept_bytes += entry.bytes.len();
        self.entries.push(Some(entry));
        if self.entries.len() < self.count {
            self.items = Some(items);
        } else {
            let () = items.into_parts().answer()?;
        }
        while self.kept_bytes > MOST_KEPT_BYTES && self.oldest + 1 < self.entries.len() {
            if let Some(entry) = self.entries.get_mut(self.oldest).and_then(Option::take) {
                self.kept_bytes = self.kept_bytes.saturating_sub(entry.bytes.len());
            }
            self.oldest += 1;
        }
        Ok(true)
    }
}
