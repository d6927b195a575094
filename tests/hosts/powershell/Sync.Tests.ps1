BeforeAll {
    . $PSScriptRoot/Shared.ps1
    $script:Sample = New-TestDeployment
    $script:Folder = Split-Path $Sample.DeploymentFile
    Backup-CsPool -PoolFqdn $Atl
    Backup-CsPool -PoolFqdn $Chi
    # The topology says where the stores are, so that the tests need not know the sample's layout.
    $script:Share = Get-ChildItem -LiteralPath $Folder -Recurse -Directory -Filter share | Where-Object FullName -Match 'atl' |
        Select-Object -First 1 -ExpandProperty FullName
}

AfterAll { Remove-TestDeployment }

Describe 'Invoke-CsBackupServiceSync' {
    It 'prints nothing and leaves no error' {
        $global:Error.Clear()
        Invoke-CsBackupServiceSync -PoolFqdn $Atl | Should -BeNullOrEmpty
        $global:Error.Count | Should -Be 0
    }

    It 'takes pools from the pipeline: <Name>' -ForEach @(
        @{ Name = 'by value'; Pools = { $Atl, $Chi } }
        @{ Name = 'Get-CsPool'; Pools = { Get-CsPool } }
        @{ Name = 'objects with PoolFqdn'; Pools = { [pscustomobject] @{ PoolFqdn = $Atl }, [pscustomobject] @{ PoolFqdn = $Chi } } }
        @{ Name = 'the status'; Pools = { Get-CsPool | Get-CsBackupServiceStatus } }
    ) {
        $reports = & $Pools | Invoke-CsBackupServiceSync -PassThru
        $reports.PoolFqdn | Should -Be $Atl, $Chi
        $reports.Outcome | Should -Be 'Succeeded', 'Succeeded'
    }

    It 'goes on after an unknown pool' {
        $global:Error.Clear()
        $reports = 'nowhere.litwareinc.com', $Atl | Invoke-CsBackupServiceSync -PassThru -ErrorAction SilentlyContinue -ErrorVariable problems
        $reports.PoolFqdn | Should -Be $Atl
        $problems.FullyQualifiedErrorId | Should -Be 'UnknownPool,Invoke-CsBackupServiceSync'
        $problems[0].TargetObject | Should -Be 'nowhere.litwareinc.com'
        $global:Error.Count | Should -Be 1
    }

    It 'syncs -BackupModule <Given>' -ForEach @(
        @{ Given = 'All'; Modules = 3 }
        @{ Given = 'dataconf'; Modules = 'ConfServices.DataConf' }
        @{ Given = 'PresenceFocus'; Modules = 'UserServices.PresenceFocus' }
        @{ Given = 'CMSMaster'; Modules = 'CentralMgmt.CMSMaster' }
        @{ Given = 'ConfServices.DataConf'; Modules = 'ConfServices.DataConf' }
        @{ Given = 'UserServices.PresenceFocus'; Modules = 'UserServices.PresenceFocus' }
        @{ Given = 'CentralMgmt.CMSMaster'; Modules = 'CentralMgmt.CMSMaster' }
    ) {
        $modules = @((Invoke-CsBackupServiceSync -PoolFqdn $Atl -BackupModule $Given -PassThru).Modules.Module | Sort-Object -Unique)
        if ($Modules -is [int]) { $modules.Count | Should -Be $Modules } else { $modules | Should -Be $Modules }
    }

    It 'moves only what differs' {
        $null = Invoke-CsBackupServiceSync -PoolFqdn $Atl
        Set-Content (Join-Path $Share 'minutes.txt') 'decided'
        $report = Invoke-CsBackupServiceSync -PoolFqdn $Atl -BackupModule DataConf -PassThru
        ($report.Modules.Moved.ItemsWritten | Measure-Object -Sum).Sum | Should -Be 1
    }

    It 'restores lost conference content by a sync of the backup pool' {
        $lost = Join-Path $Share 'minutes.txt'
        $lost | Should -Exist
        Get-ChildItem -LiteralPath $Share -File -Recurse | Where-Object { -not $_.Name.StartsWith('.') } | Remove-Item
        Invoke-CsBackupServiceSync -PoolFqdn $Chi -BackupModule ConfServices.DataConf
        $lost | Should -Exist
        Get-Content $lost | Should -Be 'decided'
    }

    It 'gives nothing back that was deleted, whichever pool comes first: <_>' -ForEach '', 'DataConf' {
        $more = @{}
        if ($_) { $more['BackupModule'] = $_ }
        $file = Join-Path $Share 'minutes.txt'
        $copy = Join-Path $Folder 'chi/standby/atl/minutes.txt'
        Set-Content $file 'decided'
        $Chi, $Atl | Invoke-CsBackupServiceSync @more
        $copy | Should -Exist
        Remove-Item $file
        $warned = $Chi, $Atl | Invoke-CsBackupServiceSync @more 3>&1
        $warned | Should -BeNullOrEmpty
        $file | Should -Not -Exist
        $copy | Should -Not -Exist
        Get-CsPool | Invoke-CsBackupServiceSync @more
        $file | Should -Not -Exist
        Set-Content $file 'decided'
        Invoke-CsBackupServiceSync $Atl
    }

    It 'says what the backup pool lacks, and names and returns it with -GiveBack' {
        $file = Join-Path $Share 'minutes.txt'
        Remove-Item $file
        $plan = (Invoke-TestShell "Invoke-CsBackupServiceSync $Chi -WhatIf" $Sample.DeploymentFile) -join "`n"
        $plan | Should -Match "content store\. $Atl lacks 1 of the objects that $Chi holds for it: .* -GiveBack returns them"
        $plan | Should -Not -Match 'given back|minutes'
        $said = Invoke-CsBackupServiceSync $Chi -Verbose 4>&1 | Where-Object { $_ -match 'lacks 1 of the objects' }
        @($said).Count | Should -Be 1
        Invoke-CsBackupServiceSync $Chi -PassThru | Out-String | Should -Match "(?m)^  $Atl lacks 1 of the objects that"
        Invoke-CsBackupServiceSync $Chi -BackupModule DataConf
        $file | Should -Not -Exist
        $plan = (Invoke-TestShell "Invoke-CsBackupServiceSync $Chi -GiveBack -WhatIf" $Sample.DeploymentFile) -join "`n"
        $plan | Should -Match 'what the backup pool lacks is given back'
        $plan | Should -Match "1 item, \d+ B\. To come back: minutes.txt\."
        $file | Should -Not -Exist
        $report = $Chi, $Chi | Invoke-CsBackupServiceSync -GiveBack -PassThru
        $report[0].Request.GiveBack | Should -BeTrue
        $file | Should -Exist
        $report[0] | Out-String | Should -Match '(?m)DataConf chi-cs-001 -> atl-cs-001: Succeeded, 1 given back'
    }

    It 'gives a lost store back to the only pool of a pipeline, and not to one of several' {
        $files = Get-ChildItem -LiteralPath $Share -File -Recurse
        $files | Remove-Item
        $told = $Chi, $Chi | Invoke-CsBackupServiceSync -BackupModule DataConf -Verbose 3>&1 4>&1
        @($told | Where-Object { $_ -match '^Several pools' }).Count | Should -Be 1
        @($told | Where-Object { $_ -is [System.Management.Automation.WarningRecord] -and $_ -match 'has lost its content store' }).Count | Should -Be 2
        $files[0].FullName | Should -Not -Exist
        Invoke-CsBackupServiceSync $Chi -BackupModule DataConf -GiveBack:$false -WarningAction SilentlyContinue
        $files[0].FullName | Should -Not -Exist
        $report = $Chi | Invoke-CsBackupServiceSync -BackupModule DataConf -PassThru
        $report.Outcome | Should -Be 'Succeeded'
        $files | ForEach-Object { $_.FullName | Should -Exist }
    }

    It 'is refused where -GiveBack names what is never given back' {
        (Invoke-CsBackupServiceSync $Chi -BackupModule CMSMaster -GiveBack 2>&1).FullyQualifiedErrorId | Should -Be 'OptionConflict,Invoke-CsBackupServiceSync'
    }

    It 'copies what looks like a loss with -AcceptDeletions, and not with -Force: <Command>' -ForEach @(
        @{ Command = 'Backup-CsPool'; Accepted = 'backup' }, @{ Command = 'Invoke-CsBackupServiceSync'; Accepted = 'sync' }
    ) {
        $lost = New-TestDeployment "lost in a $Accepted" -Users 300
        Backup-CsPool $Atl
        $folder = Split-Path $lost.DeploymentFile
        & python3 -c 'import sqlite3, sys; c = sqlite3.connect(sys.argv[1]); c.execute("DELETE FROM contacts"); c.commit(); c.close()' (Join-Path $folder 'atl/users.sqlite')
        $copy = Join-Path $folder 'chi/standby/atl.sqlite'
        $count = { & python3 -c 'import sqlite3, sys; print(sqlite3.connect(sys.argv[1]).execute("SELECT count(*) FROM contacts").fetchone()[0])' $copy }
        try {
            foreach ($more in @{}, @{ Force = $true }) {
                $problem = & $Command $Atl @more 2>&1
                $problem.FullyQualifiedErrorId | Should -Be "SafetyShareExceeded,$Command"
                $problem.ErrorDetails.RecommendedAction | Should -Match 'AcceptDeletions'
                # Which rows, by their primary key, the first of them.
                "$problem" | Should -Match 'contacts is empty \(1500 rows before\).* Rows: contacts 1500 missing \('
                $problem.Exception.Data['missing'] | Should -Match '^contacts 1500 missing \(.+, …\)$'
                & $count | Should -Be 1500
            }
            $report = & $Command $Atl -AcceptDeletions -PassThru
            $report.Outcome | Should -BeLike 'Succeeded*'
            $report.Request.AcceptDeletions | Should -BeTrue
            & $count | Should -Be 0
        } finally {
            Connect-CsDeployment $Sample.DeploymentFile
        }
    }

    It 'says once why items cannot be copied, names ten of them, counts the others, and is silent with -Force' -Skip:($IsWindows -or $PSVersionTable.PSVersion.Major -lt 6) {
        1..12 | ForEach-Object { $null = New-Item -ItemType SymbolicLink -Path (Join-Path $Share "outside-$_") -Target /etc/hostname }
        try {
            $report = Invoke-CsBackupServiceSync -PoolFqdn $Atl -BackupModule DataConf -PassThru -WarningVariable warnings -WarningAction SilentlyContinue
            $report.Outcome | Should -Be 'SucceededWithWarnings'
            @($warnings | Where-Object { $_ -match 'outside-' }).Count | Should -Be 1
            "$($warnings[-1])" | Should -Match '^Not copied, 12 items: '
            [regex]::Matches("$($warnings[-1])", 'outside-\d+').Count | Should -Be 10
            "$($warnings[-1])" | Should -Match 'and 2 more$'
            Invoke-CsBackupServiceSync -PoolFqdn $Atl -BackupModule DataConf -Force -WarningVariable silent
            $silent | Should -BeNullOrEmpty
        } finally {
            Get-ChildItem -LiteralPath $Share -Filter 'outside-*' | Remove-Item
        }
    }
}
