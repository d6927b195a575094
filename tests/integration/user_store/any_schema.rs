//! Random schemas, random rows, random writes: whatever a server does, the standby is the same after a cycle.

mod choices;
mod server;
mod tables;

use std::collections::BTreeSet;
use std::path::Path;

use crate::support::database_url;
use cs_backup::store::Generation;
use cs_backup::store::user::pages::PagePair;
use cs_backup::store::user::{PairOutcome, UserStorePair, Work};
use cs_backup::topology::UserStoreConfig;
use jiff::Timestamp;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use rusqlite::Connection;
use rusqlite::types::ValueRef;
use tokio_util::sync::CancellationToken;

use super::{PATIENCE, pages_of_source, pages_of_standby, schema};
use choices::Choices;
use server::Server;

/// How many schemas the test command tries; `CSB_SCHEMA_CASES` for more.
const CASES: u32 = 40;

/// How many cycles one schema lives through.
const CYCLES: u32 = 4;

#[test]
fn any_schema_arrives_whatever_its_server_writes() {
    let cases = std::env::var("CSB_SCHEMA_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(CASES);
    let config = Config { cases, max_shrink_iters: 300, failure_persistence: None, ..Config::default() };
    let choices = prop::collection::vec(any::<u16>(), 0..1500);
    TestRunner::new(config)
        .run(&choices, |choices| {
            live(Choices::new(choices));
            Ok(())
        })
        .unwrap_or_else(|failure| panic!("{failure}"));
}

/// One server's life, from its schema on.
fn live(choices: Choices) {
    let folder = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
    let (source, standby) = (folder.path().join("users.sqlite"), folder.path().join("standby.sqlite"));
    let mut server = Server::start(&source, choices);
    let pair = crate::support::page_pair(&UserStoreConfig::new(database_url(&source)), &standby, PATIENCE);
    for cycle in 0..CYCLES {
        server.write();
        let verify = cycle + 1 == CYCLES && server.choices.one_in(3);
        let outcome = synchronize(&pair, verify)
            .unwrap_or_else(|error| panic!("{error} {:#?}\n{}", error.causes, server.log()));
        assert!(outcome.quarantined.is_empty(), "{outcome:#?}\n{}", server.log());
        let wrong = outcome.verification.map_or(0, |found| found.differing_items);
        assert_eq!(wrong, 0, "{}", server.log());
        let is_same = pages_of_source(&source) == pages_of_standby(&standby);
        assert!(is_same, "pages differ: {}", server.log());
        assert_eq!(schema(&source), schema(&standby), "{}", server.log());
        let (theirs, ours) = (contents(&source), contents(&standby));
        let only = |one: &[String], other: &[String]| {
            one.iter().filter(|row| !other.contains(row)).cloned().collect::<Vec<_>>()
        };
        let differing = (only(&theirs, &ours), only(&ours, &theirs));
        assert!(theirs == ours, "only at the source, only at the standby: {differing:#?}\n{}", server.log());
    }
    let only_here = &complaints(&standby) - &complaints(&source);
    assert!(only_here.iter().all(|complaint| complaint == "ok"), "{only_here:?}\n{}", server.log());
}

/// What SQLite finds wrong: rows that were written without their constraints, and indexes that lack a row, are so on both sides.
fn complaints(path: &Path) -> BTreeSet<String> {
    let connection = Connection::open(path).unwrap();
    let mut check = connection.prepare("PRAGMA integrity_check").unwrap();
    check.query_map([], |row| row.get(0)).unwrap().collect::<rusqlite::Result<_>>().unwrap()
}

fn synchronize(pair: &PagePair, verify: bool) -> cs_backup::error::Result<PairOutcome> {
    let cancel = CancellationToken::new();
    pair.synchronize(&Work {
        generation: Generation(1),
        verify,
        accept_deletions: false,
        cancel: &cancel,
        progress: &|_| {},
        now: Timestamp::now(),
        job: None,
    })
}

/// Every row of every table that is not ours, with storage classes and the bytes of text as they are stored.
fn contents(path: &Path) -> Vec<String> {
    let connection = Connection::open(path).unwrap();
    let names = "SELECT name FROM sqlite_schema WHERE type = 'table' AND rootpage > 0
        AND name NOT LIKE 'csb\\_%' ESCAPE '\\' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\'";
    let names = connection
        .prepare(names)
        .unwrap()
        .query_map([], |row| row.get::<_, String>(0))
        .unwrap()
        .collect::<rusqlite::Result<Vec<_>>>()
        .unwrap();
    let quote = |name: &str| format!("\"{}\"", name.replace('"', "\"\""));
    let mut found = Vec::new();
    for name in names {
        let columns = connection
            .prepare("SELECT name FROM pragma_table_xinfo(?1)")
            .unwrap()
            .query_map([&name], |row| row.get::<_, String>(0))
            .unwrap()
            .map(|column| {
                let column = quote(&column.unwrap());
                format!("typeof({column}), CASE typeof({column}) WHEN 'text' THEN hex(CAST({column} AS BLOB)) ELSE {column} END")
            })
            .collect::<Vec<_>>();
        let mut statement =
            connection.prepare(&format!("SELECT {} FROM {}", columns.join(", "), quote(&name))).unwrap();
        let mut rows = statement.query([]).unwrap();
        while let Some(row) = rows.next().unwrap() {
            let values = (0..columns.len() * 2).map(|at| match row.get_ref(at).unwrap() {
                ValueRef::Real(value) => format!("{value:?} {:x}", value.to_bits()),
                value => format!("{value:?}"),
            });
            found.push(format!("{name}: {}", values.collect::<Vec<_>>().join(" ")));
        }
    }
    found.sort();
    found
}
