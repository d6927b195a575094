//! The power goes at any moment of an import, and with it whatever was not synced: the copy is in the state before or after, and once the
//! import has said that it is done, after.
//!
//! `CSB_EVERY_CUT=1` looks at every disk that a cut may leave; the test command at some of each import, others with each seed (`CSB_SEED`).

use std::collections::HashSet;
use std::path::Path;
use std::rc::Rc;
use std::time::Instant;

use super::disk::*;
use super::import::{files, import, is_done, is_importing, leave_journal_of_another};
use super::left::*;
use crate::injection::*;

/// How many disks the test command looks at for each import.
const CUTS: usize = 120;

/// What is done to the source before each import, and when that comes, in seconds.
const IMPORTS: [(&str, i64); 7] = [
    ("SELECT 1", 0),
    ("UPDATE turn SET n = n + 1; UPDATE account SET note = randomblob(300) WHERE id % 97 = 1", 61),
    (
        "UPDATE turn SET n = n + 1; UPDATE account SET note = randomblob(300) WHERE id % 90 = 1;
      INSERT INTO account SELECT id + 400, 0, randomblob(900) FROM account WHERE id < 20",
        70,
    ),
    ("UPDATE turn SET n = n + 1; UPDATE account SET note = x'01' WHERE id < 200; VACUUM", 80),
    ("UPDATE turn SET n = n + 1; PRAGMA page_size = 8192; VACUUM", 130),
    ("UPDATE turn SET n = n + 1; PRAGMA page_size = 1024; VACUUM", 140),
    ("UPDATE turn SET n = n + 1; UPDATE account SET note = randomblob(300) WHERE id % 97 = 2", 7_400),
];

/// Plays imports on a disk that holds what was there before the first of them, and cuts the power.
fn cut(story: &mut Story, test: &str, imports: &[(&str, i64)]) {
    if is_importing() || is_another_account() || !is_possible() {
        return;
    }
    let seed = std::env::var("CSB_SEED").map_or_else(|_| fastrand::u64(..), |seed| seed.parse().unwrap());
    let mut random = fastrand::Rng::with_seed(seed);
    let (mut disk, mut others) = (Disk::holding(&story.place()), Others::new());
    let files = files(story);
    for (change, at) in imports {
        let began = Instant::now();
        story.change(change);
        story.fill_sparse(&format!("{:02x}", 0x50 + story.known.len()));
        let (is_first, before) = (!copy_in(&story.place()).exists(), story.listed());
        let generation = i64::try_from(story.known.len()).unwrap() + 1;
        let record = tempfile::NamedTempFile::new().unwrap();
        let command = Fault::none(WRITING, &files).command(Path::new("/dev/null"), Some(record.path()));
        let output = import(story, test, generation, *at, command);
        assert!(is_done(&output), "{output:?}");
        let after = story.listed();
        story.know(after[0]);
        let calls = calls(&std::fs::read(record.path()).unwrap(), &story.place());
        // Every disk that may be found, with what may be seen on it.
        let (mut found, mut known) = (Vec::new(), HashSet::new());
        for number in 0..=calls.len() {
            let may = if number == calls.len() { May::New } else { May::Either };
            let now = Rc::new(disk.clone());
            for (data, names) in disk.cuts(random.u64(..)) {
                if known.insert((may == May::New, number_of(&disk.after(data, names)))) {
                    found.push((number, Rc::clone(&now), data, names, may));
                }
            }
            if let Some(call) = calls.get(number) {
                disk.play(call);
            }
        }
        let disks = found.len();
        if std::env::var_os("CSB_EVERY_CUT").is_none() {
            // As many of each moment, and some more of the end.
            random.shuffle(&mut found);
            let mut of_moment = vec![0; calls.len() + 1];
            let mut ranks = Vec::new();
            for (number, ..) in &found {
                ranks.push(of_moment[*number]);
                of_moment[*number] += 1;
            }
            let mut ranked: Vec<_> = ranks.into_iter().zip(found).collect();
            ranked.sort_by_key(|(rank, (.., may))| if *may == May::New { *rank / 10 } else { *rank });
            found = ranked.into_iter().map(|(_, found)| found).take(CUTS).collect();
        }
        let mut new = 0;
        for (round, (number, disk, data, names, may)) in found.iter().enumerate() {
            let left = story.root().join("left");
            lay_out(&disk.after(*data, *names), &left);
            let expected = Expected {
                may: *may,
                is_first,
                before: before.clone(),
                after: after.clone(),
                generation,
                times_lie: round % 2 == 0,
            };
            let context = format!(
                "import {generation}, before call {number} of {}, {data:?} {names:?}, times lie: {}, CSB_SEED={seed}",
                calls.len(),
                expected.times_lie
            );
            let seen = look(story, &left, &expected, &mut others, &context);
            new += usize::from(seen == Some(story.known.len() - 1));
            std::fs::remove_dir_all(left).unwrap();
        }
        eprintln!(
            "import {generation}: {} calls, {disks} disks, {} looked at, {new} of them after the commit, {:?}",
            calls.len(),
            found.len(),
            began.elapsed()
        );
    }
    others.look(test);
}

