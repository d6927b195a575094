//! An active store and its copy: what one run over both does. It knows the ends by their trait only.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::compare;
use super::end::{Import, Order, PageSink, Standing, UserEnd};
use super::former;
use super::local::LocalEnd;
use super::new_file::NewFile;
use super::remote::RemoteEnd;
use crate::error::{Error, Result, Side};
use crate::platform::{Rights, rename_to_free_name};
use crate::report::Moved;
use crate::store::files::{require_free, with_suffix};
use crate::store::remote::Reach;
use crate::store::user::{PairObservation, PairOutcome, StoreState, UserStorePair, WantedState, Work};
use crate::store::{Generation, Trace, Until};
use crate::topology::{StoreUrl, UserStoreConfig};

/// How long a plan looks for a state of a source: it waits for nobody.
const PLANS_PATIENCE: Duration = Duration::from_secs(5);

/// A user store in SQLite and its copy, page by page.
pub struct PagePair {
    source: Arc<dyn UserEnd>,
    standby: Arc<dyn UserEnd>,
    /// Tables that are not worth keeping.
    exclude: Vec<String>,
    /// How long a state of the source is looked for.
    patience: Duration,
}

/// Pages on their way to where they are written. Threads end their parts in any order; progress only grows.
struct Passing<'a> {
    to: &'a dyn PageSink,
    work: &'a Work<'a>,
    told: Mutex<u64>,
}

impl PageSink for Passing<'_> {
    fn put(&self, first: u32, content: &[u8], page_size: usize) -> Result<()> {
        self.to.put(first, content, page_size)
    }

    fn reset(&self) -> Result<()> {
        self.to.reset()
    }

    fn tell(&self, done: u64, total: u64) {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if done > *told {
            *told = done;
            drop(told);
            self.work.tell(done, total);
        }
    }

    fn wait(&self) {
        self.work.wait("Waiting for a moment without a write");
    }
}

impl<'a> Passing<'a> {
    fn new(to: &'a dyn PageSink, work: &'a Work<'a>) -> Self {
        Passing { to, work, told: Mutex::new(0) }
    }
}

impl PagePair {
    /// The pair of a pool's user store and the copy of it at this place. Nothing is opened yet. `patience` bounds how long a run looks
    /// for a state of a source that somebody writes to all the time.
    ///
    /// # Errors
    /// `UnsupportedStore` for the URL of another engine.
    pub fn new(config: &UserStoreConfig, standby: &Path, patience: Duration) -> Result<Self> {
        let source = Arc::new(LocalEnd::new(config.url.local_path()?, config));
        let standby = Arc::new(LocalEnd::new(standby, config));
        Ok(PagePair { source, standby, exclude: config.exclude.clone(), patience })
    }

    /// As [`PagePair::new`], where each of both may be at another machine.
    ///
    /// # Errors
    /// As there; `InvalidValue` where one of them does not lie below the root of its place.
    pub fn between(
        (config, at): (&UserStoreConfig, &Reach),
        (standby, standby_at): (&StoreUrl, &Reach),
        patience: Duration,
    ) -> Result<Self> {
        let end = |url: &StoreUrl, reach: &Reach| -> Result<Arc<dyn UserEnd>> {
            Ok(match reach {
                Reach::Here => Arc::new(LocalEnd::new(url.local_path()?, config)),
                Reach::There(place) => Arc::new(RemoteEnd::new(place, url, config)?),
            })
        };
        let (source, standby) = (end(&config.url, at)?, end(standby, standby_at)?);
        Ok(PagePair { source, standby, exclude: config.exclude.clone(), patience })
    }

    fn order(&self, work: &Work<'_>) -> Order {
        Order {
            generation: work.generation,
            source: self.source.path().to_owned(),
            verify: work.verify,
            accept_deletions: work.accept_deletions,
            job: work.job,
            now: work.now,
            cancel: work.cancel.clone(),
        }
    }

    /// What could be given back, and where the copy stands; none where the source is not lost, or there is no copy.
    fn lost_with(&self) -> Result<Option<(Moved, Standing)>> {
        // One that is there is not lost, whatever is known of it; only then the copy has to be asked.
        if self.source.is_lost(None).is_ok_and(|is_lost| !is_lost) {
            return Ok(None);
        }
        let Some(size) = self.standby.size().map_err(Side::Export.failed())? else { return Ok(None) };
        let standing = self.standby.standing().map_err(Side::Export.failed())?;
        Ok(self.source.is_lost(standing.mark.as_ref())?.then_some((size, standing)))
    }

    fn run(&self, mut import: Box<dyn Import>, work: &Work<'_>, patience: Duration) -> Result<PairOutcome> {
        let seen = self.source.look(import.known())?;
        if seen.is_unchanged {
            import.confirm(&seen)?;
            let revision = self.standby.standing().map_err(Side::Import.failed())?.revision;
            let after = PairObservation { initialized: true, revision, ..PairObservation::default() };
            return Ok(PairOutcome { after: Some(after), ..PairOutcome::default() });
        }
        let base = import.open(&seen)?;
        let until = Until::cancelled_by(work.cancel, patience);
        let exported = self.source.export(&base, &Passing::new(import.as_ref(), work), &until)?;
        import.commit(exported)
    }
}

