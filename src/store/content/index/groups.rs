//! The groups of big files, in the rows of these: as long as a row tells of the same content they are right.

use rusqlite::{OptionalExtension, Row, params};

use super::ContentIndex;
use crate::error::Result;
use crate::store::Generation;
use crate::store::content::groups::Groups;
use crate::store::content::{ContentPath, Instance};

/// The groups of a big file's content, and where the standby has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeldGroups {
    /// What they hash to.
    pub groups: Groups,
    /// The standby's file.
    pub instance: Instance,
}

impl ContentIndex {
    /// The groups of a big file that the standby holds with this content, and in which of its files; none where they are
    /// not known.
    ///
    /// # Errors
    /// When the index cannot be read.
    pub fn groups(&self, path: &ContentPath, hash: [u8; 32]) -> Result<Option<HeldGroups>> {
        let Some((folder, name)) = path.split() else { return Ok(None) };
        let read = || {
            self.connection
                .prepare_cached(
                    "SELECT copy_mtime_ns, copy_ctime_ns, copy_inode, copy_device, groups FROM csb_content_object
                     WHERE pool = ?1 AND folder = ?2 AND name = ?3 AND groups IS NOT NULL",
                )?
                .query_row(params![self.pool.as_str(), folder.as_bytes(), name], held_groups)
                .optional()
        };
        let held = read().map_err(self.failed("read"))?;
        Ok(held.filter(|held| held.groups.digest() == Some(hash)))
    }

    /// Remembers the groups of files of which the standby holds just this content. Does not wait for the disk: where they
    /// are missing, files are compared.
    ///
    /// # Errors
    /// `Fenced`; when the index cannot be written.
    pub fn remember_groups(
        &mut self,
        generation: Generation,
        held: &[(ContentPath, HeldGroups)],
    ) -> Result<()> {
        if held.is_empty() {
            return Ok(());
        }
        self.write_for_now(generation, |rows| {
            held.iter().try_for_each(|(path, held)| rows.remember_groups(path, held))
        })
    }
}

#[allow(clippy::cast_sign_loss)]
fn held_groups(row: &Row<'_>) -> rusqlite::Result<HeldGroups> {
    let instance = Instance {
        mtime_ns: row.get(0)?,
        ctime_ns: row.get(1)?,
        inode: row.get::<_, i64>(2)? as u64,
        device: row.get::<_, i64>(3)? as u64,
    };
    Ok(HeldGroups { groups: Groups::from_bytes(row.get_ref(4)?.as_blob()?), instance })
}

#[cfg(test)]
mod tests {
    use super::super::IndexedObject;
    use super::super::tests::{file, new_index};
    use super::*;
    use crate::store::content::ObjectKind;

    #[test]
    fn groups_are_known_as_long_as_the_row_tells_of_their_content() {
        let folder = tempfile::tempdir().unwrap();
        let (mut index, generation) = new_index(&folder.path().join("service.sqlite"));
        let named = ContentPath::from_bytes(b"file").unwrap();
        let groups: Groups = [[1; 32], [2; 32], [3; 32]].into_iter().collect();
        let hash = groups.digest().unwrap();
        let instance = Instance { mtime_ns: 1, ctime_ns: -2, inode: u64::MAX, device: 4 };
        let held = HeldGroups { groups, instance };
        let object = IndexedObject { hash: Some(hash), ..file(1) };
        let known = |index: &ContentIndex| index.groups(&named, hash).unwrap();

        index.settle(generation, &[(named.clone(), file(1))], &[]).unwrap();
        index.remember_groups(generation, &[(named.clone(), held.clone())]).unwrap();
        assert_eq!(known(&index), None, "the row tells of another content");
        index.settle(generation, &[(named.clone(), object)], &[]).unwrap();
        index.begin(generation, std::iter::once((&named, ObjectKind::File, Some([9; 32])))).unwrap();
        index.remember_groups(generation, &[(named.clone(), held.clone())]).unwrap();
        assert_eq!(known(&index), None, "nobody knows what is there");
        index.settle(generation, &[(named.clone(), object)], &[]).unwrap();
        assert_eq!(index.held(&named).unwrap().unwrap().published, [[0; 32]; 0]);
        index.remember_groups(generation, &[(named.clone(), held.clone())]).unwrap();
        assert_eq!(known(&index), Some(held.clone()));
        assert_eq!(index.groups(&named, [7; 32]).unwrap(), None, "they are of another content");

        let touched = IndexedObject { indexed_ns: 9, ..object };
        index.settle(generation, &[(named.clone(), touched)], &[]).unwrap();
        assert_eq!(known(&index), Some(held.clone()), "the content is the same");
        assert_eq!(index.held(&named).unwrap().unwrap().object, touched);
        index.settle(generation, &[(named.clone(), file(1))], &[]).unwrap();
        index.settle(generation, &[(named.clone(), object)], &[]).unwrap();
        assert_eq!(known(&index), None, "it was another content in between");
        index.remember_groups(generation, &[(named.clone(), held)]).unwrap();
        index.settle(generation, &[], std::slice::from_ref(&named)).unwrap();
        index.settle(generation, &[(named.clone(), object)], &[]).unwrap();
        assert_eq!(known(&index), None, "they went with the row");
    }
}
