//! What every content store has to do, run against every implementation.

use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::folder::FolderStore;
use super::*;

mod tests {
    pub(super) mod afar;
}

/// Runs each of the contract's tests for one kind of store. The maker gives a store that does not exist yet, and what
/// keeps it alive.
macro_rules! contract {
    ($implementation:ident, $make:expr, [$($test:ident),* $(,)?]) => {
        mod $implementation {
            $(
                #[test]
                fn $test() {
                    let (_alive, store) = $make;
                    super::$test(&store);
                }
            )*
        }
    };
}

/// Runs the same tests for each kind of store.
macro_rules! contracts {
    ($($implementation:ident: $make:expr;)*) => {
        $(contract!(
            $implementation,
            $make,
            [
                an_absent_store_is_missing_until_it_is_created,
                changes_that_lie_a_tick_apart_have_other_times,
                a_marker_survives_and_is_removed,
                what_was_published_is_listed_and_read,
                nothing_is_seen_before_it_is_published,
                publishing_replaces_unless_told_not_to,
                listings_are_sorted_by_bytes,
                folders_are_made_with_those_above_and_removed_when_empty,
                what_is_missing_is_gone,
                a_file_and_a_folder_do_not_replace_each_other,
                attributes_are_kept_and_changed,
                a_cancelled_listing_stops,
                staged_objects_are_swept,
                what_was_hardened_is_published_and_what_was_not_is_as_well,
                links_within_the_store_are_kept_and_others_refused,
                links_and_files_replace_each_other,
                extended_attributes_are_kept,
                holes_are_kept,
                a_renamed_file_needs_no_copy,
                names_that_share_a_file_do_not_share_attributes,
                what_a_new_version_keeps_need_not_be_sent,
                what_is_set_aside_is_no_content_and_stays,
            ]
        );)*
    };
}

contracts! {
    folder: super::folder_store();
    afar: super::tests::afar::afar();
}

fn folder_store() -> (tempfile::TempDir, FolderStore) {
    let folder = tempfile::tempdir().unwrap();
    let store = FolderStore::new(folder.path().join("store"), Vec::new());
    (folder, store)
}

fn path(text: &str) -> ContentPath {
    ContentPath::from_bytes(text.as_bytes()).unwrap()
}

fn attributes() -> Attributes {
    Attributes { mtime_ns: 1_600_000_000_123_456_789, mode: 0o640, owner: None }
}

/// Without the owner, which is whoever runs the tests.
fn kept(meta: &ObjectMeta) -> Attributes {
    Attributes { owner: None, ..meta.attributes() }
}

fn put(store: &dyn ContentStore, at: &str, content: &[u8]) -> bool {
    put_with(store, at, content, true)
}

fn put_with(store: &dyn ContentStore, at: &str, content: &[u8], replace: bool) -> bool {
    let mut staged = store.stage().unwrap();
    staged.write(content).unwrap();
    staged.seal(attributes()).unwrap();
    let published = staged.publish(&path(at), replace).unwrap();
    store.flush().unwrap();
    published
}

fn get(store: &dyn ContentStore, at: &str) -> Vec<u8> {
    let mut reader = store.read(&path(at)).unwrap();
    let mut content = Vec::new();
    let mut buffer = [0; 7];
    loop {
        let count = reader.read(&mut buffer).unwrap();
        if count == 0 {
            assert!(reader.is_unchanged().unwrap());
            assert_eq!(reader.meta().size, content.len() as u64);
            return content;
        }
        content.extend_from_slice(&buffer[..count]);
    }
}

fn names(store: &dyn ContentStore, at: &str) -> Vec<String> {
    let listing = store.list(&path(at), &CancellationToken::new()).unwrap();
    listing.iter().map(|entry| String::from_utf8_lossy(entry.name).into_owned()).collect()
}

fn an_absent_store_is_missing_until_it_is_created(store: &dyn ContentStore) {
    assert_eq!(store.identify().unwrap(), Presence::Missing);
    assert!(store.unmark(false).unwrap().is_empty());
    store.create().unwrap();
    store.create().unwrap();
    assert_eq!(store.identify().unwrap(), Presence::Unmarked { empty: true });
    put(store, "a", b"1");
    assert_eq!(store.identify().unwrap(), Presence::Unmarked { empty: false });
}

