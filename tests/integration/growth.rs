//! What a newer build wrote into the documents that are kept survives this build, and is read by it as far as it can be.

use std::path::Path;

use cs_backup::error::{Error, ErrorKind};
use cs_backup::report::Outcome;
use cs_backup::store::content::folder::FolderStore;
use cs_backup::store::content::{ContentStore, Marker, MarkerRole, Presence};
use rusqlite::{Connection, params};
use serde_json::{Value, json};

use crate::support::*;

/// What no build of today writes.
const NEW: &str = "fieldOfANewerBuild";

/// The newest version of a document of the Central Management store.
fn document(deployment: &Deployment, kind: &str) -> Value {
    let store = Connection::open(deployment.path("cms/cms.sqlite")).unwrap();
    let newest = "SELECT body FROM csb_document WHERE kind = ?1 ORDER BY revision DESC LIMIT 1";
    let body: String = store.query_row(newest, [kind], |row| row.get(0)).unwrap();
    serde_json::from_str(&body).unwrap()
}

fn write_document(deployment: &Deployment, kind: &str, body: &Value) {
    let store = Connection::open(deployment.path("cms/cms.sqlite")).unwrap();
    let newest = "UPDATE csb_document SET body = ?2 WHERE revision =
        (SELECT revision FROM csb_document WHERE kind = ?1 ORDER BY revision DESC LIMIT 1)";
    assert_eq!(store.execute(newest, params![kind, body.to_string()]).unwrap(), 1);
}

/// Changes a document behind our back.
fn change(deployment: &Deployment, kind: &str, change: impl FnOnce(&mut Value)) {
    let mut body = document(deployment, kind);
    change(&mut body);
    write_document(deployment, kind, &body);
}

fn configure(deployment: &Deployment, calls: u64) -> Result<Value, Error> {
    let settings = json!({ "maxConcurrentCalls": calls });
    deployment.ask(json!({ "request": "setBackupServiceConfiguration", "settings": settings }))
}

/// Publishes a topology with another list of tables that are left out.
fn publish(deployment: &Deployment, exclude: &str) -> Result<Value, Error> {
    let text = std::fs::read_to_string(deployment.path("topology.toml")).unwrap();
    assert!(text.contains("session_"), "{text}");
    let file = deployment.path("topology-2.toml");
    std::fs::write(&file, text.replacen("session_", exclude, 1)).unwrap();
    deployment.ask(json!({ "request": "publishTopology", "file": file }))
}

