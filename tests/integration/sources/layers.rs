//! The layers import downwards only, only the platform and engines name an operating system, only the platform and the C
//! ABI are unsafe, and no file grows beyond what is read at one sitting.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Each layer and how high it lies. A layer imports from lower ones only, never from another one of its height.
const LAYERS: [(&str, u32); 15] = [
    // What the operating system is asked for, and where tests make things fail.
    ("platform", 0),
    // What everybody may say: what time it is, and that something failed.
    ("clock", 1),
    ("error", 1),
    // Calls that answer in time whatever they touch.
    ("bound", 2),
    // How documents that are kept grow.
    ("stored", 2),
    // Plain documents: where things lie, and what was found. They read and write nothing but themselves.
    ("topology", 3),
    ("report", 3),
    // Calls to another process, whatever they are about.
    ("wire", 3),
    // What pools do. Pure logic.
    ("pool", 4),
    // Files that name stores, so it knows what a topology is.
    ("config", 4),
    // One kind of data at one place. Stores know no modules.
    ("store", 5),
    // Two stores and how the second is brought up to the first. Modules know no jobs.
    ("module", 6),
    // One operation over modules, from its plan to its report.
    ("job", 7),
    // One deployment: its documents, its jobs, an answer to every request.
    ("service", 8),
    // C. Nobody knows it.
    ("ffi", 9),
];

/// The engines of stores that ask the operating system themselves, because that is what they are made of.
const ENGINES: [&str; 1] = ["store/content/folder"];

/// Words that only one kind of operating system understands.
const SYSTEM_WORDS: [&str; 7] =
    ["rustix", "libc::", "std::os::", "cfg(unix", "cfg(target_os", "\"/proc/", "\"/dev/"];

/// How many lines a file may have, its tests not counted.
const LONGEST: usize = 600;

/// The layers above the stores, and what names stores for them: they know a store by its URL.
const ABOVE_STORES: [&str; 5] = ["config", "module", "job", "service", "ffi"];

/// What only the stores and the parser of URLs may name: engines, and where in a file system a store lies.
const OF_ENGINES: [&str; 6] = ["rusqlite", "sqlite", "folderstore", "postgres", "\"file:", ".local_path("];

/// Stands for `Path` and `PathBuf` where they are types.
const A_PATH: &str = "Path";

/// Which file names which of these all the same, and why.
const ALL_THE_SAME: [(&str, &str, &str); 18] = [
    // Plain files by nature.
    ("config.rs", A_PATH, "the deployment file, the local replica and the jobs folder"),
    ("config/reach.rs", A_PATH, "the root at another machine, and the helper that is started"),
    ("job/record.rs", A_PATH, "job records are files"),
    ("job/request.rs", A_PATH, "the file that a state is restored to"),
    ("job/steps/restore.rs", A_PATH, "the file that a state is restored to"),
    ("module.rs", A_PATH, "the file that a state is restored to"),
    ("module/data_conf.rs", A_PATH, "the folder that a state is restored to"),
    ("module/data_conf/restore.rs", A_PATH, "the folder that a state is restored to"),
    ("module/data_conf/plan.rs", A_PATH, "lists that are too long for memory go to a file without a name"),
    (
        "module/remote.rs",
        A_PATH,
        "the path that a state is restored to, and the folder in which a helper remembers things",
    ),
    ("module/presence_focus.rs", A_PATH, "the file that a state is restored to"),
    ("service.rs", A_PATH, "the deployment file that a host names"),
    ("service/deployment.rs", A_PATH, "the deployment file and the topology document"),
    ("service/reports.rs", A_PATH, "reports and saved topologies are files that a host names"),
    ("service/reports/folder.rs", A_PATH, "the folder of default reports"),
    ("service/reports/target.rs", A_PATH, "the file of one report"),
    ("service/requests.rs", A_PATH, "the topology document that a host names"),
    ("service/sample.rs", A_PATH, "the folder of a sample deployment, and its files"),
];

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
    pub fn code(&self) -> String {
        without_comments(&self.text)
    }

    /// Whether this is nothing but tests and what they need.
    pub fn is_test(&self) -> bool {
        self.path.iter().any(|part| part == "tests" || part == "tests.rs")
    }

    /// Neither comments nor the tests at the end.
    pub fn code_without_tests(&self) -> String {
        Source { path: self.path.clone(), text: self.without_tests().to_owned() }.code()
    }

    /// The code without the tests at its end.
    fn without_tests(&self) -> &str {
        self.text.split("#[cfg(test)]\nmod tests {").next().unwrap()
    }
}

