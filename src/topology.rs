//! The topology: which pools there are, which are pairs, and where their stores lie.

mod fqdn;
mod parse;
mod pool;
mod render;
mod url;
mod validate;

pub use fqdn::PoolFqdn;
pub(crate) use parse::read_text;
pub use parse::{line_of, located, toml_error};
pub use pool::{ContentStoreConfig, Pool, Standby, Topology, UserStoreConfig};
pub use url::StoreUrl;
