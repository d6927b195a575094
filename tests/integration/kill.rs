//! A backup that is killed at any point, while servers write, loses nothing and leaves nothing behind.

mod content;
mod users;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use cs_backup::error::ErrorKind;
use cs_backup::report::{Outcome, Report};
use cs_backup::store::Generation;
use cs_backup::store::user::UserStorePair;
use fastrand::Rng;
use rusqlite::Connection;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::faults::left::{copy_folder, pair};
use crate::support::*;

const KILLS: u32 = 50;
/// What the amounts of all accounts come to, at every moment that the server committed.
const TOTAL: i64 = 300 * 100;

/// Every transaction counts, and leaves a row that says how far it had counted; old rows go.
const COUNT: &str = "UPDATE counter SET n = n + 1;
    INSERT INTO doubles SELECT n, n * 2, randomblob(40) FROM counter;
    DELETE FROM doubles WHERE n <= (SELECT n - 200 FROM counter);";

/// Lets copies of stores whose journals are rolled back be made between two commits: these servers wait for locks.
fn let_servers_wait(deployment: &Deployment) {
    let text = std::fs::read_to_string(deployment.path("topology.toml")).unwrap();
    let excluded = "exclude = [\"session_*\"]";
    assert!(text.contains(excluded), "{text}");
    let waits = format!("{excluded}, server_waits = true, max_lock_ms = 1000");
    std::fs::write(deployment.path("waits.toml"), text.replace(excluded, &waits)).unwrap();
    let publish = json!({ "request": "publishTopology", "file": deployment.path("waits.toml") });
    deployment.ask(publish).unwrap();
}

fn prepare(deployment: &Deployment) {
    deployment
        .server("atl")
        .execute_batch(
            "CREATE TABLE counter (n INTEGER NOT NULL); INSERT INTO counter VALUES (0);
             CREATE TABLE doubles (n INTEGER PRIMARY KEY, half INTEGER NOT NULL, note BLOB);
             CREATE TABLE accounts (id INTEGER PRIMARY KEY, amount INTEGER NOT NULL);
             CREATE TABLE ledger (entry INTEGER PRIMARY KEY AUTOINCREMENT, text TEXT UNIQUE, note BLOB);
             WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 300)
             INSERT INTO accounts SELECT i, 100 FROM n;",
        )
        .unwrap();
}

/// A server: transactions on the user store and changes in the share, until it is told to stop.
fn serve(users: &Path, share: &Path, journal: &str, seed: u64, stop: &AtomicBool) -> u64 {
    let mut random = Rng::with_seed(seed);
    let server = server(users);
    let mode: String =
        server.query_row(&format!("PRAGMA journal_mode = {journal}"), [], |row| row.get(0)).unwrap();
    assert!(mode.eq_ignore_ascii_case(journal), "somebody still has the user store open: {mode}");
    let mut transactions = 0;
    while !stop.load(Ordering::Relaxed) {
        let (from, to, entry) = (random.u32(1..=300), random.u32(1..=300), random.u32(1..=40));
        server
            .execute_batch(&format!(
                "BEGIN IMMEDIATE;
                 UPDATE accounts SET amount = amount - 1 WHERE id = {from};
                 INSERT OR REPLACE INTO ledger (text, note) VALUES ('entry {entry}', randomblob(60));
                 DELETE FROM contacts WHERE owner = {owner} AND added_ms % 5 = {entry} % 5;
                 INSERT OR IGNORE INTO contacts VALUES ({owner}, 'sip:live{entry}@litwareinc.com', NULL, {entry});
                 UPDATE accounts SET amount = amount + 1 WHERE id = {to};
                 {COUNT}
                 COMMIT;",
                owner = random.u32(1..=40),
            ))
            .unwrap();
        transactions += 1;
        change_share(share, &mut random);
        // A server that never pauses would only be slower for everybody.
        std::thread::sleep(Duration::from_micros(random.u64(200..2000)));
    }
    transactions
}

