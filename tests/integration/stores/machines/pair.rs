//! Two pools at two machines, each of which opens its own stores and reaches the other's through the helper.

use std::path::PathBuf;

use cs_backup::error::{Error, ErrorKind};
use cs_backup::report::Outcome;
use cs_backup::service::Service;
use serde_json::{Value, json};

use crate::support::*;

/// What jobs of these tests copy.
const MODULES: [&str; 3] = ["PresenceFocus", "DataConf", "CMSMaster"];

/// How a machine reaches the other one.
pub struct Reach {
    /// Host, and port where there is one, as in `ssh://csb@HOST/`; by machine.
    pub hosts: [String; 2],
    /// What `[reach]` says of the other pool; none to go by its place.
    pub way: Option<String>,
}

/// Both machines. Atlanta's has the Central Management store.
pub struct Pair {
    pub sample: Deployment,
    pub atlanta: Service,
    pub chicago: Service,
}

impl Pair {
    /// Joined by a helper that each machine starts itself, which grants everything.
    pub fn through_a_pipe() -> Self {
        Pair::through(env!("CARGO_BIN_EXE_csb-serve"))
    }

    /// The same through another program.
    pub fn through(helper: &str) -> Self {
        let hosts = ["csb@atl-1.invalid", "csb@chi-1.invalid"].map(str::to_owned);
        Pair::joined(&Reach { hosts, way: Some(format!("pipe:{helper}")) })
    }

    /// The service of an administrator's machine, which has no store and reaches both pools through this program.
    pub fn admin(&self, helper: &str) -> Service {
        let text = std::fs::read_to_string(self.path("machine-chi/deployment.toml")).unwrap();
        let text = text.replace("\"chi-1\"", "\"admin\"") + &format!("\"{CHI}\" = \"pipe:{helper}\"\n");
        let folder = self.path("machine-admin");
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("deployment.toml"), text).unwrap();
        self.sample.another_on(&folder.join("deployment.toml"))
    }

    pub fn joined(reach: &Reach) -> Self {
        let sample = Deployment::new();
        let root = sample.root().display().to_string();
        let pool = |short: &str, fqdn: &str, partner: &str, backup: &str, host: &str| {
            format!(
                r#"
                [[pools]]
                fqdn = "{fqdn}"
                backup_pool = "{backup}"
                computers = ["{short}-1"]
                place = "ssh://{host}{root}/{short}"
                user_store = {{ url = "sqlite:users.sqlite" }}
                content_store = {{ url = "file:share" }}
                standby = {{ user_store = "sqlite:standby/{partner}.sqlite", content_store = "file:standby/{partner}", management_store = "sqlite:standby/cms.sqlite" }}
                "#
            )
        };
        let [atl, chi] = &reach.hosts;
        let topology = format!(
            "central_management_pool = \"{ATL}\"\n{}{}",
            pool("atl", ATL, "chi", CHI, atl),
            pool("chi", CHI, "atl", ATL, chi)
        );
        std::fs::write(sample.path("topology.toml"), topology).unwrap();
        let other = |pool: &str| match &reach.way {
            Some(way) => format!("[reach]\n\"{pool}\" = \"{way}\"\n"),
            None => String::new(),
        };
        let machine = |short: &str, store: &str, reach: &str| {
            let folder = sample.path(&format!("machine-{short}"));
            std::fs::create_dir_all(&folder).unwrap();
            let text = format!(
                "central_management_store = {store}\nlocal_replica = \"replica.json\"\nmachine = \"{short}-1\"\n{reach}"
            );
            std::fs::write(folder.join("deployment.toml"), text).unwrap();
            sample.another_on(&folder.join("deployment.toml"))
        };
        let atlanta = machine("atl", &format!("\"sqlite:{root}/atl/cms.sqlite\""), &other(CHI));
        let placed =
            format!("{{ place = \"ssh://{atl}{root}/atl\", url = \"sqlite:cms.sqlite\", pool = \"{ATL}\" }}");
        let chicago = machine("chi", &placed, &other(ATL));
        ask(&atlanta, json!({ "request": "publishTopology", "file": sample.path("topology.toml") })).unwrap();
        Pair { sample, atlanta, chicago }
    }

    pub fn path(&self, relative: &str) -> PathBuf {
        self.sample.path(relative)
    }

    pub fn server(&self, pool: &str) -> rusqlite::Connection {
        self.sample.server(pool)
    }
}

