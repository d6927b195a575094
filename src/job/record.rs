//! Jobs as they are kept on disk: found again after a crash, by any process of the deployment.

use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::config::Kept;
use crate::error::{Error, ErrorKind, Result};
use crate::report::{Outcome, Report};
use crate::store::files::{self, Lines};
use crate::store::leases::LeaseOwner;
use crate::stored::{Stored, StoredDocument};

/// How much longer, and how many more, records of failed jobs are kept: somebody may look for the reason much later.
const OF_FAILED: u32 = 5;

/// What the file of a job's names ends with.
const NAMES: &str = ".names.jsonl";

const SECONDS_PER_DAY: i64 = 24 * 60 * 60;

/// A job as it is kept on disk. Its report is there from the beginning, as what is to be said should the process die.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct JobRecord {
    /// The process that runs it, or ran it.
    pub owner: LeaseOwner,
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
    kept: Kept,
}

impl Records {
    /// The records in this folder, which is created with the first one.
    pub fn new(folder: &Path, kept: Kept) -> Self {
        Records { folder: folder.to_owned(), kept }
    }

    fn path(&self, id: Uuid) -> PathBuf {
        self.folder.join(format!("{id}.json"))
    }

    fn names_path(&self, id: Uuid) -> PathBuf {
        self.folder.join(format!("{id}{NAMES}"))
    }

