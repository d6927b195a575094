//! The format of SQLite's files, and its locks: what of it an engine needs that copies pages. Nothing here knows of sources and copies.

pub(super) mod check;
pub(super) mod hashes;
pub(super) mod header;
pub(super) mod journal;
pub(super) mod locks;
pub(super) mod log;
