//! Cycles that write at another machine: a helper of this process, and a line that may be cut.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use rusqlite::Connection;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::served;
use super::*;
use crate::clock::SystemClock;
use crate::error::ErrorKind;
use crate::module::served::ServedPool;
use crate::report::Moved;
use crate::store::leases::{Claim, LeaseOwner};
use crate::store::remote::Grant;
use crate::store::remote::tests::loopback::{Loopback, fqdn};
use crate::store::{Until, factory};
use crate::topology::{HistoryLimits, HistorySize, UserStoreConfig};
use crate::wire::Answers;

const ALL: [Grant; 3] = [Grant::Read, Grant::Write, Grant::GiveBack];

/// Atlanta's stores, and Chicago's copies of them, which this process does not open itself.
struct Sites {
    root: PathBuf,
    line: Loopback,
    _folder: tempfile::TempDir,
}

/// Keeps what it is told.
#[derive(Default)]
struct Listener {
    progress: Mutex<Vec<Progress>>,
    changed: Mutex<Vec<String>>,
}

impl Observer for Listener {
    fn progress(&self, progress: Progress) {
        self.progress.lock().unwrap().push(progress);
    }

    fn warning(&self, _message: String) {}

    fn changed(&self, _kind: ChangeKind, change: &Change) {
        self.changed.lock().unwrap().push(change.item.clone());
    }
}

fn context(generation: Generation, observer: &Arc<Listener>) -> Context {
    Context {
        generation,
        cancel: CancellationToken::new(),
        observer: Arc::clone(observer) as Arc<dyn Observer>,
        clock: Arc::new(SystemClock::new()),
        accept_deletions: false,
        verify: false,
        job: Some(MadeBy { job: Uuid::new_v4(), kind: None }),
    }
}

fn sql(path: &Path, text: &str) {
    Connection::open(path).unwrap().execute_batch(text).unwrap();
}

impl Sites {
    fn new() -> Self {
        let folder = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
        let root = folder.path().canonicalize().unwrap();
        fs::create_dir_all(root.join("atl/share")).unwrap();
        fs::create_dir_all(root.join("chi/share")).unwrap();
        sql(
            &root.join("atl/users.sqlite"),
            "CREATE TABLE users (name); INSERT INTO users VALUES ('a'), ('b')",
        );
        sql(&root.join("chi/users.sqlite"), "CREATE TABLE users (name); INSERT INTO users VALUES ('own')");
        fs::write(root.join("atl/share/slides"), "slides").unwrap();
        fs::write(root.join("chi/share/own"), "own").unwrap();
        Sites { root, line: Loopback::default(), _folder: folder }
    }

    fn path(&self, below: &str) -> PathBuf {
        self.root.join(below)
    }

    fn url(&self, url: &str) -> StoreUrl {
        StoreUrl::parse(url, &self.root).unwrap()
    }

    /// A pool's place with these grants.
    fn place(&self, pool: &str, partner: &str, grants: &[Grant]) -> Arc<RemotePlace> {
        let served = |place| Arc::new(ServedPool::new(place)) as Arc<dyn Answers>;
        self.line.granted(grants, &self.path(pool), &self.path("state"), (pool, partner), served)
    }

    fn users(&self) -> Stores {
        self.users_with(HistoryLimits::default())
    }

    fn users_with(&self, history: HistoryLimits) -> Stores {
        let source = UserStoreConfig { history, ..UserStoreConfig::new(self.url("sqlite:atl/users.sqlite")) };
        Stores::PresenceFocus { source, copy: self.url("sqlite:chi/copy.sqlite"), patience_ms: 5_000 }
    }

    fn files(&self) -> Stores {
        self.files_with(HistoryLimits::default())
    }

    fn files_with(&self, history: HistoryLimits) -> Stores {
        Stores::DataConf {
            source: self.url("file:atl/share"),
            source_databases: Vec::new(),
            copy: self.url("file:chi/copy"),
            copy_databases: Vec::new(),
            index: self.url("sqlite:chi/index.sqlite"),
            batch_bytes: 1 << 20,
            history,
        }
    }

    /// The module at Atlanta's machine; Chicago grants this.
    fn pushing(&self, stores: Stores, grants: &[Grant]) -> Remote {
        let reach = Reach::There(self.place("chi", "atl", grants));
        self.remote(stores, Reach::Here, reach)
    }

