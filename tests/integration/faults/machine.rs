//! Real faults of real file systems: full, read-only, forbidden.

use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
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

/// The account that owns nothing.
const NOBODY: u32 = 65_534;

fn give(path: &Path) {
    chown(path, Some(NOBODY), Some(NOBODY)).unwrap();
}

/// Gives a deployment to somebody who has no rights; returns a program that he can run, which else lies where only root may
/// look.
fn give_all(deployment: &Deployment) -> PathBuf {
    give(deployment.root().parent().unwrap());
    for path in tree(&deployment.root()).into_keys() {
        give(&deployment.root().join(path));
    }
    give(&deployment.root());
    let program = deployment.path("backup_once");
    std::fs::copy(backup_once(), &program).unwrap();
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    program
}

/// What a sync of one module says that he runs.
fn sync_as_nobody(deployment: &Deployment, program: &Path, module: &str) -> String {
    let mut command = Command::new("setpriv");
    command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).arg(program);
    command.arg("--sync").arg(deployment.deployment_file());
    let options = json!({ "retryCount": 0, "modules": [module] }).to_string();
    let output = command.args([ATL, &options]).output().unwrap();
    assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn a_folder_of_the_copy_that_one_run_as_root_left_costs_nothing_else() {
    if !rustix::process::geteuid().is_root() {
        return eprintln!("skipped: only root can run a job as another account");
    }
    let deployment = Deployment::new();
    let (source, standby) = (deployment.path("atl/share"), deployment.path("chi/standby/atl"));
    let write = |name: &str, content: &str| {
        let path = source.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    };
    write("roots/old", "1");
    deployment.backup(json!({})).expect(Outcome::Succeeded);
    let program = give_all(&deployment);
    for name in ["roots/old", "roots/new", "roots/below/new", "mine/1", "mine/2", "3", "4"] {
        write(name, "changed");
    }
    for path in tree(&source).into_keys() {
        give(&source.join(path));
    }
    for name in ["roots/old", "roots"] {
        chown(standby.join(name), Some(0), Some(0)).unwrap();
    }
    for run in 1..=3 {
        let said = sync_as_nobody(&deployment, &program, "DataConf");
        let (outcome, job) = said.lines().last().unwrap().split_once(' ').unwrap();
        assert_eq!(outcome, "SucceededWithWarnings", "{run}: {said}");
        let report = std::fs::read_to_string(deployment.path("jobs").join(format!("{job}.json"))).unwrap();
        for name in ["mine/1", "mine/2", "3", "4"] {
            assert_eq!(std::fs::read(standby.join(name)).unwrap(), b"changed", "{run}: {name}");
        }
        assert_eq!(std::fs::read(standby.join("roots/old")).unwrap(), b"1");
        assert!(!standby.join("roots/new").exists());
        for name in ["roots/old", "roots/new", "roots/below", "roots/below/new"] {
            assert!(report.contains(&format!("\"{name}\"")), "{run}: {name} is not named: {report}");
        }
        assert!(report.contains("may not write") && report.contains("chown"), "{report}");
    }
    for name in ["roots/old", "roots"] {
        give(&standby.join(name));
    }
    let said = sync_as_nobody(&deployment, &program, "DataConf");
    assert!(said.lines().last().unwrap().starts_with("Succeeded "), "{said}");
    for name in ["roots/old", "roots/new", "roots/below/new"] {
        assert_eq!(std::fs::read(standby.join(name)).unwrap(), b"changed", "{name}");
    }
}

#[test]
fn an_account_without_the_right() {
    if !rustix::process::geteuid().is_root() {
        return eprintln!("skipped: only root can run a job as another account");
    }
    let deployment = Deployment::new();
    deployment.backup(json!({})).expect(Outcome::Succeeded);
    deployment.server("atl").execute_batch("DELETE FROM contacts WHERE owner = 1").unwrap();
    let program = give_all(&deployment);
    let users = deployment.path("atl/users.sqlite");
    let run = || sync_as_nobody(&deployment, &program, "PresenceFocus");
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
