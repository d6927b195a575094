//! The backup service's own database for one direction: leases, and the last seen states.
//!
//! It lies at the pool that receives the data. Progress of the user store is *not* here but in the standby copy
//! itself, in the transaction that writes the rows.

use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use rusqlite::config::DbConfig;
use rusqlite::{Connection, OptionalExtension, Transaction, TransactionBehavior, params};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::error::{Error, ErrorKind, Result};
use crate::report::ModuleState;
use crate::store::sqlite::{open_own_within, sqlite_error};
use crate::store::{Generation, fenced};
use crate::topology::PoolFqdn;

mod schema;
pub use crate::store::leases::Owner;

/// How long the write-ahead log may grow, in pages, before it is moved into the database: whoever opens the database
/// first reads all of it.
const LOG_PAGES: u32 = 200;

/// How long a lease lasts without being renewed. Its holder renews it three times in that time.
pub const LEASE_DURATION: Duration = Duration::from_secs(30);

/// How long another process may keep the database locked.
pub const PATIENCE: Duration = Duration::from_secs(5);

/// A held lease: the right to write one pool's standby copies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// The pool whose data it is about.
    pub pool: PoolFqdn,
    /// Grows with every holder.
    pub generation: Generation,
    /// The job that holds it.
    pub job_id: Uuid,
    /// The job that held it before and never gave it back, because its process died.
    pub taken_over_from: Option<Uuid>,
}

/// The last seen state of one module, kept for status queries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredState {
    /// The state.
    pub state: ModuleState,
    /// Where the destination stood.
    pub cursor: Option<String>,
    /// Why the state is not healthy.
    pub reason: Option<String>,
    /// When it was seen.
    pub observed_at: Timestamp,
    /// When a job last succeeded for this module.
    pub last_success: Option<Timestamp>,
}

/// Who holds, or held, a lease.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaseHolder {
    /// The process.
    pub owner: Owner,
    /// Its job.
    pub job_id: Uuid,
}

/// The backup service's own database at one pool.
pub struct ServiceStore {
    path: PathBuf,
    connection: Connection,
}

impl ServiceStore {
    /// Opens the database, creating it where it does not exist.
    ///
    /// What a power cut may take from it costs nothing: states are seen again by the next job, and a lease that was
    /// given back is one of a process that died with the power. So only taking a lease waits for the disk
    /// ([`ServiceStore::acquire`]), and closing does not move the log into the database.
    ///
    /// # Errors
    /// When it cannot be opened or written.
    pub fn open(path: &Path) -> Result<Self> {
        Self::open_within(path, PATIENCE)
    }

