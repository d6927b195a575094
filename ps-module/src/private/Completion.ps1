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

function Register-CsbCompleter {
    $pools = {
        $start = ([string] $args[2]).Trim('''"')
        foreach ($name in Get-CsbPoolName) {
            if ($name.StartsWith($start, [System.StringComparison]::OrdinalIgnoreCase)) {
                New-Object System.Management.Automation.CompletionResult $name, $name, 'ParameterValue', $name
            }
        }
    }
    $commands = 'Backup-CsPool', 'Invoke-CsBackupServiceSync', 'Get-CsPoolBackupRelationship', 'Get-CsBackupServiceStatus',
        'Get-CsBackupJob', 'Disable-CsPoolBackup'
    Register-ArgumentCompleter -CommandName $commands -ParameterName PoolFqdn -ScriptBlock $pools
    Register-ArgumentCompleter -CommandName Get-CsPool -ParameterName Identity -ScriptBlock $pools
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
