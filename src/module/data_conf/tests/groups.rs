//! Big files whose groups the index knows, at a standby whose file system clones: it is read where it may be other than
//! the index says, and nowhere else.

use std::os::unix::fs::FileExt;
use std::process::Command;
use std::sync::atomic::AtomicU32;

use rusqlite::{Connection, params};

use super::faulty::{Faults, module};
use super::file_systems::clones::{mount_new, noise};
use super::isolation::in_own_mounts;
use super::*;
use crate::store::content::groups::{GROUP_BYTES, GROUPED_BYTES, GroupHasher};
use crate::store::content::index::HeldGroups;
use crate::store::content::{ContentPath, ContentStore};

/// Four groups more than a big file has at least, and a part of one.
const SIZE: u64 = GROUPED_BYTES + 4 * GROUP_BYTES + 300;

const MIDDLE: u64 = 6 * GROUP_BYTES;

/// What is sent where one byte differs.
const BLOCK_BYTES: u64 = 128 << 10;

/// Runs a test with a big file and its copy; not where such a standby cannot be mounted.
fn with_big_file(test: impl FnOnce(&Pair)) {
    let pair = Pair::new();
    if mount_new(&pair, "xfs", &["-m", "reflink=1"]) {
        pair.write("big", noise(SIZE as usize, 1));
        pair.cycle();
        pair.age();
        assert!(groups(&pair).is_some());
        test(&pair);
        pair.assert_settled();
        // Processes that died, as it were, have left open handles.
        assert!(Command::new("umount").arg("--lazy").arg(pair.standby()).status().unwrap().success());
    }
}

fn big() -> ContentPath {
    ContentPath::from_bytes(b"big").unwrap()
}

/// What the index knows of the copy's groups.
fn groups(pair: &Pair) -> Option<HeldGroups> {
    let index = pair.index();
    let hash = index.held(&big()).unwrap().unwrap().object.hash.unwrap();
    index.groups(&big(), hash).unwrap()
}

/// Writes to the source's file.
fn change(pair: &Pair, at: u64, bytes: &[u8]) {
    fs::File::options().write(true).open(pair.source().join("big")).unwrap().write_all_at(bytes, at).unwrap();
}

/// Changes a byte of the copy, and nobody can tell from its size and time.
fn forge(pair: &Pair, at: u64) {
    let copy = fs::File::options().read(true).write(true).open(pair.standby().join("big")).unwrap();
    let mtime = copy.metadata().unwrap().modified().unwrap();
    let mut byte = [0];
    copy.read_exact_at(&mut byte, at).unwrap();
    copy.write_all_at(&[!byte[0]], at).unwrap();
    copy.set_modified(mtime).unwrap();
}

fn execute(pair: &Pair, sql: &str, parameters: impl rusqlite::Params) {
    assert_eq!(Connection::open(pair.index_file()).unwrap().execute(sql, parameters).unwrap(), 1);
}

/// Makes the index take the copy as it is for the one that was published.
fn believe(pair: &Pair) {
    let ctime_ns = pair.standby_store().stat(&big()).unwrap().ctime_ns;
    execute(
        pair,
        "UPDATE csb_content_object SET copy_ctime_ns = ?1 WHERE name = CAST('big' AS BLOB)",
        [ctime_ns],
    );
}

fn is_copied(pair: &Pair) -> bool {
    tree(&pair.source()) == tree(&pair.standby())
}

#[test]
fn what_the_copy_is_known_to_hold_is_not_read_but_verified_on_demand() {
    in_own_mounts(|| {
        with_big_file(|pair| {
            forge(pair, 2 * GROUP_BYTES);
            believe(pair);
            change(pair, MIDDLE, b"new");
            assert_eq!(pair.cycle().moved.bytes, BLOCK_BYTES);
            let copy = fs::read(pair.standby().join("big")).unwrap();
            assert!(copy[MIDDLE as usize..].starts_with(b"new"));
            assert!(!is_copied(pair), "it was read");
            change(pair, MIDDLE, b"newer");
            let outcome = pair.module().run_cycle(&Context { verify: true, ..pair.context() }).unwrap();
            assert_eq!(outcome.verification.unwrap().differing_items, 0, "nothing was taken for granted");
            assert!(is_copied(pair));
        });
    });
}

