function Get-CsTopology {
    <#
    .SYNOPSIS
    Returns the published topology, or writes its document to a file.

    .DESCRIPTION
    The topology says which pools there are, which are paired and where their stores are.

    .PARAMETER LocalStore
    Reads the local replica instead of the Central Management store; works while the store is down.

    .PARAMETER FileName
    Writes the document to this file instead of returning the topology. A file that is there is overwritten.

    .OUTPUTS
    CsBackup.Topology, or none with -FileName.

    .EXAMPLE
    Get-CsTopology

    Shows the published topology.

    .EXAMPLE
    Get-CsTopology -LocalStore -FileName ./topology.toml

    Saves the local replica's topology as a document that Publish-CsTopology takes.

    .LINK
    Publish-CsTopology
    #>
    [CmdletBinding(PositionalBinding = $false)]
    [OutputType('CsBackup.Topology')]
    param(
        [switch] $LocalStore,

        [Parameter(Position = 0)]
        [ValidateNotNullOrEmpty()]
        [string] $FileName
    )
    Import-CsbPreference $PSCmdlet
    $connection = Resolve-CsbConnection $PSCmdlet
    $request = if ($FileName) { 'exportTopology' } else { 'getTopology' }
    $reply = Invoke-CsbRequest $connection @{ request = $request; localStore = $LocalStore.IsPresent }
    if ($reply.Failure) { Write-CsbFailure $PSCmdlet $reply.Failure $null -Terminating }
    if (-not $FileName) {
        ConvertTo-CsbObject $reply.Value 'CsBackup.Topology'
        return
    }
    $file = Resolve-CsbReportPath $PSCmdlet $FileName
    if ($file.Failure) { Write-CsbFailure $PSCmdlet $file.Failure $FileName -Terminating }
    $failure = Write-CsbReportFile $file.Value $reply.Value.toml
    if ($failure) { Write-CsbFailure $PSCmdlet $failure $file.Value -Terminating }
}
