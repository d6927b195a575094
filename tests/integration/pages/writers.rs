//! Servers that write without waiting for locks: none of their writes is refused, and what is copied is a state that they had.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::{Duration, Instant};

use cs_backup::error::ErrorKind;

use super::*;

/// A server that commits again and again with these pauses, and counts what it was told.
fn write_beside(mode: &str, pause: Duration, seconds: u64) {
    let settings = format!("PRAGMA journal_mode = {mode}");
    let accepted = write_beside_as(&settings, "SELECT 1", pause, seconds);
    assert!(accepted > 3, "{mode}: {accepted}");
}

/// As [`write_beside`], of a server with these settings, which does something else before each of its transactions. How many copies were made.
fn write_beside_as(mode: &str, before_each: &str, pause: Duration, seconds: u64) -> u32 {
    let stores = Stores::new();
    let server = stores.server();
    server.execute_batch(mode).unwrap();
    server.execute_batch(LEDGER).unwrap();
    let server = Mutex::new(server);
    let (done, committed) = (AtomicBool::new(false), AtomicI64::new(0));
    let (mut accepted, mut busy) = (0, 0);
    std::thread::scope(|scope| {
        let end = End(&done);
        let writing = scope.spawn(|| {
            let server = server.lock().unwrap();
            let mut refused = Vec::new();
            while !done.load(Ordering::Relaxed) {
                match server.execute_batch(before_each).and_then(|()| play(&server)) {
                    Ok(()) => drop(committed.fetch_add(1, Ordering::SeqCst)),
                    Err(cause) => refused.push(cause.to_string()),
                }
                std::thread::sleep(pause);
            }
            refused
        });
        let until = Instant::now() + Duration::from_secs(seconds);
        let mut last = -1;
        while Instant::now() < until {
            let before = committed.load(Ordering::SeqCst);
            match stores.sync() {
                Ok(_) => {
                    accepted += 1;
                    let copied = turn(&stores.standby());
                    let after = committed.load(Ordering::SeqCst) + 1;
                    assert!(
                        (before..=after).contains(&copied),
                        "{mode}: {copied} is not in {before}..={after}"
                    );
                    assert!(copied >= last, "{mode}: went back");
                    last = copied;
                }
                Err(error) => {
                    assert_eq!(error.kind, ErrorKind::SourceTooBusy, "{mode}: {error:?}");
                    busy += 1;
                }
            }
        }
        drop(end);
        assert_eq!(writing.join().unwrap(), Vec::<String>::new(), "{mode}: refused writes");
    });
    eprintln!("{mode}: {} writes, {accepted} syncs, {busy} times too busy", committed.load(Ordering::SeqCst));
    drop(server);
    stores.sync_and_compare();
    accepted
}

#[test]
fn no_write_is_refused_to_a_server_that_keeps_its_database_to_itself() {
    let exclusive = "PRAGMA locking_mode = EXCLUSIVE; PRAGMA journal_mode";
    let nothing = "SELECT 1";
    let pause = Duration::from_millis(120);
    for journal in ["delete", "persist", "truncate", "memory"] {
        // No lock can be had beside it, and where nobody can look the copy stays.
        assert_eq!(write_beside_as(&format!("{exclusive} = {journal}"), nothing, pause, 1), 0, "{journal}");
    }
    let beside_its_log = write_beside_as(&format!("{exclusive} = wal"), nothing, pause, 4);
    assert!(beside_its_log > 0, "{beside_its_log}");
    // In a moment without a transaction the reason shows.
    let stores = Stores::new();
    let server = stores.server();
    server.execute_batch(&format!("{exclusive} = delete; {LEDGER}")).unwrap();
    let config = UserStoreConfig::new(crate::support::database_url(&stores.source()));
    let pair = PagePair::new(&config, &stores.standby(), Duration::from_millis(200)).unwrap();
    let error = pair.synchronize(&work(&CancellationToken::new(), 1)).unwrap_err();
    assert!(error.message.contains("locking_mode=EXCLUSIVE"), "{error:?}");
    drop(server);
}

