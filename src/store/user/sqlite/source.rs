//! Reading the active copy, in slices so short that the server's writers hardly notice.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::path::Path;
use std::time::{Duration, Instant};

use rusqlite::{CachedStatement, Connection, ErrorCode, Transaction, params_from_iter};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::capture::{self, Capture};
use super::datum::{Datum, Row};
use super::estimate::row_estimate;
use super::schema::{SchemaObject, Table, schema_version};
use super::sequences::{self, Sequences};
use super::taken::Taken;
use super::text::Text;
use crate::error::{Error, ErrorKind, Result, Side};
use crate::store::sqlite::{OpenedFile, begin_write, quote, sqlite_error};
use crate::store::user::{Cursor, Work};

/// How long one read transaction may last: on a rollback journal it keeps the server from committing.
pub(super) const SLICE_TIME: Duration = Duration::from_millis(40);
/// How many log rows one batch may carry.
pub(super) const BATCH_CHANGES: u64 = 10_000;
/// How many log rows one transaction removes.
const PRUNE_PIECE: i64 = 5_000;
/// The table of the change log.
pub(super) const LOG: &str = "csb_change";
/// How long another program's lock on the server's database is waited for.
pub(super) const LOCK_PATIENCE: Duration = Duration::from_secs(10);

/// The rows of some keys of one table, as they are now.
#[derive(Debug, Default)]
pub(super) struct TableBatch {
    pub(super) keys: Vec<Row>,
    /// How many rows each of the keys has.
    pub(super) counts: Vec<usize>,
    /// In the order of their keys.
    pub(super) rows: Vec<Row>,
    /// Keys whose rows lie on damaged pages.
    pub(super) unreadable: Vec<Row>,
}

/// A bounded piece of the change log, with the current rows of its keys.
#[derive(Debug, Default)]
pub(super) struct Slice {
    /// Log rows in it.
    pub(super) changes: u64,
    /// The last position in it.
    pub(super) end: i64,
    /// How many positions in it have no row any more: somebody removed them.
    pub(super) missing: i64,
    /// Whether it reaches the end of the log in its own snapshot: with it, the standby equals the source.
    pub(super) exhausted: bool,
    /// By table.
    pub(super) tables: BTreeMap<String, TableBatch>,
    /// Tables that have to be copied whole.
    pub(super) whole: BTreeSet<String>,
    /// What AUTOINCREMENT had given out; only where the slice is exhausted.
    pub(super) sequences: Sequences,
    /// Tables that have to be copied whole because their rows cannot be found by their keys: an index is damaged.
    pub(super) unindexed: BTreeSet<String>,
}

/// Where a walk through a table's rows stands; none at an end of the table.
pub(super) type RangePosition = Option<Row>;

/// A part of a table in its order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) after: RangePosition,
    /// Whether a row at `after` is part of it.
    pub(super) inclusive: bool,
    pub(super) before: RangePosition,
}

/// Which way a table is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Direction {
    Up,
    Down,
}

/// Why a stretch of rows ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Ending {
    /// The next row, if there is one, lies on a damaged page.
    #[default]
    Damaged,
    /// It is as long as one read transaction allows.
    Full,
    /// There are no more rows.
    Complete,
}

/// Some rows of a table that follow each other.
#[derive(Debug, Default)]
pub(super) struct Stretch {
    pub(super) rows: Vec<Row>,
    /// The position of the row that was read first.
    pub(super) first: RangePosition,
    /// The position of the row that was read last.
    pub(super) last: RangePosition,
    pub(super) ending: Ending,
}

/// Whether a failure is a damaged page, around which the rest of the database may be read.
pub(super) fn is_damage(cause: &rusqlite::Error) -> bool {
    cause.sqlite_error_code() == Some(ErrorCode::DatabaseCorrupt)
}

/// The active copy, opened for export.
pub(super) struct Source<'a> {
    pub(super) connection: &'a Connection,
    pub(super) path: &'a Path,
    pub(super) file: &'a OpenedFile,
    pub(super) capture: &'a Capture,
}

/// Whether a failure is the schema having changed under a run, which then begins again.
pub(super) fn is_schema_change(error: &Error) -> bool {
    error.kind == ErrorKind::SourceTooBusy && error.context.contains_key("schema")
}

