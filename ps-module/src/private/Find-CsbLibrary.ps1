# The native library's path. Returns @{ Value = path; Failure }.
function Find-CsbLibrary {
    if ($env:CSBACKUP_LIBRARY) {
        if ([System.IO.File]::Exists($env:CSBACKUP_LIBRARY)) {
            return @{ Value = [System.IO.Path]::GetFullPath($env:CSBACKUP_LIBRARY); Failure = $null }
        }
        $message = Get-CsbText 'LibraryVariableWrong' $env:CSBACKUP_LIBRARY
        return @{ Value = $null; Failure = New-CsbFailure 'LibraryMissing' $message (Get-CsbText 'LibraryVariableAdvice') }
    }
    $file = $script:Interop.Value::Find($script:ModuleFolder)
    if ($file) { return @{ Value = $file; Failure = $null } }

    $search = $script:Interop.Value::Search($script:ModuleFolder)
    $present = @()
    if ([System.IO.Directory]::Exists($search.RuntimesFolder)) {
        $present = @([System.IO.Directory]::GetDirectories($search.RuntimesFolder) | ForEach-Object { [System.IO.Path]::GetFileName($_) })
    }
    $found = Get-CsbText 'LibraryNonePresent'
    if ($present.Count) { $found = $present -join ', ' }
    $message = Get-CsbText 'LibraryMissing' $search.FileName, $search.Rid, (@($search.Packaged) + $search.Built -join ', '), $found
    @{ Value = $null; Failure = New-CsbFailure 'LibraryMissing' $message (Get-CsbText 'LibraryMissingAdvice' $search.Rid) }
}
