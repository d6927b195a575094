function Publish-CsTopology {
    <#
    .SYNOPSIS
    Validates a topology document and publishes it in the Central Management store.

    .DESCRIPTION
    Checks the document first: every pool has a name of its own, pairing is one to one and symmetric, no two stores are the same
    place. Then writes it as a new version and refreshes the local replica. A document that is published already stays as it is.

    .PARAMETER FileName
    Path of the topology document (TOML).

    .PARAMETER PassThru
    Returns the published version.

    .INPUTS
    System.String, or objects with a property TopologyFile.

    .OUTPUTS
    None, or CsBackup.PublishedTopology with -PassThru.

    .EXAMPLE
    Publish-CsTopology -FileName ./topology.toml

    Publishes a topology.

    .EXAMPLE
    Publish-CsTopology -FileName ./topology.toml -WhatIf

    Validates it only, and says which version it would become.

    .LINK
    Get-CsTopology
    #>
    [CmdletBinding(SupportsShouldProcess, PositionalBinding = $false)]
    [OutputType('CsBackup.PublishedTopology')]
    param(
        [Parameter(Mandatory, Position = 0, ValueFromPipeline, ValueFromPipelineByPropertyName)]
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
