# Asks the library whether it would write a log there, before the job starts. Returns @{ Value = path or ''; Failure }.
function Resolve-CsbReportPath {
    param($Cmdlet, $Connection, [string] $Report, [bool] $LocalStore)
    if (-not $Report) { return @{ Value = ''; Failure = $null } }
    $resolved = Resolve-CsbPath $Cmdlet $Report
    if ($resolved.Failure) { return $resolved }
    $reply = Invoke-CsbRequest $Connection @{ request = 'writeReport'; file = $resolved.Value; localStore = $LocalStore; whatIf = $true }
    if ($reply.Failure) { return $reply }
    $resolved
}

# Lets the library write the log of a job, as an HTML page unless a file is named that ends in .json. $Job is @{ job = number } or
# @{ jobId = id }. Returns @{ Value = path; Failure }.
function Write-CsbReportFile {
    param($Connection, [hashtable] $Job, [string] $Path)
    $request = $Job + @{ request = 'writeReport' }
    # PowerShell's own TMPDIR is not that of the process.
    if ($Path) { $request['file'] = $Path } else { $request['temporaryFolder'] = [System.IO.Path]::GetTempPath() }
    $reply = Invoke-CsbRequest $Connection $request
    if ($reply.Failure) { return $reply }
    @{ Value = $reply.Value.file; Failure = $null }
}
