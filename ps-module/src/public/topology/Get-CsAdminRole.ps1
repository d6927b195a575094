function Get-CsAdminRole {
    # .EXTERNALHELP CsBackup-help.xml
    [CmdletBinding(DefaultParameterSetName = 'Identity', PositionalBinding = $false)]
    [OutputType('CsBackup.AdminRole')]
    param(
        [Parameter(ParameterSetName = 'Identity', Position = 0)]
        [ValidateNotNullOrEmpty()]
        [SupportsWildcards()]
        [string] $Identity,

        [Parameter(ParameterSetName = 'Filter', Mandatory, HelpMessage = 'A name in which * and ? stand for any letters, for example Cs*.')]
        [ValidateNotNullOrEmpty()]
        [SupportsWildcards()]
        [string] $Filter,

        [switch] $LocalStore
    )
    process {
        Import-CsbPreference $PSCmdlet
        $connection = Resolve-CsbConnection $PSCmdlet
        $reply = Invoke-CsbRequest $connection @{ request = 'getAdminRoles'; localStore = $LocalStore.IsPresent }
        if ($reply.Failure) { Write-CsbFailure $PSCmdlet $reply.Failure $null -Terminating }
        $pattern = $Identity
        if ($Filter) { $pattern = $Filter }
        Assert-CsbPattern $PSCmdlet $pattern
        $roles = @($reply.Value.roles | Where-Object { -not $pattern -or $_.identity -like $pattern })
        if (-not $roles.Count -and $Identity -and -not [System.Management.Automation.WildcardPattern]::ContainsWildcardCharacters($Identity)) {
            Write-CsbFailure $PSCmdlet (New-CsbFailure 'UnknownRole' (Get-CsbText 'UnknownRole' $Identity) (Get-CsbText 'UnknownRoleAdvice')) $Identity
        }
        foreach ($role in $roles) { ConvertTo-CsbObject $role 'CsBackup.AdminRole' }
    }
}
