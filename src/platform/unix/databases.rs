//! Which databases this process has open by somebody else than the SQLite that this library is linked with, and the
//! rights of those that it creates.
//!
//! POSIX locks belong to the process: they keep no two libraries of one process apart, and whoever closes any descriptor of
//! a file drops every lock that the process has on it. One SQLite knows that and counts its own descriptors. Two of them on
//! one file (a host's own and ours, or those of two copies of this library) take each other's locks away, and commits
//! are lost.
//!
//! So what is *ours* must be known exactly, and it is what can be known exactly: SQLite opens and closes every file through
//! a table of system calls, which it lets its user exchange (`sqlite3_vfs.xSetSystemCall`). Ours note each descriptor. All
//! connections of this SQLite pass through them, whoever opened them: those of this library, and those of a Rust program
//! that is linked with the same one, as the tests are. They share SQLite's own count, so they are safe beside each other.
//! The exchange is made when the library is loaded, before anybody can open a database through it. What else of this library
//! opens a database's file says so ([`Ours`]). Every other descriptor of the same file is somebody else's.
#![allow(unsafe_code, reason = "SQLite's system calls are functions of C")]

use std::cell::Cell;
use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use libc::{c_char, c_int};
use once_cell::sync::OnceCell;
use rusqlite::ffi;

use super::files::FileId;
use super::rights::Rights;

/// Where Linux lists the descriptors of this process.
const DESCRIPTORS: &str = "/proc/self/fd";

/// How long a descriptor that SQLite is opening or closing in another thread is waited for.
const PATIENCE: Duration = Duration::from_secs(2);

/// How long such a descriptor is waited for before a file is put by.
const MOMENT: Duration = Duration::from_millis(20);

/// Where descriptors are not listed, no more of them are tried.
const MOST_TRIED: u64 = 1 << 16;

type Open = unsafe extern "C" fn(*const c_char, c_int, c_int) -> c_int;
type Close = unsafe extern "C" fn(c_int) -> c_int;

/// What SQLite called before.
struct Calls {
    open: Open,
    close: Close,
}

static CALLS: OnceCell<Calls> = OnceCell::new();

#[derive(Default)]
struct Registry {
    ours: BTreeSet<c_int>,
    /// Those of [`Ours`]: they have no lock that belongs to the process.
    raw: BTreeSet<c_int>,
    /// How many descriptors are being opened or closed: they may be there and not in the list.
    moving: usize,
}

static REGISTRY: Mutex<Registry> =
    Mutex::new(Registry { ours: BTreeSet::new(), raw: BTreeSet::new(), moving: 0 });

fn registry() -> MutexGuard<'static, Registry> {
    REGISTRY.lock().unwrap_or_else(PoisonError::into_inner)
}

thread_local! {
    /// What a database that this thread creates is given; none: what SQLite gives it.
    static NEW_RIGHTS: Cell<Option<Rights>> = const { Cell::new(None) };
}

/// Does what opens databases; those that it creates have these rights from their first moment on. SQLite gives them to
/// what it keeps beside a database, too.
pub fn creating_with<T>(rights: Rights, open: impl FnOnce() -> T) -> T {
    let before = NEW_RIGHTS.replace(Some(rights));
    let done = open();
    NEW_RIGHTS.set(before);
    done
}

/// Sees to it that SQLite's descriptors are known. It is done when the library is loaded; where that failed, here again.
///
/// # Errors
/// Where SQLite lets nobody see them.
pub fn watch_databases() -> io::Result<()> {
    static WATCHED: OnceCell<()> = OnceCell::new();
    WATCHED.get_or_try_init(exchange).copied()
}

