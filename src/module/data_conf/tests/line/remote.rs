//! A source at another machine: what crosses the line, and what becomes of a line that is cut.

use std::os::unix::fs::symlink;
use std::sync::atomic::Ordering;

use super::super::*;
use crate::store::content::hints::{Want, What};

/// The messages about content.
const OPEN: u8 = 40;
const WALK: u8 = 41;
const LISTINGS: u8 = 42;
const FETCH: u8 = 43;
const READ: u8 = 44;
const PATCH: u8 = 45;

fn noise(length: usize, seed: u64) -> Vec<u8> {
    let mut noise = vec![0; length];
    fastrand::Rng::with_seed(seed).fill(&mut noise);
    noise
}

impl Pair {
    /// What a cycle came to, the calls that it made, and the bytes that crossed the line both ways.
    fn measured(&self, cycle: impl FnOnce(&Pair) -> CycleOutcome) -> (CycleOutcome, Vec<u8>, u64) {
        let afar = self.afar.as_ref().unwrap();
        let crossed = || afar.place.traffic().sent + afar.place.traffic().received;
        afar.line.calls();
        let before = crossed();
        let outcome = cycle(self);
        (outcome, afar.line.calls(), crossed() - before)
    }

    /// Until nothing is young, and every listing is known.
    fn come_to_rest(&self) {
        self.age();
        self.cycle();
        self.age();
        self.cycle();
    }
}

#[test]
fn an_idle_cycle_is_one_flight_however_much_there_is() {
    let pair = Pair::afar();
    for number in 0..20_000 {
        pair.write(&format!("room {}/{number}", number % 200), "x");
    }
    let (outcome, calls, _) = pair.measured(Pair::cycle);
    assert_eq!(outcome.moved.items_written, 20_200);
    assert!(calls.iter().all(|call| [OPEN, 46, WALK, FETCH].contains(call)), "{calls:?}");
    assert!(calls.len() < 100, "{}", calls.len());
    pair.come_to_rest();
    let (outcome, calls, bytes) = pair.measured(Pair::cycle);
    assert!(outcome.moved.is_nothing());
    assert_eq!(outcome.details[0], "Compared 20200 objects: 0 written, 0 deleted, 0 not copied.");
    assert_eq!(calls, [OPEN]);
    assert!(bytes < 1024, "{bytes}");
    let afar = pair.afar.as_ref().unwrap();
    let loss = pair.module().loss(&Look::default()).unwrap();
    assert_eq!((loss.items, loss.is_store_lost, afar.line.calls()), (0, false, vec![OPEN]));
    pair.module().check(&Look::default()).unwrap();
    assert_eq!(afar.line.calls(), [OPEN]);
    assert_eq!((pair.observe().pending_items, afar.line.calls()), (0, vec![OPEN]));
    // One changed file among all: its folder is listed, and nothing else.
    pair.write("room 7/7", "changed");
    let (outcome, calls, bytes) = pair.measured(Pair::cycle);
    assert_eq!(outcome.moved.items_written, 1);
    assert!(calls.len() <= 4 && bytes < 40_000, "{calls:?} {bytes}");
    assert_eq!(tree(&pair.source()), tree(&pair.standby()));
}

#[test]
fn a_thousand_changed_files_come_in_few_flights() {
    let pair = Pair::afar();
    for number in 0..1000 {
        pair.write(&format!("{}/{number}", number % 10), format!("first {number}"));
    }
    pair.cycle();
    pair.come_to_rest();
    for number in 0..1000 {
        pair.write(&format!("{}/{number}", number % 10), format!("another {number}"));
    }
    let accepted = |pair: &Pair| pair.forced_cycle();
    let (outcome, calls, bytes) = pair.measured(accepted);
    assert_eq!(outcome.moved.items_written, 1000);
    assert!(calls.len() <= 12 && bytes < 60_000, "{calls:?} {bytes}");
    assert!(!calls.contains(&READ), "small files come with what is known of them");
    assert_eq!(tree(&pair.source()), tree(&pair.standby()));
    // Renamed files send what tells that they are the same, and no content.
    for number in 0..10 {
        fs::rename(pair.source().join(number.to_string()), pair.source().join(format!("new {number}")))
            .unwrap();
    }
    let (outcome, calls, bytes) = pair.measured(accepted);
    assert!(
        outcome.details.iter().any(|line| line.starts_with("Renamed 1000 files")),
        "{:?}",
        outcome.details
    );
    assert!(calls.len() <= 30 && bytes < 200_000, "{calls:?} {bytes}");
    pair.assert_settled();
}

