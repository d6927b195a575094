//! Bringing virtual tables of the standby to what they were at the source at the position where the copy ends.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;

use rusqlite::{Connection, ffi, params_from_iter};

use super::datum::{Datum, Row};
use super::digest::encoded;
use super::import::{DAMAGE_ADVICE, Import, insert_query};
use super::look::{TICK, of_database};
use super::pair::Run;
use super::schema::Table;
use super::seen::data_version;
use super::shadow::{self, Content, Known, VirtualTable};
use super::source::{Direction, Ending, RangePosition, Source, Span, Stretch, key_condition, of_the_log};
use crate::error::{Error, ErrorKind, Result, Side};
use crate::report::{Moved, QuarantinedItem, Verification};
use crate::store::sqlite::{quote, sqlite_error};
use crate::store::user::Work;

/// How often a source on a rollback journal is looked at again that was written to meanwhile.
const ATTEMPTS: u32 = 8;

/// What is known of the virtual tables when a copy ends.
pub(super) struct Followed {
    /// By name, those that equal the source's.
    known: BTreeMap<String, Known>,
    /// The source's `data_version` in the state that they equal; none where they equal none.
    version: Option<i64>,
}

/// The rows of one stretch that were not the same.
#[derive(Default)]
struct Changes {
    written: u64,
    deleted: u64,
    bytes: u64,
}

