function Stop-CsBackupJob {
    # .EXTERNALHELP CsBackup-help.xml
    [CmdletBinding(SupportsShouldProcess, PositionalBinding = $false)]
    [OutputType('CsBackup.Job')]
    param(
        [Parameter(Mandatory, Position = 0, ValueFromPipeline, ValueFromPipelineByPropertyName,
            HelpMessage = 'Id of the job. Get-CsBackupJob lists the jobs.')]
        [ValidateNotNullOrEmpty()]
        [string] $JobId,

        [switch] $PassThru
    )
    process {
        Import-CsbPreference $PSCmdlet
        $connection = Resolve-CsbConnection $PSCmdlet
        $reply = Read-CsbJob $connection $JobId
        if ($reply.Failure) {
            Write-CsbFailure $PSCmdlet $reply.Failure $JobId
            return
        }
        if ('Queued', 'Running', 'Cancelling' -notcontains $reply.Value.state) {
            $ended = Get-CsbText 'JobHasEnded' $JobId, $reply.Value.state
            if ($WhatIfPreference) { [void] $PSCmdlet.ShouldProcess($ended, '', '') } else { Write-Verbose $ended }
            if ($PassThru) { ConvertTo-CsbJob $reply.Value }
            return
        }
        $question = Get-CsbText 'QuestionStop' $reply.Value.command, $reply.Value.poolFqdn, $JobId
        if (-not $PSCmdlet.ShouldProcess($question, (Get-CsbText 'ConfirmQuery' $question), (Get-CsbText 'ConfirmCaption'))) { return }
        $reply = Invoke-CsbRequest $connection @{ request = 'cancelJob'; jobId = $JobId }
        if (-not $reply.Failure -and $PassThru) { $reply = Read-CsbJob $connection $JobId }
        if ($reply.Failure) {
            Write-CsbFailure $PSCmdlet $reply.Failure $JobId
        } elseif ($PassThru) {
            ConvertTo-CsbJob $reply.Value
        }
    }
}
