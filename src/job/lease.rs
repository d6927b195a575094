//! Holding the right to write while a job runs, and hearing from other processes that it should stop.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::patience::{Leaving, StoreWork};
use super::run::Environment;
use super::{Job, run::blocking};
use crate::error::{Error, ErrorKind, Result};
use crate::store::service::{LEASE_DURATION, Lease, ServiceStore};
use crate::topology::PoolFqdn;

/// How often a request of another process to cancel is looked for.
const CANCEL_POLL: Duration = Duration::from_millis(100);
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
    /// Works on the database, on a thread where that is allowed.
    pub(super) async fn with_store<R: Send + 'static>(
        &self,
        work: impl FnOnce(&mut ServiceStore, &Lease) -> Result<R> + Send + 'static,
    ) -> Result<R> {
        let Held { lease, store } = self.clone();
        blocking(move || work(&mut store.lock().unwrap_or_else(PoisonError::into_inner), &lease)).await
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
            let taken = blocking(move || {
                let mut store = ServiceStore::open(&path)?;
                let lease = store.acquire(&name, &owner, id, now)?;
                Ok(Held { lease, store: Arc::new(Mutex::new(store)) })
            })
            .await;
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
        let Some(ended) = work.ended_later() else { return self.release().await };
        let leaving = Leaving::enter(job.id);
        tokio::spawn(async move {
            ended.await;
            self.release().await;
            drop(leaving);
        });
    }

    /// One that was taken over meanwhile is not ours to give.
    async fn release(self) {
        self.keeper.abort();
        let held = std::mem::take(&mut *self.lock());
        for held in held {
            // Where giving back fails the lease runs out by itself.
            let _ = held.with_store(ServiceStore::release).await;
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
            let renewal = held.with_store(move |store, lease| store.renew(lease, now)).await;
            if renewal.is_err_and(|error| error.kind == ErrorKind::Fenced) {
                // The stores refuse this job from now on; it need not try.
                job.cancel.cancel();
            }
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
