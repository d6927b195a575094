//! Small files that are replaced whole and must never be seen half-written, and long ones that grow by lines.

use std::fs::File;
use std::io::{BufWriter, Read, Seek, Write};
use std::path::{Path, PathBuf};

use uuid::Uuid;

use crate::error::{Error, ErrorKind, Result};
use crate::platform::{Rights, create_file, create_folder, sync_folder};

const SUFFIX: &str = ".tmp";

/// How much of a growing file is kept in memory.
const BUFFERED: usize = 64 << 10;

/// Replaces a file: written beside, synced, renamed, the folder synced. Only this account may read it, and the folder, which
/// is created where it is missing.
///
/// # Errors
/// `DiskFull`, `AccessDenied`, `Io`; the old file is then untouched.
pub fn replace(path: &Path, content: &[u8]) -> Result<()> {
    write(path, content, Rights::PRIVATE, true)
}

/// As [`replace`], for what may be read by whoever may read what it is a copy of.
///
/// # Errors
/// As for [`replace`].
pub fn replace_with(path: &Path, content: &[u8], rights: Rights) -> Result<()> {
    write(path, content, rights, true)
}

/// As [`replace`], without waiting for the disk: a process that dies does no harm, but a power cut in the next seconds
/// may leave the file missing or empty.
///
/// # Errors
/// As for [`replace`].
pub fn replace_for_now(path: &Path, content: &[u8]) -> Result<()> {
    write(path, content, Rights::PRIVATE, false)
}

/// A file that grows by lines, for this account alone. It is made with its first one, in a folder that is made where it is
/// missing. Nobody waits for the disk.
pub struct Lines {
    /// None for a file without a name, which goes with this value.
    path: Option<PathBuf>,
    file: Option<BufWriter<File>>,
}

impl Lines {
    /// A file that is to be made at this path.
    pub fn at(path: PathBuf) -> Self {
        Lines { path: Some(path), file: None }
    }

    /// A file that nobody sees.
    pub fn nameless() -> Self {
        Lines { path: None, file: None }
    }

    /// Adds a line, which has no end yet.
    ///
    /// # Errors
    /// `DiskFull`, `AccessDenied`, `Io`; then part of the line may be there.
    pub fn push(&mut self, line: &[u8]) -> Result<()> {
        let path = self.path.as_deref();
        let failed = |cause| Error::io("write", path.unwrap_or(&std::env::temp_dir()), &cause);
        let file = match &mut self.file {
            Some(file) => file,
            none => none.insert(BufWriter::with_capacity(BUFFERED, made(path).map_err(failed)?)),
        };
        file.write_all(line).and_then(|()| file.write_all(b"\n")).map_err(failed)
    }

    /// Lets everybody see what was added; the path, where there is something and it has a name.
    ///
    /// # Errors
    /// As for [`Lines::push`].
    pub fn flush(&mut self) -> Result<Option<&Path>> {
        let Some(file) = &mut self.file else { return Ok(None) };
        let path = self.path.as_deref();
        let failed = |cause| Error::io("write", path.unwrap_or(&std::env::temp_dir()), &cause);
        file.flush().map_err(failed)?;
        Ok(path)
    }

    /// Everything from the first line on; none where there is nothing.
    ///
    /// # Errors
    /// As for [`Lines::push`].
    pub fn read(&mut self) -> Result<Option<impl Read>> {
        self.flush()?;
        let Some(file) = &self.file else { return Ok(None) };
        let again = || {
            let mut file = file.get_ref().try_clone()?;
            file.rewind()?;
            std::io::Result::Ok(file)
        };
        again().map(Some).map_err(|cause| Error::io("read", &std::env::temp_dir(), &cause))
    }
}

fn made(path: Option<&Path>) -> std::io::Result<File> {
    let Some(path) = path else { return tempfile::tempfile() };
    create_folder(path.parent().unwrap_or(Path::new(".")))?;
    create_file(path, Rights::PRIVATE)
}

/// Removes a file; none is fine.
///
/// # Errors
/// `AccessDenied`, `Io`.
pub(crate) fn remove(path: &Path) -> Result<()> {
    match std::fs::remove_file(path) {
        Err(cause) if cause.kind() != std::io::ErrorKind::NotFound => Err(Error::io("remove", path, &cause)),
        _ => Ok(()),
    }
}

/// Refuses a place for what is restored where something is, or whose folder is missing.
///
/// # Errors
/// `InvalidArgument`, `FileMissing`.
pub(crate) fn require_free(to: &Path) -> Result<()> {
    if std::fs::symlink_metadata(to).is_ok() {
        return Err(Error::new(
            ErrorKind::InvalidArgument,
            format!("{} exists.", to.display()),
            "Name a path at which nothing is: nothing is overwritten.",
        )
        .at("path", to.display()));
    }
    if !to.parent().is_some_and(Path::is_dir) {
        return Err(Error::new(
            ErrorKind::FileMissing,
            format!("The folder of {} does not exist.", to.display()),
            "Create it, or name another path.",
        )
        .at("path", to.display()));
    }
    Ok(())
}

/// A path with something added to its last name, for files that belong to one.
pub(crate) fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

fn write(path: &Path, content: &[u8], rights: Rights, durably: bool) -> Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    create_folder(folder).map_err(|cause| Error::io("create", folder, &cause))?;
    let written = match write_beside(path, folder, content, rights, durably) {
        // Somebody swept it in the moment before it was locked.
        Err(cause) if cause.kind() == std::io::ErrorKind::NotFound => {
            write_beside(path, folder, content, rights, durably)
        }
        written => written,
    };
    written.map_err(|cause| Error::io("write", path, &cause))
}

fn write_beside(
    path: &Path,
    folder: &Path,
    content: &[u8],
    rights: Rights,
    durably: bool,
) -> std::io::Result<()> {
    let beside = with_suffix(path, &format!(".{}{SUFFIX}", Uuid::new_v4()));
    let mut file = create_file(&beside, rights)?;
    // Where there are no locks nothing is swept either.
    let _ = file.lock();
    let written = file
        .write_all(content)
        .and_then(|()| if durably { file.sync_all() } else { Ok(()) })
        .and_then(|()| std::fs::rename(&beside, path))
        .and_then(|()| if durably { sync_folder(folder) } else { Ok(()) });
    if written.is_err() {
        // Nothing can be done about a leftover that cannot be removed either.
        let _ = std::fs::remove_file(&beside);
    }
    written
}

/// Removes what killed processes left in a folder: temporary files of [`replace`] that nobody holds.
pub fn sweep(folder: &Path) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let is_ours = name
            .to_str()
            .and_then(|name| name.strip_suffix(SUFFIX)?.rsplit_once('.'))
            .is_some_and(|(_, id)| Uuid::parse_str(id).is_ok());
        // What cannot be opened, locked or removed is looked at again the next time.
        if is_ours && File::open(entry.path()).is_ok_and(|file| file.try_lock().is_ok()) {
            let _ = std::fs::remove_file(entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_leftovers_of_ours_that_nobody_holds_are_swept() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str| folder.path().join(name);
        let [dead, alive] = [Uuid::new_v4(), Uuid::new_v4()].map(|id| file(&format!("job.json.{id}.tmp")));
        for path in [&dead, &alive, &file("job.json"), &file("other.tmp")] {
            std::fs::write(path, "x").unwrap();
        }
        let held = File::open(&alive).unwrap();
        held.lock().unwrap();
        sweep(folder.path());
        assert!(!dead.exists() && alive.exists() && file("job.json").exists() && file("other.tmp").exists());
        replace(&file("job.json"), b"y").unwrap();
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 3);
    }
}
