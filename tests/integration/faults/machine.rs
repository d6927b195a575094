//! Real faults of real file systems: full, read-only, forbidden.

use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;
use std::process::Command;

use cs_backup::error::{Error, ErrorKind};
use cs_backup::report::Outcome;
use serde_json::json;

use crate::isolation::in_own_mounts;
use crate::support::*;

fn mount(arguments: &[&str], at: &Path) {
    std::fs::create_dir_all(at).unwrap();
    let done = Command::new("mount").args(arguments).arg(at).output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
}

/// Leaves no byte on a file system; returns the file that takes them.
fn fill(folder: &Path) -> std::path::PathBuf {
    let file = folder.join("filler");
    let filled = std::fs::write(&file, vec![1; 64 << 20]);
    assert!(filled.is_err(), "the file system is larger than thought");
    file
}

/// Everything a backup that failed says.
fn errors(ended: &Ended) -> Vec<&Error> {
    let of_modules = ended.report.modules.iter().flat_map(|module| &module.errors);
    ended.report.errors.iter().chain(of_modules).collect()
}

#[track_caller]
fn fails_with(deployment: &Deployment, kind: ErrorKind) -> Ended {
    let ended = deployment.backup(json!({ "retryCount": 0 })).expect(Outcome::Failed);
    let errors = errors(&ended);
    assert!(!errors.is_empty() && errors.iter().all(|error| error.kind == kind), "{errors:#?}");
    for error in errors {
        let path = &error.context["path"];
        assert!(
            path.starts_with(deployment.root().to_str().unwrap()) && !error.advice.is_empty(),
            "{error:#?}"
        );
    }
    ended
}

#[test]
fn a_disk_that_is_full_at_the_backup_pool() {
    in_own_mounts(|| {
        let deployment = Deployment::of(Size { users: 20, contacts: 20, files: 10 });
        let standby = deployment.path("chi/standby");
        mount(&["-t", "tmpfs", "-o", "size=8m", "tmpfs"], &standby);
        // The service store, then the first copies, then deltas.
        let filler = fill(&standby);
        fails_with(&deployment, ErrorKind::DiskFull);
        let room =
            |bytes: u64| std::fs::File::options().write(true).open(&filler).unwrap().set_len(bytes).unwrap();
        let all = std::fs::metadata(&filler).unwrap().len();
        room(all - (64 << 10));
        fails_with(&deployment, ErrorKind::DiskFull);
        assert!(!standby.join("atl.sqlite").exists(), "half of a copy was published");
        room(0);
        // Nor could the lease be given back; but this process knows that its job has ended.
        deployment.backup(json!({})).expect(Outcome::Succeeded);
        deployment.assert_copies_equal("atl", "chi");

        deployment.server("atl").execute_batch("UPDATE presence SET card = randomblob(300000)").unwrap();
        let before = crate::user_store::dump(&standby.join("atl.sqlite"));
        let _ = std::fs::remove_file(&filler);
        fill(&standby);
        deployment.backup(json!({ "retryCount": 0 })).expect(Outcome::Failed);
        assert_eq!(crate::user_store::dump(&standby.join("atl.sqlite")), before);
        std::fs::remove_file(&filler).unwrap();
        deployment.server("atl").execute_batch("UPDATE presence SET card = randomblob(30)").unwrap();
        deployment.backup(json!({})).expect(Outcome::Succeeded);
        deployment.assert_copies_equal("atl", "chi");
    });
}

#[test]
fn a_full_disk_for_job_records() {
    in_own_mounts(|| {
        let deployment = Deployment::new();
        let jobs = deployment.path("jobs");
        mount(&["-t", "tmpfs", "-o", "size=1m", "tmpfs"], &jobs);
        let filler = fill(&jobs);
        let job = start_backup(&deployment.service, with_pool(ATL, json!({ "retryCount": 0 })));
        wait_for(&deployment.service, job, |kind| {
            matches!(kind, cs_backup::job::events::EventKind::Finished { .. })
        });
        let report = deployment.service.report(job).unwrap();
        assert_eq!(
            (report.outcome, report.errors[0].kind),
            (Outcome::Failed, ErrorKind::DiskFull),
            "{report:#?}"
        );
        assert!(
            !deployment.path("chi/standby/atl.sqlite").exists(),
            "a job nobody could find again wrote something"
        );
        std::fs::remove_file(filler).unwrap();
        deployment.backup(json!({})).expect(Outcome::Succeeded);
    });
}

