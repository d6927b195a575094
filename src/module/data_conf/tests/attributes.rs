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

const ACCESS: &str = "system.posix_acl_access";
const DEFAULT: &str = "system.posix_acl_default";

/// An access list as Linux keeps it: the owner, one more user, the group, the mask and the others.
fn access_list(owner: u8, user: u8, group: u8, mask: u8, others: u8) -> Vec<u8> {
    let mut list = 2u32.to_le_bytes().to_vec();
    let nobody = u32::MAX;
    for (tag, rights, id) in
        [(1u16, owner, nobody), (2, user, 1234), (4, group, nobody), (16, mask, nobody), (32, others, nobody)]
    {
        list.extend(tag.to_le_bytes());
        list.extend(u16::from(rights).to_le_bytes());
        list.extend(id.to_le_bytes());
    }
    list
}

fn list_of(path: impl AsRef<Path>, name: &str) -> Option<Vec<u8>> {
    let mut value = [0; 200];
    match rustix::fs::getxattr(path.as_ref(), name, &mut value[..]) {
        Ok(size) => Some(value[..size].to_vec()),
        Err(rustix::io::Errno::NODATA) => None,
        Err(cause) => panic!("{cause}"),
    }
}

#[test]
fn access_lists_travel_and_go_again() {
    let pair = settled();
    let [source, standby] = [pair.source(), pair.standby()];
    let list = access_list(6, 7, 4, 6, 0);
    if rustix::fs::setxattr(source.join("a/one"), ACCESS, &list, XattrFlags::empty()).is_err() {
        return eprintln!("skipped: the file system has no access lists");
    }
    let inherited = access_list(7, 7, 4, 6, 0);
    rustix::fs::setxattr(source.join("a"), DEFAULT, &inherited, XattrFlags::empty()).unwrap();
    rustix::fs::setxattr(source.join("b"), ACCESS, &access_list(7, 5, 5, 5, 1), XattrFlags::empty()).unwrap();
    let moved = pair.cycle().moved;
    assert_eq!((moved.items_written, moved.bytes), (3, 0));
    let assert_equal = |paths: &[&str]| {
        for (path, name) in paths.iter().flat_map(|path| [(path, ACCESS), (path, DEFAULT)]) {
            assert_eq!(list_of(source.join(path), name), list_of(standby.join(path), name), "{path} {name}");
        }
    };
    assert_equal(&["a", "a/one", "b"]);
    assert_eq!(list_of(standby.join("a/one"), ACCESS), Some(list));
    pair.assert_settled();
    // What is new below gets the list; what had it taken away does not get it at the standby either.
    fs::create_dir(source.join("a/heir")).unwrap();
    fs::create_dir(source.join("a/disinherited")).unwrap();
    for name in [ACCESS, DEFAULT] {
        rustix::fs::removexattr(source.join("a/disinherited"), name).unwrap();
    }
    pair.write("a/disinherited/plain", "1");
    pair.write("a/new", "1");
    pair.cycle();
    assert!(list_of(standby.join("a/heir"), DEFAULT).is_some());
    assert_equal(&["a/heir", "a/disinherited", "a/disinherited/plain", "a/new"]);
    pair.assert_settled();
    set_mode(&source.join("a/one"), 0o640);
    rustix::fs::removexattr(source.join("b"), ACCESS).unwrap();
    pair.cycle();
    assert_equal(&["a/one", "b"]);
    pair.assert_settled();
}

#[test]
fn an_access_list_takes_no_right_that_the_copy_needs() {
    let pair = settled();
    let path = pair.source().join("a/one");
    if rustix::fs::setxattr(&path, ACCESS, &access_list(2, 7, 4, 6, 0), XattrFlags::empty()).is_err() {
        return eprintln!("skipped: the file system has no access lists");
    }
    pair.cycle();
    assert_eq!(fs::metadata(pair.standby().join("a/one")).unwrap().mode() & 0o777, 0o660);
    let verify = Context { verify: true, ..pair.context() };
    let found = pair.module().run_cycle(&verify).unwrap().verification.unwrap();
    assert_eq!(found.differing_items, 0, "{found:#?}");
    assert!(pair.cycle().moved.is_nothing());
}

