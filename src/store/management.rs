//! The Central Management store: versioned documents in a SQLite database, and the local replica of them.

use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, Row, TransactionBehavior, params};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::error::{Error, ErrorKind, Result};
use crate::store::Generation;
use crate::store::sqlite::{Access, open, open_own, sqlite_error};

pub mod replica;

const SCHEMA: &str = "
CREATE TABLE IF NOT EXISTS csb_management (
    id INTEGER PRIMARY KEY CHECK (id = 1), store_id TEXT NOT NULL, generation INTEGER NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS csb_document (
    revision INTEGER PRIMARY KEY AUTOINCREMENT, kind TEXT NOT NULL, name TEXT NOT NULL, version INTEGER NOT NULL,
    body TEXT NOT NULL, published_ms INTEGER NOT NULL, UNIQUE (kind, name, version)
) STRICT;
";

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
    const fn name(self) -> &'static str {
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
    /// The kind, as the store spells it.
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

/// A Central Management store: the master, or the standby copy of it.
pub struct ManagementStore {
    path: PathBuf,
    connection: Connection,
}

impl ManagementStore {
    /// Opens the store, creating it where it does not exist.
    ///
    /// # Errors
    /// When it cannot be opened or written.
    pub fn create(path: &Path) -> Result<Self> {
        let failed = |cause| sqlite_error("prepare", path, &cause);
        let mut connection = open_own(path)?;
        connection.busy_timeout(Duration::from_secs(5)).map_err(failed)?;
        let transaction =
            connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(failed)?;
        transaction.execute_batch(SCHEMA).map_err(failed)?;
        transaction
            .execute(
                "INSERT INTO csb_management (id, store_id, generation) VALUES (1, ?1, 0) ON CONFLICT DO NOTHING",
                [Uuid::new_v4().to_string()],
            )
            .map_err(failed)?;
        transaction.commit().map_err(failed)?;
        Ok(ManagementStore { path: path.to_owned(), connection })
    }

    /// Opens a store if there is one. A database without a single table is none: a process was killed that had only
    /// begun to create it.
    ///
    /// # Errors
    /// As for [`ManagementStore::open`].
    pub fn open_existing(path: &Path) -> Result<Option<Self>> {
        if !path.exists() {
            return Ok(None);
        }
        let connection = open(path, Access::Write);
        let is_blank = connection.as_ref().is_ok_and(|connection| {
            let count = "SELECT count(*) FROM sqlite_schema";
            connection.query_row(count, [], |row| row.get::<_, i64>(0)).is_ok_and(|count| count == 0)
        });
        if is_blank { Ok(None) } else { Self::checked(path, connection).map(Some) }
    }

    /// Opens a store that must exist.
    ///
    /// # Errors
    /// `StoreUnavailable`, with the advice to use the local replica.
    pub fn open(path: &Path) -> Result<Self> {
        Self::checked(path, open(path, Access::Write))
    }

    fn checked(path: &Path, connection: Result<Connection>) -> Result<Self> {
        crate::failpoint::fail_point!("store.management.open");
        let store = connection.and_then(|connection| {
            connection
                .query_row("SELECT 1 FROM csb_management", [], |_| Ok(()))
                .map_err(|cause| sqlite_error("read", path, &cause))?;
            Ok(connection)
        });
        let connection = store.map_err(|cause| {
            Error::new(
                ErrorKind::StoreUnavailable,
                format!("The Central Management store {} cannot be opened.", path.display()),
                "Use -LocalStore to work with the local replica, and see the cause.",
            )
            .at("path", path.display())
            .caused_by(&cause)
        })?;
        Ok(ManagementStore { path: path.to_owned(), connection })
    }

    /// The newest version of a document.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn current(&self, kind: DocumentKind, name: &str) -> Result<Option<Document>> {
        newest(&self.connection, kind, name).map_err(self.failure("read"))
    }

    /// The newest version of every document.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn all_current(&self) -> Result<Vec<Document>> {
        self.query(
            "SELECT revision, kind, name, version, body, published_ms FROM csb_document AS d
             WHERE version = (SELECT max(version) FROM csb_document WHERE kind = d.kind AND name = d.name)
             AND revision > ?1 ORDER BY kind, name",
            0,
        )
    }

    /// Publishes new versions of documents, all or none. One that equals its current version is left alone; the
    /// number of new versions is returned.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub fn publish(&mut self, documents: &[(DocumentKind, &str, String)], now: Timestamp) -> Result<usize> {
        let failed = self.failure("publish to");
        let transaction =
            self.connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(&failed)?;
        let mut published = 0;
        for (kind, name, body) in documents {
            published += add_version(&transaction, *kind, name, body, now).map_err(&failed)?;
        }
        transaction.commit().map_err(&failed)?;
        Ok(published)
    }

    /// Publishes what is made of a document's newest version, while nobody else can publish another one.
    ///
    /// # Errors
    /// When the store cannot be read or written; what `revise` reports, and then nothing is published.
    pub fn revise(
        &mut self,
        kind: DocumentKind,
        name: &str,
        now: Timestamp,
        revise: impl FnOnce(Option<Document>) -> Result<String>,
    ) -> Result<()> {
        let failed = self.failure("publish to");
        let transaction =
            self.connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(&failed)?;
        let body = revise(newest(&transaction, kind, name).map_err(&failed)?)?;
        add_version(&transaction, kind, name, &body, now).map_err(&failed)?;
        transaction.commit().map_err(&failed)
    }

    /// The store's own id, and the last revision it holds.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn position(&self) -> Result<(String, i64)> {
        self.connection
            .query_row(
                "SELECT store_id, (SELECT coalesce(max(revision), 0) FROM csb_document) FROM csb_management",
                [],
                |row| Ok((row.get(0)?, row.get(1)?)),
            )
            .map_err(self.failure("read"))
    }

    /// All versions that were published after a revision, in their order.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn after(&self, revision: i64) -> Result<Vec<Document>> {
        self.query(
            "SELECT revision, kind, name, version, body, published_ms FROM csb_document
             WHERE revision > ?1 ORDER BY revision",
            revision,
        )
    }

    /// Takes over versions from the master whose id is given, in one transaction.
    ///
    /// # Errors
    /// `Fenced` for an older generation; `ForeignContent` if this store holds another master's documents.
    pub fn import(&mut self, master_id: &str, documents: &[Document], generation: Generation) -> Result<()> {
        self.replace(master_id, &[], documents, generation)
    }

    /// Removes some versions and takes over others from the master whose id is given, in one transaction.
    ///
    /// # Errors
    /// As for [`ManagementStore::import`].
    pub fn replace(
        &mut self,
        master_id: &str,
        removed: &[Document],
        documents: &[Document],
        generation: Generation,
    ) -> Result<()> {
        let failed = self.failure("write the standby copy");
        let transaction =
            self.connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(&failed)?;
        let (store_id, seen, held): (String, i64, i64) = transaction
            .query_row(
                "SELECT store_id, generation, (SELECT count(*) FROM csb_document) FROM csb_management",
                [],
                |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)),
            )
            .map_err(&failed)?;
        if seen > generation.0 {
            return Err(Error::new(
                ErrorKind::Fenced,
                format!("A newer owner has written to the standby copy {}.", self.path.display()),
                "Nothing is lost: that owner goes on. Look at it with Get-CsBackupJob.",
            ));
        }
        if store_id != master_id && held > 0 {
            return Err(foreign(&self.path));
        }
        transaction
            .execute(
                "UPDATE csb_management SET store_id = ?1, generation = ?2",
                params![master_id, generation.0],
            )
            .map_err(&failed)?;
        for document in removed {
            transaction
                .execute("DELETE FROM csb_document WHERE revision = ?1", [document.revision])
                .map_err(&failed)?;
        }
        for document in documents {
            transaction
                .execute(
                    "INSERT INTO csb_document (revision, kind, name, version, body, published_ms)
                     VALUES (?1, ?2, ?3, ?4, ?5, ?6) ON CONFLICT DO NOTHING",
                    params![
                        document.revision,
                        document.kind,
                        document.name,
                        document.version,
                        document.body,
                        document.published_ms
                    ],
                )
                .map_err(&failed)?;
        }
        transaction.commit().map_err(&failed)
    }

    fn query(&self, sql: &str, revision: i64) -> Result<Vec<Document>> {
        self.connection
            .prepare(sql)
            .and_then(|mut statement| statement.query_map([revision], document)?.collect())
            .map_err(self.failure("read"))
    }

    fn failure<'a>(&self, doing: &'a str) -> impl Fn(rusqlite::Error) -> Error + 'a {
        let path = self.path.clone();
        move |cause| sqlite_error(doing, &path, &cause)
    }
}