#[test]
fn a_file_system_that_is_read_only() {
    in_own_mounts(|| {
        let deployment = Deployment::new();
        let standby = deployment.path("chi/standby");
        mount(&["-t", "tmpfs", "tmpfs"], &standby);
        mount(&["-o", "remount,ro"], &standby);
        fails_with(&deployment, ErrorKind::AccessDenied);
        mount(&["-o", "remount,rw"], &standby);
        deployment.backup(json!({})).expect(Outcome::Succeeded);

        deployment.server("atl").execute_batch("DELETE FROM contacts WHERE owner = 1").unwrap();
        mount(&["-o", "remount,ro"], &standby);
        fails_with(&deployment, ErrorKind::AccessDenied);
        mount(&["-o", "remount,rw"], &standby);
        deployment.backup(json!({})).expect(Outcome::Succeeded);
        deployment.assert_copies_equal("atl", "chi");
    });
}

#[test]
fn an_account_without_the_right() {
    if !rustix::process::geteuid().is_root() {
        return eprintln!("skipped: only root can run a job as another account");
    }
    let deployment = Deployment::new();
    deployment.backup(json!({})).expect(Outcome::Succeeded);
    deployment.server("atl").execute_batch("DELETE FROM contacts WHERE owner = 1").unwrap();
    const NOBODY: u32 = 65_534;
    let give = |path: &Path| chown(path, Some(NOBODY), Some(NOBODY)).unwrap();
    give(deployment.root().parent().unwrap());
    for path in tree(&deployment.root()).into_keys() {
        give(&deployment.root().join(path));
    }
    give(&deployment.root());
    let users = deployment.path("atl/users.sqlite");
    // The program lies where only root may look.
    let program = deployment.path("backup_once");
    std::fs::copy(backup_once(), &program).unwrap();
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    let run = || {
        let mut command = Command::new("setpriv");
        command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).arg(&program);
        command.arg("--sync").arg(deployment.deployment_file());
        let output = command.args([ATL, r#"{"retryCount":0,"modules":["PresenceFocus"]}"#]).output().unwrap();
        assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    for (path, mode) in [(users.clone(), 0o000), (deployment.path("chi/standby/atl.sqlite"), 0o400)] {
        chown(&path, Some(0), Some(0)).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode | mode >> 6)).unwrap();
        let said = run();
        assert!(
            said.contains("\"AccessDenied\"") && said.contains(path.to_str().unwrap()),
            "{mode:o} {said}"
        );
        for path in tree(&deployment.root()).into_keys().map(|path| deployment.root().join(path)) {
            // SQLite gives the files beside a database the rights that it had.
            if path.is_file() && path.to_str().unwrap().contains(".sqlite") {
                std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
            }
            give(&path);
        }
    }
    // Of a store in a folder that it may not enter it cannot say that there is none.
    let folder = users.parent().unwrap();
    chown(folder, Some(0), Some(0)).unwrap();
    std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o700)).unwrap();
    let said = run();
    let expected = format!("Cannot enter {}.", folder.display());
    assert!(said.contains("\"AccessDenied\"") && said.contains(&expected), "{said}");
    assert!(!said.contains("does not exist"), "{said}");
    let status = deployment.ask(json!({ "request": "getBackupServiceStatus", "poolFqdn": ATL })).unwrap();
    let reason = status["backupModules"][0]["reason"].as_str().unwrap();
    assert!(reason.contains("Permission denied"), "{reason}");
    std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o701)).unwrap();
    // To read the user store is all that is needed there.
    chown(&users, Some(0), Some(0)).unwrap();
    std::fs::set_permissions(&users, std::fs::Permissions::from_mode(0o604)).unwrap();
    let said = run();
    assert!(said.lines().last().unwrap().starts_with("Succeeded"), "{said}");
    assert_rows_equal(&users, &deployment.path("chi/standby/atl.sqlite"));
}
