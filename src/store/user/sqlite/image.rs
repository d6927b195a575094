//! An exact image of the active copy, and what makes a standby copy of it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::ScopedJoinHandle;
use std::time::Duration;

use rusqlite::Connection;

use super::capture::{self, has_table};
use super::pages::{self, Copied, PagesDone, copy_pages, is_about_source};
use super::reserved::own_objects;
use super::schema::{Schema, SchemaObject, objects};
use super::source::{Source, patiently};
use super::visit::count_rows;
use super::write_behind::WriteBehind;
use super::{module_free, standby};
use crate::error::{Result, Side};
use crate::store::Progress;
use crate::store::sqlite::{Access, open, quote, sqlite_error};
use crate::store::user::Work;

/// What an image holds.
pub(super) struct Image {
    /// The last position of the log in it.
    pub(super) position: i64,
    /// Rows by table, as they were at the source a moment before or after.
    pub(super) rows: BTreeMap<String, u64>,
    pub(super) bytes: u64,
}

/// The rows of a walk through the source's tables; none where something in them is damaged.
type Walked = rusqlite::Result<Option<BTreeMap<String, u64>>>;

/// Copies all pages of the source; none where it is written to too often for that, or where something is damaged.
///
/// # Errors
/// Failures to write the image, `StoreBusy`, `Cancelled`.
pub(super) fn copy(
    source: &Source<'_>,
    to: &mut Connection,
    file: &mut WriteBehind,
    work: &Work<'_>,
) -> Result<Option<Image>> {
    let items_total = source.row_estimate(|_| true, work)?;
    let reader = open(source.path, Access::Read).map_err(Side::Export.failed())?;
    let failed = |cause| sqlite_error("read", source.path, &cause).on(Side::Export);
    let image = to.path().map(PathBuf::from).unwrap_or_default();
    let in_image = |cause| sqlite_error("read", &image, &cause);
    let page_size: u32 = reader.pragma_query_value(None, "page_size", |row| row.get(0)).map_err(failed)?;
    let mut tell = |pages: PagesDone| {
        (work.progress)(Progress {
            activity: "Copying pages",
            items_done: items_total.unwrap_or(0) * pages.done / pages.of.max(1),
            items_total,
            bytes_done: pages.done * u64::from(page_size),
            bytes_total: Some(pages.of * u64::from(page_size)),
        });
    };
    let from = pages::From { connection: &reader, path: source.path };
    let rows = if freeze(&reader, source, work)? {
        copy_beside_walk(&from, to, file, work, &mut tell)?
    } else {
        let copied = copy_pages(&from, to, file, work, &mut |pages| {
            tell(pages);
            true
        })?;
        // Without a snapshot, a walk at the source would keep its server waiting.
        if matches!(copied, Copied::Complete) { sound(count_rows(to)).map_err(in_image)? } else { None }
    };
    let Some(rows) = rows else { return Ok(None) };
    if capture::store_id(to).map_err(in_image)? != Some(source.capture.store_id) {
        return Ok(None);
    }
    let pages: u32 = to.pragma_query_value(None, "page_count", |row| row.get(0)).map_err(in_image)?;
    let position = capture::last_position(to).map_err(in_image)?;
    Ok(Some(Image { position, rows, bytes: u64::from(pages) * u64::from(page_size) }))
}

/// Begins a transaction that sees one state of the source for as long as it lasts, if it keeps nobody from writing.
fn freeze(reader: &Connection, source: &Source<'_>, work: &Work<'_>) -> Result<bool> {
    patiently(source.path, "read", work, || {
        let mode: String = reader.pragma_query_value(None, "journal_mode", |row| row.get(0))?;
        if mode != "wal" {
            return Ok(false);
        }
        reader.execute_batch("BEGIN; SELECT 1 FROM sqlite_schema")?;
        Ok(true)
    })
    .map_err(Side::Export.failed())
}

/// Copies pages while another thread walks through the same tables. On a write-ahead log neither is in anybody's way.
fn copy_beside_walk(
    from: &pages::From<'_>,
    to: &mut Connection,
    file: &mut WriteBehind,
    work: &Work<'_>,
    tell: &mut dyn FnMut(PagesDone),
) -> Result<Option<BTreeMap<String, u64>>> {
    let walker = open(from.path, Access::Read).map_err(Side::Export.failed())?;
    let interrupt = walker.get_interrupt_handle();
    let is_damaged = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let is_damaged = &is_damaged;
        let walk = scope.spawn(move || {
            let rows = walker.execute_batch("BEGIN").and_then(|()| sound(count_rows(&walker)));
            is_damaged.store(matches!(rows, Ok(None)), Ordering::Relaxed);
            rows
        });
        let copied = copy_pages(from, to, file, work, &mut |pages| {
            tell(pages);
            !is_damaged.load(Ordering::Relaxed)
        });
        let is_complete = copied.and_then(|copied| {
            let is_complete = matches!(copied, Copied::Complete);
            if is_complete {
                wait_for(&walk, work)?;
            }
            Ok(is_complete)
        });
        if !matches!(is_complete, Ok(true)) {
            interrupt.interrupt();
        }
        let rows = walk.join().unwrap_or(Ok(None));
        if is_complete? {
            rows.map_err(|cause| sqlite_error("read", from.path, &cause).on(Side::Export))
        } else {
            Ok(None)
        }
    })
}

