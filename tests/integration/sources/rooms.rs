//! A folder holds what is found at one look, and no files of it import each other in a circle.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::layers::{Source, sources};

/// How many files a folder may have.
const MOST_FILES: usize = 15;

/// Folders of code and of tests, looked at with all that lies below them.
const ROOMS: [&str; 8] =
    ["src", "tests", "ps-module/src", "dotnet", "examples", "benches", "scripts", "fuzz"];

/// Folders that somebody else makes.
const MADE: [&str; 5] = ["bin", "obj", "node_modules", "target", "__pycache__"];

/// Files that do nothing but name the others.
const NAMING: [&str; 3] = ["lib.rs", "main.rs", "tests.rs"];

fn folders(root: &Path, found: &mut Vec<PathBuf>) {
    found.push(root.to_owned());
    for entry in std::fs::read_dir(root).unwrap() {
        let path = entry.unwrap().path();
        let made = path.file_name().is_some_and(|name| MADE.iter().any(|made| name == *made));
        if path.is_dir() && !path.is_symlink() && !made {
            folders(&path, found);
        }
    }
}

#[test]
fn no_folder_holds_more_than_what_is_seen_at_one_look() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut all = Vec::new();
    for room in ROOMS {
        folders(&root.join(room), &mut all);
    }
    assert!(all.len() > 20, "only {} folders were found", all.len());
    for folder in &all {
        // What only names the others does not count: the root of a crate, and the file of a folder's tests.
        let counts = |path: PathBuf| path.is_file() && !NAMING.iter().any(|name| path.ends_with(name));
        let files =
            std::fs::read_dir(folder).unwrap().filter(|entry| counts(entry.as_ref().unwrap().path())).count();
        assert!(files <= MOST_FILES, "{} has {files} files", folder.strip_prefix(root).unwrap().display());
    }
}

/// The file of a module, as a path below `src` without its ending: `store/content` for `src/store/content.rs`.
type Module = PathBuf;

fn module(source: &Source) -> Module {
    source.path.with_extension("")
}

/// The paths that a text names, from `crate`, `super` or `self` on, each with its groups in braces taken apart.
fn named_paths(code: &str) -> Vec<Vec<String>> {
    let starts = |at: usize| !code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == ':');
    ["crate::", "super::", "self::"]
        .iter()
        .flat_map(|root| code.match_indices(root).map(|(at, _)| at))
        .filter(|at| starts(*at))
        .flat_map(|at| expand(&code[at..]))
        .collect()
}

/// One path at the beginning of a text: `a::{b, c::d}` is `a::b` and `a::c::d`.
fn expand(code: &str) -> Vec<Vec<String>> {
    let code = code.trim_start();
    if let Some(group) = code.strip_prefix('{') {
        let (mut depth, mut from, mut found) = (1, 0, Vec::new());
        for (index, c) in group.char_indices() {
            let ends = depth == 1 && (c == ',' || c == '}');
            depth += match c {
                '{' => 1,
                '}' => -1,
                _ => 0,
            };
            if ends {
                found.extend(expand(&group[from..index]));
                from = index + 1;
            }
            if depth == 0 {
                break;
            }
        }
        return found;
    }
    let name: String = code.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
    if name.is_empty() {
        return Vec::new();
    }
    match code[name.len()..].strip_prefix("::") {
        Some(rest) => {
            let mut below = expand(rest);
            if below.is_empty() {
                below.push(Vec::new());
            }
            below.into_iter().map(|path| [vec![name.clone()], path].concat()).collect()
        }
        None => vec![vec![name]],
    }
}

/// The file that a path leads to: the longest beginning of it that is one.
fn resolve(path: &[String], from: &Module, modules: &BTreeSet<Module>) -> Option<Module> {
    let mut at = from.clone();
    let mut found = None;
    for (index, name) in path.iter().enumerate() {
        match name.as_str() {
            "crate" if index == 0 => at = PathBuf::new(),
            "self" if index == 0 => {}
            "super" => {
                at.pop();
                found = modules.contains(&at).then(|| at.clone());
            }
            name => {
                at.push(name);
                if !modules.contains(&at) {
                    break;
                }
                found = Some(at.clone());
            }
        }
    }
    found
}

