//! Virtual tables: what their modules keep in shadow tables arrives with everything else, without a trigger of ours.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use cs_backup::error::ErrorKind;
use cs_backup::store::Generation;
use cs_backup::store::user::{PairOutcome, UserStorePair, Work};
use jiff::Timestamp;
use rusqlite::Connection;
use rusqlite::config::DbConfig;
use tokio_util::sync::CancellationToken;

use super::first_copy::watched;
use super::{Pair, dump, rows, schema};
use crate::support::StopOnDrop;

const TABLES: &str = "
CREATE TABLE docs (id INTEGER PRIMARY KEY, title, body);
CREATE VIRTUAL TABLE own USING fts5 (title, body, tokenize = 'porter');
CREATE VIRTUAL TABLE outside USING fts5 (title, body, content = 'docs', content_rowid = 'id');
CREATE VIRTUAL TABLE bare USING fts5 (body, content = '');
CREATE VIRTUAL TABLE bare_but_deleted USING fts5 (body, content = '', contentless_delete = 1);
CREATE VIRTUAL TABLE \"of four\" USING fts4 (title, body);
CREATE VIRTUAL TABLE of_three USING fts3 (body);
CREATE VIRTUAL TABLE places USING rtree (id, min_x, max_x, min_y, max_y, +name);
CREATE VIRTUAL TABLE words USING fts5vocab (own, row);
CREATE TRIGGER docs_in AFTER INSERT ON docs BEGIN INSERT INTO outside (rowid, title, body) VALUES (NEW.id, NEW.title, NEW.body); END;
CREATE TRIGGER docs_out AFTER DELETE ON docs BEGIN
    INSERT INTO outside (outside, rowid, title, body) VALUES ('delete', OLD.id, OLD.title, OLD.body); END;
CREATE TRIGGER docs_up AFTER UPDATE ON docs BEGIN
    INSERT INTO outside (outside, rowid, title, body) VALUES ('delete', OLD.id, OLD.title, OLD.body);
    INSERT INTO outside (rowid, title, body) VALUES (NEW.id, NEW.title, NEW.body); END;
WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 300)
    INSERT INTO docs SELECT i, 'title ' || (i % 7), 'meeting ' || i || ' at noon in room ' || (i % 13) FROM n;
INSERT INTO own SELECT title, body FROM docs;
INSERT INTO bare (rowid, body) SELECT id, body FROM docs;
INSERT INTO bare_but_deleted (rowid, body) SELECT id, body FROM docs;
INSERT INTO \"of four\" SELECT title, body FROM docs;
INSERT INTO of_three SELECT body FROM docs;
INSERT INTO places SELECT id, id, id + 2, -id, 3 - id, title FROM docs;
";

/// What a server does between two cycles, one after the other.
const WRITES: [&str; 13] = [
    "INSERT INTO docs (title, body) VALUES ('lunch', 'pasta at one'); INSERT INTO own VALUES ('lunch', 'pasta at one')",
    "UPDATE docs SET body = 'cancelled ' || id WHERE id % 5 = 0; UPDATE own SET title = 'moved' WHERE rowid % 5 = 0",
    "DELETE FROM docs WHERE id < 20; DELETE FROM own WHERE rowid < 20; DELETE FROM \"of four\" WHERE docid < 20; DELETE FROM of_three WHERE docid = 7",
    "DELETE FROM places WHERE id BETWEEN 10 AND 200; UPDATE places SET max_x = max_x + 100 WHERE id > 250; INSERT INTO places VALUES (7000, 1, 2, 3, 4, 'far')",
    "INSERT INTO bare (bare, rowid, body) SELECT 'delete', 21, 'meeting 21 at noon in room 8'; DELETE FROM bare_but_deleted WHERE rowid = 30",
    "INSERT INTO own (own) VALUES ('optimize'); INSERT INTO \"of four\" (\"of four\") VALUES ('optimize')",
    "INSERT INTO outside (outside) VALUES ('rebuild'); INSERT INTO own (own, rank) VALUES ('pgsz', 100)",
    "INSERT INTO bare (bare) VALUES ('delete-all'); INSERT INTO bare (rowid, body) VALUES (1, 'all new')",
    "BEGIN; REPLACE INTO own (rowid, title, body) VALUES (40, 'forty', 'noon'); DELETE FROM docs WHERE id = 40; COMMIT",
    "INSERT INTO own (own, rank) VALUES ('secure-delete', 1); DELETE FROM own WHERE rowid IN (41, 42)",
    "ALTER TABLE own RENAME TO own_for_a_moment; ALTER TABLE own_for_a_moment RENAME TO own",
    "ALTER TABLE own RENAME TO renamed; ALTER TABLE places RENAME TO spots",
    "DROP TABLE \"of four\"; CREATE VIRTUAL TABLE \"of four\" USING fts4 (title, tokenize = unicode61); DROP TABLE of_three; VACUUM",
];

