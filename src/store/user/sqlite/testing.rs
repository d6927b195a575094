//! What tests of single parts need: a user store with its change log, and work to do on it.

use jiff::Timestamp;
use rusqlite::Connection;
use tokio_util::sync::CancellationToken;

use super::capture;
use super::source::Source;
use crate::store::Generation;
use crate::store::sqlite::OpenedFile;
use crate::store::user::Work;
use crate::topology::{StoreUrl, UserStoreConfig};

/// Work of the first owner, which nobody watches or cancels.
pub(super) fn with_work(test: impl FnOnce(&Work<'_>)) {
    let cancel = CancellationToken::new();
    let now = Timestamp::now();
    test(&Work { generation: Generation(1), verify: false, cancel: &cancel, progress: &|_| {}, now });
}

/// A user store of this schema whose change log is installed.
pub(super) fn with_source(schema: &str, test: impl FnOnce(&Source<'_>, &Work<'_>)) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("users.sqlite");
    let mut connection = Connection::open(&path).unwrap();
    connection.execute_batch(schema).unwrap();
    let url = StoreUrl::Sqlite(path.clone());
    let config = UserStoreConfig { url, keys: Default::default(), exclude: Vec::new() };
    let capture = capture::install(&mut connection, &path, &config, Timestamp::now()).unwrap();
    let source =
        Source { connection: &connection, path: &path, file: &OpenedFile::at(&path), capture: &capture };
    with_work(|work| test(&source, work));
}
