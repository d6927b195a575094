//! Digests of a table's rows, added up so that two copies of it can be compared in constant memory and in any order.

use std::hash::{DefaultHasher, Hasher};

use rusqlite::types::ValueRef;

use super::datum::{Datum, Row};
use super::schema::Table;
use super::walk::Walk;

/// How many sums a table's rows are divided among: few enough to be kept for both sides, so many that what lies beside
/// a wrong row is a small part of a large table.
pub(super) const BUCKETS: usize = 1 << 16;

/// What one row adds.
#[derive(Clone, Copy)]
pub(super) struct RowDigest {
    /// By the key, so that all rows of a key add to the same sum.
    pub(super) bucket: u16,
    /// Of all values.
    pub(super) sum: u128,
    /// What the key takes in memory, roughly.
    pub(super) weight: u32,
}

/// The sums of a table at one side. Adding is free of order: the two sides may hold their rows in different ones.
pub(super) struct Buckets {
    sums: Vec<u128>,
    weights: Vec<u64>,
    pub(super) rows: u64,
}

impl Buckets {
    pub(super) fn new() -> Self {
        Buckets { sums: vec![0; BUCKETS], weights: vec![0; BUCKETS], rows: 0 }
    }

    pub(super) fn add(&mut self, row: RowDigest) {
        let at = usize::from(row.bucket);
        if let (Some(sum), Some(weight)) = (self.sums.get_mut(at), self.weights.get_mut(at)) {
            *sum = sum.wrapping_add(row.sum);
            *weight += u64::from(row.weight);
        }
        self.rows += 1;
    }

    /// The buckets whose sums differ, in groups whose keys take no more than this together; a bucket that takes more
    /// by itself is a group of its own.
    pub(super) fn differing(&self, other: &Buckets, limit: u64) -> Vec<Vec<u16>> {
        let mut groups: Vec<Vec<u16>> = Vec::new();
        let mut weight = 0;
        let sides = self.sums.iter().zip(&self.weights).zip(other.sums.iter().zip(&other.weights));
        for (bucket, ((a, a_weight), (b, b_weight))) in (0..=u16::MAX).zip(sides) {
            if a == b && a_weight == b_weight {
                continue;
            }
            let more = a_weight + b_weight;
            match groups.last_mut() {
                Some(group) if weight + more <= limit => {
                    group.push(bucket);
                    weight += more;
                }
                _ => {
                    groups.push(vec![bucket]);
                    weight = more;
                }
            }
        }
        groups
    }
}

/// How the rows of one table are read and digested.
pub(super) struct Digester {
    pub(super) walk: Walk,
    /// Where the key's values stand among those that are read.
    key_at: Vec<usize>,
    /// How many of the values that are read are the row's.
    width: usize,
}

impl Digester {
    pub(super) fn new(table: &Table) -> Self {
        let mut columns = table.columns.clone();
        let mut key_at = Vec::new();
        for name in &table.key {
            // A generated column is not stored, but may be named as a key.
            let at = columns.iter().position(|column| column == name).unwrap_or(columns.len());
            if at == columns.len() {
                columns.push(name.clone());
            }
            key_at.push(at);
        }
        Digester { walk: Walk::new(table, &columns), key_at, width: table.columns.len() }
    }

    /// The digest of a row; the buffer is only there to be used again.
    pub(super) fn digest(
        &self,
        row: &rusqlite::Row<'_>,
        buffer: &mut Vec<u8>,
    ) -> rusqlite::Result<RowDigest> {
        let first = self.walk.order_width();
        buffer.clear();
        for at in &self.key_at {
            encode(row.get_ref(first + at)?, buffer);
        }
        let mut hasher = DefaultHasher::new();
        hasher.write(buffer);
        let weight = u32::try_from(buffer.len()).unwrap_or(u32::MAX).saturating_add(KEY_OVERHEAD);
        let bucket = u16::from_le_bytes(first_bytes(&hasher.finish().to_le_bytes()));
        buffer.clear();
        for at in 0..self.width {
            encode(row.get_ref(first + at)?, buffer);
        }
        Ok(RowDigest { bucket, sum: sum_of(buffer), weight })
    }

    /// The key of a row.
    pub(super) fn key(&self, row: &rusqlite::Row<'_>) -> rusqlite::Result<Row> {
        let first = self.walk.order_width();
        self.key_at.iter().map(|at| row.get::<_, Datum>(first + at)).collect()
    }
}

/// What a key that is kept takes besides its bytes: the values, their list, the digest of its row, the map's entry.
const KEY_OVERHEAD: u32 = 160;

/// A key as it is digested.
pub(super) fn encoded(key: &[Datum]) -> Vec<u8> {
    let mut bytes = Vec::new();
    key.iter().for_each(|value| encode(value.value(), &mut bytes));
    bytes
}

