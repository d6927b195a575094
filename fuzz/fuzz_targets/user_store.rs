//! Any SQL that a server may run: what it leaves in its database arrives at the standby, before and after a first copy.
#![no_main]

use std::path::Path;
use std::time::Duration;

use cs_backup::store::Generation;
use cs_backup::store::user::pages::PagePair;
use cs_backup::store::user::{UserStorePair, Work};
use cs_backup::topology::{StoreUrl, UserStoreConfig};
use jiff::Timestamp;
use libfuzzer_sys::{Corpus, fuzz_target};
use rusqlite::Connection;
use rusqlite::hooks::{AuthAction, Authorization};
use tokio_util::sync::CancellationToken;

/// What a server runs before its first copy is made and after it stand apart by this.
const THEN: &str = "\n--then\n";

/// Steps of SQLite's machine that one half may take: some queries never end.
const STEPS: i32 = 200_000;

fn allowed(action: AuthAction<'_>) -> Authorization {
    match action {
        // Other files, and settings of a connection that make it no server any more.
        AuthAction::Attach { .. } | AuthAction::Detach { .. } | AuthAction::Pragma { .. } => Authorization::Deny,
        _ => Authorization::Allow,
    }
}

/// Runs what can be run, statement by statement; a transaction that is left open is undone.
fn serve(source: &Path, sql: &str) {
    let mut server = Connection::open(source).unwrap();
    server.authorizer(Some(|context: rusqlite::hooks::AuthContext<'_>| allowed(context.action))).unwrap();
    server.progress_handler(STEPS, Some(|| true)).unwrap();
    for statement in sql.split(';') {
        let _ = server.execute_batch(statement);
    }
    if !server.is_autocommit() {
        let _ = server.execute_batch("ROLLBACK");
    }
}

/// Every row of every table that is not ours, with its storage classes.
fn contents(path: &Path) -> Vec<String> {
    let connection = Connection::open(path).unwrap();
    let names = "SELECT name FROM sqlite_schema WHERE type = 'table' AND rootpage > 0 AND name NOT LIKE 'csb\\_%' ESCAPE '\\'
         AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\'";
    let names: Vec<String> =
        connection.prepare(names).unwrap().query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
    let mut rows = Vec::new();
    for name in names {
        let mut statement = connection.prepare(&format!("SELECT * FROM \"{}\"", name.replace('"', "\"\""))).unwrap();
        let width = statement.column_count();
        let mut found = statement.query([]).unwrap();
        while let Some(row) = found.next().unwrap() {
            let values: Vec<_> = (0..width).map(|i| format!("{:?}", row.get_ref(i).unwrap())).collect();
            rows.push(format!("{name}: {values:?}"));
        }
    }
    rows.sort();
    rows
}

fuzz_target!(|text: &str| -> Corpus {
    let folder = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
    let (source, standby) = (folder.path().join("users.sqlite"), folder.path().join("standby.sqlite"));
    let config = UserStoreConfig::new(StoreUrl::try_from(format!("sqlite:{}", source.display())).unwrap());
    let pair = PagePair::new(config, &standby, Duration::from_secs(10)).unwrap();
    for sql in text.split(THEN).take(3) {
        serve(&source, sql);
        let cancel = CancellationToken::new();
        let work = Work { generation: Generation(1), verify: false, accept_deletions: true, cancel: &cancel, progress: &|_| {}, now: Timestamp::now() };
        match pair.synchronize(&work) {
            Ok(outcome) if outcome.quarantined.is_empty() => assert_eq!(contents(&source), contents(&standby)),
            Ok(_) => {}
            Err(error) => panic!("{error}: {:#?}", error.causes),
        }
    }
    Corpus::Keep
});
