//! The tables of a content index, and how one of another build becomes one of this build.

use std::path::Path;

use rusqlite::Connection;

use super::losses;
use crate::error::Result;
use crate::store::sqlite::{Schema, sqlite_error};

pub(super) const SCHEMA: Schema = Schema { what: "The content index", version: 2 };

/// Older ones are not converted: the next cycle makes the index anew from the files, which are read for that and not
/// copied.
///
/// The guard is kept: it is the highest generation that has written for a pool, see [`super::ContentIndex`].
const TABLES: &str = "
CREATE TABLE IF NOT EXISTS csb_content_guard (
    pool TEXT PRIMARY KEY NOT NULL,
    generation INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
DROP TABLE IF EXISTS csb_content_store;
DROP TABLE IF EXISTS csb_content_object;
DROP TABLE IF EXISTS csb_content_folder;
CREATE TABLE csb_content_store (
    pool TEXT PRIMARY KEY NOT NULL,
    source_id TEXT NOT NULL,
    standby_id TEXT NOT NULL,
    scan INTEGER NOT NULL,
    scanned_ms INTEGER,
    adopted_ns INTEGER,
    revision INTEGER NOT NULL,
    revision_ms INTEGER,
    revision_job TEXT,
    revision_bytes INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE csb_content_object (
    pool TEXT NOT NULL,
    folder BLOB NOT NULL,
    name BLOB NOT NULL,
    kind TEXT NOT NULL CHECK (kind IN ('file', 'folder', 'link')),
    size INTEGER NOT NULL,
    mtime_ns INTEGER NOT NULL,
    ctime_ns INTEGER NOT NULL,
    inode INTEGER NOT NULL,
    device INTEGER NOT NULL,
    mode INTEGER NOT NULL,
    user INTEGER NOT NULL,
    user_group INTEGER NOT NULL,
    blake3 BLOB CHECK (length(blake3) = 32),
    extended BLOB CHECK (length(extended) = 32),
    indexed_ns INTEGER NOT NULL,
    settled INTEGER NOT NULL CHECK (settled IN (0, 1)),
    published BLOB CHECK (length(published) % 32 = 0),
    made_folder INTEGER NOT NULL DEFAULT 0 CHECK (made_folder IN (0, 1)),
    copy_mtime_ns INTEGER,
    copy_ctime_ns INTEGER,
    copy_inode INTEGER,
    copy_device INTEGER,
    groups BLOB CHECK (length(groups) % 32 = 0),
    PRIMARY KEY (pool, folder, name)
) STRICT, WITHOUT ROWID;
CREATE INDEX csb_content_inode ON csb_content_object (pool, inode) WHERE kind = 'file';
CREATE INDEX csb_content_unsettled ON csb_content_object (pool) WHERE settled = 0;
CREATE INDEX csb_content_times ON csb_content_object (pool) WHERE kind = 'folder' AND mtime_ns = -9223372036854775808;
CREATE TABLE csb_content_folder (
    pool TEXT NOT NULL,
    folder BLOB NOT NULL,
    listing BLOB NOT NULL CHECK (length(listing) = 32),
    PRIMARY KEY (pool, folder)
) STRICT, WITHOUT ROWID;
";

/// Makes the tables what this build expects.
///
/// # Errors
/// As for [`Schema::prepare`].
pub(super) fn prepare(connection: &mut Connection, path: &Path) -> Result<()> {
    SCHEMA.prepare(connection, path, |transaction| transaction.execute_batch(TABLES))?;
    connection.execute_batch(losses::TABLES).map_err(|cause| sqlite_error("prepare", path, &cause))
}

#[cfg(test)]
mod tests {
    use super::super::tests::{new_index, place};
    use super::super::{Adopted, ContentIndex};
    use super::*;
    use crate::error::ErrorKind;
    use crate::topology::PoolFqdn;

    #[test]
    fn an_index_of_another_build_is_made_anew_and_its_guard_kept() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("index.sqlite");
        let (mut index, generation) = new_index(&path);
        let pool = PoolFqdn::parse("atl.example.com").unwrap();
        let establish = |index: &mut ContentIndex| {
            let (nobody, nothing) = (uuid::Uuid::nil(), std::iter::empty());
            index.establish(generation, nobody, nobody, Adopted::default(), nothing).unwrap();
        };
        establish(&mut index);
        drop(index);
        let other = Connection::open(&path).unwrap();
        other.execute_batch("ALTER TABLE csb_content_object RENAME size TO length").unwrap();
        other.pragma_update(None, "user_version", 0).unwrap();
        assert!(place(&path).open_existing(&pool).unwrap().is_none(), "it cannot be read");
        let mut index = place(&path).open(&pool).unwrap();
        assert_eq!(index.pair().unwrap(), None);
        let older = crate::store::Generation(generation.0 - 1);
        assert_eq!(index.check(older).unwrap_err().kind, ErrorKind::Fenced);
        establish(&mut index);
        assert!(place(&path).open(&pool).unwrap().pair().unwrap().is_some(), "it is not made anew again");
    }

    #[test]
    fn an_index_of_a_newer_build_is_refused_and_left_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("index.sqlite");
        let pool = PoolFqdn::parse("atl.example.com").unwrap();
        drop(new_index(&path));
        let newer = Connection::open(&path).unwrap();
        let version = SCHEMA.version + 1;
        newer.pragma_update(None, "user_version", version).unwrap();
        let error = place(&path).open(&pool).err().unwrap();
        assert_eq!(error.kind, ErrorKind::UnsupportedStore);
        assert!(error.message.contains("newer build"), "{error}");
        let found: i64 = newer.query_row("PRAGMA user_version", [], |row| row.get(0)).unwrap();
        assert_eq!(found, version);
    }
}
