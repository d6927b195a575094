BeforeDiscovery {
    $script:Module = [System.IO.Path]::GetFullPath([System.IO.Path]::Combine($PSScriptRoot, '..', '..', '..', 'ps-module'))
    $script:Cmdlets = (Import-PowerShellDataFile (Join-Path $Module 'CsBackup.psd1')).FunctionsToExport
    $script:Examples = foreach ($command in ([xml] (Get-Content (Join-Path $Module 'en-US/CsBackup-help.xml') -Raw)).helpItems.command) {
        foreach ($example in $command.examples.example) {
            @{ Cmdlet = $command.details.name; Title = $example.title; Code = $example.code }
        }
    }
    # The others look at a pool that is backed up.
    $script:Examples = @($Examples | Sort-Object { $_.Cmdlet -eq 'Disable-CsPoolBackup' } -Stable)
}

BeforeAll {
    . $PSScriptRoot/Shared.ps1
    $script:Help = @{}
    foreach ($language in 'en-US', 'it') {
        $script:Help[$language] = @{}
        $file = Join-Path $Root "ps-module/$language/CsBackup-help.xml"
        foreach ($command in ([xml] (Get-Content $file -Raw -Encoding utf8)).helpItems.command) {
            $script:Help[$language][$command.details.name] = $command
        }
    }
}

Describe 'The help of <_>' -ForEach $Cmdlets {
    BeforeAll {
        $script:Cmdlet = $_
        $common = [System.Management.Automation.PSCmdlet]::CommonParameters + [System.Management.Automation.PSCmdlet]::OptionalCommonParameters
        $script:Parameters = @((Get-Command $_).Parameters.Keys | Where-Object { $common -notcontains $_ -or $_ -in 'WhatIf', 'Confirm' } | Sort-Object)
    }

    It 'has every parameter and no other: <_>' -ForEach 'en-US', 'it' {
        $described = @($Help[$_][$Cmdlet].parameters.parameter.name | Sort-Object)
        $described | Should -Be $Parameters
    }

    It 'says everything in both languages, and not the same' {
        $english = $Help['en-US'][$Cmdlet]
        $italian = $Help['it'][$Cmdlet]
        $texts = {
            param($Command)
            $Command.details.description.para
            $Command.description.para
            foreach ($parameter in $Command.parameters.parameter) { $parameter.description.para }
            foreach ($example in $Command.examples.example) { @($example.remarks.para)[0] }
        }
        $first = @(& $texts $english)
        $second = @(& $texts $italian)
        $second.Count | Should -Be $first.Count
        for ($index = 0; $index -lt $first.Count; $index++) {
            $first[$index], $second[$index] | Should -Not -BeNullOrEmpty
            $second[$index] | Should -Not -Be $first[$index]
        }
        $italian.examples.example.code | Should -Be $english.examples.example.code
    }

    It 'is what Get-Help shows' {
        $shown = Get-Help $Cmdlet -Full
        $shown.Synopsis | Should -Be $Help['en-US'][$Cmdlet].details.description.para
        @($shown.parameters.parameter.name | Sort-Object) | Should -Be $Parameters
        @($shown.examples.example).Count | Should -Be @($Help['en-US'][$Cmdlet].examples.example).Count
        @($shown.Syntax.syntaxItem).Count | Should -Be (Get-Command $Cmdlet).ParameterSets.Count
    }
}

Describe 'The example' {
    BeforeAll {
        $script:Sample = New-TestDeployment 'examples' 5 5
        Backup-CsPool $Atl
        Backup-CsPool $Chi
        Push-Location (Split-Path $Sample.DeploymentFile)
    }

    BeforeEach { Connect-CsDeployment $Sample.DeploymentFile }

    AfterAll {
        Pop-Location
        Remove-TestDeployment
    }

    It 'of <Cmdlet> works: <Title>' -ForEach $Examples {
        $ConfirmPreference = 'None'
        $code = [scriptblock]::Create($Code)
        $global:Error.Clear()
        { & $code | Out-String } | Should -Not -Throw
        $global:Error | Should -BeNullOrEmpty
    }
}

Describe 'The two pages'' own examples' {
    It 'are among those of <Cmdlet>: <Code>' -ForEach @(
        @{ Cmdlet = 'Backup-CsPool'; Code = 'Backup-CsPool -PoolFqdn "atl-cs-001.litwareinc.com"' }
        @{ Cmdlet = 'Backup-CsPool'; Code = 'Backup-CsPool -PoolFqdn "atl-cs-001.litwareinc.com" -SteadyState' }
        @{ Cmdlet = 'Invoke-CsBackupServiceSync'; Code = 'Invoke-CsBackupServiceSync -PoolFqdn "atl-cs-001.litwareinc.com"' }
    ) {
        $Help['en-US'][$Cmdlet].examples.example.code | Should -Contain $Code
    }
}

Describe 'about_CsBackup' {
    It 'has the same parts and commands in both languages' {
        $topics = foreach ($language in 'en-US', 'it') {
            , @(Get-Content (Join-Path $Root "ps-module/$language/about_CsBackup.help.txt") -Encoding utf8)
        }
        $parts = $topics | ForEach-Object { @($_ -match '^\S').Count }
        $parts[0] | Should -BeGreaterThan 5
        $parts[1] | Should -Be $parts[0]
        $named = foreach ($topic in $topics) {
            (([regex]::Matches(($topic -join "`n"), '\b[A-Z][a-z]+-Cs\w+|-[A-Z][A-Za-z]+|\b[A-Z][a-z]+State\b|CSBACKUP_\w+|\bNotInitialized\b') | ForEach-Object Value | Sort-Object -Unique -CaseSensitive) -join ' ')
        }
        $named[1] | Should -Be $named[0]
        @($topics[0] + $topics[1] | Where-Object Length -GT 80) | Should -BeNullOrEmpty
    }
}