fn change_share(share: &Path, random: &mut Rng) {
    use std::os::unix::fs::PermissionsExt;
    let file = share.join(format!("conference-00{}/live-{}", random.u32(1..=4), random.u32(0..3)));
    match random.u32(0..6) {
        0 => drop(std::fs::remove_file(&file)),
        1 => drop(std::fs::rename(&file, share.join(format!("live-{}", random.u32(0..3))))),
        2 => {
            let mode = 0o600 + random.u32(0..64);
            drop(std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)));
        }
        _ => {
            let size = if random.u32(0..8) == 0 { 200_000 } else { random.usize(0..3000) };
            std::fs::write(&file, vec![random.u8(..); size]).unwrap();
        }
    }
}

/// The standby holds a state that the server committed, whoever was killed. How far that had counted; none where there is no standby.
#[track_caller]
fn assert_standby_whole(standby: &Path) -> Option<i64> {
    if !standby.exists() {
        return None;
    }
    let copy = Connection::open(standby).unwrap();
    let number = |sql: &str| -> i64 { copy.query_row(sql, [], |row| row.get(0)).unwrap() };
    assert_eq!(number("SELECT sum(amount) FROM accounts"), TOTAL, "the standby holds half of a transaction");
    let count = number("SELECT n FROM counter");
    let rows =
        number("SELECT count(*) FROM doubles WHERE half = 2 * n AND n > (SELECT n - 200 FROM counter)");
    assert_eq!(
        (rows, number("SELECT count(*) FROM doubles")),
        (count.min(200), count.min(200)),
        "at {count}"
    );
    assert_eq!(number("SELECT coalesce(max(n), 0) FROM doubles"), count);
    let check: String = copy.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
    assert_eq!(check, "ok");
    Some(count)
}

/// What a kill left, looked at before anything heals it: a reader of the files as they lie there sees a state that the server had, no
/// older than the last one and no newer than the server's; and the status can be asked for. How far that state had counted.
#[track_caller]
fn look_before_it_heals(deployment: &Deployment, last: i64) -> Option<i64> {
    let folder = deployment.path("chi/standby");
    let copies = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
    let copy = |name: &str| {
        let to = copies.path().join(name);
        copy_folder(&folder, &to);
        to
    };
    let [reader, restored, promoted] = ["reader", "restored", "promoted"].map(copy);
    let (copy, users) = (reader, deployment.path("atl/users.sqlite"));
    let was_hot = copy.join("atl.sqlite-journal").exists();
    let seen = assert_standby_whole(&copy.join("atl.sqlite"));
    if let Some(seen) = seen {
        assert!(seen >= last, "a reader sees {seen} after {last}");
        let now: i64 =
            deployment.server("atl").query_row("SELECT n FROM counter", [], |row| row.get(0)).unwrap();
        assert!(seen <= now, "a reader sees {seen} of {now}");
        let header = std::fs::read(copy.join("atl.sqlite")).unwrap();
        assert_eq!(header[18..20], [3, 1], "the fence is missing");
    }
    restore_and_promote(&users, &restored, &promoted, seen);
    let status = json!({ "request": "getBackupServiceStatus", "poolFqdn": ATL });
    let status = ask(&deployment.service, status).unwrap();
    let row = &status["backupModules"][0];
    assert_ne!(row["importStatus"], "ErrorState", "hot: {was_hot}, {status:#}");
    if was_hot {
        HOT.fetch_add(1, Ordering::Relaxed);
    }
    seen
}

/// What a kill left is restored, the state that readers see and one before it, and given to a server, which writes to it.
fn restore_and_promote(users: &Path, restored: &Path, promoted: &Path, seen: Option<i64>) {
    let (from, cancel) = (pair(users, restored), CancellationToken::new());
    let states = from.states().unwrap();
    assert_eq!(states.is_empty(), seen.is_none(), "{states:?}");
    for (state, is_now) in states.iter().zip([true, false]) {
        let to = restored.join(format!("{}.restored", state.revision));
        from.restore_state(state.revision, &to, Generation(i64::MAX), &cancel).unwrap();
        let count = assert_standby_whole(&to);
        assert!(if is_now { count == seen } else { count <= seen }, "{count:?}, seen {seen:?}");
    }
    pair(users, promoted).remove_traces(false, &Default::default()).unwrap();
    let copy = promoted.join("atl.sqlite");
    if seen.is_some() {
        Connection::open(&copy).unwrap().execute_batch(COUNT).unwrap();
        assert_eq!(assert_standby_whole(&copy), seen.map(|seen| seen + 1));
    }
}

