//! An end at another machine: what is asked of it, the end that asks, and the one that answers there.
//!
//! What reads bytes runs where they are. What crosses the line is how a store looks, the pages that differ, and, where the helper does not
//! know the hashes of the copy's pages any more, these. The helper never waits for the line while it keeps a state of the source: pages wait in
//! memory and then in a file without a name ([`relay`]).

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::hashes::Seed;
use super::mark::{Mark, Way};
use crate::error::Error;
use crate::store::sqlite::format::check::Suspect;
use crate::store::sqlite::format::header::Layout;
use crate::store::user::StoreState;
use crate::topology::UserStoreConfig;

mod caller;
#[cfg(test)]
mod golden;
mod lists;
mod parts;
mod relay;
pub(in crate::store) mod served;
#[cfg(test)]
mod tests;

pub(super) use caller::RemoteEnd;

/// The numbers of the messages about user stores.
pub(in crate::store) mod message {
    pub(in crate::store) const LOOK: u8 = 20;
    pub(in crate::store) const SURVEY: u8 = 21;
    pub(in crate::store) const EXPORT: u8 = 22;
    pub(in crate::store) const IS_LOST: u8 = 23;
    pub(in crate::store) const STANDING: u8 = 24;
    pub(in crate::store) const SIZE: u8 = 25;
    pub(in crate::store) const STATES: u8 = 26;
    pub(in crate::store) const SEND: u8 = 27;
    pub(in crate::store) const FORMER: u8 = 28;
}

/// Which store is meant, and what the topology says of reading it.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct StoreName {
    /// Below the root.
    path: String,
    server_waits: bool,
    max_lock_ms: u64,
}

impl StoreName {
    fn new(path: String, config: &UserStoreConfig) -> Self {
        StoreName { path, server_waits: config.server_waits, max_lock_ms: config.max_lock_ms }
    }
}

/// A store, and how it looked when it was read last.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Known {
    store: StoreName,
    mark: Option<Mark>,
}

/// A state that is to be read.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct ExportRequest {
    store: StoreName,
    seed: Seed,
    layout: Option<Layout>,
    mark: Option<Mark>,
    /// How many pages the receiving end knows.
    pages: u32,
    /// Which hashes they have.
    root: [u8; 32],
    /// Whether the helper believes nothing but what is sent to it.
    without_cache: bool,
    /// For how long a state is looked for.
    patience_ms: u64,
}

/// What was read.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct ExportAnswer {
    way: Way,
    attempts: u32,
    layout: Layout,
    pages: u32,
    suspects: Vec<Suspect>,
    mark: Mark,
    undone: bool,
    /// Which hashes the pages have now.
    root: [u8; 32],
}

/// What a closer look told.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct SurveyAnswer {
    is_unchanged: bool,
    pending: Option<u32>,
    /// An error document.
    refused: Option<String>,
}

/// A refusal that is told as a part of an answer.
fn refusal(error: Option<&Error>) -> Option<String> {
    error.and_then(|error| serde_json::to_string(error).ok())
}

/// Where a copy stands.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct StandingAnswer {
    mark: Option<Mark>,
    revision: Option<u32>,
    confirmed: Option<Timestamp>,
    is_touched: bool,
    /// An error document.
    refused: Option<String>,
}

/// A state of a copy that is to be handed on.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct SendRequest {
    store: StoreName,
    revision: Option<u32>,
    generation: i64,
}

/// What was handed on.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct SendAnswer {
    state: StoreState,
    pages: u32,
    page_size: u32,
    versions: (u8, u8),
    findings: Vec<u64>,
}
