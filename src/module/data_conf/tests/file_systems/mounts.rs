//! Real file systems that are full, read-only, mounted in the wrong place or hang. In a mount namespace of their own.

use std::process::Command;

use rustix::fs::XattrFlags;

use super::clones::mount_new;
use super::isolation::{in_own_mounts, mount, unmount};
use super::*;

/// The names that a cycle could not copy.
fn named(outcome: &CycleOutcome) -> Vec<&str> {
    outcome.quarantined.iter().map(|item| item.item.as_str()).collect()
}

#[test]
fn extended_attributes_that_the_standby_cannot_hold_are_told() {
    in_own_mounts(|| {
        let pair = Pair::new();
        fs::create_dir(pair.standby()).unwrap();
        mount(&["-t", "ramfs", "ramfs"], &pair.standby());
        pair.write("plain", "1");
        assert_eq!(pair.cycle().warnings, [""; 0]);
        pair.write("folder/f", "1");
        for name in ["folder", "folder/f"] {
            let set = rustix::fs::setxattr(pair.source().join(name), "user.a", b"1", XattrFlags::empty());
            if set.is_err() {
                return eprintln!("skipped: the source's file system has no extended attributes either");
            }
        }
        let warnings = pair.cycle().warnings;
        assert_eq!(warnings.len(), 1, "{warnings:?}");
        assert!(warnings[0].starts_with("2 objects have extended attributes that"), "{warnings:?}");
        pair.assert_settled();
    });
}

#[test]
fn a_read_only_standby_is_an_error_and_a_read_only_source_is_none() {
    in_own_mounts(|| {
        let pair = Pair::new();
        for (name, folder) in [("source", pair.source()), ("standby", pair.standby())] {
            pair.write(name, "1");
            pair.cycle();
            mount(&["--bind", folder.to_str().unwrap()], &folder);
            if name == "source" {
                pair.write("before", "2");
            }
            mount(&["-o", "remount,bind,ro"], &folder);
            if name == "source" {
                assert_eq!(pair.cycle().moved.items_written, 1);
            } else {
                pair.write("after", "2");
                let error = pair.cycle_error();
                assert_eq!(error.kind, ErrorKind::AccessDenied, "{error:?}");
                assert!(!error.advice.is_empty());
                assert!(error.message.contains(folder.to_str().unwrap()), "{error:?}");
            }
            unmount(&folder);
            pair.cycle();
            pair.assert_settled();
        }
    });
}

#[test]
fn what_is_mounted_within_a_store_is_named_and_its_copy_stays() {
    in_own_mounts(|| {
        let pair = Pair::new();
        pair.write("folder/f", "1");
        pair.write("loop/kept", "2");
        pair.write("file", "3");
        pair.cycle();
        let before = tree(&pair.standby());
        let folder = pair.source().join("folder");
        mount(&["-t", "tmpfs", "tmpfs"], &folder);
        fs::write(folder.join("of another file system"), "4").unwrap();
        // The store within itself, without an end.
        mount(&["--rbind", pair.source().to_str().unwrap()], &pair.source().join("loop"));
        let outside = pair.folder.path().join("outside");
        fs::write(&outside, "outside").unwrap();
        mount(&["--bind", outside.to_str().unwrap()], &pair.source().join("file"));
        let outcome = pair.cycle();
        assert_eq!(named(&outcome), ["folder", "loop", "file"]);
        assert!(outcome.quarantined.iter().all(|item| item.reason.contains("mounted")), "{outcome:#?}");
        assert_eq!(outcome.moved.items_deleted, 0);
        assert_eq!(tree(&pair.standby()).keys().collect::<Vec<_>>(), before.keys().collect::<Vec<_>>());
        assert_eq!(fs::read(pair.standby().join("file")).unwrap(), b"3");
        // Unmounted, everything is as before, and nothing was ever missing.
        for name in ["file", "loop", "folder"] {
            let status = Command::new("umount").arg("--recursive").arg(pair.source().join(name)).status();
            assert!(status.unwrap().success());
        }
        assert_eq!(pair.cycle().moved.items_deleted, 0);
        assert_eq!(tree(&pair.standby()).keys().collect::<Vec<_>>(), before.keys().collect::<Vec<_>>());
        pair.assert_settled();
    });
}

