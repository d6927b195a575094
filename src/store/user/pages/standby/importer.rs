//! Who may write to a copy: one at a time, and nobody of an older generation.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::super::end::Order;
use crate::error::{Error, ErrorKind, Result};
use crate::platform::{
    FileId, RangeLock, Rights, create_file, create_folder, lock_range, sync_folder, write_all_at,
};
use crate::store::Generation;
use crate::store::files::with_suffix;

/// How long another importer is waited for.
const PATIENCE: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(5);
/// The part of the file that is locked; what it holds can be read meanwhile.
const LOCKED: std::ops::Range<u64> = 1 << 20..(1 << 20) + 1;

/// The folder of what is remembered beside a copy.
pub(super) fn folder_of(standby: &Path) -> PathBuf {
    with_suffix(standby, ".csb")
}

/// What the file of the lock holds. It outlives the copy and what is remembered of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Noted {
    generation: i64,
    /// The job that had this generation.
    job: Option<Uuid>,
    /// Whether a copy of ours was ever begun here.
    pub(super) began: bool,
    /// Whether servers write to it since: it is no copy any more, until somebody fences it.
    pub(super) promoted: bool,
}

/// The right to write to a copy, until it is dropped.
#[derive(Debug)]
pub(super) struct Importer {
    file: File,
    path: PathBuf,
    standby: PathBuf,
    noted: Noted,
    owner: Owner,
}

/// Who writes to a copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Owner {
    pub(super) generation: Generation,
    /// None where nobody gave it one.
    pub(super) job: Option<Uuid>,
}

impl Owner {
    /// Whoever gives this order.
    pub(super) fn of(order: &Order) -> Self {
        Owner { generation: order.generation, job: order.job.map(|made_by| made_by.job) }
    }

    /// Whether somebody was here who has taken over from this owner. Generations are given out by the database of leases; two of these may
    /// give out the same number.
    fn is_overtaken_by(&self, noted: &Noted) -> bool {
        let is_another = self.job.is_some() && noted.job.is_some() && self.job != noted.job;
        noted.generation > self.generation.0 || noted.generation == self.generation.0 && is_another
    }
}

impl Importer {
    /// Takes it.
    ///
    /// # Errors
    /// `Fenced` where a newer owner was here, or another one of the same generation; `StoreBusy` where another importer goes on for too long; `Cancelled`; failures of the
    /// file system.
    pub(super) fn enter(standby: &Path, owner: Owner, cancel: &CancellationToken) -> Result<Self> {
        let folder = folder_of(standby);
        create_folder(&folder).map_err(|cause| Error::io("create", &folder, &cause))?;
        let path = folder.join("lock");
        let failed = |cause: io::Error| Error::io("lock", &path, &cause);
        let started = Instant::now();
        loop {
            let file = open(&path).map_err(failed)?;
            match take(&file, &path).map_err(failed)? {
                Taken::Ours => {
                    let noted = read(&file).map_err(failed)?;
                    if owner.is_overtaken_by(&noted) {
                        return Err(overtaken(standby));
                    }
                    return Ok(Importer { file, path, standby: standby.to_owned(), noted, owner });
                }
                Taken::Removed => continue,
                Taken::BySomebodyElse => {}
            }
            if cancel.is_cancelled() {
                return Err(Error::cancelled());
            }
            if started.elapsed() >= PATIENCE {
                return Err(busy(standby));
            }
            std::thread::sleep(PAUSE);
        }
    }

    /// Notes the generation, durably before anything is written to the copy.
    ///
    /// # Errors
    /// Failures of the file system.
    pub(super) fn begin(&mut self) -> Result<()> {
        let is_first = !self.noted.began;
        self.note(Noted { began: true, promoted: false, ..self.noted })?;
        let failed = |cause: io::Error| Error::io("write", &self.path, &cause);
        self.file.sync_data().map_err(failed)?;
        // What was just made has its name on the device only then: the file, and its folder.
        let mut folders = self.path.ancestors().skip(1).take(if is_first { 2 } else { 0 });
        folders.try_for_each(sync_folder).map_err(failed)
    }

    /// Refuses to go on where somebody has taken over: whoever removed the lock's file let him in.
    ///
    /// # Errors
    /// `Fenced`.
    pub(super) fn require(&self) -> Result<()> {
        let now = File::open(&self.path).and_then(|file| read(&file)).unwrap_or_default();
        if self.owner.is_overtaken_by(&now) { Err(overtaken(&self.standby)) } else { Ok(()) }
    }

    /// Whether servers write to the copy.
    pub(super) fn is_promoted(&self) -> bool {
        self.noted.promoted
    }

    /// Notes durably that servers write to the copy from now on.
    ///
    /// # Errors
    /// Failures of the file system.
    pub(super) fn promote(&mut self) -> Result<()> {
        self.note(Noted { began: true, promoted: true, ..self.noted })?;
        self.file.sync_data().map_err(|cause| Error::io("write", &self.path, &cause))
    }

    /// Notes the generation of a run that has nothing to write.
    ///
    /// # Errors
    /// Failures of the file system.
    pub(super) fn pass(&mut self) -> Result<()> {
        self.note(self.noted)
    }

    fn note(&mut self, noted: Noted) -> Result<()> {
        let noted = Noted { generation: self.owner.generation.0, job: self.owner.job, ..noted };
        if noted == self.noted {
            return Ok(());
        }
        let failed = |cause: io::Error| Error::io("write", &self.path, &cause);
        let text = serde_json::to_string(&noted).map_err(|cause| failed(cause.into()))?;
        // As long as every other one, so that no part of an older one is left.
        write_all_at(&self.file, format!("{text:<158}\n").as_bytes(), 0).map_err(failed)?;
        self.noted = noted;
        Ok(())
    }
}

