//! Trees that are changed behind a cycle's back, to lead it out of its store.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{CWD, RenameFlags, renameat_with};

use super::*;

/// Exchanges two names again and again while the work is done.
fn while_exchanging<R>(a: &Path, b: &Path, work: impl FnOnce() -> R) -> R {
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let exchanging = scope.spawn(|| {
            let mut times = 0u64;
            while !stop.load(Ordering::Relaxed) || times % 2 == 1 {
                renameat_with(CWD, a, CWD, b, RenameFlags::EXCHANGE).unwrap();
                times += 1;
            }
            times
        });
        // A failure is passed on only when the other thread has ended, for which the scope waits.
        let done = catch_unwind(AssertUnwindSafe(work));
        stop.store(true, Ordering::Relaxed);
        let times = exchanging.join().unwrap();
        let done = done.unwrap_or_else(|failure| resume_unwind(failure));
        assert!(times > 100, "hardly anything was exchanged");
        done
    })
}

/// A folder that no cycle may enter, and how it looks.
fn outside(pair: &Pair) -> (PathBuf, Tree) {
    let outside = pair.folder.path().join("outside");
    fs::create_dir_all(outside.join("inner")).unwrap();
    for number in 0..40 {
        fs::write(outside.join(format!("f{number}")), "SECRET").unwrap();
        fs::write(outside.join(format!("inner/f{number}")), "SECRET").unwrap();
    }
    let before = tree(&outside);
    (outside, before)
}

#[test]
fn no_link_that_is_swapped_in_leads_out_of_the_source() {
    let pair = Pair::new();
    let (outside, _) = outside(&pair);
    for number in 0..40 {
        pair.write(&format!("folder/f{number}"), "public");
        pair.write(&format!("folder/inner/f{number}"), "public");
    }
    let decoy = pair.folder.path().join("decoy");
    std::os::unix::fs::symlink(&outside, &decoy).unwrap();
    while_exchanging(&pair.source().join("folder"), &decoy, || {
        for round in 0..12 {
            // A file that cannot be told from a change is looked at by every cycle.
            for number in 0..40 {
                let file = pair.folder.path().join("new");
                fs::write(&file, format!("public {round}")).unwrap();
                let _ = fs::rename(&file, pair.source().join(format!("plain{number}")));
            }
            pair.forced_cycle();
            for (path, (content, ..)) in tree(&pair.standby()) {
                let is_secret = content.is_some_and(|content| content.starts_with(b"SECRET"));
                assert!(!is_secret, "{} came from outside", path.display());
            }
        }
    });
    pair.forced_cycle();
    pair.assert_settled();
}

#[test]
fn no_link_that_is_swapped_in_leads_out_of_the_standby() {
    let pair = Pair::new();
    let (outside, before) = outside(&pair);
    pair.write("folder/f", "0");
    pair.cycle();
    let decoy = pair.folder.path().join("decoy");
    std::os::unix::fs::symlink(&outside, &decoy).unwrap();
    while_exchanging(&pair.standby().join("folder"), &decoy, || {
        for round in 0..12 {
            for number in 0..40 {
                let name = format!("folder/f{number}");
                let _ = fs::remove_file(pair.source().join(&name));
                if (number + round) % 3 > 0 {
                    pair.write(&name, format!("{round}"));
                }
            }
            set_mode(&pair.source().join("folder"), 0o700 + round % 8);
            pair.forced_cycle();
        }
    });
    assert_eq!(tree(&outside), before, "something outside was written, removed or changed");
    pair.forced_cycle();
    pair.assert_settled();
}

#[test]
fn a_marker_that_is_no_file_is_an_error_and_nothing_waits_for_it() {
    let pair = Pair::new();
    pair.write("f", "1");
    pair.cycle();
    let before = tree(&pair.standby());
    let marker = pair.source().join(".csb/store.json");
    let elsewhere = pair.folder.path().join("elsewhere");
    fs::rename(&marker, &elsewhere).unwrap();
    for (what, make) in [
        ("a link", (|at, to| std::os::unix::fs::symlink(to, at).unwrap()) as fn(&Path, &Path)),
        ("a pipe", |at, _| {
            let kind = rustix::fs::FileType::Fifo;
            rustix::fs::mknodat(rustix::fs::CWD, at, kind, rustix::fs::Mode::RWXU, 0).unwrap();
        }),
        ("a folder", |at, _| fs::create_dir(at).unwrap()),
    ] {
        make(&marker, &elsewhere);
        assert!(pair.module().run_cycle(&pair.context()).is_err(), "{what}");
        assert_eq!(tree(&pair.standby()), before);
        fs::remove_file(&marker).or_else(|_| fs::remove_dir(&marker)).unwrap();
    }
    fs::rename(&elsewhere, &marker).unwrap();
    pair.assert_settled();
}

#[test]
fn a_store_whose_own_folder_is_a_link_is_not_written_through_it() {
    let pair = Pair::new();
    let (outside, before) = outside(&pair);
    pair.write("f", "1");
    for store in [pair.source(), pair.standby()] {
        fs::create_dir_all(&store).unwrap();
        std::os::unix::fs::symlink(&outside, store.join(".csb")).unwrap();
        assert!(pair.module().run_cycle(&pair.context()).is_err());
        assert_eq!(tree(&outside), before);
        fs::remove_file(store.join(".csb")).unwrap();
    }
    pair.cycle();
    pair.assert_settled();
}
