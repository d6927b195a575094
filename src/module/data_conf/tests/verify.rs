//! What a comparison of everything finds and repairs.

use super::*;
use crate::report::Verification;

fn filled() -> Pair {
    let pair = Pair::new();
    for name in ["a", "b", "folder/c", "folder/d", "folder/deep/e", "other/f"] {
        pair.write(name, format!("content of {name}"));
    }
    fs::create_dir(pair.source().join("empty")).unwrap();
    pair.cycle();
    pair.age();
    pair
}

fn verify(pair: &Pair) -> (CycleOutcome, Verification) {
    let outcome = pair.module().run_cycle(&Context { verify: true, ..pair.context() }).unwrap();
    let found = outcome.verification.clone().unwrap();
    (outcome, found)
}

fn places(found: &Verification) -> Vec<(&str, u64)> {
    found.differing.iter().map(|place| (place.name.as_str(), place.items)).collect()
}

/// Other content of the same size, and nothing that shows it.
fn forge(path: &Path) {
    let mtime = fs::metadata(path).unwrap().modified().unwrap();
    let content: Vec<u8> = fs::read(path).unwrap().iter().map(u8::to_ascii_uppercase).collect();
    fs::write(path, content).unwrap();
    set_mtime(path, mtime);
}

#[test]
fn equal_stores_are_compared_and_left_alone() {
    let pair = filled();
    assert_eq!(pair.cycle().verification, None, "it was not asked for");
    let (outcome, found) = verify(&pair);
    assert_eq!((found.compared_items, found.differing_items, found.repaired_items), (10, 0, 0));
    assert!(outcome.moved.is_nothing() && outcome.warnings.is_empty() && outcome.quarantined.is_empty());
    pair.assert_settled();
}

#[test]
fn what_others_changed_at_the_standby_is_found_repaired_and_kept() {
    let pair = filled();
    let standby = pair.standby();
    fs::write(standby.join("a"), "longer than it was before").unwrap();
    forge(&standby.join("folder/c"));
    fs::remove_file(standby.join("folder/d")).unwrap();
    fs::remove_dir_all(standby.join("folder/deep")).unwrap();
    set_mode(&standby.join("other/f"), 0o600);
    set_mode(&standby.join("other"), 0o700);
    fs::remove_dir(standby.join("empty")).unwrap();
    fs::write(standby.join("empty"), "a file where a folder was").unwrap();
    fs::write(standby.join("other/theirs"), "theirs").unwrap();
    assert!(pair.cycle().moved.is_nothing(), "nobody looks at the standby unless asked to");
    let (outcome, found) = verify(&pair);
    assert_eq!(places(&found), [("/", 3), ("folder", 3), ("folder/deep", 1), ("other", 2)], "{outcome:#?}");
    assert_eq!((found.compared_items, found.differing_items, found.repaired_items), (10, 9, 8));
    assert_eq!(outcome.quarantined.len(), 1);
    assert_eq!(outcome.quarantined[0].item, "other/theirs");
    let kept = outcome.warnings.iter().filter(|warning| warning.contains(".csb/conflicts")).count();
    assert_eq!(kept, 3, "{:#?}", outcome.warnings);
    assert!(
        outcome.warnings.iter().any(|warning| warning.starts_with("Of 10 files and folders, 9 differed"))
    );
    fs::remove_file(standby.join("other/theirs")).unwrap();
    let (_, again) = verify(&pair);
    assert_eq!(again.differing_items, 0, "but the folder gets its time back");
    pair.assert_settled();
}

#[test]
fn a_folder_of_more_names_than_are_read_at_once_is_compared_as_a_whole() {
    let pair = Pair::new();
    for number in 0..600 {
        pair.write(&format!("many/{number:03}"), "content");
    }
    pair.cycle();
    pair.age();
    let many = pair.standby().join("many");
    for name in ["000", "300", "599"] {
        forge(&many.join(name));
    }
    for theirs in ["000a", "255a", "600"] {
        fs::write(many.join(theirs), "theirs").unwrap();
    }
    fs::remove_file(many.join("256")).unwrap();
    let (outcome, found) = verify(&pair);
    assert_eq!((found.compared_items, found.repaired_items, places(&found)), (601, 4, vec![("many", 7)]));
    let refused = outcome.quarantined.iter().map(|item| item.item.as_str()).collect::<Vec<_>>();
    assert_eq!(refused, ["many/000a", "many/255a", "many/600"]);
}

