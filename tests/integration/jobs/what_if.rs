//! A dry run changes nothing and says what would be moved.

use std::collections::BTreeMap;
use std::path::PathBuf;

use cs_backup::error::ErrorKind;
use cs_backup::report::Outcome;
use serde_json::{Value, json};

use crate::support::*;

/// Every file of the deployment. Left out are `-shm` and `-wal` files: SQLite makes them for whoever reads a database in
/// WAL mode, and removes them when the last reader closes it.
pub(super) fn everything(
    deployment: &Deployment,
) -> BTreeMap<PathBuf, impl PartialEq + std::fmt::Debug + use<>> {
    let mut files = tree(&deployment.root());
    files.retain(|path, _| {
        let name = path.to_string_lossy();
        !name.ends_with("-shm") && !name.ends_with("-wal")
    });
    files
}

#[track_caller]
pub(super) fn changes_nothing(deployment: &Deployment, run: impl FnOnce() -> Ended) -> Ended {
    let before = everything(deployment);
    let ended = run();
    let after = everything(deployment);
    let changed: Vec<&PathBuf> =
        before.keys().chain(after.keys()).filter(|path| before.get(*path) != after.get(*path)).collect();
    assert_eq!(changed, Vec::<&PathBuf>::new(), "a dry run changed files");
    assert!(ended.report.what_if);
    assert_eq!(ended.report.steps, []);
    assert!(ended.report.modules.iter().all(|row| row.moved.is_nothing()));
    ended
}

fn planned(ended: &Ended) -> Vec<(&str, u64)> {
    ended.report.plan.steps.iter().map(|step| (step.id.as_str(), step.items.unwrap())).collect()
}

#[test]
fn a_dry_run_before_the_first_backup_counts_everything() {
    let deployment = Deployment::new();
    let options = json!({ "whatIf": true, "acceptDeletions": true });
    let ended = changes_nothing(&deployment, || deployment.backup(options)).expect(Outcome::Succeeded);
    let folders = 2;
    let plan = planned(&ended);
    assert_eq!(plan[1], (&*format!("copy:{DATA_CONF}"), u64::from(SMALL.files) + folders));
    assert!(plan[2].1 > 0, "{plan:?}");
    assert!(ended.report.modules.iter().all(|row| row.outcome == Outcome::Skipped));
    let jobs = deployment.ask(json!({ "request": "listJobs" })).unwrap();
    assert_eq!(jobs["jobs"], json!([]), "a plan that was only looked at leaves no record");
    // Of a user store every page is counted.
    let ran = deployment.backup(json!({})).expect(Outcome::Succeeded);
    let pages = ran.module(PRESENCE_FOCUS).moved.items_written;
    assert_eq!(plan[0], (&*format!("copy:{PRESENCE_FOCUS}"), pages));
}

#[test]
fn a_dry_run_counts_what_the_next_run_moves() {
    let deployment = Deployment::new();
    deployment.backup(json!({})).expect(Outcome::Succeeded);
    run_backup(&deployment.service, with_pool(CHI, json!({}))).expect(Outcome::Succeeded);
    let server = deployment.server("atl");
    server.execute_batch("UPDATE users SET display_name = 'x' WHERE id <= 3").unwrap();
    std::fs::write(deployment.path("atl/share/new"), "12345").unwrap();
    std::fs::remove_file(deployment.path("chi/share/conference-001/notes-0004.txt")).unwrap();
    let commands: [fn(&Deployment, Value) -> Ended; 2] = [
        |deployment, options| deployment.backup(options),
        |deployment, mut options| {
            options["giveBack"] = json!(true);
            deployment.sync(ATL, options)
        },
    ];
    let mut pages = Vec::new();
    for command in commands {
        let ended = changes_nothing(&deployment, || command(&deployment, json!({ "whatIf": true })));
        let plan = planned(&ended);
        pages.push(plan[0].1);
        assert_eq!((plan[1].1, plan[2].1), (1, 0), "{plan:?}");
        assert_eq!(ended.report.plan.steps[1].bytes, Some(5));
        if let Some(back) = plan.iter().find(|(id, _)| *id == format!("carryBack:{DATA_CONF}")) {
            assert_eq!(back.1, 1);
        }
        // The plan that is told at the start has the same steps.
        let cs_backup::job::events::EventKind::Started { plan: told, .. } = &ended.events[0].kind else {
            panic!()
        };
        let ids = |plan: &cs_backup::report::Plan| {
            plan.steps.iter().map(|step| (step.id.clone(), step.touches.clone())).collect::<Vec<_>>()
        };
        assert_eq!(ids(told), ids(&ended.report.plan));
    }
    let ended = deployment.sync(ATL, json!({ "giveBack": true })).expect(Outcome::Succeeded);
    assert_eq!(pages, [ended.module(PRESENCE_FOCUS).moved.items_written; 2]);
    assert_eq!(ended.module(DATA_CONF).moved.items_written, 1);
    assert_eq!(ended.given_back(DATA_CONF).moved.items_written, 1);
}

/// The ids of the errors of a report, each with the row or job that it belongs to.
fn complaints(ended: &Ended) -> Vec<(String, String, ErrorKind)> {
    let of_rows = ended.report.modules.iter().flat_map(|row| {
        row.errors.iter().map(move |error| (row.purpose.clone(), row.module.clone(), error.kind))
    });
    let of_job = ended.report.errors.iter().map(|error| (String::new(), String::new(), error.kind));
    of_rows.chain(of_job).collect()
}

#[test]
fn a_plan_fails_with_what_the_run_fails_with_and_says_so_at_the_step() {
    type Breaks = fn(&Deployment);
    let broken: [(&str, Breaks, Value); 4] = [
        ("no user store", |d| std::fs::remove_file(d.path("atl/users.sqlite")).unwrap(), json!({})),
        ("no content store", |d| std::fs::remove_dir_all(d.path("atl/share")).unwrap(), json!({})),
        (
            "a copy in whose place there is a folder",
            |d| {
                std::fs::remove_file(d.path("chi/standby/cms.sqlite")).unwrap();
                std::fs::create_dir(d.path("chi/standby/cms.sqlite")).unwrap();
            },
            json!({}),
        ),
        ("a pool in another state", |_| (), json!({ "fullBackup": true, "failedOverPoolOnly": true })),
    ];
    for (name, break_it, mut options) in broken {
        let deployment = Deployment::in_memory(SMALL);
        deployment.backup(json!({})).expect(Outcome::Succeeded);
        break_it(&deployment);
        options["retryCount"] = json!(0);
        let run = options.clone();
        options["whatIf"] = json!(true);
        let planned = changes_nothing(&deployment, || deployment.backup(options)).expect(Outcome::Failed);
        let refused = planned.report.plan.steps.iter().filter(|step| step.refused.is_some()).count();
        assert_eq!(refused, 1, "{name}: {:#?}", planned.report.plan);
        let ran = deployment.backup(run).expect(Outcome::Failed);
        assert_eq!(complaints(&planned), complaints(&ran), "{name}");
    }
}
