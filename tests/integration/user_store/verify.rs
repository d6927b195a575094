//! Comparing all rows and repairing what differs: on request, and by itself when a copy cannot be trusted.

use std::cell::Cell;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use cs_backup::error::ErrorKind;
use cs_backup::report::{Differing, Verification};
use cs_backup::store::Progress;
use cs_backup::store::user::{PairOutcome, UserStorePair, Work};
use rusqlite::Connection;
use rusqlite::config::DbConfig;
use tokio_util::sync::CancellationToken;

use super::{Pair, USERS, dump, work};
use crate::support::StopOnDrop;

/// A table of every kind: with a rowid and with a key of its own, without rowids, and with keys from the topology that
/// several rows share and that may be NULL.
const KINDS: &str = "
CREATE TABLE users (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, card BLOB, rank);
CREATE TABLE contacts (owner TEXT NOT NULL, contact TEXT NOT NULL, note, PRIMARY KEY (owner, contact)) WITHOUT ROWID;
CREATE TABLE lists (host TEXT, owner TEXT, item TEXT);
CREATE TABLE tags (tag TEXT PRIMARY KEY, weight REAL);
WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 500)
INSERT INTO users SELECT i, 'user ' || i, CAST('card ' || i AS BLOB), i % 7 FROM n;
INSERT INTO contacts SELECT 'user ' || u.id, 'user ' || v.id, v.rank FROM users u JOIN users v ON v.id BETWEEN u.id + 1 AND u.id + 3;
INSERT INTO lists SELECT 'here', name, 'one' FROM users UNION ALL SELECT 'here', name, 'two' FROM users;
INSERT INTO lists VALUES (NULL, 'nobody', 'a'), (NULL, NULL, 'b'), (NULL, NULL, 'b');
INSERT INTO tags SELECT 'tag ' || id, id / 2.0 FROM users;
UPDATE users SET rank = -0.0 WHERE id = 77;
";

fn kinds() -> Pair {
    Pair::configured(KINDS, |config| {
        config.keys.insert("lists".to_owned(), vec!["host".to_owned(), "owner".to_owned()]);
    })
}

/// Writes to a database past every trigger in it, as somebody does who knows how.
fn tamper(database: &Path, sql: &str) {
    let connection = Connection::open(database).unwrap();
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER, false).unwrap();
    connection.execute_batch(sql).unwrap();
}

fn verify(pair: &Pair) -> PairOutcome {
    let cancel = CancellationToken::new();
    pair.pair.synchronize(&Work { verify: true, ..work(&cancel, 1) }).unwrap()
}

fn found(outcome: &PairOutcome) -> &Verification {
    outcome.verification.as_ref().expect("nothing was compared")
}

fn has_reason(outcome: &PairOutcome, reason: &str) -> bool {
    found(outcome).reasons.iter().any(|sentence| sentence.contains(reason))
}

const WRONG: [(&str, &[(&str, u64)]); 16] = [
    ("UPDATE users SET card = x'00' WHERE id = 42", &[("users", 1)]),
    ("UPDATE users SET card = CAST(card AS TEXT) WHERE id = 42", &[("users", 1)]),
    ("UPDATE users SET rank = CAST(rank AS TEXT) WHERE id = 42", &[("users", 1)]),
    ("UPDATE users SET rank = rank * 1.0 WHERE id = 42", &[("users", 1)]),
    ("UPDATE users SET rank = 0.0 WHERE id = 77", &[("users", 1)]),
    ("UPDATE users SET rank = NULL WHERE id = 42", &[("users", 1)]),
    ("DELETE FROM users WHERE id = 1", &[("users", 1)]),
    ("INSERT INTO users VALUES (1000, 'nobody', NULL, NULL)", &[("users", 1)]),
    (
        "UPDATE contacts SET note = 'x' WHERE owner = 'user 9'; DELETE FROM contacts WHERE owner = 'user 10' AND contact = 'user 11'",
        &[("contacts", 4)],
    ),
    ("INSERT INTO contacts VALUES ('a', 'b', 'c')", &[("contacts", 1)]),
    ("UPDATE lists SET item = 'three' WHERE owner = 'user 5' AND item = 'two'", &[("lists", 1)]),
    ("INSERT INTO lists VALUES (NULL, NULL, 'b')", &[("lists", 1)]),
    ("DELETE FROM lists WHERE rowid = (SELECT max(rowid) FROM lists)", &[("lists", 1)]),
    ("DELETE FROM lists WHERE host IS NULL", &[("lists", 3)]),
    ("DELETE FROM tags", &[("tags", 500)]),
    // Each has the unique name of the other: neither can be put right before both are taken away.
    (
        "UPDATE users SET name = 'x' WHERE id = 1; UPDATE users SET name = 'user 1' WHERE id = 2; UPDATE users SET name = 'user 2' WHERE id = 1",
        &[("users", 2)],
    ),
];

