//! Work on stores that may hang: where the server of a mounted share has gone, a system call may wait for ever, and
//! nobody can take it back.

use std::collections::BTreeSet;
use std::future::Future;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio_util::task::TaskTracker;
use uuid::Uuid;

use super::Job;
use super::run::defective;
use crate::error::{Error, ErrorKind, Result};
use crate::store::leases::Holder;

/// How long a cancelled job waits for the thread that works for it: those that are not stuck notice within
/// milliseconds.
const PATIENCE: Duration = Duration::from_millis(100);

/// The threads that work on stores for one job.
#[derive(Default)]
pub(super) struct StoreWork {
    threads: TaskTracker,
}

impl StoreWork {
    /// Runs blocking work on a thread where that is allowed; a panic in it becomes an error. A cancelled job waits a
    /// moment for the thread and then leaves it behind.
    pub(super) fn run<R, E, W>(&self, job: &Job, work: W) -> impl Future<Output = Result<R, E>> + use<R, E, W>
    where
        W: FnOnce() -> Result<R, E> + Send + 'static,
        R: Send + 'static,
        E: From<Error> + Send + 'static,
    {
        let mut running = self.threads.spawn_blocking(work);
        let cancel = job.cancel.clone();
        let too_long = async move {
            cancel.cancelled().await;
            // The host's time, whatever the job's clock says: it is the host that waits.
            tokio::time::sleep(PATIENCE).await;
        };
        async move {
            tokio::select! {
                biased;
                done = &mut running => done.unwrap_or_else(|defect| Err(defective(&defect).into())),
                () = too_long => Err(left_behind().into()),
            }
        }
    }

    /// Says when the threads that were left behind will have ended; none where there are none.
    pub(super) fn ended_later(&self) -> Option<impl Future<Output = ()> + use<>> {
        self.threads.close();
        let threads = self.threads.clone();
        (!threads.is_empty()).then_some(async move { threads.wait().await })
    }
}

fn left_behind() -> Error {
    Error::new(
        ErrorKind::Cancelled,
        "The job was cancelled while a store did not answer.",
        "Check that the store is reachable, then start the job again; it goes on where it stopped. Until the store \
         answers or this process ends, nobody else may write in this direction.",
    )
}

/// The jobs of this process that have ended and still hold a lease, because of a thread that they left behind.
static LEAVING: Mutex<BTreeSet<Uuid>> = Mutex::new(BTreeSet::new());

/// One of them, as long as it lives.
pub(super) struct Leaving(Uuid);

impl Leaving {
    pub(super) fn enter(job: Uuid) -> Self {
        LEAVING.lock().unwrap_or_else(PoisonError::into_inner).insert(job);
        Leaving(job)
    }

    /// Whether the holder of a lease is one of them: it may have given it back in a moment.
    pub(super) fn is_holder(holder: &Holder) -> bool {
        LEAVING.lock().unwrap_or_else(PoisonError::into_inner).contains(&holder.job_id)
    }
}

impl Drop for Leaving {
    fn drop(&mut self) {
        LEAVING.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.0);
    }
}