impl Run<'_> {
    /// Makes the virtual tables what they are at the end of the change log, within one state of the source, and says where
    /// that is. On a write-ahead log that state is held in sight. On a rollback journal everything is read in slices and
    /// found to be the same again in the snapshot of the last slice of the log; where that fails again and again, the
    /// standby keeps what it had of the tables.
    pub(super) fn follow_virtual_tables(
        &mut self,
        import: &mut Import<'_>,
        start: i64,
        renewed: &BTreeSet<String>,
        verifies: bool,
    ) -> Result<(i64, Followed)> {
        let path = import.path;
        let failed = |cause| sqlite_error("write the standby copy to", path, &cause);
        let tables = &self.source.capture.schema.virtual_tables;
        if tables.is_empty() {
            return Ok((start, Followed { known: BTreeMap::new(), version: None }));
        }
        let mut before = shadow::known(import.connection).map_err(failed)?;
        before.retain(|name, _| {
            tables.iter().any(|table| {
                table.name == *name && !table.tables.iter().any(|shadow| renewed.contains(&shadow.name))
            })
        });
        import.begin_part("csb_virtual")?;
        let counted = import.moved.clone();
        let mut position = start;
        for attempt in 1..=ATTEMPTS {
            self.work.check()?;
            let held = self.source.hold(self.work)?;
            if held.is_some() || attempt > 1 {
                position = self.replay(import, position, BTreeSet::new())?;
            }
            let version = self.source.version(self.work)?;
            let known = self.mirror(import, &before, verifies)?;
            let ended = match held {
                Some(_) => Some(position),
                None => self.end_in_same_state(import, position, version, &known)?,
            };
            if let Some(position) = ended {
                import.end_part("csb_virtual")?;
                return Ok((position, Followed { known, version: Some(version) }));
            }
        }
        import.undo_part("csb_virtual")?;
        import.moved = counted;
        let changing = tables.iter().filter(|table| !table.tables.is_empty());
        import.quarantined.extend(changing.map(|table| QuarantinedItem {
            item: format!("virtual table {}", table.name),
            reason: "it was written to again and again while it was compared".to_owned(),
            advice: "The standby copy keeps what it had of it. Run the command again when the server is less busy, or let the server use a write-ahead log (PRAGMA journal_mode = WAL).".to_owned(),
        }));
        before.values_mut().for_each(|known| known.look = None);
        let position = self.replay(import, start, BTreeSet::new())?;
        Ok((position, Followed { known: before, version: None }))
    }

    /// Reads the rest of the log, and whether the virtual tables are as they were read in the same snapshot. Where they are,
    /// the standby is brought there; the position.
    fn end_in_same_state(
        &mut self,
        import: &mut Import<'_>,
        position: i64,
        version: i64,
        known: &BTreeMap<String, Known>,
    ) -> Result<Option<i64>> {
        let tables = &self.source.capture.schema.virtual_tables;
        let is_same = |connection: &Connection| {
            if data_version(connection)? == version {
                return Ok(true);
            }
            for table in tables {
                // What could not be read is left as it is, whatever it is.
                let Some(known) = known.get(&table.name) else { continue };
                if !table.is_as_known(connection, known)? {
                    return Ok(false);
                }
            }
            Ok(true)
        };
        let (slice, is_same) = self.source.changes_while(position, is_same, self.work)?;
        let is_last =
            slice.exhausted && slice.whole.is_empty() && slice.unindexed.is_empty() && slice.missing == 0;
        if !is_same || !is_last {
            return Ok(None);
        }
        self.replace_slice(import, &slice)?;
        import.set_sequences(&self.source.capture.schema.objects, &slice.sequences)?;
        Ok(Some(slice.end))
    }

    /// Compares every virtual table that may have changed, slice by slice, and replaces what differs.
    fn mirror(
        &mut self,
        import: &mut Import<'_>,
        before: &BTreeMap<String, Known>,
        verifies: bool,
    ) -> Result<BTreeMap<String, Known>> {
        let path = import.path;
        let failed = |cause| sqlite_error("read the standby copy in", path, &cause);
        let mut known = BTreeMap::new();
        for table in &self.source.capture.schema.virtual_tables {
            let before = before.get(&table.name);
            let look = |connection: &Connection| {
                let is_as_known = match before {
                    Some(before) if !verifies => table.is_as_known(connection, before)?,
                    _ => false,
                };
                Ok((table.stamp(connection)?, is_as_known))
            };
            let (stamp, is_as_known) = match self.source.snapshot(self.work, look) {
                Err(error) if error.kind == ErrorKind::Corrupt => {
                    import.quarantined.push(unreadable(table, &error));
                    continue;
                }
                looked => looked?,
            };
            if let Some(before) = before.filter(|_| is_as_known) {
                known.insert(table.name.clone(), before.clone());
                continue;
            }
            let is_wrong = match before {
                Some(before) if verifies => {
                    table.content(import.connection).map_err(failed)? != before.content
                }
                _ => false,
            };
            let moved = import.moved.clone();
            import.begin_part("csb_virtual_table")?;
            match self.mirror_table(import, table) {
                Ok(content) => {
                    import.end_part("csb_virtual_table")?;
                    if verifies {
                        let differing = if is_wrong { changed_since(&moved, &import.moved) } else { 0 };
                        self.verified(table, &content, differing);
                    }
                    known.insert(table.name.clone(), Known::new(stamp, content));
                }
                Err(error) if self.is_source_damage(&error) => {
                    import.undo_part("csb_virtual_table")?;
                    import.moved = moved;
                    import.quarantined.push(unreadable(table, &error));
                }
                Err(error) => return Err(error),
            }
        }
        Ok(known)
    }

    fn verified(&mut self, table: &VirtualTable, content: &Content, differing: u64) {
        let mut found = Verification { compared_items: content.rows, ..Verification::default() };
        found.differ(&table.name, differing);
        found.repaired_items = differing;
        if differing > 0 {
            self.outcome.warnings.push(found.warning("rows"));
        }
        self.outcome.verification.get_or_insert_default().add(&found);
    }

    /// Makes the shadow tables of the standby those of the source.
    fn mirror_table(&self, import: &mut Import<'_>, virtual_table: &VirtualTable) -> Result<Content> {
        let path = import.path;
        let failed = |cause| sqlite_error("write the standby copy to", path, &cause);
        let mut content = Content::default();
        for (number, table) in virtual_table.tables.iter().enumerate() {
            let mut after = None;
            loop {
                self.work.check()?;
                let rest = Span { after: after.clone(), ..Span::default() };
                let stretch = self.source.stretch(table, &rest, Direction::Up, self.work)?;
                if stretch.ending == Ending::Damaged {
                    let damage = rusqlite::Error::SqliteFailure(ffi::Error::new(ffi::SQLITE_CORRUPT), None);
                    return Err(sqlite_error("read", self.source.path, &damage).on(Side::Export));
                }
                for row in &stretch.rows {
                    content.add(number, &mut encoded(row));
                }
                let changes = mirror_stretch(import.connection, table, &after, &stretch).map_err(failed)?;
                import.moved.items_written += changes.written;
                import.moved.items_deleted += changes.deleted;
                import.moved.bytes += changes.bytes;
                import.moved.batches += u64::from(changes.written + changes.deleted > 0);
                if stretch.ending == Ending::Complete {
                    break;
                }
                after = stretch.last;
            }
        }
        Ok(content)
    }

    /// Remembers what the standby holds of the virtual tables. What the source looks like from outside goes with it if
    /// nobody but us wrote to it since it held the same: a run that finds it looking so again need not even open it.
    pub(super) fn remember_virtual_tables(
        &self,
        standby: &Connection,
        path: &Path,
        followed: Followed,
    ) -> Result<()> {
        if self.source.capture.schema.virtual_tables.is_empty() {
            return Ok(());
        }
        let Followed { mut known, version } = followed;
        // Until then, a write could leave the same times.
        std::thread::sleep(TICK);
        let look = of_database(self.source.path);
        if version == Some(self.source.version(self.work)?) {
            known.values_mut().for_each(|known| known.look.clone_from(&look));
        }
        shadow::remember(standby, &known)
            .map_err(|cause| sqlite_error("write the standby copy to", path, &cause))
    }
}

