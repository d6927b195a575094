//! What the source has lost comes back.

use super::*;
use crate::store::content::{ContentPath, ContentStore, ObjectKind};

fn filled() -> Pair {
    let pair = Pair::new();
    for number in 0..30 {
        pair.write(&format!("folder{}/f{number}", number % 3), format!("content {number}"));
    }
    fs::create_dir(pair.source().join("empty")).unwrap();
    set_mode(&pair.source().join("folder0"), 0o2770);
    set_mode(&pair.source().join("folder0/f0"), 0o604);
    set_mtime(&pair.source().join("folder0/f0"), SystemTime::UNIX_EPOCH + seconds(1_000_000_000));
    pair.cycle();
    pair
}

fn back(pair: &Pair) -> CycleOutcome {
    pair.module().carry_back(&pair.context()).unwrap()
}

fn count(pair: &Pair) -> (u64, u64) {
    let lost = pair.module().observe_carry_back(&Look::default()).unwrap();
    (lost.items, lost.bytes)
}

#[test]
fn before_the_first_cycle_there_is_nothing_to_give_back() {
    let pair = Pair::new();
    assert_eq!(count(&pair), (0, 0));
    assert!(back(&pair).moved.is_nothing());
}

#[test]
fn one_file_comes_back_and_existing_ones_stay() {
    let pair = filled();
    let before = tree(&pair.source());
    fs::remove_file(pair.source().join("folder0/f0")).unwrap();
    pair.write("folder1/f1", "changed since");
    assert_eq!(count(&pair), (1, 9));
    let outcome = back(&pair);
    assert_eq!((outcome.moved.items_written, outcome.moved.bytes, outcome.moved.batches), (1, 9, 1));
    let after = tree(&pair.source());
    let (lost, changed) = (Path::new("folder0/f0"), Path::new("folder1/f1"));
    assert_eq!(after[lost], before[lost]);
    assert_eq!(after[changed].0.as_deref(), Some(&b"changed since"[..]));
    assert_eq!(pair.cycle().moved.items_written, 1, "only the changed one travels");
    pair.assert_settled();
}

#[test]
fn a_folder_of_more_names_than_are_read_at_once_comes_back_as_a_whole_and_goes_as_a_whole() {
    let pair = Pair::new();
    for number in 0..600 {
        pair.write(&format!("many/{number:03}"), "content");
    }
    for within in ["many/0/a", "many/255b/c/d", "many/300z/e"] {
        pair.write(within, "content");
    }
    pair.cycle();
    let before = tree(&pair.source());
    fs::remove_dir_all(pair.source().join("many")).unwrap();
    assert_eq!(count(&pair).0, 608);
    assert_eq!(back(&pair).moved.items_written, 608);
    assert_eq!(tree(&pair.source()), before);
    fs::remove_dir_all(pair.source().join("many")).unwrap();
    assert_eq!(pair.forced_cycle().moved.items_deleted, 608);
    pair.assert_settled();
}

#[test]
fn one_folder_comes_back_with_everything_in_it() {
    let pair = filled();
    let before = tree(&pair.source());
    fs::remove_dir_all(pair.source().join("folder0")).unwrap();
    fs::remove_dir(pair.source().join("empty")).unwrap();
    assert_eq!(count(&pair).0, 12);
    assert_eq!(back(&pair).moved.items_written, 12);
    assert_eq!(tree(&pair.source()), before);
    for (name, known) in pair.indexed(&ContentPath::root()) {
        let now = pair.source_store().stat(&ContentPath::root().join(&name).unwrap()).unwrap();
        assert!(known.settled && known.meta.is_same_version(&now), "the next cycle would look at it again");
    }
    assert!(pair.cycle().moved.is_nothing());
    pair.assert_settled();
}

