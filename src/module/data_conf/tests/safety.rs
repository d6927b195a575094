//! Nothing is deleted because a source could not be read, and nobody writes who may not.

use super::*;

mod shares;

fn filled(count: usize) -> Pair {
    let pair = Pair::new();
    for number in 0..count {
        pair.write(&format!("f{number:03}"), "content");
    }
    pair.cycle();
    pair
}

impl Pair {
    pub(super) fn lose_index(&mut self) {
        for file in ["index.sqlite", "index.sqlite-wal", "index.sqlite-shm"] {
            let _ = fs::remove_file(self.folder.path().join(file));
        }
        self.take_lease();
    }
}

fn clear(folder: &Path) {
    fs::remove_dir_all(folder).unwrap();
    fs::create_dir(folder).unwrap();
}

#[test]
fn a_source_that_does_not_exist_is_unavailable() {
    let pair = Pair::new();
    fs::remove_dir(pair.source()).unwrap();
    assert_eq!(pair.cycle_error().kind, ErrorKind::StoreUnavailable);
    assert_eq!(pair.observe().refused.unwrap().kind, ErrorKind::StoreUnavailable);
    assert!(!pair.standby().exists());
}

#[test]
fn an_unmounted_source_deletes_nothing() {
    let pair = filled(5);
    let before = tree(&pair.standby());
    for lose in [
        (|source| clear(source)) as fn(&Path),
        |source| fs::remove_dir_all(source.join(".csb")).unwrap(),
        |source| fs::remove_dir_all(source).unwrap(),
        |source| {
            let marker = fs::read_to_string(source.join(".csb/store.json")).unwrap();
            let id = serde_json::from_str::<serde_json::Value>(&marker).unwrap()["storeId"].clone();
            let other = marker.replace(id.as_str().unwrap(), &Uuid::new_v4().to_string());
            fs::write(source.join(".csb/store.json"), other).unwrap();
        },
    ] {
        let kept = pair.folder.path().join("kept");
        fs::rename(pair.source(), &kept).unwrap();
        let copied =
            std::process::Command::new("cp").arg("-a").args([&kept, &pair.source()]).status().unwrap();
        assert!(copied.success());
        lose(&pair.source());
        for error in [pair.cycle_error(), pair.observe().refused.unwrap()] {
            assert_eq!(error.kind, ErrorKind::ContentStoreUnmounted);
            assert!(!error.advice.is_empty());
        }
        assert_eq!(tree(&pair.standby()), before);
        let _ = fs::remove_dir_all(pair.source());
        fs::rename(&kept, pair.source()).unwrap();
    }
    pair.cycle();
    pair.assert_settled();
}

/// Takes the place of the source, with its marker or without.
fn replace_source(pair: &Pair, marker: Option<Uuid>, names: &[&str]) {
    let text = fs::read_to_string(pair.source().join(".csb/store.json")).unwrap();
    clear(&pair.source());
    if let Some(id) = marker {
        let mut document: serde_json::Value = serde_json::from_str(&text).unwrap();
        document["storeId"] = id.to_string().into();
        fs::create_dir(pair.source().join(".csb")).unwrap();
        fs::write(pair.source().join(".csb/store.json"), document.to_string()).unwrap();
    }
    for name in names {
        pair.write(name, "content");
    }
}

#[test]
fn a_source_that_was_replaced_or_emptied_is_refused_by_name_and_followed_once_that_is_accepted() {
    for (marker, names) in [
        (Some(Uuid::new_v4()), &["f000", "other"][..]),
        (None, &["f000", "other"]),
        (Some(Uuid::new_v4()), &[]),
        (None, &[]),
    ] {
        let pair = filled(130);
        let before = tree(&pair.standby());
        replace_source(&pair, marker, names);
        let gone = if names.is_empty() { 130 } else { 129 };
        let CycleFailure { error, done } = pair.module().run_cycle(&pair.context()).unwrap_err();
        assert_eq!(error.kind, ErrorKind::ContentStoreUnmounted);
        let named: Vec<&str> = error.context["names"].lines().collect();
        assert_eq!(named.len(), 100, "{error:?}");
        assert_eq!(named.first(), Some(&if names.is_empty() { "f000" } else { "f001" }));
        assert!(error.message.contains("f002, ") && error.message.contains(&format!("{} more", gone - 10)));
        assert!(error.advice.contains("-AcceptDeletions") && error.advice.contains("-BackupModule DataConf"));
        assert_eq!(done.changes.items(crate::report::ChangeKind::Withheld), gone);
        assert!(done.cursor.is_some_and(|cursor| cursor.starts_with("scan 1 ")));
        assert_eq!(tree(&pair.standby()), before);
        let planned = pair.observe();
        assert_eq!(planned.refused.unwrap().message, error.message);
        assert_eq!(planned.changes, done.changes);
        let forced = pair.forced_cycle();
        assert_eq!((forced.moved.items_deleted, forced.warnings.len()), (gone, 1), "{forced:?}");
        pair.assert_settled();
    }
}

