//! The smallest host in Rust: runs a job for one pool of a deployment, by itself a backup, and prints what the job tells.
//!
//! `backup_once [--sync|--disable] deployment.toml pool.fqdn [OPTIONS]` ends with 0 if everything was done, with 1 if not.
//! OPTIONS is a JSON object of further fields of the request, for instance `{"retryCount": 0}`.
//! A line of output is the name of an event and its subject, or `error` and an error document; the last line is the
//! outcome and the job's id.
#![allow(clippy::print_stdout)] // It is what this program is for.

use std::error::Error;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use cs_backup::clock::SystemClock;
use cs_backup::job::events::EventKind;
use cs_backup::report::Outcome;
use cs_backup::service::{OpenConfig, Service};
use serde_json::{Map, Value};

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1).peekable();
    let is_option = |argument: &String| argument.starts_with("--");
    let job = arguments.next_if(is_option).map_or("backup".to_owned(), |option| option.replace("--", ""));
    let (Some(deployment), Some(pool), options, None) =
        (arguments.next(), arguments.next(), arguments.next(), arguments.next())
    else {
        return Err("give the path of deployment.toml, the name of the pool, and perhaps options".into());
    };
    let runtime = tokio::runtime::Runtime::new()?;
    let config = OpenConfig { deployment_file: Some(deployment.into()) };
    let service = Service::open(&config, Arc::new(SystemClock::new()), runtime.handle().clone())?;
    let mut request: Map<String, Value> =
        serde_json::from_str(options.as_deref().unwrap_or(r#"{"retryCount": 1}"#))?;
    request.insert("job".to_owned(), job.into());
    request.insert("poolFqdn".to_owned(), pool.into());
    let job = service.start(serde_json::from_value(request.into())?)?;
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
                EventKind::Progress { .. } | EventKind::Unknown => {}
                EventKind::Finished { outcome, .. } => {
                    let report = service.report(job)?;
                    for error in report.errors.iter().chain(report.modules.iter().flat_map(|m| &m.errors)) {
                        println!("error {}", serde_json::to_string(error)?);
                    }
                    println!("{} {}", outcome.name(), told.job_id);
                    let is_done = matches!(outcome, Outcome::Succeeded | Outcome::SucceededWithWarnings);
                    return Ok(if is_done { ExitCode::SUCCESS } else { ExitCode::FAILURE });
                }
            }
        }
    }
}
