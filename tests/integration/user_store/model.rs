//! Random servers, runs, deaths, upgrades, restores and meddling, against the server's database in memory.
//!
//! After every step the standby is a state that the source had, and after every run that ends well it is the source.
//! `CSB_MODEL_CASES` says how many stories of a hundred steps are played; each one that fails is told as short as it can be.

mod look;
mod server;
mod steps;

use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::{Path, PathBuf};

use crate::support::database_url;
use cs_backup::error::{ErrorKind, Result};
use cs_backup::module::Progress;
use cs_backup::store::Generation;
use cs_backup::store::user::sqlite::SqlitePair;
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
use self::steps::{Cut, Death, Expected, Step, Steps};

/// How many stories of each kind are played where nobody says otherwise.
const CASES: u32 = 500;
/// Steps in a story.
const STEPS: usize = 100;

/// A pair of stores, and a server that begins with this journal.
struct World<const WAL: bool> {
    folder: tempfile::TempDir,
    pair: SqlitePair,
    /// The server's connection, with SQLite's own defaults. None while the database is moved.
    server: Option<Connection>,
    source: RefCell<Look>,
    copy: RefCell<Copy>,
    generation: i64,
    /// What the standby held after the last step that may touch it.
    standby: Rows,
    /// Where its cursor stood, and of which generation.
    cursor: Option<look::Cursor>,
    /// Whether the source is an earlier one again since the last run that ended well: the cursor may go back then.
    went_back: bool,
}

/// What a run may have seen and how it ended.
struct Ran {
    result: Result<PairOutcome>,
    /// The source as it was before the run and after each write during it.
    states: Vec<Rows>,
}

