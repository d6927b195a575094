//! What callers and helpers may say to each other, whoever they are.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::{Arc, Mutex};

use serde::Serialize;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::messages::{Key, Mark, Open, Patch, Read, Walk, Wanted, WantedBlocks, WantedWhat, message};
use super::stream::{ItemWriter, Tag};
use super::*;
use crate::error::ErrorKind;
use crate::store::content::groups::{GROUPED_BYTES, Groups, read_groups};
use crate::store::content::{Held, Marker, MarkerRole};
use crate::topology::PoolFqdn;
use crate::wire::{self, Answers, Hello, MOST_BYTES, SILENCE, Served, Welcome, encode};

mod golden;
pub(crate) mod joined;
use joined::{Joined, joined};

fn pool() -> PoolFqdn {
    PoolFqdn::parse("atl.example.com").unwrap()
}

fn path(text: &str) -> ContentPath {
    ContentPath::from_bytes(text.as_bytes()).unwrap()
}

/// A place with a source that holds something of everything, and something beside it.
fn place() -> (tempfile::TempDir, Joined) {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("root");
    fs::create_dir_all(root.join("source/a/b")).unwrap();
    fs::create_dir_all(folder.path().join("root-old/source")).unwrap();
    for (name, length) in [("small", 100), ("a/larger", 300_000), ("a/b/big", GROUPED_BYTES as usize + 5)] {
        let mut content = vec![0; length];
        fastrand::Rng::with_seed(length as u64).fill(&mut content);
        fs::write(root.join("source").join(name), content).unwrap();
    }
    std::os::unix::fs::symlink("small", root.join("source/link")).unwrap();
    fs::write(folder.path().join("secret"), "secret").unwrap();
    std::os::unix::fs::symlink("../../secret", root.join("source/out")).unwrap();
    let joined = joined(&root, pool());
    (folder, joined)
}

fn open(store: &str) -> Open {
    Open { store: store.to_owned(), number: 7, databases: Vec::new(), known: None }
}

/// A call with parts of bytes that somebody made up, and everything that comes back.
fn raw(session: &Session, message: u8, request: &impl Serialize, parts: &[Vec<u8>]) -> Result<Vec<Vec<u8>>> {
    let mut call = session.call(message, request, &CancellationToken::new())?;
    parts.iter().try_for_each(|part| call.send(part))?;
    call.end_parts()?;
    let mut found = Vec::new();
    while let Some(part) = call.next()? {
        found.push(part);
    }
    Ok(found)
}

/// Opens a store; it is open as long as the call is not dropped.
fn opened(session: &Session, store: &str) -> Result<(Call, Vec<u8>)> {
    let mut call = session.call(message::OPEN, &open(store), &CancellationToken::new())?;
    let said = call.next()?.expect("it says what is there");
    Ok((call, said))
}

fn items(write: impl FnOnce(&mut ItemWriter<&mut dyn FnMut(&[u8]) -> Result<()>>)) -> Vec<Vec<u8>> {
    let mut parts = Vec::new();
    let mut put = |part: &[u8]| {
        parts.push(part.to_vec());
        Ok(())
    };
    let mut writer = ItemWriter::new(&mut put as &mut dyn FnMut(&[u8]) -> Result<()>);
    write(&mut writer);
    writer.flush().unwrap();
    parts
}

/// A path that nobody checked.
#[derive(Serialize)]
struct Unchecked<'a>(&'a [u8]);

