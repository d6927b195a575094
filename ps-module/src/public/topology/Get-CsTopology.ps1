function Get-CsTopology {
    # .EXTERNALHELP CsBackup-help.xml
    [CmdletBinding(PositionalBinding = $false)]
    [OutputType('CsBackup.Topology')]
    param(
        [switch] $LocalStore,

        [Parameter(Position = 0)]
        [ValidateNotNullOrEmpty()]
        [string] $FileName
    )
    process {
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
}
