//! What a look says is what the run then does: counts, bytes and refusals, in any state of the stores.

use std::process::Command;

use proptest::prelude::*;

use super::*;
use crate::error::Side;
use crate::report::Moved;

mod names;

use names::named;

/// Which of a pair's places something happens to.
#[derive(Clone, Copy, Debug)]
enum Part {
    Source,
    Standby,
    Index,
}

/// What happens between two runs. Names are chosen among a few, so that changes meet.
#[derive(Clone, Debug)]
enum Change {
    Write {
        name: usize,
        size: usize,
        byte: u8,
    },
    /// So many files at once: enough that deleting them exceeds the safety share.
    WriteMany,
    RemoveMany,
    Remove {
        name: usize,
    },
    Rename {
        from: usize,
        to: usize,
    },
    /// Times that tell nothing about the content.
    Touch {
        name: usize,
    },
    Mode {
        name: usize,
        mode: u32,
    },
    /// A file in the place of a folder, or the other way round.
    Retype {
        name: usize,
    },
    Link {
        name: usize,
    },
    /// Somebody writes to the standby copy, or removes from it, or puts something there.
    ByOthers {
        name: usize,
        removes: bool,
    },
    /// Remembers a place as it is; it is set back to that later.
    Keep(Part),
    Restore(Part),
    /// The place is gone.
    Lose(Part),
    /// The folder is there, and nothing in it.
    Empty(Part),
    /// Another folder is there, with something in it.
    Replace(Part),
    /// The marker of another pool's.
    Foreign(Part),
    Disable,
}

/// What is looked at, and then done.
#[derive(Clone, Debug)]
enum Trial {
    Cycle { accept_deletions: bool, verify: bool },
    GiveBack,
}

const NAMES: [&str; 9] = ["a", "b", "d", "d/a", "d/b", "d/e", "d/e/f", "g/h", "many/7"];

fn place() -> impl Strategy<Value = Part> {
    prop_oneof![Just(Part::Source), Just(Part::Standby), Just(Part::Index)]
}

fn folder() -> impl Strategy<Value = Part> {
    prop_oneof![Just(Part::Source), Just(Part::Standby)]
}

fn change() -> impl Strategy<Value = Change> {
    let name = || 0..NAMES.len();
    prop_oneof![
        8 => (name(), 0..3000usize, any::<u8>()).prop_map(|(name, size, byte)| Change::Write { name, size, byte }),
        2 => Just(Change::WriteMany),
        2 => Just(Change::RemoveMany),
        3 => name().prop_map(|name| Change::Remove { name }),
        3 => (name(), name()).prop_map(|(from, to)| Change::Rename { from, to }),
        1 => name().prop_map(|name| Change::Touch { name }),
        1 => (name(), 0..0o100u32).prop_map(|(name, mode)| Change::Mode { name, mode: 0o700 | mode }),
        2 => name().prop_map(|name| Change::Retype { name }),
        1 => name().prop_map(|name| Change::Link { name }),
        3 => (name(), any::<bool>()).prop_map(|(name, removes)| Change::ByOthers { name, removes }),
        2 => place().prop_map(Change::Keep),
        3 => place().prop_map(Change::Restore),
        2 => place().prop_map(Change::Lose),
        1 => folder().prop_map(Change::Empty),
        1 => folder().prop_map(Change::Replace),
        1 => folder().prop_map(Change::Foreign),
        1 => Just(Change::Disable),
    ]
}

fn run() -> impl Strategy<Value = Trial> {
    prop_oneof![
        4 => (any::<bool>(), any::<bool>()).prop_map(|(accept_deletions, verify)| Trial::Cycle { accept_deletions, verify }),
        1 => Just(Trial::GiveBack),
    ]
}

fn copy(from: &Path, to: &Path) {
    assert!(Command::new("cp").arg("-a").args([from, to]).status().unwrap().success());
}

fn remove(path: &Path) {
    let gone =
        if path.is_dir() && !path.is_symlink() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
    drop(gone);
}

impl Pair {
    fn folder_of(&self, place: Part) -> PathBuf {
        match place {
            Part::Source => self.source(),
            Part::Standby => self.standby(),
            Part::Index => self.index_file(),
        }
    }