#[test]
fn no_caller_leads_out_of_the_root() {
    let (folder, joined) = place();
    let session = joined.place.session().unwrap();
    let absolute = folder.path().join("root-old/source");
    for store in ["..", "../root-old/source", "source/../../secret", "/etc", absolute.to_str().unwrap(), ""] {
        let error = opened(&session, store).err().unwrap();
        assert!(
            [ErrorKind::PeerRefused, ErrorKind::StoreUnavailable].contains(&error.kind),
            "{store}: {error:?}"
        );
    }
    let _open = opened(&session, "source").unwrap();
    for wrong in [&b"../../secret"[..], b"/etc/passwd", b"a/../../../secret", b"a//b", b".", b"a\0b"] {
        let parts = items(|writer| writer.value(Tag::Path, &Unchecked(wrong)).unwrap());
        let wanted = (Unchecked(wrong), WantedWhat::Content, None::<[u8; 32]>);
        let wants = items(|writer| writer.value(Tag::Wanted, &wanted).unwrap());
        let asked = [
            raw(&session, message::LISTINGS, &7_u64, &parts),
            raw(&session, message::FETCH, &7_u64, &wants),
            raw(&session, message::READ, &(7_u64, Unchecked(wrong), None::<(u64, u64)>), &[]),
            raw(&session, message::PATCH, &(7_u64, Unchecked(wrong), Key::new()), &[]),
        ];
        for asked in asked {
            asked.unwrap_err();
        }
    }
    // A link that leads out is no file, and says nothing of what it leads to.
    for name in ["out", "link/x", "small/x"] {
        let request = Read { number: 7, path: path(name), part: None };
        let said = raw(&session, message::READ, &request, &[]).unwrap().concat();
        assert!(!said.windows(6).any(|part| part == b"secret"), "{name}");
    }
}

#[test]
fn what_a_caller_makes_up_is_refused_and_changes_nothing() {
    let (folder, joined) = place();
    let session = || joined.place.session().unwrap();
    let open = opened(&session(), "source").unwrap();
    for message in message::WALK..=message::TRACES {
        let error = raw(&session(), message, &(8_u64, 0_u8), &[]).unwrap_err();
        assert!(
            [ErrorKind::StoreUnavailable, ErrorKind::InvalidRequest, ErrorKind::PeerRefused]
                .contains(&error.kind),
            "{message}: {error:?}"
        );
    }
    // More than may be asked for at once.
    let many = items(|writer| {
        (0..5000).for_each(|_| writer.value(Tag::Path, &path("a")).unwrap());
    });
    raw(&session(), message::LISTINGS, &7_u64, &many).unwrap_err();
    let endless = vec![vec![255; MOST_BYTES]; 3];
    raw(&session(), message::FETCH, &7_u64, &endless).unwrap_err();
    let groups = items(|writer| {
        (0..40).for_each(|_| writer.bytes(Tag::Bytes, &vec![0; 128 << 10]).unwrap());
    });
    raw(&session(), message::PATCH, &Patch { number: 7, path: path("a/b/big"), key: Key::new() }, &groups)
        .unwrap_err();
    let mut random = fastrand::Rng::with_seed(7);
    for _ in 0..500 {
        let mut bytes = |most: usize| {
            let mut bytes = vec![0; random.usize(..most)];
            random.fill(&mut bytes);
            bytes
        };
        let (request, parts) = (bytes(40), [bytes(300), bytes(300)]);
        let message = random.u8(message::OPEN..=message::TRACES + 1);
        // Not as bytes with their length, but as they are.
        let request: BTreeMap<u8, u8> = request.chunks_exact(2).map(|pair| (pair[0], pair[1])).collect();
        let _ = raw(&session(), message, &request, &parts);
    }
    drop(open);
    for role in [MarkerRole::Standby, MarkerRole::FormerStandby] {
        assert_eq!(marked(&session(), role, pool()).unwrap_err().kind, ErrorKind::PeerRefused);
    }
    let other = PoolFqdn::parse("nyc.example.com").unwrap();
    assert_eq!(marked(&session(), MarkerRole::Source, other).unwrap_err().kind, ErrorKind::PeerRefused);
    assert!(!folder.path().join("root/source/.csb").exists());
    marked(&session(), MarkerRole::Source, pool()).unwrap();
    let kept = fs::read(folder.path().join("root/source/.csb/store.json")).unwrap();
    assert_eq!(marked(&session(), MarkerRole::Source, pool()).unwrap_err().kind, ErrorKind::PeerRefused);
    assert_eq!(fs::read(folder.path().join("root/source/.csb/store.json")).unwrap(), kept);
}

