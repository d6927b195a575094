//! `New-CsSampleDeployment`: a working pair with data, to try everything.
//!
//! It is made piece by piece, so that whoever asks for a big one can show how far it is and stop it; what is not finished is
//! removed again.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{MutexGuard, PoisonError, mpsc};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::deployment::Deployment;
use super::{Service, shut_down, text};
use crate::bound::{alive, touching};
use crate::clock::Clock;
use crate::config::DEPLOYMENT_FILE;
use crate::error::{Error, ErrorKind, Result};
use crate::platform::{Right, create_folder, may};
use crate::store::sample::{SamplePool, SampleSize, create_private};
use crate::topology::{Topology, absolute};

/// The document that describes both pools.
const TOPOLOGY: &str = include_str!("../../templates/sample/topology.toml");

/// The deployment file.
const DEPLOYMENT: &str = include_str!("../../templates/sample/deployment.toml");

/// The folders of a deployment, each in its own.
const FOLDERS: [&str; 4] = ["atl", "chi", "cms", "jobs"];

/// How long a piece of the work lasts; a service that is shut down waits for no more.
const PIECE: Duration = Duration::from_millis(50);

/// The request for a sample deployment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SampleRequest {
    /// Where it is made: a folder that does not exist or is empty.
    folder: PathBuf,
    #[serde(default = "default_users")]
    users: u32,
    #[serde(default = "default_contacts")]
    contacts_per_user: u32,
    #[serde(default = "default_files")]
    files: u32,
    /// How long the call may last; the same request again goes on. Without it everything is made in one call.
    #[serde(default)]
    at_most_ms: Option<u32>,
    /// Whether to say only what would be made.
    #[serde(default)]
    what_if: bool,
}

impl SampleRequest {
    fn absolute_folder(&self) -> Result<PathBuf> {
        let folder = absolute("folder", &self.folder)?;
        touching(&folder)?;
        Ok(folder)
    }

    fn size(&self) -> SampleSize {
        SampleSize { users: self.users, contacts_per_user: self.contacts_per_user, files: self.files }
    }
}

fn default_users() -> u32 {
    200
}

fn default_contacts() -> u32 {
    20
}

fn default_files() -> u32 {
    300
}

/// What was made, is being made, or would be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Sample {
    finished: bool,
    items_done: u64,
    items_total: u64,
    deployment_file: String,
    topology_file: String,
    pools: Vec<String>,
    users: u32,
    contacts: u64,
    files: u32,
}

impl Sample {
    /// One of which nothing is made yet.
    fn new(request: &SampleRequest, folder: &Path, topology: &Topology) -> Self {
        Sample {
            finished: false,
            items_done: 0,
            items_total: topology.pools.len() as u64 * (u64::from(request.users) + u64::from(request.files)),
            deployment_file: text(&deployment_file(folder)),
            topology_file: text(&topology_file(folder)),
            pools: topology.pools.iter().map(|pool| pool.fqdn.to_string()).collect(),
            users: request.users,
            contacts: u64::from(request.users) * u64::from(request.contacts_per_user),
            files: request.files,
        }
    }
}

fn deployment_file(folder: &Path) -> PathBuf {
    folder.join(DEPLOYMENT_FILE)
}

fn topology_file(folder: &Path) -> PathBuf {
    folder.join("topology.toml")
}

fn topology(folder: &Path) -> Result<Topology> {
    Topology::from_toml(TOPOLOGY, &topology_file(folder))
}

impl Service {
    /// Makes a sample deployment: files, stores with data, and a Central Management store with the topology published. Where
    /// the request limits the call, it may return before all is there.
    pub(super) fn create_sample(&self, request: &SampleRequest) -> Result<Sample> {
        if request.what_if {
            let folder = request.absolute_folder()?;
            require_free(&folder)?;
            return Ok(Sample::new(request, &folder, &topology(&folder)?));
        }
        let Some(at_most) = request.at_most_ms else {
            let mut making = Making::begin(request)?;
            self.go_on(&mut making, Duration::MAX)?;
            return making.finish(&*self.clock);
        };
        let mut slot = self.lock_sample();
        let mut making = match slot.take() {
            Some(making) if making.request == *request => making,
            Some(other) => return Err(another(&slot.insert(other).folder)),
            None => Making::begin(request)?,
        };
        if self.go_on(&mut making, Duration::from_millis(at_most.max(1).into()))? {
            return making.finish(&*self.clock);
        }
        Ok(slot.insert(making).describe())
    }

    /// Works until all data is there or the time is over; whether all is there. Ends soon where the service is shut down.
    fn go_on(&self, making: &mut Making, at_most: Duration) -> Result<bool> {
        let started = Instant::now();
        loop {
            alive();
            if self.lock_jobs().closed {
                return Err(shut_down());
            }
            let complete = making.go_on(PIECE.min(at_most))?;
            if complete || started.elapsed() >= at_most {
                return Ok(complete);
            }
        }
    }

