# Makes a document what administrators expect: PascalCase names, local dates, time spans without the unit in the name.
function ConvertTo-CsbObject {
    param($Document, [string] $TypeName)
    $row = [ordered] @{}
    if ($TypeName) {
        $row['PSTypeName'] = $TypeName
        foreach ($name in $script:LeadingProperties[$TypeName]) { $row[$name] = $null }
    }
    # A document may have a field that is called like a property of dictionaries; a method is never mistaken for one.
    foreach ($field in $Document.GetEnumerator()) {
        $property = $script:PropertyOfField[$field.Key]
        if (-not $property) {
            $property = Get-CsbProperty $field.Key
            $script:PropertyOfField[$field.Key] = $property
        }
        $value = $field.Value
        if ($null -eq $value) {
            # A date or a span that is not known stays so.
        } elseif ($property['Kind'] -eq 'Duration') {
            $value = [timespan]::FromMilliseconds([double] $value)
        } elseif ($property['Kind'] -eq 'Date') {
            $value = ConvertTo-CsbDate $value
        } elseif ($value -is [System.Collections.IDictionary]) {
            $value = ConvertTo-CsbObject $value $script:NestedTypes[$property['Name']]
        } elseif ($value -is [array]) {
            $element = $script:NestedTypes[$property['Name']]
            $items = [object[]]::new($value.Length)
            for ($index = 0; $index -lt $items.Length; $index++) {
                $item = $value[$index]
                if ($item -is [System.Collections.IDictionary]) { $item = ConvertTo-CsbObject $item $element }
                $items[$index] = $item
            }
            $value = $items
        }
        $row[$property['Name']] = $value
    }
    [pscustomobject] $row
}

# What a field's name says of the property that it becomes.
function Get-CsbProperty {
    param([string] $Field)
    $name = $Field.Substring(0, 1).ToUpperInvariant() + $Field.Substring(1)
    $kind = ''
    if ($name -clike '?*Ms') {
        $name = $name.Substring(0, $name.Length - 2)
        $kind = 'Duration'
    } elseif ($name -clike '*Kb') {
        $name = $name.Substring(0, $name.Length - 2) + 'KB'
    } elseif ($name -clike '?*At' -or $name -ceq 'At' -or $name -ceq 'LastSuccess' -or $name -clike '*Since') {
        $kind = 'Date'
    }
    @{ Name = $name; Kind = $kind }
}

# What is known of the names of fields, which come again in every row; a type that tells cases apart.
$script:PropertyOfField = [System.Collections.Specialized.OrderedDictionary]::new()

# The types of objects in other objects, by the name of the property that holds one or several.
$script:NestedTypes = @{
    After         = 'CsBackup.ModuleState'
    BackupModules = 'CsBackup.ModuleStatus'
    BackupPoolStateDetails = 'CsBackup.PoolStateDetails'
    Before        = 'CsBackup.ModuleState'
    Changes       = 'CsBackup.ReportChanges'
    Checks        = 'CsBackup.AccessCheck'
    ContentStore  = 'CsBackup.Store'
    Direction     = 'CsBackup.Direction'
    Errors        = 'CsBackup.Failure'
    First         = 'CsBackup.Change'
    Host          = 'CsBackup.JobHost'
    Instructions  = 'CsBackup.Instruction'
    Line          = 'CsBackup.Line'
    Modules       = 'CsBackup.ReportModule'
    Moved         = 'CsBackup.Moved'
    Plan          = 'CsBackup.Plan'
    PoolStateDetails = 'CsBackup.PoolStateDetails'
    Pools         = 'CsBackup.TopologyPool'
    Quarantined   = 'CsBackup.QuarantinedItem'
    Removed       = 'CsBackup.RemovedItem'
    Request       = 'CsBackup.Request'
    Standby       = 'CsBackup.StandbyPlaces'
    StateDetails  = 'CsBackup.PoolStateDetails'
    Steps         = 'CsBackup.Step'
    UserStore     = 'CsBackup.Store'
    Verification  = 'CsBackup.Verification'
}

