//! `ConfServices.DataConf`: the files of a pool's conferences.
//!
//! A cycle walks the source once and compares it with the index of what the standby holds (`walk`), copies what is
//! new or changed in bounded batches and then removes what the source no longer has (`cycle`). Before anything
//! else it makes sure that both stores are the ones it means (`establish`): a store that is not mounted looks
//! exactly like one from which everything was deleted. Then it looks at what an earlier cycle that was interrupted may
//! have left (`cycle::interrupted`).
//!
//! What a cycle would do is found by running it on stores that are only read (`rehearsal`): a plan and a run are the
//! same code.

use std::path::Path;
use std::sync::atomic::AtomicBool;

use super::{
    BackupModule, Context, CycleFailure, CycleResult, GiveBack, Look, Loss, ModuleId, Observation, Restored,
    StoreState, WantedState,
};
use crate::error::{Result, Side};
use crate::store::content::index::{ContentIndex, IndexPlace, IndexedPair};
use crate::store::content::{ContentStore, Marker, MarkerRole, Presence};
use crate::store::{Generation, Trace};
use crate::topology::{HistoryLimits, PoolFqdn};

mod ahead;
mod batch;
mod carry_back;
mod copier;
mod cycle;
mod end;
mod establish;
mod meter;
mod plan;
mod rehearsal;
mod restore;
mod tally;
mod walk;

use end::End;

/// The content store of one pool and its copy at the backup pool.
pub struct DataConf {
    pool: PoolFqdn,
    source: End,
    standby: End,
    index: IndexPlace,
    batch_bytes: u64,
    /// How long earlier states of the standby are kept.
    history: HistoryLimits,
    /// Whether nothing is written: then what is new need not be read.
    rehearses: bool,
    /// Whether the standby has refused something: then it is asked before content is read for nothing.
    is_refused: AtomicBool,
}

impl DataConf {
    /// The module for a pool's content store and its copy; one batch carries that many bytes, and a larger file is a batch
    /// of its own. Nothing is opened yet.
    pub fn new(
        pool: PoolFqdn,
        source: Box<dyn ContentStore>,
        standby: Box<dyn ContentStore>,
        index: IndexPlace,
        batch_bytes: u64,
        history: HistoryLimits,
    ) -> Self {
        let (source, standby) = (End::new(source, Side::Export), End::new(standby, Side::Import));
        DataConf {
            pool,
            source,
            standby,
            index,
            batch_bytes,
            history,
            rehearses: false,
            is_refused: AtomicBool::new(false),
        }
    }

    /// The same module with handles of its own, for one operation: others may run at the same time.
    fn session(&self, source: Side, standby: Side) -> DataConf {
        DataConf {
            pool: self.pool.clone(),
            source: self.source.reopened(source),
            standby: self.standby.reopened(standby),
            index: self.index.clone(),
            batch_bytes: self.batch_bytes,
            history: self.history.clone(),
            rehearses: false,
            is_refused: AtomicBool::new(false),
        }
    }

    /// For what copies from the source to the standby.
    fn copying(&self) -> DataConf {
        self.session(Side::Export, Side::Import)
    }

    /// For what copies from the standby to the source.
    fn giving_back(&self) -> DataConf {
        self.session(Side::Import, Side::Export)
    }

    /// What no store failed with failed in the index, or in the lists beside it: they lie where the standby does.
    fn located(&self, failure: CycleFailure) -> CycleFailure {
        CycleFailure { error: self.standby.side.failed()(failure.error), ..failure }
    }

    fn existing_index(&self) -> Result<Option<(ContentIndex, IndexedPair)>> {
        let Some(index) = self.index.open_existing(&self.pool)? else { return Ok(None) };
        Ok(index.pair()?.map(|pair| (index, pair)))
    }
}

impl BackupModule for DataConf {
    fn id(&self) -> ModuleId {
        ModuleId::DataConf
    }

    fn touches(&self) -> Vec<String> {
        vec![self.standby.url()]
    }

    fn touches_back(&self) -> Vec<String> {
        vec![self.source.url()]
    }

    fn observe(&self, look: &Look) -> Result<Observation> {
        self.copying().rehearse_cycle(look, cycle::run)
    }

