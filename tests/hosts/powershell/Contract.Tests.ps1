BeforeDiscovery {
    # What scripts rely on. A cmdlet's line has its confirm impact (- where it does not ask) and its output; a parameter's
    # line has ! where it is mandatory, its type, and then what there is of: @position, pipeline, {values}, from..to, aliases.
    $script:Contract = @'
Backup-CsPool: Medium, CsBackup.Report
  PoolFqdn! String @0
  Category String {UserData CMS}
  FullBackup Switch
  SteadyState Switch
  FailedOverPoolOnly Switch
  WaitTime TimeSpan
  WaitForLease TimeSpan
  RetryCount Int32 0..2147483647
  LocalStore Switch
  Report String
  Verify Switch
  AcceptDeletions Switch
  Force Switch
  PassThru Switch
  AsJob Switch
Connect-CsDeployment: -, CsBackup.Deployment
  Path! String @0 pipeline=value,name aliases=DeploymentFile,FullName
  PassThru Switch
Disable-CsPoolBackup: High, CsBackup.RemovedItem CsBackup.Report
  PoolFqdn! String @0 pipeline=value,name aliases=Fqdn,Identity
  LocalStore Switch
  Report String
  Force Switch
  PassThru Switch
  AsJob Switch
Get-CsAdminRole: -, CsBackup.AdminRole
  Identity String @0
  Filter! String
  LocalStore Switch
Get-CsBackupJob: -, CsBackup.Job
  JobId! String @0 pipeline=value,name
  PoolFqdn String
  Report String
Get-CsBackupServiceConfiguration: -, CsBackup.BackupServiceConfiguration
  Identity String @0 {Global}
  Filter! String
  LocalStore Switch
Get-CsBackupServiceStatus: -, CsBackup.ServiceStatus
  PoolFqdn! String @0 pipeline=value,name aliases=Fqdn,Identity
  Category String {UserData CMS}
  BackupModule String {All UserServices.PresenceFocus ConfServices.DataConf CentralMgmt.CMSMaster PresenceFocus DataConf CMSMaster}
  LocalStore Switch
  Force Switch
Get-CsPool: -, CsBackup.Pool
  Identity String @0
  Filter! String
  Site String
  LocalStore Switch
Get-CsPoolBackupHistory: -, CsBackup.PoolBackupState
  PoolFqdn! String @0 pipeline=value,name aliases=Fqdn,Identity
  LocalStore Switch
Get-CsPoolBackupRelationship: -, CsBackup.Relationship
  PoolFqdn! String @0 pipeline=value,name aliases=Fqdn,Identity
  LocalStore Switch
  Force Switch
Get-CsTopology: -, CsBackup.Topology
  LocalStore Switch
  FileName String @0
Invoke-CsBackupServiceSync: Medium, CsBackup.Report
  PoolFqdn! String @0 pipeline=value,name aliases=Fqdn,Identity
  BackupModule String {All UserServices.PresenceFocus ConfServices.DataConf CentralMgmt.CMSMaster PresenceFocus DataConf CMSMaster}
  GiveBack Switch
  WaitForLease TimeSpan
  LocalStore Switch
  Report String
  Verify Switch
  AcceptDeletions Switch
  Force Switch
  PassThru Switch
  AsJob Switch
New-CsSampleDeployment: Medium, CsBackup.SampleDeployment
  Path! String @0
  Users Int32 0..1000000
  ContactsPerUser Int32 0..10000
  Files Int32 0..1000000
Publish-CsTopology: Medium, CsBackup.PublishedTopology
  FileName! String @0 pipeline=value,name aliases=TopologyFile,FullName
  PassThru Switch
Register-CsPoolPlace: -, CsBackup.PlaceRegistration
  PoolFqdn! String @0 pipeline=value,name aliases=Fqdn,Identity
  Grant! String[] {Read Write GiveBack Cms}
  PublicKey String
  LocalStore Switch
Remove-CsBackupServiceConfiguration: Medium, CsBackup.BackupServiceConfiguration
  Identity! String @0 pipeline=name {Global}
  Force Switch
  PassThru Switch
Restore-CsPoolBackup: Medium, CsBackup.Report
  PoolFqdn! String @0 pipeline=value,name aliases=Fqdn,Identity
  At! DateTime
  Revision! Int32 pipeline=name 0..2147483647
  BackupModule String pipeline=name {UserServices.PresenceFocus ConfServices.DataConf PresenceFocus DataConf}
  Include String[]
  Path! String @1
  WaitForLease TimeSpan
  LocalStore Switch
  Report String
  Force Switch
  PassThru Switch
  AsJob Switch
Set-CsBackupServiceConfiguration: Medium, CsBackup.BackupServiceConfiguration
  Identity String @0 {Global}
  Instance! PSObject pipeline=value
  SyncInterval TimeSpan
  MaxConcurrentCalls Int32 1..1000
  MaxBatchesPerUserStoreSync Int32 1..1000000
  MaxBatchesPerCmsSync Int32 1..1000000
  MaxDataConfPackageSizeKB Int32 1..1073741824
  AuthorizedLocalAccounts String[]
  AuthorizedUniversalGroups String[]
  Force Switch
  PassThru Switch
Stop-CsBackupJob: Medium, CsBackup.Job
  JobId! String @0 pipeline=value,name
  PassThru Switch
Test-CsPoolConnection: -, CsBackup.PoolConnection
  PoolFqdn! String @0 pipeline=value,name aliases=Fqdn,Identity
  LocalStore Switch
Wait-CsBackupJob: -, CsBackup.Job
  JobId! String @0 pipeline=value,name
  Timeout TimeSpan
'@ -split '\r?\n'
    $script:Cmdlets = @()
    foreach ($line in $Contract) {
        if (-not $line.StartsWith(' ')) { $script:Cmdlets += @{ Name = $line -replace ':.*'; Expected = @() } }
        $script:Cmdlets[-1].Expected += $line
    }
}