/// A job on one machine, to its end.
pub fn run(service: &Service, job: &str, pool: &str, options: Value) -> Ended {
    ended(service, start(service, job, with_pool(pool, options)))
}

pub fn sync(service: &Service, pool: &str, more: Value) -> Ended {
    let mut options = json!({ "modules": MODULES, "retryCount": 0 });
    for (name, value) in more.as_object().unwrap() {
        options[name] = value.clone();
    }
    run(service, "sync", pool, options)
}

pub fn status(service: &Service, pool: &str) -> Value {
    ask(service, json!({ "request": "getBackupServiceStatus", "poolFqdn": pool })).unwrap()
}

pub fn states(service: &Service, pool: &str) -> Vec<(String, Vec<u64>)> {
    let history = ask(service, json!({ "request": "getPoolBackupHistory", "poolFqdn": pool })).unwrap();
    let of = |module: &Value| {
        let states = module["states"].as_array().unwrap();
        let revisions = states.iter().map(|state| state["revision"].as_u64().unwrap()).collect();
        (module["module"].as_str().unwrap().to_owned(), revisions)
    };
    history["modules"].as_array().unwrap().iter().map(of).collect()
}

/// Whether Chicago's copies are what Atlanta has.
#[track_caller]
pub fn assert_copied(pair: &Pair) {
    assert_rows_equal(&pair.path("atl/users.sqlite"), &pair.path("chi/standby/atl.sqlite"));
    assert_eq!(content(&pair.path("atl/share")), content(&pair.path("chi/standby/atl")));
}

