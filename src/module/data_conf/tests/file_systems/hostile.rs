//! Names, kinds and files that must not be handled as they seem.

use super::*;

#[test]
fn hostile_names_travel_unchanged() {
    let pair = Pair::new();
    let long = "x".repeat(255);
    let names: [&[u8]; 11] = [
        b"new\nline",
        b"\xff\xfe invalid",
        long.as_bytes(),
        b"<script>alert(1)<",
        b"dot.",
        b"space ",
        b"...",
        b"Case",
        b"case",
        b"back\\slash",
        b"-rf",
    ];
    for name in names {
        fs::write(pair.source().join(os(name)), name).unwrap();
        let below = pair.source().join("below").join(os(name));
        fs::create_dir_all(&below).unwrap();
        fs::write(below.join(os(name)), name).unwrap();
    }
    // `.csb` is this product's at the root only.
    pair.write("below/.csb/store.json", "content");
    assert!(pair.cycle().quarantined.is_empty());
    pair.assert_settled();
    fs::remove_file(pair.source().join(os(b"new\nline"))).unwrap();
    assert_eq!(pair.cycle().moved.items_deleted, 1);
    pair.assert_settled();
}

#[test]
fn a_name_that_changes_only_in_case_replaces_the_earlier_one() {
    let pair = Pair::new();
    pair.write("Case/File", "1");
    pair.cycle();
    fs::rename(pair.source().join("Case/File"), pair.source().join("Case/file")).unwrap();
    fs::rename(pair.source().join("Case"), pair.source().join("case")).unwrap();
    pair.forced_cycle();
    assert_eq!(
        tree(&pair.standby()).into_keys().collect::<Vec<_>>(),
        ["case", "case/file"].map(PathBuf::from)
    );
    pair.assert_settled();
}

#[test]
fn what_is_refused_is_named_on_one_line_whatever_its_name_is() {
    let pair = Pair::new();
    for name in [&b"new\nline"[..], b"\xff invalid", b"space ", b"dot."] {
        rustix::fs::mkfifoat(rustix::fs::CWD, pair.source().join(os(name)), 0o644.into()).unwrap();
    }
    let outcome = pair.cycle();
    let items: Vec<&str> = outcome.quarantined.iter().map(|item| item.item.as_str()).collect();
    assert_eq!(items, ["dot.", "new\\nline", "space ", "\u{fffd} invalid"]);
}

#[test]
fn deep_trees_travel() {
    let pair = Pair::new();
    let mut folder = rustix::fs::open(pair.source(), FOLDER, rustix::fs::Mode::empty()).unwrap();
    // Deeper than any single path may be long.
    for _ in 0..200 {
        let name = "d".repeat(40);
        rustix::fs::mkdirat(&folder, &name, 0o755.into()).unwrap();
        folder = rustix::fs::openat(&folder, &name, FOLDER, rustix::fs::Mode::empty()).unwrap();
    }
    let file = rustix::fs::openat(&folder, "f", CREATE, 0o644.into()).unwrap();
    rustix::io::write(&file, b"deep below").unwrap();
    assert_eq!(pair.cycle().moved.items_written, 201);
    let mut folder = rustix::fs::open(pair.standby(), FOLDER, rustix::fs::Mode::empty()).unwrap();
    for _ in 0..200 {
        folder = rustix::fs::openat(&folder, "d".repeat(40), FOLDER, rustix::fs::Mode::empty()).unwrap();
    }
    let copy = rustix::fs::openat(&folder, "f", rustix::fs::OFlags::RDONLY, 0.into()).unwrap();
    let mut content = String::new();
    std::io::Read::read_to_string(&mut fs::File::from(copy), &mut content).unwrap();
    assert_eq!(content, "deep below");
    assert!(pair.cycle().moved.is_nothing());
    fs::remove_dir_all(pair.source().join("d".repeat(40))).unwrap();
    assert_eq!(pair.forced_cycle().moved.items_deleted, 201);
    pair.assert_settled();
}

const CREATE: rustix::fs::OFlags = rustix::fs::OFlags::WRONLY.union(rustix::fs::OFlags::CREATE);

