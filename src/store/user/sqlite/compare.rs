//! Comparing the standby with the source row by row, and replacing what differs.
//!
//! The standby stands at one position inside its transaction; the source is read in slices and goes on changing. So
//! the first pass adds up digests in buckets by key, which finds every difference in constant memory. A second one
//! looks only at the keys of buckets that differ. Of these, whatever the change log names since that position is not
//! wrong but new: replaying the log, which follows every comparison, brings it. What remains is replaced.

use std::collections::{BTreeSet, HashSet};
use std::path::Path;

use rusqlite::Connection;

use super::datum::Row;
use super::digest::{BUCKETS, Digester, encoded};
use super::import::Import;
use super::pair::Run;
use super::schema::{SchemaObject, Table};
use super::sides::{Keys, Told, at_both};
use super::source::is_damage_at;
use super::standby;
use super::start::Reason;
use crate::error::{Error, Result};
use crate::report::Verification;
use crate::store::sqlite::sqlite_error;

/// What the keys that are looked at together may take in memory, of both sides.
const GROUP_BYTES: u64 = 32 << 20;

/// A key and how many of its rows differ.
type Difference = (Row, u64);

impl Run<'_> {
    /// Compares every table and replaces the rows that differ; the standby holds everything up to this position.
    /// What changed at the source since then is to be replayed afterwards.
    pub(super) fn compare(
        &mut self,
        import: &mut Import<'_>,
        position: i64,
        reasons: &[Reason],
    ) -> Result<()> {
        let reasons = reasons.iter().map(Reason::sentence).collect();
        let mut found = Verification { reasons, ..Verification::default() };
        let schema = &self.source.capture.schema;
        let total = self.source.row_estimate(|_| true, self.work)?;
        for table in &schema.tables {
            // What a damaged table holds cannot be known: the copy keeps what it has of it.
            if import.damaged.contains(&table.name) {
                continue;
            }
            let told = Told { work: self.work, before: found.compared_items, total };
            match self.compare_table(import, table, position, &told, &mut found) {
                Err(error) if self.is_source_damage(&error) => {
                    self.copy_whole(import, &BTreeSet::from([table.name.clone()]))?;
                }
                done => done?,
            }
        }
        self.outcome.details.push(format!(
            "Compared {} rows of {} tables: {} differed.",
            found.compared_items,
            schema.tables.len(),
            found.differing_items
        ));
        if found.differing_items > 0 {
            self.outcome.warnings.push(found.warning("rows"));
        }
        self.outcome.verification.get_or_insert_default().add(&found);
        Ok(())
    }

    /// Says which objects of a standby that somebody else wrote to are not the user store's; they are going to be
    /// removed. Of a standby that nobody touched, they are what the server has dropped.
    pub(super) fn name_intruders(
        &mut self,
        standby: &Connection,
        path: &Path,
        wanted: &[SchemaObject],
    ) -> Result<()> {
        if !self.reasons.contains(&Reason::Touched) {
            return Ok(());
        }
        let present = self
            .source
            .capture
            .schema
            .objects_of(standby)
            .map_err(|cause| sqlite_error("read", path, &cause))?;
        let is_wanted = |name: &str| wanted.iter().any(|object| object.name == name);
        let intruders: Vec<String> = present
            .iter()
            .filter(|object| !is_wanted(&object.name))
            .map(|object| format!("{} {}", object.kind, object.name))
            .collect();
        if !intruders.is_empty() {
            self.outcome.warnings.push(format!(
                "The standby copy {} had what the user store has not, and it was removed: {}.",
                path.display(),
                intruders.join(", ")
            ));
        }
        Ok(())
    }

    /// Raises the fence again where it is not as it was raised.
    pub(super) fn mend_fence(
        &mut self,
        standby: &Connection,
        path: &Path,
        wanted: &[SchemaObject],
    ) -> Result<()> {
        let failed = |cause| sqlite_error("write the standby copy to", path, &cause);
        let breached = standby::breached(standby, wanted).map_err(failed)?;
        if breached.is_empty() {
            return Ok(());
        }
        standby::raise_fence(standby, wanted).map_err(failed)?;
        let tables = breached.into_iter().collect::<Vec<_>>().join(", ");
        self.outcome.warnings.push(format!(
            "The fence that keeps others from writing to the standby copy {} had been taken away from {tables}; it was raised again.",
            path.display()
        ));
        Ok(())
    }

    /// Whether a page of the source is damaged. Damage of the log says so again as soon as the log is replayed.
    pub(super) fn is_source_damage(&self, error: &Error) -> bool {
        is_damage_at(error, self.source.path)
    }

    fn compare_table(
        &mut self,
        import: &mut Import<'_>,
        table: &Table,
        position: i64,
        told: &Told<'_>,
        found: &mut Verification,
    ) -> Result<()> {
        let digester = Digester::new(table);
        let (theirs, ours) = at_both(self.source, import, told, |side| side.buckets(&digester))?;
        found.compared_items += theirs.rows;
        for group in theirs.differing(&ours, GROUP_BYTES) {
            let mut wanted = vec![false; BUCKETS];
            for bucket in group {
                wanted.iter_mut().skip(bucket.into()).take(1).for_each(|wanted| *wanted = true);
            }
            let (theirs, ours) = at_both(self.source, import, told, |side| side.keys(&digester, &wanted))?;
            let mut differences = differences(theirs, ours);
            self.leave_out_expected(import, table, position, &mut differences)?;
            self.repair(import, table, differences, found)?;
        }
        Ok(())
    }

    /// Leaves out the keys that the log names since the standby's position, and those that are in quarantine.
    fn leave_out_expected(
        &self,
        import: &Import<'_>,
        table: &Table,
        position: i64,
        differences: &mut Vec<Difference>,
    ) -> Result<()> {
        let quarantined = standby::quarantined(import.connection, table)
            .map_err(|cause| sqlite_error("read", import.path, &cause))?;
        differences.retain(|(key, _)| !quarantined.contains(key));
        if differences.is_empty() {
            return Ok(());
        }
        let mut changed = HashSet::new();
        let is_of_interest: HashSet<&Row> = differences.iter().map(|(key, _)| key).collect();
        let whole = self.source.logged_keys(table, position, self.work, |key| {
            if is_of_interest.contains(&key) {
                changed.insert(key);
            }
        })?;
        differences.retain(|(key, _)| !whole && !changed.contains(key));
        Ok(())
    }

    fn repair(
        &mut self,
        import: &mut Import<'_>,
        table: &Table,
        differences: Vec<Difference>,
        found: &mut Verification,
    ) -> Result<()> {
        let refused_before = import.quarantined.len();
        let rows = differences.iter().map(|(_, rows)| rows).sum::<u64>();
        let keys: Vec<Row> = differences.into_iter().map(|(key, _)| key).collect();
        self.replace_keys(import, table, &keys)?;
        let refused = import.quarantined.len().saturating_sub(refused_before) as u64;
        found.differ(&table.name, rows);
        found.repaired_items += rows.saturating_sub(refused);
        Ok(())
    }
}

