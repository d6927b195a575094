//! Random trees and random changes, against a model in memory.

use std::collections::BTreeMap;

use proptest::prelude::*;

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
    Mode {
        path: usize,
        mode: u32,
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
        1 => (path(), 0..0o100u32).prop_map(|(path, mode)| Change::Mode { path, mode: 0o700 | mode }),
        1 => path().prop_map(|path| Change::CarryBack { path }),
        3 => Just(Change::Cycle),
        1 => (0..6u64).prop_map(|after| Change::Cancelled { after }),
    ]
}

/// What the source should hold: content, none for folders.
type Model = BTreeMap<PathBuf, Option<Vec<u8>>>;

struct World {
    pair: Pair,
    model: Model,
}

impl World {
    /// Does what a program could do; what a file system would refuse is left out.
    fn apply(&mut self, change: Change) {
        let paths = paths();
        let source = self.pair.source();
        match change {
            Change::Write { path, size, byte } => {
                let path = &paths[path];
                if self.parent_exists(path) && self.model.get(path) != Some(&None) {
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
            Change::Mode { path, mode } => {
                if self.model.contains_key(&paths[path]) {
                    set_mode(&source.join(&paths[path]), mode);
                }
            }
            Change::CarryBack { path } => {
                self.settle();
                let before = self.model.clone();
                self.remove(&paths[path]);
                self.pair.module().carry_back(&self.pair.context()).unwrap();
                self.model = before;
                assert!(self.cycle().moved.is_nothing());
            }
            Change::Cycle => self.settle(),
            Change::Cancelled { after } => match self.pair.cancelled_cycle(after) {
                Ok(_) => {}
                Err(failure) => assert_eq!(failure.error.kind, ErrorKind::Cancelled),
            },
        }
    }

    fn parent_exists(&self, path: &Path) -> bool {
        path.parent().is_none_or(|parent| parent == Path::new("") || self.model.get(parent) == Some(&None))
    }

    fn forge(&mut self, path: &Path) {
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

    fn cycle(&self) -> CycleOutcome {
        let outcome = self.pair.forced_cycle();
        assert!(outcome.quarantined.is_empty(), "{outcome:?}");
        outcome
    }

    /// A quiet cycle: source, standby and model are the same, and another one moves nothing.
    fn settle(&self) {
        self.cycle();
        let standby = tree(&self.pair.standby());
        let contents: Model =
            standby.iter().map(|(path, (content, ..))| (path.clone(), content.clone())).collect();
        assert_eq!(contents, self.model);
        assert_eq!(standby, tree(&self.pair.source()));
        assert!(self.cycle().moved.is_nothing());
        assert_eq!(self.pair.observe().pending_items, 0);
    }
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
        let mut world = World { pair: Pair::new(), model: Model::new() };
        for change in changes {
            world.apply(change);
        }
        world.settle();
    }
}