#[test]
fn of_a_big_file_only_the_groups_that_changed_are_sent() {
    let pair = Pair::afar();
    let mut content = noise(64 << 20, 1);
    pair.write("big", &content);
    pair.cycle();
    pair.come_to_rest();
    content[40 << 20] ^= 1;
    content.extend_from_slice(b"and a little more");
    pair.write("big", &content);
    let (outcome, calls, bytes) = pair.measured(Pair::cycle);
    assert_eq!(outcome.moved.items_written, 1);
    assert!(bytes < 300_000, "{bytes}");
    assert!(calls.contains(&PATCH) && calls.len() <= 4, "{calls:?}");
    assert_eq!(fs::read(pair.standby().join("big")).unwrap(), content);
    // Touched only: its hash crosses, and nothing of its content.
    set_mtime(&pair.source().join("big"), SystemTime::UNIX_EPOCH);
    let (_, calls, bytes) = pair.measured(Pair::cycle);
    assert!(bytes < 16 << 10, "{bytes} {calls:?}");
    let verify = |pair: &Pair| pair.module().run_cycle(&Context { verify: true, ..pair.context() }).unwrap();
    let (outcome, _, bytes) = pair.measured(verify);
    assert!(outcome.verification.unwrap().differing_items == 0 && bytes < 16 << 10, "{bytes}");
    pair.assert_settled();
}

#[test]
fn a_big_file_is_the_same_after_whatever_was_done_to_it() {
    let pair = Pair::afar();
    let mut random = fastrand::Rng::with_seed(9);
    let mut content = noise(12 << 20, 5);
    pair.write("big", &content);
    pair.cycle();
    for round in 0..24 {
        let at = random.usize(..content.len());
        match round % 6 {
            0 => content.truncate((9 << 20) + at % (3 << 20)),
            1 => content.extend(noise(random.usize(..4 << 20), round)),
            2 => content[at..].iter_mut().take(300_000).for_each(|byte| *byte ^= 1),
            3 => content.rotate_left(1 << 20),
            4 => content.iter_mut().step_by(1 << 18).for_each(|byte| *byte ^= 1),
            _ => content.splice(at..at, *b"inserted").for_each(drop),
        }
        pair.write("big", &content);
        if round % 5 == 3 {
            // Somebody writes to the copy: it is compared, and kept.
            let copy = fs::File::options().write(true).open(pair.standby().join("big")).unwrap();
            std::os::unix::fs::FileExt::write_all_at(&copy, b"by others", at as u64 % (8 << 20)).unwrap();
        }
        pair.forced_cycle();
        assert!(fs::read(pair.standby().join("big")).unwrap() == content, "round {round}");
    }
    let calls = pair.afar.as_ref().unwrap().line.calls();
    assert!(calls.iter().filter(|call| **call == PATCH).count() > 12, "{calls:?}");
    let verify = Context { verify: true, ..pair.context() };
    let outcome = pair.module().run_cycle(&verify).unwrap();
    assert_eq!(outcome.verification.unwrap().differing_items, 0);
}

#[test]
fn everything_that_a_store_holds_travels() {
    let pair = Pair::afar();
    pair.write("empty", "");
    pair.write("small", noise(100_000, 2));
    pair.write("larger", noise(300_000, 3));
    pair.write("big", noise(9 << 20, 4));
    pair.write("a/b\n/\u{e9}\u{1F600}", "names");
    pair.write(OsStr::from_bytes(b"not \xff utf-8").to_str().unwrap_or("not utf-8"), "x");
    fs::create_dir_all(pair.source().join("hollow/inner")).unwrap();
    symlink("small", pair.source().join("link")).unwrap();
    symlink("/etc/passwd", pair.source().join("leads out")).unwrap();
    let sparse = fs::File::create(pair.source().join("sparse")).unwrap();
    sparse.set_len(20 << 20).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&sparse, b"in the middle", 10 << 20).unwrap();
    fs::hard_link(pair.source().join("small"), pair.source().join("other name")).unwrap();
    set_mode(&pair.source().join("small"), 0o640);
    rustix::fs::setxattr(
        pair.source().join("hollow"),
        "user.a",
        b"of a folder",
        rustix::fs::XattrFlags::empty(),
    )
    .unwrap();
    rustix::fs::setxattr(
        pair.source().join("small"),
        "user.a",
        b"of a file",
        rustix::fs::XattrFlags::empty(),
    )
    .unwrap();
    assert!(std::process::Command::new("mkfifo").arg(pair.source().join("pipe")).status().unwrap().success());
    let foreseen = pair.observe();
    let outcome = pair.cycle();
    assert_eq!(foreseen.moves.unwrap().items_written, outcome.moved.items_written);
    let named: Vec<_> = outcome.quarantined.iter().map(|item| item.item.as_str()).collect();
    assert_eq!(named, ["leads out", "pipe"]);
    let (mut theirs, ours) = (tree(&pair.source()), tree(&pair.standby()));
    theirs.remove(Path::new("leads out"));
    assert_eq!(theirs, ours);
    let blocks = fs::metadata(pair.standby().join("sparse")).unwrap().blocks();
    assert!(blocks < 4096, "holes are kept: {blocks}");
    for name in ["hollow", "small"] {
        let mut value = [0; 20];
        assert!(rustix::fs::getxattr(pair.standby().join(name), "user.a", &mut value[..]).unwrap() > 0);
    }
    fs::remove_file(pair.source().join("leads out")).unwrap();
    fs::remove_file(pair.source().join("pipe")).unwrap();
    pair.assert_settled();
}

