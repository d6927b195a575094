//! What a dry run says is what the run then does: counts, bytes and refusals, in any state of the
//! stores of both pools.

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use cs_backup::error::Error;
use cs_backup::report::{ModuleReport, PlannedStep};
use proptest::prelude::*;
use proptest::test_runner::Config;
use rusqlite::Connection;
use serde_json::json;

use super::what_if::changes_nothing;
use crate::support::*;

/// Names in a content store, those of the sample and others, so that edits meet. None lies in another one.
const NAMES: [&str; 5] = [
    "new",
    "folder/new",
    "conference-001/notes-0004.txt",
    "conference-001/slides-0001.pptx",
    "conference-002",
];

/// The two pools: the short name of one, its own one and the other's.
const POOLS: [(&str, &str, &str); 2] = [("atl", ATL, "chi"), ("chi", CHI, "atl")];

/// Who writes to a content store or to its copy, and what.
#[derive(Clone, Copy, Debug)]
enum Edit {
    /// A file at a pool, of so many bytes.
    Write {
        pool: usize,
        name: usize,
        size: usize,
    },
    Remove {
        pool: usize,
        name: usize,
    },
    Rename {
        pool: usize,
        from: usize,
        to: usize,
    },
    /// So many files that their removal exceeds the safety share.
    WriteMany {
        pool: usize,
    },
    RemoveMany {
        pool: usize,
    },
    /// Somebody else's file in the copy of a pool.
    WriteToCopy {
        pool: usize,
        name: usize,
    },
    RemoveFromCopy {
        pool: usize,
        name: usize,
    },
    LoseStore {
        pool: usize,
    },
    EmptyStore {
        pool: usize,
    },
    LoseCopy {
        pool: usize,
    },
    LoseIndex {
        pool: usize,
    },
    /// A document of the Central Management store.
    Publish {
        value: u64,
    },
    /// Somebody else's change of the copy of that store.
    ChangeDocumentOfCopy {
        revision: i64,
    },
    LoseDocuments,
    /// One of [`ROWS`] in a pool's user store.
    ChangeRows {
        pool: usize,
        change: usize,
    },
    LoseUsers {
        pool: usize,
    },
    /// A server that finds no database makes one.
    MakeUsersAnew {
        pool: usize,
    },
    /// Noise over one page.
    DamageUsers {
        pool: usize,
        page: u64,
    },
    LoseUsersCopy {
        pool: usize,
    },
    /// Somebody else's change of the copy of a user store.
    ChangeUsersCopy {
        pool: usize,
    },
}

/// What servers do with rows. The last ones empty what held many, or lay out every page anew.
const ROWS: [&str; 7] = [
    "UPDATE contacts SET added_ms = added_ms + 1 WHERE owner < 3",
    "INSERT INTO users (sip_uri, display_name) VALUES (hex(randomblob(8)), hex(randomblob(3000)))",
    "DELETE FROM users WHERE length(display_name) > 100",
    "CREATE TABLE IF NOT EXISTS many (text); WITH RECURSIVE n (x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n WHERE x < 2000)
     INSERT INTO many SELECT hex(randomblob(30)) FROM n",
    "CREATE TABLE IF NOT EXISTS many (text); DELETE FROM many",
    "DROP TABLE IF EXISTS many",
    "PRAGMA journal_mode = DELETE; PRAGMA page_size = 1024; VACUUM",
];

/// What is planned and then run.
#[derive(Clone, Copy, Debug)]
struct Job {
    kind: &'static str,
    pool: usize,
    accepts: bool,
    verify: bool,
    asks: Asks,
}

/// What a sync is asked to give back.
#[derive(Clone, Copy, Debug)]
enum Asks {
    Nothing,
    LostFiles,
    Everything,
}

fn edit() -> impl Strategy<Value = Edit> {
    let pool = || 0..POOLS.len();
    let name = || 0..NAMES.len();
    prop_oneof![
        8 => (pool(), name(), 0..3000_usize).prop_map(|(pool, name, size)| Edit::Write { pool, name, size }),
        4 => (pool(), name()).prop_map(|(pool, name)| Edit::Remove { pool, name }),
        2 => (pool(), name(), name()).prop_map(|(pool, from, to)| Edit::Rename { pool, from, to }),
        2 => pool().prop_map(|pool| Edit::WriteMany { pool }),
        2 => pool().prop_map(|pool| Edit::RemoveMany { pool }),
        2 => (pool(), name()).prop_map(|(pool, name)| Edit::WriteToCopy { pool, name }),
        2 => (pool(), name()).prop_map(|(pool, name)| Edit::RemoveFromCopy { pool, name }),
        1 => pool().prop_map(|pool| Edit::LoseStore { pool }),
        1 => pool().prop_map(|pool| Edit::EmptyStore { pool }),
        1 => pool().prop_map(|pool| Edit::LoseCopy { pool }),
        1 => pool().prop_map(|pool| Edit::LoseIndex { pool }),
        4 => (1..1000_u64).prop_map(|value| Edit::Publish { value }),
        1 => (1..4_i64).prop_map(|revision| Edit::ChangeDocumentOfCopy { revision }),
        1 => Just(Edit::LoseDocuments),
        10 => (pool(), 0..ROWS.len()).prop_map(|(pool, change)| Edit::ChangeRows { pool, change }),
        1 => pool().prop_map(|pool| Edit::LoseUsers { pool }),
        1 => pool().prop_map(|pool| Edit::MakeUsersAnew { pool }),
        1 => (pool(), 1..20_u64).prop_map(|(pool, page)| Edit::DamageUsers { pool, page }),
        1 => pool().prop_map(|pool| Edit::LoseUsersCopy { pool }),
        1 => pool().prop_map(|pool| Edit::ChangeUsersCopy { pool }),
    ]
}

