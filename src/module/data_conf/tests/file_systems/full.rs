//! Standbys that are full: what fits arrives, and the rest is named.

use std::collections::BTreeSet;
use std::process::Command;
use std::sync::atomic::AtomicU32;

use super::super::faulty::{Faults, module};
use super::clones::{mount_new_at, noise};
use super::isolation::{in_own_mounts, mount, unmount};
use super::*;

const MB: usize = 1 << 20;

/// A pair whose standby is a file system of its own in memory.
fn pair_with(options: &str) -> Pair {
    let pair = Pair::new();
    fs::create_dir(pair.standby()).unwrap();
    mount(&["-t", "tmpfs", "-o", options, "tmpfs"], &pair.standby());
    pair
}

fn grow(pair: &Pair, options: &str) {
    mount(&["-o", &format!("remount,{options}")], &pair.standby());
}

/// The names for which there was no room, all of which say so.
fn unplaced(outcome: &CycleOutcome) -> BTreeSet<&str> {
    for item in &outcome.quarantined {
        assert!(item.reason.contains("DiskFull") && item.reason.contains("needs"), "{item:?}");
        assert!(item.advice.contains("Free space"), "{item:?}");
    }
    outcome.quarantined.iter().map(|item| item.item.as_str()).collect()
}

/// No file of the standby is anything but a version that the source has, or had, and nothing temporary is left.
#[track_caller]
fn assert_whole(pair: &Pair, earlier: &Tree) {
    let source = tree(&pair.source());
    for (path, object) in tree(&pair.standby()).iter().filter(|(_, (content, ..))| content.is_some()) {
        let is_known = [source.get(path), earlier.get(path)].contains(&Some(object));
        assert!(is_known, "{} is neither version", path.display());
    }
    assert_eq!(fs::read_dir(pair.standby().join(".csb/tmp")).unwrap().count(), 0);
}

/// What a look says that there is no room for, as many objects as that.
#[track_caller]
fn assert_foreseen(pair: &Pair, objects: usize) {
    let said = pair.observe().no_room;
    let expected = (objects > 0).then(|| format!("There is no room for {objects} of "));
    assert_eq!(said.is_some(), expected.is_some(), "{said:?}");
    assert!(said.clone().unwrap_or_default().starts_with(&expected.unwrap_or_default()), "{said:?}");
}

#[test]
fn what_fits_on_a_full_standby_arrives_and_the_rest_is_named_with_what_it_needs() {
    in_own_mounts(|| {
        let pair = pair_with("size=20m");
        for number in 0..30 {
            pair.write(&format!("big/{number:02}"), noise(MB, number));
        }
        for number in 0..100 {
            pair.write(&format!("small/{number:02}"), "1");
        }
        let foreseen = pair.observe();
        for run in 1..=3 {
            let outcome = pair.cycle();
            let unplaced = unplaced(&outcome);
            assert!((11..=13).contains(&unplaced.len()), "{run}: {unplaced:?}");
            assert!(unplaced.iter().all(|name| name.starts_with("big/")), "{run}: {unplaced:?}");
            let needs = outcome.quarantined[0].reason.contains("needs 1 MiB at the destination, where ");
            assert!(needs, "{:?}", outcome.quarantined[0]);
            let held = tree(&pair.standby());
            assert_eq!(held.len(), 132 - unplaced.len(), "{run}");
            assert_whole(&pair, &Tree::new());
            let count = unplaced.len();
            let line = format!(
                "There is no room for {count} of the objects that are new or changed, {count} MiB, in "
            );
            assert!(outcome.warnings[0].starts_with(&line), "{:?}", outcome.warnings);
            if run == 1 {
                let said = foreseen.no_room.as_ref().unwrap();
                assert!(said.starts_with("There is no room for 1"), "{said}");
            } else {
                assert!(outcome.moved.is_nothing(), "{run}: {:?}", outcome.moved);
                assert_foreseen(&pair, unplaced.len());
            }
            assert_eq!(outcome.after.as_ref().unwrap().pending_items, unplaced.len() as u64);
            pair.age();
        }
        grow(&pair, "size=60m");
        assert_foreseen(&pair, 0);
        pair.cycle();
        pair.assert_settled();
    });
}

