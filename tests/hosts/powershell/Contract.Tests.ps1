BeforeAll { . $PSScriptRoot/Shared.ps1 }

Describe 'The cmdlets' {
    It '<Command> -<Parameter> is a <Type>; required <Required>, pipeline <Pipeline>' -ForEach @(
        @{ Command = 'Backup-CsPool'; Parameter = 'PoolFqdn'; Type = 'String'; Required = $true; Pipeline = '' }
        @{ Command = 'Backup-CsPool'; Parameter = 'Category'; Type = 'String'; Required = $false; Pipeline = '' }
        @{ Command = 'Backup-CsPool'; Parameter = 'Confirm'; Type = 'SwitchParameter'; Required = $false; Pipeline = '' }
        @{ Command = 'Backup-CsPool'; Parameter = 'FailedOverPoolOnly'; Type = 'SwitchParameter'; Required = $false; Pipeline = '' }
        @{ Command = 'Backup-CsPool'; Parameter = 'Force'; Type = 'SwitchParameter'; Required = $false; Pipeline = '' }
        @{ Command = 'Backup-CsPool'; Parameter = 'FullBackup'; Type = 'SwitchParameter'; Required = $false; Pipeline = '' }
        @{ Command = 'Backup-CsPool'; Parameter = 'LocalStore'; Type = 'SwitchParameter'; Required = $false; Pipeline = '' }
        @{ Command = 'Backup-CsPool'; Parameter = 'Report'; Type = 'String'; Required = $false; Pipeline = '' }
        @{ Command = 'Backup-CsPool'; Parameter = 'RetryCount'; Type = 'Int32'; Required = $false; Pipeline = '' }
        @{ Command = 'Backup-CsPool'; Parameter = 'SteadyState'; Type = 'SwitchParameter'; Required = $false; Pipeline = '' }
        @{ Command = 'Backup-CsPool'; Parameter = 'Verify'; Type = 'SwitchParameter'; Required = $false; Pipeline = '' }
        @{ Command = 'Backup-CsPool'; Parameter = 'WaitTime'; Type = 'TimeSpan'; Required = $false; Pipeline = '' }
        @{ Command = 'Backup-CsPool'; Parameter = 'WhatIf'; Type = 'SwitchParameter'; Required = $false; Pipeline = '' }
        @{ Command = 'Backup-CsPool'; Parameter = 'PassThru'; Type = 'SwitchParameter'; Required = $false; Pipeline = '' }
        @{ Command = 'Backup-CsPool'; Parameter = 'AsJob'; Type = 'SwitchParameter'; Required = $false; Pipeline = '' }
        @{ Command = 'Invoke-CsBackupServiceSync'; Parameter = 'PoolFqdn'; Type = 'String'; Required = $true; Pipeline = 'value name' }
        @{ Command = 'Invoke-CsBackupServiceSync'; Parameter = 'BackupModule'; Type = 'String'; Required = $false; Pipeline = '' }
        @{ Command = 'Invoke-CsBackupServiceSync'; Parameter = 'Force'; Type = 'SwitchParameter'; Required = $false; Pipeline = '' }
        @{ Command = 'Invoke-CsBackupServiceSync'; Parameter = 'PassThru'; Type = 'SwitchParameter'; Required = $false; Pipeline = '' }
        @{ Command = 'Invoke-CsBackupServiceSync'; Parameter = 'AsJob'; Type = 'SwitchParameter'; Required = $false; Pipeline = '' }
        @{ Command = 'Invoke-CsBackupServiceSync'; Parameter = 'Verify'; Type = 'SwitchParameter'; Required = $false; Pipeline = '' }
        @{ Command = 'Invoke-CsBackupServiceSync'; Parameter = 'WhatIf'; Type = 'SwitchParameter'; Required = $false; Pipeline = '' }
        @{ Command = 'Invoke-CsBackupServiceSync'; Parameter = 'Confirm'; Type = 'SwitchParameter'; Required = $false; Pipeline = '' }
        @{ Command = 'Connect-CsDeployment'; Parameter = 'Path'; Type = 'String'; Required = $true; Pipeline = 'value name' }
        @{ Command = 'Connect-CsDeployment'; Parameter = 'PassThru'; Type = 'SwitchParameter'; Required = $false; Pipeline = '' }
        @{ Command = 'New-CsSampleDeployment'; Parameter = 'Path'; Type = 'String'; Required = $true; Pipeline = '' }
        @{ Command = 'New-CsSampleDeployment'; Parameter = 'Users'; Type = 'Int32'; Required = $false; Pipeline = '' }
        @{ Command = 'New-CsSampleDeployment'; Parameter = 'ContactsPerUser'; Type = 'Int32'; Required = $false; Pipeline = '' }
        @{ Command = 'New-CsSampleDeployment'; Parameter = 'Files'; Type = 'Int32'; Required = $false; Pipeline = '' }
        @{ Command = 'Publish-CsTopology'; Parameter = 'FileName'; Type = 'String'; Required = $true; Pipeline = 'value name' }
        @{ Command = 'Publish-CsTopology'; Parameter = 'WhatIf'; Type = 'SwitchParameter'; Required = $false; Pipeline = '' }
        @{ Command = 'Get-CsTopology'; Parameter = 'LocalStore'; Type = 'SwitchParameter'; Required = $false; Pipeline = '' }
        @{ Command = 'Get-CsTopology'; Parameter = 'FileName'; Type = 'String'; Required = $false; Pipeline = '' }
        @{ Command = 'Get-CsPool'; Parameter = 'Identity'; Type = 'String'; Required = $false; Pipeline = '' }
        @{ Command = 'Get-CsPool'; Parameter = 'Filter'; Type = 'String'; Required = $true; Pipeline = '' }
        @{ Command = 'Get-CsPool'; Parameter = 'Site'; Type = 'String'; Required = $false; Pipeline = '' }
        @{ Command = 'Get-CsPool'; Parameter = 'LocalStore'; Type = 'SwitchParameter'; Required = $false; Pipeline = '' }
        @{ Command = 'Get-CsPoolBackupRelationship'; Parameter = 'PoolFqdn'; Type = 'String'; Required = $true; Pipeline = 'value name' }
        @{ Command = 'Get-CsPoolBackupRelationship'; Parameter = 'LocalStore'; Type = 'SwitchParameter'; Required = $false; Pipeline = '' }
        @{ Command = 'Get-CsPoolBackupRelationship'; Parameter = 'Force'; Type = 'SwitchParameter'; Required = $false; Pipeline = '' }
        @{ Command = 'Get-CsBackupServiceStatus'; Parameter = 'PoolFqdn'; Type = 'String'; Required = $true; Pipeline = 'value name' }
        @{ Command = 'Get-CsBackupServiceStatus'; Parameter = 'Category'; Type = 'String'; Required = $false; Pipeline = '' }
        @{ Command = 'Get-CsBackupServiceStatus'; Parameter = 'BackupModule'; Type = 'String'; Required = $false; Pipeline = '' }
        @{ Command = 'Get-CsBackupServiceStatus'; Parameter = 'LocalStore'; Type = 'SwitchParameter'; Required = $false; Pipeline = '' }
        @{ Command = 'Get-CsBackupServiceStatus'; Parameter = 'Force'; Type = 'SwitchParameter'; Required = $false; Pipeline = '' }
        @{ Command = 'Get-CsBackupJob'; Parameter = 'JobId'; Type = 'String'; Required = $true; Pipeline = 'value name' }
        @{ Command = 'Get-CsBackupJob'; Parameter = 'PoolFqdn'; Type = 'String'; Required = $false; Pipeline = '' }
        @{ Command = 'Get-CsBackupJob'; Parameter = 'Report'; Type = 'String'; Required = $false; Pipeline = '' }
        @{ Command = 'Wait-CsBackupJob'; Parameter = 'JobId'; Type = 'String'; Required = $true; Pipeline = 'value name' }
        @{ Command = 'Wait-CsBackupJob'; Parameter = 'Timeout'; Type = 'TimeSpan'; Required = $false; Pipeline = '' }
        @{ Command = 'Stop-CsBackupJob'; Parameter = 'JobId'; Type = 'String'; Required = $true; Pipeline = 'value name' }
        @{ Command = 'Stop-CsBackupJob'; Parameter = 'WhatIf'; Type = 'SwitchParameter'; Required = $false; Pipeline = '' }
        @{ Command = 'Get-CsAdminRole'; Parameter = 'Identity'; Type = 'String'; Required = $false; Pipeline = '' }
        @{ Command = 'Get-CsAdminRole'; Parameter = 'Filter'; Type = 'String'; Required = $true; Pipeline = '' }
        @{ Command = 'Get-CsAdminRole'; Parameter = 'LocalStore'; Type = 'SwitchParameter'; Required = $false; Pipeline = '' }
        @{ Command = 'Disable-CsPoolBackup'; Parameter = 'PoolFqdn'; Type = 'String'; Required = $true; Pipeline = 'value name' }
        @{ Command = 'Disable-CsPoolBackup'; Parameter = 'Force'; Type = 'SwitchParameter'; Required = $false; Pipeline = '' }
        @{ Command = 'Disable-CsPoolBackup'; Parameter = 'WhatIf'; Type = 'SwitchParameter'; Required = $false; Pipeline = '' }
    ) {
        $found = (Get-Command $Command).Parameters[$Parameter]
        $found | Should -Not -BeNullOrEmpty
        $found.ParameterType.Name | Should -Be $Type
        $sets = @($found.ParameterSets.Values)
        ($sets | Where-Object IsMandatory).Count -gt 0 | Should -Be $Required
        $flags = @()
        if ($sets | Where-Object ValueFromPipeline) { $flags += 'value' }
        if ($sets | Where-Object ValueFromPipelineByPropertyName) { $flags += 'name' }
        $flags -join ' ' | Should -Be $Pipeline
    }

    It 'takes no parameter of Backup-CsPool from the pipeline' {
        (Get-Command Backup-CsPool).Parameters.Values.Attributes |
            Where-Object { $_ -is [System.Management.Automation.ParameterAttribute] -and ($_.ValueFromPipeline -or $_.ValueFromPipelineByPropertyName) } |
            Should -BeNullOrEmpty
    }

    It 'offers <Values> for -<Parameter> of <Command>' -ForEach @(
        @{ Command = 'Backup-CsPool'; Parameter = 'Category'; Values = 'UserData CMS' }
        @{ Command = 'Get-CsBackupServiceStatus'; Parameter = 'Category'; Values = 'UserData CMS' }
        @{ Command = 'Invoke-CsBackupServiceSync'; Parameter = 'BackupModule'; Values = 'All UserServices.PresenceFocus ConfServices.DataConf CentralMgmt.CMSMaster PresenceFocus DataConf CMSMaster' }
    ) {
        $set = (Get-Command $Command).Parameters[$Parameter].Attributes | Where-Object { $_ -is [ValidateSet] }
        $set.ValidValues -join ' ' | Should -Be $Values
    }

    It 'exports what the manifest lists, and nothing else' {
        $module = Get-Module CsBackup
        $listed = (Import-PowerShellDataFile $Manifest).FunctionsToExport
        ($module.ExportedFunctions.Keys | Sort-Object) -join ' ' | Should -Be (($listed | Sort-Object) -join ' ')
        $module.ExportedVariables.Count + $module.ExportedAliases.Count + $module.ExportedCmdlets.Count | Should -Be 0
    }

    It 'asks before it changes something: <_>' -ForEach 'Backup-CsPool', 'Invoke-CsBackupServiceSync', 'New-CsSampleDeployment',
    'Publish-CsTopology', 'Stop-CsBackupJob', 'Disable-CsPoolBackup' {
        $binding = [System.Management.Automation.CommandMetadata]::new((Get-Command $_))
        $binding.SupportsShouldProcess | Should -BeTrue
    }

    It 'asks by default before it disables a backup' {
        [System.Management.Automation.CommandMetadata]::new((Get-Command Disable-CsPoolBackup)).ConfirmImpact | Should -Be 'High'
        [System.Management.Automation.CommandMetadata]::new((Get-Command Backup-CsPool)).ConfirmImpact | Should -Be 'Medium'
    }

    It 'documents every parameter of <_>, with examples' -ForEach 'Backup-CsPool', 'Connect-CsDeployment', 'Disable-CsPoolBackup',
    'Get-CsAdminRole', 'Get-CsBackupJob', 'Get-CsBackupServiceStatus', 'Get-CsPool', 'Get-CsPoolBackupRelationship', 'Get-CsTopology',
    'Invoke-CsBackupServiceSync', 'New-CsSampleDeployment', 'Publish-CsTopology', 'Stop-CsBackupJob', 'Wait-CsBackupJob' {
        $help = Get-Help $_ -Full
        $help.Synopsis | Should -Not -BeNullOrEmpty
        @($help.examples.example).Count | Should -BeGreaterThan 0
        $common = [System.Management.Automation.PSCmdlet]::CommonParameters + [System.Management.Automation.PSCmdlet]::OptionalCommonParameters
        foreach ($name in (Get-Command $_).Parameters.Keys | Where-Object { $common -notcontains $_ }) {
            $described = @($help.parameters.parameter | Where-Object name -eq $name)
            $described.Count | Should -Be 1 -Because "-$name is documented"
            ($described[0].PSObject.Properties['description'].Value | Out-String).Trim() | Should -Not -BeNullOrEmpty -Because "-$name is documented"
        }
    }

    It 'shows the two pages'' own examples' {
        (Get-Help Backup-CsPool).examples.example[0].code | Should -Be 'Backup-CsPool -PoolFqdn "atl-cs-001.litwareinc.com"'
        (Get-Help Backup-CsPool).examples.example[1].code | Should -Be 'Backup-CsPool -PoolFqdn "atl-cs-001.litwareinc.com" -SteadyState'
        (Get-Help Invoke-CsBackupServiceSync).examples.example[0].code | Should -Be 'Invoke-CsBackupServiceSync -PoolFqdn "atl-cs-001.litwareinc.com"'
    }
}

