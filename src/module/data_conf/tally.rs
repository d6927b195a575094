//! How much is pending, counted while stores are compared, and what was changed, by name.

use std::collections::HashSet;

use jiff::Timestamp;

use super::walk::ObjectDifference;
use crate::error::Result;
use crate::module::{Context, Observation};
use crate::report::{Change, ChangeKind, Changes, Moved};
use crate::store::content::index::ContentIndex;
use crate::store::content::{ContentPath, ObjectMeta};

/// Says by name that an object was changed, or that this was refused: to whoever watches, and to the report. Called once
/// for each change, when it was made.
pub(super) fn record(context: &Context, changes: &mut Changes, kind: ChangeKind, change: Change) {
    context.observer.changed(kind, &change);
    changes.note(kind, change);
}

/// A number with its noun: `1 object`, `12 objects`.
pub(super) fn counted(number: u64, one: &str, many: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { many })
}

/// Files of several names that became files of their own.
#[derive(Default)]
pub(super) struct Linked {
    /// Those of the batch, of which the index does not know yet.
    batch: HashSet<(u64, u64)>,
    copies: u64,
    bytes: u64,
}

impl Linked {
    /// Counts a file that has several names where it was copied under another one.
    pub(super) fn add(&mut self, index: &ContentIndex, path: &ContentPath, meta: &ObjectMeta) -> Result<()> {
        let is_new = self.batch.insert((meta.device, meta.inode));
        if !is_new || index.has_other_name(path, meta)? {
            self.copies += 1;
            self.bytes = self.bytes.saturating_add(meta.size);
        }
        Ok(())
    }

    /// The index knows the batch now.
    pub(super) fn batch_ended(&mut self) {
        self.batch.clear();
    }

    /// What is said of them, if there are any.
    pub(super) fn warning(&self) -> Option<String> {
        let names = counted(self.copies, "name", "names");
        (self.copies > 0).then(|| {
            format!(
                "Hard links are not kept: {names} more of files that have several became files of their own at the standby, \
                 which takes {} there.",
                in_units(self.bytes)
            )
        })
    }
}

/// A size for people: `512 bytes`, `1.5 MiB`.
fn in_units(bytes: u64) -> String {
    let units = [("TiB", 40), ("GiB", 30), ("MiB", 20), ("KiB", 10)];
    let Some((unit, shift)) = units.into_iter().find(|(_, shift)| bytes >> shift > 0) else {
        return counted(bytes, "byte", "bytes");
    };
    let tenths = (u128::from(bytes) * 10) >> shift;
    format!("{}.{} {unit}", tenths / 10, tenths % 10)
}

/// How many objects a sentence names.
const NAMED: usize = 10;

/// Objects of which a sentence names the first ones.
#[derive(Default)]
pub(super) struct Few {
    names: Vec<String>,
    more: u64,
}

impl Few {
    pub(super) fn add(&mut self, path: &ContentPath) {
        if self.names.len() < NAMED { self.names.push(path.to_string()) } else { self.more += 1 }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.names.is_empty()
    }
}

impl std::fmt::Display for Few {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.names.join(", "))?;
        if self.more > 0 { write!(f, " and {} more", self.more) } else { Ok(()) }
    }
}

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
    pub(super) fn count(&mut self, difference: &ObjectDifference) {
        match difference {
            ObjectDifference::Compare { is_real: false, .. } => {}
            ObjectDifference::Write { meta, .. } | ObjectDifference::Compare { meta, .. } => {
                self.object(meta)
            }
            ObjectDifference::Delete { .. } => self.deletions(1),
        }
    }

    /// Counts an object that is to be written.
    pub(super) fn object(&mut self, meta: &ObjectMeta) {
        self.items += 1;
        self.bytes = self.bytes.saturating_add(meta.size);
        // The modification time of a file that was moved here may be years old; this one is not.
        self.oldest_ns = self.oldest_ns.min(meta.ctime_ns);
    }

    /// Counts objects that only get another spelling.
    pub(super) fn renamed(&mut self, count: u64) {
        self.items += count;
    }

    /// Counts objects that are to be deleted.
    pub(super) fn deletions(&mut self, count: u64) {
        self.items += count;
    }

    /// What was pending, from what became of it.
    pub(super) fn counted(self, moved: &Moved, left: &Tally) -> Self {
        Tally {
            items: moved.items_written + moved.items_deleted + left.items,
            bytes: moved.bytes.saturating_add(left.bytes),
            oldest_ns: self.oldest_ns,
        }
    }

    /// What is pending, as an observation of stores that have been paired before or not.
    pub(super) fn observation(&self, initialized: bool, batch_bytes: u64) -> Observation {
        Observation {
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

#[cfg(test)]
mod tests {
    use super::in_units;

    #[test]
    fn sizes_are_said_in_their_units() {
        let said = [1, 1023, 1024, 1536 << 10, (1 << 30) - 1, 5 << 40].map(in_units);
        assert_eq!(said, ["1 byte", "1023 bytes", "1.0 KiB", "1.5 MiB", "1023.9 MiB", "5.0 TiB"]);
    }
}
