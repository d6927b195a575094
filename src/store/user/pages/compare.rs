//! Two databases compared row by row, read only: what a copy holds and another state of the store does not, and the other way round.
//!
//! No schema keeps it from that. Tables whose rows need a server's functions or collations, or whose declaration this SQLite does not
//! understand, are named, with how many rows both have.

use std::path::Path;
use std::time::{Duration, Instant};

use rusqlite::{Connection, OpenFlags, OptionalExtension};
use tokio_util::sync::CancellationToken;

use super::damage::{alone_url, read_what_can_be_read};
use crate::error::{Error, ErrorKind, Result};
use crate::platform::RawFile;
use crate::store::sqlite::format::header::Header;
use crate::store::sqlite::{Database, alone, quote, sqlite_error};

/// How many rows of a kind are named, how much of a value, and how many tables.
const MOST_NAMED: u32 = 5;
const MOST_OF_A_VALUE: u32 = 40;
const MOST_TABLES: usize = 20;
/// Larger stores are not compared: a copy that is read for long keeps its next import waiting.
const MOST_BYTES: u64 = 256 << 20;
/// How long that may take.
const PATIENCE: Duration = Duration::from_secs(20);
/// Locks of importers at the copy are waited for as long as they last, and no longer.
const LOCK_PATIENCE: Duration = Duration::from_secs(5);

/// Rows of a table: how many, and the keys of the first of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Rows {
    pub(super) count: u64,
    named: Vec<String>,
}

/// How a table of the copy compares with that of the other database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Difference {
    pub(super) table: String,
    pub(super) only_copy: Rows,
    pub(super) only_other: Rows,
    /// Rows of both that hold something else.
    pub(super) changed: Rows,
}

/// What a comparison found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Compared {
    /// Tables whose rows are not the same.
    pub(super) differences: Vec<Difference>,
    /// What is said of tables whose rows could not be compared.
    pub(super) uncompared: Vec<String>,
}

/// Compares the tables of a copy and of a database that nobody else reads or writes, by the numbers or primary keys of their rows; those
/// that are the same are left out.
///
/// # Errors
/// When one of them cannot be opened, or is too large; cancelled.
pub(super) fn compare(copy: &Path, other: &Path, cancel: &CancellationToken) -> Result<Compared> {
    for path in [copy, other] {
        require_small(copy, std::fs::metadata(path).map_or(0, |metadata| metadata.len()))?;
    }
    let mut connection = open_both(copy, other)?;
    let (deadline, asked) = (Instant::now() + PATIENCE, cancel.clone());
    let is_over = move || asked.is_cancelled() || Instant::now() >= deadline;
    let failed = |cause| sqlite_error("read", copy, &cause);
    connection.progress_handler(10_000, Some(is_over)).map_err(failed)?;
    // All of it is of one moment.
    connection.execute_batch("BEGIN").map_err(failed)?;
    let [own, others] = [COPY, OTHER].map(|schema| tables_of(&connection, schema));
    let (own, others) = (own.map_err(failed)?, others.map_err(failed)?);
    let mut all = own.clone();
    all.extend(others.iter().filter(|table| !own.contains(table)).cloned());
    all.sort();
    let mut compared = Compared::default();
    for table in all {
        if cancel.is_cancelled() {
            return Err(Error::cancelled());
        }
        let is_in = (own.contains(&table), others.contains(&table));
        match rows_of(&connection, &table, is_in) {
            Ok([only_copy, only_other, changed]) => {
                let is_same = only_copy.count + only_other.count + changed.count == 0;
                let difference = Difference { table, only_copy, only_other, changed };
                compared.differences.extend((!is_same).then_some(difference));
            }
            Err(_) if cancel.is_cancelled() => return Err(Error::cancelled()),
            Err(cause) => compared.uncompared.push(uncompared(&connection, &table, is_in, &cause)),
        }
    }
    Ok(compared)
}

