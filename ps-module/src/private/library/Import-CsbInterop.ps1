# The module's compiled part, by the type that leads to all others. It is loaded from its bytes, so that sessions can import another
# version of the module. What is loaded stays: every runspace and every re-import shares it through the AppDomain.
# Returns @{ Value = type; Failure }.
function Import-CsbInterop {
    $file = "$script:ModuleFolder/lib/CsBackup.Interop.dll"
    $type = [System.AppDomain]::CurrentDomain.GetData($file)
    if (-not $type) {
        try {
            $type = [System.Reflection.Assembly]::Load([System.IO.File]::ReadAllBytes($file)).GetType('CsBackup.Interop.Library')
        } catch {
            if ($global:Error.Count) { $global:Error.RemoveAt(0) }
            $message = Get-CsbText 'ModuleIncomplete' $file
            return @{ Value = $null; Failure = New-CsbFailure 'ModuleIncomplete' $message (Get-CsbText 'ModuleIncompleteAdvice') }
        }
        [System.AppDomain]::CurrentDomain.SetData($file, $type)
    }
    @{ Value = $type; Failure = $null }
}
