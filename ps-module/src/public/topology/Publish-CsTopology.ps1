function Publish-CsTopology {
    # .EXTERNALHELP CsBackup-help.xml
    [CmdletBinding(SupportsShouldProcess, PositionalBinding = $false)]
    [OutputType('CsBackup.PublishedTopology')]
    param(
        [Parameter(Mandatory, Position = 0, ValueFromPipeline, ValueFromPipelineByPropertyName,
            HelpMessage = 'The file with the topology, for example ./topology.toml.')]
        [Alias('TopologyFile', 'FullName')]
        [ValidateNotNullOrEmpty()]
        [string] $FileName,

        [switch] $PassThru
    )
    process {
        Import-CsbPreference $PSCmdlet
        $file = Resolve-CsbPath $PSCmdlet $FileName
        if ($file.Failure) {
            Write-CsbFailure $PSCmdlet $file.Failure $FileName
            return
        }
        $connection = Resolve-CsbConnection $PSCmdlet
        # Asked with the version and the warnings at hand, so that a person knows what is agreed to.
        $plan = Invoke-CsbRequest $connection @{ request = 'publishTopology'; file = $file.Value; whatIf = $true }
        if ($plan.Failure) {
            Write-CsbFailure $PSCmdlet $plan.Failure $file.Value
            return
        }
        $key = 'QuestionPublish'
        if ($plan.Value.unchanged) { $key = 'QuestionPublishUnchanged' }
        $question = Get-CsbText $key $file.Value, $plan.Value.version, (@($plan.Value.pools) -join ', ')
        $agreed = $PSCmdlet.ShouldProcess($question, (Get-CsbText 'ConfirmQuery' $question), (Get-CsbText 'ConfirmCaption'))
        foreach ($warning in @(Get-CsbField $plan.Value 'warnings' @())) { Write-Warning $warning }
        if (-not $agreed) { return }
        $reply = Invoke-CsbRequest $connection @{ request = 'publishTopology'; file = $file.Value }
        if ($reply.Failure) {
            Write-CsbFailure $PSCmdlet $reply.Failure $file.Value
            return
        }
        $script:PoolNames = $null
        Write-Verbose (Get-CsbText 'Published' $reply.Value.version)
        if ($PassThru) { ConvertTo-CsbObject $reply.Value 'CsBackup.PublishedTopology' }
    }
}
