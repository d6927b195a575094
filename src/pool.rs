//! What pools do: states, and since when, by whom. Pure logic over plain documents.

mod state;

pub use state::{PoolState, PoolStateDetails, PoolStateRecord};
