//! The pages about documents say what the library does.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use cs_backup::config::{BackupServiceConfiguration, DeploymentConfig};
use cs_backup::error::{Error, ErrorKind};
use cs_backup::job::events::EventKind;
use cs_backup::job::request::{Category, JobRequest};
use cs_backup::pool::PoolState;
use cs_backup::report::{ExportState, ImportState, Outcome, Report};
use cs_backup::service::{
    Capabilities, JobDocument, JobEvents, OpenConfig, PlaceRegistration, PoolConnection, PoolDocument,
    Request, Status,
};
use cs_backup::topology::Topology;
use jiff::Timestamp;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::support::*;

fn page(name: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs").join(name)).unwrap()
}

/// The text between the first line that begins like this and the next line of three backticks.
fn fence<'t>(page: &'t str, language: &str, after: &str) -> &'t str {
    let (_, rest) = page.split_once(after).unwrap_or_else(|| panic!("the page has no {after:?}"));
    let (_, rest) = rest.split_once(&format!("```{language}\n")).unwrap();
    rest.split_once("\n```").unwrap().0
}

/// The examples of a page, by name.
fn examples(page: &str) -> BTreeMap<&str, Value> {
    let mut found = BTreeMap::new();
    for part in page.split("<!-- example: ").skip(1) {
        let (name, _) = part.split_once(" -->").unwrap();
        let text = fence(part, "json", " -->");
        let value = serde_json::from_str(text).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert!(found.insert(name, value).is_none(), "two examples are named {name}");
    }
    found
}

/// Reads and writes a document with the library's type.
fn round_trip<T: DeserializeOwned + Serialize>(example: &Value) -> Value {
    let read: T =
        serde_json::from_value(example.clone()).unwrap_or_else(|error| panic!("{error}: {example:#}"));
    serde_json::to_value(read).unwrap()
}

/// Whether two documents say the same; in one that is sent in, fields may be left out that have a default.
#[track_caller]
fn assert_same(example: &Value, written: &Value, may_omit: bool, place: &str) {
    match (example, written) {
        (Value::Object(example), Value::Object(written)) => {
            for (key, value) in example {
                let other = written.get(key).unwrap_or_else(|| panic!("{place}.{key} is not a field"));
                assert_same(value, other, may_omit, &format!("{place}.{key}"));
            }
            let omitted: Vec<&String> = written.keys().filter(|key| !example.contains_key(*key)).collect();
            assert!(may_omit || omitted.is_empty(), "{place}: the example lacks {omitted:?}");
        }
        (Value::Array(example), Value::Array(written)) => {
            assert_eq!(example.len(), written.len(), "{place}");
            for (example, written) in example.iter().zip(written) {
                assert_same(example, written, may_omit, place);
            }
        }
        (Value::String(example), Value::String(written)) => {
            let time = |text: &str| text.parse::<Timestamp>().ok();
            let same = example == written || time(example).is_some_and(|at| Some(at) == time(written));
            assert!(same, "{place}: {example} became {written}");
        }
        _ => assert_eq!(example, written, "{place}"),
    }
}

#[test]
fn every_example_is_read_and_written_as_it_stands() {
    let page = page("documents.md");
    let mut examples = examples(&page);
    let mut check = |name: &str, may_omit: bool, round_trip: fn(&Value) -> Value| {
        let example = examples.remove(name).unwrap_or_else(|| panic!("the page has no example {name}"));
        assert_same(&example, &round_trip(&example), may_omit, name);
    };
    check("openConfig", false, round_trip::<OpenConfig>);
    check("request", true, round_trip::<Request>);
    for job in ["backupJob", "syncJob", "disableJob", "restoreJob"] {
        check(job, false, round_trip::<JobRequest>);
    }
    check("capabilities", false, round_trip::<Capabilities>);
    check("topology", false, round_trip::<Topology>);
    check("pool", false, round_trip::<PoolDocument>);
    check("connection", false, round_trip::<PoolConnection>);
    check("registration", false, round_trip::<PlaceRegistration>);
    check("status", false, round_trip::<Status>);
    check("configuration", false, round_trip::<BackupServiceConfiguration>);
    check("job", false, round_trip::<JobDocument>);
    check("events", false, round_trip::<JobEvents>);
    check("report", false, round_trip::<Report>);
    check("error", false, round_trip::<Error>);
    assert_eq!(examples.keys().collect::<Vec<_>>(), Vec::<&&str>::new(), "examples that nobody checks");
}

