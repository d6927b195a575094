//! A pair whose source, or whose copy, is at another machine: a helper of this process, with a line that is counted.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use rusqlite::Connection;
use tokio_util::sync::CancellationToken;

use super::super::PagePair;
use crate::error::{ErrorKind, Result, Side};
use crate::store::Generation;
use crate::store::remote::tests::loopback::Loopback;
use crate::store::remote::{Reach, RemotePlace};
use crate::store::user::{PairOutcome, UserStorePair, WantedState, Work};
use crate::topology::{StoreUrl, UserStoreConfig};

/// Two folders: that of the pool's machine, and that of its backup pool's.
struct Site {
    folder: tempfile::TempDir,
    line: Loopback,
}

impl Site {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        for name in ["atl", "chi", "state"] {
            std::fs::create_dir(folder.path().join(name)).unwrap();
        }
        Site { folder, line: Loopback::default() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().canonicalize().unwrap().join(name)
    }

    fn url(&self, name: &str) -> StoreUrl {
        StoreUrl::try_from(format!("sqlite:{}", self.path(name).display())).unwrap()
    }

    fn server(&self) -> Connection {
        Connection::open(self.path("atl/users.sqlite")).unwrap()
    }

    /// The place of a pool, as its partner's machine reaches it.
    fn reached(&self, pool: &'static str, partner: &'static str) -> Arc<RemotePlace> {
        self.line.reached(&self.path(pool), &self.path("state"), pool, partner)
    }

    /// The pair as the backup pool's machine sees it.
    fn pull(&self) -> (PagePair, Arc<RemotePlace>) {
        let place = self.reached("atl", "chi");
        let config = UserStoreConfig::new(self.url("atl/users.sqlite"));
        let standby = (&self.url("chi/atl.sqlite"), &Reach::Here);
        let source = Reach::There(Arc::clone(&place));
        (PagePair::between((&config, &source), standby, Duration::from_secs(10)).unwrap(), place)
    }

    /// As the pool's own machine sees it.
    fn own(&self) -> PagePair {
        let config = UserStoreConfig::new(self.url("atl/users.sqlite"));
        let standby = Reach::There(self.reached("chi", "atl"));
        let standby = (&self.url("chi/atl.sqlite"), &standby);
        PagePair::between((&config, &Reach::Here), standby, Duration::from_secs(10)).unwrap()
    }

    fn fill(&self, rows: u32) {
        let fill = format!(
            "CREATE TABLE t (id INTEGER PRIMARY KEY, x); WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {rows})
             INSERT INTO t SELECT i, hex(randomblob(100)) FROM n;"
        );
        self.server().execute_batch(&fill).unwrap();
    }

    fn rows(&self, path: &str) -> Vec<(i64, String)> {
        let copy = crate::store::sqlite::open(&self.path(path), crate::store::sqlite::Access::Read).unwrap();
        let mut query = copy.prepare("SELECT id, x FROM t ORDER BY id").unwrap();
        query.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap().map(|row| row.unwrap()).collect()
    }

    fn assert_equal(&self, why: &str) {
        assert!(self.rows("chi/atl.sqlite") == self.rows("atl/users.sqlite"), "{why}");
    }
}

