function Get-CsBackupServiceStatus {
    # .EXTERNALHELP CsBackup-help.xml
    [Diagnostics.CodeAnalysis.SuppressMessageAttribute('PSReviewUnusedParameter', 'Force', Justification = 'Scripts give it.')]
    [CmdletBinding(PositionalBinding = $false)]
    [OutputType('CsBackup.ServiceStatus')]
    param(
        [Parameter(Mandatory, Position = 0, ValueFromPipeline, ValueFromPipelineByPropertyName,
            HelpMessage = 'Name of the pool as Get-CsPool lists it, for example atl-cs-001.litwareinc.com.')]
        [Alias('Fqdn', 'Identity')]
        [ValidateNotNullOrEmpty()]
        [string] $PoolFqdn,

        [ValidateSet('UserData', 'CMS')]
        [string] $Category,

        [ValidateSet('All', 'UserServices.PresenceFocus', 'ConfServices.DataConf', 'CentralMgmt.CMSMaster', 'PresenceFocus',
            'DataConf', 'CMSMaster')]
        [string] $BackupModule,

        [switch] $LocalStore,

        [switch] $Force
    )
    process {
        Import-CsbPreference $PSCmdlet
        $connection = Resolve-CsbConnection $PSCmdlet
        $request = @{ request = 'getBackupServiceStatus'; poolFqdn = $PoolFqdn; localStore = $LocalStore.IsPresent }
        if ($Category) { $request['category'] = Get-CsbCategory $Category }
        $modules = @(Get-CsbModuleList $BackupModule)
        if ($modules.Count) { $request['modules'] = $modules }
        $reply = Invoke-CsbRequest $connection $request
        if ($reply.Failure) {
            Write-CsbFailure $PSCmdlet $reply.Failure $PoolFqdn
        } else {
            ConvertTo-CsbObject $reply.Value 'CsBackup.ServiceStatus'
        }
    }
}
