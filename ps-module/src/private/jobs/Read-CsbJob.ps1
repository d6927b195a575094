# The record of the job that a person names. Returns @{ Value; Failure }.
function Read-CsbJob {
    param($Connection, [string] $JobId)
    $id = [guid]::Empty
    if ([guid]::TryParse($JobId, [ref] $id)) { return Invoke-CsbRequest $Connection @{ request = 'getJob'; jobId = [string] $id } }
    @{ Value = $null; Failure = New-CsbFailure 'UnknownJob' (Get-CsbText 'UnknownJob' $JobId) (Get-CsbText 'UnknownJobAdvice') }
}