#[test]
fn a_copy_that_was_changed_behind_our_back_is_compared() {
    in_own_mounts(|| {
        with_big_file(|pair| {
            forge(pair, 2 * GROUP_BYTES);
            change(pair, MIDDLE, b"new");
            assert_eq!(pair.cycle().moved.bytes, 2 * BLOCK_BYTES);
            assert!(is_copied(pair));
        });
    });
}

#[test]
fn a_copy_that_was_exchanged_is_compared() {
    in_own_mounts(|| {
        with_big_file(|pair| {
            let (copy, other) = (pair.standby().join("big"), pair.standby().join("other"));
            let mtime = fs::metadata(&copy).unwrap().modified().unwrap();
            fs::write(&other, noise(SIZE as usize, 2)).unwrap();
            set_mtime(&other, mtime);
            fs::rename(&other, &copy).unwrap();
            change(pair, MIDDLE, b"new");
            assert_eq!(pair.cycle().moved.bytes, SIZE);
            assert!(is_copied(pair));
        });
    });
}

#[test]
fn groups_of_a_copy_that_was_changed_as_soon_as_it_was_published_are_not_remembered() {
    let pair = Pair::new();
    let write = |seed| pair.write("big", noise(SIZE as usize, seed));
    write(1);
    pair.cycle();
    assert!(groups(&pair).is_some());
    write(2);
    let copy = pair.standby().join("big");
    let flushing = Some(Box::new(move || fs::write(&copy, noise(SIZE as usize, 3)).unwrap()) as Box<_>);
    let (module, _) = module(&pair, Faults::default(), Faults { flushing, ..Faults::default() });
    module.run_cycle(&pair.context()).unwrap();
    assert_eq!(groups(&pair), None);
    write(4);
    assert_eq!(pair.cycle().warnings.len(), 1, "what others wrote is kept");
    assert!(is_copied(&pair));
    assert!(groups(&pair).is_some());
}

#[test]
fn groups_of_another_content_are_not_believed() {
    in_own_mounts(|| {
        with_big_file(|pair| {
            let earlier = groups(pair).unwrap().groups.as_bytes().to_vec();
            change(pair, 0, b"later");
            pair.cycle();
            let present = groups(pair).unwrap().groups.as_bytes().to_vec();
            let mut flipped = present.clone();
            flipped[2 * 32] ^= 1;
            for wrong in [&earlier[..], &flipped, &present[..present.len() - 32], &present[..32], &[]] {
                forge(pair, 2 * GROUP_BYTES);
                believe(pair);
                let sql = "UPDATE csb_content_object SET groups = ?1 WHERE name = CAST('big' AS BLOB)";
                execute(pair, sql, params![wrong]);
                change(pair, MIDDLE, &noise(100, fastrand::u64(..)));
                assert_eq!(pair.cycle().moved.bytes, 2 * BLOCK_BYTES);
                assert!(is_copied(pair));
                assert!(groups(pair).is_some());
            }
        });
    });
}

#[test]
fn every_change_is_found_whatever_it_does_to_the_groups() {
    in_own_mounts(|| {
        with_big_file(|pair| {
            let path = pair.source().join("big");
            let resize = |size| fs::File::options().write(true).open(&path).unwrap().set_len(size).unwrap();
            let append =
                |count: u64| change(pair, fs::metadata(&path).unwrap().len(), &noise(count as usize, 3));
            let touch = || set_mtime(&path, SystemTime::UNIX_EPOCH + seconds(77));
            let rest = SIZE - 12 * GROUP_BYTES;
            let changes: [(&str, u64, &dyn Fn()); 13] = [
                ("the first byte", 1, &|| change(pair, 0, b"a")),
                ("the last byte", 1, &|| change(pair, SIZE - 1, b"b")),
                ("the end of a group and the beginning of the next", 2, &|| change(pair, MIDDLE - 1, b"cd")),
                ("every group", 12 * 8 + 1, &|| change(pair, 0, &noise(SIZE as usize, 4))),
                ("the first and the third", 2, &|| {
                    change(pair, 1, b"e");
                    change(pair, 2 * GROUP_BYTES, b"f");
                }),
                ("nothing but its time", 0, &touch),
                ("a byte more", 1, &|| append(1)),
                ("its last group is complete", 8, &|| append(GROUP_BYTES - rest - 1)),
                ("groups more", 3 * 8 + 1, &|| append(3 * GROUP_BYTES + 5)),
                ("a byte less", 1, &|| resize(16 * GROUP_BYTES + 4)),
                ("nothing but whole groups", 0, &|| resize(15 * GROUP_BYTES)),
                ("as small as a big file can be", 0, &|| resize(GROUPED_BYTES)),
                ("a big file no more", u64::MAX, &|| resize(GROUPED_BYTES - 1)),
            ];
            for (what, blocks, make) in changes {
                make();
                let moved = pair.cycle().moved;
                assert!(moved.bytes <= blocks.saturating_mul(BLOCK_BYTES), "{what}: {} bytes", moved.bytes);
                assert!(is_copied(pair), "{what}: the copy differs");
                let content = fs::read(&path).unwrap();
                let mut hasher = GroupHasher::new(content.len() as u64);
                hasher.update(&content);
                let expected = hasher.finish().groups;
                assert_eq!(expected.is_some(), blocks < u64::MAX, "{what}");
                // It is young, and compared once more: its groups stay known.
                pair.assert_settled();
                let known = groups(pair);
                assert!(
                    known.as_ref().map(|known| &known.groups) == expected.as_ref(),
                    "{what}: other groups"
                );
                if let Some(known) = known.filter(|_| what != "nothing but its time") {
                    let copy = pair.standby_store().stat(&big()).unwrap();
                    assert_eq!(known.instance, copy.instance(), "{what}: of another file");
                }
            }
        });
    });
}

