//! What the file system of a folder can hold and tell apart, found by trying it, and noted beside the marker.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::{Arc, PoisonError};

use rustix::fs::{AtFlags, Dir, Mode, OFlags, XattrFlags};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::super::{FolderStore, OWN_FOLDER, ObjectKind, attributes, handles, listing};
use crate::error::Result;
use crate::store::content::abilities::{Abilities, CaseRule, LengthUnit};
use crate::stored::{Stored, StoredDocument};

/// The note's name within [`OWN_FOLDER`].
pub(super) const NOTE: &[u8] = b"abilities.json";

/// A note is far smaller.
const LONGEST_NOTE: u64 = 64 << 10;

/// No file system that is met holds longer names.
const LONGEST: u32 = 255;

/// What the folders begin with in which something is tried.
const PREFIX: &str = "probe-";

/// Characters that some file systems know no name with.
const DOUBTFUL: &[u8] = b"\"*:<>?\\|+,;=[]%&~";

/// Steps in which file systems keep times, in nanoseconds.
const STEPS_NS: [i64; 8] =
    [1, 100, 1_000, 1_000_000, 10_000_000, 1_000_000_000, 2_000_000_000, 60_000_000_000];

/// An odd second, with a fraction that no step but the first keeps.
const TRIED_NS: i64 = 1_000_000_001_123_456_789;

/// Earliest and latest times that are met, the widest first; seconds since 1970: of 1677, 1901, 1970, 1980 and a day.
const EARLIEST_S: [i64; 4] = [-9_223_372_036, -2_147_483_648, 0, 315_619_200];

/// Of 2262, 2107 but for two days, 2106 and 2038.
const LATEST_S: [i64; 4] = [9_223_372_036, 4_354_646_400, 4_294_967_295, 2_147_483_647];

/// What is known of a file system, and whether it was found on it, not only foreseen.
pub(in super::super) type Known = (Arc<Abilities>, bool);

/// What was found, and where.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Noted {
    /// The device: what was found of another one says nothing.
    device: u64,
    /// What the system calls the kind of the file system.
    kind: u64,
    abilities: Abilities,
}

impl StoredDocument for Noted {
    const NAME: &'static str = "note of what a content store can hold";
}

/// Whether a folder within the folder for files that are being written is one of these.
pub(super) fn is_probe(name: &[u8]) -> bool {
    let name = str::from_utf8(name).ok().and_then(|name| name.strip_prefix(PREFIX));
    name.is_some_and(|id| id.len() == 36 && Uuid::try_parse(id).is_ok())
}

impl FolderStore {
    /// What was found before, or is found now; it is noted then.
    pub(in super::super) fn find_abilities(&self) -> Result<Arc<Abilities>> {
        if let Some((known, true)) = self.known_abilities() {
            return Ok(known);
        }
        let probe = || {
            let here = self.here()?;
            if let Some(noted) = self.noted().filter(|noted| (noted.device, noted.kind) == here) {
                return Ok(noted.abilities);
            }
            let abilities = self.probe()?;
            let noted = Noted { device: here.0, kind: here.1, abilities: abilities.clone() };
            if let Ok(text) = Stored::new(noted).to_json() {
                // Where it cannot be noted, it is found again.
                let _ = self.write_own(NOTE, &text);
            }
            Ok(abilities)
        };
        match probe() {
            Ok(found) => Ok(self.remember_abilities(found, true)),
            // Nothing can be tried, and nothing new be made either; what is to be deleted makes room.
            Err(Errno::NOSPC | Errno::DQUOT) => Ok(self.foresee_abilities()),
            Err(cause) => Err(self.own_error("find out what can be held beside", cause)),
        }
    }

