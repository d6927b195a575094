# Backs a pool up as an administrator would, and keeps the report: backup_host.ps1 DEPLOYMENT POOL REPORT.json
param([string]$Deployment, [string]$Pool, [string]$Report)
$ErrorActionPreference = 'Stop'
Import-Module (Join-Path $PSScriptRoot '../../ps-module/CsBackup.psd1')
Connect-CsDeployment $Deployment
$job = Backup-CsPool -PoolFqdn $Pool -PassThru -Confirm:$false
# The object has the types and names of PowerShell; the document that it was made of is kept by the deployment.
$kept = Join-Path (Split-Path $Deployment) "jobs/$($job.JobId).json"
(Get-Content -Raw $kept | ConvertFrom-Json -Depth 64 -DateKind String).report | ConvertTo-Json -Depth 64 | Set-Content $Report
"$($job.Outcome) in $([int] $job.Duration.TotalMilliseconds) ms"
