//! The contract of a user store pair, on SQLite.

use std::path::{Path, PathBuf};

use cs_backup::error::{ErrorKind, Result};
use cs_backup::store::Generation;
use cs_backup::store::user::sqlite::SqlitePair;
use cs_backup::store::user::{PairOutcome, UserStorePair, Work};
use cs_backup::topology::{StoreUrl, UserStoreConfig};
use jiff::Timestamp;
use proptest::prelude::*;
use rusqlite::Connection;
use rusqlite::types::Value;
use tokio_util::sync::CancellationToken;

/// A pair in a folder of its own; the server's connection has SQLite's own defaults.
pub struct Pair {
    folder: tempfile::TempDir,
    pub server: Connection,
    pub pair: SqlitePair,
}

impl Pair {
    fn new(schema: &str) -> Self {
        Self::configured(schema, |_| {})
    }

    fn configured(schema: &str, configure: impl FnOnce(&mut UserStoreConfig)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let source = folder.path().join("users.sqlite");
        let server = Connection::open(&source).unwrap();
        server.busy_timeout(std::time::Duration::from_secs(5)).unwrap();
        server.execute_batch(schema).unwrap();
        let mut config =
            UserStoreConfig { url: StoreUrl::Sqlite(source), keys: Default::default(), exclude: vec![] };
        configure(&mut config);
        let pair = SqlitePair::new(config, &folder.path().join("standby.sqlite"), 500);
        Pair { folder, server, pair }
    }

    fn source(&self) -> PathBuf {
        self.folder.path().join("users.sqlite")
    }

    fn standby(&self) -> PathBuf {
        self.folder.path().join("standby.sqlite")
    }

    fn synchronize(&self) -> Result<PairOutcome> {
        self.synchronize_as(1)
    }

    fn synchronize_as(&self, generation: i64) -> Result<PairOutcome> {
        let cancel = CancellationToken::new();
        self.pair.synchronize(&work(&cancel, generation))
    }

    /// Synchronizes and compares every row of every table.
    fn synchronize_and_compare(&self) -> PairOutcome {
        let outcome = self.synchronize().unwrap();
        assert_eq!(dump(&self.source()), dump(&self.standby()));
        outcome
    }
}

fn work(cancel: &CancellationToken, generation: i64) -> Work<'_> {
    Work { generation: Generation(generation), cancel, progress: &|_, _, _, _| {}, now: Timestamp::now() }
}

/// Every row of every table that is not ours, as text with its storage class.
fn dump(path: &Path) -> Vec<String> {
    let connection = Connection::open(path).unwrap();
    let tables: Vec<String> = connection
        .prepare("SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'csb\\_%' ESCAPE '\\' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' ORDER BY name")
        .unwrap()
        .query_map([], |row| row.get(0))
        .unwrap()
        .collect::<rusqlite::Result<_>>()
        .unwrap();
    let mut rows = Vec::new();
    for table in tables {
        let mut statement =
            connection.prepare(&format!("SELECT * FROM \"{}\"", table.replace('"', "\"\""))).unwrap();
        let width = statement.column_count();
        let mut of_table: Vec<String> = statement
            .query_map([], |row| {
                let values: Vec<Value> = (0..width).map(|i| row.get(i)).collect::<rusqlite::Result<_>>()?;
                Ok(format!("{table}: {values:?}"))
            })
            .unwrap()
            .collect::<rusqlite::Result<_>>()
            .unwrap();
        of_table.sort();
        rows.extend(of_table);
    }
    rows
}

const USERS: &str = "
CREATE TABLE users (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, card BLOB);
CREATE TABLE contacts (owner TEXT NOT NULL, contact TEXT NOT NULL, note, PRIMARY KEY (owner, contact)) WITHOUT ROWID;
INSERT INTO users (name) VALUES ('anna'), ('bert');
INSERT INTO contacts VALUES ('anna', 'bert', 1.5), ('bert', 'anna', NULL);
";

#[test]
fn the_first_copy_equals_the_source_and_a_quiet_run_writes_nothing() {
    let pair = Pair::new(USERS);
    let first = pair.synchronize_and_compare();
    assert_eq!(first.moved.items_written, 4);
    assert!(first.quarantined.is_empty() && first.warnings.is_empty(), "{first:?}");
    let before = std::fs::read(pair.standby()).unwrap();
    let source_before = std::fs::read(pair.source()).unwrap();
    assert!(pair.synchronize().unwrap().moved.is_nothing());
    assert_eq!(std::fs::read(pair.standby()).unwrap(), before);
    assert_eq!(std::fs::read(pair.source()).unwrap(), source_before);
}

