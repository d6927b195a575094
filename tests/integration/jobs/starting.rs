//! Starting a job returns at once: what it works on is looked up by the job itself.

use std::time::{Duration, Instant};

use cs_backup::error::ErrorKind;
use cs_backup::job::events::EventKind;
use cs_backup::report::Outcome;
use serde_json::json;

use crate::isolation::{HungShare, in_own_mounts};
use crate::support::*;

#[test]
fn a_store_that_hangs_keeps_neither_the_start_nor_the_end_of_a_job() {
    in_own_mounts(|| {
        let deployment = Deployment::new();
        let Some(hung) = HungShare::mount(&deployment.path("cms")) else {
            return eprintln!("skipped: this kernel has no FUSE");
        };
        let mut fastest = Duration::MAX;
        for job in ["backup", "sync", "disable"] {
            for options in [json!({}), json!({ "whatIf": true })] {
                let asked = Instant::now();
                let handle = start(&deployment.service, job, with_pool(ATL, options));
                fastest = fastest.min(asked.elapsed());
                let told = deployment.service.poll(handle, 0, Duration::from_millis(200)).unwrap();
                assert_eq!((told.state.as_str(), told.last_seq), ("Queued", 0), "{told:#?}");
                let asked = Instant::now();
                deployment.service.cancel(handle).unwrap();
                let ended = ended(&deployment.service, handle).expect(Outcome::Cancelled);
                assert!(asked.elapsed() < Duration::from_secs(5), "{:?}", asked.elapsed());
                assert_eq!(ended.error().kind, ErrorKind::Cancelled);
                assert!(ended.report.plan.steps.is_empty());
            }
        }
        eprintln!("the fastest of six starts took {fastest:?}");
        assert!(fastest < Duration::from_millis(100));
        drop(hung);
    });
}

#[test]
fn a_job_that_never_knew_its_pool_fails_in_its_report_and_leaves_no_record() {
    let deployment = Deployment::new();
    for job in ["backup", "sync", "disable"] {
        for what_if in [false, true] {
            let ended = deployment
                .run(job, "nowhere.litwareinc.com", json!({ "whatIf": what_if }))
                .expect(Outcome::Failed);
            assert_eq!(ended.error().kind, ErrorKind::UnknownPool, "{job}");
            assert_eq!(ended.report.backup_pool_fqdn, None);
            assert!(ended.report.modules.is_empty() && ended.report.steps.is_empty());
            let EventKind::Started { plan, .. } = &ended.events[0].kind else {
                panic!("{:#?}", ended.events)
            };
            assert!(plan.steps.is_empty());
        }
    }
    let listed = deployment.ask(json!({ "request": "listJobs" })).unwrap();
    assert_eq!(listed["jobs"], json!([]));
    assert!(!deployment.path("jobs").exists(), "a record was written");
}

#[test]
fn what_is_wrong_with_the_document_itself_is_an_error_of_the_start() {
    let deployment = Deployment::new();
    let unknown = try_start(&deployment.service, "sync", with_pool(ATL, json!({ "modules": ["Conf"] })));
    assert_eq!(unknown.unwrap_err().kind, ErrorKind::InvalidArgument);
    let options = with_pool(ATL, json!({ "fullBackup": true, "steadyState": true }));
    let conflict = try_start(&deployment.service, "backup", options);
    assert_eq!(conflict.unwrap_err().kind, ErrorKind::OptionConflict);
}
