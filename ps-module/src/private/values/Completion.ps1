# Pool names for tab completion: from the local replica, so that it answers at once also while the CMS is down.
function Get-CsbPoolName {
    if ($script:PoolNames -and $script:PoolNames.Clock.ElapsedMilliseconds -lt 5000) { return $script:PoolNames.Names }
    $connection = Get-CsbConnection
    if ($connection.Failure) { return }
    $reply = Invoke-CsbRequest $connection.Value @{ request = 'getPools'; localStore = $true }
    if ($reply.Failure) { return }
    $names = @($reply.Value.pools | ForEach-Object { $_.fqdn })
    $script:PoolNames = @{ Names = $names; Clock = [System.Diagnostics.Stopwatch]::StartNew() }
    $names
}

# Offers what a request's reply has, by a block that takes the reply; nothing where there is no reply.
function Get-CsbCompletion {
    param([string] $Word, [System.Collections.IDictionary] $Request, [scriptblock] $Select)
    $connection = Get-CsbConnection
    if ($connection.Failure) { return }
    $reply = Invoke-CsbRequest $connection.Value $Request
    if ($reply.Failure) { return }
    Format-CsbCompletion $Word (& $Select $reply.Value)
}

# A name with a blank is offered in quotes.
function Format-CsbCompletion {
    param([string] $Word, [string[]] $Names)
    $start = $Word.Trim('''"')
    foreach ($name in $Names) {
        if (-not $name -or -not $name.StartsWith($start, [System.StringComparison]::OrdinalIgnoreCase)) { continue }
        $text = $name
        if ($name -match '[^\w.:-]') { $text = "'{0}'" -f $name.Replace("'", "''") }
        New-Object System.Management.Automation.CompletionResult $text, $name, 'ParameterValue', $name
    }
}

function Register-CsbCompleter {
    $pools = { Format-CsbCompletion $args[2] @(Get-CsbPoolName) }
    $commands = 'Backup-CsPool', 'Invoke-CsBackupServiceSync', 'Get-CsPoolBackupRelationship', 'Get-CsBackupServiceStatus',
        'Get-CsBackupJob', 'Disable-CsPoolBackup', 'Get-CsPoolBackupHistory', 'Restore-CsPoolBackup',
        'Test-CsPoolConnection', 'Register-CsPoolPlace'
    Register-ArgumentCompleter -CommandName $commands -ParameterName PoolFqdn -ScriptBlock $pools
    Register-ArgumentCompleter -CommandName Get-CsPool -ParameterName Identity -ScriptBlock $pools
    Register-ArgumentCompleter -CommandName Get-CsPool -ParameterName Site -ScriptBlock {
        Get-CsbCompletion $args[2] @{ request = 'getPools'; localStore = $true } { @($args[0].pools | ForEach-Object { $_.site } | Select-Object -Unique) }
    }
    Register-ArgumentCompleter -CommandName Get-CsAdminRole -ParameterName Identity -ScriptBlock {
        Get-CsbCompletion $args[2] @{ request = 'getAdminRoles'; localStore = $true } { @($args[0].roles | ForEach-Object { $_.identity }) }
    }
    Register-ArgumentCompleter -CommandName Restore-CsPoolBackup -ParameterName Revision -ScriptBlock {
        $start = [string] $args[2]
        $pool = [string] $args[4]['PoolFqdn']
        $connection = Get-CsbConnection
        if (-not $pool -or $connection.Failure) { return }
        $reply = Invoke-CsbRequest $connection.Value @{ request = 'getPoolBackupHistory'; poolFqdn = $pool; localStore = $true }
        if ($reply.Failure) { return }
        $of = [string] $args[4]['BackupModule']
        if (-not $of) { $of = if ($args[4]['Include']) { 'DataConf' } else { 'PresenceFocus' } }
        $modules = @($reply.Value.modules | Where-Object { $_.module -like "*$of" })
        foreach ($state in @($modules | ForEach-Object { $_.states } | Select-Object -First 20)) {
            if (-not ([string] $state.revision).StartsWith($start, [System.StringComparison]::Ordinal)) { continue }
            $tip = '{0:G}, {1}' -f (ConvertTo-CsbDate $state.at), (Format-CsbSize $state.bytes)
            New-Object System.Management.Automation.CompletionResult ([string] $state.revision), ([string] $state.revision), 'ParameterValue', $tip
        }
    }
    Register-ArgumentCompleter -CommandName Get-CsBackupJob, Wait-CsBackupJob, Stop-CsBackupJob -ParameterName JobId -ScriptBlock {
        $start = [string] $args[2]
        $connection = Get-CsbConnection
        if ($connection.Failure) { return }
        $reply = Invoke-CsbRequest $connection.Value @{ request = 'listJobs' }
        if ($reply.Failure) { return }
        foreach ($job in @($reply.Value.jobs | Select-Object -First 20)) {
            if (([string] $job.jobId).StartsWith($start, [System.StringComparison]::OrdinalIgnoreCase)) {
                $tip = '{0} {1} {2}' -f $job.command, $job.poolFqdn, $job.state
                New-Object System.Management.Automation.CompletionResult $job.jobId, $job.jobId, 'ParameterValue', $tip
            }
        }
    }
}
