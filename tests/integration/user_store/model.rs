//! Random servers, runs, deaths, upgrades, restores and meddling, against the server's database in memory.
//!
//! After every step the standby is a state that the source had, and after every run that ends well it is the source.
//! An earlier state that is restored is the one that the standby was in. `CSB_MODEL_CASES` says how many stories of a hundred steps are played; each one that fails is told as short as it can be.

mod look;
mod server;
mod steps;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;

use crate::support::database_url;
use cs_backup::error::{ErrorKind, Result};
use cs_backup::module::Progress;
use cs_backup::store::Generation;
use cs_backup::store::user::pages::PagePair;
use cs_backup::store::user::{PairOutcome, UserStorePair, Work};
use cs_backup::topology::UserStoreConfig;
use jiff::Timestamp;
use proptest::test_runner::Config;
use proptest_state_machine::{StateMachineTest, prop_state_machine};
use rusqlite::Connection;
use rusqlite::config::DbConfig;
use tokio_util::sync::CancellationToken;

use self::look::{Copy, Look, Rows};
use self::server::{Contents, SCHEMA, Write};
use self::steps::{Death, Expected, Loss, Step, Steps};

/// How many stories of each kind are played where nobody says otherwise.
const CASES: u32 = 60;
/// Steps in a story.
const STEPS: usize = 100;

/// A pair of stores, and a server that begins with this journal, and may wait for locks.
struct World<const WAL: bool, const WAITS: bool> {
    folder: tempfile::TempDir,
    pair: PagePair,
    /// The server's connection, with SQLite's own defaults. None while the database is moved.
    server: Option<Connection>,
    source: RefCell<Look>,
    copy: RefCell<Copy>,
    generation: i64,
    /// What the standby held after the last step that may touch it.
    standby: Rows,
    /// How often it was changed, as its header says; it only grows.
    revision: u32,
    /// The generation that the last run noted.
    noted: i64,
    /// Whether somebody else has taken the fence away since.
    is_lifted: bool,
    /// Whether what is remembered of the standby was lost since.
    is_forgotten: bool,
    /// What the standby held by its number, since nobody else wrote to it.
    states: BTreeMap<u32, Rows>,
}

/// What a run may have seen and how it ended.
struct Ran {
    result: Result<PairOutcome>,
    /// The source as it was before the run and after each write during it.
    states: Vec<Rows>,
}

