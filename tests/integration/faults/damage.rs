//! Damaged databases: the standby keeps the last good state, and what is damaged is named.

use std::os::unix::fs::FileExt;
use std::path::Path;

use cs_backup::error::{Error, ErrorKind};
use cs_backup::store::user::UserStorePair;
use rusqlite::Connection;

use crate::user_store::{Pair, assert_equal_pages, assert_fenced, dump, pages_of_standby, tamper};

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
fn pages(database: &Path, name: &str, kind: &str) -> Vec<u64> {
    let connection = Connection::open(database).unwrap();
    let mut statement = connection
        .prepare("SELECT pageno FROM dbstat WHERE name = ?1 AND pagetype = ?2 ORDER BY path")
        .unwrap();
    let pages = statement.query_map([name, kind], |row| row.get::<_, i64>(0)).unwrap();
    pages.map(|page| page.unwrap().unsigned_abs()).collect()
}

/// Overwrites a part of a page, as a device does that loses it; returns what the page held.
fn damage(database: &Path, page: u64, at: u64, bytes: &[u8]) -> Vec<u8> {
    let file = std::fs::File::options().read(true).write(true).open(database).unwrap();
    let mut content = vec![0; PAGE as usize];
    file.read_exact_at(&mut content, (page - 1) * PAGE).unwrap();
    file.write_all_at(bytes, (page - 1) * PAGE + at).unwrap();
    content
}

fn mend(database: &Path, page: u64, content: &[u8]) {
    let file = std::fs::File::options().write(true).open(database).unwrap();
    file.write_all_at(content, (page - 1) * PAGE).unwrap();
}

#[track_caller]
fn names_page(error: &Error, pair: &Pair, page: u64, owner: &str) {
    assert_eq!(error.kind, ErrorKind::Corrupt, "{error:#?}");
    assert_eq!(error.context["path"], pair.source().to_str().unwrap());
    assert!(!error.advice.is_empty(), "{error:#?}");
    let is_named = error.message.contains(&format!("Page {page} ("));
    assert!(is_named && error.message.contains(owner), "{error:#?}");
}

/// A page of noise, one of zeros, one whose parts lie over each other, one that leads to nowhere.
const LOST: [(u64, &[u8]); 3] = [(0, &[0xa5; 4_096]), (0, &[0; 4_096]), (3, &[0xff, 0xff])];

#[test]
fn a_damaged_page_keeps_the_last_good_state_whatever_it_belongs_to_until_it_is_mended() {
    for (name, owner) in [
        ("numbered", "numbered"),
        ("named", "named"),
        ("indexed", "indexed"),
        ("sqlite_autoindex_indexed_1", "indexed"),
    ] {
        for kind in ["leaf", "internal"] {
            for (at, bytes) in LOST {
                let mut pair = Pair::new(TABLES);
                pair.synchronize_and_compare();
                let before = pages_of_standby(&pair.standby());
                let revision = pair.pair.observe(&Default::default()).unwrap().revision;
                pair.server.execute_batch("UPDATE numbered SET text = 'new' WHERE id = 7").unwrap();
                let some = pages(&pair.source(), name, kind);
                let page = some[some.len() / 2];
                let mut content = Vec::new();
                pair.with_server_stopped(|source| content = damage(source, page, at, bytes));
                for _ in 0..2 {
                    let error = pair.synchronize().unwrap_err();
                    names_page(&error, &pair, page, "");
                    let is_named = error.message.contains(owner) || error.message.contains("cannot be named");
                    assert!(is_named, "{name}, {kind}, {at}: {error:#?}");
                    assert!(pages_of_standby(&pair.standby()) == before);
                    assert_fenced(&pair.standby());
                }
                assert_eq!(pair.pair.observe(&Default::default()).unwrap().revision, revision);
                pair.with_server_stopped(|source| mend(source, page, &content));
                pair.synchronize_and_compare();
            }
        }
    }
}

