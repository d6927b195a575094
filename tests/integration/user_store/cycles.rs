//! What a cycle moves, and what it leaves.

use std::time::Duration;

use cs_backup::error::ErrorKind;
use cs_backup::store::user::UserStorePair;
use tokio_util::sync::CancellationToken;

use super::{Pair, USERS, dump, work};

#[test]
fn the_first_copy_equals_the_source_and_a_quiet_run_writes_nothing() {
    for mode in ["DELETE", "TRUNCATE", "PERSIST", "WAL"] {
        let pair = Pair::new(&format!("PRAGMA journal_mode = {mode}; {USERS}"));
        let first = pair.synchronize_and_compare();
        let pages: i64 = pair.server.pragma_query_value(None, "page_count", |row| row.get(0)).unwrap();
        assert_eq!(first.moved.items_written, pages.unsigned_abs());
        assert!(first.quarantined.is_empty() && first.warnings.is_empty(), "{first:?}");
        let files = || {
            let mut files: Vec<_> = std::fs::read_dir(pair.folder.path())
                .unwrap()
                .map(|entry| entry.unwrap())
                .filter(|entry| entry.file_type().unwrap().is_file())
                .map(|entry| {
                    let metadata = entry.metadata().unwrap();
                    // What a reader notes in a log's index is all that may change.
                    let is_index = entry.path().to_str().unwrap().ends_with("-shm");
                    let modified = (!is_index).then(|| metadata.modified().unwrap());
                    (entry.path(), metadata.len(), modified)
                })
                .collect();
            files.sort();
            files
        };
        let before = files();
        assert!(pair.synchronize().unwrap().moved.is_nothing());
        assert_eq!(files(), before, "{mode}");
    }
}

#[test]
fn inserts_updates_deletes_and_key_changes_travel() {
    let pair = Pair::new(USERS);
    pair.synchronize_and_compare();
    pair.server
        .execute_batch(
            "INSERT INTO users (name, card) VALUES ('carl', x'00ff');
             UPDATE users SET name = 'anne' WHERE name = 'anna';
             UPDATE contacts SET owner = 'anne' WHERE owner = 'anna';
             DELETE FROM contacts WHERE owner = 'bert';",
        )
        .unwrap();
    let observed = pair.pair.observe(&CancellationToken::new()).unwrap();
    assert!(observed.initialized && observed.pending > 0 && observed.oldest.is_some());
    let outcome = pair.synchronize_and_compare();
    assert_eq!(outcome.moved.batches, 1);
    assert_eq!(pair.pair.observe(&CancellationToken::new()).unwrap().pending, 0);
}

#[test]
fn pages_in_the_log_are_counted_and_the_number_of_the_state_grows_with_what_is_copied() {
    let pair = Pair::new(&format!("PRAGMA journal_mode = WAL; {USERS}"));
    pair.synchronize_and_compare();
    let observe = || pair.pair.observe(&CancellationToken::new()).unwrap();
    let revision = observe().revision.unwrap();
    pair.server.execute_batch("UPDATE users SET card = x'01'; UPDATE contacts SET note = 'n'").unwrap();
    assert_eq!((observe().pending, observe().is_estimate, observe().revision), (2, false, Some(revision)));
    // The first page is written with its numbers.
    assert_eq!(pair.synchronize_and_compare().moved.items_written, 3);
    assert_eq!((observe().pending, observe().revision), (0, Some(revision + 1)));
    pair.synchronize_and_compare();
    assert_eq!(observe().revision, Some(revision + 1));
}

#[test]
fn a_cancelled_run_leaves_the_standby_as_it_was() {
    let pair = Pair::new(USERS);
    pair.synchronize_and_compare();
    let before = dump(&pair.standby());
    pair.server.execute_batch("DELETE FROM users").unwrap();
    let cancel = CancellationToken::new();
    cancel.cancel();
    assert_eq!(pair.pair.synchronize(&work(&cancel, 1)).unwrap_err().kind, ErrorKind::Cancelled);
    assert_eq!(dump(&pair.standby()), before);
}

#[test]
fn a_database_that_is_locked_all_the_time_is_too_busy_with_advice() {
    let pair = Pair::new(USERS);
    let hurried = pair.with_patience(Duration::from_millis(100));
    let cancel = CancellationToken::new();
    for lock in ["BEGIN EXCLUSIVE", "BEGIN IMMEDIATE"] {
        pair.server.execute_batch(lock).unwrap();
        let error = hurried.synchronize(&work(&cancel, 1)).unwrap_err();
        assert_eq!(error.kind, ErrorKind::SourceTooBusy);
        assert!(error.retryable && !error.advice.is_empty());
        assert!(!pair.standby().exists());
        pair.server.execute_batch("COMMIT").unwrap();
    }
    // A log keeps readers and writers apart.
    pair.server.execute_batch("PRAGMA journal_mode = WAL").unwrap();
    pair.server.execute_batch("BEGIN IMMEDIATE; DELETE FROM users WHERE id = 1").unwrap();
    hurried.synchronize(&work(&cancel, 1)).unwrap();
    assert_eq!(dump(&pair.standby()).len(), 4);
    pair.server.execute_batch("COMMIT").unwrap();
    pair.synchronize_and_compare();
}

#[test]
fn a_source_that_is_written_to_without_a_pause_is_left_and_the_copy_stays() {
    let pair = Pair::new(USERS);
    pair.synchronize_and_compare();
    let before = dump(&pair.standby());
    let source = pair.source();
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        let stop_at_end = crate::support::StopOnDrop(&stop);
        scope.spawn(|| {
            let server = crate::support::server(&source);
            server.pragma_update(None, "synchronous", "OFF").unwrap();
            for card in 0.. {
                if stop.load(std::sync::atomic::Ordering::Relaxed) {
                    break;
                }
                // None of them is ever refused.
                server.execute("UPDATE users SET card = ?1", [card]).unwrap();
            }
        });
        std::thread::sleep(Duration::from_millis(50));
        let hurried = pair.with_patience(Duration::from_millis(500));
        let error = hurried.synchronize(&work(&CancellationToken::new(), 1)).unwrap_err();
        assert_eq!(error.kind, ErrorKind::SourceTooBusy);
        drop(stop_at_end);
    });
    assert_eq!(dump(&pair.standby()), before);
    pair.synchronize_and_compare();
}
