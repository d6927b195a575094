use super::*;
use crate::platform::PathStat;
use crate::store::places::system::System;

/// The machine's file system, as if it folded case, in one folder or everywhere.
struct Folding(System, Option<PathBuf>);

impl FileSystem for Folding {
    fn look(&self, path: &Path) -> Option<PathStat> {
        self.0.look(path)
    }

    fn folds_case(&self, folder: &Path) -> bool {
        self.1.as_ref().is_none_or(|only| folder == only)
    }

    fn also_seen_at(&self, path: &Path) -> Vec<Vec<FileId>> {
        self.0.also_seen_at(path)
    }
}

fn of(path: &Path) -> Resolved {
    Resolved::of(path, &System::default())
}

#[test]
fn links_dots_and_names_to_come_lead_to_the_same_place() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    std::fs::create_dir_all(at("a/b")).unwrap();
    std::fs::write(at("a/file"), "").unwrap();
    for (link, target) in
        [("abs", at("a")), ("rel", "a/../a/b".into()), ("new", "a/not/yet".into()), ("loop", "loop".into())]
    {
        std::os::unix::fs::symlink(target, at(link)).unwrap();
    }
    std::fs::hard_link(at("a/file"), at("hard")).unwrap();
    for (one, other) in [
        ("abs", "a"),
        ("rel", "a/b"),
        ("rel/../file", "a/file"),
        ("hard", "a/file"),
        ("new", "abs/not/yet"),
        ("new/x", "a/not/yet/x"),
        ("abs/x/../y", "a/y"),
    ] {
        assert_eq!(of(&at(one)).identity, of(&at(other)).identity, "{one} {other}");
    }
    // A path ends with its last name: what belongs to a file is named after it.
    let real = folder.path().canonicalize().unwrap();
    for (one, plain) in [("abs", "a"), ("new/x", "a/not/yet/x")] {
        assert_eq!(of(&at(one)).path.as_os_str(), real.join(plain).as_os_str());
    }
    for (one, other) in [("a", "a/b"), ("a/x", "a/y"), ("a/x", "a/X"), ("loop", "a"), ("x", "a/x")] {
        assert_ne!(of(&at(one)).identity, of(&at(other)).identity, "{one} {other}");
    }
    for (inner, outer) in [
        ("rel/x/y", "a"),
        ("new/x", "abs"),
        ("a/file", "abs"),
        ("x/y/z", "x"),
        ("hard", "."),
        ("new/x", "new"),
    ] {
        assert!(of(&at(inner)).is_inside(&of(&at(outer))), "{inner} {outer}");
        assert!(!of(&at(outer)).is_inside(&of(&at(inner))), "{outer} {inner}");
    }
    for (one, other) in [("a", "a"), ("abs", "a"), ("x", "x"), ("xy", "x"), ("a/b", "a/x"), ("x/y", "y")] {
        assert!(!of(&at(one)).is_inside(&of(&at(other))), "{one} {other}");
    }
}

#[test]
fn names_to_come_are_folded_where_the_file_system_folds_case() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    std::fs::create_dir(at("other")).unwrap();
    let everywhere = Folding(System::default(), None);
    let here = Folding(System::default(), Some(folder.path().canonicalize().unwrap()));
    for system in [&everywhere, &here] {
        let of = |name: &str| Resolved::of(&at(name), system);
        for (one, other) in [("New", "nEW"), ("ÄRGER", "ärger"), ("straße", "STRASSE"), ("ΣΑΣ", "σας")]
        {
            assert_eq!(of(one).identity, of(other).identity, "{one} {other}");
            assert!(of(&format!("{one}/x")).is_inside(&of(other)));
        }
        assert_ne!(of("new").identity, of("now").identity);
    }
    let other = |name: &str| Resolved::of(&at("other").join(name), &here).identity;
    assert_ne!(other("New"), other("new"), "only one of the folders folds case");
}
