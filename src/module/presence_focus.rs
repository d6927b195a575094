//! `UserServices.PresenceFocus`: the user store.

use std::path::Path;

use jiff::Timestamp;

use super::{
    BackupModule, Context, CycleOutcome, CycleResult, GiveBack, Look, Loss, ModuleId, Observation, Restored,
    StoreState, WantedState,
};
use crate::error::{ErrorKind, Result, Side};
use crate::report::Changes;
use crate::store::user::{PairObservation, PairOutcome, UserStorePair, Work};
use crate::store::{Generation, Trace};

/// The user store of one pool and its copy.
pub struct PresenceFocus {
    pair: Box<dyn UserStorePair>,
    source: String,
    standby: String,
}

/// How many pages one batch carries: what fits into it is a steady state.
const BATCH_PAGES: u64 = 1_000;

impl PresenceFocus {
    /// The module over a pair of stores with these URLs.
    pub fn new(pair: Box<dyn UserStorePair>, source: String, standby: String) -> Self {
        PresenceFocus { pair, source, standby }
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
            accept_deletions: context.accept_deletions,
            cancel: &context.cancel,
            progress: &progress,
            job: context.job,
            now: context.clock.now(),
        };
        let outcome = run(self.pair.as_ref(), &work)?;
        Ok(CycleOutcome {
            moved: outcome.moved,
            quarantined: outcome.quarantined,
            warnings: outcome.warnings,
            details: outcome.details,
            verification: outcome.verification,
            after: outcome.after.map(|seen| observation(seen, 0)),
            ..CycleOutcome::default()
        })
    }
}