#[test]
fn exactly_the_rows_that_differ_are_found_and_repaired_in_every_kind_of_table() {
    let pair = kinds();
    pair.synchronize_and_compare();
    let right = dump(&pair.source());
    for (sql, differing) in WRONG {
        tamper(&pair.standby(), sql);
        assert_ne!(right, dump(&pair.standby()), "{sql}");
        let outcome = pair.synchronize_and_compare();
        let rows = differing.iter().map(|(_, rows)| rows).sum::<u64>();
        let names =
            differing.iter().map(|(name, items)| Differing { name: (*name).to_owned(), items: *items });
        assert_eq!(found(&outcome).differing, names.collect::<Vec<_>>(), "{sql}");
        assert_eq!((found(&outcome).differing_items, found(&outcome).repaired_items), (rows, rows), "{sql}");
        assert!(has_reason(&outcome, "somebody else wrote"), "{outcome:?}");
        // A key that is shared takes its other rows along.
        let moved = outcome.moved.items_written + outcome.moved.items_deleted;
        assert!(moved <= rows + 3, "{sql}: {:?}", outcome.moved);
        assert!(outcome.warnings.iter().any(|warning| warning.contains(differing[0].0)), "{outcome:?}");
        assert_eq!(pair.synchronize_and_compare().verification, None, "{sql}: compared again");
    }
}

#[test]
fn what_no_trigger_saw_is_found_only_on_request() {
    let pair = kinds();
    pair.synchronize_and_compare();
    tamper(
        &pair.source(),
        "UPDATE users SET card = NULL WHERE id % 100 = 0; DELETE FROM tags WHERE tag = 'tag 3'",
    );
    assert_eq!(pair.synchronize().unwrap().verification, None);
    assert_ne!(dump(&pair.source()), dump(&pair.standby()));
    let outcome = verify(&pair);
    assert_eq!(dump(&pair.source()), dump(&pair.standby()));
    assert_eq!(found(&outcome).reasons, ["It was asked for."]);
    assert_eq!((found(&outcome).differing_items, found(&outcome).repaired_items), (6, 6));
    assert_eq!((outcome.moved.items_written, outcome.moved.items_deleted), (5, 1));
}

#[test]
fn a_quiet_pair_does_not_differ_and_changes_that_were_to_be_copied_are_no_differences() {
    let pair = kinds();
    let first = verify(&pair);
    let rows = dump(&pair.source()).len() as u64;
    assert_eq!((found(&first).compared_items, found(&first).differing_items), (rows, 0));
    pair.server
        .execute_batch("DELETE FROM contacts WHERE owner = 'user 7'; UPDATE users SET rank = 9; VACUUM")
        .unwrap();
    let second = verify(&pair);
    assert_eq!((found(&second).compared_items, found(&second).differing_items), (rows - 3, 0));
    assert!(second.warnings.is_empty(), "{second:?}");
    assert_eq!(dump(&pair.source()), dump(&pair.standby()));
}

