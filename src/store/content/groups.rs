//! The BLAKE3 of a big file in groups, so that what changed is known without reading the earlier version.
//!
//! BLAKE3 is a tree: the values of its nodes over groups of equal length merge to the digest of the whole content. So
//! groups cannot be taken for those of another content than that of which the digest is known.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};

use blake3::Hasher;
pub use blake3::hazmat::ChainingValue;
use blake3::hazmat::{HasherExt, Mode, merge_subtrees_non_root, merge_subtrees_root};

use super::{ContentReader, ObjectError, ObjectResult};
use crate::error::{Error, ErrorKind};
use crate::store::threads::join;

/// The length of a group; the last of a file may be shorter. A power of two, as the tree wants it.
pub const GROUP_BYTES: u64 = 1 << 20;

/// Files are hashed in groups from this size on.
pub const GROUPED_BYTES: u64 = 8 << 20;

/// So many groups are remembered at most, of 32 bytes each: larger files are hashed as a whole.
const MOST_GROUPS: u64 = 1 << 16;

/// What the groups of a content hash to, in their order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Groups(Vec<ChainingValue>);

impl Groups {
    /// What was taken apart by [`Groups::as_bytes`].
    pub fn from_bytes(bytes: &[u8]) -> Self {
        Groups(bytes.chunks_exact(32).filter_map(|group| group.try_into().ok()).collect())
    }

    /// One group after the other.
    pub fn as_bytes(&self) -> &[u8] {
        self.0.as_flattened()
    }

    /// What a group hashes to; none beyond the last.
    pub fn get(&self, number: u64) -> Option<&ChainingValue> {
        self.0.get(usize::try_from(number).ok()?)
    }

    /// The content that has these groups; none where there are fewer than two.
    pub fn hashed(self) -> Option<Hashed> {
        self.digest().map(|digest| Hashed { digest, groups: Some(self) })
    }

    /// The digest of the whole content; none where there are fewer than two groups.
    pub fn digest(&self) -> Option<[u8; 32]> {
        let (left, right) = halves(&self.0)?;
        Some(*merge_subtrees_root(&merged(left)?, &merged(right)?, Mode::Hash).as_bytes())
    }
}

/// What a content hashes to.
pub struct Hashed {
    /// The BLAKE3 of the whole content.
    pub digest: [u8; 32],
    /// Its groups, if it is big.
    pub groups: Option<Groups>,
}

impl FromIterator<ChainingValue> for Groups {
    fn from_iter<I: IntoIterator<Item = ChainingValue>>(groups: I) -> Self {
        Groups(groups.into_iter().collect())
    }
}

/// The subtrees of a tree of more than one group: the left one is complete, and not smaller than the right one.
fn halves(groups: &[ChainingValue]) -> Option<(&[ChainingValue], &[ChainingValue])> {
    (groups.len() > 1).then(|| groups.split_at(groups.len().div_ceil(2).next_power_of_two()))
}

fn merged(groups: &[ChainingValue]) -> Option<ChainingValue> {
    match halves(groups) {
        Some((left, right)) => Some(merge_subtrees_non_root(&merged(left)?, &merged(right)?, Mode::Hash)),
        None => groups.first().copied(),
    }
}

/// How many groups a file of this size has; none where it is hashed as a whole.
pub fn groups_of(size: u64) -> Option<u64> {
    let count = size.div_ceil(GROUP_BYTES);
    (size >= GROUPED_BYTES && count <= MOST_GROUPS).then_some(count)
}

/// What one group hashes to.
pub fn hash_group(number: u64, content: &[u8]) -> ChainingValue {
    begin_group(number).update(content).finalize_non_root()
}

fn begin_group(number: u64) -> Hasher {
    let mut hasher = Hasher::new();
    hasher.set_input_offset(number.saturating_mul(GROUP_BYTES));
    hasher
}

/// How many groups are read and hashed at a time, where there are as many processors.
const MOST_THREADS: usize = 4;

/// How much is read at once: what was read is still in the processor's cache when it is hashed.
const PIECE_BYTES: usize = 256 << 10;

/// Takes a group by its number, with what it hashes to.
pub type TakesNumbered<'a> = &'a (dyn Fn(u64, &[u8], &ChainingValue) -> ObjectResult<()> + Sync);

/// Lets threads go on one after the other, in the order of numbers.
#[derive(Default)]
struct Turn {
    next: Mutex<u64>,
    changed: Condvar,
}

