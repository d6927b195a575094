//! Hundreds of kills of the user store's job alone, under every journal and beside writers of every locking style.

use std::ops::Range;
use std::sync::RwLock;

use super::*;

/// Kills for each journal mode.
fn kills() -> u32 {
    std::env::var("CSB_KILLS").map_or(125, |kills| kills.parse().unwrap())
}

/// How a server begins to write. Each moves an amount from one account to another, so that the sum tells of halves.
const STYLES: [&str; 4] = ["BEGIN DEFERRED", "BEGIN IMMEDIATE", "BEGIN EXCLUSIVE", ""];

/// What a writer does, over and over. None of them waits for more than its own patience with SQLite's locks; a
/// transaction that is refused is begun again, as a server does it.
fn transfer(style: &str, random: &mut Rng) -> String {
    let (from, to, entry) = (random.u32(1..=300), random.u32(1..=300), random.u32(1..=40));
    let both = format!(
        "UPDATE accounts SET amount = amount + (id = {to}) - (id = {from}) WHERE id IN ({from}, {to});"
    );
    let noise =
        format!("INSERT OR REPLACE INTO ledger (text, note) VALUES ('entry {entry}', randomblob(60));");
    match style {
        "" => format!("{both} BEGIN; {COUNT} COMMIT;"),
        // It has read before it writes, and holds on to what it read.
        "BEGIN DEFERRED" => {
            format!("{style}; SELECT sum(amount) FROM accounts; {both} {noise} {COUNT} COMMIT;")
        }
        _ => format!("{style}; {noise} {both} {COUNT} COMMIT;"),
    }
}

fn write(
    users: &Path,
    style: &str,
    seed: u64,
    pauses_us: Range<u64>,
    quiet: &RwLock<()>,
    stop: &AtomicBool,
) -> u64 {
    let mut random = Rng::with_seed(seed);
    let server = server(users);
    let mut done = 0;
    while !stop.load(Ordering::Relaxed) {
        let transaction = transfer(style, &mut random);
        {
            let _turn = quiet.read().unwrap();
            match server.execute_batch(&transaction) {
                Ok(()) => done += 1,
                Err(cause) => {
                    let code = cause.sqlite_error_code();
                    assert_eq!(code, Some(rusqlite::ErrorCode::DatabaseBusy), "{style}: {cause}");
                    if !server.is_autocommit() {
                        server.execute_batch("ROLLBACK").unwrap();
                    }
                }
            }
        }
        std::thread::sleep(Duration::from_micros(random.u64(pauses_us.clone())));
    }
    done
}

const MODULE: &str = r#"{"modules": ["PresenceFocus"], "retryCount": 3}"#;

/// Kills jobs until enough of them died; how many that took.
fn kill_many(deployment: &Deployment, quiet: &RwLock<()>, random: &mut Rng, wanted: u32) -> u32 {
    let (users, standby) = (deployment.path("atl/users.sqlite"), deployment.path("chi/standby/atl.sqlite"));
    let options = serde_json::from_str::<serde_json::Value>(MODULE).unwrap();
    let (mut kills, mut rounds, mut span) = (0, 0, Duration::from_millis(60));
    // How far the last copy had counted: no later reader may see less.
    let mut last = 0;
    let began = Instant::now();
    let most = Duration::from_secs(60) + Duration::from_secs(2) * wanted;
    while kills < wanted {
        rounds += 1;
        assert!(began.elapsed() < most, "only {kills} kills in {rounds} rounds");
        if rounds % 4 == 0 {
            // A first copy again.
            let _ = std::fs::remove_file(&standby);
        }
        let mut child = Child::sync(deployment, ATL, MODULE);
        child.wait_for("started");
        std::thread::sleep(span.mul_f64(random.f64()));
        let died = child.kill();
        // Later jobs have less to do: a kill that came too late does not count.
        span = span
            .mul_f64(if died { 1.05 } else { 0.8 })
            .clamp(Duration::from_millis(5), Duration::from_secs(2));
        kills += u32::from(died);
        let seen = look_before_it_heals(deployment, if rounds % 4 == 0 { 0 } else { last });
        assert!(rounds % 4 == 0 || seen.is_some() || last == 0, "the standby is gone");

        let _nobody_writes = quiet.write().unwrap();
        deployment.sync(ATL, options.clone()).expect(Outcome::Succeeded);
        assert_rows_equal(&users, &standby);
        crate::user_store::assert_equal_pages(&users, &standby);
        last = assert_standby_whole(&standby).unwrap();
    }
    rounds
}

/// Kills jobs under every journal, so many under each, beside a writer of every style. Whether the servers wait for locks, or jobs have to do
/// without.
fn kill_beside_writers(wanted: u32, do_servers_wait: bool) {
    let seed = seed();
    let mut random = Rng::with_seed(seed);
    // A job that takes no lock needs a moment without a write.
    let pauses_us = if do_servers_wait { 500..3_000 } else { 30_000..150_000 };
    let least = if do_servers_wait { wanted } else { wanted / 5 };
    let began = Instant::now();
    for journal in ["WAL", "DELETE", "TRUNCATE", "PERSIST"] {
        let deployment = Deployment::in_memory(Size { users: 40, contacts: 5, files: 1 });
        if do_servers_wait {
            let_servers_wait(&deployment);
        }
        prepare(&deployment);
        let users = deployment.path("atl/users.sqlite");
        let first = server(&users);
        first.query_row(&format!("PRAGMA journal_mode = {journal}"), [], |_| Ok(())).unwrap();
        let (quiet, stop) = (RwLock::new(()), AtomicBool::new(false));
        let rounds = std::thread::scope(|scope| {
            let stop_at_end = StopOnDrop(&stop);
            let writers = STYLES.map(|style| {
                let (users, quiet, stop, seed) = (&users, &quiet, &stop, random.u64(..));
                let pauses_us = pauses_us.clone();
                scope.spawn(move || write(users, style, seed, pauses_us, quiet, stop))
            });
            let rounds = kill_many(&deployment, &quiet, &mut random, wanted);
            drop(stop_at_end);
            for (writer, style) in writers.into_iter().zip(STYLES) {
                let done = writer.join().unwrap();
                assert!(done > u64::from(least), "{style} under {journal} got only {done} through");
            }
            rounds
        });
        eprintln!(
            "{journal}: {wanted} kills, {} journals left behind, in {rounds} rounds, {:?} so far, seed {seed} (CSB_SEED)",
            HOT.load(Ordering::Relaxed),
            began.elapsed()
        );
        // Records of jobs are tidied beside the work; whoever starts a service waits for that.
        drop(deployment.another());
        assert_eq!(leftovers(&deployment.root()), Vec::<std::path::PathBuf>::new());
    }
}

#[test]
fn five_hundred_kills_beside_writers_of_every_kind_lose_no_row() {
    kill_beside_writers(kills(), true);
}

#[test]
fn kills_of_jobs_that_take_no_lock_lose_no_row() {
    kill_beside_writers(kills().div_ceil(5), false);
}
