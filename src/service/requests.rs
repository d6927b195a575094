//! The requests that are answered at once, and the documents that answer them.

use std::fmt;
use std::marker::PhantomData;
use std::path::PathBuf;
use std::time::Duration;

use jiff::Timestamp;
use serde::de::value::MapAccessDeserializer;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Value, json};
use uuid::Uuid;

use super::capabilities::Capabilities;
use super::reports::{ReportFormat, ReportRequest};
use super::sample::SampleRequest;
use super::status::StatusRequest;
use super::{Service, text};
use crate::config::{BackupServiceConfiguration, ConfigurationChange};
use crate::error::{Error, ErrorKind, Result};
use crate::job::events::Event;
use crate::pool::{PoolState, PoolStateDetails, PoolStateRecord};
use crate::report::html;
use crate::topology::{Pool, PoolFqdn, Topology};

/// A request, as `csb_service_request` takes it. `docs/documents.md` has the table of replies.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "request", rename_all = "camelCase", rename_all_fields = "camelCase", deny_unknown_fields)]
pub enum Request {
    /// What this version can do.
    GetCapabilities {},
    /// Makes a working pair with data.
    CreateSampleDeployment(SampleRequest),
    /// Validates a topology document and publishes it.
    PublishTopology {
        /// The document.
        file: PathBuf,
        /// Whether to validate only.
        #[serde(default)]
        what_if: bool,
    },
    /// The published topology.
    GetTopology {
        /// Whether it comes from the local replica.
        #[serde(default)]
        local_store: bool,
    },
    /// The published topology as a document that can be edited and published again.
    ExportTopology {
        /// Whether it comes from the local replica.
        #[serde(default)]
        local_store: bool,
        /// The file that it is written to, too.
        #[serde(default)]
        file: Option<PathBuf>,
    },
    /// All pools.
    GetPools {
        /// Whether they come from the local replica.
        #[serde(default)]
        local_store: bool,
    },
    /// A pool, its partner, and what both are doing.
    GetPoolBackupRelationship {
        /// The pool.
        pool_fqdn: PoolFqdn,
        /// Whether the topology comes from the local replica.
        #[serde(default)]
        local_store: bool,
    },
    /// The states of a pool's stores that can be restored.
    GetPoolBackupHistory {
        /// The pool whose stores they are.
        pool_fqdn: PoolFqdn,
        /// Whether the topology comes from the local replica.
        #[serde(default)]
        local_store: bool,
    },
    /// The state of a pool's modules.
    GetBackupServiceStatus(StatusRequest),
    /// Whether this machine reaches what jobs need of a pool's stores.
    TestPoolConnection {
        /// The pool.
        pool_fqdn: PoolFqdn,
        /// Whether the topology comes from the local replica.
        #[serde(default)]
        local_store: bool,
    },
    /// What is pasted at a pool's machine, so that its partner's machine may reach the stores there.
    RegisterPoolPlace {
        /// The pool whose stores are reached.
        pool_fqdn: PoolFqdn,
        /// What the partner may do.
        grants: Vec<String>,
        /// The partner's public key.
        #[serde(default)]
        public_key: Option<String>,
        /// Whether the topology comes from the local replica.
        #[serde(default)]
        local_store: bool,
    },
    /// The settings of the backup service.
    GetBackupServiceConfiguration {
        /// Whether they come from the local replica.
        #[serde(default)]
        local_store: bool,
    },
    /// Changes settings of the backup service.
    SetBackupServiceConfiguration {
        /// What is to be different.
        #[serde(deserialize_with = "object")]
        settings: ConfigurationChange,
        /// Whether to check only.
        #[serde(default)]
        what_if: bool,
    },
    /// Gives the settings of the backup service their defaults again.
    ResetBackupServiceConfiguration {
        /// Whether to check only.
        #[serde(default)]
        what_if: bool,
    },
    /// Roles and the cmdlets they may run.
    GetAdminRoles {
        /// Whether they come from the local replica.
        #[serde(default)]
        local_store: bool,
    },
    /// All known jobs.
    ListJobs {
        /// Only those of this pool.
        #[serde(default)]
        pool_fqdn: Option<PoolFqdn>,
    },
    /// One job.
    GetJob {
        /// Its id.
        job_id: Uuid,
    },
    /// The report of an ended job.
    GetReport {
        /// Its id.
        job_id: Uuid,
        /// JSON where none is given.
        #[serde(default)]
        format: ReportFormat,
    },
    /// Writes the report of an ended job to a file.
    WriteReport(ReportRequest),
    /// Asks a job to stop, in whichever process it runs.
    CancelJob {
        /// Its id.
        job_id: Uuid,
    },
}