const COPY: &str = "main";
const OTHER: &str = "other";

fn open_both(copy: &Path, other: &Path) -> Result<Database> {
    let flags =
        OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    // Of a copy that lost its fence SQLite might make a log. Its importer reads it then, and nobody else does.
    let header = RawFile::open(copy, false).and_then(|file| Header::of(&file));
    let is_fenced = header.is_ok_and(|header| header.is_some_and(|header| header.is_fenced()));
    let alone_there = alone_url(copy)?;
    let place = if is_fenced { copy } else { Path::new(alone_there.as_str()) };
    let connection = alone(copy, || Connection::open_with_flags(place, flags))?;
    let failed = |cause| sqlite_error("read", copy, &cause);
    connection.busy_timeout(LOCK_PATIENCE).map_err(failed)?;
    read_what_can_be_read(&connection).map_err(failed)?;
    let attached = connection.execute("ATTACH ?1 AS other", [alone_url(other)?.as_str()]);
    attached.map_err(|cause| {
        // SQLite's own words: the encodings of text may be two.
        Error {
            message: format!("The two states cannot be compared: {cause}."),
            ..sqlite_error("read", other, &cause)
        }
    })?;
    Ok(connection)
}

/// Refuses what is too large to be compared, before it is made for that.
///
/// # Errors
/// `InvalidArgument`.
pub(super) fn require_small(copy: &Path, size: u64) -> Result<()> {
    if size <= MOST_BYTES {
        return Ok(());
    }
    let what = format!("{} is larger than {} MiB.", copy.display(), MOST_BYTES >> 20);
    Err(Error::new(ErrorKind::InvalidArgument, what, "Restore both states, and compare them."))
}

/// The names of the tables that a database has, also of those that cannot be read.
fn tables_of(connection: &Connection, schema: &str) -> rusqlite::Result<Vec<String>> {
    let sql = format!(
        "SELECT name FROM {schema}.sqlite_schema WHERE type = 'table' AND rootpage > 0 AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\'"
    );
    connection.prepare(&sql)?.query_map([], |row| row.get(0))?.collect()
}

/// How many rows a table has. One that cannot be read is counted by the cells of its tree.
///
/// # Errors
/// Where that cannot be counted either.
pub(super) fn count(connection: &Connection, schema: &str, table: &str) -> rusqlite::Result<u64> {
    let sql = format!("SELECT count(*) FROM {schema}.{} NOT INDEXED", quote(table));
    // A table without numbers has rows on all of its pages.
    let cells = format!(
        "SELECT coalesce(sum(ncell), 0) FROM dbstat WHERE schema = ?1 AND name = ?2 AND (pagetype = 'leaf' OR
             (SELECT sql LIKE '%WITHOUT%ROWID%' FROM {schema}.sqlite_schema WHERE type = 'table' AND name = ?2))"
    );
    let counted = connection.query_row(&sql, [], |row| row.get::<_, i64>(0)).map(i64::unsigned_abs);
    counted.or_else(|_| {
        connection.query_row(&cells, [schema, table], |row| row.get::<_, i64>(0)).map(i64::unsigned_abs)
    })
}

/// Why the rows of a table cannot be compared.
struct Why(String);

impl From<rusqlite::Error> for Why {
    fn from(cause: rusqlite::Error) -> Self {
        Why(match cause.sqlite_error_code() {
            Some(rusqlite::ErrorCode::OperationInterrupted) => "it takes too long".to_owned(),
            _ => cause.to_string(),
        })
    }
}

/// What is said of a table whose rows could not be compared.
fn uncompared(connection: &Connection, table: &str, is_in: (bool, bool), why: &Why) -> String {
    let counted = |schema, is_in| if is_in { count(connection, schema, table).ok() } else { Some(0) };
    let said =
        |rows: Option<u64>| rows.map_or_else(|| "an unknown number".to_owned(), |rows| rows.to_string());
    let (copy, other) = (said(counted(COPY, is_in.0)), said(counted(OTHER, is_in.1)));
    format!("{table} could not be compared ({}): {copy} in the copy, {other} in the other state", why.0)
}