fn verify(pair: &Pair) -> PairOutcome {
    let cancel = CancellationToken::new();
    let work = Work {
        generation: Generation(1),
        verify: true,
        cancel: &cancel,
        progress: &|_| {},
        now: Timestamp::now(),
    };
    pair.pair.synchronize(&work).unwrap()
}

/// What searches find in every virtual table there is, and what the modules think of their own tables.
fn searches(path: &Path) -> Vec<String> {
    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path().join("copy.sqlite");
    Connection::open(path).unwrap().execute("VACUUM INTO ?1", [copy.to_str()]).unwrap();
    let copy = Connection::open(copy).unwrap();
    let mut found = Vec::new();
    for table in ["own", "renamed", "outside", "bare", "bare_but_deleted", "\"of four\"", "of_three"] {
        let name = table.trim_matches('"');
        if !copy.table_exists(None::<&str>, name).unwrap() {
            continue;
        }
        for word in ["noon", "cancelled", "meet*", "moved OR lunch", "21"] {
            let sql = format!("SELECT '{name} {word}', rowid FROM {table} WHERE {table} MATCH '{word}'");
            found.extend(rows(&copy, &sql));
        }
        if name != "bare" && name != "bare_but_deleted" && name != "of_three" {
            let check = format!("INSERT INTO {table} ({table}) VALUES ('integrity-check')");
            copy.execute_batch(&check).unwrap_or_else(|error| panic!("{name}: {error}"));
        }
    }
    for places in ["places", "spots"] {
        if copy.table_exists(None::<&str>, places).unwrap() {
            found.extend(rows(&copy, &format!("SELECT * FROM {places} WHERE min_x > 30 AND max_y < 0")));
            assert_eq!(rows(&copy, &format!("SELECT rtreecheck('{places}')")), ["'ok'"]);
        }
    }
    assert_eq!(rows(&copy, "PRAGMA integrity_check"), ["'ok'"]);
    found
}

#[track_caller]
fn assert_found_alike(pair: &Pair) {
    assert_eq!(schema(&pair.source()), schema(&pair.standby()));
    assert_eq!(dump(&pair.source()), dump(&pair.standby()));
    let found = searches(&pair.source());
    assert!(found.len() > 50);
    assert_eq!(found, searches(&pair.standby()));
}

fn triggers_on_shadow_tables(connection: &Connection) -> Vec<String> {
    rows(
        connection,
        "SELECT name FROM sqlite_schema WHERE type = 'trigger'
         AND tbl_name IN (SELECT name FROM pragma_table_list WHERE type IN ('shadow', 'virtual'))",
    )
}

#[test]
fn every_write_to_a_virtual_table_arrives_with_the_next_cycle() {
    for mode in ["DELETE", "WAL"] {
        let pair = Pair::new(&format!("PRAGMA journal_mode = {mode}; {TABLES}"));
        pair.synchronize_and_compare();
        assert_found_alike(&pair);
        for write in WRITES {
            pair.server.execute_batch(write).unwrap_or_else(|error| panic!("{write}: {error}"));
            let outcome = pair.synchronize_and_compare();
            assert!(outcome.quarantined.is_empty() && outcome.warnings.is_empty(), "{outcome:?}");
            assert_found_alike(&pair);
        }
        for database in [&pair.server, &Connection::open(pair.standby()).unwrap()] {
            assert_eq!(triggers_on_shadow_tables(database), Vec::<String>::new());
        }
    }
}