    fn remote(&self, stores: Stores, at: Reach, copy_at: Reach) -> Remote {
        let (source, copy) = (At { pool: fqdn("atl"), reach: at }, At { pool: fqdn("chi"), reach: copy_at });
        let leases = self.url("sqlite:chi/service.sqlite");
        Remote::new(stores, source, copy, leases, "atl-1".to_owned(), self.path("memory")).unwrap()
    }

    /// The lease of Atlanta's direction, taken at Chicago.
    fn lease(&self) -> Generation {
        let leases = factory::leases(
            &self.url("sqlite:chi/service.sqlite"),
            &Reach::Here,
            Arc::new(SystemClock::new()),
        );
        let claim = Claim {
            pool: fqdn("atl"),
            owner: LeaseOwner { process_id: 0, ..LeaseOwner::current("x") },
            job_id: Uuid::new_v4(),
        };
        let until = Until::within(std::time::Duration::from_secs(5));
        leases.unwrap().acquire(&claim, &until).unwrap().held().unwrap().generation
    }

    #[track_caller]
    fn cycle(&self, stores: Stores) -> CycleOutcome {
        self.pushing(stores, &ALL).run_cycle(&context(self.lease(), &Arc::default())).unwrap()
    }

    #[track_caller]
    fn refused(&self, module: &Remote) -> Error {
        module.run_cycle(&context(self.lease(), &Arc::default())).unwrap_err().error
    }

    fn names(&self, database: &str) -> Vec<String> {
        let connection = Connection::open(self.path(database)).unwrap();
        let mut found = connection.prepare("SELECT name FROM users ORDER BY name").unwrap();
        found.query_map([], |row| row.get(0)).unwrap().map(|name| name.unwrap()).collect()
    }
}

#[test]
fn a_cycle_runs_at_the_machine_of_the_copy_and_tells_what_it_does() {
    let sites = Sites::new();
    let listener: Arc<Listener> = Arc::default();
    for (stores, items) in [(sites.users(), 2), (sites.files(), 1)] {
        let module = sites.pushing(stores, &ALL);
        let planned = module.observe(&Look { thorough: true, ..Look::default() }).unwrap();
        assert_eq!((planned.pending_items, planned.initialized, planned.refused), (items, false, None));
        assert!(!sites.path("chi/copy.sqlite.csb/state").exists() || !sites.path("chi/copy").exists());
        let done = module.run_cycle(&context(sites.lease(), &listener)).unwrap();
        assert_eq!(done.moved.items_written, items, "{done:#?}");
        let again = module.run_cycle(&context(sites.lease(), &listener)).unwrap();
        assert_eq!(again.moved, Moved::default(), "{again:#?}");
    }
    assert_eq!(sites.names("chi/copy.sqlite"), ["a", "b"]);
    assert_eq!(fs::read(sites.path("chi/copy/slides")).unwrap(), b"slides");
    assert_eq!(*listener.changed.lock().unwrap(), ["slides"]);
    let activities: Vec<_> =
        listener.progress.lock().unwrap().iter().map(|told| told.activity.to_string()).collect();
    assert!(activities.contains(&"Copying the user store".to_owned()), "{activities:?}");
    // An idle cycle is a call, and what that calls back.
    for stores in [sites.users(), sites.files()] {
        let module = sites.pushing(stores, &ALL);
        let before = sites.line.calls();
        module.run_cycle(&context(sites.lease(), &Arc::default())).unwrap();
        assert_eq!(sites.line.calls() - before, 1);
    }
}

#[test]
fn a_third_machine_lets_one_helper_write_what_another_one_reads() {
    let sites = Sites::new();
    for stores in [sites.users(), sites.files()] {
        let (atl, chi) = (sites.place("atl", "chi", &[Grant::Read]), sites.place("chi", "atl", &ALL));
        let module = sites.remote(stores, Reach::There(atl), Reach::There(chi));
        module.run_cycle(&context(sites.lease(), &Arc::default())).unwrap();
    }
    assert_eq!(sites.names("chi/copy.sqlite"), ["a", "b"]);
    assert_eq!(fs::read(sites.path("chi/copy/slides")).unwrap(), b"slides");
}