/// The rows of a table that only the copy has, those that only the other database has, and those that differ.
fn rows_of(connection: &Connection, table: &str, is_in: (bool, bool)) -> Result<[Rows; 3], Why> {
    let quoted = quote(table);
    let sides = [format!("{COPY}.{quoted}"), format!("{OTHER}.{quoted}")];
    let shape = Shape::of(connection, if is_in.0 { COPY } else { OTHER }, table)?;
    let here = shape.named("a");
    let all = |side: &str| rows(connection, &format!("{side} a {}", shape.plain()), "1", &here);
    match is_in {
        (true, true) => {}
        (true, false) => return Ok([all(&sides[0])?, Rows::default(), Rows::default()]),
        (false, _) => return Ok([Rows::default(), all(&sides[1])?, Rows::default()]),
    }
    let other = Shape::of(connection, OTHER, table)?;
    if shape.key != other.key {
        return Ok([all(&sides[0])?, all(&sides[1])?, Rows::default()]);
    }
    let same: Vec<String> = shape.key.iter().map(|key| format!("a.{key} IS b.{key}")).collect();
    let (on, missing) = (same.join(" AND "), format!("b.{} IS NULL", shape.key[0]));
    let differs = shape.columns.iter().filter(|column| other.columns.contains(column)).map(|column| {
        // Whatever two values are alike to the column's own collation, they are not the same.
        format!("a.{column} COLLATE BINARY IS NOT b.{column} COLLATE BINARY OR typeof(a.{column}) <> typeof(b.{column})")
    });
    let differs = differs.collect::<Vec<_>>().join(" OR ");
    let plain = shape.plain();
    let lacking = |left: &str, right: &str| {
        rows(connection, &format!("{left} a {plain} LEFT JOIN {right} b ON {on}"), &missing, &here)
    };
    let differs = if differs.is_empty() { "0" } else { &differs };
    let both = format!("{} a {plain} JOIN {} b ON {on}", sides[0], sides[1]);
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
    /// Whether rows have numbers.
    is_numbered: bool,
}

impl Shape {
    fn of(connection: &Connection, schema: &str, table: &str) -> Result<Self, Why> {
        let sql = "SELECT name, pk FROM pragma_table_xinfo(?1, ?2) WHERE hidden = 0 ORDER BY pk";
        let found: Vec<(String, u32)> = connection
            .prepare(sql)?
            .query_map([table, schema], |row| Ok((row.get(0)?, row.get(1)?)))?
            .collect::<rusqlite::Result<_>>()?;
        let sql = "SELECT wr FROM pragma_table_list WHERE schema = ?1 AND name = ?2";
        let has_no_number: Option<bool> =
            connection.query_row(sql, [schema, table], |row| row.get(0)).optional()?;
        let unknown = || Why("this SQLite does not understand its declaration".to_owned());
        let has_no_number = has_no_number.ok_or_else(unknown)?;
        let is_free = |name: &&str| !found.iter().any(|(column, _)| column.eq_ignore_ascii_case(name));
        let number = ["rowid", "_rowid_", "oid"].into_iter().find(is_free).filter(|_| !has_no_number);
        let primary: Vec<String> =
            found.iter().filter(|(_, place)| *place > 0).map(|(name, _)| quote(name)).collect();
        let key = number.map_or_else(|| primary.clone(), |number| vec![number.to_owned()]);
        if key.is_empty() {
            return Err(Why("its columns have every name of a row's number".to_owned()));
        }
        let columns = found.iter().map(|(name, _)| quote(name)).collect();
        Ok(Shape { key, primary, columns, is_numbered: number.is_some() })
    }

