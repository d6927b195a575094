//! Random trees and random changes, against a model in memory.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::faulty::Faults;
use super::*;

/// One change to the source. Numbers choose among the names there are, so that changes meet.
#[derive(Clone, Debug)]
enum Change {
    Write {
        path: usize,
        size: usize,
        byte: u8,
    },
    /// Same size and modification time, other content.
    Forge {
        path: usize,
    },
    Remove {
        path: usize,
    },
    MakeFolder {
        path: usize,
    },
    Rename {
        from: usize,
        to: usize,
    },
    /// Two of them take each other's name.
    Swap {
        one: usize,
        other: usize,
    },
    Mode {
        path: usize,
        mode: u32,
    },
    /// A modification time, in seconds since 1970.
    Touch {
        path: usize,
        time: u64,
    },
    /// A file where a folder was, or the other way round.
    Retype {
        path: usize,
    },
    /// A link to something beside it, which need not be there.
    Link {
        path: usize,
        target: usize,
    },
    /// An extended attribute, or none any more.
    Attribute {
        path: usize,
        value: Option<u8>,
    },
    /// Somebody writes to the standby copy.
    ByOthers {
        path: usize,
    },
    /// The source loses this, and the standby gives it back.
    CarryBack {
        path: usize,
    },
    Cycle,
    /// A cycle that is cancelled after so many objects.
    Cancelled {
        after: u64,
    },
    /// A cycle whose process dies after so many operations at the standby.
    Killed {
        lives: u32,
    },
    /// A cycle whose line to a source at another machine is cut after so many bytes.
    Cut {
        bytes: u64,
    },
    /// The service database is lost.
    LostIndex,
    /// The source's marker is lost, and comes back.
    LostMarker,
}

fn paths() -> Vec<PathBuf> {
    let names: [&[u8]; 4] = [b"a", b"B\n", b"\xff", b"a b"];
    let mut paths = Vec::new();
    for first in names {
        paths.push(PathBuf::from(os(first)));
        for second in names {
            paths.push(Path::new(os(first)).join(os(second)));
            paths.push(Path::new(os(first)).join(os(second)).join("deep"));
        }
    }
    paths
}

fn change() -> impl Strategy<Value = Change> {
    let path = || 0..paths().len();
    prop_oneof![
        6 => (path(), 0..3000usize, any::<u8>()).prop_map(|(path, size, byte)| Change::Write { path, size, byte }),
        2 => path().prop_map(|path| Change::Forge { path }),
        3 => path().prop_map(|path| Change::Remove { path }),
        2 => path().prop_map(|path| Change::MakeFolder { path }),
        2 => (path(), path()).prop_map(|(from, to)| Change::Rename { from, to }),
        2 => (path(), path()).prop_map(|(one, other)| Change::Swap { one, other }),
        1 => (path(), 0..0o100u32).prop_map(|(path, mode)| Change::Mode { path, mode: 0o700 | mode }),
        1 => (path(), 0..2_000_000_000u64).prop_map(|(path, time)| Change::Touch { path, time }),
        2 => path().prop_map(|path| Change::Retype { path }),
        2 => (path(), 0..TARGETS.len()).prop_map(|(path, target)| Change::Link { path, target }),
        2 => (path(), any::<Option<u8>>()).prop_map(|(path, value)| Change::Attribute { path, value }),
        2 => path().prop_map(|path| Change::ByOthers { path }),
        1 => path().prop_map(|path| Change::CarryBack { path }),
        3 => Just(Change::Cycle),
        1 => (0..6u64).prop_map(|after| Change::Cancelled { after }),
        2 => (0..40u32).prop_map(|lives| Change::Killed { lives }),
        2 => (0..6000u64).prop_map(|bytes| Change::Cut { bytes }),
        1 => Just(Change::LostIndex),
        1 => Just(Change::LostMarker),
    ]
}

const ATTRIBUTE: &str = "user.model";