    /// As [`ServiceStore::open`], for whoever tries again by himself: no call waits longer than this for a lock.
    ///
    /// # Errors
    /// As for [`ServiceStore::open`]; `StoreBusy`.
    pub fn open_within(path: &Path, patience: Duration) -> Result<Self> {
        let mut connection = open_own_within(path, patience)?;
        connection
            .busy_timeout(patience)
            .and_then(|()| connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true))
            .and_then(|_| connection.pragma_update(None, "wal_autocheckpoint", LOG_PAGES))
            .and_then(|()| connection.pragma_update(None, "synchronous", "NORMAL"))
            .map_err(|cause| sqlite_error("prepare", path, &cause))?;
        schema::prepare(&mut connection, path)?;
        Ok(ServiceStore { path: path.to_owned(), connection })
    }

    /// Opens the database if there is one.
    ///
    /// # Errors
    /// When it exists and cannot be opened.
    pub fn open_existing(path: &Path) -> Result<Option<Self>> {
        if path.exists() { Self::open(path).map(Some) } else { Ok(None) }
    }

    /// Takes the lease of a pool. A lease that ran out, was given back or whose process is known to be dead is
    /// taken over, with a higher generation. Durable: the stores refuse a generation that is older than one they have
    /// seen, so that none may be given out twice.
    ///
    /// # Errors
    /// `Conflict`, naming the holder and until when, while another job holds it.
    pub fn acquire(&mut self, pool: &PoolFqdn, owner: &Owner, job_id: Uuid, now: Timestamp) -> Result<Lease> {
        let failed = failure("take a lease in", &self.path);
        self.connection.pragma_update(None, "synchronous", "FULL").map_err(&failed)?;
        let taken = self.acquire_durably(pool, owner, job_id, now);
        self.connection.pragma_update(None, "synchronous", "NORMAL").map_err(&failed)?;
        taken
    }

    fn acquire_durably(
        &mut self,
        pool: &PoolFqdn,
        owner: &Owner,
        job_id: Uuid,
        now: Timestamp,
    ) -> Result<Lease> {
        crate::failpoint::fail_point!("store.service.acquire");
        let now_ms = now.as_millisecond();
        let failed = failure("take a lease in", &self.path);
        let transaction =
            self.connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(&failed)?;
        let row: Option<(i64, String, String, i64)> = transaction
            .query_row(
                "SELECT generation, owner, job_id, expires_ms FROM csb_lease WHERE pool = ?1",
                [pool.as_str()],
                |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)),
            )
            .optional()
            .map_err(&failed)?;
        let mut generation = 1;
        let mut taken_over_from = None;
        if let Some((last, holder, holder_job, expires_ms)) = row {
            let holder: Option<Owner> = serde_json::from_str(&holder).ok();
            let released = expires_ms == 0;
            let dead = holder.as_ref().is_some_and(Owner::is_dead);
            if !released && !dead && expires_ms > now_ms {
                return Err(conflict(pool, holder.as_ref(), &holder_job, expires_ms));
            }
            generation = last + 1;
            taken_over_from = if released { None } else { Uuid::parse_str(&holder_job).ok() };
        }
        let owner = serde_json::to_string(owner).unwrap_or_default();
        transaction
            .execute(
                "INSERT INTO csb_lease (pool, generation, owner, job_id, acquired_ms, expires_ms)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6)
                 ON CONFLICT (pool) DO UPDATE SET generation = excluded.generation, owner = excluded.owner,
                     job_id = excluded.job_id, acquired_ms = excluded.acquired_ms, expires_ms = excluded.expires_ms",
                params![pool.as_str(), generation, owner, job_id.to_string(), now_ms, expiry(now_ms)],
            )
            .map_err(&failed)?;
        transaction.commit().map_err(&failed)?;
        Ok(Lease { pool: pool.clone(), generation: Generation(generation), job_id, taken_over_from })
    }

    /// Prolongs a lease from now.
    ///
    /// # Errors
    /// `Fenced` if somebody else has taken it over meanwhile.
    pub fn renew(&mut self, lease: &Lease, now: Timestamp) -> Result<()> {
        self.set_expiry(lease, expiry(now.as_millisecond()))
    }

    /// Gives a lease back. The row stays, so that the generation keeps growing.
    ///
    /// # Errors
    /// `Fenced` if somebody else has taken it over meanwhile.
    pub fn release(&mut self, lease: &Lease) -> Result<()> {
        self.set_expiry(lease, 0)
    }

    fn set_expiry(&mut self, lease: &Lease, expires_ms: i64) -> Result<()> {
        let changed = self
            .connection
            .execute(
                "UPDATE csb_lease SET expires_ms = ?1 WHERE pool = ?2 AND generation = ?3",
                params![expires_ms, lease.pool.as_str(), lease.generation.0],
            )
            .map_err(failure("renew a lease in", &self.path))?;
        if changed == 1 { Ok(()) } else { Err(fenced(&lease.pool)) }
    }

    /// Who holds the lease of a pool, or held it last.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn holder(&self, pool: &PoolFqdn) -> Result<Option<LeaseHolder>> {
        let row: Option<(String, String)> = self
            .connection
            .query_row("SELECT owner, job_id FROM csb_lease WHERE pool = ?1", [pool.as_str()], |row| {
                Ok((row.get(0)?, row.get(1)?))
            })
            .optional()
            .map_err(failure("read", &self.path))?;
        Ok(row.and_then(|(owner, job_id)| {
            Some(LeaseHolder {
                owner: serde_json::from_str(&owner).ok()?,
                job_id: Uuid::parse_str(&job_id).ok()?,
            })
        }))
    }

    /// The last seen state of a module.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn state(&self, pool: &PoolFqdn, module: &str) -> Result<Option<StoredState>> {
        self.connection
            .query_row(
                "SELECT state, cursor, reason, observed_ms, last_success_ms FROM csb_module_state
                 WHERE pool = ?1 AND module = ?2",
                [pool.as_str(), module],
                |row| {
                    let state: String = row.get(0)?;
                    Ok(StoredState {
                        state: serde_json::from_str(&state).unwrap_or_default(),
                        cursor: row.get(1)?,
                        reason: row.get(2)?,
                        observed_at: timestamp(row.get(3)?),
                        last_success: row.get::<_, Option<i64>>(4)?.map(timestamp),
                    })
                },
            )
            .optional()
            .map_err(failure("read", &self.path))
    }

    /// Remembers the state of a module; a `last_success` of none keeps the one that is stored.
    ///
    /// # Errors
    /// When the database cannot be written; `Fenced` if the lease is somebody else's by now.
    pub fn set_state(&mut self, lease: &Lease, module: &str, state: &StoredState) -> Result<()> {
        let failed = failure("write a state to", &self.path);
        let transaction =
            self.connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(&failed)?;
        check_generation(&transaction, &self.path, &lease.pool, lease.generation)?;
        transaction
            .execute(
                "INSERT INTO csb_module_state (pool, module, state, cursor, reason, observed_ms, last_success_ms)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
                 ON CONFLICT (pool, module) DO UPDATE SET state = excluded.state, cursor = excluded.cursor,
                     reason = excluded.reason, observed_ms = excluded.observed_ms,
                     last_success_ms = coalesce(excluded.last_success_ms, last_success_ms)",
                params![
                    lease.pool.as_str(),
                    module,
                    serde_json::to_string(&state.state).unwrap_or_default(),
                    state.cursor,
                    state.reason,
                    state.observed_at.as_millisecond(),
                    state.last_success.map(Timestamp::as_millisecond),
                ],
            )
            .map_err(&failed)?;
        transaction.commit().map_err(&failed)
    }

    /// Whether anything is known about a pool's modules.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn has_states(&self, pool: &PoolFqdn) -> Result<bool> {
        self.connection
            .query_row(
                "SELECT EXISTS (SELECT 1 FROM csb_module_state WHERE pool = ?1)",
                [pool.as_str()],
                |row| row.get(0),
            )
            .map_err(failure("read", &self.path))
    }

    /// Forgets what is known about a pool's modules. The lease row stays, so that its generation keeps growing.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub fn forget_states(&mut self, pool: &PoolFqdn) -> Result<usize> {
        self.connection
            .execute("DELETE FROM csb_module_state WHERE pool = ?1", [pool.as_str()])
            .map_err(failure("write", &self.path))
    }
}