    /// Keeps an index out of it that needs what only the server has.
    const fn plain(&self) -> &'static str {
        if self.is_numbered { "NOT INDEXED" } else { "" }
    }

    /// What a row is called, for people.
    fn named(&self, row: &str) -> String {
        let by = if self.primary.is_empty() { &self.key } else { &self.primary };
        let named = by.iter().map(|column| {
            let value = format!("{row}.{column}");
            format!("iif(length({value}) > {MOST_OF_A_VALUE}, quote(substr({value}, 1, {MOST_OF_A_VALUE})) || '…', quote({value}))")
        });
        named.collect::<Vec<_>>().join(" || ', ' || ")
    }
}

impl Compared {
    /// Lines for a report: what is only in the other state, what is only in the copy, and what both have, with these words for them.
    pub(super) fn lines(&self, [in_other, in_copy]: [&str; 2]) -> Vec<String> {
        let line = |difference: &Difference| {
            let parts = [
                difference.only_other.part(in_other),
                difference.only_copy.part(in_copy),
                difference.changed.part("hold something else"),
            ];
            let parts: Vec<String> = parts.into_iter().flatten().collect();
            format!("Rows of {}: {}.", difference.table, parts.join(", "))
        };
        let mut lines: Vec<String> = self.differences.iter().map(line).collect();
        lines.extend(self.uncompared.iter().map(|said| format!("Rows of {said}.")));
        bounded(lines)
    }

    /// Which rows of the copy the other state lacks, of these tables or of all, for an error.
    pub(super) fn missing(&self, is_meant: impl Fn(&str) -> bool) -> Vec<String> {
        let meant = self.differences.iter().filter(|difference| is_meant(&difference.table));
        let missing = meant.filter_map(|difference| {
            Some(format!("{} {}", difference.table, difference.only_copy.part("missing")?))
        });
        bounded(missing.chain(self.uncompared.iter().cloned()).collect())
    }
}

impl Rows {
    fn part(&self, what: &str) -> Option<String> {
        let more = if self.count > self.named.len() as u64 { ", …" } else { "" };
        (self.count > 0).then(|| format!("{} {what} ({}{more})", self.count, self.named.join("; ")))
    }
}

