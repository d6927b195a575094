//! What SQLite does behind a change log's back.

use proptest::prelude::*;
use rusqlite::Connection;

use super::{Pair, USERS, dump};
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
fn a_source_restored_to_an_earlier_state_is_noticed_and_the_newer_copy_kept() {
    let pair = Pair::new(USERS);
    pair.synchronize_and_compare();
    let earlier = pair.folder.path().join("earlier.sqlite");
    pair.server.execute("VACUUM INTO ?1", [earlier.to_str().unwrap()]).unwrap();
    pair.server.execute_batch("INSERT INTO users (name) VALUES ('lost')").unwrap();
    pair.synchronize_and_compare();
    let Pair { folder, server, pair } = pair;
    drop(server);
    std::fs::copy(&earlier, folder.path().join("users.sqlite")).unwrap();
    let server = Connection::open(folder.path().join("users.sqlite")).unwrap();
    for name in 0..20 {
        server.execute("INSERT INTO users (name) VALUES (?1)", [format!("later {name}")]).unwrap();
    }
    let pair = Pair { folder, server, pair };
    let outcome = pair.synchronize_and_compare();
    assert!(outcome.warnings[0].contains("restored to an earlier state"), "{outcome:?}");
    let kept = std::fs::read_dir(pair.folder.path())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .find(|path| path.to_str().unwrap().contains("superseded"))
        .unwrap();
    assert!(dump(&kept).iter().any(|row| row.contains("lost")));
}

/// Rebuilds a table the way SQLite's documentation says, with its triggers created again from the saved schema.
fn rebuild(server: &Connection, change: &str) {
    let triggers: Vec<String> = server
        .prepare("SELECT sql FROM sqlite_schema WHERE type = 'trigger' AND tbl_name = 'users'")
        .unwrap()
        .query_map([], |row| row.get(0))
        .unwrap()
        .collect::<rusqlite::Result<_>>()
        .unwrap();
    assert!(!triggers.is_empty());
    server
        .execute_batch(&format!(
            "BEGIN; CREATE TABLE new_users (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, card BLOB);
             INSERT INTO new_users SELECT id, {change}, card FROM users; DROP TABLE users;
             ALTER TABLE new_users RENAME TO users; {}; COMMIT;",
            triggers.join(";")
        ))
        .unwrap();
}

#[test]
fn a_table_rebuilt_with_its_triggers_is_copied_whole() {
    let pair = Pair::new(USERS);
    pair.synchronize_and_compare();
    for change in ["upper(name)", "lower(name)", "name || 'x'"] {
        rebuild(&pair.server, change);
        let copied = pair.synchronize_and_compare();
        assert_eq!((copied.moved.items_written, copied.moved.batches), (2, 2), "{copied:?}");
        assert!(copied.details.iter().any(|line| line == "Copied 2 rows of table users."), "{copied:?}");
        rebuild(&pair.server, "name || '1'");
        rebuild(&pair.server, "name || '2'");
        pair.server.execute_batch("VACUUM; UPDATE users SET card = 1 WHERE id = 1").unwrap();
        pair.synchronize_and_compare();
    }
}

#[test]
fn writes_while_the_triggers_were_gone_are_noticed() {
    let pair = Pair::new(USERS);
    pair.synchronize_and_compare();
    pair.server
        .execute_batch(
            "CREATE TABLE saved AS SELECT sql FROM sqlite_schema WHERE name = 'csb_t2_insert';
             DROP TRIGGER csb_t2_insert; INSERT INTO users (name) VALUES ('unseen');",
        )
        .unwrap();
    let sql: String = pair.server.query_row("SELECT sql FROM saved", [], |row| row.get(0)).unwrap();
    assert!(sql.contains("ON \"users\""), "{sql}");
    pair.server.execute_batch(&format!("DROP TABLE saved; {sql}")).unwrap();
    pair.synchronize_and_compare();
}

#[test]
fn a_vacuum_costs_no_copy_and_loses_nothing() {
    let pair = Pair::new(
        "CREATE TABLE t (k TEXT PRIMARY KEY, v); INSERT INTO t VALUES ('a', 1), ('b', 2), ('c', 3), ('d', 4);",
    );
    pair.synchronize_and_compare();
    for statement in [
        "DELETE FROM t WHERE k = 'a'; VACUUM; UPDATE t SET v = 9 WHERE k = 'd'",
        "VACUUM; DELETE FROM t WHERE k = 'c'; VACUUM",
    ] {
        pair.server.execute_batch(statement).unwrap();
        assert!(pair.synchronize_and_compare().moved.items_written <= 1);
    }
}

#[test]
fn deleting_everything_is_seen() {
    let pair = Pair::new(USERS);
    pair.synchronize_and_compare();
    pair.server.execute_batch("DELETE FROM users; DELETE FROM contacts").unwrap();
    assert_eq!(pair.synchronize_and_compare().moved.items_deleted, 4);
}

#[test]
fn a_writer_during_the_copies_never_tears_them() {
    let pair = Pair::new(
        "CREATE TABLE halves (id INTEGER PRIMARY KEY, side TEXT, amount INTEGER, padding TEXT);
         WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 40000)
         INSERT INTO halves SELECT i, 'left', 100, hex(randomblob(20)) FROM n;",
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
fn a_statement_that_fails_halfway_and_keeps_its_rows_is_copied_and_its_positions_are_not_used_again() {
    let pair = Pair::new(USERS);
    pair.synchronize_and_compare();
    let fails = "INSERT OR FAIL INTO users (id, name) VALUES (10, 'cora'), (11, 'dora'), (12, 'anna')";
    pair.server.execute_batch(fails).unwrap_err();
    pair.synchronize_and_compare();
    // A run that copies no changes removes all of them from the log but the newest.
    pair.server.execute_batch("CREATE VIEW names AS SELECT name FROM users").unwrap();
    pair.synchronize_and_compare();
    let log = || pair.server.query_row("SELECT count(*) FROM csb_change", [], |row| row.get::<_, i64>(0));
    assert_eq!(log().unwrap(), 1);
    for card in 0..3 {
        pair.server.execute("UPDATE users SET card = ?1 WHERE id = 10", [card]).unwrap();
        // Positions that were used again would make the store look like an earlier state of itself.
        assert_eq!(pair.synchronize_and_compare().warnings, Vec::<String>::new());
    }
}
