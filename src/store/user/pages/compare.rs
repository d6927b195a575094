//! Two databases compared row by row, read only: what one has that the other one lacks.

use std::path::Path;

use rusqlite::Connection;

use crate::error::Result;
use crate::store::sqlite::{Access, open, quote, sqlite_error, tables};

/// How many rows of a kind are named.
const MOST_NAMED: u32 = 5;

/// Rows of a table: how many, and the keys of the first of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Rows {
    pub(super) count: u64,
    pub(super) named: Vec<String>,
}

/// How a table of one database compares with that of another one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Difference {
    pub(super) table: String,
    pub(super) only_first: Rows,
    pub(super) only_second: Rows,
    /// Rows of both that hold something else.
    pub(super) changed: Rows,
}

/// Compares the tables of two databases by the numbers or primary keys of their rows; those that are the same are left out. What cannot be
/// read without functions or modules of a server's is left out, too.
///
/// # Errors
/// When one of them cannot be opened, or they differ in the encoding of text.
pub(super) fn compare(first: &Path, second: &Path) -> Result<Vec<Difference>> {
    let connection = open(first, Access::Read)?;
    // By itself before, so that it is one that may be opened.
    let second_alone = open(second, Access::Read)?;
    let others = tables(&second_alone).unwrap_or_default();
    drop(second_alone);
    connection
        .execute("ATTACH ?1 AS second", [second.to_string_lossy()])
        .map_err(|cause| sqlite_error("read", second, &cause))?;
    let mut all = tables(&connection).unwrap_or_default();
    let own = all.clone();
    all.extend(others.iter().filter(|table| !own.contains(table)).cloned());
    all.sort();
    let compared = all.into_iter().filter_map(|table| {
        let is_in = (own.contains(&table), others.contains(&table));
        let [only_first, only_second, changed] = rows_of(&connection, &table, is_in).ok()?;
        let is_same = only_first.count + only_second.count + changed.count == 0;
        (!is_same).then_some(Difference { table, only_first, only_second, changed })
    });
    Ok(compared.collect())
}

/// The rows of a table that only the first database has, those that only the second one has, and those that differ.
fn rows_of(connection: &Connection, table: &str, is_in: (bool, bool)) -> rusqlite::Result<[Rows; 3]> {
    let quoted = quote(table);
    let sides = [format!("main.{quoted}"), format!("second.{quoted}")];
    let one = if is_in.0 { "main" } else { "second" };
    let shape = Shape::of(connection, one, table)?;
    let here = shape.named("a");
    if is_in != (true, true) {
        let side = if is_in.0 { &sides[0] } else { &sides[1] };
        let rows = rows(connection, &format!("{side} a"), "1", &here)?;
        return Ok(if is_in.0 {
            [rows, Rows::default(), Rows::default()]
        } else {
            [Rows::default(), rows, Rows::default()]
        });
    }
    let other = Shape::of(connection, "second", table)?;
    if shape.key != other.key {
        let [first, second] = sides.map(|side| rows(connection, &format!("{side} a"), "1", &here));
        return Ok([first?, second?, Rows::default()]);
    }
    let same: Vec<String> = shape.key.iter().map(|key| format!("a.{key} IS b.{key}")).collect();
    let (on, missing) = (same.join(" AND "), format!("b.{} IS NULL", shape.key[0]));
    let differs = shape.columns.iter().filter(|column| other.columns.contains(column)).map(|column| {
        // Whatever two values are alike to the column's own collation, they are not the same.
        format!("a.{column} COLLATE BINARY IS NOT b.{column} COLLATE BINARY OR typeof(a.{column}) <> typeof(b.{column})")
    });
    let differs = differs.collect::<Vec<_>>().join(" OR ");
    let lacking = |left: &str, right: &str| {
        rows(connection, &format!("{left} a LEFT JOIN {right} b ON {on}"), &missing, &here)
    };
    let differs = if differs.is_empty() { "0" } else { &differs };
    let both = format!("{} a JOIN {} b ON {on}", sides[0], sides[1]);
    Ok([
        lacking(&sides[0], &sides[1])?,
        lacking(&sides[1], &sides[0])?,
        rows(connection, &both, differs, &here)?,
    ])
}

fn rows(connection: &Connection, from: &str, condition: &str, name: &str) -> rusqlite::Result<Rows> {
    let count = format!("SELECT count(*) FROM {from} WHERE {condition}");
    let count: i64 = connection.query_row(&count, [], |row| row.get(0))?;
    let named = format!("SELECT {name} FROM {from} WHERE {condition} LIMIT {MOST_NAMED}");
    let named = if count == 0 {
        Vec::new()
    } else {
        connection.prepare(&named)?.query_map([], |row| row.get(0))?.collect::<rusqlite::Result<_>>()?
    };
    Ok(Rows { count: count.unsigned_abs(), named })
}

/// By what the rows of a table are found, and what they hold; all quoted.
struct Shape {
    key: Vec<String>,
    /// The columns of the primary key; none where there is none.
    primary: Vec<String>,
    columns: Vec<String>,
}

