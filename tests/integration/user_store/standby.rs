//! What lies at the standby's place, and who may write there.

use crate::support::database_url;
use cs_backup::error::ErrorKind;
use cs_backup::store::user::UserStorePair;
use cs_backup::topology::UserStoreConfig;
use rusqlite::Connection;
use tokio_util::sync::CancellationToken;

use super::{PATIENCE, Pair, USERS, assert_equal_pages, assert_fenced, dump, lift_fence, work};

#[test]
fn the_standby_is_fenced_and_the_source_is_not() {
    let pair = Pair::new(USERS);
    pair.synchronize_and_compare();
    let standby = Connection::open(pair.standby()).unwrap();
    for sql in
        ["INSERT INTO users (name) VALUES ('x')", "UPDATE users SET name = 'x'", "DELETE FROM contacts"]
    {
        let error = standby.execute(sql, []).unwrap_err();
        assert!(error.to_string().contains("readonly database"), "{error}");
    }
    pair.server.execute("DELETE FROM contacts", []).unwrap();
    pair.synchronize_and_compare();
}

#[test]
fn an_older_generation_is_refused_by_the_standby_itself() {
    let pair = Pair::new(USERS);
    pair.synchronize_as(5).unwrap();
    pair.server.execute_batch("DELETE FROM users").unwrap();
    let before = dump(&pair.standby());
    assert_eq!(pair.synchronize_as(4).unwrap_err().kind, ErrorKind::Fenced);
    assert_eq!(dump(&pair.standby()), before);
    pair.synchronize_as(6).unwrap();
    assert_eq!(dump(&pair.source()), dump(&pair.standby()));
}

#[test]
fn a_lost_store_is_given_back_and_can_be_written_to_and_copied_again() {
    let pair = Pair::new(USERS);
    pair.synchronize_and_compare();
    assert_eq!(pair.pair.lost().unwrap(), None);
    let rows = dump(&pair.standby());
    let Pair { folder, server, pair } = pair;
    drop(server);
    std::fs::remove_file(folder.path().join("users.sqlite")).unwrap();
    let cancel = CancellationToken::new();
    assert_eq!(pair.synchronize(&work(&cancel, 1)).unwrap_err().kind, ErrorKind::StoreUnavailable);
    assert!(pair.lost().unwrap().is_some());
    pair.restore(&work(&cancel, 1)).unwrap();
    assert_eq!(pair.lost().unwrap(), None);
    let server = Connection::open(folder.path().join("users.sqlite")).unwrap();
    let pair = Pair { folder, server, pair };
    assert_eq!(dump(&pair.source()), rows);
    pair.server.execute_batch("INSERT INTO users (name) VALUES ('after')").unwrap();
    let outcome = pair.synchronize_and_compare();
    assert!(outcome.moved.items_written <= 3, "{outcome:?}");
}

#[test]
fn a_database_of_somebody_else_at_the_standbys_place_is_left_alone() {
    let pair = Pair::new(USERS);
    Connection::open(pair.standby()).unwrap().execute_batch("CREATE TABLE theirs (x)").unwrap();
    let before = std::fs::read(pair.standby()).unwrap();
    assert_eq!(pair.synchronize().unwrap_err().kind, ErrorKind::ForeignContent);
    assert_eq!(std::fs::read(pair.standby()).unwrap(), before);
}

#[test]
fn a_file_that_is_no_database_is_left_alone_at_the_standbys_place() {
    let pair = Pair::new(USERS);
    let text = "a letter, longer than the header of a database is, which nobody wants to lose".repeat(20);
    std::fs::write(pair.standby(), &text).unwrap();
    assert_eq!(pair.synchronize().unwrap_err().kind, ErrorKind::ForeignContent);
    assert_eq!(std::fs::read_to_string(pair.standby()).unwrap(), text);
}

#[test]
fn a_standby_whose_folder_is_missing_is_made_with_it_and_one_in_a_file_is_an_error() {
    let pair = Pair::new(USERS);
    let cancel = CancellationToken::new();
    let config = || UserStoreConfig::new(database_url(&pair.source()));
    let at = |place: &str| crate::support::page_pair(&config(), &pair.folder.path().join(place), PATIENCE);
    at("new/folder/standby.sqlite").synchronize(&work(&cancel, 1)).unwrap();
    assert_eq!(dump(&pair.folder.path().join("new/folder/standby.sqlite")), dump(&pair.source()));
    std::fs::write(pair.folder.path().join("file"), "").unwrap();
    at("file/standby.sqlite").synchronize(&work(&cancel, 1)).unwrap_err();
}

