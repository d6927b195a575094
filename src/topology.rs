//! The topology: which pools there are, which are pairs, and where their stores lie.

mod fqdn;
mod history;
mod input;
mod parse;
mod place;
mod pool;
mod render;
mod url;
mod validate;

pub use fqdn::PoolFqdn;
pub use history::{HistoryLimits, HistorySize};
pub(crate) use history::{span_of, span_text};
pub(crate) use input::{Unread, absolute, read_bytes, read_text};
pub use parse::{TopologyDocument, line_of, located, toml_error};
pub use place::{PoolPlace, SshPlace};
pub use pool::{ContentStoreConfig, Pool, Standby, Topology, UserStoreConfig};
pub use url::{Engine, StoreUrl};
