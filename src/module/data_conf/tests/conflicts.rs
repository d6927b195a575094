//! What both sides have changed: the active copy decides, and the other version is kept.

use super::faulty::{self, Faults};
use super::*;

fn filled() -> Pair {
    let pair = Pair::new();
    for name in ["changes", "goes", "becomes a folder", "folder/inner", "mode", "stays"] {
        pair.write(name, format!("first version of {name}"));
    }
    pair.cycle();
    pair.age();
    pair
}

/// The files that were kept: where below the folder of their occasion, and their content.
fn kept(pair: &Pair) -> Vec<(String, String)> {
    let conflicts = pair.standby().join(".csb/conflicts");
    let mut found = Vec::new();
    for occasion in fs::read_dir(conflicts).into_iter().flatten().map(Result::unwrap) {
        for (path, (content, ..)) in tree(&occasion.path()) {
            let Some(content) = content else { continue };
            found.push((path.to_str().unwrap().to_owned(), String::from_utf8(content).unwrap()));
        }
    }
    found.sort();
    found
}

#[test]
fn the_active_copy_decides_and_the_other_version_is_kept() {
    let pair = filled();
    for name in ["changes", "goes", "becomes a folder", "folder/inner"] {
        fs::write(pair.standby().join(name), format!("{name} of the standby")).unwrap();
        if name != "changes" {
            fs::remove_file(pair.source().join(name)).unwrap();
        }
    }
    pair.write("changes", "changed at the source");
    pair.write("becomes a folder/new", "new");
    fs::remove_dir(pair.source().join("folder")).unwrap();
    fs::write(pair.standby().join("made twice"), "made twice, at the standby").unwrap();
    pair.write("made twice", "made twice");
    let outcome = pair.cycle();
    let versions = ["becomes a folder", "changes", "folder/inner", "goes"];
    let mut wanted: Vec<(String, String)> =
        versions.iter().map(|name| ((*name).to_owned(), format!("{name} of the standby"))).collect();
    wanted.push(("made twice".to_owned(), "made twice, at the standby".to_owned()));
    assert_eq!(kept(&pair), wanted);
    assert_eq!(outcome.warnings.len(), wanted.len(), "{:#?}", outcome.warnings);
    assert!(outcome.quarantined.is_empty(), "{outcome:?}");
    for (name, _) in &wanted {
        let is_told = |told: &&String| {
            told.starts_with(&format!("{name} was changed at the standby"))
                && told.contains(".csb/conflicts/20")
        };
        assert_eq!(outcome.warnings.iter().filter(is_told).count(), 1, "{name}: {:#?}", outcome.warnings);
    }
    pair.assert_settled();
    assert_eq!(kept(&pair), wanted, "later cycles leave it alone");
}

#[test]
fn a_link_that_others_put_in_the_place_of_a_copy_is_kept_like_a_file() {
    let pair = filled();
    let names = ["becomes a folder", "changes", "folder/inner", "goes"];
    for name in names {
        let copy = pair.standby().join(name);
        fs::remove_file(&copy).unwrap();
        std::os::unix::fs::symlink(format!("theirs: {name}"), &copy).unwrap();
        fs::remove_file(pair.source().join(name)).unwrap();
    }
    pair.write("changes", "changed at the source");
    pair.write("becomes a folder/new", "new");
    std::os::unix::fs::symlink("stays", pair.source().join("folder/inner")).unwrap();
    pair.cycle();
    assert_eq!(kept(&pair), names.map(|name| (name.to_owned(), format!("theirs: {name}"))));
    pair.assert_settled();
    // Those of this product are none of others'.
    fs::remove_file(pair.source().join("folder/inner")).unwrap();
    pair.cycle();
    assert_eq!(kept(&pair).len(), names.len());
    pair.assert_settled();
}

#[test]
fn what_was_only_touched_or_is_equal_is_no_conflict() {
    let pair = filled();
    set_mtime(&pair.standby().join("changes"), SystemTime::UNIX_EPOCH);
    pair.write("changes", "changed at the source");
    fs::write(pair.standby().join("goes"), "the same at both").unwrap();
    pair.write("goes", "the same at both");
    assert!(pair.cycle().warnings.is_empty());
    assert_eq!(kept(&pair), []);
    pair.assert_settled();
}

#[test]
fn attributes_are_not_set_on_a_version_of_others() {
    let pair = filled();
    let theirs = "another version of mode";
    fs::write(pair.standby().join("mode"), theirs).unwrap();
    set_mode(&pair.source().join("mode"), 0o600);
    pair.cycle();
    assert_eq!(fs::read_to_string(pair.standby().join("mode")).unwrap(), theirs);
    assert_eq!(pair.cycle().warnings.len(), 1);
    assert_eq!(kept(&pair), [("mode".to_owned(), theirs.to_owned())]);
    pair.assert_settled();
}

