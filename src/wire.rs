//! Calls to another process over a pair of byte streams: a pipe on this machine, or ssh to another one.
//!
//! One side calls ([`Session`]), the other one, the *helper*, answers ([`serve`]). What is called, and what the parts of an answer mean,
//! is nobody's business here. `docs/design/remote.md` has the protocol: frames with a checksum, credit for every call, pings from
//! a thread that does nothing else, and an end of the session wherever nothing is heard for [`SILENCE`].

mod calls;
mod flow;
mod frame;
mod greeting;
mod host_key;
mod link;
mod messages;
mod route;
mod served;
mod session;
mod tunnel;
mod watch;

#[cfg(test)]
mod tests;

use std::time::Duration;

pub use flow::WINDOW_BYTES;
pub use frame::MOST_BYTES;
pub use greeting::{Hello, PROTOCOL, Welcome};
pub use messages::{decode, document, encode};
pub use route::Route;
pub use served::{Answers, Served, serve};
pub use session::{Call, PartSender, Session, Traffic};
pub use tunnel::{Tunnel, answer_within, in_thread};

/// After how long without a byte from the other side a session is over.
pub const SILENCE: Duration = Duration::from_secs(20);

/// How often a side that has nothing to say says so.
const PING_EVERY: Duration = Duration::from_secs(5);
