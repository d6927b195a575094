BeforeAll {
    . $PSScriptRoot/Shared.ps1
    $script:Sample = New-TestDeployment 'interop' 2 2
    $script:Library = InModuleScope CsBackup { $script:Library }
    $script:Interop = $Library.GetType().Assembly
    # What a request looks like on its way to the library.
    $script:Json = $Interop.GetType('CsBackup.Interop.Json')
    function ConvertTo-Request($Value) {
        $Json.GetMethod('Write', [System.Reflection.BindingFlags] 'NonPublic, Static', $null, [type[]] @([object]), $null).Invoke($null, @(, $Value))
    }
}

AfterAll { Remove-TestDeployment }

Describe 'A request' {
    It 'says <Name> as JSON does' -ForEach @(
        @{ Name = 'nothing'; Value = $null; Text = 'null' }
        @{ Name = 'what a function without output gives'; Value = (& {}); Text = 'null' }
        @{ Name = 'truth'; Value = $true; Text = 'true' }
        @{ Name = 'a number'; Value = 1234567890123; Text = '1234567890123' }
        @{ Name = 'a fraction'; Value = 1.5; Text = '1.5' }
        @{ Name = 'a text'; Value = 'abc'; Text = '"abc"' }
        @{ Name = 'quotes, backslashes and line ends'; Value = "a`"b\c`r`n`t"; Text = '"a\"b\\c\u000d\u000a\u0009"' }
        @{ Name = 'letters of every script'; Value = "Z$([char] 0xFC)rich $([char]::ConvertFromUtf32(0x1F512))"; Text = "`"Z$([char] 0xFC)rich $([char]::ConvertFromUtf32(0x1F512))`"" }
        @{ Name = 'an empty list'; Value = @(); Text = '[]' }
        @{ Name = 'a list of one'; Value = @('x'); Text = '["x"]' }
        @{ Name = 'nested lists'; Value = @(1, @(2, 3), @()); Text = '[1,[2,3],[]]' }
        @{ Name = 'an empty dictionary'; Value = @{}; Text = '{}' }
        @{ Name = 'a dictionary'; Value = [ordered] @{ a = 1; b = @{ c = 'd' } }; Text = '{"a":1,"b":{"c":"d"}}' }
    ) {
        ConvertTo-Request $Value | Should -BeExactly $Text
    }

    It 'says values that PowerShell has wrapped as they are' {
        $wrapped = 'x', 5, @{ a = $false } | ForEach-Object { [psobject]::AsPSObject($_) }
        ConvertTo-Request @{ list = [object[]] $wrapped } | Should -BeExactly '{"list":["x",5,{"a":false}]}'
    }

    It 'has a decimal point whatever the culture' {
        $before = [cultureinfo]::CurrentCulture
        try {
            [cultureinfo]::CurrentCulture = 'it-IT'
            ConvertTo-Request @(1.5, -2) | Should -BeExactly '[1.5,-2]'
        } finally {
            [cultureinfo]::CurrentCulture = $before
        }
    }

    It 'cannot contain <_>, which says so' -ForEach 'a date', 'an enumeration', 'an object' {
        $value = @{ 'a date' = [datetime]::Now; 'an enumeration' = [System.DayOfWeek]::Monday; 'an object' = [pscustomobject] @{ a = 1 } }[$_]
        { ConvertTo-Request @{ field = $value } } | Should -Throw '*A request cannot contain a *'
    }
}

Describe 'A service' {
    It 'answers with an error once it is closed, however often that is done' {
        $service = $Library.Open($Sample.DeploymentFile).Service
        $service.Request(@{ request = 'getPools' }).Document | Should -Match 'atl-cs-001'
        $service.Close(1000)
        $service.Close(1000)
        $answers = $service.Request(@{ request = 'getPools' }), $service.Start(@{ job = 'backup'; poolFqdn = $Atl }), $service.Poll(1, 0, 10),
            $service.Cancel(1), $service.Report(1), $service.Release(1)
        foreach ($answer in $answers) {
            $answer.Failure | Should -Not -BeNullOrEmpty
            (ConvertFrom-Json $answer.Problem).advice | Should -Not -BeNullOrEmpty
            $answer.Document, $answer.Service, $answer.Job | Should -Be $null, $null, 0
        }
    }

    It 'is not there where it could not be opened' {
        $answer = $Library.Open('/nowhere/deployment.toml')
        $answer.Service | Should -BeNullOrEmpty
        $answer.Failure | Should -Be 'FileMissing'
    }

    It 'reads texts of every length and script' {
        $service = $Library.Open($null).Service
        $long = "/$([string]::new([char] 0xFC, 100000))/x"
        (ConvertFrom-Json $service.Request(@{ request = 'createSampleDeployment'; folder = $long; users = 1; contactsPerUser = 1; files = 1 }).Problem).message |
            Should -Match ([char] 0xFC)
        $service.Close(1000)
    }

    It 'can be used by many runspaces at once' {
        $pools = 1..8 | ForEach-Object -Parallel { $library = $using:Library; $service = $library.Open(($using:Sample).DeploymentFile).Service
            foreach ($try in 1..20) { (ConvertFrom-Json $service.Request(@{ request = 'getPools' }).Document).pools.Count }
            $service.Close(1000) } -ThrottleLimit 8
        $pools.Count | Should -Be 160
        $pools | Sort-Object -Unique | Should -Be 2
    }
}

Describe 'The compiled part' {
    It 'references nothing but .NET Standard, so that both editions load it' {
        $Interop.GetReferencedAssemblies().Name | Should -Be 'netstandard'
    }

    It 'is missed by every command, and by no import' -ForEach 'missing', 'damaged' {
        $folder = Join-Path $TestDrive "module-$_"
        Copy-Item (Split-Path $Manifest) $folder -Recurse
        $file = Join-Path $folder 'lib/CsBackup.Interop.dll'
        if ($_ -eq 'missing') { Remove-Item $file } else { Set-Content $file 'no assembly' }
        $lines = Invoke-TestShell @"
Remove-Module CsBackup
Import-Module '$folder/CsBackup.psd1'
foreach (`$command in { Connect-CsDeployment '$($Sample.DeploymentFile)' }, { New-CsSampleDeployment '$TestDrive/none' }) {
    try { & `$command } catch { '{0} | {1} | {2}' -f `$_.FullyQualifiedErrorId, `$_.Exception.Message, `$_.ErrorDetails.RecommendedAction }
}
`$Error.Count
"@
        $lines[0] | Should -Match "^ModuleIncomplete,Connect-CsDeployment \| .*lib/CsBackup.Interop.dll.* \| .*build\.sh"
        $lines[1] | Should -Match '^ModuleIncomplete,New-CsSampleDeployment'
        $lines[2] | Should -Be '2'
    }
}
