//! What SQLite does to a database otherwise than most would think.

use cs_backup::error::ErrorKind;
use cs_backup::store::Generation;
use cs_backup::store::user::UserStorePair;
use proptest::prelude::*;
use rusqlite::Connection;
use tokio_util::sync::CancellationToken;

use super::{Pair, USERS, assert_equal_pages, assert_fenced, dump};
use crate::support::StopOnDrop;

#[test]
fn a_row_replaced_through_another_unique_key_disappears_from_the_standby() {
    let pair = Pair::new(USERS);
    pair.synchronize_and_compare();
    pair.server.execute_batch("INSERT OR REPLACE INTO users (id, name) VALUES (77, 'anna')").unwrap();
    pair.synchronize_and_compare();
    pair.server.execute_batch("UPDATE OR REPLACE users SET name = 'bert' WHERE id = 77").unwrap();
    pair.synchronize_and_compare();
}

#[test]
fn unique_values_may_be_swapped() {
    let pair = Pair::new(USERS);
    pair.synchronize_and_compare();
    pair.server
        .execute_batch(
            "BEGIN; UPDATE users SET name = 'x' WHERE id = 1; UPDATE users SET name = 'anna' WHERE id = 2;
             UPDATE users SET name = 'bert' WHERE id = 1; COMMIT;",
        )
        .unwrap();
    pair.synchronize_and_compare();
}

#[test]
fn a_source_restored_to_an_earlier_state_is_named_and_the_newer_one_can_be_brought_back() {
    let mut pair = Pair::new(USERS);
    pair.server.execute_batch("DELETE FROM contacts WHERE owner = 'bert'").unwrap();
    pair.synchronize_and_compare();
    let earlier = pair.folder.path().join("earlier.sqlite");
    pair.with_server_stopped(|source| {
        std::fs::copy(source, &earlier).unwrap();
    });
    for name in ["kept", "lost"] {
        pair.server.execute("INSERT INTO users (name) VALUES (?1)", [name]).unwrap();
        pair.synchronize_and_compare();
    }
    let newest = dump(&pair.standby());
    let revision = pair.pair.states().unwrap()[0].revision;
    pair.with_server_stopped(|source| {
        std::fs::copy(&earlier, source).unwrap();
    });
    let outcome = pair.synchronize_and_compare();
    assert!(outcome.warnings[0].contains("set back to an older state"), "{outcome:?}");
    let to = pair.folder.path().join("restored.sqlite");
    let states = pair.pair.states().unwrap();
    let state = states.iter().find(|state| state.revision == revision).unwrap();
    assert!(state.reason.as_ref().is_some_and(|reason| reason.contains("older state")), "{state:?}");
    pair.pair.restore_state(revision, &to, Generation(2), &CancellationToken::new()).unwrap();
    assert_eq!(dump(&to), newest);
}

#[test]
fn a_source_that_is_replaced_by_an_almost_empty_one_is_refused_until_that_is_accepted() {
    let mut pair = Pair::new(USERS);
    let many = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 20000)
        INSERT INTO contacts SELECT 'many', i, NULL FROM n";
    pair.server.execute_batch(many).unwrap();
    pair.synchronize_and_compare();
    let before = dump(&pair.standby());
    let refused = |pair: &Pair| {
        let error = pair.synchronize().unwrap_err();
        assert_eq!(error.kind, ErrorKind::SafetyShareExceeded, "{error:?}");
        assert!(error.message.contains("contacts"), "{error}");
        assert_eq!(dump(&pair.standby()), before);
        assert_fenced(&pair.standby());
    };
    // Emptied in its place.
    pair.server.execute_batch("DELETE FROM contacts").unwrap();
    refused(&pair);
    refused(&pair);
    pair.server.execute_batch(many).unwrap();
    pair.synchronize().unwrap();
    // Dropped.
    let sql: String = pair
        .server
        .query_row("SELECT sql FROM sqlite_schema WHERE name = 'contacts'", [], |row| row.get(0))
        .unwrap();
    pair.server.execute_batch("CREATE TABLE aside AS SELECT * FROM contacts; DROP TABLE contacts").unwrap();
    refused_as(&pair, "contacts is gone");
    pair.server
        .execute_batch(&format!("{sql}; INSERT INTO contacts SELECT * FROM aside; DROP TABLE aside"))
        .unwrap();
    pair.synchronize().unwrap();
    // Made anew by its server.
    pair.with_server_stopped(|source| {
        std::fs::remove_file(source).unwrap();
        Connection::open(source).unwrap().execute_batch(USERS).unwrap();
    });
    refused_as(&pair, "contacts has 2 of");
    pair.accept_deletions().unwrap();
    assert_equal_pages(&pair.source(), &pair.standby());
}