fn exchange() -> io::Result<()> {
    let refused = || io::Error::other("SQLite does not let its system calls be exchanged");
    // SAFETY: the name is a string of C. SQLite returns a structure that lives as long as it, or NULL.
    let vfs = unsafe { ffi::sqlite3_vfs_find(c"unix".as_ptr()) };
    // SAFETY: not NULL, so it is that structure, which nobody moves or writes to.
    let (get, set) = match unsafe { vfs.as_ref() } {
        Some(ffi::sqlite3_vfs { xGetSystemCall: Some(get), xSetSystemCall: Some(set), .. }) => (*get, *set),
        _ => return Err(refused()),
    };
    CALLS.get_or_try_init(|| {
        // SAFETY: both names are strings of C, and the structure is the one that the function belongs to.
        let (open, close) = unsafe { (get(vfs, c"open".as_ptr()), get(vfs, c"close".as_ptr())) };
        let (Some(open), Some(close)) = (open, close) else { return Err(refused()) };
        // SAFETY: SQLite itself calls what has these names with these arguments (`osOpen`, `osClose` of its source).
        Ok(unsafe {
            Calls {
                open: std::mem::transmute::<unsafe extern "C" fn(), Open>(open),
                close: std::mem::transmute::<unsafe extern "C" fn(), Close>(close),
            }
        })
    })?;
    // SAFETY: functions of C keep their address whatever their type is said to be, and SQLite calls them by the types above.
    let (open, close) = unsafe {
        (
            std::mem::transmute::<Open, unsafe extern "C" fn()>(open_noted),
            std::mem::transmute::<Close, unsafe extern "C" fn()>(close_noted),
        )
    };
    // SAFETY: as for reading them. What is exchanged does the same as before, so a thread may still call the former one.
    let set = unsafe { set(vfs, c"close".as_ptr(), Some(close)) | set(vfs, c"open".as_ptr(), Some(open)) };
    if set == ffi::SQLITE_OK { Ok(()) } else { Err(refused()) }
}

/// Runs before anybody can call this library, or a Rust program that it is part of.
extern "C" fn when_loaded() {
    // Where it fails, whoever opens a database hears of it.
    let _ = watch_databases();
}

#[used]
#[cfg_attr(not(target_vendor = "apple"), unsafe(link_section = ".init_array"))]
#[cfg_attr(target_vendor = "apple", unsafe(link_section = "__DATA,__mod_init_func"))]
static WHEN_LOADED: extern "C" fn() = when_loaded;

unsafe extern "C" fn open_noted(path: *const c_char, flags: c_int, mode: c_int) -> c_int {
    let Some(calls) = CALLS.get() else { return -1 };
    registry().moving += 1;
    // SAFETY: the arguments are those that SQLite has for the call that stood here before.
    let opened = unsafe { open_with_rights(calls, path, flags, mode) };
    let failure = io::Error::last_os_error();
    let mut registry = registry();
    registry.moving -= 1;
    if opened >= 0 {
        registry.ours.insert(opened);
    }
    drop(registry);
    set_errno(&failure);
    opened
}

/// # Safety
/// As for `open` of C.
unsafe fn open_with_rights(calls: &Calls, path: *const c_char, flags: c_int, mode: c_int) -> c_int {
    // SAFETY: by this function's contract.
    let open = |flags, mode| unsafe { (calls.open)(path, flags, mode) };
    let Some(rights) = NEW_RIGHTS.get().filter(|_| flags & libc::O_CREAT != 0) else {
        return open(flags, mode);
    };
    let least = c_int::try_from(rights.least()).unwrap_or(0o600);
    // Whoever made it in the moment between two calls gave it rights of his own; and again, should he have removed it.
    for _ in 0..3 {
        let found = open(flags & !libc::O_CREAT, mode);
        if found >= 0 || io::Error::last_os_error().kind() != io::ErrorKind::NotFound {
            return found;
        }
        let made = open(flags | libc::O_EXCL, least);
        if made >= 0 {
            // SAFETY: it was just opened, and SQLite has not got it yet.
            let file = unsafe { BorrowedFd::borrow_raw(made) };
            // Where that fails it is left with fewer.
            let _ = rights.give(file);
            return made;
        }
        if io::Error::last_os_error().kind() != io::ErrorKind::AlreadyExists {
            return made;
        }
    }
    open(flags & !libc::O_CREAT, mode)
}

unsafe extern "C" fn close_noted(descriptor: c_int) -> c_int {
    let Some(calls) = CALLS.get() else { return -1 };
    let mut noted = registry();
    // Before it is closed: from then on the number may be anybody's.
    noted.ours.remove(&descriptor);
    noted.moving += 1;
    drop(noted);
    // SAFETY: SQLite closes what is its own.
    let done = unsafe { (calls.close)(descriptor) };
    let failure = io::Error::last_os_error();
    registry().moving -= 1;
    if let Some(act) = WHEN_CLOSED.get() {
        act();
    }
    set_errno(&failure);
    done
}

