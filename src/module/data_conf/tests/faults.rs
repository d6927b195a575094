//! Failures that cannot be made with real folders, because tests may run as root.

use std::sync::atomic::{AtomicU32, Ordering};

use super::faulty::{Faults, Faulty, module};
use super::*;
use crate::store::content::ContentPath;

fn filled() -> Pair {
    let pair = Pair::new();
    pair.write("folder/f", "1");
    pair.write("folder/inner/g", "2");
    pair.write("plain", "3");
    pair.cycle();
    pair.age();
    pair
}

#[test]
fn what_is_in_an_unreadable_folder_is_not_taken_for_deleted() {
    let pair = filled();
    let before = tree(&pair.standby());
    let (module, _) =
        module(&pair, Faults { unreadable: ["folder"].into(), ..Faults::default() }, Faults::default());
    fs::remove_dir_all(pair.source().join("folder/inner")).unwrap();
    pair.write("plain", "changed");
    let outcome = module.run_cycle(&pair.context()).unwrap();
    assert_eq!(outcome.quarantined[0].item, "folder");
    assert_eq!((outcome.moved.items_written, outcome.moved.items_deleted), (1, 0));
    assert_eq!(tree(&pair.standby()).len(), before.len());
    assert_eq!(pair.cycle().moved.items_deleted, 2);
    pair.assert_settled();
}

#[test]
fn an_unreadable_root_is_an_error() {
    let pair = filled();
    let unreadable = ["(the whole store)"].into();
    let (module, _) = module(&pair, Faults { unreadable, ..Faults::default() }, Faults::default());
    assert_eq!(module.run_cycle(&pair.context()).unwrap_err().error.kind, ErrorKind::StoreUnavailable);
    assert_eq!(tree(&pair.standby()).len(), 5);
}

#[test]
fn an_unreadable_file_is_named_and_its_earlier_copy_stays() {
    let pair = filled();
    pair.write("folder/f", "changed");
    pair.write("plain", "changed");
    let (module, _) =
        module(&pair, Faults { unreadable: ["folder/f"].into(), ..Faults::default() }, Faults::default());
    let outcome = module.run_cycle(&pair.context()).unwrap();
    assert_eq!(outcome.quarantined[0].item, "folder/f");
    assert_eq!(outcome.moved.items_written, 1);
    assert_eq!(fs::read(pair.standby().join("folder/f")).unwrap(), b"1");
    assert_eq!(pair.cycle().moved.items_written, 1, "it is tried again");
    pair.assert_settled();
}

#[test]
fn a_folder_that_only_what_is_in_it_made_at_the_standby_is_known_to_be_there() {
    for replacement in ["a file", "nothing"] {
        let pair = filled();
        pair.write("folder/away/inner/f", "1");
        let away = ["folder/away", "folder/away/inner"].into();
        let (module, _) = module(&pair, Faults { away, ..Faults::default() }, Faults::default());
        module.run_cycle(&pair.context()).unwrap();
        assert_eq!(fs::read(pair.standby().join("folder/away/inner/f")).unwrap(), b"1");
        fs::remove_dir_all(pair.source().join("folder/away")).unwrap();
        if replacement == "a file" {
            pair.write("folder/away", "a file now");
        }
        let outcome = pair.forced_cycle();
        assert!(outcome.quarantined.is_empty(), "{replacement}: {outcome:?}");
        pair.assert_settled();
    }
}

#[test]
fn a_file_or_folder_that_vanishes_is_no_error_and_nothing_is_deleted_for_it() {
    let pair = filled();
    pair.write("plain", "changed");
    let vanished = ["plain", "folder"].into();
    let (module, _) = module(&pair, Faults { vanished, ..Faults::default() }, Faults::default());
    let outcome = module.run_cycle(&pair.context()).unwrap();
    assert!(outcome.quarantined.is_empty() && outcome.moved.is_nothing());
    pair.cycle();
    pair.assert_settled();
}

#[test]
fn a_file_that_changes_while_it_is_read_is_read_again_and_then_quarantined() {
    for (times, copied) in [(3, true), (4, false)] {
        let pair = Pair::new();
        pair.write("busy", "1");
        pair.write("plain", "1");
        let changing = vec![(pair.source().join("busy"), AtomicU32::new(times))];
        let (module, _) = module(&pair, Faults { changing, ..Faults::default() }, Faults::default());
        let outcome = module.run_cycle(&pair.context()).unwrap();
        assert_eq!(outcome.quarantined.is_empty(), copied, "{times}");
        assert_eq!(outcome.moved.items_written, if copied { 2 } else { 1 });
        pair.cycle();
        pair.assert_settled();
    }
}

#[test]
fn a_link_that_leads_elsewhere_while_it_is_read_is_read_again_and_then_quarantined() {
    for (times, copied) in [(3, true), (4, false)] {
        let pair = Pair::new();
        let link = pair.source().join("link");
        std::os::unix::fs::symlink("target", &link).unwrap();
        let relinked = vec![(link, AtomicU32::new(times))];
        let (module, _) = module(&pair, Faults { relinked, ..Faults::default() }, Faults::default());
        let outcome = module.run_cycle(&pair.context()).unwrap();
        assert_eq!(outcome.quarantined.is_empty(), copied, "{times}");
        assert!(
            !copied || tree(&pair.source()) == tree(&pair.standby()),
            "the time of one, the target of another"
        );
        pair.cycle();
        pair.assert_settled();
    }
}

