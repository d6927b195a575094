function Wait-CsBackupJob {
    <#
    .SYNOPSIS
    Waits until a job has ended, and returns it.

    .DESCRIPTION
    Works for jobs of other processes too. Ctrl+C ends the waiting, not the job.

    .PARAMETER JobId
    The job's id.

    .PARAMETER Timeout
    How long to wait at most. A bare number means seconds; hh:mm:ss and a TimeSpan mean what they say. Without it there is no limit.

    .INPUTS
    System.String, or objects with a property JobId.

    .OUTPUTS
    CsBackup.Job

    .EXAMPLE
    Get-CsBackupJob | Where-Object State -eq Running | Wait-CsBackupJob -Timeout 60

    Waits for every running job, at most a minute for each.

    .LINK
    Get-CsBackupJob
    #>
    [CmdletBinding(PositionalBinding = $false)]
    [OutputType('CsBackup.Job')]
    param(
        [Parameter(Mandatory, Position = 0, ValueFromPipeline, ValueFromPipelineByPropertyName)]
        [ValidateNotNullOrEmpty()]
        [string] $JobId,

        [CsBackupDurationAttribute()]
        [timespan] $Timeout
    )
    process {
        Import-CsbPreference $PSCmdlet
        $connection = Resolve-CsbConnection $PSCmdlet
        $limited = $PSBoundParameters.ContainsKey('Timeout')
        $clock = [System.Diagnostics.Stopwatch]::StartNew()
        $activity = Get-CsbText 'WaitActivity' $JobId
        $shown = $false
        try {
            while ($true) {
                $reply = Invoke-CsbRequest $connection @{ request = 'getJob'; jobId = $JobId }
                if ($reply.Failure) {
                    Write-CsbFailure $PSCmdlet $reply.Failure $JobId
                    return
                }
                $job = $reply.Value
                if ('Queued', 'Running', 'Cancelling' -notcontains $job.state) {
                    ConvertTo-CsbJob $job
                    return
                }
                if ($limited -and $clock.Elapsed -ge $Timeout) {
                    Write-CsbFailure $PSCmdlet (New-CsbFailure 'WaitTimedOut' (Get-CsbText 'WaitTimedOut' $JobId, $job.state) (
                            Get-CsbText 'WaitTimedOutAdvice')) $JobId
                    return
                }
                $left = -1
                if ($limited) { $left = [int] [System.Math]::Ceiling(($Timeout - $clock.Elapsed).TotalSeconds) }
                Write-Progress -Id 4110 -Activity $activity -Status ('{0} {1}: {2}' -f $job.command, $job.poolFqdn, $job.state) -SecondsRemaining $left
                $shown = $true
                Start-Sleep -Milliseconds 100
            }
        } finally {
            if ($shown) { Write-Progress -Id 4110 -Activity $activity -Completed }
        }
    }
}