fn without_comments(text: &str) -> String {
    text.lines().map(|line| line.split("//").next().unwrap()).collect::<Vec<_>>().join("\n")
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

/// The words of code that only one kind of operating system understands.
fn system_words(path: &Path, code: &str) -> Vec<&'static str> {
    if path.starts_with("platform") || ENGINES.iter().any(|engine| path.starts_with(engine)) {
        return Vec::new();
    }
    // The C ABI says in its signatures what C calls a character; every system has that.
    let code = if path.starts_with("ffi") || path == Path::new("ffi.rs") {
        code.replace("libc::c_char", "")
    } else {
        code.to_owned()
    };
    SYSTEM_WORDS.into_iter().filter(|word| code.contains(word)).collect()
}

/// Which words of [`OF_ENGINES`] a text has, and whether it has paths.
fn engines_named(code: &str) -> Vec<&'static str> {
    let mut identifiers = code.split(|c: char| !c.is_alphanumeric() && c != '_');
    let has_paths = identifiers.any(|word| word == "Path" || word == "PathBuf");
    let code = code.to_lowercase();
    let words = OF_ENGINES.into_iter().filter(|word| code.contains(word));
    words.chain(has_paths.then_some(A_PATH)).collect()
}

#[test]
fn above_the_stores_nothing_names_an_engine_or_the_path_of_a_store() {
    let mut found = Vec::new();
    for source in sources() {
        if ABOVE_STORES.contains(&source.layer()) && !source.is_test() {
            let path = source.path.to_str().unwrap().to_owned();
            found.extend(
                engines_named(&source.code_without_tests()).into_iter().map(|word| (path.clone(), word)),
            );
        }
    }
    for (path, word) in &found {
        let known = ALL_THE_SAME.iter().any(|(file, named, _)| file == path && named == word);
        assert!(known, "{path} names {word}: let src/store/factory.rs open the store by its URL");
    }
    for (file, word, reason) in ALL_THE_SAME {
        let is_found = found.iter().any(|(path, named)| path == file && *named == word);
        assert!(
            is_found && !reason.is_empty(),
            "{file} does not name {word} any more: take it from the list"
        );
    }
}

#[test]
fn the_name_of_an_engine_is_noticed_however_it_is_written() {
    for (code, word) in [
        ("use rusqlite::Connection;", "rusqlite"),
        ("let pair = SqlitePair::new(config)", "sqlite"),
        ("format!(\"sqlite:{}\", path)", "sqlite"),
        ("use crate::store::content::folder::FolderStore;", "folderstore"),
        ("StoreUrl::parse(\"file:x\", base)", "\"file:"),
        ("standby.service_store.local_path()?", ".local_path("),
        ("pub service_store: PathBuf,", A_PATH),
        ("fn open(store: &Path)", A_PATH),
    ] {
        assert!(engines_named(code).contains(&word), "{code}");
    }
    assert_eq!(engines_named("factory::service_store(&standby.service_store)?"), Vec::<&str>::new());
    let source = |text: &str| Source { path: "service/x.rs".into(), text: text.to_owned() };
    let commented =
        source("// SQLite\nfn f() {}\n#[cfg(test)]\nmod tests {\n    use rusqlite::Connection;\n}\n");
    assert_eq!(engines_named(&commented.code_without_tests()), Vec::<&str>::new());
    assert_eq!(engines_named(&source("mod sqlite;").code_without_tests()), ["sqlite"]);
}

