function Get-CsBackupServiceStatus {
    <#
    .SYNOPSIS
    Returns how a pool's backup stands: the states of its modules, and what is pending.

    .DESCRIPTION
    States are a snapshot. Beside each state stand the age of the oldest pending change (Lag), how many changes are pending
    (PendingItems), when the module last succeeded (LastSuccess), and why a state is not healthy (Reason).

    .PARAMETER PoolFqdn
    Fully qualified domain name of the pool. Accepts names, and objects with a property PoolFqdn, Fqdn or Identity, from the pipeline.

    .PARAMETER Category
    Only the modules of one kind of data: UserData or CMS.

    .PARAMETER BackupModule
    Only one module, by its full or its short name.

    .PARAMETER LocalStore
    Reads the topology from the local replica of the Central Management store instead of the store itself.

    .PARAMETER Force
    Accepted for scripts that give it; there is nothing to suppress.

    .INPUTS
    System.String: the fully qualified domain name of a pool.

    .OUTPUTS
    CsBackup.ServiceStatus: PoolFqdn, BackupPoolFqdn, ActiveMachineFqdn, OverallExportStatus, OverallImportStatus, BackupModules.

    .EXAMPLE
    Get-CsBackupServiceStatus -PoolFqdn "atl-cs-001.litwareinc.com"

    Shows the states of all modules of a pool.

    .EXAMPLE
    Get-CsPool | Get-CsBackupServiceStatus | Where-Object OverallExportStatus -eq ErrorState

    Finds the pools whose backup is in trouble.

    .EXAMPLE
    (Get-CsBackupServiceStatus -PoolFqdn "atl-cs-001.litwareinc.com" -BackupModule DataConf).BackupModules

    Shows the content store's state only.

    .LINK
    Invoke-CsBackupServiceSync
    #>
    [Diagnostics.CodeAnalysis.SuppressMessageAttribute('PSReviewUnusedParameter', 'Force', Justification = 'Scripts give it.')]
    [CmdletBinding(PositionalBinding = $false)]
    [OutputType('CsBackup.ServiceStatus')]
    param(
        [Parameter(Mandatory, Position = 0, ValueFromPipeline, ValueFromPipelineByPropertyName)]
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