#[test]
fn a_source_of_another_pool_or_none_at_all_is_never_followed() {
    let pair = filled(3);
    let before = tree(&pair.standby());
    let marker = pair.source().join(".csb/store.json");
    let text = fs::read_to_string(&marker).unwrap();
    let id = serde_json::from_str::<serde_json::Value>(&text).unwrap()["storeId"].clone();
    let other = text.replace(id.as_str().unwrap(), &Uuid::new_v4().to_string());
    fs::write(&marker, other.replace("atl.example.com", "chi.example.com")).unwrap();
    let forced = || pair.module().run_cycle(&Context { accept_deletions: true, ..pair.context() });
    assert_eq!(forced().unwrap_err().error.kind, ErrorKind::ForeignContent);
    fs::remove_dir_all(pair.source()).unwrap();
    assert_eq!(forced().unwrap_err().error.kind, ErrorKind::ContentStoreUnmounted);
    assert_eq!(tree(&pair.standby()), before);
}

#[test]
fn a_store_whose_folder_a_file_replaced_is_an_error_and_deletes_nothing() {
    let pair = filled(5);
    let before = tree(&pair.standby());
    let kept = pair.folder.path().join("kept");
    for store in [pair.source(), pair.standby()] {
        fs::rename(&store, &kept).unwrap();
        fs::write(&store, "no folder").unwrap();
        for context in [pair.context(), Context { accept_deletions: true, ..pair.context() }] {
            let error = pair.module().run_cycle(&context).unwrap_err().error;
            assert_eq!(error.kind, ErrorKind::StoreUnavailable, "{error:?}");
            assert!(!error.advice.is_empty());
        }
        assert_eq!(fs::read(&store).unwrap(), b"no folder");
        fs::remove_file(&store).unwrap();
        fs::rename(&kept, &store).unwrap();
        assert_eq!(tree(&pair.standby()), before);
    }
    pair.assert_settled();
}

#[test]
fn an_empty_listing_deletes_nothing_unless_forced() {
    let pair = filled(3);
    for number in 0..3 {
        fs::remove_file(pair.source().join(format!("f{number:03}"))).unwrap();
    }
    let before = tree(&pair.standby());
    assert_eq!(pair.cycle_error().kind, ErrorKind::ContentStoreUnmounted);
    assert_eq!(tree(&pair.standby()), before);
    assert_eq!(pair.forced_cycle().moved.items_deleted, 3);
    pair.assert_settled();
}

#[test]
fn deletions_beyond_the_safety_share_are_refused_and_the_copies_done() {
    let pair = filled(100);
    for number in 0..26 {
        fs::remove_file(pair.source().join(format!("f{number:03}"))).unwrap();
    }
    pair.write("new", "new");
    std::os::unix::fs::symlink("/etc/hostname", pair.source().join("link")).unwrap();
    let CycleFailure { error, done } = pair.module().run_cycle(&pair.context()).unwrap_err();
    assert_eq!(error.kind, ErrorKind::SafetyShareExceeded);
    // What was done before is not lost with the error.
    assert_eq!((done.moved.items_written, done.moved.bytes, done.moved.items_deleted), (1, 3, 0));
    assert_eq!(done.quarantined[0].item, "link");
    assert_eq!(done.details, ["Compared 76 objects: 1 written, 0 deleted, 1 not copied."]);
    fs::remove_file(pair.source().join("link")).unwrap();
    assert_eq!(error.context["deletions"], "26");
    assert!(error.advice.contains("-AcceptDeletions"));
    assert_eq!(tree(&pair.standby()).len(), 101);
    assert_eq!(pair.forced_cycle().moved.items_deleted, 26);
    pair.assert_settled();
    for number in 26..44 {
        fs::remove_file(pair.source().join(format!("f{number:03}"))).unwrap();
    }
    assert_eq!(pair.cycle().moved.items_deleted, 18, "within the share");
}

#[test]
fn many_deletions_within_the_safety_share_are_made() {
    let pair = filled(100);
    for number in 0..25 {
        fs::remove_file(pair.source().join(format!("f{number:03}"))).unwrap();
    }
    assert_eq!(pair.cycle().moved.items_deleted, 25);
    pair.assert_settled();
}

