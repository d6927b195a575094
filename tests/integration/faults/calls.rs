//! Every call that a job makes on the files of a user store fails once, or is the process's last.

use std::path::{Path, PathBuf};

use cs_backup::error::ErrorKind;
use cs_backup::report::Outcome;
use serde_json::json;

use crate::injection::*;
use crate::support::*;
use crate::user_store::dump;

/// How many calls of a job are made to fail, roughly.
const FAULTS: usize = 12;

const SIZE: Size = Size { users: 5, contacts: 4, files: 1 };

/// A kind of job, and how its stores are made ready for it.
struct Case {
    pool: &'static str,
    /// Where the job writes a copy.
    written: &'static str,
    /// What that is a copy of.
    original: &'static str,
    prepare: fn(&Deployment),
}

impl Case {
    fn job<'a>(&self, deployment: &'a Deployment) -> Job<'a> {
        let options = json!({ "retryCount": 0, "modules": ["PresenceFocus"] });
        Job { arguments: &["--sync"], deployment, pool: self.pool, options }
    }

    /// The files that may fail: both stores with what SQLite keeps beside them, and their folders.
    fn files(&self, deployment: &Deployment) -> String {
        let of = |path: &str| {
            let path = deployment.path(path);
            format!("{}|{}*", path.parent().unwrap().display(), path.display())
        };
        format!("{}|{}", of(self.written), of(self.original))
    }

    /// Makes one call after the other fail in this way.
    fn sweep(&self, action: &'static str) {
        if !is_possible() {
            return;
        }
        let deployment = Deployment::in_memory(SIZE);
        deployment.backup(json!({})).expect(Outcome::Succeeded);
        (self.prepare)(&deployment);
        let files = self.files(&deployment);
        let counted = self.job(&deployment).run(&Fault::none(WRITING, &files));
        assert_eq!(counted.outcome.as_deref(), Some("Succeeded"));
        let (mut failed, mut lived) = (0, 0);
        for number in sample(&counted.calls, FAULTS) {
            (self.prepare)(&deployment);
            let before = state(&deployment.path(self.written));
            let hit = self.job(&deployment).run(&Fault::nth(WRITING, &files, number, action));
            let call = hit.calls.get(number - 1).map(|call| (call.name.as_str(), call.path.as_path()));
            let context = format!("{action} at call {number}, {call:?}: {:#?}", hit.errors);
            let after = state(&deployment.path(self.written));
            let original = state(&deployment.path(self.original));
            match hit.outcome.as_deref() {
                Some("Succeeded" | "SucceededWithWarnings") => {
                    assert_eq!(after, original, "{context}");
                    lived += 1;
                }
                outcome => {
                    assert!(after == before || after == original, "half of a copy: {context}");
                    assert_eq!(outcome.is_none(), action == "kill", "{outcome:?} {context}");
                    assert_eq!(hit.errors.is_empty(), action == "kill", "{context}");
                    failed += 1;
                }
            }
            for error in &hit.errors {
                let (name, path) = call.unwrap();
                assert!(kinds(action, name).contains(&error.kind) && !error.advice.is_empty(), "{context}");
                let named = PathBuf::from(&error.context["path"]);
                let is_named = path.starts_with(&named)
                    || named.starts_with(path)
                    || path.to_str().unwrap().starts_with(named.to_str().unwrap());
                assert!(is_named, "the error names another file: {context}");
            }
            let again = deployment.sync(self.pool, self.job(&deployment).options);
            let again = again.expect(Outcome::Succeeded);
            assert_eq!(
                state(&deployment.path(self.written)),
                state(&deployment.path(self.original)),
                "{again:#?}"
            );
            assert_eq!(leftovers(&deployment.root()), Vec::<PathBuf>::new(), "{context}");
        }
        eprintln!("{action}: of {} calls {failed} failed the job, {lived} did not", counted.calls.len());
        assert!(failed > 0);
    }
}

/// Every row; none where there is no store.
fn state(path: &Path) -> Option<Vec<String>> {
    path.exists().then(|| dump(path))
}

/// The errors that a call may end in that failed like this. SQLite opens a file again that it may not write, for
/// reading only, where that fails too it says no more than that, and of a log's index that cannot be opened it only says
/// that the database cannot be written.
fn kinds(action: &str, call: &str) -> &'static [ErrorKind] {
    match (action, call) {
        ("EIO", "openat") => &[ErrorKind::Io, ErrorKind::StoreUnavailable, ErrorKind::AccessDenied],
        ("EIO", _) => &[ErrorKind::Io],
        ("ENOSPC" | "EDQUOT", "openat") => {
            &[ErrorKind::DiskFull, ErrorKind::StoreUnavailable, ErrorKind::AccessDenied]
        }
        ("ENOSPC" | "EDQUOT", _) => &[ErrorKind::DiskFull],
        ("EROFS" | "EACCES", _) => &[ErrorKind::AccessDenied],
        _ => &[],
    }
}

const FIRST_COPY: Case = Case {
    pool: ATL,
    written: "chi/standby/atl.sqlite",
    original: "atl/users.sqlite",
    prepare: |deployment| std::fs::remove_file(deployment.path("chi/standby/atl.sqlite")).unwrap(),
};

