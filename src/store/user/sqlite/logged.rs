//! What the change log names, without the rows of it.

use std::time::Instant;

use super::datum::Row;
use super::schema::Table;
use super::source::{SLICE_TIME, Source, log_query, logged_key, of_the_log};
use crate::error::Result;
use crate::store::user::Work;

impl Source<'_> {
    /// Shows every key of a table that was logged after a position. Whether the whole table was.
    ///
    /// # Errors
    /// As for [`Source::changes`].
    pub(super) fn logged_keys(
        &self,
        table: &Table,
        after: i64,
        work: &Work<'_>,
        mut show: impl FnMut(Row),
    ) -> Result<bool> {
        let sql = log_query(table.key.len(), table.text);
        let (mut after, mut is_whole) = (after, false);
        loop {
            let (named, whole, next) = self
                .snapshot(work, |transaction| {
                    let started = Instant::now();
                    let mut log = transaction.prepare_cached(&sql)?;
                    let mut rows = log.query([after])?;
                    let (mut named, mut whole) = (Vec::new(), false);
                    while let Some(row) = rows.next()? {
                        if self.table_of(row.get(1)?).is_some_and(|logged| logged.name == table.name) {
                            whole |= row.get::<_, bool>(2)?;
                            named.push(logged_key(row, table)?);
                        }
                        if started.elapsed() >= SLICE_TIME {
                            return Ok((named, whole, Some(row.get(0)?)));
                        }
                    }
                    Ok((named, whole, None))
                })
                .map_err(of_the_log)?;
            work.check()?;
            named.into_iter().for_each(&mut show);
            is_whole |= whole;
            match next {
                Some(next) => after = next,
                None => return Ok(is_whole),
            }
        }
    }
}