/// Refuses a transaction of somebody whose lease was taken over.
fn check_generation(
    transaction: &Transaction<'_>,
    path: &Path,
    pool: &PoolFqdn,
    generation: Generation,
) -> Result<()> {
    let current: Option<i64> = transaction
        .query_row("SELECT generation FROM csb_lease WHERE pool = ?1", [pool.as_str()], |row| row.get(0))
        .optional()
        .map_err(failure("read", path))?;
    if current == Some(generation.0) { Ok(()) } else { Err(fenced(pool)) }
}

fn conflict(pool: &PoolFqdn, holder: Option<&Owner>, job_id: &str, expires_ms: i64) -> Error {
    let (machine, process) = holder.map_or(("another machine".to_owned(), "?".to_owned()), |o| {
        (o.machine.clone(), o.process_id.to_string())
    });
    Error::new(
        ErrorKind::Conflict,
        format!(
            "A backup of {pool} is already running: job {job_id} on {machine}, process {process}; its lease lasts until {}.",
            timestamp(expires_ms)
        ),
        "Wait for that job, or stop it with Stop-CsBackupJob.",
    )
    .at("pool", pool)
    .at("jobId", job_id)
    .at("machine", machine)
    .at("processId", process)
}

fn expiry(now_ms: i64) -> i64 {
    now_ms.saturating_add(i64::try_from(LEASE_DURATION.as_millis()).unwrap_or(i64::MAX))
}

fn timestamp(ms: i64) -> Timestamp {
    Timestamp::from_millisecond(ms).unwrap_or_default()
}

