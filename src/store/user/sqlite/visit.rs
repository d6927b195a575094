//! Visiting every page of the tables of a database whose pages are copied unread: damage must not travel unnoticed.

use std::collections::BTreeMap;

use rusqlite::{Connection, ErrorCode};

use crate::store::sqlite::quote;

/// How many rows each table has. Every page of every table and of every whole index is visited and checked for being
/// what its place in the tree says. Values are read only of rows that are too long for one page: the rest of these lies on
/// pages that no tree leads to.
///
/// # Errors
/// `SQLITE_CORRUPT` and failures to read where something is damaged.
pub(super) fn count_rows(connection: &Connection) -> rusqlite::Result<BTreeMap<String, u64>> {
    connection.pragma_update(None, "cell_size_check", true)?;
    let tables: Vec<String> = connection
        .prepare("SELECT name FROM sqlite_schema WHERE type = 'table' AND rootpage > 0")?
        .query_map([], |row| row.get(0))?
        .collect::<rusqlite::Result<_>>()?;
    let mut rows = BTreeMap::new();
    for table in tables {
        let name = quote(&table);
        let count = connection
            .query_row(&format!("SELECT count(*) FROM {name} NOT INDEXED"), [], |row| row.get::<_, i64>(0))?;
        if has_long_rows(connection, &table)?
            && let Some(sql) = long_rows(connection, &table)?
        {
            connection.query_row(&sql, [], |_| Ok(()))?;
        }
        for index in whole_indexes(connection, &table)? {
            // A plain count would be answered from whatever tree is the smallest.
            let sql = format!("SELECT total(1) FROM {name} INDEXED BY {}", quote(&index));
            match connection.query_row(&sql, [], |_| Ok(())) {
                // An index may need a function or a collation that only the server has.
                Err(cause) if cause.sqlite_error_code() == Some(ErrorCode::Unknown) => {}
                visited => visited?,
            }
        }
        rows.insert(table, count.unsigned_abs());
    }
    Ok(rows)
}

/// Whether any row may go on beyond its page, by the lengths that stand in the pages: asking each row costs several times
/// as much as everything else here, and most tables have none.
fn has_long_rows(connection: &Connection, table: &str) -> rusqlite::Result<bool> {
    let sql = "SELECT coalesce(max(mx_payload), 0) FROM dbstat WHERE name = ?1";
    let longest: i64 = connection.query_row(sql, [table], |row| row.get(0))?;
    Ok(longest > i64::from(kept_in_page(connection)?))
}

/// The least that a page of any kind keeps of a row, as the file format says.
fn kept_in_page(connection: &Connection) -> rusqlite::Result<u32> {
    let page_size: u32 = connection.pragma_query_value(None, "page_size", |row| row.get(0))?;
    Ok(page_size.saturating_sub(12) * 32 / 255)
}

/// A query that reads every row of a table that may go on beyond its page, to its end; how long a row is stands at its
/// beginning. None for a table of nothing but generated columns.
fn long_rows(connection: &Connection, table: &str) -> rusqlite::Result<Option<String>> {
    let kept = kept_in_page(connection)?;
    let columns: Vec<String> = connection
        .prepare("SELECT name FROM pragma_table_xinfo(?1) WHERE hidden = 0")?
        .query_map([table], |row| row.get::<_, String>(0).map(|name| quote(&name)))?
        .collect::<rusqlite::Result<_>>()?;
    let each = |term: &str| columns.iter().map(|name| term.replace('?', name)).collect::<Vec<_>>();
    let length = each("coalesce(octet_length(?), 0)").join(" + ");
    let read = each("count(substr(CAST(? AS BLOB), -1))").join(", ");
    let sql = format!("SELECT {read} FROM {} NOT INDEXED WHERE {length} > {kept}", quote(table));
    Ok((!columns.is_empty()).then_some(sql))
}

/// Indexes that have an entry for every row, other than the tree that is the table itself.
fn whole_indexes(connection: &Connection, table: &str) -> rusqlite::Result<Vec<String>> {
    let sql = "SELECT name FROM pragma_index_list(?1) WHERE NOT partial AND NOT (origin = 'pk'
                   AND (SELECT wr FROM pragma_table_list WHERE schema = 'main' AND name = ?1))";
    connection.prepare(sql)?.query_map([table], |row| row.get(0))?.collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt;

    use super::super::pages::is_about_source;
    use super::*;

    /// Overwrites the last leaf of a tree with something that is none.
    fn damage(path: &std::path::Path, connection: &Connection, tree: &str) {
        let sql = "SELECT max(pageno) FROM dbstat WHERE name = ?1 AND pagetype = 'leaf'";
        let page: u32 = connection.query_row(sql, [tree], |row| row.get(0)).unwrap();
        let file = std::fs::File::options().write(true).open(path).unwrap();
        file.write_at(&[0xff; 4096], u64::from(page - 1) * 4096).unwrap();
    }

    #[test]
    fn a_damaged_page_of_any_tree_is_found() {
        for tree in [None, Some("users"), Some("contacts"), Some("by_note"), Some("sqlite_autoindex_users_1")]
        {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("users.sqlite");
            let connection = Connection::open(&path).unwrap();
            connection
                .execute_batch(
                    "PRAGMA page_size = 4096; CREATE TABLE users (name TEXT UNIQUE, note);
                     CREATE TABLE contacts (owner, contact, PRIMARY KEY (owner, contact)) WITHOUT ROWID;
                     CREATE INDEX by_note ON users (note);
                     WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 5000)
                         INSERT INTO users SELECT printf('%040d', i), i FROM n;
                     INSERT INTO contacts SELECT name, note FROM users;",
                )
                .unwrap();
            if let Some(tree) = tree {
                damage(&path, &connection, tree);
            }
            drop(connection);
            let walked = count_rows(&Connection::open(&path).unwrap());
            match tree {
                None => assert_eq!(walked.unwrap().into_values().collect::<Vec<_>>(), [5_000, 5_000]),
                Some(tree) => assert!(is_about_source(&walked.unwrap_err()), "{tree}"),
            }
        }
    }

    #[test]
    fn an_index_that_only_the_server_can_compare_is_not_visited() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("users.sqlite");
        Connection::open(&path)
            .unwrap()
            .execute_batch(
                "CREATE TABLE t (v TEXT); INSERT INTO t VALUES ('a'), ('b'); CREATE INDEX i ON t (v);
                 PRAGMA writable_schema = ON;
                 UPDATE sqlite_schema SET sql = 'CREATE INDEX i ON t (v COLLATE theirs)' WHERE name = 'i'",
            )
            .unwrap();
        let rows = count_rows(&Connection::open(&path).unwrap()).unwrap();
        assert_eq!(rows["t"], 2);
    }
}
