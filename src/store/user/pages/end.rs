//! One end of a pair: a user store in SQLite at one place, as what its servers write to and as a copy of another one.
//!
//! What two ends exchange are owned values and runs of pages of a bounded size. Neither end knows where the other one is.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

use super::hashes::Seed;
use super::mark::{Mark, Way};
use crate::error::{Error, Result};
use crate::platform::Rights;
use crate::report::Moved;
use crate::store::sqlite::format::check::Suspect;
use crate::store::sqlite::format::header::Layout;
use crate::store::user::{PairOutcome, StoreState};
use crate::store::{Generation, MadeBy, Trace, Until};

/// Takes the pages of a store, and how far reading it has come. Several threads call it.
pub(super) trait PageSink: Sync {
    /// Takes consecutive pages of one size, the first of which has this number: at most a MiB of them. The same page may come again; the
    /// last one counts.
    ///
    /// # Errors
    /// `DiskFull`, `Io`: the pass ends.
    fn put(&self, first: u32, content: &[u8], page_size: usize) -> Result<()>;

    /// Forgets all pages: they are read anew.
    ///
    /// # Errors
    /// Failures of the file system.
    fn reset(&self) -> Result<()> {
        Ok(())
    }

    /// Is told how many bytes of how many were read.
    fn tell(&self, _done: u64, _total: u64) {}

    /// Is told that nothing can be read just now.
    fn wait(&self) {}
}

/// What is known of the pages at the end that receives them.
#[derive(Clone, Debug)]
pub(super) struct Base {
    pub(super) seed: Seed,
    /// One for each page.
    pub(super) hashes: Arc<[u128]>,
    /// None where there is nothing yet.
    pub(super) layout: Option<Layout>,
    /// None where the source has to be read whole.
    pub(super) mark: Option<Mark>,
    /// A folder of the receiving end. Where the source lies on the same file system, a clone of it may be made there.
    pub(super) scratch: PathBuf,
}

/// A state that a source had. Its pages went to a sink.
#[derive(Clone, Debug)]
pub(super) struct Exported {
    pub(super) way: Way,
    pub(super) attempts: u32,
    pub(super) layout: Layout,
    pub(super) pages: u32,
    /// The first page as it is at the source; none where it is as it was when the base was read.
    pub(super) first_page: Option<Vec<u8>>,
    pub(super) hashes: Vec<u128>,
    pub(super) suspects: Vec<Suspect>,
    pub(super) mark: Mark,
    /// Whether pages of a transaction that a server did not finish were read from its journal.
    pub(super) undone: bool,
}

/// What a look at a source from outside tells.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    /// Whether it is as it was when it was read last.
    pub(super) is_unchanged: bool,
    /// A copy of it gets these rights, or fewer.
    pub(super) rights: Rights,
}

/// What a closer look at a source tells.
#[derive(Clone, Debug)]
pub(super) struct Survey {
    /// Whether it is as it was when it was read last.
    pub(super) is_unchanged: bool,
    /// How many pages were written since; none where the log does not tell, or nothing is known of it.
    pub(super) pending: Option<u32>,
    /// Why it cannot be copied: it is no database, or may not be read.
    pub(super) refused: Option<Error>,
}

/// Where a copy stands, as far as that can be told without a lock and without reading it.
#[derive(Debug, Default)]
pub(super) struct Standing {
    /// How the source looked when the copy was last brought up to it.
    pub(super) mark: Option<Mark>,
    /// The number of the state that it is in; none where there is no copy.
    pub(super) revision: Option<u32>,
    /// When the source was last seen in that state.
    pub(super) confirmed: Option<Timestamp>,
    /// Whether what is remembered of it does not hold.
    pub(super) is_touched: bool,
    /// The copy's own rights.
    pub(super) rights: Option<Rights>,
    /// What an import refuses with.
    pub(super) refused: Option<Error>,
}

