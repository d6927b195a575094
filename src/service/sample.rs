//! `New-CsSampleDeployment`: a working pair with data, to try everything.
//!
//! It is made piece by piece, so that whoever asks for a big one can show how far it is and stop it; what is not finished is
//! removed again.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{MutexGuard, PoisonError, mpsc};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::deployment::Deployment;
use super::{Service, shut_down, text};
use crate::clock::Clock;
use crate::error::{Error, ErrorKind, Result};

mod content;

use content::PoolData;

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

/// What was made, or is being made.
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

impl Service {
    /// Makes a sample deployment: files, stores with data, and a Central Management store with the topology published. Where
    /// the request limits the call, it may return before all is there.
    pub(super) fn create_sample(&self, request: &SampleRequest) -> Result<Sample> {
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
    pools: Vec<PoolData>,
    finished: bool,
}

impl Making {
    fn begin(request: &SampleRequest) -> Result<Self> {
        let folder = std::path::absolute(&request.folder)
            .map_err(|cause| Error::io("find", &request.folder, &cause))?;
        let is_our_folder = !folder.exists();
        require_empty(&folder)?;
        let mut making =
            Making { request: request.clone(), folder, is_our_folder, pools: Vec::new(), finished: false };
        for (pool, site) in [("atl", "Atlanta"), ("chi", "Chicago")] {
            making.pools.push(PoolData::begin(&making.folder.join(pool), site)?);
        }
        Ok(making)
    }

    /// Whether all data is made.
    fn go_on(&mut self, at_most: Duration) -> Result<bool> {
        let started = Instant::now();
        for pool in &mut self.pools {
            pool.go_on(&self.request, &|| started.elapsed() >= at_most)?;
        }
        Ok(self.items_done() == self.items_total())
    }

    /// Writes the deployment's own files last: what was interrupted is no deployment that could be connected to.
    fn finish(mut self, clock: &dyn Clock) -> Result<Sample> {
        let write = |path: &Path, content: &str| {
            fs::write(path, content).map_err(|cause| Error::io("write", path, &cause))
        };
        write(&self.topology_file(), content::TOPOLOGY)?;
        write(&self.deployment_file(), content::DEPLOYMENT)?;
        Deployment::open(&self.deployment_file())?.publish(&self.topology_file(), false, clock.now())?;
        self.finished = true;
        Ok(self.describe())
    }

    fn describe(&self) -> Sample {
        Sample {
            finished: self.finished,
            items_done: self.items_done(),
            items_total: self.items_total(),
            deployment_file: text(&self.deployment_file()),
            topology_file: text(&self.topology_file()),
            pools: content::POOLS.map(str::to_owned).to_vec(),
            users: self.request.users,
            contacts: u64::from(self.request.users) * u64::from(self.request.contacts_per_user),
            files: self.request.files,
        }
    }

    fn items_done(&self) -> u64 {
        self.pools.iter().map(PoolData::items).sum()
    }

    fn items_total(&self) -> u64 {
        self.pools.len() as u64 * (u64::from(self.request.users) + u64::from(self.request.files))
    }

    fn deployment_file(&self) -> PathBuf {
        self.folder.join("deployment.toml")
    }

    fn topology_file(&self) -> PathBuf {
        self.folder.join("topology.toml")
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
        for file in [self.deployment_file(), self.topology_file()] {
            let _ = fs::remove_file(file);
        }
        for folder in content::FOLDERS {
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

fn require_empty(folder: &Path) -> Result<()> {
    fs::create_dir_all(folder).map_err(|cause| Error::io("create", folder, &cause))?;
    let mut entries = fs::read_dir(folder).map_err(|cause| Error::io("list", folder, &cause))?;
    if entries.next().is_none() {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::ForeignContent,
        format!("{} is not empty.", folder.display()),
        "Name a folder that does not exist yet: a sample deployment never overwrites anything.",
    )
    .at("path", folder.display()))
}
