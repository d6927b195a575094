//! The helper's side: a cycle that writes to stores of this machine for the partner, as far as that was granted.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde::Serialize;

use super::super::stores::Written;
use super::super::{BackupModule, Context, CycleFailure, CycleResult, Look, Names, Observer, Progress};
use super::{Asked, Ended, Told, message, tag};
use crate::clock::SystemClock;
use crate::error::{Error, ErrorKind, Result};
use crate::report::{Change, ChangeKind};
use crate::store::leases::remote::require_current;
use crate::store::remote::{CalledBack, Grant, RemotePlace, ServedPlace, unknown_message};
use crate::store::{Reach, factory};
use crate::wire::{MOST_BYTES, Served, Tunnel, decode, document};

/// How often the caller is told how far it is.
const TOLD_EVERY: Duration = Duration::from_millis(100);

/// Answers a message about a module.
///
/// # Errors
/// What the caller is told: `PeerRefused` for what was not granted, or is nobody's to ask for from afar; what the module says.
pub(in crate::module) fn serve(
    place: &ServedPlace,
    message: u8,
    request: &[u8],
    call: &Served,
) -> Result<Vec<u8>> {
    let (written, grant) = match message {
        message::OBSERVE | message::CYCLE => (Written::Copy, Grant::Write),
        message::GIVE_BACK => (Written::Source, Grant::GiveBack),
        _ => return Err(unknown_message(message)),
    };
    place.grants().require(grant)?;
    let asked: Asked =
        serde_json::from_str(&decode::<String>(request)?).map_err(|cause| not_understood(&cause))?;
    let module = module(place, written, grant, &asked, call)?;
    let teller = Arc::new(Teller { call: call.clone(), told: Mutex::new(None) });
    let names = {
        let teller = Arc::clone(&teller);
        move |kind, change: &Change| teller.changed(kind, change)
    };
    if message == message::OBSERVE {
        let seen = module.observe(&Look {
            cancel: call.cancel().clone(),
            accept_deletions: false,
            verify: asked.order.verify,
            thorough: asked.order.thorough,
            names: asked.order.names.then(|| Names(Arc::new(names))),
        })?;
        return answer(&seen, call);
    }
    if let Some(leases) = &asked.leases {
        require_current(place, leases, &asked.pool, asked.order.generation, call.cancel())?;
    }
    let context = Context {
        generation: asked.order.generation,
        cancel: call.cancel().clone(),
        observer: teller,
        clock: Arc::new(SystemClock::new()),
        accept_deletions: false,
        verify: asked.order.verify,
        job: asked.order.job,
    };
    let ended = match written {
        Written::Copy => module.run_cycle(&context),
        Written::Source => module.carry_back(&context),
    };
    answer(&ended_as(ended), call)
}

fn ended_as(ended: CycleResult) -> Ended {
    match ended {
        Ok(done) => Ended { done, error: None },
        Err(CycleFailure { error, done }) => Ended { done: *done, error: Some(error) },
    }
}

/// The module that is asked for, over stores of this place and those that the caller is called back for.
fn module(
    place: &ServedPlace,
    written: Written,
    grant: Grant,
    asked: &Asked,
    call: &Served,
) -> Result<Arc<dyn BackupModule>> {
    let own = match written {
        Written::Copy => place.partner(),
        Written::Source => place.pool(),
    };
    if asked.pool != *own || asked.other.pool != *place.partner() {
        return Err(refused(
            &format!("This key may write what is {own}'s, for {}.", place.partner()),
            "Correct the pairing in the topology, or the forced command of the key.",
        ));
    }
    if asked.order.accept_deletions {
        return Err(refused(
            "-AcceptDeletions does not reach the copy at another machine.",
            "Look there at what is missing, and run the command there: whoever can take a pool over must not be able to empty its copy, too.",
        ));
    }
    let mut stores = asked.stores.clone().changed_at(written, |url| place.open_url(url, grant))?;
    if let Some(history) = stores.history_mut() {
        history.keep = history.keep.max(place.keep());
        history.is_strict = true;
    }
    if let (Written::Copy, Some((url, what))) = (written, stores.own_database()) {
        factory::require_own(url, what)?;
    }
    let other = Reach::There(called_back(&asked.other, call));
    let (at, copy_at) = match written {
        Written::Copy => (other, Reach::Here),
        Written::Source => (Reach::Here, other),
    };
    stores.open(&asked.pool, &at, &copy_at)
}

/// The place of the stores that the caller reads.
pub(super) fn called_back(other: &CalledBack, call: &Served) -> Arc<RemotePlace> {
    let (tunnel, shown) = (Tunnel::new(call, tag::BACK), other.to_string());
    other.through(Box::new(move |hello| tunnel.session(&shown, hello)))
}

fn refused(what: &str, advice: &str) -> Error {
    Error::new(ErrorKind::PeerRefused, what, advice)
}

fn not_understood(cause: &serde_json::Error) -> Error {
    Error::new(
        ErrorKind::PeerIncompatible,
        "What is asked of a module is not understood.",
        "Install the same release of CsBackup on both machines.",
    )
    .caused_by(cause)
}

/// Sends an outcome in parts.
fn answer(outcome: &impl Serialize, call: &Served) -> Result<Vec<u8>> {
    let outcome = document(outcome)?;
    for piece in outcome.as_bytes().chunks(MOST_BYTES - 1) {
        put(call, tag::OUTCOME, piece)?;
    }
    Ok(Vec::new())
}

fn put(call: &Served, tag: u8, content: &[u8]) -> Result<()> {
    let mut part = Vec::with_capacity(content.len() + 1);
    part.push(tag);
    part.extend_from_slice(content);
    call.put(&part)
}

/// Tells the caller how far it is.
struct Teller {
    call: Served,
    /// When it was told last, and of which activity.
    told: Mutex<Option<(Instant, String)>>,
}

impl Teller {
    fn tell(&self, told: &Told) {
        let Ok(told) = document(told) else { return };
        // Whoever does not listen any more has cancelled.
        let _ = put(&self.call, tag::TOLD, told.as_bytes());
    }
}

impl Observer for Teller {
    fn progress(&self, progress: Progress) {
        {
            let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
            let is_soon = |(at, activity): &(Instant, String)| {
                at.elapsed() < TOLD_EVERY && *activity == progress.activity
            };
            if told.as_ref().is_some_and(is_soon) {
                return;
            }
            *told = Some((Instant::now(), progress.activity.to_string()));
        }
        self.tell(&Told::Progress(progress));
    }

    fn warning(&self, message: String) {
        self.tell(&Told::Warning(message));
    }

    fn changed(&self, kind: ChangeKind, change: &Change) {
        self.tell(&Told::Changed(kind, change.clone()));
    }
}