#[test]
fn the_whole_store_comes_back_with_its_marker() {
    let pair = filled();
    let before = tree(&pair.source());
    let marker = fs::read(pair.source().join(".csb/store.json")).unwrap();
    fs::remove_dir_all(pair.source()).unwrap();
    assert_eq!(
        pair.module().carry_back(&pair.context()).unwrap_err().error.kind,
        ErrorKind::StoreUnavailable,
        "a folder that is not there is not made: it may be a mount point"
    );
    fs::create_dir(pair.source()).unwrap();
    assert_eq!(pair.cycle_error().kind, ErrorKind::ContentStoreUnmounted);
    let (items, bytes) = count(&pair);
    assert!(!pair.source().join(".csb").exists());
    let outcome = back(&pair);
    assert_eq!((outcome.moved.items_written, outcome.moved.bytes), (items, bytes));
    assert_eq!(items, 34);
    assert_eq!(tree(&pair.source()), before);
    assert_eq!(fs::read(pair.source().join(".csb/store.json")).unwrap(), marker);
    assert!(pair.cycle().moved.is_nothing());
    pair.assert_settled();
    assert!(back(&pair).moved.is_nothing());
}

#[test]
fn the_marker_comes_back_last() {
    let pair = filled();
    clear(&pair.source());
    let context = pair.context();
    context.cancel.cancel();
    assert_eq!(pair.module().carry_back(&context).unwrap_err().error.kind, ErrorKind::Cancelled);
    assert!(!pair.source().join(".csb/store.json").exists());
    assert_eq!(pair.cycle_error().kind, ErrorKind::ContentStoreUnmounted);
    back(&pair);
    pair.assert_settled();
}

fn clear(folder: &Path) {
    fs::remove_dir_all(folder).unwrap();
    fs::create_dir(folder).unwrap();
}

#[test]
fn damaged_and_missing_copies_are_named_and_the_rest_comes_back() {
    let pair = filled();
    fs::write(pair.standby().join("folder0/f0"), "damaged").unwrap();
    fs::remove_file(pair.standby().join("folder1/f1")).unwrap();
    clear(&pair.source());
    let outcome = back(&pair);
    let named: Vec<&str> = outcome.quarantined.iter().map(|item| item.item.as_str()).collect();
    assert_eq!(named, ["folder0/f0", "folder1/f1"]);
    assert_eq!(outcome.moved.items_written, 32);
    assert!(!pair.source().join("folder0/f0").exists());
}

#[test]
fn what_a_file_displaced_does_not_come_back() {
    let pair = filled();
    fs::remove_dir_all(pair.source().join("folder2")).unwrap();
    pair.write("folder2", "a file now");
    assert_eq!(count(&pair), (0, 0));
    let outcome = back(&pair);
    assert!(outcome.moved.is_nothing() && outcome.quarantined.is_empty());
}

#[test]
fn a_lost_standby_gives_nothing_back() {
    let pair = filled();
    clear(&pair.source());
    fs::remove_dir_all(pair.standby()).unwrap();
    assert_eq!(
        pair.module().carry_back(&pair.context()).unwrap_err().error.kind,
        ErrorKind::ContentStoreUnmounted
    );
}

#[test]
fn an_unsettled_object_comes_back_if_the_standby_has_it() {
    let pair = filled();
    let path = |text: &str| crate::store::content::ContentPath::from_bytes(text.as_bytes()).unwrap();
    let kind = crate::store::content::ObjectKind::File;
    let paths = [(path("folder0/f0"), kind), (path("never"), kind)];
    pair.index().begin(pair.generation, paths.iter().map(|(path, kind)| (path, *kind, None))).unwrap();
    fs::write(pair.standby().join("folder0/f0"), "published, not settled").unwrap();
    fs::remove_file(pair.source().join("folder0/f0")).unwrap();
    let outcome = back(&pair);
    assert!(outcome.quarantined.is_empty());
    assert_eq!(fs::read(pair.source().join("folder0/f0")).unwrap(), b"published, not settled");
    assert_eq!(pair.observe().pending_items, 0, "nobody has the other one any more");
}

