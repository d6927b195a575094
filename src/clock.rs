//! Time, as something that can be injected.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use jiff::Timestamp;
use uuid::Uuid;

use crate::platform::{time_awake, time_space};

/// Where times and pauses come from. Tests inject their own; intervals are measured monotonically, so that a
/// jump of the wall clock costs at most a cycle.
pub trait Clock: Send + Sync {
    /// The wall clock, for what people read. Nothing that must be right depends on it.
    fn now(&self) -> Timestamp;
    /// Time since some fixed moment, never going back.
    fn monotonic(&self) -> Duration;
    /// What that moment was: [`Clock::monotonic`] of two processes may be compared where both say the same.
    fn boot(&self) -> String;
    /// A pause.
    fn sleep(&self, duration: Duration) -> Pin<Box<dyn Future<Output = ()> + Send + '_>>;
}

/// A duration as documents say it; one that lasts longer than there are numbers for is the longest there is.
pub fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// The clock of the machine.
pub struct SystemClock {
    boot: String,
}

impl SystemClock {
    /// The clock of the machine. Where the system does not say of which boot it is, no other process may compare its times.
    pub fn new() -> Self {
        let boot = time_space().map_or_else(|_| Uuid::new_v4().to_string(), str::to_owned);
        SystemClock { boot }
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

    /// Since the boot, without the time that the machine slept: while it does, nobody on it can show that he is alive.
    fn monotonic(&self) -> Duration {
        time_awake()
    }

    fn boot(&self) -> String {
        self.boot.clone()
    }

    fn sleep(&self, duration: Duration) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(tokio::time::sleep(duration))
    }
}