fn changes_that_lie_a_tick_apart_have_other_times(store: &dyn ContentStore) {
    store.create().unwrap();
    let first = store.now_ns().unwrap();
    std::thread::sleep(std::time::Duration::from_nanos(store.tick_ns().try_into().unwrap()));
    assert!(store.now_ns().unwrap() > first);
}

fn a_marker_survives_and_is_removed(store: &dyn ContentStore) {
    store.create().unwrap();
    let pool = PoolFqdn::parse("atl.example.com").unwrap();
    let marker = Marker { store_id: Uuid::new_v4(), pool, role: MarkerRole::Standby, left_ns: None };
    store.mark(&marker).unwrap();
    assert_eq!(store.identify().unwrap(), Presence::Marked(marker));
    assert!(names(store, "").is_empty());
    let would = store.unmark(true).unwrap();
    assert!(matches!(store.identify().unwrap(), Presence::Marked(_)));
    assert_eq!(store.unmark(false).unwrap(), would);
    assert!(would.iter().any(|trace| trace.kind == "marker"));
    assert_eq!(store.identify().unwrap(), Presence::Unmarked { empty: true });
    assert!(store.unmark(false).unwrap().is_empty());
}

fn what_was_published_is_listed_and_read(store: &dyn ContentStore) {
    store.create().unwrap();
    let content: Vec<u8> = (0..100_000u32).flat_map(u32::to_le_bytes).collect();
    assert!(put(store, "deep/er/file", &content));
    assert!(put(store, "empty", b""));
    assert_eq!(get(store, "deep/er/file"), content);
    assert_eq!(get(store, "empty"), b"");
    assert_eq!(names(store, ""), ["deep", "empty"]);
    assert_eq!(names(store, "deep/er"), ["file"]);
    let meta = store.stat(&path("deep/er/file")).unwrap();
    assert_eq!((meta.kind, meta.size, kept(&meta)), (ObjectKind::File, 400_000, attributes()));
    let listing = store.list(&path("deep/er"), &CancellationToken::new()).unwrap();
    assert_eq!(listing.iter().next(), Some(ListedObject { name: b"file", object: Ok(&meta) }));
}

fn nothing_is_seen_before_it_is_published(store: &dyn ContentStore) {
    store.create().unwrap();
    let mut staged = store.stage().unwrap();
    staged.write(b"half").unwrap();
    assert!(names(store, "").is_empty());
    drop(staged);
    assert_eq!(store.sweep().unwrap(), 0, "a dropped object leaves nothing");
}

fn publishing_replaces_unless_told_not_to(store: &dyn ContentStore) {
    store.create().unwrap();
    assert!(put_with(store, "f", b"one", false));
    assert!(put(store, "f", b"two"));
    assert!(!put_with(store, "f", b"three", false));
    assert_eq!(get(store, "f"), b"two");
    assert_eq!(store.sweep().unwrap(), 0);
}

fn listings_are_sorted_by_bytes(store: &dyn ContentStore) {
    store.create().unwrap();
    for name in ["b", "a b", "a", "B", "a.", "ä"] {
        put(store, name, b"");
    }
    assert_eq!(names(store, ""), ["B", "a", "a b", "a.", "b", "ä"]);
}

fn folders_are_made_with_those_above_and_removed_when_empty(store: &dyn ContentStore) {
    store.create().unwrap();
    store.make_folder(&path("a/b/c"), 0o750).unwrap();
    store.make_folder(&path("a/b/c"), 0o755).unwrap();
    store.flush().unwrap();
    assert_eq!(store.stat(&path("a/b/c")).unwrap().mode, 0o755);
    assert!(matches!(store.remove(&path("a/b"), ObjectKind::Folder), Err(ObjectError::Refused(_))));
    for folder in ["a/b/c", "a/b", "a"] {
        store.remove(&path(folder), ObjectKind::Folder).unwrap();
    }
    store.flush().unwrap();
    assert!(names(store, "").is_empty());
    store.make_folder(&path("a/b"), 0o700).unwrap();
    assert!(put(store, "a/b/f", b""), "a folder that was removed and made again is found");
}

fn what_is_missing_is_gone(store: &dyn ContentStore) {
    store.create().unwrap();
    let at = path("no/thing");
    assert!(matches!(store.stat(&at), Err(ObjectError::Gone)));
    assert!(matches!(store.read(&at), Err(ObjectError::Gone)));
    assert!(matches!(store.list(&at, &CancellationToken::new()), Err(ObjectError::Gone)));
    assert!(matches!(store.remove(&at, ObjectKind::File), Err(ObjectError::Gone)));
    assert!(matches!(store.set_attributes(&at, attributes()), Err(ObjectError::Gone)));
}

