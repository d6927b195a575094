//! Leases that were given back while their store could not be written: a full disk, a lock that nobody let go. The holder
//! writes nothing more, so this process need not wait until it was silent for long enough.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use uuid::Uuid;

use super::{Holder, Lease};
use crate::store::Generation;

static GIVEN_BACK: Mutex<BTreeSet<(Uuid, Generation)>> = Mutex::new(BTreeSet::new());

/// Remembers that a holder of this process has ended.
pub(super) fn remember(lease: &Lease) {
    GIVEN_BACK.lock().unwrap_or_else(PoisonError::into_inner).insert((lease.job_id, lease.generation));
}

/// Whether a holder was one of this process and has ended.
pub(super) fn knows(holder: &Holder) -> bool {
    let ended = (holder.job_id, holder.generation);
    GIVEN_BACK.lock().unwrap_or_else(PoisonError::into_inner).contains(&ended)
}