/// Where links lead.
const TARGETS: [&str; 3] = ["a", "./deep", "nowhere"];

/// What the source should hold: content, of links their target, none for folders.
type Model = BTreeMap<PathBuf, Option<Vec<u8>>>;

struct World {
    pair: Pair,
    model: Model,
    /// What others wrote to the standby copy and nobody overwrote but this product.
    by_others: BTreeMap<PathBuf, String>,
    written_by_others: u32,
    is_index_lost: bool,
    /// What the source was in each state that the standby has been in since others changed something there.
    states: BTreeMap<u32, Tree>,
}

impl World {
    fn of(pair: Pair) -> Self {
        World {
            pair,
            model: Model::new(),
            by_others: BTreeMap::new(),
            written_by_others: 0,
            is_index_lost: false,
            states: BTreeMap::new(),
        }
    }

    fn go_through(mut self, changes: Vec<Change>) {
        for change in changes {
            self.apply(change);
        }
        self.settle();
        for (revision, then) in &self.states {
            self.pair.assert_restored(*revision, then);
        }
    }

    /// Does what a program could do; what a file system would refuse is left out.
    fn apply(&mut self, change: Change) {
        let paths = paths();
        let source = self.pair.source();
        match change {
            Change::Write { path, size, byte } => {
                let path = &paths[path];
                if self.parent_exists(path) && self.model.get(path) != Some(&None) && !self.is_link(path) {
                    fs::write(source.join(path), vec![byte; size]).unwrap();
                    self.model.insert(path.clone(), Some(vec![byte; size]));
                }
            }
            Change::Forge { path } => self.forge(&paths[path]),
            Change::Remove { path } => self.remove(&paths[path]),
            Change::MakeFolder { path } => {
                let path = &paths[path];
                if self.parent_exists(path) && !self.model.contains_key(path) {
                    fs::create_dir(source.join(path)).unwrap();
                    self.model.insert(path.clone(), None);
                }
            }
            Change::Rename { from, to } => self.rename(&paths[from], &paths[to]),
            Change::Swap { one, other } => {
                let (one, other, aside) = (&paths[one], &paths[other], Path::new("aside"));
                let both = self.model.contains_key(one) && self.model.contains_key(other);
                if both && !one.starts_with(other) && !other.starts_with(one) {
                    self.rename(one, aside);
                    self.rename(other, one);
                    self.rename(aside, other);
                }
            }
            Change::Mode { path, mode } => {
                if self.model.contains_key(&paths[path]) && !self.is_link(&paths[path]) {
                    set_mode(&source.join(&paths[path]), mode);
                }
            }
            Change::CarryBack { path } => {
                self.settle();
                let (before, attributes) = (self.model.clone(), self.attributes(&source));
                self.remove(&paths[path]);
                self.pair.module_at_home().carry_back(&self.pair.context()).unwrap();
                self.model = before;
                assert_eq!(self.attributes(&source), attributes);
                assert!(self.cycle().moved.is_nothing());
            }
            Change::Touch { path, time } => {
                if let Some(Some(_)) = self.model.get(&paths[path])
                    && !self.is_link(&paths[path])
                {
                    set_mtime(&source.join(&paths[path]), SystemTime::UNIX_EPOCH + seconds(time));
                }
            }
            Change::Retype { path } => self.retype(&paths[path]),
            Change::ByOthers { path } => {
                let file = self.pair.standby().join(&paths[path]);
                if fs::symlink_metadata(&file).is_ok_and(|found| found.is_file()) {
                    self.written_by_others += 1;
                    self.states.clear();
                    let content = format!("by others: {}", self.written_by_others);
                    fs::write(file, &content).unwrap();
                    if !self.is_index_lost {
                        self.by_others.insert(paths[path].clone(), content);
                    }
                }
            }
            Change::Link { path, target } => {
                let path = &paths[path];
                if self.parent_exists(path) && self.model.get(path) != Some(&None) {
                    self.remove(path);
                    std::os::unix::fs::symlink(TARGETS[target], source.join(path)).unwrap();
                    self.model.insert(path.clone(), Some(TARGETS[target].into()));
                }
            }
            Change::Attribute { path, value } => {
                let file = source.join(&paths[path]);
                if !self.model.contains_key(&paths[path]) || self.is_link(&paths[path]) {
                    return;
                }
                match value {
                    Some(value) => {
                        rustix::fs::setxattr(file, ATTRIBUTE, &[value], rustix::fs::XattrFlags::empty())
                            .unwrap();
                    }
                    // There may be none.
                    None => drop(rustix::fs::removexattr(file, ATTRIBUTE)),
                }
            }
            Change::Killed { lives } => {
                let dying = Faults { lives: Some(lives.into()), ..Faults::default() };
                let (module, _) = faulty::module(&self.pair, Faults::default(), dying);
                let _ = module.run_cycle(&Context { accept_deletions: true, ..self.pair.context() });
            }
            Change::Cut { bytes } => {
                let Some(afar) = &self.pair.afar else { return };
                afar.line.left.store(bytes, std::sync::atomic::Ordering::SeqCst);
                let context = Context { accept_deletions: true, ..self.pair.context() };
                if let Err(failure) = self.pair.module().run_cycle(&context) {
                    assert_eq!(failure.error.kind, ErrorKind::StoreUnavailable, "{failure:?}");
                }
                afar.line.left.store(u64::MAX, std::sync::atomic::Ordering::SeqCst);
            }
            Change::LostIndex => {
                self.pair.lose_index();
                // An empty copy is like one that was never there.
                if !self.pair.standby().exists() || tree(&self.pair.standby()).is_empty() {
                    self.states.clear();
                }
                // Until there is another one nobody can tell what is whose.
                self.is_index_lost = true;
                self.by_others.clear();
            }
            Change::LostMarker => {
                self.settle();
                fs::remove_file(source.join(".csb/store.json")).unwrap();
                self.assert_unrecognised_source_is_refused();
                self.pair.module_at_home().carry_back(&self.pair.context()).unwrap();
                assert!(self.cycle().moved.is_nothing());
            }
            Change::Cycle => self.settle(),
            Change::Cancelled { after } => match self.pair.cancelled_cycle(after) {
                Ok(_) => {}
                Err(failure) => assert_eq!(failure.error.kind, ErrorKind::Cancelled),
            },
        }
    }

