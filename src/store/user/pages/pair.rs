//! An active store and its copy: what one run over both does.

use std::path::Path;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio_util::sync::CancellationToken;

use super::format::hashes::Seed;
use super::format::header::Own;
use super::former;
use super::importer::Importer;
use super::source::{Base, Exported, Reading, Source, Staging};
use super::staged::{Direct, Staged};
use super::standby::{Commit, Existing, Found, Standby, Wrote};
use super::state::{Checked, Committed, State};
use super::verdict;
use crate::error::{Error, Result, Side};
use crate::platform::Rights;
use crate::report::Verification;
use crate::store::sqlite::tighten_database;
use crate::store::user::{PairObservation, PairOutcome, StoreState, UserStorePair, WantedState, Work};
use crate::store::{Generation, Trace};
use crate::topology::UserStoreConfig;

mod restore;

/// How often a copy is checked as a whole without being asked for.
const CHECK_EVERY: SignedDuration = SignedDuration::from_hours(24);

/// A user store in SQLite and its copy, page by page.
pub struct PagePair {
    pub(super) source: Source,
    pub(super) standby: Standby,
    pub(super) config: UserStoreConfig,
    /// How long a state of the source is looked for.
    patience: Duration,
}

impl PagePair {
    /// The pair of a pool's user store and the copy of it at this place. Nothing is opened yet. `patience` bounds how long a run looks
    /// for a state of a source that somebody writes to all the time.
    ///
    /// # Errors
    /// `UnsupportedStore` for the URL of another engine.
    pub fn new(config: UserStoreConfig, standby: &Path, patience: Duration) -> Result<Self> {
        let max_lock = config.server_waits.then(|| Duration::from_millis(config.max_lock_ms));
        let source = Source::new(config.url.local_path()?, max_lock);
        Ok(PagePair { source, standby: Standby::new(standby), config, patience })
    }

    /// The copy's rights: those of the source, or fewer.
    fn rights(&self) -> Result<Rights> {
        let path = self.source.path();
        Rights::of(path).map_err(|cause| match cause.kind() {
            std::io::ErrorKind::NotFound => self.source.missing(),
            _ => Error::io("read", path, &cause).on(Side::Export),
        })
    }

    /// Whether nothing has to be read or written at all.
    fn is_idle(&self, work: &Work<'_>) -> Result<Option<State>> {
        let seen = self.source.look()?;
        if work.verify {
            return Ok(None);
        }
        let Some(state) = self.standby.remembered() else { return Ok(None) };
        let is_idle = self.source.is_unchanged(&state.source, &seen)
            && !is_due(&state, work.now)
            && self.standby.is_fenced()?;
        Ok(is_idle.then_some(state))
    }

    fn run(&self, work: &Work<'_>) -> Result<PairOutcome> {
        let mut importer = Importer::enter(self.standby.path(), work.generation, work.cancel)?;
        // A copy may be as open as its source, and no more.
        tighten_database(self.standby.path(), self.rights()?);
        if let Some(mut state) = self.is_idle(work)? {
            importer.pass()?;
            state.confirmed = work.now;
            self.standby.state_file().touch(&state)?;
            return Ok(PairOutcome::default());
        }
        match self.standby.settle(&importer, work.verify, work.cancel)? {
            Found::Missing => self.copy_first(&mut importer, work, None),
            Found::Unreadable => {
                let why = "The copy could not be read and was made anew.".to_owned();
                self.copy_first(&mut importer, work, Some(why))
            }
            Found::Existing(existing) => self.follow(&mut importer, *existing, work),
        }
    }

    fn export(&self, base: &Base<'_>, staging: &dyn Staging, work: &Work<'_>) -> Result<Exported> {
        let folder = self.standby.folder();
        let told = std::sync::Mutex::new(0);
        let progress = |done: u64, total: u64| {
            // Threads end their parts in any order, and progress only grows.
            let mut told = told.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            if done > *told {
                *told = done;
                drop(told);
                work.tell(done, total);
            }
        };
        let reading = Reading {
            cancel: work.cancel,
            patience: self.patience,
            progress: &progress,
            waiting: &|| work.wait("Waiting for a moment without a write"),
            clone_in: Some(&folder),
        };
        self.source.export(base, staging, &reading)
    }

    fn copy_first(
        &self,
        importer: &mut Importer,
        work: &Work<'_>,
        warning: Option<String>,
    ) -> Result<PairOutcome> {
        let rights = self.rights()?;
        let (file, path) = self.standby.begin_new(importer, rights)?;
        let seed = Seed::new();
        let base = Base { seed, hashes: &[], layout: None, mark: None };
        let staging = Direct { file: &file, path: &path };
        let exported = self.export(&base, &staging, work)?;
        let counter = exported.mark.change_counter.wrapping_add(1);
        let own = Own {
            change_counter: counter,
            schema_cookie: exported.mark.schema_cookie.wrapping_add(1),
            versions: None,
        };
        // A copy of a damaged store is better than none; what is wrong with it is said, and from then on only what is new counts.
        let findings = if exported.suspects.is_empty() { Vec::new() } else { verdict::findings(&path)? };
        work.check()?;
        let wrote = self.standby.publish(&file, &path, &exported, own)?;
        drop(file);
        let mut outcome = self.outcome(&exported, wrote);
        outcome.warnings.extend(warning);
        outcome.warnings.extend(verdict::damage(self.source.path(), &findings, exported.suspects.first()));
        let checked = Checked { at: None, findings: verdict::marks(&findings) };
        self.remember(&exported, seed, own, work, None, checked, None, &mut outcome);
        outcome.warnings.extend(self.schema_warnings());
        Ok(outcome)
    }

