# Windows PowerShell runs on Windows only. Here its own branches run in this PowerShell: the module is told that it is there, and
# the two functions of kernel32.dll that it calls there are given by a library of that name.
BeforeDiscovery { $script:HasCompiler = $IsLinux -and [bool] (Get-Command cc -ErrorAction Ignore) }

BeforeAll {
    . $PSScriptRoot/../Shared.ps1
    $script:Sample = New-TestDeployment 'sample' 5 12
    $topology = Get-Content $Sample.TopologyFile -Raw -Encoding utf8
    Set-Content $Sample.TopologyFile $topology.Replace('Atlanta', "Z$([char] 0xFC)rich") -Encoding utf8
    Publish-CsTopology $Sample.TopologyFile
    Backup-CsPool $Atl
    $script:Library = (Connect-CsDeployment $Sample.DeploymentFile -PassThru).LibraryFile

    $script:Windows = (New-Item -ItemType Directory (Join-Path $TestDrive 'windows')).FullName
    $source = Join-Path $Windows 'kernel32.c'
    Set-Content $source @'
#include <dlfcn.h>
#include <errno.h>
#include <stddef.h>
void *LoadLibraryW(const unsigned short *file) {
    char path[4096];
    size_t at = 0;
    do path[at] = (char)file[at]; while (file[at++] && at < sizeof path);
    void *library = dlopen(path, RTLD_NOW);
    if (!library) errno = ENOENT;
    return library;
}
void *GetProcAddress(void *library, const char *name) { return dlsym(library, name); }
'@
    if ($IsLinux) { & cc -shared -fPIC -o (Join-Path $Windows 'kernel32.dll') $source -ldl }

    # The lines that a script prints in a session of an edition.
    function Invoke-Edition {
        param([string] $Edition, [string] $Script)
        $tell = ''
        if ($Edition -eq 'Desktop') { $tell = '& (Get-Module CsBackup) { $script:IsDesktop = $true }' }
        Invoke-TestShell "$tell`nConnect-CsDeployment '$($Sample.DeploymentFile)'`n$Script" -Environment @{
            LD_LIBRARY_PATH = $Windows; CSBACKUP_LIBRARY = $Library
        }
    }
}

AfterAll { Remove-TestDeployment }

Describe 'What Windows PowerShell alone runs' -Skip:(-not $HasCompiler) {
    It 'loads the library with what Windows has for it' {
        $lines = Invoke-Edition Desktop @'
$loader = & (Get-Module CsBackup) { $script:Interop.Value.Assembly.GetType('CsBackup.Interop.Loader') }
$load, $find = 'LoadOnFramework', 'FindOnFramework' | ForEach-Object { $loader.GetMethod($_, [System.Reflection.BindingFlags] 'NonPublic, Static') }
$library = $load.Invoke($null, @($env:CSBACKUP_LIBRARY))
$library -ne [System.IntPtr]::Zero
$find.Invoke($null, @($library, 'csb_version')) -eq [System.Runtime.InteropServices.NativeLibrary]::GetExport($library, 'csb_version')
foreach ($wrong in { $load.Invoke($null, @('/nowhere.dll')) }, { $find.Invoke($null, @($library, 'csb_nothing')) }) {
    try { & $wrong } catch { '{0} {1}' -f $_.Exception.GetBaseException().GetType().Name, $_.Exception.GetBaseException().Message }
}
'@
        $lines | Should -Be 'True', 'True', 'DllNotFoundException No such file or directory', 'EntryPointNotFoundException csb_nothing'
    }

    It 'makes the same objects: <_>' -ForEach @(
        "Get-CsPool"
        "Get-CsTopology"
        "Get-CsPoolBackupRelationship atl-cs-001.litwareinc.com"
        "Get-CsBackupServiceStatus atl-cs-001.litwareinc.com | Select-Object -ExcludeProperty BackupModules"
        "(Get-CsBackupServiceStatus atl-cs-001.litwareinc.com).BackupModules | Select-Object -ExcludeProperty ObservedAt, Lag"
        "Get-CsBackupServiceConfiguration"
        "Get-CsAdminRole"
        "Get-CsBackupJob"
    ) {
        $script = "`$all = @($_)`n" + @'
ConvertTo-Json $all -Depth 8 -Compress
foreach ($property in $all[0].PSObject.Properties) { '{0} {1}' -f $property.Name, $(if ($null -ne $property.Value) { $property.Value.GetType().FullName }) }
'@
        $desktop = Invoke-Edition Desktop $script
        $desktop.Count | Should -BeGreaterThan 2
        $desktop | Should -Be (Invoke-Edition Core $script)
    }

    It 'backs up, plans, and makes a sample deployment' {
        $lines = Invoke-Edition Desktop @"
`$report = Backup-CsPool $Atl -PassThru
'{0} {1} {2}' -f `$report.Outcome, `$report.Duration.GetType().Name, @(`$report.Modules).Count
Invoke-CsBackupServiceSync $Atl -WhatIf
(New-CsSampleDeployment '$Deployments/desktop' -Users 3 -Files 3).Users
`$Error.Count
"@
        $lines[0] | Should -Match '^Succeeded TimeSpan \d+$'
        $lines -match '^What if: +1\. ' | Should -Not -BeNullOrEmpty
        $lines[-2, -1] | Should -Be '3', '0'
    }

    It 'says in an error what to do, which Windows PowerShell does not show by itself' {
        $lines = Invoke-Edition Desktop 'Backup-CsPool nowhere.litwareinc.com -ErrorVariable problem 2> $null; $problem[0].FullyQualifiedErrorId; $problem[0].ErrorDetails.Message'
        $lines[0] | Should -Be 'UnknownPool,Backup-CsPool'
        $core = Invoke-Edition Core 'Backup-CsPool nowhere.litwareinc.com -ErrorVariable problem 2> $null; "$($problem[0].ErrorDetails.Message) $($problem[0].ErrorDetails.RecommendedAction)"'
        $lines[1] | Should -Be $core
    }
}

Describe 'Documents as Windows PowerShell reads them' {
    It 'are the same dictionaries: <_>' -ForEach @(
        '{}'
        '{"a":1,"b":null,"c":true,"d":"x"}'
        '{"list":[],"one":[1],"nested":[[1,2],[],["x"]]}'
        '{"rows":[{"a":1},{"a":2}],"one":[{"a":[{"b":"c"}]}],"empty":{}}'
        '{"number":12345678901,"fraction":1.5}'
    ) {
        InModuleScope CsBackup -Parameters @{ Json = $_ } {
            param($Json)
            $was = $script:IsDesktop
            try {
                $script:IsDesktop = $false
                $core = ConvertFrom-CsbJson $Json
                $script:IsDesktop = $true
                $desktop = ConvertFrom-CsbJson $Json
            } finally {
                $script:IsDesktop = $was
            }
            $desktop | Should -BeOfType System.Collections.IDictionary
            ConvertTo-Json $desktop -Depth 9 -Compress | Should -Be (ConvertTo-Json $core -Depth 9 -Compress)
        }
    }
}
