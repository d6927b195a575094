//! A share that hangs: a real mount whose server never answers.

use std::time::{Duration, Instant};

use cs_backup::error::ErrorKind;
use cs_backup::report::Outcome;
use serde_json::json;

use crate::isolation::{HungShare, in_own_mounts};
use crate::support::*;

/// Waits until a thread of this process sleeps in a call of FUSE.
fn wait_until_stuck() {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let stuck = std::fs::read_dir("/proc/self/task").unwrap().filter_map(Result::ok).any(|task| {
            std::fs::read_to_string(task.path().join("wchan")).is_ok_and(|at| at.contains("fuse"))
                || std::fs::read_to_string(task.path().join("stack")).is_ok_and(|at| at.contains("fuse"))
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
        let mut fastest = Duration::MAX;
        for share in ["atl/share", "chi/standby/atl"] {
            let deployment = Deployment::new();
            deployment.backup(json!({})).expect(Outcome::Succeeded);
            let Some(hung) = HungShare::mount(&deployment.path(share)) else {
                return eprintln!("skipped: this kernel has no FUSE");
            };
            let job = start_backup(&deployment.service, with_pool(ATL, json!({})));
            wait_until_stuck();
            let asked = Instant::now();
            deployment.service.cancel(job).unwrap();
            let ended = ended(&deployment.service, job).expect(Outcome::Cancelled);
            let answered = asked.elapsed();
            eprintln!("{share} hangs: the cancelled job ended after {answered:?}");
            fastest = fastest.min(answered);
            let stuck = ended.module(DATA_CONF);
            assert!(
                stuck.outcome == Outcome::Cancelled || ended.report.errors[0].kind == ErrorKind::Cancelled
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
        }
        // A share that hangs answers never; other tests run beside this one, and take the processor now and then.
        assert!(fastest < Duration::from_secs(2), "{fastest:?}");
    });
}
