//! `Disable-CsPoolBackup`: a job like the others, which takes the product out of a pool's stores and their copies.

use cs_backup::error::ErrorKind;
use cs_backup::job::events::EventKind;
use cs_backup::report::{Outcome, Report, Trace};
use rusqlite::Connection;
use serde_json::{Value, json};

use super::what_if::{changes_nothing, everything};
use crate::injection::{Fault, Job, is_possible};
use crate::support::*;

const STEPS: [&str; 4] = [
    "disable:UserServices.PresenceFocus",
    "disable:ConfServices.DataConf",
    "disable:CentralMgmt.CMSMaster",
    "forget:states",
];

fn disable(deployment: &Deployment, options: Value) -> Ended {
    deployment.run("disable", ATL, options)
}

/// What there is of ours at a pool and in its copy.
fn traces(deployment: &Deployment) -> Vec<Trace> {
    disable(deployment, json!({ "whatIf": true })).expect(Outcome::Succeeded).report.removed
}

/// What was a copy is a database like any other once the product has been taken out, and nothing that it overwrites.
fn put_the_copy_away(deployment: &Deployment) {
    let _ = std::fs::remove_file(deployment.path("chi/standby/atl.sqlite"));
}

#[test]
fn a_plan_lists_what_the_job_removes_and_the_job_leaves_a_report_and_a_record() {
    let deployment = Deployment::new();
    deployment.backup(json!({})).expect(Outcome::Succeeded);
    let planned = changes_nothing(&deployment, || disable(&deployment, json!({ "whatIf": true })));
    let listed = &planned.report.removed;
    assert!(listed.iter().any(|trace| trace.kind == "fence"), "{listed:#?}");
    let items: Vec<u64> = planned.report.plan.steps.iter().map(|step| step.items.unwrap()).collect();
    assert_eq!(items.iter().sum::<u64>(), listed.len() as u64);
    assert_eq!(items[3], 1, "{:#?}", planned.report.plan);
    // Nothing of an earlier build is in the server's database: it is not written to.
    let touched: Vec<usize> = planned.report.plan.steps.iter().map(|step| step.touches.len()).collect();
    let place = |path: &str| deployment.path(path).display().to_string();
    assert_eq!(planned.report.plan.steps[0].touches, [format!("sqlite:{}", place("chi/standby/atl.sqlite"))]);
    assert_eq!(touched[..3], [1, 2, 0], "{:#?}", planned.report.plan);

    let ended = disable(&deployment, json!({})).expect(Outcome::Succeeded);
    assert_eq!(ended.ran(), STEPS);
    assert_eq!(&ended.report.removed, listed);
    let told = ended.events.iter().filter(|event| matches!(event.kind, EventKind::StepFinished { .. }));
    assert_eq!(told.count(), STEPS.len());
    assert!(!deployment.path("atl/share/.csb").exists());
    let ours: i64 = deployment
        .server("atl")
        .query_row("SELECT count(*) FROM sqlite_schema WHERE name LIKE 'csb%'", [], |row| row.get(0))
        .unwrap();
    assert_eq!(ours, 0);
    let id = ended.report.job_id;
    let found = ask(&deployment.another(), json!({ "request": "getReport", "jobId": id })).unwrap();
    assert_eq!(serde_json::from_value::<Report>(found).unwrap(), ended.report);

    assert!(traces(&deployment).is_empty());
    assert!(disable(&deployment, json!({})).expect(Outcome::Succeeded).report.removed.is_empty());
    // The copy is known again.
    deployment.backup(json!({})).expect(Outcome::Succeeded);
    deployment.assert_copies_equal("atl", "chi");
    let of_users = |traces: &[Trace]| {
        let of_users = traces.iter().filter(|trace| trace.store.ends_with("chi/standby/atl.sqlite"));
        of_users.map(|trace| trace.kind.clone()).collect::<Vec<_>>()
    };
    assert_eq!(of_users(&traces(&deployment)), of_users(listed));
}

