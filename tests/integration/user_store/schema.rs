//! What databases of every shape become.

use super::{Pair, USERS, dump};

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
    assert_eq!(outcome.moved.items_written, 1, "{outcome:?}");
}

#[test]
fn a_table_rebuilt_without_its_triggers_is_copied_whole() {
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
