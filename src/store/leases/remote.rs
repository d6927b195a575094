//! Leases that lie at another machine, at the pool that receives: a job that gives something back to its own pool takes one there.
//!
//! The owner of a lease that is taken this way is the helper's process. Where it dies, whoever is at that machine knows it at once; where
//! the line dies, the helper ends by itself.
//!
//! What is asked and answered are documents: what is stored of a lease grows, and an older build passes over what it does not know.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use super::journal::{Journal, NotedStep, Resumed};
use super::sqlite::SqliteLeases;
use super::{Acquired, Claim, Holder, Lease, LeaseOwner, Leases, PATIENCE, StoredState};
use crate::clock::SystemClock;
use crate::error::{Error, ErrorKind, Result};
use crate::platform::host_name;
use crate::report::Outcome;
use crate::store::remote::{Grant, Opened, RemotePlace, ServedPlace};
use crate::store::sqlite::is_own_database;
use crate::store::{Generation, Until, fenced};
use crate::topology::{Engine, PoolFqdn, StoreUrl};
use crate::wire::{decode, document, encode};

/// The number of the message about leases.
pub(in crate::store) const LEASE: u8 = 10;

/// The table by which a service store is known.
const TABLE: &str = "csb_lease";

/// What is asked of a service store.
#[derive(Debug, Serialize, Deserialize)]
enum Question {
    Acquire(Claim),
    Renew(Lease),
    Release(Lease),
    Holder(PoolFqdn),
    State { pool: PoolFqdn, module: String },
    SetState { lease: Lease, module: String, state: StoredState },
    HasStates(PoolFqdn),
    ForgetStates(Lease),
    BeginList { lease: Lease, command: String, resumable: Vec<NotedStep>, now: Timestamp },
    BeginStep { lease: Lease, command: String, step: NotedStep, now: Timestamp },
    EndStep { lease: Lease, number: u32, outcome: Outcome, now: Timestamp },
    EndList { lease: Lease, outcome: Outcome, now: Timestamp },
}

impl Question {
    /// Whose direction it is about.
    fn pool(&self) -> &PoolFqdn {
        match self {
            Question::Acquire(claim) => &claim.pool,
            Question::Holder(pool) | Question::State { pool, .. } | Question::HasStates(pool) => pool,
            Question::Renew(lease)
            | Question::Release(lease)
            | Question::SetState { lease, .. }
            | Question::ForgetStates(lease)
            | Question::BeginList { lease, .. }
            | Question::BeginStep { lease, .. }
            | Question::EndStep { lease, .. }
            | Question::EndList { lease, .. } => &lease.pool,
        }
    }
}

#[derive(Debug, Serialize, Deserialize)]
struct Request {
    /// The service store, below the root.
    store: String,
    /// For how long other processes are waited for.
    wait_ms: u64,
    /// A [`Question`], as a document.
    question: String,
}

/// The service store of a pool at another machine.
pub(in crate::store) struct RemoteLeases {
    place: Arc<RemotePlace>,
    store: String,
}

impl RemoteLeases {
    /// The one at a URL of this place. Nothing is called yet.
    ///
    /// # Errors
    /// `InvalidValue`, `UnsupportedStore`: see [`RemotePlace::relative`].
    pub(in crate::store) fn new(place: &Arc<RemotePlace>, url: &StoreUrl) -> Result<Self> {
        Ok(RemoteLeases { store: place.relative(url)?, place: Arc::clone(place) })
    }

    fn ask<T: DeserializeOwned>(&self, question: &Question, until: &Until) -> Result<T> {
        let wait = until.deadline.saturating_duration_since(Instant::now());
        let question = document(question)?;
        let wait_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
        let request = Request { store: self.store.clone(), wait_ms, question };
        let answer: String = self.place.ask(LEASE, &request, &until.cancel)?;
        serde_json::from_str(&answer).map_err(|cause| not_read(&cause))
    }
}

fn not_read(cause: &serde_json::Error) -> Error {
    Error::new(
        ErrorKind::PeerIncompatible,
        "What is said of a lease is not understood.",
        "Install the same release of CsBackup on both machines.",
    )
    .caused_by(cause)
}

impl Leases for RemoteLeases {
    fn acquire(&self, claim: &Claim, until: &Until) -> Result<Acquired> {
        self.ask(&Question::Acquire(claim.clone()), until)
    }

    fn renew(&self, lease: &Lease, until: &Until) -> Result<()> {
        self.ask(&Question::Renew(lease.clone()), until)
    }

