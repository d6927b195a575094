//! Symbolic links: kept as they are if they stay within the store, never followed.

use std::os::fd::OwnedFd;

use rustix::io::Errno;

use super::{ContentPath, OWN_FOLDER, Refusal};

/// Where a link in this folder leads, or why it is refused; `EINVAL` of what is no link.
pub(super) fn target(
    folder: &OwnedFd,
    folder_path: &ContentPath,
    name: &[u8],
) -> Result<Result<Box<[u8]>, Refusal>, Errno> {
    let target = rustix::fs::readlinkat(folder, name, Vec::new())?.into_bytes();
    Ok(refusal_of(folder_path, &target).map_or_else(|| Ok(target.into()), Err))
}

/// The refusal of a link that leads out of its store.
pub(in crate::store::content) fn refusal_of(folder: &ContentPath, target: &[u8]) -> Option<Refusal> {
    (!stays_inside(folder, target)).then(refusal)
}

/// Whether a link leads to something within the store, whatever the names that it goes through are: names above its
/// own folder come first and are known to be folders, and every other link that it meets stays inside as well.
fn stays_inside(folder: &ContentPath, target: &[u8]) -> bool {
    let mut depth = folder.names().count();
    let mut names = target.split(|byte| *byte == b'/').filter(|name| !matches!(*name, b"" | b".")).peekable();
    while names.next_if(|name| *name == b"..").is_some() {
        let Some(above) = depth.checked_sub(1) else { return false };
        depth = above;
    }
    let is_relative = !target.is_empty() && !target.starts_with(b"/");
    let is_own = depth == 0 && names.peek().is_some_and(|name| *name == OWN_FOLDER);
    is_relative && !is_own && names.all(|name| name != b"..")
}

fn refusal() -> Refusal {
    Refusal::new(
        "It is a symbolic link that leads out of the content store, or may: it is absolute, or goes up after it went down.",
        "Replace it by a relative link (`ln -sr`), by a copy of what it leads to, or move it out of the content store.",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_links_that_cannot_lead_out_stay_inside() {
        let path = |text: &str| ContentPath::from_bytes(text.as_bytes()).unwrap();
        for (folder, target) in [
            ("", "a"),
            ("", "./a//b/"),
            ("a", ".."),
            ("a/b", "../../c"),
            ("a", ".."),
            ("a", "../.csb2"),
            ("a", ".csb"),
        ] {
            assert!(stays_inside(&path(folder), target.as_bytes()), "{folder} {target}");
        }
        for (folder, target) in [
            ("", ""),
            ("", "/a"),
            ("", ".."),
            ("a", "../.."),
            ("a", "b/../c"),
            ("", "a/.."),
            ("", ".csb/store.json"),
            ("a", "./../.csb"),
        ] {
            assert!(!stays_inside(&path(folder), target.as_bytes()), "{folder} {target}");
        }
    }
}
