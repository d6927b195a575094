# Makes a document what administrators expect: PascalCase names, local dates, time spans without the unit in the name.
function ConvertTo-CsbObject {
    param($Document, [string] $TypeName)
    $row = [ordered] @{}
    if ($TypeName) {
        $row['PSTypeName'] = $TypeName
        foreach ($name in $script:LeadingProperties[$TypeName]) { $row[$name] = $null }
    }
    foreach ($field in $Document.PSObject.Properties) {
        $property = $script:PropertyOfField[$field.Name]
        if (-not $property) {
            $name = $field.Name.Substring(0, 1).ToUpperInvariant() + $field.Name.Substring(1)
            $property = @{ Name = $name; Kind = '' }
            if ($name -clike '?*Ms') {
                $property = @{ Name = $name.Substring(0, $name.Length - 2); Kind = 'Duration' }
            } elseif ($name -clike '*Kb') {
                $property.Name = $name.Substring(0, $name.Length - 2) + 'KB'
            } elseif ($name -clike '?*At' -or $name -ceq 'LastSuccess') {
                $property.Kind = 'Date'
            }
            $script:PropertyOfField[$field.Name] = $property
        }
        $value = $field.Value
        if ($property.Kind -eq 'Duration') {
            if ($null -ne $value) { $value = [timespan]::FromMilliseconds([double] $value) }
        } elseif ($property.Kind -eq 'Date') {
            $value = ConvertTo-CsbDate $value
        } elseif ($value -is [System.Management.Automation.PSCustomObject]) {
            $value = ConvertTo-CsbObject $value
        } elseif ($value -is [array]) {
            $element = [string] $script:ElementTypes[$property.Name]
            $items = New-Object object[] $value.Length
            for ($index = 0; $index -lt $value.Length; $index++) {
                $item = $value[$index]
                if ($item -is [System.Management.Automation.PSCustomObject]) { $item = ConvertTo-CsbObject $item $element }
                $items[$index] = $item
            }
            $value = $items
        }
        $row[$property.Name] = $value
    }
    [pscustomobject] $row
}

# What is known of the names of fields, which come again in every row; a type that tells cases apart.
$script:PropertyOfField = New-Object System.Collections.Specialized.OrderedDictionary

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