#[test]
fn inserts_updates_deletes_and_key_changes_travel() {
    let pair = Pair::new(USERS);
    pair.synchronize_and_compare();
    pair.server
        .execute_batch(
            "INSERT INTO users (name, card) VALUES ('carl', x'00ff');
             UPDATE users SET name = 'anne' WHERE name = 'anna';
             UPDATE contacts SET owner = 'anne' WHERE owner = 'anna';
             DELETE FROM contacts WHERE owner = 'bert';",
        )
        .unwrap();
    let observed = pair.pair.observe(&CancellationToken::new()).unwrap();
    assert!(observed.initialized && observed.pending > 0 && observed.oldest.is_some());
    let outcome = pair.synchronize_and_compare();
    assert_eq!(outcome.moved.batches, 1);
    assert_eq!(pair.pair.observe(&CancellationToken::new()).unwrap().pending, 0);
}

#[test]
fn a_row_replaced_through_another_unique_key_disappears_from_the_standby() {
    let pair = Pair::new(USERS);
    pair.synchronize_and_compare();
    pair.server.execute_batch("INSERT OR REPLACE INTO users (id, name) VALUES (77, 'anna')").unwrap();
    pair.synchronize_and_compare();
    pair.server.execute_batch("UPDATE OR REPLACE users SET name = 'bert' WHERE id = 77").unwrap();
    pair.synchronize_and_compare();
}

#[test]
fn unique_values_may_be_swapped() {
    let pair = Pair::new(USERS);
    pair.synchronize_and_compare();
    pair.server
        .execute_batch(
            "BEGIN; UPDATE users SET name = 'x' WHERE id = 1; UPDATE users SET name = 'anna' WHERE id = 2;
             UPDATE users SET name = 'bert' WHERE id = 1; COMMIT;",
        )
        .unwrap();
    pair.synchronize_and_compare();
}

const PROSODY: &str = "
CREATE TABLE prosody (host TEXT, user TEXT, store TEXT, key TEXT, type TEXT, value TEXT);
CREATE INDEX prosody_index ON prosody (host, user, store, key);
INSERT INTO prosody VALUES ('h', 'u', 'roster', 'a@h', 'json', '{}'), ('h', 'u', 'roster', NULL, 'json', '1'), ('h', 'u', 'roster', NULL, 'json', '2');
";

#[test]
fn a_table_without_a_key_names_the_lines_to_add() {
    let pair = Pair::new(PROSODY);
    let error = pair.synchronize().unwrap_err();
    assert_eq!(error.kind, ErrorKind::KeyMissing);
    assert!(error.advice.contains("\"prosody\" = ["), "{}", error.advice);
    assert!(!pair.standby().exists());
}

#[test]
fn a_key_of_the_topology_may_be_shared_and_null() {
    let pair = Pair::configured(PROSODY, |config| {
        let key = ["host", "user", "store", "key"].map(str::to_owned).to_vec();
        config.keys.insert("prosody".to_owned(), key);
    });
    pair.synchronize_and_compare();
    pair.server
        .execute_batch("DELETE FROM prosody WHERE value = '1'; INSERT INTO prosody VALUES ('h', 'u', 'roster', NULL, 'json', '3');")
        .unwrap();
    pair.synchronize_and_compare();
    pair.server.execute_batch("VACUUM; DELETE FROM prosody WHERE key IS NULL").unwrap();
    pair.synchronize_and_compare();
}

#[test]
fn excluded_tables_travel_empty() {
    let pair = Pair::configured("CREATE TABLE session_a (x); INSERT INTO session_a VALUES (1);", |config| {
        config.exclude.push("session_*".to_owned());
    });
    pair.synchronize().unwrap();
    assert_eq!(dump(&pair.standby()), Vec::<String>::new());
    let standby = Connection::open(pair.standby()).unwrap();
    standby.query_row("SELECT count(*) FROM session_a", [], |_| Ok(())).unwrap();
}

#[test]
fn the_standby_is_fenced_and_the_source_is_not() {
    let pair = Pair::new(USERS);
    pair.synchronize_and_compare();
    let standby = Connection::open(pair.standby()).unwrap();
    for sql in
        ["INSERT INTO users (name) VALUES ('x')", "UPDATE users SET name = 'x'", "DELETE FROM contacts"]
    {
        let error = standby.execute(sql, []).unwrap_err();
        assert!(error.to_string().contains("pool is read-only"), "{error}");
    }
    pair.server.execute("DELETE FROM contacts", []).unwrap();
    pair.synchronize_and_compare();
}

