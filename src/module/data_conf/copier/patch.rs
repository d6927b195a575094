//! The new version of a big file where the destination holds the earlier one, and knows its groups: only what is new is
//! touched there, and nothing is read.

use std::sync::{Mutex, PoisonError};

use super::pass::{BLOCK_BYTES, Pass, Piece, TargetFile};
use crate::store::content::groups::{GroupHasher, Hashed};
use crate::store::content::{Held, Instance, ObjectResult, Refusal};

impl Pass<'_, '_> {
    /// Reads every group, and patches those that are others than the target has taken over.
    pub(super) fn patch(&mut self, target: &mut TargetFile<'_>, held: &Held<'_>) -> ObjectResult<Hashed> {
        let (context, meter, target) = (self.context, self.meter, Mutex::new(target));
        let patch =
            |content: &[u8], at| target.lock().unwrap_or_else(PoisonError::into_inner).patch(content, at);
        let passed = |count| {
            meter.bytes(count);
            context.check()
        };
        let (groups, count) = self.reader.changed_groups(held, &patch, &passed)?;
        self.count = count;
        // Not even two, if it became shorter meanwhile: then it is read again.
        Ok(groups.hashed().unwrap_or_else(|| GroupHasher::new(0).finish()))
    }
}

impl Pass<'_, '_> {
    /// Appends the groups that are others than the destination holds, as another machine sends them, in their order; and
    /// between them what it holds.
    pub(super) fn rebuild(
        &mut self,
        target: &mut TargetFile<'_>,
        held: &Held<'_>,
        instance: &Instance,
    ) -> ObjectResult<Hashed> {
        let (context, meter, place) = (self.context, self.meter, Mutex::new((target, 0)));
        let locked = || place.lock().unwrap_or_else(PoisonError::into_inner);
        let append = |content: &[u8], at: u64| {
            let (target, end) = &mut *locked();
            target.keep_known(instance, at.saturating_sub(*end))?;
            *end = at.saturating_add(content.len() as u64);
            content.chunks(BLOCK_BYTES).try_for_each(|block| target.take(Piece::Bytes(block)))
        };
        let passed = |count| {
            meter.bytes(count);
            context.check()
        };
        let (groups, count) = self.reader.changed_groups(held, &append, &passed)?;
        let (target, end) = &mut *locked();
        target.keep_known(instance, count.saturating_sub(*end))?;
        self.count = count;
        Ok(groups.hashed().unwrap_or_else(|| GroupHasher::new(0).finish()))
    }
}

impl TargetFile<'_> {
    fn keep_known(&mut self, instance: &Instance, count: u64) -> ObjectResult<()> {
        if self.staged.keep_known(instance, count)? { Ok(()) } else { Err(Refusal::changing().into()) }
    }

    /// Patches what is other than what was taken over.
    fn patch(&mut self, content: &[u8], at: u64) -> ObjectResult<()> {
        for (block, at) in content.chunks(BLOCK_BYTES).zip((at..).step_by(BLOCK_BYTES)) {
            if self.staged.patch(block, at)? {
                self.sent += block.len() as u64;
            }
        }
        Ok(())
    }
}
