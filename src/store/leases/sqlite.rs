//! Leases in a SQLite database: the *service database* of one direction.
//!
//! It is opened when it is first needed and stays open: opening it costs more than the few rows that a job writes. What a
//! power cut may take from it costs nothing: states are seen again by the next job, and a lease that was given back is one of
//! a process that died with the power. So only taking a lease waits for the disk, and closing does not move the log into
//! the database.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OptionalExtension, Transaction, TransactionBehavior};

use super::{Acquired, Claim, Holder, Lease, LeaseOwner, Leases, StoredState, given_back};
use crate::clock::Clock;
use crate::error::{Error, ErrorKind, Result};
use crate::platform::Rights;
use crate::store::sqlite::{OpenedFile, open_own_within, sqlite_error, tighten_database};
use crate::store::{Generation, Until, fenced};
use crate::topology::PoolFqdn;

mod journal;
mod lease;
mod schema;
mod states;

/// How long the write-ahead log may grow, in pages, before it is moved into the database: whoever opens the database
/// first reads all of it.
const LOG_PAGES: u32 = 200;

/// How long one attempt waits for another process's lock; whoever can wait longer tries again.
const ATTEMPT: Duration = Duration::from_millis(20);

/// A service database.
pub(in crate::store) struct SqliteLeases {
    path: PathBuf,
    clock: Arc<dyn Clock>,
    open: Mutex<Option<OpenDatabase>>,
}

/// An open one, and which file it is.
struct OpenDatabase {
    file: OpenedFile,
    connection: crate::store::sqlite::Database,
}

impl SqliteLeases {
    /// The database at this path. Nothing is opened yet.
    pub(in crate::store) fn new(path: PathBuf, clock: Arc<dyn Clock>) -> Self {
        SqliteLeases { path, clock, open: Mutex::new(None) }
    }

    /// Works on the database, which is made where there is none.
    fn made<R>(&self, until: &Until, work: impl Fn(&mut Connection) -> Result<R>) -> Result<R> {
        loop {
            match self.attempt(&work) {
                Err(error) if error.kind == ErrorKind::StoreBusy && !until.is_over() => {}
                done => return done,
            }
        }
    }

    /// Works on the database if there is one.
    fn existing<R>(&self, until: &Until, work: impl Fn(&mut Connection) -> Result<R>) -> Result<Option<R>> {
        crate::bound::touching(&self.path)?;
        let exists = self.path.try_exists().map_err(|cause| Error::io("look for", &self.path, &cause))?;
        if exists { self.made(until, work).map(Some) } else { Ok(None) }
    }

