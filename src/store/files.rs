//! Small files that are replaced whole and must never be seen half-written.

use std::fs::File;
use std::io::Write;
use std::path::Path;

use crate::error::{Error, Result};

/// Replaces a file: written beside, synced, renamed, the folder synced. The folder is created where it is missing.
///
/// # Errors
/// `DiskFull`, `AccessDenied`, `Io`; the old file is then untouched.
pub fn replace(path: &Path, content: &[u8]) -> Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder).map_err(|cause| Error::io("create", folder, &cause))?;
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{}.tmp", uuid::Uuid::new_v4()));
    let beside = std::path::PathBuf::from(name);
    let written = File::create_new(&beside)
        .and_then(|mut file| file.write_all(content).and_then(|()| file.sync_all()))
        .and_then(|()| std::fs::rename(&beside, path))
        .and_then(|()| File::open(folder)?.sync_all());
    written.map_err(|cause| {
        // Nothing can be done about a leftover that cannot be removed either.
        let _ = std::fs::remove_file(&beside);
        Error::io("write", path, &cause)
    })
}
