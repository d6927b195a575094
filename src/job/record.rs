//! Jobs as they are kept on disk: found again after a crash, by any process of the deployment.

use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::error::{Error, ErrorKind, Result};
use crate::report::{Outcome, Report};
use crate::store::files;
use crate::store::leases::Owner;
use crate::stored::{Stored, StoredDocument};

/// How many ended jobs are kept; older ones are forgotten.
const KEPT: usize = 200;

/// A job as it is kept on disk. Its report is there from the beginning, as what is to be said should the process die.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct JobRecord {
    /// The process that runs it, or ran it.
    pub owner: Owner,
    /// Whether the report is the final one.
    pub ended: bool,
    /// The report.
    pub report: Report,
}

impl StoredDocument for JobRecord {
    const NAME: &'static str = "job record";
}

/// The folder of a deployment's job records.
#[derive(Clone, Debug)]
pub struct Records {
    folder: PathBuf,
}

impl Records {
    /// The records in this folder, which is created with the first one.
    pub fn new(folder: &Path) -> Self {
        Records { folder: folder.to_owned() }
    }

    fn path(&self, id: Uuid) -> PathBuf {
        self.folder.join(format!("{id}.json"))
    }

    fn cancel_path(&self, id: Uuid) -> PathBuf {
        self.folder.join(format!("{id}.cancel"))
    }

    /// Writes a record; durably where the job has ended. That of a job that runs says what to think of it should its
    /// process die, and has nothing to say of one that was young when the power went.
    ///
    /// # Errors
    /// When the folder cannot be written.
    pub fn write(&self, record: &JobRecord) -> Result<()> {
        self.keep(&Stored::new(record.clone()))
    }

    fn keep(&self, stored: &Stored<JobRecord>) -> Result<()> {
        let (record, text) = (stored.known(), stored.to_json()?);
        let path = self.path(record.report.job_id);
        if !record.ended {
            return files::replace_for_now(&path, text.as_bytes());
        }
        files::replace(&path, text.as_bytes())?;
        // A leftover request to cancel means nothing once the job has ended.
        let _ = std::fs::remove_file(self.cancel_path(record.report.job_id));
        Ok(())
    }

    /// Reads one record; a job whose process is dead is ended first.
    ///
    /// # Errors
    /// `UnknownJob`; `UnsupportedStore` for the record of a newer build.
    pub fn read(&self, id: Uuid, now: Timestamp) -> Result<JobRecord> {
        let path = self.path(id);
        let text = std::fs::read_to_string(&path).map_err(|cause| match cause.kind() {
            std::io::ErrorKind::NotFound => unknown(id),
            _ => Error::io("read", &path, &cause),
        })?;
        let stored = Stored::<JobRecord>::read(&text).map_err(|cause| match cause.kind {
            ErrorKind::Corrupt => damaged(&path).caused_by(&cause),
            _ => cause.at("path", path.display()),
        })?;
        let record = stored.known();
        if record.ended || !record.owner.is_dead() {
            return Ok(stored.into_known());
        }
        let mut ended = record.clone();
        interrupt(&mut ended, now);
        let stored = stored.replace(ended)?;
        self.keep(&stored)?;
        Ok(stored.into_known())
    }

    /// All records, the newest first. Those that cannot be read are left out.
    ///
    /// # Errors
    /// When the folder exists and cannot be listed.
    pub fn list(&self, now: Timestamp) -> Result<Vec<JobRecord>> {
        let mut records: Vec<JobRecord> =
            self.ids()?.into_iter().filter_map(|id| self.read(id, now).ok()).collect();
        records.sort_by_key(|record| std::cmp::Reverse((record.report.started_at, record.report.job_id)));
        Ok(records)
    }

    /// Ends the jobs of dead processes, removes what they or a power cut left half-written, and forgets the oldest
    /// records.
    ///
    /// # Errors
    /// When the folder exists and cannot be listed.
    pub fn tidy(&self, now: Timestamp) -> Result<()> {
        files::sweep(&self.folder);
        for path in self.ids()?.into_iter().map(|id| self.path(id)) {
            if std::fs::metadata(&path).is_ok_and(|file| file.len() == 0) {
                let _ = std::fs::remove_file(path);
            }
        }
        for record in self.list(now)?.into_iter().filter(|record| record.ended).skip(KEPT) {
            // Another process may have been faster.
            let _ = std::fs::remove_file(self.path(record.report.job_id));
        }
        Ok(())
    }

    /// Asks the process that runs a job, whichever it is, to cancel it.
    ///
    /// # Errors
    /// When the folder cannot be written.
    pub fn request_cancel(&self, id: Uuid) -> Result<()> {
        files::replace(&self.cancel_path(id), b"")
    }

    /// Whether somebody has asked to cancel a job.
    pub fn cancel_requested(&self, id: Uuid) -> bool {
        self.cancel_path(id).exists()
    }

    fn ids(&self) -> Result<Vec<Uuid>> {
        let entries = match std::fs::read_dir(&self.folder) {
            Ok(entries) => entries,
            Err(cause) if cause.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(cause) => return Err(Error::io("list", &self.folder, &cause)),
        };
        let id = |entry: std::io::Result<std::fs::DirEntry>| {
            let name = entry.ok()?.file_name();
            Uuid::parse_str(name.to_str()?.strip_suffix(".json")?).ok()
        };
        Ok(entries.filter_map(id).collect())
    }
}

/// The error for a job that nobody knows.
pub fn unknown(id: impl std::fmt::Display) -> Error {
    Error::new(
        ErrorKind::UnknownJob,
        format!("There is no job {id}."),
        "List the jobs there are with Get-CsBackupJob.",
    )
    .at("jobId", id)
}

/// What is said of a job whose process died: what it had committed stays, and the next job goes on from there.
pub fn interrupted(machine: &str, process_id: u32) -> Error {
    Error::new(
        ErrorKind::Interrupted,
        format!("The process {process_id} on {machine} ended before its job did."),
        "Nothing is lost. Run the command again; it goes on where the job stopped.",
    )
}

fn interrupt(record: &mut JobRecord, now: Timestamp) {
    let report = &mut record.report;
    report.outcome = Outcome::Failed;
    report.finished_at = now;
    report.duration_ms =
        u64::try_from(now.as_millisecond() - report.started_at.as_millisecond()).unwrap_or_default();
    report.errors = vec![interrupted(&record.owner.machine, record.owner.process_id)];
    record.ended = true;
}

fn damaged(path: &Path) -> Error {
    Error::new(
        ErrorKind::Io,
        format!("The job record {} is damaged.", path.display()),
        "Remove the file; it is only a record of a job that ran.",
    )
    .at("path", path.display())
}
