//! Jobs that write at another machine: run where the source is, or at a machine that has neither.

use cs_backup::error::ErrorKind;
use cs_backup::job::events::EventKind;
use cs_backup::report::Outcome;
use cs_backup::service::Service;
use serde_json::json;

use super::pair::{Pair, assert_copied, run, states, status, sync};
use crate::support::*;

/// A pair's life, of which every job is run by `service`, which opens no copy itself.
fn live_from(pair: &Pair, service: &Service) {
    let planned = run(service, "sync", ATL, json!({ "whatIf": true })).expect(Outcome::Succeeded);
    assert!(!pair.path("chi/standby/atl.sqlite").exists(), "{:#?}", planned.report);
    let first = sync(service, ATL, json!({})).expect(Outcome::Succeeded);
    assert_copied(pair);
    let told = first.events.iter().filter_map(|event| match &event.kind {
        EventKind::Progress { line_bytes, .. } => Some(line_bytes.unwrap()),
        _ => None,
    });
    let told: Vec<u64> = told.collect();
    assert!(told.is_sorted() && told.last().is_some_and(|bytes| *bytes > 500), "{told:?}");
    pair.server("atl").execute_batch("UPDATE users SET display_name = 'changed' WHERE rowid = 1").unwrap();
    std::fs::write(pair.path("atl/share/new.txt"), "new").unwrap();
    let plan = sync(service, ATL, json!({ "whatIf": true })).expect(Outcome::Succeeded).report.plan;
    let planned: Vec<_> = plan.steps.iter().filter_map(|step| step.items).collect();
    assert!(planned.iter().filter(|items| **items > 0).count() >= 2, "{plan:#?}");
    let done = sync(service, ATL, json!({})).expect(Outcome::Succeeded);
    assert_copied(pair);
    let moved: Vec<_> = done.report.modules.iter().map(|module| module.moved.items_written).collect();
    assert!(moved[0] > 0 && moved[1] == 1, "{moved:?}");
    let named = format!("{:?}", done.report.modules[1].changes);
    assert!(named.contains("new.txt"), "{named}");
    let idle = sync(service, ATL, json!({})).expect(Outcome::Succeeded);
    assert!(idle.report.modules.iter().all(|module| module.moved.is_nothing()), "{:#?}", idle.report.modules);
    let verified = sync(service, ATL, json!({ "verify": true })).expect(Outcome::Succeeded);
    assert!(
        verified.report.modules.iter().all(|module| module.verification.is_some()),
        "{:#?}",
        verified.report
    );

    // The machine of the copies sees what was done to them, and goes on where the other one stopped.
    let (here, there) = (status(service, ATL), status(&pair.chicago, ATL));
    for name in ["overallExportStatus", "overallImportStatus"] {
        assert_eq!((&here[name], &there[name]), (&there[name], &here[name]), "{here:#} {there:#}");
    }
    assert_eq!(there["overallExportStatus"], json!("SteadyState"), "{there:#}");
    assert!(states(&pair.chicago, ATL).iter().all(|(_, kept)| kept.len() >= 2));
    assert_eq!(states(service, ATL)[0], states(&pair.chicago, ATL)[0]);
    let own = sync(&pair.chicago, ATL, json!({})).expect(Outcome::Succeeded);
    assert!(own.report.modules.iter().all(|module| module.moved.is_nothing()), "{:#?}", own.report.modules);
}

/// Atlanta's stores are lost, and come back from Chicago's copies by a job that `service` runs; Chicago's copy is at Atlanta's machine.
fn give_back_from(pair: &Pair, service: &Service) {
    for name in ["users.sqlite", "users.sqlite-wal", "users.sqlite-shm"] {
        let _ = std::fs::remove_file(pair.path("atl").join(name));
    }
    std::fs::remove_file(pair.path("atl/share/new.txt")).unwrap();
    let given = sync(service, CHI, json!({ "giveBack": true }));
    assert_ne!(given.report.outcome, Outcome::Failed, "{:#?}", given.report);
    assert_copied(pair);
    // A store that is there is none that is made.
    let again = sync(service, CHI, json!({ "giveBack": true })).expect(Outcome::Succeeded);
    assert!(
        again.report.modules.iter().all(|module| module.moved.is_nothing()),
        "{:#?}",
        again.report.modules
    );
}

