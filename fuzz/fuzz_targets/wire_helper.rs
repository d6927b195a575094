//! Any frames that a caller may send: the helper answers, refuses or ends, and nothing outside its root is there afterwards that was not
//! there before, nor anything but its own below it.
#![no_main]

use std::io::Cursor;
use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use cs_backup::store::remote::{Grant, Grants, ServedPlace};
use cs_backup::module::served::ServedPool;
use cs_backup::topology::PoolFqdn;
use cs_backup::wire::{Hello, encode, serve};
use libfuzzer_sys::fuzz_target;
use tempfile::TempDir;

#[path = "frames.rs"]
mod frames;

/// A pool with a user store and a file, made once.
fn site() -> &'static TempDir {
    static SITE: OnceLock<TempDir> = OnceLock::new();
    SITE.get_or_init(|| {
        let site = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(site.path().join("root/share")).unwrap();
        std::fs::write(site.path().join("root/share/file"), "content").unwrap();
        std::fs::write(site.path().join("secret"), "secret").unwrap();
        let users = rusqlite::Connection::open(site.path().join("root/users.sqlite")).unwrap();
        users.execute_batch("CREATE TABLE t (x); INSERT INTO t VALUES (1)").unwrap();
        site
    })
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

fuzz_target!(|data: &[u8]| {
    let site = site();
    let fqdn = |name: &str| PoolFqdn::from(name.to_owned());
    let (root, state) = (site.path().join("root"), site.path().join("state"));
    let grants = Grants(vec![Grant::Read]);
    let place = ServedPlace::new(&root, fqdn("atl.example"), fqdn("chi.example"), grants, state).unwrap();
    let hello = encode(&Hello { pool: "atl.example".to_owned(), silence_seconds: 20 }).unwrap();
    let mut said = b"CSB1 1-1 0.1.0 00000000000000aa\n".to_vec();
    said.extend(frames::frame(1, 0, &hello));
    frames::all(data).for_each(|(kind, call, content)| said.extend(frames::frame(kind, call, content)));
    let _ = serve(Arc::new(ServedPool::new(place)), Cursor::new(said), std::io::sink(), Duration::from_secs(20), || ());
    assert_eq!(std::fs::read(site.path().join("secret")).unwrap(), b"secret");
    let left: Vec<String> = names(site.path()).into_iter().filter(|name| name != "state").collect();
    assert_eq!(left, ["root", "secret"]);
    assert_eq!(names(&root), ["share", "users.sqlite"]);
});
