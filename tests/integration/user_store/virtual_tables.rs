//! Virtual tables: what their modules keep in shadow tables arrives with everything else.

use std::path::Path;

use cs_backup::store::user::UserStorePair;
use rusqlite::Connection;
use tokio_util::sync::CancellationToken;

use super::{Pair, dump, rows, schema};

const TABLES: &str = "
CREATE TABLE docs (id INTEGER PRIMARY KEY, title, body);
CREATE VIRTUAL TABLE own USING fts5 (title, body, tokenize = 'porter');
CREATE VIRTUAL TABLE outside USING fts5 (title, body, content = 'docs', content_rowid = 'id');
CREATE VIRTUAL TABLE bare USING fts5 (body, content = '');
CREATE VIRTUAL TABLE bare_but_deleted USING fts5 (body, content = '', contentless_delete = 1);
CREATE VIRTUAL TABLE \"of four\" USING fts4 (title, body);
CREATE VIRTUAL TABLE of_three USING fts3 (body);
CREATE VIRTUAL TABLE places USING rtree (id, min_x, max_x, min_y, max_y, +name);
CREATE VIRTUAL TABLE words USING fts5vocab (own, row);
CREATE TRIGGER docs_in AFTER INSERT ON docs BEGIN INSERT INTO outside (rowid, title, body) VALUES (NEW.id, NEW.title, NEW.body); END;
CREATE TRIGGER docs_out AFTER DELETE ON docs BEGIN
    INSERT INTO outside (outside, rowid, title, body) VALUES ('delete', OLD.id, OLD.title, OLD.body); END;
CREATE TRIGGER docs_up AFTER UPDATE ON docs BEGIN
    INSERT INTO outside (outside, rowid, title, body) VALUES ('delete', OLD.id, OLD.title, OLD.body);
    INSERT INTO outside (rowid, title, body) VALUES (NEW.id, NEW.title, NEW.body); END;
WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 300)
    INSERT INTO docs SELECT i, 'title ' || (i % 7), 'meeting ' || i || ' at noon in room ' || (i % 13) FROM n;
INSERT INTO own SELECT title, body FROM docs;
INSERT INTO bare (rowid, body) SELECT id, body FROM docs;
INSERT INTO bare_but_deleted (rowid, body) SELECT id, body FROM docs;
INSERT INTO \"of four\" SELECT title, body FROM docs;
INSERT INTO of_three SELECT body FROM docs;
INSERT INTO places SELECT id, id, id + 2, -id, 3 - id, title FROM docs;
";

/// What a server does between two cycles, one after the other.
const WRITES: [&str; 13] = [
    "INSERT INTO docs (title, body) VALUES ('lunch', 'pasta at one'); INSERT INTO own VALUES ('lunch', 'pasta at one')",
    "UPDATE docs SET body = 'cancelled ' || id WHERE id % 5 = 0; UPDATE own SET title = 'moved' WHERE rowid % 5 = 0",
    "DELETE FROM docs WHERE id < 20; DELETE FROM own WHERE rowid < 20; DELETE FROM \"of four\" WHERE docid < 20; DELETE FROM of_three WHERE docid = 7",
    "DELETE FROM places WHERE id BETWEEN 10 AND 200; UPDATE places SET max_x = max_x + 100 WHERE id > 250; INSERT INTO places VALUES (7000, 1, 2, 3, 4, 'far')",
    "INSERT INTO bare (bare, rowid, body) SELECT 'delete', 21, 'meeting 21 at noon in room 8'; DELETE FROM bare_but_deleted WHERE rowid = 30",
    "INSERT INTO own (own) VALUES ('optimize'); INSERT INTO \"of four\" (\"of four\") VALUES ('optimize')",
    "INSERT INTO outside (outside) VALUES ('rebuild'); INSERT INTO own (own, rank) VALUES ('pgsz', 100)",
    "INSERT INTO bare (bare) VALUES ('delete-all'); INSERT INTO bare (rowid, body) VALUES (1, 'all new')",
    "BEGIN; REPLACE INTO own (rowid, title, body) VALUES (40, 'forty', 'noon'); DELETE FROM docs WHERE id = 40; COMMIT",
    "INSERT INTO own (own, rank) VALUES ('secure-delete', 1); DELETE FROM own WHERE rowid IN (41, 42)",
    "ALTER TABLE own RENAME TO own_for_a_moment; ALTER TABLE own_for_a_moment RENAME TO own",
    "ALTER TABLE own RENAME TO renamed; ALTER TABLE places RENAME TO spots",
    "DROP TABLE \"of four\"; CREATE VIRTUAL TABLE \"of four\" USING fts4 (title, tokenize = unicode61); DROP TABLE of_three; VACUUM",
];

/// What searches find in every virtual table there is, and what the modules think of their own tables.
fn searches(path: &Path) -> Vec<String> {
    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path().join("copy.sqlite");
    Connection::open(path).unwrap().execute("VACUUM INTO ?1", [copy.to_str()]).unwrap();
    let copy = Connection::open(copy).unwrap();
    let mut found = Vec::new();
    for table in ["own", "renamed", "outside", "bare", "bare_but_deleted", "\"of four\"", "of_three"] {
        let name = table.trim_matches('"');
        if !copy.table_exists(None::<&str>, name).unwrap() {
            continue;
        }
        for word in ["noon", "cancelled", "meet*", "moved OR lunch", "21"] {
            let sql = format!("SELECT '{name} {word}', rowid FROM {table} WHERE {table} MATCH '{word}'");
            found.extend(rows(&copy, &sql));
        }
        if name != "bare" && name != "bare_but_deleted" && name != "of_three" {
            let check = format!("INSERT INTO {table} ({table}) VALUES ('integrity-check')");
            copy.execute_batch(&check).unwrap_or_else(|error| panic!("{name}: {error}"));
        }
    }
    for places in ["places", "spots"] {
        if copy.table_exists(None::<&str>, places).unwrap() {
            found.extend(rows(&copy, &format!("SELECT * FROM {places} WHERE min_x > 30 AND max_y < 0")));
            assert_eq!(rows(&copy, &format!("SELECT rtreecheck('{places}')")), ["'ok'"]);
        }
    }
    assert_eq!(rows(&copy, "PRAGMA integrity_check"), ["'ok'"]);
    found
}

