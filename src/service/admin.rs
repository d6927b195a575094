//! Administrators' roles.

use serde::{Deserialize, Serialize};

/// A role and the cmdlets it may run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Role {
    pub(super) identity: String,
    pub(super) is_standard_role: bool,
    pub(super) cmdlets: Vec<String>,
}

/// What everybody may run who may look at the deployment.
const READING: [&str; 8] = [
    "Get-CsAdminRole",
    "Get-CsBackupJob",
    "Get-CsBackupServiceConfiguration",
    "Get-CsBackupServiceStatus",
    "Get-CsPool",
    "Get-CsPoolBackupRelationship",
    "Get-CsTopology",
    "Wait-CsBackupJob",
];
/// What only those may run who may change it.
const WRITING: [&str; 7] = [
    "Backup-CsPool",
    "Disable-CsPoolBackup",
    "Invoke-CsBackupServiceSync",
    "Publish-CsTopology",
    "Remove-CsBackupServiceConfiguration",
    "Set-CsBackupServiceConfiguration",
    "Stop-CsBackupJob",
];

/// The roles that every deployment begins with, named as the product's administrators know them.
pub(super) fn standard_roles() -> Vec<Role> {
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
