//! The end that answers for a user store of this machine.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::super::end::{Base, PageSink, Survey, UserEnd};
use super::super::local::LocalEnd;
use super::lists::List;
use super::parts::{Part, hashes_of, root_of};
use super::relay::{Relay, Turn};
use super::{
    ExportAnswer, ExportRequest, Known, SendAnswer, SendRequest, StandingAnswer, StoreName, SurveyAnswer,
    message, refusal,
};
use crate::error::{Error, ErrorKind, Result, Side};
use crate::store::remote::{Grant, ServedPlace, unknown_message};
use crate::store::{Generation, Until};
use crate::topology::{Engine, UserStoreConfig};
use crate::wire::{Served, decode, encode};

/// For how long a state is looked for at most, whatever the caller says.
const MOST_PATIENCE: Duration = Duration::from_secs(600);

/// How many hashes a caller may send that are more than the store has pages: a store may have become smaller.
const MOST_SUPERFLUOUS: u64 = 2 << 20;

/// How many pages that look wrong are told.
const MOST_SUSPECTS: usize = 1_000;

/// Answers a message about a user store.
///
/// # Errors
/// What the end says; `PeerRefused`, `PeerIncompatible`.
pub(in crate::store) fn serve(
    place: &ServedPlace,
    message: u8,
    request: &[u8],
    call: &Served,
) -> Result<Vec<u8>> {
    let known = || decode::<Known>(request);
    let store = || decode::<StoreName>(request);
    match message {
        message::LOOK => {
            let Known { store, mark } = known()?;
            encode(&end(place, &store)?.look(mark.as_ref())?.is_unchanged)
        }
        message::SURVEY => {
            let Known { store, mark } = known()?;
            let Survey { is_unchanged, pending, refused } = end(place, &store)?.survey(mark.as_ref())?;
            encode(&SurveyAnswer { is_unchanged, pending, refused: refusal(refused.as_ref()) })
        }
        message::IS_LOST => {
            let Known { store, mark } = known()?;
            encode(&end(place, &store)?.is_lost(mark.as_ref())?)
        }
        message::EXPORT => export(place, decode(request)?, call),
        message::STANDING => {
            let standing = end(place, &store()?)?.standing()?;
            encode(&StandingAnswer {
                refused: refusal(standing.refused.as_ref()),
                mark: standing.mark,
                revision: standing.revision,
                confirmed: standing.confirmed,
                is_touched: standing.is_touched,
            })
        }
        message::SIZE => encode(&end(place, &store()?)?.size()?),
        message::STATES => {
            let states = end(place, &store()?)?.states()?;
            // The newest first: older ones are left out where there are more than a frame holds.
            encode(&states.into_iter().take(MOST_STATES).collect::<Vec<_>>())
        }
        message::FORMER => encode(&end(place, &store()?)?.former()),
        message::SEND => send(place, decode(request)?, call),
        _ => Err(unknown_message(message)),
    }
}

/// How many states are listed.
const MOST_STATES: usize = 2_000;

fn end(place: &ServedPlace, store: &StoreName) -> Result<LocalEnd> {
    let opened = place.open(Engine::Sqlite, &store.path, Grant::Read)?;
    let mut config = UserStoreConfig::new(opened.url);
    config.server_waits = store.server_waits;
    // Nobody elsewhere lets servers here wait for longer than they notice.
    config.max_lock_ms = store.max_lock_ms.min(UserStoreConfig::MAX_LOCK_MS);
    Ok(LocalEnd::new(&opened.path, &config))
}

