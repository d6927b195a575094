//! What interrupted batches left at the standby.
//!
//! A name may have been begun as one kind, and as another one by the next batch that was interrupted: its row cannot
//! tell what came of them. So the standby is asked, before anything is concluded from rows that are not settled.

use super::super::DataConf;
use super::super::batch::BATCH_ITEMS;
use crate::error::Result;
use crate::module::Context;
use crate::store::content::index::{ContentIndex, HeldObject};
use crate::store::content::{ContentStore, ObjectError, ObjectKind};

impl DataConf {
    /// Lets the index say of every name that is not settled which kind of object of this product's has it, if any.
    /// What others may have put there is left to those who want the name.
    pub(in super::super) fn take_stock(&self, index: &mut ContentIndex, context: &Context) -> Result<()> {
        let mut last = None;
        loop {
            let unsettled = index.unsettled(last.as_ref(), BATCH_ITEMS)?;
            let Some((next, _)) = unsettled.last() else { return Ok(()) };
            last = Some(next.clone());
            let mut found = Vec::new();
            for (path, held) in unsettled {
                context.check()?;
                match self.standby.stat(&path) {
                    Ok(meta) => found.extend(left(&held, meta.kind).map(|kind| (path, Some(kind)))),
                    Err(ObjectError::Gone) => found.push((path, None)),
                    // Others have put something there, or what it was in is no folder any more and tells that itself.
                    Err(ObjectError::Refused(_)) => {}
                    Err(ObjectError::Store(error)) => return Err(error),
                }
            }
            index.correct(context.generation, &found)?;
        }
    }
}

/// As which kind the index has to know what was found, so that the row is right and those below it go; none where they
/// are right, and where others put there what was found. A row that says folder is right, or gone before anything else
/// is begun under its name; files and links take each other's place at once.
fn left(held: &HeldObject, found: ObjectKind) -> Option<ObjectKind> {
    let known = held.object.meta.kind;
    let may_be_other = known != ObjectKind::Folder && held.made_folder;
    may_be_other.then_some(if found == ObjectKind::Folder { found } else { known })
}
