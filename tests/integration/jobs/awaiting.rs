//! Backups that begin only in a certain state.

use std::sync::mpsc::channel;
use std::time::Duration;

use cs_backup::error::ErrorKind;
use cs_backup::job::events::EventKind;
use cs_backup::report::Outcome;
use serde_json::json;

use crate::support::*;

const WAIT: Duration = Duration::from_millis(15_000);

#[test]
fn a_quiet_pool_is_there_at_the_first_look() {
    for option in ["steadyState", "fullBackup"] {
        let deployment = Deployment::new();
        let ended = deployment.backup(json!({ option: true })).expect(Outcome::Succeeded);
        let first = &ended.report.steps[0];
        assert_eq!((first.id.as_str(), first.outcome), ("await:state", Outcome::Succeeded));
        assert_eq!(ended.report.plan.steps[0].id, "await:state");
        assert_eq!(ended.report.steps.len(), 4);
        assert_eq!(deployment.clock.long_sleeps(), []);
        deployment.assert_copies_equal("atl", "chi");
    }
}

#[test]
fn more_changes_than_fit_a_batch_are_drained_first() {
    let deployment = Deployment::of(Size { users: 20, contacts: 2, files: 2 });
    // A server that stays keeps its log, which tells how many pages there are.
    let server = deployment.server("atl");
    server.execute_batch("PRAGMA wal_autocheckpoint = 0; UPDATE users SET display_name = 'x'").unwrap();
    deployment.backup(json!({})).expect(Outcome::Succeeded);
    server
        .execute_batch(
            "CREATE TABLE many (id INTEGER PRIMARY KEY, bytes);
             WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1100)
             INSERT INTO many SELECT i, zeroblob(4000) FROM n",
        )
        .unwrap();
    let status = deployment.ask(json!({ "request": "getBackupServiceStatus", "poolFqdn": ATL })).unwrap();
    assert_eq!(status["backupModules"][0]["exportStatus"], "NonSteadyState", "{status:#}");
    let ended = deployment.backup(json!({ "steadyState": true })).expect(Outcome::Succeeded);
    assert!(ended.events.iter().any(|event| matches!(&event.kind, EventKind::StateChanged { from, to, .. }
        if from == "NonSteadyState" && to == "SteadyState")));
    deployment.assert_copies_equal("atl", "chi");
}

#[test]
fn a_state_that_is_never_reached_is_an_error_after_the_last_look() {
    let deployment = Deployment::new();
    std::fs::remove_file(deployment.path("atl/users.sqlite")).unwrap();
    let options = json!({ "steadyState": true, "retryCount": 2, "waitTimeMs": WAIT.as_millis() as u64 });
    let ended = deployment.backup(options).expect(Outcome::Failed);
    assert_eq!(deployment.clock.long_sleeps(), [WAIT; 2]);
    let error = ended.error();
    assert_eq!(error.kind, ErrorKind::StateNotReached);
    assert!(error.message.contains(PRESENCE_FOCUS) && error.message.contains("ErrorState"), "{error:#?}");
    assert!(error.advice.contains("RetryCount"), "{error:#?}");
    // Nothing was begun after the wait.
    assert_eq!(ended.ran(), ["await:state"]);
    assert_eq!(ended.report.steps[0].outcome, Outcome::Failed);
}

#[test]
fn a_state_that_comes_while_waiting_lets_the_backup_begin() {
    for option in ["steadyState", "fullBackup"] {
        let deployment = Deployment::new();
        let (users, aside) = (deployment.path("atl/users.sqlite"), deployment.path("aside.sqlite"));
        std::fs::rename(&users, &aside).unwrap();
        let mut naps = 0;
        deployment.clock.on_long_sleep(move |asked| {
            naps += 1;
            if asked == WAIT && naps == 2 {
                std::fs::rename(&aside, &users).unwrap();
            }
            Waking::AtOnce
        });
        let options = json!({ option: true, "retryCount": 2, "waitTimeMs": WAIT.as_millis() as u64 });
        let ended = deployment.backup(options).expect(Outcome::Succeeded);
        assert_eq!(ended.report.steps[0].details, ["Reached at look 3."]);
        deployment.assert_copies_equal("atl", "chi");
    }
}

#[test]
fn a_cancelled_wait_ends_the_job() {
    let deployment = Deployment::new();
    let in_the_way = deployment.path("chi/standby/cms.sqlite");
    std::fs::create_dir_all(&in_the_way).unwrap();
    let (asleep, naps) = channel();
    deployment.clock.on_long_sleep(move |asked| {
        if asked == WAIT {
            asleep.send(()).unwrap();
            return Waking::Never;
        }
        Waking::AtOnce
    });
    let options = json!({ "fullBackup": true, "retryCount": 1, "waitTimeMs": WAIT.as_millis() as u64 });
    let handle = start_backup(&deployment.service, with_pool(ATL, options));
    naps.recv_timeout(Duration::from_secs(30)).unwrap();
    deployment.service.cancel(handle).unwrap();
    let ended = ended(&deployment.service, handle);
    assert_eq!(ended.report.steps[0].outcome, Outcome::Cancelled);
    assert_eq!(ended.error().kind, ErrorKind::Cancelled);
}

#[test]
fn a_job_that_is_cancelled_during_its_last_look_is_cancelled_not_failed() {
    let deployment = Deployment::new();
    let _server = deployment.writing_server("atl");
    let options = json!({ "steadyState": true, "retryCount": 0 });
    let handle = start_backup(&deployment.service, with_pool(ATL, options));
    wait_for(&deployment.service, handle, |event| matches!(event, EventKind::StepStarted { .. }));
    deployment.service.cancel(handle).unwrap();
    let ended = ended(&deployment.service, handle).expect(Outcome::Cancelled);
    assert_eq!(ended.report.steps[0].outcome, Outcome::Cancelled);
}

#[test]
fn a_pool_that_is_active_is_not_backed_up_as_a_failed_over_one() {
    let deployment = Deployment::new();
    let ended =
        deployment.backup(json!({ "fullBackup": true, "failedOverPoolOnly": true })).expect(Outcome::Failed);
    let error = ended.error();
    assert_eq!(error.kind, ErrorKind::PoolStateMismatch);
    assert!(error.message.contains("Active") && error.advice.contains("FailedOverPoolOnly"), "{error:#?}");
    assert_eq!(ended.ran(), ["require:FailedOver"]);
    assert!(!deployment.path("chi/standby").exists(), "something was written");
}
