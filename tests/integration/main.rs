//! Everything that is tested through public interfaces, linked once.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    clippy::string_slice,
    missing_docs
)]

mod configuration;
mod deployment;
mod documents;
mod faults;
mod growth;
mod injection;
#[path = "../support/isolation.rs"]
mod isolation;
mod jobs;
mod kill;
mod pages;
mod reports;
mod sample;
mod sources;
mod stores;
mod support;
mod user_store;