#[test]
fn what_was_not_granted_or_nobody_may_ask_for_from_afar_is_refused_and_changes_nothing() {
    let sites = Sites::new();
    let everything = || -> Vec<PathBuf> {
        let mut found: Vec<_> =
            fs::read_dir(sites.path("chi")).unwrap().map(|entry| entry.unwrap().path()).collect();
        found.retain(|path| !path.file_name().unwrap().to_str().unwrap().starts_with("service"));
        found.sort();
        found
    };
    let before = everything();
    for stores in [sites.users(), sites.files()] {
        for grants in [&[Grant::Read][..], &[Grant::Read, Grant::GiveBack, Grant::Cms]] {
            let module = sites.pushing(stores.clone(), grants);
            let error = sites.refused(&module);
            assert_eq!(error.kind, ErrorKind::PeerRefused, "{error:#?}");
            assert!(error.advice.contains("--grant write"), "{error:#?}");
            assert_eq!(module.observe(&Look::default()).unwrap_err().kind, ErrorKind::PeerRefused);
        }
        let module = sites.pushing(stores.clone(), &ALL);
        // A generation that nobody gave out would keep everybody else from writing for good.
        let lease = sites.lease();
        for generation in [Generation(i64::MAX), Generation(lease.0 + 1), Generation(lease.0 - 1)] {
            let error = module.run_cycle(&context(generation, &Arc::default())).unwrap_err().error;
            assert_eq!(error.kind, ErrorKind::Fenced, "{error:#?}");
        }
        let accepting = Context { accept_deletions: true, ..context(sites.lease(), &Arc::default()) };
        let error = module.run_cycle(&accepting).unwrap_err().error;
        assert_eq!(error.kind, ErrorKind::PeerRefused);
        assert!(error.message.contains("-AcceptDeletions"), "{error:#?}");
        // Another pool's data, by a key that is Atlanta's.
        let place = sites.place("chi", "nyc", &ALL);
        let error = sites.refused(&sites.remote(stores.clone(), Reach::Here, Reach::There(place)));
        assert_eq!(error.kind, ErrorKind::PeerRefused, "{error:#?}");
    }
    // What is the pool's own, or lies elsewhere, is no copy.
    let Stores::PresenceFocus { source, patience_ms, .. } = sites.users() else { panic!() };
    let Stores::DataConf { source: files, index, batch_bytes, history, .. } = sites.files() else { panic!() };
    for (url, kind) in [("users.sqlite", ErrorKind::ForeignContent), ("share", ErrorKind::ForeignContent)] {
        let stores = match url {
            "share" => Stores::DataConf {
                source: files.clone(),
                source_databases: Vec::new(),
                copy: sites.url("file:chi/share"),
                copy_databases: Vec::new(),
                index: index.clone(),
                batch_bytes,
                history: history.clone(),
            },
            _ => Stores::PresenceFocus {
                source: source.clone(),
                copy: sites.url("sqlite:chi/users.sqlite"),
                patience_ms,
            },
        };
        let error = sites.refused(&sites.pushing(stores, &ALL));
        assert_eq!(error.kind, kind, "{error:#?}");
    }
    std::os::unix::fs::symlink("../outside.sqlite", sites.path("chi/link.sqlite")).unwrap();
    let linked = Stores::PresenceFocus { source, copy: sites.url("sqlite:chi/link.sqlite"), patience_ms };
    assert_eq!(sites.refused(&sites.pushing(linked, &ALL)).kind, ErrorKind::PeerRefused);
    fs::remove_file(sites.path("chi/link.sqlite")).unwrap();
    assert!(!sites.path("outside.sqlite").exists());
    let known: Vec<_> = everything().into_iter().filter(|path| !before.contains(path)).collect();
    let ours = |path: &PathBuf| {
        let name = path.file_name().unwrap().to_str().unwrap();
        name.starts_with("index.sqlite") || name.ends_with(".csb")
    };
    assert!(known.iter().all(ours), "{known:?}");
    assert_eq!(sites.names("chi/users.sqlite"), ["own"]);
    assert_eq!(fs::read_dir(sites.path("chi/share")).unwrap().count(), 1);
}

