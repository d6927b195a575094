//! What the standby holds of a content store, in a database of its own: so that only the source is walked.
//!
//! A row says which version of a source's object the standby holds. While a batch is being published its rows are
//! *unsettled*: the standby may hold the earlier version, the new one, or none. Should the process die then, the next
//! cycle knows every name that it may have left, and copies or deletes it.
//!
//! Of a folder in which nothing differed the digest of its listing is kept. As long as the source lists the same, none
//! of its rows has to be read; whatever changes a row of the folder takes the digest away, in the same transaction.
//!
//! A folder knows no transactions, so the index is also what an older owner of the lease is refused at. It remembers the
//! highest generation that has written for a pool, and every transaction begins with a look at that.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{ContentPath, ObjectKind, ObjectMeta, Ownership};
use crate::error::Result;
use crate::platform::Rights;
use crate::store::sqlite::{Access, Database, open, open_own, sqlite_error, tighten_database};
use crate::store::{Generation, fenced};
use crate::topology::PoolFqdn;
use rusqlite::config::DbConfig;
use rusqlite::{Connection, OptionalExtension, Row, Transaction, TransactionBehavior, params};
use serde::{Deserialize, Serialize};

mod earlier;
pub(in crate::store) mod fetched;
mod groups;
mod listings;
mod losses;
mod pairs;
mod parts;
mod place;
mod rehearsal;
mod rows;
mod schema;
mod spelling;
pub use earlier::{EarlierContent, EarlierObject, EarlierTree};
pub use groups::HeldGroups;
pub use losses::{Day, ObjectLoss};
pub use pairs::{Adopted, IndexedPair};
pub use parts::FolderParts;
pub use place::IndexPlace;
pub use rehearsal::IndexCopy;
use rows::{Rows, kind_of};

const COLUMNS: &str = "kind, size, mtime_ns, ctime_ns, inode, device, mode, user, user_group, blake3, extended, \
                       indexed_ns, settled";

/// Instead of a folder's modification time: the standby's folder has another one than the source's.
pub const TIMES_UNKNOWN: i64 = i64::MIN;

/// What the index knows about one object at the standby.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IndexedObject {
    /// The source's object, as it was when it was copied.
    pub meta: ObjectMeta,
    /// The content's BLAKE3, of a link that of its target; none for folders and where it is not known.
    pub hash: Option<[u8; 32]>,
    /// The digest of the extended attributes, if there are any.
    pub extended: Option<[u8; 32]>,
    /// When it was compared, in nanoseconds since 1970 by the source's clock. A change that is not older than this
    /// by some margin may hide behind equal times.
    pub indexed_ns: i64,
    /// Whether the standby is known to hold exactly this.
    pub settled: bool,
}

/// A name in a folder, and what the index knows about the object.
pub type HeldName = (Box<[u8]>, IndexedObject);

/// What the standby may hold under one name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeldObject {
    /// The row.
    pub object: IndexedObject,
    /// The contents that interrupted batches may have published: BLAKE3, of links that of the target.
    pub published: Vec<[u8; 32]>,
    /// Whether an interrupted batch may have made a folder.
    pub made_folder: bool,
}

impl HeldObject {
    /// Whether the content is one that this product has put there, or may have.
    pub fn may_be(&self, hash: [u8; 32]) -> bool {
        self.object.hash == Some(hash) || self.published.contains(&hash)
    }
}

/// The index of one pool's content.
pub struct ContentIndex {
    path: PathBuf,
    connection: Database,
    pool: PoolFqdn,
}

