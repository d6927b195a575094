//! How much room there is at a store.

/// How the file system of a store keeps what is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keeping {
    /// Every byte takes room of its own, which is free once the file is removed.
    Apart,
    /// The same, but a new version of a file may share what it has in common with the earlier one, and a file that is removed with
    /// another one.
    Shared,
    /// It may take less, or nobody knows: compressed, or behind a network.
    Unknown,
}

/// The room on the file system of a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    /// Bytes that this account may still write. A quota may allow fewer.
    pub free_bytes: u64,
    /// Bytes of all of it.
    pub total_bytes: u64,
    /// The file system's number.
    pub device: u64,
    /// What a byte of a file takes of it.
    pub keeping: Keeping,
}

/// What files and their names take besides their content, at least, in bytes.
const BLOCK_BYTES: u64 = 4096;

impl Room {
    /// Whether a new file of so many bytes certainly does not fit beside what is to be kept free.
    pub fn lacks(&self, bytes: u64, kept_free: u64) -> bool {
        self.keeping != Keeping::Unknown && self.free_bytes < bytes.saturating_add(kept_free)
    }

    /// Whether a new file of so many bytes fits once so many others are free, as far as anybody can tell: more than its
    /// content is taken.
    pub fn would_hold(&self, bytes: u64, freed_bytes: u64, kept_free: u64) -> bool {
        let more = (bytes / 128).saturating_add(16 * BLOCK_BYTES).saturating_add(kept_free);
        self.keeping == Keeping::Apart
            && bytes.saturating_add(more) <= self.free_bytes.saturating_add(freed_bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_is_only_told_where_every_byte_takes_one() {
        let room = |keeping| Room { free_bytes: 1 << 20, total_bytes: 1 << 30, device: 1, keeping };
        for (keeping, is_told) in [(Keeping::Apart, true), (Keeping::Shared, true), (Keeping::Unknown, false)]
        {
            assert!(!room(keeping).lacks(1 << 20, 0));
            assert_eq!(room(keeping).lacks((1 << 20) + 1, 0), is_told);
            assert_eq!(room(keeping).lacks(1, 1 << 20), is_told);
        }
        let (apart, shared) = (room(Keeping::Apart), room(Keeping::Shared));
        assert!(apart.would_hold(2 << 20, 2 << 20, 0) && !apart.would_hold(3 << 20, 2 << 20, 0));
        assert!(!apart.would_hold(2 << 20, 2 << 20, 1 << 20));
        assert!(!shared.would_hold(1, 2 << 20, 0), "what is removed may be shared with others");
    }
}
