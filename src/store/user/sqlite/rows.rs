//! The first copy row by row, in pieces, so that one that was interrupted goes on where it stood.
//!
//! Pieces are committed without waiting for the device: a killed process loses nothing, a machine that lost its power
//! everything, so a copy is only continued in the boot that it was begun in. What a piece holds was made durable at
//! the source before, so that it never holds what a power cut takes from the source.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rusqlite::{Connection, OptionalExtension, Transaction, TransactionBehavior, params};
use uuid::Uuid;

use super::capture;
use super::datum::Datum;
use super::fresh::{fresh_path, remove_file, taken_over, unfinished};
use super::schema::Table;
use super::source::{LOCK_PATIENCE, RangePosition, Source, while_busy};
use crate::error::{Error, Result, Side};
use crate::platform::boot_id;
use crate::store::Generation;
use crate::store::sqlite::{Access, open, quote, sqlite_error};
use crate::store::user::Work;

/// How long a piece takes at most, and how much it holds: what a killed job copies again.
const PIECE_TIME: Duration = Duration::from_secs(2);
const PIECE_BYTES: u64 = 64 << 20;

const TABLES: &str = "
CREATE TABLE csb_copy (id INTEGER PRIMARY KEY CHECK (id = 1), source_id TEXT NOT NULL, schema_version INTEGER NOT NULL,
    start INTEGER NOT NULL, token TEXT NOT NULL, boot TEXT NOT NULL, generation INTEGER NOT NULL, table_name TEXT,
    rows INTEGER NOT NULL DEFAULT 0);
CREATE TABLE csb_copy_after (number INTEGER PRIMARY KEY, value);
";

/// Where a copy row by row stands.
#[derive(Clone, Debug)]
pub(super) struct Place {
    /// The table whose rows are copied; none when all are.
    pub(super) table: Option<String>,
    /// After which row of it.
    pub(super) after: RangePosition,
}

/// A copy under way, in a database that nobody knows yet.
pub(super) struct RowCopy<'a> {
    /// Within the transaction of a piece.
    pub(super) connection: &'a Connection,
    pub(super) path: &'a Path,
    generation: Generation,
    /// The last position of the log before the first row was read.
    pub(super) start: i64,
    /// How far the rows that were inserted reach.
    pub(super) place: Place,
    /// How many rows were inserted, by all owners.
    pub(super) rows: u64,
    began: Instant,
    bytes: u64,
}

impl<'a> RowCopy<'a> {
    /// Begins a copy in a new database that has its tables.
    ///
    /// # Errors
    /// Failures of either database.
    pub(super) fn begin(
        connection: &'a Connection,
        path: &'a Path,
        source: &Source<'_>,
        work: &Work<'_>,
    ) -> Result<Self> {
        let failed = |cause| sqlite_error("write the new standby copy to", path, &cause);
        let start = source.last_position(work)?;
        let token = source.barrier(start, None, work)?;
        connection.execute_batch(TABLES).map_err(failed)?;
        connection
            .execute(
                "INSERT INTO csb_copy (id, source_id, schema_version, start, token, boot, generation, table_name)
                 VALUES (1, ?1, ?2, ?3, ?4, ?5, ?6, ?7)",
                params![
                    source.capture.store_id.to_string(),
                    source.capture.schema.version,
                    start,
                    token.to_string(),
                    boot_id().unwrap_or_default(),
                    work.generation.0,
                    source.capture.schema.tables.first().map(|table| &table.name),
                ],
            )
            .map_err(failed)?;
        RowCopy::go_on(connection, path, work)
    }

