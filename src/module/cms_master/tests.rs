//! What a look says is what the run does, whatever happened to master and copy; and nothing is overwritten unasked.

use std::path::PathBuf;
use std::sync::Arc;

use jiff::Timestamp;
use proptest::prelude::*;
use rusqlite::Connection;

use super::*;
use crate::clock::SystemClock;
use crate::error::{Error, ErrorKind};
use crate::module::{Observer, Progress};
use crate::store::Generation;
use crate::store::documents;
use crate::store::documents::{DocumentKind, Draft, Position};
use crate::store::factory;

struct Silent;

impl Observer for Silent {
    fn progress(&self, _progress: Progress) {}
    fn warning(&self, _message: String) {}
}

fn context(verify: bool) -> Context {
    Context {
        job: None,
        generation: Generation(1),
        cancel: Default::default(),
        observer: Arc::new(Silent),
        clock: Arc::new(SystemClock::default()),
        accept_deletions: false,
        verify,
    }
}

/// A master and the place of its copy, in a folder of their own.
struct Pair {
    folder: tempfile::TempDir,
    published: i64,
}

impl Pair {
    fn new() -> Self {
        Pair { folder: tempfile::tempdir().unwrap(), published: 0 }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn url(&self, name: &str) -> StoreUrl {
        StoreUrl::try_from(format!("sqlite:{}", self.path(name).display())).unwrap()
    }

    fn end(&self, name: &str) -> End {
        End { url: self.url(name), at: Reach::Here }
    }

    fn module(&self, max_batches: u64) -> CmsMaster {
        CmsMaster::master(self.end("master"), self.end("copy"), max_batches)
    }

    /// Publishes so many new versions of the settings.
    fn publish(&mut self, count: usize) {
        let store = factory::new_management_store(&self.url("master"), &Reach::Here).unwrap();
        for _ in 0..count {
            self.published += 1;
            let draft = Draft {
                kind: DocumentKind::Configuration,
                name: "global".into(),
                body: format!("{{\"maxConcurrentCalls\":{}}}", self.published),
                replaces: None,
            };
            let at = Timestamp::from_second(1_700_000_000 + self.published).unwrap();
            store.publish(vec![draft], at).unwrap();
        }
    }

    /// Publishes so many documents at once.
    fn publish_many(&mut self, count: usize) {
        self.published += 1;
        let draft = |index: usize| Draft {
            kind: DocumentKind::PoolState,
            name: format!("pool-{index}"),
            body: self.published.to_string(),
            replaces: None,
        };
        let at = Timestamp::from_second(1_700_000_000 + self.published).unwrap();
        let store = factory::new_management_store(&self.url("master"), &Reach::Here).unwrap();
        store.publish((0..count).map(draft).collect(), at).unwrap();
    }

    fn position(&self, name: &str) -> Position {
        factory::management_store(&self.url(name), &Reach::Here).unwrap().position().unwrap()
    }

    fn content(&self, name: &str) -> DocumentHistory {
        factory::management_store(&self.url(name), &Reach::Here).unwrap().history(i64::MAX).unwrap()
    }

    /// Somebody writes to a store past this product.
    fn tamper(&self, name: &str, sql: &str) {
        Connection::open(self.path(name)).unwrap().execute_batch(sql).unwrap();
    }

    fn save(&self, name: &str, to: &str) {
        let to = self.path(to);
        let _ = std::fs::remove_file(&to);
        Connection::open(self.path(name)).unwrap().execute("VACUUM INTO ?1", [to.to_str().unwrap()]).unwrap();
    }

    fn put(&self, saved: &str, name: &str) {
        for suffix in ["-wal", "-shm"] {
            let _ = std::fs::remove_file(self.path(&format!("{name}{suffix}")));
        }
        std::fs::copy(self.path(saved), self.path(name)).unwrap();
    }

    fn run(&self) -> CycleResult {
        self.module(500).run_cycle(&context(false))
    }

    fn refusal(&self) -> Error {
        self.run().unwrap_err().error
    }
}

#[test]
fn both_sides_of_a_split_stand_in_the_error_as_data_and_in_its_message() {
    let mut pair = Pair::new();
    pair.publish(2);
    pair.save("master", "yesterday");
    pair.publish(2);
    pair.run().unwrap();
    pair.put("yesterday", "master");
    pair.publish(2);
    let error = pair.refusal();
    assert_eq!((error.kind, error.side), (ErrorKind::SplitTimeline, Some(Side::Export)));
    assert!(
        error.message.contains("At revision 3 the master holds configuration global, version 3"),
        "{error}"
    );
    let held = |side: &str| -> serde_json::Value { serde_json::from_str(&error.context[side]).unwrap() };
    for side in ["masterHolds", "copyHolds"] {
        let first = &held(side)[0];
        assert_eq!((first["revision"].as_i64(), first["version"].as_i64()), (Some(3), Some(3)), "{first}");
        assert_eq!((first["kind"].as_str(), first["name"].as_str()), (Some("configuration"), Some("global")));
    }
    assert_ne!(held("masterHolds")[0]["publishedAt"], held("copyHolds")[0]["publishedAt"]);
    assert_eq!(error.context["master"], pair.url("master").to_string());
    assert_eq!(error.context["copy"], pair.url("copy").to_string());
    assert_eq!(error.context["differing"], "2");
}

#[test]
fn a_split_is_not_repaired_even_if_a_comparison_is_asked_for() {
    let mut pair = Pair::new();
    pair.publish(1);
    pair.save("master", "yesterday");
    pair.publish(1);
    pair.run().unwrap();
    pair.put("yesterday", "master");
    pair.publish(3);
    let before = pair.content("copy");
    let error = pair.module(500).run_cycle(&context(true)).unwrap_err().error;
    assert_eq!(error.kind, ErrorKind::SplitTimeline);
    assert_eq!(pair.content("copy"), before);
}

#[test]
fn a_master_that_was_restored_to_an_earlier_state_is_refused_with_what_differs() {
    let mut pair = Pair::new();
    pair.publish(1);
    pair.save("master", "yesterday");
    pair.publish(2);
    pair.run().unwrap();
    pair.put("yesterday", "master");
    let error = pair.refusal();
    assert_eq!((error.kind, error.side), (ErrorKind::MasterOutdated, Some(Side::Export)));
    assert!(error.message.contains("From revision 2 on, 2 versions"), "{error}");
    assert!(error.context["copyHolds"].contains("\"revision\":3"), "{error:#?}");
}

#[test]
fn what_somebody_published_at_the_copy_is_kept_when_it_is_put_right() {
    let mut pair = Pair::new();
    pair.publish(2);
    pair.run().unwrap();
    pair.tamper(
        "copy",
        "INSERT INTO csb_document (kind, name, version, body, published_ms) VALUES ('roles', 'global', 1, '[]', 5);
         UPDATE csb_document SET body = '{}' WHERE revision = 1",
    );
    let error = pair.refusal();
    assert_eq!((error.kind, error.side), (ErrorKind::SplitTimeline, Some(Side::Import)));
    let done = pair.module(500).run_cycle(&context(true)).unwrap();
    let found = done.verification.unwrap();
    assert_eq!((found.differing_items, found.repaired_items, found.compared_items), (2, 2, 2));
    assert_eq!(pair.content("copy"), pair.content("master"));
    let kept: Vec<String> = Connection::open(pair.path("copy"))
        .unwrap()
        .prepare("SELECT body FROM csb_superseded ORDER BY revision")
        .unwrap()
        .query_map([], |row| row.get(0))
        .unwrap()
        .map(Result::unwrap)
        .collect();
    assert_eq!(kept, ["{}", "[]"]);
    pair.run().unwrap();
}

#[test]
fn what_was_removed_from_the_copy_is_put_back() {
    let mut pair = Pair::new();
    pair.publish(3);
    pair.run().unwrap();
    pair.tamper("copy", "DELETE FROM csb_document WHERE revision = 2");
    assert_eq!(pair.refusal().kind, ErrorKind::SplitTimeline);
    let done = pair.module(500).run_cycle(&context(true)).unwrap();
    assert_eq!((done.moved.items_written, done.moved.items_deleted), (1, 0));
    assert_eq!(pair.content("copy"), pair.content("master"));
    pair.run().unwrap();
}

#[test]
fn an_older_master_is_refused_after_its_copy_was_promoted() {
    let mut pair = Pair::new();
    pair.publish(1);
    pair.run().unwrap();
    let copy = factory::management_store(&pair.url("copy"), &Reach::Here).unwrap();
    let promoted = copy.promote(1).unwrap();
    assert_eq!(promoted.reign.epoch, 2);
    assert_ne!(promoted.reign.timeline, pair.position("master").reign.timeline);
    pair.publish(1);
    assert_eq!(pair.refusal().kind, ErrorKind::Fenced);
    // Also once it is the copy of somebody else.
    copy.demote(documents::Reign { epoch: 3, timeline: Some("another".into()) }, pair.url("elsewhere"))
        .unwrap();
    assert_eq!(pair.refusal().kind, ErrorKind::Fenced);
}

#[test]
fn the_former_master_follows_the_promoted_copy() {
    let mut pair = Pair::new();
    pair.publish(2);
    pair.run().unwrap();
    let promoted = factory::management_store(&pair.url("copy"), &Reach::Here).unwrap().promote(1).unwrap();
    let former = factory::management_store(&pair.url("master"), &Reach::Here).unwrap();
    let demoted = former.demote(promoted.reign.clone(), pair.url("copy")).unwrap();
    assert_eq!((demoted.role, demoted.reign), (documents::DocumentsRole::Standby, promoted.reign));
    assert_eq!(pair.refusal().kind, ErrorKind::NotMaster, "it is no master to copy from any more");
    let back = CmsMaster::master(pair.end("copy"), pair.end("master"), 500);
    back.run_cycle(&context(false)).unwrap();
    assert_eq!(pair.position("master").master, Some(pair.url("copy").to_string()));
}

#[test]
fn two_copies_that_were_both_promoted_do_not_follow_each_other() {
    let mut pair = Pair::new();
    pair.publish(2);
    pair.run().unwrap();
    pair.save("copy", "third");
    for store in ["copy", "third"] {
        factory::management_store(&pair.url(store), &Reach::Here).unwrap().promote(1).unwrap();
    }
    let module = CmsMaster::master(pair.end("copy"), pair.end("third"), 500);
    assert_eq!(module.run_cycle(&context(false)).unwrap_err().error.kind, ErrorKind::SplitTimeline);
}

#[test]
fn a_copy_that_was_put_in_its_masters_place_is_copied_from_there() {
    let mut pair = Pair::new();
    pair.publish(2);
    pair.run().unwrap();
    pair.put("copy", "master");
    pair.run().unwrap();
    std::fs::remove_file(pair.path("copy")).unwrap();
    pair.run().unwrap();
    assert_eq!(pair.content("copy"), pair.content("master"));
}

#[test]
fn stores_of_a_former_build_become_master_and_copy_by_their_use_and_lose_nothing() {
    const FORMER: &str = "
        CREATE TABLE csb_management (id INTEGER PRIMARY KEY CHECK (id = 1), store_id TEXT NOT NULL,
            generation INTEGER NOT NULL) STRICT;
        CREATE TABLE csb_document (revision INTEGER PRIMARY KEY AUTOINCREMENT, kind TEXT NOT NULL, name TEXT NOT NULL,
            version INTEGER NOT NULL, body TEXT NOT NULL, published_ms INTEGER NOT NULL, UNIQUE (kind, name, version)) STRICT;
        INSERT INTO csb_management VALUES (1, 'd2a6', 0);
        INSERT INTO csb_document VALUES (1, 'roles', 'global', 1, '[]', 5), (2, 'roles', 'global', 2, '[1]', 6);";
    let mut pair = Pair::new();
    pair.tamper("master", FORMER);
    pair.tamper("copy", FORMER);
    pair.tamper("copy", "DELETE FROM csb_document WHERE revision = 2");
    let unassigned = pair.position("master");
    assert_eq!((unassigned.role, unassigned.revision), (documents::DocumentsRole::Unassigned, 2));
    pair.run().unwrap();
    let copy = pair.position("copy");
    assert_eq!((copy.role, copy.revision), (documents::DocumentsRole::Standby, 2));
    pair.publish(1);
    let master = pair.position("master");
    assert_eq!((master.role, master.reign.epoch, master.revision), (documents::DocumentsRole::Master, 1, 3));
    pair.run().unwrap();
    assert_eq!(pair.position("copy").reign, master.reign);
    assert_eq!(pair.content("copy"), pair.content("master"));
}

#[derive(Clone, Debug)]
enum Change {
    Publish(usize),
    Copy { batches: u64, verify: bool },
    Save,
    RestoreMaster,
    RestoreCopy,
    EditCopy(i64),
    RemoveFromCopy(i64),
    PublishAtCopy,
    EditMaster(i64),
    LoseCopy,
    PromoteCopy,
    Begin,
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        4 => prop_oneof![1..5_usize, 90..240_usize].prop_map(Change::Publish),
        6 => (1..4_u64, any::<bool>()).prop_map(|(batches, verify)| Change::Copy { batches, verify }),
        1 => Just(Change::Save),
        1 => Just(Change::RestoreMaster),
        1 => Just(Change::RestoreCopy),
        1 => (1..6_i64).prop_map(Change::EditCopy),
        1 => (1..6_i64).prop_map(Change::RemoveFromCopy),
        1 => Just(Change::PublishAtCopy),
        1 => (1..6_i64).prop_map(Change::EditMaster),
        1 => Just(Change::LoseCopy),
        1 => Just(Change::PromoteCopy),
        1 => Just(Change::Begin),
    ]
}

