//! What comes between two steps of a reading, made to come there: the sink is told of each run of pages, and acts as a server in between.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::SystemTime;

use rusqlite::Connection;

use super::*;
use crate::store::user::pages::hashes::Seed;
use crate::store::user::pages::mark::Way;

/// A source whose rows add up at every moment that its server committed.
struct Site {
    folder: tempfile::TempDir,
}

/// Many chunks, so that some of them are read after whatever came with the first one.
const ROWS: u32 = 2_400;
const LEDGER: &str = "
    CREATE TABLE turn (n INTEGER NOT NULL);
    INSERT INTO turn VALUES (0);
    CREATE TABLE account (id INTEGER PRIMARY KEY, amount INTEGER NOT NULL, note BLOB);
    WITH RECURSIVE n (x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n WHERE x < 2400)
    INSERT INTO account SELECT x, 0, zeroblob(3500) FROM n;";
/// Writes every page, so that one of another state shows.
const TURN: &str =
    "BEGIN IMMEDIATE; UPDATE turn SET n = n + 1; UPDATE account SET amount = (SELECT n FROM turn); COMMIT";

impl Site {
    fn new(settings: &str) -> Self {
        let site = Site { folder: tempfile::tempdir().unwrap() };
        site.server().run(&format!("{settings}; {LEDGER}"));
        site
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("users.sqlite")
    }

    fn server(&self) -> Server {
        Server::of(&self.path())
    }

    fn source(&self) -> Source {
        Source::new(&self.path(), None)
    }

    /// As the source of a pool whose server waits for locks.
    fn waiting(&self) -> Source {
        Source::new(&self.path(), Some(Duration::from_secs(10)))
    }

    fn nothing_known(&self) -> Base {
        let scratch = self.folder.path().join("no clones");
        Base { seed: Seed::new(), hashes: Arc::new([]), layout: None, mark: None, scratch }
    }

    /// Reads a state, with somebody who acts in between, and says at which turn the ledger stands in it.
    #[track_caller]
    fn read(&self, source: &Source, known: Option<&Read>, act: impl FnMut(Moment) + Send) -> Read {
        let base = match known {
            Some(read) => Base {
                seed: read.seed,
                hashes: read.exported.hashes.clone().into(),
                layout: Some(read.exported.layout),
                mark: Some(read.exported.mark.clone()),
                scratch: self.folder.path().join("no clones"),
            },
            None => self.nothing_known(),
        };
        let sink = Acting { pages: Mutex::default(), act: Mutex::new(Box::new(act)) };
        let exported = source.export(&base, &sink, &Until::within(Duration::from_secs(20))).unwrap();
        let mut content = known.map_or_else(Vec::new, |read| read.content.clone());
        let size = exported.layout.page_size as usize;
        content.resize(exported.pages as usize * size, 0);
        for (page, new) in sink.pages.into_inner().unwrap() {
            let at = (page as usize - 1) * size;
            content[at..at + size].copy_from_slice(&new);
        }
        if let Some(first) = &exported.first_page {
            content[..size].copy_from_slice(first);
        }
        let turn = self.turn(&content);
        Read { exported, seed: base.seed, content, turn }
    }

    /// # Panics
    /// Where these pages are no state that the ledger had.
    #[track_caller]
    fn turn(&self, content: &[u8]) -> i64 {
        let copy = self.folder.path().join("copy");
        let mut content = content.to_vec();
        // As a copy has it, without a log.
        content[18..20].fill(1);
        std::fs::write(&copy, content).unwrap();
        let reader = Connection::open(&copy).unwrap();
        let number = |sql: &str| reader.query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap();
        let sound: String = reader.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
        let turn = number("SELECT n FROM turn");
        assert_eq!(
            (number("SELECT min(amount) FROM account"), number("SELECT max(amount) FROM account")),
            (turn, turn),
            "a torn state"
        );
        assert_eq!((sound.as_str(), number("SELECT count(*) FROM account")), ("ok", i64::from(ROWS)));
        turn
    }
}

/// A server that waits for nobody, whichever thread it acts on.
struct Server(Mutex<Connection>);

impl Server {
    fn of(path: &Path) -> Self {
        let server = Connection::open(path).unwrap();
        server.busy_timeout(Duration::ZERO).unwrap();
        Server(Mutex::new(server))
    }

