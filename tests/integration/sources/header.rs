//! The C header against the last released one: what was promised stays, or the ABI has a new number.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use cs_backup::error::ErrorKind;

const VERSION: &str = "CSB_ABI_VERSION";

/// What a header promises: constants, functions and types, by name.
#[derive(Debug)]
struct Header(BTreeMap<String, String>);

impl Header {
    fn read(text: &str) -> Self {
        let text = without_comments(text);
        let mut promised = BTreeMap::new();
        let mut code = String::new();
        for line in text.lines().map(str::trim) {
            match line.strip_prefix("#define ").and_then(|define| define.split_once(' ')) {
                Some((name, value)) => drop(promised.insert(name.to_owned(), value.trim().to_owned())),
                None if line.starts_with('#') || line == "extern \"C\" {" => {}
                None => code = code + line + "\n",
            }
        }
        for statement in statements(&code) {
            promised.insert(name_of(&statement), shape_of(&statement));
        }
        Header(promised)
    }

    fn version(&self) -> u32 {
        self.0[VERSION].parse().unwrap()
    }

    /// What a program that was built with an older header would find changed; nothing where the number says so.
    fn breaks(&self, older: &Header) -> Vec<String> {
        assert!(self.version() >= older.version(), "the number of an ABI grows");
        if self.version() > older.version() {
            return Vec::new();
        }
        let broken = older.0.iter().filter(|(name, shape)| self.0.get(*name) != Some(shape));
        broken.map(|(name, _)| name.clone()).collect()
    }
}

fn without_comments(text: &str) -> String {
    let mut rest = text;
    let mut kept = String::new();
    while let Some((before, after)) = rest.split_once("/*") {
        kept += before;
        rest = after.split_once("*/").expect("a comment ends").1;
    }
    kept += rest;
    kept.lines().map(|line| line.split("//").next().unwrap_or_default()).collect::<Vec<_>>().join("\n")
}

/// Declarations, each without its semicolon; those inside of a struct belong to it.
fn statements(code: &str) -> Vec<String> {
    let (mut depth, mut statements, mut statement) = (0_i32, Vec::new(), String::new());
    for letter in code.chars() {
        match letter {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        // The bracket that ends `extern "C"` opens in no statement.
        depth = depth.max(0);
        if letter == ';' && depth == 0 {
            statements.push(std::mem::take(&mut statement).trim().to_owned());
        } else if !(letter == '}' && statement.trim().is_empty()) {
            statement.push(letter);
        }
    }
    assert_eq!(statement.trim(), "", "something of the header is not understood");
    statements
}

fn words(text: &str) -> Vec<String> {
    let spaced: String =
        text.chars().map(|l| if "*(),{};[]".contains(l) { format!(" {l} ") } else { l.into() }).collect();
    spaced.split_whitespace().map(str::to_owned).collect()
}

/// The function's name, or the one that a type definition gives.
fn name_of(statement: &str) -> String {
    let before = statement.split('{').next().unwrap_or_default();
    match before.split_once('(') {
        Some((head, _)) => words(head).pop().unwrap(),
        None => words(statement).pop().unwrap(),
    }
}

/// What of a declaration binds: everything but the names of parameters.
fn shape_of(statement: &str) -> String {
    let Some((head, parameters)) = statement.split_once('(').filter(|(head, _)| !head.contains('{')) else {
        return words(statement).join(" ");
    };
    let types = parameters.trim_end_matches(')').split(',').map(|parameter| {
        let mut words = words(parameter);
        let is_word = |word: &String| word.chars().all(|l| l.is_alphanumeric() || l == '_');
        // The last word is a name unless it is all there is.
        if words.last().is_some_and(is_word) && words.iter().filter(|word| *word != "const").count() > 1 {
            words.pop();
        }
        words.join(" ")
    });
    format!("{} ( {} )", words(head).join(" "), types.collect::<Vec<_>>().join(" , "))
}

fn include() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("include")
}

fn current() -> String {
    std::fs::read_to_string(include().join("cs_backup.h")).unwrap()
}

/// Every header that was released, by its number.
fn released() -> BTreeMap<u32, Header> {
    let folders = std::fs::read_dir(include().join("released")).unwrap();
    let read = folders.map(|folder| {
        let folder = folder.unwrap();
        let number = folder.file_name().to_str().unwrap().parse().unwrap();
        (number, Header::read(&std::fs::read_to_string(folder.path().join("cs_backup.h")).unwrap()))
    });
    read.collect()
}

#[test]
fn nothing_that_was_released_is_broken() {
    let released = released();
    for (number, header) in &released {
        assert_eq!(*number, header.version(), "a released header lies in the folder of its number");
    }
    let (_, last) = released.last_key_value().unwrap();
    let broken = Header::read(&current()).breaks(last);
    assert!(broken.is_empty(), "changed or gone without a new {VERSION}: {broken:?}");
}

