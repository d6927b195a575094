//! What a run would do: the run itself, on stores that are only read and on a copy of the index.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use super::{DataConf, cursor};
use crate::clock::SystemClock;
use crate::error::{Error, ErrorKind, Result};
use crate::module::{
    Context, CycleFailure, CycleOutcome, CycleResult, GiveBack, Look, Names, Observation, Observer, Progress,
};
use crate::report::{Change, ChangeKind};
use crate::store::Generation;
use crate::store::content::rehearsal::Rehearsal;

/// Nobody is newer at a copy of the index that nobody else has.
const NEWEST: Generation = Generation(i64::MAX);

impl DataConf {
    /// What the next cycle would do.
    pub(super) fn rehearse_cycle(
        &self,
        look: &Look,
        run: impl FnOnce(&DataConf, &Context) -> CycleResult,
    ) -> Result<Observation> {
        // One that cannot be read is what the rehearsal fails with.
        let known = self.existing_index().ok().flatten();
        let (done, refused) = self.rehearse(look, run)?;
        let unseen = || Observation { initialized: known.is_some(), ..Observation::default() };
        Ok(Observation {
            cursor: known.as_ref().and_then(|(_, pair)| cursor(pair)),
            moves: Some(done.moved),
            changes: done.changes,
            refused,
            no_room: done.no_room,
            ..done.before.unwrap_or_else(unseen)
        })
    }

    /// What giving back would return.
    pub(super) fn rehearse_giving_back(
        &self,
        look: &Look,
        run: impl FnOnce(&DataConf, &Context) -> CycleResult,
    ) -> Result<GiveBack> {
        let (done, refused) = self.rehearse(look, run)?;
        let (items, bytes) = (done.moved.items_written, done.moved.bytes);
        Ok(GiveBack { items, bytes, changes: done.changes, refused })
    }

    /// What the run does, and what it is refused with.
    fn rehearse(
        &self,
        look: &Look,
        run: impl FnOnce(&DataConf, &Context) -> CycleResult,
    ) -> Result<(CycleOutcome, Option<Error>)> {
        match self.run_on_copies(look, run) {
            Ok(done) => Ok((done, None)),
            Err(CycleFailure { error, .. }) if error.kind == ErrorKind::Cancelled => Err(error),
            Err(CycleFailure { error, done }) => Ok((*done, Some(self.standby.side.failed()(error)))),
        }
    }

    fn run_on_copies(
        &self,
        look: &Look,
        run: impl FnOnce(&DataConf, &Context) -> CycleResult,
    ) -> CycleResult {
        let copy = self.index.copy(&look.cancel)?;
        let session = DataConf {
            pool: self.pool.clone(),
            source: self.source.reopened(self.source.side).map(|store| Box::new(Rehearsal::new(store))),
            standby: self.standby.reopened(self.standby.side).map(|store| Box::new(Rehearsal::new(store))),
            index: copy.place().clone(),
            batch_bytes: self.batch_bytes,
            history: self.history.clone(),
            rehearses: true,
            is_refused: AtomicBool::new(false),
        };
        let context = Context {
            generation: NEWEST,
            cancel: look.cancel.clone(),
            observer: Arc::new(Watcher(look.names.clone())),
            clock: Arc::new(SystemClock::new()),
            accept_deletions: look.accept_deletions,
            job: None,
            verify: look.verify,
        };
        run(&session, &context)
    }
}

/// Nobody watches a look, but somebody may want the names.
struct Watcher(Option<Names>);

impl Observer for Watcher {
    fn progress(&self, _: Progress) {}

    fn warning(&self, _: String) {}

    fn changed(&self, kind: ChangeKind, change: &Change) {
        if let Some(Names(tell)) = &self.0 {
            tell(kind, change);
        }
    }
}
