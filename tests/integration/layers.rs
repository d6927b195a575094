//! The layers import downwards only, only the lowest one at the top is unsafe, and no file grows beyond what is read at
//! one sitting.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Each layer and how high it lies. A layer imports from lower ones only, never from another one of its height.
const LAYERS: [(&str, u32); 11] = [
    // What everybody may say: that something failed, and what time it is.
    ("error", 0),
    ("clock", 0),
    // Where tests make things fail.
    ("failpoint", 0),
    // Plain documents: where things lie, and what was found. They read and write nothing but themselves.
    ("topology", 1),
    ("report", 1),
    // Files that name stores, so it knows what a topology is.
    ("config", 2),
    // One kind of data at one place. Stores know no modules.
    ("store", 3),
    // Two stores and how the second is brought up to the first. Modules know no jobs.
    ("module", 4),
    // One operation over modules, from its plan to its report.
    ("job", 5),
    // One deployment: its documents, its jobs, an answer to every request.
    ("service", 6),
    // C. Nobody knows it.
    ("ffi", 7),
];

/// How many lines a file may have, its tests not counted.
const LONGEST: usize = 600;

pub struct Source {
    /// Relative to `src`.
    pub path: PathBuf,
    text: String,
}

impl Source {
    fn layer(&self) -> &str {
        let first = self.path.iter().next().unwrap().to_str().unwrap();
        first.strip_suffix(".rs").unwrap_or(first)
    }

    /// The text without comments, which may name anything.
    fn code(&self) -> String {
        without_comments(&self.text)
    }

    /// The code without the tests at its end.
    fn without_tests(&self) -> &str {
        self.text.split("#[cfg(test)]\nmod tests {").next().unwrap()
    }
}

pub fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = Vec::new();
    let mut next = vec![root.clone()];
    while let Some(folder) = next.pop() {
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                next.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = std::fs::read_to_string(&path).unwrap();
                found.push(Source { path: path.strip_prefix(&root).unwrap().to_owned(), text });
            }
        }
    }
    assert!(found.len() > 50, "only {} files were found", found.len());
    found
}

fn without_comments(text: &str) -> String {
    text.lines().map(|line| line.split("//").next().unwrap()).collect::<Vec<_>>().join("\n")
}

/// What of a file is compiled into the library, without comments.
pub fn code_without_tests(source: &Source) -> String {
    without_comments(source.without_tests())
}

/// The identifiers that begin here: one, or those of a group in braces.
fn names(code: &str) -> Vec<String> {
    let identifier = |text: &str| {
        text.trim_start().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>()
    };
    let Some(group) = code.strip_prefix('{') else { return vec![identifier(code)] };
    let mut found = vec![identifier(group)];
    let mut depth = 1;
    for (index, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 1 => found.push(identifier(&group[index + 1..])),
            _ => {}
        }
        if depth == 0 {
            break;
        }
    }
    found.retain(|name| !name.is_empty() && name != "self");
    found
}

/// The layers that a text imports, whether from `crate` or by as many `super` as lead there.
fn imports(code: &str, depth: usize) -> Vec<String> {
    let climb = "super::".repeat(depth);
    [String::from("crate::"), climb]
        .iter()
        .flat_map(|root| code.match_indices(root.as_str()).map(|(at, _)| names(&code[at + root.len()..])))
        .flatten()
        .collect()
}

fn heights() -> BTreeMap<&'static str, u32> {
    LAYERS.into_iter().collect()
}

/// An import that goes up or sideways.
fn wrong_imports(layer: &str, code: &str, depth: usize) -> Vec<String> {
    let heights = heights();
    let own = heights[layer];
    let mut wrong = imports(code, depth);
    wrong.retain(|name| heights.get(name.as_str()).is_some_and(|height| *height >= own && name != layer));
    wrong
}

#[test]
fn layers_import_downwards_only() {
    let heights = heights();
    // Programs are crates of their own: they see what every host in Rust sees.
    let is_library = |source: &&Source| source.path != Path::new("lib.rs") && !source.path.starts_with("bin");
    for source in sources().iter().filter(is_library) {
        let layer = source.layer();
        assert!(heights.contains_key(layer), "{} belongs to no layer", source.path.display());
        let depth = source.path.components().count();
        let wrong = wrong_imports(layer, &source.code(), depth);
        assert!(wrong.is_empty(), "{}: {layer} imports {wrong:?}", source.path.display());
    }
}

#[test]
fn a_wrong_import_is_noticed_however_it_is_written() {
    for code in [
        "use crate::job::Job;",
        "use crate::{error::{Error, Result}, job};",
        "fn f() -> crate::service::Service {}",
        "use super::super::module::Context;",
        "use crate::{\n    ffi,\n};",
    ] {
        assert!(!wrong_imports("store", code, 2).is_empty(), "{code}");
    }
    for code in ["use crate::error::{Error, job};", "use super::job;", "use crate::store::sqlite;"] {
        assert_eq!(wrong_imports("store", code, 2), Vec::<String>::new(), "{code}");
    }
    assert_eq!(wrong_imports("report", "use crate::topology::Pool;", 1), ["topology"], "sideways");
}

#[test]
fn only_the_c_abi_is_unsafe() {
    for source in sources().iter().filter(|source| source.layer() != "ffi") {
        let code = source.code();
        let word = |word: &str| word == "unsafe" || word == "unsafe_code" || word == "no_mangle";
        let found = code.split(|c: char| !c.is_alphanumeric() && c != '_').any(word);
        assert!(!found, "{} is unsafe", source.path.display());
    }
}

#[test]
fn no_file_is_longer_than_what_is_read_at_one_sitting() {
    for source in sources() {
        let is_test = source.path.iter().any(|part| part == "tests" || part == "tests.rs");
        let lines = source.without_tests().lines().count();
        assert!(is_test || lines <= LONGEST, "{} has {lines} lines without its tests", source.path.display());
    }
}
