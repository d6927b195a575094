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
