//! What several modules need: a clock that tests turn, a deployment in a folder of its own, and comparisons.

use std::collections::BTreeMap;
use std::future::Future;
use std::io::{BufRead, BufReader, Lines};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::process::{ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Mutex, OnceLock};
use std::time::{Duration, Instant};

use cs_backup::clock::Clock;
use cs_backup::error::{Error, Result};
use cs_backup::job::events::{Event, EventKind};
use cs_backup::report::{ModuleReport, Outcome, Report, StepReport};
use cs_backup::service::{OpenConfig, Request, Service};
use cs_backup::store::Reach;
use cs_backup::store::remote::RemotePlace;
use cs_backup::store::user::pages::PagePair;
use cs_backup::topology::{PoolFqdn, StoreUrl, UserStoreConfig};
use cs_backup::wire::Route;
use jiff::Timestamp;
use rusqlite::Connection;
use serde_json::{Value, json};

pub const ATL: &str = "atl-cs-001.litwareinc.com";
pub const CHI: &str = "chi-cs-001.litwareinc.com";

pub const PRESENCE_FOCUS: &str = "UserServices.PresenceFocus";
pub const DATA_CONF: &str = "ConfServices.DataConf";
pub const CMS_MASTER: &str = "CentralMgmt.CMSMaster";

/// No job of these tests takes nearly as long; a job that hangs fails its test.
const PATIENCE: Duration = Duration::from_secs(60);

/// From here on a pause is one that a job was asked to make, not one of its own polls.
const LONG: Duration = Duration::from_secs(1);

type Nap = Box<dyn FnMut(Duration) -> Waking + Send>;

/// What becomes of a long pause.
pub enum Waking {
    AtOnce,
    Never,
}

/// When the machine of the tests was started.
static START: LazyLock<Instant> = LazyLock::new(Instant::now);

/// A clock whose wall time is set by the test and whose pauses are not sat out.
pub struct TestClock {
    start: Instant,
    offset_ms: AtomicI64,
    passed_s: AtomicU64,
    stopped: OnceLock<Duration>,
    long: Mutex<Nap>,
    asked: Mutex<Vec<Duration>>,
}

impl TestClock {
    pub fn new() -> Arc<Self> {
        Arc::new(TestClock {
            start: *START,
            offset_ms: AtomicI64::new(0),
            passed_s: AtomicU64::new(0),
            stopped: OnceLock::new(),
            long: Mutex::new(Box::new(|_| Waking::AtOnce)),
            asked: Mutex::default(),
        })
    }

    /// The wall clock jumps; what is measured monotonically does not notice.
    pub fn jump_hours(&self, hours: i64) {
        self.offset_ms.fetch_add(hours * 3_600_000, Ordering::SeqCst);
    }

    /// Time passes on this clock alone.
    pub fn pass_seconds(&self, seconds: u64) {
        self.passed_s.fetch_add(seconds, Ordering::SeqCst);
    }

    /// From here on nothing that is measured goes on, as for a process that is frozen.
    pub fn stop(&self) {
        self.stopped.get_or_init(|| self.monotonic());
    }

    /// What happens whenever somebody pauses for a second or longer.
    pub fn on_long_sleep(&self, nap: impl FnMut(Duration) -> Waking + Send + 'static) {
        *self.long.lock().unwrap() = Box::new(nap);
    }

    /// The long pauses that were asked for.
    pub fn long_sleeps(&self) -> Vec<Duration> {
        self.asked.lock().unwrap().clone()
    }
}

impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        let now = Timestamp::now().as_millisecond() + self.offset_ms.load(Ordering::SeqCst);
        Timestamp::from_millisecond(now).unwrap()
    }

    /// Those of one test are on one machine.
    fn boot(&self) -> String {
        "the boot of the tests".to_owned()
    }

    fn monotonic(&self) -> Duration {
        let passed = Duration::from_secs(self.passed_s.load(Ordering::SeqCst));
        self.stopped.get().copied().unwrap_or_else(|| self.start.elapsed() + passed)
    }

    fn sleep(&self, duration: Duration) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        if duration < LONG {
            return Box::pin(tokio::time::sleep(duration.min(Duration::from_millis(5))));
        }
        self.asked.lock().unwrap().push(duration);
        match (self.long.lock().unwrap())(duration) {
            Waking::AtOnce => Box::pin(tokio::task::yield_now()),
            Waking::Never => Box::pin(std::future::pending()),
        }
    }
}

