//! What file systems, their mounts and other accounts do.

use super::*;

pub(super) mod clones;
mod folding;
mod foreign;
mod full;
mod hostile;
mod mapped;
mod mounts;
mod names;
mod swaps;
mod unprivileged;