#[test]
fn the_steps_of_the_examples_are_named_as_real_ones_are() {
    let page = page("documents.md");
    let deployment = Deployment::new();
    let ended = deployment.sync(ATL, json!({}));
    let real: Vec<(&str, &str)> =
        ended.report.plan.steps.iter().map(|step| (step.id.as_str(), step.title.as_str())).collect();
    let examples = examples(&page);
    let plans = [&examples["report"]["plan"]["steps"], &examples["events"]["events"][0]["plan"]["steps"]];
    for step in plans.iter().flat_map(|steps| steps.as_array().unwrap()) {
        let named = (step["id"].as_str().unwrap(), step["title"].as_str().unwrap());
        assert!(real.contains(&named), "{named:?} is none of {real:?}");
    }
}

#[test]
fn unknown_fields_of_what_is_sent_in_are_refused_and_of_what_comes_out_ignored() {
    let page = page("documents.md");
    for (name, example) in examples(&page) {
        let mut example = example;
        example["somethingNew"] = json!(1);
        let is_accepted = match name {
            "openConfig" => serde_json::from_value::<OpenConfig>(example).is_ok(),
            "request" => serde_json::from_value::<Request>(example).is_ok(),
            "backupJob" | "syncJob" | "disableJob" | "restoreJob" => {
                serde_json::from_value::<JobRequest>(example).is_ok()
            }
            "status" => serde_json::from_value::<Status>(example).is_ok(),
            "configuration" => serde_json::from_value::<BackupServiceConfiguration>(example).is_ok(),
            "job" => serde_json::from_value::<JobDocument>(example).is_ok(),
            "events" => serde_json::from_value::<JobEvents>(example).is_ok(),
            "report" => serde_json::from_value::<Report>(example).is_ok(),
            "error" => serde_json::from_value::<Error>(example).is_ok(),
            _ => continue,
        };
        let is_sent_in =
            ["openConfig", "request", "backupJob", "syncJob", "disableJob", "restoreJob"].contains(&name);
        assert_eq!(is_accepted, !is_sent_in, "{name}");
    }
}

#[test]
fn the_toml_examples_are_read() {
    let page = page("documents.md");
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("deployment.toml");
    std::fs::write(&file, fence(&page, "toml", "## deployment.toml")).unwrap();
    for named in [file.as_path(), folder.path()] {
        let config = DeploymentConfig::read(named).unwrap();
        assert_eq!(config.local_replica, folder.path().join("cms/replica.json"));
    }

    // The page shows one pool of the pair; the other one looks the same.
    let one = fence(&page, "toml", "## The topology document");
    let (_, pool) = one.split_once("[[pools]]").unwrap();
    let partner = pool.replace("atl", "*").replace("chi", "atl").replace('*', "chi");
    let topology =
        Topology::from_toml(&format!("{one}\n[[pools]]{partner}"), &folder.path().join("t.toml")).unwrap();
    let described: BTreeSet<String> = words(&page);
    for name in [
        "central_management_pool",
        "pools",
        "fqdn",
        "site",
        "computers",
        "backup_pool",
        "place",
        "user_store",
        "content_store",
        "standby",
        "url",
        "exclude",
        "server_waits",
        "max_lock_ms",
        "history",
        "keep",
        "max",
        "management_store",
        "service_store",
    ] {
        assert!(described.contains(name), "{name} is not described");
    }
    assert_eq!(topology.pools.len(), 2);
}

/// Every identifier that stands in code on a page.
fn words(page: &str) -> BTreeSet<String> {
    let code = page.split('`').skip(1).step_by(2);
    let fences = page.split("```").skip(1).step_by(2);
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    code.chain(fences)
        .flat_map(|code| code.split(|c| !is_word(c)))
        .filter(|word| !word.is_empty())
        .map(str::to_owned)
        .collect()
}

/// What stands in backticks after "expected" in a message of serde.
fn expected<T: DeserializeOwned>(wrong: Value) -> Vec<String> {
    let message = serde_json::from_value::<T>(wrong).err().unwrap().to_string();
    if message.contains("there are no fields") {
        return Vec::new();
    }
    let (_, names) = message.split_once("expected").unwrap_or_else(|| panic!("{message}"));
    names.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

/// The cells of the row that begins with this cell.
fn row<'p>(page: &'p str, first: &str) -> Vec<&'p str> {
    let begins = |line: &&str| line.strip_prefix("| ").is_some_and(|line| line.starts_with(first));
    let line = page.lines().find(begins).unwrap_or_else(|| panic!("no table has a row {first}"));
    line.trim_matches('|').split('|').map(str::trim).collect()
}

