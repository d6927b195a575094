//! Files of new databases: where one grows until it is complete, and how it gets to its place in one step.

use std::path::{Path, PathBuf};

use rusqlite::{Connection, OpenFlags, Transaction, TransactionBehavior};

use super::source::patiently;
use super::{capture, standby};
use crate::error::{Error, ErrorKind, Result};
use crate::platform::{Rights, sync_folder};
use crate::store::Generation;
use crate::store::files::with_suffix;
use crate::store::sqlite::{alone, sqlite_error};
use crate::store::user::Work;

/// What new copies are called until they are complete, before the generation of whoever makes them: an owner that was
/// fenced and does not know it yet must not find another one's half-made copy under its own copy's name.
const FRESH: &str = ".csb-new-";

/// Where a new copy grows until it is complete. What owners before this one left unfinished is removed.
///
/// # Errors
/// `Fenced` where a newer owner has begun a copy of its own.
pub(super) fn begin_fresh(place: &Path, generation: Generation) -> Result<PathBuf> {
    for (_, unfinished) in unfinished(place, generation)? {
        remove_file(&unfinished)?;
    }
    Ok(fresh_path(place, generation))
}

/// The name of an owner's new copy.
pub(super) fn fresh_path(place: &Path, generation: Generation) -> PathBuf {
    with_suffix(place, &format!("{FRESH}{}", generation.0))
}

/// What this owner and those before it left unfinished, with their journals, the newest first.
///
/// # Errors
/// `Fenced` where a newer owner has begun a copy of its own.
pub(super) fn unfinished(place: &Path, generation: Generation) -> Result<Vec<(Generation, PathBuf)>> {
    let found = all_unfinished(place)?;
    match found.first() {
        Some((newest, path)) if *newest > generation => Err(Error::new(
            ErrorKind::Fenced,
            format!("A newer owner makes a new copy of its own, {}.", path.display()),
            "Nothing is lost: that owner goes on. Look at it with Get-CsBackupJob; if there is none, remove that file.",
        )
        .at("path", path.display())),
        _ => Ok(found),
    }
}

/// Every unfinished copy for a place, whoever makes it, with its journal, the newest first.
///
/// # Errors
/// When the folder cannot be listed.
pub(super) fn all_unfinished(place: &Path) -> Result<Vec<(Generation, PathBuf)>> {
    let folder = place.parent().unwrap_or(Path::new("."));
    let prefix = with_suffix(Path::new(place.file_name().unwrap_or_default()), FRESH);
    let entries = match std::fs::read_dir(folder) {
        Err(cause) if cause.kind() == std::io::ErrorKind::NotFound => None,
        entries => Some(entries.map_err(|cause| Error::io("list", folder, &cause))?),
    };
    let mut found: Vec<(Generation, PathBuf)> = entries
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| {
            let name = entry.file_name();
            let rest = name.to_str()?.strip_prefix(prefix.to_str()?)?;
            Some((Generation(rest.split('-').next()?.parse().ok()?), entry.path()))
        })
        .collect();
    found.sort_by(|(one, path), (other, other_path)| other.cmp(one).then_with(|| path.cmp(other_path)));
    Ok(found)
}

/// What a copy of a database gets at most: the rights of what it is a copy of.
///
/// # Errors
/// When that cannot be looked at.
pub(super) fn rights_of(original: &Path) -> Result<Rights> {
    Rights::of(original).map_err(|cause| Error::io("look at", original, &cause))
}

/// Removes a file, if it is there.
pub(super) fn remove_file(file: &Path) -> Result<()> {
    match std::fs::remove_file(file) {
        Err(cause) if cause.kind() != std::io::ErrorKind::NotFound => Err(Error::io("remove", file, &cause)),
        _ => Ok(()),
    }
}

/// Puts a complete database at its place, durably; what lay there is kept under the name that is returned. While the
/// place is swapped, the old database is locked, so that no other owner writes to it unnoticed.
pub(super) fn publish(fresh: &Path, place: &Path, work: &Work<'_>) -> Result<Option<PathBuf>> {
    let unfinished = unfinished(place, work.generation)?;
    if !fresh.exists() {
        return Err(taken_over(place));
    }
    sync_file(fresh)?;
    // SQLite does not say when it cannot remove a file of its own beside a database.
    for (_, beside) in unfinished.iter().filter(|(_, path)| path != fresh) {
        remove_file(beside)?;
    }
    let mut aside = None;
    let kept = with_suffix(place, &format!(".superseded-{}", work.now.as_millisecond()));
    if place.exists() {
        let old = alone(place, || Connection::open_with_flags(place, OpenFlags::SQLITE_OPEN_READ_WRITE))?;
        let lock = patiently(place, "lock", work, || {
            Transaction::new_unchecked(&old, TransactionBehavior::Exclusive)
        });
        match lock.as_ref().map_err(Error::clone).and_then(|lock| check_owner(lock, place, work)) {
            // Nobody can write to what is damaged, nor say who wrote to it last.
            Err(error) if error.kind == ErrorKind::Corrupt => {}
            checked => checked?,
        }
        std::fs::rename(place, &kept).map_err(|cause| Error::io("set aside", place, &cause))?;
        set_logs_aside(place, &kept)?;
        if let Err(error) = rename_fresh(fresh, place) {
            std::fs::rename(&kept, place).map_err(|cause| Error::io("put back", place, &cause))?;
            return Err(error);
        }
        aside = Some(kept);
    } else {
        set_logs_aside(place, &kept)?;
        rename_fresh(fresh, place)?;
    }
    if let Some(folder) = place.parent() {
        sync_folder(folder).map_err(|cause| Error::io("sync", folder, &cause))?;
    }
    Ok(aside)
}

