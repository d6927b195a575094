//! What every SQLite database of this product is opened with, and how its failures become errors.

use std::cell::Cell;
use std::path::Path;
use std::time::{Duration, Instant};

use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags, Transaction, TransactionBehavior};

use crate::error::{Error, ErrorKind, Result};
use crate::platform::{
    FileId, RawFile, Right, Rights, create_folder, creating_with, may, read_whole, tighten, watch_databases,
};
use crate::store::files::with_suffix;

mod database;
mod file;
pub(in crate::store) mod format;
mod schema;

pub use database::Database;
pub use file::{OpenedFile, describe_process, lock_holders};
pub use schema::Schema;

/// What every SQLite database begins with.
pub const HEADER: &[u8; 16] = b"SQLite format 3\0";

/// What SQLite appends to a database's name for the files beside it. A super-journal, of several databases at once, has `-mj`
/// and a number: see [`is_companion`].
pub const COMPANIONS: [&str; 3] = ["-wal", "-shm", "-journal"];

/// Whether a name is that of a log or journal of a database, by their names in one folder.
pub fn is_companion(database: &[u8], name: &[u8]) -> bool {
    name.strip_prefix(database).is_some_and(|rest| match rest.strip_prefix(b"-mj") {
        Some(number) => number.iter().all(u8::is_ascii_hexdigit),
        None => COMPANIONS.iter().any(|suffix| suffix.as_bytes() == rest),
    })
}

/// SQLite 3.51.3 is the first without the race between a checkpoint and a write that loses committed pages
/// (<https://sqlite.org/wal.html#walresetbug>).
const OLDEST_SAFE_VERSION: i32 = 3_051_003;

/// How long another process may keep a database of ours from being opened.
const OWN_PATIENCE: Duration = Duration::from_secs(5);

thread_local! {
    /// Whether the statement that this thread runs must not wait, see [`begin_write`].
    static AT_ONCE: Cell<bool> = const { Cell::new(false) };
}

/// Waits for another program's lock, a millisecond at a time: SQLite's own handler waits longer and longer, and never
/// gets its turn beside a server that writes without a pause. A statement gives up after a tenth of a second, so that a
/// cancelled job answers at once; whoever can wait longer tries again.
fn wait_for_lock(attempts: i32) -> bool {
    if AT_ONCE.get() {
        return false;
    }
    std::thread::sleep(Duration::from_millis(1));
    attempts < 100
}

/// Refuses to run on a SQLite library that may lose committed pages of a live database.
///
/// # Errors
/// `UnsafeSqlite`.
pub fn assert_safe_version() -> Result<()> {
    if rusqlite::version_number() >= OLDEST_SAFE_VERSION {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::UnsafeSqlite,
        format!("SQLite {} can lose committed pages of a live database.", rusqlite::version()),
        "Build with the bundled SQLite, 3.51.3 or newer.",
    ))
}

/// How a database is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// It must exist, and is not written to.
    Read,
    /// It must exist.
    Write,
    /// It is created with these rights where it does not exist, and its folder too.
    Create(Rights),
}

/// Opens a database with the settings that this product relies on, whatever the library's defaults are: triggers
/// off (neither a fence nor a server's own trigger may fire for an importer), foreign keys off, full durability.
///
/// # Errors
/// `StoreUnavailable` and what [`sqlite_error`] makes of the cause; `StoreOpenInProcess`.
pub fn open(path: &Path, access: Access) -> Result<Database> {
    crate::bound::touching(path)?;
    let (flags, rights) = match access {
        Access::Read => (OpenFlags::SQLITE_OPEN_READ_ONLY, Rights::PRIVATE),
        Access::Write => (OpenFlags::SQLITE_OPEN_READ_WRITE, Rights::PRIVATE),
        Access::Create(rights) => {
            if let Some(folder) = path.parent() {
                create_folder(folder).map_err(|cause| Error::io("create", folder, &cause))?;
            }
            (OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE, rights)
        }
    };
    let failed = |cause| sqlite_error("open", path, &cause);
    let flags = flags | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut connection = alone(path, || creating_with(rights, || Connection::open_with_flags(path, flags)))?;
    connection.busy_handler(Some(wait_for_lock)).map_err(failed)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER, false).map_err(failed)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_FKEY, false).map_err(failed)?;
    connection.set_prepared_statement_cache_capacity(256);
    if access != Access::Read {
        connection.pragma_update(None, "synchronous", "FULL").map_err(failed)?;
    }
    Ok(connection)
}

