//! What came for one call and was not taken yet, and how much may be sent for it.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::error::{Error, Result};

/// How many bytes of parts may be on their way to whoever takes them.
pub const WINDOW_BYTES: usize = 4 << 20;

/// What every part counts beside its bytes, so that many small ones are bounded, too.
const PART_BYTES: usize = 64;

/// How much is taken before the other side is told that it may send more.
const GRANTED_AT_ONCE: usize = WINDOW_BYTES / 4;

/// How often somebody who waits looks whether he still has to.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// What a part takes of the window.
fn cost(part: &[u8]) -> usize {
    part.len() + PART_BYTES
}

/// One direction in, one direction out.
pub(super) struct Flow {
    state: Mutex<State>,
    changed: Condvar,
    /// Cancelled once nobody waits for the call any more.
    pub(super) cancel: CancellationToken,
}

struct State {
    parts: VecDeque<Vec<u8>>,
    /// What the parts that wait take of the window.
    queued: usize,
    /// What was taken and not granted anew.
    taken: usize,
    /// No more parts come.
    are_all_there: bool,
    /// How the call ended.
    ended: Option<Result<Vec<u8>>>,
    /// How much may be sent.
    credit: usize,
}

/// What comes next.
pub(super) enum Next {
    /// A part, and how much more the other side may be granted; 0 where that is not worth a frame yet.
    Part(Vec<u8>, usize),
    /// There are no more parts.
    NoMore,
    /// The call has ended with this answer.
    Ended(Vec<u8>),
}

impl Flow {
    pub(super) fn new(cancel: CancellationToken) -> Self {
        let state = State {
            parts: VecDeque::new(),
            queued: 0,
            taken: 0,
            are_all_there: false,
            ended: None,
            credit: WINDOW_BYTES,
        };
        Flow { state: Mutex::new(state), changed: Condvar::new(), cancel }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Files a part that came. False where the other side sent more than it may.
    #[must_use]
    pub(super) fn file(&self, part: Vec<u8>) -> bool {
        let mut state = self.lock();
        state.queued += cost(&part);
        if state.queued > WINDOW_BYTES {
            return false;
        }
        state.parts.push_back(part);
        self.changed.notify_all();
        true
    }

    /// No more parts come.
    pub(super) fn are_all_there(&self) {
        self.lock().are_all_there = true;
        self.changed.notify_all();
    }

    /// The call has ended; what was said first counts.
    pub(super) fn end(&self, ended: Result<Vec<u8>>) {
        self.lock().ended.get_or_insert(ended);
        self.changed.notify_all();
    }

    /// So much more may be sent.
    pub(super) fn grant(&self, bytes: usize) {
        let mut state = self.lock();
        state.credit = state.credit.saturating_add(bytes).min(WINDOW_BYTES);
        self.changed.notify_all();
    }

    fn wait<'a>(&self, state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        self.changed.wait_timeout(state, LOOK_EVERY).unwrap_or_else(PoisonError::into_inner).0
    }

    /// Waits until a part of this size may be sent.
    ///
    /// # Errors
    /// How the call failed; cancelled.
    pub(super) fn spend(&self, part: &[u8]) -> Result<()> {
        let mut state = self.lock();
        loop {
            if let Some(Err(error)) = &state.ended {
                return Err(error.clone());
            }
            if self.cancel.is_cancelled() {
                return Err(Error::cancelled());
            }
            if state.credit >= cost(part) {
                state.credit -= cost(part);
                return Ok(());
            }
            state = self.wait(state);
        }
    }

    /// What came and was not taken, without waiting.
    pub(super) fn left(&self) -> Option<Vec<u8>> {
        self.lock().parts.pop_front()
    }

    /// Waits for what comes next. A failure is told before what came earlier, an answer after it.
    ///
    /// # Errors
    /// How the call failed; cancelled.
    pub(super) fn take(&self) -> Result<Next> {
        let mut state = self.lock();
        loop {
            if let Some(Err(error)) = &state.ended {
                return Err(error.clone());
            }
            if self.cancel.is_cancelled() {
                return Err(Error::cancelled());
            }
            if let Some(part) = state.parts.pop_front() {
                state.queued -= cost(&part);
                state.taken += cost(&part);
                let granted =
                    if state.taken < GRANTED_AT_ONCE { 0 } else { std::mem::take(&mut state.taken) };
                return Ok(Next::Part(part, granted));
            }
            if let Some(Ok(answer)) = &mut state.ended {
                return Ok(Next::Ended(std::mem::take(answer)));
            }
            if state.are_all_there {
                return Ok(Next::NoMore);
            }
            state = self.wait(state);
        }
    }
}
