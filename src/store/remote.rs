//! A pool's stores at another machine, or in another process of this one: where they are reached, and the helper that answers there.
//!
//! What is asked of a store lies beside that kind of store: its messages, the end that sends them and the one that answers.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio_util::sync::CancellationToken;

use crate::bound::touching;
use crate::error::{Error, ErrorKind, Result};
use crate::topology::{PoolFqdn, StoreUrl};
use crate::wire::{Call, Hello, Route, SILENCE, Session, Traffic, encode};

mod about;
mod arguments;
mod called_back;
mod grants;
mod passed_on;
mod served;
#[cfg(test)]
pub(crate) mod tests;

pub use about::About;
pub use arguments::place_of;
pub use called_back::CalledBack;
pub use grants::{Grant, Grants};
pub use passed_on::PassedOn;
pub use served::{Opened, ServedPlace};

/// The error of a helper that is asked for what only a newer one knows.
pub(crate) fn unknown_message(message: u8) -> Error {
    Error::new(
        ErrorKind::PeerIncompatible,
        format!("This release does not know message {message}."),
        "Install the same release of CsBackup on both machines.",
    )
}

/// Where a pool's stores are opened.
#[derive(Clone, Debug)]
pub enum Reach {
    /// In this process.
    Here,
    /// By a helper.
    There(Arc<RemotePlace>),
}

impl Reach {
    /// The place, where it is another one.
    pub fn place(&self) -> Option<&Arc<RemotePlace>> {
        match self {
            Reach::Here => None,
            Reach::There(place) => Some(place),
        }
    }
}

/// The place of a pool that a helper opens. The session with it begins with the first call, and anew after it was cut.
pub struct RemotePlace {
    pool: PoolFqdn,
    root: PathBuf,
    shown: String,
    route: Option<Route>,
    connect: Box<Connect>,
    session: Mutex<Option<Arc<Session>>>,
    /// What crossed the lines of sessions that have ended.
    crossed: Mutex<Traffic>,
}

/// Begins a session with these first words.
pub type Connect = dyn Fn(&Hello) -> Result<Arc<Session>> + Send + Sync;

impl RemotePlace {
    /// The place of a pool: the way there, the folder that its stores lie below, and what it is called for people. Nothing is started yet.
    pub fn new(pool: PoolFqdn, route: Route, root: PathBuf, shown: String) -> Arc<Self> {
        let (place, way) = (shown.clone(), route.clone());
        let connect = Box::new(move |hello: &Hello| Session::open(&way, &place, hello));
        Arc::new(RemotePlace {
            pool,
            root,
            shown,
            route: Some(route),
            connect,
            session: Mutex::new(None),
            crossed: Mutex::default(),
        })
    }

    /// As [`RemotePlace::new`], with sessions that somebody else begins.
    pub fn through(pool: PoolFqdn, root: PathBuf, shown: String, connect: Box<Connect>) -> Arc<Self> {
        Arc::new(RemotePlace {
            pool,
            root,
            shown,
            route: None,
            connect,
            session: Mutex::new(None),
            crossed: Mutex::default(),
        })
    }

    /// The way there; none where sessions are begun by somebody else.
    pub fn route(&self) -> Option<&Route> {
        self.route.as_ref()
    }

    /// The pool.
    pub fn pool(&self) -> &PoolFqdn {
        &self.pool
    }

    /// The path of a store below the root, as messages name it.
    ///
    /// # Errors
    /// `InvalidValue` where it lies elsewhere; `UnsupportedStore` where it is no file or folder.
    pub fn relative(&self, url: &StoreUrl) -> Result<String> {
        url.local_path()?;
        url.below(&self.root).map(str::to_owned).ok_or_else(|| {
            Error::new(
                ErrorKind::InvalidValue,
                format!("{url} does not lie below the root of {self}."),
                "Publish a topology in which the URLs of this pool's stores are relative to its place.",
            )
            .at("store", url)
            .at("place", self)
        })
    }

