//! Rows that the standby's schema refuses, though the source holds them.

use rusqlite::Connection;

use crate::user_store::{Pair, dump};

#[test]
fn a_row_written_without_check_constraints_is_copied_as_it_is() {
    let pair = Pair::new(
        "CREATE TABLE t (id INTEGER PRIMARY KEY, age INTEGER CHECK (age >= 0)); INSERT INTO t VALUES (1, 7)",
    );
    pair.server.execute_batch("PRAGMA ignore_check_constraints = ON; INSERT INTO t VALUES (2, -1)").unwrap();
    assert!(pair.synchronize_and_compare().quarantined.is_empty());
    pair.server.execute_batch("UPDATE t SET age = -2 WHERE id = 1").unwrap();
    assert!(pair.synchronize_and_compare().quarantined.is_empty());
}

#[test]
fn a_row_that_the_schema_refuses_is_named_and_tried_again_while_the_rest_goes_on() {
    let mut pair = Pair::new(
        "CREATE TABLE t (id INTEGER PRIMARY KEY, name TEXT, note); INSERT INTO t VALUES (1, 'a', 0), (2, NULL, 0)",
    );
    // What an administrator does who adds a constraint the short way.
    pair.server
        .execute_batch(
            "PRAGMA writable_schema = ON;
             UPDATE sqlite_schema SET sql = 'CREATE TABLE t (id INTEGER PRIMARY KEY, name TEXT NOT NULL, note)'
             WHERE name = 't'",
        )
        .unwrap();
    pair.with_server_stopped(|_| {});
    // Pages are copied as they are.
    assert!(pair.synchronize_and_compare().quarantined.is_empty());
    // SQLite checks only columns that change.
    pair.server.execute_batch("UPDATE t SET note = 1 WHERE id = 2").unwrap();
    for round in 3..5 {
        pair.server.execute("INSERT INTO t VALUES (?1, 'b', 0)", [round]).unwrap();
        let outcome = pair.synchronize().unwrap();
        assert_eq!(outcome.quarantined.len(), 1, "{outcome:#?}");
        assert_eq!(outcome.quarantined[0].item, "t (2)");
        assert!(outcome.quarantined[0].reason.contains("NOT NULL"), "{outcome:#?}");
        let copied: i64 = Connection::open(pair.standby())
            .unwrap()
            .query_row("SELECT count(*) FROM t WHERE id <> 2", [], |row| row.get(0))
            .unwrap();
        assert_eq!(copied, round - 1);
    }
    pair.server.execute_batch("UPDATE t SET name = 'c' WHERE id = 2").unwrap();
    assert!(pair.synchronize_and_compare().quarantined.is_empty());
    assert_eq!(dump(&pair.standby()).len(), 4);
}

#[test]
fn a_refused_row_is_tried_again_by_its_whole_key_however_many_columns_that_has() {
    let columns = (0..10).map(|i| format!("c{i}")).collect::<Vec<_>>().join(", ");
    let table = |constraint: &str| {
        format!("CREATE TABLE t ({columns}, name TEXT {constraint}, note, PRIMARY KEY ({columns}))")
    };
    let row = |last: i64| format!("INSERT INTO t VALUES (0, 1, 2, 3, 4, 5, 6, 7, 8, {last}, NULL, 0)");
    let mut pair = Pair::new(&format!("{}; {}; {}", table(""), row(1), row(2)));
    pair.server
        .execute_batch(&format!(
            "PRAGMA writable_schema = ON; UPDATE sqlite_schema SET sql = '{}' WHERE name = 't'",
            table("NOT NULL")
        ))
        .unwrap();
    pair.with_server_stopped(|_| {});
    pair.synchronize_and_compare();
    pair.server.execute_batch("UPDATE t SET note = 1 WHERE c9 = 2").unwrap();
    for _ in 0..2 {
        let outcome = pair.synchronize().unwrap();
        assert_eq!(outcome.quarantined.len(), 1, "{outcome:#?}");
        assert_eq!(outcome.quarantined[0].item, "t (0, 1, 2, 3, 4, 5, 6, 7, 8, 2)");
    }
    pair.server.execute_batch("UPDATE t SET name = 'a'").unwrap();
    assert!(pair.synchronize_and_compare().quarantined.is_empty());
}
