//! Jobs and reports that are found again.

use cs_backup::error::ErrorKind;
use cs_backup::report::{Outcome, Report};
use serde_json::json;

use crate::support::*;

#[test]
fn a_report_is_found_by_id_by_a_service_that_comes_later() {
    let deployment = Deployment::new();
    let handle = start_backup(&deployment.service, with_pool(ATL, json!({})));
    let ended = ended(&deployment.service, handle).expect(Outcome::Succeeded);
    let service = deployment.another();
    let id = ended.report.job_id;
    let report = ask(&service, json!({ "request": "getReport", "jobId": id })).unwrap();
    assert_eq!(serde_json::from_value::<Report>(report).unwrap(), ended.report);
    let html = ask(&service, json!({ "request": "getReport", "jobId": id, "format": "html" })).unwrap();
    assert!(html["html"].as_str().unwrap().contains(&id.to_string()));
    let job = ask(&service, json!({ "request": "getJob", "jobId": id })).unwrap();
    assert_eq!((&job["state"], &job["handle"]), (&json!("Succeeded"), &json!(null)));
    let own = deployment.ask(json!({ "request": "getJob", "jobId": id })).unwrap();
    assert_eq!(own["handle"], handle);
    let unknown = uuid::Uuid::new_v4();
    for request in ["getReport", "getJob", "cancelJob"] {
        let error = ask(&service, json!({ "request": request, "jobId": unknown })).unwrap_err();
        assert_eq!((error.kind, &error.context["jobId"]), (ErrorKind::UnknownJob, &unknown.to_string()));
    }
}

#[test]
fn a_released_job_is_forgotten_by_its_number_and_found_by_its_id() {
    let deployment = Deployment::new();
    let handle = start_backup(&deployment.service, with_pool(ATL, json!({})));
    let ended = ended(&deployment.service, handle).expect(Outcome::Succeeded);
    deployment.service.release(handle).unwrap();
    assert_eq!(deployment.service.report(handle).unwrap_err().kind, ErrorKind::UnknownJob);
    assert_eq!(deployment.service.release(handle).unwrap_err().kind, ErrorKind::UnknownJob);
    deployment.ask(json!({ "request": "getReport", "jobId": ended.report.job_id })).unwrap();
}

#[test]
fn jobs_are_listed_newest_first_and_by_pool() {
    let deployment = Deployment::new();
    let mut wanted = Vec::new();
    for pool in [ATL, CHI, ATL] {
        let ended = run_backup(&deployment.service, with_pool(pool, json!({}))).expect(Outcome::Succeeded);
        wanted.insert(0, ended.report.job_id.to_string());
    }
    let ids = |request: serde_json::Value| -> Vec<String> {
        let listed = deployment.ask(request).unwrap();
        let jobs = listed["jobs"].as_array().unwrap().iter();
        jobs.map(|job| job["jobId"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(ids(json!({ "request": "listJobs" })), wanted);
    assert_eq!(ids(json!({ "request": "listJobs", "poolFqdn": CHI })), wanted[1..2]);
    let unknown = deployment.ask(json!({ "request": "listJobs", "poolFqdn": "nyc.litwareinc.com" }));
    assert_eq!(unknown.unwrap_err().kind, ErrorKind::UnknownPool);
}

#[test]
fn a_job_that_failed_says_why_wherever_it_is_listed() {
    let deployment = Deployment::new();
    std::fs::rename(deployment.path("atl/users.sqlite"), deployment.path("aside")).unwrap();
    let failed = deployment.backup(json!({ "retryCount": 0 })).expect(Outcome::Failed);
    std::fs::rename(deployment.path("aside"), deployment.path("atl/users.sqlite")).unwrap();
    deployment.backup(json!({})).expect(Outcome::Succeeded);
    let listed = ask(&deployment.another(), json!({ "request": "listJobs" })).unwrap();
    assert_eq!(listed["jobs"][0]["reason"], json!(null));
    let job = deployment.ask(json!({ "request": "getJob", "jobId": failed.report.job_id })).unwrap();
    for reason in [&listed["jobs"][1]["reason"], &job["reason"]] {
        assert!(reason.as_str().unwrap().contains("users.sqlite does not exist"), "{reason}");
    }
}

#[test]
fn a_record_that_is_damaged_hides_no_other() {
    let deployment = Deployment::new();
    let ended = deployment.backup(json!({})).expect(Outcome::Succeeded);
    let id = uuid::Uuid::new_v4();
    std::fs::write(deployment.path(&format!("jobs/{id}.json")), "{").unwrap();
    let service = deployment.another();
    let listed = ask(&service, json!({ "request": "listJobs" })).unwrap();
    assert_eq!(listed["jobs"][0]["jobId"], json!(ended.report.job_id));
    assert_eq!(listed["jobs"].as_array().unwrap().len(), 1);
    let error = ask(&service, json!({ "request": "getJob", "jobId": id })).unwrap_err();
    assert!(error.message.contains("damaged"), "{error:#?}");
}

#[test]
fn what_a_power_cut_left_of_a_record_is_removed() {
    let deployment = Deployment::new();
    let ended = deployment.backup(json!({})).expect(Outcome::Succeeded);
    let empty = deployment.path(&format!("jobs/{}.json", uuid::Uuid::new_v4()));
    std::fs::write(&empty, "").unwrap();
    let service = deployment.another();
    assert!(!std::path::Path::new(&empty).exists());
    ask(&service, json!({ "request": "getReport", "jobId": ended.report.job_id })).unwrap();
}
