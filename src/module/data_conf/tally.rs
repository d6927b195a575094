//! How much is pending, counted while stores are compared.

use jiff::Timestamp;

use super::walk::{Difference, Finder};
use crate::error::Result;
use crate::module::Observation;
use crate::store::content::{ContentPath, ObjectMeta};

/// Changes that the standby does not hold.
pub(super) struct Tally {
    items: u64,
    bytes: u64,
    oldest_ns: i64,
}

impl Default for Tally {
    fn default() -> Self {
        Tally { items: 0, bytes: 0, oldest_ns: i64::MAX }
    }
}

impl Tally {
    /// Counts a difference, unless it is one that only may be one.
    pub(super) fn count(&mut self, difference: &Difference) {
        match difference {
            Difference::Compare { is_real: false, .. } => {}
            Difference::Write { meta, .. } | Difference::Compare { meta, .. } => self.object(meta),
            Difference::Delete { .. } => self.items += 1,
        }
    }

    /// Counts an object that is to be written.
    pub(super) fn object(&mut self, meta: &ObjectMeta) {
        self.items += 1;
        self.bytes = self.bytes.saturating_add(meta.size);
        // The modification time of a file that was moved here may be years old; this one is not.
        self.oldest_ns = self.oldest_ns.min(meta.ctime_ns);
    }

    /// Counts an object that is to be deleted.
    pub(super) fn deletion(&mut self) {
        self.items += 1;
    }

    /// What is pending, as an observation of stores that have been paired before or not.
    pub(super) fn observation(&self, initialized: bool, batch_bytes: u64) -> Observation {
        Observation {
            refused: None,
            initialized,
            pending_items: self.items,
            pending_bytes: self.bytes,
            fits_one_batch: self.bytes <= batch_bytes,
            oldest_pending: Timestamp::from_nanosecond(i128::from(self.oldest_ns))
                .ok()
                .filter(|_| self.oldest_ns != i64::MAX),
            ..Observation::default()
        }
    }
}

impl Finder for Tally {
    fn difference(&mut self, _: ContentPath, difference: Difference) -> Result<()> {
        self.count(&difference);
        Ok(())
    }
}
