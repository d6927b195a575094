//! What a transaction does to the rows of one pool.

use std::collections::BTreeSet;

use rusqlite::{Transaction, params};

use super::{HeldGroups, IndexedObject, TIMES_UNKNOWN};
use crate::store::content::history::Revision;
use crate::store::content::{ContentPath, ObjectKind};

/// What one transaction changes.
pub(super) struct Rows<'t> {
    pub(super) transaction: &'t Transaction<'t>,
    pub(super) pool: &'t str,
    /// Folders of which rows were changed.
    pub(super) changed: BTreeSet<ContentPath>,
}

impl Rows<'_> {
    /// A path that is not known yet gets a row of which nothing is known but the name. Until the row is settled, it is
    /// remembered what may have been published meanwhile: every content, and whether a folder.
    pub(super) fn unsettle(
        &mut self,
        path: &ContentPath,
        kind: ObjectKind,
        hash: Option<[u8; 32]>,
    ) -> rusqlite::Result<()> {
        let Some((folder, name)) = path.split() else { return Ok(()) };
        self.transaction
            .prepare_cached(
                "INSERT INTO csb_content_object (pool, folder, name, kind, size, mtime_ns, ctime_ns, inode, device,
                     mode, user, user_group, blake3, extended, indexed_ns, settled, published, made_folder)
                 VALUES (?1, ?2, ?3, ?4, 0, 0, 0, 0, 0, 0, 0, 0, NULL, NULL, 0, 0, ?5, ?4 = 'folder')
                 ON CONFLICT (pool, folder, name) DO UPDATE SET settled = 0,
                     published = CAST(coalesce(published, x'') || coalesce(excluded.published, x'') AS BLOB),
                     made_folder = made_folder OR excluded.made_folder",
            )?
            .execute(params![self.pool, folder.as_bytes(), name, kind_name(kind), hash])?;
        self.changed.insert(folder);
        Ok(())
    }

    /// Of this kind, whatever the row says. Below a file or link there is nothing.
    pub(super) fn correct(&mut self, path: &ContentPath, kind: ObjectKind) -> rusqlite::Result<()> {
        let Some((folder, name)) = path.split() else { return Ok(()) };
        self.transaction
            .prepare_cached(
                "UPDATE csb_content_object SET kind = ?4 WHERE pool = ?1 AND folder = ?2 AND name = ?3",
            )?
            .execute(params![self.pool, folder.as_bytes(), name, kind_name(kind)])?;
        self.changed.insert(folder);
        if kind == ObjectKind::Folder { Ok(()) } else { self.delete_below(path) }
    }

    /// A folder in which names change; where it is not known to be there, publishing them makes it and those above.
    pub(super) fn expect_folder(&mut self, folder: &ContentPath) -> rusqlite::Result<()> {
        if self.forget_times(folder)? {
            return Ok(());
        }
        let Some((parent, _)) = folder.split() else { return Ok(()) };
        self.unsettle(folder, ObjectKind::Folder, None)?;
        self.expect_folder(&parent)
    }

    /// A folder in which names change gets another modification time at the standby, until that of the source is set
    /// again. Says whether it is known to be a folder.
    pub(super) fn forget_times(&mut self, folder: &ContentPath) -> rusqlite::Result<bool> {
        let Some((parent, name)) = folder.split() else { return Ok(true) };
        let known = self
            .transaction
            .prepare_cached(
                "UPDATE csb_content_object SET mtime_ns = ?4
                 WHERE pool = ?1 AND folder = ?2 AND name = ?3 AND kind = 'folder'",
            )?
            .execute(params![self.pool, parent.as_bytes(), name, TIMES_UNKNOWN])?;
        self.changed.insert(parent);
        Ok(known > 0)
    }

    /// Groups are kept as long as the content is the same.
    // SQLite has no unsigned numbers: inodes and devices are kept bit by bit.
    #[allow(clippy::cast_possible_wrap)]
    pub(super) fn put(&mut self, path: &ContentPath, object: &IndexedObject) -> rusqlite::Result<()> {
        let Some((folder, name)) = path.split() else { return Ok(()) };
        let meta = &object.meta;
        self.transaction
            .prepare_cached(
                "INSERT INTO csb_content_object (pool, folder, name, kind, size, mtime_ns, ctime_ns, inode,
                     device, mode, user, user_group, blake3, extended, indexed_ns, settled)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16)
                 ON CONFLICT (pool, folder, name) DO UPDATE SET
                     groups = CASE WHEN blake3 IS excluded.blake3 THEN groups END,
                     kind = excluded.kind, size = excluded.size, mtime_ns = excluded.mtime_ns,
                     ctime_ns = excluded.ctime_ns, inode = excluded.inode, device = excluded.device,
                     mode = excluded.mode, user = excluded.user, user_group = excluded.user_group,
                     blake3 = excluded.blake3, extended = excluded.extended, indexed_ns = excluded.indexed_ns,
                     settled = excluded.settled, published = NULL, made_folder = 0",
            )?
            .execute(params![
                self.pool,
                folder.as_bytes(),
                name,
                kind_name(meta.kind),
                meta.size as i64,
                meta.mtime_ns,
                meta.ctime_ns,
                meta.inode as i64,
                meta.device as i64,
                meta.mode,
                meta.owner.user,
                meta.owner.group,
                object.hash,
                object.extended,
                object.indexed_ns,
                object.settled,
            ])?;
        self.changed.insert(folder);
        Ok(())
    }

    /// Of a row that says otherwise by now they are not remembered.
    #[allow(clippy::cast_possible_wrap)]
    pub(super) fn remember_groups(&self, path: &ContentPath, held: &HeldGroups) -> rusqlite::Result<()> {
        let Some((folder, name)) = path.split() else { return Ok(()) };
        let HeldGroups { groups, instance } = held;
        self.transaction
            .prepare_cached(
                "UPDATE csb_content_object
                 SET copy_mtime_ns = ?4, copy_ctime_ns = ?5, copy_inode = ?6, copy_device = ?7, groups = ?8
                 WHERE pool = ?1 AND folder = ?2 AND name = ?3 AND settled = 1 AND blake3 = ?9",
            )?
            .execute(params![
                self.pool,
                folder.as_bytes(),
                name,
                instance.mtime_ns,
                instance.ctime_ns,
                instance.inode as i64,
                instance.device as i64,
                groups.as_bytes(),
                groups.digest(),
            ])?;
        Ok(())
    }

    pub(super) fn delete(&mut self, path: &ContentPath) -> rusqlite::Result<()> {
        let Some((folder, name)) = path.split() else { return Ok(()) };
        self.transaction
            .prepare_cached("DELETE FROM csb_content_object WHERE pool = ?1 AND folder = ?2 AND name = ?3")?
            .execute(params![self.pool, folder.as_bytes(), name])?;
        // A folder of this name had a listing of its own.
        self.changed.extend([folder, path.clone()]);
        Ok(())
    }

    pub(super) fn delete_tree(&mut self, path: &ContentPath) -> rusqlite::Result<()> {
        self.delete(path)?;
        self.delete_below(path)
    }

    fn delete_below(&self, path: &ContentPath) -> rusqlite::Result<()> {
        // Every folder below begins with the path and a slash, which the zero follows.
        let (first, end) = ([path.as_bytes(), b"/"].concat(), [path.as_bytes(), b"0"].concat());
        for table in ["csb_content_object", "csb_content_folder"] {
            self.transaction
                .prepare_cached(&format!(
                    "DELETE FROM {table} WHERE pool = ?1 AND (folder = ?2 OR folder > ?3 AND folder < ?4)"
                ))?
                .execute(params![self.pool, path.as_bytes(), first, end])?;
        }
        Ok(())
    }

    pub(super) fn put_revision(&self, revision: &Revision) -> rusqlite::Result<()> {
        let bytes = i64::try_from(revision.bytes).unwrap_or(i64::MAX);
        self.transaction.execute(
            "UPDATE csb_content_store
             SET revision = ?2, revision_ms = ?3, revision_job = ?4, revision_bytes = ?5 WHERE pool = ?1",
            params![
                self.pool,
                revision.number,
                revision.since.as_millisecond(),
                revision.job.map(|job| job.to_string()),
                bytes
            ],
        )?;
        Ok(())
    }

    pub(super) fn clear(&self) -> rusqlite::Result<()> {
        for table in [
            "csb_content_object",
            "csb_content_folder",
            "csb_content_store",
            "csb_content_loss",
            "csb_content_held",
        ] {
            self.transaction.execute(&format!("DELETE FROM {table} WHERE pool = ?1"), [self.pool])?;
        }
        Ok(())
    }

    pub(super) fn remember_listing(&self, folder: &ContentPath, listing: [u8; 32]) -> rusqlite::Result<()> {
        self.transaction
            .prepare_cached(
                "INSERT OR REPLACE INTO csb_content_folder (pool, folder, listing) VALUES (?1, ?2, ?3)",
            )?
            .execute(params![self.pool, folder.as_bytes(), listing])?;
        Ok(())
    }

    pub(super) fn forget_listings(&self) -> rusqlite::Result<()> {
        for folder in &self.changed {
            self.transaction
                .prepare_cached("DELETE FROM csb_content_folder WHERE pool = ?1 AND folder = ?2")?
                .execute(params![self.pool, folder.as_bytes()])?;
        }
        Ok(())
    }
}

pub(super) fn kind_name(kind: ObjectKind) -> &'static str {
    match kind {
        ObjectKind::File => "file",
        ObjectKind::Folder => "folder",
        ObjectKind::Link => "link",
    }
}

pub(super) fn kind_of(name: &str) -> ObjectKind {
    match name {
        "folder" => ObjectKind::Folder,
        "link" => ObjectKind::Link,
        _ => ObjectKind::File,
    }
}