fn a_file_and_a_folder_do_not_replace_each_other(store: &dyn ContentStore) {
    store.create().unwrap();
    put(store, "file", b"1");
    store.make_folder(&path("folder"), 0o755).unwrap();
    assert!(matches!(store.make_folder(&path("file"), 0o755), Err(ObjectError::Refused(_))));
    assert!(matches!(store.read(&path("folder")), Err(ObjectError::Refused(_))));
    assert!(matches!(store.remove(&path("file"), ObjectKind::Folder), Err(ObjectError::Refused(_))));
    let mut staged = store.stage().unwrap();
    staged.seal(attributes()).unwrap();
    assert!(matches!(staged.publish(&path("folder"), true), Err(ObjectError::Refused(_))));
    assert_eq!(names(store, ""), ["file", "folder"]);
}

fn attributes_are_kept_and_changed(store: &dyn ContentStore) {
    store.create().unwrap();
    put(store, "f", b"1");
    let before_1970 = Attributes { mtime_ns: -1, mode: 0o604, owner: None };
    store.set_attributes(&path("f"), before_1970).unwrap();
    assert_eq!(kept(&store.stat(&path("f")).unwrap()), before_1970);
    let reader = store.read(&path("f")).unwrap();
    assert!(reader.is_unchanged().unwrap());
    store.set_attributes(&path("f"), attributes()).unwrap();
    assert!(!reader.is_unchanged().unwrap(), "of the same size, but not the version that was opened");
    store.set_attributes(&path("f"), before_1970).unwrap();
    assert_eq!(get(store, "f"), b"1");
}

fn a_cancelled_listing_stops(store: &dyn ContentStore) {
    store.create().unwrap();
    put(store, "f", b"1");
    let cancel = CancellationToken::new();
    cancel.cancel();
    let Err(ObjectError::Store(error)) = store.list(&ContentPath::root(), &cancel) else {
        panic!("it was listed")
    };
    assert_eq!(error.kind, crate::error::ErrorKind::Cancelled);
}

fn what_is_set_aside_is_no_content_and_stays(store: &dyn ContentStore) {
    store.create().unwrap();
    let pool = PoolFqdn::parse("atl.example.com").unwrap();
    store.mark(&Marker { store_id: Uuid::new_v4(), pool, role: MarkerRole::Standby, left_ns: None }).unwrap();
    let mut places = Vec::new();
    for (at, content) in [("a/f", "one"), ("a/f", "two"), ("a", "a file now")] {
        if at == "a" {
            store.remove(&path("a"), ObjectKind::Folder).unwrap();
        }
        put(store, at, content.as_bytes());
        places.push((store.set_aside(&path(at), "occasion").unwrap(), content));
        assert!(matches!(store.stat(&path(at)), Err(ObjectError::Gone)));
    }
    assert!(matches!(store.set_aside(&path("a"), "occasion"), Err(ObjectError::Gone)));
    assert!(names(store, "").is_empty());
    assert!(!store.unmark(true).unwrap().is_empty());
    store.unmark(false).unwrap();
    assert_eq!(store.identify().unwrap(), Presence::Unmarked { empty: true });
    assert_eq!(store.sweep().unwrap(), 0);
    for (place, content) in places {
        assert_eq!(get(store, &place.to_string()), content.as_bytes());
    }
}

fn staged_objects_are_swept(store: &dyn ContentStore) {
    store.create().unwrap();
    assert_eq!(store.sweep().unwrap(), 0);
    let mut staged = store.stage().unwrap();
    staged.write(b"half").unwrap();
    // As if the process had died here.
    std::mem::forget(staged);
    assert_eq!(store.sweep().unwrap(), 1);
    assert_eq!(store.sweep().unwrap(), 0);
}

