function Get-CsPool {
    # .EXTERNALHELP CsBackup-help.xml
    [CmdletBinding(DefaultParameterSetName = 'Identity', PositionalBinding = $false)]
    [OutputType('CsBackup.Pool')]
    param(
        [Parameter(ParameterSetName = 'Identity', Position = 0)]
        [ValidateNotNullOrEmpty()]
        [SupportsWildcards()]
        [string] $Identity,

        [Parameter(ParameterSetName = 'Filter', Mandatory)]
        [ValidateNotNullOrEmpty()]
        [SupportsWildcards()]
        [string] $Filter,

        [ValidateNotNullOrEmpty()]
        [SupportsWildcards()]
        [string] $Site,

        [switch] $LocalStore
    )
    Import-CsbPreference $PSCmdlet
    $connection = Resolve-CsbConnection $PSCmdlet
    $reply = Invoke-CsbRequest $connection @{ request = 'getPools'; localStore = $LocalStore.IsPresent }
    if ($reply.Failure) { Write-CsbFailure $PSCmdlet $reply.Failure $null -Terminating }
    $pattern = $Identity
    if ($Filter) { $pattern = $Filter }
    $siteName = $Site -replace '^site:', ''
    $pools = @($reply.Value.pools | Where-Object {
            (-not $pattern -or $_.fqdn -like $pattern) -and (-not $siteName -or (Get-CsbField $_ 'site' '') -like $siteName)
        })
    if (-not $pools.Count -and $Identity -and -not [System.Management.Automation.WildcardPattern]::ContainsWildcardCharacters($Identity)) {
        Write-CsbFailure $PSCmdlet (New-CsbFailure 'UnknownPool' (Get-CsbText 'UnknownPool' $Identity) (Get-CsbText 'UnknownPoolAdvice')) $Identity
    }
    foreach ($pool in $pools) { ConvertTo-CsbObject $pool 'CsBackup.Pool' }
}