#[test]
fn a_file_of_another_time_with_the_inode_of_a_deleted_one_does_not_count_as_it() {
    let pair = filled(30);
    for number in 0..30 {
        let new = pair.source().join(format!("new{number}"));
        fs::rename(pair.source().join(format!("f{number:03}")), &new).unwrap();
        set_mtime(&new, SystemTime::UNIX_EPOCH + seconds(number));
    }
    assert_eq!(pair.cycle_error().kind, ErrorKind::SafetyShareExceeded);
    assert!(pair.standby().join("f029").exists());
}

#[test]
fn renamed_folders_in_which_names_changed_are_no_deletions() {
    let pair = Pair::new();
    for number in 0..30 {
        fs::create_dir(pair.source().join(format!("f{number}"))).unwrap();
    }
    pair.cycle();
    for number in 0..30 {
        fs::rename(pair.source().join(format!("f{number}")), pair.source().join(format!("g{number}")))
            .unwrap();
        pair.write(&format!("g{number}/new"), "1");
    }
    assert_eq!(pair.cycle().moved.items_deleted, 30);
    pair.assert_settled();
}

#[test]
fn renamed_objects_are_no_deletions() {
    let pair = Pair::new();
    for number in 0..50 {
        pair.write(&format!("folder/f{number}"), format!("{number}"));
    }
    pair.cycle();
    fs::rename(pair.source().join("folder"), pair.source().join("renamed")).unwrap();
    assert_eq!(pair.cycle().moved.items_deleted, 51);
    pair.assert_settled();
}

#[test]
fn a_lost_standby_is_not_refilled_unless_forced() {
    let pair = filled(3);
    for lose in [(|standby| clear(standby)) as fn(&Path), |standby| fs::remove_dir_all(standby).unwrap()] {
        lose(&pair.standby());
        let error = pair.cycle_error();
        assert_eq!(error.kind, ErrorKind::ContentStoreUnmounted);
        assert!(error.advice.contains("-AcceptDeletions"), "{}", error.advice);
        assert_eq!(pair.observe().refused.unwrap().kind, error.kind);
        let outcome = pair.forced_cycle();
        assert_eq!((outcome.moved.items_written, outcome.warnings.len()), (3, 1));
        pair.assert_settled();
    }
    fs::remove_file(pair.standby().join(".csb/store.json")).unwrap();
    let forced = pair.module().run_cycle(&Context { accept_deletions: true, ..pair.context() });
    assert_eq!(forced.unwrap_err().error.kind, ErrorKind::ContentStoreUnmounted);
}

#[test]
fn a_standby_with_the_marker_of_another_one_is_not_written_to() {
    let pair = filled(3);
    let marker = pair.standby().join(".csb/store.json");
    let mut other: serde_json::Value = serde_json::from_slice(&fs::read(&marker).unwrap()).unwrap();
    other["storeId"] = Uuid::new_v4().to_string().into();
    fs::write(&marker, other.to_string()).unwrap();
    pair.write("f000", "changed");
    let before = tree(&pair.standby());
    for context in [pair.context(), Context { accept_deletions: true, ..pair.context() }] {
        let error = pair.module().run_cycle(&context).unwrap_err().error;
        assert_eq!(error.kind, ErrorKind::ContentStoreUnmounted, "{error:?}");
    }
    assert_eq!(tree(&pair.standby()), before);
}

#[test]
fn what_somebody_else_put_into_the_standby_folder_stays() {
    let pair = Pair::new();
    pair.write("f", "1");
    fs::create_dir(pair.standby()).unwrap();
    fs::write(pair.standby().join("mine"), "x").unwrap();
    assert_eq!(pair.cycle_error().kind, ErrorKind::ForeignContent);
    assert!(!pair.source().join(".csb/store.json").exists());
    fs::remove_file(pair.standby().join("mine")).unwrap();
    pair.cycle();
    fs::write(pair.standby().join("mine"), "x").unwrap();
    pair.cycle();
    assert_eq!(fs::read(pair.standby().join("mine")).unwrap(), b"x");
    // Not even a folder takes the place of a file that this product did not put there, nor a file that of a folder,
    // however often it is tried.
    fs::create_dir(pair.standby().join("mine too")).unwrap();
    pair.write("mine/f", "1");
    pair.write("mine too", "1");
    for _ in 0..3 {
        let outcome = pair.cycle();
        for name in ["mine", "mine too"] {
            assert!(outcome.quarantined.iter().any(|item| item.item == name), "{outcome:?}");
        }
        assert_eq!(fs::read(pair.standby().join("mine")).unwrap(), b"x");
        assert!(pair.standby().join("mine too").is_dir());
    }
}

