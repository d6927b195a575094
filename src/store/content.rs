//! Content stores: conference files in a folder (later an S3 bucket or an Azure container).
//!
//! A store holds *objects* (files and folders) under [`ContentPath`]s. What is written to it is *staged* first, where
//! nobody sees it, and then published in one step, so that a reader finds the earlier version or the new one, never
//! a part. A *marker* gives a store its identity: without it nobody could tell an empty store from one that is not
//! mounted.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use abilities::Abilities;
use groups::{Groups, Hashed};
use hints::{FoundFolder, KnownListings, Want};

use crate::error::Result;
use crate::stored::{StoredDocument, words};
use crate::topology::PoolFqdn;

pub mod abilities;
pub mod folder;
pub mod groups;
pub mod hints;
pub mod history;
pub mod index;
pub(crate) mod lister;
mod listing;
mod object;
mod path;
pub mod rehearsal;
pub mod remote;
pub mod room;
pub(crate) mod spool;

pub use listing::{FolderNames, ListedObject, Listing};
pub use object::{
    Attributes, Extended, Instance, ObjectError, ObjectKind, ObjectMeta, ObjectResult, Ownership, READ_AGAIN,
    Refusal, mode_of_copy,
};
pub use path::ContentPath;
use room::Room;

words! {
    /// Which half of a pair a content store is, as its marker says.
    pub enum MarkerRole {
        /// The pool's own content.
        Source = "source",
        /// The copy that the backup pool holds.
        Standby = "standby",
        /// What was a copy until the pool's backup was disabled: a later backup of the pool may take it over.
        FormerStandby = "formerStandby",
        ;
    }
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
    pub role: MarkerRole,
    /// Of a former copy: since when it has been nobody's, in nanoseconds since 1970 by the store's clock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub left_ns: Option<i64>,
}

impl StoredDocument for Marker {
    const NAME: &'static str = "marker of a content store";
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

/// Something that [`ContentStore::unmark`] removed or would remove.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContentTrace {
    /// `marker`, `temporaryFile` or `history`.
    pub kind: &'static str,
    /// Its name within the store.
    pub name: String,
}

/// Which version of a file is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Version {
    /// Bytes.
    pub size: u64,
    /// What a copy of it keeps.
    pub attributes: Attributes,
}

/// The coarsest clock of a file system that is met in practice (FAT; SMB shares may show it).
pub const COARSEST_TICK_NS: i64 = 2_000_000_000;

/// What is held of a big file.
pub struct Held<'a> {
    /// What its groups hash to.
    pub groups: &'a Groups,
    /// The file that has them, where it helps to read it.
    pub earlier: Option<&'a dyn ContentReader>,
}

/// Takes a piece of a file and its place.
pub type TakesGroup<'a> = &'a (dyn Fn(&[u8], u64) -> ObjectResult<()> + Sync);

/// Is told how many bytes were passed over, and may end that.
pub type TakesCount<'a> = &'a (dyn Fn(u64) -> Result<()> + Sync);

/// An open file of a store.
pub trait ContentReader: Send + Sync {
    /// What the store said when the file was opened.
    fn meta(&self) -> ObjectMeta;

    /// How many names the file has; those beyond one are hard links to it.
    fn names(&self) -> u64 {
        1
    }

    /// Reads on; 0 at the end.
    ///
    /// # Errors
    /// When the file or the store cannot be read.
    fn read(&mut self, buffer: &mut [u8]) -> ObjectResult<usize>;

    /// Passes over zeros that lie ahead and that the store does not hold, and says how many they are; 0 where it
    /// holds what comes next, and at the end.
    ///
    /// # Errors
    /// As for reading.
    fn skip_hole(&mut self) -> ObjectResult<u64>;

    /// Whether the store holds all of it, without holes.
    fn is_solid(&self) -> bool;

    /// Reads what is at this place, whoever reads on meanwhile; less than the buffer holds at the end only.
    ///
    /// # Errors
    /// As for reading.
    fn read_at(&self, buffer: &mut [u8], at: u64) -> ObjectResult<usize>;

    /// The file's extended attributes; none from stores that have no such thing.
    ///
    /// # Errors
    /// As for reading.
    fn extended(&self) -> ObjectResult<Extended>;