    /// Goes on with a copy that is this owner's own.
    ///
    /// # Errors
    /// `Fenced`, failures of the database.
    pub(super) fn go_on(connection: &'a Connection, path: &'a Path, work: &Work<'_>) -> Result<Self> {
        let failed = |cause| sqlite_error("read the new standby copy in", path, &cause);
        let mut copy = RowCopy {
            connection,
            path,
            generation: work.generation,
            start: 0,
            place: Place { table: None, after: None },
            rows: 0,
            began: Instant::now(),
            bytes: 0,
        };
        copy.begin_piece()?;
        let (start, table, rows) = connection
            .query_row("SELECT start, table_name, rows FROM csb_copy", [], |row| {
                Ok((row.get(0)?, row.get(1)?, row.get::<_, i64>(2)?))
            })
            .map_err(failed)?;
        let after: Vec<Datum> = connection
            .prepare("SELECT value FROM csb_copy_after ORDER BY number")
            .and_then(|mut values| values.query_map([], |row| row.get(0))?.collect())
            .map_err(failed)?;
        let place = Place { table, after: (!after.is_empty()).then_some(after) };
        Ok(RowCopy { start, place, rows: rows.unsigned_abs(), ..copy })
    }

    /// Counts rows that were inserted.
    pub(super) fn inserted(&mut self, rows: u64, bytes: u64) {
        self.rows += rows;
        self.bytes += bytes;
    }

    /// Drops a table of which not everything can be read.
    ///
    /// # Errors
    /// Failures of the database.
    pub(super) fn leave_out(&mut self, table: &Table) -> Result<()> {
        self.write(&format!("DROP TABLE {}", quote(&table.name)))
    }

    /// Notes how far the inserted rows reach, and commits a piece when it is large enough.
    ///
    /// # Errors
    /// `Fenced`, failures of either database.
    pub(super) fn reached(&mut self, place: Place, source: &Source<'_>, work: &Work<'_>) -> Result<()> {
        self.place = place;
        if self.bytes >= PIECE_BYTES || self.began.elapsed() >= PIECE_TIME {
            let token = source.barrier(self.start, None, work)?;
            self.commit_piece(token)?;
            self.begin_piece()?;
        }
        Ok(())
    }

    /// Commits what there is, in a moment or not at all, for a job that was cancelled.
    pub(super) fn keep(&mut self, source: &Source<'_>) {
        // Without it, the next job goes on from the piece before.
        if let Ok(token) = source.barrier_at_once(self.start, None) {
            let _ = self.commit_piece(token);
        }
    }

    /// Commits the last piece: what follows is one transaction of somebody else's.
    ///
    /// # Errors
    /// Failures of either database.
    pub(super) fn end(&mut self, source: &Source<'_>, work: &Work<'_>) -> Result<()> {
        let token = source.barrier(self.start, None, work)?;
        self.commit_piece(token)
    }

    fn begin_piece(&mut self) -> Result<()> {
        self.write("BEGIN EXCLUSIVE")?;
        self.began = Instant::now();
        self.bytes = 0;
        check_owner(self.connection, self.path, self.generation)
    }

    fn commit_piece(&mut self, token: Uuid) -> Result<()> {
        let write = || -> rusqlite::Result<()> {
            self.connection.execute(
                "UPDATE csb_copy SET token = ?1, table_name = ?2, rows = ?3",
                params![token.to_string(), self.place.table, i64::try_from(self.rows).unwrap_or(i64::MAX)],
            )?;
            self.connection.execute("DELETE FROM csb_copy_after", [])?;
            let mut insert =
                self.connection.prepare_cached("INSERT INTO csb_copy_after (value) VALUES (?1)")?;
            for value in self.place.after.iter().flatten() {
                insert.execute([value])?;
            }
            self.connection.execute_batch("COMMIT")
        };
        write().map_err(|cause| sqlite_error("write the new standby copy to", self.path, &cause))
    }

    fn write(&self, sql: &str) -> Result<()> {
        self.connection
            .execute_batch(sql)
            .map_err(|cause| sqlite_error("write the new standby copy to", self.path, &cause))
    }
}

/// Refuses an owner whose unfinished copy a newer one goes on with.
///
/// # Errors
/// `Fenced`.
pub(super) fn check_owner(connection: &Connection, path: &Path, generation: Generation) -> Result<()> {
    let owner: i64 = connection
        .query_row("SELECT generation FROM csb_copy", [], |row| row.get(0))
        .map_err(|cause| sqlite_error("read", path, &cause))?;
    if owner == generation.0 { Ok(()) } else { Err(taken_over(path)) }
}

