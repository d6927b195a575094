//! Comparing everything on request, and repairing what differs.

use cs_backup::report::{Differing, ExportState, Outcome};
use rusqlite::Connection;
use serde_json::{Value, json};

use crate::support::*;

#[test]
fn only_a_job_that_is_asked_to_compares_everything() {
    let deployment = Deployment::new();
    for (options, compares) in [(json!({}), false), (json!({ "verify": true }), true), (json!({}), false)] {
        let ended = deployment.backup(options).expect(Outcome::Succeeded);
        for module in [PRESENCE_FOCUS, CMS_MASTER] {
            let found = &ended.module(module).verification;
            assert_eq!(found.is_some(), compares, "{module}");
            if let Some(found) = found {
                assert!(found.compared_items > 0 && found.differing_items == 0, "{module}: {found:?}");
                if module == CMS_MASTER {
                    assert_eq!(found.reasons, ["It was asked for."], "{module}");
                }
            }
        }
    }
}

#[test]
fn documents_that_were_changed_in_the_copy_are_repaired_and_counted() {
    let deployment = Deployment::new();
    deployment.backup(json!({})).expect(Outcome::Succeeded);
    let documents = |path: &str| -> Vec<(i64, String, i64, String)> {
        let store = Connection::open(deployment.path(path)).unwrap();
        let mut statement =
            store.prepare("SELECT revision, name, version, body FROM csb_document ORDER BY 1").unwrap();
        let rows =
            statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?))).unwrap();
        rows.map(Result::unwrap).collect()
    };
    Connection::open(deployment.path("chi/standby/cms.sqlite"))
        .unwrap()
        .execute_batch("UPDATE csb_document SET body = '{}' WHERE kind = 'topology'; DELETE FROM csb_document WHERE kind = 'roles'")
        .unwrap();
    let unasked = deployment.backup(json!({})).expect(Outcome::Failed);
    assert!(unasked.module(CMS_MASTER).moved.is_nothing());
    let ended = deployment.backup(json!({ "verify": true })).expect(Outcome::SucceededWithWarnings);
    let module = ended.module(CMS_MASTER);
    let found = module.verification.as_ref().unwrap();
    assert_eq!((found.differing_items, found.repaired_items), (2, 2), "{found:?}");
    let place = |name: &str| Differing { name: name.to_owned(), items: 1 };
    assert_eq!(found.differing, [place("roles"), place("topology")]);
    assert!(module.warnings.iter().any(|warning| warning.contains("roles (1), topology (1)")), "{module:#?}");
    assert_eq!(documents("chi/standby/cms.sqlite"), documents("cms/cms.sqlite"));
}

#[test]
fn a_status_says_that_a_touched_copy_will_be_compared_and_the_next_job_does() {
    let deployment = Deployment::new();
    deployment.backup(json!({})).expect(Outcome::Succeeded);
    let status = || -> Value {
        let status = deployment.ask(json!({ "request": "getBackupServiceStatus", "poolFqdn": ATL })).unwrap();
        status["backupModules"][0].clone()
    };
    assert_eq!((&status()["reason"], &status()["exportStatus"]), (&Value::Null, &json!("SteadyState")));
    let standby = deployment.path("chi/standby/atl.sqlite");
    crate::user_store::tamper(&standby, "UPDATE users SET display_name = 'Mallory' WHERE id = 2");
    let reason = status()["reason"].as_str().unwrap_or_default().to_owned();
    assert!(reason.contains("changed by somebody else"), "{reason}");
    assert_eq!(status()["exportStatus"], "NonSteadyState");
    let ended = deployment.backup(json!({ "category": "UserData" })).expect(Outcome::SucceededWithWarnings);
    let module = ended.module(PRESENCE_FOCUS);
    assert_eq!(module.before.export, ExportState::NonSteadyState);
    assert!(module.warnings.iter().any(|warning| warning.contains("put right")), "{module:#?}");
    assert_eq!((&status()["reason"], &status()["exportStatus"]), (&Value::Null, &json!("SteadyState")));
    deployment.assert_copies_equal("atl", "chi");
}

#[test]
fn the_cycles_that_a_backup_waits_with_compare_nothing() {
    let deployment = Deployment::new();
    let options = json!({ "verify": true, "steadyState": true, "category": "UserData" });
    let ended = deployment.backup(options).expect(Outcome::Succeeded);
    let store = Connection::open(deployment.path("atl/users.sqlite")).unwrap();
    let pages: i64 = store.pragma_query_value(None, "page_count", |row| row.get(0)).unwrap();
    let compared = ended.module(PRESENCE_FOCUS).verification.as_ref().unwrap().compared_items;
    assert_eq!(compared, pages.unsigned_abs(), "a second cycle compared, too");
}
