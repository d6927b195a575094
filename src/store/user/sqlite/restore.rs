//! Giving a lost user store back from the standby copy.

use std::path::Path;

use rusqlite::Connection;

use super::capture;
use super::fresh::{begin_fresh, publish, rights_of};
use super::pages::{self, Copied, copy_pages};
use super::pair::SqlitePair;
use super::schema::{Table, objects};
use super::standby::{self, Found};
use super::write_behind::WriteBehind;
use crate::error::{Error, ErrorKind, Result, Side};
use crate::store::Progress;
use crate::store::sqlite::{Access, open, quote, sqlite_error};
use crate::store::user::{PairOutcome, Work};

/// Whether the active copy is gone, or is a database without a single table, while the standby holds a copy. How many
/// rows the copy has.
pub(super) fn lost(pair: &SqlitePair) -> Result<Option<u64>> {
    match standby::examine(&pair.standby).map_err(Side::Export.failed())? {
        Found::Copy(_) => {}
        Found::Damaged if !pair.source.exists() => {
            return Err(damaged(&pair.standby, "its schema cannot be read"));
        }
        _ => return Ok(None),
    }
    if pair.source.exists() {
        let source = open(&pair.source, Access::Read).map_err(Side::Import.failed())?;
        let tables =
            objects(&source).map_err(|cause| sqlite_error("read", &pair.source, &cause).on(Side::Import))?;
        if !tables.is_empty() {
            return Ok(None);
        }
    }
    count(pair).map(Some).map_err(Side::Export.failed())
}

/// How many rows the copy has, counted: nobody waits for a standby.
fn count(pair: &SqlitePair) -> Result<u64> {
    let copy = open(&pair.standby, Access::Read)?;
    let schema = super::schema::Schema::read(&copy, &pair.standby, &pair.config)?;
    let rows = |table: &Table| -> rusqlite::Result<u64> {
        let sql = format!("SELECT count(*) FROM {}", quote(&table.name));
        copy.query_row(&sql, [], |row| row.get::<_, i64>(0)).map(i64::unsigned_abs)
    };
    let counted: rusqlite::Result<u64> = schema.tables.iter().map(rows).sum();
    counted.map_err(|cause| sqlite_error("read", &pair.standby, &cause))
}

/// Makes the active copy anew. It continues the change log of the lost one, so that the next backup goes on from the
/// standby's cursor instead of copying everything again.
pub(super) fn restore(pair: &SqlitePair, work: &Work<'_>) -> Result<PairOutcome> {
    let Some(rows) = lost(pair)? else { return Ok(PairOutcome::default()) };
    let Found::Copy(cursor) = standby::examine(&pair.standby)? else { return Ok(PairOutcome::default()) };
    if !pair.source.parent().is_some_and(std::path::Path::is_dir) {
        return Err(Error::new(
            ErrorKind::StoreUnavailable,
            format!("The folder of the user store {} does not exist.", pair.source.display()),
            "Mount its file system, or create the folder, then run the command again.",
        )
        .at("path", pair.source.display()));
    }
    let fresh = begin_fresh(&pair.source, work.generation)?;
    let failed = |cause| sqlite_error("write the restored user store to", &fresh, &cause);
    {
        let mut file = WriteBehind::create(&fresh, rights_of(&pair.standby)?)?;
        let mut connection = open(&fresh, Access::Write)?;
        copy_back(pair, &mut connection, &mut file, rows, work)?;
        check_pages(&connection, &fresh, &pair.standby)?;
        let transaction = connection.transaction().map_err(failed)?;
        standby::drop_fence(&transaction)
            .and_then(|()| {
                transaction.execute_batch(
                    "DROP TABLE csb_standby; DROP TABLE csb_quarantine; DROP TABLE csb_damaged;
                     DROP TABLE IF EXISTS csb_shadow",
                )
            })
            .and_then(|()| {
                capture::create_after(&transaction, cursor.store_id, cursor.position, cursor.token)
            })
            .map_err(failed)?;
        transaction.commit().map_err(failed)?;
        capture::install(&mut connection, &fresh, &pair.config, work.now)?;
        capture::forget_changes(&connection, cursor.position).map_err(failed)?;
    }
    let bytes = std::fs::metadata(&fresh).map_or(0, |metadata| metadata.len());
    publish(&fresh, &pair.source, work)?;
    let mut outcome = PairOutcome::default();
    outcome.moved.items_written = rows;
    outcome.moved.bytes = bytes;
    outcome.moved.batches = 1;
    outcome.details.push(format!("Gave the lost user store back at {}.", pair.source.display()));
    Ok(outcome)
}

