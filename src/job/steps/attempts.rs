//! Trying again what failed and may succeed later.

use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBuilder};

use crate::clock::milliseconds;
use crate::error::{Error, ErrorKind, Result};
use crate::job::events::EventKind;
use crate::job::lease::pause;
use crate::job::step::JobWork;

/// A failure that may bring along what was done before it.
pub(super) trait Failure: From<Error> + Send + 'static {
    fn error(&self) -> &Error;
}

impl Failure for Error {
    fn error(&self) -> &Error {
        self
    }
}

impl JobWork {
    /// Runs blocking work of one module, again after a pause where that may help; whoever tries again is told the failure
    /// before.
    pub(super) async fn attempts<R, E>(
        &mut self,
        module: &'static str,
        attempt: impl Fn() -> Result<R, E> + Clone + Send + 'static,
        mut failed: impl FnMut(&mut JobWork, &E),
    ) -> Result<R, E>
    where
        R: Send + 'static,
        E: Failure,
    {
        let mut pauses = backoff(self.options.retry_count);
        let mut number = 1;
        loop {
            let failure = match self.threads.run(&self.job.cancel, attempt.clone()).await {
                Err(failure) if is_worth_another(failure.error()) => failure,
                ended => return ended,
            };
            let Some(delay) = pauses.next() else { return Err(failure) };
            failed(self, &failure);
            number += 1;
            self.retries += 1;
            self.tell(EventKind::Retrying {
                module: Some(module.to_owned()),
                attempt: number,
                delay_ms: milliseconds(delay),
                error: failure.error().clone(),
            });
            if let Err(cancelled) = pause(&self.job, &self.environment, delay).await {
                return Err(cancelled.into());
            }
        }
    }
}

/// Whether another attempt may help. A store that was too busy was tried for a whole interval already: the next job is its next chance.
fn is_worth_another(error: &Error) -> bool {
    error.retryable && error.kind != ErrorKind::SourceTooBusy
}

/// Pauses between attempts: a fifth of a second at first, doubling, with jitter, at most ten seconds.
fn backoff(attempts: u32) -> impl Iterator<Item = Duration> + Send {
    ExponentialBuilder::default()
        .with_min_delay(Duration::from_millis(200))
        .with_max_delay(Duration::from_secs(10))
        .with_max_times(attempts as usize)
        .with_jitter()
        .build()
}
