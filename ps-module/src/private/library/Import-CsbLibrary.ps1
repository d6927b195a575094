# The native library, loaded by the first command that needs it. Returns @{ Value = CsBackup.Interop.Library; Failure }.
function Import-CsbLibrary {
    if (-not $script:Library) {
        if ($script:Interop.Failure) { return $script:Interop }
        $library = $script:Interop.Value::Load($script:ModuleFolder)
        if ($library.AbiVersion -ne $script:AbiVersion) { return @{ Value = $null; Failure = Get-CsbLibraryFailure $library } }
        $script:Library = $library
    }
    @{ Value = $script:Library; Failure = $null }
}

function Get-CsbLibraryFailure {
    param($Library)
    if (-not $Library.File) { return New-CsbMissingFailure $script:Interop.Value::Search($script:ModuleFolder) }
    if ($Library.Problem) { return New-CsbLoadFailure $Library.File $Library.Problem }
    $message = Get-CsbText 'AbiMismatch' $Library.File, $Library.AbiVersion, $script:AbiVersion
    New-CsbFailure 'AbiMismatch' $message (Get-CsbText 'AbiMismatchAdvice')
}

function New-CsbMissingFailure {
    param($Search)
    if ($Search.Named) {
        $message = Get-CsbText 'LibraryVariableWrong' $Search.Named
        return New-CsbFailure 'LibraryMissing' $message (Get-CsbText 'LibraryVariableAdvice')
    }
    $present = @()
    if ([System.IO.Directory]::Exists($Search.RuntimesFolder)) {
        $present = @([System.IO.Directory]::GetDirectories($Search.RuntimesFolder) | ForEach-Object { [System.IO.Path]::GetFileName($_) })
    }
    $found = Get-CsbText 'LibraryNonePresent'
    if ($present.Count) { $found = $present -join ', ' }
    $message = Get-CsbText 'LibraryMissing' $Search.FileName, $Search.Rid, (@($Search.Packaged) + $Search.Built -join ', '), $found
    New-CsbFailure 'LibraryMissing' $message (Get-CsbText 'LibraryMissingAdvice' $Search.Rid)
}

# A loader says "no such file" of a library for another processor, which nobody understands: its first bytes say more.
function New-CsbLoadFailure {
    param([string] $File, [string] $Problem)
    # The loader's own words are the last line.
    $cause = @($Problem.Trim() -split '\r?\n')[-1]
    $expected = $script:Interop.Value::Search($script:ModuleFolder).Rid
    $target = Get-CsbBinaryTarget $File
    if (-not $target) {
        $message = Get-CsbText 'LibraryOfNoSystem' $File, $expected
    } elseif ($target -ne $expected) {
        $message = Get-CsbText 'LibraryOfAnotherSystem' $File, $target, $expected
    } else {
        $message = Get-CsbText 'LibraryUnusable' $File, $expected, $cause
    }
    New-CsbFailure 'LibraryUnusable' $message (Get-CsbText 'LibraryUnusableAdvice' $expected)
}
