//! Rows that others replace, under every constraint and conflict clause.

use rusqlite::Connection;

use super::Pair;

/// Runs statements one by one and compares after each, as writers of every setting; then removes what they wrote.
fn after_each(schema: &str, away: &str, statements: &[&str]) {
    for (recursive, foreign) in [("OFF", "OFF"), ("ON", "ON")] {
        let pair = Pair::new(schema);
        let settings = format!("PRAGMA recursive_triggers = {recursive}; PRAGMA foreign_keys = {foreign};");
        pair.server.execute_batch(&settings).unwrap();
        assert!(pair.synchronize_and_compare().warnings.is_empty());
        // A constraint may refuse a statement or roll it back.
        for statement in statements {
            let _ = pair.server.execute_batch(statement);
            pair.synchronize_and_compare();
        }
        pair.server.execute_batch(away).unwrap();
        pair.synchronize_and_compare();
    }
}

#[test]
fn through_another_unique_constraint() {
    after_each(
        "CREATE TABLE t (id INTEGER PRIMARY KEY, a TEXT UNIQUE, b, c, UNIQUE (b, c));
         INSERT INTO t VALUES (1, 'a', 1, 1), (2, 'b', 1, 2), (3, 'c', NULL, 2), (4, 'd', 4, 4);",
        "DELETE FROM t WHERE id > 4",
        &[
            "INSERT OR REPLACE INTO t VALUES (7, 'a', 7, 7)",
            "REPLACE INTO t VALUES (8, 'x', '1', 2)",
            "UPDATE OR REPLACE t SET a = 'c' WHERE id = 7",
            "UPDATE OR REPLACE t SET b = 4, c = 4 WHERE id = 7",
            "INSERT OR REPLACE INTO t SELECT id + 100, a, b, c FROM t",
        ],
    );
}

#[test]
fn through_a_constraint_that_replaces_by_itself() {
    after_each(
        "CREATE TABLE t (id INTEGER PRIMARY KEY, a TEXT UNIQUE ON CONFLICT REPLACE);
         INSERT INTO t VALUES (1, 'a'), (2, 'b');",
        "DELETE FROM t WHERE id = 5",
        &["INSERT INTO t VALUES (5, 'a')", "UPDATE t SET a = 'b' WHERE id = 5"],
    );
}

#[test]
fn with_every_other_conflict_clause() {
    after_each(
        "CREATE TABLE t (id INTEGER PRIMARY KEY, a TEXT UNIQUE, n INTEGER NOT NULL DEFAULT 0);
         INSERT INTO t VALUES (1, 'a', 0), (2, 'b', 0), (3, 'c', 0);",
        "DELETE FROM t WHERE id > 8",
        &[
            "INSERT INTO t VALUES (1, 'z', 1) ON CONFLICT (id) DO UPDATE SET a = 'y', n = n + 1",
            "INSERT INTO t VALUES (9, 'b', 1) ON CONFLICT (a) DO UPDATE SET id = 9",
            "INSERT INTO t VALUES (10, 'b', 1) ON CONFLICT DO NOTHING",
            "INSERT OR IGNORE INTO t VALUES (11, 'c', 1), (12, 'd', 1)",
            "INSERT OR FAIL INTO t VALUES (13, 'e', 1), (14, 'c', 1), (15, 'f', 1)",
            "UPDATE OR FAIL t SET a = 'g' WHERE id > 9",
            "BEGIN; DELETE FROM t WHERE id = 9; INSERT OR ROLLBACK INTO t VALUES (20, 'c', 0)",
            "INSERT OR ABORT INTO t VALUES (21, 'q', 1), (22, 'c', 1)",
            "INSERT OR REPLACE INTO t (id, a, n) VALUES (23, 'c', NULL)",
        ],
    );
}

#[test]
fn through_a_partial_index() {
    after_each(
        "CREATE TABLE t (id INTEGER PRIMARY KEY, a TEXT, state TEXT);
         CREATE UNIQUE INDEX one_active ON t (a) WHERE state = 'active' -- only one
         ;
         INSERT INTO t VALUES (1, 'a', 'active'), (2, 'a', 'gone'), (3, 'a', 'gone'), (4, 'b', 'active');",
        "DELETE FROM t WHERE id IN (2, 5)",
        &[
            "REPLACE INTO t VALUES (5, 'a', 'active')",
            "UPDATE OR REPLACE t SET state = 'active' WHERE id = 2",
            "UPDATE OR REPLACE t SET a = 'b' WHERE id = 2",
        ],
    );
}

