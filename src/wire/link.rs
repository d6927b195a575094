//! The line as both sides have it: frames go out one after the other, and what was heard last is known.

use std::io::{self, Read, Write};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::calls::Calls;
use super::frame::{self, Frame, Kind};

/// How content is compressed where the line waits for us, and where we wait for the line.
const FAST: i32 = 1;
const SMALL: i32 = 3;

/// Frames of which the time that they take says something about the line.
const TELLING_BYTES: usize = 64 << 10;

/// The line.
pub(super) struct Link {
    /// None once nothing is sent any more.
    writer: Mutex<Option<Box<dyn Write + Send>>>,
    began: Instant,
    heard_ms: AtomicU64,
    said_ms: AtomicU64,
    used_ms: AtomicU64,
    sent: AtomicU64,
    received: AtomicU64,
    is_slow: AtomicBool,
    pub(super) calls: Calls,
    /// Calls that nobody waits for any more, which the other side is still to be told.
    cancelled: Mutex<Vec<u32>>,
    to_tell: Condvar,
    is_closed: AtomicBool,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Link {
    pub(super) fn new(writer: Box<dyn Write + Send>) -> Arc<Self> {
        Arc::new(Link {
            writer: Mutex::new(Some(writer)),
            began: Instant::now(),
            heard_ms: AtomicU64::new(0),
            said_ms: AtomicU64::new(0),
            used_ms: AtomicU64::new(0),
            sent: AtomicU64::new(0),
            received: AtomicU64::new(0),
            is_slow: AtomicBool::new(false),
            calls: Calls::default(),
            cancelled: Mutex::new(Vec::new()),
            to_tell: Condvar::new(),
            is_closed: AtomicBool::new(false),
        })
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn since(&self, ms: &AtomicU64) -> Duration {
        Duration::from_millis(self.now_ms().saturating_sub(ms.load(Ordering::Relaxed)))
    }

    /// For how long nothing was heard.
    pub(super) fn silence(&self) -> Duration {
        self.since(&self.heard_ms)
    }

    /// For how long nothing was said.
    pub(super) fn quiet(&self) -> Duration {
        self.since(&self.said_ms)
    }

    /// Somebody calls, or has called.
    pub(super) fn is_used(&self) {
        self.used_ms.store(self.now_ms(), Ordering::Relaxed);
    }

    /// For how long nobody has called.
    pub(super) fn idle(&self) -> Duration {
        if self.calls.count() > 0 { Duration::ZERO } else { self.since(&self.used_ms) }
    }

    /// Bytes that were sent and received, as they crossed the line.
    pub(super) fn traffic(&self) -> (u64, u64) {
        (self.sent.load(Ordering::Relaxed), self.received.load(Ordering::Relaxed))
    }

    /// Sends bytes as they are.
    ///
    /// # Errors
    /// Those of the stream; `BrokenPipe` once it was closed.
    pub(super) fn send_bytes(&self, bytes: &[u8]) -> io::Result<()> {
        let mut writer = lock(&self.writer);
        let to = writer.as_mut().ok_or(io::ErrorKind::BrokenPipe)?;
        frame::write(to.as_mut(), bytes)?;
        drop(writer);
        self.said_ms.store(self.now_ms(), Ordering::Relaxed);
        self.sent.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        Ok(())
    }

    /// Lets the other side send so many more bytes of a call's parts; says nothing where that is none.
    ///
    /// # Errors
    /// As for [`Link::send_bytes`].
    pub(super) fn grant(&self, call: u32, bytes: usize) -> io::Result<()> {
        match u32::try_from(bytes) {
            Ok(bytes @ 1..) => self.send(Kind::Credit, call, &bytes.to_le_bytes()),
            _ => Ok(()),
        }
    }

    /// Sends a frame. How hard its content is compressed depends on whether the line or the processor is waited for.
    ///
    /// # Errors
    /// As for [`Link::send_bytes`]; `InvalidInput` for a frame that is too long.
    pub(super) fn send(&self, kind: Kind, call: u32, content: &[u8]) -> io::Result<()> {
        let level = if self.is_slow.load(Ordering::Relaxed) { SMALL } else { FAST };
        let began = Instant::now();
        let bytes = frame::encode(kind, call, content, level)?;
        let packed = began.elapsed();
        self.send_bytes(&bytes)?;
        if content.len() >= TELLING_BYTES {
            let written = began.elapsed().saturating_sub(packed);
            self.is_slow.store(written > packed, Ordering::Relaxed);
        }
        Ok(())
    }

    /// What is read from the other side.
    pub(super) fn hears<'a, R: Read>(&'a self, from: R) -> Hearing<'a, R> {
        Hearing { link: self, from }
    }

    /// Nothing is sent any more. Somebody who is stuck in sending is not waited for.
    pub(super) fn close(&self) {
        self.is_closed.store(true, Ordering::Relaxed);
        if let Ok(mut writer) = self.writer.try_lock() {
            *writer = None;
        }
        self.to_tell.notify_all();
    }

    pub(super) fn is_closed(&self) -> bool {
        self.is_closed.load(Ordering::Relaxed)
    }

    /// The other side is told soon that nobody waits for this call; whoever says so does not wait for the line.
    pub(super) fn cancel_soon(&self, call: u32) {
        lock(&self.cancelled).push(call);
        self.to_tell.notify_all();
    }

    /// Waits a moment for calls of which the other side is to be told that nobody waits for them.
    pub(super) fn cancelled(&self, at_most: Duration) -> Vec<u32> {
        let waiting = |cancelled: &mut Vec<u32>| cancelled.is_empty() && !self.is_closed();
        let waited = self.to_tell.wait_timeout_while(lock(&self.cancelled), at_most, waiting);
        std::mem::take(&mut *waited.unwrap_or_else(PoisonError::into_inner).0)
    }
}

/// Reads, and notes that something was heard.
pub(super) struct Hearing<'a, R> {
    link: &'a Link,
    from: R,
}

impl<R: Read> Hearing<'_, R> {
    /// The next frame; none at the end.
    ///
    /// # Errors
    /// As for [`frame::read`].
    pub(super) fn frame(&mut self) -> io::Result<Option<Frame>> {
        frame::read(self)
    }
}

impl<R: Read> Read for Hearing<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.from.read(buffer)?;
        if read > 0 {
            self.link.heard_ms.store(self.link.now_ms(), Ordering::Relaxed);
            self.link.received.fetch_add(read as u64, Ordering::Relaxed);
        }
        Ok(read)
    }
}
