//! What tables a database has, and by what their rows are told apart.

use std::path::Path;

use rusqlite::{Connection, Row};

use super::conflicts::{Conflict, Shape, conflicts};
use super::keys::choose_key;
use super::kinds::Kinds;
use super::shadow::VirtualTable;
use super::text::Text;
use super::{PREFIX, reserved};
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
    /// The virtual table whose content it is a part of.
    pub(super) shadow_of: Option<String>,
}

impl SchemaObject {
    /// Whether it is a table that an extension of SQLite keeps.
    pub(super) fn is_virtual(&self) -> bool {
        self.sql.trim_start().to_ascii_uppercase().starts_with("CREATE VIRTUAL")
    }
}

/// A table whose rows are copied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Table {
    pub(super) name: String,
    /// Columns that are stored, generated ones left out.
    pub(super) columns: Vec<String>,
    /// Columns by which rows are told apart; several rows may share a key. Keys are compared by bytes.
    pub(super) key: Vec<String>,
    /// Columns of the key whose collation takes different text for equal.
    pub(super) folded: Vec<String>,
    /// Whether no two rows share a key, but for keys that hold a NULL.
    pub(super) is_unique: bool,
    /// By what rows are walked in ranges.
    pub(super) order: Order,
    /// How its text is read and written.
    pub(super) text: Text,
    /// In what ways a row may replace another one than that of its key.
    pub(super) conflicts: Vec<Conflict>,
}

/// A stable order in which a table can be read in pieces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Order {
    /// By the rowid, as this SQL. VACUUM may renumber it, which changes the schema version.
    Rowid(String),
    /// By the primary key of a table without rowids, as SQL that compares as the key does.
    PrimaryKey(Vec<String>),
    /// In none, so in one piece: columns hide all three names of the rowid.
    Unordered,
}

impl Order {
    /// The SQL terms of the order.
    pub(super) fn terms(&self) -> &[String] {
        match self {
            Order::Rowid(term) => std::slice::from_ref(term),
            Order::PrimaryKey(terms) => terms,
            Order::Unordered => &[],
        }
    }
}

