//! Writing the standby copy, inside one transaction that somebody else begins and commits.

use std::collections::BTreeSet;
use std::path::Path;

use rusqlite::{Connection, ErrorCode, params_from_iter};

use super::datum::{Datum, Row};
use super::digest::encoded;
use super::salvage;
use super::schema::{Schema, SchemaObject, Table, column_list};
use super::sequences::{self, Sequences};
use super::source::{Span, TableBatch, key_condition, values_of};
use super::{module_free, standby};
use crate::error::Result;
use crate::report::{Moved, QuarantinedItem};
use crate::store::sqlite::{quote, sqlite_error};

/// What to do about a damaged user store.
pub(super) const DAMAGE_ADVICE: &str = "Check the user store with `PRAGMA integrity_check` and repair it, for instance with `REINDEX` or `.recover` of sqlite3, or from the standby copy. What the standby copy holds of it stays there; it is copied again by every job.";

/// Where an import stood before a table was tried.
pub(super) struct Tried {
    moved: Moved,
    quarantined: usize,
}

/// An import under way.
pub(super) struct Import<'a> {
    pub(super) connection: &'a Connection,
    pub(super) path: &'a Path,
    pub(super) moved: Moved,
    pub(super) quarantined: Vec<QuarantinedItem>,
    /// Whether [`Import::align_tables`] found a schema that is not the source's.
    pub(super) schema_differs: bool,
    /// Tables that could not be read whole.
    pub(super) damaged: BTreeSet<String>,
}

