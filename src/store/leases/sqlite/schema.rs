//! The tables of a service database, and how one of another build becomes one of this build.

use std::path::Path;

use rusqlite::{Connection, Transaction};

use crate::error::Result;
use crate::store::sqlite::Schema;

/// Builds before the first version kept none.
const SCHEMA: Schema = Schema { what: "The service database", version: 4 };

/// `csb_lease_seen` is what the processes of each boot of a machine last saw of a lease that they wanted, and when by the
/// clock of that boot.
const TABLES: &str = "
CREATE TABLE csb_lease (
    pool TEXT PRIMARY KEY NOT NULL,
    generation INTEGER NOT NULL,
    owner TEXT NOT NULL,
    job_id TEXT NOT NULL,
    counter INTEGER NOT NULL,
    is_held INTEGER NOT NULL CHECK (is_held IN (0, 1)),
    since_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE csb_lease_seen (
    pool TEXT NOT NULL,
    boot TEXT NOT NULL,
    generation INTEGER NOT NULL,
    counter INTEGER NOT NULL,
    seen_ms INTEGER NOT NULL,
    PRIMARY KEY (pool, boot)
) STRICT, WITHOUT ROWID;
CREATE TABLE csb_journal (
    pool TEXT NOT NULL,
    job_id TEXT NOT NULL,
    step INTEGER NOT NULL,
    id TEXT NOT NULL,
    command TEXT NOT NULL,
    generation INTEGER NOT NULL,
    epoch INTEGER NOT NULL DEFAULT 0,
    began_ms INTEGER NOT NULL,
    ended_ms INTEGER,
    outcome TEXT,
    PRIMARY KEY (pool, job_id, step)
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS csb_module_state (
    pool TEXT NOT NULL,
    module TEXT NOT NULL,
    state TEXT NOT NULL,
    cursor TEXT,
    reason TEXT,
    observed_ms INTEGER NOT NULL,
    last_success_ms INTEGER,
    PRIMARY KEY (pool, module)
) STRICT, WITHOUT ROWID;
";

/// Leases used to have a time at which they run out, 0 where they were given back. The content index used to be in the same
/// database: the next cycle makes its own anew from the files, which are read for that and not copied.
const FROM_FORMER: &str = "
INSERT INTO csb_lease (pool, generation, owner, job_id, counter, is_held, since_ms)
    SELECT pool, generation, owner, job_id, 0, expires_ms <> 0, acquired_ms FROM csb_former_lease;
DROP TABLE csb_former_lease;
DROP TABLE IF EXISTS csb_content_store;
DROP TABLE IF EXISTS csb_content_object;
DROP TABLE IF EXISTS csb_content_folder;
";

/// Makes the tables what this build expects. Leases are kept: their generations must never be given out twice.
///
/// # Errors
/// As for [`Schema::prepare`].
pub(super) fn prepare(connection: &mut Connection, path: &Path) -> Result<()> {
    if SCHEMA.prepare(connection, path, convert)? == Some(true) {
        // Only to make the file smaller, by what the content index had. Whoever reads meanwhile keeps it as it is.
        let _ = connection.execute_batch("VACUUM");
    }
    Ok(())
}

/// Says whether there were leases of a former build.
fn convert(transaction: &Transaction<'_>) -> rusqlite::Result<bool> {
    let is_former = transaction.query_row(
        "SELECT EXISTS (SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = 'csb_lease')",
        [],
        |row| row.get(0),
    )?;
    if is_former {
        transaction.execute_batch("ALTER TABLE csb_lease RENAME TO csb_former_lease")?;
    }
    transaction.execute_batch(TABLES)?;
    if is_former {
        transaction.execute_batch(FROM_FORMER)?;
    }
    Ok(is_former)
}