#[test]
fn a_copy_whose_backup_was_disabled_is_taken_over_again_unless_somebody_wrote_to_it() {
    let deployment = Deployment::new();
    let copy = deployment.path("chi/standby/atl.sqlite");
    let backup = || deployment.backup(json!({ "category": "UserData", "retryCount": 0 }));
    let status = || deployment.ask(json!({ "request": "getBackupServiceStatus", "poolFqdn": ATL })).unwrap();
    let users = || {
        let modules = status()["backupModules"].as_array().unwrap().clone();
        modules.into_iter().find(|module| module["identity"] == PRESENCE_FOCUS).unwrap()
    };
    backup().expect(Outcome::Succeeded);
    for round in 0..2 {
        disable(&deployment, json!({})).expect(Outcome::Succeeded);
        let left: Vec<_> = std::fs::read_dir(copy.with_extension("sqlite.csb")).unwrap().collect();
        assert_eq!(left.len(), 1, "{left:?}");
        // It is no copy until it is one again: nothing of it is restored or given back.
        let history = deployment.ask(json!({ "request": "getPoolBackupHistory", "poolFqdn": ATL })).unwrap();
        assert_eq!(history["modules"][0]["states"], json!([]));
        assert_eq!(users()["exportStatus"], "NotInitialized", "{:#}", users());
        assert!(!deployment.path("chi/standby/atl.sqlite-wal").exists(), "a look at it makes no log");
        // What the server wrote meanwhile.
        let sql = format!("UPDATE users SET display_name = 'round {round}'");
        deployment.server("atl").execute_batch(&sql).unwrap();
        let planned =
            deployment.backup(json!({ "whatIf": true, "category": "UserData" })).expect(Outcome::Succeeded);
        assert!(planned.report.plan.steps.iter().any(|step| step.items.is_some_and(|items| items > 0)));
        let ended = backup().expect(Outcome::Succeeded);
        assert!(ended.module(PRESENCE_FOCUS).moved.items_written > 0);
        deployment.assert_copies_equal("atl", "chi");
    }
    for (how, write) in [
        ("written to", "UPDATE users SET display_name = 'theirs' WHERE id = 3"),
        (
            "written to beside a log",
            "PRAGMA journal_mode = WAL; UPDATE users SET display_name = 'theirs' WHERE id = 3",
        ),
        ("copied", ""),
    ] {
        disable(&deployment, json!({})).expect(Outcome::Succeeded);
        let kept = copy.with_extension("kept");
        if write.is_empty() {
            // Another file of the same content may be anybody's.
            std::fs::copy(&copy, &kept).unwrap();
            std::fs::rename(&kept, &copy).unwrap();
        } else {
            Connection::open(&copy).unwrap().execute_batch(write).unwrap();
        }
        let theirs = std::fs::read(&copy).unwrap();
        assert_eq!(users()["importStatus"], "ErrorState", "{how}: {:#}", users());
        let ended = backup().expect(Outcome::Failed);
        let error = &ended.module(PRESENCE_FOCUS).errors[0];
        assert_eq!(error.kind, ErrorKind::ForeignContent, "{how}");
        assert!(error.message.contains("since the backup was disabled"), "{how}: {}", error.message);
        assert_eq!(std::fs::read(&copy).unwrap(), theirs, "{how}");
        put_the_copy_away(&deployment);
        backup().expect(Outcome::Succeeded);
        deployment.assert_copies_equal("atl", "chi");
    }
}

#[test]
fn it_waits_for_a_locked_store_and_can_be_cancelled() {
    let deployment = Deployment::new();
    deployment.backup(json!({})).expect(Outcome::Succeeded);
    let before = everything(&deployment);
    // The fence is lifted once nobody reads the copy.
    let reader = reading(&deployment.path("chi/standby/atl.sqlite"));
    reader.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(())).unwrap();
    let handle = start(&deployment.service, "disable", with_pool(ATL, json!({})));
    wait_for(&deployment.service, handle, |event| matches!(event, EventKind::StepStarted { .. }));
    deployment.service.cancel(handle).unwrap();
    let cancelled = ended(&deployment.service, handle).expect(Outcome::Cancelled);
    assert_eq!(cancelled.error().kind, ErrorKind::Cancelled);
    assert_eq!(cancelled.ran(), STEPS[..1]);
    assert!(cancelled.report.removed.is_empty());
    drop(reader);
    let stores = |files: &std::collections::BTreeMap<std::path::PathBuf, _>| -> Vec<std::path::PathBuf> {
        files.keys().filter(|path| path.starts_with("atl/share")).cloned().collect()
    };
    assert_eq!(stores(&before), stores(&everything(&deployment)));
    disable(&deployment, json!({})).expect(Outcome::Succeeded);
}

#[test]
fn a_store_that_fails_does_not_keep_the_others_from_being_cleaned() {
    let deployment = Deployment::new();
    let server = deployment.server("atl");
    // What an earlier build left is all that has to be removed from the server's own database.
    server.execute_batch("CREATE TABLE csb_change (x)").unwrap();
    deployment.backup(json!({})).expect(Outcome::SucceededWithWarnings);
    server.execute_batch("BEGIN EXCLUSIVE").unwrap();
    let ended = disable(&deployment, json!({ "retryCount": 0 })).expect(Outcome::Failed);
    let outcomes: Vec<Outcome> = ended.report.steps.iter().map(|step| step.outcome).collect();
    assert_eq!(outcomes[0], Outcome::Failed, "{:#?}", ended.report);
    assert_eq!(outcomes[1..], [Outcome::Succeeded; 3], "{:#?}", ended.report);
    assert_eq!(ended.error().kind, ErrorKind::StoreBusy);
    assert_eq!(ended.error().context["module"], PRESENCE_FOCUS);
    assert!(!deployment.path("atl/share/.csb").exists());
    server.execute_batch("COMMIT").unwrap();
    let rest = disable(&deployment, json!({})).expect(Outcome::Succeeded);
    assert!(rest.report.removed.iter().any(|trace| trace.name == "csb_change"), "{:#?}", rest.report.removed);
    assert!(rest.report.removed.iter().all(|trace| trace.kind != "marker"), "{:#?}", rest.report.removed);
}

