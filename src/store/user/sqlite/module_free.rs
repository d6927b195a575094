//! Making and removing tables without asking the modules of virtual ones, which our SQLite may lack, or which may refuse
//! what is damaged.

use rusqlite::Connection;

use super::schema::SchemaObject;
use crate::store::sqlite::quote;

/// Creates a table as its database has it. A virtual one is written into the schema; its shadow tables are tables of their
/// own in it.
pub(super) fn create_table(connection: &Connection, table: &SchemaObject) -> rusqlite::Result<()> {
    if !table.is_virtual() {
        return connection.execute_batch(&table.sql);
    }
    change_schema(
        connection,
        "INSERT INTO sqlite_schema (type, name, tbl_name, rootpage, sql) VALUES ('table', ?1, ?1, 0, ?2)",
        &[&table.name, &table.sql],
    )
}

/// Creates a table that is going to stay empty. Where its module can be had, it makes the shadow tables. What is wrong with
/// a table that is none of a module is said again.
pub(super) fn create_empty(connection: &Connection, table: &SchemaObject) -> rusqlite::Result<()> {
    connection.execute_batch(&table.sql).or_else(|_| create_table(connection, table))
}

/// Removes a table, but of a virtual one only its name: its shadow tables are removed as tables.
pub(super) fn drop_table(connection: &Connection, table: &SchemaObject) -> rusqlite::Result<()> {
    if !table.is_virtual() {
        return connection.execute_batch(&format!("DROP TABLE {}", quote(&table.name)));
    }
    change_schema(connection, "DELETE FROM sqlite_schema WHERE type = 'table' AND name = ?1", &[&table.name])
}

/// Writes to the schema as to a table, and has SQLite read it again.
fn change_schema(connection: &Connection, sql: &str, values: &[&String]) -> rusqlite::Result<()> {
    let version: i64 = connection.pragma_query_value(None, "schema_version", |row| row.get(0))?;
    connection.pragma_update(None, "writable_schema", true)?;
    let changed = connection.execute(sql, rusqlite::params_from_iter(values));
    // Other connections notice by the number.
    let numbered = connection.pragma_update(None, "schema_version", version + 1);
    connection.pragma_update(None, "writable_schema", "RESET")?;
    changed?;
    numbered
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_virtual_table_comes_and_goes_without_its_module_and_other_connections_notice() {
        let connection = Connection::open_in_memory().unwrap();
        let table = SchemaObject {
            kind: "table".to_owned(),
            name: "odd".to_owned(),
            table: "odd".to_owned(),
            sql: "CREATE VIRTUAL TABLE odd USING nobody_has_this (text)".to_owned(),
            shadow_of: None,
        };
        let state = || -> (i64, i64) {
            let sql = "SELECT (SELECT count(*) FROM sqlite_schema WHERE name = 'odd'), schema_version FROM pragma_schema_version";
            connection.query_row(sql, [], |row| Ok((row.get(0)?, row.get(1)?))).unwrap()
        };
        let (_, version) = state();
        create_table(&connection, &table).unwrap();
        assert_eq!(state(), (1, version + 1));
        drop_table(&connection, &table).unwrap();
        assert_eq!(state(), (0, version + 2));
        create_empty(&connection, &table).unwrap();
        assert_eq!(state(), (1, version + 3));
        let broken = SchemaObject { sql: "CREATE TABLE odd".to_owned(), ..table };
        assert!(create_empty(&connection, &broken).is_err());
    }
}
