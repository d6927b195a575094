//! `New-CsSampleDeployment`: a working pair with data, to try everything.

use std::fs;
use std::path::{Path, PathBuf};

use rusqlite::{Connection, params};
use serde::{Deserialize, Serialize};

use super::deployment::Deployment;
use super::{Service, text};
use crate::error::{Error, ErrorKind, Result};
use crate::store::sqlite::sqlite_error;

const DEPLOYMENT: &str = "# A sample deployment of CsBackup; see docs/documents.md for every field.
central_management_store = \"sqlite:cms/cms.sqlite\"
local_replica = \"cms/replica.json\"
jobs = \"jobs\"
";

const TOPOLOGY: &str = "# Two pools, each the other's backup pool.
central_management_pool = \"atl-cs-001.litwareinc.com\"

[[pools]]
fqdn = \"atl-cs-001.litwareinc.com\"
site = \"Atlanta\"
computers = [\"atl-fe-001.litwareinc.com\"]
backup_pool = \"chi-cs-001.litwareinc.com\"
user_store = { url = \"sqlite:atl/users.sqlite\", exclude = [\"session_*\"] }
content_store = { url = \"file:atl/share\" }
standby = { user_store = \"sqlite:atl/standby/chi.sqlite\", content_store = \"file:atl/standby/chi\", management_store = \"sqlite:atl/standby/cms.sqlite\" }

[[pools]]
fqdn = \"chi-cs-001.litwareinc.com\"
site = \"Chicago\"
computers = [\"chi-fe-001.litwareinc.com\"]
backup_pool = \"atl-cs-001.litwareinc.com\"
user_store = { url = \"sqlite:chi/users.sqlite\", exclude = [\"session_*\"] }
content_store = { url = \"file:chi/share\" }
standby = { user_store = \"sqlite:chi/standby/atl.sqlite\", content_store = \"file:chi/standby/atl\", management_store = \"sqlite:chi/standby/cms.sqlite\" }
";

/// What a small registrar keeps, in the manner of a real one: WAL, a run-time table, a table without rowids.
const USERS: &str = "
PRAGMA journal_mode = WAL;
CREATE TABLE users (id INTEGER PRIMARY KEY, sip_uri TEXT NOT NULL UNIQUE, display_name TEXT NOT NULL);
CREATE TABLE contacts (owner INTEGER NOT NULL REFERENCES users (id) ON DELETE CASCADE, sip_uri TEXT NOT NULL,
    groups TEXT, added_ms INTEGER NOT NULL, PRIMARY KEY (owner, sip_uri)) WITHOUT ROWID;
CREATE TABLE presence (owner INTEGER PRIMARY KEY REFERENCES users (id) ON DELETE CASCADE, note TEXT, card BLOB);
CREATE TABLE session_cache (token TEXT PRIMARY KEY, owner INTEGER);
";

/// The request for a sample deployment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SampleRequest {
    /// Where it is made: a folder that does not exist or is empty.
    folder: PathBuf,
    #[serde(default = "default_users")]
    users: u32,
    #[serde(default = "default_contacts")]
    contacts_per_user: u32,
    #[serde(default = "default_files")]
    files: u32,
}

fn default_users() -> u32 {
    200
}

fn default_contacts() -> u32 {
    20
}

fn default_files() -> u32 {
    300
}

/// What was made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Sample {
    deployment_file: String,
    topology_file: String,
    pools: Vec<String>,
    users: u32,
    contacts: u64,
    files: u32,
}

impl Service {
    /// Makes a sample deployment: files, stores with data, and a Central Management store with the topology published.
    pub(super) fn create_sample(&self, request: &SampleRequest) -> Result<Sample> {
        let folder = std::path::absolute(&request.folder)
            .map_err(|cause| Error::io("find", &request.folder, &cause))?;
        require_empty(&folder)?;
        let write = |name: &str, content: &str| {
            let path = folder.join(name);
            fs::write(&path, content).map_err(|cause| Error::io("write", &path, &cause))?;
            Ok(path)
        };
        let deployment_file = write("deployment.toml", DEPLOYMENT)?;
        let topology_file = write("topology.toml", TOPOLOGY)?;
        for (pool, site) in [("atl", "Atlanta"), ("chi", "Chicago")] {
            create_users(&folder.join(pool), site, request)?;
            create_files(&folder.join(pool).join("share"), request.files)?;
        }
        let deployment = Deployment::open(&deployment_file)?;
        let published = deployment.publish(&topology_file, false, self.clock.now())?;
        Ok(Sample {
            deployment_file: text(&deployment_file),
            topology_file: text(&topology_file),
            pools: published.topology.pools.iter().map(|pool| pool.fqdn.to_string()).collect(),
            users: request.users,
            contacts: u64::from(request.users) * u64::from(request.contacts_per_user),
            files: request.files,
        })
    }
}

fn require_empty(folder: &Path) -> Result<()> {
    fs::create_dir_all(folder).map_err(|cause| Error::io("create", folder, &cause))?;
    let mut entries = fs::read_dir(folder).map_err(|cause| Error::io("list", folder, &cause))?;
    if entries.next().is_none() {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::ForeignContent,
        format!("{} is not empty.", folder.display()),
        "Name a folder that does not exist yet: a sample deployment never overwrites anything.",
    )
    .at("path", folder.display()))
}

fn create_users(folder: &Path, site: &str, request: &SampleRequest) -> Result<()> {
    fs::create_dir_all(folder).map_err(|cause| Error::io("create", folder, &cause))?;
    let path = folder.join("users.sqlite");
    let fill = |connection: &mut Connection| -> rusqlite::Result<()> {
        connection.execute_batch(USERS)?;
        let transaction = connection.transaction()?;
        {
            let mut user =
                transaction.prepare("INSERT INTO users (id, sip_uri, display_name) VALUES (?1, ?2, ?3)")?;
            let mut presence =
                transaction.prepare("INSERT INTO presence (owner, note, card) VALUES (?1, ?2, ?3)")?;
            let mut contact = transaction
                .prepare("INSERT INTO contacts (owner, sip_uri, groups, added_ms) VALUES (?1, ?2, ?3, ?4)")?;
            for id in 1..=request.users {
                user.execute(params![id, uri(site, id), format!("{site} User {id}")])?;
                presence.execute(params![id, format!("At my desk in {site}"), id.to_le_bytes()])?;
                for number in 1..=request.contacts_per_user {
                    let other = (id + number * 7) % request.users.max(1) + 1;
                    let group = if number % 3 == 0 { "Favourites" } else { "Other Contacts" };
                    let contact_uri = format!("{number:03}-{}", uri(site, other));
                    contact.execute(params![
                        id,
                        contact_uri,
                        group,
                        1_700_000_000_000_i64 + i64::from(number)
                    ])?;
                }
            }
        }
        transaction.commit()
    };
    let mut connection = Connection::open(&path).map_err(|cause| sqlite_error("create", &path, &cause))?;
    fill(&mut connection).map_err(|cause| sqlite_error("fill", &path, &cause))
}

fn uri(site: &str, id: u32) -> String {
    format!("sip:user{id:05}.{}@litwareinc.com", site.to_ascii_lowercase())
}

/// Files of a conference share: sizes from a hundred bytes to a few hundred kilobytes, most of them small.
fn create_files(share: &Path, files: u32) -> Result<()> {
    for number in 1..=files {
        let folder = share.join(format!("conference-{:03}", (number - 1) / 10 + 1));
        fs::create_dir_all(&folder).map_err(|cause| Error::io("create", &folder, &cause))?;
        let (name, size) = match number % 10 {
            0 => (format!("whiteboard-{number:04}.png"), 300_000 + number as usize * 37 % 200_000),
            1..=3 => (format!("slides-{number:04}.pptx"), 20_000 + number as usize * 101 % 60_000),
            _ => (format!("notes-{number:04}.txt"), 100 + number as usize * 13 % 4_000),
        };
        let line = format!("{name}: a line of a conference file, repeated to its size.\n");
        let content: Vec<u8> = line.bytes().cycle().take(size).collect();
        let path = folder.join(name);
        fs::write(&path, content).map_err(|cause| Error::io("write", &path, &cause))?;
    }
    Ok(())
}
