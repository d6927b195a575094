//! What every content store has to do, run against every implementation.

use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::folder::FolderStore;
use super::*;

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

contract!(
    folder,
    super::folder_store(),
    [
        an_absent_store_is_missing_until_it_is_created,
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
        what_is_set_aside_is_no_content_and_stays,
    ]
);

fn folder_store() -> (tempfile::TempDir, FolderStore) {
    let folder = tempfile::tempdir().unwrap();
    let store = FolderStore::new(folder.path().join("store"), Vec::new());
    (folder, store)
}

fn path(text: &str) -> ContentPath {
    ContentPath::from_bytes(text.as_bytes()).unwrap()
}

const ATTRIBUTES: Attributes = Attributes { mtime_ns: 1_600_000_000_123_456_789, mode: 0o640 };

fn put(store: &dyn ContentStore, at: &str, content: &[u8]) -> bool {
    put_with(store, at, content, true)
}

fn put_with(store: &dyn ContentStore, at: &str, content: &[u8], replace: bool) -> bool {
    let mut staged = store.stage().unwrap();
    staged.write(content).unwrap();
    staged.seal(ATTRIBUTES).unwrap();
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
    let entries = store.list(&path(at), &CancellationToken::new()).unwrap();
    entries.iter().map(|entry| String::from_utf8_lossy(&entry.name).into_owned()).collect()
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

fn a_marker_survives_and_is_removed(store: &dyn ContentStore) {
    store.create().unwrap();
    let pool = PoolFqdn::parse("atl.example.com").unwrap();
    let marker = Marker { store_id: Uuid::new_v4(), pool, role: StoreRole::Standby };
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
    assert_eq!((meta.kind, meta.size, meta.attributes()), (ObjectKind::File, 400_000, ATTRIBUTES));
    assert_eq!(store.list(&path("deep/er"), &CancellationToken::new()).unwrap()[0].object, Ok(meta));
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
    assert!(matches!(store.set_attributes(&at, ATTRIBUTES), Err(ObjectError::Gone)));
}

fn a_file_and_a_folder_do_not_replace_each_other(store: &dyn ContentStore) {
    store.create().unwrap();
    put(store, "file", b"1");
    store.make_folder(&path("folder"), 0o755).unwrap();
    assert!(matches!(store.make_folder(&path("file"), 0o755), Err(ObjectError::Refused(_))));
    assert!(matches!(store.read(&path("folder")), Err(ObjectError::Refused(_))));
    assert!(matches!(store.remove(&path("file"), ObjectKind::Folder), Err(ObjectError::Refused(_))));
    let mut staged = store.stage().unwrap();
    staged.seal(ATTRIBUTES).unwrap();
    assert!(matches!(staged.publish(&path("folder"), true), Err(ObjectError::Refused(_))));
    assert_eq!(names(store, ""), ["file", "folder"]);
}

fn attributes_are_kept_and_changed(store: &dyn ContentStore) {
    store.create().unwrap();
    put(store, "f", b"1");
    let before_1970 = Attributes { mtime_ns: -1, mode: 0o604 };
    store.set_attributes(&path("f"), before_1970).unwrap();
    assert_eq!(store.stat(&path("f")).unwrap().attributes(), before_1970);
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
    store.mark(&Marker { store_id: Uuid::new_v4(), pool, role: StoreRole::Standby }).unwrap();
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
