//! Earlier states of the standby: everything that a cycle replaced or removed comes back as it was.

use super::faulty::Faults;
use super::isolation::{in_own_mounts, mount};
use super::*;
use crate::module::{StoreState, WantedState};
use crate::topology::HistorySize;

impl Pair {
    fn states(&self) -> Vec<StoreState> {
        self.module().states().unwrap().unwrap()
    }

    fn revisions(&self) -> Vec<u32> {
        self.states().iter().map(|state| state.revision).collect()
    }

    /// The number of the state that the standby is in.
    pub(super) fn revision(&self) -> u32 {
        self.states()[0].revision
    }

    /// A state, in a folder of its own, and the lines of the report.
    pub(super) fn restored(&self, revision: u32, include: &[&str]) -> (PathBuf, Vec<String>) {
        static COUNT: AtomicI64 = AtomicI64::new(0);
        let number = COUNT.fetch_add(1, Ordering::SeqCst);
        let to = self.folder.path().join(format!("restored {revision} {number}"));
        let include: Vec<String> = include.iter().map(|pattern| (*pattern).to_owned()).collect();
        let module = self.module();
        let restored =
            module.restore_state(WantedState::Revision(revision), &include, &to, &self.context()).unwrap();
        assert_eq!(restored.state.revision, revision);
        let lines = [restored.details, restored.warnings].concat();
        assert!(!to.join(".csb").exists(), "nothing of ours is left in it");
        (to, lines)
    }

    /// A state is what the source was then, in every respect.
    pub(super) fn assert_restored(&self, revision: u32, then: &Tree) {
        let (to, lines) = self.restored(revision, &[]);
        assert_eq!(tree(&to), *then, "revision {revision}: {lines:#?}");
        assert_eq!(lines.len(), 1, "{lines:#?}");
        fs::remove_dir_all(to).unwrap();
    }
}

/// What the history of the standby takes besides names: the number of files in it, notes not counted.
fn kept_files(pair: &Pair) -> usize {
    let history = pair.standby().join(".csb/history");
    let revisions = fs::read_dir(history).into_iter().flatten().map(|entry| entry.unwrap().path());
    revisions.map(|revision| fs::read_dir(revision).unwrap().count() - 1).sum()
}

#[test]
fn every_kind_of_change_can_be_undone() {
    let pair = Pair::new();
    for name in ["changes", "goes", "becomes a folder", "moves", "folder/inner/deep", "folder/other", "mode"]
    {
        pair.write(name, format!("first version of {name}"));
    }
    let source = pair.source();
    std::os::unix::fs::symlink("goes", source.join("link")).unwrap();
    std::os::unix::fs::symlink("goes", source.join("link that stays")).unwrap();
    set_mode(&source.join("mode"), 0o400);
    set_mode(&source.join("goes"), 0o640);
    set_mode(&source.join("folder/inner"), 0o2770);
    rustix::fs::setxattr(source.join("goes"), "user.tag", b"1", rustix::fs::XattrFlags::empty()).unwrap();
    rustix::fs::setxattr(source.join("folder/inner"), "user.tag", b"2", rustix::fs::XattrFlags::empty())
        .unwrap();
    rustix::fs::setxattr(source.join("mode"), "user.tag", b"3", rustix::fs::XattrFlags::empty()).unwrap();
    pair.cycle();
    assert_eq!((pair.revisions(), kept_files(&pair)), (vec![1], 0), "of a first copy nothing is kept");
    let first = tree(&source);

    pair.age();
    pair.write("changes", "second version, which is longer");
    pair.write("new/f", "new");
    fs::remove_file(source.join("goes")).unwrap();
    fs::remove_file(source.join("becomes a folder")).unwrap();
    pair.write("becomes a folder/f", "in it");
    fs::rename(source.join("moves"), source.join("moved")).unwrap();
    fs::remove_dir_all(source.join("folder/inner")).unwrap();
    fs::write(source.join("folder/inner"), "a file now").unwrap();
    fs::remove_file(source.join("link")).unwrap();
    std::os::unix::fs::symlink("changes", source.join("link")).unwrap();
    set_mode(&source.join("mode"), 0o644);
    rustix::fs::setxattr(source.join("mode"), "user.tag", b"4", rustix::fs::XattrFlags::empty()).unwrap();
    let outcome = pair.cycle();
    assert!(outcome.details.iter().any(|line| line.contains("revision 1")), "{:#?}", outcome.details);
    let second = tree(&source);

    pair.age();
    fs::remove_file(source.join("folder/inner")).unwrap();
    fs::remove_dir_all(source.join("becomes a folder")).unwrap();
    fs::rename(source.join("moved"), source.join("new/moved again")).unwrap();
    pair.write("changes", "third");
    set_mode(&source.join("new"), 0o700);
    pair.cycle();
    let third = tree(&source);

    assert_eq!(pair.revisions(), [3, 2, 1]);
    for (revision, then) in [(1, &first), (2, &second), (3, &third)] {
        pair.assert_restored(revision, then);
    }
    let (to, _) = pair.restored(1, &[]);
    let tag = |name: &str| {
        let mut value = [0; 1];
        rustix::fs::getxattr(to.join(name), "user.tag", &mut value[..]).map(|_| value[0])
    };
    assert_eq!(["goes", "folder/inner", "mode"].map(tag), [Ok(b'1'), Ok(b'2'), Ok(b'3')]);
    pair.assert_settled();
    assert_eq!(pair.revisions(), [3, 2, 1], "a cycle that changes nothing makes no state");
}

