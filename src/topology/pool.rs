//! Pools and what belongs to them, as they are stored in the Central Management store.

use serde::{Deserialize, Serialize};

use super::{HistoryLimits, PoolFqdn, PoolPlace, StoreUrl};
use crate::error::{Error, ErrorKind, Result};
use crate::stored::StoredDocument;

/// A validated topology; all paths are absolute.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Topology {
    /// The pool that hosts the active master of the Central Management store.
    pub central_management_pool: PoolFqdn,
    /// All pools, in the order of the document.
    pub pools: Vec<Pool>,
}

impl StoredDocument for Topology {
    const NAME: &'static str = "topology";
}

/// One pool.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Pool {
    /// Its name.
    pub fqdn: PoolFqdn,
    /// The site it stands at.
    pub site: Option<String>,
    /// Its machines.
    #[serde(default)]
    pub computers: Vec<String>,
    /// Its partner.
    pub backup_pool: Option<PoolFqdn>,
    /// What the URLs of its stores were relative to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place: Option<PoolPlace>,
    /// The database that the server software writes to.
    pub user_store: UserStoreConfig,
    /// Conference files.
    pub content_store: ContentStoreConfig,
    /// What it holds for its partner.
    pub standby: Option<Standby>,
}

/// A pool's user store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct UserStoreConfig {
    /// Where it lies.
    pub url: StoreUrl,
    /// Tables that are emptied when the copy is given back or restored, and whose loss refuses nothing; `*` stands for any characters.
    #[serde(default)]
    pub exclude: Vec<String>,
    /// Whether the server waits for locks (a busy timeout). Without that no lock is taken on a store that is not in WAL mode.
    #[serde(default)]
    pub server_waits: bool,
    /// For how many milliseconds such a lock may be held.
    #[serde(default = "default_max_lock_ms")]
    pub max_lock_ms: u64,
    /// How long earlier states of the copy are kept.
    #[serde(default)]
    pub history: HistoryLimits,
}

/// What a server that waits does not notice.
const fn default_max_lock_ms() -> u64 {
    UserStoreConfig::MAX_LOCK_MS
}

impl UserStoreConfig {
    /// For how many milliseconds a lock is held at most, where nothing else is said.
    pub const MAX_LOCK_MS: u64 = 100;

    /// A store at a place, with everything else as it is by default.
    pub fn new(url: StoreUrl) -> Self {
        UserStoreConfig {
            url,
            exclude: Vec::new(),
            server_waits: false,
            max_lock_ms: Self::MAX_LOCK_MS,
            history: HistoryLimits::default(),
        }
    }
}

/// A pool's content store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ContentStoreConfig {
    /// Where it lies.
    pub url: StoreUrl,
    /// How long earlier states of the copy are kept.
    #[serde(default)]
    pub history: HistoryLimits,
}

/// What a pool holds for its partner.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Standby {
    /// The copy of the partner's user store.
    pub user_store: StoreUrl,
    /// The copy of the partner's content store.
    pub content_store: StoreUrl,
    /// The copy of the Central Management store, should the partner host its master.
    pub management_store: Option<StoreUrl>,
    /// The backup service's own database for this direction; see also [`Standby::content_index`].
    pub service_store: StoreUrl,
}

impl Pool {
    /// Every database that it has.
    pub fn databases(&self) -> Vec<StoreUrl> {
        let mut found = vec![self.user_store.url.clone()];
        if let Some(standby) = &self.standby {
            found.extend([
                standby.user_store.clone(),
                standby.service_store.clone(),
                standby.content_index(),
            ]);
            found.extend(standby.management_store.clone());
        }
        found
    }
}

impl Standby {
    /// The index of the content copy, beside the backup service's database: of `atl.service.sqlite` it is
    /// `atl.service-content.sqlite`.
    pub fn content_index(&self) -> StoreUrl {
        let beside = self.service_store.beside(|path| {
            let mut name = path.file_stem().unwrap_or_default().to_owned();
            name.push("-content");
            if let Some(extension) = path.extension() {
                name.push(".");
                name.push(extension);
            }
            path.with_file_name(name)
        });
        // A server's database has room for both.
        beside.unwrap_or_else(|| self.service_store.clone())
    }
}

impl Topology {
    /// The pool of this name.
    ///
    /// # Errors
    /// `UnknownPool`, naming the pools there are.
    pub fn pool(&self, fqdn: &PoolFqdn) -> Result<&Pool> {
        self.pools.iter().find(|pool| pool.fqdn == *fqdn).ok_or_else(|| {
            let known: Vec<&str> = self.pools.iter().map(|pool| pool.fqdn.as_str()).collect();
            Error::new(
                ErrorKind::UnknownPool,
                format!("The topology has no pool named {fqdn}."),
                format!("Use one of its pools: {}.", known.join(", ")),
            )
            .at("pool", fqdn)
        })
    }

    /// A pool, its partner, and what the partner holds for it.
    ///
    /// # Errors
    /// `UnknownPool`; `NotPaired` for a pool without a backup pool.
    pub fn pair(&self, fqdn: &PoolFqdn) -> Result<(&Pool, &Pool, &Standby)> {
        let pool = self.pool(fqdn)?;
        let not_paired = || {
            Error::new(
                ErrorKind::NotPaired,
                format!("{fqdn} has no backup pool."),
                "Pair it in the topology document (backup_pool at both pools, standby at both) and publish that with Publish-CsTopology.",
            )
            .at("pool", fqdn)
        };
        let backup = self.pool(pool.backup_pool.as_ref().ok_or_else(not_paired)?)?;
        let standby = backup.standby.as_ref().ok_or_else(not_paired)?;
        Ok((pool, backup, standby))
    }

    /// Every database that the topology names.
    pub fn databases(&self) -> Vec<StoreUrl> {
        self.pools.iter().flat_map(Pool::databases).collect()
    }
}
