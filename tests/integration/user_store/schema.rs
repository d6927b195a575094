//! What databases of every shape become.

use cs_backup::store::user::UserStorePair;
use tokio_util::sync::CancellationToken;

use super::{Pair, USERS, dump, rows};

#[test]
fn triggers_views_and_cascades_of_the_server_fire_only_at_the_source() {
    let pair = Pair::new(
        "CREATE TABLE parent (id INTEGER PRIMARY KEY);
         CREATE TABLE child (id INTEGER PRIMARY KEY, parent REFERENCES parent ON DELETE CASCADE);
         CREATE TABLE audit (id INTEGER PRIMARY KEY AUTOINCREMENT, what);
         CREATE TRIGGER log AFTER INSERT ON parent BEGIN INSERT INTO audit (what) VALUES (NEW.id); END;
         CREATE VIEW counts AS SELECT count(*) AS n FROM child;
         INSERT INTO parent VALUES (1), (2); INSERT INTO child VALUES (10, 1), (20, 2);",
    );
    pair.synchronize_and_compare();
    pair.server
        .execute_batch(
            "PRAGMA foreign_keys = ON; INSERT INTO parent VALUES (3); DELETE FROM parent WHERE id = 1;",
        )
        .unwrap();
    pair.synchronize_and_compare();
    assert_eq!(dump(&pair.standby()).iter().filter(|row| row.starts_with("audit")).count(), 3);
}

#[test]
fn a_changed_schema_follows() {
    let pair = Pair::new(USERS);
    pair.synchronize_and_compare();
    pair.server
        .execute_batch(
            "ALTER TABLE users ADD COLUMN mail TEXT DEFAULT 'none'; CREATE TABLE rooms (id INTEGER PRIMARY KEY, name);
             INSERT INTO rooms VALUES (1, 'lobby'); DROP TABLE contacts; CREATE INDEX by_mail ON users (mail);",
        )
        .unwrap();
    pair.synchronize_and_compare();
    pair.server
        .execute_batch("INSERT INTO rooms VALUES (2, 'garden'); ALTER TABLE rooms RENAME TO halls;")
        .unwrap();
    pair.synchronize_and_compare();
    pair.server.execute_batch("UPDATE halls SET name = 'yard' WHERE id = 2").unwrap();
    let outcome = pair.synchronize_and_compare();
    assert_eq!(outcome.moved.items_written, 2, "its page, and the first one: {outcome:?}");
}

#[test]
fn an_index_that_only_the_newest_rows_fit_follows_with_them() {
    let pair = Pair::new(
        "CREATE TABLE users (id INTEGER PRIMARY KEY, name, card); INSERT INTO users VALUES (1, 'anna', 'no json'), (2, 'Anna', '{}');",
    );
    pair.synchronize_and_compare();
    pair.server
        .execute_batch(
            "UPDATE users SET name = 'bert', card = '[]' WHERE id = 1;
             CREATE UNIQUE INDEX by_name ON users (lower(name)); CREATE INDEX by_card ON users (json_extract(card, '$.mail'));",
        )
        .unwrap();
    pair.synchronize_and_compare();
}

#[test]
fn a_table_that_is_rebuilt_follows() {
    let pair = Pair::new(USERS);
    pair.synchronize_and_compare();
    pair.server
        .execute_batch(
            "BEGIN; CREATE TABLE new_users (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, card BLOB, age INTEGER);
             INSERT INTO new_users SELECT id, upper(name), card, 7 FROM users; DROP TABLE users;
             ALTER TABLE new_users RENAME TO users; COMMIT;",
        )
        .unwrap();
    pair.synchronize_and_compare();
    pair.server.execute_batch("DELETE FROM users WHERE id = 1").unwrap();
    pair.synchronize_and_compare();
}

