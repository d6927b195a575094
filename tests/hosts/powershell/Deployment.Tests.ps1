BeforeAll {
    . $PSScriptRoot/Shared.ps1
    $script:Sample = New-TestDeployment
}

AfterAll { Remove-TestDeployment }

Describe 'The deployment' {
    It 'is described by what made it' {
        $Sample.PSObject.TypeNames[0] | Should -Be 'CsBackup.SampleDeployment'
        $Sample.DeploymentFile | Should -Exist
        $Sample.TopologyFile | Should -Exist
        $Sample.Pools | Should -Be $Atl, $Chi
        $Sample.Users, $Sample.Contacts, $Sample.Files | ForEach-Object { $_ | Should -BeGreaterThan 0 }
    }

    It 'is refused by a plan, and at a prompt, as the run would be' {
        $folder = Split-Path $Sample.DeploymentFile
        $before = Get-TestFingerprint $folder
        foreach ($switches in @{}, @{ WhatIf = $true }, @{ Confirm = $true }) {
            $problem = Get-TestError { New-CsSampleDeployment $folder @switches }
            $problem.FullyQualifiedErrorId | Should -Be 'ForeignContent,New-CsSampleDeployment'
            $problem.Exception.Message | Should -Be "$folder is not empty."
        }
        Get-TestFingerprint $folder | Should -Be $before
        $planned = Join-Path $Deployments 'planned'
        $lines = Invoke-TestShell "New-CsSampleDeployment '$planned' -WhatIf"
        $lines | Should -Be "What if: Create a sample deployment in $planned."
        $planned | Should -Not -Exist
    }

    It 'shows how far it is made, is stopped, and leaves nothing then' {
        $folder = Join-Path $Deployments 'huge'
        $shell = [powershell]::Create()
        try {
            $null = $shell.AddScript("Import-Module '$Manifest'; New-CsSampleDeployment '$folder' -Users 1000000")
            $null = $shell.BeginInvoke()
            $limit = [datetime]::Now.AddSeconds(60)
            while ($shell.Streams.Progress.Count -lt 3 -and [datetime]::Now -lt $limit) { Start-Sleep -Milliseconds 20 }
            Join-Path $folder 'atl/users.sqlite' | Should -Exist
            Join-Path $folder 'deployment.toml' | Should -Not -Exist
            $shell.Stop()
            $bar = @($shell.Streams.Progress | Where-Object ActivityId -EQ 4120)
            $bar[0].StatusDescription | Should -Match '^[\d,]+ of 2,000,600 items$'
            $bar[-1].RecordType | Should -Be 'Completed'
            $shell.Streams.Warning.Message | Should -Be "The sample deployment was given up; nothing of it is left in $folder."
            $folder | Should -Not -Exist
        } finally {
            $shell.Dispose()
        }
    }

    It 'is connected to by file, by folder and by pipeline' {
        (Connect-CsDeployment $Sample.DeploymentFile -PassThru).DeploymentFile | Should -Be $Sample.DeploymentFile
        (Connect-CsDeployment (Split-Path $Sample.DeploymentFile) -PassThru).LibraryVersion | Should -Match '^\d+\.\d+\.\d+'
        $Sample | Connect-CsDeployment
        @(Get-CsPool).Count | Should -Be 2
    }

    It 'shows paths whole in a narrow terminal' {
        $shown = Connect-CsDeployment $Sample.DeploymentFile -PassThru | Out-String -Width 60
        $shown | Should -Not -Match '\u2026'
        $shown | Should -Match '(?m)^LibraryVersion : '
    }

    It 'stays connected when another one cannot be opened' {
        { Connect-CsDeployment (Join-Path $TestDrive 'no/deployment.toml') } | Should -Throw -ErrorId 'FileMissing,Connect-CsDeployment'
        @(Get-CsPool).Count | Should -Be 2
    }

    It 'is named by CSBACKUP_DEPLOYMENT where none is connected' {
        foreach ($named in $Sample.DeploymentFile, (Split-Path $Sample.DeploymentFile)) {
            Invoke-TestShell '@(Get-CsPool).Count' -Environment @{ CSBACKUP_DEPLOYMENT = $named } | Should -Be '2'
        }
    }

    It 'is asked for where none is connected' {
        Invoke-TestShell 'try { Get-CsPool } catch { $_.FullyQualifiedErrorId; $Error.Count }' -Environment @{ CSBACKUP_DEPLOYMENT = '' } |
            Should -Be 'NotConnected,Get-CsPool', '1'
    }
}

