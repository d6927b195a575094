//! The stores: user store, content store, Central Management store, and the backup service's own: leases, content index.
//!
//! Stores are blocking and know no modules: they read and write one kind of data at one place.

use serde::{Deserialize, Serialize};

use crate::error::{Error, ErrorKind};
pub use crate::report::Trace;
use crate::topology::PoolFqdn;

pub mod access;
pub mod content;
pub mod documents;
pub mod factory;
pub mod files;
pub mod leases;
pub mod places;
pub mod remote;
pub mod sample;
pub mod served;
pub mod sqlite;
pub(crate) mod threads;
mod until;
pub mod user;
pub(crate) mod wildcard;

pub use remote::Reach;
pub use until::Until;
pub use user::made_by::{JobName, MadeBy};

/// The right to write to a destination: a number that only grows. A store that has seen a higher one refuses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Generation(pub i64);

/// The error of an owner whose lease was taken over.
fn fenced(pool: &PoolFqdn) -> Error {
    Error::new(
        ErrorKind::Fenced,
        format!("Another process has taken over the backup of {pool}."),
        "Nothing is lost: that process goes on. Look at it with Get-CsBackupJob.",
    )
    .at("pool", pool)
}

/// How far an activity has come, from its beginning.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// What is being done, for instance "Importing changes".
    pub activity: &'static str,
    /// Items done.
    pub items_done: u64,
    /// Items there are.
    pub items_total: Option<u64>,
    /// Bytes done.
    pub bytes_done: u64,
    /// Bytes there are.
    pub bytes_total: Option<u64>,
}