impl ContentIndex {
    /// Opens the index for writing, creating it where it is missing. Closing it does not move the log into the database:
    /// a job would wait for that.
    fn open(path: &Path, pool: &PoolFqdn) -> Result<Self> {
        tighten_database(path, Rights::PRIVATE);
        let mut connection = open_own(path)?;
        patient(&connection, path)?;
        connection
            .set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)
            .map_err(failure("open", path))?;
        schema::prepare(&mut connection, path)?;
        Ok(ContentIndex { path: path.to_owned(), connection, pool: pool.clone() })
    }

    /// Opens the index for reading; none where it is one of another build.
    fn open_to_read(path: &Path, pool: &PoolFqdn) -> Result<Option<Self>> {
        let connection = open(path, Access::Read)?;
        patient(&connection, path)?;
        let is_current = schema::SCHEMA.is_current(&connection, path)?;
        Ok(is_current.then(|| ContentIndex { path: path.to_owned(), connection, pool: pool.clone() }))
    }

    /// The same index for another thread, which reads what has been committed.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn reader(&self) -> Result<Self> {
        let connection = open(&self.path, Access::Read)?;
        patient(&connection, &self.path)?;
        Ok(ContentIndex { path: self.path.clone(), connection, pool: self.pool.clone() })
    }

    /// Whether this generation may write. From now on no older one may.
    ///
    /// # Errors
    /// `Fenced`; when the index cannot be written.
    pub fn check(&mut self, generation: Generation) -> Result<()> {
        self.write_for_now(generation, |_| Ok(()))
    }

    /// The size of all files that the standby holds, in bytes.
    ///
    /// # Errors
    /// When the index cannot be read.
    pub fn bytes(&self) -> Result<u64> {
        self.connection
            .query_row(
                "SELECT coalesce(sum(size), 0) FROM csb_content_object WHERE pool = ?1 AND kind = 'file'",
                [self.pool.as_str()],
                |row| row.get::<_, i64>(0),
            )
            .map(|bytes| u64::try_from(bytes).unwrap_or_default())
            .map_err(self.failed("read"))
    }

    /// Whether the standby holds anything.
    ///
    /// # Errors
    /// When the index cannot be read.
    pub fn is_empty(&self) -> Result<bool> {
        self.connection
            .query_row(
                "SELECT NOT EXISTS (SELECT 1 FROM csb_content_object WHERE pool = ?1)",
                [self.pool.as_str()],
                |row| row.get(0),
            )
            .map_err(self.failed("read"))
    }

    /// How many objects the standby holds.
    ///
    /// # Errors
    /// When the index cannot be read.
    pub fn count(&self) -> Result<u64> {
        self.connection
            .query_row(
                "SELECT count(*) FROM csb_content_object WHERE pool = ?1",
                [self.pool.as_str()],
                |row| row.get::<_, i64>(0),
            )
            .map(|count| u64::try_from(count).unwrap_or_default())
            .map_err(self.failed("read"))
    }

    /// What the standby holds in one folder, sorted by name, one name after the other: a folder may hold more than memory
    /// should.
    ///
    /// # Errors
    /// When the index cannot be read; what taking the names fails with.
    pub fn read_folder<R>(
        &self,
        folder: &ContentPath,
        take: impl FnOnce(&mut dyn Iterator<Item = Result<HeldName>>) -> Result<R>,
    ) -> Result<R> {
        let sql = format!(
            "SELECT {COLUMNS}, name FROM csb_content_object WHERE pool = ?1 AND folder = ?2 ORDER BY name"
        );
        let failed = self.failed("read");
        let mut statement = self.connection.prepare_cached(&sql).map_err(&failed)?;
        let held = statement
            .query_map(params![self.pool.as_str(), folder.as_bytes()], held_name)
            .map_err(&failed)?;
        take(&mut held.map(|held| held.map_err(&failed)))
    }

    /// Some of the folders whose time at the standby is not that of the source's, sorted, beginning after one of them.
    ///
    /// # Errors
    /// When the index cannot be read.
    pub fn folders_of_unknown_times(
        &self,
        after: Option<&ContentPath>,
        limit: usize,
    ) -> Result<Vec<(ContentPath, IndexedObject)>> {
        let sql = format!(
            "SELECT {COLUMNS}, folder, name FROM csb_content_object
             WHERE pool = ?1 AND kind = 'folder' AND mtime_ns = -9223372036854775808 AND (folder, name) > (?2, ?3)
             ORDER BY folder, name LIMIT ?4"
        );
        self.paths_after(&sql, after, limit, named_object)
    }

    /// The rows that a query of pool, folder, name and limit finds, in the order of their paths, after one of them.
    fn paths_after<R>(
        &self,
        sql: &str,
        after: Option<&ContentPath>,
        limit: usize,
        take: impl FnMut(&Row<'_>) -> rusqlite::Result<R>,
    ) -> Result<Vec<R>> {
        let (folder, name) = after.and_then(ContentPath::split).unwrap_or_default();
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let read = || -> rusqlite::Result<_> {
            self.connection
                .prepare_cached(sql)?
                .query_map(params![self.pool.as_str(), folder.as_bytes(), name, limit], take)?
                .collect()
        };
        read().map_err(self.failed("read"))
    }

    /// Says that the time of a folder at the standby is not that of the source's.
    ///
    /// # Errors
    /// `Fenced`; when the index cannot be written.
    pub fn forget_times(&mut self, generation: Generation, folders: &[ContentPath]) -> Result<()> {
        if folders.is_empty() {
            return Ok(());
        }
        self.write_for_now(generation, |rows| {
            folders.iter().try_for_each(|folder| rows.forget_times(folder).map(|_| ()))
        })
    }

    /// The settled files that were this inode when they were copied, of which the standby holds what it had then.
    ///
    /// # Errors
    /// When the index cannot be read.
    // Left to choose, SQLite reads the whole pool in the order of its rows rather than sort the one that it needs.
    #[allow(clippy::cast_possible_wrap)]
    pub fn files_of_inode(&self, meta: &ObjectMeta) -> Result<Vec<(ContentPath, IndexedObject)>> {
        let sql = format!(
            "SELECT {COLUMNS}, folder, name FROM csb_content_object INDEXED BY csb_content_inode
             WHERE pool = ?1 AND inode = ?2 AND device = ?3 AND kind = 'file' AND settled = 1 ORDER BY folder, name"
        );
        let read = || -> rusqlite::Result<Vec<_>> {
            self.connection
                .prepare_cached(&sql)?
                .query_map(params![self.pool.as_str(), meta.inode as i64, meta.device as i64], named_object)?
                .collect()
        };
        read().map_err(self.failed("read"))
    }

    /// Says that the standby is about to change at these paths, and to which content; none for folders and for what
    /// is deleted. Folders that they are in, and that are missing, may be made.
    ///
    /// # Errors
    /// `Fenced`: then nothing may be changed; when the index cannot be written.
    pub fn begin<'a>(
        &mut self,
        generation: Generation,
        paths: impl Iterator<Item = (&'a ContentPath, ObjectKind, Option<[u8; 32]>)>,
    ) -> Result<()> {
        self.write(generation, |rows| {
            for (path, kind, hash) in paths {
                rows.unsettle(path, kind, hash)?;
            }
            let folders = rows.changed.clone();
            folders.iter().try_for_each(|folder| rows.expect_folder(folder))
        })
    }

    /// What the standby may hold under one name; none where the index knows nothing of it.
    ///
    /// # Errors
    /// When the index cannot be read.
    pub fn held(&self, path: &ContentPath) -> Result<Option<HeldObject>> {
        let Some((folder, name)) = path.split() else { return Ok(None) };
        let sql = format!(
            "SELECT {COLUMNS}, published, made_folder FROM csb_content_object
             WHERE pool = ?1 AND folder = ?2 AND name = ?3"
        );
        let read = || {
            self.connection
                .prepare_cached(&sql)?
                .query_row(params![self.pool.as_str(), folder.as_bytes(), name], held)
                .optional()
        };
        read().map_err(self.failed("read"))
    }

    /// Some of the paths of which it is not settled what the standby holds, and what it may hold; each after the folder
    /// that it is in, beginning after one of them.
    ///
    /// # Errors
    /// When the index cannot be read.
    pub fn unsettled(
        &self,
        after: Option<&ContentPath>,
        limit: usize,
    ) -> Result<Vec<(ContentPath, HeldObject)>> {
        let sql = format!(
            "SELECT {COLUMNS}, published, made_folder, folder, name
             FROM csb_content_object INDEXED BY csb_content_unsettled
             WHERE pool = ?1 AND settled = 0 AND (folder, name) > (?2, ?3) ORDER BY folder, name LIMIT ?4"
        );
        self.paths_after(&sql, after, limit, |row| Ok((path(row, 15)?, held(row)?)))
    }

    /// Says of which kind something is that is there under these names; none where nothing is, nor below. What exactly
    /// it is remains unsettled.
    ///
    /// # Errors
    /// `Fenced`; when the index cannot be written.
    pub fn correct(
        &mut self,
        generation: Generation,
        found: &[(ContentPath, Option<ObjectKind>)],
    ) -> Result<()> {
        if found.is_empty() {
            return Ok(());
        }
        self.write_for_now(generation, |rows| {
            found.iter().try_for_each(|(path, kind)| match kind {
                Some(kind) => rows.correct(path, *kind),
                None => rows.delete_tree(path),
            })
        })
    }

    /// Says what the standby holds now: these objects, and these not any more. Does not wait for the disk: rows that a
    /// power cut leaves unsettled are compared once more.
    ///
    /// # Errors
    /// `Fenced`; when the index cannot be written.
    pub fn settle(
        &mut self,
        generation: Generation,
        held: &[(ContentPath, IndexedObject)],
        removed: &[ContentPath],
    ) -> Result<()> {
        self.write_for_now(generation, |rows| {
            held.iter().try_for_each(|(path, object)| rows.put(path, object))?;
            removed.iter().try_for_each(|path| rows.delete(path))
        })
    }

    /// Forgets the pool, but for the highest generation that has written for it.
    ///
    /// # Errors
    /// `Fenced`; when the index cannot be written.
    pub fn clear(&mut self, generation: Generation) -> Result<()> {
        self.write(generation, |rows| rows.clear())
    }

    /// Every write goes through here: one transaction, which an older generation never begins, and which forgets the
    /// listings of folders of which it changes rows.
    fn write(
        &mut self,
        generation: Generation,
        work: impl FnOnce(&mut Rows<'_>) -> rusqlite::Result<()>,
    ) -> Result<()> {
        let failed = failure("write the content index in", &self.path);
        let transaction =
            self.connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(&failed)?;
        if !admits(&transaction, &self.pool, generation).map_err(&failed)? {
            return Err(fenced(&self.pool));
        }
        let mut rows = Rows { transaction: &transaction, pool: self.pool.as_str(), changed: BTreeSet::new() };
        work(&mut rows).and_then(|()| rows.forget_listings()).map_err(&failed)?;
        transaction.commit().map_err(&failed)
    }

    /// A write that costs nothing to lose: no wait for the disk.
    fn write_for_now(
        &mut self,
        generation: Generation,
        work: impl FnOnce(&mut Rows<'_>) -> rusqlite::Result<()>,
    ) -> Result<()> {
        let synchronous = |index: &Self, level| {
            index.connection.pragma_update(None, "synchronous", level).map_err(index.failed("write to"))
        };
        synchronous(self, "NORMAL")?;
        let done = self.write(generation, work);
        synchronous(self, "FULL")?;
        done
    }

    fn failed<'a>(&self, doing: &'a str) -> impl Fn(rusqlite::Error) -> crate::error::Error + 'a {
        failure(doing, &self.path)
    }
}

