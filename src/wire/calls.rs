//! The calls of a session that have not ended.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio_util::sync::CancellationToken;

use super::flow::Flow;
use crate::error::Error;

/// By their numbers.
#[derive(Default)]
pub(super) struct Calls {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    last: u32,
    open: BTreeMap<u32, Arc<Flow>>,
    /// Why there are no more calls.
    over: Option<Error>,
}

impl Calls {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A new call, with a number that no other one had.
    ///
    /// # Errors
    /// Why the session is over.
    pub(super) fn open(&self, cancel: &CancellationToken) -> Result<(u32, Arc<Flow>), Error> {
        let mut state = self.lock();
        if let Some(over) = &state.over {
            return Err(over.clone());
        }
        state.last += 1;
        let (id, flow) = (state.last, Arc::new(Flow::new(cancel.clone())));
        state.open.insert(id, Arc::clone(&flow));
        Ok((id, flow))
    }

    /// A call that the other side began. False where it has begun one of this number already.
    pub(super) fn begin(&self, id: u32, flow: &Arc<Flow>) -> bool {
        self.lock().open.insert(id, Arc::clone(flow)).is_none()
    }

    pub(super) fn find(&self, id: u32) -> Option<Arc<Flow>> {
        self.lock().open.get(&id).cloned()
    }

    pub(super) fn count(&self) -> usize {
        self.lock().open.len()
    }

    pub(super) fn forget(&self, id: u32) {
        self.lock().open.remove(&id);
    }

    /// Ends all calls, and those that are still to be made. The first reason counts.
    pub(super) fn end_all(&self, because: Error) {
        let mut state = self.lock();
        let over = state.over.get_or_insert(because).clone();
        for flow in std::mem::take(&mut state.open).into_values() {
            flow.end(Err(over.clone()));
        }
    }

    /// Lets there be no more calls where there are none, and says whether that is so.
    pub(super) fn end_unused(&self, because: Error) -> bool {
        let mut state = self.lock();
        if state.open.is_empty() {
            state.over.get_or_insert(because);
        }
        state.open.is_empty()
    }

    /// Why there are no more calls; none where there may be.
    pub(super) fn over(&self) -> Option<Error> {
        self.lock().over.clone()
    }
}
