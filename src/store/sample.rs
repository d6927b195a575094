//! Data for trying everything: the stores of a pool, filled as a small registrar would fill them.

use std::io::Write;
use std::path::{Path, PathBuf};

use rusqlite::{Connection, params};

use crate::error::{Error, Result};
use crate::platform::{Rights, create_file, create_folder};
use crate::store::sqlite::{Access, Database, open, sqlite_error};
use crate::topology::Pool;

/// What a small registrar keeps, in the manner of a real one: WAL, a run-time table, a table without rowids. Nothing waits for
/// the disk: a sample that a power cut takes is made again.
const USERS: &str = "
PRAGMA journal_mode = WAL;
PRAGMA synchronous = OFF;
CREATE TABLE users (id INTEGER PRIMARY KEY, sip_uri TEXT NOT NULL UNIQUE, display_name TEXT NOT NULL);
CREATE TABLE contacts (owner INTEGER NOT NULL REFERENCES users (id) ON DELETE CASCADE, sip_uri TEXT NOT NULL,
    groups TEXT, added_ms INTEGER NOT NULL, PRIMARY KEY (owner, sip_uri)) WITHOUT ROWID;
CREATE TABLE presence (owner INTEGER PRIMARY KEY REFERENCES users (id) ON DELETE CASCADE, note TEXT, card BLOB);
CREATE TABLE session_cache (token TEXT PRIMARY KEY, owner INTEGER);
";

/// How much data a sample pool has.
#[derive(Clone, Copy, Debug)]
pub struct SampleSize {
    /// Users.
    pub users: u32,
    /// Contacts of each of them.
    pub contacts_per_user: u32,
    /// Conference files.
    pub files: u32,
}

/// A pool whose data is being made.
pub struct SamplePool {
    site: String,
    share: PathBuf,
    store: PathBuf,
    connection: Database,
    users: u32,
    files: u32,
}

impl SamplePool {
    /// Makes the pool's user store, without a user, and the folder it lies in.
    ///
    /// # Errors
    /// When they cannot be made; `UnsupportedStore`.
    pub fn begin(pool: &Pool) -> Result<Self> {
        let (store, share) =
            (pool.user_store.url.local_path()?.to_owned(), pool.content_store.url.local_path()?);
        if let Some(folder) = store.parent() {
            create_folder(folder).map_err(|cause| Error::io("create", folder, &cause))?;
        }
        let connection = open(&store, Access::Create(Rights::PRIVATE))?;
        connection.execute_batch(USERS).map_err(|cause| sqlite_error("fill", &store, &cause))?;
        let site = pool.site.clone().unwrap_or_default();
        Ok(SamplePool { site, share: share.to_owned(), store, connection, users: 0, files: 0 })
    }

    /// How many users and files there are.
    pub fn items(&self) -> u64 {
        u64::from(self.users) + u64::from(self.files)
    }

    /// Makes users and files until all are there, or it is time to stop.
    ///
    /// # Errors
    /// When they cannot be written.
    pub fn go_on(&mut self, size: &SampleSize, is_time: &dyn Fn() -> bool) -> Result<()> {
        self.add_users(size, is_time).map_err(|cause| sqlite_error("fill", &self.store, &cause))?;
        while self.files < size.files && !is_time() {
            create_share_file(&self.share, self.files + 1)?;
            self.files += 1;
        }
        Ok(())
    }

    fn add_users(&mut self, size: &SampleSize, is_time: &dyn Fn() -> bool) -> rusqlite::Result<()> {
        let transaction = self.connection.transaction()?;
        while self.users < size.users && !is_time() {
            add_user(&transaction, &self.site, self.users + 1, size)?;
            self.users += 1;
        }
        transaction.commit()
    }
}

fn add_user(connection: &Connection, site: &str, id: u32, size: &SampleSize) -> rusqlite::Result<()> {
    connection
        .prepare_cached("INSERT INTO users (id, sip_uri, display_name) VALUES (?1, ?2, ?3)")?
        .execute(params![id, uri(site, id), format!("{site} User {id}")])?;
    connection
        .prepare_cached("INSERT INTO presence (owner, note, card) VALUES (?1, ?2, ?3)")?
        .execute(params![id, format!("At my desk in {site}"), id.to_le_bytes()])?;
    let mut contact = connection
        .prepare_cached("INSERT INTO contacts (owner, sip_uri, groups, added_ms) VALUES (?1, ?2, ?3, ?4)")?;
    for number in 1..=size.contacts_per_user {
        let other = (id + number * 7) % size.users + 1;
        let group = if number % 3 == 0 { "Favourites" } else { "Other Contacts" };
        let contact_uri = format!("{number:03}-{}", uri(site, other));
        contact.execute(params![id, contact_uri, group, 1_700_000_000_000_i64 + i64::from(number)])?;
    }
    Ok(())
}

fn uri(site: &str, id: u32) -> String {
    format!("sip:user{id:05}.{}@litwareinc.com", site.to_ascii_lowercase())
}

/// A file of a conference share: sizes from a hundred bytes to a few hundred kilobytes, most of them small.
fn create_share_file(share: &Path, number: u32) -> Result<()> {
    let folder = share.join(format!("conference-{:03}", (number - 1) / 10 + 1));
    create_folder(&folder).map_err(|cause| Error::io("create", &folder, &cause))?;
    let (name, size) = match number % 10 {
        0 => (format!("whiteboard-{number:04}.png"), 300_000 + number as usize * 37 % 200_000),
        1..=3 => (format!("slides-{number:04}.pptx"), 20_000 + number as usize * 101 % 60_000),
        _ => (format!("notes-{number:04}.txt"), 100 + number as usize * 13 % 4_000),
    };
    let line = format!("{name}: a line of a conference file, repeated to its size.\n");
    let content: Vec<u8> = line.bytes().cycle().take(size).collect();
    let path = folder.join(name);
    create_private(&path, &content)
}

/// Creates a file that only this account may read.
///
/// # Errors
/// When it exists already or cannot be written.
pub fn create_private(path: &Path, content: &[u8]) -> Result<()> {
    create_file(path, Rights::PRIVATE)
        .and_then(|mut file| file.write_all(content))
        .map_err(|cause| Error::io("write", path, &cause))
}
