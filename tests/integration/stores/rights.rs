//! What jobs make is never more readable than what it holds a copy of, whatever the process's umask and account.

use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};

use cs_backup::config::Kept;
use cs_backup::job::record::Records;
use cs_backup::report::Outcome;
use serde_json::json;
use uuid::Uuid;

use crate::support::*;

const INSIDE: &str = "CSB_TEST_UMASK";
/// The account that owns nothing.
const NOBODY: u32 = 65534;

/// What servers and administrators gave the originals.
const STORE: u32 = 0o640;
const SHARE: u32 = 0o750;
const OPEN_FOLDER: u32 = 0o755;
const OPEN_FILE: u32 = 0o644;
const SECRET_FILE: u32 = 0o600;

#[test]
fn nothing_that_jobs_make_is_more_readable_than_what_it_holds() {
    if let Ok(umask) = std::env::var(INSIDE) {
        rustix::process::umask(rustix::fs::Mode::from_raw_mode(u32::from_str_radix(&umask, 8).unwrap()));
        return everything_is_as_closed_as_its_source();
    }
    let is_root = rustix::process::geteuid().is_root();
    for umask in ["000", "022", "077"] {
        for ordinary in [false, true].into_iter().filter(|ordinary| is_root || !ordinary) {
            // By this name it can be started whatever folder it lies in.
            let mut child = Command::new("/proc/self/exe");
            child.args([
                "--exact",
                "stores::rights::nothing_that_jobs_make_is_more_readable_than_what_it_holds",
            ]);
            child.env(INSIDE, umask).env("TMPDIR", "/tmp");
            if ordinary {
                child.uid(NOBODY).gid(NOBODY);
            }
            let done = child.output().unwrap();
            let said = String::from_utf8_lossy(&done.stdout);
            let noted = String::from_utf8_lossy(&done.stderr);
            let passed = done.status.success() && said.contains("1 passed");
            assert!(passed, "umask {umask}, ordinary account: {ordinary}\n{said}{noted}");
        }
    }
}

fn mode(path: &Path) -> u32 {
    std::fs::symlink_metadata(path).unwrap().mode() & 0o7777
}

fn set_mode(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

/// The most that something in the deployment may have.
fn at_most(path: &Path, is_folder: bool) -> u32 {
    let names: Vec<_> = path.iter().map(|name| name.to_str().unwrap_or_default()).collect();
    match names.as_slice() {
        // Closed by the folder that it is in until it gets its name.
        [.., ".csb", "tmp", _] if !is_folder => OPEN_FILE,
        names if names.contains(&".csb") && is_folder => 0o700,
        names if names.contains(&".csb") => 0o600,
        [_, "share"] | ["chi", "standby", "atl"] => SHARE,
        [_, "share", rest @ ..] | [_, "standby", "atl", rest @ ..] => match rest {
            [_] => OPEN_FOLDER,
            [.., "secret"] => SECRET_FILE,
            _ => OPEN_FILE,
        },
        ["atl", name] if name.starts_with("users.sqlite") => STORE,
        // What is remembered of a copy, and the next one until it gets its name: closed by the folder that it is in.
        ["chi", "standby", "atl.sqlite.csb"] => 0o700,
        ["chi", "standby", "atl.sqlite.csb", "new"] => STORE,
        ["chi", "standby", name] if name.starts_with("atl.sqlite") => STORE,
        _ if is_folder => 0o700,
        _ => 0o600,
    }
}

/// What is more open than it may be: also what is there for a moment only.
fn too_open(root: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut next = vec![root.to_owned()];
    while let Some(folder) = next.pop() {
        let Ok(entries) = std::fs::read_dir(&folder) else { continue };
        for entry in entries.flatten() {
            let path = entry.path();
            // Gone again.
            let Ok(metadata) = std::fs::symlink_metadata(&path) else { continue };
            if metadata.is_symlink() {
                continue;
            }
            let inside = path.strip_prefix(root).unwrap();
            let (has, may_have) = (metadata.mode() & 0o777, at_most(inside, metadata.is_dir()));
            if has & !may_have != 0 {
                found.push(format!("{} has {has:o} of {may_have:o}", inside.display()));
            }
            if metadata.is_dir() {
                next.push(path);
            }
        }
    }
    found.sort();
    found
}

fn everything_is_as_closed_as_its_source() {
    let deployment = Deployment::new();
    let root = deployment.root();
    assert_eq!(too_open(&root), Vec::<String>::new(), "of the sample deployment");
    assert_eq!(mode(&root), 0o700);
    let at = |path: &str| deployment.path(path);
    std::fs::write(at("atl/share/conference-001/secret"), "nobody else's").unwrap();
    for (path, given) in [
        ("atl/users.sqlite", STORE),
        ("atl/share", SHARE),
        ("atl/share/conference-001", OPEN_FOLDER),
        ("atl/share/conference-001/notes-0004.txt", OPEN_FILE),
        ("atl/share/conference-001/secret", SECRET_FILE),
    ] {
        set_mode(&at(path), given);
    }
    let is_root = rustix::process::geteuid().is_root();
    if is_root {
        for path in ["atl/users.sqlite", "atl/share"] {
            chown(at(path), Some(1234), Some(2345)).unwrap();
        }
    }
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let watcher = scope.spawn(|| {
            let mut seen = Vec::new();
            while !done.load(Ordering::Relaxed) {
                seen.extend(too_open(&root));
            }
            seen
        });
        deployment.backup(json!({ "verify": true })).expect(Outcome::Succeeded);
        deployment.sync(CHI, json!({ "giveBack": true })).expect(Outcome::Succeeded);
        deployment.server("atl").execute_batch("UPDATE users SET display_name = 'changed'").unwrap();
        std::fs::write(at("atl/share/conference-001/secret"), "nobody else's, changed").unwrap();
        deployment.sync(ATL, json!({})).expect(Outcome::Succeeded);
        Records::new(&at("jobs"), Kept::default()).request_cancel(Uuid::new_v4()).unwrap();
        done.store(true, Ordering::Relaxed);
        assert_eq!(watcher.join().unwrap(), Vec::<String>::new());
    });
    assert_eq!(too_open(&root), Vec::<String>::new());
    // As open as the source, where that is known.
    assert_eq!(mode(&at("chi/standby/atl.sqlite")), STORE);
    assert_eq!(mode(&at("chi/standby/atl")), SHARE);
    assert_eq!(mode(&at("chi/standby/atl/conference-001/notes-0004.txt")), OPEN_FILE);
    if is_root {
        for path in ["chi/standby/atl.sqlite", "chi/standby/atl"] {
            let copy = std::fs::metadata(at(path)).unwrap();
            assert_eq!((copy.uid(), copy.gid()), (1234, 2345), "{path}");
        }
    }
    // What an older build left open is closed by the next job.
    let mut opened = 0;
    for (path, _) in tree(&root) {
        let path = root.join(path);
        let is_ours = path.extension().is_some_and(|extension| extension == "sqlite");
        if is_ours && !path.ends_with("users.sqlite") {
            set_mode(&path, 0o666);
            opened += 1;
        }
    }
    assert!(opened > 3);
    deployment.sync(ATL, json!({})).expect(Outcome::Succeeded);
    let still: Vec<_> = too_open(&root)
        .into_iter()
        .filter(|path| !path.contains("atl/standby") && !path.contains("cms"))
        .collect();
    assert_eq!(still, Vec::<String>::new());
    // The Central Management store may be a group's, and nobody else's.
    assert_eq!(mode(&at("cms/cms.sqlite")), 0o660);
}
