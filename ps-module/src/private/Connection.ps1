# One handle per deployment and runspace: @{ DeploymentFile; Handle; Type; LibraryFile }.
function Open-CsbService {
    param([AllowNull()] [string] $DeploymentFile)
    $native = Import-CsbNative
    if ($native.Failure) { return $native }
    $type = $native.Value.Type
    $config = if ($DeploymentFile) { @{ deploymentFile = $DeploymentFile } } else { @{} }
    $handle = [System.IntPtr]::Zero
    $problem = [System.IntPtr]::Zero
    $status = $type::csb_service_open((ConvertTo-CsbUtf8 $config), [ref] $handle, [ref] $problem)
    $result = Get-CsbResult $type $status ([System.IntPtr]::Zero) $problem
    if ($result.Failure) { return $result }
    @{
        Value = @{ DeploymentFile = $DeploymentFile; Handle = $handle; Type = $type; LibraryFile = $native.Value.File }; Failure = $null
    }
}

function Close-CsbService {
    param($Connection, [uint32] $TimeoutMs = 5000)
    $problem = [System.IntPtr]::Zero
    [void] $Connection.Type::csb_service_shutdown($Connection.Handle, $TimeoutMs, [ref] $problem)
    [void] (Read-CsbText $Connection.Type $problem)
    $Connection.Type::csb_service_free($Connection.Handle)
}

# Connects to a deployment file, and lets go of the one before. Returns @{ Value; Failure }.
function Connect-CsbService {
    param([string] $DeploymentFile)
    $opened = Open-CsbService $DeploymentFile
    if ($opened.Failure) { return $opened }
    if ($script:Connection) { Close-CsbService $script:Connection }
    $script:Connection = $opened.Value
    $script:PoolNames = $null
    $opened
}

# The current connection, else the one that the environment names.
function Get-CsbConnection {
    if ($script:Connection) { return @{ Value = $script:Connection; Failure = $null } }
    if ($env:CSBACKUP_DEPLOYMENT) { return Connect-CsbService ([System.IO.Path]::GetFullPath($env:CSBACKUP_DEPLOYMENT)) }
    @{ Value = $null; Failure = New-CsbFailure 'NotConnected' (Get-CsbText 'NotConnected') (Get-CsbText 'NotConnectedAdvice') }
}

function Resolve-CsbConnection {
    param($Cmdlet)
    $connection = Get-CsbConnection
    if ($connection.Failure) { Write-CsbFailure $Cmdlet $connection.Failure $null -Terminating }
    $connection.Value
}