#[test]
fn what_writes_from_afar_never_makes_the_history_shorter() {
    let sites = Sites::new();
    let nothing = HistoryLimits {
        keep: jiff::SignedDuration::from_mins(1),
        max: HistorySize::Bytes(20_000),
        ..HistoryLimits::default()
    };
    let change = |number: usize| {
        let text = format!("INSERT INTO users VALUES ('{number} {}')", "x".repeat(9_000));
        sql(&sites.path("atl/users.sqlite"), &text);
        fs::write(sites.path("atl/share/slides"), vec![number as u8; 30_000]).unwrap();
    };
    for stores in [sites.users_with(nothing.clone()), sites.files_with(nothing)] {
        let module = sites.pushing(stores.clone(), &ALL);
        let refused = (0..40).find_map(|number| {
            change(number);
            let done = module.run_cycle(&context(sites.lease(), &Arc::default()));
            done.err().map(|failure| failure.error)
        });
        let refused = refused.expect("the history is not full");
        assert_eq!(refused.kind, ErrorKind::HistoryFull, "{refused:#?}");
        if matches!(stores, Stores::PresenceFocus { .. }) {
            // The oldest may be merged, and none is dropped: the first state is still there.
            let oldest = module.states().unwrap().unwrap().pop().unwrap();
            let to = sites.path("restored.sqlite");
            let wanted = WantedState::Revision(oldest.revision);
            module.restore_state(wanted, &[], &to, &context(sites.lease(), &Arc::default())).unwrap();
            assert_eq!(sites.names("restored.sqlite").len(), 3, "as it was copied first");
        }
        // The machine of the copy may go on.
        let own = stores.open(&fqdn("atl"), &Reach::Here, &Reach::Here).unwrap();
        own.run_cycle(&context(sites.lease(), &Arc::default())).unwrap();
    }
}

#[test]
fn what_is_given_back_from_afar_is_made_only_where_nothing_is() {
    let sites = Sites::new();
    sites.cycle(sites.users());
    sites.cycle(sites.files());
    let giving = |stores: Stores, grants: &[Grant]| {
        sites.remote(stores, Reach::There(sites.place("atl", "chi", grants)), Reach::Here)
    };
    let give = |stores: Stores, grants: &[Grant]| {
        giving(stores, grants)
            .carry_back(&context(sites.lease(), &Arc::default()))
            .map_err(|failure| failure.error)
    };
    sql(&sites.path("atl/users.sqlite"), "INSERT INTO users VALUES ('new')");
    assert_eq!(give(sites.users(), &ALL).unwrap().moved, Moved::default());
    assert_eq!(sites.names("atl/users.sqlite"), ["a", "b", "new"], "what is there stays");
    fs::remove_file(sites.path("atl/users.sqlite")).unwrap();
    fs::remove_file(sites.path("atl/share/slides")).unwrap();
    for stores in [sites.users(), sites.files()] {
        for grants in [&[Grant::Read][..], &[Grant::Read, Grant::Write]] {
            let error = give(stores.clone(), grants).unwrap_err();
            assert_eq!(error.kind, ErrorKind::PeerRefused, "{error:#?}");
            assert!(error.advice.contains("--grant give-back"), "{error:#?}");
        }
        let given = give(stores, &ALL).unwrap();
        assert!(given.moved.items_written > 0, "{given:#?}");
    }
    assert_eq!(sites.names("atl/users.sqlite"), ["a", "b"]);
    assert_eq!(fs::read(sites.path("atl/share/slides")).unwrap(), b"slides");
}

