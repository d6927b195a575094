# The scripts that administrators have: what they write must go on working as it stands.
BeforeAll {
    . $PSScriptRoot/Shared.ps1
    $script:Sample = New-TestDeployment 'sample' 5 5
    $null = Invoke-CsBackupServiceSync $Atl -PassThru
}

AfterAll { Remove-TestDeployment }

Describe 'A script' {
    It 'works as it stands: <Code>' -ForEach @(
        @{ Code = 'Backup-CsPool -PoolFQDN "atl-cs-001.litwareinc.com" -Confirm:$false' }
        @{ Code = 'backup-cspool -poolfqdn ATL-CS-001.LITWAREINC.COM -category userdata' }
        @{ Code = 'Backup-CsPool -PoolFqdn "atl-cs-001.litwareinc.com" -SteadyState -WaitTime 30 -RetryCount 3 -Force' }
        @{ Code = 'Backup-CsPool -PoolFqdn "atl-cs-001.litwareinc.com" -SteadyState -WaitTime "30"' }
        @{ Code = 'Backup-CsPool -PoolFqdn "atl-cs-001.litwareinc.com" -SteadyState -WaitTime 00:00:30' }
        @{ Code = 'Backup-CsPool -PoolFqdn "atl-cs-001.litwareinc.com" -SteadyState -WaitTime (New-TimeSpan -Seconds 30)' }
        @{ Code = '$p = @{ PoolFqdn = "atl-cs-001.litwareinc.com"; Category = "CMS"; Force = $true }; Backup-CsPool @p' }
        @{ Code = 'Invoke-CsBackupServiceSync -PoolFqdn "atl-cs-001.litwareinc.com" -BackupModule All' }
        @{ Code = 'Invoke-CsBackupServiceSync -PoolFQDN "atl-cs-001.litwareinc.com" -BackupModule CentralMgmt.CMSMaster' }
        @{ Code = 'Invoke-CsBackupServiceSync -PoolFqdn "atl-cs-001.litwareinc.com" -BackupModule cmsmaster -Force' }
        @{ Code = '"atl-cs-001.litwareinc.com" | Invoke-CsBackupServiceSync' }
        @{ Code = 'Get-CsPool | Where-Object {$_.Services -match "Registrar"} | ForEach-Object {Invoke-CsBackupServiceSync -PoolFqdn $_.Identity}' }
        @{ Code = 'Get-CsPool | Where-Object {$_.Services -like "Registrar*"} | Invoke-CsBackupServiceSync' }
        @{ Code = 'foreach ($pool in (Get-CsPool -Site Atlanta).Fqdn) { Backup-CsPool -PoolFqdn $pool }' }
        @{ Code = 'if ((Get-CsBackupServiceStatus -PoolFqdn "atl-cs-001.litwareinc.com").OverallExportStatus -ne "SteadyState") { throw "not steady" }' }
        @{ Code = '$s = Get-CsBackupServiceStatus -PoolFqdn "atl-cs-001.litwareinc.com"; if (@($s.BackupModules | Where-Object {$_.Identity -eq "ConfServices.DataConf" -and $_.ImportStatus -eq "NormalState"}).Count -ne 1) { throw "not normal" }' }
        @{ Code = 'if (-not (Get-CsAdminRole | Where-Object {$_.Cmdlets –match "Backup-CsPool"})) { throw "no role" }' }
        @{ Code = 'if ((Get-CsPoolBackupRelationship -PoolFqdn "atl-cs-001.litwareinc.com").BackupPoolFqdn -ne "chi-cs-001.litwareinc.com") { throw "no partner" }' }
        @{ Code = '(Get-CsBackupServiceConfiguration -Identity Global).SyncInterval.TotalMinutes' }
    ) {
        $file = Join-Path $TestDrive 'script.ps1'
        Set-Content $file "Set-StrictMode -Version Latest`n`$ErrorActionPreference = 'Stop'`n$Code" -Encoding utf8
        $global:Error.Clear()
        $null = & $file
        $global:Error | Should -BeNullOrEmpty
    }

    It 'is told the wait in seconds: <_>' -ForEach '30', '"30"', '00:00:30', '(New-TimeSpan -Seconds 30)', '30.0' {
        $report = & ([scriptblock]::Create("Backup-CsPool -PoolFqdn $Atl -SteadyState -WaitTime $_ -PassThru"))
        $report.Request.WaitTime | Should -BeOfType timespan
        $report.Request.WaitTime.TotalSeconds | Should -Be 30
    }

    It 'that pipes something to <_>, which takes nothing, makes it do nothing' -ForEach @(
        'Get-CsPool', 'Get-CsAdminRole', 'Get-CsTopology', 'Get-CsBackupServiceConfiguration', 'Backup-CsPool atl-cs-001.litwareinc.com -PassThru', 'New-CsSampleDeployment ./piped'
    ) {
        $all = & ([scriptblock]::Create("1, 2 | $_")) 2>&1
        $all.FullyQualifiedErrorId | Should -BeLike 'InputObjectNotBound,*'
        $all.Count | Should -Be 2
    }

    It 'runs in runspaces of its own' {
        $pool = [runspacefactory]::CreateRunspacePool(1, 2)
        $pool.Open()
        try {
            $runs = foreach ($name in $Atl, $Chi) {
                $shell = [powershell]::Create()
                $shell.RunspacePool = $pool
                $null = $shell.AddScript('param($Manifest, $Deployment, $Pool) Import-Module $Manifest; Connect-CsDeployment $Deployment; (Invoke-CsBackupServiceSync $Pool -PassThru).Outcome').AddArgument($Manifest).AddArgument($Sample.DeploymentFile).AddArgument($name)
                @{ Shell = $shell; Handle = $shell.BeginInvoke() }
            }
            $outcomes = foreach ($run in $runs) {
                $run.Shell.EndInvoke($run.Handle)
                $run.Shell.Streams.Error | Should -BeNullOrEmpty
                $run.Shell.Dispose()
            }
            # Of the two directions of a pair, one may find the other at work and say so in a warning.
            @($outcomes).Count | Should -Be 2
            $outcomes | Should -BeLike 'Succeeded*'
        } finally {
            $pool.Dispose()
        }
    }
}

