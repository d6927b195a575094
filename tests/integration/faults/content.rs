//! Every call that a job makes on the files of a content store fails once, or is the process's last.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use cs_backup::error::ErrorKind;
use cs_backup::report::Outcome;
use serde_json::{Value, json};

use crate::injection::*;
use crate::support::*;

/// How many calls of a job are made to fail, roughly.
const FAULTS: usize = 30;

/// Every group of calls that only looks.
const READING: &str = "open,read,list";

/// A kind of job, and how its stores are made ready for it.
struct Case {
    pool: &'static str,
    calls: &'static str,
    /// The store whose calls fail.
    failing: &'static str,
    prepare: fn(&Deployment, usize),
}

const SOURCE: &str = "atl/share";
const STANDBY: &str = "chi/standby/atl";

fn options() -> Value {
    json!({ "retryCount": 0, "modules": ["DataConf"], "acceptDeletions": true })
}

impl Case {
    fn job<'a>(&self, deployment: &'a Deployment) -> Job<'a> {
        Job { arguments: &["--sync"], deployment, pool: self.pool, options: options() }
    }

    /// Makes one call after the other fail in this way, or some of them.
    fn sweep(&self, action: &'static str, every: usize) {
        if !is_possible() {
            return;
        }
        let deployment = Deployment::in_memory(Size { users: 1, contacts: 1, files: 6 });
        deployment.sync(ATL, options()).expect(Outcome::Succeeded);
        let failing = deployment.path(self.failing);
        let files = format!("{}|{}/*", failing.display(), failing.display());
        (self.prepare)(&deployment, 0);
        let counted = self.job(&deployment).run(&Fault::none(self.calls, &files));
        assert_eq!(counted.outcome.as_deref(), Some("Succeeded"), "{:#?}", counted.errors);
        // Temporary names are never the same twice.
        let alike: Vec<Call> = counted.calls.iter().map(without_temporary_name).collect();
        let (mut failed, mut warned, mut lived) = (0, 0, 0);
        for (round, number) in sample(&alike, FAULTS).into_iter().step_by(every).enumerate() {
            (self.prepare)(&deployment, round + 1);
            let before = content(&deployment.path(STANDBY));
            let source = content(&deployment.path(SOURCE));
            let hit = self.job(&deployment).run(&Fault::nth(self.calls, &files, number, action));
            let call = hit.calls.get(number - 1);
            let context = format!("{action} at call {number}, {call:?}: {:#?}", hit.errors);
            assert_whole(&deployment, &before, &source, &context);
            match hit.outcome.as_deref() {
                Some("Succeeded") => lived += 1,
                Some("SucceededWithWarnings") => warned += 1,
                outcome => {
                    assert_eq!(outcome.is_none(), action == "kill", "{outcome:?} {context}");
                    assert_eq!(hit.errors.is_empty(), action == "kill", "{context}");
                    failed += 1;
                }
            }
            for error in &hit.errors {
                assert!(kinds(action).contains(&error.kind) && !error.advice.is_empty(), "{context}");
            }
            self.heals(&deployment, &context);
        }
        eprintln!(
            "{action}: of {} calls {failed} failed the job, {warned} an object, {lived} neither",
            counted.calls.len()
        );
        assert!(failed + warned > 0);
    }

    /// One more job brings both stores to the same, and leaves nothing behind.
    fn heals(&self, deployment: &Deployment, context: &str) {
        let again = deployment.sync(self.pool, options());
        assert_eq!(again.report.outcome, Outcome::Succeeded, "{context} {:#?}", again.report);
        if self.pool != ATL {
            deployment.sync(ATL, options()).expect(Outcome::Succeeded);
        }
        assert_eq!(content(&deployment.path(SOURCE)), content(&deployment.path(STANDBY)), "{context}");
        assert_eq!(leftovers(&deployment.root()), Vec::<std::path::PathBuf>::new(), "{context}");
        let kept = deployment.path(STANDBY).join(".csb/conflicts");
        assert!(!kept.exists(), "what is ours was taken for somebody else's: {context}");
        let idle = deployment.sync(ATL, options()).expect(Outcome::Succeeded);
        assert!(idle.module(DATA_CONF).moved.is_nothing(), "{context} {:#?}", idle.report);
    }
}

/// Each file of both stores is as it was before, or as it is at the other store: nothing is half of something.
#[track_caller]
fn assert_whole(deployment: &Deployment, before: &Tree, source: &Tree, context: &str) {
    let contents = |tree: &Tree, path: &Path| {
        tree.get(path).and_then(|(file, _)| file.as_ref().map(|(bytes, ..)| bytes.clone()))
    };
    for store in [SOURCE, STANDBY] {
        for (path, (file, _)) in content(&deployment.path(store)) {
            let Some((bytes, ..)) = file else { continue };
            let known = [contents(before, &path), contents(source, &path)];
            assert!(known.contains(&Some(bytes)), "{store}/{}: {context}", path.display());
        }
    }
}

