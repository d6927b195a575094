# What Backup-CsPool and its family have in common: plan with -WhatIf, ask, run here or in the background, tell how it ended.
# $Command is @{ Cmdlet; Name; Job; Request; Report; PassThru; Force; AsJob; Question; Details; Parameters; Removes }. Details are what
# the question says besides the pool. A command that removes says beforehand how much, and lists what it removed.
function Invoke-CsbPoolCommand {
    [Diagnostics.CodeAnalysis.SuppressMessageAttribute('PSShouldProcess', '', Justification = 'Asks in the name of the public cmdlet.')]
    param([hashtable] $Command)
    $cmdlet = $Command.Cmdlet
    $pool = [string] $Command.Request['poolFqdn']
    $connection = Resolve-CsbConnection $cmdlet
    $Command.Request['job'] = $Command.Job
    $reportPath = Resolve-CsbReportPath $cmdlet $connection $Command.Report ([bool] $Command.Request['localStore'])
    if ($reportPath.Failure) { Write-CsbFailure $cmdlet $reportPath.Failure $pool -Terminating }

    if ($WhatIfPreference) {
        Write-CsbPlan $Command $connection $reportPath.Value
        return
    }
    if ($Command['Removes']) {
        $plan = Read-CsbPlan $Command $connection
        if ($plan.Failure) {
            Write-CsbFailure $cmdlet $plan.Failure $pool
            return
        }
        $planned = @(Get-CsbField $plan.Value 'removed' @())
        if (-not $planned.Count) {
            Write-CsbJobOutcome $cmdlet $plan.Value $pool -Force:$Command.Force
            if ([string] $plan.Value.outcome -eq 'Succeeded') { Write-Verbose (Get-CsbText 'NothingToDisable' $plan.Value.poolFqdn) }
            return
        }
        $question = Get-CsbText $Command.Question $plan.Value.poolFqdn, $planned.Count -Count $planned.Count
    } else {
        $question = Get-CsbText $Command.Question (@($pool) + @($Command['Details']))
    }
    if (-not $cmdlet.ShouldProcess($question, (Get-CsbText 'ConfirmQuery' $question), (Get-CsbText 'ConfirmCaption'))) { return }
    if ($Command.AsJob) {
        if ($reportPath.Value) { $Command.Parameters['Report'] = $reportPath.Value }
        Start-CsbBackgroundCommand $connection $Command.Name $Command.Parameters
        return
    }

    $run = Invoke-CsbJob $connection $Command.Request $Command.Name $reportPath.Value
    if ($run.Value) {
        if ($run.ReportFile) { Write-Verbose (Get-CsbText 'ReportWritten' $run.ReportFile) }
        foreach ($step in @(Get-CsbField (Get-CsbField $run.Value 'plan') 'steps' @())) {
            $note = [string] (Get-CsbField $step 'note' '')
            if ($note) { Write-Verbose ('{0}: {1}' -f $step.title, $note) }
        }
        # Of a job that never knew its pool there is nothing to tell but why.
        $isKnown = [bool] (Get-CsbField $run.Value 'backupPoolFqdn' '')
        if ($Command['Removes'] -and -not $Command.PassThru) {
            foreach ($item in @(Get-CsbField $run.Value 'removed' @())) {
                $cmdlet.WriteObject([pscustomobject] @{
                        PSTypeName = 'CsBackup.RemovedItem'; PoolFqdn = $run.Value.poolFqdn; Store = $item.store; Kind = $item.kind
                        Name = $item.name
                    })
            }
        }
        if ($Command.PassThru -and $isKnown) {
            $report = ConvertTo-CsbObject $run.Value 'CsBackup.Report'
            $report | Add-Member -NotePropertyName ReportFile -NotePropertyValue $run.ReportFile
            $cmdlet.WriteObject($report)
        }
        Write-CsbJobOutcome $cmdlet $run.Value $pool -Force:$Command.Force
    }
    if ($run.Failure) { Write-CsbFailure $cmdlet $run.Failure $pool }
}

# Lets the library plan the job, and prints the plan in PowerShell's own "What if:" lines. A report is written only where one was named.
function Write-CsbPlan {
    [Diagnostics.CodeAnalysis.SuppressMessageAttribute('PSShouldProcess', '', Justification = 'Asks in the name of the public cmdlet.')]
    param([hashtable] $Command, $Connection, [string] $ReportPath)
    $cmdlet = $Command.Cmdlet
    $pool = [string] $Command.Request['poolFqdn']
    $run = Read-CsbPlan $Command $Connection $ReportPath
    if ($run.Failure) {
        Write-CsbFailure $cmdlet $run.Failure $pool
        return
    }
    $steps = @(Get-CsbField (Get-CsbField $run.Value 'plan') 'steps' @())
    $removed = @(Get-CsbField $run.Value 'removed' @())
    if ($Command['Removes'] -and $steps.Count -and -not $removed.Count -and [string] $run.Value.outcome -eq 'Succeeded') {
        [void] $cmdlet.ShouldProcess((Get-CsbText 'NothingToDisable' $run.Value.poolFqdn), '', '')
        $steps = @()
    } elseif ($steps.Count) {
        $details = @($Command['Details'])
        if ($Command['Removes']) { $details = @($removed.Count) }
        [void] $cmdlet.ShouldProcess((Get-CsbText $Command.Question (@($run.Value.poolFqdn) + $details) -Count $removed.Count), '', '')
    }
    $number = 0
    foreach ($step in $steps) {
        $number++
        [void] $cmdlet.ShouldProcess("  $number. " + (Format-CsbStep $step), '', '')
        foreach ($module in @(Get-CsbField $run.Value 'modules' @())) {
            $id = '{0}:{1}' -f (Get-CsbField $module 'purpose' ''), $module.module
            if ($id -ne $step.id) { continue }
            foreach ($line in @(Format-CsbChange $module)) { [void] $cmdlet.ShouldProcess("     $line", '', '') }
        }
    }
    foreach ($item in $removed) {
        [void] $cmdlet.ShouldProcess((Get-CsbText 'RemovedItem' $item.kind, $item.name, $item.store), '', '')
    }
    Write-CsbJobOutcome $cmdlet $run.Value $pool -Force:$Command.Force
    if ($run.ReportFile) { [void] $cmdlet.ShouldProcess((Get-CsbText 'PlanWritten' $run.ReportFile), '', '') }
    if ($Command.PassThru -and $steps.Count) {
        $report = ConvertTo-CsbObject $run.Value 'CsBackup.Report'
        $report | Add-Member -NotePropertyName ReportFile -NotePropertyValue $run.ReportFile
        $cmdlet.WriteObject($report)
    }
}

# What the command would do, as the report of a job that only plans. Returns @{ Value; Failure }.
function Read-CsbPlan {
    param([hashtable] $Command, $Connection, [string] $ReportPath)
    Invoke-CsbJob $Connection ($Command.Request + @{ whatIf = $true }) $Command.Name $ReportPath
}
