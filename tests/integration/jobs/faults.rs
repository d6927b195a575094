//! What happens to the other modules, and what is said, when one of them cannot work.

use cs_backup::error::ErrorKind;
use cs_backup::job::events::EventKind;
use cs_backup::report::{ExportState, ImportState, Outcome};
use rusqlite::Connection;
use serde_json::json;

use crate::support::*;

/// Runs a backup in which one module fails in this way while the others succeed.
#[track_caller]
fn fails_alone(deployment: &Deployment, module: &str, kind: ErrorKind) -> Ended {
    let ended = deployment.backup(json!({ "retryCount": 0 })).expect(Outcome::Failed);
    for row in &ended.report.modules {
        let wanted = if row.module == module { Outcome::Failed } else { Outcome::Succeeded };
        assert_eq!(row.outcome, wanted, "{row:#?}");
        let is_copied = row.after.export == ExportState::SteadyState && row.after.pending_items == 0;
        assert_eq!(is_copied, row.module != module, "{row:#?}");
    }
    assert_eq!(ended.report.steps.len(), 3, "{:#?}", ended.report.steps);
    let row = ended.module(module);
    assert_eq!(row.after.export, ExportState::ErrorState, "{row:#?}");
    let error = &row.errors[0];
    assert_eq!(error.kind, kind, "{error:#?}");
    assert_eq!(error.context["module"], module);
    assert_eq!(error.context["pool"], ATL);
    assert!(!error.message.is_empty() && !error.advice.is_empty(), "{error:#?}");
    assert!(ended.report.errors.is_empty(), "{:#?}", ended.report.errors);
    // Whoever asks for the status later hears the same.
    let status = deployment.ask(json!({ "request": "getBackupServiceStatus", "poolFqdn": ATL })).unwrap();
    assert_eq!(status["overallExportStatus"], "ErrorState", "{status:#}");
    let rows = status["backupModules"].as_array().unwrap();
    let told = rows.iter().find(|row| row["identity"] == module).unwrap();
    assert_eq!(told["reason"], json!(error.message), "{status:#}");
    ended
}

#[track_caller]
fn heals(deployment: &Deployment) {
    deployment.backup(json!({})).expect(Outcome::Succeeded);
    let status = deployment.ask(json!({ "request": "getBackupServiceStatus", "poolFqdn": ATL })).unwrap();
    assert_eq!(status["overallExportStatus"], "SteadyState", "{status:#}");
    deployment.assert_copies_equal("atl", "chi");
}

#[test]
fn a_user_store_that_another_program_locks() {
    let deployment = Deployment::new();
    let shorter =
        json!({ "request": "setBackupServiceConfiguration", "settings": { "syncIntervalMs": 5_000 } });
    deployment.ask(shorter).unwrap();
    let server = deployment.writing_server("atl");
    let ended = fails_alone(&deployment, PRESENCE_FOCUS, ErrorKind::SourceTooBusy);
    assert!(ended.module(PRESENCE_FOCUS).errors[0].retryable);
    server.execute_batch("COMMIT").unwrap();
    heals(&deployment);
}

#[test]
fn a_user_store_that_is_missing() {
    let deployment = Deployment::new();
    let (users, aside) = (deployment.path("atl/users.sqlite"), deployment.path("aside"));
    std::fs::rename(&users, &aside).unwrap();
    fails_alone(&deployment, PRESENCE_FOCUS, ErrorKind::StoreUnavailable);
    std::fs::rename(&aside, &users).unwrap();
    heals(&deployment);
}

#[test]
fn a_user_store_that_is_no_database() {
    let deployment = Deployment::new();
    let (users, aside) = (deployment.path("atl/users.sqlite"), deployment.path("aside"));
    std::fs::rename(&users, &aside).unwrap();
    std::fs::write(&users, "not a database, and long enough for a header of one. ".repeat(40)).unwrap();
    fails_alone(&deployment, PRESENCE_FOCUS, ErrorKind::Corrupt);
    std::fs::rename(&aside, &users).unwrap();
    heals(&deployment);
}

#[test]
fn a_content_store_that_is_not_mounted() {
    let deployment = Deployment::new();
    deployment.backup(json!({})).expect(Outcome::Succeeded);
    let (share, aside) = (deployment.path("atl/share"), deployment.path("aside"));
    std::fs::rename(&share, &aside).unwrap();
    fails_alone(&deployment, DATA_CONF, ErrorKind::ContentStoreUnmounted);
    // An empty mount point looks like a store from which everything was deleted.
    std::fs::create_dir(&share).unwrap();
    fails_alone(&deployment, DATA_CONF, ErrorKind::ContentStoreUnmounted);
    assert_eq!(content(&aside), content(&deployment.path("chi/standby/atl")), "something was deleted");
    std::fs::remove_dir(&share).unwrap();
    std::fs::rename(&aside, &share).unwrap();
    heals(&deployment);
}

