function Disable-CsPoolBackup {
    <#
    .SYNOPSIS
    Removes every trace of the backup service from a pool's stores, and lists what it removed.

    .DESCRIPTION
    Removes triggers, change log and fences. The server software's own tables and files stay as they are. After that the pool is not
    backed up any more until the next Backup-CsPool, which begins with a full copy.

    .PARAMETER PoolFqdn
    Fully qualified domain name of the pool. Accepts names, and objects with a property PoolFqdn, Fqdn or Identity, from the pipeline.

    .PARAMETER Force
    Does not ask. -WhatIf still wins.

    .INPUTS
    System.String: the fully qualified domain name of a pool.

    .OUTPUTS
    CsBackup.RemovedItem: PoolFqdn, Store, Kind, Name.

    .EXAMPLE
    Disable-CsPoolBackup -PoolFqdn "atl-cs-001.litwareinc.com" -WhatIf

    Prints what would be removed.

    .EXAMPLE
    Disable-CsPoolBackup -PoolFqdn "atl-cs-001.litwareinc.com"

    Asks, then removes it.

    .LINK
    Backup-CsPool
    #>
    [CmdletBinding(SupportsShouldProcess, ConfirmImpact = 'High', PositionalBinding = $false)]
    [OutputType('CsBackup.RemovedItem')]
    param(
        [Parameter(Mandatory, Position = 0, ValueFromPipeline, ValueFromPipelineByPropertyName)]
        [Alias('Fqdn', 'Identity')]
        [ValidateNotNullOrEmpty()]
        [string] $PoolFqdn,

        [switch] $Force
    )
    process {
        Import-CsbPreference $PSCmdlet
        if ($Force -and -not $PSBoundParameters.ContainsKey('Confirm')) { $ConfirmPreference = 'None' }
        $connection = Resolve-CsbConnection $PSCmdlet
        $plan = Invoke-CsbRequest $connection @{ request = 'disablePoolBackup'; poolFqdn = $PoolFqdn; whatIf = $true }
        if ($plan.Failure) {
            Write-CsbFailure $PSCmdlet $plan.Failure $PoolFqdn
            return
        }
        $planned = @($plan.Value.removed)
        $question = Get-CsbText 'QuestionDisable' $plan.Value.poolFqdn, $planned.Count
        $agreed = $PSCmdlet.ShouldProcess($question, (Get-CsbText 'ConfirmQuery' $question), (Get-CsbText 'ConfirmCaption'))
        if ($WhatIfPreference) {
            foreach ($item in $planned) {
                [void] $PSCmdlet.ShouldProcess((Get-CsbText 'RemovedItem' $item.kind, $item.name, $item.store), '', '')
            }
        }
        if (-not $agreed) { return }
        $reply = Invoke-CsbRequest $connection @{ request = 'disablePoolBackup'; poolFqdn = $PoolFqdn }
        if ($reply.Failure) {
            Write-CsbFailure $PSCmdlet $reply.Failure $PoolFqdn
            return
        }
        foreach ($item in @($reply.Value.removed)) {
            [pscustomobject] @{
                PSTypeName = 'CsBackup.RemovedItem'; PoolFqdn = $reply.Value.poolFqdn; Store = $item.store; Kind = $item.kind
                Name = $item.name
            }
        }
    }
}