    fn is_link(&self, path: &Path) -> bool {
        fs::symlink_metadata(self.pair.source().join(path)).is_ok_and(|found| found.is_symlink())
    }

    /// The extended attribute of everything that has it.
    fn attributes(&self, root: &Path) -> BTreeMap<PathBuf, u8> {
        let mut found = BTreeMap::new();
        for path in self.model.keys().filter(|path| !self.is_link(path)) {
            let mut value = [0];
            if rustix::fs::getxattr(root.join(path), ATTRIBUTE, &mut value[..]).is_ok() {
                found.insert(path.clone(), value[0]);
            }
        }
        found
    }

    fn parent_exists(&self, path: &Path) -> bool {
        path.parent().is_none_or(|parent| parent == Path::new("") || self.model.get(parent) == Some(&None))
    }

    fn forge(&mut self, path: &Path) {
        if self.is_link(path) {
            return;
        }
        if let Some(Some(content)) = self.model.get_mut(path) {
            let file = self.pair.source().join(path);
            let mtime = fs::metadata(&file).unwrap().modified().unwrap();
            content.iter_mut().for_each(|byte| *byte = byte.wrapping_add(1));
            fs::write(&file, content).unwrap();
            set_mtime(&file, mtime);
        }
    }

    fn remove(&mut self, path: &Path) {
        match self.model.get(path) {
            None => {}
            Some(None) => fs::remove_dir_all(self.pair.source().join(path)).unwrap(),
            Some(Some(_)) => fs::remove_file(self.pair.source().join(path)).unwrap(),
        }
        self.model.retain(|known, _| !known.starts_with(path));
    }