    fn follow(&self, importer: &mut Importer, existing: Existing, work: &Work<'_>) -> Result<PairOutcome> {
        let is_due = existing.state.as_ref().is_none_or(|state| is_due(state, work.now));
        let seen = self.source.look()?;
        let was_unchanged =
            existing.state.as_ref().is_some_and(|state| self.source.is_unchanged(&state.source, &seen));
        let mark = existing.state.as_ref().map(|state| &state.source).filter(|_| !work.verify);
        let strong =
            if work.verify { Some(self.standby.strong_hashes(&existing, work.cancel)?) } else { None };
        let (seed, known_hashes) = match &strong {
            Some(strong) => (Seed::Strong, strong.as_slice()),
            None => (existing.seed, existing.hashes.as_slice()),
        };
        let base = Base { seed, hashes: known_hashes, layout: Some(existing.header.layout), mark };
        let staged = Staged::new(&self.standby.folder());
        let mut exported = self.export(&base, &staged, work)?;
        let ready = staged.finish();
        let is_same = exported.hashes == known_hashes
            && exported.layout == existing.header.layout
            && existing.header.is_fenced();
        let known = existing.known();
        let own = Own {
            change_counter: existing.header.change_counter.wrapping_add(u32::from(!is_same)),
            schema_cookie: existing
                .header
                .schema_cookie
                .max(exported.mark.schema_cookie)
                .wrapping_add(u32::from(!is_same)),
            versions: None,
        };
        let mut outcome;
        let mut checked = known.map(|known| known.checked.clone()).unwrap_or_default();
        if is_same {
            importer.pass()?;
            outcome = self.outcome(&exported, Wrote::default());
            if is_due || work.verify {
                verdict::check(
                    self.standby.path(),
                    None,
                    self.source.path(),
                    &checked.findings,
                    work.verify,
                )?;
                checked.at = Some(work.now);
            }
        } else {
            importer.begin()?;
            let has_to_check = is_due || work.verify || !exported.suspects.is_empty();
            let before = verdict::Before::of(
                self.source.path(),
                self.standby.path(),
                &self.config.exclude,
                &existing,
                &exported,
                &ready,
                work.accept_deletions,
            )?;
            let commit = Commit {
                copy: &existing,
                exported: &exported,
                ready: &ready,
                own,
                rights: self.rights()?,
                cancel: work.cancel,
                before_at: existing.at.min(work.now),
                reason: before.reason(),
                is_other: before.is_other(),
            };
            let check = || {
                if has_to_check {
                    let suspect = exported.suspects.first();
                    verdict::check(
                        self.standby.path(),
                        suspect,
                        self.source.path(),
                        &checked.findings,
                        work.verify,
                    )?;
                }
                before.judge(self.standby.path())
            };
            let (wrote, lost) = self.standby.commit(&commit, &check)?;
            outcome = self.outcome(&exported, wrote);
            outcome.warnings.extend(before.warnings());
            outcome.warnings.extend(lost.map(|error| {
                format!("The state before this sync cannot be restored, because the history could not be written: {}", error.message)
            }));
            if has_to_check {
                checked.at = Some(work.now);
            }
        }
        if existing.is_touched {
            let text = "The copy had been changed by somebody else; every page was compared and put right.";
            outcome.warnings.push(text.to_owned());
        }
        if work.verify {
            outcome.verification = Some(verification(&existing, &exported, was_unchanged));
            exported.hashes =
                self.standby.hashes_of(exported.layout, exported.pages, existing.seed, work.cancel)?;
        }
        let held = existing.is_remembered.then_some(existing.hashes.as_slice());
        // A state is known by the time at which it was first seen.
        let since = is_same.then_some(existing.at.min(work.now));
        self.remember(&exported, existing.seed, own, work, since, checked, held, &mut outcome);
        if work.verify || known.is_none_or(|known| known.source.schema_cookie != exported.mark.schema_cookie)
        {
            outcome.warnings.extend(self.schema_warnings());
        }
        self.standby.thin_history(own.change_counter, &self.config.history, work.now, &mut outcome.warnings);
        Ok(outcome)
    }

