//! The settings of the backup service: kept in the Central Management store, and kept to by jobs.

use cs_backup::error::ErrorKind;
use cs_backup::report::Outcome;
use serde_json::{Value, json};

use super::support::{ATL, CMS_MASTER, DATA_CONF, Deployment};

fn get(deployment: &Deployment, local_store: bool) -> Value {
    deployment.ask(json!({ "request": "getBackupServiceConfiguration", "localStore": local_store })).unwrap()
}

fn set(deployment: &Deployment, settings: Value) -> Value {
    deployment.ask(json!({ "request": "setBackupServiceConfiguration", "settings": settings })).unwrap()
}

#[test]
fn settings_are_changed_one_by_one_and_reset_together() {
    let deployment = Deployment::new();
    let defaults = get(&deployment, false);
    assert_eq!(defaults["syncIntervalMs"], 120_000);
    set(&deployment, json!({ "syncIntervalMs": 30_000, "authorizedLocalAccounts": ["backup"] }));
    let changed = set(&deployment, json!({ "maxConcurrentCalls": 3 }));
    assert_eq!(
        (changed["syncIntervalMs"].as_u64(), changed["maxConcurrentCalls"].as_u64()),
        (Some(30_000), Some(3))
    );
    assert_eq!(changed["authorizedLocalAccounts"], json!(["backup"]));
    assert_eq!(get(&deployment, false), changed);
    assert_eq!(get(&deployment, true), changed, "the local replica is refreshed");

    let request = json!({ "request": "resetBackupServiceConfiguration" });
    assert_eq!(deployment.ask(request).unwrap(), defaults);
    assert_eq!(get(&deployment, true), defaults);
}

#[test]
fn a_dry_run_and_a_mistake_change_nothing() {
    let deployment = Deployment::new();
    let before = get(&deployment, false);
    let would = deployment
        .ask(json!({ "request": "setBackupServiceConfiguration", "settings": { "maxConcurrentCalls": 3 }, "whatIf": true }))
        .unwrap();
    assert_eq!(would["maxConcurrentCalls"], 3);
    let wrong = json!({ "request": "setBackupServiceConfiguration", "settings": { "syncIntervalMs": 1, "maxConcurrentCalls": 3 } });
    assert_eq!(deployment.ask(wrong).unwrap_err().kind, ErrorKind::InvalidArgument);
    assert_eq!(get(&deployment, false), before);
    assert_eq!(get(&deployment, true), before);
}

#[test]
fn settings_are_read_but_not_written_while_the_store_is_gone() {
    let deployment = Deployment::new();
    let before = get(&deployment, false);
    std::fs::rename(deployment.path("cms/cms.sqlite"), deployment.path("away")).unwrap();
    assert_eq!(get(&deployment, true), before);
    let error = deployment.ask(json!({ "request": "resetBackupServiceConfiguration" })).unwrap_err();
    assert_eq!(error.kind, ErrorKind::StoreUnavailable);
    assert!(!deployment.path("cms/cms.sqlite").exists(), "a store must not be made anew");
}

#[test]
fn a_cycle_copies_no_more_documents_than_it_may_and_the_next_one_the_rest() {
    let deployment = Deployment::new();
    deployment.sync(ATL, json!({ "modules": [CMS_MASTER] })).expect(Outcome::Succeeded);
    for calls in 1..=150 {
        set(&deployment, json!({ "maxConcurrentCalls": calls, "maxBatchesPerCmsSync": 1 }));
    }
    let first =
        deployment.sync(ATL, json!({ "modules": [CMS_MASTER] })).expect(Outcome::SucceededWithWarnings);
    assert_eq!(first.module(CMS_MASTER).moved.items_written, 100);
    assert!(first.module(CMS_MASTER).warnings[0].contains("50"), "{:?}", first.module(CMS_MASTER).warnings);
    let second = deployment.sync(ATL, json!({ "modules": [CMS_MASTER] })).expect(Outcome::Succeeded);
    assert_eq!(second.module(CMS_MASTER).moved.items_written, 50);
}

#[test]
fn content_travels_in_batches_of_the_size_that_is_set() {
    let deployment = Deployment::new();
    for name in 0..6 {
        std::fs::write(deployment.path(&format!("atl/share/large-{name}")), vec![b'x'; 2000]).unwrap();
    }
    set(&deployment, json!({ "maxDataConfPackageSizeKb": 1 }));
    let ended = deployment.sync(ATL, json!({ "modules": [DATA_CONF] })).expect(Outcome::Succeeded);
    assert!(ended.module(DATA_CONF).moved.batches >= 6, "{:?}", ended.module(DATA_CONF).moved);
}