#[test]
fn a_line_that_is_cut_at_any_byte_leaves_a_state_that_was_and_the_next_cycle_works() {
    let sites = Sites::new();
    sites.cycle(sites.users());
    sites.cycle(sites.files());
    let mut number = 0;
    for cut_after in (0..4_000).step_by(211) {
        number += 1;
        let text =
            format!("UPDATE users SET name = '{number}' || substr(name, -1); INSERT INTO users VALUES ('x')");
        sql(&sites.path("atl/users.sqlite"), &text);
        fs::write(sites.path("atl/share/slides"), format!("slides {number}").repeat(number)).unwrap();
        for stores in [sites.users(), sites.files()] {
            let generation = sites.lease();
            sites.line.cut_after(Some(cut_after));
            let module = sites.pushing(stores.clone(), &ALL);
            let done = module.run_cycle(&context(generation, &Arc::default()));
            sites.line.cut_after(None);
            if let Err(failure) = done {
                assert_eq!(failure.error.kind, ErrorKind::StoreUnavailable, "{cut_after}: {failure:#?}");
            }
            // As its readers see it: nobody mends anything.
            assert_eq!(
                Connection::open_with_flags(
                    sites.path("chi/copy.sqlite"),
                    rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY
                )
                .unwrap()
                .query_row("PRAGMA integrity_check", [], |row| row.get::<_, String>(0))
                .unwrap(),
                "ok"
            );
            let copied = fs::read_to_string(sites.path("chi/copy/slides")).unwrap();
            let is_one = (1..=number).any(|number| copied == format!("slides {number}").repeat(number));
            assert!(is_one || copied == "slides", "{cut_after}: {copied}");
            sites.cycle(stores);
        }
        assert_eq!(sites.names("chi/copy.sqlite"), sites.names("atl/users.sqlite"));
        assert_eq!(
            fs::read(sites.path("chi/copy/slides")).unwrap(),
            fs::read(sites.path("atl/share/slides")).unwrap()
        );
    }
}

/// A helper that asks for more than the job reads.
struct Curious(ServedPlace);

impl Answers for Curious {
    fn welcome(&self, hello: &crate::wire::Hello) -> Result<crate::wire::Welcome> {
        self.0.welcome(hello)
    }

    fn serve(&self, _message: u8, request: &[u8], call: &mut crate::wire::Served) -> Result<Vec<u8>> {
        let asked: Asked = serde_json::from_str(&crate::wire::decode::<String>(request)?).unwrap();
        let back = served::called_back(&asked.other, call);
        let mut refused = 0;
        for url in ["sqlite:atl/secret.sqlite", "sqlite:chi/users.sqlite", "file:atl", "file:/etc"] {
            let url = StoreUrl::parse(url, Path::new("/")).unwrap();
            let stores = match url.to_string().starts_with("file") {
                true => factory::content_store(&url, &Reach::There(Arc::clone(&back)), &[])
                    .and_then(|store| store.identify().map(drop)),
                false => factory::management_store(&url, &Reach::There(Arc::clone(&back)))
                    .and_then(|store| store.all_current().map(drop)),
            };
            refused += usize::from(stores.is_err_and(|error| error.kind == ErrorKind::PeerRefused));
        }
        assert_eq!(refused, 4);
        Err(Error::new(ErrorKind::StoreBusy, "It looked.", ""))
    }
}

#[test]
fn whoever_is_called_sees_the_stores_of_the_job_and_no_others() {
    let sites = Sites::new();
    sql(&sites.path("atl/secret.sqlite"), "CREATE TABLE secrets (a)");
    let served = |place| Arc::new(Curious(place)) as Arc<dyn Answers>;
    let place = sites.line.granted(&ALL, &sites.path("chi"), &sites.path("state"), ("chi", "atl"), served);
    let module = sites.remote(sites.users(), Reach::Here, Reach::There(place));
    let error = module.run_cycle(&context(Generation(1), &Arc::default())).unwrap_err().error;
    assert_eq!((error.kind, error.message.as_str()), (ErrorKind::StoreBusy, "It looked."), "{error:#?}");
}

