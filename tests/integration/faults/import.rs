//! An import that is killed at every call by which it changes its copy, between two calls and in the middle of every write.

use std::path::Path;
use std::process::{Command, Output};
use std::time::Instant;

use cs_backup::error::ErrorKind;
use cs_backup::store::user::UserStorePair;
use cs_backup::store::{Generation, Until};
use jiff::Timestamp;

use super::left::*;
use crate::injection::*;

/// A kind of import.
struct Case {
    /// This test's own name, by which a process runs it that is to be killed.
    test: &'static str,
    /// What is done to the source before each earlier sync, and when that is, in seconds.
    earlier: &'static [(&'static str, i64)],
    change: &'static str,
    at: i64,
    /// What somebody leaves at the copy's place before the import.
    leave: fn(&Story),
}

/// Set in the process that imports: the folder of a story, the generation, and the time.
const IMPORT: [&str; 3] = ["CSB_TEST_IMPORT", "CSB_TEST_GENERATION", "CSB_TEST_NOW"];

/// Instead of a generation: everything of ours is taken away.
const DISABLE: &str = "disable";
/// And here the copy is made what servers write to.
const PROMOTE: &str = "promote";

/// What the process does that was started to import; false where this is not that one.
pub fn is_importing() -> bool {
    let [Ok(folder), Ok(generation), Ok(now)] = IMPORT.map(std::env::var) else { return false };
    let folder = Path::new(&folder);
    let pair = pair(&folder.join("atl/users.sqlite"), &folder.join("chi"));
    if generation == DISABLE {
        pair.remove_traces(false, &Default::default()).unwrap();
        eprintln!("\ndone []");
        return true;
    }
    if generation == PROMOTE {
        promote(&pair).unwrap();
        eprintln!("\ndone []");
        return true;
    }
    let now = Timestamp::from_millisecond(now.parse().unwrap()).unwrap();
    match run(&pair, generation.parse().unwrap(), now) {
        Ok(outcome) => eprintln!("\ndone {:?}", outcome.warnings),
        Err(error) => eprintln!("\nerror {:?}", error.kind),
    }
    true
}

/// An import in a process of its own.
pub fn import(story: &Story, test: &str, generation: i64, seconds: i64, command: Command) -> Output {
    child(story, test, &generation.to_string(), seconds, command)
}

fn child(story: &Story, test: &str, generation: &str, seconds: i64, mut command: Command) -> Output {
    command.arg(std::env::current_exe().unwrap()).args(["--exact", test, "--nocapture", "--test-threads=1"]);
    let now = story.time(seconds).as_millisecond().to_string();
    let values = [story.root().display().to_string(), generation.to_owned(), now];
    command.envs(IMPORT.into_iter().zip(values)).output().unwrap()
}

/// The files of the copy, and their folder.
pub fn files(story: &Story) -> String {
    format!("{0}|{0}/*", story.place().display())
}

pub fn is_done(output: &Output) -> bool {
    String::from_utf8_lossy(&output.stderr).lines().any(|line| line == "done []")
}

impl Case {
    fn sweep(&self) {
        if is_importing() || is_another_account() || !is_possible() {
            return;
        }
        let began = Instant::now();
        let mut story = Story::new();
        for ((sql, at), generation) in self.earlier.iter().zip(1..) {
            story.change(sql);
            story.sync(generation, *at);
        }
        let generation = i64::try_from(self.earlier.len()).unwrap() + 1;
        let before = story.listed();
        story.change(self.change);
        (self.leave)(&story);
        let is_first = !copy_in(&story.place()).exists();
        let kept = story.root().join("kept");
        copy_folder(&story.place(), &kept);
        let again = |story: &Story| {
            std::fs::remove_dir_all(story.place()).unwrap();
            copy_folder(&kept, &story.place());
        };
        let hit = |story: &Story, fault: &Fault| {
            let log = tempfile::NamedTempFile::new().unwrap();
            let output = import(story, self.test, generation, self.at, fault.command(log.path(), None));
            (output, logged(log.path()))
        };
        let (files, mut others) = (files(&story), Others::new());
        let (mut kills, mut new) = (0, 0);
        for (calls, action) in [(WRITING, "kill"), ("write", "torn")] {
            again(&story);
            let (output, counted) = hit(&story, &Fault::none(calls, &files));
            assert!(is_done(&output), "{output:?}");
            let after = story.listed();
            if action == "kill" {
                story.know(after[0]);
            }
            let expected = Expected {
                may: May::Either,
                is_first,
                before: before.clone(),
                after,
                generation,
                times_lie: false,
            };
            for number in 1..=counted.len() {
                again(&story);
                let (output, calls) = hit(&story, &Fault::nth(calls, &files, number, action));
                let context = format!("{action} at call {number}, {:?}", calls.get(number - 1));
                assert_eq!(output.status.code(), Some(128 + 9), "{context}: {output:?}");
                let seen = look(&story, &story.place(), &expected, &mut others, &context);
                kills += 1;
                new += usize::from(seen == Some(story.known.len() - 1));
            }
            eprintln!("{action}: {} calls", counted.len());
        }
        eprintln!("{}: {kills} kills, {new} of them after the commit, {:?}", self.test, began.elapsed());
        assert!(kills > 5);
        others.look(self.test);
    }
}

