//! How long a read transaction is, and how much memory it takes.

use std::time::Instant;

use super::source::SLICE_TIME;

/// How many bytes of rows one slice may hold in memory.
const SLICE_BYTES: u64 = 8 << 20;

/// What one read transaction has taken so far.
pub(super) struct Taken {
    since: Instant,
    /// Of rows that are held in memory.
    pub(super) bytes: u64,
}

impl Taken {
    pub(super) fn nothing() -> Self {
        Taken { since: Instant::now(), bytes: 0 }
    }

    /// Whether that is as much as one read transaction may take.
    pub(super) fn is_enough(&self) -> bool {
        self.bytes >= SLICE_BYTES || self.since.elapsed() >= SLICE_TIME
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_read_transaction_takes_neither_more_memory_nor_more_time_than_it_may() {
        let long_ago = Instant::now().checked_sub(SLICE_TIME).unwrap();
        let soon = Instant::now() + Duration::from_secs(60);
        for (since, bytes, is_enough) in
            [(soon, SLICE_BYTES - 1, false), (soon, SLICE_BYTES, true), (long_ago, 0, true)]
        {
            assert_eq!(Taken { since, bytes }.is_enough(), is_enough);
        }
    }
}
