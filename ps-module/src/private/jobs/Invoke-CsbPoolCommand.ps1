# What Backup-CsPool and its family have in common: plan with -WhatIf, ask, run here or in the background, tell how it ended.
# $Command is @{ Cmdlet; Name; Function; Request; Report; PassThru; Force; AsJob; Question; Parameters }.
function Invoke-CsbPoolCommand {
    [Diagnostics.CodeAnalysis.SuppressMessageAttribute('PSShouldProcess', '', Justification = 'Asks in the name of the public cmdlet.')]
    param([hashtable] $Command)
    $cmdlet = $Command.Cmdlet
    $pool = [string] $Command.Request['poolFqdn']
    $connection = Resolve-CsbConnection $cmdlet
    $reportPath = Resolve-CsbReportPath $cmdlet $Command.Report
    if ($reportPath.Failure) { Write-CsbFailure $cmdlet $reportPath.Failure $pool -Terminating }

    if ($WhatIfPreference) {
        Write-CsbPlan $Command $connection
        return
    }
    $question = Get-CsbText $Command.Question $pool
    if (-not $cmdlet.ShouldProcess($question, (Get-CsbText 'ConfirmQuery' $question), (Get-CsbText 'ConfirmCaption'))) { return }
    if ($Command.AsJob) {
        if ($reportPath.Value) { $Command.Parameters['Report'] = $reportPath.Value }
        Start-CsbBackgroundCommand $connection $Command.Name $Command.Parameters
        return
    }

    $run = Invoke-CsbJob $connection $Command.Function $Command.Request $Command.Name $reportPath.Value
    if ($run.Value) {
        if ($run.ReportFile) { Write-Verbose (Get-CsbText 'ReportWritten' $run.ReportFile) }
        if ($Command.PassThru) {
            $report = ConvertTo-CsbObject $run.Value 'CsBackup.Report'
            $report | Add-Member -NotePropertyName ReportFile -NotePropertyValue $run.ReportFile
            $cmdlet.WriteObject($report)
        }
        Write-CsbJobOutcome $cmdlet $run.Value $pool -Force:$Command.Force
    }
    if ($run.Failure) { Write-CsbFailure $cmdlet $run.Failure $pool }
}

# Lets the library plan the job, and prints the plan in PowerShell's own "What if:" lines.
function Write-CsbPlan {
    [Diagnostics.CodeAnalysis.SuppressMessageAttribute('PSShouldProcess', '', Justification = 'Asks in the name of the public cmdlet.')]
    param([hashtable] $Command, $Connection)
    $cmdlet = $Command.Cmdlet
    $pool = [string] $Command.Request['poolFqdn']
    $Command.Request['whatIf'] = $true
    $run = Invoke-CsbJob $Connection $Command.Function $Command.Request $Command.Name ''
    if ($run.Failure) {
        Write-CsbFailure $cmdlet $run.Failure $pool
        return
    }
    [void] $cmdlet.ShouldProcess((Get-CsbText $Command.Question $pool), '', '')
    $number = 0
    foreach ($step in @(Get-CsbField (Get-CsbField $run.Value 'plan') 'steps' @())) {
        $number++
        [void] $cmdlet.ShouldProcess("  $number. " + (Format-CsbStep $step), '', '')
    }
    Write-CsbJobOutcome $cmdlet $run.Value $pool -Force:$Command.Force
    if ($Command.PassThru) { $cmdlet.WriteObject((ConvertTo-CsbObject $run.Value 'CsBackup.Report')) }
}
