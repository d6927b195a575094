//! One job at a time per pool and direction, across services and processes.

use cs_backup::error::ErrorKind;
use cs_backup::job::events::{Event, EventKind};
use cs_backup::report::{Outcome, Report};
use rusqlite::Connection;
use serde_json::json;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::support::*;

fn copy_of_users(event: &EventKind) -> bool {
    matches!(event, EventKind::StepStarted { step, .. } if *step == format!("copy:{PRESENCE_FOCUS}"))
}

/// A job that holds its lease until the returned transaction ends: it waits for the user store's lock.
fn held(deployment: &Deployment) -> (u64, Connection) {
    let server = deployment.writing_server("atl");
    let handle = start_backup(&deployment.service, with_pool(ATL, json!({})));
    wait_for(&deployment.service, handle, copy_of_users);
    (handle, server)
}

#[test]
fn a_second_job_is_told_who_holds_the_lease() {
    let deployment = Deployment::new();
    let (handle, server) = held(&deployment);
    let running = deployment.service.poll(handle, 0, Duration::ZERO).unwrap().job_id;
    let other = deployment.another();
    let refused = run_backup(&other, with_pool(ATL, json!({ "retryCount": 0 }))).expect(Outcome::Failed);
    let error = refused.error();
    assert_eq!(error.kind, ErrorKind::Conflict);
    assert!(error.retryable);
    assert_eq!(error.context["jobId"], running.to_string());
    assert_eq!(error.context["processId"], std::process::id().to_string());
    assert_eq!(error.context["pool"], ATL);
    assert!(
        error.message.contains(&error.context["machine"]) && error.message.contains("since 20"),
        "{error:#?}"
    );
    assert!(error.advice.contains("Stop-CsBackupJob") && error.advice.contains("30 seconds"), "{error:#?}");
    assert_eq!(refused.ran(), Vec::<&str>::new());
    // The same for a sync, and for taking the product out; the other direction is free.
    for job in ["sync", "disable"] {
        let refused = ended(&other, start(&other, job, with_pool(ATL, json!({})))).expect(Outcome::Failed);
        assert_eq!(refused.error().kind, ErrorKind::Conflict);
    }
    run_backup(&other, with_pool(CHI, json!({}))).expect(Outcome::Succeeded);

    server.execute_batch("COMMIT").unwrap();
    ended(&deployment.service, handle).expect(Outcome::Succeeded);
    run_backup(&other, with_pool(ATL, json!({}))).expect(Outcome::Succeeded);
    deployment.assert_copies_equal("atl", "chi");
}

#[test]
fn a_second_job_may_wait_for_the_first() {
    let deployment = Deployment::new();
    let (first, server) = held(&deployment);
    let other = deployment.another();
    let patient = with_pool(ATL, json!({ "waitForLeaseMs": 60_000 }));
    let impatient = start_backup(&other, patient.clone());
    let second = start_backup(&other, patient);
    wait_for(&other, second, |event| matches!(event, EventKind::Started { .. }));
    // Somebody who waits can be cancelled.
    other.cancel(impatient).unwrap();
    ended(&other, impatient).expect(Outcome::Cancelled);
    assert_eq!(other.poll(second, 0, Duration::ZERO).unwrap().last_seq, 1, "it did not wait");
    server.execute_batch("COMMIT").unwrap();
    ended(&deployment.service, first).expect(Outcome::Succeeded);
    let second = ended(&other, second).expect(Outcome::Succeeded);
    assert!(second.report.modules.iter().all(|module| module.moved.is_nothing()), "{:#?}", second.report);
}

#[test]
fn waiting_for_a_lease_ends_in_a_conflict_when_it_was_long_enough() {
    let deployment = Deployment::new();
    let (first, server) = held(&deployment);
    let other = deployment.another();
    let began = Instant::now();
    let refused =
        run_backup(&other, with_pool(ATL, json!({ "waitForLeaseMs": 300 }))).expect(Outcome::Failed);
    assert!(began.elapsed() >= Duration::from_millis(300));
    assert_eq!(refused.error().kind, ErrorKind::Conflict);
    server.execute_batch("COMMIT").unwrap();
    ended(&deployment.service, first).expect(Outcome::Succeeded);
}

#[test]
fn a_sync_leaves_a_partner_alone_whose_own_job_is_running() {
    let deployment = Deployment::new();
    let (handle, server) = held_again(&deployment);
    let lost = deployment.path("atl/share/conference-001");
    std::fs::remove_dir_all(&lost).unwrap();
    // It carries back to Atlanta what Atlanta lost, for which it needs Atlanta's lease.
    let other = deployment.another();
    let sync = start(&other, "sync", with_pool(CHI, json!({ "retryCount": 0, "giveBack": true })));
    let sync = ended(&other, sync).expect(Outcome::SucceededWithWarnings);
    let row = sync.given_back(DATA_CONF);
    assert!(row.warnings[0].contains("already running"), "{row:#?}");
    assert_eq!(row.outcome, Outcome::Skipped);
    assert!(!lost.exists());
    server.execute_batch("COMMIT").unwrap();
    ended(&deployment.service, handle).expect(Outcome::Succeeded);
}

