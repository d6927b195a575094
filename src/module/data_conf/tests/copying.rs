//! What is copied, and what is not copied again.

use super::faulty::{Faults, module};
use super::*;
use crate::store::content::index::Adopted;

fn sample(pair: &Pair) {
    pair.write("a/one.txt", "one");
    pair.write("a/b/two.txt", "two");
    pair.write("empty.txt", "");
    pair.write("big.bin", vec![7; 3 << 20]);
    fs::create_dir_all(pair.source().join("hollow/inner")).unwrap();
    set_mode(&pair.source().join("a/one.txt"), 0o640);
    set_mode(&pair.source().join("hollow"), 0o2750);
    set_mtime(
        &pair.source().join("a/one.txt"),
        SystemTime::UNIX_EPOCH + Duration::new(1_234_567_890, 123_456_789),
    );
}

#[test]
fn the_first_copy_equals_the_source() {
    let pair = Pair::new();
    sample(&pair);
    let before = pair.observe();
    assert!(!before.initialized);
    assert_eq!((before.pending_items, before.pending_bytes), (8, 3 + 3 + (3 << 20)));
    assert!(before.fits_one_batch && before.oldest_pending.is_some() && before.cursor.is_none());
    let outcome = pair.cycle();
    assert_eq!((outcome.moved.items_written, outcome.moved.items_deleted), (8, 0));
    assert_eq!(outcome.moved.bytes, before.pending_bytes);
    assert!(outcome.quarantined.is_empty());
    let seen = |seen: crate::module::Observation| {
        Some(crate::module::Observation { moves: None, changes: crate::report::Changes::default(), ..seen })
    };
    assert_eq!((outcome.before, outcome.after), (seen(before), seen(pair.observe())));
    pair.assert_settled();
    let after = pair.observe();
    assert!(after.initialized && after.fits_one_batch && after.oldest_pending.is_none());
    assert!(after.cursor.unwrap().starts_with("scan 2 at "));
}

#[test]
fn the_module_names_the_store_that_each_job_writes_to() {
    let pair = Pair::new();
    let url = |folder: PathBuf| format!("file:{}", folder.display());
    assert_eq!(pair.module().touches(), [url(pair.standby())]);
    assert_eq!(pair.module().touches_back(), [url(pair.source())]);
}

#[test]
fn a_cycle_says_itself_what_was_pending_before_and_after() {
    let pair = Pair::new();
    sample(&pair);
    let outcome = pair.cycle();
    assert_eq!(pair.module().cycle_observes(), outcome.before.is_some() && outcome.after.is_some());
    assert!(outcome.before.is_some());
}

#[test]
fn observing_writes_nothing() {
    let pair = Pair::new();
    sample(&pair);
    pair.observe();
    assert!(!pair.source().join(".csb").exists());
    assert!(!pair.standby().exists());
    let fresh = Pair { folder: tempfile::tempdir().unwrap(), ..Pair::new() };
    fs::create_dir(fresh.source()).unwrap();
    fresh.observe();
    assert!(!fresh.index_file().exists());
}

#[test]
fn an_idle_cycle_does_not_touch_the_standby() {
    let pair = Pair::new();
    sample(&pair);
    pair.cycle();
    let state = |path: PathBuf| {
        let meta = fs::metadata(path).unwrap();
        (meta.mtime(), meta.mtime_nsec(), meta.ctime(), meta.ctime_nsec(), meta.ino())
    };
    let all = || {
        let mut paths: Vec<PathBuf> = tree(&pair.standby()).into_keys().collect();
        paths.extend([PathBuf::new(), ".csb".into(), ".csb/tmp".into(), ".csb/store.json".into()]);
        paths.into_iter().map(|path| state(pair.standby().join(path))).collect::<Vec<_>>()
    };
    let before = all();
    for aged in [false, true] {
        if aged {
            pair.age();
        }
        let outcome = pair.cycle();
        assert_eq!(outcome.moved, crate::report::Moved::default());
        assert_eq!(all(), before);
    }
}

#[test]
fn changes_deletions_and_renames_travel() {
    let pair = Pair::new();
    sample(&pair);
    pair.cycle();
    pair.age();
    pair.write("a/one.txt", "one and more");
    fs::remove_file(pair.source().join("empty.txt")).unwrap();
    fs::rename(pair.source().join("big.bin"), pair.source().join("hollow/bigger.bin")).unwrap();
    let seen = pair.observe();
    assert_eq!((seen.pending_items, seen.pending_bytes), (4, 12), "a file that was renamed is not sent");
    let outcome = pair.cycle();
    assert_eq!((outcome.moved.items_written, outcome.moved.items_deleted, outcome.moved.batches), (2, 2, 2));
    assert_eq!(
        outcome.details,
        [
            "Compared 7 objects: 2 written, 2 deleted, 0 not copied.",
            "Renamed 1 file at the standby instead of copying it again.",
            "What was replaced or deleted (2) is kept: the state before can be restored as revision 1.",
        ]
    );
    pair.assert_settled();
}