#[test]
fn a_damaged_store_is_copied_once_rather_than_not_at_all_and_what_is_known_counts_no_more() {
    let mut pair = Pair::new(TABLES);
    let page = pages(&pair.source(), "numbered", "leaf")[10];
    let mut content = Vec::new();
    pair.with_server_stopped(|source| content = damage(source, page, 0, &[0xa5; 4_096]));
    let outcome = pair.synchronize().unwrap();
    let said =
        |warnings: &[String]| warnings.iter().any(|warning| warning.contains(&format!("Page {page}:")));
    assert!(said(&outcome.warnings), "{:?}", outcome.warnings);
    assert_eq!(pages_of_standby(&pair.standby()).len(), std::fs::read(pair.source()).unwrap().len());
    pair.with_server_stopped(|source| mend(source, page, &content));
    pair.synchronize_and_compare();
}

/// Only what the last good state had counts as known: what was mended and comes again is new.
#[test]
fn damage_that_was_mended_and_comes_again_is_refused() {
    let mut pair = Pair::new(TABLES);
    let page = pages(&pair.source(), "numbered", "leaf")[10];
    let mut content = Vec::new();
    pair.with_server_stopped(|source| content = damage(source, page, 0, &[0xa5; 4_096]));
    pair.synchronize().unwrap();
    // As long as it is there, it stands in nobody's way.
    pair.server.execute_batch("UPDATE named SET text = 'x' WHERE name < 'user00100'").unwrap();
    pair.synchronize().unwrap();
    pair.with_server_stopped(|source| mend(source, page, &content));
    pair.synchronize_and_compare();
    let before = pages_of_standby(&pair.standby());
    pair.with_server_stopped(|source| drop(damage(source, page, 0, &[0xa5; 4_096])));
    names_page(&pair.synchronize().unwrap_err(), &pair, page, "numbered");
    assert!(pages_of_standby(&pair.standby()) == before);
    pair.with_server_stopped(|source| mend(source, page, &content));
    pair.synchronize_and_compare();
}

/// What only a look through the whole database finds is found on request, and the copy keeps what it has.
#[test]
fn two_trees_that_lie_over_each_other_are_found_on_request() {
    let mut pair = Pair::new(TABLES);
    pair.synchronize_and_compare();
    let before = pages_of_standby(&pair.standby());
    let leaves = pages(&pair.source(), "numbered", "leaf");
    // One leaf is another one's twin: each page by itself is what it should be.
    let mut content = Vec::new();
    pair.with_server_stopped(|source| {
        let twin = damage(source, leaves[3], 0, &[]);
        content = damage(source, leaves[4], 0, &twin);
    });
    let error = pair.verify().unwrap_err();
    assert_eq!(error.kind, ErrorKind::Corrupt, "{error:#?}");
    assert!(error.context["findings"].to_string().contains("out of order"), "{error:#?}");
    assert!(pages_of_standby(&pair.standby()) == before);
    pair.with_server_stopped(|source| mend(source, leaves[4], &content));
    pair.synchronize_and_compare();
}

#[test]
fn a_damaged_schema_and_a_truncated_file_change_nothing() {
    let mut pair = Pair::new(TABLES);
    pair.synchronize_and_compare();
    pair.server.execute_batch("UPDATE numbered SET text = 'new'").unwrap();
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
        let error = pair.verify().unwrap_err();
        assert!(matches!(error.kind, ErrorKind::Corrupt | ErrorKind::Io), "{error:#?}");
        assert_eq!(error.context["path"], pair.source().to_str().unwrap());
        assert_eq!(dump(&pair.standby()), before);
    }
    pair.with_server_stopped(|source| std::fs::write(source, &whole).unwrap());
    pair.synchronize_and_compare();
}

#[test]
fn what_violates_constraints_is_copied_as_it_is() {
    let pair = Pair::new(
        "CREATE TABLE t (id INTEGER PRIMARY KEY, age INTEGER CHECK (age >= 0), name); INSERT INTO t VALUES (1, 7, NULL)",
    );
    pair.server
        .execute_batch("PRAGMA ignore_check_constraints = ON; INSERT INTO t VALUES (2, -1, NULL)")
        .unwrap();
    pair.synchronize_and_compare();
    pair.server
        .execute_batch(
            "UPDATE t SET age = -2 WHERE id = 1; PRAGMA writable_schema = ON;
             UPDATE sqlite_schema SET sql = 'CREATE TABLE t (id INTEGER PRIMARY KEY, age, name NOT NULL)' WHERE name = 't'",
        )
        .unwrap();
    pair.synchronize_and_compare();
    pair.verify().unwrap();
}

