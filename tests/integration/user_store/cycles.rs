//! What a cycle moves, and what it leaves.

use crate::support::database_url;
use cs_backup::error::ErrorKind;
use cs_backup::store::Progress;
use cs_backup::store::user::sqlite::SqlitePair;
use cs_backup::store::user::{UserStorePair, Work};
use cs_backup::topology::UserStoreConfig;
use tokio_util::sync::CancellationToken;

use super::{Pair, USERS, dump, work};

#[test]
fn the_first_copy_equals_the_source_and_a_quiet_run_writes_nothing() {
    let pair = Pair::new(USERS);
    let first = pair.synchronize_and_compare();
    assert_eq!(first.moved.items_written, 4);
    assert!(first.quarantined.is_empty() && first.warnings.is_empty(), "{first:?}");
    let before = std::fs::read(pair.standby()).unwrap();
    let source_before = std::fs::read(pair.source()).unwrap();
    assert!(pair.synchronize().unwrap().moved.is_nothing());
    assert_eq!(std::fs::read(pair.standby()).unwrap(), before);
    assert_eq!(std::fs::read(pair.source()).unwrap(), source_before);
}

#[test]
fn inserts_updates_deletes_and_key_changes_travel() {
    let pair = Pair::new(USERS);
    pair.synchronize_and_compare();
    pair.server
        .execute_batch(
            "INSERT INTO users (name, card) VALUES ('carl', x'00ff');
             UPDATE users SET name = 'anne' WHERE name = 'anna';
             UPDATE contacts SET owner = 'anne' WHERE owner = 'anna';
             DELETE FROM contacts WHERE owner = 'bert';",
        )
        .unwrap();
    let observed = pair.pair.observe(&CancellationToken::new()).unwrap();
    assert!(observed.initialized && observed.pending > 0 && observed.oldest.is_some());
    let outcome = pair.synchronize_and_compare();
    assert_eq!(outcome.moved.batches, 1);
    assert_eq!(pair.pair.observe(&CancellationToken::new()).unwrap().pending, 0);
}

#[test]
fn an_update_is_one_change() {
    let pair = Pair::new(USERS);
    pair.synchronize_and_compare();
    pair.server.execute_batch("UPDATE users SET card = x'01'; UPDATE contacts SET note = 'n'").unwrap();
    assert_eq!(pair.pair.observe(&CancellationToken::new()).unwrap().pending, 4);
    pair.synchronize_and_compare();
}

#[test]
fn the_log_is_pruned_by_the_cycle_after_and_at_once_where_it_is_long() {
    let pair = Pair::new(USERS);
    let logged = |pair: &Pair| -> i64 {
        pair.server.query_row("SELECT count(*) FROM csb_change", [], |row| row.get(0)).unwrap()
    };
    pair.synchronize_and_compare();
    for round in 0..3 {
        pair.server.execute("UPDATE users SET card = ?1", [round]).unwrap();
        pair.synchronize_and_compare();
        assert_eq!(
            logged(&pair),
            3,
            "only what the standby has just confirmed, and the newest row before that"
        );
    }
    pair.server
        .execute_batch(
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 12000)
             INSERT INTO contacts SELECT 'many', i, NULL FROM n",
        )
        .unwrap();
    pair.synchronize_and_compare();
    assert!(logged(&pair) < 6_000, "{}", logged(&pair));
}

#[test]
fn a_cancelled_run_leaves_the_standby_as_it_was() {
    let pair = Pair::new(USERS);
    pair.synchronize_and_compare();
    let before = dump(&pair.standby());
    pair.server.execute_batch("DELETE FROM users").unwrap();
    let cancel = CancellationToken::new();
    cancel.cancel();
    assert_eq!(pair.pair.synchronize(&work(&cancel, 1)).unwrap_err().kind, ErrorKind::Cancelled);
    assert_eq!(dump(&pair.standby()), before);
}

#[test]
fn a_locked_database_is_busy_with_advice() {
    let pair = Pair::new(USERS);
    pair.server.execute_batch("BEGIN EXCLUSIVE").unwrap();
    let error = pair.synchronize().unwrap_err();
    assert_eq!(error.kind, ErrorKind::StoreBusy);
    assert!(error.retryable && !error.advice.is_empty());
}

#[test]
fn rows_whose_keys_are_equal_but_not_alike_are_told_apart_where_they_are_updated_in_place() {
    let pair = Pair::new(
        "CREATE TABLE folded (name TEXT COLLATE NOCASE PRIMARY KEY, note);
         CREATE TABLE numbers (k PRIMARY KEY, note);
         CREATE TABLE empty (k TEXT PRIMARY KEY, note);
         INSERT INTO folded VALUES ('anna', 'a'), ('bert', 'b');
         INSERT INTO numbers VALUES (1, 'a'), (2.0, 'b'), ('3', 'c');
         INSERT INTO empty VALUES (NULL, 'a'), (NULL, 'b'), ('c', 'c');",
    );
    pair.synchronize_and_compare();
    pair.server
        .execute_batch(
            "UPDATE folded SET name = 'ANNA', note = 'A' WHERE name = 'anna';
             UPDATE numbers SET k = 1.0, note = 'A' WHERE k = 1;
             UPDATE numbers SET k = 2 WHERE k = 2;
             UPDATE numbers SET note = 'C' WHERE k = '3';
             UPDATE empty SET note = note || '!'; DELETE FROM empty WHERE note = 'a!';",
        )
        .unwrap();
    let outcome = pair.synchronize_and_compare();
    assert_eq!(outcome.moved.items_deleted, 1, "{:?}", outcome.moved);
}

#[test]
fn a_backlog_of_any_length_is_caught_up_with_but_not_a_source_that_outruns_the_copy() {
    let pair = Pair::new("CREATE TABLE users (id INTEGER PRIMARY KEY, rank INTEGER)");
    let config =
        UserStoreConfig { url: database_url(&pair.source()), keys: Default::default(), exclude: vec![] };
    let hurried = SqlitePair::new(config, &pair.standby(), 1).unwrap();
    let cancel = CancellationToken::new();
    hurried.synchronize(&work(&cancel, 1)).unwrap();
    let rows = SqlitePair::batch_changes() * 3 / 2;
    let fill = format!(
        "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {rows})
         INSERT OR REPLACE INTO users SELECT i, random() FROM n"
    );
    pair.server.execute_batch(&format!("{fill}; {fill}; {fill}")).unwrap();
    hurried.synchronize(&work(&cancel, 1)).unwrap();
    pair.synchronize_and_compare();
    pair.server.execute_batch(&fill).unwrap();
    let outruns = |_: Progress| pair.server.execute_batch(&fill).unwrap();
    let error = hurried.synchronize(&Work { progress: &outruns, ..work(&cancel, 1) }).unwrap_err();
    assert_eq!(error.kind, ErrorKind::SourceTooBusy);
}
