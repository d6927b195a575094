function Get-CsPoolBackupRelationship {
    # .EXTERNALHELP CsBackup-help.xml
    [Diagnostics.CodeAnalysis.SuppressMessageAttribute('PSReviewUnusedParameter', 'Force', Justification = 'Scripts give it.')]
    [CmdletBinding(PositionalBinding = $false)]
    [OutputType('CsBackup.Relationship')]
    param(
        [Parameter(Mandatory, Position = 0, ValueFromPipeline, ValueFromPipelineByPropertyName,
            HelpMessage = 'Name of the pool as Get-CsPool lists it, for example atl-cs-001.litwareinc.com.')]
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
