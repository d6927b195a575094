//! A Central Management store at another machine: it can be read, and published to where that machine grants it. Its role is nobody's to
//! change from elsewhere.

use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use super::sqlite::SqliteDocuments;
use super::{
    Digest, Document, DocumentHistory, DocumentKind, Documents, DocumentsRole, Draft, Import, Position,
    Published, Reign,
};
use crate::error::{Error, ErrorKind, Result};
use crate::platform::Rights;
use crate::store::remote::{Grant, RemotePlace, ServedPlace, unknown_message};
use crate::store::sqlite::is_own_database;
use crate::topology::{Engine, StoreUrl};
use crate::wire::{Call, MOST_BYTES, Served, decode, document, encode};

/// The numbers of the messages about Central Management stores.
pub(in crate::store) mod message {
    pub(in crate::store) const POSITION: u8 = 60;
    pub(in crate::store) const HISTORY: u8 = 61;
    pub(in crate::store) const CURRENT: u8 = 62;
    pub(in crate::store) const ALL_CURRENT: u8 = 63;
    pub(in crate::store) const AFTER: u8 = 64;
    pub(in crate::store) const EXISTS: u8 = 65;
    pub(in crate::store) const PUBLISH: u8 = 66;
}

/// The table by which a store is known.
pub(in crate::store) const TABLE: &str = "csb_management";

/// How long the documents may be that are published at once.
const MOST_PUBLISHED_BYTES: usize = 64 << 20;

/// How many versions are read at once, whatever is asked for.
const MOST_VERSIONS: usize = 1_000;

#[derive(Debug, Serialize, Deserialize)]
struct HistoryRequest {
    store: String,
    until: i64,
}

#[derive(Debug, Serialize, Deserialize)]
struct CurrentRequest {
    store: String,
    kind: DocumentKind,
    name: String,
}

#[derive(Debug, Serialize, Deserialize)]
struct AfterRequest {
    store: String,
    revision: i64,
    limit: u32,
}

#[derive(Debug, Serialize, Deserialize)]
struct PositionAnswer {
    identity: String,
    role: DocumentsRole,
    epoch: i64,
    timeline: Option<String>,
    master: Option<String>,
    revision: i64,
    recorded: Option<(i64, [u8; 32])>,
}

#[derive(Debug, Serialize, Deserialize)]
struct HistoryAnswer {
    revision: i64,
    documents: u64,
    bytes: u64,
    digest: [u8; 32],
}

/// The store of a pool at another machine.
pub(in crate::store) struct RemoteDocuments {
    place: Arc<RemotePlace>,
    url: StoreUrl,
    store: String,
}

impl RemoteDocuments {
    /// The one at a URL of this place. Nothing is called yet.
    ///
    /// # Errors
    /// `InvalidValue`, `UnsupportedStore`: see [`RemotePlace::relative`].
    pub(in crate::store) fn new(place: &Arc<RemotePlace>, url: &StoreUrl) -> Result<Self> {
        Ok(RemoteDocuments { store: place.relative(url)?, place: Arc::clone(place), url: url.clone() })
    }

    /// Whether anything lies there.
    ///
    /// # Errors
    /// `StoreUnavailable`, `PeerRefused`, `PeerIncompatible`.
    pub(in crate::store) fn exists(&self) -> Result<bool> {
        self.call(message::EXISTS, &self.store)?.answer()
    }

    fn call(&self, message: u8, request: &impl Serialize) -> Result<Call> {
        self.place.call(message, request, &CancellationToken::new())
    }

    fn documents(&self, message: u8, request: &impl Serialize) -> Result<Vec<Document>> {
        self.place.at_first(|| {
            let mut call = self.call(message, request)?;
            let mut text = Vec::new();
            while let Some(part) = call.next()? {
                text.extend(part);
            }
            serde_json::from_slice(&text).map_err(|_| call.not_understood())
        })
    }

    fn refused(&self) -> Error {
        Error::new(
            ErrorKind::NotMaster,
            format!(
                "The Central Management store is at {}: nothing can be written to it from here.",
                self.place
            ),
            "Run the command at that machine.",
        )
        .at("store", &self.url)
        .at("place", &self.place)
    }
}

impl Documents for RemoteDocuments {
    fn url(&self) -> StoreUrl {
        self.url.clone()
    }

    /// Accounts and groups of another machine are others than those of the same number here.
    fn rights(&self) -> Result<Rights> {
        Ok(Rights::PRIVATE)
    }

    fn position(&self) -> Result<Position> {
        let answer: PositionAnswer = self.call(message::POSITION, &self.store)?.answer()?;
        Ok(Position {
            identity: answer.identity,
            role: answer.role,
            reign: Reign { epoch: answer.epoch, timeline: answer.timeline },
            master: answer.master,
            revision: answer.revision,
            recorded: answer.recorded.map(|(revision, digest)| (revision, Digest::from_bytes(digest))),
        })
    }

    fn history(&self, until: i64) -> Result<DocumentHistory> {
        let request = HistoryRequest { store: self.store.clone(), until };
        let HistoryAnswer { revision, documents, bytes, digest } =
            self.call(message::HISTORY, &request)?.answer()?;
        Ok(DocumentHistory { revision, documents, bytes, digest: Digest::from_bytes(digest) })
    }