fn refused_as(pair: &Pair, reason: &str) {
    let error = pair.synchronize().unwrap_err();
    assert_eq!(error.kind, ErrorKind::SafetyShareExceeded, "{error:?}");
    assert!(error.message.contains(reason), "{error}");
}

/// Rebuilds a table the way SQLite's documentation says.
#[test]
fn a_table_that_is_rebuilt_and_a_database_that_is_vacuumed_follow() {
    let pair = Pair::new(USERS);
    pair.synchronize_and_compare();
    for change in ["upper(name)", "lower(name)", "name || 'x'"] {
        pair.server
            .execute_batch(&format!(
                "BEGIN; CREATE TABLE new_users (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, card BLOB);
                 INSERT INTO new_users SELECT id, {change}, card FROM users; DROP TABLE users;
                 ALTER TABLE new_users RENAME TO users; COMMIT;"
            ))
            .unwrap();
        pair.synchronize_and_compare();
        pair.server.execute_batch("VACUUM; UPDATE users SET card = 1 WHERE id = 1").unwrap();
        pair.synchronize_and_compare();
    }
}

/// What decides how pages are laid out may be changed by a VACUUM; readers of the copy go on.
#[test]
fn a_layout_that_is_changed_follows_in_the_file_that_readers_have_open() {
    let pair = Pair::new(USERS);
    pair.synchronize_and_compare();
    let reader = Connection::open(pair.standby()).unwrap();
    let count = || reader.query_row("SELECT count(*) FROM users", [], |row| row.get::<_, i64>(0)).unwrap();
    assert_eq!(count(), 2);
    for change in [
        "PRAGMA page_size = 8192",
        "PRAGMA auto_vacuum = FULL",
        "PRAGMA page_size = 512",
        "PRAGMA auto_vacuum = INCREMENTAL",
        "PRAGMA page_size = 65536; PRAGMA auto_vacuum = NONE",
        "PRAGMA page_size = 4096",
    ] {
        pair.server.execute_batch(&format!("{change}; VACUUM")).unwrap();
        pair.synchronize_and_compare();
        let check: String = reader.pragma_query_value(None, "integrity_check", |row| row.get(0)).unwrap();
        assert_eq!((check.as_str(), count()), ("ok", 2), "{change}");
        pair.server
            .execute_batch("UPDATE users SET card = zeroblob(3000); UPDATE users SET card = 1")
            .unwrap();
        pair.synchronize_and_compare();
    }
}

/// What a write-ahead log may do between two syncs: go on, be carried back, be begun anew, be removed, be left behind.
#[test]
fn whatever_becomes_of_a_log_its_commits_arrive() {
    let mut pair = Pair::new(&format!("PRAGMA journal_mode = WAL; {USERS}"));
    pair.synchronize_and_compare();
    for round in 0..3 {
        for step in [
            "PRAGMA wal_checkpoint(PASSIVE)",
            "PRAGMA wal_checkpoint(RESTART)",
            "PRAGMA wal_checkpoint(TRUNCATE)",
            "PRAGMA journal_mode = DELETE",
            "PRAGMA journal_mode = WAL",
            "PRAGMA wal_autocheckpoint = 2",
        ] {
            pair.server.execute("UPDATE users SET card = ?1", [round]).unwrap();
            let _ = pair.server.query_row(step, [], |_| Ok(()));
            pair.synchronize_and_compare();
            pair.server.execute("UPDATE users SET card = ?1 || 'x'", [round]).unwrap();
            pair.synchronize_and_compare();
        }
        pair.with_server_stopped(|_| {});
        pair.synchronize_and_compare();
    }
}

#[test]
fn deleting_everything_is_seen() {
    let pair = Pair::new(USERS);
    pair.synchronize_and_compare();
    pair.server.execute_batch("DELETE FROM users; DELETE FROM contacts").unwrap();
    pair.synchronize_and_compare();
    assert_eq!(dump(&pair.standby()), Vec::<String>::new());
}

#[test]
fn a_writer_during_the_copies_never_tears_them() {
    for mode in ["WAL", "DELETE"] {
        halves(mode);
    }
}

