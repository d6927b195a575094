BeforeDiscovery {
    # The helper is built beside the library.
    $builds = @($env:CSBACKUP_LIBRARY | Where-Object { $_ } | ForEach-Object { Split-Path $_ }) + @('release', 'debug' | ForEach-Object { Join-Path $PSScriptRoot "../../../target/$_" })
    $script:Helper = @($builds | ForEach-Object { Join-Path $_ 'csb-serve' } | Where-Object { Test-Path $_ })[0]
    $script:Helpers = @(@{ Helper = [string] $script:Helper })
}

BeforeAll {
    . $PSScriptRoot/Shared.ps1
    $script:Sample = New-TestDeployment
    Connect-CsDeployment $Sample.DeploymentFile
}

AfterAll {
    Remove-TestDeployment
}

Describe 'Test-CsPoolConnection' {
    It 'shows the rights on every store of a pool of this machine, and no line' {
        $seen = Test-CsPoolConnection -PoolFqdn $Atl
        $seen.PoolFqdn | Should -Be $Atl
        $seen.BackupPoolFqdn | Should -Be $Chi
        $seen.Succeeded | Should -BeTrue
        $seen.Place | Should -BeNullOrEmpty
        $seen.Line | Should -BeNullOrEmpty
        foreach ($store in 'userStore', 'contentStore', 'managementStore', 'userCopy', 'contentCopy', 'serviceStore') {
            $seen.Checks.Store | Should -Contain $store
        }
        $shown = $seen | Out-String -Width 100
        $shown | Should -Match '(?m)^  userStore +read +yes'
        @($Atl, $Chi | Test-CsPoolConnection -LocalStore).PoolFqdn | Should -Be $Atl, $Chi
    }

    It 'says what is missing and what to do' {
        $users = Join-Path $Deployments 'sample/chi/users.sqlite'
        Rename-Item -LiteralPath $users "$users.away"
        try {
            $seen = Test-CsPoolConnection $Chi
            $seen.Succeeded | Should -BeFalse
            $failed = @($seen.Checks | Where-Object { -not $_.IsOk })
            $failed.Store | Should -Be 'userStore'
            $failed.Why | Should -Match 'users\.sqlite'
            $failed.Advice | Should -Not -BeNullOrEmpty
            $seen | Out-String -Width 100 | Should -Match '(?m)^  userStore +read +NO'
        } finally {
            Rename-Item -LiteralPath "$users.away" $users
        }
    }

    It 'goes through the helper where the deployment says so, and a job reads through it' -Skip:(-not $Helper) -ForEach $Helpers {
        $helped = New-TestDeployment 'helped'
        $folder = Split-Path $helped.TopologyFile
        $topology = (Get-Content $helped.TopologyFile -Raw) -replace "fqdn = `"$Atl`"", "place = `"$folder`"`nfqdn = `"$Atl`""
        Set-Content $helped.TopologyFile $topology
        Connect-CsDeployment $helped.DeploymentFile
        Publish-CsTopology $helped.TopologyFile -Confirm:$false
        $program = (Resolve-Path $Helper).Path
        Add-Content $helped.DeploymentFile "`n[reach]`n`"$Atl`" = `"pipe:$program`""
        Connect-CsDeployment $helped.DeploymentFile
        try {
            $seen = Test-CsPoolConnection $Atl
            $seen.Succeeded | Should -BeTrue
            $seen.Place | Should -Be "pipe:$program"
            $seen.Line.ServedPoolFqdn, $seen.Line.PartnerFqdn | Should -Be $Atl, $Chi
            $seen.Line.Grants | Should -Be 'read', 'write', 'give-back', 'cms'
            $seen.Line.RoundTrip | Should -BeOfType timespan
            $seen | Out-String -Width 100 | Should -Match '(?m)^  Grants +read, write, give-back, cms'
            (Invoke-CsBackupServiceSync $Atl -PassThru).Outcome | Should -Be 'Succeeded'
            (Get-CsBackupServiceStatus $Atl).OverallExportStatus | Should -Be 'SteadyState'
        } finally {
            Connect-CsDeployment $Sample.DeploymentFile
        }
    }

    It 'is an error of its own where nothing answers, and goes on with the next pool' {
        $elsewhere = New-TestDeployment 'elsewhere'
        $topology = (Get-Content $elsewhere.TopologyFile -Raw) -replace "fqdn = `"$Chi`"", "place = `".`"`nfqdn = `"$Chi`""
        Set-Content $elsewhere.TopologyFile $topology
        Add-Content $elsewhere.DeploymentFile "`n[reach]`n`"$Chi`" = `"pipe:/nowhere/csb-serve`""
        Connect-CsDeployment $elsewhere.DeploymentFile
        try {
            Publish-CsTopology $elsewhere.TopologyFile -Confirm:$false
            $seen = @($Chi, $Atl | Test-CsPoolConnection -ErrorVariable failed -ErrorAction SilentlyContinue)
            $seen.PoolFqdn | Should -Be $Atl
            $failed[0].FullyQualifiedErrorId | Should -Be 'StoreUnavailable,Test-CsPoolConnection'
            $failed[0].Exception.Data['place'] | Should -Be 'pipe:/nowhere/csb-serve'
            Invoke-CsBackupServiceSync $Atl -ErrorAction SilentlyContinue -ErrorVariable refusals
            # Whether this machine may write there is said there.
            $refusals.FullyQualifiedErrorId | Should -Contain 'StoreUnavailable,Invoke-CsBackupServiceSync'
        } finally {
            Connect-CsDeployment $Sample.DeploymentFile
        }
    }
}