/// Waits for the walk, unless the job is cancelled.
fn wait_for(walk: &ScopedJoinHandle<'_, Walked>, work: &Work<'_>) -> Result<()> {
    while !walk.is_finished() {
        work.check()?;
        std::thread::sleep(Duration::from_millis(1));
    }
    Ok(())
}

/// Damage at the source is no failure: row by row, what can be read of it is copied.
fn sound(rows: rusqlite::Result<BTreeMap<String, u64>>) -> Walked {
    match rows {
        Err(cause) if is_about_source(&cause) => Ok(None),
        rows => rows.map(Some),
    }
}

/// How much is overwritten at a time.
const SCRUBBED_BYTES: i64 = 16 << 20;

/// Takes what is ours at the source out of the image, and what the topology excludes, and fences it.
///
/// # Errors
/// Failures of the database.
pub(super) fn make_standby(connection: &Connection, schema: &Schema) -> rusqlite::Result<()> {
    // Whatever the source is, the copy is a database with a rollback journal. Where this fails the image is given up, so
    // nothing is kept to roll it back with: SQLite does not say when it cannot remove a journal, and would use it later.
    connection.pragma_update(None, "journal_mode", "OFF")?;
    let transaction = connection.unchecked_transaction()?;
    drop_own(&transaction)?;
    let all = objects(&transaction)?;
    let excluded: Vec<&SchemaObject> =
        all.iter().filter(|object| schema.excluded.contains(&object.name)).collect();
    if !excluded.is_empty() {
        // What is left out must not travel in pages that are merely free.
        transaction.pragma_update(None, "secure_delete", true)?;
        for table in excluded {
            empty(&transaction, table)?;
        }
        overwrite_free_pages(&transaction)?;
    }
    standby::create(&transaction)?;
    standby::raise_fence(&transaction, &all)?;
    transaction.commit()?;
    connection.pragma_update(None, "journal_mode", "DELETE")
}

/// Drops every object of ours.
fn drop_own(connection: &Connection) -> rusqlite::Result<()> {
    for (kind, name) in own_objects(connection)? {
        connection.execute_batch(&format!("DROP {kind} {}", quote(&name)))?;
    }
    Ok(())
}

fn empty(connection: &Connection, table: &SchemaObject) -> rusqlite::Result<()> {
    if table.is_virtual() {
        for object in
            objects(connection)?.iter().filter(|object| object.shadow_of.as_ref() == Some(&table.name))
        {
            module_free::drop_table(connection, object)?;
        }
        module_free::drop_table(connection, table)?;
        module_free::create_empty(connection, table)?;
    } else {
        connection.execute(&format!("DELETE FROM {}", quote(&table.name)), [])?;
    }
    // The server's own figures about the table hold some of its values.
    for figures in ["sqlite_stat1", "sqlite_stat4"] {
        if has_table(connection, figures)? {
            connection.execute(&format!("DELETE FROM {figures} WHERE tbl = ?1"), [&table.name])?;
        }
    }
    Ok(())
}

/// Overwrites pages that the server's SQLite had freed without erasing them: a table of zeros takes them all, and is
/// dropped again.
fn overwrite_free_pages(connection: &Connection) -> rusqlite::Result<()> {
    let pragma = |name| connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
    let page_size = pragma("page_size")?;
    connection.execute_batch("CREATE TABLE csb_zeros (zeros BLOB)")?;
    loop {
        let free = pragma("freelist_count")?;
        if free == 0 {
            break;
        }
        let bytes = (free * page_size).min(SCRUBBED_BYTES);
        connection.execute("INSERT INTO csb_zeros VALUES (zeroblob(?1))", [bytes])?;
    }
    connection.execute_batch("DROP TABLE csb_zeros")
}

#[cfg(test)]
mod tests {
    use rusqlite::ffi;

    use super::*;

    #[test]
    fn only_what_is_wrong_with_the_source_is_no_failure() {
        let failed = |code| sound(Err(rusqlite::Error::SqliteFailure(ffi::Error::new(code), None)));
        assert!(matches!(failed(ffi::SQLITE_CORRUPT), Ok(None)));
        assert!(failed(ffi::SQLITE_INTERRUPT).is_err());
        assert!(matches!(sound(Ok(BTreeMap::new())), Ok(Some(_))));
    }
}
