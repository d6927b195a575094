@{
    RootModule = 'CsBackup.psm1'
    ModuleVersion = '0.1.0'
    GUID = '7d0f6c52-6d6c-4f0e-9d5b-3c0d8b1b7a41'
    Author = 'The CsBackup authors'
    CompanyName = 'The CsBackup authors'
    Copyright = '(c) The CsBackup authors. MIT OR Apache-2.0.'
    Description = 'The backup service for paired server pools: keeps a copy of every pool''s users, contacts, files and topology at its backup pool.'
    PowerShellVersion = '5.1'
    DotNetFrameworkVersion = '4.7.2'
    CompatiblePSEditions = @('Core', 'Desktop')
    TypesToProcess = @('CsBackup.Types.ps1xml')
    FormatsToProcess = @('CsBackup.Format.ps1xml')
    FunctionsToExport = @(
        'Backup-CsPool'
        'Connect-CsDeployment'
        'Disable-CsPoolBackup'
        'Get-CsAdminRole'
        'Get-CsBackupJob'
        'Get-CsBackupServiceConfiguration'
        'Get-CsBackupServiceStatus'
        'Get-CsPool'
        'Get-CsPoolBackupHistory'
        'Get-CsPoolBackupRelationship'
        'Get-CsTopology'
        'Invoke-CsBackupServiceSync'
        'New-CsSampleDeployment'
        'Publish-CsTopology'
        'Register-CsPoolPlace'
        'Remove-CsBackupServiceConfiguration'
        'Restore-CsPoolBackup'
        'Set-CsBackupServiceConfiguration'
        'Stop-CsBackupJob'
        'Test-CsPoolConnection'
        'Wait-CsBackupJob'
    )
    CmdletsToExport = @()
    VariablesToExport = @()
    AliasesToExport = @()
    PrivateData = @{
        PSData = @{
            ReleaseNotes = 'CHANGELOG.md in the module''s folder says what each version brings.'
            Tags = @('PSEdition_Core', 'PSEdition_Desktop', 'Windows', 'Linux', 'MacOS', 'backup', 'replication', 'failover')
        }
    }
}
