//! The documents of a Central Management store in a SQLite database.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, Row, Transaction, TransactionBehavior, params};
use uuid::Uuid;

use super::{
    Document, DocumentHistory, DocumentKind, Documents, DocumentsRole, Draft, Import, Position, Published,
    Reign, refusal,
};
use crate::error::{Error, ErrorKind, Result};
use crate::platform::Rights;
use crate::store::Generation;
use crate::store::sqlite::{Access, Database, open, open_own, sqlite_error, tighten_database};
use crate::topology::StoreUrl;

mod schema;
#[cfg(test)]
mod tests;

const COLUMNS: &str = "revision, kind, name, version, body, published_ms";

/// Administrators may let a group publish, that of several accounts for instance; nobody else reads or writes the store.
const MOST: Rights = Rights::NO_OTHERS;

/// A Central Management store in a SQLite database.
pub(in crate::store) struct SqliteDocuments {
    url: StoreUrl,
    path: PathBuf,
    connection: Mutex<Database>,
}

impl SqliteDocuments {
    /// Opens a store, creating it where it does not exist. A new one has no role yet: it becomes what it is used as.
    pub(in crate::store) fn create(url: &StoreUrl) -> Result<Self> {
        let path = url.local_path()?;
        let failed = |cause| sqlite_error("prepare", path, &cause);
        tighten_database(path, MOST);
        let mut connection = open_own(path)?;
        connection.busy_timeout(Duration::from_secs(5)).map_err(failed)?;
        let transaction =
            connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(failed)?;
        schema::prepare(&transaction, path)?;
        transaction.commit().map_err(failed)?;
        Ok(Self::new(url, path, connection))
    }

    /// Opens a store if there is one. A database without a single table is none: a process was killed that had only
    /// begun to create it.
    pub(in crate::store) fn open_existing(url: &StoreUrl) -> Result<Option<Self>> {
        let path = url.local_path()?;
        crate::bound::touching(path)?;
        if !path.exists() {
            return Ok(None);
        }
        let connection = open(path, Access::Write);
        let is_blank = connection.as_ref().is_ok_and(|connection| {
            let count = "SELECT count(*) FROM sqlite_schema";
            connection.query_row(count, [], |row| row.get::<_, i64>(0)).is_ok_and(|count| count == 0)
        });
        if is_blank { Ok(None) } else { Self::checked(url, path, connection).map(Some) }
    }

    /// Opens a store that must exist.
    pub(in crate::store) fn open(url: &StoreUrl) -> Result<Self> {
        let path = url.local_path()?;
        Self::checked(url, path, open(path, Access::Write))
    }

    fn checked(url: &StoreUrl, path: &Path, connection: Result<Database>) -> Result<Self> {
        crate::platform::failpoint::fail_point!("store.management.open");
        tighten_database(path, MOST);
        let store = connection.and_then(|connection| {
            connection
                .query_row("SELECT 1 FROM csb_management", [], |_| Ok(()))
                .map_err(|cause| sqlite_error("read", path, &cause))?;
            Ok(connection)
        });
        let connection = store.map_err(|cause| {
            // The replica would not help: it is this process that keeps the store from being opened.
            if cause.kind == ErrorKind::StoreOpenInProcess {
                return cause;
            }
            Error::new(
                ErrorKind::StoreUnavailable,
                format!("The Central Management store {} cannot be opened.", path.display()),
                "Use -LocalStore to work with the local replica, and see the cause.",
            )
            .at("path", path.display())
            .caused_by(&cause)
        })?;
        schema::is_former(&connection, path)?;
        Ok(Self::new(url, path, connection))
    }

    fn new(url: &StoreUrl, path: &Path, connection: Database) -> Self {
        SqliteDocuments { url: url.clone(), path: path.to_owned(), connection: Mutex::new(connection) }
    }

    fn lock(&self) -> MutexGuard<'_, Database> {
        self.connection.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes in one transaction, with the tables as this build has them and where the store stands.
    fn write<T>(&self, doing: &str, work: impl FnOnce(&Transaction<'_>, Position) -> Result<T>) -> Result<T> {
        let failed = |cause| sqlite_error(doing, &self.path, &cause);
        let mut connection = self.lock();
        let transaction =
            connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(failed)?;
        schema::prepare(&transaction, &self.path)?;
        let position = schema::position(&transaction, &self.path)?;
        let done = work(&transaction, position)?;
        transaction.commit().map_err(failed)?;
        Ok(done)
    }

    fn failure<'a>(&'a self, doing: &'a str) -> impl Fn(rusqlite::Error) -> Error + 'a {
        move |cause| sqlite_error(doing, &self.path, &cause)
    }
}

impl Documents for SqliteDocuments {
    fn url(&self) -> StoreUrl {
        self.url.clone()
    }

    fn rights(&self) -> Result<Rights> {
        Rights::of(&self.path).map_err(|cause| Error::io("look at", &self.path, &cause))
    }

    fn position(&self) -> Result<Position> {
        schema::position(&self.lock(), &self.path)
    }

