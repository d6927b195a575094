//! One operation as a list of steps: planned, noted, run, told about while it runs, and reported.

mod environment;
pub mod events;
mod handle;
mod lease;
mod leaving;
mod lists;
mod names;
mod progress;
pub mod record;
pub mod request;
mod row;
mod run;
mod step;
mod steps;
mod threads;

pub use environment::Environment;
pub use handle::Job;
pub use lease::LeasePlace;
pub use lists::Targets;
pub use run::run;
