//! How a source was read, and what it looked like then.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::platform::{FileId, FileStat};
use crate::store::sqlite::format::header::Header;
use crate::store::sqlite::format::log::LogMark;

/// How a state was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Way {
    /// What was appended to the write-ahead log, without a lock.
    Log,
    /// Everything, beside the write-ahead log, as one of its readers.
    LogReader,
    /// Everything, without a lock: nothing had changed from before to after.
    Unlocked,
    /// A clone of the file that was made in a moment without a change.
    Clone,
    /// Everything, twice, the second time under a lock for readers.
    Locked,
}

impl Way {
    /// For reports.
    pub(super) const fn describe(self) -> &'static str {
        match self {
            Way::Log => "Read what was appended to the write-ahead log, without a lock.",
            Way::LogReader => "Read everything as one more reader of the write-ahead log.",
            Way::Unlocked => "Read everything without a lock; nothing had changed meanwhile.",
            Way::Clone => "Read a clone that the file system made at once, without a lock.",
            Way::Locked => "Read everything twice, the second time under a lock for readers.",
        }
    }
}

/// What a source looked like when it was read: whatever is written to it later shows in one of these.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Mark {
    pub(super) database: FileStat,
    /// The file system that its folder was on.
    pub(super) folder_device: u64,
    /// The end of the log, where there was one.
    pub(super) end: Option<LogMark>,
    /// Whether a later write gives the file another time: it was written to long enough before.
    pub(super) settled: bool,
    pub(super) change_counter: u32,
    pub(super) schema_cookie: u32,
    /// Versions for writing and reading.
    pub(super) versions: (u8, u8),
}

impl Mark {
    /// The mark of a source that was just made anew: it is looked at once more.
    pub(super) fn of_new(path: &Path, database: FileStat, header: &Header) -> Mark {
        Mark {
            database,
            folder_device: folder_device(path).unwrap_or_default(),
            end: None,
            settled: false,
            change_counter: header.change_counter,
            schema_cookie: header.schema_cookie,
            versions: (header.write_version, header.read_version),
        }
    }

    /// Whether the folder of a source is on another file system than it was: then what is missing there is not lost.
    pub(super) fn is_elsewhere(&self, source: &Path) -> bool {
        folder_device(source).is_some_and(|device| device != self.folder_device)
    }

    /// Whether the source is still the same file.
    pub(super) fn is_same_file(&self, other: &FileStat) -> bool {
        (self.database.device, self.database.inode) == (other.device, other.inode)
    }

    /// Which file it is.
    pub(super) fn file(&self) -> FileId {
        FileId { device: self.database.device, inode: self.database.inode }
    }

    /// Whether two marks are of the same file.
    pub(super) fn is_of_same_file(&self, other: &Mark) -> bool {
        self.is_same_file(&other.database)
    }

    /// Whether nothing was written between two marks.
    pub(super) fn is_same_state(&self, other: &Mark) -> bool {
        match (&self.end, &other.end) {
            (None, None) => self.settled && self.database == other.database,
            (one, another) => one == another && self.is_of_same_file(other),
        }
    }
}

/// The file system that a source's folder is on.
pub(super) fn folder_device(source: &Path) -> Option<u64> {
    FileStat::of(source.parent()?).map(|folder| folder.device)
}
