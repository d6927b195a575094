//! An earlier state of the standby, made from the rows of now and what its history says of what came between.

use rusqlite::{Connection, OptionalExtension, Row, params};

use super::rows::{kind_name, kind_of};
use super::{ContentIndex, TIMES_UNKNOWN};
use crate::error::Result;
use crate::store::content::history::{Before, Was, WasContent};
use crate::store::content::{Attributes, ContentPath, Extended, ObjectKind, Ownership};
use crate::store::sqlite::sqlite_error;

/// Temporary tables go to a file that has no name once they are large. The column `source` is where the content is:
/// the name of an object of the standby, or that of a file that is kept; `target` is that of a link.
const TABLE: &str = "
CREATE TEMP TABLE earlier (
    path BLOB PRIMARY KEY NOT NULL,
    kind TEXT NOT NULL,
    mtime_ns INTEGER NOT NULL,
    mode INTEGER NOT NULL,
    user INTEGER NOT NULL,
    user_group INTEGER NOT NULL,
    blake3 BLOB,
    extended BLOB,
    source BLOB,
    target BLOB,
    size INTEGER NOT NULL,
    parts BLOB
) STRICT, WITHOUT ROWID";

/// What the standby holds now. A row that is not settled is of a cycle that was interrupted, whose notes are undone first.
const FILL: &str = "
INSERT INTO earlier
SELECT CASE WHEN folder = x'' THEN name ELSE CAST(folder || x'2f' || name AS BLOB) END AS path,
       kind, mtime_ns, mode, user, user_group, blake3, NULL,
       CASE WHEN folder = x'' THEN name ELSE CAST(folder || x'2f' || name AS BLOB) END, NULL, size, NULL
FROM csb_content_object WHERE pool = ?1";

/// The objects of an earlier state, while it is being made.
pub struct EarlierTree<'i> {
    index: &'i ContentIndex,
}

/// An object of an earlier state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EarlierObject {
    /// Its name then.
    pub path: ContentPath,
    /// What it was.
    pub kind: ObjectKind,
    /// What it had besides the content. The time of a folder may be [`TIMES_UNKNOWN`].
    pub attributes: Attributes,
    /// The size of a file, in bytes.
    pub size: u64,
    /// The content's BLAKE3, where it is known.
    pub hash: Option<[u8; 32]>,
    /// The extended attributes, where they are not those of the content's file.
    pub extended: Option<Extended>,
    /// Where the content is.
    pub content: EarlierContent,
    /// What is put over it, one after the other: files with parts that later versions changed.
    pub parts: Vec<ContentPath>,
}

/// Where the content of an object of an earlier state is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EarlierContent {
    /// In this object of the standby, or in this file that is kept. Also of folders, which have none.
    In(ContentPath),
    /// Of a link: where it led.
    Target(Box<[u8]>),
    /// Nowhere.
    Lost,
}

impl ContentIndex {
    /// The state of now, from which earlier ones are made. It is dropped with the index.
    ///
    /// # Errors
    /// When the index cannot be read, or there is no room for temporary tables.
    pub fn earlier(&self) -> Result<EarlierTree<'_>> {
        let make = || {
            self.connection.execute_batch("DROP TABLE IF EXISTS temp.earlier")?;
            self.connection.execute_batch(TABLE)?;
            self.connection.execute(FILL, [self.pool.as_str()])
        };
        make().map_err(self.failed("read"))?;
        Ok(EarlierTree { index: self })
    }
}

