//! An import: the copy is opened, takes the pages that differ, and is committed.

use std::cell::Cell;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use tokio_util::sync::CancellationToken;

use super::super::compare;
use super::super::damage;
use super::super::end::{Base, Exported, Import, Order, PageSink, Seen};
use super::super::exclude::patterns;
use super::super::former;
use super::super::hashes::Seed;
use super::super::mark::Mark;
use super::super::new_file::NewFile;
use super::importer::{Importer, Owner};
use super::loss;
use super::staged::{Ready, Staged};
use super::state::{Checked, Committed, Day, State};
use super::{Commit, Existing, Found, Standby};
use crate::error::{Error, Result};
use crate::platform::Rights;
use crate::report::{Moved, Verification};
use crate::store::MadeBy;
use crate::store::sqlite::format::header::Own;
use crate::store::sqlite::tighten_database;
use crate::store::user::PairOutcome;

/// How often a copy is checked as a whole without being asked for.
const CHECK_EVERY: SignedDuration = SignedDuration::from_hours(24);

/// The import of one copy.
pub(in super::super) struct CopyImport {
    standby: Standby,
    importer: Importer,
    order: Order,
    /// What is remembered of a copy that nothing stands against leaving as it is.
    idle: Option<State>,
    opened: Option<Opened>,
    /// The source's.
    rights: Rights,
    /// The day that deletions are counted in.
    day: Option<Day>,
}

/// What the copy's place was found to hold.
enum Opened {
    /// Nothing that can be continued.
    New {
        file: NewFile,
        seed: Seed,
        lost: Lost,
        /// How many pages an earlier attempt left that are gone on with.
        begun: Option<usize>,
    },
    Over(Box<Over>),
}

/// What a copy that is made anew does not lead back to.
enum Lost {
    Nothing,
    History,
    Copy,
}

/// A copy that is continued.
struct Over {
    existing: Existing,
    /// By which its pages are compared.
    hashes: Arc<[u128]>,
    staged: Staged,
}

impl Standby {
    /// Begins an import, which nobody else does meanwhile.
    ///
    /// # Errors
    /// As for [`super::super::end::UserEnd::import`].
    pub(in super::super) fn import(&self, order: Order) -> Result<CopyImport> {
        let importer = Importer::enter(&self.path, Owner::of(&order), &order.cancel)?;
        let idle = self.idle(&order)?;
        Ok(CopyImport {
            standby: self.clone(),
            importer,
            order,
            idle,
            opened: None,
            rights: Rights::PRIVATE,
            day: None,
        })
    }

    /// What is remembered of a copy that nothing but a change of its source asks to be written to.
    pub(super) fn idle(&self, order: &Order) -> Result<Option<State>> {
        let holds = |state: &State| {
            !order.verify && !is_due(state, order.now) && state.patterns == patterns(&self.exclude)
        };
        let glance = self.glance()?;
        let is_left = self.is_as_left(&glance) && glance.header.is_some_and(|header| header.is_fenced());
        Ok(glance.known.filter(|state| is_left && holds(state)))
    }

    /// What is known of the pages of a copy, for whoever hands on those that differ.
    pub(super) fn base(&self, existing: &Existing, order: &Order, scratch: PathBuf) -> Result<Base> {
        let (seed, hashes) = if order.verify {
            (Seed::Strong, self.strong_hashes(existing, &order.cancel)?.into())
        } else {
            (existing.seed, Arc::clone(&existing.hashes))
        };
        let mark = existing.state.as_ref().map(|state| state.source.clone()).filter(|_| !order.verify);
        Ok(Base { seed, hashes, layout: Some(existing.header.layout), mark, scratch })
    }
}

/// Whether a copy has to be checked as a whole.
pub(super) fn is_due(state: &State, now: Timestamp) -> bool {
    state.checked.at.unwrap_or(state.at).saturating_add(CHECK_EVERY).is_ok_and(|due| due <= now)
}

impl PageSink for CopyImport {
    fn put(&self, first: u32, content: &[u8], page_size: usize) -> Result<()> {
        match &self.opened {
            Some(Opened::New { file, .. }) => file.put(first, content, page_size),
            Some(Opened::Over(over)) => over.staged.put(first, content, page_size),
            None => Ok(()),
        }
    }

