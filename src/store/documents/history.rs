//! What a store holds, as one number: the digest of a chain over all its versions.

use super::Document;

/// Stands for a store's content up to a revision: equal where two stores hold the same.
pub type Digest = blake3::Hash;

/// The versions of a store up to a revision, summed up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DocumentHistory {
    /// The last revision among them; 0 where there is none.
    pub revision: i64,
    /// How many they are.
    pub documents: u64,
    /// How much their content is.
    pub bytes: u64,
    /// Stands for all of them, each with everything that belongs to it.
    pub digest: Digest,
}

impl DocumentHistory {
    /// Nothing at all.
    pub const fn empty() -> Self {
        DocumentHistory { revision: 0, documents: 0, bytes: 0, digest: Digest::from_bytes([0; 32]) }
    }

    /// The same, with one more version at its end.
    #[must_use]
    pub fn with(self, document: &Document) -> Self {
        let mut hasher = blake3::Hasher::new();
        hasher.update(self.digest.as_bytes());
        for number in [document.revision, document.version, document.published_ms] {
            hasher.update(&number.to_le_bytes());
        }
        for text in [&document.kind, &document.name, &document.body] {
            hasher.update(&(text.len() as u64).to_le_bytes());
            hasher.update(text.as_bytes());
        }
        DocumentHistory {
            revision: document.revision,
            documents: self.documents + 1,
            bytes: self.bytes + document.body.len() as u64,
            digest: hasher.finalize(),
        }
    }
}
