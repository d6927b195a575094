//! By what rows are told apart.

use cs_backup::error::ErrorKind;
use rusqlite::Connection;

use super::{Pair, dump};

const PROSODY: &str = "
CREATE TABLE prosody (host TEXT, user TEXT, store TEXT, key TEXT, type TEXT, value TEXT);
CREATE INDEX prosody_index ON prosody (host, user, store, key);
INSERT INTO prosody VALUES ('h', 'u', 'roster', 'a@h', 'json', '{}'), ('h', 'u', 'roster', NULL, 'json', '1'), ('h', 'u', 'roster', NULL, 'json', '2');
";

#[test]
fn a_table_without_a_key_names_the_lines_to_add() {
    let pair = Pair::new(PROSODY);
    let error = pair.synchronize().unwrap_err();
    assert_eq!(error.kind, ErrorKind::KeyMissing);
    assert!(error.advice.contains("\"prosody\" = ["), "{}", error.advice);
    assert!(!pair.standby().exists());
}

#[test]
fn a_key_of_the_topology_may_be_shared_and_null() {
    let pair = Pair::configured(PROSODY, |config| {
        let key = ["host", "user", "store", "key"].map(str::to_owned).to_vec();
        config.keys.insert("prosody".to_owned(), key);
    });
    pair.synchronize_and_compare();
    pair.server
        .execute_batch("DELETE FROM prosody WHERE value = '1'; INSERT INTO prosody VALUES ('h', 'u', 'roster', NULL, 'json', '3');")
        .unwrap();
    pair.synchronize_and_compare();
    pair.server.execute_batch("VACUUM; DELETE FROM prosody WHERE key IS NULL").unwrap();
    pair.synchronize_and_compare();
}

#[test]
fn excluded_tables_travel_empty() {
    let pair = Pair::configured("CREATE TABLE session_a (x); INSERT INTO session_a VALUES (1);", |config| {
        config.exclude.push("session_*".to_owned());
    });
    pair.synchronize().unwrap();
    assert_eq!(dump(&pair.standby()), Vec::<String>::new());
    let standby = Connection::open(pair.standby()).unwrap();
    standby.query_row("SELECT count(*) FROM session_a", [], |_| Ok(())).unwrap();
}

/// Pairs whose tables get the key column `k` from the topology.
fn keyed_by_k(schema: &str, tables: &[&str]) -> Pair {
    Pair::configured(schema, |config| {
        for table in tables {
            config.keys.insert((*table).to_owned(), vec!["K".to_owned()]);
        }
    })
}

#[test]
fn keys_that_sqlite_takes_for_equal_do_not_double_rows() {
    let pair = keyed_by_k(
        "CREATE TABLE folded (k TEXT COLLATE NOCASE, v); CREATE TABLE \"Numbers\" (k, v);
         INSERT INTO folded VALUES ('a', 1), ('A', 2), ('a', 3), (NULL, 4);
         INSERT INTO \"Numbers\" VALUES (1, 1), (1.0, 2), ('1', 3), (x'31', 4), (NULL, 5);",
        &["folded", "numbers"],
    );
    pair.synchronize_and_compare();
    for statement in [
        "UPDATE folded SET v = v + 1; UPDATE \"Numbers\" SET v = v + 1",
        "UPDATE folded SET k = 'A' WHERE v = 2; UPDATE \"Numbers\" SET k = 1.0 WHERE v = 2",
        "DELETE FROM folded WHERE k = 'A' COLLATE BINARY; DELETE FROM \"Numbers\" WHERE typeof(k) = 'real'",
    ] {
        pair.server.execute_batch(statement).unwrap();
        pair.synchronize_and_compare();
    }
}

#[test]
fn a_primary_key_may_hold_null_and_values_of_any_class() {
    let pair = Pair::new(
        "CREATE TABLE t (k TEXT PRIMARY KEY, v); INSERT INTO t VALUES (NULL, 1), (NULL, 2), ('a', 3), (x'61', 4), ('', 5), (x'', 6);
         CREATE TABLE u (a REAL, b NUMERIC, c, v, PRIMARY KEY (a, b, c));
         INSERT INTO u VALUES (1, 1.0, 1.0, 1), (-0.0, '1e3', 9e999, 2), (0.5, -9e999, 9223372036854775807, 3), (2, 9007199254740993, '2', 4);",
    );
    pair.synchronize_and_compare();
    for statement in [
        "UPDATE t SET v = v + 1; UPDATE u SET v = v + 1",
        "UPDATE t SET k = 'b' WHERE v = 2; UPDATE u SET c = 1 WHERE v = 2; UPDATE u SET a = 7 WHERE v = 5",
        "DELETE FROM t WHERE k IS NULL; DELETE FROM u WHERE a = 7 OR c = 9e999",
        "DELETE FROM t; DELETE FROM u",
    ] {
        pair.server.execute_batch(statement).unwrap();
        pair.synchronize_and_compare();
    }
}

