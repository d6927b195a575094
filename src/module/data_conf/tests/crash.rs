//! A process that dies at every single operation, and the run after it.

use std::sync::atomic::AtomicU32;

use super::faulty::{Faults, module};
use super::*;
use crate::store::content::ObjectKind;

/// A pair with something of everything to do.
fn changed_pair() -> Pair {
    let pair = Pair { batch_bytes: 2000, ..Pair::new() };
    for name in
        ["stays", "changes", "goes", "file to folder", "folder to file/a", "folder to file/b/c", "mode"]
    {
        pair.write(name, vec![1; 700]);
    }
    pair.cycle();
    pair.age();
    let source = pair.source();
    pair.write("changes", vec![2; 900]);
    fs::remove_file(source.join("goes")).unwrap();
    fs::remove_file(source.join("file to folder")).unwrap();
    pair.write("file to folder/inner", "new");
    fs::remove_dir_all(source.join("folder to file")).unwrap();
    pair.write("folder to file", "new");
    pair.write("new/file", "new");
    set_mode(&source.join("mode"), 0o600);
    pair
}

fn dying(lives: u32) -> Faults {
    Faults { lives: Some(AtomicU32::new(lives)), ..Faults::default() }
}

#[test]
fn a_cycle_that_died_anywhere_is_finished_by_the_next() {
    for change_again in [false, true] {
        for lives in 0.. {
            let pair = changed_pair();
            let (module, _) = module(&pair, Faults::default(), dying(lives));
            let result = module.run_cycle(&pair.context());
            if change_again {
                // What was new is gone before the next cycle sees it.
                fs::remove_dir_all(pair.source().join("new")).unwrap();
                fs::remove_file(pair.source().join("folder to file")).unwrap();
                fs::create_dir(pair.source().join("folder to file")).unwrap();
            }
            let outcome = pair.cycle();
            assert!(outcome.quarantined.is_empty(), "{lives}: {outcome:?}");
            pair.assert_settled();
            if result.is_ok() {
                assert!(lives > 25, "the process did not die often enough: {lives}");
                break;
            }
        }
    }
}

/// What a name can stand for.
const SHAPES: [&str; 4] = ["nothing", "file", "folder", "link"];

/// Gives a name of the source another shape; files and links differ from one occasion to the next.
fn reshape(pair: &Pair, shape: &str, occasion: usize) {
    let path = pair.source().join("name");
    let _ = fs::remove_file(&path).or_else(|_| fs::remove_dir_all(&path));
    match shape {
        "file" => fs::write(&path, format!("content {occasion}")).unwrap(),
        "folder" => pair.write("name/below/file", format!("below {occasion}")),
        "link" => std::os::unix::fs::symlink(format!("target {occasion}"), &path).unwrap(),
        _ => {}
    }
}

#[test]
fn a_name_that_changed_its_kind_between_two_cycles_that_died_anywhere_is_mended() {
    let mut died = 0;
    for shapes in (0..64).map(|number| [number / 16, number / 4 % 4, number % 4].map(|shape| SHAPES[shape])) {
        if shapes[0] == shapes[1] || shapes[1] == shapes[2] {
            continue;
        }
        let mut lives = [0, 0];
        loop {
            let pair = Pair::in_memory();
            pair.write("other", "1");
            pair.cycle();
            let ended = [0, 1].map(|cycle| {
                reshape(&pair, shapes[cycle], cycle);
                let (module, _) = module(&pair, Faults::default(), dying(lives[cycle]));
                module.run_cycle(&Context { accept_deletions: true, ..pair.context() }).is_ok()
            });
            reshape(&pair, shapes[2], 2);
            let outcome = pair.forced_cycle();
            assert!(outcome.quarantined.is_empty(), "{shapes:?} {lives:?}: {outcome:?}");
            assert!(outcome.warnings.is_empty(), "{shapes:?} {lives:?}: {outcome:?}");
            pair.assert_settled();
            let count = pair.index().count().unwrap();
            assert_eq!(
                count,
                tree(&pair.source()).len() as u64,
                "{shapes:?} {lives:?}: rows of nothing are left"
            );
            died += ended.into_iter().filter(|ended| !ended).count();
            // Each of the first with some of the second, not always the same ones.
            lives = match ended {
                [true, true] => break,
                [_, true] => [lives[0] + 1, lives[0] % 6],
                _ => [lives[0], lives[1] + 6],
            };
        }
    }
    assert!(died > 1000, "the processes did not die often enough: {died}");
}