#[test]
fn small_files_come_before_large_ones_where_not_all_fit() {
    in_own_mounts(|| {
        let pair = pair_with("size=20m");
        for number in 0..30 {
            pair.write(&format!("a/{number:02}"), noise(MB, number));
            for small in 0..10 {
                pair.write(&format!("z{number:02}/{small}"), noise(20_000, small));
            }
        }
        pair.write("z", noise(3 * MB, 1));
        let outcome = pair.cycle();
        let unplaced = unplaced(&outcome);
        assert!(unplaced.iter().all(|name| name.starts_with("a/") || *name == "z"), "{unplaced:?}");
        assert!((16..19).contains(&unplaced.len()) && unplaced.contains("z"), "{unplaced:?}");
        assert_eq!(outcome.moved.items_written, 31 + 300 + 31 - unplaced.len() as u64);
    });
}

#[test]
fn one_file_that_is_too_large_starves_no_small_ones_and_is_not_read_again_and_again() {
    in_own_mounts(|| {
        let pair = pair_with("size=20m");
        pair.write("1", noise(30 * MB, 1));
        for number in 2..8 {
            pair.write(&number.to_string(), noise(MB, number));
        }
        for _ in 0..3 {
            let recorder = Arc::new(Recorder::default());
            let context = Context { observer: recorder.clone(), ..pair.context() };
            let outcome = pair.module().run_cycle(&context).unwrap();
            assert_eq!(unplaced(&outcome), ["1"].into());
            assert_eq!(tree(&pair.standby()).len(), 6);
            assert!(outcome.quarantined[0].reason.contains("needs 30 MiB"), "{:?}", outcome.quarantined);
            let read = recorder.progress.lock().unwrap().iter().map(|progress| progress.bytes_done).max();
            assert!(read < Some(10 * MB as u64), "{read:?} bytes were read");
            assert_whole(&pair, &Tree::new());
        }
        grow(&pair, "size=40m");
        pair.cycle();
        pair.assert_settled();
    });
}

/// A file that does not fit beside its earlier version.
fn replaced_in_place(pair: &Pair) {
    pair.write("small", "1");
    pair.write("big", noise(15 * MB, 1));
    pair.cycle();
    pair.age();
    for (seed, length) in [(2, 15), (3, 17), (4, 5)] {
        pair.write("big", noise(length * MB, seed));
        pair.write("small", format!("{seed}"));
        assert_foreseen(pair, 0);
        let outcome = pair.cycle();
        assert_eq!(unplaced(&outcome), [].into());
        assert_eq!(outcome.moved.items_written, 2);
        let said = outcome
            .details
            .iter()
            .any(|line| line.starts_with("Files that took the place") && line.ends_with(": 1."));
        assert_eq!(said, length > 5, "{:?}", outcome.details);
        assert!(tree(&pair.source()) == tree(&pair.standby()), "{seed}");
        pair.age();
    }
    // Nothing makes room for this one, and what is there of it stays.
    let earlier = tree(&pair.source());
    pair.write("big", noise(30 * MB, 5));
    pair.write("small", "5");
    for _ in 0..2 {
        assert_foreseen(pair, 1);
        assert_eq!(unplaced(&pair.cycle()), ["big"].into());
        assert_whole(pair, &earlier);
        assert_eq!(fs::metadata(pair.standby().join("big")).unwrap().len(), 5 * MB as u64);
        assert_eq!(fs::read(pair.standby().join("small")).unwrap(), b"5");
        pair.age();
    }
}

#[test]
fn a_file_takes_the_place_of_its_earlier_version_where_there_is_no_room_for_both() {
    in_own_mounts(|| {
        replaced_in_place(&pair_with("size=25m"));
        let pair = Pair::new();
        fs::create_dir(pair.standby()).unwrap();
        if mount_new_at(&pair, &pair.standby(), 25 << 20, "ext4", &["-m", "0", "-O", "^has_journal"]) {
            fs::remove_dir(pair.standby().join("lost+found")).unwrap();
            replaced_in_place(&pair);
            unmount(&pair.standby());
        }
    });
}

#[test]
fn an_earlier_version_stays_while_the_new_one_cannot_be_read_or_others_changed_it() {
    in_own_mounts(|| {
        let pair = pair_with("size=25m");
        pair.write("big", noise(15 * MB, 1));
        pair.cycle();
        pair.age();
        let earlier = tree(&pair.source());
        pair.write("big", noise(15 * MB, 2));
        let changing = vec![(pair.source().join("big"), AtomicU32::new(9))];
        let (module_, _) = module(&pair, Faults { changing, ..Faults::default() }, Faults::default());
        let outcome = module_.run_cycle(&pair.context()).unwrap();
        assert!(outcome.quarantined[0].reason.contains("changes while it is read"), "{outcome:?}");
        assert!(tree(&pair.standby()) == earlier);
        // What others put there is kept aside, and never goes.
        pair.write("big", noise(15 * MB, 3));
        fs::write(pair.standby().join("big"), noise(14 * MB, 4)).unwrap();
        assert_eq!(unplaced(&pair.cycle()), ["big"].into());
        assert!(fs::read(pair.standby().join("big")).unwrap() == noise(14 * MB, 4));
    });
}