#[test]
fn what_is_kept_is_not_copied_and_what_was_renamed_takes_nothing() {
    let pair = Pair::new();
    for name in ["deleted", "replaced", "renamed"] {
        pair.write(name, vec![7; 100_000]);
    }
    pair.cycle();
    pair.age();
    let inode = |name: &str| fs::metadata(pair.standby().join(name)).unwrap().ino();
    let inodes = [inode("deleted"), inode("replaced")];
    let renamed = inode("renamed");
    fs::remove_file(pair.source().join("deleted")).unwrap();
    pair.write("replaced", "other");
    fs::rename(pair.source().join("renamed"), pair.source().join("to")).unwrap();
    pair.cycle();
    let history = pair.standby().join(".csb/history");
    let revision = fs::read_dir(history).unwrap().next().unwrap().unwrap().path();
    let mut found: Vec<u64> = fs::read_dir(&revision)
        .unwrap()
        .map(|entry| entry.unwrap())
        .filter(|entry| entry.file_name() != "log")
        .map(|entry| entry.metadata().unwrap().ino())
        .collect();
    found.sort_unstable();
    let mut wanted = inodes.to_vec();
    wanted.sort_unstable();
    assert_eq!(found, wanted);
    assert_eq!(inode("to"), renamed);
    let kept = pair.states()[1].kept_bytes;
    assert!((200_000..230_000).contains(&kept), "{kept}");
}