    fn rename(&mut self, from: &Path, to: &Path) {
        if !self.model.contains_key(from)
            || self.model.contains_key(to)
            || to.starts_with(from)
            || !self.parent_exists(to)
        {
            return;
        }
        fs::rename(self.pair.source().join(from), self.pair.source().join(to)).unwrap();
        let moved: Model = self.model.extract_if(.., |known, _| known.starts_with(from)).collect();
        self.model.extend(moved.into_iter().map(|(path, content)| {
            let rest = path.strip_prefix(from).unwrap();
            (if rest == Path::new("") { to.to_owned() } else { to.join(rest) }, content)
        }));
    }

    fn retype(&mut self, path: &Path) {
        let Some(content) = self.model.get(path).cloned() else { return };
        self.remove(path);
        let file = self.pair.source().join(path);
        match content {
            Some(_) => fs::create_dir(file).unwrap(),
            None => fs::write(file, "a file now").unwrap(),
        }
        self.model.insert(path.to_owned(), content.is_none().then(|| b"a file now".to_vec()));
    }

    /// Nothing is concluded from a source that nobody can recognise.
    fn assert_unrecognised_source_is_refused(&self) {
        let before = tree(&self.pair.standby());
        assert_eq!(self.pair.cycle_error().kind, ErrorKind::ContentStoreUnmounted);
        assert_eq!(tree(&self.pair.standby()), before);
    }

    fn cycle(&self) -> CycleOutcome {
        let outcome = self.pair.forced_cycle();
        assert!(outcome.quarantined.is_empty(), "{outcome:?}");
        outcome
    }

    /// A quiet cycle: source, standby and model are the same, and another one moves nothing.
    fn settle(&mut self) {
        self.cycle();
        self.is_index_lost = false;
        if !self.by_others.is_empty() {
            // Only reading tells what others did to files that the source has not changed.
            let verify = Context { accept_deletions: true, verify: true, ..self.pair.context() };
            self.pair.module().run_cycle(&verify).unwrap();
            let kept = contents_below(&self.pair.standby().join(".csb/conflicts"));
            for (path, content) in std::mem::take(&mut self.by_others) {
                assert!(kept.contains(content.as_bytes()), "{} by others was not kept", path.display());
            }
        }
        let standby = tree(&self.pair.standby());
        let contents: Model =
            standby.iter().map(|(path, (content, ..))| (path.clone(), content.clone())).collect();
        assert_eq!(contents, self.model);
        assert_eq!(standby, tree(&self.pair.source()));
        assert_eq!(self.attributes(&self.pair.standby()), self.attributes(&self.pair.source()));
        assert!(self.cycle().moved.is_nothing());
        assert_eq!(self.pair.observe().pending_items, 0);
        self.states.insert(self.pair.revision(), standby);
    }
}

/// The contents of all files in a folder and below.
fn contents_below(folder: &Path) -> std::collections::BTreeSet<Vec<u8>> {
    tree(folder).into_values().filter_map(|(content, ..)| content).collect()
}

/// 64 cases, unless `PROPTEST_CASES` says otherwise.
fn config() -> ProptestConfig {
    let chosen = std::env::var_os("PROPTEST_CASES").is_some();
    if chosen { ProptestConfig::default() } else { ProptestConfig::with_cases(64) }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn a_quiet_cycle_makes_both_equal_and_a_further_one_moves_nothing(
        changes in prop::collection::vec(change(), 1..40)
    ) {
        World::of(Pair::new()).go_through(changes);
    }

    #[test]
    fn a_source_at_another_machine_is_copied_as_one_that_is_here(
        changes in prop::collection::vec(change(), 1..40)
    ) {
        World::of(Pair::afar()).go_through(changes);
    }
}