#[test]
fn deletions_make_room_before_what_is_new_is_given_up_and_renames_need_none() {
    in_own_mounts(|| {
        let pair = pair_with("size=20m");
        for number in 0..9 {
            pair.write(&format!("old/{number}"), noise(2 * MB, number));
        }
        pair.cycle();
        pair.age();
        for number in 0..6 {
            fs::remove_file(pair.source().join(format!("old/{number}"))).unwrap();
            pair.write(&format!("new/{number}"), noise(2 * MB, 100 + number));
        }
        fs::rename(pair.source().join("old/8"), pair.source().join("renamed")).unwrap();
        assert_foreseen(&pair, 0);
        let outcome = pair.cycle();
        assert_eq!(unplaced(&outcome), [].into());
        assert_eq!(outcome.moved.bytes, 12 * MB as u64, "what was renamed is not sent");
        pair.assert_settled();
        // A file that takes the place of a folder waits for that to go.
        fs::remove_dir_all(pair.source().join("new")).unwrap();
        pair.write("new", noise(12 * MB, 7));
        pair.cycle();
        pair.assert_settled();
    });
}

#[test]
fn deletions_that_were_not_confirmed_make_no_room() {
    in_own_mounts(|| {
        let pair = pair_with("size=20m");
        for number in 0..60 {
            pair.write(&format!("old/{number}"), noise(MB / 4, number));
        }
        pair.cycle();
        pair.age();
        fs::remove_dir_all(pair.source().join("old")).unwrap();
        for number in 0..12 {
            pair.write(&format!("new/{number}"), noise(MB, 100 + number));
        }
        let CycleFailure { error, done } = pair.module().run_cycle(&pair.context()).unwrap_err();
        assert_eq!(error.kind, ErrorKind::SafetyShareExceeded);
        assert!((8..=9).contains(&unplaced(&done).len()), "{done:?}");
        assert_eq!(fs::read_dir(pair.standby().join("old")).unwrap().count(), 60);
        pair.forced_cycle();
        pair.assert_settled();
    });
}

#[test]
fn a_standby_without_room_for_another_name_takes_what_it_can() {
    in_own_mounts(|| {
        let pair = pair_with("nr_inodes=12");
        for number in 0..20 {
            pair.write(&format!("folder/f{number:02}"), "1");
        }
        let outcome = pair.cycle();
        assert!((11..20).contains(&unplaced(&outcome).len()), "{outcome:?}");
        assert!(outcome.moved.items_written > 3, "{outcome:?}");
        grow(&pair, "nr_inodes=100");
        pair.cycle();
        pair.assert_settled();
    });
}

#[test]
fn an_index_on_the_same_full_disk_keeps_the_room_that_it_needs() {
    in_own_mounts(|| {
        let pair = Pair::new();
        let disk = pair.folder.path().join("disk");
        fs::create_dir(&disk).unwrap();
        mount(&["-t", "tmpfs", "-o", "size=20m", "tmpfs"], &disk);
        fs::create_dir(disk.join("standby")).unwrap();
        std::os::unix::fs::symlink(disk.join("standby"), pair.standby()).unwrap();
        let index = disk.join("index.sqlite");
        let generation = take_lease(&index);
        let (source, standby) = (pair.source_store(), pair.standby_store());
        let module = DataConf::new(
            pool(),
            Box::new(source),
            Box::new(standby),
            place(&index),
            100 << 20,
            HistoryLimits::default(),
        );
        let cycle = |accept_deletions| {
            module.run_cycle(&Context { generation, accept_deletions, ..pair.context() }).unwrap()
        };
        for number in 0..30 {
            pair.write(&format!("big/{number:02}"), noise(MB, number));
        }
        for number in 0..100 {
            pair.write(&format!("small/{number:02}"), "1");
        }
        let first = cycle(false);
        assert!(unplaced(&first).len() < 16, "{first:?}");
        let says =
            |item: &crate::report::QuarantinedItem| item.reason.contains("of which 1.3 MiB are left to");
        assert!(first.quarantined.iter().all(says), "{first:?}");
        // What a killed first copy left takes nothing of what was kept free, and goes.
        let left = disk.join("standby/.csb/tmp").join(Uuid::new_v4().to_string());
        fs::write(&left, noise(MB / 2, 1)).unwrap();
        let second = cycle(false);
        assert!(!left.exists() && unplaced(&second).len() <= unplaced(&first).len(), "{second:?}");
        assert_eq!(fs::read_dir(disk.join("standby/small")).unwrap().count(), 100);
        // Somebody else fills the rest, and a killed job its part of it: a look needs no room, and what goes makes some.
        let filler = disk.join("filler");
        fs::write(&left, noise(MB / 2, 1)).unwrap();
        fs::write(&filler, vec![1; 20 * MB]).unwrap_err();
        let look = module.observe(&Look::default()).unwrap();
        assert!(look.refused.is_none() && look.no_room.is_some(), "{look:?}");
        assert!(!cycle(false).quarantined.is_empty());
        assert!(!left.exists());
        fs::write(&filler, vec![1; 20 * MB]).unwrap_err();
        let context = Context { generation, ..pair.context() };
        assert_eq!(module.run_cycle(&context).unwrap_err().error.kind, ErrorKind::DiskFull);
        fs::remove_file(&filler).unwrap();
        // The way back: what goes at the source goes here, and everything fits.
        for number in 0..20 {
            fs::remove_file(pair.source().join(format!("big/{number:02}"))).unwrap();
        }
        assert_eq!(unplaced(&cycle(true)), [].into());
        assert!(tree(&pair.source()) == tree(&pair.standby()));
    });
}

