//! Stores that shrank, were replaced, set back or damaged.

use std::os::unix::fs::FileExt;

use cs_backup::error::ErrorKind;

use super::*;

const MANY: &str = "
    CREATE TABLE users (id INTEGER PRIMARY KEY, name TEXT);
    CREATE TABLE contacts (owner, contact);
    CREATE TABLE spool (x);
    WITH RECURSIVE n (x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n WHERE x < 20000)
    INSERT INTO users SELECT x, 'user ' || x FROM n;
    INSERT INTO contacts SELECT id, name FROM users;
    INSERT INTO spool SELECT id FROM users";

#[test]
fn a_store_that_lacks_much_is_refused_by_name_until_that_is_accepted() {
    for (loss, named, rows) in [
        (
            "DELETE FROM contacts",
            "contacts is empty (20000 rows before)",
            "contacts 20000 missing (1; 2; 3; 4; 5, …)",
        ),
        (
            "DROP TABLE contacts",
            "contacts is gone (20000 rows before)",
            "contacts 20000 missing (1; 2; 3; 4; 5, …)",
        ),
        (
            "DELETE FROM users WHERE id > 100; DELETE FROM contacts WHERE owner > 100; DELETE FROM spool WHERE x > 100; VACUUM",
            "users has 100 of 20000 rows",
            "users 19900 missing (101; 102; 103; 104; 105, …)",
        ),
    ] {
        let stores = Stores::new();
        let server = stores.server();
        server.execute_batch(MANY).unwrap();
        stores.sync_and_compare();
        let kept = std::fs::read(stores.standby()).unwrap();
        server.execute_batch(loss).unwrap();
        for is_plan in [false, true, false] {
            let error = if is_plan { stores.plan() } else { stores.sync() }.unwrap_err();
            assert_eq!(error.kind, ErrorKind::SafetyShareExceeded, "{loss}");
            assert!(error.message.contains(named), "{loss}: {}", error.message);
            assert!(error.message.contains(rows), "{loss}: {}", error.message);
            assert!(error.context["missing"].contains(rows), "{loss}: {error:?}");
            assert_eq!(beside(&stores.standby()), ["history", "lock", "state"], "{loss}");
            assert_eq!(std::fs::read(stores.standby()).unwrap(), kept, "{loss}");
            assert!(!std::fs::exists(format!("{}-journal", stores.standby().display())).unwrap());
        }
        stores.sync_with(|work| work.accept_deletions = true).unwrap();
        stores.assert_equal();
    }
}

/// What lies in the folder of what is remembered beside a copy.
fn beside(standby: &std::path::Path) -> Vec<String> {
    let listed = std::fs::read_dir(format!("{}.csb", standby.display())).unwrap();
    let mut names: Vec<String> = listed.map(|it| it.unwrap().file_name().into_string().unwrap()).collect();
    names.retain(|name| name != "history");
    names.push("history".to_owned());
    names.sort();
    names
}

#[test]
fn a_loss_is_seen_in_tables_that_only_their_server_can_read() {
    for declared in ["(name TEXT COLLATE theirs PRIMARY KEY) WITHOUT ROWID", "(name EXCEPT TOMORROW)"] {
        let stores = Stores::new();
        let table = declared.replace("COLLATE theirs ", "").replace("EXCEPT TOMORROW", "TEXT");
        let server = stores.server();
        server
            .execute_batch(&format!(
                "{MANY}; CREATE TABLE strange {table}; INSERT INTO strange SELECT name FROM users;
                 PRAGMA writable_schema = ON; UPDATE sqlite_schema SET sql = 'CREATE TABLE strange {declared}' WHERE name = 'strange'"
            ))
            .unwrap();
        drop(server);
        let said =
            |outcome: PairOutcome| outcome.details.iter().any(|line| line.contains("declaration: strange."));
        let is_understood = declared.contains("COLLATE");
        assert_eq!(said(stores.sync_and_compare()), !is_understood);
        assert_eq!(said(stores.sync_with(|work| work.verify = true).unwrap()), !is_understood);
        let server = stores.server();
        server
            .execute_batch(&format!(
                "PRAGMA writable_schema = ON; UPDATE sqlite_schema SET sql = 'CREATE TABLE strange {table}' WHERE name = 'strange'"
            ))
            .unwrap();
        drop(server);
        let server = stores.server();
        server
            .execute_batch(&format!(
                "DELETE FROM strange; PRAGMA writable_schema = ON; UPDATE sqlite_schema SET sql = 'CREATE TABLE strange {declared}' WHERE name = 'strange'"
            ))
            .unwrap();
        drop(server);
        let error = stores.sync().unwrap_err();
        assert_eq!(error.kind, ErrorKind::SafetyShareExceeded, "{declared}");
        assert!(
            error.message.contains("strange is empty (20000 rows before)"),
            "{declared}: {}",
            error.message
        );
        let said = "could not be compared";
        assert!(
            error.message.contains(said) && error.message.contains("20000 in the copy, 0 in"),
            "{}",
            error.message
        );
        stores.sync_with(|work| work.accept_deletions = true).unwrap();
        stores.assert_equal();
    }
}