#[test]
fn what_was_at_the_source_before_it_was_lost_does_not_reach_what_is_given_back() {
    for mode in ["WAL", "PERSIST"] {
        let mut pair = Pair::new(&format!("PRAGMA journal_mode = {mode}; {USERS}"));
        pair.synchronize_and_compare();
        let rows = dump(&pair.source());
        pair.server = Connection::open_in_memory().unwrap();
        std::fs::remove_file(pair.source()).unwrap();
        // What its server left when it died.
        for suffix in ["-wal", "-shm", "-journal"] {
            std::fs::write(pair.folder.path().join(format!("users.sqlite{suffix}")), [7; 9_000]).unwrap();
        }
        let cancel = CancellationToken::new();
        pair.pair.restore(&work(&cancel, 2)).unwrap();
        assert_eq!(dump(&pair.source()), rows);
        pair.server = Connection::open(pair.source()).unwrap();
        let journal: String = pair.server.pragma_query_value(None, "journal_mode", |row| row.get(0)).unwrap();
        assert_eq!(journal == "wal", mode == "WAL", "{journal}");
        pair.server.execute("DELETE FROM contacts", []).unwrap();
        pair.synchronize_as(2).unwrap();
        assert_equal_pages(&pair.source(), &pair.standby());
    }
}

#[test]
fn removing_traces_leaves_both_databases_as_the_server_made_them() {
    let pair = Pair::new(USERS);
    pair.synchronize_and_compare();
    let before = std::fs::read(pair.source()).unwrap();
    let listed = pair.pair.remove_traces(true, &CancellationToken::new()).unwrap();
    let kinds: Vec<&str> = listed.iter().map(|trace| trace.kind.as_str()).collect();
    assert_eq!(kinds, ["folder", "fence"], "{listed:?}");
    assert_fenced(&pair.standby());
    assert_eq!(pair.pair.remove_traces(false, &CancellationToken::new()).unwrap(), listed);
    assert!(std::fs::read(pair.source()).unwrap() == before);
    let left: Vec<_> =
        std::fs::read_dir(pair.beside("")).unwrap().map(|it| it.unwrap().file_name()).collect();
    assert_eq!(left, ["former"], "a note by which a later backup knows it again");
    Connection::open(pair.standby()).unwrap().execute_batch("INSERT INTO users (name) VALUES ('x')").unwrap();
    assert!(pair.pair.remove_traces(false, &CancellationToken::new()).unwrap().is_empty());
    // It is a database like any other now, which somebody may have begun to use.
    assert_eq!(pair.synchronize().unwrap_err().kind, ErrorKind::ForeignContent);
    std::fs::remove_file(pair.standby()).unwrap();
    assert!(pair.synchronize_and_compare().warnings.is_empty());
}

#[test]
fn a_fence_that_was_taken_away_is_raised_again_though_nothing_else_has_changed() {
    let pair = Pair::new(USERS);
    pair.synchronize_and_compare();
    for mode in ["DELETE", "WAL"] {
        lift_fence(&pair.standby());
        Connection::open(pair.standby())
            .unwrap()
            .query_row(&format!("PRAGMA journal_mode = {mode}"), [], |_| Ok(()))
            .unwrap();
        let observed = pair.pair.observe(&CancellationToken::new()).unwrap();
        assert!(observed.to_compare.is_some(), "{observed:?}");
        pair.synchronize_and_compare();
        assert_fenced(&pair.standby());
    }
}

#[test]
fn a_standby_that_a_reader_keeps_open_is_copied_and_one_that_is_in_the_middle_of_reading_waited_for() {
    let pair = Pair::new(USERS);
    pair.synchronize_and_compare();
    let reader = Connection::open(pair.standby()).unwrap();
    let count = || reader.query_row("SELECT count(*) FROM users", [], |row| row.get::<_, i64>(0)).unwrap();
    assert_eq!(count(), 2);
    pair.server.execute_batch("INSERT INTO users (name) VALUES ('carl')").unwrap();
    reader.execute_batch("BEGIN").unwrap();
    assert_eq!(count(), 2);
    std::thread::scope(|scope| {
        let other = pair.with_patience(PATIENCE);
        let run = scope.spawn(move || other.synchronize(&work(&CancellationToken::new(), 1)));
        std::thread::sleep(std::time::Duration::from_millis(200));
        assert!(!run.is_finished());
        assert_eq!(count(), 2);
        reader.execute_batch("COMMIT").unwrap();
        run.join().unwrap().unwrap();
    });
    assert_eq!(count(), 3);
    pair.server.execute_batch("ALTER TABLE users ADD COLUMN mail DEFAULT 'none'").unwrap();
    pair.synchronize_and_compare();
    let mails = reader.query_row("SELECT count(mail) FROM users", [], |row| row.get::<_, i64>(0));
    assert_eq!(mails.unwrap(), 3);
}

#[test]
fn what_an_earlier_file_left_beside_the_standbys_place_does_not_reach_a_first_copy() {
    let pair = Pair::new(USERS);
    for suffix in ["-wal", "-shm", "-journal"] {
        std::fs::write(pair.folder.path().join(format!("standby.sqlite{suffix}")), [7; 9_000]).unwrap();
    }
    pair.synchronize_and_compare();
}
