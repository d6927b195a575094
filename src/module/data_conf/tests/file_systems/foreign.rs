//! A `.csb` of others: what is not this product's is never touched, and is named.

use super::*;

fn foreign(pair: &Pair, store: PathBuf, names: &[&str]) -> Vec<PathBuf> {
    let paths: Vec<_> = names.iter().map(|name| store.join(name)).collect();
    for path in &paths {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, pair.folder.path().as_os_str().as_bytes()).unwrap();
    }
    paths
}

fn assert_untouched(pair: &Pair, paths: &[PathBuf]) {
    for path in paths {
        let expected = pair.folder.path().as_os_str().as_bytes();
        assert_eq!(fs::read(path).unwrap(), expected, "{}", path.display());
    }
}

#[test]
fn a_share_whose_own_folder_holds_something_of_others_is_refused_until_that_is_moved() {
    for names in [
        &[".csb/notes.txt"][..],
        &[".csb/tmp/thesis.docx"],
        &[".csb"],
        &[".csb/conflicts/mine/f"],
        &[".csb/history/f"],
    ] {
        for is_source in [true, false] {
            let pair = Pair::new();
            fs::create_dir_all(pair.standby()).unwrap();
            pair.write("f", "1");
            let store = if is_source { pair.source() } else { pair.standby() };
            let paths = foreign(&pair, store.clone(), names);
            let refused = [
                pair.module().check(&Look::default()).unwrap_err(),
                pair.observe().refused.expect("the rehearsal says it, too"),
                pair.cycle_error(),
            ];
            for error in refused {
                assert_eq!(error.kind, ErrorKind::ForeignContent, "{error:?}");
                let name = names[0].trim_end_matches("/f");
                assert!(error.message.contains(name) && error.advice.contains(".csb"), "{error:?}");
            }
            assert_untouched(&pair, &paths);
            for other in [pair.source(), pair.standby()] {
                assert!(!other.join(".csb/store.json").exists(), "neither is marked");
            }
            fs::rename(store.join(".csb"), store.join("csb")).unwrap();
            if is_source {
                pair.cycle();
                pair.assert_settled();
                assert!(pair.standby().join("csb").exists(), "there it is content");
            } else {
                assert_eq!(pair.cycle_error().kind, ErrorKind::ForeignContent, "a standby has to be empty");
            }
        }
    }
}

#[test]
fn what_others_put_there_later_is_named_by_every_run_and_survives_disabling() {
    let pair = Pair::new();
    pair.write("f", "1");
    pair.cycle();
    let names = [".csb/notes.txt", ".csb/tmp/thesis.docx", ".csb/tmp/folder/f"];
    let mut paths = foreign(&pair, pair.source(), &names);
    paths.extend(foreign(&pair, pair.standby(), &names));
    // Left by a process of this product that died.
    let left = ".csb/tmp/0f8fad5b-d9cb-469f-a165-70867728950e";
    fs::write(pair.standby().join(left), "half").unwrap();
    let probe = pair.source().join(".csb/tmp/probe-0f8fad5b-d9cb-469f-a165-70867728950e");
    fs::create_dir(&probe).unwrap();
    fs::write(probe.join("plain"), "").unwrap();
    for run in 0..2 {
        let outcome = pair.cycle();
        let named: Vec<_> = outcome.quarantined.iter().map(|item| item.item.as_str()).collect();
        let once = [".csb/notes.txt", ".csb/tmp/folder", ".csb/tmp/thesis.docx"];
        assert_eq!(named, [once, once].concat(), "{run}");
        let says =
            |at: usize, store: PathBuf| outcome.quarantined[at].reason.contains(&store.display().to_string());
        assert!(says(0, pair.source()) && says(3, pair.standby()));
        assert_untouched(&pair, &paths);
        assert!(!pair.standby().join(left).exists() && !probe.exists());
    }
    let would = pair.module().observe_disable(&Look::default()).unwrap();
    let recorder = Arc::new(Recorder::default());
    let context = Context { observer: recorder.clone(), ..pair.context() };
    assert_eq!(pair.module().disable(&context).unwrap(), would);
    let told = recorder.warnings.lock().unwrap().clone();
    assert_eq!(told.len(), 2);
    assert!(told.iter().all(|told| told.contains("notes.txt")), "{told:?}");
    assert_untouched(&pair, &paths);
    assert!(!pair.source().join(".csb/store.json").exists());
    assert!(!pair.source().join(".csb/abilities.json").exists());
    assert_eq!(pair.cycle_error().kind, ErrorKind::ForeignContent, "what is left is not this product's");
    assert_untouched(&pair, &paths);
}

#[test]
fn a_standby_that_was_lost_is_not_begun_anew_over_what_others_put_there() {
    let pair = Pair::new();
    pair.write("f", "1");
    pair.cycle();
    fs::remove_dir_all(pair.standby()).unwrap();
    let paths = foreign(&pair, pair.standby(), &[".csb/notes.txt"]);
    let context = Context { accept_deletions: true, ..pair.context() };
    let error = pair.module().run_cycle(&context).unwrap_err().error;
    assert_eq!(error.kind, ErrorKind::ForeignContent);
    assert_untouched(&pair, &paths);
    fs::remove_dir_all(pair.standby()).unwrap();
    pair.forced_cycle();
    pair.assert_settled();
}

#[test]
fn a_source_that_lost_its_marker_is_not_given_one_among_what_others_put_there() {
    let pair = Pair::new();
    pair.write("f", "1");
    pair.cycle();
    fs::remove_dir_all(pair.source()).unwrap();
    let paths = foreign(&pair, pair.source(), &[".csb/notes.txt"]);
    let error = pair.module().carry_back(&pair.context()).unwrap_err().error;
    assert_eq!(error.kind, ErrorKind::ForeignContent);
    let foreseen = pair.module().observe_carry_back(&Look::default()).unwrap();
    assert_eq!(foreseen.refused.unwrap().kind, ErrorKind::ForeignContent);
    assert_untouched(&pair, &paths);
    fs::remove_dir_all(pair.source().join(".csb")).unwrap();
    pair.module().carry_back(&pair.context()).unwrap();
    pair.assert_settled();
}