    /// What a program or an administrator could do; what cannot be done is left out.
    fn apply(&mut self, change: &Change) {
        let at = |name: &usize| self.source().join(NAMES[*name]);
        match change {
            Change::Write { name, size, byte } => {
                let file = at(name);
                if self.source().exists() && fs::create_dir_all(file.parent().unwrap()).is_ok() {
                    drop(fs::write(file, vec![*byte; *size]));
                }
            }
            Change::WriteMany => {
                for number in 0..40 {
                    let file = self.source().join(format!("many/{number}"));
                    if self.source().exists() && fs::create_dir_all(file.parent().unwrap()).is_ok() {
                        drop(fs::write(file, "one of many"));
                    }
                }
            }
            Change::RemoveMany => remove(&self.source().join("many")),
            Change::Remove { name } => remove(&at(name)),
            Change::Rename { from, to } => drop(fs::rename(at(from), at(to))),
            Change::Touch { name } => {
                if at(name).is_file() && !at(name).is_symlink() {
                    set_mtime(&at(name), SystemTime::UNIX_EPOCH + seconds(1_000_000_000));
                }
            }
            Change::Mode { name, mode } => {
                if at(name).exists() && !at(name).is_symlink() {
                    set_mode(&at(name), *mode);
                }
            }
            Change::Retype { name } => {
                let was_folder = at(name).is_dir();
                if at(name).exists() {
                    remove(&at(name));
                    let made =
                        if was_folder { fs::write(at(name), "a file now") } else { fs::create_dir(at(name)) };
                    made.unwrap();
                }
            }
            Change::Link { name } => {
                remove(&at(name));
                drop(std::os::unix::fs::symlink("a", at(name)));
            }
            Change::ByOthers { name, removes: true } => remove(&self.standby().join(NAMES[*name])),
            Change::ByOthers { name, removes: false } => {
                let file = self.standby().join(NAMES[*name]);
                if file.is_dir() {
                    drop(fs::write(file.join("by others"), "by others"));
                } else if file.parent().unwrap().is_dir() {
                    drop(fs::write(file, format!("by others {name}")));
                }
            }
            Change::Keep(place) => self.keep(*place),
            Change::Restore(place) => self.restore(*place),
            Change::Lose(Part::Index) => self.lose_index(),
            Change::Lose(place) => remove(&self.folder_of(*place)),
            Change::Empty(place) => {
                remove(&self.folder_of(*place));
                fs::create_dir(self.folder_of(*place)).unwrap();
            }
            Change::Replace(place) => {
                let folder = self.folder_of(*place);
                remove(&folder);
                fs::create_dir(&folder).unwrap();
                fs::write(folder.join("a"), "of another folder").unwrap();
            }
            Change::Foreign(place) => {
                let marker = self.folder_of(*place).join(".csb/store.json");
                if let Ok(text) = fs::read_to_string(&marker) {
                    fs::write(marker, text.replace("atl.example.com", "other.example.com")).unwrap();
                }
            }
            Change::Disable => drop(self.module().disable(&self.context())),
        }
    }

    fn kept(&self, place: Part) -> PathBuf {
        self.folder.path().join(format!("kept-{place:?}"))
    }

    fn keep(&self, place: Part) {
        let (folder, kept) = (self.folder_of(place), self.kept(place));
        remove(&kept);
        if !folder.exists() {
            return;
        }
        if matches!(place, Part::Index) {
            let connection = rusqlite::Connection::open(folder).unwrap();
            connection.execute("VACUUM INTO ?1", [kept.to_str().unwrap()]).unwrap();
        } else {
            copy(&folder, &kept);
        }
    }

    fn restore(&mut self, place: Part) {
        let (folder, kept) = (self.folder_of(place), self.kept(place));
        if !kept.exists() {
            return;
        }
        if matches!(place, Part::Index) {
            self.lose_index();
            for file in ["index.sqlite-wal", "index.sqlite-shm"] {
                drop(fs::remove_file(self.folder.path().join(file)));
            }
            fs::copy(&kept, &folder).unwrap();
            self.take_lease();
        } else {
            remove(&folder);
            copy(&kept, &folder);
        }
    }

