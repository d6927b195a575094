//! A first copy: it is written beside the copy's place, gone on with where it did not come to its end, and gets its name when it is whole.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::super::end::{Exported, PageSink};
use super::super::hashes::Seed;
use super::super::new_file::NewFile;
use super::importer::Importer;
use super::{READERS_PATIENCE, Standby, remove_companions, whole};
use crate::error::{Error, Result};
use crate::platform::{RawFile, Rights, read_whole, sync_folder};
use crate::report::Moved;
use crate::store::files::remove;
use crate::store::sqlite::format::header::{Header, Layout, Own, lock_page};
use crate::store::sqlite::tighten_database;

/// What a first copy that did not come to its end holds.
pub(super) struct Partial {
    pub(super) layout: Layout,
    pub(super) hashes: Arc<[u128]>,
}

impl Standby {
    /// A file for a copy that gets its name once it is complete.
    ///
    /// # Errors
    /// `DiskFull`, `AccessDenied`, `Io`.
    pub(super) fn begin_new(&self, importer: &mut Importer, rights: Rights) -> Result<NewFile> {
        importer.begin()?;
        let path = self.new_path();
        remove(&path)?;
        Ok(NewFile::create(path, rights)?.staying())
    }

    /// Goes on with a first copy that was cut, killed or cancelled: what it holds is as good a base as a copy. None where there is
    /// none, or what there is tells nothing of how its pages are laid out.
    ///
    /// # Errors
    /// Failures of the file system; cancelled.
    pub(super) fn begun_new(
        &self,
        importer: &mut Importer,
        (seed, rights): (Seed, Rights),
        cancel: &CancellationToken,
    ) -> Result<Option<(NewFile, Partial)>> {
        let path = self.new_path();
        let failed = |cause: io::Error| Error::io("read", &path, &cause);
        let file = match RawFile::open(&path, true) {
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Ok(None),
            opened => opened.map_err(failed)?,
        };
        let Some(header) = Header::of(&file).map_err(failed)? else { return Ok(None) };
        let (layout, size) = (header.layout, file.metadata().map_err(failed)?.len());
        let pages = u32::try_from(size / u64::from(layout.page_size)).unwrap_or(0);
        if pages == 0 {
            return Ok(None);
        }
        importer.begin()?;
        tighten_database(&path, rights);
        let hashes = self.read_hashes(&file, layout, pages, seed, cancel)?.into();
        Ok(Some((NewFile::begun(path, file), Partial { layout, hashes })))
    }

    /// Refuses to give its name to a first copy that was gone on with and does not hold what was read: passes that did not count have
    /// written to it.
    ///
    /// # Errors
    /// `StoreReplaced`, and the file goes; failures of the device; cancelled.
    pub(super) fn require_whole(
        &self,
        new: &NewFile,
        exported: &Exported,
        seed: Seed,
        cancel: &CancellationToken,
    ) -> Result<()> {
        let mut held = self.read_hashes(&new.file, exported.layout, exported.pages, seed, cancel)?;
        let mut wanted = exported.hashes.clone();
        // The first page is the copy's own, and the one that SQLite never uses has nothing to say.
        for page in [1, lock_page(exported.layout.page_size)] {
            let at = page as usize - 1;
            held.get_mut(at).into_iter().chain(wanted.get_mut(at)).for_each(|hash| *hash = 0);
        }
        if held == wanted {
            return Ok(());
        }
        new.give_up();
        Err(self.replaced())
    }

    fn new_path(&self) -> PathBuf {
        self.folder().join("new")
    }

    /// Completes a first copy and gives it its name. A copy that cannot be read keeps its file: somebody may have it open, and would take the
    /// journal of a later import for its own.
    ///
    /// # Errors
    /// `DiskFull`, `Io`, `StoreBusy`, `Cancelled`; the copy has no name then.
    pub(super) fn publish(
        &self,
        new: NewFile,
        exported: &Exported,
        own: Own,
        cancel: &CancellationToken,
    ) -> Result<Moved> {
        let from = new.path.clone();
        let failed = |cause: io::Error| Error::io("write", &from, &cause);
        let size = u64::from(exported.layout.page_size);
        let mut first = match &exported.first_page {
            Some(first) => first.clone(),
            // It is as it was when this copy was begun.
            None => {
                let mut first = vec![0; exported.layout.page_size as usize];
                read_whole(&new.file, &mut first, 0).map_err(failed)?;
                first
            }
        };
        own.put(&mut first, exported.pages);
        new.put(1, &first, first.len())?;
        new.file.set_len(u64::from(exported.pages) * size).map_err(failed)?;
        new.file.sync_all().map_err(failed)?;
        self.remove_former()?;
        self.require_ours()?;
        if self.path.exists() {
            let file = RawFile::open(&self.path, true).map_err(self.failed("open"))?;
            let reserved = self.reserve(&file, cancel)?;
            let _shut = reserved.shut(&self.path, READERS_PATIENCE, cancel)?.ok_or_else(|| self.busy())?;
            new.put_into(&file).map_err(self.failed("write"))?;
        } else {
            new.name(|from| std::fs::rename(from, &self.path)).map_err(failed)?;
        }
        sync_folder(self.path.parent().unwrap_or(Path::new("."))).map_err(self.failed("write"))?;
        Ok(whole(exported.pages, exported.layout.page_size))
    }

    /// Removes what belongs to an earlier copy of this name: it would be played into the new one, or be taken for states of it. That is on
    /// the device before the new one has its name.
    fn remove_former(&self) -> Result<()> {
        remove(&self.folder().join("state"))?;
        remove(&self.former_note())?;
        if self.history().remove_all()? {
            sync_folder(&self.folder()).map_err(self.failed("write"))?;
        }
        remove_companions(&self.path)
    }
}