#[track_caller]
fn assert_found_alike(pair: &Pair) {
    assert_eq!(schema(&pair.source()), schema(&pair.standby()));
    assert_eq!(dump(&pair.source()), dump(&pair.standby()));
    let found = searches(&pair.source());
    assert!(found.len() > 50);
    assert_eq!(found, searches(&pair.standby()));
}

#[test]
fn every_write_to_a_virtual_table_arrives_with_the_next_cycle() {
    for mode in ["WAL", "DELETE"] {
        let pair = Pair::new(&format!("PRAGMA journal_mode = {mode}; {TABLES}"));
        pair.synchronize_and_compare();
        assert_found_alike(&pair);
        for write in WRITES {
            pair.server.execute_batch(write).unwrap_or_else(|error| panic!("{write}: {error}"));
            pair.synchronize_and_compare();
            assert_found_alike(&pair);
        }
    }
}

#[test]
fn hidden_rowids_and_what_points_to_them_arrive() {
    let pair = Pair::new(
        "CREATE TABLE t (name TEXT); INSERT INTO t (rowid, name) VALUES (7, 'seven'), (90, 'ninety');
         CREATE VIRTUAL TABLE found USING fts5 (name, content = 't'); INSERT INTO found (found) VALUES ('rebuild')",
    );
    let query = "SELECT t.rowid, t.name FROM found JOIN t ON t.rowid = found.rowid WHERE found MATCH 'ninety OR seven'";
    for statement in [
        "SELECT 1",
        "UPDATE t SET rowid = rowid + 1000; INSERT INTO found (found) VALUES ('rebuild')",
        "VACUUM",
    ] {
        pair.server.execute_batch(statement).unwrap();
        pair.synchronize_and_compare();
        let standby = Connection::open(pair.standby()).unwrap();
        assert_eq!(rows(&standby, query), rows(&pair.server, query), "{statement}");
        assert_eq!(rows(&standby, "SELECT rowid FROM t"), rows(&pair.server, "SELECT rowid FROM t"));
    }
}

/// What is in a file and no row shows.
#[test]
fn numbers_of_the_header_arrive() {
    let pair = Pair::new("CREATE TABLE t (id INTEGER PRIMARY KEY)");
    pair.synchronize_and_compare();
    pair.server.execute_batch("PRAGMA user_version = 70; PRAGMA application_id = 71").unwrap();
    pair.synchronize_and_compare();
}

#[test]
fn a_virtual_table_whose_module_is_missing_here_travels_with_its_tables() {
    let pair = Pair::new(
        "CREATE TABLE plain (id INTEGER PRIMARY KEY); CREATE TABLE odd_words (id INTEGER PRIMARY KEY, word); CREATE TABLE odd_state (k PRIMARY KEY, v);
         CREATE TABLE odd_one_out_of_it (id INTEGER PRIMARY KEY); INSERT INTO odd_words VALUES (1, 'a'), (2, 'b'); INSERT INTO odd_state VALUES ('n', 2);
         CREATE VIRTUAL TABLE spoken USING fts5 (body); INSERT INTO spoken VALUES ('hello there');
         PRAGMA writable_schema = ON;
         INSERT INTO sqlite_schema VALUES ('table', 'odd', 'odd', 0, 'CREATE VIRTUAL TABLE odd USING nobodys_module (word)');
         UPDATE sqlite_schema SET sql = 'CREATE VIRTUAL TABLE spoken USING fts5 (body, tokenize = nobodys)' WHERE name = 'spoken';
         PRAGMA writable_schema = RESET;",
    );
    let outcome = pair.synchronize_and_compare();
    assert!(outcome.quarantined.is_empty(), "{outcome:?}");
    for write in [
        "INSERT INTO odd_words VALUES (3, 'c'); UPDATE odd_state SET v = 3; INSERT INTO odd_one_out_of_it VALUES (1)",
        "DELETE FROM odd_words WHERE id = 1; UPDATE spoken_content SET c0 = 'x'",
        "CREATE TABLE odd_more (x); INSERT INTO odd_more VALUES (1), (1), (NULL)",
        "DELETE FROM odd_more WHERE x IS NULL; UPDATE odd_more SET x = 2 WHERE rowid = 1; DROP TABLE plain",
    ] {
        pair.server.execute_batch(write).unwrap();
        pair.synchronize_and_compare();
    }
}

#[test]
fn a_lost_store_comes_back_with_its_virtual_tables() {
    let mut pair = Pair::new(TABLES);
    pair.synchronize_and_compare();
    let (before, found) = (dump(&pair.source()), searches(&pair.source()));
    pair.server = Connection::open_in_memory().unwrap();
    std::fs::remove_file(pair.source()).unwrap();
    let cancel = CancellationToken::new();
    pair.pair.restore(&super::work(&cancel, 2)).unwrap();
    assert_eq!(dump(&pair.source()), before);
    assert_eq!(searches(&pair.source()), found);
    pair.server = Connection::open(pair.source()).unwrap();
    pair.server.execute_batch(WRITES[1]).unwrap();
    pair.synchronize_as(3).unwrap();
    assert_found_alike(&pair);
}
