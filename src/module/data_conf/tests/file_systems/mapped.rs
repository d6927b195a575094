//! Files that a program writes to through a mapping: its time changes with the first write to a page that is clean, and with no other.

use super::clones::mount_new_at;
use super::isolation::{in_own_mounts, unmount};
use super::*;
use crate::platform::MappedFile;

/// Stores, cycles, and no luck: the page is dirty whenever a cycle reads it.
fn every_store_is_seen(kind: &str) {
    let pair = Pair::new();
    if !mount_new_at(&pair, &pair.source(), 300 << 20, kind, &[]) {
        return;
    }
    let _ = fs::remove_dir(pair.source().join("lost+found"));
    let path = pair.source().join("mapped");
    let mapped = MappedFile::create(&path, 8192);
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