impl Import<'_> {
    /// Makes the tables those of the source. Whatever differs is dropped and made anew; indexes, views and triggers
    /// follow with [`Import::create_what_fits`]. Returns the tables that are empty now and have to be copied whole.
    ///
    /// # Errors
    /// Failures of the database.
    pub(super) fn align_tables(
        &mut self,
        wanted: &[SchemaObject],
        schema: &Schema,
    ) -> Result<BTreeSet<String>> {
        let mut renewed = BTreeSet::new();
        let mut differs = false;
        self.run(|connection, _| {
            let present = schema.objects_of(connection)?;
            differs = present != wanted;
            if !differs {
                return Ok(());
            }
            standby::drop_fence(connection)?;
            for object in present.iter().filter(|object| object.kind != "table") {
                let kind = object.kind.to_ascii_uppercase();
                connection.execute_batch(&format!("DROP {kind} IF EXISTS {}", quote(&object.name)))?;
            }
            let tables = |objects: &[SchemaObject], others: &[SchemaObject]| -> Vec<SchemaObject> {
                let is_alone = |object: &&SchemaObject| object.kind == "table" && !others.contains(object);
                objects.iter().filter(is_alone).cloned().collect()
            };
            for table in tables(&present, wanted) {
                module_free::drop_table(connection, &table)?;
            }
            for table in tables(wanted, &present) {
                if schema.excluded.contains(&table.name) {
                    module_free::create_empty(connection, &table)?;
                } else {
                    module_free::create_table(connection, &table)?;
                }
                renewed.insert(table.name);
            }
            Ok(())
        })?;
        self.schema_differs = differs;
        Ok(renewed)
    }

    /// Makes indexes, views and triggers those of the source and raises the fence. An index that the rows of before the
    /// change log was replayed do not fit is left for [`Import::create_rest`].
    ///
    /// # Errors
    /// Failures of the database.
    pub(super) fn create_what_fits(&mut self, wanted: &[SchemaObject], schema: &Schema) -> Result<()> {
        self.create_missing(wanted, schema, is_refused)
    }

    /// Makes those indexes, views and triggers of the source that are still missing.
    ///
    /// # Errors
    /// Failures of the database.
    pub(super) fn create_rest(&mut self, wanted: &[SchemaObject], schema: &Schema) -> Result<()> {
        self.create_missing(wanted, schema, |_| false)
    }

    fn create_missing(
        &mut self,
        wanted: &[SchemaObject],
        schema: &Schema,
        may_be_left: impl Fn(&rusqlite::Error) -> bool,
    ) -> Result<()> {
        if !self.schema_differs {
            return Ok(());
        }
        self.run(|connection, _| {
            let present = schema.objects_of(connection)?;
            for object in wanted.iter().filter(|object| !present.contains(object)) {
                match connection.execute_batch(&object.sql) {
                    Err(cause) if object.kind == "index" && may_be_left(&cause) => {}
                    created => created?,
                }
            }
            standby::raise_fence(connection, wanted)
        })
    }

    /// Makes the numbers that AUTOINCREMENT has given out those of the source, or names them where they are damaged.
    ///
    /// # Errors
    /// Failures of the database.
    pub(super) fn set_sequences(&mut self, objects: &[SchemaObject], wanted: &Sequences) -> Result<()> {
        let Some(wanted) = wanted else {
            self.quarantined.push(on_damaged_pages("table sqlite_sequence".to_owned()));
            return Ok(());
        };
        self.run(|connection, _| sequences::write(connection, objects, wanted))
    }

    /// Empties a table that is going to be copied whole.
    ///
    /// # Errors
    /// Failures of the database.
    pub(super) fn clear(&mut self, table: &Table) -> Result<()> {
        self.run(|connection, moved| {
            moved.items_deleted +=
                connection.execute(&format!("DELETE FROM {}", quote(&table.name)), [])? as u64;
            standby::forget_quarantined(connection, table)
        })
    }

    /// Adds rows. One that the standby refuses is quarantined.
    ///
    /// # Errors
    /// Failures of the database.
    pub(super) fn insert<'r>(
        &mut self,
        table: &Table,
        rows: impl IntoIterator<Item = &'r Row>,
    ) -> Result<()> {
        let mut refused = Vec::new();
        self.run(|connection, moved| {
            let mut statement = connection.prepare_cached(&insert_query(table))?;
            for row in rows {
                match statement.execute(params_from_iter(row)) {
                    Ok(_) => {
                        moved.items_written += 1;
                        moved.bytes += row.iter().map(Datum::size).sum::<u64>();
                    }
                    Err(cause) if is_refused(&cause) => {
                        refused.push((values_of(table, row, &table.key), cause.to_string()));
                    }
                    Err(cause) => return Err(cause),
                }
            }
            Ok(())
        })?;
        for (key, reason) in refused {
            self.quarantine(
                table,
                &key,
                &reason,
                "Correct the row at the pool; it is copied by the next job.",
            )?;
        }
        Ok(())
    }

    /// Makes the rows of some keys those of a batch. Where a key has one row here and there it is updated in place, which
    /// costs a third of deleting and inserting it. All other rows of the keys are deleted first, so that values can move
    /// between rows of a batch.
    ///
    /// # Errors
    /// Failures of the database.
    pub(super) fn replace(&mut self, table: &Table, batch: &TableBatch) -> Result<()> {
        let update = update_query(table);
        let is_updated = |key: &Row, count: usize| {
            update.is_some() && count == 1 && !key.iter().any(|value| matches!(value, Datum::Null))
        };
        let (mut deleted, mut bytes) = (0, 0);
        let mut inserted = Vec::new();
        let mut updated = 0;
        self.run(|connection, _| {
            let mut delete = connection.prepare_cached(&format!(
                "DELETE FROM {} WHERE {}",
                quote(&table.name),
                key_condition(table)
            ))?;
            let keys = || batch.keys.iter().zip(batch.counts.iter().copied());
            for (key, _) in keys().filter(|(key, count)| !is_updated(key, *count)) {
                deleted += delete.execute(params_from_iter(key))? as u64;
            }
            let mut update = update.as_ref().map(|sql| connection.prepare_cached(sql)).transpose()?;
            let mut rows = batch.rows.as_slice();
            for (key, count) in keys() {
                let (mine, rest) = rows.split_at_checked(count).unwrap_or((rows, &[]));
                rows = rest;
                let changed = match (&mut update, mine) {
                    (Some(update), [row]) => update.execute(params_from_iter(row)),
                    _ => Ok(0),
                };
                match changed {
                    Ok(0) => inserted.extend(mine.iter()),
                    Ok(_) => {
                        updated += 1;
                        bytes += mine.iter().flatten().map(Datum::size).sum::<u64>();
                    }
                    // Inserting says what is wrong with it.
                    Err(cause) if is_refused(&cause) => {
                        deleted += delete.execute(params_from_iter(key))? as u64;
                        inserted.extend(mine.iter());
                    }
                    Err(cause) => return Err(cause),
                }
            }
            Ok(())
        })?;
        self.moved.items_written += updated;
        self.moved.bytes += bytes;
        let written = self.moved.items_written;
        self.insert(table, inserted)?;
        self.moved.items_deleted += deleted.saturating_sub(self.moved.items_written - written);
        if self.damaged.contains(&table.name) {
            // It is copied again whole, and its gaps are named.
            return Ok(());
        }
        for key in &batch.unreadable {
            self.quarantine(table, key, "its page in the user store is damaged", DAMAGE_ADVICE)?;
        }
        Ok(())
    }

    /// Remembers and names a key whose rows could not be copied; what the standby holds of it stays.
    fn quarantine(&mut self, table: &Table, key: &Row, reason: &str, advice: &str) -> Result<()> {
        self.run(|connection, _| standby::quarantine(connection, table, key, reason))?;
        let key: Vec<String> = key.iter().map(|value| table.text.display(value)).collect();
        self.quarantined.push(QuarantinedItem {
            item: format!("{} ({})", table.name, key.join(", ")),
            reason: reason.to_owned(),
            advice: advice.to_owned(),
        });
        Ok(())
    }

    /// Remembers and names what could not be read of a table, which the next job copies again.
    ///
    /// # Errors
    /// Failures of the database.
    pub(super) fn mark_damaged(&mut self, table: &Table, gaps: &[Span]) -> Result<()> {
        self.run(|connection, _| standby::mark_damaged(connection, table))?;
        self.damaged.insert(table.name.clone());
        self.quarantined.extend(gaps.iter().map(|gap| on_damaged_pages(salvage::gap_name(table, gap))));
        Ok(())
    }

    /// Whether the copy holds any row of a table.
    ///
    /// # Errors
    /// Failures of the database.
    pub(super) fn has_rows(&mut self, table: &Table) -> Result<bool> {
        let mut found = false;
        self.run(|connection, _| {
            let sql = format!("SELECT EXISTS (SELECT 1 FROM {})", quote(&table.name));
            found = connection.query_row(&sql, [], |row| row.get(0))?;
            Ok(())
        })?;
        Ok(found)
    }

    /// Begins to write a table whose source may turn out to be damaged.
    ///
    /// # Errors
    /// Failures of the database.
    pub(super) fn try_table(&mut self) -> Result<Tried> {
        self.begin_part("csb_table")?;
        Ok(Tried { moved: self.moved.clone(), quarantined: self.quarantined.len() })
    }

    /// Keeps what was written since [`Import::try_table`].
    ///
    /// # Errors
    /// Failures of the database.
    pub(super) fn keep(&mut self) -> Result<()> {
        self.end_part("csb_table")
    }

    /// Begins a part of the import that may be undone by itself.
    ///
    /// # Errors
    /// Failures of the database.
    pub(super) fn begin_part(&mut self, name: &str) -> Result<()> {
        self.run(|connection, _| connection.execute_batch(&format!("SAVEPOINT {name}")))
    }

    /// Keeps what was written in a part.
    ///
    /// # Errors
    /// Failures of the database.
    pub(super) fn end_part(&mut self, name: &str) -> Result<()> {
        self.run(|connection, _| connection.execute_batch(&format!("RELEASE {name}")))
    }

    /// Takes back what was written in a part.
    ///
    /// # Errors
    /// Failures of the database.
    pub(super) fn undo_part(&mut self, name: &str) -> Result<()> {
        self.run(|connection, _| connection.execute_batch(&format!("ROLLBACK TO {name}; RELEASE {name}")))
    }

    /// Takes back what was written to a table since [`Import::try_table`], and prepares to add rows with
    /// [`Import::merge`]. Keys of it that could not be read before are part of what is named then.
    ///
    /// # Errors
    /// Failures of the database.
    pub(super) fn take_back(&mut self, tried: Tried, table: &Table) -> Result<()> {
        self.moved = tried.moved;
        self.quarantined.truncate(tried.quarantined);
        let of_table = format!("{} (", table.name);
        self.quarantined.retain(|item| !item.item.starts_with(&of_table));
        self.undo_part("csb_table")?;
        self.run(|connection, _| {
            connection.execute_batch(
                "DROP TABLE IF EXISTS temp.csb_merged;
                 CREATE TEMP TABLE csb_merged (key BLOB PRIMARY KEY) WITHOUT ROWID",
            )?;
            standby::forget_quarantined(connection, table)
        })
    }

    /// Adds rows to what a table holds. The first of a key replaces all that the copy has of it; later ones are added,
    /// as a key may be shared.
    ///
    /// # Errors
    /// Failures of the database.
    pub(super) fn merge(&mut self, table: &Table, rows: &[Row]) -> Result<()> {
        let written = self.moved.items_written;
        let mut deleted = 0;
        self.run(|connection, _| {
            let mut first = connection.prepare_cached("INSERT OR IGNORE INTO temp.csb_merged VALUES (?1)")?;
            let sql = format!("DELETE FROM {} WHERE {}", quote(&table.name), key_condition(table));
            let mut delete = connection.prepare_cached(&sql)?;
            for row in rows {
                let key = values_of(table, row, &table.key);
                if table.is_unique
                    || first.execute([blake3::hash(&encoded(&key)).as_bytes().as_slice()])? == 1
                {
                    deleted += delete.execute(params_from_iter(&key))? as u64;
                }
            }
            Ok(())
        })?;
        self.insert(table, rows)?;
        self.moved.items_deleted += deleted.saturating_sub(self.moved.items_written - written);
        Ok(())
    }

    fn run(&mut self, write: impl FnOnce(&Connection, &mut Moved) -> rusqlite::Result<()>) -> Result<()> {
        write(self.connection, &mut self.moved)
            .map_err(|cause| sqlite_error("write the standby copy to", self.path, &cause))
    }
}