/// The error of a standby that holds the documents of another master.
pub fn foreign(path: &Path) -> Error {
    Error::new(
        ErrorKind::ForeignContent,
        format!("{} holds documents of another Central Management store.", path.display()),
        "Set that file aside, or name another place as standby.management_store in the topology.",
    )
    .at("path", path.display())
}

fn newest(connection: &Connection, kind: DocumentKind, name: &str) -> rusqlite::Result<Option<Document>> {
    connection
        .query_row(
            "SELECT revision, kind, name, version, body, published_ms FROM csb_document
             WHERE kind = ?1 AND name = ?2 ORDER BY version DESC LIMIT 1",
            [kind.name(), name],
            document,
        )
        .optional()
}

/// Adds a version unless it equals the newest one; how many were added.
fn add_version(
    connection: &Connection,
    kind: DocumentKind,
    name: &str,
    body: &str,
    now: Timestamp,
) -> rusqlite::Result<usize> {
    connection.execute(
        "INSERT INTO csb_document (kind, name, version, body, published_ms)
         SELECT ?1, ?2, coalesce((SELECT max(version) FROM csb_document WHERE kind = ?1 AND name = ?2), 0) + 1, ?3, ?4
         WHERE ?3 IS NOT (SELECT body FROM csb_document WHERE kind = ?1 AND name = ?2 ORDER BY version DESC LIMIT 1)",
        params![kind.name(), name, body, now.as_millisecond()],
    )
}