#[test]
fn a_copy_row_by_row_takes_virtual_tables_along() {
    let ballast = "CREATE TABLE ballast (id INTEGER PRIMARY KEY, bytes);
        WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 4000)
            INSERT INTO ballast SELECT i, zeroblob(4000) FROM n;";
    let pair = Pair::new(&format!("{ballast}{TABLES}"));
    let by_rows = AtomicBool::new(false);
    let outcome = watched(&pair, 1, |progress, _| match progress.activity {
        "Copying pages" => {
            pair.server.execute_batch("UPDATE docs SET body = 'moved' WHERE id = 1").unwrap();
        }
        "Copying tables" => by_rows.store(true, Ordering::Relaxed),
        _ => {}
    })
    .unwrap();
    assert!(outcome.quarantined.is_empty() && by_rows.into_inner(), "{outcome:?}");
    assert_found_alike(&pair);
    for write in &WRITES[..4] {
        pair.server.execute_batch(write).unwrap();
        pair.synchronize_and_compare();
        assert_found_alike(&pair);
    }
}

#[test]
fn nothing_is_written_to_either_side_where_nobody_wrote() {
    for mode in ["DELETE", "WAL"] {
        let pair = Pair::new(&format!("PRAGMA journal_mode = {mode}; {TABLES}"));
        pair.synchronize_and_compare();
        let times =
            || [pair.source(), pair.standby()].map(|path| path.metadata().unwrap().modified().unwrap());
        let before = times();
        for _ in 0..2 {
            let outcome = pair.synchronize().unwrap();
            assert!(outcome.moved.is_nothing() && outcome.details.is_empty(), "{outcome:?}");
        }
        assert_eq!(times(), before);
        assert_eq!(pair.pair.observe(&CancellationToken::new()).unwrap().pending, 0);
        pair.server.execute_batch("INSERT INTO own VALUES ('one', 'more')").unwrap();
        assert_eq!(pair.pair.observe(&CancellationToken::new()).unwrap().pending, 1);
    }
}

/// The last of a write-ahead log's readers puts the log into the database, which then looks otherwise though nobody wrote.
#[test]
fn a_log_that_was_checkpointed_costs_one_look_and_no_write_at_the_source() {
    let mut pair = Pair::new(&format!("PRAGMA journal_mode = WAL; {TABLES}"));
    pair.synchronize_and_compare();
    pair.with_server_stopped(|_| {});
    let barriers = |pair: &Pair| rows(&pair.server, "SELECT count(*), max(id) FROM csb_barrier");
    let before = barriers(&pair);
    pair.with_server_stopped(|_| {});
    for _ in 0..3 {
        assert!(pair.synchronize().unwrap().moved.is_nothing());
    }
    assert_eq!(barriers(&pair), before);
    assert_eq!(pair.pair.observe(&CancellationToken::new()).unwrap().pending, 0);
}

#[test]
fn a_shadow_table_that_somebody_else_changed_at_the_standby_is_found_and_repaired() {
    let pair = Pair::new(TABLES);
    pair.synchronize_and_compare();
    Connection::open(pair.standby())
        .unwrap()
        .execute_batch(
            "UPDATE own_content SET c1 = 'forged' WHERE id = 3; DELETE FROM places_node WHERE nodeno = 2",
        )
        .unwrap();
    let outcome = pair.synchronize_and_compare();
    let found = outcome.verification.unwrap();
    let names: Vec<_> = found.differing.iter().map(|place| (place.name.as_str(), place.items)).collect();
    assert_eq!(names, [("own", 1), ("places", 1)]);
    assert_eq!(found.repaired_items, 2);
    assert_found_alike(&pair);
    pair.server.execute_batch(WRITES[1]).unwrap();
    let outcome = verify(&pair);
    assert_eq!(outcome.verification.unwrap().differing_items, 0, "what is new is not wrong");
    assert_found_alike(&pair);
}