/// How large a deployment is.
#[derive(Clone, Copy)]
pub struct Size {
    pub users: u32,
    pub contacts: u32,
    pub files: u32,
}

pub const SMALL: Size = Size { users: 6, contacts: 3, files: 12 };

/// Two pools, each the other's backup pool, in a folder of their own.
pub struct Deployment {
    pub service: Service,
    pub clock: Arc<TestClock>,
    runtime: tokio::runtime::Runtime,
    folder: tempfile::TempDir,
}

impl Deployment {
    pub fn new() -> Self {
        Self::of(SMALL)
    }

    pub fn of(size: Size) -> Self {
        Self::inside(tempfile::tempdir().unwrap(), size)
    }

    /// In memory where that can be had: for jobs whose syncs would be most of the time of a test.
    pub fn in_memory(size: Size) -> Self {
        Self::inside(tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap(), size)
    }

    fn inside(folder: tempfile::TempDir, size: Size) -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let clock = TestClock::new();
        let unconnected =
            Service::open(&OpenConfig::default(), clock.clone(), runtime.handle().clone()).unwrap();
        ask(
            &unconnected,
            json!({ "request": "createSampleDeployment", "folder": folder.path().join("d"), "users": size.users,
                "contactsPerUser": size.contacts, "files": size.files }),
        )
        .unwrap();
        let service = open(&folder.path().join("d/deployment.toml"), clock.clone(), &runtime);
        Deployment { service, clock, runtime, folder }
    }

    pub fn root(&self) -> PathBuf {
        self.folder.path().join("d")
    }

    pub fn path(&self, relative: &str) -> PathBuf {
        self.root().join(relative)
    }

    pub fn deployment_file(&self) -> PathBuf {
        self.path("deployment.toml")
    }

    /// Another service on the same deployment, as another host in the same process would have it.
    pub fn another(&self) -> Service {
        self.another_with(self.clock.clone())
    }

    pub fn another_with(&self, clock: Arc<dyn Clock>) -> Service {
        open(&self.deployment_file(), clock, &self.runtime)
    }

    /// A service on another deployment file.
    pub fn another_on(&self, file: &Path) -> Service {
        open(file, self.clock.clone(), &self.runtime)
    }

    pub fn ask(&self, request: Value) -> Result<Value> {
        ask(&self.service, request)
    }

    /// A backup of pool Atlanta with these options, to its end.
    pub fn backup(&self, options: Value) -> Ended {
        run_backup(&self.service, with_pool(ATL, options))
    }

    /// A synchronization of a pool with these options, to its end.
    pub fn sync(&self, pool: &str, options: Value) -> Ended {
        self.run("sync", pool, options)
    }

    /// A job of this kind with these options, to its end.
    pub fn run(&self, job: &str, pool: &str, options: Value) -> Ended {
        ended(&self.service, start(&self.service, job, with_pool(pool, options)))
    }

    /// A connection to a pool's user store such as its server has.
    pub fn server(&self, pool: &str) -> Connection {
        server(&self.path(&format!("{pool}/users.sqlite")))
    }

    /// A connection to a pool's user store that keeps everybody from reading it until its transaction ends, as far as a server can: it has a
    /// rollback journal, and is about to write.
    pub fn writing_server(&self, pool: &str) -> Connection {
        let server = self.server(pool);
        server.execute_batch("PRAGMA journal_mode = DELETE; BEGIN IMMEDIATE").unwrap();
        server
    }

    /// Both copies of a pool are equal, row by row and file by file, and nothing temporary is left anywhere.
    pub fn assert_copies_equal(&self, pool: &str, partner: &str) {
        let standby = self.path(&format!("{partner}/standby/{pool}"));
        let users = self.path(&format!("{pool}/users.sqlite"));
        assert_rows_equal(&users, &standby.with_extension("sqlite"));
        crate::user_store::assert_equal_pages(&users, &standby.with_extension("sqlite"));
        assert_eq!(content(&self.path(&format!("{pool}/share"))), content(&standby));
        assert_eq!(leftovers(&self.root()), Vec::<PathBuf>::new());
    }
}

