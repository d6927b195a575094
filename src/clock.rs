//! Time, as something that can be injected.

use std::future::Future;
use std::pin::Pin;
use std::time::{Duration, Instant};

use jiff::Timestamp;

/// Where times and pauses come from. Tests inject their own; intervals are measured monotonically, so that a
/// jump of the wall clock costs at most a cycle.
pub trait Clock: Send + Sync {
    /// The wall clock, for what people read and for what is compared across processes.
    fn now(&self) -> Timestamp;
    /// Time since some fixed moment, never going back.
    fn monotonic(&self) -> Duration;
    /// A pause.
    fn sleep(&self, duration: Duration) -> Pin<Box<dyn Future<Output = ()> + Send + '_>>;
}

/// The clock of the machine.
pub struct SystemClock {
    start: Instant,
}

impl SystemClock {
    /// The clock of the machine, counting from now.
    pub fn new() -> Self {
        SystemClock { start: Instant::now() }
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }

    fn monotonic(&self) -> Duration {
        self.start.elapsed()
    }

    fn sleep(&self, duration: Duration) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(tokio::time::sleep(duration))
    }
}