/// What every way to the other machine has to carry: a whole life of a pair.
pub fn live(pair: &Pair) {
    // What was published at Atlanta is read at Chicago, and kept there.
    let pools = |local| {
        ask(&pair.chicago, json!({ "request": "getPools", "localStore": local }))
            .map(|told| told["pools"].clone())
    };
    assert_eq!(pools(false).unwrap().as_array().unwrap().len(), 2);
    assert_eq!(pools(true).unwrap(), pools(false).unwrap());

    // Chicago receives, so that it runs the jobs.
    sync(&pair.chicago, ATL, json!({})).expect(Outcome::Succeeded);
    assert_copied(pair);
    pair.server("atl").execute_batch("UPDATE users SET display_name = 'changed' WHERE rowid = 1").unwrap();
    std::fs::write(pair.path("atl/share/new.txt"), "new").unwrap();
    sync(&pair.chicago, ATL, json!({})).expect(Outcome::Succeeded);
    assert_copied(pair);
    let idle = sync(&pair.chicago, ATL, json!({})).expect(Outcome::Succeeded);
    assert!(
        idle.report.modules.iter().all(|module| module.moved.items_written == 0),
        "{:#?}",
        idle.report.modules
    );
    let verified = sync(&pair.chicago, ATL, json!({ "verify": true })).expect(Outcome::Succeeded);
    assert!(
        verified.report.modules.iter().all(|module| module.verification.is_some()),
        "{:#?}",
        verified.report
    );

    // Both machines see the same states, and the same history.
    let (here, there) = (status(&pair.chicago, ATL), status(&pair.atlanta, ATL));
    for name in ["overallExportStatus", "overallImportStatus", "activeMachineFqdn"] {
        assert_eq!(here[name], there[name], "{name}: {here:#} {there:#}");
    }
    assert_eq!(here["overallExportStatus"], json!("SteadyState"), "{here:#}");
    assert_eq!(here["activeMachineFqdn"], json!("chi-1"));
    let kept = states(&pair.chicago, ATL);
    assert!(kept.iter().all(|(_, revisions)| revisions.len() >= 2), "{kept:?}");
    let seen = states(&pair.atlanta, ATL);
    assert_eq!(seen[0], kept[0], "of the user store");
    assert_eq!(seen[1], (DATA_CONF.to_owned(), Vec::new()), "of the content store they are read where it is");

    // A state is restored at either machine, files where their copy is.
    for (service, name, kept) in [(&pair.chicago, "here", &kept[..]), (&pair.atlanta, "there", &kept[..1])] {
        for (module, revisions) in kept {
            let path = pair.path(&format!("restored-{name}-{module}"));
            let options = json!({ "revision": revisions.last(), "module": module, "path": path });
            let restored = run(service, "restore", ATL, options);
            assert_ne!(restored.report.outcome, Outcome::Failed, "{name} {module}: {:#?}", restored.report);
            assert!(path.exists());
        }
    }
    let path = pair.path("refused");
    let options = json!({ "revision": kept[1].1.last(), "module": DATA_CONF, "path": path });
    let refused = run(&pair.atlanta, "restore", ATL, options).expect(Outcome::Failed);
    assert_eq!(refused.error().kind, ErrorKind::PeerRefused, "{:#?}", refused.report);

    // Atlanta loses its stores and takes them back out of Chicago's copies, by a sync of Chicago that it runs itself.
    std::fs::remove_file(pair.path("atl/users.sqlite")).unwrap();
    let _ = std::fs::remove_file(pair.path("atl/users.sqlite-wal"));
    let _ = std::fs::remove_file(pair.path("atl/users.sqlite-shm"));
    std::fs::remove_file(pair.path("atl/share/new.txt")).unwrap();
    let given = sync(&pair.atlanta, CHI, json!({ "giveBack": true }));
    assert_ne!(given.report.outcome, Outcome::Failed, "{:#?}", given.report);
    // Whose the store was is not known here: it is whose its folder is.
    let warned =
        given.report.modules.iter().flat_map(|module| &module.warnings).any(|line| line.contains("chown"));
    assert!(!warned, "{:#?}", given.report);
    let owner = |path: PathBuf| std::os::unix::fs::MetadataExt::uid(&std::fs::metadata(path).unwrap());
    assert_eq!(owner(pair.path("atl/users.sqlite")), owner(pair.path("atl")));
    assert_copied(pair);

    // The copies are given up where they are; what is at the other machine stays, and is named.
    let given_up = run(&pair.chicago, "disable", ATL, json!({})).expect(Outcome::Succeeded);
    let told = format!("{:?}", given_up.events);
    assert!(told.contains("keeps its folder .csb"), "{told}");
    assert!(pair.path("atl/share/.csb/store.json").exists());
    let left: Vec<_> = std::fs::read_dir(pair.path("chi/standby/atl.sqlite.csb")).unwrap().collect();
    assert_eq!(left.len(), 1, "a note by which a later backup knows the copy again: {left:?}");
    run(&pair.chicago, "backup", ATL, json!({ "category": "UserData" })).expect(Outcome::Succeeded);
    assert_copied(pair);
}

/// What cannot be done from a machine says where it can.
pub fn refuse(pair: &Pair) {
    let refused = |service: &Service, job: &str, pool: &str| -> Error {
        run(service, job, pool, json!({})).expect(Outcome::Failed).error().clone()
    };
    for (service, pool, machine) in [(&pair.atlanta, ATL, "chi-1"), (&pair.chicago, CHI, "atl-1")] {
        for job in ["backup", "sync"] {
            let error = refused(service, job, pool);
            assert_eq!(
                (error.kind, error.context["machine"].as_str()),
                (ErrorKind::PeerRefused, machine),
                "{error:#?}"
            );
        }
    }
    let publish = json!({ "request": "publishTopology", "file": pair.path("topology.toml") });
    assert_eq!(ask(&pair.chicago, publish).unwrap_err().kind, ErrorKind::NotMaster);
}

#[test]
fn a_pair_of_two_machines_lives_through_a_pipe() {
    let pair = Pair::through_a_pipe();
    let local = ask(&pair.chicago, json!({ "request": "getPools", "localStore": true }));
    assert_eq!(local.unwrap_err().kind, ErrorKind::NotPublished);
    live(&pair);
}