impl Source<'_> {
    /// The log after a position, cut where it gets too long. A key is read once, however often it was logged.
    ///
    /// # Errors
    /// An error for which [`is_schema_change`] holds, and failures of the database.
    pub(super) fn changes(&self, after: i64, work: &Work<'_>) -> Result<Slice> {
        self.snapshot(work, |connection| self.read_changes(connection, after)).map_err(of_the_log)
    }

    /// As [`Source::changes`], and whether something else holds in the very same state of the source.
    ///
    /// # Errors
    /// As for [`Source::changes`].
    pub(super) fn changes_while(
        &self,
        after: i64,
        holds: impl Fn(&Connection) -> rusqlite::Result<bool>,
        work: &Work<'_>,
    ) -> Result<(Slice, bool)> {
        self.snapshot(work, |connection| Ok((self.read_changes(connection, after)?, holds(connection)?)))
            .map_err(of_the_log)
    }

    fn read_changes(&self, transaction: &Connection, after: i64) -> rusqlite::Result<Slice> {
        let mut taken = Taken::nothing();
        let mut log =
            transaction.prepare_cached(&log_query(self.capture.key_width, self.capture.schema.text))?;
        let mut rows = log.query([after])?;
        let mut slice = Slice { end: after, exhausted: true, ..Slice::default() };
        let mut seen: HashSet<(i64, Row)> = HashSet::new();
        let mut readers: BTreeMap<i64, (KeyReader<'_>, TableBatch)> = BTreeMap::new();
        while let Some(row) = rows.next()? {
            if slice.changes >= BATCH_CHANGES || (slice.changes > 0 && taken.is_enough()) {
                slice.exhausted = false;
                break;
            }
            let number: i64 = row.get(1)?;
            let position: i64 = row.get(0)?;
            slice.missing += position - slice.end - 1;
            slice.end = position;
            slice.changes += 1;
            let Some(table) = self.table_of(number) else {
                slice.whole.extend(self.capture.former.get(&number).cloned());
                continue;
            };
            if row.get(2)? {
                slice.whole.insert(table.name.clone());
                continue;
            }
            let key = logged_key(row, table)?;
            if seen.insert((number, key.clone())) && !slice.unindexed.contains(&table.name) {
                let (reader, batch) = match readers.entry(number) {
                    Entry::Occupied(entry) => entry.into_mut(),
                    Entry::Vacant(entry) => {
                        entry.insert((KeyReader::new(transaction, table)?, TableBatch::default()))
                    }
                };
                match reader.read(key, batch)? {
                    Some(bytes) => taken.bytes += bytes,
                    None => drop(slice.unindexed.insert(table.name.clone())),
                }
            }
        }
        if slice.exhausted {
            slice.sequences = sequences::read(transaction, &self.capture.schema.objects)?;
            let last = capture::last_position(transaction)?;
            slice.missing += last - slice.end;
            slice.end = last;
        }
        let batches = readers.into_values().map(|(reader, batch)| (reader.table.name.clone(), batch));
        slice.tables = batches.collect();
        for name in &slice.unindexed {
            slice.tables.remove(name);
        }
        Ok(slice)
    }

    pub(super) fn table_of(&self, number: i64) -> Option<&Table> {
        self.capture.tables.get(&number).and_then(|name| self.capture.schema.table(name))
    }

    /// The current rows of the first of some keys, as many as fit into a slice, but of one at least; none where only
    /// reading the whole table finds them, because an index is damaged.
    ///
    /// # Errors
    /// As for [`Source::changes`].
    pub(super) fn rows_of(&self, table: &Table, keys: &[Row], work: &Work<'_>) -> Result<Option<TableBatch>> {
        self.snapshot(work, |transaction| {
            let mut taken = Taken::nothing();
            let mut batch = TableBatch::default();
            let mut reader = KeyReader::new(transaction, table)?;
            for key in keys {
                let Some(size) = reader.read(key.clone(), &mut batch)? else { return Ok(None) };
                taken.bytes += size;
                if taken.is_enough() {
                    break;
                }
            }
            Ok(Some(batch))
        })
    }

    /// Some rows of a table in its own order, from the one end of a span or the other.
    ///
    /// # Errors
    /// As for [`Source::changes`]; damage ends a stretch instead.
    pub(super) fn stretch(
        &self,
        table: &Table,
        span: &Span,
        direction: Direction,
        work: &Work<'_>,
    ) -> Result<Stretch> {
        self.snapshot(work, |transaction| {
            let mut taken = Taken::nothing();
            let mut stretch = Stretch::default();
            let mut statement =
                transaction.prepare_cached(&range_query(table, &table.columns, span, direction))?;
            let mut found =
                statement.query(params_from_iter(span.after.iter().chain(&span.before).flatten()))?;
            let order_width = table.order.terms().len();
            let mut last = Row::new();
            stretch.ending = loop {
                let row = match found.next() {
                    Ok(Some(row)) => row,
                    Ok(None) => break Ending::Complete,
                    Err(cause) if is_damage(&cause) => break Ending::Damaged,
                    Err(cause) => return Err(cause),
                };
                last.clear();
                for i in 0..order_width {
                    last.push(row.get(i)?);
                }
                if stretch.first.is_none() {
                    stretch.first = Some(last.clone());
                }
                let values = (0..table.columns.len())
                    .map(|i| row.get(order_width + i))
                    .collect::<rusqlite::Result<Row>>()?;
                taken.bytes += values.iter().map(Datum::size).sum::<u64>();
                stretch.rows.push(values);
                if taken.is_enough() && order_width > 0 {
                    break Ending::Full;
                }
            };
            stretch.last = (!stretch.rows.is_empty() && order_width > 0).then_some(last);
            Ok(stretch)
        })
    }

    /// The server's schema objects, in one snapshot with nothing else.
    ///
    /// # Errors
    /// As for [`Source::changes`].
    pub(super) fn objects(&self, work: &Work<'_>) -> Result<Vec<SchemaObject>> {
        self.snapshot(work, |transaction| self.capture.schema.objects_of(transaction))
    }

    /// What AUTOINCREMENT has given out.
    ///
    /// # Errors
    /// As for [`Source::changes`].
    pub(super) fn sequences(&self, work: &Work<'_>) -> Result<Sequences> {
        self.snapshot(work, |transaction| sequences::read(transaction, &self.capture.schema.objects))
    }

    /// Roughly how many rows some tables have: cheap to say, never too few.
    ///
    /// # Errors
    /// As for [`Source::changes`].
    pub(super) fn row_estimate(
        &self,
        is_counted: impl Fn(&Table) -> bool,
        work: &Work<'_>,
    ) -> Result<Option<u64>> {
        self.snapshot(work, |transaction| {
            let tables = self.capture.schema.tables.iter().filter(|table| is_counted(table));
            match row_estimate(transaction, tables) {
                Err(cause) if is_damage(&cause) => Ok(None),
                estimated => estimated,
            }
        })
    }

    /// The last position of the log.
    ///
    /// # Errors
    /// As for [`Source::changes`].
    pub(super) fn last_position(&self, work: &Work<'_>) -> Result<i64> {
        self.snapshot(work, capture::last_position).map_err(of_the_log)
    }

    /// Keeps one state of the source in sight for as long as what it returns lives; none on a rollback journal, where that
    /// would keep the server from committing.
    ///
    /// # Errors
    /// Failures of the database.
    pub(super) fn hold(&self, work: &Work<'_>) -> Result<Option<Transaction<'_>>> {
        patiently(self.path, "read", work, || {
            let mode: String = self.connection.pragma_query_value(None, "journal_mode", |row| row.get(0))?;
            if mode != "wal" {
                return Ok(None);
            }
            let held = self.connection.unchecked_transaction()?;
            held.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(()))?;
            Ok(Some(held))
        })
        .map_err(Side::Export.failed())
    }

    /// Runs one short read transaction, and again where the server's lock was in the way; within [`Source::hold`] it reads
    /// the state that is held.
    pub(super) fn snapshot<R>(
        &self,
        work: &Work<'_>,
        read: impl Fn(&Connection) -> rusqlite::Result<R>,
    ) -> Result<R> {
        patiently(self.path, "read", work, || {
            let is_held = !self.connection.is_autocommit();
            let _transaction = (!is_held).then(|| self.connection.unchecked_transaction()).transpose()?;
            if schema_version(self.connection)? != self.capture.schema.version {
                return Ok(None);
            }
            read(self.connection).map(Some)
        })
        .map_err(Side::Export.failed())?
        .ok_or_else(|| {
            Error::new(
                ErrorKind::SourceTooBusy,
                format!("The schema of {} changed again and again while it was copied.", self.path.display()),
                "Run the command again when the server's upgrade or VACUUM has ended.",
            )
            .at("schema", "changed")
            .on(Side::Export)
        })
    }

    /// Makes what was exported durable at the source and marks the position. In the same transaction goes what the
    /// standby confirmed before: a server that does not wait for locks is refused for every write of ours that it
    /// meets, so there is one in a cycle, not three.
    ///
    /// # Errors
    /// Failures of the database.
    pub(super) fn barrier(&self, position: i64, confirmed: Option<&Cursor>, work: &Work<'_>) -> Result<Uuid> {
        patiently(self.path, "write to", work, || self.barrier_at_once(position, confirmed))
            .map_err(of_the_log)
            .map_err(Side::Export.failed())
    }

    /// As [`Source::barrier`], but in a moment or not at all.
    pub(super) fn barrier_at_once(
        &self,
        position: i64,
        confirmed: Option<&Cursor>,
    ) -> rusqlite::Result<Uuid> {
        let transaction = begin_write(self.connection)?;
        let token = capture::write_barrier(&transaction, position)?;
        if let Some(confirmed) = confirmed {
            capture::forget_confirmed(&transaction, confirmed, PRUNE_PIECE)?;
        }
        transaction.commit()?;
        Ok(token)
    }

    /// Shortens a log that has grown long, in pieces so small that the server hardly notices; a short one waits for
    /// the next barrier.
    ///
    /// # Errors
    /// Failures of the database.
    pub(super) fn prune(&self, confirmed: &Cursor, work: &Work<'_>) -> Result<()> {
        loop {
            work.check()?;
            let first = patiently(self.path, "read", work, || capture::first_position(self.connection))
                .map_err(of_the_log)
                .map_err(Side::Export.failed())?;
            if first.is_none_or(|first| confirmed.position.saturating_sub(first) < PRUNE_PIECE) {
                return Ok(());
            }
            let pruned = patiently(self.path, "prune the change log of", work, || {
                let transaction = begin_write(self.connection)?;
                capture::forget_confirmed(&transaction, confirmed, PRUNE_PIECE)?;
                transaction.commit()
            });
            pruned.map_err(of_the_log).map_err(Side::Export.failed())?;
        }
    }
}