    /// Where another file lies there by now, that one is opened: nobody would find what is written to the former one.
    fn attempt<R>(&self, work: impl Fn(&mut Connection) -> Result<R>) -> Result<R> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if open.as_ref().is_some_and(|database| database.file.check().is_err()) {
            *open = None;
        }
        let database = match open.take() {
            Some(database) => open.insert(database),
            None => open.insert(self.database()?),
        };
        work(&mut database.connection)
    }

    fn database(&self) -> Result<OpenDatabase> {
        let path = &self.path;
        let found = OpenedFile::at(path);
        tighten_database(path, Rights::PRIVATE);
        let mut connection = open_own_within(path, ATTEMPT)?;
        connection
            .busy_timeout(ATTEMPT)
            .and_then(|()| connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true))
            .and_then(|_| connection.pragma_update(None, "wal_autocheckpoint", LOG_PAGES))
            .and_then(|()| connection.pragma_update(None, "synchronous", "NORMAL"))
            .map_err(failure("prepare", path))?;
        schema::prepare(&mut connection, path)?;
        // One that was made just now was not found before.
        let file = if found.check().is_ok() { found } else { OpenedFile::at(path) };
        Ok(OpenDatabase { file, connection })
    }

    /// Works in one transaction.
    fn write<R>(
        &self,
        connection: &mut Connection,
        doing: &str,
        work: impl Fn(&Transaction<'_>) -> rusqlite::Result<R>,
    ) -> Result<R> {
        let failed = failure(doing, &self.path);
        let transaction =
            connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(&failed)?;
        let done = work(&transaction).map_err(&failed)?;
        transaction.commit().map_err(&failed)?;
        Ok(done)
    }

    /// Works in one transaction, which begins with a look at the lease: nobody writes whose lease was taken over.
    fn write_held<R>(
        &self,
        lease: &Lease,
        until: &Until,
        doing: &str,
        work: impl Fn(&Transaction<'_>) -> rusqlite::Result<R>,
    ) -> Result<R> {
        let done = self.existing(until, |connection| {
            self.write(connection, doing, |transaction| {
                let current = generation(transaction, &lease.pool)?;
                if current == Some(lease.generation) { work(transaction).map(Some) } else { Ok(None) }
            })
        })?;
        done.flatten().ok_or_else(|| fenced(&lease.pool))
    }

    /// Renews a lease in the name of another process than the one that took it, where that has ended or gave it back though its job goes on.
    ///
    /// # Errors
    /// As for [`Leases::renew`].
    pub(super) fn take_up(&self, lease: &Lease, owner: &LeaseOwner, until: &Until) -> Result<()> {
        self.write_held(lease, until, "renew a lease in", |transaction| {
            lease::take_up(transaction, lease, owner)
        })
    }

    fn read<R>(&self, until: &Until, work: impl Fn(&Connection) -> rusqlite::Result<R>) -> Result<Option<R>> {
        self.existing(until, |connection| work(connection).map_err(failure("read", &self.path)))
    }
}

impl Leases for SqliteLeases {
    fn acquire(&self, claim: &Claim, until: &Until) -> Result<Acquired> {
        let doing = "take a lease in";
        let synchronous = |connection: &Connection, level| {
            connection.pragma_update(None, "synchronous", level).map_err(failure(doing, &self.path))
        };
        self.made(until, |connection| {
            crate::platform::failpoint::fail_point!("store.leases.acquire");
            synchronous(connection, "FULL")?;
            let acquired = self.write(connection, doing, |transaction| {
                lease::acquire(transaction, claim, self.clock.as_ref())
            });
            synchronous(connection, "NORMAL")?;
            acquired
        })
    }

    fn renew(&self, lease: &Lease, until: &Until) -> Result<()> {
        self.write_held(lease, until, "renew a lease in", |transaction| lease::renew(transaction, lease))
    }

    fn release(&self, lease: &Lease, until: &Until) -> Result<()> {
        let given = self.write_held(lease, until, "give a lease back in", |transaction| {
            lease::release(transaction, lease)
        });
        if given.as_ref().is_err_and(|error| error.kind != ErrorKind::Fenced) {
            given_back::remember(lease);
        }
        given
    }

    fn holder(&self, pool: &PoolFqdn, until: &Until) -> Result<Option<Holder>> {
        Ok(self.read(until, |connection| lease::holder(connection, pool))?.flatten())
    }

    fn state(&self, pool: &PoolFqdn, module: &str, until: &Until) -> Result<Option<StoredState>> {
        self.read(until, |connection| states::state(connection, pool, module))?.flatten().transpose()
    }

    fn set_state(&self, lease: &Lease, module: &str, state: &StoredState, until: &Until) -> Result<()> {
        self.write_held(lease, until, "write a state to", |transaction| {
            states::set(transaction, &lease.pool, module, state)
        })?
    }

    fn has_states(&self, pool: &PoolFqdn, until: &Until) -> Result<bool> {
        Ok(self.read(until, |connection| states::has(connection, pool))?.unwrap_or_default())
    }

    fn forget_states(&self, lease: &Lease, until: &Until) -> Result<usize> {
        self.write_held(lease, until, "forget states in", |transaction| {
            states::forget(transaction, &lease.pool)
        })
    }
}

/// The newest generation of a pool's lease.
fn generation(connection: &Connection, pool: &PoolFqdn) -> rusqlite::Result<Option<Generation>> {
    connection
        .prepare_cached("SELECT generation FROM csb_lease WHERE pool = ?1")?
        .query_row([pool.as_str()], |row| row.get(0).map(Generation))
        .optional()
}

fn failure<'a>(doing: &'a str, path: &Path) -> impl Fn(rusqlite::Error) -> Error + 'a {
    let path = path.to_owned();
    move |cause| sqlite_error(doing, &path, &cause)
}

#[cfg(test)]
mod tests;
