//! Reports as files: where they may go, and where never.

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use cs_backup::error::{Error, ErrorKind};
use cs_backup::report::{Outcome, Report};
use rustix::fs::{CWD, mkfifoat};
use serde_json::{Value, json};
use uuid::Uuid;

use super::support::{ATL, Deployment, server, tree};

fn write(deployment: &Deployment, job: Uuid, file: &Path) -> Result<Value, Error> {
    deployment.ask(json!({ "request": "writeReport", "jobId": job, "file": file }))
}

fn rights(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap().mode() & 0o7777
}

/// A deployment with one job that has run, and a folder beside it.
fn backed_up() -> (Deployment, Uuid, tempfile::TempDir) {
    let deployment = Deployment::new();
    let job = deployment.backup(json!({})).expect(Outcome::Succeeded).report.job_id;
    (deployment, job, tempfile::tempdir().unwrap())
}

/// What must not change, but for what databases keep in memory.
fn state(folders: [&Path; 2]) -> impl PartialEq + std::fmt::Debug + use<> {
    folders.map(|folder| {
        let mut found = tree_of_any(folder);
        found.retain(|(path, _)| !path.ends_with("-shm"));
        found
    })
}

/// What has a path: its inode, its mode, and a file's bytes.
type Thing = (String, (u64, u32, Option<Vec<u8>>));

/// As [`tree`], with pipes and links too.
fn tree_of_any(root: &Path) -> Vec<Thing> {
    let mut found = Vec::new();
    for entry in fs::read_dir(root).unwrap() {
        let path = entry.unwrap().path();
        let meta = fs::symlink_metadata(&path).unwrap();
        let content = meta.is_file().then(|| fs::read(&path).unwrap());
        found.push((path.display().to_string(), (meta.ino(), meta.mode(), content)));
        if meta.is_dir() {
            found.extend(tree_of_any(&path));
        }
    }
    found.sort();
    found
}