/// Tries again while another program holds its lock, up to a limit and as long as the job goes on.
pub(super) fn patiently<R>(
    path: &Path,
    doing: &str,
    work: &Work<'_>,
    mut attempt: impl FnMut() -> rusqlite::Result<R>,
) -> Result<R> {
    while_busy(work.cancel, LOCK_PATIENCE, || attempt().map_err(|cause| sqlite_error(doing, path, &cause)))
}

/// As [`patiently`], for work that reports its own errors. Each attempt waits for SQLite's own time limit.
pub(super) fn while_busy<R>(
    cancel: &CancellationToken,
    patience: Duration,
    mut attempt: impl FnMut() -> Result<R>,
) -> Result<R> {
    let started = Instant::now();
    loop {
        if cancel.is_cancelled() {
            return Err(Error::cancelled());
        }
        match attempt() {
            Err(error) if error.kind == ErrorKind::StoreBusy && started.elapsed() < patience => {}
            done => return done,
        }
    }
}

/// Reads the rows of keys of one table.
struct KeyReader<'c> {
    table: &'c Table,
    connection: &'c Connection,
    statement: CachedStatement<'c>,
}

impl<'c> KeyReader<'c> {
    fn new(connection: &'c Connection, table: &'c Table) -> rusqlite::Result<Self> {
        Ok(KeyReader { table, connection, statement: connection.prepare_cached(&key_query(table))? })
    }

