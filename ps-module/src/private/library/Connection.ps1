# Opens a CsBackup.Interop.Service for a deployment file, or the folder that has one; one for each deployment and runspace.
# Returns @{ Value; Failure }.
function Open-CsbService {
    param([string] $DeploymentFile)
    $library = Import-CsbLibrary
    if ($library.Failure) { return $library }
    $answer = $library.Value.Open($DeploymentFile)
    if ($answer.Failure) { return Get-CsbResult $answer }
    @{ Value = $answer.Service; Failure = $null }
}

function Close-CsbService {
    param($Connection, [uint32] $TimeoutMs = 5000)
    $Connection.Close($TimeoutMs)
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
