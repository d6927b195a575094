//! Where a path leads, and what file systems make of names.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::files::FileId;

/// What lies at a path, a link taken for itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathStat {
    /// Which file it is.
    pub id: FileId,
    /// Where a link leads, as it says itself; none for what is no link.
    pub leads_to: Option<PathBuf>,
}

impl PathStat {
    /// What lies there; none where nothing can be seen.
    pub fn at(path: &Path) -> Option<Self> {
        let metadata = path.symlink_metadata().ok()?;
        let leads_to = if metadata.is_symlink() { Some(std::fs::read_link(path).ok()?) } else { None };
        Some(PathStat { id: FileId::from(&metadata), leads_to })
    }
}

/// How many names of a folder are tried to find out whether it folds case.
const TRIED_NAMES: usize = 64;

/// File systems that fold case whatever they are asked: FAT, exFAT, NTFS, SMB (two versions).
const FOLDING: [u32; 6] = [0x4d44, 0x2011_BAB0, 0x5346_544e, 0x7366_746e, 0xFF53_4D42, 0xFE53_4D42];

/// Whether names in this folder are the same in capital and in small letters.
pub fn folds_case(folder: &Path) -> bool {
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::unnecessary_cast)]
    let kind = rustix::fs::statfs(folder).map(|found| found.f_type as u32);
    if kind.is_ok_and(|kind| FOLDING.contains(&kind)) {
        return true;
    }
    // Some fold case in some folders only, or say nothing of what they are: so a name is looked for in other letters,
    // in the folder itself, and where it has none, among those it stands with.
    tells(folder, folder).or_else(|| tells(folder.parent()?, folder)).unwrap_or(false)
}

/// Whether a folder is found to fold case, by the names in it; none where no name tells.
fn tells(folder: &Path, of: &Path) -> Option<bool> {
    let same_device = |path: &Path| path.symlink_metadata().map(|found| found.dev()).ok();
    if same_device(folder) != same_device(of) {
        return None;
    }
    let names: Vec<String> = std::fs::read_dir(folder)
        .ok()?
        .take(TRIED_NAMES)
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .collect();
    names.iter().find_map(|name| {
        let other: String = name
            .chars()
            .map(|c| if c.is_ascii_lowercase() { c.to_ascii_uppercase() } else { c.to_ascii_lowercase() })
            .collect();
        if other == *name || names.contains(&other) {
            return None;
        }
        let id =
            |name: &str| folder.join(name).symlink_metadata().map(|found| (found.dev(), found.ino())).ok();
        let found = id(name)?;
        Some(id(&other) == Some(found))
    })
}

/// What is mounted where, as it was when it was asked for.
#[derive(Clone, Debug)]
pub struct Mounts(Vec<Mount>);

impl Mounts {
    /// As it is now; where the system does not tell, nothing is known to be mounted.
    pub fn now() -> Self {
        let listed = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        Mounts(listed.lines().filter_map(Mount::parse).collect())
    }

    /// The folders above the other paths at which something is seen because its file system, or a part of it, is mounted
    /// more than once; the folders of one mount each, the nearest first.
    pub fn also_seen_at(&self, path: &Path) -> Vec<Vec<FileId>> {
        // The last one is what is seen where several are mounted on one folder.
        let own = self.0.iter().filter(|mount| path.starts_with(&mount.at)).max_by_key(|mount| mount.depth());
        let Some(own) = own else { return Vec::new() };
        let Ok(below) = path.strip_prefix(&own.at) else { return Vec::new() };
        let within = own.root.join(below);
        let others = self.0.iter().filter(|mount| mount.device == own.device && mount.at != own.at);
        others.filter_map(|mount| mount.folders_above(&within, path)).collect()
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Mount {
    device: String,
    /// Which folder of the file system is mounted.
    root: PathBuf,
    at: PathBuf,
}

impl Mount {
    fn depth(&self) -> usize {
        self.at.components().count()
    }

    /// `36 35 98:0 /root /mount/point rw - ext4 …`, signs like blanks as `\040`.
    fn parse(line: &str) -> Option<Self> {
        let mut words = line.split(' ').skip(2);
        let device = words.next()?.to_owned();
        let (root, at) = (unescaped(words.next()?), unescaped(words.next()?));
        Some(Mount { device, root, at })
    }

    /// The folders above something in this mount, if it shows it.
    fn folders_above(&self, within: &Path, path: &Path) -> Option<Vec<FileId>> {
        let seen = self.at.join(within.strip_prefix(&self.root).ok()?);
        if PathStat::at(&seen)?.id != PathStat::at(path)?.id {
            return None;
        }
        let above = seen.ancestors().skip(1).take_while(|folder| folder.starts_with(&self.at));
        Some(above.filter_map(|folder| Some(PathStat::at(folder)?.id)).collect())
    }
}

fn unescaped(text: &str) -> PathBuf {
    let signs = [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")];
    signs.iter().fold(text.to_owned(), |text, (escaped, sign)| text.replace(escaped, sign)).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_the_systems_mounts_is_understood() {
        let line = r"36 35 98:0 /a\040b /mnt/c\134d rw,noatime master:1 - ext3 /dev/root rw";
        let mount = Mount { device: "98:0".into(), root: "/a b".into(), at: r"/mnt/c\d".into() };
        assert_eq!(Mount::parse(line), Some(mount));
        assert_eq!(Mount::parse("36 35"), None);
    }

    #[test]
    fn a_folder_of_this_machine_does_not_fold_case_and_two_names_of_one_file_do_not_deceive() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("a"), "").unwrap();
        std::fs::hard_link(folder.path().join("a"), folder.path().join("A")).unwrap();
        assert!(!folds_case(folder.path()));
    }
}
