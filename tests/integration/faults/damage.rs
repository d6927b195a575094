//! Damaged databases: whatever can be read is copied, what cannot is named, and what the standby holds of it stays.

use std::collections::BTreeSet;
use std::os::unix::fs::FileExt;
use std::path::Path;

use cs_backup::error::ErrorKind;
use cs_backup::store::user::{PairOutcome, UserStorePair};
use rusqlite::Connection;
use rusqlite::config::DbConfig;

use crate::user_store::{Pair, dump};

const PAGE: u64 = 4096;

/// Rows of 40 to a page, told apart by an integer, by a text in a table of its own order, and by an index.
const TABLES: &str = "
CREATE TABLE numbered (id INTEGER PRIMARY KEY, text TEXT NOT NULL);
CREATE TABLE named (name TEXT PRIMARY KEY, text TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE indexed (name TEXT PRIMARY KEY NOT NULL, text TEXT NOT NULL);
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 4000)
INSERT INTO numbered SELECT i * 7, hex(randomblob(40)) FROM n;
INSERT INTO named SELECT printf('user%05d@example.com', id), text FROM numbered;
INSERT INTO indexed SELECT printf('user%05d@example.com', id), text FROM numbered;
";

/// The pages of a table or an index of one kind, in the order of its keys.
pub(super) fn pages(database: &Path, name: &str, kind: &str) -> Vec<u64> {
    let connection = Connection::open(database).unwrap();
    let mut statement = connection
        .prepare("SELECT pageno FROM dbstat WHERE name = ?1 AND pagetype = ?2 ORDER BY path")
        .unwrap();
    let pages = statement.query_map([name, kind], |row| row.get::<_, i64>(0)).unwrap();
    pages.map(|page| page.unwrap().unsigned_abs()).collect()
}

/// Overwrites pages, as a device does that loses them; returns what was there.
pub(super) fn damage(database: &Path, pages: &[u64]) -> Vec<(u64, Vec<u8>)> {
    let file = std::fs::File::options().read(true).write(true).open(database).unwrap();
    let lost = |page: &u64| {
        let mut content = vec![0; PAGE as usize];
        file.read_exact_at(&mut content, (page - 1) * PAGE).unwrap();
        file.write_all_at(&vec![0; PAGE as usize], (page - 1) * PAGE).unwrap();
        (*page, content)
    };
    pages.iter().map(lost).collect()
}

fn mend(database: &Path, lost: &[(u64, Vec<u8>)]) {
    let file = std::fs::File::options().write(true).open(database).unwrap();
    for (page, content) in lost {
        file.write_all_at(content, (page - 1) * PAGE).unwrap();
    }
}

fn rows(database: &Path) -> BTreeSet<String> {
    dump(database).into_iter().collect()
}

/// The one item in quarantine.
#[track_caller]
fn item(outcome: &PairOutcome) -> &str {
    assert_eq!(outcome.quarantined.len(), 1, "{outcome:#?}");
    assert!(!outcome.quarantined[0].reason.is_empty() && !outcome.quarantined[0].advice.is_empty());
    &outcome.quarantined[0].item
}

/// A first copy of a user store with damaged leaves of one table: these and no others are missing.
#[track_caller]
fn all_but_the_damaged(
    table: &str,
    kind: &str,
    choose: impl Fn(&[u64]) -> Vec<u64>,
    gaps: usize,
) -> PairOutcome {
    let mut pair = Pair::new(TABLES);
    let whole = rows(&pair.source());
    let all = pages(&pair.source(), table, kind);
    let chosen = choose(&all);
    pair.with_server_stopped(|source| {
        damage(source, &chosen);
    });
    let outcome = pair.synchronize().unwrap();
    let copied = rows(&pair.standby());
    assert!(copied.is_subset(&whole));
    let missing: Vec<&String> = whole.difference(&copied).collect();
    assert!(missing.iter().all(|row| row.starts_with(table)), "{missing:?}");
    let most = chosen.len() * 60;
    assert!(!missing.is_empty() && missing.len() <= most, "{} rows of {most} are missing", missing.len());
    assert_eq!(outcome.quarantined.len(), gaps, "{outcome:#?}");
    assert!(outcome.quarantined.iter().all(|item| item.item.starts_with(&format!("table {table}, rows "))));
    outcome
}

