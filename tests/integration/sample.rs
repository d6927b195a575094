//! A sample deployment is made at once or piece by piece; one that is given up leaves nothing.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use cs_backup::clock::SystemClock;
use cs_backup::error::ErrorKind;
use cs_backup::service::{OpenConfig, Service};
use serde_json::{Value, json};

use super::support::{ask, assert_rows_equal, tree};
use crate::isolation::{in_own_mounts, mount};

struct Unconnected {
    service: Service,
    _runtime: tokio::runtime::Runtime,
    folder: tempfile::TempDir,
}

impl Unconnected {
    fn new() -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
        let clock = Arc::new(SystemClock::new());
        let service = Service::open(&OpenConfig::default(), clock, runtime.handle().clone()).unwrap();
        Unconnected { service, _runtime: runtime, folder: tempfile::tempdir().unwrap() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

/// Big enough not to be made within a millisecond.
fn request(folder: &Path, at_most_ms: Option<u32>) -> Value {
    json!({ "request": "createSampleDeployment", "folder": folder, "users": 500, "contactsPerUser": 30, "files": 40,
        "atMostMs": at_most_ms })
}

/// One that nobody would wait for.
fn endless(folder: &Path, at_most_ms: Option<u32>) -> Value {
    let mut request = request(folder, at_most_ms);
    request["users"] = json!(1_000_000);
    request
}

fn plan(folder: &Path) -> Value {
    let mut request = request(folder, None);
    request["whatIf"] = json!(true);
    request
}

/// Why a plan is refused, and the run alike.
fn refused_plan_and_run(unconnected: &Unconnected, folder: &Path) -> ErrorKind {
    let planned = ask(&unconnected.service, plan(folder)).unwrap_err();
    let run = ask(&unconnected.service, request(folder, None)).unwrap_err();
    assert_eq!(planned.message, run.message);
    assert_eq!(planned.kind, run.kind);
    planned.kind
}

/// The files below a folder and what is in them.
fn files(folder: &Path) -> Vec<(PathBuf, Option<Vec<u8>>)> {
    tree(folder).into_iter().map(|(path, (file, _))| (path, file.map(|(bytes, ..)| bytes))).collect()
}

#[test]
fn pieces_make_what_one_call_makes_and_the_deployment_s_file_comes_last() {
    let unconnected = Unconnected::new();
    let (whole, pieces) = (unconnected.path("whole"), unconnected.path("pieces"));
    let at_once = ask(&unconnected.service, request(&whole, None)).unwrap();
    let mut calls = 0;
    let mut before = 0;
    let reply = loop {
        let reply = ask(&unconnected.service, request(&pieces, Some(1))).unwrap();
        calls += 1;
        if reply["finished"] == true {
            break reply;
        }
        let done = reply["itemsDone"].as_u64().unwrap();
        assert!(done >= before && reply["itemsTotal"] == 2 * (500 + 40), "{reply}");
        assert!(!pieces.join("deployment.toml").exists());
        before = done;
    };
    assert!(calls > 2, "{calls} calls");
    for field in ["finished", "itemsDone", "itemsTotal", "pools", "users", "contacts", "files"] {
        assert_eq!(reply[field], at_once[field], "{field}");
    }
    assert!(pieces.join("deployment.toml").exists());
    for pool in ["atl", "chi"] {
        let [store, share] = ["users.sqlite", "share"].map(|name| Path::new(pool).join(name));
        assert_rows_equal(&whole.join(&store), &pieces.join(&store));
        assert_eq!(files(&whole.join(&share)), files(&pieces.join(&share)));
    }
}

#[test]
fn what_is_not_finished_when_the_service_ends_is_removed_and_nothing_else() {
    let unconnected = Unconnected::new();
    let ours = unconnected.path("ours");
    assert_eq!(ask(&unconnected.service, endless(&ours, Some(5))).unwrap()["finished"], false);
    assert!(ours.join("atl/users.sqlite").exists());
    unconnected.service.close(Duration::from_secs(10));
    assert!(!ours.exists());
    assert_eq!(ask(&unconnected.service, endless(&ours, Some(5))).unwrap_err().kind, ErrorKind::ShutDown);
    assert!(!ours.exists());

    let unconnected = Unconnected::new();
    let theirs = unconnected.path("theirs");
    std::fs::create_dir(&theirs).unwrap();
    assert_eq!(ask(&unconnected.service, endless(&theirs, Some(5))).unwrap()["finished"], false);
    std::fs::write(theirs.join("notes.txt"), "theirs").unwrap();
    unconnected.service.close(Duration::from_secs(10));
    let left: Vec<_> = std::fs::read_dir(&theirs).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["notes.txt"]);
}

#[test]
fn a_call_without_a_limit_ends_soon_when_its_service_is_shut_down() {
    let unconnected = Unconnected::new();
    let folder = unconnected.path("endless");
    std::thread::scope(|scope| {
        let call = scope.spawn(|| ask(&unconnected.service, endless(&folder, None)));
        while !folder.join("atl/users.sqlite").exists() {
            std::thread::yield_now();
        }
        let closed = Instant::now();
        unconnected.service.close(Duration::ZERO);
        assert_eq!(call.join().unwrap().unwrap_err().kind, ErrorKind::ShutDown);
        assert!(closed.elapsed() < Duration::from_secs(10), "{:?}", closed.elapsed());
    });
    assert!(!folder.exists());
}

#[test]
fn another_one_is_refused_while_one_is_being_made_and_a_failure_leaves_nothing() {
    let unconnected = Unconnected::new();
    let (first, second) = (unconnected.path("first"), unconnected.path("second"));
    assert_eq!(ask(&unconnected.service, endless(&first, Some(5))).unwrap()["finished"], false);
    let refused = ask(&unconnected.service, request(&second, Some(5))).unwrap_err();
    assert_eq!(
        (refused.kind, refused.context["path"].as_str()),
        (ErrorKind::Conflict, first.to_str().unwrap())
    );
    assert!(!second.exists() && first.exists());

    let failing = Unconnected::new();
    let folder = failing.path("failing");
    let mut request = request(&folder, Some(1));
    request["users"] = json!(0);
    request["files"] = json!(1_000_000);
    assert_eq!(ask(&failing.service, request.clone()).unwrap()["finished"], false);
    std::fs::remove_dir_all(folder.join("atl/share")).unwrap();
    std::fs::write(folder.join("atl/share"), "in the way").unwrap();
    assert_eq!(ask(&failing.service, request).unwrap_err().kind, ErrorKind::StoreUnavailable);
    assert!(!folder.join("atl/users.sqlite").exists());
}

#[test]
fn a_plan_is_refused_as_the_run_would_be_and_makes_nothing() {
    let unconnected = Unconnected::new();
    let taken = unconnected.path("taken");
    std::fs::create_dir(&taken).unwrap();
    std::fs::write(taken.join("notes.txt"), "theirs").unwrap();
    for (folder, kind) in [
        (taken.clone(), ErrorKind::ForeignContent),
        (taken.join("notes.txt"), ErrorKind::StoreUnavailable),
        (taken.join("notes.txt/below"), ErrorKind::StoreUnavailable),
    ] {
        assert_eq!(refused_plan_and_run(&unconnected, &folder), kind);
    }
    let free = unconnected.path("not/there");
    let planned = ask(&unconnected.service, plan(&free)).unwrap();
    assert_eq!((&planned["finished"], &planned["itemsTotal"]), (&json!(false), &json!(2 * (500 + 40))));
    assert_eq!(planned["deploymentFile"], json!(free.join("deployment.toml")));
    assert_eq!(files(unconnected.folder.path()).len(), 2, "taken and what is in it");
}

#[test]
fn a_plan_on_a_file_system_that_is_read_only_is_refused() {
    in_own_mounts(|| {
        let unconnected = Unconnected::new();
        let mounted = unconnected.path("mounted");
        std::fs::create_dir(&mounted).unwrap();
        mount(&["-t", "tmpfs", "tmpfs"], &mounted);
        mount(&["-o", "remount,ro"], &mounted);
        for folder in [mounted.clone(), mounted.join("not/there")] {
            assert_eq!(refused_plan_and_run(&unconnected, &folder), ErrorKind::AccessDenied);
        }
    });
}
