//! Earlier states lie where the copy is, and are restored there.

use super::RemoteContent;
use crate::error::{Error, Result};
use crate::store::content::history::{Before, ContentHistory, KeptParts, KeptRevision, Revision};
use crate::store::content::{ContentPath, ObjectResult};

impl RemoteContent {
    fn no_history(&self) -> Error {
        self.place.refuses("Earlier states of a content store")
    }
}

impl ContentHistory for RemoteContent {
    fn revisions(&self) -> Result<Vec<KeptRevision>> {
        Err(self.no_history())
    }

    fn describe(&self, _: u32) -> Result<Option<Revision>> {
        Err(self.no_history())
    }

    fn expect_changes(&self) {}

    fn parts(&self, _: &ContentPath) -> ObjectResult<Option<KeptParts>> {
        Err(self.no_history().into())
    }

    fn begin(&self, _: &Revision) -> Result<u32> {
        Err(self.no_history())
    }

    fn note(&self, _: &[Before]) -> Result<()> {
        Err(self.no_history())
    }

    fn sync(&self) -> Result<()> {
        Err(self.no_history())
    }

    fn keep(&self, _: &ContentPath, _: u32) -> ObjectResult<()> {
        Err(self.no_history().into())
    }

    fn take(&self, _: &ContentPath, _: u32) -> ObjectResult<()> {
        Err(self.no_history().into())
    }

    fn end(&self, _: &Revision) -> Result<()> {
        Err(self.no_history())
    }

    fn read_notes(&self, _: u32, _: &mut dyn FnMut(Before) -> Result<()>) -> Result<()> {
        Err(self.no_history())
    }

    fn kept(&self, _: u32, _: u32) -> ObjectResult<Option<ContentPath>> {
        Err(self.no_history().into())
    }

    fn remove_revision(&self, _: u32) -> Result<()> {
        Err(self.no_history())
    }
}
