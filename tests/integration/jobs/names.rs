//! What jobs change is named: the first in the report, all in a file beside the record.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use cs_backup::report::{ChangeKind, Outcome, Report};
use serde_json::{Value, json};

use crate::support::*;

fn lines(file: &str) -> Vec<Value> {
    fs::read_to_string(file).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn items(lines: &[Value], kind: &str) -> BTreeSet<String> {
    let of_kind = lines.iter().filter(|line| line["kind"] == kind);
    of_kind.map(|line| line["item"].as_str().unwrap().to_owned()).collect()
}

fn names_files(deployment: &Deployment) -> Vec<PathBuf> {
    let jobs = fs::read_dir(deployment.path("jobs")).into_iter().flatten();
    let paths = jobs.map(|entry| entry.unwrap().path());
    paths.filter(|path| path.to_string_lossy().ends_with(".names.jsonl")).collect()
}

#[test]
fn all_names_lie_beside_the_record_for_its_account_alone_and_go_with_it() {
    let deployment = Deployment::of(Size { files: 140, ..SMALL });
    let first = deployment.backup(json!({})).expect(Outcome::Succeeded);
    let changes = &first.module(DATA_CONF).changes;
    let copied = changes.items(ChangeKind::Copied);
    assert_eq!(copied, first.module(DATA_CONF).moved.items_written);
    assert_eq!(changes.0[0].first.len(), 100, "the report names the first hundred");
    let file = first.report.names_file.clone().unwrap();
    assert!(file.ends_with(&format!("{}.names.jsonl", first.report.job_id)), "{file}");
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let all = lines(&file);
    assert_eq!(items(&all, "copied").len() as u64, copied);
    assert!(all.iter().all(|line| line["module"] == DATA_CONF && line["purpose"] == "copy"), "{all:?}");
    let record = deployment.path("jobs").join(format!("{}.json", first.report.job_id));
    let again = deployment.backup(json!({})).expect(Outcome::Succeeded);
    assert_eq!(again.report.names_file, None, "nothing was changed");
    assert_eq!(names_files(&deployment).len(), 1);
    fs::remove_file(record).unwrap();
    deployment.another();
    assert_eq!(names_files(&deployment), Vec::<PathBuf>::new(), "names without a record are removed");
}

#[test]
fn a_plan_leaves_nothing_and_writes_its_names_beside_its_report_where_one_is_asked_for() {
    let deployment = Deployment::of(Size { files: 140, ..SMALL });
    let beside = tempfile::tempdir().unwrap();
    let file = beside.path().join("plan.json");
    let handle = start_backup(&deployment.service, with_pool(ATL, json!({ "whatIf": true })));
    let plan = ended(&deployment.service, handle).expect(Outcome::Succeeded);
    let planned = plan.module(DATA_CONF).changes.clone();
    assert_eq!((planned.0[0].kind, planned.0[0].first.len()), (ChangeKind::Copied, 100));
    assert_eq!((plan.report.names_file, names_files(&deployment)), (None, Vec::new()));
    let write = json!({ "request": "writeReport", "job": handle, "file": file });
    deployment.ask(write.clone()).unwrap();
    deployment.ask(write).unwrap();
    let written: Report = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
    let names = written.names_file.unwrap();
    assert_eq!(PathBuf::from(&names), beside.path().join("plan.names.jsonl"));
    let named = items(&lines(&names), "copied");
    assert_eq!(fs::read_dir(beside.path()).unwrap().count(), 2);
    deployment.ask(json!({ "request": "writeReport", "job": handle, "file": "/dev/null" })).unwrap();
    assert!(!PathBuf::from("/dev/null.names.jsonl").exists());
    let run = deployment.backup(json!({})).expect(Outcome::Succeeded);
    assert_eq!(
        items(&lines(&run.report.names_file.unwrap()), "copied"),
        named,
        "the plan names what the run does"
    );
}

#[test]
fn what_a_job_changed_before_its_process_was_killed_is_named() {
    let deployment = Deployment::new();
    deployment.backup(json!({})).expect(Outcome::Succeeded);
    let folder = deployment.path("atl/share/many");
    fs::create_dir(&folder).unwrap();
    for number in 0..5000 {
        fs::write(folder.join(format!("{number:04}")), "x").unwrap();
    }
    let child = Child::backup(&deployment, ATL);
    while names_files(&deployment).len() < 2 {
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    child.kill();
    let jobs = deployment.another();
    let listed = ask(&jobs, json!({ "request": "listJobs" })).unwrap();
    let id = listed["jobs"][0]["jobId"].clone();
    let report = ask(&jobs, json!({ "request": "getReport", "jobId": id })).unwrap();
    let report: Report = serde_json::from_value(report).unwrap();
    assert!(report.names_file.is_some_and(|file| PathBuf::from(file).exists()), "{:?}", report.errors);
}