#[test]
fn of_a_big_file_only_what_its_next_version_changed_is_kept() {
    let pair = Pair::in_memory();
    let size = 16 << 20;
    let content = |seed: u8| -> Vec<u8> { (0..size).map(|at: usize| (at / 4096) as u8 ^ seed).collect() };
    let mut versions = vec![content(1)];
    pair.write("big", &versions[0]);
    pair.write("other", "");
    rustix::fs::setxattr(pair.source().join("big"), "user.tag", b"1", rustix::fs::XattrFlags::empty())
        .unwrap();
    pair.cycle();
    let mut trees = vec![tree(&pair.source())];
    let edits: [fn(&mut Vec<u8>); 5] = [
        |bytes| bytes[5_000_000..5_000_100].fill(9),
        |bytes| bytes.extend_from_slice(&[3; 100_000]),
        |bytes| bytes.truncate(12 << 20),
        |bytes| bytes[..300_000].fill(0),
        |bytes| bytes.iter_mut().for_each(|byte| *byte = byte.wrapping_add(1)),
    ];
    for edit in edits {
        pair.age();
        let mut next = versions.last().unwrap().clone();
        edit(&mut next);
        pair.write("big", &next);
        versions.push(next);
        pair.cycle();
        trees.push(tree(&pair.source()));
    }
    // Gone, and under another name: what leads back goes through both.
    pair.age();
    fs::rename(pair.source().join("big"), pair.source().join("renamed")).unwrap();
    pair.cycle();
    trees.push(tree(&pair.source()));
    pair.age();
    fs::remove_file(pair.source().join("renamed")).unwrap();
    pair.cycle();
    let states = pair.states();
    let kept = |revision: u32| states.iter().find(|state| state.revision == revision).unwrap().kept_bytes;
    assert!(kept(1) < 1 << 20, "{states:#?}");
    assert!(kept(2) < 1 << 20 && kept(4) < 2 << 20, "{states:#?}");
    assert!((4 << 20..6 << 20).contains(&kept(3)), "what was cut off is kept: {states:#?}");
    assert!(kept(5) > 10 << 20, "everything changed: {states:#?}");
    for (revision, then) in (1..).zip(&trees) {
        pair.assert_restored(revision, then);
    }
    let (to, _) = pair.restored(1, &[]);
    let mut value = [0; 1];
    rustix::fs::getxattr(to.join("big"), "user.tag", &mut value[..]).unwrap();
    assert_eq!(value, *b"1");
    assert_eq!(fs::read_dir(pair.standby().join(".csb/tmp")).unwrap().count(), 0);
}

#[test]
fn a_pattern_names_files_and_whole_folders() {
    let pair = Pair::new();
    for name in ["reports/2026/q1.docx", "reports/2026/q1.txt", "other/Q1.DOCX", "other/x"] {
        pair.write(name, name);
    }
    pair.cycle();
    let named = |include: &[&str]| {
        let (to, _) = pair.restored(1, include);
        tree(&to)
            .into_iter()
            .filter(|(_, (content, ..))| content.is_some())
            .map(|(path, _)| path)
            .collect::<Vec<_>>()
    };
    assert_eq!(named(&["*.docx"]), [Path::new("other/Q1.DOCX"), Path::new("reports/2026/q1.docx")]);
    assert_eq!(named(&["reports"]).len(), 2);
    assert_eq!(named(&["reports/2026", "other/x"]).len(), 3);
    let (to, lines) = pair.restored(1, &["nothing"]);
    assert!(tree(&to).is_empty() && lines[1].starts_with("Nothing in that state"), "{lines:#?}");
}

#[test]
fn a_state_is_found_by_a_time_and_one_that_is_not_kept_is_an_error() {
    let pair = Pair::new();
    pair.write("f", "1");
    pair.cycle();
    pair.age();
    pair.write("f", "2");
    pair.cycle();
    let states = pair.states();
    let find = |wanted| pair.module().find_state(wanted, &pair.folder.path().join("to"));
    let between = WantedState::At(states[0].at - jiff::SignedDuration::from_millis(1));
    assert_eq!(find(between).unwrap().revision, 1);
    assert_eq!(find(WantedState::At(states[0].at)).unwrap().revision, 2);
    for wanted in [WantedState::Revision(7), WantedState::At(Timestamp::UNIX_EPOCH)] {
        assert_eq!(find(wanted).unwrap_err().kind, ErrorKind::InvalidArgument);
    }
    let taken = pair.module().find_state(WantedState::Revision(1), &pair.source());
    assert_eq!(taken.unwrap_err().kind, ErrorKind::InvalidArgument);
    let missing = pair.module().find_state(WantedState::Revision(1), Path::new("/nowhere/at/all"));
    assert_eq!(missing.unwrap_err().kind, ErrorKind::FileMissing);
}

