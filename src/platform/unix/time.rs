//! A clock that nobody sets, and for whom it tells the same time. It is asked through libc: rustix looks for the kernel's own code for it,
//! which a process under valgrind does not have.

#![allow(unsafe_code, reason = "the clock is a function of C")]

use std::io;
use std::time::Duration;

use once_cell::sync::OnceCell;

use super::process::boot_id;

/// Time since the machine was started, without the time that it slept.
pub fn time_awake() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the structure is writable and ours. It fails for a clock that does not exist only.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut time) };
    let seconds = u64::try_from(time.tv_sec).unwrap_or_default();
    Duration::new(seconds, u32::try_from(time.tv_nsec).unwrap_or_default())
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
