//! Content stores: conference files in a folder (later an S3 bucket or an Azure container).
//!
//! A store holds *objects* (files and folders) under [`ContentPath`]s. What is written to it is *staged* first, where
//! nobody sees it, and then published in one step, so that a reader finds the earlier version or the new one, never
//! a part. A *marker* gives a store its identity: without it nobody could tell an empty store from one that is not
//! mounted.

use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::error::{Error, Result};
use crate::topology::PoolFqdn;

pub mod folder;
pub mod index;
mod path;

pub use path::ContentPath;

/// What an object is. Everything else (links, pipes, sockets, devices) is refused by the stores.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ObjectKind {
    /// A file with content.
    File,
    /// A folder, which may be empty.
    Folder,
}

/// What a store says about an object without reading it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ObjectMeta {
    /// File or folder.
    pub kind: ObjectKind,
    /// Bytes; 0 for folders.
    pub size: u64,
    /// When the content last changed, in nanoseconds since 1970; whoever writes a file may set it to anything.
    pub mtime_ns: i64,
    /// When content or attributes last changed, in nanoseconds since 1970; set by the store alone.
    pub ctime_ns: i64,
    /// The object's number within its device.
    pub inode: u64,
    /// The device.
    pub device: u64,
    /// The permission bits that travel: `0o777` of files, `0o3777` of folders.
    pub mode: u32,
}

impl ObjectMeta {
    /// Whether both describe the same version of the same file, as far as that can be told without reading it.
    pub fn is_same_version(&self, other: &ObjectMeta) -> bool {
        (self.kind, self.size, self.mtime_ns, self.ctime_ns, self.inode, self.device)
            == (other.kind, other.size, other.mtime_ns, other.ctime_ns, other.inode, other.device)
    }

    /// What a copy of the object keeps.
    pub fn attributes(&self) -> Attributes {
        Attributes { mtime_ns: self.mtime_ns, mode: self.mode }
    }
}

/// What a copy keeps besides the content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attributes {
    /// Nanoseconds since 1970.
    pub mtime_ns: i64,
    /// Permission bits. A store keeps its own access: owners stay able to read files and to change folders.
    pub mode: u32,
}

/// Why an operation on one object failed.
#[derive(Debug)]
pub enum ObjectError {
    /// It does not exist (any more).
    Gone,
    /// This object cannot be handled; others can.
    Refused(Refusal),
    /// The store as a whole cannot go on, or the job was cancelled.
    Store(Error),
}

/// Why one object cannot be handled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// A sentence.
    pub reason: String,
    /// What to do.
    pub advice: String,
}

impl Refusal {
    /// A refusal with its reason and advice.
    pub fn new(reason: impl Into<String>, advice: impl Into<String>) -> Self {
        Refusal { reason: reason.into(), advice: advice.into() }
    }
}

impl From<Error> for ObjectError {
    fn from(error: Error) -> Self {
        ObjectError::Store(error)
    }
}

/// The result of an operation on one object.
pub type ObjectResult<T> = Result<T, ObjectError>;

/// Which half of a pair a store is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum StoreRole {
    /// The pool's own content.
    Source,
    /// The copy that the backup pool holds.
    Standby,
    /// What was a copy until the pool's backup was disabled: a later backup of the pool may take it over.
    FormerStandby,
}

/// The identity that a store carries.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Marker {
    /// Unique for ever.
    pub store_id: Uuid,
    /// The pool whose content this is.
    pub pool: PoolFqdn,
    /// Original or copy.
    pub role: StoreRole,
}

/// What stands where a store should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Presence {
    /// Nothing.
    Missing,
    /// A store without identity.
    Unmarked {
        /// Whether it holds no objects.
        empty: bool,
    },
    /// A store with this identity.
    Marked(Marker),
}

/// One object of a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its name within its folder.
    pub name: Box<[u8]>,
    /// What is known about it, or why it is refused. A refused object exists, but nothing else is known.
    pub object: Result<ObjectMeta, Refusal>,
}

/// Something that [`ContentStore::unmark`] removed or would remove.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trace {
    /// `marker` or `temporaryFile`.
    pub kind: &'static str,
    /// Its name within the store.
    pub name: String,
}

/// An open file of a store.
pub trait ContentReader {
    /// What the store said when the file was opened.
    fn meta(&self) -> ObjectMeta;

    /// Reads on; 0 at the end.
    ///
    /// # Errors
    /// When the file or the store cannot be read.
    fn read(&mut self, buffer: &mut [u8]) -> ObjectResult<usize>;

    /// Whether the file is still the version that was opened.
    ///
    /// # Errors
    /// When the store does not answer.
    fn is_unchanged(&self) -> ObjectResult<bool>;
}

