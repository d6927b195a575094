# The file that a person means, as an absolute path: the library's working folder is not PowerShell's location.
# Returns @{ Value; Failure }.
function Resolve-CsbPath {
    param($Cmdlet, [string] $Path)
    $provider = $null
    $drive = $null
    $resolved = $null
    try {
        $resolved = $Cmdlet.SessionState.Path.GetUnresolvedProviderPathFromPSPath($Path, [ref] $provider, [ref] $drive)
    } catch {
        if ($global:Error.Count) { $global:Error.RemoveAt(0) }
    }
    if ($null -ne $resolved -and $provider.Name -eq 'FileSystem') { return @{ Value = $resolved; Failure = $null } }
    @{ Value = $null; Failure = New-CsbFailure 'PathInvalid' (Get-CsbText 'PathInvalid' $Path) (Get-CsbText 'PathInvalidAdvice') }
}