/// As if a batch had been interrupted that was to publish something of this kind.
fn interrupt(pair: &Pair, name: &str, kind: ObjectKind) {
    let path = ContentPath::from_bytes(name.as_bytes()).unwrap();
    pair.index().begin(pair.generation, std::iter::once((&path, kind, None))).unwrap();
}

#[test]
fn a_folder_that_others_made_under_the_name_of_an_interrupted_file_or_link_is_theirs() {
    for kind in [ObjectKind::File, ObjectKind::Link] {
        let pair = Pair::new();
        pair.write("other", "1");
        pair.cycle();
        interrupt(&pair, "name", kind);
        fs::create_dir(pair.standby().join("name")).unwrap();
        pair.write("name", "1");
        let named: Vec<_> = pair.cycle().quarantined.into_iter().map(|item| item.item).collect();
        assert_eq!(named, ["name"]);
        assert!(pair.standby().join("name").is_dir());
        fs::remove_dir(pair.standby().join("name")).unwrap();
        pair.cycle();
        pair.assert_settled();
    }
}

#[test]
fn a_folder_that_was_made_for_an_interrupted_file_in_it_gives_way() {
    let pair = Pair::new();
    pair.write("other", "1");
    pair.cycle();
    interrupt(&pair, "name/below/file", ObjectKind::File);
    fs::create_dir_all(pair.standby().join("name/below")).unwrap();
    pair.write("name", "1");
    assert_eq!(pair.cycle().quarantined, []);
    pair.assert_settled();
}

#[test]
fn nothing_is_held_below_an_interrupted_folder_that_is_gone() {
    let pair = Pair::new();
    pair.write("folder/below/file", "1");
    pair.cycle();
    pair.cycle();
    interrupt(&pair, "folder", ObjectKind::Folder);
    fs::remove_dir_all(pair.standby().join("folder")).unwrap();
    assert_eq!(pair.cycle().moved.items_written, 3);
    pair.assert_settled();
}

#[test]
fn giving_back_that_died_anywhere_is_finished_by_the_next() {
    for lives in 0.. {
        let pair = changed_pair();
        pair.cycle();
        let before = tree(&pair.source());
        fs::remove_dir_all(pair.source()).unwrap();
        fs::create_dir(pair.source()).unwrap();
        let (module, _) = module(&pair, dying(lives), Faults::default());
        let result = module.carry_back(&pair.context());
        if result.is_err() {
            // A cycle in between must not take what has not come back yet for deleted.
            assert_eq!(pair.cycle_error().kind, ErrorKind::ContentStoreUnmounted, "{lives}");
        }
        pair.module().carry_back(&pair.context()).unwrap();
        assert_eq!(without_folder_times(tree(&pair.source())), without_folder_times(before), "{lives}");
        pair.cycle();
        pair.assert_settled();
        if result.is_ok() {
            break;
        }
    }
}

#[test]
fn a_first_cycle_that_died_anywhere_is_finished_by_the_next() {
    for source_dies in [false, true] {
        for lives in 0.. {
            let pair = Pair::new();
            pair.write("folder/file", "1");
            let (source, standby) = if source_dies {
                (dying(lives), Faults::default())
            } else {
                (Faults::default(), dying(lives))
            };
            let (module, _) = module(&pair, source, standby);
            let result = module.run_cycle(&pair.context());
            pair.cycle();
            pair.assert_settled();
            if result.is_ok() {
                break;
            }
        }
    }
}