impl Pair {
    fn happen(&mut self, change: &Change) {
        let has_copy = self.path("copy").exists();
        match change {
            Change::Publish(count) => self.publish_many(*count),
            Change::Save => {
                self.save("master", "saved master");
                if has_copy {
                    self.save("copy", "saved copy");
                }
            }
            Change::RestoreMaster if self.path("saved master").exists() => self.put("saved master", "master"),
            Change::RestoreCopy if self.path("saved copy").exists() => self.put("saved copy", "copy"),
            Change::EditCopy(revision) if has_copy => {
                self.tamper("copy", &format!("UPDATE csb_document SET body = body || ' ' WHERE revision = {revision}"));
            }
            Change::RemoveFromCopy(revision) if has_copy => {
                self.tamper("copy", &format!("DELETE FROM csb_document WHERE revision = {revision}"));
            }
            Change::PublishAtCopy if has_copy => self.tamper(
                "copy",
                "INSERT INTO csb_document (kind, name, version, body, published_ms)
                 SELECT 'roles', 'global', 1 + coalesce(max(version), 0), '[]', 7 FROM csb_document WHERE kind = 'roles'",
            ),
            Change::EditMaster(revision) => {
                self.tamper("master", &format!("UPDATE csb_document SET body = body || ' ' WHERE revision = {revision}"));
            }
            Change::LoseCopy if has_copy => {
                for suffix in ["", "-wal", "-shm"] {
                    let _ = std::fs::remove_file(self.path(&format!("copy{suffix}")));
                }
            }
            Change::PromoteCopy if has_copy => {
                let store = factory::management_store(&self.url("copy"), &Reach::Here).unwrap();
                store.promote(store.position().unwrap().reign.epoch).unwrap();
            }
            Change::Begin => {
                let store = factory::management_store(&self.url("master"), &Reach::Here).unwrap();
                store.promote(store.position().unwrap().reign.epoch).unwrap();
            }
            _ => {}
        }
    }

