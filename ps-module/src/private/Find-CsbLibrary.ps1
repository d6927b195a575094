# Returns @{ Value = path; Failure }.
function Find-CsbLibrary {
    param([string] $ModuleFolder)
    if ($env:CSBACKUP_LIBRARY) {
        if ([System.IO.File]::Exists($env:CSBACKUP_LIBRARY)) {
            return @{ Value = [System.IO.Path]::GetFullPath($env:CSBACKUP_LIBRARY); Failure = $null }
        }
        $message = Get-CsbText 'LibraryVariableWrong' $env:CSBACKUP_LIBRARY
        return @{ Value = $null; Failure = New-CsbFailure 'LibraryMissing' $message (Get-CsbText 'LibraryVariableAdvice') }
    }
    $runtime = Get-CsbRuntime
    $runtimes = [System.IO.Path]::Combine($ModuleFolder, 'runtimes')
    $packaged = [System.IO.Path]::Combine($runtimes, $runtime.Rid, 'native', $runtime.FileName)
    if ([System.IO.File]::Exists($packaged)) { return @{ Value = $packaged; Failure = $null } }
    $target = [System.IO.Path]::GetFullPath([System.IO.Path]::Combine($ModuleFolder, '..', 'target'))
    $newest = $null
    foreach ($build in 'release', 'debug') {
        $candidate = [System.IO.Path]::Combine($target, $build, $runtime.FileName)
        if (-not [System.IO.File]::Exists($candidate)) { continue }
        if (-not $newest -or [System.IO.File]::GetLastWriteTimeUtc($candidate) -gt [System.IO.File]::GetLastWriteTimeUtc($newest)) {
            $newest = $candidate
        }
    }
    if ($newest) { return @{ Value = $newest; Failure = $null } }

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
    $system, $fileName = 'win', 'cs_backup.dll'
    # Windows PowerShell has neither variable.
    if (-not $script:IsDesktop -and $IsLinux) {
        $system, $fileName = 'linux', 'libcs_backup.so'
    } elseif (-not $script:IsDesktop -and $IsMacOS) {
        $system, $fileName = 'osx', 'libcs_backup.dylib'
    }
    # .NET Framework before 4.7.1 lacks the type; it runs on Windows and Intel only.
    $information = 'System.Runtime.InteropServices.RuntimeInformation' -as [type]
    if ($information) {
        $architecture = ([string] $information::ProcessArchitecture).ToLowerInvariant()
    } elseif ([System.IntPtr]::Size -eq 4) {
        $architecture = 'x86'
    } else {
        $architecture = 'x64'
    }
    @{ Rid = "$system-$architecture"; FileName = $fileName }
}
