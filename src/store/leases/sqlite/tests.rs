//! What is particular to leases in a SQLite database.

use std::time::Instant;

use rusqlite::Connection;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::*;
use crate::report::ModuleState;
use crate::store::leases::contract::Machine;
use crate::store::leases::{LEASE_DURATION, LeaseOwner, PATIENCE};

/// Tables as the build before this one had them, with leases that were given back and held, the content index beside
/// them, and as much of it as to be seen in the file's size.
const FORMER: &str = "
    PRAGMA user_version = 3;
    CREATE TABLE csb_lease (pool TEXT PRIMARY KEY NOT NULL, generation INTEGER NOT NULL, owner TEXT NOT NULL,
        job_id TEXT NOT NULL, acquired_ms INTEGER NOT NULL, expires_ms INTEGER NOT NULL) STRICT, WITHOUT ROWID;
    INSERT INTO csb_lease VALUES ('given-back.example.com', 4000000000000, '{}', '', 7, 0),
        ('held.example.com', 4000000000017, '{}', '00000000-0000-0000-0000-000000000007', 7, 99999999999999);
    CREATE TABLE csb_module_state (pool TEXT NOT NULL, module TEXT NOT NULL, state TEXT NOT NULL, cursor TEXT,
        reason TEXT, observed_ms INTEGER NOT NULL, last_success_ms INTEGER, PRIMARY KEY (pool, module)) STRICT,
        WITHOUT ROWID;
    INSERT INTO csb_module_state VALUES ('held.example.com', 'm', '{}', 'there', NULL, 7, NULL);
    CREATE TABLE csb_content_store (pool TEXT PRIMARY KEY NOT NULL) STRICT;
    CREATE TABLE csb_content_object (pool TEXT NOT NULL, folder BLOB NOT NULL) STRICT;
    CREATE INDEX csb_content_inode ON csb_content_object (pool);
    CREATE TABLE csb_content_folder (pool TEXT NOT NULL, folder BLOB NOT NULL) STRICT;
    INSERT INTO csb_content_object SELECT 'held.example.com', randomblob(1000) FROM generate_series;
";

fn machine() -> Arc<Machine> {
    Machine::ahead("here", 0)
}

fn at(path: &Path, machine: &Arc<Machine>) -> SqliteLeases {
    SqliteLeases::new(path.to_owned(), Arc::clone(machine) as Arc<dyn Clock>)
}

fn claim(pool: &str) -> Claim {
    let owner = LeaseOwner { space: None, ..LeaseOwner::current("here") };
    Claim { pool: PoolFqdn::parse(pool).unwrap(), owner, job_id: Uuid::from_u128(1) }
}

/// A store of leases, and one that it has given out.
fn taken(path: &Path) -> (SqliteLeases, Claim, Lease) {
    let (leases, claim) = (at(path, &machine()), claim("atl.example.com"));
    let lease = leases.acquire(&claim, &soon()).unwrap().held().unwrap();
    (leases, claim, lease)
}

fn soon() -> Until {
    Until::within(PATIENCE)
}

#[test]
fn a_database_of_a_former_build_keeps_its_generations_and_believes_none_of_its_times() {
    for version in [0, 1, 2, 3] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("service.sqlite");
        let former = Connection::open(&path).unwrap();
        let series = "WITH generate_series (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM generate_series LIMIT 2000) SELECT";
        former.execute_batch(&FORMER.replace("SELECT 'held", &format!("{series} 'held"))).unwrap();
        former.pragma_update(None, "user_version", version).unwrap();
        drop(former);
        let before = std::fs::metadata(&path).unwrap().len();
        let machine = machine();
        let leases = at(&path, &machine);
        let (given_back, held) = (claim("given-back.example.com"), claim("held.example.com"));
        let lease = leases.acquire(&given_back, &soon()).unwrap().held().unwrap();
        assert_eq!((lease.generation, lease.taken_over_from), (Generation(4_000_000_000_001), None));
        let Acquired::Busy(holder) = leases.acquire(&held, &soon()).unwrap() else { panic!("it was robbed") };
        assert_eq!((holder.generation, holder.job_id), (Generation(4_000_000_000_017), Uuid::from_u128(7)));
        let state = leases.state(&held.pool, "m", &soon()).unwrap().unwrap();
        assert_eq!(state.cursor.as_deref(), Some("there"));
        // It was to run out in the year 5138.
        machine.pass(LEASE_DURATION);
        let lease = leases.acquire(&held, &soon()).unwrap().held().unwrap();
        assert_eq!(lease.generation, Generation(4_000_000_000_018));
        assert_eq!(lease.taken_over_from, Some(Uuid::from_u128(7)));
        drop(leases);
        let connection = Connection::open(&path).unwrap();
        let tables = "SELECT group_concat(name ORDER BY name) FROM sqlite_schema WHERE type = 'table'";
        let tables: String = connection.query_row(tables, [], |row| row.get(0)).unwrap();
        assert_eq!(tables, "csb_journal,csb_lease,csb_lease_seen,csb_module_state");
        connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).unwrap();
        let after = std::fs::metadata(&path).unwrap().len();
        assert!(after * 10 < before, "{before} bytes became {after}");
    }
}