#[test]
fn triggers_views_and_cascades_of_the_server_fire_only_at_the_source() {
    let pair = Pair::new(
        "CREATE TABLE parent (id INTEGER PRIMARY KEY);
         CREATE TABLE child (id INTEGER PRIMARY KEY, parent REFERENCES parent ON DELETE CASCADE);
         CREATE TABLE audit (id INTEGER PRIMARY KEY AUTOINCREMENT, what);
         CREATE TRIGGER log AFTER INSERT ON parent BEGIN INSERT INTO audit (what) VALUES (NEW.id); END;
         CREATE VIEW counts AS SELECT count(*) AS n FROM child;
         INSERT INTO parent VALUES (1), (2); INSERT INTO child VALUES (10, 1), (20, 2);",
    );
    pair.synchronize_and_compare();
    pair.server
        .execute_batch(
            "PRAGMA foreign_keys = ON; INSERT INTO parent VALUES (3); DELETE FROM parent WHERE id = 1;",
        )
        .unwrap();
    pair.synchronize_and_compare();
    assert_eq!(dump(&pair.standby()).iter().filter(|row| row.starts_with("audit")).count(), 3);
}

#[test]
fn a_changed_schema_follows() {
    let pair = Pair::new(USERS);
    pair.synchronize_and_compare();
    pair.server
        .execute_batch(
            "ALTER TABLE users ADD COLUMN mail TEXT DEFAULT 'none'; CREATE TABLE rooms (id INTEGER PRIMARY KEY, name);
             INSERT INTO rooms VALUES (1, 'lobby'); DROP TABLE contacts; CREATE INDEX by_mail ON users (mail);",
        )
        .unwrap();
    pair.synchronize_and_compare();
    pair.server
        .execute_batch("INSERT INTO rooms VALUES (2, 'garden'); ALTER TABLE rooms RENAME TO halls;")
        .unwrap();
    pair.synchronize_and_compare();
    pair.server.execute_batch("UPDATE halls SET name = 'yard' WHERE id = 2").unwrap();
    let outcome = pair.synchronize_and_compare();
    assert_eq!(outcome.moved.items_written, 1, "{outcome:?}");
}

#[test]
fn a_table_rebuilt_without_its_triggers_is_copied_whole() {
    let pair = Pair::new(USERS);
    pair.synchronize_and_compare();
    pair.server
        .execute_batch(
            "BEGIN; CREATE TABLE new_users (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, card BLOB, age INTEGER);
             INSERT INTO new_users SELECT id, upper(name), card, 7 FROM users; DROP TABLE users;
             ALTER TABLE new_users RENAME TO users; COMMIT;",
        )
        .unwrap();
    pair.synchronize_and_compare();
    pair.server.execute_batch("DELETE FROM users WHERE id = 1").unwrap();
    pair.synchronize_and_compare();
}

#[test]
fn a_source_restored_to_an_earlier_state_is_noticed_and_the_newer_copy_kept() {
    let pair = Pair::new(USERS);
    pair.synchronize_and_compare();
    let earlier = pair.folder.path().join("earlier.sqlite");
    pair.server.execute("VACUUM INTO ?1", [earlier.to_str().unwrap()]).unwrap();
    pair.server.execute_batch("INSERT INTO users (name) VALUES ('lost')").unwrap();
    pair.synchronize_and_compare();
    let Pair { folder, server, pair } = pair;
    drop(server);
    std::fs::copy(&earlier, folder.path().join("users.sqlite")).unwrap();
    let server = Connection::open(folder.path().join("users.sqlite")).unwrap();
    for name in 0..20 {
        server.execute("INSERT INTO users (name) VALUES (?1)", [format!("later {name}")]).unwrap();
    }
    let pair = Pair { folder, server, pair };
    let outcome = pair.synchronize_and_compare();
    assert!(outcome.warnings[0].contains("restored to an earlier state"), "{outcome:?}");
    let kept = std::fs::read_dir(pair.folder.path())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .find(|path| path.to_str().unwrap().contains("superseded"))
        .unwrap();
    assert!(dump(&kept).iter().any(|row| row.contains("lost")));
}