    /// Looks, runs, and compares what both say.
    fn assert_planned(&self, run: &Trial) {
        let before = self.everything();
        let (moves, changes, refused, result) = match run {
            Trial::Cycle { accept_deletions, verify } => {
                let look = Look { accept_deletions: *accept_deletions, verify: *verify, ..Look::default() };
                let seen = self.module().observe(&look).unwrap();
                assert_eq!(self.everything(), before, "a look wrote something");
                let context =
                    Context { accept_deletions: *accept_deletions, verify: *verify, ..self.context() };
                let done = self.module().run_cycle(&context);
                let pending = match &done {
                    Ok(done) => done.before.as_ref(),
                    Err(failure) => failure.done.before.as_ref(),
                };
                let pending = pending.map(|pending| (pending.pending_items, pending.pending_bytes));
                assert_eq!(pending.unwrap_or_default(), (seen.pending_items, seen.pending_bytes));
                (seen.moves.unwrap(), seen.changes, seen.refused, done)
            }
            Trial::GiveBack => {
                let seen = self.module().observe_carry_back(&Look::default()).unwrap();
                assert_eq!(self.everything(), before, "a look wrote something");
                let done = self.module().carry_back(&self.context());
                let moves = Moved { items_written: seen.items, bytes: seen.bytes, ..Moved::default() };
                (moves, seen.changes, seen.refused, done)
            }
        };
        let said = |error: &Error| (error.kind, error.side, error.message.clone());
        // Several threads prepare files, so that the batches fall in one way or another.
        let counted = |moved: &Moved| (moved.items_written, moved.items_deleted, moved.bytes);
        match result {
            Ok(done) => {
                assert_eq!((counted(&moves), refused), (counted(&done.moved), None));
                assert_eq!(named(&changes), named(&done.changes));
            }
            Err(CycleFailure { error, done }) => {
                assert_eq!(refused.as_ref().map(said), Some(said(&error)), "{done:#?}");
                assert_eq!(counted(&moves), counted(&done.moved), "{error:?}");
                assert_eq!(named(&changes), named(&done.changes), "{error:?}");
                assert!(error.side.is_some(), "{error:?}");
            }
        }
    }

    /// Everything in both stores, what is no content as well, and what lies beside the index.
    fn everything(&self) -> (Vec<Tree>, std::collections::BTreeSet<std::ffi::OsString>) {
        let own = |store: PathBuf| [store.clone(), store.join(".csb")];
        let trees = own(self.source()).into_iter().chain(own(self.standby()));
        let trees = trees.map(|folder| if folder.is_dir() { tree(&folder) } else { Tree::new() });
        let beside = fs::read_dir(self.folder.path()).unwrap();
        let beside = beside.map(|entry| entry.unwrap().file_name());
        // SQLite makes and removes these whenever a database is read.
        let beside = beside.filter(|name| !name.to_string_lossy().starts_with("index.sqlite-"));
        (trees.collect(), beside.collect())
    }
}

/// 48 cases, unless `PROPTEST_CASES` says otherwise.
fn config() -> ProptestConfig {
    let chosen = std::env::var_os("PROPTEST_CASES").is_some();
    if chosen { ProptestConfig::default() } else { ProptestConfig::with_cases(48) }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn what_a_look_says_is_what_the_run_does(
        rounds in prop::collection::vec((prop::collection::vec(change(), 0..6), run()), 1..6),
    ) {
        let mut pair = Pair::in_memory();
        for (changes, run) in rounds {
            changes.iter().for_each(|change| pair.apply(change));
            pair.assert_planned(&run);
        }
    }
}

const CYCLE: Trial = Trial::Cycle { accept_deletions: false, verify: false };
const FORCED: Trial = Trial::Cycle { accept_deletions: true, verify: false };
const VERIFYING: Trial = Trial::Cycle { accept_deletions: false, verify: true };

fn filled() -> Pair {
    let pair = Pair::new();
    for name in ["a", "b", "d/a", "d/e/f"] {
        pair.write(name, format!("content of {name}"));
    }
    pair.cycle();
    pair
}

#[test]
fn a_standby_that_was_emptied_is_refused_and_copied_anew_where_that_is_forced() {
    for change in [Change::Empty(Part::Standby), Change::Lose(Part::Standby)] {
        let mut pair = filled();
        pair.apply(&change);
        let refused = pair.observe();
        assert_eq!(refused.to_move(), (0, 0));
        assert_eq!(refused.refused.as_ref().unwrap().side, Some(Side::Import), "{refused:?}");
        pair.assert_planned(&CYCLE);
        let forced = pair.module().observe(&Look { accept_deletions: true, ..Look::default() }).unwrap();
        assert_eq!((forced.to_move().0, forced.refused), (6, None));
        pair.assert_planned(&FORCED);
        pair.assert_settled();
    }
}