impl UserStorePair for PagePair {
    fn observe(&self, _cancel: &CancellationToken) -> Result<PairObservation> {
        let standing = self.standby.standing().map_err(Side::Import.failed())?;
        let seen = self.source.survey(standing.mark.as_ref())?;
        let refused = standing.refused.map(|refused| refused.on(Side::Import));
        let mut observation =
            PairObservation { refused: refused.or(seen.refused), ..PairObservation::default() };
        observation.initialized = standing.revision.is_some();
        observation.revision = standing.revision;
        if standing.mark.is_none() {
            observation.pending = 1;
            observation.is_estimate = true;
            return Ok(observation);
        }
        if standing.is_touched {
            let why = "The copy was changed by somebody else, or a sync was interrupted.";
            observation.to_compare = Some(why.to_owned());
        }
        if seen.is_unchanged {
            return Ok(observation);
        }
        observation.pending = seen.pending.map_or(1, u64::from);
        observation.is_estimate = seen.pending.is_none();
        observation.oldest = standing.confirmed.filter(|_| observation.pending > 0);
        Ok(observation)
    }

    fn synchronize(&self, work: &Work<'_>) -> Result<PairOutcome> {
        crate::platform::failpoint::fail_point!("store.user.synchronize");
        self.run(self.standby.import(self.order(work))?, work, self.patience)
    }

    fn plan(&self, work: &Work<'_>) -> Result<PairOutcome> {
        self.run(self.standby.rehearse(self.order(work))?, work, self.patience.min(PLANS_PATIENCE))
    }

    fn lost(&self) -> Result<Option<Moved>> {
        Ok(self.lost_with()?.map(|(size, _)| size))
    }

    fn restore(&self, work: &Work<'_>) -> Result<PairOutcome> {
        let Some((_, standing)) = self.lost_with()? else { return Ok(PairOutcome::default()) };
        let place = self.source.path().display();
        let new = self.source.replace(standing.rights, standing.mark.as_ref())?;
        let sent = self.standby.send(None, work.generation, &Passing::new(new.as_ref(), work), work.cancel);
        let sent = sent?;
        work.check()?;
        let published = new.publish(&sent)?;
        self.standby.note_replaced(&sent, &published, &self.order(work)).map_err(Side::Export.failed())?;
        let mut outcome = PairOutcome::default();
        outcome.moved.items_written = sent.pages.into();
        outcome.moved.bytes = sent.state.bytes;
        outcome.moved.batches = 1;
        outcome.details.push(format!("Gave the lost user store back at {place}."));
        // Accounts of another machine have other numbers: what its copy says of them counts for nothing here.
        if standing.rights.is_none() && published.is_of_another {
            outcome.warnings.push(format!(
                "{place} belongs to the account that gave it back, and not to that of its folder: give it the owner and \
                 rights that the server needs (chown, chmod) before the server starts."
            ));
        }
        if published.is_partial {
            let text = "Not every process could be looked into, or one opened the lost store just now: stop the pool's server before it opens the store.";
            outcome.details.push(text.to_owned());
        }
        if !published.emptied.is_empty() {
            outcome.details.push(emptied_line(&published.emptied));
        }
        Ok(outcome)
    }

    fn states(&self) -> Result<Vec<StoreState>> {
        self.standby.states()
    }

    fn find_state(&self, wanted: WantedState, to: &Path) -> Result<StoreState> {
        require_free(to)?;
        wanted.among(self.states()?)
    }

    fn restore_state(
        &self,
        revision: u32,
        to: &Path,
        generation: Generation,
        cancel: &CancellationToken,
    ) -> Result<(StoreState, Vec<String>)> {
        require_free(to)?;
        // Whoever restores for looking owns what he gets.
        let new = NewFile::create(with_suffix(to, ".part"), Rights::PRIVATE)?;
        let sent = self.standby.send(Some(revision), generation, &new, cancel)?;
        let mut differs = Vec::new();
        let emptied = new.complete(&sent, &self.exclude, |new| {
            differs = match compare::compare(self.standby.path(), new, cancel) {
                Ok(found) => found.lines(["only in it", "only in the copy of now"]),
                Err(error) => vec![format!("Not compared with the copy of now: {}", error.message)],
            };
        })?;
        differs.extend((!emptied.is_empty()).then(|| emptied_line(&emptied)));
        new.name(|part| rename_to_free_name(part, to)).map_err(|cause| Error::io("write", to, &cause))?;
        Ok((sent.state, differs))
    }

    fn fence(&self, is_raised: bool, until: &Until) -> Result<()> {
        self.source.fence(is_raised, until).map_err(Side::Export.failed())
    }

    fn promote(&self, generation: Generation, until: &Until) -> Result<Vec<String>> {
        self.standby.promote(generation, until).map_err(Side::Import.failed())
    }

    fn remove_traces(&self, dry_run: bool, cancel: &CancellationToken) -> Result<Vec<Trace>> {
        let found = self.standby.former();
        let of_source = match found.is_empty() {
            false if !dry_run => self.source.remove_former()?,
            _ => former::traces(self.source.path(), found),
        };
        let mut traces = self.standby.lift(dry_run, cancel)?;
        traces.extend(of_source);
        Ok(traces)
    }
}

fn emptied_line(tables: &[String]) -> String {
    format!("Emptied, because they are excluded: {}.", tables.join(", "))
}
