//! The jobs of this process, and those that other processes of the deployment left on disk.

use std::sync::Arc;
use std::time::Duration;

use uuid::Uuid;

use super::requests::{JobDocument, JobEvents};
use super::{Connected, Service};
use crate::error::{Error, ErrorKind, Result};
use crate::job::Job;
use crate::job::record::{JobRecord, unknown};
use crate::report::Report;
use crate::topology::PoolFqdn;

impl Service {
    /// What a job of this process has told after an event, waiting up to `timeout` for the next one.
    ///
    /// # Errors
    /// `UnknownJob`.
    pub fn poll(&self, handle: u64, after_seq: u64, timeout: Duration) -> Result<JobEvents> {
        let job = self.job(handle)?;
        let batch = job.events.wait(after_seq, timeout);
        Ok(JobEvents {
            job_id: job.id,
            state: job.state().to_owned(),
            last_seq: batch.last_seq,
            dropped: batch.dropped,
            events: batch.events,
        })
    }

    /// Asks a job of this process to stop. Does nothing to one that has ended.
    ///
    /// # Errors
    /// `UnknownJob`.
    pub fn cancel(&self, handle: u64) -> Result<()> {
        self.job(handle)?.cancel.cancel();
        Ok(())
    }

    /// The report of a job of this process.
    ///
    /// # Errors
    /// `UnknownJob`; `Conflict` while the job runs.
    pub fn report(&self, handle: u64) -> Result<Report> {
        let job = self.job(handle)?;
        job.report().ok_or_else(|| still_running(job.id))
    }

    /// Forgets a job of this process that has ended; its record on disk stays.
    ///
    /// # Errors
    /// `UnknownJob`; `Conflict` while the job runs.
    pub fn release(&self, handle: u64) -> Result<()> {
        let job = self.job(handle)?;
        if job.report().is_none() {
            return Err(still_running(job.id));
        }
        self.lock_jobs().by_handle.remove(&handle);
        Ok(())
    }

    pub(super) fn job(&self, handle: u64) -> Result<Arc<Job>> {
        self.lock_jobs().by_handle.get(&handle).cloned().ok_or_else(|| unknown(handle))
    }

    /// All jobs that are known, the newest first.
    pub(super) fn list_jobs(&self, pool: Option<&PoolFqdn>) -> Result<Vec<JobDocument>> {
        let connected = self.connected()?;
        if let Some(pool) = pool {
            connected.require_pool(pool)?;
        }
        let records = connected.environment.records.list(self.clock.now())?;
        let wanted = |record: &&JobRecord| pool.is_none_or(|pool| record.report.pool_fqdn == pool.as_str());
        Ok(records.iter().filter(wanted).map(|record| self.describe(record)).collect())
    }

    /// One job, of whichever process.
    pub(super) fn find_job(&self, id: Uuid) -> Result<JobDocument> {
        Ok(self.describe(&self.record(self.connected()?, id)?))
    }

    /// The report of an ended job, of whichever process.
    pub(super) fn find_report(&self, id: Uuid) -> Result<Report> {
        if let Some(report) = self.own_job(id).and_then(|(_, job)| job.report()) {
            return Ok(report);
        }
        let record = self.record(self.connected()?, id)?;
        if record.ended { Ok(record.report) } else { Err(still_running(id)) }
    }

    /// Asks a job to stop, in whichever process it runs.
    pub(super) fn cancel_anywhere(&self, id: Uuid) -> Result<JobDocument> {
        if let Some((_, job)) = self.own_job(id) {
            job.cancel.cancel();
        } else {
            let connected = self.connected()?;
            if !self.record(connected, id)?.ended {
                connected.environment.records.request_cancel(id)?;
            }
        }
        self.find_job(id)
    }

    fn record(&self, connected: &Connected, id: Uuid) -> Result<JobRecord> {
        connected.environment.records.read(id, self.clock.now())
    }

    fn own_job(&self, id: Uuid) -> Option<(u64, Arc<Job>)> {
        let jobs = self.lock_jobs();
        jobs.by_handle.iter().find(|(_, job)| job.id == id).map(|(handle, job)| (*handle, Arc::clone(job)))
    }

    fn describe(&self, record: &JobRecord) -> JobDocument {
        let own = self.own_job(record.report.job_id);
        let state = match &own {
            Some((_, job)) => job.state(),
            None if record.ended => record.report.outcome.name(),
            None => "Running",
        };
        JobDocument {
            job_id: record.report.job_id,
            command: record.report.command.clone(),
            pool_fqdn: record.report.pool_fqdn.clone(),
            state: state.to_owned(),
            started_at: record.report.started_at,
            finished_at: record.ended.then_some(record.report.finished_at),
            duration_ms: record.ended.then_some(record.report.duration_ms),
            reason: record.report.reason().filter(|_| record.ended),
            machine: record.owner.machine.clone(),
            process_id: record.owner.process_id,
            handle: own.map(|(handle, _)| handle),
        }
    }
}

fn still_running(id: Uuid) -> Error {
    Error::new(
        ErrorKind::Conflict,
        format!("Job {id} is still running."),
        "Wait for it with Wait-CsBackupJob, or stop it with Stop-CsBackupJob.",
    )
    .at("jobId", id)
}