/// A file that is being written where nobody sees it. Dropped without being published it leaves nothing.
pub trait StagedObject {
    /// Appends.
    ///
    /// # Errors
    /// `Store` when nothing more can be written, for instance on a full disk.
    fn write(&mut self, bytes: &[u8]) -> ObjectResult<()>;

    /// Ends the content, sets the attributes and makes both durable.
    ///
    /// # Errors
    /// `Store` with [`crate::error::ErrorKind::Io`] when the device failed: what was written may be gone even if a second attempt
    /// to make it durable succeeded, so the object has to be written again.
    fn seal(&mut self, attributes: Attributes) -> ObjectResult<()>;

    /// Gives the sealed object its name, replacing a file that has it; folders above are made where they are missing.
    /// Without `replace` an existing object stays and the result is false. Durable after the next
    /// [`ContentStore::flush`].
    ///
    /// # Errors
    /// `Refused` when a folder has the name, or the store cannot hold such a name.
    fn publish(self: Box<Self>, path: &ContentPath, replace: bool) -> ObjectResult<bool>;
}

/// A place that holds content. Blocking; methods may be called from any thread.
pub trait ContentStore: Send + Sync {
    /// Where it is, for people, for instance `file:/srv/share`.
    fn url(&self) -> String;

    /// The same store, with handles of its own. Every operation takes one: what it identified at its beginning is then
    /// what it works on to its end, whatever is mounted or asked for meanwhile.
    fn reopen(&self) -> Box<dyn ContentStore>;

    /// Opens the store and says what is there.
    ///
    /// # Errors
    /// When something is there that cannot be read.
    fn identify(&self) -> Result<Presence>;

    /// Makes an empty store without a marker; one that exists is left as it is.
    ///
    /// # Errors
    /// When it cannot be made.
    fn create(&self) -> Result<()>;

    /// Gives the store an identity, durably.
    ///
    /// # Errors
    /// When it cannot be written.
    fn mark(&self, marker: &Marker) -> Result<()>;

    /// Removes the identity and everything else that is neither content nor was set aside, and lists it; with
    /// `dry_run` only lists it.
    ///
    /// # Errors
    /// When it cannot be read or written.
    fn unmark(&self, dry_run: bool) -> Result<Vec<Trace>>;

    /// Removes staged objects that a killed process left; returns how many. Staged objects of this process must not
    /// exist.
    ///
    /// # Errors
    /// When they cannot be listed or removed.
    fn sweep(&self) -> Result<u64>;

    /// What time it is for this store, in nanoseconds since 1970, by the clock that its ctimes come from; none where
    /// the store cannot be written.
    fn now_ns(&self) -> Option<i64>;

    /// Lists one folder, sorted by name (bytes). The marker and staged objects are left out.
    ///
    /// # Errors
    /// `Refused` when the folder cannot be read: then nothing may be concluded about what is in it.
    fn list(&self, folder: &ContentPath, cancel: &CancellationToken) -> ObjectResult<Vec<Entry>>;

    /// What is known about one object.
    ///
    /// # Errors
    /// `Gone`, or `Refused` for what is neither file nor folder.
    fn stat(&self, path: &ContentPath) -> ObjectResult<ObjectMeta>;

    /// Opens a file.
    ///
    /// # Errors
    /// `Gone`; `Refused` for what is no file, what may not be read, and databases that must not be touched.
    fn read(&self, path: &ContentPath) -> ObjectResult<Box<dyn ContentReader + '_>>;

    /// Begins to write a file.
    ///
    /// # Errors
    /// When the store cannot be written.
    fn stage(&self) -> ObjectResult<Box<dyn StagedObject + '_>>;

    /// Sets what a copy keeps besides the content.
    ///
    /// # Errors
    /// `Gone`, or when the store cannot be written.
    fn set_attributes(&self, path: &ContentPath, attributes: Attributes) -> ObjectResult<()>;

    /// Makes a folder, and those above it, or sets the mode of one that exists. Durable after the next flush.
    ///
    /// # Errors
    /// `Refused` when a file has the name.
    fn make_folder(&self, path: &ContentPath, mode: u32) -> ObjectResult<()>;

    /// Removes a file or an empty folder. Durable after the next flush.
    ///
    /// # Errors
    /// `Gone`; `Refused` for a folder that is not empty.
    fn remove(&self, path: &ContentPath, kind: ObjectKind) -> ObjectResult<()>;

    /// Moves an object out of the content to where it is kept until somebody removes it, durably. Returns where that
    /// is within the store: a place that no listing shows, named after the occasion and the path.
    ///
    /// # Errors
    /// `Gone`; when the store cannot be written.
    fn set_aside(&self, path: &ContentPath, occasion: &str) -> ObjectResult<ContentPath>;

    /// Makes every name that was published, made or removed since the last flush durable.
    ///
    /// # Errors
    /// When the device failed: the names may be gone.
    fn flush(&self) -> Result<()>;
}

#[cfg(test)]
mod contract;
