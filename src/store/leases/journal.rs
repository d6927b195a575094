//! The journal of jobs: what a list of steps has done, as whoever comes after a kill needs to know it.
//!
//! It is kept where a job's lease is kept, and only the holder of that lease writes it. Nothing in it waits for the disk:
//! with the power goes the process, and a step that was noted for nothing is only done once more.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::error::Result;
use crate::report::Outcome;
use crate::store::Until;
use crate::store::leases::Lease;

/// The list of an earlier job that did not come to its end, as far as it is gone on with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resumed {
    /// The job.
    pub job_id: Uuid,
    /// The ids of its steps that are done and not to be done again.
    pub done: Vec<String>,
}

/// A step of a list: its place, from 1, and its id.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NotedStep {
    /// Its place in the list.
    pub number: u32,
    /// Its id.
    pub id: String,
}

/// Notes of one pool's direction. Every note is refused with `Fenced` once the lease is somebody else's, and waits for
/// other processes as long as `until` says; then it fails with `StoreBusy`.
pub trait Journal: Send + Sync {
    /// Notes that a list begins, and ends those that were left unfinished. Where the last of them is of the same command,
    /// those of the given steps that it has done are taken over as done.
    ///
    /// # Errors
    /// `Fenced`; when the journal cannot be written.
    fn begin_list(
        &self,
        lease: &Lease,
        command: &str,
        resumable: &[NotedStep],
        now: Timestamp,
        until: &Until,
    ) -> Result<Option<Resumed>>;

    /// Notes that a step is about to run.
    ///
    /// # Errors
    /// As for [`Journal::begin_list`].
    fn begin_step(
        &self,
        lease: &Lease,
        command: &str,
        step: &NotedStep,
        now: Timestamp,
        until: &Until,
    ) -> Result<()>;

    /// Notes how a step ended.
    ///
    /// # Errors
    /// As for [`Journal::begin_list`].
    fn end_step(
        &self,
        lease: &Lease,
        number: u32,
        outcome: Outcome,
        now: Timestamp,
        until: &Until,
    ) -> Result<()>;

    /// Notes that the list has come to its end.
    ///
    /// # Errors
    /// As for [`Journal::begin_list`].
    fn end_list(&self, lease: &Lease, outcome: Outcome, now: Timestamp, until: &Until) -> Result<()>;
}
