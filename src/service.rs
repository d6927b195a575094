//! The façade: one deployment, its documents, its jobs, and an answer to every request.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::runtime::Handle;

use crate::bound::within;
use crate::clock::Clock;
use crate::error::{Error, ErrorKind, Result};
use crate::job::record::Records;
use crate::job::request::JobRequest;
use crate::job::{Environment, Job};
use crate::store::factory;
use crate::store::leases::LeaseOwner;

mod admin;
mod capabilities;
mod connection;
mod deployment;
mod jobs;
mod modules;
mod registration;
mod reports;
mod requests;
mod sample;
mod status;

pub use capabilities::{Capabilities, DocumentVersions, Scheme};
pub use connection::{Line, PoolConnection};
use deployment::Deployment;
pub use registration::{Instruction, PlaceRegistration};
pub use reports::{ReportFormat, ReportRequest};
pub use requests::{JobDocument, JobEvents, PoolDocument, Request};
pub use sample::SampleRequest;
pub use status::{ModuleStatus, Status, StatusRequest};

/// The document that `csb_service_open` takes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct OpenConfig {
    /// Path of `deployment.toml`; without it only requests that need none are answered.
    #[serde(default)]
    pub deployment_file: Option<PathBuf>,
}

/// One open service. Every method may be called from any thread at any time.
pub struct Service {
    clock: Arc<dyn Clock>,
    connected: Option<Connected>,
    jobs: Mutex<Jobs>,
    /// The sample deployment that is being made in several calls.
    sample: Mutex<Option<sample::Making>>,
    runtime: Handle,
}

struct Connected {
    deployment: Arc<Deployment>,
    environment: Arc<Environment>,
}

/// Jobs are numbered through all services of the process, so that a number means nothing to a service it is not of.
static LAST_JOB: AtomicU64 = AtomicU64::new(0);

/// The version of the C ABI. It grows when a function changes; documents grow without it.
pub const ABI_VERSION: u32 = 1;

/// How long opening a service waits for the deployment's files.
const OPEN_LIMIT: Duration = Duration::from_secs(30);

/// After so many jobs of a service old records are forgotten again: a host may live for long.
const TIDIED_AFTER: u64 = 100;

#[derive(Default)]
struct Jobs {
    by_handle: BTreeMap<u64, Arc<Job>>,
    started: u64,
    closed: bool,
}

impl Connected {
    /// Reads the deployment's files, and tidies what earlier processes left.
    fn open(file: &Path, clock: Arc<dyn Clock>) -> Result<Self> {
        let deployment = Arc::new(Deployment::open(file)?);
        let records = Records::new(&deployment.config.jobs, deployment.config.kept);
        records.tidy(clock.now())?;
        let owner = LeaseOwner::current(&deployment.config.machine);
        Ok(Connected { deployment, environment: Arc::new(Environment { clock, owner, records }) })
    }
}

impl Service {
    /// Opens a service on a runtime that runs its jobs.
    ///
    /// # Errors
    /// What reading `deployment.toml` reports; `StoreUnavailable` where a file does not answer; `UnsafeSqlite`.
    pub fn open(config: &OpenConfig, clock: Arc<dyn Clock>, runtime: Handle) -> Result<Self> {
        factory::require_safe_engines()?;
        let connect = |file: &PathBuf| {
            let (file, clock) = (file.clone(), Arc::clone(&clock));
            within(OPEN_LIMIT, move || Connected::open(&file, clock))
        };
        let connected = config.deployment_file.as_ref().map(connect).transpose()?;
        let (jobs, sample) = (Mutex::default(), Mutex::default());
        Ok(Service { clock: Arc::clone(&clock), connected, jobs, sample, runtime })
    }

    /// Answers a request, with an error where that takes longer than its [`Request::limit`] because a store does not answer.
    ///
    /// # Errors
    /// Those of [`Service::request`]; `StoreUnavailable`.
    pub fn answer(self: &Arc<Self>, request: Request) -> Result<serde_json::Value> {
        let service = Arc::clone(self);
        within(request.limit(), move || service.request(request))
    }

    /// Starts a job and returns its number in this process, at once: the pool is looked up by the job itself, and what
    /// fails there is told by its report.
    ///
    /// # Errors
    /// `OptionConflict`; `InvalidArgument` for an unknown module; `NotConnected`, `ShutDown`.
    pub fn start(&self, request: JobRequest) -> Result<u64> {
        let operation = request.operation()?;
        let connected = self.connected()?;
        let job = Arc::new(Job::new(operation.command, operation.pool.clone(), self.clock.now()));
        let mut jobs = self.lock_jobs();
        if jobs.closed {
            return Err(shut_down());
        }
        let handle = LAST_JOB.fetch_add(1, Ordering::Relaxed) + 1;
        jobs.by_handle.insert(handle, Arc::clone(&job));
        jobs.started += 1;
        if jobs.started.is_multiple_of(TIDIED_AFTER) {
            let environment = Arc::clone(&connected.environment);
            // What cannot be removed now may be the next time.
            self.runtime.spawn_blocking(move || environment.records.tidy(environment.clock.now()));
        }
        let (deployment, sought) = (Arc::clone(&connected.deployment), operation.clone());
        let clock = Arc::clone(&self.clock);
        let find = move || modules::targets(&deployment, &sought, &clock);
        self.runtime.spawn(crate::job::run(job, operation, find, Arc::clone(&connected.environment)));
        Ok(handle)
    }

    /// Cancels all jobs, takes no more, and waits for those that run to write their reports. Whether all have. A sample deployment
    /// that is not finished is removed.
    pub fn close(&self, timeout: Duration) -> bool {
        let jobs: Vec<Arc<Job>> = {
            let mut jobs = self.lock_jobs();
            jobs.closed = true;
            jobs.by_handle.values().cloned().collect()
        };
        for job in &jobs {
            job.cancel.cancel();
        }
        let deadline = std::time::Instant::now() + timeout;
        self.discard_sample(timeout);
        for job in &jobs {
            while job.report().is_none() && std::time::Instant::now() < deadline {
                job.events.wait(u64::MAX, Duration::from_millis(20));
            }
        }
        jobs.iter().all(|job| job.report().is_some())
    }

    /// The runtime is gone: whoever waits for a job that has not ended waits no longer.
    pub fn abandon(&self) {
        for job in self.lock_jobs().by_handle.values() {
            job.events.abandon();
        }
    }

    fn connected(&self) -> Result<&Connected> {
        self.connected.as_ref().ok_or_else(|| {
            Error::new(
                ErrorKind::NotConnected,
                "This service was opened without a deployment.",
                "Connect to one with Connect-CsDeployment, or open the service with deploymentFile.",
            )
        })
    }

    fn lock_jobs(&self) -> MutexGuard<'_, Jobs> {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The error of every call after the service was shut down.
pub fn shut_down() -> Error {
    Error::new(ErrorKind::ShutDown, "The service was shut down.", "Open a new one.")
}

/// A path as it stands in documents.
fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}