    /// What is known without writing: as it was noted, or what the names that are there tell.
    pub(in super::super) fn foresee_abilities(&self) -> Arc<Abilities> {
        if let Some((known, _)) = self.known_abilities() {
            return known;
        }
        let here = self.here().ok();
        let noted = self.noted().filter(|noted| here.is_none_or(|(_, kind)| kind == noted.kind));
        let is_certain = noted.as_ref().is_some_and(|noted| here == Some((noted.device, noted.kind)));
        let found = noted.map(|noted| noted.abilities).unwrap_or_else(|| {
            let case = if self.takes_cases_for_one() { CaseRule::Full } else { CaseRule::Exact };
            Abilities { case, ..Abilities::default() }
        });
        self.remember_abilities(found, is_certain)
    }

    fn known_abilities(&self) -> Option<Known> {
        self.abilities.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn remember_abilities(&self, found: Abilities, is_certain: bool) -> Arc<Abilities> {
        let found = Arc::new(found);
        *self.abilities.lock().unwrap_or_else(PoisonError::into_inner) = Some((found.clone(), is_certain));
        found
    }

    /// The device, and the kind of its file system.
    #[allow(clippy::cast_sign_loss, clippy::unnecessary_cast, reason = "the types differ between platforms")]
    fn here(&self) -> std::result::Result<(u64, u64), Errno> {
        let root = self.handles.root()?;
        Ok((rustix::fs::fstat(&*root)?.st_dev as u64, rustix::fs::fstatfs(&*root)?.f_type as u64))
    }

    fn noted(&self) -> Option<Noted> {
        let own = handles::below(&*self.handles.root().ok()?, OWN_FOLDER).ok()?;
        let file = File::from(handles::open_beneath(&own, NOTE, handles::READING).ok()?);
        let mut text = String::new();
        file.take(LONGEST_NOTE).read_to_string(&mut text).ok()?;
        Stored::<Noted>::read(&text).ok().map(Stored::into_known)
    }

    /// Whether something that is there is found under its name in the other case, too.
    fn takes_cases_for_one(&self) -> bool {
        let Ok(root) = self.handles.root() else {
            let there = self.root.ancestors().skip(1).find(|folder| folder.exists());
            return there.is_some_and(answers_to_other_case);
        };
        let names = || {
            Dir::read_from(&*root).ok()?.find_map(|entry| {
                let name = entry.ok()?.file_name().to_bytes().to_vec();
                name.iter().any(u8::is_ascii_alphabetic).then_some(name)
            })
        };
        match names() {
            Some(name) => {
                let other = other_case(&name);
                let flags = AtFlags::SYMLINK_NOFOLLOW;
                let is_there = rustix::fs::statat(&*root, &*other, flags).is_ok();
                is_there && listed(&root).is_ok_and(|listed| !listed.contains(&other))
            }
            None => answers_to_other_case(&self.root),
        }
    }

    fn probe(&self) -> std::result::Result<Abilities, Errno> {
        let staging = self.staging_folder_made()?;
        let name = format!("{PREFIX}{}", Uuid::new_v4());
        rustix::fs::mkdirat(&*staging, name.as_str(), Mode::from_raw_mode(0o700))?;
        let found = handles::below(&staging, name.as_bytes()).and_then(|folder| Probe(folder).abilities());
        // What is left of it is swept.
        let _ = rustix::fs::unlinkat(&*staging, name.as_str(), AtFlags::REMOVEDIR);
        found
    }
}

/// Whether a folder, on the file system of what it lies in, is found there under its name in the other case.
fn answers_to_other_case(folder: &Path) -> bool {
    use std::os::unix::ffi::OsStrExt;
    use std::os::unix::fs::MetadataExt;
    let asked = || {
        let (name, parent) = (folder.file_name()?.as_bytes(), folder.parent()?);
        let other = other_case(name);
        let [here, above] = [folder, parent].map(|path| path.symlink_metadata().ok());
        let found = parent.join(std::ffi::OsStr::from_bytes(&other)).symlink_metadata().ok()?;
        let (here, above) = (here?, above?);
        let is_one = (here.dev(), here.ino()) == (found.dev(), found.ino());
        Some(here.dev() == above.dev() && is_one && other != name)
    };
    asked().unwrap_or(false)
}

fn other_case(name: &[u8]) -> Vec<u8> {
    let change = |byte: &u8| if byte.is_ascii_alphabetic() { byte ^ 0x20 } else { *byte };
    name.iter().map(change).collect()
}

fn listed(folder: &OwnedFd) -> std::result::Result<BTreeSet<Vec<u8>>, Errno> {
    Dir::read_from(folder)?.map(|entry| Ok(entry?.file_name().to_bytes().to_vec())).collect()
}

/// A new folder in which nothing else is.
struct Probe(Arc<OwnedFd>);

impl Probe {
    fn abilities(&self) -> std::result::Result<Abilities, Errno> {
        let longest = vec![b'a'; LONGEST as usize];
        let all_doubtful = [b"all", DOUBTFUL, b"of them"].concat();
        // No two of these are one anywhere.
        let [
            is_plain,
            is_cased,
            is_composed,
            is_decomposed,
            is_longest,
            are_doubtful,
            controls,
            dot,
            space,
            con,
            nul,
            bytes,
        ] = self.hold([
            b"plain",
            b"Spelled",
            "\u{e9} composed".as_bytes(),
            "e\u{301} decomposed".as_bytes(),
            &longest,
            &all_doubtful,
            b"control\x01",
            b"dot.",
            b"space ",
            b"CON",
            b"nul.txt",
            b"bytes\xff\xfe",
        ])?;
        if !is_plain {
            return Err(Errno::IO);
        }
        let longest_name = if is_longest { LONGEST } else { self.longest()? };
        let twice = "\u{e9}".repeat(longest_name as usize);
        let length_unit = if self.holds(twice.as_bytes())? { LengthUnit::Utf16 } else { LengthUnit::Bytes };
        let mut forbidden = String::new();
        for letter in DOUBTFUL.iter().filter(|_| !are_doubtful) {
            if !self.holds(&[b'a', *letter, b'b'])? {
                forbidden.push(char::from(*letter));
            }
        }
        let last = [('.', dot), (' ', space)].into_iter().filter(|(_, is_held)| !is_held);
        let (time_step_ns, earliest_ns, latest_ns) = self.times()?;
        let found = Abilities {
            case: self.case()?,
            normalizes: self.are_one("\u{e9}", "e\u{301}")?,
            keeps_spelling: is_cased && is_composed && is_decomposed,
            forbidden,
            controls,
            forbidden_last: last.map(|(letter, _)| letter).collect(),
            reserves_devices: !(con && nul),
            any_bytes: bytes,
            longest_name,
            length_unit,
            time_step_ns,
            earliest_ns,
            latest_ns,
            modes: self.keeps_modes()?,
            links: self.has_links()?,
            hard_links: self.has_hard_links()?,
            extended: self.has_extended()?,
        };
        // Else nothing of the above means anything.
        if self.holds(b"plain")? { Ok(found) } else { Err(Errno::IO) }
    }

