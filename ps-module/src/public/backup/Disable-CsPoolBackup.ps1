function Disable-CsPoolBackup {
    # .EXTERNALHELP CsBackup-help.xml
    [CmdletBinding(SupportsShouldProcess, ConfirmImpact = 'High', PositionalBinding = $false)]
    [OutputType('CsBackup.RemovedItem')]
    param(
        [Parameter(Mandatory, Position = 0, ValueFromPipeline, ValueFromPipelineByPropertyName,
            HelpMessage = 'Name of the pool as Get-CsPool lists it, for example atl-cs-001.litwareinc.com.')]
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
        if (-not $planned.Count) {
            $nothing = Get-CsbText 'NothingToDisable' $plan.Value.poolFqdn
            if ($WhatIfPreference) { [void] $PSCmdlet.ShouldProcess($nothing, '', '') } else { Write-Verbose $nothing }
            return
        }
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
