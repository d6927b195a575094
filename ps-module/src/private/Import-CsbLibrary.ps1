# The native library, loaded by the first command that needs it. Returns @{ Value = CsBackup.Interop.Library; Failure }.
function Import-CsbLibrary {
    if ($script:Library) { return @{ Value = $script:Library; Failure = $null } }
    if ($script:Interop.Failure) { return $script:Interop }
    $found = Find-CsbLibrary
    if ($found.Failure) { return $found }
    $library = $script:Interop.Value::Load($found.Value)
    if ($library.Problem) { return @{ Value = $null; Failure = New-CsbLoadFailure $library.File $library.Problem } }
    if ($library.AbiVersion -ne $script:AbiVersion) {
        $message = Get-CsbText 'AbiMismatch' $library.File, $library.AbiVersion, $script:AbiVersion
        return @{ Value = $null; Failure = New-CsbFailure 'AbiMismatch' $message (Get-CsbText 'AbiMismatchAdvice') }
    }
    $script:Library = $library
    @{ Value = $library; Failure = $null }
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
