//! Files of new databases: where one grows until it is complete, and how it gets to its place in one step.

use std::path::{Path, PathBuf};

use rusqlite::{Connection, OpenFlags, Transaction, TransactionBehavior};

use super::source::patiently;
use super::{capture, standby};
use crate::error::{Error, Result};
use crate::store::Generation;
use crate::store::sqlite::sqlite_error;
use crate::store::user::Work;

/// What new copies are called until they are complete, before the generation of whoever makes them: an owner that was
/// fenced and does not know it yet must not find another one's half-made copy under its own copy's name.
const FRESH: &str = ".csb-new-";

/// Where a new copy grows until it is complete. What owners before this one left unfinished is removed.
pub(super) fn begin_fresh(place: &Path, generation: Generation) -> Result<PathBuf> {
    let folder = place.parent().unwrap_or(Path::new("."));
    let prefix = with_suffix(Path::new(place.file_name().unwrap_or_default()), FRESH);
    let entries = match std::fs::read_dir(folder) {
        Err(cause) if cause.kind() == std::io::ErrorKind::NotFound => None,
        entries => Some(entries.map_err(|cause| Error::io("list", folder, &cause))?),
    };
    for entry in entries.into_iter().flatten().flatten() {
        let name = entry.file_name();
        let number = name.to_str().zip(prefix.to_str()).and_then(|(name, prefix)| {
            let rest = name.strip_prefix(prefix)?;
            rest.split('-').next()?.parse::<i64>().ok()
        });
        if number.is_some_and(|number| number <= generation.0) {
            remove_file(&entry.path())?;
        }
    }
    Ok(with_suffix(place, &format!("{FRESH}{}", generation.0)))
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

fn remove_file(file: &Path) -> Result<()> {
    match std::fs::remove_file(file) {
        Err(cause) if cause.kind() != std::io::ErrorKind::NotFound => Err(Error::io("remove", file, &cause)),
        _ => Ok(()),
    }
}

/// Puts a complete database at its place, durably; what lay there is kept under the name that is returned. While the
/// place is swapped, the old database is locked, so that no other owner writes to it unnoticed.
pub(super) fn publish(fresh: &Path, place: &Path, work: &Work<'_>) -> Result<Option<PathBuf>> {
    sync_file(fresh)?;
    let mut aside = None;
    if place.exists() {
        let old = Connection::open_with_flags(place, OpenFlags::SQLITE_OPEN_READ_WRITE)
            .map_err(|cause| sqlite_error("open", place, &cause))?;
        let lock = patiently(place, "lock", work, || {
            Transaction::new_unchecked(&old, TransactionBehavior::Exclusive)
        })?;
        if capture::has_table(&lock, "csb_standby").map_err(|cause| sqlite_error("read", place, &cause))? {
            standby::check_generation(&lock, place, work.generation)?;
        }
        let kept = with_suffix(place, &format!(".superseded-{}", work.now.as_millisecond()));
        std::fs::rename(place, &kept).map_err(|cause| Error::io("set aside", place, &cause))?;
        std::fs::rename(fresh, place).map_err(|cause| Error::io("publish", place, &cause))?;
        aside = Some(kept);
    } else {
        std::fs::rename(fresh, place).map_err(|cause| Error::io("publish", place, &cause))?;
    }
    if let Some(folder) = place.parent() {
        sync_file(folder)?;
    }
    Ok(aside)
}

fn sync_file(path: &Path) -> Result<()> {
    std::fs::File::open(path)
        .and_then(|file| file.sync_all())
        .map_err(|cause| Error::io("sync", path, &cause))
}
