//! What a job found: the report, as JSON and as one self-contained HTML page.
//!
//! The types here are the documents themselves; `docs/documents.md` describes every field and a test holds the
//! two together. Times are RFC 3339 in UTC, durations milliseconds, sizes bytes.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::stored::{StoredDocument, words};

mod changes;
pub mod html;

pub use changes::{Change, ChangeKind, Changes, ChangesOfKind};

/// The version of the report's fields. It grows when a field changes its meaning, not when one is added.
pub const SCHEMA_VERSION: u32 = 1;

words! {
    /// How a job, a module or a step ended.
    pub enum Outcome {
        /// There was nothing to do, or it was not its turn.
        Skipped = "Skipped",
        /// Everything was done.
        Succeeded = "Succeeded",
        /// Everything was done but for the items that are named.
        SucceededWithWarnings = "SucceededWithWarnings",
        ;
        /// It was stopped on request; what was committed stays.
        Cancelled = "Cancelled",
        /// It failed; the errors say why.
        Failed = "Failed",
    }
}

words! {
    /// How far the export of one module has come; see the table of states in `docs/operations.md`.
    #[derive(Default)]
    pub enum ExportState {
        /// Nothing is left to export, the backup pool has imported everything, and the pool makes no changes.
        FinalState = "FinalState",
        /// Every pending change fits into one batch.
        SteadyState = "SteadyState",
        /// More changes are pending than one batch can carry.
        NonSteadyState = "NonSteadyState",
        /// Nothing was exported yet.
        #[default]
        NotInitialized = "NotInitialized",
        ;
        /// The last export failed.
        ErrorState = "ErrorState",
    }
}

words! {
    /// Whether imports of one module work at the backup pool.
    #[derive(Default)]
    pub enum ImportState {
        /// Imports work.
        #[default]
        NormalState = "NormalState",
        ;
        /// The last import failed.
        ErrorState = "ErrorState",
    }
}

/// Both halves of a module's state and how much is pending, at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ModuleState {
    /// The exporting half.
    pub export: ExportState,
    /// The importing half.
    pub import: ImportState,
    /// Changes that the standby copy does not hold yet.
    pub pending_items: u64,
    /// Their size, where the module knows it.
    pub pending_bytes: u64,
    /// Age of the oldest pending change, in milliseconds; none where nothing is pending.
    pub lag_ms: Option<u64>,
}

impl StoredDocument for ModuleState {
    const NAME: &'static str = "state of a module";
}

/// An item that could not be copied, while the rest went on. It is tried again in every cycle.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct QuarantinedItem {
    /// The row, file or document.
    pub item: String,
    /// Why it could not be copied.
    pub reason: String,
    /// What to do about it.
    pub advice: String,
}

/// From which pool to which pool data went.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Direction {
    /// The pool that was read.
    pub from: String,
    /// The pool that was written.
    pub to: String,
}

/// What one module moved.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Moved {
    /// Rows, files or documents written to the destination.
    pub items_written: u64,
    /// Rows, files or documents removed from the destination.
    pub items_deleted: u64,
    /// Bytes written to the destination.
    pub bytes: u64,
    /// Batches exported and imported.
    pub batches: u64,
}

impl Moved {
    /// Adds what another cycle moved.
    pub fn add(&mut self, other: &Moved) {
        self.items_written += other.items_written;
        self.items_deleted += other.items_deleted;
        self.bytes += other.bytes;
        self.batches += other.batches;
    }

    /// Whether nothing moved at all.
    pub fn is_nothing(&self) -> bool {
        self.items_written == 0 && self.items_deleted == 0
    }
}

/// What a comparison of all items of a store and its copy found. What differed is as it is at the source afterwards.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Verification {
    /// Why everything was compared, a sentence each.
    pub reasons: Vec<String>,
    /// Rows, files or documents that were compared.
    pub compared_items: u64,
    /// How many of them differed, were missing or superfluous at the destination, other than by changes that were
    /// still to be copied.
    pub differing_items: u64,
    /// How many of these were put right; the others are in quarantine.
    pub repaired_items: u64,
    /// Where they were, in the order of the names.
    pub differing: Vec<Differing>,
}

/// How much differed in one place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Differing {
    /// The table, folder or kind of document.
    pub name: String,
    /// How many items of it differed.
    pub items: u64,
}

impl Verification {
    /// A comparison that was asked for and has not begun yet.
    pub fn requested() -> Self {
        Self::because("It was asked for.")
    }

    /// A comparison for this reason that has not begun yet.
    pub fn because(reason: impl Into<String>) -> Self {
        Verification { reasons: vec![reason.into()], ..Verification::default() }
    }

    /// Counts items of one place that differ.
    pub fn differ(&mut self, name: &str, items: u64) {
        if items == 0 {
            return;
        }
        self.differing_items += items;
        match self.differing.binary_search_by(|place| place.name.as_str().cmp(name)) {
            Ok(at) => self.differing.iter_mut().skip(at).take(1).for_each(|place| place.items += items),
            Err(at) => self.differing.insert(at, Differing { name: name.to_owned(), items }),
        }
    }

    /// Adds what another comparison of the same stores found.
    pub fn add(&mut self, other: &Verification) {
        let new = other.reasons.iter().filter(|reason| !self.reasons.contains(reason)).cloned();
        self.reasons.extend(new.collect::<Vec<_>>());
        self.compared_items += other.compared_items;
        self.repaired_items += other.repaired_items;
        for place in &other.differing {
            self.differ(&place.name, place.items);
        }
    }

