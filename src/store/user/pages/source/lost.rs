//! A store that was lost: whether it is, and how a new one takes its place.

use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::super::damage;
use super::super::end::{PageSink, Published, Replacement, Sent};
use super::super::mark::Mark;
use super::super::new_file::NewFile;
use super::super::standby::remove_companions;
use super::{Source, unreachable};
use crate::error::{Error, ErrorKind, Result, Side};
use crate::platform::{
    FileId, FileStat, RawFile, Rights, WriteLease, processes_with, read_whole, rename_to_free_name,
    sync_folder,
};
use crate::store::files::{remove, with_suffix};
use crate::store::sqlite::format::check::is_empty_leaf;
use crate::store::sqlite::format::header::Header;
use crate::store::sqlite::format::locks;
use crate::store::sqlite::{describe_process, lock_holders, require_alone};

/// How long other threads of this process may look at a store that is about to be replaced.
const LEASE_PATIENCE: Duration = Duration::from_millis(500);
const LEASE_PAUSE: Duration = Duration::from_millis(5);

impl Source {
    /// Whether it is gone, or is a database without a single table.
    ///
    /// # Errors
    /// As for [`super::super::end::UserEnd::is_lost`].
    pub(in super::super) fn is_lost(&self, known: Option<&Mark>) -> Result<bool> {
        crate::bound::touching(&self.path)?;
        if self.path.try_exists().map_err(|cause| unreachable(&self.path, &cause).on(Side::Import))? {
            return is_blank(&self.path);
        }
        if known.is_some_and(|known| known.is_elsewhere(&self.path)) {
            return Err(not_mounted(&self.path));
        }
        Ok(true)
    }

    /// Begins to make it anew, beside its place.
    ///
    /// # Errors
    /// As for [`super::super::end::UserEnd::replace`].
    pub(in super::super) fn replace(
        &self,
        rights: Option<Rights>,
        known: Option<&Mark>,
        exclude: &[String],
    ) -> Result<NewStore> {
        let folder = self.path.parent().filter(|folder| folder.is_dir());
        let folder = folder.ok_or_else(|| no_folder(&self.path))?;
        let fresh = folder.join(format!(".csb-{}.restored", uuid::Uuid::new_v4().simple()));
        let suggested = || Rights::as_in(folder).unwrap_or(Rights::PRIVATE);
        let file = NewFile::create(fresh, rights.unwrap_or_else(suggested)).map_err(Side::Import.failed())?;
        Ok(NewStore {
            file,
            path: self.path.clone(),
            former: known.map(Mark::file),
            exclude: exclude.to_vec(),
        })
    }
}

/// A store that takes the place of a lost one.
pub(in super::super) struct NewStore {
    file: NewFile,
    path: PathBuf,
    /// The file that was lost.
    former: Option<FileId>,
    exclude: Vec<String>,
}

impl PageSink for NewStore {
    fn put(&self, first: u32, content: &[u8], page_size: usize) -> Result<()> {
        self.file.put(first, content, page_size).map_err(Side::Import.failed())
    }

    fn reset(&self) -> Result<()> {
        self.file.reset().map_err(Side::Import.failed())
    }
}

impl Replacement for NewStore {
    fn publish(self: Box<Self>, sent: &Sent) -> Result<Published> {
        let NewStore { file, path, former, exclude } = *self;
        let failed = |cause: io::Error| Error::io("write", &path, &cause).on(Side::Import);
        let findings = damage::marks(&damage::findings(&file.path)?);
        if findings.iter().any(|finding| !sent.findings.contains(finding)) {
            return Err(damaged(&sent.from));
        }
        let emptied = file.complete(sent, &exclude, |_| ()).map_err(Side::Import.failed())?;
        let is_partial = require_unused(&path, former)?;
        // An empty database that a server made; whoever opens it from now on waits.
        let blank = RawFile::open(&path, false).ok();
        let lease = blank.as_ref().map_or(Ok(None), |blank| keep_to_ourselves(&path, blank))?;
        let seen = RawFile::open(&file.path, false).and_then(|new| Header::of(&new)).map_err(failed)?;
        let header = seen.ok_or_else(|| damaged(&sent.from))?;
        file.name(|fresh| take_place(fresh, &path, blank.as_ref()))?;
        // Nobody is seen by a lease who came while it was held, or where there can be none.
        let is_partial = lease.as_ref().map_or(is_partial, |lease| !lease.is_undisturbed());
        let database = FileStat::of(&path).ok_or_else(|| came_between(&path))?;
        let (own, folder) = (Rights::of(&path), path.parent().map(Rights::as_in));
        let is_of_another = match (own, folder) {
            (Ok(own), Some(Ok(folder))) => !own.is_same_owner(folder),
            _ => false,
        };
        Ok(Published { mark: Mark::of_new(&path, database, &header), emptied, is_partial, is_of_another })
    }
}