#[test]
fn what_a_folder_hands_down_is_no_attribute_of_a_copy_nor_of_what_comes_back() {
    let pair = Pair::new();
    let [source, standby] = [pair.source(), pair.standby()];
    fs::create_dir(&standby).unwrap();
    let list = access_list(7, 7, 5, 7, 0);
    if rustix::fs::setxattr(&standby, DEFAULT, &list, XattrFlags::empty()).is_err() {
        return eprintln!("skipped: the file system has no access lists");
    }
    for name in ["plain", "folder/inner/f"] {
        pair.write(name, "1");
        set_mode(&source.join(name), 0o640);
    }
    pair.cycle();
    let assert_none = |root: &Path| {
        for name in ["plain", "folder", "folder/inner", "folder/inner/f"] {
            for kind in [ACCESS, DEFAULT] {
                assert_eq!(list_of(root.join(name), kind), None, "{} {name} {kind}", root.display());
            }
        }
    };
    assert_none(&standby);
    // Its folder of temporary files may have been given one since, or by an earlier build.
    rustix::fs::setxattr(standby.join(".csb/tmp"), DEFAULT, &list, XattrFlags::empty()).unwrap();
    pair.write("plain", "changed");
    pair.write("more/new", "new");
    pair.cycle();
    assert_none(&standby);
    assert_eq!(list_of(standby.join("more/new"), ACCESS), None);
    let verify = Context { verify: true, ..pair.context() };
    let found = pair.module().run_cycle(&verify).unwrap().verification.unwrap();
    assert_eq!(found.differing_items, 0, "{found:#?}");
    // Copies of earlier builds have what was handed down: the pool does not get it.
    for name in ["plain", "folder", "folder/inner/f"] {
        rustix::fs::setxattr(standby.join(name), ACCESS, &list, XattrFlags::empty()).unwrap();
        set_mode(&standby.join(name), if name == "folder" { 0o755 } else { 0o640 });
    }
    rustix::fs::setxattr(standby.join("folder"), DEFAULT, &list, XattrFlags::empty()).unwrap();
    rustix::fs::setxattr(&source, DEFAULT, &list, XattrFlags::empty()).unwrap();
    fs::remove_file(source.join("plain")).unwrap();
    fs::remove_dir_all(source.join("folder")).unwrap();
    pair.module().carry_back(&pair.context()).unwrap();
    assert_none(&source);
    // A comparison takes it away, once.
    for (run, differ) in [(1, true), (2, false)] {
        let found = pair.module().run_cycle(&verify).unwrap().verification.unwrap();
        assert_eq!(found.differing_items > 0, differ, "{run}: {found:#?}");
    }
    assert_none(&standby);
    pair.assert_settled();
}

#[test]
fn folders_come_back_with_their_attributes() {
    let pair = settled();
    rustix::fs::setxattr(pair.source().join("b"), "user.origin", b"here", XattrFlags::empty()).unwrap();
    pair.cycle();
    fs::remove_dir_all(pair.source().join("b")).unwrap();
    pair.module().carry_back(&pair.context()).unwrap();
    assert_eq!(list_of(pair.source().join("b"), "user.origin").unwrap(), b"here");
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

#[test]
fn data_that_moves_within_holes_is_another_content() {
    let pair = Pair::new();
    let file = fs::File::create(pair.source().join("sparse")).unwrap();
    file.set_len(4 << 20).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, b"data", 1 << 20).unwrap();
    pair.cycle();
    pair.age();
    file.set_len(0).unwrap();
    file.set_len(4 << 20).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, b"data", 2 << 20).unwrap();
    assert_eq!(pair.cycle().moved.items_written, 1);
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
fn what_is_begun_anew_under_the_name_of_a_renamed_file_is_not_taken_for_it() {
    let pair = Pair { batch_bytes: 1, ..Pair::new() };
    let time = SystemTime::UNIX_EPOCH + seconds(1_000_000_000);
    for number in 0..20 {
        let name = format!("log{number}");
        pair.write(&name, format!("old {number:02}"));
        set_mtime(&pair.source().join(name), time);
    }
    pair.cycle();
    pair.age();
    for number in 0..20 {
        let name = format!("log{number}");
        fs::rename(pair.source().join(&name), pair.source().join(format!("{name}.1"))).unwrap();
        // Of the same size and time: only its content tells it from the one that was renamed.
        pair.write(&name, format!("new {number:02}"));
        set_mtime(&pair.source().join(name), time);
    }
    pair.cycle();
    assert_eq!(tree(&pair.source()), tree(&pair.standby()));
    pair.assert_settled();
}

