//! A file that nobody writes.

use std::sync::atomic::Ordering;

use super::{Rehearsal, in_the_way};
use crate::store::content::room::Keeping;
use crate::store::content::{
    Attributes, ContentPath, ContentReader, ContentStore, Extended, Instance, ObjectKind, ObjectResult,
    StagedObject,
};

/// A file that nobody writes.
pub(super) struct Rehearsed<'a> {
    pub(super) store: &'a Rehearsal,
    /// The version that would be replaced.
    pub(super) earlier: Option<Box<dyn ContentReader + 'a>>,
    pub(super) position: u64,
    pub(super) scratch: Vec<u8>,
    /// How many bytes were counted as taken.
    pub(super) taken: i64,
}

impl Drop for Rehearsed<'_> {
    /// What is not published goes.
    fn drop(&mut self) {
        self.store.taken.fetch_sub(self.taken, Ordering::Relaxed);
    }
}

impl StagedObject for Rehearsed<'_> {
    fn expect(&mut self, bytes: u64) -> ObjectResult<()> {
        let may_share = self.store.room().is_none_or(|room| room.keeping != Keeping::Apart);
        if self.earlier.is_none() || !may_share {
            self.taken += self.store.take(bytes)?;
        }
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> ObjectResult<()> {
        self.position = self.position.saturating_add(bytes.len() as u64);
        Ok(())
    }

    fn keep(&mut self, bytes: &[u8]) -> ObjectResult<bool> {
        let Some(earlier) = &self.earlier else { return Ok(false) };
        self.scratch.resize(bytes.len(), 0);
        let is_same = matches!(earlier.read_at(&mut self.scratch, self.position), Ok(count) if count == bytes.len())
            && self.scratch == bytes;
        if is_same {
            self.write(bytes)?;
        }
        Ok(is_same)
    }

    fn keep_known(&mut self, _: &Instance, count: u64) -> ObjectResult<bool> {
        self.position = self.position.saturating_add(count);
        Ok(self.earlier.is_some())
    }

    fn skip(&mut self, count: u64) -> ObjectResult<()> {
        self.position = self.position.saturating_add(count);
        Ok(())
    }

    fn take_over(&mut self, _: &Instance, _: u64) -> bool {
        false
    }

    fn patch(&mut self, _: &[u8], _: u64) -> ObjectResult<bool> {
        Ok(true)
    }

    fn set_extended(&mut self, _: &Extended) -> ObjectResult<bool> {
        Ok(true)
    }

    fn seal(&mut self, _: Attributes) -> ObjectResult<()> {
        Ok(())
    }

    fn publish(mut self: Box<Self>, path: &ContentPath, replace: bool) -> ObjectResult<bool> {
        match self.store.holder(path)? {
            None => {
                self.store.check_place(path)?;
                self.store.make_above(path)?;
            }
            Some(ObjectKind::Folder) => return Err(in_the_way()),
            Some(ObjectKind::File | ObjectKind::Link) if replace => {
                self.store.check_place(path)?;
                self.store.free(path);
            }
            Some(ObjectKind::File | ObjectKind::Link) => return Ok(false),
        }
        self.taken = 0;
        Ok(true)
    }
}
