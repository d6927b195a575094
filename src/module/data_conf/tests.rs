//! The module on real folders; the files beside this one sort the tests by what they are about.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use jiff::Timestamp;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::DataConf;
use crate::clock::{Clock, SystemClock};
use crate::error::{Error, ErrorKind};
use crate::module::{
    BackupModule, Context, CycleFailure, CycleOutcome, CycleResult, Look, Observer, Progress,
};
use crate::store::content::folder::{FolderStore, isolation};
use crate::store::content::index::{ContentIndex, HeldName, IndexPlace};
use crate::store::content::remote::tests::joined::{Joined, joined};
use crate::store::content::{ContentPath, ContentStore};
use crate::store::{Generation, Reach, factory};
use crate::topology::{HistoryLimits, PoolFqdn, StoreUrl};

mod attributes;
mod carry_back;
mod conflicts;
mod copying;
mod crash;
mod faults;
mod faulty;
mod file_systems;
mod groups;
mod history;
mod model;
mod plan;
mod line {
    mod remote;
}
mod safety;
mod sides;
mod verify;

/// A source, a standby and the index, of the owner of a lease.
struct Pair {
    folder: tempfile::TempDir,
    generation: Generation,
    batch_bytes: u64,
    history: HistoryLimits,
    database_files: Vec<PathBuf>,
    /// Where the source is reached, if that is another machine.
    afar: Option<Joined>,
}

impl Pair {
    fn new() -> Self {
        Pair::inside(tempfile::tempdir().unwrap())
    }

    /// Where syncing costs nothing, if there is such a place.
    fn in_memory() -> Self {
        Pair::inside(tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap())
    }

    fn inside(folder: tempfile::TempDir) -> Self {
        fs::create_dir(folder.path().join("source")).unwrap();
        let mut pair = Pair {
            folder,
            generation: Generation(0),
            batch_bytes: 100 << 20,
            history: HistoryLimits::default(),
            database_files: Vec::new(),
            afar: None,
        };
        pair.take_lease();
        pair
    }

    /// With its source at another machine.
    fn afar() -> Self {
        let mut pair = Pair::in_memory();
        pair.afar = Some(joined(pair.folder.path(), pool()));
        pair
    }

    /// As a later owner of the lease.
    fn take_lease(&mut self) {
        self.generation = take_lease(&self.index_file());
    }

    fn index_file(&self) -> PathBuf {
        self.folder.path().join("index.sqlite")
    }

    fn source(&self) -> PathBuf {
        self.folder.path().join("source")
    }

    fn standby(&self) -> PathBuf {
        self.folder.path().join("standby")
    }

    fn module(&self) -> DataConf {
        self.between(self.source_end(), Box::new(self.standby_store()))
    }

    /// The module of a job at the source's machine.
    fn module_at_home(&self) -> DataConf {
        self.between(Box::new(self.source_store()), Box::new(self.standby_store()))
    }

    fn source_end(&self) -> Box<dyn ContentStore> {
        match &self.afar {
            None => Box::new(self.source_store()),
            Some(afar) => Box::new(afar.store("source", &self.all_database_files())),
        }
    }

    fn between(&self, source: Box<dyn ContentStore>, standby: Box<dyn ContentStore>) -> DataConf {
        DataConf::new(
            pool(),
            source,
            standby,
            place(&self.index_file()),
            self.batch_bytes,
            self.history.clone(),
        )
    }

    fn source_store(&self) -> FolderStore {
        FolderStore::new(self.source(), self.all_database_files())
    }

    fn standby_store(&self) -> FolderStore {
        FolderStore::new(self.standby(), self.all_database_files())
    }

    fn all_database_files(&self) -> Vec<PathBuf> {
        [self.database_files.clone(), vec![self.index_file()]].concat()
    }

    fn context(&self) -> Context {
        Context {
            generation: self.generation,
            cancel: CancellationToken::new(),
            observer: Arc::new(Recorder::default()),
            clock: Arc::new(SystemClock::new()),
            accept_deletions: false,
            job: None,
            verify: false,
        }
    }

    fn cycle(&self) -> CycleOutcome {
        self.module().run_cycle(&self.context()).unwrap()
    }

    /// A cycle that is cancelled as soon as so many objects have been copied.
    fn cancelled_cycle(&self, after: u64) -> CycleResult {
        let context = Context { clock: SlowClock::new(), accept_deletions: true, ..self.context() };
        let observer = Arc::new(CancelAfter(context.cancel.clone(), after));
        self.module().run_cycle(&Context { observer, ..context })
    }

    fn cycle_error(&self) -> Error {
        self.module().run_cycle(&self.context()).unwrap_err().error
    }

    fn forced_cycle(&self) -> CycleOutcome {
        self.module().run_cycle(&Context { accept_deletions: true, ..self.context() }).unwrap()
    }

