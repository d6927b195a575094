//! The last seen states of modules.

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, Transaction, params};

use crate::store::leases::StoredState;
use crate::topology::PoolFqdn;

pub(super) fn state(
    connection: &Connection,
    pool: &PoolFqdn,
    module: &str,
) -> rusqlite::Result<Option<StoredState>> {
    connection
        .prepare_cached(
            "SELECT state, cursor, reason, observed_ms, last_success_ms FROM csb_module_state
             WHERE pool = ?1 AND module = ?2",
        )?
        .query_row([pool.as_str(), module], |row| {
            let state: String = row.get(0)?;
            Ok(StoredState {
                state: serde_json::from_str(&state).unwrap_or_default(),
                cursor: row.get(1)?,
                reason: row.get(2)?,
                observed_at: timestamp(row.get(3)?),
                last_success: row.get::<_, Option<i64>>(4)?.map(timestamp),
            })
        })
        .optional()
}

pub(super) fn set(
    transaction: &Transaction<'_>,
    pool: &PoolFqdn,
    module: &str,
    state: &StoredState,
) -> rusqlite::Result<()> {
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
            serde_json::to_string(&state.state).unwrap_or_default(),
            state.cursor,
            state.reason,
            state.observed_at.as_millisecond(),
            state.last_success.map(Timestamp::as_millisecond),
        ])
        .map(|_| ())
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