#[test]
fn a_server_that_writes_during_a_comparison_causes_no_repairs_and_no_torn_copy() {
    let pair = kinds();
    pair.synchronize_and_compare();
    let sum = |path: &Path| -> f64 {
        let connection = Connection::open(path).unwrap();
        connection.query_row("SELECT total(rank) FROM users", [], |row| row.get(0)).unwrap()
    };
    let (total, done) = (sum(&pair.source()), AtomicBool::new(false));
    let source = pair.source();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let server = Connection::open(&source).unwrap();
            server.busy_timeout(std::time::Duration::from_secs(20)).unwrap();
            let mut round = 0;
            while !done.load(Ordering::Relaxed) {
                round += 1;
                // Ranks move between users, so that their sum stays; rows come, go and get other keys and rowids.
                let id = round * 37 % 400 + 1;
                server
                    .execute_batch(&format!(
                        "BEGIN IMMEDIATE;
                         UPDATE users SET rank = rank + 1 WHERE id = {id}; UPDATE users SET rank = rank - 1 WHERE id = {id} + 50;
                         DELETE FROM lists WHERE owner = 'user {id}'; INSERT INTO lists VALUES ('here', 'user {id}', {round});
                         INSERT OR REPLACE INTO tags VALUES ('tag {id}', {round}); UPDATE OR REPLACE tags SET tag = 'new ' || tag WHERE tag = 'tag {id}';
                         DELETE FROM contacts WHERE owner = 'user {id}'; INSERT INTO contacts VALUES ('user {id}', 'x{round}', 1); COMMIT"
                    ))
                    .unwrap();
                std::thread::sleep(std::time::Duration::from_millis(2));
            }
        });
        let _stop_at_end = StopOnDrop(&done);
        for _ in 0..8 {
            let outcome = verify(&pair);
            assert_eq!(found(&outcome).differing, [], "{outcome:?}");
            assert_eq!(sum(&pair.standby()), total, "the standby holds half of a transaction");
        }
    });
    pair.synchronize_and_compare();
}

#[test]
fn a_wrong_row_that_the_server_changes_during_the_comparison_is_right_afterwards_and_no_repair() {
    let pair = kinds();
    pair.synchronize_and_compare();
    tamper(&pair.standby(), "UPDATE users SET card = x'00' WHERE id IN (1, 3)");
    let (cancel, has_written) = (CancellationToken::new(), Cell::new(false));
    let progress = |progress: Progress| {
        if progress.activity == "Comparing rows" && !has_written.replace(true) {
            pair.server.execute_batch("UPDATE users SET rank = rank + 5 WHERE id IN (1, 2)").unwrap();
        }
    };
    let outcome = pair.pair.synchronize(&Work { progress: &progress, ..work(&cancel, 1) }).unwrap();
    assert_eq!(found(&outcome).differing_items, 1, "{outcome:?}");
    assert_eq!(dump(&pair.source()), dump(&pair.standby()));
}

#[test]
fn a_touched_copy_is_noticed_at_once_even_if_neither_its_size_nor_the_clock_shows_it() {
    let pair = Pair::new(USERS);
    pair.synchronize_and_compare();
    for round in 0..20 {
        pair.server.execute("UPDATE users SET card = ?1 WHERE id = 1", [round]).unwrap();
        pair.synchronize().unwrap();
        tamper(&pair.standby(), "UPDATE users SET card = -1 WHERE id = 2");
        let outcome = pair.synchronize_and_compare();
        assert_eq!(found(&outcome).differing_items, 1, "round {round}");
    }
}

#[test]
fn a_fence_that_was_taken_away_is_raised_again_and_named() {
    let pair = Pair::new(USERS);
    pair.synchronize_and_compare();
    let fence = || -> Vec<String> {
        let standby = Connection::open(pair.standby()).unwrap();
        let mut statement = standby
            .prepare("SELECT sql FROM sqlite_schema WHERE name LIKE 'csb_fence_%' ORDER BY name")
            .unwrap();
        statement.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
    };
    let (before, mut named) = (fence(), 0);
    let drops = [
        "DROP TRIGGER csb_fence_1_insert",
        "DROP TRIGGER csb_fence_0_update; CREATE TRIGGER csb_fence_0_update BEFORE UPDATE ON contacts BEGIN SELECT 1; END",
    ];
    for (sql, table) in drops.into_iter().zip(["users", "contacts"]) {
        Connection::open(pair.standby()).unwrap().execute_batch(sql).unwrap();
        assert_ne!(fence(), before);
        let outcome = pair.synchronize_and_compare();
        assert_eq!((fence(), found(&outcome).differing_items), (before.clone(), 0));
        named += outcome.warnings.iter().filter(|w| w.contains(&format!("from {table};"))).count();
    }
    assert_eq!(named, 2);
}