fn document(row: &Row<'_>) -> rusqlite::Result<Document> {
    Ok(Document {
        revision: row.get(0)?,
        kind: row.get(1)?,
        name: row.get(2)?,
        version: row.get(3)?,
        body: row.get(4)?,
        published_ms: row.get(5)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> Timestamp {
        Timestamp::from_second(1_700_000_000).unwrap()
    }

    #[test]
    fn publishing_adds_versions_and_skips_what_is_equal() {
        let folder = tempfile::tempdir().unwrap();
        let mut store = ManagementStore::create(&folder.path().join("cms.sqlite")).unwrap();
        let publish = |store: &mut ManagementStore, body: &str| {
            store.publish(&[(DocumentKind::Topology, "global", body.to_owned())], now()).unwrap()
        };
        assert_eq!(publish(&mut store, "1"), 1);
        assert_eq!(publish(&mut store, "1"), 0);
        assert_eq!(publish(&mut store, "2"), 1);
        let current = store.current(DocumentKind::Topology, "global").unwrap().unwrap();
        assert_eq!((current.version, current.body.as_str()), (2, "2"));
        assert_eq!(store.all_current().unwrap(), [current]);
    }

    #[test]
    fn imports_are_idempotent_and_fenced() {
        let folder = tempfile::tempdir().unwrap();
        let mut master = ManagementStore::create(&folder.path().join("cms.sqlite")).unwrap();
        let mut standby = ManagementStore::create(&folder.path().join("standby.sqlite")).unwrap();
        master.publish(&[(DocumentKind::Roles, "global", "[]".to_owned())], now()).unwrap();
        let (id, revision) = master.position().unwrap();
        for _ in 0..2 {
            standby.import(&id, &master.after(0).unwrap(), Generation(2)).unwrap();
        }
        assert_eq!(standby.position().unwrap(), (id.clone(), revision));
        assert_eq!(standby.import(&id, &[], Generation(1)).unwrap_err().kind, ErrorKind::Fenced);
        assert_eq!(standby.import("other", &[], Generation(2)).unwrap_err().kind, ErrorKind::ForeignContent);
    }

    #[test]
    fn a_missing_store_advises_the_replica() {
        let error = ManagementStore::open(Path::new("/nowhere/cms.sqlite")).err().unwrap();
        assert_eq!(error.kind, ErrorKind::StoreUnavailable);
        assert!(error.advice.contains("-LocalStore"));
    }
}