Describe 'What travels to another session' {
    It 'keeps its types and its view: <Name>' -ForEach @(
        @{ Name = 'the status'; Type = 'CsBackup.ServiceStatus'; Make = { Get-CsBackupServiceStatus $Atl } }
        @{ Name = 'the report'; Type = 'CsBackup.Report'; Make = { Invoke-CsBackupServiceSync $Atl -PassThru } }
        @{ Name = 'a pool'; Type = 'CsBackup.Pool'; Make = { Get-CsPool $Atl } }
        @{ Name = 'a state'; Type = 'CsBackup.PoolBackupState'; Make = { @(Get-CsPoolBackupHistory $Atl)[0] } }
        @{ Name = 'the relationship'; Type = 'CsBackup.Relationship'; Make = { Get-CsPoolBackupRelationship $Atl } }
        @{ Name = 'a connection'; Type = 'CsBackup.PoolConnection'; Make = { Test-CsPoolConnection $Atl } }
        @{ Name = 'a registration'; Type = 'CsBackup.PlaceRegistration'; Make = { Register-CsPoolPlace $Atl -Grant Read } }
        @{ Name = 'the topology'; Type = 'CsBackup.Topology'; Make = { Get-CsTopology } }
        @{ Name = 'a role'; Type = 'CsBackup.AdminRole'; Make = { Get-CsAdminRole CsAdministrator } }
        @{ Name = 'a job'; Type = 'CsBackup.Job'; Make = { @(Get-CsBackupJob)[0] } }
        @{ Name = 'the settings'; Type = 'CsBackup.BackupServiceConfiguration'; Make = { Get-CsBackupServiceConfiguration } }
    ) {
        $original = & $Make
        $file = Join-Path $TestDrive 'travelled.xml'
        $original | Export-Clixml $file -Depth 4
        $copy = Import-Clixml $file
        $copy.PSObject.TypeNames[0] | Should -Be "Deserialized.$Type"
        foreach ($property in $original.PSObject.Properties) {
            if ($null -eq $property.Value -or $property.Value -is [array] -or $property.Value -is [System.Management.Automation.PSCustomObject]) { continue }
            $copied = $copy.$($property.Name)
            $copied.GetType() | Should -Be $property.Value.GetType() -Because $property.Name
            $copied | Should -Be $property.Value -Because $property.Name
        }
        ($copy | Out-String) | Should -Be ($original | Out-String)
    }

    It 'has dates, spans and flags that are none but these' {
        $report = Invoke-CsBackupServiceSync $Atl -PassThru
        $report.StartedAt, $report.FinishedAt | Should -BeOfType datetime
        $report.Duration, $report.Modules[0].Duration | Should -BeOfType timespan
        $report.WhatIf | Should -BeOfType bool
        (Get-CsAdminRole CsAdministrator).IsStandardRole | Should -BeOfType bool
        (Get-CsBackupServiceConfiguration).SyncInterval | Should -BeOfType timespan
    }
}