#[test]
fn objects_that_somebody_made_in_the_copy_are_removed_and_named() {
    let pair = Pair::new(USERS);
    pair.synchronize_and_compare();
    tamper(
        &pair.standby(),
        "CREATE TABLE mine (x); INSERT INTO mine VALUES (1); CREATE INDEX my_index ON users (card); CREATE VIEW my_view AS SELECT 1",
    );
    let outcome = pair.synchronize_and_compare();
    let named = "table mine, index my_index, view my_view";
    assert!(outcome.warnings.iter().any(|warning| warning.contains(named)), "{outcome:?}");
    assert_eq!(pair.synchronize_and_compare().warnings, Vec::<String>::new());
    // What the server drops itself is no intrusion.
    pair.server.execute_batch("CREATE TABLE more (id INTEGER PRIMARY KEY)").unwrap();
    pair.synchronize_and_compare();
    pair.server.execute_batch("DROP TABLE more").unwrap();
    assert_eq!(pair.synchronize_and_compare().warnings, Vec::<String>::new());
}

#[test]
fn nobody_can_remove_from_the_log_what_is_not_confirmed() {
    let pair = kinds();
    pair.synchronize_and_compare();
    pair.synchronize_and_compare();
    let all = "DELETE FROM csb_change";
    let newest = "DELETE FROM csb_change WHERE position = (SELECT max(position) FROM csb_change)";
    for part in [all, newest] {
        let refused = pair.server.execute_batch(part).unwrap_err();
        assert!(refused.to_string().contains("not backed up yet"), "{part}: {refused}");
    }
    pair.server.execute_batch("UPDATE users SET rank = 100 WHERE id <= 40").unwrap();
    for part in [all, newest] {
        pair.server.execute_batch(part).unwrap_err();
    }
    assert_eq!(pair.synchronize_and_compare().verification, None);
}

#[test]
fn tables_are_copied_whole_where_a_log_was_shortened_that_nothing_kept() {
    let pair = kinds();
    pair.synchronize_and_compare();
    let parts = [
        "position > 0",
        "position > (SELECT max(position) FROM csb_barrier)",
        "position = (SELECT max(position) FROM csb_change)",
    ];
    for (round, part) in parts.into_iter().enumerate() {
        pair.server.execute("UPDATE users SET rank = ?1 WHERE id <= 40", [round as i64 + 100]).unwrap();
        pair.server
            .execute_batch(&format!("DROP TRIGGER csb_t_last; DELETE FROM csb_change WHERE {part}"))
            .unwrap();
        pair.server.execute("UPDATE users SET rank = ?1 WHERE id = 1", [round as i64]).unwrap();
        let outcome = pair.synchronize_and_compare();
        assert!(outcome.details.iter().any(|detail| detail.starts_with("Copied")), "{part}: {outcome:?}");
        let quiet = pair.synchronize_and_compare();
        assert_eq!((quiet.verification, quiet.moved.items_written), (None, 0), "{part}");
    }
}

