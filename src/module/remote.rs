//! A module that writes at another machine: its cycles run in the helper there, which calls back for what the other store of the pair is asked.
//!
//! ```text
//!   this machine                                    the machine that is written to
//!   Remote::run_cycle ─── cycle, as a document ───► served: Stores::open, run_cycle
//!   its own stores    ◄── questions, in the call ── the pair's other end
//!   report            ◄── progress, outcome ───────
//! ```
//!
//! So walks, hashes, locks, staging, the index and the history are where the bytes are, and what is written needs no rules of its own. The
//! store that is read may be at a third machine: then its helper is asked, through this one.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::sync_channel;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use super::stores::{Stores, Written};
use super::{
    BackupModule, Context, CycleFailure, CycleOutcome, CycleResult, GiveBack, Look, Loss, ModuleId, Names,
    Observation, Observer, Progress, Restored, StoreState, WantedState,
};
use crate::error::{Error, Result};
use crate::report::{Change, ChangeKind};
use crate::store::remote::{CalledBack, PassedOn, RemotePlace, ServedPlace};
use crate::store::served::ServedStores;
use crate::store::{Generation, MadeBy, Reach, Trace};
use crate::topology::{PoolFqdn, StoreUrl};
use crate::wire::{Answers, answer_within, document};

pub(super) mod served;
#[cfg(test)]
mod tests;

/// The numbers of the messages about modules.
pub(super) mod message {
    /// Looks at both stores, and says what a cycle would do.
    pub(in crate::module) const OBSERVE: u8 = 80;
    /// Runs a cycle.
    pub(in crate::module) const CYCLE: u8 = 81;
    /// Gives back what was lost.
    pub(in crate::module) const GIVE_BACK: u8 = 82;
}

/// What a part of an answer begins with.
mod tag {
    /// It is of the session in which the helper calls back.
    pub(super) const BACK: u8 = 0;
    /// It is a [`Told`](super::Told), as a document.
    pub(super) const TOLD: u8 = 1;
    /// It belongs to the outcome, which is a document.
    pub(super) const OUTCOME: u8 = 2;
}

/// How long an outcome may be. It names the first of everything only.
const MOST_OUTCOME_BYTES: usize = 64 << 20;

/// How many warnings of one call are believed: the log of a job keeps each.
const MOST_WARNINGS: usize = 10_000;

/// How many parts for the session in which the helper calls back may wait.
const MOST_WAITING: usize = 16;

/// What is asked of the machine that is written to. A document: a newer build adds to it.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Asked {
    /// Whose data it is.
    pool: PoolFqdn,
    /// The stores; the URLs of those at that machine are relative to its root.
    stores: Stores,
    /// Where what is called back for is.
    other: CalledBack,
    /// The leases of this direction, relative to the root; none for what is given back.
    leases: Option<StoreUrl>,
    #[serde(flatten)]
    order: Order,
}

/// With what it is asked.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Order {
    generation: Generation,
    accept_deletions: bool,
    verify: bool,
    #[serde(default)]
    thorough: bool,
    /// Whether each change is told by name.
    #[serde(default)]
    names: bool,
    job: Option<MadeBy>,
}

/// Whom the helper's words are for.
enum Listener<'a> {
    Cycle(&'a dyn Observer),
    Look(Option<&'a Names>),
}

/// What the helper tells while it works.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
enum Told {
    Progress(Progress),
    Warning(String),
    Changed(ChangeKind, Change),
}

/// How a cycle ended.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Ended {
    done: CycleOutcome,
    error: Option<Error>,
}

/// Where the stores of one pool of a direction are.
#[derive(Clone, Debug)]
pub struct At {
    /// The pool.
    pub pool: PoolFqdn,
    /// How they are reached.
    pub reach: Reach,
}

/// One module of a direction of which at least one place is at another machine.
pub struct Remote {
    /// What reads both from here.
    local: Arc<dyn BackupModule>,
    stores: Stores,
    source: At,
    copy: At,
    leases: StoreUrl,
    /// The name of this machine.
    machine: String,
    /// Where what is remembered of this machine's stores lies, for whoever reads them.
    state: PathBuf,
}

impl Remote {
    /// The module over these stores, at these places. `leases` are those of the direction, at the place of the copies.
    ///
    /// # Errors
    /// As for [`Stores::open`].
    pub fn new(
        stores: Stores,
        source: At,
        copy: At,
        leases: StoreUrl,
        machine: String,
        state: PathBuf,
    ) -> Result<Self> {
        let local = stores.open(&source.pool, &source.reach, &copy.reach)?;
        Ok(Remote { local, stores, source, copy, leases, machine, state })
    }

    /// Who writes at one of both places, where that is another machine, and what it calls back for.
    fn writer(&self, written: Written) -> Option<(&Arc<RemotePlace>, &At)> {
        let (at, other) = match written {
            Written::Copy => (&self.copy, &self.source),
            Written::Source => (&self.source, &self.copy),
        };
        // Where nothing is copied, nobody has to be asked.
        let has_stores = !self.stores.at(written).is_empty();
        at.reach.place().filter(|_| has_stores).map(|place| (place, other))
    }

    fn asked(&self, written: Written, place: &RemotePlace, other: &At, order: Order) -> Result<Asked> {
        let below_root = |url: &StoreUrl| place.below_root(url);
        Ok(Asked {
            pool: self.source.pool.clone(),
            stores: self.stores.clone().changed_at(written, below_root)?,
            other: CalledBack::of(other.pool.clone(), &other.reach, &self.machine),
            leases: match written {
                Written::Copy => Some(below_root(&self.leases)?),
                Written::Source => None,
            },
            order,
        })
    }

