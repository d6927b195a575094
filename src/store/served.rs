//! What a helper answers: each message goes to the kind of store that it is about.

use super::content::index;
use super::documents;
use super::leases;
use super::remote::{ServedPlace, unknown_message};
use super::user::pages;
use crate::error::Result;
use crate::wire::Served;

/// Answers a message about one of the stores of a place.
///
/// # Errors
/// What the store says; `PeerRefused`, `PeerIncompatible`.
pub fn serve(place: &ServedPlace, message: u8, request: &[u8], call: &Served) -> Result<Vec<u8>> {
    match message {
        8..10 => place.serve_about(message, request, call),
        index::fetched::INDEX => index::fetched::serve(place, request, call),
        leases::remote::LEASE => leases::remote::serve(place, request, call.cancel()),
        60..70 => documents::remote::serve(place, message, request, call),
        20..40 => pages::remote::served::serve(place, message, request, call),
        _ => Err(unknown_message(message)),
    }
}
