//! What the server notices of the log, and what settings of its own do to it.

use rusqlite::config::DbConfig;

use super::{Pair, USERS};

#[test]
fn the_results_of_the_servers_own_statements_are_as_before() {
    let results = |captured: bool| {
        let pair = Pair::new(USERS);
        if captured {
            pair.synchronize_and_compare();
        }
        let mut results = Vec::new();
        for statement in [
            "INSERT INTO users (name) VALUES ('carl'), ('dora')",
            "REPLACE INTO users (id, name) VALUES (77, 'anna')",
            "INSERT INTO users (id, name) VALUES (78, 'anna') ON CONFLICT (name) DO UPDATE SET card = 1",
            "INSERT OR IGNORE INTO users (name) VALUES ('anna')",
            "UPDATE users SET card = x'01' WHERE id > 1",
            "UPDATE OR REPLACE users SET name = 'bert' WHERE id = 77",
            "DELETE FROM contacts",
        ] {
            let changes = pair.server.execute(statement, []).unwrap();
            results.push(format!("{changes} {} {}", pair.server.changes(), pair.server.last_insert_rowid()));
        }
        let returned: (i64, String) = pair
            .server
            .query_row("INSERT INTO users (name) VALUES ('emil') RETURNING id, name", [], |row| {
                Ok((row.get(0)?, row.get(1)?))
            })
            .unwrap();
        results.push(format!("{returned:?} {}", pair.server.last_insert_rowid()));
        results
    };
    assert_eq!(results(true), results(false));
}

#[test]
fn a_server_that_trusts_no_schema_and_defends_itself_is_captured() {
    let pair = Pair::new(USERS);
    pair.synchronize_and_compare();
    let Pair { folder, server, pair } = pair;
    drop(server);
    let server = rusqlite::Connection::open(folder.path().join("users.sqlite")).unwrap();
    server.set_db_config(DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false).unwrap();
    server.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true).unwrap();
    server.set_db_config(DbConfig::SQLITE_DBCONFIG_DQS_DDL, false).unwrap();
    server.set_db_config(DbConfig::SQLITE_DBCONFIG_DQS_DML, false).unwrap();
    let pair = Pair { folder, server, pair };
    pair.server
        .execute_batch(
            "REPLACE INTO users (id, name) VALUES (9, 'anna'); UPDATE users SET name = 'x' WHERE id = 2; DELETE FROM contacts",
        )
        .unwrap();
    let outcome = pair.synchronize_and_compare();
    assert_eq!(outcome.moved.items_written, 2, "{outcome:?}");
}
