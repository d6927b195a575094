//! How much a cycle may delete without being told to.

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};

use super::{ContentStore, Cycle, CyclePlan, Error, ErrorKind, ObjectKind, ObjectMeta, Result};

/// A cycle deletes at most this share of what the standby holds, in percent …
const SHARE_PERCENT: u64 = 25;

/// … but always this many objects.
const ALWAYS: u64 = 20;

impl Cycle<'_, '_> {
    /// How many objects the standby holds, if that matters: counting them is not for nothing.
    pub(super) fn held_before(&self, plan: &CyclePlan) -> Result<u64> {
        if plan.deletions.len() > ALWAYS { self.index.count() } else { Ok(0) }
    }

    /// Refuses to delete more than the safety share. What was copied stays.
    pub(super) fn check_share(&mut self, plan: &CyclePlan, indexed: u64) -> Result<()> {
        if self.context.accept_deletions || !exceeds(plan.deletions.len(), indexed) {
            return Ok(());
        }
        let deletions = plan.deletions.len() - self.renamed(plan)?;
        if !exceeds(deletions, indexed) {
            return Ok(());
        }
        self.left.deletions(plan.deletions.len());
        for step in plan.after_deletions.iter() {
            if let Ok(meta) = self.module.source.stat(&step?.path) {
                self.left.object(&meta);
            }
        }
        self.is_all_counted = true;
        let source = self.module.source.url();
        Err(Error::new(
            ErrorKind::SafetyShareExceeded,
            format!(
                "{deletions} of the {indexed} objects that the standby copy holds are missing in {source}, more than \
                 the safety share of {SHARE_PERCENT} %. What is new or changed was copied, nothing was deleted."
            ),
            "If they were deleted on purpose, run the command again with -AcceptDeletions. If they were lost, run \
             Invoke-CsBackupServiceSync with -BackupModule DataConf for the backup pool, which gives them back.",
        )
        .at("store", source)
        .at("deletions", deletions)
        .at("objects", indexed)
        .on(self.module.source.side))
    }

    /// How many of the deletions are objects that now have another name: nothing is lost with them.
    fn renamed(&self, plan: &CyclePlan) -> Result<u64> {
        let mut present = HashSet::new();
        for step in plan.folders.iter().chain(plan.files.iter()).chain(plan.after_deletions.iter()) {
            self.context.check()?;
            if let Ok(meta) = self.module.source.stat(&step?.path) {
                present.insert(identity(&meta));
            }
        }
        plan.deletions.iter().try_fold(0, |count, deletion| {
            Ok(count + u64::from(present.contains(&identity(&deletion?.meta))))
        })
    }
}

/// Whether so many deletions are more than the safety share of what is indexed.
pub(in super::super) fn exceeds(deletions: u64, indexed: u64) -> bool {
    deletions > ALWAYS && deletions.saturating_mul(100) > indexed.saturating_mul(SHARE_PERCENT)
}

/// Inodes are used again, so that of a file counts only together with its size and time. Hashed, because there may be
/// millions.
pub(in super::super) fn identity(meta: &ObjectMeta) -> u64 {
    let mtime_ns = if meta.kind == ObjectKind::File { meta.mtime_ns } else { 0 };
    let mut hasher = DefaultHasher::new();
    (meta.device, meta.inode, meta.size, mtime_ns).hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::exceeds;

    #[test]
    fn the_share_and_the_floor_both_have_to_be_exceeded() {
        assert!(!exceeds(20, 20));
        assert!(exceeds(21, 21));
        assert!(!exceeds(25, 100));
        assert!(exceeds(26, 100));
        assert!(!exceeds(0, 0));
    }
}
