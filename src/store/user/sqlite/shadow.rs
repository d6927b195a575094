//! Virtual tables: an extension of SQLite keeps what they hold in shadow tables beside them.
//!
//! A shadow table gets no triggers: FTS5 writes to its own while SQLite begins any statement that can be undone, which every
//! statement on a table with a trigger is, and would recurse; and connections that defend themselves against such triggers
//! could not read the schema any more. So what was written to them is found out by looking.

use std::collections::BTreeMap;

use rusqlite::{Connection, Row, params};

use super::capture::has_table;
use super::digest::{encode, sum_of};
use super::schema::{Schema, Table};
use crate::store::sqlite::quote;

/// Up to how many bytes everything that a virtual table holds is read to see whether it changed.
const SMALL: u64 = 4 << 20;

/// A virtual table and what it consists of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct VirtualTable {
    pub(super) name: String,
    /// Its shadow tables.
    pub(super) tables: Vec<Table>,
    /// Queries whose results together change with every write to it; none where only its whole content does.
    stamp: Vec<String>,
}

/// What is remembered of a virtual table, in the standby and about what the standby holds of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Known {
    /// What the source looked like from outside when it held the same; none where somebody may have written meanwhile.
    pub(super) look: Option<String>,
    stamp: Vec<u8>,
    pub(super) content: Content,
}

/// The sum of all rows of the shadow tables, whatever order they are in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Content {
    sum: u128,
    pub(super) rows: u64,
    pub(super) bytes: u64,
}

impl Content {
    /// Adds a row of the shadow table of this number, as encoded.
    pub(super) fn add(&mut self, number: usize, encoded: &mut Vec<u8>) {
        self.rows += 1;
        self.bytes += encoded.len() as u64;
        encoded.extend_from_slice(&number.to_le_bytes());
        self.sum = self.sum.wrapping_add(sum_of(encoded));
    }
}

impl VirtualTable {
    pub(super) fn new(name: &str, tables: Vec<Table>) -> Self {
        let stamp = stamp_queries(name, &tables);
        VirtualTable { name: name.to_owned(), tables, stamp }
    }

    /// What a database holds of it.
    pub(super) fn content(&self, connection: &Connection) -> rusqlite::Result<Content> {
        let (mut content, mut buffer) = (Content::default(), Vec::new());
        for (number, table) in self.tables.iter().enumerate() {
            let sql =
                format!("SELECT {} FROM {} NOT INDEXED", table.read(&table.columns), quote(&table.name));
            let mut statement = connection.prepare_cached(&sql)?;
            let mut rows = statement.query([])?;
            while let Some(row) = rows.next()? {
                buffer.clear();
                encode_row(row, table.columns.len(), &mut buffer)?;
                content.add(number, &mut buffer);
            }
        }
        Ok(content)
    }

    /// What changes with every write to it, as it is in a database; nothing where only its whole content does.
    pub(super) fn stamp(&self, connection: &Connection) -> rusqlite::Result<Vec<u8>> {
        let mut buffer = Vec::new();
        for query in &self.stamp {
            let mut statement = connection.prepare_cached(query)?;
            let width = statement.column_count();
            let mut rows = statement.query([])?;
            while let Some(row) = rows.next()? {
                encode_row(row, width, &mut buffer)?;
            }
        }
        Ok(if buffer.is_empty() { buffer } else { blake3::hash(&buffer).as_bytes().to_vec() })
    }

    /// Whether a database holds what is known, as far as that can be said cheaply.
    pub(super) fn is_as_known(&self, connection: &Connection, known: &Known) -> rusqlite::Result<bool> {
        if self.stamp(connection)? != known.stamp {
            return Ok(false);
        }
        if known.content.bytes <= SMALL {
            return Ok(self.content(connection)? == known.content);
        }
        Ok(!self.stamp.is_empty())
    }
}

/// FTS5 counts what it writes in its structure, FTS3 and FTS4 list their segments. Both can be set back by commands to
/// rebuild them; so the first words of their pages are part of it, and where new rows begin.
fn stamp_queries(name: &str, tables: &[Table]) -> Vec<String> {
    let table = |suffix: &str| {
        let wanted = format!("{name}_{suffix}");
        tables.iter().find(|table| table.name.eq_ignore_ascii_case(&wanted)).map(|table| quote(&table.name))
    };
    let of = |suffix: &str, query: &str| table(suffix).map(|table| query.replace('?', &table));
    let queries = if table("segdir").is_some() {
        vec![
            of(
                "segdir",
                "SELECT level, idx, start_block, leaves_end_block, end_block, root FROM ? ORDER BY level, idx",
            ),
            of("stat", "SELECT id, value FROM ? ORDER BY id"),
            of("content", "SELECT (SELECT min(rowid) FROM ?), (SELECT max(rowid) FROM ?)"),
        ]
    } else if table("idx").is_some() && table("config").is_some() {
        vec![
            of("data", "SELECT id, block FROM ? WHERE id IN (1, 10) ORDER BY id"),
            of("idx", "SELECT segid, term, pgno FROM ? ORDER BY segid, term"),
            of("config", "SELECT k, v FROM ? ORDER BY k"),
            of("docsize", "SELECT (SELECT min(id) FROM ?), (SELECT max(id) FROM ?)"),
        ]
    } else {
        Vec::new()
    };
    queries.into_iter().flatten().collect()
}

fn encode_row(row: &Row<'_>, width: usize, into: &mut Vec<u8>) -> rusqlite::Result<()> {
    (0..width).try_for_each(|at| {
        encode(row.get_ref(at)?, into);
        Ok(())
    })
}