#[test]
fn a_sync_needs_no_lease_of_a_partner_that_lost_nothing() {
    let deployment = Deployment::new();
    let (handle, server) = held_again(&deployment);
    let other = deployment.another();
    let sync = start(&other, "sync", with_pool(CHI, json!({ "retryCount": 0, "giveBack": true })));
    ended(&other, sync).expect(Outcome::Succeeded);
    server.execute_batch("COMMIT").unwrap();
    ended(&deployment.service, handle).expect(Outcome::Succeeded);
}

#[test]
fn an_owner_that_was_silent_for_too_long_is_fenced_and_nothing_is_lost() {
    let deployment = Deployment::new();
    deployment.backup(json!({})).expect(Outcome::Succeeded);
    let server = deployment.server("atl");
    // The first job waits for a reader of the standby, and the second one will wait for the first.
    server.execute_batch("UPDATE users SET display_name = 'changed'").unwrap();
    let standby = reading(&deployment.path("chi/standby/atl.sqlite"));
    let first = start_backup(&deployment.service, with_pool(ATL, json!({ "retryCount": 0 })));
    wait_for(&deployment.service, first, copy_of_users);
    deployment.clock.stop();
    let clock = TestClock::new();
    let other = deployment.another_with(clock.clone());
    // Whatever the other's wall clock says, and though nobody waits: it was seen to be silent for long enough.
    for (hours, seconds) in [(0, 0), (30 * 24, 10), (-900 * 24, 5)] {
        clock.jump_hours(hours);
        clock.pass_seconds(seconds);
        let refused = run_backup(&other, with_pool(ATL, json!({ "retryCount": 0 }))).expect(Outcome::Failed);
        assert_eq!(refused.error().kind, ErrorKind::Conflict, "{refused:#?}");
    }
    clock.pass_seconds(30);
    let second = start_backup(&other, with_pool(ATL, json!({})));
    wait_for(&other, second, copy_of_users);
    standby.execute_batch("COMMIT").unwrap();
    // Whichever of the two comes first to a store: the first job is told that it is not the owner any more.
    let first = ended(&deployment.service, first);
    let told = |event: &Event| matches!(&event.kind, EventKind::Warning { message, .. } if message.contains("taken over"));
    assert!(first.events.iter().any(told), "{first:#?}");
    ended(&other, second).expect(Outcome::Succeeded);
    deployment.assert_copies_equal("atl", "chi");
}

/// As [`held`], for a pair that has a copy already.
fn held_again(deployment: &Deployment) -> (u64, Connection) {
    deployment.backup(json!({})).expect(Outcome::Succeeded);
    deployment.server("atl").execute_batch("UPDATE users SET display_name = 'changed'").unwrap();
    held(deployment)
}

/// A child that holds the lease and waits for the user store's lock.
fn waiting_child(deployment: &Deployment) -> (Child, String, Connection) {
    let server = deployment.writing_server("atl");
    let mut child = Child::backup(deployment, ATL);
    let id = child.wait_for("started ");
    child.wait_for(&format!("stepStarted copy:{PRESENCE_FOCUS}"));
    (child, id, server)
}

#[test]
fn a_dead_process_loses_its_lease_at_once_and_its_job_is_reported() {
    let deployment = Deployment::new();
    let (child, id, server) = waiting_child(&deployment);
    let (process_id, report) = (child.process_id(), json!({ "request": "getReport", "jobId": id }));
    let job = || deployment.ask(json!({ "request": "getJob", "jobId": id })).unwrap();
    assert_eq!((&job()["state"], &job()["processId"]), (&json!("Running"), &json!(process_id)));
    assert_eq!(job()["finishedAt"], json!(null));
    assert_eq!(deployment.ask(report.clone()).unwrap_err().kind, ErrorKind::Conflict);
    let refused = deployment.backup(json!({ "retryCount": 0 })).expect(Outcome::Failed);
    assert_eq!(refused.error().context["processId"], process_id.to_string());

    assert!(child.kill());
    server.execute_batch("COMMIT").unwrap();
    // No 30 seconds are waited for: the process is known to be dead.
    deployment.backup(json!({ "retryCount": 0 })).expect(Outcome::Succeeded);
    deployment.assert_copies_equal("atl", "chi");

    // Also for a service that comes later.
    for service in [&deployment.service, &deployment.another()] {
        let told = ask(service, json!({ "request": "getJob", "jobId": id })).unwrap();
        assert_eq!(told["state"], "Failed", "{told:#}");
        assert_ne!(told["finishedAt"], json!(null));
        let report: Report = serde_json::from_value(ask(service, report.clone()).unwrap()).unwrap();
        assert_eq!(report.outcome, Outcome::Failed);
        assert_eq!(report.errors.len(), 1, "{report:#?}");
        assert_eq!(report.errors[0].kind, ErrorKind::Interrupted);
        assert!(report.errors[0].message.contains(&process_id.to_string()), "{report:#?}");
        assert_eq!(report.host.process_id, process_id);
        assert!(!report.plan.steps.is_empty());
    }
}

