//! Files that a program writes to through a mapping: its time changes with the first write to a page that is clean, and with no other.

use std::os::fd::AsRawFd;

use super::clones::mount_new_at;
use super::isolation::{in_own_mounts, unmount};
use super::*;

/// Two pages of memory that are a file.
struct Mapped(*mut u8);

const BYTES: usize = 8192;

impl Mapped {
    #[expect(unsafe_code, reason = "there is no other way to write like this")]
    fn new(path: &Path) -> Self {
        let file = fs::File::options().read(true).write(true).create_new(true).open(path).unwrap();
        file.set_len(BYTES as u64).unwrap();
        let access = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: the kernel chooses where, and the file is long enough.
        let at =
            unsafe { libc::mmap(std::ptr::null_mut(), BYTES, access, libc::MAP_SHARED, file.as_raw_fd(), 0) };
        assert_ne!(at, libc::MAP_FAILED);
        Mapped(at.cast())
    }

    #[expect(unsafe_code, reason = "as above")]
    fn store(&self, byte: u8) {
        // SAFETY: the first byte of what was mapped.
        unsafe { self.0.write_volatile(byte) };
    }
}

impl Drop for Mapped {
    #[expect(unsafe_code, reason = "as above")]
    fn drop(&mut self) {
        // SAFETY: what was mapped, and nobody has it any more.
        unsafe { libc::munmap(self.0.cast(), BYTES) };
    }
}

/// Stores, cycles, and no luck: the page is dirty whenever a cycle reads it.
fn every_store_is_seen(kind: &str) {
    let pair = Pair::new();
    if !mount_new_at(&pair, &pair.source(), 300 << 20, kind, &[]) {
        return;
    }
    let _ = fs::remove_dir(pair.source().join("lost+found"));
    let path = pair.source().join("mapped");
    let mapped = Mapped::new(&path);
    for byte in 1..=4 {
        mapped.store(byte);
        let before = fs::metadata(&path).unwrap();
        pair.cycle();
        pair.age();
        let after = fs::metadata(&path).unwrap();
        assert_eq!(
            (before.mtime(), before.mtime_nsec(), before.ctime_nsec()),
            (after.mtime(), after.mtime_nsec(), after.ctime_nsec()),
            "{kind}: reading changes no time"
        );
        assert_eq!(fs::read(pair.standby().join("mapped")).unwrap()[0], byte, "{kind}: a write was missed");
    }
    assert!(pair.cycle().moved.is_nothing(), "{kind}");
    drop(mapped);
    pair.assert_settled();
    unmount(&pair.source());
}

#[test]
fn every_write_through_a_mapping_is_seen_by_the_next_cycle() {
    in_own_mounts(|| ["ext4", "xfs", "btrfs"].into_iter().for_each(every_store_is_seen));
}