Describe 'Register-CsPoolPlace' {
    It 'prints lines that may be pasted, with the key in one of them' {
        $key = 'ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJx csb@chi-1'
        $told = Register-CsPoolPlace $Atl -Grant Read -PublicKey $key
        $told.PartnerFqdn | Should -Be $Chi
        $told.Grants | Should -Be 'read'
        $told.AuthorizedKeysLine | Should -Match "^restrict,command=`"/[^`"]*csb-serve --root [^ ]+ --pool $Atl --partner $Chi --grant read`" ssh-ed25519 "
        $shown = @(($told | Out-String -Width 80) -split '\r?\n')
        $shown | Where-Object { $_.Length -gt 77 -and $_ -notmatch '^\w+ = ' } | Should -BeNullOrEmpty
        # What was broken to fit into a narrow terminal is one command to a shell.
        ($shown -join "`n").Replace("'\`n'", '').Replace(" \`n", ' ') -split "`n" |
            Should -Contain "echo '$($told.AuthorizedKeysLine)' | sudo tee -a ~csb/.ssh/authorized_keys"
        @($told.Instructions.AtPoolFqdn | Select-Object -Unique | Sort-Object) | Should -Be $Atl, $Chi
        $told.Checks.Count | Should -BeGreaterThan 3
    }

    It 'says where a key is missing, and refuses what is none' {
        (Register-CsPoolPlace $Atl -Grant Read).AuthorizedKeysLine | Should -Match 'KEY-OF-THE-PARTNER$'
        (Register-CsPoolPlace $Atl -Grant Read -PublicKey 'no key' 2>&1).FullyQualifiedErrorId | Should -Be 'InvalidArgument,Register-CsPoolPlace'
        { Register-CsPoolPlace $Atl -Grant Lead } | Should -Throw -ErrorId 'ParameterArgumentValidationError,Register-CsPoolPlace'
        $alone = Register-CsPoolPlace $Atl -Grant Write 2>&1
        $alone.FullyQualifiedErrorId | Should -Be 'InvalidArgument,Register-CsPoolPlace'
        "$alone" | Should -Match 'without read'
    }

    It 'grants writing, giving back and publishing beside reading' {
        $told = Register-CsPoolPlace $Atl -Grant Read, Write, GiveBack, Cms
        $told.Grants | Should -Be 'read', 'write', 'give-back', 'cms'
        $told.AuthorizedKeysLine | Should -Match '--grant read --grant write --grant give-back --grant cms"'
    }

    It 'completes pools and grants' {
        (TabExpansion2 'Register-CsPoolPlace -PoolFqdn at').CompletionMatches.CompletionText | Should -Be $Atl
        (TabExpansion2 'Register-CsPoolPlace -Grant ').CompletionMatches.CompletionText | Should -Be 'Cms', 'GiveBack', 'Read', 'Write'
        (TabExpansion2 'Test-CsPoolConnection ch').CompletionMatches.CompletionText | Should -Be $Chi
    }
}
