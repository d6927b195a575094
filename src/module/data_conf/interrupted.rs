//! What interrupted batches left at the standby.
//!
//! A name may have been begun as one kind, and as another one by the next batch that was interrupted: its row cannot
//! tell what came of them. So the standby is asked, before anything is concluded from rows that are not settled.

use super::DataConf;
use super::batch::BATCH_ITEMS;
use super::copier::Copier;
use super::meter::Meter;
use crate::error::Result;
use crate::module::Context;
use crate::store::content::index::{ContentIndex, Held};
use crate::store::content::{ContentPath, ObjectError, ObjectKind};

impl DataConf {
    /// Lets the index say of every name that is not settled which kind of object of this product's has it, if any.
    /// What others may have put there is left to those who want the name.
    pub(super) fn take_stock(&self, index: &mut ContentIndex, context: &Context) -> Result<()> {
        let mut last = None;
        loop {
            let unsettled = index.unsettled(last.as_ref(), BATCH_ITEMS)?;
            let Some(next) = unsettled.last() else { return Ok(()) };
            last = Some(next.clone());
            let mut found = Vec::new();
            for path in unsettled {
                context.check()?;
                let Some(held) = index.held(&path)? else { continue };
                match self.standby.stat(&path) {
                    Ok(meta) => {
                        let kind = self.left(&path, meta.kind, &held, context)?;
                        found.extend(kind.map(|kind| (path, Some(kind))));
                    }
                    Err(ObjectError::Gone) => found.push((path, None)),
                    // Others have put something there, or what it was in is no folder any more and tells that itself.
                    Err(ObjectError::Refused(_)) => {}
                    Err(ObjectError::Store(error)) => return Err(error),
                }
            }
            index.correct(context.generation, &found)?;
        }
    }

    /// As which kind the index has to know what was found, so that the row is right and those below it go; none where
    /// they are right, and where no batch of this product's left what was found. Files and links take each other's
    /// place at once.
    fn left(
        &self,
        path: &ContentPath,
        found: ObjectKind,
        held: &Held,
        context: &Context,
    ) -> Result<Option<ObjectKind>> {
        let known = held.object.meta.kind;
        let is_ours = match (known, found) {
            (ObjectKind::Folder, ObjectKind::Folder) => false,
            (ObjectKind::Folder, _) => self.is_published(path, found, held, context)?,
            (_, ObjectKind::Folder) => held.made_folder,
            _ => return Ok(held.made_folder.then_some(known)),
        };
        Ok(is_ours.then_some(found))
    }

    /// Whether a file or link is one that an interrupted batch may have published.
    fn is_published(
        &self,
        path: &ContentPath,
        kind: ObjectKind,
        held: &Held,
        context: &Context,
    ) -> Result<bool> {
        let standby = self.standby.as_ref();
        let mut copier = Copier::new(standby, standby, context);
        match copier.hash(path, kind, &Meter::unwatched(context)) {
            Ok(seen) => Ok(held.may_be(seen.hash)),
            Err(ObjectError::Gone | ObjectError::Refused(_)) => Ok(false),
            Err(ObjectError::Store(error)) => Err(error),
        }
    }
}