Describe 'An object as text' {
    It 'is its name or its id, also where a command wants one' {
        $pool, $job = (Get-CsPool $Atl), @(Get-CsBackupJob)[0]
        "$pool $job $((Get-CsTopology).Pools)" | Should -Be "$Atl $($job.JobId) $Atl $Chi"
        (Backup-CsPool $pool -PassThru).PoolFqdn | Should -Be $Atl
        (Wait-CsBackupJob $job).JobId | Should -Be $job.JobId
    }

    It 'is not raw in a list of <Name>, nor after it has travelled' -ForEach @(
        @{ Name = 'a report'; Make = { Invoke-CsBackupServiceSync $Atl -PassThru } }
        @{ Name = 'a report''s modules'; Make = { (Invoke-CsBackupServiceSync $Atl -PassThru -Verify).Modules } }
        @{ Name = 'the topology'; Make = { Get-CsTopology } }
        @{ Name = 'a topology''s pools'; Make = { (Get-CsTopology).Pools } }
        @{ Name = 'the status'; Make = { Get-CsBackupServiceStatus $Atl } }
        @{ Name = 'a connection'; Make = { Test-CsPoolConnection $Atl } }
        @{ Name = 'a registration'; Make = { Register-CsPoolPlace $Atl -Grant Read } }
    ) {
        $objects = & $Make
        $copies = [System.Management.Automation.PSSerializer]::Deserialize([System.Management.Automation.PSSerializer]::Serialize($objects, 5))
        foreach ($shown in ($objects | Format-List | Out-String), ($copies | Format-List | Out-String)) {
            $shown | Should -Match ' : '
            $shown | Should -Not -Match '@\{|System\.'
        }
    }
}

Describe 'Tab completion' {
    It 'offers <Offered> for "<Line>"' -ForEach @(
        @{ Line = 'Backup-CsPool -PoolFqdn '; Offered = 'atl-cs-001.litwareinc.com chi-cs-001.litwareinc.com' }
        @{ Line = 'Backup-CsPool '; Offered = 'atl-cs-001.litwareinc.com chi-cs-001.litwareinc.com' }
        @{ Line = 'Invoke-CsBackupServiceSync -PoolFqdn "CH'; Offered = 'chi-cs-001.litwareinc.com' }
        @{ Line = 'Get-CsBackupServiceStatus -PoolFqdn atl'; Offered = 'atl-cs-001.litwareinc.com' }
        @{ Line = 'Disable-CsPoolBackup chi'; Offered = 'chi-cs-001.litwareinc.com' }
        @{ Line = 'Get-CsPoolBackupHistory a'; Offered = 'atl-cs-001.litwareinc.com' }
        @{ Line = 'Restore-CsPoolBackup ch'; Offered = 'chi-cs-001.litwareinc.com' }
        @{ Line = 'Get-CsPool -Identity a'; Offered = 'atl-cs-001.litwareinc.com' }
        @{ Line = 'Get-CsPool -Site '; Offered = 'Atlanta Chicago' }
        @{ Line = 'Get-CsAdminRole -Identity CsV'; Offered = 'CsViewOnlyAdministrator' }
        @{ Line = 'Get-CsBackupServiceConfiguration -Identity '; Offered = 'Global' }
        @{ Line = 'Backup-CsPool -Category '; Offered = 'UserData CMS' }
        @{ Line = 'Invoke-CsBackupServiceSync -BackupModule D'; Offered = 'DataConf' }
    ) {
        $matches = (TabExpansion2 $Line -cursorColumn $Line.Length).CompletionMatches | Where-Object ResultType -EQ 'ParameterValue'
        @($matches.CompletionText | ForEach-Object { $_.Trim('"''') } | Sort-Object) | Should -Be @($Offered.Split(' ') | Sort-Object)
    }

    It 'works while the Central Management store is gone' {
        $store = Join-Path (Split-Path $Sample.DeploymentFile) 'cms/cms.sqlite'
        Rename-Item $store 'away'
        try {
            Connect-CsDeployment $Sample.DeploymentFile
            $global:Error.Clear()
            (TabExpansion2 'Backup-CsPool -PoolFqdn chi').CompletionMatches.CompletionText | Should -Be $Chi
            $global:Error | Should -BeNullOrEmpty
        } finally {
            Rename-Item (Join-Path (Split-Path $store) 'away') 'cms.sqlite'
        }
    }

    It 'is silent and quick without <Name>' -ForEach @(
        @{ Name = 'a deployment'; Environment = @{ CSBACKUP_DEPLOYMENT = '' } }
        @{ Name = 'a library'; Environment = @{ CSBACKUP_DEPLOYMENT = '/nowhere/deployment.toml'; CSBACKUP_LIBRARY = '/nowhere/libcs_backup.so' } }
    ) {
        $lines = Invoke-TestShell @'
# On a busy machine the first one, which loads what completes, may take longer.
foreach ($look in 1..3) {
    $clock = [System.Diagnostics.Stopwatch]::StartNew()
    $found = @((TabExpansion2 'Backup-CsPool -PoolFqdn ').CompletionMatches | Where-Object { $_.CompletionText -match 'cs-001' })
    $isQuick = $clock.Elapsed.TotalSeconds -lt 10
    if ($isQuick) { break }
}
$found.Count
$isQuick
$Error.Count
'@ -Environment $Environment
        $lines | Should -Be '0', 'True', '0'
    }
}
