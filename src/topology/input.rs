//! Files whose path comes from outside: whoever names one may be wrong in any way.

use std::io::{ErrorKind as Io, Read};
use std::path::{Path, PathBuf};

use crate::error::{Error, ErrorKind, Result};
use crate::platform::{FileId, is_open_in_process, open_regular};

/// No document that people write is nearly as long.
const LONGEST: u64 = 16 << 20;

/// A path as the system takes it, from the field of a request that it stood in.
///
/// # Errors
/// `InvalidArgument` for an empty one.
pub(crate) fn absolute(field: &str, path: &Path) -> Result<PathBuf> {
    if path.as_os_str().is_empty() {
        let error =
            Error::new(ErrorKind::InvalidArgument, format!("{field} is an empty path."), "Name a path.");
        return Err(error.at("field", field));
    }
    std::path::absolute(path).map_err(|cause| Error::io("find", path, &cause))
}

/// The text of a file that must exist.
///
/// # Errors
/// `FileMissing`; `InvalidArgument` for what is no ordinary file or too long for what it should be; what reading reports.
pub(crate) fn read_text(file: &Path, what: &str) -> Result<String> {
    let bytes = read_bytes(file, what).map_err(|cause| match cause {
        Unread::Refused(error) => error,
        Unread::Failed(cause) if cause.kind() == Io::NotFound => Error::new(
            ErrorKind::FileMissing,
            format!("The {what} {} does not exist.", file.display()),
            "Check the path; New-CsSampleDeployment creates a complete example.",
        )
        .at("file", file.display()),
        Unread::Failed(cause) => Error::io("read", file, &cause),
    })?;
    String::from_utf8(bytes).map_err(|cause| {
        Error::new(
            ErrorKind::SyntaxError,
            format!("The {what} {} is not UTF-8.", file.display()),
            "Name another file, or convert it.",
        )
        .at("file", file.display())
        .caused_by(&cause.utf8_error())
    })
}

/// Why a file was not read.
pub(crate) enum Unread {
    /// It is nothing to be read.
    Refused(Error),
    /// The system says so.
    Failed(std::io::Error),
}

/// The content of an ordinary file. Never waits for a writer, as opening a pipe would.
pub(crate) fn read_bytes(path: &Path, what: &str) -> Result<Vec<u8>, Unread> {
    let refused = |objection: &str| {
        let error = Error::new(
            ErrorKind::InvalidArgument,
            format!("The {what} {} cannot be read: {objection}.", path.display()),
            "Name the file that was meant.",
        );
        Unread::Refused(error.at("file", path.display()))
    };
    // Opening and closing it would drop the locks that an SQLite library of this process holds on it.
    if is_open_in_process(FileId::of(path).map_err(Unread::Failed)?) {
        return Err(refused("this process has it open"));
    }
    let file = open_regular(path).map_err(|cause| match cause.kind() {
        Io::IsADirectory | Io::InvalidInput => refused("it is no ordinary file"),
        // Nobody listens at a socket's path by opening it.
        _ if std::fs::metadata(path).is_ok_and(|seen| !seen.is_file()) => refused("it is no ordinary file"),
        _ => Unread::Failed(cause),
    })?;
    let mut bytes = Vec::new();
    file.take(LONGEST + 1).read_to_end(&mut bytes).map_err(Unread::Failed)?;
    if bytes.len() as u64 > LONGEST {
        return Err(refused(&format!("it is longer than {} MiB", LONGEST >> 20)));
    }
    Ok(bytes)
}