    /// Reads every group of a big file, and hands over what is in those that are others than what is held, with its place in
    /// the file; in any order, and on several threads. `passed` is told of the bytes of each group. Returns what the groups
    /// hash to, and how many bytes they have.
    ///
    /// # Errors
    /// As for reading; what taking a group fails with.
    fn changed_groups(
        &self,
        held: &Held<'_>,
        take: TakesGroup<'_>,
        passed: TakesCount<'_>,
    ) -> ObjectResult<(Groups, u64)> {
        groups::read_groups(self, false, &|number, content, value| {
            passed(content.len() as u64)?;
            let is_held = held.groups.get(number) == Some(value);
            if is_held { Ok(()) } else { take(content, number.saturating_mul(groups::GROUP_BYTES)) }
        })
    }

    /// Whether the file is still the version that was opened.
    ///
    /// # Errors
    /// When the store does not answer.
    fn is_unchanged(&self) -> ObjectResult<bool>;
}

/// One version of a file that was read from its beginning to its end where it lies.
pub struct HashedFile {
    /// What the store says of it.
    pub meta: ObjectMeta,
    /// What its content hashes to.
    pub hashed: Hashed,
    /// Its extended attributes.
    pub extended: Extended,
    /// How many names it has.
    pub names: u64,
}

/// A file that is being written where nobody sees it. Dropped without being published it leaves nothing.
pub trait StagedObject: Send {
    /// Says how many bytes are going to be written, at least, before the first of them is. A new version that begins as a
    /// clone of the earlier one may need none of them.
    ///
    /// # Errors
    /// `Store` with [`crate::error::ErrorKind::DiskFull`] where there is certainly no room for them.
    fn expect(&mut self, bytes: u64) -> ObjectResult<()>;

    /// Appends.
    ///
    /// # Errors
    /// `Store` when nothing more can be written, for instance on a full disk.
    fn write(&mut self, bytes: &[u8]) -> ObjectResult<()>;

    /// Appends these bytes, if the version that is being replaced has them in the same place: then they need not be
    /// sent. False, and nothing is appended, where it has others, or there is none.
    ///
    /// # Errors
    /// As for writing.
    fn keep(&mut self, bytes: &[u8]) -> ObjectResult<bool>;

    /// Appends so many bytes as the version that is being replaced has them in the same place, without reading them: what
    /// they are is known. False, and nothing is appended, where that is not this instance.
    ///
    /// # Errors
    /// As for writing.
    fn keep_known(&mut self, _instance: &Instance, _count: u64) -> ObjectResult<bool> {
        Ok(false)
    }

    /// Appends so many zeros, without holding them where the store can do that.
    ///
    /// # Errors
    /// As for writing.
    fn skip(&mut self, count: u64) -> ObjectResult<()>;

    /// Takes over all that the version that is being replaced has, cut or extended to this size, before anything is
    /// appended; it can only be patched then. False, and nothing is taken over, where that is not this instance, or the
    /// store would have to copy it.
    fn take_over(&mut self, instance: &Instance, size: u64) -> bool;

    /// Gives what was taken over these bytes at this place. False where it has them there already.
    ///
    /// # Errors
    /// As for writing.
    fn patch(&mut self, bytes: &[u8], at: u64) -> ObjectResult<bool>;

    /// Sets extended attributes, and says whether the store can hold them.
    ///
    /// # Errors
    /// As for writing.
    fn set_extended(&mut self, extended: &Extended) -> ObjectResult<bool>;

    /// Ends the content and sets the attributes. Durable after the next [`ContentStore::harden`].
    ///
    /// # Errors
    /// `Store` with [`crate::error::ErrorKind::Io`] when the device failed: what was written may be gone even if a second attempt
    /// to make it durable succeeded, so the object has to be written again.
    fn seal(&mut self, attributes: Attributes) -> ObjectResult<()>;

    /// Whether what it changes of the earlier version can be kept by itself ([`history::ContentHistory::expect_changes`]). Known
    /// once it is sealed.
    fn has_parts(&self) -> bool {
        false
    }

    /// Keeps what it changes of the earlier version under a number of the revision that was begun.
    ///
    /// # Errors
    /// As for publishing.
    fn keep_parts_as(&mut self, _number: u32) -> ObjectResult<()> {
        Ok(())
    }

