//! What a kill or a power cut left of a copy, looked at before anything heals it: by a reader, as a status, as a restore, as a server that the
//! copy was given to, and by the next job. Each look has a copy of its own, so that none heals what another one is to see.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use cs_backup::error::ErrorKind;
use cs_backup::platform::FileStat;
use cs_backup::store::user::pages::PagePair;
use cs_backup::store::user::{PairOutcome, UserStorePair, Work};
use cs_backup::store::{Generation, Until};
use cs_backup::topology::UserStoreConfig;
use jiff::{SignedDuration, Timestamp};
use rusqlite::{Connection, ErrorCode, OpenFlags};
use serde_json::Value;
use tokio_util::sync::CancellationToken;
use xxhash_rust::xxh3::xxh3_64;

use crate::pages::LEDGER;
use crate::support::database_url;
use crate::user_store::{assert_fenced, blank, pages_of_source, pages_of_standby, work};

/// A state that the source had.
pub struct Known {
    pub revision: u32,
    /// Its pages, without what a copy has of its own.
    content: Vec<u8>,
    rows: String,
}

impl Known {
    pub fn rows(&self) -> &str {
        &self.rows
    }

    pub fn content(&self) -> &[u8] {
        &self.content
    }

    /// A database that servers can write to has the pages of this state.
    #[track_caller]
    pub fn assert_is(&self, database: &Path, context: &str) {
        let mut content = std::fs::read(database).unwrap();
        blank(&mut content);
        assert!(content == self.content, "{context}: other pages than in revision {}", self.revision);
    }
}

/// A source, its copy, and what both held so far.
pub struct Story {
    folder: tempfile::TempDir,
    start: Timestamp,
    pub known: Vec<Known>,
}

/// What may be seen: the last state but one that is known, the last one, or either.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum May {
    Either,
    New,
}

/// What is to be found in what was left.
pub struct Expected {
    pub may: May,
    /// Whether there was no copy before the import.
    pub is_first: bool,
    /// Revisions that are listed while the copy is in the state before the import.
    pub before: Vec<u32>,
    /// Those that are listed at the end of an import that nobody disturbed.
    pub after: Vec<u32>,
    pub generation: i64,
    /// Whether what is remembered of the copy is believed as far as its times go, whatever file they were of.
    pub times_lie: bool,
}

/// Everything that a server has in its tables, as one text.
const ROWS: &str = "SELECT (SELECT n FROM turn) || ' ' || count(*) || ' ' || sum(amount) || ' ' || sum(id * length(note)) || ' '
    || sum(id * unicode(hex(note))) FROM account";

impl Story {
    pub fn new() -> Self {
        let folder = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
        for name in ["atl", "chi"] {
            std::fs::create_dir(folder.path().join(name)).unwrap();
        }
        let story =
            Story { folder, start: Timestamp::now() - SignedDuration::from_hours(12), known: Vec::new() };
        story.change(LEDGER);
        story.change("CREATE TABLE sparse (id INTEGER PRIMARY KEY, x BLOB)");
        story.fill_sparse("41");
        story
    }

    pub fn root(&self) -> &Path {
        self.folder.path()
    }

    pub fn source(&self) -> PathBuf {
        self.root().join("atl/users.sqlite")
    }

    /// The folder of the copy.
    pub fn place(&self) -> PathBuf {
        self.root().join("chi")
    }

    pub fn change(&self, sql: &str) {
        Connection::open(self.source()).unwrap().execute_batch(sql).unwrap();
    }

    /// Writes pages of which a journal's checksums do not tell whether they are whole: in one of these rows the bytes that are looked at are
    /// zero, and every sector has others.
    pub fn fill_sparse(&self, byte: &str) {
        for row in 0..4 {
            let four: String = (0..4).map(|place| if place == row { "00" } else { byte }).collect();
            let blob = four.repeat(1_500);
            self.change(&format!("INSERT OR REPLACE INTO sparse VALUES ({row}, x'{blob}')"));
        }
    }

    pub fn time(&self, seconds: i64) -> Timestamp {
        self.start + SignedDuration::from_secs(seconds)
    }

    /// Remembers the state that the source has now, which the copy will have with the next number or has already.
    pub fn know(&mut self, revision: u32) {
        let source = self.source();
        self.known.push(Known { revision, content: pages_of_source(&source), rows: rows(&source).unwrap() });
    }

