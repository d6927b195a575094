//! Standbys on file systems that clone files: of a big file in which little changed nothing else is written.

use std::os::unix::fs::FileExt;
use std::process::Command;

use rustix::fs::{FallocateFlags, fallocate};

use super::isolation::{in_own_mounts, unmount};
use super::*;

/// The smallest that both kinds of file system can be, with their own needs not far above 64 MiB.
const IMAGE_BYTES: u64 = 300 << 20;

/// There is room for one of these, and by far not for two.
const FILE_BYTES: usize = 160 << 20;

/// Mounts a new file system at the standby. Says so, and does not, where this system lacks what that takes.
pub(in super::super) fn mount_new(pair: &Pair, kind: &str, options: &[&str]) -> bool {
    fs::create_dir(pair.standby()).unwrap();
    mount_new_at(pair, &pair.standby(), IMAGE_BYTES, kind, options)
}

/// The same of this size at this folder.
pub(in super::super) fn mount_new_at(
    pair: &Pair,
    at: &Path,
    bytes: u64,
    kind: &str,
    options: &[&str],
) -> bool {
    let image = pair.folder.path().join("image");
    fs::File::create(&image).unwrap().set_len(bytes).unwrap();
    let mut make = Command::new(format!("mkfs.{kind}"));
    make.args(options).arg("-q").arg(&image);
    let mut mount = Command::new("mount");
    mount.args(["-t", kind, "-o", "loop"]).arg(&image).arg(at);
    for (mut command, why) in [(make, "it cannot be made"), (mount, "no loop mounts are possible")] {
        let said = match command.output() {
            Ok(done) if done.status.success() => continue,
            Ok(done) => String::from_utf8_lossy(&done.stderr).trim().to_owned(),
            Err(cause) => cause.to_string(),
        };
        eprintln!("skipped: a store on {kind}: {why} here: {said}");
        return false;
    }
    true
}

pub(in super::super) fn noise(length: usize, seed: u64) -> Vec<u8> {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut noise = vec![0; length];
    random.fill(&mut noise);
    noise
}

/// One change after the other to a file that fits only once into the standby.
fn little_changes_take_little_room(kind: &str, options: &[&str]) {
    let pair = Pair::new();
    if !mount_new(&pair, kind, options) {
        return;
    }
    pair.write("big", noise(FILE_BYTES, 1));
    assert_eq!(pair.cycle().moved.bytes, FILE_BYTES as u64);
    let path = pair.source().join("big");
    let big = fs::File::options().write(true).open(&path).unwrap();
    let (middle, end) = (FILE_BYTES as u64 / 2, FILE_BYTES as u64);
    let changes: [(&str, &dyn Fn()); 4] = [
        ("bytes in the middle and at the end", &|| {
            big.write_all_at(&noise(4096, 2), middle + 77).unwrap();
            big.write_all_at(&noise(1000, 3), end).unwrap();
        }),
        ("a hole in the middle", &|| {
            let punch = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
            fallocate(&big, punch, middle, 4 << 20).unwrap();
        }),
        ("a hole at the end", &|| big.set_len(end + (64 << 20)).unwrap()),
        ("a shorter file", &|| big.set_len(middle - 5).unwrap()),
    ];
    for (what, change) in changes {
        change();
        let moved = pair.cycle().moved;
        assert_eq!(moved.items_written, 1, "{what}");
        assert!(moved.bytes < 1 << 20, "{what}: {} bytes were sent", moved.bytes);
        assert!(tree(&pair.source()) == tree(&pair.standby()), "{what}: the copy differs");
        let taken = fs::metadata(pair.standby().join("big")).unwrap().blocks() * 512;
        assert!(taken <= end + (1 << 20), "{what}: holes are not kept, {taken} bytes are taken");
    }
    pair.write("big", noise(FILE_BYTES / 8, 4));
    assert_eq!(pair.cycle().moved.bytes, FILE_BYTES as u64 / 8, "nothing is as it was");
    pair.assert_settled();
    unmount(&pair.standby());
}

#[test]
fn a_big_file_on_xfs_needs_no_room_for_a_second_copy() {
    in_own_mounts(|| little_changes_take_little_room("xfs", &["-m", "reflink=1"]));
}

#[test]
fn a_big_file_on_btrfs_needs_no_room_for_a_second_copy() {
    in_own_mounts(|| little_changes_take_little_room("btrfs", &["-m", "single"]));
}