#[test]
fn a_cycle_that_died_anywhere_loses_no_earlier_state() {
    for lives in 0..150 {
        let pair = Pair::in_memory();
        for name in ["changes", "goes", "becomes a folder", "moves", "folder/inner/deep", "mode"] {
            pair.write(name, format!("first version of {name}"));
        }
        std::os::unix::fs::symlink("goes", pair.source().join("link")).unwrap();
        pair.cycle();
        pair.age();
        let first = tree(&pair.source());
        pair.write("changes", "second version, which is longer");
        pair.write("new/f", "new");
        for name in ["goes", "becomes a folder", "link"] {
            fs::remove_file(pair.source().join(name)).unwrap();
        }
        pair.write("becomes a folder/f", "in it");
        fs::rename(pair.source().join("moves"), pair.source().join("moved")).unwrap();
        fs::remove_dir_all(pair.source().join("folder/inner")).unwrap();
        set_mode(&pair.source().join("mode"), 0o600);
        let dying = Faults { lives: Some(lives.into()), ..Faults::default() };
        let (module, _) = faulty::module(&pair, Faults::default(), dying);
        let died = module.run_cycle(&Context { accept_deletions: true, ..pair.context() });
        // Looked at before anything is mended, and afterwards.
        pair.assert_restored(1, &first);
        let second = tree(&pair.source());
        pair.forced_cycle();
        pair.assert_restored(1, &first);
        pair.assert_restored(2, &second);
        assert_eq!(pair.revisions(), [2, 1], "{lives} lives: {died:?}");
        if died.is_ok() {
            assert!(lives > 20, "{lives}");
            return;
        }
    }
    panic!("a cycle takes more operations than that");
}

#[test]
fn old_states_go_by_age_and_by_size_the_oldest_first() {
    let mut pair = Pair::new();
    pair.write("f", vec![0; 300_000]);
    pair.cycle();
    for version in 1..6u8 {
        pair.age();
        pair.write("f", vec![version; 300_000 + usize::from(version)]);
        pair.cycle();
    }
    assert_eq!(pair.revisions(), [6, 5, 4, 3, 2, 1]);
    pair.history.max = HistorySize::Bytes(1 << 20);
    pair.age();
    pair.write("other", "");
    pair.cycle();
    assert_eq!(pair.revisions(), [7, 6, 5, 4, 3], "three of the files fit");
    pair.history.keep = jiff::SignedDuration::ZERO;
    pair.age();
    pair.write("other", "2");
    pair.cycle();
    assert_eq!((pair.revisions(), kept_files(&pair)), (vec![8], 0));
    pair.assert_settled();
}

#[test]
fn a_lost_index_loses_no_state() {
    let mut pair = Pair::new();
    for name in ["a", "b", "c/d"] {
        pair.write(name, name);
    }
    pair.cycle();
    let first = tree(&pair.source());
    pair.age();
    pair.write("a", "a2");
    fs::remove_file(pair.source().join("b")).unwrap();
    pair.cycle();
    let second = tree(&pair.source());
    pair.lose_index();
    pair.write("c/d", "d2");
    fs::remove_file(pair.source().join("a")).unwrap();
    pair.forced_cycle();
    let third = tree(&pair.source());
    for (revision, then) in [(1, &first), (2, &second), (3, &third)] {
        pair.assert_restored(revision, then);
    }
    pair.take_lease();
}

#[test]
fn what_others_changed_at_the_copy_comes_back_as_they_made_it_and_is_named() {
    let pair = Pair::new();
    pair.write("f", "ours");
    pair.write("g", "ours");
    pair.cycle();
    pair.age();
    fs::write(pair.standby().join("f"), "theirs").unwrap();
    pair.write("f", "ours again");
    pair.cycle();
    let named = |lines: &[String], name: &str| {
        let end = format!("others had changed them at the copy: {name}.");
        lines.iter().any(|line| line.ends_with(&end))
    };
    let (to, lines) = pair.restored(1, &[]);
    assert_eq!(fs::read(to.join("f")).unwrap(), b"theirs");
    assert!(named(&lines, "f"), "{lines:#?}");
    fs::write(pair.standby().join("g"), "theirs").unwrap();
    let (to, lines) = pair.restored(2, &[]);
    assert_eq!(fs::read(to.join("g")).unwrap(), b"theirs");
    assert!(named(&lines, "g"), "{lines:#?}");
    // Once somebody has removed what was set aside, it is named as lost.
    fs::remove_dir_all(pair.standby().join(".csb/conflicts")).unwrap();
    let (to, lines) = pair.restored(1, &[]);
    assert!(!to.join("f").exists());
    assert!(
        lines.iter().any(|line| line.starts_with("Not restored") && line.ends_with(": f.")),
        "{lines:#?}"
    );
}