#[test]
fn a_file_becomes_a_folder_and_back() {
    let pair = Pair::new();
    pair.write("x", "file");
    pair.write("y/inner/z", "below");
    pair.cycle();
    fs::remove_file(pair.source().join("x")).unwrap();
    pair.write("x/inner", "now below");
    fs::remove_dir_all(pair.source().join("y")).unwrap();
    pair.write("y", "now a file");
    pair.cycle();
    pair.assert_settled();
    // What an interrupted batch leaves: the folder is there, the index still says file.
    fs::remove_dir_all(pair.source().join("x")).unwrap();
    pair.write("x", "file");
    pair.cycle();
    fs::remove_file(pair.source().join("x")).unwrap();
    fs::create_dir(pair.source().join("x")).unwrap();
    fs::remove_file(pair.standby().join("x")).unwrap();
    fs::create_dir(pair.standby().join("x")).unwrap();
    pair.cycle();
    pair.assert_settled();
}

#[test]
fn a_change_that_leaves_all_times_equal_is_caught_while_it_is_young() {
    let pair = Pair::new();
    pair.write("f", "before");
    pair.cycle();
    pair.write("f", "after!");
    // A coarse clock would have left the row as it would be now.
    let meta = fs::metadata(pair.source().join("f")).unwrap();
    let connection = rusqlite::Connection::open(pair.index_file()).unwrap();
    let changed = connection
        .execute(
            "UPDATE csb_content_object SET mtime_ns = ?1, ctime_ns = ?2",
            [
                meta.mtime() * 1_000_000_000 + meta.mtime_nsec(),
                meta.ctime() * 1_000_000_000 + meta.ctime_nsec(),
            ],
        )
        .unwrap();
    assert_eq!(changed, 1);
    assert_eq!(pair.observe().pending_items, 1, "only reading tells, so it is read");
    let (coarse, _) = module(&pair, Faults::default(), Faults::default());
    assert_eq!(coarse.run_cycle(&pair.context()).unwrap().moved.items_written, 1);
    pair.assert_settled();
}

#[test]
fn a_change_of_equal_size_and_modification_time_is_caught_by_the_change_time() {
    let pair = Pair::new();
    pair.write("f", "before");
    let mtime = fs::metadata(pair.source().join("f")).unwrap().modified().unwrap();
    pair.cycle();
    pair.age();
    pair.write("f", "after!");
    set_mtime(&pair.source().join("f"), mtime);
    assert_eq!(pair.observe().pending_items, 1);
    assert_eq!(pair.cycle().moved.items_written, 1);
    pair.assert_settled();
}

#[test]
fn equal_content_is_not_sent_again() {
    let pair = Pair::new();
    pair.write("f", "content");
    pair.cycle();
    pair.age();
    let inode = fs::metadata(pair.standby().join("f")).unwrap().ino();
    // Restored by a tool that keeps times: another inode, another change time.
    let copy = pair.source().join("copy");
    fs::copy(pair.source().join("f"), &copy).unwrap();
    set_mtime(&copy, fs::metadata(pair.source().join("f")).unwrap().modified().unwrap());
    fs::rename(&copy, pair.source().join("f")).unwrap();
    assert!(pair.cycle().moved.is_nothing());
    // Only the mode changed.
    set_mode(&pair.source().join("f"), 0o600);
    assert_eq!(
        pair.cycle().moved,
        crate::report::Moved { items_written: 1, bytes: 0, batches: 1, items_deleted: 0 }
    );
    assert_eq!(fs::metadata(pair.standby().join("f")).unwrap().ino(), inode);
    pair.assert_settled();
}

#[test]
fn batches_are_bounded_by_bytes_and_items() {
    let pair = Pair { batch_bytes: 1000, ..Pair::new() };
    for number in 0..10 {
        pair.write(&format!("f{number}"), vec![0; 400]);
    }
    assert!(!pair.observe().fits_one_batch);
    assert_eq!(pair.cycle().moved.batches, 4);
    let pair = Pair::new();
    for number in 0..1100 {
        pair.write(&format!("f{number}"), "");
    }
    assert_eq!(pair.cycle().moved.batches, 2);
    pair.assert_settled();
}