#[test]
fn what_changes_while_its_groups_are_read_is_read_again() {
    in_own_mounts(|| {
        with_big_file(|pair| {
            change(pair, MIDDLE, b"new");
            let changing = vec![(pair.source().join("big"), AtomicU32::new(2))];
            let (module, _) = module(pair, Faults { changing, ..Faults::default() }, Faults::default());
            let outcome = module.run_cycle(&pair.context()).unwrap();
            assert!(outcome.quarantined.is_empty(), "{outcome:?}");
            assert_eq!(fs::metadata(pair.source().join("big")).unwrap().len(), SIZE + 2);
            assert!(is_copied(pair));
        });
    });
}

#[test]
fn a_cycle_that_died_anywhere_leaves_no_groups_that_the_next_believes_wrongly() {
    in_own_mounts(|| {
        with_big_file(|pair| {
            for lives in 0u32.. {
                change(pair, MIDDLE, &noise(100, lives.into()));
                let faults = Faults { lives: Some(AtomicU32::new(lives)), ..Faults::default() };
                let (module, _) = module(pair, Faults::default(), faults);
                let result = module.run_cycle(&pair.context());
                // Elsewhere, and back to what it was before.
                change(pair, 2 * GROUP_BYTES, &noise(100, lives.into()));
                change(pair, MIDDLE, &noise(100, (lives - lives % 2).into()));
                let outcome = pair.cycle();
                assert!(outcome.quarantined.is_empty(), "{lives}: {outcome:?}");
                assert!(is_copied(pair), "{lives}");
                if result.is_ok() {
                    assert!(lives > 8, "the process did not die often enough: {lives}");
                    break;
                }
            }
        });
    });
}

#[test]
fn a_big_file_at_another_machine_is_patched_in_a_clone_whatever_its_size_is_now() {
    in_own_mounts(|| {
        with_big_file(|pair| {
            let afar = joined(pair.folder.path(), pool());
            let cycle = || {
                let source = Box::new(afar.store("source", &pair.all_database_files()));
                let module = pair.between(source, Box::new(pair.standby_store()));
                let before = afar.place.traffic().received;
                let moved = module.run_cycle(&pair.context()).unwrap().moved;
                (moved.bytes, afar.place.traffic().received - before)
            };
            change(pair, MIDDLE, b"new");
            let (moved, received) = cycle();
            assert!(moved == BLOCK_BYTES && received < 2 * BLOCK_BYTES, "{moved} {received}");
            assert!(is_copied(pair));
            for size in [SIZE + 3 * GROUP_BYTES, SIZE - GROUP_BYTES - 5, SIZE] {
                let file = fs::File::options().write(true).open(pair.source().join("big")).unwrap();
                file.set_len(size).unwrap();
                // Without holes, with which it would be sent whole.
                file.write_all_at(&noise((GROUP_BYTES * 3) as usize, size), size - GROUP_BYTES * 3).unwrap();
                let (_, received) = cycle();
                assert!(received < 5 * GROUP_BYTES, "{size}: {received}");
                assert!(is_copied(pair), "{size}");
            }
        });
    });
}
