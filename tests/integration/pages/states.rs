//! Earlier states of a copy, and the way back.

use cs_backup::error::ErrorKind;
use cs_backup::store::user::{UserStorePair, WantedState};
use cs_backup::topology::HistorySize;
use jiff::SignedDuration;

use super::*;

/// A restored state, but for what a copy has of its own.
fn content_of(path: &Path) -> Vec<u8> {
    let mut content = std::fs::read(path).unwrap();
    blank(&mut content);
    content
}

fn restored(stores: &Stores, revision: u32) -> PathBuf {
    let to = stores.root().join(format!("restored-{revision}-{}", fastrand::u64(..)));
    let cancel = CancellationToken::new();
    stores.pair.restore_state(revision, &to, Generation(1), &cancel).unwrap();
    to
}

#[test]
fn every_kept_state_comes_back_byte_for_byte_and_can_be_written_to() {
    let stores = Stores::new();
    let server = stores.server();
    server.execute_batch(LEDGER).unwrap();
    stores.sync_and_compare();
    let mut known = vec![(stores.pair.states().unwrap()[0].revision, pages_of_source(&stores.source()))];
    for round in 0..8 {
        match round {
            3 => server.execute_batch("PRAGMA page_size = 1024; VACUUM").unwrap(),
            5 => server
                .execute_batch("DELETE FROM account WHERE id > 200; UPDATE account SET amount = 200; VACUUM")
                .unwrap(),
            _ => (0..5).for_each(|_| play(&server).unwrap()),
        }
        stores.sync_and_compare();
        known.push((stores.pair.states().unwrap()[0].revision, pages_of_source(&stores.source())));
    }
    let states = stores.pair.states().unwrap();
    assert_eq!(states.len(), 9);
    for (revision, content) in known {
        let path = restored(&stores, revision);
        assert_eq!(content_of(&path), content, "revision {revision}");
        Connection::open(&path).unwrap().execute_batch("UPDATE turn SET n = n + 1").unwrap();
    }
    let wanted = WantedState::At(states[4].at);
    let found = stores.pair.find_state(wanted, &stores.root().join("free")).unwrap();
    assert_eq!(found.revision, states[4].revision);
    let refused = |wanted, to: &Path| stores.pair.find_state(wanted, to).unwrap_err().kind;
    assert_eq!(
        refused(WantedState::Revision(9_999), &stores.root().join("free")),
        ErrorKind::InvalidArgument
    );
    assert_eq!(refused(wanted, &stores.source()), ErrorKind::InvalidArgument);
}

#[test]
fn a_state_is_found_by_any_time_at_which_the_store_was_in_it() {
    let stores = Stores::new();
    let server = stores.server();
    server.execute_batch(LEDGER).unwrap();
    let start = Timestamp::now();
    let sync_at = |seconds: i64, verify: bool| {
        let now = start + SignedDuration::from_secs(seconds);
        stores.sync_with(|work| (work.now, work.verify) = (now, verify)).unwrap();
    };
    sync_at(0, false);
    let first = stores.pair.states().unwrap()[0].revision;
    // Nothing changes; the source is read all the same.
    sync_at(100, true);
    play(&server).unwrap();
    sync_at(200, false);
    let found = |seconds: i64| {
        let wanted = WantedState::At(start + SignedDuration::from_secs(seconds));
        stores.pair.find_state(wanted, &stores.root().join("free")).unwrap().revision
    };
    assert_eq!([found(1), found(50), found(150)], [first; 3]);
    assert_ne!(found(201), first);
}

#[test]
fn a_state_that_nobody_could_note_is_not_found_by_a_time_before_it() {
    let stores = Stores::new();
    let server = stores.server();
    server.execute_batch(LEDGER).unwrap();
    let start = Timestamp::now() - SignedDuration::from_secs(1_000);
    let at = |seconds: i64| start + SignedDuration::from_secs(seconds);
    let noted = format!("{}.csb/state", stores.standby().display());
    let (mut kept, mut revisions) = (Vec::new(), Vec::new());
    for round in 0..4 {
        play(&server).unwrap();
        stores.sync_with(|work| work.now = at(100 * round)).unwrap();
        revisions.push(stores.pair.states().unwrap()[0].revision);
        match round {
            1 => kept = std::fs::read(&noted).unwrap(),
            // The process was killed after the commit.
            2 => std::fs::write(&noted, &kept).unwrap(),
            _ => {}
        }
    }
    let found = |seconds: i64| {
        let wanted = WantedState::At(at(seconds));
        stores.pair.find_state(wanted, &stores.root().join("free")).unwrap().revision
    };
    assert_eq!([found(50), found(150), found(350)], [revisions[0], revisions[1], revisions[3]]);
}

