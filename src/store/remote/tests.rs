//! What tests of stores at another machine need.

pub(crate) mod loopback;
