//! What is said of a job in the end, and kept of it on disk.

use std::sync::Arc;

use super::Run;
use crate::clock::milliseconds;
use crate::error::Result;
use crate::job::events::EventKind;
use crate::job::record::{JobRecord, interrupted};
use crate::job::step::{JobWork, outcome_of};
use crate::job::threads::blocking;
use crate::report::{HostInfo, Outcome, Report, SCHEMA_VERSION};
use crate::topology::PoolFqdn;

impl Run {
    /// Failures beat a cancellation, which beats warnings.
    pub(super) fn outcome(&self) -> Outcome {
        let of_rows = self.work.rows.iter().map(|row| match row.outcome() {
            // What was left out is no failure, but somebody should know.
            Outcome::Skipped if row.has_warnings() => Outcome::SucceededWithWarnings,
            outcome => outcome,
        });
        let of_errors = self.work.errors.iter().map(outcome_of);
        let of_warnings = self.work.warnings.iter().map(|_| Outcome::SucceededWithWarnings);
        let worst = of_rows.chain(of_errors).chain(of_warnings).max();
        worst.unwrap_or(Outcome::Succeeded).max(Outcome::Succeeded)
    }

    pub(super) async fn finish(mut self) {
        let (names_file, failure) = self.work.names.finish();
        if let Some(error) = failure {
            self.work.warnings.push(format!("Not everything that was changed could be named. {error}"));
        }
        let report = Report { names_file, ..self.report(self.outcome()) };
        if self.work.options.what_if {
            *self.work.job.planned_names() = self.work.names.take();
        }
        // Of a job that never knew its pool there is nothing to be found later.
        if self.partner.is_some()
            && !self.work.options.what_if
            && let Err(error) = self.write_record(true, report.clone()).await
        {
            let message = format!("{error} The report is kept in memory only.");
            self.work.tell(EventKind::Warning { module: None, message });
        }
        let finished = EventKind::Finished { outcome: report.outcome, duration_ms: report.duration_ms };
        self.work.job.finish(report);
        self.work.tell(finished);
    }

    pub(super) fn report(&self, outcome: Outcome) -> Report {
        let JobWork { job, environment, .. } = &self.work;
        Report {
            schema_version: SCHEMA_VERSION,
            job_id: job.id,
            command: job.command.to_owned(),
            request: self.operation.request.clone(),
            pool_fqdn: job.pool.to_string(),
            backup_pool_fqdn: self.partner.as_ref().map(PoolFqdn::to_string),
            outcome,
            what_if: self.work.options.what_if,
            started_at: job.started_at,
            finished_at: environment.clock.now(),
            duration_ms: milliseconds(environment.clock.monotonic().saturating_sub(self.began)),
            retries: self.work.retries,
            host: HostInfo {
                machine: environment.owner.machine.clone(),
                process_id: environment.owner.process_id,
                library_version: env!("CARGO_PKG_VERSION").to_owned(),
            },
            plan: self.plan.clone(),
            steps: if self.work.options.what_if { Vec::new() } else { self.steps.clone() },
            modules: self.work.rows.iter().map(|row| row.report()).collect(),
            removed: self.work.removed.clone(),
            names_file: None,
            warnings: self.work.warnings.clone(),
            errors: self.work.errors.clone(),
        }
    }

    /// What is to be said of this job should its process die before it can say anything itself.
    pub(super) fn report_of_a_dead_process(&self) -> Report {
        let owner = &self.work.environment.owner;
        Report { errors: vec![interrupted(&owner.machine, owner.process_id)], ..self.report(Outcome::Failed) }
    }

    pub(super) async fn write_record(&self, ended: bool, report: Report) -> Result<()> {
        let environment = Arc::clone(&self.work.environment);
        let record = JobRecord { owner: environment.owner.clone(), ended, report };
        blocking(move || environment.records.write(&record)).await
    }
}
