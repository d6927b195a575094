//! A clock that nobody sets, and for whom it tells the same time.

use std::io;
use std::time::Duration;

use once_cell::sync::OnceCell;
use rustix::time::{ClockId, clock_gettime};

use super::process::boot_id;

/// Time since the machine was started, without the time that it slept.
pub fn time_awake() -> Duration {
    Duration::try_from(clock_gettime(ClockId::Monotonic)).unwrap_or_default()
}

/// Within what [`time_awake`] of two processes may be compared: the boot, and the container, which may have another clock.
///
/// # Errors
/// As for [`boot_id`].
pub fn time_space() -> io::Result<&'static str> {
    static SPACE: OnceCell<String> = OnceCell::new();
    SPACE
        .get_or_try_init(|| {
            // Older systems have one clock only.
            let clocks = std::fs::read_link("/proc/self/ns/time").unwrap_or_default();
            Ok(format!("{} {}", boot_id()?, clocks.display()))
        })
        .map(String::as_str)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_goes_on_and_belongs_to_the_boot() {
        let before = time_awake();
        std::thread::sleep(Duration::from_millis(2));
        assert!(time_awake() >= before + Duration::from_millis(2));
        assert!(time_space().unwrap().starts_with(boot_id().unwrap()));
    }
}