#[test]
fn a_copy_that_is_made_anew_has_no_states_of_the_one_before() {
    let stores = Stores::new();
    let server = stores.server();
    // With a log the counter of the source grows only where its first page changes.
    server.execute_batch(&format!("PRAGMA journal_mode = WAL; {LEDGER}")).unwrap();
    let note = |id: u32| {
        let change = format!("UPDATE account SET note = randomblob(300) WHERE id = {id}");
        server.execute_batch(&change).unwrap();
        stores.sync_and_compare();
    };
    (1..8).for_each(note);
    let before: Vec<u32> = stores.pair.states().unwrap().iter().map(|state| state.revision).collect();
    std::fs::remove_file(stores.standby()).unwrap();
    server.execute_batch("PRAGMA journal_mode = DELETE; CREATE TABLE another (x)").unwrap();
    stores.sync_and_compare();
    let states = stores.pair.states().unwrap();
    assert!(before[..before.len() - 1].contains(&states[0].revision), "{states:?}, before {before:?}");
    assert_eq!(states.len(), 1, "{states:?}");
}

#[test]
fn what_an_undone_sync_kept_is_no_state_of_a_sync_that_could_keep_nothing() {
    let stores = Stores::new();
    let server = stores.server();
    server.execute_batch(LEDGER).unwrap();
    stores.sync_and_compare();
    let (copy, noted) =
        (std::fs::read(stores.standby()).unwrap(), stores.standby().with_file_name("atl.sqlite.csb/state"));
    let kept = std::fs::read(&noted).unwrap();
    play(&server).unwrap();
    stores.sync_and_compare();
    // The commit was undone; what it had kept for the history is still there, and the next sync cannot write there.
    std::fs::write(stores.standby(), copy).unwrap();
    std::fs::write(&noted, kept).unwrap();
    std::fs::create_dir(noted.with_file_name("history/in the way.tmp")).unwrap();
    server.execute_batch("UPDATE account SET note = randomblob(200)").unwrap();
    let outcome = stores.sync_and_compare();
    assert!(outcome.warnings.iter().any(|warning| warning.contains("history")), "{:?}", outcome.warnings);
    let states = stores.pair.states().unwrap();
    assert_eq!(states.len(), 1, "{states:?}");
}

#[test]
fn merging_and_limits_keep_what_is_left_restorable() {
    let stores = Stores::new();
    let server = stores.server();
    server.execute_batch(LEDGER).unwrap();
    let start = Timestamp::now();
    let mut known = Vec::new();
    for round in 0..30 {
        play(&server).unwrap();
        // Three syncs a minute, two hours later.
        stores.sync_with(|work| work.now = start + SignedDuration::from_secs(round * 20)).unwrap();
        known.push((stores.pair.states().unwrap()[0].revision, pages_of_source(&stores.source())));
    }
    for round in 0..10 {
        play(&server).unwrap();
        stores.sync_with(|work| work.now = start + SignedDuration::from_secs(3 * 3_600 + round)).unwrap();
    }
    let states = stores.pair.states().unwrap();
    assert!(states.len() < 30, "{}", states.len());
    let mut compared = 0;
    for (revision, content) in known {
        if states.iter().any(|state| state.revision == revision) {
            assert_eq!(content_of(&restored(&stores, revision)), content);
            compared += 1;
        }
    }
    assert!(compared >= 8, "{compared}");
}

#[test]
fn a_history_never_takes_more_room_than_it_may() {
    let stores = Stores::configured(|config| config.history.max = HistorySize::Bytes(40_000));
    let server = stores.server();
    server.execute_batch(LEDGER).unwrap();
    for _ in 0..15 {
        server.execute_batch("UPDATE account SET note = randomblob(300)").unwrap();
        stores.sync_and_compare();
        let kept: u64 = stores.pair.states().unwrap().iter().map(|state| state.kept_bytes).sum();
        assert!(kept <= 40_000, "{kept}");
    }
}

#[test]
fn a_history_that_cannot_be_written_is_said_and_the_copy_goes_on() {
    let stores = Stores::new();
    let server = stores.server();
    server.execute_batch(LEDGER).unwrap();
    stores.sync_and_compare();
    std::fs::write(format!("{}.csb/history", stores.standby().display()), "no folder").unwrap();
    play(&server).unwrap();
    let outcome = stores.sync_and_compare();
    assert!(outcome.warnings.iter().any(|warning| warning.contains("history")), "{:?}", outcome.warnings);
}

