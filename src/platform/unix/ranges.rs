//! Locks on parts of a file that belong to the open file and not to the process (`F_OFD_SETLK`).
//!
//! They exclude the POSIX locks of every process, this one's included, and closing another descriptor of the same file leaves them alone.
//! So what is locked with them keeps every SQLite out that obeys its own locks, wherever it runs.
#![allow(unsafe_code, reason = "rustix locks whole files, and for the process")]

use std::fs::File;
use std::io;
use std::ops::Range;

/// What a lock shuts out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RangeLock {
    /// Whoever wants to write.
    Shared,
    /// Everybody.
    Exclusive,
}

#[cfg(target_os = "linux")]
mod commands {
    pub(super) const SET: libc::c_int = libc::F_OFD_SETLK;
    pub(super) const GET: libc::c_int = libc::F_OFD_GETLK;
}

#[cfg(target_os = "linux")]
fn control(
    file: &File,
    command: libc::c_int,
    kind: libc::c_int,
    range: &Range<u64>,
) -> io::Result<libc::flock> {
    use std::os::fd::AsRawFd;

    let number =
        |of: u64| libc::off_t::try_from(of).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput));
    // SAFETY: numbers all through.
    let mut lock: libc::flock = unsafe { std::mem::zeroed() };
    lock.l_type = libc::c_short::try_from(kind).unwrap_or_default();
    lock.l_whence = libc::c_short::try_from(libc::SEEK_SET).unwrap_or_default();
    lock.l_start = number(range.start)?;
    lock.l_len = number(range.end - range.start)?;
    // SAFETY: the descriptor is open as long as the file is borrowed, and the structure is ours.
    if unsafe { libc::fcntl(file.as_raw_fd(), command, &raw mut lock) } == 0 {
        Ok(lock)
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Locks a part of a file without waiting; whether nobody else's lock stands against it. A lock that this open file already has there is
/// exchanged. Sharing needs a file that is open for reading, excluding one that is open for writing.
///
/// # Errors
/// Failures of the file system; `Unsupported` where the system has no such locks.
#[cfg(target_os = "linux")]
pub fn lock_range(file: &File, lock: RangeLock, range: Range<u64>) -> io::Result<bool> {
    let kind = match lock {
        RangeLock::Shared => libc::F_RDLCK,
        RangeLock::Exclusive => libc::F_WRLCK,
    };
    match control(file, commands::SET, kind, &range) {
        Ok(_) => Ok(true),
        Err(cause) if matches!(cause.raw_os_error(), Some(libc::EAGAIN | libc::EACCES)) => Ok(false),
        Err(cause) => Err(cause),
    }
}

/// Gives up what this open file has locked of a part.
///
/// # Errors
/// Failures of the file system.
#[cfg(target_os = "linux")]
pub fn unlock_range(file: &File, range: Range<u64>) -> io::Result<()> {
    control(file, commands::SET, libc::F_UNLCK, &range).map(drop)
}

/// A lock of somebody else that would stand against one of this kind; none where there is none. Nothing is locked.
///
/// # Errors
/// As for [`lock_range`].
#[cfg(target_os = "linux")]
pub fn range_lock_of_others(
    file: &File,
    against: RangeLock,
    range: Range<u64>,
) -> io::Result<Option<RangeLock>> {
    let kind = match against {
        RangeLock::Shared => libc::F_RDLCK,
        RangeLock::Exclusive => libc::F_WRLCK,
    };
    let found = control(file, commands::GET, kind, &range)?;
    Ok(match libc::c_int::from(found.l_type) {
        libc::F_UNLCK => None,
        libc::F_RDLCK => Some(RangeLock::Shared),
        _ => Some(RangeLock::Exclusive),
    })
}

#[cfg(not(target_os = "linux"))]
pub fn lock_range(_: &File, _: RangeLock, _: Range<u64>) -> io::Result<bool> {
    Err(io::Error::from(io::ErrorKind::Unsupported))
}

#[cfg(not(target_os = "linux"))]
pub fn unlock_range(_: &File, _: Range<u64>) -> io::Result<()> {
    Err(io::Error::from(io::ErrorKind::Unsupported))
}

#[cfg(not(target_os = "linux"))]
pub fn range_lock_of_others(_: &File, _: RangeLock, _: Range<u64>) -> io::Result<Option<RangeLock>> {
    Err(io::Error::from(io::ErrorKind::Unsupported))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_open_files_of_one_process_exclude_each_other_and_a_third_that_is_closed_changes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        let open =
            || File::options().read(true).write(true).create(true).truncate(false).open(&path).unwrap();
        let (one, other) = (open(), open());
        assert!(lock_range(&one, RangeLock::Exclusive, 10..20).unwrap());
        drop(open());
        assert!(!lock_range(&other, RangeLock::Shared, 19..21).unwrap());
        assert!(lock_range(&other, RangeLock::Exclusive, 20..21).unwrap());
        let held = |kind| range_lock_of_others(&other, kind, 0..20).unwrap();
        assert_eq!(held(RangeLock::Shared), Some(RangeLock::Exclusive));
        assert!(lock_range(&one, RangeLock::Shared, 10..20).unwrap());
        assert_eq!((held(RangeLock::Shared), held(RangeLock::Exclusive)), (None, Some(RangeLock::Shared)));
        unlock_range(&one, 10..20).unwrap();
        assert_eq!(held(RangeLock::Exclusive), None);
    }

    #[test]
    fn a_lock_keeps_sqlite_out_of_a_database_also_in_this_process() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("users.sqlite");
        let server = rusqlite::Connection::open(&path).unwrap();
        server.execute_batch("CREATE TABLE t (x)").unwrap();
        let file = File::options().read(true).write(true).open(&path).unwrap();
        let _ours = super::super::databases::Ours::note(&file);
        let shared = 0x4000_0002..0x4000_0002 + 510;
        assert!(lock_range(&file, RangeLock::Exclusive, shared.clone()).unwrap());
        assert!(server.query_row("SELECT count(*) FROM t", [], |_| Ok(())).is_err());
        unlock_range(&file, shared).unwrap();
        server.query_row("SELECT count(*) FROM t", [], |_| Ok(())).unwrap();
    }
}