#[test]
fn a_cycle_that_died_while_a_file_took_the_place_of_its_earlier_version_is_finished_by_the_next() {
    in_own_mounts(|| {
        let mut died = 0;
        for lives in 0.. {
            let pair = pair_with("size=5m");
            pair.write("big", noise(3 * MB, 1));
            pair.cycle();
            pair.age();
            let earlier = tree(&pair.source());
            pair.write("big", noise(3 * MB, 2));
            let faults = Faults { lives: Some(AtomicU32::new(lives)), ..Faults::default() };
            let (module_, _) = module(&pair, Faults::default(), faults);
            let done = module_.run_cycle(&pair.context());
            let is_held = [&earlier, &tree(&pair.source())].contains(&&tree(&pair.standby()));
            let known = pair.indexed(&ContentPath::root());
            let is_known = known.iter().any(|(_, object)| object.settled);
            assert!(is_held || !is_known, "{lives}: the index says that there is a copy");
            // This process has not really died, and holds what it had staged.
            grow(&pair, "size=9m");
            assert_eq!(unplaced(&pair.cycle()), [].into(), "{lives}");
            assert!(tree(&pair.source()) == tree(&pair.standby()), "{lives}");
            assert!(Command::new("umount").arg("--lazy").arg(pair.standby()).status().unwrap().success());
            if done.is_ok() {
                break;
            }
            died += 1;
        }
        assert!(died > 20, "{died}");
    });
}

#[test]
fn what_is_given_back_to_a_full_pool_comes_back_as_far_as_it_fits() {
    in_own_mounts(|| {
        let pair = Pair::new();
        mount(&["-t", "tmpfs", "-o", "size=20m", "tmpfs"], &pair.source());
        pair.write("big", noise(12 * MB, 1));
        pair.write("small", "1");
        pair.cycle();
        for name in ["big", "small"] {
            fs::remove_file(pair.source().join(name)).unwrap();
        }
        pair.write("other", noise(15 * MB, 2));
        let outcome = pair.module().carry_back(&pair.context()).unwrap();
        assert_eq!(unplaced(&outcome), ["big"].into());
        assert_eq!(fs::read(pair.source().join("small")).unwrap(), b"1");
        assert_eq!(fs::read_dir(pair.source().join(".csb/tmp")).unwrap().count(), 0);
    });
}

#[test]
fn earlier_states_go_for_what_fits_then_and_not_for_what_never_does() {
    in_own_mounts(|| {
        let pair = pair_with("size=20m");
        for version in 1..=3 {
            pair.write("f", noise(3 * MB, version));
            pair.cycle();
            pair.age();
        }
        let states = || pair.module().states().unwrap().unwrap().len();
        assert_eq!(states(), 3);
        pair.write("never", noise(30 * MB, 4));
        for _ in 0..2 {
            assert_foreseen(&pair, 1);
            let outcome = pair.cycle();
            assert_eq!(unplaced(&outcome), ["never"].into());
            assert_eq!(outcome.warnings.len(), 1, "{:?}", outcome.warnings);
            assert_eq!(states(), 3, "no state was dropped for it");
        }
        pair.write("then", noise(13 * MB, 5));
        assert_foreseen(&pair, 1);
        let outcome = pair.cycle();
        assert_eq!(unplaced(&outcome), ["never"].into());
        let is_told =
            outcome.warnings.iter().any(|warning| warning.contains("1 earlier states were removed"));
        assert!(is_told, "{:?}", outcome.warnings);
        assert_eq!(states(), 3, "one more, and one less");
        // What was replaced by this very cycle is kept as long as there is room.
        pair.age();
        pair.write("then", noise(16 * MB, 6));
        assert_foreseen(&pair, 1);
        let outcome = pair.cycle();
        assert_eq!((unplaced(&outcome), states()), (["never"].into(), 1), "{outcome:?}");
        fs::remove_file(pair.source().join("never")).unwrap();
        pair.assert_settled();
    });
}