#[test]
fn a_lost_store_comes_back_as_it_was_and_what_is_excluded_is_empty() {
    for mode in ["delete", "wal"] {
        let stores = Stores::configured(|config| config.exclude = vec!["spool*".to_owned()]);
        let server = stores.server();
        server.execute_batch(&format!("PRAGMA journal_mode = {mode}; {LEDGER} CREATE TABLE spool_1 (x); INSERT INTO spool_1 VALUES (1)")).unwrap();
        drop(server);
        std::os::unix::fs::chown(stores.source(), None, None).unwrap();
        stores.sync().unwrap();
        assert_eq!(stores.pair.lost().unwrap(), None);
        std::fs::remove_file(stores.source()).unwrap();
        // What the lost one left beside it must not be played into the new one.
        std::fs::write(format!("{}-journal", stores.source().display()), vec![0xd9; 600]).unwrap();
        assert!(stores.pair.lost().unwrap().is_some());
        let cancel = CancellationToken::new();
        stores.pair.restore(&work(&cancel, 2)).unwrap();
        let server = stores.server();
        let now: String = server.query_row("PRAGMA journal_mode", [], |row| row.get(0)).unwrap();
        assert_eq!(now, mode);
        let spooled: i64 = server.query_row("SELECT count(*) FROM spool_1", [], |row| row.get(0)).unwrap();
        assert_eq!(spooled, 0);
        play(&server).unwrap();
        drop(server);
        assert_eq!(turn(&stores.source()), 1);
        stores.sync_with(|work| (work.generation, work.accept_deletions) = (Generation(2), true)).unwrap();
        stores.assert_equal();
    }
}

#[test]
fn a_store_that_came_back_meanwhile_is_not_overwritten() {
    let stores = Stores::new();
    stores.server().execute_batch(LEDGER).unwrap();
    stores.sync().unwrap();
    std::fs::remove_file(stores.source()).unwrap();
    stores.server().execute_batch("CREATE TABLE theirs (x)").unwrap();
    let theirs = std::fs::read(stores.source()).unwrap();
    assert_eq!(stores.pair.lost().unwrap(), None);
    let cancel = CancellationToken::new();
    assert_eq!(stores.pair.restore(&work(&cancel, 2)).unwrap().moved.items_written, 0);
    assert_eq!(std::fs::read(stores.source()).unwrap(), theirs);
}

#[test]
fn a_store_that_was_moved_away_under_its_server_is_not_given_back_beside_it() {
    for how in ["moved", "removed"] {
        let stores = Stores::new();
        stores.server().execute_batch(LEDGER).unwrap();
        stores.sync().unwrap();
        // A server that has it open, and holds no lock just now.
        let open = "import sqlite3, sys; server = sqlite3.connect(sys.argv[1]); server.execute('SELECT * FROM turn').fetchall(); print(1, flush=True); sys.stdin.read()";
        let mut server = std::process::Command::new("python3")
            .args(["-c", open, stores.source().to_str().unwrap()])
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let mut said = [0];
        std::io::Read::read_exact(server.stdout.as_mut().unwrap(), &mut said).unwrap();
        match how {
            "moved" => std::fs::rename(stores.source(), stores.root().join("atl/kept.sqlite")).unwrap(),
            _ => std::fs::remove_file(stores.source()).unwrap(),
        }
        let cancel = CancellationToken::new();
        let error = stores.pair.restore(&work(&cancel, 2)).unwrap_err();
        assert_eq!(error.kind, ErrorKind::StoreBusy, "{how}");
        assert!(error.message.contains(&format!("process {}", server.id())), "{how}: {}", error.message);
        assert!(!stores.source().exists());
        drop(server.stdin.take());
        server.wait().unwrap();
        stores.pair.restore(&work(&cancel, 2)).unwrap();
        assert_eq!(turn(&stores.source()), 0);
    }
}