BeforeAll {
    . $PSScriptRoot/Shared.ps1

    # A command, written as the contract writes it.
    function Get-CommandContract {
        param([string] $Name)
        $command = Get-Command $Name
        $binding = [System.Management.Automation.CommandMetadata]::new($command)
        $impact = '-'
        if ($binding.SupportsShouldProcess) { $impact = $binding.ConfirmImpact }
        '{0}: {1}, {2}' -f $Name, $impact, ($command.OutputType.Name -join ' ')
        $common = [System.Management.Automation.PSCmdlet]::CommonParameters + [System.Management.Automation.PSCmdlet]::OptionalCommonParameters
        foreach ($parameter in $command.Parameters.Values) {
            if ($common -notcontains $parameter.Name) { Get-ParameterContract $parameter }
        }
    }

    function Get-ParameterContract {
        param([System.Management.Automation.ParameterMetadata] $Parameter)
        $sets = @($Parameter.ParameterSets.Values)
        $text = '  ' + $Parameter.Name
        if ($sets.IsMandatory -contains $true) { $text += '!' }
        $text += ' ' + ($Parameter.ParameterType.Name -replace 'Parameter$')
        $position = ($sets.Position | Measure-Object -Maximum).Maximum
        if ($position -ge 0) { $text += " @$position" }
        $flags = @()
        if ($sets.ValueFromPipeline -contains $true) { $flags += 'value' }
        if ($sets.ValueFromPipelineByPropertyName -contains $true) { $flags += 'name' }
        if ($flags) { $text += ' pipeline=' + ($flags -join ',') }
        foreach ($attribute in $Parameter.Attributes) {
            if ($attribute -is [ValidateSet]) { $text += ' {' + ($attribute.ValidValues -join ' ') + '}' }
            if ($attribute -is [ValidateRange]) { $text += ' {0}..{1}' -f $attribute.MinRange, $attribute.MaxRange }
        }
        if ($Parameter.Aliases.Count) { $text += ' aliases=' + ($Parameter.Aliases -join ',') }
        $text
    }
}