    /// Reads the rows of one key into a batch; their size in bytes. None where an index that leads to them is damaged.
    fn read(&mut self, key: Row, batch: &mut TableBatch) -> rusqlite::Result<Option<u64>> {
        let before = batch.rows.len();
        match self.read_rows(&key, &mut batch.rows) {
            Ok(bytes) => {
                batch.keys.push(key);
                batch.counts.push(batch.rows.len() - before);
                Ok(Some(bytes))
            }
            Err(cause) if is_damage(&cause) => {
                batch.rows.truncate(before);
                if !is_found_directly(self.connection, self.table)? {
                    return Ok(None);
                }
                batch.unreadable.push(key);
                Ok(Some(0))
            }
            Err(cause) => Err(cause),
        }
    }

    fn read_rows(&mut self, key: &Row, rows: &mut Vec<Row>) -> rusqlite::Result<u64> {
        let mut found = self.statement.query(params_from_iter(key))?;
        let mut bytes = 0;
        while let Some(row) = found.next()? {
            let values =
                (0..self.table.columns.len()).map(|i| row.get(i)).collect::<rusqlite::Result<Row>>()?;
            bytes += values.iter().map(Datum::size).sum::<u64>();
            rows.push(values);
        }
        Ok(bytes)
    }
}

/// Whether a key is looked up in the table itself, so that damage on the way is damage of the table.
fn is_found_directly(connection: &Connection, table: &Table) -> rusqlite::Result<bool> {
    let mut statement = connection.prepare(&format!("EXPLAIN QUERY PLAN {}", key_query(table)))?;
    let key = table.key.iter().map(|_| Datum::Null);
    let plan: Vec<String> =
        statement.query_map(params_from_iter(key), |row| row.get(3))?.collect::<rusqlite::Result<_>>()?;
    Ok(plan.iter().all(|step| step.contains("PRIMARY KEY")))
}