/// More than fits on a file system of 300 MB.
fn what_fits_arrives(pair: &Pair) -> CycleOutcome {
    let _ = fs::remove_dir(pair.standby().join("lost+found"));
    for number in 0..15 {
        pair.write(&format!("big/{number:02}"), noise(24 * MB, number));
    }
    for number in 0..40 {
        pair.write(&format!("small/{number:02}"), noise(1000, number));
    }
    pair.cycle();
    pair.age();
    assert_whole(pair, &Tree::new());
    assert_eq!(fs::read_dir(pair.standby().join("small")).unwrap().count(), 40);
    // Changes of small files and deletions go on.
    pair.write("small/00", noise(2000, 1));
    fs::remove_file(pair.source().join("small/01")).unwrap();
    let outcome = pair.cycle();
    let unplaced = unplaced(&outcome).len();
    assert!((1..15).contains(&unplaced), "{unplaced}");
    assert_eq!((outcome.moved.items_written, outcome.moved.items_deleted), (1, 1), "{outcome:?}");
    assert_eq!(fs::read_dir(pair.standby().join("big")).unwrap().count(), 15 - unplaced);
    outcome
}

#[test]
fn what_fits_arrives_on_file_systems_that_share_blocks_too() {
    in_own_mounts(|| {
        for kind in ["xfs", "btrfs"] {
            let pair = Pair::new();
            fs::create_dir(pair.standby()).unwrap();
            if mount_new_at(&pair, &pair.standby(), 300 << 20, kind, &[]) {
                what_fits_arrives(&pair);
                unmount(&pair.standby());
            }
        }
    });
}

/// Runs a command of Btrfs; says so where that is not possible here.
fn btrfs(arguments: &[&str], at: &Path) -> bool {
    let done = Command::new("btrfs").args(arguments).arg(at).output();
    let is_done = done.as_ref().is_ok_and(|done| done.status.success());
    if !is_done {
        eprintln!("skipped: no quota can be set here: {done:?}");
    }
    is_done
}

#[test]
fn a_quota_is_a_full_disk() {
    in_own_mounts(|| {
        let pair = Pair::new();
        let disk = pair.folder.path().join("disk");
        fs::create_dir(&disk).unwrap();
        if !mount_new_at(&pair, &disk, 600 << 20, "btrfs", &[]) {
            return;
        }
        let standby = disk.join("standby");
        let is_limited = btrfs(&["subvolume", "create"], &standby)
            && btrfs(&["quota", "enable"], &disk)
            && btrfs(&["qgroup", "limit", "200m"], &standby);
        if is_limited {
            std::os::unix::fs::symlink(&standby, pair.standby()).unwrap();
            let outcome = what_fits_arrives(&pair);
            assert!((6..=9).contains(&unplaced(&outcome).len()), "{outcome:?}");
            assert!(outcome.quarantined[0].reason.contains("a quota"), "{outcome:?}");
            assert!(btrfs(&["qgroup", "limit", "none"], &standby));
            pair.cycle();
            pair.assert_settled();
        }
        unmount(&disk);
    });
}

#[test]
fn what_would_be_spoilt_counts_also_where_there_is_no_room_for_it() {
    in_own_mounts(|| {
        let pair = pair_with("size=12m");
        for number in 0..30 {
            pair.write(&format!("{number:02}"), noise(200 << 10, number));
        }
        pair.cycle();
        let before = tree(&pair.standby());
        pair.age();
        for number in 0..30 {
            pair.write(&format!("{number:02}"), noise(300 << 10, 100 + number));
        }
        pair.write("small", "new");
        let CycleFailure { error, done } = pair.module().run_cycle(&pair.context()).unwrap_err();
        assert_eq!((error.kind, &*error.context["replacements"]), (ErrorKind::SafetyShareExceeded, "30"));
        assert_eq!(done.moved.items_written, 1);
        let mut after = tree(&pair.standby());
        after.remove(Path::new("small"));
        assert_eq!(after, before);
    });
}