#[test]
fn a_standby_folder_that_is_a_file() {
    let deployment = Deployment::new();
    let standby = deployment.path("chi/standby/atl");
    std::fs::create_dir_all(standby.parent().unwrap()).unwrap();
    std::fs::write(&standby, "in the way").unwrap();
    let ended = deployment.backup(json!({ "retryCount": 0 })).expect(Outcome::Failed);
    let row = ended.module(DATA_CONF);
    assert_eq!((row.outcome, row.after.import), (Outcome::Failed, ImportState::ErrorState), "{row:#?}");
    assert!(!row.errors[0].advice.is_empty());
    for name in [PRESENCE_FOCUS, CMS_MASTER] {
        assert_eq!(ended.outcome_of(name), Outcome::Succeeded);
        assert!(!ended.module(name).moved.is_nothing());
    }
    assert_eq!(std::fs::read_to_string(&standby).unwrap(), "in the way");
    std::fs::remove_file(&standby).unwrap();
    heals(&deployment);
}

#[test]
fn a_standby_of_the_user_store_that_is_a_folder() {
    let deployment = Deployment::new();
    let standby = deployment.path("chi/standby/atl.sqlite");
    std::fs::create_dir_all(&standby).unwrap();
    let ended = fails_alone(&deployment, PRESENCE_FOCUS, ErrorKind::ForeignContent);
    assert_eq!(ended.module(PRESENCE_FOCUS).after.import, ImportState::ErrorState);
    std::fs::remove_dir(&standby).unwrap();
    heals(&deployment);
}

#[test]
fn a_standby_of_the_management_store_that_was_never_finished() {
    // What a process leaves that is killed between the creation of the file and that of its tables.
    let deployment = Deployment::new();
    let standby = deployment.path("chi/standby/cms.sqlite");
    std::fs::create_dir_all(standby.parent().unwrap()).unwrap();
    Connection::open(&standby).unwrap().pragma_update(None, "journal_mode", "WAL").unwrap();
    heals(&deployment);
}

#[test]
fn a_place_where_nothing_can_be_written_at_all() {
    let deployment = Deployment::new();
    std::fs::write(deployment.path("chi/standby"), "in the way").unwrap();
    let ended = deployment.backup(json!({ "retryCount": 0 })).expect(Outcome::Failed);
    assert!(!ended.error().advice.is_empty());
    assert_eq!(ended.ran(), Vec::<&str>::new());
    std::fs::remove_file(deployment.path("chi/standby")).unwrap();
    heals(&deployment);
}

#[test]
fn a_quarantined_item_is_a_warning_that_names_it_until_it_is_gone() {
    let deployment = Deployment::new();
    let pipe = deployment.path("atl/share/conference-001/pipe");
    rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, 0o644.into()).unwrap();
    for _ in 0..2 {
        let ended = deployment.backup(json!({})).expect(Outcome::SucceededWithWarnings);
        let row = ended.module(DATA_CONF);
        assert_eq!(row.outcome, Outcome::SucceededWithWarnings);
        assert_eq!(row.quarantined.len(), 1, "{row:#?}");
        assert_eq!(row.quarantined[0].item, "conference-001/pipe");
        assert!(!row.quarantined[0].reason.is_empty() && !row.quarantined[0].advice.is_empty());
        assert_eq!(ended.outcome_of(PRESENCE_FOCUS), Outcome::Succeeded);
        // Everything else is there.
        let mut source = content(&deployment.path("atl/share"));
        source.retain(|path, _| !path.ends_with("pipe"));
        assert_eq!(source, content(&deployment.path("chi/standby/atl")));
    }
    std::fs::remove_file(&pipe).unwrap();
    heals(&deployment);
}

#[test]
fn retries_are_told_and_counted() {
    let deployment = Deployment::new();
    let (users, aside) = (deployment.path("atl/users.sqlite"), deployment.path("aside"));
    std::fs::rename(&users, &aside).unwrap();
    let ended = deployment.backup(json!({ "retryCount": 2 })).expect(Outcome::Failed);
    let told: Vec<(u32, u64, ErrorKind)> = ended
        .events
        .iter()
        .filter_map(|event| match &event.kind {
            EventKind::Retrying { module: Some(module), attempt, delay_ms, error } => {
                assert_eq!(module, PRESENCE_FOCUS);
                Some((*attempt, *delay_ms, error.kind))
            }
            _ => None,
        })
        .collect();
    assert_eq!(told.iter().map(|(attempt, ..)| *attempt).collect::<Vec<_>>(), [2, 3]);
    assert!(told.iter().all(|(_, _, kind)| *kind == ErrorKind::StoreUnavailable));
    assert!(told[0].1 >= 200 && told[1].1 >= 400, "the pauses do not grow: {told:?}");
    assert_eq!(ended.report.retries, 2);
    assert_eq!(ended.module(PRESENCE_FOCUS).errors.len(), 1, "only the last failure is an error");

    // What heals in time was only worth a try. The pause before the fifth attempt is the first one that is long enough
    // for the clock to tell.
    deployment.clock.on_long_sleep(move |_| {
        let _ = std::fs::rename(&aside, &users);
        Waking::AtOnce
    });
    let ended = deployment.backup(json!({ "retryCount": 5 })).expect(Outcome::Succeeded);
    assert!((3..=4).contains(&ended.retries_of(PRESENCE_FOCUS)), "{:#?}", ended.events);
    assert!(ended.module(PRESENCE_FOCUS).errors.is_empty());
    deployment.assert_copies_equal("atl", "chi");
}