    /// Removes a sample deployment that is not finished, on a thread of its own; waits for that up to `timeout`.
    pub(super) fn discard_sample(&self, timeout: Duration) {
        // A call that is under way has the lock, sees that the service is closed, and removes what it has made.
        let Some(making) = self.sample.try_lock().ok().and_then(|mut slot| slot.take()) else { return };
        let (removed, is_removed) = mpsc::channel();
        let remove = move || {
            drop(making);
            // Nobody may be waiting any more.
            let _ = removed.send(());
        };
        // Where no thread can be had, the closure and what it holds are dropped here.
        if std::thread::Builder::new().name("cs-backup-sample".to_owned()).spawn(remove).is_ok() {
            let _ = is_removed.recv_timeout(timeout);
        }
    }

    fn lock_sample(&self) -> MutexGuard<'_, Option<Making>> {
        self.sample.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A sample deployment that is being made. Dropped before it is finished, it removes what there is of it.
pub(super) struct Making {
    request: SampleRequest,
    folder: PathBuf,
    is_our_folder: bool,
    topology: Topology,
    pools: Vec<SamplePool>,
    finished: bool,
}

impl Making {
    fn begin(request: &SampleRequest) -> Result<Self> {
        let folder = request.absolute_folder()?;
        require_free(&folder)?;
        let topology = topology(&folder)?;
        let is_our_folder = !folder.exists();
        create_folder(&folder).map_err(|cause| Error::io("create", &folder, &cause))?;
        let pools = Vec::new();
        let mut making =
            Making { request: request.clone(), folder, is_our_folder, topology, pools, finished: false };
        for pool in &making.topology.pools {
            making.pools.push(SamplePool::begin(pool)?);
        }
        Ok(making)
    }

    /// Whether all data is made.
    fn go_on(&mut self, at_most: Duration) -> Result<bool> {
        let started = Instant::now();
        for pool in &mut self.pools {
            pool.go_on(&self.request.size(), &|| started.elapsed() >= at_most)?;
        }
        let described = self.describe();
        Ok(described.items_done == described.items_total)
    }

    /// Writes the deployment's own files last: what was interrupted is no deployment that could be connected to.
    fn finish(mut self, clock: &dyn Clock) -> Result<Sample> {
        let (deployment, topology) = (deployment_file(&self.folder), topology_file(&self.folder));
        create_private(&topology, TOPOLOGY.as_bytes())?;
        create_private(&deployment, DEPLOYMENT.as_bytes())?;
        Deployment::open(&deployment)?.publish(&topology, false, clock.now())?;
        self.finished = true;
        Ok(self.describe())
    }

    fn describe(&self) -> Sample {
        let items_done = self.pools.iter().map(SamplePool::items).sum();
        Sample {
            finished: self.finished,
            items_done,
            ..Sample::new(&self.request, &self.folder, &self.topology)
        }
    }
}

impl Drop for Making {
    fn drop(&mut self) {
        if self.finished {
            return;
        }
        // Windows removes no file that is open.
        self.pools.clear();
        // Only what is ours, in case that somebody has put something beside it; what cannot be removed stays, and is seen.
        for file in [deployment_file(&self.folder), topology_file(&self.folder)] {
            let _ = fs::remove_file(file);
        }
        for folder in FOLDERS {
            let _ = fs::remove_dir_all(self.folder.join(folder));
        }
        if self.is_our_folder {
            let _ = fs::remove_dir(&self.folder);
        }
    }
}

fn another(folder: &Path) -> Error {
    Error::new(
        ErrorKind::Conflict,
        format!("A sample deployment is being made in {}.", folder.display()),
        "Repeat its request until it is finished, or shut this service down to give it up.",
    )
    .at("path", folder.display())
}

/// Whether one can be made there. Changes nothing, so that a plan is refused as the run would be.
fn require_free(folder: &Path) -> Result<()> {
    match fs::read_dir(folder) {
        Ok(mut entries) => {
            if entries.next().is_some() {
                return Err(not_empty(folder));
            }
        }
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => {}
        Err(cause) => return Err(Error::io("list", folder, &cause)),
    }
    let existing = folder.ancestors().find(|ancestor| ancestor.exists()).unwrap_or(folder);
    may(existing, Right::ChangeEntries).map_err(|cause| Error::io("write to", existing, &cause))
}

fn not_empty(folder: &Path) -> Error {
    Error::new(
        ErrorKind::ForeignContent,
        format!("{} is not empty.", folder.display()),
        "Name a folder that does not exist yet: a sample deployment never overwrites anything.",
    )
    .at("path", folder.display())
}