#[test]
fn a_log_that_somebody_shortened_past_its_triggers_is_noticed() {
    let pair = kinds();
    pair.synchronize_and_compare();
    let meddler = Connection::open(pair.source()).unwrap();
    meddler.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER, false).unwrap();
    let unconfirmed = "(SELECT position FROM csb_change ORDER BY position DESC LIMIT 40)";
    let parts = [("LIMIT 5 OFFSET 20", 5), ("LIMIT 30", 30)];
    for (round, (part, missing)) in parts.into_iter().enumerate() {
        pair.server.execute("UPDATE users SET rank = ?1 WHERE id <= 40", [round as i64 + 100]).unwrap();
        let positions = format!("SELECT position FROM {unconfirmed} ORDER BY position {part}");
        meddler.execute(&format!("DELETE FROM csb_change WHERE position IN ({positions})"), []).unwrap();
        let outcome = pair.synchronize_and_compare();
        assert!(has_reason(&outcome, &format!("{missing} entries had been removed")), "{part}: {outcome:?}");
        assert_eq!(found(&outcome).differing_items, missing, "{part}");
        assert_eq!(pair.synchronize_and_compare().verification, None, "{part}");
    }
    // Without its newest row the log would give its positions out again.
    pair.server.execute_batch("UPDATE users SET rank = 200 WHERE id <= 40").unwrap();
    meddler.execute_batch("DELETE FROM csb_change").unwrap();
    let outcome = pair.synchronize_and_compare();
    assert!(outcome.details.iter().any(|detail| detail.starts_with("Copied")), "{outcome:?}");
    pair.server.execute_batch("UPDATE users SET rank = 201 WHERE id <= 40").unwrap();
    assert_eq!(pair.synchronize_and_compare().moved.items_written, 40);
}

#[test]
fn statements_that_are_rolled_back_ignored_or_fail_leave_no_gap_in_the_log() {
    let pair = Pair::new(USERS);
    pair.synchronize_and_compare();
    let writes = [
        "BEGIN; UPDATE users SET card = 1; ROLLBACK; UPDATE users SET card = 2",
        "BEGIN; UPDATE users SET card = 3; SAVEPOINT a; DELETE FROM users; ROLLBACK TO a; DELETE FROM contacts WHERE owner = 'anna'; RELEASE a; COMMIT",
        "INSERT OR IGNORE INTO users (id, name) VALUES (5, 'c'), (6, 'anna'), (7, 'd')",
        "INSERT OR FAIL INTO users (id, name) VALUES (8, 'e'), (9, 'anna'), (10, 'f')",
        "INSERT INTO users (id, name) VALUES (11, 'g'), (12, 'anna')",
        "INSERT OR ROLLBACK INTO users (id, name) VALUES (13, 'h'), (14, 'anna')",
        "INSERT OR REPLACE INTO users (id, name) VALUES (15, 'i'), (16, 'anna')",
        "INSERT INTO users (id, name) VALUES (17, 'anna') ON CONFLICT (name) DO UPDATE SET id = 18",
        "INSERT INTO users (id, name) VALUES (19, 'anna') ON CONFLICT DO NOTHING",
        "UPDATE OR FAIL users SET name = 'j'",
        "UPDATE users SET card = 5",
    ];
    for sql in writes {
        // Some of them are meant to fail.
        let _ = pair.server.execute_batch(sql);
        assert_eq!(pair.synchronize_and_compare().verification, None, "{sql}");
    }
}

/// Puts a file in the place of another one, as somebody who restores a backup does.
fn put(from: &Path, to: &Path) {
    std::fs::remove_file(to).unwrap();
    std::fs::copy(from, to).unwrap();
}

#[test]
fn an_older_state_of_the_copy_is_brought_up_to_date_in_its_place() {
    let pair = kinds();
    pair.synchronize_and_compare();
    let older = pair.folder.path().join("older");
    std::fs::copy(pair.standby(), &older).unwrap();
    for round in 0..3 {
        pair.server.execute("UPDATE users SET rank = ?1 WHERE id BETWEEN 10 AND 19", [round + 50]).unwrap();
        pair.server.execute("DELETE FROM contacts WHERE owner = 'user 1' || ?1", [round]).unwrap();
        pair.synchronize_and_compare();
    }
    put(&older, &pair.standby());
    let outcome = pair.synchronize_and_compare();
    assert!(has_reason(&outcome, "older state of itself"), "{outcome:?}");
    assert_eq!(found(&outcome).differing_items, 10 + 9);
    let beside = std::fs::read_dir(pair.folder.path()).unwrap().map(|entry| entry.unwrap().file_name());
    let beside: Vec<_> = beside.filter(|name| name.to_string_lossy().contains("superseded")).collect();
    assert_eq!(beside, Vec::<std::ffi::OsString>::new());
    assert_eq!(pair.synchronize_and_compare().verification, None);
}

