function Get-CsPool {
    # .EXTERNALHELP CsBackup-help.xml
    [CmdletBinding(DefaultParameterSetName = 'Identity', PositionalBinding = $false)]
    [OutputType('CsBackup.Pool')]
    param(
        [Parameter(ParameterSetName = 'Identity', Position = 0)]
        [ValidateNotNullOrEmpty()]
        [SupportsWildcards()]
        [string] $Identity,

        [Parameter(ParameterSetName = 'Filter', Mandatory, HelpMessage = 'A name in which * and ? stand for any letters, for example atl*.')]
        [ValidateNotNullOrEmpty()]
        [SupportsWildcards()]
        [string] $Filter,

        [ValidateNotNullOrEmpty()]
        [SupportsWildcards()]
        [string] $Site,

        [switch] $LocalStore
    )
    process {
        Import-CsbPreference $PSCmdlet
        $connection = Resolve-CsbConnection $PSCmdlet
        $reply = Invoke-CsbRequest $connection @{ request = 'getPools'; localStore = $LocalStore.IsPresent }
        if ($reply.Failure) { Write-CsbFailure $PSCmdlet $reply.Failure $null -Terminating }
        $pattern = $Identity
        if ($Filter) { $pattern = $Filter }
        $siteName = $Site -replace '^site:'
        Assert-CsbPattern $PSCmdlet $pattern, $siteName
        $found = $false
        foreach ($pool in $reply.Value.pools) {
            if ($pattern -and $pool.fqdn -notlike $pattern) { continue }
            if ($Site -and (Get-CsbField $pool 'site' '') -notlike $siteName) { continue }
            $found = $true
            ConvertTo-CsbObject $pool 'CsBackup.Pool'
        }
        if (-not $found -and $Identity -and -not [System.Management.Automation.WildcardPattern]::ContainsWildcardCharacters($Identity)) {
            $message = Get-CsbText 'UnknownPool' $Identity
            if ($Site) { $message = Get-CsbText 'UnknownPoolAtSite' $Identity, $siteName }
            Write-CsbFailure $PSCmdlet (New-CsbFailure 'UnknownPool' $message (Get-CsbText 'UnknownPoolAdvice')) $Identity
        }
    }
}
