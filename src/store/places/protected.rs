//! What a file that a person names must never take the place of: databases of any kind, and every file of the deployment.

use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use uuid::Uuid;

use super::role::PlaceKind;
use super::{Place, Places};
use crate::bound::{alive, touching, within};
use crate::platform::{Entry, EntryKind, FileId, Folder, Head};
use crate::store::files::with_suffix;
use crate::store::sqlite::{COMPANIONS, HEADER, is_companion};

/// What the names of the files begin with that this product keeps beside a database, after its own.
const OWN_COMPANIONS: [&str; 2] = [".csb-", ".superseded-"];

/// A topology and a deployment file have a line that begins so, in whatever state an administrator left them.
const TOPOLOGY: &str = "central_management_pool";
const DEPLOYMENT: &str = "central_management_store";
/// As far as a file is read for that line.
const LONGEST_DOCUMENT: u64 = 4 << 20;

impl Places {
    /// Looks at all of them, for what must not take the place of any.
    pub fn protected(&self) -> ProtectedFiles {
        let above = |path: &Path| path.parent().unwrap_or(path).to_owned();
        // What is remembered of a copy lies in a folder beside it.
        let asked =
            |place: &Place| [place.path.clone(), above(&place.path), with_suffix(&place.path, ".csb")];
        // What is at another machine cannot be named here.
        let here = || self.places.iter().filter(|place| place.is_here());
        let mut found = identities(&here().flat_map(asked).collect::<Vec<_>>()).into_iter();
        let mut protected = ProtectedFiles {
            files: Vec::new(),
            trees: Vec::new(),
            records: None,
            documents: vec![TOPOLOGY, DEPLOYMENT],
        };
        for place in here() {
            let (identity, folder) = (found.next().flatten(), found.next().flatten());
            let what = || place.role.for_people(place.pool.as_ref());
            protected
                .trees
                .extend(found.next().flatten().map(|beside| (beside, format!("what belongs to {}", what()))));
            match place.role.kind() {
                PlaceKind::Tree => protected
                    .trees
                    .extend(identity.map(|identity| (identity, place.role.for_people(place.pool.as_ref())))),
                PlaceKind::Records => protected.records = identity,
                kind @ (PlaceKind::Database | PlaceKind::File) => protected.files.push(File {
                    what: place.role.for_people(place.pool.as_ref()),
                    is_database: kind == PlaceKind::Database,
                    identity,
                    folder,
                    name: place.path.file_name().unwrap_or_default().to_owned(),
                }),
            }
        }
        protected
    }
}

/// How long one place is waited for. What is at a place that does not answer is not at one that does.
const PATIENCE: Duration = Duration::from_millis(500);

/// What these paths lead to, without waiting for file systems that do not answer.
fn identities(paths: &[PathBuf]) -> Vec<Option<FileId>> {
    let mut found = Vec::with_capacity(paths.len());
    let mut is_stuck = false;
    while let Some(rest) = paths.get(found.len()..).filter(|rest| !rest.is_empty()) {
        let (rest, seen) = (rest.to_vec(), Arc::new(Mutex::new(Vec::new())));
        let look = {
            let seen = Arc::clone(&seen);
            move || {
                for path in rest {
                    // Refused where a thread was left behind a moment ago.
                    let identity = touching(&path).ok().and_then(|()| FileId::of(&path).ok());
                    seen.lock().unwrap_or_else(PoisonError::into_inner).push(identity);
                    alive();
                }
                Ok(())
            }
        };
        let answered = within(PATIENCE, look).is_ok();
        let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
        // No thread can be had.
        if seen.is_empty() && !answered && is_stuck {
            found.push(None);
        }
        is_stuck = seen.is_empty();
        found.append(&mut seen);
    }
    found
}

/// The files and folders of a deployment, by identity.
pub struct ProtectedFiles {
    files: Vec<File>,
    trees: Vec<(FileId, String)>,
    records: Option<FileId>,
    documents: Vec<&'static str>,
}

/// A file that need not exist yet: then its folder and its name tell.
struct File {
    what: String,
    is_database: bool,
    identity: Option<FileId>,
    folder: Option<FileId>,
    name: OsString,
}

impl ProtectedFiles {
    /// The same, for what may take the place of an earlier topology document.
    pub fn except_topologies(self) -> Self {
        ProtectedFiles { documents: vec![DEPLOYMENT], ..self }
    }

