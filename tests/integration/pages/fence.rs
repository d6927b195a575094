//! The fence around a store that servers write to, and what a copy becomes when it is promoted. The servers are processes of their own with
//! another SQLite than ours: that of Python.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use cs_backup::error::ErrorKind;
use cs_backup::store::Until;
use cs_backup::store::user::StoreState;

use super::*;

/// Adds rows as fast as it can, and says each number once it is confirmed. It ends where the database says that it may only be read.
const SERVER: &str = "
import sqlite3, sys, time
name, path = sys.argv[1:]
server = sqlite3.connect(path, timeout=0, isolation_level=None)
n = 0
while True:
    try:
        server.execute('BEGIN IMMEDIATE')
        server.execute('INSERT INTO said VALUES (?, ?, randomblob(700))', (name, n + 1))
        server.execute('COMMIT')
    except sqlite3.OperationalError as refused:
        if server.in_transaction: server.execute('ROLLBACK')
        if 'readonly' in str(refused): break
        if 'locked' not in str(refused): raise
        time.sleep(.001)
        continue
    n += 1
    print(n, flush=True)
print('refused', flush=True)
";

struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn server(path: &Path, name: &str) -> Server {
    let arguments = ["-c", SERVER, name, path.to_str().unwrap()];
    Server(Command::new("python3").args(arguments).stdout(Stdio::piped()).spawn().unwrap())
}

/// The last number that a server was told, once it was refused.
fn last_confirmed(mut server: Server) -> u32 {
    let lines: Vec<String> =
        BufReader::new(server.0.stdout.take().unwrap()).lines().map(Result::unwrap).collect();
    assert!(server.0.wait().unwrap().success());
    let [numbers @ .., end] = lines.as_slice() else { panic!("it said nothing") };
    assert_eq!(end, "refused");
    numbers.last().map_or(0, |number| number.parse().unwrap())
}

fn within(seconds: u64) -> Until {
    Until::within(Duration::from_secs(seconds))
}

