//! Runs that end before their end leave nothing of a new state and nothing that lies in the way of the next one.

use std::time::{Duration, Instant};

use cs_backup::error::ErrorKind;
use cs_backup::store::user::UserStorePair;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::Pair;
use super::first_copy::{ACCOUNTS, assert_consistent, watched};
use crate::support::{Child, Deployment, assert_rows_equal, leftovers};

#[test]
fn a_first_copy_that_is_cancelled_has_no_name_and_the_next_one_is_whole() {
    let pair = Pair::new(ACCOUNTS);
    for generation in 1..4 {
        let error = watched(&pair, generation, |progress, cancel| {
            if progress.bytes_done > 5_000_000 {
                cancel.cancel();
            }
        })
        .unwrap_err();
        assert_eq!(error.kind, ErrorKind::Cancelled);
        assert!(!pair.standby().exists());
    }
    watched(&pair, 4, |_, _| {}).unwrap();
    assert!(!pair.beside("new").exists());
    assert_consistent(&pair);
}

#[test]
fn a_cancelled_sync_leaves_the_copy_and_no_journal() {
    let pair = Pair::new(ACCOUNTS);
    pair.synchronize_and_compare();
    pair.server.execute_batch("UPDATE ballast SET bytes = randomblob(4000)").unwrap();
    let before = std::fs::read(pair.standby()).unwrap();
    let error = watched(&pair, 1, |progress, cancel| {
        if progress.bytes_done > 5_000_000 {
            cancel.cancel();
        }
    })
    .unwrap_err();
    assert_eq!(error.kind, ErrorKind::Cancelled);
    assert!(std::fs::read(pair.standby()).unwrap() == before);
    assert!(!pair.folder.path().join("standby.sqlite-journal").exists());
    assert_consistent(&pair);
}

#[test]
fn removing_traces_takes_a_half_made_copy_away() {
    let pair = Pair::new(ACCOUNTS);
    watched(&pair, 1, |_, cancel| cancel.cancel()).unwrap_err();
    assert!(pair.beside("new").exists(), "the next one goes on with it");
    let traces = pair.pair.remove_traces(true, &CancellationToken::new()).unwrap();
    assert!(traces.iter().any(|trace| trace.kind == "folder"), "{traces:?}");
    assert!(pair.beside("new").exists());
    assert_eq!(pair.pair.remove_traces(false, &CancellationToken::new()).unwrap(), traces);
    assert!(!pair.beside("").exists());
}

#[test]
fn an_owner_that_sleeps_while_a_newer_one_wants_to_copy_is_waited_for_and_refused_later() {
    let pair = Pair::new(ACCOUNTS);
    let (newer, slow) = (pair.with_patience(super::PATIENCE), pair.with_patience(super::PATIENCE));
    let cancel = CancellationToken::new();
    let (started, is_started) = std::sync::mpsc::channel();
    std::thread::scope(|scope| {
        let (slow, cancel) = (&slow, &cancel);
        let older = scope.spawn(move || {
            let progress = |_| {
                let _ = started.send(());
                std::thread::sleep(Duration::from_millis(100));
            };
            slow.synchronize(&super::Work { progress: &progress, ..super::work(cancel, 1) })
        });
        is_started.recv().unwrap();
        newer.synchronize(&super::work(cancel, 2)).unwrap();
        older.join().unwrap().unwrap();
    });
    assert_eq!(pair.synchronize_as(1).unwrap_err().kind, ErrorKind::Fenced);
    pair.synchronize_as(2).unwrap();
    assert_rows_equal(&pair.source(), &pair.standby());
}

/// Else what a failed test has started would write where the next one works.
#[test]
fn a_job_in_a_process_of_its_own_ends_with_the_test_that_started_it() {
    let deployment = Deployment::new();
    // No state can be read as long as it writes.
    let server = deployment.writing_server("atl");
    let child = Child::backup(&deployment, "atl-cs-001.litwareinc.com");
    let place = format!("/proc/{}", child.process_id());
    assert!(std::fs::exists(&place).unwrap());
    drop(child);
    assert!(!std::fs::exists(&place).unwrap());
    drop(server);
}

#[test]
fn a_first_copy_that_is_killed_goes_on() {
    let deployment = Deployment::new();
    // No state can be read as long as it writes, so the copy is killed before it is complete.
    let server = deployment.writing_server("atl");
    let (copy, new) =
        (deployment.path("chi/standby/atl.sqlite"), deployment.path("chi/standby/atl.sqlite.csb/new"));
    let child = Child::backup(&deployment, "atl-cs-001.litwareinc.com");
    let deadline = Instant::now() + Duration::from_secs(60);
    while !new.exists() {
        assert!(Instant::now() < deadline, "nothing was begun");
        std::thread::sleep(Duration::from_millis(1));
    }
    assert!(child.kill(), "it had ended");
    assert!(!copy.exists() && new.exists());
    server.execute_batch("COMMIT").unwrap();
    drop(server);
    deployment.backup(json!({}));
    assert_rows_equal(&deployment.path("atl/users.sqlite"), &copy);
    assert!(!new.exists());
    assert_eq!(leftovers(&deployment.root()), Vec::<std::path::PathBuf>::new());
}