#[test]
fn what_else_changed_of_a_renamed_file_travels() {
    let pair = settled();
    let to = |name: &str| pair.source().join("b").join(name);
    fs::rename(pair.source().join("a/one"), to("one")).unwrap();
    fs::rename(pair.source().join("a/two"), to("two")).unwrap();
    rustix::fs::setxattr(to("one"), "user.k", b"v", XattrFlags::empty()).unwrap();
    let gives_away = std::os::unix::fs::chown(to("two"), Some(1234), Some(4321)).is_ok();
    pair.cycle();
    pair.assert_settled();
    assert_eq!(list_of(pair.standby().join("b/one"), "user.k").as_deref(), Some(&b"v"[..]));
    assert!(!gives_away || fs::metadata(pair.standby().join("b/two")).unwrap().uid() == 1234);
}

#[test]
fn a_folder_of_a_lost_index_keeps_no_extended_attribute_that_its_original_lacks() {
    let mut pair = settled();
    rustix::fs::setxattr(pair.standby().join("a"), "user.k", b"v", XattrFlags::empty()).unwrap();
    pair.lose_index();
    pair.cycle();
    assert_eq!(list_of(pair.standby().join("a"), "user.k"), None);
    pair.assert_settled();
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
        let _ = fs::remove_file(pair.folder.path().join(format!("index.sqlite{suffix}")));
    }
    let mut pair = pair;
    pair.take_lease();
    let moved = pair.cycle().moved;
    assert_eq!((moved.bytes, moved.items_deleted), (17, 1));
    assert_eq!(inode(pair.standby().join("a/one")), before);
    pair.assert_settled();
    let folder = crate::store::content::ContentPath::from_bytes(b"a").unwrap();
    assert!(pair.indexed(&folder).iter().all(|(_, known)| known.hash.is_some()));
}

#[test]
fn a_time_in_the_future_is_no_reason_to_read_a_file_again_and_again() {
    let pair = settled();
    let path = pair.source().join("b/c/three");
    set_mtime(&path, SystemTime::now() + seconds(1_000_000_000));
    pair.cycle();
    pair.age();
    // As if the change of the time itself had been long ago.
    let connection = rusqlite::Connection::open(pair.index_file()).unwrap();
    let change = "UPDATE csb_content_object SET indexed_ns = ctime_ns + 3000000000 WHERE kind = 'file'";
    connection.execute(change, []).unwrap();
    drop(connection);
    let (module, _) = super::faulty::module(&pair, Default::default(), Default::default());
    assert!(module.run_cycle(&pair.context()).unwrap().moved.is_nothing());
    let recorder = Arc::new(Recorder::default());
    let context = Context { observer: recorder.clone(), clock: SlowClock::new(), ..pair.context() };
    pair.module().run_cycle(&context).unwrap();
    let read = recorder.progress.lock().unwrap().iter().map(|progress| progress.bytes_done).max();
    assert_eq!(read, Some(0), "it was read again");
    // What is written to it is noticed all the same, whatever its time says then.
    let before = fs::metadata(&path).unwrap().modified().unwrap();
    fs::write(&path, vec![4; 100_000]).unwrap();
    set_mtime(&path, before);
    assert_eq!(pair.cycle().moved.bytes, 100_000);
    pair.assert_settled();
}

#[test]
fn a_time_that_no_copy_can_keep_is_told() {
    let pair = settled();
    let late = pair.source().join("a/one");
    // In 2400, which fewer file systems know than one may think.
    crate::platform::set_modified(&late, (13_569_465_600, 0)).unwrap();
    if fs::metadata(&late).unwrap().mtime() != 13_569_465_600 {
        return eprintln!("skipped: the file system of the tests knows no such time");
    }
    let outcome = pair.cycle();
    assert_eq!(outcome.warnings.len(), 1, "{outcome:#?}");
    assert!(outcome.warnings[0].contains("a/one") && outcome.warnings[0].contains("2262"), "{outcome:#?}");
    assert_eq!(fs::metadata(pair.standby().join("a/one")).unwrap().mtime(), 9_223_372_036);
    let again = pair.cycle();
    assert!(again.moved.is_nothing() && again.warnings.is_empty(), "{again:#?}");
}