fn observation(seen: PairObservation, pending_bytes: u64) -> Observation {
    Observation {
        initialized: seen.initialized,
        not_applicable: None,
        pending_items: seen.pending,
        pending_bytes,
        fits_one_batch: seen.pending <= BATCH_PAGES,
        oldest_pending: seen.oldest,
        cursor: seen.revision.map(|revision| format!("revision {revision}")),
        to_compare: seen.to_compare,
        is_estimate: seen.is_estimate,
        moves: None,
        changes: Changes::default(),
        refused: seen.refused,
        no_room: None,
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
        let mut seen = self.pair.observe(&look.cancel).map_err(Side::Export.failed())?;
        let mut bytes = 0;
        if look.thorough && seen.refused.is_none() {
            let work = Work {
                generation: Generation(i64::MAX),
                verify: look.verify,
                accept_deletions: look.accept_deletions,
                job: None,
                cancel: &look.cancel,
                progress: &|_| {},
                now: Timestamp::now(),
            };
            match self.pair.plan(&work) {
                Ok(PairOutcome { moved, .. }) => {
                    seen.pending = moved.items_written + moved.items_deleted;
                    seen.is_estimate = false;
                    bytes = moved.bytes;
                }
                // What a short look could not find out stays the estimate that it is.
                Err(error) if matches!(error.kind, ErrorKind::StoreBusy | ErrorKind::SourceTooBusy) => {}
                Err(error) if error.kind == ErrorKind::Cancelled => return Err(error),
                Err(error) => {
                    (seen.pending, seen.is_estimate) = (0, false);
                    seen.refused = Some(Side::Import.failed()(error));
                }
            }
        }
        Ok(observation(seen, bytes))
    }

    fn run_cycle(&self, context: &Context) -> CycleResult {
        crate::platform::failpoint::fail_point!("module.presence_focus");
        Ok(self.with_work(context, |pair, work| pair.synchronize(work)).map_err(Side::Import.failed())?)
    }

    fn carry_back(&self, context: &Context) -> CycleResult {
        Ok(self.with_work(context, |pair, work| pair.restore(work)).map_err(Side::Import.failed())?)
    }

    fn observe_carry_back(&self, _look: &Look) -> Result<GiveBack> {
        let lost = self.pair.lost().map_err(Side::Export.failed())?.unwrap_or_default();
        Ok(GiveBack { items: lost.items_written, bytes: lost.bytes, ..GiveBack::default() })
    }

    /// It is given back as a whole or not at all: rows that are missing come back out of the history.
    fn loss(&self, _look: &Look) -> Result<Loss> {
        let lost = self.pair.lost().map_err(Side::Export.failed())?;
        Ok(lost.map_or_else(Loss::default, |lost| Loss {
            items: lost.items_written,
            is_store_lost: true,
            ..Loss::default()
        }))
    }

    fn states(&self) -> Result<Option<Vec<StoreState>>> {
        self.pair.states().map(Some)
    }

    fn find_state(&self, wanted: WantedState, to: &Path) -> Result<StoreState> {
        self.pair.find_state(wanted, to)
    }

    fn restore_state(
        &self,
        wanted: WantedState,
        _include: &[String],
        to: &Path,
        context: &Context,
    ) -> Result<Restored> {
        let state = self.pair.find_state(wanted, to)?;
        let (state, details) =
            self.pair.restore_state(state.revision, to, context.generation, &context.cancel)?;
        Ok(Restored { state, details, warnings: Vec::new() })
    }

    fn observe_disable(&self, look: &Look) -> Result<Vec<Trace>> {
        self.pair.remove_traces(true, &look.cancel)
    }

    fn disable(&self, context: &Context) -> Result<Vec<Trace>> {
        context.check()?;
        self.pair.remove_traces(false, &context.cancel)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use rusqlite::Connection;
    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::clock::SystemClock;
    use crate::error::{Error, ErrorKind};
    use crate::module::{Observer, Progress};
    use crate::store::Generation;
    use crate::store::{Reach, factory};
    use crate::topology::{StoreUrl, UserStoreConfig};

    struct Nobody;

    impl Observer for Nobody {
        fn progress(&self, _: Progress) {}

        fn warning(&self, _: String) {}
    }

    fn context() -> Context {
        Context {
            generation: Generation(1),
            cancel: CancellationToken::new(),
            observer: Arc::new(Nobody),
            clock: Arc::new(SystemClock::new()),
            accept_deletions: false,
            verify: false,
            job: None,
        }
    }

    /// What is wrong with one of the databases that a folder holds.
    type Fault = (&'static str, fn(&Path));

    const FAULTS: [Fault; 5] = [
        ("source missing", |folder| std::fs::remove_file(folder.join("source")).unwrap()),
        ("source no database", |folder| std::fs::write(folder.join("source"), vec![b'x'; 4096]).unwrap()),
        ("source a folder", |folder| {
            std::fs::remove_file(folder.join("source")).unwrap();
            std::fs::create_dir(folder.join("source")).unwrap();
        }),
        ("standby of others", |folder| {
            std::fs::remove_file(folder.join("standby")).unwrap();
            Connection::open(folder.join("standby"))
                .unwrap()
                .execute_batch("CREATE TABLE theirs (a)")
                .unwrap();
        }),
        ("standby a folder", |folder| {
            std::fs::remove_file(folder.join("standby")).unwrap();
            std::fs::create_dir(folder.join("standby")).unwrap();
        }),
    ];

    /// A pair that was copied once, and what it says once that has happened.
    fn after(happens: fn(&Path), say: impl FnOnce(&PresenceFocus) -> Error) -> Error {
        let folder = tempfile::tempdir().unwrap();
        let source = folder.path().join("source");
        let url = |path: &Path| StoreUrl::try_from(format!("sqlite:{}", path.display())).unwrap();
        let schema = "CREATE TABLE users (id INTEGER PRIMARY KEY); INSERT INTO users VALUES (1)";
        Connection::open(&source).unwrap().execute_batch(schema).unwrap();
        let config = UserStoreConfig::new(url(&source));
        let patience = std::time::Duration::from_secs(10);
        let standby = url(&folder.path().join("standby"));
        let pair = factory::user_stores((&config, &Reach::Here), (&standby, &Reach::Here), patience).unwrap();
        let module = PresenceFocus::new(pair, String::new(), String::new());
        module.run_cycle(&context()).unwrap();
        happens(folder.path());
        say(&module)
    }

    #[test]
    fn a_failure_lies_on_the_side_of_the_database_that_failed_and_a_look_says_it_as_well() {
        for (name, happens) in FAULTS {
            let side = if name.starts_with("source") { Side::Export } else { Side::Import };
            let error = after(happens, |module| module.run_cycle(&context()).unwrap_err().error);
            assert_eq!(error.side, Some(side), "{name}: {error:?}");
            let seen = after(happens, |module| {
                let seen = module.observe(&Look::default());
                seen.map_or_else(|error| error, |seen| seen.refused.expect(name))
            });
            assert_eq!(seen.side, error.side, "{name}: {seen:?}");
        }
    }

    #[test]
    fn giving_back_reads_the_copy_and_writes_the_user_store() {
        let damaged: fn(&Path) = |folder| {
            use std::os::unix::fs::FileExt;
            std::fs::remove_file(folder.join("source")).unwrap();
            let standby = std::fs::File::options().write(true).open(folder.join("standby")).unwrap();
            standby.write_at(&[0xff; 3_996], 100).unwrap();
        };
        let error = after(damaged, |module| module.carry_back(&context()).unwrap_err().error);
        assert_eq!((error.kind, error.side), (ErrorKind::Corrupt, Some(Side::Export)));
        let replaced: fn(&Path) = |folder| std::fs::write(folder.join("source"), vec![b'x'; 4096]).unwrap();
        let error = after(replaced, |module| module.carry_back(&context()).unwrap_err().error);
        assert_eq!(error.side, Some(Side::Import), "{error:?}");
    }
}