/// A program that is the helper but for what it grants: only reading.
pub fn reading_helper() -> (tempfile::TempDir, String) {
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("reads");
    let text = format!(
        "#!/bin/sh\nfor one; do shift; [ \"$last\" = --grant ] && one=read; last=$one; set -- \"$@\" \"$one\"; done\nexec {} \"$@\"\n",
        env!("CARGO_BIN_EXE_csb-serve")
    );
    std::fs::write(&program, text).unwrap();
    std::fs::set_permissions(&program, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let path = program.to_str().unwrap().to_owned();
    (folder, path)
}

#[test]
fn what_only_the_other_machine_may_do_is_refused_with_its_name() {
    let (_folder, helper) = reading_helper();
    let pair = Pair::through(&helper);
    refuse(&pair);
}

#[test]
fn a_failure_at_the_other_machine_says_on_which_side_and_at_which_place_it_was() {
    let pair = Pair::through_a_pipe();
    sync(&pair.chicago, ATL, json!({})).expect(Outcome::Succeeded);
    std::fs::write(pair.path("atl/users.sqlite"), vec![b'x'; 8192]).unwrap();
    std::fs::rename(pair.path("atl/share"), pair.path("atl/away")).unwrap();
    std::fs::rename(pair.path("atl/cms.sqlite"), pair.path("atl/cms.away")).unwrap();
    let failed = sync(&pair.chicago, ATL, json!({ "localStore": true })).expect(Outcome::Failed);
    for module in &failed.report.modules {
        let error = module.errors.first().unwrap_or_else(|| panic!("{module:#?}"));
        assert_eq!(error.side, Some(cs_backup::error::Side::Export), "{}: {error:#?}", module.module);
        let place = error.context.get("place");
        assert!(place.is_some_and(|place| error.message.contains(place)), "{}: {error:#?}", module.module);
    }
    assert_eq!(failed.report.modules.len(), 3);
}

#[test]
fn a_helper_that_says_nothing_is_not_waited_for_long() {
    let pair = Pair::through_a_pipe();
    sync(&pair.chicago, ATL, json!({})).expect(Outcome::Succeeded);
    let silent = pair.path("silent");
    std::fs::write(&silent, "#!/bin/sh\nexec sleep 1000\n").unwrap();
    std::fs::set_permissions(&silent, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let file = pair.path("machine-chi/deployment.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, text.replace(env!("CARGO_BIN_EXE_csb-serve"), silent.to_str().unwrap())).unwrap();
    let service = std::sync::Arc::new(pair.sample.another_on(&file));
    let began = std::time::Instant::now();
    let request = json!({ "request": "getBackupServiceStatus", "poolFqdn": ATL, "localStore": true });
    let error = service.answer(serde_json::from_value(request).unwrap()).unwrap_err();
    assert!(began.elapsed() < std::time::Duration::from_secs(12), "{:?}", began.elapsed());
    assert_eq!(error.kind, ErrorKind::StoreUnavailable, "{error:#?}");
    assert!(error.message.contains("silent"), "{error:#?}");
}

#[test]
fn an_administrators_third_machine_looks_at_both_and_runs_nothing_where_it_may_only_read() {
    let (_folder, helper) = reading_helper();
    let pair = Pair::through(&helper);
    sync(&pair.chicago, ATL, json!({})).expect(Outcome::Succeeded);
    let admin = pair.admin(&helper);
    let (seen, there) = (status(&admin, ATL), status(&pair.chicago, ATL));
    for name in ["overallExportStatus", "overallImportStatus", "activeMachineFqdn"] {
        assert_eq!(seen[name], there[name], "{name}: {seen:#} {there:#}");
    }
    assert_eq!(states(&admin, ATL)[0], states(&pair.chicago, ATL)[0]);
    for pool in [ATL, CHI] {
        let seen = ask(&admin, json!({ "request": "testPoolConnection", "poolFqdn": pool })).unwrap();
        assert_eq!(seen["succeeded"], json!(true), "{seen:#}");
    }
    let error = run(&admin, "sync", ATL, json!({})).expect(Outcome::Failed).error().clone();
    assert_eq!(
        (error.kind, error.context["machine"].as_str()),
        (ErrorKind::PeerRefused, "chi-1"),
        "{error:#?}"
    );
}