#[test]
fn a_mount_within_the_standby_is_not_written_to() {
    in_own_mounts(|| {
        let pair = Pair::new();
        pair.write("folder/f", "1");
        pair.write("goes/f", "1");
        pair.cycle();
        for name in ["folder", "goes"] {
            mount(&["-t", "tmpfs", "tmpfs"], &pair.standby().join(name));
        }
        pair.write("folder/f", "changed");
        pair.write("other", "2");
        fs::remove_dir_all(pair.source().join("goes")).unwrap();
        let outcome = pair.cycle();
        assert_eq!(outcome.moved.items_written, 1);
        assert!(named(&outcome).contains(&"folder/f") && named(&outcome).contains(&"goes"), "{outcome:#?}");
        assert_eq!(fs::read_dir(pair.standby().join("folder")).unwrap().count(), 0);
        for name in ["folder", "goes"] {
            unmount(&pair.standby().join(name));
        }
        pair.cycle();
        pair.assert_settled();
    });
}

/// Protects what is at the standby from every change, or no longer; says whether that is possible.
fn protect(pair: &Pair, change: &str, names: &[&str]) -> bool {
    let paths = names.iter().map(|name| pair.standby().join(name));
    let done = Command::new("chattr").arg(change).args(paths).output();
    done.is_ok_and(|done| done.status.success())
}

#[test]
fn what_is_protected_from_changes_in_the_standby_is_named_in_every_run_and_the_rest_is_copied() {
    in_own_mounts(|| {
        let pair = Pair::new();
        if !mount_new(&pair, "ext4", &[]) {
            return;
        }
        fs::remove_dir(pair.standby().join("lost+found")).unwrap();
        for name in ["file", "gone", "folder/f", "mode/f", "plain"] {
            pair.write(name, "1");
        }
        pair.cycle();
        pair.age();
        if !protect(&pair, "+i", &["file", "gone", "folder", "mode"]) {
            unmount(&pair.standby());
            return eprintln!("skipped: nothing can be protected from changes here");
        }
        for name in ["file", "folder/f", "folder/new", "plain", "other/new"] {
            pair.write(name, "changed");
        }
        fs::remove_file(pair.source().join("gone")).unwrap();
        set_mode(&pair.source().join("mode"), 0o700);
        for (run, written) in [(1, 3), (2, 0), (3, 0)] {
            let outcome = pair.cycle();
            let mut items = named(&outcome);
            items.sort_unstable();
            assert_eq!(items, ["file", "folder/f", "folder/new", "gone", "mode"], "{run}");
            let says = |text: &str| outcome.quarantined.iter().all(|item| item.reason.contains(text));
            assert!(says("protected from changes"), "{outcome:#?}");
            assert_eq!((outcome.moved.items_written, outcome.moved.items_deleted), (written, 0), "{run}");
        }
        assert_eq!(fs::read(pair.standby().join("plain")).unwrap(), b"changed");
        assert_eq!(fs::read(pair.standby().join("folder/f")).unwrap(), b"1");
        // The whole store is another matter.
        assert!(protect(&pair, "-i", &["file", "gone", "folder", "mode"]) && protect(&pair, "+i", &["."]));
        pair.write("newest", "1");
        assert_ne!(pair.cycle_error().advice, "");
        assert!(protect(&pair, "-i", &["."]));
        pair.cycle();
        pair.assert_settled();
        unmount(&pair.standby());
    });
}