impl<const WAL: bool, const WAITS: bool> World<WAL, WAITS> {
    fn new() -> Self {
        // In memory, where there is such a place: these stories are about order, not about disks.
        let memory = Path::new("/dev/shm");
        let folder =
            if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() }.unwrap();
        let source = folder.path().join("users.sqlite");
        let server = open_server(&source);
        server
            .execute_batch(if WAL { "PRAGMA journal_mode = WAL" } else { "PRAGMA journal_mode = DELETE" })
            .unwrap();
        server.execute_batch(SCHEMA).unwrap();
        let mut config = UserStoreConfig::new(database_url(&source));
        config.server_waits = WAITS;
        let pair = crate::support::page_pair(&config, &folder.path().join("standby.sqlite"), super::PATIENCE);
        let copy = Copy::at(&folder.path().join("standby.sqlite"));
        World {
            folder,
            pair,
            server: Some(server),
            source: RefCell::default(),
            copy: RefCell::new(copy),
            generation: 1,
            standby: Rows::default(),
            revision: 0,
            noted: 0,
            is_lifted: false,
            is_forgotten: false,
            states: BTreeMap::new(),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn server(&self) -> &Connection {
        self.server.as_ref().unwrap()
    }

    /// What the server's tables hold.
    fn state(&self) -> Rows {
        self.source.borrow_mut().at(self.server())
    }

    fn batch(&self, sql: &str) {
        self.server().execute_batch(sql).unwrap_or_else(|cause| panic!("{sql}: {cause}"));
    }

    fn transaction(&self, writes: &[Write], commits: bool) {
        let statements: Vec<String> = writes.iter().map(Write::sql).collect();
        let end = if commits { "COMMIT" } else { "ROLLBACK" };
        self.batch(&format!("BEGIN; {}; {end}", statements.join("; ")));
    }

    /// Runs once; the server writes, one statement after the other, when the run says how far it has come.
    fn run(&mut self, generation: i64, during: &[Write], verify: bool, death: Option<Death>) -> Ran {
        let cancel = CancellationToken::new();
        let mut states = vec![self.state()];
        let (Some(server), look) = (&mut self.server, self.source.get_mut()) else {
            panic!("no server runs")
        };
        // The run may tell of its progress from any thread.
        let written = Mutex::new((server, look, during.iter(), &mut states));
        let write_all = || {
            let mut written = written.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            let (server, look, during, states) = &mut *written;
            for write in during {
                server.execute_batch(&write.sql()).unwrap();
                states.push(look.at(server));
            }
        };
        let progress = |_: Progress| {
            write_all();
            match death {
                Some(Death::Cancelled) => cancel.cancel(),
                // Without the hook, which would tell of it.
                Some(Death::Panicked) => resume_unwind(Box::new("died on purpose")),
                None => {}
            }
        };
        let work = Work {
            generation: Generation(generation),
            verify,
            accept_deletions: false,
            cancel: &cancel,
            progress: &progress,
            now: Timestamp::now(),
            job: None,
        };
        let result = catch_unwind(AssertUnwindSafe(|| self.pair.synchronize(&work)));
        let result = result.unwrap_or_else(|_| Err(cs_backup::error::Error::cancelled()));
        write_all();
        Ran { result, states }
    }

    /// The standby now, and its header; both must be something that may be there.
    fn look_at_standby(&mut self, ran: &Ran) {
        let now = self.copy.get_mut().rows();
        let unchanged = now == self.standby;
        assert!(
            unchanged || ran.states.contains(&now),
            "the standby is no state of the source: {now:#?}\nbut one of {:#?}",
            ran.states
        );
        self.standby = now;
        if let Ok(header) = std::fs::read(self.path("standby.sqlite")) {
            let revision = u32::from_be_bytes(header[24..28].try_into().unwrap());
            assert!(revision >= self.revision, "the standby's counter went back");
            self.revision = revision;
            self.is_lifted &= header[18] < 3;
            self.states.insert(revision, self.standby.clone());
        }
        let noted = self.noted();
        assert!(noted >= self.noted, "an older generation has written");
        self.noted = noted;
    }

    /// The generation that lies beside the standby.
    fn noted(&self) -> i64 {
        let Ok(text) = std::fs::read_to_string(self.path("standby.sqlite.csb/lock")) else { return 0 };
        let noted: serde_json::Value = serde_json::from_str(text.trim()).unwrap_or_default();
        noted["generation"].as_i64().unwrap_or(0)
    }

    /// Every earlier state that can be restored is one that the standby was in.
    fn restore_all(&self) {
        for state in self.pair.states().unwrap() {
            let Some(rows) = self.states.get(&state.revision) else { continue };
            let to = self.path("restored.sqlite");
            let cancel = CancellationToken::new();
            self.pair.restore_state(state.revision, &to, Generation(self.generation), &cancel).unwrap();
            assert_eq!(Copy::at(&to).rows(), *rows, "revision {}", state.revision);
            std::fs::remove_file(to).unwrap();
        }
    }

    fn cycle(&mut self, during: &[Write], verify: bool) {
        let ran = self.run(self.generation, during, verify, None);
        let outcome = ran.result.as_ref().unwrap_or_else(|error| panic!("{error}: {:#?}", error.causes));
        assert!(outcome.quarantined.is_empty(), "{:?}", outcome.quarantined);
        self.is_forgotten = false;
        self.look_at_standby(&ran);
        assert!(
            ran.states.contains(&self.standby),
            "the standby is not what the source was: {:#?}\nbut {:#?}",
            ran.states,
            self.standby
        );
    }

    /// Once the server is quiet, one run makes both equal, and the next one has nothing to do.
    fn quiet(&mut self) {
        self.cycle(&[], false);
        assert_eq!(self.standby, self.state(), "a quiet run leaves the copies different");
        let (source, standby) = (self.path("users.sqlite"), self.path("standby.sqlite"));
        super::assert_equal_pages(&source, &standby);
        if WAITS {
            // What was read under a lock just after a write is looked at once more.
            std::thread::sleep(Duration::from_millis(30));
            self.cycle(&[], false);
        }
        let idle = self.run(self.generation, &[], false, None).result.unwrap();
        assert!(idle.moved.is_nothing(), "{idle:?}");
        assert_eq!(self.pair.observe(&CancellationToken::new()).unwrap().pending, 0);
    }

    fn broken(&mut self, death: Death, during: &[Write]) {
        let ran = self.run(self.generation, during, false, Some(death));
        self.look_at_standby(&ran);
        if let Err(error) = ran.result {
            assert_eq!(error.kind, ErrorKind::Cancelled, "{error}");
        }
    }

    fn stale(&mut self) {
        if self.noted < self.generation {
            return;
        }
        let ran = self.run(self.generation - 1, &[], false, None);
        let before = self.standby.clone();
        self.look_at_standby(&ran);
        assert_eq!(self.standby, before, "a fenced owner has written");
        assert_eq!(ran.result.unwrap_err().kind, ErrorKind::Fenced);
    }

    fn rebuild(&self) {
        let sql: String = self
            .server()
            .query_row("SELECT sql FROM sqlite_schema WHERE name = 'people'", [], |row| row.get(0))
            .unwrap();
        let rebuilt = sql.replacen("people", "rebuilt", 1);
        self.batch(&format!(
            "BEGIN; {rebuilt}; INSERT INTO rebuilt SELECT * FROM people; DROP TABLE people;
             ALTER TABLE rebuilt RENAME TO people; COMMIT"
        ));
    }

    fn extra(&self, number: u8, exists: bool) {
        let table = format!("extra{number}");
        self.batch(&if exists {
            format!(
                "CREATE TABLE {table} (k INTEGER PRIMARY KEY AUTOINCREMENT, v); INSERT INTO {table} (v) VALUES ('{table}')"
            )
        } else {
            format!("DROP TABLE {table}")
        });
    }

    /// Does something to the database's file while the server is down.
    fn while_down(&mut self, work: impl FnOnce(&mut Self)) {
        self.server = None;
        self.source = RefCell::default();
        work(self);
        self.server = Some(open_server(&self.path("users.sqlite")));
    }

    fn keep(&mut self) {
        let kept = self.path("kept.sqlite");
        let _ = std::fs::remove_file(&kept);
        self.server().execute("VACUUM INTO ?1", [kept.to_str().unwrap()]).unwrap();
        let _ = std::fs::copy(self.path("standby.sqlite"), self.path("kept-standby.sqlite"));
    }

    /// An older file of the standby lies in its place again.
    fn put_back(&mut self) {
        let kept = std::fs::read(self.path("kept-standby.sqlite"));
        // Without its fence and without what is remembered of it nothing would tell any more that it is ours.
        if self.is_forgotten && kept.is_ok_and(|kept| kept[18] < 3) {
            return;
        }
        if std::fs::copy(self.path("kept-standby.sqlite"), self.path("standby.sqlite")).is_ok() {
            self.is_lifted = std::fs::read(self.path("standby.sqlite")).unwrap()[18] < 3;
            self.was_changed();
        }
    }

    /// Somebody else has changed the standby: its numbers mean something else from here on.
    fn was_changed(&mut self) {
        self.standby = self.copy.get_mut().rows();
        self.states.clear();
        self.revision = 0;
    }

    fn go_back(&mut self) {
        self.while_down(|world| {
            std::fs::copy(world.path("kept.sqlite"), world.path("users.sqlite")).unwrap();
        });
    }

    fn hide(&mut self) {
        self.while_down(|world| {
            let away = world.path("away.sqlite");
            std::fs::rename(world.path("users.sqlite"), &away).unwrap();
            let cancel = CancellationToken::new();
            let work = super::work(&cancel, world.generation);
            assert_eq!(world.pair.synchronize(&work).unwrap_err().kind, ErrorKind::StoreUnavailable);
            assert_eq!(
                world.copy.get_mut().rows(),
                world.standby,
                "it was changed though nothing could be read"
            );
            std::fs::rename(&away, world.path("users.sqlite")).unwrap();
        });
    }

    fn lose(&mut self, loss: Loss) {
        let beside = self.path("standby.sqlite.csb");
        let state = beside.join("state");
        if self.is_lifted {
            return;
        }
        self.is_forgotten |= !matches!(loss, Loss::History);
        let _ = match loss {
            Loss::State => std::fs::remove_file(state),
            Loss::HalfOfState => {
                std::fs::read(&state).and_then(|text| std::fs::write(&state, text.split_at(text.len() / 2).0))
            }
            Loss::History => std::fs::remove_dir_all(beside.join("history")),
        };
    }

    fn tamper(&mut self, write: &Write) {
        let path = self.path("standby.sqlite");
        // Without both nothing would tell any more that it is ours.
        if !path.exists() || self.is_forgotten {
            return;
        }
        super::lift_fence(&path);
        Connection::open(path).unwrap().execute_batch(&write.sql()).unwrap();
        self.was_changed();
        self.is_lifted = true;
    }
}

fn open_server(path: &Path) -> Connection {
    let server = Connection::open(path).unwrap();
    server.busy_timeout(std::time::Duration::from_secs(5)).unwrap();
    // The tests' SQLite has foreign keys on where the system's has them off.
    server.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_FKEY, false).unwrap();
    server.pragma_update(None, "synchronous", "OFF").unwrap();
    server
}

