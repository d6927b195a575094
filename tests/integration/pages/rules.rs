//! The rules of copying pages. Each test fails where its rule is taken out.

use std::os::unix::fs::FileExt;

use cs_backup::error::ErrorKind;
use cs_backup::store::user::UserStorePair;
use rusqlite::OpenFlags;

use super::*;

fn header(path: &Path) -> Vec<u8> {
    let mut header = vec![0; 100];
    std::fs::File::open(path).unwrap().read_exact_at(&mut header, 0).unwrap();
    header
}

fn cookie(path: &Path) -> u32 {
    u32::from_be_bytes(header(path)[40..44].try_into().unwrap())
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    PathBuf::from(format!("{}{suffix}", path.display()))
}

#[test]
fn two_first_copies_at_once_make_one_good_copy() {
    let stores = Stores::new();
    stores.server().execute_batch(LEDGER).unwrap();
    for _ in 0..20 {
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    let cancel = CancellationToken::new();
                    pair_in(stores.root(), |_| {}).synchronize(&work(&cancel, 1)).unwrap();
                });
            }
        });
        assert_eq!(turn(&stores.standby()), 0);
        stores.assert_equal();
        std::fs::remove_file(stores.standby()).unwrap();
        std::fs::remove_dir_all(beside(&stores.standby(), ".csb")).unwrap();
    }
}

#[test]
fn the_generation_outlives_the_copy_and_what_is_remembered_of_it() {
    let stores = Stores::new();
    stores.server().execute_batch(LEDGER).unwrap();
    stores.sync_with(|work| work.generation = Generation(7)).unwrap();
    let refused =
        |generation| stores.sync_with(|work| work.generation = Generation(generation)).unwrap_err().kind;
    assert_eq!(refused(6), ErrorKind::Fenced);
    std::fs::remove_file(stores.standby()).unwrap();
    std::fs::remove_file(beside(&stores.standby(), ".csb/state")).unwrap();
    assert_eq!(refused(6), ErrorKind::Fenced);
    // A run that had nothing to write counts.
    stores.sync_with(|work| work.generation = Generation(7)).unwrap();
    stores.sync_with(|work| work.generation = Generation(9)).unwrap();
    assert_eq!(refused(8), ErrorKind::Fenced);
}

#[test]
fn an_older_copy_that_was_put_back_is_noticed_also_where_its_counter_is_the_same() {
    let stores = Stores::new();
    let server = stores.server();
    server.execute_batch(LEDGER).unwrap();
    stores.sync_and_compare();
    let older = std::fs::read(stores.standby()).unwrap();
    play(&server).unwrap();
    stores.sync_and_compare();
    let counter: [u8; 4] = header(&stores.standby())[24..28].try_into().unwrap();
    std::fs::write(stores.standby(), older).unwrap();
    let file = std::fs::File::options().write(true).open(stores.standby()).unwrap();
    file.write_all_at(&counter, 24).unwrap();
    file.write_all_at(&counter, 92).unwrap();
    drop(file);
    stores.sync_and_compare();
    assert_eq!(turn(&stores.standby()), 1);
}

#[test]
fn what_is_remembered_of_another_copy_is_not_believed() {
    let (one, other) = (Stores::new(), Stores::new());
    for (stores, amount) in [(&one, 0), (&other, 5)] {
        stores.server().execute_batch(LEDGER).unwrap();
        stores.server().execute_batch(&format!("UPDATE turn SET n = {amount}")).unwrap();
        stores.sync_and_compare();
    }
    let state = |stores: &Stores| beside(&stores.standby(), ".csb/state");
    std::fs::copy(state(&one), state(&other)).unwrap();
    other.sync_and_compare();
    // The notes of a copy with the same number say of every page what the source holds now; the copy itself holds something else.
    let (third, fourth) = (Stores::new(), Stores::new());
    for (stores, amount) in [(&third, 1), (&fourth, 5)] {
        stores.server().execute_batch(LEDGER).unwrap();
        stores.server().execute_batch(&format!("UPDATE turn SET n = {amount}")).unwrap();
        stores.sync_and_compare();
    }
    assert_eq!(header(&third.standby())[24..28], header(&fourth.standby())[24..28]);
    std::fs::write(fourth.source(), std::fs::read(third.source()).unwrap()).unwrap();
    std::fs::copy(state(&third), state(&fourth)).unwrap();
    fourth.sync_and_compare();
    assert_eq!(turn(&fourth.standby()), 1);
    std::fs::write(state(&other), "garbage").unwrap();
    other.sync_and_compare();
    // Hashes that were not written whole.
    let length = std::fs::metadata(state(&other)).unwrap().len();
    let file = std::fs::File::options().write(true).open(state(&other)).unwrap();
    file.write_all_at(&[0xee; 8], length - 8).unwrap();
    drop(file);
    play(&other.server()).unwrap();
    other.sync_and_compare();
}

