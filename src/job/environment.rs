//! What every job of a service needs.

use std::sync::Arc;

use super::record::Records;
use crate::clock::Clock;
use crate::store::leases::LeaseOwner;

/// What every job of a service needs.
pub struct Environment {
    /// Where times come from.
    pub clock: Arc<dyn Clock>,
    /// This process.
    pub owner: LeaseOwner,
    /// Where jobs are kept on disk.
    pub records: Records,
}