#[test]
fn a_full_disk_drops_the_history_before_it_refuses_new_copies() {
    in_own_mounts(|| {
        let pair = Pair::new();
        fs::create_dir(pair.standby()).unwrap();
        mount(&["-t", "tmpfs", "-o", "size=4m", "tmpfs"], &pair.standby());
        for version in 0..8u8 {
            pair.write("f", vec![version; 1_000_000 + usize::from(version)]);
            let outcome = pair.cycle();
            pair.age();
            let is_told = outcome.warnings.iter().any(|warning| warning.contains("to make room"));
            assert_eq!(is_told, version > 3, "{version}: {outcome:#?}");
        }
        pair.assert_settled();
        let states = pair.states();
        assert!(states.len() > 1, "{states:?}");
        let (to, _) = pair.restored(states[1].revision, &[]);
        assert_eq!(fs::read(to.join("f")).unwrap(), vec![6; 1_000_006]);
    });
}

#[test]
fn a_history_that_cannot_be_kept_stops_no_copy() {
    let pair = Pair::new();
    pair.write("f", "1");
    pair.cycle();
    pair.age();
    pair.write("f", "2");
    pair.cycle();
    assert_eq!(pair.revisions(), [2, 1]);
    // Somebody took its place.
    let history = pair.standby().join(".csb/history");
    fs::rename(&history, pair.folder.path().join("aside")).unwrap();
    fs::write(&history, "no folder").unwrap();
    pair.age();
    pair.write("f", "3");
    let outcome = pair.cycle();
    assert!(outcome.warnings.iter().any(|warning| warning.contains("could not be kept")), "{outcome:#?}");
    assert_eq!(fs::read(pair.standby().join("f")).unwrap(), b"3");
    // Put back, it does not lead to the state of now, and is not taken for one that does.
    fs::remove_file(&history).unwrap();
    fs::rename(pair.folder.path().join("aside"), &history).unwrap();
    assert_eq!(pair.revisions(), [4]);
    pair.age();
    pair.write("f", "4");
    pair.cycle();
    assert_eq!(pair.revisions(), [5, 4]);
    let (to, _) = pair.restored(4, &[]);
    assert_eq!(fs::read(to.join("f")).unwrap(), b"3");
}

#[test]
fn disabling_removes_the_history_and_says_so() {
    let pair = Pair::new();
    pair.write("f", "1");
    pair.cycle();
    pair.age();
    pair.write("f", "2");
    pair.cycle();
    let planned = pair.module().observe_disable(&Look::default()).unwrap();
    let removed = pair.module().disable(&pair.context()).unwrap();
    assert_eq!(planned, removed);
    assert!(removed.iter().any(|trace| trace.kind == "history" && trace.name.contains("1 earlier state")));
    assert!(!pair.standby().join(".csb/history").exists());
}

#[test]
fn a_folder_that_was_moved_and_a_file_in_it_that_was_swapped_can_be_undone() {
    let pair = Pair::new();
    for name in ["many/item", "many/other", "017/018/notes", "017/else"] {
        pair.write(name, format!("content of {name}"));
    }
    pair.cycle();
    pair.age();
    let source = pair.source();
    let first = tree(&source);
    fs::rename(source.join("many"), source.join("017/many")).unwrap();
    for (from, to) in
        [("017/many/item", "swap"), ("017/018/notes", "017/many/item"), ("swap", "017/018/notes")]
    {
        fs::rename(source.join(from), source.join(to)).unwrap();
    }
    let outcome = pair.cycle();
    pair.assert_restored(1, &first);
    assert!(outcome.warnings.is_empty(), "{outcome:#?}");
    pair.assert_settled();
}
