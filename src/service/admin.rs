//! Administrators' roles.

use serde::{Deserialize, Serialize};

use crate::stored::StoredDocument;

/// Grows whenever the standard roles change: an older build leaves those of a newer one alone.
const EDITION: u64 = 2;

/// The roles of a deployment. A document of a former build is their list alone.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "RolesForm")]
pub(super) struct Roles {
    /// Of which build the standard roles are; 0 in documents of former builds.
    pub(super) edition: u64,
    pub(super) roles: Vec<Role>,
}

impl StoredDocument for Roles {
    const NAME: &'static str = "document of roles";
}

#[derive(Deserialize)]
#[serde(untagged)]
enum RolesForm {
    Object { edition: u64, roles: Vec<Role> },
    List(Vec<Role>),
}

impl From<RolesForm> for Roles {
    fn from(form: RolesForm) -> Self {
        match form {
            RolesForm::Object { edition, roles } => Roles { edition, roles },
            RolesForm::List(roles) => Roles { edition: 0, roles },
        }
    }
}

impl Roles {
    /// The standard roles of this build, unless a newer one has put its own in their place, and those that
    /// administrators have added.
    pub(super) fn refreshed(&self) -> Self {
        if self.edition > EDITION {
            return self.clone();
        }
        let own = self.roles.iter().filter(|role| !role.is_standard_role).cloned();
        Roles { edition: EDITION, roles: standard_roles().into_iter().chain(own).collect() }
    }
}

/// A role and the cmdlets it may run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Role {
    pub(super) identity: String,
    pub(super) is_standard_role: bool,
    pub(super) cmdlets: Vec<String>,
}

/// What everybody may run who may look at the deployment.
const READING: [&str; 10] = [
    "Get-CsAdminRole",
    "Get-CsBackupJob",
    "Get-CsBackupServiceConfiguration",
    "Get-CsBackupServiceStatus",
    "Get-CsPool",
    "Get-CsPoolBackupHistory",
    "Get-CsPoolBackupRelationship",
    "Get-CsTopology",
    "Test-CsPoolConnection",
    "Wait-CsBackupJob",
];
/// What only those may run who may change it.
const WRITING: [&str; 9] = [
    "Backup-CsPool",
    "Disable-CsPoolBackup",
    "Invoke-CsBackupServiceSync",
    "Publish-CsTopology",
    "Register-CsPoolPlace",
    "Remove-CsBackupServiceConfiguration",
    "Restore-CsPoolBackup",
    "Set-CsBackupServiceConfiguration",
    "Stop-CsBackupJob",
];

/// The roles that every deployment begins with, named as the product's administrators know them.
fn standard_roles() -> Vec<Role> {
    let role = |identity: &str, lists: &[&[&str]]| {
        let mut cmdlets: Vec<String> =
            lists.iter().flat_map(|list| list.iter().map(|name| (*name).to_owned())).collect();
        cmdlets.sort();
        Role { identity: identity.to_owned(), is_standard_role: true, cmdlets }
    };
    vec![
        role("CsAdministrator", &[&READING, &WRITING]),
        role("CsServerAdministrator", &[&READING, &WRITING]),
        role("CsViewOnlyAdministrator", &[&READING]),
    ]
}