/// Opens a database as `open` does it, where nobody else in this process has it open.
///
/// # Errors
/// As for [`open`].
pub fn alone(path: &Path, open: impl FnOnce() -> rusqlite::Result<Connection>) -> Result<Database> {
    watch_databases().map_err(|cause| Error::io("open the database", path, &cause))?;
    database::close_what_was_put_by();
    if let Ok(file) = FileId::of(path) {
        database::require_alone(path, file)?;
    }
    let connection = open().map_err(|cause| sqlite_error("open", path, &cause))?;
    Ok(Database::new(connection, path))
}

/// Refuses a database that somebody else in this process has open, before its file is opened by other means than SQLite.
///
/// # Errors
/// `StoreOpenInProcess`.
pub fn require_alone(path: &Path) -> Result<()> {
    watch_databases().map_err(|cause| Error::io("open the database", path, &cause))?;
    FileId::of(path).map_or(Ok(()), |file| database::require_alone(path, file))
}

/// Whether a database is one that this product made with this table. It is only read, and not opened with SQLite: one of somebody else's
/// is none of ours to open, lock or change the rights of.
///
/// # Errors
/// Failures of the file system.
pub(super) fn is_own_database(path: &Path, table: &str) -> Result<bool> {
    let wanted = format!("CREATE TABLE {table}");
    // What a table was made with stands in the first pages, or in the log until they are written.
    for (file, most) in [(path.to_owned(), 64 << 10), (with_suffix(path, "-wal"), 1 << 20)] {
        let opened = match RawFile::open(&file, false) {
            Err(cause) if cause.kind() == std::io::ErrorKind::NotFound => continue,
            opened => opened.map_err(|cause| Error::io("open", &file, &cause))?,
        };
        let mut begin = vec![0; most];
        let read = read_whole(&opened, &mut begin, 0).map_err(|cause| Error::io("read", &file, &cause))?;
        let begin = begin.get(..read).unwrap_or_default();
        if begin.windows(wanted.len()).any(|text| text == wanted.as_bytes()) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Takes away from a database, and from what SQLite keeps beside it, what goes beyond these rights. Where it is another
/// account's that is for that one to do.
pub fn tighten_database(path: &Path, rights: Rights) {
    for suffix in [""].into_iter().chain(COMPANIONS) {
        let _ = tighten(&with_suffix(path, suffix), rights);
    }
}

/// Opens a database of this product's own: created where it is missing, in WAL mode, so that status queries read
/// while a job writes. Only this account may read and write one that is created.
///
/// # Errors
/// As for [`open`].
pub fn open_own(path: &Path) -> Result<Database> {
    open_own_within(path, OWN_PATIENCE)
}

/// As [`open_own`], with another limit for how long it waits.
///
/// # Errors
/// As for [`open`].
pub fn open_own_within(path: &Path, patience: Duration) -> Result<Database> {
    let started = Instant::now();
    loop {
        let opened = open(path, Access::Create(Rights::PRIVATE)).and_then(|connection| {
            connection
                .pragma_update(None, "journal_mode", "WAL")
                .map_err(|cause| sqlite_error("open", path, &cause))?;
            Ok(connection)
        });
        match opened {
            // Two that make a new database WAL at the same moment would wait for each other for ever: SQLite refuses
            // one of them at once, whatever its busy handler says.
            Err(error) if error.kind == ErrorKind::StoreBusy && started.elapsed() < patience => {
                std::thread::sleep(Duration::from_micros(fastrand::u64(500..3_000)));
            }
            done => return done,
        }
    }
}

/// Begins to write to a database that a server writes to, with every lock at once or none.
///
/// Most servers begin a transaction by reading. One that has read when somebody else holds the lock on writing cannot
/// go on to write: SQLite fails it at once, whatever its busy timeout, because both would wait for ever. So this never
/// waits while it holds a lock: it gives up and tries again, and once it has begun, the server waits before it reads.
///
/// # Errors
/// SQLite's, `SQLITE_BUSY` after a tenth of a second.
pub fn begin_write(connection: &Connection) -> rusqlite::Result<Transaction<'_>> {
    let started = Instant::now();
    AT_ONCE.set(true);
    let begun = loop {
        match Transaction::new_unchecked(connection, TransactionBehavior::Exclusive) {
            Err(cause)
                if cause.sqlite_error_code() == Some(ErrorCode::DatabaseBusy)
                    && started.elapsed() < Duration::from_millis(100) =>
            {
                std::thread::sleep(Duration::from_micros(fastrand::u64(500..3_000)));
            }
            done => break done,
        }
    };
    AT_ONCE.set(false);
    begun
}

/// A failed SQLite operation, sorted by what an administrator can do about it.
pub fn sqlite_error(doing: &str, path: &Path, cause: &rusqlite::Error) -> Error {
    let code = cause.sqlite_error_code();
    if matches!(code, Some(ErrorCode::SystemIoFailure | ErrorCode::CannotOpen))
        && let Some(error) = system_error(doing, path)
    {
        return error.caused_by(cause);
    }
    if cause.sqlite_error().is_some_and(|error| error.extended_code == rusqlite::ffi::SQLITE_READONLY_DBMOVED)
    {
        return file::replaced(path).caused_by(cause);
    }
    let (kind, advice) = match code {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
            return busy(doing, path).caused_by(cause);
        }
        Some(ErrorCode::OperationInterrupted) => return Error::cancelled(),
        Some(ErrorCode::DiskFull) => {
            (ErrorKind::DiskFull, "Free space on this file system, then run the command again.")
        }
        Some(
            ErrorCode::ReadOnly | ErrorCode::PermissionDenied | ErrorCode::AuthorizationForStatementDenied,
        ) => (
            ErrorKind::AccessDenied,
            "Give the account that runs the backup service write access to this file and its folder.",
        ),
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => (
            ErrorKind::Corrupt,
            "Check the database with `PRAGMA integrity_check` and restore it from a good copy if it fails.",
        ),
        Some(ErrorCode::CannotOpen) => (
            ErrorKind::StoreUnavailable,
            "Check that the file exists, that its file system is mounted and has room for new files, and that the account that runs the backup service may read and write the file and its folder.",
        ),
        _ => (ErrorKind::Io, "See the cause; if it persists, check the device and the database."),
    };
    let error = Error::new(kind, format!("Cannot {doing} the database {}.", path.display()), advice)
        .at("path", path.display());
    if kind == ErrorKind::AccessDenied { error.of_account() } else { error }.caused_by(cause)
}