    fn case(&self) -> std::result::Result<CaseRule, Errno> {
        Ok(if !self.are_one("plain", "PLAIN")? {
            CaseRule::Exact
        } else if !self.are_one("\u{e9}", "\u{c9}")? {
            CaseRule::Ascii
        } else if self.are_one("stra\u{df}e", "STRASSE")? {
            CaseRule::Full
        } else {
            CaseRule::Simple
        })
    }

    /// A new file; none where the file system cannot hold such a name.
    fn make(&self, name: &[u8]) -> std::result::Result<Option<OwnedFd>, Errno> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        answer(rustix::fs::openat(&*self.0, name, flags, Mode::from_raw_mode(0o600)))
    }

    fn remove(&self, name: &[u8]) {
        let _ = rustix::fs::unlinkat(&*self.0, name, AtFlags::empty());
    }

    /// Whether names can be given, and are listed as they were given; of no two of them anybody thinks that they are one.
    fn hold<const COUNT: usize>(&self, names: [&[u8]; COUNT]) -> std::result::Result<[bool; COUNT], Errno> {
        let made = names.iter().try_for_each(|name| self.make(name).map(drop));
        let found = made.and_then(|()| listed(&self.0));
        names.iter().for_each(|name| self.remove(name));
        match found {
            Ok(listed) => Ok(names.map(|name| listed.contains(name))),
            // Hardly any room: then one after the other.
            Err(Errno::NOSPC | Errno::DQUOT) if COUNT > 1 => {
                let mut held = [false; COUNT];
                for (held, name) in held.iter_mut().zip(names) {
                    *held = self.holds(name)?;
                }
                Ok(held)
            }
            Err(cause) => Err(cause),
        }
    }