Describe 'The topology' {
    It 'is published, and returned' {
        $published = Publish-CsTopology -FileName $Sample.TopologyFile -PassThru
        $published.Unchanged | Should -BeTrue
        $published.Pools | Should -Be $Atl, $Chi
        (Get-CsTopology).Pools.Count | Should -Be 2
        (Get-CsTopology -LocalStore).Pools.Count | Should -Be 2
    }

    It 'shows its pools, and shows each of them alike when it is looked at alone' {
        $topology = Get-CsTopology
        $whole = $topology | Out-String
        $whole | Should -Match 'Central Management store: atl-cs-001'
        foreach ($pool in $topology.Pools) {
            $alone = ($pool | Out-String).Trim()
            $alone | Should -Match "^$($pool.Fqdn) \($($pool.Site)\)"
            foreach ($place in $pool.BackupPool, $pool.UserStore.Url, $pool.ContentStore.Url, $pool.Standby.UserStore) {
                $alone | Should -Match ([regex]::Escape($place))
            }
            $whole.Contains($alone) | Should -BeTrue
        }
        # Neither partner nor copies are asked of a pool that has none.
        $unpaired = $topology.Pools[0].PSObject.Copy()
        $unpaired.BackupPool = $unpaired.Standby = $null
        ($unpaired | Out-String).Trim() | Should -Not -Match 'backup pool|standby'
    }

    It 'is never written over <_>' -ForEach 'atl/users.sqlite', 'cms/cms.sqlite', 'deployment.toml' {
        $file = Join-Path (Split-Path $Sample.DeploymentFile) $_
        $before = (Get-FileHash $file).Hash
        (Get-TestError { Get-CsTopology -FileName $file }).FullyQualifiedErrorId | Should -Be 'ReportRefused,Get-CsTopology'
        (Get-FileHash $file).Hash | Should -Be $before
    }

    It 'is written to a file' {
        $file = Join-Path $TestDrive 'topology.out'
        Get-CsTopology -FileName $file | Should -BeNullOrEmpty
        Get-Content $file -Raw | Should -Match 'atl-cs-001'
    }

    It 'is validated only with -WhatIf' {
        $changed = Join-Path (Split-Path $Sample.TopologyFile) 'changed.toml'
        (Get-Content $Sample.TopologyFile -Raw) -replace 'Atlanta', 'Athens' | Set-Content $changed
        $before = @(Get-CsPool -Site Athens).Count
        $lines = Invoke-TestShell "Publish-CsTopology '$changed' -WhatIf" $Sample.DeploymentFile
        $lines -join "`n" | Should -Match 'What if: Publish .*changed\.toml as version \d+'
        @(Get-CsPool -Site Athens).Count | Should -Be $before
        Publish-CsTopology $changed
        @(Get-CsPool -Site 'site:Athens').Count | Should -Be 1
    }

    It 'is refused with its own error: <Id>' -ForEach @(
        @{ Id = 'FileMissing'; From = ''; To = '' }
        @{ Id = 'SyntaxError'; From = '^'; To = 'pools = [[[ ' }
        @{ Id = 'UnknownField'; From = '(?m)^site = '; To = 'colour = ' }
        @{ Id = 'SelfPaired'; From = 'backup_pool = "chi-cs-001.litwareinc.com"'; To = 'backup_pool = "atl-cs-001.litwareinc.com"' }
    ) {
        $file = Join-Path (Split-Path $Sample.TopologyFile) "$Id.toml"
        if ($From) { (Get-Content $Sample.TopologyFile -Raw) -replace $From, $To | Set-Content $file }
        $problem = Publish-CsTopology $file 2>&1
        $problem.FullyQualifiedErrorId | Should -Be "$Id,Publish-CsTopology"
        $problem.Exception.Message + $problem.Exception.Data['file'] | Should -Match ([regex]::Escape("$Id.toml"))
        $problem.ErrorDetails.RecommendedAction | Should -Not -BeNullOrEmpty
    }
}

