//! What the parts of a call hold whose pages are handed on.
//!
//! The first byte says what follows; numbers are little-endian.

use crate::wire::MOST_BYTES;

/// What stands before the pages of a run.
pub(super) const RUN_HEAD: usize = 9;

/// How many hashes a part carries.
pub(super) const HASHES_AT_ONCE: usize = MOST_BYTES / HASH_BYTES;
pub(super) const HASH_BYTES: usize = 16;

const NEED: u8 = 0;
const RUN: u8 = 1;
const RESET: u8 = 2;
const PROGRESS: u8 = 3;
const WAIT: u8 = 4;
const FIRST: u8 = 5;

/// A part from the helper.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Part<'a> {
    /// The helper does not know the hashes: the caller sends them as its own parts, [`HASHES_AT_ONCE`] in each.
    Need,
    /// Consecutive pages: the first one's number, the size of each, and what they hold.
    Run { first: u32, page_size: u32, content: &'a [u8] },
    /// The first page as it is at the source.
    First { content: &'a [u8] },
    /// All pages are read anew.
    Reset,
    /// So many bytes of so many were read.
    Progress { done: u64, total: u64 },
    /// Nothing can be read just now.
    Wait,
}

impl<'a> Part<'a> {
    pub(super) fn bytes(&self) -> Vec<u8> {
        match *self {
            Part::Need => vec![NEED],
            Part::Reset => vec![RESET],
            Part::Wait => vec![WAIT],
            Part::First { content } => [&[FIRST], content].concat(),
            Part::Progress { done, total } => {
                let mut bytes = vec![PROGRESS];
                bytes.extend(done.to_le_bytes());
                bytes.extend(total.to_le_bytes());
                bytes
            }
            Part::Run { first, page_size, content } => {
                let mut bytes = Vec::with_capacity(RUN_HEAD + content.len());
                bytes.push(RUN);
                bytes.extend(first.to_le_bytes());
                bytes.extend(page_size.to_le_bytes());
                bytes.extend_from_slice(content);
                bytes
            }
        }
    }

    /// None for what is none: a run of a size that no page has, with a part of a page, or with pages beyond the last that there can be.
    pub(super) fn of(bytes: &'a [u8]) -> Option<Self> {
        let (kind, rest) = bytes.split_first()?;
        Some(match (*kind, rest.len()) {
            (NEED, 0) => Part::Need,
            (RESET, 0) => Part::Reset,
            (WAIT, 0) => Part::Wait,
            (FIRST, size) => (size.is_power_of_two() && (512..=65_536).contains(&size))
                .then_some(Part::First { content: rest })?,
            (PROGRESS, 16) => Part::Progress { done: long(&rest[..8])?, total: long(&rest[8..])? },
            (RUN, 8..) => {
                let (first, page_size) = (short(&rest[..4])?, short(&rest[4..8])?);
                let content = &rest[8..];
                let is_size = page_size.is_power_of_two() && (512..=65_536).contains(&page_size);
                let is_whole = is_size && !content.is_empty() && content.len() % page_size as usize == 0;
                let pages = u32::try_from(content.len()).ok()?.checked_div(page_size)?;
                let is_there = first > 0 && first.checked_add(pages).is_some();
                (is_whole && is_there).then_some(Part::Run { first, page_size, content })?
            }
            _ => return None,
        })
    }
}

fn short(bytes: &[u8]) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.try_into().ok()?))
}

fn long(bytes: &[u8]) -> Option<u64> {
    Some(u64::from_le_bytes(bytes.try_into().ok()?))
}

/// Which list of hashes this is: nobody can make another one of the same root.
pub(super) fn root_of(hashes: &[u128]) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&(hashes.len() as u64).to_le_bytes());
    for hashes in hashes.chunks(4_096) {
        hasher.update(&hash_bytes(hashes));
    }
    *hasher.finalize().as_bytes()
}

pub(super) fn hash_bytes(hashes: &[u128]) -> Vec<u8> {
    hashes.iter().flat_map(|hash| hash.to_le_bytes()).collect()
}

/// Hashes of bytes; what does not fill one is left out.
pub(super) fn hashes_of(bytes: &[u8]) -> impl Iterator<Item = u128> {
    bytes.chunks_exact(HASH_BYTES).filter_map(|hash| Some(u128::from_le_bytes(hash.try_into().ok()?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_read_as_they_were_written_and_what_cannot_be_pages_is_none() {
        let pages = [7; 1024];
        for part in [
            Part::Need,
            Part::Reset,
            Part::Wait,
            Part::First { content: &pages },
            Part::Progress { done: 3, total: u64::MAX },
            Part::Run { first: 9, page_size: 512, content: &pages },
            Part::Run { first: u32::MAX - 1, page_size: 1024, content: &pages },
        ] {
            assert_eq!(Part::of(&part.bytes()), Some(part));
        }
        for (first, page_size, content) in [
            (0, 512, &pages[..]),
            (1, 0, &pages),
            (1, 511, &pages),
            (1, 256, &pages),
            (1, 131_072, &pages),
            (1, 512, &pages[..1_000]),
            (1, 512, &[]),
            (u32::MAX - 1, 512, &pages),
        ] {
            let bytes = Part::Run { first, page_size, content }.bytes();
            assert_eq!(Part::of(&bytes), None, "{first} {page_size} {}", content.len());
        }
        for bytes in [&[][..], &[9], &[5, 1], &[0, 0], &[3, 1], &[1, 1, 2, 3]] {
            assert_eq!(Part::of(bytes), None);
        }
    }

    #[test]
    fn a_root_knows_every_hash_its_place_and_how_many_there_are() {
        let lists = [vec![], vec![0], vec![0, 0], vec![1, 2], vec![2, 1]];
        let roots: std::collections::BTreeSet<_> = lists.iter().map(|list| root_of(list)).collect();
        assert_eq!(roots.len(), lists.len());
        assert_eq!(hashes_of(&hash_bytes(&[1, u128::MAX])).collect::<Vec<_>>(), [1, u128::MAX]);
    }
}
