BeforeAll {
    . $PSScriptRoot/Shared.ps1
    $script:Sample = New-TestDeployment
}

AfterAll { Remove-TestDeployment }

Describe 'Backup-CsPool' {
    It 'prints nothing, leaves no error and writes the log' {
        $file = Join-Path $TestDrive 'first.html'
        $global:Error.Clear()
        $output = Backup-CsPool -PoolFqdn $Atl -Report $file -WarningVariable warnings
        $global:Error.Count | Should -Be 0
        $output | Should -BeNullOrEmpty
        $warnings | Should -BeNullOrEmpty
        Get-Content $file -Raw | Should -Match '(?s)<!doctype html>.*atl-cs-001\.litwareinc\.com'
    }

    It 'has then copied everything' {
        $status = Get-CsBackupServiceStatus -PoolFqdn $Atl
        foreach ($module in $status.BackupModules) {
            $module.PendingItems | Should -Be 0 -Because $module.Identity
            $module.ImportStatus | Should -Be 'NormalState' -Because $module.Identity
        }
        $status.OverallExportStatus | Should -BeIn 'SteadyState', 'FinalState'
    }

    It 'says with -Verbose where the log is' {
        $lines = Backup-CsPool -PoolFqdn $Atl -Verbose 4>&1 | ForEach-Object Message
        $said = @($lines | Where-Object { $_ -match '\.html\.$' })
        $said.Count | Should -Be 1
        $path = $said[0] -replace '^.* (\S+\.html)\.$', '$1'
        $folder = [System.IO.Path]::GetDirectoryName($path)
        [System.IO.Path]::GetFileName($folder) | Should -Match '^CsBackup-[0-9]+$'
        [System.IO.Path]::GetDirectoryName($folder) | Should -Be ([System.IO.Path]::GetTempPath().TrimEnd('/', '\'))
        [System.IO.Path]::GetFileName($path) | Should -Match '^Backup-atl-cs-001-[0-9a-f-]{36}\.html$'
        $path | Should -Exist
        Remove-Item $path
    }

    It 'leaves no error anywhere, the first time in a session too' {
        $lines = Invoke-TestShell @"
`$null = New-CsSampleDeployment '$TestDrive/first' -Users 3000 -Files 500
Backup-CsPool $Atl -ErrorVariable problems
(Get-CsBackupJob)[0].Duration.TotalMilliseconds -gt 150
`$problems.Count + `$Error.Count
"@
        $lines | Should -Be 'True', '0'
    }

    It 'overwrites the log' {
        $file = Join-Path $TestDrive 'again.html'
        Set-Content $file 'something else'
        Backup-CsPool -PoolFqdn $Atl -Report $file
        Get-Content $file -Raw | Should -Match '^<!doctype html>'
    }

    It 'never overwrites <Name> with the log, and does not even start' -ForEach @(
        @{ Name = 'the user store'; File = 'atl/users.sqlite' }
        @{ Name = 'the standby copy'; File = 'chi/standby/atl.sqlite' }
        @{ Name = 'the Central Management store'; File = 'cms/cms.sqlite' }
        @{ Name = 'the deployment file'; File = 'deployment.toml' }
        @{ Name = 'the topology'; File = 'topology.toml' }
        @{ Name = 'a file of the content store'; File = 'atl/share/report.html' }
        @{ Name = 'a folder'; File = 'atl' }
    ) {
        $folder = Split-Path $Sample.DeploymentFile
        $file = Join-Path $folder $File
        $jobs = @(Get-CsBackupJob).Count
        $before = Get-TestFingerprint $folder
        foreach ($more in @{}, @{ WhatIf = $true }, @{ AsJob = $true }) {
            $problem = Get-TestError { Backup-CsPool -PoolFqdn $Atl -Report $file @more }
            $problem.FullyQualifiedErrorId | Should -Be 'ReportRefused,Backup-CsPool'
            $problem.CategoryInfo.Category | Should -Be 'PermissionDenied'
        }
        @(Get-CsBackupJob).Count | Should -Be $jobs
        Get-TestFingerprint $folder | Should -Be $before
    }

    It 'writes the log as JSON where the file is called so' {
        $file = Join-Path $TestDrive 'log.json'
        Backup-CsPool -PoolFqdn $Atl -Report $file
        (Get-Content $file -Raw | ConvertFrom-Json).outcome | Should -Be 'Succeeded'
    }

    It 'writes the log relative to the location, not to the process' {
        Push-Location $TestDrive
        try { Backup-CsPool -PoolFqdn $Atl -Report 'relative.html' } finally { Pop-Location }
        Join-Path $TestDrive 'relative.html' | Should -Exist
    }

    It 'returns a report of real types with -PassThru' {
        $report = Backup-CsPool -PoolFqdn $Atl -PassThru -Report (Join-Path $TestDrive 'typed.html')
        $report.PSObject.TypeNames[0] | Should -Be 'CsBackup.Report'
        $report.Outcome | Should -Be 'Succeeded'
        $report.StartedAt | Should -BeOfType datetime
        [math]::Abs(((Get-Date) - $report.StartedAt).TotalMinutes) | Should -BeLessThan 5
        $report.Duration | Should -BeOfType timespan
        $report.WhatIf | Should -BeOfType bool
        $report.ReportFile | Should -Exist
        $report.Modules.Count | Should -BeGreaterThan 1
        foreach ($module in $report.Modules) {
            $module.PSObject.TypeNames[0] | Should -Be 'CsBackup.ReportModule'
            $module.Duration | Should -BeOfType timespan
        }
        { $report | Format-List * | Out-String } | Should -Not -Throw
        $lines = @(($report.Modules | Out-String -Width 80) -split '\r?\n' -match '.')
        $lines.Count | Should -Be (2 + $report.Modules.Count)
        $lines[2] | Should -Match '^PresenceFocus atl-cs-001 chi-cs-001 Succeeded '
        $report | Out-String | Should -Match 'Backup-CsPool atl-cs-001.litwareinc.com: Succeeded'
    }

    It 'backs up one category only' {
        $report = Backup-CsPool -PoolFqdn $Atl -Category cms -PassThru
        @($report.Modules.Module | Sort-Object -Unique) | Should -Be 'CentralMgmt.CMSMaster'
        $report = Backup-CsPool -PoolFqdn $Atl -Category UserData -PassThru
        @($report.Modules.Module | Sort-Object -Unique) | Should -Be 'ConfServices.DataConf', 'UserServices.PresenceFocus'
    }

    It 'takes the pool''s name and its parameters in any case, and by splatting' {
        $parameters = @{ POOLFQDN = $Atl.ToUpperInvariant(); waittime = '00:00:01'; RetryCount = 1; Confirm = $false }
        $global:Error.Clear()
        Backup-CsPool @parameters
        $global:Error.Count | Should -Be 0
    }

    It 'understands -WaitTime <_>' -ForEach 1, '1', '00:00:01', ([timespan] '00:00:01') {
        $report = Backup-CsPool -PoolFqdn $Atl -SteadyState -WaitTime $_ -PassThru
        $report.Request.WaitTime | Should -Be ([timespan]::FromSeconds(1))
        $report.Request.SteadyState | Should -BeTrue
    }

    It 'works with -LocalStore' {
        (Backup-CsPool -PoolFqdn $Atl -LocalStore -PassThru).Outcome | Should -Be 'Succeeded'
    }

    It 'works in strict mode, and where errors stop' {
        $lines = Invoke-TestShell "Set-StrictMode -Version Latest; `$ErrorActionPreference = 'Stop'; Backup-CsPool -PoolFqdn $Atl; Get-CsPool | Out-Null; `$Error.Count; 'end'" $Sample.DeploymentFile
        $lines | Should -Be '0', 'end'
    }

    It 'shows a bar for the job and one for each module below it, and completes them all' {
        $large = New-TestDeployment 'progress' 500 100
        $shell = [powershell]::Create()
        try {
            $null = $shell.AddScript("Import-Module '$Manifest'; Connect-CsDeployment '$($large.DeploymentFile)'; Backup-CsPool $Atl").Invoke()
            $shell.HadErrors | Should -BeFalse
            $records = @($shell.Streams.Progress | Where-Object ActivityId -GE 4100)
        } finally {
            $shell.Dispose()
            Connect-CsDeployment $Sample.DeploymentFile
        }
        $bars = @($records | Group-Object ActivityId)
        $bars.Count | Should -BeGreaterThan 1
        foreach ($bar in $bars) {
            $bar.Group[-1].RecordType | Should -Be 'Completed'
            $parent = 4100
            if ($bar.Name -eq '4100') { $parent = -1 }
            @($bar.Group.ParentActivityId | Sort-Object -Unique) | Should -Be $parent
        }
        $records.Activity | Should -Contain 'DataConf'
        @($records.StatusDescription | Where-Object { $_ -match '\d items' }).Count | Should -BeGreaterThan 0
    }

    # Each time that a bar is drawn PowerShell asks the terminal where its cursor is, and Ctrl+C can throw the answer away (docs/traps.md).
    It 'draws its bars seldom, and what they show already only once more: <Name>' -ForEach @(
        @{ Name = 'copying'; Drawn = 3; Entry = { @{ module = 'DataConf'; itemsDone = $_; itemsTotal = 100 } }; Note = { '' } }
        @{ Name = 'nothing moves'; Drawn = 2; Entry = { @{ module = 'DataConf'; itemsDone = 5; itemsTotal = 100 } }; Note = { '' } }
        @{ Name = 'waiting'; Drawn = 3; Entry = { @{ module = 'DataConf' } }; Note = { "attempt $_" } }
        @{ Name = 'what was waited for is there'; Drawn = 3; Entry = { @{ module = 'DataConf'; itemsDone = 5 } }; Note = { if ($_ -lt 2) { 'attempt 1' } else { '' } } }
    ) {
        InModuleScope CsBackup -Parameters @{ Entry = $Entry; Note = $Note; Drawn = $Drawn } {
            Mock Write-Progress { }
            $progress = New-CsbProgress 'draws'
            # A clock of the test's own: 1,200 ms in steps of 50.
            $progress.Clock = [pscustomobject] @{ ElapsedMilliseconds = 0 }
            foreach ($step in 0..24) {
                $progress.Clock.ElapsedMilliseconds = 50 * $step
                Write-CsbModuleProgress $progress ($step | ForEach-Object $Entry) ($step | ForEach-Object $Note)
            }
            Should -Invoke Write-Progress -Times $Drawn -Exactly
        }
    }

    It 'works in the runspaces of ForEach-Object -Parallel' -Skip:($PSVersionTable.PSVersion.Major -lt 7) {
        $outcomes = $Atl, $Chi | ForEach-Object -Parallel {
            Import-Module $using:Manifest
            Connect-CsDeployment -Path $using:Sample.DeploymentFile
            (Backup-CsPool -PoolFqdn $_ -PassThru).Outcome
        }
        $outcomes | Should -Be 'Succeeded', 'Succeeded'
    }
}

Describe 'What administrators get wrong' {
    It '<Id> for <Name>' -ForEach @(
        @{ Name = '-FullBackup -SteadyState'; Id = 'FullBackupWithSteadyState'; Category = 'InvalidArgument'; Arguments = @{ FullBackup = $true; SteadyState = $true } }
        @{ Name = '-FailedOverPoolOnly'; Id = 'FailedOverPoolOnlyWithoutFullBackup'; Category = 'InvalidArgument'; Arguments = @{ FailedOverPoolOnly = $true } }
        @{ Name = 'an unknown pool'; Id = 'UnknownPool'; Category = 'ObjectNotFound'; Arguments = @{ PoolFqdn = 'nowhere.litwareinc.com' } }
        @{ Name = 'a report in no folder'; Id = 'FileMissing'; Category = 'ObjectNotFound'; Arguments = @{ Report = '/no/such/folder/x.html' } }
        @{ Name = 'a report outside the file system'; Id = 'PathInvalid'; Category = 'InvalidArgument'; Arguments = @{ Report = 'env:x' } }
        @{ Name = 'a category that is none'; Id = 'ParameterArgumentValidationError'; Category = 'InvalidData'; Arguments = @{ Category = 'Users' } }
        @{ Name = 'a negative retry count'; Id = 'ParameterArgumentValidationError'; Category = 'InvalidData'; Arguments = @{ RetryCount = -1 } }
        @{ Name = 'an empty pool name'; Id = 'ParameterArgumentValidationError'; Category = 'InvalidData'; Arguments = @{ PoolFqdn = '' } }
    ) {
        $parameters = @{ PoolFqdn = $Atl } + @{}
        foreach ($key in $Arguments.Keys) { $parameters[$key] = $Arguments[$key] }
        $global:Error.Clear()
        $problem = try { Backup-CsPool @parameters 2>&1 } catch { $_ }
        $problem.FullyQualifiedErrorId | Should -Be "$Id,Backup-CsPool"
        $problem.CategoryInfo.Category | Should -Be $Category
        if ($Category -ne 'InvalidData') {
            $problem.ErrorDetails.RecommendedAction | Should -Not -BeNullOrEmpty
            $problem.TargetObject | Should -Be $parameters.PoolFqdn
            $global:Error.Count | Should -Be 1
        }
    }

    It 'accepts -FullBackup:$false with -SteadyState' {
        { Backup-CsPool -PoolFqdn $Atl -FullBackup:$false -SteadyState } | Should -Not -Throw
    }

    It 'does not go on with the next statement where errors stop' {
        { Backup-CsPool -PoolFqdn nowhere.litwareinc.com -ErrorAction Stop } | Should -Throw -ErrorId 'UnknownPool,Backup-CsPool'
    }

    It 'stops where the calling script wants errors to stop' {
        $script = Join-Path $TestDrive 'stop.ps1'
        Set-Content $script "`$ErrorActionPreference = 'Stop'; Backup-CsPool -PoolFqdn nowhere.litwareinc.com; 'went on'"
        { & $script } | Should -Throw -ErrorId 'UnknownPool,Backup-CsPool'
        Set-Content $script "`$WhatIfPreference = `$true; Backup-CsPool -PoolFqdn $Atl -PassThru"
        (& $script).WhatIf | Should -BeTrue
        Set-Content $script "`$VerbosePreference = 'Continue'; Backup-CsPool -PoolFqdn $Atl 4>&1"
        @(& $script).Count | Should -BeGreaterThan 3
    }

    It 'says when the pool is not in the state that was asked for' {
        $problem = Backup-CsPool -PoolFqdn $Atl -FullBackup -FailedOverPoolOnly 2>&1
        $problem.FullyQualifiedErrorId | Should -Be 'PoolStateMismatch,Backup-CsPool'
    }
}

Describe '-WhatIf' {
    It 'compares everything with -Verify, and only then' {
        $modules = (Backup-CsPool -PoolFqdn $Atl -Verify -PassThru).Modules
        foreach ($module in $modules) {
            if ($module.Module -eq 'ConfServices.DataConf') { continue }
            $module.Verification.Reasons.Count | Should -Be 1 -Because $module.Module
            $module.Verification.ComparedItems | Should -BeGreaterThan 0 -Because $module.Module
            $module.Verification.DifferingItems | Should -Be 0 -Because $module.Module
        }
        $quick = Invoke-CsBackupServiceSync -PoolFqdn $Atl -PassThru
        @($quick.Modules | Where-Object Verification).Count | Should -Be 0
        $compared = Invoke-CsBackupServiceSync -PoolFqdn $Atl -BackupModule CMSMaster -Verify -PassThru
        $compared.Modules[0].Verification.ComparedItems | Should -BeGreaterThan 0
        $compared | Out-String | Should -Match '(?m)^    \d+ compared, 0 differed, 0 repaired\r?$'
        $quick | Out-String | Should -Not -Match 'compared'
    }

    It 'prints the plan and changes nothing, also with -Force' {
        $other = New-TestDeployment 'whatif' 5 5
        $folder = Split-Path $other.DeploymentFile
        $before = Get-TestFingerprint $folder
        $lines = Invoke-TestShell "Backup-CsPool -PoolFqdn $Atl -WhatIf -Force; Invoke-CsBackupServiceSync -PoolFqdn $Atl -WhatIf -Force; Disable-CsPoolBackup $Atl -WhatIf -Force; `$Error.Count" $other.DeploymentFile
        Connect-CsDeployment $Sample.DeploymentFile
        $text = $lines -join "`n"
        $text | Should -Match 'What if: Back up the pool atl-cs-001'
        $text | Should -Match 'What if:   1\. '
        $text | Should -Match 'What if: Synchronize the pool atl-cs-001'
        $lines[-1] | Should -Be '0'
        Get-TestFingerprint $folder | Should -Be $before
    }

    It 'names what would change, says that nothing was done, and writes all names beside the plan where a report is named' {
        $other = New-TestDeployment 'names' 5 5
        $folder = Split-Path $other.DeploymentFile
        try {
            Connect-CsDeployment $other.DeploymentFile
            Backup-CsPool -PoolFqdn $Atl
            Set-Content (Join-Path $folder 'atl/share/minutes.txt') 'new'
            $before = Get-TestFingerprint $folder
            $text = (Invoke-TestShell "Backup-CsPool -PoolFqdn $Atl -WhatIf" $other.DeploymentFile) -join "`n"
            $text | Should -Match 'content store .*, 1 item, '
            $text | Should -Match '(?m)^What if:      to be copied: minutes\.txt$'
            Get-TestFingerprint $folder | Should -Be $before
            $file = Join-Path $TestDrive 'plan.html'
            $plan = Backup-CsPool -PoolFqdn $Atl -WhatIf -PassThru -Report $file
            $plan.ReportFile | Should -Be $file
            $names = @(Get-Content (Join-Path $TestDrive 'plan.names.jsonl') | ConvertFrom-Json)
            $names.Count | Should -Be 1
            $names[0].item | Should -Be 'minutes.txt'
            $names[0].kind | Should -Be 'copied'
            $shown = $plan | Out-String
            $shown | Should -Match 'What if: this is a plan\. Nothing was done\.'
            $shown | Should -Match 'DataConf: 1 copied'
            $shown | Should -Not -Match 'written'
            $report = Backup-CsPool -PoolFqdn $Atl -PassThru
            $module = $report.Modules | Where-Object Module -EQ 'ConfServices.DataConf'
            $module.Changes[0].First[0].Item | Should -Be 'minutes.txt'
            $report.NamesFile | Should -Exist
        } finally {
            Connect-CsDeployment $Sample.DeploymentFile
        }
    }

    It 'wins over -AsJob' {
        Backup-CsPool -PoolFqdn $Atl -AsJob -WhatIf | Should -BeNullOrEmpty
    }

    It 'reports an unknown pool too' {
        (Backup-CsPool -PoolFqdn nowhere.litwareinc.com -WhatIf 2>&1).FullyQualifiedErrorId | Should -Be 'UnknownPool,Backup-CsPool'
    }
}

Describe '-AsJob' {
    It 'returns a job that Receive-Job gets the report from: <_>' -ForEach 'thread', 'process' {
        if ($_ -eq 'process') { Mock -ModuleName CsBackup Get-Command { } -ParameterFilter { $Name -eq 'Start-ThreadJob' } }
        $job = Backup-CsPool -PoolFqdn $Atl -AsJob -PassThru -Report (Join-Path $TestDrive "$_.html")
        $job | Should -BeOfType System.Management.Automation.Job
        $null = $job | Wait-Job -Timeout 60
        @($job.Progress) + @($job.ChildJobs.Progress) | ForEach-Object Activity | Should -Contain "Backup-CsPool $Atl"
        $report = $job | Receive-Job
        $report.Outcome | Should -Be 'Succeeded'
        $report.Duration | Should -BeOfType timespan
        $report | Out-String | Should -Match 'Backup-CsPool atl-cs-001.litwareinc.com: Succeeded'
        Join-Path $TestDrive "$_.html" | Should -Exist
        Remove-Job $job
    }

    It 'hands its errors to Receive-Job' {
        $job = Backup-CsPool -PoolFqdn nowhere.litwareinc.com -AsJob
        $null = $job | Wait-Job -Timeout 60
        Receive-Job $job -ErrorAction SilentlyContinue -ErrorVariable problems
        $problems[0].FullyQualifiedErrorId | Should -Match '^UnknownPool'
        Remove-Job $job
    }
}