#[test]
fn what_an_interrupted_batch_published_is_no_conflict() {
    let pair = filled();
    let path = crate::store::content::ContentPath::from_bytes(b"changes").unwrap();
    let kind = crate::store::content::ObjectKind::File;
    // Two cycles were killed after they had published this file, and the source has changed since.
    for version in ["second version", "third version, longer"] {
        let hash = Some(*blake3::hash(version.as_bytes()).as_bytes());
        pair.index().begin(pair.generation, std::iter::once((&path, kind, hash))).unwrap();
    }
    for version in ["second version", "third version, longer"] {
        fs::write(pair.standby().join("changes"), version).unwrap();
        pair.write("changes", "at last");
        assert!(pair.cycle().warnings.is_empty(), "{version}");
        for version in ["second version", "third version, longer"] {
            let hash = Some(*blake3::hash(version.as_bytes()).as_bytes());
            pair.index().begin(pair.generation, std::iter::once((&path, kind, hash))).unwrap();
        }
    }
    pair.cycle();
    assert_eq!(kept(&pair), []);
    // Once the row is settled again, none of them is expected any more.
    fs::write(pair.standby().join("changes"), "second version").unwrap();
    pair.write("changes", "at the very last");
    assert_eq!(pair.cycle().warnings.len(), 1);
    pair.assert_settled();
}

#[test]
fn a_lost_index_takes_the_files_of_the_standby_for_copies() {
    let mut pair = filled();
    pair.lose_index();
    pair.write("changes", "changed at the source");
    fs::remove_file(pair.source().join("goes")).unwrap();
    assert!(pair.cycle().warnings.is_empty());
    assert_eq!(kept(&pair), []);
    pair.assert_settled();
}

#[test]
fn what_is_kept_outlives_the_backup() {
    let pair = filled();
    fs::write(pair.standby().join("goes"), "theirs").unwrap();
    fs::remove_file(pair.source().join("goes")).unwrap();
    pair.cycle();
    let module = pair.module();
    let would = module.observe_disable(&Look::default()).unwrap();
    assert_eq!(module.disable(&pair.context()).unwrap(), would);
    assert_eq!(kept(&pair), [("goes".to_owned(), "theirs".to_owned())]);
    pair.cycle();
    pair.assert_settled();
    assert_eq!(kept(&pair).len(), 1);
}

#[test]
fn what_was_written_at_a_former_copy_is_kept_when_it_becomes_a_copy_again() {
    let pair = filled();
    pair.write("changes meanwhile", "as it was");
    pair.cycle();
    pair.module().disable(&pair.context()).unwrap();
    let standby = pair.standby();
    fs::write(standby.join("new there"), "made at the copy").unwrap();
    fs::create_dir(standby.join("new folder")).unwrap();
    fs::write(standby.join("new folder/f"), "made in a new folder").unwrap();
    // An edit that leaves size and time as they were.
    let edited = standby.join("changes");
    let (mtime, size) =
        (fs::metadata(&edited).unwrap().modified().unwrap(), fs::metadata(&edited).unwrap().len());
    fs::write(&edited, vec![b'x'; usize::try_from(size).unwrap()]).unwrap();
    set_mtime(&edited, mtime);
    fs::remove_file(standby.join("goes")).unwrap();
    set_mode(&standby.join("stays"), 0o644);
    pair.write("changes meanwhile", "at the source, while there was no backup");
    let planned = tree(&standby);
    let seen = pair.observe();
    assert!(seen.refused.is_none(), "{seen:?}");
    assert_eq!(tree(&standby), planned);
    let outcome = pair.cycle();
    let wanted = [
        ("changes", "x".repeat(usize::try_from(size).unwrap())),
        ("new folder/f", "made in a new folder".to_owned()),
        ("new there", "made at the copy".to_owned()),
    ];
    assert_eq!(kept(&pair), wanted.map(|(name, content)| (name.to_owned(), content)));
    assert_eq!(outcome.warnings.len(), 3, "{:#?}", outcome.warnings);
    pair.assert_settled();
    // From then on it is a copy like any other.
    assert_eq!(pair.index().pair().unwrap().unwrap().adopted_ns, None);
    // What only the source had changed since is in the history.
    let (to, _) = pair.restored(1, &["changes meanwhile"]);
    assert_eq!(fs::read(to.join("changes meanwhile")).unwrap(), b"as it was");
}

#[test]
fn taking_a_former_copy_over_may_die_and_still_keeps_what_was_written_there() {
    for lives in 0..80 {
        let pair = filled();
        pair.module().disable(&pair.context()).unwrap();
        fs::write(pair.standby().join("new there"), "made at the copy").unwrap();
        fs::write(pair.standby().join("changes"), "edited at the copy").unwrap();
        let dying = Faults { lives: Some(lives.into()), ..Faults::default() };
        let (module, _) = faulty::module(&pair, Faults::default(), dying);
        let died = module.run_cycle(&pair.context());
        pair.cycle();
        let names: Vec<String> = kept(&pair).into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["changes", "new there"], "{lives} lives");
        pair.assert_settled();
        let marker = fs::read_to_string(pair.standby().join(".csb/store.json")).unwrap();
        assert!(marker.contains("\"standby\""), "{marker}");
        if died.is_ok() {
            assert!(lives > 10, "{lives}");
            return;
        }
    }
    panic!("a cycle takes more operations than that");
}