fn busy(doing: &str, path: &Path) -> Error {
    let holders = file::lock_holders(path).join(", ");
    let who = if holders.is_empty() { "another program".to_owned() } else { holders };
    Error::new(
        ErrorKind::StoreBusy,
        format!("Cannot {doing} the database {}: {who} holds a lock on it.", path.display()),
        "Wait for that program to finish, or stop it, then run the command again.",
    )
    .at("path", path.display())
}

/// What the system itself said to this thread when SQLite failed. SQLite has no codes for a quota, a full disk where a
/// file is synced or created, or a missing right to open one: all are failures of input and output to it. And where it may
/// not write a file it tries to read it, which fails in another way if there is none: so the rights are asked for.
fn system_error(doing: &str, path: &Path) -> Option<Error> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let asked = [(folder, Right::ChangeEntries), (path, Right::Change)];
    let refused = asked.into_iter().filter_map(|(path, right)| may(path, right).err());
    std::iter::once(std::io::Error::last_os_error())
        .chain(refused)
        .map(|cause| Error::io(&format!("{doing} the database"), path, &cause))
        .find(|error| matches!(error.kind, ErrorKind::DiskFull | ErrorKind::AccessDenied))
}

/// The names of the tables that lie in a database, without SQLite's own.
///
/// # Errors
/// When the schema cannot be read.
pub fn tables(connection: &Connection) -> rusqlite::Result<Vec<String>> {
    connection
        .prepare("SELECT name FROM sqlite_schema WHERE type = 'table' AND rootpage > 0 AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\'")?
        .query_map([], |row| row.get(0))?
        .collect()
}

