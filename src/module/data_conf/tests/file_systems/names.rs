//! Destinations that take several names for one, know no name with a colon, and round times: a store that does so, which
//! runs everywhere, and real file systems where this system has them.

use std::collections::BTreeSet;
use std::process::Command;

use super::folding::Folding;
use super::isolation::{in_own_mounts, unmount};
use super::*;
use crate::store::content::abilities::{Abilities, CaseRule, LengthUnit};

/// A pair whose standby is a file system of this kind.
struct Place {
    pair: Pair,
    /// None where a real one is mounted there.
    abilities: Option<Arc<Abilities>>,
    stubborn: BTreeSet<&'static str>,
    lists_lower_case: bool,
}

impl Place {
    fn folding(abilities: Abilities) -> Self {
        let abilities = Some(Arc::new(abilities));
        Place { pair: Pair::in_memory(), abilities, stubborn: BTreeSet::new(), lists_lower_case: false }
    }

    fn module(&self) -> DataConf {
        let Some(abilities) = self.abilities.clone() else { return self.pair.module() };
        let inner = FolderStore::new(self.pair.standby(), Vec::new());
        let standby = Folding { inner, abilities, stubborn: self.stubborn.clone() };
        DataConf::new(
            pool(),
            Box::new(self.pair.source_store()),
            Box::new(standby),
            place(&self.pair.index_file()),
            self.pair.batch_bytes,
            self.pair.history.clone(),
        )
    }

    fn cycle_with(&self, verify: bool) -> CycleOutcome {
        self.module().run_cycle(&Context { verify, ..self.pair.context() }).unwrap()
    }

    /// A cycle whose rehearsal has said what it does.
    fn cycle(&self) -> CycleOutcome {
        let is_marked = self.pair.standby().join(".csb/store.json").exists();
        if self.abilities.is_none() && !is_marked {
            // What a real one can hold is found when it is marked.
            return self.cycle_with(false);
        }
        let foreseen = self.module().observe(&Look::default()).unwrap();
        assert!(foreseen.refused.is_none(), "{foreseen:?}");
        let outcome = self.cycle_with(false);
        let numbers = |moved: &crate::report::Moved| (moved.items_written, moved.items_deleted, moved.bytes);
        assert_eq!(foreseen.moves.as_ref().map(numbers), Some(numbers(&outcome.moved)), "{outcome:#?}");
        let before = outcome.before.as_ref().unwrap();
        assert_eq!(foreseen.pending_items, before.pending_items);
        outcome
    }

    /// Names and contents of both are the same but for these names in the source, and stay so.
    fn assert_holds_all_but(&self, missing: &[&str]) {
        let contents = |root: &Path| -> BTreeMap<PathBuf, Option<String>> {
            let digest = |content: Vec<u8>| blake3::hash(&content).to_string();
            tree(root).into_iter().map(|(path, (content, ..))| (path, content.map(digest))).collect()
        };
        let mut expected = contents(&self.pair.source());
        expected.retain(|path, _| !missing.iter().any(|name| path.starts_with(name)));
        if self.lists_lower_case {
            let lower = |path: PathBuf| PathBuf::from(path.to_str().unwrap().to_lowercase());
            expected = expected.into_iter().map(|(path, content)| (lower(path), content)).collect();
        }
        assert_eq!(contents(&self.pair.standby()), expected);
        for _ in 0..2 {
            let again = self.cycle();
            assert!(again.moved.is_nothing(), "{again:#?}");
            assert_eq!(named(&again), missing);
        }
        let verified = self.cycle_with(true);
        let report = verified.verification.as_ref().unwrap();
        assert_eq!((report.differing_items, report.repaired_items), (0, 0), "{verified:#?}");
        assert!(verified.moved.is_nothing(), "{verified:#?}");
        assert_eq!(contents(&self.pair.standby()), expected);
    }

    fn rename(&self, from: &str, to: &str) {
        fs::rename(self.pair.source().join(from), self.pair.source().join(to)).unwrap();
    }
}

fn named(outcome: &CycleOutcome) -> Vec<&str> {
    outcome.quarantined.iter().map(|item| item.item.as_str()).collect()
}

/// As Windows has it, with the clock of FAT.
fn windows() -> Abilities {
    Abilities {
        case: CaseRule::Simple,
        forbidden: "\"*:<>?\\|".to_owned(),
        controls: false,
        forbidden_last: ". ".to_owned(),
        reserves_devices: true,
        any_bytes: false,
        length_unit: LengthUnit::Utf16,
        time_step_ns: 2_000_000_000,
        ..Abilities::default()
    }
}

