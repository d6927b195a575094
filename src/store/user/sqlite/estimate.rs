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