#[test]
fn a_live_database_in_the_content_is_named_and_not_opened() {
    let mut pair = Pair::afar();
    let file = pair.source().join("users.sqlite");
    let database = rusqlite::Connection::open(&file).unwrap();
    database.execute_batch("PRAGMA journal_mode = WAL; CREATE TABLE t (x)").unwrap();
    pair.database_files = vec![file];
    pair.write("beside", "x");
    let outcome = pair.cycle();
    assert!(outcome.quarantined.len() >= 2, "{:?}", outcome.quarantined);
    assert_eq!(outcome.moved.items_written, 1);
}

#[test]
fn what_is_not_read_is_refused_with_where_to_run_it() {
    let pair = Pair::afar();
    pair.write("f", "x");
    pair.cycle();
    fs::remove_file(pair.source().join("f")).unwrap();
    let refused = pair.module().carry_back(&pair.context()).unwrap_err().error;
    assert_eq!(refused.kind, ErrorKind::PeerRefused);
    assert!(refused.advice.contains("at that machine"), "{refused:?}");
    assert!(!pair.source().join("f").exists());
    let store = pair.afar.as_ref().unwrap().store("source", &[]);
    let path = ContentPath::from_bytes(b"f").unwrap();
    assert!(store.stage().is_err() && store.create().is_err() && store.flush().is_err());
    assert!(store.remove(&path, crate::store::content::ObjectKind::File).is_err());
    assert_eq!(store.unmark(false).unwrap_err().kind, ErrorKind::PeerRefused);
    assert!(!store.unmark(true).unwrap().is_empty());
}

#[test]
fn what_a_source_has_lost_comes_back_from_a_copy_at_another_machine() {
    let pair = Pair::in_memory();
    for number in 0..600 {
        pair.write(&format!("{}/{number}", number % 7), noise(number * 10, number as u64));
    }
    pair.write("large", noise(5 << 20, 7));
    symlink("large", pair.source().join("link")).unwrap();
    fs::create_dir_all(pair.source().join("hollow/inner")).unwrap();
    pair.cycle();
    let before = tree(&pair.source());
    for lost in ["0", "1", "2", "3", "hollow"] {
        fs::remove_dir_all(pair.source().join(lost)).unwrap();
    }
    fs::remove_file(pair.source().join("large")).unwrap();
    fs::remove_file(pair.source().join("link")).unwrap();
    let afar = joined(pair.folder.path(), pool());
    let standby = || Box::new(afar.store("standby", &pair.all_database_files()));
    let module = pair.between(Box::new(pair.source_store()), standby());
    let foreseen = module.observe_carry_back(&Look::default()).unwrap();
    assert!(foreseen.refused.is_none(), "{foreseen:?}");
    let read = afar.place.traffic().received;
    assert!(read < 100_000, "nothing is read for a look: {read}");
    afar.line.calls();
    let outcome = module.carry_back(&pair.context()).unwrap();
    let calls = afar.line.calls();
    assert_eq!((outcome.moved.items_written, outcome.quarantined.len()), (foreseen.items, 0));
    assert!(calls.len() <= 12, "{calls:?}");
    assert_eq!(tree(&pair.source()), before);
}