    /// Gives the sealed object its name, replacing a file that has it; folders above are made where they are missing.
    /// One that was not hardened since it was sealed is made durable first, which for many objects costs far more.
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

    /// Whether every question is one to another machine. Who has many then says so beforehand.
    fn is_elsewhere(&self) -> bool {
        false
    }

    /// Begins an operation: waiting for another machine ends once this is cancelled, and a walk is going to know these
    /// listings, as far as they do not change until then.
    ///
    /// # Errors
    /// When the listings cannot be read.
    fn begin(&self, _known: Option<&dyn KnownListings>, _cancel: &CancellationToken) -> Result<()> {
        Ok(())
    }

    /// Walks all folders where they lie, and hands over each that is not known to list what it lists now, after the one
    /// that it is in. False, and nothing is handed over, from stores that are better asked for one folder after the other.
    ///
    /// # Errors
    /// When the store does not answer; what taking a folder fails with. A folder that cannot be listed is found with that.
    fn walk(
        &self,
        _known: Option<&dyn KnownListings>,
        _cancel: &CancellationToken,
        _take: &mut dyn FnMut(FoundFolder) -> Result<()>,
    ) -> Result<bool> {
        Ok(false)
    }

    /// Says what is going to be asked for next, in about this order.
    ///
    /// # Errors
    /// When the store does not answer.
    fn expect(&self, _wanted: Vec<Want>) -> Result<()> {
        Ok(())
    }

    /// What a file's content hashes to, found where the file lies; if it was expected to be held with this content, only where
    /// it has it. None where the file is better read.
    ///
    /// # Errors
    /// As for reading it.
    fn hashed(&self, _path: &ContentPath, _held: Option<&[u8; 32]>) -> ObjectResult<Option<HashedFile>> {
        Ok(None)
    }

    /// Opens the store and says what is there.
    ///
    /// # Errors
    /// When something is there that cannot be read.
    fn identify(&self) -> Result<Presence>;

    /// Whether this account may write to the store, or make it where it is missing, as far as that can be told without
    /// writing.
    ///
    /// # Errors
    /// What writing would fail with.
    fn check_writable(&self) -> Result<()>;

    /// Whether this account may give the store an identity, as far as that can be told without writing.
    ///
    /// # Errors
    /// What marking it would fail with.
    fn check_markable(&self) -> Result<()> {
        self.check_writable()
    }

    /// Whether names may change in the folder that an object is in, or the nearest one above it that is there, as far as
    /// that can be told without writing.
    ///
    /// # Errors
    /// What giving the object its name would fail with.
    fn check_place(&self, path: &ContentPath) -> ObjectResult<()>;

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
    fn unmark(&self, dry_run: bool) -> Result<Vec<ContentTrace>>;

    /// What lies where the store keeps what is not content, and is not this product's: it is never touched. The first
    /// hundred names.
    ///
    /// # Errors
    /// When it cannot be listed.
    fn foreign(&self) -> Result<Vec<ContentPath>>;

    /// What the store can hold and tell apart. Found by trying where that was not done before, and noted.
    ///
    /// # Errors
    /// When the store cannot be written, or is full.
    fn abilities(&self) -> Result<Arc<Abilities>>;

    /// The same as far as it is known without writing: as it was noted, or as the names that are there tell.
    fn foreseen_abilities(&self) -> Arc<Abilities>;

    /// Gives an object the name of another path in the same folder, which the store takes for the same; durably, and
    /// by way of a temporary name. What is in a folder stays in it.
    ///
    /// # Errors
    /// `Gone`; `Refused` where the name is another one after all, and something has it.
    fn respell(&self, from: &ContentPath, to: &ContentPath) -> ObjectResult<()>;

    /// Removes staged objects that a killed process left; returns how many. Staged objects of this process must not
    /// exist.
    ///
    /// # Errors
    /// When they cannot be listed or removed.
    fn sweep(&self) -> Result<u64>;

    /// What time it is for this store, in nanoseconds since 1970, by the clock that its ctimes come from; none where
    /// the store cannot be written.
    fn now_ns(&self) -> Option<i64>;

    /// How long after a change, in nanoseconds by the same clock, another one may leave the same times. Said of objects
    /// whose times have fractions of a second: where they have none nobody knows, and [`COARSEST_TICK_NS`] is right.
    fn tick_ns(&self) -> i64;

