function Get-CsPoolBackupHistory {
    # .EXTERNALHELP CsBackup-help.xml
    [CmdletBinding(PositionalBinding = $false)]
    [OutputType('CsBackup.PoolBackupState')]
    param(
        [Parameter(Mandatory, Position = 0, ValueFromPipeline, ValueFromPipelineByPropertyName,
            HelpMessage = 'Name of the pool as Get-CsPool lists it, for example atl-cs-001.litwareinc.com.')]
        [Alias('Fqdn', 'Identity')]
        [ValidateNotNullOrEmpty()]
        [string] $PoolFqdn,

        [switch] $LocalStore
    )
    process {
        Import-CsbPreference $PSCmdlet
        $connection = Resolve-CsbConnection $PSCmdlet
        $request = @{ request = 'getPoolBackupHistory'; poolFqdn = $PoolFqdn; localStore = $LocalStore.IsPresent }
        $reply = Invoke-CsbRequest $connection $request
        if ($reply.Failure) {
            Write-CsbFailure $PSCmdlet $reply.Failure $PoolFqdn
            return
        }
        foreach ($module in @($reply.Value.modules)) {
            $states = @(Get-CsbField $module 'states' @())
            if (-not $states.Count) {
                $reason = [string] (Get-CsbField $module 'reason' '')
                if (-not $reason) { $reason = Get-CsbText 'HistoryEmpty' $module.module, $reply.Value.poolFqdn }
                Write-Verbose $reason
            }
            foreach ($state in $states) {
                # An exact type, so that a state that is piped on finds the parameter of that type.
                $of = @{
                    poolFqdn = $reply.Value.poolFqdn; backupPoolFqdn = $reply.Value.backupPoolFqdn; backupModule = $module.module
                    revision = [int] $state.revision
                }
                foreach ($field in 'at', 'jobId', 'jobKind', 'bytes', 'keptBytes', 'reason') { $of[$field] = Get-CsbField $state $field }
                ConvertTo-CsbObject $of 'CsBackup.PoolBackupState'
            }
        }
    }
}
