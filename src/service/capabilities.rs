//! What this version can do, for hosts that are older or newer than it.

use std::fmt;

use serde::de::DeserializeOwned;
use serde::de::value::MapDeserializer;
use serde::{Deserialize, Serialize};

use super::{ABI_VERSION, Request};
use crate::config::BackupServiceConfiguration;
use crate::job::record::JobRecord;
use crate::job::request::JobRequest;
use crate::report::SCHEMA_VERSION;
use crate::store::documents::replica::Replica;
use crate::stored::StoredDocument;
use crate::topology::{Engine, Topology};

/// What this version can do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Capabilities {
    /// The version of the C ABI.
    pub abi_version: u32,
    /// The version of this library.
    pub library_version: String,
    /// The jobs that can be started.
    pub jobs: Vec<String>,
    /// The requests that are answered.
    pub requests: Vec<String>,
    /// The schemes of stores' URLs that are understood.
    pub schemes: Vec<Scheme>,
    /// The versions of documents.
    pub documents: DocumentVersions,
    /// The languages of messages.
    pub languages: Vec<String>,
}

/// A scheme of stores' URLs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Scheme {
    /// The scheme, without its colon.
    pub name: String,
    /// Whether this version opens such stores; else it refuses them by name.
    pub is_supported: bool,
}

/// The versions of documents that have one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DocumentVersions {
    /// The settings of the backup service.
    pub configuration: u64,
    /// A job as it is kept on disk.
    pub job_record: u64,
    /// The local replica.
    pub replica: u64,
    /// The report.
    pub report: u64,
    /// The topology.
    pub topology: u64,
}

impl Capabilities {
    /// Those of this build.
    pub(super) fn current() -> Self {
        let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        Capabilities {
            abi_version: ABI_VERSION,
            library_version: env!("CARGO_PKG_VERSION").to_owned(),
            jobs: owned(variants::<JobRequest>("job")),
            requests: owned(variants::<Request>("request")),
            schemes: Engine::ALL
                .into_iter()
                .map(|engine| Scheme {
                    name: engine.scheme().to_owned(),
                    is_supported: engine.is_supported(),
                })
                .collect(),
            documents: DocumentVersions {
                configuration: BackupServiceConfiguration::VERSION,
                job_record: JobRecord::VERSION,
                replica: Replica::VERSION,
                report: u64::from(SCHEMA_VERSION),
                topology: Topology::VERSION,
            },
            languages: owned(&["en"]),
        }
    }
}

/// The names that a document's tag may have, as the derived reader knows them: it lists them where it is given none of them.
fn variants<T: DeserializeOwned>(tag: &'static str) -> &'static [&'static str] {
    let nothing = MapDeserializer::<_, Expected>::new([(tag, "")].into_iter());
    T::deserialize(nothing).err().map_or(&[], |expected| expected.0)
}

/// What a reader expected.
#[derive(Debug)]
struct Expected(&'static [&'static str]);

impl fmt::Display for Expected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "one of {:?}", self.0)
    }
}

impl std::error::Error for Expected {}

impl serde::de::Error for Expected {
    fn custom<T: fmt::Display>(_: T) -> Self {
        Expected(&[])
    }

    fn unknown_variant(_: &str, expected: &'static [&'static str]) -> Self {
        Expected(expected)
    }
}
