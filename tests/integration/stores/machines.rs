//! Pools of which each machine opens only its own.

mod pair;
mod ssh;
mod write;

use cs_backup::error::{Error, ErrorKind};
use cs_backup::report::Outcome;
use serde_json::{Value, json};

use crate::support::*;

/// The sample with a topology in which Chicago's stores are at a machine that is not this one. No machine of that name is ever spoken to.
fn with_chicago_elsewhere() -> Deployment {
    let deployment = Deployment::new();
    let root = deployment.root();
    let text = std::fs::read_to_string(deployment.path("topology.toml")).unwrap();
    let place =
        format!("place = \"ssh://csb@chi-1.invalid{}\"\ncomputers = [\"chi-1\", \"chi-2\"]", root.display());
    let chicago = format!("fqdn = \"{CHI}\"");
    let mut lines: Vec<&str> = text.lines().filter(|line| !line.starts_with("computers")).collect();
    lines.push("");
    let text = lines.join("\n").replace(&chicago, &format!("{chicago}\n{place}"));
    assert!(text.contains("ssh://"), "{text}");
    std::fs::write(deployment.path("new.toml"), text).unwrap();
    deployment.ask(json!({ "request": "publishTopology", "file": deployment.path("new.toml") })).unwrap();
    deployment
}

fn refused(deployment: &Deployment, job: &str, pool: &str, options: Value) -> Error {
    deployment.run(job, pool, options).expect(Outcome::Failed).error().clone()
}

#[test]
fn a_job_that_would_write_at_another_machine_is_refused_with_its_name() {
    let deployment = with_chicago_elsewhere();
    let error = refused(&deployment, "disable", ATL, json!({}));
    assert_eq!((error.kind, error.retryable), (ErrorKind::PeerRefused, false), "{error:#?}");
    assert!(error.message.contains("chi-1, chi-2") && error.advice.contains("at chi-1, chi-2"), "{error:#?}");
    assert_eq!((error.context["machine"].as_str(), error.context["pool"].as_str()), ("chi-1, chi-2", CHI));
    assert!(error.context["place"].starts_with("ssh://csb@chi-1.invalid/"), "{error:#?}");
    // Whether these may be run from here is said there, and there is nobody.
    for (job, options) in [("backup", json!({})), ("sync", json!({})), ("sync", json!({ "whatIf": true }))] {
        let error = refused(&deployment, job, ATL, options);
        assert_eq!((error.kind, error.retryable), (ErrorKind::StoreUnavailable, true), "{error:#?}");
        assert!(error.context["place"].starts_with("ssh://csb@chi-1.invalid/"), "{error:#?}");
    }
}

#[test]
fn a_machine_of_the_pool_and_one_that_says_so_open_its_stores_themselves() {
    let deployment = with_chicago_elsewhere();
    let file = deployment.deployment_file();
    let text = std::fs::read_to_string(&file).unwrap();
    for (name, more) in [
        ("computer", "machine = \"CHI-2.example.com\"\n".to_owned()),
        ("reach", format!("[reach]\n\"{CHI}\" = \"local\"\n")),
    ] {
        let text = match more.starts_with('[') {
            true => format!("{text}\n{more}"),
            false => format!(
                "{more}{}",
                text.lines().filter(|line| !line.starts_with("machine")).collect::<Vec<_>>().join("\n")
            ),
        };
        std::fs::write(&file, text).unwrap();
        let service = deployment.another_on(&file);
        let ended = run_backup(&service, with_pool(ATL, json!({})));
        assert_eq!(ended.report.outcome, Outcome::Succeeded, "{name}: {:#?}", ended.report.errors);
    }
}