/// The names of events, out of the code: whatever name is read, one that is not known is an unknown event.
fn kinds_of_events() -> Vec<String> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/job/events.rs");
    let source = std::fs::read_to_string(source).unwrap();
    let (_, kinds) = source.split_once("pub enum EventKind {").unwrap();
    let kinds = kinds.split("\n}\n").next().unwrap().lines();
    let variants = kinds.filter_map(|line| line.strip_prefix("    ")?.strip_suffix(" {"));
    let names: Vec<String> = variants.map(|variant| variant[..1].to_lowercase() + &variant[1..]).collect();
    for name in &names {
        let fields = serde_json::from_value::<EventKind>(json!({ "event": name }));
        assert!(fields.is_err(), "{name} is no kind of event: {fields:?}");
    }
    names
}

#[test]
fn the_words_of_states_are_those_of_the_library() {
    let page = page("documents.md");
    let described = |name: &str| {
        let cells = row(&page, name);
        cells[1].split('`').skip(1).step_by(2).map(str::to_owned).collect::<BTreeSet<_>>()
    };
    let all = |names: Vec<String>| names.into_iter().collect::<BTreeSet<_>>();
    let words_of = |names: Vec<&str>| names.into_iter().map(str::to_owned).collect::<BTreeSet<_>>();
    assert_eq!(
        described("export state"),
        words_of(ExportState::ALL.iter().map(|word| word.name()).collect())
    );
    assert_eq!(
        described("import state"),
        words_of(ImportState::ALL.iter().map(|word| word.name()).collect())
    );
    assert_eq!(described("pool state"), words_of(PoolState::ALL.iter().map(|word| word.name()).collect()));
    assert_eq!(described("outcome"), words_of(Outcome::ALL.iter().map(|word| word.name()).collect()));
    assert_eq!(described("category"), all(expected::<Category>(json!("?"))));
    let events = kinds_of_events();
    let words = words(&page);
    assert!(events.len() > 7 && events.iter().all(|event| words.contains(event)), "{events:?}");
}

#[test]
fn the_table_of_requests_has_every_request_and_every_field() {
    let page = page("documents.md");
    let requests = expected::<Request>(json!({ "request": "?" }));
    assert!(requests.len() >= 12, "{requests:?}");
    for name in &requests {
        let cells = row(&page, &format!("`{name}`"));
        let described: BTreeSet<String> = cells[1].split('`').skip(1).step_by(2).map(str::to_owned).collect();
        let fields: BTreeSet<String> =
            expected::<Request>(json!({ "request": name, "?": 1 })).into_iter().collect();
        // An enumeration's values stand beside it.
        let described: BTreeSet<String> =
            described.into_iter().filter(|word| !["json", "html"].contains(&word.as_str())).collect();
        assert_eq!(described, fields, "{name}");
    }
    let is_request = |line: &&str| line.starts_with("| `") && line.matches('|').count() == 4;
    let (_, table) = page.split_once("| request | fields").unwrap();
    let described = table.split("\n\n").next().unwrap().lines().filter(is_request).count();
    assert_eq!(described, requests.len(), "the table has rows of requests that there are none of");
}

#[test]
fn capabilities_are_those_of_the_code_and_are_told_without_a_deployment() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let unconnected =
        cs_backup::service::Service::open(&OpenConfig::default(), TestClock::new(), runtime.handle().clone())
            .unwrap();
    let told = ask(&unconnected, json!({ "request": "getCapabilities" })).unwrap();
    let told: Capabilities = serde_json::from_value(told).unwrap();
    assert_eq!(told.requests, expected::<Request>(json!({ "request": "?" })));
    assert_eq!(told.abi_version, cs_backup::ffi::CSB_ABI_VERSION);
    assert_eq!(told.documents.report, u64::from(cs_backup::report::SCHEMA_VERSION));
    assert_eq!(told.jobs, expected::<JobRequest>(json!({ "job": "?" })));
    assert!(told.jobs.len() > 1 && told.schemes.iter().any(|scheme| scheme.is_supported));
}