/// An identifier, quoted for SQL.
pub fn quote(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bundled_sqlite_is_safe() {
        assert_safe_version().unwrap();
    }

    #[test]
    fn companions_are_known_by_their_names() {
        for name in ["a.db-wal", "a.db-shm", "a.db-journal", "a.db-mj0123ABCD"] {
            assert!(is_companion(b"a.db", name.as_bytes()), "{name}");
        }
        for name in ["a.db", "a.db-wale", "b.db-wal", "a.db-mjx", "a.db-notes.txt"] {
            assert!(!is_companion(b"a.db", name.as_bytes()), "{name}");
        }
    }

    #[test]
    fn quotes_are_doubled() {
        assert_eq!(quote(r#"a"b"#), r#""a""b""#);
    }

    #[test]
    fn a_server_waits_before_it_reads_and_never_fails_between_reading_and_writing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("users.sqlite");
        let server = Connection::open(&path).unwrap();
        server.busy_timeout(Duration::ZERO).unwrap();
        server.execute_batch("CREATE TABLE t (x); BEGIN; SELECT * FROM t").unwrap();
        let ours = open(&path, Access::Write).unwrap();
        assert_eq!(begin_write(&ours).unwrap_err().sqlite_error_code(), Some(ErrorCode::DatabaseBusy));
        server.execute_batch("INSERT INTO t VALUES (1); COMMIT").unwrap();
        let transaction = begin_write(&ours).unwrap();
        let read = server.execute_batch("SELECT * FROM t").unwrap_err();
        assert_eq!(read.sqlite_error_code(), Some(ErrorCode::DatabaseBusy));
        transaction.commit().unwrap();
        server.execute_batch("SELECT * FROM t").unwrap();
    }

    #[test]
    fn missing_folder_and_foreign_file_have_their_own_errors() {
        let folder = tempfile::tempdir().unwrap();
        let missing = open(&folder.path().join("none.sqlite"), Access::Read).unwrap_err();
        assert_eq!(missing.kind, ErrorKind::StoreUnavailable);
        let text = folder.path().join("text");
        std::fs::write(
            &text,
            "not a database at all, but long enough to have a header of its own......................",
        )
        .unwrap();
        let connection = open(&text, Access::Read);
        let error = match connection {
            Err(error) => error,
            Ok(connection) => sqlite_error(
                "read",
                &text,
                &connection.query_row("SELECT 1 FROM sqlite_schema", [], |_| Ok(())).unwrap_err(),
            ),
        };
        assert_eq!(error.kind, ErrorKind::Corrupt);
    }

    #[test]
    fn every_sentence_about_a_database_is_one() {
        // "Cannot {doing} the database": a verb, or words that end in a preposition.
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
        let (mut next, mut seen) = (vec![root], 0);
        while let Some(folder) = next.pop() {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    next.push(path);
                    continue;
                }
                let text = std::fs::read_to_string(&path).unwrap();
                // The place of what is done among the arguments.
                for (call, place) in [("sqlite_error(", 0), ("failure(", 0), ("patiently(", 1)] {
                    for arguments in text.split(call).skip(1) {
                        let argument = arguments.splitn(3, ',').nth(place).unwrap_or_default().trim_start();
                        let Some(literal) = argument.strip_prefix('"') else { continue };
                        let words = literal.split('"').next().unwrap();
                        seen += 1;
                        let last = words.rsplit(' ').next().unwrap();
                        let is_sentence =
                            !words.contains(' ') || ["in", "of", "to", "from", "on", "into"].contains(&last);
                        assert!(is_sentence, "{}: Cannot {words} the database", path.display());
                    }
                }
            }
        }
        assert!(seen > 25, "only {seen} were found");
    }
}
