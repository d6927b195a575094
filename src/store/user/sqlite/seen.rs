//! What the standby's file looked like when a job left it: a file that looks otherwise was written to by somebody
//! else, or by a job that was killed before it could look.

use std::path::{Path, PathBuf};

use rusqlite::Connection;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::look::{Look, TICK};
use crate::store::files::with_suffix;

/// The outside of the standby's file, and the token of the cursor within.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Seen {
    token: Uuid,
    #[serde(flatten)]
    look: Look,
}

impl Seen {
    fn now(standby: &Path, token: Uuid) -> Option<Self> {
        Look::of(standby).map(|look| Seen { token, look })
    }
}

/// Where the look is kept: beside the standby, because nothing inside it can say what writing it changed.
pub(super) fn place(standby: &Path) -> PathBuf {
    with_suffix(standby, ".csb-seen")
}

/// Whether the standby is as the job left it that wrote this token.
pub(super) fn is_as_left(standby: &Path, token: Uuid) -> bool {
    let kept = std::fs::read(place(standby)).ok().and_then(|kept| serde_json::from_slice::<Seen>(&kept).ok());
    kept.is_some() && kept == Seen::now(standby, token)
}

/// Keeps what the standby looks like after a commit. Nobody else has written since the transaction whose
/// `data_version` is given, or nothing is kept; and as long as the file's times could not tell, nobody can. What was
/// committed is so in any case: a look that cannot be taken costs a comparison, no more.
pub(super) fn keep(connection: &Connection, standby: &Path, token: Uuid, version: i64) {
    let Ok(held) = connection.unchecked_transaction() else { return };
    if data_version(&held).is_ok_and(|now| now == version) {
        keep_published(standby, token);
        std::thread::sleep(TICK);
    }
}

/// Keeps what a new standby looks like at its place.
pub(super) fn keep_published(standby: &Path, token: Uuid) {
    if let Some(kept) = Seen::now(standby, token).and_then(|seen| serde_json::to_vec(&seen).ok()) {
        let _ = std::fs::write(place(standby), kept);
    }
}

/// Changes when another connection has written.
pub(super) fn data_version(connection: &Connection) -> rusqlite::Result<i64> {
    // Only a statement that reads takes the lock under which the number holds.
    connection.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(()))?;
    connection.pragma_query_value(None, "data_version", |row| row.get(0))
}