impl Turn {
    /// Waits for the turn of a number, does something, and gives the turn to the next one; to nobody once something failed.
    fn take<T>(&self, number: u64, work: impl FnOnce() -> ObjectResult<T>) -> ObjectResult<T> {
        let locked = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        let waiting = |next: &mut u64| *next < number;
        let mut next = self.changed.wait_while(locked, waiting).unwrap_or_else(PoisonError::into_inner);
        if *next > number {
            return Err(Error::cancelled().into());
        }
        let done = work();
        *next = if done.is_ok() { number + 1 } else { u64::MAX };
        self.changed.notify_all();
        done
    }

    /// Lets nobody wait any more.
    fn end(&self) {
        *self.next.lock().unwrap_or_else(PoisonError::into_inner) = u64::MAX;
        self.changed.notify_all();
    }
}

/// Reads and hashes every group of a file, several at a time, and hands each over with its number, in any order or in theirs.
/// Returns what they hash to, and how many bytes they have.
///
/// # Errors
/// As for reading; what taking a group fails with.
pub fn read_groups<R: ContentReader + ?Sized>(
    reader: &R,
    is_in_order: bool,
    take: TakesNumbered<'_>,
) -> ObjectResult<(Groups, u64)> {
    let groups = reader.meta().size.div_ceil(GROUP_BYTES);
    let (next, count, turn) = (AtomicU64::new(0), AtomicU64::new(0), Turn::default());
    let take_next = |buffer: &mut [u8]| {
        let number = next.fetch_add(1, Ordering::Relaxed);
        if number >= groups {
            return Ok(None);
        }
        let content = read_group(reader, number, buffer)?;
        if content.is_empty() {
            return Ok(None);
        }
        count.fetch_add(content.len() as u64, Ordering::Relaxed);
        let value = hash_group(number, content);
        if is_in_order {
            turn.take(number, || take(number, content, &value))?;
        } else {
            take(number, content, &value)?;
        }
        Ok(Some((number, value)))
    };
    let work = || {
        let mut buffer = vec![0; GROUP_BYTES as usize];
        let taken: ObjectResult<Vec<_>> = std::iter::from_fn(|| take_next(&mut buffer).transpose()).collect();
        if taken.is_err() {
            // The others need not go on.
            next.store(groups, Ordering::Relaxed);
            turn.end();
        }
        taken
    };
    let threads = std::thread::available_parallelism().map_or(1, |count| count.get().min(MOST_THREADS));
    let mut taken: Vec<(u64, ChainingValue)> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        let taken: Vec<ObjectResult<Vec<_>>> = workers.into_iter().map(join).collect();
        // What failed first, not what ended because of that.
        let (failed, taken): (Vec<_>, Vec<_>) = taken.into_iter().partition(Result::is_err);
        let is_first = |failure: &ObjectError| !matches!(failure, ObjectError::Store(error) if error.kind == ErrorKind::Cancelled);
        let mut failures: Vec<_> = failed.into_iter().filter_map(Result::err).collect();
        failures.sort_by_key(|failure| !is_first(failure));
        match failures.into_iter().next() {
            Some(failure) => Err(failure),
            None => Ok(taken.into_iter().flatten().flatten().collect()),
        }
    })?;
    taken.sort_unstable();
    Ok((taken.into_iter().map(|(_, value)| value).collect(), count.into_inner()))
}

/// A group, or what is left of it.
fn read_group<'b, R: ContentReader + ?Sized>(
    reader: &R,
    number: u64,
    buffer: &'b mut [u8],
) -> ObjectResult<&'b [u8]> {
    let mut length = 0;
    for piece in buffer.chunks_mut(PIECE_BYTES) {
        let read = reader.read_at(piece, number.saturating_mul(GROUP_BYTES).saturating_add(length as u64))?;
        length += read;
        if read < piece.len() {
            break;
        }
    }
    Ok(buffer.get(..length).unwrap_or_default())
}

/// What a hole reads as.
static ZEROS: [u8; 64 << 10] = [0; 64 << 10];

/// Hashes a content from its beginning to its end, in groups where it is big.
pub struct GroupHasher {
    /// The group that has been begun, or the whole content.
    hasher: Hasher,
    /// How many bytes of the group are missing.
    missing: u64,
    groups: Vec<ChainingValue>,
}

impl GroupHasher {
    /// For a content that is expected to have this size.
    pub fn new(size: u64) -> Self {
        let missing = if groups_of(size).is_some() { GROUP_BYTES } else { u64::MAX };
        GroupHasher { hasher: Hasher::new(), missing, groups: Vec::new() }
    }

