//! The backup modules: each copies one kind of data from a pool to its backup pool.
//!
//! A module knows two stores and how to bring the second up to the first. It does not know jobs: whoever runs it
//! passes a [`Context`] that says whether to go on, and an [`Observer`] that is told how far it has come. Modules are
//! blocking; jobs run them on threads where that is allowed.

use std::path::Path;
use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::error::{Error, ErrorKind, Result};
use crate::report::{Change, ChangeKind, Changes, Moved, QuarantinedItem, Verification};
pub use crate::store::Progress;
pub use crate::store::user::{StoreState, WantedState};
use crate::store::{Generation, MadeBy, Trace};

pub mod cms_master;
pub mod data_conf;
pub mod presence_focus;
pub mod remote;
pub mod served;
pub mod state;
pub mod stores;

/// One kind of data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum ModuleId {
    /// The user store.
    #[serde(rename = "UserServices.PresenceFocus", alias = "PresenceFocus")]
    PresenceFocus,
    /// The content store.
    #[serde(rename = "ConfServices.DataConf", alias = "DataConf")]
    DataConf,
    /// The Central Management store.
    #[serde(rename = "CentralMgmt.CMSMaster", alias = "CMSMaster")]
    CmsMaster,
}

impl ModuleId {
    /// Every module, in the order in which jobs run them.
    pub const ALL: [ModuleId; 3] = [ModuleId::PresenceFocus, ModuleId::DataConf, ModuleId::CmsMaster];

    /// The full name, as documents and administrators spell it.
    pub const fn name(self) -> &'static str {
        match self {
            ModuleId::PresenceFocus => "UserServices.PresenceFocus",
            ModuleId::DataConf => "ConfServices.DataConf",
            ModuleId::CmsMaster => "CentralMgmt.CMSMaster",
        }
    }

    /// The short name, as run-books spell it.
    pub fn short_name(self) -> &'static str {
        self.name().rsplit('.').next().unwrap_or_default()
    }

    /// What the module's data is called in sentences.
    pub const fn store_name(self) -> &'static str {
        match self {
            ModuleId::PresenceFocus => "user store",
            ModuleId::DataConf => "content store",
            ModuleId::CmsMaster => "Central Management store",
        }
    }

    /// The module with this full or short name, whatever its case.
    ///
    /// # Errors
    /// `InvalidArgument` for any other name.
    pub fn parse(name: &str) -> Result<Self> {
        ModuleId::ALL
            .into_iter()
            .find(|id| id.name().eq_ignore_ascii_case(name) || id.short_name().eq_ignore_ascii_case(name))
            .ok_or_else(|| {
                Error::new(
                    ErrorKind::InvalidArgument,
                    format!("There is no backup module named \"{name}\"."),
                    "Use UserServices.PresenceFocus, ConfServices.DataConf, CentralMgmt.CMSMaster or All.",
                )
            })
    }
}

/// The error of whoever asks for an earlier state of what has no history.
pub fn no_history(module: ModuleId) -> Error {
    Error::new(
        ErrorKind::InvalidArgument,
        format!("No history of the {} is kept.", module.store_name()),
        "User stores and content stores have one.",
    )
}

/// What a module tells while it works. Called often; implementations thin it out.
pub trait Observer: Send + Sync {
    /// How far the current activity has come; totals are none where they are not known yet.
    fn progress(&self, progress: Progress);
    /// Something that an administrator should know, though the work goes on.
    fn warning(&self, message: String);
    /// Something was changed, or that was refused: every single one of what [`CycleOutcome::changes`] names the first.
    fn changed(&self, _kind: ChangeKind, _change: &Change) {}
}

/// Takes one change, by name.
pub type TellName = dyn Fn(ChangeKind, &Change) + Send + Sync;

/// Who is told by name what a look finds would be changed.
#[derive(Clone)]
pub struct Names(pub Arc<TellName>);

impl std::fmt::Debug for Names {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Names")
    }
}

/// What a module is given for one cycle.
#[derive(Clone)]
pub struct Context {
    /// The right to write to the destination; stores refuse an older one than they have seen.
    pub generation: Generation,
    /// Asked before every item; a cancelled module stops at a transaction boundary with [`ErrorKind::Cancelled`].
    pub cancel: CancellationToken,
    /// Told about progress.
    pub observer: Arc<dyn Observer>,
    /// Where times come from.
    pub clock: Arc<dyn Clock>,
    /// Whether deletions beyond the safety share are allowed.
    pub accept_deletions: bool,
    /// Whether every item of both stores is compared, however little has changed, and what differs is repaired.
    pub verify: bool,
    /// The job that the cycle belongs to.
    pub job: Option<MadeBy>,
}

