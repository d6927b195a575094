//! Places are compared by what they are: no store, and no file of a deployment, is another one under a second name, or
//! lies where it would be copied or overwritten.

use std::collections::BTreeMap;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use cs_backup::error::{Error, ErrorKind};
use cs_backup::report::Outcome;
use serde_json::{Value, json};

use crate::isolation::{HungShare, in_own_mounts, mount};
use crate::support::{ATL, CHI, Deployment, ask, content, tree};

/// The file places of the sample, and what they are called in errors.
const FILES: [(&str, &str); 13] = [
    ("atl/users.sqlite", "user_store of atl-cs-001.litwareinc.com"),
    ("chi/users.sqlite", "user_store of chi-cs-001.litwareinc.com"),
    ("atl/standby/chi.sqlite", "standby.user_store of atl-cs-001.litwareinc.com"),
    ("chi/standby/atl.sqlite", "standby.user_store of chi-cs-001.litwareinc.com"),
    ("atl/standby/chi.service.sqlite", "standby.service_store of atl-cs-001.litwareinc.com"),
    ("chi/standby/atl.service.sqlite", "standby.service_store of chi-cs-001.litwareinc.com"),
    (
        "atl/standby/chi.service-content.sqlite",
        "the content index beside standby.service_store of atl-cs-001.litwareinc.com",
    ),
    (
        "chi/standby/atl.service-content.sqlite",
        "the content index beside standby.service_store of chi-cs-001.litwareinc.com",
    ),
    ("atl/standby/cms.sqlite", "standby.management_store of atl-cs-001.litwareinc.com"),
    ("chi/standby/cms.sqlite", "standby.management_store of chi-cs-001.litwareinc.com"),
    ("cms/cms.sqlite", "central_management_store"),
    ("cms/replica.json", "local_replica"),
    ("deployment.toml", "the deployment file"),
];

const FOLDERS: [(&str, &str); 5] = [
    ("atl/share", "content_store of atl-cs-001.litwareinc.com"),
    ("chi/share", "content_store of chi-cs-001.litwareinc.com"),
    ("atl/standby/chi", "standby.content_store of atl-cs-001.litwareinc.com"),
    ("chi/standby/atl", "standby.content_store of chi-cs-001.litwareinc.com"),
    ("jobs", "jobs"),
];

fn publish(deployment: &Deployment, file: &str, what_if: bool) -> Result<Value, Error> {
    let file = deployment.path(file);
    deployment.ask(json!({ "request": "publishTopology", "file": file, "whatIf": what_if }))
}

/// The sample's topology with some places changed.
fn publish_changed(deployment: &Deployment, changes: &[(&str, &str)]) -> Result<Value, Error> {
    let mut text = std::fs::read_to_string(deployment.path("topology.toml")).unwrap();
    for (from, to) in changes {
        assert!(text.contains(from), "{from} is not in the topology");
        text = text.replace(from, to);
    }
    std::fs::write(deployment.path("new.toml"), text).unwrap();
    publish(deployment, "new.toml", false)
}

/// Why a job on a pool does not run.
fn refused(deployment: &Deployment, job: &str, pool: &str, options: Value) -> Error {
    deployment.run(job, pool, options).expect(Outcome::Failed).error().clone()
}

fn refused_sync(deployment: &Deployment, pool: &str) -> Error {
    refused(deployment, "sync", pool, json!({}))
}

#[track_caller]
fn assert_names(error: &Error, kind: ErrorKind, names: &[&str]) {
    assert_eq!(error.kind, kind, "{error:#?}");
    for name in names {
        assert!(error.message.contains(name), "{name} is not named: {error:#?}");
    }
    assert!(!error.advice.is_empty() && !error.retryable, "{error:#?}");
}

/// Puts a link in the place of something that may exist.
fn link(target: &Path, at: &Path) {
    std::fs::create_dir_all(at.parent().unwrap()).unwrap();
    if at.is_dir() {
        std::fs::remove_dir_all(at).unwrap();
    } else if at.exists() {
        std::fs::remove_file(at).unwrap();
    }
    symlink(target, at).unwrap();
}

/// Every byte of what the servers and the product keep, to be sure that nothing was written.
fn bytes(deployment: &Deployment) -> BTreeMap<PathBuf, Option<Vec<u8>>> {
    let mut files = tree(&deployment.root());
    // A look at a database may leave its log's index, and a job its record.
    files.retain(|path, _| {
        let name = path.to_string_lossy();
        let passed_over = ["-shm", "-wal", "new.toml"];
        !passed_over.iter().any(|end| name.ends_with(end)) && !name.starts_with("jobs")
    });
    files.into_iter().map(|(path, (file, _))| (path, file.map(|(bytes, ..)| bytes))).collect()
}

