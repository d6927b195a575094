//! Publishing a topology, and working from the local replica.

use std::path::Path;

use cs_backup::error::{Error, ErrorKind};
use cs_backup::report::{ExportState, Outcome};
use serde_json::{Value, json};

use super::support::{
    ATL, CHI, CMS_MASTER, DATA_CONF, Deployment, PRESENCE_FOCUS, run_backup, tree, with_pool,
};

fn publish(deployment: &Deployment, text: &str, what_if: bool) -> Result<Value, Error> {
    let file = deployment.path("new.toml");
    std::fs::write(&file, text).unwrap();
    deployment.ask(json!({ "request": "publishTopology", "file": file, "whatIf": what_if }))
}

fn topology(deployment: &Deployment) -> String {
    std::fs::read_to_string(deployment.path("topology.toml")).unwrap()
}

/// The sample's topology with one thing changed.
fn changed(deployment: &Deployment, from: &str, to: &str) -> String {
    let good = topology(deployment);
    let text = good.replacen(from, to, 1);
    assert_ne!(text, good, "{from} is not in the topology");
    text
}

fn version(deployment: &Deployment) -> i64 {
    let reply = publish(deployment, &topology(deployment), true).unwrap();
    assert_eq!(reply["unchanged"], true);
    reply["version"].as_i64().unwrap()
}

/// Everything that publishing may write: the store (with its log, which SQLite folds in when it is closed) and the
/// replica.
fn published_files(deployment: &Deployment) -> impl PartialEq + std::fmt::Debug + use<> {
    let mut files = tree(&deployment.path("cms"));
    files.retain(|path, _| !path.to_string_lossy().ends_with("-shm"));
    files
}

#[test]
fn each_mistake_names_file_line_and_remedy_and_changes_nothing() {
    let deployment = Deployment::new();
    let before = (version(&deployment), published_files(&deployment));
    let line_of = |text: &str, needle: &str| {
        text.lines().position(|line| line.contains(needle)).map(|index| index + 1).unwrap().to_string()
    };
    let good = topology(&deployment);
    let twice = good.split_once("[[pools]]").unwrap().1;
    let (atl_line, chi_line) = (format!("fqdn = \"{ATL}\""), format!("fqdn = \"{CHI}\""));
    let cases: Vec<(ErrorKind, String, &str, &str)> = vec![
        (
            ErrorKind::UnknownField,
            changed(&deployment, "site = \"Chicago\"", "sitte = \"Chicago\""),
            "sitte",
            "correct its name",
        ),
        (ErrorKind::DuplicatePool, format!("{good}\n[[pools]]{twice}"), "", "Remove one of the two"),
        (
            ErrorKind::OneSidedPairing,
            changed(&deployment, &format!("backup_pool = \"{ATL}\"\n"), ""),
            &atl_line,
            "Pairing is symmetric",
        ),
        (
            ErrorKind::SelfPaired,
            changed(&deployment, &format!("backup_pool = \"{CHI}\""), &format!("backup_pool = \"{ATL}\"")),
            &atl_line,
            "Name another pool",
        ),
        (
            ErrorKind::UnknownBackupPool,
            changed(&deployment, &format!("backup_pool = \"{CHI}\""), "backup_pool = \"nyc.litwareinc.com\""),
            &atl_line,
            "Add that pool",
        ),
        (
            ErrorKind::SharedStore,
            changed(&deployment, "sqlite:chi/users.sqlite", "sqlite:chi/../atl/users.sqlite"),
            &chi_line,
            "a place of its own",
        ),
        (
            ErrorKind::StandbyInsideSource,
            changed(&deployment, "file:chi/standby/atl", "file:atl/share/standby"),
            &chi_line,
            "beside the content store",
        ),
        (
            ErrorKind::UnsupportedStore,
            changed(&deployment, "file:chi/share", "s3://bucket/share"),
            "s3://bucket",
            "",
        ),
        (
            ErrorKind::InvalidValue,
            changed(&deployment, "fqdn = \"chi-cs-001.litwareinc.com\"", "fqdn = \"chi\""),
            "fqdn = \"chi\"",
            "",
        ),
        (
            ErrorKind::UnknownPool,
            changed(&deployment, "central_management_pool = \"atl", "central_management_pool = \"nyc"),
            "central_management_pool",
            "Name one of the pools",
        ),
        (
            ErrorKind::SyntaxError,
            changed(&deployment, "[[pools]]", "[[pools]"),
            "[[pools]",
            "Correct the TOML",
        ),
    ];
    for (kind, text, needle, remedy) in cases {
        for what_if in [true, false] {
            let error = publish(&deployment, &text, what_if).unwrap_err();
            assert_eq!(error.kind, kind, "{error:#?}");
            let file = deployment.path("new.toml");
            assert_eq!(error.context["file"], file.display().to_string(), "{error:#?}");
            if !needle.is_empty() {
                assert_eq!(error.context["line"], line_of(&text, needle), "{error:#?}");
            }
            let place = format!("{}:{}: ", file.display(), error.context["line"]);
            assert!(error.message.starts_with(&place), "{error:#?}");
            assert!(!error.advice.is_empty() && error.advice.contains(remedy), "{error:#?}");
        }
    }
    let missing =
        deployment.ask(json!({ "request": "publishTopology", "file": "/nowhere/t.toml" })).unwrap_err();
    assert_eq!(missing.kind, ErrorKind::FileMissing);
    assert_eq!(missing.context["file"], "/nowhere/t.toml");
    assert_eq!((version(&deployment), published_files(&deployment)), before);
}

