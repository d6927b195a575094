//! Progress, told often enough to be watched and seldom enough to cost nothing.

use std::time::Duration;

use crate::module::{Context, Progress};

/// Progress is not told more often than this.
const INTERVAL: Duration = Duration::from_millis(50);

/// Counts one activity.
pub(super) struct Meter<'a> {
    context: &'a Context,
    progress: Progress,
    told_at: Option<Duration>,
}

impl<'a> Meter<'a> {
    /// Begins an activity; its totals are none where they are not known yet.
    pub(super) fn begin(context: &'a Context, activity: &'static str, totals: Option<(u64, u64)>) -> Self {
        let progress = Progress {
            activity,
            items_total: totals.map(|(items, _)| items),
            bytes_total: totals.map(|(_, bytes)| bytes),
            ..Progress::default()
        };
        let mut meter = Meter { context, progress, told_at: None };
        meter.tell();
        meter
    }

    /// Sets how many items are done.
    pub(super) fn items(&mut self, done: u64) {
        self.progress.items_done = done;
        self.tell();
    }

    /// Counts an item.
    pub(super) fn item(&mut self) {
        self.items(self.progress.items_done + 1);
    }

    /// Counts bytes.
    pub(super) fn bytes(&mut self, count: u64) {
        self.progress.bytes_done = self.progress.bytes_done.saturating_add(count);
        self.tell();
    }

    /// Takes back bytes that have to be read again.
    pub(super) fn take_back(&mut self, count: u64) {
        self.progress.bytes_done = self.progress.bytes_done.saturating_sub(count);
    }

    /// Tells where the activity ended.
    pub(super) fn end(self) {
        self.context.observer.progress(self.progress);
    }

    fn tell(&mut self) {
        let now = self.context.clock.monotonic();
        if self.told_at.is_none_or(|told| now.saturating_sub(told) >= INTERVAL) {
            self.told_at = Some(now);
            self.context.observer.progress(self.progress.clone());
        }
    }
}
