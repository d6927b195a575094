//! Rows of objects that have another name in the same folder by now.

use rusqlite::params;

use super::ContentIndex;
use super::rows::Rows;
use crate::error::Result;
use crate::store::Generation;
use crate::store::content::ContentPath;

impl ContentIndex {
    /// Says that an object, and what is below it, has another name in the same folder now. Where the index knows that name
    /// already, both are one at the standby, and nobody knows what it holds of them.
    ///
    /// # Errors
    /// `Fenced`; when the index cannot be written.
    pub fn respell(&mut self, generation: Generation, from: &ContentPath, to: &ContentPath) -> Result<()> {
        self.write(generation, |rows| rows.respell(from, to))
    }
}

impl Rows<'_> {
    /// Gives a row another name, and those below it another folder.
    fn respell(&mut self, from: &ContentPath, to: &ContentPath) -> rusqlite::Result<()> {
        let (Some((folder, name)), Some((_, new))) = (from.split(), to.split()) else { return Ok(()) };
        let named = self
            .transaction
            .prepare_cached(
                "UPDATE OR IGNORE csb_content_object SET name = ?4 WHERE pool = ?1 AND folder = ?2 AND name = ?3",
            )?
            .execute(params![self.pool, folder.as_bytes(), name, new])?;
        let (first, end) = ([from.as_bytes(), b"/"].concat(), [from.as_bytes(), b"0"].concat());
        let rest = i64::try_from(from.as_bytes().len()).unwrap_or(i64::MAX).saturating_add(1);
        self.transaction
            .prepare_cached(
                "UPDATE OR IGNORE csb_content_object SET folder = CAST(?5 || substr(folder, ?6) AS BLOB)
                 WHERE pool = ?1 AND (folder = ?2 OR folder > ?3 AND folder < ?4)",
            )?
            .execute(params![self.pool, from.as_bytes(), first, end, to.as_bytes(), rest])?;
        // What is left was known by both names.
        self.delete_tree(from)?;
        if named == 0 {
            self.unsettle_tree(to)?;
        }
        self.forget_times(&folder)?;
        self.changed.extend([folder, to.clone()]);
        Ok(())
    }

    fn unsettle_tree(&self, path: &ContentPath) -> rusqlite::Result<()> {
        let Some((folder, name)) = path.split() else { return Ok(()) };
        let (first, end) = ([path.as_bytes(), b"/"].concat(), [path.as_bytes(), b"0"].concat());
        self.transaction
            .prepare_cached(
                "UPDATE csb_content_object SET settled = 0 WHERE pool = ?1 AND (folder = ?2 AND name = ?3
                     OR folder = ?4 OR folder > ?5 AND folder < ?6)",
            )?
            .execute(params![self.pool, folder.as_bytes(), name, path.as_bytes(), first, end])?;
        self.transaction
            .prepare_cached(
                "DELETE FROM csb_content_folder WHERE pool = ?1 AND (folder = ?2 OR folder > ?3 AND folder < ?4)",
            )?
            .execute(params![self.pool, path.as_bytes(), first, end])?;
        Ok(())
    }
}
