# The demonstration of scripts/demo.sh, in PowerShell: each command is shown before it runs.
param([Parameter(Mandatory)][string] $Path)
$ErrorActionPreference = 'Stop'
$root = Split-Path -Parent $PSScriptRoot
Import-Module (Join-Path $root 'ps-module/CsBackup.psd1')
$pool = 'atl-cs-001.litwareinc.com'

function Show([string] $Text, [scriptblock] $Command) {
    Write-Host "`n== $Text" -ForegroundColor Cyan
    Write-Host "PS> $($ExecutionContext.InvokeCommand.ExpandString($Command.ToString().Trim()))"
    & $Command | Out-Host
}

Show 'A sample deployment: two pools, 200 users each with contacts, 300 files, a Central Management store' {
    New-CsSampleDeployment -Path $Path
}
Show 'Its pools' { Get-CsPool }
Show 'The first backup prints nothing when it succeeds' { Backup-CsPool -PoolFqdn $pool -Report $Path/backup.html }
Show 'The state of the backup' { Get-CsBackupServiceStatus -PoolFqdn $pool }
Show 'The server of the pool goes on working: users, contacts and files change' {
    & "$root/target/release/sample_server" $Path/atl
}
Show 'What a sync would move' { Invoke-CsBackupServiceSync -PoolFqdn $pool -WhatIf }
Show 'A sync moves only what changed' { Invoke-CsBackupServiceSync -PoolFqdn $pool -PassThru }
Show 'The backup pool keeps earlier states of the user store, each of which can be restored' { Get-CsPoolBackupHistory -PoolFqdn $pool }
Write-Host "`nThe HTML report of the backup: $((Resolve-Path $Path/backup.html).Path)" -ForegroundColor Green
