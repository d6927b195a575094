//! Holding the right to write while a job runs, and hearing from other processes that it should stop.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::patience::{Leaving, StoreWork};
use super::run::Environment;
use super::{Job, run::blocking};
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

/// A lease that this job holds, and where it is kept.
#[derive(Clone)]
pub(super) struct Held {
    pub(super) lease: Lease,
    store: Arc<dyn leases::Leases>,
}

impl Held {
    /// Works there, on a thread where that is allowed. Another process may have locked it: that is waited for, but not
    /// when the job is cancelled.
    pub(super) async fn with_store<R: Send + 'static>(
        &self,
        cancel: Option<&CancellationToken>,
        work: impl FnOnce(&dyn leases::Leases, &Lease, &Until) -> Result<R> + Send + 'static,
    ) -> Result<R> {
        let Held { lease, store } = self.clone();
        let until = patience_of(cancel);
        blocking(move || work(store.as_ref(), &lease, &until)).await
    }

    async fn release(&self, cancel: Option<&CancellationToken>) -> Result<()> {
        self.with_store(cancel, |store, lease, until| store.release(lease, until)).await
    }
}

/// The leases of one job, renewed by a task of their own until they are given back.
pub(super) struct Leases {
    held: Arc<Mutex<Vec<Held>>>,
    keeper: tokio::task::JoinHandle<()>,
}

impl Leases {
    /// Begins to look after a job's leases, of which there are none yet.
    pub(super) fn keep(job: Arc<Job>, environment: Arc<Environment>) -> Self {
        let held = Arc::new(Mutex::new(Vec::new()));
        let keeper = tokio::spawn(keep(job, environment, Arc::clone(&held)));
        Leases { held, keeper }
    }

    /// Takes one lease, waiting for it as long as was asked for.
    pub(super) async fn take(
        &self,
        store: &Arc<dyn leases::Leases>,
        pool: &PoolFqdn,
        job: &Job,
        environment: &Environment,
        patience: Duration,
    ) -> Result<Held> {
        let started = environment.clock.monotonic();
        loop {
            let claim = Claim { pool: pool.clone(), owner: environment.owner.clone(), job_id: job.id };
            let (leases, until) = (Arc::clone(store), patience_of(Some(&job.cancel)));
            match blocking(move || leases.acquire(&claim, &until)).await {
                Ok(Acquired::Busy(holder)) => {
                    let patience =
                        if Leaving::is_holder(&holder) { patience.max(LEAVING_PATIENCE) } else { patience };
                    if environment.clock.monotonic().saturating_sub(started) >= patience {
                        return Err(holder.conflict());
                    }
                    pause(job, environment, LEASE_POLL).await?;
                }
                Ok(Acquired::Held(lease)) => {
                    let held = Held { lease, store: Arc::clone(store) };
                    self.lock().push(held.clone());
                    return Ok(held);
                }
                Err(error) if error.kind == ErrorKind::StoreBusy && job.cancel.is_cancelled() => {
                    return Err(Error::cancelled());
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Gives all leases back, once nothing works on the stores any more: a thread that a store lets hang may write
    /// when it wakes, so that the lease is held, and renewed, until it has ended. Nobody waits for that.
    pub(super) async fn release_after(self, job: &Arc<Job>, work: &StoreWork) {
        let Some(ended) = work.ended_later() else { return self.release(job).await };
        let leaving = Leaving::enter(job.id);
        let job = Arc::clone(job);
        tokio::spawn(async move {
            ended.await;
            self.release(&job).await;
            drop(leaving);
        });
    }

    /// One that was taken over meanwhile is not ours to give. A cancelled job does not wait for a lock on the service's
    /// database: it gives the lease back when it can.
    async fn release(self, job: &Job) {
        self.keeper.abort();
        let held = std::mem::take(&mut *self.lock());
        for held in held {
            let given = held.release(Some(&job.cancel)).await;
            // Where giving back fails otherwise the lease is taken over once it has been silent for long enough.
            if given.is_err_and(|error| error.kind == ErrorKind::StoreBusy) && job.cancel.is_cancelled() {
                let leaving = Leaving::enter(job.id);
                tokio::spawn(async move {
                    let _ = held.release(None).await;
                    drop(leaving);
                });
            }
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Held>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn keep(job: Arc<Job>, environment: Arc<Environment>, held: Arc<Mutex<Vec<Held>>>) {
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
        let leases = held.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for held in leases {
            let renewal = held.with_store(None, |store, lease, until| store.renew(lease, until)).await;
            if renewal.is_err_and(|error| error.kind == ErrorKind::Fenced) {
                // The stores refuse this job from now on; it need not try.
                job.cancel.cancel();
            }
        }
    }
}

/// How long another process's lock is waited for.
fn patience_of(cancel: Option<&CancellationToken>) -> Until {
    cancel.map_or_else(|| Until::within(PATIENCE), |cancel| Until::cancelled_by(cancel, PATIENCE))
}

/// A pause that a cancelled job does not sit out.
pub(super) async fn pause(job: &Job, environment: &Environment, duration: Duration) -> Result<()> {
    tokio::select! {
        () = environment.clock.sleep(duration) => Ok(()),
        () = job.cancel.cancelled() => Err(Error::cancelled()),
    }
}