fn work(
    run: impl Fn(&Work<'_>) -> Result<PairOutcome>,
    generation: i64,
    verify: bool,
) -> Result<PairOutcome> {
    run(&Work {
        generation: Generation(generation),
        verify,
        accept_deletions: false,
        cancel: &CancellationToken::new(),
        progress: &|_| {},
        job: None,
        now: Timestamp::now(),
    })
}

fn sync(pair: &PagePair) -> Result<PairOutcome> {
    work(|work| pair.synchronize(work), 1, false)
}

#[test]
fn a_copy_follows_a_source_at_another_machine_in_one_call_and_an_idle_one_in_less_than_a_kilobyte() {
    let site = Site::new();
    site.fill(20_000);
    let (pair, place) = site.pull();
    let first = sync(&pair).unwrap();
    assert!(first.moved.items_written > 500);
    site.assert_equal("first copy");
    // The times of a file that was just written say nothing yet.
    std::thread::sleep(Duration::from_millis(50));
    sync(&pair).unwrap();
    for look in 0..2 {
        let (calls, before) = (site.line.calls(), place.traffic());
        assert_eq!(sync(&pair).unwrap().moved.items_written, 0, "{look}");
        let after = place.traffic();
        assert_eq!(site.line.calls() - calls, 1);
        assert!(after.sent + after.received - before.sent - before.received < 400, "{before:?} {after:?}");
    }
    site.server().execute_batch("UPDATE t SET x = x || 'y' WHERE id % 2000 = 0").unwrap();
    let (calls, before) = (site.line.calls(), place.traffic());
    let outcome = sync(&pair).unwrap();
    let crossed = place.traffic().received - before.received;
    assert!(outcome.moved.items_written <= 12, "{outcome:?}");
    assert_eq!(site.line.calls() - calls, 2, "a look, and the pages");
    assert!(crossed < 64 << 10, "the helper knew the hashes: {crossed}");
    assert!(place.traffic().sent - before.sent < 2_000, "{:?}", place.traffic());
    site.assert_equal("changes");
    let verified = work(|work| pair.synchronize(work), 1, true).unwrap();
    assert_eq!(verified.verification.unwrap().differing_items, 0);
}

#[test]
fn a_list_at_the_helper_that_is_lost_or_forged_costs_bytes_and_nothing_else() {
    let site = Site::new();
    site.fill(5_000);
    let (pair, _) = site.pull();
    sync(&pair).unwrap();
    let list = || {
        let mut files = std::fs::read_dir(site.path("state")).unwrap().map(|entry| entry.unwrap().path());
        files.find(|path| path.extension().is_some_and(|end| end == "hashes")).unwrap()
    };
    for round in 0..12 {
        site.server().execute("UPDATE t SET x = x || 'z' WHERE id % 97 = ?1", [round]).unwrap();
        let (path, size) = (list(), std::fs::metadata(list()).unwrap().len() as usize);
        match round % 4 {
            0 => std::fs::remove_file(&path).unwrap(),
            1 => std::fs::write(&path, (0..size).map(|_| fastrand::u8(..)).collect::<Vec<_>>()).unwrap(),
            2 => std::fs::write(&path, vec![0; size / 2 + 3]).unwrap(),
            _ => {
                let mut bytes = std::fs::read(&path).unwrap();
                bytes[fastrand::usize(..size)] ^= 1;
                std::fs::write(&path, bytes).unwrap();
            }
        }
        sync(&pair).unwrap();
        site.assert_equal(&format!("round {round}"));
    }
}

#[test]
fn a_line_that_is_cut_after_any_number_of_bytes_changes_nothing_and_the_next_sync_goes_on() {
    let site = Site::new();
    site.fill(3_000);
    let whole = {
        let other = Site::new();
        std::fs::copy(site.path("atl/users.sqlite"), other.path("atl/users.sqlite")).unwrap();
        let (pair, place) = other.pull();
        sync(&pair).unwrap();
        place.traffic().received as usize
    };
    for cut in (0..12).map(|part| whole * part / 12).chain([60, 90]) {
        site.line.cut_after(Some(cut.max(1)));
        let (pair, _) = site.pull();
        let error = sync(&pair).unwrap_err();
        assert!(
            matches!(error.kind, ErrorKind::StoreUnavailable | ErrorKind::PeerIncompatible),
            "cut after {cut}: {error:?}"
        );
        assert_eq!(error.side, Some(Side::Export), "cut after {cut}: {error:?}");
        assert!(!site.path("chi/atl.sqlite").exists(), "cut after {cut}");
        // Else the next one would go on, and have less to come.
        let _ = std::fs::remove_file(site.path("chi/atl.sqlite.csb/new"));
    }
    site.line.cut_after(None);
    let (pair, _) = site.pull();
    sync(&pair).unwrap();
    site.assert_equal("after all the cuts");
    // The same for a copy that is there.
    for round in 0..8 {
        let before = site.rows("chi/atl.sqlite");
        site.server().execute("UPDATE t SET x = x || 'z' WHERE id % 41 = ?1", [round as i64]).unwrap();
        site.line.cut_after(Some(200 + 1_500 * round));
        let (cut, _) = site.pull();
        if sync(&cut).is_err() {
            assert!(site.rows("chi/atl.sqlite") == before, "round {round}");
        }
        site.line.cut_after(None);
        sync(&site.pull().0).unwrap();
        site.assert_equal(&format!("round {round}"));
    }
}

#[test]
fn a_pool_reads_its_copy_at_its_backup_pool_and_writes_nothing_there() {
    let site = Site::new();
    site.fill(2_000);
    sync(&site.pull().0).unwrap();
    let at_first = site.rows("atl/users.sqlite");
    site.server().execute_batch("DELETE FROM t WHERE id % 10 = 0").unwrap();
    sync(&site.pull().0).unwrap();
    let own = site.own();
    let seen = own.observe(&CancellationToken::new()).unwrap();
    assert!(seen.initialized && seen.refused.is_none(), "{seen:?}");
    let states = own.states().unwrap();
    assert_eq!(states.len(), 2, "{states:?}");
    let to = site.path("restored.sqlite");
    let oldest = own.find_state(WantedState::Revision(states[1].revision), &to).unwrap();
    own.restore_state(oldest.revision, &to, Generation(1), &CancellationToken::new()).unwrap();
    assert!(site.rows("restored.sqlite") == at_first);
    // Nobody else writes the copy from here.
    let refused = work(|work| own.synchronize(work), 1, false).unwrap_err();
    assert_eq!((refused.kind, refused.retryable), (ErrorKind::PeerRefused, false));
    assert!(own.lost().unwrap().is_none());
}

#[test]
fn what_is_no_copy_is_not_handed_on_and_nothing_is_left_beside_it() {
    let site = Site::new();
    site.fill(10);
    let place = site.reached("atl", "chi");
    for path in ["users.sqlite", "none.sqlite"] {
        let store = super::StoreName { path: path.to_owned(), server_waits: false, max_lock_ms: 1 };
        let request = super::SendRequest { store, revision: None, generation: 7 };
        let mut call = place.call(super::message::SEND, &request, &CancellationToken::new()).unwrap();
        let error = call.answer::<super::SendAnswer>().unwrap_err();
        let kinds = [ErrorKind::ForeignContent, ErrorKind::StoreUnavailable];
        assert!(kinds.contains(&error.kind), "{path}: {error:?}");
    }
    let left: Vec<_> =
        std::fs::read_dir(site.path("atl")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["users.sqlite"]);
}

#[test]
fn stores_outside_the_root_are_not_opened_whoever_names_them() {
    let site = Site::new();
    let place = site.reached("atl", "chi");
    let outside = UserStoreConfig::new(site.url("secret.sqlite"));
    let source = Reach::There(Arc::clone(&place));
    let standby = (&site.url("chi/x.sqlite"), &Reach::Here);
    let refused = PagePair::between((&outside, &source), standby, Duration::from_secs(1));
    assert_eq!(refused.err().unwrap().kind, ErrorKind::InvalidValue);
    // A caller who does not look himself.
    std::os::unix::fs::symlink(site.path("secret.sqlite"), site.path("atl/link.sqlite")).unwrap();
    Connection::open(site.path("secret.sqlite")).unwrap().execute_batch("CREATE TABLE t (id, x)").unwrap();
    for named in ["../secret.sqlite", "link.sqlite", "/etc/passwd", "x/../../secret.sqlite"] {
        let store = super::StoreName { path: named.to_owned(), server_waits: false, max_lock_ms: 1 };
        let known = super::Known { store, mark: None };
        let error = place.ask::<bool>(super::message::LOOK, &known, &CancellationToken::new()).unwrap_err();
        assert!(
            matches!(error.kind, ErrorKind::PeerRefused | ErrorKind::StoreUnavailable),
            "{named}: {error:?}"
        );
    }
    assert!(Path::new("/etc/passwd").exists());
}

/// A store of some megabytes that cannot be compressed.
fn fill(server: &Connection) {
    server
        .execute_batch(
            "CREATE TABLE ballast (id INTEGER PRIMARY KEY, bytes BLOB);
             WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 2000)
                 INSERT INTO ballast SELECT i, randomblob(3900) FROM n;",
        )
        .unwrap();
}