    fn reset(&self) -> Result<()> {
        match &self.opened {
            // The next pass writes every page again.
            Some(Opened::New { .. }) | None => Ok(()),
            Some(Opened::Over(over)) => over.staged.reset(),
        }
    }
}

impl Import for CopyImport {
    fn known(&self) -> Option<&Mark> {
        self.idle.as_ref().map(|state| &state.source)
    }

    fn confirm(mut self: Box<Self>, seen: &Seen) -> Result<()> {
        // A copy may be as open as its source, and no more.
        tighten_database(&self.standby.path, seen.rights);
        self.importer.pass()?;
        let Some(mut state) = self.idle.take() else { return Ok(()) };
        state.confirmed = self.order.now;
        state.rights = Some(seen.rights);
        self.standby.state_file().touch(&state)
    }

    fn open(&mut self, seen: &Seen) -> Result<Base> {
        self.rights = seen.rights;
        let standby = &self.standby;
        // The rights of what is not ours are not ours to change.
        standby.require_ours()?;
        tighten_database(&standby.path, seen.rights);
        let scratch = standby.folder();
        let lost = match standby.settle(&self.importer, self.order.verify, &self.order.cancel)? {
            Found::Existing(existing) => return self.open_over(*existing),
            Found::Missing if standby.history().is_empty() => Lost::Nothing,
            Found::Missing => Lost::History,
            Found::Unreadable => Lost::Copy,
        };
        let seed = Seed::new();
        if let Some((file, partial)) =
            standby.begun_new(&mut self.importer, (seed, seen.rights), &self.order.cancel)?
        {
            let begun = Some(partial.hashes.len());
            self.opened = Some(Opened::New { file, seed, lost, begun });
            return Ok(Base {
                seed,
                hashes: partial.hashes,
                layout: Some(partial.layout),
                mark: None,
                scratch,
            });
        }
        let file = standby.begin_new(&mut self.importer, seen.rights)?;
        self.opened = Some(Opened::New { file, seed, lost, begun: None });
        Ok(Base { seed, hashes: Arc::new([]), layout: None, mark: None, scratch })
    }

    fn commit(mut self: Box<Self>, exported: Exported) -> Result<PairOutcome> {
        match self.opened.take() {
            Some(Opened::New { file, seed, lost, begun }) => {
                self.publish(file, seed, (&lost, begun), &exported)
            }
            Some(Opened::Over(over)) => self.follow(*over, exported),
            None => Ok(PairOutcome::default()),
        }
    }
}

impl CopyImport {
    fn open_over(&mut self, existing: Existing) -> Result<Base> {
        let base = self.standby.base(&existing, &self.order, self.standby.folder())?;
        let hashes = Arc::clone(&base.hashes);
        let staged = Staged::new(&base.scratch);
        self.opened = Some(Opened::Over(Box::new(Over { existing, hashes, staged })));
        Ok(base)
    }

    fn go_on(&self) -> Result<()> {
        if self.order.cancel.is_cancelled() { Err(Error::cancelled()) } else { Ok(()) }
    }

    fn publish(
        &self,
        file: NewFile,
        seed: Seed,
        (lost, begun): (&Lost, Option<usize>),
        exported: &Exported,
    ) -> Result<PairOutcome> {
        if begun.is_some() {
            self.standby.require_whole(&file, exported, seed, &self.order.cancel)?;
        }
        // Whoever has a copy open that cannot be read goes on with its file, and must not meet a number that he knows.
        let left = self.standby.state_file().load().filter(|_| matches!(lost, Lost::Copy));
        let left = left.map_or((0, 0), |it| (it.change_counter, it.schema_cookie));
        let own = Own {
            change_counter: exported.mark.change_counter.max(left.0).wrapping_add(1),
            schema_cookie: exported.mark.schema_cookie.max(left.1).wrapping_add(1),
            versions: None,
        };
        // A copy of a damaged store is better than none; what is wrong with it is said, and from then on only what is new counts.
        let findings = if exported.suspects.is_empty() { Vec::new() } else { damage::findings(&file.path)? };
        self.go_on()?;
        self.importer.require()?;
        let moved = self.standby.publish(file, exported, own, &self.order.cancel)?;
        let mut outcome = self.outcome(exported, moved);
        outcome.details.extend(begun.map(|pages| {
            format!("Went on with a first copy that had not come to its end: {pages} pages were there.")
        }));
        match lost {
            Lost::Nothing => {}
            Lost::History => outcome.details.push(
                "The copy was gone and was made anew; earlier states of it cannot be restored.".to_owned(),
            ),
            Lost::Copy => outcome.warnings.push(
                "The copy could not be read and was made anew; earlier states of it cannot be restored."
                    .to_owned(),
            ),
        }
        let source = &self.order.source;
        outcome.warnings.extend(damage::damage(source, &findings, exported.suspects.first()));
        let checked = Checked { at: None, findings: damage::marks(&findings) };
        self.remember(exported, seed, own, None, checked, None, &mut outcome);
        self.tell_of_schema(&mut outcome);
        Ok(outcome)
    }