/// Damage that is met while the log is installed, read or shortened is the log's.
pub(super) fn of_the_log(error: Error) -> Error {
    if error.kind == ErrorKind::Corrupt { error.at("table", LOG) } else { error }
}

/// Whether a failure is damage of the database at a path.
pub(super) fn is_damage_at(error: &Error, path: &Path) -> bool {
    error.kind == ErrorKind::Corrupt
        && error.context.get("path").is_some_and(|named| Path::new(named) == path)
}

/// Whether a failure is damage of the change log, which is then begun anew.
pub(super) fn is_log_damage(error: &Error) -> bool {
    error.kind == ErrorKind::Corrupt && error.context.get("table").is_some_and(|table| table == LOG)
}

/// The log after a position: position, table, whether all of it, and as many key columns as are wanted.
pub(super) fn log_query(key_width: usize, text: Text) -> String {
    let keys = text.read_all((0..key_width).map(|i| format!("k{i}")));
    format!(
        "SELECT position, table_number, whole, {keys} FROM csb_change WHERE position > ?1 ORDER BY position"
    )
}

/// The key in a row of the log.
pub(super) fn logged_key(row: &rusqlite::Row<'_>, table: &Table) -> rusqlite::Result<Row> {
    (0..table.key.len()).map(|i| row.get(3 + i)).collect()
}

fn key_query(table: &Table) -> String {
    format!(
        "SELECT {} FROM {} WHERE {}",
        table.read(&table.columns),
        quote(&table.name),
        key_condition(table)
    )
}

/// Holds for the rows of a key, by bytes. `IS`, because key columns that the topology names may hold NULL. A column with
/// a collation of its own is compared by it too, so that its index is used.
pub(super) fn key_condition(table: &Table) -> String {
    let terms = table.key.iter().enumerate().map(|(i, column)| {
        let column = quote(column);
        let exact = format!("{column} IS {}", table.text.parameter(i + 1));
        if table.folded.iter().any(|folded| quote(folded) == column) {
            format!("{exact} AND {exact} COLLATE BINARY")
        } else {
            exact
        }
    });
    terms.collect::<Vec<_>>().join(" AND ")
}

/// Some columns of a row.
pub(super) fn values_of(table: &Table, values: &Row, columns: &[String]) -> Row {
    let value = |column: &String| {
        let index = table.columns.iter().position(|name| name == column)?;
        values.get(index).cloned()
    };
    columns.iter().map(|column| value(column).unwrap_or(Datum::Null)).collect()
}

