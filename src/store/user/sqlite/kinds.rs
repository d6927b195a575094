//! What kinds of tables a database has, as SQLite itself knows.

use std::collections::BTreeMap;

use rusqlite::Connection;

use crate::store::sqlite::quote;

struct Kind {
    name: String,
    is_virtual: bool,
    is_shadow: bool,
    without_rowid: bool,
    /// Whether SQLite can read it: not where it lacks a virtual table's module.
    is_understood: bool,
}

/// The tables of a database by their names, which SQLite compares without case.
pub(super) struct Kinds(BTreeMap<String, Kind>);

impl Kinds {
    pub(super) fn read(connection: &Connection) -> rusqlite::Result<Self> {
        let mut statement =
            connection.prepare("SELECT name, type, wr FROM pragma_table_list WHERE schema = 'main'")?;
        let kinds = statement.query_map([], |row| {
            let (name, kind): (String, String) = (row.get(0)?, row.get(1)?);
            let kind = Kind {
                is_virtual: kind == "virtual",
                is_shadow: kind == "shadow",
                without_rowid: row.get(2)?,
                is_understood: true,
                name,
            };
            Ok((kind.name.to_ascii_lowercase(), kind))
        })?;
        let mut kinds: BTreeMap<String, Kind> = kinds.collect::<rusqlite::Result<_>>()?;
        // The list itself cannot say: behind a table whose module is missing it counts no columns of others either.
        for kind in kinds.values_mut().filter(|kind| kind.is_virtual) {
            kind.is_understood = connection.prepare(&format!("SELECT * FROM {}", quote(&kind.name))).is_ok();
        }
        Ok(Kinds(kinds))
    }

    pub(super) fn without_rowid(&self, name: &str) -> bool {
        self.0.get(&name.to_ascii_lowercase()).is_some_and(|kind| kind.without_rowid)
    }

    /// The virtual table whose content a table holds a part of. Of modules that our SQLite lacks it does not know these
    /// tables; they are taken to be those that have the name of a shadow table.
    pub(super) fn shadow_of(&self, name: &str) -> Option<String> {
        let name = name.to_ascii_lowercase();
        let (owner, _) = name.rsplit_once('_')?;
        let owner = self.0.get(owner).filter(|owner| owner.is_virtual)?;
        let is_shadow = self.0.get(&name)?.is_shadow || !owner.is_understood;
        is_shadow.then(|| owner.name.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_a_shadow_where_its_module_says_so_or_cannot_be_asked() {
        let connection = Connection::open_in_memory().unwrap();
        connection
            .execute_batch(
                "CREATE VIRTUAL TABLE Docs USING fts5 (text); CREATE TABLE docs_notes (id INTEGER PRIMARY KEY);
                 CREATE TABLE odd_content (id INTEGER PRIMARY KEY); CREATE TABLE content (k PRIMARY KEY) WITHOUT ROWID;
                 PRAGMA writable_schema = ON;
                 INSERT INTO sqlite_schema (type, name, tbl_name, rootpage, sql)
                     VALUES ('table', 'odd', 'odd', 0, 'CREATE VIRTUAL TABLE odd USING nobody_has_this (text)');
                 PRAGMA writable_schema = RESET;",
            )
            .unwrap();
        let kinds = Kinds::read(&connection).unwrap();
        assert_eq!(kinds.shadow_of("DOCS_content").as_deref(), Some("Docs"));
        assert_eq!(kinds.shadow_of("docs_notes"), None);
        assert_eq!(kinds.shadow_of("odd_content").as_deref(), Some("odd"));
        assert_eq!(kinds.shadow_of("content"), None);
        assert_eq!(
            ["Content", "docs_notes", "gone"].map(|name| kinds.without_rowid(name)),
            [true, false, false]
        );
    }
}
