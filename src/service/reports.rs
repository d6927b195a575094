//! Reports as files: where they may go, how they get there, and how many are kept.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use uuid::Uuid;

use super::{Service, text};
use crate::error::{Error, ErrorKind, Result};
use crate::report::{Report, html};
use crate::store::places::{Places, ProtectedFiles};
use crate::topology::absolute;

mod folder;
mod target;

use target::ReportTarget;

/// How a report is wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum ReportFormat {
    /// The document.
    #[default]
    Json,
    /// One self-contained page.
    Html,
}

impl ReportFormat {
    fn write(self, report: &Report) -> Result<String> {
        match self {
            ReportFormat::Html => html::render(report),
            ReportFormat::Json => serde_json::to_string_pretty(report).map_err(|cause| unwritable(&cause)),
        }
    }

    const fn extension(self) -> &'static str {
        match self {
            ReportFormat::Html => "html",
            ReportFormat::Json => "json",
        }
    }
}

/// The request for a report as a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ReportRequest {
    /// The job, by its id.
    #[serde(default)]
    job_id: Option<Uuid>,
    /// The job, by its number in this process.
    #[serde(default)]
    job: Option<u64>,
    /// The file; without one a new file in a folder of this account's own.
    #[serde(default)]
    file: Option<PathBuf>,
    /// What the file's name says where none is given: JSON in `.json`, else a page.
    #[serde(default)]
    format: Option<ReportFormat>,
    /// The folder of temporary files in which that of the account is made; the system's where none is given.
    #[serde(default)]
    temporary_folder: Option<PathBuf>,
    /// Whether the topology, which names the stores that are never overwritten, comes from the local replica.
    #[serde(default)]
    local_store: bool,
    /// Whether to check only whether the file may be written; then no job need be named.
    #[serde(default)]
    what_if: bool,
}

impl ReportRequest {
    fn format(&self) -> ReportFormat {
        let is_json = || {
            self.file.as_ref().and_then(|file| file.extension()).is_some_and(|extension| extension == "json")
        };
        self.format.unwrap_or_else(|| if is_json() { ReportFormat::Json } else { ReportFormat::Html })
    }
}

impl Service {
    /// Writes the report of a job that has ended, and answers with the path; or checks only whether that would be done.
    pub(super) fn write_report(&self, request: &ReportRequest) -> Result<Value> {
        let file = request.file.as_deref().map(|file| absolute("file", file)).transpose()?;
        // After a job, or Ctrl+C, nobody should wait for a Central Management store that does not answer: the replica is at hand.
        let local_store = request.local_store || !request.what_if;
        let check = |file| ReportTarget::checked(file, &self.protected(local_store)?);
        let target = file.as_deref().map(check).transpose()?;
        if request.what_if {
            return Ok(json!({ "file": file.as_deref().map(text) }));
        }
        let mut report = self.report_to_write(request)?;
        let keeps_it = target.as_ref().is_some_and(|target| !target.keeps_nothing());
        if let (Some(file), Some(job), true) = (&file, request.job, keeps_it) {
            report.names_file = self.write_planned_names(job, file, local_store)?.or(report.names_file);
        }
        let content = request.format().write(&report)?;
        let written = match target {
            Some(target) => target.write(&mut content.as_bytes())?,
            None => {
                let kept = self.connected()?.deployment.config.kept.reports;
                let above = request.temporary_folder.clone().unwrap_or_else(std::env::temp_dir);
                let name = folder::name(&report, request.format().extension());
                folder::keep(&absolute("temporaryFolder", &above)?, name, &mut content.as_bytes(), kept)?
            }
        };
        Ok(json!({ "file": text(&written) }))
    }

    /// Writes what a job would change, if it only planned and found anything, to a file beside its report; the path.
    fn write_planned_names(&self, job: u64, report: &Path, local_store: bool) -> Result<Option<String>> {
        let job = self.job(job)?;
        let mut names = job.planned_names();
        let Some(mut lines) = names.read()? else { return Ok(None) };
        let file = report.with_extension("names.jsonl");
        let written = ReportTarget::checked(&file, &self.protected(local_store)?)?.write(&mut lines)?;
        Ok(Some(text(&written)))
    }

    /// Writes a topology document to a file, which may be an earlier one but nothing else that a report may not overwrite.
    pub(super) fn write_topology(&self, file: &Path, local_store: bool, toml: &str) -> Result<PathBuf> {
        let file = absolute("file", file)?;
        let protected = self.protected(local_store)?.except_topologies();
        ReportTarget::checked(&file, &protected)?.write(&mut toml.as_bytes())
    }

    fn report_to_write(&self, request: &ReportRequest) -> Result<Report> {
        match (request.job, request.job_id) {
            (Some(job), None) => self.report(job),
            (None, Some(id)) => self.find_report(id),
            _ => Err(Error::new(
                ErrorKind::OptionConflict,
                "writeReport needs a job, by its number or by its id.",
                "Name one of job and jobId, or ask with whatIf whether a file may be written.",
            )),
        }
    }

    /// What must not be overwritten. Of a topology that cannot be read where it was asked for the other copy tells as well.
    fn protected(&self, local_store: bool) -> Result<ProtectedFiles> {
        let Some(connected) = &self.connected else { return Ok(Places::default().protected()) };
        let places = Places::of(&connected.deployment.config);
        let topology = |local| connected.deployment.documents(local)?.topology();
        match topology(local_store).or_else(|error| topology(!local_store).map_err(|_| error)) {
            Ok(topology) => Ok(places.with_topology(&topology, &connected.deployment.config).protected()),
            // Then there are no stores yet.
            Err(error) if error.kind == ErrorKind::NotPublished => Ok(places.protected()),
            Err(error) => Err(error),
        }
    }
}

/// Refuses a file that may not be made there, or would take the place of something of the deployment.
///
/// # Errors
/// `ReportRefused`, `FileMissing` where there is no such folder, `AccessDenied`.
pub(super) fn require_free(file: &Path, protected: &ProtectedFiles) -> Result<()> {
    ReportTarget::checked(file, protected).map(drop)
}

fn unwritable(cause: &serde_json::Error) -> Error {
    Error::new(ErrorKind::Io, "A report cannot be written as JSON.", "Report it to the maintainers.")
        .caused_by(cause)
}
