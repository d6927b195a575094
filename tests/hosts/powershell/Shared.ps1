# What every test file needs: the module, a sample deployment of its own, and a pwsh of its own where a host is looked at.
$ErrorActionPreference = 'Continue'
$script:Root = [System.IO.Path]::GetFullPath([System.IO.Path]::Combine($PSScriptRoot, '..', '..', '..'))
$script:Manifest = [System.IO.Path]::Combine($Root, 'ps-module', 'CsBackup.psd1')
$script:Atl = 'atl-cs-001.litwareinc.com'
$script:Chi = 'chi-cs-001.litwareinc.com'
Import-Module $Manifest -Force

# Not in $TestDrive: Pester takes away what a block has added to it, standby copies included.
$script:Deployments = Join-Path ([System.IO.Path]::GetTempPath()) "csbackup-tests-$([guid]::NewGuid())"

function New-TestDeployment {
    param([string] $Name = 'sample', [int] $Users = 20, [int] $Files = 30)
    New-CsSampleDeployment -Path (Join-Path $Deployments $Name) -Users $Users -ContactsPerUser 5 -Files $Files
}

function Remove-TestDeployment {
    Remove-Module CsBackup
    Remove-Item -LiteralPath $Deployments -Recurse -Force -ErrorAction Ignore
}

# A server that keeps the user store of Atlanta in a deployment for itself, so that a job on it cannot end; Stop-TestServer lets it go on.
function Start-TestServer {
    param([string] $Name)
    $start = [System.Diagnostics.ProcessStartInfo]::new((Join-Path $Root 'tests/hosts/hold.py'))
    $start.ArgumentList.Add((Join-Path $Deployments "$Name/atl/users.sqlite"))
    $start.RedirectStandardInput = $start.RedirectStandardOutput = $true
    $server = [System.Diagnostics.Process]::Start($start)
    if ($server.StandardOutput.ReadLine() -ne 'held') { throw "$Name cannot be held" }
    $server
}

function Stop-TestServer {
    param([System.Diagnostics.Process] $Server)
    $Server.StandardInput.Close()
    $Server.WaitForExit()
}

# Runs a script in a new pwsh that is connected to a deployment, and returns the lines that its host prints.
function Invoke-TestShell {
    param([string] $Script, [string] $Deployment, [hashtable] $Environment = @{})
    $file = Join-Path $TestDrive "shell-$([guid]::NewGuid()).ps1"
    $connect = ''
    if ($Deployment) { $connect = "Connect-CsDeployment -Path '$Deployment'" }
    Set-Content -LiteralPath $file -Value "Import-Module '$Manifest'`n$connect`n$Script"
    $before = @{}
    foreach ($key in $Environment.Keys) {
        $before[$key] = [Environment]::GetEnvironmentVariable($key)
        [Environment]::SetEnvironmentVariable($key, $Environment[$key])
    }
    try {
        & pwsh -NoProfile -NonInteractive -File $file 2>&1 |
            ForEach-Object { ([string] $_) -replace '\x1b\[[0-9;?]*[A-Za-z]', '' }
    } finally {
        foreach ($key in $before.Keys) { [Environment]::SetEnvironmentVariable($key, $before[$key]) }
    }
}

# What a command must not have changed: names and contents of all files below folders.
function Get-TestFingerprint {
    param([string[]] $Folder)
    Get-ChildItem -LiteralPath $Folder -Recurse -File | Where-Object { $_.FullName -notmatch '[\\/]jobs[\\/]' -and $_.Name -notmatch '-(wal|shm|journal)$' } |
        Sort-Object FullName | ForEach-Object { '{0} {1}' -f $_.FullName, (Get-FileHash -LiteralPath $_.FullName).Hash }
}

# The error that a command ends with, thrown or written.
function Get-TestError {
    param([scriptblock] $Script)
    try {
        & $Script -ErrorVariable written 2>&1 | Where-Object { $_ -is [System.Management.Automation.ErrorRecord] } | Select-Object -First 1
    } catch {
        $_
    }
}
