//! Comparing everything on request, and repairing what differs.

use cs_backup::report::{Differing, Outcome};
use rusqlite::Connection;
use serde_json::json;

use crate::support::*;

#[test]
fn only_a_job_that_is_asked_to_compares_everything() {
    let deployment = Deployment::new();
    for (options, compares) in [(json!({}), false), (json!({ "verify": true }), true), (json!({}), false)] {
        let ended = deployment.backup(options).expect(Outcome::Succeeded);
        let found = &ended.module(CMS_MASTER).verification;
        assert_eq!(found.is_some(), compares);
        if let Some(found) = found {
            assert!(found.compared_items > 0 && found.differing_items == 0, "{found:?}");
            assert_eq!(found.reasons.len(), 1);
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
    let unasked = deployment.backup(json!({})).expect(Outcome::Succeeded);
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