#[test]
fn a_change_of_the_source_that_nothing_shows_is_found() {
    let pair = filled();
    forge(&pair.source().join("b"));
    // As if the change time had stayed as well.
    let meta = fs::metadata(pair.source().join("b")).unwrap();
    let ctime = meta.ctime() * 1_000_000_000 + meta.ctime_nsec();
    let connection = rusqlite::Connection::open(pair.index_file()).unwrap();
    connection.execute("UPDATE csb_content_object SET ctime_ns = ?1 WHERE name = x'62'", [ctime]).unwrap();
    pair.age();
    assert!(pair.cycle().moved.is_nothing());
    let (outcome, found) = verify(&pair);
    assert_eq!((places(&found), found.repaired_items), (vec![("/", 1)], 1), "{outcome:#?}");
    assert_eq!(fs::read(pair.standby().join("b")).unwrap(), b"CONTENT OF B");
    pair.assert_settled();
}

#[test]
fn changes_that_were_still_to_be_copied_do_not_differ() {
    let pair = filled();
    pair.write("a", "changed");
    pair.write("new/g", "new");
    fs::remove_file(pair.source().join("b")).unwrap();
    let (outcome, found) = verify(&pair);
    assert_eq!((outcome.moved.items_written, outcome.moved.items_deleted), (3, 1));
    assert_eq!((found.compared_items, found.differing_items), (11, 0));
    pair.assert_settled();
}

#[test]
fn a_lost_index_is_rebuilt_and_verified() {
    let mut pair = filled();
    fs::write(pair.standby().join("a"), "damaged").unwrap();
    pair.lose_index();
    let (_, found) = verify(&pair);
    assert_eq!((found.compared_items, found.differing_items), (10, 0));
    pair.assert_settled();
}

#[test]
fn a_cancelled_comparison_ends_at_once_and_a_later_one_completes() {
    let pair = filled();
    forge(&pair.standby().join("a"));
    let context = Context { verify: true, clock: SlowClock::new(), ..pair.context() };
    let observer = Arc::new(CancelVerification(context.cancel.clone()));
    let failure = pair.module().run_cycle(&Context { observer, ..context }).unwrap_err();
    assert_eq!(failure.error.kind, ErrorKind::Cancelled);
    let (_, found) = verify(&pair);
    assert_eq!(found.repaired_items, 1);
    pair.assert_settled();
}

struct CancelVerification(CancellationToken);

impl Observer for CancelVerification {
    fn progress(&self, progress: Progress) {
        if progress.activity == "Verifying files" {
            self.0.cancel();
        }
    }

    fn warning(&self, _: String) {}
}

#[test]
fn attributes_that_others_changed_at_the_standby_are_found_and_set_again() {
    let pair = filled();
    let at = |name: &str| pair.standby().join(name);
    let flags = rustix::fs::XattrFlags::empty();
    rustix::fs::setxattr(at("a"), "user.theirs", b"1", flags).unwrap();
    rustix::fs::setxattr(at("other"), "user.theirs", b"1", flags).unwrap();
    let mut differing = vec![("/", 2)];
    if std::os::unix::fs::chown(at("folder/c"), Some(1234), None).is_ok() {
        std::os::unix::fs::chown(at("folder/deep"), None, Some(4321)).unwrap();
        differing.push(("folder", 2));
    }
    let (_, found) = verify(&pair);
    assert_eq!(places(&found), differing, "{found:#?}");
    assert_eq!(found.repaired_items, found.differing_items);
    for name in ["a", "other"] {
        let gone = rustix::fs::getxattr(at(name), "user.theirs", &mut [0; 8][..]);
        assert_eq!(gone.unwrap_err(), rustix::io::Errno::NODATA);
    }
    let owner = |path: &Path| fs::metadata(path).map(|meta| (meta.uid(), meta.gid())).unwrap();
    for name in ["folder/c", "folder/deep"] {
        assert_eq!(owner(&at(name)), owner(&pair.source().join(name)));
    }
    assert_eq!(verify(&pair).1.differing_items, 0);
    pair.assert_settled();
}

#[test]
fn owners_of_a_first_copy_do_not_differ() {
    let pair = Pair::new();
    pair.write("folder/f", "1");
    if std::os::unix::fs::chown(pair.source().join("folder"), Some(1234), Some(4321)).is_err() {
        return eprintln!("skipped: only root gives folders away");
    }
    assert_eq!(verify(&pair).1.differing_items, 0);
}