fn without_temporary_name(call: &Call) -> Call {
    match call.path.parent() {
        Some(folder) if folder.ends_with(".csb/tmp") => Call { path: folder.to_owned(), ..call.clone() },
        _ => call.clone(),
    }
}

fn kinds(action: &str) -> &'static [ErrorKind] {
    match action {
        "EIO" => &[ErrorKind::Io, ErrorKind::StoreUnavailable],
        "ENOSPC" | "EDQUOT" => &[ErrorKind::DiskFull],
        "EACCES" | "EROFS" => &[ErrorKind::AccessDenied, ErrorKind::StoreUnavailable],
        "ESTALE" => &[ErrorKind::StoreUnavailable, ErrorKind::Io],
        _ => &[],
    }
}

/// Something of everything, another time with other content.
fn change(deployment: &Deployment, round: usize) {
    let share = deployment.path(SOURCE);
    let live = share.join("live");
    let other = |file: &str| live.join(format!("{file}-{}", round % 2));
    let gone = |file: &str| live.join(format!("{file}-{}", (round + 1) % 2));
    fs::create_dir_all(&live).unwrap();
    fs::write(live.join("changes"), vec![u8::try_from(round % 250).unwrap(); 300_000 + round]).unwrap();
    fs::write(live.join("mode"), "the same in every round").unwrap();
    let mode = if round.is_multiple_of(2) { 0o640 } else { 0o600 };
    fs::set_permissions(live.join("mode"), fs::Permissions::from_mode(mode)).unwrap();
    let _ = fs::remove_dir_all(gone("folder"));
    let _ = fs::remove_file(gone("file"));
    fs::create_dir_all(other("folder").join("deep")).unwrap();
    fs::write(other("folder").join("deep/f"), format!("round {round}")).unwrap();
    fs::write(other("file"), format!("round {round}")).unwrap();
    // A file and a folder take each other's place.
    let (first, second) = (live.join("retyped-a"), live.join("retyped-b"));
    for path in [&first, &second] {
        let _ = fs::remove_file(path);
        let _ = fs::remove_dir_all(path);
    }
    let (file, folder) = if round.is_multiple_of(2) { (first, second) } else { (second, first) };
    fs::write(file, "a file").unwrap();
    fs::create_dir_all(folder.join("inner")).unwrap();
}

const COPY: Case = Case { pool: ATL, calls: WRITING, failing: STANDBY, prepare: change };

const READ: Case = Case { pool: ATL, calls: READING, failing: SOURCE, prepare: change };

const GIVING_BACK: Case = Case {
    pool: CHI,
    calls: WRITING,
    failing: SOURCE,
    prepare: |deployment, _| {
        fs::remove_dir_all(deployment.path(SOURCE)).unwrap();
        fs::create_dir(deployment.path(SOURCE)).unwrap();
    },
};

/// One file beside the folders: none of them gets another time, which would make everything durable as well.
const COPY_ONE: Case = Case {
    pool: ATL,
    calls: WRITING,
    failing: STANDBY,
    prepare: |deployment, round| {
        fs::write(deployment.path(SOURCE).join("top"), format!("round {round}")).unwrap();
    },
};

/// Whether a call changes what a file holds, which names there are, or what is kept besides; none of them says whether
/// that lasts. Before a file is read, what only memory holds of it is written, which promises nothing.
fn changes(call: &Call) -> bool {
    !matches!(call.name.as_str(), "open" | "openat" | "openat2" | "creat" | "sync_file_range")
        && !is_sync(call)
}

/// Whether a call gives a file its name in the content, or keeps one that loses it.
fn is_publishing(call: &Call) -> bool {
    call.name.starts_with("rename") && !call.path.ends_with(".csb/history/open")
}

fn is_sync(call: &Call) -> bool {
    matches!(call.name.as_str(), "fsync" | "syncfs")
}

