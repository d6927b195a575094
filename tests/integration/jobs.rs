//! Jobs on two pools, from the request to the report.

use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use cs_backup::clock::SystemClock;
use cs_backup::error::ErrorKind;
use cs_backup::job::events::EventKind;
use cs_backup::report::{ExportState, ImportState, Outcome};
use cs_backup::store::{Reach, factory};
use serde_json::json;

use super::support::*;

mod awaiting;
mod disable;
mod endings;
mod faults;
mod hung;
mod leases;
mod names;
mod plan_and_run;
mod records;
mod starting;
mod sync;
mod verify;
mod what_if;

#[test]
fn a_backup_copies_all_modules_and_a_second_one_moves_nothing() {
    let deployment = Deployment::new();
    let first = deployment.backup(json!({})).expect(Outcome::Succeeded);
    let names: Vec<&str> = first.report.modules.iter().map(|module| module.module.as_str()).collect();
    assert_eq!(names, [PRESENCE_FOCUS, DATA_CONF, CMS_MASTER]);
    for module in &first.report.modules {
        assert_eq!(module.outcome, Outcome::Succeeded, "{module:#?}");
        assert_eq!((module.direction.from.as_str(), module.direction.to.as_str()), (ATL, CHI));
        assert_eq!(module.before.export, ExportState::NotInitialized, "{module:#?}");
        assert_eq!(
            (module.after.export, module.after.pending_items, module.after.import),
            (ExportState::SteadyState, 0, ImportState::NormalState),
            "{module:#?}"
        );
        assert!(module.before.pending_items > 0 && module.moved.items_written > 0, "{module:#?}");
        assert!(module.cursor.is_some(), "{module:#?}");
    }
    assert_eq!(first.report.steps.len(), first.report.plan.steps.len());
    assert!(first.report.plan.steps.iter().all(|step| step.items > Some(0) && !step.touches.is_empty()));
    let changes = first.events.iter().filter(|event| {
        matches!(&event.kind, EventKind::StateChanged { half, from, to, .. }
            if half == "export" && from == "NotInitialized" && to == "SteadyState")
    });
    assert_eq!(changes.count(), 3);
    deployment.assert_copies_equal("atl", "chi");
    let position = |path: &str| {
        let store = factory::management_store(&database_url(&deployment.path(path)), &Reach::Here).unwrap();
        (store.position().unwrap().identity, store.history(i64::MAX).unwrap())
    };
    assert_eq!(position("cms/cms.sqlite"), position("chi/standby/cms.sqlite"));

    let second = deployment.backup(json!({})).expect(Outcome::Succeeded);
    for module in &second.report.modules {
        assert!(module.moved.is_nothing(), "{module:#?}");
        assert_eq!(module.before.export, ExportState::SteadyState, "{module:#?}");
    }
    deployment.assert_copies_equal("atl", "chi");
}

#[test]
fn only_what_changed_is_moved() {
    let deployment = Deployment::new();
    deployment.backup(json!({})).expect(Outcome::Succeeded);
    deployment
        .server("atl")
        .execute_batch(
            "UPDATE users SET display_name = 'Renamed' WHERE id = 1; DELETE FROM presence WHERE owner = 2;
             INSERT INTO session_cache VALUES ('t', 1);",
        )
        .unwrap();
    std::fs::write(deployment.path("atl/share/new.txt"), "new").unwrap();
    std::fs::remove_file(deployment.path("atl/share/conference-001/slides-0001.pptx")).unwrap();
    let status = deployment.ask(json!({ "request": "getBackupServiceStatus", "poolFqdn": ATL })).unwrap();
    // The log of the server that has just gone is gone as well: that something was written is all that is known.
    assert_eq!(status["backupModules"][0]["pendingItems"], 1, "{status:#}");
    let ended = deployment.backup(json!({})).expect(Outcome::Succeeded);
    let moved = &ended.module(PRESENCE_FOCUS).moved;
    assert!((3..6).contains(&moved.items_written), "{moved:?}");
    assert_eq!(ended.module(PRESENCE_FOCUS).before.pending_items, 1);
    let moved = &ended.module(DATA_CONF).moved;
    assert_eq!((moved.items_written, moved.items_deleted, moved.bytes), (1, 1, 3), "{moved:?}");
    assert!(ended.module(CMS_MASTER).moved.is_nothing());
    deployment.assert_copies_equal("atl", "chi");
}