fn open(file: &Path, clock: Arc<dyn Clock>, runtime: &tokio::runtime::Runtime) -> Service {
    let config = serde_json::from_value(json!({ "deploymentFile": file })).unwrap();
    Service::open(&config, clock, runtime.handle().clone()).unwrap()
}

/// Where tests of user stores find the source: a variable of this name says `pipe` where a helper is to read it.
const OVER: &str = "CSBACKUP_TEST_OVER";

/// A user store and its copy. With `CSBACKUP_TEST_OVER=pipe` the store is read by the real helper, in a process of its own.
pub fn page_pair(config: &UserStoreConfig, standby: &Path, patience: Duration) -> PagePair {
    if std::env::var_os(OVER).is_none_or(|over| over != "pipe") {
        return PagePair::new(config, standby, patience).unwrap();
    }
    let source = PathBuf::from(config.url.to_string().split_once(':').unwrap().1);
    let at = Reach::There(helper(source.parent().unwrap()));
    PagePair::between((config, &at), (&database_url(standby), &Reach::Here), patience).unwrap()
}

/// The real helper, at a folder of this machine, which remembers things beside it.
pub fn helper(root: &Path) -> Arc<RemotePlace> {
    let text = |path: &Path| path.to_str().unwrap().to_owned();
    let root = root.canonicalize().unwrap();
    let state = root.with_extension("state");
    let arguments = [
        env!("CARGO_BIN_EXE_csb-serve"),
        "--root",
        &text(&root),
        "--pool",
        "atl.example.com",
        "--partner",
        "chi.example.com",
        "--grant",
        "read",
        "--state",
        &text(&state),
    ];
    let route = Route::Command(arguments.map(str::to_owned).into());
    let pool = PoolFqdn::parse("atl.example.com").unwrap();
    RemotePlace::new(pool, route, root, "pipe:csb-serve".to_owned())
}

/// The URL of a database file.
pub fn database_url(path: &Path) -> StoreUrl {
    StoreUrl::try_from(format!("sqlite:{}", path.display())).unwrap()
}

pub fn server(path: &Path) -> Connection {
    let connection = Connection::open(path).unwrap();
    connection.busy_timeout(Duration::from_secs(10)).unwrap();
    connection
}

/// Sends a request as it crosses the C ABI.
pub fn ask(service: &Service, request: Value) -> Result<Value> {
    service.request(serde_json::from_value::<Request>(request).unwrap())
}

/// Options with the pool added.
pub fn with_pool(pool: &str, mut options: Value) -> Value {
    options["poolFqdn"] = json!(pool);
    options
}

pub fn try_start(service: &Service, job: &str, mut request: Value) -> Result<u64> {
    request["job"] = json!(job);
    service.start(serde_json::from_value(request).unwrap())
}

pub fn start(service: &Service, job: &str, request: Value) -> u64 {
    try_start(service, job, request).unwrap()
}

pub fn start_backup(service: &Service, request: Value) -> u64 {
    start(service, "backup", request)
}

pub fn run_backup(service: &Service, request: Value) -> Ended {
    let handle = start_backup(service, request);
    ended(service, handle)
}

/// A job that has ended.
#[derive(Debug)]
pub struct Ended {
    pub report: Report,
    pub events: Vec<Event>,
}

impl Ended {
    /// The row of a module in the direction away from the pool.
    pub fn module(&self, name: &str) -> &ModuleReport {
        self.report.modules.iter().find(|module| module.module == name).unwrap()
    }

    /// The row of a module towards the partner.
    pub fn given_back(&self, name: &str) -> &ModuleReport {
        let is_of = |module: &&ModuleReport| module.module == name && module.purpose == "carryBack";
        self.report.modules.iter().find(is_of).unwrap()
    }

