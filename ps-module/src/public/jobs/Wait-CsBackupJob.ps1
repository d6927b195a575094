function Wait-CsBackupJob {
    # .EXTERNALHELP CsBackup-help.xml
    [CmdletBinding(PositionalBinding = $false)]
    [OutputType('CsBackup.Job')]
    param(
        [Parameter(Mandatory, Position = 0, ValueFromPipeline, ValueFromPipelineByPropertyName,
            HelpMessage = 'Id of the job. Get-CsBackupJob lists the jobs.')]
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
        $shown = ''
        $drawn = -1000
        try {
            while ($true) {
                $reply = Read-CsbJob $connection $JobId
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
                $status = '{0} {1}: {2}' -f $job.command, $job.poolFqdn, $job.state
                # Seldom, as the bars of jobs are drawn.
                if ($shown -ne "$status|$left" -and $clock.ElapsedMilliseconds - $drawn -ge 500) {
                    Write-Progress -Id 4110 -Activity $activity -Status $status -SecondsRemaining $left
                    $drawn = $clock.ElapsedMilliseconds
                    $shown = "$status|$left"
                }
                Start-Sleep -Milliseconds 100
            }
        } finally {
            if ($shown) { Write-Progress -Id 4110 -Activity $activity -Completed }
        }
    }
}
