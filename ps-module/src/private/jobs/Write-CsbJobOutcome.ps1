# Turns a report into what PowerShell expects: errors with their own ids, warnings that name the items, or nothing.
function Write-CsbJobOutcome {
    param($Cmdlet, $Report, [string] $Target, [switch] $Force)
    $failures = @(Get-CsbField $Report 'errors' @())
    $warnings = @(Get-CsbField $Report 'warnings' @())
    $quarantined = @()
    foreach ($module in @(Get-CsbField $Report 'modules' @())) {
        $failures += @(Get-CsbField $module 'errors' @())
        $warnings += @(Get-CsbField $module 'warnings' @())
        $quarantined += @(Get-CsbField $module 'quarantined' @())
    }
    $outcome = [string] $Report.outcome
    if (-not $Force) {
        foreach ($warning in @($warnings | Select-Object -Unique)) { $Cmdlet.WriteWarning([string] $warning) }
        foreach ($item in @($quarantined | Select-Object -First 10)) {
            $text = Get-CsbText 'Quarantined' $item.item, ([string] $item.reason).TrimEnd('.'), (Get-CsbField $item 'advice' '')
            $Cmdlet.WriteWarning($text.TrimEnd())
        }
        if ($quarantined.Count -gt 10) { $Cmdlet.WriteWarning((Get-CsbText 'QuarantinedMore' ($quarantined.Count - 10))) }
    }
    if ($outcome -ne 'Failed' -and $outcome -ne 'Cancelled') { return }
    $told = @{}
    foreach ($failure in $failures) {
        $key = '{0}|{1}' -f (Get-CsbField $failure 'kind'), (Get-CsbField $failure 'message')
        if (-not $told.ContainsKey($key)) {
            $told[$key] = $true
            Write-CsbFailure $Cmdlet $failure $Target
        }
    }
    if (-not $told.Count) {
        $failure = New-CsbFailure $outcome (Get-CsbText "JobEnded$outcome" $Report.command, $Target) (Get-CsbText "JobEnded${outcome}Advice" $Report.jobId)
        Write-CsbFailure $Cmdlet $failure $Target
    }
}
