BeforeAll {
    . $PSScriptRoot/Shared.ps1
    $script:Sample = New-TestDeployment
    Backup-CsPool -PoolFqdn $Atl
    Backup-CsPool -PoolFqdn $Chi
}

AfterAll { Remove-TestDeployment }

Describe 'Backup jobs' {
    It 'are listed, the newest first, with their types' {
        $jobs = @(Get-CsBackupJob)
        $jobs.Count | Should -Be 2
        $jobs.PoolFqdn | Should -Be $Chi, $Atl
        $jobs[0].PSObject.TypeNames[0] | Should -Be 'CsBackup.Job'
        $jobs[0].State | Should -Be 'Succeeded'
        $jobs[0].StartedAt | Should -BeOfType datetime
        $jobs[0].FinishedAt | Should -BeOfType datetime
        $jobs[0].Duration | Should -BeOfType timespan
        $jobs[0].ProcessId | Should -Be $PID
        $jobs[0].PSObject.Properties['Handle'] | Should -BeNullOrEmpty
    }

    It 'show in a narrow terminal how long they took' {
        $lines = (Get-CsBackupJob | Out-String -Width 59) -split '\r?\n' | Where-Object { $_ -match 'Succeeded' }
        $lines.Count | Should -Be 2
        $lines | Should -Match '^[0-9a-f-]{36} Succeeded +\S+ +\d+[.,]\d s$'
    }

    It 'show their pool and command on one line in a terminal of 80 columns' {
        $lines = (Get-CsBackupJob | Out-String -Width 80) -split '\r?\n' | Where-Object { $_ -match '.' }
        $lines.Count | Should -Be 4
        $lines[2] | Should -Match ' chi-cs-001 +Backup$'
    }

    It 'have no id that is none: <_>' -ForEach 'Get-CsBackupJob', 'Wait-CsBackupJob', 'Stop-CsBackupJob' {
        $problem = & $_ -JobId '0000' 2>&1
        $problem.FullyQualifiedErrorId | Should -Be "UnknownJob,$_"
        $problem.Exception.Message | Should -Be 'No job has the id 0000.'
        $problem.CategoryInfo.Category | Should -Be 'ObjectNotFound'
    }

    It 'are found by pool and by id' {
        (Get-CsBackupJob -PoolFqdn $Atl).PoolFqdn | Should -Be $Atl
        $id = (Get-CsBackupJob -PoolFqdn $Atl).JobId
        (Get-CsBackupJob -JobId $id).JobId | Should -Be $id
        (Get-CsBackupJob | Get-CsBackupJob).Count | Should -Be 2
    }

    It 'have a log' {
        $file = Join-Path $TestDrive 'job.html'
        $null = Get-CsBackupJob -PoolFqdn $Atl | Get-CsBackupJob -Report $file
        Get-Content $file -Raw | Should -Match '(?s)<!doctype html>.*atl-cs-001'
    }

    It 'have no log that overwrites a store' {
        $file = Join-Path (Split-Path $Sample.DeploymentFile) 'atl/users.sqlite'
        $before = (Get-FileHash $file).Hash
        $problem = Get-CsBackupJob -PoolFqdn $Atl | Get-CsBackupJob -Report $file 2>&1
        $problem.FullyQualifiedErrorId | Should -Be 'ReportRefused,Get-CsBackupJob'
        (Get-FileHash $file).Hash | Should -Be $before
    }

    It 'are refused when unknown: <_>' -ForEach 'Get-CsBackupJob', 'Wait-CsBackupJob', 'Stop-CsBackupJob' {
        $problem = & $_ -JobId '0190f3a1-8a6b-7c3d-9e4f-0123456789ab' 2>&1
        $problem.FullyQualifiedErrorId | Should -Be "UnknownJob,$_"
    }

    It 'that have ended are not stopped, and nobody is asked' {
        $job = @(Get-CsBackupJob)[0]
        $lines = $job | Stop-CsBackupJob -PassThru -Confirm -Verbose 4>&1
        $lines[0].Message | Should -Be "The job $($job.JobId) has ended already: Succeeded."
        $lines[1].State | Should -Be 'Succeeded'
    }

    It 'that failed say why' {
        $store = (Get-CsTopology).Pools[0].UserStore.Url -replace '^sqlite:'
        Rename-Item $store 'away'
        try { $null = Backup-CsPool -PoolFqdn $Atl -RetryCount 0 2>&1 } finally { Rename-Item (Join-Path (Split-Path $store) 'away') (Split-Path -Leaf $store) }
        $job = @(Get-CsBackupJob)[0]
        $job.State, $job.Reason | Should -Be 'Failed', "The user store $store does not exist."
        @(Get-CsBackupJob)[1].Reason | Should -BeNullOrEmpty
        Backup-CsPool -PoolFqdn $Atl
    }

    It 'are waited for' {
        (Get-CsBackupJob | Select-Object -First 1 | Wait-CsBackupJob -Timeout 5).State | Should -Be 'Succeeded'
    }

    It 'of another process are stopped, and say so' {
        $null = New-TestDeployment 'held'
        $server = Start-TestServer 'held'
        $background = Backup-CsPool -PoolFqdn $Atl -AsJob -RetryCount 20
        $job = $null
        $limit = [datetime]::Now.AddSeconds(180)
        while (-not $job -and [datetime]::Now -lt $limit) { $job = Get-CsBackupJob -PoolFqdn $Atl | Where-Object State -EQ 'Running' }
        $job | Should -Not -BeNullOrEmpty
        # It has the lease when it is at a step; until then another one may take it.
        while (-not ($background.Progress.StatusDescription -match '^Step') -and [datetime]::Now -lt $limit) { Start-Sleep -Milliseconds 1 }
        $late = $job | Wait-CsBackupJob -Timeout 0 2>&1
        $late.FullyQualifiedErrorId | Should -Be 'WaitTimedOut,Wait-CsBackupJob'
        $conflict = Backup-CsPool -PoolFqdn $Atl -RetryCount 0 2>&1
        $job | Stop-CsBackupJob
        $stopped = $job | Wait-CsBackupJob -Timeout 60
        $stopped.State | Should -Be 'Cancelled' -Because $stopped.Reason
        $conflict.FullyQualifiedErrorId | Should -Be 'Conflict,Backup-CsPool'
        $null = $background | Wait-Job -Timeout 60
        Receive-Job $background -ErrorAction SilentlyContinue -ErrorVariable problems
        $problems[0].FullyQualifiedErrorId | Should -Match '^Cancelled'
        Remove-Job $background
        Stop-TestServer $server
    }

    It 'of overlapping schedules wait with -WaitForLease: <_>' -ForEach 'in two processes', 'in the background' {
        # A job that lasts a while holds the lease; whoever comes meanwhile waits.
        $second = New-TestDeployment "overlap $_" -Users 20000 -Files 100
        $first = Start-Job -ScriptBlock {
            param($Manifest, $Deployment, $Pool)
            Import-Module $Manifest
            Connect-CsDeployment -Path $Deployment
            (Backup-CsPool -PoolFqdn $Pool -PassThru).Outcome
        } -ArgumentList $Manifest, $second.DeploymentFile, $Atl
        Connect-CsDeployment $second.DeploymentFile
        try {
            $limit = [datetime]::Now.AddSeconds(60)
            $running = $null
            while (-not $running -and [datetime]::Now -lt $limit) {
                $running = Get-CsBackupJob -PoolFqdn $Atl | Where-Object State -EQ 'Running'
            }
            $running | Should -Not -BeNullOrEmpty
            $reports = if ($_ -eq 'in two processes') {
                Backup-CsPool -PoolFqdn $Atl -WaitForLease 60 -RetryCount 0 -PassThru
                Invoke-CsBackupServiceSync -PoolFqdn $Atl -BackupModule DataConf -WaitForLease 00:01:00 -PassThru
            } else {
                Mock -ModuleName CsBackup Get-Command { } -ParameterFilter { $Name -eq 'Start-ThreadJob' }
                Backup-CsPool -PoolFqdn $Atl -WaitForLease ([timespan] '00:01:00') -AsJob -PassThru | Receive-Job -Wait -AutoRemoveJob
            }
            $reports.Outcome | Sort-Object -Unique | Should -Be 'Succeeded'
            $reports[0].Request.WaitForLease | Should -Be ([timespan] '00:01:00')
            Receive-Job $first -Wait -AutoRemoveJob | Should -Be 'Succeeded'
        } finally {
            Connect-CsDeployment $Sample.DeploymentFile
        }
    }

    It 'in the background show their errors as others do' {
        $lines = Invoke-TestShell 'Backup-CsPool nowhere -AsJob | Receive-Job -Wait -AutoRemoveJob' $Sample.DeploymentFile
        $lines[0] | Should -Be 'Backup-CsPool: The topology has no pool named nowhere.'
    }

    It 'are stopped by Stop-Job, in a <_>' -ForEach 'thread', 'process' {
        if ($_ -eq 'process') { Mock -ModuleName CsBackup Get-Command { } -ParameterFilter { $Name -eq 'Start-ThreadJob' } }
        Connect-CsDeployment (Join-Path $Deployments 'held')
        $server = Start-TestServer 'held'
        $background = Backup-CsPool -PoolFqdn $Atl -AsJob -RetryCount 20
        $background | Should -BeOfType System.Management.Automation.Job
        $limit = [datetime]::Now.AddSeconds(180)
        $job = $null
        while (-not $job -and [datetime]::Now -lt $limit) {
            $job = Get-CsBackupJob -PoolFqdn $Atl | Where-Object State -EQ 'Running'
            Start-Sleep -Milliseconds 20
        }
        # What another process says arrives later.
        if ($_ -eq 'thread') {
            while (-not $background.Progress.Count -and [datetime]::Now -lt $limit) { Start-Sleep -Milliseconds 1 }
            $background.Progress.Activity | Should -Contain "Backup-CsPool $Atl"
        }
        Stop-Job $background
        $background.State | Should -Be 'Stopped'
        $stopped = $job | Wait-CsBackupJob -Timeout 60
        $stopped.State | Should -Be 'Cancelled' -Because $stopped.Reason
        Stop-TestServer $server
        Remove-Job $background
        Get-Job | Where-Object InstanceId -EQ $background.InstanceId | Should -BeNullOrEmpty
    }

    It 'complete their ids' {
        Connect-CsDeployment $Sample.DeploymentFile
        (TabExpansion2 'Get-CsBackupJob -JobId ').CompletionMatches.Count | Should -Be @(Get-CsBackupJob).Count
    }
}
