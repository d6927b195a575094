# Makes a document what administrators expect: PascalCase names, local dates, time spans without the unit in the name.
function ConvertTo-CsbObject {
    param($Document, [string] $TypeName)
    $row = [ordered] @{}
    if ($TypeName) {
        $row['PSTypeName'] = $TypeName
        foreach ($name in @($script:LeadingProperties[$TypeName])) { if ($name) { $row[$name] = $null } }
    }
    foreach ($property in $Document.PSObject.Properties) {
        $name = $property.Name.Substring(0, 1).ToUpperInvariant() + $property.Name.Substring(1)
        $value = $property.Value
        if ($name.EndsWith('Kb', [System.StringComparison]::Ordinal)) { $name = $name.Substring(0, $name.Length - 2) + 'KB' }
        if ($name.Length -gt 2 -and $name.EndsWith('Ms', [System.StringComparison]::Ordinal)) {
            $name = $name.Substring(0, $name.Length - 2)
            if ($null -ne $value) { $value = [timespan]::FromMilliseconds([double] $value) }
        } elseif ($name -ceq 'LastSuccess' -or ($name.Length -gt 2 -and $name.EndsWith('At', [System.StringComparison]::Ordinal))) {
            $value = ConvertTo-CsbDate $value
        } elseif ($value -is [System.Management.Automation.PSCustomObject]) {
            $value = ConvertTo-CsbObject $value
        } elseif ($value -is [array]) {
            $element = [string] $script:ElementTypes[$name]
            $items = New-Object object[] $value.Length
            for ($index = 0; $index -lt $value.Length; $index++) {
                $item = $value[$index]
                if ($item -is [System.Management.Automation.PSCustomObject]) { $item = ConvertTo-CsbObject $item $element }
                $items[$index] = $item
            }
            $value = $items
        }
        $row[$name] = $value
    }
    [pscustomobject] $row
}

$script:ElementTypes = @{
    BackupModules = 'CsBackup.ModuleStatus'
    Errors        = 'CsBackup.Failure'
    Modules       = 'CsBackup.ReportModule'
    Quarantined   = 'CsBackup.QuarantinedItem'
    Steps         = 'CsBackup.Step'
}

# JSON objects have no order; people read the name first.
$script:LeadingProperties = @{
    'CsBackup.AdminRole'         = 'Identity', 'IsStandardRole', 'Cmdlets'
    'CsBackup.BackupServiceConfiguration' = 'Identity', 'SyncInterval', 'MaxConcurrentCalls', 'MaxBatchesPerUserStoreSync',
        'MaxBatchesPerCmsSync', 'MaxDataConfPackageSizeKB', 'AuthorizedLocalAccounts', 'AuthorizedUniversalGroups'
    'CsBackup.Failure'           = 'Kind', 'Message', 'Advice'
    'CsBackup.Job'               = 'JobId', 'Command', 'PoolFqdn', 'State', 'StartedAt', 'FinishedAt', 'Duration', 'Machine', 'ProcessId'
    'CsBackup.ModuleStatus'      = 'Identity', 'ExportStatus', 'ImportStatus', 'Lag', 'PendingItems', 'PendingBytes', 'LastSuccess',
        'ObservedAt', 'Reason'
    'CsBackup.Pool'              = 'Identity', 'Fqdn', 'Site', 'Services', 'Computers', 'BackupPoolFqdn', 'State'
    'CsBackup.PublishedTopology' = 'Version', 'Unchanged', 'Pools', 'Warnings'
    'CsBackup.QuarantinedItem'   = 'Item', 'Reason', 'Advice'
    'CsBackup.Relationship'      = 'PoolFqdn', 'BackupPoolFqdn', 'PoolState', 'BackupPoolState'
    'CsBackup.Report'            = 'Command', 'PoolFqdn', 'BackupPoolFqdn', 'Outcome', 'StartedAt', 'FinishedAt', 'Duration', 'Retries',
        'JobId', 'WhatIf', 'Modules', 'Warnings', 'Errors'
    'CsBackup.ReportModule'      = 'Module', 'Direction', 'Outcome', 'Duration', 'Before', 'After', 'Moved', 'Verification', 'Cursor',
        'Quarantined', 'Warnings', 'Errors'
    'CsBackup.SampleDeployment'  = 'DeploymentFile', 'TopologyFile', 'Pools', 'Users', 'Contacts', 'Files'
    'CsBackup.ServiceStatus'     = 'PoolFqdn', 'BackupPoolFqdn', 'ActiveMachineFqdn', 'PoolState', 'OverallExportStatus',
        'OverallImportStatus', 'BackupModules'
}