/// The names of an object's fields, as the table of replies writes them: `{a, b: [c]}`.
fn fields_of_reply(cell: &str) -> Option<BTreeSet<String>> {
    let inner = cell.strip_prefix("`{")?.split("}`").next().unwrap();
    let mut depth = 0;
    let top: String = inner
        .chars()
        .filter(|c| {
            depth += i32::from("[{".contains(*c));
            let is_top = depth == 0;
            depth -= i32::from("]}".contains(*c));
            is_top
        })
        .collect();
    Some(top.split(',').map(|field| field.split(':').next().unwrap().trim().to_owned()).collect())
}

/// Every key of a document.
fn keys(document: &Value, found: &mut BTreeSet<String>) {
    match document {
        Value::Object(fields) => {
            for (key, value) in fields {
                found.insert(key.clone());
                keys(value, found);
            }
        }
        Value::Array(items) => items.iter().for_each(|item| keys(item, found)),
        _ => {}
    }
}

#[test]
fn every_key_of_real_documents_is_described() {
    let page = page("documents.md");
    let words = words(&page);
    let deployment = Deployment::new();
    let mut found = BTreeSet::new();
    let mut describe = |what: &str, document: &Value| {
        let mut of_document = BTreeSet::new();
        keys(document, &mut of_document);
        let missing: Vec<&String> = of_document.iter().filter(|key| !words.contains(*key)).collect();
        assert!(missing.is_empty(), "documents.md does not name {missing:?} of {what}");
        found.extend(of_document);
    };

    // One job with a warning, a quarantined item, retries and an error.
    rustix::fs::mkfifoat(rustix::fs::CWD, deployment.path("atl/share/pipe"), 0o644.into()).unwrap();
    std::fs::create_dir_all(deployment.path("chi/standby/cms.sqlite")).unwrap();
    let ended = deployment.backup(json!({ "retryCount": 1, "steadyState": false }));
    assert_eq!(ended.report.outcome, Outcome::Failed);
    describe("the report", &serde_json::to_value(&ended.report).unwrap());
    describe("the events", &serde_json::to_value(&ended.events).unwrap());
    let sync = deployment.sync(ATL, json!({ "retryCount": 0 }));
    describe("the report of a sync", &serde_json::to_value(&sync.report).unwrap());

    let (id, folder) = (ended.report.job_id, deployment.path("another sample"));
    let topology = deployment.path("topology.toml");
    let arguments = [
        ("getCapabilities", json!({})),
        ("createSampleDeployment", json!({ "folder": folder, "users": 1, "contactsPerUser": 1, "files": 1 })),
        ("publishTopology", json!({ "file": topology })),
        ("getTopology", json!({})),
        ("exportTopology", json!({})),
        ("getPools", json!({})),
        ("getPoolBackupRelationship", json!({ "poolFqdn": ATL })),
        ("getPoolBackupHistory", json!({ "poolFqdn": ATL })),
        ("getBackupServiceStatus", json!({ "poolFqdn": ATL })),
        ("testPoolConnection", json!({ "poolFqdn": ATL })),
        ("registerPoolPlace", json!({ "poolFqdn": ATL, "grants": ["read"] })),
        ("getBackupServiceConfiguration", json!({})),
        ("setBackupServiceConfiguration", json!({ "settings": { "maxConcurrentCalls": 3 } })),
        ("resetBackupServiceConfiguration", json!({})),
        ("getAdminRoles", json!({})),
        ("listJobs", json!({})),
        ("getJob", json!({ "jobId": id })),
        ("getReport", json!({ "jobId": id, "format": "html" })),
        ("writeReport", json!({ "jobId": id, "file": deployment.path("report.html") })),
        ("cancelJob", json!({ "jobId": id })),
    ];
    let asked: BTreeSet<String> = arguments.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(asked, expected::<Request>(json!({ "request": "?" })).into_iter().collect());
    for (name, mut request) in arguments {
        request["request"] = json!(name);
        let reply = deployment.ask(request).unwrap();
        describe(name, &reply);
        let cell = row(&page, &format!("`{name}`"))[2];
        let cell = if name == "getReport" { &cell[cell.find("`{").unwrap()..] } else { cell };
        if let Some(described) = fields_of_reply(cell) {
            let fields: BTreeSet<String> = reply.as_object().unwrap().keys().cloned().collect();
            assert_eq!(described, fields, "the reply of {name}");
        }
    }
    let error = deployment.ask(json!({ "request": "getJob", "jobId": uuid::Uuid::new_v4() })).unwrap_err();
    describe("an error", &serde_json::to_value(error).unwrap());
    for must in
        ["quarantined", "advice", "attempt", "itemsWritten", "isStandardRole", "centralManagementPool"]
    {
        assert!(found.contains(must), "this test looks at too little: {must} did not occur");
    }
}

