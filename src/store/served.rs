//! What a helper answers about stores: each message goes to the kind of store that it is about.

use super::content::index;
use super::content::remote::serve::ServedContent;
use super::documents;
use super::leases::remote::{self as leases, ServedLeases};
use super::remote::{ServedPlace, unknown_message};
use super::user::pages;
use crate::error::Result;
use crate::wire::{Answers, Hello, Served, Welcome};

/// The stores of one place, for one session.
pub struct ServedStores {
    place: ServedPlace,
    content: ServedContent,
    leases: ServedLeases,
}

impl ServedStores {
    /// The stores of this place. Nothing is opened yet.
    pub fn new(place: ServedPlace) -> Self {
        ServedStores { content: ServedContent::new(place.clone()), leases: ServedLeases::default(), place }
    }

    /// Where they are, and who may call.
    pub fn place(&self) -> &ServedPlace {
        &self.place
    }
}

impl Answers for ServedStores {
    fn welcome(&self, hello: &Hello) -> Result<Welcome> {
        self.place.welcome(hello)
    }

    fn serve(&self, message: u8, request: &[u8], call: &mut Served) -> Result<Vec<u8>> {
        let place = &self.place;
        match message {
            8..10 => place.serve_about(message, request, call),
            index::fetched::INDEX => index::fetched::serve(place, request, call),
            leases::LEASE => self.leases.serve(place, request, call.cancel()),
            20..40 => pages::remote::served::serve(place, message, request, call),
            60..70 => documents::remote::serve(place, message, request, call),
            _ => {
                let answer = self.content.serve(message, request, call);
                answer.unwrap_or_else(|| Err(unknown_message(message)))
            }
        }
    }

    fn caller_has_gone(&self) {
        self.leases.give_back();
    }
}