/// What SQLite looks at after a call that failed.
fn set_errno(failure: &io::Error) {
    let Some(number) = failure.raw_os_error() else { return };
    // SAFETY: both give where this thread keeps the number.
    unsafe {
        #[cfg(any(target_os = "linux", target_os = "emscripten"))]
        let place = libc::__errno_location();
        #[cfg(not(any(target_os = "linux", target_os = "emscripten")))]
        let place = libc::__error();
        *place = number;
    }
}

/// A database's file that this library has open by itself, and not by SQLite. Dropped before the file is closed.
#[derive(Debug)]
pub struct Ours {
    descriptor: c_int,
}

impl Ours {
    /// Says that this file is ours.
    pub fn note(file: &File) -> Self {
        let descriptor = file.as_raw_fd();
        let mut registry = registry();
        registry.ours.insert(descriptor);
        registry.raw.insert(descriptor);
        Ours { descriptor }
    }
}

impl Drop for Ours {
    fn drop(&mut self) {
        let mut registry = registry();
        registry.ours.remove(&self.descriptor);
        registry.raw.remove(&self.descriptor);
    }
}

/// Opens a file of a database by other means than SQLite: nobody takes it for somebody else's before it is noted.
pub(super) fn opening<T>(open: impl FnOnce() -> io::Result<(File, T)>) -> io::Result<(File, Ours, T)> {
    registry().moving += 1;
    let opened = open().map(|(file, more)| {
        let ours = Ours::note(&file);
        (file, ours, more)
    });
    registry().moving -= 1;
    opened
}

/// What is done once SQLite has closed a file: it may have been what kept another one open.
static WHEN_CLOSED: OnceCell<fn()> = OnceCell::new();

/// Has this done whenever SQLite has closed a file.
pub(super) fn when_closed(act: fn()) {
    // The first one stays, and there is one only.
    let _ = WHEN_CLOSED.set(act);
}

/// Waits a moment for descriptors that are being opened or closed just now.
pub(super) fn wait_for_quiet() {
    let started = Instant::now();
    while registry().moving > 0 && started.elapsed() < MOMENT {
        std::thread::sleep(Duration::from_micros(200));
    }
}

/// Closes a database's file that no SQLite of this process and nobody else in it has open; gives it back where somebody has, because
/// closing it would drop his locks. SQLite opens none meanwhile.
pub(super) fn close_if_alone(file: File, id: FileId) -> Option<File> {
    let mut registry = registry();
    // A descriptor that is being opened or closed may be one of this file.
    let is_others = |number: c_int| !registry.raw.contains(&number) && is(number, id);
    if registry.moving > 0 || descriptors().any(is_others) {
        return Some(file);
    }
    let own = file.as_raw_fd();
    registry.ours.remove(&own);
    registry.raw.remove(&own);
    drop(file);
    None
}

