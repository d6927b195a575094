//! The way back: a lost store from its copy, an earlier state as a database to look into, and taking everything of ours away.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use tokio_util::sync::CancellationToken;

use super::super::exclude::is_excluded;
use super::super::format::check::is_empty_leaf;
use super::super::format::header::{HEADER_BYTES, Header, Own};
use super::super::former;
use super::super::history::Entry;
use super::super::importer::{Importer, folder_of};
use super::super::standby::{Existing, Found, remove_companions};
use super::super::verdict;
use super::PagePair;
use crate::error::{Error, ErrorKind, Result, Side};
use crate::platform::{
    FileStat, RawFile, Rights, create_file, processes_with, read_whole, rename_to_free_name, sync_folder,
    write_all_at,
};
use crate::store::files::{remove, with_suffix};
use crate::store::sqlite::{quote, require_alone};
use crate::store::user::{PairOutcome, StoreState, WantedState, Work};
use crate::store::{Generation, Trace};

/// Copied in pieces of this size.
const PIECE_BYTES: usize = 1 << 20;

/// Whether the active store is gone, or is a database without a single table, while a copy is there. How many pages it has.
pub(super) fn lost(pair: &PagePair) -> Result<Option<u64>> {
    let standby = pair.standby.path();
    if !standby.exists() || pair.standby.is_foreign(pair.standby.has_begun())? {
        return Ok(None);
    }
    let source = pair.source.path();
    crate::bound::touching(source)?;
    if source.exists() {
        if !is_blank(source)? {
            return Ok(None);
        }
    } else if pair.standby.state_file().load().is_some_and(|state| state.source.is_elsewhere(source)) {
        return Err(not_mounted(source));
    }
    let pages = pages_of(standby).map_err(Side::Export.failed())?;
    Ok(Some(pages.into()))
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

/// Whether a database has no table: its server made it anew, or has just begun to.
fn is_blank(path: &Path) -> Result<bool> {
    let failed = |cause: io::Error| Error::io("read", path, &cause).on(Side::Import);
    require_alone(path)?;
    let file = RawFile::open(path, false).map_err(failed)?;
    if file.metadata().map_err(failed)?.len() == 0 {
        return Ok(true);
    }
    let mut first = vec![0; 512];
    read_whole(&file, &mut first, 0).map_err(failed)?;
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

fn pages_of(path: &Path) -> Result<u32> {
    let failed = |cause: io::Error| Error::io("read", path, &cause);
    let file = RawFile::open(path, false).map_err(failed)?;
    let size = file.metadata().map_err(failed)?.len();
    let header = Header::of(&file).map_err(failed)?;
    header.map(|header| header.page_count(size)).ok_or_else(|| unreadable(path))
}

fn unreadable(path: &Path) -> Error {
    Error::new(
        ErrorKind::Corrupt,
        format!("The copy {} cannot be read.", path.display()),
        "An earlier state may be in the history: Get-CsPoolBackupHistory, Restore-CsPoolBackup.",
    )
    .at("path", path.display())
    .on(Side::Export)
}

/// Makes the active store anew from its copy, where [`lost`] says so.
pub(super) fn give_back(pair: &PagePair, work: &Work<'_>) -> Result<PairOutcome> {
    let Some(pages) = lost(pair)? else { return Ok(PairOutcome::default()) };
    let source = pair.source.path();
    let folder = source.parent().filter(|folder| folder.is_dir()).ok_or_else(|| no_folder(source))?;
    let importer = Importer::enter(pair.standby.path(), work.generation, work.cancel)?;
    let existing = settled(pair, &importer, work.cancel)?;
    let versions = existing.versions();
    let rights =
        Rights::of(pair.standby.path()).map_err(|cause| Error::io("read", pair.standby.path(), &cause))?;
    let fresh = folder.join(format!(".csb-{}.restored", uuid::Uuid::new_v4().simple()));
    let made = make(pair, &existing, &[], &fresh, rights, versions, work.cancel, &|done, total| {
        work.tell(done, total);
    });
    let published = made.and_then(|emptied| {
        work.check()?;
        let known = existing.known().map(|known| known.checked.findings.clone()).unwrap_or_default();
        if verdict::marks(&verdict::findings(&fresh)?).iter().any(|finding| !known.contains(finding)) {
            return Err(unreadable(pair.standby.path()));
        }
        Ok((emptied, publish(&fresh, source)?))
    });
    if published.is_err() {
        remove(&fresh)?;
    }
    let (emptied, is_partial) = published?;
    // That it is another file is no news to the next sync.
    if let Some(state) = &existing.state
        && let Some((look, header)) = seen(source)
    {
        let mark = state.source.of_given_back(look, &header);
        let mut state = state.clone();
        state.source = mark;
        pair.standby.state_file().touch(&state).map_err(Side::Export.failed())?;
    }
    let mut outcome = PairOutcome::default();
    outcome.moved.items_written = pages;
    outcome.moved.bytes = pages * u64::from(existing.header.layout.page_size);
    outcome.moved.batches = 1;
    outcome.details.push(format!("Gave the lost user store back at {}.", source.display()));
    if is_partial {
        let text =
            "Not every process could be looked into: stop the pool's server before it opens the store.";
        outcome.details.push(text.to_owned());
    }
    if !emptied.is_empty() {
        outcome.details.push(format!("Emptied, because they are excluded: {}.", emptied.join(", ")));
    }
    Ok(outcome)
}

/// A database from outside, and its header.
fn seen(path: &Path) -> Option<(FileStat, Header)> {
    let file = RawFile::open(path, false).ok()?;
    FileStat::of(path).zip(Header::of(&file).ok()?)
}

fn settled(pair: &PagePair, importer: &Importer, cancel: &CancellationToken) -> Result<Box<Existing>> {
    match pair.standby.settle(importer, false, cancel)? {
        Found::Existing(existing) => Ok(existing),
        Found::Missing | Found::Unreadable => Err(unreadable(pair.standby.path())),
    }
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

/// Makes a plain database of the copy, or of an earlier state of it, that servers can write to. The tables that were emptied.
#[expect(clippy::too_many_arguments, reason = "one way for both kinds of restoring")]
fn make(
    pair: &PagePair,
    existing: &Existing,
    undo: &[Entry],
    to: &Path,
    rights: Rights,
    versions: (u8, u8),
    cancel: &CancellationToken,
    progress: &dyn Fn(u64, u64),
) -> Result<Vec<String>> {
    let failed = |cause: io::Error| Error::io("write", to, &cause).on(Side::Import);
    let new = create_file(to, rights).map_err(failed)?;
    let standby = pair.standby.path();
    {
        let copy = RawFile::open(standby, false).map_err(|cause| Error::io("open", standby, &cause))?;
        let size = u64::from(existing.pages) * u64::from(existing.header.layout.page_size);
        let mut piece = vec![0; PIECE_BYTES];
        let mut done = 0;
        while done < size {
            if cancel.is_cancelled() {
                return Err(Error::cancelled());
            }
            let part = usize::try_from(size - done).unwrap_or(PIECE_BYTES).min(PIECE_BYTES);
            let read = read_whole(&copy, &mut piece[..part], done);
            let read = read.map_err(|cause| Error::io("read", standby, &cause).on(Side::Export))?;
            if read == 0 {
                return Err(unreadable(standby));
            }
            write_all_at(&new, &piece[..read], done).map_err(failed)?;
            done += read as u64;
            progress(done, size);
        }
    }
    pair.standby.history().undo(undo, &new, to)?;
    lift(&new, to, (1, 1))?;
    drop(new);
    let emptied = empty_excluded(to, &pair.config.exclude)?;
    let new = File::options().read(true).write(true).open(to).map_err(failed)?;
    lift(&new, to, versions)?;
    new.sync_all().map_err(failed)?;
    Ok(emptied)
}

/// Lets servers write to a restored database again, with these versions for writing and reading.
fn lift(file: &File, path: &Path, versions: (u8, u8)) -> Result<()> {
    let failed = |cause: io::Error| Error::io("write", path, &cause);
    let mut first = [0; HEADER_BYTES];
    read_whole(file, &mut first, 0).map_err(failed)?;
    let header = Header::read(&first).ok_or_else(|| unreadable(path))?;
    let own = Own {
        change_counter: header.change_counter,
        schema_cookie: header.schema_cookie,
        versions: Some(versions),
    };
    own.put(&mut first, header.page_count(file.metadata().map_err(failed)?.len()));
    write_all_at(file, &first, 0).map_err(failed)
}

/// Empties what was named as not worth copying; a table that needs functions of the server's is left as it is.
fn empty_excluded(path: &Path, exclude: &[String]) -> Result<Vec<String>> {
    if exclude.is_empty() {
        return Ok(Vec::new());
    }
    let failed = |cause| crate::store::sqlite::sqlite_error("write", path, &cause);
    let connection = crate::store::sqlite::open(path, crate::store::sqlite::Access::Write)?;
    let tables: Vec<String> = connection
        .prepare("SELECT name FROM sqlite_schema WHERE type = 'table' AND rootpage > 0")
        .and_then(|mut statement| statement.query_map([], |row| row.get(0))?.collect())
        .map_err(failed)?;
    let mut emptied = Vec::new();
    for table in tables.into_iter().filter(|table| is_excluded(table, exclude)) {
        if connection.execute(&format!("DELETE FROM {}", quote(&table)), []).is_ok() {
            emptied.push(table);
        }
    }
    Ok(emptied)
}

/// Gives a restored store the name of the lost one. What that one left beside it would be played into the new one, so it goes first;
/// a server that has the lost file open, or has made a new one meanwhile, keeps it. Whether there are processes that one may not look into.
fn publish(fresh: &Path, source: &Path) -> Result<bool> {
    let failed = |cause: io::Error| Error::io("write", source, &cause).on(Side::Import);
    let is_partial = require_unused(source)?;
    if source.exists() {
        if !is_blank(source)? {
            return Err(came_between(source));
        }
        remove(source)?;
    }
    remove_companions(source)?;
    match rename_to_free_name(fresh, source) {
        Err(cause) if cause.kind() == io::ErrorKind::AlreadyExists => return Err(came_between(source)),
        renamed => renamed.map_err(failed)?,
    }
    sync_folder(source.parent().unwrap_or(Path::new("."))).map_err(failed)?;
    Ok(is_partial)
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

/// Refuses to give back a store that a server still has open, by its locks and by its open files: it would go on with the file that is
/// gone. Whether there are processes that one may not look into.
fn require_unused(source: &Path) -> Result<bool> {
    let mut users = crate::store::sqlite::lock_holders(source);
    let whole = source.canonicalize().or_else(|_| {
        // Of a file that is gone only the folder can be found.
        let folder = source.parent().unwrap_or(Path::new(".")).canonicalize()?;
        Ok::<_, io::Error>(folder.join(source.file_name().unwrap_or_default()))
    });
    let mut is_partial = false;
    if let Ok(whole) = whole {
        let processes;
        (processes, is_partial) = processes_with(&whole);
        users.extend(processes.into_iter().map(crate::store::sqlite::describe_process));
    }
    users.sort();
    users.dedup();
    if users.is_empty() {
        return Ok(is_partial);
    }
    Err(Error::new(
        ErrorKind::StoreBusy,
        format!("{} is open in {}.", source.display(), users.join(", ")),
        "Stop the server, then run the command again: it would go on with the file that is gone.",
    )
    .at("path", source.display())
    .on(Side::Import))
}

/// The states that can be restored, the newest first.
pub(super) fn states(pair: &PagePair) -> Result<Vec<StoreState>> {
    let Some(stand) = pair.standby.stand()? else { return Ok(Vec::new()) };
    let size = |pages: u32, page_size: u32| u64::from(pages) * u64::from(page_size);
    let current = StoreState {
        revision: stand.revision,
        at: stand.at,
        bytes: stand.bytes,
        kept_bytes: 0,
        reason: None,
    };
    let history = pair.standby.history();
    let earlier = history.list(stand.revision)?.into_iter().map(|entry| StoreState {
        revision: entry.revision,
        at: entry.at,
        bytes: size(entry.pages, entry.page_size),
        kept_bytes: history.size(&entry),
        reason: entry.reason,
    });
    Ok(std::iter::once(current).chain(earlier).collect())
}

/// The state that is asked for, where it could be written to this path.
pub(super) fn find_state(pair: &PagePair, wanted: WantedState, to: &Path) -> Result<StoreState> {
    if std::fs::symlink_metadata(to).is_ok() {
        return Err(Error::new(
            ErrorKind::InvalidArgument,
            format!("{} exists.", to.display()),
            "Name a file that does not exist: nothing is overwritten.",
        )
        .at("path", to.display()));
    }
    if !to.parent().is_some_and(Path::is_dir) {
        return Err(Error::new(
            ErrorKind::FileMissing,
            format!("The folder of {} does not exist.", to.display()),
            "Create it, or name another file.",
        )
        .at("path", to.display()));
    }
    let is_it = |state: &StoreState| match wanted {
        WantedState::At(at) => state.at <= at,
        WantedState::Revision(revision) => state.revision == revision,
    };
    states(pair)?.into_iter().find(is_it).ok_or_else(|| {
        let what = match wanted {
            WantedState::At(at) => format!("The history does not reach back to {at}."),
            WantedState::Revision(revision) => format!("There is no state {revision} in the history."),
        };
        Error::new(
            ErrorKind::InvalidArgument,
            what,
            "Get-CsPoolBackupHistory lists the states that there are.",
        )
    })
}

/// Writes a state as a plain database to a place where nothing is.
pub(super) fn restore_state(
    pair: &PagePair,
    revision: u32,
    to: &Path,
    generation: Generation,
    cancel: &CancellationToken,
) -> Result<StoreState> {
    let importer = Importer::enter(pair.standby.path(), generation, cancel)?;
    let existing = settled(pair, &importer, cancel)?;
    let known = find_state(pair, WantedState::Revision(revision), to)?;
    let chain = pair.standby.history().list(existing.header.change_counter)?;
    let until = chain.iter().position(|entry| entry.revision == revision).map_or(0, |at| at + 1);
    let versions = existing.versions();
    // Whoever restores for looking owns what he gets.
    let part = with_suffix(to, ".part");
    let made = make(pair, &existing, &chain[..until], &part, Rights::PRIVATE, versions, cancel, &|_, _| {});
    let named =
        made.and_then(|_| rename_to_free_name(&part, to).map_err(|cause| Error::io("write", to, &cause)));
    if named.is_err() {
        remove(&part)?;
    }
    named.map(|()| known)
}

/// Lists what there is of ours at both places, and removes it unless this is a dry run. The copy stays, as a plain database.
pub(super) fn remove_traces(pair: &PagePair, dry_run: bool) -> Result<Vec<Trace>> {
    let (source, standby) = (pair.source.path(), pair.standby.path());
    let former = if standby.exists() { former::in_copy(standby) } else { Vec::new() };
    let folder = folder_of(standby);
    let mut traces = Vec::new();
    let store = format!("sqlite:{}", standby.display());
    let trace = |kind: &str, name: String| Trace { store: store.clone(), kind: kind.to_owned(), name };
    if folder.exists() {
        traces.push(trace("folder", name_of(&folder)));
    }
    if standby.exists() && !pair.standby.is_foreign(pair.standby.has_begun())? && pair.standby.is_fenced()? {
        traces.push(trace("fence", name_of(standby)));
    }
    if dry_run {
        traces.extend(former::traces(source, former));
        return Ok(traces);
    }
    if !former.is_empty() && source.exists() {
        traces.extend(former::remove(source)?);
    }
    if folder.exists() || !traces.is_empty() {
        let cancel = CancellationToken::new();
        let importer = Importer::enter(standby, Generation(i64::MAX), &cancel)?;
        // Whoever was killed here after the fence was lifted left a plain database, which nothing of ours says any more was a copy.
        if !pair.standby.is_foreign(importer.has_begun())?
            && let Found::Existing(existing) = pair.standby.settle(&importer, false, &cancel)?
        {
            pair.standby.lift_fence(&existing, existing.versions(), &cancel)?;
        }
        std::fs::remove_dir_all(&folder).map_err(|cause| Error::io("remove", &folder, &cause))?;
    }
    Ok(traces)
}

fn name_of(path: &Path) -> String {
    PathBuf::from(path).file_name().unwrap_or_default().to_string_lossy().into_owned()
}
