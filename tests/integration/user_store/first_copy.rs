//! The first copy: page by page where that can be, row by row where not, and what neither may take along.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use cs_backup::error::{ErrorKind, Result};
use cs_backup::store::user::{PairOutcome, UserStorePair, Work};
use cs_backup::store::{Generation, Progress};
use jiff::Timestamp;
use rusqlite::Connection;
use tokio_util::sync::CancellationToken;

use super::{Pair, USERS, dump};
use crate::support::{StopOnDrop, assert_rows_equal};

/// A run that is watched: `watch` sees every progress, and may cancel.
pub(super) fn watched(
    pair: &Pair,
    generation: i64,
    watch: impl Fn(&Progress, &CancellationToken),
) -> Result<PairOutcome> {
    let cancel = CancellationToken::new();
    pair.pair.synchronize(&Work {
        generation: Generation(generation),
        verify: false,
        cancel: &cancel,
        progress: &|progress| watch(&progress, &cancel),
        now: Timestamp::now(),
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
    pair.synchronize().unwrap();
    assert_rows_equal(&pair.source(), &pair.standby());
}

fn activities(seen: Mutex<Vec<Progress>>) -> BTreeSet<&'static str> {
    seen.into_inner().unwrap().iter().map(|progress| progress.activity).collect()
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
    assert!(outcome.moved.items_written >= 12_000, "{outcome:?}");
    let pages: Vec<Progress> =
        seen.lock().unwrap().iter().filter(|p| p.activity == "Copying pages").cloned().collect();
    assert!(pages.len() > 3, "only {} steps", pages.len());
    assert!(pages.is_sorted_by(|a, b| a.bytes_done < b.bytes_done), "it began again");
    assert!(pages.iter().all(|p| p.items_total == Some(12_000) && p.bytes_total > Some(40_000_000)));
    let last = pages.last().unwrap();
    assert_eq!((Some(last.items_done), Some(last.bytes_done)), (last.items_total, last.bytes_total));
    assert!(!activities(seen).contains("Copying tables"));
    assert_consistent(&pair);
}

#[test]
fn a_copy_row_by_row_takes_over_the_settings_of_its_source_and_counts_its_batches() {
    let pair = Pair::new(
        "PRAGMA encoding = 'UTF-16le'; PRAGMA page_size = 8192; PRAGMA auto_vacuum = INCREMENTAL;
         PRAGMA user_version = 7; PRAGMA application_id = 9;
         CREATE TABLE few (id INTEGER PRIMARY KEY); INSERT INTO few VALUES (1);
         CREATE TABLE many (id INTEGER PRIMARY KEY, bytes);
         WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 4000)
             INSERT INTO many SELECT i, zeroblob(5000) FROM n",
    );
    let outcome = watched(&pair, 1, |progress, _| {
        if progress.activity == "Copying pages" {
            pair.server.execute_batch("UPDATE few SET id = id + 1").unwrap();
        }
    })
    .unwrap();
    // Three pieces of the long table and one of the short one; what was written meanwhile is no more than one.
    assert!(outcome.moved.batches >= 4, "{outcome:?}");
    let standby = Connection::open(pair.standby()).unwrap();
    for (name, value) in [
        ("encoding", "UTF-16le"),
        ("page_size", "8192"),
        ("auto_vacuum", "2"),
        ("user_version", "7"),
        ("application_id", "9"),
    ] {
        let sql = format!("SELECT CAST({name} AS TEXT) FROM pragma_{name}");
        assert_eq!(standby.query_row(&sql, [], |row| row.get::<_, String>(0)).unwrap(), value, "{name}");
    }
    assert_eq!(dump(&pair.source()), dump(&pair.standby()));
}

#[test]
fn a_busy_writer_on_a_rollback_journal_is_copied_row_by_row() {
    let pair = Pair::new(ACCOUNTS);
    let seen = Mutex::new(Vec::new());
    let (_, writes, longest) = beside_a_writer(&pair.source(), Duration::from_millis(1), || {
        watched(&pair, 1, |progress, _| seen.lock().unwrap().push(progress.clone())).unwrap()
    });
    println!("{writes} transactions beside the copy, the longest took {longest:?}");
    assert!(longest < Duration::from_secs(1), "a writer waited for {longest:?}");
    let pages = seen.lock().unwrap().iter().filter(|p| p.activity == "Copying pages").count();
    let seen = activities(seen);
    assert!(pages > 0 && seen.contains("Copying tables"), "{pages} steps, {seen:?}");
    assert_consistent(&pair);
}

