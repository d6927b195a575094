//! What comes between two steps of a sync, made to come there, and who else is at a copy meanwhile.

use std::sync::Mutex;
use std::sync::atomic::AtomicUsize;
use std::time::Instant;

use cs_backup::error::ErrorKind;
use cs_backup::platform::{RangeLock, RawFile, lock_range, unlock_range};
use rusqlite::{ErrorCode, OpenFlags};

use super::*;

/// SQLite's lock on writing.
const RESERVED: std::ops::Range<u64> = 0x4000_0001..0x4000_0002;

fn reader(stores: &Stores) -> Connection {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let reader = Connection::open_with_flags(stores.standby(), flags).unwrap();
    reader.busy_timeout(Duration::ZERO).unwrap();
    reader
}

#[test]
fn a_copy_that_is_exchanged_while_its_writer_waits_is_not_written_to() {
    let stores = Stores::new();
    let server = stores.server();
    server.execute_batch(LEDGER).unwrap();
    stores.sync_and_compare();
    play(&server).unwrap();
    let held = RawFile::open(&stores.standby(), true).unwrap();
    assert!(lock_range(&held, RangeLock::Exclusive, RESERVED).unwrap());
    std::thread::scope(|scope| {
        let (told, is_told) = std::sync::mpsc::channel();
        let syncing = scope.spawn(|| {
            let told = Mutex::new(told);
            let progress = |_| {
                let _ = told.lock().unwrap().send(());
            };
            stores.pair.synchronize(&Work { progress: &progress, ..work(&CancellationToken::new(), 1) })
        });
        is_told.recv().unwrap();
        // It has read the source, and waits for the lock.
        std::thread::sleep(Duration::from_millis(300));
        assert!(!syncing.is_finished());
        let other = stores.root().join("other");
        std::fs::copy(stores.standby(), &other).unwrap();
        std::fs::rename(&other, stores.standby()).unwrap();
        unlock_range(&held, RESERVED).unwrap();
        assert_eq!(syncing.join().unwrap().unwrap_err().kind, ErrorKind::StoreReplaced);
    });
    drop(held);
    stores.sync_and_compare();
    assert_eq!(turn(&stores.standby()), 1);
}

#[test]
fn readers_that_overlap_all_the_time_let_an_import_in() {
    let stores = Stores::new();
    let server = stores.server();
    server.execute_batch(LEDGER).unwrap();
    stores.sync_and_compare();
    let (done, reading) = (AtomicBool::new(false), [AtomicBool::new(false), AtomicBool::new(false)]);
    let next_to_go = AtomicUsize::new(0);
    let read = |own: usize| {
        let reader = reader(&stores);
        let mut reads = 0;
        while !done.load(Ordering::SeqCst) {
            let begun = reader.execute_batch("BEGIN; SELECT count(*) FROM account");
            if let Err(cause) = begun {
                assert_eq!(cause.sqlite_error_code(), Some(ErrorCode::DatabaseBusy), "{cause}");
                reader.execute_batch("ROLLBACK").unwrap();
                std::thread::sleep(Duration::from_millis(1));
                continue;
            }
            // Nobody goes before the other one has come, unless that one is kept out.
            reading[own].store(true, Ordering::SeqCst);
            let began = Instant::now();
            let may_go =
                || next_to_go.load(Ordering::SeqCst) == own && reading[1 - own].load(Ordering::SeqCst);
            while !may_go() && began.elapsed() < Duration::from_secs(1) {
                std::thread::sleep(Duration::from_millis(1));
            }
            reading[own].store(false, Ordering::SeqCst);
            next_to_go.store(1 - own, Ordering::SeqCst);
            reader.execute_batch("COMMIT").unwrap();
            reads += 1;
        }
        reads
    };
    std::thread::scope(|scope| {
        let read = &read;
        let readers = [0, 1].map(|own| scope.spawn(move || read(own)));
        let end = End(&done);
        for _ in 0..3 {
            play(&server).unwrap();
            let began = Instant::now();
            stores.sync().unwrap();
            assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
        }
        drop(end);
        assert!(readers.into_iter().all(|reader| reader.join().unwrap() > 0));
    });
    stores.assert_equal();
}

#[test]
fn a_reader_that_never_ends_is_said_and_the_copy_stays() {
    std::thread::scope(|scope| {
        for hold in ["BEGIN", "PRAGMA locking_mode = EXCLUSIVE"] {
            scope.spawn(move || {
                let stores = Stores::new();
                let server = stores.server();
                server.execute_batch(LEDGER).unwrap();
                stores.sync_and_compare();
                let kept = std::fs::read(stores.standby()).unwrap();
                let reader = reader(&stores);
                reader.execute_batch(&format!("{hold}; SELECT count(*) FROM account")).unwrap();
                play(&server).unwrap();
                let error = stores.sync().unwrap_err();
                assert_eq!(error.kind, ErrorKind::StoreBusy, "{hold}: {error:?}");
                assert!(error.advice.contains("Find out who holds it"), "{hold}: {error:?}");
                assert!(std::fs::read(stores.standby()).unwrap() == kept, "{hold}");
                assert!(!std::fs::exists(format!("{}-journal", stores.standby().display())).unwrap());
                drop(reader);
                stores.sync_and_compare();
            });
        }
    });
}