#[test]
fn keys_are_swapped_moved_and_folded() {
    let pair = Pair::new(
        "CREATE TABLE t (k TEXT COLLATE NOCASE PRIMARY KEY, v); INSERT INTO t VALUES ('a', 1), ('b', 2), ('c', 3);
         CREATE TABLE n (a INTEGER, b TEXT COLLATE RTRIM, v, PRIMARY KEY (a, b)) WITHOUT ROWID;
         INSERT INTO n VALUES (1, 'x', 1), (2, 'y', 2);",
    );
    pair.synchronize_and_compare();
    for statement in [
        "UPDATE t SET k = 'A' WHERE k = 'a'; UPDATE n SET b = 'x  ' WHERE a = 1",
        "UPDATE t SET k = 'z' WHERE k = 'a'; UPDATE t SET k = 'a' WHERE k = 'b'; UPDATE t SET k = 'B' WHERE k = 'z'",
        "UPDATE n SET a = 3 - a; UPDATE n SET a = a + 10 WHERE b = 'x'",
    ] {
        pair.server.execute_batch(statement).unwrap();
        pair.synchronize_and_compare();
    }
}

#[test]
fn a_key_of_the_topology_that_names_no_column_is_refused() {
    let pair = keyed_by_k("CREATE TABLE t (a)", &["t"]);
    let error = pair.synchronize().unwrap_err();
    assert_eq!(error.kind, ErrorKind::InvalidValue);
    assert!(error.message.contains("names the column K"), "{error}");
}

#[test]
fn a_unique_index_over_columns_that_are_never_null_is_a_key() {
    let pair = Pair::new(
        "CREATE TABLE t (a NOT NULL, b NOT NULL, c, UNIQUE (c), UNIQUE (a, b)); INSERT INTO t VALUES (1, 1, 1), (1, 2, NULL), (2, 1, NULL);",
    );
    pair.synchronize_and_compare();
    for statement in [
        "VACUUM",
        "REPLACE INTO t VALUES (1, 1, 5)",
        "REPLACE INTO t VALUES (9, 9, 5)",
        "REPLACE INTO t (rowid, a, b) VALUES (2, 8, 8)",
        "UPDATE t SET b = b + 10",
        "DELETE FROM t WHERE a = 9; VACUUM; UPDATE t SET c = 1 WHERE a = 8",
    ] {
        pair.server.execute_batch(statement).unwrap();
        pair.synchronize_and_compare();
    }
}

#[test]
fn a_key_that_moves_under_another_name_of_the_rowid_or_with_what_it_is_generated_from_is_noticed() {
    let pair = Pair::configured(
        "CREATE TABLE users (id INTEGER PRIMARY KEY, name TEXT);
         CREATE TABLE notes (name TEXT, folded TEXT AS (lower(name)) STORED, note TEXT);
         INSERT INTO users VALUES (1, 'anna'), (2, 'bert'), (3, 'carl');
         INSERT INTO notes (name, note) VALUES ('Anna', 'a'), ('Bert', 'b');",
        |config| {
            config.keys.insert("notes".to_owned(), vec!["folded".to_owned()]);
        },
    );
    pair.synchronize_and_compare();
    pair.server
        .execute_batch(
            "UPDATE users SET rowid = 11 WHERE name = 'anna';
             UPDATE users SET oid = 12 WHERE name = 'bert';
             UPDATE users SET id = 13 WHERE name = 'carl';
             UPDATE notes SET name = 'Carl' WHERE name = 'Anna';",
        )
        .unwrap();
    pair.synchronize_and_compare();
}

/// The order in which a table is read goes by its index, not by the columns: a slice ends between these rows.
#[test]
fn a_primary_key_with_a_collation_of_its_own_is_walked_by_it() {
    let pair = Pair::new(
        "CREATE TABLE t (k TEXT COLLATE NOCASE, v, PRIMARY KEY (k COLLATE BINARY)) WITHOUT ROWID;
         INSERT INTO t VALUES ('A', zeroblob(9000000)), ('a', zeroblob(9000000)), ('b', 1);",
    );
    pair.synchronize_and_compare();
    pair.server.execute_batch("ALTER TABLE t ADD COLUMN w").unwrap();
    pair.synchronize_and_compare();
}

#[test]
fn rowids_may_lie_as_far_apart_as_numbers_go() {
    let pair = Pair::new(
        "CREATE TABLE t (id INTEGER PRIMARY KEY, v); INSERT INTO t VALUES (-9223372036854775808, 1), (9223372036854775807, 2);
         CREATE TABLE u (id INTEGER PRIMARY KEY, v); INSERT INTO u SELECT * FROM t;",
    );
    pair.synchronize_and_compare();
    pair.server.execute_batch("ALTER TABLE t ADD COLUMN w; UPDATE u SET v = 3").unwrap();
    pair.synchronize_and_compare();
}

#[test]
fn a_unique_index_that_allows_null_or_is_over_what_is_generated_is_no_key() {
    for table in [
        "CREATE TABLE t (a TEXT NOT NULL, b TEXT UNIQUE)",
        "CREATE TABLE t (a TEXT NOT NULL, b TEXT NOT NULL AS (lower(a)) STORED UNIQUE)",
    ] {
        assert_eq!(Pair::new(table).synchronize().unwrap_err().kind, ErrorKind::KeyMissing, "{table}");
    }
}