impl Context {
    /// Whether to go on.
    ///
    /// # Errors
    /// [`ErrorKind::Cancelled`] once the job was cancelled.
    pub fn check(&self) -> Result<()> {
        if self.cancel.is_cancelled() { Err(Error::cancelled()) } else { Ok(()) }
    }
}

/// What a look takes into account besides the stores: what the run would be asked to do.
#[derive(Clone, Debug, Default)]
pub struct Look {
    /// Asked before every item; a cancelled look stops with [`ErrorKind::Cancelled`].
    pub cancel: CancellationToken,
    /// See [`Context::accept_deletions`].
    pub accept_deletions: bool,
    /// See [`Context::verify`].
    pub verify: bool,
    /// Whether what it says has to be exact, though that takes as long as reading what the run reads: for dry runs.
    pub thorough: bool,
    /// Who is told what would be changed, each by name; nobody where nobody wants to know.
    pub names: Option<Names>,
}

/// What a module's two stores look like at one moment, before anything is said about states.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Observation {
    /// Whether the destination holds a copy at all.
    pub initialized: bool,
    /// Whether this pool has nothing to export by its role, which is healthy: the sentence says why.
    pub not_applicable: Option<String>,
    /// Changes that the destination does not hold.
    pub pending_items: u64,
    /// Whether that is an estimate, where counting would hold up the pool's servers: at least so many.
    pub is_estimate: bool,
    /// Their size, where the module knows it.
    pub pending_bytes: u64,
    /// Whether all of them fit into one batch.
    pub fits_one_batch: bool,
    /// When the oldest of them was made.
    pub oldest_pending: Option<Timestamp>,
    /// Where the destination stands, in the module's own words.
    pub cursor: Option<String>,
    /// Why the next cycle compares everything, where it will do so without being asked to: until then nobody knows what
    /// the destination lacks.
    pub to_compare: Option<String>,
    /// What the next cycle would write and remove, as it would report it, however far it would come; none where only
    /// running it tells. It is less than what is pending where items cannot be copied, or deletions are refused. What only
    /// writing finds out is not in it; how batches fall, and whether a file that was renamed while its
    /// earlier name got another one is sent, depends on the order in which files are read.
    pub moves: Option<Moved>,
    /// The first of that by name, where the items have names.
    pub changes: Changes,
    /// What the next cycle would refuse with, where what was seen already tells.
    pub refused: Option<Error>,
    /// A sentence on what the next cycle would find no room for at the destination, where that can be told without writing.
    pub no_room: Option<String>,
}

impl Observation {
    /// How many items and bytes the next cycle would move, as far as that is known.
    pub fn to_move(&self) -> (u64, u64) {
        match &self.moves {
            Some(moves) => (moves.items_written + moves.items_deleted, moves.bytes),
            None => (self.pending_items, self.pending_bytes),
        }
    }
}

/// What giving back would return, before anything is written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GiveBack {
    /// Items that the pool lost and its copy still holds.
    pub items: u64,
    /// Their size, where the module knows it.
    pub bytes: u64,
    /// The first of them by name, where they have names.
    pub changes: Changes,
    /// What giving back would refuse with, where what was seen already tells.
    pub refused: Option<Error>,
}

/// What a pool lacks of what its copy holds, whether it was lost or deleted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Loss {
    /// Items that the copy holds and the pool lacks.
    pub items: u64,
    /// The first of them by name, where they have names of their own.
    pub first: Vec<String>,
    /// Whether the whole store was lost: it is missing, empty, another one, or lacks more than anybody would delete.
    pub is_store_lost: bool,
}

/// A state that was written to a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Restored {
    /// Which one.
    pub state: StoreState,
    /// Lines for the report: what was written, or how it compares with the copy of now.
    pub details: Vec<String>,
    /// What is not as it was then.
    pub warnings: Vec<String>,
}

/// What one cycle did.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct CycleOutcome {
    /// What was written and removed.
    pub moved: Moved,
    /// The first of that by name, where the items have names.
    pub changes: Changes,
    /// What could not be copied.
    pub quarantined: Vec<QuarantinedItem>,
    /// What an administrator should know.
    pub warnings: Vec<String>,
    /// Lines for the step in the report.
    pub details: Vec<String>,
    /// A sentence on what there was no room for at the destination; each item of it is quarantined.
    pub no_room: Option<String>,
    /// What a comparison found; none where the cycle only followed the changes.
    pub verification: Option<Verification>,
    /// What the module saw before it changed anything, where a cycle has to compare the stores anyway.
    pub before: Option<Observation>,
    /// What is left after it, where that is known without comparing them once more.
    pub after: Option<Observation>,
    /// Where the destination stands, where the cycle failed and that is known all the same.
    pub cursor: Option<String>,
}