    /// What the plan says of the step with this id.
    pub fn note(&self, id: &str) -> Option<&str> {
        let planned = self.report.plan.steps.iter().find(|step| step.id == id);
        planned.unwrap_or_else(|| panic!("{id} is not planned: {:#?}", self.report.plan)).note.as_deref()
    }

    pub fn outcome_of(&self, name: &str) -> Outcome {
        self.module(name).outcome
    }

    /// How often each module was tried again.
    pub fn retries_of(&self, name: &str) -> usize {
        let of_module = |event: &&Event| matches!(&event.kind, EventKind::Retrying { module: Some(module), .. } if module == name);
        self.events.iter().filter(of_module).count()
    }

    /// The ids of the steps that ran.
    pub fn ran(&self) -> Vec<&str> {
        let ran = self.report.steps.iter().filter(|step| step.started_at.is_some());
        ran.map(|step| step.id.as_str()).collect()
    }

    /// The only error of the job itself.
    pub fn error(&self) -> &Error {
        assert_eq!(self.report.errors.len(), 1, "{:#?}", self.report);
        &self.report.errors[0]
    }

    #[track_caller]
    pub fn expect(self, outcome: Outcome) -> Self {
        assert_eq!(self.report.outcome, outcome, "{:#?}", self.report);
        self
    }
}

/// Waits until an event of a job fits, and says which one.
pub fn wait_for(service: &Service, handle: u64, fits: impl Fn(&EventKind) -> bool) -> Event {
    let deadline = Instant::now() + PATIENCE;
    let mut after = 0;
    loop {
        let told = service.poll(handle, after, Duration::from_secs(5)).unwrap();
        if let Some(event) = told.events.iter().find(|event| fits(&event.kind)) {
            return event.clone();
        }
        assert!(!told.events.iter().any(is_end), "the job ended without it: {:#?}", told.events);
        assert!(Instant::now() < deadline, "nothing came: {told:#?}");
        after = told.last_seq;
    }
}

fn is_end(event: &Event) -> bool {
    matches!(event.kind, EventKind::Finished { .. })
}

/// What happens at once takes no longer: a job in another process looks every tenth of a second whether it is to stop.
const AT_ONCE: Duration = Duration::from_millis(300);

/// Looks until it happens at once, five times at most: other tests run beside this one, and take the processor now and then. The
/// shortest time that it took.
pub fn soonest(what: &str, mut look: impl FnMut() -> Duration) -> Duration {
    let mut seen = Vec::new();
    while seen.len() < 5 {
        let took = look();
        if took < AT_ONCE {
            return took;
        }
        seen.push(took);
    }
    panic!("{what} does not end at once: {seen:?}");
}

/// Waits for the end of a job and checks what holds for every job, however it ended.
#[track_caller]
pub fn ended(service: &Service, handle: u64) -> Ended {
    let deadline = Instant::now() + PATIENCE;
    let mut events: Vec<Event> = Vec::new();
    while !events.last().is_some_and(is_end) {
        assert!(Instant::now() < deadline, "the job does not end: {events:#?}");
        let after = events.last().map_or(0, |event| event.seq);
        events.extend(service.poll(handle, after, Duration::from_secs(5)).unwrap().events);
    }
    let told = service.poll(handle, 0, Duration::ZERO).unwrap();
    assert_eq!(told.events.iter().filter(|event| is_end(event)).count(), 1, "{told:#?}");
    assert!(is_end(told.events.last().unwrap()), "something follows the end: {told:#?}");
    assert!(matches!(told.events[0].kind, EventKind::Started { .. }), "{told:#?}");
    assert!(events.is_sorted_by(|a, b| a.seq < b.seq));
    let report = service.report(handle).unwrap();
    let EventKind::Finished { outcome, .. } = told.events.last().unwrap().kind else { panic!("{told:#?}") };
    assert_eq!(outcome, report.outcome);
    assert_eq!(told.state, report.outcome.name());
    let started = steps(&told.events, |kind| match kind {
        EventKind::StepStarted { step, .. } => Some(step),
        _ => None,
    });
    let finished = steps(&told.events, |kind| match kind {
        EventKind::StepFinished { step, .. } => Some(step),
        _ => None,
    });
    assert_eq!(started, finished);
    let ran = |step: &&StepReport| step.started_at.is_some();
    let reported: Vec<&String> = report.steps.iter().filter(ran).map(|step| &step.id).collect();
    assert_eq!(started, reported);
    // A job that was to do its plan tells of every step what became of it.
    if !report.what_if {
        let planned: Vec<&String> = report.plan.steps.iter().map(|step| &step.id).collect();
        assert_eq!(planned, report.steps.iter().map(|step| &step.id).collect::<Vec<_>>());
    }
    for step in report.steps.iter().filter(|step| step.started_at.is_none()) {
        assert_eq!(step.outcome, Outcome::Skipped, "{step:#?}");
    }
    let retries = told.events.iter().filter(|event| matches!(event.kind, EventKind::Retrying { .. })).count();
    assert!(report.retries as usize >= retries);
    // The same report is found by id; a plan that was only looked at leaves no record.
    let by_id = ask(service, json!({ "request": "getReport", "jobId": report.job_id })).unwrap();
    assert_eq!(serde_json::from_value::<Report>(by_id).unwrap(), report);
    Ended { report, events }
}