fn halves(mode: &str) {
    let pair = Pair::configured(
        &format!("PRAGMA journal_mode = {mode}; CREATE TABLE halves (id INTEGER PRIMARY KEY, side TEXT, amount INTEGER, padding TEXT);
         WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 40000)
         INSERT INTO halves SELECT i, 'left', 100, hex(randomblob(20)) FROM n;"),
        |config| {
            config.server_waits = true;
            config.max_lock_ms = 2_000;
        },
    );
    let stop = std::sync::atomic::AtomicBool::new(false);
    let source = pair.source();
    let longest = std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let server = Connection::open(&source).unwrap();
            server.busy_timeout(std::time::Duration::from_secs(5)).unwrap();
            let mut longest = std::time::Duration::ZERO;
            for round in 0.. {
                if stop.load(std::sync::atomic::Ordering::Relaxed) {
                    break;
                }
                let (a, b) = ((round * 7) % 40000 + 1, (round * 13) % 40000 + 1);
                let started = std::time::Instant::now();
                server
                    .execute_batch(&format!(
                        "BEGIN IMMEDIATE; UPDATE halves SET amount = amount - 1 WHERE id = {a};
                         UPDATE halves SET amount = amount + 1 WHERE id = {b}; COMMIT;"
                    ))
                    .unwrap();
                longest = longest.max(started.elapsed());
            }
            longest
        });
        let stop_at_end = StopOnDrop(&stop);
        for _ in 0..6 {
            pair.synchronize().unwrap();
            let total: i64 = Connection::open(pair.standby())
                .unwrap()
                .query_row("SELECT sum(amount) FROM halves", [], |row| row.get(0))
                .unwrap();
            assert_eq!(total, 4_000_000, "the standby holds half of a transaction");
        }
        drop(stop_at_end);
        writer.join().unwrap()
    });
    eprintln!("the writer's longest transaction took {longest:?}");
    pair.synchronize_and_compare();
}

#[derive(Clone, Debug)]
enum Write {
    Put(i64, String),
    Replace(i64, String),
    Rename(i64, i64),
    Delete(i64),
    Truncate,
    Vacuum,
    Synchronize,
}

fn write() -> impl Strategy<Value = Write> {
    let id = 0..8_i64;
    let name = "[a-f]";
    prop_oneof![
        4 => (id.clone(), name).prop_map(|(id, name)| Write::Put(id, name)),
        2 => (id.clone(), name).prop_map(|(id, name)| Write::Replace(id, name)),
        2 => (id.clone(), id.clone()).prop_map(|(a, b)| Write::Rename(a, b)),
        2 => id.prop_map(Write::Delete),
        1 => Just(Write::Truncate),
        1 => Just(Write::Vacuum),
        3 => Just(Write::Synchronize),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]
    #[test]
    fn any_sequence_of_writes_ends_with_equal_copies(writes in prop::collection::vec(write(), 1..40)) {
        let pair = Pair::new(USERS);
        for write in writes {
            let server = &pair.server;
            // A constraint may refuse a write: that is the server's affair.
            let _ = match write {
                Write::Put(id, name) => server.execute("INSERT INTO users (id, name) VALUES (?1, ?2) ON CONFLICT (id) DO UPDATE SET name = excluded.name", (id, name)),
                Write::Replace(id, name) => server.execute("INSERT OR REPLACE INTO users (id, name) VALUES (?1, ?2)", (id, name)),
                Write::Rename(a, b) => server.execute("UPDATE OR REPLACE users SET id = ?2 WHERE id = ?1", (a, b)),
                Write::Delete(id) => server.execute("DELETE FROM users WHERE id = ?1", [id]),
                Write::Truncate => server.execute("DELETE FROM users", []),
                Write::Vacuum => server.execute("VACUUM", []),
                Write::Synchronize => { pair.synchronize_and_compare(); Ok(0) }
            };
        }
        pair.synchronize_and_compare();
    }
}

#[test]
fn a_statement_that_fails_halfway_and_keeps_its_rows_is_copied() {
    let pair = Pair::new(USERS);
    pair.synchronize_and_compare();
    let fails = "INSERT OR FAIL INTO users (id, name) VALUES (10, 'cora'), (11, 'dora'), (12, 'anna')";
    pair.server.execute_batch(fails).unwrap_err();
    pair.synchronize_and_compare();
    for card in 0..3 {
        pair.server.execute("UPDATE users SET card = ?1 WHERE id = 10", [card]).unwrap();
        assert_eq!(pair.synchronize_and_compare().warnings, Vec::<String>::new());
    }
}