const DELTA: Case = Case {
    prepare: |deployment| {
        let changes = "UPDATE contacts SET added_ms = added_ms + 1 WHERE owner < 4; DELETE FROM presence WHERE owner = 1;
             INSERT INTO users (sip_uri, display_name) VALUES (hex(randomblob(8)), 'new');
             INSERT INTO presence SELECT id, 'here', randomblob(5000) FROM users ORDER BY id DESC LIMIT 1";
        deployment.server("atl").execute_batch(changes).unwrap();
    },
    ..FIRST_COPY
};

const GIVING_BACK: Case = Case {
    pool: CHI,
    written: "atl/users.sqlite",
    original: "chi/standby/atl.sqlite",
    prepare: |deployment| {
        for file in ["users.sqlite", "users.sqlite-wal", "users.sqlite-shm"] {
            let _ = std::fs::remove_file(deployment.path("atl").join(file));
        }
    },
};

/// Should the power go, the copy is the old state or the new: what undoes a commit is on the device before the first page is written,
/// and every page before the commit. Nothing is written or synced at the source.
#[test]
fn a_copy_is_committed_when_it_is_durable_and_nothing_is_written_at_its_source() {
    if !is_possible() {
        return;
    }
    for (case, journal) in [(FIRST_COPY, "WAL"), (FIRST_COPY, "DELETE"), (DELTA, "WAL"), (DELTA, "DELETE")] {
        let deployment = Deployment::in_memory(SIZE);
        let server = deployment.server("atl");
        server.query_row(&format!("PRAGMA journal_mode = {journal}"), [], |_| Ok(())).unwrap();
        deployment.backup(json!({})).expect(Outcome::Succeeded);
        (case.prepare)(&deployment);
        let calls = case.job(&deployment).run(&Fault::none(WRITING, &case.files(&deployment))).calls;
        let copy = deployment.path(case.written);
        let beside = |suffix: &str| PathBuf::from(format!("{}{suffix}", copy.display()));
        let (journal_of_copy, new) = (beside("-journal"), beside(".csb/new"));
        // A new copy is committed by its name, a delta by the end of its journal.
        let is_commit = |call: &Call| {
            (call.name.starts_with("rename") && call.path == new)
                || (call.name.starts_with("unlink") && call.path == journal_of_copy)
        };
        let commit = calls.iter().rposition(is_commit).unwrap_or_else(|| panic!("no commit: {calls:#?}"));
        let is = |call: &Call, kind: &str, path: &Path| call.name.contains(kind) && call.path == path;
        let written = |path: &Path| calls[..commit].iter().rposition(|call| is(call, "write", path));
        let file = if written(&copy).is_some() { &copy } else { &new };
        let last = written(file).expect("nothing was written");
        assert!(calls[last..commit].iter().any(|call| is(call, "sync", file)), "{journal}: {calls:#?}");
        if file == &copy {
            let first = calls.iter().position(|call| is(call, "write", &copy)).unwrap();
            let written_to_journal =
                |calls: &[Call]| calls.iter().rposition(|call| is(call, "write", &journal_of_copy));
            let sealed = written_to_journal(&calls[..first]).unwrap();
            let is_synced = |calls: &[Call]| calls.iter().any(|call| is(call, "sync", &journal_of_copy));
            assert!(is_synced(&calls[sealed..first]), "{journal}: {calls:#?}");
            // How many records count is written when they are there: their checksums look at some bytes only.
            let records = written_to_journal(&calls[..sealed]).unwrap();
            assert!(is_synced(&calls[records..sealed]), "{journal}: {calls:#?}");
        }
        let original = deployment.path(case.original);
        let of_source = |call: &&Call| call.path.to_str().unwrap().starts_with(original.to_str().unwrap());
        let changing: Vec<&Call> =
            calls.iter().filter(of_source).filter(|call| !call.name.starts_with("open")).collect();
        // A mark of a reader in the index of a log is all.
        assert!(changing.iter().all(|call| call.path.to_str().unwrap().ends_with("-shm")), "{changing:#?}");
        drop(server);
    }
}

macro_rules! sweeps {
    ($($name:ident: $case:ident, $action:literal;)*) => {
        $( #[test] fn $name() { $case.sweep($action); } )*
    };
}

sweeps! {
    a_first_copy_on_a_device_that_fails: FIRST_COPY, "EIO";
    a_first_copy_on_a_disk_that_is_full: FIRST_COPY, "ENOSPC";
    a_first_copy_that_is_killed_at_any_call: FIRST_COPY, "kill";
    a_delta_on_a_device_that_fails: DELTA, "EIO";
    a_delta_on_a_disk_that_is_full: DELTA, "ENOSPC";
    a_delta_over_its_quota: DELTA, "EDQUOT";
    a_delta_that_is_killed_at_any_call: DELTA, "kill";
    giving_back_on_a_device_that_fails: GIVING_BACK, "EIO";
    giving_back_on_a_disk_that_is_full: GIVING_BACK, "ENOSPC";
    giving_back_that_is_killed_at_any_call: GIVING_BACK, "kill";
}