#[test]
fn a_copy_of_a_state_that_the_source_was_set_back_from_is_never_taken_for_an_older_one() {
    let pair = Pair::new(USERS);
    pair.synchronize_and_compare();
    let backup = pair.folder.path().join("backup");
    pair.server.execute("VACUUM INTO ?1", [backup.to_str().unwrap()]).unwrap();
    pair.server.execute_batch("INSERT INTO users (id, name) VALUES (3, 'lost')").unwrap();
    pair.synchronize_and_compare();
    let lost = pair.folder.path().join("holds what was lost");
    std::fs::copy(pair.standby(), &lost).unwrap();
    let Pair { folder, server, pair: sqlite } = pair;
    drop(server);
    put(&backup, &folder.path().join("users.sqlite"));
    let server = Connection::open(folder.path().join("users.sqlite")).unwrap();
    let pair = Pair { folder, server, pair: sqlite };
    for round in 0..5 {
        // Positions overtake those of the state that was lost.
        pair.server.execute("UPDATE users SET card = ?1", [round]).unwrap();
        pair.synchronize_and_compare();
    }
    put(&lost, &pair.standby());
    let outcome = pair.synchronize_and_compare();
    assert!(
        outcome.warnings.iter().any(|w| w.contains("another user store") && w.contains("kept")),
        "{outcome:?}"
    );
}

#[test]
fn a_copy_that_lost_its_cursor_is_compared() {
    for sql in ["DELETE FROM csb_standby", "DROP TABLE csb_standby; DROP TABLE csb_quarantine"] {
        let pair = kinds();
        pair.synchronize_and_compare();
        pair.server.execute_batch("UPDATE users SET rank = 1000 WHERE id < 4").unwrap();
        tamper(&pair.standby(), sql);
        let seen = pair.pair.observe(&CancellationToken::new()).unwrap();
        assert!(seen.to_compare.is_some_and(|reason| reason.contains("lost its cursor")), "{sql}");
        let outcome = pair.synchronize_and_compare();
        assert!(has_reason(&outcome, "lost its cursor"), "{outcome:?}");
        assert_eq!((found(&outcome).differing_items, outcome.moved.items_written), (3, 3), "{sql}");
        assert_eq!(pair.synchronize_and_compare().verification, None);
    }
}

#[test]
fn a_file_that_was_swapped_is_compared_and_another_stores_copy_is_set_aside() {
    let pair = kinds();
    pair.synchronize_and_compare();
    let same = pair.folder.path().join("same");
    std::fs::copy(pair.standby(), &same).unwrap();
    put(&same, &pair.standby());
    let seen = pair.pair.observe(&CancellationToken::new()).unwrap();
    assert!(seen.to_compare.is_some_and(|reason| reason.contains("somebody else")));
    let outcome = pair.synchronize_and_compare();
    assert_eq!((found(&outcome).differing_items, outcome.warnings.len()), (0, 0), "{outcome:?}");
    assert_eq!(pair.pair.observe(&CancellationToken::new()).unwrap().to_compare, None);

    let other = kinds();
    other.synchronize_and_compare();
    put(&other.standby(), &pair.standby());
    let outcome = pair.synchronize_and_compare();
    assert_eq!(outcome.verification, None);
    assert!(outcome.warnings.iter().any(|warning| warning.contains("another user store")), "{outcome:?}");
}

#[test]
fn a_job_that_was_killed_before_it_could_look_at_its_copy_costs_a_comparison_and_no_warning() {
    let pair = kinds();
    pair.synchronize_and_compare();
    std::fs::remove_file(pair.folder.path().join("standby.sqlite.csb-seen")).unwrap();
    let outcome = pair.synchronize_and_compare();
    assert_eq!((found(&outcome).differing_items, outcome.warnings.len()), (0, 0), "{outcome:?}");
    assert_eq!(pair.synchronize_and_compare().verification, None);
}

