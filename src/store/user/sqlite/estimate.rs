//! How many rows tables have, as far as that can be said in an instant.

use rusqlite::Connection;

use super::schema::{Order, Table};
use crate::store::sqlite::quote;

/// How many rows of a table without rowids are counted: more would keep the server from committing for too long.
const COUNTED_ROWS: u64 = 10_000;

/// Roughly how many rows some tables have, cheaply. Nothing where a table without rowids has more than are counted in an
/// instant.
pub(super) fn row_estimate<'t>(
    connection: &Connection,
    tables: impl Iterator<Item = &'t Table>,
) -> rusqlite::Result<Option<u64>> {
    let most = most_rows(connection)?;
    let mut total: u64 = 0;
    for table in tables {
        let rows = rows_of_table(connection, table, most)?;
        if !matches!(table.order, Order::Rowid(_)) && rows >= COUNTED_ROWS {
            return Ok(None);
        }
        total += rows;
    }
    Ok(Some(total.min(most)))
}

/// How many rows tables have at least, for plans.
pub(super) fn row_count(connection: &Connection, tables: &[Table]) -> rusqlite::Result<u64> {
    let most = most_rows(connection)?;
    tables.iter().map(|table| rows_of_table(connection, table, most)).sum()
}

/// No database has more rows than bytes.
fn most_rows(connection: &Connection) -> rusqlite::Result<u64> {
    let pragma = |name| connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
    Ok(pragma("page_count")?.unsigned_abs() * pragma("page_size")?.unsigned_abs())
}

/// The span of rowids, which may lie as far apart as numbers go, or a count that ends somewhere where there are none.
fn rows_of_table(connection: &Connection, table: &Table, most: u64) -> rusqlite::Result<u64> {
    let name = quote(&table.name);
    match &table.order {
        Order::Rowid(alias) => {
            let sql = format!("SELECT (SELECT min({alias}) FROM {name}), (SELECT max({alias}) FROM {name})");
            let ends = |row: &rusqlite::Row<'_>| {
                Ok(row.get::<_, Option<i64>>(0)?.zip(row.get::<_, Option<i64>>(1)?))
            };
            let ends = connection.query_row(&sql, [], ends)?;
            Ok(ends.map_or(0, |(first, last)| last.abs_diff(first).saturating_add(1).min(most)))
        }
        Order::PrimaryKey(_) | Order::Unordered => {
            let sql = format!("SELECT count(*) FROM (SELECT 1 FROM {name} LIMIT {COUNTED_ROWS})");
            connection.query_row(&sql, [], |row| row.get::<_, i64>(0)).map(i64::unsigned_abs)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::with_source;
    use super::*;

    /// Estimates a table of rowids and one without.
    fn estimate(fill: &str) -> Option<u64> {
        let schema = format!(
            "CREATE TABLE users (id INTEGER PRIMARY KEY);
             CREATE TABLE contacts (owner TEXT PRIMARY KEY) WITHOUT ROWID; {fill}"
        );
        let mut estimated = None;
        with_source(&schema, |source, _| {
            let tables = &source.capture.schema.tables;
            estimated = row_estimate(source.connection, tables.iter()).unwrap();
            let counted = row_count(source.connection, tables).unwrap();
            assert!(estimated.is_none_or(|rows| rows <= counted), "{estimated:?} of {counted}");
        });
        estimated
    }

    fn numbers(table: &str, upto: u64) -> String {
        format!(
            "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {upto}) INSERT INTO {table} SELECT i FROM n;"
        )
    }

    #[test]
    fn rowids_are_estimated_by_their_span_and_other_rows_counted_as_long_as_that_takes_an_instant() {
        assert_eq!(estimate(""), Some(0));
        assert_eq!(
            estimate("INSERT INTO users VALUES (5), (7); INSERT INTO contacts VALUES ('a'), ('b')"),
            Some(5)
        );
        assert_eq!(estimate(&numbers("users", COUNTED_ROWS)), Some(COUNTED_ROWS));
        assert_eq!(estimate(&numbers("contacts", COUNTED_ROWS - 1)), Some(COUNTED_ROWS - 1));
        assert_eq!(estimate(&numbers("contacts", COUNTED_ROWS)), None);
    }

    #[test]
    fn there_are_no_more_rows_than_bytes() {
        let schema = "PRAGMA page_size = 4096; CREATE TABLE users (id INTEGER PRIMARY KEY);
                      INSERT INTO users VALUES (-9000000000000000000), (9000000000000000000)";
        with_source(schema, |source, _| {
            let bytes = std::fs::metadata(source.path).unwrap().len();
            let tables = source.capture.schema.tables.iter();
            assert_eq!(row_estimate(source.connection, tables).unwrap(), Some(bytes));
        });
    }
}
