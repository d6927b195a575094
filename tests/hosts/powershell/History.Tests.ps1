BeforeAll {
    . $PSScriptRoot/Shared.ps1
    $script:Sample = New-TestDeployment
    $script:Folder = Split-Path $Sample.DeploymentFile
    $script:Store = Join-Path $Folder 'atl/users.sqlite'

    # A server's write, in a process of its own.
    function Set-TestName {
        param([string] $Name)
        & python3 -c 'import sqlite3, sys; c = sqlite3.connect(sys.argv[1]); c.execute("UPDATE users SET display_name = ? WHERE id = 3", sys.argv[2:]); c.commit(); c.close()' $Store $Name
    }

    # Everything in a database, row by row, after SQLite has found nothing wrong with it.
    function Get-TestContent {
        param([string] $Database)
        & python3 -c @'
import sqlite3, sys
database = sqlite3.connect(sys.argv[1])
print(*database.execute("PRAGMA integrity_check").fetchall())
print(*database.iterdump(), sep="\n")
'@ $Database
    }

    Set-TestName 'first'
    Backup-CsPool $Atl
    $script:First = Get-TestContent $Store
    Set-TestName 'second'
    Invoke-CsBackupServiceSync $Atl
    $script:Second = Get-TestContent $Store
}

AfterAll { Remove-TestDeployment }

Describe 'Get-CsPoolBackupHistory' {
    It 'returns one object for each state, the newest first, with their types' {
        $all = @(Get-CsPoolBackupHistory -PoolFqdn $Atl)
        $all.BackupModule | Select-Object -Unique | Should -Be 'UserServices.PresenceFocus', 'ConfServices.DataConf'
        $states = @($all | Where-Object BackupModule -EQ UserServices.PresenceFocus)
        $states.Count | Should -Be 2
        $states[0].Revision | Should -BeGreaterThan $states[1].Revision
        $states[0].At | Should -BeGreaterThan $states[1].At
        foreach ($state in $states) {
            $state.PSObject.TypeNames[0] | Should -Be 'CsBackup.PoolBackupState'
            $state.PSObject.Properties.Name | Should -Be 'PoolFqdn', 'BackupPoolFqdn', 'BackupModule', 'Revision', 'At', 'JobId', 'JobKind', 'Bytes', 'KeptBytes', 'Reason'
            $state.PoolFqdn, $state.BackupPoolFqdn, $state.BackupModule | Should -Be $Atl, $Chi, 'UserServices.PresenceFocus'
            $state.Revision | Should -BeOfType int
            $state.At | Should -BeOfType datetime
            [math]::Abs(((Get-Date) - $state.At).TotalMinutes) | Should -BeLessThan 5
            $state.Bytes | Should -Be (Get-Item $Store).Length
        }
        $states[0].KeptBytes | Should -Be 0
        $states.JobKind | Should -Be 'sync', 'backup'
        @($all | Where-Object BackupModule -EQ ConfServices.DataConf).JobKind | Should -Be 'backup'
        # The job that made the copy what it is, which its record can be found by.
        $states.JobId | Select-Object -Unique | Should -HaveCount 2
        ($states | ForEach-Object { Get-CsBackupJob -JobId $_.JobId }).State | Should -Be 'Succeeded', 'Succeeded'
        $states[1].KeptBytes | Should -BeGreaterThan 0
    }

    It 'says with -Verbose of what there is no state yet' {
        $said = @(Get-CsPoolBackupHistory $Chi -Verbose 4>&1)
        $said.Count | Should -Be 2
        $said[0].Message | Should -Be "The backup service holds no state of UserServices.PresenceFocus of the pool $Chi yet."
    }

    It 'takes pools from the pipeline, and goes on after an unknown one' {
        $states = 'nowhere.litwareinc.com', $Atl | Get-CsPoolBackupHistory -ErrorAction SilentlyContinue -ErrorVariable problems
        $states.Count | Should -Be 3
        $problems.FullyQualifiedErrorId | Should -Be 'UnknownPool,Get-CsPoolBackupHistory'
        @(Get-CsPool | Get-CsPoolBackupHistory -LocalStore).Count | Should -Be 3
    }

    It 'shows its states as a table in a terminal of 60 columns' {
        $states = @(Get-CsPoolBackupHistory $Atl | Where-Object BackupModule -EQ UserServices.PresenceFocus)
        $lines = @(($states | Out-String -Width 60) -split '\r?\n' -match '.')
        $lines[0] | Should -Match "Pool: $Atl \(PresenceFocus\)"
        $lines.Count | Should -Be 5
        $lines[3] | Should -Match '^ +\d+ .+ [\d,.]+ kB +- sync'
        $lines[4] | Should -Match '^ +\d+ .+ [\d,.]+ kB +[\d,.]+ kB backup'
    }

    It 'grows by one with every sync that changes something, and by none with one that does not' {
        $before = @(Get-CsPoolBackupHistory $Atl).Count
        Invoke-CsBackupServiceSync $Atl
        @(Get-CsPoolBackupHistory $Atl).Count | Should -Be $before
        foreach ($number in 1, 2) {
            Set-TestName "third $number"
            Invoke-CsBackupServiceSync $Atl
            @(Get-CsPoolBackupHistory $Atl).Count | Should -Be ($before + $number)
        }
    }
}

