# What calls cost a host in PowerShell. Prints "name milliseconds" lines.
param([string] $Manifest, [string] $Deployment, [string] $PoolFqdn)
$ErrorActionPreference = 'Stop'

function Get-Median([scriptblock] $Script, [int] $Count = 60) {
    $samples = foreach ($i in 1..$Count) { (Measure-Command $Script).TotalMilliseconds }
    @($samples | Sort-Object)[[int] ($Count / 2)]
}

# The first command of a session pays for the engine's own start, whichever it is.
Import-Module Microsoft.PowerShell.Utility
"import $((Measure-Command { Import-Module $Manifest }).TotalMilliseconds)"
"connect $((Measure-Command { Connect-CsDeployment -Path $Deployment }).TotalMilliseconds)"
"status $(Get-Median { Get-CsBackupServiceStatus -PoolFqdn $PoolFqdn })"
$null = Invoke-CsBackupServiceSync -PoolFqdn $PoolFqdn -Confirm:$false
"job-list $(Get-Median { Get-CsBackupJob })"
"empty-call $(Get-Median { [Environment]::TickCount })"