/// Updates the row that has the key of a row; none where several rows may share a key. What a collation or arithmetic
/// takes for equal but is not stored alike is another key here: such a row is found missing, and inserted in its place.
fn update_query(table: &Table) -> Option<String> {
    if !table.is_unique {
        return None;
    }
    let value = |name: &String| {
        let at = table.columns.iter().position(|column| column == name)?;
        Some(table.text.parameter(at + 1))
    };
    let own = table.key.iter().map(|column| {
        let (column, value) = (quote(column), value(column)?);
        Some(format!(
            "{column} IS {value} AND {column} IS {value} COLLATE BINARY AND typeof({column}) = typeof({value})"
        ))
    });
    let own = own.collect::<Option<Vec<_>>>()?.join(" AND ");
    let others = table.columns.iter().enumerate().filter(|(_, column)| !table.key.contains(column));
    let set =
        |(at, column): (usize, &String)| format!("{} = {}", quote(column), table.text.parameter(at + 1));
    let values: Vec<String> = others.map(set).collect();
    // A table of keys alone has nothing to update; they are deleted and inserted.
    (!values.is_empty())
        .then(|| format!("UPDATE OR REPLACE {} SET {} WHERE {own}", quote(&table.name), values.join(", ")))
}

/// `OR REPLACE`: a row in the way has another value of a unique column at the source by now, so its key is in the log
/// after this one.
pub(super) fn insert_query(table: &Table) -> String {
    format!(
        "INSERT OR REPLACE INTO {} ({}) VALUES ({})",
        quote(&table.name),
        column_list(&table.columns, ""),
        table.text.parameters(1, table.columns.len())
    )
}