#[test]
fn a_comparison_is_cancelled_at_once_and_leaves_the_copy_as_it_was() {
    let pair = kinds();
    pair.synchronize_and_compare();
    tamper(&pair.source(), "DELETE FROM tags");
    let before = dump(&pair.standby());
    let cancel = CancellationToken::new();
    let progress = |progress: Progress| {
        if progress.activity == "Comparing rows" {
            cancel.cancel();
        }
    };
    let cancelled = pair.pair.synchronize(&Work { verify: true, progress: &progress, ..work(&cancel, 1) });
    assert_eq!(cancelled.unwrap_err().kind, ErrorKind::Cancelled);
    assert_eq!(dump(&pair.standby()), before);
    assert_eq!(found(&verify(&pair)).differing_items, 500);
}

#[test]
fn keys_that_only_sqlite_takes_for_equal_do_not_double_their_rows() {
    let schema = "CREATE TABLE notes (owner TEXT COLLATE NOCASE, number, note);
        INSERT INTO notes VALUES ('Anna', 1, 'a'), ('anna', 1.0, 'b'), ('ANNA', 1, 'c')";
    let pair = Pair::configured(schema, |config| {
        config.keys.insert("notes".to_owned(), vec!["owner".to_owned(), "number".to_owned()]);
    });
    pair.synchronize_and_compare();
    pair.server.execute_batch("UPDATE notes SET note = note || '!'").unwrap();
    pair.synchronize_and_compare();
    tamper(&pair.standby(), "UPDATE notes SET note = 'wrong'");
    let outcome = pair.synchronize_and_compare();
    assert_eq!(found(&outcome).differing_items, 3);
}

#[test]
fn a_copy_that_somebody_gave_a_write_ahead_log_shows_again_what_is_written_to_it() {
    let pair = Pair::new(USERS);
    pair.synchronize_and_compare();
    tamper(&pair.standby(), "PRAGMA journal_mode = WAL; UPDATE users SET card = 1 WHERE id = 2");
    assert_eq!(found(&pair.synchronize_and_compare()).differing_items, 1);
    let reader = Connection::open(pair.standby()).unwrap();
    let mode: String = reader.pragma_query_value(None, "journal_mode", |row| row.get(0)).unwrap();
    assert_eq!(mode, "delete");
    pair.server.execute_batch("UPDATE users SET card = 3").unwrap();
    assert_eq!(pair.synchronize_and_compare().verification, None);
    assert_eq!(pair.synchronize_and_compare().verification, None);
    tamper(&pair.standby(), "UPDATE users SET card = 1 WHERE id = 2");
    assert_eq!(found(&pair.synchronize_and_compare()).differing_items, 1);
}

#[test]
fn rows_in_quarantine_are_no_differences_and_one_that_cannot_be_repaired_is_not_counted_as_repaired() {
    let strict = "CREATE TABLE t (id INTEGER PRIMARY KEY, v INTEGER NOT NULL)";
    let pair = Pair::new(&format!("{strict}; INSERT INTO t VALUES (1, 1), (2, 2), (3, 3)"));
    pair.synchronize_and_compare();
    // A row from a time when the table was declared otherwise.
    let declare = |sql: &str| {
        let statement = format!("UPDATE sqlite_schema SET sql = '{sql}' WHERE name = 't'");
        tamper(&pair.source(), &format!("PRAGMA writable_schema = ON; {statement}"));
    };
    declare(&strict.replace(" NOT NULL", ""));
    tamper(&pair.source(), "UPDATE t SET v = NULL WHERE id = 2; UPDATE t SET v = 7 WHERE id = 3");
    declare(strict);
    let outcome = verify(&pair);
    assert_eq!((found(&outcome).differing_items, found(&outcome).repaired_items), (2, 1), "{outcome:?}");
    assert_eq!(outcome.quarantined.len(), 1, "{outcome:?}");
    let again = verify(&pair);
    assert_eq!((found(&again).differing_items, again.quarantined.len()), (0, 1), "{again:?}");
}