/// Whether somebody else in this process has a file open, as far as the system tells: some microseconds for every hundred
/// descriptors.
pub fn is_open_elsewhere(file: FileId) -> bool {
    let started = Instant::now();
    loop {
        let ours = registry().ours.clone();
        let others: Vec<c_int> =
            descriptors().filter(|number| !ours.contains(number) && is(*number, file)).collect();
        let now = registry();
        if !others.into_iter().any(|number| !now.ours.contains(&number) && is(number, file)) {
            return false;
        }
        // Else it may be one that SQLite has opened and not noted yet, or is about to close.
        if now.moving == 0 || started.elapsed() >= PATIENCE {
            return true;
        }
        drop(now);
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// The descriptors of this process, and perhaps numbers that are none.
fn descriptors() -> Box<dyn Iterator<Item = c_int>> {
    match std::fs::read_dir(DESCRIPTORS) {
        Ok(listed) => {
            Box::new(listed.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<c_int>().ok()))
        }
        Err(_) => {
            let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
            Box::new(0..c_int::try_from(limit.unwrap_or(MOST_TRIED).min(MOST_TRIED)).unwrap_or(c_int::MAX))
        }
    }
}

/// Whether a descriptor is of this file. Asks no server: that of a share that hangs would not answer.
#[cfg(target_os = "linux")]
fn is(descriptor: c_int, file: FileId) -> bool {
    let mut found = MaybeUninit::<libc::statx>::zeroed();
    let how = libc::AT_EMPTY_PATH | libc::AT_STATX_DONT_SYNC;
    // SAFETY: the path is a string of C, and the result has room. Any number may be asked about: one that is no descriptor, or
    // none any more, is an error.
    let done = unsafe { libc::statx(descriptor, c"".as_ptr(), how, libc::STATX_INO, found.as_mut_ptr()) };
    if done != 0 {
        return false;
    }
    // SAFETY: numbers all through, zeroed above, and filled by now.
    let found = unsafe { found.assume_init() };
    FileId { device: rustix::fs::makedev(found.stx_dev_major, found.stx_dev_minor), inode: found.stx_ino }
        == file
}

/// Whether a descriptor is of this file.
#[cfg(not(target_os = "linux"))]
#[allow(
    clippy::cast_sign_loss,
    clippy::unnecessary_cast,
    reason = "the fields' types differ between systems"
)]
fn is(descriptor: c_int, file: FileId) -> bool {
    let mut found = MaybeUninit::<libc::stat>::zeroed();
    // SAFETY: the result has room; a number that is no descriptor is an error.
    if unsafe { libc::fstat(descriptor, found.as_mut_ptr()) } != 0 {
        return false;
    }
    // SAFETY: numbers all through, zeroed above, and filled by now.
    let found = unsafe { found.assume_init() };
    FileId { device: found.st_dev as u64, inode: found.st_ino as u64 } == file
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt, PermissionsExt};
    use std::path::Path;

    use rusqlite::Connection;

    use super::*;

    fn mode(path: &Path) -> u32 {
        std::fs::metadata(path).unwrap().mode() & 0o7777
    }

    #[test]
    fn every_connection_of_this_sqlite_is_ours_and_every_other_descriptor_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("users.sqlite");
        // Opened without this library.
        let connection = Connection::open(&path).unwrap();
        connection.execute_batch("PRAGMA journal_mode = WAL; CREATE TABLE t (x)").unwrap();
        let file = FileId::of(&path).unwrap();
        assert!(!is_open_elsewhere(file));
        let other = File::open(&path).unwrap();
        assert!(is_open_elsewhere(file));
        let noted = Ours::note(&other);
        assert!(!is_open_elsewhere(file));
        drop(noted);
        assert!(is_open_elsewhere(file));
        drop(other);
        assert!(!is_open_elsewhere(file));
    }

    #[test]
    fn connections_that_come_and_go_are_never_taken_for_somebody_elses() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("users.sqlite");
        Connection::open(&path).unwrap().execute_batch("CREATE TABLE t (x)").unwrap();
        let file = FileId::of(&path).unwrap();
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| (0..300).for_each(|_| drop(Connection::open(&path).unwrap())));
            }
            for _ in 0..300 {
                assert!(!is_open_elsewhere(file));
            }
        });
    }

    #[test]
    fn a_database_and_what_is_beside_it_have_the_rights_that_were_asked_for() {
        let folder = tempfile::tempdir().unwrap();
        let source = folder.path().join("source");
        std::fs::write(&source, "").unwrap();
        for given in [0o600, 0o640, 0o666] {
            std::fs::set_permissions(&source, std::fs::Permissions::from_mode(given)).unwrap();
            let path = folder.path().join(format!("{given:o}.sqlite"));
            let opened = creating_with(Rights::of(&source).unwrap(), || Connection::open(&path));
            opened.unwrap().execute_batch("PRAGMA journal_mode = WAL; CREATE TABLE t (x)").unwrap();
            let connection = Connection::open(&path).unwrap();
            connection.execute_batch("INSERT INTO t VALUES (1)").unwrap();
            for suffix in ["", "-wal", "-shm"] {
                let file = folder.path().join(format!("{given:o}.sqlite{suffix}"));
                assert_eq!(mode(&file), given, "{}", file.display());
            }
        }
        let path = folder.path().join("other.sqlite");
        let before = mode(&source);
        Connection::open(&path).unwrap().execute_batch("CREATE TABLE t (x)").unwrap();
        assert_ne!(mode(&path), before, "nobody else's databases get them");
    }

    #[test]
    fn a_thousand_descriptors_are_looked_through_in_milliseconds() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("users.sqlite");
        std::fs::write(&path, "").unwrap();
        let others: Vec<File> = (0..1_000).map_while(|_| File::open("/dev/null").ok()).collect();
        let file = FileId::of(&path).unwrap();
        let quickest = (0..20).map(|_| {
            let started = Instant::now();
            assert!(!is_open_elsewhere(file));
            started.elapsed()
        });
        let quickest = quickest.min().unwrap();
        eprintln!("{} descriptors: {quickest:?}", others.len());
        assert!(quickest < Duration::from_millis(50), "{quickest:?}");
    }
}
