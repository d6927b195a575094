//! What kinds of tables a database has, as SQLite itself knows.

use std::collections::BTreeMap;

use rusqlite::Connection;

struct Kind {
    name: String,
    is_virtual: bool,
    is_shadow: bool,
    without_rowid: bool,
    /// Whether SQLite could say what columns it has: not where it lacks a virtual table's module.
    is_understood: bool,
}

/// The tables of a database by their names, which SQLite compares without case.
pub(super) struct Kinds(BTreeMap<String, Kind>);

impl Kinds {
    pub(super) fn read(connection: &Connection) -> rusqlite::Result<Self> {
        let mut statement =
            connection.prepare("SELECT name, type, wr, ncol FROM pragma_table_list WHERE schema = 'main'")?;
        let kinds = statement.query_map([], |row| {
            let (name, kind): (String, String) = (row.get(0)?, row.get(1)?);
            let kind = Kind {
                is_virtual: kind == "virtual",
                is_shadow: kind == "shadow",
                without_rowid: row.get(2)?,
                is_understood: row.get::<_, i64>(3)? > 0,
                name,
            };
            Ok((kind.name.to_ascii_lowercase(), kind))
        })?;
        Ok(Kinds(kinds.collect::<rusqlite::Result<_>>()?))
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
