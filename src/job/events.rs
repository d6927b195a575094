//! What a job tells while it runs: a bounded list that hosts read from.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::report::{Outcome, Plan};

/// How many progress events are kept for a host that does not read; older ones are dropped and counted.
const PROGRESS_KEPT: usize = 100;

/// One thing that happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// Its place in the job's list, from 1.
    pub seq: u64,
    /// When.
    pub at: Timestamp,
    /// What.
    #[serde(flatten)]
    pub kind: EventKind,
}

/// What can happen.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum EventKind {
    /// The job began.
    Started {
        /// The command.
        command: String,
        /// The pool.
        pool_fqdn: String,
        /// What it is going to do.
        plan: Plan,
    },
    /// A step of the plan began.
    StepStarted {
        /// Its id.
        step: String,
        /// Its title.
        title: String,
        /// The module, where it belongs to one.
        module: Option<String>,
    },
    /// A step has come this far. The only event that may be dropped.
    Progress {
        /// Its id.
        step: String,
        /// The module.
        module: String,
        /// What is being done.
        activity: String,
        /// Items done.
        items_done: u64,
        /// Items there are, where that is known.
        items_total: Option<u64>,
        /// Bytes done.
        bytes_done: u64,
        /// Bytes there are, where that is known.
        bytes_total: Option<u64>,
        /// Items a second since the activity began.
        items_per_second: f64,
        /// Bytes a second since the activity began.
        bytes_per_second: f64,
        /// Time left at this rate, where it can be told.
        time_left_ms: Option<u64>,
        /// Bytes that crossed the lines to other machines since the job began, both ways; null where it reaches none.
        line_bytes: Option<u64>,
    },
    /// A module's state is another one than before.
    StateChanged {
        /// The module.
        module: String,
        /// `export` or `import`.
        half: String,
        /// The state before.
        from: String,
        /// The state now.
        to: String,
    },
    /// Something an administrator should know.
    Warning {
        /// The module, where it belongs to one.
        module: Option<String>,
        /// The sentence.
        message: String,
    },
    /// Something failed and is tried again after a pause.
    Retrying {
        /// The module, where it belongs to one.
        module: Option<String>,
        /// The coming attempt, from 2.
        attempt: u32,
        /// The pause.
        delay_ms: u64,
        /// Why.
        error: Error,
    },
    /// A step of the plan ended.
    StepFinished {
        /// Its id.
        step: String,
        /// The module, where it belongs to one.
        module: Option<String>,
        /// How.
        outcome: Outcome,
    },
    /// The job ended; nothing follows.
    Finished {
        /// How.
        outcome: Outcome,
        /// How long it took.
        duration_ms: u64,
    },
    /// Something that only a newer build tells.
    #[serde(other)]
    Unknown,
}

/// A job's events. Only progress is ever dropped.
#[derive(Default)]
pub struct EventLog {
    inner: Mutex<Inner>,
    changed: Condvar,
}

#[derive(Default)]
struct Inner {
    events: VecDeque<Event>,
    last_seq: u64,
    progress: usize,
    dropped: u64,
    finished: bool,
    abandoned: bool,
}

/// What a reader gets.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct EventBatch {
    /// Events after the asked one.
    pub events: Vec<Event>,
    /// The last event there is.
    pub last_seq: u64,
    /// How many were dropped since the job began.
    pub dropped: u64,
}

impl EventLog {
    /// Adds an event. After [`EventKind::Finished`] nothing is added any more.
    pub fn push(&self, at: Timestamp, kind: EventKind) {
        let mut inner = self.lock();
        if inner.finished {
            return;
        }
        inner.last_seq += 1;
        inner.finished = matches!(kind, EventKind::Finished { .. });
        if matches!(kind, EventKind::Progress { .. }) {
            inner.progress += 1;
            if inner.progress > PROGRESS_KEPT {
                let is_progress = |event: &Event| matches!(event.kind, EventKind::Progress { .. });
                if let Some(oldest) = inner.events.iter().position(is_progress) {
                    inner.events.remove(oldest);
                    inner.progress -= 1;
                    inner.dropped += 1;
                }
            }
        }
        let event = Event { seq: inner.last_seq, at, kind };
        inner.events.push_back(event);
        drop(inner);
        self.changed.notify_all();
    }

    /// Nobody runs the job any more: whoever waits for its end need not.
    pub fn abandon(&self) {
        self.lock().abandoned = true;
        self.changed.notify_all();
    }

    /// Events after `after_seq`, waiting up to `timeout` for the first one. Returns at once, and empty, when the job
    /// has ended or was abandoned and there is nothing more.
    pub fn wait(&self, after_seq: u64, timeout: Duration) -> EventBatch {
        let deadline = Instant::now() + timeout;
        let mut inner = self.lock();
        while inner.last_seq <= after_seq && !inner.finished && !inner.abandoned {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            inner = self.changed.wait_timeout(inner, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        EventBatch {
            events: inner.events.iter().filter(|event| event.seq > after_seq).cloned().collect(),
            last_seq: inner.last_seq,
            dropped: inner.dropped,
        }
    }

    /// Whether nothing happened yet.
    pub fn is_empty(&self) -> bool {
        self.lock().last_seq == 0
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn progress(items_done: u64) -> EventKind {
        EventKind::Progress {
            step: "s".into(),
            module: "m".into(),
            activity: "a".into(),
            items_done,
            items_total: None,
            bytes_done: 0,
            bytes_total: None,
            items_per_second: 0.0,
            bytes_per_second: 0.0,
            time_left_ms: None,
            line_bytes: None,
        }
    }

    #[test]
    fn only_progress_is_dropped_and_it_is_counted() {
        let log = EventLog::default();
        log.push(Timestamp::UNIX_EPOCH, EventKind::Warning { module: None, message: "w".into() });
        for i in 0..PROGRESS_KEPT as u64 + 7 {
            log.push(Timestamp::UNIX_EPOCH, progress(i));
        }
        let batch = log.wait(0, Duration::ZERO);
        assert_eq!(batch.dropped, 7);
        assert_eq!(batch.events.len(), PROGRESS_KEPT + 1);
        assert!(matches!(batch.events[0].kind, EventKind::Warning { .. }));
        assert_eq!(batch.last_seq, batch.events.last().unwrap().seq);
    }

    #[test]
    fn nothing_follows_the_end_and_a_reader_does_not_wait_for_it() {
        let log = EventLog::default();
        let end = || EventKind::Finished { outcome: Outcome::Succeeded, duration_ms: 1 };
        log.push(Timestamp::UNIX_EPOCH, end());
        log.push(Timestamp::UNIX_EPOCH, end());
        let started = Instant::now();
        let batch = log.wait(1, Duration::from_secs(30));
        assert!(started.elapsed() < Duration::from_secs(1));
        assert_eq!((batch.events.len(), batch.last_seq), (0, 1));
    }

    #[test]
    fn a_reader_does_not_wait_for_a_job_that_nobody_runs() {
        let log = std::sync::Arc::new(EventLog::default());
        let reader = std::thread::spawn({
            let log = std::sync::Arc::clone(&log);
            move || log.wait(0, Duration::from_secs(30))
        });
        let started = Instant::now();
        log.abandon();
        assert_eq!(reader.join().unwrap(), EventBatch::default());
        assert!(started.elapsed() < Duration::from_secs(5));
    }
}