/// What somebody who imports says of it.
#[derive(Clone, Debug)]
pub(super) struct Order {
    /// The right to write to the copy.
    pub(super) generation: Generation,
    /// What it is a copy of, for people.
    pub(super) source: PathBuf,
    /// Whether all pages of both are compared.
    pub(super) verify: bool,
    /// Whether a state may be copied that lacks much of what the copy holds.
    pub(super) accept_deletions: bool,
    /// The job that asks for it, as the history tells it.
    pub(super) job: Option<MadeBy>,
    pub(super) now: Timestamp,
    pub(super) cancel: CancellationToken,
}

/// A copy that is being brought to a state of its source by one importer. What is dropped before [`Import::commit`] changes nothing.
pub(super) trait Import: PageSink {
    /// How the source looked when the copy was last brought up to it; none where everything has to be compared.
    fn known(&self) -> Option<&Mark>;

    /// Ends an import of a source that has not changed.
    ///
    /// # Errors
    /// Failures of the file system.
    fn confirm(self: Box<Self>, seen: &Seen) -> Result<()>;

    /// Mends what a kill left behind, and says what the copy holds.
    ///
    /// # Errors
    /// `ForeignContent`, `StoreBusy`, `StoreOpenInProcess`; failures of the file system; cancelled.
    fn open(&mut self, seen: &Seen) -> Result<Base>;

    /// Brings the copy to the state whose pages came, in one transaction.
    ///
    /// # Errors
    /// `SafetyShareExceeded`, `Corrupt`, `HistoryFull`, `StoreBusy`, `StoreReplaced`, `DiskFull`, `Io`, cancelled: the copy is as it was.
    fn commit(self: Box<Self>, exported: Exported) -> Result<PairOutcome>;
}

/// A state of a copy whose pages went to a sink.
#[derive(Clone, Debug)]
pub(super) struct Sent {
    /// The copy that they come from, for people.
    pub(super) from: PathBuf,
    pub(super) state: StoreState,
    pub(super) pages: u32,
    pub(super) page_size: u32,
    /// The source's versions for writing and reading.
    pub(super) versions: (u8, u8),
    /// Marks of the damage that is known of it.
    pub(super) findings: Vec<u64>,
}

/// A store that is made anew where it was lost. What is dropped before [`Replacement::publish`] leaves nothing behind.
pub(super) trait Replacement: PageSink {
    /// Gives it its name.
    ///
    /// # Errors
    /// `StoreBusy` where somebody still has the lost store open, `StoreReplaced` where another one came into being; `Corrupt`,
    /// `DiskFull`, `AccessDenied`, `Io`.
    fn publish(self: Box<Self>, sent: &Sent) -> Result<Published>;
}

/// A store that was made anew.
#[derive(Clone, Debug)]
pub(super) struct Published {
    /// How it looks, by a mark that is of the same folder as this one.
    pub(super) mark: Mark,
    /// Tables that were emptied because the topology excludes them.
    pub(super) emptied: Vec<String>,
    /// Whether there are processes that could not be looked into.
    pub(super) is_partial: bool,
    /// Whether it is another account's than its folder: the server may not open it.
    pub(super) is_of_another: bool,
}

/// A user store in SQLite at one place. Where both ends of a pair are on one machine they are values of the same type; a connection to
/// another machine has the same methods.
pub(super) trait UserEnd: Send + Sync {
    /// Its place, for people.
    fn path(&self) -> &Path;

    // ---- what servers write to -----------------------------------------------------------------------------------------

    /// Looks at it from outside, without reading it.
    ///
    /// # Errors
    /// `StoreUnavailable` where there is none; failures of the file system.
    fn look(&self, known: Option<&Mark>) -> Result<Seen>;

    /// Looks at it from outside, and at as much of it as tells whether it can be copied, and how much was written.
    ///
    /// # Errors
    /// As for [`UserEnd::look`].
    fn survey(&self, known: Option<&Mark>) -> Result<Survey>;

    /// Reads a state that it had, and hands on the pages that differ from the base.
    ///
    /// # Errors
    /// `SourceTooBusy` where none could be read in time; `StoreUnavailable`, `AccessDenied`, `Corrupt`, `Cancelled`; those of the sink.
    fn export(&self, base: &Base, to: &dyn PageSink, until: &Until) -> Result<Exported>;