#[test]
fn a_report_never_takes_the_place_of_a_database_of_a_link_or_of_a_file_of_the_deployment() {
    let (deployment, job, beside) = backed_up();
    let at = |name: &str| deployment.path(name);
    let near = |name: &str| beside.path().join(name);
    // A place for copies that no job has made yet, and a log beside the user store.
    fs::create_dir_all(at("atl/standby")).unwrap();
    fs::write(at("atl/users.sqlite-wal"), "").unwrap();
    fs::write(near("report.html"), "an earlier report").unwrap();
    symlink(near("report.html"), near("link.html")).unwrap();
    symlink(near("nothing.html"), near("dangling.html")).unwrap();
    symlink(at("atl/share"), near("share")).unwrap();
    fs::hard_link(at("atl/users.sqlite"), near("users.html")).unwrap();
    fs::hard_link(at("deployment.toml"), near("deployment.html")).unwrap();
    mkfifoat(CWD, near("pipe"), 0o600.into()).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(near("socket")).unwrap();
    // Databases that are none of the deployment's, one of them with its log; not of this process, which has none of them open.
    server(&near("foreign.db")).execute_batch("CREATE TABLE t (x)").unwrap();
    fs::write(near("foreign.db-wal"), "its log").unwrap();
    fs::write(near("topology.txt"), "# mine\n  central_management_pool = \"x\"\n[[broken").unwrap();
    let cases: Vec<(PathBuf, &str)> = vec![
        (at("atl/users.sqlite"), "the user store of atl"),
        (at("atl/users.sqlite-wal"), "belongs to the user store of atl"),
        (at("atl/users.sqlite-shm"), "belongs to the user store of atl"),
        (at("chi/users.sqlite-journal"), "belongs to the user store of chi"),
        (at("atl/../atl/users.sqlite"), "the user store of atl"),
        (at("chi/standby/atl.sqlite"), "what chi"),
        (at("chi/standby/atl.sqlite.csb-seen"), "belongs to what chi"),
        (at("chi/standby/atl.service.sqlite"), "what chi"),
        (at("chi/standby/atl.service-content.sqlite"), "what chi"),
        (at("chi/standby/cms.sqlite"), "what chi"),
        (at("atl/standby/cms.sqlite"), "what atl"),
        (at("atl/share/report.html"), "lies in the content store of atl"),
        (at("atl/share/.csb/report.html"), "lies in the content store of atl"),
        (near("share/conference-001/report.html"), "lies in the content store of atl"),
        (at("chi/standby/atl/report.html"), "lies in what chi"),
        (at("cms/cms.sqlite"), "the Central Management store"),
        (at("cms/replica.json"), "the local replica"),
        (at("deployment.toml"), "the deployment file"),
        (at("topology.toml"), "a topology or a deployment file"),
        (near("topology.txt"), "a topology or a deployment file"),
        (at(&format!("jobs/{job}.json")), "the place of a job record"),
        (at(&format!("jobs/{}.cancel", Uuid::new_v4())), "the place of a job record"),
        (near("users.html"), "the user store of atl"),
        (near("deployment.html"), "the deployment file"),
        (near("link.html"), "it is a link"),
        (near("dangling.html"), "it is a link"),
        (near("pipe"), "a device, a pipe or a socket"),
        (near("socket"), "a device, a pipe or a socket"),
        ("/dev/zero".into(), "a device, a pipe or a socket"),
        (beside.path().to_owned(), "it is a folder"),
        ("/".into(), "it is a folder"),
        (near("foreign.db"), "it is an SQLite database"),
        (near("foreign.db-wal"), "belongs to the SQLite database"),
        (near("foreign.db-journal"), "belongs to the SQLite database"),
    ];
    let before = state([&deployment.root(), beside.path()]);
    for (file, objection) in cases {
        for what_if in [true, false] {
            let request = json!({ "request": "writeReport", "jobId": job, "file": file, "whatIf": what_if });
            let error = deployment.ask(request).expect_err(&format!("{} was written", file.display()));
            assert_eq!(error.kind, ErrorKind::ReportRefused, "{error:?}");
            assert!(error.message.contains(objection), "{error}");
        }
    }
    assert_eq!(state([&deployment.root(), beside.path()]), before);
}

#[test]
fn an_exported_topology_takes_the_place_of_an_earlier_one_and_of_nothing_else() {
    let (deployment, _, beside) = backed_up();
    let export = |file: &Path| deployment.ask(json!({ "request": "exportTopology", "file": file }));
    let edited = beside.path().join("topology.toml");
    fs::write(&edited, "central_management_pool = \"x\"").unwrap();
    assert_eq!(export(&edited).unwrap()["file"], json!(edited));
    assert!(fs::read_to_string(&edited).unwrap().contains("[[pools]]"));
    for name in ["atl/users.sqlite", "cms/cms.sqlite", "deployment.toml", "atl/share/x.toml"] {
        let error = export(&deployment.path(name)).unwrap_err();
        assert_eq!(error.kind, ErrorKind::ReportRefused, "{name}: {error}");
    }
    assert_eq!(export("".as_ref()).unwrap_err().kind, ErrorKind::InvalidArgument);
}

/// The locks that this process holds on a file.
fn locks(path: &Path) -> Vec<String> {
    let (process, file) =
        (format!(" {} ", std::process::id()), format!(":{} ", fs::metadata(path).unwrap().ino()));
    let locks = fs::read_to_string("/proc/locks").unwrap();
    let of_file = locks.lines().filter(|line| line.contains(&process) && line.contains(&file));
    // Without the number of the line. Another file system may have a file of this number, too.
    of_file.filter_map(|line| Some(line.split_once(' ')?.1.to_owned())).collect()
}