    /// Why nothing may be written to a name in a folder; none where it may.
    ///
    /// # Errors
    /// What looking there reports.
    pub fn objection(
        &self,
        folder: &Folder,
        name: &OsStr,
        there: Option<&Entry>,
    ) -> io::Result<Option<String>> {
        let ancestors = folder.ancestors()?;
        if let Some((_, what)) = self.trees.iter().find(|(identity, _)| ancestors.contains(identity)) {
            return Ok(Some(format!("it lies in {what}")));
        }
        let here = ancestors.first().copied();
        if self.records.is_some() && self.records == here && is_record(name) {
            return Ok(Some("it is the place of a job record".to_owned()));
        }
        if let Some(file) = self.files.iter().find(|file| file.is(here, name, there)) {
            return Ok(Some(format!("it is {}", file.what)));
        }
        if let Some(file) = self.files.iter().find(|file| file.is_database && file.has_companion(here, name))
        {
            return Ok(Some(format!("it belongs to {}", file.what)));
        }
        if let Some(database) = database_of(name)
            && let Some(entry) = folder.look(database)?
            && entry.kind == EntryKind::File
            && is_database(folder, database, &entry)?
        {
            return Ok(Some(format!(
                "it belongs to the SQLite database {}",
                folder.path.join(database).display()
            )));
        }
        match there {
            Some(entry) => self.objection_to(folder, name, entry),
            None => Ok(None),
        }
    }

    /// Why what is there may not be replaced, from what it is and how it begins.
    fn objection_to(&self, folder: &Folder, name: &OsStr, entry: &Entry) -> io::Result<Option<String>> {
        let objection = match entry.kind {
            EntryKind::Link => "it is a link",
            EntryKind::Folder => "it is a folder",
            EntryKind::Special => "it is a device, a pipe or a socket",
            EntryKind::Null => return Ok(None),
            EntryKind::File => match folder.head(name, entry.identity, LONGEST_DOCUMENT)? {
                Head::OpenHere => "this process has it open",
                Head::Changed => "another program is writing to it",
                Head::Read(bytes) if bytes.starts_with(HEADER) => "it is an SQLite database",
                Head::Read(bytes) if self.is_document(&bytes) => "it is a topology or a deployment file",
                Head::Read(_) => return Ok(None),
            },
        };
        Ok(Some(objection.to_owned()))
    }

    fn is_document(&self, bytes: &[u8]) -> bool {
        let begins = |line: &[u8]| {
            self.documents.iter().any(|field| line.trim_ascii_start().starts_with(field.as_bytes()))
        };
        bytes.split(|byte| *byte == b'\n').any(begins)
    }
}

impl File {
    fn is(&self, folder: Option<FileId>, name: &OsStr, there: Option<&Entry>) -> bool {
        let is_same = there.is_some_and(|entry| self.identity == Some(entry.identity));
        is_same || (folder.is_some() && self.folder == folder && self.name == name)
    }

    fn has_companion(&self, folder: Option<FileId>, name: &OsStr) -> bool {
        let (own, name) = (self.name.as_encoded_bytes(), name.as_encoded_bytes());
        let is_own = |rest: &[u8]| OWN_COMPANIONS.iter().any(|start| rest.starts_with(start.as_bytes()));
        let belongs = is_companion(own, name) || name.strip_prefix(own).is_some_and(is_own);
        belongs && folder.is_some() && self.folder == folder
    }
}

/// Whether a file is a database, as far as that can be told without harm: one that this process has open counts as one.
fn is_database(folder: &Folder, name: &OsStr, entry: &Entry) -> io::Result<bool> {
    Ok(match folder.head(name, entry.identity, HEADER.len() as u64)? {
        Head::Read(bytes) => bytes == HEADER,
        Head::OpenHere | Head::Changed => true,
    })
}

/// The database whose companion a file of this name would be.
fn database_of(name: &OsStr) -> Option<&OsStr> {
    let name = name.to_str()?;
    let base = COMPANIONS.iter().find_map(|suffix| name.strip_suffix(suffix))?;
    (!base.is_empty()).then_some(OsStr::new(base))
}

/// Whether this is what a job record, or a request to cancel its job, is called.
fn is_record(name: &OsStr) -> bool {
    let stem = Path::new(name).file_stem().and_then(OsStr::to_str);
    stem.is_some_and(|stem| Uuid::parse_str(stem).is_ok())
}