#[test]
fn what_is_excluded_and_what_is_small_may_go() {
    let stores = Stores::configured(|config| config.exclude = vec!["SPOOL".to_owned()]);
    let server = stores.server();
    server
        .execute_batch(&format!(
            "{MANY}; CREATE TABLE small (x); INSERT INTO small SELECT id FROM users LIMIT 900"
        ))
        .unwrap();
    stores.sync_and_compare();
    server.execute_batch("DELETE FROM spool; DELETE FROM small; DELETE FROM users WHERE id > 15000").unwrap();
    stores.sync_and_compare();
}

#[test]
fn a_store_that_its_server_made_anew_is_refused() {
    let stores = Stores::new();
    stores.server().execute_batch(MANY).unwrap();
    stores.sync_and_compare();
    std::fs::remove_file(stores.source()).unwrap();
    stores
        .server()
        .execute_batch(
            "CREATE TABLE users (id INTEGER PRIMARY KEY, name TEXT); INSERT INTO users VALUES (1, 'one')",
        )
        .unwrap();
    let error = stores.sync().unwrap_err();
    assert_eq!(error.kind, ErrorKind::SafetyShareExceeded);
    assert!(error.message.contains("contacts is gone"), "{}", error.message);
}

#[test]
fn a_store_that_was_set_back_is_copied_and_said_and_the_later_state_stays_restorable() {
    let stores = Stores::new();
    let server = stores.server();
    server.execute_batch(LEDGER).unwrap();
    let older = std::fs::read(stores.source()).unwrap();
    (0..5).for_each(|_| play(&server).unwrap());
    drop(server);
    stores.sync_and_compare();
    std::fs::write(stores.source(), older).unwrap();
    let outcome = stores.sync_and_compare();
    assert!(outcome.warnings.iter().any(|warning| warning.contains("set back")), "{:?}", outcome.warnings);
    assert_eq!(turn(&stores.standby()), 0);
    let states = cs_backup::store::user::UserStorePair::states(&stores.pair).unwrap();
    assert!(states[1].reason.as_ref().unwrap().contains("set back"));
    let to = stores.root().join("later");
    let cancel = CancellationToken::new();
    cs_backup::store::user::UserStorePair::restore_state(
        &stores.pair,
        states[1].revision,
        &to,
        Generation(1),
        &cancel,
    )
    .unwrap();
    assert_eq!(turn(&to), 5);
}

#[test]
fn a_damaged_page_of_the_source_keeps_the_last_good_state_and_is_named() {
    let stores = Stores::new();
    let server = stores.server();
    server.execute_batch(MANY).unwrap();
    drop(server);
    stores.sync_and_compare();
    let kept = std::fs::read(stores.standby()).unwrap();
    let root: u32 = Connection::open(stores.source())
        .unwrap()
        .query_row("SELECT rootpage FROM sqlite_schema WHERE name = 'contacts'", [], |row| row.get(0))
        .unwrap();
    let file = std::fs::File::options().write(true).open(stores.source()).unwrap();
    file.write_all_at(&[0xaa; 900], u64::from(root - 1) * 4_096).unwrap();
    drop(file);
    for _ in 0..2 {
        let error = stores.sync().unwrap_err();
        assert_eq!(error.kind, ErrorKind::Corrupt, "{error:?}");
        assert!(error.message.contains(&format!("Page {root}")), "{}", error.message);
        assert_eq!(std::fs::read(stores.standby()).unwrap(), kept);
    }
}

#[test]
fn a_byte_of_the_copy_that_turned_is_found_by_verify_and_put_right() {
    let stores = Stores::new();
    let server = stores.server();
    server.execute_batch(MANY).unwrap();
    stores.sync_and_compare();
    let stat = std::fs::metadata(stores.standby()).unwrap();
    let file = std::fs::File::options().write(true).open(stores.standby()).unwrap();
    file.write_all_at(&[0x55], 20_000).unwrap();
    file.set_modified(stat.modified().unwrap()).unwrap();
    drop(file);
    let outcome = stores.sync_with(|work| work.verify = true).unwrap();
    stores.assert_equal();
    assert!(!outcome.details.iter().any(|line| line.contains("server has changed")), "{:?}", outcome.details);
    let outcome = outcome.verification.unwrap();
    assert!(outcome.compared_items > 50);
    let outcome = stores.sync_with(|work| work.verify = true).unwrap().verification.unwrap();
    assert_eq!(outcome.differing_items, 0);
}