/// As APFS has it, or ext4 with casefold.
fn normalizing() -> Abilities {
    Abilities { case: CaseRule::Full, normalizes: true, ..Abilities::default() }
}

/// Mounts a new file system of this kind at the standby. Says so, and does not, where this system lacks what that takes.
fn mount_new(pair: &Pair, kind: &str) -> bool {
    let image = pair.folder.path().join("image");
    fs::File::create(&image).unwrap().set_len(32 << 20).unwrap();
    fs::create_dir(pair.standby()).unwrap();
    let (image, standby) = (image.to_str().unwrap(), pair.standby());
    let standby = standby.to_str().unwrap();
    let found = format!("{standby}/lost+found");
    let commands = match kind {
        "exfat" => {
            vec![vec!["mkfs.exfat", image], vec!["mount", "-t", "exfat-fuse", "-o", "loop", image, standby]]
        }
        "ntfs" => vec![
            vec!["mkfs.ntfs", "-F", "-Q", image],
            vec!["lowntfs-3g", "-o", "ignore_case,windows_names", image, standby],
        ],
        _ => vec![
            vec!["mkfs.ext4", "-q", "-O", "casefold", image],
            vec!["mount", "-t", "ext4", "-o", "loop", image, standby],
            vec!["rmdir", &found],
            vec!["chattr", "+F", standby],
        ],
    };
    for command in commands {
        let said = match Command::new(command[0]).args(&command[1..]).output() {
            Ok(done) if done.status.success() => continue,
            Ok(done) => String::from_utf8_lossy(&done.stderr).trim().to_owned(),
            Err(cause) => cause.to_string(),
        };
        eprintln!(
            "skipped: a standby on {kind} that folds names: {} is not possible here: {said}",
            command[0]
        );
        return false;
    }
    true
}

/// Runs a test on stores that fold names, and on every file system that does and that can be had.
fn on_real_file_systems(test: impl Fn(&mut Place)) {
    for kind in ["exfat", "ntfs", "ext4"] {
        let pair = Pair::new();
        if mount_new(&pair, kind) {
            let mut place =
                Place { pair, abilities: None, stubborn: BTreeSet::new(), lists_lower_case: kind == "ntfs" };
            test(&mut place);
            unmount(&place.pair.standby());
        }
    }
}

fn on_folding_stores(test: impl Fn(&mut Place)) {
    for abilities in [windows(), normalizing()] {
        test(&mut Place::folding(abilities));
    }
}

/// A name that only changes its spelling keeps what it names, and nothing is sent again.
fn respelled(place: &mut Place) {
    let pair = &place.pair;
    pair.write("plain.txt", "plain");
    pair.write("docs/thesis.txt", vec![7; 100_000]);
    pair.write("docs/inner/deep.txt", "deep");
    pair.write("\u{e9}t\u{e9}.txt", "summer");
    place.cycle();
    pair.age();
    place.rename("plain.txt", "PLAIN.txt");
    place.rename("\u{e9}t\u{e9}.txt", "\u{c9}T\u{c9}.txt");
    place.rename("docs/inner", "docs/Inner");
    place.rename("docs/Inner/deep.txt", "docs/Inner/DEEP.txt");
    place.rename("docs", "Docs");
    let outcome = place.cycle();
    assert_eq!(
        (outcome.moved.items_written, outcome.moved.items_deleted, outcome.moved.bytes),
        (5, 0, 0),
        "{outcome:#?}"
    );
    assert!(outcome.quarantined.is_empty() && outcome.warnings.is_empty(), "{outcome:#?}");
    place.assert_holds_all_but(&[]);
    // Together with what changes, moves and goes.
    pair.age();
    place.rename("PLAIN.txt", "Plain.txt");
    pair.write("Plain.txt", "changed");
    place.rename("Docs/Inner/DEEP.txt", "elsewhere.txt");
    place.rename("Docs", "DOCS");
    fs::remove_file(pair.source().join("DOCS/thesis.txt")).unwrap();
    let outcome = place.cycle();
    assert!(outcome.quarantined.is_empty() && outcome.warnings.is_empty(), "{outcome:#?}");
    place.assert_holds_all_but(&[]);
    // A folder in the place of a file of another spelling, and the reverse.
    pair.age();
    fs::remove_file(pair.source().join("Plain.txt")).unwrap();
    pair.write("PLAIN.TXT/f", "in a folder");
    fs::remove_dir_all(pair.source().join("DOCS")).unwrap();
    pair.write("docs", "a file");
    let outcome = place.cycle_with(false);
    assert!(outcome.quarantined.is_empty() && outcome.warnings.is_empty(), "{outcome:#?}");
    place.assert_holds_all_but(&[]);
}