    #[track_caller]
    fn run(&self, sql: &str) {
        self.try_to(sql).unwrap();
    }

    fn try_to(&self, sql: &str) -> rusqlite::Result<()> {
        self.0.lock().unwrap().execute_batch(sql)
    }

    /// A checkpoint. One that would have to wait for somebody gives up, and has carried what it could.
    fn carry(&self, kind: &str) {
        let server = self.0.lock().unwrap();
        let _ = server.query_row(&format!("PRAGMA wal_checkpoint({kind})"), [], |_| Ok(()));
    }

    fn is_writing(&self) -> bool {
        !self.0.lock().unwrap().is_autocommit()
    }
}

struct Read {
    exported: Exported,
    seed: Seed,
    content: Vec<u8>,
    turn: i64,
}

/// What a sink is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Moment {
    /// A run of pages came.
    Pages,
    /// A piece was read.
    Piece,
    /// What came is forgotten.
    Forgotten,
}

struct Acting<'a> {
    pages: Mutex<BTreeMap<u32, Vec<u8>>>,
    act: Mutex<Box<dyn FnMut(Moment) + Send + 'a>>,
}

impl Acting<'_> {
    fn act(&self, moment: Moment) {
        self.act.lock().unwrap()(moment);
    }
}

impl PageSink for Acting<'_> {
    fn put(&self, first: u32, content: &[u8], page_size: usize) -> Result<()> {
        let pages = (first..).zip(content.chunks_exact(page_size).map(<[u8]>::to_vec));
        self.pages.lock().unwrap().extend(pages);
        self.act(Moment::Pages);
        Ok(())
    }

    fn reset(&self) -> Result<()> {
        self.pages.lock().unwrap().clear();
        self.act(Moment::Forgotten);
        Ok(())
    }

    fn tell(&self, _done: u64, _total: u64) {
        self.act(Moment::Piece);
    }
}

/// Acts at the first moment of this kind, and never again.
fn at_first(wanted: Moment, mut act: impl FnMut()) -> impl FnMut(Moment) {
    let mut is_done = false;
    move |moment| {
        if moment == wanted && !is_done {
            is_done = true;
            act();
        }
    }
}

#[test]
fn a_log_that_is_begun_anew_while_its_end_is_read_does_not_count() {
    let site = Site::new("PRAGMA journal_mode = WAL");
    let server = site.server();
    server.run("PRAGMA wal_autocheckpoint = 0");
    server.run(TURN);
    let first = site.read(&site.source(), None, |_| ());
    server.run(TURN);
    let between = at_first(Moment::Pages, || {
        // Everything goes back into the database, and the next commits overwrite the beginning of the log.
        server.carry("RESTART");
        server.run(TURN);
    });
    let second = site.read(&site.source(), Some(&first), between);
    assert_eq!((first.turn, second.turn, second.exported.attempts), (1, 3, 2));
    // Where nobody comes between, only the end of the log is read.
    server.run(TURN);
    let third = site.read(&site.source(), Some(&second), |_| ());
    assert_eq!((third.turn, third.exported.way), (4, Way::Log));
}

#[test]
fn what_a_reader_of_the_log_needs_is_kept_through_checkpoints_of_every_kind_at_every_moment() {
    for (kind, is_carried) in
        [("PASSIVE", false), ("PASSIVE", true), ("FULL", false), ("RESTART", true), ("TRUNCATE", false)]
    {
        let mut moments = usize::MAX;
        let mut number = 0;
        while number < moments {
            let site = Site::new("PRAGMA journal_mode = WAL");
            let server = site.server();
            server.run("PRAGMA wal_autocheckpoint = 0");
            server.run(TURN);
            if is_carried {
                server.carry("PASSIVE");
            }
            let mut now = 0;
            let read = site.read(&site.source(), None, |moment| {
                if moment == Moment::Pages && now == number {
                    server.run(TURN);
                    server.carry(kind);
                    server.run(TURN);
                }
                now += usize::from(moment == Moment::Pages);
            });
            assert_eq!((read.turn, read.exported.way), (1, Way::LogReader), "{kind} at moment {number}");
            moments = now;
            number += 4;
        }
        assert!(moments > 5, "{moments}");
    }
}

