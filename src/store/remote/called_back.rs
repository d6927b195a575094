//! The place of stores that a helper calls its caller back for.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{Connect, Reach, RemotePlace};
use crate::topology::PoolFqdn;

/// Where they are, as whoever calls the helper tells it.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CalledBack {
    /// The pool whose they are.
    pub pool: PoolFqdn,
    /// What their URLs are below.
    root: PathBuf,
    /// What the place is called for people.
    shown: String,
}

impl CalledBack {
    /// Those of a pool that are reached so from this machine, which has this name.
    pub fn of(pool: PoolFqdn, reach: &Reach, machine: &str) -> Self {
        let (root, shown) = match reach {
            Reach::Here => (PathBuf::from("/"), machine.to_owned()),
            Reach::There(place) => (place.root().to_owned(), place.to_string()),
        };
        CalledBack { pool, root, shown }
    }

    /// The place, for the helper, with sessions that are begun so.
    pub fn through(&self, connect: Box<Connect>) -> Arc<RemotePlace> {
        RemotePlace::through(self.pool.clone(), self.root.clone(), self.shown.clone(), connect)
    }
}

impl fmt::Display for CalledBack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}