    /// Copies the source in this process, and remembers its state.
    pub fn sync(&mut self, generation: i64, seconds: i64) {
        let pair = pair(&self.source(), &self.place());
        run(&pair, generation, self.time(seconds)).unwrap();
        self.know(pair.states().unwrap()[0].revision);
    }

    /// What the copy's states are called, the newest first.
    pub fn listed(&self) -> Vec<u32> {
        revisions(&pair(&self.source(), &self.place()))
    }
}

/// The copy in a folder.
pub fn copy_in(place: &Path) -> PathBuf {
    place.join("atl.sqlite")
}

pub fn beside(path: &Path, suffix: &str) -> PathBuf {
    PathBuf::from(format!("{}{suffix}", path.display()))
}

pub fn pair(source: &Path, place: &Path) -> PagePair {
    let config = UserStoreConfig::new(database_url(source));
    crate::support::page_pair(&config, &copy_in(place), Duration::from_secs(5))
}

pub fn run(pair: &PagePair, generation: i64, now: Timestamp) -> cs_backup::error::Result<PairOutcome> {
    let cancel = CancellationToken::new();
    pair.synchronize(&Work { now, ..work(&cancel, generation) })
}

fn revisions(pair: &PagePair) -> Vec<u32> {
    pair.states().unwrap().iter().map(|state| state.revision).collect()
}

/// Everything that a server has in its tables, of a database that is sound.
pub fn rows(path: &Path) -> rusqlite::Result<String> {
    rows_of(&Connection::open(path)?)
}

fn rows_of(reader: &Connection) -> rusqlite::Result<String> {
    let check: String = reader.query_row("PRAGMA integrity_check", [], |row| row.get(0))?;
    assert_eq!(check, "ok");
    reader.query_row(ROWS, [], |row| row.get(0))
}

/// Copies what there is of the copy in a folder. What was remembered of the copy in it holds for the new file as well: this one stands for the other.
pub fn copy_folder(from: &Path, to: &Path) {
    copy_files(from, to);
    let (was, is) = (copy_in(from), copy_in(to));
    let held =
        |state: &Value| FileStat::of(&was).is_some_and(|look| state["standby"] == serde_json::json!(look));
    believe(&is, held);
}

fn copy_files(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).into_iter().flatten().map(|entry| entry.unwrap()) {
        if entry.file_name().to_string_lossy().starts_with("atl.sqlite") {
            copy_all(&entry.path(), &to.join(entry.file_name()));
        }
    }
}