/// How often a kill left a journal at the standby.
static HOT: AtomicU32 = AtomicU32::new(0);

/// What all chance comes from; `CSB_SEED` plays a run once more.
fn seed() -> u64 {
    std::env::var("CSB_SEED").map_or_else(|_| fastrand::u64(..), |seed| seed.parse().unwrap())
}

/// Kills one backup after this time and lets the next one complete; where the first one was.
fn round(deployment: &Deployment, number: u32, delay: Duration, seed: u64) -> String {
    let standby = deployment.path("chi/standby/atl.sqlite");
    if number.is_multiple_of(3) {
        // Every third backup is a first copy again.
        let _ = std::fs::remove_file(&standby);
    }
    let (users, share) = (deployment.path("atl/users.sqlite"), deployment.path("atl/share"));
    let journal = if number.is_multiple_of(2) { "WAL" } else { "DELETE" };
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| serve(&users, &share, journal, seed, &stop));
        let stop_at_end = StopOnDrop(&stop);
        let mut child = Child::backup(deployment, ATL);
        if !number.is_multiple_of(5) {
            child.wait_for("started");
        }
        std::thread::sleep(delay);
        let point = child.kill_and_tell();
        look_before_it_heals(deployment, 0);
        let ended = deployment.backup(json!({}));
        let outcome = ended.report.outcome;
        // A file that changes while it is read is named, and copied the next time.
        let is_done = matches!(outcome, Outcome::Succeeded | Outcome::SucceededWithWarnings);
        assert!(is_done, "round {number}: {:#?}", ended.report);
        assert_standby_whole(&standby);
        drop(stop_at_end);
        assert!(writer.join().unwrap() > 0);
        point
    })
}

#[test]
fn fifty_kills_of_a_backup_with_writers_lose_nothing_and_leave_nothing() {
    let seed = seed();
    let mut random = Rng::with_seed(seed);
    let began = Instant::now();
    let deployment = Deployment::of(Size { users: 40, contacts: 5, files: 40 });
    let_servers_wait(&deployment);
    prepare(&deployment);

    // The first backup, which is not killed, tells how long one takes.
    let mut child = Child::backup(&deployment, ATL);
    child.wait_for("started");
    let started = Instant::now();
    assert!(child.end());
    let mut span = started.elapsed();
    let mut points: BTreeMap<String, u32> = BTreeMap::new();
    let (mut kills, mut rounds) = (0, 0);
    while kills < KILLS {
        rounds += 1;
        assert!(began.elapsed() < Duration::from_secs(120), "only {kills} kills in {rounds} rounds");
        let point = round(&deployment, rounds, span.mul_f64(random.f64()), random.u64(..));
        // Later backups have less to do: a kill that came too late does not count.
        let too_late = point.starts_with("Succeeded");
        span = span.mul_f64(if too_late { 0.8 } else { 1.05 });
        kills += u32::from(!too_late);
        *points.entry(point).or_default() += 1;
    }
    let took = began.elapsed();
    eprintln!(
        "seed {seed} (CSB_SEED): {kills} kills in {rounds} rounds took {took:?}; last words: {points:#?}"
    );

    let quiet = deployment.another();
    run_backup(&quiet, with_pool(ATL, json!({}))).expect(Outcome::Succeeded);
    deployment.assert_copies_equal("atl", "chi");
    let again = run_backup(&quiet, with_pool(ATL, json!({}))).expect(Outcome::Succeeded);
    assert!(again.report.modules.iter().all(|module| module.moved.is_nothing()), "{:#?}", again.report);

    // Every job has its report, also those that could not write it.
    let jobs = ask(&quiet, json!({ "request": "listJobs" })).unwrap();
    let jobs = jobs["jobs"].as_array().unwrap();
    let mut interrupted = 0;
    for job in jobs {
        let report = ask(&quiet, json!({ "request": "getReport", "jobId": job["jobId"] })).unwrap();
        let report: Report = serde_json::from_value(report).unwrap();
        if report.host.process_id != std::process::id() && report.outcome == Outcome::Failed {
            assert_eq!(report.errors[0].kind, ErrorKind::Interrupted, "{report:#?}");
            interrupted += 1;
        }
    }
    assert!(interrupted > KILLS / 2, "only {interrupted} jobs were killed while they ran");
}
