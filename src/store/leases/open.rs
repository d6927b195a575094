//! Which leases a URL means.

use std::sync::Arc;

use super::Leases;
use super::sqlite::SqliteLeases;
use crate::clock::Clock;
use crate::error::{Error, ErrorKind, Result};
use crate::topology::StoreUrl;

/// The leases at a place, watched by this clock. Nothing is opened yet.
///
/// # Errors
/// `UnsupportedStore` for a place that can keep none.
pub fn open(url: &StoreUrl, clock: Arc<dyn Clock>) -> Result<Arc<dyn Leases>> {
    match url {
        StoreUrl::Sqlite(path) => Ok(Arc::new(SqliteLeases::new(path.clone(), clock))),
        StoreUrl::Folder(_) => Err(Error::new(
            ErrorKind::UnsupportedStore,
            format!("{url} cannot keep leases."),
            "Use sqlite: for service_store.",
        )),
    }
}
