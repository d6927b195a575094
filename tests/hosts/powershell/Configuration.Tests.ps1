BeforeAll {
    . $PSScriptRoot/Shared.ps1
    $script:Sample = New-TestDeployment 'sample' 2 2
}

AfterAll { Remove-TestDeployment }

Describe 'The configuration of the backup service' {
    It 'has the product''s defaults and real types' {
        $configuration = Get-CsBackupServiceConfiguration
        $configuration.Identity | Should -Be 'Global'
        $configuration.SyncInterval | Should -Be ([timespan] '00:02:00')
        $configuration.MaxConcurrentCalls | Should -Be 10
        $configuration.MaxBatchesPerUserStoreSync | Should -Be 500
        $configuration.MaxBatchesPerCmsSync | Should -Be 500
        $configuration.MaxDataConfPackageSizeKB | Should -Be 102400
        @($configuration.AuthorizedLocalAccounts).Count + @($configuration.AuthorizedUniversalGroups).Count | Should -Be 0
        $configuration.PSObject.Properties.Name | Should -Contain 'MaxDataConfPackageSizeKB'
        $configuration.PSObject.TypeNames[0] | Should -Be 'CsBackup.BackupServiceConfiguration'
    }

    It 'is found by <_>' -ForEach @(
        { Get-CsBackupServiceConfiguration -Identity global }
        { Get-CsBackupServiceConfiguration -Filter 'g*' }
        { Get-CsBackupServiceConfiguration -LocalStore }
    ) {
        @(& $_).Identity | Should -Be 'Global'
    }

    It 'is not found by another filter' {
        Get-CsBackupServiceConfiguration -Filter 'site:*' | Should -BeNullOrEmpty
    }

    It 'takes -SyncInterval <Given> as <Meaning>' -ForEach @(
        @{ Given = 30; Meaning = '00:00:30' }, @{ Given = '90'; Meaning = '00:01:30' }, @{ Given = '00:05:00'; Meaning = '00:05:00' }
    ) {
        Set-CsBackupServiceConfiguration -SyncInterval $Given | Should -BeNullOrEmpty
        (Get-CsBackupServiceConfiguration).SyncInterval | Should -Be ([timespan] $Meaning)
        (Get-CsBackupServiceConfiguration -LocalStore).SyncInterval | Should -Be ([timespan] $Meaning)
    }

    It 'is changed by an instance, over which parameters win' {
        $configuration = Get-CsBackupServiceConfiguration
        $configuration.MaxConcurrentCalls = 3
        $configuration.MaxBatchesPerCmsSync = 7
        $configuration.AuthorizedLocalAccounts = 'backup', 'operator'
        $changed = $configuration | Set-CsBackupServiceConfiguration -MaxBatchesPerCmsSync 8 -PassThru
        $changed.MaxConcurrentCalls, $changed.MaxBatchesPerCmsSync | Should -Be 3, 8
        $changed.AuthorizedLocalAccounts | Should -Be 'backup', 'operator'
        $file = Join-Path $TestDrive 'configuration.xml'
        $changed | Export-Clixml $file
        Set-CsBackupServiceConfiguration -AuthorizedLocalAccounts @() -MaxConcurrentCalls 4
        @((Get-CsBackupServiceConfiguration).AuthorizedLocalAccounts).Count | Should -Be 0
        Import-Clixml $file | Set-CsBackupServiceConfiguration
        (Get-CsBackupServiceConfiguration).AuthorizedLocalAccounts | Should -Be 'backup', 'operator'
    }

    It 'is not changed by -WhatIf, which says what would be' {
        $before = Get-CsBackupServiceConfiguration | ConvertTo-Json
        $lines = Invoke-TestShell 'Set-CsBackupServiceConfiguration -MaxConcurrentCalls 5 -Force -WhatIf; Remove-CsBackupServiceConfiguration Global -WhatIf' $Sample.DeploymentFile
        $lines[0] | Should -Match 'MaxConcurrentCalls 3 -> 5'
        $lines -join ' ' | Should -Match 'MaxConcurrentCalls 3 -> 10'
        Get-CsBackupServiceConfiguration | ConvertTo-Json | Should -Be $before
    }

    It 'is refused as a whole: <Id> for <Name>' -ForEach @(
        @{ Name = 'a short interval'; Id = 'ParameterArgumentTransformationError'; Given = @{ SyncInterval = 4 } }
        @{ Name = 'a long interval'; Id = 'ParameterArgumentTransformationError'; Given = @{ SyncInterval = '03:00:01' } }
        @{ Name = 'no calls'; Id = 'ParameterArgumentValidationError'; Given = @{ MaxConcurrentCalls = 0 } }
        @{ Name = 'no batches'; Id = 'ParameterArgumentValidationError'; Given = @{ MaxBatchesPerUserStoreSync = 0 } }
        @{ Name = 'an identity that there is none of'; Id = 'ParameterArgumentValidationError'; Given = @{ Identity = 'site:Atlanta' } }
        @{ Name = 'something else'; Id = 'InvalidArgument'; Given = @{ Instance = [pscustomobject] @{ MaxConcurrentCalls = 5 } } }
    ) {
        $before = Get-CsBackupServiceConfiguration | ConvertTo-Json
        $given = $Given
        $problem = try { Set-CsBackupServiceConfiguration @given 2>&1 } catch { $_ }
        $problem.FullyQualifiedErrorId | Should -Be "$Id,Set-CsBackupServiceConfiguration"
        Get-CsBackupServiceConfiguration | ConvertTo-Json | Should -Be $before
    }

    It 'of an instance is checked by the library too' {
        $configuration = Get-CsBackupServiceConfiguration
        $configuration.MaxConcurrentCalls = 0
        (Set-CsBackupServiceConfiguration -Instance $configuration 2>&1).FullyQualifiedErrorId | Should -Be 'InvalidArgument,Set-CsBackupServiceConfiguration'
        $configuration = Get-CsBackupServiceConfiguration
        $configuration.MaxBatchesPerCmsSync = 'many'
        (Set-CsBackupServiceConfiguration -Instance $configuration 2>&1).Exception.Message | Should -Be '"many" is not a value for MaxBatchesPerCmsSync.'
        $configuration = Get-CsBackupServiceConfiguration
        $configuration.SyncInterval = 'often'
        (Set-CsBackupServiceConfiguration -Instance $configuration 2>&1).FullyQualifiedErrorId | Should -Be 'InvalidArgument,Set-CsBackupServiceConfiguration'
    }

    It 'is what the next job keeps to' {
        $null = Invoke-CsBackupServiceSync $Atl -PassThru
        Set-CsBackupServiceConfiguration -MaxDataConfPackageSizeKB 1
        $share = (Get-CsTopology).Pools[0].ContentStore.Url -replace '^file:'
        1..3 | ForEach-Object { Set-Content (Join-Path $share "large-$_.txt") ('x' * 3000) }
        $report = Invoke-CsBackupServiceSync $Atl -BackupModule DataConf -PassThru
        ($report.Modules.Moved.Batches | Measure-Object -Sum).Sum | Should -BeGreaterOrEqual 3
    }

    It 'is reset by Remove-CsBackupServiceConfiguration' {
        Get-CsBackupServiceConfiguration | Remove-CsBackupServiceConfiguration -Confirm:$false
        $configuration = Get-CsBackupServiceConfiguration
        $configuration.SyncInterval, $configuration.MaxConcurrentCalls | Should -Be ([timespan] '00:02:00'), 10
    }
}