#[test]
fn nothing_is_published_at_a_machine_that_is_not_the_masters() {
    let deployment = Deployment::new();
    let root = deployment.root();
    let table = format!(
        "central_management_store = {{ place = \"ssh://csb@atl-1.invalid{}\", url = \"sqlite:cms/cms.sqlite\", pool = \"{ATL}\" }}",
        root.display()
    );
    let text = std::fs::read_to_string(deployment.deployment_file()).unwrap();
    let text: Vec<&str> = text
        .lines()
        .map(|line| if line.starts_with("central_management_store") { table.as_str() } else { line })
        .collect();
    std::fs::write(deployment.deployment_file(), text.join("\n")).unwrap();
    let service = deployment.another();
    for request in [
        json!({ "request": "publishTopology", "file": deployment.path("topology.toml") }),
        json!({ "request": "publishTopology", "file": deployment.path("topology.toml"), "whatIf": true }),
        json!({ "request": "resetBackupServiceConfiguration" }),
    ] {
        let error = ask(&service, request).unwrap_err();
        assert_eq!(
            (error.kind, error.context["machine"].as_str()),
            (ErrorKind::NotMaster, "atl-1.invalid"),
            "{error:#?}"
        );
        assert!(error.message.contains("atl-1.invalid"), "{error}");
    }
    let pools = ask(&service, json!({ "request": "getPools", "localStore": true })).unwrap();
    assert_eq!(pools["pools"].as_array().unwrap().len(), 2);
}

/// The sample, whose stores are all reached through a helper that this machine starts.
fn through_a_helper() -> Deployment {
    let deployment = Deployment::new();
    let (file, root) = (deployment.deployment_file(), deployment.root());
    let text = std::fs::read_to_string(deployment.path("topology.toml")).unwrap();
    let placed = |text: String, pool: &str| {
        text.replace(
            &format!("fqdn = \"{pool}\""),
            &format!("place = \"{}\"\nfqdn = \"{pool}\"", root.display()),
        )
    };
    std::fs::write(deployment.path("placed.toml"), placed(placed(text, ATL), CHI)).unwrap();
    deployment.ask(json!({ "request": "publishTopology", "file": deployment.path("placed.toml") })).unwrap();
    let text = std::fs::read_to_string(&file).unwrap();
    let helper = env!("CARGO_BIN_EXE_csb-serve");
    std::fs::write(
        &file,
        format!("{text}\n[reach]\n\"{ATL}\" = \"pipe:{helper}\"\n\"{CHI}\" = \"pipe:{helper}\"\n"),
    )
    .unwrap();
    deployment
}

#[test]
fn a_test_of_the_connection_shows_who_answers_and_what_its_account_may_not_do() {
    let deployment = through_a_helper();
    let service = deployment.another();
    let test = |service: &cs_backup::service::Service, pool: &str| {
        ask(service, json!({ "request": "testPoolConnection", "poolFqdn": pool, "localStore": true }))
            .unwrap()
    };
    let seen = test(&service, ATL);
    assert_eq!(seen["succeeded"], json!(true), "{seen:#}");
    let line = &seen["line"];
    assert_eq!(
        (&line["servedPoolFqdn"], &line["partnerFqdn"], &line["grants"]),
        (&json!(ATL), &json!(CHI), &json!(["read", "write", "give-back", "cms"]))
    );
    assert_eq!(line["version"], json!(env!("CARGO_PKG_VERSION")));
    assert!(
        line["bytesPerSecond"].as_f64().unwrap() > 1e6 && line["roundTripMs"].as_f64().unwrap() < 1e3,
        "{line}"
    );
    assert!(line["clockAheadMs"].as_i64().unwrap().abs() < 1_000, "{line}");
    assert!(seen["place"].as_str().unwrap().starts_with("pipe:/"), "{seen}");
    let stores: Vec<&str> =
        seen["checks"].as_array().unwrap().iter().map(|check| check["store"].as_str().unwrap()).collect();
    for store in ["userStore", "contentStore", "userCopy", "contentCopy", "serviceStore"] {
        assert!(stores.contains(&store), "{store} is not looked at: {stores:?}");
    }
    // What is missing is named with what to do, through the helper as without it.
    std::fs::remove_file(deployment.path("atl/users.sqlite")).unwrap();
    for service in [service, Deployment::another(&deployment)] {
        let seen = test(&service, ATL);
        assert_eq!(seen["succeeded"], json!(false));
        let failed: Vec<&Value> =
            seen["checks"].as_array().unwrap().iter().filter(|check| check["isOk"] == json!(false)).collect();
        assert_eq!(failed.len(), 1, "{failed:?}");
        assert_eq!(failed[0]["store"], json!("userStore"));
        assert!(
            failed[0]["why"].as_str().unwrap().contains("users.sqlite") && failed[0]["advice"].is_string()
        );
    }
}