/// A unique index.
#[derive(Clone, Debug)]
pub(super) struct UniqueIndex {
    pub(super) name: String,
    /// Whether it is that of the primary key.
    pub(super) primary: bool,
    pub(super) partial: bool,
    /// Each column, none where it is an expression, and the collation that it compares by.
    pub(super) columns: Vec<(Option<String>, String)>,
    /// None where a constraint made it.
    pub(super) sql: Option<String>,
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
    /// Virtual tables whose shadow tables are compared.
    pub(super) virtual_tables: Vec<VirtualTable>,
    /// All of the server's own objects.
    pub(super) objects: Vec<SchemaObject>,
    /// Names of tables that the topology leaves out: they are copied empty.
    pub(super) excluded: Vec<String>,
    /// Tables whose rows are not copied although nobody excluded them, with the reason.
    pub(super) skipped: Vec<(String, String)>,
    /// What an administrator should know about the schema.
    pub(super) warnings: Vec<String>,
    /// How text is read and written.
    pub(super) text: Text,
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
        let read = || Reader { connection, config, text: Text::of(connection)? }.read();
        read().map_err(|failure| match failure {
            Failure::Sqlite(cause) => sqlite_error("read the schema of", path, &cause),
            Failure::Schema(error) => *error,
        })
    }

    /// The server's own objects in a database of this schema, without the shadow tables of virtual tables that travel empty:
    /// these are made with them.
    pub(super) fn objects_of(&self, connection: &Connection) -> rusqlite::Result<Vec<SchemaObject>> {
        let mut objects = objects(connection)?;
        let is_excluded = |object: &SchemaObject| {
            object.shadow_of.as_ref().is_some_and(|table| self.excluded.contains(table))
        };
        objects.retain(|object| !is_excluded(object));
        Ok(objects)
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

/// The server's own objects, in an order in which they can be created; ours and SQLite's are left out.
pub(super) fn objects(connection: &Connection) -> rusqlite::Result<Vec<SchemaObject>> {
    let kinds = Kinds::read(connection)?;
    let mut statement = connection.prepare(
        "SELECT type, name, tbl_name, sql FROM sqlite_schema
         WHERE sql IS NOT NULL AND lower(substr(name, 1, 4)) <> ?1 AND substr(name, 1, 7) <> 'sqlite_'
         ORDER BY CASE type WHEN 'table' THEN 0 WHEN 'index' THEN 1 WHEN 'view' THEN 2 ELSE 3 END, name",
    )?;
    let object = |row: &Row<'_>| {
        let table: String = row.get(2)?;
        let shadow_of = kinds.shadow_of(&table);
        Ok(SchemaObject { kind: row.get(0)?, name: row.get(1)?, table, sql: row.get(3)?, shadow_of })
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
    text: Text,
}

impl Reader<'_> {
    /// What the topology says of tables that there are none of: mostly a name that was misspelt.
    fn named_in_vain(&self, objects: &[SchemaObject]) -> Vec<String> {
        let is_there = |pattern: &str| {
            objects.iter().any(|object| object.kind == "table" && matches_pattern(pattern, &object.name))
        };
        let unknown = |field: &str, name: &str| {
            format!("The topology names \"{name}\" in {field}, but the user store has no such table.")
        };
        let excluded = self.config.exclude.iter().filter(|pattern| !is_there(pattern));
        let keyed = self
            .config
            .keys
            .keys()
            .filter(|table| !objects.iter().any(|object| object.name.eq_ignore_ascii_case(table)));
        excluded
            .map(|pattern| unknown("exclude", pattern))
            .chain(keyed.map(|table| unknown("keys", table)))
            .collect()
    }

    fn read(&self) -> Result<Schema, Failure> {
        let version = schema_version(self.connection)?;
        let objects = objects(self.connection)?;
        if let Some(error) = reserved::refusal(self.connection)? {
            return Err(Failure::Schema(Box::new(error)));
        }
        let kinds = Kinds::read(self.connection)?;
        let mut schema = Schema {
            tables: vec![],
            virtual_tables: vec![],
            objects,
            excluded: vec![],
            skipped: vec![],
            warnings: vec![],
            text: self.text,
            version,
        };
        schema.warnings.extend(self.named_in_vain(&schema.objects));
        let mut without_key = Vec::new();
        for object in
            schema.objects.iter().filter(|object| object.kind == "table" && object.shadow_of.is_none())
        {
            let name = &object.name;
            if self.config.exclude.iter().any(|pattern| matches_pattern(pattern, name)) {
                schema.excluded.push(name.clone());
                continue;
            }
            if object.is_virtual() {
                match self.virtual_table(name, &schema.objects, &kinds)? {
                    Some(table) => schema.virtual_tables.push(table),
                    None => schema.skipped.push((
                        name.clone(),
                        "rows of a table in which it keeps its content cannot be told apart".to_owned(),
                    )),
                }
                continue;
            }
            let without_rowid = kinds.without_rowid(name);
            let columns = self.columns(name)?;
            let unique = self.unique_indexes(name)?;
            match choose_key(name, &columns, &unique, self.config)
                .map_err(|e| Failure::Schema(Box::new(e)))?
            {
                Some(key) => {
                    let (table, unwatched) = self.table(name, &columns, &unique, key, without_rowid)?;
                    schema.tables.push(table);
                    schema.warnings.extend(unwatched.iter().map(|index| {
                        format!("The unique index {index} of table {name} cannot be read: a row that INSERT OR REPLACE removes through it is not noticed.")
                    }));
                }
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
        let mut statement = self.connection.prepare(
            "SELECT name, origin = 'pk', partial, (SELECT sql FROM sqlite_schema AS s WHERE s.type = 'index' AND s.name = i.name)
             FROM pragma_index_list(?1) AS i WHERE \"unique\" ORDER BY name",
        )?;
        let rows = statement.query_map([table], |row| {
            Ok(UniqueIndex {
                name: row.get(0)?,
                primary: row.get(1)?,
                partial: row.get(2)?,
                columns: Vec::new(),
                sql: row.get(3)?,
            })
        })?;
        let mut indexes = Vec::new();
        for index in rows {
            let mut index = index?;
            index.columns = self
                .connection
                .prepare("SELECT name, coll FROM pragma_index_xinfo(?1) WHERE \"key\" ORDER BY seqno")?
                .query_map([&index.name], |row| Ok((row.get(0)?, row.get(1)?)))?
                .collect::<rusqlite::Result<_>>()?;
            indexes.push(index);
        }
        Ok(indexes)
    }

    /// The collation that a column was declared with.
    fn collation(&self, table: &str, column: &str) -> rusqlite::Result<String> {
        let (_, collation, ..) = self.connection.column_metadata(Some("main"), table, column)?;
        Ok(collation.map_or_else(|| "BINARY".to_owned(), |name| name.to_string_lossy().into_owned()))
    }

    /// A table as it is copied, and the unique indexes of it that cannot be watched.
    fn table(
        &self,
        name: &str,
        columns: &[Column],
        unique: &[UniqueIndex],
        key: Vec<String>,
        without_rowid: bool,
    ) -> rusqlite::Result<(Table, Vec<String>)> {
        let primary_index = unique.iter().find(|index| index.primary);
        let taken = |alias: &str| columns.iter().any(|column| column.name.eq_ignore_ascii_case(alias));
        let rowid = ["rowid", "_rowid_", "oid"].into_iter().find(|alias| !without_rowid && !taken(alias));
        // A primary key without an index is the rowid under another name.
        let alias = columns.iter().find(|column| column.primary_key > 0 && primary_index.is_none());
        let order = match (primary_index, rowid, alias) {
            (Some(index), ..) if without_rowid => Order::PrimaryKey(self.index_terms(name, index)?),
            (_, Some(rowid), _) => Order::Rowid(rowid.to_owned()),
            (_, None, Some(alias)) => Order::Rowid(quote(&alias.name)),
            _ => Order::Unordered,
        };
        let mut folded = Vec::new();
        for column in &key {
            if !self.collation(name, column)?.eq_ignore_ascii_case("BINARY") {
                folded.push(column.clone());
            }
        }
        let rowid = rowid.filter(|_| alias.is_none());
        let (conflicts, unwatched) = conflicts(&Shape { table: name, columns, unique, key: &key, rowid });
        let is_unique = is_unique(&key, columns, unique);
        let columns =
            columns.iter().filter(|column| !column.generated).map(|column| column.name.clone()).collect();
        Ok((
            Table {
                name: name.to_owned(),
                columns,
                key,
                folded,
                is_unique,
                order,
                text: self.text,
                conflicts,
            },
            unwatched,
        ))
    }

    /// A virtual table with its shadow tables; none where rows of one of these cannot be told apart.
    fn virtual_table(
        &self,
        name: &str,
        objects: &[SchemaObject],
        kinds: &Kinds,
    ) -> rusqlite::Result<Option<VirtualTable>> {
        let is_shadow =
            |object: &&SchemaObject| object.kind == "table" && object.shadow_of.as_deref() == Some(name);
        let mut tables = Vec::new();
        for shadow in objects.iter().filter(is_shadow) {
            match self.shadow_table(&shadow.name, kinds.without_rowid(&shadow.name))? {
                Some(table) => tables.push(table),
                None => return Ok(None),
            }
        }
        Ok(Some(VirtualTable::new(name, tables)))
    }

    /// A shadow table, keyed by its rowid, which SQLite's own modules refer to, or by its primary key if it has none.
    fn shadow_table(&self, name: &str, without_rowid: bool) -> rusqlite::Result<Option<Table>> {
        let columns = self.columns(name)?;
        let unique = self.unique_indexes(name)?;
        let primary = columns.iter().filter(|column| column.primary_key > 0);
        let key = primary.map(|column| column.name.clone()).collect();
        let (mut table, _) = self.table(name, &columns, &unique, key, without_rowid)?;
        table.conflicts.clear();
        let has_alias = unique.iter().all(|index| !index.primary) && !table.key.is_empty();
        match &table.order {
            Order::Rowid(rowid) if !has_alias => {
                table.columns.insert(0, rowid.clone());
                table.key = vec![rowid.clone()];
                table.folded.clear();
            }
            Order::Rowid(_) | Order::PrimaryKey(_) => {}
            Order::Unordered => return Ok(None),
        }
        Ok(Some(table))
    }

    /// The columns of a primary key's index as SQL that compares as the index does.
    fn index_terms(&self, table: &str, index: &UniqueIndex) -> rusqlite::Result<Vec<String>> {
        let mut terms = Vec::new();
        for (column, collation) in &index.columns {
            let column = column.as_deref().unwrap_or_default();
            let declared = self.collation(table, column)?;
            terms.push(if declared.eq_ignore_ascii_case(collation) {
                quote(column)
            } else {
                format!("{} COLLATE {}", quote(column), quote(collation))
            });
        }
        Ok(terms)
    }
}

/// Whether a table keeps rows from sharing a key.
fn is_unique(key: &[String], columns: &[Column], unique: &[UniqueIndex]) -> bool {
    let mut primary = columns.iter().filter(|column| column.primary_key > 0).peekable();
    let is_primary = primary.peek().is_some() && primary.all(|column| key.contains(&column.name));
    let is_key = |index: &UniqueIndex| {
        !index.partial && index.columns.iter().map(|(name, _)| name.as_ref()).eq(key.iter().map(Some))
    };
    is_primary || unique.iter().any(is_key)
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

impl Table {
    /// SQL that reads some of the columns, separated by commas.
    pub(super) fn read(&self, columns: &[String]) -> String {
        self.text.read_all(columns.iter().map(|name| quote(name)))
    }
}

/// Column names, quoted and separated by commas, each with this prefix.
pub(super) fn column_list(names: &[String], prefix: &str) -> String {
    names.iter().map(|name| format!("{prefix}{}", quote(name))).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::super::source::is_schema_change;
    use super::super::testing::with_source;
    use super::*;

    /// Shows a test the only table of a schema.
    fn with_table(schema: &str, test: impl FnOnce(&Table)) {
        with_source(schema, |source, _| {
            let [table] = source.capture.schema.tables.as_slice() else { panic!("{schema}") };
            test(table);
        });
    }

    #[test]
    fn a_table_is_walked_by_a_rowid_that_no_column_hides_or_by_its_primary_key() {
        let rowid = |term: &str| Order::Rowid(term.to_owned());
        let terms = |terms: &[&str]| Order::PrimaryKey(terms.iter().map(|&term| term.to_owned()).collect());
        let cases = [
            ("(id INTEGER PRIMARY KEY, v)", rowid("rowid")),
            ("(k TEXT PRIMARY KEY, RowId)", rowid("_rowid_")),
            ("(k TEXT PRIMARY KEY, rowid, _rowid_)", rowid("oid")),
            ("(v, id INTEGER PRIMARY KEY, rowid, _rowid_, oid)", rowid("\"id\"")),
            ("(k TEXT PRIMARY KEY, rowid, _rowid_, oid)", Order::Unordered),
            ("(k TEXT NOT NULL UNIQUE, rowid, _rowid_, oid)", Order::Unordered),
            ("(a, k TEXT, PRIMARY KEY (k, a)) WITHOUT ROWID", terms(&["\"k\"", "\"a\""])),
            ("(k TEXT COLLATE NOCASE PRIMARY KEY) WITHOUT ROWID", terms(&["\"k\""])),
            (
                "(k TEXT COLLATE NOCASE, a, PRIMARY KEY (k COLLATE RTRIM, a)) WITHOUT ROWID",
                terms(&["\"k\" COLLATE \"RTRIM\"", "\"a\""]),
            ),
        ];
        for (columns, order) in cases {
            with_table(&format!("CREATE TABLE t {columns}"), |table| {
                assert_eq!(table.order, order, "{columns}")
            });
        }
    }

    #[test]
    fn key_columns_are_folded_whose_collation_is_not_binary() {
        with_table(
            "CREATE TABLE t (a, b TEXT COLLATE NOCASE, c TEXT COLLATE BINARY, d TEXT COLLATE RTRIM, PRIMARY KEY (a, b, c))",
            |table| assert_eq!(table.folded, ["b"]),
        );
    }

    #[test]
    fn a_rowid_is_in_the_way_of_another_row_where_it_is_not_the_key() {
        for (columns, conflicts) in [
            ("(id INTEGER PRIMARY KEY)", 0),
            ("(k TEXT PRIMARY KEY)", 1),
            ("(k TEXT NOT NULL UNIQUE, v)", 1),
            ("(k TEXT PRIMARY KEY, rowid, _rowid_, oid)", 0),
            ("(k TEXT PRIMARY KEY) WITHOUT ROWID", 0),
        ] {
            with_table(&format!("CREATE TABLE t {columns}"), |table| {
                assert_eq!(table.conflicts.len(), conflicts, "{columns}");
            });
        }
    }

    #[test]
    fn a_key_is_unique_where_an_index_over_all_of_it_and_no_more_says_so() {
        let column = |name: &str, primary_key| Column {
            name: name.to_owned(),
            not_null: true,
            primary_key,
            generated: false,
        };
        let index = |columns: &[&str], partial| UniqueIndex {
            name: "i".to_owned(),
            primary: false,
            partial,
            columns: columns.iter().map(|&name| (Some(name.to_owned()), "BINARY".to_owned())).collect(),
            sql: None,
        };
        let key = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>();
        let primary = [column("a", 1), column("b", 2), column("c", 0)];
        assert!(is_unique(&key(&["a", "b"]), &primary, &[]));
        assert!(!is_unique(&key(&["a"]), &primary, &[]));
        let none = [column("a", 0), column("b", 0)];
        assert!(!is_unique(&key(&["a"]), &none, &[]));
        assert!(is_unique(&key(&["a"]), &none, &[index(&["a"], false)]));
        assert!(!is_unique(&key(&["a"]), &none, &[index(&["a"], true)]));
        assert!(!is_unique(&key(&["a"]), &none, &[index(&["a", "b"], false)]));
        assert!(!is_unique(&key(&["a", "b"]), &none, &[index(&["a"], false)]));
    }

    #[test]
    fn rows_of_a_shadow_table_are_told_apart_by_their_rowid_unless_it_has_none() {
        let schema = "CREATE VIRTUAL TABLE four USING fts4 (word); CREATE VIRTUAL TABLE five USING fts5 (word);
            CREATE TABLE odd_words (word);
            PRAGMA writable_schema = ON;
            INSERT INTO sqlite_schema VALUES ('table', 'odd', 'odd', 0, 'CREATE VIRTUAL TABLE odd USING nobodys_module (word)');
            PRAGMA writable_schema = RESET";
        with_source(schema, |source, _| {
            let tables = source.capture.schema.virtual_tables.iter().flat_map(|table| &table.tables);
            let keys: std::collections::BTreeMap<&str, &[String]> =
                tables.map(|table| (table.name.as_str(), table.key.as_slice())).collect();
            for (name, key) in [
                ("four_content", &["docid"][..]),
                ("four_segdir", &["rowid"]),
                ("five_content", &["id"]),
                ("five_idx", &["segid", "term"]),
                ("odd_words", &["rowid"]),
            ] {
                assert_eq!(keys[name], key, "{name}");
            }
        });
    }

    #[test]
    fn nothing_is_read_after_a_schema_that_changed() {
        with_source("CREATE TABLE t (id INTEGER PRIMARY KEY)", |source, work| {
            assert!(source.changes(0, work).is_ok());
            Connection::open(source.path).unwrap().execute_batch("CREATE INDEX i ON t (id)").unwrap();
            assert!(is_schema_change(&source.changes(0, work).unwrap_err()));
        });
    }

    #[test]
    fn patterns_match_whole_names() {
        assert!(matches_pattern("session_*", "session_cache"));
        assert!(!matches_pattern("session_*", "my_session_cache"));
        assert!(matches_pattern("*_log_*", "a_log_b"));
        assert!(!matches_pattern("route", "routes"));
        assert!(matches_pattern("*", "anything"));
        assert!(!matches_pattern("ab*ba", "aba"));
        assert!(!matches_pattern("*ab*b", "xab"));
    }
}