#[test]
fn one_damaged_page_costs_its_own_rows_wherever_it_is() {
    let first = |all: &[u64]| vec![all[0]];
    let middle = |all: &[u64]| vec![all[all.len() / 2]];
    let last = |all: &[u64]| vec![all[all.len() - 1]];
    for (table, kind) in [("numbered", "leaf"), ("named", "leaf"), ("indexed", "leaf")] {
        all_but_the_damaged(table, kind, first, 1);
        all_but_the_damaged(table, kind, middle, 1);
        all_but_the_damaged(table, kind, last, 1);
    }
}

#[test]
fn what_lies_between_damaged_pages_is_found() {
    let some = |all: &[u64]| vec![all[0], all[10], all[11], all[30], all[all.len() - 1]];
    for table in ["numbered", "indexed"] {
        all_but_the_damaged(table, "leaf", some, 4);
    }
    // A text to seek is only found between texts: here one end of the table can be read.
    all_but_the_damaged(
        "named",
        "leaf",
        |all| vec![all[10], all[11], all[30], all[40], all[all.len() - 1]],
        4,
    );
    all_but_the_damaged("named", "leaf", |all| vec![all[0], all[10], all[11], all[30], all[40]], 4);
}

/// A first copy of a UTF-16 user store in one of whose tables two leaves are damaged; the table's keys before, and in the copy.
fn damaged_in_utf_16(table: &str, key: &str) -> (PairOutcome, Vec<String>, BTreeSet<String>) {
    let mut pair = Pair::new(&format!("PRAGMA encoding = 'UTF-16le'; {TABLES}"));
    let keys = |database: &Path| -> Vec<String> {
        let connection = Connection::open(database).unwrap();
        let query = format!("SELECT CAST({key} AS TEXT) FROM {table} ORDER BY {key}");
        let mut statement = connection.prepare(&query).unwrap();
        statement.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
    };
    let all = pages(&pair.source(), table, "leaf");
    let before = keys(&pair.source());
    pair.with_server_stopped(|source| {
        damage(source, &[all[10], all[30]]);
    });
    let outcome = pair.synchronize().unwrap();
    let copied = keys(&pair.standby()).into_iter().collect();
    (outcome, before, copied)
}

#[test]
fn between_texts_of_utf_16_nothing_is_sought_and_all_that_is_missing_is_named() {
    let (outcome, before, copied) = damaged_in_utf_16("named", "name");
    let first = before.iter().position(|key| !copied.contains(key)).unwrap();
    let last = before.iter().rposition(|key| !copied.contains(key)).unwrap();
    let gap = format!("table named, rows between ({}) and ({})", before[first - 1], before[last + 1]);
    assert_eq!(item(&outcome), gap);
}

#[test]
fn between_numbers_of_a_store_of_utf_16_what_can_be_read_is_found() {
    let (outcome, before, copied) = damaged_in_utf_16("numbered", "id");
    let missing = before.len() - copied.len();
    assert!(0 < missing && missing <= 2 * 60, "{missing} rows are missing");
    assert_eq!(outcome.quarantined.len(), 2, "{outcome:#?}");
}

#[test]
fn a_row_with_a_damaged_overflow_page_is_missing_alone() {
    let mut pair = Pair::new("CREATE TABLE cards (id INTEGER PRIMARY KEY, card BLOB)");
    pair.server.execute_batch("INSERT INTO cards SELECT value, randomblob(20000) FROM (SELECT 1 AS value UNION SELECT 2 UNION SELECT 3)").unwrap();
    let whole = rows(&pair.source());
    let overflow = pages(&pair.source(), "cards", "overflow");
    // The second page of the second row's chain: the first would only be other bytes to SQLite.
    pair.with_server_stopped(|source| damage_chain(source, overflow[5]));
    let outcome = pair.synchronize().unwrap();
    assert_eq!(item(&outcome), "table cards, rows between (1) and (3)");
    let copied = rows(&pair.standby());
    assert!(copied.is_subset(&whole) && copied.len() == 2);
}