Describe 'An error' {
    It 'shows what caused it' {
        $below = Join-Path $Sample.TopologyFile 'none.toml'
        $problem = Publish-CsTopology $below 2>&1
        $problem.ErrorDetails.Message | Should -Match ': Not a directory'
        $problem.Exception.InnerException.Message | Should -Match '^Not a directory'
    }

    It 'shows no cause twice' {
        InModuleScope CsBackup {
            $failure = New-CsbFailure DiskFull 'Cannot fill x.' 'Free space.' 'disk is full', 'Error code 13: disk is full', 'it is small', 'Cannot fill x.'
            (New-CsbErrorRecord $failure x).ErrorDetails.Message
        } | Should -Be 'Cannot fill x: disk is full: it is small'
    }
}

Describe 'Get-CsPool' {
    It 'returns all pools, with their types' {
        $pools = @(Get-CsPool)
        $pools.Fqdn | Should -Be $Atl, $Chi
        $pools[0].Identity | Should -Be $Atl
        $pools[0].BackupPoolFqdn | Should -Be $Chi
        , $pools[0].Services | Should -BeOfType array
        $pools[0].Services | Should -Contain "Registrar:$Atl"
        , $pools[0].Computers | Should -BeOfType array
        $pools[0].PSObject.TypeNames[0] | Should -Be 'CsBackup.Pool'
    }

    It 'finds by name, by wildcard and by site' {
        (Get-CsPool $Atl.ToUpperInvariant()).Fqdn | Should -Be $Atl
        (Get-CsPool -Filter 'chi*').Fqdn | Should -Be $Chi
        (Get-CsPool -Site Chicago).Fqdn | Should -Be $Chi
        Get-CsPool -Filter 'x*' | Should -BeNullOrEmpty
        (Get-CsPool -LocalStore).Count | Should -Be 2
        (Get-CsPool | Where-Object { $_.Services -match 'Registrar' }).Count | Should -Be 2
    }

    It 'says that a pool is unknown' {
        (Get-CsPool nowhere 2>&1).FullyQualifiedErrorId | Should -Be 'UnknownPool,Get-CsPool'
    }

    It 'says so too of a pool that is at another site' {
        $problem = Get-CsPool $Atl -Site site:Chicago 2>&1
        $problem.FullyQualifiedErrorId | Should -Be 'UnknownPool,Get-CsPool'
        $problem.Exception.Message | Should -Be "No pool at the site Chicago is named $Atl."
        Get-CsPool -Site 'site:' | Should -BeNullOrEmpty
    }

    It 'completes pool names, and is silent where it cannot' {
        $global:Error.Clear()
        (TabExpansion2 'Backup-CsPool -PoolFqdn at').CompletionMatches.CompletionText | Should -Be $Atl
        (TabExpansion2 'Get-CsPool ').CompletionMatches.CompletionText | Should -Be $Atl, $Chi
        (TabExpansion2 'Get-CsBackupServiceStatus -PoolFQDN "CHI').CompletionMatches.CompletionText | Should -Be $Chi
        $global:Error.Count | Should -Be 0
        Invoke-TestShell '(TabExpansion2 "Backup-CsPool -PoolFqdn at").CompletionMatches.Count; $Error.Count' -Environment @{
            CSBACKUP_DEPLOYMENT = '/nowhere/deployment.toml'
        } | Should -Be '0', '0'
    }
}