#[test]
fn a_pool_without_the_master_is_healthy_and_both_directions_are_independent() {
    let deployment = Deployment::new();
    let ended = run_backup(&deployment.service, with_pool(CHI, json!({}))).expect(Outcome::Succeeded);
    let master = ended.module(CMS_MASTER);
    assert_eq!((master.outcome, master.after.export), (Outcome::Skipped, ExportState::NotInitialized));
    deployment.assert_copies_equal("chi", "atl");
    assert!(!deployment.path("chi/standby").exists(), "the other direction was touched");
    let status = deployment.ask(json!({ "request": "getBackupServiceStatus", "poolFqdn": CHI })).unwrap();
    assert_eq!(status["overallExportStatus"], "SteadyState", "{status:#}");
    assert_eq!(status["overallImportStatus"], "NormalState", "{status:#}");
    assert!(status["backupModules"][2]["reason"].as_str().unwrap().contains("does not host"), "{status:#}");
}

#[test]
fn a_category_is_only_its_modules() {
    let deployment = Deployment::new();
    let modules = |category: &str| -> Vec<String> {
        let ended = deployment.backup(json!({ "category": category })).expect(Outcome::Succeeded);
        ended.report.modules.into_iter().map(|module| module.module).collect()
    };
    assert_eq!(modules("CMS"), [CMS_MASTER]);
    assert!(!deployment.path("chi/standby/atl.sqlite").exists());
    assert_eq!(modules("UserData"), [PRESENCE_FOCUS, DATA_CONF]);
}

/// Every ending, and what is left of it: one terminal event and one report (which [`ended`] checks), one record.
#[test]
fn every_ending_has_one_terminal_event_and_one_report() {
    let deployment = Deployment::new();
    let pipe = deployment.path("atl/share/pipe");
    let users = deployment.path("atl/users.sqlite");
    let aside = deployment.path("aside.sqlite");
    let mut endings = vec![deployment.backup(json!({})).expect(Outcome::Succeeded)];

    rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, 0o644.into()).unwrap();
    endings.push(deployment.backup(json!({})).expect(Outcome::SucceededWithWarnings));
    std::fs::remove_file(&pipe).unwrap();

    std::fs::rename(&users, &aside).unwrap();
    endings.push(deployment.backup(json!({ "retryCount": 0 })).expect(Outcome::Failed));

    let (asleep, naps) = channel();
    deployment.clock.on_long_sleep(move |_| {
        asleep.send(()).unwrap();
        Waking::Never
    });
    let request = with_pool(ATL, json!({ "steadyState": true, "retryCount": 1, "waitTimeMs": 3_600_000 }));
    let handle = start_backup(&deployment.service, request);
    naps.recv_timeout(Duration::from_secs(30)).unwrap();
    deployment.service.cancel(handle).unwrap();
    let cancelled = ended(&deployment.service, handle).expect(Outcome::Failed);
    // The user store is missing, and failures beat a cancellation.
    assert!(cancelled.report.errors.iter().any(|error| error.kind == ErrorKind::Cancelled));
    deployment.service.cancel(handle).unwrap();
    endings.push(cancelled);
    std::fs::rename(&aside, &users).unwrap();

    let files = std::fs::read_dir(deployment.path("jobs")).unwrap().map(|file| file.unwrap().file_name());
    // Beside the record of a job there may be one with the names of what changed.
    let records = files.filter(|file| file.to_string_lossy().ends_with(".json")).count();
    assert_eq!(records, endings.len());
    let listed = deployment.ask(json!({ "request": "listJobs" })).unwrap();
    let states: Vec<&str> =
        listed["jobs"].as_array().unwrap().iter().rev().map(|job| job["state"].as_str().unwrap()).collect();
    assert_eq!(states, ["Succeeded", "SucceededWithWarnings", "Failed", "Failed"]);
    deployment.backup(json!({})).expect(Outcome::Succeeded);
}

fn soonest_cancelled_at(
    deployment: &Deployment,
    service: &cs_backup::service::Service,
    point: &str,
) -> Duration {
    soonest(&format!("a job that is cancelled at {point:?}"), || cancelled_at(deployment, service, point))
}

