//! The first copy, beside servers that write, and what it takes along.

use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use cs_backup::error::Result;
use cs_backup::store::user::{PairOutcome, UserStorePair, Work};
use cs_backup::store::{Generation, Progress};
use jiff::Timestamp;
use rusqlite::Connection;
use tokio_util::sync::CancellationToken;

use super::{Pair, USERS, assert_equal_pages, dump, work};
use crate::support::{StopOnDrop, assert_rows_equal};

/// A run that is watched: `watch` sees every progress, and may cancel.
pub(super) fn watched(
    pair: &Pair,
    generation: i64,
    watch: impl Fn(&Progress, &CancellationToken) + Sync,
) -> Result<PairOutcome> {
    let cancel = CancellationToken::new();
    pair.pair.synchronize(&Work {
        generation: Generation(generation),
        verify: false,
        accept_deletions: false,
        cancel: &cancel,
        progress: &|progress| watch(&progress, &cancel),
        now: Timestamp::now(),
        job: None,
    })
}

/// Accounts whose balances always add up to nothing, and enough beside them for the copy to take many steps.
pub(super) const ACCOUNTS: &str = "
CREATE TABLE accounts (id INTEGER PRIMARY KEY, balance INTEGER NOT NULL, note TEXT UNIQUE);
CREATE TABLE ballast (id INTEGER PRIMARY KEY, bytes BLOB);
WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 2000)
    INSERT INTO accounts SELECT i, 0, 'account ' || i FROM n;
WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 10000)
    INSERT INTO ballast SELECT i, randomblob(4000) FROM n;
";

pub(super) const TRANSFER: &str = "BEGIN IMMEDIATE;
UPDATE accounts SET balance = balance - 1 WHERE id = 1 + abs(random()) % 2000;
UPDATE accounts SET balance = balance + 1, note = 'moved ' || hex(randomblob(8)) WHERE id = 1 + abs(random()) % 2000;
COMMIT;";

/// Runs `work` while a server moves money around; how often it did, and how long it waited at the longest.
fn beside_a_writer<R>(source: &Path, pause: Duration, work: impl FnOnce() -> R) -> (R, u32, Duration) {
    let stop = AtomicBool::new(false);
    let started = std::sync::Barrier::new(2);
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let server = Connection::open(source).unwrap();
            server.busy_timeout(Duration::from_secs(10)).unwrap();
            server.pragma_update(None, "synchronous", "OFF").unwrap();
            let (mut writes, mut longest) = (0, Duration::ZERO);
            while !stop.load(Ordering::Relaxed) {
                let began = Instant::now();
                server.execute_batch(TRANSFER).unwrap();
                longest = longest.max(began.elapsed());
                writes += 1;
                if writes == 1 {
                    started.wait();
                }
                std::thread::sleep(pause);
            }
            (writes, longest)
        });
        started.wait();
        let stop_at_end = StopOnDrop(&stop);
        let result = work();
        drop(stop_at_end);
        let (writes, longest) = writer.join().unwrap();
        (result, writes, longest)
    })
}

/// The copy is one that the source was in between two transactions, and both are equal once it is quiet.
pub(super) fn assert_consistent(pair: &Pair) {
    let standby = Connection::open(pair.standby()).unwrap();
    let balance: i64 = standby.query_row("SELECT sum(balance) FROM accounts", [], |row| row.get(0)).unwrap();
    assert_eq!(balance, 0, "half a transaction was copied");
    let check: String = standby.pragma_query_value(None, "integrity_check", |row| row.get(0)).unwrap();
    assert_eq!(check, "ok");
    drop(standby);
    pair.synchronize_as(9).unwrap();
    assert_rows_equal(&pair.source(), &pair.standby());
    assert_equal_pages(&pair.source(), &pair.standby());
}

#[test]
fn a_writer_on_a_write_ahead_log_never_makes_the_copy_begin_again() {
    let pair = Pair::new(&format!("PRAGMA journal_mode = WAL; {ACCOUNTS}"));
    let seen = Mutex::new(Vec::new());
    let (outcome, writes, longest) = beside_a_writer(&pair.source(), Duration::from_micros(200), || {
        watched(&pair, 1, |progress, _| seen.lock().unwrap().push(progress.clone())).unwrap()
    });
    println!("{writes} transactions beside the copy, the longest took {longest:?}");
    assert!(longest < Duration::from_secs(1), "a writer waited for {longest:?}");
    assert!(outcome.moved.items_written >= 10_000, "{outcome:?}");
    let pages = seen.into_inner().unwrap();
    assert!(pages.len() > 3, "only {} steps", pages.len());
    assert!(pages.is_sorted_by(|a, b| a.bytes_done < b.bytes_done), "it began again");
    assert!(pages.iter().all(|p| p.bytes_total > Some(40_000_000)));
    assert_consistent(&pair);
}

#[test]
fn a_writer_on_a_rollback_journal_that_pauses_now_and_then_is_copied_between_two_transactions() {
    let pair = Pair::new(ACCOUNTS);
    let (outcome, writes, longest) =
        beside_a_writer(&pair.source(), Duration::from_millis(900), || watched(&pair, 1, |_, _| {}).unwrap());
    println!("{writes} transactions beside the copy, the longest took {longest:?}");
    assert!(longest < Duration::from_secs(1), "a writer waited for {longest:?}");
    assert!(outcome.moved.items_written >= 10_000, "{outcome:?}");
    assert_consistent(&pair);
}

