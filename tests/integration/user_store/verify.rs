//! Comparing all pages and repairing what differs: on request, and by itself when a copy cannot be trusted.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use cs_backup::error::ErrorKind;
use cs_backup::report::Verification;
use cs_backup::store::user::{PairOutcome, UserStorePair, Work};
use rusqlite::Connection;
use tokio_util::sync::CancellationToken;

use super::{Pair, USERS, assert_equal_pages, dump, flip, pages_of_standby, tamper, work};
use crate::support::StopOnDrop;

const KINDS: &str = "
CREATE TABLE users (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, card BLOB, rank);
CREATE TABLE contacts (owner TEXT NOT NULL, contact TEXT NOT NULL, note, PRIMARY KEY (owner, contact)) WITHOUT ROWID;
CREATE TABLE lists (host TEXT, owner TEXT, item TEXT);
WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 500)
INSERT INTO users SELECT i, 'user ' || i, CAST('card ' || i AS BLOB), i % 7 FROM n;
INSERT INTO contacts SELECT 'user ' || u.id, 'user ' || v.id, v.rank FROM users u JOIN users v ON v.id BETWEEN u.id + 1 AND u.id + 3;
INSERT INTO lists SELECT 'here', name, 'one' FROM users UNION ALL SELECT 'here', name, 'two' FROM users;
";

fn found(outcome: &PairOutcome) -> &Verification {
    outcome.verification.as_ref().expect("nothing was compared")
}

#[test]
fn a_bit_that_changed_in_the_copy_is_found_and_repaired_wherever_it_is() {
    let pair = Pair::new(KINDS);
    pair.synchronize_and_compare();
    let size = std::fs::metadata(pair.standby()).unwrap().len();
    for at in [60, 105, 4_096 + 3, size / 2, size - 1] {
        flip(&pair.standby(), at);
        let outcome = pair.verify().unwrap();
        assert_equal_pages(&pair.source(), &pair.standby());
        assert_eq!(dump(&pair.source()), dump(&pair.standby()));
        assert_eq!(outcome.moved.batches, 1, "{at}: {outcome:?}");
        assert!(!outcome.warnings.is_empty() || found(&outcome).repaired_items == 1, "{at}: {outcome:?}");
    }
    let quiet = pair.verify().unwrap();
    assert_eq!((found(&quiet).differing_items, quiet.moved.is_nothing()), (0, true), "{quiet:?}");
    assert!(quiet.warnings.is_empty());
}

/// Tells what is remembered of a copy that its file is as it was left, as for a device that changes a bit by itself.
fn forget_that_it_changed(pair: &Pair) {
    use std::os::unix::fs::MetadataExt;
    let metadata = std::fs::metadata(pair.standby()).unwrap();
    let mut state = std::fs::read(pair.beside("state")).unwrap();
    let length = u32::from_le_bytes(state[8..12].try_into().unwrap()) as usize;
    let mut told: serde_json::Value = serde_json::from_slice(&state[16..16 + length]).unwrap();
    told["standby"]["modified"] = serde_json::json!([metadata.mtime(), metadata.mtime_nsec()]);
    told["standby"]["changed"] = serde_json::json!([metadata.ctime(), metadata.ctime_nsec()]);
    let text = serde_json::to_vec(&told).unwrap();
    state[8..12].copy_from_slice(&u32::try_from(text.len()).unwrap().to_le_bytes());
    let sum = xxhash_rust::xxh3::xxh3_64(&text).to_le_bytes();
    state[12..16].copy_from_slice(&sum[..4]);
    state[16..16 + text.len()].copy_from_slice(&text);
    std::fs::write(pair.beside("state"), state).unwrap();
}

#[test]
fn what_the_device_changed_without_a_trace_is_found_on_request_only_and_counted() {
    let pair = Pair::new(KINDS);
    pair.synchronize_and_compare();
    let pages = pages_of_standby(&pair.standby());
    flip(&pair.standby(), 5 * 4_096 + 100);
    flip(&pair.standby(), 7 * 4_096 + 100);
    forget_that_it_changed(&pair);
    assert!(pair.synchronize().unwrap().moved.is_nothing());
    assert!(pages_of_standby(&pair.standby()) != pages);
    let outcome = pair.verify().unwrap();
    assert!(pages_of_standby(&pair.standby()) == pages);
    assert_eq!((found(&outcome).differing_items, found(&outcome).repaired_items), (2, 2), "{outcome:?}");
    let named = outcome.details.iter().find(|line| line.starts_with("Pages that differed")).unwrap();
    let rows: Vec<&String> = outcome.details.iter().filter(|line| line.contains("ows")).collect();
    assert!(!rows.is_empty(), "{outcome:?}");
    let expected = pair.owners(&[6, 8]);
    assert!(expected.iter().all(|name| named.contains(name)), "{named} {expected:?}");
    assert_equal_pages(&pair.source(), &pair.standby());
}

