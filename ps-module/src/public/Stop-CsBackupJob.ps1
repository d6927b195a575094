function Stop-CsBackupJob {
    <#
    .SYNOPSIS
    Asks a job to stop. It stops at its next safe point and still writes its report.

    .DESCRIPTION
    Works for jobs of other processes too. What was copied stays copied; the next backup goes on from there.

    .PARAMETER JobId
    The job's id.

    .PARAMETER PassThru
    Returns the job. Wait-CsBackupJob waits until it has stopped.

    .INPUTS
    System.String, or objects with a property JobId.

    .OUTPUTS
    None, or CsBackup.Job with -PassThru.

    .EXAMPLE
    Get-CsBackupJob | Where-Object State -eq Running | Stop-CsBackupJob

    Stops every running job.

    .LINK
    Wait-CsBackupJob
    #>
    [CmdletBinding(SupportsShouldProcess, PositionalBinding = $false)]
    [OutputType('CsBackup.Job')]
    param(
        [Parameter(Mandatory, Position = 0, ValueFromPipeline, ValueFromPipelineByPropertyName)]
        [ValidateNotNullOrEmpty()]
        [string] $JobId,

        [switch] $PassThru
    )
    process {
        Import-CsbPreference $PSCmdlet
        $connection = Resolve-CsbConnection $PSCmdlet
        $reply = Invoke-CsbRequest $connection @{ request = 'getJob'; jobId = $JobId }
        if ($reply.Failure) {
            Write-CsbFailure $PSCmdlet $reply.Failure $JobId
            return
        }
        $question = Get-CsbText 'QuestionStop' $reply.Value.command, $reply.Value.poolFqdn, $JobId
        if (-not $PSCmdlet.ShouldProcess($question, (Get-CsbText 'ConfirmQuery' $question), (Get-CsbText 'ConfirmCaption'))) { return }
        $reply = Invoke-CsbRequest $connection @{ request = 'cancelJob'; jobId = $JobId }
        if (-not $reply.Failure -and $PassThru) { $reply = Invoke-CsbRequest $connection @{ request = 'getJob'; jobId = $JobId } }
        if ($reply.Failure) {
            Write-CsbFailure $PSCmdlet $reply.Failure $JobId
        } elseif ($PassThru) {
            ConvertTo-CsbJob $reply.Value
        }
    }
}
