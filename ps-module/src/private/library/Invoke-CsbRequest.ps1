# Sends one request and returns @{ Value = reply; Failure }.
function Invoke-CsbRequest {
    param($Connection, [System.Collections.IDictionary] $Request)
    Get-CsbResult $Connection.Request($Request)
}

# Makes @{ Value; Failure } of a CsBackup.Interop.Answer; the value is text with -Raw, else the document that it says.
function Get-CsbResult {
    param($Answer, [switch] $Raw)
    if (-not $Answer.Failure) {
        $value = $Answer.Document
        if ($null -ne $value -and -not $Raw) { $value = ConvertFrom-CsbJson $value }
        return @{ Value = $value; Failure = $null }
    }
    if ($Answer.Problem) { return @{ Value = $null; Failure = ConvertFrom-CsbJson $Answer.Problem } }
    @{ Value = $null; Failure = New-CsbFailure $Answer.Failure $Answer.Failure '' }
}
