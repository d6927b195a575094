//! User stores: the database that a pool's servers write to, and the copy of it at the backup pool.
//!
//! Both ends of a pair are of the same engine, so what has to be done is a trait over the pair: capture what is
//! written to the active copy, bring the standby copy up to it, and take every trace away again.

use jiff::Timestamp;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::error::{Error, Result};
use crate::report::{Moved, QuarantinedItem, Verification};
use crate::store::{Generation, Progress, Trace};

pub mod sqlite;

/// A position in one store's change log, up to which the standby copy holds everything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cursor {
    /// The store whose log it is.
    pub store_id: Uuid,
    /// The last position that is in the standby copy.
    pub position: i64,
    /// What the source wrote down when that position was exported. A source that does not know it is not the one, or
    /// not the state of the one, that the standby was copied from.
    pub token: Uuid,
}

/// How a pair of user stores compares, read from both without writing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PairObservation {
    /// Whether the standby holds a copy that can be continued.
    pub initialized: bool,
    /// Changes after the cursor; rows to copy where there is no standby yet.
    pub pending: u64,
    /// Whether that is an estimate: at least so many.
    pub is_estimate: bool,
    /// When the oldest of them was made.
    pub oldest: Option<Timestamp>,
    /// The position that the standby stands at.
    pub position: Option<i64>,
    /// Why the next run compares all rows, where it will do so without being asked to.
    pub to_compare: Option<String>,
    /// What the next run refuses with, where what was seen already tells.
    pub refused: Option<Error>,
}

/// What one run over a pair did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PairOutcome {
    /// Rows written and removed at the standby.
    pub moved: Moved,
    /// Rows and tables that could not be copied.
    pub quarantined: Vec<QuarantinedItem>,
    /// What an administrator should know.
    pub warnings: Vec<String>,
    /// Lines for the report.
    pub details: Vec<String>,
    /// What a comparison of all rows found; none where there was none.
    pub verification: Option<Verification>,
}

/// What a run needs from whoever asked for it.
pub struct Work<'a> {
    /// The right to write to the standby.
    pub generation: Generation,
    /// Whether all rows are compared, however little has changed.
    pub verify: bool,
    /// Asked between any two slices of work.
    pub cancel: &'a CancellationToken,
    /// Told how far it has come, in rows and bytes.
    pub progress: &'a dyn Fn(Progress),
    /// The time of day, for lag and for names of files that are set aside.
    pub now: Timestamp,
}

impl Work<'_> {
    /// Whether to go on.
    ///
    /// # Errors
    /// `Cancelled`.
    pub fn check(&self) -> Result<()> {
        if self.cancel.is_cancelled() { Err(Error::cancelled()) } else { Ok(()) }
    }
}

/// An active user store and the standby copy of it.
pub trait UserStorePair: Send + Sync {
    /// Compares both without writing to either.
    ///
    /// # Errors
    /// When one of them exists and cannot be read.
    fn observe(&self, cancel: &CancellationToken) -> Result<PairObservation>;

    /// Installs or mends the change log at the active copy, then brings the standby to a state that the active copy
    /// had at one position, in one transaction there, and prunes the log up to it.
    ///
    /// # Errors
    /// `StoreUnavailable`, `StoreBusy`, `KeyMissing`, `Fenced`, `SourceTooBusy`, `DiskFull`, `AccessDenied`, `Corrupt`,
    /// `Cancelled`. The standby is then as it was before.
    fn synchronize(&self, work: &Work<'_>) -> Result<PairOutcome>;

    /// Whether the active copy is gone while the standby holds one: rows that could be given back.
    ///
    /// # Errors
    /// When a store exists and cannot be read.
    fn lost(&self) -> Result<Option<u64>>;

    /// Makes the active copy anew from the standby, where [`UserStorePair::lost`] says so.
    ///
    /// # Errors
    /// As for [`UserStorePair::synchronize`].
    fn restore(&self, work: &Work<'_>) -> Result<PairOutcome>;

    /// Removes every trace of the product from both, or only lists it.
    ///
    /// # Errors
    /// As for [`UserStorePair::synchronize`].
    fn remove_traces(&self, dry_run: bool) -> Result<Vec<Trace>>;
}