/// Makes an overflow page name a page that does not exist as its next one.
fn damage_chain(database: &Path, page: u64) {
    let file = std::fs::File::options().write(true).open(database).unwrap();
    file.write_all_at(&[0x7f, 0xff, 0xff, 0xff], (page - 1) * PAGE).unwrap();
}

#[test]
fn what_the_standby_holds_of_a_damaged_table_stays_until_it_can_be_read_again() {
    for table in ["numbered", "named", "indexed"] {
        let mut pair = Pair::new(TABLES);
        pair.synchronize_and_compare();
        // A trigger that is gone means that the table has to be copied whole.
        let trigger: String = pair
            .server
            .query_row(
                "SELECT name FROM sqlite_schema WHERE type = 'trigger' AND tbl_name = ?1",
                [table],
                |row| row.get(0),
            )
            .unwrap();
        pair.server
            .execute_batch(
                &format!(
                    "DROP TRIGGER {trigger}; UPDATE {table} SET text = 'new' WHERE rowid < 0 OR text < '4'"
                )
                .replace("rowid < 0 OR ", ""),
            )
            .unwrap();
        let whole = rows(&pair.source());
        let before = rows(&pair.standby());
        let leaves = pages(&pair.source(), table, "leaf");
        let mut lost = Vec::new();
        pair.with_server_stopped(|source| lost = damage(source, &[leaves[3], leaves[20]]));
        for _ in 0..2 {
            let outcome = pair.synchronize().unwrap();
            assert_eq!(outcome.quarantined.len(), 2, "{outcome:#?}");
            let copied = dump(&pair.standby());
            assert_eq!(copied.len(), whole.len(), "a row is missing or there twice");
            let copied: BTreeSet<String> = copied.into_iter().collect();
            assert!(copied.iter().all(|row| whole.contains(row) || before.contains(row)));
            let old = copied.difference(&whole).count();
            assert!(old > 0 && old <= 120, "{old} rows are as they were before");
        }
        pair.with_server_stopped(|source| mend(source, &lost));
        assert!(pair.synchronize_and_compare().quarantined.is_empty());
    }
}

#[test]
fn a_changed_row_on_a_damaged_page_is_named_and_the_standbys_stays() {
    for (table, key) in [("numbered", "140"), ("named", "user00140@example.com")] {
        let mut pair = Pair::new(TABLES);
        pair.synchronize_and_compare();
        let column = if table == "numbered" { "id" } else { "name" };
        pair.server
            .execute_batch(&format!(
                "UPDATE {table} SET text = 'x' WHERE {column} IN ('{key}', 14000, 'user14000@example.com')"
            ))
            .unwrap();
        let leaves = pages(&pair.source(), table, "leaf");
        let mut lost = Vec::new();
        pair.with_server_stopped(|source| lost = damage(source, &leaves[..1]));
        for _ in 0..2 {
            let outcome = pair.synchronize().unwrap();
            assert_eq!(item(&outcome), format!("{table} ({key})"));
            let standby = Connection::open(pair.standby()).unwrap();
            let count = |condition: &str| -> i64 {
                let sql = format!("SELECT count(*) FROM {table} WHERE {condition}");
                standby.query_row(&sql, [], |row| row.get(0)).unwrap()
            };
            assert_eq!(count("text = 'x'"), 1, "the change of the other row");
            assert_eq!(count(&format!("{column} = '{key}' AND text <> 'x'")), 1, "the standby's row is gone");
        }
        pair.with_server_stopped(|source| mend(source, &lost));
        assert!(pair.synchronize_and_compare().quarantined.is_empty());
    }
}

#[test]
fn a_comparison_that_meets_a_damaged_page_copies_what_can_be_read_and_goes_on() {
    for table in ["numbered", "named"] {
        let mut pair = Pair::new(TABLES);
        pair.synchronize_and_compare();
        let whole = rows(&pair.source());
        let meddler = Connection::open(pair.standby()).unwrap();
        meddler.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER, false).unwrap();
        meddler
            .execute_batch(
                "UPDATE indexed SET text = 'x' WHERE rowid = 7; DELETE FROM numbered WHERE id = 27000",
            )
            .unwrap();
        drop(meddler);
        let leaves = pages(&pair.source(), table, "leaf");
        let mut lost = Vec::new();
        pair.with_server_stopped(|source| lost = damage(source, &leaves[3..4]));
        let outcome = pair.synchronize().unwrap();
        assert!(item(&outcome).starts_with(&format!("table {table}, rows ")), "{outcome:#?}");
        let differing = outcome.verification.unwrap().differing;
        assert!(differing.iter().any(|found| found.name == "indexed" && found.items == 1), "{differing:?}");
        assert_eq!(rows(&pair.standby()), whole);
        pair.with_server_stopped(|source| mend(source, &lost));
        assert!(pair.synchronize_and_compare().quarantined.is_empty());
    }
}

