function Get-CsBackupJob {
    <#
    .SYNOPSIS
    Returns the jobs of this deployment, the newest first, or writes one job's HTML log.

    .DESCRIPTION
    Jobs of other processes are listed too. A job whose process died is Failed, with the error Interrupted.

    .PARAMETER JobId
    The job's id.

    .PARAMETER PoolFqdn
    Only the jobs of this pool.

    .PARAMETER Report
    Writes the job's HTML log to this file. A file that is there is overwritten.

    .INPUTS
    System.String, or objects with a property JobId.

    .OUTPUTS
    CsBackup.Job: JobId, Command, PoolFqdn, State, StartedAt, FinishedAt, Duration, Machine, ProcessId.

    .EXAMPLE
    Get-CsBackupJob

    Lists the jobs.

    .EXAMPLE
    Get-CsBackupJob -PoolFqdn "atl-cs-001.litwareinc.com" | Select-Object -First 1 | Get-CsBackupJob -Report ./last.html

    Saves the log of a pool's last job.

    .LINK
    Wait-CsBackupJob

    .LINK
    Stop-CsBackupJob
    #>
    [CmdletBinding(DefaultParameterSetName = 'List', PositionalBinding = $false)]
    [OutputType('CsBackup.Job')]
    param(
        [Parameter(ParameterSetName = 'One', Mandatory, Position = 0, ValueFromPipeline, ValueFromPipelineByPropertyName)]
        [ValidateNotNullOrEmpty()]
        [string] $JobId,

        [Parameter(ParameterSetName = 'List')]
        [ValidateNotNullOrEmpty()]
        [string] $PoolFqdn,

        [Parameter(ParameterSetName = 'One')]
        [ValidateNotNullOrEmpty()]
        [string] $Report
    )
    process {
        Import-CsbPreference $PSCmdlet
        $connection = Resolve-CsbConnection $PSCmdlet
        if ($PSCmdlet.ParameterSetName -eq 'List') {
            $request = @{ request = 'listJobs' }
            if ($PoolFqdn) { $request['poolFqdn'] = $PoolFqdn }
            $reply = Invoke-CsbRequest $connection $request
            if ($reply.Failure) {
                Write-CsbFailure $PSCmdlet $reply.Failure $PoolFqdn
                return
            }
            foreach ($job in @($reply.Value.jobs)) { ConvertTo-CsbJob $job }
            return
        }
        $reply = Invoke-CsbRequest $connection @{ request = 'getJob'; jobId = $JobId }
        if (-not $reply.Failure -and $Report) {
            $file = Resolve-CsbReportPath $PSCmdlet $Report
            if ($file.Failure) { Write-CsbFailure $PSCmdlet $file.Failure $Report -Terminating }
            $page = Invoke-CsbRequest $connection @{ request = 'getReport'; jobId = $JobId; format = 'html' }
            if ($page.Failure) {
                $reply = $page
            } else {
                $failure = Write-CsbReportFile $file.Value $page.Value.html
                if ($failure) { Write-CsbFailure $PSCmdlet $failure $file.Value -Terminating }
            }
        }
        if ($reply.Failure) {
            Write-CsbFailure $PSCmdlet $reply.Failure $JobId
        } else {
            ConvertTo-CsbJob $reply.Value
        }
    }
}
