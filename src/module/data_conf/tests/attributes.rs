//! What travels besides content: names, times, permissions, extended attributes, links, holes.

use std::os::unix::fs::symlink;

use rustix::fs::XattrFlags;

use super::*;

fn inode(path: PathBuf) -> u64 {
    fs::symlink_metadata(path).unwrap().ino()
}

fn settled() -> Pair {
    let pair = Pair::new();
    pair.write("a/one", "content of one");
    pair.write("a/two", "content of two");
    pair.write("b/c/three", vec![3; 100_000]);
    pair.cycle();
    pair.age();
    pair
}

#[test]
fn times_of_folders_travel_and_count_as_nothing() {
    let pair = settled();
    let moment = SystemTime::UNIX_EPOCH + Duration::new(1_111_111_111, 222_333_444);
    for folder in ["b/c", "b", "a"] {
        fs::File::open(pair.source().join(folder)).unwrap().set_modified(moment).unwrap();
    }
    assert_eq!(pair.observe().pending_items, 0);
    assert!(pair.cycle().moved.is_nothing());
    assert_eq!(fs::metadata(pair.standby().join("b/c")).unwrap().modified().unwrap(), moment);
    pair.assert_settled();
    // The standby's folder gets another time with every name in it, the source's has not changed.
    pair.write("a/one", "changed in place");
    fs::File::open(pair.source().join("a")).unwrap().set_modified(moment).unwrap();
    pair.cycle();
    pair.assert_settled();
}

#[test]
fn a_cycle_that_was_cut_short_leaves_no_folder_with_a_wrong_time() {
    let pair = settled();
    let failing = super::faulty::Faults { flush_error: true, ..Default::default() };
    pair.write("a/four", "4");
    super::faulty::module(&pair, Default::default(), failing).0.run_cycle(&pair.context()).unwrap_err();
    fs::remove_file(pair.source().join("a/four")).unwrap();
    fs::File::open(pair.source().join("a")).unwrap().set_modified(SystemTime::UNIX_EPOCH).unwrap();
    pair.cycle();
    pair.assert_settled();
}

#[test]
fn changes_of_time_mode_and_attributes_travel_without_content() {
    let pair = settled();
    let before = inode(pair.standby().join("a/one"));
    set_mtime(&pair.source().join("a/one"), SystemTime::UNIX_EPOCH);
    let moved = pair.cycle().moved;
    assert_eq!((moved.items_written, moved.bytes), (1, 0));
    pair.assert_settled();
    for path in ["a/one", "a"] {
        let path = pair.source().join(path);
        rustix::fs::setxattr(&path, "user.origin", b"somewhere", XattrFlags::empty()).unwrap();
    }
    pair.age();
    let moved = pair.cycle().moved;
    assert_eq!((moved.items_written, moved.bytes), (2, 0));
    for path in ["a/one", "a"] {
        let mut value = [0; 16];
        let found = rustix::fs::getxattr(pair.standby().join(path), "user.origin", &mut value[..]).unwrap();
        assert_eq!(&value[..found], b"somewhere");
        rustix::fs::removexattr(pair.source().join(path), "user.origin").unwrap();
    }
    pair.cycle();
    let gone = rustix::fs::getxattr(pair.standby().join("a/one"), "user.origin", &mut [0; 16][..]);
    assert_eq!(gone.unwrap_err(), rustix::io::Errno::NODATA);
    assert_eq!(inode(pair.standby().join("a/one")), before);
    pair.assert_settled();
}

#[test]
fn new_files_come_with_their_attributes_and_their_owner() {
    let pair = Pair::new();
    pair.write("f", "1");
    let path = pair.source().join("f");
    rustix::fs::setxattr(&path, "user.k", b"v", XattrFlags::empty()).unwrap();
    set_mode(&path, 0o440);
    let gives_away = std::os::unix::fs::chown(&path, Some(1234), Some(4321)).is_ok();
    pair.cycle();
    let copy = pair.standby().join("f");
    let mut value = [0; 4];
    assert_eq!(rustix::fs::getxattr(&copy, "user.k", &mut value[..]).unwrap(), 1);
    let meta = fs::metadata(&copy).unwrap();
    assert!(!gives_away || (meta.uid(), meta.gid()) == (1234, 4321));
    assert_eq!(meta.mode() & 0o777, 0o440);
    pair.assert_settled();
}

#[test]
fn links_within_the_store_are_kept_as_links() {
    let pair = settled();
    symlink("../b/c/three", pair.source().join("a/link")).unwrap();
    symlink("a", pair.source().join("to folder")).unwrap();
    symlink("nowhere", pair.source().join("dangling")).unwrap();
    symlink(pair.source().join("a"), pair.source().join("absolute")).unwrap();
    symlink("../outside", pair.source().join("outside")).unwrap();
    let outcome = pair.cycle();
    let refused: Vec<&str> = outcome.quarantined.iter().map(|item| item.item.as_str()).collect();
    assert_eq!(refused, ["absolute", "outside"]);
    assert_eq!(outcome.moved.items_written, 3);
    let copy = |name: &str| fs::read_link(pair.standby().join(name)).unwrap();
    assert_eq!((copy("a/link"), copy("dangling")), ("../b/c/three".into(), "nowhere".into()));
    for name in ["absolute", "outside"] {
        fs::remove_file(pair.source().join(name)).unwrap();
    }
    pair.assert_settled();
    pair.age();
    // Another target, a file in its place, and one in place of a file.
    fs::remove_file(pair.source().join("dangling")).unwrap();
    symlink("a/one", pair.source().join("dangling")).unwrap();
    fs::remove_file(pair.source().join("a/link")).unwrap();
    pair.write("a/link", "a file now");
    fs::remove_file(pair.source().join("a/two")).unwrap();
    symlink("one", pair.source().join("a/two")).unwrap();
    fs::remove_file(pair.source().join("to folder")).unwrap();
    assert_eq!(pair.cycle().moved.items_deleted, 1);
    pair.assert_settled();
}

