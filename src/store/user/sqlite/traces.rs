//! Taking everything of ours out of a pair of databases; what the server or the copy holds stays.

use std::path::Path;

use rusqlite::Connection;
use tokio_util::sync::CancellationToken;

use super::fresh::{all_unfinished, remove_file};
use super::pair::SqlitePair;
use super::reserved::own_objects;
use super::seen;
use super::source::{LOCK_PATIENCE, while_busy};
use super::standby;
use crate::error::Result;
use crate::store::Trace;
use crate::store::sqlite::{Access, begin_write, open, quote, sqlite_error};

/// Lists what there is of ours in both databases, and removes it unless this is a dry run.
pub(super) fn remove(pair: &SqlitePair, dry_run: bool) -> Result<Vec<Trace>> {
    let patiently = |path: &Path, leave| {
        while_busy(&CancellationToken::new(), LOCK_PATIENCE, || remove_from(path, dry_run, leave))
    };
    let mut removed = patiently(&pair.source, |_| Ok(()))?;
    removed.extend(patiently(&pair.standby, standby::mark_as_former)?);
    for place in [&pair.source, &pair.standby] {
        for (_, unfinished) in all_unfinished(place)? {
            if !dry_run {
                remove_file(&unfinished)?;
            }
            let name = unfinished.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let store = format!("sqlite:{}", place.display());
            removed.push(Trace { store, kind: "temporaryFile".to_owned(), name });
        }
    }
    if !dry_run {
        remove_file(&seen::place(&pair.standby))?;
    }
    Ok(removed)
}

/// Cleans one database; `leave` says what stays in one that something was removed from.
fn remove_from(
    path: &Path,
    dry_run: bool,
    leave: fn(&Connection) -> rusqlite::Result<()>,
) -> Result<Vec<Trace>> {
    if !path.exists() {
        return Ok(Vec::new());
    }
    let failed = |cause| sqlite_error("clean", path, &cause);
    let connection = open(path, if dry_run { Access::Read } else { Access::Write })?;
    let transaction = if dry_run { connection.unchecked_transaction() } else { begin_write(&connection) }
        .map_err(failed)?;
    let found = own_objects(&transaction).map_err(failed)?;
    let mut traces = Vec::new();
    for (kind, name) in found.into_iter().filter(|(_, name)| name != standby::FORMER) {
        if !dry_run {
            let sql = format!("DROP {} {}", kind.to_ascii_uppercase(), quote(&name));
            transaction.execute_batch(&sql).map_err(failed)?;
        }
        traces.push(Trace { store: format!("sqlite:{}", path.display()), kind, name });
    }
    if !dry_run && !traces.is_empty() {
        leave(&transaction).map_err(failed)?;
    }
    transaction.commit().map_err(failed)?;
    Ok(traces)
}