    fn release(&self, lease: &Lease, until: &Until) -> Result<()> {
        self.ask(&Question::Release(lease.clone()), until)
    }

    fn holder(&self, pool: &PoolFqdn, until: &Until) -> Result<Option<Holder>> {
        self.ask(&Question::Holder(pool.clone()), until)
    }

    fn state(&self, pool: &PoolFqdn, module: &str, until: &Until) -> Result<Option<StoredState>> {
        self.ask(&Question::State { pool: pool.clone(), module: module.to_owned() }, until)
    }

    fn set_state(&self, lease: &Lease, module: &str, state: &StoredState, until: &Until) -> Result<()> {
        let (lease, module, state) = (lease.clone(), module.to_owned(), state.clone());
        self.ask(&Question::SetState { lease, module, state }, until)
    }

    fn has_states(&self, pool: &PoolFqdn, until: &Until) -> Result<bool> {
        self.ask(&Question::HasStates(pool.clone()), until)
    }

    fn forget_states(&self, lease: &Lease, until: &Until) -> Result<usize> {
        self.ask(&Question::ForgetStates(lease.clone()), until)
    }
}

impl Journal for RemoteLeases {
    fn begin_list(
        &self,
        lease: &Lease,
        command: &str,
        resumable: &[NotedStep],
        now: Timestamp,
        until: &Until,
    ) -> Result<Option<Resumed>> {
        let (lease, command, resumable) = (lease.clone(), command.to_owned(), resumable.to_vec());
        self.ask(&Question::BeginList { lease, command, resumable, now }, until)
    }

    fn begin_step(
        &self,
        lease: &Lease,
        command: &str,
        step: &NotedStep,
        now: Timestamp,
        until: &Until,
    ) -> Result<()> {
        let (lease, command, step) = (lease.clone(), command.to_owned(), step.clone());
        self.ask(&Question::BeginStep { lease, command, step, now }, until)
    }

    fn end_step(
        &self,
        lease: &Lease,
        number: u32,
        outcome: Outcome,
        now: Timestamp,
        until: &Until,
    ) -> Result<()> {
        self.ask(&Question::EndStep { lease: lease.clone(), number, outcome, now }, until)
    }

    fn end_list(&self, lease: &Lease, outcome: Outcome, now: Timestamp, until: &Until) -> Result<()> {
        self.ask(&Question::EndList { lease: lease.clone(), outcome, now }, until)
    }
}

/// The leases of one session. They are given back where the caller goes without doing so: the store refuses what a call of it that has not
/// ended yet still writes, once somebody else has the next generation.
#[derive(Default)]
pub(in crate::store) struct ServedLeases {
    state: Mutex<HeldLeases>,
}

#[derive(Default)]
struct HeldLeases {
    held: Vec<(PathBuf, Lease)>,
    has_caller_gone: bool,
}

impl ServedLeases {
    /// Answers a message about leases.
    ///
    /// # Errors
    /// What the store says; `PeerRefused` for another direction than the partner's own.
    pub(in crate::store) fn serve(
        &self,
        place: &ServedPlace,
        request: &[u8],
        cancel: &CancellationToken,
    ) -> Result<Vec<u8>> {
        encode(&self.answered(place, decode(request)?, cancel)?)
    }

    /// The caller has gone: gives back what is still held, and what a call that has not ended takes from now on.
    pub(in crate::store) fn give_back(&self) {
        let held = {
            let mut state = self.state();
            state.has_caller_gone = true;
            std::mem::take(&mut state.held)
        };
        held.into_iter().for_each(|(path, lease)| give_back(path, &lease));
    }

    fn hold(&self, path: PathBuf, lease: Lease) {
        let mut state = self.state();
        if state.has_caller_gone {
            drop(state);
            give_back(path, &lease);
        } else if !state.held.iter().any(|(_, held)| *held == lease) {
            state.held.push((path, lease));
        }
    }

    fn state(&self) -> MutexGuard<'_, HeldLeases> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn answered(&self, place: &ServedPlace, request: Request, cancel: &CancellationToken) -> Result<String> {
        let Request { store, wait_ms, question } = request;
        let opened = place.open(Engine::Sqlite, &store, Grant::Read)?;
        let question: Question = serde_json::from_str(&question).map_err(|cause| not_read(&cause))?;
        if question.pool() != place.partner() {
            return Err(Error::new(
                ErrorKind::PeerRefused,
                format!("The lease of {} is none of {}'s.", question.pool(), place.partner()),
                "A partner may hold the lease of its own data only.",
            ));
        }
        let until = Until::cancelled_by(cancel, Duration::from_millis(wait_ms).min(PATIENCE * 6));
        if let Question::Release(lease) = &question {
            self.state().held.retain(|(_, held)| held != lease);
        }
        let (answer, lease) = answer(place, &opened, question, &until)?;
        if let Some(lease) = lease {
            self.hold(opened.path, lease);
        }
        Ok(answer)
    }
}