fn failure<'a>(doing: &'a str, path: &Path) -> impl Fn(rusqlite::Error) -> crate::error::Error + 'a {
    let path = path.to_owned();
    move |cause| sqlite_error(doing, &path, &cause)
}

/// Whether no later generation has written; remembers this one.
fn admits(transaction: &Transaction<'_>, pool: &PoolFqdn, generation: Generation) -> rusqlite::Result<bool> {
    let seen: Option<i64> = transaction
        .prepare_cached("SELECT generation FROM csb_content_guard WHERE pool = ?1")?
        .query_row([pool.as_str()], |row| row.get(0))
        .optional()?;
    if seen.is_none_or(|seen| seen < generation.0) {
        transaction
            .prepare_cached("INSERT OR REPLACE INTO csb_content_guard (pool, generation) VALUES (?1, ?2)")?
            .execute(params![pool.as_str(), generation.0])?;
    }
    Ok(seen.is_none_or(|seen| seen <= generation.0))
}

/// Other connections of the service hold locks for moments only; waiting is right.
fn patient(connection: &Connection, path: &Path) -> Result<()> {
    connection.busy_timeout(Duration::from_secs(5)).map_err(failure("open", path))
}

/// A row whose name follows its columns.
fn held_name(row: &Row<'_>) -> rusqlite::Result<HeldName> {
    Ok((row.get_ref(13)?.as_blob()?.into(), object(row)?))
}

