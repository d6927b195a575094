//! The local replica: the current documents in one file that works while the Central Management store is down.

use std::path::Path;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Document, DocumentKind};
use crate::bound::touching;
use crate::error::{Error, ErrorKind, Result};
use crate::platform::Rights;
use crate::store::files;
use crate::stored::{Stored, StoredDocument};
use crate::topology::{Unread, read_bytes};

/// What former builds look for.
const FORMAT: u32 = 1;

/// A machine's read-only copy of the current documents.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Replica {
    format: u32,
    /// When it was written.
    pub written_at: Timestamp,
    checksum: String,
    /// The newest version of every document.
    pub documents: Vec<Document>,
}

impl StoredDocument for Replica {
    const NAME: &'static str = "local replica";
}

impl Replica {
    /// Refuses a replica that only a newer build understands: nothing is published that it could not take up.
    ///
    /// # Errors
    /// `UnsupportedStore`.
    pub fn check(path: &Path) -> Result<()> {
        Self::present(path).map(|_| ())
    }

    /// The replica as it lies there; none where there is none, or one that is damaged.
    fn present(path: &Path) -> Result<Option<Stored<Replica>>> {
        let Ok(text) = std::fs::read_to_string(path) else { return Ok(None) };
        match Stored::read(&text) {
            Err(error) if error.kind == ErrorKind::UnsupportedStore => Err(error.at("path", path.display())),
            read => Ok(read.ok()),
        }
    }

    /// Writes these documents beside the replica and puts them in its place. Nobody may read it who may not read the store
    /// that they come from.
    ///
    /// # Errors
    /// When the file cannot be written, `UnsupportedStore` where a newer build's lies there; the old replica then stays.
    pub fn write(path: &Path, documents: Vec<Document>, rights: Rights, now: Timestamp) -> Result<()> {
        let replica = Replica { format: FORMAT, written_at: now, checksum: checksum(&documents), documents };
        let stored = match Self::present(path)? {
            Some(present) => present.replace(replica)?,
            None => Stored::new(replica),
        };
        files::replace_with(path, stored.to_json()?.as_bytes(), rights)?;
        files::sweep(path.parent().unwrap_or(Path::new(".")));
        Ok(())
    }

    /// Reads the replica.
    ///
    /// # Errors
    /// `NotPublished` where there is none yet, `ReplicaInvalid` where it is damaged, `UnsupportedStore` where it is a newer
    /// build's.
    pub fn read(path: &Path) -> Result<Self> {
        touching(path)?;
        let text = read_bytes(path, "local replica").map_err(|unread| match unread {
            Unread::Refused(error) => error,
            Unread::Failed(cause) if cause.kind() == std::io::ErrorKind::NotFound => Error::new(
                ErrorKind::NotPublished,
                format!("There is no local replica at {}.", path.display()),
                "Publish the topology once with Publish-CsTopology while the Central Management store is up.",
            )
            .at("path", path.display()),
            Unread::Failed(cause) => Error::io("read", path, &cause),
        })?;
        let text = String::from_utf8_lossy(&text);
        let replica =
            Stored::<Replica>::read(&text).map(Stored::into_known).map_err(|cause| match cause.kind {
                ErrorKind::Corrupt => invalid(path, "is damaged").caused_by(&cause),
                _ => cause.at("path", path.display()),
            })?;
        if replica.checksum != checksum(&replica.documents) {
            return Err(invalid(path, "is damaged"));
        }
        Ok(replica)
    }

    /// A document of it.
    pub fn current(&self, kind: DocumentKind, name: &str) -> Option<&Document> {
        self.documents.iter().find(|document| document.kind == kind.name() && document.name == name)
    }
}

fn invalid(path: &Path, what: &str) -> Error {
    Error::new(
        ErrorKind::ReplicaInvalid,
        format!("The local replica {} {what}.", path.display()),
        "Publish the topology again with Publish-CsTopology: that writes the replica anew.",
    )
    .at("path", path.display())
}

fn checksum(documents: &[Document]) -> String {
    let mut hasher = blake3::Hasher::new();
    for document in documents {
        for part in [&document.kind, &document.name, &document.body] {
            hasher.update(&(part.len() as u64).to_le_bytes());
            hasher.update(part.as_bytes());
        }
        hasher.update(&document.version.to_le_bytes());
    }
    hasher.finalize().to_hex().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_damaged_replica_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("replica.json");
        assert_eq!(Replica::read(&path).unwrap_err().kind, ErrorKind::NotPublished);
        let document = Document {
            revision: 1,
            kind: "topology".into(),
            name: "global".into(),
            version: 1,
            body: "{\"a\":1}".into(),
            published_ms: 0,
        };
        Replica::write(&path, vec![document.clone()], Rights::PRIVATE, Timestamp::UNIX_EPOCH).unwrap();
        assert_eq!(Replica::read(&path).unwrap().current(DocumentKind::Topology, "global"), Some(&document));
        let text = std::fs::read_to_string(&path).unwrap().replace("\\\"a\\\":1", "\\\"a\\\":2");
        std::fs::write(&path, text).unwrap();
        assert_eq!(Replica::read(&path).unwrap_err().kind, ErrorKind::ReplicaInvalid);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
