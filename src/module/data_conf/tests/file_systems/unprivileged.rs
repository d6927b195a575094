//! What the service's account may not read or write: by an account without privileges, as the real one is.

use std::os::unix::process::CommandExt;
use std::process::Command;

use super::*;
use crate::store::content::ContentStore;

const INSIDE: &str = "CSB_TEST_UNPRIVILEGED";
/// The account that owns nothing.
const NOBODY: u32 = 65534;

/// Whether this process has no privileges. Where it has, runs the test in a process that has none, and fails if that does.
fn without_privileges(test: &str) -> bool {
    if !rustix::process::geteuid().is_root() {
        return true;
    }
    let name = format!("module::data_conf::tests::file_systems::unprivileged::{test}");
    assert!(std::env::var_os(INSIDE).is_none(), "{name} was to run without privileges");
    // By this name it can be started whatever folder it lies in.
    let mut child = Command::new("/proc/self/exe");
    child.args(["--exact", &name]).env(INSIDE, "1").env("TMPDIR", "/tmp").uid(NOBODY).gid(NOBODY);
    let done = child.output().unwrap();
    let said = String::from_utf8_lossy(&done.stdout);
    assert!(
        done.status.success() && said.contains("1 passed"),
        "{said}{}",
        String::from_utf8_lossy(&done.stderr)
    );
    false
}

fn filled() -> Pair {
    let pair = Pair::new();
    for name in ["plain", "secret", "folder/f", "folder/inner/g", "other/h"] {
        pair.write(name, "1");
    }
    pair.cycle();
    pair.age();
    pair
}

fn named(outcome: &CycleOutcome) -> Vec<(&str, &str)> {
    outcome.quarantined.iter().map(|item| (item.item.as_str(), item.reason.as_str())).collect()
}

const FORBIDDEN: &str = "It may not be read.";

#[test]
fn files_that_may_not_be_read_are_named_and_their_copies_stay() {
    if !without_privileges("files_that_may_not_be_read_are_named_and_their_copies_stay") {
        return;
    }
    let pair = filled();
    pair.write("secret", "changed");
    pair.write("plain", "changed");
    set_mode(&pair.source().join("secret"), 0);
    let outcome = pair.cycle();
    assert_eq!(named(&outcome), [("secret", FORBIDDEN)]);
    assert!(outcome.quarantined[0].advice.contains("right to read"));
    assert_eq!(outcome.moved.items_written, 1);
    assert_eq!(fs::read(pair.standby().join("secret")).unwrap(), b"1");
    set_mode(&pair.source().join("secret"), 0o600);
    pair.cycle();
    pair.assert_settled();
}

#[test]
fn folders_that_may_not_be_listed_are_named_and_nothing_in_them_is_deleted() {
    if !without_privileges("folders_that_may_not_be_listed_are_named_and_nothing_in_them_is_deleted") {
        return;
    }
    // Neither listed nor entered; listed but not entered; entered but not listed.
    for mode in [0o000, 0o400, 0o300] {
        let pair = filled();
        let folder = pair.source().join("folder");
        fs::remove_file(pair.source().join("other/h")).unwrap();
        set_mode(&folder, mode);
        let outcome = pair.cycle();
        assert_eq!(named(&outcome), [("folder", FORBIDDEN)], "{mode:o}: {outcome:#?}");
        assert_eq!(outcome.moved.items_deleted, 1, "{mode:o}: only what is known to be gone");
        assert!(pair.standby().join("folder/f").exists() && pair.standby().join("folder/inner/g").exists());
        set_mode(&folder, 0o755);
        assert_eq!(pair.cycle().moved.items_deleted, 0);
        pair.assert_settled();
    }
}

#[test]
fn a_root_that_may_not_be_listed_is_an_error_and_deletes_nothing() {
    if !without_privileges("a_root_that_may_not_be_listed_is_an_error_and_deletes_nothing") {
        return;
    }
    let pair = filled();
    let before = tree(&pair.standby());
    for mode in [0o000, 0o300, 0o400] {
        set_mode(&pair.source(), mode);
        for accept_deletions in [false, true] {
            let failure = pair.module().run_cycle(&Context { accept_deletions, ..pair.context() });
            assert!(failure.is_err(), "{mode:o}: {failure:?}");
        }
        set_mode(&pair.source(), 0o755);
        assert_eq!(tree(&pair.standby()), before, "{mode:o}");
    }
    pair.cycle();
    pair.assert_settled();
}

#[test]
fn a_standby_that_may_not_be_written_is_an_error_and_heals() {
    if !without_privileges("a_standby_that_may_not_be_written_is_an_error_and_heals") {
        return;
    }
    let pair = filled();
    pair.write("folder/f", "changed");
    pair.write("plain", "changed");
    for name in ["", ".csb/tmp"] {
        set_mode(&pair.standby().join(name), 0o500);
        let error = pair.cycle_error();
        assert_eq!(error.kind, ErrorKind::AccessDenied, "{name}: {error:#?}");
        assert!(!error.advice.is_empty());
        set_mode(&pair.standby().join(name), 0o755);
    }
    pair.cycle();
    pair.assert_settled();
}

