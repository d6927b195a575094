//! What a place is for, and which may lie in which.

/// What a place is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
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

impl Role {
    /// What it is called in the documents.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Role::UserStore => "user_store",
            Role::ContentStore => "content_store",
            Role::StandbyUserStore => "standby.user_store",
            Role::StandbyContentStore => "standby.content_store",
            Role::StandbyManagementStore => "standby.management_store",
            Role::ServiceStore => "standby.service_store",
            Role::ContentIndex => "the content index beside standby.service_store",
            Role::ManagementStore => "central_management_store",
            Role::LocalReplica => "local_replica",
            Role::Jobs => "jobs",
            Role::DeploymentFile => "the deployment file",
            Role::TopologyFile => "the topology document",
        }
    }

    pub(super) const fn is_database(self) -> bool {
        matches!(
            self,
            Role::UserStore
                | Role::StandbyUserStore
                | Role::StandbyManagementStore
                | Role::ServiceStore
                | Role::ContentIndex
                | Role::ManagementStore
        )
    }

    /// The table of `docs/documents.md`, "Places".
    pub(super) const fn may_lie_in(self, outer: Role) -> bool {
        match outer {
            // Databases are passed over by inode, and a topology document is a file like any other. Beside a standby copy
            // lie files that are not passed over: it would grow with every job.
            Role::ContentStore => {
                matches!(self, Role::TopologyFile)
                    || (self.is_database() && !matches!(self, Role::StandbyUserStore))
            }
            // Only files that are named after a job are touched there.
            Role::Jobs => true,
            // The importer replaces and removes what the source says.
            Role::StandbyContentStore => false,
            // Files, in which nothing can lie.
            _ => false,
        }
    }

    pub(super) const fn why_nothing_may_lie_in(self) -> &'static str {
        match self {
            Role::ContentStore => {
                "what lies in a content store is copied to the backup pool, and given back from there"
            }
            Role::StandbyContentStore => "a job replaces and removes what lies in a standby copy",
            _ => "it is to be a file",
        }
    }
}

/// Whether that would be a copy inside what is copied, or the other way round.
pub(super) const fn is_copy_in_source(inner: Role, outer: Role) -> bool {
    matches!(
        (inner, outer),
        (Role::StandbyUserStore | Role::StandbyContentStore, Role::ContentStore)
            | (Role::ContentStore, Role::StandbyContentStore)
    )
}
