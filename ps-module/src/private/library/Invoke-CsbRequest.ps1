# Sends one request and returns @{ Value = reply; Failure }.
function Invoke-CsbRequest {
    param($Connection, [System.Collections.IDictionary] $Request)
    Get-CsbResult $Connection.Request($Request)
}

# Makes @{ Value; Failure } of a CsBackup.Interop.Answer; the value is the document that it says.
function Get-CsbResult {
    param($Answer)
    if (-not $Answer.Failure) {
        $value = $Answer.Document
        if ($null -ne $value) { $value = ConvertFrom-CsbJson $value }
        return @{ Value = $value; Failure = $null }
    }
    if ($Answer.Problem) { return @{ Value = $null; Failure = ConvertFrom-CsbJson $Answer.Problem } }
    @{ Value = $null; Failure = New-CsbFailure $Answer.Failure $Answer.Failure '' }
}