    /// What answers for the stores that are read: whoever is called may see them, and no others.
    fn service(&self, written: Written, place: &RemotePlace, other: &At) -> Result<Arc<dyn Answers>> {
        let read = match written {
            Written::Copy => Written::Source,
            Written::Source => Written::Copy,
        };
        Ok(match &other.reach {
            Reach::There(there) => Arc::new(PassedOn::new(Arc::clone(there))),
            Reach::Here => {
                let (own, partner) = (other.pool.clone(), place.pool().clone());
                let only = ServedPlace::only(own, partner, &self.stores.at(read), &self.state)?;
                Arc::new(ServedStores::new(only))
            }
        })
    }

    /// Lets the helper do it, and tells what it tells.
    fn run<T: DeserializeOwned>(
        &self,
        message: u8,
        written: Written,
        (place, other): (&Arc<RemotePlace>, &At),
        order: Order,
        (listener, cancel): (&Listener<'_>, &CancellationToken),
    ) -> Result<T> {
        let asked = document(&self.asked(written, place, other, order)?)?;
        let service = self.service(written, place, other)?;
        let mut call = place.call(message, &asked, cancel)?;
        let (back, parts) = sync_channel(MOST_WAITING);
        answer_within(call.sender(), parts, service)?;
        let (mut outcome, mut warnings) = (Vec::new(), 0);
        while let Some(part) = call.next()? {
            match part.split_first() {
                // Where nobody answers any more the helper finds out.
                Some((&tag::BACK, piece)) => drop(back.send(piece.to_vec())),
                Some((&tag::TOLD, told)) => {
                    let told = serde_json::from_slice(told).map_err(|_| call.not_understood())?;
                    warnings += usize::from(matches!(told, Told::Warning(_)));
                    if warnings > MOST_WARNINGS {
                        return Err(call.not_understood());
                    }
                    listener.hear(told);
                }
                Some((&tag::OUTCOME, piece)) if outcome.len() + piece.len() <= MOST_OUTCOME_BYTES => {
                    outcome.extend_from_slice(piece);
                }
                _ => return Err(call.not_understood()),
            }
        }
        call.answer::<()>()?;
        serde_json::from_slice(&outcome).map_err(|_| call.not_understood())
    }

    fn cycle(&self, message: u8, written: Written, context: &Context) -> Option<CycleResult> {
        let writer = self.writer(written)?;
        let order = Order {
            generation: context.generation,
            accept_deletions: context.accept_deletions,
            verify: context.verify,
            thorough: false,
            names: true,
            job: context.job,
        };
        let listener = Listener::Cycle(context.observer.as_ref());
        let ended: Result<Ended> = self.run(message, written, writer, order, (&listener, &context.cancel));
        Some(match ended {
            Ok(Ended { done, error: None }) => Ok(done),
            Ok(Ended { done, error: Some(error) }) => {
                let error = error.at("place", writer.0);
                Err(CycleFailure { error, done: Box::new(done) })
            }
            Err(error) => Err(error.into()),
        })
    }
}

impl Listener<'_> {
    fn hear(&self, told: Told) {
        match (self, told) {
            (Listener::Cycle(observer), Told::Progress(progress)) => observer.progress(progress),
            (Listener::Cycle(observer), Told::Warning(message)) => observer.warning(message),
            (Listener::Cycle(observer), Told::Changed(kind, change)) => observer.changed(kind, &change),
            (Listener::Look(Some(Names(tell))), Told::Changed(kind, change)) => tell(kind, &change),
            (Listener::Look(_), _) => {}
        }
    }
}

impl BackupModule for Remote {
    fn id(&self) -> ModuleId {
        self.local.id()
    }

    fn touches(&self) -> Vec<String> {
        self.local.touches()
    }

    fn touches_back(&self) -> Vec<String> {
        self.local.touches_back()
    }

    fn observe(&self, look: &Look) -> Result<Observation> {
        let Some(writer) = self.writer(Written::Copy) else { return self.local.observe(look) };
        let order = Order {
            accept_deletions: look.accept_deletions,
            verify: look.verify,
            thorough: look.thorough,
            names: look.names.is_some(),
            ..Order::default()
        };
        let listener = Listener::Look(look.names.as_ref());
        self.run(message::OBSERVE, Written::Copy, writer, order, (&listener, &look.cancel))
    }

    fn check(&self, look: &Look) -> Result<()> {
        self.local.check(look)
    }

    fn run_cycle(&self, context: &Context) -> CycleResult {
        let there = self.cycle(message::CYCLE, Written::Copy, context);
        there.unwrap_or_else(|| self.local.run_cycle(context))
    }

    fn cycle_observes(&self) -> bool {
        self.local.cycle_observes()
    }

    fn carry_back(&self, context: &Context) -> CycleResult {
        let there = self.cycle(message::GIVE_BACK, Written::Source, context);
        there.unwrap_or_else(|| self.local.carry_back(context))
    }

    fn observe_carry_back(&self, look: &Look) -> Result<GiveBack> {
        self.local.observe_carry_back(look)
    }

    fn loss(&self, look: &Look) -> Result<Loss> {
        self.local.loss(look)
    }

    fn states(&self) -> Result<Option<Vec<StoreState>>> {
        self.local.states()
    }

    fn find_state(&self, wanted: WantedState, to: &Path) -> Result<StoreState> {
        self.local.find_state(wanted, to)
    }

    fn restore_state(
        &self,
        wanted: WantedState,
        include: &[String],
        to: &Path,
        context: &Context,
    ) -> Result<Restored> {
        self.local.restore_state(wanted, include, to, context)
    }

    fn observe_disable(&self, look: &Look) -> Result<Vec<Trace>> {
        self.local.observe_disable(look)
    }

    fn disable(&self, context: &Context) -> Result<Vec<Trace>> {
        self.local.disable(context)
    }
}
