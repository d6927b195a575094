//! The new version of a big file where the destination holds the earlier one, and knows its groups: only what is new is
//! touched there, and nothing is read.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use super::super::threads::join;
use super::pass::{BLOCK_BYTES, Pass, TargetFile};
use crate::store::content::ObjectResult;
use crate::store::content::groups::{ChainingValue, GROUP_BYTES, GroupHasher, Groups, Hashed, hash_group};

/// How many groups are read and hashed at a time, where there are as many processors.
const MOST_THREADS: usize = 4;

/// How much is read at once: what was read is still in the processor's cache when it is hashed.
const PIECE_BYTES: usize = 256 << 10;

impl Pass<'_, '_> {
    /// Reads every group, and patches those that are others than the target has taken over.
    pub(super) fn patch(&mut self, target: &mut TargetFile<'_>, held: &Groups) -> ObjectResult<Hashed> {
        let groups = self.reader.meta().size.div_ceil(GROUP_BYTES);
        let (next, count, target) = (AtomicU64::new(0), AtomicU64::new(0), Mutex::new(target));
        let patch_next = |buffer: &mut [u8]| {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= groups {
                return Ok(None);
            }
            let content = self.read_group(number, buffer)?;
            if content.is_empty() {
                return Ok(None);
            }
            count.fetch_add(content.len() as u64, Ordering::Relaxed);
            let value = hash_group(number, content);
            if held.get(number) != Some(&value) {
                let mut target = target.lock().unwrap_or_else(PoisonError::into_inner);
                target.patch(content, number * GROUP_BYTES)?;
            }
            Ok(Some((number, value)))
        };
        let work = || {
            let mut buffer = vec![0; GROUP_BYTES as usize];
            let patched: ObjectResult<Vec<_>> =
                std::iter::from_fn(|| patch_next(&mut buffer).transpose()).collect();
            if patched.is_err() {
                // The others need not go on.
                next.store(groups, Ordering::Relaxed);
            }
            patched
        };
        let threads = std::thread::available_parallelism().map_or(1, |count| count.get().min(MOST_THREADS));
        let mut patched: Vec<(u64, ChainingValue)> = std::thread::scope(|scope| {
            let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
            let patched: ObjectResult<Vec<_>> = workers.into_iter().map(join).collect();
            patched.map(|patched| patched.concat())
        })?;
        self.count = count.into_inner();
        patched.sort_unstable();
        let groups: Groups = patched.into_iter().map(|(_, value)| value).collect();
        // Not even two, if it became shorter meanwhile: then it is read again.
        Ok(groups.hashed().unwrap_or_else(|| GroupHasher::new(0).finish()))
    }

    /// A group, or what is left of it.
    fn read_group<'b>(&self, number: u64, buffer: &'b mut [u8]) -> ObjectResult<&'b [u8]> {
        self.context.check()?;
        let mut length = 0;
        for piece in buffer.chunks_mut(PIECE_BYTES) {
            let read = self.reader.read_at(piece, number * GROUP_BYTES + length as u64)?;
            length += read;
            if read < piece.len() {
                break;
            }
        }
        self.meter.bytes(length as u64);
        Ok(buffer.get(..length).unwrap_or_default())
    }
}

impl TargetFile<'_> {
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