fn marked(session: &Session, role: MarkerRole, pool: PoolFqdn) -> Result<Vec<Vec<u8>>> {
    let _open = opened(session, "source")?;
    let marker = Marker { store_id: Uuid::new_v4(), pool, role, left_ns: None };
    let marker = serde_json::to_string(&marker).unwrap();
    raw(session, message::MARK, &Mark { number: 7, marker }, &[])
}

/// Says what another helper said, with bytes that are others.
struct Liar {
    said: BTreeMap<u8, Vec<Vec<u8>>>,
    random: Mutex<fastrand::Rng>,
}

impl Answers for Liar {
    fn welcome(&self, _: &Hello) -> Result<Welcome> {
        Ok(Welcome {
            pool: pool().to_string(),
            partner: None,
            grants: Vec::new(),
            system: "linux".to_owned(),
            now_ms: 0,
            silence_seconds: 20,
        })
    }

    fn serve(&self, message: u8, _: &[u8], call: &mut Served) -> Result<Vec<u8>> {
        let Some(said) = self.said.get(&message) else { return encode(&true) };
        let mut whole = said.concat();
        {
            let mut random = self.random.lock().unwrap();
            for _ in 0..random.usize(..4) {
                let at = random.usize(..whole.len().min(2000));
                match random.u8(..4) {
                    0 => whole[at] = random.u8(..),
                    1 => whole.truncate(at),
                    2 => whole.insert(at, random.u8(..)),
                    _ => drop(whole.remove(at)),
                }
                if whole.is_empty() {
                    whole.push(0);
                }
            }
        }
        whole.chunks(MOST_BYTES).try_for_each(|part| call.put(part))?;
        match message {
            message::READ | message::PATCH => encode(&true),
            _ => encode(&()),
        }
    }
}

#[test]
fn whatever_a_helper_says_is_an_error_or_an_answer() {
    let (_folder, joined) = place();
    let session = joined.place.session().unwrap();
    let mut said = BTreeMap::new();
    let mut say = |message: u8, found: Result<Vec<Vec<u8>>>| drop(said.insert(message, found.unwrap()));
    let (_open, opening) = opened(&session, "source").unwrap();
    say(message::OPEN, Ok(vec![opening]));
    say(message::WALK, raw(&session, message::WALK, &Walk { number: 7, known: None }, &[]));
    let folders = items(|writer| writer.value(Tag::Path, &path("a")).unwrap());
    say(message::LISTINGS, raw(&session, message::LISTINGS, &7_u64, &folders));
    let wants = items(|writer| {
        for (name, what) in
            [("small", WantedWhat::Content), ("a/b/big", WantedWhat::Hash), ("link", WantedWhat::Head)]
        {
            writer.value(Tag::Wanted, &Wanted { path: path(name), what, held: None }).unwrap();
        }
    });
    say(message::FETCH, raw(&session, message::FETCH, &7_u64, &wants));
    let read = |name: &str| Read { number: 7, path: path(name), part: None };
    say(message::READ, raw(&session, message::READ, &read("a/larger"), &[]));
    let none = items(|writer| {
        writer.bytes(Tag::GroupsEnd, &[]).unwrap();
        (0..9).for_each(|number| writer.value(Tag::WantedBlocks, &WantedBlocks { number, bits: 1 }).unwrap());
    });
    let patch = Patch { number: 7, path: path("a/b/big"), key: Key::new() };
    say(message::PATCH, raw(&session, message::PATCH, &patch, &none));
    let (mut answers, mut errors) = (0, 0);
    for seed in 0..300 {
        let liar = Liar { said: said.clone(), random: Mutex::new(fastrand::Rng::with_seed(seed)) };
        let (ours, theirs) = UnixStream::pair().unwrap();
        std::thread::spawn(move || {
            wire::serve(Arc::new(liar), theirs.try_clone().unwrap(), theirs, SILENCE, || ())
        });
        let begun = Mutex::new(Some(ours));
        let connect = move |hello: &Hello| {
            let ours = begun.lock().unwrap().take().expect("it was begun once");
            Session::over(ours.try_clone().unwrap(), ours, "pipe:", hello, SILENCE)
        };
        let place =
            RemotePlace::through(pool(), Path::new("/root").into(), "pipe:".to_owned(), Box::new(connect));
        let store = RemoteContent::new(place, "source".to_owned(), Vec::new());
        let mut count = |is_answer: bool| if is_answer { answers += 1 } else { errors += 1 };
        if store.identify().is_err() {
            count(false);
            continue;
        }
        let cancel = CancellationToken::new();
        count(store.list(&path("a"), &cancel).is_ok());
        count(store.walk(None, &cancel, &mut |_| Ok(())).is_ok());
        let wanted = ["small", "a/b/big", "link"].map(|name| Want::head(path(name)));
        count(store.expect(wanted.to_vec()).is_ok());
        count(store.stat(&path("small")).is_ok());
        count(store.hashed(&path("a/b/big"), None).is_ok());
        count(store.read_link(&path("link")).is_ok());
        if let Ok(mut reader) = store.read(&path("small")) {
            let mut buffer = [0; 1000];
            count(std::iter::repeat_with(|| reader.read(&mut buffer)).take(1000).all(|read| read.is_ok()));
        }
        if let Ok(reader) = store.read(&path("a/b/big")) {
            let (take, passed) = (|_: &[u8], _: u64| Ok(()), |_: u64| Ok(()));
            let held = Held { groups: &Groups::default(), earlier: None };
            count(reader.changed_groups(&held, &take, &passed).is_ok());
        }
    }
    assert!(answers > 300 && errors > 300, "{answers} {errors}");
}