#[test]
fn an_older_generation_is_refused_by_the_standby_itself() {
    let pair = Pair::new(USERS);
    pair.synchronize_as(5).unwrap();
    pair.server.execute_batch("DELETE FROM users").unwrap();
    let before = dump(&pair.standby());
    assert_eq!(pair.synchronize_as(4).unwrap_err().kind, ErrorKind::Fenced);
    assert_eq!(dump(&pair.standby()), before);
    pair.synchronize_as(6).unwrap();
    assert_eq!(dump(&pair.source()), dump(&pair.standby()));
}

#[test]
fn a_half_made_copy_of_a_newer_owner_is_left_alone_and_that_of_an_older_one_removed() {
    let pair = Pair::new(USERS);
    let file = |generation: i64| pair.folder.path().join(format!("standby.sqlite.csb-new-{generation}"));
    for generation in [3, 5, 7] {
        std::fs::write(file(generation), "half made").unwrap();
    }
    pair.synchronize_as(5).unwrap();
    assert_eq!(dump(&pair.source()), dump(&pair.standby()));
    assert!(!file(3).exists() && !file(5).exists());
    assert_eq!(std::fs::read_to_string(file(7)).unwrap(), "half made");
}

#[test]
fn an_update_is_one_change() {
    let pair = Pair::new(USERS);
    pair.synchronize_and_compare();
    pair.server.execute_batch("UPDATE users SET card = x'01'; UPDATE contacts SET note = 'n'").unwrap();
    assert_eq!(pair.pair.observe(&CancellationToken::new()).unwrap().pending, 4);
    pair.synchronize_and_compare();
}

#[test]
fn a_lost_store_is_given_back_and_its_log_goes_on() {
    let pair = Pair::new(USERS);
    pair.synchronize_and_compare();
    assert_eq!(pair.pair.lost().unwrap(), None);
    let rows = dump(&pair.standby());
    let Pair { folder, server, pair } = pair;
    drop(server);
    std::fs::remove_file(folder.path().join("users.sqlite")).unwrap();
    let cancel = CancellationToken::new();
    assert_eq!(pair.synchronize(&work(&cancel, 1)).unwrap_err().kind, ErrorKind::StoreUnavailable);
    assert!(pair.lost().unwrap().is_some());
    pair.restore(&work(&cancel, 1)).unwrap();
    assert_eq!(pair.lost().unwrap(), None);
    let server = Connection::open(folder.path().join("users.sqlite")).unwrap();
    let pair = Pair { folder, server, pair };
    assert_eq!(dump(&pair.source()), rows);
    pair.server.execute_batch("INSERT INTO users (name) VALUES ('after')").unwrap();
    let outcome = pair.synchronize_and_compare();
    assert_eq!(outcome.moved.items_written, 1, "{outcome:?}");
}

#[test]
fn removing_traces_leaves_both_databases_as_the_server_made_them() {
    let pair = Pair::new(USERS);
    pair.synchronize_and_compare();
    let listed = pair.pair.remove_traces(true).unwrap();
    assert_eq!(pair.pair.remove_traces(false).unwrap(), listed);
    assert!(listed.iter().any(|trace| trace.kind == "trigger" && trace.name.starts_with("csb_fence")));
    for path in [pair.source(), pair.standby()] {
        let left: i64 = Connection::open(path)
            .unwrap()
            .query_row("SELECT count(*) FROM sqlite_schema WHERE name LIKE 'csb%'", [], |row| row.get(0))
            .unwrap();
        assert_eq!(left, 0);
    }
    assert!(pair.pair.remove_traces(false).unwrap().is_empty());
}

#[test]
fn the_log_is_pruned_by_the_cycle_after_and_at_once_where_it_is_long() {
    let pair = Pair::new(USERS);
    let logged = |pair: &Pair| -> i64 {
        pair.server.query_row("SELECT count(*) FROM csb_change", [], |row| row.get(0)).unwrap()
    };
    pair.synchronize_and_compare();
    for round in 0..3 {
        pair.server.execute("UPDATE users SET card = ?1", [round]).unwrap();
        pair.synchronize_and_compare();
        assert_eq!(logged(&pair), 2, "only what the standby has just confirmed");
    }
    pair.server
        .execute_batch(
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 12000)
             INSERT INTO contacts SELECT 'many', i, NULL FROM n",
        )
        .unwrap();
    pair.synchronize_and_compare();
    assert!(logged(&pair) < 6_000, "{}", logged(&pair));
}

#[test]
fn a_cancelled_run_leaves_the_standby_as_it_was() {
    let pair = Pair::new(USERS);
    pair.synchronize_and_compare();
    let before = dump(&pair.standby());
    pair.server.execute_batch("DELETE FROM users").unwrap();
    let cancel = CancellationToken::new();
    cancel.cancel();
    assert_eq!(pair.pair.synchronize(&work(&cancel, 1)).unwrap_err().kind, ErrorKind::Cancelled);
    assert_eq!(dump(&pair.standby()), before);
}