#[test]
fn a_source_that_turns_to_a_log_between_two_passes_is_not_read_without_it() {
    let site = Site::new("PRAGMA journal_mode = DELETE");
    let server = site.server();
    let between = at_first(Moment::Piece, || {
        server.run("PRAGMA journal_mode = WAL; PRAGMA wal_autocheckpoint = 0");
        server.run(TURN);
    });
    let read = site.read(&site.waiting(), None, between);
    assert_eq!((read.turn, read.exported.way), (1, Way::LogReader));
}

#[test]
fn a_source_that_is_exchanged_between_two_passes_is_not_locked_in_the_place_of_the_new_one() {
    let site = Site::new("PRAGMA journal_mode = DELETE");
    let new = site.folder.path().join("new");
    std::fs::copy(site.path(), &new).unwrap();
    Server::of(&new).run(TURN);
    let between = at_first(Moment::Piece, || std::fs::rename(&new, site.path()).unwrap());
    let read = site.read(&site.waiting(), None, between);
    assert_eq!((read.turn, read.exported.way), (1, Way::Locked));
    assert!(read.exported.mark.is_same_file(&FileStat::of(&site.path()).unwrap()));
}

#[test]
fn a_source_that_is_exchanged_while_it_is_read_without_a_lock_does_not_count() {
    let site = Site::new("PRAGMA journal_mode = DELETE");
    let new = site.folder.path().join("new");
    std::fs::copy(site.path(), &new).unwrap();
    Server::of(&new).run(TURN);
    let between = at_first(Moment::Pages, || std::fs::rename(&new, site.path()).unwrap());
    let read = site.read(&site.source(), None, between);
    assert_eq!((read.turn, read.exported.way, read.exported.attempts), (1, Way::Unlocked, 2));
}

/// Size, change counter and locks are afterwards what they were before; only the time of writing is not.
#[test]
fn a_transaction_that_was_written_into_the_file_and_undone_between_two_pages_does_not_count() {
    let site = Site::new("PRAGMA journal_mode = DELETE");
    let server = site.server();
    // Whether it is on the device does not matter here, and takes long.
    server.run("PRAGMA synchronous = OFF; PRAGMA cache_size = 2");
    let (mut pages, mut forgotten) = (0, 0);
    let read = site.read(&site.source(), None, |moment| match moment {
        Moment::Pages => {
            pages += 1;
            if pages == 1 {
                server.run("BEGIN IMMEDIATE; UPDATE account SET amount = 77");
            }
            // Of the threads that read, each has one more piece by then.
            if pages == 5 && forgotten == 0 {
                server.run("ROLLBACK");
            }
        }
        Moment::Forgotten => {
            forgotten += 1;
            if server.is_writing() {
                server.run("ROLLBACK");
            }
        }
        Moment::Piece => {}
    });
    assert_eq!((read.turn, forgotten > 0), (0, true));
}

/// Whoever does not wait for locks would lose a write that meets one of ours.
#[test]
fn a_server_that_does_not_wait_can_commit_at_every_moment_of_a_reading() {
    for mode in ["DELETE", "TRUNCATE", "PERSIST", "MEMORY", "WAL"] {
        let site = Site::new(&format!("PRAGMA journal_mode = {mode}"));
        let server = site.server();
        server.run("PRAGMA synchronous = OFF");
        let mut commits = 0;
        let read = site.read(&site.source(), None, |moment| {
            if commits < 4 && moment != Moment::Forgotten {
                server.run("BEGIN IMMEDIATE; UPDATE turn SET n = n + 1; UPDATE turn SET n = n - 1; COMMIT");
                server.run(TURN);
                commits += 1;
            }
        });
        assert_eq!(commits, 4, "{mode}");
        assert!((0..=4).contains(&read.turn), "{mode}");
    }
}

/// Two writes within one tick of the clock leave one time behind, so one that was just made is let become older first.
#[test]
fn a_source_that_was_just_written_to_is_let_alone_until_its_next_write_shows() {
    let site = Site::new("PRAGMA journal_mode = DELETE");
    let server = site.server();
    for _ in 0..5 {
        server.run("UPDATE turn SET n = n");
        let written = std::fs::metadata(site.path()).unwrap().modified().unwrap();
        let mut began = None;
        site.read(&site.source(), None, |_| _ = began.get_or_insert(SystemTime::now()));
        let age = began.unwrap().duration_since(written).unwrap();
        assert!(age > Duration::from_millis(20), "{age:?}");
    }
}

