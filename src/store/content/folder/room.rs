//! How much room the file system of a folder has.

use std::os::fd::AsFd;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use rustix::fs::AtFlags;
use rustix::io::Errno;

use super::{ContentPath, FolderStore};
use crate::store::content::room::{Keeping, Room};

/// File systems on which every byte takes its own room.
const APART: [u64; 4] = [
    0xEF53,      // ext2, ext3, ext4
    0x0102_1994, // tmpfs
    0x4D44,      // FAT
    0x2011_BAB0, // exFAT
];

/// XFS, which may share blocks of two files.
const SHARED: u64 = 0x5846_5342;

/// Where more than this is free, nobody asks again until that much was written.
const PLENTY: u64 = 256 << 20;

/// What is written at most, before it is asked again how much room there is.
#[derive(Default)]
pub(super) struct Reserve {
    /// Bytes that are known to be free besides.
    plenty: AtomicI64,
    /// Bytes that are not to be taken.
    kept_free: AtomicU64,
    /// Bytes of files that are being written now: the file system does not count all of them yet.
    under_way: AtomicU64,
}

impl Reserve {
    pub(super) fn keep_free(&self, bytes: u64) {
        self.kept_free.store(bytes, Ordering::Relaxed);
        self.plenty.store(0, Ordering::Relaxed);
    }

    /// Counts so many bytes as being written, until they are given back. `ENOSPC`, and nothing is counted, where they certainly do not
    /// fit.
    pub(super) fn take(&self, bytes: u64, folder: impl AsFd) -> Result<(), Errno> {
        let taken = i64::try_from(bytes).unwrap_or(i64::MAX);
        let under_way = self.under_way.fetch_add(bytes, Ordering::SeqCst);
        if self.plenty.fetch_sub(taken, Ordering::Relaxed) >= taken {
            return Ok(());
        }
        let Some(room) = room(folder) else { return Ok(()) };
        let kept_free = self.kept_free.load(Ordering::Relaxed).saturating_add(under_way);
        if room.lacks(bytes, kept_free) {
            self.give_back(bytes);
            return Err(Errno::NOSPC);
        }
        let unknown = room.keeping == Keeping::Unknown;
        let free = if unknown { u64::MAX } else { room.free_bytes.saturating_sub(bytes + kept_free) };
        let plenty = i64::try_from(free.saturating_sub(PLENTY) / 2).unwrap_or(i64::MAX / 2);
        self.plenty.store(plenty, Ordering::Relaxed);
        Ok(())
    }

    /// What was being written is written, or given up.
    pub(super) fn give_back(&self, bytes: u64) {
        self.under_way.fetch_sub(bytes, Ordering::SeqCst);
    }
}

/// The room on the file system that a folder is on; none where it has no end.
#[allow(clippy::cast_sign_loss, clippy::unnecessary_cast)]
pub(super) fn room(folder: impl AsFd) -> Option<Room> {
    let found = rustix::fs::fstatvfs(&folder).ok().filter(|found| found.f_blocks > 0)?;
    let kind = rustix::fs::fstatfs(&folder).ok()?.f_type as u64;
    let free = if rustix::process::geteuid().is_root() { found.f_bfree } else { found.f_bavail };
    let keeping = match kind {
        SHARED => Keeping::Shared,
        kind if APART.contains(&kind) => Keeping::Apart,
        _ => Keeping::Unknown,
    };
    Some(Room {
        free_bytes: free.saturating_mul(found.f_frsize),
        total_bytes: found.f_blocks.saturating_mul(found.f_frsize),
        device: rustix::fs::fstat(&folder).ok()?.st_dev as u64,
        keeping,
    })
}

impl FolderStore {
    /// How many bytes are free once this file was removed: none of one that has other names.
    #[allow(clippy::cast_sign_loss, clippy::unnecessary_cast)]
    pub(super) fn taken_by_file(&self, path: &ContentPath) -> Result<u64, Errno> {
        let (folder, _, name) = self.place(path)?;
        let is_apart = room(&*folder).is_some_and(|room| room.keeping == Keeping::Apart);
        let stat = rustix::fs::statat(&*folder, name, AtFlags::SYMLINK_NOFOLLOW)?;
        let is_free = is_apart && stat.st_nlink == 1;
        Ok(if is_free { (stat.st_blocks as u64).saturating_mul(512) } else { 0 })
    }
}

#[cfg(test)]
mod tests {
    use super::super::isolation::{in_own_mounts, mount};
    use super::*;

    #[test]
    fn only_what_certainly_does_not_fit_is_refused_and_what_was_written_counts() {
        in_own_mounts(|| {
            let folder = tempfile::tempdir().unwrap();
            mount(&["-t", "tmpfs", "-o", "size=4m", "tmpfs"], folder.path());
            let handle = std::fs::File::open(folder.path()).unwrap();
            let reserve = Reserve::default();
            assert_eq!(reserve.take(4 << 20, &handle), Ok(()));
            assert_eq!(reserve.take(1, &handle), Err(Errno::NOSPC), "that is being written already");
            reserve.give_back(4 << 20);
            assert_eq!(reserve.take((4 << 20) + 1, &handle), Err(Errno::NOSPC));
            reserve.keep_free(1 << 20);
            assert_eq!(reserve.take((3 << 20) + 1, &handle), Err(Errno::NOSPC));
            std::fs::write(folder.path().join("f"), vec![1; 1 << 20]).unwrap();
            assert_eq!(reserve.take(2 << 20, &handle), Ok(()));
            reserve.give_back(2 << 20);
            assert_eq!(reserve.take((2 << 20) + 1, &handle), Err(Errno::NOSPC));
            // Where nobody can tell, nothing is refused.
            assert_eq!(Reserve::default().take(u64::MAX, std::fs::File::open("/proc").unwrap()), Ok(()));
        });
    }

    #[test]
    fn where_there_is_plenty_it_is_asked_for_seldom() {
        in_own_mounts(|| {
            let folder = tempfile::tempdir().unwrap();
            mount(&["-t", "tmpfs", "-o", "size=1g", "tmpfs"], folder.path());
            let handle = std::fs::File::open(folder.path()).unwrap();
            let reserve = Reserve::default();
            reserve.take(1, &handle).unwrap();
            let plenty = reserve.plenty.load(Ordering::Relaxed);
            assert!(plenty > 300 << 20, "{plenty}");
            reserve.take(1 << 20, &handle).unwrap();
            assert_eq!(reserve.plenty.load(Ordering::Relaxed), plenty - (1 << 20));
            assert_eq!(reserve.take(2 << 30, &handle), Err(Errno::NOSPC));
        });
    }
}