/// Cancels a backup as soon as it says that it is at this point; the time until its end.
fn cancelled_at(deployment: &Deployment, service: &cs_backup::service::Service, point: &str) -> Duration {
    let handle = start_backup(service, with_pool(ATL, json!({})));
    wait_for(service, handle, |event| match event {
        EventKind::Progress { activity, .. } => activity == point,
        EventKind::StepStarted { step, .. } => step == point,
        EventKind::Started { .. } => point == "started",
        _ => false,
    });
    let asked = Instant::now();
    service.cancel(handle).unwrap();
    let ended = ended(service, handle);
    let latency = asked.elapsed();
    eprintln!("cancelled at {point:?}: ended after {latency:?}");
    assert_eq!(ended.report.outcome, Outcome::Cancelled, "{point}: {:#?}", ended.report);
    assert!(leftovers(&deployment.root()).iter().all(|path| !path.ends_with(".tmp")));
    latency
}

#[test]
fn a_cancelled_job_ends_at_once_and_the_next_one_completes() {
    let deployment = Deployment::of(Size { users: 3000, contacts: 60, files: 3000 });
    let service = deployment.another_with(Arc::new(SystemClock::new()));
    let user_step = format!("copy:{PRESENCE_FOCUS}");
    let points = ["started", &user_step, "Copying the user store", "Copying files", "Copying files"];
    let worst = points.iter().map(|point| soonest_cancelled_at(&deployment, &service, point)).max().unwrap();
    // A job that waits for another program's lock stops waiting.
    let server = deployment.server("atl");
    server
        .execute_batch("PRAGMA journal_mode = DELETE; UPDATE users SET display_name = 'x'; BEGIN IMMEDIATE")
        .unwrap();
    let locked = soonest_cancelled_at(&deployment, &service, &user_step);
    server.execute_batch("COMMIT").unwrap();
    eprintln!("the longest time to cancel was {:?}", worst.max(locked));
    run_backup(&service, with_pool(ATL, json!({}))).expect(Outcome::Succeeded);
    deployment.assert_copies_equal("atl", "chi");
}

#[test]
fn a_closed_service_takes_no_jobs_and_has_ended_those_it_had() {
    let deployment = Deployment::new();
    let _server = deployment.writing_server("atl");
    let handle = start_backup(&deployment.service, with_pool(ATL, json!({})));
    wait_for(&deployment.service, handle, |event| matches!(event, EventKind::StepStarted { .. }));
    assert!(deployment.service.close(Duration::from_secs(10)));
    ended(&deployment.service, handle).expect(Outcome::Cancelled);
    let late = try_start(&deployment.service, "backup", with_pool(ATL, json!({})));
    assert_eq!(late.unwrap_err().kind, ErrorKind::ShutDown);
}

#[test]
fn a_clock_that_jumps_an_hour_either_way_between_jobs_loses_nothing() {
    let deployment = Deployment::new();
    let server = deployment.server("atl");
    deployment.backup(json!({})).expect(Outcome::Succeeded);
    for (round, hours) in [1, -2, 3, -1, -1].into_iter().enumerate() {
        deployment.clock.jump_hours(hours);
        server
            .execute_batch(&format!(
                "UPDATE users SET display_name = 'round {round}' WHERE id % 2 = {}; DELETE FROM contacts WHERE owner = {round};",
                round % 2
            ))
            .unwrap();
        let folder = deployment.path("atl/share/conference-001");
        std::fs::write(folder.join("notes-0004.txt"), format!("round {round}")).unwrap();
        std::fs::write(folder.join(format!("round-{round}")), "same size every time").unwrap();
        let ended = deployment.backup(json!({})).expect(Outcome::Succeeded);
        assert!(ended.report.duration_ms < 60_000, "{:#?}", ended.report);
        for module in &ended.report.modules {
            assert_eq!(module.after.pending_items, 0, "{module:#?}");
            assert!(module.before.lag_ms.is_none_or(|lag| lag <= 4 * 3_600_000), "{module:#?}");
        }
        deployment.assert_copies_equal("atl", "chi");
        // A sync sees the same, and the job records are still found and in order.
        let listed = deployment.ask(json!({ "request": "listJobs", "poolFqdn": ATL })).unwrap();
        assert_eq!(listed["jobs"].as_array().unwrap().len(), round + 2);
    }
}