impl<const WAL: bool> World<WAL> {
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
        let keys = [("loose".to_owned(), vec!["k".to_owned()])].into();
        let config = UserStoreConfig { url: database_url(&source), keys, exclude: vec![] };
        let pair = SqlitePair::new(config, &folder.path().join("standby.sqlite"), 500).unwrap();
        let copy = Copy::at(&folder.path().join("standby.sqlite"));
        World {
            folder,
            pair,
            server: Some(server),
            source: RefCell::default(),
            copy: RefCell::new(copy),
            generation: 1,
            standby: Rows::default(),
            cursor: None,
            went_back: false,
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

    /// Runs once; the server writes, one statement each time that the run says how far it has come.
    fn run(&self, generation: i64, during: &[Write], verify: bool, death: Option<(usize, Death)>) -> Ran {
        let cancel = CancellationToken::new();
        let states = RefCell::new(vec![self.state()]);
        let (calls, written) = (Cell::new(0), Cell::new(0));
        let write_next = || {
            if let Some(write) = during.get(written.get()) {
                self.transaction(std::slice::from_ref(write), true);
                written.set(written.get() + 1);
                states.borrow_mut().push(self.state());
            }
        };
        let progress = |_: Progress| {
            calls.set(calls.get() + 1);
            write_next();
            match death {
                Some((at, Death::Cancelled)) if calls.get() == at => cancel.cancel(),
                // Without the hook, which would tell of it.
                Some((at, Death::Panicked)) if calls.get() == at => {
                    resume_unwind(Box::new("died on purpose"))
                }
                _ => {}
            }
        };
        let work = Work {
            generation: Generation(generation),
            verify,
            cancel: &cancel,
            progress: &progress,
            now: Timestamp::now(),
        };
        let result = catch_unwind(AssertUnwindSafe(|| self.pair.synchronize(&work)));
        let result = result.unwrap_or_else(|_| Err(cs_backup::error::Error::cancelled()));
        while written.get() < during.len() {
            write_next();
        }
        Ran { result, states: states.into_inner() }
    }

    /// The standby now, and its cursor; both must be something that may be there.
    fn look_at_standby(&mut self, ran: &Ran) {
        let (now, cursor) = self.copy.borrow_mut().rows_and_cursor();
        let unchanged = now == self.standby;
        assert!(
            unchanged || ran.states.contains(&now),
            "the standby is no state of the source: {now:#?}\nbut one of {:#?}",
            ran.states
        );
        self.standby = now;
        if let (Some((store, position, generation)), Some((store_now, position_now, generation_now))) =
            (&self.cursor, &cursor)
        {
            assert!(generation_now >= generation, "an older generation has written");
            assert!(self.went_back || store != store_now || position_now >= position, "the cursor went back");
        }
        self.cursor = cursor;
    }

    fn cycle(&mut self, during: &[Write], verify: bool) {
        let ran = self.run(self.generation, during, verify, None);
        let outcome = ran.result.as_ref().unwrap_or_else(|error| panic!("{error}: {:#?}", error.causes));
        assert!(outcome.quarantined.is_empty(), "{:?}", outcome.quarantined);
        self.look_at_standby(&ran);
        assert!(
            ran.states.contains(&self.standby),
            "the standby is not what the source was: {:#?}\nbut {:#?}",
            ran.states,
            self.standby
        );
        self.went_back = false;
    }

    /// Once the server is quiet, one run makes both equal, and the next one has nothing to do.
    fn quiet(&mut self) {
        self.cycle(&[], false);
        assert_eq!(self.standby, self.state(), "a quiet run leaves the copies different");
        let idle = self.run(self.generation, &[], false, None).result.unwrap();
        assert!(idle.moved.is_nothing(), "{idle:?}");
        assert_eq!(self.pair.observe(&CancellationToken::new()).unwrap().pending, 0);
    }

    fn broken(&mut self, at: usize, death: Death, during: &[Write]) {
        let ran = self.run(self.generation, during, false, Some((at, death)));
        self.look_at_standby(&ran);
        match ran.result {
            Ok(_) => self.went_back = false,
            Err(error) => assert_eq!(error.kind, ErrorKind::Cancelled, "{error}"),
        }
    }

    fn stale(&mut self) {
        if self.cursor.as_ref().is_none_or(|(_, _, generation)| *generation < self.generation) {
            return;
        }
        let ran = self.run(self.generation - 1, &[], false, None);
        let before = self.standby.clone();
        self.look_at_standby(&ran);
        assert_eq!(self.standby, before, "a fenced owner has written");
        match ran.result {
            Ok(outcome) => assert!(outcome.moved.is_nothing(), "{outcome:?}"),
            Err(error) => assert_eq!(error.kind, ErrorKind::Fenced, "{error}"),
        }
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
    }

    fn go_back(&mut self) {
        self.while_down(|world| {
            std::fs::copy(world.path("kept.sqlite"), world.path("users.sqlite")).unwrap();
            world.went_back = true;
        });
    }

    fn hide(&mut self) {
        self.while_down(|world| {
            let away = world.path("away.sqlite");
            std::fs::rename(world.path("users.sqlite"), &away).unwrap();
            let cancel = CancellationToken::new();
            let work = super::work(&cancel, world.generation);
            assert_eq!(world.pair.synchronize(&work).unwrap_err().kind, ErrorKind::StoreUnavailable);
            let (copy, _) = world.copy.borrow_mut().rows_and_cursor();
            assert_eq!(copy, world.standby, "something was done because the source could not be read");
            std::fs::rename(&away, world.path("users.sqlite")).unwrap();
        });
    }

    fn cut_log(&self, cut: Cut) {
        let logs: bool = self
            .server()
            .query_row("SELECT EXISTS (SELECT 1 FROM sqlite_schema WHERE name = 'csb_change')", [], |row| {
                row.get(0)
            })
            .unwrap();
        if !logs {
            return;
        }
        let middle = "(SELECT max(position) + min(position) FROM csb_change) / 2";
        let heeds_triggers = |heeds| {
            self.server().set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER, heeds).unwrap();
        };
        match cut {
            Cut::Beginning => {
                heeds_triggers(false);
                self.batch(&format!("DELETE FROM csb_change WHERE position < {middle}"));
                heeds_triggers(true);
            }
            Cut::End => self.batch(&format!(
                "DROP TRIGGER IF EXISTS csb_t_last; DELETE FROM csb_change WHERE position > {middle}"
            )),
            Cut::All => self.batch("DROP TRIGGER IF EXISTS csb_t_last; DELETE FROM csb_change"),
        }
    }

    fn tamper(&mut self, write: &Write) {
        let path = self.path("standby.sqlite");
        if !path.exists() {
            return;
        }
        let meddler = Connection::open(path).unwrap();
        meddler.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER, false).unwrap();
        meddler.execute_batch(&write.sql()).unwrap();
        drop(meddler);
        (self.standby, _) = self.copy.borrow_mut().rows_and_cursor();
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

impl<const WAL: bool> StateMachineTest for World<WAL> {
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
            Step::Broken { at, death, during } => world.broken(at, death, &during),
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
            Step::CutLog { cut } => world.cut_log(cut),
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
    }
}

fn config() -> Config {
    let cases = std::env::var("CSB_MODEL_CASES").map_or(CASES, |cases| cases.parse().unwrap());
    Config { cases, max_shrink_iters: 2_000, failure_persistence: None, ..Config::default() }
}

prop_state_machine! {
    #![proptest_config(config())]
    #[test]
    fn whatever_happens_the_standby_is_a_state_that_the_source_had(sequential STEPS => World<false>);

    #[test]
    fn whatever_happens_under_a_write_ahead_log_too(sequential STEPS => World<true>);
}
