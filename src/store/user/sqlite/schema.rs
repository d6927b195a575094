//! What tables a database has, and by what their rows are told apart.

use std::collections::BTreeMap;
use std::path::Path;

use rusqlite::{Connection, Row};

use super::PREFIX;
use super::keys::choose_key;
use crate::error::{Error, Result};
use crate::store::sqlite::{quote, sqlite_error};
use crate::topology::UserStoreConfig;

/// One object of `sqlite_schema` that is the server's own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SchemaObject {
    /// `table`, `index`, `view` or `trigger`.
    pub(super) kind: String,
    pub(super) name: String,
    /// The table that an index or trigger belongs to.
    pub(super) table: String,
    pub(super) sql: String,
}

/// A table whose rows are copied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Table {
    pub(super) name: String,
    /// Columns that are stored, generated ones left out.
    pub(super) columns: Vec<String>,
    /// Columns by which rows are told apart; several rows may share a key.
    pub(super) key: Vec<String>,
    /// By what rows are walked in ranges.
    pub(super) order: Order,
    /// Unique constraints other than the key: a REPLACE on one of them deletes a row without firing a trigger.
    pub(super) conflicts: Vec<Vec<IndexColumn>>,
}

/// A stable order in which a table can be read in pieces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Order {
    /// By the rowid, under a name that no column has. VACUUM may renumber it, which changes the schema version.
    Rowid(&'static str),
    /// By the primary key of a table without rowids.
    PrimaryKey(Vec<String>),
}

/// One column of a unique index, with the collation it compares by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct IndexColumn {
    pub(super) name: String,
    pub(super) collation: String,
}

/// A unique index, as far as keys are concerned.
#[derive(Clone, Debug)]
pub(super) struct UniqueIndex {
    pub(super) name: String,
    pub(super) partial: bool,
    /// None where a column of it is an expression.
    pub(super) columns: Option<Vec<IndexColumn>>,
}

/// A column as declared.
#[derive(Clone, Debug)]
pub(super) struct Column {
    pub(super) name: String,
    pub(super) not_null: bool,
    /// Position in the primary key, from 1; 0 if it is not part of it.
    pub(super) primary_key: i64,
    pub(super) generated: bool,
}

/// Everything about a database's schema that copying it needs.
#[derive(Clone, Debug)]
pub(super) struct Schema {
    /// Tables whose rows are copied.
    pub(super) tables: Vec<Table>,
    /// All of the server's own objects.
    pub(super) objects: Vec<SchemaObject>,
    /// Tables whose rows are not copied although nobody excluded them, with the reason.
    pub(super) skipped: Vec<(String, String)>,
    /// What an administrator should know about the schema.
    pub(super) warnings: Vec<String>,
    /// Changes with every change of the schema, and with VACUUM.
    pub(super) version: i64,
}

impl Schema {
    /// Reads the schema of an open database.
    ///
    /// # Errors
    /// `KeyMissing`, listing all tables without a key and the lines to add to the topology; `InvalidValue` for keys of the
    /// topology that do not fit; `Corrupt` and the like.
    pub(super) fn read(connection: &Connection, path: &Path, config: &UserStoreConfig) -> Result<Self> {
        Reader { connection, config }.read().map_err(|failure| match failure {
            Failure::Sqlite(cause) => sqlite_error("read the schema of", path, &cause),
            Failure::Schema(error) => *error,
        })
    }

    /// The table of this name.
    pub(super) fn table(&self, name: &str) -> Option<&Table> {
        self.tables.iter().find(|table| table.name == name)
    }
}

/// The number that changes whenever the schema does.
pub(super) fn schema_version(connection: &Connection) -> rusqlite::Result<i64> {
    connection.pragma_query_value(None, "schema_version", |row| row.get(0))
}

/// The server's own objects, in an order in which they can be created; ours and SQLite's are left out, and the tables
/// that hold a virtual table's content, which are made with it.
pub(super) fn objects(connection: &Connection) -> rusqlite::Result<Vec<SchemaObject>> {
    let mut statement = connection.prepare(
        "SELECT type, name, tbl_name, sql FROM sqlite_schema
         WHERE sql IS NOT NULL AND substr(name, 1, 4) <> ?1 AND substr(name, 1, 7) <> 'sqlite_'
           AND tbl_name NOT IN (SELECT name FROM pragma_table_list WHERE schema = 'main' AND type = 'shadow')
         ORDER BY CASE type WHEN 'table' THEN 0 WHEN 'index' THEN 1 WHEN 'view' THEN 2 ELSE 3 END, name",
    )?;
    let object = |row: &Row<'_>| {
        Ok(SchemaObject { kind: row.get(0)?, name: row.get(1)?, table: row.get(2)?, sql: row.get(3)? })
    };
    statement.query_map([PREFIX], object)?.collect()
}

enum Failure {
    Sqlite(rusqlite::Error),
    Schema(Box<Error>),
}

impl From<rusqlite::Error> for Failure {
    fn from(cause: rusqlite::Error) -> Self {
        Failure::Sqlite(cause)
    }
}

struct Reader<'a> {
    connection: &'a Connection,
    config: &'a UserStoreConfig,
}

