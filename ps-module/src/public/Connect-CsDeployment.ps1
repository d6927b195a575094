function Connect-CsDeployment {
    <#
    .SYNOPSIS
    Chooses the deployment that the other cmdlets of this session work on.

    .DESCRIPTION
    Opens a deployment file, which names the Central Management store and the local replica. Without this cmdlet the others use
    the deployment file that the environment variable CSBACKUP_DEPLOYMENT names. The native library is looked for in the
    module's folder runtimes/<rid>/native, then in ../target/release and ../target/debug of a checkout; the environment
    variable CSBACKUP_LIBRARY names another one.

    .PARAMETER Path
    Path of deployment.toml, or of the folder that it lies in.

    .PARAMETER PassThru
    Returns the deployment: its file, and the library that serves it.

    .INPUTS
    System.String, or objects with a property DeploymentFile.

    .OUTPUTS
    None, or CsBackup.Deployment with -PassThru.

    .EXAMPLE
    Connect-CsDeployment ./deployment.toml

    Connects this session to a deployment.

    .EXAMPLE
    Connect-CsDeployment ./deployment.toml -PassThru

    Connects, and shows the file and the library.

    .LINK
    New-CsSampleDeployment
    #>
    [CmdletBinding(PositionalBinding = $false)]
    [OutputType('CsBackup.Deployment')]
    param(
        [Parameter(Mandatory, Position = 0, ValueFromPipeline, ValueFromPipelineByPropertyName)]
        [Alias('DeploymentFile', 'FullName')]
        [ValidateNotNullOrEmpty()]
        [string] $Path,

        [switch] $PassThru
    )
    process {
        Import-CsbPreference $PSCmdlet
        $resolved = Resolve-CsbPath $PSCmdlet $Path
        if ($resolved.Failure) { Write-CsbFailure $PSCmdlet $resolved.Failure $Path -Terminating }
        $file = $resolved.Value
        if ([System.IO.Directory]::Exists($file)) { $file = [System.IO.Path]::Combine($file, 'deployment.toml') }
        $connection = Connect-CsbService $file
        if ($connection.Failure) { Write-CsbFailure $PSCmdlet $connection.Failure $file -Terminating }
        $type = $connection.Value.Type
        $version = Read-CsbStaticText $type ($type::csb_version())
        Write-Verbose (Get-CsbText 'Connected' $file, $connection.Value.LibraryFile, $version)
        if ($PassThru) {
            [pscustomobject] @{
                PSTypeName = 'CsBackup.Deployment'; DeploymentFile = $file; LibraryVersion = $version
                LibraryFile = $connection.Value.LibraryFile
            }
        }
    }
}
