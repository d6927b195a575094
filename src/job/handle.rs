//! A job of this process, as whoever started it sees it.

use std::sync::{Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::events::EventLog;
use crate::report::{Outcome, Report};
use crate::store::files::Lines;
use crate::topology::PoolFqdn;

/// A job of this process.
pub struct Job {
    /// Unique for ever.
    pub id: Uuid,
    /// The command, as administrators know it.
    pub command: &'static str,
    /// The pool it is about.
    pub pool: PoolFqdn,
    /// When it was started.
    pub started_at: Timestamp,
    /// What it tells while it runs.
    pub events: EventLog,
    /// Set once somebody wants it to stop.
    pub cancel: CancellationToken,
    report: Mutex<Option<Report>>,
    /// What a job that only planned would change, by name: it keeps that nowhere else.
    names: Mutex<Lines>,
}

impl Job {
    /// A job that has not begun.
    pub fn new(command: &'static str, pool: PoolFqdn, started_at: Timestamp) -> Self {
        Job {
            id: Uuid::now_v7(),
            command,
            pool,
            started_at,
            events: EventLog::default(),
            cancel: CancellationToken::new(),
            report: Mutex::new(None),
            names: Mutex::new(Lines::nameless()),
        }
    }

    /// The report, once the job has ended.
    pub fn report(&self) -> Option<Report> {
        self.report.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What a job that only planned would change, each by name in a line of its own; nothing of other jobs.
    pub(crate) fn planned_names(&self) -> MutexGuard<'_, Lines> {
        self.names.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn finish(&self, report: Report) {
        *self.report.lock().unwrap_or_else(PoisonError::into_inner) = Some(report);
    }

    /// The state, as documents spell it.
    pub fn state(&self) -> &'static str {
        let outcome: Option<Outcome> =
            self.report.lock().unwrap_or_else(PoisonError::into_inner).as_ref().map(|report| report.outcome);
        match outcome {
            Some(outcome) => outcome.name(),
            None if self.cancel.is_cancelled() => "Cancelling",
            None if self.events.is_empty() => "Queued",
            None => "Running",
        }
    }
}