fn copy_all(from: &Path, to: &Path) {
    if !from.is_dir() {
        std::fs::copy(from, to).unwrap();
        return;
    }
    std::fs::create_dir(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().map(|entry| entry.unwrap()) {
        copy_all(&entry.path(), &to.join(entry.file_name()));
    }
}

/// Makes what is remembered of a copy fit its file wherever the size does: after a cut its times may be those of before.
pub fn lie(place: &Path) {
    let copy = copy_in(place);
    let size = std::fs::metadata(&copy).map(|it| it.len()).ok();
    believe(&copy, |state| state["standby"]["size"].as_u64() == size);
}

/// Makes what is remembered of a copy fit its file as it lies there, where the caller says so.
pub fn believe(copy: &Path, is_so: impl FnOnce(&Value) -> bool) {
    let path = beside(copy, ".csb/state");
    let (Ok(mut bytes), Some(look)) = (std::fs::read(&path), FileStat::of(copy)) else { return };
    let Some(length) = bytes.get(8..12).map(|length| u32::from_le_bytes(length.try_into().unwrap()) as usize)
    else {
        return;
    };
    let Some(text) = bytes.get(16..16 + length) else { return };
    let is_whole = bytes[12..16] == (xxh3_64(text) as u32).to_le_bytes();
    let Some(mut state) = serde_json::from_slice::<Value>(text).ok().filter(|state| is_whole && is_so(state))
    else {
        return;
    };
    state["standby"] = serde_json::json!(look);
    let born = std::fs::metadata(copy).unwrap().created().ok();
    state["born"] = serde_json::json!(born.map(|born| Timestamp::try_from(born).unwrap()));
    let text = serde_json::to_vec(&state).unwrap();
    bytes[8..12].copy_from_slice(&(text.len() as u32).to_le_bytes());
    bytes[12..16].copy_from_slice(&(xxh3_64(&text) as u32).to_le_bytes());
    bytes.resize(bytes.len().max(8_192), 0);
    bytes[16..8_192].fill(0);
    bytes[16..16 + text.len()].copy_from_slice(&text);
    std::fs::write(path, bytes).unwrap();
}

/// What an account sees that may only read what was left.
pub struct Others {
    folder: tempfile::TempDir,
    /// For each: what may be seen, and whether it lies there without a journal.
    expected: Vec<(Vec<String>, bool, String)>,
}

const READERS: &str = "CSB_TEST_ORDINARY_READERS";
const NOBODY: u32 = 65_534;

impl Others {
    pub fn new() -> Self {
        Others { folder: tempfile::tempdir().unwrap(), expected: Vec::new() }
    }

    fn add(&mut self, left: &Path, may: Vec<String>, context: &str) {
        let to = self.folder.path().join(self.expected.len().to_string());
        copy_files(left, &to);
        self.expected.push((may, !beside(&copy_in(left), "-journal").exists(), context.to_owned()));
    }

    /// Reads everything that was left as another account, in a process that runs this test, and compares.
    pub fn look(self, test: &str) {
        if !rustix::process::geteuid().is_root() {
            return eprintln!("not looked at as another account: only root can");
        }
        let open = |path: &Path, mode| {
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap()
        };
        open(self.folder.path(), 0o755);
        for number in 0..self.expected.len() {
            let place = self.folder.path().join(number.to_string());
            open(&place, 0o755);
            for entry in std::fs::read_dir(&place).unwrap().map(|entry| entry.unwrap()) {
                open(&entry.path(), if entry.file_type().unwrap().is_dir() { 0o700 } else { 0o644 });
            }
        }
        let mut child = std::process::Command::new("/proc/self/exe");
        child.args(["--exact", test, "--nocapture"]).env(READERS, self.folder.path());
        let done = std::os::unix::process::CommandExt::uid(&mut child, NOBODY)
            .env("TMPDIR", "/tmp")
            .output()
            .unwrap();
        let said = String::from_utf8(done.stderr).unwrap();
        let seen: Vec<&str> =
            said.lines().filter_map(|line| line.split_once("seen ").map(|(_, seen)| seen)).collect();
        assert_eq!(seen.len(), 2 * self.expected.len(), "{said}");
        let mut refused = 0;
        for (seen, (may, is_quiet, context)) in seen.chunks(2).zip(&self.expected) {
            for seen in seen {
                let is_refused = *seen == "nothing";
                assert!(
                    may.iter().any(|rows| rows == seen) || (is_refused && !is_quiet),
                    "{context}: {seen}"
                );
                refused += usize::from(is_refused);
            }
        }
        eprintln!(
            "as an account that may only read: {} looks, {refused} of them refused",
            2 * self.expected.len()
        );
    }
}

/// What the process does that has another account; false where this is not that one.
pub fn is_another_account() -> bool {
    let Some(folder) = std::env::var_os(READERS) else { return false };
    let places = (0..).map(|number| Path::new(&folder).join(i32::to_string(&number)));
    for place in places.take_while(|place| place.exists()) {
        for flags in [OpenFlags::SQLITE_OPEN_READ_ONLY, OpenFlags::SQLITE_OPEN_READ_WRITE] {
            match Connection::open_with_flags(copy_in(&place), flags).and_then(|reader| rows_of(&reader)) {
                Ok(rows) => eprintln!("\nseen {rows}"),
                Err(cause) => eprintln!("\n{cause}\nseen nothing"),
            }
        }
    }
    true
}

/// Looks at what was left in a folder, in every way, and lets the next job go over it in the end. Which of the known states it was; none
/// where there was no copy.
#[track_caller]
pub fn look(
    story: &Story,
    left: &Path,
    expected: &Expected,
    others: &mut Others,
    context: &str,
) -> Option<usize> {
    let scratch = tempfile::tempdir_in(story.root()).unwrap();
    let again = |name: &str| {
        let to = scratch.path().join(name);
        copy_folder(left, &to);
        if expected.times_lie {
            lie(&to);
        }
        to
    };
    if expected.times_lie {
        lie(left);
    }
    let seen = read(story, &again("reader"), expected, context);
    if seen.is_some() {
        let last = story.known.len().saturating_sub(2);
        others.add(left, story.known[last..].iter().map(|known| known.rows.clone()).collect(), context);
    }
    status(story, &again("status"), seen, context);
    plan(story, &again("plan"), seen, expected, context);
    restore(story, &again("restore"), seen, expected, context);
    promote(story, &again("promoted"), seen, expected, context);
    fail_over(story, &again("failed-over"), seen, expected, context);
    go_on(story, left, seen, expected, context);
    seen
}

/// As readers, with the fence on: first one that may not write, then one that heals.
fn read(story: &Story, place: &Path, expected: &Expected, context: &str) -> Option<usize> {
    let copy = copy_in(place);
    let new = story.known.len() - 1;
    if !copy.exists() {
        assert!(expected.is_first && expected.may == May::Either, "the copy is gone: {context}");
        return None;
    }
    let is_hot = beside(&copy, "-journal").exists();
    let reader = Connection::open_with_flags(&copy, OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
    let first = rows_of(&reader);
    drop(reader);
    let healed = rows(&copy).unwrap_or_else(|cause| panic!("{context}: {cause}"));
    let seen = story.known.iter().rposition(|known| known.rows == healed);
    let seen = seen.unwrap_or_else(|| panic!("{context}: no state that was: {healed}"));
    match first {
        Ok(first) => assert_eq!(first, healed, "{context}"),
        Err(cause) => {
            assert!(is_hot, "{context}: {cause}");
            let code = cause.sqlite_error_code();
            assert!(matches!(code, Some(ErrorCode::ReadOnly | ErrorCode::CannotOpen)), "{context}: {cause}");
        }
    }
    let is_old = !expected.is_first && seen + 1 == new && expected.may == May::Either;
    assert!(seen == new || is_old, "{context}: state {seen} of {new}");
    assert!(
        pages_of_standby(&copy) == story.known[seen].content,
        "{context}: other pages than in state {seen}"
    );
    assert_fenced(&copy);
    Some(seen)
}

fn status(story: &Story, place: &Path, seen: Option<usize>, context: &str) {
    let told = pair(&story.source(), place).observe(&CancellationToken::new());
    let told = told.unwrap_or_else(|error| panic!("{context}: {error:?}"));
    assert_eq!(told.refused, None, "{context}");
    assert_eq!(told.initialized, seen.is_some(), "{context}: {told:?}");
    let revision = seen.map(|seen| story.known[seen].revision);
    assert!(seen.is_none() || told.revision == revision, "{context}: {told:?}, not {revision:?}");
    // That nothing is left to do is said of the new state only.
    assert!(told.pending > 0 || seen == Some(story.known.len() - 1), "{context}: {told:?}");
}

/// As a dry run, which writes nothing and heals nothing.
fn plan(story: &Story, place: &Path, seen: Option<usize>, expected: &Expected, context: &str) {
    let listed = || crate::support::tree(place);
    let (before, cancel) = (listed(), CancellationToken::new());
    let told = pair(&story.source(), place)
        .plan(&Work { now: Timestamp::now(), ..work(&cancel, expected.generation) });
    let told = told.unwrap_or_else(|error| panic!("{context}: {error:?}"));
    let is_new = seen == Some(story.known.len() - 1);
    assert_eq!(told.moved.is_nothing(), is_new, "{context}: {told:?}");
    assert!(listed() == before, "{context}");
}

fn restore(story: &Story, place: &Path, seen: Option<usize>, expected: &Expected, context: &str) {
    let pair = pair(&story.source(), place);
    let listed = revisions(&pair);
    let Some(seen) = seen else { return };
    let new = story.known.len() - 1;
    assert_eq!(listed.first(), Some(&story.known[seen].revision), "{context}: {listed:?}");
    let wanted = if seen == new { &expected.after } else { &expected.before };
    assert!(wanted.iter().all(|revision| listed.contains(revision)), "{context}: {listed:?}, not {wanted:?}");
    for revision in listed {
        let to = beside(&copy_in(place), &format!(".restored-{revision}"));
        let done =
            pair.restore_state(revision, &to, Generation(expected.generation), &CancellationToken::new());
        done.unwrap_or_else(|error| panic!("{context}: revision {revision}: {error:?}"));
        let known = story.known.iter().rfind(|known| known.revision == revision);
        let known = known.unwrap_or_else(|| panic!("{context}: nobody knows revision {revision}"));
        known.assert_is(&to, context);
    }
}

/// The fence is lifted, and a server writes.
fn promote(story: &Story, place: &Path, seen: Option<usize>, expected: &Expected, context: &str) {
    let pair = pair(&story.source(), place);
    if seen == Some(story.known.len() - 1) {
        let older = run(&pair, expected.generation - 1, Timestamp::now());
        assert_eq!(older.map_err(|error| error.kind), Err(ErrorKind::Fenced), "{context}");
    }
    take_away(&pair, place, context);
    if let Some(seen) = seen {
        written_to(story, place, seen, context);
    }
}

/// It becomes what servers write to, with its states.
fn fail_over(story: &Story, place: &Path, seen: Option<usize>, expected: &Expected, context: &str) {
    let pair = pair(&story.source(), place);
    let before = revisions(&pair);
    let done = pair.promote(Generation(expected.generation), &Until::within(Duration::from_secs(5)));
    let Some(seen) = seen else {
        return assert!(done.is_err(), "{context}: promoted what was not there");
    };
    done.unwrap_or_else(|error| panic!("{context}: {error:?}"));
    let after = revisions(&pair);
    assert!(before.iter().all(|revision| after.contains(revision)), "{context}: {after:?}, not {before:?}");
    written_to(story, place, seen, context);
}

/// What was left while everything was taken away is so again, and the copy is the last state that is known.
pub fn given_up(story: &Story, place: &Path, context: &str) {
    let pair = pair(&story.source(), place);
    take_away(&pair, place, context);
    // A note says that it was a copy: a later backup takes it over.
    let outcome = run(&pair, 100, Timestamp::now()).unwrap_or_else(|error| panic!("{context}: {error:?}"));
    assert_eq!((outcome.moved.items_deleted, outcome.warnings), (0, Vec::new()), "{context}");
    assert_fenced(&copy_in(place));
    take_away(&pair, place, context);
    written_to(story, place, story.known.len() - 1, context);
}

fn take_away(pair: &PagePair, place: &Path, context: &str) {
    pair.remove_traces(false, &Default::default()).unwrap_or_else(|error| panic!("{context}: {error:?}"));
    let left = std::fs::read_dir(beside(&copy_in(place), ".csb")).into_iter().flatten();
    let left: Vec<_> = left.map(|entry| entry.unwrap().file_name()).filter(|name| name != "former").collect();
    assert!(left.is_empty(), "{context}: {left:?}");
}

/// A server writes to what was a copy.
pub fn written_to(story: &Story, place: &Path, seen: usize, context: &str) {
    let copy = copy_in(place);
    assert!(!beside(&copy, "-journal").exists(), "{context}");
    assert!(
        pages_of_standby(&copy) == story.known[seen].content,
        "{context}: other pages than in state {seen}"
    );
    let server = Connection::open(&copy).unwrap();
    assert_eq!(rows_of(&server).unwrap(), story.known[seen].rows, "{context}");
    server.execute_batch("UPDATE turn SET n = n + 100; UPDATE account SET note = randomblob(600)").unwrap();
    drop(server);
    rows(&copy).unwrap();
}

/// The next job.
fn go_on(story: &Story, place: &Path, seen: Option<usize>, expected: &Expected, context: &str) {
    let (source, copy) = (story.source(), copy_in(place));
    let next = pair(&source, place);
    let outcome = run(&next, expected.generation + 1, Timestamp::now());
    let outcome = outcome.unwrap_or_else(|error| panic!("{context}: {error:?}"));
    assert_eq!(outcome.warnings, Vec::<String>::new(), "{context}");
    let new = &story.known[story.known.len() - 1];
    assert!(
        pages_of_standby(&copy) == new.content,
        "{context}: seen {seen:?}, then other pages than its source"
    );
    assert_fenced(&copy);
    assert_eq!(rows(&copy).unwrap(), new.rows, "{context}");
    let again = run(&next, expected.generation + 1, Timestamp::now()).unwrap();
    assert!(again.moved.is_nothing(), "{context}: {again:?}");
    for name in ["-journal", "-wal", "-shm", "-mj0123AB9CD", ".csb/new"] {
        assert!(!beside(&copy, name).exists(), "{context}: {name}");
    }
    // What was half merged goes with the next run that is more than a look.
    let cancel = CancellationToken::new();
    next.synchronize(&Work { verify: true, ..work(&cancel, expected.generation + 1) }).unwrap();
    let history = std::fs::read_dir(beside(&copy, ".csb/history")).into_iter().flatten();
    let half: Vec<PathBuf> =
        history.map(|entry| entry.unwrap().path()).filter(|path| path.extension().is_some()).collect();
    assert_eq!(half, Vec::<PathBuf>::new(), "{context}");
}
