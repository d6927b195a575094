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

/// A file in the memory of this process, for tests.
#[cfg(test)]
pub struct MappedFile(*mut libc::c_void, usize);

#[cfg(test)]
impl MappedFile {
    /// Makes a file of so many bytes that can be written to by [`MappedFile::store`] alone.
    pub fn create(path: &std::path::Path, bytes: usize) -> Self {
        let file = std::fs::File::options().read(true).write(true).create_new(true).open(path).unwrap();
        file.set_len(u64::try_from(bytes).unwrap()).unwrap();
        let access = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: the kernel chooses where, and the file is as long.
        let at =
            unsafe { libc::mmap(std::ptr::null_mut(), bytes, access, libc::MAP_SHARED, file.as_raw_fd(), 0) };
        assert_ne!(at, libc::MAP_FAILED);
        MappedFile(at, bytes)
    }

    /// Writes its first byte.
    pub fn store(&self, byte: u8) {
        // SAFETY: it is mapped as long as this is there.
        unsafe { self.0.cast::<u8>().write_volatile(byte) };
    }
}

#[cfg(test)]
impl Drop for MappedFile {
    fn drop(&mut self) {
        // SAFETY: what was mapped, and nobody has it any more.
        unsafe { libc::munmap(self.0, self.1) };
    }
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    #[test]
    fn a_write_through_a_mapping_changes_the_time_again_after_the_file_was_watched() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("f");
        let mapped = MappedFile::create(&path, 1);
        let file = std::fs::File::open(&path).unwrap();
        let stat = rustix::fs::fstatfs(&file).unwrap();
        if stat.f_type != 0xEF53 && stat.f_type != 0x5846_5342 {
            return eprintln!("skipped: temporary files are neither on ext4 nor on XFS");
        }
        let time = || {
            let metadata = file.metadata().unwrap();
            (metadata.mtime(), metadata.mtime_nsec())
        };
        let mut last = time();
        for byte in 1..5 {
            // Longer than any tick of the kernel's clock.
            std::thread::sleep(std::time::Duration::from_millis(30));
            mapped.store(byte);
            let now = time();
            assert!(now > last, "{byte}");
            last = now;
            watch_mapped_writes(&file).unwrap();
            assert_eq!(time(), last, "to watch it changes nothing");
        }
        // A pipe has nothing to write, and is no failure.
        let (pipe, _other) = std::io::pipe().unwrap();
        watch_mapped_writes(&pipe).unwrap();
    }
}