impl EarlierTree<'_> {
    fn connection(&self) -> &Connection {
        &self.index.connection
    }

    fn failed(&self, cause: &rusqlite::Error) -> crate::error::Error {
        sqlite_error("make an earlier state in", &self.index.path, cause)
    }

    /// Undoes one change; `kept` says where the file lies that the note names, none where it was never kept because the change
    /// did not come to be. Notes are undone in the opposite order.
    ///
    /// # Errors
    /// When there is no room for temporary tables; what `kept` fails with.
    pub fn undo(
        &mut self,
        before: &Before,
        kept: impl FnOnce(u32) -> Result<Option<ContentPath>>,
    ) -> Result<()> {
        let done = match &before.was {
            None => {
                self.connection().execute("DELETE FROM earlier WHERE path = ?1", [before.path.as_bytes()])
            }
            Some(was) => match &was.content {
                WasContent::Unchanged if was.meta.kind == ObjectKind::Folder => {
                    self.put(&before.path, was, None)
                }
                WasContent::Unchanged => self.set(&before.path, was),
                WasContent::Kept(number) => match kept(*number)? {
                    Some(file) => self.put(&before.path, was, Some(&file)),
                    None => Ok(0),
                },
                WasContent::Parts { number, next } => match kept(*number)? {
                    Some(file) => self.put_parts(&before.path, was, *next, &file),
                    None => Ok(0),
                },
                WasContent::Aside(file) => self.put(&before.path, was, Some(file)),
                WasContent::Target(_) | WasContent::Lost => self.put(&before.path, was, None),
                WasContent::At(path) => self.renamed(&before.path, was, path),
            },
        };
        done.map(|_| ()).map_err(|cause| self.failed(&cause))
    }

    fn put(&self, path: &ContentPath, was: &Was, source: Option<&ContentPath>) -> rusqlite::Result<usize> {
        let target = match &was.content {
            WasContent::Target(target) => Some(&**target),
            _ => None,
        };
        // A folder's extended attributes are where the folder is, unless they were noted.
        let source = match was.meta.kind {
            ObjectKind::Folder => Some(path),
            ObjectKind::File | ObjectKind::Link => source,
        };
        self.connection()
            .prepare_cached(
                "INSERT INTO earlier VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, NULL)
                 ON CONFLICT (path) DO UPDATE SET kind = excluded.kind,
                     mtime_ns = CASE WHEN excluded.mtime_ns = ?12 THEN mtime_ns ELSE excluded.mtime_ns END,
                     mode = excluded.mode, user = excluded.user, user_group = excluded.user_group,
                     blake3 = excluded.blake3, extended = coalesce(excluded.extended, CASE WHEN excluded.kind = 'folder'
                     THEN extended END), source = excluded.source, target = excluded.target, size = excluded.size,
                     parts = NULL",
            )?
            .execute(params![
                path.as_bytes(),
                kind_name(was.meta.kind),
                was.meta.mtime_ns,
                was.meta.mode,
                was.meta.owner.user,
                was.meta.owner.group,
                was.hash,
                extended_bytes(was),
                source.map(ContentPath::as_bytes),
                target,
                i64::try_from(was.meta.size).unwrap_or(i64::MAX),
                TIMES_UNKNOWN,
            ])
    }

    /// The next version was this one but for some parts. Where something else has the name, the parts make nothing of it.
    fn put_parts(
        &self,
        path: &ContentPath,
        was: &Was,
        next: Option<[u8; 32]>,
        file: &ContentPath,
    ) -> rusqlite::Result<usize> {
        self.set(path, was)?;
        self.connection()
            .prepare_cached(
                "UPDATE earlier SET blake3 = ?2, size = ?3, parts = CAST(coalesce(parts || x'00', x'') || ?4 AS BLOB)
                 WHERE path = ?1 AND kind = 'file' AND blake3 IS ?5",
            )?
            .execute(params![
                path.as_bytes(),
                was.hash,
                i64::try_from(was.meta.size).unwrap_or(i64::MAX),
                file.as_bytes(),
                next
            ])
    }

    /// Only what the object had besides the content was another one.
    fn set(&self, path: &ContentPath, was: &Was) -> rusqlite::Result<usize> {
        self.connection()
            .prepare_cached(
                "UPDATE earlier SET mtime_ns = ?2, mode = ?3, user = ?4, user_group = ?5,
                     extended = coalesce(?6, extended) WHERE path = ?1 AND kind = ?7",
            )?
            .execute(params![
                path.as_bytes(),
                was.meta.mtime_ns,
                was.meta.mode,
                was.meta.owner.user,
                was.meta.owner.group,
                extended_bytes(was),
                kind_name(was.meta.kind),
            ])
    }

    /// What has another name now had this one. Where that name has something else, it was never given.
    fn renamed(&self, path: &ContentPath, was: &Was, now: &ContentPath) -> rusqlite::Result<usize> {
        let found: Option<[Option<Vec<u8>>; 3]> = self
            .connection()
            .prepare_cached(
                "SELECT source, extended, parts FROM earlier WHERE path = ?1 AND kind = 'file' AND blake3 = ?2",
            )?
            .query_row(params![now.as_bytes(), was.hash], |row| Ok([row.get(0)?, row.get(1)?, row.get(2)?]))
            .optional()?;
        let Some([source, extended, parts]) = found else { return Ok(0) };
        let source = source.and_then(|source| ContentPath::from_bytes(&source));
        self.put(path, was, source.as_ref())?;
        self.connection()
            .prepare_cached("UPDATE earlier SET extended = ?2, parts = ?3 WHERE path = ?1")?
            .execute(params![path.as_bytes(), extended, parts])
    }

    /// Hands on every object, folders before what is in them.
    ///
    /// # Errors
    /// When the table cannot be read; what taking an object fails with.
    pub fn try_for_each(&self, mut take: impl FnMut(EarlierObject) -> Result<()>) -> Result<()> {
        let failed = |cause: rusqlite::Error| self.failed(&cause);
        let mut statement = self
            .connection()
            .prepare(
                "SELECT path, kind, mtime_ns, mode, user, user_group, blake3, extended, source, target, size, parts
                 FROM earlier ORDER BY path",
            )
            .map_err(failed)?;
        let objects = statement.query_map([], object).map_err(failed)?;
        for found in objects {
            take(found.map_err(failed)?)?;
        }
        Ok(())
    }
}

fn extended_bytes(was: &Was) -> Option<Vec<u8>> {
    was.extended.as_ref().and_then(|extended| postcard::to_allocvec(extended).ok())
}

fn object(row: &Row<'_>) -> rusqlite::Result<EarlierObject> {
    let path = |column| -> rusqlite::Result<Option<ContentPath>> {
        Ok(row.get::<_, Option<Vec<u8>>>(column)?.and_then(|path| ContentPath::from_bytes(&path)))
    };
    let owner = Ownership { user: row.get(4)?, group: row.get(5)? };
    let extended: Option<Vec<u8>> = row.get(7)?;
    let target: Option<Vec<u8>> = row.get(9)?;
    let parts: Option<Vec<u8>> = row.get(11)?;
    let parts = parts.iter().flat_map(|parts| parts.split(|byte| *byte == 0));
    let content = match (path(8)?, target) {
        (_, Some(target)) => EarlierContent::Target(target.into()),
        (Some(source), None) => EarlierContent::In(source),
        (None, None) => EarlierContent::Lost,
    };
    Ok(EarlierObject {
        path: path(0)?.unwrap_or_default(),
        kind: kind_of(row.get_ref(1)?.as_str()?),
        attributes: Attributes { mtime_ns: row.get(2)?, mode: row.get(3)?, owner: Some(owner) },
        size: u64::try_from(row.get::<_, i64>(10)?).unwrap_or_default(),
        hash: row.get(6)?,
        extended: extended.and_then(|extended| postcard::from_bytes(&extended).ok()),
        content,
        parts: parts.filter_map(ContentPath::from_bytes).collect(),
    })
}
