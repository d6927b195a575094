//! What every store of documents keeps to.

use jiff::Timestamp;

use super::*;
use crate::store::documents::{Digest, Import};

fn now() -> Timestamp {
    Timestamp::from_second(1_700_000_000).unwrap()
}

fn draft(body: &str, replaces: Option<i64>) -> Draft {
    Draft { kind: DocumentKind::Topology, name: "global".into(), body: body.into(), replaces }
}

fn url(path: &Path) -> StoreUrl {
    StoreUrl::try_from(format!("sqlite:{}", path.display())).unwrap()
}

fn store(folder: &tempfile::TempDir, name: &str) -> SqliteDocuments {
    SqliteDocuments::create(&url(&folder.path().join(name))).unwrap()
}

/// All that the master holds, for a copy that holds nothing.
fn import(master: &SqliteDocuments, generation: i64) -> Import {
    let position = master.position().unwrap();
    Import {
        generation: Generation(generation),
        identity: position.identity,
        reign: position.reign,
        master: master.url().to_string(),
        base: DocumentHistory::empty(),
        repairs: false,
        removed: Vec::new(),
        documents: master.after(0, usize::MAX).unwrap(),
        now: now(),
    }
}

#[test]
fn publishing_adds_versions_and_skips_what_is_equal() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(&folder, "cms.sqlite");
    assert_eq!(store.publish(vec![draft("1", None)], now()).unwrap(), Published::New(1));
    assert_eq!(store.publish(vec![draft("1", None)], now()).unwrap(), Published::New(0));
    assert_eq!(store.publish(vec![draft("2", None)], now()).unwrap(), Published::New(1));
    let current = store.current(DocumentKind::Topology, "global").unwrap().unwrap();
    assert_eq!((current.version, current.body.as_str()), (2, "2"));
    assert_eq!(store.all_current().unwrap(), [current]);
    let position = store.position().unwrap();
    assert_eq!((position.role, position.reign.epoch, position.revision), (DocumentsRole::Master, 1, 2));
    assert_eq!(position.recorded, Some((2, store.history(i64::MAX).unwrap().digest)));
}

#[test]
fn a_publication_for_another_version_than_the_newest_publishes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(&folder, "cms.sqlite");
    assert_eq!(store.publish(vec![draft("1", Some(0))], now()).unwrap(), Published::New(1));
    for replaces in [0, 2] {
        let drafts = vec![draft("other", None), draft("2", Some(replaces))];
        assert_eq!(store.publish(drafts, now()).unwrap(), Published::Overtaken);
    }
    assert_eq!(store.publish(vec![draft("2", Some(1))], now()).unwrap(), Published::New(1));
    assert_eq!(store.history(i64::MAX).unwrap().documents, 2);
}

#[test]
fn imports_are_idempotent_and_fenced_by_generation_identity_and_epoch() {
    let folder = tempfile::tempdir().unwrap();
    let (master, copy) = (store(&folder, "cms.sqlite"), store(&folder, "copy.sqlite"));
    master.publish(vec![draft("1", None)], now()).unwrap();
    for _ in 0..2 {
        copy.import(import(&master, 2)).unwrap();
    }
    assert_eq!(copy.history(i64::MAX).unwrap(), master.history(i64::MAX).unwrap());
    let position = copy.position().unwrap();
    assert_eq!((position.role, position.master), (DocumentsRole::Standby, Some(master.url().to_string())));
    let refused = |import: Import| copy.import(import).unwrap_err().kind;
    assert_eq!(refused(import(&master, 1)), ErrorKind::Fenced);
    assert_eq!(refused(Import { identity: "other".into(), ..import(&master, 2) }), ErrorKind::ForeignContent);
    let former = Reign { epoch: 0, timeline: None };
    assert_eq!(refused(Import { reign: former, ..import(&master, 2) }), ErrorKind::Fenced);
    let base = DocumentHistory { digest: Digest::from_bytes([7; 32]), ..copy.history(i64::MAX).unwrap() };
    master.publish(vec![draft("2", None)], now()).unwrap();
    let documents = master.after(1, 1).unwrap();
    assert_eq!(refused(Import { base, documents, ..import(&master, 2) }), ErrorKind::SplitTimeline);
    assert_eq!(copy.position().unwrap().revision, 1, "what is refused writes nothing");
}

#[test]
fn only_a_master_is_published_to_and_only_a_copy_imported_into() {
    let folder = tempfile::tempdir().unwrap();
    let (master, copy) = (store(&folder, "cms.sqlite"), store(&folder, "copy.sqlite"));
    master.publish(vec![draft("1", None)], now()).unwrap();
    copy.import(import(&master, 1)).unwrap();
    let error = copy.publish(vec![draft("2", None)], now()).unwrap_err();
    assert_eq!(error.kind, ErrorKind::NotMaster);
    assert_eq!(error.context["master"], master.url().to_string());
    assert!(error.message.contains(&error.context["master"]), "{error}");
    let promoted = copy.promote(1).unwrap();
    assert_eq!((promoted.role, promoted.reign.epoch), (DocumentsRole::Master, 2));
    assert_eq!(copy.promote(1).unwrap_err().kind, ErrorKind::Fenced, "its epoch is another one by now");
    copy.publish(vec![draft("2", None)], now()).unwrap();
    assert_eq!(copy.import(import(&master, 1)).unwrap_err().kind, ErrorKind::Fenced);
    let next = Import { reign: promoted.reign.clone(), ..import(&master, 1) };
    assert_eq!(copy.import(next).unwrap_err().kind, ErrorKind::SplitTimeline);
    assert_eq!(copy.demote(promoted.reign, master.url()).unwrap_err().kind, ErrorKind::Fenced);
}

#[test]
fn a_store_of_a_newer_build_is_refused_and_left_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("cms.sqlite");
    drop(SqliteDocuments::create(&url(&path)).unwrap());
    let newer = Connection::open(&path).unwrap();
    newer.pragma_update(None, "user_version", 2).unwrap();
    for error in [
        SqliteDocuments::create(&url(&path)).err().unwrap(),
        SqliteDocuments::open(&url(&path)).err().unwrap(),
        SqliteDocuments::open_existing(&url(&path)).err().unwrap(),
    ] {
        assert_eq!(error.kind, ErrorKind::UnsupportedStore);
        assert!(error.message.contains("newer build"), "{error}");
    }
    newer.pragma_update(None, "user_version", 1).unwrap();
    newer.execute("UPDATE csb_management SET role = 'witness', epoch = 9", []).unwrap();
    let store = SqliteDocuments::open(&url(&path)).unwrap();
    assert_eq!(store.publish(vec![draft("1", None)], now()).unwrap_err().kind, ErrorKind::UnsupportedStore);
    assert_eq!(store.position().unwrap().role, DocumentsRole::Unknown);
}

#[test]
fn a_missing_store_advises_the_replica() {
    let error = SqliteDocuments::open(&url(Path::new("/nowhere/cms.sqlite"))).err().unwrap();
    assert_eq!(error.kind, ErrorKind::StoreUnavailable);
    assert!(error.advice.contains("-LocalStore"));
}
