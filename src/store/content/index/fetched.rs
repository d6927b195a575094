//! The index of a copy at another machine: it is fetched whole, as it is at one moment, by whoever gives something back out of that copy.
//! What is written to it here is known here only; the next cycle there compares what it does not expect.

use std::fmt;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use once_cell::sync::OnceCell;
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use super::IndexPlace;
use crate::error::{Error, ErrorKind, Result};
use crate::platform::{Rights, create_file, read_whole, temporary_folder};
use crate::store::remote::{Grant, RemotePlace, ServedPlace};
use crate::store::sqlite::is_own_database;
use crate::topology::Engine;
use crate::wire::{MOST_BYTES, Served, decode, encode};

/// The number of the message.
pub(in crate::store) const INDEX: u8 = 15;

/// The table by which an index is known.
pub(in crate::store) const TABLE: &str = "csb_content_store";

/// An index that lies at another machine, and the copy of it here.
pub(super) struct Fetched {
    place: Arc<RemotePlace>,
    store: String,
    /// Where temporary files go.
    temporary: PathBuf,
    /// None where there is no index there.
    here: OnceCell<Option<TempDir>>,
}

impl Fetched {
    pub(super) fn new(place: &Arc<RemotePlace>, store: String) -> Self {
        Fetched { place: Arc::clone(place), store, temporary: std::env::temp_dir(), here: OnceCell::new() }
    }

    /// Where the copy is, which is fetched when it is first asked for.
    ///
    /// # Errors
    /// What the helper says; failures of the file system.
    pub(super) fn path(&self) -> Result<PathBuf> {
        self.here.get_or_try_init(|| self.fetch())?;
        Ok(self.folder().join("index.sqlite"))
    }

    /// Whether there is an index.
    ///
    /// # Errors
    /// As for [`Fetched::path`].
    pub(super) fn exists(&self) -> Result<bool> {
        self.here.get_or_try_init(|| self.fetch()).map(Option::is_some)
    }

    /// Where there is room for long lists.
    pub(super) fn folder(&self) -> &Path {
        self.here.get().and_then(Option::as_ref).map_or(&self.temporary, TempDir::path)
    }

    fn fetch(&self) -> Result<Option<TempDir>> {
        let failed = |cause| Error::io("write", &self.temporary, &cause);
        let folder = temporary_folder("csb-index-", &self.temporary).map_err(failed)?;
        let mut file = create_file(&folder.path().join("index.sqlite"), Rights::PRIVATE).map_err(failed)?;
        let mut call = self.place.call(INDEX, &self.store, &CancellationToken::new())?;
        while let Some(part) = call.next()? {
            file.write_all(&part).map_err(failed)?;
        }
        let exists: bool = call.answer()?;
        Ok(exists.then_some(folder))
    }
}

impl fmt::Debug for Fetched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {}", self.store, self.place)
    }
}

/// Hands the index on, as it is at one moment.
///
/// # Errors
/// When it exists and cannot be read; `PeerRefused`; cancelled.
pub(in crate::store) fn serve(place: &ServedPlace, request: &[u8], call: &Served) -> Result<Vec<u8>> {
    let opened = place.open(Engine::Sqlite, &decode::<String>(request)?, Grant::Read)?;
    if !opened.path.exists() {
        return encode(&false);
    }
    if !is_own_database(&opened.path, TABLE)? {
        return Err(Error::new(
            ErrorKind::StoreUnavailable,
            format!("{} is no index of a content copy.", opened.path.display()),
            "Correct standby.service_store in the topology: the index lies beside it.",
        )
        .at("store", &opened.url));
    }
    let copy = IndexPlace::new(opened.path, opened.url.to_string()).copy(call.cancel())?;
    let path = copy.place().path()?;
    let failed = |cause| Error::io("read", &path, &cause);
    let file = std::fs::File::open(&path).map_err(failed)?;
    let (mut piece, mut at) = (vec![0; MOST_BYTES], 0);
    loop {
        let read = read_whole(&file, &mut piece, at).map_err(failed)?;
        at += read as u64;
        match piece.get(..read) {
            None | Some([]) => return encode(&true),
            Some(part) => call.put(part)?,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Generation;
    use crate::store::remote::tests::loopback::{Loopback, fqdn};

    #[test]
    fn an_index_is_fetched_whole_and_what_is_written_to_it_stays_here() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap();
        let line = Loopback::default();
        let place = line.reached(&root, &root.join("state"), "chi", "atl");
        let there = || IndexPlace::there(&place, "index.sqlite".to_owned(), String::new());
        assert!(there().open_existing(&fqdn("atl")).unwrap().is_none());
        let own = IndexPlace::new(root.join("index.sqlite"), String::new());
        own.open(&fqdn("atl")).unwrap().check(Generation(7)).unwrap();
        let fetched = there();
        assert!(fetched.open_existing(&fqdn("atl")).unwrap().is_some());
        let mut copy = fetched.open(&fqdn("atl")).unwrap();
        assert_eq!(
            copy.check(Generation(6)).unwrap_err().kind,
            ErrorKind::Fenced,
            "what is known there is known"
        );
        copy.check(Generation(9)).unwrap();
        own.open(&fqdn("atl")).unwrap().check(Generation(8)).unwrap();
        let held = fetched.folder().to_owned();
        assert!(held.exists());
        drop((copy, fetched));
        assert!(!held.exists());
        std::fs::write(root.join("other.sqlite"), "CREATE TABLE something").unwrap();
        let other = IndexPlace::there(&place, "other.sqlite".to_owned(), String::new());
        assert_eq!(other.exists().unwrap_err().kind, ErrorKind::StoreUnavailable);
    }
}