/// So many that a person reads them.
fn bounded(mut lines: Vec<String>) -> Vec<String> {
    let more = lines.len().saturating_sub(MOST_TABLES);
    lines.truncate(MOST_TABLES);
    lines.extend((more > 0).then(|| format!("And {more} more tables.")));
    lines
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
        let cancel = CancellationToken::new();
        let found = compare(&second, &first, &cancel).unwrap();
        assert_eq!(
            found.lines(["only in it", "only in the copy of now"]),
            [
                "Rows of loose: 1 only in the copy of now (3).",
                "Rows of named: 1 hold something else ('bob').",
                "Rows of numbered: 1 only in it (4), 1 only in the copy of now (5), 2 hold something else (2; 3).",
                "Rows of own: 1 only in it (1).",
                "Rows of pairs: 1 only in it (1, 'y'), 1 only in the copy of now (2, 'y'), 1 hold something else (1, 'x').",
            ]
        );
        assert_eq!(compare(&first, &first, &cancel).unwrap(), Compared::default());
        let utf16 = folder.path().join("utf16");
        Connection::open(&utf16)
            .unwrap()
            .execute_batch("PRAGMA encoding = 'UTF-16'; CREATE TABLE t (x)")
            .unwrap();
        let error = compare(&first, &utf16, &cancel).unwrap_err();
        assert!(error.message.contains("same text encoding"), "{error:?}");
        cancel.cancel();
        assert_eq!(compare(&first, &second, &cancel).unwrap_err().kind, ErrorKind::Cancelled);
    }

    /// A database with tables that need what only their server has, or that this SQLite does not understand.
    fn strange(path: &Path, rows: u32) {
        let server = Connection::open(path).unwrap();
        server
            .execute_batch(&format!(
                "CREATE TABLE sorted (name TEXT PRIMARY KEY) WITHOUT ROWID; CREATE TABLE scored (x);
                 CREATE TABLE noted (id INTEGER PRIMARY KEY, note); CREATE INDEX by_note ON noted (note);
                 CREATE TABLE later (x); CREATE TABLE plain (x);
                 CREATE TEMP TABLE n AS WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {rows}) SELECT i FROM n;
                 INSERT INTO sorted SELECT printf('%0200d', i) FROM n; INSERT INTO scored SELECT i FROM n; INSERT INTO noted SELECT i, i FROM n;
                 INSERT INTO later SELECT i FROM n; INSERT INTO plain SELECT i FROM n; PRAGMA writable_schema = ON;
                 UPDATE sqlite_schema SET sql = CASE name
                     WHEN 'sorted' THEN 'CREATE TABLE sorted (name TEXT COLLATE theirs PRIMARY KEY) WITHOUT ROWID'
                     WHEN 'scored' THEN 'CREATE TABLE scored (x, y AS (score(x)), CHECK (score(x) = 1))'
                     WHEN 'noted' THEN 'CREATE TABLE noted (id INTEGER PRIMARY KEY, note COLLATE theirs)'
                     WHEN 'later' THEN 'CREATE TABLE later (x EXCEPT TOMORROW)'
                     ELSE sql END"
            ))
            .unwrap();
    }

    #[test]
    fn tables_that_only_their_server_can_read_are_named_and_counted_and_all_others_are_compared() {
        let folder = tempfile::tempdir().unwrap();
        let (copy, other) = (folder.path().join("copy"), folder.path().join("other"));
        strange(&copy, 1_000);
        strange(&other, 400);
        let found = compare(&copy, &other, &CancellationToken::new()).unwrap();
        let names: Vec<&str> = found.differences.iter().map(|difference| &*difference.table).collect();
        assert_eq!(names, ["noted", "plain", "scored"], "{found:?}");
        assert!(found.differences.iter().all(|difference| difference.only_copy.count == 600), "{found:?}");
        let [later, sorted] = &found.uncompared[..] else { panic!("{found:?}") };
        assert!(later.contains("does not understand") && sorted.contains("no such collation"), "{found:?}");
        assert!(
            found.uncompared.iter().all(|said| said.ends_with(": 1000 in the copy, 400 in the other state")),
            "{found:?}"
        );
        assert_eq!(found.missing(|table| table == "plain").len(), 3, "{found:?}");
    }

    #[test]
    fn what_is_named_is_bounded_in_number_and_size() {
        let folder = tempfile::tempdir().unwrap();
        let (copy, other) = (folder.path().join("copy"), folder.path().join("other"));
        let server = Connection::open(&copy).unwrap();
        for table in 0..30 {
            let sql = format!(
                "CREATE TABLE t{table} (k PRIMARY KEY); INSERT INTO t{table} VALUES (zeroblob(100000)), (printf('%.100000c', 'x')), (1), (2), (3), (NULL), ('a')"
            );
            server.execute_batch(&sql).unwrap();
        }
        drop(server);
        Connection::open(&other).unwrap().execute_batch("CREATE TABLE own (x)").unwrap();
        let found = compare(&copy, &other, &CancellationToken::new()).unwrap();
        for lines in [found.lines(["here", "there"]), found.missing(|_| true)] {
            assert_eq!(lines.len(), 21, "{lines:?}");
            assert!(lines.iter().all(|line| line.len() < 300), "{lines:?}");
            assert!(
                lines[0].contains("7 ") && lines[0].contains("'xxxxx") && lines[0].ends_with("…)")
                    || lines[0].ends_with("…)."),
                "{}",
                lines[0]
            );
            assert_eq!(lines[20], "And 10 more tables.");
        }
    }
}
