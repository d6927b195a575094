//! What a database's files look like from outside: whatever is written to them shows in their sizes or times.
//!
//! The files are only ever looked at. Opening and closing a database by anything but SQLite takes away the locks that
//! this process holds on it.

use std::path::Path;
use std::time::Duration;

use crate::platform::FileStat;
use crate::store::files::with_suffix;

/// No file system of today keeps times more coarsely than the kernel's slowest tick, a hundredth of a second.
pub(super) const TICK: Duration = Duration::from_millis(10);

/// The outside of a database and its write-ahead log, as text; none where there is no database. A log without content
/// counts for none: SQLite makes and removes one whenever somebody reads alone. And a log's time of change says nothing:
/// SQLite hands it to the database's owner whenever root opens it.
pub(super) fn of_database(path: &Path) -> Option<String> {
    let log = FileStat::of(&with_suffix(path, "-wal"))
        .filter(|log| log.size > 0)
        .map(|log| FileStat { changed: (0, 0), ..log });
    serde_json::to_string(&(FileStat::of(path)?, log)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_counts_where_there_is_something_in_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("users.sqlite");
        assert_eq!(of_database(&path), None);
        std::fs::write(&path, "pages").unwrap();
        let alone = of_database(&path);
        assert!(alone.is_some());
        let log = with_suffix(&path, "-wal");
        std::fs::write(&log, "").unwrap();
        assert_eq!(of_database(&path), alone);
        std::fs::write(&log, "frames").unwrap();
        assert_ne!(of_database(&path), alone);
    }
}
