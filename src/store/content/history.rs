//! Earlier states of a standby copy: what each cycle replaced or removed, kept by the store that holds the copy.
//!
//! A *revision* is a state of the copy that can be made again. What is kept of it is what the cycle after it changed: of
//! every object what it was before, and of files that were replaced or removed the files themselves. Undone in the
//! opposite order, newest revision first, these notes lead from the copy of now to the revision that is wanted.
//!
//! Everything is noted before it changes. So a note may be of something that did not happen because the process died:
//! undoing what did not happen changes nothing.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{ContentPath, Extended, ObjectMeta, ObjectResult};
use crate::error::Result;
use crate::store::MadeBy;

/// A state of a copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Revision {
    /// It grows with every cycle that changed something.
    pub number: u32,
    /// When the copy came into that state.
    pub since: Timestamp,
    /// The job that made it; none where that is not known.
    pub job: Option<MadeBy>,
    /// The size of all files in it, in bytes.
    pub bytes: u64,
}

/// A revision that can be made again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptRevision {
    /// Which one.
    pub revision: Revision,
    /// The number of the revision that followed it; none while the cycle that leads there has not ended.
    pub next: Option<u32>,
    /// When the copy changed into that one.
    pub until: Option<Timestamp>,
    /// What keeping it takes, in bytes.
    pub kept_bytes: u64,
}

/// What an object was before it changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Before {
    /// Which object.
    pub path: ContentPath,
    /// What it was; none where nothing had this name.
    pub was: Option<Was>,
}

/// An object as it was.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Was {
    /// The source's object that the standby held.
    pub meta: ObjectMeta,
    /// The content's BLAKE3, of a link that of its target; none for folders and where it is not known.
    pub hash: Option<[u8; 32]>,
    /// The extended attributes, where they are not with the content.
    pub extended: Option<Extended>,
    /// Where the content is.
    pub content: WasContent,
}

/// Where the content of an object is that was replaced or removed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum WasContent {
    /// Where it was: only what the object has besides it changed. Also of folders, which have none.
    Unchanged,
    /// The store keeps the file under this number of the revision.
    Kept(u32),
    /// In the version that came next, but for the parts that the store keeps under this number.
    Parts {
        /// The number.
        number: u32,
        /// The BLAKE3 of the version that came next.
        next: Option<[u8; 32]>,
    },
    /// Of a link: where it led.
    Target(Box<[u8]>),
    /// In the object that has this name now: it was renamed.
    At(ContentPath),
    /// Where it was set aside: others had changed the object at the copy.
    Aside(ContentPath),
    /// Nowhere: others had removed it there.
    Lost,
}

/// Parts of a file that its next version changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptParts {
    /// The size of the earlier version, in bytes.
    pub size: u64,
    /// Where each part begins in that version, how long it is, and where its bytes begin in the file that is kept.
    pub places: Vec<(u64, u64, u64)>,
}

/// Earlier states of a store's content. Blocking; methods may be called from any thread.
pub trait ContentHistory: Send + Sync {
    /// The revisions that are kept, the newest first, without what only [`ContentHistory::describe`] tells.
    ///
    /// # Errors
    /// When they cannot be listed.
    fn revisions(&self) -> Result<Vec<KeptRevision>>;

    /// What is known of a revision; none where it cannot be read: it, and those before it, are lost.
    ///
    /// # Errors
    /// When the store does not answer.
    fn describe(&self, number: u32) -> Result<Option<Revision>>;

    /// From now on what is staged over an earlier version may be asked what it changes of that.
    fn expect_changes(&self);

    /// What a file has that is kept as [`WasContent::Parts`]; none where it is no such file.
    ///
    /// # Errors
    /// When it cannot be read.
    fn parts(&self, path: &ContentPath) -> ObjectResult<Option<KeptParts>>;

    /// Begins to keep what this revision, which is the copy's state now, will be remembered by; goes on where that was
    /// begun before and not ended. What was begun of another revision is removed. Returns the first number that no file is kept under.
    ///
    /// # Errors
    /// When nothing can be written.
    fn begin(&self, revision: &Revision) -> Result<u32>;

    /// Notes what objects are that are about to change. Durable after [`ContentHistory::sync`].
    ///
    /// # Errors
    /// When nothing can be written; before a revision was begun.
    fn note(&self, objects: &[Before]) -> Result<()>;

    /// Makes what was noted durable, so that it may change.
    ///
    /// # Errors
    /// When the device failed.
    fn sync(&self) -> Result<()>;

    /// Keeps a file under a number of the revision that was begun. It is about to be replaced, and keeps its name until then
    /// where the store can give a file two names.
    ///
    /// # Errors
    /// `Gone`; as for publishing.
    fn keep(&self, path: &ContentPath, number: u32) -> ObjectResult<()>;

    /// Removes a file from the content and keeps it under a number. Durable after the next flush.
    ///
    /// # Errors
    /// `Gone`; as for removing it.
    fn take(&self, path: &ContentPath, number: u32) -> ObjectResult<()>;

    /// Ends the revision that was begun, if any: the copy is in this state now. Everything that changed must be durable.
    ///
    /// # Errors
    /// When it cannot be written.
    fn end(&self, next: &Revision) -> Result<()>;

    /// Reads what was noted of a revision, in the order in which it was noted.
    ///
    /// # Errors
    /// When there is no such revision or it cannot be read; what taking a note fails with.
    fn read_notes(&self, number: u32, take: &mut dyn FnMut(Before) -> Result<()>) -> Result<()>;

    /// Where a file that is kept lies within the store: a place that no listing shows. None where it is not there, because the
    /// change never came to be.
    ///
    /// # Errors
    /// When that cannot be seen.
    fn kept(&self, revision: u32, number: u32) -> ObjectResult<Option<ContentPath>>;

    /// Removes a revision, which may be the one that was begun; none is fine.
    ///
    /// # Errors
    /// When it cannot be removed.
    fn remove_revision(&self, number: u32) -> Result<()>;
}
