//! User stores in SQLite, copied page by page in the format that their own server wrote. Nothing is installed or written at the server, and
//! no lock is taken there that can hold up a write.

#![allow(
    clippy::indexing_slicing,
    clippy::string_slice,
    reason = "pages, frames and headers have sizes that are checked where they are read"
)]

mod compare;
mod damage;
mod end;
mod exclude;
mod former;
mod hashes;
mod local;
mod mark;
mod new_file;
mod pair;
pub(in crate::store) mod remote;
mod snapshot;
mod source;
mod standby;

pub use pair::PagePair;