#[test]
fn a_locked_database_is_busy_with_advice() {
    let pair = Pair::new(USERS);
    pair.server.execute_batch("BEGIN EXCLUSIVE").unwrap();
    let error = pair.synchronize().unwrap_err();
    assert_eq!(error.kind, ErrorKind::StoreBusy);
    assert!(error.retryable && !error.advice.is_empty());
}

struct StopOnDrop<'a>(&'a std::sync::atomic::AtomicBool);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, std::sync::atomic::Ordering::Relaxed);
    }
}

#[test]
fn a_writer_during_the_copies_never_tears_them() {
    let pair = Pair::new(
        "CREATE TABLE halves (id INTEGER PRIMARY KEY, side TEXT, amount INTEGER, padding TEXT);
         WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 40000)
         INSERT INTO halves SELECT i, 'left', 100, hex(randomblob(20)) FROM n;",
    );
    let stop = std::sync::atomic::AtomicBool::new(false);
    let source = pair.source();
    let longest = std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let server = Connection::open(&source).unwrap();
            server.busy_timeout(std::time::Duration::from_secs(5)).unwrap();
            let mut longest = std::time::Duration::ZERO;
            for round in 0.. {
                if stop.load(std::sync::atomic::Ordering::Relaxed) {
                    break;
                }
                let (a, b) = ((round * 7) % 40000 + 1, (round * 13) % 40000 + 1);
                let started = std::time::Instant::now();
                server
                    .execute_batch(&format!(
                        "BEGIN IMMEDIATE; UPDATE halves SET amount = amount - 1 WHERE id = {a};
                         UPDATE halves SET amount = amount + 1 WHERE id = {b}; COMMIT;"
                    ))
                    .unwrap();
                longest = longest.max(started.elapsed());
            }
            longest
        });
        let _stops_also_on_failure = StopOnDrop(&stop);
        for _ in 0..6 {
            pair.synchronize().unwrap();
            let total: i64 = Connection::open(pair.standby())
                .unwrap()
                .query_row("SELECT sum(amount) FROM halves", [], |row| row.get(0))
                .unwrap();
            assert_eq!(total, 4_000_000, "the standby holds half of a transaction");
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        writer.join().unwrap()
    });
    eprintln!("the writer's longest transaction took {longest:?}");
    pair.synchronize_and_compare();
}

#[derive(Clone, Debug)]
enum Write {
    Put(i64, String),
    Replace(i64, String),
    Rename(i64, i64),
    Delete(i64),
    Truncate,
    Vacuum,
    Synchronize,
}

fn write() -> impl Strategy<Value = Write> {
    let id = 0..8_i64;
    let name = "[a-f]";
    prop_oneof![
        4 => (id.clone(), name).prop_map(|(id, name)| Write::Put(id, name)),
        2 => (id.clone(), name).prop_map(|(id, name)| Write::Replace(id, name)),
        2 => (id.clone(), id.clone()).prop_map(|(a, b)| Write::Rename(a, b)),
        2 => id.prop_map(Write::Delete),
        1 => Just(Write::Truncate),
        1 => Just(Write::Vacuum),
        3 => Just(Write::Synchronize),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]
    #[test]
    fn any_sequence_of_writes_ends_with_equal_copies(writes in prop::collection::vec(write(), 1..40)) {
        let pair = Pair::new(USERS);
        for write in writes {
            let server = &pair.server;
            // A constraint may refuse a write: that is the server's affair.
            let _ = match write {
                Write::Put(id, name) => server.execute("INSERT INTO users (id, name) VALUES (?1, ?2) ON CONFLICT (id) DO UPDATE SET name = excluded.name", (id, name)),
                Write::Replace(id, name) => server.execute("INSERT OR REPLACE INTO users (id, name) VALUES (?1, ?2)", (id, name)),
                Write::Rename(a, b) => server.execute("UPDATE OR REPLACE users SET id = ?2 WHERE id = ?1", (a, b)),
                Write::Delete(id) => server.execute("DELETE FROM users WHERE id = ?1", [id]),
                Write::Truncate => server.execute("DELETE FROM users", []),
                Write::Vacuum => server.execute("VACUUM", []),
                Write::Synchronize => { pair.synchronize_and_compare(); Ok(0) }
            };
        }
        pair.synchronize_and_compare();
    }
}
