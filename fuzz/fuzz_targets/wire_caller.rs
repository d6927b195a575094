//! Any frames that a helper may send: a sync of a user store fails or copies, in bounded memory and time, and a copy that was there is one
//! that can be opened afterwards.
#![no_main]

use std::io::Cursor;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use cs_backup::store::remote::RemotePlace;
use cs_backup::store::user::pages::PagePair;
use cs_backup::store::user::{UserStorePair, Work};
use cs_backup::store::{Generation, Reach};
use cs_backup::topology::{PoolFqdn, StoreUrl, UserStoreConfig};
use cs_backup::wire::{Hello, SILENCE, Session};
use jiff::Timestamp;
use libfuzzer_sys::fuzz_target;
use tokio_util::sync::CancellationToken;

#[path = "frames.rs"]
mod frames;

fn url(path: &Path) -> StoreUrl {
    StoreUrl::try_from(format!("sqlite:{}", path.display())).unwrap()
}

fuzz_target!(|data: &[u8]| {
    let mut said = b"CSB1 1-1 0.1.0 00000000000000aa\n".to_vec();
    frames::all(data).for_each(|(kind, call, content)| said.extend(frames::frame(kind, call, content)));
    let connect = move |hello: &Hello| {
        Session::over(Cursor::new(said.clone()), std::io::sink(), "ssh://there", hello, SILENCE)
    };
    let pool = PoolFqdn::from("atl.example".to_owned());
    let place = RemotePlace::through(pool, PathBuf::from("/root-there"), "ssh://there".to_owned(), Box::new(connect));
    let folder = tempfile::tempdir().unwrap();
    let standby = folder.path().join("standby.sqlite");
    let config = UserStoreConfig::new(url(Path::new("/root-there/users.sqlite")));
    let source = Reach::There(Arc::clone(&place));
    let pair =
        PagePair::between((&config, &source), (&url(&standby), &Reach::Here), Duration::from_secs(1)).unwrap();
    let _ = pair.observe(&CancellationToken::new());
    let copied = pair.synchronize(&Work {
        generation: Generation(1),
        verify: false,
        accept_deletions: true,
        cancel: &CancellationToken::new(),
        progress: &|_| {},
        job: None,
        now: Timestamp::now(),
    });
    assert!(copied.is_ok() == standby.exists(), "{copied:?}");
});
