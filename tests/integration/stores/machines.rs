//! Pools of which each machine opens only its own.

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
    let refusals = [
        refused(&deployment, "backup", ATL, json!({})),
        refused(&deployment, "sync", ATL, json!({})),
        refused(&deployment, "sync", ATL, json!({ "whatIf": true })),
        refused(&deployment, "disable", ATL, json!({})),
        refused(&deployment, "disable", CHI, json!({})),
    ];
    for error in refusals {
        assert_eq!((error.kind, error.retryable), (ErrorKind::PeerRefused, false), "{error:#?}");
        assert!(
            error.message.contains("chi-1, chi-2") && error.advice.contains("at chi-1, chi-2"),
            "{error:#?}"
        );
        assert_eq!(
            (error.context["machine"].as_str(), error.context["pool"].as_str()),
            ("chi-1, chi-2", CHI)
        );
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
