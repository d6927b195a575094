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

#[cfg(test)]
mod tests {
    use super::super::datum::Datum;
    use super::super::testing::with_source;

    #[test]
    fn a_table_that_was_logged_as_a_whole_is_told_apart_from_one_of_which_keys_were() {
        with_source(
            "CREATE TABLE t (id INTEGER PRIMARY KEY); CREATE TABLE u (id INTEGER PRIMARY KEY)",
            |source, work| {
                let table = source.capture.schema.table("t").unwrap();
                let installed = source.last_position(work).unwrap();
                source
                    .connection
                    .execute_batch("INSERT INTO t VALUES (7), (8); INSERT INTO u VALUES (9)")
                    .unwrap();
                let logged = |after| {
                    let mut keys = Vec::new();
                    let whole = source.logged_keys(table, after, work, |key| keys.push(key)).unwrap();
                    keys.retain(|key| key[0] != Datum::Null);
                    (whole, keys)
                };
                let keys = [7, 8].map(|id| vec![Datum::Integer(id)]).to_vec();
                assert_eq!(logged(0), (true, keys.clone()), "installing marks it");
                assert_eq!(logged(installed), (false, keys));
            },
        );
    }
}