    /// What an administrator is told where something differed; `items` is what the store holds, in the plural.
    pub fn warning(&self, items: &str) -> String {
        format!(
            "Of {} {items}, {} differed at the standby copy and {} were repaired: {}.",
            self.compared_items,
            self.differing_items,
            self.repaired_items,
            self.places()
        )
    }

    /// The places that differed, with their numbers: `contacts (1), users (2)`.
    pub fn places(&self) -> String {
        let places = self.differing.iter().map(|place| format!("{} ({})", place.name, place.items));
        places.collect::<Vec<_>>().join(", ")
    }
}

/// What a job found about one module in one direction.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ModuleReport {
    /// The module, for instance `UserServices.PresenceFocus`.
    pub module: String,
    /// What its step did: `copy` brought a pool's copy at its backup pool up to date, `carryBack` gave a pool back what it
    /// had lost.
    #[serde(default = "copy")]
    pub purpose: String,
    /// From where to where.
    pub direction: Direction,
    /// How it ended.
    pub outcome: Outcome,
    /// The state before the job touched it.
    pub before: ModuleState,
    /// The state afterwards.
    pub after: ModuleState,
    /// What was moved.
    pub moved: Moved,
    /// What was changed, by name: the first of each kind. In a report that only planned: what would be.
    #[serde(default)]
    pub changes: Changes,
    /// What a comparison of all items found; none where there was none.
    #[serde(default)]
    pub verification: Option<Verification>,
    /// Where the standby copy stands now, in the module's own words; none where it holds nothing.
    pub cursor: Option<String>,
    /// How long it took.
    pub duration_ms: u64,
    /// What could not be copied.
    pub quarantined: Vec<QuarantinedItem>,
    /// What an administrator should know.
    pub warnings: Vec<String>,
    /// Why it failed.
    pub errors: Vec<Error>,
}

/// Something of this product's in a store: what is removed when a pool's backup is disabled.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trace {
    /// URL of the store.
    pub store: String,
    /// `trigger`, `table`, `index`, `marker`, `temporaryFile` or `row`.
    pub kind: String,
    /// Its name there.
    pub name: String,
}

/// The purpose of the rows of reports that did not name any yet.
fn copy() -> String {
    "copy".to_owned()
}

/// One step of the plan, before it ran.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PlannedStep {
    /// Unique within the plan, for instance `export:UserServices.PresenceFocus`.
    pub id: String,
    /// One line that a person understands.
    pub title: String,
    /// The module, where the step belongs to one.
    pub module: Option<String>,
    /// Stores, tables and folders that the step will write to.
    pub touches: Vec<String>,
    /// How many items it will move, as far as known.
    pub items: Option<u64>,
    /// Whether the number of items is an estimate: counting them would have held up the pool's servers.
    #[serde(default)]
    pub items_estimated: bool,
    /// How many bytes it will move, as far as known.
    pub bytes: Option<u64>,
    /// What a person should know of it, where that was seen before it ran: what the partner lacks.
    #[serde(default)]
    pub note: Option<String>,
    /// What it would be refused with, where a job that only plans has seen that.
    #[serde(default)]
    pub refused: Option<String>,
}

/// What a job is going to do.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Plan {
    /// The steps in their order.
    pub steps: Vec<PlannedStep>,
}

/// What became of one step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StepReport {
    /// The id of the planned step.
    pub id: String,
    /// The title of the planned step.
    pub title: String,
    /// The module, where the step belongs to one.
    pub module: Option<String>,
    /// When it began; none where it did not run.
    pub started_at: Option<Timestamp>,
    /// How long it took.
    pub duration_ms: u64,
    /// How it ended; skipped where it did not run.
    pub outcome: Outcome,
    /// What happened in it, a line each.
    pub details: Vec<String>,
}

/// Which machine and process ran the job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HostInfo {
    /// The machine's name.
    pub machine: String,
    /// The process.
    pub process_id: u32,
    /// The version of this library.
    pub library_version: String,
}

/// What a job did, what it found and how it ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// See [`SCHEMA_VERSION`].
    pub schema_version: u32,
    /// The job's id, unique for ever.
    pub job_id: uuid::Uuid,
    /// The command, as administrators know it, for instance `Backup-CsPool`.
    pub command: String,
    /// The request that started it.
    pub request: serde_json::Value,
    /// The pool.
    pub pool_fqdn: String,
    /// Its backup pool; none where the job ended before it knew its pool.
    pub backup_pool_fqdn: Option<String>,
    /// How it ended.
    pub outcome: Outcome,
    /// Whether it only planned and changed nothing.
    pub what_if: bool,
    /// When it began.
    pub started_at: Timestamp,
    /// When it ended.
    pub finished_at: Timestamp,
    /// How long it took.
    pub duration_ms: u64,
    /// How often something was tried again.
    pub retries: u32,
    /// Where it ran.
    pub host: HostInfo,
    /// What it was going to do.
    pub plan: Plan,
    /// What became of each step of the plan; empty where it only planned.
    pub steps: Vec<StepReport>,
    /// What it found about each module and direction.
    pub modules: Vec<ModuleReport>,
    /// What it removed of the product itself, or would remove.
    #[serde(default)]
    pub removed: Vec<Trace>,
    /// The file that names everything of which the modules' changes name the first, a JSON document in each line; none
    /// where nothing has a name.
    #[serde(default)]
    pub names_file: Option<String>,
    /// Warnings that belong to no module.
    pub warnings: Vec<String>,
    /// Errors that belong to no module.
    pub errors: Vec<Error>,
}

impl Report {
    /// What its first error says.
    pub fn reason(&self) -> Option<String> {
        let of_modules = self.modules.iter().flat_map(|module| &module.errors);
        self.errors.iter().chain(of_modules).next().map(Error::whole)
    }
}