fn export(place: &ServedPlace, request: ExportRequest, call: &Served) -> Result<Vec<u8>> {
    let local = end(place, &request.store)?;
    let list = List::of(place.state(), local.path());
    let most = std::fs::metadata(local.path()).map_or(0, |file| file.len() / 512) + MOST_SUPERFLUOUS;
    if u64::from(request.pages) > most {
        return Err(others());
    }
    let hashes = hashes(&request, &list, call)?;
    let scratch = scratch(place.state());
    let base = Base {
        seed: request.seed,
        hashes,
        layout: request.layout,
        mark: request.mark,
        scratch: scratch.clone(),
    };
    let patience = Duration::from_millis(request.patience_ms).min(MOST_PATIENCE);
    let until = Until::cancelled_by(call.cancel(), patience);
    let exported = relayed(&scratch, call, |relay| local.export(&base, relay, &until))?;
    list.store(&exported.hashes);
    if let Some(content) = &exported.first_page {
        call.put(&Part::First { content }.bytes())?;
    }
    encode(&ExportAnswer {
        way: exported.way,
        attempts: exported.attempts,
        layout: exported.layout,
        pages: exported.pages,
        suspects: exported.suspects.into_iter().take(MOST_SUSPECTS).collect(),
        mark: exported.mark,
        undone: exported.undone,
        root: root_of(&exported.hashes),
    })
}

/// The hashes of the pages that the receiving end knows: remembered from the last time, or sent now.
fn hashes(request: &ExportRequest, list: &List, call: &Served) -> Result<Arc<[u128]>> {
    if request.pages == 0 {
        return Ok(Arc::new([]));
    }
    let remembered = if request.without_cache { None } else { list.load(&request.root) };
    if let Some(hashes) = remembered {
        return Ok(hashes);
    }
    call.put(&Part::Need.bytes())?;
    let mut hashes = Vec::new();
    while let Some(part) = call.next_part()? {
        hashes.extend(hashes_of(&part));
        if hashes.len() > request.pages as usize {
            break;
        }
    }
    if root_of(&hashes) != request.root {
        return Err(others());
    }
    Ok(hashes.into())
}

fn others() -> Error {
    Error::new(
        ErrorKind::InvalidRequest,
        "The hashes of the copy's pages are others than they were said to be.",
        "Run the command again; if it is said again, report this defect.",
    )
}

/// Where files without a name are made: what the helper remembers lies there too.
fn scratch(state: &Path) -> std::path::PathBuf {
    match crate::platform::create_folder(state) {
        Ok(()) => state.to_owned(),
        Err(_) => std::env::temp_dir(),
    }
}

/// Reads on a thread of its own, and hands on what it finds as fast as the line takes it.
fn relayed<T: Send>(
    scratch: &Path,
    call: &Served,
    read: impl FnOnce(&Relay) -> Result<T> + Send,
) -> Result<T> {
    let _turn = Turn::wait(call.cancel())?;
    let relay = Relay::new(scratch);
    std::thread::scope(|scope| {
        let reading = scope.spawn(|| {
            let _ends = Ends(&relay);
            read(&relay)
        });
        let sent = loop {
            match relay.next() {
                Ok(Some(part)) => {
                    if let Err(gone) = call.put(&part) {
                        // Whoever reads notices at its next block.
                        break Err(gone);
                    }
                }
                Ok(None) => break Ok(()),
                Err(failed) => break Err(failed),
            }
        };
        let read = reading.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        sent.and(read)
    })
}

/// Ends a relay, also where whoever fills it fails.
struct Ends<'a>(&'a Relay);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.end();
    }
}

fn send(place: &ServedPlace, request: SendRequest, call: &Served) -> Result<Vec<u8>> {
    let local = end(place, &request.store)?;
    // Handing on mends what a kill left, which is nobody's business at anything but a copy of ours.
    let standing = local.standing()?;
    if let Some(foreign) = standing.refused {
        return Err(foreign);
    }
    if standing.revision.is_none() {
        return Err(no_copy(local.path()));
    }
    let generation = Generation(request.generation);
    let sent = relayed(&scratch(place.state()), call, |relay| {
        local.send(request.revision, generation, relay as &dyn PageSink, call.cancel())
    });
    let sent = sent.map_err(Side::Export.failed())?;
    encode(&SendAnswer {
        state: sent.state,
        pages: sent.pages,
        page_size: sent.page_size,
        versions: sent.versions,
        findings: sent.findings.into_iter().take(MOST_SUSPECTS).collect(),
    })
}

fn no_copy(path: &Path) -> Error {
    Error::new(
        ErrorKind::StoreUnavailable,
        format!("There is no copy at {}.", path.display()),
        "Run a sync at that machine first: it makes one.",
    )
    .at("path", path.display())
}