/// Ends a copy row by row, in the transaction that makes it whole; an image has nothing to end.
///
/// # Errors
/// `Fenced`, failures of the database.
pub(super) fn finish(connection: &Connection, path: &Path, generation: Generation) -> Result<()> {
    if !capture::has_table(connection, "csb_copy").map_err(|cause| sqlite_error("read", path, &cause))? {
        return Ok(());
    }
    check_owner(connection, path, generation)?;
    connection
        .execute_batch("DROP TABLE csb_copy; DROP TABLE csb_copy_after")
        .map_err(|cause| sqlite_error("write the new standby copy to", path, &cause))
}

/// Takes over, under this owner's name, what an owner before it left, or it itself in an earlier attempt. None where
/// there is nothing, or nothing that fits the source any more.
///
/// # Errors
/// `Fenced`, failures of the source, `Cancelled`.
pub(super) fn adopt(place: &Path, source: &Source<'_>, work: &Work<'_>) -> Result<Option<PathBuf>> {
    let own = fresh_path(place, work.generation);
    let left = unfinished(place, work.generation)?;
    for (generation, path) in &left {
        if *path != fresh_path(place, *generation) || !claim(path, source, work)? {
            continue;
        }
        for (_, other) in left.iter().filter(|(_, other)| other != path) {
            remove_file(other)?;
        }
        std::fs::rename(path, &own).map_err(|cause| Error::io("take over", path, &cause))?;
        return Ok(Some(own));
    }
    Ok(None)
}

/// Writes the owner's generation into an unfinished copy, if it is one that fits the source and nobody writes to it.
fn claim(path: &Path, source: &Source<'_>, work: &Work<'_>) -> Result<bool> {
    let Ok(connection) = open(path, Access::Write) else { return Ok(false) };
    let Ok(found) = read_claimed(&connection) else { return Ok(false) };
    let Some((transaction, begun)) = found else { return Ok(false) };
    let fits = while_busy(work.cancel, LOCK_PATIENCE, || begun.fits(source))?;
    if !fits {
        return Ok(false);
    }
    let claimed = transaction
        .execute("UPDATE csb_copy SET generation = ?1", [work.generation.0])
        .and_then(|_| transaction.commit());
    Ok(claimed.is_ok())
}

fn read_claimed(connection: &Connection) -> rusqlite::Result<Option<(Transaction<'_>, Begun)>> {
    connection.pragma_update(None, "synchronous", "OFF")?;
    let transaction = Transaction::new_unchecked(connection, TransactionBehavior::Exclusive)?;
    if !capture::has_table(&transaction, "csb_copy")? {
        return Ok(None);
    }
    let begun = transaction
        .query_row("SELECT source_id, schema_version, start, token, boot FROM csb_copy", [], |row| {
            Ok(Begun {
                source_id: row.get(0)?,
                schema_version: row.get(1)?,
                start: row.get(2)?,
                token: row.get(3)?,
                boot: row.get(4)?,
            })
        })
        .optional()?;
    Ok(begun.map(|begun| (transaction, begun)))
}

/// What an unfinished copy was begun from.
struct Begun {
    source_id: String,
    schema_version: i64,
    start: i64,
    token: String,
    boot: String,
}

