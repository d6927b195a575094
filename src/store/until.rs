//! How long a call of a store may take.

use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

/// When a call stops waiting for somebody else, as a value that can be sent to where the store is. What needs no waiting
/// is done in any case.
#[derive(Clone, Debug)]
pub struct Until {
    /// Stops it early.
    pub cancel: CancellationToken,
    /// When it has waited long enough.
    pub deadline: Instant,
}

impl Until {
    /// For at most so long, from now.
    pub fn within(patience: Duration) -> Self {
        Until::cancelled_by(&CancellationToken::new(), patience)
    }

    /// For at most so long, from now, or until this is cancelled.
    pub fn cancelled_by(cancel: &CancellationToken, patience: Duration) -> Self {
        let now = Instant::now();
        Until { cancel: cancel.clone(), deadline: now.checked_add(patience).unwrap_or(now) }
    }

    /// Whether nothing more is to be waited for.
    pub fn is_over(&self) -> bool {
        self.cancel.is_cancelled() || Instant::now() >= self.deadline
    }
}