#[test]
fn groups_come_in_their_order_however_many_threads_read_them_and_a_failure_ends_all() {
    let (folder, _joined) = place();
    let store = super::super::folder::FolderStore::new(folder.path().join("root/source"), Vec::new());
    let reader = store.read(&path("a/b/big")).unwrap();
    for _ in 0..20 {
        let seen = Mutex::new(Vec::new());
        let take = |number: u64, content: &[u8], _: &[u8; 32]| {
            seen.lock().unwrap().push((number, content.len()));
            Ok(())
        };
        let (groups, bytes) = read_groups(&*reader, true, &take).unwrap();
        let seen = seen.into_inner().unwrap();
        assert_eq!((seen.len(), groups.as_bytes().len(), bytes), (9, 9 * 32, GROUPED_BYTES + 5));
        assert!(seen.iter().map(|(number, _)| *number).eq(0..9));
        let fails = |number: u64, _: &[u8], _: &[u8; 32]| {
            if number == 3 { Err(ObjectError::Gone) } else { Ok(()) }
        };
        for is_in_order in [false, true] {
            assert!(matches!(read_groups(&*reader, is_in_order, &fails), Err(ObjectError::Gone)));
        }
    }
}

#[test]
fn a_helper_that_was_begun_anew_is_no_longer_asked_about_what_was_open() {
    let (_folder, joined) = place();
    let store = joined.store("source", &[]);
    store.identify().unwrap();
    assert_eq!(store.stat(&path("small")).unwrap().size, 100);
    joined.line.left.store(0, std::sync::atomic::Ordering::SeqCst);
    let error = |failure: ObjectError| match failure {
        ObjectError::Store(error) => error.kind,
        _ => panic!("{failure:?}"),
    };
    assert_eq!(error(store.stat(&path("small")).unwrap_err()), ErrorKind::StoreUnavailable);
    joined.line.left.store(u64::MAX, std::sync::atomic::Ordering::SeqCst);
    assert_eq!(error(store.stat(&path("small")).unwrap_err()), ErrorKind::StoreUnavailable);
    store.identify().unwrap();
    assert_eq!(store.stat(&path("small")).unwrap().size, 100);
}
