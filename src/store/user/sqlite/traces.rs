//! Taking everything of ours out of a pair of databases; what the server or the copy holds stays.

use std::path::Path;

use super::PREFIX;
use super::pair::SqlitePair;
use crate::error::Result;
use crate::store::Trace;
use crate::store::sqlite::{Access, begin_write, open, quote, sqlite_error};

/// Lists what there is of ours in both databases, and removes it unless this is a dry run.
pub(super) fn remove(pair: &SqlitePair, dry_run: bool) -> Result<Vec<Trace>> {
    let mut removed = remove_from(&pair.source, dry_run)?;
    removed.extend(remove_from(&pair.standby, dry_run)?);
    Ok(removed)
}

fn remove_from(path: &Path, dry_run: bool) -> Result<Vec<Trace>> {
    if !path.exists() {
        return Ok(Vec::new());
    }
    let failed = |cause| sqlite_error("clean", path, &cause);
    let connection = open(path, if dry_run { Access::Read } else { Access::Write })?;
    let transaction = if dry_run { connection.unchecked_transaction() } else { begin_write(&connection) }
        .map_err(failed)?;
    let found: Vec<(String, String)> = transaction
        .prepare(
            "SELECT type, name FROM sqlite_schema WHERE substr(name, 1, 4) = ?1 AND type IN ('trigger', 'table')
             ORDER BY type = 'table', name",
        )
        .and_then(|mut statement| {
            statement.query_map([PREFIX], |row| Ok((row.get(0)?, row.get(1)?)))?.collect()
        })
        .map_err(failed)?;
    let mut traces = Vec::new();
    for (kind, name) in found {
        if !dry_run {
            let sql = format!("DROP {} {}", kind.to_ascii_uppercase(), quote(&name));
            transaction.execute_batch(&sql).map_err(failed)?;
        }
        traces.push(Trace { store: format!("sqlite:{}", path.display()), kind, name });
    }
    transaction.commit().map_err(failed)?;
    Ok(traces)
}
