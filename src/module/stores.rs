//! Which stores a module works on: what it is made of, at whichever machine runs it.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::BackupModule;
use super::cms_master::{CmsMaster, End};
use super::data_conf::DataConf;
use super::presence_focus::PresenceFocus;
use crate::error::Result;
use crate::store::Reach;
use crate::store::factory::{self, OwnDatabase};
use crate::topology::{HistoryLimits, PoolFqdn, StoreUrl, UserStoreConfig};

/// The stores of one module of one direction, and what the topology says of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Stores {
    /// A user store and its copy.
    PresenceFocus {
        /// What the pool's servers write to.
        source: UserStoreConfig,
        /// The copy of it.
        copy: StoreUrl,
        /// For how long a state of a store is looked for that somebody writes to all the time.
        patience_ms: u64,
    },
    /// A content store and its copy.
    DataConf {
        /// What the pool's servers write to.
        source: StoreUrl,
        /// Databases of that machine: where they lie in the store, they are none of its files.
        source_databases: Vec<StoreUrl>,
        /// The copy of it.
        copy: StoreUrl,
        /// As `source_databases`, of the machine that has the copy.
        copy_databases: Vec<StoreUrl>,
        /// The index of the copy.
        index: StoreUrl,
        /// How many bytes one batch carries.
        batch_bytes: u64,
        /// How long earlier states of the copy are kept.
        history: HistoryLimits,
    },
    /// The Central Management store and its copy.
    CmsMaster {
        /// The master.
        master: StoreUrl,
        /// The copy of it.
        copy: StoreUrl,
        /// How many batches one cycle copies at most.
        max_batches: u64,
    },
    /// The pool does not host the master of the Central Management store.
    MasterElsewhere,
    /// The topology names no place for the copy of the Central Management store.
    NoMasterCopy,
}

/// One of the two places of a direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Written {
    /// That of the copies: a cycle writes there.
    Copy,
    /// That of the pool's own stores: what is given back is written there.
    Source,
}

impl Stores {
    /// The module of this pool over these stores, where each of the two places is reached so. Nothing is opened yet.
    ///
    /// # Errors
    /// `UnsupportedStore`, `InvalidValue`.
    pub fn open(&self, pool: &PoolFqdn, at: &Reach, copy_at: &Reach) -> Result<Arc<dyn BackupModule>> {
        Ok(match self {
            Stores::PresenceFocus { source, copy, patience_ms } => {
                let patience = Duration::from_millis(*patience_ms);
                let pair = factory::user_stores((source, at), (copy, copy_at), patience)?;
                Arc::new(PresenceFocus::new(pair, source.url.to_string(), copy.to_string()))
            }
            Stores::DataConf {
                source,
                source_databases,
                copy,
                copy_databases,
                index,
                batch_bytes,
                history,
            } => Arc::new(DataConf::new(
                pool.clone(),
                factory::content_store(source, at, source_databases)?,
                factory::content_store(copy, copy_at, copy_databases)?,
                factory::content_index(index, copy_at)?,
                *batch_bytes,
                history.clone(),
            )),
            Stores::CmsMaster { master, copy, max_batches } => Arc::new(CmsMaster::master(
                End { url: master.clone(), at: at.clone() },
                End { url: copy.clone(), at: copy_at.clone() },
                *max_batches,
            )),
            Stores::MasterElsewhere => Arc::new(CmsMaster::elsewhere()),
            Stores::NoMasterCopy => Arc::new(CmsMaster::without_standby()),
        })
    }

    /// The stores at one of the two places.
    pub fn at(&self, place: Written) -> Vec<&StoreUrl> {
        match (self, place) {
            (Stores::PresenceFocus { source, .. }, Written::Source) => vec![&source.url],
            (Stores::PresenceFocus { copy, .. } | Stores::CmsMaster { copy, .. }, Written::Copy) => {
                vec![copy]
            }
            (Stores::DataConf { source, .. }, Written::Source) => vec![source],
            (Stores::DataConf { copy, index, .. }, Written::Copy) => vec![copy, index],
            (Stores::CmsMaster { master, .. }, Written::Source) => vec![master],
            (Stores::MasterElsewhere | Stores::NoMasterCopy, _) => Vec::new(),
        }
    }

    /// The same with other URLs for what is at one of the two places. Databases that have none there are left out: what cannot be
    /// named there is in no store there.
    ///
    /// # Errors
    /// Those of `change`.
    pub fn changed_at(
        mut self,
        place: Written,
        change: impl Fn(&StoreUrl) -> Result<StoreUrl>,
    ) -> Result<Self> {
        let mut urls: Vec<&mut StoreUrl> = Vec::new();
        match (&mut self, place) {
            (Stores::PresenceFocus { source, .. }, Written::Source) => urls.push(&mut source.url),
            (Stores::PresenceFocus { copy, .. } | Stores::CmsMaster { copy, .. }, Written::Copy) => {
                urls.push(copy);
            }
            (Stores::DataConf { source, source_databases, .. }, Written::Source) => {
                *source_databases = source_databases.iter().flat_map(&change).collect();
                urls.push(source);
            }
            (Stores::DataConf { copy, copy_databases, index, .. }, Written::Copy) => {
                *copy_databases = copy_databases.iter().flat_map(&change).collect();
                urls.extend([copy, index]);
            }
            (Stores::CmsMaster { master, .. }, Written::Source) => urls.push(master),
            (Stores::MasterElsewhere | Stores::NoMasterCopy, _) => {}
        }
        for url in urls {
            *url = change(url)?;
        }
        Ok(self)
    }

    /// The database among them that is this product's own, at the place of the copies.
    pub fn own_database(&self) -> Option<(&StoreUrl, OwnDatabase)> {
        match self {
            Stores::DataConf { index, .. } => Some((index, OwnDatabase::ContentIndex)),
            Stores::CmsMaster { copy, .. } => Some((copy, OwnDatabase::ManagementStore)),
            Stores::PresenceFocus { .. } | Stores::MasterElsewhere | Stores::NoMasterCopy => None,
        }
    }

    /// What is kept of earlier states of the copy.
    pub fn history_mut(&mut self) -> Option<&mut HistoryLimits> {
        match self {
            Stores::PresenceFocus { source, .. } => Some(&mut source.history),
            Stores::DataConf { history, .. } => Some(history),
            Stores::CmsMaster { .. } | Stores::MasterElsewhere | Stores::NoMasterCopy => None,
        }
    }
}