fn what_was_hardened_is_published_and_what_was_not_is_as_well(store: &dyn ContentStore) {
    store.create().unwrap();
    let mut staged = Vec::new();
    for (number, content) in [&b"one"[..], b"two", b"three"].iter().enumerate() {
        let mut object = store.stage().unwrap();
        object.write(content).unwrap();
        object.seal(attributes()).unwrap();
        if number == 1 {
            store.harden().unwrap();
        }
        staged.push(object);
    }
    for (object, name) in staged.into_iter().zip(["a", "b", "c"]) {
        assert!(object.publish(&path(name), true).unwrap());
    }
    store.flush().unwrap();
    assert_eq!(
        (get(store, "a"), get(store, "b"), get(store, "c")),
        (b"one".into(), b"two".into(), b"three".into())
    );
    let unsealed = store.stage().unwrap();
    assert!(unsealed.publish(&path("d"), true).is_err(), "what is not complete is not published");
}

fn link(store: &dyn ContentStore, at: &str, target: &str) {
    let staged = store.stage_link(target.as_bytes(), attributes()).unwrap();
    assert!(staged.publish(&path(at), true).unwrap());
    store.flush().unwrap();
}

fn listed(store: &dyn ContentStore, folder: &str) -> Vec<bool> {
    let listing = store.list(&path(folder), &CancellationToken::new()).unwrap();
    listing.iter().map(|entry| entry.object.is_ok()).collect()
}

fn links_within_the_store_are_kept_and_others_refused(store: &dyn ContentStore) {
    store.create().unwrap();
    put(store, "a/file", b"1");
    link(store, "a/b", "../c/d");
    assert_eq!(*store.read_link(&path("a/b")).unwrap(), *b"../c/d");
    let meta = store.stat(&path("a/b")).unwrap();
    assert_eq!((meta.kind, meta.size, meta.mtime_ns), (ObjectKind::Link, 0, attributes().mtime_ns));
    assert!(matches!(store.read(&path("a/b")), Err(ObjectError::Refused(_))), "it is not followed");
    assert!(matches!(store.read_link(&path("a/file")), Err(ObjectError::Refused(_))));
    assert!(matches!(store.read_link(&path("a/none")), Err(ObjectError::Gone)));
    link(store, "a/c", "/etc/hostname");
    link(store, "a/d", "../../out");
    assert_eq!(names(store, "a"), ["b", "c", "d", "file"]);
    assert_eq!(listed(store, "a"), [true, false, false, true]);
    for outside in ["a/c", "a/d"] {
        assert!(matches!(store.read_link(&path(outside)), Err(ObjectError::Refused(_))));
    }
    store.remove(&path("a/b"), ObjectKind::Link).unwrap();
    assert!(matches!(store.stat(&path("a/b")), Err(ObjectError::Gone)));
}

fn links_and_files_replace_each_other(store: &dyn ContentStore) {
    store.create().unwrap();
    put(store, "f", b"1");
    link(store, "f", "g");
    assert_eq!(*store.read_link(&path("f")).unwrap(), *b"g");
    put(store, "f", b"2");
    assert_eq!(get(store, "f"), b"2");
}

fn extended(name: &str, value: &[u8]) -> Extended {
    Extended([(name.as_bytes().into(), value.into())].into())
}

fn extended_attributes_are_kept(store: &dyn ContentStore) {
    store.create().unwrap();
    let (first, second) = (extended("user.a", b"1"), extended("user.b", b""));
    let mut staged = store.stage().unwrap();
    let held = staged.set_extended(&first).unwrap();
    staged.seal(Attributes { mode: 0o400, ..attributes() }).unwrap();
    staged.publish(&path("f"), true).unwrap();
    store.make_folder(&path("d"), 0o755).unwrap();
    assert_eq!(store.set_extended(&path("d"), &first).unwrap(), held);
    let expected = |given: &Extended| if held { given.clone() } else { Extended::default() };
    assert_eq!(store.read(&path("f")).unwrap().extended().unwrap(), expected(&first));
    assert_eq!(store.folder_extended(&path("d")).unwrap(), expected(&first));
    for at in ["f", "d"] {
        store.set_extended(&path(at), &second).unwrap();
    }
    store.flush().unwrap();
    assert_eq!(store.read(&path("f")).unwrap().extended().unwrap(), expected(&second));
    assert_eq!(store.folder_extended(&path("d")).unwrap(), expected(&second));
    assert_eq!(store.stat(&path("f")).unwrap().mode, 0o400);
    assert_ne!(first.digest(), second.digest());
    assert_eq!(Extended::default().digest(), None);
}