#[test]
fn no_file_gets_its_name_before_it_is_durable_and_no_job_ends_before_its_names_are() {
    if !is_possible() {
        return;
    }
    for case in [COPY, COPY_ONE, GIVING_BACK] {
        let deployment = Deployment::in_memory(Size { users: 1, contacts: 1, files: 6 });
        deployment.sync(ATL, options()).expect(Outcome::Succeeded);
        (case.prepare)(&deployment, 1);
        let store = deployment.path(case.failing);
        let files = format!("{}|{}/*", store.display(), store.display());
        let calls = case.job(&deployment).run(&Fault::none(case.calls, &files)).calls;
        let staged = |call: &Call| call.path.parent().is_some_and(|folder| folder.ends_with(".csb/tmp"));
        let synced = |calls: &[Call], path: &Path| {
            calls.iter().any(|call| call.name == "syncfs" || (call.name == "fsync" && call.path == path))
        };
        let mut published = 0;
        for (at, call) in calls.iter().enumerate().filter(|(_, call)| changes(call)) {
            let (before, after) = (&calls[..at], &calls[at + 1..]);
            if call.name.starts_with("rename") {
                published += 1;
                let written = before.iter().rposition(|other| changes(other) && other.path == call.path);
                assert!(synced(&before[written.unwrap()..], &call.path), "{call:?} too early: {calls:#?}");
                assert!(after.iter().any(is_sync), "{call:?} does not last: {calls:#?}");
            } else if !staged(call) {
                let folder = call.path.parent().unwrap();
                let is_removed = after.iter().any(|other| other.name == "unlinkat" && other.path == folder);
                let lasts = synced(after, &call.path) || synced(after, folder) || is_removed;
                assert!(lasts, "{call:?} does not last: {calls:#?}");
            }
        }
        assert!(published > 0, "{calls:#?}");
    }
}

/// Should the power go, the standby has every name and every attribute that the index says it has.
#[test]
fn the_index_has_what_is_durable() {
    if !is_possible() {
        return;
    }
    let deployment = Deployment::in_memory(Size { users: 1, contacts: 1, files: 6 });
    let (source, standby) = (deployment.path(SOURCE), deployment.path(STANDBY));
    let folder = |folders: usize, number: usize| format!("of {folders}, {number}");
    for (folders, number) in [(1, 0)].into_iter().chain((0..8).map(|number| (8, number))) {
        fs::create_dir(source.join(folder(folders, number))).unwrap();
    }
    deployment.sync(ATL, options()).expect(Outcome::Succeeded);
    let index = format!("{}.service.sqlite", standby.display());
    let files = format!("{}|{}/*|{index}*", standby.display(), standby.display());
    let calls = || {
        let job = Job { arguments: &["--sync"], deployment: &deployment, pool: ATL, options: options() };
        job.run(&Fault::none(WRITING, &files)).calls
    };
    // Few folders are synced one by one, many with the whole file system.
    for folders in [1, 8] {
        for number in 0..folders {
            fs::write(source.join(folder(folders, number)).join("new"), "new").unwrap();
        }
        let calls = calls();
        let last = calls.iter().rposition(is_publishing).unwrap();
        let is_indexed =
            |call: &Call| call.name.contains("write") && call.path.to_str().unwrap().starts_with(&index);
        let synced = calls[last..].split(is_indexed).next().unwrap();
        let is_synced = |path: &Path| synced.iter().any(|call| call.name == "fsync" && call.path == path);
        let is_whole = synced.iter().any(|call| call.name == "syncfs");
        let all = (0..folders).all(|number| is_synced(&standby.join(folder(folders, number))));
        assert!(is_whole || all, "{synced:#?}");
    }
    fs::set_permissions(source.join("of 1, 0/new"), fs::Permissions::from_mode(0o640)).unwrap();
    let calls = calls();
    let last = calls.iter().rposition(|call| call.name.starts_with("fchmod")).unwrap();
    assert!(
        calls[last..].iter().any(|call| call.name.ends_with("syncfs") || call.name == "fsync"),
        "{calls:#?}"
    );
}

macro_rules! sweeps {
    ($($name:ident: $case:ident, $action:literal, every $every:literal;)*) => {
        $( #[test] fn $name() { $case.sweep($action, $every); } )*
    };
}

sweeps! {
    a_copy_to_a_device_that_fails: COPY, "EIO", every 1;
    a_copy_to_a_disk_that_is_full: COPY, "ENOSPC", every 2;
    a_copy_over_its_quota: COPY, "EDQUOT", every 4;
    a_copy_to_a_file_system_that_becomes_read_only: COPY, "EROFS", every 4;
    a_copy_that_is_killed_at_any_call: COPY, "kill", every 1;
    a_share_whose_device_fails: READ, "EIO", every 2;
    a_share_that_forbids_access: READ, "EACCES", every 4;
    a_share_whose_server_forgot_the_file: READ, "ESTALE", every 4;
    giving_back_to_a_device_that_fails: GIVING_BACK, "EIO", every 2;
    giving_back_to_a_disk_that_is_full: GIVING_BACK, "ENOSPC", every 4;
    giving_back_that_is_killed_at_any_call: GIVING_BACK, "kill", every 2;
}