/// Of names that are one at the standby one is copied, and the others are named.
fn collided(place: &mut Place) {
    let pair = &place.pair;
    pair.write("a.txt", "lower");
    pair.write("A.txt", "UPPER");
    pair.write("dir/x", "1");
    pair.write("DIR/y", "2");
    pair.write("held.txt", "held");
    pair.write(".CSB/f", "content");
    let outcome = place.cycle();
    assert_eq!(named(&outcome), [".CSB", "a.txt", "dir"]);
    assert!(outcome.quarantined[1].reason.contains("A.txt"), "{outcome:#?}");
    place.assert_holds_all_but(&[".CSB", "a.txt", "dir"]);
    // What is held keeps its place.
    pair.age();
    pair.write("HELD.txt", "new");
    pair.write("a.txt", "lower again");
    place.cycle();
    place.assert_holds_all_but(&[".CSB", "HELD.txt", "a.txt", "dir"]);
    // Until it goes: then the other one gets its name and its place.
    pair.age();
    for name in ["A.txt", "held.txt"] {
        fs::remove_file(pair.source().join(name)).unwrap();
    }
    fs::remove_dir_all(pair.source().join("DIR")).unwrap();
    let outcome = place.cycle();
    assert!(outcome.warnings.is_empty(), "{outcome:#?}");
    place.assert_holds_all_but(&[".CSB"]);
    assert_eq!(fs::read_to_string(pair.standby().join("a.txt")).unwrap(), "lower again");
    assert_eq!(fs::read_to_string(pair.standby().join("dir/x")).unwrap(), "1");
}

/// Times that the standby rounds are no reason to copy, to compare or to repair.
fn rounded(place: &mut Place) {
    let pair = &place.pair;
    for (name, nanoseconds) in [("odd", 1_000_000_001_999_999_999), ("even", 1_000_000_000_000_000_001)] {
        pair.write(&format!("folder/{name}"), name);
        let time = SystemTime::UNIX_EPOCH + Duration::from_nanos(nanoseconds);
        set_mtime(&pair.source().join("folder").join(name), time);
    }
    set_mode(&pair.source().join("folder/odd"), 0o600);
    place.cycle();
    pair.age();
    place.assert_holds_all_but(&[]);
    // Neither where the index is lost: what the standby holds is read, and nothing is sent.
    for end in ["", "-wal", "-shm"] {
        let _ = fs::remove_file(pair.folder.path().join(format!("index.sqlite{end}")));
    }
    place.pair.take_lease();
    let pair = &place.pair;
    let outcome = place.cycle_with(false);
    assert_eq!((outcome.moved.bytes, outcome.moved.items_deleted), (0, 0), "{outcome:#?}");
    place.assert_holds_all_but(&[]);
    // What somebody writes into a copy is found all the same, and kept.
    pair.age();
    fs::write(pair.standby().join("folder/odd"), "of somebody else").unwrap();
    pair.write("folder/odd", "changed");
    let outcome = place.cycle_with(false);
    assert_eq!(outcome.warnings.len(), 1, "{outcome:#?}");
    place.assert_holds_all_but(&[]);
}

/// What the standby cannot name is named, before it is read, and the rest is copied.
fn unnameable(place: &mut Place) {
    let pair = &place.pair;
    for name in ["a:b", "folder?/f", "plain", "what|ever/deep/f"] {
        pair.write(name, "1");
    }
    fs::write(pair.source().join(os(b"bad\xff")), "1").unwrap();
    let outcome = place.cycle();
    let refused = ["a:b", "bad\u{fffd}", "folder?", "what|ever"];
    assert_eq!(named(&outcome), refused);
    assert!(outcome.quarantined.iter().all(|item| item.reason.contains("such a name")), "{outcome:#?}");
    fs::remove_file(pair.source().join(os(b"bad\xff"))).unwrap();
    place.assert_holds_all_but(&["a:b", "folder?", "what|ever"]);
    place.rename("a:b", "a b");
    place.cycle();
    place.assert_holds_all_but(&["folder?", "what|ever"]);
}

#[test]
fn names_that_change_their_spelling_only_are_renamed_with_what_is_in_them() {
    on_folding_stores(respelled);
}

