//! Jobs of this process that have ended and still hold a lease.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use uuid::Uuid;

/// The jobs of this process that have ended and still hold a lease, because of a thread that they left behind.
static LEAVING: Mutex<BTreeSet<Uuid>> = Mutex::new(BTreeSet::new());

/// One of them, as long as it lives.
pub(super) struct Leaving(Uuid);

impl Leaving {
    pub(super) fn enter(job: Uuid) -> Self {
        LEAVING.lock().unwrap_or_else(PoisonError::into_inner).insert(job);
        Leaving(job)
    }

    /// Whether this job is one of them: it may have given its lease back in a moment.
    pub(super) fn is_about_to(job: Uuid) -> bool {
        LEAVING.lock().unwrap_or_else(PoisonError::into_inner).contains(&job)
    }
}

impl Drop for Leaving {
    fn drop(&mut self) {
        LEAVING.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.0);
    }
}