impl<const WAL: bool, const WAITS: bool> StateMachineTest for World<WAL, WAITS> {
    type SystemUnderTest = Self;
    type Reference = Steps;

    fn init_test(_: &Expected) -> Self {
        World::new()
    }

    fn apply(mut world: Self, expected: &Expected, step: Step) -> Self {
        match step {
            Step::Transaction { writes, commits } => world.transaction(&writes, commits),
            Step::Cycle { during, verify } => world.cycle(&during, verify),
            Step::Quiet => world.quiet(),
            Step::Broken { death, during } => world.broken(death, &during),
            Step::TakeOver => world.generation += 1,
            Step::Stale => world.stale(),
            Step::AddColumn => world.batch(&format!(
                "ALTER TABLE people ADD COLUMN added{n} INTEGER DEFAULT {n}",
                n = expected.now.columns
            )),
            Step::Extra { number } => world.extra(number, expected.now.extra.contains(&number)),
            Step::Rebuild => world.rebuild(),
            Step::Journal { mode } => world.batch(&format!("PRAGMA journal_mode = {mode}")),
            Step::Vacuum => world.batch("VACUUM"),
            Step::Keep => world.keep(),
            Step::GoBack => world.go_back(),
            Step::Hide => world.hide(),
            Step::PutBack => world.put_back(),
            Step::Lose { loss } => world.lose(loss),
            Step::Tamper { write } => world.tamper(&write),
        }
        world
    }

    fn check_invariants(world: &Self, expected: &Expected) {
        assert_eq!(
            Contents::read(world.server()).unwrap(),
            expected.now,
            "the server lost something of its own"
        );
    }

    fn teardown(mut world: Self, _: Expected) {
        world.quiet();
        world.restore_all();
    }
}

fn config() -> Config {
    let cases = std::env::var("CSB_MODEL_CASES").map_or(CASES, |cases| cases.parse().unwrap());
    Config { cases, max_shrink_iters: 2_000, failure_persistence: None, ..Config::default() }
}

prop_state_machine! {
    #![proptest_config(config())]
    #[test]
    fn whatever_happens_the_standby_is_a_state_that_the_source_had(sequential STEPS => World<false, false>);

    #[test]
    fn whatever_happens_under_a_write_ahead_log_too(sequential STEPS => World<true, false>);

    #[test]
    fn whatever_happens_where_a_server_waits_for_locks_too(sequential STEPS => World<false, true>);
}
