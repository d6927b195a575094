//! What comes between two steps of a sync, made to come there, and who else is at a copy meanwhile.

use std::sync::Mutex;
use std::sync::atomic::AtomicUsize;

use cs_backup::error::ErrorKind;
use cs_backup::platform::{RangeLock, RawFile, lock_range, unlock_range};
use rusqlite::OpenFlags;

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

/// Reads again and again, and holds on to what it read each time for a while.
const READER: &str = "
import random, sqlite3, sys, time
reader = sqlite3.connect(f'file:{sys.argv[1]}?mode=ro', uri=True, isolation_level=None, timeout=0)
print(1, flush=True)
while True:
    try:
        reader.execute('BEGIN')
        reader.execute('SELECT count(*) FROM account').fetchall()
    except sqlite3.OperationalError:
        if reader.in_transaction:
            reader.execute('ROLLBACK')
        time.sleep(.001)
        continue
    time.sleep(random.uniform(.05, .1))
    reader.execute('COMMIT')
";

/// A process that ends with the test.
struct Reader(std::process::Child);

impl Drop for Reader {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn reader_elsewhere(stores: &Stores) -> Reader {
    let mut reader = std::process::Command::new("python3");
    let reader = reader.args(["-c", READER]).arg(stores.standby()).stdout(std::process::Stdio::piped());
    let mut reader = Reader(reader.spawn().unwrap());
    std::io::Read::read_exact(reader.0.stdout.as_mut().unwrap(), &mut [0]).unwrap();
    reader
}

#[test]
fn readers_that_overlap_all_the_time_let_an_import_in() {
    let stores = Stores::new();
    let server = stores.server();
    server.execute_batch(LEDGER).unwrap();
    stores.sync_and_compare();
    let _readers = [0; 5].map(|_| reader_elsewhere(&stores));
    for _ in 0..3 {
        play(&server).unwrap();
        std::thread::sleep(Duration::from_millis(100));
        stores.sync().unwrap();
    }
    stores.assert_equal();
}

/// Two readers of one process, of which none ends before the other one has begun. Such readers share one lock, which SQLite asks nobody
/// for as long as one of them has it.
fn read_in_turn(stores: &Stores, done: &AtomicBool) {
    let reading = [AtomicBool::new(false), AtomicBool::new(false)];
    let next_to_go = AtomicUsize::new(0);
    let read = |own: usize| {
        let reader = reader(stores);
        while !done.load(Ordering::SeqCst) {
            reader.execute_batch("BEGIN; SELECT count(*) FROM account").unwrap();
            reading[own].store(true, Ordering::SeqCst);
            let may_go =
                || next_to_go.load(Ordering::SeqCst) == own && reading[1 - own].load(Ordering::SeqCst);
            while !may_go() && !done.load(Ordering::SeqCst) {
                std::thread::sleep(Duration::from_millis(1));
            }
            reading[own].store(false, Ordering::SeqCst);
            next_to_go.store(1 - own, Ordering::SeqCst);
            reader.execute_batch("COMMIT").unwrap();
        }
    };
    std::thread::scope(|scope| {
        let read = &read;
        for own in [0, 1] {
            scope.spawn(move || read(own));
        }
    });
}

#[test]
fn readers_that_keep_an_import_out_for_good_are_said_and_the_copy_stays() {
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let stores = Stores::new();
            stores.server().execute_batch(LEDGER).unwrap();
            stores.sync_and_compare();
            let kept = std::fs::read(stores.standby()).unwrap();
            play(&stores.server()).unwrap();
            let done = AtomicBool::new(false);
            std::thread::scope(|scope| {
                scope.spawn(|| read_in_turn(&stores, &done));
                let _end = End(&done);
                std::thread::sleep(Duration::from_millis(200));
                assert_eq!(stores.sync().unwrap_err().kind, ErrorKind::StoreBusy);
                assert!(std::fs::read(stores.standby()).unwrap() == kept);
            });
            stores.sync_and_compare();
        });
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
