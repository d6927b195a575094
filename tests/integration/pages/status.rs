//! What a status asks of the system: nothing that grows with the store, and nothing is opened that needs not be.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use super::*;
use crate::injection::{Call, Fault, is_possible, logged};

/// Set in the process that only looks: the folder of both stores.
const LOOK: &str = "CSB_TEST_STATUS";

/// The calls by which a look of a process of its own opens or reads something in the folders of both stores.
fn calls(stores: &Stores, test: &str) -> Vec<Call> {
    let log = tempfile::NamedTempFile::new().unwrap();
    let files = format!("{0}/atl/*|{0}/chi/*", stores.root().display());
    let mut command: Command =
        Fault::none("open,read,list,write,sync,rename,unlink,truncate,mkdir,link,attributes", &files)
            .command(log.path(), None);
    command.arg(std::env::current_exe().unwrap()).args(["--exact", test, "--nocapture", "--test-threads=1"]);
    let output = command.env(LOOK, stores.root()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.lines().any(|line| line == "looked"), "{output:?}");
    logged(log.path())
}

fn opened<'a>(calls: &'a [Call], stores: &Stores) -> Vec<&'a str> {
    let root = stores.root().to_owned();
    let opened = calls.iter().filter(|call| call.name.starts_with("open"));
    opened.map(|call| call.path.strip_prefix(&root).unwrap().to_str().unwrap()).collect()
}

/// The smallest of many looks.
fn fastest(stores: &Stores) -> Duration {
    let look = |_| {
        let began = Instant::now();
        stores.pair.observe(&CancellationToken::new()).unwrap();
        began.elapsed()
    };
    (0..50).map(look).min().unwrap()
}

fn users(server: &Connection, mode: &str, users: u32) {
    server
        .execute_batch(&format!(
            "PRAGMA journal_mode = {mode}; CREATE TABLE users (id INTEGER PRIMARY KEY, name TEXT);
             WITH RECURSIVE n (x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n WHERE x < {users})
             INSERT INTO users SELECT x, printf('%0300d', x) FROM n"
        ))
        .unwrap();
}

#[test]
fn a_status_costs_the_same_whatever_the_size_and_opens_no_store_that_has_not_changed() {
    let test =
        "pages::status::a_status_costs_the_same_whatever_the_size_and_opens_no_store_that_has_not_changed";
    if let Ok(folder) = std::env::var(LOOK) {
        pair_in(Path::new(&folder), |_| {}).observe(&CancellationToken::new()).unwrap();
        eprintln!("\nlooked");
        return;
    }
    let possible = is_possible();
    for (mode, expected) in [
        ("DELETE", ["chi/atl.sqlite", "chi/atl.sqlite.csb/state"].as_slice()),
        ("WAL", &["chi/atl.sqlite", "chi/atl.sqlite.csb/state", "atl/users.sqlite-shm"]),
    ] {
        let mut counted = Vec::new();
        for size in [2_000, 200_000] {
            let stores = Stores::new();
            let server = stores.server();
            users(&server, mode, size);
            // A short log, so that it is not begun anew by what is written next.
            server.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).unwrap();
            server.execute_batch("UPDATE users SET name = 'y' WHERE id = 8").unwrap();
            stores.sync().unwrap();
            // Without a log the file has to be looked at once more when its times have settled.
            std::thread::sleep(Duration::from_millis(50));
            stores.sync().unwrap();
            let took = fastest(&stores);
            assert!(took < Duration::from_millis(2), "{mode}, {size} users: {took:?}");
            if possible {
                let calls = calls(&stores, test);
                assert_eq!(opened(&calls, &stores), expected, "{mode}, {size} users");
                counted.push(calls.len());
                eprintln!("{mode}, {size} users: {took:?}, {} calls", calls.len());
            }
            server.execute_batch("UPDATE users SET name = 'x' WHERE id = 7").unwrap();
            let seen = stores.pair.observe(&CancellationToken::new()).unwrap();
            assert!(seen.pending > 0 && seen.oldest.is_some(), "{seen:?}");
            assert_eq!(seen.is_estimate, mode == "DELETE", "only a log tells how many pages");
            let took = fastest(&stores);
            assert!(took < Duration::from_millis(2), "{mode}, {size} users, changed: {took:?}");
        }
        assert!(counted.windows(2).all(|pair| pair[0] == pair[1]), "{mode}: {counted:?}");
        assert!(counted.iter().all(|calls| *calls < 20), "{mode}: {counted:?}");
    }
}