#[test]
fn publishing_adds_a_version_refreshes_the_replica_and_a_dry_run_does_neither() {
    let deployment = Deployment::new();
    assert_eq!(version(&deployment), 1);
    let site = |local: bool| {
        let topology = deployment.ask(json!({ "request": "getTopology", "localStore": local })).unwrap();
        topology["pools"][1]["site"].as_str().unwrap().to_owned()
    };
    let text = changed(&deployment, "site = \"Chicago\"", "site = \"Springfield\"");

    let before = published_files(&deployment);
    let planned = publish(&deployment, &text, true).unwrap();
    assert_eq!((&planned["version"], &planned["unchanged"]), (&json!(2), &json!(false)));
    assert_eq!(planned["pools"], json!([ATL, CHI]));
    assert!(before == published_files(&deployment), "a dry run wrote something");
    assert_eq!((site(false), site(true)), ("Chicago".to_owned(), "Chicago".to_owned()));

    assert_eq!(publish(&deployment, &text, false).unwrap()["version"], 2);
    assert_eq!((site(false), site(true)), ("Springfield".to_owned(), "Springfield".to_owned()));
    let again = publish(&deployment, &text, false).unwrap();
    assert_eq!((&again["version"], &again["unchanged"]), (&json!(2), &json!(true)));
    // An earlier text is a new version, not the old one.
    assert_eq!(publish(&deployment, &topology(&deployment), false).unwrap()["version"], 3);
    assert_eq!(site(true), "Chicago");
}

#[test]
fn publishing_mends_a_damaged_replica_and_leaves_nothing_beside_it() {
    let deployment = Deployment::new();
    std::fs::write(deployment.path("cms/replica.json"), "{").unwrap();
    let request = json!({ "request": "getTopology", "localStore": true });
    let error = deployment.ask(request.clone()).unwrap_err();
    assert_eq!(error.kind, ErrorKind::ReplicaInvalid);
    assert!(error.advice.contains("Publish-CsTopology"), "{error:#?}");
    publish(&deployment, &topology(&deployment), false).unwrap();
    deployment.ask(request).unwrap();
    assert_eq!(super::support::leftovers(&deployment.root()), Vec::<std::path::PathBuf>::new());
}

#[test]
fn a_topology_without_a_pair_warns_and_its_pool_cannot_be_backed_up() {
    let deployment = Deployment::new();
    let alone = format!(
        "central_management_pool = \"{ATL}\"\n[[pools]]\nfqdn = \"{ATL}\"\nuser_store = {{ url = \"sqlite:atl/users.sqlite\" }}\n\
         content_store = {{ url = \"file:atl/share\" }}\n"
    );
    let reply = publish(&deployment, &alone, false).unwrap();
    assert!(reply["warnings"][0].as_str().unwrap().contains("no backup pool"), "{reply}");
    let backup =
        |pool: &str| run_backup(&deployment.service, with_pool(pool, json!({}))).expect(Outcome::Failed);
    assert_eq!(backup(ATL).error().kind, ErrorKind::NotPaired);
    let unknown = backup(CHI);
    let unknown = unknown.error();
    assert_eq!(unknown.kind, ErrorKind::UnknownPool);
    assert!(unknown.advice.contains(ATL), "{unknown:#?}");
}

