//! What tests of single parts need: a user store with its change log, and work to do on it.

use jiff::Timestamp;
use rusqlite::Connection;
use tokio_util::sync::CancellationToken;

use super::pair::{Run, SqlitePair};
use super::source::Source;
use super::{capture, standby};
use crate::store::Generation;
use crate::store::sqlite::OpenedFile;
use crate::store::user::{UserStorePair, Work};
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
    let url = StoreUrl::try_from(format!("sqlite:{}", path.display())).unwrap();
    let config = UserStoreConfig { url, keys: Default::default(), exclude: Vec::new() };
    let capture = capture::install(&mut connection, &path, &config, Timestamp::now()).unwrap();
    let source =
        Source { connection: &connection, path: &path, file: &OpenedFile::at(&path), capture: &capture };
    with_work(|work| test(&source, work));
}

/// A run over a user store of this schema.
pub(super) fn with_run(schema: &str, test: impl FnOnce(&mut Run<'_>)) {
    with_source(schema, |source, work| test(&mut Run::new(source, work, 10)));
}

/// A standby copy of a source without a row in it, made where its triggers are off.
pub(super) fn empty_standby(source: &Source<'_>) -> Connection {
    let connection = Connection::open_in_memory().unwrap();
    standby::create(&connection).unwrap();
    for object in source.capture.schema.objects.iter().filter(|object| object.shadow_of.is_none()) {
        connection.execute_batch(&object.sql).unwrap();
    }
    connection
}

/// What a query finds, a column of integers.
pub(super) fn numbers(connection: &Connection, sql: &str) -> Vec<i64> {
    let mut statement = connection.prepare(sql).unwrap();
    statement.query_map([], |row| row.get(0)).unwrap().collect::<rusqlite::Result<_>>().unwrap()
}

/// A pair whose standby holds everything, and the connection of its server.
pub(super) fn with_pair(schema: &str, test: impl FnOnce(&SqlitePair, &Connection)) {
    let folder = tempfile::tempdir().unwrap();
    let url = StoreUrl::try_from(format!("sqlite:{}/users.sqlite", folder.path().display())).unwrap();
    let server = Connection::open(url.local_path().unwrap()).unwrap();
    server.execute_batch(schema).unwrap();
    let config = UserStoreConfig { url, keys: Default::default(), exclude: Vec::new() };
    let pair = SqlitePair::new(config, &folder.path().join("standby.sqlite"), 10).unwrap();
    with_work(|work| {
        pair.synchronize(work).unwrap();
    });
    test(&pair, &server);
}