#[test]
fn a_server_of_another_container_that_has_the_lost_store_open_is_seen() {
    const FOLDER: &str = "CSB_TEST_CONTAINER";
    let test = "pages::states::a_server_of_another_container_that_has_the_lost_store_open_is_seen";
    let cancel = CancellationToken::new();
    if let Ok(folder) = std::env::var(FOLDER) {
        let restored = pair_in(std::path::Path::new(&folder), |_| {}).restore(&work(&cancel, 2));
        eprintln!("\nrestored {:?}", restored.map_err(|error| (error.kind, error.message)));
        return;
    }
    let mut unshare = std::process::Command::new("unshare");
    unshare.args(["--pid", "--fork", "--mount-proc"]);
    if !unshare.arg("true").status().is_ok_and(|status| status.success()) {
        eprintln!("skipped: this account may not make namespaces of processes");
        return;
    }
    let stores = Stores::new();
    stores.server().execute_batch(LEDGER).unwrap();
    stores.sync().unwrap();
    // Its server made the lost one anew, and has it open without a lock.
    std::fs::remove_file(stores.source()).unwrap();
    let open = "import sys; server = open(sys.argv[1], 'w'); print(1, flush=True); sys.stdin.read()";
    let mut server = std::process::Command::new("python3")
        .args(["-c", open, stores.source().to_str().unwrap()])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    std::io::Read::read_exact(server.stdout.as_mut().unwrap(), &mut [0]).unwrap();
    let restore = || {
        let mut command = std::process::Command::new("unshare");
        command.args(["--pid", "--fork", "--mount-proc"]).arg(std::env::current_exe().unwrap());
        command.args(["--exact", test, "--nocapture", "--test-threads=1"]).env(FOLDER, stores.root());
        String::from_utf8(command.output().unwrap().stderr).unwrap()
    };
    let said = restore();
    assert!(said.contains("StoreBusy") && said.contains("cannot be looked into"), "{said}");
    assert_eq!(std::fs::metadata(stores.source()).unwrap().len(), 0);
    drop(server.stdin.take());
    server.wait().unwrap();
    let said = restore();
    assert!(said.contains("restored Ok"), "{said}");
    assert_eq!(turn(&stores.source()), 0);
}

#[test]
fn what_is_given_back_has_the_owner_and_mode_that_its_store_had_whatever_the_copy_has() {
    use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
    let stores = Stores::new();
    let server = stores.server();
    server.execute_batch(LEDGER).unwrap();
    let set = |mode: u32, owner: Option<u32>| {
        std::fs::set_permissions(stores.source(), std::fs::Permissions::from_mode(mode)).unwrap();
        chown(stores.source(), owner, owner).is_ok()
    };
    let is_root = set(0o640, Some(12_345));
    stores.sync().unwrap();
    // Others may read it since; nothing was written, and the copy is no more open than it was.
    set(0o664, None);
    std::thread::sleep(Duration::from_millis(50));
    stores.sync().unwrap();
    stores.sync().unwrap();
    std::fs::set_permissions(stores.standby(), std::fs::Permissions::from_mode(0o600)).unwrap();
    if is_root {
        chown(stores.standby(), Some(0), Some(0)).unwrap();
    }
    drop(server);
    std::fs::remove_file(stores.source()).unwrap();
    stores.pair.restore(&work(&CancellationToken::new(), 2)).unwrap();
    let found = std::fs::metadata(stores.source()).unwrap();
    assert_eq!(found.mode() & 0o777, 0o664);
    if is_root {
        assert_eq!((found.uid(), found.gid()), (12_345, 12_345));
    }
}

#[test]
fn a_store_whose_file_system_is_not_mounted_is_not_lost() {
    crate::isolation::in_own_mounts(|| {
        let stores = Stores::new();
        let folder = stores.source().parent().unwrap().to_owned();
        crate::isolation::mount(&["-t", "tmpfs", "tmpfs"], &folder);
        stores.server().execute_batch(LEDGER).unwrap();
        stores.sync_and_compare();
        crate::isolation::unmount(&folder);
        let error = stores.pair.lost().unwrap_err();
        assert_eq!(error.kind, ErrorKind::StoreUnavailable);
        assert!(error.message.contains("not mounted"), "{}", error.message);
        let cancel = CancellationToken::new();
        stores.pair.restore(&work(&cancel, 2)).unwrap_err();
        assert!(!stores.source().exists());
        // Whoever knows that it is lost says so by an empty file.
        std::fs::write(stores.source(), "").unwrap();
        stores.pair.restore(&work(&cancel, 2)).unwrap();
        assert_eq!(turn(&stores.source()), 0);
    });
}

