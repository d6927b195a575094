//! Gives what the standby holds the spelling that it has in the source.

use super::super::walk::Respelling;
use super::{Change, ChangeKind, ContentStore, Cycle, ObjectError, Result};

impl Cycle<'_, '_> {
    /// Renames what was found. What cannot be renamed is noted, so that it is named instead of being deleted and copied again.
    pub(super) fn respell(&mut self, found: Vec<Respelling>) -> Result<()> {
        self.begin_keeping()?;
        let generation = self.context.generation;
        for Respelling { from, to, is_known_twice } in found {
            self.context.check()?;
            self.index.check(generation)?;
            if !is_known_twice {
                self.note_respelling(&from, Some(&to))?;
            }
            match self.module.standby.respell(&from, &to) {
                // The index follows: what is not there any more is missed by a comparison of everything.
                Ok(()) | Err(ObjectError::Gone) => {
                    if is_known_twice {
                        self.note_respelling(&from, None)?;
                    }
                    self.index.respell(generation, &from, &to)?;
                    if !is_known_twice {
                        self.outcome.moved.items_written += 1;
                        self.record(ChangeKind::Renamed, Change::of(&to).named_before(Some(from)));
                    }
                }
                Err(ObjectError::Refused(_)) if is_known_twice => drop(self.places.apart.insert(from)),
                Err(ObjectError::Refused(refusal)) => drop(self.places.failed.insert(to, refusal)),
                Err(ObjectError::Store(error)) => return Err(error),
            }
        }
        Ok(())
    }
}
