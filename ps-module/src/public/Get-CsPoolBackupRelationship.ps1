function Get-CsPoolBackupRelationship {
    <#
    .SYNOPSIS
    Returns a pool's backup pool, and the states of both.

    .DESCRIPTION
    Pairing is one to one and symmetric: each of two paired pools is the other's backup pool.

    .PARAMETER PoolFqdn
    Fully qualified domain name of the pool. Accepts names, and objects with a property PoolFqdn, Fqdn or Identity, from the pipeline.

    .PARAMETER LocalStore
    Reads the local replica instead of the Central Management store; works while the store is down.

    .PARAMETER Force
    Accepted for scripts that give it; there is nothing to suppress.

    .INPUTS
    System.String: the fully qualified domain name of a pool.

    .OUTPUTS
    CsBackup.Relationship: PoolFqdn, BackupPoolFqdn, PoolState, BackupPoolState.

    .EXAMPLE
    Get-CsPoolBackupRelationship -PoolFqdn "atl-cs-001.litwareinc.com"

    Shows which pool holds the copy of atl-cs-001.

    .LINK
    Get-CsPool
    #>
    [Diagnostics.CodeAnalysis.SuppressMessageAttribute('PSReviewUnusedParameter', 'Force', Justification = 'Scripts give it.')]
    [CmdletBinding(PositionalBinding = $false)]
    [OutputType('CsBackup.Relationship')]
    param(
        [Parameter(Mandatory, Position = 0, ValueFromPipeline, ValueFromPipelineByPropertyName)]
        [Alias('Fqdn', 'Identity')]
        [ValidateNotNullOrEmpty()]
        [string] $PoolFqdn,

        [switch] $LocalStore,

        [switch] $Force
    )
    process {
        Import-CsbPreference $PSCmdlet
        $connection = Resolve-CsbConnection $PSCmdlet
        $request = @{ request = 'getPoolBackupRelationship'; poolFqdn = $PoolFqdn; localStore = $LocalStore.IsPresent }
        $reply = Invoke-CsbRequest $connection $request
        if ($reply.Failure) {
            Write-CsbFailure $PSCmdlet $reply.Failure $PoolFqdn
        } else {
            ConvertTo-CsbObject $reply.Value 'CsBackup.Relationship'
        }
    }
}