/// Writes to a copy past its fence, and lets it look as if nobody had.
fn write_to_copy(pair: &Pair, sql: &str) {
    use std::os::unix::fs::FileExt;
    let header = || {
        let mut header = [0; 100];
        std::fs::File::open(pair.standby()).unwrap().read_exact_at(&mut header, 0).unwrap();
        header
    };
    let file = || std::fs::File::options().write(true).open(pair.standby()).unwrap();
    let before = header();
    file().write_all_at(&[1, 1], 18).unwrap();
    Connection::open(pair.standby()).unwrap().execute_batch(sql).unwrap();
    let mut after = header();
    after[18..20].copy_from_slice(&before[18..20]);
    after[24..28].copy_from_slice(&before[24..28]);
    after[92..].copy_from_slice(&before[92..]);
    file().write_all_at(&after, 0).unwrap();
    forget_that_it_changed(pair);
}

#[test]
fn a_comparison_names_the_rows_that_the_copy_had_otherwise() {
    let pair = Pair::new(KINDS);
    pair.synchronize_and_compare();
    let wrong = "UPDATE users SET rank = 70 WHERE id = 41; DELETE FROM users WHERE id IN (100, 101);
        INSERT INTO contacts VALUES ('nobody', 'no one', 1)";
    write_to_copy(&pair, wrong);
    let outcome = pair.verify().unwrap();
    assert_equal_pages(&pair.source(), &pair.standby());
    let rows: Vec<&String> = outcome.details.iter().filter(|line| line.contains("ows")).collect();
    assert_eq!(
        rows,
        [
            "Rows of contacts: 1 only in the copy ('nobody', 'no one').",
            "Rows of users: 2 only in the source (100; 101), 1 hold something else (41)."
        ],
        "{outcome:?}"
    );
    // What the server changed meanwhile cannot be told from it.
    write_to_copy(&pair, wrong);
    pair.server.execute_batch("UPDATE users SET rank = 71 WHERE id = 42").unwrap();
    let outcome = pair.verify().unwrap();
    assert_equal_pages(&pair.source(), &pair.standby());
    let said = "Among these rows are those that the server has changed since the last sync.";
    assert!(outcome.details.iter().any(|line| line == said), "{outcome:?}");
    assert!(
        outcome.details.iter().any(|line| line.contains("2 hold something else (41; 42)")),
        "{outcome:?}"
    );
}

#[test]
fn a_sync_names_the_rows_of_a_copy_that_somebody_wrote_to() {
    for mode in ["DELETE", "WAL"] {
        let pair = Pair::new(&format!("PRAGMA journal_mode = {mode}; {KINDS}"));
        pair.synchronize_and_compare();
        // By whoever lifted the fence.
        for sql in ["UPDATE users SET rank = 70 WHERE id = 41", "DELETE FROM users WHERE id = 41"] {
            tamper(&pair.standby(), &format!("PRAGMA journal_mode = {mode}; {sql}"));
            let outcome = pair.synchronize().unwrap();
            assert_equal_pages(&pair.source(), &pair.standby());
            let line = outcome.details.iter().find(|line| line.starts_with("Rows of users: 1 ")).expect(sql);
            assert!(line.ends_with("(41)."), "{mode}: {line}");
            for suffix in ["-wal", "-shm", "-journal"] {
                assert!(
                    !std::path::Path::new(&format!("{}{suffix}", pair.standby().display())).exists(),
                    "{mode}: {suffix}"
                );
            }
            assert!(pair.synchronize().unwrap().warnings.is_empty());
        }
    }
}

#[test]
fn a_quiet_pair_does_not_differ_and_changes_that_were_to_be_copied_are_no_differences() {
    for mode in ["WAL", "DELETE"] {
        let pair = Pair::new(&format!("PRAGMA journal_mode = {mode}; {KINDS}"));
        pair.synchronize_and_compare();
        let first = pair.verify().unwrap();
        let pages: i64 = pair.server.pragma_query_value(None, "page_count", |row| row.get(0)).unwrap();
        assert_eq!((found(&first).compared_items, found(&first).differing_items), (pages.unsigned_abs(), 0));
        pair.server
            .execute_batch("DELETE FROM contacts WHERE owner = 'user 7'; UPDATE users SET rank = 9; VACUUM")
            .unwrap();
        let second = pair.verify().unwrap();
        assert_eq!(found(&second).differing_items, 0, "{second:?}");
        assert!(second.warnings.is_empty(), "{second:?}");
        assert_equal_pages(&pair.source(), &pair.standby());
    }
}

