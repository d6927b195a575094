//! What can be known of a database's file without opening it. Opening and closing it would drop the locks that this
//! process holds on it.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::error::{Error, ErrorKind, Result};
use crate::store::files::with_suffix;

/// Which file lay at a path when it was opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenedFile {
    path: PathBuf,
    place: Option<(u64, u64)>,
}

impl OpenedFile {
    /// The file that lies at a path now; asked before the database is opened.
    pub fn at(path: &Path) -> Self {
        OpenedFile { path: path.to_owned(), place: place(path) }
    }

    /// Whether the same file still lies there: what is written to one that was replaced, nobody finds again.
    ///
    /// # Errors
    /// `StoreReplaced`.
    pub fn check(&self) -> Result<()> {
        if self.place.is_some() && place(&self.path) == self.place {
            return Ok(());
        }
        Err(replaced(&self.path))
    }
}

pub(super) fn replaced(path: &Path) -> Error {
    Error::new(
        ErrorKind::StoreReplaced,
        format!("The database {} was replaced or removed while it was open.", path.display()),
        "Nothing was committed to the standby copy. Stop the server before its file is restored or moved; then run the command again, which compares both copies anew.",
    )
    .at("path", path.display())
}

/// Device and inode; none where there is nothing.
fn place(path: &Path) -> Option<(u64, u64)> {
    let metadata = std::fs::metadata(path).ok()?;
    Some((metadata.dev(), metadata.ino()))
}

/// The processes that hold a lock on a database, each once, as far as the system tells: `prosody (process 4711)`.
pub(super) fn lock_holders(path: &Path) -> Vec<String> {
    let locks = std::fs::read_to_string("/proc/locks").unwrap_or_default();
    // In WAL mode the locks are on the log's index.
    let index = with_suffix(path, "-shm");
    let places: Vec<(u64, u64)> = [path, &index].into_iter().filter_map(place).collect();
    let mut processes: Vec<u32> = locks.lines().filter_map(|line| holder(line, &places)).collect();
    processes.sort_unstable();
    processes.dedup();
    processes.into_iter().map(describe).collect()
}

/// Whose a line of `/proc/locks` is, if it is about one of these files:
/// `1: POSIX  ADVISORY  WRITE 4711 fe:00:1234 0 EOF`. Lines with an arrow are of those that wait.
fn holder(line: &str, places: &[(u64, u64)]) -> Option<u32> {
    let mut words = line.split_whitespace().skip(1).filter(|_| !line.contains("->"));
    let process = words.nth(3)?.parse().ok()?;
    let mut file = words.next()?.split(':');
    let number = |text: &str| u32::from_str_radix(text, 16).ok();
    let (major, minor) = (number(file.next()?)?, number(file.next()?)?);
    let inode: u64 = file.next()?.parse().ok()?;
    places.contains(&(rustix::fs::makedev(major, minor), inode)).then_some(process)
}

fn describe(process: u32) -> String {
    if process == std::process::id() {
        return "this process".to_owned();
    }
    match std::fs::read_to_string(format!("/proc/{process}/comm")) {
        Ok(name) => format!("{} (process {process})", name.trim()),
        Err(_) => format!("process {process}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_the_systems_locks_is_understood_and_one_who_waits_is_no_holder() {
        let places = [(rustix::fs::makedev(0xfe, 3), 1234)];
        let of = |line| holder(line, &places);
        assert_eq!(of("1: POSIX  ADVISORY  WRITE 4711 fe:03:1234 1073741824 1073742335"), Some(4711));
        assert_eq!(of("1: -> POSIX  ADVISORY  WRITE 4712 fe:03:1234 1073741824 1073742335"), None);
        assert_eq!(of("2: POSIX  ADVISORY  READ 4711 fe:04:1234 0 EOF"), None);
        assert_eq!(of("3: FLOCK"), None);
    }
}