fn job() -> impl Strategy<Value = Job> {
    let kind = prop_oneof![1 => Just("backup"), 2 => Just("sync")];
    let asks = prop_oneof![Just(Asks::Nothing), Just(Asks::LostFiles), Just(Asks::Everything)];
    (kind, 0..POOLS.len(), any::<bool>(), any::<bool>(), asks)
        .prop_map(|(kind, pool, accepts, verify, asks)| Job { kind, pool, accepts, verify, asks })
}

fn remove(path: &Path) {
    let gone = if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
    drop(gone);
}

fn remove_database(path: &Path) {
    for suffix in ["", "-wal", "-shm"] {
        remove(Path::new(&format!("{}{suffix}", path.display())));
    }
}

fn store(deployment: &Deployment, pool: usize) -> PathBuf {
    deployment.path(&format!("{}/share", POOLS[pool].0))
}

fn copy(deployment: &Deployment, pool: usize) -> PathBuf {
    let (name, _, partner) = POOLS[pool];
    deployment.path(&format!("{partner}/standby/{name}"))
}

/// Writes where there is a store, and no file in the place of a folder above.
fn write(root: &Path, name: &str, content: &[u8]) {
    let file = root.join(name);
    if root.is_dir() && fs::create_dir_all(file.parent().unwrap()).is_ok() {
        drop(fs::write(file, content));
    }
}

/// What a program or an administrator could do; what cannot be done is left out.
fn apply(deployment: &Deployment, edit: Edit) {
    let own = |pool| store(deployment, pool);
    let copies = |pool| copy(deployment, pool);
    let documents = deployment.path("chi/standby/cms.sqlite");
    match edit {
        Edit::Write { pool, name, size } => write(&own(pool), NAMES[name], &vec![b'x'; size]),
        Edit::Remove { pool, name } => remove(&own(pool).join(NAMES[name])),
        Edit::Rename { pool, from, to } => {
            drop(fs::rename(own(pool).join(NAMES[from]), own(pool).join(NAMES[to])));
        }
        Edit::WriteMany { pool } => {
            (0..40).for_each(|number| write(&own(pool), &format!("many/{number}"), b"one of many"));
        }
        Edit::RemoveMany { pool } => remove(&own(pool).join("many")),
        Edit::WriteToCopy { pool, name } => write(&copies(pool), NAMES[name], b"by others"),
        Edit::RemoveFromCopy { pool, name } => remove(&copies(pool).join(NAMES[name])),
        Edit::LoseStore { pool } => remove(&own(pool)),
        Edit::EmptyStore { pool } => {
            remove(&own(pool));
            fs::create_dir(own(pool)).unwrap();
        }
        Edit::LoseCopy { pool } => remove(&copies(pool)),
        Edit::LoseIndex { pool } => remove_database(&index(deployment, pool)),
        Edit::Publish { value } => {
            let settings = json!({ "maxConcurrentCalls": value });
            deployment
                .ask(json!({ "request": "setBackupServiceConfiguration", "settings": settings }))
                .unwrap();
        }
        Edit::ChangeDocumentOfCopy { revision } if documents.exists() => {
            let change = "UPDATE csb_document SET body = body || ' ' WHERE revision = ?1";
            server(&documents).execute(change, [revision]).unwrap();
        }
        Edit::ChangeDocumentOfCopy { .. } => {}
        Edit::LoseDocuments => remove_database(&documents),
        // A store that is gone, or is none any more, takes no change.
        Edit::ChangeRows { pool, change } if users(deployment, pool).exists() => {
            drop(Connection::open(users(deployment, pool)).unwrap().execute_batch(ROWS[change]));
        }
        Edit::ChangeRows { .. } => {}
        Edit::LoseUsers { pool } => remove_database(&users(deployment, pool)),
        Edit::MakeUsersAnew { pool } => {
            remove_database(&users(deployment, pool));
            let server = Connection::open(users(deployment, pool)).unwrap();
            server.execute_batch("CREATE TABLE users (a); INSERT INTO users VALUES (1)").unwrap();
        }
        Edit::DamageUsers { pool, page } => {
            if let Ok(file) = fs::File::options().write(true).open(users(deployment, pool)) {
                file.write_at(&[0xfe; 3_000], page * 4_096).unwrap();
            }
        }
        Edit::LoseUsersCopy { pool } => remove_database(&users_copy(deployment, pool)),
        Edit::ChangeUsersCopy { pool } => {
            if let Ok(file) = fs::File::options().write(true).open(users_copy(deployment, pool)) {
                file.write_at(b"by others", 3 * 4_096 - 20).unwrap();
            }
        }
    }
}

