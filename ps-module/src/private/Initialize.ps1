# Runs at import, after every function is known. The native library is loaded by the first command that needs it.
$script:ModuleFolder = $PSScriptRoot
$script:AbiVersion = 1
$script:IsDesktop = $PSVersionTable['PSEdition'] -ne 'Core'
$script:Interop = Import-CsbInterop
$script:Library = $null
$script:Connection = $null
$script:PoolNames = $null
Register-CsbCompleter
$ExecutionContext.SessionState.Module.OnRemove = {
    if ($script:Connection) { Close-CsbService $script:Connection }
    $script:Connection = $null
}