/// A file and those in its folder are one module: they may name each other.
fn are_family(a: &Module, b: &Module) -> bool {
    a.starts_with(b) || b.starts_with(a)
}

/// Whom each file imports.
fn imports(files: &[(Module, String)]) -> BTreeMap<Module, BTreeSet<Module>> {
    let modules: BTreeSet<Module> = files.iter().map(|(module, _)| module.clone()).collect();
    files
        .iter()
        .map(|(module, code)| {
            let named = named_paths(code);
            let imported = named.iter().filter_map(|path| resolve(path, module, &modules));
            (module.clone(), imported.filter(|other| !are_family(module, other)).collect())
        })
        .collect()
}

/// A circle, if there is one: each file imports the next one, the last the first.
fn circle(imports: &BTreeMap<Module, BTreeSet<Module>>) -> Option<Vec<Module>> {
    fn visit(
        at: &Module,
        imports: &BTreeMap<Module, BTreeSet<Module>>,
        way: &mut Vec<Module>,
        done: &mut BTreeSet<Module>,
    ) -> bool {
        if let Some(begin) = way.iter().position(|module| module == at) {
            way.drain(..begin);
            return true;
        }
        if done.contains(at) {
            return false;
        }
        way.push(at.clone());
        if imports.get(at).into_iter().flatten().any(|next| visit(next, imports, way, done)) {
            return true;
        }
        way.pop();
        done.insert(at.clone());
        false
    }
    let mut done = BTreeSet::new();
    imports.keys().find_map(|module| {
        let mut way = Vec::new();
        visit(module, imports, &mut way, &mut done).then_some(way)
    })
}

#[test]
fn no_files_import_each_other_in_a_circle() {
    let is_looked_at = |source: &&Source| !source.is_test();
    let files: Vec<(Module, String)> = sources()
        .iter()
        .filter(is_looked_at)
        .map(|source| (module(source), source.code_without_tests()))
        .collect();
    let imports = imports(&files);
    assert!(imports.values().map(BTreeSet::len).sum::<usize>() > 100, "{imports:?}");
    let found = circle(&imports);
    assert!(found.is_none(), "{found:?}");
}

#[test]
fn a_circle_is_noticed_however_it_is_written() {
    let file = |name: &str, code: &str| (PathBuf::from(name), code.to_owned());
    let shapes = [
        vec![file("a", "use crate::b::X;"), file("b", "use crate::a::Y;")],
        vec![file("a/x", "use super::y::Y;"), file("a/y", "fn f(x: super::x::X) {}"), file("a", "")],
        vec![
            file("a", "use crate::{c, b::{self, Z}};"),
            file("b", "use crate::c::d;"),
            file("c", "pub use self::d::D;"),
            file("c/d", "use crate::a;"),
        ],
    ];
    for files in shapes {
        assert!(circle(&imports(&files)).is_some(), "{files:?}");
    }
    let family =
        vec![file("a", "use self::b::B;"), file("a/b", "use super::A; use crate::c::C;"), file("c", "")];
    assert_eq!(circle(&imports(&family)), None);
}

/// The type that a line makes public.
fn public_type(line: &str) -> Option<&str> {
    let (kind, rest) = line.strip_prefix("pub ")?.split_once(' ')?;
    let end = rest.find(|one: char| !one.is_alphanumeric() && one != '_').unwrap_or(rest.len());
    ["struct", "enum", "trait", "type"].contains(&kind).then_some(&rest[..end])
}

#[test]
fn no_two_public_types_have_one_name() {
    let mut known: BTreeMap<String, PathBuf> = BTreeMap::new();
    for source in sources().iter().filter(|source| !source.is_test()) {
        for name in source.code().lines().filter_map(public_type) {
            if let Some(other) = known.insert(name.to_owned(), source.path.clone()) {
                panic!(
                    "{name} is a type in {} and another one in {}",
                    other.display(),
                    source.path.display()
                );
            }
        }
    }
    assert!(known.len() > 100, "only {} types were found", known.len());
}
