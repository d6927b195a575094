//! Who holds locks on files.

use std::fs::File;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, StatxFlags};

use super::files::FileId;

/// The processes that hold a lock on one of these files, each once, as far as the system tells.
pub fn lock_holders(files: &[FileId]) -> Vec<u32> {
    let locks = std::fs::read_to_string("/proc/locks").unwrap_or_default();
    let mut processes: Vec<u32> = locks.lines().filter_map(|line| holder(line, files)).collect();
    processes.sort_unstable();
    processes.dedup();
    processes
}

/// Whose a line of `/proc/locks` is, if it is about one of these files:
/// `1: POSIX  ADVISORY  WRITE 4711 fe:00:1234 0 EOF`. Lines with an arrow are of those that wait.
fn holder(line: &str, files: &[FileId]) -> Option<u32> {
    let mut words = line.split_whitespace().skip(1).filter(|_| !line.contains("->"));
    let process = words.nth(3)?.parse().ok()?;
    let mut file = words.next()?.split(':');
    let number = |text: &str| u32::from_str_radix(text, 16).ok();
    let (major, minor) = (number(file.next()?)?, number(file.next()?)?);
    let inode: u64 = file.next()?.parse().ok()?;
    files.contains(&FileId { device: rustix::fs::makedev(major, minor), inode }).then_some(process)
}

/// The processes that have a file open by this path, or had it before it was removed, or that have this file open, whatever its name is by
/// now. This process is left out. And whether there are processes that one may not look into.
pub fn processes_with(path: &Path, file: Option<FileId>) -> (Vec<u32>, bool) {
    let removed = {
        let mut removed = path.as_os_str().to_owned();
        removed.push(" (deleted)");
        PathBuf::from(removed)
    };
    let (mut found, mut is_partial) = (Vec::new(), false);
    for process in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(id) = process.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        if id == std::process::id() {
            continue;
        }
        let Ok(handles) = std::fs::read_dir(process.path().join("fd")) else {
            is_partial |= process.path().exists();
            continue;
        };
        let leads_here = |handle: std::fs::DirEntry| {
            let by_name =
                std::fs::read_link(handle.path()).is_ok_and(|target| target == path || target == removed);
            by_name || file.is_some_and(|file| known_id(&handle.path()) == Some(file))
        };
        if handles.flatten().any(leads_here) {
            found.push(id);
        }
    }
    (found, is_partial)
}

/// Which signal a lease sends (`fcntl(2)`); the crate of C's names lacks it.
const F_SETSIG: libc::c_int = 10;

/// A file that nobody else has open: whoever opens it waits until this is dropped, or until the system takes it away
/// (`/proc/sys/fs/lease-break-time`).
#[derive(Debug)]
pub struct WriteLease<'a>(&'a File);

impl<'a> WriteLease<'a> {
    /// Takes a lease on writing (`fcntl(2)`, `F_SETLEASE`), which sees whoever has the file open, also where `/proc` does not show him; then
    /// there is none. None at all where the system does not say: the file is another account's, or its file system has no leases.
    pub fn take(file: &'a File) -> Option<Option<Self>> {
        // Whoever opens the file meanwhile makes the system send a signal; the usual one would end the process, this one is ignored.
        lease_call(file, F_SETSIG, libc::SIGURG).ok()?;
        match lease_call(file, libc::F_SETLEASE, libc::F_WRLCK) {
            Ok(_) => Some(Some(WriteLease(file))),
            Err(cause) => (cause.kind() == std::io::ErrorKind::WouldBlock).then_some(None),
        }
    }

    /// Whether nobody has tried to open it since.
    pub fn is_undisturbed(&self) -> bool {
        lease_call(self.0, libc::F_GETLEASE, 0).is_ok_and(|kind| kind == libc::F_WRLCK)
    }
}

impl Drop for WriteLease<'_> {
    fn drop(&mut self) {
        let _ = lease_call(self.0, libc::F_SETLEASE, libc::F_UNLCK);
    }
}

#[expect(unsafe_code, reason = "rustix has no leases")]
fn lease_call(file: &File, what: libc::c_int, value: libc::c_int) -> std::io::Result<libc::c_int> {
    // SAFETY: the descriptor is open as long as `file` is, and the call takes no pointer.
    let done = unsafe { libc::fcntl(file.as_raw_fd(), what, value) };
    if done < 0 { Err(std::io::Error::last_os_error()) } else { Ok(done) }
}

/// Which file it is, as far as the system knows without asking a server that may be gone.
fn known_id(path: &Path) -> Option<FileId> {
    let found = rustix::fs::statx(CWD, path, AtFlags::STATX_DONT_SYNC, StatxFlags::INO).ok()?;
    let device = rustix::fs::makedev(found.stx_dev_major, found.stx_dev_minor);
    Some(FileId { device, inode: found.stx_ino })
}

/// What a process is called; none where there is none, or the system does not say.
pub fn process_name(process_id: u32) -> Option<String> {
    let name = std::fs::read_to_string(format!("/proc/{process_id}/comm")).ok()?;
    Some(name.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_tells_whether_somebody_else_has_a_file_open_and_whether_he_came_meanwhile() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        std::fs::write(&path, "x").unwrap();
        let file = File::open(&path).unwrap();
        let reader = || {
            let mut command = std::process::Command::new("sh");
            command.args(["-c", "exec 3<\"$0\"; echo; read -r _", path.to_str().unwrap()]);
            let pipe = std::process::Stdio::piped;
            command.stdin(pipe()).stdout(pipe()).spawn().unwrap()
        };
        let ready = |reader: &mut std::process::Child| {
            std::io::Read::read_exact(reader.stdout.as_mut().unwrap(), &mut [0]).unwrap();
        };
        let ended = |mut reader: std::process::Child| {
            drop(reader.stdin.take());
            reader.wait().unwrap();
        };
        let lease = WriteLease::take(&file).unwrap().unwrap();
        assert!(lease.is_undisturbed());
        let mut one = reader();
        let began = std::time::Instant::now();
        while lease.is_undisturbed() && began.elapsed().as_secs() < 20 {
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        assert!(!lease.is_undisturbed(), "somebody waits for it");
        drop(lease);
        ready(&mut one);
        assert!(WriteLease::take(&file).unwrap().is_none());
        ended(one);
        assert!(WriteLease::take(&file).unwrap().is_some());
    }

    #[test]
    fn a_line_of_the_systems_locks_is_understood_and_one_who_waits_is_no_holder() {
        let files = [FileId { device: rustix::fs::makedev(0xfe, 3), inode: 1234 }];
        let of = |line| holder(line, &files);
        assert_eq!(of("1: POSIX  ADVISORY  WRITE 4711 fe:03:1234 1073741824 1073742335"), Some(4711));
        assert_eq!(of("1: -> POSIX  ADVISORY  WRITE 4712 fe:03:1234 1073741824 1073742335"), None);
        assert_eq!(of("2: POSIX  ADVISORY  READ 4711 fe:04:1234 0 EOF"), None);
        assert_eq!(of("3: FLOCK"), None);
    }
}