    /// The file beside a job's record that names what the job changed; it is made with its first line, and goes with the record.
    pub fn names(&self, id: Uuid) -> Lines {
        Lines::at(self.names_path(id))
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
        crate::bound::touching(&self.folder)?;
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
        let names = self.names_path(id);
        ended.report.names_file = names.exists().then(|| names.display().to_string());
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

    /// Ends the jobs of dead processes, removes what they or a power cut left half-written, and forgets ended jobs that are
    /// too old, or of which there are too many. Failed ones are counted by themselves.
    ///
    /// # Errors
    /// When the folder exists and cannot be listed.
    pub fn tidy(&self, now: Timestamp) -> Result<()> {
        crate::bound::touching(&self.folder)?;
        files::sweep(&self.folder);
        for id in self.ids()? {
            if std::fs::metadata(self.path(id)).is_ok_and(|file| file.len() == 0) {
                self.forget(id);
            }
        }
        // A record is there before its job names anything.
        for id in self.ids_of(NAMES)?.into_iter().filter(|id| !self.path(*id).exists()) {
            let _ = std::fs::remove_file(self.names_path(id));
        }
        let ended = self.list(now)?.into_iter().filter(|record| record.ended);
        let (failed, others): (Vec<_>, Vec<_>) =
            ended.partition(|record| record.report.outcome == Outcome::Failed);
        for (records, factor) in [(failed, OF_FAILED), (others, 1)] {
            let days = self.kept.days.get().saturating_mul(factor);
            let oldest = now.as_second().saturating_sub(i64::from(days).saturating_mul(SECONDS_PER_DAY));
            let count = self.kept.jobs.get().saturating_mul(factor) as usize;
            for (place, record) in records.iter().enumerate() {
                if place >= count || record.report.finished_at.as_second() < oldest {
                    self.forget(record.report.job_id);
                }
            }
        }
        Ok(())
    }

    fn forget(&self, id: Uuid) {
        // Another process may have been faster.
        for path in [self.path(id), self.names_path(id), self.cancel_path(id)] {
            let _ = std::fs::remove_file(path);
        }
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
        self.ids_of(".json")
    }

    /// The jobs that have a file with this ending.
    fn ids_of(&self, ending: &str) -> Result<Vec<Uuid>> {
        crate::bound::touching(&self.folder)?;
        let entries = match std::fs::read_dir(&self.folder) {
            Ok(entries) => entries,
            Err(cause) if cause.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(cause) => return Err(Error::io("list", &self.folder, &cause)),
        };
        let id = |entry: std::io::Result<std::fs::DirEntry>| {
            let name = entry.ok()?.file_name();
            Uuid::parse_str(name.to_str()?.strip_suffix(ending)?).ok()
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

/// When it died nobody knows: its end is when that was noticed, and how long it took stays what it had measured itself.
fn interrupt(record: &mut JobRecord, now: Timestamp) {
    let report = &mut record.report;
    report.outcome = Outcome::Failed;
    report.finished_at = now.max(report.started_at);
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

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use super::*;
    use crate::report::{HostInfo, Plan, SCHEMA_VERSION};

    const HOUR: i64 = 3600;

    fn record(started: i64, outcome: Outcome, ended: bool) -> JobRecord {
        let at = Timestamp::from_second(started).unwrap();
        let owner =
            LeaseOwner { machine: "elsewhere".into(), space: None, ..LeaseOwner::current("elsewhere") };
        let report = Report {
            schema_version: SCHEMA_VERSION,
            job_id: Uuid::now_v7(),
            command: "Backup-CsPool".into(),
            request: serde_json::Value::Null,
            pool_fqdn: "atl".into(),
            backup_pool_fqdn: Some("chi".into()),
            outcome,
            what_if: false,
            started_at: at,
            finished_at: at,
            duration_ms: 7,
            retries: 0,
            host: HostInfo { machine: "elsewhere".into(), process_id: 1, library_version: "0".into() },
            plan: Plan::default(),
            steps: vec![],
            modules: vec![],
            removed: vec![],
            names_file: None,
            warnings: vec![],
            errors: vec![],
        };
        JobRecord { owner, ended, report }
    }

    fn kept(jobs: u32, days: u32) -> Kept {
        let number = |number| NonZeroU32::new(number).unwrap();
        Kept { jobs: number(jobs), days: number(days), ..Kept::default() }
    }

    /// Writes records, tidies, and says which of them are still there.
    fn tidied(kept: Kept, now: i64, records: &[JobRecord]) -> Vec<bool> {
        let folder = tempfile::tempdir().unwrap();
        let all = Records::new(folder.path(), kept);
        for record in records {
            all.write(record).unwrap();
            all.request_cancel(record.report.job_id).unwrap();
            all.names(record.report.job_id).push(b"{}").unwrap();
        }
        let orphan = Uuid::now_v7();
        all.names(orphan).push(b"{}").unwrap();
        all.tidy(Timestamp::from_second(now).unwrap()).unwrap();
        let left: Vec<bool> = records.iter().map(|record| all.path(record.report.job_id).exists()).collect();
        let requests: Vec<bool> =
            records.iter().map(|record| all.cancel_requested(record.report.job_id)).collect();
        assert_eq!(left, requests, "a request to cancel stays as long as its job's record");
        let names: Vec<bool> =
            records.iter().map(|record| all.names_path(record.report.job_id).exists()).collect();
        assert_eq!(left, names, "names stay as long as their job's record");
        assert!(!all.names_path(orphan).exists());
        left
    }

    #[test]
    fn failures_are_kept_longest_and_what_runs_always() {
        use Outcome::{Cancelled, Failed, Succeeded};
        let (now, day) = (1_800_000_000, 24 * HOUR);
        let records = [
            record(now - day, Succeeded, true),
            record(now - 31 * day, Succeeded, true),
            record(now - 31 * day, Cancelled, true),
            record(now - 31 * day, Failed, true),
            record(now - 149 * day, Failed, true),
            record(now - 151 * day, Failed, true),
            record(now - 900 * day, Failed, false),
        ];
        let left = tidied(Kept::default(), now, &records);
        assert_eq!(left, [true, false, false, true, true, false, true]);
    }

    #[test]
    fn there_are_never_too_many_and_many_successes_displace_no_failure() {
        let now = 1_800_000_000;
        let mut records: Vec<JobRecord> =
            (0..6).map(|age| record(now - age * HOUR, Outcome::Succeeded, true)).collect();
        records.extend((10..22).map(|age| record(now - age * HOUR, Outcome::Failed, true)));
        records.push(record(now - 100 * HOUR, Outcome::Failed, false));
        let left = tidied(kept(2, 30), now, &records);
        let expected: Vec<bool> =
            (0..6).map(|n| n < 2).chain((0..12).map(|n| n < 10)).chain([true]).collect();
        assert_eq!(left, expected);
    }

    #[test]
    fn the_duration_of_a_job_whose_process_died_is_not_taken_from_a_clock_that_jumps() {
        for now in [1_800_000_000 - 24 * HOUR, 1_800_000_000 + 900 * HOUR] {
            let folder = tempfile::tempdir().unwrap();
            let all = Records::new(folder.path(), Kept::default());
            let dead = LeaseOwner { process_id: 4_000_000, ..LeaseOwner::current("here") };
            let written = JobRecord { owner: dead, ..record(1_800_000_000, Outcome::Failed, false) };
            all.write(&written).unwrap();
            let now = Timestamp::from_second(now).unwrap();
            let report = all.read(written.report.job_id, now).unwrap().report;
            assert_eq!((report.duration_ms, report.finished_at), (7, now.max(report.started_at)));
        }
    }
}
