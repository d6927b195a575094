//! A share that hangs: a real mount whose server never answers.

use std::sync::Arc;
use std::time::{Duration, Instant};

use cs_backup::error::ErrorKind;
use cs_backup::report::Outcome;
use cs_backup::service::{OpenConfig, Request, Service};
use serde_json::json;

use crate::isolation::{HungShare, in_own_mounts};
use crate::support::*;

/// Waits until a thread that works for a job sleeps in a call of FUSE. Whether places are places of their own is looked up before a job
/// begins, on threads that nobody waits for long.
fn wait_until_stuck() {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let stuck = std::fs::read_dir("/proc/self/task").unwrap().filter_map(Result::ok).any(|task| {
            let says = |file: &str, text: &str| {
                std::fs::read_to_string(task.path().join(file)).is_ok_and(|said| said.contains(text))
            };
            !says("comm", "cs-backup-place") && (says("wchan", "fuse") || says("stack", "fuse"))
        });
        if stuck {
            return;
        }
        assert!(Instant::now() < deadline, "nothing hangs");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn a_job_whose_share_hangs_is_cancelled_at_once_and_keeps_its_lease_until_the_share_answers() {
    in_own_mounts(|| {
        let mut skipped = false;
        for share in ["atl/share", "chi/standby/atl"] {
            soonest(&format!("a job that is cancelled while {share} hangs"), || {
                let deployment = Deployment::new();
                deployment.backup(json!({})).expect(Outcome::Succeeded);
                let Some(hung) = HungShare::mount(&deployment.path(share)) else {
                    skipped = true;
                    return Duration::ZERO;
                };
                let job = start_backup(&deployment.service, with_pool(ATL, json!({})));
                wait_until_stuck();
                let asked = Instant::now();
                deployment.service.cancel(job).unwrap();
                let ended = ended(&deployment.service, job).expect(Outcome::Cancelled);
                let answered = asked.elapsed();
                eprintln!("{share} hangs: the cancelled job ended after {answered:?}");
                let stuck = ended.module(DATA_CONF);
                assert!(
                    stuck.outcome == Outcome::Cancelled
                        || ended.report.errors[0].kind == ErrorKind::Cancelled
                );

                // The thread may still write when it wakes: nobody else gets the lease before.
                let other = deployment.another();
                let refused =
                    run_backup(&other, with_pool(ATL, json!({ "retryCount": 0 }))).expect(Outcome::Failed);
                assert_eq!(refused.error().kind, ErrorKind::Conflict);
                assert_eq!(refused.error().context["jobId"], ended.report.job_id.to_string());

                drop(hung);
                // The thread that wakes up needs a moment to let go of the folder.
                let unmount =
                    || std::process::Command::new("umount").arg(deployment.path(share)).status().unwrap();
                let deadline = Instant::now() + Duration::from_secs(20);
                while !unmount().success() {
                    assert!(Instant::now() < deadline, "{share} stays busy");
                    std::thread::sleep(Duration::from_millis(20));
                }
                run_backup(&other, with_pool(ATL, json!({ "waitForLeaseMs": 60_000 })))
                    .expect(Outcome::Succeeded);
                deployment.assert_copies_equal("atl", "chi");
                answered
            });
        }
        if skipped {
            eprintln!("skipped: this kernel has no FUSE");
        }
    });
}

/// How many threads of this process answer calls.
fn calls_under_way() -> usize {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap().filter_map(Result::ok);
    let is_call = |task: &std::fs::DirEntry| {
        std::fs::read_to_string(task.path().join("comm")).is_ok_and(|name| name.trim() == "cs-backup-call")
    };
    tasks.filter(is_call).count()
}

#[test]
fn requests_are_answered_in_time_while_a_mount_hangs_and_leave_one_thread_behind() {
    in_own_mounts(|| {
        let deployment = Deployment::new();
        let job = deployment.backup(json!({})).expect(Outcome::Succeeded).report.job_id;
        let beside = tempfile::tempdir().unwrap();
        std::fs::create_dir(beside.path().join("dead")).unwrap();
        let (Some(pool), Some(dead)) =
            (HungShare::mount(&deployment.path("atl")), HungShare::mount(&beside.path().join("dead")))
        else {
            return eprintln!("skipped: this kernel has no FUSE");
        };
        let service = Arc::new(deployment.another());
        let answer = |request: serde_json::Value| {
            let asked = Instant::now();
            let answer = service.answer(serde_json::from_value::<Request>(request).unwrap());
            (answer, asked.elapsed())
        };

        // A deployment on a mount that hangs is opened meanwhile.
        let file = beside.path().join("dead/deployment.toml");
        let opening = std::thread::spawn(move || {
            let runtime = tokio::runtime::Runtime::new().unwrap();
            let config: OpenConfig = serde_json::from_value(json!({ "deploymentFile": file })).unwrap();
            let asked = Instant::now();
            let opened = Service::open(&config, TestClock::new(), runtime.handle().clone());
            (opened.err().map(|error| (error.kind, error.message)), asked.elapsed())
        });

        let status = json!({ "request": "getBackupServiceStatus", "poolFqdn": ATL });
        let (first, waited) = answer(status.clone());
        let error = first.unwrap_err();
        assert_eq!(error.kind, ErrorKind::StoreUnavailable);
        assert!(error.message.contains("atl/users.sqlite does not answer"), "{error}");
        assert!((Duration::from_secs(9)..Duration::from_secs(25)).contains(&waited), "{waited:?}");

        // Now it is known: the next ones need not wait, and leave no thread of their own.
        let under_way = calls_under_way();
        for _ in 0..20 {
            let (again, waited) = answer(status.clone());
            let reason = &again.unwrap()["backupModules"][0]["reason"];
            assert!(reason.as_str().unwrap().contains("does not answer"), "{reason}");
            assert!(waited < Duration::from_secs(5), "{waited:?}");
        }
        // The last of them may be about to end.
        let deadline = Instant::now() + Duration::from_secs(20);
        while calls_under_way() > under_way {
            assert!(Instant::now() < deadline, "threads pile up");
            std::thread::sleep(Duration::from_millis(10));
        }

        // What lies elsewhere is answered, and a report is written where that can be done.
        for request in [json!({ "request": "getPools" }), json!({ "request": "listJobs" })] {
            answer(request).0.unwrap();
        }
        let report = beside.path().join("report.html");
        let (written, waited) = answer(json!({ "request": "writeReport", "jobId": job, "file": report }));
        written.unwrap();
        assert!(report.exists() && waited < Duration::from_secs(10), "{waited:?}");
        let inside = deployment.path("atl/report.html");
        let (refused, waited) = answer(json!({ "request": "writeReport", "jobId": job, "file": inside }));
        assert_eq!(refused.unwrap_err().kind, ErrorKind::StoreUnavailable);
        assert!(waited < Duration::from_secs(10), "{waited:?}");

        let (opened, waited) = opening.join().unwrap();
        let (kind, message) = opened.unwrap();
        assert_eq!(kind, ErrorKind::StoreUnavailable);
        assert!(message.contains("dead/deployment.toml does not answer"), "{message}");
        assert!(waited < Duration::from_secs(45), "{waited:?}");

        // As soon as the mounts answer, with an error here, nobody is left behind any more.
        drop((pool, dead));
        let deadline = Instant::now() + Duration::from_secs(20);
        while calls_under_way() > 0 {
            assert!(Instant::now() < deadline, "a thread stays behind");
            std::thread::sleep(Duration::from_millis(10));
        }
    });
}
