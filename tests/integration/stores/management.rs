//! The Central Management store and its copy: which of them is the master, and what becomes of two that disagree.

use cs_backup::error::ErrorKind;
use cs_backup::report::{Outcome, Report};
use rusqlite::Connection;
use serde_json::{Value, json};

use crate::support::*;

const MASTER: &str = "cms/cms.sqlite";
const COPY: &str = "chi/standby/cms.sqlite";

/// The error of the module that copies the documents.
fn refusal(report: &Report) -> Value {
    let module = report.modules.iter().find(|module| module.module == CMS_MASTER).unwrap();
    serde_json::to_value(module.errors.first()).unwrap()
}

fn back_up(deployment: &Deployment) -> Ended {
    deployment.backup(json!({ "category": "CMS", "retryCount": 0 }))
}

fn configure(deployment: &Deployment, calls: u64) {
    let settings = json!({ "maxConcurrentCalls": calls });
    deployment.ask(json!({ "request": "setBackupServiceConfiguration", "settings": settings })).unwrap();
}

/// A whole copy of a database, as `sqlite3 .backup` makes one.
fn save(deployment: &Deployment, from: &str, to: &str) {
    let to = deployment.path(to);
    Connection::open(deployment.path(from))
        .unwrap()
        .execute("VACUUM INTO ?1", [to.to_str().unwrap()])
        .unwrap();
}

fn put_back(deployment: &Deployment, from: &str, to: &str) {
    for suffix in ["", "-wal", "-shm"] {
        let _ = std::fs::remove_file(deployment.path(&format!("{to}{suffix}")));
    }
    std::fs::copy(deployment.path(from), deployment.path(to)).unwrap();
}

#[test]
fn a_copy_that_was_written_to_is_refused_with_both_sides_shown() {
    let deployment = Deployment::new();
    back_up(&deployment).expect(Outcome::Succeeded);
    Connection::open(deployment.path(COPY))
        .unwrap()
        .execute("UPDATE csb_document SET body = '{}' WHERE kind = 'topology'", [])
        .unwrap();
    let ended = back_up(&deployment).expect(Outcome::Failed);
    let error = refusal(&ended.report);
    assert_eq!((&error["kind"], &error["side"]), (&json!("SplitTimeline"), &json!("import")), "{error:#}");
    let message = error["message"].as_str().unwrap();
    for name in [MASTER, COPY] {
        assert!(message.contains(deployment.path(name).to_str().unwrap()), "{message}");
    }
    assert!(message.contains("topology global, version 1, published 20"), "{message}");
    let status = deployment.ask(json!({ "request": "getBackupServiceStatus", "poolFqdn": ATL })).unwrap();
    assert_eq!(status["backupModules"][2]["exportStatus"], "ErrorState", "{status:#}");
    let plan = deployment.backup(json!({ "category": "CMS", "whatIf": true })).expect(Outcome::Failed);
    assert_eq!(refusal(&plan.report)["message"], error["message"], "the plan says what the run says");
    deployment.backup(json!({ "category": "CMS", "verify": true })).expect(Outcome::SucceededWithWarnings);
    back_up(&deployment).expect(Outcome::Succeeded);
}

#[test]
fn a_publication_at_the_copy_is_noticed() {
    let deployment = Deployment::new();
    back_up(&deployment).expect(Outcome::Succeeded);
    Connection::open(deployment.path(COPY))
        .unwrap()
        .execute(
            "INSERT INTO csb_document (kind, name, version, body, published_ms)
             SELECT kind, name, version + 1, '{\"maxConcurrentCalls\":7}', 1793527200000 FROM csb_document
             WHERE kind = 'configuration' ORDER BY version DESC LIMIT 1",
            [],
        )
        .unwrap();
    configure(&deployment, 3);
    let ended = back_up(&deployment).expect(Outcome::Failed);
    let error = refusal(&ended.report);
    assert_eq!(error["kind"], "SplitTimeline", "{error:#}");
}

#[test]
fn a_master_that_was_restored_and_published_something_else_is_noticed() {
    let deployment = Deployment::new();
    save(&deployment, MASTER, "yesterday");
    configure(&deployment, 3);
    back_up(&deployment).expect(Outcome::Succeeded);
    put_back(&deployment, "yesterday", MASTER);
    configure(&deployment, 4);
    let ended = back_up(&deployment).expect(Outcome::Failed);
    let error = refusal(&ended.report);
    assert_eq!(error["kind"], "SplitTimeline", "{error:#}");
}

#[test]
fn a_copy_takes_no_publications_and_says_where_its_master_is() {
    let deployment = Deployment::new();
    back_up(&deployment).expect(Outcome::Succeeded);
    let file = deployment.deployment_file();
    let text = std::fs::read_to_string(&file).unwrap();
    let other = deployment.path("other.toml");
    std::fs::write(&other, text.replace("cms/cms.sqlite", COPY).replace("cms/replica", "replica-of-it"))
        .unwrap();
    let service = deployment.another_on(&other);
    for what_if in [true, false] {
        let settings = json!({ "maxConcurrentCalls": 3 });
        let request =
            json!({ "request": "setBackupServiceConfiguration", "settings": settings, "whatIf": what_if });
        let error = ask(&service, request).unwrap_err();
        assert_eq!(error.kind, ErrorKind::NotMaster);
        assert_eq!(error.context["master"], format!("sqlite:{}", deployment.path(MASTER).display()));
        assert!(error.message.contains(&error.context["master"]), "{error}");
    }
    let file = deployment.path("topology.toml");
    let error = ask(&service, json!({ "request": "publishTopology", "file": file })).unwrap_err();
    assert_eq!(error.kind, ErrorKind::NotMaster);
    back_up(&deployment).expect(Outcome::Succeeded);
}

#[test]
fn the_copy_takes_publications_once_it_was_put_in_its_lost_masters_place() {
    let deployment = Deployment::new();
    configure(&deployment, 3);
    back_up(&deployment).expect(Outcome::Succeeded);
    save(&deployment, COPY, "saved");
    put_back(&deployment, "saved", MASTER);
    back_up(&deployment).expect(Outcome::Succeeded);
    configure(&deployment, 4);
    let ended = back_up(&deployment).expect(Outcome::Succeeded);
    assert_eq!(ended.module(CMS_MASTER).moved.items_written, 1);
    // The former master is one of an older epoch by now.
    save(&deployment, MASTER, "promoted");
    let epoch = "UPDATE csb_management SET epoch = epoch - 1";
    Connection::open(deployment.path(MASTER)).unwrap().execute(epoch, []).unwrap();
    let error = refusal(&back_up(&deployment).expect(Outcome::Failed).report);
    assert_eq!(error["kind"], "Fenced", "{error:#}");
}

#[test]
fn settings_are_no_array() {
    for settings in [json!([]), json!([5000])] {
        let request = json!({ "request": "setBackupServiceConfiguration", "settings": settings });
        let read = serde_json::from_value::<cs_backup::service::Request>(request);
        assert!(read.is_err(), "{settings} was taken for {read:?}");
    }
}