/// The ids of the steps that the last list of a pool notes as ended.
fn noted_as_ended(deployment: &Deployment) -> Vec<String> {
    let store = Connection::open(deployment.path("chi/standby/atl.service.sqlite")).unwrap();
    let sql = "SELECT id FROM csb_journal WHERE step > 0 AND outcome = 'Succeeded' AND generation =
                   (SELECT max(generation) FROM csb_lease) ORDER BY step";
    let mut notes = store.prepare(sql).unwrap();
    notes.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
}

/// Whether the last list of a pool has come to its end.
fn has_ended(deployment: &Deployment) -> bool {
    let store = Connection::open(deployment.path("chi/standby/atl.service.sqlite")).unwrap();
    let sql = "SELECT ended_ms IS NOT NULL FROM csb_journal WHERE step = 0 ORDER BY generation DESC LIMIT 1";
    store.query_row(sql, [], |row| row.get(0)).unwrap()
}

/// Kills a disable at every second write to the database in which its steps are noted: before a step's note, between its effect
/// and the note, and after it.
#[test]
fn a_disable_that_is_killed_between_a_step_and_its_note_is_gone_on_with() {
    if !is_possible() {
        return;
    }
    let (mut kills, mut resumed, mut done_without_note) = (0, 0, 0);
    // A note is some writes long, so that every second of them is enough to be in each.
    for number in (1..).step_by(2) {
        let deployment = Deployment::in_memory(SMALL);
        deployment.backup(json!({})).expect(Outcome::Succeeded);
        let files = format!("{}*", deployment.path("chi/standby/atl.service.sqlite").display());
        let job = Job { arguments: &["--disable"], deployment: &deployment, pool: ATL, options: json!({}) };
        let hit = job.run(&Fault::nth("write", &files, number, "kill"));
        if hit.outcome.is_some() {
            break;
        }
        kills += 1;
        let noted = if has_ended(&deployment) { Vec::new() } else { noted_as_ended(&deployment) };
        let left = traces(&deployment);
        let has = |kind: &str| left.iter().any(|trace| trace.kind == kind);
        done_without_note += u32::from(!has("fence") && !noted.iter().any(|id| id == STEPS[0]));
        let next = disable(&deployment, json!({})).expect(Outcome::Succeeded);
        let again: Vec<&str> = STEPS.into_iter().filter(|step| !noted.iter().any(|id| id == step)).collect();
        assert_eq!(next.ran(), again, "kill {number}");
        for step in next.report.steps.iter().filter(|step| step.started_at.is_none()) {
            assert!(step.details[0].contains("before its process died"), "{step:#?}");
            resumed += 1;
        }
        assert_eq!(next.report.removed, left, "kill {number}");
        assert!(traces(&deployment).is_empty(), "kill {number}");
    }
    eprintln!(
        "{kills} kills, {resumed} steps were not done again, {done_without_note} times a note was missing"
    );
    assert!(kills > 5 && resumed > 4 && done_without_note > 0);
}

#[test]
fn a_disable_that_was_killed_begins_anew_once_a_backup_has_put_everything_back() {
    if !is_possible() {
        return;
    }
    let deployment = Deployment::in_memory(SMALL);
    deployment.backup(json!({})).expect(Outcome::Succeeded);
    let files = format!("{}*", deployment.path("chi/standby/atl.service.sqlite").display());
    let job = Job { arguments: &["--disable"], deployment: &deployment, pool: ATL, options: json!({}) };
    let backup = || {
        put_the_copy_away(&deployment);
        deployment.backup(json!({})).expect(Outcome::Succeeded);
    };
    let all = job.run(&Fault::none("write", &files)).calls.len();
    let is_midway = (4..8).any(|eighth| {
        backup();
        job.run(&Fault::nth("write", &files, all * eighth / 8, "kill"));
        !noted_as_ended(&deployment).is_empty() && !has_ended(&deployment)
    });
    assert!(is_midway, "it was never killed between two steps");
    backup();
    assert_eq!(disable(&deployment, json!({})).expect(Outcome::Succeeded).ran(), STEPS);
    assert!(traces(&deployment).is_empty());
}
