//! Time, as something that can be injected.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use jiff::Timestamp;
use rustix::time::{ClockId, clock_gettime};
use uuid::Uuid;

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

/// The clock of the machine.
pub struct SystemClock {
    boot: String,
}

impl SystemClock {
    /// The clock of the machine.
    pub fn new() -> Self {
        SystemClock { boot: boot().unwrap_or_else(|| Uuid::new_v4().to_string()) }
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
        let time = clock_gettime(ClockId::Monotonic);
        Duration::try_from(time).unwrap_or_default()
    }

    fn boot(&self) -> String {
        self.boot.clone()
    }

    fn sleep(&self, duration: Duration) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(tokio::time::sleep(duration))
    }
}

/// The boot, and the space of times: a container may have one in which the clock is another. None where the system does
/// not say; then the times of one process mean nothing to another.
fn boot() -> Option<String> {
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    // Older systems have one space only.
    let times = std::fs::read_link("/proc/self/ns/time").unwrap_or_default();
    Some(format!("{} {}", boot.trim(), times.display()))
}
