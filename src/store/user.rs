//! User stores: the database that a pool's servers write to, and the copy of it at the backup pool.
//!
//! Both ends of a pair are of the same engine, so what has to be done is a trait over the pair: capture what is
//! written to the active copy, bring the standby copy up to it, and take every trace away again.

use std::path::Path;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::error::{Error, ErrorKind, Result};
use crate::report::{Moved, QuarantinedItem, Verification};
use crate::store::{Generation, JobName, MadeBy, Progress, Trace, Until};

pub(in crate::store) mod made_by;
pub mod pages;

/// A state of a store that can be restored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StoreState {
    /// Its number; it grows with every sync that changed something.
    pub revision: u32,
    /// When the store was in it.
    pub at: Timestamp,
    /// The job that copied it; none where that is not known.
    pub job_id: Option<Uuid>,
    /// What kind of job that was; none where that is not known.
    pub job_kind: Option<JobName>,
    /// The size of the database, in bytes.
    pub bytes: u64,
    /// What keeping it takes, in bytes.
    pub kept_bytes: u64,
    /// Why the copy was changed after it, where that was no ordinary sync.
    pub reason: Option<String>,
}

/// A state of a store, as somebody asks for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WantedState {
    /// The last one at or before a time.
    At(Timestamp),
    /// The one with this number.
    Revision(u32),
}

impl WantedState {
    /// The one of these states, of which the newest comes first.
    ///
    /// # Errors
    /// `InvalidArgument` where there is none.
    pub fn among(self, states: Vec<StoreState>) -> Result<StoreState> {
        let is_it = |state: &StoreState| match self {
            WantedState::At(at) => state.at <= at,
            WantedState::Revision(revision) => state.revision == revision,
        };
        states.into_iter().find(is_it).ok_or_else(|| self.not_kept())
    }

    /// The error where there is no such state.
    pub fn not_kept(self) -> Error {
        let what = match self {
            WantedState::At(at) => format!("The history does not reach back to {at}."),
            WantedState::Revision(revision) => format!("There is no state {revision} in the history."),
        };
        let advice = "Get-CsPoolBackupHistory lists the states that there are.";
        Error::new(ErrorKind::InvalidArgument, what, advice)
    }
}

/// How a pair of user stores compares, read from both without writing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PairObservation {
    /// Whether the standby holds a copy that can be continued.
    pub initialized: bool,
    /// Pages that were written since; at least one where that is all that is known.
    pub pending: u64,
    /// Whether that is an estimate: at least so many.
    pub is_estimate: bool,
    /// When the oldest of them was made.
    pub oldest: Option<Timestamp>,
    /// The number of the state that the standby is in.
    pub revision: Option<u32>,
    /// Why the next run compares all pages, where it will do so without being asked to.
    pub to_compare: Option<String>,
    /// What the next run refuses with, where what was seen already tells.
    pub refused: Option<Error>,
}

/// What one run over a pair did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PairOutcome {
    /// Pages written and removed at the standby.
    pub moved: Moved,
    /// What could not be copied.
    pub quarantined: Vec<QuarantinedItem>,
    /// What an administrator should know.
    pub warnings: Vec<String>,
    /// Lines for the report.
    pub details: Vec<String>,
    /// What a comparison of all pages found; none where there was none.
    pub verification: Option<Verification>,
    /// How both compare then, where that is known without looking once more: the active copy had not changed.
    pub after: Option<PairObservation>,
}

/// What a run needs from whoever asked for it.
pub struct Work<'a> {
    /// The right to write to the standby.
    pub generation: Generation,
    /// Whether all pages of both are compared, however little has changed.
    pub verify: bool,
    /// Whether a store that lacks much of what its copy holds may be copied.
    pub accept_deletions: bool,
    /// Asked between any two slices of work.
    pub cancel: &'a CancellationToken,
    /// Told how far it has come.
    pub progress: &'a (dyn Fn(Progress) + Sync),
    /// The job that asks for it, as the history tells it.
    pub job: Option<MadeBy>,
    /// The time of day, for lag.
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

    /// Says that nothing can be read or written just now, and why.
    pub fn wait(&self, activity: &'static str) {
        (self.progress)(Progress { activity: activity.into(), ..Progress::default() });
    }

    /// Says how many bytes of a store are done.
    pub fn tell(&self, done: u64, total: u64) {
        (self.progress)(Progress {
            activity: "Copying the user store".into(),
            bytes_done: done,
            bytes_total: Some(total),
            ..Progress::default()
        });
    }
}