#[test]
fn links_come_back_to_a_source_that_lost_them() {
    let pair = settled();
    symlink("one", pair.source().join("a/link")).unwrap();
    pair.cycle();
    fs::remove_file(pair.source().join("a/link")).unwrap();
    pair.module().carry_back(&pair.context()).unwrap();
    assert_eq!(fs::read_link(pair.source().join("a/link")).unwrap(), Path::new("one"));
    assert!(pair.cycle().moved.is_nothing());
    pair.assert_settled();
}

#[test]
fn hard_links_become_files_of_their_own() {
    let pair = settled();
    fs::hard_link(pair.source().join("a/one"), pair.source().join("b/same")).unwrap();
    assert_eq!(pair.cycle().moved.items_written, 1);
    pair.assert_settled();
    assert_ne!(inode(pair.standby().join("a/one")), inode(pair.standby().join("b/same")));
}

#[test]
fn holes_stay_holes() {
    let pair = Pair::new();
    let file = fs::File::create(pair.source().join("sparse")).unwrap();
    file.set_len(64 << 20).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, b"data", 32 << 20).unwrap();
    let blocks = |root: PathBuf| fs::metadata(root.join("sparse")).unwrap().blocks();
    let holds = blocks(pair.source());
    pair.cycle();
    assert!(holds < 1000, "the file system of the tests knows no holes");
    assert!(blocks(pair.standby()) <= holds, "{}", blocks(pair.standby()));
    pair.assert_settled();
}

fn renamed(outcome: &CycleOutcome) -> bool {
    outcome.details.iter().any(|line| line.starts_with("Renamed"))
}

#[test]
fn renamed_files_and_folders_are_not_copied_again() {
    let pair = settled();
    let before = inode(pair.standby().join("b/c/three"));
    fs::rename(pair.source().join("b"), pair.source().join("moved")).unwrap();
    fs::rename(pair.source().join("a/one"), pair.source().join("moved/one")).unwrap();
    let outcome = pair.cycle();
    assert_eq!(outcome.moved.bytes, 0);
    assert!(
        outcome.details.contains(&"Renamed 2 files at the standby instead of copying them again.".to_owned())
    );
    assert_eq!(inode(pair.standby().join("moved/c/three")), before);
    pair.assert_settled();
}

#[test]
fn files_that_take_each_others_names_keep_their_content() {
    let pair = settled();
    let at = |name: &str| pair.source().join(name);
    fs::rename(at("a/one"), at("a/x")).unwrap();
    fs::rename(at("a/two"), at("a/one")).unwrap();
    fs::rename(at("a/x"), at("a/two")).unwrap();
    // As logs are rotated.
    fs::rename(at("b/c/three"), at("b/c/three.1")).unwrap();
    pair.write("b/c/three", "begun anew");
    assert!(renamed(&pair.cycle()));
    pair.assert_settled();
    assert_eq!(fs::read(pair.standby().join("a/one")).unwrap(), b"content of two");
}

#[test]
fn a_renamed_file_that_was_changed_or_forged_is_copied() {
    let pair = settled();
    let from = pair.source().join("a/one");
    let mtime = fs::metadata(&from).unwrap().modified().unwrap();
    fs::write(&from, "content of ONE").unwrap();
    set_mtime(&from, mtime);
    fs::rename(&from, pair.source().join("a/new")).unwrap();
    let outcome = pair.cycle();
    assert!(!renamed(&outcome) && outcome.moved.bytes == 14);
    pair.assert_settled();
}

#[test]
fn a_rename_whose_deletion_was_not_allowed_leaves_two_independent_files() {
    let pair = Pair::new();
    for number in 0..30 {
        pair.write(&format!("old/f{number}"), format!("content {number}"));
    }
    pair.cycle();
    pair.age();
    // Cancelled after the new names are there, before the earlier ones are removed.
    fs::rename(pair.source().join("old"), pair.source().join("new")).unwrap();
    let _ = pair.cancelled_cycle(31);
    set_mode(&pair.source().join("new/f7"), 0o600);
    fs::rename(pair.source().join("new/f8"), pair.source().join("new/g8")).unwrap();
    pair.forced_cycle();
    pair.assert_settled();
}

#[test]
fn a_lost_index_is_made_anew_without_copying() {
    let pair = settled();
    let before = inode(pair.standby().join("a/one"));
    pair.write("a/two", "changed meanwhile");
    fs::remove_file(pair.source().join("b/c/three")).unwrap();
    for suffix in ["", "-wal", "-shm"] {
        let _ = fs::remove_file(pair.folder.path().join(format!("service.sqlite{suffix}")));
    }
    let mut pair = pair;
    pair.take_lease();
    let moved = pair.cycle().moved;
    assert_eq!((moved.bytes, moved.items_deleted), (17, 1));
    assert_eq!(inode(pair.standby().join("a/one")), before);
    pair.assert_settled();
    let folder = crate::store::content::ContentPath::from_bytes(b"a").unwrap();
    assert!(pair.index().folder(&folder).unwrap().iter().all(|(_, known)| known.hash.is_some()));
}
