function Get-CsPool {
    <#
    .SYNOPSIS
    Returns the pools of the topology.

    .DESCRIPTION
    Without a parameter all of them.

    .PARAMETER Identity
    Fully qualified domain name of one pool; wildcards are allowed.

    .PARAMETER Filter
    Wildcards that the pool's name must match.

    .PARAMETER Site
    Only the pools of this site; wildcards are allowed, and a leading "site:" is ignored.

    .PARAMETER LocalStore
    Reads the local replica instead of the Central Management store; works while the store is down.

    .OUTPUTS
    CsBackup.Pool: Identity, Fqdn, Site, Services, Computers, BackupPoolFqdn, State.

    .EXAMPLE
    Get-CsPool

    Lists all pools.

    .EXAMPLE
    Get-CsPool -Filter "atl-*"

    Lists the pools whose names begin with atl-.

    .EXAMPLE
    Get-CsPool -Identity "atl-cs-001.litwareinc.com"

    Returns one pool.

    .LINK
    Get-CsPoolBackupRelationship
    #>
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
