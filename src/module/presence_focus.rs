//! `UserServices.PresenceFocus`: the user store.

use super::{BackupModule, Context, CycleOutcome, CycleResult, GiveBack, Look, ModuleId, Observation};
use crate::error::Result;
use crate::store::Trace;
use crate::store::user::{PairOutcome, UserStorePair, Work};

/// The user store of one pool and its copy.
pub struct PresenceFocus {
    pair: Box<dyn UserStorePair>,
    source: String,
    standby: String,
    batch_changes: u64,
}

impl PresenceFocus {
    /// The module over a pair of stores with these URLs; a batch carries that many changes.
    pub fn new(pair: Box<dyn UserStorePair>, source: String, standby: String, batch_changes: u64) -> Self {
        PresenceFocus { pair, source, standby, batch_changes }
    }

    fn with_work(
        &self,
        context: &Context,
        run: impl Fn(&dyn UserStorePair, &Work<'_>) -> Result<PairOutcome>,
    ) -> Result<CycleOutcome> {
        let progress = |progress| context.observer.progress(progress);
        let work = Work {
            generation: context.generation,
            verify: context.verify,
            cancel: &context.cancel,
            progress: &progress,
            now: context.clock.now(),
        };
        let outcome = run(self.pair.as_ref(), &work)?;
        Ok(CycleOutcome {
            moved: outcome.moved,
            quarantined: outcome.quarantined,
            warnings: outcome.warnings,
            details: outcome.details,
            verification: outcome.verification,
            ..CycleOutcome::default()
        })
    }
}

impl BackupModule for PresenceFocus {
    fn id(&self) -> ModuleId {
        ModuleId::PresenceFocus
    }

    fn touches(&self) -> Vec<String> {
        vec![self.standby.clone()]
    }

    fn touches_back(&self) -> Vec<String> {
        vec![self.source.clone()]
    }

    fn observe(&self, look: &Look) -> Result<Observation> {
        let seen = self.pair.observe(&look.cancel)?;
        Ok(Observation {
            initialized: seen.initialized,
            not_applicable: None,
            pending_items: seen.pending,
            pending_bytes: 0,
            fits_one_batch: seen.pending <= self.batch_changes,
            oldest_pending: seen.oldest,
            cursor: seen.position.map(|position| format!("position {position}")),
            to_compare: seen.to_compare,
            planned: None,
            refused: None,
        })
    }

    fn run_cycle(&self, context: &Context) -> CycleResult {
        crate::failpoint::fail_point!("module.presence_focus");
        Ok(self.with_work(context, |pair, work| pair.synchronize(work))?)
    }

    fn carry_back(&self, context: &Context) -> CycleResult {
        Ok(self.with_work(context, |pair, work| pair.restore(work))?)
    }

    fn observe_carry_back(&self, _look: &Look) -> Result<GiveBack> {
        Ok(GiveBack { items: self.pair.lost()?.unwrap_or(0), ..GiveBack::default() })
    }

    fn observe_disable(&self, _look: &Look) -> Result<Vec<Trace>> {
        self.pair.remove_traces(true)
    }

    fn disable(&self, context: &Context) -> Result<Vec<Trace>> {
        context.check()?;
        self.pair.remove_traces(false)
    }
}
