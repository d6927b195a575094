//! `Invoke-CsBackupServiceSync`: the way there, and what the partner lost on the way back, where that is asked for.

use std::path::Path;

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
fn the_history_says_which_job_made_each_state_and_of_what_kind_it_was() {
    let deployment = Deployment::new();
    let change = |name: &str| {
        let users = rusqlite::Connection::open(deployment.path("atl/users.sqlite")).unwrap();
        users.execute("UPDATE users SET display_name = ?1 WHERE id = 3", [name]).unwrap();
        std::fs::write(deployment.path("atl/share").join(name), name).unwrap();
    };
    let mut made = vec![(deployment.backup(json!({})).expect(Outcome::Succeeded).report.job_id, "backup")];
    change("one");
    made.push((deployment.sync(ATL, json!({})).expect(Outcome::Succeeded).report.job_id, "sync"));
    change("two");
    made.push((deployment.backup(json!({})).expect(Outcome::Succeeded).report.job_id, "backup"));
    made.reverse();
    let history = deployment.ask(json!({ "request": "getPoolBackupHistory", "poolFqdn": ATL })).unwrap();
    for module in history["modules"].as_array().unwrap() {
        let said =
            module["states"].as_array().unwrap().iter().map(|state| (&state["jobId"], &state["jobKind"]));
        let expected = made.iter().map(|(job, kind)| (json!(job), json!(kind))).collect::<Vec<_>>();
        assert!(said.eq(expected.iter().map(|(job, kind)| (job, kind))), "{module:#}");
    }
}

#[test]
fn a_status_says_since_when_a_user_store_may_have_changed_and_whether_it_is_known_how_much() {
    let deployment = Deployment::new();
    let users = || {
        let status = deployment
            .ask(json!({ "request": "getBackupServiceStatus", "poolFqdn": ATL, "category": "UserData" }))
            .unwrap();
        let modules = status["backupModules"].as_array().unwrap().clone();
        modules.into_iter().find(|module| module["identity"] == PRESENCE_FOCUS).unwrap()
    };
    let server = deployment.server("atl");
    server
        .execute_batch("PRAGMA journal_mode = WAL; UPDATE users SET display_name = 'before' WHERE id = 3")
        .unwrap();
    let synced = deployment.sync(ATL, json!({})).expect(Outcome::Succeeded).report;
    let seen = users();
    assert_eq!(
        (&seen["changedSince"], &seen["pendingItems"], &seen["pendingEstimated"]),
        (&json!(null), &json!(0), &json!(false)),
        "{seen:#}"
    );
    server.execute_batch("UPDATE users SET display_name = 'after' WHERE id = 3").unwrap();
    let seen = users();
    let since: jiff::Timestamp = seen["changedSince"].as_str().unwrap().parse().unwrap();
    assert!((synced.started_at..=synced.finished_at).contains(&since), "{seen:#}");
    assert!(
        seen["pendingItems"].as_u64().unwrap() > 0 && seen["pendingEstimated"] == false,
        "the log tells: {seen:#}"
    );
    // Nobody has it open any more: the log is gone, and only that something has changed can be seen.
    drop(server);
    let seen = users();
    assert_eq!((&seen["pendingItems"], &seen["pendingEstimated"]), (&json!(1), &json!(true)), "{seen:#}");
}