impl Begun {
    /// Whether the source is the one, with the same tables in the same order of rows, in a later state, and its log still
    /// has everything since the beginning.
    fn fits(&self, source: &Source<'_>) -> Result<bool> {
        if self.source_id != source.capture.store_id.to_string()
            || self.schema_version != source.capture.schema.version
            || Some(self.boot.as_str()) != boot_id().ok()
        {
            return Ok(false);
        }
        let Ok(token) = Uuid::parse_str(&self.token) else { return Ok(false) };
        let look = || -> rusqlite::Result<bool> {
            let log_is_whole = match capture::first_position(source.connection)? {
                Some(first) => first <= self.start + 1,
                None => self.start == 0,
            };
            Ok(log_is_whole && capture::knows_token(source.connection, token)?)
        };
        look().map_err(|cause| sqlite_error("read", source.path, &cause).on(Side::Export))
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::with_source;
    use super::*;
    use crate::error::ErrorKind;

    const USERS: &str = "CREATE TABLE users (id INTEGER PRIMARY KEY, name)";

    fn tokens(source: &Source<'_>) -> i64 {
        source.connection.query_row("SELECT count(*) FROM csb_barrier", [], |row| row.get(0)).unwrap()
    }

    #[test]
    fn a_copy_that_a_newer_owner_goes_on_with_is_neither_gone_on_with_nor_ended() {
        with_source(USERS, |source, work| {
            let (fresh, path) = (Connection::open_in_memory().unwrap(), Path::new("fresh.sqlite"));
            RowCopy::begin(&fresh, path, source, work).unwrap().end(source, work).unwrap();
            fresh.execute("UPDATE csb_copy SET generation = 2", []).unwrap();
            let fenced = RowCopy::go_on(&fresh, path, work).map(|_| ()).unwrap_err();
            assert_eq!(fenced.kind, ErrorKind::Fenced);
            assert_eq!(finish(&fresh, path, work.generation).unwrap_err().kind, ErrorKind::Fenced);
            assert!(capture::has_table(&fresh, "csb_copy").unwrap());
            for _ in 0..2 {
                finish(&fresh, path, Generation(2)).unwrap();
                assert!(!capture::has_table(&fresh, "csb_copy").unwrap());
                assert!(!capture::has_table(&fresh, "csb_copy_after").unwrap());
            }
        });
    }

    #[test]
    fn a_piece_is_committed_when_it_is_large_or_old_and_not_before() {
        with_source(USERS, |source, work| {
            let fresh = Connection::open_in_memory().unwrap();
            let mut copy = RowCopy::begin(&fresh, Path::new("fresh.sqlite"), source, work).unwrap();
            let place = || Place { table: Some("users".to_owned()), after: Some(vec![Datum::Integer(7)]) };
            let before = tokens(source);
            copy.inserted(1, PIECE_BYTES - 1);
            copy.reached(place(), source, work).unwrap();
            assert_eq!(tokens(source), before);
            copy.inserted(1, 1);
            copy.reached(place(), source, work).unwrap();
            assert_eq!(tokens(source), before + 1);
            copy.began = Instant::now().checked_sub(PIECE_TIME).unwrap();
            copy.reached(place(), source, work).unwrap();
            assert_eq!(tokens(source), before + 2);
        });
    }

    #[test]
    fn only_a_copy_of_this_source_in_this_boot_whose_log_is_whole_is_gone_on_with() {
        with_source(USERS, |source, work| {
            let fresh = Connection::open_in_memory().unwrap();
            RowCopy::begin(&fresh, Path::new("fresh.sqlite"), source, work)
                .unwrap()
                .end(source, work)
                .unwrap();
            let begun = || read_claimed(&fresh).unwrap().unwrap().1;
            assert!(begun().fits(source).unwrap());
            let other = || Uuid::new_v4().to_string();
            assert!(!Begun { source_id: other(), ..begun() }.fits(source).unwrap());
            assert!(!Begun { schema_version: 0, ..begun() }.fits(source).unwrap());
            assert!(!Begun { boot: other(), ..begun() }.fits(source).unwrap());
            assert!(!Begun { token: other(), ..begun() }.fits(source).unwrap());
            assert!(!Begun { token: "none".to_owned(), ..begun() }.fits(source).unwrap());
            // The log begins with the row after a position, or with a later one, or has none at all.
            let cut = |sql: &str| source.connection.execute_batch(sql).unwrap();
            cut("DROP TRIGGER csb_t_last; INSERT INTO users VALUES (1, 'anna'), (2, 'bert')");
            for (first, fitting) in [(2, [false, true, true]), (3, [false, false, true])] {
                cut(&format!("DELETE FROM csb_change WHERE position < {first}"));
                let fits = [0, 1, 2].map(|start| Begun { start, ..begun() }.fits(source).unwrap());
                assert_eq!(fits, fitting, "the log begins with {first}");
            }
            cut("DELETE FROM csb_change");
            assert!(Begun { start: 0, ..begun() }.fits(source).unwrap());
            assert!(!Begun { start: 1, ..begun() }.fits(source).unwrap());
        });
    }
}