#[test]
fn more_folders_than_a_batch_get_their_times_and_go_again() {
    let pair = Pair::new();
    for number in 0..1100 {
        pair.write(&format!("top/{number}/f"), "");
        fs::File::open(pair.source().join(format!("top/{number}")))
            .unwrap()
            .set_modified(SystemTime::UNIX_EPOCH + seconds(number))
            .unwrap();
    }
    assert_eq!(pair.cycle().moved.items_written, 2201);
    pair.assert_settled();
    fs::remove_dir_all(pair.source().join("top")).unwrap();
    pair.write("kept", "");
    assert_eq!(pair.forced_cycle().moved.items_deleted, 2201);
    pair.assert_settled();
}

#[test]
fn progress_has_totals_and_ends_with_them() {
    let pair = Pair::new();
    sample(&pair);
    let seen = Arc::new(Recorder::default());
    pair.module().run_cycle(&Context { observer: seen.clone(), ..pair.context() }).unwrap();
    let progress = seen.progress.lock().unwrap();
    let last = progress.last().unwrap();
    assert_eq!((last.items_done, last.items_total), (8, Some(8)));
    assert_eq!((last.bytes_done, last.bytes_total), ((3 << 20) + 6, Some((3 << 20) + 6)));
    let compared = progress.iter().rfind(|told| told.activity == "Comparing files").unwrap();
    assert_eq!((compared.items_done, compared.items_total), (8, None));
}

#[test]
fn a_cancelled_cycle_keeps_its_batches_and_the_next_one_goes_on() {
    let pair = Pair { batch_bytes: 4 << 20, ..Pair::new() };
    for number in 0..24 {
        pair.write(&format!("f{number:02}"), vec![number; 1 << 20]);
    }
    let error = pair.cancelled_cycle(6).unwrap_err().error;
    assert_eq!(error.kind, ErrorKind::Cancelled);
    let kept = tree(&pair.standby()).len() as u64;
    assert!((4..24).contains(&kept), "{kept}");
    assert_eq!(fs::read_dir(pair.standby().join(".csb/tmp")).unwrap().count(), 0);
    assert_eq!(pair.observe().pending_items, 24 - kept);
    assert_eq!(pair.cycle().moved.items_written, 24 - kept);
    pair.assert_settled();
}

#[test]
fn what_a_killed_cycle_left_is_swept_and_deleted() {
    let pair = Pair::new();
    pair.write("kept", "1");
    pair.cycle();
    fs::write(pair.standby().join(".csb/tmp/0f8fad5b-d9cb-469f-a165-70867728950e"), "half").unwrap();
    fs::write(pair.source().join(".csb/tmp/7c9e6679-7425-40de-944b-e07fc1f90ae7"), "half").unwrap();
    // Killed between publishing and settling, and the source's file was deleted since.
    let orphan = crate::store::content::ContentPath::from_bytes(b"orphan").unwrap();
    let kind = crate::store::content::ObjectKind::File;
    pair.index()
        .begin(
            pair.generation,
            std::iter::once((&orphan, kind, Some(*blake3::hash(b"published").as_bytes()))),
        )
        .unwrap();
    fs::write(pair.standby().join("orphan"), "published").unwrap();
    let outcome = pair.cycle();
    assert_eq!(outcome.moved.items_deleted, 1);
    assert!(outcome.details.iter().any(|line| line.contains("2 temporary files")));
    pair.assert_settled();
}

