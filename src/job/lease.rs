//! Holding the right to write while a job runs, and hearing from other processes that it should stop.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::patience::{Leaving, StoreWork};
use super::run::Environment;
use super::{Job, run::blocking};
use crate::error::{Error, ErrorKind, Result};
use crate::store::service::{LEASE_DURATION, Lease, PATIENCE, ServiceStore};
use crate::topology::PoolFqdn;

/// How often a request of another process to cancel is looked for.
const CANCEL_POLL: Duration = Duration::from_millis(100);
/// How long one attempt waits for a lock on the service's own database.
const LOCK_POLL: Duration = Duration::from_millis(20);
/// How often a lease that somebody else holds is tried again while waiting for it.
const LEASE_POLL: Duration = Duration::from_millis(250);

/// How long a lease is waited for at least that an ended job of this process is about to give back.
const LEAVING_PATIENCE: Duration = Duration::from_secs(2);

/// A lease that this job holds, with the open database that it is kept in: opening that costs more than the few rows
/// that a job writes there.
#[derive(Clone)]
pub(super) struct Held {
    pub(super) lease: Lease,
    store: Arc<Mutex<ServiceStore>>,
}

impl Held {
    /// Works on the database, see [`while_locked`].
    pub(super) async fn with_store<R: Send + 'static>(
        &self,
        cancel: Option<&CancellationToken>,
        work: impl Fn(&mut ServiceStore, &Lease) -> Result<R> + Clone + Send + 'static,
    ) -> Result<R> {
        let Held { lease, store } = self.clone();
        let attempt = move || work(&mut store.lock().unwrap_or_else(PoisonError::into_inner), &lease);
        while_locked(cancel, attempt).await
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
        store: &Path,
        pool: &PoolFqdn,
        job: &Job,
        environment: &Environment,
        patience: Duration,
    ) -> Result<Held> {
        let started = environment.clock.monotonic();
        loop {
            let (path, name, owner, id, now) =
                (store.to_owned(), pool.clone(), environment.owner.clone(), job.id, environment.clock.now());
            let take = move || {
                let mut store = ServiceStore::open_within(&path, LOCK_POLL)?;
                let lease = store.acquire(&name, &owner, id, now)?;
                Ok(Held { lease, store: Arc::new(Mutex::new(store)) })
            };
            let taken = while_locked(Some(&job.cancel), take).await;
            match taken {
                Err(error)
                    if error.kind == ErrorKind::Conflict
                        && environment.clock.monotonic().saturating_sub(started)
                            < if Leaving::is_holder(&error) {
                                patience.max(LEAVING_PATIENCE)
                            } else {
                                patience
                            } =>
                {
                    pause(job, environment, LEASE_POLL).await?;
                }
                Err(error) if error.kind == ErrorKind::StoreBusy && job.cancel.is_cancelled() => {
                    return Err(Error::cancelled());
                }
                Err(error) => return Err(error),
                Ok(held) => {
                    self.lock().push(held.clone());
                    return Ok(held);
                }
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
            let given = held.with_store(Some(&job.cancel), ServiceStore::release).await;
            // Where giving back fails otherwise the lease runs out by itself.
            if given.is_err_and(|error| error.kind == ErrorKind::StoreBusy) && job.cancel.is_cancelled() {
                let leaving = Leaving::enter(job.id);
                tokio::spawn(async move {
                    let _ = held.with_store(None, ServiceStore::release).await;
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
            let now = environment.clock.now();
            let renewal = held.with_store(None, move |store, lease| store.renew(lease, now)).await;
            if renewal.is_err_and(|error| error.kind == ErrorKind::Fenced) {
                // The stores refuse this job from now on; it need not try.
                job.cancel.cancel();
            }
        }
    }
}

/// Work on the service's own database, on a thread where that is allowed. Another process may have locked it: it is tried
/// again for as long as that is waited for, but only once more when the job is cancelled.
async fn while_locked<R: Send + 'static>(
    cancel: Option<&CancellationToken>,
    attempt: impl Fn() -> Result<R> + Clone + Send + 'static,
) -> Result<R> {
    let started = std::time::Instant::now();
    loop {
        let cancelled = cancel.is_some_and(CancellationToken::is_cancelled);
        match blocking(attempt.clone()).await {
            Err(error)
                if error.kind == ErrorKind::StoreBusy && !cancelled && started.elapsed() < PATIENCE => {}
            done => return done,
        }
    }
}

/// A pause that a cancelled job does not sit out.
pub(super) async fn pause(job: &Job, environment: &Environment, duration: Duration) -> Result<()> {
    tokio::select! {
        () = environment.clock.sleep(duration) => Ok(()),
        () = job.cancel.cancelled() => Err(Error::cancelled()),
    }
}