    fn follow(&mut self, over: Over, mut exported: Exported) -> Result<PairOutcome> {
        let Over { existing, hashes, staged } = over;
        let (now, verify, source) = (self.order.now, self.order.verify, self.order.source.clone());
        let ready = staged.finish();
        let is_same = existing.is_in(&exported, &hashes);
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
        self.day = known.and_then(|known| known.day);
        let mut checked = known.map(|known| known.checked.clone()).unwrap_or_default();
        let has_to_check = existing.has_to_check(&self.order, &exported, is_same);
        let still = Cell::new(None);
        let check = || {
            if !has_to_check {
                return Ok(());
            }
            let suspect = exported.suspects.first();
            let found = damage::check(&self.standby.path, suspect, &source, &checked.findings, verify)?;
            still.set(Some(found));
            Ok(())
        };
        let new_state = || self.standby.to_compare(&existing, &ready, &exported);
        let differing = if verify { differing(&existing, &exported, &ready) } else { Vec::new() };
        let rows = if !differing.is_empty() || existing.is_touched && !is_same {
            // While both are there to be compared.
            rows_that_differ(new_state(), self.standby.path(), &existing, &exported, &self.order.cancel)
        } else {
            Vec::new()
        };
        let mut outcome;
        if is_same {
            self.importer.pass()?;
            outcome = self.outcome(&exported, Moved::default());
            check()?;
        } else {
            self.importer.begin()?;
            let before = loss::Before::of(
                &self.standby,
                &existing,
                &exported,
                &ready,
                self.order.accept_deletions,
                now,
            )?;
            self.day = before.day();
            let commit = Commit {
                importer: &self.importer,
                copy: &existing,
                exported: &exported,
                ready: &ready,
                own,
                rights: self.rights,
                cancel: &self.order.cancel,
                before_at: existing.at.min(now),
                before_by: existing.job,
                reason: before.reason(),
                is_other: before.is_other(),
            };
            let judge = || check().and_then(|()| before.judge(&self.standby.path));
            let lost = self.standby.commit(&commit, &judge).map_err(|error| {
                before.naming_rows(error, self.standby.path(), &self.order.cancel, new_state)
            })?;
            outcome = self.outcome(&exported, existing.moves(&exported, &ready));
            outcome.warnings.extend(before.warnings());
            outcome.warnings.extend(lost.map(|error| {
                format!("The state before this sync cannot be restored, because the history could not be written: {}", error.message)
            }));
        }
        if let Some(still) = still.take() {
            // What was mended is new, should it come again.
            checked = Checked { at: Some(now), findings: still };
        }
        if existing.is_touched {
            let text = "The copy had been changed by somebody else; every page was compared and put right.";
            outcome.warnings.push(text.to_owned());
        }
        outcome.details.extend(rows);
        if verify {
            outcome.verification = Some(verification(&exported, &differing));
            outcome.details.extend(damage::owners(&self.standby.path, &differing));
            exported.hashes =
                self.standby.hashes_of(exported.layout, exported.pages, existing.seed, &self.order.cancel)?;
        }
        let held = existing.is_remembered.then_some(&*existing.hashes);
        // A state is known by the time at which it was first seen, and by the job that made it.
        let since = is_same.then_some((existing.at.min(now), existing.job));
        let has_new_schema =
            known.is_none_or(|known| known.source.schema_cookie != exported.mark.schema_cookie);
        self.remember(&exported, existing.seed, own, since, checked, held, &mut outcome);
        let has_new_patterns = known.is_none_or(|known| known.patterns != patterns(&self.standby.exclude));
        if verify || has_new_schema || has_new_patterns {
            self.tell_of_schema(&mut outcome);
        }
        self.standby.thin_history(own.change_counter, now, &mut outcome.warnings);
        Ok(outcome)
    }

