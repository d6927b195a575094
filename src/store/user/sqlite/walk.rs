//! Walking through a table in pieces, in its own order.

use std::time::Instant;

use rusqlite::{Connection, params_from_iter};

use super::datum::Row;
use super::schema::Table;
use super::source::{Direction, RangePosition, SLICE_TIME, Span, range_query};

/// How many rows pass between two looks at the clock.
const ROWS_PER_LOOK: u32 = 32;

/// The statements that read a table's rows in its own order, from its beginning or from a position on. What they yield
/// is the position and then the columns that were asked for.
pub(super) struct Walk {
    from_start: String,
    from_position: String,
    order_width: usize,
}

impl Walk {
    pub(super) fn new(table: &Table, columns: &[String]) -> Self {
        let query = |after| {
            let rest = Span { after, ..Span::default() };
            range_query(table, columns, &rest, Direction::Up)
        };
        let order_width = table.order.terms().len();
        Walk { from_start: query(None), from_position: query(Some(Row::new())), order_width }
    }

    /// How many values precede the columns.
    pub(super) fn order_width(&self) -> usize {
        self.order_width
    }

    /// Shows the rows after a position until a slice's time is over; the position to go on
    /// from, or none at the table's end.
    pub(super) fn slice(
        &self,
        connection: &Connection,
        after: &RangePosition,
        mut visit: impl FnMut(&rusqlite::Row<'_>) -> rusqlite::Result<()>,
    ) -> rusqlite::Result<RangePosition> {
        let started = Instant::now();
        let sql = if after.is_some() { &self.from_position } else { &self.from_start };
        let mut statement = connection.prepare_cached(sql)?;
        let mut found = statement.query(params_from_iter(after.iter().flatten()))?;
        let mut until_look = ROWS_PER_LOOK;
        while let Some(row) = found.next()? {
            visit(row)?;
            until_look -= 1;
            let late = until_look == 0 && started.elapsed() >= SLICE_TIME;
            if until_look == 0 {
                until_look = ROWS_PER_LOOK;
            }
            if late && self.order_width > 0 {
                return (0..self.order_width)
                    .map(|i| row.get(i))
                    .collect::<rusqlite::Result<Row>>()
                    .map(Some);
            }
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::datum::Datum;
    use super::super::testing::with_source;
    use super::*;

    /// Where the slices end of a table of a hundred numbers that are looked at slowly, and the numbers that were shown.
    fn slices(table: &str) -> (Vec<RangePosition>, Vec<i64>) {
        let schema = format!(
            "CREATE TABLE walked ({table});
             WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 100) INSERT INTO walked SELECT i FROM n"
        );
        let (mut ends, mut shown) = (Vec::new(), Vec::new());
        with_source(&schema, |source, _| {
            let table = source.capture.schema.table("walked").unwrap();
            let walk = Walk::new(table, &table.columns[..1]);
            let mut after = None;
            loop {
                let next = walk.slice(source.connection, &after, |row| {
                    std::thread::sleep(Duration::from_millis(2));
                    shown.push(row.get(walk.order_width())?);
                    Ok(())
                });
                after = next.unwrap();
                ends.push(after.clone());
                assert!(ends.len() <= 100, "it does not come to an end");
                if after.is_none() {
                    break;
                }
            }
        });
        (ends, shown)
    }

    #[test]
    fn a_slice_that_takes_too_long_ends_within_the_table_and_the_next_one_goes_on_there() {
        let (ends, shown) = slices("id INTEGER PRIMARY KEY");
        let at = |number| Some(vec![Datum::Integer(number)]);
        assert_eq!(ends, [at(32), at(64), at(96), None]);
        assert_eq!(shown, (1..=100).collect::<Vec<_>>());
    }

    #[test]
    fn a_table_without_an_order_is_shown_in_one_slice_however_long_it_takes() {
        let (ends, shown) = slices("rowid INT PRIMARY KEY, _rowid_ AS (1), oid AS (1)");
        assert_eq!(ends, [None]);
        assert_eq!(shown.len(), 100);
    }
}
