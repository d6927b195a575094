# The settings of the backup service: PowerShell's name and the documents' name.
$script:Settings = [ordered] @{
    SyncInterval               = 'syncIntervalMs'
    MaxConcurrentCalls         = 'maxConcurrentCalls'
    MaxBatchesPerUserStoreSync = 'maxBatchesPerUserStoreSync'
    MaxBatchesPerCmsSync       = 'maxBatchesPerCmsSync'
    MaxDataConfPackageSizeKB   = 'maxDataConfPackageSizeKb'
    AuthorizedLocalAccounts    = 'authorizedLocalAccounts'
    AuthorizedUniversalGroups  = 'authorizedUniversalGroups'
}

function ConvertTo-CsbConfiguration {
    param($Document)
    $configuration = ConvertTo-CsbObject $Document 'CsBackup.BackupServiceConfiguration'
    $configuration.Identity = 'Global'
    $configuration
}

# The settings that a person gives: those of an instance, and over them those of parameters.
# Returns @{ Value = settings as a request takes them; Failure }.
function Get-CsbSetting {
    param([AllowNull()] $Instance, [System.Collections.IDictionary] $Bound)
    $given = @{}
    if ($null -ne $Instance) {
        if (-not ($Instance.PSObject.TypeNames -match 'CsBackup\.BackupServiceConfiguration$')) {
            $message = Get-CsbText 'InstanceInvalid' ([string] $Instance)
            return @{ Value = $null; Failure = New-CsbFailure 'InvalidArgument' $message (Get-CsbText 'InstanceInvalidAdvice') }
        }
        foreach ($property in $Instance.PSObject.Properties) { $given[$property.Name] = $property.Value }
    }
    foreach ($name in $Bound.Keys) { $given[$name] = $Bound[$name] }
    $settings = @{}
    foreach ($name in $script:Settings.Keys) {
        if (-not $given.ContainsKey($name)) { continue }
        $value = $given[$name]
        $message = ''
        if ($name -eq 'SyncInterval') {
            $duration = ConvertTo-CsbDuration $value
            if ($null -eq $duration) { $message = Get-CsbText 'DurationInvalid' ([string] $value) } else { $value = [long] $duration.TotalMilliseconds }
        } elseif ($name.StartsWith('Authorized', [System.StringComparison]::Ordinal)) {
            $value = @(foreach ($account in @($value)) { if ($account) { [string] $account } })
        } else {
            $number = $value -as [int]
            if ($null -eq $number -or $number -lt 0) { $message = Get-CsbText 'SettingInvalid' ([string] $value), $name } else { $value = $number }
        }
        if ($message) { return @{ Value = $null; Failure = New-CsbFailure 'InvalidArgument' $message (Get-CsbText 'InstanceInvalidAdvice') } }
        $settings[$script:Settings[$name]] = $value
    }
    @{ Value = $settings; Failure = $null }
}

# What differs between two configurations, for a prompt: "SyncInterval 00:02:00 -> 00:03:00".
function Format-CsbConfigurationChange {
    param($Before, $After)
    $changes = foreach ($name in $script:Settings.Keys) {
        $old = Format-CsbSetting $Before.$name
        $new = Format-CsbSetting $After.$name
        if ($old -cne $new) { '{0} {1} -> {2}' -f $name, $old, $new }
    }
    if (-not $changes) { return Get-CsbText 'ConfigurationUnchanged' }
    $changes -join ', '
}

function Format-CsbSetting {
    param([AllowNull()] $Value)
    if ($Value -is [array]) { return '{' + ($Value -join ', ') + '}' }
    [string] $Value
}

# Asks, and changes the settings with a request. $Change is @{ Cmdlet; Request; Question; PassThru }.
function Set-CsbConfiguration {
    [Diagnostics.CodeAnalysis.SuppressMessageAttribute('PSShouldProcess', '', Justification = 'Asks in the name of the public cmdlet.')]
    param([hashtable] $Change)
    $cmdlet = $Change.Cmdlet
    $connection = Resolve-CsbConnection $cmdlet
    $before = Invoke-CsbRequest $connection @{ request = 'getBackupServiceConfiguration' }
    $planned = $before
    if (-not $before.Failure) { $planned = Invoke-CsbRequest $connection ($Change.Request + @{ whatIf = $true }) }
    if ($planned.Failure) {
        Write-CsbFailure $cmdlet $planned.Failure 'Global'
        return
    }
    $difference = Format-CsbConfigurationChange (ConvertTo-CsbConfiguration $before.Value) (ConvertTo-CsbConfiguration $planned.Value)
    $question = Get-CsbText $Change.Question $difference
    if (-not $cmdlet.ShouldProcess($question, (Get-CsbText 'ConfirmQuery' $question), (Get-CsbText 'ConfirmCaption'))) { return }
    $reply = Invoke-CsbRequest $connection $Change.Request
    if ($reply.Failure) {
        Write-CsbFailure $cmdlet $reply.Failure 'Global'
    } elseif ($Change.PassThru) {
        ConvertTo-CsbConfiguration $reply.Value
    }
}