#[test]
fn no_write_is_refused_to_a_server_that_undoes_what_it_wrote_into_its_file() {
    // Its cache is so small that what it undoes was in the file already.
    let undone = "BEGIN IMMEDIATE; UPDATE account SET amount = amount + 1, note = randomblob(300); ROLLBACK";
    for journal in ["delete", "persist", "truncate", "memory", "wal"] {
        let settings = format!("PRAGMA journal_mode = {journal}; PRAGMA cache_size = 2");
        let accepted = write_beside_as(&settings, undone, Duration::from_millis(200), 3);
        assert!(accepted > 0, "{journal}: {accepted}");
    }
}

#[test]
fn no_write_is_refused_beside_a_rollback_journal_and_every_copy_is_a_state_that_was() {
    for mode in ["delete", "persist", "truncate", "memory"] {
        write_beside(mode, Duration::from_millis(120), 4);
    }
}

#[test]
fn no_write_is_refused_beside_a_write_ahead_log_however_fast_they_come() {
    write_beside("wal", Duration::ZERO, 6);
    write_beside("wal", Duration::from_millis(5), 4);
}

#[test]
fn a_store_that_is_written_to_all_the_time_is_too_busy_and_its_copy_stays() {
    let stores = Stores::new();
    let server = stores.server();
    server.execute_batch(LEDGER).unwrap();
    stores.sync_and_compare();
    let kept = std::fs::read(stores.standby()).unwrap();
    // A transaction that was begun and not ended holds the lock on writing for as long as it likes.
    server.execute_batch("BEGIN IMMEDIATE; UPDATE turn SET n = n + 1").unwrap();
    let pair = PagePair::new(
        &UserStoreConfig::new(StoreUrl::try_from(format!("sqlite:{}", stores.source().display())).unwrap()),
        &stores.standby(),
        Duration::from_millis(300),
    )
    .unwrap();
    let cancel = CancellationToken::new();
    // A page that only the log of the server's own memory holds is no change that can be seen.
    server.execute_batch("PRAGMA cache_size = 1; UPDATE account SET note = randomblob(300)").unwrap();
    let error = pair.synchronize(&work(&cancel, 1)).unwrap_err();
    assert_eq!(error.kind, ErrorKind::SourceTooBusy, "{error:?}");
    assert!(error.message.contains("writing"), "{}", error.message);
    assert_eq!(std::fs::read(stores.standby()).unwrap(), kept);
    server.execute_batch("ROLLBACK").unwrap();
    stores.sync_and_compare();
}

#[test]
fn a_transaction_that_was_written_into_the_file_and_rolled_back_is_never_copied() {
    let stores = Stores::new();
    let server = stores.server();
    server.execute_batch(&format!("PRAGMA cache_size = 2; {LEDGER}")).unwrap();
    let server = Mutex::new(server);
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let end = End(&done);
        scope.spawn(|| {
            let server = server.lock().unwrap();
            while !done.load(Ordering::Relaxed) {
                let spill = "BEGIN IMMEDIATE; UPDATE account SET amount = amount + 1, note = randomblob(300); ROLLBACK";
                server.execute_batch(spill).unwrap();
                std::thread::sleep(Duration::from_millis(fastrand::u64(0..80)));
            }
        });
        let until = Instant::now() + Duration::from_secs(4);
        while Instant::now() < until {
            if let Err(error) = stores.sync() {
                assert_eq!(error.kind, ErrorKind::SourceTooBusy);
                continue;
            }
            assert_eq!(turn(&stores.standby()), 0);
        }
        drop(end);
    });
}

#[test]
fn a_server_that_waits_can_be_read_under_a_lock() {
    let stores = Stores::configured(|config| config.server_waits = true);
    let server = stores.server();
    server.busy_timeout(Duration::from_secs(5)).unwrap();
    server.execute_batch(LEDGER).unwrap();
    let server = Mutex::new(server);
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let end = End(&done);
        scope.spawn(|| {
            let server = server.lock().unwrap();
            while !done.load(Ordering::Relaxed) {
                play(&server).unwrap();
                std::thread::sleep(Duration::from_millis(1));
            }
        });
        let mut last = -1;
        for _ in 0..20 {
            let outcome = stores.sync().unwrap();
            assert!(
                outcome.details.iter().all(|detail| !detail.contains("without a lock")),
                "{:?}",
                outcome.details
            );
            let now = turn(&stores.standby());
            assert!(now >= last);
            last = now;
        }
        drop(end);
    });
}
