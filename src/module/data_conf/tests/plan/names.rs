//! What changes is named: once each, with what became of it.

use std::collections::BTreeSet;

use super::*;
use crate::report::{Change, ChangeKind, Changes};

/// Remembers every change.
#[derive(Default)]
struct Listener(Mutex<Vec<(ChangeKind, Change)>>);

impl Observer for Listener {
    fn progress(&self, _: Progress) {}

    fn warning(&self, _: String) {}

    fn changed(&self, kind: ChangeKind, change: &Change) {
        self.0.lock().unwrap().push((kind, change.clone()));
    }
}

impl Pair {
    /// A cycle, and everything that it told by name.
    fn listened(&self) -> (CycleOutcome, Vec<(ChangeKind, Change)>) {
        let listener = Arc::new(Listener::default());
        let observer: Arc<dyn Observer> = Arc::clone(&listener) as _;
        let done = self.module().run_cycle(&Context { observer, ..self.context() }).unwrap();
        let told = std::mem::take(&mut *listener.0.lock().unwrap());
        (done, told)
    }
}

/// The names of each kind, sorted: files are prepared in any order.
pub(super) fn named(changes: &Changes) -> Vec<(ChangeKind, Vec<String>)> {
    let names = |first: &[Change]| {
        let names: BTreeSet<String> = first.iter().map(|change| change.item.clone()).collect();
        names.into_iter().collect()
    };
    changes.0.iter().map(|of_kind| (of_kind.kind, names(&of_kind.first))).collect()
}

fn changed_in_every_way() -> Pair {
    let pair = Pair::new();
    for name in ["longer", "as long", "mode", "old", "goes", "folder/inner", "theirs", "becomes a folder"] {
        pair.write(name, format!("first version of {name}"));
    }
    pair.cycle();
    pair.age();
    pair.write("longer", "another version of longer, which is longer");
    pair.write("as long", "other version of as long");
    set_mode(&pair.source().join("mode"), 0o600);
    fs::rename(pair.source().join("old"), pair.source().join("moved")).unwrap();
    fs::remove_file(pair.source().join("goes")).unwrap();
    fs::remove_dir_all(pair.source().join("folder")).unwrap();
    fs::remove_file(pair.source().join("becomes a folder")).unwrap();
    pair.write("becomes a folder/with this", "new");
    fs::write(pair.standby().join("theirs"), "changed at the standby").unwrap();
    pair.write("theirs", "changed at the source as well");
    fs::write(pair.source().join(os(b"line\nbreak \xff")), "new").unwrap();
    pair
}

#[test]
fn everything_that_changes_is_named_once_with_what_became_of_it() {
    use ChangeKind::{Attributes, Copied, Deleted, KeptAside, Renamed, Replaced};
    let pair = changed_in_every_way();
    let seen = pair.observe();
    let (done, told) = pair.listened();
    let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    let wanted = [
        (Copied, names(&["becomes a folder/with this", "line\\nbreak \u{fffd}"])),
        (Replaced, names(&["as long", "becomes a folder", "longer", "theirs"])),
        (Renamed, names(&["moved"])),
        (Attributes, names(&["mode"])),
        (Deleted, names(&["folder", "folder/inner", "goes"])),
        (KeptAside, names(&["theirs"])),
    ];
    assert_eq!(named(&done.changes), wanted);
    assert_eq!(named(&seen.changes), wanted, "the plan names the same");
    let mut all = Changes::default();
    told.into_iter().for_each(|(kind, change)| all.note(kind, change));
    assert_eq!(all, done.changes, "who watches is told the same");
    let items = |kinds: &[ChangeKind]| kinds.iter().map(|kind| all.items(*kind)).sum::<u64>();
    assert_eq!(items(&[Copied, Replaced, Renamed, Attributes]), done.moved.items_written);
    // An earlier name goes, too.
    assert_eq!(items(&[Deleted, Renamed]), done.moved.items_deleted);
    let first = |kind, name: &str| {
        let of_kind = all.0.iter().find(|of_kind| of_kind.kind == kind).unwrap();
        of_kind.first.iter().find(|change| change.item == name).unwrap().clone()
    };
    assert_eq!(first(Renamed, "moved").from.as_deref(), Some("old"));
    assert_eq!(first(Replaced, "longer").bytes, Some(42));
    let kept = first(KeptAside, "theirs").kept_as.unwrap();
    assert_eq!(fs::read_to_string(pair.standby().join(kept)).unwrap(), "changed at the standby");
    pair.assert_settled();
    assert_eq!(pair.cycle().changes, Changes::default());
}

#[test]
fn a_report_names_the_first_hundred_and_whoever_watches_is_told_all() {
    let pair = Pair::new();
    for number in 0..150 {
        pair.write(&format!("f{number}"), "x");
    }
    let (done, told) = pair.listened();
    assert_eq!((done.changes.items(ChangeKind::Copied), told.len()), (150, 150));
    assert_eq!(done.changes.0[0].first.len(), 100);
    let seen: BTreeSet<String> = told.into_iter().map(|(_, change)| change.item).collect();
    assert_eq!(seen.len(), 150);
}

#[test]
fn what_is_given_back_is_named() {
    let pair = Pair::new();
    for name in ["stays", "folder/lost", "lost"] {
        pair.write(name, "content");
    }
    pair.cycle();
    fs::remove_dir_all(pair.source().join("folder")).unwrap();
    fs::remove_file(pair.source().join("lost")).unwrap();
    let wanted = [(ChangeKind::GivenBack, ["folder", "folder/lost", "lost"].map(String::from).to_vec())];
    let planned = pair.module().observe_carry_back(&Look::default()).unwrap();
    assert_eq!(named(&planned.changes), wanted);
    let done = pair.module().carry_back(&pair.context()).unwrap();
    assert_eq!(named(&done.changes), wanted);
}

#[test]
fn what_was_done_before_a_cycle_was_cancelled_is_named() {
    let pair = Pair { batch_bytes: 1, ..Pair::new() };
    for number in 0..20 {
        pair.write(&format!("f{number}"), "x");
    }
    let failure = pair.cancelled_cycle(5).unwrap_err();
    let copied = tree(&pair.standby()).into_keys().map(|path| path.to_str().unwrap().to_owned());
    let copied: Vec<String> = copied.collect();
    assert!(!copied.is_empty());
    assert_eq!(named(&failure.done.changes), [(ChangeKind::Copied, copied)]);
}

#[test]
fn hard_links_that_become_files_of_their_own_are_told_with_how_many_and_how_much() {
    let pair = Pair::new();
    pair.write("first", vec![7; 1 << 20]);
    pair.write("alone", "1");
    for number in 0..3 {
        fs::hard_link(pair.source().join("first"), pair.source().join(format!("link {number}"))).unwrap();
    }
    let planned = pair.observe();
    assert_eq!(planned.moves.unwrap().items_written, 5);
    let told = |outcome: &CycleOutcome| outcome.warnings.join("|");
    let outcome = pair.cycle();
    assert!(told(&outcome).contains("3 names more") && told(&outcome).contains("3.0 MiB"), "{outcome:?}");
    pair.age();
    assert_eq!(told(&pair.cycle()), "", "nothing was copied");
    fs::hard_link(pair.source().join("first"), pair.source().join("another")).unwrap();
    let outcome = pair.cycle();
    assert!(told(&outcome).contains("1 name more") && told(&outcome).contains("1.0 MiB"), "{outcome:?}");
    pair.assert_settled();
}
