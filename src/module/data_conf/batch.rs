//! Objects that wait to be published together.

/// How many objects one batch carries.
pub(super) const BATCH_ITEMS: usize = 1024;

/// A batch that is being filled.
pub(super) struct Batch<T> {
    items: Vec<T>,
    bytes: u64,
    /// How many bytes a batch carries; a larger object is a batch of its own.
    limit: u64,
    /// How many objects.
    most: usize,
}

impl<T> Batch<T> {
    pub(super) fn new(limit: u64) -> Self {
        Batch { items: Vec::new(), bytes: 0, limit, most: BATCH_ITEMS }
    }

    pub(super) fn push(&mut self, item: T, bytes: u64) {
        self.items.push(item);
        self.bytes = self.bytes.saturating_add(bytes);
    }

    pub(super) fn is_full(&self) -> bool {
        self.items.len() >= self.most || self.bytes >= self.limit
    }

    pub(super) fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// From now on a batch carries one object.
    pub(super) fn carry_one(&mut self) {
        self.most = 1;
    }

    /// What is in it; it is empty then.
    pub(super) fn take(&mut self) -> Vec<T> {
        self.bytes = 0;
        std::mem::take(&mut self.items)
    }
}