#[test]
fn what_may_not_be_written_in_the_standby_is_named_and_the_rest_is_copied() {
    if !without_privileges("what_may_not_be_written_in_the_standby_is_named_and_the_rest_is_copied") {
        return;
    }
    let pair = filled();
    let closed = pair.standby().join("folder");
    pair.write("folder/f", "changed");
    fs::remove_dir_all(pair.source().join("folder/inner")).unwrap();
    pair.write("plain", "changed");
    fs::remove_file(pair.source().join("other/h")).unwrap();
    set_mode(&closed, 0o555);
    set_mode(&closed.join("inner"), 0o555);
    let outcome = pair.cycle();
    let found = named(&outcome);
    assert_eq!(found.iter().map(|(item, _)| *item).collect::<Vec<_>>(), ["folder/inner/g", "folder/inner"]);
    assert!(found[0].1.contains("may not write") && found[1].1.contains("could not be deleted"), "{found:?}");
    assert!(outcome.quarantined.iter().all(|item| !item.advice.is_empty()));
    // The other folder was given its mode back, as its owner may.
    assert_eq!((outcome.moved.items_written, outcome.moved.items_deleted), (2, 1), "{outcome:#?}");
    assert!(closed.join("inner/g").exists());
    set_mode(&closed.join("inner"), 0o755);
    let again = pair.cycle();
    assert!(again.quarantined.is_empty(), "{again:#?}");
    assert_eq!(again.moved.items_deleted, 2);
    pair.assert_settled();
}

#[test]
fn who_may_not_give_files_away_knows_that_owners_are_not_kept() {
    let keeps = |pair: &Pair| {
        let keeps = pair.standby_store().keeps_owners();
        assert_eq!(fs::read_dir(pair.standby().join(".csb/tmp")).unwrap().count(), 0);
        keeps
    };
    if rustix::process::geteuid().is_root() {
        assert!(keeps(&filled()));
    }
    if without_privileges("who_may_not_give_files_away_knows_that_owners_are_not_kept") {
        assert!(!keeps(&filled()));
    }
}

#[test]
fn a_copy_that_may_not_be_written_gets_its_attributes_and_keeps_its_mode() {
    if !without_privileges("a_copy_that_may_not_be_written_gets_its_attributes_and_keeps_its_mode") {
        return;
    }
    let pair = filled();
    let [original, copy] = [pair.source(), pair.standby()].map(|root| root.join("plain"));
    rustix::fs::setxattr(&original, "user.k", b"v", rustix::fs::XattrFlags::empty()).unwrap();
    set_mode(&original, 0o440);
    pair.cycle();
    let mut value = [0; 4];
    assert_eq!(rustix::fs::getxattr(&copy, "user.k", &mut value[..]), Ok(1));
    assert_eq!(fs::metadata(&copy).unwrap().mode() & 0o7777, 0o440);
    pair.assert_settled();
}

#[test]
fn what_was_in_a_folder_that_may_not_be_written_comes_back_and_the_folder_stays_as_it_is() {
    if !without_privileges(
        "what_was_in_a_folder_that_may_not_be_written_comes_back_and_the_folder_stays_as_it_is",
    ) {
        return;
    }
    let pair = filled();
    let folder = pair.source().join("folder");
    fs::remove_dir_all(folder.join("inner")).unwrap();
    fs::remove_file(folder.join("f")).unwrap();
    set_mode(&folder, 0o555);
    let outcome = pair.module().carry_back(&pair.context()).unwrap();
    assert!(outcome.quarantined.is_empty() && outcome.warnings.is_empty(), "{outcome:#?}");
    assert_eq!(outcome.moved.items_written, 3);
    assert_eq!(fs::metadata(&folder).unwrap().mode() & 0o7777, 0o555);
    assert!(folder.join("f").exists() && folder.join("inner/g").exists());
    pair.cycle();
}

#[test]
fn what_cannot_be_kept_of_what_comes_back_is_named() {
    if !without_privileges("what_cannot_be_kept_of_what_comes_back_is_named") {
        return;
    }
    let pair = filled();
    // As after a run as root: the index says whose it was, and that its group runs it as another one.
    let connection = rusqlite::Connection::open(pair.index_file()).unwrap();
    let change =
        "UPDATE csb_content_object SET user = 1, user_group = 1, mode = 1517 WHERE name = x'706c61696e'";
    assert_eq!(connection.execute(change, []), Ok(1));
    drop(connection);
    fs::remove_file(pair.source().join("plain")).unwrap();
    let outcome = pair.module().carry_back(&pair.context()).unwrap();
    assert_eq!(fs::metadata(pair.source().join("plain")).unwrap().mode() & 0o7777, 0o755);
    assert_eq!(outcome.warnings.len(), 1, "{outcome:#?}");
    assert!(outcome.warnings[0].contains("plain"), "{outcome:#?}");
}
