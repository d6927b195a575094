//! A first copy that was interrupted goes on where it stood, unless what it holds fits the source no more.

use std::cell::Cell;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use cs_backup::error::{ErrorKind, Result};
use cs_backup::store::Progress;
use cs_backup::store::user::{PairOutcome, UserStorePair};
use rusqlite::Connection;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::Pair;
use super::first_copy::{ACCOUNTS, TRANSFER, assert_consistent, watched};
use crate::support::{Child, Deployment, assert_rows_equal};

const ROWS: u64 = 12_000;

/// A run that copies row by row, because the server writes between any two steps of a copy page by page.
fn by_rows(
    pair: &Pair,
    generation: i64,
    watch: impl Fn(&Progress, &CancellationToken),
) -> Result<PairOutcome> {
    watched(pair, generation, |progress, cancel| match progress.activity {
        "Copying pages" => pair.server.execute_batch(TRANSFER).unwrap(),
        "Copying tables" => watch(progress, cancel),
        _ => {}
    })
}

fn fresh(pair: &Pair, generation: i64) -> PathBuf {
    pair.folder.path().join(format!("standby.sqlite.csb-new-{generation}"))
}

/// A pair whose first copy was cancelled when that many rows were copied; how many they were in the end.
fn interrupted() -> (Pair, u64) {
    let pair = Pair::new(ACCOUNTS);
    let copied = Cell::new(0);
    let error = by_rows(&pair, 1, |progress, cancel| {
        copied.set(progress.items_done);
        if progress.items_done >= 5_000 {
            cancel.cancel();
        }
    })
    .unwrap_err();
    assert_eq!(error.kind, ErrorKind::Cancelled);
    assert!(!pair.standby().exists() && fresh(&pair, 1).exists());
    assert!((5_000..ROWS).contains(&copied.get()));
    (pair, copied.get())
}

fn goes_on(outcome: &PairOutcome) -> bool {
    outcome.details.iter().any(|line| line.starts_with("Went on with an interrupted copy"))
}

#[test]
fn a_cancelled_copy_goes_on_and_copies_no_row_again() {
    let (pair, copied) = interrupted();
    pair.server
        .execute_batch(
            "UPDATE accounts SET note = 'changed after it was copied' WHERE id = 1; DELETE FROM ballast WHERE id = 2;
             INSERT INTO ballast VALUES (20000, x'00'); UPDATE ballast SET bytes = NULL WHERE id = 9999;",
        )
        .unwrap();
    let first = Cell::new(None);
    let outcome = by_rows(&pair, 2, |progress, _| {
        first.set(first.get().or(Some((progress.items_done, progress.items_total))));
    })
    .unwrap();
    assert!(goes_on(&outcome), "{outcome:?}");
    let (done, total) = first.get().unwrap();
    assert!(done > copied && total >= Some(ROWS), "{done} of {total:?}");
    // What was changed meanwhile travels again, with the accounts that the server moved money between.
    assert!(outcome.moved.items_written < ROWS - copied + 100, "{copied} rows, then {outcome:?}");
    assert!(!fresh(&pair, 1).exists() && !fresh(&pair, 2).exists());
    assert_consistent(&pair);
}

#[test]
fn a_copy_is_interrupted_as_often_as_need_be() {
    let (pair, mut copied) = interrupted();
    for generation in 2..5 {
        let before = copied;
        let at = Cell::new(0);
        let result = by_rows(&pair, generation, |progress, cancel| {
            at.set(progress.items_done);
            cancel.cancel();
        });
        copied = at.get();
        assert!(copied > before, "it does not get on: {before}, {copied}");
        if result.is_ok() {
            break;
        }
    }
    assert!(goes_on(&by_rows(&pair, 9, |_, _| {}).unwrap()));
    assert_consistent(&pair);
}

#[test]
fn removing_traces_takes_a_half_made_copy_away() {
    let (pair, _) = interrupted();
    let traces = pair.pair.remove_traces(true).unwrap();
    let file: Vec<_> = traces.iter().filter(|trace| trace.kind == "temporaryFile").collect();
    assert!(matches!(file[..], [file] if file.name == "standby.sqlite.csb-new-1"), "{traces:?}");
    assert!(fresh(&pair, 1).exists());
    assert_eq!(pair.pair.remove_traces(false).unwrap(), traces);
    assert!(!fresh(&pair, 1).exists());
}

/// What happens to a pair between two copies.
type Happening<'a> = &'a dyn Fn(&Pair);