Describe 'The cmdlets' {
    It '<Name> is what scripts rely on' -ForEach $Cmdlets {
        @(Get-CommandContract $Name) -join "`n" | Should -Be ($Expected -join "`n")
    }

    It 'are all in the contract' -TestCases @(@{ Names = @($Cmdlets.Name) }) {
        (Get-Module CsBackup).ExportedFunctions.Keys | Sort-Object | Should -Be $Names
    }

    It '<Name> says at its prompts, in answer to !?, what it asks for' -ForEach $Cmdlets {
        foreach ($parameter in (Get-Command $Name).Parameters.Values) {
            foreach ($set in $parameter.ParameterSets.Values) {
                if ($set.IsMandatory) { $set.HelpMessage | Should -Match '^[A-Z].{20,77}\.$' -Because $parameter.Name }
            }
        }
    }

    It 'exports what the manifest lists, and nothing else' {
        $module = Get-Module CsBackup
        $listed = (Import-PowerShellDataFile $Manifest).FunctionsToExport
        ($module.ExportedFunctions.Keys | Sort-Object) -join ' ' | Should -Be (($listed | Sort-Object) -join ' ')
        $module.ExportedVariables.Count + $module.ExportedAliases.Count + $module.ExportedCmdlets.Count | Should -Be 0
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

    It 'is refused when it cannot be the right one, and the error says what is there and what to do' -Skip:(-not (Get-Command gcc -ErrorAction Ignore)) {
        $folder = (New-Item -ItemType Directory (Join-Path $TestDrive 'libraries')).FullName
        Set-Content "$folder/text.so" ('not a library' * 10)
        Set-Content "$folder/version.c" '#include <stdint.h>', 'uint32_t csb_abi_version(void) { return 99; }'
        gcc -shared -fPIC -o "$folder/version.so" "$folder/version.c"
        $bytes = [System.IO.File]::ReadAllBytes("$folder/version.so")
        $other = 'arm64'
        $bytes[18] = 0xB7
        if ((& uname -m) -eq 'aarch64') { $other = 'x64'; $bytes[18] = 0x3E }
        [System.IO.File]::WriteAllBytes("$folder/processor.so", $bytes)
        Set-Content "$folder/empty.c" 'int nothing;'
        gcc -shared -fPIC -o "$folder/empty.so" "$folder/empty.c"
        $lines = Invoke-TestShell @"
foreach (`$name in 'text', 'version', 'processor', 'empty') {
    `$env:CSBACKUP_LIBRARY = "$folder/`$name.so"
    try { New-CsSampleDeployment '$TestDrive/x' } catch { '{0} | {1} | {2} | {3}' -f `$name, `$_.FullyQualifiedErrorId, `$_.Exception.Message, `$_.ErrorDetails.RecommendedAction }
}
`$Error.Count
"@
        $lines[0] | Should -Match '^text \| LibraryUnusable,New-CsSampleDeployment \| .*text\.so is not a native library; one for linux-\w+ is needed\. \| Install'
        $lines[1] | Should -Match '^version \| AbiMismatch,New-CsSampleDeployment \| .*version\.so speaks version 99 .* needs version 1\. \| Install'
        $lines[2] | Should -Match "^processor \| LibraryUnusable,New-CsSampleDeployment \| .*processor\.so is for linux-$other; this PowerShell runs on linux-\w+\. \| Install"
        $lines[3] | Should -Match '^empty \| LibraryUnusable,New-CsSampleDeployment \| .*csb_abi_version.* \| Install'
        $lines[4] | Should -Be '4'
    }

    It 'is not loaded by the import' {
        $look = "@(Get-Content /proc/self/maps | Where-Object { `$_ -match 'cs_backup\.so' }).Count -gt 0"
        $lines = Invoke-TestShell "$look; `$null = New-CsSampleDeployment '$TestDrive/loaded' -Users 1 -Files 1; $look"
        $lines | Should -Be 'False', 'True'
    }

    It 'is looked for by the first command, not by the import' {
        $lines = Invoke-TestShell @"
`$library = `$env:CSBACKUP_LIBRARY
`$env:CSBACKUP_LIBRARY = '/nowhere/libcs_backup.so'
Import-Module '$Manifest' -Force
try { New-CsSampleDeployment '$TestDrive/again' -Users 1 -Files 1 } catch { `$_.FullyQualifiedErrorId }
`$env:CSBACKUP_LIBRARY = `$library
(New-CsSampleDeployment '$TestDrive/again' -Users 1 -Files 1).Users
Import-Module '$Manifest' -Force
`$env:CSBACKUP_LIBRARY = '/nowhere/libcs_backup.so'
try { Connect-CsDeployment '$TestDrive/again' } catch { `$_.FullyQualifiedErrorId }
"@
        $lines | Should -Be 'LibraryMissing,New-CsSampleDeployment', '1', 'LibraryMissing,Connect-CsDeployment'
    }

    It 'is loaded once, however often the module is imported' {
        $lines = Invoke-TestShell @"
`$null = New-CsSampleDeployment '$TestDrive/once' -Users 1 -Files 1
Remove-Module CsBackup; Import-Module '$Manifest'; Connect-CsDeployment '$TestDrive/once'
@(Get-CsPool).Count
@([AppDomain]::CurrentDomain.GetAssemblies().FullName -like 'CsBackup.Interop*').Count
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

    It 'speaks the language of the session, or English' {
        $lines = Invoke-TestShell @"
foreach (`$culture in 'it-IT', 'it-CH', 'it', 'de-DE', 'en-GB', '') {
    [cultureinfo]::CurrentUICulture = `$culture
    Import-Module '$Manifest' -Force
    try { Get-CsPool } catch { '{0}: {1}' -f `$culture, `$_.Exception.Message }
}
"@ -Environment @{ CSBACKUP_DEPLOYMENT = '' }
        $italian = 'Nessuna distribuzione è connessa.'
        $english = 'No deployment is connected.'
        $lines | Should -Be "it-IT: $italian", "it-CH: $italian", "it: $italian", "de-DE: $english", "en-GB: $english", ": $english"
    }

    It 'asks and plans in Italian, with states that stay as they are' {
        $lines = Invoke-TestShell @"
[cultureinfo]::CurrentUICulture = 'it-IT'
Import-Module '$Manifest' -Force
`$null = New-CsSampleDeployment '$TestDrive/italian' -Users 2 -Files 2
Backup-CsPool -PoolFqdn $Atl -WhatIf
(Get-CsBackupServiceStatus $Atl).OverallExportStatus
try { Backup-CsPool $Atl -SteadyState -FullBackup } catch { `$_.ErrorDetails.RecommendedAction }
"@
        $text = $lines -join "`n"
        $text | Should -Match 'Eseguire il backup del pool atl-cs-001'
        $text | Should -Match 'NotInitialized'
        $text | Should -Match 'Sceglierne uno'
    }

    It 'imports where globalization is invariant' {
        Invoke-TestShell '$Error.Count' -Environment @{ DOTNET_SYSTEM_GLOBALIZATION_INVARIANT = '1' } | Should -Be '0'
    }
}