    fn history(&self, until: i64) -> Result<DocumentHistory> {
        summed(&self.lock(), DocumentHistory::empty(), until).map_err(self.failure("read"))
    }

    fn current(&self, kind: DocumentKind, name: &str) -> Result<Option<Document>> {
        newest(&self.lock(), kind, name).map_err(self.failure("read"))
    }

    fn all_current(&self) -> Result<Vec<Document>> {
        let sql = format!(
            "SELECT {COLUMNS} FROM csb_document AS d
             WHERE version = (SELECT max(version) FROM csb_document WHERE kind = d.kind AND name = d.name)
             ORDER BY kind, name"
        );
        self.lock()
            .prepare(&sql)
            .and_then(|mut statement| statement.query_map([], document)?.collect())
            .map_err(self.failure("read"))
    }

    fn after(&self, revision: i64, limit: usize) -> Result<Vec<Document>> {
        let sql =
            format!("SELECT {COLUMNS} FROM csb_document WHERE revision > ?1 ORDER BY revision LIMIT ?2");
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        self.lock()
            .prepare_cached(&sql)
            .and_then(|mut statement| statement.query_map([revision, limit], document)?.collect())
            .map_err(self.failure("read"))
    }

    fn publish(&self, drafts: Vec<Draft>, now: Timestamp) -> Result<Published> {
        let failed = self.failure("publish to");
        self.write("publish to", |transaction, position| {
            match position.role {
                DocumentsRole::Master => {}
                DocumentsRole::Unassigned => {
                    let epoch = position.reign.epoch.max(1);
                    set_role(transaction, DocumentsRole::Master, &Reign::new(epoch), None)
                        .map_err(&failed)?;
                }
                DocumentsRole::Standby => return Err(refusal::not_master(&self.url(), &position)),
                DocumentsRole::Unknown => return Err(refusal::unknown_role(&self.url())),
            }
            for draft in drafts.iter().filter(|draft| draft.replaces.is_some()) {
                let current = newest(transaction, draft.kind, &draft.name).map_err(&failed)?;
                if draft.replaces != Some(current.map_or(0, |document| document.version)) {
                    return Ok(Published::Overtaken);
                }
            }
            let mut new = 0;
            for draft in &drafts {
                new += add_version(transaction, draft, now).map_err(&failed)?;
            }
            let recorded = position.recorded.filter(|(revision, _)| *revision == position.revision);
            let known = recorded.map_or(DocumentHistory::empty(), |(revision, digest)| DocumentHistory {
                revision,
                digest,
                ..DocumentHistory::empty()
            });
            record(transaction, known).map_err(&failed)?;
            Ok(Published::New(new))
        })
    }

    fn import(&self, import: Import) -> Result<()> {
        let failed = self.failure("import into");
        self.write("import into", |transaction, position| {
            self.check_import(transaction, &import, &position)?;
            let result = import.documents.iter().fold(import.base, |sum, document| sum.with(document));
            let held = position.recorded.filter(|(revision, _)| *revision == position.revision);
            let is_done = !import.repairs && held == Some((result.revision, result.digest));
            let is_base = if import.repairs {
                summed(transaction, DocumentHistory::empty(), i64::MAX).map_err(&failed)? == import.base
            } else {
                position.revision == import.base.revision
                    && held.is_none_or(|held| held == (import.base.revision, import.base.digest))
            };
            if !is_done && !is_base {
                return Err(refusal::changed_meanwhile(&self.url(), &position, &import));
            }
            if !is_done {
                for revision in &import.removed {
                    set_aside(transaction, *revision, import.now).map_err(&failed)?;
                }
                for document in &import.documents {
                    add(transaction, document).map_err(&failed)?;
                }
            }
            transaction
                .execute(
                    "UPDATE csb_management SET store_id = ?1, generation = ?2",
                    params![import.identity, import.generation.0],
                )
                .and_then(|_| {
                    set_role(transaction, DocumentsRole::Standby, &import.reign, Some(&import.master))
                })
                .and_then(|()| {
                    record(transaction, if import.repairs { DocumentHistory::empty() } else { import.base })
                })
                .map_err(&failed)
        })
    }

    fn promote(&self, seen_epoch: i64) -> Result<Position> {
        self.write("promote", |transaction, position| {
            if position.reign.epoch != seen_epoch {
                return Err(refusal::other_epoch(&self.url(), position.reign.epoch, seen_epoch));
            }
            set_role(transaction, DocumentsRole::Master, &Reign::new(seen_epoch + 1), None)
                .and_then(|()| record(transaction, DocumentHistory::empty()))
                .map_err(self.failure("promote"))?;
            schema::position(transaction, &self.path)
        })
    }

