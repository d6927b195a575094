//! What did not run is skipped, however a job comes to its end.

use std::sync::mpsc::channel;
use std::time::Duration;

use cs_backup::error::ErrorKind;
use cs_backup::job::events::EventKind;
use cs_backup::report::Outcome;
use serde_json::{Value, json};

use crate::support::*;

/// One way in which a job can end early.
struct Ending {
    name: &'static str,
    job: &'static str,
    options: Value,
    end: fn(&Deployment, u64),
    prepare: fn(&Deployment) -> Box<dyn std::any::Any>,
    outcome: Outcome,
    error: ErrorKind,
    /// The steps that ran.
    ran: &'static [&'static str],
}

const USERS: &str = "copy:UserServices.PresenceFocus";
const FILES: &str = "copy:ConfServices.DataConf";
const SERVICE_STORE: &str = "chi/standby/atl.service.sqlite";

fn nothing(_: &Deployment) -> Box<dyn std::any::Any> {
    Box::new(())
}

fn no_end(_: &Deployment, _: u64) {}

fn cancel(deployment: &Deployment, handle: u64) {
    deployment.service.cancel(handle).unwrap();
}

/// Cancels as soon as this step has begun.
fn cancel_in(deployment: &Deployment, handle: u64, wanted: &str) {
    wait_for(
        &deployment.service,
        handle,
        |event| matches!(event, EventKind::StepStarted { step, .. } if step == wanted),
    );
    cancel(deployment, handle);
}

/// A server that holds a lock on a user store until it is dropped.
fn locked(deployment: &Deployment) -> Box<dyn std::any::Any> {
    let server = deployment.writing_server("atl");
    Box::new(server)
}

/// Another job that holds the lease until it is dropped.
fn busy(deployment: &Deployment) -> Box<dyn std::any::Any> {
    let server = locked(deployment);
    let other = deployment.another();
    let holder = start_backup(&other, with_pool(ATL, json!({})));
    wait_for(&other, holder, |event| matches!(event, EventKind::StepStarted { .. }));
    Box::new((server, other))
}

fn endings() -> Vec<Ending> {
    let ending = |name, job, error| Ending {
        name,
        job,
        options: json!({ "retryCount": 0 }),
        end: no_end,
        prepare: nothing,
        outcome: Outcome::Failed,
        error,
        ran: &[],
    };
    let mut endings = Vec::new();
    for job in ["backup", "sync", "disable"] {
        endings.push(Ending { prepare: busy, ..ending("the lease is busy", job, ErrorKind::Conflict) });
        endings.push(Ending {
            prepare: |deployment| {
                std::fs::create_dir_all(deployment.path("chi/standby")).unwrap();
                std::fs::write(deployment.path(SERVICE_STORE), "no database, and long enough. ".repeat(99))
                    .unwrap();
                Box::new(())
            },
            ..ending("the service database is damaged", job, ErrorKind::Corrupt)
        });
        endings.push(Ending {
            prepare: |deployment| {
                std::fs::create_dir_all(deployment.path(SERVICE_STORE)).unwrap();
                Box::new(())
            },
            ..ending("the service database cannot be opened", job, ErrorKind::StoreUnavailable)
        });
        endings.push(Ending {
            prepare: |deployment| {
                let jobs = deployment.path("jobs");
                std::fs::remove_dir_all(&jobs).unwrap_or_default();
                std::fs::write(&jobs, "in the way").unwrap();
                Box::new(())
            },
            ..ending("the record cannot be written", job, ErrorKind::Io)
        });
        endings.push(Ending {
            end: |deployment, handle| cancel(deployment, handle),
            outcome: Outcome::Cancelled,
            prepare: busy,
            options: json!({ "waitForLeaseMs": 60_000 }),
            ..ending("cancelled while it waits for the lease", job, ErrorKind::Cancelled)
        });
    }
    endings.push(Ending {
        prepare: locked,
        end: |deployment, handle| cancel_in(deployment, handle, USERS),
        outcome: Outcome::Cancelled,
        ran: &[USERS],
        ..ending("cancelled in its first step", "sync", ErrorKind::Cancelled)
    });
    endings.push(Ending {
        end: |deployment, handle| cancel_in(deployment, handle, FILES),
        outcome: Outcome::Cancelled,
        ran: &[USERS, FILES],
        prepare: |deployment| {
            // Enough for a while: the files are copied when the cancellation comes.
            for number in 0..3000 {
                std::fs::write(deployment.path(&format!("atl/share/{number}")), vec![7; 2000]).unwrap();
            }
            Box::new(())
        },
        ..ending("cancelled in its second step", "sync", ErrorKind::Cancelled)
    });
    endings.push(Ending {
        options: json!({ "steadyState": true, "retryCount": 0 }),
        prepare: |deployment| {
            std::fs::remove_file(deployment.path("atl/users.sqlite")).unwrap();
            Box::new(())
        },
        ran: &["await:state"],
        ..ending("the state is not reached", "backup", ErrorKind::StateNotReached)
    });
    endings.push(Ending {
        options: json!({ "steadyState": true, "retryCount": 1, "waitTimeMs": 3_600_000 }),
        prepare: |deployment| {
            std::fs::remove_file(deployment.path("atl/users.sqlite")).unwrap();
            deployment.clock.on_long_sleep(|_| panic!("on purpose"));
            Box::new(())
        },
        ran: &["await:state"],
        ..ending("a part of the library panics", "backup", ErrorKind::Panic)
    });
    endings.push(Ending {
        options: json!({ "fullBackup": true, "failedOverPoolOnly": true }),
        ran: &["require:FailedOver"],
        ..ending("the pool is in another state", "backup", ErrorKind::PoolStateMismatch)
    });
    endings
}

