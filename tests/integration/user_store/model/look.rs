//! Looks at databases that cost little: connections stay open, and what did not change is not read again.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rusqlite::{Connection, OpenFlags};

use crate::user_store::THEIRS;

/// Every row of every table of a server, sorted, as SQLite writes its values.
pub type Rows = Arc<Vec<String>>;

/// What was seen through one connection, and the statements to see it with.
#[derive(Default)]
pub struct Look {
    /// What others and the connection itself have written, and the schema: the rows are as they were while this is.
    version: Option<(i64, u64, i64)>,
    queries: Vec<String>,
    rows: Rows,
}

impl Look {
    pub fn at(&mut self, connection: &Connection) -> Rows {
        let number = |sql| connection.prepare_cached(sql).unwrap().query_row([], |row| row.get::<_, i64>(0));
        let schema = number("PRAGMA schema_version").unwrap();
        let version = (number("PRAGMA data_version").unwrap(), connection.total_changes(), schema);
        if self.version != Some(version) {
            if self.version.is_none_or(|(_, _, before)| before != schema) {
                self.queries = queries(connection);
            }
            self.rows = Arc::new(self.queries.iter().flat_map(|query| strings(connection, query)).collect());
            self.version = Some(version);
        }
        self.rows.clone()
    }
}

fn strings(connection: &Connection, query: &str) -> Vec<String> {
    let mut statement = connection.prepare_cached(query).unwrap();
    let found = statement.query_map([], |row| row.get(0)).unwrap();
    found.collect::<rusqlite::Result<_>>().unwrap()
}

/// One query for each table.
fn queries(connection: &Connection) -> Vec<String> {
    let tables = format!("SELECT name FROM sqlite_schema WHERE type = 'table' AND {THEIRS} ORDER BY name");
    let query = |table: String| {
        let columns = strings(connection, &format!("SELECT name FROM pragma_table_info('{table}')"));
        let values: Vec<String> = columns.iter().map(|name| format!("quote({name})")).collect();
        format!("SELECT '{table}: ' || {} FROM {table} ORDER BY 1", values.join(" || ', ' || "))
    };
    strings(connection, &tables).into_iter().map(query).collect()
}

/// The file at the standby's place, which may become another one at any time.
pub struct Copy {
    path: PathBuf,
    open: Option<(u64, Connection, Look)>,
}

impl Copy {
    pub fn at(path: &Path) -> Self {
        Copy { path: path.to_owned(), open: None }
    }

    /// Nothing where there is no standby.
    pub fn rows(&mut self) -> Rows {
        let Ok(file) = std::fs::metadata(&self.path) else {
            self.open = None;
            return Rows::default();
        };
        if self.open.as_ref().is_none_or(|(inode, ..)| *inode != file.ino()) {
            let connection =
                Connection::open_with_flags(&self.path, OpenFlags::SQLITE_OPEN_READ_WRITE).unwrap();
            self.open = Some((file.ino(), connection, Look::default()));
        }
        let (_, connection, look) = self.open.as_mut().unwrap();
        look.at(connection)
    }
}