    fn holds(&self, name: &[u8]) -> std::result::Result<bool, Errno> {
        self.hold([name]).map(|[is_held]| is_held)
    }

    /// Whether what has one name is found under the other one.
    fn are_one(&self, name: &str, other: &str) -> std::result::Result<bool, Errno> {
        let Some(_file) = self.make(name.as_bytes())? else { return Ok(false) };
        let found = answer(rustix::fs::statat(&*self.0, other, AtFlags::SYMLINK_NOFOLLOW));
        self.remove(name.as_bytes());
        Ok(found?.is_some())
    }

    fn longest(&self) -> std::result::Result<u32, Errno> {
        let (mut held, mut beyond) = (5, LONGEST);
        let mut next = u32::midpoint(held, beyond);
        while beyond - held > 1 {
            if self.holds(&vec![b'a'; next as usize])? {
                held = next
            } else {
                beyond = next
            }
            next = u32::midpoint(held, beyond);
        }
        Ok(held)
    }

    /// The step in which times are kept, and the earliest and the latest one.
    fn times(&self) -> std::result::Result<(i64, i64, i64), Errno> {
        let kept = self.set_time(TRIED_NS)?;
        let is_step = |step: &&i64| kept % **step == 0 && kept.abs_diff(TRIED_NS) < step.unsigned_abs();
        let Some(step) = STEPS_NS.iter().find(is_step).copied() else {
            let all = Abilities::default();
            return Ok((i64::MAX, all.earliest_ns, all.latest_ns));
        };
        let keeps = |seconds: i64| {
            let given = seconds.saturating_mul(1_000_000_000);
            Ok(self.set_time(given)?.abs_diff(given) < step.unsigned_abs())
        };
        let first = |candidates: [i64; 4]| {
            for seconds in candidates {
                if keeps(seconds)? {
                    return Ok(Some(seconds));
                }
            }
            Ok(None)
        };
        let all = Abilities::default();
        // The widest is what all are told from.
        let bound = |found: Option<i64>, widest: i64, bound: i64| match found {
            None => bound,
            Some(seconds) if seconds == widest => bound,
            Some(seconds) => seconds.saturating_mul(1_000_000_000),
        };
        let earliest = bound(first(EARLIEST_S)?, EARLIEST_S[0], all.earliest_ns);
        let latest = bound(first(LATEST_S)?, LATEST_S[0], all.latest_ns);
        Ok((step, earliest, latest))
    }

    /// What becomes of a time that a file is given.
    fn set_time(&self, given: i64) -> std::result::Result<i64, Errno> {
        let file = self.make(b"time")?.ok_or(Errno::IO)?;
        let _ = answer(rustix::fs::futimens(&file, &attributes::times(given)));
        drop(file);
        let stat = rustix::fs::statat(&*self.0, "time", AtFlags::SYMLINK_NOFOLLOW);
        self.remove(b"time");
        Ok(listing::meta(&stat?, ObjectKind::File).mtime_ns)
    }

    fn keeps_modes(&self) -> std::result::Result<bool, Errno> {
        let file = self.make(b"mode")?.ok_or(Errno::IO)?;
        let mut keeps = true;
        for mode in [0o400, 0o600] {
            let _ = answer(rustix::fs::fchmod(&file, Mode::from_raw_mode(mode)))?;
            keeps &= rustix::fs::fstat(&file)?.st_mode & 0o777 == mode;
        }
        self.remove(b"mode");
        Ok(keeps)
    }

