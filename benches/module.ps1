# How long the PowerShell module takes, each beside a peer in the same run: the import and the first commands beside Add-Type
# compiling one P/Invoke declaration in a process of its own (what the module would else cost), and the status query beside
# listing pools. Every process is a new one, in which nothing is loaded before the module.
#   cargo build --release --lib && ps-module/build.sh && pwsh -NoProfile -File benches/module.ps1
[CmdletBinding()]
param([int] $Runs = 5)
$ErrorActionPreference = 'Stop'
$root = Split-Path -Parent $PSScriptRoot
$manifest = Join-Path $root 'ps-module/CsBackup.psd1'
$folder = Join-Path ([System.IO.Path]::GetTempPath()) "csbackup-bench-$([guid]::NewGuid())"
Import-Module $manifest
$deployment = (New-CsSampleDeployment -Path $folder -Users 200 -Files 300).DeploymentFile
Backup-CsPool -PoolFqdn atl-cs-001.litwareinc.com

$script = @"
function Measure-Once([scriptblock] `$Block) { `$clock = [System.Diagnostics.Stopwatch]::StartNew(); `$null = & `$Block; `$clock.Elapsed.TotalMilliseconds }
function Measure-Median([scriptblock] `$Block) { `$all = foreach (`$run in 1..51) { Measure-Once `$Block }; (`$all | Sort-Object)[25] }
`$import = Measure-Once { Import-Module '$manifest' }
`$first = Measure-Once { Connect-CsDeployment '$deployment' }
`$second = Measure-Once { Get-CsPool }
`$status = Measure-Median { Get-CsBackupServiceStatus atl-cs-001.litwareinc.com }
`$pools = Measure-Median { Get-CsPool -LocalStore }
"`$import `$first `$second `$status `$pools"
"@
$compile = @'
$clock = [System.Diagnostics.Stopwatch]::StartNew()
Add-Type -Namespace Bench -Name Native -MemberDefinition '[DllImport("c")] public static extern int getpid();'
"$($clock.Elapsed.TotalMilliseconds)"
'@
try {
    $rows = foreach ($run in 1..$Runs) {
        $text = @($script, $compile | ForEach-Object { pwsh -NoProfile -NonInteractive -Command $_ }) -join ' '
        , @($text.Split(' ') | ForEach-Object { [double] $_ })
    }
} finally {
    Remove-Item -LiteralPath $folder -Recurse -Force
}
$median = foreach ($column in 0..5) { (@($rows | ForEach-Object { $_[$column] }) | Sort-Object)[[int] [math]::Floor($Runs / 2)] }
'medians of {0} processes' -f $Runs
'import          {0,7:N1} ms = {1:N2} of Add-Type ({2:N1} ms)' -f $median[0], ($median[0] / $median[5]), $median[5]
'first command   {0,7:N1} ms = {1:N2} of Add-Type; loads the library and connects' -f $median[1], ($median[1] / $median[5])
'second command  {0,7:N1} ms = {1:N2} of Add-Type; lists the pools' -f $median[2], ($median[2] / $median[5])
'status query    {0,7:N1} ms = {1:N2} of listing the pools from the local replica ({2:N1} ms)' -f $median[3], ($median[3] / $median[4]), $median[4]
