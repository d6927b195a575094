//! Holding the right to write while a job runs, one lease at a time, and hearing from other processes that it should
//! stop.
//!
//! A job never waits for one lease while it holds another: two jobs that did so in opposite directions would wait for
//! each other.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::environment::Environment;
use super::handle::Job;
use super::leaving::Leaving;
use super::threads::{StoreWork, blocking, unless_stuck};
use crate::error::{Error, ErrorKind, Result};
use crate::store::Until;
use crate::store::leases::{self, Acquired, Claim, LEASE_DURATION, Lease, PATIENCE};
use crate::topology::PoolFqdn;

/// How often a request of another process to cancel is looked for.
const CANCEL_POLL: Duration = Duration::from_millis(100);
/// How often a lease that somebody else holds is tried again while waiting for it.
const LEASE_POLL: Duration = Duration::from_millis(250);

/// How long a lease is waited for at least that an ended job of this process is about to give back.
const LEAVING_PATIENCE: Duration = Duration::from_secs(2);

/// The lease of one pool's direction, and where it is kept: at the pool that receives.
#[derive(Clone)]
pub struct LeasePlace {
    /// The pool whose data it is about.
    pub pool: PoolFqdn,
    /// Where it is kept.
    pub leases: Arc<dyn leases::Leases>,
    /// The URL of that place, as reports show it.
    pub url: String,
}

impl PartialEq for LeasePlace {
    fn eq(&self, other: &Self) -> bool {
        (&self.pool, &self.url) == (&other.pool, &other.url)
    }
}

impl fmt::Debug for LeasePlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} in {}", self.pool, self.url)
    }
}

/// A lease that this job holds, and where it is kept.
#[derive(Clone)]
pub(super) struct HeldLease {
    pub(super) lease: Lease,
    leases: Arc<dyn leases::Leases>,
}

impl HeldLease {
    /// Works there, on a thread where that is allowed. Another process may have locked it: that is waited for, but not
    /// when the job is cancelled.
    pub(super) async fn with_store<R: Send + 'static>(
        &self,
        cancel: Option<&CancellationToken>,
        work: impl FnOnce(&dyn leases::Leases, &Lease, &Until) -> Result<R> + Send + 'static,
    ) -> Result<R> {
        let HeldLease { lease, leases } = self.clone();
        within_patience(cancel, move |until| work(leases.as_ref(), &lease, until)).await
    }

    async fn release(&self, cancel: Option<&CancellationToken>) -> Result<()> {
        self.with_store(cancel, |leases, lease, until| leases.release(lease, until)).await
    }
}

/// The lease of one job, renewed by a task of its own until it is given back.
pub(super) struct LeaseKeeper {
    job: Arc<Job>,
    environment: Arc<Environment>,
    held: Holding,
    _keeper: AbortOnDropHandle<()>,
}

/// The lease that a job holds, where it holds one.
type Holding = Arc<Mutex<Option<HeldLease>>>;

impl LeaseKeeper {
    /// Begins to look after a job's lease, which it does not have yet.
    pub(super) fn keep(job: &Arc<Job>, environment: &Arc<Environment>) -> Self {
        let held = Holding::default();
        let keeper = tokio::spawn(keep(Arc::clone(job), Arc::clone(environment), Arc::clone(&held)));
        LeaseKeeper {
            job: Arc::clone(job),
            environment: Arc::clone(environment),
            held,
            _keeper: AbortOnDropHandle::new(keeper),
        }
    }