const FOLDER: rustix::fs::OFlags = rustix::fs::OFlags::DIRECTORY;

#[test]
fn links_pipes_and_sockets_are_quarantined_and_the_rest_goes_on() {
    let pair = Pair::new();
    pair.write("plain", "1");
    let secret = pair.folder.path().join("secret");
    fs::write(&secret, "secret").unwrap();
    let outside = pair.folder.path().join("outside");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("inner"), "secret").unwrap();
    std::os::unix::fs::symlink(&secret, pair.source().join("link")).unwrap();
    std::os::unix::fs::symlink(&outside, pair.source().join("linked folder")).unwrap();
    rustix::fs::mkfifoat(rustix::fs::CWD, pair.source().join("pipe"), 0o644.into()).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(pair.source().join("socket")).unwrap();
    let outcome = pair.cycle();
    let items: Vec<&str> = outcome.quarantined.iter().map(|item| item.item.as_str()).collect();
    assert_eq!(items, ["link", "linked folder", "pipe", "socket"]);
    assert!(outcome.quarantined.iter().all(|item| !item.reason.is_empty() && !item.advice.is_empty()));
    assert!(outcome.quarantined[0].reason.contains("symbolic link"));
    assert_eq!(tree(&pair.standby()).into_keys().collect::<Vec<_>>(), [PathBuf::from("plain")]);
    for link in ["link", "linked folder"] {
        fs::remove_file(pair.source().join(link)).unwrap();
    }
    pair.assert_settled();
}

#[test]
fn devices_are_quarantined_and_not_opened() {
    let pair = Pair::new();
    pair.write("plain", "1");
    // Opening the terminal of nobody would fail, and rewinding a tape would be worse.
    let (terminal, kind) = (rustix::fs::makedev(5, 0), rustix::fs::FileType::CharacterDevice);
    let made =
        rustix::fs::mknodat(rustix::fs::CWD, pair.source().join("device"), kind, 0o644.into(), terminal);
    if made.is_err() {
        return eprintln!("skipped: only root makes devices");
    }
    let outcome = pair.cycle();
    assert_eq!(outcome.quarantined.len(), 1);
    assert_eq!(outcome.quarantined[0].item, "device");
    assert!(outcome.quarantined[0].reason.contains("It is a device"), "{outcome:#?}");
    pair.assert_settled();
}

#[test]
fn a_file_that_became_a_link_is_not_taken_for_deleted() {
    let pair = Pair::new();
    pair.write("f", "1");
    pair.write("folder/g", "2");
    pair.cycle();
    fs::rename(pair.source().join("folder"), pair.folder.path().join("away")).unwrap();
    std::os::unix::fs::symlink(pair.folder.path().join("away"), pair.source().join("folder")).unwrap();
    fs::remove_file(pair.source().join("f")).unwrap();
    std::os::unix::fs::symlink("/etc/hostname", pair.source().join("f")).unwrap();
    let outcome = pair.cycle();
    assert!(outcome.moved.is_nothing());
    assert_eq!(outcome.quarantined.len(), 2);
    assert_eq!(fs::read(pair.standby().join("f")).unwrap(), b"1");
    assert_eq!(fs::read(pair.standby().join("folder/g")).unwrap(), b"2");
}

#[test]
fn links_in_the_standby_are_not_followed() {
    let pair = Pair::new();
    pair.write("folder/f", "1");
    pair.cycle();
    let outside = pair.folder.path().join("outside");
    fs::create_dir(&outside).unwrap();
    fs::remove_dir_all(pair.standby().join("folder")).unwrap();
    std::os::unix::fs::symlink(&outside, pair.standby().join("folder")).unwrap();
    pair.write("folder/f", "changed");
    assert_eq!(pair.cycle().quarantined.len(), 1);
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 0);
}