Describe 'The relationship and the roles' {
    It 'is symmetric' {
        $relationship = $Atl, $Chi | Get-CsPoolBackupRelationship
        $relationship[0].BackupPoolFqdn | Should -Be $Chi
        $relationship[1].BackupPoolFqdn | Should -Be $Atl
        $relationship[0].PoolState | Should -Be 'Active'
        (Get-CsPoolBackupRelationship -PoolFqdn $Atl -LocalStore -Force).BackupPoolState | Should -Be 'Active'
    }

    It 'cuts no name in a terminal of <_> columns' -ForEach 60, 80 {
        $shown = Get-CsPool | Out-String -Width $_
        $shown | Should -Not -Match '\u2026'
        # What does not fit goes on in the next line.
        $shown | Should -Match 'atl-cs-001\.litwareinc\.com.*chi-cs-001\.lit'
    }

    It 'shows both states in a narrow terminal' {
        $shown = Get-CsPoolBackupRelationship -PoolFqdn $Atl | Out-String -Width 59
        $shown | Should -Match '(?m)^PoolState +: Active'
        $shown | Should -Match '(?m)^BackupPoolState +: Active'
    }

    It 'breaks the list of a role''s cmdlets between two of them' {
        $role = Get-CsAdminRole CsAdministrator
        $shown = @(($role | Out-String -Width 80) -split '\r?\n' -match '.')
        $shown[0] | Should -Be 'CsAdministrator (standard role)'
        $lines = @($shown -match '^  \S')
        $lines.Count | Should -BeGreaterThan 3
        foreach ($line in $lines) { $line.Length | Should -BeLessThan 80 }
        -join $lines.Trim().Replace(', ', ',') | Should -Be ($role.Cmdlets -join ',')
    }

    It 'lists the roles that may run <_>' -ForEach 'Backup-CsPool', 'Invoke-CsBackupServiceSync' {
        $cmdlet = $_
        $roles = @(Get-CsAdminRole | Where-Object { $_.Cmdlets -match $cmdlet })
        $roles.Count | Should -BeGreaterThan 0
        $roles[0].IsStandardRole | Should -BeOfType bool
        $roles.Identity | Should -Contain 'CsAdministrator'
    }

    It 'finds a role by name and by wildcard' {
        (Get-CsAdminRole CsAdministrator).Identity | Should -Be 'CsAdministrator'
        @(Get-CsAdminRole -Filter 'Cs*' -LocalStore).Count | Should -BeGreaterThan 0
        (Get-CsAdminRole Nobody 2>&1).FullyQualifiedErrorId | Should -Be 'UnknownRole,Get-CsAdminRole'
    }
}

Describe 'A pattern of wildcards that is none' {
    It 'is refused in words of its own: <Code>' -ForEach @(
        @{ Code = 'Get-CsPool "[a"' }, @{ Code = 'Get-CsPool -Filter "[a"' }, @{ Code = 'Get-CsPool -Site "[a"' }, @{ Code = 'Get-CsAdminRole "[a"' }
        @{ Code = 'Get-CsBackupServiceConfiguration -Filter "[a"' }
    ) {
        $global:Error.Clear()
        $problem = Get-TestError ([scriptblock]::Create($Code))
        $problem.FullyQualifiedErrorId | Should -Match '^InvalidArgument,Get-Cs'
        $problem.Exception.Message | Should -Be '"[a" is not a pattern of wildcards.'
        $global:Error.Count | Should -Be 1
    }
}

Describe 'Get-CsBackupServiceStatus' {
    BeforeAll { Backup-CsPool -PoolFqdn $Atl }

    It 'has the documented properties and types' {
        $status = Get-CsBackupServiceStatus -PoolFqdn $Atl
        $status.PSObject.TypeNames[0] | Should -Be 'CsBackup.ServiceStatus'
        foreach ($name in 'PoolFqdn', 'BackupPoolFqdn', 'ActiveMachineFqdn', 'OverallExportStatus', 'OverallImportStatus', 'BackupModules') {
            $status.$name | Should -Not -BeNullOrEmpty -Because $name
        }
        $status.BackupModules.Identity | Should -Be 'UserServices.PresenceFocus', 'ConfServices.DataConf', 'CentralMgmt.CMSMaster'
        foreach ($row in $status.BackupModules) {
            $row.PSObject.Properties.Name | Should -Contain 'Reason'
            $row.ExportStatus | Should -BeIn 'NotInitialized', 'NonSteadyState', 'SteadyState', 'FinalState', 'ErrorState'
            $row.ImportStatus | Should -BeIn 'NormalState', 'ErrorState'
            $row.LastSuccess | Should -BeOfType datetime
            if ($null -ne $row.Lag) { $row.Lag | Should -BeOfType timespan }
            "$($row.PendingItems)" | Should -Match '^\d+$'
        }
    }

    It 'restricts to a category or a module' {
        (Get-CsBackupServiceStatus $Atl -Category UserData).BackupModules.Count | Should -Be 2
        @((Get-CsBackupServiceStatus $Atl -BackupModule DataConf).BackupModules).Identity | Should -Be 'ConfServices.DataConf'
        (Get-CsBackupServiceStatus $Atl -BackupModule All -LocalStore -Force).BackupModules.Count | Should -Be 3
    }

    It 'is not asked of modules that are not of the category' {
        (Get-CsBackupServiceStatus $Atl -Category CMS -BackupModule DataConf 2>&1).FullyQualifiedErrorId |
            Should -Be 'OptionConflict,Get-CsBackupServiceStatus'
    }

    It 'shows its modules in a terminal of 60 columns' {
        $lines = @(((Get-CsBackupServiceStatus $Atl).BackupModules | Out-String -Width 60) -split '\r?\n' -match '.')
        $lines.Count | Should -Be 5
        $lines[2] | Should -Match '^PresenceFocus +\w+State +NormalState +0 +-'
    }

    It 'takes pools from the pipeline, and goes on after an unknown one' {
        $all = 'nowhere.litwareinc.com', $Atl, $Chi | Get-CsBackupServiceStatus -ErrorAction SilentlyContinue -ErrorVariable problems
        $all.PoolFqdn | Should -Be $Atl, $Chi
        $problems.FullyQualifiedErrorId | Should -Be 'UnknownPool,Get-CsBackupServiceStatus'
    }

    It 'keeps its types when it is serialized' {
        $copy = [System.Management.Automation.PSSerializer]::Deserialize([System.Management.Automation.PSSerializer]::Serialize((Get-CsBackupServiceStatus $Atl), 4))
        $copy.BackupModules[0].LastSuccess | Should -BeOfType datetime
        $copy | Out-String | Should -Match 'atl-cs-001.litwareinc.com -> chi-cs-001.litwareinc.com'
    }

    It 'shows the pools, the states and every module at a glance' {
        $text = Get-CsBackupServiceStatus $Atl | Out-String
        $text | Should -Match 'atl-cs-001.litwareinc.com -> chi-cs-001.litwareinc.com'
        $text | Should -Match 'PresenceFocus +\w+State'
        $text | Should -Match 'CMSMaster'
    }
}

