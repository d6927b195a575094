//! The first copy of a user store: made beside the standby's place, published when it is complete.

use std::path::Path;

use rusqlite::types::Value;
use rusqlite::{Connection, Transaction, TransactionBehavior};

use super::fresh::{begin_fresh, fresh_path, publish, rights_of, taken_over};
use super::import::Import;
use super::pair::Run;
use super::rows::{self, Place, RowCopy};
use super::schema::Table;
use super::source::{Direction, Ending, Source, Span, Stretch, patiently};
use super::start::Reason;
use super::write_behind::WriteBehind;
use super::{image, seen, standby};
use crate::error::{ErrorKind, Result, Side};
use crate::store::Progress;
use crate::store::sqlite::{Access, Database, open, quote, sqlite_error};
use crate::store::user::{Cursor, Work};

impl Run<'_> {
    /// Makes a new copy beside the standby's place, consistent and complete, and puts it there in one step.
    pub(super) fn copy_anew(&mut self, standby: &Path, wrong: Option<&str>) -> Result<Cursor> {
        self.reasons = self.work.verify.then_some(Reason::Requested).into_iter().collect();
        let fresh = fresh_path(standby, self.work.generation);
        let mut is_begun = false;
        let cursor = self.make_copy(standby, &mut is_begun).map_err(|error| {
            // A file that was taken away while it was written is a failure of input and output to SQLite.
            if is_begun && !fresh.exists() { taken_over(standby) } else { error }
        })?;
        self.outcome.details.push("Made the first copy of the user store.".to_owned());
        let aside = publish(&fresh, standby, self.work)?;
        seen::keep_published(standby, cursor.token);
        if let Some(aside) = aside {
            let kept = format!("It was kept as {}; remove it when nobody needs it.", aside.display());
            match wrong {
                Some(wrong) => {
                    self.outcome.warnings.push(format!("What lay at {} {wrong}. {kept}", standby.display()));
                }
                None => {
                    self.outcome.details.push(format!("A former copy lay at {}. {kept}", standby.display()))
                }
            }
        }
        Ok(cursor)
    }

    fn make_copy(&mut self, standby: &Path, is_begun: &mut bool) -> Result<Cursor> {
        if let Some(fresh) = rows::adopt(standby, self.source, self.work)? {
            *is_begun = true;
            let connection = open_unpublished(&fresh, Access::Write)?;
            let copy = RowCopy::go_on(&connection, &fresh, self.work)?;
            self.outcome.details.push(format!("Went on with an interrupted copy after {} rows.", copy.rows));
            return self.copy_rows(copy);
        }
        let fresh = begin_fresh(standby, self.work.generation)?;
        if let Some(cursor) = self.copy_image(&fresh, is_begun)? {
            return Ok(cursor);
        }
        begin_fresh(standby, self.work.generation)?;
        *is_begun = false;
        let connection = open_unpublished(&fresh, Access::Create(rights_of(self.source.path)?))?;
        *is_begun = true;
        let settings = patiently(self.source.path, "read", self.work, || self.settings())
            .map_err(Side::Export.failed())?;
        connection
            .execute_batch(&settings)
            .and_then(|()| standby::create(&connection))
            .map_err(|cause| sqlite_error("create", &fresh, &cause))?;
        let wanted = self.source.objects(self.work)?;
        let mut import = self.begin_import(&connection, &fresh);
        import.align_tables(&wanted, &self.source.capture.schema)?;
        self.end_import(import);
        let copy = RowCopy::begin(&connection, &fresh, self.source, self.work)?;
        self.copy_rows(copy)
    }

    /// Copies all pages, makes a standby copy of them and brings it up to the source; none where the pages cannot be had
    /// in one piece, or are damaged.
    fn copy_image(&mut self, fresh: &Path, is_begun: &mut bool) -> Result<Option<Cursor>> {
        let failed = |cause| sqlite_error("write the new standby copy to", fresh, &cause);
        let mut file = WriteBehind::create(fresh, rights_of(self.source.path)?)?;
        *is_begun = true;
        let mut connection = open_unpublished(fresh, Access::Write)?;
        let Some(image) = image::copy(self.source, &mut connection, &mut file, self.work)? else {
            return Ok(None);
        };
        image::make_standby(&connection, &self.source.capture.schema).map_err(failed)?;
        let cursor = self.catch_up(&connection, fresh, image.position)?;
        drop(connection);
        file.finish()?;
        let moved = &mut self.outcome.moved;
        moved.bytes += image.bytes;
        moved.batches += 1;
        for table in &self.source.capture.schema.tables {
            let rows = image.rows.get(&table.name).copied().unwrap_or(0);
            moved.items_written += rows;
            self.outcome.details.push(format!("Copied {rows} rows of table {}.", table.name));
        }
        Ok(Some(cursor))
    }

    /// Brings a copy that holds everything up to a position, or more, to a state that the source had at one position.
    fn catch_up(&mut self, connection: &Connection, fresh: &Path, start: i64) -> Result<Cursor> {
        let failed = |cause| sqlite_error("write the new standby copy to", fresh, &cause);
        let transaction =
            Transaction::new_unchecked(connection, TransactionBehavior::Exclusive).map_err(failed)?;
        rows::finish(&transaction, fresh, self.work.generation)?;
        let cursor = self.import(&transaction, fresh, start, None)?;
        self.source.file.check()?;
        transaction.commit().map_err(failed)?;
        Ok(cursor)
    }

    /// Copies row by row from where the copy stands. What a cancelled job copied is kept for the next one.
    fn copy_rows(&mut self, mut copy: RowCopy<'_>) -> Result<Cursor> {
        let filled = self.fill_tables(&mut copy);
        if filled.as_ref().is_err_and(|error| error.kind == ErrorKind::Cancelled) {
            copy.keep(self.source);
        }
        filled?;
        copy.end(self.source, self.work)?;
        self.catch_up(copy.connection, copy.path, copy.start)
    }

    fn fill_tables(&mut self, copy: &mut RowCopy<'_>) -> Result<()> {
        let tables = &self.source.capture.schema.tables;
        let total = self.source.row_estimate(|_| true, self.work)?;
        while let Some(name) = copy.place.table.clone() {
            let mut rest = tables.iter().skip_while(|table| table.name != name);
            let Some(table) = rest.next() else { break };
            let before = copy.rows;
            let mut import = self.begin_import(copy.connection, copy.path);
            let filled = fill_table(self.source, table, copy, &mut import, total, self.work);
            self.end_import(import);
            filled?;
            self.outcome.details.push(format!("Copied {} rows of table {name}.", copy.rows - before));
            let next = Place { table: rest.next().map(|table| table.name.clone()), after: None };
            copy.reached(next, self.source, self.work)?;
        }
        Ok(())
    }

    /// Settings that a database takes over from its source and that must be made before its first table.
    fn settings(&self) -> rusqlite::Result<String> {
        let mut settings = String::new();
        for name in ["encoding", "page_size", "auto_vacuum", "user_version", "application_id"] {
            let value = match self.source.connection.pragma_query_value(None, name, |row| row.get(0))? {
                Value::Integer(number) => number.to_string(),
                Value::Text(text) => quote(&text),
                _ => continue,
            };
            settings.push_str(&format!("PRAGMA {name} = {value};"));
        }
        Ok(settings)
    }
}

