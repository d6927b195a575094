//! A pool's stores at another machine, for a helper at a third one: what it asks is passed on, and so is what is answered.

use std::sync::Arc;

use super::{RemotePlace, unknown_message};
use crate::error::{Error, ErrorKind, Result};
use crate::store::content::index::fetched::INDEX;
use crate::wire::{Answers, Hello, Served, Welcome, in_thread};

/// The stores of a place, to be read by whoever this process calls.
pub struct PassedOn {
    place: Arc<RemotePlace>,
}

impl PassedOn {
    /// Those of this place.
    pub fn new(place: Arc<RemotePlace>) -> Self {
        PassedOn { place }
    }
}

/// Whether a message only reads: this machine may be granted more than whoever it calls.
fn reads(message: u8) -> bool {
    matches!(message, INDEX | 20..60 | 60..66)
}

impl Answers for PassedOn {
    fn welcome(&self, hello: &Hello) -> Result<Welcome> {
        if !hello.pool.eq_ignore_ascii_case(self.place.pool().as_str()) {
            return Err(Error::new(
                ErrorKind::PeerRefused,
                format!(
                    "The stores of {} were asked for, and those of {} are read.",
                    hello.pool,
                    self.place.pool()
                ),
                "Install the same release of CsBackup on all machines.",
            ));
        }
        // What is granted there is found out by asking.
        Ok(Welcome {
            pool: self.place.pool().to_string(),
            partner: None,
            grants: vec![super::Grant::Read.to_string()],
            system: std::env::consts::OS.to_owned(),
            now_ms: jiff::Timestamp::now().as_millisecond(),
            silence_seconds: hello.silence_seconds,
        })
    }

    fn serve(&self, message: u8, request: &[u8], call: &mut Served) -> Result<Vec<u8>> {
        if !reads(message) {
            return Err(unknown_message(message));
        }
        let mut onward = self.place.call_encoded(message, request, call.cancel())?;
        let (asked, sender) = (call.clone(), onward.sender());
        let pass = move || -> Result<()> {
            while let Some(part) = asked.next_part()? {
                sender.send(&part)?;
            }
            sender.end_parts()
        };
        // It ends with the call at the latest.
        in_thread("csb-pass-on", move || drop(pass()))?;
        while let Some(part) = onward.next()? {
            call.put(&part)?;
        }
        onward.encoded_answer()
    }
}
