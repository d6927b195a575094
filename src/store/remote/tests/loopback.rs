//! For tests: a helper of this process, reached over a line that is counted and may be cut.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use crate::error::Result;
use crate::store::remote::{Grant, Grants, RemotePlace, ServedPlace};
use crate::store::served::ServedStores;
use crate::topology::PoolFqdn;
use crate::wire::{Answers, Hello, SILENCE, Served, Session, Welcome, serve};

/// The lines to all helpers of a test.
#[derive(Default)]
pub(crate) struct Loopback {
    calls: Arc<AtomicU64>,
    /// After how many bytes from the helper the next sessions are cut.
    cut: Arc<Mutex<Option<usize>>>,
}

/// A pool's name in tests.
pub(crate) fn fqdn(name: &str) -> PoolFqdn {
    PoolFqdn::from(format!("{name}.example.com"))
}

impl Loopback {
    /// How many calls were made.
    pub(crate) fn calls(&self) -> u64 {
        self.calls.load(Ordering::SeqCst)
    }

    /// Sessions that begin from now on are cut after so many bytes from the helper.
    pub(crate) fn cut_after(&self, bytes: Option<usize>) {
        *self.cut.lock().unwrap() = bytes;
    }

    /// The place of a pool, as its partner's machine reaches it, which may read there.
    pub(crate) fn reached(&self, root: &Path, state: &Path, pool: &str, partner: &str) -> Arc<RemotePlace> {
        let served = |place| Arc::new(ServedStores::new(place)) as Arc<dyn Answers>;
        self.granted(&[Grant::Read], root, state, (pool, partner), served)
    }

    /// The same with other grants, answered by what is made of the place.
    pub(crate) fn granted(
        &self,
        grants: &[Grant],
        root: &Path,
        state: &Path,
        (pool, partner): (&str, &str),
        served: impl Fn(ServedPlace) -> Arc<dyn Answers> + Send + Sync + 'static,
    ) -> Arc<RemotePlace> {
        let (served_root, state, grants) = (root.to_owned(), state.to_owned(), Grants(grants.to_vec()));
        let (calls, cut) = (Arc::clone(&self.calls), Arc::clone(&self.cut));
        let (pool, partner) = (fqdn(pool), fqdn(partner));
        let (name, shown) = (pool.clone(), format!("ssh://{pool}/root"));
        let connect = move |hello: &Hello| {
            let place =
                ServedPlace::new(&served_root, pool.clone(), partner.clone(), grants.clone(), state.clone())?;
            let helper = Helper { service: served(place), calls: Arc::clone(&calls) };
            let [(ours, line), (end, theirs)] = [(); 2].map(|()| UnixStream::pair().unwrap());
            let cut = *cut.lock().unwrap();
            let (up, down) = (line.try_clone().unwrap(), end.try_clone().unwrap());
            std::thread::spawn(move || pass(line, end, None));
            std::thread::spawn(move || pass(down, up, cut));
            std::thread::spawn(move || {
                serve(Arc::new(helper), theirs.try_clone().unwrap(), theirs, SILENCE, || ())
            });
            Session::over(ours.try_clone().unwrap(), Ends(ours), "ssh://there", hello, SILENCE)
        };
        RemotePlace::through(name, root.to_owned(), shown, Box::new(connect))
    }
}

/// Ends the line with the session, as the end of a program does.
struct Ends(UnixStream);

impl Write for Ends {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.0.flush()
    }
}

impl Drop for Ends {
    fn drop(&mut self) {
        let _ = self.0.shutdown(Shutdown::Both);
    }
}

struct Helper {
    service: Arc<dyn Answers>,
    calls: Arc<AtomicU64>,
}

impl Answers for Helper {
    fn welcome(&self, hello: &Hello) -> Result<Welcome> {
        self.service.welcome(hello)
    }

    fn serve(&self, message: u8, request: &[u8], call: &mut Served) -> Result<Vec<u8>> {
        self.calls.fetch_add(1, Ordering::SeqCst);
        self.service.serve(message, request, call)
    }

    fn caller_has_gone(&self) {
        self.service.caller_has_gone();
    }
}

/// Passes on so many bytes of what the helper says, and cuts the line then.
fn pass(mut from: UnixStream, mut to: UnixStream, most: Option<usize>) {
    let mut left = most.unwrap_or(usize::MAX);
    let mut buffer = [0; 4_096];
    while let Ok(read @ 1..) = from.read(&mut buffer) {
        let passed = read.min(left);
        left -= passed;
        if to.write_all(&buffer[..passed]).is_err() || left == 0 {
            break;
        }
    }
    let _ = from.shutdown(Shutdown::Both);
    let _ = to.shutdown(Shutdown::Both);
}