    fn has_links(&self) -> std::result::Result<bool, Errno> {
        let made = answer(rustix::fs::symlinkat("target", &*self.0, "link"))?.is_some();
        self.remove(b"link");
        Ok(made)
    }

    fn has_hard_links(&self) -> std::result::Result<bool, Errno> {
        let _file = self.make(b"one")?.ok_or(Errno::IO)?;
        let made = answer(rustix::fs::linkat(&*self.0, "one", &*self.0, "other", AtFlags::empty()));
        self.remove(b"one");
        self.remove(b"other");
        Ok(made?.is_some())
    }

    fn has_extended(&self) -> std::result::Result<bool, Errno> {
        let file = self.make(b"extended")?.ok_or(Errno::IO)?;
        let set = answer(rustix::fs::fsetxattr(&file, "user.csb-probe", b"1", XattrFlags::empty()));
        self.remove(b"extended");
        Ok(set?.is_some())
    }
}

/// What a file system answers: none where it does not do that. What says nothing about it is an error.
fn answer<T>(asked: std::result::Result<T, Errno>) -> std::result::Result<Option<T>, Errno> {
    match asked {
        Ok(done) => Ok(Some(done)),
        Err(
            cause @ (Errno::NOSPC
            | Errno::DQUOT
            | Errno::IO
            | Errno::ROFS
            | Errno::STALE
            | Errno::NOTCONN
            | Errno::NODEV
            | Errno::TIMEDOUT
            | Errno::NOMEM
            | Errno::MFILE
            | Errno::NFILE),
        ) => Err(cause),
        Err(_) => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::content::ContentStore;

    fn store() -> (tempfile::TempDir, FolderStore) {
        let folder = tempfile::tempdir().unwrap();
        let store = FolderStore::new(folder.path().join("store"), Vec::new());
        store.create().unwrap();
        (folder, store)
    }

    #[test]
    fn the_usual_file_system_is_found_to_be_usual_and_nothing_of_the_search_is_left() {
        let (folder, store) = store();
        let Abilities { extended, earliest_ns, latest_ns, ref case, .. } = *store.find_abilities().unwrap();
        assert_eq!(*case, CaseRule::Exact);
        assert!(earliest_ns < 0 && latest_ns > 2_000_000_000_000_000_000);
        let usual = Abilities { extended, earliest_ns, latest_ns, ..Abilities::default() };
        assert_eq!(*store.find_abilities().unwrap(), usual);
        assert!(usual.holds_every_name());
        assert_eq!(std::fs::read_dir(folder.path().join("store/.csb/tmp")).unwrap().count(), 0);
    }

    #[test]
    fn what_was_noted_is_believed_on_its_own_device_only() {
        let (folder, store) = store();
        let here = store.here().unwrap();
        let other = Abilities { case: CaseRule::Full, ..Abilities::default() };
        for (device, is_believed) in [(here.0, true), (here.0 + 1, false)] {
            let noted = Noted { device, kind: here.1, abilities: other.clone() };
            store.write_own(NOTE, &Stored::new(noted).to_json().unwrap()).unwrap();
            let again = FolderStore::new(folder.path().join("store"), Vec::new());
            assert_eq!(again.foresee_abilities().case, CaseRule::Full, "a look writes nothing");
            assert_eq!(again.find_abilities().unwrap().case == CaseRule::Full, is_believed);
        }
        std::fs::write(folder.path().join("store/.csb/abilities.json"), "no note").unwrap();
        let again = FolderStore::new(folder.path().join("store"), Vec::new());
        assert_eq!(again.find_abilities().unwrap().case, CaseRule::Exact);
        assert!(again.noted().is_some());
    }

    #[test]
    fn only_folders_of_this_kind_are_taken_for_what_a_search_left() {
        assert!(is_probe(format!("{PREFIX}{}", Uuid::new_v4()).as_bytes()));
        for name in ["probe-", "probe-x", "thesis.docx", "probe-00000000000000000000000000000000"] {
            assert!(!is_probe(name.as_bytes()), "{name}");
        }
    }
}
