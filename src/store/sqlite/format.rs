//! The format of SQLite's files, and its locks: what of it an engine needs that copies pages.

#![allow(
    clippy::indexing_slicing,
    clippy::string_slice,
    reason = "pages, frames and headers have sizes that are checked where they are read"
)]

pub(in crate::store) mod check;
pub(in crate::store) mod header;
pub(in crate::store) mod journal;
pub(in crate::store) mod locks;
pub(in crate::store) mod log;