impl Reader<'_> {
    fn read(&self) -> Result<Schema, Failure> {
        let version = schema_version(self.connection)?;
        let objects = objects(self.connection)?;
        let mut kinds = BTreeMap::new();
        {
            let mut statement = self
                .connection
                .prepare("SELECT name, type, wr FROM pragma_table_list WHERE schema = 'main'")?;
            let rows = statement.query_map([], |row| Ok((row.get(0)?, (row.get(1)?, row.get(2)?))))?;
            for row in rows {
                let (name, kind): (String, (String, bool)) = row?;
                kinds.insert(name, kind);
            }
        }
        let mut schema = Schema { tables: vec![], objects, skipped: vec![], warnings: vec![], version };
        let mut without_key = Vec::new();
        for object in schema.objects.iter().filter(|object| object.kind == "table") {
            let name = &object.name;
            if self.config.exclude.iter().any(|pattern| matches_pattern(pattern, name)) {
                continue;
            }
            let (kind, without_rowid) = kinds.get(name).cloned().unwrap_or_default();
            if kind == "virtual" {
                let reason = "rows of virtual tables are not copied by this version";
                schema.skipped.push((name.clone(), reason.to_owned()));
                continue;
            }
            let columns = self.columns(name)?;
            let unique = self.unique_indexes(name)?;
            for index in unique.iter().filter(|index| index.columns.is_none()) {
                schema.warnings.push(format!(
                    "The unique index {} of table {name} is on an expression: a row that INSERT OR REPLACE removes through it is not noticed.",
                    index.name
                ));
            }
            match choose_key(name, &columns, &unique, self.config)
                .map_err(|e| Failure::Schema(Box::new(e)))?
            {
                Some(key) => schema.tables.push(table(name, &columns, &unique, key, without_rowid)),
                None => without_key.push((name.clone(), columns)),
            }
        }
        if without_key.is_empty() {
            Ok(schema)
        } else {
            Err(Failure::Schema(Box::new(super::keys::key_missing(&without_key))))
        }
    }

    fn columns(&self, table: &str) -> rusqlite::Result<Vec<Column>> {
        let mut statement =
            self.connection.prepare("SELECT name, \"notnull\", pk, hidden FROM pragma_table_xinfo(?1)")?;
        let column = |row: &Row<'_>| {
            Ok(Column {
                name: row.get(0)?,
                not_null: row.get(1)?,
                primary_key: row.get(2)?,
                generated: row.get::<_, i64>(3)? >= 2,
            })
        };
        statement.query_map([table], column)?.collect()
    }

    fn unique_indexes(&self, table: &str) -> rusqlite::Result<Vec<UniqueIndex>> {
        let mut statement = self
            .connection
            .prepare("SELECT name, partial FROM pragma_index_list(?1) WHERE \"unique\" ORDER BY name")?;
        let rows = statement.query_map([table], |row| Ok((row.get::<_, String>(0)?, row.get(1)?)))?;
        let mut indexes = Vec::new();
        for row in rows {
            let (name, partial) = row?;
            let mut columns = self
                .connection
                .prepare("SELECT name, coll FROM pragma_index_xinfo(?1) WHERE \"key\" ORDER BY seqno")?;
            let columns: Vec<(Option<String>, String)> = columns
                .query_map([&name], |row| Ok((row.get(0)?, row.get(1)?)))?
                .collect::<rusqlite::Result<_>>()?;
            let columns = columns
                .into_iter()
                .map(|(name, collation)| Some(IndexColumn { name: name?, collation }))
                .collect();
            indexes.push(UniqueIndex { name, partial, columns });
        }
        Ok(indexes)
    }
}

fn table(
    name: &str,
    columns: &[Column],
    unique: &[UniqueIndex],
    key: Vec<String>,
    without_rowid: bool,
) -> Table {
    let mut primary: Vec<&Column> = columns.iter().filter(|column| column.primary_key > 0).collect();
    primary.sort_by_key(|column| column.primary_key);
    let order = if without_rowid {
        Order::PrimaryKey(primary.into_iter().map(|column| column.name.clone()).collect())
    } else {
        let taken = |alias: &str| columns.iter().any(|column| column.name.eq_ignore_ascii_case(alias));
        Order::Rowid(["rowid", "_rowid_", "oid"].into_iter().find(|alias| !taken(alias)).unwrap_or("rowid"))
    };
    let same_as_key = |index: &[IndexColumn]| index.iter().map(|c| &c.name).eq(key.iter());
    let conflicts =
        unique.iter().filter_map(|index| index.columns.clone()).filter(|index| !same_as_key(index)).collect();
    let columns =
        columns.iter().filter(|column| !column.generated).map(|column| column.name.clone()).collect();
    Table { name: name.to_owned(), columns, key, order, conflicts }
}

/// Whether a table name fits a pattern in which `*` stands for any characters.
fn matches_pattern(pattern: &str, name: &str) -> bool {
    let mut rest = name;
    let mut parts = pattern.split('*');
    let Some(prefix) = parts.next() else { return false };
    let Some(after) = rest.strip_prefix(prefix) else { return false };
    rest = after;
    let parts: Vec<&str> = parts.collect();
    let Some((suffix, middle)) = parts.split_last() else { return rest.is_empty() };
    for part in middle {
        match rest.find(part).and_then(|at| rest.get(at + part.len()..)) {
            Some(after) => rest = after,
            None => return false,
        }
    }
    rest.ends_with(suffix)
}

/// Column names, quoted and separated by commas, each with this prefix.
pub(super) fn column_list(names: &[String], prefix: &str) -> String {
    names.iter().map(|name| format!("{prefix}{}", quote(name))).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_whole_names() {
        assert!(matches_pattern("session_*", "session_cache"));
        assert!(!matches_pattern("session_*", "my_session_cache"));
        assert!(matches_pattern("*_log_*", "a_log_b"));
        assert!(!matches_pattern("route", "routes"));
        assert!(matches_pattern("*", "anything"));
        assert!(!matches_pattern("ab*ba", "aba"));
    }
}
