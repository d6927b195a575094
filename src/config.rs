//! `deployment.toml`, and the settings of the backup service that the Central Management store holds.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use toml::Spanned;

use crate::error::{Error, ErrorKind, Result};
use crate::topology::{StoreUrl, line_of, located, read_text, toml_error};

/// Where a deployment's Central Management store lies, and what belongs to this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeploymentConfig {
    /// The database of the Central Management store.
    pub central_management_store: PathBuf,
    /// This machine's read-only copy of its documents.
    pub local_replica: PathBuf,
    /// Where job records and reports are kept.
    pub jobs: PathBuf,
    /// This machine's name.
    pub machine: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DeploymentToml {
    central_management_store: Spanned<String>,
    local_replica: PathBuf,
    #[serde(default = "default_jobs")]
    jobs: PathBuf,
    machine: Option<String>,
}

fn default_jobs() -> PathBuf {
    PathBuf::from("jobs")
}

impl DeploymentConfig {
    /// Reads `deployment.toml`. Paths in it are relative to the folder it lies in.
    ///
    /// # Errors
    /// `FileMissing`, `SyntaxError`, `UnknownField`, `InvalidValue`, `UnsupportedStore`, naming file and line.
    pub fn read(file: &Path) -> Result<Self> {
        let file = std::path::absolute(file).map_err(|cause| Error::io("find", file, &cause))?;
        let text = read_text(&file, "deployment file")?;
        let toml: DeploymentToml = toml::from_str(&text).map_err(|cause| toml_error(&cause, &text, &file))?;
        let base = file.parent().unwrap_or(Path::new("/"));
        let line = line_of(&text, toml.central_management_store.span().start);
        let url = StoreUrl::parse(toml.central_management_store.get_ref(), base);
        let central_management_store = match url.map_err(|error| located(error, &file, line))? {
            StoreUrl::Sqlite(path) => path,
            other => {
                let error = Error::new(
                    ErrorKind::InvalidValue,
                    format!("{other} cannot be a Central Management store."),
                    "Write a sqlite: URL here.",
                );
                return Err(located(error, &file, line));
            }
        };
        Ok(DeploymentConfig {
            central_management_store,
            local_replica: base.join(toml.local_replica),
            jobs: base.join(toml.jobs),
            machine: toml.machine.unwrap_or_else(host_name),
        })
    }
}

fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// The settings of the backup service, with the product's defaults.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct BackupServiceConfiguration {
    /// How many batches beyond its backlog one cycle follows a user store that goes on changing.
    pub max_batches_per_user_store_sync: u64,
    /// How much content one batch carries, in KiB.
    pub max_data_conf_package_size_kb: u64,
}

impl Default for BackupServiceConfiguration {
    fn default() -> Self {
        BackupServiceConfiguration {
            max_batches_per_user_store_sync: 500,
            max_data_conf_package_size_kb: 102_400,
        }
    }
}
