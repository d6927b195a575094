//! The Central Management store: documents of which every version is kept, at the master and at its standby copies.
//!
//! [`Documents`] describes one end. Whoever copies joins two: it asks both where they stand ([`Documents::position`],
//! [`Documents::history`]) and carries versions from one to the other ([`Documents::after`], [`Documents::import`]).
//! Every call takes and gives owned values of bounded size, so that an end may be at another machine.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::error::Result;
use crate::platform::Rights;
use crate::store::Generation;
use crate::topology::StoreUrl;

mod history;
mod refusal;
pub(super) mod remote;
pub mod replica;
pub(super) mod sqlite;

pub use history::{Digest, DocumentHistory};
pub use refusal::{foreign, not_master, older_master, two_masters};

/// What a document is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum DocumentKind {
    /// Pools, pairs and stores; named `global`.
    Topology,
    /// Settings of the backup service; named `global`.
    Configuration,
    /// Administrators' roles; named `global`.
    Roles,
    /// The state of one pool, named after it.
    PoolState,
}

impl DocumentKind {
    /// The spelling in the store.
    pub const fn name(self) -> &'static str {
        match self {
            DocumentKind::Topology => "topology",
            DocumentKind::Configuration => "configuration",
            DocumentKind::Roles => "roles",
            DocumentKind::PoolState => "poolState",
        }
    }
}

/// One version of one document.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Document {
    /// Grows over all documents of the store.
    pub revision: i64,
    /// The kind, as the store spells it: it may be one that this build does not know.
    pub kind: String,
    /// The name within its kind.
    pub name: String,
    /// Grows over the versions of this document, from 1.
    pub version: i64,
    /// The content, JSON.
    pub body: String,
    /// When it was published, in milliseconds since 1970.
    pub published_ms: i64,
}

/// Whether a store takes publications or follows one that does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum DocumentsRole {
    /// It takes publications.
    Master,
    /// It takes what is copied from its master, and nothing else.
    Standby,
    /// A former build's: it becomes what it is used as.
    Unassigned,
    /// A newer build's, which this one does not know.
    Unknown,
}

/// Who is master, as a store knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reign {
    /// Grows with every change of master; 0 where none was ever named.
    pub epoch: i64,
    /// Changes whenever a copy is promoted, or a master begins anew from an older state; none in stores of former
    /// builds.
    pub timeline: Option<String>,
}

/// Where a store stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Position {
    /// The identity that a master and its copies share.
    pub identity: String,
    /// Master or copy.
    pub role: DocumentsRole,
    /// Who is master.
    pub reign: Reign,
    /// URL of the master, as far as a copy knows it.
    pub master: Option<String>,
    /// The last revision it holds; 0 where it holds none.
    pub revision: i64,
    /// What its last publication or import recorded of its history; none in stores of former builds. What the store
    /// holds is something else where somebody wrote to it past this product.
    pub recorded: Option<(i64, Digest)>,
}

impl Position {
    /// Whether the store may be published to where it lies: a master, or the copy that was put in its master's place.
    pub fn leads(&self, url: &StoreUrl) -> bool {
        match self.role {
            DocumentsRole::Master | DocumentsRole::Unassigned => true,
            DocumentsRole::Standby => self.master.as_deref() == Some(url.to_string().as_str()),
            DocumentsRole::Unknown => false,
        }
    }
}

/// A new version of a document.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Draft {
    /// What it is about.
    pub kind: DocumentKind,
    /// The name within its kind.
    pub name: String,
    /// The content, JSON.
    pub body: String,
    /// Publishes only if the newest version is still this one, 0 for none at all; none publishes in any case.
    pub replaces: Option<i64>,
}

/// What became of a publication.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Published {
    /// So many new versions were made; what equals its newest version is left alone.
    New(usize),
    /// A document has another version than the one to be replaced: nothing was published.
    Overtaken,
}

/// Versions for a copy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Import {
    /// The right to write to the copy.
    pub generation: Generation,
    /// The identity of the master.
    pub identity: String,
    /// Who is master.
    pub reign: Reign,
    /// URL of the master.
    pub master: String,
    /// What the copy held when it was looked at.
    pub base: DocumentHistory,
    /// Whether that is known to be something else than was recorded, and is put right.
    pub repairs: bool,
    /// Revisions that the copy holds wrongly; they are kept beside.
    pub removed: Vec<i64>,
    /// What it is to hold, in the order of revisions.
    pub documents: Vec<Document>,
    /// When.
    pub now: Timestamp,
}

/// One Central Management store, or copy of one.
pub trait Documents: Send + Sync {
    /// Where it lies.
    fn url(&self) -> StoreUrl;

    /// Who may read the store, and so a copy of it.
    ///
    /// # Errors
    /// When it cannot be looked at.
    fn rights(&self) -> Result<Rights>;

    /// Where it stands, as it was recorded. Reads no document.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn position(&self) -> Result<Position>;

    /// What it really holds up to a revision, summed up where the store lies.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn history(&self, until: i64) -> Result<DocumentHistory>;

    /// The newest version of a document.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn current(&self, kind: DocumentKind, name: &str) -> Result<Option<Document>>;

    /// The newest version of every document, also of kinds that this build does not know.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn all_current(&self) -> Result<Vec<Document>>;

    /// Versions that were published after a revision, in their order, at most so many.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn after(&self, revision: i64, limit: usize) -> Result<Vec<Document>>;

    /// Publishes new versions of documents, all or none.
    ///
    /// # Errors
    /// `NotMaster` at a copy; when the store cannot be written.
    fn publish(&self, drafts: Vec<Draft>, now: Timestamp) -> Result<Published>;

    /// Takes over versions from a master, in one transaction. The same import twice changes nothing.
    ///
    /// # Errors
    /// `Fenced` for an older generation or epoch; `ForeignContent` at a copy of another master; `SplitTimeline` at a
    /// master, and where the copy does not hold what the import builds on.
    fn import(&self, import: Import) -> Result<()>;

    /// Makes the store the master of a new timeline, with the next epoch: a copy, or a master that begins anew.
    ///
    /// # Errors
    /// `Fenced` if its epoch is not the one that was seen; when the store cannot be written.
    fn promote(&self, seen_epoch: i64) -> Result<Position>;

    /// Makes the store a copy of another master.
    ///
    /// # Errors
    /// `Fenced` if that master's epoch is not newer; when the store cannot be written.
    fn demote(&self, reign: Reign, master: StoreUrl) -> Result<Position>;
}