/// An item of which nothing more can be read than was.
fn on_damaged_pages(item: String) -> QuarantinedItem {
    let reason = "pages of the user store are damaged".to_owned();
    QuarantinedItem { item, reason, advice: DAMAGE_ADVICE.to_owned() }
}

/// Whether a failure concerns this row alone: a constraint, a type, a length, or an expression of an index that fails.
fn is_refused(cause: &rusqlite::Error) -> bool {
    matches!(
        cause.sqlite_error_code(),
        Some(
            ErrorCode::ConstraintViolation | ErrorCode::TypeMismatch | ErrorCode::TooBig | ErrorCode::Unknown
        )
    )
}

#[cfg(test)]
mod tests {
    use super::super::testing::{empty_standby, numbers, with_run};
    use super::*;
    use crate::error::ErrorKind;

    const NOWHERE: &str = "standby.sqlite";

    fn text(value: &str) -> Datum {
        Datum::Text(value.into())
    }

    #[test]
    fn a_batch_updates_rows_in_place_and_counts_what_it_wrote_and_removed() {
        with_run("CREATE TABLE t (k TEXT PRIMARY KEY, v NOT NULL)", |run| {
            let standby = empty_standby(run.source);
            standby
                .execute_batch("INSERT INTO t (rowid, k, v) VALUES (10, 'a', 1), (11, 'b', 2), (12, 'c', 3), (13, 'd', 4), (14, 'e', 5)")
                .unwrap();
            let table = run.source.capture.schema.table("t").unwrap();
            let mut import = run.begin_import(&standby, Path::new(NOWHERE));
            let batch = TableBatch {
                keys: ["a", "b", "c", "d"].map(|key| vec![text(key)]).to_vec(),
                counts: vec![1, 0, 1, 1],
                rows: vec![
                    vec![text("a"), text("new")],
                    vec![text("c"), Datum::Null],
                    vec![text("d"), Datum::Integer(5)],
                ],
                unreadable: Vec::new(),
            };
            import.replace(table, &batch).unwrap();
            assert_eq!(numbers(&standby, "SELECT rowid FROM t ORDER BY k"), [10, 13, 14]);
            assert_eq!(import.quarantined.len(), 1, "NULL is refused");
            let moved = Moved { items_written: 2, items_deleted: 2, bytes: 4 + 9, batches: 0 };
            assert_eq!(import.moved, moved);
            import.clear(table).unwrap();
            assert_eq!(import.moved, Moved { items_deleted: 5, ..moved });
        });
    }

