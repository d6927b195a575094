//! What a place is for, and which may lie in which.

use crate::topology::PoolFqdn;

/// What a place is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PlaceRole {
    UserStore,
    ContentStore,
    StandbyUserStore,
    StandbyContentStore,
    StandbyManagementStore,
    ServiceStore,
    ContentIndex,
    ManagementStore,
    LocalReplica,
    Jobs,
    DeploymentFile,
    TopologyFile,
}

/// What lies at a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PlaceKind {
    /// A database, and what SQLite and this product keep beside it.
    Database,
    /// A document.
    File,
    /// A folder, and everything in it.
    Tree,
    /// A folder of job records, and of what else people put there.
    Records,
}

impl PlaceRole {
    /// What it is called in the documents.
    pub(super) const fn name(self) -> &'static str {
        match self {
            PlaceRole::UserStore => "user_store",
            PlaceRole::ContentStore => "content_store",
            PlaceRole::StandbyUserStore => "standby.user_store",
            PlaceRole::StandbyContentStore => "standby.content_store",
            PlaceRole::StandbyManagementStore => "standby.management_store",
            PlaceRole::ServiceStore => "standby.service_store",
            PlaceRole::ContentIndex => "the content index beside standby.service_store",
            PlaceRole::ManagementStore => "central_management_store",
            PlaceRole::LocalReplica => "local_replica",
            PlaceRole::Jobs => "jobs",
            PlaceRole::DeploymentFile => "the deployment file",
            PlaceRole::TopologyFile => "the topology document",
        }
    }

    /// What it is for people, of the pool whose it is, where it is a pool's.
    pub(super) fn for_people(self, pool: Option<&PoolFqdn>) -> String {
        match (self, pool) {
            (PlaceRole::UserStore, Some(pool)) => format!("the user store of {pool}"),
            (PlaceRole::ContentStore, Some(pool)) => format!("the content store of {pool}"),
            (_, Some(pool)) => format!("what {pool} holds for its partner"),
            (PlaceRole::ManagementStore, None) => "the Central Management store".to_owned(),
            (PlaceRole::LocalReplica, None) => "the local replica".to_owned(),
            (_, None) => self.name().to_owned(),
        }
    }

    /// What lies there.
    pub(super) const fn kind(self) -> PlaceKind {
        match self {
            PlaceRole::UserStore
            | PlaceRole::StandbyUserStore
            | PlaceRole::StandbyManagementStore
            | PlaceRole::ServiceStore
            | PlaceRole::ContentIndex
            | PlaceRole::ManagementStore => PlaceKind::Database,
            PlaceRole::ContentStore | PlaceRole::StandbyContentStore => PlaceKind::Tree,
            PlaceRole::Jobs => PlaceKind::Records,
            PlaceRole::LocalReplica | PlaceRole::DeploymentFile | PlaceRole::TopologyFile => PlaceKind::File,
        }
    }

    /// Whether a database lies there, which has files of its own beside it.
    pub(super) fn is_database(self) -> bool {
        self.kind() == PlaceKind::Database
    }

    /// The table of `docs/documents.md`, "Places".
    pub(super) fn may_lie_in(self, outer: PlaceRole) -> bool {
        match outer {
            // Databases are passed over by inode, and a topology document is a file like any other. Beside a standby copy
            // lie files that are not passed over: it would grow with every job.
            PlaceRole::ContentStore => {
                matches!(self, PlaceRole::TopologyFile)
                    || (self.is_database() && !matches!(self, PlaceRole::StandbyUserStore))
            }
            // Only files that are named after a job are touched there.
            PlaceRole::Jobs => true,
            // The importer replaces and removes what the source says.
            PlaceRole::StandbyContentStore => false,
            // Files, in which nothing can lie.
            _ => false,
        }
    }

    pub(super) const fn why_nothing_may_lie_in(self) -> &'static str {
        match self {
            PlaceRole::ContentStore => {
                "what lies in a content store is copied to the backup pool, and given back from there"
            }
            PlaceRole::StandbyContentStore => "a job replaces and removes what lies in a standby copy",
            _ => "it is to be a file",
        }
    }
}

/// Whether that would be a copy inside what is copied, or the other way round.
pub(super) const fn is_copy_in_source(inner: PlaceRole, outer: PlaceRole) -> bool {
    matches!(
        (inner, outer),
        (PlaceRole::StandbyUserStore | PlaceRole::StandbyContentStore, PlaceRole::ContentStore)
            | (PlaceRole::ContentStore, PlaceRole::StandbyContentStore)
    )
}