#[test]
fn what_cannot_be_read_is_made_anew_and_a_stranger_is_left_alone() {
    let stores = Stores::new();
    stores.server().execute_batch(LEDGER).unwrap();
    stores.sync_and_compare();
    for content in [Vec::new(), vec![7; 9_000], header(&stores.standby())] {
        std::fs::write(stores.standby(), content).unwrap();
        stores.sync_and_compare();
    }
    std::fs::remove_file(stores.standby()).unwrap();
    Connection::open(stores.standby()).unwrap().execute_batch("CREATE TABLE theirs (x)").unwrap();
    let theirs = std::fs::read(stores.standby()).unwrap();
    assert_eq!(stores.sync().unwrap_err().kind, ErrorKind::ForeignContent);
    assert_eq!(std::fs::read(stores.standby()).unwrap(), theirs);
}

#[test]
fn what_an_earlier_file_of_the_name_left_is_not_played_into_a_new_copy() {
    let stores = Stores::new();
    let server = stores.server();
    server.execute_batch(LEDGER).unwrap();
    stores.sync_and_compare();
    // A hot journal of another database with the same number of pages.
    let other = stores.root().join("other.sqlite");
    let writer = Connection::open(&other).unwrap();
    writer
        .execute_batch(&format!(
            "PRAGMA cache_size = 2; {LEDGER} BEGIN; UPDATE account SET note = zeroblob(299)"
        ))
        .unwrap();
    let journal = std::fs::read(beside(&other, "-journal")).unwrap();
    std::fs::remove_file(stores.standby()).unwrap();
    std::fs::write(beside(&stores.standby(), "-journal"), journal).unwrap();
    std::fs::write(beside(&stores.standby(), "-wal"), vec![9; 5_000]).unwrap();
    stores.sync_and_compare();
    for suffix in ["-journal", "-wal", "-shm"] {
        assert!(!beside(&stores.standby(), suffix).exists(), "{suffix}");
    }
    assert_eq!(turn(&stores.standby()), 0);
}

