//! The digests of the listings of folders of which the standby is known to hold everything.

use rusqlite::{OptionalExtension, params};

use super::ContentIndex;
use crate::error::Result;
use crate::store::Generation;
use crate::store::content::ContentPath;
use crate::store::content::hints::KnownListings;

impl ContentIndex {
    /// The digest of the listing of a folder of which the standby is known to hold everything; none where it is not.
    ///
    /// # Errors
    /// When the index cannot be read.
    pub fn listing(&self, folder: &ContentPath) -> Result<Option<[u8; 32]>> {
        let read = || {
            self.connection
                .prepare_cached("SELECT listing FROM csb_content_folder WHERE pool = ?1 AND folder = ?2")?
                .query_row(params![self.pool.as_str(), folder.as_bytes()], |row| row.get(0))
                .optional()
        };
        read().map_err(self.failed("read"))
    }

    /// Remembers listings in which nothing differed from the rows as they are.
    ///
    /// # Errors
    /// `Fenced`; when the index cannot be written.
    pub fn remember_listings(
        &mut self,
        generation: Generation,
        listings: &[(ContentPath, [u8; 32])],
    ) -> Result<()> {
        self.write_for_now(generation, |rows| {
            listings.iter().try_for_each(|(folder, listing)| rows.remember_listing(folder, *listing))
        })
    }
}

impl KnownListings for ContentIndex {
    fn each(&self, take: &mut dyn FnMut(&[u8], &[u8; 32])) -> Result<()> {
        let mut read = || {
            let mut query = self
                .connection
                .prepare_cached("SELECT folder, listing FROM csb_content_folder WHERE pool = ?1")?;
            let mut rows = query.query([self.pool.as_str()])?;
            while let Some(row) = rows.next()? {
                take(row.get_ref(0)?.as_blob()?, &row.get(1)?);
            }
            Ok(())
        };
        read().map_err(self.failed("read"))
    }

    fn of(&self, folder: &ContentPath) -> Result<Option<[u8; 32]>> {
        self.listing(folder)
    }
}