#[test]
fn rows_behind_a_damaged_index_are_found_in_the_table() {
    let mut pair = Pair::new(TABLES);
    pair.synchronize_and_compare();
    pair.server.execute_batch("UPDATE indexed SET text = 'x' WHERE name < 'user00100'; DELETE FROM indexed WHERE name > 'user27000'").unwrap();
    let leaves = pages(&pair.source(), "sqlite_autoindex_indexed_1", "leaf");
    let mut lost = Vec::new();
    pair.with_server_stopped(|source| lost = damage(source, &leaves[..1]));
    let outcome = pair.synchronize().unwrap();
    assert!(outcome.quarantined.is_empty(), "{outcome:#?}");
    assert!(outcome.warnings.iter().any(|warning| warning.contains("REINDEX")), "{outcome:#?}");
    pair.with_server_stopped(|source| mend(source, &lost));
    assert_eq!(rows(&pair.source()), rows(&pair.standby()));
}

#[test]
fn a_damaged_change_log_is_begun_anew() {
    let choices: [fn(&[u64]) -> u64; 3] =
        [|leaves| leaves[0], |leaves| leaves[leaves.len() / 2], |leaves| leaves[leaves.len() - 1]];
    for choice in choices {
        let mut pair = Pair::new(TABLES);
        pair.synchronize_and_compare();
        pair.server
            .execute_batch("UPDATE numbered SET text = 'x'; DELETE FROM named WHERE name > 'user20000'")
            .unwrap();
        let leaves = pages(&pair.source(), "csb_change", "leaf");
        pair.with_server_stopped(|source| drop(damage(source, &[choice(&leaves)])));
        let outcome = pair.synchronize_and_compare();
        assert!(outcome.warnings.iter().any(|warning| warning.contains("change log")), "{outcome:#?}");
        pair.server.execute_batch("UPDATE numbered SET text = 'y' WHERE id < 100").unwrap();
        let outcome = pair.synchronize_and_compare();
        assert!(outcome.warnings.is_empty() && outcome.moved.items_written == 14, "{outcome:#?}");
    }
}

#[test]
fn numbers_that_autoincrement_gave_out_are_named_where_they_are_damaged_and_all_else_is_copied() {
    let schema = format!(
        "CREATE TABLE tickets (id INTEGER PRIMARY KEY AUTOINCREMENT, x); INSERT INTO tickets VALUES (9, 1); {TABLES}"
    );
    for is_first in [true, false] {
        let mut pair = Pair::new(&schema);
        if !is_first {
            pair.synchronize_and_compare();
        }
        let leaves = pages(&pair.source(), "sqlite_sequence", "leaf");
        pair.with_server_stopped(|source| drop(damage(source, &leaves)));
        for round in 0..2 {
            let change = format!("UPDATE numbered SET text = 'round {round}'; UPDATE tickets SET x = x + 1");
            pair.server.execute_batch(&change).unwrap();
            assert_eq!(item(&pair.synchronize().unwrap()), "table sqlite_sequence");
            assert_eq!(rows(&pair.source()), rows(&pair.standby()));
        }
        assert_eq!(item(&pair.synchronize().unwrap()), "table sqlite_sequence", "also where nothing changed");
        // A first copy knows the largest id that is there.
        let kept = "SELECT seq FROM sqlite_sequence WHERE name = 'tickets'";
        let kept: i64 =
            Connection::open(pair.standby()).unwrap().query_row(kept, [], |row| row.get(0)).unwrap();
        assert_eq!(kept, 9);
    }
}