/// The keys whose rows are not the same, in a fixed order.
fn differences(theirs: Keys, mut ours: Keys) -> Vec<Difference> {
    let mut found = Vec::new();
    for (key, rows) in theirs {
        let differing = unmatched(rows, ours.remove(&key).unwrap_or_default());
        if differing > 0 {
            found.push((key, differing));
        }
    }
    found.extend(ours.into_iter().map(|(key, rows)| (key, rows.len() as u64)));
    found.sort_by_cached_key(|(key, _)| encoded(key));
    found
}

/// How many rows of one list have no equal in the other; where both have some, one replaces the other.
fn unmatched(mut theirs: Vec<u128>, mut ours: Vec<u128>) -> u64 {
    let total = theirs.len().max(ours.len()) as u64;
    theirs.sort_unstable();
    ours.sort_unstable();
    let (mut theirs, mut ours) = (theirs.into_iter().peekable(), ours.into_iter().peekable());
    let mut matched = 0;
    while let (Some(a), Some(b)) = (theirs.peek(), ours.peek()) {
        match a.cmp(b) {
            std::cmp::Ordering::Less => drop(theirs.next()),
            std::cmp::Ordering::Greater => drop(ours.next()),
            std::cmp::Ordering::Equal => {
                matched += 1;
                theirs.next();
                ours.next();
            }
        }
    }
    total - matched
}

#[cfg(test)]
mod tests {
    use super::super::datum::Datum;
    use super::*;

    #[test]
    fn only_keys_whose_rows_differ_are_named_each_with_how_many_do() {
        let key = |number| vec![Datum::Integer(number)];
        let theirs = Keys::from([(key(1), vec![1]), (key(2), vec![5, 6]), (key(3), vec![7])]);
        let ours = Keys::from([(key(1), vec![1]), (key(2), vec![6]), (key(4), vec![8, 8])]);
        assert_eq!(differences(theirs, ours), [(key(2), 1), (key(3), 1), (key(4), 2)]);
    }
}