#[test]
fn a_job_of_another_process_or_service_can_be_cancelled() {
    let deployment = Deployment::new();
    let cancel = |id: &str| deployment.ask(json!({ "request": "cancelJob", "jobId": id }));
    // It would wait for the server for two minutes.
    let mut id = String::new();
    let soonest = soonest("a job of another process that is cancelled", || {
        let (child, started, server) = waiting_child(&deployment);
        let asked = Instant::now();
        assert_eq!(cancel(&started).unwrap()["jobId"], json!(started));
        assert!(!child.end());
        let latency = asked.elapsed();
        let report = deployment.ask(json!({ "request": "getReport", "jobId": started })).unwrap();
        assert_eq!(report["outcome"], "Cancelled", "{report:#}");
        server.execute_batch("COMMIT").unwrap();
        id = started;
        latency
    });
    eprintln!("a job of another process ended {soonest:?} after the request to cancel it");
    // Again, once it has ended: nothing happens, and no request is left behind.
    assert_eq!(cancel(&id).unwrap()["state"], "Cancelled");
    assert_eq!(leftovers(&deployment.path("jobs")), Vec::<std::path::PathBuf>::new());
    let unknown = cancel("0190f3a1-8a6b-7c3d-9e4f-0123456789ab").unwrap_err();
    assert_eq!(unknown.kind, ErrorKind::UnknownJob);

    let (handle, server) = held(&deployment);
    let id = deployment.service.poll(handle, 0, Duration::ZERO).unwrap().job_id;
    ask(&deployment.another(), json!({ "request": "cancelJob", "jobId": id })).unwrap();
    ended(&deployment.service, handle).expect(Outcome::Cancelled);
    server.execute_batch("COMMIT").unwrap();
    deployment.backup(json!({})).expect(Outcome::Succeeded);
}

#[test]
fn a_lost_service_database_is_made_anew_and_no_store_takes_its_jobs_for_those_of_an_older_owner() {
    let deployment = Deployment::new();
    let change = |value: i64| {
        deployment
            .server("atl")
            .execute("UPDATE users SET display_name = 'changed ' || ?1", [value])
            .unwrap();
        std::fs::write(deployment.path("atl/share/new"), value.to_string()).unwrap();
    };
    for value in 0..3 {
        change(value);
        deployment.backup(json!({})).expect(Outcome::Succeeded);
    }
    for file in std::fs::read_dir(deployment.path("chi/standby")).unwrap().map(|entry| entry.unwrap().path())
    {
        if file.to_string_lossy().contains("atl.service") {
            std::fs::remove_file(file).unwrap();
        }
    }
    change(3);
    deployment.backup(json!({})).expect(Outcome::Succeeded);
    deployment.assert_copies_equal("atl", "chi");
}

/// A server that makes and removes files all the time: what it removes between its pool's own job and the look of the
/// partner's is what that one finds lost.
fn toggle_files(share: &Path, stop: &AtomicBool) {
    let mut round: usize = 0;
    while !stop.load(Ordering::Relaxed) {
        for number in 0..10 {
            let file = share.join(format!("live-{number}"));
            if (round / 4 + number).is_multiple_of(2) {
                std::fs::write(file, format!("{round}")).unwrap();
            } else {
                let _ = std::fs::remove_file(file);
            }
        }
        round += 1;
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn both_directions_of_a_pair_are_synchronized_at_once_a_hundred_times() {
    let deployment = Deployment::in_memory(SMALL);
    let other = deployment.another();
    let patient = json!({ "waitForLeaseMs": 60_000, "modules": ["DataConf"], "giveBack": true });
    let stop = AtomicBool::new(false);
    let (mut longest, mut given_back) = (Duration::ZERO, 0);
    std::thread::scope(|scope| {
        let stop_at_end = StopOnDrop(&stop);
        for pool in ["atl", "chi"] {
            let (share, stop) = (deployment.path(&format!("{pool}/share")), &stop);
            scope.spawn(move || toggle_files(&share, stop));
        }
        for round in 0..100 {
            let began = Instant::now();
            let jobs = [(&deployment.service, ATL), (&other, CHI)]
                .map(|(service, pool)| (service, start(service, "sync", with_pool(pool, patient.clone()))));
            for (service, handle) in jobs {
                let ended = ended(service, handle);
                assert!(ended.report.outcome < Outcome::Cancelled, "round {round}: {:#?}", ended.report);
                let warnings = ended.report.modules.iter().flat_map(|row| &row.warnings);
                let conflict = warnings.clone().find(|warning| warning.contains("already running"));
                assert_eq!(conflict, None, "round {round}: it waited in vain");
                given_back += ended.given_back(DATA_CONF).moved.items_written;
            }
            longest = longest.max(began.elapsed());
        }
        drop(stop_at_end);
    });
    eprintln!("{given_back} files were given back; the longest of a hundred pairs took {longest:?}");
    assert!(given_back > 0, "nobody needed the other's lease");
    for pool in [ATL, CHI] {
        deployment.sync(pool, json!({})).expect(Outcome::Succeeded);
    }
    deployment.assert_copies_equal("atl", "chi");
    deployment.assert_copies_equal("chi", "atl");
}