    fn demote(&self, reign: Reign, master: StoreUrl) -> Result<Position> {
        self.write("demote", |transaction, position| {
            if position.reign.epoch >= reign.epoch {
                return Err(refusal::other_epoch(&self.url(), position.reign.epoch, reign.epoch));
            }
            set_role(transaction, DocumentsRole::Standby, &reign, Some(&master.to_string()))
                .and_then(|()| record(transaction, DocumentHistory::empty()))
                .map_err(self.failure("demote"))?;
            schema::position(transaction, &self.path)
        })
    }
}

impl SqliteDocuments {
    /// Refuses what may not write here: first an older owner and an older master, then anything that this store is no
    /// copy for.
    fn check_import(
        &self,
        transaction: &Transaction<'_>,
        import: &Import,
        position: &Position,
    ) -> Result<()> {
        let seen: i64 = transaction
            .query_row("SELECT generation FROM csb_management", [], |row| row.get(0))
            .map_err(self.failure("read"))?;
        if Generation(seen) > import.generation {
            return Err(refusal::older_generation(&self.url()));
        }
        if position.revision > 0 && position.identity != import.identity {
            return Err(refusal::foreign(&self.url()));
        }
        if position.reign.epoch > import.reign.epoch {
            return Err(refusal::older_master(&import.master, import.reign.epoch, &self.url(), position));
        }
        match position.role {
            DocumentsRole::Standby | DocumentsRole::Unassigned => Ok(()),
            DocumentsRole::Master => Err(refusal::two_masters(&import.master, &self.url(), position)),
            DocumentsRole::Unknown => Err(refusal::unknown_role(&self.url())),
        }
    }
}

impl Reign {
    /// A new timeline.
    fn new(epoch: i64) -> Self {
        Reign { epoch, timeline: Some(Uuid::new_v4().to_string()) }
    }
}

fn set_role(
    connection: &Connection,
    role: DocumentsRole,
    reign: &Reign,
    master: Option<&str>,
) -> rusqlite::Result<()> {
    connection
        .execute(
            "UPDATE csb_management SET role = ?1, epoch = ?2, timeline = ?3, master = ?4",
            params![schema::role_name(role), reign.epoch, reign.timeline, master],
        )
        .map(|_| ())
}

/// Sums up what is held from a point on.
fn summed(connection: &Connection, from: DocumentHistory, until: i64) -> rusqlite::Result<DocumentHistory> {
    let sql = format!(
        "SELECT {COLUMNS} FROM csb_document WHERE revision > ?1 AND revision <= ?2 ORDER BY revision"
    );
    let mut statement = connection.prepare_cached(&sql)?;
    let mut rows = statement.query([from.revision, until])?;
    let mut sum = from;
    while let Some(row) = rows.next()? {
        sum = sum.with(&document(row)?);
    }
    Ok(sum)
}

/// Records what is held now, of which the part up to a point is known.
fn record(connection: &Connection, known: DocumentHistory) -> rusqlite::Result<()> {
    let held = summed(connection, known, i64::MAX)?;
    connection
        .execute(
            "UPDATE csb_management SET recorded_revision = ?1, recorded_digest = ?2",
            params![held.revision, held.digest.to_hex().as_str()],
        )
        .map(|_| ())
}

fn newest(connection: &Connection, kind: DocumentKind, name: &str) -> rusqlite::Result<Option<Document>> {
    let sql = format!(
        "SELECT {COLUMNS} FROM csb_document WHERE kind = ?1 AND name = ?2 ORDER BY version DESC LIMIT 1"
    );
    connection.query_row(&sql, [kind.name(), name], document).optional()
}

/// Adds a version unless it equals the newest one; how many were added.
fn add_version(connection: &Connection, draft: &Draft, now: Timestamp) -> rusqlite::Result<usize> {
    connection.execute(
        "INSERT INTO csb_document (kind, name, version, body, published_ms)
         SELECT ?1, ?2, coalesce((SELECT max(version) FROM csb_document WHERE kind = ?1 AND name = ?2), 0) + 1, ?3, ?4
         WHERE ?3 IS NOT (SELECT body FROM csb_document WHERE kind = ?1 AND name = ?2 ORDER BY version DESC LIMIT 1)",
        params![draft.kind.name(), draft.name, draft.body, now.as_millisecond()],
    )
}

fn add(connection: &Connection, document: &Document) -> rusqlite::Result<()> {
    let sql = format!("INSERT INTO csb_document ({COLUMNS}) VALUES (?1, ?2, ?3, ?4, ?5, ?6)");
    connection
        .prepare_cached(&sql)?
        .execute(params![
            document.revision,
            document.kind,
            document.name,
            document.version,
            document.body,
            document.published_ms
        ])
        .map(|_| ())
}

/// Takes a version out of the documents, and keeps it beside them.
fn set_aside(connection: &Connection, revision: i64, now: Timestamp) -> rusqlite::Result<()> {
    let kept = format!(
        "INSERT INTO csb_superseded ({COLUMNS}, superseded_ms) SELECT {COLUMNS}, ?2 FROM csb_document WHERE revision = ?1"
    );
    connection.execute(&kept, [revision, now.as_millisecond()])?;
    connection.execute("DELETE FROM csb_document WHERE revision = ?1", [revision]).map(|_| ())
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
