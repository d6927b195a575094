//! What can go wrong, as data: a kind, a sentence, an advice and the context a person needs to act.
//!
//! Every kind has a number that crosses the C ABI and is never used again for anything else. The error knows
//! whether a retry may help; loops ask it instead of matching kinds.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Deserializer, Serialize};

use crate::platform::account_name;

/// The result of everything in this library that can fail.
pub type Result<T, E = Error> = std::result::Result<T, E>;

macro_rules! error_kinds {
    ($( $(#[$doc:meta])* $name:ident = $status:literal $(, $retryable:ident)? ;)*) => {
        /// Why an operation failed. The name is the error id that hosts show.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[non_exhaustive]
        pub enum ErrorKind {
            $( $(#[$doc])* $name, )*
            /// A kind of a newer build, in a document that it wrote.
            #[serde(other)]
            Unknown,
        }

        impl ErrorKind {
            /// Every kind that this build knows, in the order of its number.
            pub const ALL: &'static [ErrorKind] = &[ $( ErrorKind::$name, )* ];

            /// The number that crosses the C ABI; that of an unknown kind stands in its document.
            pub const fn status(self) -> i32 {
                match self { $( ErrorKind::$name => $status, )* ErrorKind::Unknown => -1 }
            }

            /// The stable id, for instance `StoreBusy`.
            pub const fn name(self) -> &'static str {
                match self { $( ErrorKind::$name => stringify!($name), )* ErrorKind::Unknown => "Unknown" }
            }

            /// Whether the same call may succeed later without anybody changing anything.
            pub const fn retryable(self) -> bool {
                match self {
                    $( ErrorKind::$name => false $( || { stringify!($retryable); true } )?, )*
                    ErrorKind::Unknown => false,
                }
            }
        }
    };
}

error_kinds! {
    /// A pointer was NULL, an enumeration or a number out of range.
    InvalidArgument = 1;
    /// A string was not UTF-8.
    InvalidUtf8 = 2;
    /// A document was not JSON, had an unknown field or a field of the wrong type.
    InvalidRequest = 3;
    /// A defect of this library; the call was abandoned, the process goes on.
    Panic = 4;
    /// The service was shut down.
    ShutDown = 5;
    /// The service was opened without a deployment, and the request needs one.
    NotConnected = 6;
    /// A store cannot be opened or reached.
    StoreUnavailable = 7, retryable;
    /// A store is locked by another program for longer than the time limit.
    StoreBusy = 8, retryable;
    /// A job is already running for this pool and direction.
    Conflict = 9, retryable;
    /// A newer owner has taken over; this one may not write any more.
    Fenced = 10;
    /// The job was cancelled.
    Cancelled = 11;
    /// No job has this id.
    UnknownJob = 12;
    /// No pool has this name.
    UnknownPool = 13;
    /// A file does not exist.
    FileMissing = 14;
    /// A TOML file cannot be parsed.
    SyntaxError = 15;
    /// A file has a field that is not known.
    UnknownField = 16;
    /// A value in a file is not valid.
    InvalidValue = 17;
    /// Two pools have the same name.
    DuplicatePool = 18;
    /// A pool is its own backup pool.
    SelfPaired = 19;
    /// A pool names a backup pool that does not name it.
    OneSidedPairing = 20;
    /// A pool names a backup pool that the topology does not have.
    UnknownBackupPool = 21;
    /// Two stores, or files of the deployment, are the same place.
    SharedStore = 22;
    /// A standby copy lies inside the store it is a copy of, or the other way round.
    StandbyInsideSource = 23;
    /// A store's URL names an engine that this version does not have, or a store or document is of a newer build.
    UnsupportedStore = 24;
    /// The pool has no backup pool.
    NotPaired = 25;
    // 26 was that of tables without a key; numbers are never used again.
    /// A content store's marker is missing or its listing is empty: it is probably not mounted.
    ContentStoreUnmounted = 27, retryable;
    /// More objects would be deleted at the standby than the safety share allows.
    SafetyShareExceeded = 28;
    /// The pool is not in the state that the job was asked to require.
    PoolStateMismatch = 29;
    /// The backup service did not reach the awaited state in the given number of tries.
    StateNotReached = 30, retryable;
    /// The source changes faster than it can be copied in one consistent piece.
    SourceTooBusy = 31, retryable;
    /// There is no space left where something has to be written.
    DiskFull = 32;
    /// The file system or database refuses the access.
    AccessDenied = 33;
    /// A store holds something that this product did not put there, and will not overwrite.
    ForeignContent = 34;
    /// A database file is damaged.
    Corrupt = 35;
    /// The Central Management store or its replica does not have what was asked for.
    NotPublished = 36;
    /// The local replica is damaged or of another version.
    ReplicaInvalid = 37;
    /// An input or output failed for a reason that has no kind of its own.
    Io = 38, retryable;
    /// The process that ran the job ended before the job did.
    Interrupted = 39, retryable;
    /// The standby copy of the Central Management store is newer than the master.
    MasterOutdated = 40;
    /// Two options exclude each other, or one needs another.
    OptionConflict = 41;
    /// The SQLite library in use is too old to be trusted with a live database.
    UnsafeSqlite = 42;
    /// The process was forked from one that had a service open.
    Forked = 43;
    /// A database file was replaced by another one while a job had it open.
    StoreReplaced = 44, retryable;
    /// The process that this library runs in has a database open by other means.
    StoreOpenInProcess = 45;
    /// A report was to take the place of something that no report may overwrite.
    ReportRefused = 46;
    /// A copy of the Central Management store takes no publications.
    NotMaster = 47;
    /// Two stores of one Central Management store hold different documents at the same revision.
    SplitTimeline = 48;
    /// A store or a file of the deployment lies in a folder whose content is copied, replaced or removed.
    PlaceInsideStore = 51;
    /// What a sync would replace as a whole could not be kept, so nothing was replaced.
    HistoryFull = 53;
    /// Another machine does not let this one do what it asks for, or only that machine may do it.
    PeerRefused = 54;
    /// The backup service at another machine cannot be talked to by this version.
    PeerIncompatible = 55;
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Which half of copying a failure belongs to: reading what is copied, or writing the copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Side {
    /// Where data is read.
    Export,
    /// Where data is written.
    Import,
}

impl Side {
    /// Says of failures that they are on this side. A cancellation is on none.
    pub fn failed(self) -> impl Fn(Error) -> Error + Copy {
        move |error| if error.kind == ErrorKind::Cancelled { error } else { error.on(self) }
    }
}

/// One failure: what, where, why and what to do about it.
///
/// Serialized it is the error document of `docs/documents.md`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Error {
    /// The number of [`Error::kind`], see [`ErrorKind::status`].
    pub status: i32,
    /// The stable id.
    pub kind: ErrorKind,
    /// One sentence that a person understands.
    pub message: String,
    /// What to do.
    pub advice: String,
    /// Whether a retry may help.
    pub retryable: bool,
    /// Which half of copying failed; none where it was neither, or nobody could tell.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "known_side")]
    pub side: Option<Side>,
    /// Where: pool, module, file, line, table, path. For people: nothing is decided by it.
    #[serde(default)]
    pub context: BTreeMap<String, String>,
    /// The failures underneath, the nearest first.
    #[serde(default)]
    pub causes: Vec<String>,
}

/// A side that only a newer build knows is none.
fn known_side<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Side>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Read {
        Known(Side),
        Other(serde::de::IgnoredAny),
    }
    Ok(match Read::deserialize(from)? {
        Read::Known(side) => Some(side),
        Read::Other(_) => None,
    })
}

impl Error {
    /// An error of this kind, with what happened and what to do.
    pub fn new(kind: ErrorKind, message: impl Into<String>, advice: impl Into<String>) -> Self {
        Error {
            status: kind.status(),
            kind,
            message: message.into(),
            advice: advice.into(),
            retryable: kind.retryable(),
            side: None,
            context: BTreeMap::new(),
            causes: Vec::new(),
        }
    }

    /// The same error, saying where.
    #[must_use]
    pub fn at(mut self, key: &str, value: impl fmt::Display) -> Self {
        self.context.entry(key.to_owned()).or_insert_with(|| value.to_string());
        self
    }

    /// The same error, saying that it was at a place of another machine: a path alone would be looked for at this one.
    #[must_use]
    pub fn at_place(mut self, place: &str) -> Self {
        if !self.message.contains(place) {
            self.message = format!("At {place}: {}", self.message);
        }
        self.at("place", place)
    }

    /// The same error, saying which half of copying failed. Whoever is nearest to the failure knows best.
    #[must_use]
    pub fn on(mut self, side: Side) -> Self {
        self.side.get_or_insert(side);
        self
    }

    /// The same error, with the failure underneath and everything below that.
    #[must_use]
    pub fn caused_by(mut self, cause: &(dyn std::error::Error + 'static)) -> Self {
        let mut next = Some(cause);
        while let Some(cause) = next {
            self.causes.push(cause.to_string());
            if let Some(ours) = cause.downcast_ref::<Error>() {
                self.causes.extend_from_slice(&ours.causes);
            }
            next = cause.source();
        }
        self
    }

    /// The error of an operation that noticed its cancellation.
    pub fn cancelled() -> Self {
        Error::new(
            ErrorKind::Cancelled,
            "The job was cancelled.",
            "Start it again; it goes on where it stopped.",
        )
    }

    /// A failed file operation, sorted by what an administrator can do about it.
    pub fn io(doing: &str, path: &std::path::Path, cause: &std::io::Error) -> Self {
        use std::io::ErrorKind as Io;
        let (kind, advice) = match cause.kind() {
            Io::NotFound | Io::NotADirectory => {
                (ErrorKind::StoreUnavailable, "Check that the path exists and its file system is mounted.")
            }
            Io::PermissionDenied | Io::ReadOnlyFilesystem => (
                ErrorKind::AccessDenied,
                "Give the account that runs the backup service access to this path.",
            ),
            Io::StorageFull | Io::QuotaExceeded | Io::FileTooLarge => {
                (ErrorKind::DiskFull, "Free space or raise the quota there, then run the command again.")
            }
            _ => (ErrorKind::Io, "Check the device and the file system, then run the command again."),
        };
        let error = Error::new(kind, format!("Cannot {doing} {}.", path.display()), advice)
            .at("path", path.display());
        if kind == ErrorKind::AccessDenied { error.of_account() } else { error }.caused_by(cause)
    }

    /// What happened in one line, with what was underneath: "Cannot open /x: Permission denied (os error 13)."
    pub fn whole(&self) -> String {
        match self.causes.first() {
            Some(cause) if !self.message.contains(cause.trim_end_matches('.')) => {
                format!("{}: {}.", self.message.trim_end_matches('.'), cause.trim_end_matches('.'))
            }
            _ => self.message.clone(),
        }
    }

    /// The same error, naming the account that lacks a right.
    #[must_use]
    pub fn of_account(self) -> Self {
        self.at("account", account_name())
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn status_numbers_are_unique_and_positive() {
        let mut seen = std::collections::BTreeSet::new();
        for kind in ErrorKind::ALL {
            assert!(kind.status() > 0, "{kind}");
            assert!(seen.insert(kind.status()), "{kind} reuses a number");
        }
    }

    #[test]
    fn io_errors_are_sorted_by_remedy() {
        let path = std::path::Path::new("/x");
        let of = |code| Error::io("write", path, &std::io::Error::from_raw_os_error(code)).kind;
        assert_eq!(of(28), ErrorKind::DiskFull);
        assert_eq!(of(13), ErrorKind::AccessDenied);
        assert_eq!(of(30), ErrorKind::AccessDenied);
        assert_eq!(of(2), ErrorKind::StoreUnavailable);
        assert_eq!(of(5), ErrorKind::Io);
    }

    #[test]
    fn one_line_says_what_happened_and_why() {
        let denied = std::io::Error::from_raw_os_error(13);
        let error = Error::io("open", std::path::Path::new("/x"), &denied);
        assert_eq!(error.whole(), "Cannot open /x: Permission denied (os error 13).");
        assert_eq!(Error::new(ErrorKind::Conflict, "No.", "Wait.").whole(), "No.");
    }

    #[test]
    fn a_place_of_another_machine_is_named_once() {
        let error = Error::new(ErrorKind::Io, "Cannot open /x.", "").at_place("ssh://atl-1/srv");
        assert_eq!(error.message, "At ssh://atl-1/srv: Cannot open /x.");
        assert_eq!(error.clone().at_place("ssh://atl-1/srv"), error);
        assert_eq!(error.context["place"], "ssh://atl-1/srv");
    }

    #[test]
    fn an_error_below_another_brings_its_causes() {
        let disk = std::io::Error::from_raw_os_error(28);
        let inner = Error::io("write", std::path::Path::new("/x"), &disk);
        let outer = Error::new(ErrorKind::StoreUnavailable, "No.", "See the cause.").caused_by(&inner);
        assert_eq!(outer.causes, [inner.message, disk.to_string()]);
    }
}
