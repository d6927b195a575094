//! The pages of a database as hashes: what a copy holds is known without reading it.

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::{xxh3_64_with_seed, xxh3_128_with_seed};

/// What makes the hashes of one pair: whoever writes rows does not know it, and cannot make two pages of one hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct Seed(u64);

impl Seed {
    pub(super) fn new() -> Self {
        Seed(fastrand::u64(..))
    }

    /// The hash of one page.
    pub(super) fn of(self, page: &[u8]) -> u128 {
        xxh3_128_with_seed(page, self.0)
    }

    /// One number for a list of hashes, by which a list that was not written whole is told.
    pub(super) fn root(self, hashes: &[u128]) -> u64 {
        let places = (0_u64..).zip(hashes);
        let mixed = places.map(|(place, hash)| xxh3_64_with_seed(&hash.to_le_bytes(), self.0 ^ place));
        mixed.fold(hashes.len() as u64, u64::wrapping_add)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeds_make_other_hashes_and_a_root_knows_every_place() {
        let (one, other) = (Seed(1), Seed(2));
        assert_ne!(one.of(b"page"), other.of(b"page"));
        assert_eq!(one.of(b"page"), one.of(b"page"));
        assert_ne!(one.root(&[1, 2]), one.root(&[2, 1]));
        assert_ne!(one.root(&[1, 2]), one.root(&[1, 2, 0]));
    }
}
