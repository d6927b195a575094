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
        Write-CsbQuarantine $Cmdlet $quarantined
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

# Names what could not be copied: one warning for all that share a reason and an advice, ten names at most in each.
function Write-CsbQuarantine {
    param($Cmdlet, [object[]] $Items)
    $groups = [ordered] @{}
    foreach ($item in $Items) {
        $key = '{0}|{1}' -f $item.reason, (Get-CsbField $item 'advice' '')
        if (-not $groups.Contains($key)) { $groups[$key] = [System.Collections.Generic.List[object]]::new() }
        $groups[$key].Add($item)
    }
    $told = 0
    foreach ($group in @($groups.Values | Select-Object -First 10)) {
        $told += $group.Count
        $reason = ([string] $group[0].reason).TrimEnd('.')
        $advice = [string] (Get-CsbField $group[0] 'advice' '')
        $text = Get-CsbText 'Quarantined' $group[0].item, $reason, $advice
        if ($group.Count -gt 1) {
            $names = @($group | Select-Object -First 10 | ForEach-Object { $_.item }) -join ', '
            if ($group.Count -gt 10) { $names = Get-CsbText 'ChangesMore' $names, ($group.Count - 10) }
            $text = Get-CsbText 'QuarantinedGroup' $group.Count, $reason, $advice, $names
        }
        $Cmdlet.WriteWarning($text.TrimEnd())
    }
    $more = $Items.Count - $told
    if ($more -gt 0) { $Cmdlet.WriteWarning((Get-CsbText 'QuarantinedMore' $more -Count $more)) }
}