Describe 'Durations' {
    It '<Given> means <Meaning>' -ForEach @(
        @{ Given = 30; Meaning = '00:00:30' }
        @{ Given = '30'; Meaning = '00:00:30' }
        @{ Given = 0.5; Meaning = '00:00:00.5000000' }
        @{ Given = '1.5'; Meaning = '00:00:01.5000000' }
        @{ Given = '00:00:30'; Meaning = '00:00:30' }
        @{ Given = '1.00:00:00'; Meaning = '1.00:00:00' }
        @{ Given = [timespan]::FromMinutes(2); Meaning = '00:02:00' }
        @{ Given = [long] 90; Meaning = '00:01:30' }
    ) {
        InModuleScope CsBackup -Parameters @{ Given = $Given } { "$(ConvertTo-CsbDuration $Given)" } | Should -Be $Meaning
    }

    It 'refuses <_>' -ForEach 'tomorrow', '', '-5', '-00:00:05', '00:61:00', 'NaN', '1e300', $true {
        InModuleScope CsBackup -Parameters @{ Given = $_ } { ConvertTo-CsbDuration $Given } | Should -BeNullOrEmpty
    }

    It 'says at -WaitTime what a duration is' {
        $problem = Get-TestError { Backup-CsPool -PoolFqdn x -WaitTime tomorrow }
        $problem.FullyQualifiedErrorId | Should -Be 'ParameterArgumentTransformationError,Backup-CsPool'
        $problem.Exception.Message | Should -Match '00:00:30'
    }
}

