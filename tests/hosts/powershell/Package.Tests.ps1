BeforeAll {
    . $PSScriptRoot/Shared.ps1
    $script:Library = $env:CSBACKUP_LIBRARY
    if (-not $Library) {
        $script:Library = Get-ChildItem (Join-Path $Root 'target/debug'), (Join-Path $Root 'target/release') -Filter 'libcs_backup.*' -File -ErrorAction Ignore |
            Where-Object Extension -In '.so', '.dylib' | Sort-Object LastWriteTime | Select-Object -Last 1 -ExpandProperty FullName
    }
    $script:Rid, $script:FileName = InModuleScope CsBackup {
        $search = $script:Interop.Value::Search($script:ModuleFolder)
        $search.Rid, $search.FileName
    }
    $env:CSBACKUP_PROJECT_URI = 'https://example.org/cs-backup?tab=readme&plain=1'
    $script:Said = & "$Root/ps-module/package.sh" "$TestDrive/packages" "$Rid=$Library" 2>&1
    $script:Package = [string] $Said[-1]
    Remove-Item env:CSBACKUP_PROJECT_URI
}

AfterAll { Remove-Module CsBackup }

Describe 'The package' -Skip:$IsWindows {
    It 'lies where a module path is searched' {
        $Package | Should -Match 'packages/CsBackup/\d+\.\d+\.\d+$'
        "$Package/CsBackup.psd1" | Should -Exist
    }

    It 'has what is needed to use it, and nothing of the workshop' {
        $files = Get-ChildItem $Package -Recurse -File | ForEach-Object { $_.FullName.Substring($Package.Length + 1) } | Sort-Object
        $files | Should -Be @(@(
                'CHANGELOG.md', 'CsBackup.Format.ps1xml', 'CsBackup.psd1', 'CsBackup.psm1', 'CsBackup.Types.ps1xml', 'LICENSE-APACHE', 'LICENSE-MIT', 'icon.png'
                'en-US/CsBackup-help.xml', 'en-US/CsBackup.Strings.psd1', 'en-US/about_CsBackup.help.txt'
                'it/CsBackup-help.xml', 'it/CsBackup.Strings.psd1', 'it/about_CsBackup.help.txt'
                'lib/CsBackup.Interop.dll', "runtimes/$Rid/native/$FileName"
            ) | Sort-Object)
    }

    It 'has a manifest that a gallery takes' {
        $problems = $null
        $manifest = Test-ModuleManifest "$Package/CsBackup.psd1" -WarningVariable problems -ErrorAction Stop
        $problems | Should -BeNullOrEmpty
        $manifest.Version, $manifest.Guid, $manifest.Author, $manifest.Copyright, $manifest.ReleaseNotes | Should -Not -BeNullOrEmpty
        $manifest.Description.Length | Should -BeGreaterThan 20
        $manifest.PowerShellVersion | Should -Be '5.1'
        $manifest.CompatiblePSEditions | Should -Be 'Core', 'Desktop'
        $manifest.ProjectUri | Should -Be 'https://example.org/cs-backup?tab=readme&plain=1'
        $manifest.Tags | Should -Contain 'PSEdition_Desktop'
        @($manifest.Tags -match '[\s,]').Count | Should -Be 0
        # Names without wildcards make a module be found by its commands without being imported.
        $data = Import-PowerShellDataFile "$Package/CsBackup.psd1"
        foreach ($list in 'FunctionsToExport', 'CmdletsToExport', 'VariablesToExport', 'AliasesToExport') {
            $data.ContainsKey($list) | Should -BeTrue
            $data[$list] | Where-Object { $_ -match '\*' } | Should -BeNullOrEmpty
        }
    }

    It 'can be signed, and read by Windows PowerShell' {
        foreach ($file in Get-ChildItem $Package -Recurse -Include '*.psm1', '*.psd1', '*.ps1xml', '*.txt') {
            $bytes = [System.IO.File]::ReadAllBytes($file.FullName)
            $isAscii = [System.Text.Encoding]::GetEncoding('iso-8859-1').GetString($bytes) -notmatch '[^\x00-\x7F]'
            $hasMark = $bytes[0] -eq 0xEF -and $bytes[1] -eq 0xBB -and $bytes[2] -eq 0xBF
            $isAscii -or $hasMark | Should -BeTrue -Because $file.Name
        }
    }

    It 'works from a module path, with the library that it brings' {
        $lines = Invoke-TestShell @"
Remove-Module CsBackup
`$env:PSModulePath = '$TestDrive/packages'
`$null = New-CsSampleDeployment '$TestDrive/used' -Users 2 -Files 2
Backup-CsPool $Atl
(Get-Command Backup-CsPool).Module.Path
(Connect-CsDeployment '$TestDrive/used' -PassThru).LibraryFile
(Get-Help Backup-CsPool).Synopsis
"@ -Environment @{ CSBACKUP_LIBRARY = '' }
        $lines[0] | Should -Be "$Package/CsBackup.psm1"
        $lines[1] | Should -Be "$Package/runtimes/$Rid/native/$FileName"
        $lines[2] | Should -Match 'backup copy'
    }

    It 'is not made twice, nor with an address that is none' {
        $null = & "$Root/ps-module/package.sh" "$TestDrive/packages" "$Rid=$Library" 2>&1
        $LASTEXITCODE | Should -Be 1
        $env:CSBACKUP_ICON_URI = "it's"
        try { $null = & "$Root/ps-module/package.sh" "$TestDrive/other" "$Rid=$Library" 2>&1 } finally { Remove-Item env:CSBACKUP_ICON_URI }
        $LASTEXITCODE | Should -Be 1
    }
}