#[test]
fn ids_that_were_given_out_are_not_given_out_again_after_a_failover() {
    let pair = Pair::new(
        "CREATE TABLE t (id INTEGER PRIMARY KEY AUTOINCREMENT, v); INSERT INTO t (v) VALUES (1), (2), (3); DELETE FROM t WHERE id = 3;",
    );
    for statement in [
        "INSERT INTO t (v) VALUES (4); DELETE FROM t WHERE id = 4",
        "UPDATE sqlite_sequence SET seq = 100 WHERE name = 't'",
        "ALTER TABLE t RENAME TO u; CREATE TABLE w (id INTEGER PRIMARY KEY AUTOINCREMENT)",
        "INSERT INTO w VALUES (7); DELETE FROM w; INSERT INTO u (v) VALUES (5)",
    ] {
        pair.synchronize_and_compare();
        pair.server.execute_batch(statement).unwrap();
    }
    pair.synchronize_and_compare();
    assert!(pair.synchronize().unwrap().moved.is_nothing());
    let standby = rusqlite::Connection::open(pair.standby()).unwrap();
    assert_eq!(rows(&standby, "SELECT seq FROM sqlite_sequence WHERE name = 'u'"), ["101"]);
}

#[test]
fn what_an_earlier_build_left_is_named_and_removed_and_tables_of_others_stay() {
    let pair = Pair::new(
        "CREATE TABLE t (id INTEGER PRIMARY KEY); CREATE TABLE csb_change (x); CREATE TABLE csb_mine (x);
         CREATE TRIGGER csb_t1_insert AFTER INSERT ON t BEGIN INSERT INTO csb_change VALUES (NEW.id); END",
    );
    let outcome = pair.synchronize_and_compare();
    let is_named = |warning: &String| warning.contains("csb_t1_insert, csb_change.");
    assert!(outcome.warnings.iter().any(is_named), "{outcome:?}");
    let listed = pair.pair.remove_traces(true, &CancellationToken::new()).unwrap();
    let names = |kind: &str| {
        listed.iter().filter(|trace| trace.kind == kind).map(|trace| trace.name.clone()).collect::<Vec<_>>()
    };
    assert_eq!((names("table"), names("trigger")), (vec!["csb_change".into()], vec!["csb_t1_insert".into()]));
    pair.pair.remove_traces(false, &CancellationToken::new()).unwrap();
    pair.server.execute_batch("INSERT INTO t VALUES (1); SELECT * FROM csb_mine").unwrap();
    pair.server.prepare("SELECT * FROM csb_change").unwrap_err();
}

#[test]
fn rows_keep_their_storage_class_and_every_bit() {
    for encoding in ["UTF-8", "UTF-16le", "UTF-16be"] {
        let pair = Pair::new(&format!(
            "PRAGMA encoding = '{encoding}';
             CREATE TABLE any (id INTEGER PRIMARY KEY, v); CREATE TABLE exact (id INTEGER PRIMARY KEY, i INTEGER, r REAL, t TEXT, b BLOB, x ANY) STRICT;
             CREATE TABLE made (id INTEGER PRIMARY KEY, a, kept AS (a || '!') STORED, seen AS (upper(a)) VIRTUAL);
             INSERT INTO any (v) VALUES (NULL), (9e999), (-9e999), (9e999 - 9e999), (-0.0), (1.0), (1), ('1'), ('a' || char(0) || 'b'),
                 (char(0x1F600, 0x301, 0xFFFD)), (''), (x''), (x'00ff'), (9223372036854775807), (-9223372036854775808), (4.9e-324);
             INSERT INTO exact SELECT id, id, id, v, NULL, v FROM any WHERE typeof(v) = 'text';
             INSERT INTO made (a) SELECT v FROM any;"
        ));
        pair.synchronize_and_compare();
        pair.server
            .execute_batch(
                "UPDATE any SET id = id + 100; UPDATE made SET id = -id; DELETE FROM exact WHERE id = 8",
            )
            .unwrap();
        pair.synchronize_and_compare();
        let standby = rusqlite::Connection::open(pair.standby()).unwrap();
        assert_eq!(rows(&standby, "PRAGMA encoding"), [format!("'{encoding}'")]);
    }
}