#[test]
fn a_database_of_a_newer_build_is_refused_and_left_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("service.sqlite");
    at(&path, &machine()).acquire(&claim("atl.example.com"), &soon()).unwrap();
    let newer = Connection::open(&path).unwrap();
    newer.pragma_update(None, "user_version", 99).unwrap();
    let leases = at(&path, &machine());
    let refused = [
        leases.acquire(&claim("atl.example.com"), &soon()).map(|_| ()),
        leases.holder(&claim("atl.example.com").pool, &soon()).map(|_| ()),
    ];
    for refused in refused {
        let error = refused.unwrap_err();
        assert_eq!(error.kind, ErrorKind::UnsupportedStore);
        assert!(error.message.contains("newer build"), "{error}");
    }
    let version: i64 = newer.query_row("PRAGMA user_version", [], |row| row.get(0)).unwrap();
    assert_eq!(version, 99);
}

#[test]
fn a_lost_database_begins_above_what_it_gave_out() {
    let folder = tempfile::tempdir().unwrap();
    let machine = machine();
    let mut last = Generation(0);
    for round in 0..3 {
        let path = folder.path().join(round.to_string());
        for _ in 0..5 {
            let leases = at(&path, &machine);
            let lease = leases.acquire(&claim("atl.example.com"), &soon()).unwrap().held().unwrap();
            assert!(lease.generation > last, "{lease:?} after {last:?}");
            last = lease.generation;
            leases.release(&lease, &soon()).unwrap();
            machine.pass(Duration::from_millis(1));
        }
    }
}

#[test]
fn a_lease_of_a_database_that_was_replaced_is_lost() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("service.sqlite");
    let (leases, claim, lease) = taken(&path);
    leases.renew(&lease, &soon()).unwrap();
    for suffix in ["", "-wal", "-shm"] {
        std::fs::remove_file(folder.path().join(format!("service.sqlite{suffix}"))).unwrap();
    }
    assert_eq!(leases.renew(&lease, &soon()).unwrap_err().kind, ErrorKind::Fenced);
    let again = at(&path, &machine()).acquire(&claim, &soon()).unwrap().held().unwrap();
    let state = StoredState {
        state: ModuleState::default(),
        cursor: None,
        reason: None,
        observed_at: jiff::Timestamp::UNIX_EPOCH,
        last_success: None,
    };
    let done = leases.set_state(&Lease { generation: Generation(1), ..lease }, "m", &state, &soon());
    assert_eq!(done.unwrap_err().kind, ErrorKind::Fenced);
    leases.set_state(&again, "m", &state, &soon()).unwrap();
}

#[test]
fn a_lock_is_waited_for_as_long_as_was_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("service.sqlite");
    let (leases, claim, lease) = taken(&path);
    let other = Connection::open(&path).unwrap();
    other.execute_batch("BEGIN EXCLUSIVE").unwrap();
    let began = Instant::now();
    let refused = leases.renew(&lease, &Until::within(Duration::from_millis(300))).unwrap_err();
    assert_eq!(refused.kind, ErrorKind::StoreBusy);
    assert!(began.elapsed() >= Duration::from_millis(300));
    let cancelled = CancellationToken::new();
    cancelled.cancel();
    let (began, hour) = (Instant::now(), Duration::from_secs(3_600));
    let refused = leases.acquire(&claim, &Until::cancelled_by(&cancelled, hour)).unwrap_err();
    assert_eq!(refused.kind, ErrorKind::StoreBusy);
    assert!(began.elapsed() < Duration::from_secs(60));
    // What need not wait is done all the same.
    other.execute_batch("COMMIT").unwrap();
    leases.release(&lease, &Until::cancelled_by(&cancelled, Duration::ZERO)).unwrap();
}

#[test]
fn a_lease_that_could_not_be_given_back_is_free_for_the_same_process() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("service.sqlite");
    let (leases, claim, lease) = taken(&path);
    let other = Connection::open(&path).unwrap();
    other.execute_batch("BEGIN EXCLUSIVE").unwrap();
    let refused = leases.release(&lease, &Until::within(Duration::ZERO)).unwrap_err();
    assert_eq!(refused.kind, ErrorKind::StoreBusy);
    other.execute_batch("COMMIT").unwrap();
    let next = at(&path, &machine()).acquire(&claim, &soon()).unwrap().held().unwrap();
    assert!(next.generation > lease.generation);
    assert!(matches!(leases.acquire(&claim, &soon()).unwrap(), Acquired::Busy(_)), "the next one is held");
}