    #[expect(clippy::too_many_arguments, reason = "the end of both kinds of runs")]
    fn remember(
        &self,
        exported: &Exported,
        seed: Seed,
        own: Own,
        work: &Work<'_>,
        since: Option<Timestamp>,
        checked: Checked,
        before: Option<&[u128]>,
        outcome: &mut PairOutcome,
    ) {
        let committed = Committed {
            seed,
            layout: exported.layout,
            pages: exported.pages,
            own,
            source: exported.mark.clone(),
            // Hosts know times to the millisecond, and ask for a state by what they were told.
            at: since
                .or_else(|| Timestamp::from_millisecond(work.now.as_millisecond()).ok())
                .unwrap_or(work.now),
            confirmed: work.now,
            checked,
        };
        // The copy is good; only the next job has to read it.
        if let Err(error) = self.standby.remember(committed, &exported.hashes, before) {
            outcome.warnings.push(format!("The next sync reads the whole copy: {}", error.message));
        }
    }

    /// What the schema tells that an administrator should know.
    fn schema_warnings(&self) -> Vec<String> {
        let standby = self.standby.path();
        let mut warnings = former::idle_patterns(standby, &self.config.exclude);
        warnings.extend(former::warning(&former::in_copy(standby)));
        warnings
    }

    fn outcome(&self, exported: &Exported, wrote: Wrote) -> PairOutcome {
        let mut outcome = PairOutcome::default();
        outcome.moved.items_written = wrote.pages;
        outcome.moved.items_deleted = wrote.removed;
        outcome.moved.bytes = wrote.bytes;
        outcome.moved.batches = u64::from(wrote.pages > 0);
        outcome.details.push(exported.way.describe().to_owned());
        if exported.attempts > 1 {
            outcome.details.push(format!("{} attempts; the store was changing.", exported.attempts));
        }
        if exported.undone {
            outcome.warnings.push(format!(
                "A server did not finish its last transaction at {}: the copy has the state before it. The server undoes it when it starts.",
                self.source.path().display()
            ));
        }
        outcome
    }
}

/// What a comparison of every page found: pages of the copy that were not as they were left, or differ from a source that has not changed
/// since.
fn verification(existing: &Existing, exported: &Exported, was_unchanged: bool) -> Verification {
    let differing = existing.spoiled.max(if was_unchanged { exported.changed.into() } else { 0 });
    Verification {
        compared_items: exported.pages.into(),
        differing_items: differing,
        repaired_items: differing,
        ..Verification::requested()
    }
}

/// Whether a copy has to be checked as a whole.
fn is_due(state: &State, now: Timestamp) -> bool {
    state.checked.at.unwrap_or(state.at).saturating_add(CHECK_EVERY).is_ok_and(|due| due <= now)
}

impl UserStorePair for PagePair {
    fn observe(&self, _cancel: &CancellationToken) -> Result<PairObservation> {
        let seen = self.source.look()?;
        let mut observation = PairObservation::default();
        let foreign = self.standby.is_foreign(self.standby.has_begun()).map_err(Side::Import.failed())?;
        if foreign {
            observation.refused = Some(self.standby.foreign().on(Side::Import));
        } else if let Err(refused) = self.source.require_database() {
            observation.refused = Some(refused);
        }
        let remembered = self.standby.remembered();
        let stand = self.standby.stand().map_err(Side::Import.failed())?;
        observation.initialized = stand.is_some();
        observation.revision = stand.map(|stand| stand.revision);
        let Some(state) = remembered.clone().or_else(|| self.standby.state_file().load()) else {
            observation.pending = 1;
            observation.is_estimate = true;
            return Ok(observation);
        };
        if remembered.is_none() {
            observation.to_compare =
                Some("The copy was changed by somebody else, or a sync was interrupted.".to_owned());
        }
        if self.source.is_unchanged(&state.source, &seen) {
            return Ok(observation);
        }
        let pending = self.source.pending(&state.source)?;
        observation.pending = pending.map_or(1, u64::from);
        observation.is_estimate = pending.is_none();
        observation.oldest = (observation.pending > 0).then_some(state.confirmed);
        Ok(observation)
    }

    fn synchronize(&self, work: &Work<'_>) -> Result<PairOutcome> {
        crate::failpoint::fail_point!("store.user.synchronize");
        self.run(work)
    }

    fn lost(&self) -> Result<Option<u64>> {
        restore::lost(self)
    }

    fn restore(&self, work: &Work<'_>) -> Result<PairOutcome> {
        restore::give_back(self, work)
    }

    fn states(&self) -> Result<Vec<StoreState>> {
        restore::states(self)
    }

    fn find_state(&self, wanted: WantedState, to: &Path) -> Result<StoreState> {
        restore::find_state(self, wanted, to)
    }

    fn restore_state(
        &self,
        revision: u32,
        to: &Path,
        generation: Generation,
        cancel: &CancellationToken,
    ) -> Result<StoreState> {
        restore::restore_state(self, revision, to, generation, cancel)
    }

    fn remove_traces(&self, dry_run: bool) -> Result<Vec<Trace>> {
        restore::remove_traces(self, dry_run)
    }
}
