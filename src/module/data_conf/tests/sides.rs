//! On which side a failure lies, whatever fails and whichever way is copied.

use std::sync::atomic::AtomicU32;

use super::faulty::Faults;
use super::*;
use crate::error::Side::{self, Export, Import};

/// What is wrong with a pair that was copied once.
type Fault = (&'static str, fn(&mut Pair));

fn filled() -> Pair {
    let pair = Pair::new();
    for number in 0..30 {
        pair.write(&format!("f{number}"), "content");
    }
    pair.cycle();
    pair
}

fn replaced_by_a_file(folder: &Path) {
    fs::remove_dir_all(folder).unwrap();
    fs::write(folder, "no folder").unwrap();
}

fn without_marker(folder: &Path) {
    fs::remove_dir_all(folder.join(".csb")).unwrap();
}

fn of_another_pool(folder: &Path) {
    let marker = folder.join(".csb/store.json");
    let text = fs::read_to_string(&marker).unwrap().replace("atl.example.com", "chi.example.com");
    fs::write(marker, text).unwrap();
}

fn damaged(pair: &mut Pair) {
    pair.lose_index();
    for file in ["index.sqlite-wal", "index.sqlite-shm"] {
        drop(fs::remove_file(pair.folder.path().join(file)));
    }
    fs::write(pair.index_file(), vec![b'x'; 8192]).unwrap();
}

const OF_STORES: [Fault; 9] = [
    ("source missing", |pair| fs::remove_dir_all(pair.source()).unwrap()),
    ("source a file", |pair| replaced_by_a_file(&pair.source())),
    ("source damaged marker", |pair| fs::write(pair.source().join(".csb/store.json"), "{").unwrap()),
    ("standby missing", |pair| fs::remove_dir_all(pair.standby()).unwrap()),
    ("standby a file", |pair| replaced_by_a_file(&pair.standby())),
    ("standby without marker", |pair| without_marker(&pair.standby())),
    ("standby damaged marker", |pair| fs::write(pair.standby().join(".csb/store.json"), "{").unwrap()),
    ("standby's index damaged", damaged),
    ("standby fenced", |pair| {
        let generation = pair.generation;
        pair.take_lease();
        pair.generation = generation;
    }),
];

/// What only copying minds.
const OF_CYCLES: [Fault; 4] = [
    ("source without marker", |pair| without_marker(&pair.source())),
    ("source emptied", |pair| {
        let names = (0..30).map(|number| pair.source().join(format!("f{number}")));
        names.for_each(|file| fs::remove_file(file).unwrap());
    }),
    ("source exceeds the safety share", |pair| {
        let names = (0..25).map(|number| pair.source().join(format!("f{number}")));
        names.for_each(|file| fs::remove_file(file).unwrap());
    }),
    ("standby of another pool, index lost", |pair| {
        pair.lose_index();
        of_another_pool(&pair.standby());
    }),
];

/// The side of the store that a fault is named after.
fn side(name: &str, source: Side, standby: Side) -> Option<Side> {
    Some(if name.starts_with("source") { source } else { standby })
}

#[test]
fn a_failure_lies_on_the_side_of_the_store_that_failed() {
    for (name, happens) in OF_STORES.into_iter().chain(OF_CYCLES) {
        let mut pair = filled();
        happens(&mut pair);
        let failure = pair.module().run_cycle(&pair.context()).unwrap_err();
        assert_eq!(failure.error.side, side(name, Export, Import), "{name}: {failure:?}");
        // The look is not fenced: it writes nothing.
        if !name.contains("fenced") {
            let refused = pair.observe().refused.expect(name);
            assert_eq!((refused.kind, refused.side), (failure.error.kind, failure.error.side), "{name}");
        }
    }
}

#[test]
fn what_a_status_can_see_at_once_lies_on_the_same_side() {
    for (name, happens) in OF_STORES.into_iter().chain(OF_CYCLES) {
        let mut pair = filled();
        pair.module().check(&Look::default()).unwrap();
        happens(&mut pair);
        let seen = pair.module().check(&Look::default());
        // These need a walk, or a lease.
        if ["emptied", "share", "fenced"].iter().any(|hidden| name.contains(hidden)) {
            seen.expect(name);
        } else {
            let error = seen.expect_err(name);
            assert_eq!(error.side, side(name, Export, Import), "{name}: {error:?}");
        }
    }
}

#[test]
fn giving_back_writes_to_the_pool_and_reads_its_copy() {
    for (name, happens) in OF_STORES {
        let mut pair = filled();
        happens(&mut pair);
        let failure = pair.module().carry_back(&pair.context()).unwrap_err();
        assert_eq!(failure.error.side, side(name, Import, Export), "{name}: {failure:?}");
        if !name.contains("fenced") {
            let refused = pair.module().observe_carry_back(&Look::default()).unwrap().refused.expect(name);
            assert_eq!((refused.kind, refused.side), (failure.error.kind, failure.error.side), "{name}");
        }
    }
}

#[test]
fn a_store_that_fails_while_it_is_written_is_the_one_that_is_written() {
    let full = || Faults { seals: AtomicU32::new(9), seal_error: Some(ErrorKind::Io), ..Faults::default() };
    let pair = filled();
    pair.write("new", "new");
    for faults in [full(), Faults { flush_error: true, ..Faults::default() }] {
        let (module, _) = faulty::module(&pair, Faults::default(), faults);
        let error = module.run_cycle(&pair.context()).unwrap_err().error;
        assert_eq!(error.side, Some(Import), "{error:?}");
    }
    fs::remove_file(pair.source().join("f0")).unwrap();
    for faults in [full(), Faults { flush_error: true, ..Faults::default() }] {
        let (module, _) = faulty::module(&pair, faults, Faults::default());
        let failure = module.carry_back(&pair.context()).unwrap_err();
        assert_eq!(failure.error.side, Some(Import), "{failure:?}");
    }
}

#[test]
fn a_source_whose_root_cannot_be_read_is_an_export_that_failed() {
    let pair = filled();
    let (module, _) = faulty::module(
        &pair,
        Faults { unreadable: ["(the whole store)"].into(), ..Faults::default() },
        Faults::default(),
    );
    let error = module.run_cycle(&pair.context()).unwrap_err().error;
    assert_eq!((error.kind, error.side), (ErrorKind::StoreUnavailable, Some(Export)));
}

#[test]
fn a_cancellation_lies_on_no_side() {
    let pair = filled();
    let context = pair.context();
    context.cancel.cancel();
    assert_eq!(pair.module().run_cycle(&context).unwrap_err().error.side, None);
    assert_eq!(pair.module().carry_back(&context).unwrap_err().error.side, None);
}

#[test]
fn what_was_published_before_a_failure_is_counted() {
    let pair = filled();
    pair.write("new", "12345");
    fs::remove_file(pair.source().join("f1")).unwrap();
    let failing = || Faults { flush_error: true, ..Faults::default() };
    let (module, _) = faulty::module(&pair, Faults::default(), failing());
    let done = module.run_cycle(&pair.context()).unwrap_err().done;
    assert_eq!((done.moved.items_written, done.moved.bytes, done.moved.items_deleted), (1, 5, 0));
    assert!(pair.standby().join("new").exists());
    let pair = filled();
    fs::remove_file(pair.source().join("f1")).unwrap();
    let (module, _) = faulty::module(&pair, failing(), Faults::default());
    let done = module.carry_back(&pair.context()).unwrap_err().done;
    assert_eq!((done.moved.items_written, done.moved.bytes), (1, 7));
    assert!(pair.source().join("f1").exists());
}
