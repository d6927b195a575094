//! What a place says of itself: its account, what that may do with the stores, and how fast the line is.

use std::path::Path;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use super::{Grant, RemotePlace, ServedPlace, unknown_message};
use crate::error::{ErrorKind, Result};
use crate::platform::account_name;
use crate::store::access::{AccessCheck, StoreRole, look};
use crate::wire::{MOST_BYTES, Served, Welcome, decode, encode};

/// Asks for [`HelperRights`] of some stores.
const RIGHTS: u8 = 8;
/// Asks for so many bytes that cannot be compressed.
const BYTES: u8 = 9;

/// How many bytes the rate is measured with at most, and for how long.
const MOST_MEASURED: usize = 8 << 20;
const MEASURED_FOR: Duration = Duration::from_secs(2);

/// How often the round trip is measured; the shortest counts.
const ROUNDS: usize = 3;

/// Below which no rate is told.
const SHORTEST: Duration = Duration::from_micros(1);

/// The stores that are asked about, by their paths below the root. It never changes once it is released, as the others here.
#[derive(Debug, Serialize, Deserialize)]
struct Asked {
    stores: Vec<(StoreRole, String)>,
}

/// What a helper may do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HelperRights {
    /// The folder that its paths lie below.
    pub root: String,
    /// The account that it acts as.
    pub account: String,
    /// The time by its clock, in milliseconds since 1970.
    pub now_ms: i64,
    /// What that may do with each store.
    pub checks: Vec<AccessCheck>,
}

/// What was seen of a place and of the line to it.
#[derive(Clone, Debug)]
pub struct About {
    /// What it said when it was greeted.
    pub welcome: Welcome,
    /// The version of its program.
    pub program: String,
    /// What it may do.
    pub rights: HelperRights,
    /// How long it took until the first answer, with all that connecting takes.
    pub connecting: Duration,
    /// How long a call takes there and back, at best.
    pub round_trip: Duration,
    /// Bytes in a second, of what cannot be compressed.
    pub rate: Option<f64>,
    /// By how much its clock is ahead of this machine's, in milliseconds.
    pub clock_ahead_ms: i64,
}

impl RemotePlace {
    /// What the helper says of itself and of what it grants.
    ///
    /// # Errors
    /// `StoreUnavailable`, `PeerRefused`, `PeerIncompatible`; cancelled.
    pub fn welcome(&self, cancel: &CancellationToken) -> Result<Welcome> {
        self.at_first(|| self.ask::<HelperRights>(RIGHTS, &Asked { stores: Vec::new() }, cancel))?;
        let session = self.session()?;
        let said = session.welcome().map(|(welcome, _)| welcome.clone());
        said.ok_or_else(|| self.refuses("A session without a greeting"))
    }

    /// Whether this machine may do something there.
    ///
    /// # Errors
    /// As for [`RemotePlace::welcome`].
    pub fn grants(&self, grant: Grant) -> Result<bool> {
        let welcome = self.welcome(&CancellationToken::new())?;
        Ok(welcome.grants.iter().any(|named| named == grant.name()))
    }

    /// Looks at everything that a job needs there: the connection, the version, the grants, and the rights of its account.
    ///
    /// # Errors
    /// `StoreUnavailable`, `PeerRefused`, `PeerIncompatible`.
    pub fn about(&self, stores: Vec<(StoreRole, String)>, now_ms: impl Fn() -> i64) -> Result<About> {
        let cancel = CancellationToken::new();
        let began = Instant::now();
        let rights: HelperRights = self.ask(RIGHTS, &Asked { stores }, &cancel)?;
        let connecting = began.elapsed();
        let session = self.session()?;
        let Some((welcome, program)) = session.welcome().cloned() else {
            return Err(self.refuses("A session without a greeting"));
        };
        let (mut round_trip, mut clock_ahead_ms) = (Duration::MAX, 0);
        for _ in 0..ROUNDS {
            let (began, asked_at) = (Instant::now(), now_ms());
            let told: HelperRights = self.ask(RIGHTS, &Asked { stores: Vec::new() }, &cancel)?;
            let took = began.elapsed();
            if took < round_trip {
                // It told its time half way between the question and the answer.
                let half = i64::try_from(took.as_millis() / 2).unwrap_or_default();
                (round_trip, clock_ahead_ms) = (took, told.now_ms - asked_at - half);
            }
        }
        let rate = self.rate(&cancel)?;
        Ok(About { welcome, program, rights, connecting, round_trip, rate, clock_ahead_ms })
    }

    /// How many bytes come in a second.
    fn rate(&self, cancel: &CancellationToken) -> Result<Option<f64>> {
        let mut call = self.call(BYTES, &MOST_MEASURED, cancel)?;
        let (mut began, mut bytes) = (None, 0_usize);
        while let Some(part) = call.next()? {
            // The first part only starts the watch: before it lies a round trip.
            match began {
                None => began = Some(Instant::now()),
                Some(_) => bytes += part.len(),
            }
            if began.is_some_and(|began| began.elapsed() > MEASURED_FOR) {
                break;
            }
        }
        let took = began.map(|began| began.elapsed()).filter(|took| *took > SHORTEST);
        Ok(took.filter(|_| bytes > 0).map(|took| bytes as f64 / took.as_secs_f64()))
    }
}

impl ServedPlace {
    /// Answers what is asked of the place itself.
    ///
    /// # Errors
    /// What the caller is told.
    pub(in crate::store) fn serve_about(
        &self,
        message: u8,
        request: &[u8],
        call: &Served,
    ) -> Result<Vec<u8>> {
        match message {
            RIGHTS => self.rights(request),
            BYTES => bytes(request, call),
            _ => Err(unknown_message(message)),
        }
    }

    fn rights(&self, request: &[u8]) -> Result<Vec<u8>> {
        let asked: Asked = decode(request)?;
        let mut checks = Vec::new();
        for (role, relative) in &asked.stores {
            match self.open(role.engine(), relative, Grant::Read) {
                Ok(opened) => checks.extend(look(*role, &opened.path)),
                Err(error) if error.kind == ErrorKind::StoreUnavailable && role.is_made_later() => {
                    checks.push(AccessCheck::later(*role, Path::new(relative)));
                }
                Err(error) => checks.push(AccessCheck::of(*role, Path::new(relative), "open", Err(error))),
            }
        }
        let root = self.root().display().to_string();
        let now_ms = Timestamp::now().as_millisecond();
        encode(&HelperRights { root, account: account_name(), now_ms, checks })
    }
}

/// Sends so many bytes that cannot be compressed.
fn bytes(request: &[u8], call: &Served) -> Result<Vec<u8>> {
    let mut left: usize = decode::<usize>(request)?.min(MOST_MEASURED);
    while left > 0 {
        let length = left.min(MOST_BYTES / 2);
        let part: Vec<u8> = std::iter::repeat_with(|| fastrand::u8(..)).take(length).collect();
        call.put(&part)?;
        left -= length;
    }
    encode(&())
}
