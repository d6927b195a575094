# The file that a person means, as an absolute path: the library's working folder is not PowerShell's location.
# Returns @{ Value; Failure }.
function Resolve-CsbPath {
    param($Cmdlet, [string] $Path)
    $resolved = $null
    try {
        $resolved = $Cmdlet.GetUnresolvedProviderPathFromPSPath($Path)
    } catch {
        if ($global:Error.Count) { $global:Error.RemoveAt(0) }
    }
    # Only a path of the file system begins with a root, which is faster to see than its provider is to ask for.
    if ($null -ne $resolved -and [System.IO.Path]::IsPathRooted($resolved)) { return @{ Value = $resolved; Failure = $null } }
    @{ Value = $null; Failure = New-CsbFailure 'PathInvalid' (Get-CsbText 'PathInvalid' $Path) (Get-CsbText 'PathInvalidAdvice') }
}