#[test]
fn a_copy_that_is_made_anew_leads_back_to_nothing_that_was_before_it_whatever_its_number_is() {
    let stores = Stores::new();
    let server = stores.server();
    server.execute_batch(LEDGER).unwrap();
    stores.sync().unwrap();
    // The revisions of the copy and the counter of its source come to the same numbers.
    for _ in 0..6 {
        play(&server).unwrap();
        stores.sync().unwrap();
    }
    let history = stores.root().join("chi/atl.sqlite.csb/history");
    assert_eq!(stores.pair.states().unwrap().len(), 7);
    for spoil in
        [|path: &Path| std::fs::remove_file(path).unwrap(), |path: &Path| std::fs::write(path, "x").unwrap()]
    {
        play(&server).unwrap();
        stores.sync().unwrap();
        assert!(stores.pair.states().unwrap().len() > 1);
        spoil(&stores.standby());
        let outcome = stores.sync_and_compare();
        assert!(format!("{outcome:?}").contains("earlier states of it cannot be restored"), "{outcome:?}");
        assert_eq!(stores.pair.states().unwrap().len(), 1);
        assert!(!history.exists());
    }
}

#[test]
fn what_a_killed_writer_left_in_the_history_goes_with_the_next_commit() {
    let stores = Stores::new();
    let server = stores.server();
    server.execute_batch(LEDGER).unwrap();
    stores.sync().unwrap();
    let [older, newer] = [1, 2].map(|_| {
        play(&server).unwrap();
        stores.sync().unwrap();
        stores.pair.states().unwrap()
    });
    let history = stores.root().join("chi/atl.sqlite.csb/history");
    let names = || {
        let mut names: Vec<String> = std::fs::read_dir(&history)
            .unwrap()
            .map(|file| file.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    };
    let before = names();
    let [oldest, last] = before.as_slice() else { panic!("{before:?}") };
    // The entry of a commit that was undone, one of an earlier copy, and half of one.
    let undone = format!("{:010}-{:010}-{}", newer[0].revision, newer[0].revision + 1, &last[22..]);
    for stray in
        [&undone, "0000000001-0000000002-1700000000000", &format!("{undone}.tmp"), "of a later build"]
    {
        std::fs::copy(history.join(oldest), history.join(stray)).unwrap();
    }
    assert_eq!(stores.pair.states().unwrap(), newer, "what leads nowhere is not shown");
    play(&server).unwrap();
    stores.sync_and_compare();
    assert_eq!(names().len(), 4, "{:?}", names());
    assert!(names().contains(&"of a later build".to_owned()));
    let states = stores.pair.states().unwrap();
    assert_eq!(
        states.iter().map(|state| state.revision).skip(1).collect::<Vec<_>>(),
        newer.iter().map(|state| state.revision).collect::<Vec<_>>()
    );
    // An entry that cannot be read ends the way back, and what is after it can be restored.
    std::fs::write(history.join(last), "garbage").unwrap();
    assert_eq!(stores.pair.states().unwrap().len(), 2);
    restored(&stores, states[1].revision);
    let to = stores.root().join("never");
    let lost = stores.pair.restore_state(older[1].revision, &to, Generation(1), &CancellationToken::new());
    assert_eq!(lost.unwrap_err().kind, ErrorKind::Corrupt);
    assert!(!to.exists());
}

#[test]
fn a_restored_state_is_compared_with_the_copy_of_now_by_table_and_row() {
    let stores = Stores::configured(|config| config.exclude = vec!["spool".to_owned()]);
    let server = stores.server();
    server
        .execute_batch(
            "PRAGMA journal_mode = WAL; CREATE TABLE users (name TEXT PRIMARY KEY, age); CREATE TABLE spool (x);
             INSERT INTO users VALUES ('ann', 1), ('bob', 2), ('cid', 3); INSERT INTO spool VALUES (1)",
        )
        .unwrap();
    stores.sync().unwrap();
    server.execute_batch("DELETE FROM users WHERE name = 'ann'; UPDATE users SET age = 9 WHERE name = 'bob'; INSERT INTO users VALUES ('eve', 5)").unwrap();
    stores.sync().unwrap();
    let (to, states) = (stores.root().join("earlier"), stores.pair.states().unwrap());
    let cancel = CancellationToken::new();
    let (state, lines) = stores.pair.restore_state(states[1].revision, &to, Generation(1), &cancel).unwrap();
    assert_eq!(state, states[1]);
    assert_eq!(
        lines,
        [
            "Rows of users: 1 only in it ('ann'), 1 only in the copy of now ('eve'), 1 hold something else ('bob').",
            "Emptied, because they are excluded: spool.",
        ]
    );
    let beside: Vec<_> =
        std::fs::read_dir(stores.root()).unwrap().map(|file| file.unwrap().file_name()).collect();
    assert_eq!(beside.len(), 3, "{beside:?}");
}
