//! Unix. What only Linux tells is "not known" elsewhere.

pub(super) mod accounts;
pub(super) mod databases;
pub(super) mod files;
pub(super) mod locks;
pub(super) mod mapped;
pub(super) mod paths;
pub(super) mod place;
pub(super) mod process;
pub(super) mod ranges;
pub(super) mod raw;
pub(super) mod rights;
pub(super) mod time;