#[test]
fn a_database_of_somebody_elses_is_not_opened_as_an_index_or_as_documents() {
    use std::os::unix::fs::{MetadataExt, PermissionsExt};
    let sites = Sites::new();
    let users = sites.path("chi/users.sqlite");
    fs::set_permissions(&users, fs::Permissions::from_mode(0o664)).unwrap();
    let look = || {
        let seen = fs::metadata(&users).unwrap();
        let beside = fs::read_dir(sites.path("chi")).unwrap().map(|entry| entry.unwrap().file_name());
        let mut beside: Vec<_> = beside.filter(|name| name.to_str().unwrap().starts_with("users")).collect();
        beside.sort();
        (seen.mode(), seen.mtime_nsec(), seen.ctime_nsec(), seen.len(), beside)
    };
    let before = look();
    let Stores::DataConf { source, copy, history, .. } = sites.files() else { panic!() };
    let index = sites.url("sqlite:chi/users.sqlite");
    let files = Stores::DataConf {
        source,
        source_databases: Vec::new(),
        copy,
        copy_databases: Vec::new(),
        index,
        batch_bytes: 1,
        history,
    };
    factory::new_management_store(&sites.url("sqlite:atl/cms.sqlite"), &Reach::Here).unwrap();
    let documents = Stores::CmsMaster {
        master: sites.url("sqlite:atl/cms.sqlite"),
        copy: sites.url("sqlite:chi/users.sqlite"),
        max_batches: 1,
    };
    let Stores::PresenceFocus { source, patience_ms, .. } = sites.users() else { panic!() };
    let users_copy =
        Stores::PresenceFocus { source, copy: sites.url("sqlite:chi/users.sqlite"), patience_ms };
    for stores in [files, documents] {
        let module = sites.pushing(stores, &ALL);
        for error in [sites.refused(&module), module.observe(&Look::default()).unwrap_err()] {
            assert_eq!(error.kind, ErrorKind::ForeignContent, "{error:#?}");
        }
        assert_eq!(look(), before);
    }
    // Nor as a copy of a user store, beside which a folder is made for whoever imports.
    assert_eq!(sites.refused(&sites.pushing(users_copy, &ALL)).kind, ErrorKind::ForeignContent);
    let (mode, mtime, ctime, length, _) = look();
    assert_eq!((mode, mtime, ctime, length), (before.0, before.1, before.2, before.3));
}

/// A helper that warns for ever.
struct Warning(ServedPool);

impl Answers for Warning {
    fn welcome(&self, hello: &crate::wire::Hello) -> Result<crate::wire::Welcome> {
        self.0.welcome(hello)
    }

    fn serve(&self, _message: u8, _request: &[u8], call: &mut crate::wire::Served) -> Result<Vec<u8>> {
        let told = document(&Told::Warning("Look here.".to_owned()))?;
        loop {
            call.put(&[&[tag::TOLD], told.as_bytes()].concat())?;
        }
    }
}

#[test]
fn a_helper_that_never_ends_to_warn_is_not_listened_to_for_ever() {
    let sites = Sites::new();
    let served = |place| Arc::new(Warning(ServedPool::new(place))) as Arc<dyn Answers>;
    let place = sites.line.granted(&ALL, &sites.path("chi"), &sites.path("state"), ("chi", "atl"), served);
    let module = sites.remote(sites.users(), Reach::Here, Reach::There(place));
    assert_eq!(sites.refused(&module).kind, ErrorKind::PeerIncompatible);
}

#[test]
fn many_syncs_of_a_day_from_afar_take_no_more_away_than_one() {
    let sites = Sites::new();
    let server = Connection::open(sites.path("atl/users.sqlite")).unwrap();
    let add = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 2000) INSERT INTO users SELECT 'user ' || hex(randomblob(400)) FROM n";
    server.execute_batch(add).unwrap();
    sites.cycle(sites.users());
    // A fifth with each sync: none is a half.
    let module = sites.pushing(sites.users(), &ALL);
    let mut took = 0;
    let refused = loop {
        took += 1;
        server.execute_batch("DELETE FROM users WHERE rowid IN (SELECT rowid FROM users ORDER BY rowid LIMIT (SELECT count(*) / 5 FROM users)); VACUUM").unwrap();
        match module.run_cycle(&context(sites.lease(), &Arc::default())) {
            Ok(_) => assert!(took < 6),
            Err(failure) => break failure.error,
        }
    };
    assert_eq!((refused.kind, took), (ErrorKind::SafetyShareExceeded, 4), "{refused:#?}");
    assert!(refused.message.contains("users"), "{refused:#?}");
    // The plan says the same, and the machine of the copy may follow.
    let planned = module.observe(&Look { thorough: true, ..Look::default() }).unwrap();
    assert_eq!(planned.refused.map(|refused| refused.kind), Some(ErrorKind::SafetyShareExceeded));
    let own = sites.users().open(&fqdn("atl"), &Reach::Here, &Reach::Here).unwrap();
    own.run_cycle(&Context { accept_deletions: true, ..context(sites.lease(), &Arc::default()) }).unwrap();
    server.execute_batch("DELETE FROM users WHERE rowid % 5 = 0; VACUUM").unwrap();
    module.run_cycle(&context(sites.lease(), &Arc::default())).unwrap();
}