const TABLE: &str = "CREATE TABLE IF NOT EXISTS csb_shadow (virtual_table TEXT PRIMARY KEY NOT NULL, look TEXT, stamp BLOB NOT NULL,
    sum BLOB NOT NULL, rows INTEGER NOT NULL, bytes INTEGER NOT NULL)";

/// What a standby remembers, by virtual table.
pub(super) fn known(standby: &Connection) -> rusqlite::Result<BTreeMap<String, Known>> {
    if !has_table(standby, "csb_shadow")? {
        return Ok(BTreeMap::new());
    }
    let mut statement =
        standby.prepare("SELECT virtual_table, look, stamp, sum, rows, bytes FROM csb_shadow")?;
    let rows = statement.query_map([], |row| {
        let number = |at| row.get::<_, i64>(at).map(i64::unsigned_abs);
        let content = Content { sum: u128::from_le_bytes(row.get(3)?), rows: number(4)?, bytes: number(5)? };
        Ok((row.get(0)?, Known { look: row.get(1)?, stamp: row.get(2)?, content }))
    })?;
    rows.collect()
}

/// Remembers what a standby holds, in place of all it remembered.
pub(super) fn remember(standby: &Connection, known: &BTreeMap<String, Known>) -> rusqlite::Result<()> {
    standby.execute_batch(&format!("{TABLE}; DELETE FROM csb_shadow"))?;
    let mut insert = standby.prepare_cached(
        "INSERT INTO csb_shadow (virtual_table, look, stamp, sum, rows, bytes) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
    )?;
    for (name, known) in known {
        let Known { look, stamp, content } = known;
        let number = |number| i64::try_from(number).unwrap_or(i64::MAX);
        let (rows, bytes) = (number(content.rows), number(content.bytes));
        insert.execute(params![name, look, stamp, content.sum.to_le_bytes(), rows, bytes])?;
    }
    Ok(())
}

/// Whether nobody has written to the source since the standby held the same in all its virtual tables.
pub(super) fn is_untouched(schema: &Schema, known: &BTreeMap<String, Known>, look: Option<&String>) -> bool {
    let is_untouched = |table: &VirtualTable| {
        look.is_some() && known.get(&table.name).is_some_and(|known| known.look.as_ref() == look)
    };
    schema.virtual_tables.iter().all(is_untouched)
}

/// How many virtual tables of the source may hold something else than what is known.
pub(super) fn count_changed(
    source: &Connection,
    schema: &Schema,
    known: &BTreeMap<String, Known>,
) -> rusqlite::Result<u64> {
    let mut changed = 0;
    for table in &schema.virtual_tables {
        let is_known = match known.get(&table.name) {
            Some(known) => table.is_as_known(source, known)?,
            None => false,
        };
        changed += u64::from(!is_known);
    }
    Ok(changed)
}

impl Known {
    /// What is known of content that was read, with the stamp of the same state.
    pub(super) fn new(stamp: Vec<u8>, content: Content) -> Self {
        Known { look: None, stamp, content }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::with_source;
    use super::*;

    #[test]
    fn rows_and_bytes_of_content_are_counted_and_their_order_does_not_matter() {
        let sum = |rows: [&[u8]; 2]| {
            let mut content = Content::default();
            rows.iter().for_each(|row| content.add(1, &mut row.to_vec()));
            content
        };
        let content = sum([b"abc", b"de"]);
        assert_eq!((content.rows, content.bytes), (2, 5));
        assert_eq!(content, sum([b"de", b"abc"]));
        assert_ne!(content, sum([b"de", b"abd"]));
    }

    #[test]
    fn a_large_table_is_as_known_only_where_it_has_a_stamp_that_did_not_change() {
        let schema = "CREATE TABLE odd_idx (id INTEGER PRIMARY KEY); INSERT INTO odd_idx VALUES (1);
            CREATE VIRTUAL TABLE five USING fts5 (word); CREATE VIRTUAL TABLE four USING fts4 (word);
            CREATE VIRTUAL TABLE place USING rtree (id, low, high)";
        with_source(schema, |source, _| {
            let (connection, schema) = (source.connection, &source.capture.schema);
            let known_now = || -> BTreeMap<String, Known> {
                let now = |table: &VirtualTable| {
                    Known::new(table.stamp(connection).unwrap(), table.content(connection).unwrap())
                };
                schema.virtual_tables.iter().map(|table| (table.name.clone(), now(table))).collect()
            };
            let mut known = known_now();
            assert_eq!(count_changed(connection, schema, &BTreeMap::new()).unwrap(), 3);
            assert_eq!(count_changed(connection, schema, &known).unwrap(), 0);
            for write in [
                "INSERT INTO five VALUES ('a')",
                "INSERT INTO four VALUES ('a')",
                "INSERT INTO place VALUES (1, 2, 3)",
            ] {
                connection.execute_batch(write).unwrap();
                assert_eq!(count_changed(connection, schema, &known).unwrap(), 1, "{write}");
                known = known_now();
            }
            known.values_mut().for_each(|known| known.content.bytes = SMALL + 1);
            assert_eq!(count_changed(connection, schema, &known).unwrap(), 1);
            assert!(known["place"].stamp.is_empty());
            connection.execute_batch("INSERT INTO five VALUES ('b'); INSERT INTO four VALUES ('b')").unwrap();
            assert_eq!(count_changed(connection, schema, &known).unwrap(), 3);
            let odd = VirtualTable::new("odd", vec![schema.table("odd_idx").unwrap().clone()]);
            assert!(odd.stamp(connection).unwrap().is_empty(), "it is not FTS5's");
        });
    }
}