/// A row whose columns `published` and `made_folder` follow.
fn held(row: &Row<'_>) -> rusqlite::Result<HeldObject> {
    let published = row.get::<_, Option<Vec<u8>>>(13)?.unwrap_or_default();
    let hashes = published.chunks_exact(32).filter_map(|hash| hash.try_into().ok());
    Ok(HeldObject { object: object(row)?, published: hashes.collect(), made_folder: row.get(14)? })
}

/// A row whose folder and name follow its columns.
fn named_object(row: &Row<'_>) -> rusqlite::Result<(ContentPath, IndexedObject)> {
    Ok((path(row, 13)?, object(row)?))
}

/// A folder and a name in it, from this column on.
fn path(row: &Row<'_>, column: usize) -> rusqlite::Result<ContentPath> {
    let (folder, name): (Vec<u8>, Vec<u8>) = (row.get(column)?, row.get(column + 1)?);
    Ok(ContentPath::from_bytes(&folder).and_then(|folder| folder.join(&name)).unwrap_or_default())
}

#[allow(clippy::cast_sign_loss)]
fn object(row: &Row<'_>) -> rusqlite::Result<IndexedObject> {
    Ok(IndexedObject {
        meta: ObjectMeta {
            kind: kind_of(row.get_ref(0)?.as_str()?),
            size: row.get::<_, i64>(1)? as u64,
            mtime_ns: row.get(2)?,
            ctime_ns: row.get(3)?,
            inode: row.get::<_, i64>(4)? as u64,
            device: row.get::<_, i64>(5)? as u64,
            mode: row.get(6)?,
            owner: Ownership { user: row.get(7)?, group: row.get(8)? },
        },
        hash: row.get(9)?,
        extended: row.get(10)?,
        indexed_ns: row.get(11)?,
        settled: row.get(12)?,
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};

    use jiff::Timestamp;
    use uuid::Uuid;

    use super::*;
    use crate::error::ErrorKind;

    pub(super) fn place(path: &Path) -> IndexPlace {
        IndexPlace::new(path.to_owned(), String::new())
    }

    /// A new index, and who may write to it.
    pub(super) fn new_index(path: &Path) -> (ContentIndex, Generation) {
        let pool = PoolFqdn::parse("atl.example.com").unwrap();
        (place(path).open(&pool).unwrap(), Generation(7))
    }

    #[test]
    fn an_older_generation_is_refused_in_the_transaction_that_would_write() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("index.sqlite");
        let (mut old, generation) = new_index(&path);
        let newer = Generation(generation.0 + 1);
        let named = ContentPath::from_bytes(b"file").unwrap();
        let held = [(named.clone(), file(1))];
        old.settle(generation, &held, &[]).unwrap();
        let (mut new, _) = new_index(&path);
        old.settle(generation, &held, &[]).unwrap();
        new.check(newer).unwrap();
        let refused = [
            old.check(generation),
            old.settle(generation, &[], std::slice::from_ref(&named)),
            old.begin(generation, std::iter::once((&named, ObjectKind::File, None))),
            old.correct(generation, &[(named.clone(), None)]),
            old.establish(generation, Uuid::nil(), Uuid::nil(), Adopted::default(), std::iter::empty()),
            old.remember_listings(generation, &[(ContentPath::default(), [1; 32])]),
            old.forget_times(generation, std::slice::from_ref(&named)),
            old.finish_scan(generation, Timestamp::UNIX_EPOCH, None),
            old.respell(generation, &named, &ContentPath::from_bytes(b"FILE").unwrap()),
            old.clear(generation),
        ];
        for refused in refused {
            assert_eq!(refused.unwrap_err().kind, ErrorKind::Fenced);
        }
        assert_eq!(old.held(&named).unwrap().unwrap().object, file(1));
        // Neither after everything was forgotten, nor for another pool.
        new.clear(newer).unwrap();
        assert_eq!(old.check(generation).unwrap_err().kind, ErrorKind::Fenced);
        let other = PoolFqdn::parse("chi.example.com").unwrap();
        place(&path).open(&other).unwrap().check(generation).unwrap();
    }

    pub(super) fn file(inode: u64) -> IndexedObject {
        let meta = ObjectMeta {
            kind: ObjectKind::File,
            size: 3,
            mtime_ns: 4,
            ctime_ns: 5,
            inode,
            device: 6,
            mode: 0o644,
            owner: Ownership { user: 1, group: 2 },
        };
        IndexedObject { meta, hash: Some([7; 32]), extended: None, indexed_ns: 8, settled: true }
    }

    #[test]
    fn a_file_is_found_by_its_inode_in_as_many_steps_however_many_there_are() {
        let folder = tempfile::tempdir().unwrap();
        let steps = [100, 10_000].map(|files| {
            let (mut index, generation) = new_index(&folder.path().join(format!("{files}.sqlite")));
            let named = |inode: u64| ContentPath::from_bytes(format!("folder/{inode}").as_bytes()).unwrap();
            let held: Vec<_> = (0..files).map(|inode| (named(inode), file(inode))).collect();
            index.settle(generation, &held, &[]).unwrap();
            let count = Arc::new(AtomicU64::new(0));
            let counter = Arc::clone(&count);
            let counting = move || {
                counter.fetch_add(1, Ordering::Relaxed);
                false
            };
            index.connection.progress_handler(1, Some(counting)).unwrap();
            assert_eq!(index.files_of_inode(&file(77).meta).unwrap(), [(named(77), file(77))]);
            count.load(Ordering::Relaxed)
        });
        assert!(steps[0] > 0 && steps[1] < 2 * steps[0], "{steps:?}");
    }
}
