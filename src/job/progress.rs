//! From what a module says to what a host is told: thinned out, with rates and the time left.

use std::borrow::Cow;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::Job;
use super::events::EventKind;
use super::names::NameList;
use crate::clock::Clock;
use crate::module::{Observer, Progress};
use crate::report::{Change, ChangeKind};
use crate::store::remote::RemotePlace;

/// Hosts draw at most ten times a second.
const PAUSE: Duration = Duration::from_millis(100);
/// Before that, a rate is chance: the time left would begin with days.
const SETTLED: Duration = Duration::from_millis(500);

/// The observer of one step.
pub(super) struct StepObserver {
    pub(super) job: Arc<Job>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) step: String,
    pub(super) module: &'static str,
    /// That of its row in the report.
    pub(super) purpose: &'static str,
    pub(super) names: Arc<NameList>,
    pub(super) lines: Arc<LineCounts>,
    pub(super) activity: Mutex<Activity>,
}

/// The lines to the machines that a job reaches, and what had crossed them before it.
#[derive(Default)]
pub(super) struct LineCounts {
    places: Vec<Arc<RemotePlace>>,
    before: u64,
}

impl LineCounts {
    pub(super) fn of(places: Vec<Arc<RemotePlace>>) -> Self {
        let before = total(&places);
        LineCounts { places, before }
    }

    /// Bytes that have crossed them since, both ways; none where there is no other machine.
    fn crossed(&self) -> Option<u64> {
        (!self.places.is_empty()).then(|| total(&self.places).saturating_sub(self.before))
    }
}

fn total(places: &[Arc<RemotePlace>]) -> u64 {
    places.iter().map(|place| place.traffic()).map(|traffic| traffic.sent + traffic.received).sum()
}

/// What is under way in a step.
#[derive(Default)]
pub(super) struct Activity {
    name: Cow<'static, str>,
    began: Duration,
    told: Option<Duration>,
}

impl Observer for StepObserver {
    fn progress(&self, progress: Progress) {
        let now = self.clock.monotonic();
        let elapsed = {
            let mut activity = self.activity.lock().unwrap_or_else(PoisonError::into_inner);
            if activity.name != progress.activity {
                *activity = Activity { name: progress.activity.clone(), began: now, told: None };
            }
            if activity.told.is_some_and(|told| now.saturating_sub(told) < PAUSE) {
                return;
            }
            activity.told = Some(now);
            now.saturating_sub(activity.began)
        };
        self.job
            .events
            .push(self.clock.now(), event(&self.step, self.module, progress, elapsed, self.lines.crossed()));
    }

    fn warning(&self, message: String) {
        let module = Some(self.module.to_owned());
        self.job.events.push(self.clock.now(), EventKind::Warning { module, message });
    }

    fn changed(&self, kind: ChangeKind, change: &Change) {
        self.names.add(self.module, self.purpose, kind, change);
    }
}

fn event(
    step: &str,
    module: &str,
    progress: Progress,
    elapsed: Duration,
    line_bytes: Option<u64>,
) -> EventKind {
    let settled = elapsed >= SETTLED;
    let per_second = |done: u64| if settled { done as f64 / elapsed.as_secs_f64() } else { 0.0 };
    let left = |done: u64, total: Option<u64>| {
        let left = total?.checked_sub(done)?;
        (settled && done > 0).then(|| elapsed.as_secs_f64() * 1000.0 * left as f64 / done as f64)
    };
    // Where bytes are known they tell more about the time left than items of unlike sizes.
    let time_left = left(progress.bytes_done, progress.bytes_total)
        .or_else(|| left(progress.items_done, progress.items_total));
    EventKind::Progress {
        step: step.to_owned(),
        module: module.to_owned(),
        activity: progress.activity.into_owned(),
        items_done: progress.items_done,
        items_total: progress.items_total,
        bytes_done: progress.bytes_done,
        bytes_total: progress.bytes_total,
        items_per_second: per_second(progress.items_done),
        bytes_per_second: per_second(progress.bytes_done),
        time_left_ms: time_left.map(|ms| ms as u64),
        line_bytes,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_left_follows_the_rate() {
        let progress =
            Progress { activity: "a".into(), items_done: 25, items_total: Some(100), ..Progress::default() };
        let EventKind::Progress { items_per_second, time_left_ms, .. } =
            event("s", "m", progress, Duration::from_secs(5), None)
        else {
            panic!()
        };
        assert_eq!((items_per_second, time_left_ms), (5.0, Some(15_000)));
    }

    #[test]
    fn nothing_done_or_an_estimate_that_was_too_low_tells_no_time() {
        for (items_done, items_total) in [(0, Some(10)), (11, Some(10)), (1, None)] {
            let progress = Progress { activity: "a".into(), items_done, items_total, ..Progress::default() };
            let EventKind::Progress { time_left_ms, .. } =
                event("s", "m", progress, Duration::from_secs(5), None)
            else {
                panic!()
            };
            assert_eq!(time_left_ms, None);
        }
    }

    #[test]
    fn the_first_moments_tell_neither_rate_nor_time() {
        for elapsed in [Duration::ZERO, Duration::from_millis(300)] {
            let progress = Progress {
                activity: "a".into(),
                items_done: 1,
                items_total: Some(1_000_000),
                bytes_done: 10,
                bytes_total: Some(1 << 40),
            };
            let EventKind::Progress { items_per_second, bytes_per_second, time_left_ms, .. } =
                event("s", "m", progress, elapsed, None)
            else {
                panic!()
            };
            assert_eq!((items_per_second, bytes_per_second, time_left_ms), (0.0, 0.0, None));
        }
    }
}