#[test]
fn whatever_was_not_synced_is_lost_at_any_moment_of_imports() {
    const TEST: &str = "faults::power::whatever_was_not_synced_is_lost_at_any_moment_of_imports";
    cut(&mut Story::new(), TEST, &IMPORTS);
}

#[test]
fn whatever_was_not_synced_is_lost_where_an_earlier_database_left_something() {
    const TEST: &str =
        "faults::power::whatever_was_not_synced_is_lost_where_an_earlier_database_left_something";
    let mut story = Story::new();
    leave_journal_of_another(&story);
    cut(&mut story, TEST, &IMPORTS[..1]);
}

#[test]
fn whatever_was_not_synced_is_lost_where_an_earlier_copy_was_removed() {
    const TEST: &str = "faults::power::whatever_was_not_synced_is_lost_where_an_earlier_copy_was_removed";
    let mut story = Story::new();
    // With a log the source's counter stands still, so that the new copy gets a number that the old one had.
    story.change("PRAGMA journal_mode = WAL");
    for generation in 1..16 {
        story.change(IMPORTS[1].0);
        story.sync(generation, 60 * generation);
    }
    std::fs::remove_file(copy_in(&story.place())).unwrap();
    leave_journal_of_another(&story);
    cut(&mut story, TEST, &[("UPDATE turn SET n = n + 1; PRAGMA user_version = 1", 1_000)]);
}

/// The notes of a copy are those of one state, and its pages of another: what a cut makes of them where only the notes, or only the
/// source, went back.
#[test]
fn notes_of_another_state_are_not_believed_whatever_the_times_say() {
    let mut story = Story::new();
    story.sync(1, 0);
    let older = std::fs::read(copy_in(&story.place())).unwrap();
    story.change(IMPORTS[1].0);
    story.sync(2, 60);
    std::fs::write(copy_in(&story.place()), older).unwrap();
    lie(&story.place());
    let pair = pair(&story.source(), &story.place());
    let told =
        cs_backup::store::user::UserStorePair::observe(&pair, &tokio_util::sync::CancellationToken::new())
            .unwrap();
    assert!(told.to_compare.is_some(), "{told:?}");
    run(&pair, 3, story.time(120)).unwrap();
    crate::user_store::assert_equal_pages(&story.source(), &copy_in(&story.place()));
}

/// The head of the notes reached the disk, and the hashes after it are those of the state before.
#[test]
fn hashes_of_the_state_before_are_not_believed_where_the_source_goes_back_to_it() {
    let mut story = Story::new();
    let older = std::fs::read(story.source()).unwrap();
    story.sync(1, 0);
    let noted = beside(&copy_in(&story.place()), ".csb/state");
    let before = std::fs::read(&noted).unwrap();
    story.change(IMPORTS[1].0);
    story.sync(2, 60);
    let mut torn = std::fs::read(&noted).unwrap();
    assert_eq!(torn.len(), before.len());
    torn[8_192..].copy_from_slice(&before[8_192..]);
    std::fs::write(&noted, torn).unwrap();
    std::fs::write(story.source(), older).unwrap();
    run(&pair(&story.source(), &story.place()), 3, story.time(120)).unwrap();
    crate::user_store::assert_equal_pages(&story.source(), &copy_in(&story.place()));
}
