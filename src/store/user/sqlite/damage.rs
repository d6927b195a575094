//! Going on where a database is damaged: tables of the user store, its change log, the standby copy.

use std::cell::Cell;
use std::path::Path;

use rusqlite::{Connection, OptionalExtension};

use super::capture;
use super::datum::Row;
use super::import::Import;
use super::salvage::Salvage;
use super::schema::Table;
use super::source::{Direction, LOG, Source, Span, patiently};
use super::triggers::Installed;
use crate::error::Result;
use crate::store::Progress;
use crate::store::sqlite::begin_write;
use crate::store::user::Work;

/// What is said of a standby copy that cannot be written any more.
pub(super) const DAMAGED: &str = "is damaged";

/// The table of tokens.
const TOKENS: &str = "csb_barrier";

/// What is said of a table that can only be copied whole.
pub(super) fn unindexed_warning(table: &str) -> String {
    format!(
        "An index of table {table} is damaged in the user store: the table was copied whole, as its rows cannot be found by their keys. Run REINDEX there."
    )
}

/// A table that is copied whole.
pub(super) struct Copying<'a> {
    pub(super) source: &'a Source<'a>,
    pub(super) work: &'a Work<'a>,
    pub(super) table: &'a Table,
    /// Rows copied, of this table and those before it.
    pub(super) done: Cell<u64>,
    /// Rows there are, where that is known.
    pub(super) total: Option<u64>,
}

impl Copying<'_> {
    /// Makes the copy of the table equal to the table. Of a damaged one it gets the rows that can be read, and keeps all
    /// others that it has: whether they were deleted cannot be known. Returns how many rows are done.
    pub(super) fn into(self, import: &mut Import<'_>) -> Result<u64> {
        let before = self.done.get();
        let had_rows = import.has_rows(self.table)?;
        let tried = if had_rows { Some(import.try_table()?) } else { None };
        import.clear(self.table)?;
        let mut damage = self.walk(&mut |rows| self.write(import, rows, false))?;
        match (tried, &damage) {
            (Some(_), None) => import.keep()?,
            (Some(tried), Some(_)) => {
                import.take_back(tried, self.table)?;
                self.done.set(before);
                damage = self.walk(&mut |rows| self.write(import, rows, true))?;
            }
            (None, _) => {}
        }
        if let Some(rest) = damage {
            let mut take = |rows| self.write(import, rows, had_rows);
            let gaps = Salvage::new(self.source, self.table, self.work, &mut take).read_around(rest)?;
            import.mark_damaged(self.table, &gaps)?;
        }
        Ok(self.done.get())
    }

    fn write(&self, import: &mut Import<'_>, rows: Vec<Row>, merges: bool) -> Result<()> {
        self.done.set(self.done.get() + rows.len() as u64);
        import.moved.batches += u64::from(!rows.is_empty());
        if merges {
            import.merge(self.table, &rows)?;
        } else {
            import.insert(self.table, &rows)?;
        }
        (self.work.progress)(Progress {
            activity: "Copying tables",
            items_done: self.done.get(),
            items_total: self.total,
            bytes_done: import.moved.bytes,
            ..Progress::default()
        });
        Ok(())
    }

    /// Reads the table from its beginning until it ends, or until it is damaged: then what is left of it.
    fn walk(&self, take: &mut dyn FnMut(Vec<Row>) -> Result<()>) -> Result<Option<Span>> {
        Salvage::new(self.source, self.table, self.work, take).read(Span::default(), Direction::Up)
    }
}

/// Begins the change log anew where it is damaged, and the tokens where they are; what is to be said about that. The old
/// tables are left under other names: freeing pages by what a damaged page says could free those of other tables. The
/// triggers go with the log, so that the next installation finds every table unobserved and has it copied whole. Without
/// its tokens nothing proves that the standby copy is of this source: the next run makes another and keeps it beside.
///
/// # Errors
/// Failures of the database.
pub(super) fn renew_log(connection: &Connection, path: &Path, work: &Work<'_>) -> Result<String> {
    let aside = format!("csb_damaged_{}", work.now.as_millisecond());
    patiently(path, "renew the change log of", work, || {
        let transaction = begin_write(connection)?;
        Installed::read(&transaction)?.finish(&transaction)?;
        let has_tokens: bool = transaction.query_row(
            "SELECT integrity_check = 'ok' FROM pragma_integrity_check(?1)",
            [TOKENS],
            |row| row.get(0),
        )?;
        if !has_tokens {
            begin_table_anew(&transaction, TOKENS, &format!("{aside}_tokens"))?;
        }
        begin_table_anew(&transaction, LOG, &aside)?;
        capture::keep_positions(&transaction)?;
        transaction.commit()
    })?;
    Ok(format!(
        "The change log in {} was damaged and begun anew; every table was copied whole. The damaged one is left there as {aside}. Check the user store with `PRAGMA integrity_check`.",
        path.display()
    ))
}

/// Puts an empty table in the place of one that is left under another name.
fn begin_table_anew(connection: &Connection, table: &str, aside: &str) -> rusqlite::Result<()> {
    let sql: Option<String> = connection
        .query_row("SELECT sql FROM sqlite_schema WHERE name = ?1", [table], |row| row.get(0))
        .optional()?;
    connection.execute_batch(&format!("ALTER TABLE {table} RENAME TO {aside}"))?;
    connection.execute_batch(&sql.unwrap_or_default())
}