fn steps(events: &[Event], step: impl Fn(&EventKind) -> Option<&String>) -> Vec<&String> {
    events.iter().filter_map(|event| step(&event.kind)).collect()
}

/// What is compared of a tree: a file's bytes and modification time, and the permission bits of files and folders.
pub type Tree = BTreeMap<PathBuf, (Option<(Vec<u8>, i64, i64)>, u32)>;

/// Every file and folder below a folder.
pub fn tree(root: &Path) -> Tree {
    let mut found = BTreeMap::new();
    let mut next = vec![root.to_owned()];
    while let Some(folder) = next.pop() {
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let meta = std::fs::symlink_metadata(&path).unwrap();
            let file =
                meta.is_file().then(|| (std::fs::read(&path).unwrap(), meta.mtime(), meta.mtime_nsec()));
            found.insert(path.strip_prefix(root).unwrap().to_owned(), (file, meta.mode() & 0o7777));
            if meta.is_dir() {
                next.push(path);
            }
        }
    }
    found
}

/// [`tree`] of a content store without what the product keeps there.
pub fn content(root: &Path) -> Tree {
    let mut found = tree(root);
    found.retain(|path, _| !path.starts_with(".csb"));
    found
}

/// Temporary files of the product, of any kind.
pub fn leftovers(root: &Path) -> Vec<PathBuf> {
    let is_leftover = |path: &PathBuf| {
        let name = path.file_name().unwrap().to_string_lossy();
        name.contains(".csb-new")
            || path.parent().is_some_and(|folder| folder.to_string_lossy().ends_with(".sqlite.csb"))
                && name == "new"
            || name.ends_with(".tmp")
            || name.ends_with(".cancel")
            || path.parent().is_some_and(|folder| folder.ends_with(".csb/tmp"))
    };
    tree(root).into_keys().filter(is_leftover).collect()
}

/// Tables that travel.
fn tables(connection: &Connection, schema: &str) -> Vec<String> {
    connection
        .prepare(&format!(
            "SELECT name FROM {schema}.sqlite_schema WHERE type = 'table' AND name NOT LIKE 'csb\\_%' ESCAPE '\\'
             AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' AND name NOT LIKE 'session\\_%' ESCAPE '\\' ORDER BY name"
        ))
        .unwrap()
        .query_map([], |row| row.get(0))
        .unwrap()
        .collect::<rusqlite::Result<_>>()
        .unwrap()
}

/// A reader of a database who is in the middle of it until the connection is dropped.
pub fn reading(path: &Path) -> Connection {
    let reader = server(path);
    reader.execute_batch("BEGIN; SELECT count(*) FROM sqlite_schema").unwrap();
    reader
}