#[test]
fn what_a_comparison_would_repair_is_in_the_plan() {
    let mut pair = filled();
    pair.apply(&Change::Keep(Part::Standby));
    pair.write("a", "changed, and copied");
    pair.cycle();
    // The index knows more than the standby holds: only reading both tells.
    pair.apply(&Change::Restore(Part::Standby));
    assert_eq!(pair.observe().to_move(), (0, 0), "nobody looks at the standby unless asked to");
    let seen = pair.module().observe(&Look { verify: true, ..Look::default() }).unwrap();
    assert_eq!(seen.to_move(), (1, 19));
    pair.assert_planned(&VERIFYING);
    pair.assert_settled();
}

#[test]
fn an_index_that_was_lost_or_set_back_is_looked_at_as_the_run_does() {
    let mut pair = filled();
    pair.apply(&Change::Keep(Part::Index));
    pair.write("b", "changed, and copied");
    pair.write("new", "new");
    pair.cycle();
    for (change, items) in [(Change::Restore(Part::Index), 2), (Change::Lose(Part::Index), 0)] {
        pair.apply(&change);
        let seen = pair.observe();
        assert!(seen.to_move().0 <= items, "{seen:?}");
        pair.assert_planned(&CYCLE);
    }
    pair.assert_settled();
}

#[test]
fn deletions_beyond_the_safety_share_are_pending_and_not_planned() {
    let mut pair = filled();
    pair.apply(&Change::WriteMany);
    pair.cycle();
    pair.apply(&Change::RemoveMany);
    pair.write("new", "new");
    let seen = pair.observe();
    assert_eq!((seen.pending_items, seen.to_move()), (42, (1, 3)), "{seen:?}");
    let refused = seen.refused.unwrap();
    assert_eq!((refused.kind, refused.side), (ErrorKind::SafetyShareExceeded, Some(Side::Export)));
    pair.assert_planned(&CYCLE);
    pair.assert_planned(&FORCED);
    pair.assert_settled();
}

#[test]
fn a_big_file_is_planned_with_what_has_to_be_sent_of_it() {
    let pair = Pair::new();
    let mut content = vec![7; 9 << 20];
    pair.write("big", &content);
    pair.assert_planned(&CYCLE);
    content[5 << 20] = 8;
    pair.write("big", &content);
    assert_eq!(pair.observe().to_move(), (1, 128 << 10));
    pair.assert_planned(&CYCLE);
    // With holes, which are not sent.
    fs::File::create(pair.source().join("sparse")).unwrap().set_len(1 << 20).unwrap();
    assert_eq!(pair.observe().to_move(), (1, 0));
    pair.assert_planned(&CYCLE);
    pair.assert_settled();
}

#[test]
fn what_is_given_back_is_planned_as_far_as_it_can_be() {
    let mut pair = filled();
    fs::write(pair.standby().join("a"), "damaged by others").unwrap();
    pair.apply(&Change::Empty(Part::Source));
    let seen = pair.module().observe_carry_back(&Look::default()).unwrap();
    assert_eq!((seen.items, seen.refused.as_ref()), (5, None), "the damaged one stays away");
    pair.assert_planned(&Trial::GiveBack);
    pair.apply(&Change::Lose(Part::Source));
    let refused = pair.module().observe_carry_back(&Look::default()).unwrap().refused.unwrap();
    assert_eq!((refused.kind, refused.side), (ErrorKind::StoreUnavailable, Some(Side::Import)));
    pair.assert_planned(&Trial::GiveBack);
}

#[test]
fn a_standby_that_may_not_be_written_is_refused_before_it_is_tried() {
    isolation::in_own_mounts(|| {
        let pair = filled();
        isolation::mount(&["--bind", pair.standby().to_str().unwrap()], &pair.standby());
        isolation::mount(&["-o", "remount,bind,ro"], &pair.standby());
        pair.assert_planned(&CYCLE);
        pair.write("new", "new");
        let refused = pair.observe().refused.unwrap();
        assert_eq!((refused.kind, refused.side), (ErrorKind::AccessDenied, Some(Side::Import)));
        isolation::unmount(&pair.standby());
        pair.assert_planned(&CYCLE);
    });
}

#[test]
fn a_look_that_is_cancelled_says_so() {
    let pair = filled();
    let look = Look::default();
    look.cancel.cancel();
    let error = pair.module().observe(&look).unwrap_err();
    assert_eq!((error.kind, error.side), (ErrorKind::Cancelled, None));
    assert_eq!(pair.module().observe_carry_back(&look).unwrap_err().kind, ErrorKind::Cancelled);
}
