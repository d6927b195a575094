//! What a helper answers: each message goes to the kind of store that it is about.

use std::ffi::OsString;
use std::sync::Arc;

use super::content::index;
use super::content::remote::serve::ServedContent;
use super::documents;
use super::leases;
use super::remote::{ServedPlace, place_of, unknown_message};
use super::user::pages;
use crate::error::{Error, Result};
use crate::wire::{self, Hello, SILENCE, Served, Service, Welcome};

/// The stores of one place, for one session.
pub struct ServedStores {
    place: ServedPlace,
    content: ServedContent,
}

impl ServedStores {
    /// The stores of this place. Nothing is opened yet.
    pub fn new(place: ServedPlace) -> Self {
        ServedStores { content: ServedContent::new(place.clone()), place }
    }

    /// Where they are, and who may call.
    pub fn place(&self) -> &ServedPlace {
        &self.place
    }
}

impl Service for ServedStores {
    fn welcome(&self, hello: &Hello) -> Result<Welcome> {
        self.place.welcome(hello)
    }

    fn serve(&self, message: u8, request: &[u8], call: &mut Served) -> Result<Vec<u8>> {
        let place = &self.place;
        match message {
            8..10 => place.serve_about(message, request, call),
            index::fetched::INDEX => index::fetched::serve(place, request, call),
            leases::remote::LEASE => leases::remote::serve(place, request, call.cancel()),
            20..40 => pages::remote::served::serve(place, message, request, call),
            60..70 => documents::remote::serve(place, message, request, call),
            _ => {
                let answer = self.content.serve(message, request, call);
                answer.unwrap_or_else(|| Err(unknown_message(message)))
            }
        }
    }
}

/// What a helper does that could not be made: it greets, so that its caller learns why.
struct Refusing(Error);

impl Service for Refusing {
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
    let service: Arc<dyn Service> = match place_of(arguments) {
        Ok(place) => Arc::new(ServedStores::new(place)),
        Err(error) => Arc::new(Refusing(error)),
    };
    // Nobody is there any more, and what hangs cannot be taken back.
    let leave = || std::process::exit(1);
    wire::serve(service, std::io::stdin(), std::io::stdout(), SILENCE, leave)
}
