//! Files that programs write to in their memory.
#![allow(unsafe_code, reason = "rustix has no call for it")]

use std::io;
use std::os::fd::{AsFd, AsRawFd};

/// Begins to write what of a file is only in memory to its disk, so that the next write through a mapping (`mmap`) changes the
/// file's times, as it does once for each page that is clean. Waits for what was being written already: a page that is written
/// to meanwhile is passed over otherwise. Costs nothing where all is clean, and waits for no disk's cache.
///
/// # Errors
/// What an earlier write to the disk failed with, of which nobody was told yet. Where the system has no such call, or the file
/// system has no disk, nothing is done.
#[cfg(target_os = "linux")]
pub fn watch_mapped_writes(file: impl AsFd) -> io::Result<()> {
    let flags = libc::SYNC_FILE_RANGE_WAIT_BEFORE | libc::SYNC_FILE_RANGE_WRITE;
    // SAFETY: the descriptor is open as long as it is borrowed, and the rest are numbers.
    if unsafe { libc::sync_file_range(file.as_fd().as_raw_fd(), 0, 0, flags) } == 0 {
        return Ok(());
    }
    let cause = io::Error::last_os_error();
    let is_failure = [libc::EIO, libc::ENOSPC, libc::EDQUOT].map(Some).contains(&cause.raw_os_error());
    if is_failure { Err(cause) } else { Ok(()) }
}

/// Does nothing.
///
/// # Errors
/// Never.
#[cfg(not(target_os = "linux"))]
pub fn watch_mapped_writes(_file: impl AsFd) -> io::Result<()> {
    Ok(())
}
