//! `deployment.toml`, and the settings that the Central Management store holds.

use std::num::NonZeroU32;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use toml::Spanned;

use crate::error::Result;
use crate::platform::host_name;
use crate::topology::{StoreUrl, absolute, line_of, located, read_text, toml_error};

mod settings;

pub use settings::{BackupServiceConfiguration, ConfigurationChange};

/// What a deployment file is called in its folder.
pub const DEPLOYMENT_FILE: &str = "deployment.toml";

/// Where a deployment's Central Management store lies, and what belongs to this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeploymentConfig {
    /// The deployment file.
    pub file: PathBuf,
    /// The Central Management store.
    pub central_management_store: StoreUrl,
    /// This machine's read-only copy of its documents.
    pub local_replica: PathBuf,
    /// Where job records and reports are kept.
    pub jobs: PathBuf,
    /// This machine's name.
    pub machine: String,
    /// How much of what jobs leave is kept.
    pub kept: Kept,
}

/// How much of what jobs leave is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Kept {
    /// How many reports, of those that were given no file.
    pub reports: NonZeroU32,
    /// How many job records.
    pub jobs: NonZeroU32,
    /// For how many days a job record.
    pub days: NonZeroU32,
}

impl Default for Kept {
    fn default() -> Self {
        let number = |number| NonZeroU32::new(number).unwrap_or(NonZeroU32::MIN);
        Kept { reports: number(200), jobs: number(200), days: number(30) }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DeploymentToml {
    central_management_store: Spanned<String>,
    local_replica: PathBuf,
    #[serde(default = "default_jobs")]
    jobs: PathBuf,
    machine: Option<String>,
    #[serde(default)]
    kept: Kept,
}

fn default_jobs() -> PathBuf {
    PathBuf::from("jobs")
}

impl DeploymentConfig {
    /// Reads `deployment.toml`, also where only its folder is named. Paths in it are relative to the folder it lies in.
    ///
    /// # Errors
    /// `FileMissing`, `SyntaxError`, `UnknownField`, `InvalidValue`, `UnsupportedStore`, naming file and line.
    pub fn read(file: &Path) -> Result<Self> {
        let mut file = absolute("deploymentFile", file)?;
        if file.is_dir() {
            file.push(DEPLOYMENT_FILE);
        }
        let text = read_text(&file, "deployment file")?;
        let toml: DeploymentToml = toml::from_str(&text).map_err(|cause| toml_error(&cause, &text, &file))?;
        let base = file.parent().unwrap_or(Path::new("/"));
        let line = line_of(&text, toml.central_management_store.span().start);
        let central_management_store = StoreUrl::parse(toml.central_management_store.get_ref(), base)
            .and_then(|url| url.require(true).map(|()| url))
            .map_err(|error| located(error, &file, line))?;
        let (local_replica, jobs) = (base.join(toml.local_replica), base.join(toml.jobs));
        let machine = toml.machine.unwrap_or_else(host_name);
        Ok(DeploymentConfig { file, central_management_store, local_replica, jobs, machine, kept: toml.kept })
    }
}