#[test]
fn damaged_tokens_are_begun_anew_and_the_copy_that_nothing_vouches_for_is_kept_beside() {
    for tree in ["csb_barrier", "sqlite_autoindex_csb_barrier_1"] {
        let mut pair = Pair::new(TABLES);
        pair.synchronize_and_compare();
        pair.server.execute_batch("DELETE FROM named WHERE name > 'user20000'").unwrap();
        let before = dump(&pair.standby());
        let leaves = pages(&pair.source(), tree, "leaf");
        pair.with_server_stopped(|source| drop(damage(source, &leaves)));
        let outcome = pair.synchronize_and_compare();
        assert!(outcome.warnings.iter().any(|warning| warning.contains("change log")), "{outcome:#?}");
        let kept = outcome.warnings.iter().find_map(|warning| warning.split("kept as ").nth(1)).unwrap();
        assert_eq!(dump(Path::new(kept.split(';').next().unwrap())), before);
        pair.server.execute_batch("UPDATE numbered SET text = 'y' WHERE id < 100").unwrap();
        let outcome = pair.synchronize_and_compare();
        assert!(outcome.warnings.is_empty() && outcome.moved.items_written == 14, "{outcome:#?}");
    }
}

#[test]
fn a_damaged_schema_and_a_truncated_file_change_nothing() {
    let mut pair = Pair::new(TABLES);
    pair.synchronize_and_compare();
    pair.server.execute_batch("DELETE FROM numbered").unwrap();
    let before = dump(&pair.standby());
    let whole = std::fs::read(pair.source()).unwrap();
    for spoil in [
        |file: &std::fs::File| file.write_all_at(&[0; 3000], 1096).unwrap(),
        |file: &std::fs::File| file.write_all_at(&[0; 4096], 0).unwrap(),
        |file: &std::fs::File| file.set_len(50 * PAGE).unwrap(),
    ] {
        pair.with_server_stopped(|source| {
            std::fs::write(source, &whole).unwrap();
            spoil(&std::fs::File::options().write(true).open(source).unwrap());
        });
        let error = pair.synchronize().unwrap_err();
        assert_eq!(error.kind, ErrorKind::Corrupt, "{error:#?}");
        assert_eq!(error.context["path"], pair.source().to_str().unwrap());
        assert_eq!(dump(&pair.standby()), before);
    }
    pair.with_server_stopped(|source| std::fs::write(source, &whole).unwrap());
    pair.synchronize_and_compare();
}

#[test]
fn a_damaged_standby_is_set_aside_and_copied_anew() {
    for name in ["numbered", "csb_standby", "sqlite_schema"] {
        let pair = Pair::new(TABLES);
        pair.synchronize_and_compare();
        pair.server.execute_batch("UPDATE numbered SET text = 'x' WHERE id < 1000").unwrap();
        let page = pages(&pair.standby(), name, "leaf")[0];
        if page > 1 {
            damage(&pair.standby(), &[page]);
        } else {
            // Not the file's header: without it, nobody could say that this is a database.
            let file = std::fs::File::options().write(true).open(pair.standby()).unwrap();
            file.write_all_at(&[0; 3000], 1096).unwrap();
        }
        let damaged = std::fs::read(pair.standby()).unwrap();
        let outcome = pair.synchronize_and_compare();
        let kept = outcome.warnings.iter().find_map(|warning| warning.split("kept as ").nth(1)).unwrap();
        let kept = Path::new(kept.split(';').next().unwrap());
        assert_eq!(std::fs::read(kept).unwrap(), damaged, "{name}");
        assert!(outcome.warnings[0].contains("is damaged"), "{outcome:#?}");
        assert!(pair.synchronize_and_compare().warnings.is_empty());
    }
}

#[test]
fn a_damaged_standby_is_not_given_back_as_if_it_were_whole() {
    let pair = Pair::new(TABLES);
    pair.synchronize_and_compare();
    let leaves = pages(&pair.standby(), "numbered", "leaf");
    damage(&pair.standby(), &leaves[1..2]);
    std::fs::remove_file(pair.source()).unwrap();
    let cancel = Default::default();
    let error = pair.pair.restore(&crate::user_store::work(&cancel, 2)).unwrap_err();
    assert_eq!((error.kind, pair.source().exists()), (ErrorKind::Corrupt, false), "{error:#?}");
    assert_eq!(error.context["path"], pair.standby().to_str().unwrap());
}