    fn observe(&self) -> super::Observation {
        self.module().observe(&Look::default()).unwrap()
    }

    fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        let path = self.source().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    fn index(&self) -> ContentIndex {
        place(&self.index_file()).open(&pool()).unwrap()
    }

    /// What the index knows of one folder.
    fn indexed(&self, folder: &ContentPath) -> Vec<HeldName> {
        self.index().read_folder(folder, |names| names.collect()).unwrap()
    }

    /// As if everything had been indexed long ago: nothing is young any more.
    fn age(&self) {
        let connection = rusqlite::Connection::open(self.index_file()).unwrap();
        connection.execute("UPDATE csb_content_object SET indexed_ns = indexed_ns + 3000000000", []).unwrap();
    }

    /// Both trees are the same, a further cycle moves nothing and no temporary file is left.
    fn assert_settled(&self) {
        assert_eq!(tree(&self.source()), tree(&self.standby()));
        let again = self.cycle();
        assert!(again.moved.is_nothing(), "{again:?}");
        assert_eq!(self.observe().pending_items, 0);
        for store in [self.source(), self.standby()] {
            assert_eq!(fs::read_dir(store.join(".csb/tmp")).map_or(0, Iterator::count), 0);
        }
    }
}

/// A later generation than any before, which the index knows of.
fn take_lease(index: &Path) -> Generation {
    static LAST: AtomicI64 = AtomicI64::new(0);
    let generation = Generation(LAST.fetch_add(1, Ordering::SeqCst) + 1);
    place(index).open(&pool()).unwrap().check(generation).unwrap();
    generation
}

fn place(index: &Path) -> IndexPlace {
    factory::content_index(&StoreUrl::try_from(format!("sqlite:{}", index.display())).unwrap(), &Reach::Here)
        .unwrap()
}

fn pool() -> PoolFqdn {
    PoolFqdn::parse("atl.example.com").unwrap()
}

/// What a copy has to keep: content (none for folders, of links their target), modification time and mode.
type Tree = BTreeMap<PathBuf, (Option<Vec<u8>>, i128, u32)>;

fn tree(root: &Path) -> Tree {
    let mut found = Tree::new();
    let mut next = vec![PathBuf::new()];
    while let Some(folder) = next.pop() {
        for entry in fs::read_dir(root.join(&folder)).unwrap() {
            let path = folder.join(entry.unwrap().file_name());
            if path == Path::new(".csb") {
                continue;
            }
            let meta = fs::symlink_metadata(root.join(&path)).unwrap();
            let mtime = i128::from(meta.mtime()) * 1_000_000_000 + i128::from(meta.mtime_nsec());
            if meta.is_dir() {
                next.push(path.clone());
                found.insert(path, (None, mtime, meta.mode() & 0o3777));
            } else if meta.is_symlink() {
                let target = fs::read_link(root.join(&path)).unwrap();
                found.insert(path, (Some(target.as_os_str().as_bytes().to_vec()), mtime, 0));
            } else if meta.is_file() {
                let content = fs::read(root.join(&path)).unwrap();
                found.insert(path, (Some(content), mtime, meta.mode() & 0o777));
            }
        }
    }
    found
}

/// Remembers progress and warnings.
#[derive(Default)]
struct Recorder {
    progress: Mutex<Vec<Progress>>,
    warnings: Mutex<Vec<String>>,
}

impl Observer for Recorder {
    fn progress(&self, progress: Progress) {
        self.progress.lock().unwrap().push(progress);
    }

    fn warning(&self, message: String) {
        self.warnings.lock().unwrap().push(message);
    }
}

/// A clock on which every question takes so long that no progress is left out.
struct SlowClock(SystemClock, std::sync::atomic::AtomicU64);

impl SlowClock {
    fn new() -> Arc<Self> {
        Arc::new(SlowClock(SystemClock::new(), 0.into()))
    }
}

impl Clock for SlowClock {
    fn now(&self) -> Timestamp {
        self.0.now()
    }

    fn boot(&self) -> String {
        "of this clock alone".to_owned()
    }

    fn monotonic(&self) -> Duration {
        seconds(self.1.fetch_add(1, std::sync::atomic::Ordering::Relaxed))
    }

    fn sleep(&self, duration: Duration) -> std::pin::Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        self.0.sleep(duration)
    }
}

/// Cancels as soon as so many objects have been copied.
struct CancelAfter(CancellationToken, u64);

impl Observer for CancelAfter {
    fn progress(&self, progress: Progress) {
        if progress.activity == "Copying files" && progress.items_done >= self.1 {
            self.0.cancel();
        }
    }

    fn warning(&self, _: String) {}
}

fn set_mtime(path: &Path, mtime: SystemTime) {
    fs::File::options().write(true).open(path).unwrap().set_modified(mtime).unwrap();
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

fn os(bytes: &[u8]) -> &OsStr {
    OsStr::from_bytes(bytes)
}