/// A value with its storage class and, where it has no fixed length, its length: no two rows are written alike.
pub(super) fn encode(value: ValueRef<'_>, into: &mut Vec<u8>) {
    let mut sized = |class: u8, bytes: &[u8]| {
        into.push(class);
        into.extend_from_slice(&(bytes.len() as u64).to_le_bytes());
        into.extend_from_slice(bytes);
    };
    match value {
        ValueRef::Null => into.push(0),
        ValueRef::Integer(value) => {
            into.push(1);
            into.extend_from_slice(&value.to_le_bytes());
        }
        ValueRef::Real(value) => {
            into.push(2);
            into.extend_from_slice(&value.to_bits().to_le_bytes());
        }
        ValueRef::Text(bytes) => sized(3, bytes),
        ValueRef::Blob(bytes) => sized(4, bytes),
    }
}

/// What an encoded row adds.
pub(super) fn sum_of(encoded: &[u8]) -> u128 {
    u128::from_le_bytes(first_bytes(blake3::hash(encoded).as_bytes()))
}

fn first_bytes<const N: usize>(bytes: &[u8]) -> [u8; N] {
    let mut first = [0; N];
    first.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
    first
}

#[cfg(test)]
mod tests {
    use super::super::testing::with_source;
    use super::*;

    fn row(bucket: u16, sum: u128, weight: u32) -> RowDigest {
        RowDigest { bucket, sum, weight }
    }

    fn buckets(rows: &[RowDigest]) -> Buckets {
        let mut buckets = Buckets::new();
        rows.iter().for_each(|row| buckets.add(*row));
        buckets
    }

    #[test]
    fn the_order_of_rows_does_not_matter_and_their_number_does() {
        let (a, b) = (row(7, u128::MAX, 10), row(7, 12, 10));
        let none: Vec<Vec<u16>> = Vec::new();
        assert_eq!(buckets(&[a, b]).differing(&buckets(&[b, a]), 1000), none);
        assert_eq!(buckets(&[a, b]).differing(&buckets(&[a, b, b]), 1000), [[7]]);
        assert_eq!(buckets(&[row(7, 0, 10)]).differing(&buckets(&[]), 1000), [[7]]);
    }

    #[test]
    fn groups_take_no_more_memory_than_they_may_unless_one_bucket_does() {
        let rows: Vec<RowDigest> = [(1, 30), (2, 30), (3, 40), (4, 200), (5, 40), (9, 60), (u16::MAX, 1)]
            .map(|(b, w)| row(b, 1, w))
            .to_vec();
        let groups = buckets(&rows).differing(&buckets(&[]), 100);
        assert_eq!(groups, [vec![1, 2, 3], vec![4], vec![5, 9], vec![u16::MAX]]);
    }

    #[test]
    fn no_two_rows_are_written_alike() {
        let text = |text: &str| Datum::Text(text.into());
        let rows = [
            vec![Datum::Null],
            vec![Datum::Integer(0)],
            vec![Datum::Real(0.0)],
            vec![Datum::Real(-0.0)],
            vec![text("")],
            vec![text("0")],
            vec![Datum::Blob(b"0".to_vec())],
            vec![text("ab"), text("c")],
            vec![text("a"), text("bc")],
            vec![text("abc")],
            vec![text("a\0b")],
            vec![Datum::Null, Datum::Null],
        ];
        let written: std::collections::BTreeSet<Vec<u8>> = rows.iter().map(|row| encoded(row)).collect();
        assert_eq!(written.len(), rows.len());
    }

    #[test]
    fn the_bucket_of_a_row_is_that_of_its_key_wherever_it_is_stored_and_whatever_else_it_holds() {
        with_source("CREATE TABLE t (v, k TEXT PRIMARY KEY)", |source, _| {
            let digester = Digester::new(source.capture.schema.table("t").unwrap());
            let digest_of = |row: &str| {
                let sql = format!("DELETE FROM t; INSERT INTO t (rowid, v, k) VALUES {row}");
                source.connection.execute_batch(&sql).unwrap();
                let mut digests = Vec::new();
                let visit = |row: &rusqlite::Row<'_>| {
                    digests.push(digester.digest(row, &mut Vec::new())?);
                    Ok(())
                };
                digester.walk.slice(source.connection, &None, visit).unwrap();
                (digests[0].bucket, digests[0].sum)
            };
            let (first, moved, changed) =
                (digest_of("(1, 'a', 'k')"), digest_of("(50, 'a', 'k')"), digest_of("(1, 'b', 'k')"));
            assert_eq!(first, moved);
            assert!(first.0 == changed.0 && first.1 != changed.1);
            assert_ne!(first.0, digest_of("(1, 'a', 'l')").0);
        });
    }
}
