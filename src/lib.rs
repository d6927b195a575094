//! The backup service for paired server pools.
//!
//! `ARCHITECTURE.md` begins with a glossary and shows how a change flows from a server's write to the report.
//! The layers, each of which knows only those below it: `ffi`, `service`, `job`, `module`, `store`, `pool`, and at the
//! bottom `topology`, `report`, `wire`, `bound`, `stored`, `clock`, `error` and `platform`.

mod bound;
pub mod clock;
pub mod config;
pub mod error;
pub mod ffi;
pub mod job;
pub mod module;
pub mod platform;
pub mod pool;
pub mod report;
pub mod service;
pub mod store;
mod stored;
pub mod topology;
pub mod wire;
