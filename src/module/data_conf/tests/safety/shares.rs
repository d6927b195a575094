//! How much is deleted or replaced within a day before somebody is asked.

use super::*;
use crate::report::ChangeKind;

/// A clock that is hours ahead.
struct Later(SystemClock, i64);

impl Clock for Later {
    fn now(&self) -> Timestamp {
        self.0.now() + jiff::SignedDuration::from_hours(self.1)
    }

    fn boot(&self) -> String {
        "of this clock alone".to_owned()
    }

    fn monotonic(&self) -> Duration {
        self.0.monotonic()
    }

    fn sleep(&self, duration: Duration) -> std::pin::Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        self.0.sleep(duration)
    }
}

fn filled(count: usize) -> Pair {
    let pair = Pair::new();
    for number in 0..count {
        pair.write(&name(number), format!("content of {number}"));
    }
    pair.cycle();
    pair.age();
    pair
}

fn name(number: usize) -> String {
    format!("f{number:03}")
}

impl Pair {
    fn at(&self, hours: i64) -> CycleResult {
        let clock = Arc::new(Later(SystemClock::new(), hours));
        self.module().run_cycle(&Context { clock, ..self.context() })
    }

    fn delete_all(&self, numbers: std::ops::Range<usize>) {
        for number in numbers {
            fs::remove_file(self.source().join(name(number))).unwrap();
        }
    }

    /// As programs do: into another file, which gets the name.
    fn rewrite_all(&self, numbers: std::ops::Range<usize>, content: &str) {
        for number in numbers {
            fs::write(self.source().join("rewriting"), format!("{content} of {number}")).unwrap();
            fs::rename(self.source().join("rewriting"), self.source().join(name(number))).unwrap();
        }
    }
}

#[test]
fn a_share_that_is_deleted_again_and_again_is_refused_within_a_day() {
    let pair = filled(100);
    pair.delete_all(0..20);
    assert_eq!(pair.at(0).unwrap().moved.items_deleted, 20);
    pair.delete_all(20..40);
    pair.write("new", "new");
    let CycleFailure { error, done } = pair.at(1).unwrap_err();
    assert_eq!(error.kind, ErrorKind::SafetyShareExceeded);
    assert!(error.message.starts_with("Within 24 hours 40 of the 100 objects"), "{error}");
    assert!(error.message.contains("20 of them now") && error.message.contains("f020, f021"), "{error}");
    assert_eq!((done.moved.items_written, done.moved.items_deleted), (1, 0));
    assert_eq!(error.context["names"].lines().count(), 20);
    assert_eq!(done.changes.items(ChangeKind::Withheld), 20);
    assert_eq!(tree(&pair.standby()).len(), 81);
    assert_eq!(pair.at(26).unwrap().moved.items_deleted, 20, "another day");
    pair.assert_settled();
}

#[test]
fn what_was_accepted_begins_a_new_count() {
    let pair = filled(100);
    pair.delete_all(0..20);
    pair.at(0).unwrap();
    pair.delete_all(20..40);
    pair.at(0).unwrap_err();
    assert_eq!(pair.forced_cycle().moved.items_deleted, 20);
    pair.delete_all(40..55);
    assert_eq!(pair.at(0).unwrap().moved.items_deleted, 15);
    pair.delete_all(55..61);
    assert_eq!(pair.at(0).unwrap_err().error.kind, ErrorKind::SafetyShareExceeded);
}

#[test]
fn files_that_nearly_all_get_another_content_are_refused_and_nothing_is_replaced() {
    let pair = filled(100);
    let before = tree(&pair.standby());
    pair.rewrite_all(0..60, "spoilt, and longer content");
    pair.rewrite_all(60..80, "CONTENT");
    pair.delete_all(80..81);
    pair.write("readme", "pay");
    let CycleFailure { error, done } = pair.at(0).unwrap_err();
    assert_eq!(error.kind, ErrorKind::SafetyShareExceeded);
    assert!(error.message.starts_with("Within 24 hours 81 of the 100 objects"), "{error}");
    assert_eq!((&*error.context["deletions"], &*error.context["replacements"]), ("1", "80"));
    assert_eq!(done.changes.items(ChangeKind::Withheld), 81);
    assert_eq!((done.moved.items_written, done.moved.items_deleted), (1, 0));
    let mut after = tree(&pair.standby());
    after.remove(Path::new("readme"));
    assert_eq!(after, before, "nothing was replaced or deleted");
    let seen = pair.observe();
    assert_eq!(seen.refused.unwrap().message, error.message);
    assert_eq!(seen.changes.items(ChangeKind::Withheld), 81);
    assert_eq!(pair.forced_cycle().moved.items_written, 80);
    pair.assert_settled();
}

#[test]
fn files_that_get_another_content_bit_by_bit_are_refused_within_a_day() {
    let pair = filled(100);
    for (from, hour) in [(0, 0), (20, 5)] {
        pair.rewrite_all(from..from + 20, "spoilt content");
        assert_eq!(pair.at(hour).unwrap().moved.items_written, 20);
    }
    pair.rewrite_all(40..60, "spoilt content");
    let error = pair.at(10).unwrap_err().error;
    assert!(error.message.starts_with("Within 24 hours 60 of the 100 objects"), "{error}");
    assert!(error.message.contains("20 of them now"), "{error}");
}

#[test]
fn a_busy_day_is_not_refused() {
    let pair = filled(100);
    // Half of the files are written again and again, each of them in every job.
    for hour in 0..12 {
        pair.rewrite_all(0..50, &format!("version {hour}"));
        for number in 0..30 {
            pair.write(&format!("temporary {hour} {number}"), "x");
        }
        pair.at(hour).unwrap();
        for number in 0..20 {
            fs::remove_file(pair.source().join(format!("temporary {hour} {number}"))).unwrap();
        }
        pair.at(hour).unwrap();
    }
    // The others on other days, or only in their attributes.
    pair.rewrite_all(50..100, "version of the next day");
    pair.at(26).unwrap();
    for number in 0..100 {
        let file = pair.source().join(name(number));
        set_mode(&file, 0o640);
        set_mtime(&file, SystemTime::UNIX_EPOCH + seconds(1_700_000_000));
    }
    pair.at(27).unwrap();
    fs::create_dir(pair.source().join("folder")).unwrap();
    for number in 0..100 {
        fs::rename(pair.source().join(name(number)), pair.source().join("folder").join(name(number)))
            .unwrap();
    }
    pair.at(28).unwrap();
    assert_eq!(tree(&pair.source()), tree(&pair.standby()));
}

#[test]
fn what_is_written_anew_every_day_is_accepted_once() {
    let pair = filled(100);
    pair.rewrite_all(0..100, "day 0");
    pair.at(0).unwrap_err();
    pair.forced_cycle();
    for day in 1..4 {
        pair.rewrite_all(0..100, &format!("day {day}"));
        assert_eq!(pair.at(day * 24).unwrap().moved.items_written, 100);
    }
    pair.rewrite_all(0..100, "after three weeks");
    assert_eq!(pair.at(24 * 24).unwrap_err().error.kind, ErrorKind::SafetyShareExceeded);
}
