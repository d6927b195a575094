//! The pages of a database as hashes: what a copy holds is known without reading it.

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::{xxh3_64_with_seed, xxh3_128_with_seed};

/// How pages are hashed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum Seed {
    /// By xxh3, with a seed of one pair: whoever writes rows does not know it, and cannot make two pages of one hash.
    Fast(u64),
    /// By BLAKE3, of which nobody can make two pages of one hash, whatever he knows: for comparing everything.
    Strong,
}

impl Seed {
    pub(super) fn new() -> Self {
        Seed::Fast(fastrand::u64(..))
    }

    /// The hash of one page.
    pub(super) fn of(self, page: &[u8]) -> u128 {
        match self {
            Seed::Fast(seed) => xxh3_128_with_seed(page, seed),
            Seed::Strong => {
                let mut half = [0; 16];
                half.copy_from_slice(&blake3::hash(page).as_bytes()[..16]);
                u128::from_le_bytes(half)
            }
        }
    }

    /// One number for a list of hashes, by which a list that was not written whole is told.
    pub(super) fn root(self, hashes: &[u128]) -> u64 {
        let places = (0_u64..).zip(hashes);
        let seed = if let Seed::Fast(seed) = self { seed } else { 0 };
        let mixed = places.map(|(place, hash)| xxh3_64_with_seed(&hash.to_le_bytes(), seed ^ place));
        mixed.fold(hashes.len() as u64, u64::wrapping_add)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeds_make_other_hashes_and_a_root_knows_every_place() {
        let (one, other) = (Seed::Fast(1), Seed::Fast(2));
        assert_ne!(one.of(b"page"), other.of(b"page"));
        assert_eq!(one.of(b"page"), one.of(b"page"));
        assert_ne!(Seed::Strong.of(b"page"), Seed::Strong.of(b"paga"));
        assert_ne!(one.root(&[1, 2]), one.root(&[2, 1]));
        assert_ne!(one.root(&[1, 2]), one.root(&[1, 2, 0]));
    }
}