#[test]
fn refilling_a_lost_standby_that_died_anywhere_is_finished_by_the_next() {
    for lives in 0.. {
        let pair = Pair::new();
        pair.write("folder/file", "1");
        pair.cycle();
        fs::remove_dir_all(pair.standby()).unwrap();
        let (module, _) = module(&pair, Faults::default(), dying(lives));
        let result = module.run_cycle(&Context { accept_deletions: true, ..pair.context() });
        pair.forced_cycle();
        pair.assert_settled();
        if result.is_ok() {
            break;
        }
    }
}

#[test]
fn a_refill_that_is_overtaken_leaves_no_marker_that_nobody_knows() {
    let pair = Pair::new();
    pair.write("f", "1");
    pair.cycle();
    fs::remove_dir_all(pair.standby()).unwrap();
    let index = pair.index_file();
    let overtake = move || {
        take_lease(&index);
    };
    let marked = Some(Box::new(overtake) as Box<_>);
    let (module, _) = module(&pair, Faults::default(), Faults { marked, ..Faults::default() });
    let failure = module.run_cycle(&Context { accept_deletions: true, ..pair.context() }).unwrap_err();
    assert_eq!(failure.error.kind, ErrorKind::Fenced);
    let pair = Pair { generation: take_lease(&pair.index_file()), ..pair };
    pair.forced_cycle();
    pair.assert_settled();
}

/// Folders that came back before the process died are not known to be lost any more.
fn without_folder_times(mut tree: Tree) -> Tree {
    tree.values_mut().filter(|(content, ..)| content.is_none()).for_each(|(_, mtime, _)| *mtime = 0);
    tree
}

const CHILD_ROOT: &str = "CSB_TEST_KILLED_CYCLE_ROOT";
const CHILD_GENERATION: &str = "CSB_TEST_KILLED_CYCLE_GENERATION";

/// Not a test of its own: the process that the next one kills.
#[test]
fn cycle_that_is_killed() {
    let Some(root) = std::env::var_os(CHILD_ROOT).map(PathBuf::from) else { return };
    let store = |name: &str| Box::new(FolderStore::new(root.join(name), Vec::new()));
    let index = place(&root.join("index.sqlite"));
    let module =
        DataConf::new(pool(), store("source"), store("standby"), index, 20_000, HistoryLimits::default());
    let context = Context {
        job: None,
        generation: Generation(std::env::var(CHILD_GENERATION).unwrap().parse().unwrap()),
        cancel: CancellationToken::new(),
        observer: Arc::new(Recorder::default()),
        clock: Arc::new(SystemClock::new()),
        accept_deletions: true,
        verify: false,
    };
    loop {
        module.run_cycle(&context).unwrap();
    }
}

#[test]
fn killed_processes_leave_nothing_that_the_next_cycle_does_not_mend() {
    let pair = Pair::new();
    let mut random = fastrand::Rng::with_seed(7);
    for round in 0..20 {
        let child = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "module::data_conf::tests::crash::cycle_that_is_killed"])
            .env(CHILD_ROOT, pair.folder.path())
            .env(CHILD_GENERATION, pair.generation.0.to_string())
            .stdout(std::process::Stdio::null())
            .spawn();
        let mut child = child.unwrap();
        let end = std::time::Instant::now() + Duration::from_millis(random.u64(5..120));
        while std::time::Instant::now() < end {
            let name = format!("d{}/f{}", random.u8(0..4), random.u8(0..60));
            if random.u8(0..4) == 0 {
                let _ = fs::remove_file(pair.source().join(name));
            } else {
                pair.write(&name, vec![round; random.usize(0..5000)]);
            }
        }
        child.kill().unwrap();
        let signal = std::os::unix::process::ExitStatusExt::signal(&child.wait().unwrap());
        assert_eq!(signal, Some(9), "it ended by itself");
        if round % 5 == 4 {
            pair.forced_cycle();
            pair.assert_settled();
        }
    }
}
