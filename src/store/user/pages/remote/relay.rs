//! Pages on their way from a store to the line. Whoever puts them here may hold a lock or a snapshot, and never waits.

use std::collections::VecDeque;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::super::end::PageSink;
use super::parts::{Part, RUN_HEAD};
use crate::error::{Error, Result};
use crate::platform::{read_whole, write_all_at};
use crate::wire::MOST_BYTES;

/// How much waits in memory; the rest waits in a file without a name.
const MOST_IN_MEMORY: usize = 24 << 20;

/// How many relays a helper has at a time, whatever its caller asks for: each takes memory.
const MOST_AT_ONCE: usize = 2;

/// How often somebody who waits for his turn looks whether he still has to.
const LOOK_EVERY: Duration = Duration::from_millis(20);

static AT_WORK: Mutex<usize> = Mutex::new(0);

/// The turn of one relay, until it is dropped.
pub(super) struct Turn(());

impl Turn {
    /// Waits for it.
    ///
    /// # Errors
    /// Cancelled.
    pub(super) fn wait(cancel: &CancellationToken) -> Result<Self> {
        loop {
            {
                let mut at_work = AT_WORK.lock().unwrap_or_else(PoisonError::into_inner);
                if *at_work < MOST_AT_ONCE {
                    *at_work += 1;
                    return Ok(Turn(()));
                }
            }
            if cancel.is_cancelled() {
                return Err(Error::cancelled());
            }
            std::thread::sleep(LOOK_EVERY);
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        *AT_WORK.lock().unwrap_or_else(PoisonError::into_inner) -= 1;
    }
}

/// What waits.
enum Waiting {
    Bytes(Vec<u8>),
    /// So many bytes of the file.
    InFile {
        at: u64,
        length: usize,
    },
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Waiting>,
    in_memory: usize,
    file: Option<File>,
    /// Where the file ends, and how many of its bytes are still to be taken.
    end: u64,
    in_file: usize,
    is_over: bool,
}

/// The pages that wait.
pub(super) struct Relay {
    folder: PathBuf,
    state: Mutex<State>,
    changed: Condvar,
}

impl Relay {
    /// Nothing yet; what does not fit into memory goes to a file in this folder.
    pub(super) fn new(folder: &Path) -> Self {
        Relay { folder: folder.to_owned(), state: Mutex::default(), changed: Condvar::new() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, bytes: Vec<u8>) -> Result<()> {
        let failed = |cause| Error::io("write", &self.folder, &cause);
        let mut state = self.lock();
        // Once there is something in the file, what comes later waits behind it.
        if state.in_file == 0 && state.in_memory + bytes.len() <= MOST_IN_MEMORY {
            state.in_memory += bytes.len();
            state.waiting.push_back(Waiting::Bytes(bytes));
        } else {
            if state.file.is_none() {
                state.file = Some(tempfile::tempfile_in(&self.folder).map_err(failed)?);
            }
            let at = if state.in_file == 0 { 0 } else { state.end };
            if let Some(file) = &state.file {
                write_all_at(file, &bytes, at).map_err(failed)?;
            }
            state.end = at + bytes.len() as u64;
            state.in_file += bytes.len();
            state.waiting.push_back(Waiting::InFile { at, length: bytes.len() });
        }
        self.changed.notify_all();
        Ok(())
    }

    /// Nothing more comes.
    pub(super) fn end(&self) {
        self.lock().is_over = true;
        self.changed.notify_all();
    }

    /// What has waited longest; waits for it. None once nothing more comes.
    ///
    /// # Errors
    /// Failures of the device.
    pub(super) fn next(&self) -> Result<Option<Vec<u8>>> {
        let mut state = self.lock();
        loop {
            match state.waiting.pop_front() {
                Some(Waiting::Bytes(bytes)) => {
                    state.in_memory -= bytes.len();
                    return Ok(Some(bytes));
                }
                Some(Waiting::InFile { at, length }) => {
                    let mut bytes = vec![0; length];
                    let read = state.file.as_ref().map_or(Ok(0), |file| read_whole(file, &mut bytes, at));
                    let read = read.map_err(|cause| Error::io("read", &self.folder, &cause))?;
                    if read < length {
                        let cause = std::io::Error::from(std::io::ErrorKind::UnexpectedEof);
                        return Err(Error::io("read", &self.folder, &cause));
                    }
                    state.in_file -= length;
                    return Ok(Some(bytes));
                }
                None if state.is_over => return Ok(None),
                None => state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
            }
        }
    }
}

impl PageSink for Relay {
    fn put(&self, first: u32, content: &[u8], page_size: usize) -> Result<()> {
        let at_once = (MOST_BYTES - RUN_HEAD) / page_size;
        for (number, pages) in content.chunks(at_once * page_size).enumerate() {
            let first = first + u32::try_from(number * at_once).unwrap_or(u32::MAX);
            let page_size = u32::try_from(page_size).unwrap_or(u32::MAX);
            self.push(Part::Run { first, page_size, content: pages }.bytes())?;
        }
        Ok(())
    }

    fn reset(&self) -> Result<()> {
        let mut state = self.lock();
        state.waiting.clear();
        (state.in_memory, state.in_file) = (0, 0);
        drop(state);
        self.push(Part::Reset.bytes())
    }

    fn tell(&self, done: u64, total: u64) {
        // What cannot be kept here fails with the next page.
        let _ = self.push(Part::Progress { done, total }.bytes());
    }

    fn wait(&self) {
        let _ = self.push(Part::Wait.bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(relay: &Relay) -> Vec<(u32, usize)> {
        let mut runs = Vec::new();
        while let Some(bytes) = relay.next().unwrap() {
            match Part::of(&bytes).unwrap() {
                Part::Run { first, content, .. } => runs.push((first, content.len())),
                Part::Reset => runs.push((0, 0)),
                other => panic!("{other:?}"),
            }
        }
        runs
    }

    #[test]
    fn whoever_puts_never_waits_and_everything_comes_out_in_order() {
        let folder = tempfile::tempdir().unwrap();
        let relay = Relay::new(folder.path());
        let pages = vec![0; 1 << 20];
        for number in 0..64 {
            relay.put(number * 256 + 1, &pages, 4_096).unwrap();
        }
        relay.end();
        let runs = taken(&relay);
        let mut next = 1;
        for (first, length) in runs {
            assert_eq!(first, next);
            assert!(length + RUN_HEAD <= MOST_BYTES);
            next += u32::try_from(length / 4_096).unwrap();
        }
        assert_eq!(next, 64 * 256 + 1);
        assert_eq!(folder.path().read_dir().unwrap().count(), 0, "the file has no name");
    }

    #[test]
    fn what_was_put_before_a_new_beginning_is_not_sent() {
        let folder = tempfile::tempdir().unwrap();
        let relay = Relay::new(folder.path());
        for _ in 0..40 {
            relay.put(1, &vec![0; 1 << 20], 65_536).unwrap();
        }
        relay.reset().unwrap();
        relay.put(7, &[0; 512], 512).unwrap();
        relay.end();
        assert_eq!(taken(&relay), [(0, 0), (7, 512)]);
    }
}