Describe 'The library' {
    It 'is named when it is missing' {
        $lines = Invoke-TestShell 'try { Get-CsPool } catch { $_.FullyQualifiedErrorId; $_.Exception.Message }' -Environment @{
            CSBACKUP_LIBRARY = '/nowhere/libcs_backup.so'; CSBACKUP_DEPLOYMENT = '/nowhere/deployment.toml'
        }
        $lines -join "`n" | Should -Match 'LibraryMissing,Get-CsPool(.|\n)*/nowhere/libcs_backup.so'
    }

    It 'is looked for in the folders that the error names' {
        $copy = Join-Path $TestDrive 'elsewhere/ps-module'
        Copy-Item (Split-Path $Manifest) $copy -Recurse
        $null = New-Item -ItemType Directory (Join-Path $copy 'runtimes/other-rid/native')
        $lines = Invoke-TestShell "Remove-Module CsBackup; Import-Module '$copy/CsBackup.psd1'; try { New-CsSampleDeployment '$TestDrive/x' } catch { `$_.Exception.Message }" -Environment @{ CSBACKUP_LIBRARY = '' }
        $text = $lines -join "`n"
        $text | Should -Match 'runtimes.[a-z]+-[a-z0-9]+.native'
        $text | Should -Match 'target.release'
        $text | Should -Match 'other-rid'
    }

    It 'is refused when it is no library' {
        $fake = Join-Path $TestDrive 'libcs_backup.so'
        Set-Content $fake 'not a library'
        $lines = Invoke-TestShell "try { New-CsSampleDeployment '$TestDrive/x' } catch { `$_.FullyQualifiedErrorId; `$Error.Count }" -Environment @{ CSBACKUP_LIBRARY = $fake }
        $lines | Should -Contain 'LibraryUnusable,New-CsSampleDeployment'
        $lines | Should -Contain '1'
    }

    It 'is not loaded by the import' {
        $lines = Invoke-TestShell "[AppDomain]::CurrentDomain.GetAssemblies().FullName -like 'CsBackup.Native*'; 'end'"
        $lines | Should -Be 'end'
    }

    It 'is loaded once, however often the module is imported' {
        $lines = Invoke-TestShell @"
`$null = New-CsSampleDeployment '$TestDrive/once' -Users 1 -Files 1
Remove-Module CsBackup; Import-Module '$Manifest'; Connect-CsDeployment '$TestDrive/once'
@(Get-CsPool).Count
@([AppDomain]::CurrentDomain.GetAssemblies().FullName -like 'CsBackup.Native*').Count
"@
        $lines | Should -Be '2', '1'
    }
}

Describe 'Languages' {
    It 'has every key in Italian that English has, and no other' {
        $english = Import-PowerShellDataFile (Join-Path $Root 'ps-module/en-US/CsBackup.Strings.psd1')
        $italian = Import-PowerShellDataFile (Join-Path $Root 'ps-module/it/CsBackup.Strings.psd1')
        $same = 'ProgressActivity'
        @($english.Keys | Where-Object { -not $italian.ContainsKey($_) -and $_ -ne $same }) | Should -BeNullOrEmpty
        @($italian.Keys | Where-Object { -not $english.ContainsKey($_) }) | Should -BeNullOrEmpty
        foreach ($key in $italian.Keys) {
            $places = { param($text) ([regex]::Matches($text, '\{\d') | ForEach-Object Value | Sort-Object -Unique) -join ' ' }
            & $places $italian[$key] | Should -Be (& $places $english[$key]) -Because $key
        }
    }

    It 'speaks Italian to <_>' -ForEach 'it-IT', 'it-CH', 'it' {
        $script = "Remove-Module CsBackup; [cultureinfo]::CurrentUICulture = '$_'; Import-Module '$Manifest'; try { Get-CsPool } catch { `$_.Exception.Message }"
        Invoke-TestShell $script -Environment @{ CSBACKUP_DEPLOYMENT = '' } | Should -Contain 'Nessuna distribuzione è connessa.'
    }

    It 'speaks English to <Culture>' -ForEach @(@{ Culture = 'de-DE' }, @{ Culture = 'en-GB' }, @{ Culture = '' }) {
        $script = "Remove-Module CsBackup; [cultureinfo]::CurrentUICulture = '$Culture'; Import-Module '$Manifest'; try { Get-CsPool } catch { `$_.Exception.Message }"
        Invoke-TestShell $script -Environment @{ CSBACKUP_DEPLOYMENT = '' } | Should -Contain 'No deployment is connected.'
    }

    It 'imports where globalization is invariant' {
        Invoke-TestShell '$Error.Count' -Environment @{ DOTNET_SYSTEM_GLOBALIZATION_INVARIANT = '1' } | Should -Be '0'
    }
}
