//! Faults of the machine below a job: each has its own error, and nothing is lost.

mod calls;
mod content;
mod damage;
mod disk;
mod files;
mod import;
mod importers;
pub mod left;
mod machine;
mod power;