impl Shape {
    fn of(connection: &Connection, schema: &str, table: &str) -> rusqlite::Result<Self> {
        let sql = "SELECT name, pk FROM pragma_table_xinfo(?1, ?2) WHERE hidden = 0 ORDER BY pk";
        let found: Vec<(String, u32)> = connection
            .prepare(sql)?
            .query_map([table, schema], |row| Ok((row.get(0)?, row.get(1)?)))?
            .collect::<rusqlite::Result<_>>()?;
        let sql = "SELECT wr FROM pragma_table_list WHERE schema = ?1 AND name = ?2";
        let has_no_number: bool = connection.query_row(sql, [schema, table], |row| row.get(0))?;
        let is_free = |name: &&str| !found.iter().any(|(column, _)| column.eq_ignore_ascii_case(name));
        let number = ["rowid", "_rowid_", "oid"].into_iter().find(is_free).filter(|_| !has_no_number);
        let primary: Vec<String> =
            found.iter().filter(|(_, place)| *place > 0).map(|(name, _)| quote(name)).collect();
        let key = number.map_or_else(|| primary.clone(), |number| vec![number.to_owned()]);
        if key.is_empty() {
            // Every name of the number is that of a column.
            return Err(rusqlite::Error::QueryReturnedNoRows);
        }
        Ok(Shape { key, primary, columns: found.iter().map(|(name, _)| quote(name)).collect() })
    }

    /// What a row is called, for people.
    fn named(&self, row: &str) -> String {
        let by = if self.primary.is_empty() { &self.key } else { &self.primary };
        by.iter().map(|column| format!("quote({row}.{column})")).collect::<Vec<_>>().join(" || ', ' || ")
    }
}

/// Lines for a report on a database that was restored, compared with the copy as it is now.
pub(super) fn lines(differences: &[Difference]) -> Vec<String> {
    let part = |rows: &Rows, what: &str| {
        let more = if rows.count > rows.named.len() as u64 { ", …" } else { "" };
        (rows.count > 0).then(|| format!("{} {what} ({}{more})", rows.count, rows.named.join("; ")))
    };
    let line = |difference: &Difference| {
        let parts = [
            part(&difference.only_first, "only in it"),
            part(&difference.only_second, "only in the copy of now"),
            part(&difference.changed, "hold something else"),
        ];
        let parts: Vec<String> = parts.into_iter().flatten().collect();
        format!("Rows of {}: {}.", difference.table, parts.join(", "))
    };
    differences.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_table_is_compared_by_what_its_rows_are_called() {
        let folder = tempfile::tempdir().unwrap();
        let make = |name: &str, rows: &str| {
            let path = folder.path().join(name);
            Connection::open(&path)
                .unwrap()
                .execute_batch(&format!(
                    "CREATE TABLE numbered (id INTEGER PRIMARY KEY, text COLLATE NOCASE, number);
                     CREATE TABLE named (name TEXT PRIMARY KEY, rowid, note);
                     CREATE TABLE pairs (a, b, c, PRIMARY KEY (a, b)) WITHOUT ROWID;
                     CREATE TABLE loose (x); CREATE TABLE same (x); INSERT INTO same VALUES (1); {rows}"
                ))
                .unwrap();
            path
        };
        let first = make(
            "first",
            "INSERT INTO numbered VALUES (1, 'a', 1), (2, 'b', 2), (3, 'c', 3), (4, 'd', 4); INSERT INTO named VALUES ('ann', 1, 2);
             INSERT INTO pairs VALUES (1, 'x', 1), (1, 'y', 1); INSERT INTO loose VALUES (1), (2); CREATE TABLE own (x); INSERT INTO own VALUES (1)",
        );
        let second = make(
            "second",
            "INSERT INTO numbered VALUES (1, 'a', 1), (2, 'B', 2), (3, 'c', 3.0), (5, 'e', 5); INSERT INTO named VALUES ('bob', 1, 2);
             INSERT INTO pairs VALUES (1, 'x', 2), (2, 'y', 1); INSERT INTO loose VALUES (1), (2), (NULL)",
        );
        let found = compare(&first, &second).unwrap();
        assert_eq!(
            lines(&found),
            [
                "Rows of loose: 1 only in the copy of now (3).",
                "Rows of named: 1 hold something else ('ann').",
                "Rows of numbered: 1 only in it (4), 1 only in the copy of now (5), 2 hold something else (2; 3).",
                "Rows of own: 1 only in it (1).",
                "Rows of pairs: 1 only in it (1, 'y'), 1 only in the copy of now (2, 'y'), 1 hold something else (1, 'x').",
            ]
        );
        assert_eq!(compare(&first, &first).unwrap(), []);
        let utf16 = folder.path().join("utf16");
        Connection::open(&utf16)
            .unwrap()
            .execute_batch("PRAGMA encoding = 'UTF-16'; CREATE TABLE t (x)")
            .unwrap();
        assert!(compare(&first, &utf16).is_err());
    }
}