    /// Looks, runs, and compares what both said.
    fn copy_as_seen(&self, batches: u64, verify: bool) {
        let module = self.module(batches);
        let look = Look { verify, ..Look::default() };
        let seen = module.observe(&look).unwrap();
        let before = self.path("copy").exists().then(|| self.content("copy"));
        match (seen.refused.clone(), module.run_cycle(&context(verify))) {
            (Some(refused), Err(failure)) => {
                assert_eq!(refused, failure.error);
                assert_eq!(
                    before,
                    self.path("copy").exists().then(|| self.content("copy")),
                    "a refusal writes nothing"
                );
            }
            (None, Ok(done)) => {
                let moved = &done.moved;
                assert_eq!(moved.items_written + moved.items_deleted, seen.to_move().0, "{seen:?} {moved:?}");
                assert_eq!(moved.bytes, seen.to_move().1, "{seen:?} {moved:?}");
                let left = module.observe(&look).unwrap();
                assert_eq!(left.refused, None);
                assert_eq!(left.pending_items, seen.pending_items - seen.to_move().0);
                if left.pending_items == 0 {
                    assert_eq!(self.content("copy"), self.content("master"));
                }
            }
            (seen, done) => panic!("the look said {seen:?}, the run {done:?}"),
        }
    }
}

#[test]
fn the_same_edit_at_both_stops_nothing_that_is_published_after_it() {
    let mut pair = Pair::new();
    pair.publish(2);
    pair.copy_as_seen(1, false);
    for change in [Change::EditCopy(1), Change::EditMaster(1), Change::Publish(1)] {
        pair.happen(&change);
    }
    pair.copy_as_seen(1, false);
    assert_eq!(pair.content("copy"), pair.content("master"));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn what_a_look_says_is_what_the_run_does(changes in prop::collection::vec(change(), 1..16)) {
        let mut pair = Pair::new();
        pair.publish(2);
        for change in &changes {
            match change {
                Change::Copy { batches, verify } => pair.copy_as_seen(*batches, *verify),
                other => pair.happen(other),
            }
        }
        pair.copy_as_seen(2, false);
    }
}
