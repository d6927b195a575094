//! A Central Management store at another machine: a helper of this process.

use super::*;
use crate::store::remote::tests::loopback::Loopback;
use crate::store::served::ServedStores;
use crate::wire::Answers;

#[test]
fn the_documents_of_another_machine_are_read_as_they_are_there_and_not_written() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().canonicalize().unwrap();
    let url = StoreUrl::parse("sqlite:cms.sqlite", &root).unwrap();
    let line = Loopback::default();
    let place = line.reached(&root, &root.join("state"), "atl", "chi");
    let there = RemoteDocuments::new(&place, &url).unwrap();
    assert_eq!(there.position().unwrap_err().kind, ErrorKind::StoreUnavailable);
    assert!(!root.join("cms.sqlite").exists());
    let store = SqliteDocuments::create(&url).unwrap();
    let draft = |version: usize| Draft {
        kind: DocumentKind::Topology,
        name: "global".to_owned(),
        // More than a frame carries, and not to be compressed to less.
        body: format!("{{\"v\":{version},\"x\":\"{}\"}}", "ä".repeat(300_000)),
        replaces: None,
    };
    for version in 0..3 {
        store.publish(vec![draft(version)], Timestamp::now()).unwrap();
    }
    assert_eq!(there.position().unwrap(), store.position().unwrap());
    assert_eq!(there.history(i64::MAX).unwrap(), store.history(i64::MAX).unwrap());
    assert_eq!(there.history(1).unwrap(), store.history(1).unwrap());
    assert_eq!(there.after(1, 1).unwrap(), store.after(1, 1).unwrap());
    assert_eq!(there.after(0, usize::MAX).unwrap().len(), 3);
    assert_eq!(there.all_current().unwrap(), store.all_current().unwrap());
    let newest = there.current(DocumentKind::Topology, "global").unwrap();
    assert_eq!(newest, store.current(DocumentKind::Topology, "global").unwrap());
    assert!(there.current(DocumentKind::Roles, "none").unwrap().is_none());
    assert_eq!(there.publish(vec![draft(9)], Timestamp::now()).unwrap_err().kind, ErrorKind::PeerRefused);
    assert_eq!(there.promote(0).unwrap_err().kind, ErrorKind::NotMaster);
    assert_eq!(store.after(0, usize::MAX).unwrap().len(), 3);
    // More than the window carries, where it is granted.
    let served = |place| Arc::new(ServedStores::new(place)) as Arc<dyn Answers>;
    let grants = [Grant::Read, Grant::Cms];
    let granted = line.granted(&grants, &root, &root.join("state"), ("atl", "chi"), served);
    let granted = RemoteDocuments::new(&granted, &url).unwrap();
    let drafts =
        (0..20).map(|name| Draft { name: format!("{name}"), replaces: Some(0), ..draft(name) }).collect();
    assert_eq!(granted.publish(drafts, Timestamp::now()).unwrap(), Published::New(20));
    let overtaken = Draft { replaces: Some(1), ..draft(9) };
    assert_eq!(granted.publish(vec![overtaken], Timestamp::now()).unwrap(), Published::Overtaken);
    assert_eq!(there.all_current().unwrap(), store.all_current().unwrap());
    assert_eq!(there.all_current().unwrap().len(), 21);
    let users = root.join("users.sqlite");
    rusqlite::Connection::open(&users).unwrap().execute_batch("CREATE TABLE users (name)").unwrap();
    let wrong =
        RemoteDocuments::new(&place, &StoreUrl::parse("sqlite:users.sqlite", &root).unwrap()).unwrap();
    assert_eq!(wrong.all_current().unwrap_err().kind, ErrorKind::StoreUnavailable);
}

#[test]
fn a_session_that_ended_while_nobody_looked_is_begun_anew_by_what_a_job_asks_first() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().canonicalize().unwrap();
    let url = StoreUrl::parse("sqlite:cms.sqlite", &root).unwrap();
    SqliteDocuments::create(&url).unwrap();
    let line = Loopback::default();
    let place = line.reached(&root, &root.join("state"), "atl", "chi");
    let there = RemoteDocuments::new(&place, &url).unwrap();
    // The line ends with what comes second: nobody has noticed when it is asked.
    let first = {
        let _ = there.all_current().unwrap();
        place.traffic().received
    };
    for more in [1, 20, 60] {
        line.cut_after(Some(usize::try_from(first).unwrap() + more));
        let place = line.reached(&root, &root.join("state"), "atl", "chi");
        let there = RemoteDocuments::new(&place, &url).unwrap();
        there.all_current().unwrap();
        line.cut_after(None);
        assert!(there.all_current().is_ok(), "cut {more} bytes after the first answer");
        assert!(place.welcome(&CancellationToken::new()).is_ok());
    }
    // One that cannot be begun is not begun for ever.
    line.cut_after(Some(1));
    let place = line.reached(&root, &root.join("state"), "atl", "chi");
    assert_eq!(place.welcome(&CancellationToken::new()).unwrap_err().kind, ErrorKind::StoreUnavailable);
}