/// Copies the standby's pages; nobody writes to it while its pool's lease is held.
fn copy_back(
    pair: &SqlitePair,
    to: &mut Connection,
    file: &mut WriteBehind,
    rows: u64,
    work: &Work<'_>,
) -> Result<()> {
    let copy = open(&pair.standby, Access::Read).map_err(Side::Export.failed())?;
    let page_size: u32 = copy
        .pragma_query_value(None, "page_size", |row| row.get(0))
        .map_err(|cause| sqlite_error("read", &pair.standby, &cause).on(Side::Export))?;
    let from = pages::From { connection: &copy, path: &pair.standby };
    let copied = copy_pages(&from, to, file, work, &mut |pages| {
        (work.progress)(Progress {
            activity: "Giving back the user store",
            items_done: rows * pages.done / pages.of.max(1),
            items_total: Some(rows),
            bytes_done: pages.done * u64::from(page_size),
            bytes_total: Some(pages.of * u64::from(page_size)),
        });
        true
    })?;
    match copied {
        Copied::Complete => Ok(()),
        Copied::Unreadable(error) => Err(error),
        Copied::GivenUp => Err(Error::new(
            ErrorKind::StoreBusy,
            format!("Somebody writes to {} while it is copied.", pair.standby.display()),
            "Find out who writes to the standby copy, then run the command again.",
        )
        .at("path", pair.standby.display())
        .on(Side::Export)),
    }
}

/// Pages are copied as they are: whether the standby copy is damaged shows only when they are read as tables.
fn check_pages(fresh: &Connection, path: &Path, standby: &Path) -> Result<()> {
    let found: String = fresh
        .query_row("PRAGMA quick_check(1)", [], |row| row.get(0))
        .map_err(|cause| sqlite_error("check", path, &cause))?;
    if found == "ok" {
        return Ok(());
    }
    Err(damaged(standby, &found))
}

fn damaged(standby: &Path, how: &str) -> Error {
    Error::new(
        ErrorKind::Corrupt,
        format!("The standby copy {} is damaged, so the user store is not made from it: {how}.", standby.display()),
        "Take what can be read from it with `.recover` of sqlite3, or put an earlier copy (.superseded-…) in its place, then run the command again.",
    )
    .at("path", standby.display())
    .on(Side::Export)
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use tokio_util::sync::CancellationToken;

    use super::super::testing::{with_pair, with_work};
    use super::*;
    use crate::store::Generation;

    const ROWS: &str = "CREATE TABLE t (id INTEGER PRIMARY KEY, v);
        WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 3000)
            INSERT INTO t SELECT i, zeroblob(1000) FROM n";

    #[test]
    fn giving_back_tells_how_far_it_is_in_rows_and_bytes() {
        with_pair(ROWS, |pair, _| {
            std::fs::remove_file(&pair.source).unwrap();
            let seen = RefCell::new(Vec::new());
            let cancel = CancellationToken::new();
            let progress = |progress: Progress| seen.borrow_mut().push(progress);
            let now = jiff::Timestamp::now();
            let work =
                Work { generation: Generation(1), verify: false, cancel: &cancel, progress: &progress, now };
            let moved = restore(pair, &work).unwrap().moved;
            assert_eq!((moved.items_written, moved.batches), (3_000, 1));
            let seen = seen.into_inner();
            let bytes = std::fs::metadata(&pair.standby).unwrap().len();
            assert!(seen.len() > 1);
            for told in &seen {
                assert_eq!((told.items_total, told.bytes_total), (Some(3_000), Some(bytes)));
                assert_eq!(told.items_done, 3_000 * told.bytes_done / bytes);
            }
            assert_eq!(seen.last().unwrap().bytes_done, bytes);
        });
    }

    #[test]
    fn what_is_given_back_was_counted() {
        let many = "CREATE TABLE contacts (owner TEXT PRIMARY KEY) WITHOUT ROWID;
            WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 12000)
                INSERT INTO contacts SELECT i FROM n;
            CREATE TABLE users (id INTEGER PRIMARY KEY); INSERT INTO users VALUES (1), (900000)";
        with_pair(many, |pair, _| {
            std::fs::remove_file(&pair.source).unwrap();
            assert_eq!(lost(pair).unwrap(), Some(12_002));
            with_work(|work| assert_eq!(restore(pair, work).unwrap().moved.items_written, 12_002));
        });
    }

    #[test]
    fn a_damaged_standby_matters_only_where_the_store_is_gone() {
        with_pair(ROWS, |pair, _| {
            use std::os::unix::fs::FileExt;
            let file = std::fs::File::options().write(true).open(&pair.standby).unwrap();
            file.write_at(&[0xff; 3_996], 100).unwrap();
            // Nothing may read a database beside a handle of the same process.
            drop(file);
            assert_eq!(lost(pair).unwrap(), None);
            std::fs::remove_file(&pair.source).unwrap();
            assert_eq!(lost(pair).unwrap_err().kind, ErrorKind::Corrupt);
        });
    }
}