fn read(path: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

fn write(path: &Path, value: &Value) {
    std::fs::write(path, value.to_string()).unwrap();
}

#[test]
fn documents_of_the_management_store_keep_what_a_newer_build_wrote() {
    let deployment = Deployment::new();
    change(&deployment, "topology", |topology| {
        topology[NEW] = json!(1);
        topology["pools"][0]["selfFence"] = json!("5m");
        topology["pools"][0]["userStore"]["compression"] = json!({ "level": 3 });
        topology["pools"][1]["standby"]["witness"] = json!("sqlite:w");
    });
    change(&deployment, "configuration", |settings| settings["historyDays"] = json!(7));
    change(&deployment, "roles", |roles| {
        roles[NEW] = json!([1]);
        roles["roles"][0]["scope"] = json!("site");
        let own = json!({ "identity": "Own", "isStandardRole": false, "cmdlets": [], "color": 5 });
        roles["roles"].as_array_mut().unwrap().insert(0, own);
    });
    Connection::open(deployment.path("cms/cms.sqlite"))
        .unwrap()
        .execute("INSERT INTO csb_document (kind, name, version, body, published_ms) VALUES ('witness', 'w', 1, '{}', 5)", [])
        .unwrap();

    configure(&deployment, 3).unwrap();
    publish(&deployment, "session_c").unwrap();

    let topology = document(&deployment, "topology");
    assert_eq!(topology[NEW], 1, "{topology:#}");
    assert_eq!(topology["pools"][0]["selfFence"], "5m");
    assert_eq!(topology["pools"][0]["userStore"]["compression"], json!({ "level": 3 }));
    assert_eq!(topology["pools"][1]["standby"]["witness"], "sqlite:w");
    assert!(topology.to_string().contains("session_c*"), "it was published");
    let settings = document(&deployment, "configuration");
    assert_eq!((&settings["historyDays"], &settings["maxConcurrentCalls"]), (&json!(7), &json!(3)));
    deployment.ask(json!({ "request": "resetBackupServiceConfiguration" })).unwrap();
    let settings = document(&deployment, "configuration");
    assert_eq!((&settings["historyDays"], &settings["maxConcurrentCalls"]), (&json!(7), &json!(10)));
    let roles = document(&deployment, "roles");
    assert_eq!((&roles[NEW], &roles["roles"][0]["scope"]), (&json!([1]), &json!("site")), "{roles:#}");
    let own = roles["roles"].as_array().unwrap().iter().find(|role| role["identity"] == "Own").unwrap();
    assert_eq!(own["color"], 5);

    // The replica and the standby copy hold all of it, too.
    let replica = read(&deployment.path("cms/replica.json"));
    let kinds: Vec<&str> =
        replica["documents"].as_array().unwrap().iter().map(|one| one["kind"].as_str().unwrap()).collect();
    assert!(kinds.contains(&"witness"), "{kinds:?}");
    let ended = deployment.backup(json!({})).expect(Outcome::Succeeded);
    assert!(ended.module(CMS_MASTER).moved.items_written > 6);
}

#[test]
fn standard_roles_of_a_newer_build_stay_as_they_are() {
    let deployment = Deployment::new();
    let newer = json!({ "schemaVersion": 1, "edition": 1_000_000, "roles": [
        { "identity": "CsAdministrator", "isStandardRole": true, "cmdlets": ["Invoke-CsPoolFailOver"] },
        { "identity": "CsWitness", "isStandardRole": true, "cmdlets": ["Get-CsPool"] }] });
    write_document(&deployment, "roles", &newer);
    publish(&deployment, "session_c").unwrap();
    assert_eq!(document(&deployment, "roles"), newer);
    let reply = deployment.ask(json!({ "request": "getAdminRoles" })).unwrap();
    assert_eq!(reply["roles"], newer["roles"]);
    // A list alone is a former build's: it gets this build's roles.
    write_document(&deployment, "roles", &newer["roles"]);
    publish(&deployment, "session_ca").unwrap();
    let identities = document(&deployment, "roles")["roles"].to_string();
    assert!(
        identities.contains("CsViewOnlyAdministrator") && !identities.contains("CsWitness"),
        "{identities}"
    );
}

#[test]
fn a_state_of_a_pool_is_read_whatever_build_wrote_it() {
    let deployment = Deployment::new();
    let relationship =
        || deployment.ask(json!({ "request": "getPoolBackupRelationship", "poolFqdn": CHI })).unwrap();
    let new = relationship();
    assert_eq!(new["poolState"], "Active");
    let details = &new["poolStateDetails"];
    assert!(details["since"].is_string() && details["epoch"] == 0 && details["jobId"].is_null(), "{details}");
    // The newest of these documents is that of Chicago.
    let cases = [
        (json!("FailedOver"), "FailedOver", 0),
        (json!({ "state": "ReadOnly", "epoch": 4, "witness": 1 }), "ReadOnly", 4),
        (json!({ "state": "Sleeping", "epoch": 5 }), "Unknown", 5),
    ];
    for (body, state, epoch) in cases {
        write_document(&deployment, "poolState", &body);
        let told = relationship();
        assert_eq!((&told["poolState"], &told["poolStateDetails"]["epoch"]), (&json!(state), &json!(epoch)));
        let pools = deployment.ask(json!({ "request": "getPools" })).unwrap();
        let pool = pools["pools"].as_array().unwrap().iter().find(|pool| pool["fqdn"] == CHI).unwrap();
        assert_eq!((&pool["state"], &pool["stateDetails"]["epoch"]), (&json!(state), &json!(epoch)));
        let status = deployment.ask(json!({ "request": "getBackupServiceStatus", "poolFqdn": CHI })).unwrap();
        assert_eq!(status["poolState"], state);
        publish(&deployment, "session_c").unwrap();
        assert_eq!(document(&deployment, "poolState"), body, "publishing a topology moves no pool");
        publish(&deployment, "session_ca").unwrap();
    }
}

#[test]
fn replica_job_record_module_state_and_marker_keep_what_a_newer_build_wrote() {
    let deployment = Deployment::new();
    let ended = deployment.backup(json!({})).expect(Outcome::Succeeded);

    let replica = deployment.path("cms/replica.json");
    let mut newer = read(&replica);
    newer[NEW] = json!({ "a": 1 });
    newer["documents"][0][NEW] = json!(2);
    write(&replica, &newer);
    configure(&deployment, 3).unwrap();
    let kept = read(&replica);
    assert_eq!(kept[NEW], json!({ "a": 1 }));
    assert!(
        kept["documents"]
            .as_array()
            .unwrap()
            .iter()
            .any(|one| one[NEW] == 2 || one["kind"] == "configuration")
    );

    // A job of a newer build whose process died: this build ends it.
    let file = deployment.path(&format!("jobs/{}.json", ended.report.job_id));
    let mut record = read(&file);
    record["ended"] = json!(false);
    record["owner"]["processId"] = json!(4_000_000);
    record["owner"]["started"] = json!(1);
    record["owner"][NEW] = json!("o");
    record[NEW] = json!("r");
    record["report"]["outcome"] = json!("Paused");
    record["report"]["modules"][0]["outcome"] = json!("Paused");
    record["report"]["modules"][0]["before"]["export"] = json!("HibernatingState");
    record["report"]["modules"][0]["purpose"] = json!("restore");
    record["report"]["modules"][0][NEW] = json!("m");
    record["report"]["modules"][1]["errors"] = json!([{ "status": 999, "kind": "OfANewerBuild", "message": "m", "advice": "a", "retryable": false, "side": "middle" }]);
    write(&file, &record);
    let elsewhere = deployment.another();
    let id = ended.report.job_id;
    let job = ask(&elsewhere, json!({ "request": "getJob", "jobId": id })).unwrap();
    assert_eq!(job["state"], "Failed");
    let report = ask(&elsewhere, json!({ "request": "getReport", "jobId": id })).unwrap();
    let module = &report["modules"][0];
    let words = (&module["outcome"], &module["before"]["export"], &module["purpose"]);
    assert_eq!(words, (&json!("Unknown"), &json!("Unknown"), &json!("restore")));
    let error = &report["modules"][1]["errors"][0];
    assert_eq!((&error["kind"], &error["status"]), (&json!("Unknown"), &json!(999)));
    let html = ask(&elsewhere, json!({ "request": "getReport", "jobId": id, "format": "html" })).unwrap();
    assert!(html["html"].as_str().unwrap().contains("Unknown"));
    let kept = read(&file);
    assert_eq!((&kept["ended"], &kept["report"]["outcome"]), (&json!(true), &json!("Failed")));
    assert_eq!(
        (&kept[NEW], &kept["owner"][NEW], &kept["report"]["modules"][0][NEW]),
        (&json!("r"), &json!("o"), &json!("m"))
    );
    assert_eq!(kept["report"]["modules"], record["report"]["modules"]);

    let service = deployment.path("chi/standby/atl.service.sqlite");
    let state = "SELECT state FROM csb_module_state WHERE module = 'ConfServices.DataConf'";
    let states = Connection::open(&service).unwrap();
    let mut newer: Value =
        serde_json::from_str(&states.query_row(state, [], |row| row.get::<_, String>(0)).unwrap()).unwrap();
    newer["export"] = json!("HibernatingState");
    newer[NEW] = json!(7);
    states
        .execute(
            "UPDATE csb_module_state SET state = ?1 WHERE module = 'ConfServices.DataConf'",
            [newer.to_string()],
        )
        .unwrap();
    let status = deployment.ask(json!({ "request": "getBackupServiceStatus", "poolFqdn": ATL })).unwrap();
    assert_eq!(status["backupModules"][1]["exportStatus"], "Unknown");
    assert_eq!(status["overallExportStatus"], "Unknown");
    deployment.backup(json!({ "category": "UserData" })).expect(Outcome::Succeeded);
    let kept: Value =
        serde_json::from_str(&states.query_row(state, [], |row| row.get::<_, String>(0)).unwrap()).unwrap();
    assert_eq!((&kept["export"], &kept[NEW]), (&json!("SteadyState"), &json!(7)));

    let file = deployment.path("chi/standby/atl/.csb/store.json");
    let mut newer = read(&file);
    newer[NEW] = json!([1]);
    write(&file, &newer);
    let store = FolderStore::new(deployment.path("chi/standby/atl"), Vec::new());
    let Presence::Marked(marker) = store.identify().unwrap() else { panic!("it is marked") };
    store.mark(&Marker { role: MarkerRole::FormerStandby, ..marker }).unwrap();
    let kept = read(&file);
    assert_eq!((&kept["role"], &kept[NEW]), (&json!("formerStandby"), &json!([1])));
    newer["role"] = json!("mirror");
    write(&file, &newer);
    let Presence::Marked(marker) = store.identify().unwrap() else { panic!("it is marked") };
    assert_eq!(marker.role, MarkerRole::Unknown);
}

#[test]
fn documents_whose_fields_mean_something_new_are_refused_and_left_as_they_are() {
    let deployment = Deployment::new();
    let ended = deployment.backup(json!({})).expect(Outcome::Succeeded);
    #[track_caller]
    fn refused(done: Result<Value, Error>) {
        let error = done.unwrap_err();
        assert_eq!(error.kind, ErrorKind::UnsupportedStore, "{error:#?}");
        assert!(error.message.contains("newer build") && error.advice.contains("newer"), "{error:#?}");
    }
    type Attempt = fn(&Deployment) -> Result<Value, Error>;
    let kinds: [(&str, Attempt); 4] = [
        ("configuration", |deployment| configure(deployment, 3)),
        ("topology", |deployment| publish(deployment, "session_c")),
        ("roles", |deployment| publish(deployment, "session_c")),
        ("poolState", |deployment| deployment.ask(json!({ "request": "getPools" }))),
    ];
    for (kind, attempt) in kinds {
        let former = document(&deployment, kind);
        let newer = json!({ "schemaVersion": 2, "shape": "round" });
        write_document(&deployment, kind, &newer);
        refused(attempt(&deployment));
        assert_eq!(document(&deployment, kind), newer, "{kind}");
        write_document(&deployment, kind, &former);
        attempt(&deployment).unwrap();
    }

    let replica = deployment.path("cms/replica.json");
    let newer = json!({ "schemaVersion": 2, "shape": "round" });
    write(&replica, &newer);
    let topology = document(&deployment, "topology");
    refused(publish(&deployment, "session_ca"));
    refused(configure(&deployment, 4));
    refused(deployment.ask(json!({ "request": "getPools", "localStore": true })));
    assert_eq!((read(&replica), document(&deployment, "topology")), (newer.clone(), topology));

    let record = deployment.path(&format!("jobs/{}.json", ended.report.job_id));
    write(&record, &newer);
    refused(ask(&deployment.another(), json!({ "request": "getJob", "jobId": ended.report.job_id })));
    assert_eq!(read(&record), newer);

    let marker = deployment.path("chi/standby/atl/.csb/store.json");
    write(&marker, &newer);
    let ended = deployment.backup(json!({ "category": "UserData", "retryCount": 0 })).expect(Outcome::Failed);
    assert_eq!(ended.module(DATA_CONF).errors[0].kind, ErrorKind::UnsupportedStore);
    assert_eq!(read(&marker), newer);

    let states = Connection::open(deployment.path("chi/standby/atl.service.sqlite")).unwrap();
    states.execute("UPDATE csb_module_state SET state = ?1", [newer.to_string()]).unwrap();
    refused(deployment.ask(json!({ "request": "getBackupServiceStatus", "poolFqdn": ATL })));
    deployment.backup(json!({ "category": "CMS" })).expect(Outcome::Succeeded);
    let count = "SELECT count(*) FROM csb_module_state WHERE state = ?1";
    assert_eq!(states.query_row(count, [newer.to_string()], |row| row.get::<_, u32>(0)).unwrap(), 3);
}