#[test]
fn a_change_of_the_layout_goes_in_place_and_readers_follow_it() {
    let stores = Stores::new();
    stores.server().execute_batch(LEDGER).unwrap();
    stores.sync_and_compare();
    let reader = Connection::open_with_flags(stores.standby(), OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
    let count = || reader.query_row("SELECT count(*) FROM account", [], |row| row.get::<_, i64>(0)).unwrap();
    assert_eq!(count(), 400);
    let inode = std::os::unix::fs::MetadataExt::ino(&std::fs::metadata(stores.standby()).unwrap());
    for change in [
        "PRAGMA page_size = 512; VACUUM",
        "PRAGMA auto_vacuum = FULL; VACUUM",
        "PRAGMA auto_vacuum = INCREMENTAL; VACUUM",
        "PRAGMA page_size = 65536; VACUUM",
        "PRAGMA auto_vacuum = NONE; VACUUM",
        "PRAGMA page_size = 4096; VACUUM",
        "DELETE FROM account WHERE id > 399; INSERT INTO account VALUES (400, 100, NULL)",
    ] {
        stores.server().execute_batch(change).unwrap();
        stores.sync_and_compare();
        assert_eq!(count(), 400, "{change}");
        assert_eq!(turn(&stores.standby()), 0, "{change}");
    }
    assert_eq!(inode, std::os::unix::fs::MetadataExt::ino(&std::fs::metadata(stores.standby()).unwrap()));
}

#[test]
fn the_fence_is_mended_also_where_nothing_else_is_to_do() {
    let stores = Stores::new();
    stores.server().execute_batch(LEDGER).unwrap();
    stores.sync_and_compare();
    let write = |path: PathBuf| Connection::open(path).unwrap().execute_batch("DELETE FROM turn");
    write(stores.standby()).unwrap_err();
    let before = std::fs::metadata(stores.standby()).unwrap().modified().unwrap();
    let file = std::fs::File::options().write(true).open(stores.standby()).unwrap();
    file.write_all_at(&[1], 18).unwrap();
    file.set_modified(before).unwrap();
    drop(file);
    // Everything else is as it was left, the time of change too.
    crate::faults::left::believe(&stores.standby(), |_| true);
    stores.sync_and_compare();
    write(stores.standby()).unwrap_err();
}

#[test]
fn the_cookie_of_a_copy_only_grows_so_that_open_readers_see_a_schema_that_was_set_back() {
    let stores = Stores::new();
    stores.server().execute_batch("CREATE TABLE t (a, b); INSERT INTO t VALUES ('a', 'b')").unwrap();
    stores.sync_and_compare();
    let older = std::fs::read(stores.source()).unwrap();
    let reader = Connection::open_with_flags(stores.standby(), OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
    let first = || reader.query_row("SELECT a FROM t", [], |row| row.get::<_, String>(0)).unwrap();
    let mut last = 0;
    for step in 0..3 {
        if step == 1 {
            stores
                .server()
                .execute_batch("DROP TABLE t; CREATE TABLE t (b, a); INSERT INTO t VALUES ('b', 'a')")
                .unwrap();
        } else {
            std::fs::write(stores.source(), &older).unwrap();
        }
        stores.sync().unwrap();
        assert_eq!(first(), "a", "step {step}");
        assert!(cookie(&stores.standby()) >= last, "step {step}");
        last = cookie(&stores.standby());
    }
}

#[test]
fn a_stale_tail_is_harmless() {
    let stores = Stores::new();
    let server = stores.server();
    server.execute_batch(LEDGER).unwrap();
    stores.sync_and_compare();
    let (state, content) = (stores.pair.states().unwrap().remove(0), pages_of_source(&stores.source()));
    let file = std::fs::File::options().append(true).open(stores.standby()).unwrap();
    std::io::Write::write_all(&mut &file, &[3; 5 * 4_096]).unwrap();
    drop(file);
    assert_eq!(turn(&stores.standby()), 0);
    assert_eq!(stores.pair.states().unwrap()[0].bytes, state.bytes);
    play(&server).unwrap();
    stores.sync_and_compare();
    // Nothing of it belongs to the state that it lay behind.
    let (to, cancel) = (stores.root().join("earlier"), CancellationToken::new());
    stores.pair.restore_state(state.revision, &to, Generation(1), &cancel).unwrap();
    let mut earlier = std::fs::read(to).unwrap();
    blank(&mut earlier);
    assert!(earlier == content);
}

#[test]
fn links_are_no_copies() {
    let stores = Stores::new();
    stores.server().execute_batch(LEDGER).unwrap();
    let elsewhere = stores.root().join("elsewhere.sqlite");
    std::fs::write(&elsewhere, "").unwrap();
    std::os::unix::fs::symlink(&elsewhere, stores.standby()).unwrap();
    assert_eq!(stores.sync().unwrap_err().kind, ErrorKind::ForeignContent);
    assert_eq!(std::fs::read(&elsewhere).unwrap(), b"");
    // A copy that was moved away, and a link to it.
    std::fs::remove_file(stores.standby()).unwrap();
    stores.sync_and_compare();
    std::fs::rename(stores.standby(), &elsewhere).unwrap();
    std::os::unix::fs::symlink(&elsewhere, stores.standby()).unwrap();
    let kept = std::fs::read(&elsewhere).unwrap();
    play(&stores.server()).unwrap();
    assert_eq!(stores.sync().unwrap_err().kind, ErrorKind::ForeignContent);
    assert!(std::fs::read(&elsewhere).unwrap() == kept);
}

#[test]
fn a_copy_that_has_a_further_name_is_not_written_to() {
    let stores = Stores::new();
    let server = stores.server();
    server.execute_batch(LEDGER).unwrap();
    stores.sync_and_compare();
    // As whoever keeps backups without copying does it.
    let kept = stores.root().join("kept.sqlite");
    std::fs::hard_link(stores.standby(), &kept).unwrap();
    let before = std::fs::read(&kept).unwrap();
    play(&server).unwrap();
    for _ in 0..2 {
        let error = stores.sync().unwrap_err();
        assert_eq!(error.kind, ErrorKind::ForeignContent, "{error:?}");
        assert!(error.message.contains("hard links"), "{error:?}");
        assert!(std::fs::read(&kept).unwrap() == before);
        let observed = stores.pair.observe(&CancellationToken::new()).unwrap();
        assert!(observed.refused.is_some(), "{observed:?}");
    }
    std::fs::remove_file(kept).unwrap();
    stores.sync_and_compare();
}

#[test]
fn a_hot_journal_of_a_server_that_died_is_read_and_left_alone() {
    for mode in ["delete", "persist", "truncate"] {
        hot_journal(mode);
    }
}

fn hot_journal(mode: &str) {
    let stores = Stores::new();
    stores.server().execute_batch(LEDGER).unwrap();
    // A transaction that was written into the file, as it is at one moment in the middle.
    let server = stores.server();
    server.query_row(&format!("PRAGMA journal_mode = {mode}"), [], |_| Ok(())).unwrap();
    // What an earlier transaction left of its journal is no part of this one's.
    play(&server).unwrap();
    stores.sync_and_compare();
    let before = std::fs::read(stores.source()).unwrap();
    server
        .execute_batch("PRAGMA cache_size = 2; BEGIN; UPDATE account SET amount = 1, note = zeroblob(900)")
        .unwrap();
    let (torn, journal) = (
        std::fs::read(stores.source()).unwrap(),
        std::fs::read(beside(&stores.source(), "-journal")).unwrap(),
    );
    server.execute_batch("ROLLBACK").unwrap();
    drop(server);
    assert_ne!(torn, before);
    std::fs::write(stores.source(), &torn).unwrap();
    std::fs::write(beside(&stores.source(), "-journal"), &journal).unwrap();
    let outcome = stores.sync().unwrap();
    assert!(
        outcome.warnings.iter().any(|warning| warning.contains("did not finish")),
        "{:?}",
        outcome.warnings
    );
    assert_eq!(turn(&stores.standby()), 1);
    assert_eq!(std::fs::read(stores.source()).unwrap(), torn);
    assert_eq!(std::fs::read(beside(&stores.source(), "-journal")).unwrap(), journal);
    // The server heals it as it always does.
    play(&stores.server()).unwrap();
    stores.sync_and_compare();
}

#[test]
fn a_source_that_turns_to_a_log_and_back_is_followed() {
    let stores = Stores::new();
    stores.server().execute_batch(LEDGER).unwrap();
    stores.sync_and_compare();
    for round in 0..6 {
        let server = stores.server();
        server
            .execute_batch(["PRAGMA journal_mode = WAL", "PRAGMA journal_mode = DELETE"][round % 2])
            .unwrap();
        stores.sync_and_compare();
        play(&server).unwrap();
        stores.sync_and_compare();
        if round % 3 == 0 {
            drop(server);
            stores.sync_and_compare();
        }
    }
    assert_eq!(turn(&stores.standby()), 6);
}

#[test]
fn a_log_is_followed_through_checkpoints_of_every_kind_and_from_frame_to_frame() {
    let stores = Stores::new();
    let server = stores.server();
    server.execute_batch(&format!("PRAGMA journal_mode = WAL; {LEDGER}")).unwrap();
    stores.sync_and_compare();
    let mut tails = 0;
    for round in 0..40 {
        for _ in 0..fastrand::u32(1..4) {
            play(&server).unwrap();
        }
        if let Some(kind) =
            [None, Some("PASSIVE"), None, Some("FULL"), Some("RESTART"), None, Some("TRUNCATE")][round % 7]
        {
            server.execute_batch(&format!("PRAGMA wal_checkpoint({kind})")).unwrap();
        }
        let outcome = stores.sync_and_compare();
        tails += usize::from(outcome.details[0].contains("appended"));
    }
    // A checkpoint of everything lets the log begin anew, and then all pages are read once.
    assert!(tails >= 10, "{tails} of 40 runs read what was appended only");
}

#[test]
fn a_log_whose_server_was_killed_is_read_as_its_next_server_would() {
    let stores = Stores::new();
    let server = stores.server();
    server
        .execute_batch(&format!("PRAGMA journal_mode = WAL; PRAGMA wal_autocheckpoint = 0; {LEDGER}"))
        .unwrap();
    play(&server).unwrap();
    let dead = stores.root().join("dead");
    std::fs::create_dir(&dead).unwrap();
    let names = ["users.sqlite", "users.sqlite-wal", "users.sqlite-shm"];
    for name in names {
        std::fs::copy(stores.source().with_file_name(name), dead.join(name)).unwrap();
    }
    drop(server);
    for with_index in [true, false] {
        for name in names.into_iter().take(if with_index { 3 } else { 2 }) {
            std::fs::copy(dead.join(name), stores.source().with_file_name(name)).unwrap();
        }
        if !with_index {
            std::fs::remove_file(stores.source().with_file_name(names[2])).unwrap();
        }
        stores.sync().unwrap();
        assert_eq!(turn(&stores.standby()), 1, "with its index: {with_index}");
        assert_eq!(stores.source().with_file_name(names[2]).exists(), with_index);
    }
}

#[test]
fn what_lies_beside_a_source_and_is_no_log_keeps_nobody_from_reading_it() {
    let stores = Stores::new();
    stores.server().execute_batch(LEDGER).unwrap();
    for content in [vec![9; 5_000], Vec::new(), vec![0; 40]] {
        std::fs::write(beside(&stores.source(), "-wal"), &content).unwrap();
        stores.sync().unwrap();
        assert_eq!(turn(&stores.standby()), 0);
        assert_eq!(std::fs::read(beside(&stores.source(), "-wal")).unwrap(), content);
    }
}

#[test]
fn a_source_that_is_exchanged_is_read_as_what_it_is_then() {
    let stores = Stores::new();
    let server = stores.server();
    server.execute_batch(LEDGER).unwrap();
    stores.sync_and_compare();
    let other = stores.root().join("other");
    Connection::open(&other).unwrap().execute_batch(&format!("{LEDGER} UPDATE turn SET n = 99")).unwrap();
    std::fs::rename(&other, stores.source()).unwrap();
    // The server still has the file open that has no name any more.
    let _ = play(&server);
    let outcome = stores.sync().unwrap();
    assert_eq!(turn(&stores.standby()), 99);
    assert!(
        outcome.warnings.iter().any(|warning| warning.contains("another file")),
        "{:?}",
        outcome.warnings
    );
}

#[test]
fn a_reader_of_a_copy_sees_whole_states_only() {
    let stores = Stores::new();
    let server = stores.server();
    server.execute_batch(LEDGER).unwrap();
    stores.sync_and_compare();
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        let reading = scope.spawn(|| {
            let (mut looks, mut last) = (0, 0);
            while !done.load(std::sync::atomic::Ordering::Relaxed) {
                let now = turn(&stores.standby());
                assert!(now >= last);
                (looks, last) = (looks + 1, now);
            }
            looks
        });
        let _end = End(&done);
        for _ in 0..40 {
            for _ in 0..20 {
                play(&server).unwrap();
            }
            stores.sync().unwrap();
        }
        done.store(true, std::sync::atomic::Ordering::Relaxed);
        assert!(reading.join().unwrap() > 10);
    });
    stores.assert_equal();
}

