//! What the standby's file looked like when a job left it: a file that looks otherwise was written to by somebody
//! else, or by a job that was killed before it could look.

use std::io::Write;
use std::path::{Path, PathBuf};

use rusqlite::Connection;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::look::TICK;
use crate::platform::{FileStat, Rights, create_file, set_modified};
use crate::store::files::with_suffix;

/// The outside of the standby's file, and the token of the cursor within.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Seen {
    token: Uuid,
    #[serde(flatten)]
    look: FileStat,
}

impl Seen {
    fn now(standby: &Path, token: Uuid) -> Option<Self> {
        FileStat::of(standby).map(|look| Seen { token, look })
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
/// `data_version` is given, or nothing is kept. What was committed is so in any case: a look that cannot be taken costs
/// a comparison, no more.
pub(super) fn keep(connection: &Connection, standby: &Path, token: Uuid, version: i64) {
    let Ok(_held) = connection.unchecked_transaction() else { return };
    if data_version(connection).is_ok_and(|now| now == version) {
        keep_published(standby, token);
    }
}

/// Keeps what a new standby looks like at its place.
pub(super) fn keep_published(standby: &Path, token: Uuid) {
    let is_apart = set_apart(standby);
    if let Some(kept) = Seen::now(standby, token).and_then(|seen| serde_json::to_vec(&seen).ok()) {
        // In place: a kill in between costs a comparison, and leaves no file behind that nobody sweeps.
        let path = place(standby);
        let _ = std::fs::remove_file(&path);
        let _ = create_file(&path, Rights::PRIVATE).and_then(|mut file| file.write_all(&kept));
    }
    if !is_apart {
        // As long as the clock has not moved on, a write would leave the same times.
        std::thread::sleep(TICK);
    }
}

/// Dates the file's last write back by the least there is, so that no later write can leave the same time, how coarse
/// ever the clock; false where that cannot be. By its path: closing the file would take away the locks that this process
/// holds on it.
fn set_apart(standby: &Path) -> bool {
    let Some((seconds, nanoseconds)) = FileStat::of(standby).map(|look| look.modified) else { return false };
    let earlier = match nanoseconds {
        0 => (seconds - 1, 999_999_999),
        _ => (seconds, nanoseconds - 1),
    };
    set_modified(standby, earlier).is_ok()
        && FileStat::of(standby).is_some_and(|look| look.modified < (seconds, nanoseconds))
}

/// Changes when another connection has written.
pub(super) fn data_version(connection: &Connection) -> rusqlite::Result<i64> {
    // Only a statement that reads takes the lock under which the number holds.
    connection.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(()))?;
    connection.pragma_query_value(None, "data_version", |row| row.get(0))
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    /// A file that was last written at this time, as far as its file system can say so.
    fn written(seconds: i64, nanoseconds: i64) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        set_modified(file.path(), (seconds, nanoseconds)).unwrap();
        file
    }

    #[test]
    fn a_write_is_dated_back_by_a_nanosecond() {
        for (time, earlier) in [((100, 5), (100, 4)), ((100, 0), (99, 999_999_999))] {
            let file = written(time.0, time.1);
            assert!(set_apart(file.path()));
            assert_eq!(FileStat::of(file.path()).unwrap().modified, earlier);
        }
        assert!(!set_apart(Path::new("/nowhere")));
    }

    #[test]
    fn where_no_earlier_time_can_be_had_the_clock_is_waited_for() {
        // The first time that ext4 and XFS can keep.
        let file = written(-(1 << 31), 0);
        let before = FileStat::of(file.path()).unwrap().modified;
        let (is_apart, started) = (set_apart(file.path()), Instant::now());
        assert_eq!(is_apart, FileStat::of(file.path()).unwrap().modified < before);
        keep_published(file.path(), Uuid::nil());
        assert!(is_apart || started.elapsed() >= TICK);
        assert!(is_as_left(file.path(), Uuid::nil()));
        std::fs::remove_file(place(file.path())).unwrap();
    }
}