fn holes_are_kept(store: &dyn ContentStore) {
    store.create().unwrap();
    let mut staged = store.stage().unwrap();
    staged.skip(1 << 20).unwrap();
    staged.write(b"middle").unwrap();
    staged.skip(1 << 20).unwrap();
    staged.seal(attributes()).unwrap();
    staged.publish(&path("f"), true).unwrap();
    let content = get(store, "f");
    assert_eq!(content.len(), (2 << 20) + 6);
    assert_eq!(&content[1 << 20..(1 << 20) + 6], b"middle");
    assert!(content[..1 << 20].iter().chain(&content[(1 << 20) + 6..]).all(|byte| *byte == 0));
    // A store may hold the zeros, but says nothing about them twice.
    let mut reader = store.read(&path("f")).unwrap();
    let (mut skipped, mut read, mut buffer) = (0, 0, vec![0; 64 << 10]);
    loop {
        skipped += reader.skip_hole().unwrap();
        match reader.read(&mut buffer).unwrap() {
            0 if reader.skip_hole().unwrap() == 0 => break,
            count => read += count as u64,
        }
    }
    assert_eq!(skipped + read, (2 << 20) + 6);
}

fn a_renamed_file_needs_no_copy(store: &dyn ContentStore) {
    store.create().unwrap();
    put(store, "old", b"content");
    let version = |size| Version { size, attributes: attributes() };
    assert!(store.stage_same(&path("none"), version(7)).unwrap().is_none());
    assert!(store.stage_same(&path("old"), version(8)).unwrap().is_none(), "another version");
    let other = Attributes { mode: 0o600, ..attributes() };
    assert!(store.stage_same(&path("old"), Version { size: 7, attributes: other }).unwrap().is_none());
    let Some(staged) = store.stage_same(&path("old"), version(7)).unwrap() else { return };
    assert!(staged.publish(&path("deep/new"), true).unwrap());
    store.remove(&path("old"), ObjectKind::File).unwrap();
    store.flush().unwrap();
    assert_eq!(get(store, "deep/new"), b"content");
    drop(store.stage_same(&path("deep/new"), version(7)).unwrap());
    assert_eq!(get(store, "deep/new"), b"content");
    assert_eq!(store.sweep().unwrap(), 0);
}

fn names_that_share_a_file_do_not_share_attributes(store: &dyn ContentStore) {
    store.create().unwrap();
    put(store, "old", b"content");
    let version = Version { size: 7, attributes: attributes() };
    let Some(staged) = store.stage_same(&path("old"), version).unwrap() else { return };
    staged.publish(&path("new"), true).unwrap();
    let other = Attributes { mtime_ns: 5, mode: 0o600, owner: None };
    store.set_attributes(&path("new"), other).unwrap();
    store.flush().unwrap();
    assert_eq!(kept(&store.stat(&path("old")).unwrap()), attributes());
    assert_eq!(kept(&store.stat(&path("new")).unwrap()), other);
    assert_eq!((get(store, "old"), get(store, "new")), (b"content".into(), b"content".into()));
}

fn what_a_new_version_keeps_need_not_be_sent(store: &dyn ContentStore) {
    store.create().unwrap();
    let block = |byte: u8| vec![byte; 1 << 20];
    put(store, "f", &[block(1), block(2), block(3), block(4)].concat());
    let mut sent = Vec::new();
    let mut staged = store.stage_over(&path("f")).unwrap();
    for byte in [1, 9, 3, 4, 5] {
        if !staged.keep(&block(byte)).unwrap() {
            staged.write(&block(byte)).unwrap();
            sent.push(byte);
        }
    }
    staged.seal(attributes()).unwrap();
    assert_eq!(get(store, "f"), [block(1), block(2), block(3), block(4)].concat(), "not yet");
    staged.publish(&path("f"), true).unwrap();
    assert!(sent == [9, 5] || sent == [1, 9, 3, 4, 5], "{sent:?}");
    assert!(get(store, "f") == [block(1), block(9), block(3), block(4), block(5)].concat());
    // Shorter, and nothing but kept.
    let mut staged = store.stage_over(&path("f")).unwrap();
    if !staged.keep(&block(1)).unwrap() {
        staged.write(&block(1)).unwrap();
    }
    staged.seal(attributes()).unwrap();
    staged.publish(&path("f"), true).unwrap();
    assert!(get(store, "f") == block(1));
    let mut fresh = store.stage_over(&path("none")).unwrap();
    assert!(!fresh.keep(b"1").unwrap(), "there is nothing to keep");
}
