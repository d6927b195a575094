//! The stores: user store, content store, Central Management store, and the backup service's own: leases, content index.
//!
//! Stores are blocking and know no modules: they read and write one kind of data at one place.

use std::borrow::Cow;

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

/// The error of whoever writes a copy from another machine, where earlier states take more room than they may and none is old enough to go.
pub(crate) fn history_full(place: &dyn std::fmt::Display, kept: u64, most: u64) -> Error {
    Error::new(
        ErrorKind::HistoryFull,
        format!(
            "Earlier states of {place} take {kept} bytes of at most {most}, and none of them is old enough to go. Whoever writes from another machine cannot make them go sooner."
        ),
        "Nothing was changed. Run the command at the machine of the copy, which may drop the oldest states, or let the topology give the history more room.",
    )
    .at("path", place)
}

/// How far an activity has come, from its beginning.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Progress {
    /// What is being done, for instance "Importing changes".
    pub activity: Cow<'static, str>,
    /// Items done.
    pub items_done: u64,
    /// Items there are.
    pub items_total: Option<u64>,
    /// Bytes done.
    pub bytes_done: u64,
    /// Bytes there are.
    pub bytes_total: Option<u64>,
}
