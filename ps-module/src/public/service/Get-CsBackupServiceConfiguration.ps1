function Get-CsBackupServiceConfiguration {
    # .EXTERNALHELP CsBackup-help.xml
    [Diagnostics.CodeAnalysis.SuppressMessageAttribute('PSReviewUnusedParameter', 'Identity', Justification = 'There is one configuration.')]
    [CmdletBinding(DefaultParameterSetName = 'Identity', PositionalBinding = $false)]
    [OutputType('CsBackup.BackupServiceConfiguration')]
    param(
        [Parameter(ParameterSetName = 'Identity', Position = 0)]
        [ValidateSet('Global')]
        [string] $Identity,

        [Parameter(ParameterSetName = 'Filter', Mandatory, HelpMessage = 'A name in which * and ? stand for any letters, for example G*.')]
        [ValidateNotNullOrEmpty()]
        [SupportsWildcards()]
        [string] $Filter,

        [switch] $LocalStore
    )
    process {
        Import-CsbPreference $PSCmdlet
        $connection = Resolve-CsbConnection $PSCmdlet
        Assert-CsbPattern $PSCmdlet $Filter
        if ($Filter -and 'Global' -notlike $Filter) { return }
        $reply = Invoke-CsbRequest $connection @{ request = 'getBackupServiceConfiguration'; localStore = $LocalStore.IsPresent }
        if ($reply.Failure) { Write-CsbFailure $PSCmdlet $reply.Failure $null -Terminating }
        ConvertTo-CsbConfiguration $reply.Value
    }
}