#[test]
fn of_names_that_are_one_at_the_standby_one_is_copied_and_the_others_are_named() {
    on_folding_stores(collided);
}

#[test]
fn times_that_the_standby_rounds_are_no_difference() {
    on_folding_stores(rounded);
}

#[test]
fn names_that_the_standby_cannot_hold_are_named_before_they_are_read() {
    unnameable(&mut Place::folding(windows()));
}

#[test]
fn real_file_systems_that_take_names_for_one_hold_what_they_can_and_merge_nothing() {
    in_own_mounts(|| {
        let tests: [fn(&mut Place); 3] = [respelled, collided, rounded];
        tests.into_iter().for_each(on_real_file_systems);
    });
}

#[test]
fn real_file_systems_that_know_no_colon_hold_the_rest() {
    in_own_mounts(|| {
        for kind in ["exfat", "ntfs"] {
            let pair = Pair::new();
            if mount_new(&pair, kind) {
                let mut place = Place {
                    pair,
                    abilities: None,
                    stubborn: BTreeSet::new(),
                    lists_lower_case: kind == "ntfs",
                };
                std::os::unix::fs::symlink("plain", place.pair.source().join("link")).unwrap();
                if kind == "exfat" {
                    assert_eq!(named(&place.cycle()), ["link"], "it has no links");
                }
                fs::remove_file(place.pair.source().join("link")).unwrap();
                unnameable(&mut place);
                unmount(&place.pair.standby());
            }
        }
    });
}

#[test]
fn names_that_differ_in_normalization_only_are_one_where_the_standby_says_so() {
    let place = Place::folding(normalizing());
    let (composed, decomposed) = ("\u{e9}.txt", "e\u{301}.txt");
    place.pair.write(composed, "1");
    place.pair.write("stra\u{df}e", "2");
    place.cycle();
    place.pair.age();
    place.rename(composed, decomposed);
    let outcome = place.cycle();
    assert_eq!((outcome.moved.items_written, outcome.moved.bytes), (1, 0));
    place.pair.write(composed, "3");
    place.pair.write("STRASSE", "4");
    place.cycle();
    place.assert_holds_all_but(&["STRASSE", composed]);
}

#[test]
fn what_cannot_be_given_its_spelling_is_named_and_its_copy_is_not_deleted() {
    let mut place = Place::folding(windows());
    place.pair.write("plain.txt", "1");
    place.pair.write("docs/f", "2");
    place.cycle();
    place.pair.age();
    place.rename("plain.txt", "PLAIN.txt");
    place.rename("docs", "Docs");
    place.stubborn = ["PLAIN.txt", "Docs"].into();
    for _ in 0..2 {
        let outcome = place.cycle_with(false);
        assert_eq!(named(&outcome), ["Docs", "PLAIN.txt"]);
        assert!(outcome.moved.is_nothing(), "{outcome:#?}");
        assert_eq!(fs::read_to_string(place.pair.standby().join("plain.txt")).unwrap(), "1");
        assert_eq!(fs::read_to_string(place.pair.standby().join("docs/f")).unwrap(), "2");
    }
    place.stubborn.clear();
    assert_eq!(place.cycle().moved.items_written, 2);
    place.assert_holds_all_but(&[]);
}

#[test]
fn what_was_spelled_otherwise_is_restored_as_it_was() {
    for abilities in [windows(), normalizing()] {
        let place = Place::folding(abilities);
        let pair = &place.pair;
        for name in ["plain.txt", "docs/f", "docs/inner/g", "stays"] {
            pair.write(name, name);
        }
        std::os::unix::fs::symlink("f", pair.source().join("docs/link")).unwrap();
        place.cycle();
        let (first, then) = (pair.revision(), tree(&pair.source()));
        pair.age();
        for (from, to) in [("plain.txt", "PLAIN.txt"), ("docs/inner", "docs/INNER"), ("docs", "Docs")] {
            place.rename(from, to);
        }
        assert_eq!(place.cycle().moved.items_written, 3);
        let (second, between) = (pair.revision(), tree(&pair.source()));
        pair.age();
        pair.write("PLAIN.txt", "changed");
        fs::remove_dir_all(pair.source().join("Docs/INNER")).unwrap();
        place.rename("Docs", "docs");
        place.cycle();
        assert!(first < second && second < pair.revision());
        for (revision, then) in [(first, then), (second, between)] {
            pair.assert_restored(revision, &then);
        }
    }
}

