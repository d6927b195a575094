//! One value of one row, exactly as SQLite stores it.

use std::hash::{Hash, Hasher};

use rusqlite::types::{FromSql, FromSqlResult, ToSql, ToSqlOutput, ValueRef};

/// A value with its storage class. Text is bytes: SQLite does not check that it is UTF-8, so neither may we.
#[derive(Clone, Debug)]
pub(super) enum Datum {
    Null,
    Integer(i64),
    Real(f64),
    Text(Vec<u8>),
    Blob(Vec<u8>),
}

const TWO_TO_63: f64 = 9_223_372_036_854_775_808.0;

/// A row, or the values of a key.
pub(super) type Row = Vec<Datum>;

impl Datum {
    /// How many bytes the value takes, roughly.
    pub(super) fn size(&self) -> u64 {
        match self {
            Datum::Null => 1,
            Datum::Integer(_) | Datum::Real(_) => 8,
            Datum::Text(bytes) | Datum::Blob(bytes) => bytes.len() as u64,
        }
    }

    /// The integer that a number is worth, if it is one.
    fn as_integer(&self) -> Option<i64> {
        match self {
            Datum::Integer(value) => Some(*value),
            // The bounds are powers of two, so this conversion is exact; i64::MAX is not, and no such real is equal to it.
            Datum::Real(value) if value.fract() == 0.0 && (-TWO_TO_63..TWO_TO_63).contains(value) =>
            {
                #[allow(clippy::cast_possible_truncation)]
                Some(*value as i64)
            }
            _ => None,
        }
    }

    /// The value as SQLite passes it.
    pub(super) fn value(&self) -> ValueRef<'_> {
        match self {
            Datum::Null => ValueRef::Null,
            Datum::Integer(value) => ValueRef::Integer(*value),
            Datum::Real(value) => ValueRef::Real(*value),
            Datum::Text(bytes) => ValueRef::Text(bytes),
            Datum::Blob(bytes) => ValueRef::Blob(bytes),
        }
    }

    /// The value as people see it in reports, shortened.
    pub(super) fn display(&self) -> String {
        match self {
            Datum::Null => "NULL".to_owned(),
            Datum::Integer(value) => value.to_string(),
            Datum::Real(value) => value.to_string(),
            Datum::Text(bytes) => String::from_utf8_lossy(bytes).chars().take(80).collect(),
            Datum::Blob(bytes) => format!("a BLOB of {} bytes", bytes.len()),
        }
    }
}

/// As SQLite compares values without a collation: numbers by what they are worth, whatever their storage class.
impl PartialEq for Datum {
    fn eq(&self, other: &Self) -> bool {
        match (self.as_integer(), other.as_integer()) {
            (Some(a), Some(b)) => return a == b,
            (None, None) => {}
            _ => return false,
        }
        match (self, other) {
            (Datum::Null, Datum::Null) => true,
            (Datum::Real(a), Datum::Real(b)) => a.to_bits() == b.to_bits(),
            (Datum::Text(a), Datum::Text(b)) | (Datum::Blob(a), Datum::Blob(b)) => a == b,
            _ => false,
        }
    }
}

impl Eq for Datum {}

impl Hash for Datum {
    fn hash<H: Hasher>(&self, state: &mut H) {
        if let Some(value) = self.as_integer() {
            return value.hash(state);
        }
        std::mem::discriminant(self).hash(state);
        match self {
            Datum::Null | Datum::Integer(_) => {}
            Datum::Real(value) => value.to_bits().hash(state),
            Datum::Text(bytes) | Datum::Blob(bytes) => bytes.hash(state),
        }
    }
}

impl FromSql for Datum {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        Ok(match value {
            ValueRef::Null => Datum::Null,
            ValueRef::Integer(value) => Datum::Integer(value),
            ValueRef::Real(value) => Datum::Real(value),
            ValueRef::Text(bytes) => Datum::Text(bytes.to_vec()),
            ValueRef::Blob(bytes) => Datum::Blob(bytes.to_vec()),
        })
    }
}

impl ToSql for Datum {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(self.value()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_storage_class_survives_a_round_trip() {
        let connection = rusqlite::Connection::open_in_memory().unwrap();
        connection.execute_batch("CREATE TABLE t (v)").unwrap();
        let values = [
            Datum::Null,
            Datum::Integer(i64::MIN),
            Datum::Real(f64::INFINITY),
            Datum::Text(b"a\0b\xff".to_vec()),
            Datum::Blob(vec![0, 255]),
            Datum::Text(Vec::new()),
            Datum::Blob(Vec::new()),
        ];
        for value in values {
            connection.execute("DELETE FROM t", []).unwrap();
            connection.execute("INSERT INTO t VALUES (?1)", [&value]).unwrap();
            let back: Datum = connection.query_row("SELECT v FROM t", [], |row| row.get(0)).unwrap();
            assert_eq!(back, value);
            assert_eq!(std::mem::discriminant(&back), std::mem::discriminant(&value));
        }
    }

    #[test]
    fn numbers_are_equal_where_sqlite_says_so() {
        let connection = rusqlite::Connection::open_in_memory().unwrap();
        let values = [
            Datum::Integer(i64::MAX),
            Datum::Integer(i64::MIN),
            Datum::Integer(0),
            Datum::Integer(9_007_199_254_740_993),
            Datum::Real(9_007_199_254_740_992.0),
            Datum::Real(9_223_372_036_854_775_807.0),
            Datum::Real(-9_223_372_036_854_775_808.0),
            Datum::Real(-0.0),
            Datum::Real(0.5),
            Datum::Real(f64::NEG_INFINITY),
            Datum::Text(b"0".to_vec()),
            Datum::Blob(b"0".to_vec()),
            Datum::Null,
        ];
        for a in &values {
            for b in &values {
                let equal: bool = connection.query_row("SELECT ?1 IS ?2", [a, b], |row| row.get(0)).unwrap();
                assert_eq!(a == b, equal, "{a:?} {b:?}");
            }
        }
    }

    #[test]
    fn equal_values_have_one_hash_and_most_others_another() {
        let hash = |value: &Datum| {
            let mut hasher = std::hash::DefaultHasher::new();
            value.hash(&mut hasher);
            hasher.finish()
        };
        assert_eq!(hash(&Datum::Integer(7)), hash(&Datum::Real(7.0)));
        let values: Vec<Datum> = (0..50_u8)
            .flat_map(|n| {
                [
                    Datum::Integer(n.into()),
                    Datum::Real(f64::from(n) + 0.5),
                    Datum::Text(vec![n]),
                    Datum::Blob(vec![n]),
                ]
            })
            .collect();
        let hashes: std::collections::BTreeSet<u64> = values.iter().map(hash).collect();
        assert_eq!(hashes.len(), values.len());
    }
}