    fn check(&self, look: &Look) -> Result<()> {
        let session = self.copying();
        session.source.begin(None, &look.cancel)?;
        session.check_stores(look).map_err(session.standby.side.failed())
    }

    fn run_cycle(&self, context: &Context) -> CycleResult {
        crate::platform::failpoint::fail_point!("module.data_conf");
        let session = self.copying();
        cycle::run(&session, context).map_err(|failure| session.located(failure))
    }

    fn cycle_observes(&self) -> bool {
        true
    }

    fn carry_back(&self, context: &Context) -> CycleResult {
        let session = self.giving_back();
        carry_back::run(&session, context).map_err(|failure| session.located(failure))
    }

    fn observe_carry_back(&self, look: &Look) -> Result<GiveBack> {
        self.giving_back().rehearse_giving_back(look, carry_back::run)
    }

    fn loss(&self, look: &Look) -> Result<Loss> {
        let session = self.giving_back();
        carry_back::loss(&session, look).map_err(session.standby.side.failed())
    }

    fn states(&self) -> Result<Option<Vec<StoreState>>> {
        self.giving_back().restorable().map(Some)
    }

    fn find_state(&self, wanted: WantedState, to: &Path) -> Result<StoreState> {
        self.giving_back().find_restorable(wanted, to)
    }

    fn restore_state(
        &self,
        wanted: WantedState,
        include: &[String],
        to: &Path,
        context: &Context,
    ) -> Result<Restored> {
        self.giving_back().restore_to(wanted, include, to, context)
    }

    fn observe_disable(&self, _look: &Look) -> Result<Vec<Trace>> {
        disable(&self.copying(), None)
    }

    fn disable(&self, context: &Context) -> Result<Vec<Trace>> {
        context.check()?;
        let session = self.copying();
        let failed = session.standby.side.failed();
        let removed = disable(&session, Some(context.generation)).map_err(&failed)?;
        if session.source.is_elsewhere() {
            context.observer.warning(format!(
                "{} keeps its folder .csb, because another machine opens it: remove that there once nothing backs the pool up any more.",
                session.source.url()
            ));
        }
        session.tell_foreign().map_err(failed)?.into_iter().for_each(|told| context.observer.warning(told));
        Ok(removed)
    }
}

/// Lists what there is of ours in both stores, and removes it where there is a generation that may.
fn disable(module: &DataConf, generation: Option<Generation>) -> Result<Vec<Trace>> {
    let dry_run = generation.is_none();
    let mut removed = Vec::new();
    if let Some((index, _)) = module.existing_index()? {
        removed.push(Trace {
            store: module.index.url(),
            kind: "row".to_owned(),
            name: format!("csb_content_object, csb_content_store ({} objects)", index.count()?),
        });
    }
    if let Some(generation) = generation
        && module.index.exists()?
    {
        // First, because it is what an older generation is refused at.
        module.index.open(&module.pool)?.clear(generation)?;
    }
    let ends = [(&module.source, MarkerRole::Source), (&module.standby, MarkerRole::Standby)];
    for (store, role) in ends.into_iter().filter(|(store, _)| !store.is_elsewhere()) {
        let is_ours = |marker: &Marker| marker.pool == module.pool && marker.role == role;
        let marker = match store.identify()? {
            Presence::Marked(marker) if !is_ours(&marker) => continue,
            Presence::Marked(marker) => Some(marker),
            Presence::Missing | Presence::Unmarked { .. } => None,
        };
        removed.extend(store.unmark(dry_run)?.into_iter().map(|trace| Trace {
            store: store.url(),
            kind: trace.kind.to_owned(),
            name: trace.name,
        }));
        if let (false, MarkerRole::Standby, Some(marker)) = (dry_run, role, marker) {
            let left_ns = store.now_ns();
            store.mark(&Marker { role: MarkerRole::FormerStandby, left_ns, ..marker })?;
        }
    }
    Ok(removed)
}

fn cursor(pair: &IndexedPair) -> Option<String> {
    pair.scanned_at.map(|at| format!("scan {} at {at}", pair.scan))
}

#[cfg(test)]
mod tests;