/// What is noted of a copy; looked at without the lock.
pub(super) fn noted(standby: &Path) -> Noted {
    File::open(folder_of(standby).join("lock")).and_then(|file| read(&file)).unwrap_or_default()
}

/// What became of a try to take the lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Taken {
    Ours,
    BySomebodyElse,
    /// Whoever removed the copy removed this file too: it locks nobody out any more.
    Removed,
}

fn take(file: &File, path: &Path) -> io::Result<Taken> {
    if !lock_range(file, RangeLock::Exclusive, LOCKED)? {
        return Ok(Taken::BySomebodyElse);
    }
    let is_still_there = FileId::of(path).ok() == Some(FileId::from(&file.metadata()?));
    Ok(if is_still_there { Taken::Ours } else { Taken::Removed })
}

fn open(path: &Path) -> io::Result<File> {
    match File::options().read(true).write(true).open(path) {
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => match create_file(path, Rights::PRIVATE) {
            Err(cause) if cause.kind() == io::ErrorKind::AlreadyExists => {
                File::options().read(true).write(true).open(path)
            }
            made => made,
        },
        opened => opened,
    }
}

fn read(mut file: &File) -> io::Result<Noted> {
    let mut text = String::new();
    file.read_to_string(&mut text)?;
    // One that was not written whole is as good as none: the generation grows with every job.
    Ok(serde_json::from_str(text.trim()).unwrap_or_default())
}

fn overtaken(standby: &Path) -> Error {
    Error::new(
        ErrorKind::Fenced,
        format!("Another process has taken over writing to {}.", standby.display()),
        "Nothing is lost: that process goes on. Look at it with Get-CsBackupJob.",
    )
    .at("path", standby.display())
}

fn busy(standby: &Path) -> Error {
    Error::new(
        ErrorKind::StoreBusy,
        format!("Another process is writing to {}.", standby.display()),
        "Wait until its job has ended; Get-CsBackupJob shows it. Then run the command again.",
    )
    .at("path", standby.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owner(generation: i64) -> Owner {
        Owner { generation: Generation(generation), job: None }
    }

    #[test]
    fn of_two_jobs_with_one_number_the_first_one_writes() {
        let folder = tempfile::tempdir().unwrap();
        let standby = folder.path().join("standby.sqlite");
        let cancel = CancellationToken::new();
        let enter = |job, generation| {
            let owner = Owner { generation: Generation(generation), job: Some(job) };
            Importer::enter(&standby, owner, &cancel)
        };
        let [one, other] = [Uuid::new_v4(), Uuid::new_v4()];
        enter(one, 7).unwrap().begin().unwrap();
        assert_eq!(enter(other, 7).unwrap_err().kind, ErrorKind::Fenced);
        // It may come again, and the other one has its turn with a number of its own.
        enter(one, 7).unwrap().pass().unwrap();
        enter(other, 8).unwrap().pass().unwrap();
        assert_eq!(enter(one, 7).unwrap_err().kind, ErrorKind::Fenced);
    }

    #[test]
    fn there_is_one_importer_and_none_of_an_older_generation() {
        let folder = tempfile::tempdir().unwrap();
        let standby = folder.path().join("standby.sqlite");
        let cancel = CancellationToken::new();
        let enter = |generation| Importer::enter(&standby, owner(generation), &cancel);
        let mut first = enter(7).unwrap();
        assert!(!noted(&standby).began);
        first.begin().unwrap();
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| enter(8).map(|_second| noted(&standby).began));
            std::thread::sleep(Duration::from_millis(30));
            assert!(!waiting.is_finished());
            drop(first);
            assert!(waiting.join().unwrap().unwrap());
        });
        // A run that had nothing to write counts too.
        enter(9).unwrap().pass().unwrap();
        assert_eq!(enter(8).unwrap_err().kind, ErrorKind::Fenced);
        enter(9).unwrap();
        assert!(noted(&standby).began);
    }

    #[test]
    fn a_lock_on_a_file_that_lost_its_name_is_none() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        let opened = open(&path).unwrap();
        assert_eq!(take(&opened, &path).unwrap(), Taken::Ours);
        // Somebody opened it, and whoever held it removed it.
        std::fs::remove_file(&path).unwrap();
        assert_eq!(take(&opened, &path).unwrap(), Taken::Removed);
        let again = open(&path).unwrap();
        assert_eq!(take(&again, &path).unwrap(), Taken::Ours);
        assert_eq!(take(&opened, &path).unwrap(), Taken::Removed);
        assert_eq!(take(&open(&path).unwrap(), &path).unwrap(), Taken::BySomebodyElse);
    }

    #[test]
    fn whoever_waited_for_a_lock_whose_file_was_removed_takes_the_new_one() {
        let folder = tempfile::tempdir().unwrap();
        let standby = folder.path().join("standby.sqlite");
        let cancel = CancellationToken::new();
        let first = Importer::enter(&standby, owner(1), &cancel).unwrap();
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| Importer::enter(&standby, owner(2), &cancel).unwrap());
            std::thread::sleep(Duration::from_millis(30));
            std::fs::remove_file(folder_of(&standby).join("lock")).unwrap();
            drop(first);
            let second = waiting.join().unwrap();
            assert!(folder_of(&standby).join("lock").exists());
            let third = open(&folder_of(&standby).join("lock")).unwrap();
            assert!(!lock_range(&third, RangeLock::Exclusive, LOCKED).unwrap(), "it is held");
            drop(second);
        });
    }
}