/// On a rollback journal nothing can be held in sight: the tables are one state of the source, or what they were, and named.
#[test]
fn beside_a_server_that_never_rests_virtual_tables_are_whole_or_named() {
    let pair = Pair::new(TABLES);
    pair.synchronize_and_compare();
    let (stop, source) = (AtomicBool::new(false), pair.source());
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let server = Connection::open(&source).unwrap();
            server.busy_timeout(Duration::from_secs(10)).unwrap();
            server.pragma_update(None, "synchronous", "OFF").unwrap();
            let mut number = 0;
            while !stop.load(Ordering::Relaxed) {
                number += 1;
                let body = format!("BEGIN; UPDATE docs SET body = 'noon {number}' WHERE id = 50 + {number} % 50;
                     INSERT INTO own VALUES ('lunch', 'noon {number}'); DELETE FROM places WHERE id = {number}; COMMIT");
                server.execute_batch(&body).unwrap();
                std::thread::sleep(Duration::from_millis(2));
            }
        });
        let _stop_at_end = StopOnDrop(&stop);
        for _ in 0..12 {
            let outcome = pair.synchronize();
            searches(&pair.standby());
            match outcome {
                Ok(outcome) if outcome.quarantined.is_empty() => {
                    let count = |sql| rows(&Connection::open(pair.standby()).unwrap(), sql);
                    // Both are written in one transaction.
                    let last = "SELECT max(CAST(substr(body, 6) AS INTEGER)) FROM ? WHERE body LIKE 'noon %'";
                    assert_eq!(
                        count(&last.replace('?', "docs")),
                        count(&last.replace('?', "own_content").replace("body", "c1"))
                    );
                }
                Ok(outcome) => {
                    let named: Vec<&str> =
                        outcome.quarantined.iter().map(|quarantined| quarantined.item.as_str()).collect();
                    assert!(named.contains(&"virtual table own"), "{outcome:?}");
                    assert!(!named.contains(&"virtual table words"), "it holds nothing: {outcome:?}");
                }
                Err(error) => assert_eq!(error.kind, ErrorKind::SourceTooBusy),
            }
        }
    });
    let outcome = pair.synchronize_and_compare();
    assert!(outcome.quarantined.is_empty(), "{outcome:?}");
    assert_found_alike(&pair);
}

#[test]
fn a_large_index_is_read_only_where_its_structure_says_that_it_changed() {
    let pair = Pair::new(
        "CREATE TABLE docs (id INTEGER PRIMARY KEY, body); CREATE VIRTUAL TABLE found USING fts5 (body);
         CREATE VIRTUAL TABLE older USING fts4 (body);
         WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 3000)
             INSERT INTO docs SELECT i, hex(randomblob(1000)) || ' word' || i FROM n;
         INSERT INTO found SELECT body FROM docs; INSERT INTO older SELECT body FROM docs;",
    );
    pair.synchronize_and_compare();
    for write in [
        "UPDATE found SET body = 'changed' WHERE rowid = 1500; UPDATE older SET body = 'changed' WHERE docid = 1500",
        "DELETE FROM found WHERE rowid = 3; DELETE FROM older WHERE docid = 3",
        "INSERT INTO found (found) VALUES ('rebuild'); INSERT INTO older (older) VALUES ('rebuild')",
        "INSERT INTO found (found, rank) VALUES ('automerge', 8); INSERT INTO older (older) VALUES ('merge=10,2')",
        "UPDATE docs SET body = 'only here' WHERE id = 1",
    ] {
        pair.server.execute_batch(write).unwrap();
        pair.synchronize_and_compare();
    }
    let outcome = pair.synchronize_and_compare();
    assert!(outcome.moved.is_nothing(), "{outcome:?}");
    // What a server does not do, a verification finds nevertheless.
    pair.server.execute_batch("UPDATE found_content SET c0 = 'behind its back' WHERE id = 9").unwrap();
    verify(&pair);
    assert_eq!(dump(&pair.source()), dump(&pair.standby()));
}