    /// The folder that its stores lie below.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The URL of a store as if the root were `/`, for the helper, which knows its root itself: see [`ServedPlace::open_url`].
    ///
    /// # Errors
    /// As for [`RemotePlace::relative`].
    pub fn below_root(&self, url: &StoreUrl) -> Result<StoreUrl> {
        let relative = self.relative(url)?;
        StoreUrl::at(url.engine(), format_args!("/{relative}"))
    }

    /// The session, which is begun where there is none.
    ///
    /// # Errors
    /// `StoreUnavailable` where nothing can be started.
    pub fn session(&self) -> Result<Arc<Session>> {
        let mut held = self.session.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(session) = held.as_ref().filter(|session| session.is_open()) {
            return Ok(Arc::clone(session));
        }
        if let Some(given_up) = held.as_ref().and_then(|session| session.given_up()) {
            return Err(given_up);
        }
        // What is left of an earlier one ends first.
        if let Some(ended) = held.take() {
            let mut crossed = self.crossed.lock().unwrap_or_else(PoisonError::into_inner);
            *crossed = crossed.with(ended.traffic());
        }
        let seconds = u16::try_from(SILENCE.as_secs()).unwrap_or(u16::MAX);
        let hello = Hello { pool: self.pool.to_string(), silence_seconds: seconds };
        let session = (self.connect)(&hello).map_err(|error| error.at_place(&self.shown))?;
        Ok(Arc::clone(held.insert(session)))
    }

    /// Asks what a job asks first, and that may be asked twice. A session that was begun before may have ended while nobody looked: then it is
    /// asked once more, in a new one.
    ///
    /// # Errors
    /// As for what is asked.
    pub(in crate::store) fn at_first<T>(&self, ask: impl Fn() -> Result<T>) -> Result<T> {
        let before = self.session.lock().unwrap_or_else(PoisonError::into_inner).clone();
        match ask() {
            Err(error)
                if error.kind == ErrorKind::StoreUnavailable
                    && before.is_some_and(|session| !session.is_open()) =>
            {
                ask()
            }
            asked => asked,
        }
    }

    /// What crossed the line, in all sessions. A session that begins is not waited for.
    pub fn traffic(&self) -> Traffic {
        let crossed = *self.crossed.lock().unwrap_or_else(PoisonError::into_inner);
        let now =
            self.session.try_lock().ok().and_then(|held| held.as_ref().map(|session| session.traffic()));
        crossed.with(now.unwrap_or_default())
    }

    /// Begins a call.
    ///
    /// # Errors
    /// `StoreUnavailable`, `PeerRefused`, `PeerIncompatible`.
    pub fn call(&self, message: u8, request: &impl Serialize, cancel: &CancellationToken) -> Result<Call> {
        self.call_encoded(message, &encode(request)?, cancel)
    }

    /// As [`RemotePlace::call`], with a request that was encoded already.
    ///
    /// # Errors
    /// As there.
    pub(super) fn call_encoded(
        &self,
        message: u8,
        request: &[u8],
        cancel: &CancellationToken,
    ) -> Result<Call> {
        // Whoever waits for an answer with a limit is told that it was this place that gave none.
        touching(Path::new(&self.shown))?;
        let session = self.session()?;
        match session.call_encoded(message, request, cancel) {
            // It ended between these two lines.
            Err(_) if session.was_unused() => self.session()?.call_encoded(message, request, cancel),
            called => called,
        }
    }

    /// Calls, and waits for the answer.
    ///
    /// # Errors
    /// As for [`RemotePlace::call`]; what the helper says; cancelled.
    pub fn ask<T: DeserializeOwned>(
        &self,
        message: u8,
        request: &impl Serialize,
        cancel: &CancellationToken,
    ) -> Result<T> {
        self.call(message, request, cancel)?.answer()
    }

    /// The refusal of what only a helper with another grant, or a job at that machine, may do.
    pub fn refuses(&self, what: &str) -> Error {
        Error::new(
            ErrorKind::PeerRefused,
            format!("{what} at {self}: that is not possible from this machine."),
            "Run the command at that machine, which receives the data.",
        )
        .at("place", self)
        .at("pool", &self.pool)
    }
}

impl fmt::Display for RemotePlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}

impl fmt::Debug for RemotePlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RemotePlace({self})")
    }
}
