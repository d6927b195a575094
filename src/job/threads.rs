//! Work on stores that may hang: where the server of a mounted share has gone, a system call may wait for ever, and
//! nobody can take it back.

use std::future::Future;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::error::{Error, ErrorKind, Result};

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
    pub(super) fn run<R, E, W>(
        &self,
        cancel: &CancellationToken,
        work: W,
    ) -> impl Future<Output = Result<R, E>> + use<R, E, W>
    where
        W: FnOnce() -> Result<R, E> + Send + 'static,
        R: Send + 'static,
        E: From<Error> + Send + 'static,
    {
        let running = self.threads.spawn_blocking(work);
        let cancel = cancel.clone();
        async move {
            let done = async { running.await.unwrap_or_else(|defect| Err(defective(&defect).into())) };
            unless_stuck(&cancel, done).await
        }
    }

    /// Says when the threads that were left behind will have ended; none where there are none.
    pub(super) fn ended_later(&self) -> Option<impl Future<Output = ()> + use<>> {
        self.threads.close();
        let threads = self.threads.clone();
        (!threads.is_empty()).then_some(async move { threads.wait().await })
    }
}

/// What blocking work gives; a cancelled job waits a moment for it and then leaves it behind.
pub(super) async fn unless_stuck<R, E: From<Error>>(
    cancel: &CancellationToken,
    work: impl Future<Output = Result<R, E>>,
) -> Result<R, E> {
    let too_long = async {
        cancel.cancelled().await;
        // The host's time, whatever the job's clock says: it is the host that waits.
        tokio::time::sleep(PATIENCE).await;
    };
    tokio::select! {
        biased;
        done = work => done,
        () = too_long => Err(left_behind().into()),
    }
}

/// Runs blocking work on a thread where that is allowed; a panic in it becomes an error.
pub(super) async fn blocking<R: Send + 'static>(
    work: impl FnOnce() -> Result<R> + Send + 'static,
) -> Result<R> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(defect) => Err(defective(&defect)),
    }
}

fn defective(defect: &tokio::task::JoinError) -> Error {
    defect_of_ours().caused_by(defect)
}

/// The error of a part of this library that panicked.
pub(super) fn defect_of_ours() -> Error {
    Error::new(
        ErrorKind::Panic,
        "This library has a defect: a part of it stopped unexpectedly.",
        "Report it to its maintainers with this message. What was committed before is safe.",
    )
}

fn left_behind() -> Error {
    Error::new(
        ErrorKind::Cancelled,
        "The job was cancelled while a store did not answer.",
        "Check that the store is reachable, then start the job again; it goes on where it stopped. Until the store \
         answers or this process ends, nobody else may write in this direction.",
    )
}