#[test]
fn text_that_is_no_unicode_keeps_its_bytes() {
    let pair = Pair::new(
        "CREATE TABLE t (k TEXT PRIMARY KEY, v TEXT); INSERT INTO t VALUES (CAST(x'ff00fe' AS TEXT), CAST(x'eda080' AS TEXT));",
    );
    pair.synchronize_and_compare();
    pair.server.execute_batch("UPDATE t SET v = k; UPDATE t SET k = CAST(x'c3' AS TEXT)").unwrap();
    pair.synchronize_and_compare();
}

/// SQLite's own conversion of such text to UTF-8 cannot be undone.
#[test]
fn halves_of_surrogate_pairs_keep_their_bytes_as_values_and_as_keys() {
    for encoding in ["UTF-16le", "UTF-16be"] {
        let pair = Pair::new(&format!(
            "PRAGMA encoding = '{encoding}';
             CREATE TABLE t (k TEXT PRIMARY KEY, v); CREATE TABLE w (k TEXT PRIMARY KEY, v) WITHOUT ROWID;
             INSERT INTO t VALUES (CAST(x'3dd8' AS TEXT), CAST(x'00dc61d8' AS TEXT)), (CAST(x'd83d' AS TEXT), 2), ('a', x'd83d');
             INSERT INTO w SELECT * FROM t;"
        ));
        let stored = "SELECT hex(CAST(k AS BLOB)), typeof(v), hex(CAST(v AS BLOB)) FROM (SELECT * FROM t UNION ALL SELECT * FROM w)";
        for statement in [
            "SELECT 1",
            "UPDATE t SET v = k; UPDATE w SET v = v || CAST(x'3dd8' AS TEXT)",
            "UPDATE t SET k = CAST(x'00dc' AS TEXT) WHERE k = 'a'; DELETE FROM w WHERE k = CAST(x'3dd8' AS TEXT)",
            "ALTER TABLE t ADD COLUMN x; ALTER TABLE w ADD COLUMN x",
        ] {
            pair.server.execute_batch(statement).unwrap();
            pair.synchronize_and_compare();
            let standby = rusqlite::Connection::open(pair.standby()).unwrap();
            assert_eq!(rows(&pair.server, stored), rows(&standby, stored), "{statement}");
        }
    }
}

#[test]
fn names_of_any_kind_are_quoted() {
    let pair = Pair::new(
        "CREATE TABLE \"\" (\"\" PRIMARY KEY, \"a b\" UNIQUE);
         CREATE TABLE \"sel\"\"ect\" (\"from\" TEXT, 'it''s', \"x]y\", PRIMARY KEY (\"from\", \"it's\")) WITHOUT ROWID;
         CREATE TABLE \"ñ 表\" (rowid, _rowid_ PRIMARY KEY, oid); CREATE TABLE Users (ID INTEGER PRIMARY KEY);
         CREATE TABLE hidden (rowid INTEGER PRIMARY KEY, _rowid_, oid); CREATE TABLE only_key (k PRIMARY KEY) WITHOUT ROWID;
         CREATE UNIQUE INDEX \"in dex\" ON \"sel\"\"ect\" (\"from\" COLLATE NOCASE, lower(\"it's\")) WHERE \"x]y\" IS NOT NULL;
         INSERT INTO \"\" VALUES (1, 2); INSERT INTO \"sel\"\"ect\" VALUES ('a', 'b', 1); INSERT INTO \"ñ 表\" VALUES (1, 1, 1), (1, 2, 1), (1, NULL, 1);
         INSERT INTO users VALUES (1); INSERT INTO hidden VALUES (5, 5, 5), (6, 5, 5); INSERT INTO only_key VALUES ('k');",
    );
    pair.synchronize_and_compare();
    pair.server
        .execute_batch(
            "REPLACE INTO \"\" VALUES (3, 2); REPLACE INTO \"sel\"\"ect\" VALUES ('A', 'c', 2); UPDATE \"ñ 表\" SET oid = 2 WHERE _rowid_ = 1;
             UPDATE users SET id = 7; DELETE FROM hidden WHERE rowid = 5; INSERT INTO only_key VALUES ('l');",
        )
        .unwrap();
    pair.synchronize_and_compare();
}