/// What nobody does from another machine, whatever it grants.
fn refuse_from(pair: &Pair, service: &Service) {
    let refused = run(service, "disable", ATL, json!({})).expect(Outcome::Failed).error().clone();
    assert_eq!(
        (refused.kind, refused.context["machine"].as_str()),
        (ErrorKind::PeerRefused, "chi-1"),
        "{refused:#?}"
    );
    pair.server("atl").execute_batch("DELETE FROM users").unwrap();
    let refused = sync(service, ATL, json!({})).expect(Outcome::Failed);
    let kinds: Vec<_> =
        refused.report.modules.iter().flat_map(|module| &module.errors).map(|error| error.kind).collect();
    assert_eq!(kinds, [ErrorKind::SafetyShareExceeded], "{:#?}", refused.report.modules);
    let refused = sync(service, ATL, json!({ "acceptDeletions": true })).expect(Outcome::Failed);
    let errors: Vec<_> = refused.report.modules.iter().flat_map(|module| &module.errors).collect();
    assert!(
        !errors.is_empty() && errors.iter().all(|error| error.kind == ErrorKind::PeerRefused),
        "{errors:#?}"
    );
    assert!(errors[0].message.contains("-AcceptDeletions"), "{errors:#?}");
    let left: i64 = server(&pair.path("chi/standby/atl.sqlite"))
        .query_row("SELECT count(*) FROM users", [], |row| row.get(0))
        .unwrap();
    assert!(left > 0);
    // At the machine of the copy it is accepted.
    let accepted = sync(&pair.chicago, ATL, json!({ "acceptDeletions": true }));
    assert_ne!(accepted.report.outcome, Outcome::Failed, "{:#?}", accepted.report);
    assert_copied(pair);
}

#[test]
fn the_machine_of_the_source_runs_the_jobs_where_it_may_write() {
    let pair = Pair::through_a_pipe();
    live_from(&pair, &pair.atlanta);
    give_back_from(&pair, &pair.chicago);
    refuse_from(&pair, &pair.atlanta);
}

#[test]
fn an_administrators_machine_that_has_neither_store_runs_the_jobs_where_it_may_write() {
    let pair = Pair::through_a_pipe();
    let admin = pair.admin(env!("CARGO_BIN_EXE_csb-serve"));
    live_from(&pair, &admin);
    give_back_from(&pair, &admin);
    refuse_from(&pair, &admin);
}

#[test]
fn what_is_published_at_another_machine_goes_to_the_master_where_it_may() {
    let pair = Pair::through_a_pipe();
    let settings = |service: &Service| {
        ask(service, json!({ "request": "getBackupServiceConfiguration" })).unwrap()["maxBatchesPerCmsSync"]
            .clone()
    };
    let set = |what_if: bool| {
        let request = json!({ "request": "setBackupServiceConfiguration", "settings": { "maxBatchesPerCmsSync": 7 }, "whatIf": what_if });
        ask(&pair.chicago, request).unwrap()
    };
    let before = settings(&pair.atlanta);
    set(true);
    assert_eq!(settings(&pair.atlanta), before);
    set(false);
    assert_eq!((settings(&pair.atlanta), settings(&pair.chicago)), (json!(7), json!(7)));
    let file = pair.path("topology.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, text.replacen("backup_pool", "site = \"New Site\"\nbackup_pool", 1)).unwrap();
    let published = ask(&pair.chicago, json!({ "request": "publishTopology", "file": file })).unwrap();
    assert_eq!(published["unchanged"], json!(false), "{published:#}");
    let pools = |service: &Service, local| {
        ask(service, json!({ "request": "getPools", "localStore": local })).unwrap()["pools"].clone()
    };
    assert_eq!(pools(&pair.atlanta, false)[0]["site"], json!("New Site"));
    assert_eq!(pools(&pair.chicago, true), pools(&pair.atlanta, false));
    // A copy is no master, whoever asks.
    sync(&pair.chicago, ATL, json!({})).expect(Outcome::Succeeded);
    let chicago = pair.path("machine-chi/deployment.toml");
    let text = std::fs::read_to_string(&chicago).unwrap();
    std::fs::copy(pair.path("chi/standby/cms.sqlite"), pair.path("atl/copy.sqlite")).unwrap();
    std::fs::write(&chicago, text.replace("sqlite:cms.sqlite", "sqlite:copy.sqlite")).unwrap();
    let service = pair.sample.another_on(&chicago);
    let refused = ask(&service, json!({ "request": "publishTopology", "file": file })).unwrap_err();
    assert_eq!(refused.kind, ErrorKind::NotMaster, "{refused:#?}");
}