impl Source<'_> {
    /// What changes whenever somebody else writes to the source.
    fn version(&self, work: &Work<'_>) -> Result<i64> {
        self.snapshot(work, data_version).map_err(of_the_log)
    }
}

fn changed_since(before: &Moved, now: &Moved) -> u64 {
    let total = |moved: &Moved| moved.items_written + moved.items_deleted;
    total(now).saturating_sub(total(before))
}

fn unreadable(table: &VirtualTable, error: &Error) -> QuarantinedItem {
    QuarantinedItem {
        item: format!("virtual table {}", table.name),
        reason: error
            .causes
            .first()
            .cloned()
            .unwrap_or_else(|| "a page of it in the user store is damaged".to_owned()),
        advice: DAMAGE_ADVICE.to_owned(),
    }
}

/// Replaces what the standby has in a stretch of a shadow table, which begins after a position, and is not the source's.
fn mirror_stretch(
    connection: &Connection,
    table: &Table,
    after: &RangePosition,
    stretch: &Stretch,
) -> rusqlite::Result<Changes> {
    let key_at: Vec<usize> =
        table.key.iter().filter_map(|name| table.columns.iter().position(|column| column == name)).collect();
    let key_of = |row: &Row| -> Row { key_at.iter().filter_map(|at| row.get(*at)).cloned().collect() };
    let mut wanted: HashMap<Vec<u8>, &Row> =
        stretch.rows.iter().map(|row| (encoded(&key_of(row)), row)).collect();
    let upto = if stretch.ending == Ending::Complete { &None } else { &stretch.last };
    let mut superfluous = Vec::new();
    {
        let mut statement =
            connection.prepare_cached(&stretch_query(table, after.is_some(), upto.is_some()))?;
        let mut present = statement.query(params_from_iter(after.iter().chain(upto).flatten()))?;
        while let Some(row) = present.next()? {
            let row = (0..table.columns.len()).map(|at| row.get(at)).collect::<rusqlite::Result<Row>>()?;
            let key = key_of(&row);
            match wanted.get(&encoded(&key)) {
                Some(same) if encoded(same) == encoded(&row) => drop(wanted.remove(&encoded(&key))),
                // Inserting it replaces what is there.
                Some(_) => {}
                None => superfluous.push(key),
            }
        }
    }
    let mut delete = connection.prepare_cached(&format!(
        "DELETE FROM {} WHERE {}",
        quote(&table.name),
        key_condition(table)
    ))?;
    for key in &superfluous {
        delete.execute(params_from_iter(key))?;
    }
    let mut changes = Changes { deleted: superfluous.len() as u64, ..Changes::default() };
    let mut insert = connection.prepare_cached(&insert_query(table))?;
    for row in stretch.rows.iter().filter(|row| wanted.contains_key(&encoded(&key_of(row)))) {
        insert.execute(params_from_iter(row))?;
        changes.written += 1;
        changes.bytes += row.iter().map(Datum::size).sum::<u64>();
    }
    Ok(changes)
}