#[test]
fn a_quiet_source_with_a_rollback_journal_is_copied_page_by_page() {
    let pair = Pair::new(ACCOUNTS);
    let seen = Mutex::new(Vec::new());
    let outcome = watched(&pair, 1, |progress, _| seen.lock().unwrap().push(progress.clone())).unwrap();
    assert_eq!(outcome.moved.items_written, 12_000);
    assert!(!activities(seen).contains("Copying tables"));
    assert_consistent(&pair);
}

#[test]
fn settings_travel_and_the_standby_has_a_rollback_journal() {
    let pair = Pair::new(&format!(
        "PRAGMA page_size = 8192; PRAGMA auto_vacuum = INCREMENTAL; PRAGMA encoding = 'UTF-16le';
         PRAGMA user_version = 7; PRAGMA application_id = 77; PRAGMA journal_mode = WAL; {USERS}"
    ));
    pair.synchronize_and_compare();
    let header = std::fs::read(pair.standby()).unwrap();
    assert_eq!(header[18..20], [1, 1], "the standby has a write-ahead log");
    let standby = Connection::open(pair.standby()).unwrap();
    let setting = |name| standby.pragma_query_value(None, name, |row| row.get::<_, i64>(0)).unwrap();
    assert_eq!(["page_size", "auto_vacuum", "user_version", "application_id"].map(setting), [8192, 2, 7, 77]);
    let encoding: String = standby.pragma_query_value(None, "encoding", |row| row.get(0)).unwrap();
    assert_eq!(encoding, "UTF-16le");
    let ours: Vec<String> = standby
        .prepare("SELECT name FROM sqlite_schema WHERE name LIKE 'csb%' AND name NOT LIKE 'csb_fence%' ORDER BY name")
        .unwrap()
        .query_map([], |row| row.get(0))
        .unwrap()
        .collect::<rusqlite::Result<_>>()
        .unwrap();
    assert_eq!(
        ours,
        ["csb_damaged", "csb_quarantine", "csb_standby"],
        "what is ours at the source stays there"
    );
}

#[test]
fn nothing_of_an_excluded_table_is_in_the_copied_file() {
    let pair = Pair::configured(
        "CREATE TABLE session_keys (id INTEGER PRIMARY KEY AUTOINCREMENT, key TEXT UNIQUE, more BLOB);
         CREATE TABLE users (id INTEGER PRIMARY KEY, name TEXT);
         WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 2000)
             INSERT INTO session_keys (key, more) SELECT 'topsecret ' || i, CAST(printf('topsecret %9000d', i) AS BLOB) FROM n;
         INSERT INTO users SELECT id, 'user ' || id FROM session_keys;
         ANALYZE; DELETE FROM session_keys WHERE id % 3 > 0;",
        |config| config.exclude.push("session_*".to_owned()),
    );
    let is_in = |path: &Path| std::fs::read(path).unwrap().windows(9).any(|bytes| bytes == b"topsecret");
    pair.synchronize().unwrap();
    assert!(is_in(&pair.source()));
    assert!(!is_in(&pair.standby()));
    let standby = Connection::open(pair.standby()).unwrap();
    let count = |sql| standby.query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap();
    assert_eq!(count("SELECT count(*) FROM session_keys"), 0);
    assert_eq!(count("SELECT count(*) FROM users"), 2000);
    assert_eq!(count("SELECT count(*) FROM sqlite_stat1 WHERE tbl = 'session_keys'"), 0);
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

#[test]
fn an_owner_that_was_fenced_while_it_copied_does_not_publish() {
    let pair = Pair::new(USERS);
    let newer = pair.folder.path().join("standby.sqlite.csb-new-9");
    let error = watched(&pair, 3, |_, _| std::fs::write(&newer, "half made").unwrap()).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Fenced);
    assert!(!pair.standby().exists());
    assert_eq!(std::fs::read_to_string(newer).unwrap(), "half made");
}

#[test]
fn a_copy_whose_file_a_newer_owner_removed_does_not_publish_and_leaves_the_older_copy_in_place() {
    let pair = Pair::new(USERS);
    pair.synchronize_as(1).unwrap();
    let before = dump(&pair.standby());
    // The copy is made anew when the source does not know the standby's token.
    pair.server.execute_batch("DELETE FROM csb_barrier; INSERT INTO users (name) VALUES ('carl')").unwrap();
    let fresh = pair.folder.path().join("standby.sqlite.csb-new-2");
    let error = watched(&pair, 2, |progress, _| {
        if progress.activity == "Copying pages" {
            let _ = std::fs::remove_file(&fresh);
        }
    })
    .unwrap_err();
    assert_eq!(error.kind, ErrorKind::Fenced, "{error:?}");
    assert_eq!(dump(&pair.standby()), before);
}