#[test]
fn a_folder_that_cannot_be_deleted_stays_pending() {
    let pair = filled(1);
    pair.write("folder/f", "1");
    pair.cycle();
    fs::write(pair.standby().join("folder/theirs"), "x").unwrap();
    fs::remove_dir_all(pair.source().join("folder")).unwrap();
    let outcome = pair.cycle();
    assert_eq!(outcome.quarantined[0].item, "folder");
    assert_eq!((outcome.before.unwrap().pending_items, outcome.after.unwrap().pending_items), (2, 1));
    assert_eq!(pair.observe().pending_items, 1);
    fs::remove_file(pair.standby().join("folder/theirs")).unwrap();
    assert_eq!(pair.cycle().after.unwrap().pending_items, 0);
    pair.assert_settled();
}

#[test]
fn a_store_of_another_pair_is_refused() {
    let pair = filled(1);
    let other = Pair::new();
    fs::rename(pair.standby(), other.standby()).unwrap();
    let marker = other.standby().join(".csb/store.json");
    let text = fs::read_to_string(&marker).unwrap().replace("atl.example.com", "chi.example.com");
    fs::write(&marker, text).unwrap();
    other.write("f", "1");
    assert_eq!(other.cycle_error().kind, ErrorKind::ForeignContent);
}

#[test]
fn a_lost_index_is_rebuilt_from_the_standby() {
    let mut pair = filled(3);
    pair.write("folder/gone", "1");
    pair.cycle();
    fs::remove_dir_all(pair.source().join("folder")).unwrap();
    pair.write("f001", "changed");
    set_mode(&pair.source().join("f002"), 0o600);
    let standby = pair.standby();
    let inodes = || ["f000", "f002"].map(|name| fs::metadata(standby.join(name)).unwrap().ino());
    let before = inodes();
    pair.lose_index();
    let outcome = pair.cycle();
    assert_eq!((outcome.moved.items_written, outcome.moved.items_deleted, outcome.moved.bytes), (2, 2, 7));
    assert_eq!(inodes(), before, "what both hold is read, not copied again");
    pair.assert_settled();
    pair.age();
    pair.assert_settled();
}

#[test]
fn an_older_generation_changes_nothing() {
    let mut pair = filled(2);
    let old = pair.context();
    pair.take_lease();
    pair.write("new", "1");
    fs::remove_file(pair.source().join("f000")).unwrap();
    let before = tree(&pair.standby());
    let module = pair.module();
    assert_eq!(module.run_cycle(&old).unwrap_err().error.kind, ErrorKind::Fenced);
    assert_eq!(module.carry_back(&old).unwrap_err().error.kind, ErrorKind::Fenced);
    assert_eq!(module.disable(&old).unwrap_err().kind, ErrorKind::Fenced);
    assert_eq!(tree(&pair.standby()), before);
    assert!(!pair.source().join("f000").exists());
    assert_eq!(pair.index().count().unwrap(), 2);
    assert_eq!(pair.index().pair().unwrap().unwrap().scan, 1);
}

/// Takes the lease away in the middle of a cycle.
struct Usurper(Mutex<Option<Pair>>);

impl Observer for Usurper {
    fn progress(&self, progress: Progress) {
        if progress.activity == "Copying files"
            && let Some(pair) = self.0.lock().unwrap().as_mut()
        {
            pair.take_lease();
        }
    }

    fn warning(&self, _: String) {}
}

#[test]
fn a_cycle_that_is_overtaken_publishes_nothing_more() {
    let pair = filled(1);
    pair.write("new", "1");
    let (module, context, standby) = (pair.module(), pair.context(), pair.standby());
    let usurper = Arc::new(Usurper(Mutex::new(Some(pair))));
    let error = module.run_cycle(&Context { observer: usurper.clone(), ..context }).unwrap_err().error;
    assert_eq!(error.kind, ErrorKind::Fenced);
    assert_eq!(tree(&standby).len(), 1);
    let pair = usurper.0.lock().unwrap().take().unwrap();
    pair.cycle();
    pair.assert_settled();
}

#[test]
fn a_cycle_that_fails_does_not_wait_for_a_big_file_to_be_read() {
    let pair = Pair { batch_bytes: 1, ..filled(1) };
    for number in 0..8 {
        pair.write(&format!("new{number}"), "1");
    }
    // To read so many zeros would take many minutes.
    fs::File::create(pair.source().join("huge")).unwrap().set_len(1 << 42).unwrap();
    let (module, context) = (pair.module(), Context { clock: SlowClock::new(), ..pair.context() });
    let usurper = Arc::new(Usurper(Mutex::new(Some(pair))));
    let error = module.run_cycle(&Context { observer: usurper, ..context }).unwrap_err().error;
    assert_eq!(error.kind, ErrorKind::Fenced);
}