#[test]
fn of_a_big_file_only_the_blocks_that_differ_are_sent() {
    let pair = Pair::new();
    let content: Vec<u8> =
        (0..9 << 20).map(|position: u32| (position.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    pair.write("big", &content);
    pair.cycle();
    pair.age();
    let mut changed = content.clone();
    changed[5 << 20] ^= 1;
    changed.extend_from_slice(b"and more");
    pair.write("big", &changed);
    let moved = pair.cycle().moved;
    assert_eq!(moved.items_written, 1);
    assert!((9..1 << 20).contains(&moved.bytes), "{}", moved.bytes);
    pair.assert_settled();
    pair.age();
    changed.truncate(8 << 20);
    pair.write("big", &changed);
    assert_eq!(pair.cycle().moved.bytes, 0);
    pair.assert_settled();
}

#[test]
fn a_big_file_that_was_only_touched_is_not_sent() {
    let pair = Pair::new();
    pair.write("big", vec![7; 9 << 20]);
    pair.cycle();
    pair.age();
    let inode = fs::metadata(pair.standby().join("big")).unwrap().ino();
    set_mtime(&pair.source().join("big"), SystemTime::UNIX_EPOCH);
    let moved = pair.cycle().moved;
    assert_eq!((moved.items_written, moved.bytes), (1, 0));
    assert_eq!(fs::metadata(pair.standby().join("big")).unwrap().ino(), inode);
    pair.assert_settled();
}

#[test]
fn the_rows_of_a_folder_are_read_only_where_its_listing_has_changed() {
    let pair = Pair::new();
    sample(&pair);
    pair.cycle();
    pair.age();
    pair.cycle();
    let listing = |name: &[u8]| {
        pair.index().listing(&crate::store::content::ContentPath::from_bytes(name).unwrap()).unwrap()
    };
    for folder in [&b""[..], b"a", b"a/b", b"hollow", b"hollow/inner"] {
        assert!(listing(folder).is_some(), "{folder:?}");
    }
    // Were they read, it would be seen that they are gone.
    let connection = rusqlite::Connection::open(pair.index_file()).unwrap();
    let gone = connection.execute("DELETE FROM csb_content_object WHERE folder = CAST('a/b' AS BLOB)", []);
    assert_eq!(gone.unwrap(), 1);
    assert!(pair.cycle().moved.is_nothing());
    pair.write("a/b/three.txt", "3");
    assert_eq!(pair.cycle().moved.items_written, 2);
    assert_eq!(
        [&b""[..], b"a", b"a/b", b"hollow"].map(|folder| listing(folder).is_some()),
        [false, false, false, true]
    );
    pair.assert_settled();
}

#[test]
fn whatever_changes_a_row_takes_the_listings_away_that_it_is_in() {
    let path = |name: &str| crate::store::content::ContentPath::from_bytes(name.as_bytes()).unwrap();
    let pair = Pair::new();
    pair.write("a/b/one", "1");
    pair.cycle();
    let mut index = pair.index();
    let folders = ["", "a", "a/b"];
    let (_, known) = pair.indexed(&path("a/b")).remove(0);
    let kind = crate::store::content::ObjectKind::File;
    for (change, forgotten) in
        [("begin", &["a", "a/b"][..]), ("settle", &["a/b"]), ("remove", &["a/b"]), ("times", &["a"])]
    {
        let all: Vec<_> = folders.map(|folder| (path(folder), [7; 32])).into();
        index.remember_listings(pair.generation, &all).unwrap();
        match change {
            "begin" => index.begin(pair.generation, std::iter::once((&path("a/b/one"), kind, None))),
            "settle" => index.settle(pair.generation, &[(path("a/b/one"), known)], &[]),
            "remove" => index.settle(pair.generation, &[], &[path("a/b/one")]),
            _ => index.forget_times(pair.generation, &[path("a/b")]),
        }
        .unwrap();
        for folder in folders {
            let is_known = index.listing(&path(folder)).unwrap().is_some();
            assert_eq!(is_known, !forgotten.contains(&folder), "{change} {folder}");
        }
    }
    index
        .establish(pair.generation, Uuid::nil(), Uuid::nil(), Adopted::default(), std::iter::empty())
        .unwrap();
    assert!(folders.iter().all(|folder| index.listing(&path(folder)).unwrap().is_none()));
}

/// Cancels within a file.
struct CancelWithin(CancellationToken, Mutex<u64>);

impl Observer for CancelWithin {
    fn progress(&self, progress: Progress) {
        if progress.bytes_done >= 1 << 20 {
            self.0.cancel();
            *self.1.lock().unwrap() = progress.bytes_done;
        }
    }

    fn warning(&self, _: String) {}
}

#[test]
fn a_big_file_is_left_in_the_middle_when_the_job_is_cancelled() {
    let pair = Pair::new();
    pair.write("big", vec![1; 32 << 20]);
    let cancel = CancellationToken::new();
    let observer = Arc::new(CancelWithin(cancel.clone(), Mutex::default()));
    let context = Context { cancel, observer: observer.clone(), clock: SlowClock::new(), ..pair.context() };
    assert_eq!(pair.module().run_cycle(&context).unwrap_err().error.kind, ErrorKind::Cancelled);
    assert_eq!(*observer.1.lock().unwrap(), 1 << 20);
    assert!(tree(&pair.standby()).is_empty());
    assert_eq!(fs::read_dir(pair.standby().join(".csb/tmp")).unwrap().count(), 0);
    pair.cycle();
    pair.assert_settled();
}