#[test]
fn a_sync_of_the_backup_pool_that_is_asked_gives_back_files_and_user_store() {
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

    let planned = deployment.sync(CHI, json!({ "whatIf": true, "giveBack": true }));
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
    let named = planned.note(&format!("carryBack:{DATA_CONF}")).unwrap();
    assert!(named.starts_with("To come back: "), "{named}");
    assert!(lost.iter().all(|path| named.contains(path)), "{named}");
    assert!(!users.exists());

    let ended = deployment.sync(CHI, json!({ "giveBack": true })).expect(Outcome::Succeeded);
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
    let ended = deployment.sync(CHI, json!({ "giveBack": true })).expect(Outcome::Succeeded);
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

/// What the plan and the steps of an unasked sync say of the content store.
const LOOK: &str = "look:ConfServices.DataConf";

#[test]
fn what_users_deleted_stays_deleted_whichever_pool_is_synchronized_first() {
    for options in [json!({}), json!({ "modules": ["All"] }), json!({ "modules": ["DataConf"] })] {
        let deployment = Deployment::in_memory(SMALL);
        for pool in [ATL, CHI] {
            deployment.sync(pool, options.clone()).expect(Outcome::Succeeded);
        }
        let share = deployment.path("atl/share");
        let (gone, old, new) = (
            share.join("conference-001/notes-0004.txt"),
            share.join("conference-001/slides-0001.pptx"),
            share.join("moved.pptx"),
        );
        std::fs::remove_file(&gone).unwrap();
        std::fs::rename(&old, &new).unwrap();
        let wanted = content(&share);
        // The partner comes first, as it does in every second run of two schedulers.
        for pool in [CHI, ATL, CHI] {
            deployment.sync(pool, options.clone()).expect(Outcome::Succeeded);
            assert_eq!(content(&share), wanted, "after the sync of {pool} with {options}");
        }
        assert_eq!(content(&deployment.path("chi/standby/atl")), wanted, "{options}");
    }
}

#[test]
fn a_sync_that_is_not_asked_says_what_its_partner_lacks_and_leaves_it_alone() {
    let deployment = Deployment::new();
    for pool in [ATL, CHI] {
        deployment.run("backup", pool, json!({})).expect(Outcome::Succeeded);
    }
    let share = deployment.path("atl/share");
    for what_if in [false, true] {
        let idle = deployment.sync(CHI, json!({ "whatIf": what_if })).expect(Outcome::Succeeded);
        assert_eq!(idle.note(LOOK), None);
        assert_eq!(idle.report.modules.len(), 3, "nothing is given back: {:#?}", idle.report);
    }
    std::fs::remove_file(share.join("conference-001/notes-0004.txt")).unwrap();
    let before = content(&share);
    let line = format!(
        "{ATL} lacks 1 of the objects that {CHI} holds for it: its own next sync takes them for deleted; -GiveBack \
         returns them."
    );
    for options in [json!({}), json!({ "giveBack": false, "modules": ["DataConf"] })] {
        let ended = deployment.sync(CHI, options.clone()).expect(Outcome::Succeeded);
        assert_eq!(ended.note(LOOK), Some(&*line));
        let step = ended.report.steps.iter().find(|step| step.id == LOOK).unwrap();
        assert_eq!((step.outcome, &step.details), (Outcome::Succeeded, &vec![line.clone()]));
        let mut planning = options;
        planning["whatIf"] = json!(true);
        assert_eq!(deployment.sync(CHI, planning).expect(Outcome::Succeeded).note(LOOK), Some(&*line));
    }
    assert_eq!(content(&share), before);

    // What nobody deletes is a warning, and comes back no sooner.
    for entry in std::fs::read_dir(&share).unwrap() {
        let path = entry.unwrap().path();
        if path.file_name().unwrap() != ".csb" {
            std::fs::remove_dir_all(&path).unwrap();
        }
    }
    std::fs::remove_file(deployment.path("atl/users.sqlite")).unwrap();
    let ended = deployment.sync(CHI, json!({})).expect(Outcome::SucceededWithWarnings);
    let said = &ended.report.warnings;
    assert_eq!(said.len(), 2, "{said:?}");
    assert!(
        said[0].contains("lost its user store") && said[0].contains("-BackupModule PresenceFocus"),
        "{said:?}"
    );
    assert!(
        said[1].contains("lost its content store") && said[1].contains("-BackupModule DataConf"),
        "{said:?}"
    );
    assert!(content(&share).is_empty() && !deployment.path("atl/users.sqlite").exists());

    // A partner that cannot be looked at fails nothing.
    std::fs::remove_dir_all(&share).unwrap();
    let ended = deployment.sync(CHI, json!({})).expect(Outcome::SucceededWithWarnings);
    assert!(ended.note(LOOK).unwrap().contains("content store cannot be seen. "), "{:?}", ended.note(LOOK));
}

#[test]
fn a_module_that_is_named_alone_gives_back_a_store_that_is_lost_and_no_single_object() {
    type Lose = fn(&Deployment);
    let files =
        |share: &Path| (0..40).for_each(|n| std::fs::write(share.join(format!("f{n}")), "x").unwrap());
    let cases: [(&str, bool, Lose); 6] = [
        ("a few files", false, |d| std::fs::remove_file(d.path("atl/share/f1")).unwrap()),
        ("many files that were moved", false, |d| {
            std::fs::create_dir(d.path("atl/share/year")).unwrap();
            for n in 0..40 {
                let name = format!("f{n}");
                std::fs::rename(d.path("atl/share").join(&name), d.path("atl/share/year").join(&name))
                    .unwrap();
            }
        }),
        ("more than the safety share", true, |d| {
            (0..30).for_each(|n| std::fs::remove_file(d.path(&format!("atl/share/f{n}"))).unwrap());
        }),
        ("all files, but no folder", true, |d| empty(&d.path("atl/share"))),
        ("all", true, |d| {
            std::fs::remove_dir_all(d.path("atl/share")).unwrap();
            std::fs::create_dir(d.path("atl/share")).unwrap();
        }),
        ("all, and something else is there", true, |d| {
            std::fs::remove_dir_all(d.path("atl/share")).unwrap();
            std::fs::create_dir(d.path("atl/share")).unwrap();
            std::fs::write(d.path("atl/share/new"), "new").unwrap();
        }),
    ];
    for (name, comes_back, lose) in cases {
        let deployment = Deployment::in_memory(SMALL);
        let share = deployment.path("atl/share");
        files(&share);
        deployment.backup(json!({})).expect(Outcome::Succeeded);
        let whole = content(&share);
        lose(&deployment);
        let left = content(&share);
        let alone = json!({ "modules": ["ConfServices.DataConf"], "retryCount": 0 });
        let mut planning = alone.clone();
        planning["whatIf"] = json!(true);
        let id = format!("carryBack:{DATA_CONF}");
        let planned = deployment.sync(CHI, planning).expect(Outcome::Succeeded);
        let items = planned.report.plan.steps.iter().find(|step| step.id == id).unwrap().items;
        let ended = deployment.sync(CHI, alone).expect(Outcome::Succeeded);
        let moved = ended.given_back(DATA_CONF).moved.items_written;
        assert_eq!((items, moved > 0), (Some(moved), comes_back), "{name}: {:#?}", ended.report);
        let mut wanted = left;
        if comes_back {
            wanted.extend(whole);
        } else {
            assert!(ended.note(&id).unwrap().contains("-GiveBack"), "{name}");
        }
        assert_eq!(content(&share), wanted, "{name}");
    }
}

/// Removes every file below a folder and leaves the folders.
fn empty(folder: &Path) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true if path.file_name().unwrap() == ".csb" => {}
            true => empty(&path),
            false => std::fs::remove_file(&path).unwrap(),
        }
    }
}