#[test]
fn a_standby_inside_its_source_through_a_link_is_refused_when_it_is_published() {
    let deployment = Deployment::new();
    symlink(deployment.path("atl/share"), deployment.path("elsewhere")).unwrap();
    let names = ["standby.content_store of chi-cs-001", "content_store of atl-cs-001", "elsewhere/copy"];
    let before = bytes(&deployment);
    for to in ["file:elsewhere/copy", "file:elsewhere"] {
        let error = publish_changed(&deployment, &[("file:chi/standby/atl", to)]).unwrap_err();
        let nested = to.ends_with("copy");
        let kind = if nested { ErrorKind::StandbyInsideSource } else { ErrorKind::SharedStore };
        assert_names(&error, kind, if nested { &names[..] } else { &names[..2] });
        assert!(error.context.contains_key("line"), "{error:#?}");
    }
    // A link that leads to what does not exist yet leads there all the same.
    symlink(deployment.path("atl/share/not/yet"), deployment.path("dangling")).unwrap();
    let error = publish_changed(&deployment, &[("file:chi/standby/atl", "file:dangling/copy")]).unwrap_err();
    assert_names(&error, ErrorKind::StandbyInsideSource, &names[..2]);
    std::fs::remove_file(deployment.path("dangling")).unwrap();
    assert!(bytes(&deployment) == before);
}

#[test]
fn a_standby_that_was_linked_into_its_source_after_it_was_published_is_refused_by_every_job() {
    let deployment = Deployment::new();
    link(&deployment.path("atl/share/copy"), &deployment.path("chi/standby/atl"));
    let before = content(&deployment.path("atl/share"));
    for pool in [ATL, CHI] {
        let error = refused_sync(&deployment, pool);
        let names = ["standby.content_store of chi-cs-001", "content_store of atl-cs-001"];
        assert_names(&error, ErrorKind::StandbyInsideSource, &names);
    }
    assert!(content(&deployment.path("atl/share")) == before);
}

#[test]
fn a_service_database_linked_to_a_user_store_writes_nothing_into_it() {
    for hard in [false, true] {
        let deployment = Deployment::new();
        let (users, service) = (deployment.path("chi/users.sqlite"), "chi/standby/atl.service.sqlite");
        link(&users, &deployment.path(service));
        if hard {
            std::fs::remove_file(deployment.path(service)).unwrap();
            std::fs::hard_link(&users, deployment.path(service)).unwrap();
        }
        let before = bytes(&deployment);
        let names = ["standby.service_store of chi-cs-001", "user_store of chi-cs-001", service];
        for pool in [ATL, CHI] {
            assert_names(&refused_sync(&deployment, pool), ErrorKind::SharedStore, &names);
        }
        for what_if in [true, false] {
            let error = refused(&deployment, "disable", ATL, json!({ "whatIf": what_if }));
            assert_names(&error, ErrorKind::SharedStore, &names);
        }
        let error = publish(&deployment, "topology.toml", false).unwrap_err();
        assert_names(&error, ErrorKind::SharedStore, &names);
        assert!(bytes(&deployment) == before);
    }
}

#[test]
fn jobs_and_replica_may_not_lie_in_a_content_store() {
    let deployment = Deployment::new();
    for (moved, name) in [("jobs", "jobs"), ("cms", "local_replica")] {
        let real = deployment.path(moved);
        let inside = deployment.path("atl/share").join(moved);
        std::fs::create_dir_all(&real).unwrap();
        std::fs::rename(&real, &inside).unwrap();
        symlink(&inside, &real).unwrap();
        let names = [name, "content_store of atl-cs-001", "atl/share"];
        let error = publish(&deployment, "topology.toml", true).unwrap_err();
        assert_names(&error, ErrorKind::PlaceInsideStore, &names);
        assert_names(&refused_sync(&deployment, CHI), ErrorKind::PlaceInsideStore, &names);
        std::fs::remove_file(&real).unwrap();
        std::fs::rename(&inside, &real).unwrap();
    }
    publish(&deployment, "topology.toml", true).unwrap();
}

#[test]
fn a_user_store_may_lie_in_a_content_store_but_no_copy_may() {
    let deployment = Deployment::new();
    publish_changed(&deployment, &[("sqlite:atl/users.sqlite", "sqlite:atl/share/users.sqlite")]).unwrap();
    let error = publish_changed(
        &deployment,
        &[("sqlite:chi/standby/atl.sqlite", "sqlite:atl/share/copy/atl.sqlite")],
    )
    .unwrap_err();
    let names = ["standby.user_store of chi-cs-001", "content_store of atl-cs-001"];
    assert_names(&error, ErrorKind::StandbyInsideSource, &names);
}