/// The server's SQLite may have modules and tokenizers that ours lacks.
#[test]
fn a_virtual_table_whose_module_is_missing_here_travels_with_its_tables() {
    let pair = Pair::new(
        "CREATE TABLE plain (id INTEGER PRIMARY KEY); CREATE TABLE odd_words (id INTEGER PRIMARY KEY, word); CREATE TABLE odd_state (k PRIMARY KEY, v);
         CREATE TABLE odd_one_out_of_it (id INTEGER PRIMARY KEY); INSERT INTO odd_words VALUES (1, 'a'), (2, 'b'); INSERT INTO odd_state VALUES ('n', 2);
         CREATE VIRTUAL TABLE spoken USING fts5 (body); INSERT INTO spoken VALUES ('hello there');
         PRAGMA writable_schema = ON;
         INSERT INTO sqlite_schema VALUES ('table', 'odd', 'odd', 0, 'CREATE VIRTUAL TABLE odd USING nobodys_module (word)');
         UPDATE sqlite_schema SET sql = 'CREATE VIRTUAL TABLE spoken USING fts5 (body, tokenize = nobodys)' WHERE name = 'spoken';
         PRAGMA writable_schema = RESET;",
    );
    let outcome = pair.synchronize_and_compare();
    assert!(outcome.quarantined.is_empty(), "{outcome:?}");
    for write in [
        "INSERT INTO odd_words VALUES (3, 'c'); UPDATE odd_state SET v = 3; INSERT INTO odd_one_out_of_it VALUES (1)",
        "DELETE FROM odd_words WHERE id = 1; UPDATE spoken_content SET c0 = 'x'",
        "CREATE TABLE odd_more (x); INSERT INTO odd_more VALUES (1), (1), (NULL)",
        "DELETE FROM odd_more WHERE x IS NULL; UPDATE odd_more SET x = 2 WHERE rowid = 1; DROP TABLE plain",
    ] {
        pair.server.execute_batch(write).unwrap();
        pair.synchronize_and_compare();
    }
    let tables = rows(
        &pair.server,
        "SELECT DISTINCT tbl_name FROM sqlite_schema WHERE type = 'trigger' AND tbl_name NOT LIKE 'csb%'",
    );
    assert_eq!(tables, ["'odd_one_out_of_it'"]);
}

#[test]
fn an_excluded_virtual_table_travels_empty_and_works() {
    let pair = Pair::configured(TABLES, |config| {
        config.exclude = ["own", "of*", "places"].map(str::to_owned).to_vec();
    });
    pair.synchronize().unwrap();
    let standby = Connection::open(pair.standby()).unwrap();
    for (table, query) in [
        ("own", "SELECT count(*) FROM own"),
        ("of four", "SELECT count(*) FROM \"of four\" WHERE \"of four\" MATCH 'noon'"),
        ("places", "SELECT count(*) FROM places WHERE min_x > 0"),
    ] {
        assert_eq!(rows(&standby, query), ["0"], "{table}");
    }
    assert_eq!(rows(&standby, "SELECT count(*) FROM outside WHERE outside MATCH 'noon'"), ["300"]);
    pair.server.execute_batch("INSERT INTO own VALUES ('one', 'more')").unwrap();
    assert!(pair.synchronize().unwrap().moved.is_nothing());
}

#[test]
fn a_lost_store_comes_back_with_its_virtual_tables() {
    let mut pair = Pair::new(TABLES);
    pair.synchronize_and_compare();
    let (before, found) = (dump(&pair.source()), searches(&pair.source()));
    pair.server = Connection::open_in_memory().unwrap();
    std::fs::remove_file(pair.source()).unwrap();
    let cancel = CancellationToken::new();
    pair.pair.restore(&super::work(&cancel, 2)).unwrap();
    assert_eq!(dump(&pair.source()), before);
    assert_eq!(searches(&pair.source()), found);
    pair.server = Connection::open(pair.source()).unwrap();
    assert_eq!(triggers_on_shadow_tables(&pair.server), Vec::<String>::new());
    pair.server.execute_batch(WRITES[1]).unwrap();
    pair.synchronize_as(3).unwrap();
    assert_found_alike(&pair);
    pair.pair.remove_traces(false).unwrap();
    for path in [pair.source(), pair.standby()] {
        let ours = "SELECT name FROM sqlite_schema WHERE name LIKE 'csb%' AND name <> 'csb_former'";
        assert_eq!(rows(&Connection::open(path).unwrap(), ours), Vec::<String>::new());
    }
}