/// Reads a document within a request. Without this an array would be taken for its fields in their order.
fn object<'de, D: Deserializer<'de>, T: Deserialize<'de>>(from: D) -> Result<T, D::Error> {
    struct Fields<T>(PhantomData<T>);

    impl<'de, T: Deserialize<'de>> Visitor<'de> for Fields<T> {
        type Value = T;

        fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
            formatter.write_str("an object")
        }

        fn visit_map<A: MapAccess<'de>>(self, fields: A) -> Result<T, A::Error> {
            T::deserialize(MapAccessDeserializer::new(fields))
        }
    }

    from.deserialize_map(Fields(PhantomData))
}

/// A job, as lists show it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct JobDocument {
    /// Its id.
    pub job_id: Uuid,
    /// The command.
    pub command: String,
    /// The pool.
    pub pool_fqdn: String,
    /// `Queued`, `Running`, `Cancelling` or an outcome.
    pub state: String,
    /// When it began.
    pub started_at: Timestamp,
    /// When it ended.
    pub finished_at: Option<Timestamp>,
    /// How long it took.
    pub duration_ms: Option<u64>,
    /// Why it failed or was cancelled, as far as its report tells.
    pub reason: Option<String>,
    /// The machine that ran it.
    pub machine: String,
    /// The process that ran it.
    pub process_id: u32,
    /// Its number in this process.
    pub handle: Option<u64>,
}

/// What a job has told, as `csb_job_poll` returns it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct JobEvents {
    /// The job.
    pub job_id: Uuid,
    /// `Queued`, `Running`, `Cancelling` or an outcome.
    pub state: String,
    /// The last event there is.
    pub last_seq: u64,
    /// How many progress events were dropped since the job began.
    pub dropped: u64,
    /// Events after the asked one.
    pub events: Vec<Event>,
}

/// A pool, as lists show it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PoolDocument {
    /// The pool's name.
    pub identity: PoolFqdn,
    /// The same.
    pub fqdn: PoolFqdn,
    /// Its site.
    pub site: Option<String>,
    /// What runs there, for instance `Registrar:atl-cs-001.litwareinc.com`.
    pub services: Vec<String>,
    /// Its machines.
    pub computers: Vec<String>,
    /// Its partner.
    pub backup_pool_fqdn: Option<PoolFqdn>,
    /// What it is doing.
    pub state: PoolState,
    /// What belongs to that.
    pub state_details: PoolStateDetails,
}

impl Request {
    /// How long its answer may be waited for where a store does not answer: nobody looks long at a status.
    pub fn limit(&self) -> Duration {
        match self {
            Request::GetBackupServiceStatus(_) => Duration::from_secs(10),
            _ => Duration::from_secs(30),
        }
    }
}