#[test]
fn a_server_that_waits_is_locked_out_for_a_moment_and_copied_however_often_it_writes() {
    let pair = Pair::configured(ACCOUNTS, |config| {
        config.server_waits = true;
        config.max_lock_ms = 2_000;
    });
    let (outcome, writes, longest) =
        beside_a_writer(&pair.source(), Duration::from_millis(1), || watched(&pair, 1, |_, _| {}).unwrap());
    println!("{writes} transactions beside the copy, the longest took {longest:?}");
    assert!(outcome.moved.items_written >= 10_000, "{outcome:?}");
    assert_consistent(&pair);
}

#[test]
fn settings_travel_and_the_standby_has_a_rollback_journal() {
    for size in [512, 8_192, 65_536] {
        let pair = Pair::new(&format!(
            "PRAGMA page_size = {size}; PRAGMA auto_vacuum = INCREMENTAL; PRAGMA encoding = 'UTF-16le';
             PRAGMA user_version = 7; PRAGMA application_id = 77; PRAGMA journal_mode = WAL; {USERS}"
        ));
        pair.synchronize_and_compare();
        let header = std::fs::read(pair.standby()).unwrap();
        assert_eq!(header[18..20], [3, 1], "the standby has a write-ahead log, or no fence");
        let standby = Connection::open(pair.standby()).unwrap();
        let setting = |name| standby.pragma_query_value(None, name, |row| row.get::<_, i64>(0)).unwrap();
        let names = ["page_size", "auto_vacuum", "user_version", "application_id"];
        assert_eq!(names.map(setting), [size, 2, 7, 77]);
        let encoding: String = standby.pragma_query_value(None, "encoding", |row| row.get(0)).unwrap();
        assert_eq!(encoding, "UTF-16le");
    }
}

#[test]
fn an_excluded_table_travels_and_is_empty_where_the_store_is_given_back_or_an_earlier_state_restored() {
    let mut pair = Pair::configured(
        "CREATE TABLE session_keys (id INTEGER PRIMARY KEY, key TEXT UNIQUE); CREATE TABLE users (id INTEGER PRIMARY KEY, name);
         INSERT INTO session_keys VALUES (1, 'secret'), (2, 'more'); INSERT INTO users VALUES (1, 'anna')",
        |config| config.exclude.push("session_*".to_owned()),
    );
    pair.synchronize_and_compare();
    pair.server.execute_batch("INSERT INTO users VALUES (2, 'bert')").unwrap();
    pair.synchronize_and_compare();
    let (restored, cancel) = (pair.folder.path().join("restored"), CancellationToken::new());
    let states = pair.pair.states().unwrap();
    assert_eq!(states.len(), 2, "{states:?}");
    pair.pair.restore_state(states[1].revision, &restored, Generation(2), &cancel).unwrap();
    assert_eq!(dump(&restored), ["users: 1, 'anna'"]);
    pair.server = Connection::open_in_memory().unwrap();
    std::fs::remove_file(pair.source()).unwrap();
    let outcome = pair.pair.restore(&work(&cancel, 2)).unwrap();
    assert!(outcome.details.iter().any(|line| line.contains("session_keys")), "{outcome:?}");
    assert_eq!(dump(&pair.source()), ["users: 1, 'anna'", "users: 2, 'bert'"]);
    let given_back = Connection::open(pair.source()).unwrap();
    given_back.execute_batch("INSERT INTO users VALUES (3, 'carl')").unwrap();
    let check: String = given_back.pragma_query_value(None, "integrity_check", |row| row.get(0)).unwrap();
    assert_eq!(check, "ok");
}

#[test]
fn triggers_views_and_the_tables_of_a_full_text_index_are_copied_as_they_are() {
    let pair = Pair::new(
        "CREATE TABLE notes (id INTEGER PRIMARY KEY, text TEXT);
         CREATE VIRTUAL TABLE found USING fts5 (text, content = 'notes', content_rowid = 'id');
         CREATE TRIGGER indexed AFTER INSERT ON notes BEGIN INSERT INTO found (rowid, text) VALUES (NEW.id, NEW.text); END;
         CREATE VIEW short AS SELECT substr(text, 1, 5) FROM notes;
         INSERT INTO notes (text) VALUES ('the meeting is at noon'), ('lunch is at one');",
    );
    pair.synchronize_and_compare();
    let standby = Connection::open(pair.standby()).unwrap();
    let found: Vec<i64> = standby
        .prepare("SELECT rowid FROM found WHERE found MATCH 'noon'")
        .unwrap()
        .query_map([], |row| row.get(0))
        .unwrap()
        .collect::<rusqlite::Result<_>>()
        .unwrap();
    assert_eq!(found, [1]);
    standby
        .query_row("SELECT 1 FROM sqlite_schema WHERE type = 'trigger' AND name = 'indexed'", [], |_| Ok(()))
        .unwrap();
    standby.query_row("SELECT * FROM short", [], |_| Ok(())).unwrap();
}