#[test]
fn what_does_not_answer_as_a_helper_is_an_error_that_says_what_to_do() {
    let deployment = through_a_helper();
    let file = deployment.deployment_file();
    let text = std::fs::read_to_string(&file).unwrap();
    let script = deployment.path("noisy");
    std::fs::write(&script, "#!/bin/sh\necho Welcome to atl-1\n").unwrap();
    std::fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    for (program, kind, named) in [
        ("/nowhere/csb-serve", ErrorKind::StoreUnavailable, "/nowhere/csb-serve"),
        ("/bin/false", ErrorKind::StoreUnavailable, "pipe:/bin/false"),
        (script.to_str().unwrap(), ErrorKind::PeerIncompatible, "Welcome to atl-1"),
    ] {
        std::fs::write(&file, text.replace(env!("CARGO_BIN_EXE_csb-serve"), program)).unwrap();
        let error = ask(&deployment.another(), json!({ "request": "testPoolConnection", "poolFqdn": ATL }))
            .unwrap_err();
        assert_eq!(error.kind, kind, "{program}: {error:#?}");
        assert!(error.message.contains(named) && !error.advice.is_empty(), "{program}: {error:#?}");
        assert!(error.context["place"].contains(program), "{error:#?}");
    }
}

#[test]
fn a_registration_prints_one_line_for_one_pool_one_partner_and_its_grants() {
    let deployment = with_chicago_elsewhere();
    let register = |pool: &str, grants: &[&str], key: Option<&str>| {
        deployment.ask(
            json!({ "request": "registerPoolPlace", "poolFqdn": pool, "grants": grants, "publicKey": key }),
        )
    };
    // Without a place it is told which one it could have.
    let placeless = register(ATL, &["read"], None).unwrap();
    assert_eq!(placeless["place"], json!(deployment.root()));
    assert!(placeless["instructions"].to_string().contains("place = "), "{placeless:#}");
    let error = register(CHI, &["read"], None).unwrap_err();
    assert_eq!((error.kind, error.context["machine"].as_str()), (ErrorKind::PeerRefused, "chi-1.invalid"));
    let file = deployment.deployment_file();
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, format!("{text}\n[reach]\n\"{CHI}\" = \"local\"\n")).unwrap();
    let service = deployment.another();
    let key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJx csb@atl-1";
    let request = |grants: Value, key: Value| {
        ask(
            &service,
            json!({ "request": "registerPoolPlace", "poolFqdn": CHI, "grants": grants, "publicKey": key }),
        )
    };
    let told = request(json!(["read"]), json!(key)).unwrap();
    let line = told["authorizedKeysLine"].as_str().unwrap();
    let root = deployment.root();
    assert!(line.starts_with("restrict,command=\"/") && line.ends_with(key), "{line}");
    assert!(
        line.contains(&format!(" --root {} --pool {CHI} --partner {ATL} --grant read\" ", root.display())),
        "{line}"
    );
    assert_eq!(told["account"], json!("csb"));
    let steps = told["instructions"].as_array().unwrap();
    assert!(steps.iter().any(|step| step["atPoolFqdn"] == json!(ATL)) && steps.len() >= 4, "{told:#}");
    assert!(told["checks"].as_array().unwrap().iter().all(|check| check["isOk"] == json!(true)), "{told:#}");
    let more = request(json!(["read", "write"]), json!(key)).unwrap();
    assert!(
        more["authorizedKeysLine"].as_str().unwrap().contains(" --grant read --grant write\" "),
        "{more:#}"
    );
    let without = request(json!(["read"]), Value::Null).unwrap();
    assert!(without["authorizedKeysLine"].as_str().unwrap().contains("KEY-OF-THE-PARTNER"));
    for (grants, key) in
        [(json!(["write"]), json!(key)), (json!([]), json!(key)), (json!(["read"]), json!("x"))]
    {
        assert_eq!(request(grants, key).unwrap_err().kind, ErrorKind::InvalidArgument);
    }
}