    #[test]
    fn only_a_failure_that_concerns_the_row_alone_leaves_it_out() {
        with_run("CREATE TABLE t (k INTEGER PRIMARY KEY, v)", |run| {
            let standby = empty_standby(run.source);
            standby.pragma_update(None, "max_page_count", 20).unwrap();
            let table = run.source.capture.schema.table("t").unwrap();
            let mut import = run.begin_import(&standby, Path::new(NOWHERE));
            let large = vec![Datum::Integer(1), Datum::Blob(vec![1; 1 << 20])];
            assert_eq!(import.insert(table, [&large]).unwrap_err().kind, ErrorKind::DiskFull);
            assert!(import.quarantined.is_empty());
        });
    }

    #[test]
    fn the_first_row_of_a_shared_key_replaces_all_of_it_and_the_next_ones_are_added() {
        with_run("CREATE TABLE t (id INTEGER PRIMARY KEY, k TEXT)", |run| {
            let standby = empty_standby(run.source);
            standby
                .execute_batch("INSERT INTO t VALUES (1, 'a'), (2, 'a'), (3, 'a'), (4, 'b'), (5, 'b'), (6, 'b'), (7, 'c')")
                .unwrap();
            let table = Table {
                key: vec!["k".to_owned()],
                is_unique: false,
                ..run.source.capture.schema.table("t").unwrap().clone()
            };
            let mut import = run.begin_import(&standby, Path::new(NOWHERE));
            let tried = import.try_table().unwrap();
            import.take_back(tried, &table).unwrap();
            let row = |id, key| vec![Datum::Integer(id), text(key)];
            import.merge(&table, &[row(11, "a"), row(12, "a")]).unwrap();
            assert_eq!((import.moved.items_written, import.moved.items_deleted), (2, 1));
            import.merge(&table, &[row(13, "a"), row(14, "b")]).unwrap();
            assert_eq!((import.moved.items_written, import.moved.items_deleted), (4, 2));
            assert_eq!(numbers(&standby, "SELECT id FROM t ORDER BY id"), [7, 11, 12, 13, 14]);
        });
    }

    #[test]
    fn an_index_that_rows_do_not_fit_is_left_at_first_but_not_in_the_end() {
        with_run("CREATE TABLE t (id INTEGER PRIMARY KEY, v); CREATE UNIQUE INDEX u ON t (v)", |run| {
            let standby = empty_standby(run.source);
            standby.execute_batch("DROP INDEX u; INSERT INTO t VALUES (1, 'same'), (2, 'same')").unwrap();
            let wanted = run.source.objects(run.work).unwrap();
            let schema = &run.source.capture.schema;
            let mut import = run.begin_import(&standby, Path::new(NOWHERE));
            import.schema_differs = true;
            import.create_what_fits(&wanted, schema).unwrap();
            assert!(import.create_rest(&wanted, schema).is_err());
            standby.execute_batch("DROP TRIGGER csb_fence_0_delete; DELETE FROM t WHERE id = 2").unwrap();
            import.create_rest(&wanted, schema).unwrap();
            assert_eq!(schema.objects_of(&standby).unwrap(), wanted);
        });
    }
}
