function Get-CsAdminRole {
    <#
    .SYNOPSIS
    Returns the administrative roles and the cmdlets that each may run.

    .DESCRIPTION
    Roles are kept in the Central Management store.

    .PARAMETER Identity
    Name of the role; wildcards are allowed.

    .PARAMETER Filter
    Wildcards that the role's name must match.

    .PARAMETER LocalStore
    Reads the local replica instead of the Central Management store; works while the store is down.

    .OUTPUTS
    CsBackup.AdminRole: Identity, IsStandardRole, Cmdlets.

    .EXAMPLE
    Get-CsAdminRole | Where-Object {$_.Cmdlets -match "Backup-CsPool"}

    Lists the roles that may back up a pool.

    .EXAMPLE
    Get-CsAdminRole -Identity CsAdministrator

    Returns one role.
    #>
    [CmdletBinding(DefaultParameterSetName = 'Identity', PositionalBinding = $false)]
    [OutputType('CsBackup.AdminRole')]
    param(
        [Parameter(ParameterSetName = 'Identity', Position = 0)]
        [ValidateNotNullOrEmpty()]
        [SupportsWildcards()]
        [string] $Identity,

        [Parameter(ParameterSetName = 'Filter', Mandatory)]
        [ValidateNotNullOrEmpty()]
        [SupportsWildcards()]
        [string] $Filter,

        [switch] $LocalStore
    )
    Import-CsbPreference $PSCmdlet
    $connection = Resolve-CsbConnection $PSCmdlet
    $reply = Invoke-CsbRequest $connection @{ request = 'getAdminRoles'; localStore = $LocalStore.IsPresent }
    if ($reply.Failure) { Write-CsbFailure $PSCmdlet $reply.Failure $null -Terminating }
    $pattern = $Identity
    if ($Filter) { $pattern = $Filter }
    $roles = @($reply.Value.roles | Where-Object { -not $pattern -or $_.identity -like $pattern })
    if (-not $roles.Count -and $Identity -and -not [System.Management.Automation.WildcardPattern]::ContainsWildcardCharacters($Identity)) {
        Write-CsbFailure $PSCmdlet (New-CsbFailure 'UnknownRole' (Get-CsbText 'UnknownRole' $Identity) (Get-CsbText 'UnknownRoleAdvice')) $Identity
    }
    foreach ($role in $roles) { ConvertTo-CsbObject $role 'CsBackup.AdminRole' }
}