#[test]
fn a_copy_begins_again_where_it_fits_the_source_no_more() {
    let edit = |pair: &Pair, sql: &str| Connection::open(fresh(pair, 1)).unwrap().execute_batch(sql).unwrap();
    let reasons: [(&str, Happening<'_>); 6] = [
        ("the schema changed", &|pair| {
            pair.server.execute_batch("ALTER TABLE accounts ADD COLUMN bank TEXT DEFAULT 'ours'").unwrap();
        }),
        ("rows were renumbered", &|pair| pair.server.execute_batch("VACUUM").unwrap()),
        ("the log was truncated", &|pair| {
            pair.server
                .execute_batch(&format!("{TRANSFER} DROP TRIGGER csb_t_last; DELETE FROM csb_change"))
                .unwrap();
        }),
        ("the source was restored to an earlier state", &|pair| {
            pair.server.execute_batch("DELETE FROM csb_barrier").unwrap();
        }),
        ("the machine was started again", &|pair| edit(pair, "UPDATE csb_copy SET boot = 'another'")),
        ("it is of another store", &|pair| edit(pair, "UPDATE csb_copy SET source_id = 'another'")),
    ];
    for (reason, happens) in reasons {
        let (pair, _) = interrupted();
        happens(&pair);
        let outcome = by_rows(&pair, 2, |_, _| {}).unwrap();
        assert!(!goes_on(&outcome), "although {reason}: {outcome:?}");
        assert_consistent(&pair);
    }
}

#[test]
fn an_owner_that_sleeps_while_a_newer_one_copies_does_not_publish() {
    let pair = Pair::new(ACCOUNTS);
    let newer_is_done = Cell::new(false);
    let error = by_rows(&pair, 1, |progress, _| {
        if progress.items_done >= 5_000 && !newer_is_done.replace(true) {
            pair.synchronize_as(2).unwrap();
        }
    })
    .unwrap_err();
    assert_eq!(error.kind, ErrorKind::Fenced, "{error:?}");
    assert!(!fresh(&pair, 1).exists());
    pair.synchronize_as(2).unwrap();
    assert_rows_equal(&pair.source(), &pair.standby());
}

/// Values of a megabyte: the first piece is full long before the last row is copied.
const BIG: &str = "PRAGMA journal_mode = DELETE;
CREATE TABLE big (id INTEGER PRIMARY KEY, bytes BLOB);
CREATE TABLE clicks (id INTEGER PRIMARY KEY, n INTEGER);
INSERT INTO clicks VALUES (1, 0);
WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 160)
    INSERT INTO big SELECT i, zeroblob(1 << 20) FROM n;";

#[test]
fn a_killed_copy_goes_on_after_its_last_piece() {
    let deployment = Deployment::new();
    let server = deployment.server("atl");
    server.execute_batch(BIG).unwrap();
    let standby = deployment.path("chi/standby");
    let child = Child::backup(&deployment, "atl-cs-001.litwareinc.com");
    let deadline = Instant::now() + Duration::from_secs(120);
    // A piece is committed after the source wrote a token down for it: one at the beginning, one for each piece.
    let mut tokens = 0;
    while tokens < 3 {
        // The server writes all the time, so that rows are copied and not pages.
        server.execute_batch("UPDATE clicks SET n = n + 1").unwrap();
        tokens = server.query_row("SELECT count(*) FROM csb_barrier", [], |row| row.get(0)).unwrap_or(0);
        assert!(Instant::now() < deadline, "no piece was committed");
        std::thread::sleep(Duration::from_millis(2));
    }
    assert!(child.kill(), "it had ended");
    let rows = copied_rows(&half_made(&standby));
    assert!(rows > 0);
    server.execute_batch("UPDATE big SET bytes = NULL WHERE id = 1; DELETE FROM big WHERE id = 160").unwrap();
    drop(server);
    let ended = deployment.backup(json!({}));
    let row = ended.module("UserServices.PresenceFocus");
    let told = serde_json::to_string(&ended.report).unwrap();
    assert!(told.contains(&format!("Went on with an interrupted copy after {rows} rows")), "{row:#?}");
    let copy = deployment.path("chi/standby/atl.sqlite");
    assert_rows_equal(&deployment.path("atl/users.sqlite"), &copy);
}

fn half_made(folder: &Path) -> PathBuf {
    let is_half_made = |path: &PathBuf| {
        let name = path.file_name().unwrap().to_str().unwrap();
        name.contains(".csb-new-") && !name.ends_with("-journal")
    };
    std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).find(is_half_made).unwrap()
}

/// How many rows are in committed pieces.
fn copied_rows(file: &Path) -> i64 {
    Connection::open(file).unwrap().query_row("SELECT rows FROM csb_copy", [], |row| row.get(0)).unwrap()
}