/// Copies the rows of one table that the copy does not have yet. A damaged table is left out: it is missing when the
/// copy catches up, which then copies what can be read of it.
fn fill_table(
    source: &Source<'_>,
    table: &Table,
    copy: &mut RowCopy<'_>,
    import: &mut Import<'_>,
    total: Option<u64>,
    work: &Work<'_>,
) -> Result<()> {
    loop {
        work.check()?;
        let rest = Span { after: copy.place.after.clone(), ..Span::default() };
        let stretch = match source.stretch(table, &rest, Direction::Up, work) {
            Ok(Stretch { ending: Ending::Damaged, .. }) => return copy.leave_out(table),
            Err(error) if error.kind == ErrorKind::Io => return copy.leave_out(table),
            stretch => stretch?,
        };
        let bytes = import.moved.bytes;
        import.insert(table, &stretch.rows)?;
        import.moved.batches += u64::from(!stretch.rows.is_empty());
        copy.inserted(stretch.rows.len() as u64, import.moved.bytes - bytes);
        let is_last = matches!(stretch.ending, Ending::Complete);
        if !is_last {
            copy.reached(Place { table: Some(table.name.clone()), after: stretch.last }, source, work)?;
        }
        (work.progress)(Progress {
            activity: "Copying tables",
            items_done: copy.rows,
            items_total: total,
            bytes_done: import.moved.bytes,
            bytes_total: None,
        });
        if is_last {
            return Ok(());
        }
    }
}

/// Opens a new copy. Durability comes at the end, when the whole file is synced before it is published.
fn open_unpublished(fresh: &Path, access: Access) -> Result<Database> {
    let failed = |cause| sqlite_error("create", fresh, &cause);
    let connection = open(fresh, access)?;
    connection.pragma_update(None, "synchronous", "OFF").map_err(failed)?;
    Ok(connection)
}