/// What a server leaves that died in the middle of a transaction, and of whose files only the database was removed.
pub fn leave_journal_of_another(story: &Story) {
    let copy = copy_in(&story.place());
    let writer = rusqlite::Connection::open(&copy).unwrap();
    let unfinished = "BEGIN; UPDATE account SET note = zeroblob(299)";
    writer.execute_batch(&format!("PRAGMA cache_size = 2; {} {unfinished}", crate::pages::LEDGER)).unwrap();
    let journal = std::fs::read(beside(&copy, "-journal")).unwrap();
    drop(writer);
    std::fs::remove_file(&copy).unwrap();
    std::fs::write(beside(&copy, "-journal"), journal).unwrap();
    std::fs::write(beside(&copy, "-wal"), vec![9; 5_000]).unwrap();
}

/// What a server leaves that died while it ended a transaction over two databases, of which this one was removed.
fn leave_journal_of_two_databases(story: &Story) {
    leave_journal_of_another(story);
    let copy = copy_in(&story.place());
    let (journal, common) = (beside(&copy, "-journal"), beside(&copy, "-mj0123AB9CD"));
    let name = common.to_str().unwrap();
    let mut left = std::fs::read(&journal).unwrap();
    left.extend((0x4000_0000_u32 / 4_096 + 1).to_be_bytes());
    left.extend(name.bytes());
    left.extend(u32::try_from(name.len()).unwrap().to_be_bytes());
    left.extend(name.bytes().map(u32::from).sum::<u32>().to_be_bytes());
    left.extend([0xd9, 0xd5, 0x05, 0xf9, 0x20, 0xa1, 0x63, 0xd7]);
    std::fs::write(&journal, left).unwrap();
    std::fs::write(common, format!("{}\0", journal.display())).unwrap();
}

/// Lets an import be killed in the middle of writing its pages, so that the next one has to undo it first.
fn leave_unfinished(story: &Story) {
    let log = tempfile::NamedTempFile::new().unwrap();
    let fault = Fault::nth("write", &copy_in(&story.place()).display().to_string(), 4, "torn");
    let generation = i64::try_from(story.known.len()).unwrap() + 1;
    let output = import(story, DELTA.test, generation, DELTA.at, fault.command(log.path(), None));
    assert_eq!(output.status.code(), Some(128 + 9), "{output:?}");
}

pub const TURN: &str =
    "UPDATE turn SET n = n + 1; UPDATE account SET note = randomblob(300) WHERE id % 97 = 1";
pub const MORE: &str =
    "UPDATE turn SET n = n + 1; UPDATE account SET note = randomblob(300) WHERE id % 50 = 1;
    INSERT INTO account SELECT id + 400, 0, randomblob(900) FROM account WHERE id < 20";
const FEWER: &str = "UPDATE turn SET n = n + 1; UPDATE account SET note = x'01' WHERE id < 300; VACUUM";
const OTHER_PAGES: &str = "UPDATE turn SET n = n + 1; PRAGMA page_size = 8192; VACUUM";

const DELTA: Case = Case {
    test: "faults::import::a_delta",
    earlier: &[(TURN, 0), (TURN, 60)],
    change: MORE,
    at: 120,
    leave: |_| (),
};