#[test]
fn databases_are_refused_by_inode_and_by_place_without_being_opened() {
    let mut pair = Pair::new();
    let users = pair.source().join("users.sqlite");
    let database = rusqlite::Connection::open(&users).unwrap();
    database.pragma_update(None, "journal_mode", "WAL").unwrap();
    database.execute_batch("CREATE TABLE t (x); BEGIN IMMEDIATE; INSERT INTO t VALUES (1)").unwrap();
    pair.write("folder/plain", "1");
    fs::hard_link(&users, pair.source().join("folder/other name")).unwrap();
    pair.write("folder/other name-journal", "1");
    pair.write("users.sqlite-journal", "1");
    pair.write("users.sqlite-notes", "1");
    pair.database_files.push(users.clone());
    let outcome = pair.cycle();
    let mut refused: Vec<&str> = outcome.quarantined.iter().map(|item| item.item.as_str()).collect();
    refused.sort_unstable();
    assert_eq!(
        refused,
        [
            "folder/other name",
            "folder/other name-journal",
            "users.sqlite",
            "users.sqlite-journal",
            "users.sqlite-shm",
            "users.sqlite-wal",
        ]
    );
    let copied: Vec<PathBuf> = tree(&pair.standby()).into_keys().collect();
    assert_eq!(copied, ["folder", "folder/plain", "users.sqlite-notes"].map(PathBuf::from));
    // Had the walk opened and closed the file, the lock of the open transaction would be gone.
    let locks = fs::read_to_string("/proc/locks").unwrap_or_default();
    let inode = format!(":{} ", fs::metadata(pair.source().join("users.sqlite-shm")).unwrap().ino());
    assert!(locks.is_empty() || locks.contains(&inode), "{locks}");
    database.execute_batch("COMMIT").unwrap();
}

#[test]
fn a_database_of_another_name_is_not_opened_for_the_journal_beside_it() {
    let mut pair = Pair::new();
    let users = pair.folder.path().join("users.sqlite");
    let database = rusqlite::Connection::open(&users).unwrap();
    database.execute_batch("CREATE TABLE t (x); BEGIN IMMEDIATE").unwrap();
    fs::hard_link(&users, pair.source().join("other")).unwrap();
    pair.write("other-journal", "1");
    pair.database_files.push(users.clone());
    let outcome = pair.cycle();
    let refused: Vec<&str> = outcome.quarantined.iter().map(|item| item.item.as_str()).collect();
    assert_eq!(refused, ["other", "other-journal"]);
    let locks = fs::read_to_string("/proc/locks").unwrap_or_default();
    let inode = format!(":{} ", fs::metadata(&users).unwrap().ino());
    assert!(locks.is_empty() || locks.contains(&inode), "the lock of the transaction is gone: {locks}");
    database.execute_batch("COMMIT").unwrap();
}

#[test]
fn a_database_of_somebody_else_is_copied_once_it_is_closed() {
    let pair = Pair::new();
    let path = pair.source().join("notes.sqlite");
    let database = rusqlite::Connection::open(&path).unwrap();
    database.pragma_update(None, "journal_mode", "WAL").unwrap();
    database.execute_batch("CREATE TABLE t (x); INSERT INTO t VALUES (1)").unwrap();
    pair.write("plain", "1");
    pair.write("plain-journal", "the journal of no database");
    let outcome = pair.cycle();
    let mut refused: Vec<&str> = outcome.quarantined.iter().map(|item| item.item.as_str()).collect();
    refused.sort_unstable();
    assert_eq!(refused, ["notes.sqlite", "notes.sqlite-shm", "notes.sqlite-wal"]);
    assert!(outcome.quarantined.iter().all(|item| item.reason.contains("in use")));
    database.close().unwrap();
    pair.cycle();
    pair.assert_settled();
    assert!(pair.standby().join("notes.sqlite").exists());
}

#[test]
fn a_database_is_not_opened_even_if_it_is_asked_for() {
    use crate::store::content::{ContentPath, ContentStore, ObjectError};
    let mut pair = Pair::new();
    pair.write("db", "1");
    pair.database_files.push(pair.source().join("db"));
    let store = pair.source_store();
    store.identify().unwrap();
    let read = store.read(&ContentPath::from_bytes(b"db").unwrap());
    assert!(matches!(read, Err(ObjectError::Refused(_))));
}
