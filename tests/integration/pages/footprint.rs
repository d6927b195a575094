//! The server does not notice: nothing at its store is created, written, or locked against it.

use std::collections::BTreeMap;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::Path;

use cs_backup::store::user::UserStorePair;
use rusqlite::Connection;
use tokio_util::sync::CancellationToken;

use super::*;

/// Everything about a file but when it was last read.
#[derive(Debug, PartialEq, Eq)]
struct Outside {
    inode: u64,
    mode: u32,
    owner: (u32, u32),
    size: u64,
    links: u64,
    modified: (i64, i64),
    changed: (i64, i64),
    content: Vec<u8>,
}

fn outside(folder: &Path) -> BTreeMap<String, Outside> {
    let look = |path: &Path| {
        let stat = std::fs::symlink_metadata(path).unwrap();
        // The marks of readers are all that may change in the index of a log that a server has open.
        let mut content = if stat.is_file() { std::fs::read(path).unwrap() } else { Vec::new() };
        let is_index = path.to_string_lossy().ends_with("-shm");
        if is_index && content.len() >= 120 {
            content[100..120].fill(0);
        }
        Outside {
            inode: stat.ino(),
            mode: stat.mode(),
            owner: (stat.uid(), stat.gid()),
            size: stat.size(),
            links: stat.nlink(),
            modified: if is_index { (0, 0) } else { (stat.mtime(), stat.mtime_nsec()) },
            changed: if is_index { (0, 0) } else { (stat.ctime(), stat.ctime_nsec()) },
            content,
        }
    };
    let mut found = BTreeMap::from([(".".to_owned(), look(folder))]);
    for entry in std::fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        found.insert(entry.file_name().into_string().unwrap(), look(&entry.path()));
    }
    found
}

/// Journal modes, and whether the server stays connected.
const CASES: [(&str, bool); 9] = [
    ("delete", true),
    ("delete", false),
    ("persist", true),
    ("truncate", true),
    ("memory", true),
    ("off", false),
    ("wal", true),
    ("wal", false),
    ("exclusive-wal", true),
];

#[test]
fn nothing_at_a_store_is_created_written_or_left() {
    for (mode, connected) in CASES {
        let stores = Stores::new();
        let server = stores.server();
        let settings = match mode {
            "exclusive-wal" => "PRAGMA locking_mode = EXCLUSIVE; PRAGMA journal_mode = WAL".to_owned(),
            mode => format!("PRAGMA journal_mode = {mode}"),
        };
        server.execute_batch(&settings).unwrap();
        server.execute_batch(LEDGER).unwrap();
        let server = Some(server).filter(|_| connected);
        let folder = stores.source().parent().unwrap().to_owned();
        let untouched = |what: &str, act: &dyn Fn()| {
            let before = outside(&folder);
            act();
            assert_eq!(outside(&folder), before, "{what}, {mode}, connected: {connected}");
        };
        untouched("first copy", &|| drop(stores.sync().unwrap()));
        untouched("idle", &|| assert_eq!(stores.sync().unwrap().moved.items_written, 0));
        match &server {
            Some(server) => play(server).unwrap(),
            None => play(&stores.server()).unwrap(),
        }
        let cancel = CancellationToken::new();
        untouched("status", &|| drop(stores.pair.observe(&cancel).unwrap()));
        untouched("sync", &|| assert!(stores.sync().unwrap().moved.items_written > 0));
        untouched("verify", &|| drop(stores.sync_with(|work| work.verify = true).unwrap()));
        untouched("disable", &|| drop(stores.pair.remove_traces(false, &CancellationToken::new()).unwrap()));
        untouched("refused", &|| {
            std::fs::remove_dir_all(stores.standby().parent().unwrap()).unwrap();
            std::fs::write(stores.standby().parent().unwrap(), "").unwrap();
            stores.sync().unwrap_err();
        });
    }
}

/// Set in the process that has an ordinary account.
const INSIDE: &str = "CSB_TEST_ORDINARY_READER";
const NOBODY: u32 = 65_534;

#[test]
fn an_account_that_may_only_read_the_files_copies_them() {
    if let Some(folder) = std::env::var_os(INSIDE) {
        let pair = pair_in(Path::new(&folder), |_| {});
        let cancel = CancellationToken::new();
        let outcome = pair.synchronize(&work(&cancel, 1)).unwrap();
        println!("copied {}", outcome.moved.items_written);
        return;
    }
    if !rustix::process::geteuid().is_root() {
        return eprintln!("skipped: only root can run something as another account");
    }
    for mode in ["delete", "wal"] {
        let stores = Stores::new();
        let server = stores.server();
        server.execute_batch(&format!("PRAGMA journal_mode = {mode}; {LEDGER}")).unwrap();
        let set = |path: &Path, mode| {
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
        };
        set(stores.root(), 0o755);
        set(stores.source().parent().unwrap(), 0o755);
        for entry in std::fs::read_dir(stores.source().parent().unwrap()).unwrap() {
            set(&entry.unwrap().path(), 0o644);
        }
        set(stores.standby().parent().unwrap(), 0o777);
        for _ in 0..2 {
            play(&server).unwrap();
            let mut child = std::process::Command::new("/proc/self/exe");
            child.args([
                "--exact",
                "pages::footprint::an_account_that_may_only_read_the_files_copies_them",
                "--nocapture",
            ]);
            let done = child
                .env(INSIDE, stores.root())
                .env("TMPDIR", "/tmp")
                .uid(NOBODY)
                .gid(NOBODY)
                .output()
                .unwrap();
            let said = String::from_utf8_lossy(&done.stdout).into_owned();
            assert!(
                done.status.success() && said.contains("copied "),
                "{mode}: {said}{}",
                String::from_utf8_lossy(&done.stderr)
            );
        }
        assert_eq!(turn(&stores.standby()), 2, "{mode}");
        let _: Connection = server;
    }
}