    /// Takes a lease, waiting for it as long as was asked for. One that is held is given back before.
    pub(super) async fn take(&self, place: &LeasePlace, patience: Duration) -> Result<HeldLease> {
        self.give_back().await;
        let (job, environment) = (&self.job, &self.environment);
        let started = environment.clock.monotonic();
        loop {
            let claim = Claim { pool: place.pool.clone(), owner: environment.owner.clone(), job_id: job.id };
            let (leases, cancel) = (Arc::clone(&place.leases), job.cancel.clone());
            let attempt = move |until: &Until| {
                let acquired = leases.acquire(&claim, until)?;
                if let (Acquired::Held(lease), true) = (&acquired, cancel.is_cancelled()) {
                    // Nobody may be waiting for it any more.
                    leases.release(lease, &Until::within(PATIENCE))?;
                    return Err(Error::cancelled());
                }
                Ok(acquired)
            };
            match within_patience(Some(&job.cancel), attempt).await {
                Ok(Acquired::Busy(holder)) => {
                    let is_leaving = Leaving::is_about_to(holder.job_id);
                    let patience = if is_leaving { patience.max(LEAVING_PATIENCE) } else { patience };
                    if environment.clock.monotonic().saturating_sub(started) >= patience {
                        return Err(holder.conflict());
                    }
                    pause(job, environment, LEASE_POLL).await?;
                }
                Ok(Acquired::Held(lease)) => {
                    let held = HeldLease { lease, leases: Arc::clone(&place.leases) };
                    *lock(&self.held) = Some(held.clone());
                    return Ok(held);
                }
                Err(error) if error.kind == ErrorKind::StoreBusy && job.cancel.is_cancelled() => {
                    return Err(Error::cancelled());
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Gives the lease back, once nothing works on the stores any more: a thread that a store lets hang may write when
    /// it wakes, so that the lease is held, and renewed, until it has ended. Nobody waits for that.
    pub(super) async fn release_after(self, work: &StoreWork) {
        let Some(ended) = work.ended_later() else { return self.give_back().await };
        let leaving = Leaving::enter(self.job.id);
        tokio::spawn(async move {
            ended.await;
            self.give_back().await;
            drop(leaving);
        });
    }

    /// Gives the lease back, where there is one. One that was taken over meanwhile is not ours to give. A cancelled job
    /// does not wait for a lock on the service's database: it gives the lease back when it can.
    pub(super) async fn give_back(&self) {
        let Some(held) = lock(&self.held).take() else { return };
        let given = held.release(Some(&self.job.cancel)).await;
        // Where giving back fails otherwise the lease is taken over once it has been silent for long enough.
        if given.is_err_and(|error| error.kind == ErrorKind::StoreBusy) && self.job.cancel.is_cancelled() {
            let leaving = Leaving::enter(self.job.id);
            tokio::spawn(async move {
                let _ = held.release(None).await;
                drop(leaving);
            });
        }
    }
}

fn lock(held: &Holding) -> std::sync::MutexGuard<'_, Option<HeldLease>> {
    held.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn keep(job: Arc<Job>, environment: Arc<Environment>, held: Holding) {
    let mut renewed = environment.clock.monotonic();
    loop {
        environment.clock.sleep(CANCEL_POLL).await;
        if environment.records.cancel_requested(job.id) {
            job.cancel.cancel();
        }
        if environment.clock.monotonic().saturating_sub(renewed) < LEASE_DURATION / 3 {
            continue;
        }
        renewed = environment.clock.monotonic();
        let Some(holding) = lock(&held).clone() else { continue };
        let renewal = holding.with_store(None, |leases, lease, until| leases.renew(lease, until)).await;
        // One that was given back meanwhile may be somebody else's by now.
        let is_still_held = lock(&held).as_ref().is_some_and(|now| now.lease == holding.lease);
        if is_still_held && renewal.is_err_and(|error| error.kind == ErrorKind::Fenced) {
            // The stores refuse this job from now on; it need not try.
            job.cancel.cancel();
        }
    }
}

/// Works on leases on a thread where that is allowed, and waits for another process's lock, but not for long. A cancelled job
/// does not wait for a place that hangs either.
async fn within_patience<R: Send + 'static>(
    cancel: Option<&CancellationToken>,
    work: impl FnOnce(&Until) -> Result<R> + Send + 'static,
) -> Result<R> {
    match cancel {
        Some(cancel) => {
            let until = Until::cancelled_by(cancel, PATIENCE);
            unless_stuck(cancel, blocking(move || work(&until))).await
        }
        None => blocking(move || work(&Until::within(PATIENCE))).await,
    }
}

/// A pause that a cancelled job does not sit out.
pub(super) async fn pause(job: &Job, environment: &Environment, duration: Duration) -> Result<()> {
    tokio::select! {
        () = environment.clock.sleep(duration) => Ok(()),
        () = job.cancel.cancelled() => Err(Error::cancelled()),
    }
}