/// Why a cycle could not be completed, and what it had done by then: that stays, and belongs into the report.
#[derive(Debug)]
pub struct CycleFailure {
    /// Why.
    pub error: Error,
    /// What was moved, quarantined and noticed before.
    pub done: Box<CycleOutcome>,
}

impl From<Error> for CycleFailure {
    /// The failure of a cycle that had done nothing.
    fn from(error: Error) -> Self {
        CycleFailure { error, done: Box::default() }
    }
}

/// How a cycle ended.
pub type CycleResult = Result<CycleOutcome, CycleFailure>;

/// One kind of data of one pool, and its copy at the backup pool.
pub trait BackupModule: Send + Sync {
    /// Which kind.
    fn id(&self) -> ModuleId;

    /// The stores that a cycle writes to, for plans.
    fn touches(&self) -> Vec<String>;

    /// The stores that [`BackupModule::carry_back`] writes to, for plans; empty where this kind of data is never given
    /// back.
    fn touches_back(&self) -> Vec<String>;

    /// Compares both stores without writing to either, and looks at all that [`BackupModule::run_cycle`] would look at.
    ///
    /// # Errors
    /// When a store cannot be read and nothing can be said; cancelled.
    fn observe(&self, look: &Look) -> Result<Observation>;

    /// Whether both stores are there and are the ones that are meant, as far as that shows at once: for a status, where
    /// [`BackupModule::observe`] would take too long.
    ///
    /// # Errors
    /// What the next cycle would refuse with; cancelled.
    fn check(&self, _look: &Look) -> Result<()> {
        Ok(())
    }

    /// Copies what the destination lacks, until nothing is left or the cycle's limits are reached.
    ///
    /// # Errors
    /// When nothing more can be copied, with what was copied before; single bad items are quarantined instead.
    fn run_cycle(&self, context: &Context) -> CycleResult;

    /// Whether a cycle compares the stores itself and tells what it saw: then looking beforehand would only do the
    /// same work twice.
    fn cycle_observes(&self) -> bool {
        false
    }

    /// Gives back to the pool what it has lost and its copy still holds.
    ///
    /// # Errors
    /// As for [`BackupModule::run_cycle`].
    fn carry_back(&self, context: &Context) -> CycleResult;

    /// Counts what [`BackupModule::carry_back`] would return, without writing.
    ///
    /// # Errors
    /// When a store cannot be read; cancelled.
    fn observe_carry_back(&self, look: &Look) -> Result<GiveBack>;

    /// Looks what the pool lacks of what its copy holds, as fast as that can be seen, without writing.
    ///
    /// # Errors
    /// When a store cannot be read, or is not the one that is meant; cancelled.
    fn loss(&self, look: &Look) -> Result<Loss>;

    /// The states of the copy that can be restored, the newest first; none for a kind of data of which no history is kept.
    ///
    /// # Errors
    /// When what is kept cannot be listed.
    fn states(&self) -> Result<Option<Vec<StoreState>>> {
        Ok(None)
    }

    /// The state that is asked for, where it can be restored to this path: nothing may be there.
    ///
    /// # Errors
    /// `InvalidArgument`.
    fn find_state(&self, _wanted: WantedState, _to: &Path) -> Result<StoreState> {
        Err(no_history(self.id()))
    }

    /// Writes a state to a path at which nothing is, or of it what these patterns name.
    ///
    /// # Errors
    /// As for [`BackupModule::find_state`]; `Corrupt`, `DiskFull`, `AccessDenied`, `Fenced`; cancelled.
    fn restore_state(
        &self,
        _wanted: WantedState,
        _include: &[String],
        _to: &Path,
        _context: &Context,
    ) -> Result<Restored> {
        Err(no_history(self.id()))
    }

    /// Lists what [`BackupModule::disable`] would remove, without writing.
    ///
    /// # Errors
    /// When a store cannot be read; cancelled.
    fn observe_disable(&self, look: &Look) -> Result<Vec<Trace>>;

    /// Removes every trace of the product from both stores and lists it.
    ///
    /// # Errors
    /// When a store cannot be read or written; cancelled.
    fn disable(&self, context: &Context) -> Result<Vec<Trace>>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_spellings_in_any_case_name_a_module() {
        assert_eq!(ModuleId::parse("ConfServices.DataConf").unwrap(), ModuleId::DataConf);
        assert_eq!(ModuleId::parse("dataconf").unwrap(), ModuleId::DataConf);
        assert_eq!(ModuleId::parse("Conf").unwrap_err().kind, ErrorKind::InvalidArgument);
    }
}
