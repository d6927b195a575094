function Connect-CsDeployment {
    # .EXTERNALHELP CsBackup-help.xml
    [CmdletBinding(PositionalBinding = $false)]
    [OutputType('CsBackup.Deployment')]
    param(
        [Parameter(Mandatory, Position = 0, ValueFromPipeline, ValueFromPipelineByPropertyName,
            HelpMessage = 'The folder with deployment.toml, or that file.')]
        [Alias('DeploymentFile', 'FullName')]
        [ValidateNotNullOrEmpty()]
        [string] $Path,

        [switch] $PassThru
    )
    process {
        Import-CsbPreference $PSCmdlet
        $resolved = Resolve-CsbPath $PSCmdlet $Path
        if ($resolved.Failure) { Write-CsbFailure $PSCmdlet $resolved.Failure $Path -Terminating }
        $connection = Connect-CsbService $resolved.Value
        if ($connection.Failure) { Write-CsbFailure $PSCmdlet $connection.Failure $resolved.Value -Terminating }
        if (-not $PassThru -and -not $VerbosePreference) { return }
        $file = $resolved.Value
        if ([System.IO.Directory]::Exists($file)) { $file = [System.IO.Path]::Combine($file, 'deployment.toml') }
        $library = $connection.Value.Library
        Write-Verbose (Get-CsbText 'Connected' $file, $library.File, $library.Version)
        if ($PassThru) {
            [pscustomobject] @{
                PSTypeName = 'CsBackup.Deployment'; DeploymentFile = $file; LibraryVersion = $library.Version
                LibraryFile = $library.File
            }
        }
    }
}
