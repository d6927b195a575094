//! What is said about one object of a content store.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// What an object is. Everything else (pipes, sockets, devices) is refused by the stores.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ObjectKind {
    /// A file with content.
    File,
    /// A folder, which may be empty.
    Folder,
    /// A symbolic link to something in the same store, which is kept as a link and never followed.
    Link,
}

/// What a store says about an object without reading it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObjectMeta {
    /// File, folder or link.
    pub kind: ObjectKind,
    /// Bytes; 0 for folders and links.
    pub size: u64,
    /// When the content last changed, in nanoseconds since 1970; whoever writes a file may set it to anything.
    pub mtime_ns: i64,
    /// When content or attributes last changed, in nanoseconds since 1970; set by the store alone.
    pub ctime_ns: i64,
    /// The object's number within its device.
    pub inode: u64,
    /// The device.
    pub device: u64,
    /// The permission bits that are known of it: `0o6777` of files, `0o3777` of folders, none of links.
    pub mode: u32,
    /// Whose it is.
    pub owner: Ownership,
}

impl ObjectMeta {
    /// The earliest time that is told from others, in 1677: what is earlier has this one.
    pub const EARLIEST_NS: i64 = i64::MIN + 1;

    /// The latest time that is told from others, in 2262: what is later has this one.
    pub const LATEST_NS: i64 = i64::MAX;

    /// Whether both describe the same version of the same file, as far as that can be told without reading it.
    pub fn is_same_version(&self, other: &ObjectMeta) -> bool {
        (self.kind, self.size, self.mtime_ns, self.ctime_ns, self.inode, self.device)
            == (other.kind, other.size, other.mtime_ns, other.ctime_ns, other.inode, other.device)
    }

    /// Which file it is, and in which state.
    pub fn instance(&self) -> Instance {
        let ObjectMeta { mtime_ns, ctime_ns, inode, device, .. } = *self;
        Instance { mtime_ns, ctime_ns, inode, device }
    }

    /// What it has besides the content and the [`Extended`] attributes.
    pub fn attributes(&self) -> Attributes {
        Attributes { mtime_ns: self.mtime_ns, mode: self.mode, owner: Some(self.owner) }
    }
}

/// One file in one state, as its store names them: whatever is written to it, or set, makes it another instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Instance {
    /// When its content changed last, as far as nobody says otherwise, in nanoseconds since 1970.
    pub mtime_ns: i64,
    /// When anything about it changed last, in nanoseconds since 1970.
    pub ctime_ns: i64,
    /// The file's number.
    pub inode: u64,
    /// The file system's number.
    pub device: u64,
}

/// Whose an object is, by the numbers that the store's host knows users and groups by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ownership {
    /// The user.
    pub user: u32,
    /// The group.
    pub group: u32,
}

/// What an object has besides the content and the [`Extended`] attributes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attributes {
    /// Nanoseconds since 1970.
    pub mtime_ns: i64,
    /// Permission bits. A file that cannot be given to its owner gets none of those by which it runs as another one.
    pub mode: u32,
    /// Whose it is; none for whoever writes it. Kept only where the account may give files away, which root may.
    pub owner: Option<Ownership>,
}

impl Attributes {
    /// Those of a copy of an object of this kind.
    #[must_use]
    pub fn of_copy(self, kind: ObjectKind) -> Self {
        Attributes { mode: mode_of_copy(kind, self.mode), ..self }
    }
}

/// The mode of a copy. Whoever gives a file back later has to read it, and whoever copies into a folder needs access to
/// it, whatever the original allows its owner; and nothing in a copy runs as its owner or group.
pub fn mode_of_copy(kind: ObjectKind, mode: u32) -> u32 {
    match kind {
        ObjectKind::File => mode & 0o777 | 0o400,
        ObjectKind::Folder => mode | 0o700,
        ObjectKind::Link => mode,
    }
}

/// Extended attributes of users, which is what programs attach to a file or folder, and access lists; by name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Extended(pub BTreeMap<Box<[u8]>, Box<[u8]>>);

impl Extended {
    /// A digest that tells whether something changed; none if there are none.
    pub fn digest(&self) -> Option<[u8; 32]> {
        if self.0.is_empty() {
            return None;
        }
        let mut hasher = blake3::Hasher::new();
        for part in self.0.iter().flat_map(|(name, value)| [name, value]) {
            hasher.update(&(part.len() as u64).to_le_bytes()).update(part);
        }
        Some(*hasher.finalize().as_bytes())
    }
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

/// How often an object is read again because it changed meanwhile.
pub const READ_AGAIN: u32 = 3;

impl Refusal {
    /// A refusal with its reason and advice.
    pub fn new(reason: impl Into<String>, advice: impl Into<String>) -> Self {
        Refusal { reason: reason.into(), advice: advice.into() }
    }

    /// That of an object of which no version could be read in any of its [`READ_AGAIN`] more passes.
    pub fn changing() -> Self {
        Refusal::new(
            format!("It changes while it is read: {} times in a row.", READ_AGAIN + 1),
            "The next cycle tries again. If this is reported in every cycle, find out what keeps writing to it.",
        )
    }
}

impl From<Refusal> for ObjectError {
    fn from(refusal: Refusal) -> Self {
        ObjectError::Refused(refusal)
    }
}

impl From<Error> for ObjectError {
    fn from(error: Error) -> Self {
        ObjectError::Store(error)
    }
}

/// The result of an operation on one object.
pub type ObjectResult<T> = Result<T, ObjectError>;