#[test]
fn the_page_at_the_byte_of_the_locks_is_never_read_or_written() {
    // Sparse: only what is written takes room.
    let stores = Stores::new();
    let server = stores.server();
    server.execute_batch("PRAGMA page_size = 65536; CREATE TABLE big (x)").unwrap();
    server.execute_batch(
        "WITH RECURSIVE n (x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n WHERE x < 17) INSERT INTO big SELECT zeroblob(65000000) FROM n",
    ).unwrap();
    let file = std::fs::metadata(stores.source()).unwrap().len();
    assert!(file > 0x4000_0000, "{file}");
    stores.sync().unwrap();
    server.execute_batch("UPDATE big SET x = zeroblob(64000000) WHERE rowid = 17").unwrap();
    stores.sync().unwrap();
    let reader = Connection::open_with_flags(stores.standby(), OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
    let sound: String = reader.query_row("PRAGMA quick_check", [], |row| row.get(0)).unwrap();
    assert_eq!(sound, "ok");
    let sum: i64 = reader.query_row("SELECT sum(length(x)) FROM big", [], |row| row.get(0)).unwrap();
    assert_eq!(sum, 16 * 65_000_000 + 64_000_000);
}

/// Makes SQLite leave so many bytes of each page to others, as extensions that encrypt or sum pages do.
#[expect(unsafe_code, reason = "no statement of SQL does that")]
fn reserve(server: &Connection, mut bytes: i32) {
    // SAFETY: the connection is open, and the number outlives the call.
    let done = unsafe {
        let at = std::ptr::from_mut(&mut bytes).cast();
        rusqlite::ffi::sqlite3_file_control(
            server.handle(),
            c"main".as_ptr(),
            rusqlite::ffi::SQLITE_FCNTL_RESERVE_BYTES,
            at,
        )
    };
    assert_eq!(done, 0);
}

#[test]
fn bytes_that_others_have_of_each_page_are_copied_with_them_and_when_their_number_changes() {
    for size in [512, 4_096, 65_536] {
        let stores = Stores::new();
        let server = stores.server();
        server.execute_batch(&format!("PRAGMA page_size = {size}")).unwrap();
        reserve(&server, 32);
        server.execute_batch(LEDGER).unwrap();
        assert_eq!(std::fs::read(stores.source()).unwrap()[20], 32, "{size}");
        stores.sync_and_compare();
        play(&server).unwrap();
        stores.sync_and_compare();
        assert_eq!(turn(&stores.standby()), 1);
        let compared = stores.sync_with(|work| work.verify = true).unwrap().verification.unwrap();
        assert_eq!(compared.differing_items, 0, "{size}");
        // Where the pointer maps lie depends on them.
        server.execute_batch("PRAGMA auto_vacuum = FULL; VACUUM").unwrap();
        stores.sync_and_compare();
        stores.sync_with(|work| work.verify = true).unwrap();
        server.execute_batch("PRAGMA auto_vacuum = NONE; VACUUM").unwrap();
        stores.sync_and_compare();
        reserve(&server, 64);
        server.execute_batch("VACUUM").unwrap();
        assert_eq!(std::fs::read(stores.source()).unwrap()[20], 64, "{size}");
        stores.sync_and_compare();
        assert_eq!(turn(&stores.standby()), 1);
        let states = stores.pair.states().unwrap();
        let (path, cancel) = (stores.root().join("earlier"), CancellationToken::new());
        stores.pair.restore_state(states[1].revision, &path, Generation(1), &cancel).unwrap();
        assert_eq!((turn(&path), std::fs::read(&path).unwrap()[20]), (1, 32), "{size}");
    }
}

#[test]
fn every_kind_of_database_is_copied_byte_for_byte() {
    let schemas = [
        "CREATE TABLE t (x)",
        "CREATE VIRTUAL TABLE f USING fts5 (a, b); INSERT INTO f VALUES ('one two', 'three'); DELETE FROM f; INSERT INTO f VALUES ('four', 'five')",
        "CREATE VIRTUAL TABLE r USING rtree (id, a, b); INSERT INTO r VALUES (1, 2, 3)",
        "CREATE TABLE t (x); INSERT INTO t VALUES (1), (2), (3); DELETE FROM t WHERE x = 2; PRAGMA user_version = 9; PRAGMA application_id = 77",
        "PRAGMA encoding = 'UTF-16le'; CREATE TABLE t (x COLLATE NOCASE); INSERT INTO t VALUES ('ä')",
        "CREATE TABLE t (a PRIMARY KEY, b) WITHOUT ROWID; INSERT INTO t VALUES (1, 2)",
    ];
    for schema in schemas {
        let stores = Stores::new();
        let server = stores.server();
        server.execute_batch(schema).unwrap();
        stores.sync_and_compare();
        server.execute_batch("PRAGMA user_version = 42").unwrap();
        stores.sync_and_compare();
        server.execute_batch("CREATE TABLE later (y); INSERT INTO later VALUES (zeroblob(100000))").unwrap();
        stores.sync_and_compare();
    }
    // What no SQLite without the server's own code can read.
    let stores = Stores::new();
    let server = stores.server();
    server.execute_batch("CREATE TABLE t (a); CREATE INDEX i ON t (a); PRAGMA writable_schema = ON").unwrap();
    server
        .execute_batch(
            "UPDATE sqlite_schema SET sql = 'CREATE INDEX i ON t (theirs(a))' WHERE name = 'i';
         INSERT INTO sqlite_schema VALUES ('table', 'v', 'v', 0, 'CREATE VIRTUAL TABLE v USING theirs (x)')",
        )
        .unwrap();
    stores.sync_and_compare();
}