    /// Takes the next bytes.
    pub fn update(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            if self.missing == 0 {
                self.groups.push(self.hasher.finalize_non_root());
                self.hasher = begin_group(self.groups.len() as u64);
                self.missing = GROUP_BYTES;
            }
            let length = usize::try_from(self.missing).unwrap_or(usize::MAX).min(bytes.len());
            let (now, later) = bytes.split_at(length);
            self.hasher.update(now);
            self.missing -= length as u64;
            bytes = later;
        }
    }

    /// Takes so many zeros; between two pieces of them it asks whether to go on.
    ///
    /// # Errors
    /// What that fails with.
    pub fn skip<E>(&mut self, mut count: u64, go_on: impl Fn() -> Result<(), E>) -> Result<(), E> {
        while count > 0 {
            go_on()?;
            let length = usize::try_from(count).unwrap_or(usize::MAX).min(ZEROS.len());
            self.update(ZEROS.get(..length).unwrap_or_default());
            count -= length as u64;
        }
        Ok(())
    }

    /// What the content hashes to.
    pub fn finish(mut self) -> Hashed {
        if !self.groups.is_empty() {
            self.groups.push(self.hasher.finalize_non_root());
        }
        let whole = || Hashed { digest: *self.hasher.finalize().as_bytes(), groups: None };
        Groups(self.groups).hashed().unwrap_or_else(whole)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noise(length: usize) -> Vec<u8> {
        let mut noise = vec![0; length];
        fastrand::Rng::with_seed(length as u64).fill(&mut noise);
        noise
    }

    #[test]
    fn groups_merge_to_the_digest_of_the_whole_content() {
        let group = GROUP_BYTES as usize;
        for length in [
            8 * group,
            8 * group + 1,
            9 * group - 1,
            9 * group,
            11 * group + 1025,
            16 * group,
            17 * group + 1,
        ] {
            let content = noise(length);
            let digest = *blake3::hash(&content).as_bytes();
            for piece in [1000, 256 << 10, group + 1, length] {
                let mut hasher = GroupHasher::new(length as u64);
                content.chunks(piece).for_each(|piece| hasher.update(piece));
                let hashed = hasher.finish();
                assert_eq!(hashed.digest, digest, "{length} in pieces of {piece}");
                let alone: Groups = (0..)
                    .zip(content.chunks(group))
                    .map(|(number, group)| hash_group(number, group))
                    .collect();
                assert_eq!(hashed.groups, Some(alone), "{length} in pieces of {piece}");
            }
        }
    }

    #[test]
    fn small_files_and_huge_ones_are_hashed_as_a_whole() {
        let most = MOST_GROUPS * GROUP_BYTES;
        assert_eq!([GROUPED_BYTES - 1, most + 1].map(groups_of), [None, None]);
        assert_eq!([GROUPED_BYTES, most].map(groups_of), [Some(8), Some(MOST_GROUPS)]);
        let content = noise(3 << 20);
        for size in [content.len() as u64, most + 1] {
            let mut hasher = GroupHasher::new(size);
            hasher.update(&content);
            let Hashed { digest, groups } = hasher.finish();
            assert_eq!((digest, groups), (*blake3::hash(&content).as_bytes(), None), "{size}");
        }
    }

    #[test]
    fn a_content_that_ended_early_is_hashed_all_the_same() {
        for length in [0, 1, GROUP_BYTES as usize, GROUP_BYTES as usize + 1] {
            let content = noise(length);
            let mut hasher = GroupHasher::new(GROUPED_BYTES);
            hasher.update(&content);
            assert_eq!(hasher.finish().digest, *blake3::hash(&content).as_bytes(), "{length}");
        }
    }

    #[test]
    fn groups_that_were_tampered_with_have_another_digest() {
        let mut hasher = GroupHasher::new(GROUPED_BYTES);
        hasher.update(&noise(GROUPED_BYTES as usize));
        let Hashed { digest, groups } = hasher.finish();
        let bytes = groups.unwrap().as_bytes().to_vec();
        assert_eq!(Groups::from_bytes(&bytes).digest(), Some(digest));
        let [mut flipped, mut swapped] = [bytes.clone(), bytes.clone()];
        flipped[100] ^= 1;
        swapped.rotate_left(32);
        for wrong in [&flipped, &swapped, &bytes[..bytes.len() - 32], &bytes[..32], &[][..]] {
            assert_ne!(Groups::from_bytes(wrong).digest(), Some(digest), "{} bytes", wrong.len());
        }
    }
}