#[test]
fn a_file_that_was_written_to_is_read_once() {
    let pair = filled();
    // As long as before: only its content tells whether it changed.
    pair.write("plain", "4");
    let inner = Box::new(pair.source_store());
    let source = Arc::new(Faults::default());
    let faulty = Box::new(Faulty { inner, faults: source.clone() });
    let standby = Box::new(pair.standby_store());
    let module = DataConf::new(
        pool(),
        faulty,
        standby,
        place(&pair.index_file()),
        pair.batch_bytes,
        pair.history.clone(),
    );
    assert_eq!(module.run_cycle(&pair.context()).unwrap().moved.items_written, 1);
    assert_eq!(*source.opened.lock().unwrap(), ["plain"]);
    pair.assert_settled();
}

#[test]
fn what_has_to_be_read_again_counts_once() {
    let pair = Pair::new();
    pair.write("busy", "content");
    let changing = vec![(pair.source().join("busy"), AtomicU32::new(2))];
    let seen = Arc::new(Recorder::default());
    let (module, _) = module(&pair, Faults { changing, ..Faults::default() }, Faults::default());
    let outcome = module.run_cycle(&Context { observer: seen.clone(), ..pair.context() }).unwrap();
    let told = seen.progress.lock().unwrap();
    assert_eq!((outcome.moved.bytes, told.last().unwrap().bytes_done), (9, 9));
}

#[test]
fn a_file_is_written_again_when_the_device_failed_to_keep_it() {
    let pair = Pair::new();
    pair.write("f", "1");
    let fails =
        |times, kind| Faults { seals: AtomicU32::new(times), seal_error: Some(kind), ..Faults::default() };
    let (module_, seen) = module(&pair, Faults::default(), fails(2, ErrorKind::Io));
    assert_eq!(module_.run_cycle(&pair.context()).unwrap_err().error.kind, ErrorKind::Io);
    assert_eq!(seen.seals_tried.load(Ordering::Relaxed), 2);
    let (module_, _) = module(&pair, Faults::default(), fails(9, ErrorKind::DiskFull));
    let outcome = module_.run_cycle(&pair.context()).unwrap();
    assert!(outcome.quarantined[0].reason.contains("DiskFull"), "{outcome:?}");
    let (module_, _) = module(&pair, Faults::default(), fails(1, ErrorKind::Io));
    assert_eq!(module_.run_cycle(&pair.context()).unwrap().moved.items_written, 1);
    pair.assert_settled();
}

#[test]
fn names_that_were_not_made_durable_are_published_again() {
    let pair = filled();
    pair.write("plain", "changed");
    let (module, _) = module(&pair, Faults::default(), Faults { flush_error: true, ..Faults::default() });
    assert_eq!(module.run_cycle(&pair.context()).unwrap_err().error.kind, ErrorKind::Io);
    assert_eq!(pair.observe().pending_items, 1);
    assert_eq!(pair.cycle().moved.items_written, 1);
    pair.assert_settled();
}

#[test]
fn a_file_that_ends_before_its_size_is_not_published() {
    let pair = filled();
    pair.write("plain", "changed");
    let (module, _) =
        module(&pair, Faults { short: ["plain"].into(), ..Faults::default() }, Faults::default());
    assert_eq!(module.run_cycle(&pair.context()).unwrap().quarantined[0].item, "plain");
    assert_eq!(fs::read(pair.standby().join("plain")).unwrap(), b"3");
}

fn indexed(pair: &Pair) -> i64 {
    pair.indexed(&ContentPath::root())[0].1.indexed_ns
}

#[test]
fn a_file_is_read_again_while_it_is_young_and_once_more() {
    let pair = Pair::new();
    pair.write("f", "1");
    let reads = |ahead_ns| {
        let unreadable = Faults { unreadable: ["f"].into(), ahead_ns, ..Faults::default() };
        let outcome = module(&pair, unreadable, Faults::default()).0.run_cycle(&pair.context()).unwrap();
        !outcome.quarantined.is_empty()
    };
    pair.cycle();
    let first = indexed(&pair);
    let now = i64::try_from(Timestamp::now().as_nanosecond()).unwrap();
    assert!((now - 60_000_000_000..=now).contains(&first), "indexed by the clock of the source");
    assert!(reads(0));
    module(&pair, Faults::default(), Faults::default()).0.run_cycle(&pair.context()).unwrap();
    assert_eq!(indexed(&pair), first, "young as ever: there is nothing to remember");
    let later = Faults { ahead_ns: 3_000_000_000, ..Faults::default() };
    assert!(module(&pair, later, Faults::default()).0.run_cycle(&pair.context()).unwrap().moved.is_nothing());
    assert!(indexed(&pair) > first + 2_000_000_000);
    assert!(!reads(0));
}