#[test]
fn a_database_that_this_process_has_open_is_not_even_looked_into_which_would_drop_its_locks() {
    let (deployment, job, beside) = backed_up();
    let path = beside.path().join("hosts.db");
    let host = server(&path);
    host.execute_batch("CREATE TABLE t (x); BEGIN EXCLUSIVE; INSERT INTO t VALUES (1)").unwrap();
    // The list of all locks is read in pieces, and while others take and drop theirs a line may be missing from it: one look in which
    // a lock is seen is enough, because a lock that was dropped does not come back.
    let looks = || (0..100).map(|_| locks(&path));
    let held = looks().find(|held| !held.is_empty()).unwrap();
    for name in ["hosts.db", "hosts.db-journal"] {
        let error = write(&deployment, job, &beside.path().join(name)).unwrap_err();
        assert_eq!(error.kind, ErrorKind::ReportRefused, "{error}");
    }
    let publish = json!({ "request": "publishTopology", "file": path, "whatIf": true });
    assert_eq!(deployment.ask(publish).unwrap_err().kind, ErrorKind::InvalidArgument);
    assert!(looks().any(|now| held.iter().all(|lock| now.contains(lock))), "{held:?} {:?}", locks(&path));
    host.execute_batch("COMMIT").unwrap();
}

#[test]
fn a_report_overwrites_an_ordinary_file_and_a_new_one_is_for_its_account_alone() {
    let (deployment, job, beside) = backed_up();
    let near = |name: &str| beside.path().join(name);
    fs::write(near("old.html"), "something else").unwrap();
    fs::set_permissions(near("old.html"), fs::Permissions::from_mode(0o640)).unwrap();
    fs::hard_link(near("old.html"), near("kept.html")).unwrap();
    for name in ["old.html", "new.html", "new.json"] {
        let reply = write(&deployment, job, &near(name)).unwrap();
        assert_eq!(reply, json!({ "file": near(name) }));
    }
    assert!(fs::read_to_string(near("old.html")).unwrap().starts_with("<!doctype html>"));
    assert_eq!((rights(&near("old.html")), rights(&near("new.html"))), (0o640, 0o600));
    assert_eq!(fs::read_to_string(near("kept.html")).unwrap(), "something else");
    let json = fs::read_to_string(near("new.json")).unwrap();
    assert_eq!(serde_json::from_str::<Report>(&json).unwrap().job_id, job);
    assert_eq!(fs::read_dir(beside.path()).unwrap().count(), 4, "something temporary was left");

    // Nobody wants a report; the device stays one.
    write(&deployment, job, Path::new("/dev/null")).unwrap();
    assert!(fs::symlink_metadata("/dev/null").unwrap().file_type().is_char_device());
}

#[test]
fn a_plan_is_written_by_its_number_in_the_process_and_a_wrong_request_says_what_is_wrong() {
    let (deployment, job, beside) = backed_up();
    let handle =
        super::support::start_backup(&deployment.service, json!({ "poolFqdn": ATL, "whatIf": true }));
    let plan = super::support::ended(&deployment.service, handle).report;
    let file = beside.path().join("plan.json");
    deployment.ask(json!({ "request": "writeReport", "job": handle, "file": file })).unwrap();
    let written: Report = serde_json::from_str(&fs::read_to_string(&file).unwrap()).unwrap();
    assert_eq!(written, plan);

    let kind = |fields: Value| {
        let mut request = fields;
        request["request"] = json!("writeReport");
        deployment.ask(request).unwrap_err().kind
    };
    assert_eq!(kind(json!({ "jobId": job, "file": "" })), ErrorKind::InvalidArgument);
    assert_eq!(kind(json!({ "jobId": job, "file": "/no/such/folder/x.html" })), ErrorKind::FileMissing);
    assert_eq!(kind(json!({ "jobId": Uuid::new_v4(), "file": file })), ErrorKind::UnknownJob);
    assert_eq!(kind(json!({ "file": file })), ErrorKind::OptionConflict);
    assert_eq!(kind(json!({ "job": handle, "jobId": job })), ErrorKind::OptionConflict);
}