fn numbers(path: &Path, name: &str) -> (u32, u32) {
    let reader = Connection::open_with_flags(path, rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
    reader.busy_timeout(Duration::from_secs(60)).unwrap();
    let sound: String = reader.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
    assert_eq!(sound, "ok");
    let sql = "SELECT coalesce(max(n), 0), count(*) FROM said WHERE who = ?1";
    reader.query_row(sql, [name], |row| Ok((row.get(0)?, row.get(1)?))).unwrap()
}

#[test]
fn a_store_is_fenced_beside_hammering_servers_and_nothing_that_was_confirmed_is_lost() {
    for mode in ["WAL", "DELETE", "TRUNCATE", "PERSIST", "MEMORY"] {
        let stores = Stores::new();
        stores
            .server()
            .execute_batch(&format!(
                "PRAGMA journal_mode = {mode}; CREATE TABLE said (who, n INTEGER, note BLOB)"
            ))
            .unwrap();
        let names = ["one", "two", "three", "four"];
        let servers = names.map(|name| server(&stores.source(), name));
        let until = std::time::Instant::now() + Duration::from_secs(20);
        // Whoever does not wait may find no moment of its own; together they write.
        let written = || names.iter().map(|name| numbers(&stores.source(), name).0).sum::<u32>();
        while written() < 200 && std::time::Instant::now() < until {
            std::thread::sleep(Duration::from_millis(20));
        }
        stores.pair.fence(true, &within(30)).unwrap();
        let at_the_fence = names.map(|name| numbers(&stores.source(), name));
        let confirmed = servers.map(last_confirmed);
        let kept = names.map(|name| numbers(&stores.source(), name));
        assert_eq!(
            kept,
            confirmed.map(|last| (last, last)),
            "{mode}: what was confirmed is there, and nothing else"
        );
        assert_eq!(kept, at_the_fence, "{mode}: somebody wrote past the fence");
        assert!(kept.iter().map(|(last, _)| last).sum::<u32>() >= 100, "{mode}: {kept:?}");
        assert_eq!(last_confirmed(server(&stores.source(), "late")), 0, "{mode}");

        // A fenced store is copied like any other, and once more fenced nothing happens.
        stores.pair.fence(true, &within(5)).unwrap();
        stores.sync().unwrap();
        assert_eq!(numbers(&stores.standby(), "one"), kept[0], "{mode}");
        stores.pair.fence(false, &within(5)).unwrap();
        let again = stores.server();
        let now: String = again.query_row("PRAGMA journal_mode", [], |row| row.get(0)).unwrap();
        assert_eq!(now == "wal", mode == "WAL");
        again.execute("INSERT INTO said VALUES ('again', 1, NULL)", []).unwrap();
        stores.sync().unwrap();
        assert_eq!(numbers(&stores.standby(), "again"), (1, 1));
    }
}

#[test]
fn a_store_in_a_transaction_that_does_not_end_cannot_be_fenced_and_is_as_it_was() {
    for mode in ["WAL", "DELETE"] {
        let stores = Stores::new();
        let server = stores.server();
        server
            .execute_batch(&format!(
                "PRAGMA journal_mode = {mode}; CREATE TABLE t (x); BEGIN IMMEDIATE; INSERT INTO t VALUES (1)"
            ))
            .unwrap();
        let error = stores.pair.fence(true, &Until::within(Duration::from_millis(200))).unwrap_err();
        assert_eq!(error.kind, ErrorKind::StoreBusy, "{mode}: {error:?}");
        server.execute_batch("COMMIT; INSERT INTO t VALUES (2)").unwrap();
    }
}

#[test]
fn a_fence_finds_what_a_server_left_behind_that_was_killed() {
    // A log that nobody has open, and a journal of a transaction that was not finished.
    for mode in ["WAL", "DELETE"] {
        let stores = Stores::new();
        let left = tempfile::tempdir().unwrap();
        let server = stores.server();
        server.execute_batch(&format!("PRAGMA journal_mode = {mode}; PRAGMA cache_size = 1")).unwrap();
        server.execute_batch(LEDGER).unwrap();
        play(&server).unwrap();
        if mode == "DELETE" {
            server
                .execute_batch("BEGIN IMMEDIATE; UPDATE account SET amount = 0, note = randomblob(300)")
                .unwrap();
        }
        for file in std::fs::read_dir(stores.root().join("atl")).unwrap() {
            let file = file.unwrap();
            if !file.file_name().to_string_lossy().ends_with("-shm") {
                std::fs::copy(file.path(), left.path().join(file.file_name())).unwrap();
            }
        }
        drop(server);
        for file in std::fs::read_dir(left.path()).unwrap() {
            let file = file.unwrap();
            std::fs::copy(file.path(), stores.root().join("atl").join(file.file_name())).unwrap();
        }
        stores.pair.fence(true, &within(5)).unwrap();
        assert_eq!(turn(&stores.source()), 1, "{mode}");
        let error = stores.server().execute("UPDATE turn SET n = 9", []).unwrap_err();
        assert!(error.to_string().contains("readonly"), "{error}");
    }
}

#[test]
fn a_promoted_copy_is_what_servers_write_to_and_its_history_stays() {
    for mode in ["WAL", "DELETE"] {
        let stores = Stores::configured(|config| config.exclude = vec!["sess*".to_owned()]);
        let server = stores.server();
        server
            .execute_batch(&format!(
                "PRAGMA journal_mode = {mode}; CREATE TABLE kept (x); CREATE TABLE session (x); INSERT INTO session VALUES (1)"
            ))
            .unwrap();
        stores.sync().unwrap();
        server.execute_batch("INSERT INTO kept VALUES (7)").unwrap();
        stores.sync().unwrap();
        let before = stores.pair.states().unwrap();
        assert_eq!(before.len(), 2);
        let newer = stores.pair.promote(Generation(0), &within(5)).unwrap_err();
        assert_eq!(newer.kind, ErrorKind::Fenced, "an owner of an older generation");
        assert_eq!(stores.pair.promote(Generation(2), &within(5)).unwrap(), ["session"]);

        let promoted = Connection::open(stores.standby()).unwrap();
        let now: String = promoted.query_row("PRAGMA journal_mode", [], |row| row.get(0)).unwrap();
        assert_eq!(now == "wal", mode == "WAL");
        let rows = |table: &str| -> i64 {
            promoted.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0)).unwrap()
        };
        assert_eq!((rows("kept"), rows("session")), (1, 0));
        for number in 8..20 {
            promoted.execute("INSERT INTO kept VALUES (?1)", [number]).unwrap();
        }
        // It is no copy any more: nothing is copied over what was written to it. What it was as a copy can be restored.
        drop(promoted);
        let revisions = |states: &[StoreState]| states.iter().map(|state| state.revision).collect::<Vec<_>>();
        let after = stores.pair.states().unwrap();
        assert_eq!(revisions(&after[1..]), revisions(&before), "{after:?}");
        let refused = stores.sync_with(|work| work.generation = Generation(3)).unwrap_err();
        assert_eq!(refused.kind, ErrorKind::ForeignContent, "{refused:?}");

        // Fenced, it can become a copy again, and still leads back. A pair that names it as the active one fences it.
        let url = StoreUrl::try_from(format!("sqlite:{}", stores.standby().display())).unwrap();
        let turned = PagePair::new(
            &UserStoreConfig::new(url),
            &stores.root().join("chi/b.sqlite"),
            Duration::from_secs(5),
        )
        .unwrap();
        turned.fence(true, &within(5)).unwrap();
        stores.sync_with(|work| (work.generation, work.accept_deletions) = (Generation(4), true)).unwrap();
        stores.assert_equal();
        let again = stores.pair.states().unwrap();
        assert!(revisions(&again).ends_with(&revisions(&before)), "{again:?} {before:?}");
        let (path, cancel) = (stores.root().join("first"), CancellationToken::new());
        stores.pair.restore_state(before[1].revision, &path, Generation(4), &cancel).unwrap();
        let first = Connection::open(&path).unwrap();
        let rows: i64 = first.query_row("SELECT count(*) FROM kept", [], |row| row.get(0)).unwrap();
        assert_eq!(rows, 0);
    }
}