/// The rows of a shadow table between two positions.
fn stretch_query(table: &Table, has_start: bool, has_end: bool) -> String {
    let terms = table.order.terms();
    let mut first = 1;
    let mut bound = |comparison: &str| {
        let values = table.text.parameters(first, terms.len());
        first += terms.len();
        format!("({}) {comparison} ({values})", terms.join(", "))
    };
    let mut bounds = Vec::new();
    if has_start {
        bounds.push(bound(">"));
    }
    if has_end {
        bounds.push(bound("<="));
    }
    let condition = if bounds.is_empty() { String::new() } else { format!("WHERE {}", bounds.join(" AND ")) };
    format!("SELECT {} FROM {} NOT INDEXED {condition}", table.read(&table.columns), quote(&table.name))
}

#[cfg(test)]
mod tests {
    use super::super::source::is_schema_change;
    use super::super::testing::{empty_standby, numbers, with_run, with_source};
    use super::*;

    const NOWHERE: &str = "standby.sqlite";
    const BOXES: &str = "CREATE TABLE plain (id INTEGER PRIMARY KEY);
        CREATE VIRTUAL TABLE boxes USING rtree (id, low, high); INSERT INTO boxes VALUES (1, 0, 1), (2, 3, 4)";

    fn write_beside(source: &Source<'_>, sql: &str) {
        Connection::open(source.path).unwrap().execute_batch(sql).unwrap();
    }

    fn row(id: i64, value: &str) -> Row {
        vec![Datum::Integer(id), Datum::Text(value.into())]
    }

    #[test]
    fn a_stretch_replaces_what_lies_between_its_ends_and_counts_what_differed() {
        with_source("CREATE TABLE t (id INTEGER PRIMARY KEY, v)", |source, _| {
            let standby = empty_standby(source);
            standby
                .execute_batch(
                    "INSERT INTO t VALUES (1, 'before'), (2, 'same'), (3, 'old'), (4, 'gone'), (9, 'behind')",
                )
                .unwrap();
            let table = source.capture.schema.table("t").unwrap();
            let position = |id| Some(vec![Datum::Integer(id)]);
            let rows = vec![row(2, "same"), row(3, "new"), row(5, "more")];
            let stretch = Stretch { rows, first: position(2), last: position(5), ending: Ending::Full };
            let changes = mirror_stretch(&standby, table, &position(1), &stretch).unwrap();
            assert_eq!((changes.written, changes.deleted, changes.bytes), (2, 1, 8 + 3 + 8 + 4));
            assert_eq!(numbers(&standby, "SELECT id FROM t ORDER BY id"), [1, 2, 3, 5, 9]);
            let rest = Stretch { ending: Ending::Complete, ..Stretch::default() };
            let changes = mirror_stretch(&standby, table, &position(5), &rest).unwrap();
            assert_eq!((changes.written, changes.deleted, changes.bytes), (0, 1, 0));
        });
    }