Describe 'Restore-CsPoolBackup' {
    BeforeAll {
        $script:States = @(Get-CsPoolBackupHistory $Atl | Where-Object BackupModule -EQ UserServices.PresenceFocus | Sort-Object Revision)
    }

    It 'writes a state that is piped to it, as it was, and prints nothing' {
        $file = Join-Path $TestDrive 'piped.sqlite'
        $global:Error.Clear()
        $output = $States[0] | Restore-CsPoolBackup -Path $file
        $output | Should -BeNullOrEmpty
        $global:Error.Count | Should -Be 0
        $found = Get-TestContent $file
        $found[0] | Should -Be "('ok',)"
        $found | Should -Be $First
        $found | Should -Not -Be $Second
    }

    It 'writes the state of a time, and that of a revision' {
        $at, $revision = (Join-Path $TestDrive 'at.sqlite'), (Join-Path $TestDrive 'revision.sqlite')
        Restore-CsPoolBackup $Atl $at -At $States[1].At
        Restore-CsPoolBackup -PoolFqdn $Atl -Revision $States[1].Revision -Path $revision
        Get-TestContent $at | Should -Be $Second
        (Get-FileHash $at).Hash | Should -Be (Get-FileHash $revision).Hash
        $newest = Join-Path $TestDrive 'newest.sqlite'
        Restore-CsPoolBackup $Atl -At (Get-Date) -Path $newest
        Get-TestContent $newest | Should -Be (Get-TestContent $Store)
    }

    It 'writes a database that a server can write to' {
        $file = Join-Path $TestDrive 'served.sqlite'
        Restore-CsPoolBackup $Atl -Revision $States[0].Revision -Path $file
        & python3 -c 'import sqlite3, sys; c = sqlite3.connect(sys.argv[1]); c.execute("DELETE FROM contacts"); c.commit(); print(c.execute("PRAGMA integrity_check").fetchone()[0])' $file | Should -Be 'ok'
    }

    It 'takes a path as relative to the location, in the background too' {
        $place = (New-Item -ItemType Directory (Join-Path $TestDrive 'place')).FullName
        Push-Location $place
        try {
            $report = Restore-CsPoolBackup $Atl -Revision $States[0].Revision -Path here.sqlite -PassThru
            $job = $States[0] | Restore-CsPoolBackup -Path ./there.sqlite -AsJob -PassThru
        } finally {
            Pop-Location
        }
        $report.Outcome | Should -Be 'Succeeded'
        $report.Request.Path | Should -Be (Join-Path $place 'here.sqlite')
        $report | Out-String | Should -Match "Revision $($States[0].Revision) of .* is in "
        (Receive-Job $job -Wait -AutoRemoveJob).Outcome | Should -Be 'Succeeded'
        Get-ChildItem $place -Name | Sort-Object | Should -Be 'here.sqlite', 'there.sqlite'
    }

    It 'reads the local replica with -LocalStore, and waits with -WaitForLease' {
        $report = Restore-CsPoolBackup $Atl -At (Get-Date) -Path (Join-Path $TestDrive 'local.sqlite') -LocalStore -WaitForLease 30 -PassThru
        $report.Request.LocalStore | Should -BeTrue
        $report.Request.WaitForLease | Should -Be ([timespan] '00:00:30')
        $report.Request.At | Should -BeOfType datetime
    }

    It 'says what it would do with -WhatIf, also with -Force and -AsJob, and writes nothing' {
        $file = Join-Path $TestDrive 'planned.sqlite'
        $before = Get-TestFingerprint $Folder
        $lines = Invoke-TestShell "Restore-CsPoolBackup $Atl -Revision $($States[0].Revision) -Path '$file' -WhatIf -Force -AsJob; `$Error.Count" $Sample.DeploymentFile
        Connect-CsDeployment $Sample.DeploymentFile
        $lines[0] | Should -Be "What if: Write revision $($States[0].Revision) of the user store of the pool $Atl to the new file $file."
        $lines[1] | Should -Match 'What if:   1\. .* kB'
        $lines[-1] | Should -Be '0'
        $file | Should -Not -Exist
        Get-TestFingerprint $Folder | Should -Be $before
    }

    It 'changes neither the pool''s store nor its copy' {
        $before = Get-TestFingerprint (Split-Path $Store), (Join-Path $Folder 'chi/standby/atl.sqlite')
        Restore-CsPoolBackup $Atl -Revision $States[0].Revision -Path (Join-Path $TestDrive 'beside.sqlite')
        Get-TestFingerprint (Split-Path $Store), (Join-Path $Folder 'chi/standby/atl.sqlite') | Should -Be $before
    }

    It 'is refused, and writes nothing: <Name>' -ForEach @(
        @{ Name = 'an unknown pool'; Id = 'UnknownPool'; Arguments = @{ PoolFqdn = 'nowhere.litwareinc.com'; Revision = 1 } }
        @{ Name = 'a revision that there is none of'; Id = 'InvalidArgument'; Arguments = @{ Revision = 100000 } }
        @{ Name = 'a time before the history'; Id = 'InvalidArgument'; Arguments = @{ At = [datetime] '2001-01-01' } }
        @{ Name = 'a negative revision'; Id = 'ParameterArgumentValidationError'; Arguments = @{ Revision = -1 } }
        @{ Name = 'a time that is none'; Id = 'ParameterArgumentTransformationError'; Arguments = @{ At = 'yesterday or so' } }
        @{ Name = 'a time and a revision'; Id = 'AmbiguousParameterSet'; Arguments = @{ At = [datetime]::Now; Revision = 1 } }
        @{ Name = 'a path outside the file system'; Id = 'PathInvalid'; Arguments = @{ At = [datetime]::Now; Path = 'env:x' } }
        @{ Name = 'a path in no folder'; Id = 'StoreUnavailable InvalidArgument FileMissing'; Arguments = @{ At = [datetime]::Now; Path = '/no/such/folder/x.sqlite' } }
    ) {
        $file = Join-Path $TestDrive 'refused.sqlite'
        $parameters = @{ PoolFqdn = $Atl; Path = $file }
        foreach ($key in $Arguments.Keys) { $parameters[$key] = $Arguments[$key] }
        $problem = try { Restore-CsPoolBackup @parameters 2>&1 } catch { $_ }
        $problem.FullyQualifiedErrorId | Should -BeIn @($Id.Split(' ') | ForEach-Object { "$_,Restore-CsPoolBackup" })
        $file | Should -Not -Exist
    }

    It 'never overwrites <Name>' -ForEach @(
        @{ Name = 'a file'; File = 'taken.txt'; Kind = 'InvalidArgument' }
        @{ Name = 'the pool''s store'; File = 'atl/users.sqlite'; Kind = 'ReportRefused' }
        @{ Name = 'what its server writes beside it'; File = 'atl/users.sqlite-wal'; Kind = 'ReportRefused' }
        @{ Name = 'what is remembered of its copy'; File = 'chi/standby/atl.sqlite.csb/state'; Kind = 'ReportRefused' }
        @{ Name = 'its copy'; File = 'chi/standby/atl.sqlite'; Kind = 'ReportRefused' }
        @{ Name = 'a folder'; File = 'atl'; Kind = 'ReportRefused' }
    ) {
        Set-Content (Join-Path $Folder 'taken.txt') 'mine'
        $kept = 'taken.txt', 'atl', 'chi/standby/atl.sqlite' | ForEach-Object { Join-Path $Folder $_ }
        $before = Get-TestFingerprint $kept
        foreach ($more in @{}, @{ Force = $true }, @{ WhatIf = $true }) {
            $problem = Restore-CsPoolBackup $Atl -Revision $States[0].Revision -Path (Join-Path $Folder $File) @more 2>&1
            $problem.FullyQualifiedErrorId | Should -Be "$Kind,Restore-CsPoolBackup"
        }
        Get-TestFingerprint $kept | Should -Be $before
    }

    Context 'of conference files' {
        BeforeAll {
            $script:Share = Join-Path $Folder 'atl/share'
            # Names, contents and times of everything in a folder but what is ours.
            function Get-TestTree {
                param([string] $Root)
                Get-ChildItem $Root -Recurse -Force | Where-Object FullName -NotMatch '/\.csb(/|$)' | Sort-Object FullName | ForEach-Object {
                    $hash = if ($_ -is [System.IO.FileInfo]) { (Get-FileHash $_.FullName).Hash }
                    '{0} {1} {2} {3:o}' -f $_.FullName.Substring($Root.Length), $_.UnixMode, $hash, $_.LastWriteTimeUtc
                }
            }
            $script:Before = Get-TestTree $Share
            $script:Deleted = Get-ChildItem $Share -Recurse -File | Where-Object FullName -NotMatch '/\.csb/' | Select-Object -First 1
            $script:Text = Get-Content -Raw $Deleted.FullName
            Remove-Item $Deleted.FullName
            Set-Content (Join-Path $Share 'new.txt') 'new'
            Invoke-CsBackupServiceSync $Atl
            $script:Files = @(Get-CsPoolBackupHistory $Atl | Where-Object BackupModule -EQ ConfServices.DataConf)
        }

        It 'writes a state that is piped to it to a folder, as it was' {
            $to = Join-Path $TestDrive 'files'
            $output = $Files[1] | Restore-CsPoolBackup -Path $to
            $output | Should -BeNullOrEmpty
            Get-TestTree $to | Should -Be $Before
        }

        It 'takes a deleted file back by its name' {
            $to = Join-Path $TestDrive 'found'
            $report = Restore-CsPoolBackup $Atl -At $Files[1].At -Include "*$($Deleted.Name.ToUpperInvariant())" -Path $to -PassThru
            $report.Outcome | Should -Be 'Succeeded'
            $report | Out-String | Should -Match 'Wrote 1 file,'
            Get-Content -Raw (Get-ChildItem $to -Recurse -File).FullName | Should -Be $Text
        }

        It 'says what it would do, and writes nothing' {
            $to = Join-Path $TestDrive 'planned'
            $lines = Invoke-TestShell "Restore-CsPoolBackup $Atl -Revision $($Files[1].Revision) -BackupModule DataConf -Path '$to' -WhatIf" $Sample.DeploymentFile
            Connect-CsDeployment $Sample.DeploymentFile
            $lines[0] | Should -Be "What if: Write revision $($Files[1].Revision) of the conference files of the pool $Atl to the new folder $to."
            $to | Should -Not -Exist
        }

        It 'refuses patterns for a user store' {
            $to = Join-Path $TestDrive 'refused'
            $problem = Restore-CsPoolBackup $Atl -At (Get-Date) -BackupModule PresenceFocus -Include '*' -Path $to 2>&1
            $problem.FullyQualifiedErrorId | Should -Be 'OptionConflict,Restore-CsPoolBackup'
            $to | Should -Not -Exist
        }

        It 'offers the revisions of the content store' {
            $line = "Restore-CsPoolBackup $Atl -BackupModule DataConf -Revision "
            (TabExpansion2 $line -cursorColumn $line.Length).CompletionMatches.CompletionText | Should -Be @($Files.Revision)
        }
    }

    It 'offers the revisions of the pool' {
        $line = "Restore-CsPoolBackup $Atl -Revision "
        (TabExpansion2 $line -cursorColumn $line.Length).CompletionMatches.CompletionText | Should -Be @($States.Revision | Sort-Object -Descending)
    }
}
