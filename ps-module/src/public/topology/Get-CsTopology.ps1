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
        $request = @{ request = 'getTopology'; localStore = $LocalStore.IsPresent }
        if ($FileName) {
            $file = Resolve-CsbPath $PSCmdlet $FileName
            if ($file.Failure) { Write-CsbFailure $PSCmdlet $file.Failure $FileName -Terminating }
            $request['request'] = 'exportTopology'
            $request['file'] = $file.Value
        }
        $reply = Invoke-CsbRequest $connection $request
        if ($reply.Failure) { Write-CsbFailure $PSCmdlet $reply.Failure $FileName -Terminating }
        if (-not $FileName) { ConvertTo-CsbObject $reply.Value 'CsBackup.Topology' }
    }
}