    #[test]
    fn a_shadow_table_of_many_stretches_is_mirrored_once_and_counted() {
        let schema = "CREATE VIRTUAL TABLE words USING fts5 (word);
            WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 20)
                INSERT INTO words SELECT 'word ' || hex(zeroblob(500000)) FROM n";
        with_run(schema, |run| {
            let standby = empty_standby(run.source);
            let table = &run.source.capture.schema.virtual_tables[0];
            let mut import = run.begin_import(&standby, Path::new(NOWHERE));
            let content = run.mirror_table(&mut import, table).unwrap();
            assert_eq!(content, table.content(&standby).unwrap());
            assert_eq!(content, table.content(run.source.connection).unwrap());
            let first = import.moved.clone();
            assert!(first.batches >= 6 && first.items_written >= 40, "{first:?}");
            run.mirror_table(&mut import, table).unwrap();
            assert_eq!(import.moved, first, "nothing differs any more");
            write_beside(run.source, "DELETE FROM words WHERE rowid > 10");
            run.mirror_table(&mut import, table).unwrap();
            assert!(import.moved.items_deleted >= 10, "{:?}", import.moved);
        });
    }

    #[test]
    fn only_damage_of_the_source_leaves_a_virtual_table_as_it_is() {
        with_run(BOXES, |run| {
            let nothing = Connection::open_in_memory().unwrap();
            let mut import = run.begin_import(&nothing, Path::new(NOWHERE));
            assert!(run.mirror(&mut import, &BTreeMap::new(), false).is_err());
            let standby = empty_standby(run.source);
            let mut import = run.begin_import(&standby, Path::new(NOWHERE));
            write_beside(run.source, "CREATE TABLE more (id INTEGER PRIMARY KEY)");
            let changed = run.mirror(&mut import, &BTreeMap::new(), false).unwrap_err();
            assert!(is_schema_change(&changed) && import.quarantined.is_empty());
        });
    }

    #[test]
    fn a_copy_ends_where_the_virtual_tables_are_as_they_were_read() {
        with_run(BOXES, |run| {
            let standby = empty_standby(run.source);
            let mut import = run.begin_import(&standby, Path::new(NOWHERE));
            let version = run.source.version(run.work).unwrap();
            let known = run.mirror(&mut import, &BTreeMap::new(), false).unwrap();
            let start = run.source.last_position(run.work).unwrap();
            write_beside(run.source, "INSERT INTO plain VALUES (7)");
            let ended = run.end_in_same_state(&mut import, start, version, &known).unwrap();
            assert_eq!(ended, Some(start + 1));
            assert_eq!(numbers(&standby, "SELECT id FROM plain"), [7]);
            write_beside(run.source, "INSERT INTO boxes VALUES (3, 5, 6)");
            assert_eq!(run.end_in_same_state(&mut import, start, version, &known).unwrap(), None);
        });
    }

    #[test]
    fn how_a_source_looks_is_remembered_only_where_nobody_wrote_meanwhile() {
        for is_written_to in [false, true] {
            with_run(BOXES, |run| {
                let standby = empty_standby(run.source);
                let mut import = run.begin_import(&standby, Path::new(NOWHERE));
                let version = run.source.version(run.work).unwrap();
                let known = run.mirror(&mut import, &BTreeMap::new(), false).unwrap();
                if is_written_to {
                    write_beside(run.source, "INSERT INTO boxes VALUES (3, 5, 6)");
                }
                let followed = Followed { known, version: Some(version) };
                run.remember_virtual_tables(&standby, Path::new(NOWHERE), followed).unwrap();
                let known = shadow::known(&standby).unwrap();
                assert_eq!(known["boxes"].look.is_none(), is_written_to);
            });
        }
    }

    #[test]
    fn a_comparison_counts_what_it_compared_and_warns_of_what_differed() {
        with_run(BOXES, |run| {
            let standby = empty_standby(run.source);
            let table = &run.source.capture.schema.virtual_tables[0];
            let mut import = run.begin_import(&standby, Path::new(NOWHERE));
            let content = run.mirror_table(&mut import, table).unwrap();
            run.verified(table, &content, 0);
            assert!(run.outcome.warnings.is_empty());
            run.verified(table, &content, 3);
            assert_eq!(run.outcome.warnings.len(), 1);
            let found = run.outcome.verification.take().unwrap();
            let counts = (found.compared_items, found.differing_items, found.repaired_items);
            assert_eq!(counts, (2 * content.rows, 3, 3));
            let moved =
                |items_written, items_deleted| Moved { items_written, items_deleted, ..Moved::default() };
            assert_eq!(changed_since(&moved(5, 1), &moved(7, 4)), 5);
        });
    }
}
