//! The smallest host in Rust: backs up one pool of a deployment and prints what the job tells.
//!
//! `backup_once deployment.toml pool.fqdn` ends with 0 if everything was copied, with 1 if not.
//! A line of output is the name of an event and its subject; the last line is the outcome and the job's id.
#![allow(clippy::print_stdout)] // It is what this program is for.

use std::error::Error;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use cs_backup::clock::SystemClock;
use cs_backup::job::events::EventKind;
use cs_backup::report::Outcome;
use cs_backup::service::{OpenConfig, Service};

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(deployment), Some(pool), None) = (arguments.next(), arguments.next(), arguments.next()) else {
        return Err("give two arguments: the path of deployment.toml and the name of the pool".into());
    };
    let runtime = tokio::runtime::Runtime::new()?;
    let config = OpenConfig { deployment_file: Some(deployment.into()) };
    let service = Service::open(&config, Arc::new(SystemClock::new()), runtime.handle().clone())?;
    let request = serde_json::from_value(serde_json::json!({ "poolFqdn": pool, "retryCount": 1 }))?;
    let job = service.start_backup(request)?;
    let mut seen = 0;
    loop {
        let told = service.poll(job, seen, Duration::from_secs(60))?;
        seen = told.last_seq;
        for event in told.events {
            match event.kind {
                EventKind::Started { .. } => println!("started {}", told.job_id),
                EventKind::StepStarted { step, .. } => println!("stepStarted {step}"),
                EventKind::StepFinished { step, outcome, .. } => {
                    println!("stepFinished {step} {}", outcome.name());
                }
                EventKind::StateChanged { module, from, to, .. } => {
                    println!("stateChanged {module} {from} {to}")
                }
                EventKind::Warning { message, .. } => println!("warning {message}"),
                EventKind::Retrying { error, .. } => println!("retrying {error}"),
                EventKind::Progress { .. } => {}
                EventKind::Finished { outcome, .. } => {
                    println!("{} {}", outcome.name(), told.job_id);
                    let copied = matches!(outcome, Outcome::Succeeded | Outcome::SucceededWithWarnings);
                    return Ok(if copied { ExitCode::SUCCESS } else { ExitCode::FAILURE });
                }
            }
        }
    }
}
