function Get-CsBackupJob {
    # .EXTERNALHELP CsBackup-help.xml
    [CmdletBinding(DefaultParameterSetName = 'List', PositionalBinding = $false)]
    [OutputType('CsBackup.Job')]
    param(
        [Parameter(ParameterSetName = 'One', Mandatory, Position = 0, ValueFromPipeline, ValueFromPipelineByPropertyName,
            HelpMessage = 'Id of the job. Get-CsBackupJob lists the jobs.')]
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
        $reply = Read-CsbJob $connection $JobId
        if (-not $reply.Failure -and $Report) {
            $file = Resolve-CsbPath $PSCmdlet $Report
            if ($file.Failure) { Write-CsbFailure $PSCmdlet $file.Failure $Report -Terminating }
            $written = Write-CsbReportFile $connection @{ jobId = $JobId } $file.Value
            if ($written.Failure) { $reply = $written }
        }
        if ($reply.Failure) {
            Write-CsbFailure $PSCmdlet $reply.Failure $JobId
        } else {
            ConvertTo-CsbJob $reply.Value
        }
    }
}