/// The files of the library.
fn sources(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { sources(&path) } else { vec![path] }).collect()
}

#[test]
fn every_key_of_an_errors_context_is_described() {
    let words = words(&page("documents.md"));
    let mut seen = 0;
    for file in sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src")) {
        let text = std::fs::read_to_string(&file).unwrap();
        for key in text.split(".at(\"").skip(1).map(|rest| rest.split('"').next().unwrap()) {
            assert!(words.contains(key), "{}: documents.md does not name {key}", file.display());
            seen += 1;
        }
    }
    assert!(seen > 20, "only {seen} places were found");
}

#[test]
fn the_table_of_errors_has_every_kind() {
    let page = page("errors.md");
    let rows: Vec<Vec<&str>> = page
        .lines()
        .filter(|line| line.starts_with("| ") && line.as_bytes()[2].is_ascii_digit())
        .map(|line| line.trim_matches('|').split('|').map(str::trim).collect())
        .collect();
    let described: Vec<(String, &str, &str)> =
        rows.iter().map(|cells| (cells[0].to_owned(), cells[1].trim_matches('`'), cells[2])).collect();
    let retry = |kind: &ErrorKind| if kind.retryable() { "yes" } else { "no" };
    let kinds: Vec<(String, &str, &str)> =
        ErrorKind::ALL.iter().map(|kind| (kind.status().to_string(), kind.name(), retry(kind))).collect();
    assert_eq!(described, kinds);
    for cells in &rows {
        assert!(cells.len() == 5 && cells[3].ends_with('.') && cells[4].ends_with('.'), "{cells:?}");
    }
}

#[test]
fn the_page_about_two_machines_has_every_message() {
    let page = page("design/remote.md");
    let (_, table) = page.split_once("## Messages").unwrap();
    let (table, _) = table.split_once("\n## ").unwrap();
    let rows = table.lines().filter_map(|line| line.strip_prefix("| ")?.split_once(" |")?.0.parse().ok());
    let described: BTreeSet<u8> = rows.collect();
    let mut known = BTreeSet::new();
    let folders =
        ["src/store", "src/module/remote"].map(|folder| Path::new(env!("CARGO_MANIFEST_DIR")).join(folder));
    let one = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/module/remote.rs");
    for path in folders.iter().flat_map(|folder| sources(folder)).chain([one]) {
        let text = std::fs::read_to_string(path).unwrap();
        let constants = text.lines().filter_map(|line| line.split_once("const ")?.1.split_once(": u8 = "));
        known.extend(constants.filter_map(|(_, number)| number.strip_suffix(';')?.parse::<u8>().ok()));
    }
    // Smaller numbers say what the parts of a message are.
    known.retain(|number| *number >= 8);
    assert!(known.len() > 20, "{known:?}");
    assert_eq!(described, known);
}

#[test]
fn every_test_that_the_page_about_traps_names_is_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut sources = String::new();
    let mut folders =
        vec![root.join("src"), root.join("tests/integration"), root.join("tests/hosts/powershell")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs" || extension == "ps1") {
                sources.push_str(&std::fs::read_to_string(path).unwrap());
            }
        }
    }
    let page = page("traps.md");
    let rows = page.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| ---"));
    let last_cells =
        rows.filter_map(|row| row.trim_end_matches(" |").rsplit_once(" | ").map(|(_, cell)| cell));
    let mut names = BTreeSet::new();
    for cell in last_cells.filter(|cell| *cell != "test") {
        let found: Vec<&str> = cell.split('`').skip(1).step_by(2).collect();
        assert!(!found.is_empty(), "a trap without a test: {cell}");
        names.extend(found);
    }
    assert!(names.len() > 40, "{names:?}");
    let is_there = |name: &&str| {
        [format!("fn {name}("), format!("It '{name}")].iter().any(|test| sources.contains(test))
    };
    let missing: Vec<&str> = names.into_iter().filter(|name| !is_there(name)).collect();
    assert_eq!(missing, Vec::<&str>::new());
}
