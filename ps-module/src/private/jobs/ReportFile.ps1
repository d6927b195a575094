# Checks where the log will go before the job starts. Returns @{ Value = path or ''; Failure }.
function Resolve-CsbReportPath {
    param($Cmdlet, [string] $Report)
    if (-not $Report) { return @{ Value = ''; Failure = $null } }
    $resolved = Resolve-CsbPath $Cmdlet $Report
    if ($resolved.Failure) { return $resolved }
    $folder = [System.IO.Path]::GetDirectoryName($resolved.Value)
    if ([System.IO.Directory]::Exists($resolved.Value) -or -not [System.IO.Directory]::Exists($folder)) {
        $message = Get-CsbText 'ReportPathUnusable' $resolved.Value
        return @{ Value = $null; Failure = New-CsbFailure 'PathInvalid' $message (Get-CsbText 'ReportPathAdvice') }
    }
    $resolved
}

# Returns $null or the failure.
function Write-CsbReportFile {
    param([string] $Path, [string] $Html)
    try {
        [System.IO.File]::WriteAllText($Path, $Html)
    } catch {
        $cause = $_.Exception.GetBaseException().Message
        if ($global:Error.Count) { $global:Error.RemoveAt(0) }
        New-CsbFailure 'ReportNotWritten' (Get-CsbText 'ReportNotWritten' $Path, $cause) (Get-CsbText 'ReportNotWrittenAdvice')
    }
}

# The job's id keeps the name from being guessed in a temporary folder that others can write to. Whole names of commands and pools
# would be broken in a terminal of 80 columns, and could not be copied from there.
function Get-CsbReportPath {
    param([string] $Command, [string] $PoolFqdn, [string] $JobId)
    $what = $Command -replace '^Invoke-CsBackupService|-CsPool$'
    $pool = [string]::Join('_', $PoolFqdn.Split('.')[0].Split([System.IO.Path]::GetInvalidFileNameChars()))
    [System.IO.Path]::Combine([System.IO.Path]::GetTempPath(), "$what-$pool-$JobId.html")
}
