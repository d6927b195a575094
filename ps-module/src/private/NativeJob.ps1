# Starts a job with csb_backup_start or one of its family. Returns @{ Value = number; Failure }.
function Start-CsbNativeJob {
    param($Connection, [string] $Function, [System.Collections.IDictionary] $Request)
    $type = $Connection.Type
    $job = [uint64] 0
    $problem = [System.IntPtr]::Zero
    $status = $type::$Function($Connection.Handle, (ConvertTo-CsbUtf8 $Request), [ref] $job, [ref] $problem)
    $result = Get-CsbResult $type $status ([System.IntPtr]::Zero) $problem
    if (-not $result.Failure) { $result.Value = $job }
    $result
}

# Waits at most 50 ms: Ctrl+C cannot interrupt a native call. Returns @{ Value = events document; Failure }.
function Read-CsbNativeJob {
    param($Connection, [uint64] $Job, [uint64] $After)
    $type = $Connection.Type
    $events = [System.IntPtr]::Zero
    $problem = [System.IntPtr]::Zero
    $status = $type::csb_job_poll($Connection.Handle, $Job, $After, [uint32] 50, [ref] $events, [ref] $problem)
    Get-CsbResult $type $status $events $problem
}

function Stop-CsbNativeJob {
    param($Connection, [uint64] $Job)
    $problem = [System.IntPtr]::Zero
    $status = $Connection.Type::csb_job_cancel($Connection.Handle, $Job, [ref] $problem)
    [void] (Get-CsbResult $Connection.Type $status ([System.IntPtr]::Zero) $problem)
}

# Returns @{ Value = document, or the page with -Html; Failure }.
function Get-CsbNativeReport {
    param($Connection, [uint64] $Job, [switch] $Html)
    $type = $Connection.Type
    $report = [System.IntPtr]::Zero
    $problem = [System.IntPtr]::Zero
    $status = $type::csb_job_report($Connection.Handle, $Job, [int] $Html.IsPresent, [ref] $report, [ref] $problem)
    Get-CsbResult $type $status $report $problem -Raw:$Html
}

function Clear-CsbNativeJob {
    param($Connection, [uint64] $Job)
    $problem = [System.IntPtr]::Zero
    $status = $Connection.Type::csb_job_release($Connection.Handle, $Job, [ref] $problem)
    [void] (Get-CsbResult $Connection.Type $status ([System.IntPtr]::Zero) $problem)
}
