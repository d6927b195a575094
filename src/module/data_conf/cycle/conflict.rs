//! What others have changed at the standby: the active copy decides, and the other version is kept.

use std::collections::BTreeSet;

use jiff::Timestamp;

use super::super::copier::Copier;
use super::super::meter::Meter;
use super::{Action, Cycle};
use crate::error::Result;
use crate::report::{Change, ChangeKind};
use crate::store::content::{ContentPath, ContentStore, ObjectError, ObjectKind, ObjectMeta, ObjectResult};

impl Cycle<'_, '_> {
    /// Whether the standby has a file or link there that this product did not put there, or not so; `next` is the content that is
    /// about to take its place. Asked before the index says that the standby changes: the row tells what may be there.
    fn is_foreign(&self, path: &ContentPath, next: Option<[u8; 32]>) -> ObjectResult<bool> {
        let found = match self.module.standby.stat(path) {
            Ok(found) if found.kind != ObjectKind::Folder => found,
            // Folders are not replaced, and whatever else is there is refused by the store.
            Ok(_) | Err(ObjectError::Gone | ObjectError::Refused(_)) => return Ok(false),
            Err(error) => return Err(error),
        };
        let held = self.index.held(path)?;
        let is_left = held.as_ref().is_some_and(|held| !held.object.settled) && self.may_be_of_others(&found);
        // Size and time tell every change that nobody hides; a comparison of everything looks for the others, too.
        if !is_left
            && !self.context.verify
            && held.as_ref().is_some_and(|held| self.module.standby.looks_copied(&found, &held.object))
        {
            return Ok(false);
        }
        // It may only have been touched, or an interrupted batch may have published it.
        match self.hash_at_standby(path, found.kind) {
            Ok(hash) => Ok(next != Some(hash) && (is_left || !held.is_some_and(|held| held.may_be(hash)))),
            Err(ObjectError::Gone) => Ok(false),
            Err(ObjectError::Refused(_)) => Ok(true),
            Err(error) => Err(error),
        }
    }

    /// Whether somebody may have written this while the standby was nobody's copy: it changed since its backup was disabled.
    fn may_be_of_others(&self, found: &ObjectMeta) -> bool {
        self.adopted_ns.is_some_and(|adopted_ns| found.ctime_ns >= adopted_ns)
    }

    fn hash_at_standby(&self, path: &ContentPath, kind: ObjectKind) -> ObjectResult<[u8; 32]> {
        let (meter, standby) = (Meter::unwatched(self.context), &self.module.standby);
        Copier::new(standby, standby, self.context).hash(path, kind, &meter).map(|seen| seen.hash)
    }

    /// Adds the path to the foreign ones, if it is one of them.
    pub(super) fn find_foreign(
        &self,
        path: &ContentPath,
        next: Option<[u8; 32]>,
        foreign: &mut BTreeSet<ContentPath>,
    ) -> Result<()> {
        match self.is_foreign(path, next) {
            Ok(true) => drop(foreign.insert(path.clone())),
            Err(ObjectError::Store(error)) => return Err(error),
            Ok(false) | Err(ObjectError::Gone | ObjectError::Refused(_)) => {}
        }
        Ok(())
    }

    /// Lets a foreign version give way to what the active copy has. Where only attributes were to be set, the content
    /// has to be copied first: the row stays unsettled, and the next cycle does that.
    pub(super) fn make_way(&mut self, path: &ContentPath, action: &Action<'_>) -> ObjectResult<()> {
        match action {
            Action::Publish(..) | Action::Rename(_) | Action::Folder { in_place_of_file: true, .. } => {
                self.set_aside(path)
            }
            Action::Attributes { .. } => Err(ObjectError::Gone),
            Action::Folder { .. } | Action::Remember => Ok(()),
        }
    }

    /// Moves a foreign version to where it is kept, and says so.
    pub(super) fn set_aside(&mut self, path: &ContentPath) -> ObjectResult<()> {
        let at = i128::from(self.scan_ns);
        let occasion = Timestamp::from_nanosecond(at).unwrap_or_default().strftime("%Y-%m-%dT%H%M%SZ");
        let standby = &self.module.standby;
        let kept = standby.set_aside(path, &occasion.to_string())?;
        let message = format!(
            "{path} was changed at the standby copy by others: the active copy decides. What was found there is kept \
             as {kept} in {}, until you remove it.",
            standby.url()
        );
        let change = Change::of(path);
        let is_moved = !self.module.rehearses;
        self.record(ChangeKind::KeptAside, if is_moved { change.kept_as(&kept) } else { change });
        self.warn(message);
        self.note_aside(path, kept)?;
        Ok(())
    }
}
