//! How long earlier states are kept: all of the last hour, one a minute for a day, one an hour as long as the limits say. What is between
//! them is merged, so that no state that stays loses a page.

use jiff::{SignedDuration, Timestamp};

use super::Standby;
use super::history::Link;
use crate::error::Result;
use crate::store::history_full;
use crate::topology::HistoryLimits;

/// How many entries one run merges: the rest waits for the next one.
const MOST_AT_ONCE: usize = 8;

/// Two neighbours, the newer and the older, of which the newer can go; none where all may stay.
fn surplus(chain: &[Link], now: Timestamp) -> Option<(usize, usize)> {
    let slot = |entry: &Link| {
        let age = now.duration_since(entry.at);
        let each = if age <= SignedDuration::from_hours(1) {
            return None;
        } else if age <= SignedDuration::from_hours(24) {
            60
        } else {
            3_600
        };
        Some((each, entry.at.as_second().div_euclid(each)))
    };
    // The oldest of a slot stays: merging keeps the older state of two.
    let is_surplus = |pair: &[Link]| slot(&pair[0]).is_some() && slot(&pair[0]) == slot(&pair[1]);
    chain.windows(2).position(is_surplus).map(|at| (at, at + 1))
}

impl Standby {
    /// Thins the history, and removes what is older or takes more room than the limits say. That it cannot be done is a warning.
    pub(super) fn thin_history(&self, current: u32, now: Timestamp, warnings: &mut Vec<String>) {
        if let Err(error) = self.thin(current, &self.limits, now) {
            warnings.push(format!("The history could not be thinned: {}", error.message));
        }
    }

    fn thin(&self, current: u32, limits: &HistoryLimits, now: Timestamp) -> Result<()> {
        let history = self.history();
        let mut chain = history.remove_stray(current)?;
        for _ in 0..MOST_AT_ONCE {
            let Some((newer, older)) = surplus(&chain, now) else { break };
            chain[older] = history.merge(&chain[older], &chain[newer])?;
            chain.remove(newer);
        }
        while let Some(oldest) = chain.last().filter(|oldest| now.duration_since(oldest.at) > limits.keep) {
            history.remove(oldest)?;
            chain.pop();
        }
        let store = std::fs::metadata(self.path()).map_or(0, |metadata| metadata.len());
        let most = limits.max.bytes(store);
        let mut size: u64 = chain.iter().map(|entry| history.size(entry)).sum();
        while size > most && chain.len() > 1 {
            // Merging the oldest two keeps the reach of the history; dropping one is the last resort.
            let (older, newer) = (&chain[chain.len() - 1], &chain[chain.len() - 2]);
            let before = history.size(older) + history.size(newer);
            let merged = history.merge(older, newer)?;
            let saved = before.saturating_sub(history.size(&merged));
            size -= saved.min(size);
            chain.truncate(chain.len() - 2);
            chain.push(merged);
            if saved == 0 {
                break;
            }
        }
        // Where nothing may go before its time the next sync is refused instead.
        while size > most
            && !limits.is_strict
            && let Some(oldest) = chain.pop()
        {
            size = size.saturating_sub(history.size(&oldest));
            history.remove(&oldest)?;
        }
        Ok(())
    }

    /// Refuses to change a copy whose history has no room left, where none of it may go before its time.
    ///
    /// # Errors
    /// `HistoryFull`; when the history cannot be listed.
    pub(super) fn require_room_in_history(&self, current: u32) -> Result<()> {
        if !self.limits.is_strict {
            return Ok(());
        }
        let history = self.history();
        let kept: u64 = history.list(current)?.iter().map(|entry| history.size(entry)).sum();
        let store = std::fs::metadata(self.path()).map_or(0, |metadata| metadata.len());
        let most = self.limits.max.bytes(store);
        if kept <= most { Ok(()) } else { Err(history_full(&self.path().display(), kept, most)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(revision: u32, at: Timestamp) -> Link {
        Link { revision, next: revision + 1, at, whole: false }
    }

    #[test]
    fn the_last_hour_stays_whole_a_day_by_minutes_and_the_rest_by_hours() {
        let now: Timestamp = "2026-11-30T12:00:00Z".parse().unwrap();
        let ago = |seconds: i64| now - SignedDuration::from_secs(seconds);
        // Newest first, thirty seconds apart, over two days.
        let mut chain: Vec<Link> = (0..5_760).map(|n| entry(6_000 - n, ago(i64::from(n) * 30))).collect();
        while let Some((newer, _)) = surplus(&chain, now) {
            chain.remove(newer);
        }
        let count = |from: i64, to: i64| {
            chain.iter().filter(|entry| (ago(to)..ago(from)).contains(&entry.at)).count()
        };
        assert_eq!(count(-1, 3_600), 121);
        assert_eq!(count(3_630, 86_400), (86_400 - 3_630) / 60 + 1);
        assert_eq!(count(86_400 + 3_600, 48 * 3_600), 23);
    }
}