fn failure<'a>(doing: &'a str, path: &Path) -> impl Fn(rusqlite::Error) -> Error + 'a {
    let path = path.to_owned();
    move |cause| sqlite_error(doing, &path, &cause)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::ExportState;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_700_000_000 + seconds).unwrap()
    }

    fn elsewhere() -> Owner {
        Owner { machine: "elsewhere".into(), ..Owner::current("elsewhere") }
    }

    fn fixture() -> (tempfile::TempDir, ServiceStore, PoolFqdn) {
        let folder = tempfile::tempdir().unwrap();
        let store = ServiceStore::open(&folder.path().join("service.sqlite")).unwrap();
        (folder, store, PoolFqdn::parse("atl.example.com").unwrap())
    }

    #[test]
    fn of_many_that_come_first_at_once_one_gets_the_lease_and_the_others_a_conflict() {
        for _ in 0..30 {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("service.sqlite");
            let pool = PoolFqdn::parse("atl.example.com").unwrap();
            let start = std::sync::Barrier::new(4);
            let take = || {
                start.wait();
                ServiceStore::open(&path)?.acquire(&pool, &Owner::current("here"), Uuid::new_v4(), at(0))
            };
            let outcomes: Vec<Option<ErrorKind>> = std::thread::scope(|scope| {
                let all: Vec<_> = (0..4).map(|_| scope.spawn(take)).collect();
                all.into_iter().map(|one| one.join().unwrap().err().map(|error| error.kind)).collect()
            });
            let refused = outcomes.iter().filter(|outcome| **outcome == Some(ErrorKind::Conflict)).count();
            assert_eq!((refused, outcomes.contains(&None)), (3, true), "{outcomes:?}");
        }
    }

    #[test]
    fn a_held_lease_is_a_conflict_that_names_its_holder() {
        let (_folder, mut store, pool) = fixture();
        store.acquire(&pool, &elsewhere(), Uuid::from_u128(1), at(0)).unwrap();
        let error = store.acquire(&pool, &Owner::current("here"), Uuid::from_u128(2), at(29)).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Conflict);
        assert_eq!(error.context["machine"], "elsewhere");
        assert_eq!(error.context["jobId"], Uuid::from_u128(1).to_string());
    }

    #[test]
    fn an_expired_lease_is_taken_over_and_its_holder_fenced() {
        let (_folder, mut store, pool) = fixture();
        let old = store.acquire(&pool, &elsewhere(), Uuid::from_u128(1), at(0)).unwrap();
        let new = store.acquire(&pool, &Owner::current("here"), Uuid::from_u128(2), at(31)).unwrap();
        assert!(new.generation > old.generation);
        assert_eq!(new.taken_over_from, Some(Uuid::from_u128(1)));
        assert_eq!(store.renew(&old, at(32)).unwrap_err().kind, ErrorKind::Fenced);
        let state = StoredState {
            state: ModuleState::default(),
            cursor: None,
            reason: None,
            observed_at: at(32),
            last_success: None,
        };
        assert_eq!(store.set_state(&old, "m", &state).unwrap_err().kind, ErrorKind::Fenced);
        store.set_state(&new, "m", &state).unwrap();
    }

    #[test]
    fn releasing_keeps_the_generation_growing() {
        let (_folder, mut store, pool) = fixture();
        let first = store.acquire(&pool, &elsewhere(), Uuid::from_u128(1), at(0)).unwrap();
        store.release(&first).unwrap();
        let second = store.acquire(&pool, &elsewhere(), Uuid::from_u128(2), at(1)).unwrap();
        assert_eq!(second.generation.0, first.generation.0 + 1);
        assert_eq!(second.taken_over_from, None);
    }

    #[test]
    fn a_lease_of_a_dead_process_is_taken_over_at_once() {
        let (_folder, mut store, pool) = fixture();
        let dead = Owner { process_id: 4_000_000, ..Owner::current("here") };
        store.acquire(&pool, &dead, Uuid::from_u128(1), at(0)).unwrap();
        let lease = store.acquire(&pool, &Owner::current("here"), Uuid::from_u128(2), at(1)).unwrap();
        assert_eq!(lease.taken_over_from, Some(Uuid::from_u128(1)));
    }

    #[test]
    fn a_state_keeps_its_last_success_through_failures() {
        let (_folder, mut store, pool) = fixture();
        let lease = store.acquire(&pool, &elsewhere(), Uuid::from_u128(1), at(0)).unwrap();
        let mut state = StoredState {
            state: ModuleState { export: ExportState::SteadyState, ..Default::default() },
            cursor: Some("7".into()),
            reason: None,
            observed_at: at(1),
            last_success: Some(at(1)),
        };
        store.set_state(&lease, "m", &state).unwrap();
        state.state.export = ExportState::ErrorState;
        state.last_success = None;
        state.reason = Some("broken".into());
        store.set_state(&lease, "m", &state).unwrap();
        let stored = store.state(&pool, "m").unwrap().unwrap();
        assert_eq!(stored.state.export, ExportState::ErrorState);
        assert_eq!(stored.last_success, Some(at(1)));
        assert_eq!(stored.reason.as_deref(), Some("broken"));
    }
}