#[test]
fn a_server_that_writes_during_a_comparison_causes_no_repairs_and_no_torn_copy() {
    let pair = Pair::new(&format!("PRAGMA journal_mode = WAL; {KINDS}"));
    pair.synchronize_and_compare();
    let sum = |path: &std::path::Path| -> f64 {
        let connection = Connection::open(path).unwrap();
        connection.query_row("SELECT total(rank) FROM users", [], |row| row.get(0)).unwrap()
    };
    let (total, done) = (sum(&pair.source()), AtomicBool::new(false));
    let source = pair.source();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let server = Connection::open(&source).unwrap();
            server.busy_timeout(Duration::from_secs(20)).unwrap();
            let mut round = 0;
            while !done.load(Ordering::Relaxed) {
                round += 1;
                // Ranks move between users, so that their sum stays.
                let id = round * 37 % 400 + 1;
                server
                    .execute_batch(&format!(
                        "BEGIN IMMEDIATE;
                         UPDATE users SET rank = rank + 1 WHERE id = {id}; UPDATE users SET rank = rank - 1 WHERE id = {id} + 50;
                         DELETE FROM lists WHERE owner = 'user {id}'; INSERT INTO lists VALUES ('here', 'user {id}', {round}); COMMIT"
                    ))
                    .unwrap();
                std::thread::sleep(Duration::from_millis(2));
            }
        });
        let _stop_at_end = StopOnDrop(&done);
        for _ in 0..8 {
            let outcome = pair.verify().unwrap();
            assert_eq!(found(&outcome).differing_items, 0, "{outcome:?}");
            assert_eq!(sum(&pair.standby()), total, "the standby holds half of a transaction");
        }
    });
    pair.synchronize_and_compare();
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
        let is_named = outcome.warnings.iter().any(|warning| warning.contains("changed by somebody else"));
        assert!(is_named, "round {round}: {outcome:?}");
        assert_eq!(pair.synchronize_and_compare().warnings, Vec::<String>::new());
    }
}

#[test]
fn objects_that_somebody_made_in_the_copy_are_gone_after_the_next_run() {
    let pair = Pair::new(USERS);
    pair.synchronize_and_compare();
    tamper(
        &pair.standby(),
        "CREATE TABLE mine (x); INSERT INTO mine VALUES (1); CREATE INDEX my_index ON users (card); CREATE VIEW my_view AS SELECT 1",
    );
    pair.synchronize_and_compare();
    // Somebody gave it a log.
    tamper(&pair.standby(), "PRAGMA journal_mode = WAL; DELETE FROM users");
    pair.synchronize_and_compare();
}

/// An older file in the standby's place, written to until its counter is that of the newer one.
#[test]
fn an_older_copy_that_was_put_back_and_written_to_is_never_taken_for_the_newest() {
    let pair = Pair::new(USERS);
    pair.synchronize_and_compare();
    let older = std::fs::read(pair.standby()).unwrap();
    pair.server.execute_batch("UPDATE users SET card = 'new'").unwrap();
    pair.synchronize_and_compare();
    let counter = |path| std::fs::read(path).unwrap()[24..28].to_vec();
    let newest = counter(pair.standby());
    for replaced in [true, false] {
        if replaced {
            std::fs::remove_file(pair.standby()).unwrap();
        }
        std::fs::write(pair.standby(), &older).unwrap();
        tamper(&pair.standby(), "UPDATE users SET card = 'theirs'");
        let file = std::fs::File::options().write(true).open(pair.standby()).unwrap();
        for (at, bytes) in [(18, &[3, 1][..]), (24, &newest), (92, &newest)] {
            std::os::unix::fs::FileExt::write_all_at(&file, bytes, at).unwrap();
        }
        drop(file);
        pair.synchronize_and_compare();
    }
}

#[test]
fn a_comparison_is_cancelled_at_once_and_leaves_the_copy_as_it_was() {
    let pair = Pair::new(USERS);
    pair.synchronize_and_compare();
    tamper(&pair.standby(), "UPDATE users SET card = x'00'");
    let before = std::fs::read(pair.standby()).unwrap();
    let cancel = CancellationToken::new();
    cancel.cancel();
    let error = pair.pair.synchronize(&Work { verify: true, ..work(&cancel, 1) }).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Cancelled);
    assert!(std::fs::read(pair.standby()).unwrap() == before);
    pair.synchronize_and_compare();
}