#[test]
fn a_first_copy_that_is_cut_goes_on_and_sends_nothing_twice() {
    let site = Site::new();
    let server = site.server();
    fill(&server);
    let size = std::fs::metadata(site.path("atl/users.sqlite")).unwrap().len();
    let mut crossed = 0;
    for part in [3, 4, 5] {
        site.line.cut_after(Some(usize::try_from(size).unwrap() / part));
        let (pair, place) = site.pull();
        let error = sync(&pair).unwrap_err();
        assert_eq!(error.kind, ErrorKind::StoreUnavailable, "{error:#?}");
        crossed += place.traffic().received;
        assert!(!site.path("chi/atl.sqlite").exists(), "it has no name before it is whole");
    }
    site.line.cut_after(None);
    // What the server writes meanwhile comes, too, whichever page it is.
    server
        .execute_batch("UPDATE ballast SET bytes = randomblob(3900) WHERE id % 100 = 0; CREATE TABLE new (a)")
        .unwrap();
    let (pair, place) = site.pull();
    let outcome = sync(&pair).unwrap();
    crossed += place.traffic().received;
    assert!(outcome.details.iter().any(|line| line.contains("Went on with a first copy")), "{outcome:#?}");
    assert!(crossed < size * 108 / 100, "{crossed} of {size}");
    let rows = |path: &Path| -> Vec<(i64, Vec<u8>)> {
        let reader = Connection::open_with_flags(path, rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
        let mut rows = reader.prepare("SELECT id, bytes FROM ballast ORDER BY id").unwrap();
        rows.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap().map(|row| row.unwrap()).collect()
    };
    assert_eq!(rows(&site.path("chi/atl.sqlite")), rows(&site.path("atl/users.sqlite")));
    assert!(sync(&pair).unwrap().moved.is_nothing());
}

#[test]
fn what_lies_in_the_place_of_a_first_copy_is_gone_on_with_whatever_it_is() {
    let site = Site::new();
    let server = site.server();
    fill(&server);
    let source = std::fs::read(site.path("atl/users.sqlite")).unwrap();
    let other_size = {
        let path = site.path("other.sqlite");
        let other = Connection::open(&path).unwrap();
        other
            .execute_batch(
                "PRAGMA page_size = 1024; CREATE TABLE t (a); INSERT INTO t VALUES (randomblob(90000))",
            )
            .unwrap();
        drop(other);
        std::fs::read(path).unwrap()
    };
    let mut holes = source.clone();
    holes[4_096..400_000].fill(0);
    let longer = [&source[..], &[7; 4_096 * 30]].concat();
    for (name, left) in [
        ("nothing", Vec::new()),
        ("no database", vec![b'x'; 100_000]),
        ("its header", source[..100].to_vec()),
        ("half a page more", source[..4_096 * 10 + 2_000].to_vec()),
        ("holes", holes),
        ("more than there is", longer),
        ("all of it", source.clone()),
        ("pages of another size", other_size),
    ] {
        let (pair, _) = site.pull();
        std::fs::create_dir_all(site.path("chi/atl.sqlite.csb")).unwrap();
        std::fs::write(site.path("chi/atl.sqlite.csb/new"), left).unwrap();
        sync(&pair).unwrap();
        let copied = std::fs::read(site.path("chi/atl.sqlite")).unwrap();
        assert_eq!(copied.len(), source.len(), "{name}");
        assert_eq!(copied[100..], source[100..], "{name}");
        assert!(!site.path("chi/atl.sqlite.csb/new").exists());
        for name in ["chi/atl.sqlite", "chi/atl.sqlite.csb/state"] {
            std::fs::remove_file(site.path(name)).unwrap();
        }
    }
}