#[test]
fn a_damaged_standby_is_mended_or_made_anew() {
    type Spoils = fn(&Path);
    let spoilt: [(&str, Spoils); 6] = [
        ("a leaf", |standby| {
            let page = pages(standby, "numbered", "leaf")[0];
            damage(standby, page, 0, &[0; 4_096]);
        }),
        ("the schema", |standby| drop(damage(standby, 1, 1_096, &[0; 3_000]))),
        ("the header", |standby| drop(damage(standby, 1, 0, &[0; 4_096]))),
        ("the end", |standby| {
            std::fs::File::options().write(true).open(standby).unwrap().set_len(20 * PAGE + 7).unwrap();
        }),
        ("everything", |standby| std::fs::write(standby, "").unwrap()),
        ("a stranger's rows", |standby| tamper(standby, "DELETE FROM named")),
    ];
    for (name, spoil) in spoilt {
        let pair = Pair::new(TABLES);
        pair.synchronize_and_compare();
        pair.server.execute_batch("UPDATE numbered SET text = 'x' WHERE id < 1000").unwrap();
        spoil(&pair.standby());
        let outcome = pair.synchronize_and_compare();
        assert!(!outcome.warnings.is_empty(), "{name}: {outcome:#?}");
        assert!(pair.synchronize_and_compare().warnings.is_empty(), "{name}");
        // Nothing of it comes back.
        pair.server.execute_batch("UPDATE numbered SET text = 'y' WHERE id < 100").unwrap();
        pair.synchronize_and_compare();
    }
}

#[test]
fn a_damaged_standby_is_not_given_back_as_if_it_were_whole() {
    let pair = Pair::new(TABLES);
    pair.synchronize_and_compare();
    let leaves = pages(&pair.standby(), "numbered", "leaf");
    damage(&pair.standby(), leaves[1], 0, &[0; 4_096]);
    std::fs::remove_file(pair.source()).unwrap();
    let cancel = Default::default();
    let error = pair.pair.restore(&crate::user_store::work(&cancel, 2)).unwrap_err();
    assert_eq!((error.kind, pair.source().exists()), (ErrorKind::Corrupt, false), "{error:#?}");
    assert_eq!(error.context["path"], pair.standby().to_str().unwrap());
    assert_equal_pages(&pair.standby(), &pair.standby());
}

/// A server that is killed in the middle of a transaction leaves a journal, which is its own to play back.
#[test]
fn a_hot_journal_at_the_source_is_read_and_never_played_back() {
    let mut pair = Pair::new(TABLES);
    pair.synchronize_and_compare();
    let rows = dump(&pair.source());
    pair.server
        .execute_batch("PRAGMA cache_size = 5; PRAGMA cache_spill = 5; BEGIN; UPDATE numbered SET text = 'half'; UPDATE named SET text = 'half'")
        .unwrap();
    // The files as they are now are what a kill leaves.
    let (file, journal) = (pair.source(), pair.folder().join("users.sqlite-journal"));
    let dead = (std::fs::read(&file).unwrap(), std::fs::read(&journal).unwrap());
    pair.server.execute_batch("ROLLBACK").unwrap();
    pair.with_server_stopped(|source| {
        std::fs::write(source, &dead.0).unwrap();
        std::fs::write(&journal, &dead.1).unwrap();
    });
    let outcome = pair.synchronize().unwrap();
    assert!(outcome.warnings.iter().any(|warning| warning.contains("did not finish")), "{outcome:#?}");
    assert!(std::fs::read(&file).unwrap() == dead.0 && std::fs::read(&journal).unwrap() == dead.1);
    assert_eq!(dump(&pair.standby()), rows);
    // Now its server comes, and plays it back.
    assert_eq!(dump(&pair.source()), rows);
    assert!(!journal.exists());
    pair.synchronize_and_compare();
}
