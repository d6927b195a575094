//! What is asked about a content store at another machine, and what is answered. None of these changes once it was released.

use serde::{Deserialize, Serialize};

use crate::error::Result;
use crate::store::content::{ContentPath, Extended, ObjectError, ObjectMeta, Refusal};

/// The numbers of messages.
pub(crate) mod message {
    /// Opens a store under a number, says what is there, and walks it if that was asked for: [`super::Open`]; an item
    /// [`super::About`], then those of a walk. It stays open until the call is given up.
    pub(crate) const OPEN: u8 = 40;
    /// Walks a store: [`super::Walk`]. Where listings are known, folders, if not all are as known; else all listings; an item
    /// [`super::WalkEnd`] behind them.
    pub(crate) const WALK: u8 = 41;
    /// Lists folders: the store's number, then paths; listings in their order.
    pub(crate) const LISTINGS: u8 = 42;
    /// Looks at objects: the store's number, then items [`super::Wanted`]; items [`super::Found`] in their order.
    pub(crate) const FETCH: u8 = 43;
    /// Reads a file: [`super::Read`]; an item [`super::Found`], then bytes and holes. The answer says whether it is still the
    /// version that was opened.
    pub(crate) const READ: u8 = 44;
    /// Reads what is new in a big file: [`super::Patch`], then the digests of groups; an item [`super::Found`], then each
    /// [`super::NewGroup`]. Asked for [`super::WantedBlocks`] then, it sends these. The answer says whether it is still the
    /// version that was opened.
    pub(crate) const PATCH: u8 = 45;
    /// Marks a source that has no marker: [`super::Mark`].
    pub(crate) const MARK: u8 = 46;
    /// Lists what unmarking would remove: the store's number; pairs of kind and name.
    pub(crate) const TRACES: u8 = 47;
}

/// Files up to this size come with what is known of them.
pub(super) const SMALL_BYTES: u64 = 256 << 10;

/// Bytes of a file in one item.
pub(super) const PIECE_BYTES: usize = 128 << 10;

/// How many folders or objects may be asked for in one call.
pub(super) const MOST_WANTED: usize = 4096;

/// How many bytes of paths one call may have.
pub(super) const MOST_PATH_BYTES: usize = 2 << 20;

/// What nobody foresees: digests under it are those of the same only, though they are short.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Key([u8; 16]);

impl Key {
    pub(super) fn new() -> Self {
        Key(uuid::Uuid::new_v4().into_bytes())
    }

    fn hasher(self) -> blake3::Hasher {
        let mut key = [0; 32];
        key.iter_mut().zip(self.0).for_each(|(to, from)| *to = from);
        blake3::Hasher::new_keyed(&key)
    }

    /// The digests of the blocks of a group.
    pub(super) fn blocks(self, content: &[u8]) -> Vec<[u8; 16]> {
        let digest = |block: &[u8]| {
            let mut short = [0; 16];
            let whole = self.hasher().update(block).finalize();
            short.iter_mut().zip(whole.as_bytes()).for_each(|(to, from)| *to = *from);
            short
        };
        content.chunks(PIECE_BYTES).map(digest).collect()
    }
}

/// What is known of all listings, as one number: whoever does not know the key cannot make others that have it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Root {
    /// Chosen anew for each operation.
    pub(super) key: Key,
    /// The digests of folders and their listings under that key, one over the other.
    pub(super) merged: [u8; 16],
    /// How many folders.
    pub(super) folders: u64,
}

impl Root {
    /// Of no folder.
    pub(super) fn empty(key: Key) -> Self {
        Root { key, merged: [0; 16], folders: 0 }
    }