/// Gives a restored store the name of the lost one. What that one left beside it would be played into the new one, so it goes first; a
/// server that has made a new one meanwhile keeps it.
fn take_place(fresh: &Path, path: &Path, blank: Option<&RawFile>) -> Result<()> {
    let failed = |cause: io::Error| Error::io("write", path, &cause).on(Side::Import);
    if path.exists() {
        if !blank
            .map_or(Ok(false), |blank| Ok(locks::is_still_at(blank, path) && has_no_table(blank, path)?))?
        {
            return Err(came_between(path));
        }
        remove(path)?;
    }
    remove_companions(path)?;
    match rename_to_free_name(fresh, path) {
        Err(cause) if cause.kind() == io::ErrorKind::AlreadyExists => return Err(came_between(path)),
        renamed => renamed.map_err(failed)?,
    }
    sync_folder(path.parent().unwrap_or(Path::new("."))).map_err(failed)
}

/// Refuses to give back a store that a server still has open, by its locks and by its open files: it would go on with the file that is
/// gone, or was moved away. Whether there are processes that one may not look into.
fn require_unused(source: &Path, former: Option<FileId>) -> Result<bool> {
    let mut users = lock_holders(source);
    let whole = source.canonicalize().or_else(|_| {
        // Of a file that is gone only the folder can be found.
        let folder = source.parent().unwrap_or(Path::new(".")).canonicalize()?;
        Ok::<_, io::Error>(folder.join(source.file_name().unwrap_or_default()))
    });
    let mut is_partial = false;
    if let Ok(whole) = whole {
        let processes;
        (processes, is_partial) = processes_with(&whole, former);
        users.extend(processes.into_iter().map(describe_process));
    }
    users.sort();
    users.dedup();
    if users.is_empty() {
        return Ok(is_partial);
    }
    Err(in_use(source, &users.join(", ")))
}

/// Keeps a database to this process where that can be had: a lease sees processes that cannot be looked into, and those of other
/// containers. Another thread of this process may look at it just now.
fn keep_to_ourselves<'a>(source: &Path, file: &'a RawFile) -> Result<Option<WriteLease<'a>>> {
    let began = Instant::now();
    loop {
        match WriteLease::take(file) {
            Some(None) if began.elapsed() >= LEASE_PATIENCE => {
                return Err(in_use(source, "a process that cannot be looked into"));
            }
            Some(None) => std::thread::sleep(LEASE_PAUSE),
            None => return Ok(None),
            Some(taken) => return Ok(taken),
        }
    }
}

fn in_use(source: &Path, users: &str) -> Error {
    Error::new(
        ErrorKind::StoreBusy,
        format!("{} is open in {users}.", source.display()),
        "Stop the server, then run the command again: it would go on with the file that is gone.",
    )
    .at("path", source.display())
    .on(Side::Import)
}

/// Whether a database has no table: its server made it anew, or has just begun to.
fn is_blank(path: &Path) -> Result<bool> {
    let failed = |cause: io::Error| Error::io("read", path, &cause).on(Side::Import);
    require_alone(path)?;
    has_no_table(&RawFile::open(path, false).map_err(failed)?, path)
}

fn has_no_table(file: &RawFile, path: &Path) -> Result<bool> {
    let failed = |cause: io::Error| Error::io("read", path, &cause).on(Side::Import);
    if file.metadata().map_err(failed)?.len() == 0 {
        return Ok(true);
    }
    let mut first = vec![0; 512];
    read_whole(file, &mut first, 0).map_err(failed)?;
    if Header::read(&first).is_none() {
        return Err(Error::new(
            ErrorKind::Corrupt,
            format!("{} is no SQLite database.", path.display()),
            "Move it away, then run the command again: the copy is given back where nothing is.",
        )
        .at("path", path.display())
        .on(Side::Import));
    }
    let has_log = RawFile::open(&with_suffix(path, "-wal"), false)
        .is_ok_and(|log| log.metadata().is_ok_and(|it| it.len() > 0));
    Ok(is_empty_leaf(1, &first) && !has_log)
}

fn not_mounted(source: &Path) -> Error {
    Error::new(
        ErrorKind::StoreUnavailable,
        format!(
            "{} is missing, and its folder is on another file system than when the store was last read: that one is probably not mounted.",
            source.display()
        ),
        "Mount it. If the store is lost all the same, make an empty file of its name: then it is given back in its place.",
    )
    .at("path", source.display())
    .on(Side::Import)
}

fn no_folder(source: &Path) -> Error {
    Error::new(
        ErrorKind::StoreUnavailable,
        format!("The folder of the user store {} does not exist.", source.display()),
        "Mount its file system, or create the folder, then run the command again.",
    )
    .at("path", source.display())
    .on(Side::Import)
}

fn damaged(copy: &Path) -> Error {
    Error::new(
        ErrorKind::Corrupt,
        format!("The copy {} is damaged, and was not given back.", copy.display()),
        "An earlier state may be sound: Get-CsPoolBackupHistory, Restore-CsPoolBackup.",
    )
    .at("path", copy.display())
    .on(Side::Export)
}

fn came_between(source: &Path) -> Error {
    Error::new(
        ErrorKind::StoreReplaced,
        format!("{} came into being while the lost store was given back.", source.display()),
        "Stop its server, then run the command again.",
    )
    .at("path", source.display())
    .on(Side::Import)
}