    /// Whether what is written gets the owner that it is given: only some accounts may give files away.
    fn keeps_owners(&self) -> bool;

    /// How much room there is; none where that is not known, or there is no end of it.
    fn room(&self) -> Option<Room>;

    /// Refuses from now on to stage what would leave fewer bytes free, as far as that can be told.
    fn keep_free(&self, bytes: u64);

    /// How many bytes will certainly be free once a file was removed.
    ///
    /// # Errors
    /// `Gone`; when the store does not answer.
    fn taken_by(&self, path: &ContentPath) -> ObjectResult<u64>;

    /// Lists one folder, sorted by name (bytes). The marker and staged objects are left out.
    ///
    /// # Errors
    /// `Refused` when the folder cannot be read: then nothing may be concluded about what is in it.
    fn list(&self, folder: &ContentPath, cancel: &CancellationToken) -> ObjectResult<Listing>;

    /// What is known about one object.
    ///
    /// # Errors
    /// `Gone`, or `Refused` for what is neither file, folder nor link.
    fn stat(&self, path: &ContentPath) -> ObjectResult<ObjectMeta>;

    /// Opens a file.
    ///
    /// # Errors
    /// `Gone`; `Refused` for what is no file, what may not be read, and databases that must not be touched.
    fn read(&self, path: &ContentPath) -> ObjectResult<Box<dyn ContentReader + '_>>;

    /// Where a link leads, as it says itself.
    ///
    /// # Errors
    /// `Gone`; `Refused` for what is no link, and for links that lead or may lead out of the store.
    fn read_link(&self, path: &ContentPath) -> ObjectResult<Box<[u8]>>;

    /// The extended attributes of a folder; none from stores that have no such thing.
    ///
    /// # Errors
    /// As for listing it.
    fn folder_extended(&self, path: &ContentPath) -> ObjectResult<Extended>;

    /// Begins to write a file.
    ///
    /// # Errors
    /// When the store cannot be written.
    fn stage(&self) -> ObjectResult<Box<dyn StagedObject + '_>>;

    /// Begins to write a new version of a file that is there, of which most may be kept.
    ///
    /// # Errors
    /// As for [`ContentStore::stage`].
    fn stage_over(&self, path: &ContentPath) -> ObjectResult<Box<dyn StagedObject + '_>>;

    /// Makes a link where nobody sees it. It has no content, and is sealed already.
    ///
    /// # Errors
    /// `Refused` where the store cannot hold links.
    fn stage_link(&self, target: &[u8], attributes: Attributes) -> ObjectResult<Box<dyn StagedObject + '_>>;

    /// Gives the content of one of this store's files, if it is this version, to a new object without moving it
    /// through this process: for files that were renamed. It is sealed already; the earlier name stays. None where the
    /// store cannot do that, or holds another version there.
    ///
    /// # Errors
    /// When the store cannot be written.
    fn stage_same(
        &self,
        path: &ContentPath,
        version: Version,
    ) -> ObjectResult<Option<Box<dyn StagedObject + '_>>>;

    /// Makes every object that was sealed before durable, so that it may be published; many at once are far cheaper
    /// than one after the other.
    ///
    /// # Errors
    /// When the device failed: every object that is still staged may be damaged, and must not be published.
    fn harden(&self) -> Result<()>;

    /// Sets what a file or folder has besides the content. Durable after the next flush.
    ///
    /// # Errors
    /// `Gone`, or when the store cannot be written.
    fn set_attributes(&self, path: &ContentPath, attributes: Attributes) -> ObjectResult<()>;

    /// Sets the extended attributes of a file or folder, and says whether the store can hold them. Durable after the
    /// next flush.
    ///
    /// # Errors
    /// As for [`ContentStore::set_attributes`].
    fn set_extended(&self, path: &ContentPath, extended: &Extended) -> ObjectResult<bool>;

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

    /// Earlier states of the content, where the store is a standby copy.
    fn history(&self) -> &dyn history::ContentHistory;

    /// Makes every name that was published, made or removed since the last flush durable.
    ///
    /// # Errors
    /// When the device failed: the names may be gone.
    fn flush(&self) -> Result<()>;
}

#[cfg(test)]
mod contract;