/// The next write may leave the time behind that was seen under the lock.
#[test]
fn a_state_that_was_read_under_a_lock_right_after_a_write_is_looked_at_again() {
    let site = Site::new("PRAGMA journal_mode = DELETE");
    let server = site.server();
    server.run("PRAGMA synchronous = OFF");
    let read = || {
        site.read(&site.waiting(), None, |moment| {
            // While the lock is held nobody can.
            if moment == Moment::Piece {
                let _ = server.try_to("UPDATE turn SET n = n + 1; UPDATE turn SET n = n - 1");
            }
        })
    };
    let is_unchanged = |read: &Read| site.source().look(Some(&read.exported.mark)).unwrap().is_unchanged;
    // On a machine with much to do the lock may come too late for that.
    let read = (0..30).map(|_| read()).find(|read| !is_unchanged(read)).expect("none is looked at again");
    assert_eq!(read.exported.way, Way::Locked);
    std::thread::sleep(Duration::from_millis(50));
    assert!(is_unchanged(&site.read(&site.waiting(), Some(&read), |_| ())));
}

/// Where servers wait, it is its server that undoes what it did not end.
#[test]
fn what_a_dead_server_left_is_not_read_under_a_lock_before_its_server_has_undone_it() {
    let site = Site::new("PRAGMA journal_mode = DELETE");
    let server = site.server();
    let journal = with_suffix(&site.path(), "-journal");
    server.run("PRAGMA synchronous = OFF; PRAGMA cache_size = 2; BEGIN; UPDATE account SET amount = 77");
    let left = (std::fs::read(site.path()).unwrap(), std::fs::read(&journal).unwrap());
    server.run("ROLLBACK");
    drop(server);
    std::fs::write(site.path(), &left.0).unwrap();
    std::fs::write(&journal, &left.1).unwrap();
    let base = site.nothing_known();
    let sink = Acting { pages: Mutex::default(), act: Mutex::new(Box::new(|_| ())) };
    let read = site.waiting().export(&base, &sink, &Until::within(Duration::from_millis(300)));
    assert_eq!(read.map(|read| read.way).unwrap_err().kind, ErrorKind::SourceTooBusy);
    assert!(std::fs::read(&journal).unwrap() == left.1);
    site.server().run("UPDATE turn SET n = n");
    assert_eq!(site.read(&site.waiting(), None, |_| ()).turn, 0);
}

/// The log is there when the reading begins, belongs to nobody, and its next server writes on.
#[test]
fn a_log_that_was_left_and_is_taken_up_while_it_is_read_does_not_count() {
    let site = Site::new("PRAGMA journal_mode = WAL");
    let server = site.server();
    server.run("PRAGMA wal_autocheckpoint = 0");
    server.run(TURN);
    let log = with_suffix(&site.path(), "-wal");
    let left = (std::fs::read(site.path()).unwrap(), std::fs::read(&log).unwrap());
    drop(server);
    std::fs::write(site.path(), left.0).unwrap();
    std::fs::write(&log, left.1).unwrap();
    let mut next = None;
    let between = at_first(Moment::Pages, || {
        let server = next.insert(site.server());
        server.run(TURN);
        server.carry("TRUNCATE");
        server.run(TURN);
    });
    let read = site.read(&site.source(), None, between);
    assert_eq!((read.turn, read.exported.way), (3, Way::LogReader));
}

/// A bit of the log turned that its index knows as whole: what SQLite itself would not notice is not copied.
#[test]
fn a_log_whose_chain_does_not_lead_to_where_its_index_ends_is_not_read() {
    let site = Site::new("PRAGMA journal_mode = WAL");
    let server = site.server();
    server.run("PRAGMA wal_autocheckpoint = 0");
    server.run(TURN);
    let log = with_suffix(&site.path(), "-wal");
    let file = File::options().read(true).write(true).open(&log).unwrap();
    let at = file.metadata().unwrap().len() - 50;
    std::os::unix::fs::FileExt::write_all_at(&file, &[0xee; 9], at).unwrap();
    let base = site.nothing_known();
    let sink = Acting { pages: Mutex::default(), act: Mutex::new(Box::new(|_| ())) };
    let read = site.source().export(&base, &sink, &Until::within(Duration::from_millis(100)));
    assert_eq!(read.map(|read| read.way).unwrap_err().kind, ErrorKind::SourceTooBusy);
    drop(server);
}