#[test]
fn what_did_not_run_is_skipped_however_a_job_ends() {
    let mut wrong = Vec::new();
    for ending in endings() {
        let name = format!("{}: {}", ending.job, ending.name);
        let deployment = Deployment::in_memory(SMALL);
        let prepared = (ending.prepare)(&deployment);
        let handle = start(&deployment.service, ending.job, with_pool(ATL, ending.options));
        (ending.end)(&deployment, handle);
        let ended = ended(&deployment.service, handle);
        drop(prepared);
        let report = &ended.report;
        let errors = report.modules.iter().flat_map(|row| &row.errors).chain(&report.errors);
        let kinds: Vec<ErrorKind> = errors.map(|error| error.kind).collect();
        let is_right =
            report.outcome == ending.outcome && kinds.contains(&ending.error) && ended.ran() == ending.ran;
        if !is_right || report.steps.is_empty() {
            wrong.push(format!("{name}: {:?} with {kinds:?} after {:?}", report.outcome, ended.ran()));
        }
        // `ended` looks at the steps: those that did not run are skipped.
        for row in &report.modules {
            let did_run = report.steps.iter().any(|step| {
                step.started_at.is_some() && step.id == format!("{}:{}", row.purpose, row.module)
            });
            let is_right = match row.outcome {
                Outcome::Skipped => true,
                Outcome::Unknown => false,
                Outcome::Succeeded | Outcome::SucceededWithWarnings => did_run,
                // The wait runs cycles too, and says which module failed in them.
                Outcome::Failed | Outcome::Cancelled => !row.errors.is_empty(),
            };
            if !is_right {
                wrong.push(format!("{name}: {} {} is {:?}", row.purpose, row.module, row.outcome));
            }
        }
    }
    assert_eq!(wrong, Vec::<String>::new());
}

#[test]
fn a_job_that_is_cancelled_between_its_steps_says_so_and_skips_the_rest() {
    let deployment = Deployment::new();
    let (asleep, naps) = channel();
    deployment.clock.on_long_sleep(move |_| {
        asleep.send(()).unwrap();
        Waking::Never
    });
    std::fs::remove_file(deployment.path("atl/users.sqlite")).unwrap();
    let options = json!({ "steadyState": true, "retryCount": 1, "waitTimeMs": 3_600_000 });
    let handle = start_backup(&deployment.service, with_pool(ATL, options));
    naps.recv_timeout(Duration::from_secs(30)).unwrap();
    deployment.service.cancel(handle).unwrap();
    let ended = ended(&deployment.service, handle);
    assert_eq!(ended.ran(), ["await:state"]);
    assert_eq!(ended.report.steps[0].outcome, Outcome::Cancelled);
    assert_eq!(ended.outcome_of(DATA_CONF), Outcome::Skipped);
}