fn rename_fresh(fresh: &Path, place: &Path) -> Result<()> {
    std::fs::rename(fresh, place).map_err(|cause| match cause.kind() {
        std::io::ErrorKind::NotFound => taken_over(place),
        _ => Error::io("publish", place, &cause),
    })
}

/// What an owner is told whose new copy is gone.
pub(super) fn taken_over(place: &Path) -> Error {
    Error::new(
        ErrorKind::Fenced,
        format!("A newer owner has taken over the new copy for {}.", place.display()),
        "Nothing is lost: that owner goes on. Look at it with Get-CsBackupJob.",
    )
    .at("path", place.display())
}

fn check_owner(old: &Connection, place: &Path, work: &Work<'_>) -> Result<()> {
    if capture::has_table(old, "csb_standby").map_err(|cause| sqlite_error("read", place, &cause))? {
        standby::check_generation(old, place, work.generation)?;
    }
    Ok(())
}

/// What lies beside a place and belongs to the database that lay there: SQLite would apply it to the new one.
fn set_logs_aside(place: &Path, kept: &Path) -> Result<()> {
    for suffix in ["-wal", "-journal"] {
        let log = with_suffix(place, suffix);
        match std::fs::rename(&log, with_suffix(kept, suffix)) {
            Err(cause) if cause.kind() != std::io::ErrorKind::NotFound => {
                return Err(Error::io("set aside", &log, &cause));
            }
            _ => {}
        }
    }
    remove_file(&with_suffix(place, "-shm"))
}

fn sync_file(path: &Path) -> Result<()> {
    std::fs::File::open(path)
        .and_then(|file| file.sync_all())
        .map_err(|cause| Error::io("sync", path, &cause))
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::super::testing::with_work;
    use super::*;
    use crate::store::user::Cursor;

    /// Tries to publish the first owner's new copy at a place that was prepared; the place, and where what lay there goes.
    fn published(
        prepare: impl FnOnce(&Path, &Path),
    ) -> (tempfile::TempDir, PathBuf, PathBuf, Result<Option<PathBuf>>) {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().join("standby.sqlite");
        let mut aside = PathBuf::new();
        let mut done = Ok(None);
        with_work(|work| {
            aside = with_suffix(&place, &format!(".superseded-{}", work.now.as_millisecond()));
            let fresh = fresh_path(&place, work.generation);
            std::fs::write(&fresh, "new").unwrap();
            prepare(&place, &aside);
            done = publish(&fresh, &place, work);
        });
        (folder, place, aside, done)
    }

    #[test]
    fn an_older_owner_does_not_put_its_copy_in_the_place_of_a_newer_ones() {
        let (_folder, place, _, done) = published(|place, _| {
            let newer = Connection::open(place).unwrap();
            standby::create(&newer).unwrap();
            let cursor = Cursor { store_id: Uuid::new_v4(), position: 7, token: Uuid::new_v4() };
            standby::set_cursor(&newer, &cursor, Generation(2)).unwrap();
        });
        assert_eq!(done.unwrap_err().kind, ErrorKind::Fenced);
        assert!(
            standby::cursor(&Connection::open(place).unwrap()).unwrap().is_some_and(|at| at.position == 7)
        );
    }

    #[test]
    fn logs_of_a_database_that_is_gone_do_not_become_those_of_the_new_one() {
        let (_folder, place, aside, done) = published(|place, _| {
            for suffix in ["-wal", "-journal", "-shm"] {
                std::fs::write(with_suffix(place, suffix), suffix).unwrap();
            }
        });
        assert_eq!(done.unwrap(), None);
        assert_eq!(std::fs::read(&place).unwrap(), b"new");
        for suffix in ["-wal", "-journal", "-shm"] {
            assert!(!with_suffix(&place, suffix).exists(), "{suffix} is still there");
        }
        assert_eq!(std::fs::read(with_suffix(&aside, "-wal")).unwrap(), b"-wal");
        assert_eq!(std::fs::read(with_suffix(&aside, "-journal")).unwrap(), b"-journal");
    }

    #[test]
    fn nothing_is_published_beside_a_log_that_cannot_be_set_aside() {
        let (_folder, place, _, done) = published(|place, aside| {
            std::fs::write(with_suffix(place, "-wal"), "log").unwrap();
            std::fs::create_dir(with_suffix(aside, "-wal")).unwrap();
        });
        assert_eq!(done.unwrap_err().kind, ErrorKind::Io);
        assert!(!place.exists());
    }

    #[test]
    fn a_new_copy_that_somebody_took_away_belongs_to_a_newer_owner() {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().join("standby.sqlite");
        assert_eq!(
            rename_fresh(&fresh_path(&place, Generation(1)), &place).unwrap_err().kind,
            ErrorKind::Fenced
        );
    }

    #[test]
    fn a_folder_that_is_not_there_holds_nothing_and_one_that_cannot_be_listed_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        std::fs::write(&file, "").unwrap();
        assert_eq!(all_unfinished(&folder.path().join("gone/standby.sqlite")).unwrap(), []);
        let error = all_unfinished(&file.join("standby.sqlite")).unwrap_err();
        assert_eq!(error.kind, ErrorKind::StoreUnavailable);
    }

    #[test]
    fn what_cannot_be_removed_or_synced_is_named_and_what_is_gone_needs_no_removing() {
        let folder = tempfile::tempdir().unwrap();
        let gone = folder.path().join("gone");
        remove_file(&gone).unwrap();
        assert_eq!(remove_file(folder.path()).unwrap_err().kind, ErrorKind::Io);
        assert!(sync_file(&gone).is_err());
    }
}