/// Reads a row's place in the order and some columns. `NOT INDEXED`, because an index may be damaged where the table is not.
pub(super) fn range_query(table: &Table, columns: &[String], span: &Span, direction: Direction) -> String {
    let terms = table.order.terms();
    let (name, columns) = (quote(&table.name), table.read(columns));
    if terms.is_empty() {
        return format!("SELECT {columns} FROM {name} NOT INDEXED");
    }
    let order = terms.join(", ");
    let sorted = match direction {
        Direction::Up => order.clone(),
        Direction::Down => terms.join(" DESC, ") + " DESC",
    };
    let mut first = 1;
    let mut bound = |comparison: &str| {
        let values = table.text.parameters(first, terms.len());
        first += terms.len();
        format!("({order}) {comparison} ({values})")
    };
    let mut bounds = Vec::new();
    if span.after.is_some() {
        bounds.push(bound(if span.inclusive { ">=" } else { ">" }));
    }
    if span.before.is_some() {
        bounds.push(bound("<"));
    }
    let condition = if bounds.is_empty() { String::new() } else { format!("WHERE {}", bounds.join(" AND ")) };
    let position = table.text.read_all(terms.iter().cloned());
    format!("SELECT {position}, {columns} FROM {name} NOT INDEXED {condition} ORDER BY {sorted}")
}

#[cfg(test)]
mod tests {
    use super::super::testing::with_source;
    use super::*;

