//! The folder of reports that were not asked for by name: this account's own, in the folder of temporary files.

use std::ffi::{OsStr, OsString};
use std::io::{self, Read};
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};

use uuid::Uuid;

use super::target::ReportTarget;
use crate::bound::touching;
use crate::error::{Error, Result};
use crate::platform::{Entry, EntryKind, Folder, account_number};
use crate::report::Report;

/// Keeps a report in the folder of this account, and removes the oldest ones there are too many of.
///
/// # Errors
/// `DiskFull`, `AccessDenied`, `Io`.
pub(super) fn keep(
    above: &Path,
    name: OsString,
    content: &mut dyn Read,
    kept: NonZeroU32,
) -> Result<PathBuf> {
    let failed = |cause| Error::io("make the folder of reports in", above, &cause);
    touching(above)?;
    let folder = Folder::open(above).and_then(|above| own_folder(&above)).map_err(failed)?;
    // What cannot be removed now may be the next time.
    let _ = prune(&folder, &name, kept);
    ReportTarget::seen(folder, name).map_err(failed)?.write(content)
}

/// The folder named after the account; another one that nobody could guess where somebody else has taken that name.
fn own_folder(above: &Folder) -> io::Result<Folder> {
    let name = format!("CsBackup-{}", account_number());
    if let Some(folder) = above.own(&name)? {
        return Ok(folder);
    }
    let former = |other: &OsStr| {
        let id = other.to_str().and_then(|other| other.strip_prefix(&name)?.strip_prefix('-'));
        id.is_some_and(|id| Uuid::parse_str(id).is_ok())
    };
    for other in above.names()? {
        if former(&other)
            && let Some(other) = other.to_str()
            && let Some(folder) = above.own(other)?
        {
            return Ok(folder);
        }
    }
    let unguessable = format!("{name}-{}", Uuid::new_v4());
    above.own(&unguessable)?.ok_or_else(|| io::Error::from(io::ErrorKind::AlreadyExists))
}

/// Removes the oldest reports, so that there are no more than these with the one that is coming: ordinary files of this account
/// that are called as reports are.
fn prune(folder: &Folder, coming: &OsStr, kept: NonZeroU32) -> io::Result<()> {
    let mut reports = Vec::new();
    for name in folder.names()? {
        if !is_report(&name) || name == coming {
            continue;
        }
        let is_ours = |entry: &Entry| entry.kind == EntryKind::File && entry.is_own;
        let entry = folder.look(&name)?.filter(is_ours);
        reports.extend(entry.map(|entry| (entry.modified, name)));
    }
    reports.sort_unstable_by(|one, other| other.cmp(one));
    for (_, name) in reports.iter().skip(kept.get() as usize - 1) {
        // Another process may have been faster.
        let _ = folder.remove(name);
    }
    Ok(())
}

/// What a report is called: what was done to which pool, short enough for a terminal of 80 columns, and the job's id.
pub(super) fn name(report: &Report, extension: &str) -> OsString {
    let what = report.command.trim_start_matches("Invoke-CsBackupService").trim_end_matches("-CsPool");
    let pool = report.pool_fqdn.split('.').next().unwrap_or_default();
    let plain = |c: char| if c.is_alphanumeric() || c == '-' { c } else { '_' };
    let title: String = format!("{what}-{pool}").chars().map(plain).collect();
    OsString::from(format!("{title}-{}.{extension}", report.job_id))
}

/// Whether a file is called as [`name`] calls a report.
fn is_report(name: &OsStr) -> bool {
    let path = Path::new(name);
    let is_format = path.extension().is_some_and(|extension| extension == "html" || extension == "json");
    let Some(stem) = path.file_stem().and_then(OsStr::to_str) else { return false };
    let id = stem.len().checked_sub(uuid::fmt::Hyphenated::LENGTH).and_then(|at| stem.get(at..));
    is_format && id.is_some_and(|id| Uuid::parse_str(id).is_ok())
}
