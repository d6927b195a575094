//! Leases: the right to write one pool's standby copies, and what is kept beside it.
//!
//! A lease has an owner, a generation that only grows, and a counter that the owner moves with each renewal. Nobody compares
//! the times of two machines. A lease that was given back is free, and so is one whose owner is known to be dead; any other
//! is taken over once somebody has seen its counter stand still for [`LEASE_DURATION`] by his own clock. So a clock that is
//! wrong, by whatever, neither keeps a lease nor loses one. A lease is no fence: every store refuses an older generation
//! itself, in the transaction that writes.

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use self::journal::Journal;
use super::{Generation, Until};
use crate::error::{Error, ErrorKind, Result};
use crate::report::ModuleState;
use crate::topology::PoolFqdn;

mod given_back;
pub mod journal;
mod owner;
pub(crate) mod remote;
pub(super) mod sqlite;
pub use owner::LeaseOwner;

/// How long a counter stands still before the lease may be taken over. Its holder moves it three times in that time.
pub const LEASE_DURATION: Duration = Duration::from_secs(30);

/// How long another process may keep the leases locked.
pub const PATIENCE: Duration = Duration::from_secs(5);

/// The leases of one direction, and beside them the states of modules and the journal of jobs. They lie at the pool that receives the data.
///
/// What reads makes nothing: where there is no store yet, nobody holds anything and nothing is known. Every method waits
/// for other processes as long as `until` says; then it fails with `StoreBusy`.
pub trait Leases: Journal {
    /// Takes the lease of a pool, with a generation that was never given out before; durable. Whoever finds it held is
    /// told by whom, and what he saw is remembered, for himself and for every other process of this machine: the first
    /// one that finds the same after [`LEASE_DURATION`] takes it over.
    ///
    /// # Errors
    /// When the store cannot be made or written.
    fn acquire(&self, claim: &Claim, until: &Until) -> Result<Acquired>;

    /// Says that the holder is alive.
    ///
    /// # Errors
    /// `Fenced` if somebody else has taken it over meanwhile.
    fn renew(&self, lease: &Lease, until: &Until) -> Result<()>;

    /// Gives a lease back. Its generation is remembered, so that it keeps growing. Where that cannot be written, this
    /// process knows it all the same; others see that nobody renews it.
    ///
    /// # Errors
    /// `Fenced` if somebody else has taken it over meanwhile; when the store cannot be written.
    fn release(&self, lease: &Lease, until: &Until) -> Result<()>;

    /// Who holds the lease of a pool, or held it last.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn holder(&self, pool: &PoolFqdn, until: &Until) -> Result<Option<Holder>>;

    /// The last seen state of a module.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn state(&self, pool: &PoolFqdn, module: &str, until: &Until) -> Result<Option<StoredState>>;

    /// Remembers the state of a module; a `last_success` of none keeps the one that is stored.
    ///
    /// # Errors
    /// `Fenced` if the lease is somebody else's by now; when the store cannot be written.
    fn set_state(&self, lease: &Lease, module: &str, state: &StoredState, until: &Until) -> Result<()>;

    /// Whether anything is known about a pool's modules.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn has_states(&self, pool: &PoolFqdn, until: &Until) -> Result<bool>;

    /// Forgets what is known about a pool's modules, and says of how many something was.
    ///
    /// # Errors
    /// `Fenced` if the lease is somebody else's by now; when the store cannot be written.
    fn forget_states(&self, lease: &Lease, until: &Until) -> Result<usize>;
}

/// Who wants the lease of which pool.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claim {
    /// The pool whose data it is about.
    pub pool: PoolFqdn,
    /// The process.
    pub owner: LeaseOwner,
    /// Its job.
    pub job_id: Uuid,
}

/// What became of a claim.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Acquired {
    /// The lease is the claimant's.
    Held(Lease),
    /// Somebody else holds it.
    Busy(Holder),
}

impl Acquired {
    /// The lease, for whoever does not wait for it.
    ///
    /// # Errors
    /// `Conflict`, see [`Holder::conflict`].
    pub fn held(self) -> Result<Lease> {
        match self {
            Acquired::Held(lease) => Ok(lease),
            Acquired::Busy(holder) => Err(holder.conflict()),
        }
    }
}

/// A held lease: the right to write one pool's standby copies.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    /// The pool whose data it is about.
    pub pool: PoolFqdn,
    /// Grows with every holder.
    pub generation: Generation,
    /// The job that holds it.
    pub job_id: Uuid,
    /// The job that held it before and never gave it back, because its process died.
    pub taken_over_from: Option<Uuid>,
}

/// Who holds, or held, a lease.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// The pool whose data it is about.
    pub pool: PoolFqdn,
    /// The process; none where another build wrote it in a way that is not understood.
    pub owner: Option<LeaseOwner>,
    /// Its job.
    pub job_id: Uuid,
    /// The number of its lease.
    pub generation: Generation,
    /// How often it was renewed.
    pub counter: i64,
    /// Since when, by the holder's wall clock: for people only.
    pub since: Timestamp,
}

impl Holder {
    /// The error of whoever does not wait for the holder.
    pub fn conflict(&self) -> Error {
        let Holder { pool, job_id, since, .. } = self;
        let (machine, process) = match &self.owner {
            Some(owner) => (owner.machine.clone(), owner.process_id.to_string()),
            None => ("another machine".to_owned(), "?".to_owned()),
        };
        let length = LEASE_DURATION.as_secs();
        Error::new(
            ErrorKind::Conflict,
            format!(
                "A backup of {pool} is already running: job {job_id} on {machine}, process {process}, since {since}."
            ),
            format!(
                "Wait for that job with -WaitForLease, or stop it with Stop-CsBackupJob. If its machine is gone, run the command again: a \
                 lease is taken over when its owner has been silent for {length} seconds."
            ),
        )
        .at("pool", pool)
        .at("jobId", job_id)
        .at("machine", machine)
        .at("processId", process)
    }
}

/// The last seen state of one module, kept for status queries.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredState {
    /// The state.
    pub state: ModuleState,
    /// Where the destination stood.
    pub cursor: Option<String>,
    /// Why the state is not healthy.
    pub reason: Option<String>,
    /// When it was seen.
    pub observed_at: Timestamp,
    /// When a job last succeeded for this module.
    pub last_success: Option<Timestamp>,
}

#[cfg(test)]
mod contract;