Describe 'Disable-CsPoolBackup' {
    It 'prints what it would remove, removes it, and lists it' {
        $lines = Invoke-TestShell "Disable-CsPoolBackup $Atl -WhatIf" $Sample.DeploymentFile
        $planned = @($lines | Where-Object { $_ -match 'What if:   Remove the' })
        $planned.Count | Should -BeGreaterThan 3
        $removed = @(Disable-CsPoolBackup -PoolFqdn $Atl -Confirm:$false)
        $removed.Count | Should -Be $planned.Count
        $removed[0].PSObject.TypeNames[0] | Should -Be 'CsBackup.RemovedItem'
        foreach ($kind in 'fence', 'folder', 'marker', 'row') { $removed.Kind | Should -Contain $kind }
        # There is nothing of ours in the pool's own database, so that nothing is removed from it.
        $removed.Store | Should -Not -Contain (Get-CsTopology).Pools[0].UserStore.Url
        @(Disable-CsPoolBackup -PoolFqdn $Atl -Force).Count | Should -Be 0
        # Nothing is left to be asked about, so a prompt would fail here.
        Disable-CsPoolBackup -PoolFqdn $Atl -Verbose 4>&1 | Should -Match 'nothing of the backup service'
    }

    It 'names in a plan only what it writes to, and leaves a copy that the next backup takes over' {
        $lines = Invoke-TestShell "Backup-CsPool $Atl; Disable-CsPoolBackup $Atl -WhatIf" $Sample.DeploymentFile
        $line = @($lines -match 'user store')
        $line | Should -Not -BeNullOrEmpty
        $line -match 'atl/users.sqlite' | Should -BeNullOrEmpty
        @(Disable-CsPoolBackup $Atl -Force).Kind | Should -Contain 'fence'
        (Backup-CsPool -PoolFqdn $Atl -PassThru).Outcome | Should -Be 'Succeeded'
        @(Disable-CsPoolBackup $Atl -Force).Kind | Should -Contain 'fence'
    }

    It 'leaves a copy that servers can write to, and a pool that can be backed up again once that is moved away' {
        $copy = (Get-CsTopology).Pools[1].Standby.UserStore -replace '^sqlite:'
        & python3 -c 'import sqlite3, sys; c = sqlite3.connect(sys.argv[1]); c.execute("DELETE FROM contacts"); c.commit(); print(c.total_changes > 0)' $copy | Should -Be 'True'
        $problem = Backup-CsPool -PoolFqdn $Atl 2>&1
        $problem.FullyQualifiedErrorId | Should -Be 'ForeignContent,Backup-CsPool'
        "$problem" | Should -Match 'since the backup was disabled'
        Move-Item $copy (Join-Path $TestDrive 'away.sqlite')
        (Backup-CsPool -PoolFqdn $Atl -PassThru).Outcome | Should -Be 'Succeeded'
    }
}