#[test]
fn what_was_expected_is_answered_without_another_call_and_once_only() {
    let pair = Pair::afar();
    for number in 0..20 {
        pair.write(&number.to_string(), format!("content {number}"));
    }
    let afar = pair.afar.as_ref().unwrap();
    let store = afar.store("source", &[]);
    store.identify().unwrap();
    let path = |number: u32| ContentPath::from_bytes(number.to_string().as_bytes()).unwrap();
    let wanted = (0..20).map(|number| Want { path: path(number), what: What::Content, held: None });
    store.expect(wanted.collect()).unwrap();
    afar.line.calls();
    let read = |number: u32| {
        let mut reader = store.read(&path(number)).unwrap();
        let mut content = [0; 100];
        let length = reader.read(&mut content).unwrap();
        assert!(reader.is_unchanged().unwrap());
        String::from_utf8(content[..length].to_vec()).unwrap()
    };
    for number in [5, 3, 19, 0] {
        assert_eq!(store.stat(&path(number)).unwrap().size, format!("content {number}").len() as u64);
        assert_eq!(read(number), format!("content {number}"));
    }
    assert!(afar.line.calls().len() <= 1);
    pair.write("3", "another");
    assert_eq!(read(3), "another", "what was taken is asked for anew");
}

#[test]
fn a_folder_that_changes_between_two_looks_of_a_walk_loses_nothing() {
    let pair = Pair::afar();
    for number in 0..50 {
        pair.write(&format!("a/{number}/f"), "x");
        pair.write(&format!("b/{number}"), "x");
    }
    pair.cycle();
    pair.come_to_rest();
    for number in 0..50 {
        pair.write(&format!("a/{number}/g"), "y");
    }
    // As soon as the folders that differ are to be listed some go, some come, and some are exchanged.
    let source = pair.source();
    let once = std::sync::Once::new();
    let happens = move |message: u8| {
        if message == LISTINGS {
            once.call_once(|| {
                fs::remove_dir_all(source.join("a/7")).unwrap();
                fs::create_dir_all(source.join("a/new/deep")).unwrap();
                fs::write(source.join("a/new/deep/f"), "z").unwrap();
                fs::remove_dir_all(source.join("a/9")).unwrap();
                fs::write(source.join("a/9"), "a file").unwrap();
            });
        }
    };
    *pair.afar.as_ref().unwrap().line.serving.lock().unwrap() = Some(Box::new(happens));
    pair.forced_cycle();
    pair.cycle();
    pair.assert_settled();
}

#[test]
fn a_line_that_is_cut_anywhere_changes_nothing_that_it_should_not_and_the_next_cycle_succeeds() {
    let mut whole = 0;
    let mut cut_at = 0_u64;
    while whole == 0 || cut_at < whole {
        let pair = Pair::afar();
        for number in 0..40 {
            pair.write(&format!("{}/{number}", number % 4), noise(number * 50, number as u64));
        }
        pair.cycle();
        pair.come_to_rest();
        for number in 0..40 {
            if number % 5 == 0 {
                fs::remove_file(pair.source().join(format!("{}/{number}", number % 4))).unwrap();
            } else if number % 2 == 0 {
                pair.write(&format!("{}/{number}", number % 4), noise(number * 60, 100 + number as u64));
            }
        }
        pair.write("large", noise(600_000, 1));
        let afar = pair.afar.as_ref().unwrap();
        if whole == 0 {
            let received = || afar.place.traffic().received;
            let before = received();
            pair.forced_cycle();
            whole = received() - before;
            assert!(whole > 10_000, "{whole}");
            continue;
        }
        let before = tree(&pair.standby());
        afar.line.left.store(cut_at, Ordering::SeqCst);
        let context = Context { accept_deletions: true, ..pair.context() };
        let Err(failure) = pair.module().run_cycle(&context) else {
            assert!(cut_at > whole * 9 / 10, "{cut_at} of {whole}");
            break;
        };
        assert_eq!(failure.error.kind, ErrorKind::StoreUnavailable, "{cut_at}: {:?}", failure.error);
        assert_eq!(failure.error.side, Some(crate::error::Side::Export), "{cut_at}");
        let after = tree(&pair.standby());
        let theirs = tree(&pair.source());
        let is_told = |(path, (content, ..)): (&PathBuf, &(Option<Vec<u8>>, i128, u32))| {
            let is = |tree: &Tree| tree.get(path).is_some_and(|(other, ..)| other == content);
            is(&before) || is(&theirs)
        };
        assert!(after.iter().all(is_told), "{cut_at}: the standby has what nobody wrote");
        let lost =
            before.keys().filter(|path| !after.contains_key(*path) && theirs.contains_key(*path)).count();
        assert_eq!(lost, 0, "{cut_at}: something was deleted that is still there");
        afar.line.left.store(u64::MAX, Ordering::SeqCst);
        pair.forced_cycle();
        pair.assert_settled();
        cut_at += (whole / 40).max(1);
    }
}