    /// Adds a folder; the order does not matter.
    pub(super) fn add(&mut self, folder: &[u8], listing: &[u8; 32]) {
        let digest = self.key.hasher().update(listing).update(folder).finalize();
        self.merged.iter_mut().zip(digest.as_bytes()).for_each(|(sum, byte)| *sum ^= byte);
        self.folders += 1;
    }
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Open {
    /// Below the root of the place.
    pub(super) store: String,
    /// What the caller calls it from now on.
    pub(super) number: u64,
    /// Databases below the root that are never opened as files.
    pub(super) databases: Vec<String>,
    /// The walk that follows, if the store has a marker.
    pub(super) known: Option<Root>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Stands {
    Missing,
    Unmarked {
        is_empty: bool,
    },
    /// With this marker, as it is kept.
    Marked(String),
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct About {
    pub(super) stands: Stands,
    /// Of a store without marker: the error document of making one, where that is known to fail.
    pub(super) unmarkable: Option<String>,
    pub(super) tick_ns: i64,
    /// Before anything was walked.
    pub(super) now_ns: i64,
    pub(super) root: Option<ObjectMeta>,
    /// What it can hold, as it is kept; none where that is as usual.
    pub(super) abilities: Option<String>,
    /// What others put where the store keeps what is not content.
    pub(super) foreign: Vec<ContentPath>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Walk {
    pub(super) number: u64,
    /// None: all listings are wanted.
    pub(super) known: Option<Root>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct WalkedFolder {
    pub(super) path: ContentPath,
    /// None where something in it cannot be looked at.
    pub(super) digest: Option<[u8; 32]>,
    pub(super) count: u64,
    pub(super) has_files: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct WalkEnd {
    /// Whether everything is as it is known; then nothing else was said.
    pub(super) is_same: bool,
    pub(super) count: u64,
    pub(super) has_files: bool,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) enum ListingEnd {
    Whole,
    Failed(Failure),
}

/// Why one object cannot be handled.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) enum Failure {
    Gone,
    Refused { reason: String, advice: String },
}

impl Failure {
    /// The failure of one object; what all others would fail with stays an error.
    pub(super) fn of(failure: &ObjectError) -> Result<Self> {
        match failure {
            ObjectError::Gone => Ok(Failure::Gone),
            ObjectError::Refused(Refusal { reason, advice }) => {
                Ok(Failure::Refused { reason: reason.clone(), advice: advice.clone() })
            }
            ObjectError::Store(error) => Err(error.clone()),
        }
    }

    pub(super) fn error(&self) -> ObjectError {
        match self {
            Failure::Gone => ObjectError::Gone,
            Failure::Refused { reason, advice } => {
                ObjectError::Refused(Refusal::new(reason.as_str(), advice.as_str()))
            }
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum WantedWhat {
    Head,
    Hash,
    Content,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Wanted {
    pub(super) path: ContentPath,
    pub(super) what: WantedWhat,
    /// A content that need not be sent.
    pub(super) held: Option<[u8; 32]>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) enum FoundObject {
    /// It cannot be opened; what is known of it all the same.
    Failed {
        meta: Option<ObjectMeta>,
        why: Failure,
    },
    File(FoundFile),
    Link {
        meta: ObjectMeta,
        target: Vec<u8>,
    },
    Folder {
        meta: ObjectMeta,
        extended: Result<Extended, Failure>,
    },
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct FoundFile {
    pub(super) meta: ObjectMeta,
    pub(super) names: u64,
    pub(super) is_solid: bool,
    pub(super) extended: Extended,
    pub(super) inside: Inside,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) enum Inside {
    /// It has to be read.
    Unread,
    /// What it hashes to; so many bytes of its groups' digests follow.
    Hashed { digest: [u8; 32], group_bytes: u64 },
    /// All of it follows, unchanged since the file was opened.
    Content,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Read {
    pub(super) number: u64,
    pub(super) path: ContentPath,
    /// Only so much from this place on, holes as zeros; none for all of it.
    pub(super) part: Option<(u64, u64)>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Patch {
    pub(super) number: u64,
    pub(super) path: ContentPath,
    /// That of the digests of blocks.
    pub(super) key: Key,
}

/// A group that is another one than the caller holds.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct NewGroup {
    pub(super) number: u64,
    pub(super) length: u64,
    /// The digests of its blocks.
    pub(super) blocks: Vec<[u8; 16]>,
}

/// Which blocks of a group are wanted: one bit for each.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct WantedBlocks {
    pub(super) number: u64,
    pub(super) bits: u8,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Mark {
    pub(super) number: u64,
    /// As it is kept.
    pub(super) marker: String,
}
