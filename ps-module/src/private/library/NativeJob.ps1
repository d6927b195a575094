# Waits at most 50 ms: Ctrl+C cannot interrupt a native call. Returns @{ Value = events document; Failure }.
function Read-CsbNativeJob {
    param($Connection, [uint64] $Job, [uint64] $After)
    Get-CsbResult $Connection.Poll($Job, $After, 50)
}

function Stop-CsbNativeJob {
    param($Connection, [uint64] $Job)
    [void] $Connection.Cancel($Job)
}

# Returns @{ Value = document; Failure }.
function Get-CsbNativeReport {
    param($Connection, [uint64] $Job)
    Get-CsbResult $Connection.Report($Job)
}

function Clear-CsbNativeJob {
    param($Connection, [uint64] $Job)
    [void] $Connection.Release($Job)
}