/// Compares two user stores row by row, both ways.
#[track_caller]
pub fn assert_rows_equal(active: &Path, standby: &Path) {
    let connection = server(active);
    assert!(standby.exists(), "there is no {}", standby.display());
    connection.execute("ATTACH ?1 AS standby", [standby.to_str().unwrap()]).unwrap();
    let names = tables(&connection, "main");
    assert!(!names.is_empty());
    assert_eq!(names, tables(&connection, "standby"));
    for table in names {
        let count = |sql: &str| -> i64 { connection.query_row(sql, [], |row| row.get(0)).unwrap() };
        for (a, b) in [("main", "standby"), ("standby", "main")] {
            let missing = count(&format!(
                "SELECT count(*) FROM (SELECT * FROM {a}.\"{table}\" EXCEPT SELECT * FROM {b}.\"{table}\")"
            ));
            assert_eq!(missing, 0, "rows of {table} in {a} that {b} lacks");
        }
        // EXCEPT takes equal rows for one.
        let rows = |schema: &str| count(&format!("SELECT count(*) FROM {schema}.\"{table}\""));
        assert_eq!(rows("main"), rows("standby"), "{table}");
    }
}

/// The example `backup_once`, built as this test was.
pub fn backup_once() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        let test = std::env::current_exe().unwrap();
        let profile = test.ancestors().nth(2).unwrap();
        // `cargo test --test integration` builds no examples, and one that lies there may be an old one.
        if let Some(cargo) = std::env::var_os("CARGO") {
            let mut build = Command::new(cargo);
            build.args(["build", "--quiet", "--offline", "--example", "backup_once", "--target-dir"]);
            build.arg(profile.parent().unwrap()).current_dir(env!("CARGO_MANIFEST_DIR"));
            if !cfg!(debug_assertions) {
                build.arg("--release");
            }
            assert!(build.status().unwrap().success(), "the example backup_once cannot be built");
        }
        profile.join("examples/backup_once")
    })
}

/// A backup in a process of its own.
pub struct Child {
    process: std::process::Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Child {
    pub fn backup(deployment: &Deployment, pool: &str) -> Self {
        Self::run(Command::new(backup_once()).arg(deployment.deployment_file()).arg(pool))
    }

    /// A synchronization with these options, a JSON object.
    pub fn sync(deployment: &Deployment, pool: &str, options: &str) -> Self {
        Self::run(
            Command::new(backup_once()).arg("--sync").arg(deployment.deployment_file()).args([pool, options]),
        )
    }

    fn run(command: &mut Command) -> Self {
        let mut process = command.stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(process.stdout.take().unwrap()).lines();
        Child { process, lines }
    }

    /// Reads what the child prints until a line begins with this, and returns the rest of that line.
    pub fn wait_for(&mut self, beginning: &str) -> String {
        let found =
            self.lines.by_ref().find_map(|line| Some(line.unwrap().strip_prefix(beginning)?.to_owned()));
        found.unwrap_or_else(|| panic!("the child ended without saying {beginning:?}"))
    }

    pub fn process_id(&self) -> u32 {
        self.process.id()
    }

    /// `SIGKILL`, and whether that came before its end.
    pub fn kill(mut self) -> bool {
        self.process.kill().unwrap();
        !self.process.wait().unwrap().success()
    }

    /// `SIGKILL`, and the last thing that it said.
    pub fn kill_and_tell(mut self) -> String {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
        let mut said: Vec<String> = self.lines.by_ref().map_while(std::io::Result::ok).collect();
        assert!(!said.iter().any(|line| line.starts_with("Failed")), "it failed by itself: {said:#?}");
        let last = said.pop().unwrap_or_else(|| "nothing more".to_owned());
        // Job ids would make each of them another one.
        last.split(' ').filter(|word| uuid::Uuid::parse_str(word).is_err()).collect::<Vec<_>>().join(" ")
    }

    /// Waits for its end: whether everything was copied.
    pub fn end(mut self) -> bool {
        self.process.wait().unwrap().success()
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // A test that fails must not leave somebody who writes to where the next one works.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Tells a thread to stop when it goes out of scope, so that a test that fails ends instead of waiting for that thread.
pub struct StopOnDrop<'a>(pub &'a AtomicBool);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