impl Service {
    /// Answers a request.
    ///
    /// # Errors
    /// `NotConnected` where it needs a deployment; what the request itself reports.
    pub fn request(&self, request: Request) -> Result<Value> {
        crate::platform::failpoint::fail_point!("service.request");
        match request {
            Request::GetCapabilities {} => document(&Capabilities::current()),
            Request::CreateSampleDeployment(request) => document(&self.create_sample(&request)?),
            Request::PublishTopology { file, what_if } => self.publish_topology(&file, what_if),
            Request::GetTopology { local_store } => document(&self.topology(local_store)?),
            Request::ExportTopology { local_store, file } => {
                let toml = self.topology(local_store)?.to_toml();
                let file = file.map(|file| self.write_topology(&file, local_store, &toml)).transpose()?;
                Ok(json!({ "toml": toml, "file": file.as_deref().map(text) }))
            }
            Request::GetPools { local_store } => self.pools(local_store),
            Request::GetPoolBackupRelationship { pool_fqdn, local_store } => {
                self.relationship(&pool_fqdn, local_store)
            }
            Request::GetPoolBackupHistory { pool_fqdn, local_store } => {
                document(&self.history(&pool_fqdn, local_store)?)
            }
            Request::GetBackupServiceStatus(request) => document(&self.status(&request)?),
            Request::TestPoolConnection { pool_fqdn, local_store } => {
                document(&self.test_connection(&pool_fqdn, local_store)?)
            }
            Request::RegisterPoolPlace { pool_fqdn, grants, public_key, local_store } => {
                document(&self.register_place(&pool_fqdn, &grants, public_key.as_deref(), local_store)?)
            }
            Request::GetBackupServiceConfiguration { local_store } => {
                document(&self.connected()?.deployment.documents(local_store)?.configuration()?)
            }
            Request::SetBackupServiceConfiguration { settings, what_if } => {
                let deployment = &self.connected()?.deployment;
                document(&deployment.configure(
                    |current| settings.clone().apply(current),
                    what_if,
                    self.clock.now(),
                )?)
            }
            Request::ResetBackupServiceConfiguration { what_if } => {
                let reset = |_| Ok(BackupServiceConfiguration::default());
                document(&self.connected()?.deployment.configure(reset, what_if, self.clock.now())?)
            }
            Request::GetAdminRoles { local_store } => Ok(
                json!({ "roles": document(&self.connected()?.deployment.documents(local_store)?.roles()?.roles)? }),
            ),
            Request::ListJobs { pool_fqdn } => {
                Ok(json!({ "jobs": document(&self.list_jobs(pool_fqdn.as_ref())?)? }))
            }
            Request::GetJob { job_id } => document(&self.find_job(job_id)?),
            Request::GetReport { job_id, format } => {
                let report = self.find_report(job_id)?;
                match format {
                    ReportFormat::Json => document(&report),
                    ReportFormat::Html => Ok(json!({ "html": html::render(&report)? })),
                }
            }
            Request::WriteReport(request) => self.write_report(&request),
            Request::CancelJob { job_id } => {
                let job = self.cancel_anywhere(job_id)?;
                Ok(json!({ "jobId": job.job_id, "state": job.state }))
            }
        }
    }

    fn publish_topology(&self, file: &std::path::Path, what_if: bool) -> Result<Value> {
        let published = self.connected()?.deployment.publish(file, what_if, self.clock.now())?;
        let pools: Vec<&PoolFqdn> = published.topology.pools.iter().map(|pool| &pool.fqdn).collect();
        Ok(json!({
            "version": published.version,
            "unchanged": published.unchanged,
            "pools": document(&pools)?,
            "warnings": published.warnings,
            "file": text(file),
        }))
    }

    fn topology(&self, local_store: bool) -> Result<Topology> {
        self.connected()?.deployment.documents(local_store)?.topology()
    }

    fn pools(&self, local_store: bool) -> Result<Value> {
        let documents = self.connected()?.deployment.documents(local_store)?;
        let topology = documents.topology()?;
        let pools = topology
            .pools
            .iter()
            .map(|pool| Ok(pool_document(pool, &topology, documents.pool_state(&pool.fqdn)?)))
            .collect::<Result<Vec<_>>>()?;
        Ok(json!({ "pools": document(&pools)? }))
    }

    fn relationship(&self, fqdn: &PoolFqdn, local_store: bool) -> Result<Value> {
        let documents = self.connected()?.deployment.documents(local_store)?;
        let topology = documents.topology()?;
        let (pool, backup, _) = topology.pair(fqdn)?;
        let (of_pool, of_backup) = (documents.pool_state(&pool.fqdn)?, documents.pool_state(&backup.fqdn)?);
        Ok(json!({
            "poolFqdn": pool.fqdn,
            "backupPoolFqdn": backup.fqdn,
            "poolState": of_pool.state,
            "poolStateDetails": of_pool.details,
            "backupPoolState": of_backup.state,
            "backupPoolStateDetails": of_backup.details,
        }))
    }
}

fn pool_document(pool: &Pool, topology: &Topology, what: PoolStateRecord) -> PoolDocument {
    let mut services = vec![format!("Registrar:{}", pool.fqdn)];
    if topology.central_management_pool == pool.fqdn {
        services.push(format!("CentralManagement:{}", pool.fqdn));
    }
    PoolDocument {
        identity: pool.fqdn.clone(),
        fqdn: pool.fqdn.clone(),
        site: pool.site.clone(),
        services,
        computers: pool.computers.clone(),
        backup_pool_fqdn: pool.backup_pool.clone(),
        state: what.state,
        state_details: what.details,
    }
}

fn document(value: &impl Serialize) -> Result<Value> {
    serde_json::to_value(value).map_err(|cause| {
        Error::new(ErrorKind::Io, "A reply cannot be written.", "Report it to the maintainers.")
            .caused_by(&cause)
    })
}