#[test]
fn what_a_retry_cannot_mend_is_not_tried_again() {
    let deployment = Deployment::new();
    let standby = deployment.path("chi/standby/atl.sqlite");
    std::fs::create_dir_all(standby.parent().unwrap()).unwrap();
    Connection::open(standby).unwrap().execute_batch("CREATE TABLE theirs (a TEXT)").unwrap();
    let ended = deployment.backup(json!({ "retryCount": 5 })).expect(Outcome::Failed);
    assert_eq!(ended.module(PRESENCE_FOCUS).errors[0].kind, ErrorKind::ForeignContent);
    assert_eq!(ended.report.retries, 0);
}

/// What a status says of both halves of a module of a pool that was copied, and why.
fn told(deployment: &Deployment, module: &str) -> (String, String, String) {
    let status = deployment.ask(json!({ "request": "getBackupServiceStatus", "poolFqdn": ATL })).unwrap();
    let rows = status["backupModules"].as_array().unwrap();
    let row = rows.iter().find(|row| row["identity"] == module).unwrap();
    let text = |field: &str| row[field].as_str().unwrap_or_default().to_owned();
    (text("exportStatus"), text("importStatus"), text("reason"))
}

#[test]
fn a_store_that_is_gone_is_an_error_of_its_half_in_the_status() {
    let deployment = Deployment::new();
    deployment.backup(json!({})).expect(Outcome::Succeeded);
    let aside = deployment.path("aside");
    let stores = [
        (PRESENCE_FOCUS, "atl/users.sqlite", "ErrorState", "NormalState"),
        (DATA_CONF, "atl/share", "ErrorState", "NormalState"),
        (DATA_CONF, "chi/standby/atl", "NonSteadyState", "ErrorState"),
    ];
    for (module, store, export, import) in stores {
        let store = deployment.path(store);
        std::fs::rename(&store, &aside).unwrap();
        let (found_export, found_import, reason) = told(&deployment, module);
        assert_eq!((&*found_export, &*found_import), (export, import), "{}: {reason}", store.display());
        assert!(reason.contains(store.to_str().unwrap()), "{reason}");
        std::fs::rename(&aside, &store).unwrap();
        assert_eq!(told(&deployment, module), ("SteadyState".into(), "NormalState".into(), String::new()));
    }
    for module in [PRESENCE_FOCUS, DATA_CONF] {
        assert_eq!(told(&deployment, module).0, "SteadyState");
    }
    std::fs::remove_dir_all(deployment.path("atl")).unwrap();
    for module in [PRESENCE_FOCUS, DATA_CONF] {
        let (export, _, reason) = told(&deployment, module);
        assert!(export == "ErrorState" && !reason.is_empty(), "{module}: {export}, {reason}");
    }
}

#[test]
fn a_plan_says_what_the_run_would_be_refused_with() {
    let deployment = Deployment::new();
    deployment.backup(json!({})).expect(Outcome::Succeeded);
    std::fs::remove_dir_all(deployment.path("chi/standby/atl")).unwrap();
    let planned = deployment.backup(json!({ "whatIf": true, "retryCount": 0 })).expect(Outcome::Failed);
    let run = deployment.backup(json!({ "retryCount": 0 })).expect(Outcome::Failed);
    let said = |ended: &Ended| ended.module(DATA_CONF).errors[0].message.clone();
    assert_eq!(said(&planned), said(&run));
    let forced = deployment.backup(json!({ "whatIf": true, "acceptDeletions": true }));
    let step =
        forced.report.plan.steps.iter().find(|step| step.module.as_deref() == Some(DATA_CONF)).unwrap();
    let run = deployment.backup(json!({ "acceptDeletions": true }));
    let moved = &run.module(DATA_CONF).moved;
    assert!(moved.items_written > 0);
    assert_eq!(step.items, Some(moved.items_written + moved.items_deleted));
    assert_eq!(step.bytes.unwrap_or(0), moved.bytes);
}