#[test]
fn what_a_closed_folder_of_the_standby_refuses_is_foreseen_and_not_read_for_nothing() {
    const FILES: u64 = 300;
    in_own_mounts(|| {
        let pair = Pair { batch_bytes: 1, ..Pair::new() };
        if !mount_new(&pair, "ext4", &[]) {
            return;
        }
        fs::remove_dir(pair.standby().join("lost+found")).unwrap();
        pair.write("closed/gone", "1");
        pair.write("plain", "1");
        pair.cycle();
        pair.age();
        if !protect(&pair, "+i", &["closed"]) {
            unmount(&pair.standby());
            return eprintln!("skipped: nothing can be protected from changes here");
        }
        for number in 0..FILES {
            pair.write(&format!("closed/deep/{number}"), vec![1; 1000]);
        }
        fs::remove_file(pair.source().join("closed/gone")).unwrap();
        pair.write("plain", "changed");
        let foreseen = pair.observe().moves.unwrap();
        let recorder = Arc::new(Recorder::default());
        let context = Context { observer: recorder.clone(), clock: SlowClock::new(), ..pair.context() };
        let outcome = pair.module().run_cycle(&context).unwrap();
        let numbers = |moved: &crate::report::Moved| (moved.items_written, moved.items_deleted, moved.bytes);
        assert_eq!(numbers(&outcome.moved), (1, 0, 7));
        assert_eq!(numbers(&foreseen), numbers(&outcome.moved));
        assert_eq!(outcome.quarantined.len() as u64, FILES + 2);
        let read = recorder.progress.lock().unwrap().iter().map(|progress| progress.bytes_done).max();
        assert!(read < Some(FILES * 1000 / 2), "{read:?} bytes were read");
        assert!(protect(&pair, "-i", &["closed"]));
        pair.cycle();
        pair.assert_settled();
        unmount(&pair.standby());
    });
}

#[test]
fn a_file_system_that_says_no_kinds_in_its_listings_is_swept_and_copied_to() {
    const KINDS: [(&str, &[&str]); 2] =
        [("ext4", &["-O", "^filetype"]), ("xfs", &["-m", "crc=0", "-n", "ftype=0"])];
    in_own_mounts(|| {
        for (kind, options) in KINDS {
            let pair = Pair::new();
            if !mount_new(&pair, kind, options) {
                continue;
            }
            let _ = fs::remove_dir(pair.standby().join("lost+found"));
            pair.write("folder/f", "1");
            pair.cycle();
            let staging = pair.standby().join(".csb/tmp");
            fs::write(staging.join("0f8fad5b-d9cb-469f-a165-70867728950e"), "half of a file").unwrap();
            std::os::unix::fs::symlink("nowhere", staging.join("7c9e6679-7425-40de-944b-e07fc1f90ae7"))
                .unwrap();
            fs::create_dir(staging.join("a folder of somebody else")).unwrap();
            pair.write("folder/g", "2");
            let outcome = pair.cycle();
            let swept = "Removed 2 temporary files that an interrupted job had left.".to_owned();
            assert!(outcome.details.contains(&swept), "{kind}: {outcome:#?}");
            assert!(staging.join("a folder of somebody else").exists());
            fs::remove_dir(staging.join("a folder of somebody else")).unwrap();
            pair.assert_settled();
            pair.module().disable(&pair.context()).unwrap();
            unmount(&pair.standby());
        }
    });
}

#[test]
fn a_hundred_thousand_files_in_one_folder() {
    const FILES: u64 = 100_000;
    in_own_mounts(|| {
        let pair = Pair::new();
        for folder in [pair.source(), pair.standby()] {
            fs::create_dir_all(&folder).unwrap();
            mount(&["-t", "tmpfs", "tmpfs"], &folder);
        }
        fs::create_dir(pair.source().join("folder")).unwrap();
        for number in 0..FILES {
            fs::write(pair.source().join(format!("folder/{number}")), number.to_le_bytes()).unwrap();
        }
        assert_eq!(pair.cycle().moved.items_written, FILES + 1);
        pair.age();
        fs::remove_file(pair.source().join("folder/77777")).unwrap();
        pair.write("folder/new", "new");
        let outcome = pair.cycle();
        assert_eq!((outcome.moved.items_written, outcome.moved.items_deleted), (1, 1));
        assert_eq!(
            outcome.details[0],
            format!("Compared {} objects: 1 written, 1 deleted, 0 not copied.", FILES + 1)
        );
        assert!(tree(&pair.source()) == tree(&pair.standby()), "the trees differ");
    });
}