/// An active user store and the standby copy of it.
pub trait UserStorePair: Send + Sync {
    /// Compares both without writing to either, and without reading more than is needed to tell whether something has changed.
    ///
    /// # Errors
    /// When one of them exists and cannot be read.
    fn observe(&self, cancel: &CancellationToken) -> Result<PairObservation>;

    /// Brings the standby to a state that the active copy had, in one transaction there. Nothing is written at the active copy.
    ///
    /// # Errors
    /// `StoreUnavailable`, `StoreBusy`, `Fenced`, `SourceTooBusy`, `SafetyShareExceeded`, `DiskFull`, `AccessDenied`, `Corrupt`,
    /// `Cancelled`. The standby is then as it was before.
    fn synchronize(&self, work: &Work<'_>) -> Result<PairOutcome>;

    /// Does all that [`UserStorePair::synchronize`] does but writing, and says what that would say: what it would move, and what it would
    /// refuse. It reads as much as that would read.
    ///
    /// # Errors
    /// As for [`UserStorePair::synchronize`]; `StoreBusy` where what a kill left has to be mended first, `SourceTooBusy` sooner than there.
    fn plan(&self, work: &Work<'_>) -> Result<PairOutcome>;

    /// Whether the active copy is gone while the standby holds one: what could be given back.
    ///
    /// # Errors
    /// When a store exists and cannot be read.
    fn lost(&self) -> Result<Option<Moved>>;

    /// Makes the active copy anew from the standby, where [`UserStorePair::lost`] says so.
    ///
    /// # Errors
    /// As for [`UserStorePair::synchronize`].
    fn restore(&self, work: &Work<'_>) -> Result<PairOutcome>;

    /// The states that can be restored, the newest first.
    ///
    /// # Errors
    /// When what is kept of them cannot be listed.
    fn states(&self) -> Result<Vec<StoreState>>;

    /// The state that is asked for, where it could be written to this path.
    ///
    /// # Errors
    /// `InvalidArgument` where there is no such state, or something lies at the path.
    fn find_state(&self, wanted: WantedState, to: &Path) -> Result<StoreState>;

    /// Writes a state as a database of its own to a path where nothing is. Lines for the report say by table which rows it has and the copy
    /// of now does not, and the other way round.
    ///
    /// # Errors
    /// `InvalidArgument` where there is no such state, or something lies at the path; `Corrupt`, `DiskFull`, `AccessDenied`.
    fn restore_state(
        &self,
        revision: u32,
        to: &Path,
        generation: Generation,
        cancel: &CancellationToken,
    ) -> Result<(StoreState, Vec<String>)>;

    /// Raises the fence around the active copy, so that every server's write is refused from then on, or takes it away again. A transaction
    /// under way is waited for, and nothing that was confirmed is lost. A connection that read while the fence was there stays
    /// read-only until it is opened anew.
    ///
    /// # Errors
    /// `StoreBusy` where somebody reads or writes until the deadline; `AccessDenied`, `Io`, `StoreOpenInProcess`, `Cancelled`.
    fn fence(&self, is_raised: bool, until: &Until) -> Result<()>;

    /// Makes of the standby what servers write to. What the topology excludes is emptied there; its history stays. Returns the names of the
    /// tables that were emptied. Nothing looks after the other copy: fence it first.
    ///
    /// # Errors
    /// `Fenced` where a newer owner was here; `Corrupt` where there is no copy; `StoreBusy`, `Io`, `Cancelled`.
    fn promote(&self, generation: Generation, until: &Until) -> Result<Vec<String>>;

    /// Removes every trace of the product from both, or only lists it.
    ///
    /// # Errors
    /// `Cancelled`; as for [`UserStorePair::synchronize`].
    fn remove_traces(&self, dry_run: bool, cancel: &CancellationToken) -> Result<Vec<Trace>>;
}
