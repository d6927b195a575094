//! What a job notes in the journal, and what it finds there of a job that was killed.

use std::sync::Arc;

use super::Run;
use crate::error::{ErrorKind, Result};
use crate::job::events::EventKind;
use crate::job::lease::HeldLease;
use crate::job::step::{Step, noted};
use crate::store::Until;
use crate::store::leases::journal::NotedStep;
use crate::store::leases::{self, Lease};

impl Run {
    /// Notes that the steps of a lease begin; the ids of those that an earlier job has done, which was killed later.
    pub(super) async fn begin_list(
        &mut self,
        held: &HeldLease,
        steps: &[(usize, Arc<dyn Step>)],
    ) -> Result<Vec<String>> {
        let resumable: Vec<NotedStep> = steps
            .iter()
            .filter(|(_, step)| step.resumes())
            .map(|(index, step)| noted(*index, step.as_ref()))
            .collect();
        let (now, command) = (self.work.environment.clock.now(), self.work.job.command);
        let begin = move |leases: &dyn leases::Leases, lease: &Lease, until: &Until| {
            leases.begin_list(lease, command, &resumable, now, until)
        };
        let resumed = held.with_store(Some(&self.work.job.cancel), begin).await?;
        let Some(resumed) = resumed else { return Ok(Vec::new()) };
        let done = format!("Job {} has done it, before its process died.", resumed.job_id);
        for step in self.steps.iter_mut().filter(|step| resumed.done.contains(&step.id)) {
            step.details.push(done.clone());
        }
        Ok(resumed.done)
    }

    pub(super) async fn end_list(&mut self) {
        let (outcome, now) = (self.outcome(), self.work.environment.clock.now());
        self.note(move |leases, lease, until| leases.end_list(lease, outcome, now, until)).await;
        self.work.held = None;
    }

    /// Notes what has happened already. Where that fails it is done once more after a kill, which is no failure.
    pub(super) async fn note(
        &self,
        write: impl FnOnce(&dyn leases::Leases, &Lease, &Until) -> Result<()> + Send + 'static,
    ) {
        let Some(held) = &self.work.held else { return };
        if let Err(error) = held.with_store(Some(&self.work.job.cancel), write).await
            && !matches!(error.kind, ErrorKind::Fenced | ErrorKind::Cancelled)
        {
            let message = format!("The journal could not be written. {error}");
            self.work.tell(EventKind::Warning { module: None, message });
        }
    }

    /// A job whose process died never wrote its report: whoever takes its lease over does.
    pub(super) fn mend_predecessor(&self, lease: &Lease) {
        if let Some(predecessor) = lease.taken_over_from {
            let environment = &self.work.environment;
            // Its record may be in another deployment's folder; then it is mended there.
            let _ = environment.records.read(predecessor, environment.clock.now());
        }
    }
}
