//! Taking, renewing and giving back a lease, and the rule by which one is taken over.

use std::time::Duration;

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, Row, Transaction, params};
use uuid::Uuid;

use crate::clock::Clock;
use crate::store::Generation;
use crate::store::leases::{Acquired, Claim, Holder, LEASE_DURATION, Lease, LeaseOwner, given_back};
use crate::topology::PoolFqdn;

/// Takes the lease where it is free, or its owner has ended or was silent for long enough.
pub(super) fn acquire(
    transaction: &Transaction<'_>,
    claim: &Claim,
    clock: &dyn Clock,
) -> rusqlite::Result<Acquired> {
    let pool = &claim.pool;
    let now = clock.now();
    let mut last = 0;
    let mut taken_over_from = None;
    if let Some((holder, is_held)) = find(transaction, pool)? {
        let ended = holder.owner.as_ref().is_some_and(LeaseOwner::is_dead) || given_back::knows(&holder);
        if is_held && !ended && silence(transaction, &holder, clock)? < LEASE_DURATION {
            return Ok(Acquired::Busy(holder));
        }
        last = holder.generation.0;
        taken_over_from = (is_held && !holder.job_id.is_nil()).then_some(holder.job_id);
    }
    let generation = next(last, now)?;
    transaction
        .prepare_cached(
            "INSERT INTO csb_lease (pool, generation, owner, job_id, counter, is_held, since_ms)
             VALUES (?1, ?2, ?3, ?4, 0, 1, ?5)
             ON CONFLICT (pool) DO UPDATE SET generation = excluded.generation, owner = excluded.owner,
                 job_id = excluded.job_id, counter = 0, is_held = 1, since_ms = excluded.since_ms",
        )?
        .execute(params![
            pool.as_str(),
            generation,
            serde_json::to_string(&claim.owner).unwrap_or_default(),
            claim.job_id.to_string(),
            now.as_millisecond()
        ])?;
    transaction.prepare_cached("DELETE FROM csb_lease_seen WHERE pool = ?1")?.execute([pool.as_str()])?;
    let generation = Generation(generation);
    Ok(Acquired::Held(Lease { pool: pool.clone(), generation, job_id: claim.job_id, taken_over_from }))
}

/// A generation that was never given out. It is also later than those of a database that was lost, or set back to an
/// older state, as far as the clock was right: the stores would take its jobs for those of an older owner.
fn next(last: i64, now: Timestamp) -> rusqlite::Result<i64> {
    let grown = last.checked_add(1).ok_or(rusqlite::Error::IntegralValueOutOfRange(0, last))?;
    Ok(grown.max(now.as_millisecond()))
}

/// For how long this machine is known to have seen the counter stand still. What it sees now is noted for whoever comes
/// later; notes of another boot say nothing, because its clock was another one.
fn silence(transaction: &Transaction<'_>, holder: &Holder, clock: &dyn Clock) -> rusqlite::Result<Duration> {
    let (pool, generation, boot) = (holder.pool.as_str(), holder.generation.0, clock.boot());
    let now_ms = i64::try_from(clock.monotonic().as_millis()).unwrap_or(i64::MAX);
    let seen_ms: Option<i64> = transaction
        .prepare_cached(
            "SELECT seen_ms FROM csb_lease_seen
             WHERE pool = ?1 AND boot = ?2 AND generation = ?3 AND counter = ?4 AND seen_ms <= ?5",
        )?
        .query_row(params![pool, boot, generation, holder.counter, now_ms], |row| row.get(0))
        .optional()?;
    if let Some(seen_ms) = seen_ms {
        return Ok(Duration::from_millis(now_ms.abs_diff(seen_ms)));
    }
    transaction
        .prepare_cached(
            "INSERT OR REPLACE INTO csb_lease_seen (pool, boot, generation, counter, seen_ms)
             VALUES (?1, ?2, ?3, ?4, ?5)",
        )?
        .execute(params![pool, boot, generation, holder.counter, now_ms])?;
    Ok(Duration::ZERO)
}

pub(super) fn renew(transaction: &Transaction<'_>, lease: &Lease) -> rusqlite::Result<()> {
    transaction
        .prepare_cached("UPDATE csb_lease SET counter = counter + 1 WHERE pool = ?1")?
        .execute([lease.pool.as_str()])
        .map(|_| ())
}

/// Renews the lease for a job whose earlier helper has ended, or gave it back when its line was cut: this process holds it then.
pub(super) fn take_up(
    transaction: &Transaction<'_>,
    lease: &Lease,
    owner: &LeaseOwner,
) -> rusqlite::Result<()> {
    let found = find(transaction, &lease.pool)?;
    let is_lost = |(holder, is_held): &(Holder, bool)| {
        holder.job_id == lease.job_id && (!is_held || holder.owner.as_ref().is_some_and(LeaseOwner::is_dead))
    };
    if found.as_ref().is_some_and(is_lost) {
        transaction
            .prepare_cached("UPDATE csb_lease SET is_held = 1, owner = ?2 WHERE pool = ?1")?
            .execute(params![lease.pool.as_str(), serde_json::to_string(owner).unwrap_or_default()])?;
    }
    renew(transaction, lease)
}

pub(super) fn release(transaction: &Transaction<'_>, lease: &Lease) -> rusqlite::Result<()> {
    transaction
        .prepare_cached("UPDATE csb_lease SET is_held = 0 WHERE pool = ?1")?
        .execute([lease.pool.as_str()])
        .map(|_| ())
}

pub(super) fn holder(connection: &Connection, pool: &PoolFqdn) -> rusqlite::Result<Option<Holder>> {
    Ok(find(connection, pool)?.map(|(holder, _)| holder))
}

/// Who has, or had, the lease, and whether it was never given back.
fn find(connection: &Connection, pool: &PoolFqdn) -> rusqlite::Result<Option<(Holder, bool)>> {
    let found = |row: &Row<'_>| {
        let owner: String = row.get(1)?;
        let job_id: String = row.get(2)?;
        let holder = Holder {
            pool: pool.clone(),
            generation: Generation(row.get(0)?),
            owner: serde_json::from_str(&owner).ok(),
            job_id: Uuid::parse_str(&job_id).unwrap_or_default(),
            counter: row.get(3)?,
            since: Timestamp::from_millisecond(row.get(5)?).unwrap_or_default(),
        };
        Ok((holder, row.get(4)?))
    };
    connection
        .prepare_cached(
            "SELECT generation, owner, job_id, counter, is_held, since_ms FROM csb_lease WHERE pool = ?1",
        )?
        .query_row([pool.as_str()], found)
        .optional()
}