#[test]
fn a_report_without_a_file_goes_to_a_folder_of_the_accounts_own_whoever_was_there_before() {
    let (deployment, job, beside) = backed_up();
    let write = |above: &Path| {
        let request =
            json!({ "request": "writeReport", "jobId": job, "format": "html", "temporaryFolder": above });
        PathBuf::from(deployment.ask(request).unwrap()["file"].as_str().unwrap())
    };
    let own = format!("CsBackup-{}", rustix::process::geteuid().as_raw());
    let expected =
        |above: &Path, folder: &str| above.join(folder).join(format!("Backup-atl-cs-001-{job}.html"));

    // The usual case; a folder that others could read is closed.
    let usual = beside.path().join("usual");
    fs::create_dir_all(usual.join(&own)).unwrap();
    fs::set_permissions(usual.join(&own), fs::Permissions::from_mode(0o777)).unwrap();
    for _ in 0..2 {
        assert_eq!(write(&usual), expected(&usual, &own));
    }
    assert_eq!((rights(&usual.join(&own)), rights(&expected(&usual, &own))), (0o700, 0o600));

    // Somebody has put a file, a link or a folder of his own there.
    let elsewhere = beside.path().join("elsewhere");
    fs::create_dir(&elsewhere).unwrap();
    let is_root = rustix::process::geteuid().is_root();
    for taken in ["file", "link", "folder"].into_iter().filter(|taken| *taken != "folder" || is_root) {
        let above = beside.path().join(taken);
        fs::create_dir(&above).unwrap();
        match taken {
            "file" => fs::write(above.join(&own), "").unwrap(),
            "link" => symlink(&elsewhere, above.join(&own)).unwrap(),
            _ => {
                fs::create_dir(above.join(&own)).unwrap();
                std::os::unix::fs::chown(above.join(&own), Some(4711), Some(4711)).unwrap();
            }
        }
        let first = write(&above);
        let folder = first.parent().unwrap();
        assert!(folder.file_name().unwrap().to_str().unwrap().starts_with(&format!("{own}-")), "{first:?}");
        assert_eq!((rights(folder), folder.parent().unwrap()), (0o700, above.as_path()));
        // It is found again.
        assert_eq!(write(&above), first);
    }
    assert!(tree(&elsewhere).is_empty());
}

#[test]
fn only_the_newest_reports_are_kept_and_nothing_else_is_removed() {
    let (deployment, job, beside) = backed_up();
    let own = beside.path().join(format!("CsBackup-{}", rustix::process::geteuid().as_raw()));
    fs::create_dir(&own).unwrap();
    let text = fs::read_to_string(deployment.deployment_file()).unwrap();
    fs::write(deployment.deployment_file(), format!("{text}[kept]\nreports = 3\n")).unwrap();
    let service = deployment.another();
    let report = |hours: u64| {
        let path = own.join(format!("Backup-atl-cs-001-{}.html", Uuid::new_v4()));
        fs::write(&path, "old").unwrap();
        let at = std::time::SystemTime::now() - std::time::Duration::from_secs(hours * 3600);
        fs::File::options().write(true).open(&path).unwrap().set_modified(at).unwrap();
        path
    };
    let [newest, second, third, oldest] = [1, 2, 3, 4].map(report);
    fs::write(own.join("notes.html"), "mine").unwrap();
    let linked = own.join(format!("Sync-x-{}.html", Uuid::new_v4()));
    symlink(own.join("notes.html"), &linked).unwrap();
    let request = json!({ "request": "writeReport", "jobId": job, "temporaryFolder": beside.path() });
    let written = super::support::ask(&service, request).unwrap();
    assert!(Path::new(written["file"].as_str().unwrap()).exists());
    let there = [&newest, &second, &third, &oldest, &own.join("notes.html")].map(|path| path.exists());
    assert_eq!(there, [true, true, false, false, true]);
    assert!(fs::symlink_metadata(&linked).is_ok());
}