fn users(deployment: &Deployment, pool: usize) -> PathBuf {
    deployment.path(&format!("{}/users.sqlite", POOLS[pool].0))
}

fn users_copy(deployment: &Deployment, pool: usize) -> PathBuf {
    let (name, _, partner) = POOLS[pool];
    deployment.path(&format!("{partner}/standby/{name}.sqlite"))
}

fn index(deployment: &Deployment, pool: usize) -> PathBuf {
    let (name, _, partner) = POOLS[pool];
    deployment.path(&format!("{partner}/standby/{name}.service-content.sqlite"))
}

/// The errors of a row, as a person reads them.
fn errors(row: &ModuleReport) -> Vec<String> {
    row.errors
        .iter()
        .map(|error: &Error| format!("{:?} {:?} {}", error.kind, error.side, error.message))
        .collect()
}

/// Plans a job, runs it, and compares what both say, bytes only where they are `certain`.
fn assert_planned(deployment: &Deployment, job: Job, certain: bool) {
    let run = |what_if: bool| {
        let mut options = json!({ "whatIf": what_if, "acceptDeletions": job.accepts, "verify": job.verify, "retryCount": 0 });
        match job.asks {
            Asks::LostFiles if job.kind == "sync" => options["modules"] = json!(["DataConf"]),
            Asks::Everything if job.kind == "sync" => options["giveBack"] = json!(true),
            Asks::Nothing | Asks::LostFiles | Asks::Everything => {}
        }
        deployment.run(job.kind, POOLS[job.pool].1, options)
    };
    let planned = changes_nothing(deployment, || run(true)).report;
    let ran = run(false).report;
    assert!(planned.errors.is_empty() && ran.errors.is_empty(), "{planned:#?} {ran:#?}");
    let ids = |steps: &[PlannedStep]| steps.iter().map(|step| step.id.clone()).collect::<Vec<_>>();
    assert_eq!(ids(&planned.plan.steps), ids(&ran.plan.steps));
    assert_eq!(planned.warnings, ran.warnings);
    for step in planned.plan.steps.iter().filter(|step| step.module.is_some()) {
        if step.id.starts_with("look:") {
            let done = ran.steps.iter().find(|done| done.id == step.id).unwrap();
            let said = step.note.as_deref().unwrap_or("It lacks nothing.");
            assert_eq!(done.details, [said], "{job:?}");
            continue;
        }
        let purpose = step.id.split(':').next().unwrap();
        let row_of = |rows: &[ModuleReport]| {
            let row =
                rows.iter().find(|row| Some(&row.module) == step.module.as_ref() && row.purpose == purpose);
            row.unwrap().clone()
        };
        let (said, done) = (row_of(&planned.modules), row_of(&ran.modules));
        let bytes = |bytes: u64| certain.then_some(bytes);
        let moved = (done.moved.items_written + done.moved.items_deleted, bytes(done.moved.bytes));
        assert_eq!(
            (step.items.unwrap_or(0), bytes(step.bytes.unwrap_or_default()), errors(&said)),
            (moved.0, moved.1, errors(&done)),
            "{job:?} {}: {step:#?} {done:#?}",
            step.id
        );
        assert_eq!(
            step.refused.as_ref(),
            done.errors.first().map(|error| &error.message),
            "{job:?} {}",
            step.id
        );
        assert!(!step.items_estimated);
    }
}

/// 12 cases, unless `PROPTEST_CASES` says otherwise.
fn config() -> Config {
    let chosen = std::env::var_os("PROPTEST_CASES").is_some();
    let config = if chosen { Config::default() } else { Config::with_cases(12) };
    Config { failure_persistence: None, ..config }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn what_a_dry_run_says_is_what_the_run_does(
        has_copies in prop::bool::weighted(0.8),
        rounds in prop::collection::vec((prop::collection::vec(edit(), 0..6), job()), 1..5),
    ) {
        let deployment = Deployment::in_memory(SMALL);
        if has_copies {
            POOLS.iter().for_each(|(_, pool, _)| drop(deployment.run("backup", pool, json!({}))));
        }
        // Whether a file that was renamed is sent depends on the order in which files are read, where its earlier name got
        // another one.
        let mut is_certain = true;
        for (edits, job) in rounds {
            is_certain &= !edits.iter().any(|edit| matches!(edit, Edit::Rename { .. }));
            edits.into_iter().for_each(|edit| apply(&deployment, edit));
            assert_planned(&deployment, job, is_certain);
        }
    }
}
