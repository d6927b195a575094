//! The tables of a Central Management store, and how those of a former build become those of this one.

use std::path::Path;

use rusqlite::{Connection, Row};
use uuid::Uuid;

use crate::error::Result;
use crate::store::documents::{Digest, DocumentsRole, Position, Reign};
use crate::store::sqlite::{Schema, sqlite_error};

/// Former builds kept no version.
const SCHEMA: Schema = Schema { what: "The Central Management store", version: 1 };

const TABLES: &str = "
CREATE TABLE IF NOT EXISTS csb_management (
    id INTEGER PRIMARY KEY CHECK (id = 1), store_id TEXT NOT NULL, generation INTEGER NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS csb_document (
    revision INTEGER PRIMARY KEY AUTOINCREMENT, kind TEXT NOT NULL, name TEXT NOT NULL, version INTEGER NOT NULL,
    body TEXT NOT NULL, published_ms INTEGER NOT NULL, UNIQUE (kind, name, version)
) STRICT;
ALTER TABLE csb_management ADD COLUMN role TEXT;
ALTER TABLE csb_management ADD COLUMN epoch INTEGER NOT NULL DEFAULT 0;
ALTER TABLE csb_management ADD COLUMN timeline TEXT;
ALTER TABLE csb_management ADD COLUMN master TEXT;
ALTER TABLE csb_management ADD COLUMN recorded_revision INTEGER;
ALTER TABLE csb_management ADD COLUMN recorded_digest TEXT;
CREATE TABLE csb_superseded (
    revision INTEGER NOT NULL, kind TEXT NOT NULL, name TEXT NOT NULL, version INTEGER NOT NULL,
    body TEXT NOT NULL, published_ms INTEGER NOT NULL, superseded_ms INTEGER NOT NULL
) STRICT;
";

const MASTER: &str = "master";
const STANDBY: &str = "standby";

/// The spelling of a role in the table.
pub(super) const fn role_name(role: DocumentsRole) -> Option<&'static str> {
    match role {
        DocumentsRole::Master => Some(MASTER),
        DocumentsRole::Standby => Some(STANDBY),
        DocumentsRole::Unassigned | DocumentsRole::Unknown => None,
    }
}

/// Makes the tables what this build expects, in a transaction of the caller's.
///
/// # Errors
/// `UnsupportedStore` for tables of a newer build; when the database cannot be written.
pub(super) fn prepare(connection: &Connection, path: &Path) -> Result<()> {
    if !is_former(connection, path)? {
        return Ok(());
    }
    connection
        .execute_batch(TABLES)
        .and_then(|()| {
            connection.execute(
                "INSERT INTO csb_management (id, store_id, generation) VALUES (1, ?1, 0) ON CONFLICT DO NOTHING",
                [Uuid::new_v4().to_string()],
            )
        })
        .and_then(|_| SCHEMA.set(connection))
        .map_err(|cause| sqlite_error("prepare", path, &cause))
}

/// Whether the tables are a former build's.
///
/// # Errors
/// As for [`Schema::is_former`].
pub(super) fn is_former(connection: &Connection, path: &Path) -> Result<bool> {
    SCHEMA.is_former(connection, path)
}

/// Where the store stands.
///
/// # Errors
/// As for [`is_former`].
pub(super) fn position(connection: &Connection, path: &Path) -> Result<Position> {
    let sql = if is_former(connection, path)? {
        "SELECT store_id, NULL, 0, NULL, NULL, (SELECT coalesce(max(revision), 0) FROM csb_document), NULL, NULL
         FROM csb_management"
    } else {
        "SELECT store_id, role, epoch, timeline, master, (SELECT coalesce(max(revision), 0) FROM csb_document),
                recorded_revision, recorded_digest FROM csb_management"
    };
    connection.query_row(sql, [], read).map_err(|cause| sqlite_error("read", path, &cause))
}

fn read(row: &Row<'_>) -> rusqlite::Result<Position> {
    let role: Option<String> = row.get(1)?;
    let recorded: Option<(i64, String)> = match (row.get(6)?, row.get(7)?) {
        (Some(revision), Some(digest)) => Some((revision, digest)),
        _ => None,
    };
    Ok(Position {
        identity: row.get(0)?,
        role: match role.as_deref() {
            None => DocumentsRole::Unassigned,
            Some(MASTER) => DocumentsRole::Master,
            Some(STANDBY) => DocumentsRole::Standby,
            Some(_) => DocumentsRole::Unknown,
        },
        reign: Reign { epoch: row.get(2)?, timeline: row.get(3)? },
        master: row.get(4)?,
        revision: row.get(5)?,
        recorded: recorded.and_then(|(revision, digest)| Some((revision, Digest::from_hex(digest).ok()?))),
    })
}