#[test]
fn a_damaged_shadow_table_is_named_and_the_standby_keeps_what_it_had_of_it() {
    for write in ["UPDATE own SET title = 'new' WHERE rowid = 1", "SELECT 'nothing of it was written'"] {
        let mut pair = Pair::new(TABLES);
        pair.synchronize_and_compare();
        let before = dump(&pair.standby());
        let page = "SELECT max(pageno) FROM dbstat WHERE name = 'own_content' AND pagetype = 'leaf'";
        let page: u32 = pair.server.query_row(page, [], |row| row.get(0)).unwrap();
        let size: u32 = pair.server.pragma_query_value(None, "page_size", |row| row.get(0)).unwrap();
        pair.server.execute_batch(&format!("{write}; UPDATE docs SET title = 'new' WHERE id = 1")).unwrap();
        pair.with_server_stopped(|source| {
            use std::os::unix::fs::FileExt;
            let file = std::fs::File::options().write(true).open(source).unwrap();
            file.write_at(&vec![0xff; size as usize], u64::from(page - 1) * u64::from(size)).unwrap();
        });
        let outcome = pair.synchronize().unwrap();
        assert_eq!(outcome.quarantined.len(), 1, "{outcome:?}");
        assert_eq!(outcome.quarantined[0].item, "virtual table own");
        let of_own =
            |rows: Vec<String>| rows.into_iter().filter(|row| row.starts_with("own_")).collect::<Vec<_>>();
        assert_eq!(of_own(dump(&pair.standby())), of_own(before));
        assert!(dump(&pair.standby()).iter().any(|row| row.starts_with("docs: 1, 'new'")));
        assert_eq!(pair.synchronize().unwrap().quarantined.len(), 1);
    }
}

/// Rows of plain tables that are written after the log was read belong to the state of the virtual tables nevertheless.
#[test]
fn what_is_written_while_the_log_is_replayed_arrives_with_the_virtual_tables_of_its_moment() {
    let few =
        "BEGIN; INSERT INTO users VALUES (3, 'late'), (4, 'later'); INSERT INTO own VALUES ('late'); COMMIT";
    let many = "BEGIN; WITH RECURSIVE n (i) AS (SELECT 3 UNION ALL SELECT i + 1 FROM n WHERE i < 15000)
            INSERT INTO users SELECT i, 'late' FROM n; INSERT INTO own VALUES ('late'); COMMIT";
    for (mode, write, is_cut) in [
        ("DELETE", few, false),
        ("WAL", few, false),
        ("DELETE", many, false),
        ("WAL", many, false),
        ("DELETE", few, true),
    ] {
        let pair = Pair::new(&format!(
            "PRAGMA journal_mode = {mode}; CREATE TABLE users (id INTEGER PRIMARY KEY, name);
             CREATE VIRTUAL TABLE own USING fts5 (body); INSERT INTO own VALUES ('early')"
        ));
        pair.synchronize_and_compare();
        pair.server.execute_batch("INSERT INTO users VALUES (1, 'early')").unwrap();
        let is_written = AtomicBool::new(false);
        watched(&pair, 1, |progress, _| {
            if progress.activity != "Replaying changes" || is_written.swap(true, Ordering::Relaxed) {
                return;
            }
            pair.server.execute_batch(write).unwrap();
            if is_cut {
                let trigger = DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER;
                pair.server.set_db_config(trigger, false).unwrap();
                let last_but_one =
                    "DELETE FROM csb_change WHERE position = (SELECT max(position) - 1 FROM csb_change)";
                assert_eq!(pair.server.execute(last_but_one, []).unwrap(), 1);
                pair.server.set_db_config(trigger, true).unwrap();
            }
        })
        .unwrap();
        assert!(is_written.into_inner());
        assert_eq!(dump(&pair.source()), dump(&pair.standby()), "{mode} {is_cut}");
    }
}
