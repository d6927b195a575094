//! `Invoke-CsBackupServiceSync`: the way there, and what the partner lost on the way back.

use cs_backup::error::ErrorKind;
use cs_backup::report::Outcome;
use serde_json::json;

use crate::support::*;

#[test]
fn a_sync_copies_what_differs_and_a_second_one_moves_nothing() {
    let deployment = Deployment::new();
    let first = deployment.sync(ATL, json!({})).expect(Outcome::Succeeded);
    let rows: Vec<(&str, &str)> =
        first.report.modules.iter().map(|row| (row.module.as_str(), row.direction.to.as_str())).collect();
    let there = [(PRESENCE_FOCUS, CHI), (DATA_CONF, CHI), (CMS_MASTER, CHI)];
    assert_eq!(rows[..3], there);
    deployment.assert_copies_equal("atl", "chi");
    let second = deployment.sync(ATL, json!({})).expect(Outcome::Succeeded);
    assert!(second.report.modules.iter().all(|row| row.moved.is_nothing()), "{:#?}", second.report);
}

#[test]
fn a_sync_of_the_backup_pool_gives_back_files_and_user_store() {
    let deployment = Deployment::new();
    deployment.backup(json!({})).expect(Outcome::Succeeded);
    let (share, users) = (deployment.path("atl/share"), deployment.path("atl/users.sqlite"));
    let before = content(&share);
    let lost = ["conference-001/notes-0004.txt", "conference-001/slides-0001.pptx", "conference-002"];
    for path in &lost[..2] {
        std::fs::remove_file(share.join(path)).unwrap();
    }
    std::fs::remove_dir_all(share.join(lost[2])).unwrap();
    for suffix in ["", "-wal", "-shm"] {
        let _ = std::fs::remove_file(deployment.path(&format!("atl/users.sqlite{suffix}")));
    }

    let planned = deployment.sync(CHI, json!({ "whatIf": true }));
    let items = |step: &str| {
        planned.report.plan.steps.iter().find(|planned| planned.id == step).unwrap().items.unwrap()
    };
    assert!(items(&format!("carryBack:{PRESENCE_FOCUS}")) > 0, "{:#?}", planned.report.plan);
    assert_eq!(items(&format!("carryBack:{DATA_CONF}")), 5, "{:#?}", planned.report.plan);
    for (step, store) in [(PRESENCE_FOCUS, "sqlite:"), (DATA_CONF, "file:")] {
        let id = format!("carryBack:{step}");
        let touched = &planned.report.plan.steps.iter().find(|planned| planned.id == id).unwrap().touches;
        assert!(touched[0].starts_with(store) && touched[0].contains("/atl/"), "{touched:?}");
    }
    assert!(!users.exists());

    let ended = deployment.sync(CHI, json!({})).expect(Outcome::Succeeded);
    let row = ended.given_back(PRESENCE_FOCUS);
    assert_eq!((row.direction.from.as_str(), row.direction.to.as_str()), (CHI, ATL));
    assert!(row.moved.items_written > 0, "{row:#?}");
    let row = ended.given_back(DATA_CONF);
    assert_eq!((row.moved.items_written, row.moved.items_deleted), (5, 0), "{row:#?}");
    assert_eq!(content(&share), before);
    deployment.assert_copies_equal("atl", "chi");
    deployment.assert_copies_equal("chi", "atl");

    // The pool goes on with what it got back, and the next backup goes on from where the copy stands.
    deployment.server("atl").execute_batch("UPDATE users SET display_name = 'after' WHERE id = 1").unwrap();
    let next = deployment.backup(json!({})).expect(Outcome::Succeeded);
    assert!((1..5).contains(&next.module(PRESENCE_FOCUS).moved.items_written), "{:#?}", next.report);
    assert!(next.module(DATA_CONF).moved.is_nothing(), "{:#?}", next.report);
    deployment.assert_copies_equal("atl", "chi");
}

#[test]
fn nothing_is_given_back_over_what_the_pool_has() {
    let deployment = Deployment::new();
    deployment.backup(json!({})).expect(Outcome::Succeeded);
    let file = deployment.path("atl/share/conference-001/notes-0004.txt");
    std::fs::write(&file, "newer at the pool").unwrap();
    deployment.server("atl").execute_batch("UPDATE users SET display_name = 'newer'").unwrap();
    let ended = deployment.sync(CHI, json!({})).expect(Outcome::Succeeded);
    assert!(ended.given_back(DATA_CONF).moved.is_nothing());
    assert!(ended.given_back(PRESENCE_FOCUS).moved.is_nothing());
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "newer at the pool");
    deployment.backup(json!({})).expect(Outcome::Succeeded);
    deployment.assert_copies_equal("atl", "chi");
}

#[test]
fn a_sync_of_some_modules_is_only_those() {
    let deployment = Deployment::new();
    for name in ["dataconf", "ConfServices.DataConf"] {
        let ended = deployment.sync(ATL, json!({ "modules": [name] })).expect(Outcome::Succeeded);
        let rows = ended.report.modules.iter().map(|row| (row.module.as_str(), row.direction.to.as_str()));
        assert_eq!(rows.collect::<Vec<_>>(), [(DATA_CONF, CHI), (DATA_CONF, CHI)]);
        assert_eq!(ended.ran(), [format!("copy:{DATA_CONF}"), format!("carryBack:{DATA_CONF}")]);
        assert_eq!(ended.report.request["modules"], json!([name]));
    }
    assert!(!deployment.path("chi/standby/atl.sqlite").exists());
    let request = with_pool(ATL, json!({ "modules": ["Conf"] }));
    let error = try_start(&deployment.service, "sync", request).unwrap_err();
    assert_eq!(error.kind, ErrorKind::InvalidArgument);
    assert!(error.advice.contains(DATA_CONF), "{error:#?}");
}
