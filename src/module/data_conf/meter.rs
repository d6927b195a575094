//! Progress, told often enough to be watched and seldom enough to cost nothing.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::module::{Context, Progress};

/// Progress is not told more often than this.
const INTERVAL: Duration = Duration::from_millis(50);

/// Counts one activity, in which several threads may take part.
pub(super) struct Meter<'a> {
    context: &'a Context,
    state: Mutex<MeterState>,
}

struct MeterState {
    progress: Progress,
    told_at: Option<Duration>,
    is_watched: bool,
}

impl<'a> Meter<'a> {
    /// Begins an activity; its totals are none where they are not known yet.
    pub(super) fn begin(context: &'a Context, activity: &'static str, totals: Option<(u64, u64)>) -> Self {
        let progress = Progress {
            activity: activity.into(),
            items_total: totals.map(|(items, _)| items),
            bytes_total: totals.map(|(_, bytes)| bytes),
            ..Progress::default()
        };
        let meter =
            Meter { context, state: Mutex::new(MeterState { progress, told_at: None, is_watched: true }) };
        meter.count(|_| {});
        meter
    }

    /// Counts what nobody is told about.
    pub(super) fn unwatched(context: &'a Context) -> Self {
        let state = MeterState { progress: Progress::default(), told_at: None, is_watched: false };
        Meter { context, state: Mutex::new(state) }
    }

    /// Sets how many items are done.
    pub(super) fn items(&self, done: u64) {
        self.count(|progress| progress.items_done = done);
    }

    /// Counts an item.
    pub(super) fn item(&self) {
        self.count(|progress| progress.items_done += 1);
    }

    /// Counts bytes.
    pub(super) fn bytes(&self, count: u64) {
        self.count(|progress| progress.bytes_done = progress.bytes_done.saturating_add(count));
    }

    /// Takes back bytes that have to be read again.
    pub(super) fn take_back(&self, count: u64) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.progress.bytes_done = state.progress.bytes_done.saturating_sub(count);
    }

    /// Tells where the activity ended.
    pub(super) fn end(&self) {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        self.context.observer.progress(state.progress.clone());
    }

    fn count(&self, count: impl FnOnce(&mut Progress)) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        count(&mut state.progress);
        if !state.is_watched {
            return;
        }
        let now = self.context.clock.monotonic();
        if state.told_at.is_none_or(|told| now.saturating_sub(told) >= INTERVAL) {
            state.told_at = Some(now);
            self.context.observer.progress(state.progress.clone());
        }
    }
}
