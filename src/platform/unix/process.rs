//! Which process, boot and machine this is.

use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command};

use once_cell::sync::OnceCell;

/// When a process started, in clock ticks since the boot; none where there is no such process, or the system does not say.
pub fn process_start(process_id: u32) -> Option<u64> {
    // Field 22. The command in field 2 may contain anything, so fields are counted from its end.
    let stat = std::fs::read_to_string(format!("/proc/{process_id}/stat")).ok()?;
    let (_, after_command) = stat.rsplit_once(')')?;
    after_command.split_ascii_whitespace().nth(19)?.parse().ok()
}

/// What tells the time since the machine was started from the time before.
///
/// # Errors
/// Where the system does not say; asked again the next time.
pub fn boot_id() -> io::Result<&'static str> {
    static BOOT: OnceCell<String> = OnceCell::new();
    BOOT.get_or_try_init(|| {
        let id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id")?;
        Ok(id.trim().to_owned())
    })
    .map(String::as_str)
}

/// Within what process numbers are unique: the boot, and the container.
///
/// # Errors
/// As for [`boot_id`].
pub fn process_space() -> io::Result<&'static str> {
    static SPACE: OnceCell<String> = OnceCell::new();
    SPACE
        .get_or_try_init(|| {
            let numbers = std::fs::read_link("/proc/self/ns/pid")?;
            Ok(format!("{} {}", boot_id()?, numbers.display()))
        })
        .map(String::as_str)
}

/// Lets a program that is to be started be in a process group of its own: what a terminal sends to ours does not reach it.
pub fn in_own_group(command: &mut Command) {
    command.process_group(0);
}

/// Ends a program that was started in a process group of its own, and what it started itself.
pub fn end_group(child: &mut Child) {
    if let Some(group) = i32::try_from(child.id()).ok().and_then(rustix::process::Pid::from_raw) {
        // It may have ended already.
        let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
    }
    let _ = child.kill();
}

/// This machine's name.
pub fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_is_there_has_a_start_and_one_that_is_not_has_none() {
        assert!(process_start(std::process::id()).is_some());
        assert_eq!(process_start(4_200_000), None);
    }

    #[test]
    fn a_boot_has_a_name_of_its_own_and_process_numbers_belong_to_it() {
        let boot = boot_id().unwrap();
        uuid::Uuid::parse_str(boot).unwrap();
        assert!(process_space().unwrap().starts_with(boot));
    }
}