#[test]
fn disabling_lists_and_removes_every_trace() {
    let pair = filled(2);
    fs::write(pair.standby().join(".csb/tmp/0f8fad5b-d9cb-469f-a165-70867728950e"), "half").unwrap();
    let module = pair.module();
    let would = module.observe_disable(&Look::default()).unwrap();
    assert!(pair.source().join(".csb/store.json").exists());
    assert_eq!(pair.index().count().unwrap(), 2);
    let removed = module.disable(&pair.context()).unwrap();
    assert_eq!(removed, would);
    let kinds = |kind: &str| removed.iter().filter(|one| one.kind == kind).count();
    assert_eq!((kinds("row"), kinds("marker"), kinds("temporaryFile")), (1, 4, 1));
    assert!(removed.iter().any(|one| one.store == format!("file:{}", pair.standby().display())));
    assert!(!pair.source().join(".csb").exists());
    let note = fs::read_to_string(pair.standby().join(".csb/store.json")).unwrap();
    assert!(note.contains("formerStandby"), "{note}");
    assert_eq!(tree(&pair.source()), tree(&pair.standby()), "content stays");
    assert_eq!(pair.index().count().unwrap(), 0);
    assert!(module.disable(&pair.context()).unwrap().is_empty());
    let outcome = pair.cycle();
    assert_eq!(outcome.moved.items_written, 0, "a former copy is taken over with its content");
    pair.assert_settled();
}

#[test]
fn a_former_copy_without_content_is_taken_over_by_a_source_without_any() {
    let pair = Pair::new();
    pair.cycle();
    pair.module().disable(&pair.context()).unwrap();
    pair.cycle();
    pair.write("f", "1");
    pair.cycle();
    pair.assert_settled();
}

#[test]
fn an_emptied_source_deletes_nothing_of_a_former_copy() {
    let pair = filled(3);
    pair.module().disable(&pair.context()).unwrap();
    clear(&pair.source());
    for context in [pair.context(), Context { accept_deletions: true, ..pair.context() }] {
        let error = pair.module().run_cycle(&context).unwrap_err().error;
        assert_eq!(error.kind, ErrorKind::ContentStoreUnmounted, "{error:?}");
    }
    assert_eq!(tree(&pair.standby()).len(), 3);
}

#[test]
fn disabling_leaves_the_store_of_another_pair_alone() {
    let pair = filled(1);
    let marker = pair.source().join(".csb/store.json");
    let text = fs::read_to_string(&marker).unwrap().replace("atl.example.com", "chi.example.com");
    fs::write(&marker, &text).unwrap();
    pair.module().disable(&pair.context()).unwrap();
    assert_eq!(fs::read_to_string(&marker).unwrap(), text);
    assert_eq!(pair.observe().refused.unwrap().kind, ErrorKind::ForeignContent);
    assert_eq!(pair.cycle_error().kind, ErrorKind::ForeignContent);
}

/// Asks for the state whenever it is told about progress.
struct Curious(Mutex<Option<Arc<DataConf>>>);

impl Observer for Curious {
    fn progress(&self, _: Progress) {
        let module = self.0.lock().unwrap().clone();
        module.unwrap().observe(&Look::default()).unwrap();
    }

    fn warning(&self, _: String) {}
}

#[test]
fn the_state_can_be_asked_for_during_a_cycle() {
    let pair = filled(3);
    for number in 0..20 {
        pair.write(&format!("new{number}"), "1");
    }
    let module = Arc::new(pair.module());
    let observer = Arc::new(Curious(Mutex::new(Some(module.clone()))));
    module.run_cycle(&Context { observer, clock: SlowClock::new(), ..pair.context() }).unwrap();
    pair.assert_settled();
}

#[test]
fn a_lost_index_and_a_source_without_marker_delete_nothing() {
    let mut pair = filled(3);
    pair.lose_index();
    clear(&pair.source());
    let forced = pair.module().run_cycle(&Context { accept_deletions: true, ..pair.context() });
    assert_eq!(forced.unwrap_err().error.kind, ErrorKind::ContentStoreUnmounted);
    pair.write("f000", "content");
    assert_eq!(pair.cycle_error().kind, ErrorKind::ContentStoreUnmounted);
    assert_eq!(tree(&pair.standby()).len(), 3);
    assert_eq!(pair.forced_cycle().moved.items_deleted, 2);
    pair.assert_settled();
}
