//! Two threads that never do anything that takes long: one says that its side is there, one notices that the other side is not.

use std::io;
use std::sync::{Arc, Weak};
use std::time::Duration;

use super::PING_EVERY;
use super::frame::Kind;
use super::link::Link;
use crate::error::{Error, ErrorKind};

/// How often they look.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// What a session ended with that nobody used.
pub(super) fn unused() -> Error {
    Error::new(ErrorKind::StoreUnavailable, "The session was not used for long, and ended.", "Ask again.")
}

/// Watches a line until it is closed. `on_silence` is called once nothing was heard for so long. One that nobody calls over for
/// `unused_for` is closed.
///
/// # Errors
/// Where no threads can be started.
pub(super) fn watch(
    link: &Arc<Link>,
    silence: Duration,
    unused_for: Option<Duration>,
    on_silence: impl FnOnce() + Send + 'static,
) -> io::Result<()> {
    let (watched, pinged) = (Arc::downgrade(link), Arc::downgrade(link));
    let pings = PING_EVERY.min(silence / 4);
    std::thread::Builder::new()
        .name("csb-wire-ping".to_owned())
        .spawn(move || ping(&pinged, pings, unused_for))?;
    std::thread::Builder::new().name("csb-wire-watch".to_owned()).spawn(move || {
        if is_silent(&watched, silence) {
            on_silence()
        }
    })?;
    Ok(())
}

/// It may be stuck in sending, where the line is: then the other thread notices.
fn ping(link: &Weak<Link>, every: Duration, unused_for: Option<Duration>) {
    while let Some(link) = link.upgrade().filter(|link| !link.is_closed()) {
        let is_unused = unused_for.is_some_and(|long| link.idle() >= long);
        if is_unused && link.calls.end_unused(unused()) {
            link.close();
            return;
        }
        let cancelled = link.cancelled(LOOK_EVERY.min(every));
        let told = cancelled.into_iter().try_for_each(|call| link.send(Kind::Cancel, call, &[]));
        let told =
            told.and_then(|()| if link.quiet() < every { Ok(()) } else { link.send(Kind::Ping, 0, &[]) });
        if told.is_err() {
            // Whoever reads will find out why.
            return;
        }
    }
}

/// Waits until nothing was heard for so long; false where the line was closed before.
fn is_silent(link: &Weak<Link>, silence: Duration) -> bool {
    loop {
        std::thread::sleep(LOOK_EVERY.min(silence / 4));
        let Some(link) = link.upgrade().filter(|link| !link.is_closed()) else { return false };
        if link.silence() >= silence {
            return true;
        }
    }
}