# JSON objects have no order; people read the name first.
$script:LeadingProperties = @{
    'CsBackup.AccessCheck'       = 'Store', 'Right', 'IsOk', 'Path', 'Why', 'Advice'
    'CsBackup.AdminRole'         = 'Identity', 'IsStandardRole', 'Cmdlets'
    'CsBackup.BackupServiceConfiguration' = 'Identity', 'SyncInterval', 'MaxConcurrentCalls', 'MaxBatchesPerUserStoreSync',
        'MaxBatchesPerCmsSync', 'MaxDataConfPackageSizeKB', 'AuthorizedLocalAccounts', 'AuthorizedUniversalGroups'
    'CsBackup.Change'            = 'Item', 'Bytes', 'From', 'KeptAs'
    'CsBackup.Failure'           = 'Kind', 'Message', 'Advice'
    'CsBackup.Instruction'       = 'AtPoolFqdn', 'Purpose', 'Lines'
    'CsBackup.Job'               = 'JobId', 'Command', 'PoolFqdn', 'State', 'Reason', 'StartedAt', 'FinishedAt', 'Duration', 'Machine', 'ProcessId'
    'CsBackup.Line'              = 'HostKeys', 'Version', 'System', 'ServedPoolFqdn', 'PartnerFqdn', 'Grants', 'Root', 'Connecting', 'RoundTrip',
        'BytesPerSecond', 'ClockAhead'
    'CsBackup.ModuleStatus'      = 'Identity', 'ExportStatus', 'ImportStatus', 'Lag', 'ChangedSince', 'PendingItems', 'PendingEstimated', 'PendingBytes',
        'LastSuccess', 'ObservedAt', 'Reason'
    'CsBackup.PlaceRegistration' = 'PoolFqdn', 'PartnerFqdn', 'Place', 'Account', 'Grants', 'AuthorizedKeysLine', 'Instructions', 'CheckedAccount',
        'Checks'
    'CsBackup.Pool'              = 'Identity', 'Fqdn', 'Site', 'Services', 'Computers', 'BackupPoolFqdn', 'State', 'StateDetails'
    'CsBackup.PoolBackupState'   = 'PoolFqdn', 'BackupPoolFqdn', 'BackupModule', 'Revision', 'At', 'JobId', 'JobKind', 'Bytes', 'KeptBytes', 'Reason'
    'CsBackup.PoolConnection'    = 'PoolFqdn', 'BackupPoolFqdn', 'Place', 'Succeeded', 'Account', 'Checks', 'Line', 'Warnings'
    'CsBackup.PoolStateDetails'  = 'Epoch', 'Since', 'JobId'
    'CsBackup.PublishedTopology' = 'Version', 'Unchanged', 'Pools', 'Warnings'
    'CsBackup.QuarantinedItem'   = 'Item', 'Reason', 'Advice'
    'CsBackup.Relationship'      = 'PoolFqdn', 'BackupPoolFqdn', 'PoolState', 'PoolStateDetails', 'BackupPoolState',
        'BackupPoolStateDetails'
    'CsBackup.Report'            = 'Command', 'PoolFqdn', 'BackupPoolFqdn', 'Outcome', 'StartedAt', 'FinishedAt', 'Duration', 'Retries',
        'JobId', 'WhatIf', 'Modules', 'Removed', 'NamesFile', 'Warnings', 'Errors'
    'CsBackup.ReportChanges'     = 'Kind', 'Items', 'First'
    'CsBackup.ReportModule'      = 'Module', 'Direction', 'Outcome', 'Duration', 'Before', 'After', 'Moved', 'Changes', 'Verification', 'Cursor',
        'Quarantined', 'Warnings', 'Errors'
    'CsBackup.SampleDeployment'  = 'DeploymentFile', 'TopologyFile', 'Pools', 'Users', 'Contacts', 'Files'
    'CsBackup.ServiceStatus'     = 'PoolFqdn', 'BackupPoolFqdn', 'ActiveMachineFqdn', 'PoolState', 'PoolStateDetails',
        'OverallExportStatus', 'OverallImportStatus', 'BackupModules'
    'CsBackup.StandbyPlaces'     = 'UserStore', 'ContentStore', 'ManagementStore', 'ServiceStore'
    'CsBackup.Store'             = @('Url')
    'CsBackup.Topology'          = 'CentralManagementPool', 'Pools'
    'CsBackup.TopologyPool'      = 'Fqdn', 'Site', 'BackupPool', 'Computers', 'UserStore', 'ContentStore', 'Standby'
}