#[test]
fn folders_of_which_little_is_known_come_back_as_far_as_it_is() {
    let pair = filled();
    let path = |text: &str| ContentPath::from_bytes(text.as_bytes()).unwrap();
    let (fresh, known) = (path("fresh"), path("folder0"));
    fs::create_dir(pair.standby().join("fresh")).unwrap();
    set_mode(&pair.standby().join("fresh"), 0o750);
    pair.index().begin(pair.generation, [(&fresh, ObjectKind::Folder, None)].into_iter()).unwrap();
    pair.index().forget_times(pair.generation, &[known]).unwrap();
    fs::remove_dir_all(pair.source().join("folder0")).unwrap();
    let begun = SystemTime::now() - seconds(60);
    back(&pair);
    assert_eq!(fs::metadata(pair.source().join("fresh")).unwrap().mode() & 0o777, 0o750);
    for folder in ["fresh", "folder0"] {
        let modified = fs::metadata(pair.source().join(folder)).unwrap().modified().unwrap();
        assert!(modified > begun, "{folder}: a time that nobody knows was set");
    }
    pair.cycle();
    pair.assert_settled();
}

#[test]
fn what_cannot_be_looked_at_is_named_and_not_given_back() {
    let pair = filled();
    fs::remove_file(pair.source().join("folder0/f0")).unwrap();
    std::os::unix::fs::symlink("/etc/hostname", pair.source().join("folder0/f0")).unwrap();
    assert_eq!(count(&pair), (0, 0));
    let outcome = back(&pair);
    assert!(outcome.moved.is_nothing());
    assert_eq!(outcome.quarantined[0].item, "folder0/f0");
}

#[test]
fn nothing_is_given_back_to_another_store() {
    let pair = filled();
    clear(&pair.source());
    let other = Pair::new();
    other.write("f", "1");
    other.cycle();
    fs::remove_dir(pair.source()).unwrap();
    fs::rename(other.source(), pair.source()).unwrap();
    assert_eq!(
        pair.module().carry_back(&pair.context()).unwrap_err().error.kind,
        ErrorKind::ContentStoreUnmounted
    );
    assert_eq!(tree(&pair.source()).len(), 1);
}

#[test]
fn modes_come_back_as_they_were_and_copies_stay_usable() {
    let pair = Pair::new();
    let modes = [
        ("closed", 0o555),
        ("closed/inner", 0o000),
        ("closed/inner/f", 0o000),
        ("closed/written", 0o200),
        ("closed/group", 0o2755),
        ("plain", 0o4711),
    ];
    pair.write("closed/inner/f", "1");
    for name in ["closed/written", "closed/group", "plain"] {
        pair.write(name, "1");
    }
    // As an ordinary account only the owner of what it can read has a copy of it.
    let is_root = rustix::process::geteuid().is_root();
    let set = modes.into_iter().filter(|(_, mode)| is_root || mode & 0o500 == 0o500);
    set.clone().for_each(|(name, mode)| set_mode(&pair.source().join(name), mode));
    pair.cycle();
    let mode = |root: PathBuf, name: &str| fs::metadata(root.join(name)).unwrap().mode() & 0o7777;
    assert_eq!(
        mode(pair.standby(), "plain"),
        0o711,
        "what runs as its owner is nothing to lie about at a copy"
    );
    assert_eq!(mode(pair.standby(), "closed"), 0o755);
    let found = pair.module().run_cycle(&Context { verify: true, ..pair.context() }).unwrap();
    assert_eq!(found.verification.unwrap().differing_items, 0);
    pair.age();
    assert!(pair.cycle().moved.is_nothing());
    for name in ["closed", "closed/inner"] {
        set_mode(&pair.source().join(name), 0o755);
    }
    fs::remove_dir_all(pair.source().join("closed")).unwrap();
    fs::remove_file(pair.source().join("plain")).unwrap();
    let outcome = back(&pair);
    assert!(outcome.warnings.is_empty() && outcome.quarantined.is_empty(), "{outcome:#?}");
    for (name, given) in set {
        assert_eq!(mode(pair.source(), name), given, "{name}");
    }
    assert!(pair.cycle().moved.is_nothing());
}