#[test]
fn a_run_that_died_between_the_rename_and_its_note_is_gone_on_with() {
    let place = Place::folding(windows());
    for name in ["plain.txt", "docs/f", "docs/inner/g"] {
        place.pair.write(name, name);
    }
    place.cycle();
    place.pair.age();
    for (from, to) in [("plain.txt", "PLAIN.txt"), ("docs/inner", "docs/INNER"), ("docs", "Docs")] {
        place.rename(from, to);
        fs::rename(place.pair.standby().join(from), place.pair.standby().join(to)).unwrap();
    }
    let outcome = place.cycle();
    assert_eq!((outcome.moved.items_written, outcome.moved.bytes), (3, 0));
    place.assert_holds_all_but(&[]);
}

#[test]
fn what_was_told_apart_before_the_standby_moved_is_not_believed_to_be_held_twice() {
    let mut place = Place::folding(Abilities::default());
    for (name, content) in
        [("a.txt", "lower"), ("A.txt", "UPPER"), ("dir/x", "1"), ("DIR/y", "2"), ("b", "b")]
    {
        place.pair.write(name, content);
    }
    place.cycle();
    place.assert_holds_all_but(&[]);
    place.pair.age();
    // As a copy to a file system that takes both for one leaves it.
    let standby = place.pair.standby();
    fs::rename(standby.join("a.txt"), standby.join("A.txt")).unwrap();
    fs::rename(standby.join("dir/x"), standby.join("DIR/x")).unwrap();
    fs::remove_dir(standby.join("dir")).unwrap();
    place.abilities = Some(Arc::new(windows()));
    let outcome = place.cycle_with(false);
    assert_eq!(named(&outcome), ["a.txt", "dir"]);
    place.assert_holds_all_but(&["a.txt", "dir"]);
    assert_eq!(fs::read_to_string(standby.join("A.txt")).unwrap(), "UPPER");
}

#[test]
fn giving_back_merges_nothing_and_names_what_the_source_cannot_hold() {
    let pair = Pair::in_memory();
    for (name, content) in [
        ("a.txt", "lower"),
        ("A.txt", "UPPER"),
        ("dir/x", "1"),
        ("DIR/y", "2"),
        ("b:c", "colon"),
        ("kept", "k"),
    ] {
        pair.write(name, content);
    }
    pair.cycle();
    // The pool's new disk takes names for one.
    let fresh = pair.folder.path().join("fresh");
    fs::create_dir_all(fresh.join(".csb")).unwrap();
    fs::copy(pair.source().join(".csb/store.json"), fresh.join(".csb/store.json")).unwrap();
    fs::write(fresh.join("KEPT"), "k").unwrap();
    let inner = FolderStore::new(fresh.clone(), Vec::new());
    let source = Folding { inner, abilities: Arc::new(windows()), stubborn: BTreeSet::new() };
    let (standby, index) = (Box::new(pair.standby_store()), place(&pair.index_file()));
    let module =
        DataConf::new(pool(), Box::new(source), standby, index, pair.batch_bytes, pair.history.clone());
    assert_eq!(module.loss(&Look::default()).unwrap().items, 7, "what is there is not lost");
    let foreseen = module.observe_carry_back(&Look::default()).unwrap();
    let outcome = module.carry_back(&pair.context()).unwrap();
    assert_eq!(named(&outcome), ["a.txt", "b:c", "dir", "dir/x"]);
    assert_eq!((foreseen.items, foreseen.bytes), (outcome.moved.items_written, outcome.moved.bytes));
    let given: Vec<_> = tree(&fresh).into_keys().collect();
    assert_eq!(given, ["A.txt", "DIR", "DIR/y", "KEPT"].map(PathBuf::from));
    assert_eq!(fs::read_to_string(fresh.join("A.txt")).unwrap(), "UPPER");
    assert_eq!(fs::read_to_string(fresh.join("KEPT")).unwrap(), "k");
}

#[test]
fn a_copy_that_somebody_spelled_otherwise_gets_its_name_back_by_a_comparison() {
    let place = Place::folding(windows());
    place.pair.write("folder/plain.txt", "1");
    place.cycle();
    let folder = place.pair.standby().join("folder");
    fs::rename(folder.join("plain.txt"), folder.join("PLAIN.TXT")).unwrap();
    let outcome = place.cycle_with(true);
    let report = outcome.verification.unwrap();
    assert_eq!((report.differing_items, report.repaired_items), (1, 1));
    assert!(outcome.quarantined.is_empty());
    place.assert_holds_all_but(&[]);
}