    /// Whether it is gone, or has not a single table, and that is no matter of a file system that is not mounted.
    ///
    /// # Errors
    /// When it exists and cannot be read; `StoreUnavailable` where its file system seems not to be mounted.
    fn is_lost(&self, known: Option<&Mark>) -> Result<bool>;

    /// Begins to make a lost store anew, of which this is known. Without rights it gets those that its folder suggests.
    ///
    /// # Errors
    /// `StoreUnavailable` where its folder is missing; `DiskFull`, `AccessDenied`, `Io`.
    fn replace(&self, rights: Option<Rights>, known: Option<&Mark>) -> Result<Box<dyn Replacement>>;

    // ---- a copy --------------------------------------------------------------------------------------------------------

    /// Where it stands.
    ///
    /// # Errors
    /// Failures of the file system.
    fn standing(&self) -> Result<Standing>;

    /// Begins an import, which nobody else does meanwhile.
    ///
    /// # Errors
    /// `Fenced` where a newer owner was here; `StoreBusy` where another importer goes on for too long; `Cancelled`.
    fn import(&self, order: Order) -> Result<Box<dyn Import>>;

    /// Begins what looks like an import and writes nothing: it takes the same pages, and its commit says what that of an import would say.
    ///
    /// # Errors
    /// As for [`UserEnd::import`]; `StoreBusy` where something has to be mended first.
    fn rehearse(&self, order: Order) -> Result<Box<dyn Import>>;

    /// The pages and bytes that there are to give back; none where no copy of ours is there.
    ///
    /// # Errors
    /// When it exists and cannot be read.
    fn size(&self) -> Result<Option<Moved>>;

    /// The states that can be restored, the newest first.
    ///
    /// # Errors
    /// When what is kept of them cannot be listed.
    fn states(&self) -> Result<Vec<StoreState>>;

    /// Hands on all pages of a state, the current one or the one with this number.
    ///
    /// # Errors
    /// `InvalidArgument` where there is no such state; `Corrupt`; those of the sink; cancelled.
    fn send(
        &self,
        revision: Option<u32>,
        generation: Generation,
        to: &dyn PageSink,
        cancel: &CancellationToken,
    ) -> Result<Sent>;

    /// Notes that the source was made anew from a state of the copy: that it is another file is no news to the next import.
    ///
    /// # Errors
    /// Failures of the file system.
    fn note_replaced(&self, sent: &Sent, published: &Published, order: &Order) -> Result<()>;

    // ---- changes of role -----------------------------------------------------------------------------------------------

    /// Raises the fence around a store that servers write to, or takes it away from one that was not replaced since. A transaction under
    /// way is waited for; nothing that was confirmed is lost.
    ///
    /// # Errors
    /// `StoreBusy` where somebody reads or writes until the deadline; `AccessDenied`, `Io`, `StoreOpenInProcess`, `Cancelled`.
    fn fence(&self, is_raised: bool, until: &Until) -> Result<()>;

    /// Makes of a copy what servers write to, for an owner of this generation: what the topology excludes is emptied, the fence is lifted.
    /// Its history stays. The tables that were emptied.
    ///
    /// # Errors
    /// `Fenced` where a newer owner was here; `StoreUnavailable` where there is no copy; `StoreBusy`, `Io`, `Cancelled`.
    fn promote(&self, generation: Generation, until: &Until) -> Result<Vec<String>>;

    // ---- taking everything away ----------------------------------------------------------------------------------------

    /// What an earlier build left in the source, as the copy tells.
    fn former(&self) -> Vec<(String, String)>;

    /// Removes from a source what an earlier build left there.
    ///
    /// # Errors
    /// `StoreBusy`, `AccessDenied` and failures of the database: nothing is removed then.
    fn remove_former(&self) -> Result<Vec<Trace>>;

    /// Lists what there is of ours at a copy, and removes it unless this is a dry run: servers may write to it then.
    ///
    /// # Errors
    /// `StoreBusy`, `Io`; cancelled.
    fn lift(&self, dry_run: bool, cancel: &CancellationToken) -> Result<Vec<Trace>>;
}
