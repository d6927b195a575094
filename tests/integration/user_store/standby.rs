//! What lies at the standby's place, and who may write there.

use crate::support::database_url;
use cs_backup::error::ErrorKind;
use cs_backup::store::user::UserStorePair;
use cs_backup::store::user::sqlite::SqlitePair;
use cs_backup::topology::UserStoreConfig;
use rusqlite::Connection;
use tokio_util::sync::CancellationToken;

use super::{Pair, USERS, dump, work};

#[test]
fn the_standby_is_fenced_and_the_source_is_not() {
    let pair = Pair::new(USERS);
    pair.synchronize_and_compare();
    let standby = Connection::open(pair.standby()).unwrap();
    for sql in
        ["INSERT INTO users (name) VALUES ('x')", "UPDATE users SET name = 'x'", "DELETE FROM contacts"]
    {
        let error = standby.execute(sql, []).unwrap_err();
        assert!(error.to_string().contains("pool is read-only"), "{error}");
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
fn a_half_made_copy_of_a_newer_owner_is_left_alone_and_that_of_an_older_one_removed() {
    let pair = Pair::new(USERS);
    let file = |generation: i64| pair.folder.path().join(format!("standby.sqlite.csb-new-{generation}"));
    for generation in [3, 5, 7] {
        std::fs::write(file(generation), "half made").unwrap();
    }
    assert_eq!(pair.synchronize_as(6).unwrap_err().kind, ErrorKind::Fenced);
    assert!(!pair.standby().exists());
    assert_eq!(std::fs::read_to_string(file(7)).unwrap(), "half made");
    pair.synchronize_as(8).unwrap();
    assert_eq!(dump(&pair.source()), dump(&pair.standby()));
    assert!(![3, 5, 7].into_iter().any(|generation| file(generation).exists()));
}

#[test]
fn a_lost_store_is_given_back_and_its_log_goes_on() {
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
    assert_eq!(outcome.moved.items_written, 1, "{outcome:?}");
}

#[test]
fn removing_traces_leaves_both_databases_as_the_server_made_them() {
    let pair = Pair::new(USERS);
    pair.synchronize_and_compare();
    let listed = pair.pair.remove_traces(true).unwrap();
    assert_eq!(pair.pair.remove_traces(false).unwrap(), listed);
    assert!(listed.iter().any(|trace| trace.kind == "trigger" && trace.name.starts_with("csb_fence")));
    for (path, former) in [(pair.source(), 0), (pair.standby(), 1)] {
        let left: i64 = Connection::open(path)
            .unwrap()
            .query_row("SELECT count(*) FROM sqlite_schema WHERE name LIKE 'csb%'", [], |row| row.get(0))
            .unwrap();
        assert_eq!(left, former, "a former copy keeps one note");
    }
    assert!(pair.pair.remove_traces(false).unwrap().is_empty());
    assert!(pair.synchronize_and_compare().warnings.is_empty());
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
fn a_standby_that_somebody_holds_locked_is_busy_and_not_damaged() {
    let pair = Pair::new(USERS);
    pair.synchronize_and_compare();
    let holder = Connection::open(pair.standby()).unwrap();
    holder.execute_batch("BEGIN EXCLUSIVE").unwrap();
    assert_eq!(pair.pair.lost().unwrap_err().kind, ErrorKind::StoreBusy);
}

#[test]
fn a_damaged_standby_matters_to_a_store_that_is_lost_alone() {
    let pair = Pair::new(USERS);
    pair.synchronize_and_compare();
    let file = std::fs::File::options().write(true).open(pair.standby()).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, &[0; 3000], 1096).unwrap();
    drop(file);
    assert_eq!(pair.pair.lost().unwrap(), None);
    std::fs::remove_file(pair.source()).unwrap();
    assert_eq!(pair.pair.lost().unwrap_err().kind, ErrorKind::Corrupt);
}

fn config(pair: &Pair) -> UserStoreConfig {
    UserStoreConfig { url: database_url(&pair.source()), keys: Default::default(), exclude: vec![] }
}

#[test]
fn a_standby_whose_folder_is_missing_is_made_with_it_and_one_that_cannot_be_listed_is_an_error() {
    let pair = Pair::new(USERS);
    let cancel = CancellationToken::new();
    let at = |place: &str| SqlitePair::new(config(&pair), &pair.folder.path().join(place), 500).unwrap();
    at("new/folder/standby.sqlite").synchronize(&work(&cancel, 1)).unwrap();
    assert_eq!(dump(&pair.folder.path().join("new/folder/standby.sqlite")), dump(&pair.source()));
    std::fs::write(pair.folder.path().join("file"), "").unwrap();
    at("file/standby.sqlite").remove_traces(false).unwrap_err();
}

#[test]
fn what_cannot_be_removed_of_a_half_made_copy_is_an_error() {
    let pair = Pair::new(USERS);
    std::fs::create_dir(pair.folder.path().join("standby.sqlite.csb-new-1")).unwrap();
    pair.pair.remove_traces(false).unwrap_err();
}
