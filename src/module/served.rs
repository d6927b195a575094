//! The helper `csb-serve`: what it answers goes to the stores, or to the modules that write them.

use std::ffi::OsString;
use std::sync::Arc;

use super::remote;
use crate::error::{Error, Result};
use crate::store::remote::{ServedPlace, place_of};
use crate::store::served::ServedStores;
use crate::wire::{self, Answers, Hello, SILENCE, Served, Welcome};

/// The stores of one place and the modules over them, for one session.
pub struct ServedPool {
    stores: ServedStores,
}

impl ServedPool {
    /// Those of this place. Nothing is opened yet.
    pub fn new(place: ServedPlace) -> Self {
        ServedPool { stores: ServedStores::new(place) }
    }
}

impl Answers for ServedPool {
    fn welcome(&self, hello: &Hello) -> Result<Welcome> {
        self.stores.welcome(hello)
    }

    fn serve(&self, message: u8, request: &[u8], call: &mut Served) -> Result<Vec<u8>> {
        match message {
            80..90 => remote::served::serve(self.stores.place(), message, request, call),
            _ => self.stores.serve(message, request, call),
        }
    }

    fn caller_has_gone(&self) {
        self.stores.caller_has_gone();
    }
}

/// What a helper does that could not be made: it greets, so that its caller learns why.
struct Refusing(Error);

impl Answers for Refusing {
    fn welcome(&self, _hello: &Hello) -> Result<Welcome> {
        Err(self.0.clone())
    }

    fn serve(&self, _message: u8, _request: &[u8], _call: &mut Served) -> Result<Vec<u8>> {
        Err(self.0.clone())
    }
}

/// Runs the helper `csb-serve` to its end: its caller speaks over standard input and output.
///
/// # Errors
/// Why there was no session, for whoever reads standard error.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> Result<()> {
    let service: Arc<dyn Answers> = match place_of(arguments) {
        Ok(place) => Arc::new(ServedPool::new(place)),
        Err(error) => Arc::new(Refusing(error)),
    };
    // Nobody is there any more, and what hangs cannot be taken back.
    let leave = || std::process::exit(1);
    wire::serve(service, std::io::stdin(), std::io::stdout(), SILENCE, leave)
}