type Breakage = (&'static str, fn(&Path));

/// Ways in which a Central Management store can be gone.
fn breakages() -> [Breakage; 3] {
    [
        ("gone", |cms| std::fs::remove_file(cms).unwrap()),
        // A folder in its place cannot be opened by anybody, not even by root.
        ("unreadable", |cms| {
            std::fs::remove_file(cms).unwrap();
            std::fs::create_dir(cms).unwrap();
        }),
        ("corrupt", |cms| {
            let length = std::fs::metadata(cms).unwrap().len() as usize;
            std::fs::write(cms, vec![0x5a; length]).unwrap();
        }),
    ]
}

#[test]
fn the_local_store_works_while_the_central_management_store_does_not() {
    for (name, break_it) in breakages() {
        let deployment = Deployment::new();
        for suffix in ["-wal", "-shm"] {
            let _ = std::fs::remove_file(deployment.path(&format!("cms/cms.sqlite{suffix}")));
        }
        break_it(&deployment.path("cms/cms.sqlite"));
        // Another service: one that was open before may have read what it needs.
        let service = deployment.another();
        let reads = [
            json!({ "request": "getTopology" }),
            json!({ "request": "getPools" }),
            json!({ "request": "getAdminRoles" }),
            json!({ "request": "getPoolBackupRelationship", "poolFqdn": ATL }),
            json!({ "request": "getBackupServiceStatus", "poolFqdn": ATL }),
        ];
        for mut request in reads {
            let error = super::support::ask(&service, request.clone()).unwrap_err();
            assert_eq!(error.kind, ErrorKind::StoreUnavailable, "{name}: {error:#?}");
            assert!(error.advice.contains("-LocalStore"), "{name}: {error:#?}");
            assert!(error.context["path"].ends_with("cms.sqlite"), "{name}: {error:#?}");
            request["localStore"] = json!(true);
            super::support::ask(&service, request.clone())
                .unwrap_or_else(|error| panic!("{name}: {request}: {error:#?}"));
        }
        let failed = run_backup(&service, with_pool(ATL, json!({}))).expect(Outcome::Failed);
        assert_eq!(failed.error().kind, ErrorKind::StoreUnavailable, "{name}");
        assert!(failed.error().advice.contains("-LocalStore"), "{name}: {failed:#?}");

        let ended = deployment.backup(json!({ "localStore": true, "retryCount": 0 })).expect(Outcome::Failed);
        assert_eq!(ended.outcome_of(PRESENCE_FOCUS), Outcome::Succeeded, "{name}");
        assert_eq!(ended.outcome_of(DATA_CONF), Outcome::Succeeded, "{name}");
        let master = ended.module(CMS_MASTER);
        assert_eq!(
            (master.outcome, master.after.export),
            (Outcome::Failed, ExportState::ErrorState),
            "{name}"
        );
        assert_eq!(master.errors[0].kind, ErrorKind::StoreUnavailable, "{name}: {:#?}", master.errors);
        deployment.assert_copies_equal("atl", "chi");
    }
}

#[test]
fn nothing_is_published_to_a_new_store_while_the_replica_remembers_one() {
    let deployment = Deployment::new();
    let cms = deployment.path("cms/cms.sqlite");
    std::fs::rename(&cms, deployment.path("aside")).unwrap();
    let error = publish(&deployment, &topology(&deployment), false).unwrap_err();
    assert_eq!(error.kind, ErrorKind::StoreUnavailable);
    assert!(error.advice.contains("Mount") && error.advice.contains("replica.json"), "{error:#?}");
    assert!(!cms.exists());
    std::fs::rename(deployment.path("aside"), &cms).unwrap();
    assert_eq!(version(&deployment), 1);
    // To begin anew is possible, but said.
    std::fs::remove_file(&cms).unwrap();
    std::fs::remove_file(deployment.path("cms/replica.json")).unwrap();
    let unpublished = deployment.ask(json!({ "request": "getTopology" })).unwrap_err();
    assert_eq!(unpublished.kind, ErrorKind::NotPublished);
    // That may as well be a deployment that was moved away.
    assert_eq!(unpublished.context["store"], format!("sqlite:{}", cms.display()));
    assert!(unpublished.advice.contains("where the deployment is now"), "{unpublished:#?}");
    publish(&deployment, &topology(&deployment), false).unwrap();
    assert_eq!(version(&deployment), 1);
}

#[test]
fn nothing_is_published_to_where_a_deployment_was_before_it_was_moved_away() {
    let deployment = Deployment::new();
    let (cms, file) = (deployment.path("cms"), deployment.path("deployment.toml"));
    for name in ["cms", "deployment.toml"] {
        std::fs::rename(deployment.path(name), deployment.path("moved-").with_extension(name)).unwrap();
    }
    for what_if in [true, false] {
        let error = publish(&deployment, &topology(&deployment), what_if).unwrap_err();
        assert_eq!(
            (error.kind, error.context["path"].as_str()),
            (ErrorKind::FileMissing, file.to_str().unwrap())
        );
        assert!(error.advice.contains("where the deployment is now"), "{error:#?}");
        assert!(!cms.exists());
    }
}

#[test]
fn a_store_whose_creation_was_interrupted_is_published_to() {
    let deployment = Deployment::new();
    let cms = deployment.path("cms/cms.sqlite");
    std::fs::remove_file(&cms).unwrap();
    std::fs::remove_file(deployment.path("cms/replica.json")).unwrap();
    rusqlite::Connection::open(&cms).unwrap().pragma_update(None, "journal_mode", "WAL").unwrap();
    publish(&deployment, &topology(&deployment), false).unwrap();
    deployment.backup(json!({})).expect(Outcome::Succeeded);
}

#[test]
fn a_status_of_modules_that_are_not_of_the_category_is_refused() {
    let deployment = Deployment::new();
    let status = |modules: &[&str]| {
        deployment.ask(json!({ "request": "getBackupServiceStatus", "poolFqdn": ATL, "category": "CMS", "modules": modules }))
    };
    assert_eq!(status(&[DATA_CONF]).unwrap_err().kind, ErrorKind::OptionConflict);
    assert_eq!(status(&[DATA_CONF, CMS_MASTER]).unwrap()["backupModules"].as_array().unwrap().len(), 1);
}

#[test]
fn what_is_named_as_a_file_and_is_none_is_refused_at_once() {
    use std::os::unix::net::UnixListener;

    let deployment = Deployment::new();
    let (pipe, socket) = (deployment.path("pipe"), deployment.path("socket"));
    rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, 0o600.into()).unwrap();
    let _listener = UnixListener::bind(&socket).unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let long = deployment.path("long.toml");
    std::fs::File::create(&long).unwrap().set_len(17 << 20).unwrap();
    for file in [pipe.as_path(), &socket, "/dev/zero".as_ref(), &long, "".as_ref()] {
        let publish = json!({ "request": "publishTopology", "file": file, "whatIf": true });
        let error = deployment.ask(publish).unwrap_err();
        assert_eq!(error.kind, ErrorKind::InvalidArgument, "{error}");
        let config = serde_json::from_value(json!({ "deploymentFile": file })).unwrap();
        let opened =
            cs_backup::service::Service::open(&config, deployment.clock.clone(), runtime.handle().clone());
        assert_eq!(opened.err().unwrap().kind, ErrorKind::InvalidArgument, "{}", file.display());
    }
    let sample = json!({ "request": "createSampleDeployment", "folder": "" });
    assert_eq!(deployment.ask(sample).unwrap_err().kind, ErrorKind::InvalidArgument);

    // The replica is such a file, too.
    let replica = deployment.path("cms/replica.json");
    std::fs::remove_file(&replica).unwrap();
    rustix::fs::mkfifoat(rustix::fs::CWD, &replica, 0o600.into()).unwrap();
    let pools = json!({ "request": "getPools", "localStore": true });
    assert_eq!(deployment.ask(pools).unwrap_err().kind, ErrorKind::InvalidArgument);
}

#[test]
fn a_table_that_the_topology_names_and_the_store_lacks_is_a_warning() {
    let deployment = Deployment::new();
    let excluded = "exclude = [\"session_*\"]";
    let text = changed(&deployment, excluded, "exclude = [\"session_*\", \"sesion_*\"]");
    publish(&deployment, &text, false).unwrap();
    let ended = deployment.backup(json!({})).expect(Outcome::SucceededWithWarnings);
    let warnings = &ended.module(PRESENCE_FOCUS).warnings;
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(warnings[0].contains("\"sesion_*\" in exclude"), "{warnings:?}");
    // Once; and where the copy was there before and nothing has changed since, too.
    deployment.backup(json!({})).expect(Outcome::Succeeded);
    publish(&deployment, &changed(&deployment, excluded, "exclude = [\"sesions\"]"), false).unwrap();
    let ended = deployment.backup(json!({})).expect(Outcome::SucceededWithWarnings);
    let warnings = &ended.module(PRESENCE_FOCUS).warnings;
    assert!(warnings.len() == 1 && warnings[0].contains("\"sesions\" in exclude"), "{warnings:?}");
    deployment.backup(json!({})).expect(Outcome::Succeeded);
}