    /// Twenty rows of a megabyte, as logged.
    const LONG_ROWS: &str = "
        WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 20)
            INSERT INTO t SELECT i, zeroblob(1000000) FROM n";

    #[test]
    fn long_rows_are_read_in_slices_and_every_slice_has_a_row() {
        with_source("CREATE TABLE t (id INTEGER PRIMARY KEY, v)", |source, work| {
            source.connection.execute_batch(LONG_ROWS).unwrap();
            let table = source.capture.schema.table("t").unwrap();
            let slice = source.changes(0, work).unwrap();
            assert!(!slice.exhausted && (1..=10).contains(&slice.changes), "{}", slice.changes);
            let keys: Vec<Row> = (1..=20).map(|id| vec![Datum::Integer(id)]).collect();
            let batch = source.rows_of(table, &keys, work).unwrap().unwrap();
            assert!((1..=9).contains(&batch.keys.len()), "{}", batch.keys.len());
            assert!(batch.counts.iter().all(|count| *count == 1));
            let stretch = source.stretch(table, &Span::default(), Direction::Up, work).unwrap();
            assert!(stretch.ending == Ending::Full && (1..=9).contains(&stretch.rows.len()));
            assert_eq!(stretch.last.as_ref(), keys.get(stretch.rows.len() - 1));
            let is_one_slice = |_| {
                source.rows_of(table, &[keys[0].clone(), keys[1].clone()], work).unwrap().unwrap().keys.len()
                    == 2
            };
            assert!((0..50).any(is_one_slice), "two rows fit");
        });
    }

    #[test]
    fn a_table_in_no_order_is_read_in_one_piece_without_a_position() {
        with_source("CREATE TABLE t (id TEXT PRIMARY KEY, v, rowid, oid, _rowid_)", |source, work| {
            source.connection.execute_batch(&LONG_ROWS.replace("INTO t", "INTO t (id, v)")).unwrap();
            let table = source.capture.schema.table("t").unwrap();
            let stretch = source.stretch(table, &Span::default(), Direction::Up, work).unwrap();
            assert_eq!((stretch.ending, stretch.rows.len(), stretch.last), (Ending::Complete, 20, None));
        });
    }

    #[test]
    fn a_part_of_a_table_ends_before_its_second_bound() {
        with_source("CREATE TABLE t (a, b, v, PRIMARY KEY (a, b)) WITHOUT ROWID", |source, work| {
            source
                .connection
                .execute_batch("INSERT INTO t VALUES (1, 1, 1), (1, 2, 2), (2, 1, 3), (2, 2, 4)")
                .unwrap();
            let table = source.capture.schema.table("t").unwrap();
            let place = |a, b| Some([a, b].map(Datum::Integer).to_vec());
            let span = Span { after: place(1, 1), inclusive: false, before: place(2, 2) };
            let stretch = source.stretch(table, &span, Direction::Up, work).unwrap();
            assert_eq!((stretch.rows.len(), stretch.first, stretch.last), (2, place(1, 2), place(2, 1)));
        });
    }

    #[test]
    fn only_rows_of_the_very_key_are_read_where_its_column_compares_without_case() {
        with_source("CREATE TABLE t (id INTEGER PRIMARY KEY, k TEXT COLLATE NOCASE)", |source, work| {
            source.connection.execute_batch("INSERT INTO t VALUES (1, 'a'), (2, 'A')").unwrap();
            let table = source.capture.schema.table("t").unwrap();
            let k = vec!["k".to_owned()];
            let by_k = Table { key: k.clone(), folded: k, ..table.clone() };
            let key = vec![Datum::Text(b"a".to_vec())];
            let batch = source.rows_of(&by_k, std::slice::from_ref(&key), work).unwrap().unwrap();
            assert_eq!((batch.keys, batch.counts), (vec![key], vec![1]));
        });
    }

    #[test]
    fn an_empty_table_has_no_position() {
        with_source("CREATE TABLE t (id INTEGER PRIMARY KEY)", |source, work| {
            let table = source.capture.schema.table("t").unwrap();
            let stretch = source.stretch(table, &Span::default(), Direction::Up, work).unwrap();
            assert_eq!((stretch.ending, stretch.first, stretch.last), (Ending::Complete, None, None));
        });
    }

    #[test]
    fn only_damage_ends_a_stretch_and_quarantines_a_key() {
        with_source("CREATE TABLE t (id INTEGER PRIMARY KEY, k, v)", |source, work| {
            let rows = LONG_ROWS.replace("i < 20", "i < 5000").replace("i, zeroblob(1000000)", "i, 1, 2");
            source.connection.execute_batch(&rows).unwrap();
            let mut connection = Connection::open(source.path).unwrap();
            // What interrupts it comes after many steps, when rows are being read.
            connection.progress_handler(1_000, Some(|| true)).unwrap();
            let interrupted = Source { connection: &connection, ..*source };
            let table = source.capture.schema.table("t").unwrap();
            assert!(interrupted.stretch(table, &Span::default(), Direction::Up, work).is_err());
            let by_k = Table { key: vec!["k".to_owned()], ..table.clone() };
            assert!(interrupted.rows_of(&by_k, &[vec![Datum::Integer(1)]], work).is_err());
        });
    }

    #[test]
    fn positions_behind_the_last_row_of_the_log_are_missing() {
        with_source("CREATE TABLE t (id INTEGER PRIMARY KEY AUTOINCREMENT)", |source, work| {
            source.connection.execute_batch("INSERT INTO t VALUES (3)").unwrap();
            assert_eq!(
                source.sequences(work).unwrap(),
                Some(vec![vec![Datum::Text(b"t".to_vec()), Datum::Integer(3)]])
            );
            let last = source.last_position(work).unwrap();
            capture::write_barrier(source.connection, last + 5).unwrap();
            let slice = source.changes(last - 1, work).unwrap();
            assert_eq!((slice.exhausted, slice.missing, slice.end), (true, 5, last + 5));
        });
    }

    #[test]
    fn a_key_is_read_once_however_often_it_was_logged_and_positions_that_somebody_removed_are_missing() {
        with_source("CREATE TABLE t (a, b, v, PRIMARY KEY (a, b))", |source, work| {
            let before = source.last_position(work).unwrap();
            source
                .connection
                .execute_batch("INSERT INTO t VALUES (7, 8, 0); UPDATE t SET v = 1; UPDATE t SET v = 2")
                .unwrap();
            let keys = |slice: &Slice| slice.tables["t"].keys.clone();
            let key = [7, 8].map(Datum::Integer).to_vec();
            let slice = source.changes(before, work).unwrap();
            assert_eq!((slice.changes, slice.missing, keys(&slice)), (3, 0, vec![key.clone()]));
            source
                .connection
                .set_db_config(rusqlite::config::DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER, false)
                .unwrap();
            source.connection.execute("DELETE FROM csb_change WHERE position = ?1", [before + 2]).unwrap();
            let slice = source.changes(before, work).unwrap();
            assert_eq!((slice.changes, slice.missing, keys(&slice)), (2, 1, vec![key]));
        });
    }

    #[test]
    fn a_log_is_shortened_at_once_only_where_it_is_long() {
        let kept = |changes: i64| {
            let mut kept = 0;
            with_source("CREATE TABLE t (id INTEGER PRIMARY KEY, v)", |source, work| {
                let rows = LONG_ROWS.replace("i < 20", &format!("i < {changes}")).replace("1000000", "1");
                source.connection.execute_batch(&rows).unwrap();
                let position = source.last_position(work).unwrap();
                let token = source.barrier(position, None, work).unwrap();
                let confirmed = Cursor { store_id: source.capture.store_id, position, token };
                source.prune(&confirmed, work).unwrap();
                kept = position - capture::first_position(source.connection).unwrap().unwrap();
            });
            kept
        };
        assert!(kept(100) >= 99);
        assert!(kept(3 * PRUNE_PIECE) < PRUNE_PIECE);
    }

    #[test]
    fn only_a_busy_store_is_tried_again_and_no_longer_than_patience_lasts() {
        let attempts = |kind, patience| {
            let mut attempts = 0;
            let done = while_busy(&CancellationToken::new(), patience, || {
                attempts += 1;
                if attempts < 3 { Err(Error::new(kind, "It failed.", "Try again.")) } else { Ok(()) }
            });
            (attempts, done.is_ok())
        };
        assert_eq!(attempts(ErrorKind::StoreBusy, LOCK_PATIENCE), (3, true));
        assert_eq!(attempts(ErrorKind::StoreBusy, Duration::ZERO), (1, false));
        assert_eq!(attempts(ErrorKind::Corrupt, LOCK_PATIENCE), (1, false));
    }

    #[test]
    fn damage_on_the_way_to_a_key_is_the_tables_where_nothing_else_leads_to_it() {
        for (schema, is_direct) in [
            ("CREATE TABLE t (k INTEGER PRIMARY KEY, v)", true),
            ("CREATE TABLE t (k TEXT PRIMARY KEY, v) WITHOUT ROWID", true),
            ("CREATE TABLE t (k TEXT PRIMARY KEY, v)", false),
        ] {
            with_source(schema, |source, _| {
                let table = source.capture.schema.table("t").unwrap();
                assert_eq!(is_found_directly(source.connection, table).unwrap(), is_direct, "{schema}");
            });
        }
    }

    #[test]
    fn one_state_is_held_in_sight_on_a_write_ahead_log_only() {
        for (mode, is_held) in [("WAL", true), ("DELETE", false)] {
            let schema = format!("PRAGMA journal_mode = {mode}; CREATE TABLE t (id INTEGER PRIMARY KEY)");
            with_source(&schema, |source, work| {
                let before = source.last_position(work).unwrap();
                let held = source.hold(work).unwrap();
                assert_eq!(held.is_some(), is_held);
                Connection::open(source.path).unwrap().execute_batch("INSERT INTO t VALUES (1)").unwrap();
                assert_eq!(source.last_position(work).unwrap() == before, is_held);
                drop(held);
                assert_eq!(source.last_position(work).unwrap(), before + 1);
            });
        }
    }

    #[test]
    fn failures_after_which_a_run_begins_again_are_told_apart() {
        let error = |kind| Error::new(kind, "It failed.", "Try again.");
        assert!(is_log_damage(&of_the_log(error(ErrorKind::Corrupt))));
        assert!(!is_log_damage(&error(ErrorKind::Corrupt).at("table", "users")));
        assert!(!is_log_damage(&error(ErrorKind::Corrupt)));
        assert!(!is_log_damage(&of_the_log(error(ErrorKind::StoreBusy))));
        assert!(!is_log_damage(&error(ErrorKind::StoreBusy).at("table", LOG)));
        let path = Path::new("users.sqlite");
        assert!(is_damage_at(&error(ErrorKind::Corrupt).at("path", "users.sqlite"), path));
        assert!(!is_damage_at(&error(ErrorKind::Corrupt).at("path", "standby.sqlite"), path));
        assert!(!is_damage_at(&error(ErrorKind::Corrupt), path));
        assert!(!is_damage_at(&error(ErrorKind::StoreBusy).at("path", "users.sqlite"), path));
        assert!(is_schema_change(&error(ErrorKind::SourceTooBusy).at("schema", "changed")));
        assert!(!is_schema_change(&error(ErrorKind::SourceTooBusy)));
        assert!(!is_schema_change(&error(ErrorKind::Corrupt).at("schema", "changed")));
    }
}