#[test]
fn every_pair_of_places_is_told_apart_by_identity() {
    let deployment = Deployment::new();
    deployment.sync(ATL, json!({}));
    deployment.sync(CHI, json!({}));
    for places in [&FILES[..], &FOLDERS[..]] {
        for (one, one_name) in places {
            for (other, other_name) in places.iter().filter(|(other, _)| other != one) {
                // The deployment file and the store that is published to are needed to be asked at all.
                if ["deployment.toml", "cms/cms.sqlite"].contains(other) {
                    continue;
                }
                let (aside, other) = (deployment.path("aside"), deployment.path(other));
                let exists = other.exists();
                if exists {
                    std::fs::rename(&other, &aside).unwrap();
                }
                symlink(deployment.path(one), &other).unwrap();
                let refused = publish(&deployment, "topology.toml", true);
                std::fs::remove_file(&other).unwrap();
                if exists {
                    std::fs::rename(&aside, &other).unwrap();
                }
                let error = refused.expect_err(&format!("{other_name} is {one_name}"));
                assert_names(&error, ErrorKind::SharedStore, &[one_name, other_name]);
            }
        }
    }
    publish(&deployment, "topology.toml", true).unwrap();
}

#[test]
fn a_copy_that_a_deployment_is_connected_to_is_no_place_for_a_copy_of_itself() {
    let deployment = Deployment::new();
    let error = publish_changed(&deployment, &[("sqlite:chi/standby/cms.sqlite", "sqlite:cms/cms.sqlite")]);
    let names = ["standby.management_store of chi-cs-001", "central_management_store", "cms/cms.sqlite"];
    assert_names(&error.unwrap_err(), ErrorKind::SharedStore, &names);
    // Who connects to the copy can still work with the pools.
    deployment.sync(ATL, json!({})).expect(Outcome::Succeeded);
    let file = std::fs::read_to_string(deployment.deployment_file()).unwrap();
    std::fs::write(deployment.path("other.toml"), file.replace("cms/cms", "chi/standby/cms")).unwrap();
    let service = deployment.another_on(&deployment.path("other.toml"));
    let request = json!({ "request": "getBackupServiceStatus", "poolFqdn": ATL, "category": "UserData" });
    let status = ask(&service, request).unwrap();
    assert_eq!(status["overallExportStatus"], "SteadyState", "{status:#}");
}

#[test]
fn what_belongs_to_a_database_is_its_place_too() {
    let deployment = Deployment::new();
    for companion in ["chi/users.sqlite-wal", "chi/users.sqlite-journal", "chi/users.sqlite-shm"] {
        let error = publish_changed(
            &deployment,
            &[("sqlite:chi/standby/atl.sqlite", &format!("sqlite:{companion}"))],
        )
        .unwrap_err();
        let names = ["standby.user_store of chi-cs-001", "user_store of chi-cs-001"];
        assert_names(&error, ErrorKind::SharedStore, &names);
    }
}

#[test]
fn a_bind_mount_is_no_other_place() {
    in_own_mounts(|| {
        let deployment = Deployment::new();
        let (share, elsewhere) = (deployment.path("atl/share"), deployment.path("elsewhere"));
        std::fs::create_dir_all(share.join("deep/er")).unwrap();
        std::fs::create_dir(&elsewhere).unwrap();
        // The whole share under another name, and a folder of it.
        for (what, to) in
            [("", "file:elsewhere/copy"), ("deep/er", "file:elsewhere"), ("deep", "file:elsewhere/x")]
        {
            mount(&["--bind", share.join(what).to_str().unwrap()], &elsewhere);
            let error = publish_changed(&deployment, &[("file:chi/standby/atl", to)]).unwrap_err();
            let names = ["standby.content_store of chi-cs-001", "content_store of atl-cs-001"];
            assert_names(&error, ErrorKind::StandbyInsideSource, &names);
            crate::isolation::unmount(&elsewhere);
        }
    });
}

#[test]
fn a_pool_whose_share_hangs_keeps_no_other_pair_from_its_jobs() {
    in_own_mounts(|| {
        let deployment = Deployment::new();
        let hung = deployment.path("hung");
        std::fs::create_dir(&hung).unwrap();
        let two = ["nyc", "lax"].map(|name| {
            let partner = if name == "nyc" { "lax" } else { "nyc" };
            format!(
                "[[pools]]\nfqdn = \"{name}.example.com\"\nbackup_pool = \"{partner}.example.com\"\n\
                 user_store = {{ url = \"sqlite:{name}/users.sqlite\" }}\ncontent_store = {{ url = \"file:hung/{name}\" }}\n\
                 standby = {{ user_store = \"sqlite:{name}/s.sqlite\", content_store = \"file:{name}/s\" }}\n"
            )
        });
        let text = std::fs::read_to_string(deployment.path("topology.toml")).unwrap();
        std::fs::write(deployment.path("four.toml"), format!("{text}\n{}", two.concat())).unwrap();
        publish(&deployment, "four.toml", false).unwrap();
        let Some(_share) = HungShare::mount(&hung) else { return };
        deployment.sync(ATL, json!({})).expect(Outcome::Succeeded);
        // What does not answer cannot be compared, and publishing says so.
        let reply = publish(&deployment, "four.toml", true).unwrap();
        let warnings = reply["warnings"].to_string();
        assert!(warnings.contains("content_store of nyc.example.com"), "{warnings}");
        assert!(warnings.contains("content_store of lax.example.com"), "{warnings}");
    });
}