/// A header with everything that could break, some of which the real one does not have.
const OLDER: &str = r#"
#define CSB_ABI_VERSION 7
/* A number; with a semicolon. */
#define CSB_STATUS_OK 0
#define CSB_REPORT_HTML 1
typedef struct csb_service csb_service;
typedef int32_t csb_status;
typedef struct csb_span { uint32_t first; uint32_t last; } csb_span;
#ifdef __cplusplus
extern "C" {
#endif // __cplusplus
uint32_t csb_abi_version(void);
csb_status csb_job_poll(const struct csb_service *service, uint64_t job,
                        uint32_t timeout_ms, char **out_error);
void csb_string_free(char *string);
#ifdef __cplusplus
}  // extern "C"
#endif
"#;

#[test]
fn every_kind_of_break_is_found() {
    let breaks = [
        ("#define CSB_REPORT_HTML 1", "", "CSB_REPORT_HTML"),
        ("#define CSB_REPORT_HTML 1", "#define CSB_REPORT_HTML 2", "CSB_REPORT_HTML"),
        ("#define CSB_STATUS_OK 0", "#define CSB_STATUS_FINE 0", "CSB_STATUS_OK"),
        ("void csb_string_free(char *string);", "", "csb_string_free"),
        ("void csb_string_free(char *string);", "void csb_free(char *string);", "csb_string_free"),
        (
            "void csb_string_free(char *string);",
            "void csb_string_free(const char *string);",
            "csb_string_free",
        ),
        ("void csb_string_free(char *string);", "int csb_string_free(char *string);", "csb_string_free"),
        ("uint32_t timeout_ms, ", "uint64_t timeout_ms, ", "csb_job_poll"),
        ("uint32_t timeout_ms, ", "", "csb_job_poll"),
        ("uint32_t timeout_ms, ", "uint32_t timeout_ms, int32_t format, ", "csb_job_poll"),
        (
            "uint64_t job,\n                        uint32_t timeout_ms",
            "uint32_t job, uint64_t timeout_ms",
            "csb_job_poll",
        ),
        ("(void)", "(uint32_t)", "csb_abi_version"),
        ("typedef int32_t csb_status", "typedef int64_t csb_status", "csb_status"),
        ("uint32_t last; }", "uint64_t last; }", "csb_span"),
        ("uint32_t last; }", "uint32_t last; uint32_t count; }", "csb_span"),
        ("typedef struct csb_service csb_service;", "typedef struct csb_other csb_service;", "csb_service"),
    ];
    for (from, to, broken) in breaks {
        assert!(OLDER.contains(from), "{from}");
        let newer = OLDER.replace(from, to);
        assert_eq!(Header::read(&newer).breaks(&Header::read(OLDER)), [broken], "{from} -> {to}");
        let renumbered = newer.replace("CSB_ABI_VERSION 7", "CSB_ABI_VERSION 8");
        assert!(
            Header::read(&renumbered).breaks(&Header::read(OLDER)).is_empty(),
            "{from} -> {to}, with a new number"
        );
    }
}

#[test]
fn what_is_added_or_only_said_differently_breaks_nothing() {
    let additions = [
        ("#define CSB_REPORT_HTML 1", "#define CSB_REPORT_HTML 1\n#define CSB_REPORT_TEXT 2"),
        (
            "void csb_string_free(char *string);",
            "void csb_string_free(char *string);\nvoid csb_other(int32_t more);",
        ),
        ("char *string", "char *text"),
        ("uint64_t job,\n                        ", "uint64_t job, "),
        ("/* A number; with a semicolon. */", "/* Another comment. */"),
    ];
    for (from, to) in additions {
        assert!(OLDER.contains(from), "{from}");
        let newer = Header::read(&OLDER.replace(from, to));
        assert!(newer.breaks(&Header::read(OLDER)).is_empty(), "{from} -> {to}");
    }
}

#[test]
fn every_error_kind_has_its_number_in_the_header() {
    let header = Header::read(&current());
    let mut named =
        header.0.iter().filter(|(name, _)| name.starts_with("CSB_STATUS_")).collect::<BTreeMap<_, _>>();
    assert_eq!(named.remove(&"CSB_STATUS_OK".to_owned()).unwrap(), "0");
    let camel = |constant: &str| {
        let words = constant.trim_start_matches("CSB_STATUS_").split('_');
        words.map(|word| word[..1].to_owned() + &word[1..].to_lowercase()).collect::<String>()
    };
    let named: BTreeMap<String, i32> =
        named.into_iter().map(|(name, number)| (camel(name), number.parse().unwrap())).collect();
    let kinds: BTreeMap<String, i32> =
        ErrorKind::ALL.iter().map(|kind| (kind.name().to_owned(), kind.status())).collect();
    assert_eq!(named, kinds);
}