#[test]
fn through_an_index_on_expressions() {
    after_each(
        "CREATE TABLE t (id INTEGER PRIMARY KEY, mail TEXT, n INTEGER, folded TEXT COLLATE NOCASE, \"a b\");
         CREATE UNIQUE INDEX by_mail ON t (lower(mail) /* ) */);
         CREATE UNIQUE INDEX by_affinity ON t ((n = '5'), (folded = 'X'), \"a b\" || ',') WHERE [a b] IS NOT NULL;
         CREATE UNIQUE INDEX by_parts ON t (substr(mail, instr(mail, '@') + 1) COLLATE NOCASE DESC, n) WHERE mail LIKE '%@%';
         INSERT INTO t VALUES (1, 'Anna@h', 5, 'x', 1), (2, 'bert@h', 6, 'y', 2), (3, NULL, 6, 'Y', 2.5);",
        "DELETE FROM t WHERE id > 10",
        &[
            "REPLACE INTO t VALUES (11, 'ANNA@H', 1, NULL, NULL)",
            "REPLACE INTO t VALUES (12, NULL, 6, 'z', 2)",
            "REPLACE INTO t VALUES (13, 'other@H', 1, NULL, NULL)",
            "UPDATE OR REPLACE t SET mail = 'OTHER@h' WHERE id = 12",
            "REPLACE INTO t VALUES (14, 'x', '5', 'X', '9')",
            "REPLACE INTO t VALUES (15, 'y', '5', 'x', '9')",
        ],
    );
}

#[test]
fn through_a_generated_column() {
    after_each(
        "CREATE TABLE t (id INTEGER PRIMARY KEY, mail TEXT, n, folded AS (lower(mail)) UNIQUE, twice AS (n * 2) STORED);
         CREATE UNIQUE INDEX by_twice ON t (twice);
         INSERT INTO t (id, mail, n) VALUES (1, 'Anna', 1), (2, 'bert', 2), (3, NULL, NULL);",
        "DELETE FROM t WHERE id > 10 OR id = 3",
        &[
            "REPLACE INTO t (id, mail, n) VALUES (11, 'ANNA', 5)",
            "UPDATE OR REPLACE t SET mail = 'Bert' WHERE id = 11",
            "REPLACE INTO t (id, mail, n) VALUES (12, 'x', 5)",
            "UPDATE OR REPLACE t SET n = 5 WHERE id = 3",
        ],
    );
}

#[test]
fn through_a_collation_that_is_not_the_keys() {
    after_each(
        "CREATE TABLE folded (k TEXT PRIMARY KEY, v); CREATE UNIQUE INDEX by_fold ON folded (k COLLATE NOCASE);
         CREATE TABLE own (k TEXT COLLATE NOCASE PRIMARY KEY, v);
         CREATE TABLE exact (k TEXT COLLATE NOCASE, v, PRIMARY KEY (k COLLATE BINARY)) WITHOUT ROWID;
         INSERT INTO folded VALUES ('a', 1), ('b', 2); INSERT INTO own SELECT * FROM folded;
         INSERT INTO exact VALUES ('a', 1), ('A', 2), ('b', 3);",
        "DELETE FROM folded WHERE k = 'A'; DELETE FROM own WHERE v > 2; DELETE FROM exact WHERE v > 3",
        &[
            "REPLACE INTO folded VALUES ('A', 3); DELETE FROM folded WHERE k = 'A'",
            "REPLACE INTO own VALUES ('A', 3)",
            "UPDATE own SET k = 'a' WHERE k = 'A'",
            "REPLACE INTO own VALUES ('A', 4); DELETE FROM own WHERE k = 'a'",
            "UPDATE exact SET v = 5 WHERE k = 'a' COLLATE BINARY",
            "DELETE FROM exact WHERE k = 'A' COLLATE BINARY",
        ],
    );
}

#[test]
fn through_a_rowid_that_the_server_names() {
    after_each(
        "CREATE TABLE t (name TEXT PRIMARY KEY, v); CREATE TABLE hidden (rowid TEXT PRIMARY KEY, oid);
         INSERT INTO t VALUES ('a', 1), ('b', 2), ('c', 3); INSERT INTO hidden VALUES ('a', 1), ('b', 2);",
        "DELETE FROM t WHERE name > 'c'; DELETE FROM hidden WHERE rowid = 'x'",
        &[
            "REPLACE INTO t (rowid, name) VALUES (1, 'x')",
            "UPDATE OR REPLACE t SET rowid = 2 WHERE name = 'x'",
            "REPLACE INTO t (oid, name) VALUES (-1, 'y'); REPLACE INTO t (oid, name) VALUES (-1, 'z')",
            "REPLACE INTO hidden (_rowid_, rowid) VALUES (2, 'x')",
        ],
    );
}

/// Another SQLite than ours writes.
#[test]
fn what_the_command_line_shell_of_the_system_writes_is_copied() {
    let pair = Pair::new(
        "CREATE TABLE t (k TEXT PRIMARY KEY, mail TEXT, v UNIQUE);
         CREATE UNIQUE INDEX u ON t (lower(mail)) WHERE mail <> '';
         INSERT INTO t VALUES ('a', 'A@h', 1), ('b', 'b@h', 2);",
    );
    pair.synchronize_and_compare();
    let Pair { folder, server, pair } = pair;
    drop(server);
    let path = folder.path().join("users.sqlite");
    let shell = std::process::Command::new("sqlite3")
        .arg(&path)
        .arg("PRAGMA trusted_schema = OFF; REPLACE INTO t VALUES ('c', 'a@H', 2); UPDATE OR REPLACE t SET rowid = 9, k = 'd';")
        .output();
    match shell {
        Ok(output) => assert!(output.status.success(), "{output:?}"),
        Err(error) => return eprintln!("there is no sqlite3 here: {error}"),
    }
    let pair = Pair { folder, server: Connection::open(path).unwrap(), pair };
    pair.synchronize_and_compare();
}
