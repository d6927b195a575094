//! A mount namespace of a test's own: what it mounts nobody else sees, and nothing of it is left, however it ends.

use std::path::Path;
use std::process::{Command, Stdio};

const INSIDE: &str = "CSB_TEST_OWN_MOUNTS";

/// Runs a test in a process of its own in which it may mount, and fails if that does; says so where the system allows no
/// namespaces, and leaves the test out. The test is a closure right in the function that is the test.
pub fn in_own_mounts<Test: FnOnce()>(test: Test) {
    let (_, place) = std::any::type_name::<Test>().split_once("::").unwrap();
    let name = place.strip_suffix("::{{closure}}").unwrap();
    if std::env::var_os(INSIDE).is_some_and(|inside| inside == name) {
        return test();
    }
    let unshare = || {
        let mut command = Command::new("unshare");
        if !rustix::process::geteuid().is_root() {
            command.arg("--map-root-user");
        }
        command.args(["--mount", "--propagation", "private"]);
        command
    };
    let possible = unshare().args(["mount", "-t", "tmpfs", "tmpfs", "/mnt"]).stderr(Stdio::null()).status();
    if !possible.is_ok_and(|status| status.success()) {
        return eprintln!(
            "skipped: {name}: this system lets nobody but root mount, and not even in a namespace"
        );
    }
    let this = std::env::current_exe().unwrap();
    let done = unshare().arg(this).args(["--exact", name, "--nocapture"]).env(INSIDE, name).output().unwrap();
    let (said, noted) = (String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
    assert!(done.status.success() && said.contains("1 passed"), "{said}{noted}");
    eprint!("{noted}");
}

/// Mounts with these options.
#[allow(dead_code, reason = "not every crate that has this module mounts")]
#[track_caller]
pub fn mount(arguments: &[&str], at: &Path) {
    mount_from(arguments, at, Stdio::null());
}

/// Takes a mount away again.
#[allow(dead_code, reason = "as above")]
#[track_caller]
pub fn unmount(at: &Path) {
    assert!(Command::new("umount").arg(at).status().unwrap().success());
}

/// A share that hangs: whoever touches it waits until the returned server is dropped.
#[allow(dead_code, reason = "as above")]
pub struct HungShare {
    _server: std::fs::File,
}

#[allow(dead_code, reason = "as above")]
impl HungShare {
    /// Mounts a file system whose server never answers. None where the kernel has no FUSE.
    pub fn mount(at: &Path) -> Option<Self> {
        let server = std::fs::File::options().read(true).write(true).open("/dev/fuse").ok()?;
        let options = "fd=0,rootmode=40000,user_id=0,group_id=0";
        mount_from(
            &["-i", "-t", "fuse", "-o", options, "hung"],
            at,
            Stdio::from(server.try_clone().unwrap()),
        );
        Some(HungShare { _server: server })
    }
}

#[track_caller]
fn mount_from(arguments: &[&str], at: &Path, input: Stdio) {
    let done = Command::new("mount").args(arguments).arg(at).stdin(input).output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
}
