# Returns @{ Value = path; Failure }.
function Find-CsbLibrary {
    param([string] $ModuleFolder)
    $runtime = Get-CsbRuntime
    if ($env:CSBACKUP_LIBRARY) {
        if ([System.IO.File]::Exists($env:CSBACKUP_LIBRARY)) {
            return @{ Value = [System.IO.Path]::GetFullPath($env:CSBACKUP_LIBRARY); Failure = $null }
        }
        $message = Get-CsbText 'LibraryVariableWrong' $env:CSBACKUP_LIBRARY
        return @{ Value = $null; Failure = New-CsbFailure 'LibraryMissing' $message (Get-CsbText 'LibraryVariableAdvice') }
    }
    $runtimes = [System.IO.Path]::Combine($ModuleFolder, 'runtimes')
    $packaged = [System.IO.Path]::Combine($runtimes, $runtime.Rid, 'native', $runtime.FileName)
    if ([System.IO.File]::Exists($packaged)) { return @{ Value = $packaged; Failure = $null } }
    $target = [System.IO.Path]::GetFullPath([System.IO.Path]::Combine($ModuleFolder, '..', 'target'))
    $newest = $null
    foreach ($build in 'release', 'debug') {
        $candidate = New-Object System.IO.FileInfo ([System.IO.Path]::Combine($target, $build, $runtime.FileName))
        if ($candidate.Exists -and ($null -eq $newest -or $candidate.LastWriteTimeUtc -gt $newest.LastWriteTimeUtc)) { $newest = $candidate }
    }
    if ($newest) { return @{ Value = $newest.FullName; Failure = $null } }

    $present = @()
    if ([System.IO.Directory]::Exists($runtimes)) {
        $present = @([System.IO.Directory]::GetDirectories($runtimes) | ForEach-Object { [System.IO.Path]::GetFileName($_) })
    }
    $found = Get-CsbText 'LibraryNonePresent'
    if ($present.Count) { $found = $present -join ', ' }
    $folders = @($packaged, [System.IO.Path]::Combine($target, 'release'), [System.IO.Path]::Combine($target, 'debug')) -join ', '
    $message = Get-CsbText 'LibraryMissing' $runtime.FileName, $runtime.Rid, $folders, $found
    @{ Value = $null; Failure = New-CsbFailure 'LibraryMissing' $message (Get-CsbText 'LibraryMissingAdvice' $runtime.Rid) }
}

function Get-CsbRuntime {
    $architecture = 'x64'
    if ([System.IntPtr]::Size -eq 4) { $architecture = 'x86' }
    $system = 'win'
    $fileName = 'cs_backup.dll'
    # .NET Framework before 4.7.1 lacks the type; it runs on Windows and Intel only.
    $information = 'System.Runtime.InteropServices.RuntimeInformation' -as [type]
    if ($information) { $architecture = $information::ProcessArchitecture.ToString().ToLowerInvariant() }
    # Windows PowerShell has neither variable.
    $variables = $ExecutionContext.SessionState.PSVariable
    if ($variables.GetValue('IsLinux')) {
        $system = 'linux'
        $fileName = 'libcs_backup.so'
    } elseif ($variables.GetValue('IsMacOS')) {
        $system = 'osx'
        $fileName = 'libcs_backup.dylib'
    }
    @{ Rid = "$system-$architecture"; FileName = $fileName }
}
