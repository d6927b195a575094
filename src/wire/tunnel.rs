//! A session inside a call: the helper calls back whoever called it. Its bytes are parts of the call, in both directions.
//!
//! ```text
//! caller                                  helper
//! Session ───────────── Call ───────────► serve
//!   answer_within ◄──── parts ──────────► Tunnel::session
//! ```

use std::io::{self, Read, Write};
use std::path::Path;
use std::sync::mpsc::Receiver;
use std::sync::{Arc, Mutex, PoisonError};

use super::SILENCE;
use super::greeting::Hello;
use super::served::{Answers, Served, serve};
use super::session::{PartSender, Session, spawn};
use crate::error::{Error, ErrorKind, Result};

/// How long a part of a session inside a call is at most: where the line is slow, each side still hears often enough that the other one is there.
const PIECE_BYTES: usize = 32 << 10;

/// The helper's end: what its caller can be called back through while the call is answered.
pub struct Tunnel {
    call: Served,
    /// What parts begin with that are of the session.
    tag: u8,
    /// There is one session, which is begun once.
    is_begun: Mutex<bool>,
}

impl Tunnel {
    /// Inside this call. Parts to the caller that begin with `tag` are of the session, and so is every part from it.
    pub fn new(call: &Served, tag: u8) -> Self {
        Tunnel { call: call.clone(), tag, is_begun: Mutex::new(false) }
    }

    /// Begins the session, with the caller as the side that answers.
    ///
    /// # Errors
    /// `StoreUnavailable` for a second one: the first has ended, and so will the call.
    pub fn session(&self, place: &str, hello: &Hello) -> Result<Arc<Session>> {
        let mut is_begun = self.is_begun.lock().unwrap_or_else(PoisonError::into_inner);
        if std::mem::replace(&mut *is_begun, true) {
            return Err(Error::new(
                ErrorKind::StoreUnavailable,
                format!("{place} cannot be reached any more."),
                "Run the command again; it goes on where it stopped.",
            ));
        }
        let (from, to, tag) = (self.call.clone(), self.call.clone(), self.tag);
        let put = move |piece: &[u8]| {
            let mut part = Vec::with_capacity(piece.len() + 1);
            part.push(tag);
            part.extend_from_slice(piece);
            to.put(&part)
        };
        Session::within(Pieces::new(move || from.next_part()), InPieces(put), place, hello)
    }
}

/// The caller's end: answers what the helper asks inside a call, on a thread of its own, until `parts` has ended.
///
/// # Errors
/// `Io` where no thread can be started.
pub fn answer_within(sender: PartSender, parts: Receiver<Vec<u8>>, service: Arc<dyn Answers>) -> Result<()> {
    let said = sender.clone();
    let answer = move || {
        let from = Pieces::new(move || Ok(parts.recv().ok()));
        let to = InPieces(move |piece: &[u8]| said.send(piece));
        // Where the helper says what cannot be said the session ends, and the helper's call fails with that.
        let _ = serve(service, from, to, SILENCE, || ());
        let _ = sender.end_parts();
    };
    in_thread("csb-wire-within", answer)
}

/// Works on a thread of its own, which nobody waits for.
///
/// # Errors
/// `Io` where none can be started.
pub fn in_thread(name: &str, work: impl FnOnce() + Send + 'static) -> Result<()> {
    spawn(name, work).map_err(|cause| Error::io("start a thread for", Path::new("csb-serve"), &cause))
}

/// Reads what comes in parts.
struct Pieces<N> {
    next: N,
    piece: Vec<u8>,
    at: usize,
}

impl<N: FnMut() -> Result<Option<Vec<u8>>>> Pieces<N> {
    fn new(next: N) -> Self {
        Pieces { next, piece: Vec::new(), at: 0 }
    }
}

impl<N: FnMut() -> Result<Option<Vec<u8>>>> Read for Pieces<N> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.at == self.piece.len() {
            let Some(next) = (self.next)().map_err(io::Error::other)? else { return Ok(0) };
            (self.piece, self.at) = (next, 0);
        }
        let mut left = self.piece.get(self.at..).unwrap_or_default();
        let read = left.read(buffer)?;
        self.at += read;
        Ok(read)
    }
}

/// Writes in parts.
struct InPieces<P>(P);

impl<P: FnMut(&[u8]) -> Result<()>> Write for InPieces<P> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let piece = bytes.get(..PIECE_BYTES).unwrap_or(bytes);
        (self.0)(piece).map_err(io::Error::other)?;
        Ok(piece.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
