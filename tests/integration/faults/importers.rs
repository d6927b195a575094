//! Two importers at once, of which one belongs to an owner that was overtaken: it is paused in the middle, and the newer one comes.

use std::process::Output;
use std::time::{Duration, Instant};

use cs_backup::error::ErrorKind;
use cs_backup::store::Generation;
use cs_backup::store::user::UserStorePair;
use tokio_util::sync::CancellationToken;

use super::import::{MORE, TURN, files, import, is_done, is_importing};
use super::left::*;
use crate::injection::*;
use crate::user_store::assert_equal_pages;

/// How long the older one is paused.
const PAUSE: &str = "hang=250";
const LONG_PAUSE: &str = "hang=1500";

/// A copy in its second state, and a source that is a step further.
fn story() -> Story {
    let mut story = Story::new();
    story.sync(1, 0);
    story.change(TURN);
    story.sync(2, 60);
    story.change(TURN);
    story
}

/// Lets an import of generation 3 run with a fault, and does something when it has come to the n-th call.
fn beside(story: &Story, test: &str, fault: &Fault, number: usize, act: impl FnOnce()) -> Output {
    let log = tempfile::NamedTempFile::new().unwrap();
    std::thread::scope(|scope| {
        let older = scope.spawn(|| import(story, test, 3, 120, fault.command(log.path(), None)));
        let began = Instant::now();
        while logged(log.path()).len() < number && !older.is_finished() {
            assert!(began.elapsed() < Duration::from_secs(30), "it did not come so far");
            std::thread::sleep(Duration::from_millis(2));
        }
        act();
        older.join().unwrap()
    })
}

fn newer(story: &Story) -> cs_backup::error::Result<()> {
    run(&pair(&story.source(), &story.place()), 4, story.time(180)).map(drop)
}

/// Every state that is listed comes back.
fn assert_restorable(story: &Story, context: &str) {
    let pair = pair(&story.source(), &story.place());
    for state in pair.states().unwrap() {
        let to = tempfile::tempdir_in(story.root()).unwrap();
        let to = to.path().join("restored");
        pair.restore_state(state.revision, &to, Generation(4), &CancellationToken::new()).unwrap();
        rows(&to).unwrap();
        if let Some(known) = story.known.iter().find(|known| known.revision == state.revision) {
            known.assert_is(&to, context);
        }
    }
}

#[test]
fn whoever_was_overtaken_in_the_middle_of_an_import_ends_before_the_newer_one_begins() {
    const TEST: &str = "faults::importers::whoever_was_overtaken_in_the_middle_of_an_import_ends_before_the_newer_one_begins";
    if is_importing() || !is_possible() {
        return;
    }
    let story_of_all = story();
    let (all, counted) = (files(&story_of_all), tempfile::NamedTempFile::new().unwrap());
    let output =
        import(&story_of_all, TEST, 3, 120, Fault::none(WRITING, &all).command(counted.path(), None));
    assert!(is_done(&output), "{output:?}");
    let calls = logged(counted.path());
    let lock =
        calls.iter().position(|call| call.path.ends_with("lock") && call.name.contains("sync")).unwrap() + 1;
    let mut pauses = 0;
    for number in (lock..=calls.len()).step_by(4) {
        let story = story();
        let fault = Fault::nth(WRITING, &files(&story), number, PAUSE);
        let context = format!("paused at call {number}, {:?}", calls[number - 1]);
        let output = beside(&story, TEST, &fault, number, || {
            // What the older one has read is no longer the last state.
            story.change(MORE);
            newer(&story).unwrap_or_else(|error| panic!("{context}: {error:?}"));
        });
        assert!(is_done(&output), "{context}: {output:?}");
        assert_equal_pages(&story.source(), &copy_in(&story.place()));
        assert_restorable(&story, &context);
        let older = run(&pair(&story.source(), &story.place()), 3, story.time(240));
        assert_eq!(older.map_err(|error| error.kind), Err(ErrorKind::Fenced), "{context}");
        pauses += 1;
    }
    eprintln!("{pauses} pauses in {} calls", calls.len());
}

#[test]
fn whoever_was_overtaken_and_lost_its_lock_is_refused_in_its_own_transaction() {
    const TEST: &str =
        "faults::importers::whoever_was_overtaken_and_lost_its_lock_is_refused_in_its_own_transaction";
    if is_importing() || !is_possible() {
        return;
    }
    let story = story();
    let lock = super::left::beside(&copy_in(&story.place()), ".csb/lock");
    // The last thing before its transaction.
    let fault = Fault::nth("sync", &lock.display().to_string(), 1, LONG_PAUSE);
    let began = Instant::now();
    let output = beside(&story, TEST, &fault, 1, || {
        // Somebody who helps himself.
        std::fs::remove_file(&lock).unwrap();
        story.change(MORE);
        newer(&story).unwrap();
        assert!(began.elapsed() < Duration::from_millis(1_400), "the newer one was too late");
    });
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("error Fenced"), "{output:?}");
    assert_equal_pages(&story.source(), &copy_in(&story.place()));
    assert_restorable(&story, "after both");
}

/// The newer one had nothing to write: no page tells that it was there.
#[test]
fn whoever_was_overtaken_by_one_that_wrote_nothing_is_refused_by_its_generation() {
    const TEST: &str =
        "faults::importers::whoever_was_overtaken_by_one_that_wrote_nothing_is_refused_by_its_generation";
    if is_importing() || !is_possible() {
        return;
    }
    let mut story = Story::new();
    story.sync(1, 0);
    let copied = std::fs::read(story.source()).unwrap();
    story.change(TURN);
    let lock = super::left::beside(&copy_in(&story.place()), ".csb/lock");
    let fault = Fault::nth("sync", &lock.display().to_string(), 1, LONG_PAUSE);
    let output = beside(&story, TEST, &fault, 1, || {
        std::fs::remove_file(&lock).unwrap();
        // The source is set back to what the copy holds.
        std::fs::write(story.source(), &copied).unwrap();
        newer(&story).unwrap();
    });
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("error Fenced"), "{output:?}");
    assert_equal_pages(&story.source(), &copy_in(&story.place()));
}