macro_rules! cases {
    ($(fn $name:ident() => $case:expr;)*) => {
        $( #[test] fn $name() { Case { test: concat!("faults::import::", stringify!($name)), ..$case }.sweep() } )*
    };
}

cases! {
    fn a_first_copy() => Case { earlier: &[], ..DELTA };
    fn a_first_copy_where_an_earlier_database_left_something() => Case {
        earlier: &[],
        leave: leave_journal_of_another,
        ..DELTA
    };
    fn a_first_copy_where_a_transaction_over_two_databases_was_left() => Case {
        earlier: &[],
        leave: leave_journal_of_two_databases,
        ..DELTA
    };
    fn a_first_copy_where_an_earlier_copy_was_removed() => Case {
        // With a log the source's counter stands still: the new copy has a smaller one than the old.
        earlier: &[("PRAGMA journal_mode = WAL", 0), (TURN, 60), (TURN, 120), (TURN, 180)],
        change: TURN,
        at: 240,
        leave: |story| std::fs::remove_file(copy_in(&story.place())).unwrap(),
        ..DELTA
    };
    fn a_delta() => DELTA;
    fn a_delta_that_shrinks() => Case { change: FEWER, ..DELTA };
    fn another_page_size() => Case { change: OTHER_PAGES, ..DELTA };
    fn a_delta_after_one_that_was_killed() => Case { leave: leave_unfinished, ..DELTA };
    fn another_page_size_after_one_that_was_killed() => Case { change: OTHER_PAGES, leave: leave_unfinished, ..DELTA };
    fn a_sync_that_merges_history() => Case {
        // Some of them lie within one minute, and the import comes when only one a minute is kept.
        earlier: &[(TURN, 0), (TURN, 61), (TURN, 70), (TURN, 80), (TURN, 130), (TURN, 140)],
        at: 7_400,
        ..DELTA
    };
}

/// A copy in its second state, and an import of the third that died in the middle of writing its pages.
fn unfinished() -> Story {
    let mut story = Story::new();
    for ((change, at), generation) in DELTA.earlier.iter().zip(1..) {
        story.change(change);
        story.sync(generation, *at);
    }
    story.change(DELTA.change);
    leave_unfinished(&story);
    assert!(beside(&copy_in(&story.place()), "-journal").exists());
    story
}

/// Nothing in a journal names a place: wherever it was brought with its copy, it undoes what was not finished.
#[test]
fn a_copy_that_was_moved_in_the_middle_of_an_import_is_the_state_before_it() {
    if is_importing() || !is_possible() {
        return;
    }
    let story = unfinished();
    let moved = story.root().join("moved");
    std::fs::rename(story.place(), &moved).unwrap();
    let before = story.known.last().unwrap();
    assert_eq!(rows(&copy_in(&moved)).unwrap(), before.rows());
    assert_eq!(crate::user_store::pages_of_standby(&copy_in(&moved)), before.content());
}

/// Whoever heals a copy, as every reader may, holds its locks for as long as that takes.
#[test]
fn a_sync_waits_for_whoever_heals_the_copy_just_now() {
    use cs_backup::platform::{RangeLock, RawFile, lock_range, unlock_range};
    if is_importing() || !is_possible() {
        return;
    }
    let story = unfinished();
    let healer = RawFile::open(&copy_in(&story.place()), true).unwrap();
    let all = 0x4000_0000..0x4000_0200;
    assert!(lock_range(&healer, RangeLock::Exclusive, all.clone()).unwrap());
    std::thread::scope(|scope| {
        let syncing = scope.spawn(|| run(&pair(&story.source(), &story.place()), 9, story.time(300)));
        std::thread::sleep(std::time::Duration::from_millis(300));
        assert!(!syncing.is_finished());
        unlock_range(&healer, all).unwrap();
        syncing.join().unwrap().unwrap();
    });
    crate::user_store::assert_equal_pages(&story.source(), &copy_in(&story.place()));
}

/// Had it another file, this reader would take the journal of a later import for one of its own file, play it back there and remove it.
#[test]
fn a_copy_that_could_not_be_read_keeps_its_file_so_that_its_readers_undo_no_later_import() {
    if is_importing() || !is_possible() {
        return;
    }
    let mut story = Story::new();
    story.change("PRAGMA journal_mode = WAL");
    for generation in 1..4 {
        story.change(TURN);
        story.sync(generation, 60 * generation);
    }
    let copy = copy_in(&story.place());
    let reader = rusqlite::Connection::open(&copy).unwrap();
    let turn = || reader.query_row("SELECT n FROM turn", [], |row| row.get::<_, i64>(0));
    assert_eq!(turn().unwrap(), 3);
    let number = || std::fs::read(&copy).unwrap()[24..28].to_vec();
    let known = number();
    let spoil = std::fs::File::options().write(true).open(&copy).unwrap();
    spoil.set_len(0).unwrap();
    drop(spoil);
    // As many syncs as there were: with a log the source's counter stands still, and numbers that began anew would come to the same one.
    for generation in 4..7 {
        story.change(TURN);
        story.sync(generation, 60 * generation);
    }
    assert_ne!(number(), known);
    assert_eq!(turn().unwrap(), 6);
    story.change(DELTA.change);
    leave_unfinished(&story);
    assert!(beside(&copy, "-journal").exists());
    assert_eq!(turn().unwrap(), 6, "it sees what the import left, and undoes it");
    drop(reader);
    assert_eq!(rows(&copy).unwrap(), story.known.last().unwrap().rows());
    run(&pair(&story.source(), &story.place()), 9, story.time(600)).unwrap();
    crate::user_store::assert_equal_pages(&story.source(), &copy);
}

fn promote(pair: &impl UserStorePair) -> cs_backup::error::Result<Vec<String>> {
    pair.promote(Generation(3), &Until::within(std::time::Duration::from_secs(5)))
}

/// What a process does to the copy that was kept in a folder, with a fault in one of its calls; and these calls.
fn struck(story: &Story, kept: &Path, test: &str, does: &str, fault: &Fault) -> (Output, Vec<Call>) {
    std::fs::remove_dir_all(story.place()).unwrap();
    copy_folder(kept, &story.place());
    let log = tempfile::NamedTempFile::new().unwrap();
    (child(story, test, does, 0, fault.command(log.path(), None)), logged(log.path()))
}

#[test]
fn a_failover_that_is_killed_can_be_done_again() {
    const TEST: &str = "faults::import::a_failover_that_is_killed_can_be_done_again";
    if is_importing() || !is_possible() {
        return;
    }
    let mut story = Story::new();
    story.sync(1, 0);
    story.change(TURN);
    story.sync(2, 60);
    let (kept, files, states) = (story.root().join("kept"), files(&story), story.listed());
    copy_folder(&story.place(), &kept);
    let hit = |fault: &Fault| struck(&story, &kept, TEST, PROMOTE, fault);
    let mut kills = 0;
    for (calls, action) in [(WRITING, "kill"), ("write", "torn")] {
        let (output, counted) = hit(&Fault::none(calls, &files));
        assert!(is_done(&output), "{output:?}");
        for (number, call) in (1..).zip(&counted) {
            let (output, _) = hit(&Fault::nth(calls, &files, number, action));
            let context = format!("{action} at call {number}, {call:?}");
            assert_eq!(output.status.code(), Some(128 + 9), "{context}: {output:?}");
            let pair = pair(&story.source(), &story.place());
            promote(&pair).unwrap_or_else(|error| panic!("{context}: {error:?}"));
            let listed = story.listed();
            assert!(states.iter().all(|revision| listed.contains(revision)), "{context}: {listed:?}");
            written_to(&story, &story.place(), 1, &context);
            let refused = run(&pair, 4, story.time(120)).map_err(|error| error.kind);
            assert_eq!(refused.map(drop), Err(ErrorKind::ForeignContent), "{context}");
            kills += 1;
        }
    }
    eprintln!("{kills} kills");
    assert!(kills > 10);
}

#[test]
fn whoever_takes_everything_away_and_is_killed_can_do_it_again() {
    const TEST: &str = "faults::import::whoever_takes_everything_away_and_is_killed_can_do_it_again";
    if is_importing() || !is_possible() {
        return;
    }
    let mut story = Story::new();
    story.sync(1, 0);
    story.change(TURN);
    story.sync(2, 60);
    let (kept, files) = (story.root().join("kept"), files(&story));
    copy_folder(&story.place(), &kept);
    let hit = |fault: &Fault| struck(&story, &kept, TEST, DISABLE, fault);
    let (output, calls) = hit(&Fault::none(WRITING, &files));
    assert!(is_done(&output), "{output:?}");
    for (number, call) in (1..).zip(&calls) {
        let (output, _) = hit(&Fault::nth(WRITING, &files, number, "kill"));
        assert_eq!(output.status.code(), Some(128 + 9), "{output:?}");
        given_up(&story, &story.place(), &format!("kill at call {number}, {call:?}"));
    }
    eprintln!("{} kills", calls.len());
    assert!(calls.len() > 5);
}