    fn current(&self, kind: DocumentKind, name: &str) -> Result<Option<Document>> {
        let request = CurrentRequest { store: self.store.clone(), kind, name: name.to_owned() };
        Ok(self.documents(message::CURRENT, &request)?.pop())
    }

    fn all_current(&self) -> Result<Vec<Document>> {
        self.documents(message::ALL_CURRENT, &self.store)
    }

    fn after(&self, revision: i64, limit: usize) -> Result<Vec<Document>> {
        let limit = u32::try_from(limit.min(MOST_VERSIONS)).unwrap_or_default();
        self.documents(message::AFTER, &AfterRequest { store: self.store.clone(), revision, limit })
    }

    /// When it was published is said by the clock there.
    fn publish(&self, drafts: Vec<Draft>, _now: Timestamp) -> Result<Published> {
        let mut call = self.call(message::PUBLISH, &self.store)?;
        document(&drafts)?.as_bytes().chunks(MOST_BYTES).try_for_each(|part| call.send(part))?;
        call.end_parts()?;
        call.answer()
    }

    fn import(&self, _import: Import) -> Result<()> {
        Err(self.refused())
    }

    fn promote(&self, _seen_epoch: i64) -> Result<Position> {
        Err(self.refused())
    }

    fn demote(&self, _reign: Reign, _master: StoreUrl) -> Result<Position> {
        Err(self.refused())
    }
}

/// Answers a message about a Central Management store.
///
/// # Errors
/// What the store says; `PeerRefused`, `PeerIncompatible`.
pub(in crate::store) fn serve(
    place: &ServedPlace,
    message: u8,
    request: &[u8],
    call: &Served,
) -> Result<Vec<u8>> {
    let open = |store: &str| open(place, store, Grant::Read);
    let found = match message {
        message::POSITION => {
            let position = open(&decode::<String>(request)?)?.position()?;
            return encode(&PositionAnswer {
                identity: position.identity,
                role: position.role,
                epoch: position.reign.epoch,
                timeline: position.reign.timeline,
                master: position.master,
                revision: position.revision,
                recorded: position.recorded.map(|(revision, digest)| (revision, *digest.as_bytes())),
            });
        }
        message::HISTORY => {
            let HistoryRequest { store, until } = decode(request)?;
            let DocumentHistory { revision, documents, bytes, digest } = open(&store)?.history(until)?;
            return encode(&HistoryAnswer { revision, documents, bytes, digest: *digest.as_bytes() });
        }
        message::CURRENT => {
            let CurrentRequest { store, kind, name } = decode(request)?;
            open(&store)?.current(kind, &name)?.into_iter().collect()
        }
        message::PUBLISH => return publish(place, &decode::<String>(request)?, call),
        message::ALL_CURRENT => open(&decode::<String>(request)?)?.all_current()?,
        message::EXISTS => {
            let found = match place.open(Engine::Sqlite, &decode::<String>(request)?, Grant::Read) {
                Ok(opened) => opened.path.exists(),
                // Its folder is made with it.
                Err(error) if error.kind == ErrorKind::StoreUnavailable => false,
                Err(error) => return Err(error),
            };
            return encode(&found);
        }
        message::AFTER => {
            let AfterRequest { store, revision, limit } = decode(request)?;
            open(&store)?.after(revision, MOST_VERSIONS.min(limit as usize))?
        }
        _ => return Err(unknown_message(message)),
    };
    document(&found)?.as_bytes().chunks(MOST_BYTES).try_for_each(|part| call.put(part))?;
    encode(&())
}

fn publish(place: &ServedPlace, store: &str, call: &Served) -> Result<Vec<u8>> {
    let store = open(place, store, Grant::Cms)?;
    let mut text = Vec::new();
    while let Some(part) = call.next_part()? {
        text.extend_from_slice(&part);
        if text.len() > MOST_PUBLISHED_BYTES {
            return Err(Error::new(
                ErrorKind::InvalidRequest,
                "More is published at once than a Central Management store takes.",
                "Publish less at once.",
            ));
        }
    }
    let drafts: Vec<Draft> = serde_json::from_slice(&text).map_err(|cause| {
        Error::new(
            ErrorKind::InvalidRequest,
            "What is to be published is not understood.",
            "Install the same release of CsBackup on both machines.",
        )
        .caused_by(&cause)
    })?;
    encode(&store.publish(drafts, Timestamp::now())?)
}

fn open(place: &ServedPlace, store: &str, grant: Grant) -> Result<SqliteDocuments> {
    let opened = place.open(Engine::Sqlite, store, grant)?;
    // Another database is not so much as opened.
    if opened.path.exists() && !is_own_database(&opened.path, TABLE)? {
        return Err(Error::new(
            ErrorKind::StoreUnavailable,
            format!("{} is no Central Management store.", opened.path.display()),
            "Correct central_management_store in deployment.toml.",
        )
        .at("store", &opened.url));
    }
    SqliteDocuments::open(&opened.url)
}

#[cfg(test)]
mod tests;