    #[expect(clippy::too_many_arguments, reason = "the end of both kinds of imports")]
    fn remember(
        &self,
        exported: &Exported,
        seed: Seed,
        own: Own,
        since: Option<(Timestamp, Option<MadeBy>)>,
        checked: Checked,
        before: Option<&[u128]>,
        outcome: &mut PairOutcome,
    ) {
        // Hosts know times to the millisecond, and ask for a state by what they were told.
        let now = Timestamp::from_millisecond(self.order.now.as_millisecond()).unwrap_or(self.order.now);
        let (at, job) = since.unwrap_or((now, self.order.job));
        let committed = Committed {
            seed,
            layout: exported.layout,
            pages: exported.pages,
            own,
            source: exported.mark.clone(),
            at,
            job,
            confirmed: self.order.now,
            checked,
            rights: self.rights,
            patterns: patterns(&self.standby.exclude),
            day: self.day,
        };
        // The copy is good; only the next job has to read it.
        if let Err(error) = self.standby.remember(committed, &exported.hashes, before) {
            outcome.warnings.push(format!("The next sync reads the whole copy: {}", error.message));
        }
    }

    /// What the schema tells that an administrator should know.
    fn tell_of_schema(&self, outcome: &mut PairOutcome) {
        let (copy, exclude) = (&self.standby.path, &self.standby.exclude);
        outcome.warnings.extend(former::idle_patterns(copy, exclude));
        outcome.warnings.extend(former::warning(&former::in_copy(copy)));
        outcome.details.extend(former::not_understood(copy));
    }

    fn outcome(&self, exported: &Exported, moved: Moved) -> PairOutcome {
        let mut outcome = PairOutcome { moved, ..PairOutcome::default() };
        outcome.details.push(exported.way.describe().to_owned());
        if exported.attempts > 1 {
            outcome.details.push(format!("{} attempts; the store was changing.", exported.attempts));
        }
        if exported.undone {
            outcome.warnings.push(format!(
                "A server did not finish its last transaction at {}: the copy has the state before it. The server undoes it when it starts.",
                self.order.source.display()
            ));
        }
        outcome
    }
}

/// Lines on the rows that the copy has otherwise than the state that it is brought to.
fn rows_that_differ(
    new_state: Result<impl AsRef<Path>>,
    copy: &Path,
    existing: &Existing,
    exported: &Exported,
    cancel: &CancellationToken,
) -> Vec<String> {
    let compared = match new_state.and_then(|new| compare::compare(copy, new.as_ref(), cancel)) {
        Ok(compared) => compared,
        Err(error) => return vec![format!("The rows that differed are not named: {}", error.message)],
    };
    let mut lines = compared.lines(["only in the source", "only in the copy"]);
    if lines.is_empty() {
        lines.push("No row of a table differed.".to_owned());
    } else if !is_unchanged(existing, exported) {
        lines.push("Among these rows are those that the server has changed since the last sync.".to_owned());
    }
    lines
}

/// Whether the source has not changed since the copy was brought up to it.
fn is_unchanged(existing: &Existing, exported: &Exported) -> bool {
    existing.known().is_some_and(|known| known.source.is_same_state(&exported.mark))
}

/// Pages of a copy that were not as they were left, or differ from a source that has not changed since.
fn differing(existing: &Existing, exported: &Exported, ready: &Ready) -> Vec<u32> {
    let was_unchanged = is_unchanged(existing, exported);
    let mut pages = existing.spoiled.clone();
    pages.extend(ready.numbers().filter(|_| was_unchanged));
    pages.sort_unstable();
    pages.dedup();
    pages
}

/// What a comparison of every page found.
fn verification(exported: &Exported, differing: &[u32]) -> Verification {
    Verification {
        compared_items: exported.pages.into(),
        differing_items: differing.len() as u64,
        repaired_items: differing.len() as u64,
        ..Verification::requested()
    }
}