/// Where that fails, this process ends soon, and everybody at the machine sees that it has.
fn give_back(path: PathBuf, lease: &Lease) {
    let _ = leases_at(path).release(lease, &Until::within(PATIENCE));
}

fn leases_at(path: PathBuf) -> SqliteLeases {
    SqliteLeases::new(path, Arc::new(SystemClock::new()))
}

/// Refuses whoever does not hold the lease of a direction with this generation: what is written with one that was never given out would
/// keep everybody else from writing for good.
///
/// # Errors
/// `Fenced`; `PeerRefused`; when the leases cannot be read.
pub(crate) fn require_current(
    place: &ServedPlace,
    leases: &StoreUrl,
    pool: &PoolFqdn,
    generation: Generation,
    cancel: &CancellationToken,
) -> Result<()> {
    let url = place.open_url(leases, Grant::Write)?;
    let path = url.local_path()?;
    let holder = if is_own_database(path, TABLE)? {
        leases_at(path.to_owned()).holder(pool, &Until::cancelled_by(cancel, PATIENCE))?
    } else {
        None
    };
    match holder {
        Some(holder) if holder.generation == generation => Ok(()),
        _ => Err(fenced(pool)),
    }
}

/// The answer, and the lease that is held from then on.
fn answer(
    place: &ServedPlace,
    opened: &Opened,
    question: Question,
    until: &Until,
) -> Result<(String, Option<Lease>)> {
    let reads = matches!(question, Question::Holder(_) | Question::State { .. } | Question::HasStates(_));
    // Whoever only reads makes no service store from afar, and nobody makes one of a database that is something else.
    if !opened.path.exists() && reads {
        let nothing = match question {
            Question::HasStates(_) => document(&false),
            _ => document(&None::<()>),
        };
        return Ok((nothing?, None));
    }
    // Who may write the copy may make what belongs to it.
    let makes = !opened.path.exists()
        && matches!(question, Question::Acquire(_))
        && place.grants().require(Grant::Write).is_ok();
    if !makes && !is_own_database(&opened.path, TABLE)? {
        return Err(Error::new(
            ErrorKind::StoreUnavailable,
            format!("There is no service store at {}.", opened.path.display()),
            "Run a sync at that machine first: it makes one.",
        )
        .at("store", &opened.url));
    }
    let (leases, mut held) = (leases_at(opened.path.clone()), None);
    let answer = match question {
        Question::Acquire(claim) => {
            let owner = LeaseOwner::current(&format!("{} (for {})", host_name(), claim.owner.machine));
            let answer = leases.acquire(&Claim { owner, ..claim }, until)?;
            if let Acquired::Held(lease) = &answer {
                held = Some(lease.clone());
            }
            document(&answer)
        }
        Question::Renew(lease) => {
            let owner = LeaseOwner::current(&host_name());
            leases.take_up(&lease, &owner, until)?;
            held = Some(lease);
            document(&())
        }
        Question::Release(lease) => document(&leases.release(&lease, until)?),
        Question::Holder(pool) => document(&leases.holder(&pool, until)?),
        Question::State { pool, module } => document(&leases.state(&pool, &module, until)?),
        Question::SetState { lease, module, state } => {
            document(&leases.set_state(&lease, &module, &state, until)?)
        }
        Question::HasStates(pool) => document(&leases.has_states(&pool, until)?),
        Question::ForgetStates(lease) => document(&leases.forget_states(&lease, until)?),
        Question::BeginList { lease, command, resumable, now } => {
            document(&leases.begin_list(&lease, &command, &resumable, now, until)?)
        }
        Question::BeginStep { lease, command, step, now } => {
            document(&leases.begin_step(&lease, &command, &step, now, until)?)
        }
        Question::EndStep { lease, number, outcome, now } => {
            document(&leases.end_step(&lease, number, outcome, now, until)?)
        }
        Question::EndList { lease, outcome, now } => document(&leases.end_list(&lease, outcome, now, until)?),
    };
    Ok((answer?, held))
}

#[cfg(test)]
mod tests;
