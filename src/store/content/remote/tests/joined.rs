//! A helper in this process, joined to its caller by sockets, for tests.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use super::super::RemoteContent;
use super::super::serve::ServedContent;
use crate::error::Result;
use crate::store::remote::{Grant, Grants, RemotePlace, ServedPlace, unknown_message};
use crate::topology::PoolFqdn;
use crate::wire::{self, Answers, Hello, SILENCE, Served, Session, Welcome};

/// A place, and what happens to its line.
#[derive(Clone)]
pub(crate) struct Joined {
    pub(crate) place: Arc<RemotePlace>,
    pub(crate) line: Arc<Line>,
    root: PathBuf,
}

/// What crossed the line, and where it is cut.
pub(crate) struct Line {
    /// The messages that were served, in their order.
    pub(crate) served: Mutex<Vec<u8>>,
    /// How many bytes may still come from the helper.
    pub(crate) left: AtomicU64,
    /// What happens when the helper serves a message.
    pub(crate) serving: Mutex<Option<Happens>>,
}

/// Is told the message that is served.
pub(crate) type Happens = Box<dyn Fn(u8) + Send>;

impl Line {
    /// The messages since this was asked last.
    pub(crate) fn calls(&self) -> Vec<u8> {
        std::mem::take(&mut self.served.lock().unwrap())
    }
}

struct Helper {
    place: ServedPlace,
    content: ServedContent,
    line: Arc<Line>,
}

impl Answers for Helper {
    fn welcome(&self, hello: &Hello) -> Result<Welcome> {
        self.place.welcome(hello)
    }

    fn serve(&self, message: u8, request: &[u8], call: &mut Served) -> Result<Vec<u8>> {
        self.line.served.lock().unwrap().push(message);
        self.line.serving.lock().unwrap().iter().for_each(|happens| happens(message));
        self.content.serve(message, request, call).unwrap_or_else(|| Err(unknown_message(message)))
    }
}

/// Ends where no more bytes may come.
struct Cut(UnixStream, Arc<Line>);

impl Read for Cut {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let left = self.1.left.load(Ordering::SeqCst);
        if left == 0 {
            drop(self.0.shutdown(std::net::Shutdown::Both));
            return Ok(0);
        }
        let most = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
        let read = self.0.read(&mut buffer[..most])?;
        // Less may be left by now than when it began to wait.
        let left = self.1.left.load(Ordering::SeqCst);
        let taken = (read as u64).min(left);
        self.1.left.fetch_sub(taken, Ordering::SeqCst);
        Ok(usize::try_from(taken).unwrap())
    }
}

/// The place at this folder.
pub(crate) fn joined(root: &Path, pool: PoolFqdn) -> Joined {
    let line = Arc::new(Line {
        served: Mutex::default(),
        left: AtomicU64::new(u64::MAX),
        serving: Mutex::default(),
    });
    let partner = PoolFqdn::parse("chi.example.com").unwrap();
    let grants = Grants(vec![Grant::Read]);
    let served = ServedPlace::new(root, pool.clone(), partner, grants, root.join("state")).unwrap();
    let cut = Arc::clone(&line);
    let connect = move |hello: &Hello| {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let content = ServedContent::new(served.clone());
        let helper = Helper { place: served.clone(), content, line: Arc::clone(&cut) };
        std::thread::spawn(move || {
            let to: Box<dyn Write + Send> = Box::new(theirs.try_clone().unwrap());
            wire::serve(Arc::new(helper), theirs, to, SILENCE, || ())
        });
        Session::over(Cut(ours.try_clone().unwrap(), Arc::clone(&cut)), ours, "pipe:", hello, SILENCE)
    };
    let (given, root) = (root.to_owned(), root.canonicalize().unwrap());
    let place = RemotePlace::through(pool, root, "pipe:/root".to_owned(), Box::new(connect));
    Joined { place, line, root: given }
}

impl Joined {
    /// The store in this folder below the root; these databases are below it, too.
    pub(crate) fn store(&self, name: &str, databases: &[PathBuf]) -> RemoteContent {
        let below = |path: &PathBuf| Some(path.strip_prefix(&self.root).ok()?.to_str()?.to_owned());
        let databases = databases.iter().filter_map(below).collect();
        RemoteContent::new(Arc::clone(&self.place), name.to_owned(), databases)
    }
}
