//! Files that are replaced or locked while a job works with them.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use cs_backup::error::{ErrorKind, Result};
use cs_backup::report::Outcome;
use cs_backup::store::user::{PairOutcome, UserStorePair};
use rusqlite::Connection;
use serde_json::json;

use crate::support::*;
use crate::user_store::{Pair, dump, work};

const ROWS: &str =
    "CREATE TABLE t (id INTEGER PRIMARY KEY, text TEXT); INSERT INTO t VALUES (1, 'a'), (2, 'b')";

/// Another database in a file's place, by renaming, as restoring scripts do; what was there is kept beside.
fn replace(file: &Path) {
    let other = file.with_extension("other");
    Connection::open(&other)
        .unwrap()
        .execute_batch("CREATE TABLE t (id INTEGER PRIMARY KEY, text TEXT)")
        .unwrap();
    std::fs::rename(file, file.with_extension("old")).unwrap();
    std::fs::rename(&other, file).unwrap();
}

fn restore(file: &Path) {
    std::fs::rename(file.with_extension("old"), file).unwrap();
}

/// A run during which a file is replaced, when the first pages have been read.
fn synchronize_while_replacing(pair: &Pair, file: &Path) -> Result<PairOutcome> {
    let cancel = Default::default();
    let done = AtomicBool::new(false);
    let mut work = work(&cancel, 1);
    let replacing = |_| {
        if !done.swap(true, Ordering::Relaxed) {
            replace(file);
        }
    };
    work.progress = &replacing;
    pair.pair.synchronize(&work)
}

#[test]
fn a_database_that_is_replaced_during_a_run_is_not_copied_from_two_files() {
    for mode in ["DELETE", "WAL"] {
        for first_copy in [true, false] {
            let pair = Pair::new(&format!("PRAGMA journal_mode = {mode}; {ROWS}"));
            if !first_copy {
                pair.synchronize_and_compare();
            }
            pair.server.execute_batch("UPDATE t SET text = 'c' WHERE id = 2").unwrap();
            let rows = dump(&pair.source());
            let before = pair.standby().exists().then(|| dump(&pair.standby()));
            if mode == "WAL" && !first_copy {
                // What was appended to a log is read without a step between.
                continue;
            }
            let outcome = synchronize_while_replacing(&pair, &pair.source());
            // Either the one or the other: what was read before it was replaced, or what is there now.
            let copied = dump(&pair.standby());
            match outcome {
                Ok(_) => assert!(copied == rows || copied.is_empty(), "{copied:?}"),
                Err(error) => {
                    assert_eq!((error.kind, Some(copied)), (ErrorKind::SafetyShareExceeded, before));
                }
            }
            restore(&pair.source());
            pair.synchronize_and_compare();
        }
    }
}

#[test]
fn a_standby_that_is_replaced_during_a_run_is_noticed_too() {
    let pair = Pair::new(ROWS);
    pair.synchronize_and_compare();
    pair.server.execute_batch("DELETE FROM t WHERE id = 1").unwrap();
    let error = synchronize_while_replacing(&pair, &pair.standby()).unwrap_err();
    assert_eq!(error.kind, ErrorKind::StoreReplaced, "{error:#?}");
    assert_eq!(error.context["path"], pair.standby().to_str().unwrap());
    restore(&pair.standby());
    pair.synchronize_and_compare();
}

#[test]
fn a_job_that_waits_for_its_own_service_database_is_cancelled_at_once() {
    let deployment = Deployment::new();
    deployment.backup(json!({})).expect(Outcome::Succeeded);
    let other = server(&deployment.path("chi/standby/atl.service.sqlite"));
    other.execute_batch("BEGIN EXCLUSIVE").unwrap();
    // It waits for five seconds.
    let soonest = soonest("a cancelled job", || {
        let job = start_backup(&deployment.service, with_pool(ATL, json!({ "retryCount": 0 })));
        std::thread::sleep(Duration::from_millis(300));
        let asked = Instant::now();
        deployment.service.cancel(job).unwrap();
        ended(&deployment.service, job).expect(Outcome::Cancelled);
        asked.elapsed()
    });
    eprintln!("the cancelled job ended after {soonest:?}");
    let busy = deployment.backup(json!({ "retryCount": 0 })).expect(Outcome::Failed);
    assert_eq!(busy.error().kind, ErrorKind::StoreBusy, "{busy:#?}");
    other.execute_batch("COMMIT").unwrap();
    deployment.backup(json!({})).expect(Outcome::Succeeded);
    deployment.assert_copies_equal("atl", "chi");
}

#[test]
fn a_clock_that_jumps_loses_nothing() {
    let deployment = Deployment::new();
    for hours in [1, -1, -1, 1] {
        let now = jiff::Timestamp::now().as_millisecond();
        deployment.server("atl").execute("UPDATE contacts SET added_ms = ?1 + ?2", [now, hours]).unwrap();
        deployment.clock.jump_hours(hours);
        let job = start_backup(&deployment.service, with_pool(ATL, json!({})));
        // In the middle of it, or after it: the job must not care.
        deployment.clock.jump_hours(-2 * hours);
        let ended = ended(&deployment.service, job).expect(Outcome::Succeeded);
        let row = ended.module(PRESENCE_FOCUS);
        assert_eq!(row.after.pending_items, 0);
        assert!(row.before.lag_ms.is_none_or(|lag| lag < 3 * 3_600_000), "{row:#?}");
        deployment.assert_copies_equal("atl", "chi");
        deployment.clock.jump_hours(hours);
    }
}