#[test]
fn only_the_platform_and_engines_name_an_operating_system() {
    for source in sources().iter().filter(|source| !source.is_test()) {
        let path = source.path.with_extension("");
        let found = system_words(&path, &without_comments(source.without_tests()));
        assert!(found.is_empty(), "{} names {found:?}", source.path.display());
    }
}

#[test]
fn a_named_operating_system_is_noticed() {
    for code in [
        "use rustix::fs::Mode;",
        "let owner = libc::getuid();",
        "use std::os::unix::fs::MetadataExt;",
        "#[cfg(unix)]",
        "#[cfg(target_os = \"linux\")]",
        "std::fs::read(\"/proc/locks\")",
        "File::open(\"/dev/null\")",
    ] {
        for path in ["store/files", "ffi/job", "module", "platformer/x", "store/content/folders"] {
            assert_eq!(system_words(Path::new(path), code).len(), 1, "{code} in {path}");
        }
        for path in ["platform/unix/files", "platform", "store/content/folder", "store/content/folder/walk"] {
            assert!(system_words(Path::new(path), code).is_empty(), "{code} in {path}");
        }
    }
    assert!(system_words(Path::new("ffi/job"), "use libc::c_char;").is_empty());
    assert!(!system_words(Path::new("job/run"), "use libc::c_char;").is_empty());
}

#[test]
fn only_the_c_abi_and_the_platform_are_unsafe() {
    let may_be = ["ffi", "platform"];
    for source in sources().iter().filter(|source| !may_be.contains(&source.layer())) {
        let code = source.code();
        let word = |word: &str| word == "unsafe" || word == "unsafe_code" || word == "no_mangle";
        let found = code.split(|c: char| !c.is_alphanumeric() && c != '_').any(word);
        assert!(!found, "{} is unsafe", source.path.display());
    }
}

#[test]
fn no_file_is_longer_than_what_is_read_at_one_sitting() {
    for source in sources() {
        let lines = source.without_tests().lines().count();
        assert!(
            source.is_test() || lines <= LONGEST,
            "{} has {lines} lines without its tests",
            source.path.display()
        );
    }
}

/// Places where a program would decide something by what an error says to people.
fn decisions_by_words(code: &str) -> Vec<&'static str> {
    const READ: [&str; 8] = [
        ".context.get(",
        ".context[",
        ".context.contains_key(",
        ".message.contains(",
        ".message.starts_with(",
        ".message.ends_with(",
        ".message ==",
        ".message.as_str() {",
    ];
    READ.into_iter().filter(|read| code.contains(read)).collect()
}

#[test]
fn nothing_is_decided_by_what_an_error_says_to_people() {
    let decides =
        |source: &&Source| ["job", "service", "module"].contains(&source.layer()) && !source.is_test();
    for source in sources().iter().filter(decides) {
        let found = decisions_by_words(&without_comments(source.without_tests()));
        assert_eq!(found, Vec::<&str>::new(), "{}", source.path.display());
    }
}

/// Whether a line asks an entry of a listing what it is, which not every file system knows, instead of the object.
fn believes_a_listing(line: &str) -> bool {
    line.contains("d_type") || line.contains(".file_type()") && !line.contains("metadata()?.file_type()")
}

#[test]
fn nobody_believes_what_a_listing_says_something_is() {
    for source in sources().iter().filter(|source| !source.is_test()) {
        let code = without_comments(source.without_tests());
        let wrong: Vec<_> = code.lines().filter(|line| believes_a_listing(line)).collect();
        assert_eq!(wrong, Vec::<&str>::new(), "{}", source.path.display());
    }
    assert!(believes_a_listing("if entry.file_type() != FileType::Directory {"));
}

#[test]
fn a_decision_by_an_errors_words_is_noticed() {
    for code in [r#"error.context.get("jobId")"#, r#"if error.message.starts_with("Cannot") {}"#] {
        assert_ne!(decisions_by_words(code), Vec::<&str>::new(), "{code}");
    }
    assert_eq!(decisions_by_words("let reason = error.message.clone();"), Vec::<&str>::new());
}
