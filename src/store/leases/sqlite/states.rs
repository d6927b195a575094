//! The last seen states of modules.

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, Transaction, params};

use crate::error::{ErrorKind, Result};
use crate::report::ModuleState;
use crate::store::leases::StoredState;
use crate::stored::Stored;
use crate::topology::PoolFqdn;

pub(super) fn state(
    connection: &Connection,
    pool: &PoolFqdn,
    module: &str,
) -> rusqlite::Result<Option<Result<StoredState>>> {
    connection
        .prepare_cached(
            "SELECT state, cursor, reason, observed_ms, last_success_ms FROM csb_module_state
             WHERE pool = ?1 AND module = ?2",
        )?
        .query_row([pool.as_str(), module], |row| {
            let text: String = row.get(0)?;
            let state = StoredState {
                state: ModuleState::default(),
                cursor: row.get(1)?,
                reason: row.get(2)?,
                observed_at: timestamp(row.get(3)?),
                last_success: row.get::<_, Option<i64>>(4)?.map(timestamp),
            };
            Ok(kept(&text).map(|kept| StoredState { state: kept.into_known(), ..state }))
        })
        .optional()
}

/// The state of a module as it is kept; a damaged one is seen again by the next job.
fn kept(text: &str) -> Result<Stored<ModuleState>> {
    match Stored::read(text) {
        Err(error) if error.kind == ErrorKind::Corrupt => Ok(Stored::new(ModuleState::default())),
        read => read,
    }
}

/// Writes nothing over a state that only a newer build understands.
pub(super) fn set(
    transaction: &Transaction<'_>,
    pool: &PoolFqdn,
    module: &str,
    state: &StoredState,
) -> rusqlite::Result<Result<()>> {
    let present: Option<String> = transaction
        .prepare_cached("SELECT state FROM csb_module_state WHERE pool = ?1 AND module = ?2")?
        .query_row([pool.as_str(), module], |row| row.get(0))
        .optional()?;
    let present = present.map_or_else(|| Ok(Stored::new(ModuleState::default())), |text| kept(&text));
    let text = match present.and_then(|present| present.replace(state.state.clone())?.to_json()) {
        Ok(text) => text,
        Err(error) => return Ok(Err(error)),
    };
    transaction
        .prepare_cached(
            "INSERT INTO csb_module_state (pool, module, state, cursor, reason, observed_ms, last_success_ms)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
             ON CONFLICT (pool, module) DO UPDATE SET state = excluded.state, cursor = excluded.cursor,
                 reason = excluded.reason, observed_ms = excluded.observed_ms,
                 last_success_ms = coalesce(excluded.last_success_ms, last_success_ms)",
        )?
        .execute(params![
            pool.as_str(),
            module,
            text,
            state.cursor,
            state.reason,
            state.observed_at.as_millisecond(),
            state.last_success.map(Timestamp::as_millisecond),
        ])
        .map(|_| Ok(()))
}

pub(super) fn has(connection: &Connection, pool: &PoolFqdn) -> rusqlite::Result<bool> {
    connection.query_row(
        "SELECT EXISTS (SELECT 1 FROM csb_module_state WHERE pool = ?1)",
        [pool.as_str()],
        |row| row.get(0),
    )
}

pub(super) fn forget(transaction: &Transaction<'_>, pool: &PoolFqdn) -> rusqlite::Result<usize> {
    transaction.execute("DELETE FROM csb_module_state WHERE pool = ?1", [pool.as_str()])
}

fn timestamp(ms: i64) -> Timestamp {
    Timestamp::from_millisecond(ms).unwrap_or_default()
}
